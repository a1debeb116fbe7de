/* The control machine: first start of a cluster, membership by gossip, failure detection. One per
 * node, on a thread that serves no requests; deterministic, without I/O.
 *
 * Gossip: anti-entropy of member entries with digests and deltas (van Renesse et al., Efficient
 * Reconciliation and Flow Control for Anti-Entropy Protocols, 2008), heartbeat counters as in the
 * gossip-style failure detection of van Renesse et al. 1998. No wall clocks are compared. */
#ifndef RF_CORE_CONTROL_H
#define RF_CORE_CONTROL_H

#include "core/event.h"
#include "core/member_pool.h"

#define RF_SEEDS_MAX 32u

struct rf_control;

/* What a node knows of its cluster; durable (RF_TABLE_META, key "cluster"). */
struct rf_cluster_state {
    uint64_t          cluster; /* random id; 0: not part of one yet */
    uint32_t          n_members;
    struct rf_member *members;
};

struct rf_control_config {
    struct rf_member       self; /* name, rack, addresses, vnodes, node, generation */
    const char            *seeds[RF_SEEDS_MAX]; /* addresses; borrowed for the machine's life */
    uint32_t               n_seeds;
    uint64_t               gossip_interval_us;
    uint64_t               dead_after_us;
    uint32_t               n_partitions;     /* of the store, for hints; 0: no handoff */
    uint64_t               hint_interval_us; /* between two walks over the stored hints */
    uint64_t               rng_seed;
    uint64_t               process;  /* random number of this process: tells it from a copy's */
    uint64_t               began_us; /* its start, by the monotonic clock; 0: the first step */
    struct rf_member_pool *pool; /* shared with other machines of the thread; NULL: an own one */
    /* The cluster that this node's durable identity names; 0: none. Without a state the node asks its
     * seeds for this one, joins no other, and forms none. */
    uint64_t cluster;
    bool     no_forming;   /* no cluster is known, but there may have been one: join, never form */
    struct rf_slice state; /* encoded rf_cluster_state of the last run; empty at first start */
    uint64_t        state_hlc; /* of the stored row that held it; 0: none */
};

/* Appends the encoding of a cluster state; a full buffer shows in buf->failed. */
void rf_cluster_state_encode(struct rf_buf *buf, const struct rf_cluster_state *state);

/* Returns RF_OK, RF_CORRUPT (state, or one of another cluster) or RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_control_new(const struct rf_control_config *config,
                                           struct rf_control             **ret_control);
void                        rf_control_free(struct rf_control *control);

/* As rf_shard_step. May allocate when membership changes. */
RF_CHECKED struct rf_result rf_control_step(struct rf_control     *control,
                                            const struct rf_event *events, uint32_t n_events,
                                            struct rf_effects *ret_effects);

/* 0 until the node is part of a cluster. The ring's hash seed derives from it. */
uint64_t rf_control_cluster(const struct rf_control *control);
/* Members by name, as of the last RF_FX_PUBLISH or later. Borrowed until the next step. */
uint32_t                rf_control_n_members(const struct rf_control *control);
const struct rf_member *rf_control_member(const struct rf_control *control, uint32_t index);
bool                    rf_control_alive(const struct rf_control *control, uint32_t index);
/* What the member's storage takes, as of the last heartbeat that came here. */
enum rf_storage_state rf_control_storage(const struct rf_control *control, uint32_t index);
/* How long the member's heartbeat has stood still, in microseconds at the last step. */
uint64_t rf_control_silence_us(const struct rf_control *control, uint32_t index);

/* Counters for metrics; they only grow. */
struct rf_control_stats {
    uint64_t hints_replayed; /* delivered and removed */
    uint64_t hints_expired;  /* older than the hint window */
    uint64_t hints_failed;   /* attempts that the target did not acknowledge */
    uint64_t hints_damaged;  /* stored hints that cannot be read: passed over */
};
struct rf_control_stats rf_control_stats(const struct rf_control *control);

/* Bytes that the machine holds (shared members not counted). */
size_t rf_control_memory(const struct rf_control *control);
/* Equal member sets, equal hash; a set that has converged does not change any more. */
uint64_t rf_control_set_hash(const struct rf_control *control);
uint64_t rf_control_digest(const struct rf_control *control);
void     rf_control_check(const struct rf_control *control);

#endif
