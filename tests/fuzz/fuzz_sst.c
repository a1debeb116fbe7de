/* SSTables: a real one of some hundred rows, written once into memory, with the input's patches
 * (offset u16, byte) on top. First byte odd: checksums are made right again when a part is read, so
 * that what lies behind them is reached; even: they are not, and nothing that differs may be served. */
#include "fuzz.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/crc.h"
#include "format/codec.h"
#include "storage/sst_reader.h"
#include "storage/sst_writer.h"

#define FILE_NUMBER 7u
#define ROWS 300u

static struct rf_buf original; /* as the writer made it */
static struct rf_buf patched;
static bool          fix;

static struct rf_result mem_open(void *context, const char *path, unsigned flags,
                                 struct rf_file *ret_file)
{
    (void)context;
    (void)path;
    (void)flags;
    *ret_file = (struct rf_file){1};
    return rf_result(RF_OK);
}

static void mem_close(void *context, struct rf_file file)
{
    (void)context;
    (void)file;
}

static struct rf_result mem_pwrite(void *context, struct rf_file file, struct rf_slice bytes,
                                   uint64_t offset)
{
    (void)context;
    (void)file;
    require(offset == original.size);
    rf_buf_append_slice(&original, bytes);
    return rf_result(RF_OK);
}

static struct rf_result mem_pread(void *context, struct rf_file file, void *to, size_t size,
                                  uint64_t offset)
{
    (void)context;
    (void)file;
    if (offset > patched.size || size > patched.size - offset) {
        return rf_result(RF_TRUNCATED);
    }
    uint8_t *at = to;
    memcpy(at, patched.data + offset, size);
    if (fix && size == RF_SST_FOOTER && offset + size == patched.size) {
        rf_store_le(at + 4, rf_crc32c(0, rf_slice(at + 8, size - 8)), 4);
    } else if (fix && size > RF_SST_BLOCK_HEADER) {
        rf_store_le(at, rf_crc32c(0, rf_slice(at + 4, size - 4)), 4);
    }
    return rf_result(RF_OK);
}

static struct rf_result mem_sync(void *context, struct rf_file file)
{
    (void)context;
    (void)file;
    return rf_result(RF_OK);
}

static struct rf_result mem_size(void *context, struct rf_file file, uint64_t *ret_size)
{
    (void)context;
    (void)file;
    *ret_size = patched.size;
    return rf_result(RF_OK);
}

static const struct rf_fs_ops mem_ops = {.open = mem_open,
                                         .close = mem_close,
                                         .pread = mem_pread,
                                         .pwrite = mem_pwrite,
                                         .sync = mem_sync,
                                         .size = mem_size};

static struct rf_row make_row(uint32_t number, char key[16], char value[64])
{
    snprintf(key, 16, "key%08u", number);
    snprintf(value, 64, "value %u of a row that compresses well, well, well", number);
    return (struct rf_row){.version = {rf_hlc_make(1000 + number, 0), 1},
                           .flags = number % 7 == 0 ? RF_ROW_TOMBSTONE : 0,
                           .expiry_ms = number % 5 == 0 ? 5000 : 0,
                           .key = rf_slice_str(key),
                           .value = number % 7 == 0 ? rf_slice(NULL, 0) : rf_slice_str(value)};
}

static uint64_t token_of(uint32_t number)
{
    return (uint64_t)(number / 3) << 40; /* three keys share a token */
}

static void write_original(void)
{
    struct rf_sst_writer       *writer = NULL;
    struct rf_sst_info          info;
    const struct rf_sst_options options = {.file = FILE_NUMBER,
                                           .table = 300,
                                           .codec = RF_SST_LZ4,
                                           .bloom_bits_per_key = 10,
                                           .bloom_seed = 1};
    require(rf_ok(rf_sst_writer_new((struct rf_fs){&mem_ops, NULL}, "x", &options, &writer)));
    for (uint32_t i = 0; i < ROWS; i++) {
        char          key[16];
        char          value[64];
        struct rf_row row = make_row(i, key, value);
        require(rf_ok(rf_sst_writer_add(writer, token_of(i), &row)));
    }
    require(rf_ok(rf_sst_writer_finish(writer, &info)));
    rf_sst_writer_free(writer);
}

/* Without the checksums' help, a row that is served is the row that was written. */
static void check_row(const struct rf_row *row, uint32_t number)
{
    char          key[16];
    char          value[64];
    struct rf_row written = make_row(number, key, value);
    require(rf_slice_eq(row->key, written.key) && rf_slice_eq(row->value, written.value));
    require(row->version.hlc == written.version.hlc && row->expiry_ms == written.expiry_ms);
}

static void read_all(const struct rf_sst *sst)
{
    struct rf_sst_iter  iter = {0};
    struct rf_sst_block block = {0};
    uint32_t            rows = 0;
    struct rf_result    rc = rf_sst_seek(sst, 0, rf_slice(NULL, 0), &iter);
    while (rf_ok(rc) && !iter.end && rows < 4 * ROWS) {
        require(iter.row.key.size >= 1 && iter.row.key.size <= RF_KEY_MAX);
        if (!fix) {
            check_row(&iter.row, rows);
        }
        rows++;
        rc = rf_sst_next(&iter);
    }
    rf_sst_iter_fini(&iter);
    for (uint32_t i = 0; i < ROWS; i += 37) {
        char          key[16];
        char          value[64];
        struct rf_row row;
        struct rf_row wanted = make_row(i, key, value);
        (void)rf_sst_may_hold(sst, token_of(i), wanted.key);
        if (rf_ok(rf_sst_get(sst, &block, token_of(i), wanted.key, &row))) {
            require(rf_slice_eq(row.key, wanted.key));
            if (!fix) {
                check_row(&row, i);
            }
        }
    }
    rf_sst_block_fini(&block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_sst *sst = NULL;
    if (original.size == 0) {
        write_original();
    }
    if (size == 0) {
        return 0;
    }
    fix = data[0] % 2 != 0;
    rf_buf_clear(&patched);
    rf_buf_append_slice(&patched, rf_buf_slice(&original));
    for (size_t i = 1; i + 3 <= size; i += 3) {
        size_t at = (size_t)rf_load_le(data + i, 2);
        /* Offsets count from the end: footer, filter and index come first under the knife. */
        patched.data[patched.size - 1 - at % patched.size] = data[i + 2];
    }
    if (rf_ok(rf_sst_open((struct rf_fs){&mem_ops, NULL}, "x", FILE_NUMBER, &sst))) {
        read_all(sst);
        rf_sst_close(sst);
    }
    return 0;
}
