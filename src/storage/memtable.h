/* Rows in memory, sorted by (token, key): one memtable per table and partition that has data.
 *
 * Invariants: one row per key, the resolver's winner. A frozen memtable never changes.
 * Thread safety: the owner thread inserts; a frozen one may be read by any thread. */
#ifndef RF_STORAGE_MEMTABLE_H
#define RF_STORAGE_MEMTABLE_H

#include "format/row.h"

struct rf_memtable;

/* NULL without memory. Starts below 4 KiB. */
struct rf_memtable *rf_memtable_new(void);
void                rf_memtable_free(struct rf_memtable *table);

/* Stores the row (copied) in place of what the key had. @param seq WAL sequence that holds it.
 * Returns RF_OK or RF_NO_MEMORY (unchanged then). Thread: owner. */
RF_CHECKED struct rf_result rf_memtable_put(struct rf_memtable *table, uint64_t token,
                                            const struct rf_row *row, uint64_t seq);

/* The key's row; false when it has none. ret_row borrows the table's memory (blob NULL). */
bool rf_memtable_get(const struct rf_memtable *table, uint64_t token, struct rf_slice key,
                     struct rf_row *ret_row, uint64_t *ret_seq);

size_t   rf_memtable_bytes(const struct rf_memtable *table); /* memory held */
uint64_t rf_memtable_rows(const struct rf_memtable *table);
uint64_t rf_memtable_first_seq(const struct rf_memtable *table); /* lowest; UINT64_MAX when empty */

/* Walks the rows in (token, key) order. A put ends the life of all iterators of the table. */
struct rf_memtable_iter {
    const void *leaf; /* NULL at the end */
    uint32_t    at;
};
/* At the first row with (token, key) >= the given. */
void rf_memtable_seek(const struct rf_memtable *table, uint64_t token, struct rf_slice key,
                      struct rf_memtable_iter *ret_iter);
/* The row under the iterator; false at the end. */
bool rf_memtable_iter_row(const struct rf_memtable_iter *iter, uint64_t *ret_token,
                          struct rf_row *ret_row);
/* The WAL sequence of the row under the iterator, which is not at the end. */
uint64_t rf_memtable_iter_seq(const struct rf_memtable_iter *iter);
void     rf_memtable_iter_next(struct rf_memtable_iter *iter);

#endif
