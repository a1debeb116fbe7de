#include "storage/identity.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/crc.h"
#include "format/codec.h"

/* u32 magic, u32 crc32c (all after it), u32 format, u32 partitions, u64 node, u64 generation. */
#define IDENTITY_MAGIC 0x44494652u /* "RFID" */
#define IDENTITY_FORMAT 1u
#define IDENTITY_SIZE 32u
#define PATH_SIZE 4096u

static void make_path(char path[PATH_SIZE], const char *dir, const char *name)
{
    snprintf(path, PATH_SIZE, "%s/%s", dir, name);
}

struct rf_result rf_identity_read(struct rf_fs fs, const char *dir,
                                  struct rf_identity *ret_identity)
{
    char           path[PATH_SIZE];
    uint8_t        bytes[IDENTITY_SIZE];
    struct rf_file file;
    make_path(path, dir, "identity");
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ, &file));
    struct rf_result result = fs.ops->pread(fs.context, file, bytes, sizeof(bytes), 0);
    fs.ops->close(fs.context, file);
    if (result.rc == RF_TRUNCATED) {
        return rf_result(RF_CORRUPT);
    }
    RF_TRY(result);
    if (rf_load_le(bytes, 4) != IDENTITY_MAGIC ||
        rf_load_le(bytes + 4, 4) != rf_crc32c(0, rf_slice(bytes + 8, sizeof(bytes) - 8))) {
        return rf_result(RF_CORRUPT);
    }
    if (rf_load_le(bytes + 8, 4) != IDENTITY_FORMAT) {
        return rf_result(RF_WRONG_VERSION);
    }
    *ret_identity = (struct rf_identity){
        .n_partitions = (uint32_t)rf_load_le(bytes + 12, 4),
        .node = rf_load_le(bytes + 16, 8),
        .generation = rf_load_le(bytes + 24, 8),
    };
    return rf_result(RF_OK);
}

struct rf_result rf_identity_write(struct rf_fs fs, const char *dir,
                                   const struct rf_identity *identity)
{
    char           path[PATH_SIZE];
    char           final_path[PATH_SIZE];
    uint8_t        bytes[IDENTITY_SIZE];
    struct rf_file file;
    rf_assert(identity->n_partitions >= 1 && identity->n_partitions <= 256);
    rf_assert((identity->node & 0xff) == 0);
    make_path(path, dir, "identity.new");
    make_path(final_path, dir, "identity");
    rf_store_le(bytes, IDENTITY_MAGIC, 4);
    rf_store_le(bytes + 8, IDENTITY_FORMAT, 4);
    rf_store_le(bytes + 12, identity->n_partitions, 4);
    rf_store_le(bytes + 16, identity->node, 8);
    rf_store_le(bytes + 24, identity->generation, 8);
    rf_store_le(bytes + 4, rf_crc32c(0, rf_slice(bytes + 8, sizeof(bytes) - 8)), 4);
    struct rf_result gone = fs.ops->unlink(fs.context, path); /* left by a crash */
    if (!rf_ok(gone) && gone.rc != RF_NOT_FOUND) {
        return gone;
    }
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &file));
    struct rf_result result = fs.ops->pwrite(fs.context, file, rf_slice(bytes, sizeof(bytes)), 0);
    if (rf_ok(result)) {
        result = fs.ops->sync(fs.context, file);
    }
    fs.ops->close(fs.context, file);
    RF_TRY(result);
    RF_TRY(fs.ops->rename(fs.context, path, final_path));
    return fs.ops->sync_dir(fs.context, dir);
}
