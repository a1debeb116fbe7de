#include "format/sst.h"

#include "base/assert.h"
#include "base/crc.h"
#include "format/codec.h"

#define FOOTER_MAGIC 0x53544652u /* "RFTS" */
#define SST_FORMAT 3u

#define CONTINUES (UINT64_C(1) << 63) /* in the offset of an index entry */

/* Of the block's place and of all its bytes but the checksum's own. */
static uint32_t block_crc(struct rf_slice block, uint64_t file, uint64_t offset)
{
    uint8_t place[16];
    rf_store_le(place, file, 8);
    rf_store_le(place + 8, offset, 8);
    return rf_crc32c(rf_crc32c(0, rf_slice(place, sizeof(place))),
                     rf_slice(block.data + 4, block.size - 4));
}

void rf_sst_block_seal(uint8_t *block, const struct rf_sst_block_head *head)
{
    rf_assert(head->stored_size >= 1);
    rf_assert(head->stored_size <= head->raw_size);
    rf_store_le(block + 4, head->stored_size, 4);
    rf_store_le(block + 8, head->raw_size, 4);
    block[12] = (uint8_t)head->kind;
    block[13] = (uint8_t)head->codec;
    rf_store_le(block + 14, 0, 2);
    struct rf_slice all = rf_slice(block, RF_SST_BLOCK_HEADER + head->stored_size);
    rf_store_le(block, block_crc(all, head->file, head->offset), 4);
}

struct rf_result rf_sst_block_check(struct rf_slice block, enum rf_sst_kind kind, uint64_t file,
                                    uint64_t offset, struct rf_sst_block_head *ret_head,
                                    struct rf_slice *ret_payload)
{
    if (block.size <= RF_SST_BLOCK_HEADER) {
        return rf_result(RF_CORRUPT);
    }
    const uint8_t           *at = block.data;
    struct rf_sst_block_head head = {
        .stored_size = (uint32_t)rf_load_le(at + 4, 4),
        .raw_size = (uint32_t)rf_load_le(at + 8, 4),
        .kind = (enum rf_sst_kind)at[12],
        .codec = (enum rf_sst_codec)at[13],
        .file = file,
        .offset = offset,
    };
    if (rf_load_le(at, 4) != block_crc(block, file, offset)) {
        return rf_result(RF_CORRUPT);
    }
    bool fits =
        head.stored_size == block.size - RF_SST_BLOCK_HEADER && head.kind == kind &&
        (head.codec == RF_SST_NONE ? head.raw_size == head.stored_size : head.codec == RF_SST_LZ4);
    /* A filter and an index have no bound of their own: their codec is none, so raw = stored. */
    if (!fits || (head.codec == RF_SST_LZ4 && head.raw_size > RF_SST_BLOCK_MAX)) {
        return rf_result(RF_CORRUPT);
    }
    *ret_head = head;
    *ret_payload = rf_slice(at + RF_SST_BLOCK_HEADER, head.stored_size);
    return rf_result(RF_OK);
}

void rf_sst_index_put(uint8_t to[RF_SST_INDEX_ENTRY], const struct rf_sst_index_entry *entry)
{
    rf_assert(entry->offset < CONTINUES);
    rf_store_le(to, entry->first_token, 8);
    rf_store_le(to + 8, entry->offset | (entry->continues ? CONTINUES : 0), 8);
}

struct rf_sst_index_entry rf_sst_index_get(const uint8_t *from)
{
    uint64_t place = rf_load_le(from + 8, 8);
    return (struct rf_sst_index_entry){
        .first_token = rf_load_le(from, 8),
        .offset = place & ~CONTINUES,
        .continues = (place & CONTINUES) != 0,
    };
}

/* The 8-byte fields of the footer in the order of the file, from offset 40. */
/* clang-format off */
#define FOOTER_FIELDS(X) \
    X(rows) X(tombstones) X(expiring) X(min_hlc) X(max_hlc) X(max_expiry_ms) X(first_token) \
    X(last_token) X(raw_bytes) X(index_offset) X(index_size) X(bloom_offset) X(bloom_size) \
    X(bloom_seed) X(n_blocks) X(file_size) X(min_expiry_ms) X(min_dead_hlc) X(max_dead_hlc)
/* clang-format on */

void rf_sst_footer_encode(uint8_t to[RF_SST_FOOTER], const struct rf_sst_info *info)
{
    memset(to, 0, RF_SST_FOOTER);
    rf_store_le(to, FOOTER_MAGIC, 4);
    rf_store_le(to + 8, SST_FORMAT, 2);
    rf_store_le(to + 10, RF_SST_FOOTER, 2);
    rf_store_le(to + 12, info->partition, 4);
    rf_store_le(to + 16, info->file, 8);
    rf_store_le(to + 24, info->table, 8);
    rf_store_le(to + 32, info->level, 4);
    rf_store_le(to + 36, info->codec, 4);
    size_t at = 40;
#define X(field)                                                                                   \
    rf_store_le(to + at, info->field, 8);                                                          \
    at += 8;
    FOOTER_FIELDS(X)
#undef X
    rf_assert(at <= RF_SST_FOOTER);
    rf_store_le(to + 4, rf_crc32c(0, rf_slice(to + 8, RF_SST_FOOTER - 8)), 4);
}

struct rf_result rf_sst_footer_decode(const uint8_t       from[RF_SST_FOOTER],
                                      struct rf_sst_info *ret_info)
{
    if (rf_load_le(from, 4) != FOOTER_MAGIC ||
        rf_load_le(from + 4, 4) != rf_crc32c(0, rf_slice(from + 8, RF_SST_FOOTER - 8))) {
        return rf_result(RF_CORRUPT);
    }
    if (rf_load_le(from + 8, 2) != SST_FORMAT || rf_load_le(from + 10, 2) != RF_SST_FOOTER) {
        return rf_result(RF_WRONG_VERSION);
    }
    struct rf_sst_info info = {
        .partition = (uint32_t)rf_load_le(from + 12, 4),
        .file = rf_load_le(from + 16, 8),
        .table = rf_load_le(from + 24, 8),
        .level = (uint32_t)rf_load_le(from + 32, 4),
        .codec = (enum rf_sst_codec)rf_load_le(from + 36, 4),
    };
    size_t at = 40;
#define X(field)                                                                                   \
    info.field = rf_load_le(from + at, 8);                                                         \
    at += 8;
    FOOTER_FIELDS(X)
#undef X
    *ret_info = info;
    return rf_result(RF_OK);
}
