/* The two clocks that the host hands to everything: nobody below the host reads a clock. */
#ifndef RF_BASE_TIME_H
#define RF_BASE_TIME_H

#include <stdint.h>

struct rf_time {
    uint64_t mono_us; /* monotonic, for timeouts and failure detection */
    uint64_t wall_ms; /* milliseconds since the epoch, for versions and expiry */
};

#endif
