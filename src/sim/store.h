/* The storage of a simulated node: model stores, or the real engine on a simulated disk. */
#ifndef RF_SIM_STORE_H
#define RF_SIM_STORE_H

#include "base/rng.h"
#include "format/store_op.h"
#include "plugins/loader.h"

struct rf_sim_store;

struct rf_sim_store_config {
    bool                    engine; /* the real one */
    uint64_t                node;   /* the node's id */
    uint64_t                seed;
    uint32_t                n_shards, n_partitions;
    uint64_t                table;      /* of users */
    const struct rf_plugin *compaction; /* of the engine; NULL: none */
    void                   *compaction_options;
};

struct rf_sim_store *rf_sim_store_new(const struct rf_sim_store_config *config);
void                 rf_sim_store_free(struct rf_sim_store *store);

/* The node starts. False, with a sentence, when the engine refuses its own directory. */
bool rf_sim_store_open(struct rf_sim_store *store, char why[512]);
/* The process dies at a random point of what its store was just doing; with a power cut what was
 * not synced is partly lost, else only what was not written. */
void rf_sim_store_crash(struct rf_sim_store *store, struct rf_rng *rng, bool power_cut);

/* As rf_store_ops. */
struct rf_result rf_sim_store_submit(struct rf_sim_store *store, uint32_t shard,
                                     struct rf_store_op *op, struct rf_store_done *ret_done);
uint32_t         rf_sim_store_poll(struct rf_sim_store *store, uint32_t shard,
                                   struct rf_store_done *ret_done, uint32_t max);
/* The log of a shard: begin answers whether there is something to sync; end does it. */
bool rf_sim_store_sync_begin(struct rf_sim_store *store, uint32_t shard, uint64_t mono_us);
void rf_sim_store_sync_end(struct rf_sim_store *store, uint32_t shard);
/* Reads that wait for the disk: begin takes the next one, false when there is none (or too many are
 * under way); end ends one of those that were begun, whichever. */
bool rf_sim_store_read_begin(struct rf_sim_store *store, uint32_t shard);
void rf_sim_store_read_end(struct rf_sim_store *store, uint32_t shard, struct rf_rng *rng);
/* Flush and compaction: one piece of work of a shard, if any is due. */
void rf_sim_store_work(struct rf_sim_store *store, uint32_t shard, uint64_t wall_ms);

void rf_sim_store_set_full(struct rf_sim_store *store, bool full);
/* The durable row of a key, for the checkers and the start of a node; false when there is none. The
 * caller drops its blob. */
bool     rf_sim_store_get(struct rf_sim_store *store, uint64_t table, struct rf_slice key,
                          uint64_t token, struct rf_row *ret_row);
uint64_t rf_sim_store_digest(const struct rf_sim_store *store);
/* Files flushed and merged so far, over all lives. */
uint64_t rf_sim_store_flushes(const struct rf_sim_store *store);
uint64_t rf_sim_store_cold_reads(const struct rf_sim_store *store); /* ditto */

#endif
