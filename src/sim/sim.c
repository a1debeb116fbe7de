#include "sim/sim.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sim/sim_private.h"

#define LOAD_AT_US 2500000u /* the cluster has formed by then */
#define QUIET_US 45000000u  /* after healing: detection, hints, repairs in the background */
#define READ_ATTEMPTS 8u

/* ---- Helpers ------------------------------------------------------------------------------ */

void rf_sim_violation(struct rf_sim *sim, const char *format, ...)
{
    va_list arguments;
    if (sim->result.violated) {
        return;
    }
    sim->result.violated = true;
    int n = snprintf(sim->result.why, sizeof(sim->result.why),
                     "at %llu us: ", (unsigned long long)sim->now_us);
    va_start(arguments, format);
    vsnprintf(sim->result.why + n, sizeof(sim->result.why) - (size_t)n, format, arguments);
    va_end(arguments);
}

uint64_t rf_sim_random(struct rf_sim *sim, uint64_t n)
{
    return rf_rng_below(&sim->rng, n == 0 ? 1 : n);
}

bool rf_sim_chance(struct rf_sim *sim, uint32_t ppm)
{
    return ppm != 0 && rf_rng_below(&sim->rng, 1000000) < ppm;
}

/* ---- The loop ----------------------------------------------------------------------------- */

/* An event for a former incarnation of its node comes to nothing. */
static bool is_stale(const struct rf_sim *sim, const struct rf_sim_event *event)
{
    const struct rf_sim_node *node = &sim->nodes[event->node];
    return !node->up || node->incarnation != event->incarnation;
}

static void do_node_event(struct rf_sim *sim, struct rf_sim_event *event)
{
    struct rf_sim_node *node = &sim->nodes[event->node];
    if (event->kind == RF_SIM_FRAME) {
        rf_sim_deliver(sim, event);
    } else if (event->kind == RF_SIM_MAIL) {
        rf_sim_push(sim, node, event->machine, &event->as.event);
        event->as.event = (struct rf_event){0}; /* the references went along */
    } else if (event->kind == RF_SIM_STORE) {
        rf_sim_submit(sim, node, event->machine, &event->as.store);
    } else if (event->kind == RF_SIM_SYNC) {
        rf_sim_sync_done(sim, node, event->machine);
    } else if (event->kind == RF_SIM_READ) {
        rf_sim_read_done(sim, node, event->machine);
    } else if (event->kind == RF_SIM_WORK) {
        rf_sim_work(sim, node, event->machine);
    } else if (node->machines[event->machine].run_at_us == event->at_us) {
        rf_sim_run_machine(sim, node, event->machine);
    }
}

static void do_event(struct rf_sim *sim, struct rf_sim_event *event)
{
    switch (event->kind) {
    case RF_SIM_FRAME:
    case RF_SIM_MAIL:
    case RF_SIM_STORE:
    case RF_SIM_RUN:
    case RF_SIM_SYNC:
    case RF_SIM_READ:
    case RF_SIM_WORK:
        if (!is_stale(sim, event)) {
            do_node_event(sim, event);
        }
        break;
    case RF_SIM_CLIENT:
        rf_sim_client_run(sim, event->machine);
        break;
    case RF_SIM_FAULT:
        rf_sim_fault(sim);
        break;
    case RF_SIM_SAMPLE:
        break;
    default:
        rf_unreachable();
    }
}

void rf_sim_until(struct rf_sim *sim, uint64_t at_us)
{
    while (!sim->result.violated && sim->queue.n != 0 && sim->queue.heap[0]->at_us <= at_us) {
        struct rf_sim_event *event = rf_sim_pop(sim);
        uint64_t             facts[3] = {event->at_us, event->kind,
                                         (uint64_t)event->node << 32 | event->machine};
        sim->trace = rf_hash64(rf_slice(facts, sizeof(facts)), sim->trace);
        sim->result.events++;
        do_event(sim, event);
        rf_sim_recycle(sim, event);
    }
    sim->now_us = sim->now_us < at_us ? at_us : sim->now_us;
}

/* ---- Life --------------------------------------------------------------------------------- */

/* The real engine merges its files with the shipped strategies, by the seed, and default options. */
static bool load_compaction(struct rf_sim *sim)
{
    const char        *name = sim->options.seed % 2 == 0 ? "compaction-stl" : "compaction-leveled";
    char               why[512];
    struct rf_problems problems = {0};
    if (!rf_ok(rf_registry_get(sim->registry, RF_KIND_COMPACTION, name, &sim->compaction, why)) ||
        !rf_ok(
            rf_plugin_options(sim->compaction, NULL, NULL, &sim->compaction_options, &problems))) {
        rf_sim_violation(sim, "%s cannot be used: %s", name, why);
        return false;
    }
    return true;
}

static bool load_placement(struct rf_sim *sim)
{
    const struct rf_plugin *plugin = NULL;
    char                    why[512];
    sim->registry = rf_registry_new(sim->options.plugin_dir);
    rf_assert(sim->registry != NULL);
    if (!rf_ok(
            rf_registry_get(sim->registry, RF_KIND_PLACEMENT, "placement-simple", &plugin, why))) {
        rf_sim_violation(sim, "%s", why);
        return false;
    }
    if (sim->options.engine && !load_compaction(sim)) {
        return false;
    }
    sim->table = (struct rf_table){
        .id = RF_SIM_TABLE,
        .name = "t",
        .n = 3,
        .write_quorum = 2,
        .read_quorum = 2,
        .read_repair_confirm = true,
        .placement = &plugin->ops.placement,
    };
    return true;
}

bool rf_sim_init(struct rf_sim *sim)
{
    sim->rng.state = sim->options.seed;
    sim->n_nodes = sim->options.n_nodes;
    sim->spared = sim->n_nodes;
    sim->delay_us = 500;
    rf_assert(sim->options.n_shards >= 1 && sim->options.n_shards <= RF_SIM_SHARDS_MAX);
    sim->pool = rf_member_pool_new();
    rf_assert(sim->pool != NULL);
    sim->nodes = RF_NEW_ARRAY(struct rf_sim_node, sim->n_nodes);
    rf_assert(sim->nodes != NULL);
    if (!sim->gossip_only) {
        sim->links = RF_NEW_ARRAY(uint8_t, (size_t)sim->n_nodes * sim->n_nodes);
        sim->blocked = RF_NEW_ARRAY(uint8_t, (size_t)sim->n_nodes * sim->n_nodes);
        rf_assert(sim->links != NULL && sim->blocked != NULL);
    }
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        rf_sim_node_init(sim, i);
    }
    return load_placement(sim);
}

void rf_sim_fini(struct rf_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        rf_sim_node_fini(sim, &sim->nodes[i]);
    }
    rf_member_pool_free(sim->pool);
    rf_sim_queue_fini(sim);
    rf_sim_views_fini(sim);
    rf_sim_workload_fini(sim);
    rf_mem_free(sim->compaction_options);
    rf_registry_free(sim->registry);
    rf_mem_free(sim->nodes);
    rf_mem_free(sim->links);
    rf_mem_free(sim->blocked);
}

/* ---- The end: everybody agrees ------------------------------------------------------------ */

static void check_membership(struct rf_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        const struct rf_control *control = sim->nodes[i].control;
        if (rf_control_cluster(control) == 0 ||
            rf_control_cluster(control) != rf_control_cluster(sim->nodes[0].control) ||
            rf_control_n_members(control) != sim->n_nodes) {
            rf_sim_violation(sim, "node %u has not found the cluster again", i);
            return;
        }
        for (uint32_t m = 0; m < sim->n_nodes; m++) {
            if (!rf_control_alive(control, m)) {
                rf_sim_violation(sim, "node %u still believes member %u to be dead", i, m);
            }
        }
    }
}

/* The key's durable row on a node, absent with version 0. The caller drops its blob. */
static struct rf_row row_on(const struct rf_sim_node *node, uint64_t token, struct rf_slice key)
{
    struct rf_row row = {0};
    (void)rf_sim_store_get(node->store, RF_SIM_TABLE, key, token, &row);
    return row;
}

static bool rows_equal(const struct rf_row *a, const struct rf_row *b)
{
    bool marker = ((a->flags | b->flags) & RF_ROW_MARKER) != 0;
    return rf_row_compare(a, b) == 0 && a->expiry_ms == b->expiry_ms &&
           (marker || (a->flags == b->flags && rf_slice_eq(a->value, b->value)));
}

/* Byte by byte (S134). */
static bool key_is_equal(struct rf_sim *sim, const struct rf_view *view, uint32_t k)
{
    char            space[16];
    struct rf_slice key = rf_sim_key(k, space);
    uint64_t        token = rf_ring_token(view->ring->seed, key);
    const uint16_t *replicas = rf_view_replicas(view, &view->tables[0], token);
    struct rf_row   first = {0};
    bool            equal = true;
    for (uint32_t r = 0; r < view->tables[0].n_placed; r++) {
        uint32_t      n = rf_sim_node_by_id(sim, view->ring->members[replicas[r]].node);
        struct rf_row row = row_on(&sim->nodes[n], token, key);
        if (r == 0) {
            first = row;
            continue;
        }
        if (!rows_equal(&first, &row)) {
            rf_sim_violation(sim, "key %u: nodes %u and %u hold different rows (S134)", k,
                             rf_sim_node_by_id(sim, view->ring->members[replicas[0]].node), n);
            equal = false;
        }
        rf_blob_drop(row.blob);
    }
    rf_blob_drop(first.blob);
    return equal;
}

static void check_replicas(struct rf_sim *sim)
{
    const struct rf_view *view = rf_sim_view_of(sim, sim->nodes[0].control);
    for (uint32_t k = 0; k < sim->n_keys && key_is_equal(sim, view, k); k++) {
    }
}

/* Reads every key strongly, with retries: the cluster must serve again, and repairs what differs. */
static void read_all(struct rf_sim *sim)
{
    for (uint32_t k = 0; k < sim->n_keys && !sim->result.violated; k++) {
        bool done = false;
        for (uint32_t attempt = 0; attempt < READ_ATTEMPTS && !done; attempt++) {
            uint32_t node = (uint32_t)rf_sim_random(sim, sim->n_nodes);
            uint64_t op = rf_sim_start_op(sim, 0, node, RF_CLIENT_GET, k, true);
            rf_sim_until(sim, sim->now_us + 500000);
            done = sim->ops[op - 1].state == RF_SIM_OP_ACKED;
        }
        if (!done) {
            rf_sim_violation(sim, "key %u cannot be read after healing", k);
        }
    }
}

static void check_idle(struct rf_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        for (uint32_t s = 0; s < sim->options.n_shards; s++) {
            if (rf_shard_stats(sim->nodes[i].shards[s]).in_flight != 0) {
                rf_sim_violation(sim, "node %u shard %u: requests never end", i, s);
            }
        }
    }
    for (uint32_t c = 0; c < sim->n_clients; c++) {
        if (sim->clients[c].op != 0) {
            rf_sim_violation(sim, "client %u waits for ever", c);
        }
    }
}

static uint64_t final_digest(struct rf_sim *sim)
{
    uint64_t digest = sim->trace;
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        struct rf_sim_node *node = &sim->nodes[i];
        uint64_t            facts[3] = {node->up, 0, 0};
        for (uint32_t s = 0; s < sim->options.n_shards && node->up && !sim->gossip_only; s++) {
            facts[1] ^= rf_shard_digest(node->shards[s]);
        }
        facts[0] = node->up ? rf_control_digest(node->control) : 0;
        facts[2] = node->store == NULL ? 0 : rf_sim_store_digest(node->store);
        digest = rf_hash64(rf_slice(facts, sizeof(facts)), digest);
    }
    return digest;
}

/* ---- One seed ----------------------------------------------------------------------------- */

static void begin(struct rf_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        rf_sim_node_start(sim, &sim->nodes[i]);
    }
    rf_sim_until(sim, LOAD_AT_US);
    sim->load = true;
    for (uint32_t c = 0; c < sim->n_clients; c++) {
        rf_sim_schedule(sim, RF_SIM_CLIENT, rf_sim_random(sim, 100000))->machine = c;
    }
    rf_sim_schedule(sim, RF_SIM_FAULT, 500000);
}

static void end(struct rf_sim *sim)
{
    sim->load = false;
    rf_sim_heal(sim);
    rf_sim_until(sim, sim->now_us + QUIET_US);
    if (sim->result.violated) {
        return;
    }
    check_membership(sim);
    check_idle(sim);
    if (sim->options.scenario != RF_SIM_CHAOS) {
        check_replicas(sim);
    }
    read_all(sim);
    rf_sim_until(sim, sim->now_us + 5000000);
    if (!sim->result.violated) {
        check_replicas(sim);
        check_idle(sim);
    }
}

struct rf_sim_result rf_sim_run(const struct rf_sim_options *options)
{
    struct rf_sim *sim = RF_NEW(struct rf_sim);
    rf_assert(sim != NULL);
    sim->options = *options;
    sim->checking = true;
    if (rf_sim_init(sim)) {
        sim->n_clients = 4 + (uint32_t)rf_sim_random(sim, RF_SIM_CLIENTS_MAX - 3);
        sim->n_keys = 1 + (uint32_t)rf_sim_random(sim, 24);
        sim->spared = options->scenario == RF_SIM_HINTS ? 0 : sim->n_nodes;
        begin(sim);
        rf_sim_until(sim, LOAD_AT_US + (uint64_t)options->seconds * 1000000);
        if (!sim->result.violated) {
            end(sim);
        }
        rf_sim_check_order(sim);
        sim->result.digest = sim->result.violated ? sim->trace : final_digest(sim);
    }
    rf_sim_fini(sim);
    struct rf_sim_result result = sim->result;
    rf_mem_free(sim);
    return result;
}
