/* HTTPS for clients: connections, pipelining, routes, deadlines. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/tree.h"
#include "io/clock.h"
#include "server/exchange.h"

#define PIPELINE_MAX 64u /* requests under way on one connection */
#define SWEEP_MAX_MS 1000u
#define ROUTES_MAX 64u
#define TRIM_US 2000000u   /* idle for so long: 34 KiB of TLS buffers go back */
#define LINGER_US 2000000u /* after the last answer, for the client to close */

struct rf_http_conn {
    struct rf_worker    *worker;
    struct rf_conn      *conn;
    struct rf_http_conn *next, *previous; /* of the worker */
    struct rf_exchange  *first, *last;    /* under way, in order */
    uint32_t             n_exchanges;
    bool                 ready;        /* the handshake is done */
    bool                 one_too_many; /* over limits.max_connections: hears so, then is closed */
    bool                 in_body;      /* the head of the request that comes in is complete */
    bool                 no_more;      /* close after the last response */
    bool                 continued;    /* 100 Continue was sent for the request that comes in */
    bool                 may_write;    /* the request that comes in is a write of an item */
    uint64_t             started_us;   /* of the request that comes in; 0: none */
    uint64_t             idle_us;      /* since when nothing is under way */
};

/* ---- Responses ---------------------------------------------------------------------------- */

static void free_exchange(struct rf_exchange *exchange)
{
    rf_blob_drop(exchange->key.blob);
    rf_buf_fini(&exchange->response);
    exchange->magic = 0;
    rf_mem_free(exchange);
}

/* Sends the responses that are ready, oldest first. */
static void flush_ready(struct rf_http_conn *http)
{
    bool was_full = http->n_exchanges >= PIPELINE_MAX;
    while (http->first != NULL && http->first->done) {
        struct rf_exchange *exchange = http->first;
        http->first = exchange->next;
        http->last = http->first == NULL ? NULL : http->last;
        http->n_exchanges--;
        if (exchange->response.size != 0) {
            rf_buf_append_slice(rf_conn_out(http->conn), rf_buf_slice(&exchange->response));
        }
        if (!exchange->keep_alive) {
            http->no_more = true;
        }
        free_exchange(exchange);
    }
    if (http->first == NULL) {
        http->idle_us = rf_loop_now(&http->worker->base.loop).mono_us;
        if (http->no_more) {
            rf_conn_close(http->conn, "");
            return;
        }
    }
    if (was_full && http->n_exchanges < PIPELINE_MAX) {
        rf_conn_resume(http->conn);
    }
}

void rf_exchange_answer(struct rf_exchange *exchange, uint16_t status, const char *content_type,
                        struct rf_slice body, const char *headers)
{
    struct rf_worker *worker = exchange->worker;
    rf_assert(!exchange->done);
    if (atomic_load_explicit(&worker->base.server->draining, memory_order_relaxed)) {
        exchange->keep_alive = false;
    }
    struct rf_http_response response = {
        .status = status,
        .content_type = content_type,
        .body = body,
        .headers = headers,
        .replicas = exchange->replicas,
        .keep_alive = exchange->keep_alive,
        .head_only = exchange->method == RF_HTTP_HEAD,
    };
    /* Straight to the connection when no earlier request is still waiting for its answer. */
    bool first = exchange->conn != NULL && exchange->conn->first == exchange;
    rf_http_write(first ? rf_conn_out(exchange->conn->conn) : &exchange->response, &response);
    worker->http_by_class[status / 100 % 6]++;
    exchange->done = true;
    if (exchange->conn == NULL) {
        free_exchange(exchange);
    } else {
        flush_ready(exchange->conn);
    }
}

void rf_exchange_id(const struct rf_exchange *exchange, char ret_id[40])
{
    const struct rf_thread *thread = &exchange->worker->base;
    snprintf(ret_id, 40, "%016llx-%02x-%llx", (unsigned long long)thread->server->run,
             thread->number, (unsigned long long)exchange->number);
}

void rf_exchange_problem(struct rf_exchange *exchange, enum rf_rc rc, const char *detail,
                         const char *extra)
{
    struct rf_buf body = {0};
    const char   *headers = rc == RF_UNAUTHENTICATED ? "WWW-Authenticate: Bearer\r\n"
                            : rf_rc_http(rc) == 503 || rf_rc_http(rc) == 429 ? "Retry-After: 1\r\n"
                                                                             : NULL;
    char          allow[96];
    char          id[40];
    rf_exchange_id(exchange, id);
    if (rc == RF_METHOD_NOT_ALLOWED && detail != NULL) {
        snprintf(allow, sizeof(allow), "Allow: %s\r\n", detail);
        headers = allow;
        detail = NULL;
    }
    if (extra == NULL && exchange->may_write) {
        extra = ",\"write_outcome\":\"not_applied\"";
    }
    rf_log(rf_rc_http(rc) == 500 ? RF_LOG_ERROR : RF_LOG_DEBUG, "request_failed",
           "request=%s status=%u code=%s text=\"%s\"", id, rf_rc_http(rc), rf_rc_code(rc),
           detail != NULL ? detail : rf_rc_text(rc));
    rf_problem_json(&body, rc, detail, id, extra);
    rf_exchange_answer(exchange, rf_rc_http(rc), "application/problem+json", rf_buf_slice(&body),
                       headers);
    rf_buf_fini(&body);
}

/* The routes in the same folder are compared by what follows it: /admin/v1/ is no reason to take one
 * word for another. Else whole paths are. */
static const char *meant_route(const char *path, const char *const *paths, uint32_t n)
{
    const char *rests[ROUTES_MAX];
    const char *found[ROUTES_MAX];
    const char *slash = strrchr(path, '/');
    size_t      folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    uint32_t    n_rests = 0;
    for (uint32_t i = 0; i < n && n_rests < ROUTES_MAX; i++) {
        if (strncmp(paths[i], path, folder) == 0) {
            rests[n_rests] = paths[i] + folder;
            found[n_rests++] = paths[i];
        }
    }
    if (n_rests == 0) {
        return rf_did_you_mean(path, paths, n);
    }
    const char *meant = rf_did_you_mean(path + folder, rests, n_rests);
    for (uint32_t i = 0; meant != NULL && i < n_rests; i++) {
        if (rests[i] == meant) {
            return found[i];
        }
    }
    return NULL;
}

void rf_exchange_no_route(struct rf_exchange *exchange, const char *const *paths, uint32_t n)
{
    char            path[64];
    char            detail[200];
    struct rf_slice sent = exchange->request->path;
    snprintf(path, sizeof(path), "%.*s", (int)(sent.size < 62 ? sent.size : 62),
             (const char *)sent.data);
    const char *meant = meant_route(path, paths, n);
    snprintf(detail, sizeof(detail), "no route '%s'%s%s%s", path,
             meant == NULL ? "" : "; did you mean '", meant == NULL ? "" : meant,
             meant == NULL ? "" : "'?");
    rf_exchange_problem(exchange, RF_ROUTE_NOT_FOUND, detail, NULL);
}

bool rf_exchange_authorize(struct rf_exchange *exchange)
{
    struct rf_slice header = rf_http_header(exchange->request, "authorization");
    uint64_t        wall_ms = rf_loop_now(&exchange->worker->base.loop).wall_ms;
    if (rf_ok(rf_auth_check(exchange->worker->live.auth, header, wall_ms, &exchange->principal))) {
        return true;
    }
    rf_exchange_problem(exchange, RF_UNAUTHENTICATED,
                        header.data == NULL ? "send Authorization: Bearer <token>"
                                            : "the token is not known, or has expired",
                        NULL);
    return false;
}

void rf_http_reply(struct rf_worker *worker, const struct rf_reply *reply)
{
    struct rf_exchange *exchange = (struct rf_exchange *)(uintptr_t)reply->client;
    rf_assert(exchange->magic == RF_EXCHANGE_MAGIC);
    rf_assert(exchange->worker == worker);
    rf_api_item_reply(exchange, reply);
}

/* ---- Routes ------------------------------------------------------------------------------- */

struct route {
    const char *path;
    bool        prefix;
    void (*handler)(struct rf_exchange *exchange);
};

static const struct route routes[] = {
    {"/api/v1/item", false, rf_api_item}, {"/api/v1/ring", false, rf_api_ring},
    {"/admin/v1/", true, rf_api_admin},   {"/health/", true, rf_api_health},
    {"/metrics", false, rf_api_metrics},
};

static void dispatch(struct rf_exchange *exchange)
{
    struct rf_slice path = exchange->request->path;
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        size_t n = strlen(routes[i].path);
        bool   matches = path.size >= n && memcmp(path.data, routes[i].path, n) == 0 &&
                       (routes[i].prefix || path.size == n);
        if (matches) {
            routes[i].handler(exchange);
            return;
        }
    }
    static const char *const known[] = {"/api/v1/item",     "/api/v1/ring",   "/metrics",
                                        "/admin/v1/status", "/health/ready",  "/health/live",
                                        "/admin/v1/ring",   "/health/cluster"};
    rf_exchange_no_route(exchange, known, sizeof(known) / sizeof(known[0]));
}

/* ---- Requests in -------------------------------------------------------------------------- */

static struct rf_exchange *new_exchange(struct rf_http_conn *http)
{
    struct rf_exchange *exchange = RF_NEW(struct rf_exchange);
    struct rf_worker   *worker = http->worker;
    if (exchange == NULL) {
        return NULL;
    }
    exchange->magic = RF_EXCHANGE_MAGIC;
    exchange->worker = worker;
    exchange->conn = http;
    exchange->number = ++worker->request_number;
    if (http->last == NULL) {
        http->first = exchange;
    } else {
        http->last->next = exchange;
    }
    http->last = exchange;
    http->n_exchanges++;
    return exchange;
}

/* A request that cannot be read: answered, then the connection is closed. */
static void refuse_request(struct rf_http_conn *http, enum rf_rc rc, const char *detail)
{
    struct rf_exchange *exchange = new_exchange(http);
    http->no_more = true;
    if (exchange == NULL) {
        rf_conn_close(http->conn, "no memory");
        return;
    }
    rf_conn_linger(http->conn); /* the client may still be sending what is refused */
    exchange->method = RF_HTTP_OTHER;
    exchange->keep_alive = false;
    exchange->may_write = http->may_write;
    rf_exchange_problem(exchange, rc, detail, NULL);
}

static uint64_t body_limit(const struct rf_http_conn *http)
{
    uint64_t max = (uint64_t)http->worker->live.max_value_bytes;
    return max * 4 / 3 + 4096;
}

static bool may_write(const struct rf_http_request *request)
{
    return rf_slice_is(request->path, "/api/v1/item") &&
           (request->method == RF_HTTP_POST || request->method == RF_HTTP_PUT ||
            request->method == RF_HTTP_DELETE);
}

/* Takes one request off the front. Returns the bytes used, 0 when more must come. */
static size_t take_request(struct rf_http_conn *http, struct rf_slice bytes)
{
    struct rf_http_request request;
    enum rf_rc             rc = rf_http_parse(bytes, &request).rc;
    if (http->started_us == 0) {
        http->started_us = rf_loop_now(&http->worker->base.loop).mono_us;
    }
    if (rc != RF_OK) {
        rf_http_peek(bytes, &request);
    }
    http->may_write = may_write(&request);
    if (rc == RF_MORE) {
        return 0;
    }
    if (rc != RF_OK) {
        refuse_request(http, rc, NULL);
        return bytes.size;
    }
    if (http->one_too_many) {
        refuse_request(http, RF_OVERLOADED, "limits.max_connections is reached");
        return bytes.size;
    }
    if (request.content_length > body_limit(http)) {
        char detail[96];
        snprintf(detail, sizeof(detail), "the body may have at most %llu bytes",
                 (unsigned long long)body_limit(http));
        refuse_request(http, RF_TOO_LARGE, detail);
        return bytes.size;
    }
    size_t size = request.head_size + (size_t)request.content_length;
    if (bytes.size < size) {
        http->in_body = true;
        if (request.expect_continue && !http->continued && http->first == NULL) {
            http->continued = true;
            rf_buf_append_str(rf_conn_out(http->conn), "HTTP/1.1 100 Continue\r\n\r\n");
        }
        return 0;
    }
    struct rf_exchange *exchange = new_exchange(http);
    if (exchange == NULL) {
        rf_conn_close(http->conn, "no memory");
        return bytes.size;
    }
    http->started_us = 0;
    http->in_body = false;
    http->continued = false;
    exchange->request = &request;
    exchange->method = request.method;
    exchange->may_write = http->may_write;
    exchange->keep_alive = request.keep_alive;
    exchange->body = rf_slice(bytes.data + request.head_size, (size_t)request.content_length);
    if (!request.keep_alive) {
        http->no_more = true;
    }
    dispatch(exchange);
    return size;
}

static size_t on_data(struct rf_conn *conn, struct rf_slice bytes)
{
    struct rf_http_conn *http = rf_conn_user(conn);
    size_t               used = 0;
    while (used < bytes.size && !http->no_more) {
        if (http->n_exchanges >= PIPELINE_MAX) {
            rf_conn_pause(conn);
            return used;
        }
        size_t taken = take_request(http, rf_slice(bytes.data + used, bytes.size - used));
        if (taken == 0) {
            return used;
        }
        used += taken;
    }
    return http->no_more ? bytes.size : used;
}

/* ---- Connections -------------------------------------------------------------------------- */

static void on_ready(struct rf_conn *conn)
{
    struct rf_http_conn *http = rf_conn_user(conn);
    http->ready = true;
    http->idle_us = rf_loop_now(&http->worker->base.loop).mono_us;
}

static void on_close(struct rf_conn *conn, const char *why)
{
    struct rf_http_conn *http = rf_conn_user(conn);
    struct rf_worker    *worker = http->worker;
    if (why[0] != 0) {
        rf_log(RF_LOG_DEBUG, "client_closed", "remote=%s text=\"%s\"", rf_conn_remote(conn), why);
    }
    while (http->first != NULL) {
        struct rf_exchange *exchange = http->first;
        http->first = exchange->next;
        exchange->conn = NULL;
        if (exchange->done) {
            free_exchange(exchange);
        }
    }
    if (http->previous != NULL) {
        http->previous->next = http->next;
    } else {
        worker->http_conns = http->next;
    }
    if (http->next != NULL) {
        http->next->previous = http->previous;
    }
    worker->n_http_conns--;
    atomic_fetch_sub(&worker->base.server->n_clients, 1);
    rf_mem_free(http);
}

/* Plain HTTP on the TLS port: say so in words that such a client can read. */
static void on_plain(struct rf_conn *conn, struct rf_slice bytes)
{
    struct rf_buf body = {0};
    struct rf_buf response = {0};
    (void)bytes;
    rf_problem_json(&body, RF_TLS_REQUIRED, "this port speaks HTTPS; use https://", "-",
                    ",\"reason\":\"tls_required\"");
    rf_http_write(&response, &(struct rf_http_response){
                                 .status = 400,
                                 .content_type = "application/problem+json",
                                 .body = rf_buf_slice(&body),
                             });
    rf_conn_write_plain(conn, rf_buf_slice(&response));
    rf_buf_fini(&body);
    rf_buf_fini(&response);
}

static const struct rf_conn_callbacks callbacks = {on_ready, on_data, on_close, on_plain};

/* Connections may take three quarters of the process's descriptors, whatever is configured: the rest
 * is for files and peers. A log that cannot open its next segment for want of a descriptor would stop
 * acknowledging for good. */
static uint32_t connection_limit(const struct rf_worker *worker)
{
    struct rlimit limit;
    uint32_t      max = (uint32_t)worker->live.max_connections;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 * 3 < max) {
        max = (uint32_t)(limit.rlim_cur / 4 * 3);
    }
    return max;
}

static void on_client(void *user, int fd)
{
    struct rf_worker    *worker = user;
    struct rf_server    *server = worker->base.server;
    struct rf_http_conn *http = RF_NEW(struct rf_http_conn);
    if (http == NULL) {
        close(fd);
        return;
    }
    http->worker = worker;
    http->idle_us = rf_loop_now(&http->worker->base.loop).mono_us;
    http->conn = rf_conn_accept(&worker->base.loop, fd, worker->https, &callbacks, http);
    if (http->conn == NULL) {
        rf_mem_free(http);
        return;
    }
    http->next = worker->http_conns;
    if (http->next != NULL) {
        http->next->previous = http;
    }
    worker->http_conns = http;
    worker->n_http_conns++;
    /* The first ones above the limit are told so; a flood of them is not worth a handshake. */
    uint32_t before = atomic_fetch_add(&server->n_clients, 1);
    uint32_t max = connection_limit(worker);
    http->one_too_many = before >= max;
    if (before >= max + max / 8 + 16) {
        rf_conn_close(http->conn, "too many connections");
    }
}

/* Is something late on this connection? Total times, not only silence: a byte now and then does not
 * help (slowloris). */
static bool is_late(const struct rf_http_conn *http, uint64_t now_us)
{
    const struct rf_live *live = &http->worker->live;
    int64_t               limit_ms =
        http->in_body ? live->header_timeout_ms + live->body_timeout_ms : live->header_timeout_ms;
    uint64_t since_us = http->ready ? http->started_us : http->idle_us;
    return since_us != 0 && now_us - since_us > (uint64_t)limit_ms * 1000;
}

static void sweep_one(struct rf_http_conn *http, uint64_t now_us)
{
    uint64_t idle_us = http->first == NULL ? now_us - http->idle_us : 0;
    uint64_t limit_us = (uint64_t)http->worker->live.idle_timeout_ms * 1000;
    bool     sent = rf_conn_backlog(http->conn) == 0;
    if (http->ready && http->no_more && idle_us > (sent ? LINGER_US : limit_us)) {
        rf_conn_abort(http->conn, "the client does not close");
    } else if (is_late(http, now_us) && !http->ready) {
        rf_conn_close(http->conn, "the TLS handshake took too long");
    } else if (is_late(http, now_us) && !http->no_more) {
        refuse_request(http, RF_REQUEST_TIMEOUT, NULL);
    } else if (http->started_us == 0 && !http->no_more && idle_us > limit_us) {
        http->no_more = true;
        http->idle_us = now_us;
        rf_conn_close(http->conn, "idle");
    } else if (idle_us > TRIM_US) {
        rf_conn_trim(http->conn);
    }
}

/* Every second, or a quarter of the header timeout. */
static void on_sweep(uv_timer_t *timer)
{
    struct rf_worker    *worker = timer->data;
    uint64_t             now_us = rf_loop_now(&worker->base.loop).mono_us;
    struct rf_http_conn *next = NULL;
    rf_worker_publish_stats(worker);
    rf_links_sweep(worker);
    for (struct rf_http_conn *http = worker->http_conns; http != NULL; http = next) {
        next = http->next;
        sweep_one(http, now_us);
    }
    int64_t every_ms = worker->live.header_timeout_ms / 4;
    uv_timer_set_repeat(timer, every_ms < SWEEP_MAX_MS ? (uint64_t)every_ms : SWEEP_MAX_MS);
}

/* ---- Life --------------------------------------------------------------------------------- */

struct rf_result rf_http_init(struct rf_worker *worker, char ret_why[256])
{
    uv_timer_init(&worker->base.loop.uv, &worker->sweep);
    worker->sweep.data = worker;
    uv_timer_start(&worker->sweep, on_sweep, 0, SWEEP_MAX_MS);
    uv_unref((uv_handle_t *)&worker->sweep);
    return rf_listen(&worker->client_listener, &worker->base.loop.uv,
                     worker->base.server->config.listen.client, on_client, worker, ret_why);
}

void rf_http_close(struct rf_worker *worker)
{
    struct rf_http_conn *next = NULL;
    rf_listener_close(&worker->client_listener);
    for (struct rf_http_conn *http = worker->http_conns; http != NULL; http = next) {
        next = http->next;
        http->no_more = true;
        if (http->first == NULL) {
            rf_conn_close(http->conn, "");
        }
    }
}

void rf_http_fini(struct rf_worker *worker)
{
    uv_close((uv_handle_t *)&worker->sweep, NULL);
}
