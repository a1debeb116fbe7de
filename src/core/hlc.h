/* Hybrid logical clock of one shard (Kulkarni et al. 2014): physical milliseconds and a counter.
 * Takes in every peer's clock, never goes back, also not over a restart: a ceiling is made durable
 * ahead of use and the clock stamps nothing above it (D7). */
#ifndef RF_CORE_HLC_H
#define RF_CORE_HLC_H

#include <stdbool.h>
#include <stdint.h>

#define RF_HLC_AHEAD_MS 3000u /* the ceiling is put this far ahead of the clock */

struct rf_hlc {
    uint64_t last;         /* highest value stamped or seen */
    uint64_t ceiling;      /* durable; nothing above it is stamped */
    uint64_t asked;        /* a ceiling on its way to the disk; 0: none */
    uint64_t max_ahead_ms; /* clock.max_ahead: how far a peer may be ahead of our physical clock */
};

/* @param ceiling the last durable ceiling, 0 at the first start. The clock goes on above it. */
void rf_hlc_init(struct rf_hlc *clock, uint64_t ceiling, uint64_t max_ahead_ms);
/* Takes in a peer's clock. One that is more than 2 x max_ahead in front is not believed. */
void rf_hlc_observe(struct rf_hlc *clock, uint64_t hlc, uint64_t wall_ms);
/* The next stamp, above everything stamped or seen. False when that is above the durable ceiling:
 * wait for rf_hlc_durable. */
bool rf_hlc_next(struct rf_hlc *clock, uint64_t wall_ms, uint64_t *ret_hlc);
/* Is it time to raise the ceiling (half of the way is used up)? Then *ret_ceiling is to be made
 * durable, and true is answered once until rf_hlc_durable is told. */
bool rf_hlc_wants_ceiling(struct rf_hlc *clock, uint64_t wall_ms, uint64_t *ret_ceiling);
/* The asked-for ceiling is on disk (ok), or could not be written (then it will be asked again). */
void rf_hlc_durable(struct rf_hlc *clock, bool ok);

#endif
