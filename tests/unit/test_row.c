/* Rows and versions: S33, S38, D7, S116. */
#include "test_util.h"

#include "base/buf.h"
#include "format/row.h"

static struct rf_row make_row(uint64_t ms, uint64_t writer, const char *value)
{
    return (struct rf_row){.version = {rf_hlc_make(ms, 0), writer},
                           .key = rf_slice_str("k"),
                           .value = rf_slice_str(value)};
}

/* Goal: the order of versions is the one promised. Method: pairs, each checked both ways. */
static void order_of_versions(void **state)
{
    (void)state;
    struct rf_row old = make_row(1, 9, "z");
    struct rf_row new = make_row(2, 1, "a");
    struct rf_row tombstone = make_row(1, 1, "");
    struct rf_row writer = make_row(1, 10, "a");
    struct rf_row larger = make_row(1, 9, "zz");
    tombstone.flags = RF_ROW_TOMBSTONE;
    const struct rf_row *pairs[][2] = {
        {&old, &new}, {&old, &tombstone}, {&old, &writer}, {&old, &larger}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_true(rf_row_compare(pairs[i][0], pairs[i][1]) < 0);
        assert_true(rf_row_compare(pairs[i][1], pairs[i][0]) > 0);
        assert_int_equal(0, rf_row_compare(pairs[i][1], pairs[i][1]));
    }
}

/* Goal: bytes survive exactly (S3), and every cut or changed header byte is refused or differs.
 * Method: encode a row with NULs, decode every prefix. */
static void encoding_is_exact(void **state)
{
    (void)state;
    struct rf_buf buf = {0};
    struct rf_row row = make_row(77, 5, "");
    struct rf_row back;
    row.value = rf_slice("\0\1\xff\0", 4);
    row.expiry_ms = 1234567;
    rf_row_encode(&buf, &row);
    assert_int_equal(rf_row_size(&row), buf.size);
    for (size_t n = 0; n < buf.size; n++) {
        struct rf_slice cut = rf_slice(buf.data, n);
        assert_rc(RF_TRUNCATED, rf_row_decode(&cut, &back));
    }
    struct rf_slice whole = rf_buf_slice(&buf);
    assert_rc_ok(rf_row_decode(&whole, &back));
    assert_int_equal(0, whole.size);
    assert_int_equal(0, rf_row_compare(&row, &back));
    assert_true(rf_slice_eq(row.value, back.value));
    assert_int_equal(row.expiry_ms, back.expiry_ms);
    buf.data[0] = 99;
    whole = rf_buf_slice(&buf);
    assert_rc(RF_WRONG_VERSION, rf_row_decode(&whole, &back));
    rf_buf_fini(&buf);
}

/* Goal: what a client may see (S8, S72). */
static void liveness(void **state)
{
    (void)state;
    struct rf_row row = make_row(10, 1, "v");
    assert_true(rf_row_live(&row, 100));
    row.expiry_ms = 100;
    assert_true(rf_row_live(&row, 99));
    assert_false(rf_row_live(&row, 100));
    row.expiry_ms = 0;
    row.flags = RF_ROW_TOMBSTONE;
    assert_false(rf_row_live(&row, 0));
    assert_false(rf_row_live(&(struct rf_row){0}, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_versions),
        cmocka_unit_test(encoding_is_exact),
        cmocka_unit_test(liveness),
    };
    return cmocka_run_group_tests_name("row", tests, NULL, NULL);
}
