#include "storage/sst_rows.h"

#include "base/assert.h"
#include "format/codec.h"

#define FIXED 24u /* bytes of the directory before the writers */

/* ---- Building ----------------------------------------------------------------------------- */

/* What the columns hold of a row. */
struct entry {
    uint64_t token, hlc, expiry_ms;
    uint32_t end;
    uint16_t key_size;
    uint8_t  flags, writer;
};

struct widths {
    uint64_t hlc; /* the lowest */
    uint8_t  token_width, end_width, key_width, flags_width, hlc_width, writer_width, expiry_width;
};

void rf_sst_rows_fini(struct rf_sst_rows_builder *builder)
{
    rf_buf_fini(&builder->body);
    rf_buf_fini(&builder->entries);
}

void rf_sst_rows_clear(struct rf_sst_rows_builder *builder)
{
    rf_buf_clear(&builder->body);
    rf_buf_clear(&builder->entries);
    builder->n = 0;
    builder->n_writers = 0;
}

size_t rf_sst_rows_size(const struct rf_sst_rows_builder *builder)
{
    return builder->body.size + (size_t)builder->n * 16;
}

/* The writer's number in the block's list; made when missing. n_writers == the bound: no room. */
static uint32_t writer_number(struct rf_sst_rows_builder *builder, uint64_t writer)
{
    for (uint32_t i = builder->n_writers; i-- > 0;) {
        if (builder->writers[i] == writer) {
            return i;
        }
    }
    if (builder->n_writers == RF_SST_ROWS_WRITERS) {
        return RF_SST_ROWS_WRITERS;
    }
    builder->writers[builder->n_writers] = writer;
    return builder->n_writers++;
}

struct rf_result rf_sst_rows_add(struct rf_sst_rows_builder *builder, uint64_t token,
                                 const struct rf_row *row)
{
    uint32_t writer = writer_number(builder, row->version.writer);
    if (writer == RF_SST_ROWS_WRITERS) {
        return rf_result(RF_LIMIT);
    }
    rf_assert(row->key.size >= 1 && row->key.size <= RF_ROW_KEY_MAX);
    rf_assert(builder->body.size + row->key.size + row->value.size <= UINT32_MAX);
    rf_buf_append_slice(&builder->body, row->key);
    rf_buf_append_slice(&builder->body, row->value);
    struct entry entry = {
        .token = token,
        .hlc = row->version.hlc,
        .expiry_ms = row->expiry_ms,
        .end = (uint32_t)builder->body.size,
        .key_size = (uint16_t)row->key.size,
        .flags = row->flags,
        .writer = (uint8_t)writer,
    };
    rf_buf_append(&builder->entries, &entry, sizeof(entry));
    builder->n++;
    return rf_result(builder->body.failed || builder->entries.failed ? RF_NO_MEMORY : RF_OK);
}

static const struct entry *entries_of(const struct rf_sst_rows_builder *builder)
{
    rf_assert(builder->n >= 1);
    return (const struct entry *)(const void *)builder->entries.data;
}

static uint8_t width_of(uint64_t value)
{
    uint8_t width = 0;
    for (; value != 0; value >>= 8) {
        width++;
    }
    return width;
}

static struct widths measure(const struct rf_sst_rows_builder *builder)
{
    const struct entry *entries = entries_of(builder);
    struct widths       widths = {.hlc = UINT64_MAX};
    uint64_t            highest = 0, keys = 0, flags = 0, expiry = 0;
    for (uint32_t i = 0; i < builder->n; i++) {
        widths.hlc = entries[i].hlc < widths.hlc ? entries[i].hlc : widths.hlc;
        highest = entries[i].hlc > highest ? entries[i].hlc : highest;
        keys |= entries[i].key_size;
        flags |= entries[i].flags;
        expiry |= entries[i].expiry_ms;
    }
    widths.token_width = width_of(entries[builder->n - 1].token - entries[0].token);
    widths.end_width = width_of(builder->body.size);
    widths.key_width = width_of(keys);
    widths.flags_width = width_of(flags);
    widths.hlc_width = width_of(highest - widths.hlc);
    widths.writer_width = builder->n_writers > 1;
    widths.expiry_width = width_of(expiry);
    return widths;
}

static size_t row_width(const struct widths *widths)
{
    return (size_t)widths->token_width + widths->end_width + widths->key_width +
           widths->flags_width + widths->hlc_width + widths->writer_width + widths->expiry_width;
}

size_t rf_sst_rows_directory_size(const struct rf_sst_rows_builder *builder)
{
    struct widths widths = measure(builder);
    return FIXED + 8 * (size_t)builder->n_writers + builder->n * row_width(&widths);
}

void rf_sst_rows_directory(const struct rf_sst_rows_builder *builder, uint8_t *to)
{
    const struct entry *entries = entries_of(builder);
    struct widths       widths = measure(builder);
    uint8_t            *at = to + FIXED;
    rf_store_le(to, builder->n, 4);
    to[4] = (uint8_t)(widths.token_width | widths.end_width << 4);
    to[5] = (uint8_t)(widths.key_width | widths.flags_width << 4);
    to[6] = (uint8_t)(widths.hlc_width | widths.expiry_width << 4);
    to[7] = (uint8_t)builder->n_writers;
    rf_store_le(to + 8, entries[0].token, 8);
    rf_store_le(to + 16, widths.hlc, 8);
    for (uint32_t i = 0; i < builder->n_writers; i++, at += 8) {
        rf_store_le(at, builder->writers[i], 8);
    }
/* One column: a field of all rows, side by side. */
#define COLUMN(width, value)                                                                       \
    for (uint32_t i = 0; i < builder->n; i++, at += (width)) {                                     \
        rf_store_le(at, (value), (width));                                                         \
    }
    COLUMN(widths.token_width, entries[i].token - entries[0].token)
    COLUMN(widths.end_width, entries[i].end)
    COLUMN(widths.key_width, entries[i].key_size)
    COLUMN(widths.flags_width, entries[i].flags)
    COLUMN(widths.hlc_width, entries[i].hlc - widths.hlc)
    COLUMN(widths.writer_width, entries[i].writer)
    COLUMN(widths.expiry_width, entries[i].expiry_ms)
#undef COLUMN
}

/* ---- Reading ------------------------------------------------------------------------------ */

/* Field `number` of a column; reads 8 bytes, whatever its width. */
static inline uint64_t field(const uint8_t *column, uint8_t width, uint32_t number)
{
    uint64_t value = rf_load_le(column + (size_t)number * width, 8);
    return width == 0 ? 0 : value & UINT64_MAX >> (64 - 8 * width);
}

struct rf_result rf_sst_rows_open(struct rf_slice payload, size_t raw_size,
                                  struct rf_sst_rows *ret_rows)
{
    if (payload.size < FIXED) {
        return rf_result(RF_CORRUPT);
    }
    const uint8_t     *at = payload.data;
    size_t             n_writers = at[7];
    struct rf_sst_rows rows = {
        .n = (uint32_t)rf_load_le(at, 4),
        .token = rf_load_le(at + 8, 8),
        .hlc = rf_load_le(at + 16, 8),
        .token_width = at[4] & 15,
        .end_width = at[4] >> 4,
        .key_width = at[5] & 15,
        .flags_width = at[5] >> 4,
        .hlc_width = at[6] & 15,
        .expiry_width = at[6] >> 4,
        .writer_width = n_writers > 1,
    };
    bool fits = rows.token_width <= 8 && rows.end_width <= 4 && rows.key_width <= 2 &&
                rows.flags_width <= 1 && rows.hlc_width <= 8 && rows.expiry_width <= 8;
    size_t width = (size_t)rows.token_width + rows.end_width + rows.key_width + rows.flags_width +
                   rows.hlc_width + rows.writer_width + rows.expiry_width;
    size_t columns = FIXED + 8 * n_writers;
    if (!fits || rows.n == 0 || width == 0 || n_writers == 0 || columns > payload.size ||
        rows.n > (payload.size - columns) / width || columns + rows.n * width >= raw_size) {
        return rf_result(RF_CORRUPT);
    }
    rows.directory_size = columns + rows.n * width;
    rows.body_size = raw_size - rows.directory_size;
    rows.writers = at + FIXED;
    rows.tokens = at + columns;
    rows.ends = rows.tokens + (size_t)rows.n * rows.token_width;
    rows.key_sizes = rows.ends + (size_t)rows.n * rows.end_width;
    rows.flags = rows.key_sizes + (size_t)rows.n * rows.key_width;
    rows.hlcs = rows.flags + (size_t)rows.n * rows.flags_width;
    rows.writer_numbers = rows.hlcs + (size_t)rows.n * rows.hlc_width;
    rows.expiries = rows.writer_numbers + (size_t)rows.n * rows.writer_width;
    *ret_rows = rows;
    return rf_result(RF_OK);
}

uint64_t rf_sst_rows_token(const struct rf_sst_rows *rows, uint32_t number)
{
    rf_assert(number < rows->n);
    return rows->token + field(rows->tokens, rows->token_width, number);
}

uint32_t rf_sst_rows_find(const struct rf_sst_rows *rows, uint64_t token, bool above)
{
    if (token < rows->token) {
        return 0;
    }
    uint64_t sought = token - rows->token;
    uint32_t low = 0;
    uint32_t n = rows->n;
    while (n != 0) { /* without branches that depend on what is read */
        uint32_t half = n / 2;
        uint64_t value = field(rows->tokens, rows->token_width, low + half);
        bool     before = above ? value <= sought : value < sought;
        low += before ? half + 1 : 0;
        n = before ? n - half - 1 : half;
    }
    return low;
}

size_t rf_sst_rows_end(const struct rf_sst_rows *rows, uint32_t number)
{
    return field(rows->ends, rows->end_width, number);
}

struct rf_result rf_sst_rows_get(const struct rf_sst_rows *rows, struct rf_slice body,
                                 uint32_t number, struct rf_row *ret_row)
{
    rf_assert(number < rows->n);
    size_t   start = number == 0 ? 0 : rf_sst_rows_end(rows, number - 1);
    size_t   end = rf_sst_rows_end(rows, number);
    size_t   key_size = field(rows->key_sizes, rows->key_width, number);
    uint64_t writer = field(rows->writer_numbers, rows->writer_width, number);
    uint64_t flags = field(rows->flags, rows->flags_width, number);
    if (start > end || end > body.size || key_size == 0 || key_size > RF_ROW_KEY_MAX ||
        key_size > end - start || end - start - key_size > RF_VALUE_MAX ||
        rows->writers + writer * 8 >= rows->tokens ||
        (flags & ~(uint64_t)(RF_ROW_TOMBSTONE | RF_ROW_MARKER)) != 0 ||
        (flags != 0 && end - start != key_size)) {
        return rf_result(RF_CORRUPT);
    }
    *ret_row = (struct rf_row){
        .version = {.hlc = rows->hlc + field(rows->hlcs, rows->hlc_width, number),
                    .writer = rf_load_le(rows->writers + writer * 8, 8)},
        .expiry_ms = field(rows->expiries, rows->expiry_width, number),
        .flags = (uint8_t)flags,
        .key = rf_slice(body.data + start, key_size),
        .value = rf_slice(body.data + start + key_size, end - start - key_size),
    };
    return rf_result(RF_OK);
}
