/* A small blocking HTTPS client for the CLI: one request at a time, the connection is kept.
 * Thread: one. Blocks: yes. */
#ifndef RF_HTTP_CLIENT_H
#define RF_HTTP_CLIENT_H

#include <openssl/ssl.h>

#include "base/buf.h"

struct rf_http_client {
    char     host[256];
    char     port[8];
    char     token[256]; /* "" : no Authorization header */
    SSL_CTX *context;
    SSL     *ssl; /* NULL: not connected */
    int      fd;
    uint32_t timeout_ms;
};

struct rf_http_result {
    uint16_t      status;
    struct rf_buf body;
};

/* @param url "https://host:port". @param ca PEM file, NULL for the system's.
 * RF_OK; RF_INVALID_VALUE or RF_CONFIG_INVALID with a sentence. */
RF_CHECKED struct rf_result rf_http_client_init(struct rf_http_client *client, const char *url,
                                                const char *ca, const char *token,
                                                uint32_t timeout_ms, char ret_why[256]);
void                        rf_http_client_fini(struct rf_http_client *client);

/* One request. @param body data NULL: none. The result's body is cleared first; the caller frees
 * it. RF_OK whatever the status; RF_IO_ERROR with a sentence when there was no answer. */
RF_CHECKED struct rf_result rf_http_client_do(struct rf_http_client *client, const char *method,
                                              const char *target, struct rf_slice body,
                                              struct rf_http_result *result, char ret_why[256]);

/* Appends the text percent-encoded for a query. */
void rf_http_encode(struct rf_buf *buf, struct rf_slice text);

#endif
