/* Whose clock is off: D7. */
#include "test_util.h"

#include "core/clock_watch.h"

static struct rf_time at(uint64_t ms)
{
    return (struct rf_time){.mono_us = (1000 + ms) * 1000, .wall_ms = 1000000 + ms};
}

/* A message of `node`, whose clock is offset_ms off ours, that was delay_ms on its way. */
static void hear(struct rf_clock_watch *watch, uint64_t node, int64_t offset_ms, uint64_t delay_ms,
                 uint64_t now_ms)
{
    (void)rf_clock_watch_hear(
        watch, node, (uint64_t)((int64_t)(1000000 + now_ms - delay_ms) + offset_ms), at(now_ms));
}

/* Goal: below four peers all must agree, and one peer alone decides nothing. */
static void few_peers(void **state)
{
    (void)state;
    struct rf_clock_watch watch;
    rf_clock_watch_init(&watch, 500);
    hear(&watch, 1, -10000, 0, 0);
    assert_false(watch.off);
    hear(&watch, 2, 0, 0, 0);
    assert_false(watch.off); /* the first one is wrong, not we */
    rf_clock_watch_init(&watch, 500);
    hear(&watch, 1, -10000, 0, 0);
    hear(&watch, 2, -9990, 0, 0);
    assert_true(watch.off);
    hear(&watch, 1, 10, 0, 10);
    assert_false(watch.off); /* ours was put right */
    rf_clock_watch_init(&watch, 500);
    hear(&watch, 1, 10000, 0, 0);
    hear(&watch, 2, -10000, 0, 0);
    assert_false(watch.off); /* they agree on nothing */
}

/* Goal: with more peers the median decides, however wrong the minority is. */
static void median_of_many(void **state)
{
    (void)state;
    struct rf_clock_watch watch;
    rf_clock_watch_init(&watch, 500);
    for (uint64_t node = 1; node <= 7; node++) {
        hear(&watch, node, node <= 3 ? 60000 : 20, 0, node);
    }
    assert_false(watch.off);
    hear(&watch, 4, 60000, 0, 20);
    assert_true(watch.off);
    for (uint64_t node = 100; node < 200; node++) {
        hear(&watch, node, 0, 0, node); /* more peers than are kept */
    }
    assert_int_equal(RF_CLOCK_PEERS, watch.n);
    assert_false(watch.off);
}

/* Goal: messages that waited (we were frozen, the network was slow) do not make us wrong.
 * Method: late ones from all peers between timely ones. */
static void late_messages(void **state)
{
    (void)state;
    struct rf_clock_watch watch;
    rf_clock_watch_init(&watch, 500);
    for (uint64_t ms = 0; ms < 10000; ms += 100) {
        uint64_t delay_ms = ms % 1000 == 0 ? 1 : 3000;
        hear(&watch, 1, 0, delay_ms, ms);
        hear(&watch, 2, 0, delay_ms, ms);
        assert_false(watch.off);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_peers),
        cmocka_unit_test(median_of_many),
        cmocka_unit_test(late_messages),
    };
    return cmocka_run_group_tests_name("clock_watch", tests, NULL, NULL);
}
