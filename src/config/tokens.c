#define _GNU_SOURCE /* strptime, timegm */
#include "config/tokens.h"

#include <stdio.h>
#include <time.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_sha256(const char *text, uint8_t ret_hash[32])
{
    if (strlen(text) != 64) {
        return false;
    }
    for (int i = 0; i < 32; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ret_hash[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool parse_time(const char *text, uint64_t *ret_ms)
{
    struct tm   parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (end == NULL || *end != 0) {
        return false;
    }
    *ret_ms = (uint64_t)timegm(&parts) * 1000;
    return true;
}

static const char *text_of(const struct rf_tree *map, const char *key)
{
    const struct rf_tree *entry = rf_tree_get(map, key);
    return entry == NULL || entry->kind != RF_TREE_SCALAR ? NULL : entry->text;
}

static void take_token(const struct rf_tree *entry, const struct rf_document *document,
                       struct rf_tokens *tokens, struct rf_problems *problems)
{
    const char     *id = text_of(entry, "id");
    const char     *hash = text_of(entry, "sha256");
    const char     *role = text_of(entry, "role");
    const char     *expires = text_of(entry, "expires");
    struct rf_token token = {0};
    const char     *problem = NULL;
    if (id == NULL || id[0] == 0 || strlen(id) > 63) {
        problem = "a token needs an id of at most 63 bytes";
    } else if (hash == NULL || !parse_sha256(hash, token.sha256)) {
        problem = "sha256 must be the SHA-256 of the whole token, 64 lower-case hex digits";
    } else if (role == NULL || strcmp(role, "admin") != 0) {
        problem = "unknown role; known is 'admin'";
    } else if (expires != NULL && !parse_time(expires, &token.expires_ms)) {
        problem = "expires must look like 2027-01-01T00:00:00Z";
    } else if (tokens->n == RF_TOKENS_MAX) {
        problem = "too many tokens (at most 256)";
    }
    if (problem != NULL) {
        rf_problem_at(problems, document, entry->line, entry->column, "%s", problem);
        return;
    }
    snprintf(token.id, sizeof(token.id), "%s", id);
    tokens->list[tokens->n++] = token;
}

struct rf_result rf_tokens_load(const char *path, struct rf_tokens *ret_tokens,
                                struct rf_problems *problems)
{
    struct rf_document document;
    uint32_t           before = problems->count;
    if (rf_ok(rf_tree_load(path, &document, problems))) {
        const struct rf_tree *tokens = rf_tree_get(&document.root, "tokens");
        if (tokens == NULL || tokens->kind != RF_TREE_LIST) {
            rf_problem_at(problems, &document, 1, 1, "expected tokens: [{id, sha256, role}]");
        }
        bool list = tokens != NULL && tokens->kind == RF_TREE_LIST;
        for (uint32_t i = 0; list && i < tokens->n_children; i++) {
            take_token(&tokens->children[i], &document, ret_tokens, problems);
        }
    }
    rf_document_free(&document);
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}
