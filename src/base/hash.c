#include "base/hash.h"

#include <xxhash.h>

uint64_t rf_hash64(struct rf_slice bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}
