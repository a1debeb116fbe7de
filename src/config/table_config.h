/* A table's definition file (tables.d/NAME.yaml), checked and typed. Plugin options stay a tree:
 * the plugin declares them, so `plugins` checks them in a second pass into the same problem list. */
#ifndef RF_CONFIG_TABLE_CONFIG_H
#define RF_CONFIG_TABLE_CONFIG_H

#include "config/schema.h"

struct rf_policy_config {
    char                  plugin[64];
    const struct rf_tree *options; /* borrowed from the document; NULL: all defaults */
};

struct rf_table_config {
    int64_t                 version;
    char                    table[64];
    int64_t                 n, write_quorum, read_quorum;
    bool                    sloppy;
    bool                    weak;        /* allows r + w <= n */
    int64_t                 read_repair; /* 0 confirm, 1 background */
    struct rf_policy_config placement, conflict, compaction;
    int64_t                 durability;  /* 0 as the node, else 1 + enum rf_durability */
    int64_t                 interval_ms; /* durability {interval: TIME}; 0: durability says */
    int64_t                 compression; /* 0 none, 1 lz4 */
    int64_t                 ttl_ms, max_ttl_ms;
    int64_t                 tombstone_grace_ms;
    int64_t                 row_cache_bytes;
    int64_t                 bloom_bits_per_key;
    int64_t                 default_consistency; /* 0 eventual, 1 strong */
};

extern const struct rf_setting rf_table_settings[];
extern const uint32_t          rf_n_table_settings;

/* Loads and checks one file. The document holds the option trees: free it after the config's last
 * use, also after a failure. RF_OK, RF_CONFIG_INVALID. Blocks. */
RF_CHECKED struct rf_result rf_table_config_load(const char             *path,
                                                 struct rf_table_config *ret_config,
                                                 struct rf_document     *ret_document,
                                                 struct rf_problems     *problems);

/* Of the plugins' options as they are written: the trees live no longer than their document. */
uint64_t rf_table_options_digest(const struct rf_table_config *config);

#define RF_TABLES_MAX 1024u

/* One file of the tables' directory. What it borrows is gone after the call. */
struct rf_table_file {
    const char                   *path;
    const struct rf_table_config *config;
    const struct rf_document     *document;
};

/* Loads all files of a tables_dir in the order of their names and calls `take` for each that is
 * valid. Two definitions of one table are a problem. RF_OK, RF_CONFIG_INVALID, RF_NO_MEMORY. Blocks. */
RF_CHECKED struct rf_result rf_table_dir_load(const char *dir,
                                              void (*take)(void                       *user,
                                                           const struct rf_table_file *file),
                                              void *user, struct rf_problems *problems);

#endif
