/* The write-ahead log of one shard: groups of records in numbered segments.
 *
 * The owner thread appends to the open group; at most one group is being written. `begin` freezes
 * the open group, `run` writes and syncs it on any one thread, `end` takes the result back on the
 * owner thread. Records appended while a group is on its way gather in the next one: one sync serves
 * all of them. A failed write or sync is final: the log refuses everything from then on. */
#ifndef RF_STORAGE_WAL_H
#define RF_STORAGE_WAL_H

#include "base/fs.h"
#include "format/wal_record.h"

struct rf_wal;

/* @param dir directory of all segments ("<data>/wal"), must exist and outlive the log.
 * @param shard names the segments. @param segment, next_seq first numbers to use, above every
 * number in use. @param segment_max bytes after which a new segment begins.
 * Returns RF_OK or RF_NO_MEMORY; the first segment is made by the first write. */
RF_CHECKED struct rf_result rf_wal_new(struct rf_fs fs, const char *dir, uint32_t shard,
                                       uint64_t segment, uint64_t next_seq, uint64_t segment_max,
                                       struct rf_wal **ret_wal);
void                        rf_wal_free(struct rf_wal *wal);

/* Adds a record to the open group. Returns RF_OK with its sequence, RF_IO_ERROR after a failed
 * write, RF_LIMIT when the open group is full (32 MiB wait already), RF_NO_MEMORY. Thread: owner. */
RF_CHECKED struct rf_result rf_wal_append(struct rf_wal *wal, const struct rf_wal_record *record,
                                          uint64_t *ret_seq);
/* Freezes the open group for writing; false when it is empty or another is on its way. A group that
 * found no space is taken again, before any other. Owner. */
bool rf_wal_begin(struct rf_wal *wal);
/* Writes and syncs the frozen group. Thread: any one. Blocks: yes. */
void rf_wal_run(struct rf_wal *wal);
/* Takes the result: RF_OK; RF_DISK_RESERVE: no space, the group stays and can be tried again (nothing
 * was synced); anything else: the log is broken from now on. Thread: owner. */
RF_CHECKED struct rf_result rf_wal_end(struct rf_wal *wal);

uint64_t rf_wal_durable_seq(const struct rf_wal *wal); /* everything up to it is on disk */
uint64_t rf_wal_writing_seq(
    const struct rf_wal *wal); /* last of the group on its way, or durable */
uint64_t rf_wal_next_seq(const struct rf_wal *wal);
bool     rf_wal_waits_for_space(const struct rf_wal *wal);
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

/* What a segment holds. Calls `each` for every record of its valid groups in order.
 * Returns RF_OK (ends cleanly or in a torn tail, which is reported in ret_info), RF_CORRUPT for
 * damage: a bad group although a later one says that it had been durable (S31); the valid groups
 * before, between and after were given to `each` all the same. The file is synced, so
 * that nothing that is served from it can vanish. */
struct rf_wal_info {
    uint64_t size;        /* bytes of the file */
    uint64_t first_seq;   /* of the first valid group; 0: none */
    uint64_t last_seq;    /* of the last valid group; 0: none */
    uint64_t durable_seq; /* highest durable mark seen */
    uint64_t torn_at;     /* offset of a torn tail; 0: none */
    uint64_t damages;     /* places where durable groups are bad */
    uint64_t damaged_at;  /* offset of the first of them */
};
RF_CHECKED struct rf_result rf_wal_read(struct rf_fs fs, const char *path, uint64_t segment,
                                        void (*each)(void                       *argument,
                                                     const struct rf_wal_record *record,
                                                     uint64_t                    seq),
                                        void *argument, struct rf_wal_info *ret_info);

#endif
