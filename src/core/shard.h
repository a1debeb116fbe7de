/* The shard machine: coordinates client requests (write, read, delete) and serves as a replica for
 * peers. One per shard thread; deterministic, without I/O.
 *
 * Dynamo (DeCandia et al. 2007) 4.5-4.6: the node that receives a request coordinates it; a write
 * succeeds with W acknowledgements of N, a strong read compares R answers. */
#ifndef RF_CORE_SHARD_H
#define RF_CORE_SHARD_H

#include "core/event.h"

struct rf_shard;

struct rf_shard_config {
    uint64_t node;            /* this node's id; low 8 bits 0 */
    uint8_t  shard;           /* 0 … 254 */
    uint32_t max_requests;    /* coordinated at a time, 1 … 65,536; more get RF_OVERLOADED */
    uint32_t max_replica_ops; /* served for peers at a time, 1 … 65,536 */
    uint64_t request_timeout_us;
    uint64_t max_ahead_ms;   /* clock.max_ahead */
    uint64_t hint_window_ms; /* hints older than this expire */
    uint64_t hlc_ceiling;    /* last durable ceiling of this shard, 0 at first start */
    uint64_t rng_seed;
};

/* Request ids and store tags carry the shard that waits for the answer in their low 8 bits, so that
 * any thread of the host can route a completion. 255 is the control machine. */
#define RF_CONTROL_SHARD 255u
static inline uint8_t rf_tag_shard(uint64_t tag)
{
    return (uint8_t)tag;
}

/* All memory is allocated here. Returns RF_OK or RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_shard_new(const struct rf_shard_config *config,
                                         struct rf_shard             **ret_shard);
void                        rf_shard_free(struct rf_shard *shard);

/* Handles the events in order. Returns RF_OK when all are done, RF_MORE when effects are full.
 * Never blocks, never re-enters, allocates nothing. Thread: owner. */
RF_CHECKED struct rf_result rf_shard_step(struct rf_shard *shard, const struct rf_event *events,
                                          uint32_t n_events, struct rf_effects *ret_effects);

/* Is this node's clock off (rf_clock_watch)? Then it stamps no new write (503 clock_offset) but goes on
 * as a replica, with reads and with client-stamped writes (D7). Thread: owner. */
void rf_shard_set_clock_off(struct rf_shard *shard, bool off);

/* Equal runs give equal digests. */
uint64_t rf_shard_digest(const struct rf_shard *shard);
/* Every invariant; panics when one is broken. */
void rf_shard_check(const struct rf_shard *shard);

/* The view in use (borrowed until the next step; NULL before the first), and whether control
 * believes a member of it to be alive. */
const struct rf_view *rf_shard_view(const struct rf_shard *shard);
bool                  rf_shard_alive(const struct rf_shard *shard, uint16_t member);
/* What the member's storage takes, as gossip says. */
enum rf_storage_state rf_shard_storage(const struct rf_shard *shard, uint16_t member);

/* Counters for metrics; they only grow. */
struct rf_shard_stats {
    uint64_t writes, reads, deletes; /* coordinated, by client kind */
    uint64_t replica_writes, replica_reads;
    uint64_t quorum_failures, timeouts;
    uint64_t full_refusals;   /* writes refused before sending: too few replicas have disk space */
    uint64_t restamps;        /* a replica knew a newer version (D7) */
    uint64_t restamps_unsure; /* of them: a strong read may have shown the first stamp */
    uint64_t read_repairs;    /* stale replicas written to */
    uint64_t hedges;          /* eventual reads that asked a second replica */
    uint64_t fetches;         /* strong reads whose winner was a digest at first */
    uint64_t hints_sent;      /* rows given to a stand-in, this node included */
    uint64_t hints_stored;    /* hints that this node holds for others, written since the start */
    uint64_t given_up;        /* answered requests whose late replicas were not waited for */
    uint64_t in_flight;       /* gauge */
};
struct rf_shard_stats rf_shard_stats(const struct rf_shard *shard);

#endif
