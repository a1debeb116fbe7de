#include "ring/view.h"

#include "base/assert.h"
#include "base/mem.h"

#define VIEW_MAGIC 0x56494557u

struct rf_view *rf_view_take(struct rf_view *view)
{
    rf_assert(view->magic == VIEW_MAGIC);
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    return view;
}

void rf_view_drop(struct rf_view *view)
{
    if (view == NULL) {
        return;
    }
    rf_assert(view->magic == VIEW_MAGIC);
    if (atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    view->magic = 0;
    for (uint32_t t = 0; view->tables != NULL && t < view->n_tables; t++) {
        rf_mem_free(view->tables[t].replicas);
    }
    rf_mem_free(view->tables);
    rf_ring_drop(view->ring);
    rf_mem_free(view);
}

/* The replicas that were agreed on last, where every range is as it was. Members do not vanish, but their
 * places among the names move. */
static void keep_replicas(struct rf_view *view, struct rf_table *table,
                          const struct rf_view *before)
{
    const struct rf_ring  *ring = view->ring;
    const struct rf_table *last = before == NULL ? NULL : rf_view_table_by_id(before, table->id);
    if (last == NULL || last->replicas == NULL || last->n_placed != table->n_placed ||
        before->ring->n_tokens != ring->n_tokens ||
        memcmp(before->ring->tokens, ring->tokens, sizeof(uint64_t) * ring->n_tokens) != 0) {
        return;
    }
    size_t    n = (size_t)ring->n_tokens * table->n_placed;
    uint16_t *replicas = RF_NEW_ARRAY(uint16_t, n);
    for (size_t i = 0; replicas != NULL && i < n; i++) {
        replicas[i] = rf_ring_by_node(ring, before->ring->members[last->replicas[i]].node);
        if (replicas[i] == RF_NO_MEMBER) {
            rf_mem_free(replicas);
            return;
        }
    }
    table->replicas = replicas;
}

static struct rf_result place_table(struct rf_view *view, struct rf_table *table,
                                    const struct rf_host *host, const struct rf_view *before)
{
    struct rf_ring *ring = view->ring;
    table->replicas = NULL;
    table->n_placed = (uint8_t)(table->n < ring->n_owners ? table->n : ring->n_owners);
    if (ring->n_tokens == 0 || table->placement == NULL) {
        return rf_result(RF_OK);
    }
    if (table->misplaced) {
        keep_replicas(view, table, before);
        return rf_result(RF_OK);
    }
    uint16_t *replicas = RF_NEW_ARRAY(uint16_t, (size_t)ring->n_tokens * table->n_placed);
    if (replicas == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    struct rf_result placed =
        rf_ring_place(ring, host, table->placement, table->placement_options, table->n, replicas);
    if (!rf_ok(placed)) {
        rf_mem_free(replicas);
        if (placed.rc == RF_NO_MEMORY) {
            return placed;
        }
        table->misplaced = true;
        keep_replicas(view, table, before);
        return rf_result(RF_OK);
    }
    table->replicas = replicas;
    return rf_result(RF_OK);
}

struct rf_result rf_view_build(struct rf_ring *ring, const struct rf_table *tables,
                               uint32_t n_tables, const struct rf_host *host,
                               const struct rf_view *before, struct rf_view **ret_view)
{
    struct rf_view *view = RF_NEW(struct rf_view);
    if (view == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    view->magic = VIEW_MAGIC;
    atomic_init(&view->refs, 1);
    view->ring = rf_ring_take(ring);
    view->tables = RF_NEW_ARRAY(struct rf_table, n_tables + 1);
    if (view->tables == NULL) {
        rf_view_drop(view);
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t t = 0; t < n_tables; t++) {
        rf_assert(t == 0 || strcmp(tables[t - 1].name, tables[t].name) < 0);
        view->tables[t] = tables[t];
        view->n_tables = t + 1;
        struct rf_result placed = place_table(view, &view->tables[t], host, before);
        if (!rf_ok(placed)) {
            rf_view_drop(view);
            return placed;
        }
    }
    *ret_view = view;
    return rf_result(RF_OK);
}

const struct rf_table *rf_view_table(const struct rf_view *view, struct rf_slice name)
{
    uint32_t low = 0;
    uint32_t high = view->n_tables;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int      c = rf_slice_cmp(rf_slice_str(view->tables[middle].name), name);
        if (c == 0) {
            return &view->tables[middle];
        }
        if (c < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct rf_table *rf_view_table_by_id(const struct rf_view *view, uint64_t id)
{
    for (uint32_t t = 0; t < view->n_tables; t++) {
        if (view->tables[t].id == id) {
            return &view->tables[t];
        }
    }
    return NULL;
}
