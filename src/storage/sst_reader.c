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
    uint32_t          *radix; /* per bucket of tokens: its first block; one more at the end */
    uint64_t           n_buckets;
    unsigned           radix_shift;
    struct rf_buf      bloom_block;
    struct rf_slice    bloom;
    bool               bloom_damaged;
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
    uint8_t *to = rf_buf_reserve(buf, size + RF_SST_ROWS_SLACK);
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

static struct rf_result load_filter(struct rf_sst *sst)
{
    struct rf_sst_block_head head;
    struct rf_result         loaded =
        load_block(sst, RF_SST_BLOOM, sst->info.bloom_offset, sst->info.bloom_size, false,
                   &sst->bloom_block, &head, &sst->bloom);
    sst->bloom_damaged =
        loaded.rc == RF_CORRUPT || (rf_ok(loaded) && sst->bloom.size % RF_BLOOM_LINE != 0);
    if (sst->bloom_damaged) {
        sst->bloom = rf_slice(NULL, 0); /* "may hold" every key */
        return rf_result(RF_OK);
    }
    return loaded;
}

/* The bucket of a token between the file's first and last. */
static uint64_t bucket_of(const struct rf_sst *sst, uint64_t token)
{
    return (token - sst->info.first_token) >> sst->radix_shift;
}

/* A table over the high bits of the tokens, so that a search begins among a few blocks: about one per
 * bucket when tokens are uniform, those of one range when they lie in ranges; never more than all. */
static struct rf_result make_radix(struct rf_sst *sst)
{
    uint64_t n = sst->info.n_blocks;
    uint64_t span = sst->info.last_token - sst->info.first_token;
    if (sst->info.last_token < sst->info.first_token || n > UINT32_MAX) {
        return rf_result(RF_CORRUPT);
    }
    while (span >> sst->radix_shift > n) {
        sst->radix_shift++;
    }
    sst->n_buckets = (span >> sst->radix_shift) + 1;
    sst->radix = RF_NEW_ARRAY(uint32_t, sst->n_buckets + 1);
    if (sst->radix == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    uint64_t bucket = 0;
    uint64_t last = sst->info.first_token;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t token = rf_sst_index_get(sst->index.data + i * RF_SST_INDEX_ENTRY).first_token;
        if (token < last || token > sst->info.last_token) {
            return rf_result(RF_CORRUPT);
        }
        last = token;
        for (; bucket <= bucket_of(sst, token); bucket++) {
            sst->radix[bucket] = (uint32_t)i;
        }
    }
    for (; bucket <= sst->n_buckets; bucket++) {
        sst->radix[bucket] = (uint32_t)n;
    }
    return rf_result(RF_OK);
}

static struct rf_result load_parts(struct rf_sst *sst)
{
    struct rf_sst_block_head head;
    RF_TRY(load_block(sst, RF_SST_INDEX, sst->info.index_offset, sst->info.index_size, false,
                      &sst->index_block, &head, &sst->index));
    if (sst->info.n_blocks == 0 || sst->index.size != sst->info.n_blocks * RF_SST_INDEX_ENTRY) {
        return rf_result(RF_CORRUPT);
    }
    RF_TRY(make_radix(sst));
    return sst->info.bloom_size == 0 ? rf_result(RF_OK) : load_filter(sst);
}

struct rf_result rf_sst_open_or_why(struct rf_fs fs, const char *path, uint64_t file,
                                    struct rf_sst **ret_sst, struct rf_sst_fault *ret_why)
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
    uint64_t size = 0;
    result = fs.ops->size(fs.context, sst->file, &size);
    *ret_why = (struct rf_sst_fault){"footer", size < RF_SST_FOOTER ? 0 : size - RF_SST_FOOTER};
    if (rf_ok(result)) {
        result = load_footer(sst, file);
    }
    if (rf_ok(result)) {
        *ret_why = (struct rf_sst_fault){"index", sst->info.index_offset};
        result = load_parts(sst);
    }
    if (!rf_ok(result)) {
        rf_sst_close(sst);
        return result;
    }
    *ret_sst = sst;
    return rf_result(RF_OK);
}

struct rf_result rf_sst_open(struct rf_fs fs, const char *path, uint64_t file,
                             struct rf_sst **ret_sst)
{
    struct rf_sst_fault why;
    return rf_sst_open_or_why(fs, path, file, ret_sst, &why);
}

void rf_sst_close(struct rf_sst *sst)
{
    if (sst == NULL) {
        return;
    }
    rf_assert(sst->magic == SST_MAGIC);
    sst->fs.ops->close(sst->fs.context, sst->file);
    rf_buf_fini(&sst->index_block);
    rf_mem_free(sst->radix);
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
    return sizeof(*sst) + sst->index_block.cap + sst->bloom_block.cap +
           (sst->n_buckets + 1) * sizeof(*sst->radix);
}

bool rf_sst_filter_damaged(const struct rf_sst *sst)
{
    return sst->bloom_damaged;
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

void rf_sst_block_tokens(const struct rf_sst *sst, uint64_t number, uint64_t *ret_first,
                         uint64_t *ret_last)
{
    bool last = number + 1 >= sst->info.n_blocks;
    *ret_first = entry_at(sst, number).first_token;
    /* Rows of the next block's first token may be in both, whatever a damaged writer said. */
    *ret_last = last ? sst->info.last_token : entry_at(sst, number + 1).first_token;
}

/* Bytes of a data block: up to the next one, the last one up to the index. SIZE_MAX in a damaged file,
 * which no block has. */
static uint64_t size_of_block(const struct rf_sst *sst, uint64_t number)
{
    uint64_t begin = entry_at(sst, number).offset;
    uint64_t end =
        number + 1 < sst->info.n_blocks ? entry_at(sst, number + 1).offset : sst->info.index_offset;
    return end < begin ? UINT64_MAX : end - begin;
}

/* The first block in which a row of this token may be; the token is one between first and last. */
static uint64_t find_block(const struct rf_sst *sst, uint64_t token)
{
    uint64_t bucket = token < sst->info.first_token ? 0 : bucket_of(sst, token);
    uint64_t low = sst->radix[bucket]; /* becomes the first block with first_token >= token */
    uint64_t high = sst->radix[bucket + 1];
    rf_slow_assert(bucket < sst->n_buckets && low <= high && high <= sst->info.n_blocks);
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

/* Makes the first `size` bytes of the raw body readable; what comes after costs nothing. */
static struct rf_result need_body(struct rf_sst_block *block, size_t size)
{
    if (size <= block->body.size) {
        return rf_result(RF_OK);
    }
    if (!block->is_packed || size > block->rows.body_size) {
        return rf_result(RF_CORRUPT);
    }
    rf_buf_clear(&block->raw);
    uint8_t *to = rf_buf_reserve(&block->raw, block->rows.body_size);
    if (to == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    int raw = (int)block->rows.body_size;
    int n = size == block->rows.body_size
                ? LZ4_decompress_safe((const char *)block->packed.data, (char *)to,
                                      (int)block->packed.size, raw)
                : LZ4_decompress_safe_partial((const char *)block->packed.data, (char *)to,
                                              (int)block->packed.size, (int)size, raw);
    if (n < 0 || (size_t)n < size) {
        return rf_result(RF_CORRUPT);
    }
    block->raw.size = (size_t)n;
    block->body = rf_buf_slice(&block->raw);
    return rf_result(RF_OK);
}

/* Reads and checks a data block; its body is unpacked when rows are taken out. */
static struct rf_result read_block(const struct rf_sst *sst, uint64_t number,
                                   struct rf_sst_block *block)
{
    struct rf_sst_block_head head;
    struct rf_slice          payload;
    block->rows.n = 0;
    block->number = number;
    RF_TRY(load_block(sst, RF_SST_DATA, entry_at(sst, number).offset, size_of_block(sst, number),
                      block->cached_only, &block->stored, &head, &payload));
    RF_TRY(rf_sst_rows_open(payload, head.raw_size, &block->rows));
    size_t directory = block->rows.directory_size;
    block->packed = rf_slice(payload.data + directory, payload.size - directory);
    block->is_packed = head.codec != RF_SST_NONE;
    block->body = block->is_packed ? rf_slice(NULL, 0) : block->packed;
    rf_assert(block->is_packed || block->body.size == block->rows.body_size);
    return rf_result(RF_OK);
}

void rf_sst_block_fini(struct rf_sst_block *block)
{
    rf_buf_fini(&block->stored);
    rf_buf_fini(&block->raw);
    *block = (struct rf_sst_block){0};
}

/* Row `number`, in whose block the body up to it is unpacked if it was not. */
static struct rf_result row_at(struct rf_sst_block *block, uint32_t number, struct rf_row *ret_row)
{
    RF_TRY(need_body(block, rf_sst_rows_end(&block->rows, number)));
    return rf_sst_rows_get(&block->rows, block->body, number, ret_row);
}

/* The first row of the block with (token, key) >= the given; rows.n when there is none. */
static struct rf_result find_row(struct rf_sst_block *block, uint64_t token, struct rf_slice key,
                                 uint32_t *ret_number)
{
    const struct rf_sst_rows *rows = &block->rows;
    uint32_t                  low = rf_sst_rows_find(rows, token, false);
    uint32_t                  high = low;
    if (low < rows->n && rf_sst_rows_token(rows, low) == token) {
        bool one = low + 1 == rows->n || rf_sst_rows_token(rows, low + 1) != token;
        high = one ? low + 1 : rf_sst_rows_find(rows, token, true);
        /* The body is unpacked once, for the last row of this token. */
        RF_TRY(need_body(block, rf_sst_rows_end(rows, high - 1)));
    }
    while (low < high) {
        uint32_t      middle = low + (high - low) / 2;
        struct rf_row row;
        RF_TRY(row_at(block, middle, &row));
        if (rf_slice_cmp(row.key, key) < 0) {
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
    struct rf_row row;
    RF_TRY(read_block(sst, number, block));
    RF_TRY(row_at(block, 0, &row));
    uint64_t row_token = rf_sst_rows_token(&block->rows, 0);
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
    struct rf_row row;
    if (token < sst->info.first_token || token > sst->info.last_token) {
        return rf_result(RF_NOT_FOUND);
    }
    RF_TRY(load_place(sst, block, token, key, &at));
    RF_TRY(find_row(block, token, key, &number));
    if (number == block->rows.n || rf_sst_rows_token(&block->rows, number) != token) {
        return rf_result(RF_NOT_FOUND);
    }
    RF_TRY(row_at(block, number, &row));
    if (!rf_slice_eq(row.key, key)) {
        return rf_result(RF_NOT_FOUND);
    }
    *ret_row = row;
    return rf_result(RF_OK);
}

/* ---- Checking ----------------------------------------------------------------------------- */

struct rf_result rf_sst_check_block(const struct rf_sst *sst, uint64_t number,
                                    struct rf_sst_block *block, uint64_t *ret_offset,
                                    uint64_t *ret_rows)
{
    uint64_t      first = 0;
    uint64_t      last = 0;
    uint64_t      before_token = 0;
    struct rf_row before = {0};
    struct rf_row row;
    rf_sst_block_tokens(sst, number, &first, &last);
    *ret_offset = entry_at(sst, number).offset;
    RF_TRY(read_block(sst, number, block));
    *ret_rows = block->rows.n;
    RF_TRY(need_body(block, block->rows.body_size)); /* whole at once: rows borrow it */
    for (uint32_t i = 0; i < block->rows.n; i++) {
        uint64_t token = rf_sst_rows_token(&block->rows, i);
        RF_TRY(row_at(block, i, &row));
        bool ordered = i == 0 ? token == first
                              : token > before_token || (token == before_token &&
                                                         rf_slice_cmp(row.key, before.key) > 0);
        if (!ordered || token > last || !rf_sst_may_hold(sst, token, row.key)) {
            return rf_result(RF_CORRUPT);
        }
        before_token = token;
        before = row;
    }
    return rf_result(RF_OK);
}

/* ---- Iterator ----------------------------------------------------------------------------- */

/* Loads the row under the iterator, from the next block when this one is used up. */
static struct rf_result settle(struct rf_sst_iter *iter)
{
    if (iter->at_row == iter->block.rows.n) {
        if (++iter->at_block >= iter->sst->info.n_blocks) {
            iter->end = true;
            return rf_result(RF_OK);
        }
        RF_TRY(read_block(iter->sst, iter->at_block, &iter->block));
        iter->at_row = 0;
    }
    /* A walk takes all of the block: it is unpacked once. */
    RF_TRY(need_body(&iter->block, iter->block.rows.body_size));
    iter->token = rf_sst_rows_token(&iter->block.rows, iter->at_row);
    return row_at(&iter->block, iter->at_row, &iter->row);
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
    rf_assert(iter->at_row < iter->block.rows.n);
    iter->at_row++;
    return settle(iter);
}

void rf_sst_iter_fini(struct rf_sst_iter *iter)
{
    rf_sst_block_fini(&iter->block);
    iter->end = true;
}
