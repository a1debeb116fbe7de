#include "format/wal_record.h"

#include "base/assert.h"
#include "base/crc.h"
#include "base/hash.h"
#include "format/codec.h"

/* Group: u32 magic, u32 header size, u64 check (XXH3 of the header after it, seeded with the log's
 * secret), u64 segment, u64 offset, u64 first sequence, u64 durable sequence, u64 first sequence of
 * the segment, u32 records, u32 size of them, u32 crc32c of them, u8 shard, u8 shards, u16 partitions,
 * u8 flags, 7 zeros; per partition u64 previous sequence, u32 partition, u32 zero; records, padding.
 * Record: u64 table, u64 token, u32 partition, row. */
#define GROUP_MAGIC 0x32574652u /* "RFW2" */
#define CHECKED_FROM 16u

void rf_wal_group_begin(struct rf_buf *buf, uint32_t n_parts)
{
    rf_assert(buf->size == 0);
    rf_assert(n_parts <= RF_WAL_PARTS_MAX);
    size_t   size = RF_WAL_GROUP_HEADER + (size_t)RF_WAL_PART_SIZE * n_parts;
    uint8_t *to = rf_buf_reserve(buf, size);
    if (to != NULL) {
        memset(to, 0, size);
        buf->size = size;
    }
}

void rf_wal_record_encode(struct rf_buf *buf, const struct rf_wal_record *record)
{
    rf_put_u64(buf, record->table);
    rf_put_u64(buf, record->token);
    rf_put_u32(buf, record->partition);
    rf_row_encode(buf, &record->row);
}

static void encode_header(uint8_t *at, const struct rf_wal_group *group,
                          const struct rf_wal_part *parts, struct rf_slice records)
{
    rf_store_le(at + 16, group->segment, 8);
    rf_store_le(at + 24, group->offset, 8);
    rf_store_le(at + 32, group->first_seq, 8);
    rf_store_le(at + 40, group->durable_seq, 8);
    rf_store_le(at + 48, group->segment_first_seq, 8);
    rf_store_le(at + 56, group->n_records, 4);
    rf_store_le(at + 60, records.size, 4);
    rf_store_le(at + 64, rf_crc32c(0, records), 4);
    at[68] = group->shard;
    at[69] = group->n_shards;
    rf_store_le(at + 70, group->n_parts, 2);
    rf_store_le(at + 72, group->flags, 8);
    for (uint32_t i = 0; i < group->n_parts; i++) {
        uint8_t *entry = at + RF_WAL_GROUP_HEADER + (size_t)i * RF_WAL_PART_SIZE;
        rf_store_le(entry, parts[i].prev_seq, 8);
        rf_store_le(entry + 8, parts[i].partition, 4);
        rf_store_le(entry + 12, 0, 4);
    }
}

struct rf_slice rf_wal_group_end(struct rf_buf *buf, uint32_t n_parts_begun,
                                 const struct rf_wal_group *group, const struct rf_wal_part *parts,
                                 uint64_t secret)
{
    static const uint8_t zeros[RF_WAL_ALIGN];
    rf_assert(group->n_parts <= n_parts_begun);
    size_t begun = RF_WAL_GROUP_HEADER + (size_t)RF_WAL_PART_SIZE * n_parts_begun;
    size_t start = (size_t)RF_WAL_PART_SIZE * (n_parts_begun - group->n_parts);
    size_t header = begun - start;
    rf_assert(buf->size >= begun);
    rf_assert(buf->size - begun <= RF_WAL_GROUP_MAX);
    rf_assert((group->n_records == 0) == (buf->size == begun));
    uint8_t *at = buf->data + start;
    encode_header(at, group, parts, rf_slice(buf->data + begun, buf->size - begun));
    rf_store_le(at, GROUP_MAGIC, 4);
    rf_store_le(at + 4, header, 4);
    rf_store_le(at + 8, rf_hash64(rf_slice(at + CHECKED_FROM, header - CHECKED_FROM), secret), 8);
    size_t over = (buf->size - start) % RF_WAL_ALIGN;
    if (over != 0) {
        rf_buf_append(buf, zeros, RF_WAL_ALIGN - over);
    }
    return buf->failed ? rf_slice(NULL, 0) : rf_slice(buf->data + start, buf->size - start);
}

struct rf_result rf_wal_header_decode(struct rf_slice bytes, uint64_t secret,
                                      struct rf_wal_group *ret_group, size_t *ret_size)
{
    if (bytes.size < RF_WAL_GROUP_HEADER) {
        return rf_result(RF_TRUNCATED);
    }
    const uint8_t *at = bytes.data;
    uint64_t       magic = rf_load_le(at, 4);
    size_t         header = rf_load_le(at + 4, 4);
    if (magic == 0 && header == 0 && rf_load_le(at + 8, 8) == 0) {
        return rf_result(RF_NOT_FOUND);
    }
    uint32_t n_parts = (uint32_t)rf_load_le(at + 70, 2);
    if (magic != GROUP_MAGIC || n_parts > RF_WAL_PARTS_MAX ||
        header != RF_WAL_GROUP_HEADER + (size_t)RF_WAL_PART_SIZE * n_parts) {
        return rf_result(RF_CORRUPT);
    }
    if (header > bytes.size) {
        return rf_result(RF_TRUNCATED);
    }
    size_t   size = rf_load_le(at + 60, 4);
    uint64_t check = rf_hash64(rf_slice(at + CHECKED_FROM, header - CHECKED_FROM), secret);
    if (rf_load_le(at + 8, 8) != check || size > RF_WAL_GROUP_MAX) {
        return rf_result(RF_CORRUPT);
    }
    *ret_group = (struct rf_wal_group){
        .segment = rf_load_le(at + 16, 8),
        .offset = rf_load_le(at + 24, 8),
        .first_seq = rf_load_le(at + 32, 8),
        .durable_seq = rf_load_le(at + 40, 8),
        .segment_first_seq = rf_load_le(at + 48, 8),
        .n_records = (uint32_t)rf_load_le(at + 56, 4),
        .n_parts = n_parts,
        .shard = at[68],
        .n_shards = at[69],
        .flags = at[72],
        .parts = rf_slice(at + RF_WAL_GROUP_HEADER, header - RF_WAL_GROUP_HEADER),
        .records = rf_slice(at + header, size),
    };
    *ret_size = (header + size + RF_WAL_ALIGN - 1) / RF_WAL_ALIGN * RF_WAL_ALIGN;
    return rf_result(RF_OK);
}

struct rf_result rf_wal_group_check(struct rf_slice bytes, const struct rf_wal_group *group)
{
    size_t header = RF_WAL_GROUP_HEADER + group->parts.size;
    rf_assert(group->parts.data == bytes.data + RF_WAL_GROUP_HEADER);
    if (group->records.size > bytes.size - header) {
        return rf_result(RF_TRUNCATED);
    }
    bool right = rf_load_le(bytes.data + 64, 4) == rf_crc32c(0, group->records);
    return rf_result(right ? RF_OK : RF_CORRUPT);
}

struct rf_wal_part rf_wal_group_part(const struct rf_wal_group *group, uint32_t index)
{
    rf_assert(index < group->n_parts);
    const uint8_t *at = group->parts.data + (size_t)index * RF_WAL_PART_SIZE;
    return (struct rf_wal_part){.partition = (uint32_t)rf_load_le(at + 8, 4),
                                .prev_seq = rf_load_le(at, 8)};
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
