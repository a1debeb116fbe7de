#include "cli/cli.h"

/* name, words, least and most words, help, function */
const struct rf_command rf_commands[] = {
    {"put", "KEY VALUE", 2, 2, "store a value ('-' reads it from standard input)", rf_cmd_put},
    {"get", "KEY", 1, 1, "print a value", rf_cmd_get},
    {"del", "KEY", 1, 1, "delete a key", rf_cmd_del},
    {"status", "", 0, 0, "nodes and tables of the cluster", rf_cmd_status},
    {"ring", "", 0, 0, "the ring: nodes and their share", rf_cmd_ring},
    {"ring locate", "KEY", 1, 1, "which nodes hold a key", rf_cmd_ring_locate},
    {"config check", "FILE", 1, 1, "check a node's configuration, tables, tokens, certificate",
     rf_cmd_config_check},
    {"config explain", "KEY", 1, 1, "what a setting means (or a section: limits)",
     rf_cmd_config_explain},
    {"config defaults", "", 0, 0, "all settings with their defaults", rf_cmd_config_defaults},
    {"config reload", "", 0, 0, "make the server read its files again", rf_cmd_config_reload},
    {"storage verify", "DIR", 1, 1, "check every data file of a node that does not run",
     rf_cmd_storage_verify},
    {"storage dump", "FILE", 1, 1, "print a log segment, table file, manifest or identity",
     rf_cmd_storage_dump},
    {"bench", "[OPTIONS]", RF_OWN_OPTIONS, 0, "measure a cluster; see ringfort bench --help",
     rf_cmd_bench},
    {"dev", "", 0, 0, "run a cluster on loopback until Ctrl-C", rf_cmd_dev},
    {"dev up", "", 0, 0, "start one in the background", rf_cmd_dev_up},
    {"dev down", "", 0, 0, "stop it and delete its directory", rf_cmd_dev_down},
    {"dev kill", "NODE", 1, 1, "kill -9 a node", rf_cmd_dev_kill},
    {"dev stop", "NODE", 1, 1, "stop a node", rf_cmd_dev_stop},
    {"dev start", "NODE", 1, 1, "start a node again", rf_cmd_dev_start},
    {"dev env", "", 0, 0, "print the variables that point the client to it", rf_cmd_dev_env},
    {"dev cert", "KIND NAME", 2, 2, "make a certificate: dev cert role app", rf_cmd_dev_cert},
};
const int rf_n_commands = sizeof(rf_commands) / sizeof(rf_commands[0]);
