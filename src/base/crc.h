/* CRC32C (Castagnoli): the checksum of every record, block and frame. Thread: any. */
#ifndef RF_BASE_CRC_H
#define RF_BASE_CRC_H

#include "base/slice.h"

/* Checksum of the bytes, going on from `seed` (0 for the first piece).
 * Mind: the checksum of nothing is 0, so a format must refuse a length of 0 by itself. */
uint32_t rf_crc32c(uint32_t seed, struct rf_slice bytes);

#endif
