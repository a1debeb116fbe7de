/* Groups of the write-ahead log. The checksum is made right first, so that what lies behind it is
 * reached as well. */
#include "fuzz.h"

#include "base/crc.h"
#include "format/codec.h"
#include "format/wal_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_wal_group  group;
    struct rf_wal_record record;
    struct rf_buf        copy = {0};
    size_t               used = 0;
    rf_buf_append(&copy, data, size);
    for (int fixed = 0; fixed < 2; fixed++) {
        if (fixed != 0 && size > RF_WAL_GROUP_HEADER) {
            rf_store_le(copy.data + 8, size, 4);
            rf_store_le(copy.data + 4, rf_crc32c(0, rf_slice(copy.data + 8, size - 8)), 4);
        }
        if (rf_ok(rf_wal_group_decode(rf_buf_slice(&copy), &group, &used))) {
            require(used % RF_WAL_ALIGN == 0 && group.records.size < size);
            while (group.records.size != 0 &&
                   rf_ok(rf_wal_record_decode(&group.records, &record))) {
                require(record.row.key.size <= RF_KEY_MAX);
            }
        }
    }
    rf_buf_fini(&copy);
    return 0;
}
