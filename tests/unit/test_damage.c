/* Damage of table files: S71, S137-S140, S172, S173, D10. Nothing wrong is ever served, nothing that was
 * there is "absent", only what is concerned cannot be answered, and a repaired key can be again. */
#include "store_util.h"

#include "base/log.h"
#include "sim/disk.h"
#include "storage/engine_private.h"

#define N_KEYS 24u
#define FILE_1 "/node/p000/0000000000000001.sst"

struct damage {
    struct store_fixture base;
    struct rf_disk      *disk;
};

static struct rf_store *store_of(struct damage *damage)
{
    return rf_engine_store(damage->base.engine, 0);
}

static void open_it(struct damage *damage)
{
    struct rf_table_policy policy = {.id = TEST_TABLE, .lz4 = true, .bloom_bits_per_key = 10};
    assert_rc_ok(rf_engine_open(&damage->base.config, &damage->base.engine, &damage->base.error));
    assert_rc_ok(rf_engine_add_table(damage->base.engine, &policy));
}

static void reopen(struct damage *damage)
{
    rf_engine_close(damage->base.engine);
    open_it(damage);
}

static void make(struct damage *damage)
{
    *damage = (struct damage){.disk = rf_disk_new(7)};
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL);
    damage->base.config = small_config(rf_disk_fs(damage->disk), "/node");
    damage->base.config.n_partitions = 1;
    open_it(damage);
}

static void drop(struct damage *damage)
{
    rf_engine_close(damage->base.engine);
    rf_disk_free(damage->disk);
}

static void run_jobs(struct damage *damage, uint64_t wall_ms)
{
    struct rf_job *job = NULL;
    rf_store_set_time(store_of(damage), wall_ms);
    while ((job = rf_store_job_begin(store_of(damage))) != NULL) {
        while (!rf_job_step(job)) {
        }
        (void)rf_store_job_end(store_of(damage), job).rc;
    }
}

static void flush(struct damage *damage)
{
    rf_store_request_flush(store_of(damage));
    run_jobs(damage, 1);
    assert_false(rf_store_flush_wanted(store_of(damage)));
}

/* Compressible, so that the file is small although it has several blocks. */
static void value_of(unsigned i, char to[600])
{
    memset(to, 'a' + (int)(i % 26), 500);
    snprintf(to + 500, 100, "%u", i);
}

/* Keys 0 … N_KEYS - 1 in one file, with versions 100 + i. */
static void fill(struct damage *damage)
{
    char key[16], value[600];
    for (unsigned i = 0; i < N_KEYS; i++) {
        snprintf(key, sizeof(key), "key%u", i);
        value_of(i, value);
        assert_int_equal(RF_STORE_STORED, put(store_of(damage), key, 100 + i, value));
    }
    flush(damage);
}

static uint64_t file_size(struct damage *damage)
{
    struct rf_fs   fs = damage->base.config.fs;
    struct rf_file file;
    uint64_t       size = 0;
    assert_rc_ok(fs.ops->open(fs.context, FILE_1, RF_OPEN_READ, &file));
    assert_rc_ok(fs.ops->size(fs.context, file, &size));
    fs.ops->close(fs.context, file);
    return size;
}

static struct rf_store_done get(struct damage *damage, unsigned i)
{
    char key[16];
    snprintf(key, sizeof(key), "key%u", i);
    return read_key(store_of(damage), TEST_TABLE, rf_slice_str(key));
}

/* The key's right value, or "cannot say" with its damage, else the test fails. */
static bool check(struct damage *damage, unsigned i, uint64_t *ret_damage)
{
    char                 value[600];
    struct rf_store_done done = get(damage, i);
    value_of(i, value);
    if (done.status == RF_STORE_FOUND) {
        assert_slice(done.row.value, value);
        rf_blob_drop(done.row.blob);
        return true;
    }
    assert_int_equal(RF_STORE_CANNOT_SAY, done.status);
    *ret_damage = done.damage;
    return false;
}

static void repair(struct damage *damage, unsigned i, uint64_t heals)
{
    char               key[16], value[600];
    struct rf_store_op op = {
        .kind = RF_STORE_APPLY, .mode = RF_APPLY_REPAIR, .table = TEST_TABLE, .heals = heals};
    struct rf_store_done done;
    snprintf(key, sizeof(key), "key%u", i);
    value_of(i, value);
    struct rf_row row = row_of(key, 100 + i, value);
    op.token = token_of(key);
    assert_rc_ok(rf_row_copy(&row, &op.row));
    if (rf_lsm_ops.submit(store_of(damage), &op, &done).rc == RF_PENDING) {
        done = finish_one(store_of(damage));
    }
    assert_int_equal(RF_STORE_STORED, done.status);
}

static unsigned count_silent(struct damage *damage)
{
    uint64_t id = 0;
    unsigned silent = 0;
    for (unsigned i = 0; i < N_KEYS; i++) {
        silent += !check(damage, i, &id);
    }
    return silent;
}

/* ---- Every byte --------------------------------------------------------------------------- */

/* One byte is bad: what is there now, what of it is repaired, and what a newer version changes. */
static void check_everything(struct damage *damage)
{
    uint64_t id = 0;
    for (unsigned i = 0; i < N_KEYS; i++) {
        if (!check(damage, i, &id)) {
            assert_true(id != 0);
            repair(damage, i, id);
            assert_true(check(damage, i, &id)); /* it can say again */
        }
    }
    struct rf_store_done done = read_key(store_of(damage), TEST_TABLE, rf_slice_str("never"));
    assert_true(done.status == RF_STORE_ABSENT || done.status == RF_STORE_CANNOT_SAY);
    assert_int_equal(RF_STORE_STORED, put(store_of(damage), "key3", 100 + N_KEYS, "newest"));
    assert_value(store_of(damage), "key3", "newest"); /* above the file's highest version (D10) */
}

/* Goal: whatever byte of a table file is bad, before the start or while the node runs, no wrong value
 * and no wrong "absent" is ever answered, and each key can be repaired. */
static void every_byte(void **state)
{
    (void)state;
    unsigned      silent = 0;
    struct damage damage;
    make(&damage);
    fill(&damage);
    uint64_t size = file_size(&damage);
    drop(&damage);
    assert_in_range(size, 500, 4000);
    for (uint64_t at = 0; at < size * 2; at++) {
        make(&damage);
        fill(&damage);
        assert_true(rf_disk_flip(damage.disk, FILE_1, at % size, (unsigned)at % 8));
        if (at < size) {
            reopen(&damage);
        }
        silent += count_silent(&damage);
        check_everything(&damage);
        drop(&damage);
    }
    assert_true(silent > size); /* data, index and footer are most of the file */
}

/* ---- What is remembered ------------------------------------------------------------------- */

/* Damages the first block, and lets somebody read it. */
static unsigned damage_block(struct damage *damage)
{
    make(damage);
    fill(damage);
    assert_true(rf_disk_flip(damage->disk, FILE_1, 40, 3));
    unsigned silent = count_silent(damage);
    assert_in_range(silent, 2, N_KEYS - 2); /* only its own keys */
    return silent;
}

/* Goal: a damage is counted once and stays on record, although the disk reads right again. */
static void damage_is_remembered(void **state)
{
    (void)state;
    struct damage damage;
    unsigned      silent = damage_block(&damage);
    assert_int_equal(silent, count_silent(&damage));
    assert_int_equal(1, rf_store_stats(store_of(&damage)).damaged_blocks);
    run_jobs(&damage, 2);
    assert_true(rf_disk_flip(damage.disk, FILE_1, 40, 3));
    for (int i = 0; i < 3; i++) {
        reopen(&damage);
        assert_int_equal(silent, count_silent(&damage));
        assert_int_equal(1, rf_store_stats(store_of(&damage)).damages);
        assert_int_equal(0, rf_store_stats(store_of(&damage)).damaged_blocks);
    }
    drop(&damage);
}

/* Goal: the same for a file that cannot be opened: its tokens and versions are known from the
 * manifest, so that keys with newer versions are answered. */
static void file_is_remembered(void **state)
{
    (void)state;
    struct damage damage;
    make(&damage);
    fill(&damage);
    assert_true(rf_disk_flip(damage.disk, FILE_1, file_size(&damage) - 100, 3));
    for (int i = 0; i < 3; i++) {
        reopen(&damage);
        assert_int_equal(1, rf_engine_recovery(damage.base.engine).damaged_files);
        assert_int_equal(N_KEYS, count_silent(&damage));
        assert_int_equal(1, rf_store_stats(store_of(&damage)).damages);
    }
    assert_int_equal(RF_STORE_STORED, put(store_of(&damage), "new", 500, "v"));
    assert_value(store_of(&damage), "new", "v");
    drop(&damage);
}

/* ---- Healing ------------------------------------------------------------------------------ */

/* Goal: a key can say again only after a repair that answers its newest damage; that outlives flush
 * and restart, and does not count for a later damage. */
static void healing(void **state)
{
    (void)state;
    struct damage damage;
    uint64_t      id = 0;
    unsigned      silent = damage_block(&damage);
    unsigned      key = 0;
    while (check(&damage, key, &id)) {
        key++;
    }
    repair(&damage, key, 0); /* a hint or an old version: others may know a newer one */
    assert_false(check(&damage, key, &id));
    repair(&damage, key, id - 1);
    assert_false(check(&damage, key, &id));
    repair(&damage, key, id);
    assert_true(check(&damage, key, &id));
    assert_int_equal(silent - 1, count_silent(&damage));
    run_jobs(&damage, 2);
    reopen(&damage);
    assert_int_equal(silent - 1, count_silent(&damage));
    flush(&damage);
    reopen(&damage);
    assert_int_equal(silent - 1, count_silent(&damage));
    assert_int_equal(0, rf_store_stats(store_of(&damage)).healed_keys);
    /* The file with the repaired row is hit as well: both files have the table's number. */
    for (unsigned file = 2; file < 8; file++) {
        char path[64];
        snprintf(path, sizeof(path), "/node/p000/%016x.sst", file);
        (void)rf_disk_flip(damage.disk, path, 60, 1);
    }
    struct rf_store_done done = get(&damage, key);
    assert_int_equal(RF_STORE_CANNOT_SAY, done.status);
    assert_true(done.damage > id);
    drop(&damage);
}

/* Goal: merging neither drops nor spreads what is damaged: the damaged file stays as it is, the
 * others are merged, and the same keys are silent as before. */
static void merging_leaves_it_alone(void **state)
{
    (void)state;
    struct damage damage;
    unsigned      silent = damage_block(&damage);
    run_jobs(&damage, 2);
    for (unsigned i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof(key), "more%u", i);
        assert_int_equal(RF_STORE_STORED, put(store_of(&damage), key, 10, "older than the file"));
        flush(&damage);
    }
    assert_int_equal(4, rf_store_stats(store_of(&damage)).files);
    rf_store_request_compaction(store_of(&damage));
    run_jobs(&damage, 3);
    assert_int_equal(2, rf_store_stats(store_of(&damage)).files);
    assert_int_equal(silent, count_silent(&damage));
    reopen(&damage);
    assert_int_equal(silent, count_silent(&damage));
    drop(&damage);
}

/* Goal: damage that a merge meets is noted for its block alone; the other input stays usable. */
static void found_by_a_merge(void **state)
{
    (void)state;
    struct damage damage;
    make(&damage);
    fill(&damage);
    assert_int_equal(RF_STORE_STORED, put(store_of(&damage), "second", 10, "v"));
    flush(&damage);
    assert_true(rf_disk_flip(damage.disk, FILE_1, 40, 3));
    rf_store_request_compaction(store_of(&damage));
    run_jobs(&damage, 3);
    assert_int_equal(1, rf_store_stats(store_of(&damage)).damaged_blocks);
    assert_in_range(count_silent(&damage), 2, N_KEYS - 2);
    assert_int_equal(2, rf_store_stats(store_of(&damage)).files);
    drop(&damage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte),
        cmocka_unit_test(damage_is_remembered),
        cmocka_unit_test(file_is_remembered),
        cmocka_unit_test(healing),
        cmocka_unit_test(merging_leaves_it_alone),
        cmocka_unit_test(found_by_a_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
