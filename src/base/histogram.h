/* A log-linear histogram: 64 buckets per power of two, so that a value read back is at most 1/64
 * (1.6 %) above the one recorded, whatever its size (the idea of HdrHistogram, G. Tene).
 * Pure and without allocation; 19 KiB each. Thread: one. Blocks: no. */
#ifndef RF_BASE_HISTOGRAM_H
#define RF_BASE_HISTOGRAM_H

#include <stdint.h>

#define RF_HISTOGRAM_SUB_BITS 6u
#define RF_HISTOGRAM_MAX_BITS 42u /* 2^42 ns are 73 minutes */
#define RF_HISTOGRAM_BUCKETS                                                                       \
    ((RF_HISTOGRAM_MAX_BITS - RF_HISTOGRAM_SUB_BITS + 1u) << RF_HISTOGRAM_SUB_BITS)

/* All zero is an empty one. */
struct rf_histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max; /* exact */
    uint64_t buckets[RF_HISTOGRAM_BUCKETS];
};

/* Adds one value, in any unit. Values of 2^42 and more count in the last bucket. */
void rf_histogram_record(struct rf_histogram *histogram, uint64_t value);

/* Adds all of `from`. */
void rf_histogram_merge(struct rf_histogram *histogram, const struct rf_histogram *from);

/* The smallest bucket end that at least `share` of all values do not exceed.
 * @param share in 1/100000, 0 to 100000: 50000 is the median, 99900 the 99.9th percentile.
 * 0 when the histogram is empty; never above `max`. */
uint64_t rf_histogram_value_at(const struct rf_histogram *histogram, uint32_t share);

#endif
