/* Inside of the engine: engine.c (directory, recovery), partition.c (manifests and files at the
 * start), store.c (operations of one shard), find.c (look-ups), scan.c, job.c (background jobs),
 * compaction.c (what to merge), space.c (how full the disk is). */
#ifndef RF_STORAGE_ENGINE_PRIVATE_H
#define RF_STORAGE_ENGINE_PRIVATE_H

#include <stdatomic.h>

#include "base/assert.h"
#include "format/repair_memo.h"
#include "storage/engine.h"
#include "storage/identity.h"
#include "storage/manifest.h"
#include "storage/memtable.h"
#include "storage/row_cache.h"
#include "storage/sst_reader.h"
#include "storage/wal.h"

#define RF_STORE_MAGIC 0x53544f52u
#define RF_PATH_SIZE 4096u
#define RF_MERGES_MAX 2u     /* of a store at a time */
#define RF_FILES_MAX 512u    /* a strategy sees the newest so many of a part */
#define RF_GARBAGE_MAX 4096u /* files that wait to be deleted; more wait for the next start */

/* One SSTable of a part. */
struct rf_data_file {
    struct rf_sst *sst;
    uint64_t       number;
    uint32_t       level;
    uint32_t       refs;    /* the part's, and of reads of the disk under way; owner thread */
    bool           busy;    /* input of a compaction */
    bool           damaged; /* a block failed its check: not merged any more */
};

#define RF_DAMAGE_BITS 24u /* of a damage's number, below the generation in which it was found */

/* Rows of a token interval are lost: those of a block, or of a whole file (D10). */
struct rf_damage {
    uint64_t id; /* in the partition, ascending */
    uint64_t file;
    uint64_t first_token, last_token;
    uint64_t max_hlc;  /* no lost row is newer */
    bool     recorded; /* in the manifest */
};

/* One table in one partition. Files, newest first, change only in rf_store_job_end. */
struct rf_part {
    struct rf_memtable   *active; /* NULL when empty */
    struct rf_memtable   *frozen; /* being flushed, or waiting for the next try */
    struct rf_data_file **files;
    uint32_t              n_files, cap_files;
    bool                  active_recovered, frozen_recovered; /* hold rows of the old segments */
    bool                  want_flush;
    bool                  check_compaction; /* files changed since the strategy was asked */
    bool                  want_major;       /* merge all files into one */
    uint32_t              score;            /* of the strategy, when files changed last */
    struct rf_damage     *damages;
    uint32_t              n_damages, cap_damages;
    bool damaged; /* more is damaged than could be noted: it cannot say at all (D10) */
};

/* A table's data in one store. */
struct rf_store_table {
    uint64_t               id;
    struct rf_table_policy policy; /* conflict NULL: only versions count */
    struct rf_part        *parts;  /* by partition; stays where it is */
    struct rf_row_cache   *cache;  /* NULL: none */
    size_t                 active_bytes;
    bool                   strategy_failed; /* the plugin gave a wrong plan: nothing is picked */
};

/* What the tables of a partition share. Belongs to the store of the partition's shard. */
struct rf_partition {
    struct rf_manifest manifest; /* of the job that holds the partition */
    bool               dir_made;
    bool               busy;        /* a job holds it */
    bool               quarantined; /* has lost data: tables of users cannot say (S31) */
    uint64_t           quarantine;  /* number of that damage */
    uint64_t           last_damage; /* highest number of a damage; the owner's or recovery's */
};

/* Completions in order; grows to the number of operations under way, which the callers bound. */
struct rf_done_list {
    struct rf_store_done *list;
    uint32_t              n, cap;
};

/* A file that nothing needs any more. */
struct rf_garbage {
    uint32_t partition;
    uint64_t file;
};

/* Operations that wait for the disk (cold.c). */
#define RF_COLD_BUCKETS 256u
#define RF_COLD_MAX 1024u /* operations at a time, per store */

struct rf_cold_queue {
    struct rf_cold_read *buckets[RF_COLD_BUCKETS]; /* by token: the keys that are being read */
    struct rf_cold_read *first, **end;             /* not begun */
    uint32_t             n;                        /* operations, those that wait for a key too */
};

struct rf_store {
    uint32_t               magic;
    uint32_t               shard;
    struct rf_engine      *engine;
    struct rf_wal         *wal;
    struct rf_store_table *tables; /* sorted by id */
    uint32_t               n_tables, cap_tables;
    struct rf_done_list    waiting_open;    /* for the group that gathers */
    struct rf_done_list    waiting_writing; /* for the group on its way */
    struct rf_done_list    ready;
    uint32_t               ready_at; /* taken by poll up to here */
    struct rf_store_stats  stats;
    struct rf_repair_memo  repairs;
    struct rf_sst_block    blocks[2]; /* for look-ups: the best so far, and the one being read */
    struct rf_sst_block  healed_blocks[2]; /* the same for RF_TABLE_HEALED, amid another look-up */
    struct rf_cold_queue cold;
    /* Syncs. */
    bool     sync_open;       /* somebody of waiting_open waits for a sync */
    uint64_t sync_open_us;    /* when one is due for the open group; UINT64_MAX: not */
    uint64_t sync_written_us; /* ditto, for what is written */
    uint64_t log_us;          /* as rf_store_set_log_time told */
    uint64_t group_us;        /* begin of the last group; 0: a mark followed */
    /* Background. */
    uint64_t           wall_ms;
    uint64_t           retry_at_ms;       /* after a failed job */
    uint64_t           merge_retry_at_ms; /* after a failed merge */
    size_t             memory;            /* bytes of all memtables */
    _Atomic uint64_t   unflushed;         /* `memory`, for whoever measures the disk */
    unsigned           no_space; /* enum rf_space_writer, set: found none and are tried again */
    bool               no_descriptor;   /* the log cannot open its next segment, and waits */
    bool               was_full;        /* the memtables were flushed when the disk became full */
    bool               measure;         /* the group on its way is followed by a look at the disk */
    uint64_t           measured_at;     /* bytes of the log at the last one */
    uint64_t           log_retry_at_ms; /* the group that found no space is written again */
    uint64_t           space_at_ms;     /* when to look at the free space again */
    uint64_t           purge_at_ms;     /* when to look for what has expired again */
    bool               flush_due;       /* some part wants a flush */
    bool               compaction_due;  /* some part must be looked at */
    bool               flushing, trimming, recording; /* such a job is under way */
    uint32_t           merges;     /* under way, each in a partition of its own */
    uint32_t           score;      /* highest of all parts; >= 1000: writers are slowed down */
    bool               damage_due; /* some damage is not on record */
    bool               trim_due;
    bool               trim_old; /* the segments of earlier runs can go */
    bool               trim_failed;
    struct rf_garbage *garbage;
    uint32_t           n_garbage, cap_garbage;
};

struct rf_old_segment {
    char name[RF_WAL_NAME_SIZE];
    bool damaged; /* is put aside, not deleted: it may be all that is left of some writes */
};

enum rf_space_level {
    RF_SPACE_OK,
    RF_SPACE_LOW,      /* twice the reserve is left: the alarm */
    RF_SPACE_FULL,     /* the reserve: no new values */
    RF_SPACE_CRITICAL, /* a quarter of it: no hints and repairs either */
};

/* Who must have space, or nothing is acknowledged any more in the end. */
enum rf_space_writer { RF_SPACE_LOG = 1, RF_SPACE_FLUSH = 2 };

/* The disk, as measured last; space.c. */
struct rf_space {
    _Atomic uint64_t free_bytes, total_bytes, needed_bytes;
    _Atomic uint64_t step_bytes;  /* of the log until it is measured again */
    _Atomic uint32_t level;       /* enum rf_space_level */
    _Atomic uint32_t n_without;   /* stores whose log or flush found no space */
    _Atomic uint32_t n_read_only; /* stores whose log has failed */
};

struct rf_engine {
    struct rf_engine_config config;
    struct rf_file          lock;
    bool                    locked;
    struct rf_identity      identity;
    struct rf_recovery      recovery;
    struct rf_partition    *partitions; /* n_partitions */
    struct rf_store        *stores;
    struct rf_old_segment  *old_segments; /* of earlier runs, in order */
    uint32_t                n_old_segments, cap_old_segments;
    struct rf_space         space;
    _Atomic uint64_t        old_bytes; /* of them; 0 when they are gone */
    _Atomic bool            old_gone;  /* and with them what must go before newer segments may */
    _Atomic uint32_t        old_pins;  /* memtables that hold rows of them */
    _Atomic uint64_t        reserved;  /* bytes of the disk that jobs under way still need */
    struct rf_blob        **meta;      /* what rf_engine_meta has given out */
    uint32_t                n_meta, cap_meta;
};

enum rf_find { RF_FIND_ABSENT, RF_FIND_FOUND, RF_FIND_CANNOT_SAY, RF_FIND_COLD };
struct rf_search;

/* ---- store.c */
/* The table's data in the store; made when missing. NULL without memory. */
struct rf_store_table *rf_store_table_of(struct rf_store *store, uint64_t id);
/* Puts a row into the memtable if it wins against what is there (recovery). */
RF_CHECKED struct rf_result rf_store_merge_row(struct rf_store *store, uint64_t table,
                                               uint64_t token, const struct rf_row *row);
RF_CHECKED struct rf_result rf_store_init(struct rf_store *store, struct rf_engine *engine,
                                          uint32_t shard);
void                        rf_store_fini(struct rf_store *store);
/* Runs an operation to its end or until it waits; does not take op->row.blob (a read of the disk
 * that begins takes its own reference). RF_OK with done, RF_PENDING. */
RF_CHECKED struct rf_result rf_store_start(struct rf_store *store, const struct rf_store_op *op,
                                           struct rf_store_done *done);
/* The second half of an APPLY or READ, after its look-up. */
RF_CHECKED struct rf_result rf_store_finish(struct rf_store *store, const struct rf_store_op *op,
                                            enum rf_find found, const struct rf_search *search,
                                            struct rf_store_done *done);
/* A completion for `poll`. Without memory it is lost, and its request runs into the timeout. */
void rf_store_complete(struct rf_store *store, struct rf_store_done *done);
/* The answer waits until the sequence is durable, as far as the mode asks for. RF_PENDING, or RF_OK
 * when it is already (or there
 * is no memory or no working log to wait for: then the answer is a failure, and nothing is lost). */
RF_CHECKED struct rf_result rf_store_wait_durable(struct rf_store *store, enum rf_sync_mode mode,
                                                  uint64_t seq, struct rf_store_done *done);

/* ---- find.c */
#define RF_FAULTS_MAX 8u

/* A block that failed its check. */
struct rf_fault {
    struct rf_data_file *file;
    uint64_t             block;
};

/* A look-up on its way. Files may be asked on any thread. */
struct rf_search {
    const struct rf_table_policy *policy;
    struct rf_sst_block          *blocks; /* two: of the best row so far, and the one being read */
    uint64_t                      token;
    struct rf_slice               key;
    uint64_t                      floor_hlc; /* older rows do not matter */
    struct rf_row                 best;      /* hlc 0: none yet; borrows blocks[0] or a memtable */
    uint64_t                      seq;       /* of best; 0: durable */
    bool                          unreadable;
    uint64_t        unreadable_hlc; /* highest version that may be where nothing could be read */
    struct rf_fault faults[RF_FAULTS_MAX]; /* more are found when they are read again */
    uint32_t        n_faults;
    uint32_t        asked, skipped, negatives;
    uint64_t damage; /* CANNOT_SAY: the newest damage that may hide the key; 0: another reason */
};

/* Prepares the look-up of a key. @param floor rows older than it do not matter, so that files
 * without newer ones are not asked (D1, D7); NULL: all matter. */
void rf_search_init(struct rf_search *search, const struct rf_table_policy *policy, uint64_t token,
                    struct rf_slice key, const struct rf_row *floor);
/* Asks one file, unless its versions or its filter make that needless. False: the block is not in
 * memory, and search->blocks say that the disk must not be waited for. Blocks: reads a block. */
bool rf_search_file(struct rf_search *search, struct rf_data_file *file);
/* The key's newest row in memtables and files, as search->best, which borrows the store until the
 * next look-up. @param cached_only never waits for the disk: COLD, with the first file that was not
 * asked in *ret_file. CANNOT_SAY may come with a row: what can be read. Thread: owner. */
enum rf_find rf_store_find(struct rf_store *store, struct rf_store_table *table,
                           struct rf_search *search, bool cached_only, uint32_t *ret_file);
/* What a look-up that has asked all files says; its faults and counters go to the store. Owner. */
enum rf_find rf_store_judge(struct rf_store *store, struct rf_store_table *table,
                            struct rf_search *search);

/* ---- damage.c: what is lost, and which keys of it were repaired. Thread: owner, or recovery. */
/* A block failed its check: notes its interval, once. */
void rf_damage_note_block(struct rf_store *store, struct rf_store_table *table, uint32_t partition,
                          struct rf_data_file *file, uint64_t block);
/* Adds a damage to the part; false without memory. */
bool rf_damage_add(struct rf_part *part, const struct rf_damage *damage);
/* A file of the manifest cannot be opened: notes and records that, once. Blocks. */
RF_CHECKED struct rf_result rf_damage_note_file(struct rf_engine *engine, struct rf_part *part,
                                                uint32_t partition, const struct rf_edit *edit);
/* The newest damage that may hide a version of the token above `hlc`; 0: none. */
uint64_t rf_damage_hiding(const struct rf_store *store, const struct rf_store_table *table,
                          uint64_t token, uint64_t hlc);
/* May rows of the partition's token range be missing? */
bool rf_damage_in_range(const struct rf_store *store, const struct rf_store_table *table,
                        uint32_t partition, uint64_t first_token, uint64_t last_token);
/* Was the key repaired after that damage? False also when that is not known without the disk. */
bool rf_damage_is_healed(struct rf_store *store, const struct rf_store_table *table, uint64_t token,
                         struct rf_slice key, uint64_t damage);
/* The row that says so from now on; false when the key need not, or cannot yet, be noted. The row
 * borrows ret_key. */
bool rf_damage_heal(struct rf_store *store, const struct rf_store_table *table,
                    const struct rf_store_op *op, uint8_t ret_key[RF_ROW_KEY_MAX],
                    struct rf_row *ret_row);

/* ---- cold.c: operations whose blocks are not in memory */
struct rf_scan;
/* Is the key being read from the disk? Then its later operations wait. Cheap when nothing is. */
bool rf_cold_has(const struct rf_store *store, const struct rf_store_op *op);
/* The operation waits for its key, or its look-up goes on in a thread that may block, from file
 * number `from` on. Both take over the row's reference. RF_PENDING, or RF_LIMIT, RF_NO_MEMORY
 * (nothing was taken). Thread: owner. */
RF_CHECKED struct rf_result rf_cold_wait(struct rf_store *store, const struct rf_store_op *op);
RF_CHECKED struct rf_result rf_cold_start(struct rf_store *store, struct rf_store_table *table,
                                          const struct rf_store_op *op,
                                          const struct rf_search *search, uint32_t from);
/* The same for a scan; the scan passes over. */
RF_CHECKED struct rf_result rf_cold_start_scan(struct rf_store *store, const struct rf_store_op *op,
                                               struct rf_scan *scan);
void                        rf_cold_fini(struct rf_store *store);

/* ---- scan.c: rows of one partition. As submit. */
RF_CHECKED struct rf_result rf_store_scan(struct rf_store *store, struct rf_store_table *table,
                                          const struct rf_store_op *op, struct rf_store_done *done);
/* A cold scan: on a thread that may block; then its answer and its end on the owner's. */
void                        rf_scan_run(struct rf_scan *scan);
RF_CHECKED struct rf_result rf_scan_answer(struct rf_store *store, struct rf_scan *scan,
                                           struct rf_store_done *done);
void                        rf_scan_free(struct rf_scan *scan);

/* ---- partition.c */
/* Reads all manifests and opens all files; deletes what no manifest knows. Blocks. */
RF_CHECKED struct rf_result rf_partitions_open(struct rf_engine *engine);
void                        rf_partitions_close(struct rf_engine *engine);
/* A file entry for an open table; NULL without memory. */
struct rf_data_file *rf_data_file_new(struct rf_sst *sst);
/* One reference less; the last one closes its table and frees it. Thread: owner. */
void rf_data_file_drop(struct rf_data_file *file);
/* The edit that adds the file. */
struct rf_edit rf_edit_of(const struct rf_sst_info *info);
/* Room for n more files. RF_OK, RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_part_reserve(struct rf_part *part, uint32_t n);
/* Puts the file into the part, newest first; there is room. */
void rf_part_insert(struct rf_part *part, struct rf_data_file *file);
void rf_part_remove(struct rf_part *part, const struct rf_data_file *file);
/* Marks the partition as one that cannot say, durably. Blocks. */
RF_CHECKED struct rf_result rf_partition_quarantine(struct rf_engine *engine, uint32_t partition);
/* Makes the partition's directory, durably. Blocks. */
RF_CHECKED struct rf_result rf_partition_make_dir(struct rf_engine *engine, uint32_t partition);

/* ---- limits.c */
/* Lowest sequence that only memtables hold; UINT64_MAX when none. */
uint64_t rf_store_pinned_seq(const struct rf_store *store);
/* After a row went into a memtable: are limits reached? Marks what must be flushed. */
void rf_store_check_limits(struct rf_store *store, struct rf_store_table *table);
/* May another row be taken in? */
bool rf_store_has_room(const struct rf_store *store);

/* ---- space.c */
/* The first look, when the stores are recovered: a node may start on a full disk. */
void rf_space_start(struct rf_engine *engine);
/* Looks at the disk's free space. Thread: any. Blocks: as statvfs. */
void rf_space_measure(struct rf_engine *engine);
/* Is new data refused? Thread: any. */
bool rf_space_is_full(const struct rf_engine *engine);
/* Is this row refused for want of space? Thread: owner. */
bool rf_space_refuses(const struct rf_store *store, const struct rf_store_op *op);
/* The log or a flush of this store found no space, or is past that. Logged once. Thread: owner. */
void rf_space_found_none(struct rf_store *store, enum rf_space_writer writer, bool none);
/* A group of the log begins: decides whether the disk is measured behind it. Thread: owner. */
void rf_space_begin_group(struct rf_store *store);

/* ---- compaction.c */
struct rf_compaction {
    uint32_t inputs[RF_FILES_MAX]; /* indices into the part's files */
    uint32_t n;
    uint32_t output_level;
    uint64_t output_max_bytes; /* 0: one file */
    bool     drop;             /* nothing in the inputs is needed any more: no merge, no output */
};
/* What to merge next in a part: the table's strategy is asked and its plan checked. False: nothing. */
bool rf_compaction_pick(struct rf_store_table *table, const struct rf_part *part, uint64_t wall_ms,
                        struct rf_compaction *ret_compaction);
/* How far behind the part's merges are, in thousandths, by its strategy; 0 when that does not say. */
uint32_t rf_compaction_score(struct rf_store_table *table, const struct rf_part *part,
                             uint64_t wall_ms);
/* Can time alone make work in the part: does something in its files expire, or wait to be purged? */
bool rf_compaction_ages(const struct rf_store_table *table, const struct rf_part *part);

static inline uint32_t rf_partition_of(const struct rf_engine *engine, uint64_t token)
{
    return (uint32_t)token & (engine->identity.n_partitions - 1);
}

static inline struct rf_store *rf_store_of_partition(struct rf_engine *engine, uint32_t partition)
{
    return &engine->stores[partition % engine->config.n_shards];
}

#endif
