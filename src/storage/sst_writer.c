#include "storage/sst_writer.h"

#include <lz4.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/codec.h"
#include "storage/bloom.h"

#define BLOCK_TARGET 4096u       /* raw bytes after which a block ends */
#define WRITE_SIZE (256u * 1024) /* bytes per call */
#define PUSH_SIZE (1024u * 1024) /* bytes after which the disk begins to write */

struct rf_sst_writer {
    struct rf_fs          fs;
    struct rf_file        file;
    struct rf_sst_options options;
    struct rf_sst_info    info;
    struct rf_buf         out;     /* blocks that are not written yet */
    uint64_t              written; /* file offset of out's first byte */
    uint64_t              pushed;  /* bytes that the disk was asked to write */
    struct rf_buf         block;   /* rows of the open block */
    struct rf_buf         offsets; /* their places in it, u32 each */
    struct rf_buf         index;
    struct rf_buf         hashes;      /* u64 per key, for the filter */
    uint64_t              block_first; /* token */
    uint64_t              last_token;
    uint64_t              before_token; /* last token of the block before */
};

struct rf_result rf_sst_writer_new(struct rf_fs fs, const char *path,
                                   const struct rf_sst_options *options,
                                   struct rf_sst_writer       **ret_writer)
{
    rf_assert(options->bloom_bits_per_key <= 64);
    struct rf_sst_writer *writer = RF_NEW(struct rf_sst_writer);
    if (writer == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    writer->fs = fs;
    writer->options = *options;
    writer->info = (struct rf_sst_info){.file = options->file,
                                        .table = options->table,
                                        .partition = options->partition,
                                        .level = options->level,
                                        .codec = options->codec,
                                        .min_hlc = UINT64_MAX,
                                        .min_expiry_ms = UINT64_MAX,
                                        .min_dead_hlc = UINT64_MAX,
                                        .bloom_seed = options->bloom_seed};
    struct rf_result opened =
        fs.ops->open(fs.context, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &writer->file);
    if (!rf_ok(opened)) {
        rf_mem_free(writer);
        return opened;
    }
    *ret_writer = writer;
    return rf_result(RF_OK);
}

static uint64_t offset_of_next(const struct rf_sst_writer *writer)
{
    return writer->written + writer->out.size;
}

static struct rf_result push_out(struct rf_sst_writer *writer, size_t at_least)
{
    if (writer->out.size < at_least || writer->out.size == 0) {
        return rf_result(RF_OK);
    }
    RF_TRY(writer->fs.ops->pwrite(writer->fs.context, writer->file, rf_buf_slice(&writer->out),
                                  writer->written));
    writer->written += writer->out.size;
    rf_buf_clear(&writer->out);
    if (writer->written - writer->pushed >= PUSH_SIZE) {
        RF_TRY(writer->fs.ops->push_out(writer->fs.context, writer->file, writer->pushed,
                                        writer->written - writer->pushed));
        writer->pushed = writer->written;
    }
    return rf_result(RF_OK);
}

/* Compresses into the output if that saves an eighth or more; returns the payload's size, 0: no. */
static uint32_t compress(struct rf_sst_writer *writer, struct rf_slice raw, uint8_t *to)
{
    if (writer->options.codec != RF_SST_LZ4 || raw.size < 64) {
        return 0;
    }
    int limit = (int)(raw.size - raw.size / 8);
    int n = LZ4_compress_default((const char *)raw.data, (char *)to, (int)raw.size, limit);
    return n <= 0 ? 0 : (uint32_t)n;
}

/* Appends a sealed block to the output. */
static struct rf_result put_block(struct rf_sst_writer *writer, enum rf_sst_kind kind,
                                  struct rf_slice raw, uint32_t *ret_size)
{
    uint8_t *block = rf_buf_reserve(&writer->out, RF_SST_BLOCK_HEADER + raw.size);
    if (block == NULL || raw.size > UINT32_MAX) {
        return rf_result(RF_NO_MEMORY);
    }
    uint32_t packed = kind == RF_SST_DATA ? compress(writer, raw, block + RF_SST_BLOCK_HEADER) : 0;
    if (packed == 0) {
        memcpy(block + RF_SST_BLOCK_HEADER, raw.data, raw.size);
    }
    struct rf_sst_block_head head = {
        .kind = kind,
        .codec = packed == 0 ? RF_SST_NONE : RF_SST_LZ4,
        .stored_size = packed == 0 ? (uint32_t)raw.size : packed,
        .raw_size = (uint32_t)raw.size,
        .file = writer->options.file,
        .offset = offset_of_next(writer),
    };
    rf_assert(head.stored_size <= head.raw_size);
    rf_sst_block_seal(block, &head);
    *ret_size = RF_SST_BLOCK_HEADER + head.stored_size;
    writer->out.size += *ret_size;
    return push_out(writer, WRITE_SIZE);
}

static struct rf_result end_block(struct rf_sst_writer *writer)
{
    uint32_t n = (uint32_t)(writer->offsets.size / 4);
    if (n == 0) {
        return rf_result(RF_OK);
    }
    rf_buf_append_slice(&writer->block, rf_buf_slice(&writer->offsets));
    rf_put_u32(&writer->block, n);
    uint8_t *entry = rf_buf_reserve(&writer->index, RF_SST_INDEX_ENTRY);
    if (writer->block.failed || entry == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    struct rf_sst_index_entry place = {
        .first_token = writer->block_first,
        .offset = offset_of_next(writer),
        .continues = writer->info.n_blocks != 0 && writer->before_token == writer->block_first,
    };
    writer->info.raw_bytes += writer->block.size;
    RF_TRY(put_block(writer, RF_SST_DATA, rf_buf_slice(&writer->block), &place.size));
    rf_sst_index_put(entry, &place);
    writer->index.size += RF_SST_INDEX_ENTRY;
    writer->info.n_blocks++;
    rf_assert(writer->index.size == writer->info.n_blocks * RF_SST_INDEX_ENTRY);
    writer->before_token = writer->last_token;
    rf_buf_clear(&writer->block);
    rf_buf_clear(&writer->offsets);
    return rf_result(RF_OK);
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void count_dead(struct rf_sst_info *info, const struct rf_row *row)
{
    info->tombstones++;
    info->min_dead_hlc = min_of(info->min_dead_hlc, row->version.hlc);
    info->max_dead_hlc = max_of(info->max_dead_hlc, row->version.hlc);
}

static void count_value(struct rf_sst_info *info, const struct rf_row *row)
{
    if (row->expiry_ms != 0) {
        info->expiring++;
        info->min_expiry_ms = min_of(info->min_expiry_ms, row->expiry_ms);
        info->max_expiry_ms = max_of(info->max_expiry_ms, row->expiry_ms);
    }
}

static void count_row(struct rf_sst_info *info, uint64_t token, const struct rf_row *row)
{
    if (info->rows++ == 0) {
        info->first_token = token;
    }
    info->last_token = token;
    info->min_hlc = min_of(info->min_hlc, row->version.hlc);
    info->max_hlc = max_of(info->max_hlc, row->version.hlc);
    rf_assert(info->min_hlc <= info->max_hlc);
    rf_assert(info->first_token <= info->last_token);
    if ((row->flags & (RF_ROW_TOMBSTONE | RF_ROW_MARKER)) != 0) {
        count_dead(info, row);
    } else {
        count_value(info, row);
    }
}

struct rf_result rf_sst_writer_add(struct rf_sst_writer *writer, uint64_t token,
                                   const struct rf_row *row)
{
    rf_assert(writer->info.rows == 0 || token >= writer->last_token);
    rf_assert(row->key.size >= 1);
    rf_assert(rf_row_exists(row));
    bool full =
        writer->block.size >= BLOCK_TARGET ||
        (writer->block.size != 0 && writer->block.size + rf_row_size(row) > 2 * BLOCK_TARGET);
    if (full) {
        RF_TRY(end_block(writer));
    }
    if (writer->block.size == 0) {
        writer->block_first = token;
    }
    rf_put_u32(&writer->offsets, (uint32_t)writer->block.size);
    rf_put_u64(&writer->block, token);
    rf_row_encode(&writer->block, row);
    if (writer->options.bloom_bits_per_key != 0) {
        rf_put_u64(&writer->hashes, rf_hash64(row->key, writer->options.bloom_seed));
    }
    if (writer->block.failed || writer->offsets.failed || writer->hashes.failed) {
        return rf_result(RF_NO_MEMORY);
    }
    writer->last_token = token;
    count_row(&writer->info, token, row);
    return rf_result(RF_OK);
}

uint64_t rf_sst_writer_rows(const struct rf_sst_writer *writer)
{
    return writer->info.rows;
}

uint64_t rf_sst_writer_bytes(const struct rf_sst_writer *writer)
{
    return offset_of_next(writer) + writer->block.size;
}

static struct rf_result put_bloom(struct rf_sst_writer *writer)
{
    uint64_t n = writer->hashes.size / 8;
    if (writer->options.bloom_bits_per_key == 0) {
        return rf_result(RF_OK);
    }
    size_t   size = rf_bloom_size(n, writer->options.bloom_bits_per_key);
    uint8_t *bits = rf_mem_alloc(size);
    if (bits == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    rf_assert(n == writer->info.rows);
    for (uint64_t i = 0; i < n; i++) {
        rf_bloom_add(bits, size, rf_load_le(writer->hashes.data + 8 * i, 8));
    }
    uint32_t block_size = 0;
    writer->info.bloom_offset = offset_of_next(writer);
    struct rf_result result = put_block(writer, RF_SST_BLOOM, rf_slice(bits, size), &block_size);
    writer->info.bloom_size = block_size;
    rf_mem_free(bits);
    return result;
}

struct rf_result rf_sst_writer_finish(struct rf_sst_writer *writer, struct rf_sst_info *ret_info)
{
    uint32_t size = 0;
    uint8_t  footer[RF_SST_FOOTER];
    rf_assert(writer->info.rows >= 1);
    RF_TRY(end_block(writer));
    writer->info.index_offset = offset_of_next(writer);
    RF_TRY(put_block(writer, RF_SST_INDEX, rf_buf_slice(&writer->index), &size));
    writer->info.index_size = size;
    RF_TRY(put_bloom(writer));
    writer->info.file_size = offset_of_next(writer) + RF_SST_FOOTER;
    rf_assert(writer->info.n_blocks >= 1);
    rf_assert(writer->block.size == 0);
    rf_sst_footer_encode(footer, &writer->info);
    rf_buf_append(&writer->out, footer, sizeof(footer));
    if (writer->out.failed) {
        return rf_result(RF_NO_MEMORY);
    }
    RF_TRY(push_out(writer, 0));
    RF_TRY(writer->fs.ops->sync(writer->fs.context, writer->file));
    *ret_info = writer->info;
    return rf_result(RF_OK);
}

void rf_sst_writer_free(struct rf_sst_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    writer->fs.ops->close(writer->fs.context, writer->file);
    rf_buf_fini(&writer->out);
    rf_buf_fini(&writer->block);
    rf_buf_fini(&writer->offsets);
    rf_buf_fini(&writer->index);
    rf_buf_fini(&writer->hashes);
    rf_mem_free(writer);
}
