#include "format/manifest_record.h"

#include "base/assert.h"
#include "base/crc.h"
#include "format/codec.h"

#define RECORD_MAGIC 0x524d4652u /* "RFMR" */
#define RECORD_FORMAT 2u
#define FLAG_SNAPSHOT 1u

static void put_edit(struct rf_buf *buf, const struct rf_edit *edit)
{
    rf_put_u32(buf, edit->kind);
    rf_put_u32(buf, edit->level);
    rf_put_u64(buf, edit->file);
    rf_put_u64(buf, edit->table);
    rf_put_u64(buf, edit->size);
    rf_put_u64(buf, edit->first_token);
    rf_put_u64(buf, edit->last_token);
    rf_put_u64(buf, edit->max_hlc);
    rf_put_u64(buf, edit->damage);
}

void rf_manifest_record_encode(struct rf_buf *buf, const struct rf_manifest_record *record,
                               const struct rf_edit *edits, uint32_t n_edits)
{
    size_t   start = buf->size;
    uint32_t size = RF_MANIFEST_HEADER + n_edits * RF_MANIFEST_EDIT_SIZE;
    rf_assert(n_edits <= RF_MANIFEST_EDITS_MAX);
    rf_put_u32(buf, RECORD_MAGIC);
    rf_put_u32(buf, 0);
    rf_put_u32(buf, size);
    rf_put_u32(buf, n_edits);
    rf_put_u16(buf, RECORD_FORMAT);
    rf_put_u16(buf, record->snapshot ? FLAG_SNAPSHOT : 0);
    rf_put_u32(buf, record->partition);
    rf_put_u64(buf, record->generation);
    rf_put_u64(buf, record->number);
    rf_put_u64(buf, record->next_file);
    for (uint32_t i = 0; i < n_edits; i++) {
        put_edit(buf, &edits[i]);
    }
    if (!buf->failed) {
        uint8_t *at = buf->data + start;
        rf_assert(buf->size - start == size);
        rf_store_le(at + 4, rf_crc32c(0, rf_slice(at + 8, size - 8)), 4);
    }
}

struct rf_result rf_manifest_record_decode(struct rf_slice           *bytes,
                                           struct rf_manifest_record *ret_record)
{
    const uint8_t *at = bytes->data;
    if (bytes->size < RF_MANIFEST_HEADER) {
        return rf_result(RF_TRUNCATED);
    }
    uint64_t size = rf_load_le(at + 8, 4);
    uint64_t n_edits = rf_load_le(at + 12, 4);
    if (rf_load_le(at, 4) != RECORD_MAGIC || n_edits > RF_MANIFEST_EDITS_MAX ||
        size != RF_MANIFEST_HEADER + n_edits * RF_MANIFEST_EDIT_SIZE) {
        return rf_result(RF_CORRUPT);
    }
    if (size > bytes->size) {
        return rf_result(RF_TRUNCATED);
    }
    if (rf_load_le(at + 4, 4) != rf_crc32c(0, rf_slice(at + 8, size - 8))) {
        return rf_result(RF_CORRUPT);
    }
    if (rf_load_le(at + 16, 2) != RECORD_FORMAT) {
        return rf_result(RF_WRONG_VERSION);
    }
    *ret_record = (struct rf_manifest_record){
        .snapshot = (rf_load_le(at + 18, 2) & FLAG_SNAPSHOT) != 0,
        .partition = (uint32_t)rf_load_le(at + 20, 4),
        .generation = rf_load_le(at + 24, 8),
        .number = rf_load_le(at + 32, 8),
        .next_file = rf_load_le(at + 40, 8),
        .n_edits = (uint32_t)n_edits,
        .edits = rf_slice(at + RF_MANIFEST_HEADER, size - RF_MANIFEST_HEADER),
    };
    bytes->data += size;
    bytes->size -= size;
    return rf_result(RF_OK);
}

struct rf_result rf_manifest_edit(const struct rf_manifest_record *record, uint32_t index,
                                  struct rf_edit *ret_edit)
{
    rf_assert(index < record->n_edits);
    const uint8_t *at = record->edits.data + (size_t)index * RF_MANIFEST_EDIT_SIZE;
    uint64_t       kind = rf_load_le(at, 4);
    if (kind < RF_EDIT_ADD || kind > RF_EDIT_DAMAGE) {
        return rf_result(RF_CORRUPT);
    }
    *ret_edit = (struct rf_edit){
        .kind = (enum rf_edit_kind)kind,
        .level = (uint32_t)rf_load_le(at + 4, 4),
        .file = rf_load_le(at + 8, 8),
        .table = rf_load_le(at + 16, 8),
        .size = rf_load_le(at + 24, 8),
        .first_token = rf_load_le(at + 32, 8),
        .last_token = rf_load_le(at + 40, 8),
        .max_hlc = rf_load_le(at + 48, 8),
        .damage = rf_load_le(at + 56, 8),
    };
    return rf_result(RF_OK);
}
