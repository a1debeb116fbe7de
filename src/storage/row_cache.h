/* Rows of one table that are read again and again, for one shard (S88-S92).
 *
 * Which rows: admission by TinyLFU (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache
 * Admission Policy", ACM ToS 2017): when the cache is full a row comes in only when it was asked for more
 * often lately than the one that would go, so keys that are read once, and scans, change nothing. Which
 * row goes: SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI 2024): a hand
 * goes over the rows in order of their coming, spares those that were hit since it passed, and takes the
 * first that was not. A hit therefore moves nothing.
 *
 * Never stale (D18): the store removes a key with every row of it that is written, and everything when a
 * damage is found. Thread: owner. Blocks: no. */
#ifndef RF_STORAGE_ROW_CACHE_H
#define RF_STORAGE_ROW_CACHE_H

#include "format/row.h"

struct rf_row_cache;

/* @param max_bytes of rows and bookkeeping, at least 64 KiB. NULL without memory. */
struct rf_row_cache *rf_row_cache_new(size_t max_bytes);
void                 rf_row_cache_free(struct rf_row_cache *cache); /* NULL is allowed */

/* The key's row; false when it is not cached, or has expired (then it goes). Counts the key as asked
 * for. ret_row borrows the cache until its next change. @param wall_ms the time, 0: not known. */
bool rf_row_cache_get(struct rf_row_cache *cache, uint64_t token, struct rf_slice key,
                      uint64_t wall_ms, struct rf_row *ret_row, uint64_t *ret_seq);
/* Offers a row that was just read after a miss; its blob gets another reference when it is taken. The
 * key is not in the cache. @param seq WAL sequence that makes the row durable, 0: it is. */
void rf_row_cache_offer(struct rf_row_cache *cache, uint64_t token, const struct rf_row *row,
                        uint64_t seq);
/* Is it cached? Does not count as asked for. */
bool rf_row_cache_has(const struct rf_row_cache *cache, uint64_t token, struct rf_slice key);
void rf_row_cache_remove(struct rf_row_cache *cache, uint64_t token, struct rf_slice key);
void rf_row_cache_clear(struct rf_row_cache *cache);

struct rf_row_cache_stats {
    uint64_t hits, misses, admitted, refused, evicted, removed;
    uint64_t bytes, rows; /* gauges */
};
struct rf_row_cache_stats rf_row_cache_stats(const struct rf_row_cache *cache);

#endif
