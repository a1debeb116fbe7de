#include "config/node_config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define AT(field) (uint32_t) offsetof(struct rf_node_config, field)
#define DAY_MS INT64_C(86400000)
#define GIB (INT64_C(1) << 30)
#define START RF_EFFECT_AT_START
#define LIVE RF_EFFECT_LIVE
#define NOT_YET RF_EFFECT_NOT_YET

/* path, type, offset, min, max, default, choices, effect, doc */
const struct rf_setting rf_node_settings[] = {
    {"version", RF_SET_VERSION, AT(version), 1, 1, NULL, NULL, START, "format of this file: 1"},
    {"node.name", RF_SET_NAME, AT(node.name), 1, 63, NULL, NULL, START,
     "unique name of the node; its certificate must carry it"},
    {"node.rack", RF_SET_NAME, AT(node.rack), 1, 63, "r1", NULL, START,
     "rack or zone, for rack-aware placement"},
    {"node.data_dir", RF_SET_PATH, AT(node.data_dir), 1, RF_PATH_MAX, NULL, NULL, START,
     "directory of this node's data"},
    {"node.threads", RF_SET_INT, AT(node.threads), 0, 64, "0", NULL, START,
     "request threads; 0: one per core"},
    {"cluster.name", RF_SET_NAME, AT(cluster.name), 1, 63, NULL, NULL, START,
     "name of the cluster; certificates carry it"},
    {"cluster.seeds", RF_SET_ADDRESSES, AT(cluster.seeds), 0, 0, NULL, NULL, START,
     "peer addresses asked at the first start"},
    {"cluster.vnodes", RF_SET_INT, AT(cluster.vnodes), 1, 4096, "256", NULL, START,
     "tokens of this node on the ring"},
    {"cluster.gossip_interval", RF_SET_TIME, AT(cluster.gossip_interval_ms), 100, 60000, "1s", NULL,
     START, "time between two gossip exchanges"},
    {"cluster.dead_after", RF_SET_TIME, AT(cluster.dead_after_ms), 100, DAY_MS, "10s", NULL, START,
     "a heartbeat frozen for so long makes a node suspect"},
    {"cluster.hash_secret_file", RF_SET_PATH, AT(cluster.hash_secret_file), 1, RF_PATH_MAX, "",
     NULL, START, "file whose bytes seed the hash of keys; the same on all nodes"},
    {"listen.client", RF_SET_ADDRESS, AT(listen.client), 1, RF_ADDRESS_MAX, "0.0.0.0:7443", NULL,
     START, "HTTPS for clients"},
    {"listen.peer", RF_SET_ADDRESS, AT(listen.peer), 1, RF_ADDRESS_MAX, NULL, NULL, START,
     "mutual TLS for peers"},
    {"advertise.client", RF_SET_ADDRESS, AT(advertise.client), 1, RF_ADDRESS_MAX, "", NULL, START,
     "client address told to others, when different"},
    {"advertise.peer", RF_SET_ADDRESS, AT(advertise.peer), 1, RF_ADDRESS_MAX, "", NULL, START,
     "peer address told to others, when different"},
    {"tls.ca", RF_SET_PATH, AT(tls.ca), 1, RF_PATH_MAX, NULL, NULL, LIVE, "CA certificate (PEM)"},
    {"tls.cert", RF_SET_PATH, AT(tls.cert), 1, RF_PATH_MAX, NULL, NULL, LIVE,
     "this node's certificate (PEM), SAN URI ringfort://CLUSTER/node/NAME"},
    {"tls.key", RF_SET_PATH, AT(tls.key), 1, RF_PATH_MAX, NULL, NULL, LIVE,
     "its private key (PEM)"},
    {"tls.client_cert", RF_SET_PATH, AT(tls.client_cert), 1, RF_PATH_MAX, "", NULL, LIVE,
     "another certificate for HTTPS"},
    {"tls.client_key", RF_SET_PATH, AT(tls.client_key), 1, RF_PATH_MAX, "", NULL, LIVE,
     "its private key"},
    {"auth", RF_SET_NONE_OR_MAP, AT(auth.none), 0, 0, "", NULL, START,
     "`auth: none` opens the API to everyone"},
    {"auth.tokens_file", RF_SET_PATH, AT(auth.tokens_file), 1, RF_PATH_MAX, "", NULL, LIVE,
     "bearer tokens and roles (YAML)"},
    {"limits.max_value", RF_SET_SIZE, AT(limits.max_value_bytes), 0, 64 << 20, "8MiB", NULL, LIVE,
     "largest value"},
    {"limits.request_timeout", RF_SET_TIME, AT(limits.request_timeout_ms), 100, 600000, "2s", NULL,
     START, "how long a request waits for replicas"},
    {"limits.max_connections", RF_SET_INT, AT(limits.max_connections), 1, 1000000, "10000", NULL,
     LIVE, "client connections of this node"},
    {"limits.max_requests", RF_SET_INT, AT(limits.max_requests), 1, 65536, "4096", NULL, START,
     "requests coordinated at a time, per thread"},
    {"limits.header_timeout", RF_SET_TIME, AT(limits.header_timeout_ms), 100, 3600000, "10s", NULL,
     LIVE, "how long a TLS handshake, and the head of a request, may take"},
    {"limits.body_timeout", RF_SET_TIME, AT(limits.body_timeout_ms), 100, 3600000, "60s", NULL,
     LIVE, "how long the rest of a request may take"},
    {"limits.idle_timeout", RF_SET_TIME, AT(limits.idle_timeout_ms), 100, DAY_MS, "75s", NULL, LIVE,
     "client connections without a request for so long are closed"},
    {"limits.drain_delay", RF_SET_TIME, AT(limits.drain_delay_ms), 0, 600000, "0", NULL, LIVE,
     "after SIGTERM /health/ready answers 503 for so long before the node stops accepting"},
    {"storage.memtable", RF_SET_SIZE, AT(storage.memtable_bytes), 64 << 10, 4 * GIB, "64MiB", NULL,
     START, "a table's memtables are flushed above this"},
    {"storage.memtable_total", RF_SET_SIZE, AT(storage.memtable_total_bytes), 256 << 10, 64 * GIB,
     "256MiB", NULL, START, "all memtables of the node together"},
    {"storage.wal_max", RF_SET_SIZE, AT(storage.wal_max_bytes), 1 << 20, 64 * GIB, "1GiB", NULL,
     START, "write-ahead log of the node"},
    {"storage.partitions", RF_SET_INT, AT(storage.partitions), 1, 256, "16", NULL, START,
     "parts of this node's data, a power of two; fixed at the first start"},
    {"storage.durability", RF_SET_CHOICE, AT(storage.durability), 0, 0, "group",
     "group|interval|none", START,
     "of tables that do not say. group: an acknowledged write is on disk (fdatasync); interval "
     "(10ms) or {interval: TIME}: it is written, a power cut loses at most that time; none"},
    {"storage.durability.interval", RF_SET_TIME, AT(storage.interval_ms), 1, 60000, "", NULL, START,
     "time between syncs"},
    {"storage.disk_reserve", RF_SET_PERCENT, AT(storage.disk_reserve), 0, 5000, "5%", NULL, START,
     "writes are refused when less of the disk is free"},
    {"repair.hint_window", RF_SET_TIME, AT(repair.hint_window_ms), 100, 30 * DAY_MS, "3h", NULL,
     START, "hints older than this expire"},
    {"repair.interval", RF_SET_TIME, AT(repair.interval_ms), 100, 30 * DAY_MS, "4h", NULL, NOT_YET,
     "time between two anti-entropy rounds"},
    {"repair.bandwidth", RF_SET_RATE, AT(repair.bandwidth), 1 << 10, 64 * GIB, "50MiB/s", NULL,
     NOT_YET, "limit for repair streams"},
    {"clock.max_ahead", RF_SET_TIME, AT(clock.max_ahead_ms), 1, 60000, "500ms", NULL, START,
     "how far clocks of peers may be apart"},
    {"clock.test_offset", RF_SET_TIME, AT(clock.test_offset_ms), -30 * DAY_MS, 30 * DAY_MS, "0",
     NULL, START, "tests only: shifts this node's wall clock"},
    {"log.level", RF_SET_CHOICE, AT(log.level), 0, 0, "info", "debug|info|warn|error", LIVE,
     "what is logged"},
    {"log.format", RF_SET_CHOICE, AT(log.format), 0, 0, "logfmt", "logfmt", START, "logfmt"},
    {"plugins.dir", RF_SET_PATH, AT(plugins.dir), 1, RF_PATH_MAX, "/usr/lib/ringfort/plugins", NULL,
     START, "directory of plugin files"},
    {"tables_dir", RF_SET_PATH, AT(tables_dir), 1, RF_PATH_MAX, "tables.d", NULL, START,
     "directory of table files"},
};
const uint32_t rf_n_node_settings = sizeof(rf_node_settings) / sizeof(rf_node_settings[0]);

static void place(struct rf_problems *problems, const struct rf_document *document,
                  const char *section, const char *key, const char *text)
{
    const struct rf_tree *map = rf_tree_get(&document->root, section);
    const struct rf_tree *entry = map == NULL ? NULL : rf_tree_get(map, key);
    rf_problem_at(problems, document, entry == NULL ? 1 : entry->line,
                  entry == NULL ? 1 : entry->column, "%s.%s: %s", section, key, text);
}

/* What no single row can say. */
static void check_together(const struct rf_node_config *config, const struct rf_document *document,
                           struct rf_problems *problems)
{
    if ((config->storage.partitions & (config->storage.partitions - 1)) != 0) {
        place(problems, document, "storage", "partitions", "must be a power of two");
    }
    if (!config->auth.none && config->auth.tokens_file[0] == 0) {
        rf_problem_at(problems, document, 1, 1,
                      "the key 'auth.tokens_file' is missing; to run open, write `auth: none`");
    }
    if (config->cluster.seeds.n == 0 && rf_tree_get(&document->root, "cluster") != NULL) {
        place(problems, document, "cluster", "seeds", "at least one seed is needed");
    }
    if ((config->tls.client_cert[0] == 0) != (config->tls.client_key[0] == 0)) {
        place(problems, document, "tls", "client_cert", "client_cert and client_key come together");
    }
}

struct rf_result rf_node_config_load(const char *path, struct rf_node_config *ret_config,
                                     struct rf_problems *problems)
{
    struct rf_document    document;
    uint32_t              before = problems->count;
    struct rf_node_config config = {0};
    if (rf_ok(rf_tree_load(path, &document, problems)) &&
        rf_ok(
            rf_schema_apply(rf_node_settings, rf_n_node_settings, &document, &config, problems))) {
        check_together(&config, &document, problems);
    }
    rf_document_free(&document);
    if (problems->count != before) {
        return rf_result(RF_CONFIG_INVALID);
    }
    if (config.advertise.client[0] == 0) {
        memcpy(config.advertise.client, config.listen.client, sizeof(config.advertise.client));
    }
    if (config.advertise.peer[0] == 0) {
        memcpy(config.advertise.peer, config.listen.peer, sizeof(config.advertise.peer));
    }
    *ret_config = config;
    return rf_result(RF_OK);
}

/* Bytes of a row's value in the struct. */
static size_t value_size(const struct rf_setting *row)
{
    switch (row->type) {
    case RF_SET_TEXT:
    case RF_SET_NAME:
    case RF_SET_PATH:
    case RF_SET_ADDRESS:
        return (size_t)row->max + 1;
    case RF_SET_BOOL:
    case RF_SET_NONE_OR_MAP:
        return sizeof(bool);
    case RF_SET_ADDRESSES:
        return sizeof(struct rf_addresses);
    case RF_SET_INT:
    case RF_SET_SIZE:
    case RF_SET_TIME:
    case RF_SET_RATE:
    case RF_SET_PERCENT:
    case RF_SET_CHOICE:
    case RF_SET_VERSION:
        return sizeof(int64_t);
    case RF_SET_SUBTREE:
    default:
        return 0;
    }
}

void rf_node_config_diff(const struct rf_node_config *before, const struct rf_node_config *after,
                         void (*changed)(const struct rf_setting *row, void *user), void  *user)
{
    for (uint32_t i = 0; i < rf_n_node_settings; i++) {
        const struct rf_setting *row = &rf_node_settings[i];
        const uint8_t           *a = (const uint8_t *)before + row->offset;
        const uint8_t           *b = (const uint8_t *)after + row->offset;
        if (memcmp(a, b, value_size(row)) != 0) {
            changed(row, user);
        }
    }
}
