/* What a shard knows of its peers: liveness, links, and how fast they answer reads. */
#include "core/shard_private.h"

#define EXPLORE_ONE_IN 64u /* now and then a slower replica is asked: it may have recovered */
#define P95_UNKNOWN_US 20000u
#define HEDGE_MIN_US 1000u

struct rf_peer *rf_peer_of(const struct rf_shard *shard, uint64_t node)
{
    uint16_t member = shard->view == NULL ? RF_NO_MEMBER : rf_ring_by_node(shard->view->ring, node);
    return member == RF_NO_MEMBER ? NULL : &shard->peers[member];
}

bool rf_peer_dead(const struct rf_shard *shard, uint64_t node)
{
    const struct rf_peer *peer = rf_peer_of(shard, node);
    return peer == NULL || peer->dead;
}

bool rf_peer_broken(const struct rf_shard *shard, uint64_t node)
{
    const struct rf_peer *peer = rf_peer_of(shard, node);
    return peer == NULL || peer->broken;
}

/* The reserve of a full disk is there for deletes; where the log has failed nothing is written. */
bool rf_peer_takes(const struct rf_peer *peer, enum rf_client_kind kind)
{
    return kind == RF_CLIENT_GET || peer->storage == RF_STORAGE_OK ||
           (kind == RF_CLIENT_DELETE && peer->storage == RF_STORAGE_FULL);
}

void rf_peer_asked(struct rf_shard *shard, struct rf_replica *replica)
{
    struct rf_peer *peer = rf_peer_of(shard, replica->node);
    replica->asked_us = shard->now.mono_us;
    if (peer != NULL) {
        peer->in_flight++;
    }
}

/* The mean moves by an eighth of the difference. The 95th percentile moves up by 19 parts and down
 * by 1, so that it rests where one of twenty samples is above it. Integers only. */
static void take_sample(struct rf_peer *peer, uint32_t took_us)
{
    if (peer->mean_us == 0) {
        peer->mean_us = took_us + 1;
        peer->p95_us = 2 * took_us + 1;
        return;
    }
    int64_t difference = (int64_t)took_us - (int64_t)peer->mean_us;
    peer->mean_us = (uint32_t)((int64_t)peer->mean_us + difference / 8);
    uint32_t part = peer->p95_us / 256 + 1;
    if (took_us > peer->p95_us) {
        peer->p95_us += 19 * part;
    } else if (peer->p95_us > part) {
        peer->p95_us -= part;
    }
}

void rf_peer_answered(struct rf_shard *shard, struct rf_replica *replica, bool good)
{
    struct rf_peer *peer = rf_peer_of(shard, replica->node);
    uint64_t        took_us = shard->now.mono_us - replica->asked_us;
    if (peer == NULL || replica->asked_us == 0) {
        return;
    }
    replica->asked_us = 0;
    peer->in_flight -= peer->in_flight != 0;
    if (good || took_us > peer->mean_us) {
        take_sample(peer, took_us < UINT32_MAX / 64 ? (uint32_t)took_us : UINT32_MAX / 64);
    }
}

/* D12: mean latency x (1 + in flight). A peer without a link comes last, an unknown one early. */
static uint64_t score_of(const struct rf_peer *peer)
{
    if (peer == NULL || peer->broken) {
        return UINT64_MAX;
    }
    return ((uint64_t)peer->mean_us + 1) * (1 + (uint64_t)peer->in_flight);
}

/* The best replica that was not asked yet: this node when it is one, else the lowest score; NULL
 * when none is left. */
struct rf_replica *rf_peer_choose(struct rf_shard *shard, struct rf_slot *slot)
{
    struct rf_replica *choice = NULL;
    uint64_t           best = 0;
    bool               explore = rf_rng_below(&shard->rng, EXPLORE_ONE_IN) == 0;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state != RF_REPLICA_UNASKED) {
            continue;
        }
        if (replica->node == shard->config.node) {
            return replica;
        }
        uint64_t score = score_of(rf_peer_of(shard, replica->node));
        if (explore && score != UINT64_MAX) {
            score = rf_rng_below(&shard->rng, 1000);
        }
        if (choice == NULL || score < best) {
            choice = replica;
            best = score;
        }
    }
    return choice;
}

/* ---- Hedges: a heap of requests that go on in another way when replicas are slow ------------- */

static void swap_hedges(struct rf_hedge *a, struct rf_hedge *b)
{
    struct rf_hedge keep = *a;
    *a = *b;
    *b = keep;
}

/* When a second replica is asked: after the peer's 95th percentile. A peer that is always slow must
 * not have its slowness waited for: an eighth of the time that the client waits leaves room for every
 * other replica. */
uint64_t rf_peer_patience_us(const struct rf_shard *shard, const struct rf_replica *replica)
{
    const struct rf_peer *peer = rf_peer_of(shard, replica->node);
    uint64_t wait_us = peer == NULL || peer->p95_us == 0 ? P95_UNKNOWN_US : peer->p95_us;
    uint64_t most_us = shard->config.request_timeout_us / 8;
    wait_us = wait_us > most_us ? most_us : wait_us;
    return wait_us < HEDGE_MIN_US ? HEDGE_MIN_US : wait_us;
}

bool rf_hedge_plan(struct rf_shard *shard, const struct rf_slot *slot, uint64_t wait_us)
{
    if (shard->n_hedges == shard->config.max_requests) {
        return false;
    }
    uint32_t at = shard->n_hedges++;
    shard->hedges[at] = (struct rf_hedge){shard->now.mono_us + wait_us, rf_slot_id(shard, slot)};
    while (at > 0 && shard->hedges[at].at_us < shard->hedges[(at - 1) / 2].at_us) {
        swap_hedges(&shard->hedges[at], &shard->hedges[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    return true;
}

bool rf_hedge_due(struct rf_shard *shard, uint64_t *ret_id)
{
    struct rf_hedge *hedges = shard->hedges;
    if (shard->n_hedges == 0 || hedges[0].at_us > shard->now.mono_us) {
        return false;
    }
    *ret_id = hedges[0].id;
    hedges[0] = hedges[--shard->n_hedges];
    for (uint32_t at = 0;;) {
        uint32_t child = 2 * at + 1;
        if (child >= shard->n_hedges) {
            break;
        }
        child += child + 1 < shard->n_hedges && hedges[child + 1].at_us < hedges[child].at_us;
        if (hedges[at].at_us <= hedges[child].at_us) {
            break;
        }
        swap_hedges(&hedges[at], &hedges[child]);
        at = child;
    }
    return true;
}
