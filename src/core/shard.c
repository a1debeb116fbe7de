#include "core/shard.h"

#include "base/hash.h"
#include "base/mem.h"
#include "core/hint.h"
#include "core/shard_private.h"

/* Most effects that one event can cause: a view change or a broken link touches many slots, and is
 * handled in portions by the caller's RF_MORE loop through `sweep`. 3 x 16 replicas and a reply. */
#define EFFECTS_PER_EVENT (3u * RF_REPLICAS_MAX + 4u)

#define CLOCK_WAIT_MS 10u /* how often to look whether time has caught up with the clock */

/* Ids: shard (8) | service flag (1) | attempt (7) | slot (16) | generation (32). */
#define ID_SERVICE (1u << 8)
#define CEILING_TAG(shard) ((uint64_t)(shard) | UINT64_C(0xffffffffffff0000))
#define HINT_TAG(shard) ((uint64_t)(shard) | UINT64_C(0xfffffffffffe0000)) /* nobody waits for it */

static uint64_t make_id(const struct rf_shard *shard, bool service, uint8_t attempt, uint32_t index,
                        uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint64_t)index << 16 | (uint64_t)(attempt & 0x7f) << 9 |
           (service ? ID_SERVICE : 0) | shard->config.shard;
}

uint64_t rf_slot_id(const struct rf_shard *shard, const struct rf_slot *slot)
{
    return make_id(shard, false, slot->attempt, (uint32_t)(slot - shard->slots), slot->generation);
}

/* The slot of an id, whatever attempt it names. */
static struct rf_slot *slot_by_id(struct rf_shard *shard, uint64_t id)
{
    uint32_t index = (uint32_t)(id >> 16) & 0xffff;
    if ((id & ID_SERVICE) != 0 || index >= shard->config.max_requests) {
        return NULL;
    }
    struct rf_slot *slot = &shard->slots[index];
    return slot->state != RF_SLOT_FREE && slot->generation == id >> 32 ? slot : NULL;
}

/* ---- Life --------------------------------------------------------------------------------- */

static void link_free_lists(struct rf_shard *shard)
{
    const struct rf_shard_config *config = &shard->config;
    for (uint32_t i = 0; i < config->max_requests; i++) {
        shard->slots[i].next = i + 1 < config->max_requests ? i + 1 : RF_NO_SLOT;
    }
    for (uint32_t i = 0; i < config->max_replica_ops; i++) {
        shard->services[i].next = i + 1 < config->max_replica_ops ? i + 1 : RF_NO_SLOT;
    }
    shard->oldest = RF_NO_SLOT;
    shard->youngest = RF_NO_SLOT;
    shard->late_first = RF_NO_SLOT;
    shard->late_last = RF_NO_SLOT;
}

struct rf_result rf_shard_new(const struct rf_shard_config *config, struct rf_shard **ret_shard)
{
    rf_assert(config->max_requests >= 1 && config->max_requests <= 65536);
    rf_assert(config->max_replica_ops >= 1 && config->max_replica_ops <= 65536);
    rf_assert(config->shard < RF_CONTROL_SHARD);
    rf_assert((config->node & 0xff) == 0 && config->node != 0);
    struct rf_shard *shard = RF_NEW(struct rf_shard);
    if (shard == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    shard->magic = RF_SHARD_MAGIC;
    shard->config = *config;
    shard->self = RF_NO_MEMBER;
    shard->rng.state = config->rng_seed;
    rf_hlc_init(&shard->clock, config->hlc_ceiling, config->max_ahead_ms);
    char key[] = "ceiling/000";
    key[8] = (char)('0' + config->shard / 100);
    key[9] = (char)('0' + config->shard / 10 % 10);
    key[10] = (char)('0' + config->shard % 10);
    shard->ceiling_key = rf_blob_copy(rf_slice_str(key));
    shard->slots = RF_NEW_ARRAY(struct rf_slot, config->max_requests);
    shard->hedges = RF_NEW_ARRAY(struct rf_hedge, config->max_requests);
    shard->services = RF_NEW_ARRAY(struct rf_service, config->max_replica_ops);
    shard->peers = RF_NEW_ARRAY(struct rf_peer, RF_MEMBERS_MAX);
    if (shard->ceiling_key == NULL || shard->slots == NULL || shard->services == NULL ||
        shard->hedges == NULL || shard->peers == NULL) {
        rf_shard_free(shard);
        return rf_result(RF_NO_MEMORY);
    }
    link_free_lists(shard);
    *ret_shard = shard;
    return rf_result(RF_OK);
}

static void drop_rows(struct rf_slot *slot)
{
    rf_blob_drop(slot->op.row.blob);
    for (uint32_t r = 0; r < RF_REPLICAS_MAX; r++) {
        rf_blob_drop(slot->replicas[r].row.blob);
        slot->replicas[r].row.blob = NULL;
    }
    slot->op.row.blob = NULL;
    rf_view_drop(slot->view);
    slot->view = NULL;
}

void rf_shard_free(struct rf_shard *shard)
{
    if (shard == NULL) {
        return;
    }
    rf_assert(shard->magic == RF_SHARD_MAGIC);
    for (uint32_t i = 0; shard->slots != NULL && i < shard->config.max_requests; i++) {
        drop_rows(&shard->slots[i]);
    }
    rf_view_drop(shard->view);
    rf_blob_drop(shard->ceiling_key);
    rf_mem_free(shard->slots);
    rf_mem_free(shard->services);
    rf_mem_free(shard->hedges);
    rf_mem_free(shard->peers);
    shard->magic = 0;
    rf_mem_free(shard);
}

const struct rf_view *rf_shard_view(const struct rf_shard *shard)
{
    return shard->view;
}

bool rf_shard_alive(const struct rf_shard *shard, uint16_t member)
{
    return !shard->peers[member].dead;
}

enum rf_storage_state rf_shard_storage(const struct rf_shard *shard, uint16_t member)
{
    return (enum rf_storage_state)shard->peers[member].storage;
}

struct rf_shard_stats rf_shard_stats(const struct rf_shard *shard)
{
    return shard->stats;
}

/* ---- Slots -------------------------------------------------------------------------------- */

static void list_append(struct rf_shard *shard, struct rf_slot *slot)
{
    uint32_t index = (uint32_t)(slot - shard->slots);
    slot->next = RF_NO_SLOT;
    slot->previous = shard->youngest;
    if (shard->youngest == RF_NO_SLOT) {
        shard->oldest = index;
    } else {
        shard->slots[shard->youngest].next = index;
    }
    shard->youngest = index;
}

static void list_remove(struct rf_shard *shard, struct rf_slot *slot)
{
    if (slot->previous == RF_NO_SLOT) {
        shard->oldest = slot->next;
    } else {
        shard->slots[slot->previous].next = slot->next;
    }
    if (slot->next == RF_NO_SLOT) {
        shard->youngest = slot->previous;
    } else {
        shard->slots[slot->next].previous = slot->previous;
    }
}

static void late_append(struct rf_shard *shard, struct rf_slot *slot)
{
    uint32_t index = (uint32_t)(slot - shard->slots);
    slot->late_next = RF_NO_SLOT;
    slot->late_previous = shard->late_last;
    if (shard->late_last == RF_NO_SLOT) {
        shard->late_first = index;
    } else {
        shard->slots[shard->late_last].late_next = index;
    }
    shard->late_last = index;
}

static void late_remove(struct rf_shard *shard, struct rf_slot *slot)
{
    if (slot->late_previous == RF_NO_SLOT) {
        shard->late_first = slot->late_next;
    } else {
        shard->slots[slot->late_previous].late_next = slot->late_next;
    }
    if (slot->late_next == RF_NO_SLOT) {
        shard->late_last = slot->late_previous;
    } else {
        shard->slots[slot->late_next].late_previous = slot->late_previous;
    }
}

static void time_out(struct rf_shard *shard, struct rf_slot *slot)
{
    if (slot->op.kind == RF_CLIENT_GET) {
        rf_read_timeout(shard, slot);
    } else {
        rf_write_timeout(shard, slot);
    }
}

/* All slots are taken. Requests that have their answer only wait for late replicas: the oldest of
 * them is treated as at its deadline, so that one frozen replica, which keeps every slot until the
 * deadline, cannot make the node refuse work that the others would do (S133, S177). */
static void give_up_oldest_late(struct rf_shard *shard)
{
    if (shard->late_first != RF_NO_SLOT) {
        shard->stats.given_up++;
        struct rf_slot *slot = &shard->slots[shard->late_first];
        if (slot->op.kind == RF_CLIENT_GET) {
            rf_read_timeout(shard, slot);
        } else {
            rf_write_give_up(shard, slot);
        }
        rf_assert(shard->free_slot != RF_NO_SLOT);
    }
}

static struct rf_slot *slot_acquire(struct rf_shard *shard)
{
    if (shard->free_slot == RF_NO_SLOT) {
        give_up_oldest_late(shard);
    }
    if (shard->free_slot == RF_NO_SLOT) {
        return NULL;
    }
    struct rf_slot *slot = &shard->slots[shard->free_slot];
    rf_assert(slot->state == RF_SLOT_FREE);
    shard->free_slot = slot->next;
    slot->state = RF_SLOT_RUNNING;
    slot->attempt = 0;
    slot->acks = 0;
    slot->refusals = 0;
    slot->newest_hlc = 0;
    slot->superseded = false;
    slot->patience = RF_PATIENCE_FRESH;
    slot->unsure = false;
    slot->sent = false;
    slot->deadline_us = shard->now.mono_us + shard->config.request_timeout_us;
    list_append(shard, slot);
    shard->stats.in_flight++;
    return slot;
}

/* The list stays in order: nobody has a later deadline than one that is made now. */
void rf_slot_extend(struct rf_shard *shard, struct rf_slot *slot)
{
    rf_assert(slot->state == RF_SLOT_ANSWERED);
    list_remove(shard, slot);
    slot->deadline_us = shard->now.mono_us + shard->config.request_timeout_us;
    list_append(shard, slot);
}

void rf_slot_release(struct rf_shard *shard, struct rf_slot *slot)
{
    rf_assert(slot->state == RF_SLOT_ANSWERED);
    list_remove(shard, slot);
    late_remove(shard, slot);
    for (uint32_t r = 0; r < slot->n; r++) {
        rf_peer_answered(shard, &slot->replicas[r], false); /* it was too slow, if it was asked */
    }
    drop_rows(slot);
    slot->state = RF_SLOT_FREE;
    slot->generation++;
    slot->next = shard->free_slot;
    shard->free_slot = (uint32_t)(slot - shard->slots);
    shard->stats.in_flight--;
}

void rf_slot_reply(struct rf_shard *shard, struct rf_slot *slot, enum rf_rc rc,
                   const struct rf_row *row)
{
    rf_assert(slot->state == RF_SLOT_RUNNING || slot->state == RF_SLOT_WAIT_CLOCK);
    slot->state = RF_SLOT_ANSWERED;
    late_append(shard, slot);
    struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_REPLY);
    effect->as.reply = (struct rf_reply){
        .client = slot->op.client,
        .rc = rc,
        .outcome_unknown = slot->sent && rc != RF_OK,
        .superseded = slot->superseded,
        .unsure = slot->unsure,
        .acked = slot->acks,
        .needed = slot->needed,
    };
    if (row != NULL) {
        effect->as.reply.row = *row;
        rf_blob_take(row->blob);
    }
}

struct rf_replica *rf_slot_replica(struct rf_slot *slot, uint64_t node)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].node == node) {
            return &slot->replicas[r];
        }
    }
    return NULL;
}

/* RF_OK, or why the request would be in vain: too few replicas live, or can acknowledge it. Then
 * slot->acks says how many do. All live ones are asked all the same: what is known of their disks may
 * be a moment old. */
static enum rf_rc fill_replicas(struct rf_shard *shard, struct rf_slot *slot)
{
    const uint16_t *members = rf_view_replicas(slot->view, slot->table, slot->token);
    uint8_t         live = 0;
    uint8_t         taking = 0;
    uint8_t         full = 0;
    slot->n = slot->table->n_placed;
    for (uint32_t r = 0; r < slot->n; r++) {
        const struct rf_peer *peer = &shard->peers[members[r]];
        bool                  dead = peer->dead;
        bool                  takes = rf_peer_takes(peer, slot->op.kind);
        slot->replicas[r] = (struct rf_replica){
            .node = slot->view->ring->members[members[r]].node,
            .state = dead ? RF_REPLICA_DOWN : RF_REPLICA_UNASKED,
        };
        live = (uint8_t)(live + !dead);
        taking = (uint8_t)(taking + (!dead && takes));
        full = (uint8_t)(full + (!dead && !takes && peer->storage == RF_STORAGE_FULL));
    }
    if (taking >= slot->needed) {
        return RF_OK;
    }
    bool for_space = taking + full >= slot->needed;
    slot->acks = live < slot->needed ? live : taking;
    shard->stats.full_refusals += for_space;
    shard->stats.quorum_failures += !for_space;
    return for_space ? RF_DISK_RESERVE : RF_QUORUM_UNAVAILABLE;
}

void rf_shard_set_clock_off(struct rf_shard *shard, bool off)
{
    shard->clock_off = off;
}

/* Why a request is refused that got no slot. */
static enum rf_rc refusal(const struct rf_shard *shard, const struct rf_table *table, bool stamps)
{
    if (shard->view == NULL) {
        return RF_STARTING;
    }
    if (table == NULL) {
        return RF_TABLE_NOT_FOUND;
    }
    if (table->replicas == NULL) {
        return RF_QUORUM_UNAVAILABLE;
    }
    return shard->clock_off && stamps ? RF_CLOCK_OFFSET : RF_OVERLOADED;
}

static void start_request(struct rf_shard *shard, const struct rf_client_op *op)
{
    bool                   read = op->kind == RF_CLIENT_GET;
    const struct rf_table *table =
        shard->view == NULL ? NULL : rf_view_table_by_id(shard->view, op->table);
    bool stamps = !read && op->timestamp_ms == 0;
    bool refused = table == NULL || table->replicas == NULL || (shard->clock_off && stamps);
    struct rf_slot *slot = refused ? NULL : slot_acquire(shard);
    shard->stats.reads += read;
    shard->stats.writes += op->kind == RF_CLIENT_PUT;
    shard->stats.deletes += op->kind == RF_CLIENT_DELETE;
    if (slot == NULL) {
        struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_REPLY);
        effect->as.reply.client = op->client;
        effect->as.reply.rc = refusal(shard, table, stamps);
        return;
    }
    slot->op = *op;
    rf_blob_take(op->row.blob);
    slot->view = rf_view_take(shard->view);
    slot->table = table;
    slot->token = rf_ring_token(shard->view->ring->seed, op->row.key);
    uint8_t quorum = read ? (op->strong ? table->read_quorum : 1) : table->write_quorum;
    slot->needed = op->quorum != 0 ? op->quorum : quorum;
    enum rf_rc in_vain = fill_replicas(shard, slot);
    if (in_vain != RF_OK) {
        rf_slot_reply(shard, slot, in_vain, NULL);
        rf_slot_release(shard, slot);
        return;
    }
    if (read) {
        rf_read_start(shard, slot);
    } else {
        rf_write_start(shard, slot);
    }
}

/* ---- Asking replicas ---------------------------------------------------------------------- */

static struct rf_message *send_message(struct rf_shard *shard, struct rf_slot *slot, uint64_t node,
                                       enum rf_message_kind kind)
{
    struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_SEND);
    uint64_t          left_us =
        slot->deadline_us > shard->now.mono_us ? slot->deadline_us - shard->now.mono_us : 0;
    effect->node = node;
    effect->as.message = (struct rf_message){
        .kind = kind,
        .request_id = rf_slot_id(shard, slot),
        .hlc = shard->clock.last,
        .wall_ms = shard->now.wall_ms,
        .budget_ms = (uint32_t)(left_us / 1000),
        .ring_digest = slot->view->ring->digest,
        .table = slot->table->id,
        .token = slot->token,
    };
    return &effect->as.message;
}

static struct rf_store_op *store_op(struct rf_shard *shard, struct rf_slot *slot,
                                    enum rf_store_kind kind)
{
    struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_STORE);
    effect->as.store = (struct rf_store_op){
        .kind = kind,
        .tag = rf_slot_id(shard, slot),
        .table = slot->table->id,
        .token = slot->token,
    };
    return &effect->as.store;
}

void rf_ask_write(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                  const struct rf_row *row, enum rf_apply_mode mode)
{
    rf_blob_take(row->blob);
    if (replica->node == shard->config.node) {
        struct rf_store_op *op = store_op(shard, slot, RF_STORE_APPLY);
        op->mode = mode;
        op->row = *row;
        op->heals = mode == RF_APPLY_REPAIR ? replica->damage : 0;
        return;
    }
    struct rf_message *message = send_message(shard, slot, replica->node, RF_MSG_WRITE);
    message->mode = (uint8_t)mode;
    message->target = mode == RF_APPLY_REPAIR ? replica->damage : 0;
    message->row = *row;
}

void rf_send_hint(struct rf_shard *shard, struct rf_slot *slot, uint64_t holder, uint64_t target)
{
    shard->stats.hints_sent++;
    if (holder != shard->config.node) {
        struct rf_message *message = send_message(shard, slot, holder, RF_MSG_HINT);
        message->target = target;
        message->row = slot->op.row;
        rf_blob_take(message->row.blob);
        return;
    }
    struct rf_row hint = {0};
    uint64_t      expiry_ms = shard->now.wall_ms + shard->config.hint_window_ms;
    if (!rf_ok(rf_hint_make(target, slot->table->id, &slot->op.row, expiry_ms, &hint))) {
        return;
    }
    struct rf_store_op *op = store_op(shard, slot, RF_STORE_APPLY);
    op->mode = RF_APPLY_MERGE;
    op->tag = HINT_TAG(shard->config.shard);
    op->table = RF_TABLE_HINTS;
    op->token = rf_hint_token(target);
    op->row = hint;
}

void rf_ask_read(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                 bool digest)
{
    struct rf_row key = {.key = slot->op.row.key, .blob = rf_blob_take(slot->op.row.blob)};
    if (replica->node == shard->config.node) {
        store_op(shard, slot, RF_STORE_READ)->row = key;
        return;
    }
    rf_peer_asked(shard, replica);
    struct rf_message *message = send_message(shard, slot, replica->node, RF_MSG_READ);
    message->mode = digest ? RF_READ_DIGEST : RF_READ_FULL;
    message->row = key;
}

/* ---- Peers -------------------------------------------------------------------------------- */

/* Peers are kept by member index: carry them over by node id. Members are sorted by name in both
 * views, so one walk over both does it. */
static void take_view(struct rf_shard *shard, struct rf_view *view)
{
    struct rf_view *old = shard->view;
    struct rf_peer  carried[RF_MEMBERS_MAX] = {0};
    uint32_t        o = 0;
    for (uint32_t m = 0; old != NULL && m < view->ring->n_members; m++) {
        const struct rf_member *member = &view->ring->members[m];
        while (o < old->ring->n_members && strcmp(old->ring->members[o].name, member->name) < 0) {
            o++;
        }
        if (o < old->ring->n_members && old->ring->members[o].node == member->node) {
            carried[m] = shard->peers[o];
        }
    }
    memcpy(shard->peers, carried, sizeof(carried));
    shard->view = rf_view_take(view);
    shard->self = rf_ring_by_node(view->ring, shard->config.node);
    rf_view_drop(old);
}

static bool is_hint_holder(const struct rf_slot *slot, uint64_t node)
{
    for (uint32_t r = 0; r < slot->n; r++) {
        if (slot->replicas[r].state == RF_REPLICA_HINTING && slot->replicas[r].holder == node) {
            return true;
        }
    }
    return false;
}

/* Requests in flight that wait for this node's answer must not wait for their timeout. False:
 * effects are full, call again. */
static bool link_broke(struct rf_shard *shard, uint64_t node)
{
    uint32_t next = RF_NO_SLOT;
    for (uint32_t i = shard->oldest; i != RF_NO_SLOT; i = next) {
        struct rf_slot    *slot = &shard->slots[i];
        struct rf_replica *replica = rf_slot_replica(slot, node);
        next = slot->next;
        bool keeps_hint = is_hint_holder(slot, node);
        bool waits = replica != NULL &&
                     (replica->state == RF_REPLICA_ASKED || replica->state == RF_REPLICA_FETCHING ||
                      replica->state == RF_REPLICA_REPAIRING);
        if (!(waits || keeps_hint) || slot->state == RF_SLOT_WAIT_CLOCK) {
            continue;
        }
        if (shard->out->max - shard->out->n < EFFECTS_PER_EVENT) {
            return false;
        }
        if (keeps_hint) {
            rf_write_hinted(shard, slot, node, false);
        } else if (slot->op.kind == RF_CLIENT_GET) {
            rf_read_broken(shard, slot, replica);
        } else {
            rf_write_broken(shard, slot, replica);
        }
    }
    return true;
}

/* ---- Events ------------------------------------------------------------------------------- */

/* A replica answered a request of ours: route it to the slot, if that still lives. */
static void route_answer(struct rf_shard *shard, uint64_t id, uint64_t node, bool write,
                         const struct rf_answer *answer)
{
    struct rf_slot    *slot = slot_by_id(shard, id);
    struct rf_replica *replica = slot == NULL ? NULL : rf_slot_replica(slot, node);
    if (replica == NULL) {
        return;
    }
    /* An answer to a former attempt of a write, or to the repair with a former winner, is void. */
    bool current = ((uint32_t)(id >> 9) & 0x7f) == (slot->attempt & 0x7fu);
    if (slot->op.kind != RF_CLIENT_GET) {
        if (write && current && replica->state == RF_REPLICA_ASKED) {
            rf_write_answer(shard, slot, replica, answer->status, &answer->row);
        }
    } else if (write && current) {
        rf_read_repaired(shard, slot, replica, answer->status, &answer->row.version);
    } else if (!write &&
               (replica->state == RF_REPLICA_ASKED || replica->state == RF_REPLICA_FETCHING)) {
        rf_peer_answered(shard, replica, true);
        rf_read_answer(shard, slot, replica, answer);
    }
}

static void on_message(struct rf_shard *shard, const struct rf_message *message)
{
    rf_hlc_observe(&shard->clock, message->hlc, shard->now.wall_ms);
    bool write = message->kind == RF_MSG_WRITE_ACK;
    if (message->kind == RF_MSG_HINT_ACK) {
        struct rf_slot *slot = slot_by_id(shard, message->request_id);
        if (slot != NULL && slot->op.kind != RF_CLIENT_GET) {
            rf_write_hinted(shard, slot, message->from, message->status == RF_STORE_STORED);
        }
        return;
    }
    if (write || message->kind == RF_MSG_READ_ACK) {
        struct rf_answer answer = {
            .status = (enum rf_store_status)message->status,
            .row = message->row,
            .digest = !write && message->mode == RF_READ_DIGEST,
            .value_hash = message->token,
            .damage = message->status == RF_STORE_CANNOT_SAY ? message->token : 0,
        };
        route_answer(shard, message->request_id, message->from, write, &answer);
    } else {
        rf_replica_message(shard, message);
    }
}

/* Writes that waited for the clock go on, when its ceiling is durable or time has caught up. */
static void resume_clock_waits(struct rf_shard *shard)
{
    uint32_t next = RF_NO_SLOT;
    bool     was_waiting = shard->clock_waits;
    shard->clock_waits = false;
    for (uint32_t i = shard->oldest; was_waiting && i != RF_NO_SLOT; i = next) {
        struct rf_slot *slot = &shard->slots[i];
        next = slot->next;
        if (slot->state != RF_SLOT_WAIT_CLOCK) {
            continue;
        }
        if (shard->out->max - shard->out->n < EFFECTS_PER_EVENT) {
            shard->clock_waits = true; /* the next step goes on */
            return;
        }
        slot->state = RF_SLOT_RUNNING;
        rf_write_start(shard, slot);
        if (slot->state == RF_SLOT_WAIT_CLOCK) {
            return; /* no stamp for it, nor for those behind it */
        }
    }
}

static bool on_stored(struct rf_shard *shard, const struct rf_store_done *done)
{
    if (done->tag == CEILING_TAG(shard->config.shard)) {
        if (shard->clock.asked != 0) {
            rf_hlc_durable(&shard->clock, shard->now.wall_ms, done->status == RF_STORE_STORED);
        }
        return true;
    }
    if (done->tag == HINT_TAG(shard->config.shard)) {
        shard->stats.hints_stored += done->status == RF_STORE_STORED;
        return true;
    }
    if ((done->tag & ID_SERVICE) != 0) {
        rf_replica_stored(shard, done);
    } else {
        struct rf_answer answer = {
            .status = done->status, .damage = done->damage, .row = done->row};
        route_answer(shard, done->tag, shard->config.node, done->kind == RF_STORE_APPLY, &answer);
    }
    return true;
}

/* A peer died, came back, has or lacks disk space, or its link broke. */
static bool on_peer(struct rf_shard *shard, const struct rf_event *event)
{
    struct rf_peer *peer = rf_peer_of(shard, event->as.peer.node);
    if (peer == NULL) {
        return true;
    }
    if (event->kind == RF_EV_STORAGE) {
        peer->storage = (uint8_t)event->as.peer.storage;
        return true;
    }
    if (event->kind == RF_EV_ALIVE) {
        peer->dead = !event->as.peer.up;
        return true;
    }
    peer->broken = !event->as.peer.up;
    return !peer->broken || link_broke(shard, event->as.peer.node);
}

/* False: effects are full before the event was done with; the same event is to be handled again,
 * and goes on where it stopped. */
static bool handle(struct rf_shard *shard, const struct rf_event *event)
{
    switch (event->kind) {
    case RF_EV_TICK:
        break;
    case RF_EV_CLIENT:
        start_request(shard, &event->as.client);
        break;
    case RF_EV_MESSAGE:
        on_message(shard, &event->as.message);
        break;
    case RF_EV_STORED:
        return on_stored(shard, &event->as.stored);
    case RF_EV_VIEW:
        take_view(shard, event->as.view);
        break;
    case RF_EV_ALIVE:
    case RF_EV_STORAGE:
    case RF_EV_LINK:
        return on_peer(shard, event);
    default:
        rf_unreachable();
    }
    return true;
}

static void expire_requests(struct rf_shard *shard)
{
    while (shard->oldest != RF_NO_SLOT &&
           shard->slots[shard->oldest].deadline_us <= shard->now.mono_us &&
           shard->out->max - shard->out->n >= EFFECTS_PER_EVENT) {
        time_out(shard, &shard->slots[shard->oldest]);
    }
}

/* Reads whose replica is slower than it mostly is: ask another one, too (S66). Refused writes that
 * have waited for further answers: stamp again. */
static void hedge_requests(struct rf_shard *shard)
{
    uint64_t id = 0;
    while (shard->out->max - shard->out->n >= EFFECTS_PER_EVENT && rf_hedge_due(shard, &id)) {
        struct rf_slot *slot = slot_by_id(shard, id);
        if (slot == NULL || slot->state != RF_SLOT_RUNNING) {
            continue;
        }
        if (slot->op.kind == RF_CLIENT_GET) {
            rf_read_hedge(shard, slot);
        } else {
            rf_write_waited(shard, slot);
        }
    }
}

static void raise_ceiling(struct rf_shard *shard)
{
    uint64_t ceiling = 0;
    if (shard->out->n == shard->out->max ||
        !rf_hlc_wants_ceiling(&shard->clock, shard->now.wall_ms, &ceiling)) {
        return;
    }
    struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_STORE);
    struct rf_slice   key = rf_slice(shard->ceiling_key->data, shard->ceiling_key->size);
    effect->as.store = (struct rf_store_op){
        .kind = RF_STORE_APPLY,
        .mode = RF_APPLY_MERGE,
        .tag = CEILING_TAG(shard->config.shard),
        .table = RF_TABLE_META,
        .token = rf_ring_token(0, key), /* local rows: the cluster's seed may not be known yet */
        .row = {.version = {ceiling, shard->config.node | shard->config.shard},
                .key = key,
                .blob = rf_blob_take(shard->ceiling_key)},
    };
}

static uint64_t next_wake_us(const struct rf_shard *shard)
{
    uint64_t check_ms = rf_hlc_check_after_ms(&shard->clock, shard->now.wall_ms);
    uint64_t wake_us = UINT64_MAX;
    check_ms = shard->clock_waits && shard->clock.asked == 0 ? CLOCK_WAIT_MS : check_ms;
    if (check_ms != 0) {
        wake_us = shard->now.mono_us + check_ms * 1000;
    }
    if (shard->oldest != RF_NO_SLOT && shard->slots[shard->oldest].deadline_us < wake_us) {
        wake_us = shard->slots[shard->oldest].deadline_us;
    }
    if (shard->n_hedges != 0 && shard->hedges[0].at_us < wake_us) {
        wake_us = shard->hedges[0].at_us;
    }
    return wake_us;
}

struct rf_result rf_shard_step(struct rf_shard *shard, const struct rf_event *events,
                               uint32_t n_events, struct rf_effects *ret_effects)
{
    rf_assert(shard->magic == RF_SHARD_MAGIC);
    rf_assert(ret_effects->max >= RF_EFFECTS_MIN);
    shard->out = ret_effects;
    ret_effects->n = 0;
    ret_effects->consumed = 0;
    bool full = false;
    for (uint32_t i = 0; i < n_events && !full; i++) {
        if (ret_effects->max - ret_effects->n < EFFECTS_PER_EVENT) {
            full = true;
            break;
        }
        shard->now = events[i].now;
        full = !handle(shard, &events[i]);
        ret_effects->consumed += !full;
    }
    resume_clock_waits(shard);
    expire_requests(shard);
    hedge_requests(shard);
    raise_ceiling(shard);
    ret_effects->wake_at_us = next_wake_us(shard);
    shard->out = NULL;
    return rf_result(full ? RF_MORE : RF_OK);
}

/* ---- Checking ----------------------------------------------------------------------------- */

uint64_t rf_shard_digest(const struct rf_shard *shard)
{
    uint64_t facts[] = {
        shard->clock.last,          shard->clock.ceiling,
        shard->stats.writes,        shard->stats.reads,
        shard->stats.deletes,       shard->stats.in_flight,
        shard->stats.timeouts,      shard->stats.restamps,
        shard->stats.read_repairs,  shard->stats.replica_writes,
        shard->stats.replica_reads, shard->view == NULL ? 0 : shard->view->ring->digest};
    uint64_t digest = rf_hash64(rf_slice(facts, sizeof(facts)), shard->config.shard);
    for (uint32_t i = shard->oldest; i != RF_NO_SLOT; i = shard->slots[i].next) {
        uint64_t id[2] = {rf_slot_id(shard, &shard->slots[i]), shard->slots[i].state};
        digest = rf_hash64(rf_slice(id, sizeof(id)), digest);
    }
    return digest;
}

void rf_shard_check(const struct rf_shard *shard)
{
    rf_assert(shard->magic == RF_SHARD_MAGIC);
    uint64_t n = 0;
    uint64_t n_answered = 0;
    uint64_t deadline = 0;
    for (uint32_t i = shard->late_first; i != RF_NO_SLOT; i = shard->slots[i].late_next) {
        rf_assert(shard->slots[i].state == RF_SLOT_ANSWERED);
        n_answered++;
        rf_assert(n_answered <= shard->config.max_requests);
    }
    for (uint32_t i = shard->oldest; i != RF_NO_SLOT; i = shard->slots[i].next) {
        const struct rf_slot *slot = &shard->slots[i];
        rf_assert(slot->state != RF_SLOT_FREE);
        rf_assert(slot->deadline_us >= deadline);
        rf_assert(slot->view != NULL);
        rf_assert(slot->n <= RF_REPLICAS_MAX);
        deadline = slot->deadline_us;
        n_answered -= slot->state == RF_SLOT_ANSWERED;
        n++;
        rf_assert(n <= shard->config.max_requests);
    }
    rf_assert(n == shard->stats.in_flight);
    rf_assert(n_answered == 0);
    for (uint32_t i = shard->free_slot; i != RF_NO_SLOT; i = shard->slots[i].next) {
        rf_assert(shard->slots[i].state == RF_SLOT_FREE);
        n++;
        rf_assert(n <= shard->config.max_requests);
    }
    rf_assert(n == shard->config.max_requests);
    for (uint32_t i = 1; i < shard->n_hedges; i++) {
        rf_assert(shard->hedges[(i - 1) / 2].at_us <= shard->hedges[i].at_us);
    }
    rf_assert(shard->clock.last <= shard->clock.ceiling || shard->clock.ceiling == 0 ||
              shard->clock.max_ahead_ms != 0);
}
