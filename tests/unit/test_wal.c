/* The write-ahead log: S28, S29, S30, S31. */
#include "store_util.h"

#include "io/fs_posix.h"
#include "storage/wal.h"

struct log_fixture {
    char           dir[64];
    char           path[160]; /* of the first segment */
    struct rf_wal *wal;
};

static int make_log(void **state)
{
    struct log_fixture *log = calloc(1, sizeof(*log));
    make_temp_dir(log->dir);
    snprintf(log->path, sizeof(log->path), "%s/003-0000000000000001.wal", log->dir);
    assert_rc_ok(rf_wal_new(rf_fs_posix(), log->dir, 3, 1, 1, 1 << 20, &log->wal));
    *state = log;
    return 0;
}

static int drop_log(void **state)
{
    struct log_fixture *log = *state;
    rf_wal_free(log->wal);
    remove_temp_dir(log->dir);
    free(log);
    return 0;
}

/* Appends n records as one group and writes it. */
static void write_group(struct rf_wal *wal, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t             seq = 0;
        struct rf_wal_record record = {TEST_TABLE, 1, 5, row_of("key", 10 + i, "value")};
        assert_rc_ok(rf_wal_append(wal, &record, &seq));
    }
    assert_true(rf_wal_begin(wal));
    assert_false(rf_wal_begin(wal));
    rf_wal_run(wal);
    assert_rc_ok(rf_wal_end(wal));
}

static void count_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    uint64_t *last = argument;
    assert_int_equal(*last + 1, seq);
    assert_slice(record->row.key, "key");
    assert_int_equal(TEST_TABLE, record->table);
    *last = seq;
}

static size_t load_file(const char *path, uint8_t *bytes, size_t max)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, max, file);
    fclose(file);
    return n;
}

static void store_file(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(n, fwrite(bytes, 1, n, file));
    fclose(file);
}

/* Goal: what was written comes back in order, with its sequences (S30). */
static void groups_come_back(void **state)
{
    struct log_fixture *log = *state;
    struct rf_wal_info  info;
    uint64_t            last = 0;
    write_group(log->wal, 3);
    write_group(log->wal, 2);
    assert_int_equal(5, rf_wal_durable_seq(log->wal));
    assert_int_equal(5, rf_wal_writing_seq(log->wal));
    assert_int_equal(6, rf_wal_next_seq(log->wal));
    assert_int_equal(2, rf_wal_stats(log->wal).groups);
    assert_rc_ok(rf_wal_read(rf_fs_posix(), log->path, 1, count_record, &last, &info));
    assert_int_equal(5, last);
    assert_int_equal(5, info.last_seq);
    assert_int_equal(3, info.durable_seq);
    assert_int_equal(0, info.torn_at);
}

/* Goal: a torn last group is cut as a whole, at every length (S31). */
static void torn_tail_is_cut(void **state)
{
    struct log_fixture *log = *state;
    static uint8_t      bytes[65536];
    write_group(log->wal, 3);
    size_t first = load_file(log->path, bytes, sizeof(bytes));
    write_group(log->wal, 2);
    size_t whole = load_file(log->path, bytes, sizeof(bytes));
    for (size_t n = first; n < whole; n += n < first + 64 || n + 9 > whole ? 1 : 8) {
        struct rf_wal_info info;
        uint64_t           last = 0;
        store_file(log->path, bytes, n);
        assert_rc_ok(rf_wal_read(rf_fs_posix(), log->path, 1, count_record, &last, &info));
        assert_int_equal(n + 8 <= whole ? 3 : last, last);
        assert_true(last == 3 || n + RF_WAL_ALIGN > whole); /* only padding may be missing */
        assert_true(n == first || last == 5 || info.torn_at == first);
    }
}

/* The sequences that came, as bits; groups may be missing. */
static void mark_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    uint64_t *seen = argument;
    assert_slice(record->row.key, "key");
    assert_true(seq < 64);
    *seen |= UINT64_C(1) << seq;
}

/* Goal: a bad group below the durable mark of a later one is damage, and told; the groups
 * behind it are read all the same (S31). Method: every byte of the first of three groups is changed
 * once; then a byte of the first and of the third of four. */
static void damage_is_told(void **state)
{
    struct log_fixture *log = *state;
    static uint8_t      bytes[65536];
    write_group(log->wal, 1);
    size_t first = load_file(log->path, bytes, sizeof(bytes));
    write_group(log->wal, 1);
    write_group(log->wal, 1);
    size_t whole = load_file(log->path, bytes, sizeof(bytes));
    size_t checked = RF_WAL_GROUP_HEADER + 20 + RF_ROW_HEADER + 8; /* padding is not checked */
    assert_true(checked <= first);
    for (size_t i = 0; i < checked; i++) {
        struct rf_wal_info info;
        uint64_t           seen = 0;
        bytes[i] ^= 0x10;
        store_file(log->path, bytes, whole);
        bytes[i] ^= 0x10;
        assert_rc(RF_CORRUPT, rf_wal_read(rf_fs_posix(), log->path, 1, mark_record, &seen, &info));
        assert_int_equal(1u << 2 | 1u << 3, seen);
        assert_int_equal(3, info.last_seq);
        assert_int_equal(1, info.damages);
        assert_int_equal(0, info.damaged_at);
        assert_int_equal(first, whole / 3);
    }
    store_file(log->path, bytes, whole);
    write_group(log->wal, 1);
    load_file(log->path, bytes, sizeof(bytes));
    bytes[20] ^= 1;
    bytes[2 * first + 20] ^= 1;
    store_file(log->path, bytes, whole + first);
    struct rf_wal_info info;
    uint64_t           seen = 0;
    assert_rc(RF_CORRUPT, rf_wal_read(rf_fs_posix(), log->path, 1, mark_record, &seen, &info));
    assert_int_equal(1u << 2 | 1u << 4, seen);
    assert_int_equal(2, info.damages);
}

/* Goal: groups of a segment's former life are not taken for live ones (S29, S31). */
static void recycled_segment(void **state)
{
    struct log_fixture *log = *state;
    struct rf_wal_info  info;
    uint64_t            last = 0;
    write_group(log->wal, 2);
    assert_rc_ok(rf_wal_read(rf_fs_posix(), log->path, 9, count_record, &last, &info));
    assert_int_equal(0, last);
    assert_int_equal(0, info.last_seq);
}

/* Goal: a full segment is followed by the next, and names parse back. */
static void segments_roll(void **state)
{
    struct log_fixture *log = *state;
    struct rf_wal      *wal = NULL;
    char                name[RF_WAL_NAME_SIZE];
    char                path[160];
    uint32_t            shard = 0;
    uint64_t            segment = 0;
    assert_rc_ok(rf_wal_new(rf_fs_posix(), log->dir, 7, 1, 1, 64, &wal));
    write_group(wal, 1);
    write_group(wal, 1);
    rf_wal_free(wal);
    rf_wal_segment_name(7, 2, name);
    assert_true(rf_wal_segment_parse(name, &shard, &segment));
    assert_int_equal(7, shard);
    assert_int_equal(2, segment);
    assert_false(rf_wal_segment_parse("007-2.wal", &shard, &segment));
    assert_false(rf_wal_segment_parse("LOCK", &shard, &segment));
    assert_false(rf_wal_segment_parse("999-0000000000000001.wal", &shard, &segment));
    snprintf(path, sizeof(path), "%s/%s", log->dir, name);
    struct rf_wal_info info;
    uint64_t           last = 1;
    assert_rc_ok(rf_wal_read(rf_fs_posix(), path, 2, count_record, &last, &info));
    assert_int_equal(2, last);
}

/* Goal: a full open group pushes back, and a broken log takes nothing more. */
static void limits_and_failure(void **state)
{
    struct log_fixture  *log = *state;
    struct rf_wal       *wal = NULL;
    uint64_t             seq = 0;
    size_t               size = 8u * 1024 * 1024;
    char                *large = calloc(1, size);
    struct rf_wal_record record = {TEST_TABLE, 1, 5, row_of("key", 1, "")};
    record.row.value = rf_slice(large, size);
    for (int i = 0; i < 4; i++) {
        assert_rc_ok(rf_wal_append(log->wal, &record, &seq));
    }
    assert_rc(RF_LIMIT, rf_wal_append(log->wal, &record, &seq));
    free(large);
    assert_rc_ok(rf_wal_new(rf_fs_posix(), "/nowhere", 0, 1, 1, 64, &wal));
    record.row.value.size = 0;
    assert_rc_ok(rf_wal_append(wal, &record, &seq));
    assert_true(rf_wal_begin(wal));
    rf_wal_run(wal);
    assert_rc(RF_NOT_FOUND, rf_wal_end(wal));
    assert_true(rf_wal_broken(wal));
    assert_rc(RF_IO_ERROR, rf_wal_append(wal, &record, &seq));
    rf_wal_free(wal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(groups_come_back, make_log, drop_log),
        cmocka_unit_test_setup_teardown(torn_tail_is_cut, make_log, drop_log),
        cmocka_unit_test_setup_teardown(damage_is_told, make_log, drop_log),
        cmocka_unit_test_setup_teardown(recycled_segment, make_log, drop_log),
        cmocka_unit_test_setup_teardown(segments_roll, make_log, drop_log),
        cmocka_unit_test_setup_teardown(limits_and_failure, make_log, drop_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
