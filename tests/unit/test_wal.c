/* The write-ahead log: S28, S29, S30, S31. */
#include "store_util.h"

#include "io/fs_posix.h"
#include "storage/wal.h"

#define SECRET 0x1234567u

struct log_fixture {
    char           dir[64];
    char           path[160]; /* of the first segment */
    struct rf_wal *wal;
};

static struct rf_wal *new_wal(const char *dir, uint32_t shard, uint64_t segment_max)
{
    struct rf_wal       *wal = NULL;
    struct rf_wal_config config = {.fs = rf_fs_posix(),
                                   .dir = dir,
                                   .shard = shard,
                                   .n_shards = 8,
                                   .n_partitions = 64,
                                   .secret = SECRET,
                                   .segment = 1,
                                   .next_seq = 1,
                                   .segment_max = segment_max};
    assert_rc_ok(rf_wal_new(&config, &wal));
    return wal;
}

static int make_log(void **state)
{
    struct log_fixture *log = calloc(1, sizeof(*log));
    make_temp_dir(log->dir);
    snprintf(log->path, sizeof(log->path), "%s/003-0000000000000001.wal", log->dir);
    log->wal = new_wal(log->dir, 3, 1 << 20);
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

static void append(struct rf_wal *wal, uint32_t partition, const char *value)
{
    uint64_t             seq = 0;
    struct rf_wal_record record = {TEST_TABLE, partition, 5, row_of("key", 10, value)};
    assert_rc_ok(rf_wal_append(wal, &record, &seq));
}

static void run_group(struct rf_wal *wal, bool sync)
{
    assert_true(rf_wal_begin(wal, sync));
    assert_false(rf_wal_begin(wal, sync));
    rf_wal_run(wal);
    assert_rc_ok(rf_wal_end(wal));
}

/* Appends n records of a partition as one group and writes it. */
static void write_of(struct rf_wal *wal, uint32_t partition, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        append(wal, partition, "value");
    }
    run_group(wal, true);
}

static void write_group(struct rf_wal *wal, unsigned n)
{
    write_of(wal, 3, n);
}

static void write_mark(struct rf_wal *wal, bool close)
{
    assert_true(rf_wal_begin_mark(wal, close));
    rf_wal_run(wal);
    assert_rc_ok(rf_wal_end(wal));
    assert_false(rf_wal_begin_mark(wal, close));
}

static void count_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    uint64_t *last = argument;
    assert_int_equal(*last + 1, seq);
    assert_slice(record->row.key, "key");
    assert_int_equal(TEST_TABLE, record->table);
    *last = seq;
}

/* The sequences that came, as bits; groups may be missing. */
static void mark_record(void *argument, const struct rf_wal_record *record, uint64_t seq)
{
    uint64_t *seen = argument;
    assert_slice(record->row.key, "key");
    assert_true(seq < 64);
    assert_true((*seen & UINT64_C(1) << seq) == 0); /* once */
    *seen |= UINT64_C(1) << seq;
}

/* What reading a log of one segment tells. */
struct told {
    struct rf_wal_history history;
    struct rf_wal_info    info;
    uint64_t              seen;
    enum rf_rc            rc;
};

static struct told read_log(const char *path, uint64_t segment)
{
    struct told told = {.history = {.secret = SECRET}};
    told.rc = rf_wal_read(rf_fs_posix(), path, segment, &told.history, mark_record, &told.seen,
                          &told.info)
                  .rc;
    rf_wal_history_end(&told.history);
    return told;
}

/* The partitions that lost records, as bits; the node has 64. */
static uint64_t lost_of(const struct told *told)
{
    uint64_t lost = 0;
    for (uint32_t p = 0; p < 64; p++) {
        lost |= told->history.lost[p] ? UINT64_C(1) << p : 0;
    }
    return lost;
}

#define BIT(n) (UINT64_C(1) << (n))
/* Those of shard 3 of 8. */
#define ALL_OF_SHARD 0x0808080808080808u

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
    struct log_fixture   *log = *state;
    struct rf_wal_history history = {.secret = SECRET};
    struct rf_wal_info    info;
    uint64_t              last = 0;
    write_group(log->wal, 3);
    write_group(log->wal, 2);
    assert_int_equal(5, rf_wal_durable_seq(log->wal));
    assert_int_equal(5, rf_wal_writing_seq(log->wal));
    assert_int_equal(6, rf_wal_next_seq(log->wal));
    assert_int_equal(2, rf_wal_stats(log->wal).groups);
    assert_rc_ok(rf_wal_read(rf_fs_posix(), log->path, 1, &history, count_record, &last, &info));
    assert_int_equal(5, last);
    assert_int_equal(5, info.last_seq);
    assert_int_equal(3, info.durable_seq);
    assert_false(info.torn);
    assert_int_equal(6, history.next_seq);
    assert_int_equal(5, history.part_seq[3]);
    assert_false(history.closed);
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
    for (size_t n = first; n < whole; n += n < first + 128 || n + 9 > whole ? 1 : 8) {
        store_file(log->path, bytes, n);
        struct told told = read_log(log->path, 1);
        assert_int_equal(RF_OK, told.rc);
        assert_int_equal(0, lost_of(&told));
        bool padding = told.seen == 0x3e; /* only that is missing */
        assert_true(padding ? n + RF_WAL_ALIGN > whole : told.seen == 0xe);
        assert_true(n == first || padding || (told.info.torn && told.info.torn_at == first));
    }
}

/* Goal: a bad group below the durable mark of a later one is damage, told for its own partitions only,
 * and the groups behind it are read all the same (S31). Method: every byte of the second of four groups
 * is changed once; its header is lost, or its records are. */
static void damage_is_told(void **state)
{
    struct log_fixture *log = *state;
    static uint8_t      bytes[65536];
    write_of(log->wal, 3, 1);
    size_t first = load_file(log->path, bytes, sizeof(bytes));
    append(log->wal, 11, "value");
    append(log->wal, 19, "value");
    run_group(log->wal, true);
    size_t second = load_file(log->path, bytes, sizeof(bytes));
    write_of(log->wal, 3, 1);
    write_of(log->wal, 11, 1);
    size_t whole = load_file(log->path, bytes, sizeof(bytes));
    size_t checked = RF_WAL_GROUP_HEADER + 2 * (RF_WAL_PART_SIZE + 20 + RF_ROW_HEADER + 8);
    assert_true(checked <= second - first && second - first < checked + RF_WAL_ALIGN);
    for (size_t i = first; i < first + checked; i++) {
        bytes[i] ^= 0x10;
        store_file(log->path, bytes, whole);
        bytes[i] ^= 0x10;
        struct told told = read_log(log->path, 1);
        bool        header_lost = i < first + RF_WAL_GROUP_HEADER + 2 * RF_WAL_PART_SIZE;
        assert_int_equal(RF_CORRUPT, told.rc);
        assert_int_equal(BIT(1) | BIT(4) | BIT(5), told.seen);
        assert_int_equal(1, told.info.damages);
        assert_int_equal(first, told.info.damaged_at);
        assert_int_equal(6, told.history.next_seq);
        /* Without the header: 3 and 11 are told by later groups, the others must be feared for. */
        assert_int_equal(header_lost ? ALL_OF_SHARD & ~BIT(3) : BIT(11) | BIT(19), lost_of(&told));
    }
}

/* Goal: groups without any header left are told by what later groups say of each partition: only what
 * nobody speaks of again is in doubt, and a mark speaks of all (S31). */
static void lost_headers(void **state)
{
    struct log_fixture *log = *state;
    static uint8_t      bytes[65536];
    write_of(log->wal, 3, 1);
    size_t from = load_file(log->path, bytes, sizeof(bytes));
    write_of(log->wal, 11, 1);
    write_of(log->wal, 19, 2);
    write_of(log->wal, 11, 1);
    size_t to = load_file(log->path, bytes, sizeof(bytes));
    write_of(log->wal, 3, 1);
    write_of(log->wal, 27, 1);
    write_mark(log->wal, false);
    size_t whole = load_file(log->path, bytes, sizeof(bytes));
    memset(bytes + from, 0xab, to - from);
    store_file(log->path, bytes, whole);
    struct told told = read_log(log->path, 1);
    assert_int_equal(RF_CORRUPT, told.rc);
    assert_int_equal(1, told.info.damages);
    assert_int_equal(BIT(1) | BIT(6) | BIT(7), told.seen);
    assert_int_equal(BIT(11) | BIT(19), lost_of(&told));
}

/* Goal: damage of the last group is told from a torn tail once a mark was written behind it, or the log
 * was ended in order; a bad mark alone loses nothing (S31). */
static void marks(void **state)
{
    struct log_fixture *log = *state;
    static uint8_t      bytes[65536];
    write_of(log->wal, 3, 1);
    size_t first = load_file(log->path, bytes, sizeof(bytes));
    write_of(log->wal, 11, 1);
    size_t second = load_file(log->path, bytes, sizeof(bytes));
    bytes[first + 8] ^= 1;
    store_file(log->path, bytes, second);
    struct told told = read_log(log->path, 1);
    assert_int_equal(RF_OK, told.rc); /* nobody can tell: it may have been torn */
    assert_true(told.info.torn && told.info.torn_at == first);
    bytes[first + 8] ^= 1;
    store_file(log->path, bytes, second);
    for (int close = 0; close < 2; close++) {
        write_mark(log->wal, close != 0);
        size_t whole = load_file(log->path, bytes, sizeof(bytes));
        assert_true(whole > 4096u * (1u + (unsigned)close)); /* in a block of its own */
        told = read_log(log->path, 1);
        assert_int_equal(RF_OK, told.rc);
        assert_false(told.info.torn);
        assert_int_equal(close, told.history.closed);
        assert_int_equal(BIT(1) | BIT(2), told.seen);
        bytes[first + 8] ^= 1;
        store_file(log->path, bytes, whole);
        told = read_log(log->path, 1);
        assert_int_equal(RF_CORRUPT, told.rc);
        assert_int_equal(BIT(11), lost_of(&told));
        bytes[first + 8] ^= 1;
        bytes[whole - 4] ^= 1;
        store_file(log->path, bytes, whole);
        told = read_log(log->path, 1);
        assert_int_equal(RF_OK, told.rc);
        assert_int_equal(0, lost_of(&told));
        assert_false(told.history.closed);
        bytes[whole - 4] ^= 1;
        store_file(log->path, bytes, whole);
    }
}

/* Goal: a group inside a value is not taken for a group when the log is searched behind damage, not even
 * a true one of the same log (S31). Method: a value holds the log's own bytes at every alignment, behind
 * it there is nothing; then the group around it is damaged. */
static void forged_group(void **state)
{
    struct log_fixture  *log = *state;
    static uint8_t       bytes[65536];
    static char          value[32768];
    uint64_t             seq = 0;
    struct rf_wal_record record = {TEST_TABLE, 3, 5, row_of("key", 10, "")};
    write_of(log->wal, 3, 1);
    size_t first = load_file(log->path, bytes, sizeof(bytes));
    write_of(log->wal, 3, 1);
    size_t second = load_file(log->path, bytes, sizeof(bytes));
    for (size_t i = 0; i < 8; i++) {
        memcpy(value + i * 4096 + i, bytes + first, second - first);
    }
    /* Another one's group at the very place where it will lie, but of another secret. */
    struct rf_buf       forged = {0};
    struct rf_wal_group group = {.segment = 1, .first_seq = 9, .durable_seq = 8, .n_records = 1};
    size_t              header = RF_WAL_GROUP_HEADER + RF_WAL_PART_SIZE;
    size_t at = (header + 20 + RF_ROW_HEADER + 3 + 7) / 8 * 8; /* in the file, aligned */
    group.offset = second + at;
    rf_wal_group_begin(&forged, 0);
    rf_wal_record_encode(&forged, &record);
    struct rf_slice whole_group = rf_wal_group_end(&forged, 0, &group, NULL, 0);
    memcpy(value + at - (header + 20 + RF_ROW_HEADER + 3), whole_group.data, whole_group.size);
    rf_buf_fini(&forged);
    record.row.value = rf_slice(value, sizeof(value));
    assert_rc_ok(rf_wal_append(log->wal, &record, &seq));
    run_group(log->wal, true);
    size_t whole = load_file(log->path, bytes, sizeof(bytes));
    assert_int_equal(0, memcmp(bytes + second + at, "RFW2", 4));
    for (unsigned part = 0; part < 2; part++) {
        size_t place = part == 0 ? second + 8 : whole - 9;
        bytes[place] ^= 1;
        store_file(log->path, bytes, whole);
        bytes[place] ^= 1;
        struct told told = read_log(log->path, 1);
        assert_int_equal(RF_OK, told.rc);
        assert_int_equal(BIT(1) | BIT(2), told.seen);
        assert_true(told.info.torn && told.info.torn_at == second);
    }
    write_of(log->wal, 3, 1);
    size_t behind = load_file(log->path, bytes, sizeof(bytes));
    bytes[second + 8] ^= 1;
    store_file(log->path, bytes, behind);
    struct told told = read_log(log->path, 1);
    assert_int_equal(RF_CORRUPT, told.rc);
    assert_int_equal(BIT(1) | BIT(2) | BIT(4), told.seen);
    assert_int_equal(1, told.info.damages);
    assert_int_equal(5, told.history.next_seq);
}

/* Goal: groups that were written but not synced are cut at the first bad one, also when later ones are
 * whole; once a sync covers them, a bad one is damage and the others are kept (D5, S31). */
static void unsynced_groups(void **state)
{
    struct log_fixture *log = *state;
    static uint8_t      bytes[65536];
    size_t              ends[6];
    write_of(log->wal, 3, 1);
    for (unsigned i = 0; i < 3; i++) {
        ends[i] = load_file(log->path, bytes, sizeof(bytes));
        append(log->wal, 11, "value");
        run_group(log->wal, false);
    }
    assert_int_equal(1, rf_wal_durable_seq(log->wal));
    assert_int_equal(4, rf_wal_written_seq(log->wal));
    size_t whole = load_file(log->path, bytes, sizeof(bytes));
    bytes[ends[1] + 8] ^= 1;
    store_file(log->path, bytes, whole);
    struct told told = read_log(log->path, 1);
    assert_int_equal(RF_OK, told.rc);
    assert_int_equal(BIT(1) | BIT(2), told.seen);
    assert_int_equal(0, lost_of(&told));
    bytes[ends[1] + 8] ^= 1;
    store_file(log->path, bytes, whole);
    run_group(log->wal, true); /* nothing to write, something to sync */
    assert_false(rf_wal_begin(log->wal, true));
    assert_int_equal(4, rf_wal_durable_seq(log->wal));
    write_of(log->wal, 3, 1);
    whole = load_file(log->path, bytes, sizeof(bytes));
    bytes[ends[1] + 8] ^= 1;
    store_file(log->path, bytes, whole);
    told = read_log(log->path, 1);
    assert_int_equal(RF_CORRUPT, told.rc);
    assert_int_equal(BIT(1) | BIT(2) | BIT(4) | BIT(5), told.seen);
    assert_int_equal(BIT(11), lost_of(&told) & (BIT(3) | BIT(11)));
}

/* Goal: groups of a segment's former life are not taken for live ones (S29, S31). */
static void recycled_segment(void **state)
{
    struct log_fixture *log = *state;
    write_group(log->wal, 2);
    struct told told = read_log(log->path, 9);
    assert_int_equal(RF_OK, told.rc);
    assert_int_equal(0, told.seen);
    assert_int_equal(0, told.history.next_seq);
    assert_false(told.info.torn);
}

/* Goal: the format before this one is refused, not cut. */
static void old_format(void **state)
{
    struct log_fixture *log = *state;
    uint8_t             bytes[64] = "RFWG";
    store_file(log->path, bytes, sizeof(bytes));
    assert_int_equal(RF_WRONG_VERSION, read_log(log->path, 1).rc);
}

/* Goal: a full segment is followed by the next, and names parse back. */
static void segments_roll(void **state)
{
    struct log_fixture *log = *state;
    struct rf_wal      *wal = new_wal(log->dir, 3, 64);
    char                name[RF_WAL_NAME_SIZE];
    char                path[160];
    uint32_t            shard = 0;
    uint64_t            segment = 0;
    write_group(wal, 1);
    write_group(wal, 1);
    rf_wal_free(wal);
    rf_wal_segment_name(3, 2, name);
    assert_true(rf_wal_segment_parse(name, &shard, &segment));
    assert_int_equal(3, shard);
    assert_int_equal(2, segment);
    assert_false(rf_wal_segment_parse("007-2.wal", &shard, &segment));
    assert_false(rf_wal_segment_parse("LOCK", &shard, &segment));
    assert_false(rf_wal_segment_parse("999-0000000000000001.wal", &shard, &segment));
    snprintf(path, sizeof(path), "%s/%s", log->dir, name);
    struct told told = read_log(path, 2);
    assert_int_equal(RF_OK, told.rc);
    assert_int_equal(BIT(2), told.seen);
}

/* Goal: a full open group pushes back, and a broken log takes nothing more. */
static void limits_and_failure(void **state)
{
    struct log_fixture  *log = *state;
    struct rf_wal       *wal = new_wal("/nowhere", 3, 64);
    uint64_t             seq = 0;
    size_t               size = 8u * 1024 * 1024;
    char                *large = calloc(1, size);
    struct rf_wal_record record = {TEST_TABLE, 3, 5, row_of("key", 1, "")};
    record.row.value = rf_slice(large, size);
    for (int i = 0; i < 4; i++) {
        assert_rc_ok(rf_wal_append(log->wal, &record, &seq));
    }
    assert_rc(RF_LIMIT, rf_wal_append(log->wal, &record, &seq));
    free(large);
    record.row.value.size = 0;
    assert_rc_ok(rf_wal_append(wal, &record, &seq));
    assert_true(rf_wal_begin(wal, true));
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
        cmocka_unit_test_setup_teardown(lost_headers, make_log, drop_log),
        cmocka_unit_test_setup_teardown(marks, make_log, drop_log),
        cmocka_unit_test_setup_teardown(forged_group, make_log, drop_log),
        cmocka_unit_test_setup_teardown(unsynced_groups, make_log, drop_log),
        cmocka_unit_test_setup_teardown(recycled_segment, make_log, drop_log),
        cmocka_unit_test_setup_teardown(old_format, make_log, drop_log),
        cmocka_unit_test_setup_teardown(segments_roll, make_log, drop_log),
        cmocka_unit_test_setup_teardown(limits_and_failure, make_log, drop_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
