#include "core/hlc.h"

#include "base/assert.h"
#include "format/row.h"

void rf_hlc_init(struct rf_hlc *clock, uint64_t ceiling, uint64_t max_ahead_ms)
{
    *clock = (struct rf_hlc){.last = ceiling, .ceiling = ceiling, .max_ahead_ms = max_ahead_ms};
}

void rf_hlc_observe(struct rf_hlc *clock, uint64_t hlc, uint64_t wall_ms)
{
    if (hlc > clock->last && rf_hlc_ms(hlc) <= wall_ms + 2 * clock->max_ahead_ms) {
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
    if (next > clock->ceiling) {
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
    if (clock->asked != 0 || rf_hlc_ms(next) + RF_HLC_AHEAD_MS / 2 < rf_hlc_ms(clock->ceiling)) {
        return false;
    }
    clock->asked = rf_hlc_make(rf_hlc_ms(next) + RF_HLC_AHEAD_MS, 0);
    *ret_ceiling = clock->asked;
    return true;
}

void rf_hlc_durable(struct rf_hlc *clock, bool ok)
{
    rf_assert(clock->asked != 0);
    if (ok && clock->asked > clock->ceiling) {
        clock->ceiling = clock->asked;
    }
    clock->asked = 0;
}
