#include "devkit/certs.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>

#define YEARS_10 (10L * 365 * 24 * 3600)

static bool add_extension(X509 *certificate, X509 *issuer, int id, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, id, value);
    bool            added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static X509 *new_certificate(EVP_PKEY *key, const char *common_name)
{
    uint8_t serial[16];
    X509   *certificate = X509_new();
    BIGNUM *number = NULL;
    if (certificate == NULL || RAND_bytes(serial, sizeof(serial)) != 1) {
        X509_free(certificate);
        return NULL;
    }
    serial[0] &= 0x7f;
    number = BN_bin2bn(serial, sizeof(serial), NULL);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    X509_set_version(certificate, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), YEARS_10);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                               (const unsigned char *)common_name, -1, -1, 0);
    return certificate;
}

/* Created with its final mode: a key is never readable by others, not even for a moment. */
static bool write_key(const char *path, EVP_PKEY *key)
{
    mode_t before = umask(0077);
    FILE  *file = fopen(path, "wbe");
    umask(before);
    bool written = file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1;
    return file != NULL && fclose(file) == 0 && written;
}

static bool write_certificate(const char *path, X509 *certificate)
{
    FILE *file = fopen(path, "wbe");
    bool  written = file != NULL && PEM_write_X509(file, certificate) == 1;
    return file != NULL && fclose(file) == 0 && written;
}

struct rf_result rf_certs_make_ca(const char *dir, const char *cluster)
{
    char      path[1200];
    char      name[128];
    bool      made = false;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    snprintf(name, sizeof(name), "Ringfort development CA (%.63s)", cluster);
    X509 *ca = key == NULL ? NULL : new_certificate(key, name);
    if (ca != NULL) {
        X509_set_issuer_name(ca, X509_get_subject_name(ca));
        made = add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
               add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
               add_extension(ca, ca, NID_subject_key_identifier, "hash") &&
               X509_sign(ca, key, EVP_sha256()) != 0;
    }
    snprintf(path, sizeof(path), "%.1100s/ca.key", dir);
    made = made && write_key(path, key);
    snprintf(path, sizeof(path), "%.1100s/ca.crt", dir);
    made = made && write_certificate(path, ca);
    X509_free(ca);
    EVP_PKEY_free(key);
    return rf_result(made ? RF_OK : RF_IO_ERROR);
}

static bool load_ca(const char *dir, X509 **ret_ca, EVP_PKEY **ret_key)
{
    char path[1200];
    snprintf(path, sizeof(path), "%.1100s/ca.crt", dir);
    FILE *file = fopen(path, "rbe");
    *ret_ca = file == NULL ? NULL : PEM_read_X509(file, NULL, NULL, NULL);
    if (file != NULL) {
        fclose(file);
    }
    snprintf(path, sizeof(path), "%.1100s/ca.key", dir);
    file = fopen(path, "rbe");
    *ret_key = file == NULL ? NULL : PEM_read_PrivateKey(file, NULL, NULL, NULL);
    if (file != NULL) {
        fclose(file);
    }
    return *ret_ca != NULL && *ret_key != NULL;
}

static bool sign_leaf(X509 *leaf, X509 *ca, EVP_PKEY *ca_key, const char *uri)
{
    char names[320];
    snprintf(names, sizeof(names), "URI:%s,DNS:localhost,IP:127.0.0.1,IP:::1", uri);
    X509_set_issuer_name(leaf, X509_get_subject_name(ca));
    return add_extension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(leaf, ca, NID_key_usage, "critical,digitalSignature") &&
           add_extension(leaf, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_extension(leaf, ca, NID_authority_key_identifier, "keyid") &&
           add_extension(leaf, ca, NID_subject_alt_name, names) &&
           X509_sign(leaf, ca_key, EVP_sha256()) != 0;
}

struct rf_result rf_certs_make(const char *ca_dir, const char *cluster, const char *kind,
                               const char *name, const char *cert_path, const char *key_path)
{
    X509     *ca = NULL;
    EVP_PKEY *ca_key = NULL;
    char      uri[256];
    snprintf(uri, sizeof(uri), "ringfort://%.63s/%.15s/%.63s", cluster, kind, name);
    bool      made = load_ca(ca_dir, &ca, &ca_key);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509     *leaf = key == NULL ? NULL : new_certificate(key, name);
    made = made && leaf != NULL && sign_leaf(leaf, ca, ca_key, uri) && write_key(key_path, key) &&
           write_certificate(cert_path, leaf);
    X509_free(leaf);
    EVP_PKEY_free(key);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    return rf_result(made ? RF_OK : RF_IO_ERROR);
}
