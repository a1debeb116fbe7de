/* The network: frames travel encoded, as in the server; they are delayed, lost, doubled, reordered
 * and blocked. A frame reaches only the incarnation of the node that it was sent to, as over TCP. */
#include "base/hash.h"
#include "base/mem.h"
#include "sim/sim_private.h"

#define BASE_DELAY_US 150u
#define REFUSED_US 300u /* until a dead node's refusal is noticed */

/* A link handle: connection to (node, incarnation). */
static uint64_t make_link(const struct rf_sim_node *node)
{
    return (uint64_t)node->incarnation << 32 | node->index;
}

uint32_t rf_sim_node_by_id(const struct rf_sim *sim, uint64_t id)
{
    uint32_t index = (uint32_t)(id >> 8) & 0xffff; /* ids are made so in node.c */
    return index < sim->n_nodes && sim->nodes[index].id == id ? index : sim->n_nodes;
}

static uint64_t draw_delay(struct rf_sim *sim, const struct rf_sim_node *from,
                           const struct rf_sim_node *to)
{
    return BASE_DELAY_US + rf_sim_random(sim, sim->delay_us + 1) + from->slow_us + to->slow_us;
}

/* A doubled frame stands for all that could make a machine see something twice, though TLS over TCP
 * does not double. Only writes that may be refused are spared: a replica that stored one, then a
 * newer row, would refuse the copy, and its coordinator take that for an answer to the first. */
static bool is_doubled(const struct rf_message *message)
{
    return message->kind != RF_MSG_WRITE || message->mode != RF_APPLY_REFUSE_IF_NEWER;
}

static void post(struct rf_sim *sim, struct rf_sim_node *from, struct rf_sim_node *to,
                 struct rf_blob *frame, bool may_double)
{
    if (sim->blocked != NULL && sim->blocked[from->index * sim->n_nodes + to->index] != 0) {
        return;
    }
    uint32_t copies = 1;
    copies -= rf_sim_chance(sim, sim->loss_ppm);
    copies += may_double && rf_sim_chance(sim, sim->double_ppm);
    for (uint32_t i = 0; i < copies; i++) {
        struct rf_sim_event *event = rf_sim_schedule(sim, RF_SIM_FRAME, draw_delay(sim, from, to));
        event->node = to->index;
        event->incarnation = to->incarnation;
        event->from = from->index;
        event->link = make_link(from);
        event->frame = rf_blob_take(frame);
    }
}

static struct rf_blob *encode(struct rf_sim *sim, struct rf_sim_node *from,
                              const struct rf_message *message)
{
    struct rf_buf buf = {0};
    rf_message_encode(&buf, message);
    struct rf_blob *frame = rf_blob_copy(rf_buf_slice(&buf));
    rf_buf_fini(&buf);
    rf_assert(frame != NULL);
    from->sent_bytes += frame->size;
    sim->result.messages++;
    return frame;
}

void rf_sim_link_event(struct rf_sim *sim, struct rf_sim_node *node, uint32_t peer, bool up,
                       uint64_t delay_us)
{
    for (uint32_t s = 0; s < sim->options.n_shards && !sim->gossip_only; s++) {
        struct rf_sim_event *event = rf_sim_schedule(sim, RF_SIM_MAIL, delay_us);
        event->node = node->index;
        event->incarnation = node->incarnation;
        event->machine = s;
        event->as.event = (struct rf_event){.kind = RF_EV_LINK};
        event->as.event.as.peer.node = sim->nodes[peer].id;
        event->as.event.as.peer.up = up;
    }
}

/* Keeps the dialed link's state: a dead peer refuses, a live one is connected to again. */
static bool link_works(struct rf_sim *sim, struct rf_sim_node *from, struct rf_sim_node *to)
{
    if (sim->links == NULL) {
        return to->up;
    }
    uint8_t *link = &sim->links[from->index * sim->n_nodes + to->index];
    bool     up = to->up;
    if (up && *link != RF_SIM_LINK_UP) {
        rf_sim_link_event(sim, from, to->index, true, REFUSED_US);
    } else if (!up) {
        rf_sim_link_event(sim, from, to->index, false, REFUSED_US);
    }
    *link = up ? RF_SIM_LINK_UP : RF_SIM_LINK_DOWN;
    return up;
}

void rf_sim_send(struct rf_sim *sim, struct rf_sim_node *from, uint32_t shard, uint32_t to,
                 const struct rf_message *message)
{
    (void)shard;
    if (to >= sim->n_nodes || !link_works(sim, from, &sim->nodes[to])) {
        return;
    }
    struct rf_blob *frame = encode(sim, from, message);
    post(sim, from, &sim->nodes[to], frame, is_doubled(message));
    rf_blob_drop(frame);
}

void rf_sim_answer(struct rf_sim *sim, struct rf_sim_node *from, const struct rf_message *message)
{
    struct rf_sim_node *to = &sim->nodes[(uint32_t)message->link];
    struct rf_blob     *frame = encode(sim, from, message);
    if (to->up && to->incarnation == message->link >> 32) {
        post(sim, from, to, frame, true);
    }
    rf_blob_drop(frame);
}

static bool is_ack(enum rf_message_kind kind)
{
    return kind == RF_MSG_WRITE_ACK || kind == RF_MSG_READ_ACK || kind == RF_MSG_HINT_ACK;
}

/* As the server routes: control messages to control, answers to who asked, requests to the shard
 * that owns the link. */
static uint32_t machine_for(const struct rf_sim *sim, const struct rf_sim_event *event,
                            const struct rf_message *message)
{
    uint32_t n_shards = sim->options.n_shards;
    if (rf_message_is_control(message->kind)) {
        return n_shards;
    }
    if (is_ack(message->kind)) {
        uint8_t shard = rf_tag_shard(message->request_id);
        return shard == RF_CONTROL_SHARD ? n_shards : shard;
    }
    return (event->from * 7 + event->node) % n_shards;
}

void rf_sim_deliver(struct rf_sim *sim, struct rf_sim_event *arrived)
{
    struct rf_sim_node *node = &sim->nodes[arrived->node];
    struct rf_event     event = {.kind = RF_EV_MESSAGE};
    struct rf_slice     frame = rf_slice(arrived->frame->data, arrived->frame->size);
    rf_assert(rf_ok(rf_message_decode(frame, &event.as.message)));
    event.as.message.from = sim->nodes[arrived->from].id;
    event.as.message.link = arrived->link;
    event.as.message.row.blob = arrived->frame; /* the reference passes over */
    arrived->frame = NULL;
    rf_sim_push(sim, node, machine_for(sim, arrived, &event.as.message), &event);
}
