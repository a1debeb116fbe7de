/* conflict-lww: last write wins. The newest version survives; at an equal clock value a tombstone
 * beats a value, then the higher writer wins, then the larger bytes, so that every replica picks
 * the same winner whatever the order in which it sees them. */
#include <ringfort/plugin.h>

#include <string.h>

static int compare_values(const struct rf_item *a, const struct rf_item *b)
{
    if (((a->flags | b->flags) & RF_ITEM_MARKER) != 0) {
        return 0;
    }
    uint32_t n = a->value_size < b->value_size ? a->value_size : b->value_size;
    int      c = n == 0 ? 0 : memcmp(a->value, b->value, n);
    return c != 0 ? c : (a->value_size > b->value_size) - (a->value_size < b->value_size);
}

static int compare_items(const struct rf_item *a, const struct rf_item *b)
{
    if (a->hlc != b->hlc) {
        return a->hlc < b->hlc ? -1 : 1;
    }
    int dead_a = (a->flags & RF_ITEM_TOMBSTONE) != 0;
    int dead_b = (b->flags & RF_ITEM_TOMBSTONE) != 0;
    if (dead_a != dead_b) {
        return dead_a - dead_b;
    }
    if (a->writer != b->writer) {
        return a->writer < b->writer ? -1 : 1;
    }
    return compare_values(a, b);
}

static int32_t merge(const struct rf_host *host, const void *options, const struct rf_item *items,
                     uint32_t item_size, uint32_t n, uint32_t *ret_survivors, uint32_t *ret_n)
{
    (void)host;
    (void)options;
    const uint8_t *base = (const uint8_t *)items;
    uint32_t       best = 0;
    for (uint32_t i = 1; i < n; i++) {
        const void *candidate = base + (size_t)i * item_size;
        const void *winner = base + (size_t)best * item_size;
        if (compare_items(candidate, winner) > 0) {
            best = i;
        }
    }
    ret_survivors[0] = best;
    *ret_n = 1;
    return RF_PLUGIN_OK;
}

static const struct rf_conflict_ops ops = {
    .size = sizeof(ops),
    .capabilities = RF_NEWEST_WINS,
    .merge = merge,
};

RF_PLUGIN(RF_KIND_CONFLICT, "conflict-lww", "1.0.0", ops);
