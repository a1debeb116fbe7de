#include "format/row.h"

#include "base/assert.h"
#include "format/codec.h"

#define ROW_FORMAT 1u

int rf_row_compare(const struct rf_row *a, const struct rf_row *b)
{
    if (a->version.hlc != b->version.hlc) {
        return a->version.hlc < b->version.hlc ? -1 : 1;
    }
    int dead_a = (a->flags & RF_ROW_TOMBSTONE) != 0;
    int dead_b = (b->flags & RF_ROW_TOMBSTONE) != 0;
    if (dead_a != dead_b) {
        return dead_a - dead_b;
    }
    if (a->version.writer != b->version.writer) {
        return a->version.writer < b->version.writer ? -1 : 1;
    }
    if (((a->flags | b->flags) & RF_ROW_MARKER) != 0) {
        return 0;
    }
    return rf_slice_cmp(a->value, b->value);
}

void rf_row_encode_at(uint8_t *to, const struct rf_row *row)
{
    rf_assert(row->key.size >= 1);
    rf_assert(row->key.size <= RF_ROW_KEY_MAX);
    rf_assert(row->value.size <= RF_VALUE_MAX);
    to[0] = ROW_FORMAT;
    to[1] = row->flags;
    rf_store_le(to + 2, row->key.size, 2);
    rf_store_le(to + 4, row->value.size, 4);
    rf_store_le(to + 8, row->version.hlc, 8);
    rf_store_le(to + 16, row->version.writer, 8);
    rf_store_le(to + 24, row->expiry_ms, 8);
    memcpy(to + RF_ROW_HEADER, row->key.data, row->key.size);
    if (row->value.size != 0) {
        memcpy(to + RF_ROW_HEADER + row->key.size, row->value.data, row->value.size);
    }
}

void rf_row_encode(struct rf_buf *buf, const struct rf_row *row)
{
    uint8_t *to = rf_buf_reserve(buf, rf_row_size(row));
    if (to != NULL) {
        rf_row_encode_at(to, row);
        buf->size += rf_row_size(row);
    }
}

struct rf_result rf_row_decode(struct rf_slice *bytes, struct rf_row *ret_row)
{
    if (bytes->size < RF_ROW_HEADER) {
        return rf_result(RF_TRUNCATED);
    }
    const uint8_t *at = bytes->data;
    if (at[0] != ROW_FORMAT) {
        return rf_result(RF_WRONG_VERSION);
    }
    struct rf_row row = {
        .version = {.hlc = rf_load_le(at + 8, 8), .writer = rf_load_le(at + 16, 8)},
        .expiry_ms = rf_load_le(at + 24, 8),
        .flags = at[1],
    };
    size_t key_size = rf_load_le(at + 2, 2);
    size_t value_size = rf_load_le(at + 4, 4);
    bool   known_flags = (row.flags & ~(RF_ROW_TOMBSTONE | RF_ROW_MARKER)) == 0;
    if (!known_flags || key_size == 0 || key_size > RF_ROW_KEY_MAX || value_size > RF_VALUE_MAX ||
        (row.flags != 0 && value_size != 0)) {
        return rf_result(RF_CORRUPT);
    }
    if (bytes->size - RF_ROW_HEADER < key_size + value_size) {
        return rf_result(RF_TRUNCATED);
    }
    row.key = rf_slice(at + RF_ROW_HEADER, key_size);
    row.value = rf_slice(at + RF_ROW_HEADER + key_size, value_size);
    bytes->data += rf_row_size(&row);
    bytes->size -= rf_row_size(&row);
    *ret_row = row;
    return rf_result(RF_OK);
}

struct rf_result rf_row_copy(const struct rf_row *row, struct rf_row *ret_row)
{
    struct rf_blob *blob = rf_blob_new(row->key.size + row->value.size);
    if (blob == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    memcpy(blob->data, row->key.data, row->key.size);
    if (row->value.size != 0) {
        memcpy(blob->data + row->key.size, row->value.data, row->value.size);
    }
    *ret_row = *row;
    ret_row->key = rf_slice(blob->data, row->key.size);
    ret_row->value = rf_slice(blob->data + row->key.size, row->value.size);
    ret_row->blob = blob;
    return rf_result(RF_OK);
}
