#include "io/conn.h"

#include <openssl/err.h>
#include <stdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "io/clock.h"
#include "io/listener.h"
#include "io/tls.h"

#define CONN_MAGIC 0x434f4e4eu
#define READ_SIZE (64u * 1024)
#define PLAIN_SIZE (16u * 1024)        /* one TLS record */
#define BACKLOG_MAX (4u * 1024 * 1024) /* bytes waiting for a slow reader: then reading stops */

struct write_job {
    uv_write_t      request;
    struct rf_conn *conn;
    size_t          size;
    uint8_t         bytes[];
};

struct rf_conn {
    uint32_t                        magic;
    uv_tcp_t                        tcp;
    struct rf_loop                 *loop;
    const struct rf_conn_callbacks *callbacks;
    void                           *user;
    SSL                            *ssl;
    struct rf_tls_io                io;
    struct rf_buf                   in;  /* plaintext that on_data left */
    struct rf_buf                   out; /* plaintext of this turn */
    size_t                          backlog;
    uint32_t                        busy; /* calls of ours on the stack: free only when 0 */
    bool                            handshaken, first_seen, dirty, paused, stopped;
    bool                            closing, close_after_flush, closed;
    bool                            linger, lingering;
    uv_shutdown_t                   shutdown;
    char                            why[256];
    char                            remote[64];
    struct rf_conn                 *next_dirty;
    uv_connect_t                    connect;
    uv_getaddrinfo_t                resolve;
    bool                            resolving;
};

/* ---- The loop ----------------------------------------------------------------------------- */

static void flush_conn(struct rf_conn *conn);

static void on_prepare(uv_prepare_t *handle)
{
    struct rf_loop *loop = handle->data;
    if (loop->on_turn != NULL) {
        loop->on_turn(loop->turn_user);
    }
    while (loop->dirty != NULL) {
        struct rf_conn *conn = loop->dirty;
        loop->dirty = conn->next_dirty;
        conn->dirty = false;
        flush_conn(conn);
    }
    loop->now_known = false; /* the loop may sleep now */
}

struct rf_time rf_loop_now(struct rf_loop *loop)
{
    if (!loop->now_known) {
        loop->now = rf_clock_now();
        loop->now_known = true;
    }
    return loop->now;
}

struct rf_result rf_loop_init(struct rf_loop *loop)
{
    *loop = (struct rf_loop){0};
    loop->read_space = rf_mem_alloc(READ_SIZE);
    loop->plain_space = rf_mem_alloc(PLAIN_SIZE);
    if (loop->read_space == NULL || loop->plain_space == NULL || uv_loop_init(&loop->uv) != 0) {
        rf_mem_free(loop->read_space);
        rf_mem_free(loop->plain_space);
        return rf_result(RF_NO_MEMORY);
    }
    uv_prepare_init(&loop->uv, &loop->flush);
    loop->flush.data = loop;
    uv_prepare_start(&loop->flush, on_prepare);
    uv_unref((uv_handle_t *)&loop->flush);
    return rf_result(RF_OK);
}

void rf_loop_fini(struct rf_loop *loop)
{
    rf_assert(loop->n_conns == 0);
    uv_close((uv_handle_t *)&loop->flush, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop->uv);
    rf_assert(rc == 0);
    rf_buf_fini(&loop->cipher);
    rf_mem_free(loop->read_space);
    rf_mem_free(loop->plain_space);
}

/* ---- Life --------------------------------------------------------------------------------- */

static void free_if_done(struct rf_conn *conn)
{
    if (!conn->closed || conn->busy != 0 || conn->resolving) {
        return;
    }
    conn->callbacks->on_close(conn, conn->why);
    conn->loop->n_conns--;
    SSL_free(conn->ssl);
    rf_buf_fini(&conn->in);
    rf_buf_fini(&conn->out);
    conn->magic = 0;
    rf_mem_free(conn);
}

static void on_closed(uv_handle_t *handle)
{
    struct rf_conn *conn = handle->data;
    conn->closed = true;
    free_if_done(conn);
}

static void unlink_dirty(struct rf_conn *conn)
{
    struct rf_conn **link = &conn->loop->dirty;
    while (*link != NULL && *link != conn) {
        link = &(*link)->next_dirty;
    }
    if (*link == conn) {
        *link = conn->next_dirty;
    }
    conn->dirty = false;
}

static void close_now(struct rf_conn *conn, const char *why)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    if (conn->why[0] == 0) {
        snprintf(conn->why, sizeof(conn->why), "%s", why);
    }
    unlink_dirty(conn);
    if (conn->resolving) {
        uv_cancel((uv_req_t *)&conn->resolve);
    }
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

static struct rf_conn *new_conn(struct rf_loop *loop, SSL_CTX *context,
                                const struct rf_conn_callbacks *callbacks, void *user)
{
    struct rf_conn *conn = RF_NEW(struct rf_conn);
    if (conn == NULL) {
        return NULL;
    }
    ERR_clear_error();
    conn->magic = CONN_MAGIC;
    conn->loop = loop;
    conn->callbacks = callbacks;
    conn->user = user;
    conn->io.out = &loop->cipher;
    conn->ssl = context == NULL ? NULL : SSL_new(context);
    BIO *bio = conn->ssl == NULL ? NULL : rf_tls_bio(&conn->io);
    if ((bio == NULL && context != NULL) || uv_tcp_init(&loop->uv, &conn->tcp) != 0) {
        BIO_free(bio);
        SSL_free(conn->ssl);
        rf_mem_free(conn);
        return NULL;
    }
    if (bio != NULL) {
        SSL_set_bio(conn->ssl, bio, bio);
    }
    conn->tcp.data = conn;
    loop->n_conns++;
    return conn;
}

static void note_remote(struct rf_conn *conn)
{
    struct sockaddr_storage address;
    int                     size = sizeof(address);
    char                    host[46] = "?";
    uint16_t                port = 0;
    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &size) == 0) {
        if (address.ss_family == AF_INET6) {
            const struct sockaddr_in6 *in6 = (const void *)&address;
            uv_ip6_name(in6, host, sizeof(host));
            port = ntohs(in6->sin6_port);
        } else {
            const struct sockaddr_in *in4 = (const void *)&address;
            uv_ip4_name(in4, host, sizeof(host));
            port = ntohs(in4->sin_port);
        }
    }
    snprintf(conn->remote, sizeof(conn->remote), "%s:%u", host, port);
}

/* ---- Writing ------------------------------------------------------------------------------ */

static void mark_dirty(struct rf_conn *conn)
{
    if (!conn->dirty && !conn->closing) {
        conn->dirty = true;
        conn->next_dirty = conn->loop->dirty;
        conn->loop->dirty = conn;
    }
}

static void start_reading(struct rf_conn *conn);

/* Everything is sent. */
static void end_conn(struct rf_conn *conn)
{
    if (!conn->linger) {
        close_now(conn, "");
    } else if (!conn->lingering && !conn->closing) {
        conn->lingering = true;
        if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, NULL) != 0) {
            close_now(conn, "");
        } else if (conn->stopped) {
            start_reading(conn);
        }
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct write_job *job = (struct write_job *)request;
    struct rf_conn   *conn = job->conn;
    conn->backlog -= job->size;
    rf_mem_free(job);
    if (status != 0) {
        close_now(conn, uv_strerror(status));
        return;
    }
    if (conn->backlog == 0 && conn->close_after_flush) {
        end_conn(conn);
    } else if (conn->stopped && conn->backlog < BACKLOG_MAX / 2 && !conn->closing) {
        start_reading(conn);
    }
}

/* Sends the bytes: at once as far as the socket takes them, the rest when it is ready. */
static void send_bytes(struct rf_conn *conn, struct rf_slice bytes)
{
    uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
    if (conn->closing || bytes.size == 0) {
        return;
    }
    if (conn->backlog == 0) {
        uv_buf_t piece = uv_buf_init((char *)(uintptr_t)bytes.data, (unsigned)bytes.size);
        int      sent = uv_try_write(stream, &piece, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
            close_now(conn, uv_strerror(sent));
            return;
        }
        if (sent > 0) {
            bytes = rf_slice(bytes.data + sent, bytes.size - (size_t)sent);
        }
    }
    if (bytes.size == 0) {
        return;
    }
    struct write_job *job = rf_mem_alloc(sizeof(*job) + bytes.size);
    if (job == NULL) {
        close_now(conn, "no memory");
        return;
    }
    job->conn = conn;
    job->size = bytes.size;
    memcpy(job->bytes, bytes.data, bytes.size);
    uv_buf_t piece = uv_buf_init((char *)job->bytes, (unsigned)bytes.size);
    conn->backlog += bytes.size;
    int rc = uv_write(&job->request, stream, &piece, 1, on_written);
    if (rc != 0) {
        conn->backlog -= job->size;
        rf_mem_free(job);
        close_now(conn, uv_strerror(rc));
        return;
    }
    if (conn->backlog > BACKLOG_MAX && !conn->stopped) {
        conn->stopped = true;
        uv_read_stop(stream);
    }
}

static void send_cipher(struct rf_conn *conn)
{
    struct rf_buf *cipher = &conn->loop->cipher;
    if (cipher->failed) {
        close_now(conn, "no memory");
    }
    send_bytes(conn, rf_buf_slice(cipher));
    rf_buf_clear(cipher);
}

static void encrypt_out(struct rf_conn *conn)
{
    size_t at = 0;
    if (conn->ssl == NULL) {
        send_bytes(conn, rf_buf_slice(&conn->out));
        at = conn->out.size;
    }
    while (at < conn->out.size && !conn->closing) {
        size_t n = 0;
        ERR_clear_error();
        if (SSL_write_ex(conn->ssl, conn->out.data + at, conn->out.size - at, &n) != 1) {
            char why[256];
            rf_tls_reason(conn->ssl, why);
            close_now(conn, why);
            break;
        }
        at += n;
    }
    rf_buf_clear(&conn->out);
    if (conn->out.cap > 256u * 1024) {
        rf_buf_fini(&conn->out); /* a large answer must not pin its memory */
    }
}

static void flush_conn(struct rf_conn *conn)
{
    rf_assert(conn->magic == CONN_MAGIC);
    if (conn->closing) {
        return;
    }
    conn->busy++;
    if (conn->handshaken) {
        if (conn->out.failed) {
            close_now(conn, "no memory");
        }
        encrypt_out(conn);
        if (conn->close_after_flush && !conn->closing && conn->ssl != NULL) {
            ERR_clear_error();
            SSL_shutdown(conn->ssl);
        }
        send_cipher(conn);
    }
    if (conn->close_after_flush && conn->backlog == 0) {
        end_conn(conn);
    }
    conn->busy--;
    free_if_done(conn);
}

struct rf_buf *rf_conn_out(struct rf_conn *conn)
{
    rf_assert(conn->magic == CONN_MAGIC);
    mark_dirty(conn);
    return &conn->out;
}

void rf_conn_write_plain(struct rf_conn *conn, struct rf_slice bytes)
{
    rf_assert(!conn->handshaken);
    send_bytes(conn, bytes);
}

size_t rf_conn_backlog(const struct rf_conn *conn)
{
    return conn->backlog + conn->out.size;
}

/* ---- Reading ------------------------------------------------------------------------------ */

/* Hands plaintext out: directly when nothing is kept, else behind what is kept. */
static void deliver(struct rf_conn *conn, struct rf_slice bytes)
{
    if (conn->in.size == 0 && !conn->paused) {
        size_t used = conn->callbacks->on_data(conn, bytes);
        rf_assert(used <= bytes.size);
        bytes = rf_slice(bytes.data + used, bytes.size - used);
        rf_buf_append_slice(&conn->in, bytes);
    } else {
        rf_buf_append_slice(&conn->in, bytes);
        if (!conn->paused && !conn->closing) {
            size_t used = conn->callbacks->on_data(conn, rf_buf_slice(&conn->in));
            rf_buf_consume(&conn->in, used);
        }
    }
    if (conn->in.failed) {
        close_now(conn, "no memory");
    }
    if (conn->in.size == 0 && conn->in.cap > PLAIN_SIZE) {
        rf_buf_fini(&conn->in);
    }
}

static bool handshake(struct rf_conn *conn)
{
    ERR_clear_error();
    int rc = conn->ssl == NULL ? 1 : SSL_do_handshake(conn->ssl);
    if (rc == 1) {
        conn->handshaken = true;
        conn->callbacks->on_ready(conn);
        return !conn->closing;
    }
    int error = SSL_get_error(conn->ssl, rc);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        char why[256];
        char full[256];
        rf_tls_reason(conn->ssl, why);
        snprintf(full, sizeof(full), "TLS handshake failed: %.220s", why);
        send_cipher(conn); /* the alert */
        close_now(conn, full);
    }
    return false;
}

static void decrypt_in(struct rf_conn *conn)
{
    if (conn->ssl == NULL) {
        deliver(conn, rf_slice(conn->io.in, conn->io.in_size));
        return;
    }
    while (!conn->closing && !conn->close_after_flush) {
        size_t n = 0;
        ERR_clear_error();
        if (SSL_read_ex(conn->ssl, conn->loop->plain_space, PLAIN_SIZE, &n) == 1) {
            deliver(conn, rf_slice(conn->loop->plain_space, n));
            continue;
        }
        int error = SSL_get_error(conn->ssl, 0);
        if (error == SSL_ERROR_ZERO_RETURN) {
            rf_conn_close(conn, "the other side closed the connection");
        } else if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
            char why[256];
            rf_tls_reason(conn->ssl, why);
            close_now(conn, why);
        }
        return;
    }
}

/* A TLS connection begins with a handshake record (22). */
static bool looks_plain(struct rf_conn *conn, struct rf_slice bytes)
{
    if (conn->first_seen || conn->ssl == NULL || SSL_is_server(conn->ssl) == 0) {
        return false;
    }
    conn->first_seen = true;
    if (bytes.data[0] == 22 || conn->callbacks->on_plain == NULL) {
        return false;
    }
    conn->callbacks->on_plain(conn, bytes);
    conn->close_after_flush = true;
    if (conn->backlog == 0) {
        close_now(conn, "no TLS");
    }
    return true;
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *space)
{
    struct rf_conn *conn = stream->data;
    if (size == 0) {
        return;
    }
    conn->busy++;
    struct rf_slice bytes = rf_slice(space->base, size < 0 ? 0 : (size_t)size);
    if (size < 0) {
        close_now(conn,
                  size == UV_EOF ? "the other side closed the connection" : uv_strerror((int)size));
    } else if (!conn->lingering && !looks_plain(conn, bytes)) {
        conn->io.in = bytes.data;
        conn->io.in_size = bytes.size;
        if (conn->handshaken || handshake(conn)) {
            decrypt_in(conn);
        }
        send_cipher(conn); /* handshake messages, key updates */
    }
    conn->busy--;
    free_if_done(conn);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_space)
{
    const struct rf_conn *conn = handle->data;
    (void)suggested;
    *ret_space = uv_buf_init((char *)conn->loop->read_space, READ_SIZE);
}

static void start_reading(struct rf_conn *conn)
{
    conn->stopped = false;
    int rc = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    if (rc != 0) {
        close_now(conn, uv_strerror(rc));
    }
}

void rf_conn_trim(struct rf_conn *conn)
{
    if (conn->ssl != NULL && conn->handshaken && !conn->closing) {
        SSL_free_buffers(conn->ssl); /* refuses by itself while they hold something */
    }
    if (conn->out.size == 0) {
        rf_buf_fini(&conn->out);
    }
    if (conn->in.size == 0) {
        rf_buf_fini(&conn->in);
    }
}

void rf_conn_pause(struct rf_conn *conn)
{
    conn->paused = true;
    if (!conn->stopped && !conn->closing) {
        conn->stopped = true;
        uv_read_stop((uv_stream_t *)&conn->tcp);
    }
}

void rf_conn_resume(struct rf_conn *conn)
{
    if (!conn->paused || conn->closing) {
        return;
    }
    conn->paused = false;
    conn->busy++;
    if (conn->in.size != 0) {
        size_t used = conn->callbacks->on_data(conn, rf_buf_slice(&conn->in));
        rf_buf_consume(&conn->in, used);
    }
    if (!conn->paused && !conn->closing && conn->stopped && conn->backlog < BACKLOG_MAX) {
        start_reading(conn);
    }
    conn->busy--;
    free_if_done(conn);
}

/* ---- Opening and closing ------------------------------------------------------------------ */

struct rf_conn *rf_conn_accept(struct rf_loop *loop, int fd, SSL_CTX *context,
                               const struct rf_conn_callbacks *callbacks, void *user)
{
    struct rf_conn *conn = new_conn(loop, context, callbacks, user);
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    if (conn->ssl != NULL) {
        SSL_set_accept_state(conn->ssl);
    }
    int rc = uv_tcp_open(&conn->tcp, fd);
    if (rc != 0) {
        close(fd);
        close_now(conn, uv_strerror(rc));
        return conn;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    note_remote(conn);
    start_reading(conn);
    return conn;
}

void rf_conn_give_up_after(struct rf_conn *conn, uint32_t timeout_ms)
{
    uv_os_fd_t fd = -1;
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    }
}

/* uv_strerror makes up a text for codes that it does not know, 0 among them, and leaks it. */
static const char *why_not(int status)
{
    return status == 0 ? "closed while connecting" : uv_strerror(status);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct rf_conn *conn = request->data;
    if (status != 0 || conn->closing) {
        close_now(conn, why_not(status));
        return;
    }
    conn->busy++;
    uv_tcp_nodelay(&conn->tcp, 1);
    note_remote(conn);
    start_reading(conn);
    (void)handshake(conn);
    send_cipher(conn);
    conn->busy--;
    free_if_done(conn);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct rf_conn *conn = request->data;
    conn->resolving = false;
    if (status == 0 && !conn->closing) {
        conn->connect.data = conn;
        int rc = uv_tcp_connect(&conn->connect, &conn->tcp, found->ai_addr, on_connected);
        if (rc != 0) {
            close_now(conn, uv_strerror(rc));
        }
    } else {
        close_now(conn, why_not(status));
    }
    uv_freeaddrinfo(found);
    free_if_done(conn);
}

struct rf_conn *rf_conn_dial(struct rf_loop *loop, const char *address, SSL_CTX *context,
                             const struct rf_conn_callbacks *callbacks, void *user)
{
    char            host[256];
    char            port[8];
    struct rf_conn *conn = new_conn(loop, context, callbacks, user);
    if (conn == NULL) {
        return NULL;
    }
    if (conn->ssl != NULL) {
        SSL_set_connect_state(conn->ssl);
    }
    snprintf(conn->remote, sizeof(conn->remote), "%.63s", address);
    if (!rf_split_address(address, host, port)) {
        close_now(conn, "not an address");
        return conn;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    conn->resolve.data = conn;
    conn->resolving = true;
    int rc = uv_getaddrinfo(&loop->uv, &conn->resolve, on_resolved, host, port, &hints);
    if (rc != 0) {
        conn->resolving = false;
        close_now(conn, uv_strerror(rc));
    }
    return conn;
}

void rf_conn_close(struct rf_conn *conn, const char *why)
{
    rf_assert(conn->magic == CONN_MAGIC);
    if (conn->closing || conn->close_after_flush) {
        return;
    }
    snprintf(conn->why, sizeof(conn->why), "%s", why);
    if (!conn->handshaken) {
        close_now(conn, why);
        return;
    }
    conn->close_after_flush = true;
    mark_dirty(conn);
}

void rf_conn_linger(struct rf_conn *conn)
{
    conn->linger = true;
}

void rf_conn_abort(struct rf_conn *conn, const char *why)
{
    rf_assert(conn->magic == CONN_MAGIC);
    close_now(conn, why);
}

void *rf_conn_user(const struct rf_conn *conn)
{
    return conn->user;
}

SSL *rf_conn_ssl(struct rf_conn *conn)
{
    return conn->ssl;
}

const char *rf_conn_remote(const struct rf_conn *conn)
{
    return conn->remote;
}
