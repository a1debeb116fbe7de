/* Failure detection: a heartbeat that stands still for dead_after makes a node suspect. Before it is
 * declared dead it is probed directly and through two others (SWIM, Das et al. 2002). Only our own
 * monotonic clock counts; a recovered node shows by its moving heartbeat. */
#include "core/control_private.h"

static void start_probe(struct rf_control *control, struct rf_node_entry *entry)
{
    entry->probe = RF_PROBE_WAITING;
    entry->probe_until_us = control->now.mono_us + 2 * control->config.gossip_interval_us;
    rf_control_send(control, entry->member.node, RF_MSG_PROBE, NULL)->target = entry->member.node;
    for (uint32_t i = 0, asked = 0; i < 8 && asked < RF_PROBE_HELPERS; i++) {
        struct rf_node_entry *helper = &control->entries[rf_rng_below(&control->rng, control->n)];
        if (helper != entry && helper->alive &&
            helper->member.node != control->config.self.node) {
            rf_control_send(control, helper->member.node, RF_MSG_PROBE, NULL)->target =
                entry->member.node;
            asked++;
        }
    }
}

void rf_detector_round(struct rf_control *control)
{
    for (uint32_t i = 0; i < control->n; i++) {
        struct rf_node_entry *entry = &control->entries[i];
        if (!entry->alive || entry->member.node == control->config.self.node ||
            entry->member.state == RF_MEMBER_LEFT) {
            continue;
        }
        if (entry->changed_at_us == 0) {
            entry->changed_at_us = control->now.mono_us; /* known from disk, not yet heard of */
        }
        if (control->out->max - control->out->n < 16) {
            return; /* the next round goes on */
        }
        bool frozen = control->now.mono_us - entry->changed_at_us >= control->config.dead_after_us;
        if (frozen && entry->probe == RF_PROBE_NONE) {
            start_probe(control, entry);
        } else if (frozen && control->now.mono_us >= entry->probe_until_us) {
            entry->probe = RF_PROBE_NONE;
            rf_control_set_alive(control, entry, false);
        }
    }
}

/* Probe ids: the prober's question travels as request, `target` says who is meant. */
void rf_detector_message(struct rf_control *control, const struct rf_message *message)
{
    struct rf_node_entry *target = rf_control_by_node(control, message->target);
    if (target == NULL) {
        return;
    }
    if (message->kind == RF_MSG_PROBE_ACK) {
        target->changed_at_us = control->now.mono_us;
        target->probe = RF_PROBE_NONE;
        return;
    }
    if (message->target == control->config.self.node) {
        rf_control_answer(control, message, RF_MSG_PROBE_ACK, NULL)->target = message->target;
        return;
    }
    /* Asked by another: say what we know, if that is fresh. */
    uint64_t fresh_us = 2 * control->config.gossip_interval_us + control->config.dead_after_us / 2;
    if (target->alive && control->now.mono_us - target->changed_at_us < fresh_us) {
        rf_control_answer(control, message, RF_MSG_PROBE_ACK, NULL)->target = message->target;
    }
}
