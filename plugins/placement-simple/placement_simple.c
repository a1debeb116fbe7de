/* placement-simple: the first n distinct nodes met on the ring (DeCandia et al., Dynamo, 2007, 4.3). */
#include <ringfort/plugin.h>

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
        ret_chosen[i] = i;
    }
    return RF_PLUGIN_OK;
}

static const struct rf_placement_ops ops = {
    .size = sizeof(ops),
    .choose = choose,
};

RF_PLUGIN(RF_KIND_PLACEMENT, "placement-simple", "1.0.0", ops);
