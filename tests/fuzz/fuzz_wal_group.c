/* Segments of the write-ahead log. What stands at the front is read as it is, then with its checks made
 * right, so that what lies behind them is reached as well; whatever the bytes are, reading gives records
 * of partitions that the node can have, and what is told does not contradict itself. */
#include "fuzz.h"

#include "base/crc.h"
#include "base/hash.h"
#include "format/codec.h"
#include "storage/wal.h"

#define SECRET 7u
#define SEGMENT 8u

static void see(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    uint64_t *n = argument;
    (void)seq;
    require(record->row.key.size <= RF_ROW_KEY_MAX && record->partition < RF_WAL_PARTS_MAX);
    ++*n;
}

/* Makes header and records of what looks like a group right. Returns where the next one begins. */
static size_t mend(struct rf_buf *copy, size_t at)
{
    uint8_t *data = copy->data + at;
    size_t   left = copy->size - at;
    size_t   header = RF_WAL_GROUP_HEADER + (size_t)(data[70] % 4) * RF_WAL_PART_SIZE;
    if (header > left) {
        return copy->size;
    }
    size_t body = rf_load_le(data + 60, 2) % (left - header + 1);
    memcpy(data, "RFW2", 4);
    rf_store_le(data + 4, header, 4);
    rf_store_le(data + 16, SEGMENT, 8);
    rf_store_le(data + 24, at, 8);
    rf_store_le(data + 60, body, 4);
    rf_store_le(data + 64, rf_crc32c(0, rf_slice(data + header, body)), 4);
    rf_store_le(data + 70, data[70] % 4, 2);
    rf_store_le(data + 8, rf_hash64(rf_slice(data + 16, header - 16), SECRET), 8);
    return at + (header + body + RF_WAL_ALIGN - 1) / RF_WAL_ALIGN * RF_WAL_ALIGN;
}

static void read_all(struct rf_slice bytes)
{
    struct rf_wal_history history = {.secret = SECRET};
    struct rf_wal_info    info;
    uint64_t              n = 0;
    enum rf_rc            rc = rf_wal_read_bytes(bytes, SEGMENT, &history, see, &n, &info).rc;
    require(rc == RF_OK || rc == RF_CORRUPT || rc == RF_WRONG_VERSION);
    require((rc == RF_CORRUPT) == (info.damages != 0 || info.gap));
    require(!info.torn || info.torn_at < bytes.size);
    require(n == 0 || info.first_seq != 0 || info.last_seq != 0 || history.met);
    rf_wal_history_end(&history);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_buf copy = {0};
    rf_buf_append(&copy, data, size);
    read_all(rf_buf_slice(&copy));
    /* Up to eight groups; after each, the first byte of what follows may keep one from being mended. */
    for (size_t at = 0, n = 0; n < 8 && at + RF_WAL_GROUP_HEADER <= copy.size; n++) {
        at = copy.data[at] == 0xff ? at + RF_WAL_ALIGN : mend(&copy, at);
    }
    read_all(rf_buf_slice(&copy));
    rf_buf_fini(&copy);
    return 0;
}
