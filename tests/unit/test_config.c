/* Node and table files: all problems at once, units, ranges, defaults (configuration chapter). */
#define _GNU_SOURCE /* mkstemp */
#include "test_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/node_config.h"
#include "config/table_config.h"
#include "config/tokens.h"

static const char good[] = "version: 1\n"
                           "node: {name: n1, data_dir: /d}\n"
                           "cluster: {name: c, seeds: [\"127.0.0.1:1\"]}\n"
                           "listen: {peer: \"127.0.0.1:1\"}\n"
                           "tls: {ca: ca.crt, cert: a.crt, key: a.key}\n"
                           "auth: none\n";

static struct rf_problems     problems;
static struct rf_node_config *node;
static char                   path[64];

/* Loads the text as a node's file. */
static enum rf_rc load(const char *text)
{
    int fd = -1;
    snprintf(path, sizeof(path), "/tmp/rf-config-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal((ssize_t)strlen(text), write(fd, text, strlen(text)));
    close(fd);
    enum rf_rc rc = rf_node_config_load(path, node, &problems).rc;
    unlink(path);
    return rc;
}

static enum rf_rc load_with(const char *more)
{
    char text[2048];
    snprintf(text, sizeof(text), "%s%s", good, more);
    return load(text);
}

static int fresh(void **state)
{
    (void)state;
    problems = (struct rf_problems){0};
    node = RF_NEW(struct rf_node_config);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    rf_mem_free(node);
    rf_problems_fini(&problems);
    return 0;
}

/* A fresh start within a test. */
static void again(void)
{
    clean(NULL);
    fresh(NULL);
}

static void assert_problem(const char *expected)
{
    rf_buf_append(&problems.text, "", 1);
    problems.text.size--;
    if (strstr((const char *)problems.text.data, expected) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", expected, (const char *)problems.text.data);
    }
}

/* Goal: the smallest file gives the documented defaults. */
static void defaults(void **state)
{
    (void)state;
    assert_int_equal(RF_OK, load(good));
    assert_string_equal("n1", node->node.name);
    assert_string_equal("r1", node->node.rack);
    assert_int_equal(256, node->cluster.vnodes);
    assert_int_equal(1000, node->cluster.gossip_interval_ms);
    assert_int_equal(10000, node->cluster.dead_after_ms);
    assert_int_equal(8 << 20, node->limits.max_value_bytes);
    assert_int_equal(2000, node->limits.request_timeout_ms);
    assert_int_equal(3 * 3600 * 1000, node->repair.hint_window_ms);
    assert_int_equal(50 << 20, node->repair.bandwidth);
    assert_int_equal(500, node->storage.disk_reserve);       /* hundredths of a percent */
    assert_int_equal(0, node->storage.compaction_bandwidth); /* no limit */
    assert_int_equal(500, node->clock.max_ahead_ms);
    assert_string_equal("/tmp/ca.crt", node->tls.ca); /* relative to the file */
    assert_string_equal("/tmp/tables.d", node->tables_dir);
    assert_string_equal("0.0.0.0:7443", node->listen.client);
    assert_string_equal("127.0.0.1:1", node->advertise.peer);
    assert_true(node->auth.none);
}

/* Goal: every row's default passes its own check, every row says what it is. */
static void rows_are_sound(void **state)
{
    (void)state;
    const struct rf_setting *tables[] = {rf_node_settings, rf_table_settings};
    const uint32_t           counts[] = {rf_n_node_settings, rf_n_table_settings};
    uint8_t                 *space = rf_mem_alloc(sizeof(struct rf_node_config) + 4096);
    for (int t = 0; t < 2; t++) {
        for (uint32_t i = 0; i < counts[t]; i++) {
            const struct rf_setting *row = &tables[t][i];
            char                     why[160] = "";
            assert_true(strlen(row->doc) > 5);
            if (row->def != NULL && row->def[0] != 0 &&
                !rf_ok(rf_setting_parse(row, row->def, "/x", space, why))) {
                fail_msg("%s: default %s: %s", row->path, row->def, why);
            }
            for (uint32_t j = 0; j < i; j++) {
                assert_string_not_equal(row->path, tables[t][j].path);
            }
        }
    }
    rf_mem_free(space);
}

/* Goal: one run names everything that is wrong. */
static void all_problems_at_once(void **state)
{
    (void)state;
    assert_int_equal(RF_CONFIG_INVALID, load("version: 2\n"
                                             "node: {name: \"-x\", rak: r1}\n"
                                             "cluster: {name: c, seeds: [nonsense], vnodes: many}\n"
                                             "listen: {peer: \"127.0.0.1:99999\"}\n"
                                             "limits: {max_value: 8}\n"
                                             "storage: 7\n"
                                             "log: {level: loud}\n"));
    assert_problem(":1:10: error: version: 2 is above the allowed 1");
    assert_problem(":2:14: error: node.name: expected a name");
    assert_problem("unknown key 'node.rak'; did you mean 'rack'?");
    assert_problem("cluster.seeds: expected at most 32 addresses host:port");
    assert_problem("cluster.vnodes: expected a whole number");
    assert_problem("listen.peer: expected an address host:port");
    assert_problem("limits.max_value: the unit is missing; write for example 64MiB");
    assert_problem("storage: expected a map of keys and values");
    assert_problem("log.level: expected one of debug|info|warn|error");
    assert_problem("the key 'node.data_dir' is missing");
    assert_problem("the key 'tls.ca' is missing");
    assert_true(problems.count >= 13);
}

static uint32_t occurrences(const char *text)
{
    uint32_t n = 0;
    rf_buf_append(&problems.text, "", 1);
    problems.text.size--;
    for (const char *at = (const char *)problems.text.data; (at = strstr(at, text)) != NULL; at++) {
        n++;
    }
    return n;
}

/* Goal: a mistake of form (duplicate key, anchor, alias) does not hide wrong values before and behind
 * it, and is told once. */
static void forms_hide_no_values(void **state)
{
    (void)state;
    assert_int_equal(RF_CONFIG_INVALID, load("version: 2\n"
                                             "node: &a {name: n1, data_dir: /d}\n"
                                             "cluster: *a\n"
                                             "listen: {peer: nonsense}\n"
                                             "listen: {client: nonsense}\n"
                                             "tls: {ca: *a, cert: !!str x}\n"
                                             "storage: {partitions: 12}\n"
                                             "auth: none\n"));
    assert_problem(":1:10: error: version: 2 is above");
    assert_problem(":2:7: error: anchors, aliases and tags");
    assert_problem(":3:10: error: anchors, aliases and tags");
    assert_problem(":4:16: error: listen.peer: expected an address");
    assert_problem(":5:1: error: duplicate key 'listen'");
    assert_problem(":5:18: error: listen.client: expected an address");
    assert_problem(":6:11: error: anchors, aliases and tags");
    assert_problem(":6:21: error: anchors, aliases and tags");
    assert_problem(":6:1: error: the key 'tls.key' is missing");
    assert_problem(":7:23: error: storage.partitions: must be a power of two");
    assert_int_equal(10, problems.count);
    assert_int_equal(10, occurrences(": error: "));
    again();
    /* No YAML from some place on: what was read is checked, what was not is not called missing. */
    assert_int_equal(RF_CONFIG_INVALID,
                     load("version: 2\nnode: {name: \"-x\"}\nlog: {level: [}\n"));
    assert_problem(":1:10: error: version: 2 is above");
    assert_problem(":2:14: error: node.name: expected a name");
    assert_int_equal(0, occurrences("is missing"));
}

/* Goal: a missing key is told at the map that lacks it. */
static void missing_keys_have_a_place(void **state)
{
    (void)state;
    assert_int_equal(RF_CONFIG_INVALID, load("version: 1\n"
                                             "node: {name: n1}\n"
                                             "listen: {}\n"
                                             "auth:\n"
                                             "  {}\n"
                                             "cluster: {name: c, seeds: []}\n"));
    assert_problem(
        ":2:1: error: the key 'node.data_dir' is missing (directory of this node's data)\n"
        "    node: {name: n1}\n    ^\n");
    assert_problem(":3:1: error: the key 'listen.peer' is missing");
    assert_problem(":1:1: error: the key 'tls.ca' is missing");
    assert_problem(":4:1: error: the key 'auth.tokens_file' is missing");
    assert_problem(":6:27: error: cluster.seeds: at least one seed");
    assert_int_equal(problems.count, occurrences(": error: "));
}

static void refused(const char *more, const char *expected)
{
    again();
    assert_int_equal(RF_CONFIG_INVALID, load_with(more));
    assert_problem(expected);
}

static void accepted(const char *more)
{
    again();
    if (load_with(more) != RF_OK) {
        rf_buf_append(&problems.text, "", 1);
        fail_msg("%s\n%s", more, (const char *)problems.text.data);
    }
}

/* Goal: units, ranges and types, each with a sentence that says what to write. */
static void values(void **state)
{
    (void)state;
    refused("limits: {request_timeout: 2}\n", "the unit is missing; write for example 10s");
    refused("limits: {request_timeout: 2y}\n", "unknown unit; write for example 10s");
    refused("limits: {request_timeout: fast}\n", "expected a number with a unit, such as 10s");
    refused("limits: {request_timeout: 99ms}\n", "99ms is below the allowed 100 ms");
    refused("limits: {request_timeout: 99999999999999999999s}\n", "expected a number");
    refused("limits: {request_timeout: 9223372036854775807h}\n", "the number is too large");
    refused("limits: {max_value: 65MiB}\n", "65MiB is above the allowed 67108864 bytes");
    refused("limits: {max_connections: 1.5}\n", "expected a whole number");
    refused("limits: {max_connections: [1]}\n", "limits.max_connections: expected one value");
    refused("repair: {bandwidth: 50MiB}\n", "unknown unit; write for example 50MiB/s");
    refused("storage: {disk_reserve: 5}\n", "the unit is missing; write for example 5%");
    refused("storage: {disk_reserve: 5.123%}\n", "at most two decimals");
    refused("storage: {disk_reserve: 60%}\n", "above the allowed");
    refused("storage: {partitions: 12}\n", "storage.partitions: must be a power of two");
    refused("tls: {client_cert: x}\n", "duplicate key 'tls'");
    refused("zebra: 1\n", "unknown key 'zebra'");
    accepted("limits: {request_timeout: 2s, max_value: 0, max_connections: 5}\n"
             "storage: {disk_reserve: 2.5%}\nrepair: {bandwidth: 1GiB/s}\n");
    accepted("advertise: {client: \"[::1]:7443\", peer: \"host.example:1\"}\n");
    refused("advertise: {peer: \"::1:7443\"}\n", "expected an address host:port");
    refused("advertise: {peer: \"host:0\"}\n", "expected an address host:port");
    refused("advertise: {peer: \"host\"}\n", "expected an address host:port");
}

/* Goal: running open has to be written out. */
static void open_access_is_explicit(void **state)
{
    (void)state;
    char text[1024];
    snprintf(text, sizeof(text), "%.*s", (int)(strlen(good) - strlen("auth: none\n")), good);
    assert_int_equal(RF_CONFIG_INVALID, load(text));
    assert_problem("the key 'auth.tokens_file' is missing; to run open, write `auth: none`");
    strcat(text, "auth: open\n");
    assert_int_equal(RF_CONFIG_INVALID, load(text));
    assert_problem("auth: expected the word none, or a map");
}

static enum rf_rc listen_on(const char *client, const char *peer)
{
    char text[1024];
    again();
    snprintf(text, sizeof(text),
             "version: 1\nnode: {name: n1, data_dir: /d}\n"
             "cluster: {name: c, seeds: [\"127.0.0.1:1\"]}\n"
             "listen: {client: \"%s\", peer: \"%s\"}\n"
             "tls: {ca: ca.crt, cert: a.crt, key: a.key}\nauth: none\n",
             client, peer);
    return load(text);
}

/* Goal: clients and peers never share a socket: threads share ports, so nothing else would notice. */
static void ports_are_apart(void **state)
{
    (void)state;
    assert_int_equal(RF_CONFIG_INVALID, listen_on("127.0.0.1:1", "127.0.0.1:1"));
    assert_problem(":4:39: error: listen.peer: clients and peers need ports of their own");
    assert_int_equal(RF_CONFIG_INVALID, listen_on("0.0.0.0:1", "127.0.0.1:1"));
    assert_int_equal(RF_CONFIG_INVALID, listen_on("127.0.0.1:1", "[::]:1"));
    assert_int_equal(RF_OK, listen_on("127.0.0.1:1", "127.0.0.2:1"));
    assert_int_equal(RF_OK, listen_on("127.0.0.1:1", "127.0.0.1:11"));
}

/* ---- Tokens ------------------------------------------------------------------------------- */

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static enum rf_rc load_tokens(const char *text, struct rf_tokens *ret_tokens)
{
    again();
    *ret_tokens = (struct rf_tokens){0};
    snprintf(path, sizeof(path), "/tmp/rf-tokens-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal((ssize_t)strlen(text), write(fd, text, strlen(text)));
    close(fd);
    enum rf_rc rc = rf_tokens_load(path, ret_tokens, &problems).rc;
    unlink(path);
    return rc;
}

/* Goal: the tokens file has a schema as the others have: a mistyped `expires` is a token for ever. */
static void tokens(void **state)
{
    (void)state;
    static struct rf_tokens list;
    assert_int_equal(RF_OK,
                     load_tokens("version: 1\ntokens:\n  - {id: a, role: admin, sha256: " HASH "}\n"
                                 "  - {id: b, role: admin, sha256: " HASH
                                 ", expires: 2001-01-01T00:00:00Z}\n",
                                 &list));
    assert_int_equal(2, list.n);
    assert_string_equal("a", list.list[0].id);
    assert_int_equal(0x01, list.list[0].sha256[0]);
    assert_int_equal(0, list.list[0].expires_ms);
    assert_int_equal(UINT64_C(978307200000), list.list[1].expires_ms);
    assert_int_equal(RF_CONFIG_INVALID,
                     load_tokens("tokns: []\n"
                                 "tokens:\n"
                                 "  - {id: a, role: admin, sha256: " HASH
                                 ", expire: 2001-01-01T00:00:00Z}\n"
                                 "  - {id: b, rolle: admin, sha256: 12}\n"
                                 "  - {id: c, role: king, sha256: " HASH ", expires: tomorrow}\n"
                                 "  - text\n"
                                 "  - {id: d, id: e, role: admin}\n",
                                 &list));
    assert_problem(":1:1: error: unknown key 'tokns'; did you mean 'tokens'?");
    assert_problem(":3:100: error: unknown key 'expire'; did you mean 'expires'?");
    assert_problem(":4:13: error: unknown key 'rolle'; did you mean 'role'?");
    assert_problem(":4:5: error: the key 'role' is missing");
    assert_problem(":4:35: error: sha256: must be the SHA-256 of the whole token");
    assert_problem(":5:19: error: role: unknown role; known is 'admin'");
    assert_problem("error: expires: must look like 2027-01-01T00:00:00Z");
    assert_problem(":6:5: error: expected a token: {id, sha256, role}");
    assert_problem(":7:13: error: duplicate key 'id'");
    assert_problem(":7:5: error: the key 'sha256' is missing");
    assert_int_equal(10, problems.count);
    assert_int_equal(RF_CONFIG_INVALID, load_tokens("version: 2\ntokens: []\n", &list));
    assert_problem(":1:10: error: version: 2 is above the allowed 1");
    assert_int_equal(RF_CONFIG_INVALID, load_tokens("{}\n", &list));
    assert_problem(":1:1: error: the key 'tokens' is missing");
    assert_int_equal(RF_CONFIG_INVALID, load_tokens("tokens: {id: a}\n", &list));
    assert_problem(":1:9: error: tokens: expected a list");
}

/* ---- Tables ------------------------------------------------------------------------------- */

static enum rf_rc load_table(const char *text, struct rf_table_config *ret_config)
{
    struct rf_document document;
    snprintf(path, sizeof(path), "/tmp/rf-table-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal((ssize_t)strlen(text), write(fd, text, strlen(text)));
    close(fd);
    enum rf_rc rc = rf_table_config_load(path, ret_config, &document, &problems).rc;
    unlink(path);
    rf_document_free(&document);
    return rc;
}

static void table_refused(const char *text, const char *expected)
{
    struct rf_table_config config;
    again();
    assert_int_equal(RF_CONFIG_INVALID, load_table(text, &config));
    assert_problem(expected);
}

/* Goal: a table's defaults, the quorum rules (S161, S164), the modes of durability (D5). */
static void tables(void **state)
{
    (void)state;
    struct rf_table_config config;
    assert_int_equal(RF_OK, load_table("version: 1\ntable: t\n", &config));
    assert_int_equal(3, config.n);
    assert_int_equal(2, config.write_quorum);
    assert_int_equal(2, config.read_quorum);
    assert_string_equal("conflict-lww", config.conflict.plugin);
    assert_true(config.durability == 0 && config.interval_ms == 0);
    assert_int_equal(INT64_C(864000000), config.tombstone_grace_ms);
    assert_int_equal(0, config.row_cache_bytes);
    assert_int_equal(0, config.ttl_ms);
    assert_int_equal(RF_OK,
                     load_table("version: 1\ntable: t\nrow_cache: off\nttl: none\n"
                                "replication: {write_quorum: 1, read_quorum: 1, weak: true}\n",
                                &config));
    assert_true(config.weak);
    table_refused("version: 1\ntable: t\nreplication: {write_quorum: 1, read_quorum: 2}\n",
                  "write `weak: true`");
    table_refused("version: 1\ntable: t\nreplication: {n: 2, write_quorum: 3}\n",
                  "a quorum above n = 2 can never be met");
    table_refused("version: 1\ntable: t\nttl: 10d\nmax_ttl: 1d\n",
                  ":3:6: error: ttl: above max_ttl");
    assert_int_equal(RF_OK,
                     load_table("version: 1\ntable: t\ndurability: {interval: 25ms}\n", &config));
    assert_int_equal(25, config.interval_ms);
    assert_int_equal(RF_OK, load_table("version: 1\ntable: t\ndurability: group\n", &config));
    assert_true(config.durability == 1 && config.interval_ms == 0);
    assert_int_equal(RF_OK, load_table("version: 1\ntable: t\ndurability: none\n", &config));
    assert_true(config.durability == 3 && config.interval_ms == 0);
    table_refused("version: 1\ntable: t\ndurability: sometimes\n",
                  "expected one of node|group|interval|none");
    table_refused("version: 1\ntable: t\ndurability: {interval: 10}\n", "the unit is missing");
    table_refused("version: 1\ntable: t\ndurability: {interval: 0}\n", "below the allowed 1 ms");
    table_refused("version: 1\ntable: t\ndurability: {intervall: 10ms}\n", "did you mean");
    table_refused("version: 1\ntable: ../t\n", "table: expected a name");
    table_refused("version: 1\ntable: t\nreplication: {sloppy: yes}\n", "expected true or false");
    table_refused("version: 1\n", "the key 'table' is missing");
    table_refused("version: 1\ntable: t\ntombstone_grace: 10\n", "the unit is missing");
    table_refused("version: 1\ntable: t\ntombstone_grace: 10ms\n", "below the allowed 1000 ms");
}

/* The warning of a file that is good; NULL: none. */
static void warned(const char *expected)
{
    rf_buf_append(&problems.warnings, "", 1);
    const char *text = (const char *)problems.warnings.data;
    assert_int_equal(0, problems.count);
    assert_int_equal(expected != NULL, problems.n_warnings);
    if (expected != NULL && strstr(text, expected) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", expected, text);
    }
}

/* Goal: every key that is accepted without effect warns, at its place and in the form of an error, when
 * it is set; every other key, and a switch that is off, does not. Method: every row is set to its
 * default in a file of its own. */
static void keys_without_effect(void **state)
{
    (void)state;
    unsigned n = 0;
    for (uint32_t i = 0; i < rf_n_node_settings; i++) {
        const struct rf_setting *row = &rf_node_settings[i];
        const char              *dot = strchr(row->path, '.');
        char                     more[200];
        char                     expected[100];
        if (dot == NULL || row->def == NULL || row->def[0] == 0 || row->type == RF_SET_PATH) {
            assert_int_not_equal(RF_EFFECT_NOT_YET, row->effect);
            continue;
        }
        bool in_base = strncmp(row->path, "node.", 5) == 0 ||
                       strncmp(row->path, "cluster.", 8) == 0 ||
                       strncmp(row->path, "listen.", 7) == 0;
        if (in_base) {
            continue; /* their sections are in every file of this test */
        }
        snprintf(more, sizeof(more), "%.*s: {%s: \"%s\"}\n", (int)(dot - row->path), row->path,
                 dot + 1, row->def);
        snprintf(expected, sizeof(expected), ": warning: %s has no effect yet\n", row->path);
        accepted(more);
        warned(row->effect == RF_EFFECT_NOT_YET ? expected : NULL);
        n += row->effect == RF_EFFECT_NOT_YET;
    }
    assert_true(n >= 2);
    again();
    struct rf_table_config config;
    assert_int_equal(
        RF_OK, load_table("version: 1\ntable: t\nreplication: {n: 3, sloppy: true}\n", &config));
    warned(":3:21: warning: replication.sloppy has no effect yet\n"
           "    replication: {n: 3, sloppy: true}\n                        ^\n");
    again();
    assert_int_equal(RF_OK,
                     load_table("version: 1\ntable: t\nreplication: {sloppy: false}\n", &config));
    warned(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults),
        TEST(rows_are_sound),
        TEST(all_problems_at_once),
        TEST(values),
        TEST(open_access_is_explicit),
        TEST(tables),
        TEST(keys_without_effect),
        TEST(forms_hide_no_values),
        TEST(missing_keys_have_a_place),
        TEST(ports_are_apart),
        TEST(tokens),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
