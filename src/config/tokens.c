#define _GNU_SOURCE /* strptime, timegm */
#include "config/tokens.h"

#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "config/schema.h"

/* One entry as it is written. */
struct token_config {
    char id[64];
    char sha256[65];
    char role[64];
    char expires[33];
};

struct file_config {
    int64_t               version;
    const struct rf_tree *tokens;
};

#define AT(field) (uint32_t) offsetof(struct token_config, field)

/* path, type, offset, min, max, default, choices, effect, doc */
static const struct rf_setting file_settings[] = {
    {"version", RF_SET_VERSION, (uint32_t)offsetof(struct file_config, version), 1, 1, "1", NULL,
     RF_EFFECT_LIVE, "format of this file: 1"},
    {"tokens", RF_SET_SUBTREE, (uint32_t)offsetof(struct file_config, tokens), 0, 0, NULL, NULL,
     RF_EFFECT_LIVE, "a list of {id, sha256, role}"},
};
static const struct rf_setting token_settings[] = {
    {"id", RF_SET_TEXT, AT(id), 1, 63, NULL, NULL, RF_EFFECT_LIVE, "names the token in the log"},
    {"sha256", RF_SET_TEXT, AT(sha256), 1, 64, NULL, NULL, RF_EFFECT_LIVE,
     "the SHA-256 of the whole token, 64 lower-case hex digits"},
    {"role", RF_SET_NAME, AT(role), 1, 63, NULL, NULL, RF_EFFECT_LIVE, "admin"},
    {"expires", RF_SET_TEXT, AT(expires), 1, 32, "", NULL, RF_EFFECT_LIVE,
     "as 2027-01-01T00:00:00Z"},
};

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

/* A value that the schema lets through and this file cannot take. */
static void refuse(const struct rf_tree *entry, const char *key, const char *text,
                   const struct rf_document *document, struct rf_problems *problems)
{
    const struct rf_tree *value = rf_tree_get(entry, key);
    rf_problem_at(problems, document, value->line, value->column, "%s: %s", key, text);
}

static void take_token(const struct rf_tree *entry, const struct rf_document *document,
                       struct rf_tokens *tokens, struct rf_problems *problems)
{
    struct token_config config = {0};
    struct rf_token     token = {0};
    uint32_t            before = problems->count;
    if (entry->kind != RF_TREE_MAP && !entry->refused) {
        rf_problem_at(problems, document, entry->line, entry->column,
                      "expected a token: {id, sha256, role}");
    }
    (void)rf_schema_apply(token_settings, sizeof(token_settings) / sizeof(token_settings[0]),
                          document, entry, &config, problems)
        .rc;
    if (config.sha256[0] != 0 && !parse_sha256(config.sha256, token.sha256)) {
        refuse(entry, "sha256", "must be the SHA-256 of the whole token, 64 lower-case hex digits",
               document, problems);
    }
    if (config.role[0] != 0 && strcmp(config.role, "admin") != 0) {
        refuse(entry, "role", "unknown role; known is 'admin'", document, problems);
    }
    if (config.expires[0] != 0 && !parse_time(config.expires, &token.expires_ms)) {
        refuse(entry, "expires", "must look like 2027-01-01T00:00:00Z", document, problems);
    }
    if (problems->count != before) {
        return;
    }
    if (tokens->n == RF_TOKENS_MAX) {
        rf_problem_at(problems, document, entry->line, entry->column,
                      "too many tokens (at most 256)");
        return;
    }
    snprintf(token.id, sizeof(token.id), "%s", config.id);
    tokens->list[tokens->n++] = token;
}

struct rf_result rf_tokens_load(const char *path, struct rf_tokens *ret_tokens,
                                struct rf_problems *problems)
{
    struct rf_document document;
    struct file_config file = {0};
    uint32_t           before = problems->count;
    (void)rf_tree_load(path, &document, problems).rc;
    (void)rf_schema_apply(file_settings, sizeof(file_settings) / sizeof(file_settings[0]),
                          &document, &document.root, &file, problems)
        .rc;
    if (file.tokens != NULL && file.tokens->kind != RF_TREE_LIST) {
        rf_problem_at(problems, &document, file.tokens->line, file.tokens->column,
                      "tokens: expected a list of {id, sha256, role}");
    } else if (file.tokens != NULL) {
        for (uint32_t i = 0; i < file.tokens->n_children; i++) {
            take_token(&file.tokens->children[i], &document, ret_tokens, problems);
        }
    }
    rf_document_free(&document);
    return rf_result(problems->count == before ? RF_OK : RF_CONFIG_INVALID);
}
