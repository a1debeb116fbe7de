/* In the host half of `base`, because the pure core sends structs, not bytes, and needs no checksum. */
#include "base/crc.h"

#include <isa-l/crc.h>

uint32_t rf_crc32c(uint32_t seed, struct rf_slice bytes)
{
    /* The library takes a non-const pointer and an int length; it writes nothing. */
    const uint8_t *at = bytes.data;
    size_t         left = bytes.size;
    uint32_t       crc = ~seed;
    while (left != 0) {
        size_t n = left < (1u << 30) ? left : (1u << 30);
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)n, crc);
        at += n;
        left -= n;
    }
    return ~crc;
}
