/* Three shard machines that talk to each other directly: no allocation in steady state, digest
 * reads (D11), hedged reads (D12, S66). */
#include "test_util.h"

#include <string.h>

#include "base/mem.h"
#include "core/shard.h"

#define TABLE 99u /* on all three nodes */
#define TABLE_OF_TWO 100u
#define N 3u
#define QUEUE_MAX 64u
#define VALUE_SIZE 200u

/* One node: its machine and a store of one row. */
struct node {
    struct rf_shard *shard;
    struct rf_row    row;     /* borrows bench.value; version 0: absent */
    bool             silent;  /* what is sent to it is lost */
    bool             damaged; /* it cannot say what it had (D10) */
    uint64_t         damage;  /* … because of this; 0: nothing heals it */
};

struct bench {
    struct node     nodes[N];
    struct rf_view *view;
    struct rf_time  now;
    struct rf_blob *key;
    struct rf_blob *value; /* key, then value */
    struct {
        uint32_t        to;
        struct rf_event event;
    } queue[QUEUE_MAX];
    uint32_t         first, n;
    struct rf_effect list[RF_EFFECTS_MIN];
    struct rf_reply  last;
    uint8_t          last_first_byte; /* of its value */
    uint32_t         n_replies;
    uint64_t         table; /* that clients use */
    uint64_t         reads_sent[N], digests_answered, full_answered;
};

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

static const struct rf_placement_ops placement = {.size = sizeof(placement),
                                                  .choose = choose_first};
static const struct rf_host          host = {.size = sizeof(host)};

static uint64_t node_id(uint32_t index)
{
    return (uint64_t)(index + 1) << 12;
}

static void push(struct bench *bench, uint32_t to, const struct rf_event *event)
{
    assert_true(bench->n < QUEUE_MAX);
    uint32_t at = (bench->first + bench->n++) % QUEUE_MAX;
    bench->queue[at].to = to;
    bench->queue[at].event = *event;
}

/* The store takes over the operation's reference; completions hold one of the stored value. */
static void store(struct bench *bench, uint32_t node, const struct rf_store_op *op)
{
    struct rf_event event = {.kind = RF_EV_STORED};
    event.as.stored =
        (struct rf_store_done){.kind = op->kind, .tag = op->tag, .status = RF_STORE_STORED};
    event.as.stored.row.version = op->row.version;
    if (op->kind == RF_STORE_READ) {
        bool found = rf_row_exists(&bench->nodes[node].row);
        event.as.stored.status = found ? RF_STORE_FOUND : RF_STORE_ABSENT;
        if (bench->nodes[node].damaged) {
            event.as.stored.status = RF_STORE_CANNOT_SAY;
            event.as.stored.damage = bench->nodes[node].damage;
        } else {
            event.as.stored.row = bench->nodes[node].row;
            rf_blob_take(event.as.stored.row.blob);
        }
    } else if (op->table >= TABLE && op->heals != 0 && op->heals == bench->nodes[node].damage) {
        assert_int_equal(RF_APPLY_REPAIR, op->mode);
        bench->nodes[node].damaged = false;
    } else if (op->table >= TABLE && rf_row_compare(&op->row, &bench->nodes[node].row) > 0) {
        bench->nodes[node].row = op->row;
        bench->nodes[node].row.key = rf_slice(bench->value->data, 1);
        bench->nodes[node].row.value = rf_slice(bench->value->data + 1, VALUE_SIZE);
        bench->nodes[node].row.blob = bench->value;
    }
    rf_blob_drop(op->row.blob);
    push(bench, node, &event);
}

/* A link handle is the index of the node that asked. */
static void send(struct bench *bench, uint32_t from, uint32_t to, const struct rf_message *message)
{
    struct rf_event event = {.kind = RF_EV_MESSAGE, .as.message = *message};
    event.as.message.from = node_id(from);
    event.as.message.link = from;
    bench->reads_sent[to] += message->kind == RF_MSG_READ;
    if (message->kind == RF_MSG_READ_ACK) {
        bench->digests_answered += message->mode == RF_READ_DIGEST;
        bench->full_answered += message->mode == RF_READ_FULL;
    }
    if (bench->nodes[to].silent) {
        rf_blob_drop(message->row.blob);
        return;
    }
    push(bench, to, &event);
}

static void carry_out(struct bench *bench, uint32_t node, const struct rf_effect *effect)
{
    switch (effect->kind) {
    case RF_FX_SEND:
        send(bench, node, (uint32_t)(effect->node >> 12) - 1, &effect->as.message);
        break;
    case RF_FX_ANSWER:
        send(bench, node, (uint32_t)effect->as.message.link, &effect->as.message);
        break;
    case RF_FX_STORE:
        store(bench, node, &effect->as.store);
        break;
    case RF_FX_REPLY:
        bench->n_replies++;
        bench->last = effect->as.reply;
        bench->last_first_byte =
            effect->as.reply.row.value.size == 0 ? 0 : effect->as.reply.row.value.data[0];
        rf_blob_drop(effect->as.reply.row.blob);
        break;
    case RF_FX_SEND_ADDR:
    case RF_FX_PUBLISH:
    case RF_FX_ALIVE:
    case RF_FX_STORAGE:
    case RF_FX_REFUSED:
    default:
        fail_msg("an effect that a shard never has: %d", (int)effect->kind);
    }
}

static void step(struct bench *bench, uint32_t node, struct rf_event *event)
{
    struct rf_effects effects = {.list = bench->list, .max = RF_EFFECTS_MIN};
    event->now = bench->now;
    assert_rc_ok(rf_shard_step(bench->nodes[node].shard, event, 1, &effects));
    for (uint32_t i = 0; i < effects.n; i++) {
        carry_out(bench, node, &bench->list[i]);
    }
}

static void run(struct bench *bench)
{
    while (bench->n != 0) {
        uint32_t        to = bench->queue[bench->first].to;
        struct rf_event event = bench->queue[bench->first].event;
        bench->first = (bench->first + 1) % QUEUE_MAX;
        bench->n--;
        step(bench, to, &event);
        if (event.kind == RF_EV_MESSAGE) {
            rf_blob_drop(event.as.message.row.blob);
        } else if (event.kind == RF_EV_STORED) {
            rf_blob_drop(event.as.stored.row.blob);
        }
    }
}

static void client(struct bench *bench, uint32_t node, enum rf_client_kind kind, bool strong)
{
    struct rf_event event = {.kind = RF_EV_CLIENT};
    bool            put = kind == RF_CLIENT_PUT;
    event.as.client = (struct rf_client_op){.kind = kind, .strong = strong, .table = bench->table};
    event.as.client.row.key = rf_slice(bench->value->data, 1);
    event.as.client.row.value = rf_slice(bench->value->data + 1, put ? VALUE_SIZE : 0);
    event.as.client.row.blob = bench->value;
    step(bench, node, &event);
    run(bench);
}

static void advance(struct bench *bench, uint64_t us)
{
    bench->now.mono_us += us;
    bench->now.wall_ms += us / 1000;
    for (uint32_t i = 0; i < N; i++) {
        struct rf_event tick = {.kind = RF_EV_TICK};
        step(bench, i, &tick);
    }
    run(bench);
}

static int set_up(void **state)
{
    static struct bench bench;
    struct rf_member    members[N] = {0};
    struct rf_table     tables[2] = {{.id = TABLE,
                                      .name = "default",
                                      .n = N,
                                      .write_quorum = 2,
                                      .read_quorum = 2,
                                      .read_repair_confirm = true,
                                      .placement = &placement}};
    struct rf_ring     *ring = NULL;
    tables[1] = tables[0];
    tables[1].id = TABLE_OF_TWO;
    tables[1].name[0] = 'e';
    tables[1].n = 2;
    memset(&bench, 0, sizeof(bench));
    bench.table = TABLE;
    bench.now = (struct rf_time){.mono_us = 1000000, .wall_ms = 1750000000000};
    bench.value = rf_blob_new(1 + VALUE_SIZE);
    for (uint32_t i = 0; i < N; i++) {
        members[i] = (struct rf_member){.node = node_id(i), .state = RF_MEMBER_NORMAL, .vnodes = 4};
        members[i].name[0] = (char)('a' + i);
    }
    assert_rc_ok(rf_ring_build(members, N, 7, &ring));
    assert_rc_ok(rf_view_build(ring, tables, 2, &host, &bench.view));
    rf_ring_drop(ring);
    for (uint32_t i = 0; i < N; i++) {
        struct rf_shard_config config = {.node = node_id(i),
                                         .max_requests = 16,
                                         .max_replica_ops = 16,
                                         .request_timeout_us = 2000000,
                                         .max_ahead_ms = 500,
                                         .hint_window_ms = 1000,
                                         .rng_seed = i};
        struct rf_event        view = {.kind = RF_EV_VIEW, .as.view = bench.view};
        assert_rc_ok(rf_shard_new(&config, &bench.nodes[i].shard));
        step(&bench, i, &view);
    }
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    run(bench);
    for (uint32_t i = 0; i < N; i++) {
        rf_shard_check(bench->nodes[i].shard);
        rf_shard_free(bench->nodes[i].shard);
    }
    rf_view_drop(bench->view);
    assert_int_equal(1, bench->value->refs);
    rf_blob_drop(bench->value);
    return 0;
}

/* Goal: nothing is allocated per request in core. Method: 10,000 writes and as many strong and
 * eventual reads through all coordinators, with the host's counter before and after. */
static void steady_state_allocates_nothing(void **state)
{
    struct bench *bench = *state;
    client(bench, 0, RF_CLIENT_PUT, true);
    assert_int_equal(RF_OK, bench->last.rc);
    uint64_t before = rf_mem_allocations();
    uint32_t replies = bench->n_replies;
    for (uint32_t i = 0; i < 10000; i++) {
        client(bench, i % N, RF_CLIENT_PUT, true);
        assert_int_equal(RF_OK, bench->last.rc);
        client(bench, (i + 1) % N, RF_CLIENT_GET, true);
        assert_int_equal(RF_OK, bench->last.rc);
        client(bench, (i + 2) % N, RF_CLIENT_GET, false);
        assert_int_equal(RF_OK, bench->last.rc);
        advance(bench, 100);
    }
    assert_int_equal(before, rf_mem_allocations());
    assert_int_equal(replies + 30000, bench->n_replies);
}

/* Goal: D11, a strong read moves one value at most when all agree. Method: count what peers answer;
 * the coordinator's own row is whole. */
static void strong_reads_move_digests(void **state)
{
    struct bench *bench = *state;
    client(bench, 0, RF_CLIENT_PUT, true);
    client(bench, 1, RF_CLIENT_GET, true);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(VALUE_SIZE, bench->last.row.value.size);
    assert_int_equal(2, bench->digests_answered);
    assert_int_equal(0, bench->full_answered);
    assert_int_equal(0, rf_shard_stats(bench->nodes[1].shard).fetches);
}

/* Goal: D9 and D11 together: a coordinator whose own row is old gets the winner whole, answers with
 * it, and is repaired. Method: node 0 misses a write. */
static void a_digest_that_wins_is_fetched(void **state)
{
    struct bench *bench = *state;
    client(bench, 1, RF_CLIENT_PUT, true);
    bench->now.mono_us += 1000;
    bench->nodes[0].silent = true;
    client(bench, 1, RF_CLIENT_PUT, true);
    bench->nodes[0].silent = false;
    uint64_t newest = bench->nodes[1].row.version.hlc;
    assert_true(bench->nodes[0].row.version.hlc < newest);
    client(bench, 0, RF_CLIENT_GET, true);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(newest, bench->last.row.version.hlc);
    assert_int_equal(VALUE_SIZE, bench->last.row.value.size);
    assert_true(rf_shard_stats(bench->nodes[0].shard).fetches >= 1);
    assert_int_equal(newest, bench->nodes[0].row.version.hlc);
    advance(bench, 3000000);
}

/* Goal: S79, a coordinator that is a replica reads its own storage: no message, no hedge. */
static void a_local_replica_answers_alone(void **state)
{
    struct bench *bench = *state;
    client(bench, 0, RF_CLIENT_PUT, true);
    memset(bench->reads_sent, 0, sizeof(bench->reads_sent));
    client(bench, 2, RF_CLIENT_GET, false);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(0, bench->reads_sent[0] + bench->reads_sent[1] + bench->reads_sent[2]);
    assert_int_equal(0, rf_shard_stats(bench->nodes[2].shard).hedges);
}

/* Goal: D10, a client learns that replicas are there but cannot say: it is not told that they are
 * away. Method: one damaged replica harms nothing, two do; eventual reads when all are. */
static void damaged_replicas_are_told(void **state)
{
    struct bench *bench = *state;
    client(bench, 0, RF_CLIENT_PUT, true);
    bench->nodes[1].damaged = true;
    client(bench, 0, RF_CLIENT_GET, true);
    assert_int_equal(RF_OK, bench->last.rc);
    bench->nodes[2].damaged = true;
    client(bench, 0, RF_CLIENT_GET, true);
    assert_int_equal(RF_REPLICAS_REBUILDING, bench->last.rc);
    client(bench, 1, RF_CLIENT_GET, false);
    assert_int_equal(RF_OK, bench->last.rc);
    bench->nodes[0].damaged = true;
    client(bench, 1, RF_CLIENT_GET, false);
    assert_int_equal(RF_REPLICAS_REBUILDING, bench->last.rc);
}

/* Goal: S139, S140: a strong read repairs the replica that cannot say, own or other, with what the
 * others have, after it has answered; an eventual read does not, for one answer proves nothing. */
static void damaged_replicas_are_healed(void **state)
{
    struct bench *bench = *state;
    client(bench, 0, RF_CLIENT_PUT, true);
    for (uint32_t node = 0; node < 3; node++) {
        bench->nodes[node].damaged = true;
        bench->nodes[node].damage = 70 + node;
        client(bench, 0, RF_CLIENT_GET, false);
        assert_int_equal(RF_OK, bench->last.rc);
        assert_true(bench->nodes[node].damaged);
        client(bench, 0, RF_CLIENT_GET, true);
        assert_int_equal(RF_OK, bench->last.rc);
        assert_false(bench->nodes[node].damaged);
    }
    /* With two of three silent no quorum says what the key is: nobody is healed. */
    bench->nodes[1].damaged = true;
    bench->nodes[2].damaged = true;
    client(bench, 0, RF_CLIENT_GET, true);
    assert_int_equal(RF_REPLICAS_REBUILDING, bench->last.rc);
    assert_true(bench->nodes[1].damaged && bench->nodes[2].damaged);
}

/* The node that has no copy in the table of two. */
static uint32_t outsider(const struct bench *bench)
{
    const struct rf_table *table = rf_view_table_by_id(bench->view, TABLE_OF_TWO);
    struct rf_slice        key = rf_slice(bench->value->data, 1);
    const uint16_t        *replicas =
        rf_view_replicas(bench->view, table, rf_ring_token(bench->view->ring->seed, key));
    return 3u - replicas[0] - replicas[1]; /* members a, b, c are nodes 0, 1, 2 */
}

/* Goal: S66, an eventual read asks one replica, and a second one when that is slow; D12. Method: a
 * coordinator without a copy; the replica that it asks first is silent. */
static void a_slow_replica_is_hedged(void **state)
{
    struct bench *bench = *state;
    uint32_t      node = outsider(bench);
    bench->table = TABLE_OF_TWO;
    client(bench, node, RF_CLIENT_PUT, true);
    assert_int_equal(RF_OK, bench->last.rc);
    uint32_t replies = bench->n_replies;
    uint32_t one = (node + 1) % N;
    uint32_t other = (node + 2) % N;
    for (uint32_t i = 0; i < 50; i++) { /* both are asked sooner or later */
        memset(bench->reads_sent, 0, sizeof(bench->reads_sent));
        bench->nodes[one].silent = true;
        client(bench, node, RF_CLIENT_GET, false);
        assert_int_equal(1, bench->reads_sent[one] + bench->reads_sent[other]);
        bool slow = bench->reads_sent[one] == 1;
        assert_int_equal(replies + (slow ? 0 : 1), bench->n_replies);
        advance(bench, 250000);
        assert_int_equal(++replies, bench->n_replies);
        assert_int_equal(RF_OK, bench->last.rc);
        assert_int_equal(1, bench->reads_sent[other]);
    }
    assert_true(rf_shard_stats(bench->nodes[node].shard).hedges >= 1);
    assert_true(rf_shard_stats(bench->nodes[node].shard).hedges < 10); /* it learns who is slow */
    assert_int_equal(0, rf_shard_stats(bench->nodes[node].shard).timeouts);
}

/* Goal: D7 under D11, one version with two values (client-stamped writes): the larger bytes win,
 * which no digest can tell. Method: two replicas with such rows, the coordinator has none. */
static void equal_versions_are_compared_whole(void **state)
{
    struct bench   *bench = *state;
    struct rf_blob *blobs[2];
    for (uint32_t i = 0; i < 2; i++) {
        blobs[i] = rf_blob_new(VALUE_SIZE);
        memset(blobs[i]->data, (int)('a' + i), VALUE_SIZE);
        bench->nodes[i + 1].row = (struct rf_row){.version = {rf_hlc_make(1749999999999, 0), 0},
                                                  .key = rf_slice(bench->value->data, 1),
                                                  .value = rf_slice(blobs[i]->data, VALUE_SIZE),
                                                  .blob = blobs[i]};
    }
    client(bench, 0, RF_CLIENT_GET, true);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(2, rf_shard_stats(bench->nodes[0].shard).fetches);
    assert_int_equal('b', bench->last_first_byte);
    advance(bench, 3000000);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(1, blobs[i]->refs);
        rf_blob_drop(blobs[i]);
        bench->nodes[i + 1].row = (struct rf_row){0};
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(steady_state_allocates_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strong_reads_move_digests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_digest_that_wins_is_fetched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_replica_is_hedged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equal_versions_are_compared_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_local_replica_answers_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_replicas_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_replicas_are_healed, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("shard_steady", tests, NULL, NULL);
}
