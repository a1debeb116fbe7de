/* Limits of memory and log: what must be flushed when one is reached, and what holds the log back.
 * The node's limits are shared evenly by its stores. */
#include "storage/engine_private.h"

#define PART_MIN_BYTES 4096u /* smaller memtables are not worth a file when memory is short */

static uint64_t share_of(const struct rf_store *store, uint64_t limit)
{
    return limit == 0 ? UINT64_MAX : limit / store->engine->config.n_shards;
}

static void want_flush(struct rf_store *store, struct rf_store_table *table)
{
    for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
         p += store->engine->config.n_shards) {
        table->parts[p].want_flush = table->parts[p].active != NULL;
    }
    store->flush_due = true;
}

static void want_largest(struct rf_store *store)
{
    struct rf_store_table *largest = &store->tables[0];
    rf_assert(store->n_tables >= 1);
    for (uint32_t t = 1; t < store->n_tables; t++) {
        if (store->tables[t].active_bytes > largest->active_bytes) {
            largest = &store->tables[t];
        }
    }
    if (largest->active_bytes >= PART_MIN_BYTES) {
        want_flush(store, largest);
    }
}

/* Flushes what holds rows of the oldest segment. */
static void want_oldest(struct rf_store *store)
{
    bool     old = !atomic_load(&store->engine->old_gone);
    uint64_t seq = old ? 0 : rf_wal_oldest_seq(store->wal);
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
             p += store->engine->config.n_shards) {
            struct rf_part *part = &store->tables[t].parts[p];
            if (part->active != NULL && rf_memtable_first_seq(part->active) <= seq) {
                part->want_flush = true;
                store->flush_due = true;
            }
        }
    }
}

void rf_store_check_limits(struct rf_store *store, struct rf_store_table *table)
{
    const struct rf_engine_config *config = &store->engine->config;
    if (store->flush_due) {
        return; /* the last answer to a limit is still being worked on */
    }
    uint64_t log =
        rf_wal_live_bytes(store->wal) + atomic_load(&store->engine->old_bytes) / config->n_shards;
    if (table->active_bytes > share_of(store, config->memtable_max)) {
        want_flush(store, table);
    } else if (store->memory > share_of(store, config->memtable_total_max)) {
        want_largest(store);
    } else if (log > share_of(store, config->wal_max)) {
        want_oldest(store);
    }
}

bool rf_store_has_room(const struct rf_store *store)
{
    return store->memory / 2 <= share_of(store, store->engine->config.memtable_total_max);
}

uint64_t rf_store_pinned_seq(const struct rf_store *store)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
             p += store->engine->config.n_shards) {
            const struct rf_part     *part = &store->tables[t].parts[p];
            const struct rf_memtable *memtables[2] = {part->active, part->frozen};
            for (int i = 0; i < 2; i++) {
                uint64_t seq =
                    memtables[i] == NULL ? UINT64_MAX : rf_memtable_first_seq(memtables[i]);
                lowest = seq < lowest ? seq : lowest;
            }
        }
    }
    return lowest;
}

void rf_store_request_flush(struct rf_store *store)
{
    for (uint32_t t = 0; t < store->n_tables; t++) {
        want_flush(store, &store->tables[t]);
    }
}

bool rf_store_flush_wanted(const struct rf_store *store)
{
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
             p += store->engine->config.n_shards) {
            const struct rf_part *part = &store->tables[t].parts[p];
            if (part->frozen != NULL || (part->want_flush && part->active != NULL)) {
                return true;
            }
        }
    }
    return false;
}

void rf_store_request_compaction(struct rf_store *store)
{
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
             p += store->engine->config.n_shards) {
            struct rf_part *part = &store->tables[t].parts[p];
            part->want_major = part->n_files != 0;
            store->compaction_due = store->compaction_due || part->want_major;
        }
    }
}

bool rf_store_compaction_wanted(const struct rf_store *store)
{
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
             p += store->engine->config.n_shards) {
            if (store->tables[t].parts[p].want_major) {
                return true;
            }
        }
    }
    return store->compacting;
}
