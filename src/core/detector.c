/* Failure detection: a heartbeat that stands still for nearly dead_after makes a node suspect. It is
 * probed directly, and two others are asked for the heartbeat that they know (after SWIM, Das et al.
 * 2002); it is dead when the probes have failed and dead_after is over. Only our own monotonic clock
 * counts; a recovered node shows by its moving heartbeat. */
#include "core/control_private.h"

#define PROBE_ROUNDS 3u

static bool is_self(const struct rf_control *control, const struct rf_node_entry *entry)
{
    return rf_entry_member(entry)->node == control->config.self.node;
}

/* Asks the node itself and two others. Sent again every round until the node is alive or dead: at
 * 5 % loss one round misses once in a thousand times, PROBE_ROUNDS of them once in 10^9. */
static void send_probes(struct rf_control *control, const struct rf_node_entry *entry)
{
    uint64_t target = rf_entry_member(entry)->node;
    rf_control_send(control, target, RF_MSG_PROBE, NULL)->target = target;
    for (uint32_t i = 0, asked = 0; i < 8 && asked < RF_PROBE_HELPERS; i++) {
        struct rf_node_entry *helper = &control->entries[rf_rng_below(&control->rng, control->n)];
        if (helper != entry && helper->alive && !is_self(control, helper)) {
            rf_control_send(control, rf_entry_member(helper)->node, RF_MSG_PROBE, NULL)->target =
                target;
            asked++;
        }
    }
}

void rf_detector_round(struct rf_control *control)
{
    uint64_t now_us = control->now.mono_us;
    uint64_t probes_us = PROBE_ROUNDS * control->config.gossip_interval_us;
    uint64_t suspect_us = control->config.dead_after_us > 2 * probes_us
                              ? control->config.dead_after_us - probes_us
                              : control->config.dead_after_us;
    for (uint32_t i = 0; i < control->n; i++) {
        struct rf_node_entry *entry = &control->entries[i];
        if (!entry->alive || now_us - entry->changed_at_us < suspect_us) {
            continue;
        }
        if (is_self(control, entry) || rf_entry_member(entry)->state == RF_MEMBER_LEFT) {
            continue;
        }
        if (entry->changed_at_us == 0) {
            entry->changed_at_us = now_us; /* known from disk, not yet heard of */
            continue;
        }
        if (control->out->max - control->out->n < 16) {
            return; /* the next round goes on */
        }
        if (entry->probe == RF_PROBE_NONE) {
            entry->probe = RF_PROBE_WAITING;
            entry->probe_until_us = now_us + probes_us;
        }
        if (now_us < entry->probe_until_us) {
            send_probes(control, entry);
        } else {
            entry->probe = RF_PROBE_NONE;
            rf_control_set_alive(control, entry, false);
        }
    }
}

/* An answer says which heartbeat of the target, in which generation, the answering node knows. One
 * about a former generation is void: after a restart heartbeats begin again, and a high one from
 * before would keep the real ones unheard for as long as the node had run. */
static void on_probe_ack(struct rf_control *control, const struct rf_message *message,
                         struct rf_node_entry *target)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         generation = rf_get_varint(&reader);
    uint64_t         pulse = rf_get_varint(&reader);
    if (reader.bad || generation != rf_entry_member(target)->generation) {
        return;
    }
    rf_control_beat(control, target, pulse);
    if (message->from == message->target) {
        target->changed_at_us = control->now.mono_us; /* it answers: it lives */
        target->probe = RF_PROBE_NONE;
        if (!target->alive) {
            rf_control_set_alive(control, target, true);
        }
    }
}

/* `target` says who is meant: the receiver itself, or somebody that it is asked about. */
void rf_detector_message(struct rf_control *control, const struct rf_message *message)
{
    struct rf_node_entry *target = rf_control_by_node(control, message->target);
    if (message->kind == RF_MSG_PROBE_ACK && message->target == control->config.self.node) {
        rf_twin_answer(control, message);
        return;
    }
    if (target == NULL) {
        return;
    }
    if (message->kind == RF_MSG_PROBE_ACK) {
        on_probe_ack(control, message, target);
        return;
    }
    struct rf_buf *body = rf_control_body(control);
    if (body != NULL) {
        rf_put_varint(body, rf_entry_member(target)->generation);
        rf_put_varint(body, rf_entry_pulse(target));
        if (is_self(control, target)) {
            rf_twin_put(control, body);
            rf_twin_asked(control, message);
        }
        rf_control_answer(control, message, RF_MSG_PROBE_ACK, body)->target = message->target;
    }
}
