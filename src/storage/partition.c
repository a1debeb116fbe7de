/* Partitions at the start: manifests, files, and what a crash left behind. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "storage/engine_private.h"

#define FILES_SEEN_MAX 65536u

struct rf_data_file *rf_data_file_new(struct rf_sst *sst)
{
    struct rf_data_file *file = RF_NEW(struct rf_data_file);
    if (file != NULL) {
        const struct rf_sst_info *info = rf_sst_info(sst);
        *file = (struct rf_data_file){
            .sst = sst, .number = info->file, .level = info->level, .refs = 1};
    }
    return file;
}

void rf_data_file_drop(struct rf_data_file *file)
{
    rf_assert(file->sst != NULL && file->refs != 0);
    if (--file->refs == 0) {
        rf_sst_close(file->sst);
        rf_mem_free(file);
    }
}

struct rf_result rf_part_reserve(struct rf_part *part, uint32_t n)
{
    uint32_t cap = part->cap_files == 0 ? 4 : part->cap_files;
    while (cap < part->n_files + n) {
        cap *= 2;
    }
    if (cap != part->cap_files) {
        struct rf_data_file **grown = rf_mem_realloc(part->files, sizeof(*grown) * cap);
        if (grown == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
        part->files = grown;
        part->cap_files = cap;
    }
    return rf_result(RF_OK);
}

void rf_part_insert(struct rf_part *part, struct rf_data_file *file)
{
    uint32_t at = 0;
    rf_assert(part->n_files < part->cap_files);
    while (at < part->n_files && part->files[at]->number > file->number) {
        at++;
    }
    memmove(&part->files[at + 1], &part->files[at], sizeof(*part->files) * (part->n_files - at));
    rf_assert(at == part->n_files || part->files[at]->number != file->number);
    part->files[at] = file;
    part->n_files++;
    rf_assert(at == 0 || part->files[at - 1]->number > file->number);
    part->check_compaction = true;
}

void rf_part_remove(struct rf_part *part, const struct rf_data_file *file)
{
    uint32_t at = 0;
    while (at < part->n_files && part->files[at] != file) {
        at++;
    }
    rf_assert(at < part->n_files);
    part->n_files--;
    memmove(&part->files[at], &part->files[at + 1], sizeof(*part->files) * (part->n_files - at));
}

struct rf_result rf_partition_make_dir(struct rf_engine *engine, uint32_t partition)
{
    struct rf_partition *self = &engine->partitions[partition];
    struct rf_fs         fs = engine->config.fs;
    if (!self->dir_made) {
        RF_TRY(fs.ops->mkdir(fs.context, self->manifest.dir));
        RF_TRY(fs.ops->sync_dir(fs.context, engine->config.dir));
        self->dir_made = true;
    }
    return rf_result(RF_OK);
}

struct rf_result rf_partition_quarantine(struct rf_engine *engine, uint32_t partition)
{
    struct rf_partition *self = &engine->partitions[partition];
    struct rf_edit       edit = {.kind = RF_EDIT_QUARANTINE, .damage = self->last_damage + 1};
    rf_assert(!self->busy);
    if (self->quarantined) {
        return rf_result(RF_OK);
    }
    RF_TRY(rf_partition_make_dir(engine, partition));
    RF_TRY(rf_manifest_commit(engine->config.fs, &self->manifest, &edit, 1));
    self->quarantined = true;
    self->quarantine = ++self->last_damage;
    engine->recovery.quarantined_partitions++;
    return rf_result(RF_OK);
}

/* ---- Opening one partition ---------------------------------------------------------------- */

/* The SSTables that lie in a partition's directory. */
struct seen_files {
    uint64_t *numbers;
    uint32_t  n, cap;
    bool      failed;
};

static void see_file(void *argument, const char *name)
{
    struct seen_files *seen = argument;
    char              *end = NULL;
    uint64_t           number = strtoull(name, &end, 16);
    if (end == name || strcmp(end, ".sst") != 0) {
        return;
    }
    if (seen->n == seen->cap) {
        uint32_t  cap = seen->cap == 0 ? 16 : seen->cap * 2;
        uint64_t *grown = rf_mem_realloc(seen->numbers, sizeof(*grown) * cap);
        if (grown == NULL || seen->n >= FILES_SEEN_MAX) {
            seen->failed = true;
            return;
        }
        seen->numbers = grown;
        seen->cap = cap;
    }
    seen->numbers[seen->n++] = number;
}

/* What is on record as lost. */
static struct rf_result load_damages(struct rf_engine *engine, uint32_t partition)
{
    struct rf_partition *self = &engine->partitions[partition];
    struct rf_store     *store = rf_store_of_partition(engine, partition);
    for (uint32_t i = 0; i < self->manifest.n_damages; i++) {
        const struct rf_edit  *edit = &self->manifest.damages[i];
        struct rf_store_table *table = rf_store_table_of(store, edit->table);
        struct rf_damage       damage = {.id = edit->damage,
                                         .file = edit->file,
                                         .first_token = edit->first_token,
                                         .last_token = edit->last_token,
                                         .max_hlc = edit->max_hlc,
                                         .recorded = true};
        if (table == NULL || !rf_damage_add(&table->parts[partition], &damage)) {
            return rf_result(RF_NO_MEMORY);
        }
        self->last_damage = edit->damage > self->last_damage ? edit->damage : self->last_damage;
    }
    /* Above all numbers of former runs, also of those that no record tells of any more. */
    uint64_t first = engine->identity.generation << RF_DAMAGE_BITS;
    self->last_damage = first > self->last_damage ? first : self->last_damage;
    if (self->manifest.quarantine > self->last_damage) {
        self->last_damage = self->manifest.quarantine;
    }
    return rf_result(RF_OK);
}

struct rf_edit rf_edit_of(const struct rf_sst_info *info)
{
    return (struct rf_edit){.kind = RF_EDIT_ADD,
                            .level = info->level,
                            .file = info->file,
                            .table = info->table,
                            .size = info->file_size,
                            .first_token = info->first_token,
                            .last_token = info->last_token,
                            .max_hlc = info->max_hlc};
}

static void warn_of_damage(const char *path, bool filter_only)
{
    if (filter_only) {
        rf_log(
            RF_LOG_WARN, "filter_damaged",
            "path=\"%s\" text=\"the file's filter is left out; its rows are complete, absent keys "
            "cost a read\"",
            path);
        return;
    }
    rf_log(
        RF_LOG_ERROR, "file_damaged",
        "path=\"%s\" text=\"the file cannot be used; this replica does not answer for keys whose "
        "newest version may be in it until they are repaired\"",
        path);
}

/* Opens a file of the manifest and hands it to its table. Damage is the part's, not the start's. */
static struct rf_result open_file(struct rf_engine *engine, uint32_t partition,
                                  const struct rf_edit *edit)
{
    char                   path[RF_MANIFEST_PATH];
    struct rf_sst         *sst = NULL;
    struct rf_store       *store = rf_store_of_partition(engine, partition);
    struct rf_store_table *table = rf_store_table_of(store, edit->table);
    if (table == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    rf_manifest_sst_path(&engine->partitions[partition].manifest, edit->file, path);
    struct rf_result opened = rf_sst_open(engine->config.fs, path, edit->file, &sst);
    bool             fits = rf_ok(opened) && rf_sst_info(sst)->table == edit->table &&
                rf_sst_info(sst)->partition == partition;
    bool broken = opened.rc == RF_CORRUPT || opened.rc == RF_TRUNCATED ||
                  opened.rc == RF_NOT_FOUND || (rf_ok(opened) && !fits);
    if (broken) {
        rf_sst_close(sst);
        warn_of_damage(path, false);
        engine->recovery.damaged_files++;
        return rf_damage_note_file(engine, &table->parts[partition], partition, edit);
    }
    RF_TRY(opened);
    if (rf_sst_filter_damaged(sst)) {
        warn_of_damage(path, true);
    }
    engine->recovery.files++;
    struct rf_data_file *file = rf_data_file_new(sst);
    struct rf_result     room = rf_part_reserve(&table->parts[partition], 1);
    if (file == NULL || !rf_ok(room)) {
        rf_mem_free(file);
        rf_sst_close(sst);
        return rf_result(RF_NO_MEMORY);
    }
    rf_part_insert(&table->parts[partition], file);
    for (uint32_t i = 0; i < table->parts[partition].n_damages; i++) {
        file->damaged = file->damaged || table->parts[partition].damages[i].file == file->number;
    }
    store->compaction_due = true;
    return rf_result(RF_OK);
}

/* Behind a bad tail there may be files that were committed: a valid one is taken in (what it holds
 * is true of this partition; versions sort out what is there twice). */
static struct rf_result adopt_file(struct rf_engine *engine, uint32_t partition, uint64_t number,
                                   bool *ret_adopted)
{
    struct rf_partition *self = &engine->partitions[partition];
    char                 path[RF_MANIFEST_PATH];
    struct rf_sst       *sst = NULL;
    *ret_adopted = false;
    rf_manifest_sst_path(&self->manifest, number, path);
    if (!rf_ok(rf_sst_open(engine->config.fs, path, number, &sst))) {
        return rf_result(RF_OK);
    }
    const struct rf_sst_info *info = rf_sst_info(sst);
    struct rf_edit            edit = rf_edit_of(info);
    bool                      fits = info->partition == partition;
    rf_sst_close(sst);
    if (fits) {
        RF_TRY(rf_manifest_commit(engine->config.fs, &self->manifest, &edit, 1));
        engine->recovery.adopted_files++;
        *ret_adopted = true;
    }
    return rf_result(RF_OK);
}

/* @param adopt_from unknown files with this number or a higher one may have been committed. */
static struct rf_result sort_out(struct rf_engine *engine, uint32_t partition,
                                 const struct seen_files *seen, uint64_t adopt_from)
{
    struct rf_partition *self = &engine->partitions[partition];
    struct rf_fs         fs = engine->config.fs;
    char                 path[RF_MANIFEST_PATH];
    for (uint32_t i = 0; i < seen->n; i++) {
        uint64_t number = seen->numbers[i];
        if (number >= self->manifest.next_file && number >> 48 == partition) {
            self->manifest.next_file = number + 1;
        }
        bool known = rf_manifest_holds(&self->manifest, number);
        if (!known && number >= adopt_from) {
            RF_TRY(adopt_file(engine, partition, number, &known));
        }
        if (!known) {
            rf_manifest_sst_path(&self->manifest, number, path);
            RF_TRY(fs.ops->unlink(fs.context, path));
            engine->recovery.deleted_files++;
        }
    }
    return rf_result(RF_OK);
}

static struct rf_result open_partition(struct rf_engine *engine, uint32_t partition)
{
    struct rf_partition     *self = &engine->partitions[partition];
    struct rf_fs             fs = engine->config.fs;
    struct rf_manifest_state state;
    struct seen_files        seen = {0};
    struct rf_result         result = fs.ops->list(fs.context, self->manifest.dir, see_file, &seen);
    if (result.rc == RF_NOT_FOUND) {
        return rf_result(RF_OK);
    }
    /* The name may have been made just before a crash and not be durable. */
    if (rf_ok(result)) {
        result = fs.ops->sync_dir(fs.context, engine->config.dir);
    }
    if (rf_ok(result)) {
        result = fs.ops->sync_dir(fs.context, self->manifest.dir);
    }
    self->dir_made = true;
    struct rf_result loaded = rf_manifest_load(fs, &self->manifest, &state);
    bool             lost = loaded.rc == RF_CORRUPT;
    if (rf_ok(result) && !rf_ok(loaded) && !lost) {
        result = loaded;
    }
    if (rf_ok(result) && seen.failed) {
        result = rf_result(RF_NO_MEMORY);
    }
    if (rf_ok(result)) {
        /* Lower numbers than the last good record's next one were merged away: taking them in again
         * could bring back what the merge left out. */
        uint64_t next = self->manifest.next_file;
        result = sort_out(engine, partition, &seen, lost ? 0 : state.bad_tail ? next : UINT64_MAX);
    }
    rf_mem_free(seen.numbers);
    self->quarantined = self->manifest.quarantined;
    self->quarantine = self->manifest.quarantine;
    if (rf_ok(result)) {
        result = load_damages(engine, partition);
    }
    engine->recovery.quarantined_partitions += self->quarantined;
    if (rf_ok(result) && lost) {
        result = rf_partition_quarantine(engine, partition);
    }
    for (uint32_t i = 0; rf_ok(result) && i < self->manifest.n_files; i++) {
        struct rf_edit edit = self->manifest.files[i];
        result = open_file(engine, partition, &edit);
    }
    return result;
}

struct rf_result rf_partitions_open(struct rf_engine *engine)
{
    char dir[RF_PATH_SIZE + 8];
    engine->partitions = RF_NEW_ARRAY(struct rf_partition, engine->identity.n_partitions);
    if (engine->partitions == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t p = 0; p < engine->identity.n_partitions; p++) {
        snprintf(dir, sizeof(dir), "%s/p%03u", engine->config.dir, p);
        rf_manifest_init(&engine->partitions[p].manifest, dir, p);
    }
    for (uint32_t p = 0; p < engine->identity.n_partitions; p++) {
        RF_TRY(open_partition(engine, p));
    }
    return rf_result(RF_OK);
}

void rf_partitions_close(struct rf_engine *engine)
{
    for (uint32_t p = 0; engine->partitions != NULL && p < engine->identity.n_partitions; p++) {
        rf_manifest_fini(&engine->partitions[p].manifest);
    }
    rf_mem_free(engine->partitions);
    engine->partitions = NULL;
}
