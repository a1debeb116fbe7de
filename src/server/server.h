/* The daemon: threads, and what they share. Shard threads are numbered 0 … n_shards - 1, the control
 * thread is number n_shards. State belongs to one thread; threads talk by mail (bounded rings). */
#ifndef RF_SERVER_SERVER_H
#define RF_SERVER_SERVER_H

#include <stdatomic.h>

#include "config/node_config.h"
#include "config/table_config.h"
#include "core/control.h"
#include "core/shard.h"
#include "io/conn.h"
#include "io/mailbox.h"
#include "plugins/loader.h"
#include "server/auth.h"
#include "storage/engine.h"

#define RF_MAILBOX_SIZE 4096u /* messages between two threads */

/* ---- Mail between threads ----------------------------------------------------------------- */

enum rf_mail_kind {
    RF_MAIL_STORE,     /* run this operation on your store; the tag says who waits */
    RF_MAIL_STORED,    /* its completion */
    RF_MAIL_SEND,      /* frame to a node, over your dialed link */
    RF_MAIL_SEND_ADDR, /* frame to an address */
    RF_MAIL_ANSWER,    /* frame back on a link of yours */
    RF_MAIL_FRAME,     /* a frame that came in for you */
    RF_MAIL_VIEW,
    RF_MAIL_ALIVE,
    RF_MAIL_STORAGE, /* shard: what a node's storage takes */
    RF_MAIL_LINK,
    RF_MAIL_CLOCK,      /* shard: our clock is off (`peer.up` false), or right again */
    RF_MAIL_SEEN,       /* a node dialed us: it is up, dial it now if you wait to */
    RF_MAIL_RELOAD,     /* shard: take these settings over */
    RF_MAIL_RELOAD_ASK, /* control: a client asks for a reload */
    RF_MAIL_RELOADED,   /* shard: how it went, for that client */
    RF_MAIL_WORK,       /* shard: flush or compact all you have, for a client of thread `from` */
    RF_MAIL_WORKED,     /* it is done */
    RF_MAIL_DRAIN,      /* stop serving, finish what is under way */
    RF_MAIL_STOP,       /* leave the loop */
};

struct rf_mail {
    enum rf_mail_kind kind;
    union {
        struct rf_store_op   store;
        struct rf_store_done stored;
        struct {
            uint64_t        node; /* SEND: to; FRAME: from */
            uint64_t        link; /* ANSWER, FRAME */
            struct rf_blob *blob; /* the encoded frame; one reference */
            const char     *text; /* SEND_ADDR: the address, lives as long as the process */
        } frame;
        struct rf_view *view; /* one reference */
        struct {
            uint64_t              node;
            bool                  up;
            enum rf_storage_state storage; /* STORAGE */
        } peer;
        struct rf_reload *reload; /* RELOAD: passes over */
        struct {
            struct rf_exchange *exchange; /* of thread `from` */
            uint32_t            from;
            bool                ok;
            struct rf_blob     *body; /* RELOADED: JSON; one reference */
        } reloaded;                   /* and RELOAD_ASK */
        struct rf_work {
            struct rf_exchange *exchange; /* of thread `from` */
            uint32_t            from;
            bool                compaction; /* or a flush */
            enum rf_rc          rc;         /* WORKED */
        } work;
    } as;
};

/* ---- Threads ------------------------------------------------------------------------------ */

struct rf_server;

struct rf_letter {
    uint32_t       to;
    struct rf_mail mail;
};

/* What every thread has. */
struct rf_thread {
    struct rf_server   *server;
    uint32_t            number;
    struct rf_loop      loop;
    uv_async_t          wake;
    uv_timer_t          timer; /* for the machine's wake_at */
    uint64_t            timer_at_us;
    struct rf_mailbox **inbox;  /* by number of the sending thread */
    struct rf_letter   *unsent; /* mail that must arrive, and found its box full; oldest first */
    uint32_t            n_unsent, cap_unsent;
    uv_timer_t          resend;
    uv_thread_t         thread;
    /* Called on this thread. */
    void (*on_mail)(struct rf_thread *thread, struct rf_mail *mail);
    void (*on_timer)(struct rf_thread *thread);
};

RF_CHECKED struct rf_result rf_thread_init(struct rf_thread *thread, struct rf_server *server,
                                           uint32_t number);
void                        rf_thread_fini(struct rf_thread *thread);
/* Puts mail into another thread's box and wakes it. False when the box is full: the caller drops
 * what the mail holds. Completions, views, verdicts on nodes and links are kept and sent again
 * instead: a lost completion would take a place in the machine's table for ever. They are bounded by
 * the operations under way. Thread: `from`. */
bool rf_thread_mail(struct rf_thread *from, uint32_t to, const struct rf_mail *mail);
/* The machine wants to run again by then. */
void rf_thread_wake_at(struct rf_thread *thread, uint64_t at_us);

/* A growing queue of events for a machine; events own their references. */
struct rf_event_queue {
    struct rf_event *list;
    uint32_t         n, cap;
};
/* Takes over the event's references (also when it fails, for want of memory). */
void rf_queue_push(struct rf_event_queue *queue, const struct rf_event *event);
/* Drops what the first n events own and removes them. */
void rf_queue_consume(struct rf_event_queue *queue, uint32_t n);

/* ---- Tables ------------------------------------------------------------------------------- */

#define RF_MISPLACED                                                                               \
    "its placement plugin answered wrongly and is disabled; the log of the node says more"

struct rf_server_table {
    struct rf_table_config config;
    struct rf_table        view; /* as requests see it */
    struct rf_table_policy policy;
    uint64_t               options;      /* rf_table_options_digest of what it was started with */
    char                   problem[512]; /* why it cannot be served; "" when it can */
};

/* ---- The server --------------------------------------------------------------------------- */

struct rf_worker;
struct rf_control_host;
struct rf_exchange;
struct rf_reload;

/* Settings that change while the server runs. Each thread has a copy of its own, renewed by mail. */
struct rf_live {
    int64_t         max_value_bytes, max_connections;
    int64_t         header_timeout_ms, body_timeout_ms, idle_timeout_ms;
    struct rf_auth *auth; /* owned by the thread */
};

/* Why the control thread ended. */
enum rf_end {
    RF_END_STOPPED, /* told to */
    RF_END_REFUSED, /* this process must not run; the log says why */
    RF_END_AGAIN,   /* begin anew, with the identity that was written */
};

/* One process, however often it begins anew. */
struct rf_process {
    uint64_t number; /* random */
    uint64_t began_us;
};

struct rf_server {
    struct rf_process       process;
    enum rf_end             end;
    const char             *config_path;
    struct rf_node_config   config;
    struct rf_engine       *engine;
    struct rf_registry     *registry;
    struct rf_server_table *tables; /* sorted by name */
    uint32_t                n_tables;
    struct rf_auth          auth;
    uint32_t                n_shards;
    struct rf_worker       *workers; /* n_shards */
    struct rf_control_host *control;
    uint64_t                started_ms;
    uint64_t                drain_delay_us; /* of the control thread; renewed by a reload */
    uint64_t                run; /* random: part of request ids, so that no other run has them */
    _Atomic bool            draining;
    _Atomic bool            state_lost; /* it had a cluster, and waits to be admitted again */
    _Atomic bool            refused;    /* the cluster does not admit it; the log says why */
    _Atomic bool            clock_off;  /* no new writes are stamped (D7) */
    _Atomic uint32_t        n_clients;  /* connections */
    _Atomic uint64_t        cluster;    /* id; 0 before admission */
    uint64_t                hash_secret;
};

/* Starts everything and runs until SIGTERM or SIGINT. Returns the exit code:
 * 0 stopped as asked, 1 failed, 2 the configuration is wrong (all problems printed). */
int rf_server_run(const char *config_path);

/* The thread with that number (shards first, control last). */
struct rf_thread *rf_server_thread(struct rf_server *server, uint32_t number);

#endif
