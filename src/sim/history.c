/* The order in which clients see the writes of a key: as if each took effect once, at one moment
 * between its beginning and its end (Herlihy and Wing, Linearizability, 1990).
 *
 * The checks by version (workload.c) cannot see everything: a write that was stamped twice could show
 * under its first version, be overtaken, and show again under its second. So: once a write has been
 * seen in effect, and then another one by a request that began after that, no request that begins
 * later may see the first one again. A coordinator that cannot prove that says so (`unsure`), and the
 * run counts such writes (docs/decisions/031). */
#include "sim/sim_private.h"

void rf_sim_got_version(struct rf_sim *sim, uint64_t number, const struct rf_version *version)
{
    if (number == 0) {
        return;
    }
    struct rf_sim_op *op = &sim->ops[number - 1];
    if (op->version.hlc == 0) {
        op->version = *version;
    }
    op->restamped =
        op->restamped || op->version.hlc != version->hlc || op->version.writer != version->writer;
}

/* Whatever was seen before this request began, and is not what it sees, is over. */
static void lose_others(struct rf_sim *sim, uint32_t key, uint64_t number, uint64_t start_us)
{
    uint64_t *link = &sim->in_effect[key];
    while (*link != 0) {
        struct rf_sim_op *op = &sim->ops[*link - 1];
        if (*link != number && op->seen_us < start_us) {
            op->lost_us = sim->now_us;
            *link = op->next_seen;
        } else {
            link = &op->next_seen;
        }
    }
}

void rf_sim_in_effect(struct rf_sim *sim, uint32_t key, uint64_t number, uint64_t start_us)
{
    struct rf_sim_op *op = number == 0 ? NULL : &sim->ops[number - 1];
    lose_others(sim, key, number, start_us);
    if (op == NULL) {
        return;
    }
    op->reappeared = op->reappeared || (op->lost_us != 0 && op->lost_us < start_us);
    if (op->seen_us == 0) {
        op->seen_us = sim->now_us;
        op->next_seen = sim->in_effect[key];
        sim->in_effect[key] = number;
    }
}

void rf_sim_check_order(struct rf_sim *sim)
{
    for (uint64_t i = 0; i < sim->n_ops && !sim->result.violated; i++) {
        const struct rf_sim_op *op = &sim->ops[i];
        if (!op->reappeared) {
            continue;
        }
        sim->result.reappeared++;
        if (!op->restamped || !op->unsure) {
            rf_sim_violation(sim,
                             "key %u: the write of request %llu%s was seen again after another "
                             "one had taken its place at %llu us (D7, D9)",
                             op->key, (unsigned long long)i + 1,
                             op->restamped ? ", stamped twice," : "",
                             (unsigned long long)op->lost_us);
        }
    }
}
