/* Look-ups: memtables, then files by filter, merged by version (S68, S69, D1, D10). */
#include "storage/engine_private.h"

void rf_search_init(struct rf_search *search, const struct rf_table_policy *policy, uint64_t token,
                    struct rf_slice key, const struct rf_row *floor)
{
    rf_assert(key.size >= 1);
    *search = (struct rf_search){.policy = policy,
                                 .token = token,
                                 .key = key,
                                 .floor_hlc = floor == NULL ? 0 : floor->version.hlc};
}

static void take_memtable(struct rf_search *search, const struct rf_memtable *memtable)
{
    struct rf_row row;
    uint64_t      seq = 0;
    if (memtable == NULL || !rf_memtable_get(memtable, search->token, search->key, &row, &seq)) {
        return;
    }
    if (!rf_row_exists(&search->best) ||
        rf_table_resolve(search->policy, &row, &search->best) > 0) {
        search->best = row;
        search->seq = seq;
    }
}

static void note_unreadable(struct rf_search *search, struct rf_data_file *file,
                            struct rf_result why)
{
    uint64_t max_hlc = rf_sst_info(file->sst)->max_hlc;
    if (why.rc == RF_CORRUPT && search->n_faults < RF_FAULTS_MAX) {
        search->faults[search->n_faults++] = (struct rf_fault){file, search->blocks[1].number};
        return; /* becomes a damage, which is remembered */
    }
    search->unreadable = true;
    search->unreadable_hlc = max_hlc > search->unreadable_hlc ? max_hlc : search->unreadable_hlc;
}

/* The best row so far borrows blocks[0]; a new best swaps the two. */
bool rf_search_file(struct rf_search *search, struct rf_data_file *file)
{
    struct rf_row row;
    uint64_t      max_hlc = rf_sst_info(file->sst)->max_hlc;
    if (max_hlc < search->floor_hlc || max_hlc < search->best.version.hlc) {
        search->skipped++;
        return true;
    }
    if (!rf_sst_may_hold(file->sst, search->token, search->key)) {
        search->negatives++;
        return true;
    }
    struct rf_result got =
        rf_sst_get(file->sst, &search->blocks[1], search->token, search->key, &row);
    if (got.rc == RF_PENDING) {
        return false;
    }
    search->asked++;
    if (got.rc == RF_NOT_FOUND) {
        return true;
    }
    if (!rf_ok(got)) {
        note_unreadable(search, file, got);
    } else if (!rf_row_exists(&search->best) ||
               rf_table_resolve(search->policy, &row, &search->best) > 0) {
        struct rf_sst_block spare = search->blocks[0];
        search->blocks[0] = search->blocks[1];
        search->blocks[1] = spare;
        search->best = row;
        search->seq = 0;
    }
    return true;
}

/* May a newer version be where nothing can be read? (D10) */
static bool is_hidden(struct rf_store *store, const struct rf_store_table *table,
                      struct rf_search *search)
{
    uint64_t hlc = search->best.version.hlc;
    if (search->unreadable && hlc <= search->unreadable_hlc) {
        return true;
    }
    if (table->id < RF_TABLE_FIRST_USER) {
        return false; /* the node's own tables have no other copy that could say more */
    }
    if (table->parts[rf_partition_of(store->engine, search->token)].damaged) {
        return true;
    }
    search->damage = rf_damage_hiding(store, table, search->token, hlc);
    return search->damage != 0 &&
           !rf_damage_is_healed(store, table, search->token, search->key, search->damage);
}

enum rf_find rf_store_judge(struct rf_store *store, struct rf_store_table *table,
                            struct rf_search *search)
{
    uint32_t partition = rf_partition_of(store->engine, search->token);
    store->stats.files_asked += search->asked;
    store->stats.files_skipped += search->skipped;
    store->stats.bloom_negatives += search->negatives;
    for (uint32_t i = 0; i < search->n_faults; i++) {
        rf_damage_note_block(store, table, partition, search->faults[i].file,
                             search->faults[i].block);
    }
    rf_slow_assert(!rf_row_exists(&search->best) || rf_slice_eq(search->best.key, search->key));
    if (is_hidden(store, table, search)) {
        return RF_FIND_CANNOT_SAY;
    }
    return rf_row_exists(&search->best) ? RF_FIND_FOUND : RF_FIND_ABSENT;
}

enum rf_find rf_store_find(struct rf_store *store, struct rf_store_table *table,
                           struct rf_search *search, bool cached_only, uint32_t *ret_file)
{
    uint32_t partition = rf_partition_of(store->engine, search->token);
    rf_assert(partition % store->engine->config.n_shards == store->shard);
    struct rf_part *part = &table->parts[partition];
    search->blocks = search->blocks == NULL ? store->blocks : search->blocks;
    search->blocks[0].cached_only = cached_only;
    search->blocks[1].cached_only = cached_only;
    take_memtable(search, part->active);
    take_memtable(search, part->frozen);
    for (uint32_t i = 0; i < part->n_files; i++) {
        if (!rf_search_file(search, part->files[i])) {
            *ret_file = i;
            return RF_FIND_COLD;
        }
    }
    return rf_store_judge(store, table, search);
}
