/* The control thread: the host of rf_control. Serves no requests; builds views and hands them out. */
#ifndef RF_SERVER_CONTROL_HOST_H
#define RF_SERVER_CONTROL_HOST_H

#include "core/clock_watch.h"
#include "server/server.h"

struct rf_control_host {
    struct rf_thread      base; /* first */
    struct rf_clock_watch clock_watch;
    struct rf_control    *control;
    struct rf_event_queue queue;
    struct rf_effect     *effects;
    struct rf_table      *tables; /* for building views; sorted by name */
    uint32_t              n_tables;
    struct rf_view       *view; /* handed out last; one reference, or NULL */
    uv_signal_t           sigterm, sigint, sighup;
    uv_timer_t            stop_timer;
    bool                  stopping;
    bool                  accepting_over; /* the shards were told to stop accepting */
    uint64_t              drain_at_us; /* when they will be: limits.drain_delay after the signal */
    uint64_t              stop_at_us;
    enum rf_storage_state storage;      /* of this node, as the machine knows it */
    char                  refused[256]; /* last reason, logged once */
    /* Counters for metrics; read by any thread. */
    _Atomic uint64_t hints_replayed, hints_expired, hints_damaged;
};

RF_CHECKED struct rf_result rf_control_host_init(struct rf_control_host *host,
                                                 struct rf_server *server, char ret_why[256]);
/* Runs on the calling (main) thread until a stop was asked for and carried out. */
void rf_control_host_run(struct rf_control_host *host);
void rf_control_host_fini(struct rf_control_host *host);

#endif
