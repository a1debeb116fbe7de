/* The store against a reference, on a disk that loses what it may: S28, S30, S31, S39, S52, S55, S59,
 * S60, S62, S68, D1, D2, D5, D7, D15.
 *
 * Method: random operations, flushes, compactions, power cuts and kills between any two calls of the
 * disk, reopens with another number of shards. A row's content follows from its key and version, so
 * the reference only keeps, per key, the highest acknowledged version and all that were ever offered:
 *
 *  - a read gives the highest version offered in this life or, after a crash, one that is at least as
 *    high as the highest acknowledged one, and never anything else; while calls of the disk fail (one
 *    life in four) it may also say that it could not;
 *  - what a read has shown counts as acknowledged;
 *  - with `interval` a power cut may take what was acknowledged after the last but one interval, with
 *    `none` anything since the start; a kill takes nothing.
 *
 * RINGFORT_SEED=n runs one seed; a failure prints its seed. */
#include "store_util.h"

#include "base/log.h"
#include "base/rng.h"
#include "sim/disk.h"

#define N_KEYS 24u
#define N_TABLES 2u
#define OFFERED_MAX 400u

struct reference {
    uint64_t acked;
    uint64_t settled; /* of what was acknowledged, what no power cut may take any more */
    uint64_t newest;  /* highest offered that is surely in the store: in this life */
    uint64_t offered[OFFERED_MAX];
    uint32_t n_offered;
};

struct model {
    uint64_t                seed;
    struct rf_rng           rng;
    struct rf_disk         *disk;
    struct rf_engine_config config;
    struct rf_engine       *engine;
    uint64_t                clock; /* last version */
    uint64_t                wall_ms;
    struct rf_job          *jobs[3][4]; /* per store */
    bool                    faulty;     /* calls of the disk fail now and then in this life */
    enum rf_sync_mode       sync;       /* of the users' table (D5) */
    uint64_t                mono_us;
    struct reference        keys[N_TABLES][N_KEYS];
    uint64_t                crashes, flushes, compactions, deleted;
};

static const uint64_t tables[N_TABLES] = {TEST_TABLE, RF_TABLE_HINTS};

#define demand(model, condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail_msg("seed %llu: %s (line %d)", (unsigned long long)(model)->seed, #condition,     \
                     __LINE__);                                                                    \
        }                                                                                          \
    } while (0)

static uint64_t below(struct model *model, uint64_t n)
{
    return rf_rng_below(&model->rng, n);
}

/* Are answers that say "I could not" fine? */
static bool may_fail(const struct model *model)
{
    return model->faulty || rf_disk_stopped(model->disk);
}

/* ---- Rows: a function of key and version -------------------------------------------------- */

static void name_key(unsigned key, char text[16])
{
    snprintf(text, 16, "key%u", key);
}

static struct rf_row make_row(const char *key, uint64_t hlc, char value[512])
{
    struct rf_row row = row_of(key, hlc, "");
    size_t        n = hlc * 37 % 300;
    memset(value, (int)('a' + hlc % 26), n);
    row.value = rf_slice(value, n);
    row.expiry_ms = hlc % 5 == 0 ? hlc + 40 : 0;
    if (hlc % 7 == 0) {
        row.flags = RF_ROW_TOMBSTONE;
        row.value.size = 0;
    }
    return row;
}

static bool is_dead(const struct model *model, const struct rf_row *row)
{
    return row->flags != 0 || (row->expiry_ms != 0 && row->expiry_ms <= model->wall_ms);
}

static void check_content(struct model *model, const char *key, const struct rf_row *row)
{
    char          value[512];
    struct rf_row made = make_row(key, row->version.hlc, value);
    demand(model, rf_slice_eq(row->key, made.key));
    demand(model, row->expiry_ms == made.expiry_ms);
    if (row->flags == RF_ROW_MARKER) {
        demand(model, made.flags == 0 && is_dead(model, &made) && row->value.size == 0);
        return;
    }
    demand(model, row->flags == made.flags);
    demand(model, rf_slice_eq(row->value, made.value));
}

/* ---- The strategy under test -------------------------------------------------------------- */

static int32_t pick(const struct rf_host *host, const void *options, const struct rf_run *runs,
                    uint32_t run_size, uint32_t n_runs, uint32_t *ret_inputs,
                    struct rf_plan *ret_plan)
{
    (void)host;
    (void)options;
    assert_int_equal(sizeof(*runs), run_size);
    for (uint32_t i = 0; n_runs >= 3 && i < n_runs; i++) {
        if (runs[i].busy == 0 && (runs[i].id % 5 != 0 || n_runs > 6)) {
            ret_inputs[ret_plan->n_inputs++] = i;
        }
    }
    ret_plan->output_max_bytes = 1500;
    return RF_PLUGIN_OK;
}

static const struct rf_compaction_ops strategy = {.size = sizeof(strategy), .pick = pick};

/* ---- Life --------------------------------------------------------------------------------- */

static void open_model(struct model *model)
{
    struct rf_engine_error error;
    struct rf_table_policy policy = {.id = TEST_TABLE,
                                     .compaction = &strategy,
                                     .sync = model->sync,
                                     .sync_interval_ms = 10,
                                     .bloom_bits_per_key = (uint32_t)(model->seed % 3) * 5,
                                     .lz4 = model->seed % 2 == 0};
    model->config.n_shards = 1 + (uint32_t)below(model, 3);
    struct rf_result opened = rf_engine_open(&model->config, &model->engine, &error);
    if (!rf_ok(opened)) {
        fail_msg("seed %llu: %s", (unsigned long long)model->seed, error.text);
    }
    struct rf_recovery found = rf_engine_recovery(model->engine);
    demand(model, found.damaged_segments == 0);
    demand(model, found.damaged_files == 0 && found.quarantined_partitions == 0);
    model->deleted += found.deleted_files;
    assert_rc_ok(rf_engine_add_table(model->engine, &policy));
}

static void close_model(struct model *model)
{
    for (uint32_t s = 0; s < model->config.n_shards; s++) {
        struct rf_store *store = rf_engine_store(model->engine, s);
        for (int j = 0; j < 4; j++) {
            if (model->jobs[s][j] != NULL) {
                (void)rf_store_job_end(store, model->jobs[s][j]).rc;
                model->jobs[s][j] = NULL;
            }
        }
        model->flushes += rf_store_stats(store).flushes;
        model->compactions += rf_store_stats(store).compactions;
    }
    rf_engine_close(model->engine);
}

static void reopen_model(struct model *model, bool power_cut)
{
    close_model(model);
    model->crashes++;
    if (power_cut) {
        rf_disk_crash(model->disk);
    } else {
        rf_disk_kill(model->disk);
    }
    for (unsigned t = 0; t < N_TABLES; t++) {
        for (unsigned k = 0; k < N_KEYS; k++) {
            struct reference *reference = &model->keys[t][k];
            if (power_cut && t == 0 && model->sync != RF_SYNC_GROUP) {
                reference->acked = reference->settled;
            }
            reference->newest = reference->acked;
        }
    }
    open_model(model);
}

/* ---- Operations --------------------------------------------------------------------------- */

static struct rf_store *store_of(struct model *model, const char *key)
{
    return rf_engine_store(model->engine, rf_engine_shard_of(model->engine, token_of(key)));
}

/* A tag names table, key and version, so that a completion finds its reference. */
static void take_done(struct model *model, const struct rf_store_done *done)
{
    if (done->kind == RF_STORE_APPLY && done->status == RF_STORE_STORED) {
        struct reference *reference = &model->keys[done->tag >> 8 & 1][done->tag & 0xff];
        uint64_t          hlc = done->tag >> 16;
        reference->acked = hlc > reference->acked ? hlc : reference->acked;
    }
}

static void run_log(struct model *model, struct rf_store *store)
{
    struct rf_store_done done;
    rf_store_set_log_time(store, model->mono_us);
    if (rf_store_log_begin(store)) {
        rf_store_log_run(store);
        rf_store_log_end(store);
    }
    while (rf_lsm_ops.poll(store, &done, 1) != 0) {
        take_done(model, &done);
        rf_blob_drop(done.row.blob);
    }
}

/* An interval goes by: what was acknowledged before it no power cut may take. */
static void pass_interval(struct model *model)
{
    struct reference before[N_KEYS];
    memcpy(before, model->keys[0], sizeof(before));
    model->mono_us += 10000;
    for (uint32_t s = 0; s < model->config.n_shards; s++) {
        struct rf_store *store = rf_engine_store(model->engine, s);
        run_log(model, store);
        if (rf_store_read_only(store)) {
            return; /* the sync was not to be had */
        }
    }
    for (unsigned k = 0; k < N_KEYS && model->sync == RF_SYNC_INTERVAL; k++) {
        model->keys[0][k].settled = before[k].acked;
    }
}

static void do_apply(struct model *model)
{
    unsigned          t = (unsigned)below(model, N_TABLES);
    unsigned          k = (unsigned)below(model, N_KEYS);
    struct reference *reference = &model->keys[t][k];
    char              key[16], value[512];
    /* Users' rows may come late; the node's own never do. */
    uint64_t hlc = t == 0 && below(model, 4) == 0 ? 1 + below(model, model->clock) : ++model->clock;
    if (reference->n_offered == OFFERED_MAX) {
        return;
    }
    name_key(k, key);
    struct rf_store_done done;
    struct rf_row        row = make_row(key, hlc, value);
    struct rf_store_op   op = {.kind = RF_STORE_APPLY,
                               .mode =
                                 below(model, 2) == 0 ? RF_APPLY_MERGE : RF_APPLY_REFUSE_IF_NEWER,
                               .tag = hlc << 16 | (uint64_t)t << 8 | k,
                               .table = tables[t],
                               .token = token_of(key)};
    assert_rc_ok(rf_row_copy(&row, &op.row));
    reference->offered[reference->n_offered++] = hlc;
    struct rf_store *store = store_of(model, key);
    struct rf_result result = rf_lsm_ops.submit(store, &op, &done);
    if (rf_ok(result) && done.status == RF_STORE_NEWER) {
        demand(model, op.mode == RF_APPLY_REFUSE_IF_NEWER && done.row.version.hlc > hlc);
        return;
    }
    if (rf_ok(result)) {
        take_done(model, &done);
    }
    if (result.rc == RF_PENDING || done.status == RF_STORE_STORED) {
        reference->newest = hlc > reference->newest ? hlc : reference->newest;
    }
}

static void check_read(struct model *model, unsigned t, unsigned k)
{
    struct reference *reference = &model->keys[t][k];
    char              key[16], value[512];
    name_key(k, key);
    struct rf_store *store = store_of(model, key);
    run_log(model, store);
    struct rf_store_done done = read_key(store, tables[t], rf_slice_str(key));
    uint64_t             hlc = done.row.version.hlc;
    if (done.status == RF_STORE_FAILED || done.status == RF_STORE_CANNOT_SAY) {
        demand(model, may_fail(model));
        return;
    }
    if (done.status == RF_STORE_ABSENT) {
        struct rf_row newest = make_row(key, reference->acked, value);
        bool          gone = tables[t] == RF_TABLE_HINTS && is_dead(model, &newest);
        demand(model, reference->acked == 0 || gone);
        return;
    }
    bool offered = false;
    for (uint32_t i = 0; i < reference->n_offered; i++) {
        offered = offered || reference->offered[i] == hlc;
    }
    demand(model, done.status == RF_STORE_FOUND && offered);
    demand(model, hlc >= reference->acked && hlc >= reference->newest);
    check_content(model, key, &done.row);
    reference->acked = hlc;
    reference->newest = hlc;
    rf_blob_drop(done.row.blob);
}

/* A scan gives the same rows as reads do, each once, in order. */
static void check_scan(struct model *model, unsigned t, uint32_t partition)
{
    struct rf_store_done done = {.more = true};
    struct rf_store_op   op = {.kind = RF_STORE_SCAN,
                               .table = tables[t],
                               .partition = partition,
                               .token_last = UINT64_MAX,
                               .max_bytes = 700};
    struct rf_store *store = rf_engine_store(model->engine, rf_engine_op_shard(model->engine, &op));
    uint64_t         last = 0;
    run_log(model, store);
    while (done.more) {
        assert_rc_ok(rf_lsm_ops.submit(store, &op, &done));
        if (done.status != RF_STORE_FOUND) {
            demand(model, done.status == RF_STORE_ABSENT || may_fail(model));
            break;
        }
        struct rf_slice rows = done.row.value;
        struct rf_row   row = {0};
        while (rows.size != 0) {
            char key[16];
            demand(model, rf_ok(rf_row_decode(&rows, &row)));
            memcpy(key, row.key.data, row.key.size);
            key[row.key.size] = 0;
            demand(model, token_of(key) > last);
            last = token_of(key);
            check_content(model, key, &row);
            demand(model, row.version.hlc >= model->keys[t][atoi(key + 3)].acked);
        }
        op.token = done.token;
        rf_blob_drop(op.row.blob);
        assert_rc_ok(rf_row_copy(&row, &op.row));
        rf_blob_drop(done.row.blob);
        done.row.blob = NULL;
    }
    rf_blob_drop(op.row.blob);
}

static void do_job(struct model *model)
{
    uint32_t         s = (uint32_t)below(model, model->config.n_shards);
    struct rf_store *store = rf_engine_store(model->engine, s);
    unsigned         j = (unsigned)below(model, 4);
    rf_store_set_time(store, model->wall_ms);
    if (model->jobs[s][j] == NULL) {
        model->jobs[s][j] = rf_store_job_begin(store);
        return;
    }
    if (rf_job_step(model->jobs[s][j])) {
        struct rf_result ended = rf_store_job_end(store, model->jobs[s][j]);
        demand(model, rf_ok(ended) || may_fail(model));
        model->jobs[s][j] = NULL;
    }
}

static void do_something(struct model *model)
{
    uint32_t         s = (uint32_t)below(model, model->config.n_shards);
    struct rf_store *store = rf_engine_store(model->engine, s);
    uint64_t         wall_ms = model->clock + below(model, 50);
    model->wall_ms = wall_ms > model->wall_ms ? wall_ms : model->wall_ms;
    model->mono_us += below(model, 3000);
    switch (below(model, 21)) {
    case 20:
        pass_interval(model);
        break;
    case 0:
        rf_store_request_flush(store);
        break;
    case 1:
        rf_store_request_compaction(store);
        break;
    case 2:
        check_scan(model, (unsigned)below(model, N_TABLES), (uint32_t)below(model, 4));
        break;
    case 3:
    case 4:
        check_read(model, (unsigned)below(model, N_TABLES), (unsigned)below(model, N_KEYS));
        break;
    case 5:
    case 6:
        run_log(model, store);
        break;
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
    case 12:
        do_job(model);
        break;
    default:
        do_apply(model);
        break;
    }
}

static void run_seed(uint64_t seed, struct model *sum)
{
    struct model *model = calloc(1, sizeof(*model));
    model->seed = seed;
    model->rng.state = seed * 77;
    model->clock = 100;
    model->mono_us = 1000000;
    model->sync = seed % 4 == 3 ? RF_SYNC_INTERVAL : seed % 8 == 1 ? RF_SYNC_NONE : RF_SYNC_GROUP;
    model->disk = rf_disk_new(seed);
    model->config = small_config(rf_disk_fs(model->disk), "/node");
    model->config.segment_max = 1024;
    model->config.wal_allocate = seed % 3 == 0 ? 0 : 700;
    model->config.memtable_max = 6000;
    model->config.memtable_total_max = 30000;
    model->config.wal_max = 12000;
    open_model(model);
    for (unsigned life = 0; life < 6; life++) {
        model->faulty = below(model, 4) == 0;
        rf_disk_stop_after(model->disk, 1 + below(model, 250));
        rf_disk_fail_one_in(model->disk, model->faulty ? 20 + below(model, 60) : 0);
        for (unsigned i = 0; i < 150 && !rf_disk_stopped(model->disk); i++) {
            do_something(model);
        }
        rf_disk_fail_one_in(model->disk, 0);
        /* After a failed sync the page cache lies: only a power cut shows what is on disk. */
        bool power_cut = model->faulty || below(model, 4) != 0;
        model->faulty = false;
        reopen_model(model, power_cut);
        for (unsigned k = 0; k < N_TABLES * N_KEYS; k++) {
            check_read(model, k % N_TABLES, k / N_TABLES);
        }
        for (uint32_t p = 0; p < 4; p++) {
            check_scan(model, 0, p);
        }
    }
    close_model(model);
    sum->crashes += model->crashes;
    sum->flushes += model->flushes;
    sum->compactions += model->compactions;
    sum->deleted += model->deleted;
    rf_disk_free(model->disk);
    free(model);
}

static void random_runs(void **state)
{
    (void)state;
    struct model sum = {0};
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL); /* failed jobs are what is wanted */
    const char *one = getenv("RINGFORT_SEED");
    const char *many = getenv("RINGFORT_SEEDS");
    uint64_t    first = one == NULL ? 1 : strtoull(one, NULL, 10);
    uint64_t    n = one != NULL ? 1 : many == NULL ? 300 : strtoull(many, NULL, 10);
    for (uint64_t seed = first; seed < first + n; seed++) {
        run_seed(seed, &sum);
    }
    printf("%llu seeds: %llu crashes, %llu flushes, %llu compactions, %llu files of crashed jobs\n",
           (unsigned long long)n, (unsigned long long)sum.crashes, (unsigned long long)sum.flushes,
           (unsigned long long)sum.compactions, (unsigned long long)sum.deleted);
    assert_true(n < 100 || (sum.flushes > n && sum.compactions > n / 10 && sum.deleted != 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
