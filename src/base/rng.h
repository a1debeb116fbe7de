/* A small seeded generator (SplitMix64, Steele et al. 2014). For choices that need no secrecy;
 * the host seeds it, so that equal seeds give equal runs. */
#ifndef RF_BASE_RNG_H
#define RF_BASE_RNG_H

#include <stdint.h>

struct rf_rng {
    uint64_t state;
};

static inline uint64_t rf_rng_next(struct rf_rng *rng)
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in 0 … n-1, n >= 1. The bias of n / 2^64 does not matter for our uses. */
static inline uint64_t rf_rng_below(struct rf_rng *rng, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rf_rng_next(rng) * n) >> 64);
}

#endif
