#include "base/histogram.h"

#include "base/assert.h"

#define SUB_COUNT (UINT64_C(1) << RF_HISTOGRAM_SUB_BITS)

/* Values below 64 have a bucket each; above, the top 7 bits (the first is always 1) choose it. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < SUB_COUNT) {
        return (uint32_t)value;
    }
    if (value >> RF_HISTOGRAM_MAX_BITS != 0) {
        return RF_HISTOGRAM_BUCKETS - 1;
    }
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - RF_HISTOGRAM_SUB_BITS;
    uint32_t bucket = (uint32_t)(shift * SUB_COUNT + (value >> shift));
    rf_assert(bucket < RF_HISTOGRAM_BUCKETS);
    return bucket;
}

/* The largest value that falls into the bucket. */
static uint64_t end_of(uint32_t bucket)
{
    if (bucket < SUB_COUNT) {
        return bucket;
    }
    uint32_t shift = bucket / (uint32_t)SUB_COUNT - 1;
    uint64_t top = bucket - shift * SUB_COUNT;
    return ((top + 1) << shift) - 1;
}

void rf_histogram_record(struct rf_histogram *histogram, uint64_t value)
{
    uint32_t bucket = bucket_of(value);
    rf_slow_assert(bucket == RF_HISTOGRAM_BUCKETS - 1 || value <= end_of(bucket));
    histogram->buckets[bucket]++;
    histogram->count++;
    histogram->sum += value;
    histogram->max = value > histogram->max ? value : histogram->max;
}

void rf_histogram_merge(struct rf_histogram *histogram, const struct rf_histogram *from)
{
    for (uint32_t i = 0; i < RF_HISTOGRAM_BUCKETS; i++) {
        histogram->buckets[i] += from->buckets[i];
    }
    histogram->count += from->count;
    histogram->sum += from->sum;
    histogram->max = from->max > histogram->max ? from->max : histogram->max;
}

uint64_t rf_histogram_value_at(const struct rf_histogram *histogram, uint32_t share)
{
    rf_assert(share <= 100000);
    uint64_t wanted =
        histogram->count / 100000 * share + (histogram->count % 100000 * share + 99999) / 100000;
    uint64_t seen = 0;
    wanted = wanted == 0 ? 1 : wanted;
    for (uint32_t i = 0; i < RF_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            uint64_t end = end_of(i);
            return end < histogram->max && i != RF_HISTOGRAM_BUCKETS - 1 ? end : histogram->max;
        }
    }
    rf_assert(histogram->count == 0);
    return 0;
}
