/* Is this node's wall clock off? Compares it with the physical time in peers' messages (D7). With four
 * peers or more their median decides; with fewer all of them have to agree, and at least two: of two
 * nodes that disagree nobody can say which is wrong. */
#ifndef RF_CORE_CLOCK_WATCH_H
#define RF_CORE_CLOCK_WATCH_H

#include <stdbool.h>

#include "base/time.h"

#define RF_CLOCK_PEERS 16u /* heard last; enough for a median */

struct rf_clock_peer {
    uint64_t node;
    int64_t  offset_ms; /* its clock minus ours */
    uint64_t taken_us;  /* when that was measured */
    uint64_t heard_us;
};

struct rf_clock_watch {
    uint64_t             max_ahead_ms;
    bool                 off; /* the verdict */
    uint32_t             n;
    struct rf_clock_peer peers[RF_CLOCK_PEERS];
};

/* @param max_ahead_ms clock.max_ahead. Zeroed memory with this set is a valid start. */
void rf_clock_watch_init(struct rf_clock_watch *watch, uint64_t max_ahead_ms);

/* A message of a peer has come in. @param wall_ms its physical time when it was sent.
 * Returns true when the verdict has changed. Thread: owner. Blocks: no. */
bool rf_clock_watch_hear(struct rf_clock_watch *watch, uint64_t node, uint64_t wall_ms,
                         struct rf_time now);

#endif
