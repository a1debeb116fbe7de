/* What a partition has lost, and which keys of it were repaired (D10).
 *
 * A damage is a token interval in which rows of one file may be missing. It gets a number that is never
 * given again (the node's generation is in it), is noted in memory at once and put on record by a job. It hides every key of its interval whose version could
 * have been in the file, until the coordinator of a quorum read says what the key's row is: then a row
 * of RF_TABLE_HEALED names the newest damage that the key has been repaired from. */
#include "base/log.h"
#include "base/mem.h"
#include "format/codec.h"
#include "storage/engine_private.h"

#define BLOCKS_MAX 16u /* damaged blocks of one file; then the whole file counts as damaged */
#define HEALED_PREFIX 8u

bool rf_damage_add(struct rf_part *part, const struct rf_damage *damage)
{
    if (part->n_damages == part->cap_damages) {
        uint32_t          cap = part->cap_damages == 0 ? 4 : part->cap_damages * 2;
        struct rf_damage *grown = rf_mem_realloc(part->damages, sizeof(*grown) * cap);
        if (grown == NULL) {
            part->damaged = true;
            return false;
        }
        part->damages = grown;
        part->cap_damages = cap;
    }
    part->damages[part->n_damages++] = *damage;
    return true;
}

/* Is the interval of this file noted? @param ret_n damages of the file. */
static bool is_noted(const struct rf_part *part, const struct rf_damage *damage, uint32_t *ret_n)
{
    bool noted = false;
    *ret_n = 0;
    for (uint32_t i = 0; i < part->n_damages; i++) {
        const struct rf_damage *one = &part->damages[i];
        *ret_n += one->file == damage->file;
        noted = noted || (one->file == damage->file && one->first_token <= damage->first_token &&
                          one->last_token >= damage->last_token);
    }
    return noted;
}

void rf_damage_note_block(struct rf_store *store, struct rf_store_table *table, uint32_t partition,
                          struct rf_data_file *file, uint64_t block)
{
    struct rf_partition      *self = &store->engine->partitions[partition];
    struct rf_part           *part = &table->parts[partition];
    const struct rf_sst_info *info = rf_sst_info(file->sst);
    struct rf_damage          damage = {.file = file->number, .max_hlc = info->max_hlc};
    uint32_t                  n = 0;
    rf_sst_block_tokens(file->sst, block, &damage.first_token, &damage.last_token);
    file->damaged = true;
    if (is_noted(part, &damage, &n)) {
        return;
    }
    if (n >= BLOCKS_MAX) {
        damage.first_token = info->first_token;
        damage.last_token = info->last_token;
    }
    if (table->cache != NULL) {
        rf_row_cache_clear(table->cache); /* what is hidden must not be answered from there */
    }
    damage.id = ++self->last_damage;
    store->damage_due = rf_damage_add(part, &damage) || store->damage_due;
    store->stats.damaged_blocks++;
    rf_log(
        RF_LOG_ERROR, "block_damaged",
        "file=%016llx partition=%u table=%016llx block=%llu first_token=%016llx "
        "last_token=%016llx text=\"a block of a table file failed its check and is never served; "
        "this replica does not answer for keys of these tokens until they are repaired\"",
        (unsigned long long)file->number, partition, (unsigned long long)table->id,
        (unsigned long long)block, (unsigned long long)damage.first_token,
        (unsigned long long)damage.last_token);
}

struct rf_result rf_damage_note_file(struct rf_engine *engine, struct rf_part *part,
                                     uint32_t partition, const struct rf_edit *edit)
{
    struct rf_partition *self = &engine->partitions[partition];
    struct rf_damage     damage = {.file = edit->file,
                                   .first_token = edit->first_token,
                                   .last_token = edit->last_token,
                                   .max_hlc = edit->max_hlc,
                                   .recorded = true};
    uint32_t             n = 0;
    if (is_noted(part, &damage, &n)) {
        return rf_result(RF_OK);
    }
    struct rf_edit record = *edit;
    damage.id = self->last_damage + 1;
    record.kind = RF_EDIT_DAMAGE;
    record.damage = damage.id;
    RF_TRY(rf_manifest_commit(engine->config.fs, &self->manifest, &record, 1));
    self->last_damage = damage.id;
    return rf_result(rf_damage_add(part, &damage) ? RF_OK : RF_NO_MEMORY);
}

uint64_t rf_damage_hiding(const struct rf_store *store, const struct rf_store_table *table,
                          uint64_t token, uint64_t hlc)
{
    uint32_t                   partition = rf_partition_of(store->engine, token);
    const struct rf_part      *part = &table->parts[partition];
    const struct rf_partition *self = &store->engine->partitions[partition];
    uint64_t                   newest = self->quarantined ? self->quarantine : 0;
    for (uint32_t i = 0; i < part->n_damages; i++) {
        const struct rf_damage *one = &part->damages[i];
        if (one->first_token <= token && one->last_token >= token && one->max_hlc >= hlc &&
            one->id > newest) {
            newest = one->id;
        }
    }
    return newest;
}

bool rf_damage_in_range(const struct rf_store *store, const struct rf_store_table *table,
                        uint32_t partition, uint64_t first_token, uint64_t last_token)
{
    const struct rf_part *part = &table->parts[partition];
    bool                  found = part->damaged || store->engine->partitions[partition].quarantined;
    for (uint32_t i = 0; i < part->n_damages; i++) {
        found = found || (part->damages[i].first_token <= last_token &&
                          part->damages[i].last_token >= first_token);
    }
    return found;
}

/* ---- Repaired keys ------------------------------------------------------------------------ */

static struct rf_slice healed_key(uint64_t table, struct rf_slice key, uint8_t to[RF_ROW_KEY_MAX])
{
    rf_assert(key.size + HEALED_PREFIX <= RF_ROW_KEY_MAX);
    rf_store_le(to, table, HEALED_PREFIX);
    memcpy(to + HEALED_PREFIX, key.data, key.size);
    return rf_slice(to, key.size + HEALED_PREFIX);
}

/* The newest damage that the key was repaired from, 0: none. False: the disk must be asked, which
 * begins, so that a later look knows. */
static bool find_healed(struct rf_store *store, struct rf_store_table *healed, uint64_t token,
                        struct rf_slice key, uint64_t *ret_damage)
{
    struct rf_search search;
    uint32_t         from = 0;
    rf_search_init(&search, &healed->policy, token, key, NULL);
    search.blocks = store->healed_blocks;
    enum rf_find found = rf_store_find(store, healed, &search, true, &from);
    if (found == RF_FIND_COLD) {
        struct rf_store_op op = {
            .kind = RF_STORE_READ, .table = healed->id, .token = token, .row.key = key};
        if (!rf_cold_has(store, &op)) {
            (void)rf_cold_start(store, healed, &op, &search, from).rc; /* or the next time */
        }
        return false;
    }
    *ret_damage = search.best.version.hlc;
    return true;
}

bool rf_damage_is_healed(struct rf_store *store, const struct rf_store_table *table, uint64_t token,
                         struct rf_slice key, uint64_t damage)
{
    uint8_t                bytes[RF_ROW_KEY_MAX];
    uint64_t               known = 0;
    struct rf_store_table *healed = rf_store_table_of(store, RF_TABLE_HEALED);
    rf_assert(healed != NULL);
    return find_healed(store, healed, token, healed_key(table->id, key, bytes), &known) &&
           known >= damage;
}

bool rf_damage_heal(struct rf_store *store, const struct rf_store_table *table,
                    const struct rf_store_op *op, uint8_t ret_key[RF_ROW_KEY_MAX],
                    struct rf_row *ret_row)
{
    uint64_t known = 0;
    bool     own = table->id < RF_TABLE_FIRST_USER;
    if (own || op->heals == 0 || rf_damage_hiding(store, table, op->token, 0) < op->heals) {
        return false;
    }
    struct rf_store_table *healed = rf_store_table_of(store, RF_TABLE_HEALED);
    struct rf_slice        key = healed_key(table->id, op->row.key, ret_key);
    rf_assert(healed != NULL);
    if (!find_healed(store, healed, op->token, key, &known) || known >= op->heals) {
        return false;
    }
    *ret_row = (struct rf_row){.version = {.hlc = op->heals}, .key = key};
    return true;
}
