/* The coordinator of a write or delete: stamp, send to all N at once, answer at W acks. */
#include "core/shard_private.h"

/* How long a refused write waits for further answers: many times what a healthy replica takes. */
#define RESTAMP_WAIT_US 50000u

/* Absolute expiry, fixed once (S34): the version's time + ttl. */
static uint64_t expiry_of(const struct rf_slot *slot, uint64_t version_ms)
{
    const struct rf_client_op *op = &slot->op;
    uint64_t                   ttl_s = op->ttl_s != 0 ? op->ttl_s : slot->table->default_ttl_s;
    uint64_t                   max_s = slot->table->max_ttl_s;
    if (op->kind == RF_CLIENT_DELETE) {
        return 0;
    }
    if (max_s != 0 && (ttl_s == 0 || ttl_s > max_s)) {
        ttl_s = max_s;
    }
    return ttl_s == 0 ? 0 : version_ms + ttl_s * 1000;
}

/* Gives the write its version. False: the clock must wait for a durable ceiling. */
static bool stamp(struct rf_shard *shard, struct rf_slot *slot)
{
    struct rf_row *row = &slot->op.row;
    if (slot->op.timestamp_ms != 0) {
        row->version = (struct rf_version){rf_hlc_make(slot->op.timestamp_ms, 0), 0};
    } else {
        uint64_t hlc = 0;
        if (!rf_hlc_next(&shard->clock, shard->now.wall_ms, &hlc)) {
            return false;
        }
        row->version = (struct rf_version){hlc, shard->config.node | shard->config.shard};
    }
    row->flags = slot->op.kind == RF_CLIENT_DELETE ? RF_ROW_TOMBSTONE : 0;
    row->expiry_ms = expiry_of(slot, rf_hlc_ms(row->version.hlc));
    return true;
}

void rf_write_start(struct rf_shard *shard, struct rf_slot *slot)
{
    if (!stamp(shard, slot)) {
        slot->state = RF_SLOT_WAIT_CLOCK;
        shard->clock_waits = true;
        return;
    }
    /* A client-stamped write is the same write wherever it is retried: it merges, never refused.
     * Nor is a write refused twice: see restamp. */
    enum rf_apply_mode mode = slot->op.timestamp_ms != 0 || slot->attempt != 0
                                  ? RF_APPLY_MERGE
                                  : RF_APPLY_REFUSE_IF_NEWER;
    slot->acks = 0;
    slot->refusals = 0;
    slot->sent = true;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state != RF_REPLICA_DOWN) {
            replica->state = RF_REPLICA_ASKED;
            replica->refused = false;
            rf_ask_write(shard, slot, replica, &slot->op.row, mode);
        }
    }
}

static bool all_answered(const struct rf_slot *slot)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_ASKED) {
            return false;
        }
    }
    return true;
}

/* Only a replica that refused has surely not stored it; one whose link broke may have. */
static bool may_be_stored(const struct rf_slot *slot)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        const struct rf_replica *replica = &slot->replicas[r];
        if (replica->state != RF_REPLICA_NEWER && replica->state != RF_REPLICA_DOWN &&
            !replica->refused) {
            return true;
        }
    }
    return false;
}

/* Replicas know newer versions: stamp above them and send again, so that an acknowledged write is
 * never silently older than one acknowledged before it began (D7). Whatever newer version a replica
 * meets after that is concurrent with this write and may win, so the second attempt is not refused
 * again. Were it, two coordinators that each store their own stamp first could overtake each other
 * for ever. */
static void restamp(struct rf_shard *shard, struct rf_slot *slot)
{
    shard->stats.restamps++;
    if (slot->newest_hlc > shard->clock.last) {
        rf_hlc_observe(&shard->clock, slot->newest_hlc, shard->now.wall_ms);
    }
    if (slot->newest_hlc > shard->clock.last) {
        /* Further ahead than a clock may be: this node cannot write above it. What the first
         * attempt has stored somewhere stays there. */
        rf_slot_reply(shard, slot, RF_CLOCK_OFFSET, NULL);
        struct rf_effect *effect = &shard->out->list[shard->out->n - 1];
        effect->as.reply.outcome_unknown = may_be_stored(slot);
        rf_slot_release(shard, slot);
        return;
    }
    slot->attempt++;
    rf_write_start(shard, slot);
}

/* How many replicas at most can have held the first stamp. One that was not asked, or is full, has it
 * not from us, but a strong read that finds the stamp elsewhere may have repaired it. */
static uint32_t may_hold(const struct rf_slot *slot)
{
    uint32_t from_us = 0;
    uint32_t by_repair = 0;
    for (uint32_t r = 0; r < slot->n; r++) {
        uint8_t state = slot->replicas[r].state;
        if (state == RF_REPLICA_DOWN || slot->replicas[r].refused) {
            by_repair++;
        } else if (state != RF_REPLICA_NEWER) {
            from_us++;
        }
    }
    return from_us == 0 ? 0 : from_us + by_repair;
}

/* The most replicas that may hold a stamp that no strong read has shown: R that agree show it, and
 * N - R + 1 that hold it confirm it (D9). */
static uint32_t unseen_max(const struct rf_slot *slot)
{
    uint32_t agree = slot->table->read_quorum;
    uint32_t confirm = slot->n - agree + 1;
    return (agree < confirm ? agree : confirm) - 1;
}

/* Do reads of this table promise an order that a second stamp must not break? */
static bool is_ordered(const struct rf_slot *slot)
{
    return slot->table->read_repair_confirm && 2u * slot->table->write_quorum > slot->n;
}

/* It waits until N - W + 1 replicas have said what they know, because any such set meets every set
 * of W: the new stamp is above all that was acknowledged before this write began. With 2W <= N there
 * is no such promise, and one voice does. */
static bool must_restamp(const struct rf_slot *slot)
{
    uint32_t quorum = slot->table->write_quorum;
    uint32_t voices = 2 * quorum > slot->n ? slot->n - quorum + 1 : 1;
    return slot->state == RF_SLOT_RUNNING && slot->refusals != 0 && slot->acks < slot->needed &&
           (uint32_t)slot->acks + slot->refusals >= voices;
}

/* Can there still be enough acknowledgements of the first stamp? Then the write is simply done. */
static bool may_succeed(const struct rf_slot *slot)
{
    uint32_t open = 0;
    for (uint32_t r = 0; r < slot->n; r++) {
        open += slot->replicas[r].state == RF_REPLICA_ASKED;
    }
    return slot->acks + open >= slot->needed;
}

/* Stamps again when it is time to. A write must not take effect twice: under its first stamp, and,
 * when another write has taken its place, under the second. So it waits for the answers that could
 * still make the first stamp succeed, or prove that no strong read has shown it; but not for long: a
 * replica that is down or frozen must not make writes fail (S133). What is done without that proof is
 * counted (docs/decisions/031). */
static bool restamp_if_due(struct rf_shard *shard, struct rf_slot *slot)
{
    if (!must_restamp(slot)) {
        return false;
    }
    if (is_ordered(slot)) {
        bool unseen = may_hold(slot) <= unseen_max(slot);
        bool worth_it = may_succeed(slot) || (!unseen && !all_answered(slot));
        if (worth_it && slot->patience == RF_PATIENCE_FRESH &&
            rf_hedge_plan(shard, slot, RESTAMP_WAIT_US)) {
            slot->patience = RF_PATIENCE_WAITS;
        }
        if (worth_it && slot->patience == RF_PATIENCE_WAITS) {
            return false;
        }
        slot->unsure = !unseen;
        shard->stats.restamps_unsure += slot->unsure;
    }
    restamp(shard, slot);
    return true;
}

void rf_write_waited(struct rf_shard *shard, struct rf_slot *slot)
{
    slot->patience = RF_PATIENCE_OVER;
    (void)restamp_if_due(shard, slot);
}

static bool enough(const struct rf_slot *slot)
{
    return slot->acks >= slot->needed;
}

/* Who keeps a hint: the next live member on the ring walk behind the replicas, a different one for
 * each missing replica; without one this node itself (S40). */
static uint64_t stand_in(struct rf_shard *shard, struct rf_slot *slot, uint32_t skip)
{
    const struct rf_ring *ring = slot->view->ring;
    uint16_t              walked[2 * RF_REPLICAS_MAX];
    uint32_t              position = rf_ring_find(ring, slot->token);
    uint32_t              n = rf_ring_walk(ring, position, walked, 2 * RF_REPLICAS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t node = ring->members[walked[i]].node;
        bool     usable = node == shard->config.node ||
                      (!rf_peer_dead(shard, node) && !rf_peer_broken(shard, node) &&
                       rf_peer_takes(rf_peer_of(shard, node), RF_CLIENT_PUT));
        if (rf_slot_replica(slot, node) == NULL && usable && skip-- == 0) {
            return node;
        }
    }
    return shard->config.node;
}

/* The stand-in does not have it for sure: this node keeps the hint. */
static void hint_here(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica)
{
    rf_assert(replica->state == RF_REPLICA_HINTING);
    replica->state = RF_REPLICA_FAILED;
    rf_send_hint(shard, slot, shard->config.node, replica->node);
}

/* Ends the slot, when no stand-in has to answer any more. */
static void release_if_hinted(struct rf_shard *shard, struct rf_slot *slot)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_HINTING) {
            return;
        }
    }
    rf_slot_release(shard, slot);
}

/* The write is over: whoever did not get it, and did not refuse it, gets it later (S37, S40). A
 * write that no replica acknowledged leaves no hints. The slot waits for the stand-ins until its
 * new deadline; `here`: this node keeps the hints, and the slot is free. */
static void hint_missing(struct rf_shard *shard, struct rf_slot *slot, bool here)
{
    uint32_t n_hints = 0;
    rf_slot_extend(shard, slot);
    for (uint32_t r = 0; slot->acks != 0 && r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        bool got_it = replica->state == RF_REPLICA_OK || replica->state == RF_REPLICA_NEWER;
        if (!got_it && !replica->refused) {
            replica->holder = here ? shard->config.node : stand_in(shard, slot, n_hints);
            replica->state =
                replica->holder == shard->config.node ? RF_REPLICA_FAILED : RF_REPLICA_HINTING;
            rf_send_hint(shard, slot, replica->holder, replica->node);
            n_hints++;
        }
    }
    release_if_hinted(shard, slot);
}

/* Hints that are out are kept here, too; false when there is none. */
static bool hint_unacknowledged(struct rf_shard *shard, struct rf_slot *slot)
{
    bool any = false;
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_HINTING) {
            hint_here(shard, slot, &slot->replicas[r]);
            any = true;
        }
    }
    return any;
}

void rf_write_hinted(struct rf_shard *shard, struct rf_slot *slot, uint64_t holder, bool stored)
{
    bool any = false;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state != RF_REPLICA_HINTING || replica->holder != holder) {
            continue;
        }
        any = true;
        if (stored) {
            replica->state = RF_REPLICA_OK;
        } else {
            hint_here(shard, slot, replica);
        }
    }
    if (any) {
        release_if_hinted(shard, slot);
    }
}

static void finish_if_over(struct rf_shard *shard, struct rf_slot *slot)
{
    if (slot->state == RF_SLOT_RUNNING && enough(slot)) {
        struct rf_row told = {.version = slot->op.row.version,
                              .expiry_ms = slot->op.row.expiry_ms,
                              .flags = slot->op.row.flags};
        rf_slot_reply(shard, slot, RF_OK, &told);
    }
    if (!all_answered(slot)) {
        return;
    }
    if (slot->state == RF_SLOT_RUNNING) {
        rf_slot_reply(shard, slot, RF_REPLICA_TIMEOUT, NULL);
    }
    hint_missing(shard, slot, false);
}

void rf_write_answer(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                     enum rf_store_status status, const struct rf_row *row)
{
    /* After the answer, a replica with something newer has what it needs. */
    bool newer = status == RF_STORE_NEWER && slot->state == RF_SLOT_RUNNING;
    bool ok = status == RF_STORE_STORED || (status == RF_STORE_NEWER && !newer);
    replica->state = (uint8_t)(ok ? RF_REPLICA_OK : newer ? RF_REPLICA_NEWER : RF_REPLICA_FAILED);
    /* Full: its range waits for repair. Starting or overloaded: a hint brings it up to date. */
    replica->refused = status == RF_STORE_FULL;
    slot->acks = (uint8_t)(slot->acks + ok);
    slot->refusals = (uint8_t)(slot->refusals + newer);
    if (newer && row->version.hlc > slot->newest_hlc) {
        slot->newest_hlc = row->version.hlc;
    }
    if (ok && slot->op.timestamp_ms != 0 && row->version.hlc > slot->op.row.version.hlc) {
        slot->superseded = true;
    }
    if (!restamp_if_due(shard, slot)) {
        finish_if_over(shard, slot);
    }
}

void rf_write_broken(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica)
{
    replica->state = RF_REPLICA_FAILED;
    if (!restamp_if_due(shard, slot)) {
        finish_if_over(shard, slot);
    }
}

void rf_write_timeout(struct rf_shard *shard, struct rf_slot *slot)
{
    if (slot->state != RF_SLOT_ANSWERED) {
        shard->stats.timeouts++;
        rf_slot_reply(shard, slot, RF_REPLICA_TIMEOUT, NULL);
    }
    if (hint_unacknowledged(shard, slot)) {
        rf_slot_release(shard, slot);
    } else {
        hint_missing(shard, slot, false);
    }
}

void rf_write_give_up(struct rf_shard *shard, struct rf_slot *slot)
{
    rf_assert(slot->state == RF_SLOT_ANSWERED);
    if (hint_unacknowledged(shard, slot)) {
        rf_slot_release(shard, slot);
    } else {
        hint_missing(shard, slot, true);
    }
}
