/* Records of a manifest, as they are and with size and checksum made right. */
#include "fuzz.h"

#include "base/crc.h"
#include "format/codec.h"
#include "format/manifest_record.h"

static void decode(struct rf_slice bytes)
{
    struct rf_manifest_record record;
    struct rf_edit            edit;
    while (rf_ok(rf_manifest_record_decode(&bytes, &record))) {
        require(record.n_edits <= RF_MANIFEST_EDITS_MAX);
        for (uint32_t i = 0; i < record.n_edits; i++) {
            (void)rf_manifest_edit(&record, i, &edit).rc;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_buf copy = {0};
    rf_buf_append(&copy, data, size);
    decode(rf_buf_slice(&copy));
    if (size >= RF_MANIFEST_HEADER) {
        size_t edits = (size - RF_MANIFEST_HEADER) / RF_MANIFEST_EDIT_SIZE;
        size_t used = RF_MANIFEST_HEADER + edits * RF_MANIFEST_EDIT_SIZE;
        rf_store_le(copy.data + 8, used, 4);
        rf_store_le(copy.data + 12, edits, 4);
        rf_store_le(copy.data + 4, rf_crc32c(0, rf_slice(copy.data + 8, used - 8)), 4);
        decode(rf_buf_slice(&copy));
    }
    rf_buf_fini(&copy);
    return 0;
}
