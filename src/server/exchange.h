/* One HTTP request and its response on their way. Handlers (api_*.c) fill the response and finish
 * it, at once or when an event brings the answer; responses leave in the order of requests. */
#ifndef RF_SERVER_EXCHANGE_H
#define RF_SERVER_EXCHANGE_H

#include "http/request.h"
#include "http/response.h"
#include "server/worker.h"

#define RF_EXCHANGE_MAGIC 0x45584348u

struct rf_exchange {
    uint32_t                      magic;
    struct rf_worker             *worker;
    struct rf_http_conn          *conn;    /* NULL when the client is gone */
    struct rf_exchange           *next;    /* on its connection, in order */
    const struct rf_http_request *request; /* valid only inside the handler's first call */
    struct rf_slice               body;    /* ditto */
    enum rf_http_method           method;
    bool                          keep_alive;
    bool                          done;
    char                          id[40]; /* request id: run, thread, number */
    bool          may_write;              /* an item's POST, PUT or DELETE: errors say that nothing
                                                was written */
    const char   *principal;              /* token id, after rf_exchange_authorize */
    struct rf_buf response;               /* the whole response, when it waits for others */
    /* Flush and compaction: threads that are still at it, and the first failure. */
    uint32_t   work_left;
    enum rf_rc work_rc;
    /* Item requests, until the reply comes. */
    enum rf_client_kind kind;
    struct rf_row       key; /* holds a blob reference */
    uint64_t            token;
    uint64_t            started_us;
    bool                weak; /* r= or w= below the table's quorum: "guarantee":"eventual" */
    bool                explain;
    char                replicas[256]; /* names, for Ringfort-Replicas; "" : not known */
};

/* Finishes the exchange. `headers` as in rf_http_response, may be NULL; Ringfort-Replicas is added
 * when the replicas are known. */
void rf_exchange_answer(struct rf_exchange *exchange, uint16_t status, const char *content_type,
                        struct rf_slice body, const char *headers);
/* Finishes it with problem+json. `detail` and `extra` as in rf_problem_json, may be NULL; without
 * `extra`, a write is said not to be applied. */
void rf_exchange_problem(struct rf_exchange *exchange, enum rf_rc rc, const char *detail,
                         const char *extra);
/* 404, with the known path that may be meant. */
void rf_exchange_no_route(struct rf_exchange *exchange, const char *const *paths, uint32_t n);
/* Checks the credential; answers 401 and returns false when it does not do. */
bool rf_exchange_authorize(struct rf_exchange *exchange);

/* The handlers. Each finishes the exchange, now or later. */
void rf_api_item(struct rf_exchange *exchange); /* api_item.c */
void rf_api_item_reply(struct rf_exchange *exchange, const struct rf_reply *reply);
void rf_api_health(struct rf_exchange *exchange); /* api_admin.c */
void rf_api_admin(struct rf_exchange *exchange);
/* One thread has done what POST flush or compactions asked for; the last one finishes. */
void rf_api_work_reply(struct rf_exchange *exchange, enum rf_rc rc);
/* A reload asked for by POST config/reload is over; the body's reference passes over. */
void rf_api_reload_reply(struct rf_exchange *exchange, bool ok, struct rf_blob *body);
void rf_api_ring(struct rf_exchange *exchange);
void rf_api_metrics(struct rf_exchange *exchange); /* metrics.c */

#endif
