/* The ring: tokens, vnodes and replica placement as an immutable, reference-counted snapshot.
 *
 * Token of a key: XXH3-64 with the cluster's seed. Vnode i of a node has the token of its name and
 * i, rounded down to a grid of 2^32 cells, so that every range is whole cells. A vnode owns the
 * tokens below its own, down to the previous vnode's: key token t belongs to the first vnode whose
 * token is above t (consistent hashing: Karger et al. 1997; vnodes: DeCandia et al., Dynamo, 2007). */
#ifndef RF_RING_RING_H
#define RF_RING_RING_H

#include <stdatomic.h>

#include "base/rc.h"
#include "base/slice.h"
#include "ring/member.h"
#include "ringfort/plugin.h"

#define RF_REPLICAS_MAX 16u
#define RF_NO_MEMBER UINT16_MAX

struct rf_ring {
    uint32_t          magic;
    _Atomic uint32_t  refs;
    uint64_t          digest; /* of member ids, states and tokens: equal rings, equal digest */
    uint64_t          seed;
    uint32_t          n_members;
    uint32_t          n_owners; /* members in state NORMAL */
    uint32_t          n_tokens;
    struct rf_member *members; /* sorted by name */
    uint64_t         *tokens;  /* ascending */
    uint16_t         *owners;  /* index into members, one per token */
    uint32_t         *starts;  /* first position whose token's top bits are at least the index */
    uint32_t          shift;   /* 64 - number of those bits: about one token per start */
    uint16_t         *by_node; /* members by ascending node id */
};

/* Token of a key. Same on all nodes and versions (S19). */
uint64_t rf_ring_token(uint64_t seed, struct rf_slice key);

/* Builds a ring from members in any order (copied). Cost: about 40 ms for 1,200 × 256 tokens.
 * @param n_members 1 … RF_MEMBERS_MAX, distinct names. Returns RF_OK, RF_LIMIT or RF_NO_MEMORY.
 * The caller holds one reference. Thread: any. Blocks: no. */
RF_CHECKED struct rf_result rf_ring_build(const struct rf_member *members, uint32_t n_members,
                                          uint64_t seed, struct rf_ring **ret_ring);
struct rf_ring             *rf_ring_take(struct rf_ring *ring);
void                        rf_ring_drop(struct rf_ring *ring);

/* Position of the vnode that owns a token: 0 … n_tokens - 1. The ring must have tokens. */
uint32_t rf_ring_find(const struct rf_ring *ring, uint64_t token);

/* The distinct members met on the walk from a position, at most max; returns how many. */
uint32_t rf_ring_walk(const struct rf_ring *ring, uint32_t position, uint16_t *ret_members,
                      uint32_t max);

/* Index of a member by node id or name; RF_NO_MEMBER when unknown. */
uint16_t rf_ring_by_node(const struct rf_ring *ring, uint64_t node);
uint16_t rf_ring_by_name(const struct rf_ring *ring, const char *name);

/* Asks the placement plugin for every position: ret_replicas gets n_tokens rows of
 * min(n, n_owners) member indices, first choice first. Answers are checked: indices in view and
 * distinct. @param n 1 … RF_REPLICAS_MAX.
 * Returns RF_OK, RF_PLUGIN_REFUSED (the plugin failed or answered wrongly) or RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_ring_place(const struct rf_ring *ring, const struct rf_host *host,
                                          const struct rf_placement_ops *ops, const void *options,
                                          uint32_t n, uint16_t *ret_replicas);

#endif
