/* The ring: S19, S21, S25, S27; wrong placement plugins: C6. */
#include "test_util.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "ring/view.h"

static struct rf_ring *make_ring(uint32_t n, uint16_t vnodes)
{
    struct rf_member *members = RF_NEW_ARRAY(struct rf_member, n);
    struct rf_ring   *ring = NULL;
    struct rf_rng     rng = {n};
    for (uint32_t i = 0; i < n; i++) {
        members[i] = (struct rf_member){
            .node = rf_rng_next(&rng) << 8, .state = RF_MEMBER_NORMAL, .vnodes = vnodes};
        snprintf(members[i].name, sizeof(members[i].name), "n%u", i);
    }
    assert_rc_ok(rf_ring_build(members, n, 42, &ring));
    rf_mem_free(members);
    return ring;
}

/* Goal: the table of starts finds what a linear search finds. Method: random tokens, every vnode's
 * own token and its neighbours, rings of many sizes. */
static void find_is_exact(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 40};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct rf_ring *ring = make_ring(sizes[s], (uint16_t)(s == 0 ? 1 : 16));
        struct rf_rng   rng = {sizes[s]};
        for (uint32_t i = 0; i < 3000; i++) {
            uint64_t token = rf_rng_next(&rng);
            if (i < 3 * ring->n_tokens) {
                token = ring->tokens[i / 3] + i % 3 - 1;
            }
            uint32_t expected = 0;
            while (expected < ring->n_tokens && ring->tokens[expected] <= token) {
                expected++;
            }
            assert_int_equal(expected == ring->n_tokens ? 0 : expected, rf_ring_find(ring, token));
        }
        rf_ring_drop(ring);
    }
}

/* Goal: members are found by node id; unknown ids are not. */
static void by_node_is_exact(void **state)
{
    (void)state;
    struct rf_ring *ring = make_ring(100, 2);
    for (uint32_t m = 0; m < ring->n_members; m++) {
        assert_int_equal(m, rf_ring_by_node(ring, ring->members[m].node));
        assert_int_equal(RF_NO_MEMBER, rf_ring_by_node(ring, ring->members[m].node + 1));
    }
    assert_int_equal(RF_NO_MEMBER, rf_ring_by_node(ring, 0));
    assert_int_equal(RF_NO_MEMBER, rf_ring_by_node(ring, UINT64_MAX));
    rf_ring_drop(ring);
}

/* Goal: S21, the walk gives distinct members, and all of them when asked for more. */
static void walk_is_distinct(void **state)
{
    (void)state;
    struct rf_ring *ring = make_ring(9, 8);
    for (uint32_t p = 0; p < ring->n_tokens; p++) {
        uint16_t members[16];
        uint32_t n = rf_ring_walk(ring, p, members, 16);
        assert_int_equal(9, n);
        assert_int_equal(ring->owners[p], members[0]);
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < i; j++) {
                assert_int_not_equal(members[i], members[j]);
            }
        }
    }
    rf_ring_drop(ring);
}

/* Goal: the digest depends on what placement depends on and on nothing else. */
static void digest_follows_ownership(void **state)
{
    (void)state;
    struct rf_member a = {.node = 256, .state = RF_MEMBER_NORMAL, .vnodes = 8, .name = "a"};
    struct rf_member b = a;
    struct rf_ring  *rings[3] = {0};
    b.generation = 9;
    b.version = 7;
    assert_rc_ok(rf_ring_build(&a, 1, 1, &rings[0]));
    assert_rc_ok(rf_ring_build(&b, 1, 1, &rings[1]));
    b.state = RF_MEMBER_JOINING;
    assert_rc_ok(rf_ring_build(&b, 1, 1, &rings[2]));
    assert_true(rings[0]->digest == rings[1]->digest);
    assert_true(rings[0]->digest != rings[2]->digest);
    assert_int_equal(0, rings[2]->n_tokens);
    for (int i = 0; i < 3; i++) {
        rf_ring_drop(rings[i]);
    }
    assert_rc(RF_LIMIT, rf_ring_build(&a, 0, 1, &rings[0]));
}

static bool lies;

static void no_error(const struct rf_host *host, const char *text)
{
    (void)host;
    (void)text;
}

static int32_t choose_next(const struct rf_host *host, const void *options,
                           const struct rf_candidate *candidates, uint32_t candidate_size,
                           uint32_t n_candidates, uint32_t n_total, uint32_t n,
                           uint32_t *ret_chosen)
{
    (void)host, (void)options, (void)candidates, (void)candidate_size, (void)n_candidates;
    (void)n_total;
    for (uint32_t i = 0; i < n; i++) {
        ret_chosen[i] = lies ? 0 : i;
    }
    return RF_PLUGIN_OK;
}

static struct rf_view *view_of(const struct rf_member *members, uint32_t n,
                               const struct rf_table *table, const struct rf_view *before)
{
    static const struct rf_host host = {sizeof(host), RF_ABI_MAJOR, RF_ABI_MINOR, no_error};
    struct rf_ring             *ring = NULL;
    struct rf_view             *view = NULL;
    assert_rc_ok(rf_ring_build(members, n, 42, &ring));
    assert_rc_ok(rf_view_build(ring, table, 1, &host, before, &view));
    rf_ring_drop(ring);
    return view;
}

/* Goal: a table whose placement plugin begins to answer wrongly keeps the replicas agreed on last as long
 * as no range changes; then it has none, and the plugin is not asked again. Method: a newcomer without
 * tokens, whose name comes first, so that all places in the member list move; then it gets tokens. */
static void wrong_placement_keeps_replicas(void **state)
{
    (void)state;
    static const struct rf_placement_ops ops = {sizeof(ops), 0, 0, NULL, choose_next};
    struct rf_table                      table = {.id = 99, .name = "t", .n = 2, .placement = &ops};
    struct rf_member                     members[3] = {
                            {.node = 0x100, .state = RF_MEMBER_NORMAL, .vnodes = 16, .name = "n1"},
                            {.node = 0x200, .state = RF_MEMBER_NORMAL, .vnodes = 16, .name = "n2"},
                            {.node = 0x300, .state = RF_MEMBER_JOINING, .vnodes = 16, .name = "a"},
    };
    lies = false;
    struct rf_view *agreed = view_of(members, 2, &table, NULL);
    assert_false(agreed->tables[0].misplaced);
    lies = true;
    struct rf_view *kept = view_of(members, 3, &table, agreed);
    assert_true(kept->tables[0].misplaced);
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t        token = i << 54;
        const uint16_t *was = rf_view_replicas(agreed, &agreed->tables[0], token);
        const uint16_t *is = rf_view_replicas(kept, &kept->tables[0], token);
        for (uint32_t r = 0; r < 2; r++) {
            assert_true(agreed->ring->members[was[r]].node == kept->ring->members[is[r]].node);
        }
    }
    members[2].state = RF_MEMBER_NORMAL;
    lies = false;
    table.misplaced = true; /* as the host remembers it */
    struct rf_view *changed = view_of(members, 3, &table, kept);
    assert_null(changed->tables[0].replicas);
    rf_view_drop(agreed);
    rf_view_drop(kept);
    rf_view_drop(changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find_is_exact),
        cmocka_unit_test(by_node_is_exact),
        cmocka_unit_test(walk_is_distinct),
        cmocka_unit_test(digest_follows_ownership),
        cmocka_unit_test(wrong_placement_keeps_replicas),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
