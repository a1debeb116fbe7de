/* Who may do what: bearer tokens from the tokens file, kept as SHA-256 of the whole token. */
#ifndef RF_SERVER_AUTH_H
#define RF_SERVER_AUTH_H

#include "config/tree.h"

#define RF_TOKENS_MAX 256u

struct rf_token {
    uint8_t  sha256[32];
    char     id[64];
    uint64_t expires_ms; /* 0: never */
};

struct rf_auth {
    bool            open; /* auth: none */
    uint32_t        n;
    struct rf_token tokens[RF_TOKENS_MAX];
};

/* Loads the tokens file. Problems go to the list. RF_OK, RF_CONFIG_INVALID. Blocks. */
RF_CHECKED struct rf_result rf_auth_load(const char *path, struct rf_auth *ret_auth,
                                         struct rf_problems *problems);
/* Checks the value of an Authorization header (data NULL: none). RF_OK with the token's id,
 * RF_UNAUTHENTICATED. Thread: any. */
RF_CHECKED struct rf_result rf_auth_check(const struct rf_auth *auth, struct rf_slice header,
                                          uint64_t wall_ms, const char **ret_id);

#endif
