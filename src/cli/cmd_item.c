/* put, get, del. */
#include <jansson.h>
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "http/response.h"

static bool read_stdin(struct rf_buf *value)
{
    size_t got = 1;
    while (got != 0 && rf_buf_reserve(value, 65536) != NULL) {
        got = fread(value->data + value->size, 1, 65536, stdin);
        value->size += got;
    }
    return !value->failed && ferror(stdin) == 0;
}

static int finish(struct rf_cli *cli, int code, uint16_t expected, struct rf_http_result *result,
                  const char *text)
{
    if (code == RF_EXIT_OK && result->status != expected) {
        code = rf_cli_problem(cli, result);
    } else if (code == RF_EXIT_OK && cli->json) {
        printf("%.*s\n", (int)result->body.size, (const char *)result->body.data);
    } else if (code == RF_EXIT_OK && text != NULL) {
        puts(text);
    }
    rf_buf_fini(&result->body);
    return code;
}

int rf_cmd_put(struct rf_cli *cli)
{
    struct rf_http_result result = {0};
    struct rf_buf         body = {0};
    struct rf_buf         value = {0};
    if (cli->words[1][0] == '-' && cli->words[1][1] == 0) {
        if (!read_stdin(&value)) {
            fputs("ringfort: cannot read standard input\n", stderr);
            rf_buf_fini(&value);
            return RF_EXIT_FAILED;
        }
    } else {
        rf_buf_append_str(&value, cli->words[1]);
    }
    rf_buf_append_str(&body, "{\"key\":");
    rf_json_string(&body, rf_slice_str(cli->words[0]));
    rf_buf_append_str(&body, ",\"value\":\"");
    rf_base64_encode(&body, rf_buf_slice(&value));
    rf_buf_append_str(&body, "\"");
    if (cli->table != NULL) {
        rf_buf_append_str(&body, ",\"table\":");
        rf_json_string(&body, rf_slice_str(cli->table));
    }
    if (cli->ttl_s != 0) {
        rf_buf_append_str(&body, ",\"ttl\":");
        rf_buf_append_u64(&body, (uint64_t)cli->ttl_s);
    }
    rf_buf_append_str(&body, "}");
    int code = rf_cli_request(cli, "POST", "/api/v1/item", rf_buf_slice(&body), &result);
    rf_buf_fini(&body);
    rf_buf_fini(&value);
    return finish(cli, code, 201, &result, "stored");
}

static void item_target(const struct rf_cli *cli, struct rf_buf *target)
{
    rf_buf_append_str(target, "/api/v1/item?key=");
    rf_http_encode(target, rf_slice_str(cli->words[0]));
    if (cli->table != NULL) {
        rf_buf_append_str(target, "&table=");
        rf_http_encode(target, rf_slice_str(cli->table));
    }
}

static void print_value(const struct rf_http_result *result, bool raw)
{
    json_t  *root = json_loadb((const char *)result->body.data, result->body.size, 0, NULL);
    json_t  *value = json_object_get(root, "value");
    size_t   size = 0;
    uint8_t *bytes = rf_mem_alloc(json_string_length(value) + 4);
    if (bytes != NULL &&
        rf_ok(rf_base64_decode(rf_slice(json_string_value(value), json_string_length(value)), bytes,
                               &size))) {
        fwrite(bytes, 1, size, stdout);
        if (!raw && (size == 0 || bytes[size - 1] != '\n')) {
            putchar('\n');
        }
    }
    rf_mem_free(bytes);
    json_decref(root);
}

int rf_cmd_get(struct rf_cli *cli)
{
    struct rf_http_result result = {0};
    struct rf_buf         target = {0};
    item_target(cli, &target);
    if (cli->strong) {
        rf_buf_append_str(&target, "&consistency=strong");
    }
    rf_buf_append(&target, "", 1);
    int code = rf_cli_request(cli, "GET", (const char *)target.data, rf_slice(NULL, 0), &result);
    rf_buf_fini(&target);
    if (code == RF_EXIT_OK && result.status == 200 && !cli->json) {
        print_value(&result, cli->raw);
    }
    return finish(cli, code, 200, &result, NULL);
}

int rf_cmd_del(struct rf_cli *cli)
{
    struct rf_http_result result = {0};
    struct rf_buf         target = {0};
    item_target(cli, &target);
    rf_buf_append(&target, "", 1);
    int code = rf_cli_request(cli, "DELETE", (const char *)target.data, rf_slice(NULL, 0), &result);
    rf_buf_fini(&target);
    return finish(cli, code, 200, &result, "deleted");
}
