/* Look-ups: memtables, then files by filter, merged by version (S68, S69, D1, D10). */
#include "storage/engine_private.h"

bool rf_part_can_say(const struct rf_store *store, const struct rf_store_table *table,
                     uint32_t partition)
{
    /* The node's own tables have no other copy that could say more. */
    return table->id < RF_TABLE_FIRST_USER ||
           (!table->parts[partition].damaged && !store->engine->partitions[partition].quarantined);
}

/* A look-up on its way. */
struct search {
    const struct rf_table_policy *policy;
    struct rf_row                 best; /* hlc 0: none yet */
    uint64_t                      seq;
    uint64_t                      floor_hlc;   /* older rows do not matter */
    uint64_t                      damaged_hlc; /* highest version that may be in a damaged block */
    bool                          damaged;
};

static void take_memtable(struct search *search, const struct rf_memtable *memtable, uint64_t token,
                          struct rf_slice key)
{
    struct rf_row row;
    uint64_t      seq = 0;
    if (memtable == NULL || !rf_memtable_get(memtable, token, key, &row, &seq)) {
        return;
    }
    if (!rf_row_exists(&search->best) ||
        rf_table_resolve(search->policy, &row, &search->best) > 0) {
        search->best = row;
        search->seq = seq;
    }
}

/* Looks into one file. The best row so far borrows blocks[0]; a new best swaps the two. */
static void take_file(struct rf_store *store, struct search *search, struct rf_data_file *file,
                      uint64_t token, struct rf_slice key)
{
    struct rf_row    row;
    uint64_t         max_hlc = rf_sst_info(file->sst)->max_hlc;
    struct rf_result got = rf_sst_get(file->sst, &store->blocks[1], token, key, &row);
    store->stats.files_asked++;
    if (got.rc == RF_NOT_FOUND) {
        return;
    }
    if (!rf_ok(got)) {
        file->damaged = file->damaged || got.rc == RF_CORRUPT;
        store->stats.damaged_blocks += got.rc == RF_CORRUPT;
        search->damaged = true;
        search->damaged_hlc = max_hlc > search->damaged_hlc ? max_hlc : search->damaged_hlc;
        return;
    }
    if (!rf_row_exists(&search->best) ||
        rf_table_resolve(search->policy, &row, &search->best) > 0) {
        struct rf_sst_block spare = store->blocks[0];
        store->blocks[0] = store->blocks[1];
        store->blocks[1] = spare;
        search->best = row;
        search->seq = 0;
    }
}

enum rf_find rf_store_find(struct rf_store *store, struct rf_store_table *table, uint64_t token,
                           struct rf_slice key, const struct rf_row *floor, struct rf_row *ret_row,
                           uint64_t *ret_seq)
{
    uint32_t partition = rf_partition_of(store->engine, token);
    rf_assert(partition % store->engine->config.n_shards == store->shard);
    rf_assert(key.size >= 1);
    struct rf_part *part = &table->parts[partition];
    struct search   search = {.policy = &table->policy,
                              .floor_hlc = floor == NULL ? 0 : floor->version.hlc};
    take_memtable(&search, part->active, token, key);
    take_memtable(&search, part->frozen, token, key);
    for (uint32_t i = 0; i < part->n_files; i++) {
        struct rf_data_file *file = part->files[i];
        uint64_t             max_hlc = rf_sst_info(file->sst)->max_hlc;
        if (max_hlc < search.floor_hlc || max_hlc < search.best.version.hlc) {
            store->stats.files_skipped++;
        } else if (!rf_sst_may_hold(file->sst, token, key)) {
            store->stats.bloom_negatives++;
        } else {
            take_file(store, &search, file, token, key);
        }
    }
    rf_slow_assert(!rf_row_exists(&search.best) || rf_slice_eq(search.best.key, key));
    *ret_row = search.best;
    *ret_seq = search.seq;
    bool hidden = search.damaged && search.best.version.hlc <= search.damaged_hlc;
    if (hidden || !rf_part_can_say(store, table, partition)) {
        return RF_FIND_CANNOT_SAY;
    }
    return rf_row_exists(&search.best) ? RF_FIND_FOUND : RF_FIND_ABSENT;
}
