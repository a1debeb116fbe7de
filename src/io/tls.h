/* TLS contexts and what a peer's certificate says. OpenSSL 3; every call clears the error queue
 * first, and a failure is told with OpenSSL's reason, because the other side sees only an alert. */
#ifndef RF_IO_TLS_H
#define RF_IO_TLS_H

#include <openssl/ssl.h>

#include "base/rc.h"

enum rf_tls_role {
    RF_TLS_PEER_SERVER,  /* accepts peers: TLS 1.3, a certificate is required */
    RF_TLS_PEER_CLIENT,  /* dials peers: TLS 1.3, shows its certificate, checks the other's chain */
    RF_TLS_HTTPS,        /* serves clients: TLS 1.2 or newer */
    RF_TLS_HTTPS_CLIENT, /* the CLI: checks the server's chain and name; cert and key may be NULL */
};

/* A context for one thread. @param ca, cert, key PEM files.
 * Returns RF_OK, or RF_CONFIG_INVALID with a sentence. Blocks: reads files. */
RF_CHECKED struct rf_result rf_tls_context(enum rf_tls_role role, const char *ca, const char *cert,
                                           const char *key, SSL_CTX **ret_context,
                                           char ret_why[256]);

/* The SAN URI "ringfort://CLUSTER/KIND/NAME" of the other side's certificate. False when it has
 * none of this kind ("node" or "role"). Buffers of 64 bytes. */
bool rf_tls_identity(const SSL *ssl, const char *kind, char ret_cluster[64], char ret_name[64]);
/* Are these files what the node needs: a certificate that names it and is valid now, the key that
 * belongs to it, a CA? RF_OK with the seconds that the certificate is still valid; RF_CONFIG_INVALID
 * with a sentence. Blocks: reads files. */
RF_CHECKED struct rf_result rf_tls_check_node(const char *ca, const char *cert, const char *key,
                                              const char *cluster, const char *node,
                                              int64_t *ret_left_s, char ret_why[512]);

/* Why the last call failed, from OpenSSL's queue and the certificate check. */
void rf_tls_reason(const SSL *ssl, char ret_why[256]);

/* A BIO that reads from a slice and appends to a buffer: the loop's shared memory. */
struct rf_tls_io {
    const uint8_t *in; /* bytes from the socket not yet read by OpenSSL */
    size_t         in_size;
    struct rf_buf *out; /* bytes for the socket */
};
/* The BIO keeps a pointer to *io. NULL without memory. */
BIO *rf_tls_bio(struct rf_tls_io *io);

#endif
