#include "config/node_config.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

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
    {"storage.compaction_bandwidth", RF_SET_RATE, AT(storage.compaction_bandwidth), 1 << 20,
     64 * GIB, "", "none", START, "rows that all merges of the node rewrite, before compression"},
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

/* The port of an address, and whether it is for all of the machine's addresses. */
static const char *port_of(const char *address, bool *ret_any)
{
    *ret_any = strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
    const char *colon = strrchr(address, ':');
    return colon == NULL ? "" : colon;
}

/* Sockets are shared between threads, so the kernel would spread clients over both. */
static void check_listen(const struct rf_node_config *config, const struct rf_document *document,
                         struct rf_problems *problems)
{
    bool        any_client = false;
    bool        any_peer = false;
    const char *client = port_of(config->listen.client, &any_client);
    const char *peer = port_of(config->listen.peer, &any_peer);
    bool        same = strcmp(config->listen.client, config->listen.peer) == 0;
    if (client[0] != 0 && strcmp(client, peer) == 0 && (same || any_client || any_peer)) {
        place(problems, document, "listen", "peer", "clients and peers need ports of their own");
    }
}

/* Does the section give that key a value? */
static bool gives(const struct rf_document *document, const char *section, const char *key)
{
    const struct rf_tree *map = rf_tree_get(&document->root, section);
    return map != NULL && rf_tree_get(map, key) != NULL;
}

/* What no single row can say. Values that are wrong by themselves are empty here, and told already. */
static void check_together(const struct rf_node_config *config, const struct rf_document *document,
                           struct rf_problems *problems)
{
    if ((config->storage.partitions & (config->storage.partitions - 1)) != 0) {
        place(problems, document, "storage", "partitions", "must be a power of two");
    }
    const struct rf_tree *auth = rf_tree_get(&document->root, "auth");
    if (auth == NULL || (auth->kind == RF_TREE_MAP && !gives(document, "auth", "tokens_file"))) {
        rf_problem_at(problems, document, auth == NULL ? document->root.line : auth->key_line,
                      auth == NULL ? document->root.column : auth->key_column,
                      "the key 'auth.tokens_file' is missing; to run open, write `auth: none`");
    }
    const struct rf_tree *cluster = rf_tree_get(&document->root, "cluster");
    const struct rf_tree *seeds = cluster == NULL ? NULL : rf_tree_get(cluster, "seeds");
    if (seeds != NULL && seeds->kind == RF_TREE_LIST && seeds->n_children == 0) {
        place(problems, document, "cluster", "seeds", "at least one seed is needed");
    }
    bool cert = gives(document, "tls", "client_cert");
    if (cert != gives(document, "tls", "client_key")) {
        place(problems, document, "tls", cert ? "client_cert" : "client_key",
              "client_cert and client_key come together");
    }
    check_listen(config, document, problems);
}

struct rf_result rf_node_config_load(const char *path, struct rf_node_config *ret_config,
                                     struct rf_problems *problems)
{
    struct rf_document    document;
    uint32_t              before = problems->count;
    struct rf_node_config config = {0};
    (void)rf_tree_load(path, &document, problems).rc;
    (void)rf_schema_apply(rf_node_settings, rf_n_node_settings, &document, &document.root, &config,
                          problems)
        .rc;
    if (document.whole && document.root.kind == RF_TREE_MAP) {
        check_together(&config, &document, problems);
    }
    rf_document_free(&document);
    if (config.advertise.client[0] == 0) {
        memcpy(config.advertise.client, config.listen.client, sizeof(config.advertise.client));
    }
    if (config.advertise.peer[0] == 0) {
        memcpy(config.advertise.peer, config.listen.peer, sizeof(config.advertise.peer));
    }
    *ret_config = config;
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}

uint64_t rf_hash_secret_load(const struct rf_node_config *config, struct rf_problems *problems)
{
    uint8_t     bytes[4096];
    const char *path = config->cluster.hash_secret_file;
    if (path[0] == 0) {
        return 0;
    }
    FILE  *file = fopen(path, "rbe");
    size_t n = file == NULL ? 0 : fread(bytes, 1, sizeof(bytes), file);
    if (file == NULL) {
        rf_problem(problems, "cluster.hash_secret_file: cannot open %s: %m", path);
        return 0;
    }
    fclose(file);
    if (n < 16) {
        rf_problem(problems, "cluster.hash_secret_file: %s must hold at least 16 bytes", path);
        return 0;
    }
    return rf_hash64(rf_slice(bytes, n), 1);
}
