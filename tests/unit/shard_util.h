/* What tests of the shard machine share: a small ring without a plugin's file, one table, ids. */
#ifndef RF_SHARD_UTIL_H
#define RF_SHARD_UTIL_H

#include <stdio.h>
#include <string.h>

#include "core/shard.h"
#include "test_util.h"

#define TEST_NODES_MAX 8u

/* Node number 0, 1, … */
static inline uint64_t test_node_id(uint32_t index)
{
    return (uint64_t)(index + 1) << 12;
}

static inline int32_t test_choose_first(const struct rf_host *host, const void *options,
                                        const struct rf_candidate *candidates,
                                        uint32_t candidate_size, uint32_t n_candidates,
                                        uint32_t n_total, uint32_t n, uint32_t *ret_chosen)
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

static inline void test_no_error(const struct rf_host *host, const char *text)
{
    (void)host;
    fail_msg("%s", text);
}

/* Replicas are the first distinct nodes on the walk. */
static const struct rf_placement_ops test_placement = {.size = sizeof(test_placement),
                                                       .choose = test_choose_first};
static const struct rf_host          test_host = {.size = sizeof(test_host),
                                                  .abi_major = RF_ABI_MAJOR,
                                                  .abi_minor = RF_ABI_MINOR,
                                                  .error = test_no_error};

/* The default table: N = 3, R = W = 2, strong reads are confirmed. */
static inline struct rf_table test_table(uint64_t id)
{
    return (struct rf_table){.id = id,
                             .name = "default",
                             .n = 3,
                             .write_quorum = 2,
                             .read_quorum = 2,
                             .read_repair_confirm = true,
                             .placement = &test_placement};
}

/* A view of n nodes named n1, n2, …; one reference for the caller. */
static inline struct rf_view *test_view(uint32_t n, const struct rf_table *tables,
                                        uint32_t n_tables)
{
    struct rf_member members[TEST_NODES_MAX] = {0};
    struct rf_ring  *ring = NULL;
    struct rf_view  *view = NULL;
    assert_true(n <= TEST_NODES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        members[i] = (struct rf_member){
            .node = test_node_id(i), .generation = 1, .state = RF_MEMBER_NORMAL, .vnodes = 8};
        snprintf(members[i].name, sizeof(members[i].name), "n%u", i + 1);
    }
    assert_rc_ok(rf_ring_build(members, n, 7, &ring));
    assert_rc_ok(rf_view_build(ring, tables, n_tables, &test_host, NULL, &view));
    rf_ring_drop(ring);
    return view;
}

#endif
