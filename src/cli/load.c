#include "cli/load.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "io/conn.h"
#include "io/tls.h"

#define ZIPF_THETA 0.99
#define GRACE_NS UINT64_C(10000000000) /* how long answers may still come after the end */
#define CHECK_MS 100u

/* What all threads of a run share. */
struct load {
    const struct rf_load_config *config;
    pthread_barrier_t            connected, started;
    sem_t                        finished;
    _Atomic uint64_t             issued, sequence, answered;
    _Atomic bool                 failed; /* a connection could not be made: nobody starts */
    uint64_t                     start_ns, end_ns; /* written between the two barriers */
    double                       zipf_zeta, zipf_alpha, zipf_eta;
};

struct load_conn {
    struct load_thread *thread;
    struct rf_conn     *conn; /* NULL when it broke */
    uint32_t            first, n;
    /* A ring, oldest at `first`: when each was sent; open loop: when it fell due. */
    uint64_t from_ns[RF_LOAD_PIPELINE_MAX];
};

struct load_thread {
    struct load          *load;
    pthread_t             thread;
    struct rf_loop        loop;
    SSL_CTX              *contexts[RF_LOAD_ADDRESSES_MAX];
    struct load_conn     *conns;
    uint32_t              n_conns, n_ready, n_broken, next_idle;
    uint32_t              n_under_way;
    struct rf_rng         rng;
    uint64_t              due_ns, interval_ns; /* open loop */
    int                   timer_fd;
    uv_poll_t             timer;
    uv_timer_t            check;
    bool                  over;    /* nothing more is sent */
    bool                  gave_up; /* what is under way is lost */
    uint64_t              last_ns; /* of an answer */
    struct rf_load_result result;
};

/* ---- Which request ------------------------------------------------------------------------ */

/* Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), as YCSB. */
static void prepare_zipf(struct load *load)
{
    double n = (double)load->config->n_keys;
    double two = 1.0 + pow(0.5, ZIPF_THETA);
    for (uint64_t i = 1; i <= load->config->n_keys; i++) {
        load->zipf_zeta += 1.0 / pow((double)i, ZIPF_THETA);
    }
    load->zipf_alpha = 1.0 / (1.0 - ZIPF_THETA);
    load->zipf_eta = (1.0 - pow(2.0 / n, 1.0 - ZIPF_THETA)) / (1.0 - two / load->zipf_zeta);
}

static uint64_t zipf_rank(const struct load *load, struct rf_rng *rng)
{
    double n = (double)load->config->n_keys;
    double u = (double)(rf_rng_next(rng) >> 11) / 9007199254740992.0; /* 2^53 */
    double uz = u * load->zipf_zeta;
    if (uz < 1.0) {
        return 0;
    }
    if (uz < 1.0 + pow(0.5, ZIPF_THETA)) {
        return 1;
    }
    uint64_t rank =
        (uint64_t)(n * pow(load->zipf_eta * u - load->zipf_eta + 1.0, load->zipf_alpha));
    return rank < load->config->n_keys ? rank : load->config->n_keys - 1;
}

static struct rf_load_request choose_request(struct load_thread *thread)
{
    struct load                 *load = thread->load;
    const struct rf_load_config *config = load->config;
    struct rf_load_request       request = {
              .random = rf_rng_next(&thread->rng),
              .put = rf_rng_below(&thread->rng, 100) < config->put_percent,
    };
    switch (config->keys) {
    case RF_LOAD_SEQUENTIAL:
        request.key = atomic_fetch_add(&load->sequence, 1) % config->n_keys;
        break;
    case RF_LOAD_ZIPF: {
        /* Hot keys lie anywhere, not side by side. */
        uint64_t rank = zipf_rank(load, &thread->rng);
        request.key = rf_hash64(rf_slice(&rank, sizeof(rank)), 0) % config->n_keys;
        break;
    }
    case RF_LOAD_UNIFORM:
    default:
        request.key = rf_rng_below(&thread->rng, config->n_keys);
        break;
    }
    return request;
}

/* ---- Sending ------------------------------------------------------------------------------ */

static bool may_send(struct load_thread *thread, uint64_t now_ns)
{
    struct load *load = thread->load;
    if (load->config->run_us != 0 && now_ns >= load->end_ns) {
        return false;
    }
    return load->config->requests == 0 ||
           atomic_fetch_add_explicit(&load->issued, 1, memory_order_relaxed) <
               load->config->requests;
}

static void send_request(struct load_conn *conn, uint64_t from_ns)
{
    struct load_thread            *thread = conn->thread;
    const struct rf_load_protocol *protocol = &thread->load->config->protocol;
    struct rf_load_request         request = choose_request(thread);
    rf_assert(conn->n < thread->load->config->pipeline);
    conn->from_ns[(conn->first + conn->n) % RF_LOAD_PIPELINE_MAX] = from_ns;
    conn->n++;
    thread->n_under_way++;
    protocol->request(protocol->context, &request, rf_conn_out(conn->conn));
}

static bool has_room(const struct load_conn *conn)
{
    return conn->conn != NULL && conn->n < conn->thread->load->config->pipeline;
}

/* Closed loop: fill the pipeline again. */
static void refill(struct load_conn *conn, uint64_t now_ns)
{
    while (has_room(conn)) {
        if (!may_send(conn->thread, now_ns)) {
            conn->thread->over = true;
            return;
        }
        send_request(conn, now_ns);
    }
}

static void arm_timer(struct load_thread *thread)
{
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(thread->due_ns / 1000000000),
                                         .tv_nsec = (long)(thread->due_ns % 1000000000)}};
    timerfd_settime(thread->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Open loop: all that is due goes out, as far as connections have room; the rest stays due. */
static void send_due(struct load_thread *thread, uint64_t now_ns)
{
    uint32_t tried = 0;
    while (!thread->over && thread->due_ns <= now_ns && tried < thread->n_conns) {
        struct load_conn *conn = &thread->conns[thread->next_idle];
        thread->next_idle = (thread->next_idle + 1) % thread->n_conns;
        tried++;
        if (!has_room(conn)) {
            continue;
        }
        if (!may_send(thread, now_ns)) {
            thread->over = true;
            return;
        }
        send_request(conn, thread->due_ns);
        thread->due_ns += thread->interval_ns;
        tried = 0;
    }
    if (thread->due_ns > now_ns) {
        arm_timer(thread);
    } /* else every connection is full, and an answer brings us back here */
}

static void on_due(uv_poll_t *handle, int status, int events)
{
    struct load_thread *thread = handle->data;
    uint64_t            expired = 0;
    (void)status;
    (void)events;
    if (read(thread->timer_fd, &expired, sizeof(expired)) > 0) {
        send_due(thread, uv_hrtime());
    }
}

/* ---- Answers ------------------------------------------------------------------------------ */

static void note_error(struct load_thread *thread, uint64_t n, const char *why)
{
    if (n != 0 && thread->result.why[0] == 0) {
        snprintf(thread->result.why, sizeof(thread->result.why), "%s", why);
    }
    thread->result.errors += n;
}

static void take_answer(struct load_conn *conn, bool ok, const char *why, uint64_t now_ns)
{
    struct load_thread *thread = conn->thread;
    uint64_t            from_ns = conn->from_ns[conn->first];
    conn->first = (conn->first + 1) % RF_LOAD_PIPELINE_MAX;
    conn->n--;
    thread->n_under_way--;
    thread->last_ns = now_ns;
    rf_histogram_record(&thread->result.latency_ns, now_ns > from_ns ? now_ns - from_ns : 0);
    if (ok) {
        thread->result.ops++;
        atomic_fetch_add_explicit(&thread->load->answered, 1, memory_order_relaxed);
    } else {
        note_error(thread, 1, why);
    }
}

static size_t on_data(struct rf_conn *io, struct rf_slice bytes)
{
    struct load_conn              *conn = rf_conn_user(io);
    struct load_thread            *thread = conn->thread;
    const struct rf_load_protocol *protocol = &thread->load->config->protocol;
    uint64_t                       now_ns = uv_hrtime();
    size_t                         used = 0;
    while (conn->n != 0 && used < bytes.size) {
        bool   ok = true;
        char   why[256] = "";
        size_t size = protocol->answer(protocol->context,
                                       rf_slice(bytes.data + used, bytes.size - used), &ok, why);
        if (size == SIZE_MAX) {
            rf_conn_close(io, why);
            return bytes.size;
        }
        if (size == 0) {
            break;
        }
        used += size;
        take_answer(conn, ok, why, now_ns);
    }
    if (thread->interval_ns != 0) {
        send_due(thread, now_ns);
    } else if (!thread->over) {
        refill(conn, now_ns);
    }
    return used;
}

static void on_ready(struct rf_conn *io)
{
    struct load_conn *conn = rf_conn_user(io);
    conn->conn = io;
    conn->thread->n_ready++;
}

static void on_close(struct rf_conn *io, const char *why)
{
    struct load_conn   *conn = rf_conn_user(io);
    struct load_thread *thread = conn->thread;
    char                text[256];
    snprintf(text, sizeof(text), "%.60s: %.180s", rf_conn_remote(io),
             why[0] == 0 ? "no answer within 10 s" : why);
    if (why[0] != 0 && thread->result.why[0] == 0) {
        snprintf(thread->result.why, sizeof(thread->result.why), "%s", text);
    }
    note_error(thread, conn->n, text);
    thread->n_under_way -= conn->n;
    conn->n = 0;
    conn->conn = NULL;
    thread->n_broken++;
}

static const struct rf_conn_callbacks callbacks = {on_ready, on_data, on_close, NULL};

/* ---- A thread ----------------------------------------------------------------------------- */

/* Now and then: the end of an open loop that nothing wakes, and answers that never come. */
static void on_check(uv_timer_t *timer)
{
    struct load_thread *thread = timer->data;
    struct load        *load = thread->load;
    uint64_t            now_ns = uv_hrtime();
    if (load->config->run_us != 0 && now_ns >= load->end_ns) {
        thread->over = true;
    }
    if (thread->n_broken == thread->n_conns) {
        thread->over = true;
    }
    if (thread->n_under_way != 0 && now_ns > load->end_ns + GRACE_NS &&
        now_ns > thread->last_ns + GRACE_NS) {
        thread->gave_up = true;
    }
}

static bool make_context(struct load_thread *thread, uint32_t number)
{
    const struct rf_load_config *config = thread->load->config;
    char                         host[256];
    const char                  *address = config->addresses[number];
    const char                  *colon = strrchr(address, ':');
    if (!rf_ok(rf_tls_context(RF_TLS_HTTPS_CLIENT, config->ca, NULL, NULL,
                              &thread->contexts[number], thread->result.why))) {
        return false;
    }
    snprintf(host, sizeof(host), "%.*s", colon == NULL ? 0 : (int)(colon - address), address);
    if (config->ca == NULL) {
        SSL_CTX_set_default_verify_paths(thread->contexts[number]);
    }
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(thread->contexts[number]);
    return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 ||
           X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

static bool connect_all(struct load_thread *thread)
{
    const struct rf_load_config *config = thread->load->config;
    bool                         ok = true;
    for (uint32_t a = 0; a < config->n_addresses && ok; a++) {
        ok = config->plain || make_context(thread, a);
    }
    for (uint32_t i = 0; i < thread->n_conns; i++) {
        struct load_conn *conn = &thread->conns[i];
        uint32_t          a = i % config->n_addresses;
        conn->thread = thread;
        if (!ok || rf_conn_dial(&thread->loop, config->addresses[a], thread->contexts[a],
                                &callbacks, conn) == NULL) {
            thread->n_broken++;
        }
    }
    while (thread->n_ready + thread->n_broken < thread->n_conns) {
        uv_run(&thread->loop.uv, UV_RUN_ONCE);
    }
    return thread->n_broken == 0;
}

static void run_load(struct load_thread *thread)
{
    struct load *load = thread->load;
    uv_timer_start(&thread->check, on_check, CHECK_MS, CHECK_MS);
    thread->last_ns = load->start_ns;
    if (load->config->rate != 0) {
        uint64_t share = UINT64_C(1000000000) * load->config->threads / load->config->rate;
        thread->interval_ns = share == 0 ? 1 : share;
        thread->due_ns = load->start_ns + rf_rng_below(&thread->rng, thread->interval_ns);
        uv_poll_start(&thread->timer, UV_READABLE, on_due);
        send_due(thread, uv_hrtime());
    } else {
        for (uint32_t i = 0; i < thread->n_conns; i++) {
            refill(&thread->conns[i], load->start_ns);
        }
    }
    while (!thread->gave_up && (!thread->over || thread->n_under_way != 0)) {
        uv_run(&thread->loop.uv, UV_RUN_ONCE);
    }
}

static void close_all(struct load_thread *thread)
{
    for (uint32_t i = 0; i < thread->n_conns; i++) {
        if (thread->conns[i].conn != NULL) {
            rf_conn_close(thread->conns[i].conn, "");
        }
    }
    uv_close((uv_handle_t *)&thread->timer, NULL);
    uv_close((uv_handle_t *)&thread->check, NULL);
    while (thread->loop.n_conns != 0) {
        uv_run(&thread->loop.uv, UV_RUN_ONCE);
    }
    rf_loop_fini(&thread->loop);
    close(thread->timer_fd);
    for (uint32_t a = 0; a < thread->load->config->n_addresses; a++) {
        SSL_CTX_free(thread->contexts[a]);
    }
}

static void *thread_main(void *argument)
{
    struct load_thread *thread = argument;
    struct load        *load = thread->load;
    if (!connect_all(thread)) {
        atomic_store(&load->failed, true);
    }
    pthread_barrier_wait(&load->connected);
    pthread_barrier_wait(&load->started);
    if (!atomic_load(&load->failed)) {
        run_load(thread);
    }
    sem_post(&load->finished);
    return NULL;
}

/* ---- The run ------------------------------------------------------------------------------ */

static bool init_thread(struct load *load, struct load_thread *thread, uint32_t number)
{
    const struct rf_load_config *config = load->config;
    thread->load = load;
    thread->rng.state = 0x5eed + number * UINT64_C(0x9e3779b97f4a7c15);
    thread->n_conns =
        config->connections / config->threads + (number < config->connections % config->threads);
    thread->conns = RF_NEW_ARRAY(struct load_conn, thread->n_conns);
    thread->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (thread->conns == NULL || thread->timer_fd < 0 || !rf_ok(rf_loop_init(&thread->loop))) {
        return false;
    }
    uv_poll_init(&thread->loop.uv, &thread->timer, thread->timer_fd);
    uv_timer_init(&thread->loop.uv, &thread->check);
    thread->timer.data = thread;
    thread->check.data = thread;
    return pthread_create(&thread->thread, NULL, thread_main, thread) == 0;
}

static void wait_for_threads(struct load *load)
{
    struct timespec until;
    uint64_t        before = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    for (uint32_t finished = 0; finished < load->config->threads;) {
        until.tv_sec++;
        while (sem_timedwait(&load->finished, &until) == 0) {
            if (++finished == load->config->threads) {
                break;
            }
        }
        uint64_t now = atomic_load(&load->answered);
        if (load->config->progress) {
            fprintf(stderr, "\r%12llu done, %9llu per second ", (unsigned long long)now,
                    (unsigned long long)(now - before));
        }
        before = now;
    }
    if (load->config->progress) {
        fprintf(stderr, "\r%*s\r", 48, "");
    }
}

static void add_result(const struct load_thread *thread, struct rf_load_result *result)
{
    rf_histogram_merge(&result->latency_ns, &thread->result.latency_ns);
    result->ops += thread->result.ops;
    result->errors += thread->result.errors;
    uint64_t start_ns = thread->load->start_ns;
    uint64_t run_us = thread->last_ns > start_ns ? (thread->last_ns - start_ns) / 1000 : 0;
    result->run_us = run_us > result->run_us ? run_us : result->run_us;
    if (result->why[0] == 0) {
        memcpy(result->why, thread->result.why, sizeof(result->why));
    }
}

struct rf_result rf_load_run(const struct rf_load_config *config, struct rf_load_result *ret_result)
{
    struct load         load = {.config = config};
    struct load_thread *threads = RF_NEW_ARRAY(struct load_thread, config->threads);
    rf_assert(config->threads >= 1 && config->threads <= config->connections);
    rf_assert(config->pipeline >= 1 && config->pipeline <= RF_LOAD_PIPELINE_MAX);
    rf_assert(config->n_addresses >= 1 && config->n_keys >= 1);
    rf_assert(config->run_us != 0 || config->requests != 0);
    *ret_result = (struct rf_load_result){0};
    if (threads == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    if (config->keys == RF_LOAD_ZIPF) {
        prepare_zipf(&load);
    }
    pthread_barrier_init(&load.connected, NULL, config->threads + 1);
    pthread_barrier_init(&load.started, NULL, config->threads + 1);
    sem_init(&load.finished, 0, 0);
    for (uint32_t t = 0; t < config->threads; t++) {
        bool made = init_thread(&load, &threads[t], t);
        rf_assert(made); /* at start-up of a tool: nothing to save */
    }
    pthread_barrier_wait(&load.connected);
    if (config->on_start != NULL && !atomic_load(&load.failed)) {
        config->on_start(config->user);
    }
    load.start_ns = uv_hrtime();
    load.end_ns = load.start_ns + config->run_us * 1000;
    pthread_barrier_wait(&load.started);
    wait_for_threads(&load);
    for (uint32_t t = 0; t < config->threads; t++) {
        pthread_join(threads[t].thread, NULL);
        close_all(&threads[t]);
        add_result(&threads[t], ret_result);
        rf_mem_free(threads[t].conns);
    }
    rf_mem_free(threads);
    sem_destroy(&load.finished);
    pthread_barrier_destroy(&load.connected);
    pthread_barrier_destroy(&load.started);
    return rf_result(atomic_load(&load.failed) ? RF_IO_ERROR : RF_OK);
}
