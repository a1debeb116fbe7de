/* The shard machine's table of requests when it is full: S133, S177, and that every limit is an
 * answer. A replica that is frozen (alive for the detector, silent) must not exhaust it. */
#include "test_util.h"

#include <stdio.h>
#include <string.h>

#include "core/shard.h"

#define SELF UINT64_C(0x1000)
#define MAX_REQUESTS 4u
#define TABLE 99u

struct bench {
    struct rf_shard  *shard;
    struct rf_view   *view;
    struct rf_effect  list[RF_EFFECTS_MIN];
    struct rf_effects effects;
    struct rf_time    now;
    uint64_t          asked_id[4]; /* the request id that the last step sent to each node */
    uint32_t          n_asked;
    uint32_t          n_replies;
    struct rf_reply   last;
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

static void no_error(const struct rf_host *host, const char *text)
{
    (void)host;
    fail_msg("%s", text);
}

static const struct rf_placement_ops placement = {.size = sizeof(placement),
                                                  .choose = choose_first};
static const struct rf_host          host = {
             .size = sizeof(host), .abi_major = RF_ABI_MAJOR, .abi_minor = RF_ABI_MINOR, .error = no_error};

/* ---- Driving the machine ------------------------------------------------------------------ */

static void take_effect(struct bench *bench, const struct rf_effect *effect)
{
    switch (effect->kind) {
    case RF_FX_REPLY:
        bench->n_replies++;
        bench->last = effect->as.reply;
        rf_blob_drop(effect->as.reply.row.blob);
        break;
    case RF_FX_SEND:
        if (effect->as.message.kind == RF_MSG_WRITE || effect->as.message.kind == RF_MSG_READ) {
            bench->asked_id[effect->node >> 12] = effect->as.message.request_id;
            bench->n_asked++;
        }
        rf_blob_drop(effect->as.message.row.blob);
        break;
    case RF_FX_STORE:
        if (effect->as.store.table == TABLE) {
            bench->asked_id[1] = effect->as.store.tag;
        }
        rf_blob_drop(effect->as.store.row.blob);
        break;
    case RF_FX_SEND_ADDR:
    case RF_FX_ANSWER:
    case RF_FX_PUBLISH:
    case RF_FX_ALIVE:
    case RF_FX_STORAGE:
    case RF_FX_REFUSED:
    case RF_FX_MOVED:
    case RF_FX_TWIN:
    case RF_FX_TWIN_FIRST:
    case RF_FX_RAISE:
    default:
        fail_msg("an effect that a coordinator never has: %d", (int)effect->kind);
    }
}

static void step(struct bench *bench, struct rf_event event)
{
    event.now = bench->now;
    bench->effects = (struct rf_effects){.list = bench->list, .max = RF_EFFECTS_MIN};
    assert_rc_ok(rf_shard_step(bench->shard, &event, 1, &bench->effects));
    for (uint32_t i = 0; i < bench->effects.n; i++) {
        take_effect(bench, &bench->list[i]);
    }
    rf_shard_check(bench->shard);
}

static void client(struct bench *bench, enum rf_client_kind kind)
{
    struct rf_blob *blob = rf_blob_copy(rf_slice_str("key"));
    step(bench, (struct rf_event){
                    .kind = RF_EV_CLIENT,
                    .as.client = {.kind = kind,
                                  .strong = true,
                                  .table = TABLE,
                                  .timestamp_ms = kind == RF_CLIENT_PUT ? bench->now.wall_ms : 0,
                                  .row = {.key = rf_slice(blob->data, blob->size), .blob = blob}}});
    rf_blob_drop(blob);
}

/* This node's own store and node 2 answer; node 3 is frozen. */
static void two_answer(struct bench *bench, enum rf_client_kind kind)
{
    bool     write = kind == RF_CLIENT_PUT;
    uint64_t own = bench->asked_id[1];
    uint64_t other = bench->asked_id[2];
    step(bench, (struct rf_event){.kind = RF_EV_STORED,
                                  .as.stored = {.kind = write ? RF_STORE_APPLY : RF_STORE_READ,
                                                .status = write ? RF_STORE_STORED : RF_STORE_ABSENT,
                                                .tag = own}});
    step(bench,
         (struct rf_event){.kind = RF_EV_MESSAGE,
                           .as.message = {.kind = write ? RF_MSG_WRITE_ACK : RF_MSG_READ_ACK,
                                          .status = write ? RF_STORE_STORED : RF_STORE_ABSENT,
                                          .from = 2 * SELF,
                                          .request_id = other}});
}

static int set_up(void **state)
{
    static struct bench bench;
    struct rf_member    members[3] = {0};
    struct rf_table     table = {.id = TABLE,
                                 .name = "default",
                                 .n = 3,
                                 .write_quorum = 2,
                                 .read_quorum = 2,
                                 .read_repair_confirm = true,
                                 .placement = &placement};
    struct rf_ring     *ring = NULL;
    bench = (struct bench){.now = {.mono_us = 1000000, .wall_ms = 1000000}};
    for (uint32_t i = 0; i < 3; i++) {
        members[i] = (struct rf_member){
            .node = (i + 1) * SELF, .generation = 1, .state = RF_MEMBER_NORMAL, .vnodes = 8};
        snprintf(members[i].name, sizeof(members[i].name), "n%u", i + 1);
    }
    assert_rc_ok(rf_ring_build(members, 3, 7, &ring));
    assert_rc_ok(rf_view_build(ring, &table, 1, &host, NULL, &bench.view));
    rf_ring_drop(ring);
    struct rf_shard_config config = {.node = SELF,
                                     .max_requests = MAX_REQUESTS,
                                     .max_replica_ops = MAX_REQUESTS,
                                     .request_timeout_us = 2000000,
                                     .max_ahead_ms = 500,
                                     .rng_seed = 1};
    assert_rc_ok(rf_shard_new(&config, &bench.shard));
    step(&bench, (struct rf_event){.kind = RF_EV_VIEW, .as.view = bench.view});
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    rf_shard_free(bench->shard);
    rf_view_drop(bench->view);
    return 0;
}

/* ---- Tests -------------------------------------------------------------------------------- */

/* Goal: ten times more requests than slots succeed while one replica never answers.
 * Method: every request is answered by two of three; none reaches its deadline. */
static void frozen_replica(void **state, enum rf_client_kind kind)
{
    struct bench *bench = *state;
    for (uint32_t i = 0; i < 10 * MAX_REQUESTS; i++) {
        client(bench, kind);
        assert_int_equal(i, bench->n_replies);
        two_answer(bench, kind);
        assert_int_equal(i + 1, bench->n_replies);
        assert_int_equal(kind == RF_CLIENT_PUT ? RF_OK : RF_ITEM_NOT_FOUND, bench->last.rc);
    }
    struct rf_shard_stats stats = rf_shard_stats(bench->shard);
    assert_int_equal(MAX_REQUESTS, stats.in_flight);
    assert_int_equal(9 * MAX_REQUESTS, stats.given_up);
    assert_int_equal(0, stats.timeouts);
}

static void frozen_replica_writes(void **state)
{
    frozen_replica(state, RF_CLIENT_PUT);
}

static void frozen_replica_strong_reads(void **state)
{
    frozen_replica(state, RF_CLIENT_GET);
}

/* Goal: a request whose client still waits is never given up for a new one: the limit answers.
 * Method: fill the table with unanswered writes, ask once more, then let the deadline pass. */
static void full_of_waiting_requests(void **state)
{
    struct bench *bench = *state;
    for (uint32_t i = 0; i < MAX_REQUESTS; i++) {
        client(bench, RF_CLIENT_PUT);
    }
    assert_int_equal(0, bench->n_replies);
    client(bench, RF_CLIENT_PUT);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OVERLOADED, bench->last.rc);
    assert_false(bench->last.outcome_unknown);
    bench->now.mono_us += 2000000;
    step(bench, (struct rf_event){.kind = RF_EV_TICK});
    assert_int_equal(1 + MAX_REQUESTS, bench->n_replies);
    assert_int_equal(RF_REPLICA_TIMEOUT, bench->last.rc);
    assert_true(bench->last.outcome_unknown);
    assert_int_equal(0, rf_shard_stats(bench->shard).in_flight);
}

/* Goal: the answer of a replica that was given up finds no slot and harms no later request.
 * Method: the frozen replica wakes and answers all that it was ever asked, oldest first. */
static void answers_after_the_thaw(void **state)
{
    struct bench *bench = *state;
    uint64_t      ids[3 * MAX_REQUESTS];
    for (uint32_t i = 0; i < 3 * MAX_REQUESTS; i++) {
        client(bench, RF_CLIENT_PUT);
        ids[i] = bench->asked_id[3];
        two_answer(bench, RF_CLIENT_PUT);
    }
    for (uint32_t i = 0; i < 3 * MAX_REQUESTS; i++) {
        step(bench, (struct rf_event){.kind = RF_EV_MESSAGE,
                                      .as.message = {.kind = RF_MSG_WRITE_ACK,
                                                     .status = RF_STORE_STORED,
                                                     .from = 3 * SELF,
                                                     .request_id = ids[i]}});
    }
    assert_int_equal(3 * MAX_REQUESTS, bench->n_replies);
    assert_int_equal(0, rf_shard_stats(bench->shard).in_flight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frozen_replica_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frozen_replica_strong_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_of_waiting_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_after_the_thaw, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("shard_slots", tests, NULL, NULL);
}
