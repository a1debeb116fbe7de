#include "storage/merge.h"

#include "base/assert.h"
#include "base/mem.h"

struct rf_result rf_merge_init(struct rf_merge *merge, uint32_t max_sources,
                               const struct rf_table_policy *policy)
{
    *merge =
        (struct rf_merge){.policy = policy, .cap = max_sources, .failed = max_sources, .end = true};
    merge->sources = RF_NEW_ARRAY(struct rf_merge_source, max_sources + 1);
    return rf_result(merge->sources == NULL ? RF_NO_MEMORY : RF_OK);
}

void rf_merge_fini(struct rf_merge *merge)
{
    for (uint32_t i = 0; i < merge->n; i++) {
        if (merge->sources[i].is_sst) {
            rf_sst_iter_fini(&merge->sources[i].sst);
        }
    }
    rf_mem_free(merge->sources);
    *merge = (struct rf_merge){.end = true};
}

bool rf_merge_failed(const struct rf_merge *merge, uint32_t *ret_source, uint64_t *ret_block)
{
    if (merge->failed >= merge->n) {
        return false;
    }
    *ret_source = merge->failed;
    *ret_block = merge->sources[merge->failed].sst.block.number;
    return true;
}

/* Takes the row under the source's iterator. */
static void load_row(struct rf_merge_source *source)
{
    if (source->is_sst) {
        source->end = source->sst.end;
        source->token = source->sst.token;
        source->row = source->sst.row;
        return;
    }
    source->end = !rf_memtable_iter_row(&source->memtable, &source->token, &source->row);
    source->seq = source->end ? 0 : rf_memtable_iter_seq(&source->memtable);
}

struct rf_result rf_merge_add_sst(struct rf_merge *merge, const struct rf_sst *sst, uint64_t token,
                                  struct rf_slice key, bool cached_only)
{
    rf_assert(merge->n < merge->cap);
    struct rf_merge_source *source = &merge->sources[merge->n++];
    *source = (struct rf_merge_source){.is_sst = true, .end = true};
    struct rf_result sought = rf_sst_seek(sst, token, key, cached_only, &source->sst);
    if (!rf_ok(sought)) {
        merge->failed = merge->n - 1;
        return sought;
    }
    load_row(source);
    return rf_result(RF_OK);
}

void rf_merge_add_memtable(struct rf_merge *merge, const struct rf_memtable *memtable,
                           uint64_t token, struct rf_slice key)
{
    rf_assert(merge->n < merge->cap);
    rf_assert(merge->end);
    struct rf_merge_source *source = &merge->sources[merge->n++];
    *source = (struct rf_merge_source){0};
    rf_memtable_seek(memtable, token, key, &source->memtable);
    load_row(source);
}

static int compare_places(const struct rf_merge_source *a, const struct rf_merge_source *b)
{
    if (a->token != b->token) {
        return a->token < b->token ? -1 : 1;
    }
    return rf_slice_cmp(a->row.key, b->row.key);
}

/* Finds the smallest key and the winner among its rows. */
static void choose(struct rf_merge *merge)
{
    struct rf_merge_source *best = NULL;
    for (uint32_t i = 0; i < merge->n; i++) {
        struct rf_merge_source *source = &merge->sources[i];
        int order = source->end ? 1 : best == NULL ? -1 : compare_places(source, best);
        source->current = order <= 0;
        if (order < 0) {
            for (uint32_t j = 0; j < i; j++) {
                merge->sources[j].current = false;
            }
            best = source;
        } else if (order == 0 && rf_table_resolve(merge->policy, &source->row, &best->row) > 0) {
            best = source;
        }
    }
    merge->end = best == NULL;
    rf_assert(best == NULL || !best->end);
    if (best != NULL) {
        merge->token = best->token;
        merge->row = best->row;
        merge->seq = best->seq;
    }
}

void rf_merge_start(struct rf_merge *merge)
{
    choose(merge);
}

struct rf_result rf_merge_next(struct rf_merge *merge)
{
    rf_assert(!merge->end);
    for (uint32_t i = 0; i < merge->n; i++) {
        struct rf_merge_source *source = &merge->sources[i];
        if (!source->current) {
            continue;
        }
        if (source->is_sst) {
            merge->failed = i;
            RF_TRY(rf_sst_next(&source->sst));
            merge->failed = merge->cap;
        } else {
            rf_memtable_iter_next(&source->memtable);
        }
        load_row(source);
        rf_slow_assert(source->end || source->token >= merge->token);
    }
    choose(merge);
    return rf_result(RF_OK);
}
