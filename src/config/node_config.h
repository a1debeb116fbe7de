/* The node's configuration file (ringfort.yaml), checked and typed. */
#ifndef RF_CONFIG_NODE_CONFIG_H
#define RF_CONFIG_NODE_CONFIG_H

#include "config/schema.h"

struct rf_node_config {
    int64_t version;
    struct {
        char    name[64];
        char    rack[64];
        char    data_dir[RF_PATH_MAX + 1];
        int64_t threads; /* request threads; 0: one per core */
    } node;
    struct {
        char                name[64];
        struct rf_addresses seeds;
        int64_t             vnodes;
        int64_t             gossip_interval_ms;
        int64_t             dead_after_ms;
        char                hash_secret_file[RF_PATH_MAX + 1];
    } cluster;
    struct {
        char client[RF_ADDRESS_MAX + 1];
        char peer[RF_ADDRESS_MAX + 1];
    } listen;
    struct {
        char client[RF_ADDRESS_MAX + 1]; /* "" as listened on */
        char peer[RF_ADDRESS_MAX + 1];
    } advertise;
    struct {
        char ca[RF_PATH_MAX + 1];
        char cert[RF_PATH_MAX + 1];
        char key[RF_PATH_MAX + 1];
        char client_cert[RF_PATH_MAX + 1]; /* "" : cert and key serve HTTPS as well */
        char client_key[RF_PATH_MAX + 1];
    } tls;
    struct {
        bool none; /* `auth: none`: open access */
        char tokens_file[RF_PATH_MAX + 1];
    } auth;
    struct {
        int64_t max_value_bytes;
        int64_t request_timeout_ms;
        int64_t max_connections;
        int64_t max_requests; /* coordinated at a time, per thread */
        int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, drain_delay_ms;
    } limits;
    struct {
        int64_t memtable_bytes;
        int64_t memtable_total_bytes;
        int64_t wal_max_bytes;
        int64_t partitions;
        int64_t durability;           /* enum rf_durability; INTERVAL by the word */
        int64_t interval_ms;          /* INTERVAL by its time; 0: durability says */
        int64_t disk_reserve;         /* hundredths of a percent */
        int64_t compaction_bandwidth; /* bytes per second; 0: no limit */
    } storage;
    struct {
        int64_t hint_window_ms;
        int64_t interval_ms;
        int64_t bandwidth; /* bytes per second */
    } repair;
    struct {
        int64_t max_ahead_ms;
        int64_t test_offset_ms; /* tests only: shifts this node's wall clock */
    } clock;
    struct {
        int64_t level; /* enum rf_log_level */
        int64_t format;
    } log;
    struct {
        char dir[RF_PATH_MAX + 1];
    } plugins;
    char tables_dir[RF_PATH_MAX + 1];
};

enum rf_durability { RF_DURABLE_GROUP, RF_DURABLE_INTERVAL, RF_DURABLE_NONE };
#define RF_SYNC_INTERVAL_MS 10 /* of the word `interval` */

/* The rows, for checking and for `config explain|defaults`. */
extern const struct rf_setting rf_node_settings[];
extern const uint32_t          rf_n_node_settings;

/* Hashes the bytes of cluster.hash_secret_file (at least 16); 0 without a file. A file that does not
 * do goes to the problems. Blocks. */
uint64_t rf_hash_secret_load(const struct rf_node_config *config, struct rf_problems *problems);

/* Loads and checks the file. Problems go to the list. RF_OK, RF_CONFIG_INVALID: then the struct holds
 * what is good, the rest is empty, so that the files that it names can be checked in the same run.
 * Blocks. */
RF_CHECKED struct rf_result rf_node_config_load(const char *path, struct rf_node_config *ret_config,
                                                struct rf_problems *problems);

#endif
