/* Merges memtables and SSTables into one sequence of rows in (token, key) order, one row per key:
 * the resolver's winner. Thread: one at a time. Blocks: reads blocks. */
#ifndef RF_STORAGE_MERGE_H
#define RF_STORAGE_MERGE_H

#include "storage/memtable.h"
#include "storage/sst_reader.h"
#include "storage/table.h"

struct rf_merge_source {
    bool                    is_sst;
    bool                    end;
    bool                    current; /* its row has the key under the merge */
    struct rf_memtable_iter memtable;
    struct rf_sst_iter      sst;
    uint64_t                token;
    struct rf_row           row;
    uint64_t                seq; /* WAL sequence; 0: durable already */
};

struct rf_merge {
    const struct rf_table_policy *policy;
    struct rf_merge_source       *sources;
    uint32_t                      n, cap;
    bool                          end;
    uint32_t                      failed; /* the source that could not be read; cap: none */
    /* The row under the merge, unless at the end; borrows its source until the next step. */
    uint64_t      token;
    struct rf_row row;
    uint64_t      seq;
};

/* @param max_sources how many will be added. @param policy borrowed. RF_OK, RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_merge_init(struct rf_merge *merge, uint32_t max_sources,
                                          const struct rf_table_policy *policy);
void                        rf_merge_fini(struct rf_merge *merge);
/* Adds a source from its first row with (token, key) >= the given. As rf_sst_seek. */
RF_CHECKED struct rf_result rf_merge_add_sst(struct rf_merge *merge, const struct rf_sst *sst,
                                             uint64_t token, struct rf_slice key, bool cached_only);
void rf_merge_add_memtable(struct rf_merge *merge, const struct rf_memtable *memtable,
                           uint64_t token, struct rf_slice key);
/* To the first row; after all sources were added. */
void rf_merge_start(struct rf_merge *merge);
/* To the next key. As rf_sst_next. */
RF_CHECKED struct rf_result rf_merge_next(struct rf_merge *merge);
/* After a failure: the source (in order of adding) and the block that could not be read. False: it was
 * not a source. */
bool rf_merge_failed(const struct rf_merge *merge, uint32_t *ret_source, uint64_t *ret_block);

#endif
