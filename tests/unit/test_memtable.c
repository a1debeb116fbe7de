/* The memtable: S32, S33, S39. */
#include "store_util.h"

#include "base/hash.h"
#include "base/rng.h"
#include "storage/memtable.h"

/* Goal: newest put wins, rows come in (token, key) order, seek finds the first at or after.
 * Method: 2,000 random puts over 300 keys with colliding tokens against an array. */
static void sorted_and_exact(void **state)
{
    (void)state;
    struct rf_memtable *table = rf_memtable_new();
    struct rf_rng       rng = {5};
    uint64_t            hlc_of[300] = {0};
    char                keys[300][8];
    char                value[64];
    assert_true(rf_memtable_bytes(table) < 4096);
    assert_int_equal(UINT64_MAX, rf_memtable_first_seq(table));
    for (uint64_t i = 1; i <= 2000; i++) {
        unsigned k = (unsigned)rf_rng_below(&rng, 300);
        snprintf(keys[k], sizeof(keys[k]), "k%u", k);
        snprintf(value, sizeof(value), "%.*s%u", (int)rf_rng_below(&rng, 50),
                 "..................................................", k);
        struct rf_row row = row_of(keys[k], i, value);
        assert_rc_ok(rf_memtable_put(table, k / 3, &row, i));
        hlc_of[k] = i;
    }
    struct rf_memtable_iter iter;
    struct rf_row           row;
    uint64_t                token = 0, seq = 0, n = 0;
    for (unsigned k = 0; k < 300; k++) {
        bool found = rf_memtable_get(table, k / 3, rf_slice_str(keys[k]), &row, &seq);
        assert_int_equal(hlc_of[k] != 0, found);
        assert_true(!found || (row.version.hlc == hlc_of[k] && seq == hlc_of[k]));
        n += found;
    }
    assert_int_equal(n, rf_memtable_rows(table));
    assert_int_equal(1, rf_memtable_first_seq(table));
    uint64_t last_token = 0, walked = 0;
    rf_memtable_seek(table, 0, rf_slice(NULL, 0), &iter);
    for (; rf_memtable_iter_row(&iter, &token, &row); rf_memtable_iter_next(&iter)) {
        assert_true(token >= last_token);
        assert_int_equal(row.version.hlc, rf_memtable_iter_seq(&iter));
        last_token = token;
        walked++;
    }
    assert_int_equal(n, walked);
    rf_memtable_seek(table, 1000, rf_slice(NULL, 0), &iter);
    assert_false(rf_memtable_iter_row(&iter, &token, &row));
    rf_memtable_free(table);
    rf_memtable_free(NULL);
}

/* Puts `n` rows whose tokens the order decides, checks each after every thousandth put and at the
 * end: found, in order, none twice. */
static void fill_and_check(uint64_t n, uint64_t (*token_of_row)(uint64_t i))
{
    struct rf_memtable *table = rf_memtable_new();
    char                key[24];
    for (uint64_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "key%08u", (unsigned)(i * 7919 % n));
        struct rf_row row = row_of(key, i + 1, "v");
        assert_rc_ok(rf_memtable_put(table, token_of_row(i * 7919 % n), &row, i + 1));
        assert_int_equal(i + 1, rf_memtable_rows(table));
    }
    struct rf_memtable_iter iter;
    struct rf_row           row;
    uint64_t                token = 0, last_token = 0, seq = 0, walked = 0;
    char                    last[24] = "";
    rf_memtable_seek(table, 0, rf_slice(NULL, 0), &iter);
    for (; rf_memtable_iter_row(&iter, &token, &row); rf_memtable_iter_next(&iter), walked++) {
        struct rf_slice before = rf_slice_str(last);
        assert_true(walked == 0 || token > last_token ||
                    (token == last_token && rf_slice_cmp(before, row.key) < 0));
        struct rf_row found;
        assert_true(rf_memtable_get(table, token, row.key, &found, &seq));
        assert_ptr_equal(found.key.data, row.key.data);
        memcpy(last, row.key.data, row.key.size);
        last[row.key.size] = 0;
        last_token = token;
    }
    assert_int_equal(n, walked);
    for (uint64_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "key%08u", (unsigned)i);
        assert_true(rf_memtable_get(table, token_of_row(i), rf_slice_str(key), &row, &seq));
        snprintf(key, sizeof(key), "kez%08u", (unsigned)i);
        assert_false(rf_memtable_get(table, token_of_row(i), rf_slice_str(key), &row, &seq));
    }
    rf_memtable_free(table);
}

static uint64_t spread(uint64_t i)
{
    return rf_hash64(rf_slice(&i, sizeof(i)), 1);
}

static uint64_t narrow(uint64_t i)
{
    return (i % 7 << 60) + i / 7; /* a few narrow ranges, as a node of a large cluster has */
}

static uint64_t same(uint64_t i)
{
    (void)i;
    return 42; /* hostile: every token equal */
}

static uint64_t down(uint64_t i)
{
    return UINT64_MAX - i;
}

/* Goal: splits keep every row and the order, up to three levels, whatever the tokens look like.
 * Method: 20,000 rows of each kind, in a shuffled order. */
static void splits_keep_everything(void **state)
{
    (void)state;
    fill_and_check(20000, spread);
    fill_and_check(20000, narrow);
    fill_and_check(5000, same);
    fill_and_check(20000, down);
    fill_and_check(1, spread);
    fill_and_check(64, spread);
    fill_and_check(65, spread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sorted_and_exact),
                                       cmocka_unit_test(splits_keep_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
