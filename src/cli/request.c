/* Talking to the server, for all commands. */
#include <jansson.h>
#include <stdio.h>

#include "cli/cli.h"
#include "http/response.h"

#define TIMEOUT_MS 10000u

int rf_cli_request(struct rf_cli *cli, const char *method, const char *target, struct rf_slice body,
                   struct rf_http_result *result)
{
    struct rf_http_client client;
    char                  why[256];
    struct rf_result      made =
        rf_http_client_init(&client, cli->url, cli->ca, cli->token, TIMEOUT_MS, why);
    if (rf_ok(made)) {
        made = rf_http_client_do(&client, method, target, body, result, why);
        rf_http_client_fini(&client);
    }
    if (!rf_ok(made)) {
        fprintf(stderr, "ringfort: %s\n", why);
        if (cli->json) { /* a program that reads the answer finds one */
            struct rf_buf text = {0};
            rf_json_string(&text, rf_slice_str(why));
            printf("{\"title\":\"No answer\",\"detail\":%.*s}\n", (int)text.size,
                   (const char *)text.data);
            rf_buf_fini(&text);
        }
        return made.rc == RF_IO_ERROR ? RF_EXIT_UNAVAILABLE : RF_EXIT_USAGE;
    }
    return RF_EXIT_OK;
}

int rf_cli_problem(const struct rf_cli *cli, const struct rf_http_result *result)
{
    if (cli->json) {
        printf("%.*s\n", (int)result->body.size, (const char *)result->body.data);
    }
    json_t     *root = json_loadb((const char *)result->body.data, result->body.size, 0, NULL);
    const char *detail = json_string_value(json_object_get(root, "detail"));
    const char *code = json_string_value(json_object_get(root, "code"));
    json_t     *errors = json_object_get(root, "errors");
    fprintf(stderr, "ringfort: %s (%s)\n", detail == NULL ? "the server failed" : detail,
            code == NULL ? "?" : code);
    for (size_t i = 0; i < json_array_size(errors); i++) {
        json_t *error = json_array_get(errors, i);
        fprintf(stderr, "  %s: %s\n", json_string_value(json_object_get(error, "pointer")),
                json_string_value(json_object_get(error, "detail")));
    }
    json_decref(root);
    return result->status == 404 ? RF_EXIT_NOT_FOUND : RF_EXIT_FAILED;
}
