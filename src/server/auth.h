/* Who may do what: bearer tokens from the tokens file, kept as SHA-256 of the whole token. */
#ifndef RF_SERVER_AUTH_H
#define RF_SERVER_AUTH_H

#include "config/tokens.h"

struct rf_auth {
    bool             open; /* auth: none */
    struct rf_tokens tokens;
};

/* Checks the value of an Authorization header (data NULL: none). RF_OK with the token's id,
 * RF_UNAUTHENTICATED. Thread: any. */
RF_CHECKED struct rf_result rf_auth_check(const struct rf_auth *auth, struct rf_slice header,
                                          uint64_t wall_ms, const char **ret_id);

#endif
