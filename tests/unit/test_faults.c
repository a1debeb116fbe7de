/* What a store answers when its disk fails: no space, no descriptor, errors, short writes, slowness:
 * S36, S141-S145, D5. Method: a file system that fails the calls it is told to, over real files; and
 * the process's own limits. */
#include "store_util.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "io/fs_posix.h"
#include "storage/engine_private.h"

enum call { OPEN, PWRITE, SYNC, SYNC_DIR, N_CALLS };

struct faults {
    struct store_fixture base;
    struct rf_fs_ops     ops;
    enum rf_rc           rc[N_CALLS]; /* what calls about the log answer; RF_OK: they work */
    unsigned             n[N_CALLS];  /* calls about the log */
};

/* Only the log is of interest: the directory and files of this name. */
static bool is_log(const char *path)
{
    return strstr(path, "/wal") != NULL;
}

static enum rf_rc fault(struct faults *faults, enum call call)
{
    faults->n[call]++;
    return faults->rc[call];
}

static struct rf_result fault_open(void *context, const char *path, unsigned flags,
                                   struct rf_file *ret_file)
{
    enum rf_rc rc = is_log(path) ? fault(context, OPEN) : RF_OK;
    return rc == RF_OK ? rf_fs_posix().ops->open(NULL, path, flags, ret_file) : rf_result(rc);
}

/* The log is the only one that writes in these tests. */
static struct rf_result fault_pwrite(void *context, struct rf_file file, struct rf_slice bytes,
                                     uint64_t offset)
{
    enum rf_rc rc = fault(context, PWRITE);
    if (rc != RF_OK) {
        bytes.size /= 2; /* a part of it is there */
        assert_rc_ok(rf_fs_posix().ops->pwrite(NULL, file, bytes, offset));
        return rf_result(rc);
    }
    return rf_fs_posix().ops->pwrite(NULL, file, bytes, offset);
}

static struct rf_result fault_sync(void *context, struct rf_file file)
{
    enum rf_rc rc = fault(context, SYNC);
    return rc == RF_OK ? rf_fs_posix().ops->sync(NULL, file) : rf_result(rc);
}

static struct rf_result fault_sync_dir(void *context, const char *path)
{
    enum rf_rc rc = is_log(path) ? fault(context, SYNC_DIR) : RF_OK;
    return rc == RF_OK ? rf_fs_posix().ops->sync_dir(NULL, path) : rf_result(rc);
}

static int make_faults(void **state)
{
    struct faults *faults = calloc(1, sizeof(*faults));
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL);
    make_temp_dir(faults->base.dir);
    faults->ops = *rf_fs_posix().ops;
    faults->ops.open = fault_open;
    faults->ops.pwrite = fault_pwrite;
    faults->ops.sync = fault_sync;
    faults->ops.sync_dir = fault_sync_dir;
    struct rf_fs fs = {&faults->ops, faults};
    faults->base.config = small_config(fs, faults->base.dir);
    faults->base.config.segment_max = 1; /* every group has a segment of its own */
    open_engine(&faults->base);
    *state = faults;
    return 0;
}

static int drop_faults(void **state)
{
    struct faults *faults = *state;
    rf_engine_close(faults->base.engine);
    remove_temp_dir(faults->base.dir);
    free(faults);
    return 0;
}

static struct rf_store *store_of(struct faults *faults)
{
    return rf_engine_store(faults->base.engine, 0);
}

/* Tries to write what waits, a while later than the last time. False: the log did not want to. */
static bool run_log(struct rf_store *store)
{
    rf_store_set_time(store, store->wall_ms + 1000);
    if (!rf_store_log_begin(store)) {
        return false;
    }
    rf_store_log_run(store);
    rf_store_log_end(store);
    return true;
}

static void pending_put(struct rf_store *store, const char *key)
{
    struct rf_store_done done;
    struct rf_row        row = row_of(key, 5, "v");
    assert_int_equal(RF_PENDING, start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done).rc);
}

/* Fails while `call` answers `rc`: nothing is acknowledged, nothing is read-only; then goes on. */
static void waits_for(struct faults *faults, enum call call, enum rf_rc rc, const char *key)
{
    struct rf_store     *store = store_of(faults);
    struct rf_store_done done;
    faults->rc[call] = rc;
    pending_put(store, key);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(run_log(store));
        assert_false(rf_store_log_begin(store)); /* not before some time has passed */
        assert_int_equal(0, rf_lsm_ops.poll(store, &done, 1));
        assert_false(rf_store_read_only(store));
    }
    faults->rc[call] = RF_OK;
    assert_true(run_log(store));
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
    assert_int_equal(RF_STORE_STORED, done.status);
    assert_int_equal(RF_STORAGE_OK, rf_engine_storage_state(faults->base.engine));
}

/* Goal: a log without a descriptor for its next segment, or for the directory that names it, and one
 * without space wait and go on; nothing is acknowledged in between, everything afterwards, and a start
 * finds it (S36, S145). */
static void log_waits(void **state)
{
    struct faults *faults = *state;
    assert_int_equal(RF_STORE_STORED, put(store_of(faults), "before", 1, "v"));
    waits_for(faults, OPEN, RF_LIMIT, "descriptor");
    waits_for(faults, SYNC_DIR, RF_LIMIT, "directory");
    waits_for(faults, OPEN, RF_DISK_RESERVE, "inode");
    waits_for(faults, PWRITE, RF_DISK_RESERVE, "space");
    assert_int_equal(RF_STORE_STORED, put(store_of(faults), "after", 1, "v"));
    reopen_engine(&faults->base);
    static const char *const keys[] = {"before", "descriptor", "directory",
                                       "inode",  "space",      "after"};
    for (unsigned i = 0; i < 6; i++) {
        assert_value(store_of(faults), keys[i], "v");
    }
    assert_int_equal(0, rf_engine_recovery(faults->base.engine).damaged_segments);
}

/* Goal: while the log waits for a descriptor, a new segment's name is synced before anything in it is
 * acknowledged (D5): it was not when the directory could not be opened. */
static void name_is_synced_in_the_end(void **state)
{
    struct faults   *faults = *state;
    struct rf_store *store = store_of(faults);
    faults->rc[SYNC_DIR] = RF_LIMIT;
    pending_put(store, "k");
    assert_true(run_log(store));
    unsigned opened = faults->n[OPEN];
    unsigned synced = faults->n[SYNC_DIR];
    unsigned written = faults->n[PWRITE];
    faults->rc[SYNC_DIR] = RF_OK;
    assert_true(run_log(store));
    assert_int_equal(opened, faults->n[OPEN]); /* the segment is there already */
    assert_int_equal(synced + 1, faults->n[SYNC_DIR]);
    assert_int_equal(written + 1, faults->n[PWRITE]);
    struct rf_store_done done;
    assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
}

/* Goal: an input/output error (EIO, EROFS, EFBIG are all the same to the engine) of any call that
 * makes writes durable stops acknowledging for good; what was acknowledged can be read, and is there
 * after the restart (S36, D5). */
static void errors_are_final(void **state)
{
    struct faults *faults = *state;
    for (unsigned call = 0; call < N_CALLS; call++) {
        struct rf_store *store = store_of(faults);
        char             key[16];
        char             lost[16];
        snprintf(key, sizeof(key), "before %u", call);
        snprintf(lost, sizeof(lost), "lost %u", call);
        assert_int_equal(RF_STORE_STORED, put(store, key, 1, "v"));
        faults->rc[call] = RF_IO_ERROR;
        assert_int_equal(RF_STORE_FAILED, put(store, lost, 1, "v"));
        faults->rc[call] = RF_OK;
        assert_int_equal(RF_STORE_FAILED, put(store, "refused", 1, "v"));
        assert_true(rf_store_read_only(store));
        assert_int_equal(RF_STORAGE_READ_ONLY, rf_engine_storage_state(faults->base.engine));
        assert_false(run_log(store));
        assert_null(rf_store_job_begin(store));
        assert_value(store, key, "v");
        reopen_engine(&faults->base);
        assert_int_equal(RF_STORAGE_OK, rf_engine_storage_state(faults->base.engine));
        assert_value(store_of(faults), key, "v");
        assert_value(store_of(faults), "refused", NULL);
    }
}

/* Goal: a disk that takes long makes writers wait, then pushes back: memory is bounded, what gathered
 * is acknowledged when the disk is back, and reads of what is durable go on (S36). */
static void slow_disk_pushes_back(void **state)
{
    struct faults       *faults = *state;
    struct rf_store     *store = store_of(faults);
    static char          value[1 << 20];
    struct rf_store_done done = {.status = RF_STORE_STORED};
    unsigned             n = 0;
    memset(value, 'v', sizeof(value) - 1);
    assert_int_equal(RF_STORE_STORED, put(store, "durable", 1, "v"));
    pending_put(store, "first");
    assert_true(rf_store_log_begin(store)); /* on its way, for a long time */
    for (; n < 100 && done.status == RF_STORE_STORED; n++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", n);
        struct rf_row row = row_of(key, 5, value);
        if (rf_ok(start_apply(store, TEST_TABLE, &row, RF_APPLY_MERGE, &done))) {
            break;
        }
    }
    assert_int_equal(RF_STORE_FAILED, done.status);
    assert_in_range(n, 31, 40); /* one group of 32 MiB gathers */
    assert_value(store, "durable", "v");
    rf_store_log_run(store);
    rf_store_log_end(store);
    assert_true(run_log(store));
    for (unsigned i = 0; i <= n; i++) {
        assert_int_equal(1, rf_lsm_ops.poll(store, &done, 1));
        assert_int_equal(RF_STORE_STORED, done.status);
    }
    assert_int_equal(0, rf_lsm_ops.poll(store, &done, 1));
    assert_int_equal(RF_STORE_STORED, put(store, "again", 1, "v"));
}

/* ---- The process's own limits --------------------------------------------------------------- */

/* Goal: real limits come as the contract says: a write that is cut short by the largest file size goes
 * on and ends in RF_IO_ERROR; without a descriptor open and sync_dir say RF_LIMIT. */
static void real_limits(void **state)
{
    struct faults *faults = *state;
    struct rf_fs   fs = rf_fs_posix();
    struct rf_file file;
    struct rlimit  before, limit;
    char           path[80];
    uint64_t       size = 0;
    static uint8_t bytes[8192];
    snprintf(path, sizeof(path), "%s/file", faults->base.dir);
    assert_rc_ok(fs.ops->open(NULL, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &file));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(0, getrlimit(RLIMIT_FSIZE, &before));
    limit = before;
    limit.rlim_cur = 5000;
    assert_int_equal(0, setrlimit(RLIMIT_FSIZE, &limit));
    struct rf_result written = fs.ops->pwrite(NULL, file, rf_slice(bytes, sizeof(bytes)), 0);
    assert_int_equal(0, setrlimit(RLIMIT_FSIZE, &before));
    assert_rc(RF_IO_ERROR, written);
    assert_rc_ok(fs.ops->size(NULL, file, &size));
    assert_int_equal(5000, size);
    assert_rc_ok(fs.ops->pwrite(NULL, file, rf_slice(bytes, sizeof(bytes)), 0));
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
    limit = before;
    limit.rlim_cur = (rlim_t)file.handle + 1;
    int filler = dup(0); /* takes a gap below, if there is one */
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &limit));
    struct rf_file   other;
    struct rf_result opened = fs.ops->open(NULL, path, RF_OPEN_READ, &other);
    struct rf_result synced = fs.ops->sync_dir(NULL, faults->base.dir);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &before));
    close(filler);
    fs.ops->close(NULL, file);
    assert_rc(RF_LIMIT, opened);
    assert_rc(RF_LIMIT, synced);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_faults, drop_faults)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(log_waits),        TEST(name_is_synced_in_the_end),
        TEST(errors_are_final), TEST(slow_disk_pushes_back),
        TEST(real_limits),
    };
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
