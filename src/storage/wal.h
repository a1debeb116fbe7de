/* The write-ahead log of one shard: groups of records in numbered segments (docs/formats/wal.md).
 *
 * The owner thread appends to the open group; at most one group is being written. `begin` freezes
 * the open group, `run` writes it and, when it was asked to, syncs the log, on any one thread, `end`
 * takes the result back on the owner thread. Records appended while a group is on its way gather in
 * the next one: one sync serves all of them. A failed write or sync is final: the log refuses
 * everything from then on. */
#ifndef RF_STORAGE_WAL_H
#define RF_STORAGE_WAL_H

#include "base/fs.h"
#include "format/wal_record.h"

struct rf_wal;

struct rf_wal_config {
    struct rf_fs fs;
    const char  *dir; /* of all segments ("<data>/wal"); must exist; copied */
    uint32_t     shard, n_shards;
    uint32_t     n_partitions; /* 1 … 256, of the node */
    uint64_t     secret;       /* of the node's logs: no client may know it */
    uint64_t     segment;      /* first number to use, above every number in use */
    uint64_t     next_seq;     /* ditto; >= 1 */
    uint64_t     segment_max;  /* bytes after which a new segment begins */
    uint64_t allocate; /* space is taken in steps of so many bytes, ahead of the writes; 0: not */
    const uint64_t *part_seq; /* per partition its last sequence in this log; NULL: none */
};

/* Returns RF_OK or RF_NO_MEMORY; the first segment is made by the first write. */
RF_CHECKED struct rf_result rf_wal_new(const struct rf_wal_config *config, struct rf_wal **ret_wal);
void                        rf_wal_free(struct rf_wal *wal);

/* Adds a record to the open group. Returns RF_OK with its sequence, RF_IO_ERROR after a failed
 * write or a closing mark, RF_LIMIT when the open group is full (32 MiB wait already), RF_NO_MEMORY. Thread: owner. */
RF_CHECKED struct rf_result rf_wal_append(struct rf_wal *wal, const struct rf_wal_record *record,
                                          uint64_t *ret_seq);
/* Freezes the open group for writing; false when there is nothing to do or another is on its way. A
 * group that found no space is taken again, before any other. @param sync the run also makes
 * everything durable that was written so far, if need be without a group. Owner. */
bool rf_wal_begin(struct rf_wal *wal, bool sync);
/* Instead of a group, a mark is to be written: it tells what is durable, so that later damage of the
 * last group can be told from a torn tail. It is not synced itself. False when there is none to write,
 * or a group waits or is on its way. @param close the log ends here, in order: everything is synced,
 * the mark as well, and nothing is taken in any more. Owner. */
bool rf_wal_begin_mark(struct rf_wal *wal, bool close);
/* Does what `begin` has frozen. Thread: any one. Blocks: yes. */
void rf_wal_run(struct rf_wal *wal);
/* Takes the result: RF_OK; RF_DISK_RESERVE (no space) or RF_LIMIT (no descriptor for the next segment):
 * the group stays and can be tried again (nothing was synced); anything else: the log is broken from now on. Thread: owner. */
RF_CHECKED struct rf_result rf_wal_end(struct rf_wal *wal);

/* Is the open group empty? Owner. */
bool rf_wal_idle(const struct rf_wal *wal);
/* Does the group on its way end with a sync? Owner. */
bool     rf_wal_syncing(const struct rf_wal *wal);
uint64_t rf_wal_written_seq(
    const struct rf_wal *wal); /* up to it, a killed process loses nothing */
uint64_t rf_wal_durable_seq(const struct rf_wal *wal); /* everything up to it is on disk */
uint64_t rf_wal_writing_seq(
    const struct rf_wal *wal); /* last of the group on its way, or written */
uint64_t rf_wal_next_seq(const struct rf_wal *wal);
bool     rf_wal_waits(const struct rf_wal *wal); /* for space or a descriptor */
bool     rf_wal_broken(const struct rf_wal *wal);
/* Groups, bytes and records made durable, for metrics. */
struct rf_wal_stats {
    uint64_t groups, bytes, records;
};
struct rf_wal_stats rf_wal_stats(const struct rf_wal *wal);

/* Bytes of the segments of this run that were not forgotten. Owner. */
uint64_t rf_wal_live_bytes(const struct rf_wal *wal);
/* Last sequence of the oldest segment of this run; 0 when there is none. Owner. */
uint64_t rf_wal_oldest_seq(const struct rf_wal *wal);
/* The oldest complete segment whose records are all below `seq`: it may be deleted. False: none.
 * Owner. */
bool rf_wal_unneeded(const struct rf_wal *wal, uint64_t seq, uint32_t index, uint64_t *ret_segment);
/* The n oldest segments were deleted. Owner. */
void rf_wal_forget(struct rf_wal *wal, uint32_t n);

/* The name of a segment in its directory, "000-0000000000000001.wal". */
#define RF_WAL_NAME_SIZE 32u
void rf_wal_segment_name(uint32_t shard, uint64_t segment, char ret_name[RF_WAL_NAME_SIZE]);
/* Takes such a name apart; false for another name. */
bool rf_wal_segment_parse(const char *name, uint32_t *ret_shard, uint64_t *ret_segment);

/* ---- Reading back: wal_read.c ------------------------------------------------------------- */

/* What is known of a shard's log while its segments are read in order. Begins as zeros but for the
 * secret. */
struct rf_wal_history {
    uint64_t secret;
    bool     met;                        /* a group was read */
    bool     bad_start;                  /* there were bytes before any group, but no group */
    bool     closed;                     /* it ends in order */
    uint64_t next_seq;                   /* expected next */
    uint64_t floor;                      /* older sequences were deleted in order */
    uint8_t  shard, n_shards;            /* of the last group */
    uint64_t part_seq[RF_WAL_PARTS_MAX]; /* of each partition, the last record */
    bool     lost[RF_WAL_PARTS_MAX];     /* acknowledged records of the partition are lost (S31) */
    bool doubt[RF_WAL_PARTS_MAX]; /* perhaps: a group is lost, whose partitions are not known yet */
};

/* What a segment holds. Calls `each` for every record of its valid groups in order.
 * Returns RF_OK (ends cleanly or in a torn tail, which is reported in ret_info), RF_CORRUPT for
 * damage: groups are bad or missing although a later one says that they had been durable (S31); the
 * valid groups before, between and after were given to `each` all the same, and `history` says for
 * which partitions records are lost. RF_WRONG_VERSION: of an older format. The file is synced, so
 * that nothing that is served from it can vanish. */
struct rf_wal_info {
    uint64_t size;        /* bytes up to the end of the last group */
    uint64_t first_seq;   /* of the first valid group with records; 0: none */
    uint64_t last_seq;    /* of the last one; 0: none */
    uint64_t durable_seq; /* highest durable mark seen */
    uint64_t torn_at;     /* offset of a torn tail, if `torn` */
    bool     torn;
    bool     gap;     /* sequences are missing before the first group: an earlier segment's end */
    uint64_t damages; /* places in this segment where durable groups are bad */
    uint64_t damaged_at; /* offset of the first of them */
};
typedef void (*rf_wal_each)(void *argument, const struct rf_wal_record *record, uint64_t seq);
RF_CHECKED struct rf_result rf_wal_read(struct rf_fs fs, const char *path, uint64_t segment,
                                        struct rf_wal_history *history, rf_wal_each each,
                                        void *argument, struct rf_wal_info *ret_info);
/* The same for a segment's bytes. */
RF_CHECKED struct rf_result rf_wal_read_bytes(struct rf_slice bytes, uint64_t segment,
                                              struct rf_wal_history *history, rf_wal_each each,
                                              void *argument, struct rf_wal_info *ret_info);
/* After the last segment: what is in doubt is lost. */
void rf_wal_history_end(struct rf_wal_history *history);
/* Empties a shard's last segment that holds a torn group and nothing else (torn at 0): with segments
 * before and after it gone or there, bytes without a group are then damage. Blocks. */
RF_CHECKED struct rf_result rf_wal_cut(struct rf_fs fs, const char *path);

#endif
