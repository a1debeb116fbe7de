#include "storage/wal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"

#define WAL_MAGIC 0x57414c00u
#define GROUP_LIMIT (32u * 1024 * 1024) /* an open group beyond this pushes back */
#define PATH_SIZE 4096u

#define BLOCK 4096u /* a mark begins in a block of its own: who loses the last group keeps it */

/* One group in memory: encoded records, and the sequences that they got. */
struct group {
    struct rf_buf       buf;
    struct rf_slice     bytes; /* of the buffer, when sealed: what is written */
    uint64_t            first_seq;
    uint32_t            n;
    struct rf_wal_part *parts; /* cap_parts */
    uint32_t            n_parts, cap_parts;
    bool                sealed; /* its header is filled in */
    bool                mark;   /* no records: tells what is durable */
    bool                closed; /* a mark that ends the log */
};

/* A segment of this run. */
struct segment {
    uint64_t number;
    uint64_t last_seq;
    uint64_t bytes;
};

struct rf_wal {
    uint32_t             magic;
    struct rf_wal_config config; /* but for dir and part_seq */
    char                 dir[PATH_SIZE];
    uint32_t             parts_max; /* partitions of one group */
    /* Owner thread. */
    struct group        open;
    uint64_t            next_seq;
    uint64_t            written_seq, durable_seq;
    uint64_t            part_seq[RF_WAL_PARTS_MAX]; /* last of each partition */
    uint64_t            part_in[RF_WAL_PARTS_MAX];  /* first sequence of the last group it is in */
    bool                writing_busy;
    bool                sync;   /* the run on its way ends with a sync */
    bool                marked; /* nothing was written since the last mark */
    bool                closed;
    enum rf_rc          failure; /* RF_OK while the log works */
    bool                again;   /* `writing` found no space or descriptor */
    struct rf_wal_stats stats;
    struct segment     *segments; /* oldest first; the last one is being written */
    uint32_t            n_segments, cap_segments;
    uint64_t            live_bytes; /* of them */
    /* Of the thread in rf_wal_run, between begin and end. */
    struct group   writing;
    struct rf_file file;
    bool           file_open;
    bool           file_dirty;        /* something in it is not synced */
    bool           name_durable;      /* its entry in the directory is */
    uint64_t       segment;           /* of `file`, or the next to make */
    uint64_t       segment_first_seq; /* ditto */
    uint64_t       offset;
    uint64_t       allocated;   /* space that `file` has; UINT64_MAX: no more is asked for */
    uint64_t       run_bytes;   /* by which the segment grew */
    uint64_t       run_durable; /* up to where a finished segment was made durable; 0: none was */
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

static void fini_group(struct group *group)
{
    rf_buf_fini(&group->buf);
    rf_mem_free(group->parts);
}

static bool init_group(struct group *group, uint32_t cap_parts)
{
    group->cap_parts = cap_parts;
    group->parts = RF_NEW_ARRAY(struct rf_wal_part, cap_parts);
    return group->parts != NULL;
}

struct rf_result rf_wal_new(const struct rf_wal_config *config, struct rf_wal **ret_wal)
{
    rf_assert(config->segment >= 1);
    rf_assert(config->next_seq >= 1);
    rf_assert(config->n_partitions >= 1 && config->n_partitions <= RF_WAL_PARTS_MAX);
    rf_assert(config->n_shards >= 1 && config->n_shards <= UINT8_MAX && config->shard <= UINT8_MAX);
    struct rf_wal *wal = RF_NEW(struct rf_wal);
    if (wal == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    wal->magic = WAL_MAGIC;
    wal->config = *config;
    wal->config.dir = NULL;
    wal->config.part_seq = NULL;
    wal->parts_max = (config->n_partitions + config->n_shards - 1) / config->n_shards;
    wal->segment = config->segment;
    wal->next_seq = config->next_seq;
    wal->written_seq = config->next_seq - 1;
    wal->durable_seq = config->next_seq - 1;
    wal->marked = true;
    if (config->part_seq != NULL) {
        memcpy(wal->part_seq, config->part_seq, sizeof(wal->part_seq));
    }
    snprintf(wal->dir, sizeof(wal->dir), "%s", config->dir);
    if (!init_group(&wal->open, RF_WAL_PARTS_MAX) || !init_group(&wal->writing, RF_WAL_PARTS_MAX)) {
        rf_wal_free(wal);
        return rf_result(RF_NO_MEMORY);
    }
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
        wal->config.fs.ops->close(wal->config.fs.context, wal->file);
    }
    fini_group(&wal->open);
    fini_group(&wal->writing);
    rf_mem_free(wal->segments);
    wal->magic = 0;
    rf_mem_free(wal);
}

static void begin_group(struct rf_wal *wal, struct group *group, uint32_t n_parts)
{
    rf_buf_clear(&group->buf);
    rf_wal_group_begin(&group->buf, n_parts);
    group->first_seq = wal->next_seq;
    group->n = 0;
    group->n_parts = 0;
    group->sealed = false;
    group->mark = false;
    group->closed = false;
}

/* The record's partition is one of the group's: where its records were before. */
static void note_part(struct rf_wal *wal, struct group *group, uint32_t partition)
{
    rf_assert(partition < wal->config.n_partitions);
    if (wal->part_in[partition] != group->first_seq) {
        rf_assert(group->n_parts < wal->parts_max);
        wal->part_in[partition] = group->first_seq;
        group->parts[group->n_parts++] = (struct rf_wal_part){partition, wal->part_seq[partition]};
    }
    wal->part_seq[partition] = wal->next_seq;
}

struct rf_result rf_wal_append(struct rf_wal *wal, const struct rf_wal_record *record,
                               uint64_t *ret_seq)
{
    rf_assert(wal->magic == WAL_MAGIC);
    struct group *group = &wal->open;
    if (wal->failure != RF_OK || wal->closed) {
        return rf_result(RF_IO_ERROR);
    }
    if (group->buf.size > GROUP_LIMIT && group->n != 0) {
        return rf_result(RF_LIMIT);
    }
    if (group->n == 0) {
        begin_group(wal, group, wal->parts_max);
    }
    size_t before = group->buf.size;
    rf_wal_record_encode(&group->buf, record);
    if (group->buf.failed) {
        group->buf.failed = false;
        group->buf.size = before;
        return rf_result(RF_NO_MEMORY);
    }
    note_part(wal, group, record->partition);
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

static void swap_groups(struct rf_wal *wal)
{
    struct group spare = wal->writing;
    wal->writing = wal->open;
    wal->open = spare;
    wal->open.n = 0;
}

bool rf_wal_begin(struct rf_wal *wal, bool sync)
{
    if (wal->again) {
        rf_assert(!wal->writing_busy);
        rf_assert(wal->writing.n != 0);
        wal->again = false;
        wal->writing_busy = true;
        return true;
    }
    bool unsynced = sync && wal->durable_seq < wal->written_seq;
    if (wal->writing_busy || (wal->open.n == 0 && !unsynced) || wal->failure != RF_OK ||
        !reserve_segments(wal)) {
        return false;
    }
    if (wal->open.n == 0) {
        begin_group(wal, &wal->open, 0);
    }
    swap_groups(wal);
    wal->sync = sync;
    wal->writing_busy = true;
    return true;
}

bool rf_wal_begin_mark(struct rf_wal *wal, bool close)
{
    bool wanted = close ? !wal->closed : !wal->marked;
    if (!wanted || wal->writing_busy || wal->again || wal->open.n != 0 || wal->failure != RF_OK ||
        !reserve_segments(wal)) {
        return false;
    }
    struct group *group = &wal->open;
    begin_group(wal, group, RF_WAL_PARTS_MAX);
    group->mark = true;
    group->closed = close;
    for (uint32_t p = 0; p < wal->config.n_partitions; p++) {
        if (wal->part_seq[p] != 0 || p % wal->config.n_shards == wal->config.shard) {
            group->parts[group->n_parts++] = (struct rf_wal_part){p, wal->part_seq[p]};
        }
    }
    swap_groups(wal);
    wal->sync = close;
    wal->closed = wal->closed || close;
    wal->writing_busy = true;
    return true;
}

/* A failed sync is final, whatever its reason. Only what found no space, or no descriptor to begin
 * with, may be repeated. */
static bool may_repeat(enum rf_rc rc)
{
    return rc == RF_DISK_RESERVE || rc == RF_LIMIT;
}

static struct rf_result final_result(struct rf_result result)
{
    return rf_ok(result) ? result : rf_result(RF_IO_ERROR);
}

static struct rf_result sync_file(struct rf_wal *wal)
{
    if (wal->file_dirty) {
        RF_TRY(final_result(wal->config.fs.ops->sync(wal->config.fs.context, wal->file)));
        wal->file_dirty = false;
    }
    return rf_result(RF_OK);
}

static struct rf_result open_segment(struct rf_wal *wal)
{
    struct rf_fs fs = wal->config.fs;
    char         name[RF_WAL_NAME_SIZE];
    char         path[PATH_SIZE + RF_WAL_NAME_SIZE + 1];
    rf_wal_segment_name(wal->config.shard, wal->segment, name);
    snprintf(path, sizeof(path), "%s/%s", wal->dir, name);
    RF_TRY(fs.ops->open(fs.context, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &wal->file));
    wal->file_open = true;
    wal->name_durable = false;
    wal->file_dirty = false;
    wal->segment_first_seq = wal->writing.first_seq;
    wal->offset = 0;
    wal->allocated = wal->config.allocate == 0 ? UINT64_MAX : 0;
    return rf_result(RF_OK);
}

/* Without a descriptor for the directory the sync was not tried: it can come later. */
static struct rf_result sync_name(struct rf_wal *wal)
{
    struct rf_fs     fs = wal->config.fs;
    struct rf_result synced = fs.ops->sync_dir(fs.context, wal->dir);
    wal->name_durable = rf_ok(synced);
    return synced.rc == RF_LIMIT ? synced : final_result(synced);
}

/* A segment is durable before the next one begins. */
static struct rf_result take_segment(struct rf_wal *wal)
{
    if (wal->file_open && wal->offset >= wal->config.segment_max) {
        RF_TRY(sync_file(wal));
        wal->run_durable = wal->writing.first_seq - 1;
        wal->config.fs.ops->close(wal->config.fs.context, wal->file);
        wal->file_open = false;
        wal->segment++;
    }
    RF_TRY(wal->file_open ? rf_result(RF_OK) : open_segment(wal));
    return wal->name_durable ? rf_result(RF_OK) : sync_name(wal);
}

static struct rf_result seal_group(struct rf_wal *wal, struct group *group, uint64_t offset)
{
    struct rf_wal_group header = {
        .segment = wal->segment,
        .offset = offset,
        .first_seq = group->first_seq,
        .durable_seq = wal->file_dirty ? wal->durable_seq : group->first_seq - 1,
        .segment_first_seq = wal->segment_first_seq,
        .n_records = group->n,
        .n_parts = group->n_parts,
        .shard = (uint8_t)wal->config.shard,
        .n_shards = (uint8_t)wal->config.n_shards,
        .flags = group->closed ? RF_WAL_CLOSED : 0,
    };
    if (!group->sealed) {
        group->bytes =
            rf_wal_group_end(&group->buf, group->mark ? RF_WAL_PARTS_MAX : wal->parts_max, &header,
                             group->parts, wal->config.secret);
        group->sealed = true;
    }
    return rf_result(group->bytes.size == 0 ? RF_NO_MEMORY : RF_OK);
}

/* Takes space ahead of the writes. They work without it as well, so a failure is no matter. */
static void allocate(struct rf_wal *wal, uint64_t end)
{
    struct rf_fs fs = wal->config.fs;
    uint64_t     step = wal->config.allocate;
    if (end > wal->allocated) {
        uint64_t size = (end + step - 1) / step * step;
        bool     done = rf_ok(fs.ops->allocate(fs.context, wal->file, size));
        wal->allocated = done ? size : UINT64_MAX;
    }
}

static struct rf_result write_group(struct rf_wal *wal)
{
    struct group *group = &wal->writing;
    struct rf_fs  fs = wal->config.fs;
    wal->run_bytes = 0;
    wal->run_durable = 0;
    if (group->n != 0 || group->mark) {
        RF_TRY(take_segment(wal));
        /* What a closing mark says is durable, itself included, must be so. */
        RF_TRY(group->closed ? sync_file(wal) : rf_result(RF_OK));
        uint64_t at = group->mark ? (wal->offset + BLOCK - 1) / BLOCK * BLOCK : wal->offset;
        RF_TRY(seal_group(wal, group, at));
        allocate(wal, at + group->bytes.size);
        RF_TRY(fs.ops->pwrite(fs.context, wal->file, group->bytes, at));
        wal->run_bytes = at + group->bytes.size - wal->offset;
        wal->offset += wal->run_bytes;
        wal->file_dirty = true;
    }
    return wal->sync ? sync_file(wal) : rf_result(RF_OK);
}

void rf_wal_run(struct rf_wal *wal)
{
    rf_assert(wal->writing_busy);
    wal->run_result = write_group(wal).rc;
}

static void note_run(struct rf_wal *wal)
{
    const struct group *group = &wal->writing;
    uint64_t            last_seq = group->first_seq + group->n - 1;
    rf_assert(wal->written_seq <= last_seq && last_seq < wal->next_seq);
    wal->written_seq = last_seq;
    if (!wal->file_dirty) {
        wal->durable_seq = last_seq;
    } else if (wal->run_durable != 0) {
        wal->durable_seq = wal->run_durable;
    }
    wal->marked = group->mark || (wal->marked && group->n == 0);
    wal->stats.groups += group->n != 0;
    wal->stats.records += group->n;
    wal->stats.bytes += wal->run_bytes;
    wal->live_bytes += wal->run_bytes;
    if (wal->run_bytes == 0) {
        return;
    }
    if (wal->n_segments == 0 || wal->segments[wal->n_segments - 1].number != wal->segment) {
        rf_assert(wal->n_segments < wal->cap_segments);
        wal->segments[wal->n_segments++] = (struct segment){.number = wal->segment};
    }
    rf_assert(wal->segments[wal->n_segments - 1].last_seq <= last_seq);
    wal->segments[wal->n_segments - 1].last_seq = last_seq;
    wal->segments[wal->n_segments - 1].bytes += wal->run_bytes;
}

struct rf_result rf_wal_end(struct rf_wal *wal)
{
    rf_assert(wal->writing_busy);
    wal->writing_busy = false;
    if (may_repeat(wal->run_result) && !wal->writing.mark) {
        wal->again = true;
        return rf_result(wal->run_result);
    }
    if (may_repeat(wal->run_result)) {
        wal->marked = true; /* a full disk has no room for marks: as if there was none */
        return rf_result(RF_OK);
    }
    if (wal->run_result != RF_OK) {
        wal->failure = wal->run_result;
        return rf_result(wal->run_result);
    }
    note_run(wal);
    return rf_result(RF_OK);
}

bool rf_wal_idle(const struct rf_wal *wal)
{
    return wal->open.n == 0;
}

bool rf_wal_syncing(const struct rf_wal *wal)
{
    return (wal->writing_busy || wal->again) && wal->sync;
}

uint64_t rf_wal_written_seq(const struct rf_wal *wal)
{
    return wal->written_seq;
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
                                           : wal->written_seq;
}

uint64_t rf_wal_next_seq(const struct rf_wal *wal)
{
    return wal->next_seq;
}

bool rf_wal_waits(const struct rf_wal *wal)
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
