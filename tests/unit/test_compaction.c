/* How merges are carried out: side by side in partitions of their own, split, within the disk's space,
 * pushed out as they go, and writers slowed down when they are behind: S53, S56, S63, S132, S141. */
#include "store_util.h"

#include "base/log.h"
#include "sim/disk.h"
#include "storage/sst_writer.h"

#define MIB (1024u * 1024)

/* A strategy that merges everything from `least` files on, split at `split` bytes; its score is set, 0: the number of files. */
static uint32_t least = 2, told_score;
static uint64_t split;
static bool     broken; /* names a file twice */

static int32_t pick(const struct rf_host *host, const void *options, const struct rf_run *runs,
                    uint32_t run_size, uint32_t n_runs, uint32_t *ret_inputs,
                    struct rf_plan *ret_plan)
{
    (void)host, (void)options, (void)run_size;
    for (uint32_t i = 0; i < n_runs; i++) {
        if (runs[i].busy == 0 && runs[i].level == 0) {
            ret_inputs[ret_plan->n_inputs++] = i;
        }
    }
    ret_plan->n_inputs = ret_plan->n_inputs < least ? 0 : ret_plan->n_inputs;
    if (broken) {
        ret_inputs[0] = ret_inputs[1] = 0;
        ret_plan->n_inputs = 2;
    }
    ret_plan->output_level = 1;
    ret_plan->output_max_bytes = split;
    return RF_PLUGIN_OK;
}

static int32_t score(const struct rf_host *host, const void *options, const struct rf_run *runs,
                     uint32_t run_size, uint32_t n_runs, uint32_t *ret_score)
{
    (void)host, (void)options, (void)runs, (void)run_size;
    *ret_score = told_score != 0 ? told_score : n_runs;
    return RF_PLUGIN_OK;
}

static const struct rf_compaction_ops strategy = {
    .size = sizeof(strategy), .pick = pick, .score = score};

struct place {
    struct rf_disk   *disk;
    struct rf_engine *engine;
    struct rf_store  *store;
    uint64_t          hlc;
};

static void open_place(struct place *place, uint32_t n_partitions, uint64_t memory_max)
{
    struct rf_engine_error  error;
    struct rf_engine_config config;
    struct rf_table_policy  policy = {.id = TEST_TABLE, .compaction = &strategy};
    least = 2;
    split = 0;
    told_score = 0;
    *place = (struct place){.disk = rf_disk_new(1), .hlc = 100};
    config = small_config(rf_disk_fs(place->disk), "/node");
    config.n_partitions = n_partitions;
    config.segment_max = 64 * MIB;
    config.memtable_total_max = memory_max;
    assert_rc_ok(rf_engine_open(&config, &place->engine, &error));
    assert_rc_ok(rf_engine_add_table(place->engine, &policy));
    place->store = rf_engine_store(place->engine, 0);
    rf_store_set_time(place->store, 1000000);
}

static void close_place(struct place *place)
{
    rf_engine_close(place->engine);
    rf_disk_free(place->disk);
}

static void run_log(struct place *place)
{
    struct rf_store_done done;
    if (rf_store_log_begin(place->store)) {
        rf_store_log_run(place->store);
        rf_store_log_end(place->store);
    }
    while (rf_lsm_ops.poll(place->store, &done, 1) != 0) {
        rf_blob_drop(done.row.blob);
    }
}

/* Keys n from `first`, values of `bytes`; the status of the last. */
static enum rf_store_status fill(struct place *place, unsigned first, unsigned n, size_t bytes)
{
    static char          value[65536];
    struct rf_store_done done = {.status = RF_STORE_STORED};
    assert_true(bytes <= sizeof(value));
    for (unsigned i = first; i < first + n && done.status == RF_STORE_STORED; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key%05u", i);
        memset(value, (int)('a' + i % 26), bytes);
        struct rf_row row = row_of(key, place->hlc++, "");
        row.value = rf_slice(value, bytes);
        (void)start_apply(place->store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc;
    }
    run_log(place);
    return done.status;
}

static void finish(struct place *place, struct rf_job *job)
{
    while (!rf_job_step(job)) {
    }
    assert_rc_ok(rf_store_job_end(place->store, job));
}

static void flush(struct place *place)
{
    rf_store_request_flush(place->store);
    while (rf_store_flush_wanted(place->store)) {
        struct rf_job *job = rf_store_job_begin(place->store);
        assert_non_null(job);
        finish(place, job);
    }
}

static void work(struct place *place)
{
    for (struct rf_job *job; (job = rf_store_job_begin(place->store)) != NULL;) {
        finish(place, job);
    }
}

/* Goal: two merges, a flush and a deletion are under way at a time, and no two in one partition; rows
 * are there all the time (S53, S56). Method: begin all that can begin, step them in turn. */
static void jobs_run_side_by_side(void **state)
{
    (void)state;
    struct place   place;
    struct rf_job *jobs[5] = {NULL};
    unsigned       n = 0;
    open_place(&place, 4, 0);
    least = 99;
    for (unsigned i = 0; i < 3; i++) {
        (void)fill(&place, 0, 400, 100);
        flush(&place);
    }
    work(&place);
    least = 2;
    rf_store_request_compaction(place.store);
    (void)fill(&place, 0, 400, 50);
    rf_store_request_flush(place.store);
    while (n < 5 && (jobs[n] = rf_store_job_begin(place.store)) != NULL) {
        n++;
    }
    assert_int_equal(3, n); /* a flush and two merges; nothing to delete yet */
    for (unsigned left = n; left != 0;) {
        for (unsigned i = 0; i < n; i++) {
            if (jobs[i] != NULL && rf_job_step(jobs[i])) {
                assert_rc_ok(rf_store_job_end(place.store, jobs[i]));
                jobs[i] = NULL;
                left--;
            }
        }
        struct rf_store_done done = read_key(place.store, TEST_TABLE, rf_slice_str("key00007"));
        assert_int_equal(50, done.row.value.size);
        rf_blob_drop(done.row.blob);
    }
    /* Merged files wait to be deleted: that does not wait for merges either. */
    n = 0;
    while (n < 5 && (jobs[n] = rf_store_job_begin(place.store)) != NULL) {
        n++;
    }
    assert_int_equal(4, n);
    for (unsigned i = 0; i < n; i++) {
        finish(&place, jobs[i]);
    }
    work(&place);
    assert_false(rf_store_compaction_wanted(place.store) || rf_store_flush_wanted(place.store));
    close_place(&place);
}

/* Goal: the part that is furthest behind is merged first. Method: partitions with 2, 4 and 3 files, and
 * the number of files as the score. */
static void furthest_behind_goes_first(void **state)
{
    (void)state;
    struct place          place;
    static const unsigned files[3] = {2, 4, 3};
    open_place(&place, 4, 0);
    least = 99;
    for (unsigned round = 0; round < 4; round++) {
        unsigned done = 0;
        for (unsigned i = 0; done != 7; i++) {
            char key[16];
            snprintf(key, sizeof(key), "key%05u", i);
            unsigned p = (unsigned)token_of(key) & 3;
            if (p < 3 && (done & 1u << p) == 0) {
                done |= 1u << p;
                (void)fill(&place, i, round < files[p] ? 1 : 0, 10);
            }
        }
        flush(&place);
    }
    work(&place);
    assert_int_equal(9, rf_store_stats(place.store).files);
    least = 2;
    rf_store_request_compaction(place.store); /* looks at all parts again, but as they are wanted */
    finish(&place, rf_store_job_begin(place.store));
    assert_int_equal(6, rf_store_stats(place.store).files);
    close_place(&place);
}

/* Goal: the store's score is the highest of its parts, and follows when that one goes down. */
static void score_follows_the_files(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, 1, 0);
    told_score = 700;
    (void)fill(&place, 0, 10, 10);
    flush(&place);
    assert_int_equal(0, rf_store_delay_us(place.store));
    told_score = 1700;
    (void)fill(&place, 0, 10, 10);
    flush(&place);
    assert_true(rf_store_delay_us(place.store) > 0);
    told_score = 10;
    work(&place);
    assert_int_equal(0, rf_store_delay_us(place.store));
    close_place(&place);
}

/* Goal: a merge is split into files of the size that the plan says, all rows are there (S59). */
static void merges_are_split(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, 1, 0);
    split = 20000;
    least = 1;
    (void)fill(&place, 0, 1000, 200);
    flush(&place);
    work(&place);
    struct rf_store_stats stats = rf_store_stats(place.store);
    assert_int_equal(1, stats.compactions);
    assert_in_range(stats.files, 10, 13);
    for (unsigned i = 0; i < 1000; i += 37) {
        char key[16];
        snprintf(key, sizeof(key), "key%05u", i);
        struct rf_store_done done = read_key(place.store, TEST_TABLE, rf_slice_str(key));
        assert_int_equal(200, done.row.value.size);
        rf_blob_drop(done.row.blob);
    }
    close_place(&place);
}

/* Goal: a merge that could not end does not begin, and one that runs keeps its space from others; when
 * it has ended, the next goes (S141). Method: room for one output, two merges. */
static void space_is_reserved(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, 2, 0);
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL); /* the refusal is what is wanted */
    least = 99;
    for (unsigned i = 0; i < 2; i++) {
        (void)fill(&place, 0, 400, 5000);
        flush(&place);
    }
    work(&place);
    uint64_t bytes = rf_store_stats(place.store).file_bytes;
    rf_disk_set_capacity(place.disk, rf_disk_used(place.disk) + bytes * 7 / 10);
    least = 2;
    rf_store_request_compaction(place.store);
    struct rf_job *first = rf_store_job_begin(place.store);
    struct rf_job *second = rf_store_job_begin(place.store);
    assert_non_null(first);
    assert_non_null(second);
    assert_false(rf_job_step(first)); /* each takes half of `bytes` */
    assert_true(rf_job_step(second));
    assert_rc(RF_DISK_RESERVE, rf_store_job_end(place.store, second));
    finish(&place, first);
    rf_store_set_time(place.store, 1010000);
    work(&place);
    assert_int_equal(2, rf_store_stats(place.store).files);
    assert_true(rf_store_stats(place.store).file_bytes < bytes * 6 / 10);
    rf_log_setup(RF_LOG_INFO, NULL);
    close_place(&place);
}

/* Goal: the delay grows smoothly with the score, from nothing at 1000 to its bound: no cliff (S132). */
static void delay_is_smooth(void **state)
{
    (void)state;
    struct place place;
    uint64_t     last = 0;
    open_place(&place, 1, 0);
    least = 1000;
    for (unsigned i = 0; i <= 60; i++) {
        told_score = 900 + i * 40;
        (void)fill(&place, i, 1, 10);
        flush(&place);
        uint64_t delay_us = rf_store_delay_us(place.store);
        assert_true(told_score > 1000 || delay_us == 0);
        assert_true(told_score <= 1040 || delay_us > 0);
        assert_true(delay_us >= last && delay_us - last < 12000);
        last = delay_us;
    }
    assert_int_equal(200000, last);
    told_score = UINT32_MAX;
    (void)fill(&place, 0, 1, 10);
    flush(&place);
    assert_int_equal(200000, rf_store_delay_us(place.store));
    close_place(&place);
}

/* Goal: a table whose strategy gives a wrong plan is not merged any more; when its files pile up, writers
 * are slowed down all the same (C6). */
static void broken_strategy_slows_in_the_end(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, 1, 0);
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL);
    broken = true;
    for (unsigned i = 0; i < 300; i++) {
        (void)fill(&place, i, 1, 10);
        flush(&place);
        work(&place);
        uint64_t delay_us = rf_store_delay_us(place.store);
        assert_true(i < 256 ? delay_us == 0 : i < 270 || delay_us > 0);
    }
    assert_int_equal(300, rf_store_stats(place.store).files);
    broken = false;
    rf_log_setup(RF_LOG_INFO, NULL);
    close_place(&place);
}

/* Goal: when flushes do not keep up, writers are slowed down long before they are refused. */
static void memory_slows_before_it_refuses(void **state)
{
    (void)state;
    struct place place;
    uint64_t     last = 0;
    unsigned     delayed = 0;
    open_place(&place, 16, 4 * MIB);
    unsigned i = 0;
    for (; fill(&place, i, 1, 2000) == RF_STORE_STORED; i++) {
        assert_true(i < 10000);
        uint64_t delay_us = rf_store_delay_us(place.store);
        assert_true(delay_us >= last && delay_us - last < 40000);
        delayed += delay_us != 0;
        last = delay_us;
    }
    assert_true(delayed > i / 4 && last > 50000);
    flush(&place);
    assert_int_equal(0, rf_store_delay_us(place.store));
    assert_int_equal(RF_STORE_STORED, fill(&place, i, 1, 2000));
    close_place(&place);
}

/* ---- Pushing out -------------------------------------------------------------------------- */

static const struct rf_fs_ops *disk_ops;
static uint64_t                pushed_to, written_to, n_pushes, most_left;

static struct rf_result count_push(void *context, struct rf_file file, uint64_t offset,
                                   uint64_t size)
{
    n_pushes++;
    assert_int_equal(pushed_to, offset);
    pushed_to = offset + size;
    return disk_ops->push_out(context, file, offset, size);
}

static struct rf_result count_write(void *context, struct rf_file file, struct rf_slice bytes,
                                    uint64_t offset)
{
    written_to = offset + bytes.size;
    uint64_t left = written_to - pushed_to;
    most_left = left > most_left ? left : most_left;
    return disk_ops->pwrite(context, file, bytes, offset);
}

/* Goal: a table file is pushed out every MiB, so that its last sync finds little (S132). */
static void output_is_pushed_out(void **state)
{
    (void)state;
    struct rf_disk       *disk = rf_disk_new(1);
    struct rf_fs          fs = rf_disk_fs(disk);
    struct rf_fs_ops      ops = *fs.ops;
    struct rf_sst_options options = {.file = 1, .table = TEST_TABLE};
    struct rf_sst_writer *writer = NULL;
    struct rf_sst_info    info;
    char                  value[4000];
    disk_ops = fs.ops;
    ops.push_out = count_push;
    ops.pwrite = count_write;
    fs.ops = &ops;
    memset(value, 'v', sizeof(value));
    assert_rc_ok(rf_sst_writer_new(fs, "/t.sst", &options, &writer));
    for (unsigned i = 0; i < 2000; i++) {
        struct rf_row row = row_of("key", 100, "");
        row.value = rf_slice(value, sizeof(value));
        assert_rc_ok(rf_sst_writer_add(writer, i, &row));
    }
    assert_rc_ok(rf_sst_writer_finish(writer, &info));
    rf_sst_writer_free(writer);
    assert_in_range(n_pushes, 6, 8);
    assert_true(most_left < 3 * MIB / 2);
    rf_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_side_by_side),
        cmocka_unit_test(furthest_behind_goes_first),
        cmocka_unit_test(score_follows_the_files),
        cmocka_unit_test(merges_are_split),
        cmocka_unit_test(space_is_reserved),
        cmocka_unit_test(delay_is_smooth),
        cmocka_unit_test(broken_strategy_slows_in_the_end),
        cmocka_unit_test(memory_slows_before_it_refuses),
        cmocka_unit_test(output_is_pushed_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
