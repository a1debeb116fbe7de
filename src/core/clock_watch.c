#include "core/clock_watch.h"

#include "base/assert.h"

#define FORGET_US 30000000u /* a peer not heard for so long has no voice */
/* A message that waited in a queue makes its sender look slow, never fast. So the largest offset
 * counts, for this long. */
#define BEST_US 2000000u

void rf_clock_watch_init(struct rf_clock_watch *watch, uint64_t max_ahead_ms)
{
    *watch = (struct rf_clock_watch){.max_ahead_ms = max_ahead_ms};
}

/* The peer's place; a new one takes the place of the one heard longest ago. */
static struct rf_clock_peer *peer_of(struct rf_clock_watch *watch, uint64_t node)
{
    struct rf_clock_peer *oldest = &watch->peers[0];
    for (uint32_t i = 0; i < watch->n; i++) {
        if (watch->peers[i].node == node) {
            return &watch->peers[i];
        }
        if (watch->peers[i].heard_us < oldest->heard_us) {
            oldest = &watch->peers[i];
        }
    }
    if (watch->n < RF_CLOCK_PEERS) {
        oldest = &watch->peers[watch->n++];
    }
    *oldest = (struct rf_clock_peer){.node = node};
    return oldest;
}

static bool judge(const struct rf_clock_watch *watch, uint64_t now_us)
{
    int64_t  max_ms = (int64_t)watch->max_ahead_ms;
    uint32_t n = 0;
    uint32_t ahead = 0;
    uint32_t behind = 0;
    for (uint32_t i = 0; i < watch->n; i++) {
        const struct rf_clock_peer *peer = &watch->peers[i];
        if (now_us - peer->heard_us <= FORGET_US) {
            n++;
            ahead += peer->offset_ms > max_ms;
            behind += peer->offset_ms < -max_ms;
        }
    }
    rf_assert(ahead + behind <= n);
    if (n < 2) {
        return watch->off;
    }
    uint32_t needed = n >= 4 ? n / 2 + 1 : n;
    return ahead >= needed || behind >= needed;
}

bool rf_clock_watch_hear(struct rf_clock_watch *watch, uint64_t node, uint64_t wall_ms,
                         struct rf_time now)
{
    struct rf_clock_peer *peer = peer_of(watch, node);
    int64_t               offset_ms = (int64_t)(wall_ms - now.wall_ms);
    bool                  fresh = peer->taken_us != 0 && now.mono_us - peer->taken_us <= BEST_US;
    if (!fresh || offset_ms >= peer->offset_ms) {
        peer->offset_ms = offset_ms;
        peer->taken_us = now.mono_us;
    }
    peer->heard_us = now.mono_us;
    bool before = watch->off;
    watch->off = judge(watch, now.mono_us);
    return watch->off != before;
}
