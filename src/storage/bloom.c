#include "storage/bloom.h"

#include "base/assert.h"

/* Odd multipliers without a pattern among them: those of the Parquet format's filter. (Multiples of
 * one constant make the eight bits depend on each other and triple the false answers.) */
static const uint32_t salts[8] = {
    0x47b6137bu, 0x44974d91u, 0x8824ad5bu, 0xa2b7289du,
    0x705495c7u, 0x2df1424bu, 0x9efc4947u, 0x5c6bfb31u,
};

size_t rf_bloom_size(uint64_t n_keys, uint32_t bits_per_key)
{
    rf_assert(bits_per_key >= 1 && bits_per_key <= 64);
    uint64_t bits = n_keys * bits_per_key;
    uint64_t lines = (bits + RF_BLOOM_LINE * 8 - 1) / (RF_BLOOM_LINE * 8);
    return (size_t)(lines == 0 ? 1 : lines) * RF_BLOOM_LINE;
}

/* The upper half of the hash picks the line, the lower half the bits in it. */
static size_t line_of(size_t size, uint64_t hash)
{
    return (size_t)(((hash >> 32) * (size / RF_BLOOM_LINE)) >> 32) * RF_BLOOM_LINE;
}

static size_t bit_of(uint64_t hash, unsigned word)
{
    return (uint32_t)((uint32_t)hash * salts[word]) >> 26;
}

void rf_bloom_add(uint8_t *bits, size_t size, uint64_t hash)
{
    rf_assert(size != 0 && size % RF_BLOOM_LINE == 0);
    uint8_t *line = bits + line_of(size, hash);
    for (unsigned word = 0; word < 8; word++) {
        size_t bit = bit_of(hash, word);
        line[word * 8 + bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
}

bool rf_bloom_may_hold(struct rf_slice bits, uint64_t hash)
{
    if (bits.size == 0) {
        return true;
    }
    const uint8_t *line = bits.data + line_of(bits.size, hash);
    for (unsigned word = 0; word < 8; word++) {
        size_t bit = bit_of(hash, word);
        if ((line[word * 8 + bit / 8] & 1u << (bit % 8)) == 0) {
            return false;
        }
    }
    return true;
}
