#include "storage/sst_reader.h"

#include <lz4.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/codec.h"
#include "storage/bloom.h"

#define SST_MAGIC 0x53535400u

struct rf_sst {
    uint32_t           magic;
    struct rf_fs       fs;
    struct rf_file     file;
    struct rf_sst_info info;
    struct rf_buf      index_block;
    struct rf_slice    index;
    struct rf_buf      bloom_block;
    struct rf_slice    bloom;
};

/* ---- Opening ------------------------------------------------------------------------------ */

/* Reads one block and checks it; ret_payload points into buf. */
static struct rf_result load_block(const struct rf_sst *sst, enum rf_sst_kind kind, uint64_t offset,
                                   uint64_t size, bool cached_only, struct rf_buf *buf,
                                   struct rf_sst_block_head *ret_head, struct rf_slice *ret_payload)
{
    const struct rf_fs_ops *ops = sst->fs.ops;
    if (size > sst->info.file_size || offset > sst->info.file_size - size) {
        return rf_result(RF_CORRUPT);
    }
    rf_buf_clear(buf);
    uint8_t *to = rf_buf_reserve(buf, size);
    if (to == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    struct rf_result read = cached_only && ops->pread_cached != NULL
                                ? ops->pread_cached(sst->fs.context, sst->file, to, size, offset)
                                : ops->pread(sst->fs.context, sst->file, to, size, offset);
    if (read.rc == RF_TRUNCATED) {
        return rf_result(RF_CORRUPT);
    }
    RF_TRY(read);
    buf->size = size;
    return rf_sst_block_check(rf_buf_slice(buf), kind, sst->info.file, offset, ret_head,
                              ret_payload);
}

static struct rf_result load_footer(struct rf_sst *sst, uint64_t file)
{
    uint8_t  footer[RF_SST_FOOTER];
    uint64_t size = 0;
    RF_TRY(sst->fs.ops->size(sst->fs.context, sst->file, &size));
    if (size < RF_SST_FOOTER) {
        return rf_result(RF_CORRUPT);
    }
    RF_TRY(sst->fs.ops->pread(sst->fs.context, sst->file, footer, sizeof(footer),
                              size - sizeof(footer)));
    RF_TRY(rf_sst_footer_decode(footer, &sst->info));
    bool fits = sst->info.file == file && sst->info.file_size == size && sst->info.rows != 0;
    return rf_result(fits ? RF_OK : RF_CORRUPT);
}

static struct rf_result load_parts(struct rf_sst *sst)
{
    struct rf_sst_block_head head;
    RF_TRY(load_block(sst, RF_SST_INDEX, sst->info.index_offset, sst->info.index_size, false,
                      &sst->index_block, &head, &sst->index));
    if (sst->info.n_blocks == 0 || sst->index.size != sst->info.n_blocks * RF_SST_INDEX_ENTRY) {
        return rf_result(RF_CORRUPT);
    }
    if (sst->info.bloom_size != 0) {
        RF_TRY(load_block(sst, RF_SST_BLOOM, sst->info.bloom_offset, sst->info.bloom_size, false,
                          &sst->bloom_block, &head, &sst->bloom));
        return rf_result(sst->bloom.size % RF_BLOOM_LINE == 0 ? RF_OK : RF_CORRUPT);
    }
    return rf_result(RF_OK);
}

struct rf_result rf_sst_open(struct rf_fs fs, const char *path, uint64_t file,
                             struct rf_sst **ret_sst)
{
    struct rf_sst *sst = RF_NEW(struct rf_sst);
    if (sst == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    sst->fs = fs;
    struct rf_result result = fs.ops->open(fs.context, path, RF_OPEN_READ, &sst->file);
    if (!rf_ok(result)) {
        rf_mem_free(sst);
        return result;
    }
    sst->magic = SST_MAGIC;
    result = load_footer(sst, file);
    if (rf_ok(result)) {
        result = load_parts(sst);
    }
    if (!rf_ok(result)) {
        rf_sst_close(sst);
        return result;
    }
    *ret_sst = sst;
    return rf_result(RF_OK);
}

void rf_sst_close(struct rf_sst *sst)
{
    if (sst == NULL) {
        return;
    }
    rf_assert(sst->magic == SST_MAGIC);
    sst->fs.ops->close(sst->fs.context, sst->file);
    rf_buf_fini(&sst->index_block);
    rf_buf_fini(&sst->bloom_block);
    sst->magic = 0;
    rf_mem_free(sst);
}

const struct rf_sst_info *rf_sst_info(const struct rf_sst *sst)
{
    rf_assert(sst->magic == SST_MAGIC);
    return &sst->info;
}

size_t rf_sst_memory(const struct rf_sst *sst)
{
    return sizeof(*sst) + sst->index_block.cap + sst->bloom_block.cap;
}

bool rf_sst_may_hold(const struct rf_sst *sst, uint64_t token, struct rf_slice key)
{
    rf_assert(sst->magic == SST_MAGIC);
    return token >= sst->info.first_token && token <= sst->info.last_token &&
           rf_bloom_may_hold(sst->bloom,
                             sst->bloom.size == 0 ? 0 : rf_hash64(key, sst->info.bloom_seed));
}

/* ---- Blocks ------------------------------------------------------------------------------- */

static struct rf_sst_index_entry entry_at(const struct rf_sst *sst, uint64_t number)
{
    rf_assert(number < sst->info.n_blocks);
    return rf_sst_index_get(sst->index.data + number * RF_SST_INDEX_ENTRY);
}

/* The first block in which a row of this token may be. */
static uint64_t find_block(const struct rf_sst *sst, uint64_t token)
{
    uint64_t low = 0; /* becomes the first block with first_token >= token */
    uint64_t high = sst->info.n_blocks;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (entry_at(sst, middle).first_token < token) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool starts = low < sst->info.n_blocks && entry_at(sst, low).first_token == token &&
                  !entry_at(sst, low).continues;
    return low == 0 || starts ? low : low - 1;
}

static struct rf_result unpack(struct rf_sst_block *block, const struct rf_sst_block_head *head,
                               struct rf_slice payload)
{
    block->rows = payload;
    if (head->codec == RF_SST_NONE) {
        return rf_result(RF_OK);
    }
    rf_buf_clear(&block->raw);
    uint8_t *to = rf_buf_reserve(&block->raw, head->raw_size);
    if (to == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    int n = LZ4_decompress_safe((const char *)payload.data, (char *)to, (int)payload.size,
                                (int)head->raw_size);
    if (n < 0 || (uint32_t)n != head->raw_size) {
        return rf_result(RF_CORRUPT);
    }
    block->raw.size = head->raw_size;
    block->rows = rf_buf_slice(&block->raw);
    return rf_result(RF_OK);
}

/* Reads a data block and takes its trailer apart: u32 offsets, then their number. */
static struct rf_result read_block(const struct rf_sst *sst, uint64_t number,
                                   struct rf_sst_block *block)
{
    struct rf_sst_index_entry entry = entry_at(sst, number);
    struct rf_sst_block_head  head;
    struct rf_slice           payload;
    block->n = 0;
    block->number = number;
    RF_TRY(load_block(sst, RF_SST_DATA, entry.offset, entry.size, block->cached_only,
                      &block->stored, &head, &payload));
    RF_TRY(unpack(block, &head, payload));
    size_t size = block->rows.size;
    if (size < 8) {
        return rf_result(RF_CORRUPT);
    }
    uint64_t n = rf_load_le(block->rows.data + size - 4, 4);
    if (n == 0 || n > (size - 4) / 4) {
        return rf_result(RF_CORRUPT);
    }
    block->n = (uint32_t)n;
    block->rows.size = size - 4 - n * 4;
    rf_assert(block->rows.size < size);
    block->offsets = block->rows.data + block->rows.size;
    return rf_result(RF_OK);
}

void rf_sst_block_fini(struct rf_sst_block *block)
{
    rf_buf_fini(&block->stored);
    rf_buf_fini(&block->raw);
    *block = (struct rf_sst_block){0};
}

static struct rf_result row_at(const struct rf_sst_block *block, uint32_t number,
                               uint64_t *ret_token, struct rf_row *ret_row)
{
    rf_assert(number < block->n);
    uint64_t offset = rf_load_le(block->offsets + 4 * (size_t)number, 4);
    if (offset + 8 > block->rows.size) {
        return rf_result(RF_CORRUPT);
    }
    struct rf_slice rest =
        rf_slice(block->rows.data + offset + 8, block->rows.size - (size_t)offset - 8);
    *ret_token = rf_load_le(block->rows.data + offset, 8);
    return rf_result(rf_ok(rf_row_decode(&rest, ret_row)) ? RF_OK : RF_CORRUPT);
}

/* The first row of the block with (token, key) >= the given; block->n when there is none. */
static struct rf_result find_row(const struct rf_sst_block *block, uint64_t token,
                                 struct rf_slice key, uint32_t *ret_number)
{
    uint32_t low = 0;
    uint32_t high = block->n;
    while (low < high) {
        uint32_t      middle = low + (high - low) / 2;
        uint64_t      row_token = 0;
        struct rf_row row;
        RF_TRY(row_at(block, middle, &row_token, &row));
        bool before = row_token != token ? row_token < token : rf_slice_cmp(row.key, key) < 0;
        if (before) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_number = low;
    return rf_result(RF_OK);
}

/* Is the block's first row above (token, key)? Leaves the block loaded. */
static struct rf_result starts_after(const struct rf_sst *sst, uint64_t number,
                                     struct rf_sst_block *block, uint64_t token,
                                     struct rf_slice key, bool *ret_after)
{
    uint64_t      row_token = 0;
    struct rf_row row;
    RF_TRY(read_block(sst, number, block));
    RF_TRY(row_at(block, 0, &row_token, &row));
    *ret_after = row_token != token ? row_token > token : rf_slice_cmp(row.key, key) > 0;
    return rf_result(RF_OK);
}

/* Loads the block in which (token, key) is or would be. Many blocks may share one token (all hints
 * for a node do): then the fence of tokens says nothing and their first keys are compared. */
static struct rf_result load_place(const struct rf_sst *sst, struct rf_sst_block *block,
                                   uint64_t token, struct rf_slice key, uint64_t *ret_number)
{
    uint64_t low = find_block(sst, token);
    uint64_t high = low + 1; /* becomes the first block that starts above the place */
    uint64_t loaded = UINT64_MAX;
    rf_assert(low < sst->info.n_blocks);
    while (high < sst->info.n_blocks && entry_at(sst, high).first_token <= token) {
        uint64_t step = high - low;
        high = high + step < sst->info.n_blocks ? high + step : sst->info.n_blocks;
    }
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        bool     after = entry_at(sst, middle).first_token > token;
        if (!after) {
            RF_TRY(starts_after(sst, middle, block, token, key, &after));
            loaded = middle;
        }
        if (after) {
            high = middle;
        } else {
            low = middle;
        }
    }
    rf_assert(low < sst->info.n_blocks);
    *ret_number = low;
    return loaded == low ? rf_result(RF_OK) : read_block(sst, low, block);
}

struct rf_result rf_sst_get(const struct rf_sst *sst, struct rf_sst_block *block, uint64_t token,
                            struct rf_slice key, struct rf_row *ret_row)
{
    rf_assert(sst->magic == SST_MAGIC);
    uint64_t      at = 0;
    uint32_t      number = 0;
    uint64_t      row_token = 0;
    struct rf_row row;
    if (token < sst->info.first_token || token > sst->info.last_token) {
        return rf_result(RF_NOT_FOUND);
    }
    RF_TRY(load_place(sst, block, token, key, &at));
    RF_TRY(find_row(block, token, key, &number));
    if (number == block->n) {
        return rf_result(RF_NOT_FOUND);
    }
    RF_TRY(row_at(block, number, &row_token, &row));
    if (row_token != token || !rf_slice_eq(row.key, key)) {
        return rf_result(RF_NOT_FOUND);
    }
    *ret_row = row;
    return rf_result(RF_OK);
}

/* ---- Iterator ----------------------------------------------------------------------------- */

/* Loads the row under the iterator, from the next block when this one is used up. */
static struct rf_result settle(struct rf_sst_iter *iter)
{
    if (iter->at_row == iter->block.n) {
        if (++iter->at_block >= iter->sst->info.n_blocks) {
            iter->end = true;
            return rf_result(RF_OK);
        }
        RF_TRY(read_block(iter->sst, iter->at_block, &iter->block));
        iter->at_row = 0;
    }
    return row_at(&iter->block, iter->at_row, &iter->token, &iter->row);
}

struct rf_result rf_sst_seek(const struct rf_sst *sst, uint64_t token, struct rf_slice key,
                             bool cached_only, struct rf_sst_iter *ret_iter)
{
    rf_assert(sst->magic == SST_MAGIC);
    *ret_iter = (struct rf_sst_iter){.sst = sst, .block.cached_only = cached_only};
    if (token > sst->info.last_token) {
        ret_iter->end = true;
        return rf_result(RF_OK);
    }
    RF_TRY(load_place(sst, &ret_iter->block, token, key, &ret_iter->at_block));
    RF_TRY(find_row(&ret_iter->block, token, key, &ret_iter->at_row));
    return settle(ret_iter);
}

struct rf_result rf_sst_next(struct rf_sst_iter *iter)
{
    rf_assert(!iter->end);
    rf_assert(iter->at_row < iter->block.n);
    iter->at_row++;
    return settle(iter);
}

void rf_sst_iter_fini(struct rf_sst_iter *iter)
{
    rf_sst_block_fini(&iter->block);
    iter->end = true;
}
