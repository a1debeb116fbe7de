/* The coordinator of a read. Eventual: one replica, itself first. Strong: all N are asked, R
 * answers decide, stale replicas are repaired with the winner's original version (D9). */
#include "base/hash.h"
#include "core/shard_private.h"

static bool is_strong(const struct rf_slot *slot)
{
    return slot->op.strong || slot->op.quorum > 1;
}

/* ---- Eventual ----------------------------------------------------------------------------- */

static bool is_waiting(const struct rf_slot *slot)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_ASKED) {
            return true;
        }
    }
    return false;
}

/* Asks the best replica that is left, and plans a hedge for when that is slow. */
static bool ask_best(struct rf_shard *shard, struct rf_slot *slot)
{
    struct rf_replica *choice = rf_peer_choose(shard, slot);
    if (choice == NULL) {
        return false;
    }
    choice->state = RF_REPLICA_ASKED;
    rf_ask_read(shard, slot, choice, false);
    if (choice->node != shard->config.node) {
        (void)rf_hedge_plan(shard, slot, rf_peer_patience_us(shard, choice)); /* full: no hedge */
    }
    return true;
}

/* Why answers are missing: would they suffice with those of replicas that are there but may have lost
 * the key (D10)? */
static enum rf_rc why_few(const struct rf_slot *slot, uint32_t answers, uint32_t needed)
{
    uint32_t n = answers;
    for (uint32_t r = 0; r < slot->n; r++) {
        n += slot->replicas[r].state == RF_REPLICA_FAILED &&
             slot->replicas[r].status == RF_STORE_CANNOT_SAY;
    }
    return n >= needed ? RF_REPLICAS_REBUILDING : RF_QUORUM_UNAVAILABLE;
}

/* One replica failed: the next one, or the one that a hedge has asked already. */
static void ask_next(struct rf_shard *shard, struct rf_slot *slot)
{
    if (ask_best(shard, slot) || is_waiting(slot)) {
        return;
    }
    rf_slot_reply(shard, slot, why_few(slot, 0, 1), NULL);
    rf_slot_release(shard, slot);
}

void rf_read_hedge(struct rf_shard *shard, struct rf_slot *slot)
{
    rf_assert(!is_strong(slot));
    shard->stats.hedges += ask_best(shard, slot);
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

/* A replica that could not say is no answer, until it has got the others' row (D10). */
static bool has_answered(const struct rf_replica *replica)
{
    if (replica->damage != 0) {
        return replica->state == RF_REPLICA_REPAIRED;
    }
    return replica->state == RF_REPLICA_OK || replica->state == RF_REPLICA_FETCHING ||
           replica->state == RF_REPLICA_REPAIRING || replica->state == RF_REPLICA_REPAIRED ||
           replica->state == RF_REPLICA_REPAIR_FAILED;
}

static uint64_t hash_of(const struct rf_replica *replica)
{
    return replica->digest ? replica->value_hash : rf_hash64(replica->row.value, 0);
}

static struct rf_row without_value(const struct rf_row *row)
{
    struct rf_row bare = *row;
    bare.value = rf_slice(NULL, 0);
    return bare;
}

/* The order of two answers. Where one of them is a digest, values of one version count as equal: see
 * must_look_closer. */
static int compare_answers(const struct rf_replica *a, const struct rf_replica *b)
{
    if (!a->digest && !b->digest) {
        return rf_row_compare(&a->row, &b->row);
    }
    struct rf_row bare_a = without_value(&a->row);
    struct rf_row bare_b = without_value(&b->row);
    return rf_row_compare(&bare_a, &bare_b);
}

/* One version, two values: client-stamped writes can be so. Only the whole rows can say which wins. */
static bool must_look_closer(const struct rf_replica *a, const struct rf_replica *b)
{
    bool bare = ((a->row.flags | b->row.flags) & (RF_ROW_TOMBSTONE | RF_ROW_MARKER)) != 0;
    return (a->digest || b->digest) && !bare && compare_answers(a, b) == 0 &&
           hash_of(a) != hash_of(b);
}

/* The replica with the newest row of all answers, a whole row before a digest; NULL when every
 * answer was "absent". */
static struct rf_replica *winner_of(struct rf_slot *slot)
{
    struct rf_replica *winner = NULL;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (!has_answered(replica) || !rf_row_exists(&replica->row)) {
            continue;
        }
        int order = winner == NULL ? 1 : compare_answers(replica, winner);
        if (order > 0 || (order == 0 && winner->digest && !replica->digest)) {
            winner = replica;
        }
    }
    return winner;
}

static bool holds(const struct rf_replica *replica, const struct rf_replica *winner)
{
    if (replica->state == RF_REPLICA_REPAIRED || replica == winner) {
        return true;
    }
    if (winner == NULL || !rf_row_exists(&replica->row)) {
        return winner == NULL;
    }
    return compare_answers(replica, winner) == 0;
}

/* Asks a replica that gave a digest for the whole row; its digest goes on counting as its answer. */
static void fetch(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica)
{
    if (replica->digest && replica->state == RF_REPLICA_OK) {
        replica->state = RF_REPLICA_FETCHING;
        shard->stats.fetches++;
        rf_ask_read(shard, slot, replica, false);
    }
}

/* False: the winner's whole row is not here yet, or it is not certain who wins. It is on its way. */
static bool have_whole(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *winner)
{
    bool whole = !winner->digest;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (has_answered(replica) && rf_row_exists(&replica->row) &&
            must_look_closer(replica, winner)) {
            fetch(shard, slot, replica);
            fetch(shard, slot, winner);
            whole = false;
        }
    }
    if (winner->digest) {
        fetch(shard, slot, winner);
    }
    return whole;
}

static uint32_t count_voters(const struct rf_slot *slot)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < slot->n; r++) {
        n += has_answered(&slot->replicas[r]);
    }
    return n;
}

/* It has lost the key, or may have: what the others say makes it whole again, when so many of them say
 * it that no acknowledged write can be missing among them. */
static bool can_be_healed(const struct rf_slot *slot, const struct rf_replica *replica)
{
    return replica->state == RF_REPLICA_FAILED && replica->damage != 0 &&
           count_voters(slot) + slot->table->write_quorum > slot->n;
}

static bool is_stale(const struct rf_slot *slot, const struct rf_replica *replica,
                     const struct rf_replica *winner)
{
    return can_be_healed(slot, replica) ||
           (replica->state == RF_REPLICA_OK && !holds(replica, winner));
}

/* Writes the winner to every replica that answered with less, or could not say. */
static void repair_stale(struct rf_shard *shard, struct rf_slot *slot,
                         const struct rf_replica *winner)
{
    rf_assert(!winner->digest);
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (is_stale(slot, replica, winner)) {
            replica->state = RF_REPLICA_REPAIRING;
            shard->stats.read_repairs++;
            rf_ask_write(shard, slot, replica, &winner->row, RF_APPLY_REPAIR);
        }
    }
}

/* A newer winner came late: what was repaired to the former one is stale again. `before` is a
 * replica's answer as it was. */
static void reopen_repairs(struct rf_slot *slot, const struct rf_replica *before,
                           const struct rf_replica *after)
{
    if (after == NULL || (rf_row_exists(&before->row) && compare_answers(before, after) == 0 &&
                          !must_look_closer(before, after))) {
        return;
    }
    slot->attempt++;
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state == RF_REPLICA_REPAIRING || replica->state == RF_REPLICA_REPAIRED) {
            replica->state = replica->damage != 0 ? RF_REPLICA_FAILED : RF_REPLICA_OK;
        }
    }
}

struct tally {
    uint32_t answers;
    uint32_t holders; /* answers that agree with the winner, and finished repairs */
    uint32_t waiting; /* replicas that may still answer, or a repair under way */
};

static struct tally count_answers(const struct rf_slot *slot, const struct rf_replica *winner)
{
    struct tally tally = {0};
    for (uint32_t r = 0; r < slot->n; r++) {
        const struct rf_replica *replica = &slot->replicas[r];
        tally.answers += has_answered(replica);
        tally.holders += has_answered(replica) && replica->state != RF_REPLICA_REPAIRING &&
                         holds(replica, winner);
        tally.waiting += replica->state == RF_REPLICA_ASKED ||
                         replica->state == RF_REPLICA_FETCHING ||
                         replica->state == RF_REPLICA_REPAIRING;
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
    /* A later default read asks read_quorum replicas, however many this one asked. */
    uint32_t quorum = slot->needed < table->read_quorum ? slot->needed : table->read_quorum;
    return tally->holders + quorum > slot->n;
}

static bool needs_repair(const struct rf_slot *slot, const struct rf_replica *winner)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        if (is_stale(slot, &slot->replicas[r], winner)) {
            return true;
        }
    }
    return false;
}

/* Repairs what is stale and answers the client, as far as the answers allow. */
static void advance(struct rf_shard *shard, struct rf_slot *slot)
{
    struct rf_replica *winner = winner_of(slot);
    struct tally       tally = count_answers(slot, winner);
    slot->acks = (uint8_t)tally.answers;
    if (tally.answers < slot->needed || (winner != NULL && !have_whole(shard, slot, winner))) {
        return;
    }
    if (winner != NULL && needs_repair(slot, winner)) {
        repair_stale(shard, slot, winner);
        tally = count_answers(slot, winner);
    }
    if (slot->state == RF_SLOT_RUNNING && decided(slot, &tally)) {
        reply_row(shard, slot, winner == NULL ? NULL : &winner->row);
    }
}

static void evaluate(struct rf_shard *shard, struct rf_slot *slot)
{
    advance(shard, slot);
    struct tally tally = count_answers(slot, winner_of(slot));
    if (tally.waiting != 0) {
        return;
    }
    if (slot->state == RF_SLOT_RUNNING) {
        bool few = tally.answers < slot->needed;
        shard->stats.quorum_failures += few;
        rf_slot_reply(shard, slot,
                      few ? why_few(slot, tally.answers, slot->needed) : RF_REPLICA_TIMEOUT, NULL);
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
    /* D11: one whole row from the best replica, digests from the others. */
    const struct rf_replica *best = rf_peer_choose(shard, slot);
    for (uint32_t r = 0; r < slot->n; r++) {
        struct rf_replica *replica = &slot->replicas[r];
        if (replica->state == RF_REPLICA_UNASKED) {
            replica->state = RF_REPLICA_ASKED;
            rf_ask_read(shard, slot, replica, replica != best);
        }
    }
}

static void eventual_answer(struct rf_shard *shard, struct rf_slot *slot,
                            struct rf_replica *replica, const struct rf_answer *answer)
{
    if (answer->status != RF_STORE_FOUND && answer->status != RF_STORE_ABSENT) {
        replica->state = RF_REPLICA_FAILED;
        replica->status = (uint8_t)answer->status;
        ask_next(shard, slot);
        return;
    }
    replica->state = RF_REPLICA_OK;
    slot->acks = 1;
    reply_row(shard, slot, answer->status == RF_STORE_FOUND ? &answer->row : NULL);
    rf_slot_release(shard, slot);
}

/* Notes an answer; a whole row takes the place of its digest. */
static void note_answer(struct rf_replica *replica, const struct rf_answer *answer)
{
    bool usable = answer->status == RF_STORE_FOUND || answer->status == RF_STORE_ABSENT;
    rf_blob_drop(replica->row.blob);
    replica->row = (struct rf_row){0};
    replica->digest = false;
    replica->state = usable ? RF_REPLICA_OK : RF_REPLICA_FAILED;
    replica->status = (uint8_t)answer->status;
    replica->damage = answer->status == RF_STORE_CANNOT_SAY ? answer->damage : 0;
    if (answer->status == RF_STORE_FOUND) {
        replica->row = answer->row;
        replica->digest = answer->digest;
        replica->value_hash = answer->value_hash;
        rf_blob_take(answer->row.blob);
    }
}

void rf_read_answer(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                    const struct rf_answer *answer)
{
    if (!is_strong(slot)) {
        eventual_answer(shard, slot, replica, answer);
        return;
    }
    const struct rf_replica *winner = winner_of(slot);
    struct rf_replica        before = {0};
    if (winner != NULL) {
        before = *winner;
        rf_blob_take(before.row.blob);
    }
    note_answer(replica, answer);
    reopen_repairs(slot, &before, winner_of(slot));
    rf_blob_drop(before.row.blob);
    evaluate(shard, slot);
}

void rf_read_repaired(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                      enum rf_store_status status, const struct rf_version *version)
{
    if (replica->state != RF_REPLICA_REPAIRING) {
        return;
    }
    const struct rf_replica *winner = winner_of(slot);
    if (status == RF_STORE_STORED && version->hlc > winner->row.version.hlc) {
        /* It has got a newer row meanwhile, and may never have held the winner: no proof that a
         * later read cannot miss it. What it holds now is the better answer. */
        replica->state = RF_REPLICA_FETCHING;
        shard->stats.fetches++;
        rf_ask_read(shard, slot, replica, false);
        return;
    }
    replica->state = status == RF_STORE_STORED ? RF_REPLICA_REPAIRED : RF_REPLICA_REPAIR_FAILED;
    evaluate(shard, slot);
}

void rf_read_broken(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica)
{
    rf_peer_answered(shard, replica, false);
    replica->state =
        replica->state == RF_REPLICA_REPAIRING ? RF_REPLICA_REPAIR_FAILED : RF_REPLICA_FAILED;
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
