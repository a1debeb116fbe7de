#include "storage/verify.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "storage/manifest.h"
#include "storage/sst_reader.h"
#include "storage/wal.h"

/* ---- A door that only opens inwards ------------------------------------------------------- */

static const struct rf_fs *inner_of(void *context)
{
    return context;
}

static struct rf_result ro_open(void *context, const char *path, unsigned flags,
                                struct rf_file *ret_file)
{
    const struct rf_fs *fs = inner_of(context);
    if ((flags & RF_OPEN_CREATE) != 0) {
        return rf_result(RF_IO_ERROR);
    }
    return fs->ops->open(fs->context, path, RF_OPEN_READ, ret_file);
}

static void ro_close(void *context, struct rf_file file)
{
    inner_of(context)->ops->close(inner_of(context)->context, file);
}

static struct rf_result ro_pread(void *context, struct rf_file file, void *to, size_t size,
                                 uint64_t offset)
{
    return inner_of(context)->ops->pread(inner_of(context)->context, file, to, size, offset);
}

static struct rf_result ro_sync(void *context, struct rf_file file)
{
    (void)context;
    (void)file;
    return rf_result(RF_OK);
}

static struct rf_result ro_size(void *context, struct rf_file file, uint64_t *ret_size)
{
    return inner_of(context)->ops->size(inner_of(context)->context, file, ret_size);
}

static struct rf_result ro_list(void *context, const char                            *path,
                                void (*each)(void *argument, const char *name), void *argument)
{
    return inner_of(context)->ops->list(inner_of(context)->context, path, each, argument);
}

static struct rf_result ro_lock(void *context, struct rf_file file)
{
    return inner_of(context)->ops->lock(inner_of(context)->context, file);
}

static struct rf_result ro_pwrite(void *context, struct rf_file file, struct rf_slice bytes,
                                  uint64_t offset)
{
    (void)context, (void)file, (void)bytes, (void)offset;
    return rf_result(RF_IO_ERROR);
}

static struct rf_result ro_truncate(void *context, struct rf_file file, uint64_t size)
{
    (void)context, (void)file, (void)size;
    return rf_result(RF_IO_ERROR);
}

static struct rf_result ro_rename(void *context, const char *from, const char *to)
{
    (void)context, (void)from, (void)to;
    return rf_result(RF_IO_ERROR);
}

static struct rf_result ro_unlink(void *context, const char *path)
{
    (void)context, (void)path;
    return rf_result(RF_IO_ERROR);
}

struct rf_fs rf_fs_read_only(const struct rf_fs *inner)
{
    static const struct rf_fs_ops ops = {
        .open = ro_open,
        .close = ro_close,
        .pread = ro_pread,
        .pwrite = ro_pwrite,
        .sync = ro_sync,
        .size = ro_size,
        .truncate = ro_truncate,
        .rename = ro_rename,
        .unlink = ro_unlink,
        .mkdir = ro_unlink,
        .sync_dir = ro_unlink,
        .list = ro_list,
        .lock = ro_lock,
    };
    return (struct rf_fs){&ops, (void *)(uintptr_t)inner};
}

/* ---- The walk ----------------------------------------------------------------------------- */

#define PATH_SIZE 4400u

struct walk {
    struct rf_fs             fs;
    const char              *dir;
    rf_verify_each           each;
    void                    *argument;
    struct rf_verify_counts *counts;
    struct rf_wal_history    history;  /* of the log that is being read */
    uint32_t                 shard;    /* of it */
    struct rf_manifest      *manifest; /* while its partition's files are looked at */
    struct rf_result         result;   /* why the walk cannot go on */
};

static void tell(struct walk *walk, const char *path, uint64_t offset, bool damage,
                 const char *what)
{
    struct rf_finding finding = {path, offset, damage, what};
    walk->counts->damages += damage;
    walk->each(walk->argument, &finding);
}

/* Damage is found and told; what the host cannot do ends the walk. */
static bool is_damage(struct walk *walk, struct rf_result result)
{
    bool damage = result.rc == RF_CORRUPT || result.rc == RF_TRUNCATED ||
                  result.rc == RF_NOT_FOUND || result.rc == RF_IO_ERROR;
    if (!rf_ok(result) && !damage && result.rc != RF_WRONG_VERSION) {
        walk->result = result;
    }
    return damage;
}

/* ---- Log ---------------------------------------------------------------------------------- */

static void count_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    struct walk *walk = argument;
    (void)record;
    (void)seq;
    walk->counts->records++;
}

/* Segments come in order of their log. */
static void begin_log(struct walk *walk, uint32_t shard)
{
    uint64_t secret = walk->history.secret;
    if (shard != walk->shard) {
        walk->history = (struct rf_wal_history){.secret = secret};
        walk->shard = shard;
    }
}

static void verify_segment(void *argument, const char *name)
{
    struct walk       *walk = argument;
    char               path[PATH_SIZE];
    struct rf_wal_info info = {0};
    uint32_t           shard = 0;
    uint64_t           segment = 0;
    snprintf(path, sizeof(path), "%.4096s/wal/%.200s", walk->dir, name);
    if (!rf_wal_segment_parse(name, &shard, &segment)) {
        tell(walk, path, 0, false, "not a segment of the log in use; it was put aside");
        return;
    }
    if (walk->history.secret == 0) {
        tell(walk, path, 0, false, "not checked: that needs the node's identity");
        return;
    }
    begin_log(walk, shard);
    walk->counts->segments++;
    struct rf_result read =
        rf_wal_read(walk->fs, path, segment, &walk->history, count_record, walk, &info);
    if (read.rc == RF_WRONG_VERSION) {
        tell(walk, path, 0, true, "a segment of a format that this release does not know");
    } else if (is_damage(walk, read)) {
        tell(walk, path, info.damaged_at, true,
             read.rc != RF_CORRUPT ? "the segment cannot be read"
             : info.damages == 0   ? "groups that were durable are missing before this segment"
                                   : "groups of the log that were durable are damaged");
    }
    if (info.torn) {
        tell(walk, path, info.torn_at, false,
             "a torn tail, as a crash leaves it; nothing in it was acknowledged");
    }
}

/* ---- Table files -------------------------------------------------------------------------- */

static void verify_blocks(struct walk *walk, const char *path, const struct rf_sst *sst)
{
    struct rf_sst_block block = {0};
    uint64_t            rows = 0;
    bool                whole = true;
    for (uint64_t i = 0; i < rf_sst_info(sst)->n_blocks; i++) {
        uint64_t         offset = 0;
        uint64_t         n = 0;
        struct rf_result checked = rf_sst_check_block(sst, i, &block, &offset, &n);
        walk->counts->blocks++;
        rows += n;
        if (is_damage(walk, checked)) {
            tell(walk, path, offset, true, "a data block is damaged");
        }
        whole = whole && rf_ok(checked);
    }
    if (whole && rows != rf_sst_info(sst)->rows) {
        tell(walk, path, rf_sst_info(sst)->file_size - RF_SST_FOOTER, true,
             "the number of rows is not the one in the footer");
    }
    walk->counts->rows += rows;
    rf_sst_block_fini(&block);
}

static void verify_table_file(struct walk *walk, const struct rf_edit *edit)
{
    char                path[RF_MANIFEST_PATH];
    char                what[64];
    struct rf_sst      *sst = NULL;
    struct rf_sst_fault why = {"file", 0};
    rf_manifest_sst_path(walk->manifest, edit->file, path);
    walk->counts->files++;
    struct rf_result opened = rf_sst_open_or_why(walk->fs, path, edit->file, &sst, &why);
    if (!rf_ok(opened)) {
        snprintf(what, sizeof(what), "%s", "the file is missing");
        if (opened.rc != RF_NOT_FOUND) {
            snprintf(what, sizeof(what), "the %s is damaged", why.part);
        }
        if (opened.rc == RF_WRONG_VERSION) {
            snprintf(what, sizeof(what), "a format that this release does not know");
        }
        if (is_damage(walk, opened) || opened.rc == RF_WRONG_VERSION) {
            tell(walk, path, why.offset, true, what);
        }
        return;
    }
    const struct rf_sst_info *info = rf_sst_info(sst);
    if (info->table != edit->table || info->partition != walk->manifest->partition) {
        tell(walk, path, info->file_size - RF_SST_FOOTER, true,
             "the file belongs to another table or partition");
    }
    if (rf_sst_filter_damaged(sst)) {
        tell(walk, path, info->bloom_offset, true, "the filter is damaged");
    }
    verify_blocks(walk, path, sst);
    rf_sst_close(sst);
}

/* A table file that the manifest does not name. */
static void verify_name(void *argument, const char *name)
{
    struct walk *walk = argument;
    char         path[RF_MANIFEST_PATH];
    char        *end = NULL;
    uint64_t     number = strtoull(name, &end, 16);
    if (end != name && strcmp(end, ".sst") == 0 && !rf_manifest_holds(walk->manifest, number)) {
        rf_manifest_sst_path(walk->manifest, number, path);
        tell(walk, path, 0, false, "not named by the manifest; a crash left it");
    }
}

static void verify_manifest(struct walk *walk, const char *dir, uint32_t partition)
{
    char                     path[RF_MANIFEST_PATH];
    struct rf_manifest       manifest;
    struct rf_manifest_state state;
    rf_manifest_init(&manifest, dir, partition);
    snprintf(path, sizeof(path), "%.4100s/manifest", dir);
    struct rf_result loaded = rf_manifest_load(walk->fs, &manifest, &state);
    walk->counts->manifests += manifest.exists;
    walk->manifest = &manifest;
    if (loaded.rc == RF_WRONG_VERSION) {
        tell(walk, path, 0, true, "a manifest of a format that this release does not know");
    } else if (is_damage(walk, loaded)) {
        tell(walk, path, 0, true, "the manifest's first record is damaged");
    } else if (rf_ok(loaded) && state.bad_tail) {
        tell(walk, path, manifest.size, true,
             "the manifest's last record is damaged, or torn by a crash");
    }
    if (manifest.quarantined) {
        tell(walk, path, 0, false, "on record: the partition has lost data and is quarantined");
    }
    for (uint32_t i = 0; i < manifest.n_damages; i++) {
        char damaged[RF_MANIFEST_PATH];
        rf_manifest_sst_path(&manifest, manifest.damages[i].file, damaged);
        tell(walk, damaged, 0, false, "on record: a token range of the file is lost");
    }
    for (uint32_t i = 0; i < manifest.n_files; i++) {
        verify_table_file(walk, &manifest.files[i]);
    }
    if (rf_ok(loaded)) {
        struct rf_result listed = walk->fs.ops->list(walk->fs.context, dir, verify_name, walk);
        walk->result = rf_ok(listed) ? walk->result : listed;
    }
    walk->manifest = NULL;
    rf_manifest_fini(&manifest);
}

/* ---- The directory ------------------------------------------------------------------------ */

static void verify_entry(void *argument, const char *name)
{
    struct walk  *walk = argument;
    char          path[PATH_SIZE];
    char         *end = NULL;
    unsigned long partition = name[0] == 'p' ? strtoul(name + 1, &end, 10) : 0;
    if (name[0] == 'p' && end != name + 1 && *end == 0 && partition < 256) {
        snprintf(path, sizeof(path), "%.4090s/p%03lu", walk->dir, partition);
        verify_manifest(walk, path, (uint32_t)partition);
    }
}

static struct rf_result lock_dir(struct walk *walk, struct rf_file *ret_lock, bool *ret_locked)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "%.4096s/LOCK", walk->dir);
    struct rf_result opened = walk->fs.ops->open(walk->fs.context, path, RF_OPEN_READ, ret_lock);
    if (!rf_ok(opened)) {
        return rf_result(opened.rc == RF_NOT_FOUND ? RF_OK : opened.rc);
    }
    struct rf_result locked = walk->fs.ops->lock(walk->fs.context, *ret_lock);
    *ret_locked = rf_ok(locked);
    if (!rf_ok(locked)) {
        walk->fs.ops->close(walk->fs.context, *ret_lock);
    }
    return locked;
}

static void verify_identity(struct walk *walk)
{
    char               path[PATH_SIZE];
    struct rf_identity identity;
    struct rf_result   read = rf_identity_read(walk->fs, walk->dir, &identity);
    snprintf(path, sizeof(path), "%.4096s/identity", walk->dir);
    if (read.rc == RF_WRONG_VERSION) {
        tell(walk, path, 0, true, "an identity of a format that this release does not know");
    } else if (rf_ok(read)) {
        walk->history.secret = identity.log_secret;
    } else if (is_damage(walk, read)) {
        tell(walk, path, 0, true,
             read.rc == RF_NOT_FOUND ? "the identity is missing" : "the identity is damaged");
    }
}

struct rf_result rf_verify_dir(struct rf_fs fs, const char *dir, rf_verify_each each,
                               void *argument, struct rf_verify_counts *ret_counts)
{
    char           path[PATH_SIZE];
    struct rf_file lock = {0};
    bool           locked = false;
    struct walk    walk = {.fs = rf_fs_read_only(&fs),
                           .dir = dir,
                           .each = each,
                           .argument = argument,
                           .counts = ret_counts,
                           .result = rf_result(RF_OK)};
    *ret_counts = (struct rf_verify_counts){0};
    snprintf(path, sizeof(path), "%.4096s/wal", dir);
    RF_TRY(lock_dir(&walk, &lock, &locked));
    verify_identity(&walk);
    struct rf_result listed = fs.ops->list(fs.context, path, verify_segment, &walk);
    if (rf_ok(listed)) {
        listed = fs.ops->list(fs.context, dir, verify_entry, &walk);
    }
    if (locked) {
        fs.ops->close(fs.context, lock);
    }
    return rf_ok(listed) ? walk.result : listed;
}
