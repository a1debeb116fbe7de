/* The log-linear histogram: error bound, percentiles, merging, the ends of its range. */
#include "base/histogram.h"
#include "base/rng.h"
#include "test_util.h"

static void test_small_values_are_exact(void **state)
{
    static struct rf_histogram histogram;
    (void)state;
    histogram = (struct rf_histogram){0};
    assert_int_equal(rf_histogram_value_at(&histogram, 50000), 0);
    for (uint64_t v = 0; v < 64; v++) {
        rf_histogram_record(&histogram, v);
    }
    assert_int_equal(histogram.count, 64);
    assert_int_equal(rf_histogram_value_at(&histogram, 0), 0);
    assert_int_equal(rf_histogram_value_at(&histogram, 50000), 31);
    assert_int_equal(rf_histogram_value_at(&histogram, 100000), 63);
}

/* Whatever the value, what is read back is not below it and at most 1/64 above. */
static void test_error_bound(void **state)
{
    static struct rf_histogram histogram;
    struct rf_rng              rng = {.state = 42};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        histogram = (struct rf_histogram){0};
        uint64_t value = rf_rng_next(&rng) >> (23 + rf_rng_below(&rng, 41));
        rf_histogram_record(&histogram, value);
        rf_histogram_record(&histogram, UINT64_C(1) << 41); /* keeps `max` out of the way */
        uint64_t back = rf_histogram_value_at(&histogram, 50000);
        assert_true(back >= value);
        assert_true(back - value <= value / 64);
    }
}

static void test_percentiles_and_merge(void **state)
{
    static struct rf_histogram low;
    static struct rf_histogram high;
    (void)state;
    low = (struct rf_histogram){0};
    high = (struct rf_histogram){0};
    for (uint64_t v = 1; v <= 990; v++) {
        rf_histogram_record(&low, 1000);
    }
    for (uint64_t v = 1; v <= 10; v++) {
        rf_histogram_record(&high, 1000000 + v);
    }
    rf_histogram_merge(&low, &high);
    assert_int_equal(low.count, 1000);
    assert_int_equal(low.sum, 990 * 1000 + 10 * 1000000 + 55);
    assert_int_equal(low.max, 1000010);
    assert_in_range(rf_histogram_value_at(&low, 99000), 1000, 1015);
    assert_in_range(rf_histogram_value_at(&low, 99100), 1000000, 1000010);
    assert_int_equal(rf_histogram_value_at(&low, 100000), 1000010);
}

static void test_beyond_the_range(void **state)
{
    static struct rf_histogram histogram;
    (void)state;
    histogram = (struct rf_histogram){0};
    rf_histogram_record(&histogram, UINT64_MAX);
    rf_histogram_record(&histogram, (UINT64_C(1) << 42) - 1);
    assert_int_equal(histogram.count, 2);
    assert_true(rf_histogram_value_at(&histogram, 100000) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_values_are_exact),
        cmocka_unit_test(test_error_bound),
        cmocka_unit_test(test_percentiles_and_merge),
        cmocka_unit_test(test_beyond_the_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
