/* Hints: a row kept for a replica that could not be reached (DeCandia et al., Dynamo, 2007, 4.6).
 *
 * One row of RF_TABLE_HINTS in the holder's own store: key = target node, table, writer, item
 * key; value = the encoded item row; version = the item's; expiry = now + hint window; token = hash of the
 * target, so that one target's hints lie together. A delivered hint is removed by a tombstone of
 * the same version, which a newer hint for the key outlives. */
#ifndef RF_CORE_HINT_H
#define RF_CORE_HINT_H

#include "format/row.h"

/* Where the hints for a node are. */
uint64_t rf_hint_token(uint64_t target);

/* Makes the row that keeps `row` of `table` for `target`; it has a blob of its own (one reference
 * for the caller). Returns RF_OK, RF_TOO_LARGE (the encoded row would not fit in a value) or
 * RF_NO_MEMORY. Thread: any. Blocks: no. */
RF_CHECKED struct rf_result rf_hint_make(uint64_t target, uint64_t table, const struct rf_row *row,
                                         uint64_t expiry_ms, struct rf_row *ret_hint);

/* Takes it apart. ret_row borrows the hint's memory and names its blob, without a reference.
 * Returns RF_OK or RF_CORRUPT. */
RF_CHECKED struct rf_result rf_hint_open(const struct rf_row *hint, uint64_t *ret_target,
                                         uint64_t *ret_table, struct rf_row *ret_row);

/* Whom a hint (or its tombstone) is for; 0 when the key is damaged. */
uint64_t rf_hint_target(const struct rf_row *hint);

#endif
