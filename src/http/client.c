#include "http/client.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "io/tls.h"

#define ANSWER_MAX (64u * 1024 * 1024) /* bytes */

static bool split_url(struct rf_http_client *client, const char *url)
{
    static const char scheme[] = "https://";
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0) {
        return false;
    }
    const char *host = url + sizeof(scheme) - 1;
    size_t      n = strcspn(host, "/");
    const char *colon = memchr(host, ':', n);
    size_t      host_size = colon == NULL ? n : (size_t)(colon - host);
    size_t      port_size = colon == NULL ? 0 : n - host_size - 1;
    if (host_size == 0 || host_size > 255 || port_size > 7) {
        return false;
    }
    memcpy(client->host, host, host_size);
    snprintf(client->port, sizeof(client->port), "%.*s", colon == NULL ? 4 : (int)port_size,
             colon == NULL ? "7443" : colon + 1);
    return true;
}

struct rf_result rf_http_client_init(struct rf_http_client *client, const char *url, const char *ca,
                                     const char *token, uint32_t timeout_ms, char ret_why[256])
{
    *client = (struct rf_http_client){.fd = -1, .timeout_ms = timeout_ms};
    if (!split_url(client, url)) {
        snprintf(ret_why, 256, "'%.150s' is not an address like https://host:7443", url);
        return rf_result(RF_INVALID_VALUE);
    }
    snprintf(client->token, sizeof(client->token), "%s", token == NULL ? "" : token);
    RF_TRY(rf_tls_context(RF_TLS_HTTPS_CLIENT, ca, NULL, NULL, &client->context, ret_why));
    if (ca == NULL) {
        SSL_CTX_set_default_verify_paths(client->context);
    }
    return rf_result(RF_OK);
}

static void disconnect(struct rf_http_client *client)
{
    SSL_free(client->ssl);
    client->ssl = NULL;
    if (client->fd >= 0) {
        close(client->fd);
    }
    client->fd = -1;
}

void rf_http_client_fini(struct rf_http_client *client)
{
    disconnect(client);
    SSL_CTX_free(client->context);
    client->context = NULL;
}

static int dial(struct rf_http_client *client)
{
    struct addrinfo *found = NULL;
    struct addrinfo  hints = {.ai_socktype = SOCK_STREAM};
    struct timeval   limit = {client->timeout_ms / 1000, (client->timeout_ms % 1000) * 1000};
    int              fd = -1;
    if (getaddrinfo(client->host, client->port, &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        if (connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            int error = errno;
            close(fd);
            errno = error;
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static struct rf_result connect_client(struct rf_http_client *client, char why[256])
{
    char reason[256];
    client->fd = dial(client);
    if (client->fd < 0) {
        snprintf(why, 256, "cannot connect to %.100s:%s: %s", client->host, client->port,
                 strerror(errno));
        return rf_result(RF_IO_ERROR);
    }
    ERR_clear_error();
    client->ssl = SSL_new(client->context);
    if (client->ssl == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(client->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, client->host) != 1) {
        SSL_set1_host(client->ssl, client->host);
        SSL_set_tlsext_host_name(client->ssl, client->host);
    }
    ERR_clear_error();
    SSL_set_fd(client->ssl, client->fd);
    if (SSL_connect(client->ssl) != 1) {
        rf_tls_reason(client->ssl, reason);
        snprintf(why, 256, "TLS with %.80s:%s failed: %.120s", client->host, client->port, reason);
        disconnect(client);
        return rf_result(RF_IO_ERROR);
    }
    return rf_result(RF_OK);
}

/* ---- One exchange ------------------------------------------------------------------------- */

static bool send_all(struct rf_http_client *client, struct rf_slice bytes)
{
    size_t at = 0;
    while (at < bytes.size) {
        size_t n = 0;
        if (SSL_write_ex(client->ssl, bytes.data + at, bytes.size - at, &n) != 1) {
            return false;
        }
        at += n;
    }
    return true;
}

static bool receive_more(struct rf_http_client *client, struct rf_buf *in)
{
    size_t   n = 0;
    uint8_t *to = in->size > ANSWER_MAX ? NULL : rf_buf_reserve(in, 16384);
    if (to == NULL || SSL_read_ex(client->ssl, to, 16384, &n) != 1) {
        return false;
    }
    in->size += n;
    return true;
}

/* The length of the body, from a head that ends at `head`; our servers always send one. */
static size_t body_length(const char *head, size_t size)
{
    const char *at = head;
    while (at < head + size) {
        if (strncasecmp(at, "content-length:", 15) == 0) {
            return (size_t)strtoull(at + 15, NULL, 10);
        }
        const char *line = memchr(at, '\n', (size_t)(head + size - at));
        if (line == NULL) {
            return 0;
        }
        at = line + 1;
    }
    return 0;
}

static bool receive_answer(struct rf_http_client *client, bool head_only, struct rf_buf *in,
                           struct rf_http_result *result)
{
    char *end = NULL;
    do {
        if (!receive_more(client, in)) {
            return false;
        }
        rf_buf_append(in, "", 1); /* for strstr */
        in->size--;
        end = strstr((char *)in->data, "\r\n\r\n");
    } while (end == NULL);
    size_t head = (size_t)(end - (char *)in->data) + 4;
    size_t length = head_only ? 0 : body_length((char *)in->data, head);
    result->status = (uint16_t)(in->size > 12 ? atoi((char *)in->data + 9) : 0);
    while (in->size < head + length) {
        if (!receive_more(client, in)) {
            return false;
        }
    }
    rf_buf_append(&result->body, in->data + head, length);
    return !result->body.failed;
}

static void build_request(struct rf_http_client *client, const char *method, const char *target,
                          struct rf_slice body, struct rf_buf *request)
{
    rf_buf_append_str(request, method);
    rf_buf_append_str(request, " ");
    rf_buf_append_str(request, target);
    rf_buf_append_str(request, " HTTP/1.1\r\nHost: ");
    rf_buf_append_str(request, client->host);
    rf_buf_append_str(request, "\r\n");
    if (client->token[0] != 0) {
        rf_buf_append_str(request, "Authorization: Bearer ");
        rf_buf_append_str(request, client->token);
        rf_buf_append_str(request, "\r\n");
    }
    if (body.data != NULL) {
        rf_buf_append_str(request, "Content-Type: application/json\r\nContent-Length: ");
        rf_buf_append_u64(request, body.size);
        rf_buf_append_str(request, "\r\n");
    }
    rf_buf_append_str(request, "\r\n");
    rf_buf_append_slice(request, body);
}

struct rf_result rf_http_client_do(struct rf_http_client *client, const char *method,
                                   const char *target, struct rf_slice body,
                                   struct rf_http_result *result, char ret_why[256])
{
    struct rf_buf request = {0};
    struct rf_buf in = {0};
    bool          answered = false;
    rf_buf_clear(&result->body);
    build_request(client, method, target, body, &request);
    struct rf_result connected =
        client->ssl != NULL ? rf_result(RF_OK) : connect_client(client, ret_why);
    if (rf_ok(connected)) {
        ERR_clear_error();
        answered = !request.failed && send_all(client, rf_buf_slice(&request)) &&
                   receive_answer(client, strcmp(method, "HEAD") == 0, &in, result);
        if (!answered) {
            snprintf(ret_why, 256, "%.100s:%s closed the connection without an answer",
                     client->host, client->port);
            disconnect(client);
        }
    }
    rf_buf_fini(&request);
    rf_buf_fini(&in);
    return rf_ok(connected) && !answered ? rf_result(RF_IO_ERROR) : connected;
}

void rf_http_encode(struct rf_buf *buf, struct rf_slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        rf_buf_append(buf, plain ? (const char *)&c : escape, plain ? 1 : 3);
    }
}
