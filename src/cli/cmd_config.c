/* config check, explain, defaults, reload. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "config/node_config.h"
#include "config/table_config.h"
#include "config/tokens.h"
#include "http/response.h"
#include "io/tls.h"
#include "plugins/check.h"

#define NODE_FILE "ringfort.yaml"

/* ---- check -------------------------------------------------------------------------------- */

struct checking {
    const struct rf_node_config *node;
    struct rf_problems          *problems;
    uint32_t                     n_tables;
};

static void check_table(void *user, const struct rf_table_file *file)
{
    struct checking *checking = user;
    checking->n_tables++;
    if (checking->node->plugins.dir[0] != 0) {
        rf_plugins_check(checking->node->plugins.dir, file, checking->problems);
    }
}

static void check_tls(const struct rf_node_config *node, struct rf_problems *problems)
{
    char    why[512];
    int64_t left_s = 0;
    bool    complete = node->tls.ca[0] != 0 && node->tls.cert[0] != 0 && node->tls.key[0] != 0 &&
                    node->cluster.name[0] != 0 && node->node.name[0] != 0;
    if (complete && !rf_ok(rf_tls_check_node(node->tls.ca, node->tls.cert, node->tls.key,
                                             node->cluster.name, node->node.name, &left_s, why))) {
        rf_problem(problems, "tls: %s", why);
    }
}

/* What the server checks at its start, but for ports and data; as there, what is wrong in one file does
 * not hide what is wrong in the files that it names. Returns the number of tables. */
static uint32_t check_all(const char *path, struct rf_problems *problems)
{
    struct rf_node_config *node = RF_NEW(struct rf_node_config);
    struct rf_tokens      *tokens = RF_NEW(struct rf_tokens);
    struct checking        checking = {node, problems, 0};
    if (node == NULL || tokens == NULL) {
        rf_problem(problems, "out of memory");
    } else {
        (void)rf_node_config_load(path, node, problems).rc;
        if (node->tables_dir[0] != 0) {
            (void)rf_table_dir_load(node->tables_dir, check_table, &checking, problems).rc;
        }
        check_tls(node, problems);
        (void)rf_hash_secret_load(node, problems);
        if (!node->auth.none && node->auth.tokens_file[0] != 0) {
            (void)rf_tokens_load(node->auth.tokens_file, tokens, problems).rc;
        }
    }
    rf_mem_free(node);
    rf_mem_free(tokens);
    return checking.n_tables;
}

int rf_cmd_config_check(struct rf_cli *cli)
{
    struct rf_problems problems = {0};
    uint32_t           tables = check_all(cli->words[0], &problems);
    bool               good = problems.count == 0;
    if (!cli->json && problems.n_warnings != 0) {
        fwrite(problems.warnings.data, 1, problems.warnings.size, stderr);
    }
    if (cli->json) {
        struct rf_buf json = {0};
        rf_buf_append_str(&json, good ? "{\"valid\":true,\"problems\":"
                                      : "{\"valid\":false,\"problems\":");
        rf_json_string(&json, rf_buf_slice(&problems.text));
        rf_buf_append_str(&json, ",\"warnings\":");
        rf_json_string(&json, rf_buf_slice(&problems.warnings));
        printf("%.*s}\n", (int)json.size, (const char *)json.data);
        rf_buf_fini(&json);
    } else if (good) {
        printf("%s: good, and so are its certificate, tokens and %u table%s\n", cli->words[0],
               tables, tables == 1 ? "" : "s");
    } else {
        fwrite(problems.text.data, 1, problems.text.size, stderr);
        fprintf(stderr, "%u problem%s\n", problems.count, problems.count == 1 ? "" : "s");
    }
    rf_problems_fini(&problems);
    return good ? RF_EXIT_OK : RF_EXIT_INVALID;
}

/* ---- explain and defaults ----------------------------------------------------------------- */

static const char *type_name(enum rf_setting_type type)
{
    static const char *const names[] = {
        [RF_SET_TEXT] = "text",
        [RF_SET_NAME] = "name",
        [RF_SET_PATH] = "path",
        [RF_SET_ADDRESS] = "address host:port",
        [RF_SET_INT] = "number",
        [RF_SET_SIZE] = "size, as 64MiB",
        [RF_SET_TIME] = "time, as 10s",
        [RF_SET_RATE] = "rate, as 50MiB/s",
        [RF_SET_PERCENT] = "percentage, as 5%",
        [RF_SET_BOOL] = "true or false",
        [RF_SET_CHOICE] = "one of",
        [RF_SET_ADDRESSES] = "list of host:port",
        [RF_SET_VERSION] = "1",
        [RF_SET_SUBTREE] = "map, declared by the plugin",
        [RF_SET_NONE_OR_MAP] = "none, or a map",
    };
    return names[type];
}

static bool has_range(enum rf_setting_type type)
{
    return type == RF_SET_INT || type == RF_SET_SIZE || type == RF_SET_TIME || type == RF_SET_RATE;
}

static void print_row(const struct rf_setting *row, const char *file, bool json, bool first)
{
    const char *def = row->def == NULL ? "required" : row->def[0] == 0 ? "unset" : row->def;
    const char *unit = row->type == RF_SET_TIME                               ? " ms"
                       : row->type == RF_SET_SIZE || row->type == RF_SET_RATE ? " bytes"
                                                                              : "";
    if (json) {
        struct rf_buf text = {0};
        rf_json_string(&text, rf_slice_str(row->doc));
        printf("%s{\"key\":\"%s\",\"file\":\"%s\",\"type\":\"%s\",\"default\":\"%s\",\"live\":%s,"
               "\"effect\":%s,\"doc\":%.*s}",
               first ? "" : ",", row->path, file, type_name(row->type), def,
               row->effect == RF_EFFECT_LIVE ? "true" : "false",
               row->effect == RF_EFFECT_NOT_YET ? "false" : "true", (int)text.size,
               (const char *)text.data);
        rf_buf_fini(&text);
        return;
    }
    printf("%s (%s)\n  %s\n  type: %s%s%s", row->path, file, row->doc, type_name(row->type),
           row->choices == NULL         ? ""
           : row->type == RF_SET_CHOICE ? " "
                                        : ", or ",
           row->choices == NULL ? "" : row->choices);
    if (has_range(row->type)) {
        printf("\n  range: %lld to %lld%s", (long long)row->min, (long long)row->max, unit);
    }
    printf("\n  default: %s\n  %s\n", def,
           row->effect == RF_EFFECT_NOT_YET ? "has no effect yet"
           : row->effect == RF_EFFECT_LIVE  ? "takes effect on `config reload`"
                                            : "takes effect at the next start");
}

/* The row itself, or a row of the section. */
static bool matches(const struct rf_setting *row, const char *key)
{
    size_t n = strlen(key);
    return strncmp(row->path, key, n) == 0 && (row->path[n] == 0 || row->path[n] == '.');
}

static uint32_t print_rows(const struct rf_setting *rows, uint32_t n, const char *file,
                           const char *key, bool json, uint32_t before)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (key == NULL || matches(&rows[i], key)) {
            print_row(&rows[i], file, json, before + found == 0);
            found++;
        }
    }
    return found;
}

static uint32_t print_both(const char *key, bool json)
{
    uint32_t n = 0;
    printf("%s", json ? "[" : "");
    n += print_rows(rf_node_settings, rf_n_node_settings, NODE_FILE, key, json, n);
    n += print_rows(rf_table_settings, rf_n_table_settings, "table file", key, json, n);
    printf("%s", json ? "]\n" : "");
    return n;
}

int rf_cmd_config_explain(struct rf_cli *cli)
{
    const char *key = cli->words[0];
    const char *names[256];
    char        sections[128][64]; /* "limits" of "limits.max_value" */
    uint32_t    n = 0;
    bool        known = false;
    rf_assert(rf_n_node_settings + rf_n_table_settings <= 128);
    for (uint32_t i = 0; i < rf_n_node_settings + rf_n_table_settings; i++) {
        const struct rf_setting *row = i < rf_n_node_settings
                                           ? &rf_node_settings[i]
                                           : &rf_table_settings[i - rf_n_node_settings];
        snprintf(sections[i], sizeof(sections[i]), "%.*s", (int)strcspn(row->path, "."), row->path);
        names[n++] = row->path;
        names[n++] = sections[i];
        known = known || matches(row, key);
    }
    if (known) {
        (void)print_both(key, cli->json);
        return RF_EXIT_OK;
    }
    const char *meant = rf_did_you_mean(key, names, n);
    fprintf(stderr, "ringfort: there is no setting '%s'%s%s%s\n", key,
            meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
            meant == NULL ? "" : "'?");
    return RF_EXIT_NOT_FOUND;
}

/* Lines that can be put into a file: unset and required ones are commented out. */
static void print_defaults(const struct rf_setting *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct rf_setting *row = &rows[i];
        const char *def = row->def == NULL ? "(required)" : row->def[0] == 0 ? "(unset)" : row->def;
        printf("%-28s %-28s # %s%s\n", row->path, def, row->doc,
               row->effect == RF_EFFECT_NOT_YET ? " (no effect yet)" : "");
    }
}

int rf_cmd_config_defaults(struct rf_cli *cli)
{
    if (cli->json) {
        (void)print_both(NULL, true);
        return RF_EXIT_OK;
    }
    puts("# ringfort.yaml");
    print_defaults(rf_node_settings, rf_n_node_settings);
    puts("\n# tables.d/NAME.yaml");
    print_defaults(rf_table_settings, rf_n_table_settings);
    return RF_EXIT_OK;
}

/* ---- reload ------------------------------------------------------------------------------- */

static void print_list(const char *title, json_t *list)
{
    size_t  i = 0;
    json_t *item = NULL;
    json_array_foreach (list, i, item) {
        printf("%s %s\n", title, json_string_value(item));
    }
}

int rf_cmd_config_reload(struct rf_cli *cli)
{
    struct rf_http_result result = {0};
    int code = rf_cli_request(cli, "POST", "/admin/v1/config/reload", rf_slice(NULL, 0), &result);
    json_t     *root = code != RF_EXIT_OK
                           ? NULL
                           : json_loadb((const char *)result.body.data, result.body.size, 0, NULL);
    const char *problems = json_string_value(json_object_get(root, "problems"));
    const char *warnings = json_string_value(json_object_get(root, "warnings"));
    if (code == RF_EXIT_OK && (problems == NULL || result.status >= 500)) {
        code = rf_cli_problem(cli, &result);
    } else if (code == RF_EXIT_OK) {
        if (cli->json) {
            printf("%.*s\n", (int)result.body.size, (const char *)result.body.data);
        } else {
            print_list("changed", json_object_get(root, "reloaded"));
            print_list("needs a restart:", json_object_get(root, "restart_needed"));
        }
        fputs(warnings == NULL ? "" : warnings, stderr);
        fputs(problems, stderr);
        code = result.status == 200 ? RF_EXIT_OK : RF_EXIT_INVALID;
    }
    json_decref(root);
    rf_buf_fini(&result.body);
    return code;
}
