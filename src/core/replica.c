/* The replica side: a peer's request becomes a store operation, its completion the answer. */
#include "base/hash.h"
#include "core/hint.h"
#include "core/shard_private.h"

#define ID_SERVICE (1u << 8)

static uint64_t service_id(const struct rf_shard *shard, const struct rf_service *service)
{
    return (uint64_t)service->generation << 32 |
           (uint64_t)(uint32_t)(service - shard->services) << 16 | ID_SERVICE | shard->config.shard;
}

static struct rf_message *answer(struct rf_shard *shard, uint64_t link, uint64_t request_id,
                                 enum rf_message_kind kind, enum rf_store_status status,
                                 const struct rf_row *row)
{
    struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_ANSWER);
    effect->as.message = (struct rf_message){
        .kind = kind,
        .status = (uint8_t)status,
        .link = link,
        .request_id = request_id,
        .hlc = shard->clock.last,
        .wall_ms = shard->now.wall_ms,
    };
    if (row != NULL) {
        effect->as.message.row = *row;
        rf_blob_take(row->blob);
    }
    return &effect->as.message;
}

static enum rf_message_kind ack_of(enum rf_message_kind kind)
{
    return kind == RF_MSG_WRITE  ? RF_MSG_WRITE_ACK
           : kind == RF_MSG_READ ? RF_MSG_READ_ACK
                                 : RF_MSG_HINT_ACK;
}

/* A request that this node can serve: known table, and a hint only for somebody else. */
static bool is_valid(const struct rf_shard *shard, const struct rf_message *message)
{
    if (shard->view == NULL || rf_view_table_by_id(shard->view, message->table) == NULL) {
        return false;
    }
    return message->kind != RF_MSG_HINT ||
           (message->target != 0 && message->target != shard->config.node);
}

static struct rf_service *take_service(struct rf_shard *shard, const struct rf_message *message)
{
    struct rf_service *service = &shard->services[shard->free_service];
    rf_assert(!service->used);
    shard->free_service = service->next;
    service->used = true;
    service->kind = (uint8_t)message->kind;
    service->mode = message->mode;
    service->link = message->link;
    service->request_id = message->request_id;
    return service;
}

static enum rf_apply_mode apply_mode(uint8_t mode)
{
    return mode == RF_APPLY_REFUSE_IF_NEWER ? RF_APPLY_REFUSE_IF_NEWER
           : mode == RF_APPLY_REPAIR        ? RF_APPLY_REPAIR
                                            : RF_APPLY_MERGE;
}

/* The store operation that a request means. False: no memory for a hint. */
static bool make_op(struct rf_shard *shard, const struct rf_message *message,
                    struct rf_store_op *ret_op)
{
    *ret_op = (struct rf_store_op){
        .kind = message->kind == RF_MSG_READ ? RF_STORE_READ : RF_STORE_APPLY,
        .mode = apply_mode(message->mode),
        .table = message->table,
        .row = message->row,
        .heals = message->kind == RF_MSG_WRITE ? message->target : 0,
    };
    if (message->kind == RF_MSG_HINT) {
        uint64_t expiry_ms = shard->now.wall_ms + shard->config.hint_window_ms;
        ret_op->mode = RF_APPLY_MERGE;
        ret_op->table = RF_TABLE_HINTS;
        ret_op->token = rf_hint_token(message->target);
        return rf_ok(
            rf_hint_make(message->target, message->table, &message->row, expiry_ms, &ret_op->row));
    }
    ret_op->token = rf_ring_token(shard->view->ring->seed, message->row.key);
    rf_blob_take(message->row.blob);
    return true;
}

void rf_replica_message(struct rf_shard *shard, const struct rf_message *message)
{
    bool known = message->kind == RF_MSG_WRITE || message->kind == RF_MSG_READ ||
                 message->kind == RF_MSG_HINT;
    if (!known || message->row.key.size == 0 || message->row.key.size > RF_KEY_MAX) {
        return;
    }
    shard->stats.replica_writes += message->kind == RF_MSG_WRITE;
    shard->stats.replica_reads += message->kind == RF_MSG_READ;
    struct rf_store_op op;
    if (shard->free_service == RF_NO_SLOT || !is_valid(shard, message) ||
        !make_op(shard, message, &op)) {
        answer(shard, message->link, message->request_id, ack_of(message->kind), RF_STORE_FAILED,
               NULL);
        return;
    }
    op.tag = service_id(shard, take_service(shard, message));
    rf_effect_add(shard->out, RF_FX_STORE)->as.store = op;
}

void rf_replica_stored(struct rf_shard *shard, const struct rf_store_done *done)
{
    uint32_t index = (uint32_t)(done->tag >> 16) & 0xffff;
    rf_assert(index < shard->config.max_replica_ops);
    struct rf_service *service = &shard->services[index];
    rf_assert(service->used);
    rf_assert(service_id(shard, service) == done->tag);
    shard->stats.hints_stored += service->kind == RF_MSG_HINT && done->status == RF_STORE_STORED;
    struct rf_message *message =
        answer(shard, service->link, service->request_id,
               ack_of((enum rf_message_kind)service->kind), done->status, &done->row);
    if (service->kind == RF_MSG_READ && service->mode == RF_READ_DIGEST &&
        done->status == RF_STORE_FOUND && done->row.value.size > RF_DIGEST_ABOVE) {
        message->mode = RF_READ_DIGEST;
        message->token = rf_hash64(done->row.value, 0);
        message->row.value = rf_slice(NULL, 0);
    }
    if (service->kind == RF_MSG_READ && done->status == RF_STORE_CANNOT_SAY) {
        message->token = done->damage;
    }
    service->used = false;
    service->generation++;
    service->next = shard->free_service;
    shard->free_service = index;
}
