#include "plugins/check.h"

#include "base/mem.h"
#include "plugins/loader.h"

static void check_policy(const char *dir, enum rf_kind kind, const char *section,
                         const struct rf_policy_config *policy, const struct rf_document *document,
                         struct rf_problems *problems)
{
    char                    why[512];
    const struct rf_tree   *place = rf_tree_get(&document->root, section);
    struct rf_plugin_notes *notes = RF_NEW(struct rf_plugin_notes);
    if (notes == NULL) {
        rf_problem(problems, "out of memory");
    } else if (rf_ok(rf_plugin_inspect(dir, kind, policy->plugin, notes, why))) {
        rf_plugin_options_check(notes, policy->options, document, problems);
    } else {
        rf_problem_at(problems, document, place == NULL ? 1 : place->line,
                      place == NULL ? 1 : place->column, "%s.plugin: %s", section, why);
    }
    rf_mem_free(notes);
}

void rf_plugins_check(const char *dir, const struct rf_table_file *file,
                      struct rf_problems *problems)
{
    const struct rf_table_config *table = file->config;
    check_policy(dir, RF_KIND_PLACEMENT, "placement", &table->placement, file->document, problems);
    check_policy(dir, RF_KIND_CONFLICT, "conflict", &table->conflict, file->document, problems);
    check_policy(dir, RF_KIND_COMPACTION, "compaction", &table->compaction, file->document,
                 problems);
}
