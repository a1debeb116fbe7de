/* Finds, checks and loads plugins, and keeps those that are loaded (the registry). A plugin stays
 * loaded for the life of the process. Thread: one at a time. Blocks: yes (reads files). */
#ifndef RF_PLUGINS_LOADER_H
#define RF_PLUGINS_LOADER_H

#include "config/table_config.h"
#include "plugins/elf_note.h"

/* One loaded plugin. */
struct rf_plugin {
    struct rf_plugin_notes notes;
    char                   path[RF_PATH_MAX + 1];
    uint64_t               content_hash;
    union {
        struct rf_compaction_ops compaction;
        struct rf_conflict_ops   conflict;
        struct rf_placement_ops  placement;
    } ops; /* min(size) bytes of the plugin's table; what it does not know is zero */
    uint32_t options_size;
};

struct rf_registry;

/* @param dir where NAME.so files are; borrowed. NULL without memory. */
struct rf_registry *rf_registry_new(const char *dir);
void                rf_registry_free(struct rf_registry *registry);

/* What plugins get from the host. */
const struct rf_host *rf_registry_host(void);

/* The plugin of that name, loaded now if it was not. On failure a sentence for the operator.
 * Returns RF_OK or RF_PLUGIN_REFUSED. The plugin lives as long as the registry. */
RF_CHECKED struct rf_result rf_registry_get(struct rf_registry *registry, enum rf_kind kind,
                                            const char *name, const struct rf_plugin **ret_plugin,
                                            char ret_why[512]);

/* Everything of rf_registry_get that needs no code of the plugin: owner, mode, note, imports.
 * Returns RF_OK or RF_PLUGIN_REFUSED with a sentence. */
RF_CHECKED struct rf_result rf_plugin_inspect(const char *dir, enum rf_kind kind, const char *name,
                                              struct rf_plugin_notes *ret_notes, char ret_why[512]);
/* Checks the options of a table file by the plugin's notes alone; problems into the list. */
void rf_plugin_options_check(const struct rf_plugin_notes *notes, const struct rf_tree *tree,
                             const struct rf_document *document, struct rf_problems *problems);

uint32_t                rf_registry_count(const struct rf_registry *registry);
const struct rf_plugin *rf_registry_at(const struct rf_registry *registry, uint32_t index);

/* Fills a new options struct of the plugin from the table file's tree (NULL: all defaults), checked
 * by the plugin's own table of options, problems into the list; then by its `check`.
 * ret_options: owned by the caller (rf_mem_free), NULL when the plugin has none.
 * Returns RF_OK, RF_CONFIG_INVALID or RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_plugin_options(const struct rf_plugin   *plugin,
                                              const struct rf_tree     *tree,
                                              const struct rf_document *document,
                                              void **ret_options, struct rf_problems *problems);

#endif
