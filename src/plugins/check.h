/* Checks a table's plugins and their options without running any code of theirs.
 * Thread: any. Blocks: yes (reads the plugin files). */
#ifndef RF_PLUGINS_CHECK_H
#define RF_PLUGINS_CHECK_H

#include "config/table_config.h"

/* @param dir of the plugins. Problems go to the list, with their place in the table's file. */
void rf_plugins_check(const char *dir, const struct rf_table_file *file,
                      struct rf_problems *problems);

#endif
