/* A split-block Bloom filter: each key sets one bit in each of the eight words of one 64-byte line,
 * so that a probe touches one cache line (Putze, Sanders, Singler 2007, "blocked"; split as in
 * Parquet's). At 10 bits per key about 1 % of the absent keys pass. Thread: any, it never changes
 * after it was built. */
#ifndef RF_STORAGE_BLOOM_H
#define RF_STORAGE_BLOOM_H

#include "base/slice.h"

#define RF_BLOOM_LINE 64u /* bytes */

/* Bytes of a filter for n keys: whole lines, at least one. @param bits_per_key 1 … 64. */
size_t rf_bloom_size(uint64_t n_keys, uint32_t bits_per_key);
/* @param bits rf_bloom_size bytes, zeroed before the first key; little-endian words. */
void rf_bloom_add(uint8_t *bits, size_t size, uint64_t hash);
/* False: the key was certainly not added. An empty filter says true. */
bool rf_bloom_may_hold(struct rf_slice bits, uint64_t hash);

#endif
