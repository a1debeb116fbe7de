#include "server/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

struct rf_result rf_auth_check(const struct rf_auth *auth, struct rf_slice header, uint64_t wall_ms,
                               const char **ret_id)
{
    static const char scheme[] = "bearer ";
    uint8_t           hash[32];
    size_t            skip = sizeof(scheme) - 1;
    if (auth->open) {
        *ret_id = "open";
        return rf_result(RF_OK);
    }
    for (size_t i = 0; i < skip && header.size > skip; i++) { /* in any case: RFC 9110, 11.1 */
        uint8_t c = header.data[i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != scheme[i]) {
            return rf_result(RF_UNAUTHENTICATED);
        }
    }
    if (header.size <= skip) {
        return rf_result(RF_UNAUTHENTICATED);
    }
    SHA256(header.data + skip, header.size - skip, hash);
    for (uint32_t i = 0; i < auth->tokens.n; i++) {
        const struct rf_token *token = &auth->tokens.list[i];
        if (CRYPTO_memcmp(hash, token->sha256, sizeof(hash)) == 0 &&
            (token->expires_ms == 0 || token->expires_ms > wall_ms)) {
            *ret_id = token->id;
            return rf_result(RF_OK);
        }
    }
    return rf_result(RF_UNAUTHENTICATED);
}
