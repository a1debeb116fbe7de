/* An engine with one store, driven by hand: what storage tests share. */
#ifndef RF_STORE_UTIL_H
#define RF_STORE_UTIL_H

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "storage/engine.h"
#include "test_util.h"

#define TEST_TABLE 100u

struct store_fixture {
    struct rf_engine_config config;
    struct rf_engine       *engine;
    struct rf_engine_error  error;
    char                    dir[64];
};

/* One shard, four partitions, small limits. */
static inline struct rf_engine_config small_config(struct rf_fs fs, const char *dir)
{
    return (struct rf_engine_config){
        .fs = fs, .dir = dir, .n_partitions = 4, .n_shards = 1, .segment_max = 4096, .random = 77};
}

static inline void make_temp_dir(char dir[64])
{
    snprintf(dir, 64, "/tmp/ringfort-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static inline void remove_temp_dir(const char *dir)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    assert_int_equal(0, system(command));
}

static inline uint64_t token_of(const char *key)
{
    return rf_hash64(rf_slice_str(key), 0);
}

static inline struct rf_row row_of(const char *key, uint64_t hlc, const char *value)
{
    return (struct rf_row){
        .version = {hlc, 1}, .key = rf_slice_str(key), .value = rf_slice_str(value)};
}

/* Starts an apply; the row is copied. */
static inline struct rf_result start_apply(struct rf_store *store, uint64_t table,
                                           const struct rf_row *row, enum rf_apply_mode mode,
                                           struct rf_store_done *done)
{
    struct rf_store_op op = {.kind = RF_STORE_APPLY,
                             .mode = mode,
                             .tag = 1,
                             .table = table,
                             .token = rf_hash64(row->key, 0)};
    assert_rc_ok(rf_row_copy(row, &op.row));
    return rf_lsm_ops.submit(store, &op, done);
}

/* Writes what waits and takes the one completion. */
static inline struct rf_store_done finish_one(struct rf_store *store)
{
    struct rf_store_done done = {0};
    if (rf_store_log_begin(store)) {
        rf_store_log_run(store);
        rf_store_log_end(store);
    }
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    return done;
}

static inline enum rf_store_status apply_row(struct rf_store *store, uint64_t table,
                                             const struct rf_row *row, enum rf_apply_mode mode)
{
    struct rf_store_done done;
    struct rf_result     result = start_apply(store, table, row, mode, &done);
    if (result.rc == RF_PENDING) {
        done = finish_one(store);
    }
    assert_int_equal(RF_STORE_APPLY, done.kind);
    return done.status;
}

static inline enum rf_store_status put(struct rf_store *store, const char *key, uint64_t hlc,
                                       const char *value)
{
    struct rf_row row = row_of(key, hlc, value);
    return apply_row(store, TEST_TABLE, &row, RF_APPLY_MERGE);
}

/* The caller drops done.row.blob. */
static inline struct rf_store_done read_key(struct rf_store *store, uint64_t table,
                                            struct rf_slice key)
{
    struct rf_store_done done;
    struct rf_row        row = {.key = key};
    struct rf_store_op   op = {
          .kind = RF_STORE_READ, .tag = 2, .table = table, .token = rf_hash64(key, 0)};
    assert_rc_ok(rf_row_copy(&row, &op.row));
    if (rf_lsm_ops.submit(store, &op, &done).rc == RF_PENDING) {
        done = finish_one(store);
    }
    assert_int_equal(RF_STORE_READ, done.kind);
    return done;
}

/* Fails unless the key has exactly this value; NULL: absent. */
static inline void assert_value(struct rf_store *store, const char *key, const char *value)
{
    struct rf_store_done done = read_key(store, TEST_TABLE, rf_slice_str(key));
    if (value == NULL) {
        assert_int_equal(RF_STORE_ABSENT, done.status);
    } else {
        assert_int_equal(RF_STORE_FOUND, done.status);
        assert_slice(done.row.value, value);
    }
    rf_blob_drop(done.row.blob);
}

static inline void open_engine(struct store_fixture *fixture)
{
    struct rf_table_policy policy = {.id = TEST_TABLE};
    assert_rc_ok(rf_engine_open(&fixture->config, &fixture->engine, &fixture->error));
    assert_rc_ok(rf_engine_add_table(fixture->engine, &policy));
}

static inline void reopen_engine(struct store_fixture *fixture)
{
    rf_engine_close(fixture->engine);
    open_engine(fixture);
}

#endif
