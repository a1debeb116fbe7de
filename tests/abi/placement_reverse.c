/* An out-of-tree plugin with options, built by the tests with one compiler line. It compiles as C++
 * as well. Takes the first n candidates, from the last to the first. */
#include <ringfort/plugin.h>

struct options {
    int64_t skip; /* not used for placing: shows that options arrive */
    int64_t strict;
};

static int32_t check(const struct rf_host *host, const void *raw)
{
    const struct options *options = (const struct options *)raw;
    if (options->strict != 0 && options->skip == 7) {
        host->error(host, "skip: 7 and strict: true exclude each other");
        return RF_PLUGIN_BAD_OPTION;
    }
    return RF_PLUGIN_OK;
}

static int32_t choose(const struct rf_host *host, const void *options,
                      const struct rf_candidate *candidates, uint32_t candidate_size,
                      uint32_t n_candidates, uint32_t n_total, uint32_t n, uint32_t *ret_chosen)
{
    (void)host;
    (void)options;
    (void)candidates;
    (void)candidate_size;
    uint32_t wanted = n < n_total ? n : n_total;
    if (n_candidates < wanted) {
        return RF_PLUGIN_NEED_MORE;
    }
    for (uint32_t i = 0; i < wanted; i++) {
        ret_chosen[i] = wanted - 1 - i;
    }
    return RF_PLUGIN_OK;
}

static const struct rf_placement_ops ops = {sizeof(ops), sizeof(struct options), 0, check, choose};

RF_PLUGIN(RF_KIND_PLACEMENT, "placement-reverse", "0.1.0", ops);
RF_PLUGIN_OPTIONS(2, {"skip", "an example of a number", "", 1, 0, 9, RF_OPTION_INT, 0, 1, 0},
                  {"strict", "an example of a switch", "", 0, 0, 1, RF_OPTION_BOOL, 8, 1, 0});
