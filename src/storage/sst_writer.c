#include "storage/sst_writer.h"

#include <lz4.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "format/codec.h"
#include "storage/bloom.h"
#include "storage/sst_rows.h"

#define BLOCK_TARGET 2048u       /* raw bytes after which a block ends */
#define WRITE_SIZE (256u * 1024) /* bytes per call */
#define PUSH_SIZE (1024u * 1024) /* bytes after which the disk begins to write */

struct rf_sst_writer {
    struct rf_fs               fs;
    struct rf_file             file;
    struct rf_sst_options      options;
    struct rf_sst_info         info;
    struct rf_buf              out;     /* blocks that are not written yet */
    uint64_t                   written; /* file offset of out's first byte */
    uint64_t                   pushed;  /* bytes that the disk was asked to write */
    struct rf_buf              index;
    struct rf_buf              hashes;      /* u64 per key, for the filter */
    struct rf_sst_rows_builder rows;        /* of the open block */
    uint64_t                   block_first; /* token */
    uint64_t                   last_token;
    uint64_t                   before_token; /* last token of the block before */
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

/* Compresses into the output if that saves an eighth or more; returns the size, 0: no. */
static uint32_t compress(struct rf_sst_writer *writer, struct rf_slice raw, uint8_t *to)
{
    if (writer->options.codec != RF_SST_LZ4 || raw.size < 64) {
        return 0;
    }
    int limit = (int)(raw.size - raw.size / 8);
    int n = LZ4_compress_default((const char *)raw.data, (char *)to, (int)raw.size, limit);
    return n <= 0 ? 0 : (uint32_t)n;
}

/* Seals the block whose payload stands behind the room for its header at the output's end. */
static struct rf_result seal_block(struct rf_sst_writer *writer, struct rf_sst_block_head head,
                                   uint32_t *ret_size)
{
    head.file = writer->options.file;
    head.offset = offset_of_next(writer);
    rf_assert(head.stored_size <= head.raw_size);
    rf_sst_block_seal(writer->out.data + writer->out.size, &head);
    *ret_size = RF_SST_BLOCK_HEADER + head.stored_size;
    writer->out.size += *ret_size;
    return push_out(writer, WRITE_SIZE);
}

/* Appends an index or filter block. */
static struct rf_result put_block(struct rf_sst_writer *writer, enum rf_sst_kind kind,
                                  struct rf_slice raw, uint32_t *ret_size)
{
    uint8_t *block = rf_buf_reserve(&writer->out, RF_SST_BLOCK_HEADER + raw.size);
    if (block == NULL || raw.size > UINT32_MAX) {
        return rf_result(RF_NO_MEMORY);
    }
    memcpy(block + RF_SST_BLOCK_HEADER, raw.data, raw.size);
    struct rf_sst_block_head head = {.kind = kind,
                                     .codec = RF_SST_NONE,
                                     .stored_size = (uint32_t)raw.size,
                                     .raw_size = (uint32_t)raw.size};
    return seal_block(writer, head, ret_size);
}

/* Appends a data block: the directory as it is, the body compressed if that is worth it. */
static struct rf_result put_rows(struct rf_sst_writer *writer)
{
    struct rf_slice body = rf_buf_slice(&writer->rows.body);
    size_t          directory = rf_sst_rows_directory_size(&writer->rows);
    uint32_t        size = 0;
    uint8_t *block = rf_buf_reserve(&writer->out, RF_SST_BLOCK_HEADER + directory + body.size);
    if (block == NULL || directory + body.size > UINT32_MAX) {
        return rf_result(RF_NO_MEMORY);
    }
    rf_sst_rows_directory(&writer->rows, block + RF_SST_BLOCK_HEADER);
    uint8_t *to = block + RF_SST_BLOCK_HEADER + directory;
    uint32_t packed = compress(writer, body, to);
    if (packed == 0) {
        memcpy(to, body.data, body.size);
    }
    struct rf_sst_block_head head = {
        .kind = RF_SST_DATA,
        .codec = packed == 0 ? RF_SST_NONE : RF_SST_LZ4,
        .stored_size = (uint32_t)(directory + (packed == 0 ? body.size : packed)),
        .raw_size = (uint32_t)(directory + body.size),
    };
    writer->info.raw_bytes += head.raw_size;
    return seal_block(writer, head, &size);
}

static struct rf_result end_block(struct rf_sst_writer *writer)
{
    if (writer->rows.n == 0) {
        return rf_result(RF_OK);
    }
    uint8_t *entry = rf_buf_reserve(&writer->index, RF_SST_INDEX_ENTRY);
    if (entry == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    struct rf_sst_index_entry place = {
        .first_token = writer->block_first,
        .offset = offset_of_next(writer),
        .continues = writer->info.n_blocks != 0 && writer->before_token == writer->block_first,
    };
    RF_TRY(put_rows(writer));
    rf_sst_index_put(entry, &place);
    writer->index.size += RF_SST_INDEX_ENTRY;
    writer->info.n_blocks++;
    rf_assert(writer->index.size == writer->info.n_blocks * RF_SST_INDEX_ENTRY);
    writer->before_token = writer->last_token;
    rf_sst_rows_clear(&writer->rows);
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
    size_t size = rf_sst_rows_size(&writer->rows);
    bool   full = size >= BLOCK_TARGET ||
                (size != 0 && size + row->key.size + row->value.size > 2 * BLOCK_TARGET);
    if (full) {
        RF_TRY(end_block(writer));
    }
    struct rf_result added = rf_sst_rows_add(&writer->rows, token, row);
    if (added.rc == RF_LIMIT) {
        RF_TRY(end_block(writer));
        added = rf_sst_rows_add(&writer->rows, token, row);
    }
    RF_TRY(added);
    if (writer->rows.n == 1) {
        writer->block_first = token;
    }
    if (writer->options.bloom_bits_per_key != 0) {
        rf_put_u64(&writer->hashes, rf_hash64(row->key, writer->options.bloom_seed));
    }
    if (writer->hashes.failed) {
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
    return offset_of_next(writer) + rf_sst_rows_size(&writer->rows);
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
    rf_assert(writer->rows.n == 0);
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
    rf_sst_rows_fini(&writer->rows);
    rf_buf_fini(&writer->index);
    rf_buf_fini(&writer->hashes);
    rf_mem_free(writer);
}
