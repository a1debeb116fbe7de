/* Inside of the engine: engine.c (directory, recovery) and store.c (operations of one shard). */
#ifndef RF_STORAGE_ENGINE_PRIVATE_H
#define RF_STORAGE_ENGINE_PRIVATE_H

#include "base/assert.h"
#include "storage/engine.h"
#include "storage/identity.h"
#include "storage/memtable.h"
#include "storage/wal.h"

#define RF_STORE_MAGIC 0x53544f52u
#define RF_PATH_SIZE 4096u

/* One table in one partition. */
struct rf_part {
    struct rf_memtable *active; /* NULL when empty */
};

/* A table's data in one store. */
struct rf_store_table {
    uint64_t               id;
    struct rf_table_policy policy; /* conflict NULL: only versions count */
    struct rf_part        *parts;  /* by partition */
};

/* Completions in order; grows to the number of operations under way, which the callers bound. */
struct rf_done_list {
    struct rf_store_done *list;
    uint32_t              n, cap;
};

struct rf_store {
    uint32_t              magic;
    uint32_t              shard;
    struct rf_engine     *engine;
    struct rf_wal        *wal;
    struct rf_store_table *tables; /* sorted by id */
    uint32_t              n_tables, cap_tables;
    struct rf_done_list   waiting_open;    /* for the group that gathers */
    struct rf_done_list   waiting_writing; /* for the group on its way */
    struct rf_done_list   ready;
    uint32_t              ready_at; /* taken by poll up to here */
    struct rf_store_stats stats;
};

struct rf_engine {
    struct rf_engine_config config;
    struct rf_file          lock;
    bool                    locked;
    struct rf_identity      identity;
    struct rf_recovery      recovery;
    struct rf_store        *stores;
};

/* The table's data in the store; made when missing. NULL without memory. */
struct rf_store_table *rf_store_table_of(struct rf_store *store, uint64_t id);
/* Puts a row into the memtable if it wins against what is there (recovery and applies). */
RF_CHECKED struct rf_result rf_store_merge_row(struct rf_store *store, struct rf_store_table *table,
                                               uint64_t token, const struct rf_row *row,
                                               uint64_t seq);
RF_CHECKED struct rf_result rf_store_init(struct rf_store *store, struct rf_engine *engine,
                                          uint32_t shard);
void rf_store_fini(struct rf_store *store);

/* scan.c: rows of one partition. As submit. */
RF_CHECKED struct rf_result rf_store_scan(struct rf_store *store, struct rf_store_table *table,
                                          const struct rf_store_op *op, struct rf_store_done *done);
/* The answer waits until the sequence is durable. RF_PENDING, or RF_OK when it is already (or there
 * is no memory or no working log to wait for: then the answer is a failure, and nothing is lost). */
RF_CHECKED struct rf_result rf_store_wait_durable(struct rf_store *store, uint64_t seq,
                                                  struct rf_store_done *done);

static inline uint32_t rf_partition_of(const struct rf_engine *engine, uint64_t token)
{
    return (uint32_t)token & (engine->identity.n_partitions - 1);
}

#endif
