/* A load generator: many connections over TLS from one or more threads, each with its own event
 * loop, in a closed loop (a connection sends its next request when an answer comes) or an open one
 * (requests fall due at a fixed rate, and latency counts from when they fell due, so that a server
 * that stalls cannot hide it: no coordinated omission, G. Tene).
 *
 * What is asked and how an answer ends is the protocol's business (cmd_bench.c: items over HTTP). */
#ifndef RF_CLI_LOAD_H
#define RF_CLI_LOAD_H

#include "base/buf.h"
#include "base/histogram.h"
#include "base/rng.h"

#define RF_LOAD_PIPELINE_MAX 64u
#define RF_LOAD_CONNECTIONS_MAX 16384u
#define RF_LOAD_THREADS_MAX 64u
#define RF_LOAD_ADDRESSES_MAX 32u

enum rf_load_keys { RF_LOAD_UNIFORM, RF_LOAD_ZIPF, RF_LOAD_SEQUENTIAL };

struct rf_load_request {
    uint64_t key;    /* 0 … n_keys - 1 */
    uint64_t random; /* to choose a value by */
    bool     put;
};

struct rf_load_protocol {
    const void *context; /* read-only, shared by all threads */
    /* Appends one request. */
    void (*request)(const void *context, const struct rf_load_request *request, struct rf_buf *out);
    /* Takes one answer off the front. Returns its bytes, 0 when more must come, SIZE_MAX when it is
     * no answer; *ret_ok false for an answer that says failure, with a sentence. */
    size_t (*answer)(const void *context, struct rf_slice bytes, bool *ret_ok, char ret_why[256]);
};

struct rf_load_config {
    const char             *addresses[RF_LOAD_ADDRESSES_MAX]; /* "host:port" */
    uint32_t                n_addresses;
    bool                    plain; /* no TLS */
    const char             *ca; /* PEM, NULL: the system's; every host must match its certificate */
    uint32_t                threads, connections, pipeline;
    uint64_t                run_us;   /* stop sending after this; 0: when `requests` are sent */
    uint64_t                requests; /* 0: until run_us */
    uint64_t                rate;     /* requests per second of all threads; 0: closed loop */
    uint64_t                n_keys;
    enum rf_load_keys       keys;
    uint32_t                put_percent;
    bool                    progress; /* a line on stderr, once a second */
    struct rf_load_protocol protocol;
    /* Called when all connections stand and nothing was sent yet. May be NULL. */
    void (*on_start)(void *user);
    void *user;
};

struct rf_load_result {
    struct rf_histogram latency_ns;
    uint64_t            ops;      /* answers that said success */
    uint64_t            errors;   /* answers that said failure, and requests without an answer */
    uint64_t            run_us;   /* from the first request to the last answer */
    char                why[256]; /* of the first error */
};

/* Runs it. RF_OK, also with errors among the answers; RF_CONFIG_INVALID (CA); RF_IO_ERROR when a
 * connection could not be made; RF_NO_MEMORY. ret_result->why has a sentence. Blocks: yes. */
RF_CHECKED struct rf_result rf_load_run(const struct rf_load_config *config,
                                        struct rf_load_result       *ret_result);

#endif
