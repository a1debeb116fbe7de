/* The memtable: S32, S33, S39. */
#include "store_util.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sorted_and_exact)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
