/* Hybrid logical clock of one shard (Kulkarni et al. 2014): physical milliseconds and a counter.
 * Takes in every peer's clock, never goes back, also not over a restart: a ceiling is made durable
 * ahead of use and the clock stamps nothing above it (D7).
 *
 * After a restart the clock goes on at its ceiling, so the distance between ceiling and clock is how
 * far ahead of the others a restarted node stamps. It is half of max_ahead, so that peers with
 * clocks that are as far off as they may be still believe those stamps. */
#ifndef RF_CORE_HLC_H
#define RF_CORE_HLC_H

#include <stdbool.h>
#include <stdint.h>

struct rf_hlc {
    uint64_t last;         /* highest value stamped or seen */
    uint64_t ceiling;      /* durable; nothing above it is stamped */
    uint64_t asked;        /* a ceiling on its way to the disk; 0: none */
    uint64_t max_ahead_ms; /* clock.max_ahead: how far a peer may be ahead of our physical clock */
    uint64_t used_ms;      /* physical time of the last stamp that was wanted */
    uint64_t failed_ms;    /* physical time when a ceiling could not be written; 0: it could */
    bool     starved;      /* a stamp waits for a higher ceiling */
};

/* @param ceiling the last durable ceiling, 0 at the first start. The clock goes on above it. */
void rf_hlc_init(struct rf_hlc *clock, uint64_t ceiling, uint64_t max_ahead_ms);
/* Takes in a peer's clock. One that is more than 2 x max_ahead in front is not believed. */
void rf_hlc_observe(struct rf_hlc *clock, uint64_t hlc, uint64_t wall_ms);
/* The next stamp, above everything stamped or seen. False when it has to wait: for a higher durable
 * ceiling, or because it would be more than 2 x max_ahead in front of physical time (D7). */
bool rf_hlc_next(struct rf_hlc *clock, uint64_t wall_ms, uint64_t *ret_hlc);
/* Is it time to raise the ceiling? Yes when a stamp waits for it, or while stamps are made and half
 * of the way is used up. Then *ret_ceiling is to be made durable, and true is answered once until
 * rf_hlc_durable is told. An idle clock asks for nothing. */
bool rf_hlc_wants_ceiling(struct rf_hlc *clock, uint64_t wall_ms, uint64_t *ret_ceiling);
/* After how many milliseconds to ask again whether it wants one; 0: not until the next stamp. */
uint64_t rf_hlc_check_after_ms(const struct rf_hlc *clock, uint64_t wall_ms);
/* The asked-for ceiling is on disk (ok), or could not be written: it is asked for again a little
 * later, since a log that has failed answers at once, for ever. */
void rf_hlc_durable(struct rf_hlc *clock, uint64_t wall_ms, bool ok);

#endif
