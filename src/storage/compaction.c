/* What to merge: the table's strategy decides, its plan is checked before anything acts on it. */
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/engine_private.h"
#include "storage/purge.h"

#define UNMERGED_MAX 256u /* files of a table without a strategy from which on writers slow down */
#define OWN_FILES_MAX 4u  /* the node's own tables: so many files are merged into one */

static bool may_merge(const struct rf_data_file *file)
{
    return !file->busy && !file->damaged;
}

/* Is there, in another file, a value older than the newest row of this one that never expires? It may be
 * what the file's rows shadow. */
static bool shadows_immortals(const struct rf_part *part, const struct rf_sst_info *info)
{
    for (uint32_t i = 0; i < part->n_files; i++) {
        const struct rf_sst_info *other = rf_sst_info(part->files[i]->sst);
        if (other != info && rf_purge_immortal_rows(other) != 0 && other->min_hlc < info->max_hlc &&
            other->first_token <= info->last_token && other->last_token >= info->first_token) {
            return true;
        }
    }
    return false;
}

/* Files that can go as they are (D2). */
static bool pick_dropped(const struct rf_store_table *table, const struct rf_part *part,
                         uint64_t wall_ms, struct rf_compaction *compaction)
{
    *compaction = (struct rf_compaction){.drop = true};
    for (uint32_t i = 0; i < part->n_files && compaction->n < RF_FILES_MAX; i++) {
        const struct rf_sst_info *info = rf_sst_info(part->files[i]->sst);
        if (may_merge(part->files[i]) && rf_purge_file(&table->policy, info, wall_ms) &&
            !shadows_immortals(part, info)) {
            compaction->inputs[compaction->n++] = i;
        }
    }
    return compaction->n != 0;
}

bool rf_compaction_ages(const struct rf_store_table *table, const struct rf_part *part)
{
    for (uint32_t i = 0; i < part->n_files; i++) {
        const struct rf_sst_info *info = rf_sst_info(part->files[i]->sst);
        if (info->expiring != 0 || (info->tombstones != 0 && table->policy.max_ttl_ms != 0)) {
            return true;
        }
    }
    return false;
}

/* All files of the part that can be merged. */
static bool pick_all(const struct rf_part *part, struct rf_compaction *compaction)
{
    *compaction = (struct rf_compaction){0};
    for (uint32_t i = 0; i < part->n_files && i < RF_FILES_MAX; i++) {
        if (may_merge(part->files[i])) {
            compaction->inputs[compaction->n++] = i;
            if (part->files[i]->level > compaction->output_level) {
                compaction->output_level = part->files[i]->level;
            }
        }
    }
    const struct rf_sst_info *first =
        compaction->n == 0 ? NULL : rf_sst_info(part->files[compaction->inputs[0]]->sst);
    return compaction->n >= 2 || (first != NULL && first->expiring + first->tombstones != 0);
}

static struct rf_run run_of(const struct rf_store_table *table, const struct rf_part *part,
                            const struct rf_data_file *file, uint64_t wall_ms)
{
    const struct rf_sst_info *info = rf_sst_info(file->sst);
    return (struct rf_run){
        .id = file->number,
        .size_bytes = info->file_size,
        .rows = info->rows,
        .tombstones = info->tombstones,
        .first_token = info->first_token,
        .last_token = info->last_token,
        .min_hlc = info->min_hlc,
        .max_hlc = info->max_hlc,
        .max_expiry_ms = rf_purge_immortal_rows(info) != 0 ? UINT64_MAX : info->max_expiry_ms,
        .level = file->level,
        .busy = may_merge(file) ? 0 : 1,
        .expired_rows = rf_purge_expired_rows(info, wall_ms),
        .purgeable_rows = shadows_immortals(part, info)
                              ? 0
                              : rf_purge_purgeable_rows(&table->policy, info, wall_ms),
    };
}

/* Does the plan name runs that the plugin was shown (the first n_shown files), each once, and free? */
static bool plan_is_valid(const struct rf_part *part, const struct rf_compaction *compaction,
                          uint32_t n_shown)
{
    bool taken[RF_FILES_MAX] = {false};
    rf_assert(n_shown <= RF_FILES_MAX && n_shown <= part->n_files);
    if (compaction->n > n_shown) {
        return false;
    }
    for (uint32_t i = 0; i < compaction->n; i++) {
        uint32_t index = compaction->inputs[i];
        if (index >= n_shown || taken[index] || !may_merge(part->files[index])) {
            return false;
        }
        taken[index] = true;
    }
    return true;
}

/* What the strategy is shown: the newest files of the part. NULL without memory. */
static struct rf_run *make_view(const struct rf_store_table *table, const struct rf_part *part,
                                uint64_t wall_ms, uint32_t *ret_n)
{
    uint32_t       n = part->n_files < RF_FILES_MAX ? part->n_files : RF_FILES_MAX;
    struct rf_run *runs = RF_NEW_ARRAY(struct rf_run, n);
    for (uint32_t i = 0; runs != NULL && i < n; i++) {
        runs[i] = run_of(table, part, part->files[i], wall_ms);
    }
    *ret_n = n;
    return runs;
}

uint32_t rf_compaction_score(struct rf_store_table *table, const struct rf_part *part,
                             uint64_t wall_ms)
{
    const struct rf_table_policy *policy = &table->policy;
    uint32_t                      n = 0;
    uint32_t                      score = 0;
    if (policy->compaction == NULL || table->strategy_failed) {
        return part->n_files * 1000 / UNMERGED_MAX;
    }
    if (policy->compaction->score == NULL || part->n_files == 0) {
        return 0;
    }
    struct rf_run *runs = make_view(table, part, wall_ms, &n);
    int32_t        rc = runs == NULL ? RF_PLUGIN_ERROR
                                     : policy->compaction->score(policy->host, policy->compaction_options,
                                                                 runs, sizeof(*runs), n, &score);
    rf_mem_free(runs);
    return rc == RF_PLUGIN_OK ? score : 0;
}

static bool ask_strategy(struct rf_store_table *table, const struct rf_part *part, uint64_t wall_ms,
                         struct rf_compaction *compaction)
{
    const struct rf_table_policy *policy = &table->policy;
    uint32_t                      n = 0;
    struct rf_run                *runs = make_view(table, part, wall_ms, &n);
    struct rf_plan                plan = {.size = sizeof(plan)};
    if (runs == NULL) {
        return false;
    }
    *compaction = (struct rf_compaction){0};
    int32_t rc = policy->compaction->pick(policy->host, policy->compaction_options, runs,
                                          sizeof(*runs), n, compaction->inputs, &plan);
    rf_mem_free(runs);
    compaction->n = plan.n_inputs;
    compaction->output_level = plan.output_level;
    compaction->output_max_bytes = plan.output_max_bytes;
    if (rc != RF_PLUGIN_OK || !plan_is_valid(part, compaction, n)) {
        rf_log(RF_LOG_ERROR, "strategy_failed",
               "table=%016llx text=\"the compaction plugin gave a plan that cannot be carried out; "
               "the table is not compacted until the next start\"",
               (unsigned long long)table->id);
        table->strategy_failed = true;
        return false;
    }
    return compaction->n != 0;
}

bool rf_compaction_pick(struct rf_store_table *table, const struct rf_part *part, uint64_t wall_ms,
                        struct rf_compaction *ret_compaction)
{
    if (pick_dropped(table, part, wall_ms, ret_compaction)) {
        return true;
    }
    if (part->want_major) {
        return pick_all(part, ret_compaction);
    }
    if (table->id < RF_TABLE_FIRST_USER) {
        return part->n_files >= OWN_FILES_MAX && pick_all(part, ret_compaction);
    }
    if (table->policy.compaction == NULL || table->strategy_failed || part->n_files == 0) {
        return false;
    }
    return ask_strategy(table, part, wall_ms, ret_compaction);
}
