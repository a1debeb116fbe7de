/* A certificate authority for development and tests, made in-process: ECDSA P-256 keys, 10 years.
 * Blocks: writes files. Thread: any. */
#ifndef RF_DEVKIT_CERTS_H
#define RF_DEVKIT_CERTS_H

#include "base/rc.h"

/* Writes DIR/ca.crt and DIR/ca.key (mode 0600). RF_OK, RF_IO_ERROR. */
RF_CHECKED struct rf_result rf_certs_make_ca(const char *dir, const char *cluster);

/* Writes cert and key files signed by the CA in ca_dir, with the SAN URI
 * "ringfort://CLUSTER/KIND/NAME" (kind: "node" or "role") and the SANs localhost, 127.0.0.1, ::1. */
RF_CHECKED struct rf_result rf_certs_make(const char *ca_dir, const char *cluster, const char *kind,
                                          const char *name, const char *cert_path,
                                          const char *key_path);

#endif
