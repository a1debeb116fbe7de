/* Hinted handoff: gives the hints in this node's store to their targets when those are alive
 * (S42-S50). Walks RF_TABLE_HINTS partition by partition; the hints of one target lie together, so
 * a target that is dead is passed over with one jump. One batch at a time: write to the targets,
 * remove what was acknowledged, rest as long as the batch took, so that a slow receiver is asked at
 * most half of the time (S47). Nothing of this is kept in memory: after a restart the walk simply
 * finds the hints again (S46). */
#include "core/control_private.h"
#include "core/hint.h"

#define BATCH_BYTES (64u * 1024)
#define BATCH_TIMEOUT_US 3000000u
#define REST_MAX_US 1000000u
#define RETRY_MIN_US 1000000u /* a target that fails is left alone this long, then twice … */
#define RETRY_MAX_US 60000000u

/* Ids of messages and store operations: batch (32) | item (8) | RF_CONTROL_SHARD. */
static uint64_t make_id(const struct rf_handoff *handoff, uint32_t item)
{
    return (uint64_t)handoff->batch << 16 | (uint64_t)item << 8 | RF_CONTROL_SHARD;
}

static struct rf_handoff_item *item_by_id(struct rf_handoff *handoff, uint64_t id)
{
    uint32_t item = (uint32_t)(id >> 8) & 0xff;
    bool     current = handoff->state == RF_HANDOFF_BATCH && item < handoff->n_items &&
                   make_id(handoff, item) == id;
    return current ? &handoff->items[item] : NULL;
}

/* ---- The walk ----------------------------------------------------------------------------- */

static void scan(struct rf_control *control)
{
    struct rf_handoff *handoff = &control->handoff;
    handoff->batch++;
    handoff->state = RF_HANDOFF_SCAN;
    handoff->due_us = control->now.mono_us + BATCH_TIMEOUT_US;
    struct rf_effect *effect = rf_effect_add(control->out, RF_FX_STORE);
    effect->as.store = (struct rf_store_op){
        .kind = RF_STORE_SCAN,
        .tag = make_id(handoff, 0xff),
        .table = RF_TABLE_HINTS,
        .token = handoff->token,
        .token_last = UINT64_MAX,
        .partition = handoff->partition,
        .max_bytes = BATCH_BYTES,
    };
    if (handoff->after != NULL) {
        effect->as.store.row.key = rf_slice(handoff->after->data, handoff->after->size);
        effect->as.store.row.blob = rf_blob_take(handoff->after);
    }
}

static void move_to(struct rf_handoff *handoff, uint64_t token, struct rf_blob *after)
{
    rf_blob_drop(handoff->after);
    handoff->token = token;
    handoff->after = after;
}

static void rest(struct rf_control *control, uint64_t time_us)
{
    control->handoff.state = RF_HANDOFF_REST;
    control->handoff.due_us = control->now.mono_us + time_us;
}

static void next_partition(struct rf_control *control)
{
    struct rf_handoff *handoff = &control->handoff;
    move_to(handoff, 0, NULL);
    handoff->partition++;
    if (handoff->partition < control->config.n_partitions) {
        scan(control);
        return;
    }
    handoff->partition = 0;
    rest(control, handoff->again ? 0 : control->config.hint_interval_us);
    handoff->again = false;
}

/* ---- A batch ------------------------------------------------------------------------------ */

static void remove_hint(struct rf_control *control, uint32_t index)
{
    struct rf_handoff      *handoff = &control->handoff;
    struct rf_handoff_item *item = &handoff->items[index];
    struct rf_effect       *effect = rf_effect_add(control->out, RF_FX_STORE);
    item->state = RF_HANDOFF_REMOVING;
    effect->as.store = (struct rf_store_op){
        .kind = RF_STORE_APPLY,
        .mode = RF_APPLY_MERGE,
        .tag = make_id(handoff, index),
        .table = RF_TABLE_HINTS,
        .token = rf_hint_token(rf_hint_target(&item->hint)),
        .row = {.version = item->hint.version,
                .expiry_ms = item->hint.expiry_ms,
                .flags = RF_ROW_TOMBSTONE,
                .key = item->hint.key,
                .blob = rf_blob_take(handoff->rows)},
    };
}

/* Sends the item with its own version and expiry (S45), an expired one as its bare marker (S50). */
static void send_item(struct rf_control *control, uint32_t index, uint64_t table,
                      const struct rf_row *row)
{
    struct rf_handoff *handoff = &control->handoff;
    uint64_t           target = rf_hint_target(&handoff->items[index].hint);
    struct rf_message *message = rf_control_send(control, target, RF_MSG_WRITE, NULL);
    message->request_id = make_id(handoff, index);
    message->mode = RF_APPLY_REPAIR;
    message->budget_ms = BATCH_TIMEOUT_US / 1000;
    message->table = table;
    message->row = *row;
    message->row.blob = rf_blob_take(handoff->rows);
    if (row->flags == 0 && row->expiry_ms != 0 && row->expiry_ms <= control->now.wall_ms) {
        message->row.flags = RF_ROW_MARKER;
        message->row.value = rf_slice(NULL, 0);
    }
}

/* Takes one hint into the batch. */
static void take_hint(struct rf_control *control, const struct rf_row *hint)
{
    struct rf_handoff *handoff = &control->handoff;
    uint32_t           index = handoff->n_items++;
    uint64_t           target = 0;
    uint64_t           table = 0;
    struct rf_row      row = {0};
    handoff->items[index] = (struct rf_handoff_item){.state = RF_HANDOFF_SENT, .hint = *hint};
    handoff->n_open++;
    bool usable = rf_ok(rf_hint_open(hint, &target, &table, &row));
    if (!usable || hint->expiry_ms <= control->now.wall_ms) {
        handoff->items[index].expired = true;
        remove_hint(control, index);
        return;
    }
    send_item(control, index, table, &row);
}

/* Which hints can go now? Those of live members that did not just fail. */
static bool can_deliver(struct rf_control *control, uint64_t target)
{
    const struct rf_node_entry *entry = rf_control_by_node(control, target);
    return entry != NULL && entry->alive && target != control->config.self.node &&
           entry->hint_retry_us <= control->now.mono_us;
}

/* The scan begins with a hint that cannot be read. Whose it is does not show: the walk goes on behind
 * the scanned rows. Readable ones among them are not delivered while the damaged one is there. */
static bool pass_damaged(struct rf_control *control, uint64_t last_token)
{
    struct rf_handoff *handoff = &control->handoff;
    uint64_t           token = last_token > handoff->token ? last_token : handoff->token;
    control->stats.hints_damaged++;
    move_to(handoff, token + 1, NULL);
    return token != UINT64_MAX;
}

/* Reads the scanned rows up to a full batch or a target that cannot take its hints. Returns whether
 * the walk must go on behind what was read. */
static bool read_rows(struct rf_control *control, const struct rf_store_done *done)
{
    struct rf_handoff *handoff = &control->handoff;
    struct rf_slice    bytes = done->row.value;
    struct rf_row      hint = {0};
    for (bool first = true; bytes.size != 0; first = false) {
        if (!rf_ok(rf_row_decode(&bytes, &hint)) || rf_hint_target(&hint) == 0) {
            return first ? pass_damaged(control, done->token) && done->more : true;
        }
        uint64_t token = rf_hint_token(rf_hint_target(&hint));
        if (!can_deliver(control, rf_hint_target(&hint)) && hint.expiry_ms > control->now.wall_ms) {
            move_to(handoff, token + 1, NULL);
            return token != UINT64_MAX;
        }
        move_to(handoff, token, rf_blob_copy(hint.key));
        if ((hint.flags & RF_ROW_TOMBSTONE) == 0) {
            take_hint(control, &hint);
        }
        if (handoff->n_items == RF_HANDOFF_WINDOW || handoff->after == NULL) {
            return true;
        }
    }
    return done->more;
}

static void end_batch(struct rf_control *control)
{
    struct rf_handoff *handoff = &control->handoff;
    uint64_t           took_us = control->now.mono_us - handoff->began_us;
    rf_blob_drop(handoff->rows);
    handoff->rows = NULL;
    handoff->n_items = 0;
    handoff->n_open = 0;
    rest(control, took_us < REST_MAX_US ? took_us : REST_MAX_US);
}

static void end_partition(struct rf_control *control)
{
    if (control->handoff.more) {
        scan(control);
    } else {
        next_partition(control);
    }
}

static void scanned(struct rf_control *control, const struct rf_store_done *done)
{
    struct rf_handoff *handoff = &control->handoff;
    if (handoff->state != RF_HANDOFF_SCAN || done->tag != make_id(handoff, 0xff)) {
        return;
    }
    rf_assert(handoff->n_items == 0);
    handoff->more = false;
    if (done->status == RF_STORE_FOUND) {
        handoff->state = RF_HANDOFF_BATCH;
        handoff->rows = rf_blob_take(done->row.blob);
        handoff->began_us = control->now.mono_us;
        handoff->due_us = control->now.mono_us + BATCH_TIMEOUT_US;
        handoff->more = read_rows(control, done);
    }
    if (handoff->n_items == 0) {
        rf_blob_drop(handoff->rows);
        handoff->rows = NULL;
        end_partition(control);
    }
}

/* ---- Answers ------------------------------------------------------------------------------ */

static void target_failed(struct rf_control *control, const struct rf_handoff_item *item)
{
    struct rf_node_entry *entry = rf_control_by_node(control, rf_hint_target(&item->hint));
    control->stats.hints_failed++;
    if (entry == NULL || entry->hint_retry_us > control->now.mono_us) {
        return;
    }
    uint64_t wait_us = entry->hint_backoff_us == 0 ? RETRY_MIN_US : entry->hint_backoff_us * 2;
    entry->hint_backoff_us = wait_us < RETRY_MAX_US ? wait_us : RETRY_MAX_US;
    entry->hint_retry_us = control->now.mono_us + entry->hint_backoff_us;
}

static void close_item(struct rf_control *control, struct rf_handoff_item *item)
{
    rf_assert(control->handoff.n_open != 0);
    item->state = RF_HANDOFF_DONE;
    control->handoff.n_open--;
    if (control->handoff.n_open == 0) {
        end_batch(control);
    }
}

void rf_handoff_ack(struct rf_control *control, const struct rf_message *message)
{
    struct rf_handoff_item *item = item_by_id(&control->handoff, message->request_id);
    if (item == NULL || item->state != RF_HANDOFF_SENT ||
        message->from != rf_hint_target(&item->hint)) {
        return;
    }
    if (message->status == RF_STORE_STORED) {
        struct rf_node_entry *entry = rf_control_by_node(control, message->from);
        if (entry != NULL) {
            entry->hint_backoff_us = 0;
        }
        remove_hint(control, (uint32_t)(item - control->handoff.items));
        return;
    }
    target_failed(control, item);
    close_item(control, item);
}

void rf_handoff_stored(struct rf_control *control, const struct rf_store_done *done)
{
    if (done->kind == RF_STORE_SCAN) {
        scanned(control, done);
        return;
    }
    struct rf_handoff_item *item = item_by_id(&control->handoff, done->tag);
    if (item == NULL || item->state != RF_HANDOFF_REMOVING) {
        return;
    }
    if (done->status == RF_STORE_STORED) {
        control->stats.hints_expired += item->expired;
        control->stats.hints_replayed += !item->expired;
    }
    close_item(control, item);
}

/* ---- Time --------------------------------------------------------------------------------- */

/* The batch or scan was not answered in time: whoever still owes an answer has failed. */
static void give_up(struct rf_control *control)
{
    struct rf_handoff *handoff = &control->handoff;
    for (uint32_t i = 0; i < handoff->n_items; i++) {
        if (handoff->items[i].state == RF_HANDOFF_SENT) {
            target_failed(control, &handoff->items[i]);
        }
    }
    end_batch(control);
}

void rf_handoff_run(struct rf_control *control)
{
    struct rf_handoff *handoff = &control->handoff;
    if (control->config.n_partitions == 0) {
        handoff->due_us = UINT64_MAX;
        return;
    }
    if (handoff->due_us == 0) {
        handoff->due_us = control->now.mono_us + control->config.hint_interval_us;
    }
    if (control->now.mono_us < handoff->due_us) {
        return;
    }
    if (handoff->state == RF_HANDOFF_REST) {
        scan(control);
    } else {
        give_up(control);
    }
}

void rf_handoff_alive(struct rf_control *control, struct rf_node_entry *entry)
{
    struct rf_handoff *handoff = &control->handoff;
    entry->hint_backoff_us = 0;
    entry->hint_retry_us = 0;
    handoff->again = true;
    bool resting = handoff->state == RF_HANDOFF_REST && handoff->partition == 0 &&
                   handoff->token == 0 && handoff->after == NULL;
    if (resting && handoff->due_us != 0) {
        handoff->due_us = control->now.mono_us;
        handoff->again = false;
    }
}

void rf_handoff_fini(struct rf_control *control)
{
    rf_blob_drop(control->handoff.rows);
    rf_blob_drop(control->handoff.after);
    control->handoff = (struct rf_handoff){0};
}
