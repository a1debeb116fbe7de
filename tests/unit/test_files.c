/* The store over files: limits, damage, hints, what is skipped: S31, S50, S51, S60, S69, D1, D2, D7,
 * D10, D15. */
#include "store_util.h"

#include "base/log.h"
#include "sim/disk.h"

struct files_fixture {
    struct store_fixture base;
    struct rf_disk      *disk;
};

static int make_files(void **state)
{
    struct files_fixture *files = calloc(1, sizeof(*files));
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL);
    files->disk = rf_disk_new(5);
    files->base.config = small_config(rf_disk_fs(files->disk), "/node");
    files->base.config.n_partitions = 1;
    open_engine(&files->base);
    *state = files;
    return 0;
}

static int drop_files(void **state)
{
    struct files_fixture *files = *state;
    rf_engine_close(files->base.engine);
    rf_disk_free(files->disk);
    free(files);
    return 0;
}

static struct rf_store *store_of(struct files_fixture *files)
{
    return rf_engine_store(files->base.engine, 0);
}

/* Runs jobs until none is due. Returns how many failed. */
static unsigned run_jobs(struct rf_store *store, uint64_t wall_ms)
{
    unsigned       failed = 0;
    struct rf_job *job = NULL;
    rf_store_set_time(store, wall_ms);
    while (failed == 0 && (job = rf_store_job_begin(store)) != NULL) {
        while (!rf_job_step(job)) {
        }
        failed += !rf_ok(rf_store_job_end(store, job));
    }
    return failed;
}

static void flush(struct files_fixture *files, uint64_t wall_ms)
{
    rf_store_request_flush(store_of(files));
    assert_true(rf_store_flush_wanted(store_of(files)));
    assert_int_equal(0, run_jobs(store_of(files), wall_ms));
    assert_false(rf_store_flush_wanted(store_of(files)));
}

static void fill(struct files_fixture *files, unsigned n, uint64_t hlc, const char *value)
{
    char key[16];
    for (unsigned i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(RF_STORE_STORED, put(store_of(files), key, hlc, value));
    }
}

static void reopen(struct files_fixture *files)
{
    rf_engine_close(files->base.engine);
    open_engine(&files->base);
}

/* Goal: a table above storage.memtable is flushed, the log is trimmed behind it, memory is given
 * back; a store above twice its memory refuses writes instead of growing (S51, D15). */
static void limits_flush(void **state)
{
    struct files_fixture *files = *state;
    files->base.config.memtable_max = 20000;
    files->base.config.memtable_total_max = 40000;
    reopen(files);
    struct rf_store *store = store_of(files);
    assert_null(rf_store_job_begin(store));
    for (unsigned i = 0; i < 400 && !rf_store_flush_wanted(store); i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        put(store, key, 1, "a value of some length, so that it adds up sooner or later");
    }
    assert_true(rf_store_flush_wanted(store));
    uint64_t log = rf_store_stats(store).wal_live_bytes;
    assert_int_equal(0, run_jobs(store, 1));
    assert_int_equal(0, rf_store_stats(store).memtable_rows);
    assert_true(rf_store_stats(store).wal_live_bytes < log);
    assert_int_equal(1, rf_store_stats(store).files);
    unsigned refused = 0;
    for (unsigned i = 0; i < 4000 && refused == 0; i++) {
        char key[16];
        snprintf(key, sizeof(key), "m%u", i);
        refused +=
            put(store, key, 1, "no job runs, so memory is never given back") == RF_STORE_FAILED;
    }
    assert_int_equal(1, refused);
    assert_in_range(rf_store_stats(store).memtable_bytes, 60000, 200000);
}

/* Rows of a table, all new to it. */
static void add_rows(struct files_fixture *files, uint64_t table, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        struct rf_row row = row_of(key, 1, "a value of some length, so that it adds up");
        assert_int_equal(RF_STORE_STORED, apply_row(store_of(files), table, &row, RF_APPLY_MERGE));
    }
}

/* Goal: when the memory of all tables is at its bound, the largest table is flushed and the others stay
 * (S51). Method: three tables of which each is below a table's own bound. */
static void largest_table_goes_first(void **state)
{
    struct files_fixture *files = *state;
    files->base.config.memtable_max = 1000000;
    files->base.config.memtable_total_max = 200000;
    reopen(files);
    struct rf_store *store = store_of(files);
    add_rows(files, TEST_TABLE, 0, 50);
    add_rows(files, TEST_TABLE + 2, 0, 200);
    assert_false(rf_store_flush_wanted(store));
    unsigned n = 0;
    while (n < 10000 && !rf_store_flush_wanted(store)) {
        add_rows(files, TEST_TABLE + 1, n++, 1);
    }
    assert_in_range(n, 201, 9999);
    assert_int_equal(0, run_jobs(store, 1));
    struct rf_store_stats stats = rf_store_stats(store);
    assert_int_equal(250, stats.memtable_rows); /* those of the two others */
    assert_int_equal(n, stats.flushed_rows);
    assert_true(stats.memtable_bytes < 200000);
}

/* Goal: memory stays at its bound whatever the number of tables (S51). Method: rows for 200 tables in
 * turn; jobs run after each hundred, which take up to 220,000 bytes for as many new memtables. */
static void many_tables_are_bounded(void **state)
{
    struct files_fixture *files = *state;
    files->base.config.memtable_max = 100000;
    files->base.config.memtable_total_max = 600000;
    reopen(files);
    struct rf_store *store = store_of(files);
    for (unsigned i = 0; i < 10000; i++) {
        add_rows(files, TEST_TABLE + i % 200, i / 200, 1);
        assert_true(rf_store_stats(store).memtable_bytes < 900000);
        if (i % 100 == 0) {
            assert_int_equal(0, run_jobs(store, 1));
        }
    }
    assert_true(rf_store_stats(store).flushes >= 2);
    for (unsigned table = 0; table < 200; table += 7) {
        struct rf_store_done done = read_key(store, TEST_TABLE + table, rf_slice_str("k3"));
        assert_int_equal(RF_STORE_FOUND, done.status);
        rf_blob_drop(done.row.blob);
    }
}

/* Goal: the log's bound flushes what pins the oldest segment, so that it can go. */
static void log_limit(void **state)
{
    struct files_fixture *files = *state;
    files->base.config.wal_max = 20000;
    reopen(files);
    struct rf_store *store = store_of(files);
    put(store, "pins", 1, "v");
    for (unsigned i = 0; i < 2000; i++) {
        put(store, "again", 2 + i, "the same key over and over needs no memory, but log");
        assert_int_equal(0, run_jobs(store, 1));
        assert_true(rf_store_stats(store).wal_live_bytes < 30000);
    }
    assert_true(rf_store_stats(store).flushes >= 2);
    assert_value(store, "pins", "v");
    reopen(files);
    assert_value(store_of(files), "pins", "v");
}

/* Goal: newest version wins over newest file; older files are left out; filters keep look-ups away
 * (D1, D7, S69). */
static void files_left_out(void **state)
{
    struct files_fixture  *files = *state;
    struct rf_table_policy policy = {.id = TEST_TABLE, .bloom_bits_per_key = 10};
    assert_rc_ok(rf_engine_add_table(files->base.engine, &policy));
    struct rf_store *store = store_of(files);
    fill(files, 50, 100, "new");
    flush(files, 1);
    put(store, "k7", 200, "newest");
    flush(files, 1);
    put(store, "k7", 150, "late");
    put(store, "k8", 50, "older than the file's");
    assert_value(store, "k7", "newest");
    assert_value(store, "k8", "new");
    assert_value(store, "absent", NULL);
    struct rf_store_stats before = rf_store_stats(store);
    put(store, "k9", 300, "above everything"); /* D7: nothing to look up */
    struct rf_store_stats after = rf_store_stats(store);
    assert_int_equal(before.files_asked, after.files_asked);
    assert_int_equal(before.files_skipped + 2, after.files_skipped);
    assert_true(after.bloom_negatives != 0);
    struct rf_row row = row_of("k7", 120, "refused");
    assert_int_equal(RF_STORE_NEWER, apply_row(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER));
}

/* Goal: an expired value becomes a marker that still shadows what is older; tombstones of users stay
 * (D2, S60). */
static void expiry_and_markers(void **state)
{
    struct files_fixture *files = *state;
    struct rf_store      *store = store_of(files);
    struct rf_row         row = row_of("short", 100, "secret");
    row.expiry_ms = 5000;
    apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE);
    row = row_of("gone", 100, "");
    row.flags = RF_ROW_TOMBSTONE;
    apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE);
    flush(files, 4999);
    assert_value(store, "short", "secret");
    put(store, "other", 1, "v");
    flush(files, 4999);
    rf_store_request_compaction(store);
    assert_true(rf_store_compaction_wanted(store));
    assert_int_equal(0, run_jobs(store, 5000));
    assert_int_equal(1, rf_store_stats(store).files);
    assert_int_equal(1, rf_store_stats(store).expired_values);
    put(store, "short", 50, "older");
    struct rf_store_done done = read_key(store, TEST_TABLE, rf_slice_str("short"));
    assert_int_equal(RF_ROW_MARKER, done.row.flags);
    assert_int_equal(100, done.row.version.hlc);
    assert_int_equal(5000, done.row.expiry_ms);
    rf_blob_drop(done.row.blob);
    done = read_key(store, TEST_TABLE, rf_slice_str("gone"));
    assert_int_equal(RF_ROW_TOMBSTONE, done.row.flags);
    rf_blob_drop(done.row.blob);
}

/* Goal: removed and expired hints leave nothing behind once all files of their keys are merged. */
static void hints_go_away(void **state)
{
    struct files_fixture *files = *state;
    struct rf_store      *store = store_of(files);
    struct rf_row         row = row_of("hint", 100, "row");
    apply_row(store, RF_TABLE_HINTS, &row, RF_APPLY_MERGE);
    row = row_of("old", 100, "row");
    row.expiry_ms = 4000;
    apply_row(store, RF_TABLE_HINTS, &row, RF_APPLY_MERGE);
    flush(files, 1);
    row = row_of("hint", 100, "");
    row.flags = RF_ROW_TOMBSTONE;
    apply_row(store, RF_TABLE_HINTS, &row, RF_APPLY_MERGE);
    flush(files, 1); /* the tombstone stays: the other file may hold the hint */
    assert_int_equal(2, rf_store_stats(store).files);
    rf_store_request_compaction(store);
    assert_int_equal(0, run_jobs(store, 4000));
    assert_int_equal(0, rf_store_stats(store).files);
    assert_int_equal(2, rf_store_stats(store).dropped_rows);
    assert_int_equal(RF_STORE_ABSENT, read_key(store, RF_TABLE_HINTS, rf_slice_str("hint")).status);
    assert_int_equal(RF_STORE_ABSENT, read_key(store, RF_TABLE_HINTS, rf_slice_str("old")).status);
    reopen(files); /* the log is not trimmed yet and brings the tombstone back, never the hint */
    struct rf_store_done done = read_key(store_of(files), RF_TABLE_HINTS, rf_slice_str("hint"));
    assert_int_equal(RF_ROW_TOMBSTONE, done.row.flags);
    rf_blob_drop(done.row.blob);
}

static void first_file(char path[64])
{
    snprintf(path, 64, "/node/p000/%016llx.sst", 1ull);
}

/* Goal: a damaged block makes its own keys unanswerable, and not those found in a newer version;
 * writes go on; merging leaves the file alone (D10, S137). */
static void damaged_block(void **state)
{
    struct files_fixture *files = *state;
    struct rf_store      *store = store_of(files);
    char                  path[64];
    fill(files, 200, 100, "a value that fills blocks, so that there are several of them");
    put(store, "k5", 101, "in file");
    flush(files, 1);
    first_file(path);
    assert_true(rf_disk_flip(files->disk, path, 100, 3));
    unsigned fine = 0, silent = 0;
    char     key[16];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        struct rf_store_done done = read_key(store, TEST_TABLE, rf_slice_str(key));
        fine += done.status == RF_STORE_FOUND;
        silent += done.status == RF_STORE_CANNOT_SAY;
        rf_blob_drop(done.row.blob);
    }
    assert_int_equal(200, fine + silent);
    assert_in_range(silent, 10, 100);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(RF_STORE_STORED, put(store, key, 102, "newer than all of the file"));
        assert_value(store, key, "newer than all of the file");
    }
    struct rf_store_op   op = {.kind = RF_STORE_SCAN,
                               .table = TEST_TABLE,
                               .token_last = UINT64_MAX,
                               .max_bytes = 1u << 30};
    struct rf_store_done done;
    assert_rc_ok(rf_lsm_ops.submit(store, &op, &done));
    assert_int_equal(RF_STORE_CANNOT_SAY, done.status);
    flush(files, 1);
    rf_store_request_compaction(store);
    assert_int_equal(0, run_jobs(store, 1));
    assert_int_equal(2, rf_store_stats(store).files);
    assert_true(rf_store_stats(store).damaged_blocks != 0);
    assert_true(rf_store_stats(store).cannot_say != 0);
}

/* Goal: a compaction that meets damage changes nothing and does not try again. */
static void damage_in_compaction(void **state)
{
    struct files_fixture *files = *state;
    char                  path[64];
    fill(files, 100, 100, "a value that fills blocks, so that there are several of them");
    flush(files, 1);
    fill(files, 10, 101, "v");
    flush(files, 1);
    first_file(path);
    assert_true(rf_disk_flip(files->disk, path, 3000, 3));
    rf_store_request_compaction(store_of(files));
    assert_int_equal(1, run_jobs(store_of(files), 1));
    assert_int_equal(2, rf_store_stats(store_of(files)).files);
    assert_int_equal(1, rf_store_stats(store_of(files)).failed_jobs);
    rf_store_request_compaction(store_of(files));
    assert_int_equal(0, run_jobs(store_of(files), 5000));
    assert_value(store_of(files), "k3", "v");
}

/* Goal: a file or manifest that is damaged when the node starts does not stop it; the partition's
 * keys cannot be answered, and that is not forgotten (D10). */
static void damaged_at_start(void **state)
{
    struct files_fixture *files = *state;
    char                  path[64];
    fill(files, 10, 100, "v");
    flush(files, 1);
    first_file(path);
    assert_true(rf_disk_flip(files->disk, path, 40, 3));
    reopen(files); /* data blocks are checked when they are read */
    assert_int_equal(0, rf_engine_recovery(files->base.engine).damaged_files);
    struct rf_file file;
    struct rf_fs   fs = files->base.config.fs;
    assert_rc_ok(fs.ops->open(fs.context, path, RF_OPEN_WRITE, &file));
    assert_rc_ok(fs.ops->truncate(fs.context, file, 300));
    fs.ops->close(fs.context, file);
    reopen(files);
    assert_int_equal(1, rf_engine_recovery(files->base.engine).damaged_files);
    struct rf_store *store = store_of(files);
    assert_int_equal(RF_STORE_CANNOT_SAY, read_key(store, TEST_TABLE, rf_slice_str("k3")).status);
    assert_int_equal(RF_STORE_STORED, put(store, "k3", 200, "v"));
    assert_true(rf_disk_flip(files->disk, "/node/p000/manifest", 20, 3));
    reopen(files);
    reopen(files);
    assert_int_equal(1, rf_engine_recovery(files->base.engine).quarantined_partitions);
    assert_int_equal(1, rf_store_stats(store_of(files)).quarantined_partitions);
    assert_int_equal(RF_STORE_CANNOT_SAY,
                     read_key(store_of(files), TEST_TABLE, rf_slice_str("k3")).status);
}

/* Goal: behind a damaged last record of the manifest, committed files are taken in again. */
static void damaged_tail_of_manifest(void **state)
{
    struct files_fixture *files = *state;
    fill(files, 10, 100, "v");
    flush(files, 1);
    fill(files, 20, 101, "w");
    flush(files, 1); /* its record is the last one */
    assert_true(rf_disk_flip(files->disk, "/node/p000/manifest", 154, 3));
    reopen(files);
    assert_true(rf_engine_recovery(files->base.engine).adopted_files >= 1);
    assert_value(store_of(files), "k15", "w");
    reopen(files);
    assert_int_equal(0, rf_engine_recovery(files->base.engine).adopted_files);
    assert_value(store_of(files), "k15", "w");
}

/* Goal: damage of the log below the durable mark does not stop the node: its partitions cannot say,
 * what is fine is kept, writes go on, and it is not forgotten after the log is gone (S31). */
static void damaged_log(void **state)
{
    struct files_fixture *files = *state;
    fill(files, 30, 100, "v");
    assert_true(rf_disk_flip(files->disk, "/node/wal/000-0000000000000001.wal", 300, 1));
    for (unsigned i = 0; i < 3; i++) {
        reopen(files);
        assert_true(rf_engine_recovery(files->base.engine).quarantined_partitions == 1);
        struct rf_store *store = store_of(files);
        assert_int_equal(RF_STORE_CANNOT_SAY,
                         read_key(store, TEST_TABLE, rf_slice_str("k25")).status);
        assert_int_equal(RF_STORE_STORED, put(store, "k26", 200 + i, "v"));
        flush(files, 1);
        assert_int_equal(0, run_jobs(store, 1));
    }
    struct rf_row row = row_of("name", 5, "v");
    apply_row(store_of(files), RF_TABLE_META, &row, RF_APPLY_MERGE);
    flush(files, 1);
    reopen(files);
    assert_true(rf_engine_meta(files->base.engine, "name", &row)); /* nobody else has it */
    assert_slice(row.value, "v");
}

/* Puts a row into every partition but `without`, one group each, until each has `n`. */
static void fill_partitions(struct rf_store *store, unsigned n, uint32_t without)
{
    unsigned have[4] = {0};
    char     key[16];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "f%u", i);
        uint32_t p = (uint32_t)token_of(key) & 3;
        if (p != without && have[p] < n) {
            have[p]++;
            assert_int_equal(RF_STORE_STORED, put(store, key, 50, "v"));
        }
    }
}

/* Goal: damage of a group concerns its own partitions only, whether its records are bad or its header
 * is: the others still say what they have and what they do not have (S31). */
static void damage_concerns_its_partition(void **state)
{
    struct files_fixture *files = *state;
    struct rf_disk       *disk = files->disk;
    const char           *key = "f0";
    uint32_t              own = (uint32_t)token_of(key) & 3;
    for (unsigned part = 0; part < 2; part++) {
        char path[64];
        rf_engine_close(files->base.engine);
        files->base.config.dir = part == 0 ? "/one" : "/two";
        files->base.config.n_partitions = 4;
        open_engine(&files->base);
        assert_int_equal(RF_STORE_STORED, put(store_of(files), key, 50, "v"));
        fill_partitions(store_of(files), 2, own);
        assert_int_equal(RF_STORE_STORED, put(store_of(files), "later", 50, "v"));
        snprintf(path, sizeof(path), "%s/wal/000-0000000000000001.wal", files->base.config.dir);
        assert_true(rf_disk_flip(disk, path, part == 0 ? 40 : 120, 3));
        reopen(files);
        assert_int_equal(1, rf_engine_recovery(files->base.engine).quarantined_partitions);
        assert_int_equal(RF_STORE_CANNOT_SAY,
                         read_key(store_of(files), TEST_TABLE, rf_slice_str(key)).status);
        for (unsigned i = 1; i < 40; i++) {
            char other[16];
            snprintf(other, sizeof(other), "f%u", i);
            bool                 mine = ((uint32_t)token_of(other) & 3) == own;
            struct rf_store_done done = read_key(store_of(files), TEST_TABLE, rf_slice_str(other));
            assert_int_equal(mine, done.status == RF_STORE_CANNOT_SAY);
            rf_blob_drop(done.row.blob);
        }
    }
}

/* Goal: a write that was acknowledged and is damaged afterwards is not taken for a torn tail once the log
 * has been idle for a while: the partition cannot say (S31). */
static void idle_mark_tells_damage(void **state)
{
    struct files_fixture *files = *state;
    for (unsigned idle = 0; idle < 2; idle++) {
        char path[64];
        rf_engine_close(files->base.engine);
        files->base.config.dir = idle == 0 ? "/busy" : "/idle";
        open_engine(&files->base);
        struct rf_store *store = store_of(files);
        rf_store_set_log_time(store, 1000000);
        assert_int_equal(RF_STORE_STORED, put(store, "k", 50, "v"));
        rf_store_set_log_time(store, idle == 0 ? 1900000 : 2000000);
        assert_int_equal(idle, rf_store_log_begin(store));
        if (idle != 0) {
            rf_store_log_run(store);
            rf_store_log_end(store);
            assert_false(rf_store_log_begin(store));
        }
        snprintf(path, sizeof(path), "%s/wal/000-0000000000000001.wal", files->base.config.dir);
        assert_true(rf_disk_flip(files->disk, path, 130, 3));
        reopen(files);
        assert_int_equal(idle, rf_engine_recovery(files->base.engine).quarantined_partitions);
        assert_int_equal(1 - idle, rf_engine_recovery(files->base.engine).torn_tails);
        assert_int_equal(idle == 0 ? RF_STORE_ABSENT : RF_STORE_CANNOT_SAY,
                         read_key(store_of(files), TEST_TABLE, rf_slice_str("k")).status);
    }
}

/* How many syncs would still fail. */
static unsigned failures_left(struct rf_fs fs)
{
    struct rf_file file;
    unsigned       failed = 0;
    assert_rc_ok(fs.ops->open(fs.context, "/probe", RF_OPEN_WRITE | RF_OPEN_CREATE, &file));
    while (fs.ops->sync(fs.context, file).rc != RF_OK) {
        failed++;
    }
    fs.ops->close(fs.context, file);
    return failed;
}

/* Goal: a failed sync is final in every durability mode: nothing is acknowledged any more, the sync is
 * not tried again, no job changes a file, reads go on, and the state is told (S36, D5). After a power
 * cut all that had been acknowledged before is there. Method: two syncs would fail; one only is made. */
static void failed_sync_is_final(void **state)
{
    struct files_fixture *files = *state;
    for (unsigned mode = RF_SYNC_GROUP; mode <= RF_SYNC_NONE; mode++) {
        struct rf_table_policy policy = {.id = TEST_TABLE, .sync = mode, .sync_interval_ms = 10};
        struct rf_store_done   done;
        reopen(files);
        struct rf_store *store = store_of(files);
        assert_int_equal(RF_STORE_STORED, put(store, "before", 50 + mode, "v")); /* as `group` */
        assert_rc_ok(rf_engine_add_table(files->base.engine, &policy));
        rf_store_set_log_time(store, 1000000);
        rf_disk_fail_syncs(files->disk, 2);
        struct rf_row row = row_of("after", 60 + mode, "v");
        assert_int_equal(RF_PENDING,
                         start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
        done = finish_one(store);
        assert_int_equal(mode == RF_SYNC_GROUP ? RF_STORE_FAILED : RF_STORE_STORED, done.status);
        if (mode == RF_SYNC_INTERVAL) {
            rf_store_set_log_time(store, 1010000);
            assert_true(rf_store_log_begin(store));
            rf_store_log_run(store);
            rf_store_log_end(store);
        } else if (mode == RF_SYNC_NONE) {
            rf_store_log_close(store);
        }
        assert_true(rf_store_read_only(store));
        assert_int_equal(1, rf_store_stats(store).read_only);
        rf_store_set_log_time(store, 9000000);
        assert_false(rf_store_log_begin(store));
        assert_true(rf_store_log_wake_us(store) == UINT64_MAX);
        rf_store_log_close(store);
        assert_int_equal(RF_STORE_FAILED, put(store, "late", 70 + mode, "v"));
        assert_value(store, "before", "v");
        rf_store_request_flush(store);
        rf_store_set_time(store, 5000);
        assert_null(rf_store_job_begin(store));
        assert_int_equal(1, failures_left(files->base.config.fs));
        rf_engine_close(files->base.engine);
        rf_disk_crash(files->disk);
        open_engine(&files->base);
        assert_value(store_of(files), "before", "v");
        assert_value(store_of(files), "late", NULL);
        struct rf_fs fs = files->base.config.fs;
        (void)fs.ops->unlink(fs.context, "/probe").rc;
    }
}

static void count_damaged(void *argument, const char *name)
{
    unsigned *n = argument;
    *n += strstr(name, ".damaged") != NULL;
}

/* Goal: what the log holds behind damage is kept: in the store, and the segment itself as *.damaged,
 * which is not read again (S31). */
static void behind_damage(void **state)
{
    struct files_fixture *files = *state;
    struct rf_fs          fs = files->base.config.fs;
    fill(files, 8, 100, "v");
    assert_true(rf_disk_flip(files->disk, "/node/wal/000-0000000000000001.wal", 20, 1));
    reopen(files);
    assert_int_equal(1, rf_engine_recovery(files->base.engine).damaged_segments);
    assert_int_equal(7, rf_engine_recovery(files->base.engine).records);
    for (unsigned i = 1; i <= 2; i++) {
        unsigned n = 0;
        put(store_of(files), "more", 200 + i, "v");
        flush(files, 1);
        assert_int_equal(0, run_jobs(store_of(files), 1));
        assert_rc_ok(fs.ops->list(fs.context, "/node/wal", count_damaged, &n));
        assert_int_equal(1, n);
        reopen(files);
        assert_int_equal(0, rf_engine_recovery(files->base.engine).damaged_segments);
    }
}

/* Goal: a lost end of a segment that another one follows is damage, not a torn tail (S31). */
static void missing_between_segments(void **state)
{
    struct files_fixture *files = *state;
    struct rf_fs          fs = files->base.config.fs;
    struct rf_file        file;
    uint64_t              size = 0;
    fill(files, 100, 100, "v"); /* several segments of 4 KiB */
    assert_rc_ok(
        fs.ops->open(fs.context, "/node/wal/000-0000000000000001.wal", RF_OPEN_WRITE, &file));
    assert_rc_ok(fs.ops->size(fs.context, file, &size));
    assert_rc_ok(fs.ops->truncate(fs.context, file, size - 10));
    fs.ops->close(fs.context, file);
    reopen(files);
    assert_int_equal(1, rf_engine_recovery(files->base.engine).damaged_segments);
    assert_int_equal(1, rf_engine_recovery(files->base.engine).quarantined_partitions);
}

/* Goal: a log that finds no space waits and goes on when there is some; nothing is acknowledged in
 * between, and nothing acknowledged is lost. */
static void log_waits_for_space(void **state)
{
    struct files_fixture *files = *state;
    struct rf_store      *store = store_of(files);
    struct rf_store_done  done;
    struct rf_row         row = row_of("waits", 7, "v");
    fill(files, 5, 100, "v");
    rf_disk_set_capacity(files->disk, rf_disk_used(files->disk) + 10);
    rf_store_set_time(store, 1000);
    assert_int_equal(RF_PENDING, start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
    for (unsigned i = 0; i < 3; i++) {
        rf_store_set_time(store, 1000 + i * 1000);
        assert_true(rf_store_log_begin(store));
        rf_store_log_run(store);
        rf_store_log_end(store);
        assert_false(rf_store_log_begin(store)); /* too early */
        assert_int_equal(0, rf_lsm_ops.poll(store, &done, 1));
        assert_int_equal(RF_STORE_FULL, put(store, "more", 1, "v"));
        assert_false(rf_store_read_only(store));
    }
    assert_true(rf_engine_disk(files->base.engine).full);
    assert_int_equal(RF_STORAGE_FULL, rf_engine_storage_state(files->base.engine));
    rf_disk_set_capacity(files->disk, UINT64_MAX);
    rf_store_set_time(store, 9000);
    done = finish_one(store);
    assert_int_equal(RF_STORE_STORED, done.status);
    assert_int_equal(0, run_jobs(store, 9500));
    assert_int_equal(RF_STORE_STORED, put(store, "more", 1, "v"));
    reopen(files);
    assert_int_equal(0, rf_engine_recovery(files->base.engine).damaged_segments);
    assert_value(store_of(files), "waits", "v");
    assert_value(store_of(files), "more", "v");
}

/* Goal: below the reserve new values are refused, deletes and merges are not (S141). */
static void reserve(void **state)
{
    struct files_fixture *files = *state;
    files->base.config.disk_reserve = 5000; /* half of the disk */
    reopen(files);
    struct rf_store *store = store_of(files);
    fill(files, 1000, 100, "v");
    flush(files, 1);
    uint64_t used = rf_disk_used(files->disk);
    assert_in_range(used, 10000, 1000000);
    rf_disk_set_capacity(files->disk, used + used / 2);
    put(store, "one more", 100, "v");
    flush(files, 1);
    assert_int_equal(RF_STORE_FULL, put(store, "more", 1, "v"));
    struct rf_row row = row_of("k3", 200, "");
    row.flags = RF_ROW_TOMBSTONE;
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE));
    rf_disk_set_capacity(files->disk, UINT64_MAX);
    assert_int_equal(0, run_jobs(store, 5000));
    assert_int_equal(RF_STORE_STORED, put(store, "more", 1, "v"));
}

/* Goal: a full disk stops new values, not reads and deletes, and is over when there is space. */
static void full_disk(void **state)
{
    struct files_fixture *files = *state;
    struct rf_store      *store = store_of(files);
    fill(files, 50, 100, "a value");
    rf_disk_set_capacity(files->disk, rf_disk_used(files->disk) + 400);
    rf_store_request_flush(store);
    assert_int_equal(1, run_jobs(store, 1000));
    assert_int_equal(RF_STORE_FULL, put(store, "more", 1, "v"));
    assert_value(store, "k3", "a value");
    struct rf_row row = row_of("k3", 200, "");
    row.flags = RF_ROW_TOMBSTONE;
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE));
    assert_int_equal(0, run_jobs(store, 1500)); /* too early to try again */
    assert_true(rf_store_flush_wanted(store));
    rf_disk_set_capacity(files->disk, UINT64_MAX);
    assert_int_equal(0, run_jobs(store, 2000));
    assert_int_equal(RF_STORE_STORED, put(store, "more", 1, "v"));
    assert_value(store, "k4", "a value");
}

/* The disk becomes `percent` of what is used on it, and is looked at. */
static struct rf_disk_space resize(struct files_fixture *files, unsigned percent)
{
    static uint64_t wall_ms = 100000;
    rf_disk_set_capacity(files->disk, rf_disk_used(files->disk) / 100 * percent);
    wall_ms += 2000;
    assert_int_equal(0, run_jobs(store_of(files), wall_ms));
    return rf_engine_disk(files->base.engine);
}

/* Goal: the alarm comes before the refusal, and a level is left only with an eighth of the reserve on
 * top (S144): a tenth of the disk is the reserve, so a disk of 125 % of what is used is low, one of 111 %
 * full, and it is over at 112.7 % and 127 %. Others make room: nothing is written in between. */
static void alarm_before_full(void **state)
{
    struct files_fixture *files = *state;
    static char           value[20000];
    memset(value, 'v', sizeof(value) - 1);
    files->base.config.disk_reserve = 1000;
    reopen(files);
    fill(files, 50, 100, value);
    flush(files, 99000);
    static const struct {
        unsigned percent;
        bool     low, full;
    } steps[] = {{140, false, false}, {130, false, false}, {120, true, false}, {126, true, false},
                 {129, false, false}, {109, true, true},   {112, true, true},  {114, true, false},
                 {101, true, true},   {112, true, true},   {140, false, false}};
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct rf_disk_space disk = resize(files, steps[i].percent);
        assert_int_equal(steps[i].low, disk.low);
        assert_int_equal(steps[i].full, disk.full);
        assert_int_equal(steps[i].full ? RF_STORAGE_FULL : RF_STORAGE_OK,
                         rf_engine_storage_state(files->base.engine));
        assert_true(disk.total_bytes - disk.free_bytes <= rf_disk_used(files->disk));
    }
    assert_int_equal(RF_STORE_STORED, put(store_of(files), "more", 1, "v"));
}

/* Goal: what waits in memory has its place on the disk besides the reserve, and a disk that becomes
 * full is answered by a flush, which lets the log go; what reads, reads on (S143). Method: the log
 * measures by itself, no job runs until the disk is full. */
static void memtables_have_room(void **state)
{
    struct files_fixture *files = *state;
    struct rf_store      *store = store_of(files);
    static char           value[20000];
    char                  key[16];
    memset(value, 'v', sizeof(value) - 1);
    files->base.config.disk_reserve = 1000;
    rf_disk_set_capacity(files->disk, 1000000);
    reopen(files);
    store = store_of(files);
    unsigned n = 0;
    for (; n < 100 && !rf_engine_disk(files->base.engine).full; n++) {
        snprintf(key, sizeof(key), "k%u", n);
        assert_int_equal(RF_STORE_STORED, put(store, key, 100, value));
    }
    assert_in_range(n, 15, 26); /* half of what is not reserved is log, half waits in memory */
    struct rf_disk_space disk = rf_engine_disk(files->base.engine);
    assert_true(disk.needed_bytes > 100000 + n * sizeof(value) - sizeof(value));
    assert_int_equal(RF_STORE_FULL, put(store, "more", 1, "v"));
    assert_false(rf_store_flush_wanted(store));
    assert_int_equal(0, run_jobs(store, 1000));
    assert_int_equal(1, rf_store_stats(store).flushes);
    assert_int_equal(0, rf_store_stats(store).memtable_rows);
    assert_false(rf_engine_disk(files->base.engine).full);
    assert_int_equal(RF_STORE_STORED, put(store, "more", 1, "v"));
    assert_value(store, "k7", value);
}

/* Goal: a start below the reserve is full from the first operation on. */
static void start_when_full(void **state)
{
    struct files_fixture *files = *state;
    fill(files, 100, 100, "v");
    files->base.config.disk_reserve = 1000;
    rf_disk_set_capacity(files->disk, rf_disk_used(files->disk) + 100);
    reopen(files);
    assert_int_equal(RF_STORE_FULL, put(store_of(files), "more", 1, "v"));
    assert_value(store_of(files), "k3", "v");
}

/* Goal: a wrong plan of a plugin is not carried out and stops only its table. */
static int32_t wrong_pick(const struct rf_host *host, const void *options,
                          const struct rf_run *runs, uint32_t run_size, uint32_t n_runs,
                          uint32_t *ret_inputs, struct rf_plan *ret_plan)
{
    (void)host;
    (void)runs;
    (void)run_size;
    const unsigned *kind = options;
    ret_inputs[0] = *kind == 0 ? n_runs : 0;
    ret_inputs[1] = 0;
    ret_plan->n_inputs = *kind == 2 ? n_runs + 1 : 2;
    return *kind == 3 ? RF_PLUGIN_ERROR : RF_PLUGIN_OK;
}

static void wrong_plans(void **state)
{
    struct files_fixture                 *files = *state;
    static const struct rf_compaction_ops ops = {.size = sizeof(ops), .pick = wrong_pick};
    for (unsigned kind = 0; kind < 4; kind++) {
        struct rf_table_policy policy = {
            .id = TEST_TABLE, .compaction = &ops, .compaction_options = &kind};
        reopen(files);
        assert_rc_ok(rf_engine_add_table(files->base.engine, &policy));
        fill(files, 10, 100 + kind, "v");
        flush(files, 1);
        assert_int_equal(0, rf_store_stats(store_of(files)).compactions);
        assert_value(store_of(files), "k1", "v");
    }
    assert_int_equal(4, rf_store_stats(store_of(files)).files);
}

/* Goal: a plan may name only runs that the plugin was shown, though the part has more files.
 * Method: 514 files; a plan with an index between the shown number and that of files, and one with as
 * many inputs as there are files. */
static void plans_beyond_what_was_shown(void **state)
{
    struct files_fixture                 *files = *state;
    static const struct rf_compaction_ops ops = {.size = sizeof(ops), .pick = wrong_pick};
    for (unsigned i = 0; i < 514; i++) {
        assert_int_equal(RF_STORE_STORED, put(store_of(files), "k", 100 + i, "v"));
        flush(files, 1);
    }
    assert_int_equal(514, rf_store_stats(store_of(files)).files);
    for (unsigned kind = 0; kind <= 2; kind += 2) {
        struct rf_table_policy policy = {
            .id = TEST_TABLE, .compaction = &ops, .compaction_options = &kind};
        reopen(files);
        assert_rc_ok(rf_engine_add_table(files->base.engine, &policy));
        put(store_of(files), "k", 1000 + kind, "v");
        flush(files, 1);
        assert_int_equal(0, rf_store_stats(store_of(files)).compactions);
        assert_int_equal(0, rf_store_stats(store_of(files)).failed_jobs);
        assert_value(store_of(files), "k", "v");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_files, drop_files)
    const struct CMUnitTest tests[] = {
        TEST(limits_flush),
        TEST(largest_table_goes_first),
        TEST(many_tables_are_bounded),
        TEST(log_limit),
        TEST(files_left_out),
        TEST(expiry_and_markers),
        TEST(hints_go_away),
        TEST(damaged_block),
        TEST(damage_in_compaction),
        TEST(damaged_at_start),
        TEST(damaged_tail_of_manifest),
        TEST(damaged_log),
        TEST(missing_between_segments),
        TEST(full_disk),
        TEST(alarm_before_full),
        TEST(memtables_have_room),
        TEST(start_when_full),
        TEST(log_waits_for_space),
        TEST(reserve),
        TEST(wrong_plans),
        TEST(damage_concerns_its_partition),
        TEST(idle_mark_tells_damage),
        TEST(failed_sync_is_final),
        TEST(behind_damage),
        TEST(plans_beyond_what_was_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
