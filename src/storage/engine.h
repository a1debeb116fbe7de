/* The storage engine of a node: its directory, identity and recovery, and one store per shard.
 *
 * Directory: LOCK, identity, wal/. Partitions (a power of two, fixed at the first start) are cut by
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
    uint64_t     random;       /* from the host: becomes the node id at the first start */
};

/* Why opening failed, for the operator. */
struct rf_engine_error {
    char text[512];
};

/* Opens, locks and recovers. Every start raises the generation, durably.
 * Returns RF_OK; RF_CONFLICT (another process holds the directory); RF_WRONG_VERSION; RF_CORRUPT;
 * RF_IO_ERROR; RF_NO_MEMORY. Thread: the starting one. Blocks: yes. */
RF_CHECKED struct rf_result rf_engine_open(const struct rf_engine_config *config,
                                           struct rf_engine **ret_engine,
                                           struct rf_engine_error *ret_error);
/* Closes. No store may have a group or an operation under way. */
void rf_engine_close(struct rf_engine *engine);

uint64_t rf_engine_node(const struct rf_engine *engine); /* random id, low 8 bits 0 */
uint64_t rf_engine_generation(const struct rf_engine *engine);
uint32_t rf_engine_n_partitions(const struct rf_engine *engine);
/* The shard that owns a token's partition. Thread: any. */
uint32_t rf_engine_shard_of(const struct rf_engine *engine, uint64_t token);

/* The shard that runs the operation: a scan names its partition, the others a token. Thread: any. */
uint32_t rf_engine_op_shard(const struct rf_engine *engine, const struct rf_store_op *op);

/* Makes a table known to every store; before the stores are used. */
RF_CHECKED struct rf_result rf_engine_add_table(struct rf_engine            *engine,
                                                const struct rf_table_policy *policy);

struct rf_store *rf_engine_store(struct rf_engine *engine, uint32_t shard);

/* A row of RF_TABLE_META as recovery left it; false when there is none. For the start only, before
 * the stores are used. ret_row borrows the engine's memory. */
bool rf_engine_meta(const struct rf_engine *engine, const char *key, struct rf_row *ret_row);

/* What recovery found, for the log. */
struct rf_recovery {
    uint64_t segments, records, torn_tails, damaged_segments;
};
struct rf_recovery rf_engine_recovery(const struct rf_engine *engine);

/* ---- The store of one shard: implements rf_store_ops; `store` is the argument ------------- */
extern const struct rf_store_ops rf_lsm_ops;

/* The log: as rf_wal_begin/run/end; `end` turns waiting operations into completions for `poll`. */
bool rf_store_log_begin(struct rf_store *store);
void rf_store_log_run(struct rf_store *store); /* the log thread; blocks */
void rf_store_log_end(struct rf_store *store);

struct rf_store_stats {
    uint64_t applies, reads, scans, newer, memtable_hits;
    uint64_t wal_groups, wal_bytes, wal_records;
    uint64_t memtable_bytes, memtable_rows; /* gauges */
    uint64_t read_only; /* gauge, 1: the log failed; nothing is acknowledged any more */
};
struct rf_store_stats rf_store_stats(const struct rf_store *store);

#endif
