/* Taking over changed files while the server runs: tokens, certificates, limits, log level. The
 * control thread reads and checks them, each shard thread gets its own copy by mail, so that no lock
 * is taken on the request path. Connections that exist keep what they began with. */
#ifndef RF_SERVER_RELOAD_H
#define RF_SERVER_RELOAD_H

#include "server/worker.h"

/* What one shard thread takes over. */
struct rf_reload {
    struct rf_live live;                              /* auth NULL: keep the old tokens */
    SSL_CTX       *https, *peer_server, *peer_client; /* NULL: keep the old ones */
};

/* Fills `live` (a copy of auth). RF_OK, RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_live_init(struct rf_live *live, const struct rf_node_config *config,
                                         const struct rf_auth *auth);
/* The three contexts of a thread. RF_OK, or RF_CONFIG_INVALID with a sentence. Blocks. */
RF_CHECKED struct rf_result rf_contexts_make(const struct rf_node_config *config,
                                             struct rf_reload *ret_contexts, char ret_why[256]);
void                        rf_reload_free(struct rf_reload *reload);

/* Reads everything again and mails it to the shards. What is wrong keeps its old state and is
 * logged. Appends {"reloaded":[…],"restart_needed":[…],"problems":"…"} to ret_report. True when
 * nothing was wrong. Thread: control. Blocks: reads files. */
bool rf_server_reload(struct rf_server *server, struct rf_thread *control,
                      struct rf_buf *ret_report);

/* Shard side. */
void rf_worker_take_reload(struct rf_worker *worker, struct rf_reload *reload);

/* Is the own certificate the one of this node, and valid now? Problems into the list. Blocks. */
void rf_check_certificate(const struct rf_node_config *config, struct rf_problems *problems);

#endif
