/* The scenarios: what goes wrong, and when. */
#include "base/mem.h"
#include "sim/sim_private.h"

#define CALM_US 3000000u /* the cluster forms undisturbed */

static uint32_t count_up(const struct rf_sim *sim)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        n += sim->nodes[i].up;
    }
    return n;
}

static struct rf_sim_node *random_node(struct rf_sim *sim)
{
    return &sim->nodes[rf_sim_random(sim, sim->n_nodes)];
}

/* Mostly a minority is down, now and then nearly all. */
static void crash_one(struct rf_sim *sim)
{
    struct rf_sim_node *node = random_node(sim);
    uint32_t            keep = rf_sim_chance(sim, 100000) ? 1 : sim->n_nodes / 2 + 1;
    if (node->up && count_up(sim) > keep) {
        rf_sim_node_crash(sim, node);
        sim->result.crashes++;
    }
}

static void start_one(struct rf_sim *sim)
{
    struct rf_sim_node *node = random_node(sim);
    for (uint32_t i = 0; i < sim->n_nodes && node->up; i++) {
        node = &sim->nodes[(node->index + 1) % sim->n_nodes];
    }
    if (!node->up) {
        rf_sim_node_start(sim, node);
    }
}

/* Splits the nodes in two; with `one_way` only frames from the first half are lost. */
static void partition(struct rf_sim *sim, bool one_way)
{
    uint64_t sides = rf_rng_next(&sim->rng);
    for (uint32_t a = 0; a < sim->n_nodes; a++) {
        for (uint32_t b = 0; b < sim->n_nodes; b++) {
            bool from = (sides >> (a % 64) & 1) != 0;
            bool to = (sides >> (b % 64) & 1) != 0;
            sim->blocked[a * sim->n_nodes + b] = one_way ? from && !to : from != to;
        }
    }
    sim->result.partitions++;
}

static void unblock(struct rf_sim *sim)
{
    memset(sim->blocked, 0, (size_t)sim->n_nodes * sim->n_nodes);
}

static void disturb_clock(struct rf_sim *sim)
{
    int64_t range = rf_sim_chance(sim, 200000) ? 4000 : 300; /* ms */
    random_node(sim)->skew_ms = (int64_t)rf_sim_random(sim, (uint64_t)range * 2) - range;
}

static void chaos(struct rf_sim *sim)
{
    switch (rf_sim_random(sim, 14)) {
    case 0:
    case 1:
        crash_one(sim);
        break;
    case 2:
    case 3:
    case 4:
        start_one(sim);
        break;
    case 5:
        partition(sim, rf_sim_chance(sim, 400000));
        break;
    case 6:
    case 7:
        unblock(sim);
        break;
    case 8:
        sim->loss_ppm = (uint32_t)rf_sim_random(sim, rf_sim_chance(sim, 300000) ? 200000 : 20000);
        sim->double_ppm = (uint32_t)rf_sim_random(sim, 100000);
        break;
    case 9:
        random_node(sim)->slow_us = rf_sim_chance(sim, 500000) ? 0 : rf_sim_random(sim, 400000);
        break;
    case 10:
        random_node(sim)->sync_us = rf_sim_chance(sim, 500000) ? 0 : rf_sim_random(sim, 100000);
        break;
    case 11:
        random_node(sim)->paused_until_us = sim->now_us + rf_sim_random(sim, 3000000);
        break;
    case 12:
        disturb_clock(sim);
        break;
    default: {
        struct rf_sim_node *node = random_node(sim);
        bool                full = rf_sim_chance(sim, 300000);
        rf_sim_node_set_full(sim, node, full);
        sim->delay_us = rf_sim_random(sim, rf_sim_chance(sim, 200000) ? 50000 : 2000);
        break;
    }
    }
    rf_sim_schedule(sim, RF_SIM_FAULT, 20000 + rf_sim_random(sim, 1500000));
}

/* One node, which no client uses, goes and comes back again and again. */
static void hints(struct rf_sim *sim)
{
    struct rf_sim_node *node = &sim->nodes[sim->spared];
    if (node->up) {
        rf_sim_node_crash(sim, node);
        sim->result.crashes++;
    } else {
        rf_sim_node_start(sim, node);
    }
    rf_sim_schedule(sim, RF_SIM_FAULT, 500000 + rf_sim_random(sim, 25000000));
}

void rf_sim_fault(struct rf_sim *sim)
{
    if (!sim->load) {
        return;
    }
    if (sim->now_us < CALM_US) {
        rf_sim_schedule(sim, RF_SIM_FAULT, CALM_US - sim->now_us);
        return;
    }
    switch (sim->options.scenario) {
    case RF_SIM_CHAOS:
        chaos(sim);
        break;
    case RF_SIM_HINTS:
        hints(sim);
        break;
    case RF_SIM_CALM:
        break;
    default:
        rf_unreachable();
    }
}

void rf_sim_heal(struct rf_sim *sim)
{
    unblock(sim);
    sim->loss_ppm = 0;
    sim->double_ppm = 0;
    sim->delay_us = 500;
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        struct rf_sim_node *node = &sim->nodes[i];
        node->slow_us = 0;
        node->sync_us = 0;
        node->skew_ms = 0;
        rf_sim_node_set_full(sim, node, false);
        if (!node->up) {
            rf_sim_node_start(sim, node);
        }
    }
}
