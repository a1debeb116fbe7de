/* SSTables: S52, S54, S69, S70, S71, D10. */
#include "store_util.h"

#include "base/rng.h"
#include "sim/disk.h"
#include "storage/bloom.h"
#include "storage/sst_reader.h"
#include "storage/sst_writer.h"

#define N_ROWS 500u

struct table {
    struct rf_disk    *disk;
    struct rf_fs       fs;
    struct rf_sst     *sst;
    struct rf_sst_info info;
};

/* Row i: token i * 10 / 3 * 3 (so that some collide), values of 0 … 300 bytes. */
static uint64_t make_row(unsigned i, char key[16], char value[400], struct rf_row *row)
{
    snprintf(key, 16, "key%05u", i);
    memset(value, 'a' + (int)(i % 26), 400);
    *row = row_of(key, 1000 + i, "");
    row->value = rf_slice(value, i * 37 % 300);
    row->expiry_ms = i % 5 == 0 ? 5000 + i : 0;
    if (i % 7 == 0) {
        row->flags = RF_ROW_TOMBSTONE;
        row->value.size = 0;
    }
    return i / 3 * 30;
}

static void write_table(struct table *table, enum rf_sst_codec codec, uint32_t bloom)
{
    struct rf_sst_options options = {.file = 42,
                                     .table = TEST_TABLE,
                                     .partition = 3,
                                     .codec = codec,
                                     .bloom_bits_per_key = bloom,
                                     .bloom_seed = 9};
    struct rf_sst_writer *writer = NULL;
    table->disk = rf_disk_new(1);
    table->fs = rf_disk_fs(table->disk);
    assert_rc_ok(rf_sst_writer_new(table->fs, "/t.sst", &options, &writer));
    for (unsigned i = 0; i < N_ROWS; i++) {
        char          key[16], value[400];
        struct rf_row row;
        uint64_t      token = make_row(i, key, value, &row);
        assert_rc_ok(rf_sst_writer_add(writer, token, &row));
    }
    assert_int_equal(N_ROWS, rf_sst_writer_rows(writer));
    assert_rc_ok(rf_sst_writer_finish(writer, &table->info));
    assert_true(rf_sst_writer_bytes(writer) <= table->info.file_size);
    rf_sst_writer_free(writer);
    rf_sst_writer_free(NULL);
    assert_rc_ok(rf_sst_open(table->fs, "/t.sst", 42, &table->sst));
}

static void drop_table(struct table *table)
{
    rf_sst_close(table->sst);
    rf_disk_free(table->disk);
}

/* Statistics of values that expire and of tombstones are those of the rows. */
static void check_expiries(const struct rf_sst_info *info)
{
    uint64_t expiring = 0, min_ms = UINT64_MAX, max_ms = 0;
    for (unsigned i = 0; i < N_ROWS; i += 5) {
        if (i % 7 != 0) {
            expiring++;
            min_ms = min_ms == UINT64_MAX ? 5000 + i : min_ms;
            max_ms = 5000 + i;
        }
    }
    assert_int_equal(expiring, info->expiring);
    assert_int_equal(min_ms, info->min_expiry_ms);
    assert_int_equal(max_ms, info->max_expiry_ms);
    assert_int_equal(1000, info->min_dead_hlc);
    assert_int_equal(1000 + (N_ROWS - 1) / 7 * 7, info->max_dead_hlc);
}

/* Goal: every row comes back exactly by key and by walking; absent keys are absent; statistics are
 * true (S70). Method: with and without compression and filter. */
static void rows_come_back(void **state)
{
    (void)state;
    for (unsigned variant = 0; variant < 4; variant++) {
        struct table        table;
        struct rf_sst_block block = {0};
        struct rf_sst_iter  iter;
        char                key[16], value[400];
        struct rf_row       row, back;
        unsigned            n = 0;
        write_table(&table, variant & 1 ? RF_SST_LZ4 : RF_SST_NONE, variant & 2 ? 10 : 0);
        for (unsigned i = 0; i < N_ROWS; i++) {
            uint64_t token = make_row(i, key, value, &row);
            assert_true(rf_sst_may_hold(table.sst, token, row.key));
            assert_rc_ok(rf_sst_get(table.sst, &block, token, row.key, &back));
            assert_true(rf_slice_eq(row.value, back.value));
            assert_int_equal(0, rf_row_compare(&row, &back));
            assert_int_equal(row.expiry_ms, back.expiry_ms);
            assert_rc(RF_NOT_FOUND, rf_sst_get(table.sst, &block, token + 1, row.key, &back));
            assert_rc(RF_NOT_FOUND,
                      rf_sst_get(table.sst, &block, token, rf_slice_str("zzz"), &back));
            assert_rc_ok(rf_sst_seek(table.sst, token, row.key, false, &iter));
            assert_true(!iter.end && rf_slice_eq(row.key, iter.row.key));
            rf_sst_iter_fini(&iter);
        }
        assert_rc_ok(rf_sst_seek(table.sst, 0, rf_slice(NULL, 0), false, &iter));
        for (; !iter.end; n++) {
            assert_int_equal(make_row(n, key, value, &row), iter.token);
            assert_true(rf_slice_eq(row.key, iter.row.key));
            assert_rc_ok(rf_sst_next(&iter));
        }
        rf_sst_iter_fini(&iter);
        assert_int_equal(N_ROWS, n);
        assert_rc_ok(rf_sst_seek(table.sst, UINT64_MAX, rf_slice(NULL, 0), false, &iter));
        assert_true(iter.end);
        const struct rf_sst_info *info = rf_sst_info(table.sst);
        assert_int_equal(1000, info->min_hlc);
        assert_int_equal(1000 + N_ROWS - 1, info->max_hlc);
        assert_int_equal((N_ROWS + 6) / 7, info->tombstones);
        check_expiries(info);
        assert_true(info->n_blocks > 10);
        assert_true(rf_sst_memory(table.sst) < 8192);
        assert_true((variant & 1) == 0 || info->file_size < info->raw_bytes);
        rf_sst_block_fini(&block);
        drop_table(&table);
    }
}

/* Goal: many blocks of one token (as hints have) are searched by key, not walked (S70). */
static void one_token(void **state)
{
    (void)state;
    struct rf_disk       *disk = rf_disk_new(1);
    struct rf_fs          fs = rf_disk_fs(disk);
    struct rf_sst_options options = {.file = 1, .table = 2};
    struct rf_sst_writer *writer = NULL;
    struct rf_sst        *sst = NULL;
    struct rf_sst_info    info;
    struct rf_sst_block   block = {0};
    struct rf_sst_iter    iter;
    struct rf_row         row, back;
    char                  key[16], value[400];
    assert_rc_ok(rf_sst_writer_new(fs, "/t", &options, &writer));
    for (unsigned i = 0; i < 4000; i++) {
        (void)make_row(i, key, value, &row);
        assert_rc_ok(rf_sst_writer_add(writer, i < 3999 ? 7 : 8, &row));
    }
    assert_rc_ok(rf_sst_writer_finish(writer, &info));
    rf_sst_writer_free(writer);
    assert_true(info.n_blocks > 100);
    assert_rc_ok(rf_sst_open(fs, "/t", 1, &sst));
    for (unsigned i = 0; i < 3999; i++) {
        (void)make_row(i, key, value, &row);
        uint64_t before = rf_disk_calls(disk);
        assert_rc_ok(rf_sst_get(sst, &block, 7, row.key, &back));
        assert_true(rf_disk_calls(disk) - before < 12);
        assert_true(rf_slice_eq(row.value, back.value));
        key[7] = '!';
        assert_rc(RF_NOT_FOUND, rf_sst_get(sst, &block, 7, rf_slice_str(key), &back));
        if (i % 50 == 0) {
            (void)make_row(i, key, value, &row);
            assert_rc_ok(rf_sst_seek(sst, 7, row.key, false, &iter));
            assert_true(rf_slice_eq(row.key, iter.row.key));
            rf_sst_iter_fini(&iter);
        }
    }
    assert_rc_ok(rf_sst_seek(sst, 7, rf_slice_str("zzz"), false, &iter));
    assert_int_equal(8, iter.token);
    rf_sst_iter_fini(&iter);
    rf_sst_block_fini(&block);
    rf_sst_close(sst);
    rf_disk_free(disk);
}

/* A token of each kind that an index may meet; ascending in i. */
static uint64_t token_of_kind(unsigned kind, uint64_t i, uint64_t n)
{
    uint64_t even = UINT64_MAX / n * i;
    switch (kind) {
    case 0:
        return even; /* uniform */
    case 1:          /* 16 narrow ranges, far from each other */
        return (i * 16 / n << 60) + i % (n / 16) * 1000;
    case 2: /* each twice as far as the one before */
        return i < 64 ? UINT64_C(1) << i : UINT64_MAX - n + i;
    case 3: /* all at the ends */
        return i < n / 2 ? 0 : UINT64_MAX;
    default: /* few tokens with many rows */
        return i / 700 * 700;
    }
}

static void write_kind(struct rf_fs fs, unsigned kind, unsigned n, struct rf_sst **ret_sst)
{
    struct rf_sst_options options = {.file = 1, .table = 2, .codec = RF_SST_LZ4};
    struct rf_sst_writer *writer = NULL;
    struct rf_sst_info    info;
    char                  key[16], value[400];
    struct rf_row         row;
    assert_rc_ok(rf_sst_writer_new(fs, "/t", &options, &writer));
    for (unsigned i = 0; i < n; i++) {
        (void)make_row(i, key, value, &row);
        row.version.writer = i * (kind + 1); /* many in one block */
        row.value.size /= 8;
        assert_rc_ok(rf_sst_writer_add(writer, token_of_kind(kind, i, n), &row));
    }
    assert_rc_ok(rf_sst_writer_finish(writer, &info));
    rf_sst_writer_free(writer);
    assert_rc_ok(rf_sst_open(fs, "/t", 1, ret_sst));
}

/* Goal: the index finds every row and no other, however tokens lie (S70). Method: files of 3,200 rows
 * with tokens of five kinds; each row by key, its neighbours' keys and tokens, and a seek. */
static void any_tokens(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 5; kind++) {
        const unsigned      n = 3200;
        struct rf_disk     *disk = rf_disk_new(1);
        struct rf_sst      *sst = NULL;
        struct rf_sst_block block = {0};
        char                key[16], value[400];
        struct rf_row       row, back;
        write_kind(rf_disk_fs(disk), kind, n, &sst);
        for (unsigned i = 0; i < n; i++) {
            uint64_t           token = token_of_kind(kind, i, n);
            struct rf_sst_iter iter;
            (void)make_row(i, key, value, &row);
            assert_rc_ok(rf_sst_get(sst, &block, token, row.key, &back));
            assert_int_equal(1000 + i, back.version.hlc);
            assert_int_equal(i * (kind + 1), back.version.writer);
            assert_int_equal(row.flags, back.flags);
            assert_int_equal(row.expiry_ms, back.expiry_ms);
            assert_int_equal(row.value.size / 8, back.value.size);
            assert_rc(RF_NOT_FOUND, rf_sst_get(sst, &block, token + 1, row.key, &back));
            assert_rc(RF_NOT_FOUND, rf_sst_get(sst, &block, token - 1, row.key, &back));
            assert_rc(RF_NOT_FOUND, rf_sst_get(sst, &block, token, rf_slice_str("k"), &back));
            if (i % 37 == 0) {
                assert_rc_ok(rf_sst_seek(sst, token, row.key, false, &iter));
                assert_true(!iter.end && iter.token == token);
                assert_int_equal(1000 + i, iter.row.version.hlc);
                rf_sst_iter_fini(&iter);
            }
        }
        rf_sst_block_fini(&block);
        rf_sst_close(sst);
        rf_disk_free(disk);
    }
}

/* Goal: no changed byte is ever served (S71, S137). Method: each byte of the file is changed; then
 * the table does not open, or reading says so, or what is read is still exactly right. */
static void every_byte_is_guarded(void **state)
{
    (void)state;
    struct table table;
    unsigned     detected = 0;
    write_table(&table, RF_SST_LZ4, 10);
    for (uint64_t at = 0; at < table.info.file_size; at++) {
        struct rf_sst     *sst = NULL;
        struct rf_sst_iter iter;
        assert_true(rf_disk_flip(table.disk, "/t.sst", at, (unsigned)(at % 8)));
        struct rf_result result = rf_sst_open(table.fs, "/t.sst", 42, &sst);
        if (rf_ok(result) && at < table.info.index_offset) {
            result = rf_sst_seek(sst, 0, rf_slice(NULL, 0), false, &iter);
            while (rf_ok(result) && !iter.end) {
                result = rf_sst_next(&iter);
            }
            rf_sst_iter_fini(&iter);
        }
        detected += result.rc == RF_CORRUPT || result.rc == RF_WRONG_VERSION ||
                    (rf_ok(result) && rf_sst_filter_damaged(sst)); /* then it is not used */
        rf_sst_close(sst);
        assert_true(rf_disk_flip(table.disk, "/t.sst", at, (unsigned)(at % 8)));
    }
    assert_int_equal(table.info.file_size, detected);
    struct rf_sst *sst = NULL;
    assert_rc(RF_CORRUPT, rf_sst_open(table.fs, "/t.sst", 43, &sst)); /* another file's number */
    drop_table(&table);
}

/* Goal: a block from another place of the file is not taken (misdirected write). */
static void blocks_know_their_place(void **state)
{
    (void)state;
    uint8_t                  block[RF_SST_BLOCK_HEADER + 4] = {0};
    struct rf_sst_block_head head = {RF_SST_DATA, RF_SST_NONE, 4, 4, 7, 4096};
    struct rf_slice          bytes = rf_slice(block, sizeof(block)), payload;
    rf_sst_block_seal(block, &head);
    assert_rc_ok(rf_sst_block_check(bytes, RF_SST_DATA, 7, 4096, &head, &payload));
    assert_rc(RF_CORRUPT, rf_sst_block_check(bytes, RF_SST_DATA, 7, 0, &head, &payload));
    assert_rc(RF_CORRUPT, rf_sst_block_check(bytes, RF_SST_DATA, 8, 4096, &head, &payload));
    assert_rc(RF_CORRUPT, rf_sst_block_check(bytes, RF_SST_INDEX, 7, 4096, &head, &payload));
    bytes.size = 10;
    assert_rc(RF_CORRUPT, rf_sst_block_check(bytes, RF_SST_DATA, 7, 4096, &head, &payload));
}

/* Goal: a newer format is refused by name, not taken for damage. */
static void newer_format(void **state)
{
    (void)state;
    uint8_t            footer[RF_SST_FOOTER];
    struct rf_sst_info info = {.file = 1, .rows = 1};
    rf_sst_footer_encode(footer, &info);
    assert_rc_ok(rf_sst_footer_decode(footer, &info));
    footer[0] ^= 1;
    assert_rc(RF_CORRUPT, rf_sst_footer_decode(footer, &info));
}

/* Goal: no key is missed; at 10 bits per key about 1 in 100 absent ones passes (S54). */
static void bloom_filter(void **state)
{
    (void)state;
    size_t        size = rf_bloom_size(10000, 10);
    uint8_t      *bits = calloc(1, size);
    struct rf_rng rng = {1};
    unsigned      wrong = 0;
    assert_int_equal(0, size % RF_BLOOM_LINE);
    for (int i = 0; i < 10000; i++) {
        rf_bloom_add(bits, size, rf_rng_next(&rng));
    }
    rng.state = 1;
    for (int i = 0; i < 10000; i++) {
        assert_true(rf_bloom_may_hold(rf_slice(bits, size), rf_rng_next(&rng)));
    }
    for (int i = 0; i < 10000; i++) {
        wrong += rf_bloom_may_hold(rf_slice(bits, size), rf_rng_next(&rng));
    }
    free(bits);
    assert_in_range(wrong, 1, 200);
    assert_true(rf_bloom_may_hold(rf_slice(NULL, 0), 5));
}

/* Goal: every failing call of the writer is told (S55). */
static void writer_failures(void **state)
{
    (void)state;
    for (uint64_t stop = 1; stop < 4; stop++) {
        struct rf_disk       *disk = rf_disk_new(stop);
        struct rf_sst_options options = {.file = 1, .table = 1, .bloom_bits_per_key = 10};
        struct rf_sst_writer *writer = NULL;
        struct rf_sst_info    info;
        struct rf_row         row = row_of("k", 1, "v");
        rf_disk_stop_after(disk, stop);
        struct rf_result result = rf_sst_writer_new(rf_disk_fs(disk), "/t", &options, &writer);
        if (rf_ok(result)) {
            assert_rc_ok(rf_sst_writer_add(writer, 1, &row));
            result = rf_sst_writer_finish(writer, &info);
        }
        assert_int_equal(RF_IO_ERROR, result.rc);
        rf_sst_writer_free(writer);
        rf_disk_free(disk);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),        cmocka_unit_test(one_token),
        cmocka_unit_test(every_byte_is_guarded), cmocka_unit_test(blocks_know_their_place),
        cmocka_unit_test(newer_format),          cmocka_unit_test(bloom_filter),
        cmocka_unit_test(writer_failures),       cmocka_unit_test(any_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
