/* The store of one shard on real files: S28, S30, S33, S36, D5, D7. */
#include "store_util.h"

#include "io/fs_posix.h"
#include "storage/engine_private.h"
#include "storage/identity.h"

#include <unistd.h>

#include "base/crc.h"
#include "format/codec.h"

static int make_store(void **state)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));
    make_temp_dir(fixture->dir);
    fixture->config = small_config(rf_fs_posix(), fixture->dir);
    open_engine(fixture);
    *state = fixture;
    return 0;
}

static int drop_store(void **state)
{
    struct store_fixture *fixture = *state;
    rf_engine_close(fixture->engine);
    remove_temp_dir(fixture->dir);
    free(fixture);
    return 0;
}

/* Goal: an answer comes only after the sync, for writes and for reads of what is not durable (D5). */
static void answers_wait_for_the_sync(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    struct rf_store_done  done;
    struct rf_row         row = row_of("k", 10, "v");
    struct rf_store_op    op = {.kind = RF_STORE_READ, .tag = 9, .table = TEST_TABLE};
    assert_int_equal(RF_PENDING, start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
    assert_rc_ok(rf_row_copy(&row, &op.row));
    op.token = token_of("k");
    assert_int_equal(RF_PENDING, rf_lsm_ops.submit(store, &op, &done).rc);
    assert_int_equal(0, rf_lsm_ops.poll(store, &done, 1));
    assert_true(rf_store_log_begin(store));
    assert_int_equal(0, rf_lsm_ops.poll(store, &done, 1));
    rf_store_log_run(store);
    rf_store_log_end(store);
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    assert_int_equal(RF_STORE_STORED, done.status);
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    assert_int_equal(9, done.tag);
    assert_int_equal(RF_STORE_FOUND, done.status);
    rf_blob_drop(done.row.blob);
    assert_int_equal(2, rf_store_stats(store).applies + rf_store_stats(store).reads);
}

static void set_mode(struct store_fixture *fixture, enum rf_sync_mode mode, uint32_t interval_ms)
{
    struct rf_table_policy policy = {
        .id = TEST_TABLE, .sync = mode, .sync_interval_ms = interval_ms};
    assert_rc_ok(rf_engine_add_table(fixture->engine, &policy));
}

/* A turn of the host at this time: is there something for the log to do? Does it. */
static bool turn(struct rf_store *store, uint64_t mono_us)
{
    rf_store_set_log_time(store, mono_us);
    bool begun = rf_store_log_begin(store);
    if (begun) {
        rf_store_log_run(store);
        rf_store_log_end(store);
    }
    return begun;
}

static bool all_durable(const struct rf_store *store)
{
    return rf_wal_durable_seq(store->wal) + 1 == rf_wal_next_seq(store->wal);
}

/* Goal: a table with `interval` is acknowledged when its write is in the file, and synced within the
 * interval, once for all that was written until then; the reads of it do not wait for the sync (D5). */
static void interval_acknowledges_the_write(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    struct rf_store_done  done;
    set_mode(fixture, RF_SYNC_INTERVAL, 10);
    rf_store_set_log_time(store, 1000000);
    assert_true(rf_store_log_wake_us(store) == UINT64_MAX);
    struct rf_row row = row_of("k", 10, "v");
    assert_int_equal(RF_PENDING, start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
    assert_int_equal(0, rf_lsm_ops.poll(store, &done, 1)); /* not while only the process has it */
    assert_true(turn(store, 1001000));
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    assert_int_equal(RF_STORE_STORED, done.status);
    assert_false(all_durable(store));
    done = read_key(store, TEST_TABLE, rf_slice_str("k"));
    assert_int_equal(RF_STORE_FOUND, done.status);
    assert_false(all_durable(store));
    rf_blob_drop(done.row.blob);
    assert_int_equal(RF_STORE_STORED, put(store, "other", 10, "v"));
    assert_false(all_durable(store));
    assert_true(rf_store_log_wake_us(store) == 1010000);
    assert_false(turn(store, 1009999));
    assert_true(turn(store, 1010000));
    assert_true(all_durable(store));
    assert_false(turn(store, 1100000));
}

/* Goal: with `none` nobody asks for a sync but the end of a segment and the orderly end (D5). */
static void none_asks_for_no_sync(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    char                  key[16];
    set_mode(fixture, RF_SYNC_NONE, 0);
    rf_store_set_log_time(store, 1000000);
    assert_int_equal(RF_STORE_STORED, put(store, "k", 10, "v"));
    assert_false(turn(store, 1999999));
    assert_true(turn(store, 2000000)); /* the mark of an idle log, which is no sync */
    assert_false(turn(store, 90000000));
    assert_true(rf_store_log_wake_us(store) == UINT64_MAX);
    assert_int_equal(0, rf_wal_durable_seq(store->wal));
    for (unsigned i = 0; i < 100; i++) { /* segments of 4 KiB */
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(RF_STORE_STORED, put(store, key, 10, "v"));
    }
    assert_true(rf_wal_durable_seq(store->wal) > 10);
    assert_false(all_durable(store));
    rf_store_log_close(store);
    assert_true(all_durable(store));
    assert_int_equal(RF_STORE_FAILED, put(store, "late", 10, "v"));
    reopen_engine(fixture);
    assert_int_equal(0, rf_engine_recovery(fixture->engine).unclean_logs);
    reopen_engine(fixture); /* nothing was written in between */
    assert_int_equal(0, rf_engine_recovery(fixture->engine).unclean_logs);
    store = rf_engine_store(fixture->engine, 0);
    assert_value(store, "k99", "v");
    assert_int_equal(RF_STORE_STORED, put(store, "more", 10, "v"));
    reopen_engine(fixture);
    assert_int_equal(1, rf_engine_recovery(fixture->engine).unclean_logs);
}

/* Goal: tables of several modes share the log. What must be durable is before it is acknowledged, also a
 * row that was written unsynced before its table became `group` (D5). */
static void modes_share_the_log(void **state)
{
    struct store_fixture  *fixture = *state;
    struct rf_store       *store = rf_engine_store(fixture->engine, 0);
    struct rf_store_done   done;
    struct rf_table_policy strict = {.id = TEST_TABLE + 1};
    assert_rc_ok(rf_engine_add_table(fixture->engine, &strict));
    set_mode(fixture, RF_SYNC_INTERVAL, 10);
    rf_store_set_log_time(store, 1000000);
    struct rf_row row = row_of("k", 10, "v");
    assert_int_equal(RF_PENDING, start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
    /* The group with it is on its way, to be written only, when the strict one comes. */
    assert_true(rf_store_log_begin(store));
    assert_int_equal(RF_PENDING,
                     start_apply(store, TEST_TABLE + 1, &row, RF_APPLY_MERGE, &done).rc);
    rf_store_log_run(store);
    rf_store_log_end(store);
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    assert_false(all_durable(store));
    assert_true(turn(store, 1000001));
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    assert_true(all_durable(store));
    assert_true(rf_store_log_wake_us(store) > 1010000); /* that sync served both */
    assert_int_equal(RF_STORE_STORED, put(store, "k", 11, "w"));
    assert_false(all_durable(store));
    set_mode(fixture, RF_SYNC_GROUP, 0);
    assert_value(store, "k", "w"); /* waits, and has it synced */
    assert_true(all_durable(store));
}

/* Goal: rows merge by version in any order; REFUSE_IF_NEWER tells the newer version (D7). */
static void newest_wins(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    struct rf_store_done  done;
    assert_int_equal(RF_STORE_STORED, put(store, "k", 20, "new"));
    assert_int_equal(RF_STORE_STORED, put(store, "k", 10, "old"));
    assert_value(store, "k", "new");
    assert_value(store, "other", NULL);
    struct rf_row row = row_of("k", 15, "late");
    assert_rc_ok(start_apply(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER, &done));
    assert_int_equal(RF_STORE_NEWER, done.status);
    assert_int_equal(20, done.row.version.hlc);
    row = row_of("k", 20, "");
    row.flags = RF_ROW_TOMBSTONE;
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE));
    done = read_key(store, TEST_TABLE, rf_slice_str("k"));
    assert_int_equal(RF_ROW_TOMBSTONE, done.row.flags);
    rf_blob_drop(done.row.blob);
}

/* Goal: a version that came by repair and was replaced since is known to have been stored, when its own
 * write comes late; after more repairs than are remembered nobody claims anything (D7). */
static void repaired_version_was_stored(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    struct rf_store_done  done;
    struct rf_row         row = row_of("k", 10, "first");
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_REPAIR));
    assert_int_equal(RF_STORE_STORED, put(store, "k", 9000, "second"));
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER));
    row = row_of("k", 11, "never seen");
    assert_rc_ok(start_apply(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER, &done));
    assert_int_equal(RF_STORE_NEWER, done.status);
    for (uint64_t i = 0; i < RF_REPAIRS_KEPT; i++) {
        row = row_of("other", 100 + i, "v");
        assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_REPAIR));
    }
    row = row_of("k", 10, "first");
    assert_rc_ok(start_apply(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER, &done));
    assert_int_equal(RF_STORE_FAILED, done.status);
    row = row_of("k", 8000, "later than those");
    assert_rc_ok(start_apply(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER, &done));
    assert_int_equal(RF_STORE_NEWER, done.status);
    assert_value(store, "k", "second");
}

/* Goal: everything acknowledged is there after a reopen, any number of times (S30). */
static void reopen_keeps_everything(void **state)
{
    struct store_fixture *fixture = *state;
    char                  key[32];
    for (uint64_t i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key/%u", (unsigned)i % 150);
        assert_int_equal(RF_STORE_STORED,
                         put(rf_engine_store(fixture->engine, 0), key, 10 + i, key));
    }
    uint64_t node = rf_engine_node(fixture->engine);
    for (unsigned round = 0; round < 3; round++) {
        uint64_t generation = rf_engine_generation(fixture->engine);
        reopen_engine(fixture);
        assert_int_equal(node, rf_engine_node(fixture->engine));
        assert_int_equal(generation + 1, rf_engine_generation(fixture->engine));
        for (unsigned i = 0; i < 150; i++) {
            snprintf(key, sizeof(key), "key/%u", i);
            assert_value(rf_engine_store(fixture->engine, 0), key, key);
        }
    }
}

/* Goal: a change of the number of shards loses nothing. */
static void shards_change(void **state)
{
    struct store_fixture *fixture = *state;
    char                  key[32];
    for (unsigned shards = 3; shards >= 1; shards--) {
        fixture->config.n_shards = shards;
        reopen_engine(fixture);
        for (unsigned i = 0; i < 40; i++) {
            snprintf(key, sizeof(key), "%u/%u", shards, i);
            uint32_t shard = rf_engine_shard_of(fixture->engine, token_of(key));
            put(rf_engine_store(fixture->engine, shard), key, 5, key);
        }
    }
    reopen_engine(fixture);
    for (unsigned i = 0; i < 120; i++) {
        snprintf(key, sizeof(key), "%u/%u", 1 + i % 3, i / 3);
        assert_value(rf_engine_store(fixture->engine, 0), key, key);
    }
}

/* Goal: meta rows are found after a reopen; a second process is refused. */
static void meta_and_lock(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_row         row = row_of("ceiling/000", 99, "");
    struct rf_engine     *second = NULL;
    apply_row(rf_engine_store(fixture->engine, 0), RF_TABLE_META, &row, RF_APPLY_MERGE);
    assert_rc(RF_CONFLICT, rf_engine_open(&fixture->config, &second, &fixture->error));
    assert_non_null(strstr(fixture->error.text, "another process"));
    reopen_engine(fixture);
    assert_true(rf_engine_meta(fixture->engine, "ceiling/000", &row));
    assert_int_equal(99, row.version.hlc);
    assert_false(rf_engine_meta(fixture->engine, "ceiling/001", &row));
}

/* Goal: a damaged identity is refused, not replaced. */
static void identity_is_checked(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_identity    identity;
    struct rf_engine     *engine = NULL;
    char                  path[128];
    uint8_t               bytes[56];
    rf_engine_close(fixture->engine);
    snprintf(path, sizeof(path), "%s/identity", fixture->dir);
    FILE *file = fopen(path, "r+b");
    assert_int_equal(56, fread(bytes, 1, 56, file));
    for (int i = 0; i < 56; i++) {
        bytes[i] ^= 1;
        rewind(file);
        fwrite(bytes, 1, 56, file);
        fflush(file);
        assert_rc(RF_CORRUPT, rf_identity_read(fixture->config.fs, fixture->dir, &identity));
        bytes[i] ^= 1;
    }
    assert_rc(RF_CORRUPT, rf_engine_open(&fixture->config, &engine, &fixture->error));
    assert_non_null(strstr(fixture->error.text, "identity"));
    rewind(file);
    fwrite(bytes, 1, 56, file);
    fclose(file);
    open_engine(fixture);
}

/* Goal: the cluster is part of the identity, once and for all; an identity of format 1 is read, and
 * does not claim that the directory never was part of a cluster. */
static void identity_keeps_the_cluster(void **state)
{
    struct store_fixture *fixture = *state;
    char                  path[128];
    uint8_t               bytes[56];
    assert_true(rf_engine_cluster(fixture->engine) == 0);
    assert_false(rf_engine_cluster_unsure(fixture->engine));
    assert_rc_ok(rf_engine_keep_cluster(fixture->engine, 77));
    assert_rc_ok(rf_engine_keep_cluster(fixture->engine, 77));
    reopen_engine(fixture);
    assert_true(rf_engine_cluster(fixture->engine) == 77);
    assert_rc(RF_CONFLICT, rf_engine_keep_cluster(fixture->engine, 78));
    uint64_t node = rf_engine_node(fixture->engine);
    uint64_t generation = rf_engine_generation(fixture->engine);
    rf_engine_close(fixture->engine);
    snprintf(path, sizeof(path), "%s/identity", fixture->dir);
    FILE *file = fopen(path, "r+b");
    assert_int_equal(56, fread(bytes, 1, 56, file));
    rf_store_le(bytes + 8, 1, 4);
    rf_store_le(bytes + 4, rf_crc32c(0, rf_slice(bytes + 8, 24)), 4);
    rewind(file);
    fwrite(bytes, 1, 32, file);
    fclose(file);
    assert_int_equal(0, truncate(path, 32));
    for (int i = 0; i < 2; i++) { /* at later starts too */
        open_engine(fixture);
        assert_true(rf_engine_node(fixture->engine) == node);
        assert_true(rf_engine_generation(fixture->engine) == generation + 1 + (uint64_t)i);
        assert_true(rf_engine_cluster_unsure(fixture->engine));
        rf_engine_close(fixture->engine);
    }
    open_engine(fixture);
    assert_rc_ok(rf_engine_keep_cluster(fixture->engine, 77));
    assert_false(rf_engine_cluster_unsure(fixture->engine));
}

/* ---- Scans -------------------------------------------------------------------------------- */

/* Goal: pieces of a scan join to exactly the rows of the partition, in order. */
static void scan_in_pieces(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    char                  key[32];
    unsigned              seen = 0;
    for (unsigned i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "key/%u", i);
        put(store, key, 10, key);
    }
    for (uint32_t p = 0; p < 4; p++) {
        struct rf_store_op   op = {.kind = RF_STORE_SCAN,
                                   .table = TEST_TABLE,
                                   .partition = p,
                                   .token_last = UINT64_MAX,
                                   .max_bytes = 100};
        struct rf_store_done done = {.more = true};
        uint64_t             last = 0;
        while (done.more) {
            assert_int_equal(p, rf_engine_op_shard(fixture->engine, &op) + p);
            assert_rc_ok(rf_lsm_ops.submit(store, &op, &done));
            assert_int_equal(RF_STORE_FOUND, done.status);
            struct rf_slice rows = done.row.value;
            struct rf_row   row = {0};
            while (rows.size != 0) {
                assert_rc_ok(rf_row_decode(&rows, &row));
                uint64_t token = rf_hash64(row.key, 0);
                assert_int_equal(p, token & 3);
                assert_true(token > last);
                last = token;
                seen++;
            }
            assert_int_equal(done.token, last);
            op.token = last;
            assert_rc_ok(rf_row_copy(&row, &op.row));
            rf_blob_drop(done.row.blob);
        }
        rf_blob_drop(op.row.blob);
    }
    assert_int_equal(200, seen);
}

/* ---- A failing disk ----------------------------------------------------------------------- */

/* The real files, with a sync that fails once and counts. */
struct failing_fs {
    struct rf_fs_ops ops;
    unsigned         syncs;
    bool             fail;
};

static struct rf_result failing_sync(void *context, struct rf_file file)
{
    struct failing_fs *failing = context;
    failing->syncs++;
    bool fail = failing->fail;
    failing->fail = false;
    return fail ? rf_result(RF_IO_ERROR) : rf_fs_posix().ops->sync(NULL, file);
}

/* Goal: a failed sync is final: what waits fails, nothing is acknowledged or tried again. */
static void failed_sync_is_final(void **state)
{
    struct store_fixture *fixture = *state;
    struct failing_fs     failing = {.ops = *rf_fs_posix().ops};
    failing.ops.sync = failing_sync;
    fixture->config.fs = (struct rf_fs){&failing.ops, &failing};
    reopen_engine(fixture);
    struct rf_store *store = rf_engine_store(fixture->engine, 0);
    assert_int_equal(RF_STORE_STORED, put(store, "before", 1, "v"));
    failing.fail = true;
    assert_int_equal(RF_STORE_FAILED, put(store, "lost", 1, "v"));
    unsigned syncs = failing.syncs;
    assert_int_equal(RF_STORE_FAILED, put(store, "refused", 1, "v"));
    assert_int_equal(syncs, failing.syncs);
    assert_int_equal(1, rf_store_stats(store).read_only);
    assert_value(store, "before", "v");
    struct rf_store_done done = read_key(store, TEST_TABLE, rf_slice_str("lost"));
    assert_int_equal(RF_STORE_FAILED, done.status); /* nobody may see what may vanish */
    rf_engine_close(fixture->engine);
    fixture->config.fs = rf_fs_posix();
    open_engine(fixture);
    assert_value(rf_engine_store(fixture->engine, 0), "before", "v");
}

/* Goal: the reserve of a full disk is there for what the cluster has acknowledged already and for
 * the node's own tables; a new value, also a client-stamped one, is refused. */
static void reserve_is_for_repairs(void **state)
{
    struct store_fixture *fixture = *state;
    struct rf_store      *store = rf_engine_store(fixture->engine, 0);
    struct rf_row         row = row_of("key", 1, "v");
    store->engine->space.level = RF_SPACE_FULL;
    assert_int_equal(RF_STORE_FULL, apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE));
    assert_int_equal(RF_STORE_FULL, apply_row(store, TEST_TABLE, &row, RF_APPLY_REFUSE_IF_NEWER));
    assert_int_equal(RF_STORE_STORED, apply_row(store, RF_TABLE_HINTS, &row, RF_APPLY_MERGE));
    assert_int_equal(RF_STORE_STORED, apply_row(store, RF_TABLE_META, &row, RF_APPLY_MERGE));
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_REPAIR));
    assert_value(store, "key", "v");
    store->engine->space.level = RF_SPACE_CRITICAL;
    row.version.hlc = 2;
    assert_int_equal(RF_STORE_FULL, apply_row(store, RF_TABLE_HINTS, &row, RF_APPLY_MERGE));
    assert_int_equal(RF_STORE_FULL, apply_row(store, TEST_TABLE, &row, RF_APPLY_REPAIR));
    assert_int_equal(RF_STORE_STORED, apply_row(store, RF_TABLE_META, &row, RF_APPLY_MERGE));
    row.flags = RF_ROW_TOMBSTONE;
    assert_int_equal(RF_STORE_STORED, apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE));
    store->engine->space.level = RF_SPACE_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_wait_for_the_sync, make_store, drop_store),
        cmocka_unit_test_setup_teardown(interval_acknowledges_the_write, make_store, drop_store),
        cmocka_unit_test_setup_teardown(none_asks_for_no_sync, make_store, drop_store),
        cmocka_unit_test_setup_teardown(modes_share_the_log, make_store, drop_store),
        cmocka_unit_test_setup_teardown(newest_wins, make_store, drop_store),
        cmocka_unit_test_setup_teardown(repaired_version_was_stored, make_store, drop_store),
        cmocka_unit_test_setup_teardown(reopen_keeps_everything, make_store, drop_store),
        cmocka_unit_test_setup_teardown(shards_change, make_store, drop_store),
        cmocka_unit_test_setup_teardown(meta_and_lock, make_store, drop_store),
        cmocka_unit_test_setup_teardown(identity_is_checked, make_store, drop_store),
        cmocka_unit_test_setup_teardown(identity_keeps_the_cluster, make_store, drop_store),
        cmocka_unit_test_setup_teardown(scan_in_pieces, make_store, drop_store),
        cmocka_unit_test_setup_teardown(reserve_is_for_repairs, make_store, drop_store),
        cmocka_unit_test_setup_teardown(failed_sync_is_final, make_store, drop_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
