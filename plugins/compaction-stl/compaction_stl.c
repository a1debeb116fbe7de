/* compaction-stl: size-tiered. SSTables of about the same size form a tier; a tier of min_merge or
 * more files is merged into one, which then belongs to the next tier. Each row is rewritten about
 * log(data / memtable) / log(min_merge) times; a key may be in one file per tier and min_merge - 1
 * more. Good for writing much and reading what is young (Cassandra's size-tiered strategy). What is
 * overwritten does not pile up: see pick_all. */
#include <ringfort/plugin.h>

struct options {
    int64_t min_merge;
    int64_t max_merge;
    int64_t ratio; /* percent */
    int64_t purge_percent;
    int64_t space_percent;
};

#define SMALL_BYTES (1024u * 1024) /* files below this are one tier, whatever their sizes */

static const struct rf_run *run_at(const struct rf_run *runs, uint32_t run_size, uint32_t index)
{
    return (const struct rf_run *)(const void *)((const char *)runs + (size_t)index * run_size);
}

static int is_peer(const struct options *options, const struct rf_run *smallest,
                   const struct rf_run *run)
{
    if (run->busy != 0 || run->size_bytes < smallest->size_bytes) {
        return 0;
    }
    /* No product that could overflow: sizes are far below 2^56. */
    return run->size_bytes <= SMALL_BYTES ||
           run->size_bytes / 128 <= smallest->size_bytes / 128 * (uint64_t)options->ratio / 100 + 1;
}

static uint32_t count_tier(const struct options *options, const struct rf_run *runs,
                           uint32_t run_size, uint32_t n_runs, uint32_t smallest)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_runs; i++) {
        n += is_peer(options, run_at(runs, run_size, smallest), run_at(runs, run_size, i)) != 0;
    }
    return n;
}

/* The fullest tier, of the smallest files among equals; returns its size and its smallest file. */
static uint32_t find_tier(const struct options *options, const struct rf_run *runs,
                          uint32_t run_size, uint32_t n_runs, uint32_t *ret_smallest)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < n_runs; i++) {
        const struct rf_run *run = run_at(runs, run_size, i);
        uint32_t n = run->busy != 0 ? 0 : count_tier(options, runs, run_size, n_runs, i);
        if (n > best || (n == best && n != 0 &&
                         run->size_bytes < run_at(runs, run_size, *ret_smallest)->size_bytes)) {
            best = n;
            *ret_smallest = i;
        }
    }
    return best;
}

/* A file with much that has expired or may be purged is rewritten alone. */
static void pick_purge(const struct options *options, const struct rf_run *runs, uint32_t run_size,
                       uint32_t n_runs, uint32_t *inputs, struct rf_plan *plan)
{
    if (run_size < offsetof(struct rf_run, purgeable_rows) + sizeof(uint64_t)) {
        return; /* the host is older */
    }
    for (uint32_t i = 0; i < n_runs; i++) {
        const struct rf_run *run = run_at(runs, run_size, i);
        uint64_t             useless = run->expired_rows + run->purgeable_rows;
        if (run->busy == 0 && useless != 0 &&
            useless >= run->rows / 100 * (uint64_t)options->purge_percent +
                           run->rows % 100 * (uint64_t)options->purge_percent / 100) {
            inputs[0] = i;
            plan->n_inputs = 1;
            return;
        }
    }
}

/* When all files beside the largest have together reached space_percent of its size, all become one:
 * if they hold newer versions of the same rows, so much of the disk is wasted; if they hold other rows,
 * the table has grown by as much, so that each row takes part in few such merges (RocksDB's universal
 * style, max_size_amplification_percent). Fewer than min_merge files are left alone. */
static int pick_all(const struct options *options, const struct rf_run *runs, uint32_t run_size,
                    uint32_t n_runs, uint32_t *inputs, struct rf_plan *plan)
{
    uint64_t largest = 0, all = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_runs; i++) {
        const struct rf_run *run = run_at(runs, run_size, i);
        if (run->busy == 0) {
            largest = run->size_bytes > largest ? run->size_bytes : largest;
            all += run->size_bytes;
            inputs[n++] = i;
        }
    }
    if (n < options->min_merge ||
        all - largest < largest / 100 * (uint64_t)options->space_percent) {
        return 0;
    }
    plan->n_inputs = n;
    return 1;
}

static int32_t pick(const struct rf_host *host, const void *options_, const struct rf_run *runs,
                    uint32_t run_size, uint32_t n_runs, uint32_t *ret_inputs,
                    struct rf_plan *ret_plan)
{
    const struct options *options = options_;
    uint32_t              smallest = 0;
    (void)host;
    ret_plan->n_inputs = 0;
    ret_plan->output_level = 0;
    ret_plan->output_max_bytes = 0;
    if (pick_all(options, runs, run_size, n_runs, ret_inputs, ret_plan)) {
        return RF_PLUGIN_OK;
    }
    uint32_t n = find_tier(options, runs, run_size, n_runs, &smallest);
    if (n < options->min_merge) {
        pick_purge(options, runs, run_size, n_runs, ret_inputs, ret_plan);
        return RF_PLUGIN_OK;
    }
    /* Oldest first, so that what is left over of a large tier is young. */
    for (uint32_t i = n_runs; i-- > 0 && ret_plan->n_inputs < options->max_merge;) {
        if (is_peer(options, run_at(runs, run_size, smallest), run_at(runs, run_size, i))) {
            ret_inputs[ret_plan->n_inputs++] = i;
        }
    }
    return RF_PLUGIN_OK;
}

/* Behind when a tier holds more than one merge can take. */
static int32_t score(const struct rf_host *host, const void *options_, const struct rf_run *runs,
                     uint32_t run_size, uint32_t n_runs, uint32_t *ret_score)
{
    const struct options *options = options_;
    uint32_t              smallest = 0;
    (void)host;
    uint32_t n = find_tier(options, runs, run_size, n_runs, &smallest);
    *ret_score = (uint32_t)((uint64_t)n * 1000 / (uint64_t)options->max_merge);
    return RF_PLUGIN_OK;
}

static int32_t check(const struct rf_host *host, const void *options_)
{
    const struct options *options = options_;
    if (options->max_merge < options->min_merge) {
        host->error(host, "max_merge must not be below min_merge");
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

RF_PLUGIN(RF_KIND_COMPACTION, "compaction-stl", "1.0.0", ops);

RF_PLUGIN_OPTIONS(
    5,
    {.name = "min_merge",
     .doc = "files of about the same size that are merged into one",
     .def = 8,
     .min = 2,
     .max = 64,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, min_merge),
     .reloadable = 1},
    {.name = "max_merge",
     .doc = "files that one merge takes at most",
     .def = 32,
     .min = 2,
     .max = 256,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, max_merge),
     .reloadable = 1},
    {.name = "ratio",
     .doc = "percent: files up to this much larger than the smallest are of one size",
     .def = 200,
     .min = 110,
     .max = 1000,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, ratio),
     .reloadable = 1},
    {.name = "purge_percent",
     .doc = "a file is rewritten alone when so much of it has expired or may be purged",
     .def = 20,
     .min = 1,
     .max = 100,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, purge_percent),
     .reloadable = 1},
    {.name = "space_percent",
     .doc = "all files are merged when those beside the largest reach so much of its size",
     .def = 100,
     .min = 10,
     .max = 10000,
     .type = RF_OPTION_INT,
     .offset = offsetof(struct options, space_percent),
     .reloadable = 1});
