#include "server/worker.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/clock.h"
#include "server/exchange.h"
#include "server/reload.h"

#define HINTS_MAX_BYTES (UINT64_C(1) << 30) /* that a node keeps for one target */
#define ROUNDS_MAX 1000u                    /* steps of the machine in one turn of the loop */

/* ---- The store and its log thread --------------------------------------------------------- */

static void log_main(void *argument)
{
    struct rf_worker *worker = argument;
    for (;;) {
        uv_sem_wait(&worker->log_work);
        if (atomic_load(&worker->log_stop)) {
            return;
        }
        rf_store_log_run(worker->store);
        atomic_store_explicit(&worker->log_ended, true, memory_order_release);
        uv_async_send(&worker->log_done);
    }
}

static void kick_log(struct rf_worker *worker);

static void on_rested(uv_timer_t *timer)
{
    kick_log(timer->data);
}

/* Writers are slowed down while background work is behind: their group waits. */
static bool log_rests(struct rf_worker *worker)
{
    uint64_t delay_us = rf_store_delay_us(worker->store);
    uint64_t now_us = uv_hrtime() / 1000;
    if (delay_us == 0 || now_us >= worker->log_ended_us + delay_us) {
        return false;
    }
    if (!uv_is_active((uv_handle_t *)&worker->log_rest)) {
        uint64_t left_us = worker->log_ended_us + delay_us - now_us;
        worker->log_rests++;
        uv_timer_start(&worker->log_rest, on_rested, left_us / 1000 + 1, 0);
    }
    return true;
}

static void kick_log(struct rf_worker *worker)
{
    /* After log_stop there is no log thread any more: what still comes in is never acknowledged. */
    if (worker->log_busy || atomic_load(&worker->log_stop) || log_rests(worker)) {
        return;
    }
    rf_store_set_log_time(worker->store, rf_loop_now(&worker->base.loop).mono_us);
    if (rf_store_log_begin(worker->store)) {
        worker->log_busy = true;
        uv_sem_post(&worker->log_work);
    } else {
        rf_thread_wake_at(&worker->base, rf_store_log_wake_us(worker->store));
    }
}

/* Hands a completion to the thread that waits for it; the row's reference passes over. */
static void route_stored(struct rf_worker *worker, const struct rf_store_done *done)
{
    uint8_t  shard = rf_tag_shard(done->tag);
    uint32_t to = shard == RF_CONTROL_SHARD ? worker->base.server->n_shards : shard;
    if (to == worker->base.number) {
        struct rf_event event = {
            .kind = RF_EV_STORED, .now = rf_loop_now(&worker->base.loop), .as.stored = *done};
        rf_queue_push(&worker->queue, &event);
        return;
    }
    struct rf_mail mail = {.kind = RF_MAIL_STORED, .as.stored = *done};
    if (!rf_thread_mail(&worker->base, to, &mail)) {
        rf_blob_drop(done->row.blob); /* the request times out */
    }
}

static void submit(struct rf_worker *worker, struct rf_store_op *op)
{
    struct rf_store_done done;
    if (rf_ok(rf_lsm_ops.submit(worker->store, op, &done))) {
        route_stored(worker, &done);
    }
}

void rf_worker_take_done(struct rf_worker *worker)
{
    struct rf_store_done done[64];
    uint32_t             n = 0;
    while ((n = rf_lsm_ops.poll(worker->store, done, 64)) != 0) {
        for (uint32_t i = 0; i < n; i++) {
            route_stored(worker, &done[i]);
        }
    }
}

static void on_log_done(uv_async_t *handle)
{
    struct rf_worker *worker = handle->data;
    /* The flag, not the wake-up, says that the run is over: wake-ups may be coalesced. */
    if (!atomic_exchange_explicit(&worker->log_ended, false, memory_order_acquire)) {
        return;
    }
    rf_assert(worker->log_busy);
    worker->log_busy = false;
    worker->log_ended_us = uv_hrtime() / 1000;
    bool was_read_only = rf_store_read_only(worker->store);
    rf_store_log_end(worker->store);
    if (!was_read_only && rf_store_read_only(worker->store)) {
        rf_log(RF_LOG_ERROR, "wal_failed",
               "shard=%u text=\"the write-ahead log cannot be written; this shard acknowledges "
               "nothing any more. Check the disk, then restart the node\"",
               worker->base.number);
    }
    rf_worker_take_done(worker);
}

/* ---- Effects ------------------------------------------------------------------------------ */

/* A message for a link of another thread goes as an encoded frame. */
static void mail_frame(struct rf_worker *worker, uint32_t to, enum rf_mail_kind kind, uint64_t node,
                       const struct rf_message *message)
{
    struct rf_buf buf = {0};
    rf_message_encode(&buf, message);
    struct rf_blob *blob = buf.failed ? NULL : rf_blob_copy(rf_buf_slice(&buf));
    rf_buf_fini(&buf);
    struct rf_mail mail = {
        .kind = kind,
        .as.frame = {.node = node, .link = message->link, .blob = blob},
    };
    if (blob == NULL || !rf_thread_mail(&worker->base, to, &mail)) {
        rf_blob_drop(blob);
    }
}

static void do_store(struct rf_worker *worker, struct rf_store_op *op)
{
    uint32_t owner = rf_engine_op_shard(worker->base.server->engine, op);
    if (owner == worker->base.number) {
        submit(worker, op);
        return;
    }
    struct rf_mail mail = {.kind = RF_MAIL_STORE, .as.store = *op};
    if (!rf_thread_mail(&worker->base, owner, &mail)) {
        struct rf_store_done done = {.kind = op->kind, .status = RF_STORE_FAILED, .tag = op->tag};
        rf_blob_drop(op->row.blob);
        route_stored(worker, &done);
    }
}

static void do_effect(struct rf_worker *worker, struct rf_effect *effect)
{
    struct rf_server *server = worker->base.server;
    uint32_t          owner = 0;
    switch (effect->kind) {
    case RF_FX_SEND:
        owner = rf_link_thread(server, effect->node);
        if (owner == worker->base.number) {
            rf_link_send(worker, effect->node, &effect->as.message);
        } else {
            mail_frame(worker, owner, RF_MAIL_SEND, effect->node, &effect->as.message);
        }
        rf_blob_drop(effect->as.message.row.blob);
        break;
    case RF_FX_ANSWER:
        owner = rf_link_handle_thread(effect->as.message.link);
        if (owner == worker->base.number) {
            rf_link_answer(worker, effect->as.message.link, &effect->as.message);
        } else {
            mail_frame(worker, owner, RF_MAIL_ANSWER, 0, &effect->as.message);
        }
        rf_blob_drop(effect->as.message.row.blob);
        break;
    case RF_FX_STORE:
        do_store(worker, &effect->as.store);
        break;
    case RF_FX_REPLY:
        rf_http_reply(worker, &effect->as.reply);
        rf_blob_drop(effect->as.reply.row.blob);
        break;
    case RF_FX_SEND_ADDR:
    case RF_FX_PUBLISH:
    case RF_FX_ALIVE:
    case RF_FX_STORAGE:
    case RF_FX_REFUSED:
    case RF_FX_MOVED:
    case RF_FX_TWIN:
    case RF_FX_TWIN_FIRST:
    case RF_FX_RAISE:
    default:
        rf_unreachable();
    }
}

/* At the end of a loop turn: steps the machine with all that the turn brought, until its queue is
 * empty (effects may add events: completions at once). So one step handles many events, messages to
 * one peer share a TLS record, and writes of one turn share a log group. */
static void run_machine(void *user)
{
    struct rf_worker *worker = user;
    struct rf_effects effects = {.list = worker->effects, .max = RF_EFFECTS_MAX};
    for (uint32_t round = 0; worker->queue.n != 0; round++) {
        if (round == ROUNDS_MAX) {
            rf_thread_wake_at(&worker->base, 0); /* the loop must have its turn, too */
            break;
        }
        enum rf_rc rc =
            rf_shard_step(worker->shard, worker->queue.list, worker->queue.n, &effects).rc;
        rf_assert(rc == RF_OK || rc == RF_MORE);
        rf_queue_consume(&worker->queue, effects.consumed);
        for (uint32_t i = 0; i < effects.n; i++) {
            do_effect(worker, &effects.list[i]);
        }
        rf_thread_wake_at(&worker->base, effects.wake_at_us);
    }
    kick_log(worker);
    rf_background_kick(worker);
}

void rf_worker_event(struct rf_worker *worker, struct rf_event *event)
{
    event->now = rf_loop_now(&worker->base.loop);
    rf_queue_push(&worker->queue, event);
}

void rf_worker_frame(struct rf_worker *worker, uint64_t from, uint64_t link, struct rf_blob *blob)
{
    struct rf_event event = {.kind = RF_EV_MESSAGE};
    if (!rf_ok(rf_message_decode(rf_slice(blob->data, blob->size), &event.as.message))) {
        rf_blob_drop(blob); /* was valid when it came in */
        return;
    }
    event.as.message.from = from;
    event.as.message.link = link;
    event.as.message.row.blob = blob;
    rf_worker_event(worker, &event);
}

/* ---- Mail and timer ----------------------------------------------------------------------- */

static void drain(struct rf_worker *worker)
{
    if (!worker->drained) {
        worker->drained = true;
        rf_background_drain(worker);
        rf_http_close(worker);
    }
}

static void send_frame(struct rf_worker *worker, const struct rf_mail *mail)
{
    struct rf_slice frame = rf_slice(mail->as.frame.blob->data, mail->as.frame.blob->size);
    if (mail->kind == RF_MAIL_SEND) {
        rf_link_send_frame(worker, mail->as.frame.node, frame);
    } else if (mail->kind == RF_MAIL_SEND_ADDR) {
        rf_link_send_addr(worker, mail->as.frame.text, frame);
    } else {
        rf_link_answer_frame(worker, mail->as.frame.link, frame);
    }
    rf_blob_drop(mail->as.frame.blob);
}

static void on_mail(struct rf_thread *thread, struct rf_mail *mail)
{
    struct rf_worker *worker = (struct rf_worker *)thread;
    struct rf_event   event = {.kind = RF_EV_TICK};
    switch (mail->kind) {
    case RF_MAIL_STORE:
        submit(worker, &mail->as.store);
        return;
    case RF_MAIL_STORED:
        event.kind = RF_EV_STORED;
        event.as.stored = mail->as.stored;
        break;
    case RF_MAIL_SEND:
    case RF_MAIL_SEND_ADDR:
    case RF_MAIL_ANSWER:
        send_frame(worker, mail);
        return;
    case RF_MAIL_FRAME:
        rf_worker_frame(worker, mail->as.frame.node, mail->as.frame.link, mail->as.frame.blob);
        return;
    case RF_MAIL_VIEW:
        event.kind = RF_EV_VIEW;
        event.as.view = mail->as.view;
        break;
    case RF_MAIL_ALIVE:
    case RF_MAIL_STORAGE:
    case RF_MAIL_LINK:
        event.kind = mail->kind == RF_MAIL_ALIVE     ? RF_EV_ALIVE
                     : mail->kind == RF_MAIL_STORAGE ? RF_EV_STORAGE
                                                     : RF_EV_LINK;
        event.as.peer.node = mail->as.peer.node;
        event.as.peer.up = mail->as.peer.up;
        event.as.peer.storage = mail->as.peer.storage;
        break;
    case RF_MAIL_RELOAD:
        rf_worker_take_reload(worker, mail->as.reload);
        return;
    case RF_MAIL_RELOADED:
        rf_api_reload_reply(mail->as.reloaded.exchange, mail->as.reloaded.ok,
                            mail->as.reloaded.body);
        return;
    case RF_MAIL_CLOCK:
        rf_shard_set_clock_off(worker->shard, !mail->as.peer.up);
        return;
    case RF_MAIL_SEEN:
        rf_link_seen(worker, mail->as.peer.node);
        return;
    case RF_MAIL_WORK:
        rf_background_ask(worker, &mail->as.work);
        return;
    case RF_MAIL_WORKED:
        rf_api_work_reply(mail->as.work.exchange, mail->as.work.rc);
        return;
    case RF_MAIL_DRAIN:
        drain(worker);
        return;
    case RF_MAIL_RELOAD_ASK:
    case RF_MAIL_STOP:
        uv_stop(&worker->base.loop.uv);
        return;
    default:
        rf_unreachable();
    }
    rf_worker_event(worker, &event);
}

static void on_timer(struct rf_thread *thread)
{
    struct rf_event tick = {.kind = RF_EV_TICK};
    rf_worker_event((struct rf_worker *)thread, &tick);
}

/* ---- Counters ----------------------------------------------------------------------------- */

void rf_worker_publish_stats(struct rf_worker *worker)
{
    struct rf_worker_stats stats = {
        .shard = rf_shard_stats(worker->shard),
        .store = rf_store_stats(worker->store),
        .log_rests = worker->log_rests,
    };
    memcpy(stats.http_by_class, worker->http_by_class, sizeof(stats.http_by_class));
    uv_mutex_lock(&worker->published_lock);
    worker->published = stats;
    uv_mutex_unlock(&worker->published_lock);
}

/* Both structs hold nothing but uint64_t counters and one flag, added up field by field. */
static void add_counters(void *sum, const void *part, size_t size)
{
    uint64_t       *to = sum;
    const uint64_t *from = part;
    for (size_t i = 0; i < size / sizeof(uint64_t); i++) {
        to[i] += from[i];
    }
}

struct rf_worker_stats rf_worker_sum_stats(struct rf_server *server)
{
    struct rf_worker_stats sum = {0};
    for (uint32_t s = 0; s < server->n_shards; s++) {
        struct rf_worker *worker = &server->workers[s];
        uv_mutex_lock(&worker->published_lock);
        add_counters(&sum, &worker->published, sizeof(sum));
        uv_mutex_unlock(&worker->published_lock);
    }
    return sum;
}

/* ---- Life --------------------------------------------------------------------------------- */

/* The clock ceiling of this shard, and of shards that existed when there were more threads. */
static uint64_t durable_ceiling(struct rf_server *server)
{
    uint64_t ceiling = 0;
    for (uint32_t s = 0; s < RF_CONTROL_SHARD; s++) {
        char          key[16];
        struct rf_row row;
        snprintf(key, sizeof(key), "ceiling/%03u", s);
        if (rf_engine_meta(server->engine, key, &row) && row.version.hlc > ceiling) {
            ceiling = row.version.hlc;
        }
    }
    return ceiling;
}

static struct rf_result make_machine(struct rf_worker *worker)
{
    struct rf_server      *server = worker->base.server;
    struct rf_shard_config config = {
        .node = rf_engine_node(server->engine),
        .shard = (uint8_t)worker->base.number,
        .max_requests = (uint32_t)server->config.limits.max_requests,
        .max_replica_ops = (uint32_t)server->config.limits.max_requests,
        .request_timeout_us = (uint64_t)server->config.limits.request_timeout_ms * 1000,
        .max_ahead_ms = (uint64_t)server->config.clock.max_ahead_ms,
        .hint_window_ms = (uint64_t)server->config.repair.hint_window_ms,
        .hints_max_bytes = HINTS_MAX_BYTES / server->n_shards,
        .hlc_ceiling = durable_ceiling(server),
        .rng_seed = rf_engine_node(server->engine) + worker->base.number,
    };
    worker->effects = RF_NEW_ARRAY(struct rf_effect, RF_EFFECTS_MAX);
    if (worker->effects == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    return rf_shard_new(&config, &worker->shard);
}

static struct rf_result make_contexts(struct rf_worker *worker, char why[256])
{
    struct rf_reload contexts = {0};
    RF_TRY(rf_contexts_make(&worker->base.server->config, &contexts, why));
    worker->https = contexts.https;
    worker->peer_server = contexts.peer_server;
    worker->peer_client = contexts.peer_client;
    return rf_live_init(&worker->live, &worker->base.server->config, &worker->base.server->auth);
}

struct rf_result rf_worker_init(struct rf_worker *worker, struct rf_server *server, uint32_t number,
                                char ret_why[256])
{
    snprintf(ret_why, 256, "out of memory");
    RF_TRY(rf_thread_init(&worker->base, server, number));
    worker->base.on_mail = on_mail;
    worker->base.on_timer = on_timer;
    worker->base.loop.on_turn = run_machine;
    worker->base.loop.turn_user = worker;
    worker->store = rf_engine_store(server->engine, number);
    RF_TRY(make_machine(worker));
    RF_TRY(make_contexts(worker, ret_why));
    uv_sem_init(&worker->log_work, 0);
    uv_mutex_init(&worker->published_lock);
    uv_async_init(&worker->base.loop.uv, &worker->log_done, on_log_done);
    worker->log_done.data = worker;
    uv_timer_init(&worker->base.loop.uv, &worker->log_rest);
    worker->log_rest.data = worker;
    rf_background_open(worker);
    RF_TRY(rf_links_init(worker, ret_why));
    return rf_http_init(worker, ret_why);
}

static void worker_main(void *argument)
{
    struct rf_worker *worker = argument;
    struct rf_event   tick = {.kind = RF_EV_TICK};
    rf_worker_event(worker, &tick);
    uv_run(&worker->base.loop.uv, UV_RUN_DEFAULT);
    /* The machine has run for the last time. What the store has taken in goes to disk before the
     * thread ends; turns of the loop from here on only carry that out. */
    worker->base.loop.on_turn = NULL;
    rf_background_finish(worker);
    while (worker->log_busy || rf_store_log_begin(worker->store)) {
        if (!worker->log_busy) {
            rf_store_log_run(worker->store);
            rf_store_log_end(worker->store);
        } else {
            uv_run(&worker->base.loop.uv, UV_RUN_ONCE);
        }
    }
    rf_store_log_close(worker->store);
    atomic_store(&worker->log_stop, true);
    uv_sem_post(&worker->log_work);
    uv_thread_join(&worker->log_thread);
}

struct rf_result rf_worker_start(struct rf_worker *worker)
{
    if (uv_thread_create(&worker->log_thread, log_main, worker) != 0 ||
        uv_thread_create(&worker->base.thread, worker_main, worker) != 0) {
        return rf_result(RF_NO_MEMORY);
    }
    return rf_result(RF_OK);
}

void rf_worker_fini(struct rf_worker *worker)
{
    rf_http_close(worker);
    rf_links_close(worker);
    uv_close((uv_handle_t *)&worker->log_done, NULL);
    uv_close((uv_handle_t *)&worker->log_rest, NULL);
    rf_background_close(worker);
    while (worker->base.loop.n_conns != 0) {
        uv_run(&worker->base.loop.uv, UV_RUN_ONCE);
    }
    rf_http_fini(worker);
    rf_links_fini(worker);
    rf_queue_consume(&worker->queue, worker->queue.n);
    rf_mem_free(worker->queue.list);
    rf_thread_fini(&worker->base);
    rf_shard_free(worker->shard);
    rf_mem_free(worker->effects);
    SSL_CTX_free(worker->https);
    SSL_CTX_free(worker->peer_server);
    SSL_CTX_free(worker->peer_client);
    rf_mem_free(worker->live.auth);
    rf_buf_fini(&worker->body);
    uv_mutex_destroy(&worker->published_lock);
    uv_sem_destroy(&worker->log_work);
}
