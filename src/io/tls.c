#include "io/tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* ---- Contexts ----------------------------------------------------------------------------- */

void rf_tls_reason(const SSL *ssl, char ret_why[256])
{
    unsigned long error = ERR_peek_last_error();
    long          verify = ssl == NULL ? X509_V_OK : SSL_get_verify_result(ssl);
    const char   *reason = error == 0 ? NULL : ERR_reason_error_string(error);
    snprintf(ret_why, 256, "%s%s%s",
             reason == NULL ? "the other side closed the connection" : reason,
             verify == X509_V_OK ? "" : ": ",
             verify == X509_V_OK ? "" : X509_verify_cert_error_string(verify));
}

static struct rf_result refuse(SSL_CTX *context, const char *what, const char *file, char why[256])
{
    char reason[256];
    rf_tls_reason(NULL, reason);
    snprintf(why, 256, "%.40s %.120s: %.80s", what, file, reason);
    SSL_CTX_free(context);
    return rf_result(RF_CONFIG_INVALID);
}

static void set_options(SSL_CTX *context, enum rf_tls_role role)
{
    bool peer = role == RF_TLS_PEER_SERVER || role == RF_TLS_PEER_CLIENT;
    SSL_CTX_set_min_proto_version(context, peer ? TLS1_3_VERSION : TLS1_2_VERSION);
    /* Record buffers (34 KiB) are allocated and freed with every record in this mode: 0.5 µs of a
     * request. Clients' connections give theirs back when they idle (rf_conn_trim). */
    if (peer) {
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set1_groups_list(context, "X25519:P-256");
    if (role == RF_TLS_PEER_SERVER) {
        SSL_CTX_set_num_tickets(context, 0); /* links live long: nothing to resume */
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    } else if (role == RF_TLS_HTTPS) {
        SSL_CTX_set_num_tickets(context, 1);
        SSL_CTX_set_session_id_context(context, (const unsigned char *)"ringfort", 8);
    } else {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
}

struct rf_result rf_tls_context(enum rf_tls_role role, const char *ca, const char *cert,
                                const char *key, SSL_CTX **ret_context, char ret_why[256])
{
    ERR_clear_error();
    bool     server = role == RF_TLS_PEER_SERVER || role == RF_TLS_HTTPS;
    SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (context == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    set_options(context, role);
    if (ca != NULL && SSL_CTX_load_verify_locations(context, ca, NULL) != 1) {
        return refuse(context, "cannot use the CA", ca, ret_why);
    }
    if (cert != NULL && SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
        return refuse(context, "cannot use the certificate", cert, ret_why);
    }
    if (key != NULL && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        return refuse(context, "cannot use the private key", key, ret_why);
    }
    if (key != NULL && SSL_CTX_check_private_key(context) != 1) {
        return refuse(context, "the key does not belong to the certificate", cert, ret_why);
    }
    *ret_context = context;
    return rf_result(RF_OK);
}

/* ---- Identity ----------------------------------------------------------------------------- */

/* "ringfort://CLUSTER/KIND/NAME" taken apart. */
static bool parse_uri(struct rf_slice uri, const char *kind, char ret_cluster[64],
                      char ret_name[64])
{
    static const char scheme[] = "ringfort://";
    size_t            skip = sizeof(scheme) - 1;
    if (uri.size <= skip || memcmp(uri.data, scheme, skip) != 0 ||
        memchr(uri.data, 0, uri.size) != NULL) {
        return false;
    }
    const uint8_t *cluster = uri.data + skip;
    const uint8_t *end = uri.data + uri.size;
    const uint8_t *slash = memchr(cluster, '/', (size_t)(end - cluster));
    size_t         kind_size = strlen(kind);
    if (slash == NULL || (size_t)(end - slash) < kind_size + 3 ||
        memcmp(slash + 1, kind, kind_size) != 0 || slash[1 + kind_size] != '/') {
        return false;
    }
    const uint8_t *name = slash + kind_size + 2;
    size_t         cluster_size = (size_t)(slash - cluster);
    size_t         name_size = (size_t)(end - name);
    if (cluster_size == 0 || cluster_size > 63 || name_size > 63 ||
        memchr(name, '/', name_size) != NULL) {
        return false;
    }
    memcpy(ret_cluster, cluster, cluster_size);
    ret_cluster[cluster_size] = 0;
    memcpy(ret_name, name, name_size);
    ret_name[name_size] = 0;
    return true;
}

static bool certificate_identity(X509 *certificate, const char *kind, char ret_cluster[64],
                                 char ret_name[64])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool           found = false;
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names) && !found; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI) {
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
            found = parse_uri(rf_slice(ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)),
                              kind, ret_cluster, ret_name);
        }
    }
    GENERAL_NAMES_free(names);
    return found;
}

bool rf_tls_identity(const SSL *ssl, const char *kind, char ret_cluster[64], char ret_name[64])
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    return certificate != NULL && certificate_identity(certificate, kind, ret_cluster, ret_name);
}

static struct rf_result say(char why[512], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct rf_result say(char why[512], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, 512, format, args);
    va_end(args);
    return rf_result(RF_CONFIG_INVALID);
}

/* The first certificate of the file; NULL with a sentence. */
static X509 *read_certificate(const char *path, char why[512])
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        (void)say(why, "cannot open %.400s: %m", path);
        return NULL;
    }
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    if (certificate == NULL) {
        (void)say(why, "%.400s holds no certificate (PEM)", path);
    }
    fclose(file);
    ERR_clear_error();
    return certificate;
}

static struct rf_result check_identity(X509 *certificate, const char *path, const char *cluster,
                                       const char *node, char why[512])
{
    char its_cluster[64];
    char its_name[64];
    if (!certificate_identity(certificate, "node", its_cluster, its_name)) {
        return say(why, "%.250s names no node; it needs the SAN URI ringfort://%.63s/node/%.63s",
                   path, cluster, node);
    }
    if (strcmp(cluster, its_cluster) != 0 || strcmp(node, its_name) != 0) {
        return say(why, "%.200s is for node '%s' of cluster '%s', this is node '%.63s' of '%.63s'",
                   path, its_name, its_cluster, node, cluster);
    }
    return rf_result(RF_OK);
}

struct rf_result rf_tls_check_node(const char *ca, const char *cert, const char *key,
                                   const char *cluster, const char *node, int64_t *ret_left_s,
                                   char ret_why[512])
{
    char     short_why[256];
    int      days = 0;
    int      seconds = 0;
    SSL_CTX *context = NULL;
    X509    *certificate = read_certificate(cert, ret_why);
    if (certificate == NULL) {
        return rf_result(RF_CONFIG_INVALID);
    }
    struct rf_result result = check_identity(certificate, cert, cluster, node, ret_why);
    bool known = ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) == 1;
    X509_free(certificate);
    RF_TRY(result);
    *ret_left_s = (int64_t)days * 86400 + seconds;
    if (!known || *ret_left_s <= 0) {
        return say(ret_why, "%.400s expired %d days ago; no peer will accept it", cert, -days);
    }
    if (!rf_ok(rf_tls_context(RF_TLS_PEER_CLIENT, ca, cert, key, &context, short_why))) {
        return say(ret_why, "%s", short_why);
    }
    SSL_CTX_free(context);
    return rf_result(RF_OK);
}

/* ---- The BIO ------------------------------------------------------------------------------ */

static int bio_read(BIO *bio, char *to, size_t max, size_t *ret_size)
{
    struct rf_tls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (io->in_size == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t n = io->in_size < max ? io->in_size : max;
    memcpy(to, io->in, n);
    io->in += n;
    io->in_size -= n;
    *ret_size = n;
    return 1;
}

static int bio_write(BIO *bio, const char *from, size_t size, size_t *ret_size)
{
    struct rf_tls_io *io = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    rf_buf_append(io->out, from, size);
    if (io->out->failed) {
        return 0;
    }
    *ret_size = size;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD    *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ringfort loop");
    if (method != NULL) {
        BIO_meth_set_read_ex(method, bio_read);
        BIO_meth_set_write_ex(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
}

BIO *rf_tls_bio(struct rf_tls_io *io)
{
    pthread_once(&method_once, make_method);
    BIO *bio = method == NULL ? NULL : BIO_new(method);
    if (bio != NULL) {
        BIO_set_data(bio, io);
        BIO_set_init(bio, 1);
    }
    return bio;
}
