/* The control machine: S24, S118-S123; convergence, and what hostile messages cannot do. */
#include "test_util.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "core/control.h"
#include "core/control_private.h"

#define NODES 3u
#define QUEUE_MAX 64u

struct cluster {
    struct rf_control *controls[NODES];
    struct rf_time     now;
    struct { uint32_t to, from; struct rf_blob *frame; } queue[QUEUE_MAX];
    uint32_t           first, n;
    uint32_t           published[NODES];
    struct rf_effect   list[RF_EFFECTS_MIN];
};

static const char *const addresses[NODES] = {"addr0", "addr1", "addr2"};

static uint64_t node_id(uint32_t index)
{
    return (uint64_t)(index + 1) << 12;
}

static struct rf_control_config config_of(uint32_t index, uint64_t generation)
{
    struct rf_control_config config = {
        .self = {.node = node_id(index), .generation = generation, .version = 1,
                 .state = RF_MEMBER_JOINING, .vnodes = 8},
        .n_seeds = NODES,
        .gossip_interval_us = 1000000,
        .dead_after_us = 10000000,
        .rng_seed = index + 1,
    };
    snprintf(config.self.name, sizeof(config.self.name), "n%u", index);
    snprintf(config.self.peer_addr, sizeof(config.self.peer_addr), "%s", addresses[index]);
    for (uint32_t i = 0; i < NODES; i++) {
        config.seeds[i] = addresses[i];
    }
    return config;
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
        post(cluster, node, (uint32_t)(effect->node >> 12) - 1, &effect->as.message);
        break;
    case RF_FX_ANSWER:
        post(cluster, node, (uint32_t)effect->as.message.link, &effect->as.message);
        break;
    case RF_FX_SEND_ADDR:
        post(cluster, node, (uint32_t)(effect->text[4] - '0'), &effect->as.message);
        break;
    case RF_FX_STORE:
        rf_blob_drop(effect->as.store.row.blob);
        break;
    case RF_FX_PUBLISH:
        cluster->published[node]++;
        break;
    case RF_FX_ALIVE:
    case RF_FX_REFUSED:
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
        step(cluster, cluster->queue[at].to, &event);
        rf_blob_drop(frame);
    }
}

static void rounds(struct cluster *cluster, uint32_t n)
{
    for (uint32_t r = 0; r < n; r++) {
        cluster->now.mono_us += 1000000;
        cluster->now.wall_ms += 1000;
        for (uint32_t i = 0; i < NODES; i++) {
            struct rf_event tick = {.kind = RF_EV_TICK};
            step(cluster, i, &tick);
            deliver(cluster);
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
    for (uint32_t i = 0; i < NODES; i++) {
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

        struct rf_buf           buf = {0};
        struct rf_member        members[NODES];
        struct rf_cluster_state known = {rf_control_cluster(cluster->controls[1]), NODES, members};
        for (uint32_t i = 0; i < NODES; i++) {
            members[i] = *rf_control_member(cluster->controls[1], i);
        }
        rf_cluster_state_encode(&buf, &known);
        struct rf_control_config config = config_of(1, generation);
        config.state = rf_buf_slice(&buf);
        rf_control_free(cluster->controls[1]);
        assert_rc_ok(rf_control_new(&config, &cluster->controls[1]));
        rf_buf_fini(&buf);
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
    struct rf_member member = {.generation = 1, .version = 1, .state = RF_MEMBER_JOINING,
                               .vnodes = 1, .peer_addr = "x", .client_addr = "x", .rack = "r"};
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

/* Goal: nobody else makes our generations: an entry of ours from the future changes nothing. */
static void own_generation_is_ours(void **state)
{
    struct cluster  *cluster = *state;
    struct rf_buf    body = {0};
    struct rf_member lie = *rf_control_member(cluster->controls[0], 0);
    uint64_t         hash = rf_control_set_hash(cluster->controls[0]);
    lie.generation += 5;
    rf_put_u64(&body, rf_control_cluster(cluster->controls[0]));
    rf_put_varint(&body, 1);
    rf_member_encode(&body, &lie);
    rf_put_varint(&body, 0);
    rf_put_varint(&body, 0);
    struct rf_event event = {.kind = RF_EV_MESSAGE,
                             .as.message = {.kind = RF_MSG_GOSSIP_DELTA,
                                            .body = rf_buf_slice(&body)}};
    event.as.message.from = node_id(1);
    step(cluster, 0, &event);
    rf_buf_fini(&body);
    assert_true(hash == rf_control_set_hash(cluster->controls[0]));
    assert_int_equal(1, rf_control_member(cluster->controls[0], 0)->generation);
}

/* Goal: cut and changed bodies are refused without harm. Method: every prefix of a real DELTA. */
static void damaged_bodies_do_nothing(void **state)
{
    struct cluster  *cluster = *state;
    struct rf_buf    body = {0};
    struct rf_member member = {.node = 1 << 20, .generation = 1, .version = 1,
                               .state = RF_MEMBER_JOINING, .vnodes = 1, .name = "late"};
    rf_put_u64(&body, rf_control_cluster(cluster->controls[0]));
    rf_put_varint(&body, 1);
    rf_member_encode(&body, &member);
    static const enum rf_message_kind kinds[] = {RF_MSG_GOSSIP_SYN, RF_MSG_GOSSIP_ACK,
                                                 RF_MSG_GOSSIP_DELTA, RF_MSG_PROBE_ACK,
                                                 RF_MSG_FORM_ASK, RF_MSG_FORM_SAY};
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
        cmocka_unit_test_setup_teardown(own_generation_is_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_bodies_do_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("gossip", tests, NULL, NULL);
}
