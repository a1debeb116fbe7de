#include "io/clock.h"

#include <time.h>

static int64_t wall_offset_ms;

void rf_clock_set_offset(int64_t offset_ms)
{
    wall_offset_ms = offset_ms;
}

struct rf_time rf_clock_now(void)
{
    struct timespec mono;
    struct timespec wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct rf_time){
        .mono_us = (uint64_t)mono.tv_sec * 1000000 + (uint64_t)mono.tv_nsec / 1000,
        .wall_ms =
            (uint64_t)((int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000 + wall_offset_ms),
    };
}
