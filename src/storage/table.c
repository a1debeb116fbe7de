#include "storage/table.h"

#include "base/assert.h"

#ifdef RF_SLOW_ASSERTS
static struct rf_item item_of(const struct rf_row *row)
{
    return (struct rf_item){
        .hlc = row->version.hlc,
        .writer = row->version.writer,
        .expiry_ms = row->expiry_ms,
        .value = row->value.data,
        .value_size = (uint32_t)row->value.size,
        .flags = row->flags,
    };
}

static void check_plugin_agrees(const struct rf_table_policy *policy, const struct rf_row *a,
                                const struct rf_row *b, int order)
{
    struct rf_item items[2] = {item_of(a), item_of(b)};
    uint32_t       survivors[2] = {0, 0};
    uint32_t       n = 0;
    int32_t        rc = policy->conflict->merge(policy->host, policy->conflict_options, items,
                                                sizeof(items[0]), 2, survivors, &n);
    rf_assert(rc == RF_PLUGIN_OK);
    rf_assert(n == 1);
    rf_assert(order == 0 || survivors[0] == (order > 0 ? 0u : 1u));
}
#endif

int rf_table_resolve(const struct rf_table_policy *policy, const struct rf_row *a,
                     const struct rf_row *b)
{
    int order = rf_row_compare(a, b);
#ifdef RF_SLOW_ASSERTS
    if (policy != NULL && policy->conflict != NULL) {
        check_plugin_agrees(policy, a, b, order);
    }
#else
    (void)policy;
#endif
    return order;
}
