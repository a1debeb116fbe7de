/* /api/v1/item: from an HTTP request to a client operation, and from its reply to a response. */
#include <stdio.h>

#include "base/assert.h"
#include "config/tree.h"
#include "io/clock.h"
#include "server/exchange.h"
#include "server/item_request.h"

#define BODY_KEEP_MAX (256u * 1024)

/* ---- Table and replicas ------------------------------------------------------------------- */

static const struct rf_server_table *server_table(const struct rf_server *server, const char *name)
{
    for (uint32_t t = 0; t < server->n_tables; t++) {
        if (strcmp(server->tables[t].config.table, name) == 0) {
            return &server->tables[t];
        }
    }
    return NULL;
}

static void no_table(struct rf_server *server, const char *name, struct rf_item_request *item)
{
    const struct rf_server_table *known = server_table(server, name);
    const char                   *names[64];
    uint32_t                      n = 0;
    if (known != NULL) { /* its plugin was refused */
        item->rc = RF_QUORUM_UNAVAILABLE;
        snprintf(item->detail, sizeof(item->detail), "%.250s", known->problem);
        return;
    }
    while (n < server->n_tables && n < 64) {
        names[n] = server->tables[n].config.table;
        n++;
    }
    const char *meant = rf_did_you_mean(name, names, n);
    item->rc = RF_TABLE_NOT_FOUND;
    snprintf(item->detail, sizeof(item->detail), "no table '%s'%s%s%s", name,
             meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
             meant == NULL ? "" : "'?");
}

/* The table in the current view; NULL with the problem in the item. */
static const struct rf_table *find_table(struct rf_worker *worker, struct rf_item_request *item)
{
    const struct rf_view *view = rf_shard_view(worker->shard);
    const char           *name = item->table[0] == 0 ? "default" : item->table;
    if (view == NULL) {
        item->rc = RF_STARTING;
        snprintf(item->detail, sizeof(item->detail), "the node is not part of a cluster yet");
        return NULL;
    }
    const struct rf_table *table = rf_view_table(view, rf_slice_str(name));
    if (table == NULL) {
        no_table(worker->base.server, name, item);
    }
    return table;
}

/* Names of the replicas for Ringfort-Replicas, so that clients can go straight to one (D21). */
static void name_replicas(struct rf_exchange *exchange, const struct rf_table *table)
{
    const struct rf_view *view = rf_shard_view(exchange->worker->shard);
    size_t                at = 0;
    if (table->replicas == NULL) {
        return;
    }
    const uint16_t *members = rf_view_replicas(view, table, exchange->token);
    for (uint32_t i = 0; i < table->n_placed && at < sizeof(exchange->replicas); i++) {
        const char *name = view->ring->members[members[i]].name;
        size_t      n = strlen(name);
        if (at + n + 2 > sizeof(exchange->replicas)) {
            break;
        }
        if (i != 0) {
            exchange->replicas[at++] = ',';
        }
        memcpy(exchange->replicas + at, name, n);
        at += n;
    }
    exchange->replicas[at] = 0;
}

/* ---- Checks that need table and clock ----------------------------------------------------- */

/* A client's timestamp may not outlive a tombstone's grace: an older write could come back after
 * its delete was forgotten; nor may it be ahead of what clocks may differ (D17). */
static void check_timestamp(const struct rf_server *server, const struct rf_table *table,
                            struct rf_item_request *item)
{
    const struct rf_server_table *config = server_table(server, table->name);
    uint64_t                      now_ms = rf_clock_now().wall_ms;
    uint64_t grace_ms = config == NULL ? 0 : (uint64_t)config->config.tombstone_grace_ms;
    char     text[160];
    if (item->timestamp_ms == 0) {
        return;
    }
    if (item->timestamp_ms > now_ms + (uint64_t)server->config.clock.max_ahead_ms) {
        snprintf(text, sizeof(text), "is %llu ms in the future; clock.max_ahead is %lld ms",
                 (unsigned long long)(item->timestamp_ms - now_ms),
                 (long long)server->config.clock.max_ahead_ms);
        rf_item_error(item, "timestamp", text);
    } else if (item->timestamp_ms + grace_ms / 2 < now_ms) {
        snprintf(
            text, sizeof(text),
            "is %llu ms old; at most half of the table's tombstone_grace (%llu ms) is accepted",
            (unsigned long long)(now_ms - item->timestamp_ms), (unsigned long long)(grace_ms / 2));
        rf_item_error(item, "timestamp", text);
    }
}

static bool check_item(struct rf_exchange *exchange, struct rf_item_request *item,
                       const struct rf_table **ret_table)
{
    if (item->rc != RF_OK) {
        return false;
    }
    const struct rf_table *table = find_table(exchange->worker, item);
    if (table == NULL) {
        return false;
    }
    if (item->key.size != 0) {
        exchange->token = rf_ring_token(rf_shard_view(exchange->worker->shard)->ring->seed,
                                        rf_buf_slice(&item->key));
        name_replicas(exchange, table);
    }
    if (item->quorum > table->n) {
        rf_item_error(item, item->kind == RF_CLIENT_GET ? "r" : "w", "is above the table's n");
    }
    check_timestamp(exchange->worker->base.server, table, item);
    *ret_table = table;
    return item->errors.size == 0;
}

/* Is the header's media type this one (lower case), with or without parameters? */
static bool is_media(struct rf_slice type, const char *media)
{
    size_t n = strlen(media);
    for (size_t i = 0; i < n && type.size >= n; i++) {
        uint8_t c = type.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != media[i]) {
            return false;
        }
    }
    return type.size == n ||
           (type.size > n && (type.data[n] == ';' || type.data[n] == ' ' || type.data[n] == '\t'));
}

/* A body is JSON. Who says nothing means that, and so does `curl -d`, which says that it sends a
 * form; what is no JSON then fails as such. */
static bool media_ok(const struct rf_exchange *exchange)
{
    struct rf_slice type = rf_http_header(exchange->request, "content-type");
    return type.data == NULL || is_media(type, "application/json") ||
           is_media(type, "application/x-www-form-urlencoded");
}

/* ---- Starting ----------------------------------------------------------------------------- */

static void refuse_item(struct rf_exchange *exchange, struct rf_item_request *item)
{
    struct rf_buf extra = {0};
    if (item->rc == RF_OK) {
        item->rc = RF_INVALID_VALUE;
        rf_buf_append_str(&extra, ",\"errors\":[");
        rf_buf_append_slice(&extra, rf_buf_slice(&item->errors));
        rf_buf_append_str(&extra, "]");
    }
    if (item->kind != RF_CLIENT_GET) {
        rf_buf_append_str(&extra, ",\"write_outcome\":\"not_applied\"");
    }
    rf_buf_append(&extra, "", 1);
    rf_exchange_problem(exchange, item->rc, item->detail[0] == 0 ? NULL : item->detail,
                        (const char *)extra.data);
    rf_buf_fini(&extra);
}

/* Key and value in one blob: what the operation's row points into. */
static bool make_row(struct rf_item_request *item, struct rf_row *ret_row)
{
    size_t key_size = item->key.size;
    bool   key_only = item->blob == NULL;
    if (key_only) {
        item->blob = rf_blob_copy(rf_buf_slice(&item->key));
    }
    if (item->blob == NULL) {
        item->rc = RF_NO_MEMORY;
        return false;
    }
    uint8_t *key = item->blob->data + (key_only ? 0 : RF_KEY_MAX - key_size);
    memcpy(key, item->key.data, key_size);
    *ret_row = (struct rf_row){
        .key = rf_slice(key, key_size),
        .value = rf_slice(key + key_size, key_only ? 0 : item->value_size),
        .blob = item->blob,
    };
    return true;
}

/* Hands the operation to the machine; the reply comes through rf_api_item_reply. */
static void run_item(struct rf_exchange *exchange, struct rf_item_request *item,
                     const struct rf_table *table, const struct rf_row *row)
{
    bool    read = item->kind == RF_CLIENT_GET;
    uint8_t quorum = read ? table->read_quorum : table->write_quorum;
    exchange->key = *row;
    exchange->weak = item->quorum != 0 && item->quorum < quorum;
    exchange->explain = item->explain;
    exchange->started_us = rf_loop_now(&exchange->worker->base.loop).mono_us;
    rf_blob_take(row->blob); /* the exchange's */
    rf_blob_take(row->blob); /* the event's */
    struct rf_event event = {
        .kind = RF_EV_CLIENT,
        .as.client = {.kind = item->kind,
                      .strong = item->strong,
                      .quorum = item->quorum,
                      .client = (uint64_t)(uintptr_t)exchange,
                      .table = table->id,
                      .ttl_s = item->ttl_s,
                      .timestamp_ms = item->timestamp_ms,
                      .row = *row},
    };
    if (read && !rf_item_given(item, "consistency")) {
        event.as.client.strong = table->default_strong;
    }
    rf_worker_event(exchange->worker, &event);
}

static void start_item(struct rf_exchange *exchange, enum rf_client_kind kind)
{
    const struct rf_table *table = NULL;
    struct rf_row          row = {0};
    struct rf_item_request item = {
        .kind = kind,
        .max_value_bytes = (uint64_t)exchange->worker->live.max_value_bytes,
    };
    bool has_body = kind == RF_CLIENT_PUT || (kind == RF_CLIENT_DELETE && exchange->body.size != 0);
    bool keyed = rf_http_header(exchange->request, "idempotency-key").data != NULL;
    exchange->kind = kind;
    if (keyed && kind != RF_CLIENT_GET) {
        /* Whoever sends it relies on it: a write that ignores it may be applied twice. */
        item.rc = RF_NOT_IMPLEMENTED;
        snprintf(item.detail, sizeof(item.detail),
                 "Idempotency-Key is not supported; leave it out, and send a timestamp to make "
                 "retries the same write");
    } else if (has_body && !media_ok(exchange)) {
        item.rc = RF_UNSUPPORTED_MEDIA;
        snprintf(item.detail, sizeof(item.detail), "the body must be application/json");
    } else {
        rf_item_parse(&item, exchange->request->query, exchange->body);
    }
    if (check_item(exchange, &item, &table) && make_row(&item, &row)) {
        run_item(exchange, &item, table, &row);
    } else {
        refuse_item(exchange, &item);
    }
    rf_item_fini(&item);
}

void rf_api_item(struct rf_exchange *exchange)
{
    if (!rf_exchange_authorize(exchange)) {
        return;
    }
    switch (exchange->method) {
    case RF_HTTP_GET:
    case RF_HTTP_HEAD:
        start_item(exchange, RF_CLIENT_GET);
        break;
    case RF_HTTP_POST:
    case RF_HTTP_PUT:
        start_item(exchange, RF_CLIENT_PUT);
        break;
    case RF_HTTP_DELETE:
        start_item(exchange, RF_CLIENT_DELETE);
        break;
    case RF_HTTP_OPTIONS:
    case RF_HTTP_OTHER:
    default:
        rf_exchange_problem(exchange, RF_METHOD_NOT_ALLOWED, "GET, HEAD, POST, PUT, DELETE", NULL);
        break;
    }
}

/* ---- The reply ---------------------------------------------------------------------------- */

static void put_hex(char text[16], uint64_t value)
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, value >>= 4) {
        text[i] = hex[value & 15];
    }
}

/* "hlc-writer", 16 hex digits each. */
static void put_version(char text[40], const struct rf_version *version)
{
    put_hex(text, version->hlc);
    text[16] = '-';
    put_hex(text + 17, version->writer);
    text[33] = 0;
}

/* As text when it is UTF-8 (JSON keeps it exactly), else as base64. */
static void put_key(struct rf_buf *body, const struct rf_exchange *exchange)
{
    if (rf_utf8_valid(exchange->key.key)) {
        rf_buf_append_str(body, "\"key\":");
        rf_json_string(body, exchange->key.key);
    } else {
        rf_buf_append_str(body, "\"key_b64\":\"");
        rf_base64_encode(body, exchange->key.key);
        rf_buf_append_str(body, "\"");
    }
}

static void put_times(struct rf_buf *body, const struct rf_row *row, const char *version)
{
    rf_buf_append_str(body, "\"timestamp\":");
    rf_buf_append_u64(body, rf_hlc_ms(row->version.hlc));
    rf_buf_append_str(body, ",\"version\":\"");
    rf_buf_append_str(body, version);
    rf_buf_append_str(body, "\"");
    if (row->expiry_ms != 0) {
        rf_buf_append_str(body, ",\"expires_at\":");
        rf_buf_append_u64(body, row->expiry_ms);
    }
}

/* What this node knows about how the answer came to be. */
static void put_explain(struct rf_buf *body, const struct rf_exchange *exchange,
                        const struct rf_reply *reply)
{
    const struct rf_view *view = rf_shard_view(exchange->worker->shard);
    const char           *name = exchange->replicas;
    char                  text[200];
    snprintf(text, sizeof(text),
             ",\"explain\":{\"token\":\"%016llx\",\"coordinator\":\"%s\",\"required\":%u,"
             "\"answered\":%u,\"latency_us\":%llu,\"replicas\":[",
             (unsigned long long)exchange->token, exchange->worker->base.server->config.node.name,
             reply->needed, reply->acked,
             (unsigned long long)(rf_clock_now().mono_us - exchange->started_us));
    rf_buf_append_str(body, text);
    while (*name != 0) {
        size_t   n = strcspn(name, ",");
        uint16_t member = RF_NO_MEMBER;
        for (uint16_t m = 0; view != NULL && m < view->ring->n_members; m++) {
            if (rf_slice_is(rf_slice(name, n), view->ring->members[m].name)) {
                member = m;
            }
        }
        rf_buf_append_str(body, name == exchange->replicas ? "{\"node\":" : ",{\"node\":");
        rf_json_string(body, rf_slice(name, n));
        rf_buf_append_str(body,
                          member != RF_NO_MEMBER && rf_shard_alive(exchange->worker->shard, member)
                              ? ",\"alive\":true}"
                              : ",\"alive\":false}");
        name += n + (name[n] == ',');
    }
    rf_buf_append_str(body, "]}");
}

static void reply_failed(struct rf_exchange *exchange, const struct rf_reply *reply)
{
    struct rf_buf extra = {0};
    char          text[96];
    if (reply->needed != 0 && reply->rc != RF_ITEM_NOT_FOUND) {
        snprintf(text, sizeof(text), ",\"required\":%u,\"%s\":%u", reply->needed,
                 reply->rc == RF_QUORUM_UNAVAILABLE ? "alive"
                 : reply->rc == RF_DISK_RESERVE     ? "with_space"
                                                    : "acknowledged",
                 reply->acked);
        rf_buf_append_str(&extra, text);
    }
    if (exchange->kind != RF_CLIENT_GET) {
        rf_buf_append_str(&extra, reply->outcome_unknown ? ",\"write_outcome\":\"unknown\""
                                                         : ",\"write_outcome\":\"not_applied\"");
    }
    if (exchange->explain) {
        put_explain(&extra, exchange, reply);
    }
    rf_buf_append(&extra, "", 1);
    rf_exchange_problem(exchange, reply->rc, NULL, (const char *)extra.data);
    rf_buf_fini(&extra);
}

void rf_api_item_reply(struct rf_exchange *exchange, const struct rf_reply *reply)
{
    struct rf_buf *body = &exchange->worker->body;
    char           version[40];
    char           headers[64] = "ETag: \"";
    if (reply->rc != RF_OK) {
        reply_failed(exchange, reply);
        return;
    }
    put_version(version, &reply->row.version);
    memcpy(headers + 7, version, 33);
    memcpy(headers + 40, "\"\r\n", 4);
    rf_buf_clear(body);
    rf_buf_append_str(body, "{");
    if (exchange->kind == RF_CLIENT_DELETE) {
        rf_buf_append_str(body, "\"deleted\":true");
    } else {
        put_key(body, exchange);
    }
    if (exchange->kind == RF_CLIENT_GET) {
        rf_buf_append_str(body, ",\"value\":\"");
        rf_base64_encode(body, reply->row.value);
        rf_buf_append_str(body, "\"");
    }
    rf_buf_append_str(body, ",");
    put_times(body, &reply->row, version);
    if (reply->superseded) {
        rf_buf_append_str(body, ",\"superseded\":true");
    }
    if (exchange->weak) {
        rf_buf_append_str(body, ",\"guarantee\":\"eventual\"");
    }
    if (exchange->explain) {
        put_explain(body, exchange, reply);
    }
    rf_buf_append_str(body, "}");
    rf_exchange_answer(exchange, exchange->kind == RF_CLIENT_PUT ? 201 : 200, "application/json",
                       rf_buf_slice(body), headers);
    if (body->cap > BODY_KEEP_MAX) {
        rf_buf_fini(body); /* one large value must not pin its memory */
    }
}
