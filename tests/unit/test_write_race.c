/* Writes that race for one key: D7, D9, S35, S133. Two coordinators must not refuse each other for ever. */
#include "test_util.h"

#include <stdio.h>

#include "core/shard.h"
#include "core/shard_private.h"

#define NODES 3u
#define TABLE 99u
#define QUEUE 256u

/* Three machines and the messages between them. Stores keep the newest version of one key. */
struct bench {
    struct rf_shard *shards[NODES];
    struct rf_view  *view;
    struct rf_time   now;
    bool             frozen[NODES]; /* gets nothing */
    uint64_t         stored[NODES]; /* newest hlc */
    /* Answers overtake requests: those travel on a connection of their own (decision 002). */
    struct queue {
        uint32_t head, tail;
        struct {
            uint32_t        to;
            struct rf_event event;
        } list[QUEUE];
    } requests, answers;
    uint32_t        n_replies;
    struct rf_reply replies[16];
};

static uint64_t node_id(uint32_t n)
{
    return (uint64_t)(n + 1) << 12;
}

static int32_t choose_first(const struct rf_host *host, const void *options,
                            const struct rf_candidate *candidates, uint32_t candidate_size,
                            uint32_t n_candidates, uint32_t n_total, uint32_t n,
                            uint32_t *ret_chosen)
{
    (void)host;
    (void)options;
    (void)candidates;
    (void)candidate_size;
    (void)n_total;
    for (uint32_t i = 0; i < n && i < n_candidates; i++) {
        ret_chosen[i] = i;
    }
    return n_candidates < n ? RF_PLUGIN_NEED_MORE : RF_PLUGIN_OK;
}

static void no_error(const struct rf_host *host, const char *text)
{
    (void)host;
    fail_msg("%s", text);
}

static const struct rf_placement_ops placement = {.size = sizeof(placement),
                                                  .choose = choose_first};
static const struct rf_host          host = {
             .size = sizeof(host), .abi_major = RF_ABI_MAJOR, .abi_minor = RF_ABI_MINOR, .error = no_error};

/* ---- The host of the three machines ------------------------------------------------------- */

static void put(struct queue *queue, uint32_t to, const struct rf_event *event)
{
    assert_true(queue->tail - queue->head < QUEUE);
    queue->list[queue->tail % QUEUE].to = to;
    queue->list[queue->tail++ % QUEUE].event = *event;
}

/* A store answers through the queue as well: in the order in which things happen. */
static void store(struct bench *bench, uint32_t node, struct rf_store_op *op)
{
    struct rf_event event = {
        .kind = RF_EV_STORED,
        .as.stored = {.kind = op->kind, .status = RF_STORE_STORED, .tag = op->tag}};
    struct rf_store_done *done = &event.as.stored;
    if (op->table == TABLE) {
        bool newer = bench->stored[node] > op->row.version.hlc;
        done->row.version.hlc = newer ? bench->stored[node] : op->row.version.hlc;
        done->status =
            newer && op->mode == RF_APPLY_REFUSE_IF_NEWER ? RF_STORE_NEWER : RF_STORE_STORED;
        bench->stored[node] = done->row.version.hlc;
    }
    rf_blob_drop(op->row.blob);
    put(&bench->answers, node, &event);
}

static void take_effect(struct bench *bench, uint32_t node, struct rf_effect *effect)
{
    struct rf_event event = {.kind = RF_EV_MESSAGE, .as.message = effect->as.message};
    event.as.message.from = node_id(node);
    if (effect->kind == RF_FX_STORE) {
        store(bench, node, &effect->as.store);
    } else if (effect->kind == RF_FX_REPLY) {
        bench->replies[bench->n_replies++] = effect->as.reply;
        rf_blob_drop(effect->as.reply.row.blob);
    } else if (effect->kind == RF_FX_SEND) {
        event.as.message.link = node + 1; /* answers come back by this */
        put(&bench->requests, (uint32_t)(effect->node >> 12) - 1, &event);
    } else {
        assert_int_equal(RF_FX_ANSWER, effect->kind);
        put(&bench->answers, (uint32_t)effect->as.message.link - 1, &event);
    }
}

static void drop_event(const struct rf_event *event)
{
    if (event->kind == RF_EV_MESSAGE) {
        rf_blob_drop(event->as.message.row.blob);
    } else if (event->kind == RF_EV_CLIENT) {
        rf_blob_drop(event->as.client.row.blob);
    }
}

static void step(struct bench *bench, uint32_t node, struct rf_event *event)
{
    struct rf_effect  list[RF_EFFECTS_MIN];
    struct rf_effects effects = {.list = list, .max = RF_EFFECTS_MIN};
    event->now = bench->now;
    event->now.wall_ms += node; /* no two clocks are equal */
    assert_rc_ok(rf_shard_step(bench->shards[node], event, 1, &effects));
    for (uint32_t i = 0; i < effects.n; i++) {
        take_effect(bench, node, &list[i]);
    }
    rf_shard_check(bench->shards[node]);
}

/* A limit makes a livelock a failure. */
static void run(struct bench *bench, uint32_t limit)
{
    for (uint32_t i = 0;; i++) {
        struct queue *queue =
            bench->answers.head != bench->answers.tail ? &bench->answers : &bench->requests;
        if (queue->head == queue->tail) {
            return;
        }
        assert_true(i < limit);
        uint32_t        to = queue->list[queue->head % QUEUE].to;
        struct rf_event event = queue->list[queue->head++ % QUEUE].event;
        if (!bench->frozen[to]) {
            step(bench, to, &event);
        }
        drop_event(&event);
    }
}

static void client_put(struct bench *bench, uint32_t node)
{
    struct rf_blob *blob = rf_blob_copy(rf_slice_str("key"));
    struct rf_event event = {
        .kind = RF_EV_CLIENT,
        .as.client = {.kind = RF_CLIENT_PUT,
                      .table = TABLE,
                      .client = node,
                      .row = {.key = rf_slice(blob->data, blob->size), .blob = blob}}};
    put(&bench->requests, node, &event);
}

static int set_up_table(void **state, bool confirm)
{
    static struct bench bench;
    struct rf_member    members[NODES] = {0};
    struct rf_table     table = {.id = TABLE,
                                 .name = "default",
                                 .n = 3,
                                 .write_quorum = 2,
                                 .read_quorum = 2,
                                 .read_repair_confirm = confirm,
                                 .placement = &placement};
    struct rf_ring     *ring = NULL;
    bench = (struct bench){.now = {.mono_us = 1000000, .wall_ms = 1000000}};
    for (uint32_t i = 0; i < NODES; i++) {
        members[i] = (struct rf_member){
            .node = node_id(i), .generation = 1, .state = RF_MEMBER_NORMAL, .vnodes = 8};
        snprintf(members[i].name, sizeof(members[i].name), "n%u", i + 1);
    }
    assert_rc_ok(rf_ring_build(members, NODES, 7, &ring));
    assert_rc_ok(rf_view_build(ring, &table, 1, &host, &bench.view));
    rf_ring_drop(ring);
    for (uint32_t i = 0; i < NODES; i++) {
        struct rf_shard_config config = {.node = node_id(i),
                                         .max_requests = 16,
                                         .max_replica_ops = 16,
                                         .request_timeout_us = 2000000,
                                         .max_ahead_ms = 500,
                                         .rng_seed = i};
        assert_rc_ok(rf_shard_new(&config, &bench.shards[i]));
        struct rf_event event = {.kind = RF_EV_VIEW, .as.view = bench.view};
        step(&bench, i, &event);
    }
    run(&bench, 100); /* clock ceilings */
    *state = &bench;
    return 0;
}

static int set_up(void **state)
{
    return set_up_table(state, false);
}

/* Strong reads are confirmed: what they show keeps its order (D9). */
static int set_up_ordered(void **state)
{
    return set_up_table(state, true);
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    for (uint32_t i = 0; i < NODES; i++) {
        rf_shard_free(bench->shards[i]);
    }
    rf_view_drop(bench->view);
    return 0;
}

/* ---- Tests -------------------------------------------------------------------------------- */

/* Goal: two coordinators that write one key in step, with the third replica frozen, both succeed.
 * Method: requests take longer than answers, so that each stores its next stamp before the other's
 * last one arrives: the order that made them overtake each other until both gave up. */
static void two_coordinators_in_step(void **state)
{
    struct bench *bench = *state;
    bench->frozen[2] = true;
    for (uint32_t round = 0; round < 5; round++) {
        bench->n_replies = 0;
        client_put(bench, 0);
        client_put(bench, 1);
        run(bench, 100);
        assert_int_equal(2, bench->n_replies);
        assert_int_equal(RF_OK, bench->replies[0].rc);
        assert_int_equal(RF_OK, bench->replies[1].rc);
        assert_int_equal(bench->stored[0], bench->stored[1]);
    }
}

/* Goal: a write after an acknowledged one gets a higher stamp through a coordinator whose clock is
 * behind (D7). Method: the first write comes from a node 300 ms ahead; the second one's coordinator
 * has heard nothing of it. */
static void slow_clock_writes_above(void **state)
{
    struct bench *bench = *state;
    bench->now.wall_ms += 300;
    client_put(bench, 0);
    run(bench, 100);
    assert_int_equal(1, bench->n_replies);
    bench->now.wall_ms -= 300;
    bench->stored[1] = bench->stored[0];
    client_put(bench, 2);
    run(bench, 100);
    assert_int_equal(2, bench->n_replies);
    assert_int_equal(RF_OK, bench->replies[1].rc);
    assert_true(bench->replies[1].row.version.hlc > bench->replies[0].row.version.hlc);
}

/* Goal: a version from a clock that is far off is not written above, and the answer tells the
 * truth about what the attempt left behind. Method: with such a version on all replicas nothing was
 * applied; with one replica that did not have it, the outcome is unknown. */
static void far_ahead_is_refused(void **state)
{
    struct bench *bench = *state;
    uint64_t      far = (bench->now.wall_ms + 10000) << 16;
    bench->stored[0] = bench->stored[1] = bench->stored[2] = far;
    bench->frozen[2] = true;
    client_put(bench, 0);
    run(bench, 100);
    assert_int_equal(RF_CLOCK_OFFSET, bench->replies[0].rc);
    assert_true(bench->replies[0].outcome_unknown); /* the third has not spoken */
    bench->frozen[2] = false;
    bench->stored[0] = 0;
    client_put(bench, 0);
    run(bench, 100);
    assert_int_equal(2, bench->n_replies);
    assert_int_equal(RF_CLOCK_OFFSET, bench->replies[1].rc);
    assert_true(bench->replies[1].outcome_unknown); /* stored here */
}

/* Goal: a write that waits for its clock in the second attempt survives the link of a replica that
 * is still asked: it ends with an answer, no step trips. Method: replica 1 is 400 ms ahead, above
 * the durable ceiling but not too far; the third one's link breaks while the write waits. */
static void link_breaks_while_the_clock_waits(void **state)
{
    struct bench   *bench = *state;
    struct rf_event link = {.kind = RF_EV_LINK, .as.peer = {.node = node_id(2), .up = false}};
    bool            waited = false;
    bench->frozen[2] = true;
    bench->stored[1] = (bench->now.wall_ms + 400) << 16;
    client_put(bench, 0);
    for (uint32_t i = 0; i < 100; i++) {
        struct queue *queue =
            bench->answers.head != bench->answers.tail ? &bench->answers : &bench->requests;
        if (queue->head == queue->tail) {
            break;
        }
        uint32_t        to = queue->list[queue->head % QUEUE].to;
        struct rf_event event = queue->list[queue->head++ % QUEUE].event;
        if (!waited && bench->shards[0]->slots[0].state == RF_SLOT_WAIT_CLOCK &&
            bench->shards[0]->slots[0].attempt == 1) {
            waited = true;
            step(bench, 0, &link);
        }
        if (!bench->frozen[to]) {
            step(bench, to, &event);
        }
        drop_event(&event);
    }
    assert_true(waited);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OK, bench->replies[0].rc);
    assert_true(bench->replies[0].row.version.hlc > (bench->now.wall_ms + 400) << 16);
    bench->now.mono_us += 3000000;
    struct rf_event tick = {.kind = RF_EV_TICK};
    step(bench, 0, &tick); /* the third replica's answer is given up: a hint */
    run(bench, 100);
    assert_int_equal(0, rf_shard_stats(bench->shards[0]).in_flight);
    assert_int_equal(1, rf_shard_stats(bench->shards[0]).hints_stored);
}

/* Goal: two refusals prove that no strong read can have shown the first stamp: the write is stamped
 * again at once, and surely in effect once (D7, D9). Method: the coordinator alone lacks the newer
 * version. */
static void second_stamp_with_proof(void **state)
{
    struct bench *bench = *state;
    bench->stored[1] = bench->stored[2] = (bench->now.wall_ms + 100) << 16;
    client_put(bench, 0);
    run(bench, 100);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OK, bench->replies[0].rc);
    assert_false(bench->replies[0].unsure);
    assert_int_equal(1, rf_shard_stats(bench->shards[0]).restamps);
    assert_int_equal(0, rf_shard_stats(bench->shards[0]).restamps_unsure);
    assert_true(bench->replies[0].row.version.hlc > (bench->now.wall_ms + 100) << 16);
}

/* Goal: two acknowledgements of the first stamp are enough, even when the refusal comes first: the
 * newer version is concurrent. Method: the third replica alone has it. */
static void acknowledged_despite_refusal(void **state)
{
    struct bench *bench = *state;
    bench->stored[1] = (bench->now.wall_ms + 100) << 16;
    client_put(bench, 0);
    run(bench, 100);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OK, bench->replies[0].rc);
    assert_int_equal(0, rf_shard_stats(bench->shards[0]).restamps);
}

/* Goal: with a frozen replica there is no proof; the write waits for a moment, then succeeds all the
 * same, and says so (S133). Method: one acknowledgement, one refusal, one silence. */
static void second_stamp_without_proof(void **state)
{
    struct bench   *bench = *state;
    struct rf_event tick = {.kind = RF_EV_TICK};
    bench->frozen[2] = true;
    bench->stored[1] = (bench->now.wall_ms + 100) << 16;
    client_put(bench, 0);
    run(bench, 100);
    assert_int_equal(0, bench->n_replies);
    bench->now.mono_us += 50000;
    step(bench, 0, &tick);
    run(bench, 100);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OK, bench->replies[0].rc);
    assert_true(bench->replies[0].unsure);
    assert_int_equal(1, rf_shard_stats(bench->shards[0]).restamps_unsure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_coordinators_in_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slow_clock_writes_above, set_up, tear_down),
        cmocka_unit_test_setup_teardown(link_breaks_while_the_clock_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(far_ahead_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(second_stamp_with_proof, set_up_ordered, tear_down),
        cmocka_unit_test_setup_teardown(acknowledged_despite_refusal, set_up_ordered, tear_down),
        cmocka_unit_test_setup_teardown(second_stamp_without_proof, set_up_ordered, tear_down),
    };
    return cmocka_run_group_tests_name("write_race", tests, NULL, NULL);
}
