#include "server/reload.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/response.h"
#include "io/tls.h"
#include "server/tables.h"

#define EXPIRY_WARN_S                                                                              \
    (14 * 24 * 3600) /* a certificate that ends within so long is worth a warning */

struct rf_result rf_live_init(struct rf_live *live, const struct rf_node_config *config,
                              const struct rf_auth *auth)
{
    *live = (struct rf_live){
        .max_value_bytes = config->limits.max_value_bytes,
        .max_connections = config->limits.max_connections,
        .header_timeout_ms = config->limits.header_timeout_ms,
        .body_timeout_ms = config->limits.body_timeout_ms,
        .idle_timeout_ms = config->limits.idle_timeout_ms,
    };
    if (auth == NULL) {
        return rf_result(RF_OK);
    }
    live->auth = RF_NEW(struct rf_auth);
    if (live->auth == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    *live->auth = *auth;
    return rf_result(RF_OK);
}

struct rf_result rf_contexts_make(const struct rf_node_config *config,
                                  struct rf_reload *ret_contexts, char ret_why[256])
{
    bool        own = config->tls.client_cert[0] == 0;
    const char *cert = own ? config->tls.cert : config->tls.client_cert;
    const char *key = own ? config->tls.key : config->tls.client_key;
    RF_TRY(rf_tls_context(RF_TLS_PEER_SERVER, config->tls.ca, config->tls.cert, config->tls.key,
                          &ret_contexts->peer_server, ret_why));
    RF_TRY(rf_tls_context(RF_TLS_PEER_CLIENT, config->tls.ca, config->tls.cert, config->tls.key,
                          &ret_contexts->peer_client, ret_why));
    return rf_tls_context(RF_TLS_HTTPS, NULL, cert, key, &ret_contexts->https, ret_why);
}

void rf_reload_free(struct rf_reload *reload)
{
    if (reload != NULL) {
        rf_mem_free(reload->live.auth);
        SSL_CTX_free(reload->https);
        SSL_CTX_free(reload->peer_server);
        SSL_CTX_free(reload->peer_client);
        rf_mem_free(reload);
    }
}

void rf_check_certificate(const struct rf_node_config *config, struct rf_problems *problems)
{
    char    why[512];
    int64_t left_s = 0;
    if (config->tls.ca[0] == 0 || config->tls.cert[0] == 0 || config->tls.key[0] == 0 ||
        config->cluster.name[0] == 0 || config->node.name[0] == 0) {
        return; /* told already */
    }
    if (!rf_ok(rf_tls_check_node(config->tls.ca, config->tls.cert, config->tls.key,
                                 config->cluster.name, config->node.name, &left_s, why))) {
        rf_problem(problems, "tls: %s", why);
    } else if (left_s < EXPIRY_WARN_S) {
        rf_log(RF_LOG_WARN, "certificate_expires", "file=\"%s\" days_left=%lld", config->tls.cert,
               (long long)(left_s / 86400));
    }
}

/* ---- Control side ------------------------------------------------------------------------- */

struct report {
    struct rf_buf live, restart; /* JSON array items */
};

static void put_item(struct rf_buf *list, const char *text)
{
    rf_buf_append_str(list, list->size == 0 ? "" : ",");
    rf_json_string(list, rf_slice_str(text));
}

static void on_changed(const struct rf_setting *row, void *user)
{
    struct report *report = user;
    put_item(row->effect == RF_EFFECT_LIVE ? &report->live : &report->restart, row->path);
}

static void on_table_changed(const char *what, void *user)
{
    struct report *report = user;
    put_item(&report->restart, what);
}

/* New contexts and a copy of the tokens for each shard. What could not be made is left NULL. */
static void mail_shards(struct rf_server *server, struct rf_thread *control,
                        const struct rf_node_config *config, const struct rf_auth *auth,
                        bool tls_ok, struct rf_problems *problems)
{
    char why[256] = "out of memory";
    for (uint32_t s = 0; s < server->n_shards; s++) {
        struct rf_reload *reload = RF_NEW(struct rf_reload);
        bool made = reload != NULL && rf_ok(rf_live_init(&reload->live, config, auth)) &&
                    (!tls_ok || rf_ok(rf_contexts_make(config, reload, why)));
        struct rf_mail mail = {.kind = RF_MAIL_RELOAD, .as.reload = reload};
        if (!made || !rf_thread_mail(control, s, &mail)) {
            rf_reload_free(reload);
            if (s == 0 || made) {
                rf_problem(problems, "%s", made ? "a thread is too busy; try again" : why);
            }
        }
    }
}

static void put_report(struct rf_buf *json, const struct report *report,
                       const struct rf_problems *problems)
{
    rf_buf_append_str(json, "{\"reloaded\":[");
    rf_buf_append_slice(json, rf_buf_slice(&report->live));
    rf_buf_append_str(json, "],\"restart_needed\":[");
    rf_buf_append_slice(json, rf_buf_slice(&report->restart));
    rf_buf_append_str(json, "],\"problems\":");
    rf_json_string(json, rf_buf_slice(&problems->text));
    rf_buf_append_str(json, ",\"warnings\":");
    rf_json_string(json, rf_buf_slice(&problems->warnings));
    rf_buf_append_str(json, "}");
}

static void apply(struct rf_server *server, struct rf_thread *control,
                  const struct rf_node_config *config, struct rf_problems *problems)
{
    struct rf_auth *auth = RF_NEW(struct rf_auth);
    bool            tokens = auth != NULL;
    if (tokens) {
        auth->open = config->auth.none;
        tokens =
            auth->open || rf_ok(rf_tokens_load(config->auth.tokens_file, &auth->tokens, problems));
    }
    uint32_t before_tls = problems->count;
    rf_check_certificate(config, problems);
    mail_shards(server, control, config, tokens ? auth : NULL, problems->count == before_tls,
                problems);
    rf_log_setup((enum rf_log_level)config->log.level, server->config.node.name);
    server->drain_delay_us = (uint64_t)config->limits.drain_delay_ms * 1000;
    rf_mem_free(auth);
}

/* The file itself is wrong and nothing is taken over; what it names is checked all the same, so that
 * one run tells everything. */
static void check_only(const struct rf_node_config *config, struct rf_problems *problems)
{
    struct rf_tokens *tokens = RF_NEW(struct rf_tokens);
    if (tokens != NULL && !config->auth.none && config->auth.tokens_file[0] != 0) {
        (void)rf_tokens_load(config->auth.tokens_file, tokens, problems).rc;
    }
    rf_check_certificate(config, problems);
    rf_mem_free(tokens);
}

bool rf_server_reload(struct rf_server *server, struct rf_thread *control,
                      struct rf_buf *ret_report)
{
    struct rf_problems     problems = {0};
    struct report          report = {0};
    struct rf_node_config *config = RF_NEW(struct rf_node_config);
    if (config == NULL) {
        rf_problem(&problems, "out of memory");
    } else if (rf_ok(rf_node_config_load(server->config_path, config, &problems))) {
        /* Against what this process was started with: only that is surely in force. */
        rf_schema_diff(rf_node_settings, rf_n_node_settings, &server->config, config, on_changed,
                       &report);
        apply(server, control, config, &problems);
    } else {
        check_only(config, &problems);
    }
    if (config != NULL) {
        (void)rf_hash_secret_load(config, &problems);
    }
    if (config != NULL && config->tables_dir[0] != 0 && config->plugins.dir[0] != 0) {
        rf_tables_compare(server, config, on_table_changed, &report, &problems);
    }
    bool ok = problems.count == 0;
    rf_log(ok ? RF_LOG_INFO : RF_LOG_ERROR, ok ? "reloaded" : "reload_failed",
           "changed=\"%.*s\" restart_needed=\"%.*s\" text=\"%.*s\"", (int)report.live.size,
           report.live.data == NULL ? "" : (const char *)report.live.data, (int)report.restart.size,
           report.restart.data == NULL ? "" : (const char *)report.restart.data,
           (int)(problems.text.size > 1200 ? 1200 : problems.text.size),
           problems.text.data == NULL ? "" : (const char *)problems.text.data);
    put_report(ret_report, &report, &problems);
    rf_buf_fini(&report.live);
    rf_buf_fini(&report.restart);
    rf_problems_fini(&problems);
    rf_mem_free(config);
    return ok;
}

/* ---- Shard side --------------------------------------------------------------------------- */

static void swap_context(SSL_CTX **mine, SSL_CTX **theirs)
{
    if (*theirs != NULL) {
        SSL_CTX *old = *mine;
        *mine = *theirs;
        *theirs = old; /* connections that use it hold references of their own */
    }
}

void rf_worker_take_reload(struct rf_worker *worker, struct rf_reload *reload)
{
    struct rf_auth *old = worker->live.auth;
    if (reload->live.auth == NULL) {
        reload->live.auth = old;
        old = NULL;
    }
    worker->live = reload->live;
    reload->live.auth = old;
    swap_context(&worker->https, &reload->https);
    swap_context(&worker->peer_server, &reload->peer_server);
    swap_context(&worker->peer_client, &reload->peer_client);
    rf_reload_free(reload);
}
