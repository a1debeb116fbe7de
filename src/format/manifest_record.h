/* One record of a manifest: edits that take effect together (docs/formats/manifest.md). */
#ifndef RF_FORMAT_MANIFEST_RECORD_H
#define RF_FORMAT_MANIFEST_RECORD_H

#include "base/buf.h"

#define RF_MANIFEST_HEADER 48u /* bytes */
#define RF_MANIFEST_EDIT_SIZE 64u
#define RF_MANIFEST_EDITS_MAX 65536u /* in one record */

enum rf_edit_kind {
    RF_EDIT_ADD = 1,        /* the file is part of the partition */
    RF_EDIT_REMOVE = 2,     /* it is not any more */
    RF_EDIT_QUARANTINE = 3, /* the partition has lost data: it cannot say (S31, D10) */
    RF_EDIT_DAMAGE = 4,     /* rows of a token interval are lost: a block, or a file (D10) */
};

struct rf_edit {
    enum rf_edit_kind kind;
    uint32_t          level;                   /* ADD */
    uint64_t          file;                    /* but for QUARANTINE */
    uint64_t          table;                   /* ADD, DAMAGE */
    uint64_t          size;                    /* ADD: bytes */
    uint64_t          first_token, last_token; /* ADD, DAMAGE */
    uint64_t          max_hlc; /* ADD, DAMAGE: highest clock value of a version in the file */
    uint64_t damage; /* QUARANTINE, DAMAGE: its number in the partition, ascending from 1 */
};

struct rf_manifest_record {
    bool            snapshot; /* the first record of a file: the state so far as edits */
    uint32_t        partition;
    uint64_t        generation; /* of the manifest file: one more at each switch */
    uint64_t        number;     /* of the record in its file, from 0 */
    uint64_t        next_file;  /* no file number at or above it is in use */
    uint32_t        n_edits;
    struct rf_slice edits;
};

/* Appends the record with its edits. Out of memory shows in buf->failed. */
void rf_manifest_record_encode(struct rf_buf *buf, const struct rf_manifest_record *record,
                               const struct rf_edit *edits, uint32_t n_edits);
/* Takes the record at the front; ret_record borrows the bytes.
 * RF_OK, RF_TRUNCATED, RF_CORRUPT, RF_WRONG_VERSION. */
RF_CHECKED struct rf_result rf_manifest_record_decode(struct rf_slice           *bytes,
                                                      struct rf_manifest_record *ret_record);
/* Edit number `index` of a decoded record. RF_OK, RF_CORRUPT (unknown kind). */
RF_CHECKED struct rf_result rf_manifest_edit(const struct rf_manifest_record *record,
                                             uint32_t index, struct rf_edit *ret_edit);

#endif
