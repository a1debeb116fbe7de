#include "server/tables.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "plugins/check.h"

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
        .row_cache_bytes = (uint64_t)table->config.row_cache_bytes,
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

struct loading {
    struct rf_server   *server;
    struct rf_problems *problems;
};

static void take_table(void *user, const struct rf_table_file *file)
{
    struct loading         *loading = user;
    struct rf_server       *server = loading->server;
    struct rf_server_table *table = &server->tables[server->n_tables++];
    *table = (struct rf_server_table){
        .config = *file->config,
        .options = rf_table_options_digest(file->config),
    };
    fill_view(table);
    fill_durability(table, &server->config);
    if (server->registry != NULL) {
        join_plugins(server, table, file->document, loading->problems);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct rf_server_table *left = a;
    const struct rf_server_table *right = b;
    return strcmp(left->config.table, right->config.table);
}

struct rf_result rf_tables_load(struct rf_server *server, struct rf_problems *problems)
{
    struct loading loading = {server, problems};
    uint32_t       before = problems->count;
    server->tables = RF_NEW_ARRAY(struct rf_server_table, RF_TABLES_MAX);
    if (server->tables == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    RF_TRY(rf_table_dir_load(server->config.tables_dir, take_table, &loading, problems));
    qsort(server->tables, server->n_tables, sizeof(*server->tables), by_name);
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}

/* ---- What a restart would change ---------------------------------------------------------- */

struct comparing {
    const struct rf_server      *server;
    const struct rf_node_config *config;
    struct rf_problems          *problems;
    const char                  *table;
    void (*changed)(const char *what, void *user);
    void *user;
    bool  seen[RF_TABLES_MAX]; /* of the server's tables */
};

static void tell(const struct comparing *comparing, const char *table, const char *what)
{
    char text[160];
    snprintf(text, sizeof(text), "table %s: %s", table, what);
    comparing->changed(text, comparing->user);
}

static void on_row(const struct rf_setting *row, void *user)
{
    const struct comparing *comparing = user;
    tell(comparing, comparing->table, row->path);
}

static void compare_table(void *user, const struct rf_table_file *file)
{
    struct comparing       *comparing = user;
    const struct rf_server *server = comparing->server;
    uint32_t                t = 0;
    comparing->table = file->config->table;
    while (t < server->n_tables && strcmp(server->tables[t].config.table, comparing->table) != 0) {
        t++;
    }
    if (t == server->n_tables) {
        tell(comparing, comparing->table, "new");
    } else {
        comparing->seen[t] = true;
        rf_schema_diff(rf_table_settings, rf_n_table_settings, &server->tables[t].config,
                       file->config, on_row, comparing);
        if (server->tables[t].options != rf_table_options_digest(file->config)) {
            tell(comparing, comparing->table, "options of its plugins");
        }
    }
    rf_plugins_check(comparing->config->plugins.dir, file, comparing->problems);
}

void rf_tables_compare(const struct rf_server *server, const struct rf_node_config *config,
                       void (*changed)(const char *what, void *user), void         *user,
                       struct rf_problems *problems)
{
    uint32_t          before = problems->count;
    struct comparing *comparing = RF_NEW(struct comparing);
    if (comparing == NULL) {
        rf_problem(problems, "out of memory");
        return;
    }
    *comparing = (struct comparing){
        .server = server, .config = config, .problems = problems, .changed = changed, .user = user};
    (void)rf_table_dir_load(config->tables_dir, compare_table, comparing, problems).rc;
    for (uint32_t t = 0; t < server->n_tables && problems->count == before; t++) {
        if (!comparing->seen[t]) { /* not only in a file that is wrong now */
            tell(comparing, server->tables[t].config.table, "removed");
        }
    }
    rf_mem_free(comparing);
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
