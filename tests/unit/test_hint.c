/* Hints as rows: S41, S45, S48. */
#include "test_util.h"

#include <string.h>

#include "core/hint.h"

static struct rf_row item(struct rf_slice key, struct rf_slice value)
{
    return (struct rf_row){
        .version = {rf_hlc_make(1000, 3), 77}, .expiry_ms = 5000, .key = key, .value = value};
}

/* Goal: an item comes out of its hint as it went in, with version and expiry, up to the longest key;
 * deletes too; and the hint survives the row encoding of the store. */
static void hints_keep_rows(void **state)
{
    (void)state;
    static uint8_t key[RF_KEY_MAX];
    memset(key, 'k', sizeof(key));
    static const size_t sizes[] = {1, 100, RF_KEY_MAX};
    for (size_t i = 0; i < 6; i++) {
        struct rf_row row = item(rf_slice(key, sizes[i / 2]), rf_slice("a\0b", 3));
        if (i % 2 == 1) {
            row.flags = RF_ROW_TOMBSTONE;
            row.value = rf_slice(NULL, 0);
        }
        struct rf_row hint = {0};
        struct rf_row back = {0};
        struct rf_row stored = {0};
        struct rf_buf buf = {0};
        uint64_t      target = 0;
        uint64_t      table = 0;
        assert_rc_ok(rf_hint_make(0x1234500, 42, &row, 9000, &hint));
        assert_int_equal(9000, hint.expiry_ms);
        assert_int_equal(row.version.hlc, hint.version.hlc);
        rf_row_encode(&buf, &hint);
        struct rf_slice bytes = rf_buf_slice(&buf);
        assert_rc_ok(rf_row_decode(&bytes, &stored));
        assert_rc_ok(rf_hint_open(&stored, &target, &table, &back));
        assert_int_equal(0x1234500, target);
        assert_int_equal(42, table);
        assert_int_equal(0, rf_row_compare(&row, &back));
        assert_int_equal(row.expiry_ms, back.expiry_ms);
        assert_int_equal(row.flags, back.flags);
        assert_true(rf_slice_eq(row.key, back.key));
        assert_true(rf_slice_eq(row.value, back.value));
        rf_buf_fini(&buf);
        rf_blob_drop(hint.blob);
    }
}

/* Goal: the tombstone that removes a delivered hint hides that hint and no newer one (S43). */
static void removal_spares_newer_hints(void **state)
{
    (void)state;
    struct rf_row hint = {.version = {10, 1}, .key = rf_slice_str("k"), .value = rf_slice_str("v")};
    struct rf_row removal = {.version = {10, 1}, .key = hint.key, .flags = RF_ROW_TOMBSTONE};
    struct rf_row newer = hint;
    newer.version.hlc = 11;
    assert_true(rf_row_compare(&removal, &hint) > 0);
    assert_true(rf_row_compare(&newer, &removal) > 0);
}

/* Goal: at equal clocks a delete beats a value whoever wrote it; neither hint may replace the other.
 * Method: the hints' keys differ (seed 3022 of the simulator lost the delete). */
static void writers_do_not_replace_each_other(void **state)
{
    (void)state;
    struct rf_row value = item(rf_slice_str("key"), rf_slice_str("value"));
    struct rf_row gone = item(rf_slice_str("key"), rf_slice(NULL, 0));
    struct rf_row hints[2] = {{.flags = 0}, {.flags = 0}};
    value.version.writer = 9;
    gone.version.writer = 3;
    gone.flags = RF_ROW_TOMBSTONE;
    assert_true(rf_row_compare(&gone, &value) > 0);
    assert_rc_ok(rf_hint_make(256, 42, &value, 1, &hints[0]));
    assert_rc_ok(rf_hint_make(256, 42, &gone, 1, &hints[1]));
    assert_false(rf_slice_eq(hints[0].key, hints[1].key));
    rf_blob_drop(hints[0].blob);
    rf_blob_drop(hints[1].blob);
}

/* Goal: a damaged hint is refused. Method: cut keys and values, another key inside. */
static void damaged_hints_are_refused(void **state)
{
    (void)state;
    struct rf_row row = item(rf_slice_str("key"), rf_slice_str("value"));
    struct rf_row hint = {0};
    struct rf_row out = {0};
    uint64_t      target = 0;
    uint64_t      table = 0;
    assert_rc_ok(rf_hint_make(256, 42, &row, 1, &hint));
    for (size_t n = 0; n < hint.value.size; n++) {
        struct rf_row cut = hint;
        cut.value.size = n;
        assert_rc(RF_CORRUPT, rf_hint_open(&cut, &target, &table, &out));
    }
    for (size_t n = 0; n < hint.key.size; n++) {
        struct rf_row cut = hint;
        cut.key.size = n;
        assert_rc(RF_CORRUPT, rf_hint_open(&cut, &target, &table, &out));
    }
    hint.blob->data[RF_ROW_KEY_PREFIX] = 'K';
    assert_rc(RF_CORRUPT, rf_hint_open(&hint, &target, &table, &out));
    rf_blob_drop(hint.blob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hints_keep_rows),
        cmocka_unit_test(removal_spares_newer_hints),
        cmocka_unit_test(writers_do_not_replace_each_other),
        cmocka_unit_test(damaged_hints_are_refused),
    };
    return cmocka_run_group_tests_name("hint", tests, NULL, NULL);
}
