/* The host of one simulated node: does with the core what src/server's worker.c and control_host.c
 * do, on virtual time. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sim/sim_private.h"

#define RUN_DELAY_US 60u /* a machine runs within this after an event: events gather in its queue */
#define MAIL_DELAY_US 40u
#define SYNC_US 150u
#define READ_US 3000u /* a read of the disk */
#define MAX_REQUESTS 96u
#define REQUEST_TIMEOUT_US 2000000u

struct rf_time rf_sim_clock(const struct rf_sim *sim, const struct rf_sim_node *node)
{
    uint64_t wall_ms = RF_SIM_EPOCH_MS + sim->now_us / 1000;
    return (struct rf_time){.mono_us = node->mono_us + sim->now_us,
                            .wall_ms = (uint64_t)((int64_t)wall_ms + node->skew_ms)};
}

/* ---- Queues and mail ---------------------------------------------------------------------- */

/* The earliest wish wins; a RUN that is not the one noted is ignored. */
static void run_at(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine, uint64_t at_us)
{
    struct rf_sim_machine *state = &node->machines[machine];
    at_us = at_us < sim->now_us ? sim->now_us : at_us;
    at_us = at_us < node->paused_until_us ? node->paused_until_us : at_us;
    if (at_us >= state->run_at_us) {
        return;
    }
    state->run_at_us = at_us;
    struct rf_sim_event *event = rf_sim_schedule(sim, RF_SIM_RUN, at_us - sim->now_us);
    event->node = node->index;
    event->incarnation = node->incarnation;
    event->machine = machine;
}

void rf_sim_push(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine,
                 const struct rf_event *event)
{
    struct rf_sim_machine *state = &node->machines[machine];
    rf_assert(node->up);
    if (state->n == state->cap) {
        state->cap = state->cap == 0 ? 16 : state->cap * 2;
        state->queue = rf_mem_realloc(state->queue, sizeof(*state->queue) * state->cap);
        rf_assert(state->queue != NULL);
    }
    state->queue[state->n++] = *event;
    run_at(sim, node, machine, sim->now_us + rf_sim_random(sim, RUN_DELAY_US));
}

/* When mail from one machine to another arrives: never before mail that was sent earlier. */
static uint64_t mail_delay(struct rf_sim *sim, struct rf_sim_node *node, uint32_t from, uint32_t to)
{
    uint64_t  at_us = sim->now_us + 1 + rf_sim_random(sim, MAIL_DELAY_US);
    uint64_t *last = &node->mail_at_us[from][to];
    *last = at_us > *last ? at_us : *last;
    return *last - sim->now_us;
}

void rf_sim_mail(struct rf_sim *sim, struct rf_sim_node *node, uint32_t from, uint32_t to,
                 const struct rf_event *event)
{
    struct rf_sim_event *mail = rf_sim_schedule(sim, RF_SIM_MAIL, mail_delay(sim, node, from, to));
    mail->node = node->index;
    mail->incarnation = node->incarnation;
    mail->machine = to;
    mail->as.event = *event;
}

/* ---- Store -------------------------------------------------------------------------------- */

static void route_stored(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard,
                         const struct rf_store_done *done)
{
    uint8_t         tag = rf_tag_shard(done->tag);
    uint32_t        to = tag == RF_CONTROL_SHARD ? sim->options.n_shards : tag;
    struct rf_event event = {.kind = RF_EV_STORED, .as.stored = *done};
    if (tag == RF_CONTROL_SHARD && done->status == RF_STORE_STORED) {
        node->cluster = rf_control_cluster(node->control); /* as a host does: after the state */
    }
    if (to == shard) {
        rf_sim_push(sim, node, to, &event);
    } else {
        rf_sim_mail(sim, node, shard, to, &event);
    }
}

static void kick_sync(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    if (node->syncing[shard] ||
        !rf_sim_store_sync_begin(node->store, shard, rf_sim_clock(sim, node).mono_us)) {
        return;
    }
    node->syncing[shard] = true;
    uint64_t             time_us = SYNC_US / 2 + rf_sim_random(sim, SYNC_US) + node->sync_us;
    struct rf_sim_event *event = rf_sim_schedule(sim, RF_SIM_SYNC, time_us);
    event->node = node->index;
    event->incarnation = node->incarnation;
    event->machine = shard;
}

/* Each read that waits for the disk ends some time later; which one, the seed says. */
static void kick_reads(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    while (rf_sim_store_read_begin(node->store, shard)) {
        struct rf_sim_event *event =
            rf_sim_schedule(sim, RF_SIM_READ, 100 + rf_sim_random(sim, READ_US));
        event->node = node->index;
        event->incarnation = node->incarnation;
        event->machine = shard;
    }
}

static void take_done(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    struct rf_store_done done[16];
    uint32_t             n = 0;
    while ((n = rf_sim_store_poll(node->store, shard, done, 16)) != 0) {
        for (uint32_t i = 0; i < n; i++) {
            route_stored(sim, node, shard, &done[i]);
        }
    }
    kick_sync(sim, node, shard);
    kick_reads(sim, node, shard);
}

void rf_sim_read_done(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    rf_sim_store_read_end(node->store, shard, &sim->rng);
    take_done(sim, node, shard);
}

void rf_sim_submit(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard,
                   struct rf_store_op *op)
{
    struct rf_store_done done;
    uint64_t             number = 0; /* of the client's write */
    if (op->kind == RF_STORE_APPLY && op->table == RF_SIM_TABLE) {
        rf_sim_saw_row(sim, &op->row);
        number = rf_sim_op_of(sim, &op->row);
    }
    bool at_once = rf_ok(rf_sim_store_submit(node->store, shard, op, &done));
    if (!at_once || done.status == RF_STORE_STORED) {
        rf_sim_stored(sim, number);
    }
    if (at_once) {
        route_stored(sim, node, shard, &done);
    }
    kick_sync(sim, node, shard);
    kick_reads(sim, node, shard);
}

void rf_sim_sync_done(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    node->syncing[shard] = false;
    rf_sim_store_sync_end(node->store, shard);
    take_done(sim, node, shard);
}

static uint32_t store_shard(const struct rf_sim *sim, const struct rf_store_op *op)
{
    uint64_t partition =
        op->kind == RF_STORE_SCAN ? op->partition : op->token & (RF_SIM_PARTITIONS - 1);
    return (uint32_t)(partition % sim->options.n_shards);
}

static void do_store(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine,
                     struct rf_store_op *op)
{
    uint32_t owner = store_shard(sim, op);
    if (owner == machine) {
        rf_sim_submit(sim, node, owner, op);
        return;
    }
    struct rf_sim_event *event =
        rf_sim_schedule(sim, RF_SIM_STORE, mail_delay(sim, node, machine, owner));
    event->node = node->index;
    event->incarnation = node->incarnation;
    event->machine = owner;
    event->as.store = *op;
}

/* ---- Effects ------------------------------------------------------------------------------ */

static void publish(struct rf_sim *sim, struct rf_sim_node *node)
{
    uint32_t control = sim->options.n_shards;
    if (sim->gossip_only) {
        return;
    }
    struct rf_view *view = rf_sim_view_of(sim, node->control);
    for (uint32_t s = 0; s < control; s++) {
        struct rf_event event = {.kind = RF_EV_VIEW, .as.view = rf_view_take(view)};
        rf_sim_mail(sim, node, control, s, &event);
    }
}

static void tell_alive(struct rf_sim *sim, struct rf_sim_node *node, uint64_t about, bool up)
{
    uint32_t        control = sim->options.n_shards;
    struct rf_event event = {.kind = RF_EV_ALIVE};
    uint32_t        peer = rf_sim_node_by_id(sim, about);
    event.as.peer.node = about;
    event.as.peer.up = up;
    if (!up && peer < sim->n_nodes && sim->nodes[peer].up) {
        sim->deaths++;
    }
    for (uint32_t s = 0; s < control && !sim->gossip_only; s++) {
        rf_sim_mail(sim, node, control, s, &event);
    }
}

static void tell_storage(struct rf_sim *sim, struct rf_sim_node *node, uint64_t about,
                         enum rf_storage_state storage)
{
    uint32_t        control = sim->options.n_shards;
    struct rf_event event = {.kind = RF_EV_STORAGE, .as.peer = {.node = about, .storage = storage}};
    for (uint32_t s = 0; s < control && !sim->gossip_only; s++) {
        rf_sim_mail(sim, node, control, s, &event);
    }
}

static uint32_t node_by_address(const struct rf_sim *sim, const char *address)
{
    unsigned index = 0;
    return sscanf(address, "sim:%u", &index) == 1 && index < sim->n_nodes ? index : sim->n_nodes;
}

static void do_effect(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine,
                      struct rf_effect *effect)
{
    switch (effect->kind) {
    case RF_FX_SEND:
        rf_sim_send(sim, node, machine, rf_sim_node_by_id(sim, effect->node), &effect->as.message);
        rf_blob_drop(effect->as.message.row.blob);
        break;
    case RF_FX_SEND_ADDR:
        rf_sim_send(sim, node, machine, node_by_address(sim, effect->text), &effect->as.message);
        break;
    case RF_FX_ANSWER:
        rf_sim_answer(sim, node, &effect->as.message);
        rf_blob_drop(effect->as.message.row.blob);
        break;
    case RF_FX_STORE:
        if (sim->gossip_only) {
            rf_blob_drop(effect->as.store.row.blob);
        } else {
            do_store(sim, node, machine, &effect->as.store);
        }
        break;
    case RF_FX_REPLY:
        rf_sim_reply(sim, node, &effect->as.reply);
        rf_blob_drop(effect->as.reply.row.blob);
        break;
    case RF_FX_PUBLISH:
        publish(sim, node);
        break;
    case RF_FX_ALIVE:
        tell_alive(sim, node, effect->node, effect->as.up);
        break;
    case RF_FX_STORAGE:
        tell_storage(sim, node, effect->node, effect->as.storage);
        break;
    case RF_FX_MOVED:
    case RF_FX_TWIN:
        break;
    case RF_FX_TWIN_FIRST:
    case RF_FX_RAISE:
        rf_sim_violation(sim, "node %u hears of itself what it did not say", node->index);
        break;
    case RF_FX_REFUSED:
        rf_sim_violation(sim, "node %u is refused: %s", node->index, effect->text);
        break;
    default:
        rf_unreachable();
    }
}

/* ---- Steps -------------------------------------------------------------------------------- */

static enum rf_rc step(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine,
                       struct rf_effects *effects)
{
    struct rf_sim_machine *state = &node->machines[machine];
    enum rf_rc             rc = RF_OK;
    sim->result.steps++;
    if (machine == sim->options.n_shards) {
        rc = rf_control_step(node->control, state->queue, state->n, effects).rc;
        if (sim->checking) {
            rf_control_check(node->control);
        }
    } else {
        rc = rf_shard_step(node->shards[machine], state->queue, state->n, effects).rc;
        if (sim->checking) {
            rf_shard_check(node->shards[machine]);
        }
    }
    rf_assert(rc == RF_OK || rc == RF_MORE);
    return rc;
}

static void consume(struct rf_sim_machine *state, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        rf_event_drop(&state->queue[i]);
    }
    if (n != 0 && n != state->n) {
        memmove(state->queue, state->queue + n, sizeof(*state->queue) * (state->n - n));
    }
    state->n -= n;
}

void rf_sim_run_machine(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine)
{
    struct rf_sim_machine *state = &node->machines[machine];
    struct rf_effects      effects = {.list = sim->effects, .max = RF_SIM_EFFECTS};
    struct rf_time         now = rf_sim_clock(sim, node);
    enum rf_rc             rc = RF_OK;
    state->run_at_us = UINT64_MAX;
    if (state->n == 0) {
        struct rf_event tick = {.kind = RF_EV_TICK};
        rf_sim_push(sim, node, machine, &tick);
        state->run_at_us = UINT64_MAX; /* the RUN just planned is not needed */
    }
    for (uint32_t i = 0; i < state->n; i++) {
        state->queue[i].now = now;
    }
    do {
        rc = step(sim, node, machine, &effects);
        consume(state, effects.consumed);
        for (uint32_t i = 0; i < effects.n; i++) {
            do_effect(sim, node, machine, &effects.list[i]);
        }
        for (uint32_t i = 0; i < state->n; i++) {
            state->queue[i].now = now;
        }
    } while (rc == RF_MORE && !sim->result.violated);
    if (effects.wake_at_us != UINT64_MAX) {
        uint64_t wake_us =
            effects.wake_at_us > node->mono_us ? effects.wake_at_us - node->mono_us : 0;
        run_at(sim, node, machine, wake_us <= sim->now_us ? sim->now_us + 1 : wake_us);
    }
    if (state->n != 0) {
        run_at(sim, node, machine, sim->now_us + 1);
    }
}

/* ---- Life --------------------------------------------------------------------------------- */

static void make_member(const struct rf_sim *sim, const struct rf_sim_node *node,
                        struct rf_member *ret_member)
{
    *ret_member = (struct rf_member){
        .node = node->id,
        .generation = node->generation,
        .version = 1,
        .state = sim->state.size != 0 ? RF_MEMBER_NORMAL : RF_MEMBER_JOINING,
        .vnodes = rf_sim_vnodes(sim),
    };
    snprintf(ret_member->name, sizeof(ret_member->name), "n%04u", node->index);
    snprintf(ret_member->rack, sizeof(ret_member->rack), "r%u", node->index % 3);
    snprintf(ret_member->peer_addr, sizeof(ret_member->peer_addr), "%s", node->address);
    snprintf(ret_member->client_addr, sizeof(ret_member->client_addr), "%s", node->address);
}

/* Ids: random high bits, the node's index in the middle (so that the simulator finds it), low 8
 * bits 0. */
void rf_sim_node_init(struct rf_sim *sim, uint32_t index)
{
    struct rf_sim_node *node = &sim->nodes[index];
    node->index = index;
    node->id = (rf_rng_next(&sim->rng) << 24) | (uint64_t)1 << 63 | (uint64_t)index << 8;
    node->mono_us = 1 + rf_sim_random(sim, 1000000000);
    snprintf(node->address, sizeof(node->address), "sim:%u", index);
}

static void make_store(struct rf_sim *sim, struct rf_sim_node *node)
{
    node->store = rf_sim_store_new(&(struct rf_sim_store_config){
        .engine = sim->options.engine,
        .node = node->id,
        .seed = rf_rng_next(&sim->rng),
        .n_shards = sim->options.n_shards,
        .n_partitions = RF_SIM_PARTITIONS,
        .table = RF_SIM_TABLE,
        .compaction = sim->compaction,
        .compaction_options = sim->compaction_options,
    });
}

static bool durable_meta(const struct rf_sim_node *node, const char *name, struct rf_row *ret_row)
{
    struct rf_slice key = rf_slice_str(name);
    return node->store != NULL &&
           rf_sim_store_get(node->store, RF_TABLE_META, key, rf_ring_token(0, key), ret_row);
}

static void start_control(struct rf_sim *sim, struct rf_sim_node *node)
{
    struct rf_control_config config = {
        .gossip_interval_us = 1000000,
        .dead_after_us = 10000000,
        .n_partitions = sim->gossip_only ? 0 : RF_SIM_PARTITIONS,
        .hint_interval_us = 2000000,
        .rng_seed = rf_rng_next(&sim->rng),
        .process = node->id + node->generation,
        .cluster = node->cluster,
        .state = sim->state,
        .pool = sim->pool,
    };
    struct rf_row state = {0};
    make_member(sim, node, &config.self);
    if (durable_meta(node, "cluster", &state)) {
        config.state = state.value;
        config.state_hlc = state.version.hlc;
    }
    for (uint32_t i = 0; i < sim->n_nodes && i < RF_SEEDS_MAX; i++) {
        config.seeds[config.n_seeds++] = sim->nodes[i].address;
    }
    rf_assert(rf_ok(rf_control_new(&config, &node->control)));
    rf_blob_drop(state.blob);
}

/* In every third disturbed run hints expire while their target is still away: then only reads repair. */
static uint64_t hint_window_ms(const struct rf_sim *sim)
{
    bool brief = sim->options.scenario == RF_SIM_CHAOS && sim->options.seed % 3 == 0;
    return brief ? 2000 : 3600000;
}

static void start_shards(struct rf_sim *sim, struct rf_sim_node *node)
{
    uint64_t ceiling = 0;
    for (uint32_t s = 0; s < sim->options.n_shards; s++) {
        char name[24];
        snprintf(name, sizeof(name), "ceiling/%03u", s);
        struct rf_row row = {0};
        (void)durable_meta(node, name, &row);
        ceiling = row.version.hlc > ceiling ? row.version.hlc : ceiling;
        rf_blob_drop(row.blob);
    }
    for (uint32_t s = 0; s < sim->options.n_shards; s++) {
        struct rf_shard_config config = {
            .node = node->id,
            .shard = (uint8_t)s,
            .max_requests = MAX_REQUESTS,
            .max_replica_ops = MAX_REQUESTS,
            .request_timeout_us = REQUEST_TIMEOUT_US,
            .max_ahead_ms = 500,
            .hint_window_ms = hint_window_ms(sim),
            .hlc_ceiling = ceiling,
            .rng_seed = rf_rng_next(&sim->rng),
        };
        rf_assert(rf_ok(rf_shard_new(&config, &node->shards[s])));
    }
}

/* Flush and compaction take a step every few milliseconds. */
static void plan_work(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    struct rf_sim_event *event =
        rf_sim_schedule(sim, RF_SIM_WORK, 2000 + rf_sim_random(sim, 10000));
    event->node = node->index;
    event->incarnation = node->incarnation;
    event->machine = shard;
}

void rf_sim_work(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard)
{
    rf_sim_store_work(node->store, shard, rf_sim_clock(sim, node).wall_ms);
    plan_work(sim, node, shard);
}

static void tell_full(struct rf_sim *sim, struct rf_sim_node *node)
{
    struct rf_event event = {.kind = RF_EV_STORAGE,
                             .as.peer = {.storage = node->full ? RF_STORAGE_FULL : RF_STORAGE_OK}};
    rf_sim_push(sim, node, sim->options.n_shards, &event);
}

void rf_sim_node_set_full(struct rf_sim *sim, struct rf_sim_node *node, bool full)
{
    if (sim->options.engine || sim->gossip_only || full == node->full) {
        return;
    }
    node->full = full;
    rf_sim_store_set_full(node->store, full);
    if (node->up) {
        tell_full(sim, node);
    }
}

void rf_sim_node_start(struct rf_sim *sim, struct rf_sim_node *node)
{
    rf_assert(!node->up);
    node->up = true;
    node->incarnation++;
    node->generation++;
    char why[512];
    if (!sim->gossip_only && node->store == NULL) {
        make_store(sim, node);
    }
    if (node->store != NULL && !rf_sim_store_open(node->store, why)) {
        rf_sim_violation(sim, "node %u: %s", node->index, why);
        node->up = false;
        return;
    }
    for (uint32_t s = 0; s < sim->options.n_shards && sim->options.engine; s++) {
        plan_work(sim, node, s);
    }
    start_control(sim, node);
    if (!sim->gossip_only) {
        start_shards(sim, node);
    }
    for (uint32_t m = 0; m <= sim->options.n_shards; m++) {
        node->machines[m].run_at_us = UINT64_MAX;
        if (!sim->gossip_only || m == sim->options.n_shards) {
            run_at(sim, node, m, sim->now_us + rf_sim_random(sim, 1000000));
        }
    }
    if (node->full) {
        tell_full(sim, node);
    }
}

static void stop_machines(struct rf_sim *sim, struct rf_sim_node *node)
{
    for (uint32_t s = 0; s < sim->options.n_shards; s++) {
        if (node->shards[s] != NULL) {
            struct rf_shard_stats stats = rf_shard_stats(node->shards[s]);
            sim->result.restamps += stats.restamps;
            sim->result.unsure += stats.restamps_unsure;
            sim->result.read_repairs += stats.read_repairs;
            sim->result.hedges += stats.hedges;
            sim->result.fetches += stats.fetches;
            sim->result.hints_stored += stats.hints_stored;
        }
        rf_shard_free(node->shards[s]);
        node->shards[s] = NULL;
        node->syncing[s] = false;
    }
    sim->result.hints_replayed += rf_control_stats(node->control).hints_replayed;
    sim->result.hints_expired += rf_control_stats(node->control).hints_expired;
    rf_control_free(node->control);
    node->control = NULL;
    for (uint32_t m = 0; m <= sim->options.n_shards; m++) {
        consume(&node->machines[m], node->machines[m].n);
    }
    memset(node->mail_at_us, 0, sizeof(node->mail_at_us));
}

void rf_sim_node_crash(struct rf_sim *sim, struct rf_sim_node *node)
{
    rf_assert(node->up);
    stop_machines(sim, node);
    node->up = false;
    node->incarnation++;
    node->paused_until_us = 0;
    if (node->store != NULL) {
        rf_sim_store_crash(node->store, &sim->rng, rf_sim_chance(sim, 500000));
    }
    for (uint32_t peer = 0; sim->links != NULL && peer < sim->n_nodes; peer++) {
        uint8_t *link = &sim->links[peer * sim->n_nodes + node->index];
        if (*link == RF_SIM_LINK_UP && sim->nodes[peer].up) {
            rf_sim_link_event(sim, &sim->nodes[peer], node->index, false,
                              rf_sim_random(sim, 20000));
        }
        *link = RF_SIM_LINK_DOWN;
        sim->links[node->index * sim->n_nodes + peer] = RF_SIM_LINK_NONE;
    }
    rf_sim_clients_lost(sim, node->index);
}

void rf_sim_node_fini(struct rf_sim *sim, struct rf_sim_node *node)
{
    if (node->control != NULL) {
        stop_machines(sim, node);
    }
    for (uint32_t m = 0; m <= sim->options.n_shards; m++) {
        rf_mem_free(node->machines[m].queue);
    }
    if (node->store != NULL) {
        sim->result.flushes += rf_sim_store_flushes(node->store);
        rf_sim_store_sum(node->store, &sim->result.cold_reads, &sim->result.damages,
                         &sim->result.healed_keys);
    }
    rf_sim_store_free(node->store);
}
