/* The coordinator against hand-made answers: what a strong read may tell (D9), what becomes of a
 * missed write (S37, S40). Five nodes; the key's replicas are three others or include this node. */
#include "test_util.h"

#include <stdio.h>
#include <string.h>

#include "core/shard.h"
#include "core/shard_private.h"

#define NODES 5u
#define TABLE 99u
#define SELF UINT64_C(0x1000)

struct bench {
    struct rf_shard *shard;
    struct rf_view  *view;
    struct rf_time   now;
    uint64_t         id;                /* of the request under way: the last that was sent */
    uint32_t         writes[NODES + 1]; /* WRITE messages and store operations, by node */
    uint8_t          modes[NODES + 1];  /* enum rf_apply_mode of the last of them */
    uint32_t         n_hints;           /* messages … */
    uint64_t         holder;            /* … and to whom the last one went */
    uint32_t         n_local_hints;
    uint64_t         hint_tag;
    uint32_t         n_replies;
    struct rf_reply  last;
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

static void take_store(struct bench *bench, const struct rf_store_op *op)
{
    if (op->table == TABLE) {
        bench->id = op->tag;
        bench->writes[1] += op->kind == RF_STORE_APPLY;
        bench->modes[1] = (uint8_t)op->mode;
    } else if (op->table == RF_TABLE_HINTS) {
        bench->n_local_hints++;
        bench->hint_tag = op->tag;
    }
    rf_blob_drop(op->row.blob);
}

static void take_effect(struct bench *bench, const struct rf_effect *effect)
{
    const struct rf_message *message = &effect->as.message;
    if (effect->kind == RF_FX_STORE) {
        take_store(bench, &effect->as.store);
        return;
    }
    if (effect->kind == RF_FX_REPLY) {
        bench->n_replies++;
        bench->last = effect->as.reply;
        rf_blob_drop(effect->as.reply.row.blob);
        return;
    }
    assert_int_equal(RF_FX_SEND, effect->kind);
    bench->id = message->request_id;
    if (message->kind == RF_MSG_WRITE) {
        bench->writes[effect->node >> 12]++;
        bench->modes[effect->node >> 12] = message->mode;
    } else if (message->kind == RF_MSG_HINT) {
        bench->n_hints++;
        bench->holder = effect->node;
    }
    rf_blob_drop(message->row.blob);
}

static void step(struct bench *bench, struct rf_event event)
{
    struct rf_effect  list[RF_EFFECTS_MIN];
    struct rf_effects effects = {.list = list, .max = RF_EFFECTS_MIN};
    event.now = bench->now;
    assert_rc_ok(rf_shard_step(bench->shard, &event, 1, &effects));
    for (uint32_t i = 0; i < effects.n; i++) {
        take_effect(bench, &list[i]);
    }
    rf_shard_check(bench->shard);
}

static void client(struct bench *bench, enum rf_client_kind kind, const char *key, uint8_t quorum)
{
    struct rf_blob *blob = rf_blob_copy(rf_slice_str(key));
    step(bench, (struct rf_event){
                    .kind = RF_EV_CLIENT,
                    .as.client = {.kind = kind,
                                  .strong = true,
                                  .quorum = quorum,
                                  .table = TABLE,
                                  .timestamp_ms = kind != RF_CLIENT_GET ? bench->now.wall_ms : 0,
                                  .row = {.key = rf_slice(blob->data, blob->size), .blob = blob}}});
    rf_blob_drop(blob);
}

static const struct rf_slot *running(const struct bench *bench)
{
    return &bench->shard->slots[(bench->id >> 16) & 0xffff];
}

/* The replica number r of the request under way. */
static uint64_t replica(const struct bench *bench, uint32_t r)
{
    return running(bench)->replicas[r].node;
}

static void answer(struct bench *bench, uint64_t node, bool write, enum rf_store_status status,
                   uint64_t hlc)
{
    struct rf_row row = {.version = {hlc, hlc == 0 ? 0 : 7}};
    if (node == SELF) {
        step(bench, (struct rf_event){.kind = RF_EV_STORED,
                                      .as.stored = {.kind = write ? RF_STORE_APPLY : RF_STORE_READ,
                                                    .status = status,
                                                    .tag = bench->id,
                                                    .row = row}});
        return;
    }
    step(bench, (struct rf_event){.kind = RF_EV_MESSAGE,
                                  .as.message = {.kind = write ? RF_MSG_WRITE_ACK : RF_MSG_READ_ACK,
                                                 .status = (uint8_t)status,
                                                 .from = node,
                                                 .request_id = bench->id,
                                                 .row = row}});
}

static void link_event(struct bench *bench, enum rf_event_kind kind, uint64_t node, bool up)
{
    step(bench, (struct rf_event){.kind = kind, .as.peer = {.node = node, .up = up}});
}

static int set_up(void **state)
{
    static struct bench bench;
    struct rf_member    members[NODES] = {0};
    struct rf_table     table = {.id = TABLE,
                                 .name = "default",
                                 .n = 3,
                                 .write_quorum = 2,
                                 .read_quorum = 2,
                                 .read_repair_confirm = true,
                                 .placement = &placement};
    struct rf_ring     *ring = NULL;
    bench = (struct bench){.now = {.mono_us = 1000000, .wall_ms = 1000000}};
    for (uint32_t i = 0; i < NODES; i++) {
        members[i] = (struct rf_member){
            .node = (i + 1) * SELF, .generation = 1, .state = RF_MEMBER_NORMAL, .vnodes = 8};
        snprintf(members[i].name, sizeof(members[i].name), "n%u", i + 1);
    }
    assert_rc_ok(rf_ring_build(members, NODES, 7, &ring));
    assert_rc_ok(rf_view_build(ring, &table, 1, &host, &bench.view));
    rf_ring_drop(ring);
    struct rf_shard_config config = {.node = SELF,
                                     .max_requests = 4,
                                     .max_replica_ops = 4,
                                     .request_timeout_us = 2000000,
                                     .hint_window_ms = 3600000,
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

/* ---- Reads -------------------------------------------------------------------------------- */

/* Goal: a larger r= does not tell a version that a default strong read could miss afterwards (D9).
 * Method: r=3 with one replica newer than two: the answer waits for the first finished repair. */
static void large_quorum_confirms(void **state)
{
    struct bench *bench = *state;
    client(bench, RF_CLIENT_GET, "key", 3);
    answer(bench, replica(bench, 0), false, RF_STORE_FOUND, 2);
    answer(bench, replica(bench, 1), false, RF_STORE_FOUND, 1);
    answer(bench, replica(bench, 2), false, RF_STORE_FOUND, 1);
    assert_int_equal(0, bench->n_replies);
    answer(bench, replica(bench, 1), true, RF_STORE_STORED, 2);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(2, bench->last.row.version.hlc);
}

/* Replica 0 is newer than replica 1, which is being repaired; replica 2 is gone. */
static uint64_t start_repair(struct bench *bench)
{
    client(bench, RF_CLIENT_GET, "key", 0);
    answer(bench, replica(bench, 0), false, RF_STORE_FOUND, 2);
    link_event(bench, RF_EV_LINK, replica(bench, 2), false);
    answer(bench, replica(bench, 1), false, RF_STORE_FOUND, 1);
    assert_int_equal(0, bench->n_replies);
    uint64_t stale = replica(bench, 1);
    assert_int_equal(1, bench->writes[stale >> 12]);
    assert_int_equal(RF_APPLY_REPAIR, bench->modes[stale >> 12]); /* the reserve is for these */
    return stale;
}

/* Goal: a repair that meets a newer row confirms nothing: the read goes on with that row (D9).
 * Method: the stale replica acknowledges the repair with version 3. */
static void repair_meets_newer_row(void **state)
{
    struct bench *bench = *state;
    uint64_t      stale = start_repair(bench);
    answer(bench, stale, true, RF_STORE_STORED, 3);
    assert_int_equal(0, bench->n_replies);
    answer(bench, stale, false, RF_STORE_FOUND, 3);
    assert_int_equal(0, bench->n_replies);
    assert_int_equal(1, bench->writes[replica(bench, 0) >> 12]);
    answer(bench, replica(bench, 0), true, RF_STORE_STORED, 3);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(3, bench->last.row.version.hlc);
}

/* Goal: a repair that is refused, or whose link breaks, takes nothing from the two answers there
 * are: the winner is not confirmed, which is worth a retry (D9), but the quorum was there. */
static void refused_repair_still_answered(void **state)
{
    struct bench *bench = *state;
    answer(bench, start_repair(bench), true, RF_STORE_FULL, 0);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_REPLICA_TIMEOUT, bench->last.rc);
    assert_int_equal(2, bench->last.acked);
}

static void broken_repair_still_answered(void **state)
{
    struct bench *bench = *state;
    link_event(bench, RF_EV_LINK, start_repair(bench), false);
    assert_int_equal(1, bench->n_replies);
    assert_int_equal(RF_REPLICA_TIMEOUT, bench->last.rc);
    assert_int_equal(2, bench->last.acked);
}

/* ---- Hints -------------------------------------------------------------------------------- */

/* A write that one of its replicas, which is dead, has missed; its hint is with a stand-in. */
static void miss_a_write(struct bench *bench)
{
    const struct rf_table *table = rf_view_table_by_id(bench->view, TABLE);
    const uint16_t        *members = NULL;
    char                   key[8];
    bool                   own = false;
    /* With this node among the replicas, both that may stand in are others. */
    for (uint32_t k = 0; k < 100 && !own; k++) {
        snprintf(key, sizeof(key), "k%u", k);
        members = rf_view_replicas(bench->view, table,
                                   rf_ring_token(bench->view->ring->seed, rf_slice_str(key)));
        own = members[0] == 0 || members[1] == 0;
    }
    assert_true(own);
    uint32_t n_hints = bench->n_hints;
    link_event(bench, RF_EV_ALIVE, bench->view->ring->members[members[2]].node, false);
    client(bench, RF_CLIENT_PUT, key, 0);
    uint64_t first = replica(bench, 0);
    uint64_t second = replica(bench, 1);
    answer(bench, first, true, RF_STORE_STORED, 9);
    answer(bench, second, true, RF_STORE_STORED, 9);
    assert_int_equal(RF_OK, bench->last.rc);
    assert_int_equal(n_hints + 1, bench->n_hints);
    assert_int_not_equal(SELF, bench->holder);
}

static void hint_ack(struct bench *bench, enum rf_store_status status)
{
    step(bench, (struct rf_event){.kind = RF_EV_MESSAGE,
                                  .as.message = {.kind = RF_MSG_HINT_ACK,
                                                 .status = (uint8_t)status,
                                                 .from = bench->holder,
                                                 .request_id = bench->id}});
}

static void expect_hints_here(struct bench *bench, uint32_t n)
{
    assert_int_equal(0, rf_shard_stats(bench->shard).in_flight);
    assert_int_equal(n, bench->n_local_hints);
    assert_int_equal(0, rf_shard_stats(bench->shard).hints_stored); /* not before it is durable */
    for (uint32_t i = 0; i < n; i++) {
        step(bench, (struct rf_event){.kind = RF_EV_STORED,
                                      .as.stored = {.kind = RF_STORE_APPLY,
                                                    .status = RF_STORE_STORED,
                                                    .tag = bench->hint_tag}});
    }
    assert_int_equal(n, rf_shard_stats(bench->shard).hints_stored);
}

/* Goal: a missed write that was acknowledged is in some node's hints for sure (S40): a stand-in that
 * says no, says nothing, or goes away leaves the hint to the coordinator. */
static void stored_hint_ends_the_write(void **state)
{
    miss_a_write(*state);
    assert_int_equal(1, rf_shard_stats(((struct bench *)*state)->shard).in_flight);
    hint_ack(*state, RF_STORE_STORED);
    expect_hints_here(*state, 0);
}

static void refused_hint_stays_here(void **state)
{
    miss_a_write(*state);
    hint_ack(*state, RF_STORE_FAILED);
    expect_hints_here(*state, 1);
}

static void unanswered_hint_stays_here(void **state)
{
    struct bench *bench = *state;
    bench->now.mono_us += 1000000;
    miss_a_write(bench);
    bench->now.mono_us += 1999999;
    step(bench, (struct rf_event){.kind = RF_EV_TICK});
    assert_int_equal(0, bench->n_local_hints);
    bench->now.mono_us += 1;
    step(bench, (struct rf_event){.kind = RF_EV_TICK});
    expect_hints_here(bench, 1);
}

static void lost_stand_in_leaves_the_hint_here(void **state)
{
    struct bench *bench = *state;
    miss_a_write(bench);
    link_event(bench, RF_EV_LINK, bench->holder, false);
    expect_hints_here(bench, 1);
}

/* Goal: writes that wait for stand-ins never make the table of requests full (S177). */
static void waiting_hints_make_room(void **state)
{
    struct bench *bench = *state;
    for (uint32_t i = 0; i < 10; i++) {
        miss_a_write(bench);
    }
    assert_int_equal(6, bench->n_local_hints);
    assert_int_equal(4, rf_shard_stats(bench->shard).in_flight);
}

static void storage_event(struct bench *bench, uint64_t node, enum rf_storage_state storage)
{
    step(bench,
         (struct rf_event){.kind = RF_EV_STORAGE, .as.peer = {.node = node, .storage = storage}});
}

static uint32_t sum_writes(const struct bench *bench)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i <= NODES; i++) {
        sum += bench->writes[i];
    }
    return sum;
}

/* Sends a request that must be refused before anything is sent. */
static void refused_before_sending(struct bench *bench, enum rf_client_kind kind, enum rf_rc rc)
{
    uint32_t before = sum_writes(bench);
    uint32_t n = bench->n_replies;
    client(bench, kind, "k0", 0);
    assert_int_equal(n + 1, bench->n_replies);
    assert_int_equal(rc, bench->last.rc);
    assert_false(bench->last.outcome_unknown);
    assert_int_equal(before, sum_writes(bench));
    assert_int_equal(0, rf_shard_stats(bench->shard).in_flight);
}

/* Sends a write that goes to all three replicas, and answers it. */
static void accepted(struct bench *bench, enum rf_client_kind kind)
{
    uint32_t before = sum_writes(bench);
    client(bench, kind, "k0", 0);
    if (kind == RF_CLIENT_GET) {
        assert_true(rf_shard_stats(bench->shard).in_flight != 0);
        for (uint32_t r = 0; r < 3; r++) {
            answer(bench, replica(bench, r), false, RF_STORE_ABSENT, 0);
        }
        return;
    }
    assert_int_equal(before + 3, sum_writes(bench));
    for (uint32_t r = 0; r < 3; r++) {
        answer(bench, replica(bench, r), true, RF_STORE_STORED, 9);
    }
    assert_int_equal(RF_OK, bench->last.rc);
}

/* Goal: with too few replicas that have disk space a write is refused before it is sent, `not
 * applied`; deletes and reads go on; with one full replica nothing changes, and it is asked all the
 * same; where logs have failed, neither is sent (S141-S145). Method: the replicas of one key become
 * full, read-only and right again, one after the other. */
static void full_replicas(void **state)
{
    struct bench *bench = *state;
    accepted(bench, RF_CLIENT_PUT);
    uint64_t first = replica(bench, 0);
    uint64_t second = replica(bench, 1);
    storage_event(bench, first, RF_STORAGE_FULL);
    accepted(bench, RF_CLIENT_PUT);
    storage_event(bench, second, RF_STORAGE_FULL);
    refused_before_sending(bench, RF_CLIENT_PUT, RF_DISK_RESERVE);
    assert_int_equal(1, bench->last.acked);
    assert_int_equal(2, bench->last.needed);
    assert_int_equal(1, rf_shard_stats(bench->shard).full_refusals);
    accepted(bench, RF_CLIENT_DELETE);
    accepted(bench, RF_CLIENT_GET);
    storage_event(bench, second, RF_STORAGE_READ_ONLY);
    refused_before_sending(bench, RF_CLIENT_PUT, RF_DISK_RESERVE); /* space would help */
    accepted(bench, RF_CLIENT_DELETE);
    storage_event(bench, first, RF_STORAGE_READ_ONLY);
    refused_before_sending(bench, RF_CLIENT_PUT, RF_QUORUM_UNAVAILABLE);
    refused_before_sending(bench, RF_CLIENT_DELETE, RF_QUORUM_UNAVAILABLE);
    accepted(bench, RF_CLIENT_GET);
    storage_event(bench, first, RF_STORAGE_OK);
    accepted(bench, RF_CLIENT_PUT);
    storage_event(bench, 0x999000, RF_STORAGE_FULL); /* nobody */
}

/* Goal: what full replicas refuse after it was sent ends as `unknown`, and leaves no hints for them
 * (S50, S141). */
static void full_after_sending(void **state)
{
    struct bench *bench = *state;
    client(bench, RF_CLIENT_PUT, "k0", 0);
    uint32_t n_hints = bench->n_hints + bench->n_local_hints;
    answer(bench, replica(bench, 0), true, RF_STORE_FULL, 0);
    answer(bench, replica(bench, 1), true, RF_STORE_STORED, 9);
    answer(bench, replica(bench, 2), true, RF_STORE_FULL, 0);
    assert_int_equal(RF_REPLICA_TIMEOUT, bench->last.rc);
    assert_true(bench->last.outcome_unknown);
    assert_int_equal(n_hints, bench->n_hints + bench->n_local_hints);
    assert_int_equal(0, rf_shard_stats(bench->shard).in_flight);
}

/* Goal: a stand-in without disk space is passed over (S40). */
static void full_stand_in(void **state)
{
    struct bench *bench = *state;
    miss_a_write(bench);
    uint64_t holder = bench->holder;
    hint_ack(bench, RF_STORE_STORED);
    storage_event(bench, holder, RF_STORAGE_FULL);
    miss_a_write(bench);
    assert_true(bench->holder != holder);
    hint_ack(bench, RF_STORE_STORED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(large_quorum_confirms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repair_meets_newer_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_repair_still_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broken_repair_still_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stored_hint_ends_the_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_hint_stays_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unanswered_hint_stays_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost_stand_in_leaves_the_hint_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_hints_make_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_replicas, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_after_sending, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_stand_in, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("quorum", tests, NULL, NULL);
}
