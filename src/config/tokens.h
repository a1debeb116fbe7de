/* The tokens file: who may call, each token kept as the SHA-256 of its whole text. */
#ifndef RF_CONFIG_TOKENS_H
#define RF_CONFIG_TOKENS_H

#include "config/tree.h"

#define RF_TOKENS_MAX 256u

struct rf_token {
    uint8_t  sha256[32];
    char     id[64];
    uint64_t expires_ms; /* since the epoch; 0: never */
};

struct rf_tokens {
    uint32_t        n;
    struct rf_token list[RF_TOKENS_MAX];
};

/* Loads and checks the file; all problems go to the list. RF_OK, RF_CONFIG_INVALID. Blocks. */
RF_CHECKED struct rf_result rf_tokens_load(const char *path, struct rf_tokens *ret_tokens,
                                           struct rf_problems *problems);

#endif
