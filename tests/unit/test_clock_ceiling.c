/* The hybrid clock over restarts: D7. */
#include "test_util.h"

#include "core/hlc.h"
#include "format/row.h"

#define MAX_AHEAD_MS 500u
#define START_MS 1000000u

/* One stamp; its ceiling, when it needs one, is on disk at once. */
static uint64_t stamp(struct rf_hlc *clock, uint64_t wall_ms)
{
    uint64_t hlc = 0;
    uint64_t ceiling = 0;
    if (!rf_hlc_next(clock, wall_ms, &hlc)) {
        if (!rf_hlc_wants_ceiling(clock, wall_ms, &ceiling)) {
            return 0;
        }
        rf_hlc_durable(clock, wall_ms, true);
        assert_true(rf_hlc_next(clock, wall_ms, &hlc));
    }
    assert_true(hlc <= clock->ceiling);
    return hlc;
}

/* Goal: kill -9 and restart, as often as you like and with a wall clock that was set back, never
 * makes a stamp twice or an older one, and never takes the clock further ahead than allowed.
 * Method: 200 lives of a few milliseconds each, every tenth with the wall clock a second earlier. */
static void restarts(void **state)
{
    (void)state;
    struct rf_hlc clock;
    uint64_t      ceiling = 0;
    uint64_t      last = 0;
    uint32_t      stamps = 0;
    for (uint64_t life = 0; life < 200; life++) {
        uint64_t wall_ms = START_MS + 20 * life - (life % 10 == 9 ? 1000 : 0);
        rf_hlc_init(&clock, ceiling, MAX_AHEAD_MS);
        for (uint32_t i = 0; i < 5; i++) {
            uint64_t hlc = stamp(&clock, wall_ms + i);
            if (hlc != 0) {
                assert_true(hlc > last);
                assert_true(rf_hlc_ms(hlc) <= wall_ms + i + 2 * MAX_AHEAD_MS);
                last = hlc;
                stamps++;
            }
        }
        ceiling = clock.ceiling;
    }
    assert_true(stamps > 50);
}

/* Goal: after one restart peers still believe the stamps: clocks 300 ms apart each way (D7).
 * Method: stamp until the ceiling has moved, restart at the worst moment, let a slow peer look. */
static void believed_after_a_restart(void **state)
{
    (void)state;
    struct rf_hlc clock;
    struct rf_hlc peer;
    rf_hlc_init(&clock, 0, MAX_AHEAD_MS);
    rf_hlc_init(&peer, 0, MAX_AHEAD_MS);
    for (uint64_t ms = 0; ms < 3000; ms++) {
        (void)stamp(&clock, START_MS + 300 + ms);
    }
    rf_hlc_init(&clock, clock.ceiling, MAX_AHEAD_MS);
    uint64_t hlc = stamp(&clock, START_MS + 3300);
    assert_true(hlc != 0);
    rf_hlc_observe(&peer, hlc, START_MS + 2700);
    assert_true(peer.last == hlc);
}

/* Goal: an idle clock writes nothing, and a log that fails is not asked in a loop. */
static void asks_only_when_needed(void **state)
{
    (void)state;
    struct rf_hlc clock;
    uint64_t      ceiling = 0;
    uint64_t      hlc = 0;
    rf_hlc_init(&clock, 0, MAX_AHEAD_MS);
    assert_false(rf_hlc_wants_ceiling(&clock, START_MS, &ceiling));
    assert_int_equal(0, rf_hlc_check_after_ms(&clock, START_MS));
    assert_true(stamp(&clock, START_MS) != 0);
    uint32_t asked = 0;
    for (uint64_t ms = 0; ms < 60000; ms++) {
        if (rf_hlc_wants_ceiling(&clock, START_MS + ms, &ceiling)) {
            rf_hlc_durable(&clock, START_MS + ms, true);
            asked++;
        }
    }
    assert_true(asked > 0 && asked < 100); /* ten seconds at eight a second, then silence */
    assert_false(rf_hlc_next(&clock, START_MS + 60000, &hlc));
    assert_true(rf_hlc_wants_ceiling(&clock, START_MS + 60000, &ceiling));
    rf_hlc_durable(&clock, START_MS + 60000, false);
    assert_false(rf_hlc_wants_ceiling(&clock, START_MS + 60000, &ceiling));
    assert_false(rf_hlc_next(&clock, START_MS + 60200, &hlc));
    assert_true(rf_hlc_wants_ceiling(&clock, START_MS + 60200, &ceiling));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarts),
        cmocka_unit_test(believed_after_a_restart),
        cmocka_unit_test(asks_only_when_needed),
    };
    return cmocka_run_group_tests_name("clock_ceiling", tests, NULL, NULL);
}
