#include "core/hlc.h"

#include "base/assert.h"
#include "format/row.h"

#define LEAD_MIN_MS 50u  /* a ceiling every 25 ms at most */
#define IN_USE_MS 10000u /* after the last stamp: then the ceiling is no longer renewed */
#define RETRY_MS 100u    /* after a ceiling that could not be written */

/* How far the ceiling is put ahead of the clock. */
static uint64_t lead_ms(const struct rf_hlc *clock)
{
    uint64_t lead = clock->max_ahead_ms / 2;
    return lead < LEAD_MIN_MS ? LEAD_MIN_MS : lead;
}

/* False as well when the wall clock was set back behind the beginning. */
static bool is_within(uint64_t begin_ms, uint64_t wall_ms, uint64_t length_ms)
{
    return begin_ms != 0 && wall_ms >= begin_ms && wall_ms - begin_ms < length_ms;
}

static bool is_in_use(const struct rf_hlc *clock, uint64_t wall_ms)
{
    return clock->starved || is_within(clock->used_ms, wall_ms, IN_USE_MS);
}

static bool is_too_far_ahead(const struct rf_hlc *clock, uint64_t hlc, uint64_t wall_ms)
{
    return rf_hlc_ms(hlc) > wall_ms + 2 * clock->max_ahead_ms;
}

void rf_hlc_init(struct rf_hlc *clock, uint64_t ceiling, uint64_t max_ahead_ms)
{
    *clock = (struct rf_hlc){.last = ceiling, .ceiling = ceiling, .max_ahead_ms = max_ahead_ms};
}

void rf_hlc_observe(struct rf_hlc *clock, uint64_t hlc, uint64_t wall_ms)
{
    if (hlc > clock->last && !is_too_far_ahead(clock, hlc, wall_ms)) {
        clock->last = hlc;
    }
}

static uint64_t next_value(const struct rf_hlc *clock, uint64_t wall_ms)
{
    uint64_t physical = rf_hlc_make(wall_ms, 0);
    return physical > clock->last ? physical : clock->last + 1;
}

bool rf_hlc_next(struct rf_hlc *clock, uint64_t wall_ms, uint64_t *ret_hlc)
{
    uint64_t next = next_value(clock, wall_ms);
    clock->used_ms = wall_ms;
    if (is_too_far_ahead(clock, next, wall_ms)) {
        return false;
    }
    if (next > clock->ceiling) {
        clock->starved = true;
        return false;
    }
    rf_assert(next > clock->last);
    clock->last = next;
    *ret_hlc = next;
    return true;
}

bool rf_hlc_wants_ceiling(struct rf_hlc *clock, uint64_t wall_ms, uint64_t *ret_ceiling)
{
    uint64_t next = next_value(clock, wall_ms);
    if (clock->asked != 0 || !is_in_use(clock, wall_ms) ||
        is_within(clock->failed_ms, wall_ms, RETRY_MS) || is_too_far_ahead(clock, next, wall_ms)) {
        return false;
    }
    if (!clock->starved && rf_hlc_ms(next) + lead_ms(clock) / 2 < rf_hlc_ms(clock->ceiling)) {
        return false;
    }
    clock->starved = false;
    clock->asked = rf_hlc_make(rf_hlc_ms(next) + lead_ms(clock), 0);
    *ret_ceiling = clock->asked;
    return true;
}

uint64_t rf_hlc_check_after_ms(const struct rf_hlc *clock, uint64_t wall_ms)
{
    return is_in_use(clock, wall_ms) ? lead_ms(clock) / 4 : 0;
}

void rf_hlc_durable(struct rf_hlc *clock, uint64_t wall_ms, bool ok)
{
    rf_assert(clock->asked != 0);
    if (ok && clock->asked > clock->ceiling) {
        clock->ceiling = clock->asked;
    }
    clock->failed_ms = ok ? 0 : wall_ms;
    clock->asked = 0;
}
