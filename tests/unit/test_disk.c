/* The simulated disk: what it must keep, what it may lose. The ground of every storage test. */
#include "store_util.h"

#include "sim/disk.h"

static struct rf_file make_file(struct rf_fs fs, const char *path)
{
    struct rf_file file;
    assert_rc_ok(fs.ops->open(fs.context, path, RF_OPEN_WRITE | RF_OPEN_CREATE, &file));
    return file;
}

/* Goal: synced bytes and names survive, the rest in every mixture. Method: 200 seeds; both outcomes
 * of every unsynced thing must come up. */
static void power_cut(void **state)
{
    (void)state;
    unsigned lost_name = 0, lost_bytes = 0, mixed = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rf_disk *disk = rf_disk_new(seed);
        struct rf_fs    fs = rf_disk_fs(disk);
        struct rf_file  file = make_file(fs, "/kept");
        static uint8_t  bytes[8192], back[8192];
        memset(bytes, 1, sizeof(bytes));
        assert_rc_ok(fs.ops->pwrite(fs.context, file, rf_slice(bytes, 8192), 0));
        assert_rc_ok(fs.ops->sync(fs.context, file));
        assert_rc_ok(fs.ops->sync_dir(fs.context, "/"));
        memset(bytes, 2, sizeof(bytes));
        assert_rc_ok(fs.ops->pwrite(fs.context, file, rf_slice(bytes, 4096), 4096));
        (void)make_file(fs, "/maybe");
        rf_disk_crash(disk);
        assert_rc_ok(fs.ops->open(fs.context, "/kept", RF_OPEN_READ, &file));
        assert_rc_ok(fs.ops->pread(fs.context, file, back, 8192, 0));
        unsigned news = 0;
        for (unsigned i = 0; i < 8192; i++) {
            assert_true(back[i] == 1 || (i >= 4096 && back[i] == 2));
            news += back[i] == 2;
        }
        mixed += news != 0 && news != 4096;
        lost_bytes += news == 0;
        lost_name += fs.ops->open(fs.context, "/maybe", RF_OPEN_READ, &file).rc == RF_NOT_FOUND;
        rf_disk_free(disk);
    }
    assert_in_range(lost_name, 60, 140);
    assert_in_range(mixed, 150, 200);
    assert_true(lost_bytes < 20);
}

/* Goal: a rename is whole or not at all, a failed sync is final, a killed process loses nothing. */
static void names_and_syncs(void **state)
{
    (void)state;
    unsigned moved = 0;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rf_disk *disk = rf_disk_new(seed);
        struct rf_fs    fs = rf_disk_fs(disk);
        uint8_t         byte = 0;
        struct rf_file  file = make_file(fs, "/a");
        assert_rc_ok(fs.ops->pwrite(fs.context, file, rf_slice("x", 1), 0));
        rf_disk_fail_syncs(disk, 1);
        assert_rc(RF_IO_ERROR, fs.ops->sync(fs.context, file));
        assert_rc_ok(fs.ops->sync(fs.context, file)); /* says so, but holds nothing of before */
        assert_rc_ok(fs.ops->sync_dir(fs.context, "/"));
        rf_disk_kill(disk);
        assert_rc_ok(fs.ops->rename(fs.context, "/a", "/b"));
        rf_disk_crash(disk);
        bool at_a = rf_ok(fs.ops->open(fs.context, "/a", RF_OPEN_READ, &file));
        bool at_b = rf_ok(fs.ops->open(fs.context, "/b", RF_OPEN_READ, &file));
        assert_true(at_a != at_b);
        moved += at_b;
        (void)byte;
        rf_disk_free(disk);
    }
    assert_in_range(moved, 10, 40);
}

static void count_name(void *argument, const char *name)
{
    unsigned *n = argument;
    assert_true(strcmp(name, "f") == 0 || strcmp(name, "g") == 0);
    (*n)++;
}

/* Goal: limits, faults, locks and listing. */
static void limits_and_faults(void **state)
{
    (void)state;
    struct rf_disk *disk = rf_disk_new(3);
    struct rf_fs    fs = rf_disk_fs(disk);
    struct rf_file  file, other;
    uint64_t        size = 0, free_bytes = 0, total = 0;
    unsigned        n = 0;
    assert_rc(RF_NOT_FOUND,
              fs.ops->open(fs.context, "/d/f", RF_OPEN_WRITE | RF_OPEN_CREATE, &file));
    assert_rc(RF_NOT_FOUND, fs.ops->mkdir(fs.context, "/d/e"));
    assert_rc_ok(fs.ops->mkdir(fs.context, "/d"));
    assert_rc_ok(fs.ops->mkdir(fs.context, "/d"));
    file = make_file(fs, "/d/f");
    (void)make_file(fs, "/d/g");
    assert_rc(RF_IO_ERROR,
              fs.ops->open(fs.context, "/d/f", RF_OPEN_WRITE | RF_OPEN_CREATE, &other));
    assert_rc_ok(fs.ops->list(fs.context, "/d", count_name, &n));
    assert_int_equal(2, n);
    assert_rc_ok(fs.ops->open(fs.context, "/d/f", RF_OPEN_READ, &other));
    assert_rc_ok(fs.ops->lock(fs.context, file));
    assert_rc(RF_CONFLICT, fs.ops->lock(fs.context, other));
    fs.ops->close(fs.context, file);
    assert_rc_ok(fs.ops->lock(fs.context, other));
    rf_disk_set_capacity(disk, 100);
    assert_rc_ok(fs.ops->open(fs.context, "/d/f", RF_OPEN_WRITE, &file));
    assert_rc_ok(fs.ops->pwrite(fs.context, file, rf_slice("0123456789", 10), 80));
    assert_rc(RF_DISK_RESERVE, fs.ops->pwrite(fs.context, file, rf_slice("0123456789", 10), 95));
    assert_rc_ok(fs.ops->free_space(fs.context, "/", &free_bytes, &total));
    assert_int_equal(10, free_bytes);
    assert_rc_ok(fs.ops->truncate(fs.context, file, 20));
    assert_rc_ok(fs.ops->size(fs.context, file, &size));
    assert_int_equal(20, size);
    assert_int_equal(20, rf_disk_used(disk));
    assert_true(rf_disk_flip(disk, "/d/f", 3, 1));
    assert_false(rf_disk_flip(disk, "/d/f", 30, 1));
    assert_true(rf_disk_flip_some(disk, "f", NULL));
    assert_false(rf_disk_flip_some(disk, ".none", NULL));
    rf_disk_stop_after(disk, 1);
    assert_rc(RF_IO_ERROR, fs.ops->size(fs.context, file, &size));
    assert_true(rf_disk_stopped(disk));
    assert_rc(RF_IO_ERROR, fs.ops->unlink(fs.context, "/d/f"));
    rf_disk_kill(disk);
    assert_rc_ok(fs.ops->unlink(fs.context, "/d/f"));
    assert_rc(RF_NOT_FOUND, fs.ops->unlink(fs.context, "/d/f"));
    rf_disk_fail_one_in(disk, 1);
    assert_rc(RF_IO_ERROR, fs.ops->mkdir(fs.context, "/e"));
    assert_true(rf_disk_calls(disk) > 10);
    rf_disk_free(disk);
    rf_disk_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut),
        cmocka_unit_test(names_and_syncs),
        cmocka_unit_test(limits_and_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
