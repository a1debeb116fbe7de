/* Reads of the disk never happen on the owner's thread, and a key's operations keep their order while
 * it is read: S82, D1, D7. The file system says "not in memory" to every read that must not wait and
 * demands that no other read of a table file is made by the owner's calls. */
#include "store_util.h"

#include "io/fs_posix.h"
#include "storage/engine_private.h"

struct cold {
    struct store_fixture base;
    struct rf_fs_ops     ops;
    bool                 owner; /* the owner's calls run: they must not read */
    bool                 warm;
    unsigned             refused;
};

static struct rf_result watched_pread(void *context, struct rf_file file, void *to, size_t size,
                                      uint64_t offset)
{
    struct cold *cold = context;
    assert_false(cold->owner);
    return rf_fs_posix().ops->pread(NULL, file, to, size, offset);
}

static struct rf_result cold_pread(void *context, struct rf_file file, void *to, size_t size,
                                   uint64_t offset)
{
    struct cold *cold = context;
    cold->refused++;
    return cold->warm ? rf_fs_posix().ops->pread(NULL, file, to, size, offset)
                      : rf_result(RF_PENDING);
}

static struct rf_store *store_of(struct cold *cold)
{
    return rf_engine_store(cold->base.engine, 0);
}

static void flush_all(struct rf_store *store)
{
    rf_store_set_time(store, 1000);
    rf_store_request_flush(store);
    while (rf_store_flush_wanted(store)) {
        struct rf_job *job = rf_store_job_begin(store);
        assert_non_null(job);
        while (!rf_job_step(job)) {
        }
        assert_rc_ok(rf_store_job_end(store, job));
    }
}

static int set_up(void **state)
{
    struct cold *cold = calloc(1, sizeof(*cold));
    make_temp_dir(cold->base.dir);
    cold->ops = *rf_fs_posix().ops;
    cold->ops.pread = watched_pread;
    cold->ops.pread_cached = cold_pread;
    cold->base.config = small_config((struct rf_fs){&cold->ops, cold}, cold->base.dir);
    open_engine(&cold->base);
    *state = cold;
    return 0;
}

static int tear_down(void **state)
{
    struct cold *cold = *state;
    rf_engine_close(cold->base.engine);
    remove_temp_dir(cold->base.dir);
    free(cold);
    return 0;
}

/* ---- The owner's calls -------------------------------------------------------------------- */

static struct rf_result submit(struct cold *cold, struct rf_store_op *op,
                               struct rf_store_done *done)
{
    cold->owner = true;
    struct rf_result result = rf_lsm_ops.submit(store_of(cold), op, done);
    cold->owner = false;
    return result;
}

static struct rf_result submit_read(struct cold *cold, const char *key, uint64_t tag,
                                    struct rf_store_done *done)
{
    struct rf_row      row = {.key = rf_slice_str(key)};
    struct rf_store_op op = {
        .kind = RF_STORE_READ, .tag = tag, .table = TEST_TABLE, .token = token_of(key)};
    assert_rc_ok(rf_row_copy(&row, &op.row));
    return submit(cold, &op, done);
}

static struct rf_result submit_apply(struct cold *cold, const char *key, uint64_t hlc,
                                     const char *value, uint64_t tag, struct rf_store_done *done)
{
    struct rf_row      row = row_of(key, hlc, value);
    struct rf_store_op op = {.kind = RF_STORE_APPLY,
                             .mode = RF_APPLY_REFUSE_IF_NEWER,
                             .tag = tag,
                             .table = TEST_TABLE,
                             .token = token_of(key)};
    assert_rc_ok(rf_row_copy(&row, &op.row));
    return submit(cold, &op, done);
}

/* Runs the next read of the disk; false when there is none. */
static bool run_read(struct cold *cold)
{
    struct rf_cold_read *read = rf_store_cold_begin(store_of(cold));
    if (read == NULL) {
        return false;
    }
    rf_cold_read_run(read);
    cold->owner = true;
    rf_store_cold_end(store_of(cold), read);
    cold->owner = false;
    return true;
}

static void sync_log(struct cold *cold)
{
    if (rf_store_log_begin(store_of(cold))) {
        rf_store_log_run(store_of(cold));
        rf_store_log_end(store_of(cold));
    }
}

static struct rf_store_done take_done(struct cold *cold)
{
    struct rf_store_done done = {0};
    assert_int_equal(1, rf_lsm_ops.poll(store_of(cold), &done, 1));
    return done;
}

static void expect(struct cold *cold, uint64_t tag, enum rf_store_status status, const char *value)
{
    struct rf_store_done done = take_done(cold);
    assert_int_equal(tag, done.tag);
    assert_int_equal(status, done.status);
    if (value != NULL) {
        assert_slice(done.row.value, value);
    }
    rf_blob_drop(done.row.blob);
}

static void store_flushed(struct cold *cold, const char *key, uint64_t hlc, const char *value)
{
    cold->warm = true;
    assert_int_equal(RF_STORE_STORED, put(store_of(cold), key, hlc, value));
    cold->warm = false;
    flush_all(store_of(cold));
}

/* ---- Tests -------------------------------------------------------------------------------- */

/* Goal: the newest of several files is found, absent is absent, and only `run` reads. */
static void reads_of_files(void **state)
{
    struct cold         *cold = *state;
    struct rf_store_done done;
    store_flushed(cold, "k", 10, "old");
    store_flushed(cold, "k", 30, "new");
    store_flushed(cold, "k", 20, "late");
    assert_int_equal(RF_PENDING, submit_read(cold, "k", 1, &done).rc);
    assert_int_equal(0, rf_lsm_ops.poll(store_of(cold), &done, 1));
    assert_true(run_read(cold));
    assert_false(run_read(cold));
    expect(cold, 1, RF_STORE_FOUND, "new");
    /* What only a memtable holds needs no disk; what is nowhere is told by bounds and filters. */
    assert_int_equal(RF_PENDING, submit_apply(cold, "m", 99, "memory", 2, &done).rc);
    sync_log(cold);
    expect(cold, 2, RF_STORE_STORED, NULL);
    assert_rc_ok(submit_read(cold, "m", 3, &done));
    assert_int_equal(RF_STORE_FOUND, done.status);
    rf_blob_drop(done.row.blob);
    assert_int_equal(1, rf_store_stats(store_of(cold)).cold_reads);
}

/* Goal: while a key is read, its later operations wait and then see each other's effects in order;
 * other keys do not wait (D7: the older write is refused, with the version that it lost against). */
static void operations_keep_their_order(void **state)
{
    struct cold         *cold = *state;
    struct rf_store_done done;
    store_flushed(cold, "k", 20, "first");
    assert_int_equal(RF_PENDING, submit_read(cold, "k", 1, &done).rc);
    assert_int_equal(RF_PENDING, submit_apply(cold, "k", 30, "second", 2, &done).rc);
    assert_int_equal(RF_PENDING, submit_apply(cold, "k", 25, "late", 3, &done).rc);
    assert_int_equal(RF_PENDING, submit_read(cold, "k", 4, &done).rc);
    assert_int_equal(RF_PENDING, submit_apply(cold, "other", 5, "v", 5, &done).rc);
    sync_log(cold);
    expect(cold, 5, RF_STORE_STORED, NULL);
    assert_true(run_read(cold));
    assert_false(run_read(cold)); /* the rest met the memtable */
    expect(cold, 1, RF_STORE_FOUND, "first");
    expect(cold, 3, RF_STORE_NEWER, NULL); /* known at once; the others wait for the sync */
    sync_log(cold);
    expect(cold, 2, RF_STORE_STORED, NULL);
    expect(cold, 4, RF_STORE_FOUND, "second");
    assert_int_equal(3, rf_store_stats(store_of(cold)).cold_waits);
}

/* Goal: a write that must know the old version waits for the disk and is then refused (D7). */
static void old_writes_ask_the_disk(void **state)
{
    struct cold         *cold = *state;
    struct rf_store_done done;
    store_flushed(cold, "k", 20, "v");
    assert_int_equal(RF_PENDING, submit_apply(cold, "k", 10, "old", 1, &done).rc);
    assert_true(run_read(cold));
    done = take_done(cold);
    assert_int_equal(RF_STORE_NEWER, done.status);
    assert_int_equal(20, done.row.version.hlc);
    /* One that is newer than all files does not. */
    assert_int_equal(RF_PENDING, submit_apply(cold, "k", 21, "new", 2, &done).rc);
    assert_false(run_read(cold));
    sync_log(cold);
    expect(cold, 2, RF_STORE_STORED, NULL);
}

/* Goal: the files of a read stay open while a merge replaces and deletes them, and the row that a
 * memtable had outlives its flush. */
static void files_stay_open(void **state)
{
    struct cold         *cold = *state;
    struct rf_store_done done;
    store_flushed(cold, "k", 10, "one");
    store_flushed(cold, "k", 30, "three");
    cold->warm = true;
    assert_int_equal(RF_STORE_STORED, put(store_of(cold), "k", 20, "two"));
    cold->warm = false;
    assert_int_equal(RF_PENDING, submit_read(cold, "k", 1, &done).rc);
    struct rf_cold_read *read = rf_store_cold_begin(store_of(cold));
    assert_non_null(read);
    flush_all(store_of(cold));
    rf_store_request_compaction(store_of(cold));
    struct rf_job *job = NULL;
    while ((job = rf_store_job_begin(store_of(cold))) != NULL) {
        while (!rf_job_step(job)) {
        }
        assert_rc_ok(rf_store_job_end(store_of(cold), job));
    }
    assert_int_equal(1, rf_store_stats(store_of(cold)).files);
    rf_cold_read_run(read);
    rf_store_cold_end(store_of(cold), read);
    expect(cold, 1, RF_STORE_FOUND, "three");
}

/* Goal: too many operations that wait are an answer, not growth; all that were taken are answered,
 * and what was not begun is let go at the end. */
static void waiting_has_a_limit(void **state)
{
    struct cold         *cold = *state;
    struct rf_store_done done;
    store_flushed(cold, "k", 20, "v");
    for (unsigned i = 0; i < RF_COLD_MAX; i++) {
        assert_int_equal(RF_PENDING, submit_read(cold, "k", i, &done).rc);
    }
    assert_rc_ok(submit_read(cold, "k", 7777, &done));
    assert_int_equal(RF_STORE_FAILED, done.status);
    cold->warm = true;
    assert_true(run_read(cold));
    for (unsigned i = 0; i < RF_COLD_MAX; i++) {
        expect(cold, i, RF_STORE_FOUND, "v");
    }
    cold->warm = false;
    assert_int_equal(RF_PENDING, submit_read(cold, "k", 1, &done).rc);
    assert_int_equal(RF_PENDING, submit_read(cold, "k", 2, &done).rc);
}

/* Goal: a scan gives the same rows cold as warm, in every size of answer, while memtables are flushed
 * under it. */
static void scans(void **state)
{
    struct cold *cold = *state;
    char         key[16];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "%u", i % 200);
        assert_int_equal(RF_STORE_STORED, put(store_of(cold), key, 10 + i, "some value"));
        if (i % 90 == 89) {
            flush_all(store_of(cold));
        }
    }
    for (uint32_t max = 1; max < 20000; max = max * 5 + 1) {
        unsigned seen = 0;
        for (uint32_t partition = 0; partition < 4; partition++) {
            struct rf_store_op   next = {.kind = RF_STORE_SCAN,
                                         .table = TEST_TABLE,
                                         .token_last = UINT64_MAX,
                                         .partition = partition,
                                         .max_bytes = max};
            struct rf_store_done done = {.more = true};
            while (done.more) {
                struct rf_store_op op = next;
                struct rf_row      start = next.row;
                rf_blob_take(op.row.blob);
                assert_int_equal(RF_PENDING, submit(cold, &op, &done).rc);
                assert_true(run_read(cold));
                done = take_done(cold);
                rf_blob_drop(start.blob);
                next.row = (struct rf_row){0};
                assert_int_equal(RF_STORE_FOUND, done.status);
                struct rf_slice rows = done.row.value;
                struct rf_row   row;
                while (rows.size != 0) {
                    assert_rc_ok(rf_row_decode(&rows, &row));
                    seen++;
                }
                next.token = done.token;
                assert_rc_ok(rf_row_copy(&(struct rf_row){.key = row.key}, &next.row));
                rf_blob_drop(done.row.blob);
            }
            rf_blob_drop(next.row.blob);
        }
        assert_int_equal(200, seen);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_of_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(operations_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_writes_ask_the_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_stay_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_has_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scans, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
