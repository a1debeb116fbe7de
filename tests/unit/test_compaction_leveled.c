/* compaction-leveled, loaded as a real plugin: C2, C5, S58, S64. */
#include "store_util.h"

#include "base/mem.h"
#include "base/rng.h"
#include "plugins/loader.h"

#define RUNS_MAX 600u
#define MIB (UINT64_C(1) << 20)

struct leveled {
    struct rf_registry             *registry;
    const struct rf_compaction_ops *ops;
    void         *options; /* fanout, table_size, level1_size, level0_files, … */
    struct rf_run runs[RUNS_MAX];
    uint32_t      n;
    uint64_t      next_id;
};

static int load(void **state)
{
    struct leveled         *self = calloc(1, sizeof(*self));
    const struct rf_plugin *plugin = NULL;
    struct rf_problems      problems = {0};
    char                    why[512];
    self->registry = rf_registry_new(RF_TEST_PLUGINS);
    assert_rc_ok(
        rf_registry_get(self->registry, RF_KIND_COMPACTION, "compaction-leveled", &plugin, why));
    self->ops = &plugin->ops.compaction;
    assert_rc_ok(rf_plugin_options(plugin, NULL, NULL, &self->options, &problems));
    *state = self;
    return 0;
}

static int unload(void **state)
{
    struct leveled *self = *state;
    rf_mem_free(self->options);
    rf_registry_free(self->registry);
    free(self);
    return 0;
}

static void add_run(struct leveled *self, uint32_t level, uint64_t first, uint64_t last,
                    uint64_t size_bytes)
{
    assert_true(self->n < RUNS_MAX);
    memmove(self->runs + 1, self->runs, sizeof(*self->runs) * self->n++);
    self->runs[0] = (struct rf_run){.id = ++self->next_id,
                                    .level = level,
                                    .rows = size_bytes / 100,
                                    .size_bytes = size_bytes,
                                    .first_token = first,
                                    .last_token = last};
}

static struct rf_plan ask(struct leveled *self, uint32_t inputs[RUNS_MAX])
{
    struct rf_plan plan = {.size = sizeof(plan)};
    bool           taken[RUNS_MAX] = {false};
    assert_int_equal(RF_PLUGIN_OK, self->ops->pick(rf_registry_host(), self->options, self->runs,
                                                   sizeof(*self->runs), self->n, inputs, &plan));
    for (uint32_t i = 0; i < plan.n_inputs; i++) {
        assert_true(inputs[i] < self->n && !taken[inputs[i]]);
        assert_int_equal(0, self->runs[inputs[i]].busy);
        taken[inputs[i]] = true;
    }
    return plan;
}

static uint32_t score(struct leveled *self)
{
    uint32_t score = 0;
    assert_int_equal(RF_PLUGIN_OK, self->ops->score(rf_registry_host(), self->options, self->runs,
                                                    sizeof(*self->runs), self->n, &score));
    return score;
}

/* Goal: four flushes go to level 1 with what they overlap there, and with nothing else. */
static void level0_goes_down(void **state)
{
    struct leveled *self = *state;
    uint32_t        in[RUNS_MAX];
    add_run(self, 1, 0, 99, MIB);
    add_run(self, 1, 100, 199, MIB);
    add_run(self, 1, 200, 299, MIB);
    for (unsigned i = 0; i < 3; i++) {
        add_run(self, 0, 120 + i, 240, 4 * MIB);
    }
    assert_int_equal(0, ask(self, in).n_inputs);
    add_run(self, 0, 100, 150, 4 * MIB);
    struct rf_plan plan = ask(self, in);
    assert_int_equal(6, plan.n_inputs);
    assert_int_equal(1, plan.output_level);
    assert_in_range(plan.output_max_bytes, MIB, 4 * MIB);
    for (uint32_t i = 0; i < plan.n_inputs; i++) {
        assert_true(self->runs[in[i]].last_token != 99);
    }
    self->runs[6].busy = 1; /* damaged, say: it stays where it is */
    assert_true(self->runs[6].last_token == 99);
    self->runs[0].busy = 1;
    assert_int_equal(0, ask(self, in).n_inputs);
}

/* Goal: a level that is too large hands down the file that costs least below. */
static void cheapest_file_goes_down(void **state)
{
    struct leveled *self = *state;
    uint32_t        in[RUNS_MAX];
    add_run(self, 2, 0, 99, 20 * MIB);
    add_run(self, 2, 100, 149, MIB);
    add_run(self, 1, 0, 99, 9 * MIB);
    add_run(self, 1, 100, 199, 9 * MIB);
    struct rf_plan plan = ask(self, in);
    assert_int_equal(2, plan.n_inputs);
    assert_int_equal(2, plan.output_level);
    assert_int_equal(100, self->runs[in[0]].first_token);
    assert_int_equal(100, self->runs[in[1]].first_token);
}

/* Goal: a file with much to purge is rewritten where it is, when nothing else is due. */
static void useless_rows_are_purged(void **state)
{
    struct leveled *self = *state;
    uint32_t        in[RUNS_MAX];
    add_run(self, 2, 0, 99, MIB);
    add_run(self, 1, 100, 199, MIB);
    self->runs[1].expired_rows = self->runs[1].rows / 10;
    assert_int_equal(0, ask(self, in).n_inputs);
    self->runs[1].purgeable_rows = self->runs[1].rows / 10 + 2;
    struct rf_plan plan = ask(self, in);
    assert_int_equal(1, plan.n_inputs);
    assert_int_equal(1, in[0]);
    assert_int_equal(2, plan.output_level);
}

/* Carries a plan out as the core does: the inputs' sum, split at the given size. */
static void carry_out(struct leveled *self, const struct rf_plan *plan, const uint32_t *inputs)
{
    bool     taken[RUNS_MAX] = {false};
    uint64_t bytes = 0, first = UINT64_MAX, last = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < plan->n_inputs; i++) {
        const struct rf_run *run = &self->runs[inputs[i]];
        taken[inputs[i]] = true;
        bytes += run->size_bytes;
        first = run->first_token < first ? run->first_token : first;
        last = run->last_token > last ? run->last_token : last;
    }
    for (uint32_t i = 0; i < self->n; i++) {
        if (!taken[i]) {
            self->runs[kept++] = self->runs[i];
        }
    }
    self->n = kept;
    uint64_t max = plan->output_max_bytes == 0 ? bytes : plan->output_max_bytes;
    uint64_t parts = (bytes + max - 1) / max;
    uint64_t width = (last - first) / parts;
    for (uint64_t i = 0; i < parts; i++) {
        add_run(self, plan->output_level, first + i * width,
                i + 1 == parts ? last : first + (i + 1) * width - 1, bytes / parts);
    }
}

/* Goal: whatever comes in, merging ends, files of a level below 0 never overlap, few files are asked
 * for a key, and nothing grows without bound but the last level. Method: 400 flushes, merged as told. */
static void settles(void **state)
{
    struct leveled *self = *state;
    struct rf_rng   rng = {5};
    uint32_t        in[RUNS_MAX], merges = 0;
    for (unsigned flush = 0; flush < 400; flush++) {
        uint64_t first = rf_rng_below(&rng, 1000000);
        add_run(self, 0, first, UINT64_MAX / 2 + rf_rng_below(&rng, UINT64_MAX / 2),
                2 * MIB + rf_rng_below(&rng, 2 * MIB));
        for (struct rf_plan plan = ask(self, in); plan.n_inputs != 0; plan = ask(self, in)) {
            assert_true(++merges < 20000);
            carry_out(self, &plan, in);
        }
        assert_true(score(self) < 1000);
        for (uint32_t i = 0; i < self->n; i++) {
            for (uint32_t j = 0; j < i; j++) {
                const struct rf_run *a = &self->runs[i], *b = &self->runs[j];
                assert_true(a->level == 0 || a->level != b->level ||
                            a->last_token < b->first_token || b->last_token < a->first_token);
            }
        }
    }
    uint64_t bytes[8] = {0};
    for (uint32_t i = 0; i < self->n; i++) {
        assert_true(self->runs[i].level < 8 && self->runs[i].size_bytes <= 64 * MIB);
        bytes[self->runs[i].level] += self->runs[i].size_bytes;
    }
    assert_true(bytes[1] <= 17 * MIB && bytes[2] <= 170 * MIB && bytes[3] != 0);
}

/* Goal: the score grows with every flush that is not merged and passes 1000 (a slowdown) while level 0
 * is still far from the number of files that one merge can take. */
static void score_grows(void **state)
{
    struct leveled *self = *state;
    uint32_t        last = 0;
    assert_int_equal(0, score(self));
    for (unsigned i = 0; i < 30; i++) {
        add_run(self, 0, 0, UINT64_MAX, 4 * MIB);
        assert_true(score(self) > last);
        last = score(self);
    }
    assert_int_equal(1500, last);
}

/* Goal: options that do not fit together are refused. */
static void options_are_checked(void **state)
{
    struct leveled *self = *state;
    int64_t         wrong[5] = {2, 1 << 20, INT64_C(1) << 36, 4, 20};
    assert_int_equal(RF_PLUGIN_OK, self->ops->check(rf_registry_host(), self->options));
    assert_int_equal(RF_PLUGIN_BAD_OPTION, self->ops->check(rf_registry_host(), wrong));
    assert_int_equal(sizeof(wrong), self->ops->options_size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(level0_goes_down, load, unload),
        cmocka_unit_test_setup_teardown(cheapest_file_goes_down, load, unload),
        cmocka_unit_test_setup_teardown(useless_rows_are_purged, load, unload),
        cmocka_unit_test_setup_teardown(settles, load, unload),
        cmocka_unit_test_setup_teardown(score_grows, load, unload),
        cmocka_unit_test_setup_teardown(options_are_checked, load, unload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
