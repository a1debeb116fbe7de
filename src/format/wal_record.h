/* The write-ahead log's unit: a group of records (docs/formats/wal.md). Its header has a check of its
 * own, which nobody can make who does not know the log's secret, and says which partitions the group
 * is for and which sequence each of them had before. A group is written and synced as a whole; a torn
 * one is cut as a whole, none of it was acknowledged. */
#ifndef RF_FORMAT_WAL_RECORD_H
#define RF_FORMAT_WAL_RECORD_H

#include "format/row.h"

#define RF_WAL_GROUP_HEADER 80u               /* bytes, without the list of partitions */
#define RF_WAL_PART_SIZE 16u                  /* bytes of an entry of that list */
#define RF_WAL_PARTS_MAX 256u                 /* entries */
#define RF_WAL_GROUP_MAX (256u * 1024 * 1024) /* bytes of the records */
#define RF_WAL_ALIGN 8u                       /* groups start at multiples of this */

enum rf_wal_flags {
    RF_WAL_CLOSED = 1, /* the log was ended in order: nothing was written after this group */
};

/* A partition of a group. */
struct rf_wal_part {
    uint32_t partition;
    uint64_t prev_seq; /* the partition's last record in this log before the group; 0: none */
};

struct rf_wal_group {
    uint64_t        segment, offset; /* where it was written to: a recycled or misplaced group can
                                          never be taken for a live one */
    uint64_t        first_seq;       /* of its first record; the others follow without gaps */
    uint64_t        durable_seq;     /* highest sequence known durable when it was written (S31) */
    uint64_t        segment_first_seq; /* of the first group of the segment */
    uint32_t        n_records;         /* 0: a mark, it only tells what its header says */
    uint32_t        n_parts;
    uint8_t         shard, n_shards; /* of the run that wrote it */
    uint8_t         flags;           /* enum rf_wal_flags */
    struct rf_slice parts;           /* encoded: rf_wal_group_part */
    struct rf_slice records;         /* what the header says is there; see rf_wal_group_check */
};

struct rf_wal_record {
    uint64_t      table;
    uint32_t      partition;
    uint64_t      token;
    struct rf_row row;
};

/* Starts a group at the end of an empty buffer: room for the header and a list of up to n_parts. */
void rf_wal_group_begin(struct rf_buf *buf, uint32_t n_parts);
void rf_wal_record_encode(struct rf_buf *buf, const struct rf_wal_record *record);
/* Fills the header in and pads to RF_WAL_ALIGN. @param n_parts_begun as given to begin; the group's
 * own are at `parts`, group->n_parts of them. Returns the group's bytes, a part of the buffer; empty
 * when padding found no memory. */
struct rf_slice rf_wal_group_end(struct rf_buf *buf, uint32_t n_parts_begun,
                                 const struct rf_wal_group *group, const struct rf_wal_part *parts,
                                 uint64_t secret);

/* Decodes the header of the group at the front of the bytes. ret_group borrows them; ret_size is that
 * of the whole group with its padding, which the bytes may not hold any more. Returns RF_OK;
 * RF_NOT_FOUND when zeros follow (the unused rest of a segment); RF_TRUNCATED; RF_CORRUPT. */
RF_CHECKED struct rf_result rf_wal_header_decode(struct rf_slice bytes, uint64_t secret,
                                                 struct rf_wal_group *ret_group, size_t *ret_size);
/* Are the records of a decoded group whole? RF_OK, RF_TRUNCATED, RF_CORRUPT. */
RF_CHECKED struct rf_result rf_wal_group_check(struct rf_slice            bytes,
                                               const struct rf_wal_group *group);
/* An entry of its list, index < n_parts. */
struct rf_wal_part rf_wal_group_part(const struct rf_wal_group *group, uint32_t index);
/* Takes the next record off the front. RF_OK, RF_CORRUPT. */
RF_CHECKED struct rf_result rf_wal_record_decode(struct rf_slice      *records,
                                                 struct rf_wal_record *ret_record);

#endif
