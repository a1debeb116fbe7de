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

/* ---- Health ------------------------------------------------------------------------------- */

/* Why the node should get no requests; NULL when it is ready. */
static const char *not_ready(struct rf_worker *worker)
{
    struct rf_server     *server = worker->base.server;
    const struct rf_view *view = rf_shard_view(worker->shard);
    if (atomic_load(&server->draining)) {
        return "draining";
    }
    if (view == NULL || view->ring->n_owners == 0) {
        return "starting";
    }
    if (rf_store_read_only(worker->store)) {
        return "read_only";
    }
    return NULL;
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
        if (dead + needed > table->n_placed) {
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
        const char *reason = not_ready(exchange->worker);
        rf_buf_append_str(&body, reason == NULL ? "{\"status\":\"ready\""
                                                : "{\"status\":\"not_ready\",\"reason\":");
        if (reason != NULL) {
            rf_json_string(&body, rf_slice_str(reason));
        }
        rf_buf_append_str(&body, "}");
        answer_json(exchange, reason == NULL ? 200 : 503, &body);
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

static void put_field(struct rf_buf *body, const char *name, const char *text)
{
    rf_buf_append_str(body, "\"");
    rf_buf_append_str(body, name);
    rf_buf_append_str(body, "\":");
    rf_json_string(body, rf_slice_str(text));
}

static void put_hex(struct rf_buf *body, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);
    put_field(body, name, text);
}

static void put_nodes(struct rf_buf *body, struct rf_worker *worker)
{
    const struct rf_view *view = rf_shard_view(worker->shard);
    rf_buf_append_str(body, "\"nodes\":[");
    for (uint32_t m = 0; view != NULL && m < view->ring->n_members; m++) {
        const struct rf_member *member = &view->ring->members[m];
        rf_buf_append_str(body, m == 0 ? "{" : ",{");
        put_field(body, "name", member->name);
        rf_buf_append_str(body, ",");
        put_hex(body, "id", member->node);
        rf_buf_append_str(body, ",");
        put_field(body, "state", state_name(member->state));
        rf_buf_append_str(body, rf_shard_alive(worker->shard, (uint16_t)m) ? ",\"alive\":true,"
                                                                           : ",\"alive\":false,");
        put_field(body, "rack", member->rack);
        rf_buf_append_str(body, ",");
        put_field(body, "client", member->client_addr);
        rf_buf_append_str(body, ",");
        put_field(body, "peer", member->peer_addr);
        rf_buf_append_str(body, "}");
    }
    rf_buf_append_str(body, "]");
}

static void put_durability(struct rf_buf *body, const struct rf_table_policy *policy)
{
    put_field(body, "durability",
              policy->sync == RF_SYNC_GROUP      ? "group"
              : policy->sync == RF_SYNC_INTERVAL ? "interval"
                                                 : "none");
    if (policy->sync == RF_SYNC_INTERVAL) {
        rf_buf_append_str(body, ",\"sync_interval_ms\":");
        rf_buf_append_u64(body, policy->sync_interval_ms);
    }
}

static void put_tables(struct rf_buf *body, struct rf_server *server)
{
    rf_buf_append_str(body, "\"tables\":[");
    for (uint32_t t = 0; t < server->n_tables; t++) {
        const struct rf_server_table *table = &server->tables[t];
        rf_buf_append_str(body, t == 0 ? "{" : ",{");
        put_field(body, "name", table->config.table);
        rf_buf_append_str(body, ",\"n\":");
        rf_buf_append_u64(body, (uint64_t)table->config.n);
        rf_buf_append_str(body, ",\"write_quorum\":");
        rf_buf_append_u64(body, (uint64_t)table->config.write_quorum);
        rf_buf_append_str(body, ",\"read_quorum\":");
        rf_buf_append_u64(body, (uint64_t)table->config.read_quorum);
        rf_buf_append_str(body, ",");
        put_field(body, "conflict", table->config.conflict.plugin);
        rf_buf_append_str(body, ",");
        put_field(body, "placement", table->config.placement.plugin);
        rf_buf_append_str(body, ",");
        put_field(body, "compaction", table->config.compaction.plugin);
        rf_buf_append_str(body, ",");
        put_durability(body, &table->policy);
        if (table->problem[0] != 0) {
            rf_buf_append_str(body, ",");
            put_field(body, "problem", table->problem);
        }
        rf_buf_append_str(body, "}");
    }
    rf_buf_append_str(body, "]");
}

static void put_plugins(struct rf_buf *body, struct rf_server *server)
{
    rf_buf_append_str(body, "\"plugins\":[");
    for (uint32_t i = 0; i < rf_registry_count(server->registry); i++) {
        const struct rf_plugin *plugin = rf_registry_at(server->registry, i);
        rf_buf_append_str(body, i == 0 ? "{" : ",{");
        put_field(body, "name", plugin->notes.note.name);
        rf_buf_append_str(body, ",");
        put_field(body, "version", plugin->notes.note.version);
        rf_buf_append_str(body, ",");
        put_hex(body, "content_hash", plugin->content_hash);
        rf_buf_append_str(body, "}");
    }
    rf_buf_append_str(body, "]");
}

static void admin_status(struct rf_exchange *exchange)
{
    struct rf_worker     *worker = exchange->worker;
    struct rf_server     *server = worker->base.server;
    const struct rf_view *view = rf_shard_view(worker->shard);
    const char           *reason = not_ready(worker);
    struct rf_buf         body = {0};
    rf_buf_append_str(&body, "{");
    put_field(&body, "node", server->config.node.name);
    rf_buf_append_str(&body, ",");
    put_field(&body, "cluster", server->config.cluster.name);
    rf_buf_append_str(&body, ",");
    put_hex(&body, "cluster_id", atomic_load(&server->cluster));
    rf_buf_append_str(&body, ",");
    put_hex(&body, "ring_digest", view == NULL ? 0 : view->ring->digest);
    rf_buf_append_str(&body, ",");
    put_field(&body, "state", reason == NULL ? "ready" : reason);
    rf_buf_append_str(&body, ",\"generation\":");
    rf_buf_append_u64(&body, rf_engine_generation(server->engine));
    rf_buf_append_str(&body, ",\"uptime_ms\":");
    rf_buf_append_u64(&body, rf_clock_now().mono_us / 1000 - server->started_ms);
    rf_buf_append_str(&body, ",");
    put_nodes(&body, worker);
    rf_buf_append_str(&body, ",");
    put_tables(&body, server);
    rf_buf_append_str(&body, ",");
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
    rf_buf_append_str(&body, ",");
    put_hex(&body, "hash_seed", view->ring->seed);
    rf_buf_append_str(&body, ",\"hash\":\"xxh3-64\",");
    put_nodes(&body, exchange->worker);
    rf_buf_append_str(&body, ",\"tokens\":[");
    for (uint32_t i = 0; i < view->ring->n_tokens; i++) {
        char text[40];
        snprintf(text, sizeof(text), "%s[\"%016llx\",%u]", i == 0 ? "" : ",",
                 (unsigned long long)view->ring->tokens[i], view->ring->owners[i]);
        rf_buf_append_str(&body, text);
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
        put_field(&body, "table", name);
        rf_buf_append_str(&body, ",");
        put_hex(&body, "token", token);
        rf_buf_append_str(&body, ",\"replicas\":[");
        for (uint32_t i = 0; i < table->n_placed; i++) {
            const struct rf_member *member = &view->ring->members[members[i]];
            rf_buf_append_str(&body, i == 0 ? "{" : ",{");
            put_field(&body, "node", member->name);
            rf_buf_append_str(&body, ",");
            put_field(&body, "rack", member->rack);
            rf_buf_append_str(&body, ",");
            put_field(&body, "client", member->client_addr);
            rf_buf_append_str(&body, rf_shard_alive(exchange->worker->shard, members[i])
                                         ? ",\"alive\":true}"
                                         : ",\"alive\":false}");
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
        rf_exchange_problem(exchange, exchange->work_rc, "the log of the node says more", NULL);
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
    if (exchange->method != RF_HTTP_GET && exchange->method != RF_HTTP_HEAD) {
        rf_log(RF_LOG_INFO, "admin_call", "principal=\"%s\" path=\"%.*s\"", exchange->principal,
               (int)(path.size < 200 ? path.size : 200), (const char *)path.data);
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
