#include "storage/manifest.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"

#define RECORDS_MAX 256u /* then a new file begins with a snapshot */
#define FIRST_FILE 1u

void rf_manifest_init(struct rf_manifest *manifest, const char *dir, uint32_t partition)
{
    rf_assert(strlen(dir) < sizeof(manifest->dir));
    *manifest = (struct rf_manifest){.partition = partition,
                                     .next_file = (uint64_t)partition << 48 | FIRST_FILE};
    snprintf(manifest->dir, sizeof(manifest->dir), "%s", dir);
}

void rf_manifest_fini(struct rf_manifest *manifest)
{
    rf_mem_free(manifest->files);
    rf_mem_free(manifest->damages);
    *manifest = (struct rf_manifest){0};
}

static void make_path(const struct rf_manifest *manifest, const char *name,
                      char ret_path[RF_MANIFEST_PATH])
{
    snprintf(ret_path, RF_MANIFEST_PATH, "%s/%.40s", manifest->dir, name);
}

void rf_manifest_sst_path(const struct rf_manifest *manifest, uint64_t file,
                          char ret_path[RF_MANIFEST_PATH])
{
    char name[40];
    snprintf(name, sizeof(name), "%016llx.sst", (unsigned long long)file);
    make_path(manifest, name, ret_path);
}

/* ---- The state ---------------------------------------------------------------------------- */

static uint32_t find_file(const struct rf_manifest *manifest, uint64_t file)
{
    uint32_t at = 0;
    while (at < manifest->n_files && manifest->files[at].file != file) {
        at++;
    }
    return at;
}

bool rf_manifest_holds(const struct rf_manifest *manifest, uint64_t file)
{
    return find_file(manifest, file) < manifest->n_files;
}

static struct rf_result grow_list(struct rf_edit **list, uint32_t *cap, uint32_t needed)
{
    uint32_t to = *cap == 0 ? 8 : *cap;
    while (to < needed) {
        to *= 2;
    }
    if (to != *cap) {
        struct rf_edit *grown = rf_mem_realloc(*list, sizeof(*grown) * to);
        if (grown == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
        *list = grown;
        *cap = to;
    }
    rf_assert(needed <= *cap);
    return rf_result(RF_OK);
}

static struct rf_result reserve(struct rf_manifest *manifest, uint32_t more)
{
    RF_TRY(grow_list(&manifest->damages, &manifest->cap_damages, manifest->n_damages + more));
    return grow_list(&manifest->files, &manifest->cap_files, manifest->n_files + more);
}

/* There is room for one more file and damage. */
static void take_edit(struct rf_manifest *manifest, const struct rf_edit *edit)
{
    uint32_t at = find_file(manifest, edit->file);
    rf_assert(at <= manifest->n_files);
    switch (edit->kind) {
    case RF_EDIT_ADD:
        rf_assert(manifest->n_files < manifest->cap_files);
        if (at == manifest->n_files) {
            manifest->files[manifest->n_files++] = *edit;
        }
        break;
    case RF_EDIT_REMOVE:
        if (at < manifest->n_files) {
            manifest->files[at] = manifest->files[--manifest->n_files];
        }
        break;
    case RF_EDIT_DAMAGE:
        rf_assert(manifest->n_damages < manifest->cap_damages);
        manifest->damages[manifest->n_damages++] = *edit;
        break;
    case RF_EDIT_QUARANTINE:
    default:
        manifest->quarantined = true;
        manifest->quarantine = edit->damage;
        break;
    }
}

static struct rf_result take_record(struct rf_manifest              *manifest,
                                    const struct rf_manifest_record *record)
{
    RF_TRY(reserve(manifest, record->n_edits));
    for (uint32_t i = 0; i < record->n_edits; i++) {
        struct rf_edit edit;
        RF_TRY(rf_manifest_edit(record, i, &edit));
        take_edit(manifest, &edit);
    }
    if (record->next_file > manifest->next_file) {
        manifest->next_file = record->next_file;
    }
    manifest->generation = record->generation;
    manifest->n_records++;
    return rf_result(RF_OK);
}

/* ---- Loading ------------------------------------------------------------------------------ */

static struct rf_result take_records(struct rf_manifest *manifest, struct rf_slice bytes,
                                     struct rf_manifest_state *state)
{
    struct rf_slice rest = bytes;
    while (rest.size != 0) {
        struct rf_manifest_record record;
        struct rf_result          decoded = rf_manifest_record_decode(&rest, &record);
        if (decoded.rc == RF_WRONG_VERSION) {
            return decoded;
        }
        bool fits = rf_ok(decoded) && record.partition == manifest->partition &&
                    record.number == manifest->n_records &&
                    record.snapshot == (manifest->n_records == 0) &&
                    (manifest->n_records == 0 || record.generation == manifest->generation);
        if (!fits) {
            state->bad_tail = true;
            manifest->must_switch = true;
            break;
        }
        RF_TRY(take_record(manifest, &record));
        manifest->size = bytes.size - rest.size;
    }
    return rf_result(manifest->n_records == 0 ? RF_CORRUPT : RF_OK);
}

static struct rf_result read_whole(struct rf_fs fs, const char *path, struct rf_buf *buf)
{
    struct rf_file file;
    uint64_t       size = 0;
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ | RF_OPEN_WRITE, &file));
    struct rf_result result = fs.ops->size(fs.context, file, &size);
    if (rf_ok(result)) { /* what a killed process left in the page cache must not vanish later */
        result = fs.ops->sync(fs.context, file);
    }
    uint8_t *to = rf_ok(result) ? rf_buf_reserve(buf, size) : NULL;
    if (rf_ok(result)) {
        result =
            to == NULL ? rf_result(RF_NO_MEMORY) : fs.ops->pread(fs.context, file, to, size, 0);
    }
    fs.ops->close(fs.context, file);
    buf->size = rf_ok(result) ? size : 0;
    return result;
}

struct rf_result rf_manifest_load(struct rf_fs fs, struct rf_manifest *manifest,
                                  struct rf_manifest_state *ret_state)
{
    char          path[RF_MANIFEST_PATH];
    struct rf_buf bytes = {0};
    *ret_state = (struct rf_manifest_state){0};
    make_path(manifest, "manifest", path);
    struct rf_result result = read_whole(fs, path, &bytes);
    if (result.rc == RF_NOT_FOUND) {
        return rf_result(RF_OK); /* nothing was ever committed */
    }
    if (rf_ok(result)) {
        manifest->exists = true;
        result = take_records(manifest, rf_buf_slice(&bytes), ret_state);
    }
    rf_buf_fini(&bytes);
    manifest->must_switch = manifest->must_switch || !rf_ok(result);
    return result;
}

/* ---- Committing --------------------------------------------------------------------------- */

static struct rf_result write_at(struct rf_fs fs, const char *path, unsigned flags,
                                 struct rf_slice bytes, uint64_t offset)
{
    struct rf_file file;
    RF_TRY(fs.ops->open(fs.context, path, flags, &file));
    struct rf_result result = fs.ops->pwrite(fs.context, file, bytes, offset);
    if (rf_ok(result)) {
        result = fs.ops->sync(fs.context, file);
    }
    fs.ops->close(fs.context, file);
    return result;
}

/* The whole state and the new edits as a snapshot in a new file, which takes the old one's place. */
static struct rf_result write_snapshot(struct rf_fs fs, struct rf_manifest *manifest,
                                       const struct rf_edit *edits, uint32_t n_edits,
                                       struct rf_buf *buf)
{
    char     path[RF_MANIFEST_PATH];
    char     final_path[RF_MANIFEST_PATH];
    uint32_t n = manifest->n_files + manifest->n_damages + n_edits + 1;
    rf_assert(n <= RF_MANIFEST_EDITS_MAX);
    struct rf_edit *all = RF_NEW_ARRAY(struct rf_edit, n);
    if (all == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    n = 0;
    for (uint32_t i = 0; i < manifest->n_files; i++) {
        all[n++] = manifest->files[i];
    }
    for (uint32_t i = 0; i < manifest->n_damages; i++) {
        all[n++] = manifest->damages[i];
    }
    if (manifest->quarantined) {
        all[n++] = (struct rf_edit){.kind = RF_EDIT_QUARANTINE, .damage = manifest->quarantine};
    }
    for (uint32_t i = 0; i < n_edits; i++) {
        all[n++] = edits[i];
    }
    struct rf_manifest_record record = {.snapshot = true,
                                        .partition = manifest->partition,
                                        .generation = manifest->generation + 1,
                                        .next_file = manifest->next_file};
    rf_manifest_record_encode(buf, &record, all, n);
    rf_mem_free(all);
    if (buf->failed) {
        return rf_result(RF_NO_MEMORY);
    }
    make_path(manifest, "manifest.new", path);
    make_path(manifest, "manifest", final_path);
    struct rf_result gone = fs.ops->unlink(fs.context, path);
    if (!rf_ok(gone) && gone.rc != RF_NOT_FOUND) {
        return gone;
    }
    RF_TRY(write_at(fs, path, RF_OPEN_WRITE | RF_OPEN_CREATE, rf_buf_slice(buf), 0));
    RF_TRY(fs.ops->rename(fs.context, path, final_path));
    RF_TRY(fs.ops->sync_dir(fs.context, manifest->dir));
    manifest->exists = true;
    manifest->must_switch = false;
    manifest->generation++;
    manifest->n_records = 1;
    manifest->size = buf->size;
    return rf_result(RF_OK);
}

static struct rf_result append_record(struct rf_fs fs, struct rf_manifest *manifest,
                                      const struct rf_edit *edits, uint32_t n_edits,
                                      struct rf_buf *buf)
{
    char                      path[RF_MANIFEST_PATH];
    struct rf_manifest_record record = {.partition = manifest->partition,
                                        .generation = manifest->generation,
                                        .number = manifest->n_records,
                                        .next_file = manifest->next_file};
    rf_manifest_record_encode(buf, &record, edits, n_edits);
    if (buf->failed) {
        return rf_result(RF_NO_MEMORY);
    }
    make_path(manifest, "manifest", path);
    RF_TRY(write_at(fs, path, RF_OPEN_WRITE, rf_buf_slice(buf), manifest->size));
    rf_assert(manifest->exists);
    rf_assert(!manifest->must_switch);
    manifest->n_records++;
    manifest->size += buf->size;
    return rf_result(RF_OK);
}

struct rf_result rf_manifest_commit(struct rf_fs fs, struct rf_manifest *manifest,
                                    const struct rf_edit *edits, uint32_t n_edits)
{
    struct rf_buf buf = {0};
    rf_assert(n_edits >= 1);
    for (uint32_t i = 0; i < n_edits; i++) {
        rf_assert(edits[i].kind != RF_EDIT_ADD || edits[i].file < manifest->next_file);
        rf_assert(edits[i].kind != RF_EDIT_REMOVE || rf_manifest_holds(manifest, edits[i].file));
    }
    RF_TRY(reserve(manifest, n_edits));
    bool grow = manifest->exists && !manifest->must_switch && manifest->n_records < RECORDS_MAX;
    struct rf_result result = grow ? append_record(fs, manifest, edits, n_edits, &buf)
                                   : write_snapshot(fs, manifest, edits, n_edits, &buf);
    rf_buf_fini(&buf);
    if (!rf_ok(result)) {
        manifest->must_switch = true;
        return result;
    }
    for (uint32_t i = 0; i < n_edits; i++) {
        take_edit(manifest, &edits[i]);
    }
    return rf_result(RF_OK);
}
