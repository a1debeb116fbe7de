/* Records of a manifest. The checksum is made right first, so that what lies behind it is reached. */
#include "fuzz.h"

#include "base/crc.h"
#include "format/codec.h"
#include "format/manifest_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_manifest_record record;
    struct rf_edit            edit;
    struct rf_buf             copy = {0};
    rf_buf_append(&copy, data, size);
    for (int fixed = 0; fixed < 2; fixed++) {
        if (fixed != 0 && size >= RF_MANIFEST_HEADER) {
            rf_store_le(copy.data + 12, (size - RF_MANIFEST_HEADER) / RF_MANIFEST_EDIT_SIZE, 4);
            size_t whole = size - (size - RF_MANIFEST_HEADER) % RF_MANIFEST_EDIT_SIZE;
            rf_store_le(copy.data + 8, whole, 4);
            rf_store_le(copy.data + 4, rf_crc32c(0, rf_slice(copy.data + 8, whole - 8)), 4);
        }
        struct rf_slice rest = rf_buf_slice(&copy);
        while (rest.size != 0 && rf_ok(rf_manifest_record_decode(&rest, &record))) {
            require(record.n_edits <= RF_MANIFEST_EDITS_MAX);
            for (uint32_t i = 0; i < record.n_edits; i++) {
                if (rf_ok(rf_manifest_edit(&record, i, &edit))) {
                    require(edit.kind >= RF_EDIT_ADD && edit.kind <= RF_EDIT_DAMAGE);
                }
            }
        }
    }
    rf_buf_fini(&copy);
    return 0;
}
