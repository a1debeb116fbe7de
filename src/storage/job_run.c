/* What the steps of a job do: merge rows into new files, commit them, delete what is not needed.
 * Runs on any thread; the partition belongs to the job until its end. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "storage/job_private.h"
#include "storage/purge.h"

#define STEP_BYTES (1024u * 1024) /* of rows handled by one step */

/* ---- Space -------------------------------------------------------------------------------- */

/* Is less free than a merge needs? It may use the reserve. */
static bool is_short_of_space(const struct rf_job *job, uint64_t needed)
{
    const struct rf_engine_config *config = &job->engine->config;
    uint64_t                       free_bytes = 0;
    uint64_t                       total = 0;
    if (!rf_ok(config->fs.ops->free_space(config->fs.context, config->dir, &free_bytes, &total))) {
        return false; /* not known: writing will tell */
    }
    return free_bytes < needed;
}

/* Takes the space for the output before anything is written, so that jobs at the same time do not
 * count on the same bytes. What a job has written is not reserved any more: it shows as used. */
static struct rf_result reserve_space(struct rf_job *job, uint64_t needed)
{
    uint64_t others = atomic_fetch_add(&job->engine->reserved, needed);
    job->reserved = needed;
    return rf_result(is_short_of_space(job, others + needed) ? RF_DISK_RESERVE : RF_OK);
}

void rf_job_release_space(struct rf_job *job, uint64_t keep)
{
    if (job->reserved > keep) {
        atomic_fetch_sub(&job->engine->reserved, job->reserved - keep);
        job->reserved = keep;
    }
}

static void release_written(struct rf_job *job)
{
    uint64_t written =
        job->out_bytes + (job->writer == NULL ? 0 : rf_sst_writer_bytes(job->writer));
    rf_job_release_space(job, job->in_bytes > written ? job->in_bytes - written : 0);
}

/* ---- Start -------------------------------------------------------------------------------- */

static struct rf_result start(struct rf_job *job)
{
    struct rf_slice none = rf_slice(NULL, 0);
    rf_assert(job->engine->partitions[job->partition].busy);
    rf_assert((job->kind == RF_JOB_FLUSH) == (job->n_inputs == 0));
    if (job->drop) {
        job->phase = RF_PHASE_COMMIT;
        return rf_result(RF_OK);
    }
    RF_TRY(rf_partition_make_dir(job->engine, job->partition));
    RF_TRY(rf_merge_init(&job->merge, job->n_inputs + 1, &job->policy));
    if (job->kind == RF_JOB_FLUSH) {
        rf_merge_add_memtable(&job->merge, job->part->frozen, 0, none);
    }
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        job->in_bytes += rf_sst_info(job->inputs[i]->sst)->file_size;
        RF_TRY(rf_merge_add_sst(&job->merge, job->inputs[i]->sst, 0, none, false));
    }
    if (job->in_bytes != 0) {
        RF_TRY(reserve_space(job, job->in_bytes)); /* a merge that cannot end does not begin */
    }
    rf_merge_start(&job->merge);
    job->phase = RF_PHASE_WRITE;
    return rf_result(RF_OK);
}

/* ---- Rows --------------------------------------------------------------------------------- */

static bool is_input(const struct rf_job *job, const struct rf_data_file *file)
{
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        if (job->inputs[i] == file) {
            return true;
        }
    }
    return false;
}

/* May a file that is not among the inputs hold the key? @param below only files with older versions
 * that never expire count; 0: all do. */
static bool is_elsewhere(const struct rf_job *job, uint64_t token, struct rf_slice key,
                         uint64_t below)
{
    for (uint32_t i = 0; i < job->part->n_files; i++) {
        const struct rf_data_file *file = job->part->files[i];
        const struct rf_sst_info  *info = rf_sst_info(file->sst);
        bool counts = below == 0 || (info->min_hlc < below && rf_purge_immortal_rows(info) != 0);
        if (counts && !is_input(job, file) && rf_sst_may_hold(file->sst, token, key)) {
            return true;
        }
    }
    return false;
}

static bool may_leave_out(const struct rf_job *job, uint64_t token, const struct rf_row *row)
{
    if (job->keeps_all || !rf_row_is_dead(row, job->wall_ms)) {
        return false;
    }
    if (rf_purge_row(&job->policy, row, job->wall_ms)) {
        return !is_elsewhere(job, token, row->key, row->version.hlc);
    }
    return job->may_drop && !is_elsewhere(job, token, row->key, 0);
}

/* An expired value goes, its marker stays (D2). False: the whole row can be left out. */
static bool prepare_row(struct rf_job *job, uint64_t token, struct rf_row *row)
{
    if (may_leave_out(job, token, row)) {
        job->dropped++;
        return false;
    }
    if (row->flags == 0 && rf_row_is_dead(row, job->wall_ms)) {
        row->flags = RF_ROW_MARKER;
        row->value = rf_slice(NULL, 0);
        job->expired++;
    }
    return true;
}

static struct rf_result open_output(struct rf_job *job)
{
    char                path[RF_MANIFEST_PATH];
    struct rf_manifest *manifest = &job->engine->partitions[job->partition].manifest;
    rf_assert(job->writer == NULL);
    rf_assert(manifest->next_file >> 48 == job->partition);
    job->writing = manifest->next_file++;
    struct rf_sst_options options = {
        .file = job->writing,
        .table = job->policy.id,
        .partition = job->partition,
        .level = job->output_level,
        .codec = job->policy.lz4 ? RF_SST_LZ4 : RF_SST_NONE,
        .bloom_bits_per_key = job->policy.bloom_bits_per_key,
        .bloom_seed = job->engine->identity.node ^ job->writing,
    };
    rf_manifest_sst_path(manifest, job->writing, path);
    return rf_sst_writer_new(job->engine->config.fs, path, &options, &job->writer);
}

/* Finishes the open file and opens it for reading: every file is read back before it counts. */
static struct rf_result close_output(struct rf_job *job)
{
    char               path[RF_MANIFEST_PATH];
    struct rf_sst     *sst = NULL;
    struct rf_sst_info info;
    if (job->writer == NULL) {
        return rf_result(RF_OK);
    }
    rf_assert(job->writing != 0);
    RF_TRY(rf_sst_writer_finish(job->writer, &info));
    rf_manifest_sst_path(&job->engine->partitions[job->partition].manifest, job->writing, path);
    RF_TRY(rf_sst_open(job->engine->config.fs, path, job->writing, &sst));
    struct rf_data_file *file = rf_sst_filter_damaged(sst) ? NULL : rf_data_file_new(sst);
    if (file == NULL) {
        struct rf_result why = rf_result(rf_sst_filter_damaged(sst) ? RF_CORRUPT : RF_NO_MEMORY);
        rf_sst_close(sst);
        return why;
    }
    rf_assert(job->n_outputs < job->max_outputs);
    job->outputs[job->n_outputs++] = file;
    job->out_bytes += info.file_size;
    rf_sst_writer_free(job->writer);
    job->writer = NULL;
    job->writing = 0;
    return rf_result(RF_OK);
}

static struct rf_result write_row(struct rf_job *job)
{
    struct rf_row row = job->merge.row;
    if (!prepare_row(job, job->merge.token, &row)) {
        return rf_result(RF_OK);
    }
    bool full = job->writer != NULL && job->output_max_bytes != 0 &&
                job->n_outputs + 1 < job->max_outputs &&
                rf_sst_writer_bytes(job->writer) >= job->output_max_bytes;
    if (full) {
        RF_TRY(close_output(job));
    }
    if (job->writer == NULL) {
        RF_TRY(open_output(job));
    }
    job->rows++;
    return rf_sst_writer_add(job->writer, job->merge.token, &row);
}

static struct rf_result write_some(struct rf_job *job)
{
    size_t bytes = 0;
    while (!job->merge.end && bytes < STEP_BYTES) {
        bytes += rf_row_size(&job->merge.row);
        RF_TRY(write_row(job));
        RF_TRY(rf_merge_next(&job->merge));
    }
    release_written(job);
    job->bytes += bytes;
    if (job->merge.end) {
        RF_TRY(close_output(job));
        job->phase = RF_PHASE_COMMIT;
    }
    return rf_result(RF_OK);
}

/* ---- Commit ------------------------------------------------------------------------------- */

/* Files, then their names, then the manifest are durable; only then may what they replace go (D15,
 * S55). */
static struct rf_result commit(struct rf_job *job)
{
    struct rf_partition *partition = &job->engine->partitions[job->partition];
    struct rf_fs         fs = job->engine->config.fs;
    uint32_t             n = job->n_outputs + job->n_inputs;
    rf_assert(job->writer == NULL);
    rf_assert(job->merge.end);
    job->phase = RF_PHASE_DONE;
    if (n == 0) {
        return rf_result(RF_OK);
    }
    struct rf_edit *edits = RF_NEW_ARRAY(struct rf_edit, n);
    if (edits == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        edits[i] = rf_edit_of(rf_sst_info(job->outputs[i]->sst));
    }
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        edits[job->n_outputs + i] =
            (struct rf_edit){.kind = RF_EDIT_REMOVE, .file = job->inputs[i]->number};
    }
    struct rf_result result = fs.ops->sync_dir(fs.context, partition->manifest.dir);
    if (rf_ok(result)) {
        job->commit_tried = true;
        result = rf_manifest_commit(fs, &partition->manifest, edits, n);
    }
    rf_mem_free(edits);
    return result;
}

/* Puts damages on record. */
static struct rf_result record(struct rf_job *job)
{
    struct rf_partition *partition = &job->engine->partitions[job->partition];
    struct rf_edit       edits[RF_RECORD_MAX];
    rf_assert(job->n_damages >= 1 && job->n_damages <= RF_RECORD_MAX);
    for (uint32_t i = 0; i < job->n_damages; i++) {
        const struct rf_damage *damage = &job->damages[i];
        edits[i] = (struct rf_edit){.kind = RF_EDIT_DAMAGE,
                                    .file = damage->file,
                                    .table = job->policy.id,
                                    .first_token = damage->first_token,
                                    .last_token = damage->last_token,
                                    .max_hlc = damage->max_hlc,
                                    .damage = damage->id};
    }
    job->phase = RF_PHASE_DONE;
    return rf_manifest_commit(job->engine->config.fs, &partition->manifest, edits, job->n_damages);
}

/* ---- Deletion ----------------------------------------------------------------------------- */

/* Out of the way of recovery, but not gone. The generation makes the name the only one: numbers begin
 * anew when a log is empty. */
static struct rf_result put_aside(struct rf_job *job, const char *dir, const char *name,
                                  const char *path)
{
    char         aside[RF_PATH_SIZE + RF_WAL_NAME_SIZE + 64];
    struct rf_fs fs = job->engine->config.fs;
    snprintf(aside, sizeof(aside), "%s.%llu.damaged", path,
             (unsigned long long)job->engine->identity.generation);
    struct rf_result moved = fs.ops->rename(fs.context, path, aside);
    if (!rf_ok(moved) && moved.rc != RF_NOT_FOUND) {
        return moved;
    }
    rf_log(RF_LOG_WARN, "wal_put_aside",
           "file=%s.%llu.damaged dir=%s text=\"a damaged segment of the log is kept and not read "
           "again; delete it when the replica is repaired from its peers\"",
           name, (unsigned long long)job->engine->identity.generation, dir);
    return fs.ops->sync_dir(fs.context, dir);
}

static struct rf_result remove_segment(struct rf_job *job, const char *name, bool damaged)
{
    char         path[RF_PATH_SIZE + RF_WAL_NAME_SIZE + 8];
    char         dir[RF_PATH_SIZE + 8];
    struct rf_fs fs = job->engine->config.fs;
    snprintf(dir, sizeof(dir), "%s/wal", job->engine->config.dir);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (damaged) {
        return put_aside(job, dir, name, path);
    }
    struct rf_result gone = fs.ops->unlink(fs.context, path);
    if (!rf_ok(gone) && gone.rc != RF_NOT_FOUND) {
        return gone;
    }
    /* One after the other, so that after a crash no older segment is left without a newer one. */
    return fs.ops->sync_dir(fs.context, dir);
}

static struct rf_result trim_one(struct rf_job *job, bool *ret_more)
{
    struct rf_trim   *trim = &job->trim;
    struct rf_engine *engine = job->engine;
    struct rf_fs      fs = engine->config.fs;
    uint32_t          at = trim->done++;
    uint32_t          n_old = trim->old ? engine->n_old_segments : 0;
    rf_assert(trim->n_garbage <= RF_TRIM_MAX && trim->n_segments <= RF_TRIM_MAX);
    *ret_more = trim->done < trim->n_garbage + n_old + trim->n_segments;
    if (at < trim->n_garbage) {
        char                     path[RF_MANIFEST_PATH];
        const struct rf_garbage *item = &trim->garbage[at];
        rf_manifest_sst_path(&engine->partitions[item->partition].manifest, item->file, path);
        (void)fs.ops->unlink(fs.context, path).rc; /* a failure leaves it for the next start */
        return rf_result(RF_OK);
    }
    at -= trim->n_garbage;
    if (at < n_old) {
        return remove_segment(job, engine->old_segments[at].name, engine->old_segments[at].damaged);
    }
    at -= n_old;
    if (at < trim->n_segments) {
        char name[RF_WAL_NAME_SIZE];
        rf_wal_segment_name(job->store->shard, trim->segments[at], name);
        return remove_segment(job, name, false);
    }
    return rf_result(RF_OK);
}

static struct rf_result trim_some(struct rf_job *job)
{
    bool more = false;
    RF_TRY(trim_one(job, &more));
    job->phase = more ? RF_PHASE_START : RF_PHASE_DONE;
    return rf_result(RF_OK);
}

/* ---- One step ----------------------------------------------------------------------------- */

bool rf_job_is_merge(const struct rf_job *job)
{
    return job->kind == RF_JOB_COMPACT && !job->drop;
}

uint64_t rf_job_merged_bytes(const struct rf_job *job)
{
    return rf_job_is_merge(job) ? job->bytes : 0;
}

bool rf_job_step(struct rf_job *job)
{
    rf_assert(job->phase != RF_PHASE_DONE);
    rf_assert(rf_ok(job->result));
    if (job->kind == RF_JOB_TRIM) {
        job->result = trim_some(job);
    } else if (job->kind == RF_JOB_RECORD) {
        job->result = record(job);
    } else if (job->phase == RF_PHASE_START) {
        job->result = start(job);
    } else if (job->phase == RF_PHASE_WRITE) {
        job->result = write_some(job);
    } else {
        job->result = commit(job);
    }
    if (!rf_ok(job->result)) {
        job->phase = RF_PHASE_DONE;
    }
    rf_space_measure(
        job->engine); /* what was written may have been much, and so what was deleted */
    return job->phase == RF_PHASE_DONE;
}
