/* The control machine: S24, S118-S123; convergence, and what hostile messages cannot do. */
#include "test_util.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "core/control.h"
#include "core/control_private.h"

#define NODES 3u
#define TWIN NODES /* a machine with the id of node 2, at an address of its own */
#define MACHINES (NODES + 1)
#define QUEUE_MAX 64u

struct cluster {
    struct rf_control *controls[MACHINES]; /* NULL: does not run */
    struct rf_time     now;
    struct {
        uint32_t        to, from;
        struct rf_blob *frame;
    } queue[QUEUE_MAX];
    uint32_t         first, n;
    uint32_t         published[MACHINES];
    bool             ended[MACHINES];     /* told to end: another is there */
    bool             seen[MACHINES];      /* told of another one, which is to end */
    uint64_t         raised[MACHINES];    /* generation that it must go above; 0: none */
    uint32_t         n_storage;           /* times that shards were told of a node's storage */
    uint64_t         state_hlc[MACHINES]; /* version of the last state that was stored */
    struct rf_effect list[RF_EFFECTS_MIN];
};

static const char *const addresses[MACHINES] = {"addr0", "addr1", "addr2", "addr3"};

static uint64_t node_id(uint32_t index)
{
    return (uint64_t)((index == TWIN ? 2 : index) + 1) << 12;
}

static struct rf_control_config config_of(uint32_t index, uint64_t generation)
{
    struct rf_control_config config = {
        .self = {.node = node_id(index),
                 .generation = generation,
                 .version = 1,
                 .state = RF_MEMBER_JOINING,
                 .vnodes = 8},
        .n_seeds = NODES,
        .gossip_interval_us = 1000000,
        .dead_after_us = 10000000,
        .rng_seed = index + 1,
        .process = index + 1,
    };
    snprintf(config.self.name, sizeof(config.self.name), "n%u", index == TWIN ? 2 : index);
    snprintf(config.self.peer_addr, sizeof(config.self.peer_addr), "%s", addresses[index]);
    for (uint32_t i = 0; i < NODES; i++) {
        config.seeds[i] = addresses[i];
    }
    return config;
}

/* The machine that the node dials: where it believes the member to be. */
static uint32_t whereabouts(const struct rf_control *control, uint64_t node)
{
    uint32_t i = 0;
    while (rf_control_member(control, i)->node != node) {
        i++;
    }
    return (uint32_t)(rf_control_member(control, i)->peer_addr[4] - '0');
}

static void post(struct cluster *cluster, uint32_t from, uint32_t to,
                 const struct rf_message *message)
{
    struct rf_buf buf = {0};
    rf_message_encode(&buf, message);
    assert_true(cluster->n < QUEUE_MAX);
    uint32_t at = (cluster->first + cluster->n++) % QUEUE_MAX;
    cluster->queue[at].to = to;
    cluster->queue[at].from = from;
    cluster->queue[at].frame = rf_blob_copy(rf_buf_slice(&buf));
    rf_buf_fini(&buf);
}

static void carry_out(struct cluster *cluster, uint32_t node, struct rf_effect *effect)
{
    switch (effect->kind) {
    case RF_FX_SEND:
        post(cluster, node, whereabouts(cluster->controls[node], effect->node),
             &effect->as.message);
        break;
    case RF_FX_ANSWER:
        post(cluster, node, (uint32_t)effect->as.message.link, &effect->as.message);
        break;
    case RF_FX_SEND_ADDR:
        post(cluster, node, (uint32_t)(effect->text[4] - '0'), &effect->as.message);
        break;
    case RF_FX_STORE:
        cluster->state_hlc[node] = effect->as.store.row.version.hlc;
        rf_blob_drop(effect->as.store.row.blob);
        break;
    case RF_FX_PUBLISH:
        cluster->published[node]++;
        break;
    case RF_FX_STORAGE:
        cluster->n_storage++;
        break;
    case RF_FX_ALIVE:
    case RF_FX_REFUSED:
    case RF_FX_MOVED:
        break;
    case RF_FX_TWIN:
        cluster->seen[node] = true;
        break;
    case RF_FX_TWIN_FIRST:
        cluster->ended[node] = true;
        break;
    case RF_FX_RAISE:
        cluster->raised[node] = effect->as.generation;
        break;
    case RF_FX_REPLY:
    default:
        fail_msg("an effect that control never has: %d", (int)effect->kind);
    }
}

static void step(struct cluster *cluster, uint32_t node, struct rf_event *event)
{
    struct rf_effects effects = {.list = cluster->list, .max = RF_EFFECTS_MIN};
    event->now = cluster->now;
    assert_rc_ok(rf_control_step(cluster->controls[node], event, 1, &effects));
    for (uint32_t i = 0; i < effects.n; i++) {
        carry_out(cluster, node, &cluster->list[i]);
    }
    rf_control_check(cluster->controls[node]);
}

static void deliver(struct cluster *cluster)
{
    while (cluster->n != 0) {
        uint32_t        at = cluster->first;
        struct rf_blob *frame = cluster->queue[at].frame;
        struct rf_event event = {.kind = RF_EV_MESSAGE};
        cluster->first = (at + 1) % QUEUE_MAX;
        cluster->n--;
        assert_rc_ok(rf_message_decode(rf_slice(frame->data, frame->size), &event.as.message));
        event.as.message.from = node_id(cluster->queue[at].from);
        event.as.message.link = cluster->queue[at].from;
        if (cluster->controls[cluster->queue[at].to] != NULL) {
            step(cluster, cluster->queue[at].to, &event);
        }
        rf_blob_drop(frame);
    }
}

static void rounds(struct cluster *cluster, uint32_t n)
{
    for (uint32_t r = 0; r < n; r++) {
        cluster->now.mono_us += 1000000;
        cluster->now.wall_ms += 1000;
        for (uint32_t i = 0; i < MACHINES; i++) {
            struct rf_event tick = {.kind = RF_EV_TICK};
            if (cluster->controls[i] != NULL) {
                step(cluster, i, &tick);
                deliver(cluster);
            }
        }
    }
}

static int set_up(void **state)
{
    static struct cluster cluster;
    cluster = (struct cluster){.now = {.mono_us = 5000000, .wall_ms = 1750000000000}};
    for (uint32_t i = 0; i < NODES; i++) {
        struct rf_control_config config = config_of(i, 1);
        assert_rc_ok(rf_control_new(&config, &cluster.controls[i]));
    }
    rounds(&cluster, 10);
    *state = &cluster;
    return 0;
}

static int tear_down(void **state)
{
    struct cluster *cluster = *state;
    for (uint32_t i = 0; i < MACHINES; i++) {
        rf_control_free(cluster->controls[i]);
    }
    return 0;
}

static void assert_converged(const struct cluster *cluster)
{
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(NODES, rf_control_n_members(cluster->controls[i]));
        assert_true(rf_control_set_hash(cluster->controls[i]) ==
                    rf_control_set_hash(cluster->controls[0]));
    }
}

/* Makes machine `node` with the members that machine `from` knows: itself before, or, for a copied
 * directory, the original. */
static void start_from(struct cluster *cluster, uint32_t node, uint32_t from, uint64_t generation,
                       uint64_t began_us)
{
    struct rf_buf           buf = {0};
    struct rf_member        members[NODES];
    struct rf_cluster_state known = {rf_control_cluster(cluster->controls[from]), NODES, members};
    for (uint32_t i = 0; i < NODES; i++) {
        members[i] = *rf_control_member(cluster->controls[from], i);
    }
    rf_cluster_state_encode(&buf, &known);
    struct rf_control_config config = config_of(node, generation);
    config.state = rf_buf_slice(&buf);
    config.began_us = began_us;
    struct rf_control *before = cluster->controls[node];
    assert_rc_ok(rf_control_new(&config, &cluster->controls[node]));
    rf_control_free(before);
    rf_buf_fini(&buf);
}

/* A node begins anew with the members that it knew. */
static void restart(struct cluster *cluster, uint32_t node, uint64_t generation)
{
    start_from(cluster, node, node, generation, 0);
}

static void stop_machine(struct cluster *cluster, uint32_t node)
{
    rf_control_free(cluster->controls[node]);
    cluster->controls[node] = NULL;
}

/* Goal: nodes converge and then nothing changes any more: no entry is bumped for ever.
 * Method: many rounds after convergence; set hash and publications stand still. Once more after a
 * restart of one node with a higher generation. */
static void convergence_is_final(void **state)
{
    struct cluster *cluster = *state;
    for (uint64_t generation = 2; generation <= 3; generation++) {
        uint32_t published = 0;
        assert_converged(cluster);
        uint64_t hash = rf_control_set_hash(cluster->controls[0]);
        for (uint32_t i = 0; i < NODES; i++) {
            published += cluster->published[i];
        }
        rounds(cluster, 100);
        assert_converged(cluster);
        assert_true(hash == rf_control_set_hash(cluster->controls[0]));
        for (uint32_t i = 0; i < NODES; i++) {
            published -= cluster->published[i];
        }
        assert_int_equal(0, published);

        restart(cluster, 1, generation);
        rounds(cluster, 10);
        for (uint32_t i = 0; i < NODES; i++) {
            assert_int_equal(generation, rf_control_member(cluster->controls[i], 1)->generation);
            assert_int_equal(RF_MEMBER_NORMAL, rf_control_member(cluster->controls[i], 1)->state);
        }
    }
}

/* Goal: a node that lost its member table is admitted to its own cluster only, and forms none.
 * Method: node 1 starts anew without state: as one that knows the cluster; as one of another cluster;
 * then all nodes at once, where nobody is left who could admit. */
static void lost_members_form_nothing(void **state)
{
    struct cluster *cluster = *state;
    uint64_t        id = rf_control_cluster(cluster->controls[0]);
    assert_converged(cluster);
    for (uint64_t generation = 2; generation <= 3; generation++) {
        struct rf_control_config config = config_of(1, generation);
        config.cluster = generation == 2 ? id : id + 2;
        rf_control_free(cluster->controls[1]);
        assert_rc_ok(rf_control_new(&config, &cluster->controls[1]));
        rounds(cluster, 20);
        uint64_t now = rf_control_cluster(cluster->controls[1]);
        assert_true(now == (generation == 2 ? id : 0));
    }
    for (uint32_t i = 0; i < NODES; i++) {
        struct rf_control_config config = config_of(i, 4);
        config.cluster = i == 0 ? 0 : id; /* one does not even know that */
        config.no_forming = i == 0;
        rf_control_free(cluster->controls[i]);
        assert_rc_ok(rf_control_new(&config, &cluster->controls[i]));
    }
    rounds(cluster, 20);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_true(rf_control_cluster(cluster->controls[i]) == 0);
    }
}

/* A DELTA with members number first … first + n - 1, told to node 0. */
static void send_members(struct cluster *cluster, uint32_t first, uint32_t n, uint64_t told_n)
{
    struct rf_buf    body = {0};
    struct rf_member member = {.generation = 1,
                               .version = 1,
                               .state = RF_MEMBER_JOINING,
                               .vnodes = 1,
                               .peer_addr = "x",
                               .client_addr = "x",
                               .rack = "r"};
    rf_put_u64(&body, rf_control_cluster(cluster->controls[0]));
    rf_put_varint(&body, told_n);
    for (uint32_t i = first; i < first + n; i++) {
        member.node = (uint64_t)(i + 100) << 16;
        snprintf(member.name, sizeof(member.name), "x%06u", i);
        rf_member_encode(&body, &member);
        rf_put_varint(&body, 0);
    }
    rf_put_varint(&body, 0);
    struct rf_message message = {.kind = RF_MSG_GOSSIP_DELTA, .body = rf_buf_slice(&body)};
    struct rf_event   event = {.kind = RF_EV_MESSAGE, .as.message = message};
    event.as.message.from = node_id(1);
    event.as.message.link = 1;
    step(cluster, 0, &event);
    rf_buf_fini(&body);
}

/* Goal: a hostile list of members ends at RF_MEMBERS_MAX, in one message or in many. */
static void members_are_limited(void **state)
{
    struct cluster *cluster = *state;
    send_members(cluster, 0, 10, RF_MEMBERS_MAX + 1);
    assert_int_equal(NODES, rf_control_n_members(cluster->controls[0]));
    for (uint32_t i = 0; i < 5; i++) {
        send_members(cluster, i * 1000, 1000, 1000);
    }
    assert_int_equal(RF_MEMBERS_MAX, rf_control_n_members(cluster->controls[0]));
    assert_true(rf_control_memory(cluster->controls[0]) < 4u << 20);
    cluster->n = 0;
}

/* A step of node 0 whose effects are counted by the members that they tell alive, and dropped. */
static uint32_t step_alone(struct cluster *cluster, struct rf_event *event, uint64_t *ret_wake_us)
{
    struct rf_effects effects = {.list = cluster->list, .max = RF_EFFECTS_MIN};
    uint32_t          n_alive = 0;
    event->now = cluster->now;
    assert_rc_ok(rf_control_step(cluster->controls[0], event, 1, &effects));
    for (uint32_t i = 0; i < effects.n; i++) {
        n_alive += cluster->list[i].kind == RF_FX_ALIVE && cluster->list[i].as.up;
        if (cluster->list[i].kind == RF_FX_STORE) {
            rf_blob_drop(cluster->list[i].as.store.row.blob);
        }
    }
    rf_control_check(cluster->controls[0]);
    *ret_wake_us = effects.wake_at_us;
    return n_alive;
}

/* Goal: when a partition heals, one message brings back more members than a step has effects, and
 * every one of them is told to the shards (S122). Method: 700 dead members, one SYN with moving
 * heartbeats of all; steps go on as long as the machine wants to be woken at once. */
static void many_return_at_once(void **state)
{
    struct cluster    *cluster = *state;
    struct rf_control *control = cluster->controls[0];
    struct rf_buf      body = {0};
    struct rf_event    tick = {.kind = RF_EV_TICK};
    uint64_t           wake_us = 0;
    send_members(cluster, 0, 700, 700);
    cluster->now.mono_us += 1000000;
    (void)step_alone(cluster, &tick, &wake_us); /* publishes, has its round */
    for (uint32_t i = NODES; i < control->n; i++) {
        control->entries[i].alive = false;
    }
    rf_put_u64(&body, rf_control_cluster(control));
    rf_put_u64(&body, rf_control_set_hash(control));
    rf_put_varint(&body, 0);
    rf_put_varint(&body, 100000);
    for (uint32_t i = 0; i < control->n; i++) {
        rf_put_varint(&body, 0);
    }
    struct rf_event syn = {
        .kind = RF_EV_MESSAGE,
        .as.message = {
            .kind = RF_MSG_GOSSIP_SYN, .link = 1, .from = node_id(1), .body = rf_buf_slice(&body)}};
    uint32_t told = step_alone(cluster, &syn, &wake_us);
    for (uint32_t i = 0; i < 20 && wake_us <= cluster->now.mono_us; i++) {
        told += step_alone(cluster, &tick, &wake_us);
    }
    assert_int_equal(700, told);
    for (uint32_t i = 0; i < control->n; i++) {
        assert_true(rf_control_alive(control, i));
    }
    rf_buf_fini(&body);
    cluster->n = 0;
}

/* Goal: a member table that is stored later has the higher version, also when the wall clock was
 * set back, within a run and across a restart; else the store keeps the older one. */
static void stored_state_never_goes_back(void **state)
{
    struct cluster          *cluster = *state;
    uint64_t                 before = cluster->state_hlc[0];
    struct rf_buf            buf = {0};
    struct rf_event          tick = {.kind = RF_EV_TICK};
    struct rf_control_config config = config_of(0, 2);
    struct rf_member         self = *rf_control_member(cluster->controls[0], 0);
    struct rf_cluster_state  known = {rf_control_cluster(cluster->controls[0]), 1, &self};
    assert_true(before != 0);
    cluster->now.wall_ms -= 3600000;
    send_members(cluster, 0, 1, 1);
    assert_true(cluster->state_hlc[0] > before);
    before = cluster->state_hlc[0];
    rf_cluster_state_encode(&buf, &known);
    config.state = rf_buf_slice(&buf);
    config.state_hlc = before;
    rf_control_free(cluster->controls[0]);
    assert_rc_ok(rf_control_new(&config, &cluster->controls[0]));
    rf_buf_fini(&buf);
    cluster->now.wall_ms -= 3600000;
    step(cluster, 0, &tick);
    assert_true(cluster->state_hlc[0] > before);
    while (cluster->n != 0) {
        rf_blob_drop(cluster->queue[cluster->first].frame);
        cluster->first = (cluster->first + 1) % QUEUE_MAX;
        cluster->n--;
    }
}

static void probe_ack(struct cluster *cluster, uint32_t from, uint64_t generation,
                      uint64_t heartbeat)
{
    struct rf_buf body = {0};
    rf_put_varint(&body, generation);
    rf_put_varint(&body, heartbeat << 2);
    struct rf_event event = {.kind = RF_EV_MESSAGE,
                             .as.message = {.kind = RF_MSG_PROBE_ACK,
                                            .from = node_id(from),
                                            .target = node_id(2),
                                            .body = rf_buf_slice(&body)}};
    step(cluster, 0, &event);
    rf_buf_fini(&body);
}

/* Goal: a late probe answer about a node's former generation does not make its heartbeats of today
 * unheard; a direct answer of today's generation revives a node that counts as dead (S122, S123). */
static void probe_answers_have_a_generation(void **state)
{
    struct cluster       *cluster = *state;
    struct rf_node_entry *entry = &cluster->controls[0]->entries[2];
    uint64_t              generation = rf_entry_member(entry)->generation;
    uint64_t              heartbeat = entry->heartbeat;
    entry->alive = false;
    probe_ack(cluster, 1, generation - 1, 1000000);
    probe_ack(cluster, 2, generation - 1, 1000000);
    assert_int_equal(heartbeat, entry->heartbeat);
    assert_false(entry->alive);
    probe_ack(cluster, 1, generation, heartbeat); /* somebody else's old knowledge: no news */
    assert_false(entry->alive);
    probe_ack(cluster, 2, generation, heartbeat);
    assert_true(entry->alive);
    entry->alive = false;
    probe_ack(cluster, 1, generation, heartbeat + 1);
    assert_true(entry->alive);
    assert_int_equal(heartbeat + 1, entry->heartbeat);
}

static void tell_storage(struct cluster *cluster, uint32_t node, enum rf_storage_state storage)
{
    struct rf_event event = {.kind = RF_EV_STORAGE, .as.peer = {.storage = storage}};
    step(cluster, node, &event);
    deliver(cluster);
}

static void assert_storage(const struct cluster *cluster, uint32_t about,
                           enum rf_storage_state storage)
{
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(storage, rf_control_storage(cluster->controls[i], about));
    }
}

/* Goal: what a node's storage takes reaches all others with its heartbeat and is told to the shards
 * once, the member set does not change by it, and a node that starts anew begins with a clean slate
 * (S141). Method: one node becomes full, read-only, right again; full once more before its restart. */
static void fullness_travels(void **state)
{
    struct cluster *cluster = *state;
    uint64_t        hash = rf_control_set_hash(cluster->controls[0]);
    cluster->n_storage = 0;
    static const enum rf_storage_state states[] = {RF_STORAGE_FULL, RF_STORAGE_READ_ONLY,
                                                   RF_STORAGE_OK, RF_STORAGE_FULL};
    for (unsigned i = 0; i < 4; i++) {
        tell_storage(cluster, 1, states[i]);
        assert_int_equal(states[i], rf_control_storage(cluster->controls[1], 1));
        rounds(cluster, 8);
        assert_storage(cluster, 1, states[i]);
        assert_storage(cluster, 0, RF_STORAGE_OK);
        assert_int_equal(NODES * (i + 1), cluster->n_storage);
    }
    assert_true(hash == rf_control_set_hash(cluster->controls[2]));
    restart(cluster, 1, 2);
    rounds(cluster, 10);
    assert_storage(cluster, 1, RF_STORAGE_OK);
}

/* A control machine of its own with two hint partitions; the store operation that its step wants. */
static struct rf_store_op hint_step(struct rf_control *control, struct rf_time now,
                                    const struct rf_store_done *done)
{
    struct rf_effect   list[RF_EFFECTS_MIN];
    struct rf_effects  effects = {.list = list, .max = RF_EFFECTS_MIN};
    struct rf_store_op op = {0};
    struct rf_event    event = {.kind = RF_EV_TICK, .now = now};
    if (done != NULL) {
        event.kind = RF_EV_STORED;
        event.as.stored = *done;
    }
    assert_rc_ok(rf_control_step(control, &event, 1, &effects));
    for (uint32_t i = 0; i < effects.n; i++) {
        if (list[i].kind == RF_FX_STORE) {
            op = list[i].as.store.table == RF_TABLE_HINTS ? list[i].as.store : op;
            rf_blob_drop(list[i].as.store.row.blob);
        }
    }
    return op;
}

/* Goal: a stored hint that cannot be read is counted and passed over; the walk comes to its end.
 * Method: a store that answers every scan with a damaged row at the token asked for + 10; one time
 * the row does not decode, one time its key has no target. */
static void damaged_hints_end_the_walk(void **state)
{
    struct cluster          *cluster = *state;
    struct rf_control_config config = config_of(0, 1);
    struct rf_member         self = config.self;
    struct rf_cluster_state  known = {4711, 1, &self};
    struct rf_buf            buf = {0};
    struct rf_buf            row = {0};
    struct rf_control       *control = NULL;
    rf_cluster_state_encode(&buf, &known);
    config.state = rf_buf_slice(&buf);
    config.n_partitions = 2;
    config.hint_interval_us = 1000000;
    assert_rc_ok(rf_control_new(&config, &control));
    struct rf_time now = cluster->now;
    (void)hint_step(control, now, NULL);
    now.mono_us += 2000000;
    struct rf_store_op op = hint_step(control, now, NULL);
    rf_row_encode(
        &row,
        &(struct rf_row){.version = {1, 1}, .expiry_ms = UINT64_MAX, .key = rf_slice_str("short")});
    uint32_t scans = 0;
    for (; op.kind == RF_STORE_SCAN && scans < 10; scans++) {
        struct rf_slice      bytes = scans % 2 == 0 ? rf_slice_str("damaged") : rf_buf_slice(&row);
        struct rf_blob      *blob = rf_blob_copy(bytes);
        bool                 first = op.token == 0;
        struct rf_store_done done = {.kind = RF_STORE_SCAN,
                                     .status = first ? RF_STORE_FOUND : RF_STORE_ABSENT,
                                     .tag = op.tag,
                                     .token = 10,
                                     .more = first};
        assert_int_equal(first ? 0 : 11, op.token);
        done.row = (struct rf_row){.value = rf_slice(blob->data, blob->size), .blob = blob};
        op = hint_step(control, now,
                       first ? &done
                             : &(struct rf_store_done){.kind = RF_STORE_SCAN,
                                                       .status = RF_STORE_ABSENT,
                                                       .tag = done.tag});
        rf_blob_drop(blob);
    }
    assert_int_equal(4, scans); /* two in each partition */
    assert_int_equal(2, rf_control_stats(control).hints_damaged);
    rf_control_free(control);
    rf_buf_fini(&buf);
    rf_buf_fini(&row);
}

/* Node 2, as nodes 0 and 1 know it. */
static void assert_known(const struct cluster *cluster, uint64_t generation, uint32_t at)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct rf_member *member = rf_control_member(cluster->controls[i], 2);
        assert_int_equal(generation, member->generation);
        assert_string_equal(addresses[at], member->peer_addr);
        assert_true(rf_control_alive(cluster->controls[i], 2));
    }
}

/* Goal: a node whose directory was restored from a backup goes above the generation that the cluster
 * knows, and is alive again (S24). Method: node 2 in generation 5, then again in generation 3; its
 * host makes durable what it is told, and begins anew above it. */
static void restored_node_comes_back(void **state)
{
    struct cluster *cluster = *state;
    restart(cluster, 2, 5);
    rounds(cluster, 10);
    assert_known(cluster, 5, 2);
    restart(cluster, 2, 3);
    rounds(cluster, 10);
    assert_int_equal(5, cluster->raised[2]);
    assert_false(cluster->ended[2] || cluster->seen[2]);
    restart(cluster, 2, cluster->raised[2] + 1);
    rounds(cluster, 20);
    assert_converged(cluster);
    assert_known(cluster, 6, 2);
}

/* Goal: of a copied directory the second process ends before anybody hears of it. Method: a copy of node
 * 2's state at another address, a generation further, while node 2 runs. */
static void copy_ends_before_it_speaks(void **state)
{
    struct cluster *cluster = *state;
    uint64_t        hash = rf_control_set_hash(cluster->controls[0]);
    start_from(cluster, TWIN, 2, 2, 0);
    rounds(cluster, 20);
    assert_true(cluster->ended[TWIN]);
    assert_int_equal(0, cluster->published[TWIN]);
    assert_true(cluster->seen[2]); /* and the first one knows it, and goes on */
    assert_false(cluster->ended[2]);
    assert_int_equal(0, cluster->raised[2]);
    assert_true(hash == rf_control_set_hash(cluster->controls[0]));
    assert_converged(cluster);
}

/* Goal: a restart at another address is no twin. Method: node 2 stops, its directory starts at another
 * address. */
static void moved_node_is_taken(void **state)
{
    struct cluster *cluster = *state;
    start_from(cluster, TWIN, 2, 2, 0);
    stop_machine(cluster, 2);
    rounds(cluster, 20);
    assert_false(cluster->ended[TWIN]);
    assert_int_equal(0, cluster->raised[TWIN]);
    assert_known(cluster, 2, TWIN);
}

/* Goal: a copy that the cluster has taken for the node loses against the node that runs longer, which is
 * alive again without anybody's help. Method: the copy's state names its own address, so that it does not
 * ask before it speaks, as if the node had been out of its reach. */
static void copy_that_spoke_ends(void **state)
{
    struct cluster *cluster = *state;
    uint64_t        began_us = cluster->now.mono_us - 10000000;
    start_from(cluster, TWIN, 2, 5, 0);
    struct rf_control *old = cluster->controls[2];
    cluster->controls[2] = NULL; /* out of reach */
    rounds(cluster, 10);
    assert_known(cluster, 5, TWIN);
    cluster->controls[2] = old;
    rounds(cluster, 10);
    assert_true(cluster->seen[2]);
    assert_false(cluster->ended[2]);
    assert_int_equal(5, cluster->raised[2]);
    start_from(cluster, 2, 2, 6, began_us); /* the same process */
    rounds(cluster, 20);
    assert_true(cluster->ended[TWIN]);
    assert_false(cluster->ended[2]);
    stop_machine(cluster, TWIN);
    rounds(cluster, 20);
    assert_known(cluster, 6, 2);
    assert_converged(cluster);
}

/* Goal: two processes of one generation at two addresses do not both go on. Method: the copy runs first;
 * the original starts as often as the copy did, so its entry has the version of the copy's. */
static void equal_generations_are_told_apart(void **state)
{
    struct cluster    *cluster = *state;
    struct rf_control *stopped = cluster->controls[2];
    start_from(cluster, TWIN, 2, 2, 0);
    cluster->controls[2] = NULL;
    rounds(cluster, 20);
    assert_known(cluster, 2, TWIN);
    cluster->controls[2] = stopped;
    restart(cluster, 2, 2);
    rounds(cluster, 20);
    assert_true(cluster->ended[2]);
    assert_false(cluster->ended[TWIN]);
    assert_known(cluster, 2, TWIN);
}

/* Goal: what others say in our name is not taken in, whatever it is. Method: a DELTA with our entry in
 * higher generations: the host is told to go above a likely one, a mad one does nothing. */
static void own_generation_is_ours(void **state)
{
    struct cluster *cluster = *state;
    uint64_t        hash = rf_control_set_hash(cluster->controls[0]);
    for (uint32_t i = 0; i < 2; i++) {
        struct rf_buf    body = {0};
        struct rf_member lie = *rf_control_member(cluster->controls[0], 0);
        lie.generation += i == 0 ? UINT64_MAX / 2 : 5;
        rf_put_u64(&body, rf_control_cluster(cluster->controls[0]));
        rf_put_varint(&body, 1);
        rf_member_encode(&body, &lie);
        rf_put_varint(&body, 0);
        rf_put_varint(&body, 0);
        struct rf_event event = {
            .kind = RF_EV_MESSAGE,
            .as.message = {.kind = RF_MSG_GOSSIP_DELTA, .body = rf_buf_slice(&body)}};
        event.as.message.from = node_id(1);
        step(cluster, 0, &event);
        deliver(cluster);
        rf_buf_fini(&body);
        assert_true(hash == rf_control_set_hash(cluster->controls[0]));
        assert_int_equal(1, rf_control_member(cluster->controls[0], 0)->generation);
        assert_int_equal(i == 0 ? 0 : 6, cluster->raised[0]);
    }
}

/* Goal: cut and changed bodies are refused without harm. Method: every prefix of a real DELTA. */
static void damaged_bodies_do_nothing(void **state)
{
    struct cluster  *cluster = *state;
    struct rf_buf    body = {0};
    struct rf_member member = {.node = 1 << 20,
                               .generation = 1,
                               .version = 1,
                               .state = RF_MEMBER_JOINING,
                               .vnodes = 1,
                               .name = "late"};
    rf_put_u64(&body, rf_control_cluster(cluster->controls[0]));
    rf_put_varint(&body, 1);
    rf_member_encode(&body, &member);
    static const enum rf_message_kind kinds[] = {RF_MSG_GOSSIP_SYN,   RF_MSG_GOSSIP_ACK,
                                                 RF_MSG_GOSSIP_DELTA, RF_MSG_PROBE_ACK,
                                                 RF_MSG_FORM_ASK,     RF_MSG_FORM_SAY};
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (size_t n = 0; n < body.size; n++) {
            struct rf_event event = {.kind = RF_EV_MESSAGE,
                                     .as.message = {.kind = kinds[k],
                                                    .target = node_id(2),
                                                    .body = rf_slice(body.data, n)}};
            event.as.message.from = node_id(1);
            event.as.message.link = 1;
            step(cluster, 0, &event);
            while (cluster->n != 0) {
                rf_blob_drop(cluster->queue[cluster->first].frame);
                cluster->first = (cluster->first + 1) % QUEUE_MAX;
                cluster->n--;
            }
        }
    }
    assert_int_equal(NODES, rf_control_n_members(cluster->controls[0]));
    rf_buf_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(convergence_is_final, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_members_form_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_are_limited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_return_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stored_state_never_goes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(probe_answers_have_a_generation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fullness_travels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_hints_end_the_walk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restored_node_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copy_ends_before_it_speaks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(moved_node_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copy_that_spoke_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equal_generations_are_told_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(own_generation_is_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_bodies_do_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("gossip", tests, NULL, NULL);
}
