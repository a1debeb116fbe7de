/* The storage engine of a node: its directory, identity and recovery, and one store per shard.
 *
 * Directory: LOCK, identity, wal/, pNNN/ per partition with its manifest and SSTables. Partitions (a power of two, fixed at the first start) are cut by
 * the low bits of the token and belong to one shard each: partition p to shard p mod n_shards. */
#ifndef RF_STORAGE_ENGINE_H
#define RF_STORAGE_ENGINE_H

#include "base/fs.h"
#include "format/store_op.h"
#include "storage/table.h"

struct rf_engine;
struct rf_store;

struct rf_engine_config {
    struct rf_fs fs;
    const char  *dir;          /* made when missing (its parent must exist) */
    uint32_t     n_partitions; /* 1 … 256, a power of two; used at the first start */
    uint32_t     n_shards;     /* 1 … 254 */
    uint64_t     segment_max;  /* bytes per WAL segment */
    uint64_t wal_allocate; /* space for the log is taken in steps of so many bytes; 0: as written */
    uint64_t random;       /* from the host: becomes the node id at the first start */
    uint64_t secret;       /* ditto, and the logs' secret; independent of `random` */
    /* Limits of the node, shared evenly by the stores; 0: none. */
    uint64_t memtable_max;       /* bytes of one table's memtables; above, they are flushed */
    uint64_t memtable_total_max; /* bytes of all; above, the largest table is flushed, at twice as
                                    much writes are refused */
    uint64_t wal_max;            /* bytes of all segments; above, what pins the oldest is flushed */
    uint32_t
        disk_reserve; /* hundredths of a percent of the disk that are kept for merges; with less
                              free, new values are refused (RF_STORE_FULL), deletes are not */
};

/* Why opening failed, for the operator. */
struct rf_engine_error {
    char text[512];
};

/* Opens, locks and recovers. Every start raises the generation, durably.
 * Returns RF_OK; RF_CONFLICT (another process holds the directory); RF_WRONG_VERSION; RF_CORRUPT;
 * RF_IO_ERROR; RF_NO_MEMORY. Thread: the starting one. Blocks: yes. */
RF_CHECKED struct rf_result rf_engine_open(const struct rf_engine_config *config,
                                           struct rf_engine             **ret_engine,
                                           struct rf_engine_error        *ret_error);
/* Closes. No store may have a group or an operation under way. */
void rf_engine_close(struct rf_engine *engine);

uint64_t rf_engine_node(const struct rf_engine *engine); /* random id, low 8 bits 0 */
uint64_t rf_engine_generation(const struct rf_engine *engine);
/* The cluster that the directory belongs to; 0: none yet, or not known. Thread: that of
 * rf_engine_keep_cluster. */
uint64_t rf_engine_cluster(const struct rf_engine *engine);
/* No cluster is known, but what told it may be lost (damage; an identity of format 1): the node must
 * not form a new one over its old data. Thread: as above. */
bool rf_engine_cluster_unsure(const struct rf_engine *engine);
/* Makes the cluster (not 0) part of the identity; nothing to do when it is already. Called when the
 * cluster's state is durable, so that a crash between the two leaves the state, which tells both.
 * RF_OK, RF_CONFLICT (the directory belongs to another one), RF_IO_ERROR, RF_DISK_RESERVE. Thread:
 * one and the same. Blocks: yes, once in a directory's life. */
RF_CHECKED struct rf_result rf_engine_keep_cluster(struct rf_engine *engine, uint64_t cluster);
uint32_t                    rf_engine_n_partitions(const struct rf_engine *engine);
/* The shard that owns a token's partition. Thread: any. */
uint32_t rf_engine_shard_of(const struct rf_engine *engine, uint64_t token);

/* The shard that runs the operation: a scan names its partition, the others a token. Thread: any. */
uint32_t rf_engine_op_shard(const struct rf_engine *engine, const struct rf_store_op *op);

/* The disk, as it was measured last: with every few MiB written, at the end of every job, and once a
 * second. Thread: any. Blocks: no. */
struct rf_disk_space {
    uint64_t free_bytes, total_bytes;
    uint64_t needed_bytes; /* with less free it is full: the reserve, and room for the memtables */
    bool     low;          /* nearly full: the alarm before */
    bool     full;         /* new values are refused */
};
struct rf_disk_space rf_engine_disk(const struct rf_engine *engine);
/* What this node's storage takes. Thread: any. Blocks: no. */
enum rf_storage_state rf_engine_storage_state(const struct rf_engine *engine);

/* Makes a table known to every store; before the stores are used. */
RF_CHECKED struct rf_result rf_engine_add_table(struct rf_engine             *engine,
                                                const struct rf_table_policy *policy);

struct rf_store *rf_engine_store(struct rf_engine *engine, uint32_t shard);

/* A row of RF_TABLE_META as recovery left it; false when there is none. For the start only, before
 * the stores are used. ret_row borrows the engine's memory. Blocks: may read a file. */
bool rf_engine_meta(struct rf_engine *engine, const char *key, struct rf_row *ret_row);

/* What recovery found, for the log. */
struct rf_recovery {
    uint64_t segments, records, torn_tails, damaged_segments;
    uint64_t files;                  /* SSTables opened */
    uint64_t damaged_files;          /* in a manifest, but not to be read */
    uint64_t deleted_files;          /* left by a crash */
    uint64_t adopted_files;          /* valid ones behind a manifest's bad tail */
    uint64_t quarantined_partitions; /* cannot say (S31, D10) */
    uint64_t unclean_logs;           /* of shards: did not end in order (a crash) */
};
struct rf_recovery rf_engine_recovery(const struct rf_engine *engine);

/* ---- The store of one shard: implements rf_store_ops; `store` is the argument ------------- */
extern const struct rf_store_ops rf_lsm_ops;

/* The log: as rf_wal_begin/run/end; `end` turns waiting operations into completions for `poll`. */
bool rf_store_log_begin(struct rf_store *store);
/* Tells the time of a clock that never jumps, before log_begin: for syncs of tables with `interval`,
 * and for marks when the log is idle. Without it there are none. Thread: owner. */
void rf_store_set_log_time(struct rf_store *store, uint64_t mono_us);
/* When log_begin has something to do although nothing new came; UINT64_MAX: never. Thread: owner. */
uint64_t rf_store_log_wake_us(const struct rf_store *store);
/* Ends the log in order: everything is synced, and the next start can tell. Nothing may be under way
 * or wait, and nothing may be submitted any more. Thread: owner. Blocks: yes. */
void rf_store_log_close(struct rf_store *store);
void rf_store_log_run(struct rf_store *store); /* the log thread; blocks */
void rf_store_log_end(struct rf_store *store);
/* Has the log failed? Then nothing is acknowledged any more. Thread: owner. Blocks: no. */
bool rf_store_read_only(const struct rf_store *store);

/* How long the log should rest before its next group, in microseconds; 0: not at all. It is how writers
 * are slowed down while flushes or merges are behind: acknowledgements come later, and with them the
 * next requests. The delay grows with the square of what the highest score (of the strategies, and of
 * memory) is above 1000, so that there is no cliff, up to 200 ms. Thread: owner. Blocks: no. */
uint64_t rf_store_delay_us(const struct rf_store *store);
/* ---- Cold reads --------------------------------------------------------------------------- */

/* Operations whose blocks are not in memory wait (RF_PENDING) until a thread that may block has read
 * them: `begin` and `end` on the owner thread, `run` on any one thread in between; any number may be
 * under way. They hold the files that they read open. Later operations on the same key wait too. */
struct rf_cold_read;

/* The next one that is due; NULL: none. Cheap when there is none. Thread: owner. Blocks: no. */
struct rf_cold_read *rf_store_cold_begin(struct rf_store *store);
/* Thread: any one. Blocks: reads blocks. */
void rf_cold_read_run(struct rf_cold_read *read);
/* Takes the result over and frees the read; completions come out of `poll`. One that was begun must be
 * run and ended before the engine closes. Thread: owner. Blocks: no. */
void rf_store_cold_end(struct rf_store *store, struct rf_cold_read *read);

/* ---- Background jobs ---------------------------------------------------------------------- */

/* Flush, compaction and deletion run as jobs: `begin` and `end` on the owner thread, `step` on any
 * one thread. At most one flush, one deletion and two merges of a store are under way at a time, each
 * in a partition of its own, so that a long merge does not keep the others waiting. A failed job changes nothing and is tried again a second later. */
struct rf_job;

/* Tells the time (for what expires, and for retries). Thread: owner. Before job_begin. */
void rf_store_set_time(struct rf_store *store, uint64_t wall_ms);
/* The next job that is due; NULL when there is none that can begin now. Cheap when nothing is
 * due. Thread: owner. Blocks: no. */
struct rf_job *rf_store_job_begin(struct rf_store *store);
/* Does a bounded piece of work (about 1 MiB). True when the job is finished. Thread: any one.
 * Blocks: yes. */
bool rf_job_step(struct rf_job *job);
/* A merge is what a limit of bandwidth is for; its bytes of rows so far. Other jobs: false, 0. Thread: the
 * one that steps. */
bool     rf_job_is_merge(const struct rf_job *job);
uint64_t rf_job_merged_bytes(const struct rf_job *job);
/* Takes the result over and frees the job; one that is not finished is given up. RF_OK, or why it
 * failed. Thread: owner. Blocks: no. */
struct rf_result rf_store_job_end(struct rf_store *store, struct rf_job *job);

/* Asks for a flush of all memtables, or for a merge of all files of each table and partition. The
 * work comes out of job_begin. Thread: owner. */
void rf_store_request_flush(struct rf_store *store);
void rf_store_request_compaction(struct rf_store *store);
/* Is asked-for work still to be done (or under way)? */
bool rf_store_flush_wanted(const struct rf_store *store);
bool rf_store_compaction_wanted(const struct rf_store *store);

struct rf_store_stats {
    uint64_t applies, reads, scans, newer, memtable_hits;
    uint64_t bloom_negatives, files_asked, files_skipped; /* look-ups in files */
    uint64_t cache_hits, cache_misses, cache_admitted, cache_refused, cache_evicted, cache_removed;
    uint64_t cache_bytes, cache_rows; /* gauges */
    uint64_t cold_reads, cold_waits;  /* read from the disk; waited for such a read of their key */
    uint64_t cannot_say, damaged_blocks, healed_keys;
    uint64_t damages; /* gauge: token intervals in which rows are lost */
    uint64_t flushes, flushed_rows, flushed_bytes;
    uint64_t compactions, compacted_in_bytes, compacted_out_bytes;
    uint64_t dropped_rows;   /* left out by flush and compaction */
    uint64_t expired_values; /* values that became markers (D2) */
    uint64_t dropped_files;  /* deleted whole: nothing in them was needed any more (D2) */
    uint64_t failed_jobs;
    uint64_t files, file_bytes, file_memory; /* gauges; memory of indexes and filters */
    uint64_t wal_live_bytes;                 /* gauge: segments that are still needed */
    uint64_t quarantined_partitions;         /* gauge */
    uint64_t wal_groups, wal_bytes, wal_records;
    uint64_t memtable_bytes, memtable_rows; /* gauges */
    uint64_t read_only; /* gauge, 1: the log failed; nothing is acknowledged any more */
};
/* Walks all files: once a second, not per request. Thread: owner. Blocks: no. */
struct rf_store_stats rf_store_stats(const struct rf_store *store);

#endif
