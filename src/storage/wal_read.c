/* Reading the log back: what is whole, what is torn off, what is damaged, and which partitions lost
 * records by it (S31, docs/formats/wal.md). */
#include "base/assert.h"
#include "base/mem.h"
#include "format/codec.h"
#include "storage/wal.h"

#define OLD_MAGIC 0x47574652u /* "RFWG", the format before this one */

struct reading {
    struct rf_slice        bytes;
    uint64_t               segment;
    struct rf_wal_history *history;
    rf_wal_each            each;
    void                  *argument;
    struct rf_wal_info    *info;
    bool                   group_met; /* in this segment */
    bool                   scanned;
    uint64_t last_mark; /* once scanned: the highest durable mark behind the bad place */
};

/* The header at `at`. RF_OK; RF_NOT_FOUND: unused, or left over from the file's former life; or bad. */
static struct rf_result header_at(const struct reading *reading, size_t at,
                                  struct rf_wal_group *ret_group, size_t *ret_size)
{
    RF_TRY(rf_wal_header_decode(rf_slice(reading->bytes.data + at, reading->bytes.size - at),
                                reading->history->secret, ret_group, ret_size));
    if (ret_group->segment != reading->segment) {
        return rf_result(RF_NOT_FOUND);
    }
    return rf_result(ret_group->offset == at ? RF_OK : RF_CORRUPT);
}

/* The first group at or after `from`, SIZE_MAX when there is none. */
static size_t find_group(const struct reading *reading, size_t from, struct rf_wal_group *ret_group)
{
    size_t size = 0;
    for (size_t at = from; at + RF_WAL_GROUP_HEADER <= reading->bytes.size; at += RF_WAL_ALIGN) {
        if (rf_ok(header_at(reading, at, ret_group, &size))) {
            return at;
        }
    }
    return SIZE_MAX;
}

/* Do groups behind `from` say that `seq` had been durable? The marks grow along the file, so one look
 * at the last one serves all bad places. */
static bool is_covered(struct reading *reading, size_t from, uint64_t seq)
{
    struct rf_wal_group group;
    for (size_t at = from; !reading->scanned;) {
        at = find_group(reading, at, &group);
        reading->scanned = at == SIZE_MAX;
        if (!reading->scanned && group.durable_seq > reading->last_mark) {
            reading->last_mark = group.durable_seq;
        }
        at += RF_WAL_GROUP_HEADER;
    }
    return reading->last_mark >= seq;
}

/* ---- Which partitions lost something ------------------------------------------------------ */

/* A group is missing whose partitions are not known: all that the shard had. Across segments another
 * number of shards may have been in use in between. */
static void doubt_all(const struct reading *reading, const struct rf_wal_group *next)
{
    struct rf_wal_history *history = reading->history;
    bool                   same = history->n_shards == next->n_shards || history->n_shards == 0;
    bool known = next->n_shards != 0 && !history->bad_start && (reading->group_met || same);
    for (uint32_t p = 0; p < RF_WAL_PARTS_MAX; p++) {
        bool may_hold = !known || p % next->n_shards == next->shard;
        history->doubt[p] = history->doubt[p] || may_hold;
    }
}

/* The group tells of each of its partitions which record came before: one that was not read is lost,
 * and if none is missing, the lost groups so far held nothing of it. */
static void check_parts(struct rf_wal_history *history, const struct rf_wal_group *group)
{
    for (uint32_t i = 0; i < group->n_parts; i++) {
        struct rf_wal_part part = rf_wal_group_part(group, i);
        if (part.partition >= RF_WAL_PARTS_MAX) {
            continue;
        }
        uint64_t known = history->part_seq[part.partition];
        known = known < history->floor ? history->floor : known;
        history->lost[part.partition] = history->lost[part.partition] || part.prev_seq > known;
        history->doubt[part.partition] = false;
    }
}

/* The records of a group are bad, but its header tells whose they were. */
static void lose_parts(struct rf_wal_history *history, const struct rf_wal_group *group)
{
    for (uint32_t i = 0; i < group->n_parts && group->n_records != 0; i++) {
        uint32_t p = rf_wal_group_part(group, i).partition;
        if (p < RF_WAL_PARTS_MAX) {
            history->lost[p] = true;
            history->part_seq[p] = group->first_seq + group->n_records - 1;
        }
    }
}

void rf_wal_history_end(struct rf_wal_history *history)
{
    for (uint32_t p = 0; p < RF_WAL_PARTS_MAX; p++) {
        history->lost[p] = history->lost[p] || history->doubt[p];
        history->doubt[p] = false;
    }
}

/* ---- One segment -------------------------------------------------------------------------- */

static void note_damage(struct reading *reading, size_t at)
{
    reading->info->damaged_at = reading->info->damages == 0 ? at : reading->info->damaged_at;
    reading->info->damages++;
}

static bool records_are_whole(const struct rf_wal_group *group)
{
    struct rf_slice      records = group->records;
    struct rf_wal_record record;
    for (uint32_t i = 0; i < group->n_records; i++) {
        if (!rf_ok(rf_wal_record_decode(&records, &record)) ||
            record.partition >= RF_WAL_PARTS_MAX) {
            return false;
        }
    }
    return records.size == 0;
}

static void give_records(struct reading *reading, const struct rf_wal_group *group)
{
    struct rf_slice records = group->records;
    for (uint32_t i = 0; i < group->n_records; i++) {
        struct rf_wal_record record;
        enum rf_rc           rc = rf_wal_record_decode(&records, &record).rc;
        rf_assert(rc == RF_OK); /* records_are_whole */
        reading->history->part_seq[record.partition] = group->first_seq + i;
        reading->each(reading->argument, &record, group->first_seq + i);
    }
}

/* Before the group's content counts: does it follow what came before? */
static void take_header(struct reading *reading, const struct rf_wal_group *group)
{
    struct rf_wal_history *history = reading->history;
    if (!history->met && !history->bad_start) {
        history->floor = group->segment_first_seq - 1;
        history->next_seq = group->segment_first_seq;
    }
    if (history->next_seq != group->first_seq) {
        bool before = !reading->group_met && reading->info->damages == 0;
        reading->info->gap = reading->info->gap || before;
        doubt_all(reading, group);
    }
    history->met = true;
    history->bad_start = false;
    check_parts(history, group);
    history->shard = group->shard;
    history->n_shards = group->n_shards;
    history->next_seq = group->first_seq + group->n_records;
    history->closed = (group->flags & RF_WAL_CLOSED) != 0;
    reading->group_met = true;
    reading->info->durable_seq = group->durable_seq;
    if (group->n_records != 0) {
        reading->info->first_seq =
            reading->info->first_seq == 0 ? group->first_seq : reading->info->first_seq;
        reading->info->last_seq = group->first_seq + group->n_records - 1;
    }
}

/* A bad place: where does reading go on? SIZE_MAX: nowhere, the rest is torn off, or there is none. */
static size_t pass_bad_place(struct reading *reading, size_t at, bool unused)
{
    struct rf_wal_group next;
    size_t              found = find_group(reading, at + RF_WAL_ALIGN, &next);
    bool                begin = !reading->history->met && !reading->history->bad_start;
    uint64_t            expected =
        begin && found != SIZE_MAX ? next.segment_first_seq : reading->history->next_seq;
    if (found != SIZE_MAX && next.first_seq == expected) {
        return found; /* nothing is missing: a mark in a block of its own, or a lost mark */
    }
    if (found != SIZE_MAX && is_covered(reading, found, expected)) {
        note_damage(reading, at);
        return found;
    }
    reading->info->torn = found != SIZE_MAX || !unused;
    reading->info->torn_at = at;
    return SIZE_MAX;
}

static struct rf_result read_groups(struct reading *reading)
{
    size_t size = 0;
    for (size_t at = 0; at < reading->bytes.size; at += size) {
        struct rf_wal_group group;
        struct rf_slice     rest = rf_slice(reading->bytes.data + at, reading->bytes.size - at);
        struct rf_result    header = header_at(reading, at, &group, &size);
        if (!rf_ok(header)) {
            size_t next = pass_bad_place(reading, at, header.rc == RF_NOT_FOUND);
            if (next == SIZE_MAX) {
                break;
            }
            size = next - at;
            continue;
        }
        bool whole = rf_ok(rf_wal_group_check(rest, &group)) && records_are_whole(&group);
        if (!whole && !is_covered(reading, at, group.first_seq)) {
            reading->info->torn = true;
            reading->info->torn_at = at;
            break;
        }
        take_header(reading, &group);
        reading->info->size = at + size;
        if (whole) {
            give_records(reading, &group);
        } else {
            note_damage(reading, at);
            lose_parts(reading->history, &group);
        }
    }
    return rf_result(reading->info->damages == 0 && !reading->info->gap ? RF_OK : RF_CORRUPT);
}

/* ---- Files -------------------------------------------------------------------------------- */

static struct rf_result load(struct rf_fs fs, struct rf_file file, struct rf_slice *ret_bytes)
{
    uint64_t size = 0;
    RF_TRY(fs.ops->size(fs.context, file, &size));
    RF_TRY(fs.ops->sync(fs.context, file));
    uint8_t *bytes = rf_mem_alloc(size + 1);
    if (bytes == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    struct rf_result read = fs.ops->pread(fs.context, file, bytes, size, 0);
    if (!rf_ok(read)) {
        rf_mem_free(bytes);
        return read;
    }
    *ret_bytes = rf_slice(bytes, size);
    return rf_result(RF_OK);
}

static bool is_old(struct rf_slice bytes)
{
    return bytes.size >= 4 && rf_load_le(bytes.data, 4) == OLD_MAGIC;
}

struct rf_result rf_wal_read_bytes(struct rf_slice bytes, uint64_t segment,
                                   struct rf_wal_history *history, rf_wal_each each, void *argument,
                                   struct rf_wal_info *ret_info)
{
    struct reading reading = {.bytes = bytes,
                              .segment = segment,
                              .history = history,
                              .each = each,
                              .argument = argument,
                              .info = ret_info};
    *ret_info = (struct rf_wal_info){0};
    if (is_old(bytes)) {
        return rf_result(RF_WRONG_VERSION);
    }
    struct rf_result result = read_groups(&reading);
    history->bad_start = history->bad_start || (!history->met && ret_info->torn);
    history->closed = history->closed && !ret_info->torn;
    return result;
}

struct rf_result rf_wal_read(struct rf_fs fs, const char *path, uint64_t segment,
                             struct rf_wal_history *history, rf_wal_each each, void *argument,
                             struct rf_wal_info *ret_info)
{
    struct rf_file  file;
    struct rf_slice bytes = {0};
    *ret_info = (struct rf_wal_info){0};
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ | RF_OPEN_WRITE, &file));
    struct rf_result result = load(fs, file, &bytes);
    fs.ops->close(fs.context, file);
    if (rf_ok(result)) {
        result = rf_wal_read_bytes(bytes, segment, history, each, argument, ret_info);
    }
    rf_mem_free((void *)(uintptr_t)bytes.data);
    return result;
}

struct rf_result rf_wal_cut(struct rf_fs fs, const char *path)
{
    struct rf_file file;
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ | RF_OPEN_WRITE, &file));
    struct rf_result result = fs.ops->truncate(fs.context, file, 0);
    if (rf_ok(result)) {
        result = fs.ops->sync(fs.context, file);
    }
    fs.ops->close(fs.context, file);
    return result;
}
