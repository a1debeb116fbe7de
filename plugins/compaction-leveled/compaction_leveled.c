/* compaction-leveled: for tables that are read much. Flushes gather in level 0; the levels below are
 * sorted runs of files that do not overlap, each `fanout` times larger than the one above, so that a
 * key is in at most one file per level. Each row is rewritten about fanout / 2 times per level
 * (O'Neil's LSM tree as LevelDB carries it out, https://github.com/google/leveldb/blob/main/doc/impl.md;
 * the file with the least overlap below goes first, as in RocksDB's kMinOverlappingRatio).
 *
 * What a merge takes is only a matter of cost: the core compares versions, whatever the level. */
#include <ringfort/plugin.h>

struct options {
    int64_t fanout;
    int64_t table_size; /* bytes */
    int64_t level1_size;
    int64_t level0_files;
    int64_t purge_percent;
};

#define LEVELS 16u
#define FILES_PER_LEVEL 8u  /* at least, as far as the smallest size allows it */
#define TABLE_MIN_SHARE 16u /* the smallest file: level 1 / 16 */
#define SLOW_LEVEL0 5u      /* times level0_files: writers are slowed down from there on */
#define SLOW_LEVEL 3u       /* times the size of a level: likewise */
#define SIZE_MAX_BYTES (UINT64_C(1) << 56)

struct view {
    const struct options *options;
    const struct rf_run  *runs;
    uint32_t              run_size;
    uint32_t              n_runs;
};

static const struct rf_run *run_at(const struct view *view, uint32_t index)
{
    return (const struct rf_run *)(const void *)((const char *)view->runs +
                                                 (size_t)index * view->run_size);
}

static uint32_t level_of(const struct rf_run *run)
{
    return run->level < LEVELS ? run->level : LEVELS - 1;
}

/* Bytes that a level may hold before it hands files down. */
static uint64_t target_of(const struct options *options, uint32_t level)
{
    uint64_t target = (uint64_t)options->level1_size;
    for (uint32_t i = 1; i < level && target < SIZE_MAX_BYTES / (uint64_t)options->fanout; i++) {
        target *= (uint64_t)options->fanout;
    }
    return target;
}

/* Size of the files of a level: small ones where the level is small, so that a step stays small. */
static uint64_t table_size_of(const struct options *options, uint32_t level)
{
    uint64_t size = target_of(options, level) / FILES_PER_LEVEL;
    uint64_t least = (uint64_t)options->level1_size / TABLE_MIN_SHARE;
    size = size < least ? least : size;
    return size < (uint64_t)options->table_size ? size : (uint64_t)options->table_size;
}

static int overlaps(const struct rf_run *run, uint64_t first, uint64_t last)
{
    return run->first_token <= last && run->last_token >= first;
}

/* How much is in each level that can be merged: files for level 0, bytes for the others. */
static void measure(const struct view *view, uint64_t ret_amounts[LEVELS])
{
    for (uint32_t level = 0; level < LEVELS; level++) {
        ret_amounts[level] = 0;
    }
    for (uint32_t i = 0; i < view->n_runs; i++) {
        const struct rf_run *run = run_at(view, i);
        if (run->busy == 0) {
            ret_amounts[level_of(run)] += level_of(run) == 0 ? 1 : run->size_bytes;
        }
    }
}

/* In thousandths of what the level may hold. */
static uint64_t fullness(const struct options *options, uint32_t level, uint64_t amount)
{
    if (level == 0) {
        return amount * 1000 / (uint64_t)options->level0_files;
    }
    uint64_t per_mille = target_of(options, level) / 1000 + 1;
    return amount / per_mille;
}

/* Adds the files of a level that overlap the tokens; returns their bytes. Inputs NULL: only counts. */
static uint64_t add_overlapping(const struct view *view, uint32_t level, uint64_t first,
                                uint64_t last, uint32_t *inputs, struct rf_plan *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < view->n_runs; i++) {
        const struct rf_run *run = run_at(view, i);
        if (run->busy != 0 || level_of(run) != level || !overlaps(run, first, last)) {
            continue;
        }
        bytes += run->size_bytes;
        if (inputs != NULL) {
            inputs[plan->n_inputs++] = i;
        }
    }
    return bytes;
}

/* All of level 0 with what it overlaps in level 1. */
static void merge_level0(const struct view *view, uint32_t *inputs, struct rf_plan *plan)
{
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;
    for (uint32_t i = 0; i < view->n_runs; i++) {
        const struct rf_run *run = run_at(view, i);
        if (run->busy == 0 && level_of(run) == 0) {
            first = run->first_token < first ? run->first_token : first;
            last = run->last_token > last ? run->last_token : last;
        }
    }
    (void)add_overlapping(view, 0, 0, UINT64_MAX, inputs, plan);
    (void)add_overlapping(view, 1, first, last, inputs, plan);
}

/* The file of the level that is cheapest to hand down: least to rewrite below per byte of its own. */
static uint32_t find_cheapest(const struct view *view, uint32_t level)
{
    uint32_t best = view->n_runs;
    uint64_t best_cost = UINT64_MAX;
    for (uint32_t i = 0; i < view->n_runs; i++) {
        const struct rf_run *run = run_at(view, i);
        if (run->busy != 0 || level_of(run) != level) {
            continue;
        }
        uint64_t below =
            add_overlapping(view, level + 1, run->first_token, run->last_token, NULL, NULL);
        uint64_t cost = below / (run->size_bytes / 1024 + 1);
        if (cost < best_cost) {
            best_cost = cost;
            best = i;
        }
    }
    return best;
}

static void hand_down(const struct view *view, uint32_t level, uint32_t *inputs,
                      struct rf_plan *plan)
{
    uint32_t chosen = find_cheapest(view, level);
    if (chosen == view->n_runs) {
        return;
    }
    const struct rf_run *run = run_at(view, chosen);
    inputs[plan->n_inputs++] = chosen;
    (void)add_overlapping(view, level + 1, run->first_token, run->last_token, inputs, plan);
}

/* A file with much that has expired or may be purged is rewritten alone. */
static void pick_purge(const struct view *view, uint32_t *inputs, struct rf_plan *plan)
{
    if (view->run_size < offsetof(struct rf_run, purgeable_rows) + sizeof(uint64_t)) {
        return; /* the host is older */
    }
    for (uint32_t i = 0; i < view->n_runs; i++) {
        const struct rf_run *run = run_at(view, i);
        uint64_t             useless = run->expired_rows + run->purgeable_rows;
        if (run->busy == 0 && useless != 0 &&
            useless >= run->rows / 100 * (uint64_t)view->options->purge_percent +
                           run->rows % 100 * (uint64_t)view->options->purge_percent / 100) {
            inputs[0] = i;
            plan->n_inputs = 1;
            plan->output_level = run->level;
            return;
        }
    }
}

static int32_t pick(const struct rf_host *host, const void *options, const struct rf_run *runs,
                    uint32_t run_size, uint32_t n_runs, uint32_t *ret_inputs,
                    struct rf_plan *ret_plan)
{
    struct view view = {options, runs, run_size, n_runs};
    uint64_t    amounts[LEVELS];
    uint32_t    fullest = 0;
    (void)host;
    ret_plan->n_inputs = 0;
    ret_plan->output_level = 0;
    ret_plan->output_max_bytes = 0;
    measure(&view, amounts);
    for (uint32_t level = 1; level < LEVELS - 1; level++) {
        if (fullness(options, level, amounts[level]) >
            fullness(options, fullest, amounts[fullest])) {
            fullest = level;
        }
    }
    if (fullness(options, fullest, amounts[fullest]) < 1000) {
        pick_purge(&view, ret_inputs, ret_plan);
        return RF_PLUGIN_OK;
    }
    ret_plan->output_level = fullest + 1;
    ret_plan->output_max_bytes = table_size_of(options, fullest + 1);
    if (fullest == 0) {
        merge_level0(&view, ret_inputs, ret_plan);
    } else {
        hand_down(&view, fullest, ret_inputs, ret_plan);
    }
    return RF_PLUGIN_OK;
}

/* Behind when reads must look into many files of level 0, or a level has outgrown its size. */
static int32_t score(const struct rf_host *host, const void *options, const struct rf_run *runs,
                     uint32_t run_size, uint32_t n_runs, uint32_t *ret_score)
{
    struct view view = {options, runs, run_size, n_runs};
    uint64_t    amounts[LEVELS];
    uint64_t    highest = 0;
    (void)host;
    measure(&view, amounts);
    for (uint32_t level = 0; level < LEVELS - 1; level++) {
        uint64_t full = fullness(options, level, amounts[level]);
        full /= level == 0 ? SLOW_LEVEL0 : SLOW_LEVEL;
        highest = full > highest ? full : highest;
    }
    *ret_score = highest > 100000 ? 100000 : (uint32_t)highest;
    return RF_PLUGIN_OK;
}

static int32_t check(const struct rf_host *host, const void *options_)
{
    const struct options *options = options_;
    if (options->level1_size / options->fanout > options->table_size * 1024) {
        host->error(host, "table_size is too small for level1_size: a level would have more than "
                          "ten thousand files");
        return RF_PLUGIN_BAD_OPTION;
    }
    return RF_PLUGIN_OK;
}

static const struct rf_compaction_ops ops = {
    .size = sizeof(ops),
    .options_size = sizeof(struct options),
    .check = check,
    .pick = pick,
    .score = score,
};

RF_PLUGIN(RF_KIND_COMPACTION, "compaction-leveled", "1.0.0", ops);

#define MIB (INT64_C(1) << 20)

RF_PLUGIN_OPTIONS(
    5,
    {.name = "fanout",
     .doc = "a level is this many times larger than the one above it",
     .def = 10,
     .min = 2,
     .max = 100,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, fanout),
     .reloadable = 1},
    {.name = "table_size",
     .doc = "largest file; small levels have smaller ones",
     .def = 64 * MIB,
     .min = MIB,
     .max = 4096 * MIB,
     .type = RF_OPTION_SIZE,
     .offset = offsetof(struct options, table_size),
     .reloadable = 1},
    {.name = "level1_size",
     .doc = "size of level 1 in one partition; about what level0_files flushes make",
     .def = 16 * MIB,
     .min = MIB,
     .max = 65536 * MIB,
     .type = RF_OPTION_SIZE,
     .offset = offsetof(struct options, level1_size),
     .reloadable = 1},
    {.name = "level0_files",
     .doc = "flushed files that are merged into level 1",
     .def = 4,
     .min = 2,
     .max = 64,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, level0_files),
     .reloadable = 1},
    {.name = "purge_percent",
     .doc = "a file is rewritten alone when so much of it has expired or may be purged",
     .def = 20,
     .min = 1,
     .max = 100,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, purge_percent),
     .reloadable = 1});
