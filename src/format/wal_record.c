#include "format/wal_record.h"

#include "base/assert.h"
#include "base/crc.h"
#include "format/codec.h"

/* Group: u32 magic, u32 crc32c (all after it, padding not included), u32 size, u32 records,
 * u64 segment, u64 first sequence, u64 durable sequence, u64 reserved, records, padding.
 * Record: u64 table, u64 token, u32 partition, row. */
#define GROUP_MAGIC 0x47574652u /* "RFWG" */

void rf_wal_group_begin(struct rf_buf *buf)
{
    static const uint8_t zeros[RF_WAL_GROUP_HEADER];
    rf_assert(buf->size == 0);
    rf_buf_append(buf, zeros, sizeof(zeros));
}

void rf_wal_record_encode(struct rf_buf *buf, const struct rf_wal_record *record)
{
    rf_put_u64(buf, record->table);
    rf_put_u64(buf, record->token);
    rf_put_u32(buf, record->partition);
    rf_row_encode(buf, &record->row);
}

void rf_wal_group_end(struct rf_buf *buf, const struct rf_wal_group *group)
{
    static const uint8_t zeros[RF_WAL_ALIGN];
    uint8_t             *at = buf->data;
    rf_assert(buf->size > RF_WAL_GROUP_HEADER);
    rf_assert(buf->size <= RF_WAL_GROUP_MAX);
    rf_store_le(at, GROUP_MAGIC, 4);
    rf_store_le(at + 8, buf->size, 4);
    rf_store_le(at + 12, group->n_records, 4);
    rf_store_le(at + 16, group->segment, 8);
    rf_store_le(at + 24, group->first_seq, 8);
    rf_store_le(at + 32, group->durable_seq, 8);
    rf_store_le(at + 40, 0, 8);
    rf_store_le(at + 4, rf_crc32c(0, rf_slice(at + 8, buf->size - 8)), 4);
    size_t over = buf->size % RF_WAL_ALIGN;
    if (over != 0) {
        rf_buf_append(buf, zeros, RF_WAL_ALIGN - over);
    }
}

struct rf_result rf_wal_group_decode(struct rf_slice bytes, struct rf_wal_group *ret_group,
                                     size_t *ret_size)
{
    if (bytes.size < RF_WAL_GROUP_HEADER) {
        return rf_result(RF_TRUNCATED);
    }
    const uint8_t *at = bytes.data;
    uint64_t       magic = rf_load_le(at, 4);
    if (magic == 0 && rf_load_le(at + 4, 8) == 0) {
        return rf_result(RF_NOT_FOUND);
    }
    size_t size = rf_load_le(at + 8, 4);
    if (magic != GROUP_MAGIC || size <= RF_WAL_GROUP_HEADER || size > RF_WAL_GROUP_MAX) {
        return rf_result(RF_CORRUPT);
    }
    if (size > bytes.size) {
        return rf_result(RF_TRUNCATED);
    }
    if (rf_load_le(at + 4, 4) != rf_crc32c(0, rf_slice(at + 8, size - 8))) {
        return rf_result(RF_CORRUPT);
    }
    *ret_group = (struct rf_wal_group){
        .segment = rf_load_le(at + 16, 8),
        .first_seq = rf_load_le(at + 24, 8),
        .durable_seq = rf_load_le(at + 32, 8),
        .n_records = (uint32_t)rf_load_le(at + 12, 4),
        .records = rf_slice(at + RF_WAL_GROUP_HEADER, size - RF_WAL_GROUP_HEADER),
    };
    size_t over = size % RF_WAL_ALIGN;
    *ret_size = over == 0 ? size : size + RF_WAL_ALIGN - over;
    return rf_result(RF_OK);
}

struct rf_result rf_wal_record_decode(struct rf_slice *records, struct rf_wal_record *ret_record)
{
    struct rf_reader     reader = rf_reader(*records);
    struct rf_wal_record record = {.table = rf_get_u64(&reader), .token = rf_get_u64(&reader)};
    record.partition = rf_get_u32(&reader);
    if (reader.bad || !rf_ok(rf_row_decode(&reader.rest, &record.row))) {
        return rf_result(RF_CORRUPT);
    }
    *records = reader.rest;
    *ret_record = record;
    return rf_result(RF_OK);
}
