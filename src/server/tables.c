#include "server/tables.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"

#define TABLES_MAX 1024u

/* Table id: hash of name and incarnation (dropped and made again: a higher incarnation). */
static uint64_t table_id(const char *name, uint64_t incarnation)
{
    uint64_t id = rf_hash64(rf_slice_str(name), incarnation);
    return id < RF_TABLE_FIRST_USER ? id + RF_TABLE_FIRST_USER : id;
}

/* Loads one plugin with the table's options. A refused plugin is the table's problem, wrong options
 * are a problem of the configuration. */
static const struct rf_plugin *take_plugin(struct rf_server *server, struct rf_server_table *table,
                                           enum rf_kind kind, const struct rf_policy_config *policy,
                                           const struct rf_document *document, void **ret_options,
                                           struct rf_problems *problems)
{
    const struct rf_plugin *plugin = NULL;
    char                    why[512];
    *ret_options = NULL;
    if (!rf_ok(rf_registry_get(server->registry, kind, policy->plugin, &plugin, why))) {
        if (table->problem[0] == 0) { /* the first of several says enough; the log has all */
            snprintf(table->problem, sizeof(table->problem), "plugin '%s' was refused: %.400s",
                     policy->plugin, why);
        }
        rf_log(RF_LOG_ERROR, "plugin_refused", "table=%s plugin=%s text=\"%s\"",
               table->config.table, policy->plugin, why);
        return NULL;
    }
    if (!rf_ok(rf_plugin_options(plugin, policy->options, document, ret_options, problems))) {
        return NULL;
    }
    return plugin;
}

static void join_plugins(struct rf_server *server, struct rf_server_table *table,
                         const struct rf_document *document, struct rf_problems *problems)
{
    void                   *placement_options = NULL;
    void                   *conflict_options = NULL;
    void                   *compaction_options = NULL;
    const struct rf_plugin *placement =
        take_plugin(server, table, RF_KIND_PLACEMENT, &table->config.placement, document,
                    &placement_options, problems);
    const struct rf_plugin *conflict =
        take_plugin(server, table, RF_KIND_CONFLICT, &table->config.conflict, document,
                    &conflict_options, problems);
    const struct rf_plugin *compaction =
        take_plugin(server, table, RF_KIND_COMPACTION, &table->config.compaction, document,
                    &compaction_options, problems);
    if (conflict != NULL && (conflict->ops.conflict.capabilities & RF_NEWEST_WINS) == 0) {
        snprintf(
            table->problem, sizeof(table->problem),
            "plugin '%s' does not declare RF_NEWEST_WINS; resolvers that keep or merge several "
            "versions are not supported by this release",
            table->config.conflict.plugin);
        rf_log(RF_LOG_ERROR, "plugin_refused", "table=%s text=\"%s\"", table->config.table,
               table->problem);
    }
    table->policy = (struct rf_table_policy){
        .id = table->view.id,
        .host = rf_registry_host(),
        .conflict = conflict == NULL ? NULL : &conflict->ops.conflict,
        .conflict_options = conflict_options,
        .compaction = compaction == NULL ? NULL : &compaction->ops.compaction,
        .compaction_options = compaction_options,
        .bloom_bits_per_key = (uint32_t)table->config.bloom_bits_per_key,
        .lz4 = table->config.compression == 1,
        .max_ttl_ms = (uint64_t)table->config.max_ttl_ms,
        .tombstone_grace_ms = (uint64_t)table->config.tombstone_grace_ms,
        .max_ahead_ms = (uint64_t)server->config.clock.max_ahead_ms,
    };
    table->view.placement = placement == NULL ? NULL : &placement->ops.placement;
    table->view.placement_options = placement_options;
}

/* The table's durability, or the node's (D5). */
static void fill_durability(struct rf_server_table *table, const struct rf_node_config *node)
{
    const struct rf_table_config *config = &table->config;
    bool                          own = config->durability != 0 || config->interval_ms != 0;
    int64_t interval_ms = own ? config->interval_ms : node->storage.interval_ms;
    int64_t mode = own ? config->durability - 1 : node->storage.durability;
    bool    interval = interval_ms != 0 || mode == RF_DURABLE_INTERVAL;
    table->policy.sync = interval                  ? RF_SYNC_INTERVAL
                         : mode == RF_DURABLE_NONE ? RF_SYNC_NONE
                                                   : RF_SYNC_GROUP;
    if (interval) {
        table->policy.sync_interval_ms =
            (uint32_t)(interval_ms == 0 ? RF_SYNC_INTERVAL_MS : interval_ms);
    }
}

static void fill_view(struct rf_server_table *table)
{
    const struct rf_table_config *config = &table->config;
    table->view = (struct rf_table){
        .id = table_id(config->table, 1),
        .n = (uint8_t)config->n,
        .write_quorum = (uint8_t)config->write_quorum,
        .read_quorum = (uint8_t)config->read_quorum,
        .default_strong = config->default_consistency == 1,
        .read_repair_confirm = config->read_repair == 0,
        .default_ttl_s = (uint64_t)config->ttl_ms / 1000,
        .max_ttl_s = (uint64_t)config->max_ttl_ms / 1000,
    };
    snprintf(table->view.name, sizeof(table->view.name), "%s", config->table);
}

static void load_table(struct rf_server *server, const char *path, struct rf_problems *problems)
{
    struct rf_document      document = {0};
    struct rf_server_table *table = &server->tables[server->n_tables];
    *table = (struct rf_server_table){0};
    if (rf_ok(rf_table_config_load(path, &table->config, &document, problems))) {
        for (uint32_t t = 0; t < server->n_tables; t++) {
            if (strcmp(server->tables[t].config.table, table->config.table) == 0) {
                rf_problem_in(problems, path, "table '%s' is defined twice", table->config.table);
            }
        }
        fill_view(table);
        join_plugins(server, table, &document, problems);
        fill_durability(table, &server->config);
        server->n_tables++;
    }
    rf_document_free(&document);
}

static int is_table_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".yaml") == 0;
}

static int by_name(const void *a, const void *b)
{
    const struct rf_server_table *left = a;
    const struct rf_server_table *right = b;
    return strcmp(left->config.table, right->config.table);
}

struct rf_result rf_tables_load(struct rf_server *server, struct rf_problems *problems)
{
    struct dirent **names = NULL;
    const char     *dir = server->config.tables_dir;
    uint32_t        before = problems->count;
    int             n = scandir(dir, &names, is_table_file, alphasort);
    if (n < 0) {
        rf_problem_in(problems, dir, "cannot read tables_dir: %s", strerror(errno));
        return rf_result(RF_CONFIG_INVALID);
    }
    server->tables = RF_NEW_ARRAY(struct rf_server_table, TABLES_MAX + 1);
    for (int i = 0; i < n; i++) {
        char path[RF_PATH_MAX + 300];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (server->tables != NULL && server->n_tables < TABLES_MAX) {
            load_table(server, path, problems);
        }
        free(names[i]);
    }
    free(names);
    if (server->tables == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    qsort(server->tables, server->n_tables, sizeof(*server->tables), by_name);
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}

void rf_tables_free(struct rf_server *server)
{
    for (uint32_t t = 0; t < server->n_tables; t++) {
        rf_mem_free((void *)(uintptr_t)server->tables[t].view.placement_options);
        rf_mem_free((void *)(uintptr_t)server->tables[t].policy.conflict_options);
        rf_mem_free((void *)(uintptr_t)server->tables[t].policy.compaction_options);
    }
    rf_mem_free(server->tables);
}
