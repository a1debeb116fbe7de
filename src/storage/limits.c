/* Limits of memory and log: what must be flushed when one is reached, and what holds the log back.
 * The node's limits are shared evenly by its stores. */
#include "storage/engine_private.h"

#define DELAY_MAX_US 200000u  /* a group of writes waits so long at most */
#define DELAY_FULL_OVER 1500u /* thousandths of score above 1000 from which on it does */
#define PART_MIN_BYTES 4096u  /* smaller memtables are not worth a file when memory is short */

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

/* The largest table that comes after (bytes, index) in the order of sizes, largest first; n_tables when
 * there is none that is worth a flush. */
static uint32_t next_largest(const struct rf_store *store, size_t bytes, uint32_t index)
{
    uint32_t found = store->n_tables;
    size_t   most = 0;
    for (uint32_t t = 0; t < store->n_tables; t++) {
        size_t active = store->tables[t].active_bytes;
        bool   after = active < bytes || (active == bytes && t > index);
        if (after && active >= PART_MIN_BYTES && active > most) {
            found = t;
            most = active;
        }
    }
    return found;
}

/* Flushes the largest tables, as many as it takes to come below seven eighths of the limit: one is
 * enough when it is large, and many small ones must not lag behind what is written. */
static void want_largest(struct rf_store *store, uint64_t limit)
{
    uint64_t excess = store->memory - limit / 8 * 7;
    uint64_t wanted = 0;
    size_t   bytes = SIZE_MAX;
    uint32_t table = store->n_tables;
    rf_assert(store->memory > limit);
    while (wanted < excess) {
        table = next_largest(store, bytes, table);
        if (table == store->n_tables) {
            return;
        }
        bytes = store->tables[table].active_bytes;
        wanted += bytes;
        want_flush(store, &store->tables[table]);
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
        want_largest(store, share_of(store, config->memtable_total_max));
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
    return store->merges != 0;
}

/* Above its limit memory is short until flushes have caught up; at twice the limit writes are refused. */
static uint64_t memory_score(const struct rf_store *store)
{
    uint64_t limit = share_of(store, store->engine->config.memtable_total_max);
    return limit / 1000 == 0 ? 0 : store->memory / (limit / 1000);
}

uint64_t rf_store_delay_us(const struct rf_store *store)
{
    uint64_t memory = memory_score(store);
    uint64_t score = memory > store->score ? memory : store->score;
    if (score <= 1000) {
        return 0;
    }
    uint64_t over = score - 1000;
    return over >= DELAY_FULL_OVER ? DELAY_MAX_US
                                   : over * over * DELAY_MAX_US / DELAY_FULL_OVER / DELAY_FULL_OVER;
}
