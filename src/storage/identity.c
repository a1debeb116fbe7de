#include "storage/identity.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/crc.h"
#include "format/codec.h"

/* u32 magic, u32 crc32c (all after it), u32 format, u32 partitions, u64 node, u64 generation; since
 * format 2 also u64 cluster, u32 flags, u32 zero; since format 3 also u64 secret of the logs. */
#define IDENTITY_MAGIC 0x44494652u /* "RFID" */
#define IDENTITY_FORMAT 3u
#define IDENTITY_SIZE 56u
#define IDENTITY_SIZE_2 48u
#define IDENTITY_SIZE_1 32u
#define IDENTITY_SIZE_MAX 256u /* of formats to come: told from damage by their checksum */
#define FLAG_UNSURE 1u
#define FLAG_DOUBT 2u
#define PATH_SIZE 4096u

static void make_path(char path[PATH_SIZE], const char *dir, const char *name)
{
    snprintf(path, PATH_SIZE, "%s/%s", dir, name);
}

static struct rf_result decode(struct rf_slice bytes, struct rf_identity *ret_identity)
{
    const uint8_t *data = bytes.data;
    if (rf_load_le(data, 4) != IDENTITY_MAGIC ||
        rf_load_le(data + 4, 4) != rf_crc32c(0, rf_slice(data + 8, bytes.size - 8))) {
        return rf_result(RF_CORRUPT);
    }
    uint64_t format = rf_load_le(data + 8, 4);
    if (format == 0 || format > IDENTITY_FORMAT) {
        return rf_result(RF_WRONG_VERSION);
    }
    static const size_t sizes[IDENTITY_FORMAT] = {IDENTITY_SIZE_1, IDENTITY_SIZE_2, IDENTITY_SIZE};
    if (bytes.size != sizes[format - 1]) {
        return rf_result(RF_CORRUPT);
    }
    struct rf_identity identity = {
        .n_partitions = (uint32_t)rf_load_le(data + 12, 4),
        .node = rf_load_le(data + 16, 8),
        .generation = rf_load_le(data + 24, 8),
        .unsure = true, /* format 1 was written by a start: what came of it is not told */
    };
    if (format != 1) {
        identity.cluster = rf_load_le(data + 32, 8);
        identity.unsure = (rf_load_le(data + 40, 4) & FLAG_UNSURE) != 0;
        identity.doubt = (rf_load_le(data + 40, 4) & FLAG_DOUBT) != 0;
    }
    identity.log_secret = format < 3 ? 0 : rf_load_le(data + 48, 8);
    *ret_identity = identity;
    return rf_result(RF_OK);
}

struct rf_result rf_identity_read(struct rf_fs fs, const char *dir,
                                  struct rf_identity *ret_identity)
{
    char           path[PATH_SIZE];
    uint8_t        bytes[IDENTITY_SIZE_MAX];
    uint64_t       size = 0;
    struct rf_file file;
    make_path(path, dir, "identity");
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ, &file));
    struct rf_result result = fs.ops->size(fs.context, file, &size);
    if (rf_ok(result) && (size < IDENTITY_SIZE_1 || size > sizeof(bytes))) {
        result = rf_result(RF_CORRUPT);
    }
    if (rf_ok(result)) {
        result = fs.ops->pread(fs.context, file, bytes, size, 0);
    }
    fs.ops->close(fs.context, file);
    if (result.rc == RF_TRUNCATED) {
        return rf_result(RF_CORRUPT);
    }
    RF_TRY(result);
    return decode(rf_slice(bytes, size), ret_identity);
}

struct rf_result rf_identity_write(struct rf_fs fs, const char *dir,
                                   const struct rf_identity *identity)
{
    char           path[PATH_SIZE];
    char           final_path[PATH_SIZE];
    uint8_t        bytes[IDENTITY_SIZE] = {0};
    struct rf_file file;
    rf_assert(identity->n_partitions >= 1 && identity->n_partitions <= 256);
    rf_assert((identity->node & 0xff) == 0);
    rf_assert(identity->cluster == 0 || !identity->unsure);
    make_path(path, dir, "identity.new");
    make_path(final_path, dir, "identity");
    rf_store_le(bytes, IDENTITY_MAGIC, 4);
    rf_store_le(bytes + 8, IDENTITY_FORMAT, 4);
    rf_store_le(bytes + 12, identity->n_partitions, 4);
    rf_store_le(bytes + 16, identity->node, 8);
    rf_store_le(bytes + 24, identity->generation, 8);
    rf_store_le(bytes + 32, identity->cluster, 8);
    rf_store_le(bytes + 40,
                (identity->unsure ? FLAG_UNSURE : 0) | (identity->doubt ? FLAG_DOUBT : 0), 4);
    rf_store_le(bytes + 48, identity->log_secret, 8);
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
