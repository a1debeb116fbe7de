/* Inside of the engine: engine.c (directory, recovery), partition.c (manifests and files at the
 * start), store.c (operations of one shard), find.c (look-ups), scan.c, job.c (background jobs),
 * compaction.c (what to merge). */
#ifndef RF_STORAGE_ENGINE_PRIVATE_H
#define RF_STORAGE_ENGINE_PRIVATE_H

#include <stdatomic.h>

#include "base/assert.h"
#include "storage/engine.h"
#include "storage/identity.h"
#include "storage/manifest.h"
#include "storage/memtable.h"
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
    bool           busy;    /* input of a compaction */
    bool           damaged; /* a block failed its check: not merged any more */
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
    bool                  damaged;          /* a file could not be opened: it cannot say (D10) */
};

/* A table's data in one store. */
struct rf_store_table {
    uint64_t               id;
    struct rf_table_policy policy; /* conflict NULL: only versions count */
    struct rf_part        *parts;  /* by partition; stays where it is */
    size_t                 active_bytes;
    bool                   strategy_failed; /* the plugin gave a wrong plan: nothing is picked */
};

/* What the tables of a partition share. Belongs to the store of the partition's shard. */
struct rf_partition {
    struct rf_manifest manifest; /* of the job that holds the partition */
    bool               dir_made;
    bool               busy;        /* a job holds it */
    bool               quarantined; /* has lost data: tables of users cannot say (S31) */
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
    struct rf_sst_block    blocks[2]; /* for look-ups: the best so far, and the one being read */
    /* Background. */
    uint64_t           wall_ms;
    uint64_t           retry_at_ms;    /* after a failed job */
    size_t             memory;         /* bytes of all memtables */
    bool               disk_full;      /* new values are refused */
    bool               log_waits;      /* the group on its way found no space and is tried again */
    uint64_t           space_at_ms;    /* when to look at the free space again */
    uint64_t           purge_at_ms;    /* when to look for what has expired again */
    bool               flush_due;      /* some part wants a flush */
    bool               compaction_due; /* some part must be looked at */
    bool               flushing, trimming; /* a job of this kind is under way */
    uint32_t           merges;             /* under way, each in a partition of its own */
    uint32_t           score; /* highest of all parts; >= 1000: writers are slowed down */
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
    _Atomic uint64_t        old_bytes; /* of them; 0 when they are gone */
    _Atomic bool            old_gone;  /* and with them what must go before newer segments may */
    _Atomic uint32_t        old_pins;  /* memtables that hold rows of them */
    _Atomic uint64_t        reserved;  /* bytes of the disk that jobs under way still need */
    struct rf_blob        **meta;      /* what rf_engine_meta has given out */
    uint32_t                n_meta, cap_meta;
};

/* ---- store.c */
/* The table's data in the store; made when missing. NULL without memory. */
struct rf_store_table *rf_store_table_of(struct rf_store *store, uint64_t id);
/* Puts a row into the memtable if it wins against what is there (recovery). */
RF_CHECKED struct rf_result rf_store_merge_row(struct rf_store *store, uint64_t table,
                                               uint64_t token, const struct rf_row *row);
RF_CHECKED struct rf_result rf_store_init(struct rf_store *store, struct rf_engine *engine,
                                          uint32_t shard);
void                        rf_store_fini(struct rf_store *store);
/* The answer waits until the sequence is durable. RF_PENDING, or RF_OK when it is already (or there
 * is no memory or no working log to wait for: then the answer is a failure, and nothing is lost). */
RF_CHECKED struct rf_result rf_store_wait_durable(struct rf_store *store, uint64_t seq,
                                                  struct rf_store_done *done);

/* ---- find.c */
enum rf_find { RF_FIND_ABSENT, RF_FIND_FOUND, RF_FIND_CANNOT_SAY };
/* The key's newest row in memtables and files. @param floor rows older than it do not matter, so
 * that files without newer ones are not asked (D1, D7); NULL: all matter. ret_row borrows the
 * store until the next look-up; ret_seq 0: durable. CANNOT_SAY may come with a row (hlc != 0): what
 * can be read. Thread: owner. Blocks: reads blocks. */
enum rf_find rf_store_find(struct rf_store *store, struct rf_store_table *table, uint64_t token,
                           struct rf_slice key, const struct rf_row *floor, struct rf_row *ret_row,
                           uint64_t *ret_seq);
/* Does the part answer for everything it ever acknowledged? */
bool rf_part_can_say(const struct rf_store *store, const struct rf_store_table *table,
                     uint32_t partition);

/* ---- scan.c: rows of one partition. As submit. */
RF_CHECKED struct rf_result rf_store_scan(struct rf_store *store, struct rf_store_table *table,
                                          const struct rf_store_op *op, struct rf_store_done *done);

/* ---- partition.c */
/* Reads all manifests and opens all files; deletes what no manifest knows. Blocks. */
RF_CHECKED struct rf_result rf_partitions_open(struct rf_engine *engine);
void                        rf_partitions_close(struct rf_engine *engine);
/* A file entry for an open table; NULL without memory. */
struct rf_data_file *rf_data_file_new(struct rf_sst *sst);
/* Closes its table and frees it. */
void rf_data_file_free(struct rf_data_file *file);
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
/* After a row went into a memtable: are limits reached? Marks what must be flushed. */
void rf_store_check_limits(struct rf_store *store, struct rf_store_table *table);

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
