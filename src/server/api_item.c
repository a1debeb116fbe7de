/* /api/v1/item: from an HTTP request to a client operation, and from its reply to a response. */
#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/clock.h"
#include "server/exchange.h"

/* A request taken apart. Everything wrong with it is gathered, so that one answer names it all. */
struct item_request {
    struct rf_exchange    *exchange;
    const struct rf_view  *view;
    const struct rf_table *table;
    struct rf_buf          key;
    struct rf_blob        *blob; /* key, then value */
    size_t                 value_size;
    bool                   has_key, has_value, key_is_text;
    char                   table_name[64];
    struct rf_client_op    op;
    struct rf_buf          errors; /* JSON array items */
    enum rf_rc             rc;     /* RF_OK while nothing else than `errors` is wrong */
    const char            *detail;
};

static void add_error(struct item_request *item, const char *pointer, const char *text)
{
    rf_buf_append_str(&item->errors, item->errors.size == 0 ? "{\"pointer\":" : ",{\"pointer\":");
    rf_json_string(&item->errors, rf_slice_str(pointer));
    rf_buf_append_str(&item->errors, ",\"detail\":");
    rf_json_string(&item->errors, rf_slice_str(text));
    rf_buf_append_str(&item->errors, "}");
}

/* ---- Single fields ------------------------------------------------------------------------ */

static bool parse_number(struct rf_slice text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (text.size == 0 || text.size > 18) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_value = value;
    return value <= max;
}

static void take_key(struct item_request *item, const char *pointer, struct rf_slice key, bool text)
{
    if (item->has_key) {
        add_error(item, pointer, "key and key_b64 exclude each other");
        return;
    }
    item->has_key = true;
    item->key_is_text = text;
    if (key.size == 0 || key.size > RF_KEY_MAX) {
        add_error(item, pointer, "a key has 1 to 2048 bytes");
        return;
    }
    rf_buf_append_slice(&item->key, key);
}

static void take_key_b64(struct item_request *item, const char *pointer, struct rf_slice text)
{
    uint8_t bytes[(RF_KEY_MAX + 3) / 3 * 4];
    size_t  size = 0;
    if (text.size > sizeof(bytes) || !rf_ok(rf_base64_decode(text, bytes, &size))) {
        add_error(item, pointer, "not the base64 of 1 to 2048 bytes");
        item->has_key = true;
        return;
    }
    take_key(item, pointer, rf_slice(bytes, size), false);
}

static void take_table(struct item_request *item, const char *pointer, struct rf_slice name)
{
    if (name.size == 0 || name.size > RF_NAME_MAX ||
        memchr(name.data, 0, name.size) != NULL) {
        add_error(item, pointer, "a table name has 1 to 63 bytes");
        return;
    }
    memcpy(item->table_name, name.data, name.size);
    item->table_name[name.size] = 0;
}

static void take_quorum(struct item_request *item, const char *pointer, bool valid, uint64_t value)
{
    if (!valid || value < 1 || value > RF_REPLICAS_MAX) {
        add_error(item, pointer, "a quorum is a number from 1 to the table's n");
        return;
    }
    item->op.quorum = (uint8_t)value;
}

static void take_timestamp(struct item_request *item, const char *pointer, bool valid,
                           uint64_t value)
{
    if (!valid || value == 0 || value >= UINT64_C(1) << 48) {
        add_error(item, pointer, "a timestamp is a number of milliseconds since the epoch");
        return;
    }
    item->op.timestamp_ms = value;
}

static void take_ttl(struct item_request *item, const char *pointer, bool valid, uint64_t value)
{
    if (!valid || value < 1 || value > 315360000) {
        add_error(item, pointer, "ttl is a number of seconds from 1 to 315360000");
        return;
    }
    item->op.ttl_s = value;
}

/* ---- The query ---------------------------------------------------------------------------- */

static void take_parameter(struct item_request *item, struct rf_slice name, struct rf_slice value,
                           bool *consistency_given)
{
    uint64_t number = 0;
    bool     get = item->op.kind == RF_CLIENT_GET;
    if (rf_slice_is(name, "key")) {
        take_key(item, "/key", value, true);
    } else if (rf_slice_is(name, "key_b64")) {
        take_key_b64(item, "/key_b64", value);
    } else if (rf_slice_is(name, "table")) {
        take_table(item, "/table", value);
    } else if (get && rf_slice_is(name, "consistency")) {
        *consistency_given = true;
        item->op.strong = rf_slice_is(value, "strong");
        if (!item->op.strong && !rf_slice_is(value, "eventual")) {
            add_error(item, "/consistency", "consistency is 'eventual' or 'strong'");
        }
    } else if (rf_slice_is(name, get ? "r" : "w")) {
        bool valid = parse_number(value, RF_REPLICAS_MAX, &number);
        take_quorum(item, get ? "/r" : "/w", valid, number);
    } else if (item->op.kind == RF_CLIENT_DELETE && rf_slice_is(name, "timestamp")) {
        bool valid = parse_number(value, UINT64_MAX, &number);
        take_timestamp(item, "/timestamp", valid, number);
    } else {
        item->rc = RF_BAD_QUERY;
        item->detail = get ? "unknown parameter; known are key, key_b64, table, consistency and r"
                           : "unknown parameter; known are key, key_b64, table, w and timestamp";
    }
}

static void parse_query(struct item_request *item, bool *consistency_given)
{
    struct rf_slice query = item->exchange->request.query;
    struct rf_buf   name = {0};
    struct rf_buf   value = {0};
    enum rf_rc      rc = RF_OK;
    while (item->rc == RF_OK && (rc = rf_http_query_next(&query, &name, &value).rc) == RF_OK) {
        take_parameter(item, rf_buf_slice(&name), rf_buf_slice(&value), consistency_given);
    }
    if (rc != RF_OK && rc != RF_NOT_FOUND) {
        item->rc = rc;
    }
    rf_buf_fini(&name);
    rf_buf_fini(&value);
}

/* ---- The body ----------------------------------------------------------------------------- */

static void take_value(struct item_request *item, struct rf_slice text)
{
    /* Room for the key in front (its bytes come later) and for what base64 writes beyond. */
    struct rf_blob *blob = rf_blob_new(RF_KEY_MAX + text.size / 4 * 3 + 4);
    size_t          size = 0;
    if (blob == NULL) {
        item->rc = RF_NO_MEMORY;
        return;
    }
    item->has_value = true;
    if (!rf_ok(rf_base64_decode(text, blob->data + RF_KEY_MAX, &size))) {
        add_error(item, "/value", "value is not standard base64 with padding");
    } else if (size > (size_t)item->exchange->worker->base.server->config.limits.max_value_bytes) {
        item->rc = RF_TOO_LARGE;
        item->detail = "the value is larger than limits.max_value";
    }
    rf_blob_drop(item->blob);
    item->blob = blob;
    item->value_size = size;
}

static void take_member(struct item_request *item, const char *name, const json_t *value)
{
    struct rf_slice text = rf_slice(NULL, 0);
    bool            number = json_is_integer(value) && json_integer_value(value) >= 0;
    uint64_t        integer = number ? (uint64_t)json_integer_value(value) : 0;
    char            pointer[40];
    snprintf(pointer, sizeof(pointer), "/%.32s", name);
    if (json_is_string(value)) {
        text = rf_slice(json_string_value(value), json_string_length(value));
    }
    bool wants_text = strcmp(name, "key") == 0 || strcmp(name, "key_b64") == 0 ||
                      strcmp(name, "table") == 0 || strcmp(name, "value") == 0;
    if (wants_text && !json_is_string(value)) {
        add_error(item, pointer, "must be a string");
    } else if (strcmp(name, "key") == 0) {
        take_key(item, pointer, text, true);
    } else if (strcmp(name, "key_b64") == 0) {
        take_key_b64(item, pointer, text);
    } else if (strcmp(name, "table") == 0) {
        take_table(item, pointer, text);
    } else if (strcmp(name, "value") == 0) {
        take_value(item, text);
    } else if (strcmp(name, "ttl") == 0) {
        take_ttl(item, pointer, number, integer);
    } else if (strcmp(name, "w") == 0) {
        take_quorum(item, pointer, number, integer);
    } else if (strcmp(name, "timestamp") == 0) {
        take_timestamp(item, pointer, number, integer);
    } else {
        add_error(item, pointer, "unknown member; known are key, key_b64, table, value, ttl, w "
                                 "and timestamp");
    }
}

static void parse_body(struct item_request *item)
{
    json_error_t    error;
    struct rf_slice body = item->exchange->body;
    static _Thread_local char detail[256];
    json_t *root = json_loadb((const char *)body.data, body.size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (root == NULL) {
        snprintf(detail, sizeof(detail), "%.160s at byte %d", error.text, error.position);
        item->rc = RF_BAD_JSON;
        item->detail = detail;
        return;
    }
    if (!json_is_object(root)) {
        item->rc = RF_BAD_JSON;
        item->detail = "the body must be a JSON object";
    } else {
        const char *name = NULL;
        json_t     *value = NULL;
        json_object_foreach(root, name, value)
        {
            take_member(item, name, value);
        }
        if (!item->has_value) {
            add_error(item, "/value", "value is missing (base64 of the bytes; \"\" for none)");
        }
    }
    json_decref(root);
}

/* ---- Starting ----------------------------------------------------------------------------- */

static bool find_table(struct item_request *item)
{
    struct rf_server *server = item->exchange->worker->base.server;
    const char       *name = item->table_name[0] == 0 ? "default" : item->table_name;
    item->view = rf_shard_view(item->exchange->worker->shard);
    if (item->view == NULL) {
        item->rc = RF_STARTING;
        item->detail = "the node is not part of a cluster yet";
        return false;
    }
    item->table = rf_view_table(item->view, rf_slice_str(name));
    if (item->table != NULL) {
        return true;
    }
    item->rc = RF_TABLE_NOT_FOUND;
    const char *names[64];
    uint32_t    n = 0;
    for (uint32_t t = 0; t < server->n_tables && n < 64; t++) {
        names[n++] = server->tables[t].config.table;
        if (strcmp(server->tables[t].config.table, name) == 0) {
            item->rc = RF_QUORUM_UNAVAILABLE;
            item->detail = server->tables[t].problem;
            return false;
        }
    }
    static _Thread_local char detail[160];
    const char               *meant = rf_did_you_mean(name, names, n);
    snprintf(detail, sizeof(detail), "no table '%s'%s%s%s", name,
             meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
             meant == NULL ? "" : "'?");
    item->detail = detail;
    return false;
}

static void name_replicas(struct item_request *item, uint64_t token)
{
    struct rf_exchange *exchange = item->exchange;
    if (item->table->replicas == NULL) {
        return;
    }
    const uint16_t *members = rf_view_replicas(item->view, item->table, token);
    size_t          at = 0;
    for (uint32_t i = 0; i < item->table->n_placed && at < sizeof(exchange->replicas); i++) {
        int n = snprintf(exchange->replicas + at, sizeof(exchange->replicas) - at, "%s%s",
                         i == 0 ? "" : ",", item->view->ring->members[members[i]].name);
        at += n > 0 ? (size_t)n : 0;
    }
}

/* Key and value in one blob: what the operation's row points into. */
static bool make_row(struct item_request *item)
{
    size_t key_size = item->key.size;
    if (item->blob == NULL) {
        item->blob = rf_blob_new(RF_KEY_MAX);
    }
    if (item->blob == NULL || item->key.failed) {
        item->rc = RF_NO_MEMORY;
        return false;
    }
    uint8_t *key = item->blob->data + RF_KEY_MAX - key_size;
    memcpy(key, item->key.data, key_size);
    item->op.row = (struct rf_row){
        .key = rf_slice(key, key_size),
        .value = rf_slice(item->blob->data + RF_KEY_MAX, item->value_size),
        .blob = item->blob,
    };
    return true;
}

static bool check_item(struct item_request *item)
{
    if (item->rc == RF_OK && !item->has_key) {
        add_error(item, "/key", "key is missing");
    }
    if (item->rc != RF_OK || item->errors.size != 0 || !find_table(item)) {
        return false;
    }
    if (item->op.quorum > item->table->n) {
        add_error(item, item->op.kind == RF_CLIENT_GET ? "/r" : "/w", "above the table's n");
        return false;
    }
    return make_row(item);
}

static void refuse_item(struct item_request *item)
{
    struct rf_buf extra = {0};
    if (item->rc == RF_OK) {
        item->rc = RF_INVALID_VALUE;
        rf_buf_append_str(&extra, ",\"errors\":[");
        rf_buf_append_slice(&extra, rf_buf_slice(&item->errors));
        rf_buf_append_str(&extra, "]");
    }
    if (item->op.kind != RF_CLIENT_GET) {
        rf_buf_append_str(&extra, ",\"write_outcome\":\"not_applied\"");
    }
    rf_buf_append(&extra, "", 1);
    rf_exchange_problem(item->exchange, item->rc, item->detail, (const char *)extra.data);
    rf_buf_fini(&extra);
}

static void start_item(struct rf_exchange *exchange, enum rf_client_kind kind)
{
    bool                consistency_given = false;
    struct item_request item = {.exchange = exchange, .op.kind = kind};
    exchange->kind = kind;
    if (kind == RF_CLIENT_PUT && exchange->request.query.size == 0) {
        parse_body(&item);
    } else if (kind == RF_CLIENT_PUT) {
        item.rc = RF_BAD_QUERY;
        item.detail = "POST takes no parameters; key, value, table, ttl, w go into the body";
    } else {
        parse_query(&item, &consistency_given);
    }
    if (!check_item(&item)) {
        refuse_item(&item);
        rf_blob_drop(item.blob);
    } else {
        if (kind == RF_CLIENT_GET && !consistency_given) {
            item.op.strong = item.table->default_strong;
        }
        item.op.client = (uint64_t)(uintptr_t)exchange;
        item.op.table = item.table->id;
        exchange->key = item.op.row;
        exchange->key_is_text = item.key_is_text;
        rf_blob_take(item.blob);
        name_replicas(&item, rf_ring_token(item.view->ring->seed, item.op.row.key));
        struct rf_event event = {.kind = RF_EV_CLIENT, .as.client = item.op};
        rf_worker_event(exchange->worker, &event);
    }
    rf_buf_fini(&item.key);
    rf_buf_fini(&item.errors);
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

static void put_version(char text[40], const struct rf_version *version)
{
    snprintf(text, 40, "%016llx-%016llx", (unsigned long long)version->hlc,
             (unsigned long long)version->writer);
}

static void put_key(struct rf_buf *body, const struct rf_exchange *exchange)
{
    if (exchange->key_is_text) {
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

static void reply_failed(struct rf_exchange *exchange, const struct rf_reply *reply)
{
    char extra[160] = "";
    int  at = 0;
    if (reply->needed != 0) {
        at = snprintf(extra, sizeof(extra), ",\"required\":%u,\"%s\":%u", reply->needed,
                      reply->rc == RF_QUORUM_UNAVAILABLE ? "alive" : "acknowledged", reply->acked);
    }
    if (exchange->kind != RF_CLIENT_GET) {
        snprintf(extra + at, sizeof(extra) - (size_t)at, ",\"write_outcome\":\"%s\"",
                 reply->outcome_unknown ? "unknown" : "not_applied");
    }
    rf_exchange_problem(exchange, reply->rc, NULL, extra);
}

void rf_api_item_reply(struct rf_exchange *exchange, const struct rf_reply *reply)
{
    struct rf_buf body = {0};
    char          version[40];
    char          headers[384];
    if (reply->rc != RF_OK) {
        reply_failed(exchange, reply);
        return;
    }
    put_version(version, &reply->row.version);
    snprintf(headers, sizeof(headers), "ETag: \"%s\"\r\nRingfort-Replicas: %s\r\n", version,
             exchange->replicas);
    rf_buf_append_str(&body, "{");
    if (exchange->kind == RF_CLIENT_DELETE) {
        rf_buf_append_str(&body, "\"deleted\":true");
    } else {
        put_key(&body, exchange);
    }
    if (exchange->kind == RF_CLIENT_GET) {
        rf_buf_append_str(&body, ",\"value\":\"");
        rf_base64_encode(&body, reply->row.value);
        rf_buf_append_str(&body, "\"");
    }
    rf_buf_append_str(&body, ",");
    put_times(&body, &reply->row, version);
    if (reply->superseded) {
        rf_buf_append_str(&body, ",\"superseded\":true");
    }
    rf_buf_append_str(&body, "}");
    rf_exchange_answer(exchange, exchange->kind == RF_CLIENT_PUT ? 201 : 200, "application/json",
                       rf_buf_slice(&body), headers);
    rf_buf_fini(&body);
}
