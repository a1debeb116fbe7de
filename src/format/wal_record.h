/* The write-ahead log's unit: a group of records with one checksum (docs/formats/wal.md). A group is
 * written and synced as a whole; a torn one is cut as a whole, none of it was acknowledged. */
#ifndef RF_FORMAT_WAL_RECORD_H
#define RF_FORMAT_WAL_RECORD_H

#include "format/row.h"

#define RF_WAL_GROUP_HEADER 48u               /* bytes */
#define RF_WAL_GROUP_MAX (256u * 1024 * 1024) /* bytes, header included */
#define RF_WAL_ALIGN 8u                       /* groups start at multiples of this */

struct rf_wal_group {
    uint64_t        segment;     /* number of the segment it was written to: a recycled or misplaced
                                  group can never be taken for a live one */
    uint64_t        first_seq;   /* of its first record; the others follow without gaps */
    uint64_t        durable_seq; /* highest sequence known durable when it was written (S31) */
    uint32_t        n_records;
    struct rf_slice records;
};

struct rf_wal_record {
    uint64_t      table;
    uint32_t      partition;
    uint64_t      token;
    struct rf_row row;
};

/* Starts a group at the end of an empty buffer: room for the header. */
void rf_wal_group_begin(struct rf_buf *buf);
void rf_wal_record_encode(struct rf_buf *buf, const struct rf_wal_record *record);
/* Fills the header in and pads to RF_WAL_ALIGN. */
void rf_wal_group_end(struct rf_buf *buf, const struct rf_wal_group *group);

/* Decodes the group at the front of the bytes. ret_group borrows them; ret_size includes padding.
 * Returns RF_OK; RF_NOT_FOUND when zeros follow (the unused rest of a segment); RF_TRUNCATED;
 * RF_CORRUPT. */
RF_CHECKED struct rf_result rf_wal_group_decode(struct rf_slice      bytes,
                                                struct rf_wal_group *ret_group, size_t *ret_size);
/* Takes the next record off the front. RF_OK, RF_CORRUPT. */
RF_CHECKED struct rf_result rf_wal_record_decode(struct rf_slice      *records,
                                                 struct rf_wal_record *ret_record);

#endif
