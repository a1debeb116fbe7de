/* The coordinator of a read. Eventual: one replica, itself first. Strong: all N are asked, R
 * answers decide, stale replicas are repaired with the winner's original version (D9). */
#include "core/shard_private.h"

static bool is_strong(const struct rf_slot *slot)
{
    return slot->op.strong || slot->op.quorum > 1;
}

/* ---- Eventual ----------------------------------------------------------------------------- */

/* The next replica to ask: this node when it is one, else one whose link works, else any live. */
static struct rf_replica *next_choice(struct rf_shard *shard, struct rf_slot *slot)
{
    struct rf_replica *choice = NULL;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state != RF_REPLICA_UNASKED) {
            continue;
        }
        if (replica->node == shard->config.node) {
            return replica;
        }
        if (choice == NULL || (rf_peer_broken(shard, choice->node) &&
                               !rf_peer_broken(shard, replica->node))) {
            choice = replica;
        }
    }
    return choice;
}

static void ask_next(struct rf_shard *shard, struct rf_slot *slot)
{
    struct rf_replica *choice = next_choice(shard, slot);
    if (choice != NULL) {
        rf_ask_read(shard, slot, choice);
        return;
    }
    rf_slot_reply(shard, slot, RF_QUORUM_UNAVAILABLE, NULL);
    rf_slot_release(shard, slot);
}

static void reply_row(struct rf_shard *shard, struct rf_slot *slot, const struct rf_row *row)
{
    bool          live = row != NULL && rf_row_live(row, shard->now.wall_ms);
    struct rf_row gone = {0}; /* deleted or expired: the version is known all the same */
    if (row != NULL) {
        gone = (struct rf_row){
            .version = row->version, .expiry_ms = row->expiry_ms, .flags = row->flags};
    }
    rf_slot_reply(shard, slot, live ? RF_OK : RF_ITEM_NOT_FOUND, live ? row : &gone);
}

/* ---- Strong ------------------------------------------------------------------------------- */

static bool has_answered(const struct rf_replica *replica)
{
    return replica->state == RF_REPLICA_OK || replica->state == RF_REPLICA_REPAIRING ||
           replica->state == RF_REPLICA_REPAIRED;
}

/* The newest row of all answers; NULL when every answer was "absent". */
static const struct rf_row *winner_of(const struct rf_slot *slot)
{
    const struct rf_row *winner = NULL;
    for (uint32_t r = 0; r < slot->n; r++) {
        const struct rf_replica *replica = &slot->replicas[r];
        if (has_answered(replica) && rf_row_exists(&replica->row) &&
            (winner == NULL || rf_row_compare(&replica->row, winner) > 0)) {
            winner = &replica->row;
        }
    }
    return winner;
}

static bool holds(const struct rf_replica *replica, const struct rf_row *winner)
{
    if (replica->state == RF_REPLICA_REPAIRED) {
        return true;
    }
    if (winner == NULL || !rf_row_exists(&replica->row)) {
        return winner == NULL;
    }
    return rf_row_compare(&replica->row, winner) == 0;
}

/* Writes the winner to every replica that answered with less. */
static void repair_stale(struct rf_shard *shard, struct rf_slot *slot, const struct rf_row *winner)
{
    for (uint32_t r = 0; winner != NULL && r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state == RF_REPLICA_OK && !holds(replica, winner)) {
            replica->state = RF_REPLICA_REPAIRING;
            shard->stats.read_repairs++;
            rf_ask_write(shard, slot, replica, winner, RF_APPLY_MERGE);
        }
    }
}

/* A newer winner came late: what was repaired to the former one is stale again. */
static void reopen_repairs(struct rf_slot *slot, const struct rf_row *before,
                           const struct rf_row *after)
{
    if (after == before || after == NULL ||
        (before != NULL && rf_row_compare(before, after) == 0)) {
        return;
    }
    slot->attempt++;
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_REPAIRING ||
            slot->replicas[r].state == RF_REPLICA_REPAIRED) {
            slot->replicas[r].state = RF_REPLICA_OK;
        }
    }
}

struct tally {
    uint32_t answers;
    uint32_t holders; /* answers that agree with the winner, and finished repairs */
    uint32_t waiting; /* replicas that may still answer, or a repair under way */
};

static struct tally count_answers(const struct rf_slot *slot, const struct rf_row *winner)
{
    struct tally tally = {0};
    for (uint32_t r = 0; r < slot->n; r++) {
        const struct rf_replica *replica = &slot->replicas[r];
        tally.answers += has_answered(replica);
        tally.holders += has_answered(replica) && replica->state != RF_REPLICA_REPAIRING &&
                         holds(replica, winner);
        tally.waiting +=
            replica->state == RF_REPLICA_ASKED || replica->state == RF_REPLICA_REPAIRING;
    }
    return tally;
}

/* May the client be told? D9: R answers that agree suffice when R >= N - W + 1; else the winner
 * must be known to N - R + 1 replicas, so that no later quorum read can miss it. */
static bool decided(const struct rf_slot *slot, const struct tally *tally)
{
    const struct rf_table *table = slot->table;
    if (tally->answers < slot->needed) {
        return false;
    }
    bool agree = tally->holders == tally->answers;
    if (agree && slot->needed + table->write_quorum > slot->n) {
        return true;
    }
    if (!table->read_repair_confirm || slot->needed < table->read_quorum) {
        return true;
    }
    return tally->holders + slot->needed > slot->n;
}

static void evaluate(struct rf_shard *shard, struct rf_slot *slot)
{
    const struct rf_row *winner = winner_of(slot);
    struct tally         tally = count_answers(slot, winner);
    slot->acks = (uint8_t)tally.answers;
    if (tally.answers >= slot->needed && tally.holders < tally.answers) {
        repair_stale(shard, slot, winner);
        tally = count_answers(slot, winner);
    }
    if (slot->state == RF_SLOT_RUNNING && decided(slot, &tally)) {
        reply_row(shard, slot, winner);
    }
    if (tally.waiting != 0) {
        return;
    }
    if (slot->state == RF_SLOT_RUNNING) {
        bool few = tally.answers < slot->needed;
        shard->stats.quorum_failures += few;
        rf_slot_reply(shard, slot, few ? RF_QUORUM_UNAVAILABLE : RF_REPLICA_TIMEOUT, NULL);
    }
    rf_slot_release(shard, slot);
}

/* ---- Events ------------------------------------------------------------------------------- */

void rf_read_start(struct rf_shard *shard, struct rf_slot *slot)
{
    if (!is_strong(slot)) {
        ask_next(shard, slot);
        return;
    }
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_UNASKED) {
            rf_ask_read(shard, slot, &slot->replicas[r]);
        }
    }
}

void rf_read_answer(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                    enum rf_store_status status, const struct rf_row *row)
{
    bool usable = status == RF_STORE_FOUND || status == RF_STORE_ABSENT;
    if (!is_strong(slot)) {
        if (!usable) {
            replica->state = RF_REPLICA_FAILED;
            ask_next(shard, slot);
            return;
        }
        replica->state = RF_REPLICA_OK;
        slot->acks = 1;
        reply_row(shard, slot, status == RF_STORE_FOUND ? row : NULL);
        rf_slot_release(shard, slot);
        return;
    }
    struct rf_row        before = {0};
    const struct rf_row *winner = winner_of(slot);
    if (winner != NULL) {
        before = *winner;
    }
    replica->state = usable ? RF_REPLICA_OK : RF_REPLICA_FAILED;
    replica->status = (uint8_t)status;
    if (status == RF_STORE_FOUND) {
        replica->row = *row;
        rf_blob_take(row->blob);
    }
    reopen_repairs(slot, winner == NULL ? NULL : &before, winner_of(slot));
    evaluate(shard, slot);
}

void rf_read_repaired(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                      enum rf_store_status status)
{
    if (replica->state != RF_REPLICA_REPAIRING) {
        return;
    }
    replica->state = status == RF_STORE_STORED ? RF_REPLICA_REPAIRED : RF_REPLICA_FAILED;
    evaluate(shard, slot);
}

void rf_read_broken(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica)
{
    replica->state = RF_REPLICA_FAILED;
    if (is_strong(slot)) {
        evaluate(shard, slot);
    } else {
        ask_next(shard, slot);
    }
}

void rf_read_timeout(struct rf_shard *shard, struct rf_slot *slot)
{
    if (slot->state != RF_SLOT_ANSWERED) {
        shard->stats.timeouts++;
        rf_slot_reply(shard, slot, RF_REPLICA_TIMEOUT, NULL);
    }
    rf_slot_release(shard, slot);
}
