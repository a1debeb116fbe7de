/* XXH3 (64 bit, seeded): places keys on the ring and in filters. Thread: any. Blocks: no. */
#ifndef RF_BASE_HASH_H
#define RF_BASE_HASH_H

#include "base/slice.h"

/* Seeded per cluster, so that nobody outside can choose keys that collide. */
uint64_t rf_hash64(struct rf_slice bytes, uint64_t seed);

#endif
