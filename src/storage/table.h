/* What storage needs to know of a table. */
#ifndef RF_STORAGE_TABLE_H
#define RF_STORAGE_TABLE_H

#include "format/row.h"
#include "ringfort/plugin.h"

/* When an apply is acknowledged (D5). */
enum rf_sync_mode {
    RF_SYNC_GROUP,    /* it is on disk */
    RF_SYNC_INTERVAL, /* it is written: a killed process loses nothing, a power cut what was written in
                         the last sync_interval_ms */
    RF_SYNC_NONE,     /* it is written, and synced when the system likes, or with others */
};

struct rf_table_policy {
    uint64_t                        id;
    const struct rf_host           *host; /* handed to plugins */
    const struct rf_conflict_ops   *conflict;
    const void                     *conflict_options;
    const struct rf_compaction_ops *compaction; /* NULL: tables of users are not compacted */
    const void                     *compaction_options;
    uint32_t                        bloom_bits_per_key; /* 0: no filter */
    bool                            lz4;                /* compress data blocks */
    uint64_t                        row_cache_bytes;    /* of the node; 0: no row cache */
    uint64_t                        max_ttl_ms; /* every item expires within it; 0: it need not */
    uint64_t                        tombstone_grace_ms; /* a tombstone is kept at least so long */
    uint64_t                        max_ahead_ms; /* how far a version may be ahead of the clock */
    enum rf_sync_mode               sync;
    uint32_t                        sync_interval_ms; /* INTERVAL: 1 … */
};

/* Which of two versions of a key survives: > 0 when `a` does, <= 0 for `b`. NULL policy or conflict
 * (tables of the node itself, or unknown ones) and RF_NEWEST_WINS: the core's order of versions;
 * builds with slow assertions then ask the plugin as well and compare. */
int rf_table_resolve(const struct rf_table_policy *policy, const struct rf_row *a,
                     const struct rf_row *b);

#endif
