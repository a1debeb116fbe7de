/* The replica side: a peer's request becomes a store operation, its completion the answer. */
#include "core/shard_private.h"

#define ID_SERVICE (1u << 8)

static uint64_t service_id(const struct rf_shard *shard, const struct rf_service *service)
{
    return (uint64_t)service->generation << 32 |
           (uint64_t)(uint32_t)(service - shard->services) << 16 | ID_SERVICE |
           shard->config.shard;
}

static void answer(struct rf_shard *shard, uint64_t link, uint64_t request_id,
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
}

void rf_replica_message(struct rf_shard *shard, const struct rf_message *message)
{
    bool write = message->kind == RF_MSG_WRITE;
    if ((!write && message->kind != RF_MSG_READ) || message->row.key.size == 0) {
        return;
    }
    shard->stats.replica_writes += write;
    shard->stats.replica_reads += !write;
    enum rf_message_kind ack = write ? RF_MSG_WRITE_ACK : RF_MSG_READ_ACK;
    if (shard->free_service == RF_NO_SLOT || shard->view == NULL ||
        rf_view_table_by_id(shard->view, message->table) == NULL) {
        answer(shard, message->link, message->request_id, ack, RF_STORE_FAILED, NULL);
        return;
    }
    struct rf_service *service = &shard->services[shard->free_service];
    rf_assert(!service->used);
    shard->free_service = service->next;
    service->used = true;
    service->kind = (uint8_t)message->kind;
    service->link = message->link;
    service->request_id = message->request_id;
    struct rf_effect *effect = rf_effect_add(shard->out, RF_FX_STORE);
    effect->as.store = (struct rf_store_op){
        .kind = write ? RF_STORE_APPLY : RF_STORE_READ,
        .mode = (enum rf_apply_mode)message->mode,
        .tag = service_id(shard, service),
        .table = message->table,
        .token = rf_ring_token(shard->view->ring->seed, message->row.key),
        .row = message->row,
    };
    rf_blob_take(message->row.blob);
}

void rf_replica_stored(struct rf_shard *shard, const struct rf_store_done *done)
{
    uint32_t index = (uint32_t)(done->tag >> 16) & 0xffff;
    rf_assert(index < shard->config.max_replica_ops);
    struct rf_service *service = &shard->services[index];
    rf_assert(service->used);
    rf_assert(service_id(shard, service) == done->tag);
    bool write = service->kind == RF_MSG_WRITE;
    answer(shard, service->link, service->request_id,
           write ? RF_MSG_WRITE_ACK : RF_MSG_READ_ACK, done->status, &done->row);
    service->used = false;
    service->generation++;
    service->next = shard->free_service;
    shard->free_service = index;
}
