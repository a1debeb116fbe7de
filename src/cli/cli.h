/* The command-line client: one table of commands, from which dispatch and help are made.
 * Exit codes: 0 done, 1 failed, 2 not found or (config) not valid, 64 used wrongly, 69 no server. */
#ifndef RF_CLI_CLI_H
#define RF_CLI_CLI_H

#include "http/client.h"

#define RF_EXIT_OK 0
#define RF_EXIT_FAILED 1
#define RF_EXIT_NOT_FOUND 2
#define RF_EXIT_INVALID 2 /* config check, as the server itself ends */
#define RF_EXIT_USAGE 64
#define RF_EXIT_UNAVAILABLE 69

/* What every command gets: options that stand anywhere, and its own words. */
struct rf_cli {
    const char *url, *ca, *token, *table, *dir;
    bool        help, strong, json, keep, raw;
    long        ttl_s, nodes, port, threads;
    char      **words;
    int         n_words;
    const char *self; /* argv[0] */
};

/* As `min`: the command reads everything after its name itself, its own options too (cli->words
 * begins with the name, as argv does). Only for commands of one word, and only as the first word. */
#define RF_OWN_OPTIONS (-1)

struct rf_command {
    const char *name;  /* "put", or "dev kill" */
    const char *words; /* "KEY VALUE" */
    int         min, max;
    const char *help;
    int (*run)(struct rf_cli *cli);
};

extern const struct rf_command rf_commands[];
extern const int               rf_n_commands;

/* cmd_item.c */
int rf_cmd_put(struct rf_cli *cli);
int rf_cmd_get(struct rf_cli *cli);
int rf_cmd_del(struct rf_cli *cli);
/* cmd_admin.c */
int rf_cmd_status(struct rf_cli *cli);
int rf_cmd_ring(struct rf_cli *cli);
int rf_cmd_ring_locate(struct rf_cli *cli);
/* cmd_config.c */
int rf_cmd_config_check(struct rf_cli *cli);
int rf_cmd_config_explain(struct rf_cli *cli);
int rf_cmd_config_defaults(struct rf_cli *cli);
int rf_cmd_config_reload(struct rf_cli *cli);
/* cmd_dev.c */
int rf_cmd_dev(struct rf_cli *cli);
int rf_cmd_dev_up(struct rf_cli *cli);
int rf_cmd_dev_down(struct rf_cli *cli);
int rf_cmd_dev_kill(struct rf_cli *cli);
int rf_cmd_dev_stop(struct rf_cli *cli);
int rf_cmd_dev_start(struct rf_cli *cli);
int rf_cmd_dev_env(struct rf_cli *cli);
int rf_cmd_dev_cert(struct rf_cli *cli);
/* cmd_storage.c */
int rf_cmd_storage_verify(struct rf_cli *cli);
int rf_cmd_storage_dump(struct rf_cli *cli);
/* cmd_bench.c */
int rf_cmd_bench(struct rf_cli *cli);

/* One request to the server; prints what went wrong. Returns 0 with the result, else an exit code. */
int rf_cli_request(struct rf_cli *cli, const char *method, const char *target, struct rf_slice body,
                   struct rf_http_result *result);
/* Prints a problem answer ("detail (code)") to stderr, with -o json the answer itself to stdout, too;
 * the exit code for its status. */
int rf_cli_problem(const struct rf_cli *cli, const struct rf_http_result *result);

#endif
