/* The row cache: S88-S92, D18. A model test (never stale), the bound, and what scans do to it. */
#include "store_util.h"

#include "base/log.h"
#include "base/rng.h"
#include "sim/disk.h"
#include "storage/engine_private.h"

/* ---- Alone -------------------------------------------------------------------------------- */

static uint64_t token_of_number(uint64_t i)
{
    return rf_hash64(rf_slice((const uint8_t *)&i, sizeof(i)), 1);
}

/* As the store does: ask, and offer what was read. True: it was a hit. */
static bool touch(struct rf_row_cache *cache, uint64_t i, size_t value_size)
{
    uint8_t       value[4096] = {0};
    uint64_t      seq = 0;
    uint64_t      token = token_of_number(i);
    struct rf_row row = {.version = {i + 1, 1},
                         .key = rf_slice((const uint8_t *)&i, sizeof(i)),
                         .value = rf_slice(value, value_size)};
    struct rf_row got;
    if (rf_row_cache_get(cache, token, row.key, 0, &got, &seq)) {
        assert_int_equal(i + 1, got.version.hlc);
        assert_true(rf_slice_eq(got.key, row.key));
        return true;
    }
    struct rf_row copy;
    assert_rc_ok(rf_row_copy(&row, &copy));
    rf_row_cache_offer(cache, token, &copy, 0);
    rf_blob_drop(copy.blob);
    return false;
}

/* Goal: memory stays below its bound whatever the sizes are, and no row takes most of it. */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct rf_row_cache *cache = rf_row_cache_new(128 * 1024);
    struct rf_rng        rng = {.state = 4};
    for (unsigned i = 0; i < 50000; i++) {
        touch(cache, rf_rng_below(&rng, 3000), rf_rng_below(&rng, 3000));
        struct rf_row_cache_stats stats = rf_row_cache_stats(cache);
        assert_true(stats.bytes <= 128 * 1024 + 64 * 1024 / 8);
    }
    struct rf_row_cache_stats stats = rf_row_cache_stats(cache);
    assert_true(stats.hits != 0 && stats.evicted != 0 && stats.rows > 20);
    assert_int_equal(stats.rows, stats.admitted - stats.evicted - stats.removed);
    rf_row_cache_clear(cache);
    assert_int_equal(0, rf_row_cache_stats(cache).rows);
    rf_row_cache_free(cache);
}

/* Goal: S91: keys that are read once do not drive out those that are read again and again. Method: a
 * hot set that fills half of the cache, then a scan over 200 times as many keys with a hot read now and then. */
static void scans_do_not_thrash(void **state)
{
    (void)state;
    struct rf_row_cache *cache = rf_row_cache_new(512 * 1024);
    for (unsigned round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < 500; i++) {
            touch(cache, i, 300);
        }
    }
    uint64_t hits = 0, asked = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        touch(cache, 1000000 + i, 300);
        if (i % 10 == 0) {
            hits += touch(cache, i / 10 % 500, 300);
            asked++;
        }
    }
    assert_true(hits * 100 >= asked * 95);
    rf_row_cache_free(cache);
}

/* Goal: what is popular now comes in, although something else was popular for a long time. */
static void popularity_may_change(void **state)
{
    (void)state;
    struct rf_row_cache *cache = rf_row_cache_new(128 * 1024);
    for (unsigned i = 0; i < 100000; i++) {
        touch(cache, i % 250, 300);
    }
    uint64_t hits = 0;
    for (unsigned i = 0; i < 100000; i++) {
        bool hit = touch(cache, 10000 + i % 150, 300);
        hits += i >= 50000 && hit;
    }
    assert_true(hits * 100 >= 50000u * 90);
    rf_row_cache_free(cache);
}

/* ---- In the store: a model of the keys ---------------------------------------------------- */

#define N_KEYS 60u
#define SEEDS 12u

struct model {
    struct store_fixture base;
    struct rf_disk      *disk;
    struct rf_rng        rng;
    struct {
        uint64_t hlc, expiry_ms;
        uint8_t  flags;
        unsigned value;
    } keys[N_KEYS];
    uint64_t hlc, wall_ms, hits;
};

static struct rf_store *store_of(struct model *model)
{
    return rf_engine_store(model->base.engine, 0);
}

static void open_cached(struct model *model)
{
    struct rf_table_policy policy = {
        .id = TEST_TABLE, .bloom_bits_per_key = 10, .row_cache_bytes = 64 * 1024};
    assert_rc_ok(rf_engine_open(&model->base.config, &model->base.engine, &model->base.error));
    assert_rc_ok(rf_engine_add_table(model->base.engine, &policy));
    rf_store_set_time(store_of(model), model->wall_ms);
}

static void run_jobs(struct model *model)
{
    struct rf_job *job = NULL;
    while ((job = rf_store_job_begin(store_of(model))) != NULL) {
        while (!rf_job_step(job)) {
        }
        assert_rc_ok(rf_store_job_end(store_of(model), job));
    }
}

/* Carries an operation through the disk and the log, whatever it waits for. */
static struct rf_store_done carry_out(struct model *model, struct rf_store_op *op)
{
    struct rf_store_done done = {0};
    struct rf_store     *store = store_of(model);
    if (rf_ok(rf_lsm_ops.submit(store, op, &done))) {
        return done;
    }
    while (rf_lsm_ops.poll(store, &done, 1) == 0) {
        struct rf_cold_read *read = rf_store_cold_begin(store);
        if (read != NULL) {
            rf_cold_read_run(read);
            rf_store_cold_end(store, read);
        } else {
            assert_true(rf_store_log_begin(store));
            rf_store_log_run(store);
            rf_store_log_end(store);
        }
    }
    return done;
}

static struct rf_store_op op_on(unsigned k, const struct rf_row *row, enum rf_store_kind kind)
{
    char               key[16];
    struct rf_row      named = *row;
    struct rf_store_op op = {.kind = kind, .mode = RF_APPLY_MERGE, .table = TEST_TABLE};
    snprintf(key, sizeof(key), "key%u", k);
    named.key = rf_slice_str(key);
    op.token = token_of(key);
    assert_rc_ok(rf_row_copy(&named, &op.row));
    return op;
}

static void write_one(struct model *model)
{
    char          value[900];
    unsigned      k = (unsigned)rf_rng_below(&model->rng, N_KEYS);
    uint64_t      back = rf_rng_below(&model->rng, 3) == 0 ? rf_rng_below(&model->rng, 40) : 0;
    uint64_t      hlc = ++model->hlc > back + 1 ? model->hlc - back : model->hlc;
    unsigned      number = (unsigned)hlc;
    struct rf_row row = {.version = {hlc, 1}};
    memset(value, 'x', sizeof(value));
    snprintf(value, sizeof(value), "%u", number);
    row.value = rf_slice((const uint8_t *)value, sizeof(value));
    if (rf_rng_below(&model->rng, 4) == 0) {
        row.flags = RF_ROW_TOMBSTONE;
        row.value = rf_slice(NULL, 0);
    } else if (rf_rng_below(&model->rng, 3) == 0) {
        row.expiry_ms = model->wall_ms + 1 + rf_rng_below(&model->rng, 400);
    }
    if (hlc == model->keys[k].hlc) {
        return; /* one version has one content */
    }
    struct rf_store_op op = op_on(k, &row, RF_STORE_APPLY);
    assert_int_equal(RF_STORE_STORED, carry_out(model, &op).status);
    if (hlc > model->keys[k].hlc) {
        model->keys[k].hlc = hlc;
        model->keys[k].flags = row.flags;
        model->keys[k].expiry_ms = row.expiry_ms;
        model->keys[k].value = number;
    }
}

static void read_one(struct model *model)
{
    unsigned             k = (unsigned)(rf_rng_below(&model->rng, N_KEYS) % (N_KEYS / 2));
    struct rf_row        none = {0};
    struct rf_store_op   op = op_on(k, &none, RF_STORE_READ);
    struct rf_store_done done = carry_out(model, &op);
    if (model->keys[k].hlc == 0) {
        assert_int_equal(RF_STORE_ABSENT, done.status);
        return;
    }
    assert_int_equal(RF_STORE_FOUND, done.status);
    assert_int_equal(model->keys[k].hlc, done.row.version.hlc);
    bool live = model->keys[k].flags == 0 &&
                (model->keys[k].expiry_ms == 0 || model->keys[k].expiry_ms > model->wall_ms);
    assert_int_equal(live, rf_row_live(&done.row, model->wall_ms));
    if (live) {
        assert_int_equal(model->keys[k].value, (unsigned)atoi((const char *)done.row.value.data));
    }
    rf_blob_drop(done.row.blob);
}

static void disturb(struct model *model)
{
    switch (rf_rng_below(&model->rng, 60)) {
    case 0:
        rf_store_request_flush(store_of(model));
        run_jobs(model);
        break;
    case 1:
        rf_store_request_compaction(store_of(model));
        run_jobs(model);
        break;
    case 2:
        model->wall_ms += rf_rng_below(&model->rng, 300);
        rf_store_set_time(store_of(model), model->wall_ms);
        break;
    case 3:
        if (rf_rng_below(&model->rng, 6) == 0) {
            model->hits += rf_store_stats(store_of(model)).cache_hits;
            rf_engine_close(model->base.engine);
            open_cached(model);
        }
        break;
    default:
        break;
    }
}

/* Goal: D18: with the cache before everything, every read is what a plain map says. Method: random
 * writes (also late ones), deletes, expiry, flushes, merges, restarts, reads that find blocks cold. */
static void never_stale(void **state)
{
    (void)state;
    uint64_t hits = 0;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct model model = {.disk = rf_disk_new(seed), .rng.state = seed, .wall_ms = 1000};
        rf_disk_cold_one_in(model.disk, 3);
        model.base.config = small_config(rf_disk_fs(model.disk), "/node");
        open_cached(&model);
        for (unsigned i = 0; i < 2500; i++) {
            if (rf_rng_below(&model.rng, 4) == 0) {
                write_one(&model);
            } else {
                read_one(&model);
            }
            disturb(&model);
        }
        hits += model.hits + rf_store_stats(store_of(&model)).cache_hits;
        rf_engine_close(model.base.engine);
        rf_disk_free(model.disk);
    }
    assert_true(hits > 1000); /* or nothing was tested */
}

/* Goal: D5: a cached row that is not durable yet is not shown before it is. */
static void waits_for_the_sync(void **state)
{
    (void)state;
    struct model model = {.disk = rf_disk_new(1), .wall_ms = 1000};
    model.base.config = small_config(rf_disk_fs(model.disk), "/node");
    open_cached(&model);
    struct rf_store_done done;
    struct rf_row        row = row_of("k", 10, "v");
    assert_int_equal(RF_PENDING,
                     start_apply(store_of(&model), TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
    for (unsigned i = 0; i < 3; i++) {
        struct rf_store_op op = {.kind = RF_STORE_READ, .table = TEST_TABLE};
        op.token = token_of("k");
        assert_rc_ok(rf_row_copy(&row, &op.row));
        assert_int_equal(RF_PENDING, rf_lsm_ops.submit(store_of(&model), &op, &done).rc);
    }
    assert_int_equal(2, rf_store_stats(store_of(&model)).cache_hits);
    assert_true(rf_store_log_begin(store_of(&model)));
    rf_store_log_run(store_of(&model));
    rf_store_log_end(store_of(&model));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(1, rf_lsm_ops.poll(store_of(&model), &done, 1));
        rf_blob_drop(done.row.blob);
    }
    rf_engine_close(model.base.engine);
    rf_disk_free(model.disk);
}

/* Goal: S90: a hit touches nothing else, not the memtable and not a file. */
static void a_hit_touches_nothing(void **state)
{
    (void)state;
    struct model model = {.disk = rf_disk_new(1), .wall_ms = 1000};
    model.base.config = small_config(rf_disk_fs(model.disk), "/node");
    open_cached(&model);
    assert_int_equal(RF_STORE_STORED, put(store_of(&model), "k", 10, "v"));
    rf_store_request_flush(store_of(&model));
    run_jobs(&model);
    assert_value(store_of(&model), "k", "v");
    uint64_t              calls = rf_disk_calls(model.disk);
    struct rf_store_stats before = rf_store_stats(store_of(&model));
    assert_value(store_of(&model), "k", "v");
    struct rf_store_stats after = rf_store_stats(store_of(&model));
    assert_int_equal(calls, rf_disk_calls(model.disk));
    assert_int_equal(before.cache_hits + 1, after.cache_hits);
    assert_int_equal(before.files_asked, after.files_asked);
    assert_int_equal(before.memtable_hits, after.memtable_hits);
    rf_engine_close(model.base.engine);
    rf_disk_free(model.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_bounded),     cmocka_unit_test(scans_do_not_thrash),
        cmocka_unit_test(popularity_may_change), cmocka_unit_test(never_stale),
        cmocka_unit_test(waits_for_the_sync),    cmocka_unit_test(a_hit_touches_nothing),
    };
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
