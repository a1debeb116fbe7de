/* Background jobs: which is due, and what its end changes. Runs on the owner thread. */
#include "base/log.h"
#include "base/mem.h"
#include "storage/job_private.h"

#define RETRY_MS 1000u       /* after a failed job */
#define OUTPUTS_MAX 4096u    /* files that one merge is split into */
#define PURGE_CHECK_MS 5000u /* how often files are looked at for what has expired */

void rf_store_set_time(struct rf_store *store, uint64_t wall_ms)
{
    store->wall_ms = wall_ms;
}

static struct rf_job *new_job(struct rf_store *store, enum rf_job_kind kind)
{
    struct rf_job *job = RF_NEW(struct rf_job);
    if (job != NULL) {
        job->kind = kind;
        job->store = store;
        job->engine = store->engine;
        job->wall_ms = store->wall_ms;
        job->merge.end = true;
    }
    return job;
}

static void free_job(struct rf_job *job)
{
    rf_job_release_space(job, 0);
    rf_merge_fini(&job->merge);
    rf_sst_writer_free(job->writer);
    rf_mem_free(job->inputs);
    rf_mem_free(job->outputs);
    rf_mem_free(job);
}

/* A job that writes to a part; NULL without memory. */
static struct rf_job *new_part_job(struct rf_store *store, enum rf_job_kind kind,
                                   const struct rf_store_table *table, uint32_t partition,
                                   uint32_t n_inputs, uint32_t max_outputs)
{
    struct rf_job *job = new_job(store, kind);
    if (job == NULL) {
        return NULL;
    }
    job->part = &table->parts[partition];
    job->partition = partition;
    job->policy = table->policy;
    job->keeps_all = job->part->n_damages != 0;
    /* No log that a crash would replay may hold an older row without the one that is left out: the
     * segments of earlier runs are gone, and everything logged in this run is durable. */
    job->may_drop = table->id == RF_TABLE_HINTS && atomic_load(&store->engine->old_gone) &&
                    rf_wal_durable_seq(store->wal) + 1 == rf_wal_next_seq(store->wal);
    job->n_inputs = n_inputs;
    job->max_outputs = max_outputs;
    job->inputs = RF_NEW_ARRAY(struct rf_data_file *, n_inputs + 1);
    job->outputs = RF_NEW_ARRAY(struct rf_data_file *, max_outputs);
    if (job->inputs == NULL || job->outputs == NULL ||
        !rf_ok(rf_part_reserve(job->part, max_outputs))) {
        free_job(job);
        return NULL;
    }
    return job;
}

/* ---- How far behind -----------------------------------------------------------------------  */

/* After the part's files have changed: asks the strategy how far it is behind now. */
static void update_score(struct rf_store *store, struct rf_store_table *table, struct rf_part *part)
{
    uint32_t old = part->score;
    part->score = rf_compaction_score(table, part, store->wall_ms);
    if (part->score >= store->score) {
        store->score = part->score;
        return;
    }
    if (old < store->score) {
        return;
    }
    store->score = 0; /* it was the highest: look for the one that is now */
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < store->engine->identity.n_partitions;
             p += store->engine->config.n_shards) {
            uint32_t score = store->tables[t].parts[p].score;
            store->score = score > store->score ? score : store->score;
        }
    }
}

/* ---- Flush -------------------------------------------------------------------------------- */

static bool flush_is_due(const struct rf_store *store, const struct rf_part *part,
                         uint32_t partition)
{
    return !store->engine->partitions[partition].busy &&
           (part->frozen != NULL || (part->want_flush && part->active != NULL));
}

static struct rf_job *begin_flush_of(struct rf_store *store, struct rf_store_table *table,
                                     uint32_t partition)
{
    struct rf_part *part = &table->parts[partition];
    rf_assert(!store->flushing);
    rf_assert(!store->engine->partitions[partition].busy);
    struct rf_job *job = new_part_job(store, RF_JOB_FLUSH, table, partition, 0, 1);
    if (job == NULL) {
        return NULL;
    }
    if (part->frozen == NULL) {
        rf_assert(part->active != NULL);
        rf_assert(table->active_bytes >= rf_memtable_bytes(part->active));
        table->active_bytes -= rf_memtable_bytes(part->active);
        part->frozen = part->active;
        part->frozen_recovered = part->active_recovered;
        part->active = NULL;
        part->active_recovered = false;
        part->want_flush = false;
    }
    store->engine->partitions[partition].busy = true;
    store->flushing = true;
    return job;
}

static struct rf_job *begin_flush(struct rf_store *store)
{
    const struct rf_engine *engine = store->engine;
    if (!store->flush_due || store->flushing || store->wall_ms < store->retry_at_ms) {
        return NULL;
    }
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < engine->identity.n_partitions;
             p += engine->config.n_shards) {
            if (flush_is_due(store, &store->tables[t].parts[p], p)) {
                return begin_flush_of(store, &store->tables[t], p);
            }
        }
    }
    store->flush_due = rf_store_flush_wanted(store); /* what is left waits for its partition */
    return NULL;
}

static void end_flush(struct rf_store *store, struct rf_job *job)
{
    struct rf_part *part = job->part;
    rf_assert(part->frozen != NULL);
    rf_assert(job->n_outputs <= 1);
    rf_assert(store->memory >= rf_memtable_bytes(part->frozen));
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        rf_part_insert(part, job->outputs[i]);
    }
    job->n_outputs = 0;
    store->memory -= rf_memtable_bytes(part->frozen);
    rf_memtable_free(part->frozen);
    part->frozen = NULL;
    if (part->frozen_recovered) {
        part->frozen_recovered = false;
        store->trim_old = atomic_fetch_sub(&store->engine->old_pins, 1) == 1 || store->trim_old;
    }
    store->trim_due = true;
    store->compaction_due = true;
    store->stats.flushes++;
    store->stats.flushed_rows += job->rows;
    store->stats.flushed_bytes += job->out_bytes;
}

/* ---- Compaction --------------------------------------------------------------------------- */

/* Files that the merge may be split into. */
static uint32_t max_outputs_of(const struct rf_part *part, const struct rf_compaction *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->n; i++) {
        rf_assert(plan->inputs[i] < part->n_files);
        bytes += rf_sst_info(part->files[plan->inputs[i]]->sst)->file_size;
    }
    uint64_t n = plan->output_max_bytes == 0 ? 1 : bytes / plan->output_max_bytes + 2;
    return n < OUTPUTS_MAX ? (uint32_t)n : OUTPUTS_MAX;
}

static struct rf_job *begin_compaction_of(struct rf_store *store, struct rf_store_table *table,
                                          uint32_t partition)
{
    struct rf_part      *part = &table->parts[partition];
    struct rf_compaction plan;
    part->check_compaction = false;
    update_score(store, table, part);
    if (!rf_compaction_pick(table, part, store->wall_ms, &plan)) {
        part->want_major = false;
        return NULL;
    }
    struct rf_job *job =
        new_part_job(store, RF_JOB_COMPACT, table, partition, plan.n, max_outputs_of(part, &plan));
    if (job == NULL) {
        part->check_compaction = true;
        return NULL;
    }
    part->want_major = part->want_major && plan.drop; /* comes after it */
    job->drop = plan.drop;
    job->output_level = plan.output_level;
    job->output_max_bytes = plan.output_max_bytes;
    for (uint32_t i = 0; i < plan.n; i++) {
        job->inputs[i] = part->files[plan.inputs[i]];
        rf_assert(!job->inputs[i]->busy);
        job->inputs[i]->busy = true;
    }
    store->engine->partitions[partition].busy = true;
    store->merges++;
    return job;
}

/* Time alone makes work, too: parts with something that expires are looked at now and then. */
static void check_ages(struct rf_store *store)
{
    const struct rf_engine *engine = store->engine;
    if (store->wall_ms < store->purge_at_ms) {
        return;
    }
    store->purge_at_ms = store->wall_ms + PURGE_CHECK_MS;
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < engine->identity.n_partitions;
             p += engine->config.n_shards) {
            struct rf_part *part = &store->tables[t].parts[p];
            if (rf_compaction_ages(&store->tables[t], part)) {
                part->check_compaction = true;
                store->compaction_due = true;
            }
        }
    }
}

/* The part whose merge is wanted most: asked for by an operator, else the one that is furthest behind.
 * NULL: none that could begin. */
static struct rf_part *most_wanted(const struct rf_store *store, struct rf_store_table **ret_table,
                                   uint32_t *ret_partition)
{
    const struct rf_engine *engine = store->engine;
    struct rf_part         *best = NULL;
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < engine->identity.n_partitions;
             p += engine->config.n_shards) {
            struct rf_part *part = &store->tables[t].parts[p];
            bool due = (part->check_compaction || part->want_major) && !engine->partitions[p].busy;
            if (due && (best == NULL || (part->want_major && !best->want_major) ||
                        (part->want_major == best->want_major && part->score > best->score))) {
                best = part;
                *ret_table = &store->tables[t];
                *ret_partition = p;
            }
        }
    }
    return best;
}

static struct rf_job *begin_compaction(struct rf_store *store)
{
    struct rf_store_table *table = NULL;
    uint32_t               partition = 0;
    check_ages(store);
    if (!store->compaction_due || store->merges == RF_MERGES_MAX ||
        store->wall_ms < store->merge_retry_at_ms) {
        return NULL;
    }
    for (struct rf_part *part; (part = most_wanted(store, &table, &partition)) != NULL;) {
        struct rf_job *job = begin_compaction_of(store, table, partition);
        if (job != NULL || part->check_compaction) {
            return job; /* or no memory: not again in this turn */
        }
    }
    store->compaction_due = false; /* the end of a job in a part that is busy makes it due again */
    return NULL;
}

static void add_garbage(struct rf_store *store, uint32_t partition, uint64_t file)
{
    if (store->n_garbage == store->cap_garbage) {
        uint32_t           cap = store->cap_garbage == 0 ? 64 : store->cap_garbage * 2;
        struct rf_garbage *grown =
            cap > RF_GARBAGE_MAX ? NULL : rf_mem_realloc(store->garbage, sizeof(*grown) * cap);
        if (grown == NULL) {
            return; /* the next start deletes it */
        }
        store->garbage = grown;
        store->cap_garbage = cap;
    }
    store->garbage[store->n_garbage++] = (struct rf_garbage){partition, file};
    store->trim_due = true;
}

static bool part_has_room(const struct rf_job *job)
{
    return job->part->n_files + job->n_outputs <= job->part->cap_files;
}

static void end_compaction(struct rf_store *store, struct rf_job *job)
{
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        add_garbage(store, job->partition, job->inputs[i]->number);
        rf_part_remove(job->part, job->inputs[i]);
    }
    rf_merge_fini(&job->merge); /* reads the inputs */
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        rf_data_file_drop(job->inputs[i]);
    }
    store->stats.dropped_files += job->drop ? job->n_inputs : 0;
    job->n_inputs = 0;
    rf_assert(part_has_room(job));
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        rf_part_insert(job->part, job->outputs[i]);
    }
    job->n_outputs = 0;
    store->compaction_due = true;
    job->part->check_compaction = true;
    store->stats.compactions += !job->drop;
    store->stats.compacted_in_bytes += job->in_bytes;
    store->stats.compacted_out_bytes += job->out_bytes;
}

/* ---- Deletion ----------------------------------------------------------------------------- */

static struct rf_job *begin_trim(struct rf_store *store)
{
    /* Once a second a job without work looks how full the disk is: others fill it and make room, too. */
    bool look = store->shard == 0 && store->engine->config.disk_reserve != 0 &&
                store->wall_ms >= store->space_at_ms;
    if ((!store->trim_due && !look) || store->trimming) {
        return NULL;
    }
    store->space_at_ms = store->wall_ms + RETRY_MS;
    store->trim_due = false;
    struct rf_job *job = new_job(store, RF_JOB_TRIM);
    if (job == NULL) {
        return NULL;
    }
    struct rf_trim *trim = &job->trim;
    while (store->n_garbage != 0 && trim->n_garbage < RF_TRIM_MAX) {
        trim->garbage[trim->n_garbage++] = store->garbage[--store->n_garbage];
    }
    if (!store->trim_failed) {
        uint64_t pinned = rf_store_pinned_seq(store);
        trim->old = store->trim_old;
        /* Segments go in order: those of earlier runs first. */
        while (atomic_load(&store->engine->old_gone) && trim->n_segments < RF_TRIM_MAX &&
               rf_wal_unneeded(store->wal, pinned, trim->n_segments,
                               &trim->segments[trim->n_segments])) {
            trim->n_segments++;
        }
    }
    if (trim->n_garbage == 0 && !trim->old && trim->n_segments == 0 && !look) {
        free_job(job);
        return NULL;
    }
    store->trimming = true;
    return job;
}

static void end_trim(struct rf_store *store, struct rf_job *job, bool done)
{
    if (!done) {
        store->trim_failed = true; /* what is left is sorted out at the next start */
        return;
    }
    if (job->trim.old) {
        store->trim_old = false;
        atomic_store(&store->engine->old_bytes, 0);
        atomic_store(&store->engine->old_gone, true);
    }
    rf_wal_forget(store->wal, job->trim.n_segments);
    store->trim_due = store->n_garbage != 0 || job->trim.old || job->trim.n_segments != 0;
}

/* ---- Damages ------------------------------------------------------------------------------ */

static struct rf_job *begin_record_of(struct rf_store *store, struct rf_store_table *table,
                                      uint32_t partition)
{
    struct rf_part *part = &table->parts[partition];
    struct rf_job  *job = new_part_job(store, RF_JOB_RECORD, table, partition, 0, 1);
    for (uint32_t i = 0; job != NULL && i < part->n_damages; i++) {
        if (!part->damages[i].recorded && job->n_damages < RF_RECORD_MAX) {
            job->damages[job->n_damages++] = part->damages[i];
        }
    }
    if (job != NULL) {
        store->engine->partitions[partition].busy = true;
        store->recording = true;
    }
    return job;
}

static bool has_unrecorded(const struct rf_part *part)
{
    bool found = false;
    for (uint32_t i = 0; i < part->n_damages; i++) {
        found = found || !part->damages[i].recorded;
    }
    return found;
}

static struct rf_job *begin_record(struct rf_store *store)
{
    const struct rf_engine *engine = store->engine;
    bool                    left = false;
    if (!store->damage_due || store->recording || store->wall_ms < store->retry_at_ms) {
        return NULL;
    }
    for (uint32_t t = 0; t < store->n_tables; t++) {
        for (uint32_t p = store->shard; p < engine->identity.n_partitions;
             p += engine->config.n_shards) {
            if (!has_unrecorded(&store->tables[t].parts[p])) {
                continue;
            }
            left = true;
            if (!engine->partitions[p].busy) {
                return begin_record_of(store, &store->tables[t], p);
            }
        }
    }
    store->damage_due = left;
    return NULL;
}

static void end_record(struct rf_store *store, struct rf_job *job, bool done)
{
    store->engine->partitions[job->partition].busy = false;
    for (uint32_t i = 0; done && i < job->n_damages; i++) {
        for (uint32_t j = 0; j < job->part->n_damages; j++) {
            struct rf_damage *damage = &job->part->damages[j];
            damage->recorded = damage->recorded || damage->id == job->damages[i].id;
        }
    }
    store->retry_at_ms = done ? store->retry_at_ms : store->wall_ms + RETRY_MS;
    store->compaction_due = true; /* a merge may have waited for the partition */
}

/* ---- Begin and end ------------------------------------------------------------------------ */

/* The disk becomes full: flushed memtables let the log go, which may be most of what is on a small
 * disk. */
static void flush_when_full(struct rf_store *store)
{
    bool full = rf_space_is_full(store->engine);
    atomic_store_explicit(&store->unflushed, store->memory, memory_order_relaxed);
    if (full && !store->was_full) {
        rf_store_request_flush(store);
    }
    store->was_full = full;
}

struct rf_job *rf_store_job_begin(struct rf_store *store)
{
    rf_assert(store->magic == RF_STORE_MAGIC);
    if (store->stats.read_only != 0) {
        return NULL; /* nothing is acknowledged any more, nothing must change */
    }
    flush_when_full(store);
    struct rf_job *job = begin_record(store);
    if (job == NULL) {
        job = begin_flush(store);
    }
    if (job == NULL) {
        job = begin_trim(store);
    }
    if (job == NULL) {
        job = begin_compaction(store);
    }
    return job;
}

/* Takes back what a job without a result has made. Whether files of a failed commit are on record
 * is open, so they stay; the next start knows. */
static void undo(struct rf_store *store, struct rf_job *job)
{
    uint32_t input = 0;
    uint64_t block = 0;
    if (job->result.rc == RF_CORRUPT && rf_merge_failed(&job->merge, &input, &block) &&
        input < job->n_inputs) {
        rf_damage_note_block(store, rf_store_table_of(store, job->policy.id), job->partition,
                             job->inputs[input], block);
    }
    rf_merge_fini(&job->merge);
    for (uint32_t i = 0; i < job->n_outputs; i++) {
        if (!job->commit_tried) {
            add_garbage(store, job->partition, job->outputs[i]->number);
        }
        rf_data_file_drop(job->outputs[i]);
    }
    job->n_outputs = 0;
    if (job->writing != 0) {
        add_garbage(store, job->partition, job->writing);
    }
    for (uint32_t i = 0; i < job->n_inputs; i++) {
        job->inputs[i]->busy = false;
    }
    store->flush_due = true;
    store->compaction_due = true;
    job->part->check_compaction = true;
    if (job->kind == RF_JOB_COMPACT) {
        store->merge_retry_at_ms = store->wall_ms + RETRY_MS; /* it keeps no flush waiting */
    } else {
        store->retry_at_ms = store->wall_ms + RETRY_MS;
    }
}

static void end_part_job(struct rf_store *store, struct rf_job *job, bool done)
{
    rf_assert(store->engine->partitions[job->partition].busy);
    store->engine->partitions[job->partition].busy = false;
    store->stats.dropped_rows += done ? job->dropped : 0;
    store->stats.expired_values += done ? job->expired : 0;
    if (!done) {
        undo(store, job);
    } else if (job->kind == RF_JOB_FLUSH) {
        end_flush(store, job);
    } else {
        end_compaction(store, job);
    }
    update_score(store, rf_store_table_of(store, job->policy.id), job->part);
}

struct rf_result rf_store_job_end(struct rf_store *store, struct rf_job *job)
{
    rf_assert(job->store == store);
    rf_assert(job->kind != RF_JOB_FLUSH || store->flushing);
    rf_assert(job->kind != RF_JOB_COMPACT || store->merges != 0);
    rf_assert(job->kind != RF_JOB_TRIM || store->trimming);
    bool             finished = job->phase == RF_PHASE_DONE;
    bool             done = finished && rf_ok(job->result);
    struct rf_result result = finished ? job->result : rf_result(RF_CONFLICT);
    store->flushing = store->flushing && job->kind != RF_JOB_FLUSH;
    store->merges -= job->kind == RF_JOB_COMPACT;
    store->trimming = store->trimming && job->kind != RF_JOB_TRIM;
    store->recording = store->recording && job->kind != RF_JOB_RECORD;
    store->stats.failed_jobs += finished && !done;
    bool told = (store->no_space & RF_SPACE_FLUSH) != 0 && job->result.rc == RF_DISK_RESERVE;
    if (finished && !done && !told) {
        rf_log(RF_LOG_ERROR, "job_failed", "shard=%u kind=%s partition=%u text=\"%s\"",
               store->shard,
               job->kind == RF_JOB_FLUSH     ? "flush"
               : job->kind == RF_JOB_COMPACT ? "compaction"
               : job->kind == RF_JOB_TRIM    ? "deletion"
                                             : "recording a damage",
               job->partition, rf_rc_text(job->result.rc));
    }
    if (finished && job->kind == RF_JOB_FLUSH) {
        rf_space_found_none(store, RF_SPACE_FLUSH, job->result.rc == RF_DISK_RESERVE);
    }
    if (job->kind == RF_JOB_TRIM) {
        end_trim(store, job, done);
    } else if (job->kind == RF_JOB_RECORD) {
        end_record(store, job, done);
    } else {
        end_part_job(store, job, done);
    }
    free_job(job);
    return result;
}
