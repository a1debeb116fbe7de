/* A shard thread: the host of one rf_shard machine, its store and log thread, its client
 * connections and peer links. It turns I/O into events and effects into I/O. */
#ifndef RF_SERVER_WORKER_H
#define RF_SERVER_WORKER_H

#include "io/listener.h"
#include "server/server.h"

#define RF_EFFECTS_MAX 512u
#define RF_LINKS_MAX 8192u

struct rf_http_conn;
struct rf_link;

struct rf_worker_stats {
    struct rf_shard_stats shard;
    struct rf_store_stats store;
    uint64_t              http_by_class[6];
    uint64_t              log_rests;
};

#define RF_WORK_SLOTS 4u    /* background jobs at a time, per store: flush, deletion, two merges */
#define RF_READ_SLOTS 16u   /* reads of the disk at a time, per store */
#define RF_WORK_WAITING 64u /* clients that wait for a flush or compaction, per thread */

/* One background job of the store on its way through the thread pool. */
struct rf_work_slot {
    uv_work_t         request;
    struct rf_worker *worker;
    struct rf_job    *job;          /* NULL: free */
    bool              finished;     /* by its steps; else it goes on after a pause */
    uint64_t          merged_bytes; /* of the last turn in the pool */
    uv_timer_t        pause;        /* active while the job rests */
};

/* One read of the disk on its way through the thread pool. */
struct rf_read_slot {
    uv_work_t            request;
    struct rf_worker    *worker;
    struct rf_cold_read *read; /* NULL: free */
};

struct rf_worker {
    struct rf_thread      base; /* first: the thread's callbacks cast back */
    struct rf_shard      *shard;
    struct rf_store      *store;
    struct rf_event_queue queue;
    struct rf_effect     *effects;
    /* The log thread. */
    uv_thread_t    log_thread;
    uv_sem_t       log_work;
    uv_async_t     log_done;
    bool           log_busy;
    _Atomic bool   log_stop;
    uv_timer_t     log_rest;     /* active while the next group is held back */
    uint64_t       log_ended_us; /* when the last group was on disk */
    uint64_t       log_rests;    /* groups that were held back */
    _Atomic bool   log_ended;    /* set by the log thread: its run is over, log_done follows */
    struct rf_live live;
    /* Background jobs (background.c). */
    struct rf_work_slot slots[RF_WORK_SLOTS];
    struct rf_read_slot reads[RF_READ_SLOTS];
    uint32_t            n_reads;   /* under way */
    _Atomic bool        work_stop; /* jobs give up */
    struct rf_work      waiting[RF_WORK_WAITING];
    uint32_t            n_waiting;
    uint64_t            merge_at_us; /* not before: the budget of merges */
    /* Clients. */
    struct rf_listener   client_listener;
    SSL_CTX             *https;
    struct rf_http_conn *http_conns;
    uint32_t             n_http_conns;
    uv_timer_t           sweep;
    uint64_t             request_number;
    struct rf_buf        body; /* scratch: of the response that is being made */
    /* Peers. */
    struct rf_listener peer_listener;
    SSL_CTX           *peer_server;
    SSL_CTX           *peer_client;
    struct rf_link   **links; /* by slot; accepted and dialed */
    uint32_t          *link_generations;
    uint32_t           n_links; /* slots in use up to here */
    bool               drained;
    uint64_t           http_by_class[6];
    /* What other threads may read: a copy of the counters, renewed once a second. */
    uv_mutex_t             published_lock;
    struct rf_worker_stats published;
};

/* Makes everything of the thread except the thread itself. A sentence on failure. */
RF_CHECKED struct rf_result rf_worker_init(struct rf_worker *worker, struct rf_server *server,
                                           uint32_t number, char ret_why[256]);
RF_CHECKED struct rf_result rf_worker_start(struct rf_worker *worker);
void rf_worker_fini(struct rf_worker *worker); /* after the thread has ended */

/* Queues an event with the time of now (references pass over); the machine runs at the end of the
 * loop's turn. */
void rf_worker_event(struct rf_worker *worker, struct rf_event *event);

/* Renews the copy of this thread's counters. Thread: the worker's. */
void rf_worker_publish_stats(struct rf_worker *worker);
/* Adds up the copies of all threads. Thread: any. */
struct rf_worker_stats rf_worker_sum_stats(struct rf_server *server);

/* Hands the store's completions to the threads that wait for them. Thread: the worker's. */
void rf_worker_take_done(struct rf_worker *worker);

/* --- background.c */
/* Threads that all shards' jobs and reads need at a time: jobs never keep a read waiting. */
#define RF_POOL_READERS 16u
/* Sizes libuv's pool of threads; before anything uses it. Thread: the starting one. */
void rf_background_init(uint32_t n_shards);
/* The handles of a worker's jobs. */
void rf_background_open(struct rf_worker *worker);
void rf_background_close(struct rf_worker *worker); /* after the thread has ended */
/* Starts the store's jobs and reads that are due. Cheap when none is. */
void rf_background_kick(struct rf_worker *worker);
/* A client of some thread asks for a flush or a compaction of this thread's store. */
void rf_background_ask(struct rf_worker *worker, const struct rf_work *work);
/* The node stops: who waits for a flush or compaction is told so, and nobody waits any more. */
void rf_background_drain(struct rf_worker *worker);
/* The thread ends: jobs under way give up, what is in memory is flushed. Blocks. */
void rf_background_finish(struct rf_worker *worker);

/* --- peer_link.c */
RF_CHECKED struct rf_result rf_links_init(struct rf_worker *worker, char ret_why[256]);
/* Closes links that are late (dials and handshakes that take too long), and those that speak with the
 * id of somebody else. Call it every second or so. */
void rf_links_sweep(struct rf_worker *worker);
/* The node has dialed us, so it is up: an idle link to it is dialed without waiting for its turn. */
void rf_link_seen(struct rf_worker *worker, uint64_t node);
void rf_links_close(struct rf_worker *worker);
void rf_links_fini(struct rf_worker *worker);
void rf_link_send(struct rf_worker *worker, uint64_t node, const struct rf_message *message);
void rf_link_send_frame(struct rf_worker *worker, uint64_t node, struct rf_slice frame);
void rf_link_send_addr(struct rf_worker *worker, const char *address, struct rf_slice frame);
void rf_link_answer(struct rf_worker *worker, uint64_t link, const struct rf_message *message);
void rf_link_answer_frame(struct rf_worker *worker, uint64_t link, struct rf_slice frame);
/* The thread that owns the dialed link to a node, and the thread that owns a link handle. */
uint32_t rf_link_thread(const struct rf_server *server, uint64_t node);
uint32_t rf_link_handle_thread(uint64_t link);
/* A frame for this thread's machine; the blob's reference passes over. */
void rf_worker_frame(struct rf_worker *worker, uint64_t from, uint64_t link, struct rf_blob *blob);

/* --- http_server.c */
RF_CHECKED struct rf_result rf_http_init(struct rf_worker *worker, char ret_why[256]);
void                        rf_http_close(struct rf_worker *worker);
void                        rf_http_fini(struct rf_worker *worker);
void                        rf_http_reply(struct rf_worker *worker, const struct rf_reply *reply);

#endif
