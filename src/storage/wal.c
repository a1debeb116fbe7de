#include "storage/wal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define WAL_MAGIC 0x57414c00u
#define GROUP_LIMIT (32u * 1024 * 1024) /* an open group beyond this pushes back */
#define PATH_SIZE 4096u

/* One group in memory: encoded records, and the sequences that they got. */
struct group {
    struct rf_buf buf;
    uint64_t      first_seq;
    uint32_t      n;
    bool          sealed; /* its header is filled in */
};

/* A segment of this run. */
struct segment {
    uint64_t number;
    uint64_t last_seq;
    uint64_t bytes;
};

struct rf_wal {
    uint32_t     magic;
    uint32_t     shard;
    struct rf_fs fs;
    char         dir[PATH_SIZE];
    uint64_t     segment_max;
    /* Owner thread. */
    struct group        open;
    uint64_t            next_seq;
    uint64_t            durable_seq;
    bool                writing_busy;
    enum rf_rc          failure; /* RF_OK while the log works */
    bool                again;   /* `writing` found no space */
    struct rf_wal_stats stats;
    struct segment     *segments; /* oldest first; the last one is being written */
    uint32_t            n_segments, cap_segments;
    uint64_t            live_bytes; /* of them */
    /* Of the thread in rf_wal_run, between begin and end. */
    struct group   writing;
    struct rf_file file;
    bool           file_open;
    uint64_t       segment; /* of `file`, or the next to make */
    uint64_t       offset;
    enum rf_rc     run_result;
};

void rf_wal_segment_name(uint32_t shard, uint64_t segment, char ret_name[RF_WAL_NAME_SIZE])
{
    snprintf(ret_name, RF_WAL_NAME_SIZE, "%03u-%016llx.wal", shard, (unsigned long long)segment);
}

bool rf_wal_segment_parse(const char *name, uint32_t *ret_shard, uint64_t *ret_segment)
{
    char               again[RF_WAL_NAME_SIZE];
    char              *end = NULL;
    unsigned long      shard = strtoul(name, &end, 10);
    unsigned long long segment = *end == '-' ? strtoull(end + 1, &end, 16) : 0;
    if (shard > 255 || segment == 0) {
        return false;
    }
    rf_wal_segment_name((uint32_t)shard, segment, again);
    if (strcmp(again, name) != 0) {
        return false;
    }
    *ret_shard = (uint32_t)shard;
    *ret_segment = segment;
    return true;
}

struct rf_result rf_wal_new(struct rf_fs fs, const char *dir, uint32_t shard, uint64_t segment,
                            uint64_t next_seq, uint64_t segment_max, struct rf_wal **ret_wal)
{
    rf_assert(segment >= 1);
    rf_assert(next_seq >= 1);
    struct rf_wal *wal = RF_NEW(struct rf_wal);
    if (wal == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    wal->magic = WAL_MAGIC;
    wal->fs = fs;
    wal->shard = shard;
    wal->segment = segment;
    wal->segment_max = segment_max;
    wal->next_seq = next_seq;
    wal->durable_seq = next_seq - 1;
    snprintf(wal->dir, sizeof(wal->dir), "%s", dir);
    *ret_wal = wal;
    return rf_result(RF_OK);
}

void rf_wal_free(struct rf_wal *wal)
{
    if (wal == NULL) {
        return;
    }
    rf_assert(wal->magic == WAL_MAGIC);
    rf_assert(!wal->writing_busy);
    if (wal->file_open) {
        wal->fs.ops->close(wal->fs.context, wal->file);
    }
    rf_buf_fini(&wal->open.buf);
    rf_buf_fini(&wal->writing.buf);
    rf_mem_free(wal->segments);
    wal->magic = 0;
    rf_mem_free(wal);
}

struct rf_result rf_wal_append(struct rf_wal *wal, const struct rf_wal_record *record,
                               uint64_t *ret_seq)
{
    rf_assert(wal->magic == WAL_MAGIC);
    struct group *group = &wal->open;
    if (wal->failure != RF_OK) {
        return rf_result(RF_IO_ERROR);
    }
    if (group->buf.size > GROUP_LIMIT) {
        return rf_result(RF_LIMIT);
    }
    if (group->n == 0) {
        rf_buf_clear(&group->buf);
        rf_wal_group_begin(&group->buf);
        group->first_seq = wal->next_seq;
        group->sealed = false;
    }
    size_t before = group->buf.size;
    rf_wal_record_encode(&group->buf, record);
    if (group->buf.failed) {
        group->buf.failed = false;
        group->buf.size = before;
        return rf_result(RF_NO_MEMORY);
    }
    group->n++;
    *ret_seq = wal->next_seq++;
    return rf_result(RF_OK);
}

/* Room for two more segments in the list: what one group can need. */
static bool reserve_segments(struct rf_wal *wal)
{
    if (wal->n_segments + 2 <= wal->cap_segments) {
        return true;
    }
    uint32_t        cap = wal->cap_segments == 0 ? 8 : wal->cap_segments * 2;
    struct segment *grown = rf_mem_realloc(wal->segments, sizeof(*grown) * cap);
    if (grown != NULL) {
        wal->segments = grown;
        wal->cap_segments = cap;
    }
    return grown != NULL;
}

bool rf_wal_begin(struct rf_wal *wal)
{
    if (wal->again) {
        rf_assert(!wal->writing_busy);
        rf_assert(wal->writing.n != 0);
        wal->again = false;
        wal->writing_busy = true;
        return true;
    }
    if (wal->writing_busy || wal->open.n == 0 || wal->failure != RF_OK || !reserve_segments(wal)) {
        return false;
    }
    struct group spare = wal->writing;
    wal->writing = wal->open;
    wal->open = spare;
    wal->open.n = 0;
    wal->writing_busy = true;
    return true;
}

/* A failed sync is final, whatever its reason; only a write that found no space may be repeated. */
static struct rf_result final_result(struct rf_result result)
{
    return rf_ok(result) ? result : rf_result(RF_IO_ERROR);
}

static struct rf_result open_segment(struct rf_wal *wal)
{
    char name[RF_WAL_NAME_SIZE];
    char path[PATH_SIZE + RF_WAL_NAME_SIZE + 1];
    rf_wal_segment_name(wal->shard, wal->segment, name);
    snprintf(path, sizeof(path), "%s/%s", wal->dir, name);
    RF_TRY(wal->fs.ops->open(wal->fs.context, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &wal->file));
    wal->file_open = true;
    wal->offset = 0;
    return final_result(wal->fs.ops->sync_dir(wal->fs.context, wal->dir));
}

static struct rf_result seal_group(struct rf_wal *wal, struct group *group)
{
    struct rf_wal_group header = {
        .segment = wal->segment,
        .first_seq = group->first_seq,
        .durable_seq = group->first_seq - 1, /* the group before was synced: one at a time */
        .n_records = group->n,
    };
    rf_assert(group->n != 0);
    if (!group->sealed) {
        rf_wal_group_end(&group->buf, &header);
        group->sealed = true;
    }
    return rf_result(group->buf.failed ? RF_NO_MEMORY : RF_OK);
}

static struct rf_result write_group(struct rf_wal *wal)
{
    struct group *group = &wal->writing;
    if (wal->file_open && wal->offset >= wal->segment_max) {
        wal->fs.ops->close(wal->fs.context, wal->file);
        wal->file_open = false;
        wal->segment++;
    }
    if (!wal->file_open) {
        RF_TRY(open_segment(wal));
    }
    RF_TRY(seal_group(wal, group));
    struct rf_slice bytes = rf_buf_slice(&group->buf);
    RF_TRY(wal->fs.ops->pwrite(wal->fs.context, wal->file, bytes, wal->offset));
    wal->offset += bytes.size;
    return final_result(wal->fs.ops->sync(wal->fs.context, wal->file));
}

void rf_wal_run(struct rf_wal *wal)
{
    rf_assert(wal->writing_busy);
    wal->run_result = write_group(wal).rc;
}

struct rf_result rf_wal_end(struct rf_wal *wal)
{
    rf_assert(wal->writing_busy);
    wal->writing_busy = false;
    if (wal->run_result == RF_DISK_RESERVE) {
        wal->again = true;
        return rf_result(RF_DISK_RESERVE);
    }
    if (wal->run_result != RF_OK) {
        wal->failure = wal->run_result;
        return rf_result(wal->run_result);
    }
    wal->durable_seq = wal->writing.first_seq + wal->writing.n - 1;
    wal->stats.groups++;
    wal->stats.records += wal->writing.n;
    wal->stats.bytes += wal->writing.buf.size;
    if (wal->n_segments == 0 || wal->segments[wal->n_segments - 1].number != wal->segment) {
        rf_assert(wal->n_segments < wal->cap_segments);
        wal->segments[wal->n_segments++] = (struct segment){.number = wal->segment};
    }
    rf_assert(wal->segments[wal->n_segments - 1].last_seq < wal->durable_seq);
    rf_assert(wal->durable_seq < wal->next_seq);
    wal->segments[wal->n_segments - 1].last_seq = wal->durable_seq;
    wal->segments[wal->n_segments - 1].bytes += wal->writing.buf.size;
    wal->live_bytes += wal->writing.buf.size;
    return rf_result(RF_OK);
}

uint64_t rf_wal_live_bytes(const struct rf_wal *wal)
{
    return wal->live_bytes;
}

uint64_t rf_wal_oldest_seq(const struct rf_wal *wal)
{
    return wal->n_segments == 0 ? 0 : wal->segments[0].last_seq;
}

bool rf_wal_unneeded(const struct rf_wal *wal, uint64_t seq, uint32_t index, uint64_t *ret_segment)
{
    if (index + 1 >= wal->n_segments || wal->segments[index].last_seq >= seq) {
        return false;
    }
    *ret_segment = wal->segments[index].number;
    return true;
}

void rf_wal_forget(struct rf_wal *wal, uint32_t n)
{
    rf_assert(n < wal->n_segments || n == 0);
    for (uint32_t i = 0; i < n; i++) {
        rf_assert(wal->live_bytes >= wal->segments[i].bytes);
        wal->live_bytes -= wal->segments[i].bytes;
    }
    wal->n_segments -= n;
    if (n != 0) {
        memmove(wal->segments, wal->segments + n, sizeof(*wal->segments) * wal->n_segments);
    }
}

uint64_t rf_wal_durable_seq(const struct rf_wal *wal)
{
    return wal->durable_seq;
}

uint64_t rf_wal_writing_seq(const struct rf_wal *wal)
{
    return wal->writing_busy || wal->again ? wal->writing.first_seq + wal->writing.n - 1
                                           : wal->durable_seq;
}

uint64_t rf_wal_next_seq(const struct rf_wal *wal)
{
    return wal->next_seq;
}

bool rf_wal_waits_for_space(const struct rf_wal *wal)
{
    return wal->again;
}

bool rf_wal_broken(const struct rf_wal *wal)
{
    return wal->failure != RF_OK;
}

struct rf_wal_stats rf_wal_stats(const struct rf_wal *wal)
{
    return wal->stats;
}

/* ---- Reading back ------------------------------------------------------------------------- */

/* Does a valid group of this segment after `offset` say that `seq` had been durable? Then what is
 * bad before it is damage, not a torn tail, and reading goes on there: at its offset. 0: there is
 * none. */
static size_t later_group_covers(struct rf_slice bytes, uint64_t segment, size_t offset,
                                 uint64_t seq)
{
    for (size_t at = offset + RF_WAL_ALIGN; at + RF_WAL_GROUP_HEADER <= bytes.size;
         at += RF_WAL_ALIGN) {
        struct rf_wal_group group;
        size_t              size = 0;
        struct rf_slice     rest = rf_slice(bytes.data + at, bytes.size - at);
        if (rf_ok(rf_wal_group_decode(rest, &group, &size)) && group.segment == segment &&
            group.durable_seq >= seq && group.first_seq == group.durable_seq + 1) {
            rf_assert(group.first_seq > seq);
            return at;
        }
    }
    return 0;
}

static struct rf_result read_records(const struct rf_wal_group *group,
                                     void (*each)(void *, const struct rf_wal_record *, uint64_t),
                                     void *argument)
{
    struct rf_slice records = group->records;
    for (uint32_t i = 0; i < group->n_records; i++) {
        struct rf_wal_record record;
        RF_TRY(rf_wal_record_decode(&records, &record));
        each(argument, &record, group->first_seq + i);
    }
    return rf_result(records.size == 0 ? RF_OK : RF_CORRUPT);
}

static struct rf_result read_groups(struct rf_slice bytes, uint64_t segment,
                                    void (*each)(void *, const struct rf_wal_record *, uint64_t),
                                    void *argument, struct rf_wal_info *info)
{
    size_t at = 0;
    while (at < bytes.size) {
        struct rf_wal_group group;
        size_t              size = 0;
        struct rf_slice     rest = rf_slice(bytes.data + at, bytes.size - at);
        struct rf_result    decoded = rf_wal_group_decode(rest, &group, &size);
        if (rf_ok(decoded) && group.segment != segment) {
            break; /* left over from the segment's former life */
        }
        if (!rf_ok(decoded)) {
            size_t next = later_group_covers(bytes, segment, at, info->last_seq + 1);
            if (next == 0) {
                info->torn_at = decoded.rc == RF_NOT_FOUND ? 0 : at;
                break;
            }
            rf_assert(next > at && next < bytes.size);
            info->damaged_at = info->damages == 0 ? at : info->damaged_at;
            info->damages++;
            at = next;
            continue;
        }
        RF_TRY(read_records(&group, each, argument));
        info->first_seq = info->first_seq == 0 ? group.first_seq : info->first_seq;
        info->last_seq = group.first_seq + group.n_records - 1;
        info->durable_seq = group.durable_seq;
        at += size;
    }
    return rf_result(info->damages == 0 ? RF_OK : RF_CORRUPT);
}

struct rf_result rf_wal_read(struct rf_fs fs, const char *path, uint64_t segment,
                             void (*each)(void *argument, const struct rf_wal_record *record,
                                          uint64_t seq),
                             void *argument, struct rf_wal_info *ret_info)
{
    struct rf_file file;
    uint64_t       size = 0;
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_READ | RF_OPEN_WRITE, &file));
    struct rf_result result = fs.ops->size(fs.context, file, &size);
    if (rf_ok(result)) {
        result = fs.ops->sync(fs.context, file);
    }
    uint8_t *bytes = rf_ok(result) ? rf_mem_alloc(size + 1) : NULL;
    if (rf_ok(result) && bytes == NULL) {
        result = rf_result(RF_NO_MEMORY);
    }
    if (rf_ok(result)) {
        result = fs.ops->pread(fs.context, file, bytes, size, 0);
    }
    fs.ops->close(fs.context, file);
    *ret_info = (struct rf_wal_info){.size = size};
    if (rf_ok(result)) {
        result = read_groups(rf_slice(bytes, size), segment, each, argument, ret_info);
    }
    rf_mem_free(bytes);
    return result;
}
