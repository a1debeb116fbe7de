/* SSTables, read as a file. Checksums, numbers and sizes are made right first, so that everything
 * behind them is reached: what a block holds then is hostile. */
#include "fuzz.h"

#include "base/buf.h"
#include "base/crc.h"
#include "format/codec.h"
#include "storage/sst_reader.h"

#define ROWS_MAX 100000u /* a hostile index may lead through the same blocks again and again */

/* One file in memory, nothing else. */
static struct rf_result file_open(void *context, const char *path, unsigned flags,
                                  struct rf_file *ret_file)
{
    (void)context;
    (void)path;
    (void)flags;
    *ret_file = (struct rf_file){1};
    return rf_result(RF_OK);
}

static void file_close(void *context, struct rf_file file)
{
    (void)context;
    (void)file;
}

static struct rf_result file_pread(void *context, struct rf_file file, void *to, size_t size,
                                   uint64_t offset)
{
    const struct rf_buf *bytes = context;
    (void)file;
    if (offset > bytes->size || size > bytes->size - offset) {
        return rf_result(RF_TRUNCATED);
    }
    memcpy(to, bytes->data + offset, size);
    return rf_result(RF_OK);
}

static struct rf_result file_size(void *context, struct rf_file file, uint64_t *ret_size)
{
    const struct rf_buf *bytes = context;
    (void)file;
    *ret_size = bytes->size;
    return rf_result(RF_OK);
}

static void repair_block(struct rf_buf *bytes, uint64_t offset, uint64_t size, uint8_t kind)
{
    if (size <= RF_SST_BLOCK_HEADER || size > bytes->size || offset > bytes->size - size) {
        return;
    }
    uint8_t *at = bytes->data + offset;
    rf_store_le(at + 4, size - RF_SST_BLOCK_HEADER, 4);
    if (at[13] != RF_SST_LZ4) {
        at[13] = RF_SST_NONE;
        rf_store_le(at + 8, size - RF_SST_BLOCK_HEADER, 4);
    }
    at[12] = kind;
    uint8_t place[16];
    rf_store_le(place, 1, 8);
    rf_store_le(place + 8, offset, 8);
    uint32_t crc = rf_crc32c(0, rf_slice(place, sizeof(place)));
    rf_store_le(at, rf_crc32c(crc, rf_slice(at + 4, size - 4)), 4);
}

static void repair(struct rf_buf *bytes)
{
    uint8_t *footer = bytes->data + bytes->size - RF_SST_FOOTER;
    uint64_t index = rf_load_le(footer + 112, 8);
    uint64_t index_size = rf_load_le(footer + 120, 8);
    rf_store_le(footer, 0x53544652u, 4);
    rf_store_le(footer + 8, 3, 2);
    rf_store_le(footer + 10, RF_SST_FOOTER, 2);
    rf_store_le(footer + 16, 1, 8);
    rf_store_le(footer + 160, bytes->size, 8);
    if (index_size > RF_SST_BLOCK_HEADER && index_size <= bytes->size &&
        index <= bytes->size - index_size) {
        uint64_t n = (index_size - RF_SST_BLOCK_HEADER) / RF_SST_INDEX_ENTRY;
        rf_store_le(footer + 152, n, 8);
        for (uint64_t i = 0; i < n; i++) {
            struct rf_sst_index_entry entry = rf_sst_index_get(
                bytes->data + index + RF_SST_BLOCK_HEADER + i * RF_SST_INDEX_ENTRY);
            uint64_t end = i + 1 < n ? rf_sst_index_get(bytes->data + index + RF_SST_BLOCK_HEADER +
                                                        (i + 1) * RF_SST_INDEX_ENTRY)
                                           .offset
                                     : index;
            if (entry.offset < end) {
                repair_block(bytes, entry.offset, end - entry.offset, RF_SST_DATA);
            }
        }
        repair_block(bytes, index, index_size, RF_SST_INDEX);
    }
    if (rf_load_le(footer + 136, 8) != 0) {
        repair_block(bytes, rf_load_le(footer + 128, 8), rf_load_le(footer + 136, 8), RF_SST_BLOOM);
    }
    rf_store_le(footer + 4, rf_crc32c(0, rf_slice(footer + 8, RF_SST_FOOTER - 8)), 4);
}

static void read_all(struct rf_sst *sst)
{
    struct rf_sst_iter  iter;
    struct rf_sst_block block = {0};
    struct rf_row       row;
    struct rf_slice     key = rf_slice("key00001", 8);
    uint64_t            token = rf_sst_info(sst)->first_token;
    struct rf_result    result = rf_sst_seek(sst, token, key, false, &iter);
    for (uint32_t n = 0; n < ROWS_MAX && rf_ok(result) && !iter.end; n++) {
        require(iter.row.key.size >= 1 && iter.row.key.size <= RF_ROW_KEY_MAX);
        result = rf_sst_next(&iter);
    }
    rf_sst_iter_fini(&iter);
    if (rf_sst_may_hold(sst, token, key) && rf_ok(rf_sst_get(sst, &block, token, key, &row))) {
        require(rf_slice_eq(row.key, key));
    }
    rf_sst_block_fini(&block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rf_fs_ops ops = {
        .open = file_open, .close = file_close, .pread = file_pread, .size = file_size};
    struct rf_buf  copy = {0};
    struct rf_sst *sst = NULL;
    rf_buf_append(&copy, data, size);
    struct rf_fs fs = {&ops, &copy};
    for (int fixed = 0; fixed < 2; fixed++) {
        if (fixed != 0 && size >= RF_SST_FOOTER) {
            repair(&copy);
        }
        if (rf_ok(rf_sst_open(fs, "/", 1, &sst))) {
            read_all(sst);
            rf_sst_close(sst);
        }
    }
    rf_buf_fini(&copy);
    return 0;
}
