#include "core/hint.h"

#include "base/assert.h"
#include "base/hash.h"
#include "format/codec.h"
#include "ring/ring.h"

#define HEAD RF_ROW_KEY_PREFIX /* bytes before the item key: target, table, writer */

uint64_t rf_hint_token(uint64_t target)
{
    uint8_t bytes[8];
    rf_store_le(bytes, target, sizeof(bytes));
    return rf_ring_token(0, rf_slice(bytes, sizeof(bytes)));
}

/* Hints of one key replace each other only when their rows are ordered as the items are: those of one
 * writer. Client-stamped items have no writer: each is told apart by what it is. */
static uint64_t origin_of(const struct rf_row *row)
{
    if (row->version.writer != 0) {
        return row->version.writer;
    }
    return rf_hash64(row->value, row->version.hlc ^ row->flags);
}

struct rf_result rf_hint_make(uint64_t target, uint64_t table, const struct rf_row *row,
                              uint64_t expiry_ms, struct rf_row *ret_hint)
{
    rf_assert(target != 0);
    rf_assert(row->key.size >= 1);
    rf_assert(row->key.size <= RF_KEY_MAX);
    size_t key_size = HEAD + row->key.size;
    size_t value_size = rf_row_size(row);
    if (value_size > RF_VALUE_MAX) {
        return rf_result(RF_TOO_LARGE);
    }
    struct rf_blob *blob = rf_blob_new(key_size + value_size);
    if (blob == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    rf_store_le(blob->data, target, 8);
    rf_store_le(blob->data + 8, table, 8);
    rf_store_le(blob->data + 16, origin_of(row), 8);
    memcpy(blob->data + HEAD, row->key.data, row->key.size);
    rf_row_encode_at(blob->data + key_size, row);
    *ret_hint = (struct rf_row){
        .version = row->version,
        .expiry_ms = expiry_ms,
        .key = rf_slice(blob->data, key_size),
        .value = rf_slice(blob->data + key_size, value_size),
        .blob = blob,
    };
    return rf_result(RF_OK);
}

uint64_t rf_hint_target(const struct rf_row *hint)
{
    return hint->key.size <= HEAD ? 0 : rf_load_le(hint->key.data, 8);
}

struct rf_result rf_hint_open(const struct rf_row *hint, uint64_t *ret_target, uint64_t *ret_table,
                              struct rf_row *ret_row)
{
    struct rf_slice value = hint->value;
    struct rf_row   row = {0};
    uint64_t        target = rf_hint_target(hint);
    if (target == 0 || !rf_ok(rf_row_decode(&value, &row)) || value.size != 0) {
        return rf_result(RF_CORRUPT);
    }
    if (!rf_slice_eq(row.key, rf_slice(hint->key.data + HEAD, hint->key.size - HEAD))) {
        return rf_result(RF_CORRUPT);
    }
    row.blob = hint->blob;
    *ret_target = target;
    *ret_table = rf_load_le(hint->key.data + 8, 8);
    *ret_row = row;
    return rf_result(RF_OK);
}
