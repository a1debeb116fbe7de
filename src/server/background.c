/* What the store does in libuv's thread pool: background jobs (flush, merge, deletion) and reads of
 * blocks that are not in memory. */
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "io/clock.h"
#include "server/exchange.h"

#define TURN_BYTES UINT64_C(8388608) /* a merge gives its thread of the pool back after so many */
#define TURNS_PER_S 8u               /* with a limit of bandwidth: at least so often */

/* The store's share of the node's bandwidth for merges, bytes per second; 0: no limit. */
static uint64_t merge_rate(const struct rf_worker *worker)
{
    const struct rf_server *server = worker->base.server;
    uint64_t rate = (uint64_t)server->config.storage.compaction_bandwidth / server->n_shards;
    return server->config.storage.compaction_bandwidth != 0 && rate == 0 ? 1 : rate;
}

/* A flush runs to its end; a long merge in turns, so that flushes of all shards get their threads. */
static void on_work(uv_work_t *request)
{
    struct rf_work_slot *slot = request->data;
    uint64_t             rate = merge_rate(slot->worker);
    uint64_t             before = rf_job_merged_bytes(slot->job);
    uint64_t turn = rate != 0 && rate / TURNS_PER_S < TURN_BYTES ? rate / TURNS_PER_S : TURN_BYTES;
    while (!atomic_load(&slot->worker->work_stop)) {
        slot->finished = rf_job_step(slot->job);
        slot->merged_bytes = rf_job_merged_bytes(slot->job) - before;
        if (slot->finished || slot->merged_bytes >= turn) {
            return;
        }
    }
}

static void answer(struct rf_worker *worker, const struct rf_work *work, enum rf_rc rc)
{
    struct rf_mail mail = {.kind = RF_MAIL_WORKED, .as.work = *work};
    mail.as.work.rc = rc;
    if (work->from == worker->base.number) {
        rf_api_work_reply(work->exchange, rc);
    } else if (!rf_thread_mail(&worker->base, work->from, &mail)) {
        rf_log(
            RF_LOG_WARN, "answer_lost",
            "text=\"a client that asked for a flush or compaction gets no answer: too much mail\"");
    }
}

/* Answers the clients whose work is done, or all of them when it failed. */
static void answer_waiting(struct rf_worker *worker, enum rf_rc failure)
{
    uint32_t kept = 0;
    uint32_t n = worker->n_waiting;
    for (uint32_t i = 0; i < n; i++) {
        struct rf_work work = worker->waiting[i];
        bool           wanted = work.compaction ? rf_store_compaction_wanted(worker->store)
                                                : rf_store_flush_wanted(worker->store);
        if (failure == RF_OK && wanted) {
            worker->waiting[kept++] = work;
        } else {
            answer(worker, &work, failure);
        }
    }
    worker->n_waiting = kept;
}

static void end_job(struct rf_work_slot *slot)
{
    struct rf_worker *worker = slot->worker;
    struct rf_job    *job = slot->job;
    slot->job = NULL;
    rf_store_set_time(worker->store, rf_clock_now().wall_ms);
    struct rf_result ended = rf_store_job_end(worker->store, job);
    if (!atomic_load(&worker->work_stop)) {
        answer_waiting(worker, ended.rc);
        rf_background_kick(worker);
    }
}

/* ---- Reads -------------------------------------------------------------------------------- */

void rf_background_init(uint32_t n_shards)
{
    char threads[16];
    snprintf(threads, sizeof(threads), "%u", n_shards * RF_WORK_SLOTS + RF_POOL_READERS);
    (void)uv_os_setenv("UV_THREADPOOL_SIZE", threads); /* without it reads may wait for jobs */
}

static void on_read(uv_work_t *request)
{
    struct rf_read_slot *slot = request->data;
    rf_cold_read_run(slot->read);
}

static void kick_reads(struct rf_worker *worker);

static void on_read_done(uv_work_t *request, int status)
{
    struct rf_read_slot *slot = request->data;
    struct rf_worker    *worker = slot->worker;
    struct rf_cold_read *read = slot->read;
    (void)status;
    slot->read = NULL;
    worker->n_reads--;
    rf_store_cold_end(worker->store, read);
    if (!atomic_load(&worker->work_stop)) {
        rf_worker_take_done(worker);
        kick_reads(worker);
    }
}

static void kick_reads(struct rf_worker *worker)
{
    struct rf_cold_read *read = NULL;
    while (worker->n_reads < RF_READ_SLOTS && (read = rf_store_cold_begin(worker->store)) != NULL) {
        struct rf_read_slot *slot = worker->reads;
        while (slot->read != NULL) {
            slot++;
        }
        *slot = (struct rf_read_slot){.worker = worker, .read = read, .request.data = slot};
        worker->n_reads++;
        int queued = uv_queue_work(&worker->base.loop.uv, &slot->request, on_read, on_read_done);
        rf_assert(queued == 0);
    }
}

/* ---- Jobs --------------------------------------------------------------------------------- */

static void on_worked(uv_work_t *request, int status);

static void queue_job(struct rf_work_slot *slot)
{
    slot->finished = false;
    slot->request.data = slot;
    int queued = uv_queue_work(&slot->worker->base.loop.uv, &slot->request, on_work, on_worked);
    rf_assert(queued == 0);
}

static void on_paused(uv_timer_t *timer)
{
    queue_job(timer->data);
}

/* The next turn of a job: now, or when the budget of merges allows it. */
static void continue_job(struct rf_work_slot *slot)
{
    uint64_t now_us = uv_hrtime() / 1000;
    uint64_t at_us = rf_job_is_merge(slot->job) ? slot->worker->merge_at_us : 0;
    if (at_us < now_us + 1000) {
        queue_job(slot);
    } else {
        uv_timer_start(&slot->pause, on_paused, (at_us - now_us) / 1000, 0);
    }
}

/* Takes the last turn's bytes from the budget. */
static void charge(struct rf_worker *worker, uint64_t merged_bytes)
{
    uint64_t now_us = uv_hrtime() / 1000;
    uint64_t rate = merge_rate(worker);
    if (rate != 0) {
        worker->merge_at_us = worker->merge_at_us > now_us ? worker->merge_at_us : now_us;
        worker->merge_at_us += merged_bytes * 1000000 / rate;
    }
}

static void on_worked(uv_work_t *request, int status)
{
    struct rf_work_slot *slot = request->data;
    (void)status;
    charge(slot->worker, slot->merged_bytes);
    if (slot->finished || atomic_load(&slot->worker->work_stop)) {
        end_job(slot);
    } else {
        continue_job(slot);
    }
}

void rf_background_kick(struct rf_worker *worker)
{
    if (atomic_load(&worker->work_stop)) {
        return; /* the thread ends */
    }
    kick_reads(worker);
    for (uint32_t i = 0; i < RF_WORK_SLOTS; i++) {
        struct rf_work_slot *slot = &worker->slots[i];
        if (slot->job != NULL) {
            continue;
        }
        rf_store_set_time(worker->store, rf_clock_now().wall_ms);
        slot->job = rf_store_job_begin(worker->store);
        if (slot->job == NULL) {
            return;
        }
        continue_job(slot);
    }
}

void rf_background_drain(struct rf_worker *worker)
{
    for (uint32_t i = 0; i < worker->n_waiting; i++) {
        answer(worker, &worker->waiting[i], RF_DRAINING);
    }
    worker->n_waiting = 0;
}

void rf_background_ask(struct rf_worker *worker, const struct rf_work *work)
{
    if (worker->drained) {
        answer(worker, work, RF_DRAINING);
        return;
    }
    if (worker->n_waiting == RF_WORK_WAITING || rf_store_read_only(worker->store)) {
        answer(worker, work, worker->n_waiting == RF_WORK_WAITING ? RF_OVERLOADED : RF_IO_ERROR);
        return;
    }
    if (work->compaction) {
        rf_store_request_compaction(worker->store);
    } else {
        rf_store_request_flush(worker->store);
    }
    worker->waiting[worker->n_waiting++] = *work;
    rf_background_kick(worker);
    answer_waiting(worker, RF_OK);
}

static bool is_busy(const struct rf_worker *worker)
{
    bool busy = worker->n_reads != 0;
    for (uint32_t i = 0; i < RF_WORK_SLOTS; i++) {
        busy = busy || worker->slots[i].job != NULL;
    }
    return busy;
}

void rf_background_finish(struct rf_worker *worker)
{
    atomic_store(&worker->work_stop, true);
    for (uint32_t i = 0; i < RF_WORK_SLOTS; i++) {
        if (uv_is_active((uv_handle_t *)&worker->slots[i].pause)) {
            uv_timer_stop(&worker->slots[i].pause);
            end_job(&worker->slots[i]);
        }
    }
    while (is_busy(worker)) {
        uv_run(&worker->base.loop.uv, UV_RUN_ONCE);
    }
    rf_store_set_time(worker->store, rf_clock_now().wall_ms);
    rf_store_request_flush(worker->store);
    while (rf_store_flush_wanted(worker->store)) {
        struct rf_job *job = rf_store_job_begin(worker->store);
        if (job == NULL) {
            return; /* it failed a moment ago; the write-ahead log has it all */
        }
        while (!rf_job_step(job)) {
        }
        if (!rf_ok(rf_store_job_end(worker->store, job))) {
            return; /* logged; the write-ahead log has it all */
        }
    }
}

void rf_background_open(struct rf_worker *worker)
{
    for (uint32_t i = 0; i < RF_WORK_SLOTS; i++) {
        worker->slots[i].worker = worker;
        uv_timer_init(&worker->base.loop.uv, &worker->slots[i].pause);
        worker->slots[i].pause.data = &worker->slots[i];
    }
}

void rf_background_close(struct rf_worker *worker)
{
    for (uint32_t i = 0; i < RF_WORK_SLOTS; i++) {
        uv_close((uv_handle_t *)&worker->slots[i].pause, NULL);
    }
}
