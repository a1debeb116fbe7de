/* compaction-stl, loaded as a real plugin: C2, C5, S57. */
#include "store_util.h"

#include "base/mem.h"
#include "base/rng.h"
#include "plugins/loader.h"

struct stl {
    struct rf_registry             *registry;
    const struct rf_plugin         *plugin;
    const struct rf_compaction_ops *ops;
    void                           *options;
};

static int load(void **state)
{
    struct stl        *stl = calloc(1, sizeof(*stl));
    struct rf_problems problems = {0};
    char               why[512];
    stl->registry = rf_registry_new(RF_TEST_PLUGINS);
    assert_rc_ok(
        rf_registry_get(stl->registry, RF_KIND_COMPACTION, "compaction-stl", &stl->plugin, why));
    stl->ops = &stl->plugin->ops.compaction;
    assert_rc_ok(rf_plugin_options(stl->plugin, NULL, NULL, &stl->options, &problems));
    *state = stl;
    return 0;
}

static int unload(void **state)
{
    struct stl *stl = *state;
    rf_mem_free(stl->options);
    rf_registry_free(stl->registry);
    free(stl);
    return 0;
}

/* What pick says for files of these sizes (MiB), newest first; busy ones are negative. */
static uint32_t pick(struct stl *stl, const int *sizes, uint32_t n, uint32_t *inputs)
{
    struct rf_run  runs[64] = {0};
    struct rf_plan plan = {.size = sizeof(plan)};
    for (uint32_t i = 0; i < n; i++) {
        runs[i].id = n - i;
        runs[i].busy = sizes[i] < 0;
        runs[i].size_bytes = (uint64_t)abs(sizes[i]) << 20;
    }
    assert_int_equal(RF_PLUGIN_OK, stl->ops->pick(rf_registry_host(), stl->options, runs,
                                                  sizeof(*runs), n, inputs, &plan));
    assert_int_equal(0, plan.output_max_bytes);
    return plan.n_inputs;
}

/* min_merge; space_percent far away, so that tiers alone decide. */
static void set_options(struct stl *stl, int64_t min_merge, int64_t space_percent)
{
    int64_t *fields = stl->options;
    fields[0] = min_merge;
    fields[4] = space_percent;
}

/* Goal: a tier of four files of one size is merged, fewer or busy ones are left alone. */
static void tiers(void **state)
{
    struct stl *stl = *state;
    set_options(stl, 4, 10000);
    uint32_t in[64];
    int      three[] = {4, 4, 4, 100};
    int      four[] = {4, 5, 100, 7, 6, 90};
    int      busy[] = {4, -5, 100, 7, 6, 90};
    int      two_tiers[] = {100, 110, 120, 130, 4, 4, 4, 4};
    int      tiny[] = {1, 1, 1, 1};
    assert_int_equal(0, pick(stl, NULL, 0, in));
    assert_int_equal(0, pick(stl, three, 4, in));
    assert_int_equal(4, pick(stl, four, 6, in));
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(four[in[i]] < 10);
    }
    assert_int_equal(0, pick(stl, busy, 6, in));
    assert_int_equal(4, pick(stl, two_tiers, 8, in));
    assert_int_equal(4, two_tiers[in[0]]); /* the cheaper one first */
    assert_int_equal(4, pick(stl, tiny, 4, in));
}

/* Goal: all files become one when those beside the largest have reached its size, and there are enough
 * of them: so much may be old versions (S62). */
static void wasted_space_is_merged_away(void **state)
{
    struct stl *stl = *state;
    uint32_t    in[64];
    int         almost[] = {4, 9, 20, 100, 30, 36};
    int         enough[] = {4, 9, 20, 100, 30, 37};
    int         busy[] = {4, 9, 20, 100, -30, 37};
    int         few[] = {100, 100, 100};
    set_options(stl, 4, 100);
    assert_int_equal(0, pick(stl, almost, 6, in));
    assert_int_equal(6, pick(stl, enough, 6, in));
    assert_int_equal(0, pick(stl, busy, 6, in));
    assert_int_equal(0, pick(stl, few, 3, in));
}

/* Goal: whatever the files, a plan is one that the core accepts, and merging ends: the number of
 * files stays logarithmic. Method: 500 flushes of random sizes, merged as told. */
static void settles(void **state)
{
    struct stl   *stl = *state;
    struct rf_rng rng = {3};
    int           sizes[64];
    uint32_t      n = 0, in[64], score = 0;
    for (unsigned flush = 0; flush < 500; flush++) {
        memmove(sizes + 1, sizes, sizeof(*sizes) * n++);
        sizes[0] = 1 + (int)rf_rng_below(&rng, 8);
        uint32_t n_in = 0;
        while ((n_in = pick(stl, sizes, n, in)) != 0) {
            int  sum = 0;
            bool taken[64] = {false};
            assert_in_range(n_in, 8, 32);
            for (uint32_t i = 0; i < n_in; i++) {
                assert_true(in[i] < n && !taken[in[i]]);
                taken[in[i]] = true;
                sum += sizes[in[i]];
            }
            uint32_t kept = 0;
            for (uint32_t i = 0; i < n; i++) {
                if (!taken[i]) {
                    sizes[kept++] = sizes[i];
                }
            }
            sizes[kept] = sum;
            n = kept + 1;
        }
        assert_true(n < 40);
    }
    struct rf_run run = {.size_bytes = 5};
    assert_int_equal(RF_PLUGIN_OK, stl->ops->score(rf_registry_host(), stl->options, &run,
                                                   sizeof(run), 1, &score));
    assert_int_equal(1000 / 32, score);
}

/* Goal: options that do not fit together are refused. */
static void options_are_checked(void **state)
{
    struct stl *stl = *state;
    int64_t     wrong[5] = {8, 4, 200, 20, 100};
    assert_int_equal(RF_PLUGIN_OK, stl->ops->check(rf_registry_host(), stl->options));
    assert_int_equal(RF_PLUGIN_BAD_OPTION, stl->ops->check(rf_registry_host(), wrong));
    assert_int_equal(sizeof(wrong), stl->ops->options_size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tiers, load, unload),
        cmocka_unit_test_setup_teardown(wasted_space_is_merged_away, load, unload),
        cmocka_unit_test_setup_teardown(settles, load, unload),
        cmocka_unit_test_setup_teardown(options_are_checked, load, unload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
