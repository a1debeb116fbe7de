/* The model store: the simulator's simple implementation of struct rf_store_ops. An ordered map per
 * shard with the same rules as the real store: an apply is acknowledged after a sync, a read never
 * shows what is not durable, the newest version wins. A crash loses a random tail of what was not
 * synced. Thread: the simulator's. Blocks: no. */
#ifndef RF_SIM_MODEL_STORE_H
#define RF_SIM_MODEL_STORE_H

#include "base/rng.h"
#include "format/store_op.h"

struct rf_model_store;

/* One stored row, in (table, token, key) order. */
struct rf_model_row {
    uint64_t      table;
    uint64_t      token;
    struct rf_row row; /* holds a blob reference */
};

/* NULL without memory. @param partition_mask partitions - 1: a SCAN sees the tokens of one. */
struct rf_model_store *rf_model_new(uint64_t partition_mask);
void                   rf_model_free(struct rf_model_store *store);

/* As rf_store_log_begin / _end of the real store: what was appended until `begin` is durable at
 * `end`, and its completions come out of poll. False: nothing to sync. */
bool rf_model_sync_begin(struct rf_model_store *store);
void rf_model_sync_end(struct rf_model_store *store);

/* The process dies: a random prefix of what is not synced survives, completions are lost. */
void rf_model_crash(struct rf_model_store *store, struct rf_rng *rng);

/* While set, applies to tables of users answer RF_STORE_FULL. */
void rf_model_set_full(struct rf_model_store *store, bool full);

/* What is durable, for the start of a node and for checking. */
uint32_t                   rf_model_count(const struct rf_model_store *store);
const struct rf_model_row *rf_model_at(const struct rf_model_store *store, uint32_t index);
/* The durable row of a key; NULL when there is none. */
const struct rf_row *rf_model_find(const struct rf_model_store *store, uint64_t table,
                                   uint64_t token, struct rf_slice key);
/* Equal contents give equal digests. */
uint64_t rf_model_digest(const struct rf_model_store *store);

extern const struct rf_store_ops rf_model_ops;

#endif
