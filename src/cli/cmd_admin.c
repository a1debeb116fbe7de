/* status, ring. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "?" : text;
}

/* Asks for JSON; prints it as it is with -o json, else hands out the parsed tree. */
static int ask(struct rf_cli *cli, const char *target, json_t **ret_root)
{
    struct rf_http_result result = {0};
    int                   code = rf_cli_request(cli, "GET", target, rf_slice(NULL, 0), &result);
    *ret_root = NULL;
    if (code == RF_EXIT_OK && result.status != 200) {
        code = rf_cli_problem(cli, &result);
    } else if (code == RF_EXIT_OK && cli->json) {
        printf("%.*s\n", (int)result.body.size, (const char *)result.body.data);
    } else if (code == RF_EXIT_OK) {
        *ret_root = json_loadb((const char *)result.body.data, result.body.size, 0, NULL);
    }
    rf_buf_fini(&result.body);
    return code;
}

/* What an operator must know about the disk of the node that is asked, and do. */
static void print_disk(json_t *disk)
{
    double      mib = 1024.0 * 1024.0;
    const char *storage = text_of(disk, "storage");
    const char *advice = "";
    if (strcmp(storage, "read_only") == 0) {
        advice = "READ-ONLY: the write-ahead log has failed; check the disk, then restart the node";
    } else if (json_is_true(json_object_get(disk, "full"))) {
        advice = "FULL: new values are refused until there is space; reads and deletes work";
    } else if (json_is_true(json_object_get(disk, "low"))) {
        advice = "LOW: make room or add space before new values are refused";
    }
    printf("disk: %.0f of %.0f MiB free, full below %.0f MiB%s%s\n\n",
           (double)json_integer_value(json_object_get(disk, "free_bytes")) / mib,
           (double)json_integer_value(json_object_get(disk, "total_bytes")) / mib,
           (double)json_integer_value(json_object_get(disk, "needed_bytes")) / mib,
           advice[0] == 0 ? "" : "  ! ", advice);
}

int rf_cmd_status(struct rf_cli *cli)
{
    json_t *root = NULL;
    size_t  i = 0;
    json_t *item = NULL;
    int     code = ask(cli, "/admin/v1/status", &root);
    if (root == NULL) {
        return code;
    }
    printf("cluster %s (%s), seen by %s, which is %s\n\n", text_of(root, "cluster"),
           text_of(root, "cluster_id"), text_of(root, "node"), text_of(root, "state"));
    print_disk(json_object_get(root, "disk"));
    printf("%-12s %-6s %-8s %-10s %-8s %-24s %s\n", "NODE", "ALIVE", "STATE", "STORAGE", "RACK",
           "CLIENT", "PEER");
    json_array_foreach (json_object_get(root, "nodes"), i, item) {
        printf("%-12s %-6s %-8s %-10s %-8s %-24s %s\n", text_of(item, "name"),
               json_is_true(json_object_get(item, "alive")) ? "yes" : "no", text_of(item, "state"),
               text_of(item, "storage"), text_of(item, "rack"), text_of(item, "client"),
               text_of(item, "peer"));
    }
    printf("\n%-16s %-3s %-3s %-3s %-16s %-18s %s\n", "TABLE", "N", "W", "R", "CONFLICT",
           "PLACEMENT", "COMPACTION");
    json_array_foreach (json_object_get(root, "tables"), i, item) {
        printf("%-16s %-3lld %-3lld %-3lld %-16s %-18s %s\n", text_of(item, "name"),
               json_integer_value(json_object_get(item, "n")),
               json_integer_value(json_object_get(item, "write_quorum")),
               json_integer_value(json_object_get(item, "read_quorum")), text_of(item, "conflict"),
               text_of(item, "placement"), text_of(item, "compaction"));
        if (json_object_get(item, "problem") != NULL) {
            printf("  ! %s\n", text_of(item, "problem"));
        }
    }
    json_decref(root);
    return RF_EXIT_OK;
}

/* Share of the ring per node: a vnode owns the tokens below its own, down to the one before. */
static void print_shares(json_t *nodes, json_t *tokens)
{
    size_t  n = json_array_size(tokens);
    size_t  n_nodes = json_array_size(nodes);
    double *shares = calloc(n_nodes + 1, sizeof(*shares));
    for (size_t i = 0; i < n && shares != NULL; i++) {
        json_t  *before = json_array_get(tokens, i == 0 ? n - 1 : i - 1);
        json_t  *here = json_array_get(tokens, i);
        uint64_t from = strtoull(json_string_value(json_array_get(before, 0)), NULL, 16);
        uint64_t to = strtoull(json_string_value(json_array_get(here, 0)), NULL, 16);
        size_t   owner = (size_t)json_integer_value(json_array_get(here, 1));
        if (owner < n_nodes) {
            shares[owner] += (double)(to - from) / 18446744073709551616.0;
        }
    }
    printf("%-12s %s\n", "NODE", "SHARE");
    for (size_t i = 0; i < n_nodes && shares != NULL; i++) {
        printf("%-12s %5.2f %%\n", text_of(json_array_get(nodes, i), "name"), shares[i] * 100);
    }
    free(shares);
}

int rf_cmd_ring(struct rf_cli *cli)
{
    json_t *root = NULL;
    int     code = ask(cli, "/admin/v1/ring", &root);
    if (root == NULL) {
        return code;
    }
    json_t *tokens = json_object_get(root, "tokens");
    printf("ring %s, %zu tokens\n\n", text_of(root, "digest"), json_array_size(tokens));
    print_shares(json_object_get(root, "nodes"), tokens);
    json_decref(root);
    return RF_EXIT_OK;
}

int rf_cmd_ring_locate(struct rf_cli *cli)
{
    struct rf_buf target = {0};
    json_t       *root = NULL;
    size_t        i = 0;
    json_t       *item = NULL;
    rf_buf_append_str(&target, "/admin/v1/ring/locate?key=");
    rf_http_encode(&target, rf_slice_str(cli->words[0]));
    if (cli->table != NULL) {
        rf_buf_append_str(&target, "&table=");
        rf_http_encode(&target, rf_slice_str(cli->table));
    }
    rf_buf_append(&target, "", 1);
    int code = ask(cli, (const char *)target.data, &root);
    rf_buf_fini(&target);
    if (root == NULL) {
        return code;
    }
    printf("token %s, table %s\n\n%-12s %-6s %-8s %s\n", text_of(root, "token"),
           text_of(root, "table"), "NODE", "ALIVE", "RACK", "CLIENT");
    json_array_foreach (json_object_get(root, "replicas"), i, item) {
        printf("%-12s %-6s %-8s %s\n", text_of(item, "node"),
               json_is_true(json_object_get(item, "alive")) ? "yes" : "no", text_of(item, "rack"),
               text_of(item, "client"));
    }
    json_decref(root);
    return RF_EXIT_OK;
}
