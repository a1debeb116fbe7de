/* The view: what a request needs to know of the cluster, in one immutable, reference-counted
 * snapshot: the ring, the tables, and per table the replicas of every ring position. The control
 * thread builds it; shards take the newest at the start of a turn. */
#ifndef RF_RING_VIEW_H
#define RF_RING_VIEW_H

#include "ring/ring.h"

/* A table as requests see it. The storage side of its definition (compaction, compression) is
 * known to the host only. */
struct rf_table {
    uint64_t                       id; /* hash of name and incarnation */
    char                           name[RF_NAME_MAX + 1];
    uint8_t                        n;
    uint8_t                        write_quorum;
    uint8_t                        read_quorum;
    bool                           default_strong;
    bool                           read_repair_confirm;
    uint64_t                       default_ttl_s; /* 0: none */
    uint64_t                       max_ttl_s;     /* 0: none */
    const struct rf_placement_ops *placement;
    const void                    *placement_options;
    bool misplaced; /* the placement plugin failed or answered wrongly: it is not asked again */
    /* Filled by rf_view_build: n_tokens rows of `n_placed` members; NULL without an owner. */
    uint16_t *replicas;
    uint8_t   n_placed; /* min(n, owners) */
};

struct rf_view {
    uint32_t         magic;
    _Atomic uint32_t refs;
    struct rf_ring  *ring; /* one reference */
    uint32_t         n_tables;
    struct rf_table *tables; /* sorted by name */
};

/* Builds a view over the ring (takes a reference) and copies of the tables, given sorted by name.
 * A table whose placement plugin fails becomes `misplaced`: it keeps the replicas that it has in the view
 * before, if any and if no range has changed since; else `replicas` is NULL, and requests answer 503.
 * @param before the view in use, or NULL. Returns RF_OK or RF_NO_MEMORY. The caller holds one reference. */
RF_CHECKED struct rf_result rf_view_build(struct rf_ring *ring, const struct rf_table *tables,
                                          uint32_t n_tables, const struct rf_host *host,
                                          const struct rf_view *before, struct rf_view **ret_view);
struct rf_view             *rf_view_take(struct rf_view *view);
void                        rf_view_drop(struct rf_view *view);

/* A table by name or id; NULL when there is none. */
const struct rf_table *rf_view_table(const struct rf_view *view, struct rf_slice name);
const struct rf_table *rf_view_table_by_id(const struct rf_view *view, uint64_t id);

/* The replicas of a token, first choice first: table->n_placed member indices.
 * The table must have replicas. */
static inline const uint16_t *rf_view_replicas(const struct rf_view  *view,
                                               const struct rf_table *table, uint64_t token)
{
    return table->replicas + (size_t)rf_ring_find(view->ring, token) * table->n_placed;
}

#endif
