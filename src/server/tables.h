/* Table files: loaded, checked, joined with their plugins. */
#ifndef RF_SERVER_TABLES_H
#define RF_SERVER_TABLES_H

#include "server/server.h"

/* Loads every *.yaml of config.tables_dir into server->tables (sorted by name). Wrong files are
 * problems. A table whose plugin is missing or refused is kept with its `problem` and degraded: the
 * other tables work. RF_OK, RF_CONFIG_INVALID, RF_NO_MEMORY. Blocks. */
RF_CHECKED struct rf_result rf_tables_load(struct rf_server *server, struct rf_problems *problems);
void                        rf_tables_free(struct rf_server *server);

/* Reads the tables again and tells what a restart would change; nothing is taken over. Files that are
 * wrong go to the problems. @param changed gets for example "table carts: replication.n". Blocks. */
void rf_tables_compare(const struct rf_server *server, const struct rf_node_config *config,
                       void (*changed)(const char *what, void *user), void         *user,
                       struct rf_problems *problems);

#endif
