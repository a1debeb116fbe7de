/* Health, administration and the ring, for clients. */
#include <stdio.h>

#include "base/log.h"
#include "io/clock.h"
#include "server/exchange.h"
#include "server/item_request.h"

static void answer_json(struct rf_exchange *exchange, uint16_t status, struct rf_buf *body)
{
    rf_exchange_answer(exchange, status, "application/json", rf_buf_slice(body), NULL);
    rf_buf_fini(body);
}

static bool only_get(struct rf_exchange *exchange)
{
    if (exchange->method == RF_HTTP_GET || exchange->method == RF_HTTP_HEAD) {
        return true;
    }
    rf_exchange_problem(exchange, RF_METHOD_NOT_ALLOWED, "GET, HEAD", NULL);
    return false;
}

/* ---- JSON --------------------------------------------------------------------------------- */

/* A comma, unless this is the first in its object or list. */
static void put_comma(struct rf_buf *body)
{
    uint8_t last = body->size == 0 ? '{' : body->data[body->size - 1];
    if (last != '{' && last != '[') {
        rf_buf_append_str(body, ",");
    }
}

static void put_name(struct rf_buf *body, const char *name)
{
    put_comma(body);
    rf_json_string(body, rf_slice_str(name));
    rf_buf_append_str(body, ":");
}

static void put_text(struct rf_buf *body, const char *name, const char *text)
{
    put_name(body, name);
    rf_json_string(body, rf_slice_str(text));
}

static void put_number(struct rf_buf *body, const char *name, uint64_t value)
{
    put_name(body, name);
    rf_buf_append_u64(body, value);
}

static void put_bool(struct rf_buf *body, const char *name, bool value)
{
    put_name(body, name);
    rf_buf_append_str(body, value ? "true" : "false");
}

static void put_hex(struct rf_buf *body, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    put_text(body, name, text);
}

/* "{" or "[" as the value of a name, or (NULL) as an item of a list. */
static void put_open(struct rf_buf *body, const char *name, const char *bracket)
{
    if (name == NULL) {
        put_comma(body);
    } else {
        put_name(body, name);
    }
    rf_buf_append_str(body, bracket);
}

/* ---- Health ------------------------------------------------------------------------------- */

/* Why the node should get no requests: a word for programs and what to do for people; NULL when it is
 * ready. A node with a full disk is ready: it reads, deletes, and coordinates for the others. */
struct not_ready {
    const char *word, *text;
};

static struct not_ready not_ready(struct rf_worker *worker)
{
    struct rf_server     *server = worker->base.server;
    const struct rf_view *view = rf_shard_view(worker->shard);
    bool                  serves = view != NULL && view->ring->n_owners != 0;
    if (atomic_load(&server->draining)) {
        return (struct not_ready){"draining", "the node was told to stop"};
    }
    if (!serves && atomic_load(&server->refused)) {
        return (struct not_ready){"refused", "the cluster refuses this node; its log says why"};
    }
    if (!serves && atomic_load(&server->state_lost)) {
        return (struct not_ready){
            "cluster_state_lost",
            "the member table of this node's cluster is not in its data directory; a living member "
            "of the cluster must admit it again: name one in cluster.seeds"};
    }
    if (!serves) {
        return (struct not_ready){"starting", "the node is not part of a cluster yet"};
    }
    if (rf_engine_storage_state(server->engine) == RF_STORAGE_READ_ONLY) {
        return (struct not_ready){
            "read_only", "the write-ahead log has failed; check the disk, then restart the node"};
    }
    return (struct not_ready){NULL, NULL};
}

/* Live owners against what a table needs; the strictest table counts. */
static bool cluster_ok(struct rf_worker *worker, struct rf_slice what)
{
    const struct rf_view *view = rf_shard_view(worker->shard);
    uint32_t              dead = 0;
    if (view == NULL || view->ring->n_owners == 0) {
        return false;
    }
    for (uint32_t m = 0; m < view->ring->n_members; m++) {
        dead += view->ring->members[m].state == RF_MEMBER_NORMAL &&
                !rf_shard_alive(worker->shard, (uint16_t)m);
    }
    for (uint32_t t = 0; t < view->n_tables; t++) {
        const struct rf_table *table = &view->tables[t];
        uint32_t               needed = rf_slice_is(what, "read")     ? 1
                                        : rf_slice_is(what, "strong") ? table->read_quorum
                                                                      : table->write_quorum;
        if (table->replicas == NULL || dead + needed > table->n_placed) {
            return false;
        }
    }
    return true;
}

static void health_cluster(struct rf_exchange *exchange)
{
    struct rf_buf   name = {0};
    struct rf_buf   what = {0};
    struct rf_buf   body = {0};
    struct rf_slice query = exchange->request->query;
    bool            valid =
        rf_ok(rf_http_query_next(&query, &name, &what)) &&
        rf_slice_is(rf_buf_slice(&name), "for") &&
        (rf_slice_is(rf_buf_slice(&what), "read") || rf_slice_is(rf_buf_slice(&what), "write") ||
         rf_slice_is(rf_buf_slice(&what), "strong"));
    if (!valid) {
        rf_exchange_problem(exchange, RF_BAD_QUERY, "use ?for=write, ?for=read or ?for=strong",
                            NULL);
    } else {
        bool ok = cluster_ok(exchange->worker, rf_buf_slice(&what));
        rf_buf_append_str(&body, ok ? "{\"status\":\"ok\"}"
                                    : "{\"status\":\"unavailable\",\"reason\":\"quorum\"}");
        answer_json(exchange, ok ? 200 : 503, &body);
    }
    rf_buf_fini(&name);
    rf_buf_fini(&what);
}

void rf_api_health(struct rf_exchange *exchange)
{
    struct rf_buf body = {0};
    if (!only_get(exchange)) {
        return;
    }
    if (rf_slice_is(exchange->request->path, "/health/live")) {
        rf_buf_append_str(&body, "{\"status\":\"live\"}");
        answer_json(exchange, 200, &body);
    } else if (rf_slice_is(exchange->request->path, "/health/ready")) {
        struct not_ready reason = not_ready(exchange->worker);
        rf_buf_append_str(&body, "{");
        put_text(&body, "status", reason.word == NULL ? "ready" : "not_ready");
        if (reason.word != NULL) {
            put_text(&body, "reason", reason.word);
            put_text(&body, "detail", reason.text);
        }
        rf_buf_append_str(&body, "}");
        answer_json(exchange, reason.word == NULL ? 200 : 503, &body);
    } else if (rf_slice_is(exchange->request->path, "/health/cluster")) {
        health_cluster(exchange);
    } else {
        static const char *const paths[] = {"/health/live", "/health/ready", "/health/cluster"};
        rf_exchange_no_route(exchange, paths, 3);
    }
}

/* ---- Ring and status ---------------------------------------------------------------------- */

static const char *state_name(uint8_t state)
{
    return state == RF_MEMBER_NORMAL ? "normal" : state == RF_MEMBER_JOINING ? "joining" : "left";
}

static void put_nodes(struct rf_buf *body, struct rf_worker *worker)
{
    const struct rf_view *view = rf_shard_view(worker->shard);
    put_open(body, "nodes", "[");
    for (uint16_t m = 0; view != NULL && m < view->ring->n_members; m++) {
        const struct rf_member *member = &view->ring->members[m];
        put_open(body, NULL, "{");
        put_text(body, "name", member->name);
        put_hex(body, "id", member->node);
        put_text(body, "state", state_name(member->state));
        put_bool(body, "alive", rf_shard_alive(worker->shard, m));
        put_text(body, "storage", rf_storage_state_name(rf_shard_storage(worker->shard, m)));
        put_text(body, "rack", member->rack);
        put_text(body, "client", member->client_addr);
        put_text(body, "peer", member->peer_addr);
        rf_buf_append_str(body, "}");
    }
    rf_buf_append_str(body, "]");
}

static void put_durability(struct rf_buf *body, const struct rf_table_policy *policy)
{
    put_text(body, "durability",
             policy->sync == RF_SYNC_GROUP      ? "group"
             : policy->sync == RF_SYNC_INTERVAL ? "interval"
                                                : "none");
    if (policy->sync == RF_SYNC_INTERVAL) {
        put_number(body, "sync_interval_ms", policy->sync_interval_ms);
    }
}

static bool is_misplaced(const struct rf_worker *worker, const char *name)
{
    const struct rf_view  *view = rf_shard_view(worker->shard);
    const struct rf_table *table = view == NULL ? NULL : rf_view_table(view, rf_slice_str(name));
    return table != NULL && table->misplaced;
}

static void put_tables(struct rf_buf *body, struct rf_worker *worker)
{
    struct rf_server *server = worker->base.server;
    put_open(body, "tables", "[");
    for (uint32_t t = 0; t < server->n_tables; t++) {
        const struct rf_server_table *table = &server->tables[t];
        put_open(body, NULL, "{");
        put_text(body, "name", table->config.table);
        put_number(body, "n", (uint64_t)table->config.n);
        put_number(body, "write_quorum", (uint64_t)table->config.write_quorum);
        put_number(body, "read_quorum", (uint64_t)table->config.read_quorum);
        put_text(body, "conflict", table->config.conflict.plugin);
        put_text(body, "placement", table->config.placement.plugin);
        put_text(body, "compaction", table->config.compaction.plugin);
        put_durability(body, &table->policy);
        if (table->problem[0] != 0) {
            put_text(body, "problem", table->problem);
        } else if (is_misplaced(worker, table->config.table)) {
            put_text(body, "problem", RF_MISPLACED);
        }
        rf_buf_append_str(body, "}");
    }
    rf_buf_append_str(body, "]");
}

static void put_plugins(struct rf_buf *body, struct rf_server *server)
{
    put_open(body, "plugins", "[");
    for (uint32_t i = 0; i < rf_registry_count(server->registry); i++) {
        const struct rf_plugin *plugin = rf_registry_at(server->registry, i);
        put_open(body, NULL, "{");
        put_text(body, "name", plugin->notes.note.name);
        put_text(body, "version", plugin->notes.note.version);
        put_hex(body, "content_hash", plugin->content_hash);
        rf_buf_append_str(body, "}");
    }
    rf_buf_append_str(body, "]");
}

static void put_disk(struct rf_buf *body, const struct rf_engine *engine)
{
    struct rf_disk_space disk = rf_engine_disk(engine);
    put_open(body, "disk", "{");
    put_text(body, "storage", rf_storage_state_name(rf_engine_storage_state(engine)));
    put_number(body, "free_bytes", disk.free_bytes);
    put_number(body, "total_bytes", disk.total_bytes);
    put_number(body, "needed_bytes", disk.needed_bytes);
    put_bool(body, "low", disk.low);
    put_bool(body, "full", disk.full);
    rf_buf_append_str(body, "}");
}

static void admin_status(struct rf_exchange *exchange)
{
    struct rf_worker     *worker = exchange->worker;
    struct rf_server     *server = worker->base.server;
    const struct rf_view *view = rf_shard_view(worker->shard);
    struct not_ready      reason = not_ready(worker);
    struct rf_buf         body = {0};
    rf_buf_append_str(&body, "{");
    put_text(&body, "node", server->config.node.name);
    put_text(&body, "cluster", server->config.cluster.name);
    put_hex(&body, "cluster_id", atomic_load(&server->cluster));
    put_hex(&body, "ring_digest", view == NULL ? 0 : view->ring->digest);
    put_text(&body, "state", reason.word == NULL ? "ready" : reason.word);
    put_number(&body, "generation", rf_engine_generation(server->engine));
    put_number(&body, "uptime_ms", rf_clock_now().mono_us / 1000 - server->started_ms);
    put_disk(&body, server->engine);
    put_nodes(&body, worker);
    put_tables(&body, worker);
    put_plugins(&body, server);
    rf_buf_append_str(&body, "}");
    answer_json(exchange, 200, &body);
}

static void answer_ring(struct rf_exchange *exchange)
{
    const struct rf_view *view = rf_shard_view(exchange->worker->shard);
    struct rf_buf         body = {0};
    if (view == NULL) {
        rf_exchange_problem(exchange, RF_STARTING, NULL, NULL);
        return;
    }
    rf_buf_append_str(&body, "{");
    put_hex(&body, "digest", view->ring->digest);
    put_hex(&body, "hash_seed", view->ring->seed);
    put_text(&body, "hash", "xxh3-64");
    put_nodes(&body, exchange->worker);
    put_open(&body, "tokens", "[");
    for (uint32_t i = 0; i < view->ring->n_tokens; i++) {
        char text[40];
        snprintf(text, sizeof(text), "[\"%016llx\",%u]", (unsigned long long)view->ring->tokens[i],
                 view->ring->owners[i]);
        put_open(&body, NULL, text);
    }
    rf_buf_append_str(&body, "]}");
    answer_json(exchange, 200, &body);
}

void rf_api_ring(struct rf_exchange *exchange)
{
    if (rf_exchange_authorize(exchange) && only_get(exchange)) {
        answer_ring(exchange);
    }
}

/* ---- Locate and reload -------------------------------------------------------------------- */

/* Takes ?table=&key= or ?key_b64= apart with the code of item requests. */
static void ring_locate(struct rf_exchange *exchange)
{
    const struct rf_view  *view = rf_shard_view(exchange->worker->shard);
    struct rf_item_request item = {.kind = RF_CLIENT_GET};
    struct rf_buf          body = {0};
    rf_item_parse(&item, exchange->request->query, rf_slice(NULL, 0));
    const char            *name = item.table[0] == 0 ? "default" : item.table;
    const struct rf_table *table = view == NULL ? NULL : rf_view_table(view, rf_slice_str(name));
    if (item.rc != RF_OK || item.errors.size != 0) {
        rf_exchange_problem(exchange, RF_BAD_QUERY, "use ?key=KEY or ?key_b64=, and table=NAME",
                            NULL);
    } else if (view == NULL || (table != NULL && table->replicas == NULL)) {
        rf_exchange_problem(exchange, view == NULL ? RF_STARTING : RF_QUORUM_UNAVAILABLE, NULL,
                            NULL);
    } else if (table == NULL) {
        rf_exchange_problem(exchange, RF_TABLE_NOT_FOUND, NULL, NULL);
    } else {
        uint64_t        token = rf_ring_token(view->ring->seed, rf_buf_slice(&item.key));
        const uint16_t *members = rf_view_replicas(view, table, token);
        rf_buf_append_str(&body, "{");
        put_text(&body, "table", name);
        put_hex(&body, "token", token);
        put_open(&body, "replicas", "[");
        for (uint32_t i = 0; i < table->n_placed; i++) {
            const struct rf_member *member = &view->ring->members[members[i]];
            put_open(&body, NULL, "{");
            put_text(&body, "node", member->name);
            put_text(&body, "rack", member->rack);
            put_text(&body, "client", member->client_addr);
            put_bool(&body, "alive", rf_shard_alive(exchange->worker->shard, members[i]));
            rf_buf_append_str(&body, "}");
        }
        rf_buf_append_str(&body, "]}");
        answer_json(exchange, 200, &body);
    }
    rf_item_fini(&item);
}

static void config_reload(struct rf_exchange *exchange)
{
    struct rf_thread *thread = &exchange->worker->base;
    struct rf_mail    mail = {.kind = RF_MAIL_RELOAD_ASK,
                              .as.reloaded = {.exchange = exchange, .from = thread->number}};
    if (exchange->method != RF_HTTP_POST) {
        rf_exchange_problem(exchange, RF_METHOD_NOT_ALLOWED, "POST", NULL);
    } else if (!rf_thread_mail(thread, thread->server->n_shards, &mail)) {
        rf_exchange_problem(exchange, RF_OVERLOADED, NULL, NULL);
    }
}

void rf_api_reload_reply(struct rf_exchange *exchange, bool ok, struct rf_blob *body)
{
    if (body == NULL) {
        rf_exchange_problem(exchange, RF_NO_MEMORY, NULL, NULL);
        return;
    }
    rf_exchange_answer(exchange, ok ? 200 : 422, "application/json",
                       rf_slice(body->data, body->size), NULL);
    rf_blob_drop(body);
}

/* ---- Flush and compaction ----------------------------------------------------------------- */

/* Every thread does it for its store; the answer comes when all are done. */
static void ask_for_work(struct rf_exchange *exchange, bool compaction)
{
    struct rf_worker *worker = exchange->worker;
    struct rf_mail    mail = {
           .kind = RF_MAIL_WORK,
           .as.work = {.exchange = exchange, .from = worker->base.number, .compaction = compaction}};
    if (exchange->method != RF_HTTP_POST) {
        rf_exchange_problem(exchange, RF_METHOD_NOT_ALLOWED, "POST", NULL);
        return;
    }
    uint32_t n = worker->base.server->n_shards;
    exchange->work_left = n;
    exchange->work_rc = RF_OK;
    for (uint32_t s = 0; s < n; s++) {
        if (s != worker->base.number && !rf_thread_mail(&worker->base, s, &mail)) {
            rf_api_work_reply(exchange, RF_OVERLOADED);
        }
    }
    rf_background_ask(worker, &mail.as.work);
}

static void admin_flush(struct rf_exchange *exchange)
{
    ask_for_work(exchange, false);
}

static void admin_compactions(struct rf_exchange *exchange)
{
    ask_for_work(exchange, true);
}

void rf_api_work_reply(struct rf_exchange *exchange, enum rf_rc rc)
{
    struct rf_buf body = {0};
    if (rc != RF_OK && exchange->work_rc == RF_OK) {
        exchange->work_rc = rc;
    }
    if (--exchange->work_left != 0) {
        return;
    }
    if (exchange->work_rc != RF_OK) {
        rf_exchange_problem(exchange, exchange->work_rc,
                            exchange->work_rc == RF_DRAINING
                                ? "the node stops; it was not waited for"
                                : "the log of the node says more",
                            NULL);
        return;
    }
    rf_buf_append_str(&body, "{\"state\":\"done\"}");
    answer_json(exchange, 200, &body);
}

/* ---- Dispatch ----------------------------------------------------------------------------- */

static void not_yet(struct rf_exchange *exchange)
{
    if (exchange->method != RF_HTTP_POST) {
        rf_exchange_problem(exchange, RF_METHOD_NOT_ALLOWED, "POST", NULL);
    } else {
        rf_exchange_problem(exchange, RF_NOT_IMPLEMENTED, NULL, NULL);
    }
}

struct admin_route {
    const char *path;
    bool        get; /* GET and HEAD only */
    void (*handler)(struct rf_exchange *exchange);
};

static const struct admin_route admin_routes[] = {
    {"/admin/v1/status", true, admin_status},
    {"/admin/v1/ring", true, answer_ring},
    {"/admin/v1/ring/locate", true, ring_locate},
    {"/admin/v1/config/reload", false, config_reload},
    {"/admin/v1/flush", false, admin_flush},
    {"/admin/v1/compactions", false, admin_compactions},
    {"/admin/v1/repairs", false, not_yet},
};
#define N_ADMIN_ROUTES (sizeof(admin_routes) / sizeof(admin_routes[0]))

static void audit(const struct rf_exchange *exchange)
{
    struct rf_slice path = exchange->request->path;
    char            id[40];
    rf_exchange_id(exchange, id);
    if (exchange->method != RF_HTTP_GET && exchange->method != RF_HTTP_HEAD) {
        rf_log(RF_LOG_INFO, "admin_call", "request=%s principal=\"%s\" path=\"%.*s\"", id,
               exchange->principal, (int)(path.size < 200 ? path.size : 200),
               (const char *)path.data);
    }
}

void rf_api_admin(struct rf_exchange *exchange)
{
    const char *paths[N_ADMIN_ROUTES];
    if (!rf_exchange_authorize(exchange)) {
        return;
    }
    audit(exchange);
    for (size_t i = 0; i < N_ADMIN_ROUTES; i++) {
        paths[i] = admin_routes[i].path;
        if (rf_slice_is(exchange->request->path, paths[i])) {
            if (!admin_routes[i].get || only_get(exchange)) {
                admin_routes[i].handler(exchange);
            }
            return;
        }
    }
    rf_exchange_no_route(exchange, paths, N_ADMIN_ROUTES);
}
