/* Ringfort's engine, driven as the server drives it: one owner thread that submits and polls, a log
 * thread that writes groups while the next one gathers, two threads for background jobs. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "engine.h"
#include "io/fs_posix.h"
#include "plugins/loader.h"
#include "storage/engine.h"

#define TABLE RF_TABLE_FIRST_USER
#define SEED 42u
#define TURN 256u /* operations between two looks at log and jobs, as in one turn of a busy loop */
#define JOBS 2u
#define RANGES 770u /* of a node among 1,200: 770 ranges, together 0.24 % of the ring */
#define FILES_MAX 4096u

/* A thread that runs one thing at a time for the owner. */
struct helper {
    uv_thread_t    thread;
    uv_sem_t       work;
    void          *argument; /* NULL: the thread ends */
    _Atomic bool   done;
    bool           busy;
    struct handle *handle;
};

struct handle {
    struct rf_engine *engine;
    struct rf_store  *store;
    bool              clustered;
    uint64_t          hlc;
    uint64_t          submitted, finished; /* that went through `poll` */
    uint32_t          since_turn;
    struct helper     log, jobs[JOBS];
    uv_sem_t          progress; /* some helper is done */
    /* put_many */
    struct rf_histogram *latency_ns;
    uint64_t            *sent_ns;
    uint64_t             sent_first;
};

/* ---- Files: "not synced" is a sync of log segments that does nothing ---------------------- */

static struct rf_fs     posix;
static struct rf_fs_ops lazy_ops;
static bool             is_log[FILES_MAX];

static struct rf_result lazy_open(void *context, const char *path, unsigned flags,
                                  struct rf_file *ret_file)
{
    RF_TRY(posix.ops->open(context, path, flags, ret_file));
    rf_assert(ret_file->handle < FILES_MAX);
    is_log[ret_file->handle] = strstr(path, ".wal") != NULL;
    return rf_result(RF_OK);
}

static struct rf_result lazy_sync(void *context, struct rf_file file)
{
    return is_log[file.handle] ? rf_result(RF_OK) : posix.ops->sync(context, file);
}

static struct rf_fs files(const struct bench_settings *settings)
{
    posix = rf_fs_posix();
    if (settings->synced) {
        return posix;
    }
    lazy_ops = *posix.ops;
    lazy_ops.open = lazy_open;
    lazy_ops.sync = lazy_sync;
    return (struct rf_fs){&lazy_ops, posix.context};
}

/* ---- Helpers ------------------------------------------------------------------------------ */

static void run_log(struct helper *helper)
{
    rf_store_log_run(helper->handle->store);
}

static void run_job(struct helper *helper)
{
    while (!rf_job_step(helper->argument)) {
    }
}

static void help(struct helper *helper, void (*run)(struct helper *))
{
    for (;;) {
        uv_sem_wait(&helper->work);
        if (helper->argument == NULL) {
            return;
        }
        run(helper);
        atomic_store_explicit(&helper->done, true, memory_order_release);
        uv_sem_post(&helper->handle->progress);
    }
}

static void log_main(void *argument)
{
    help(argument, run_log);
}

static void job_main(void *argument)
{
    help(argument, run_job);
}

static void start_helper(struct handle *handle, struct helper *helper, uv_thread_cb main)
{
    helper->handle = handle;
    uv_sem_init(&helper->work, 0);
    rf_assert(uv_thread_create(&helper->thread, main, helper) == 0);
}

static void stop_helper(struct helper *helper)
{
    rf_assert(!helper->busy);
    helper->argument = NULL;
    uv_sem_post(&helper->work);
    uv_thread_join(&helper->thread);
    uv_sem_destroy(&helper->work);
}

static void give(struct helper *helper, void *argument)
{
    helper->argument = argument;
    helper->busy = true;
    uv_sem_post(&helper->work);
}

/* Is it through with what it was given? */
static bool take_back(struct helper *helper)
{
    if (!helper->busy || !atomic_exchange_explicit(&helper->done, false, memory_order_acquire)) {
        return false;
    }
    helper->busy = false;
    return true;
}

/* ---- One turn ----------------------------------------------------------------------------- */

static void poll_all(struct handle *handle)
{
    struct rf_store_done done[64];
    uint32_t             n = 0;
    while ((n = rf_lsm_ops.poll(handle->store, done, 64)) != 0) {
        for (uint32_t i = 0; i < n; i++) {
            rf_assert(done[i].status == RF_STORE_STORED || done[i].status == RF_STORE_FOUND);
            rf_blob_drop(done[i].row.blob);
            if (handle->sent_ns != NULL) {
                uint64_t at = handle->finished - handle->sent_first + i;
                rf_histogram_record(handle->latency_ns,
                                    uv_hrtime() - handle->sent_ns[at % BENCH_WRITERS]);
            }
        }
        handle->finished += n;
    }
}

static void turn(struct handle *handle)
{
    handle->since_turn = 0;
    if (take_back(&handle->log)) {
        rf_store_log_end(handle->store);
    }
    if (!handle->log.busy && rf_store_log_begin(handle->store)) {
        give(&handle->log, handle);
    }
    poll_all(handle);
    for (uint32_t i = 0; i < JOBS; i++) {
        if (take_back(&handle->jobs[i])) {
            enum rf_rc rc = rf_store_job_end(handle->store, handle->jobs[i].argument).rc;
            bench_check(rc != RF_OK, "ringfort", "a background job failed");
        }
        if (!handle->jobs[i].busy) {
            struct rf_job *job = rf_store_job_begin(handle->store);
            if (job != NULL) {
                give(&handle->jobs[i], job);
            }
        }
    }
}

static bool jobs_busy(const struct handle *handle)
{
    return handle->jobs[0].busy || handle->jobs[1].busy;
}

/* A turn, after a helper has ended if there is one to wait for. */
static void wait_turn(struct handle *handle)
{
    if (handle->log.busy || jobs_busy(handle)) {
        uv_sem_wait(&handle->progress);
    }
    turn(handle);
}

static void ringfort_drain(void *self)
{
    struct handle *handle = self;
    turn(handle);
    while (handle->finished < handle->submitted) {
        wait_turn(handle);
    }
}

static void ringfort_settle(void *self)
{
    struct handle *handle = self;
    ringfort_drain(self);
    rf_store_request_flush(handle->store);
    do {
        wait_turn(handle);
    } while (jobs_busy(handle) || handle->log.busy || rf_store_flush_wanted(handle->store));
}

/* ---- Opening ------------------------------------------------------------------------------ */

static void load_policy(const struct bench_settings *settings, struct rf_table_policy *policy)
{
    static struct rf_registry *registry;
    const struct rf_plugin    *plugin = NULL;
    void                      *options = NULL;
    struct rf_problems         problems = {0};
    char                       why[512];
    registry = rf_registry_new(settings->plugins);
    bench_check(
        !rf_ok(rf_registry_get(registry, RF_KIND_COMPACTION, "compaction-stl", &plugin, why)),
        "ringfort", why);
    rf_assert(rf_ok(rf_plugin_options(plugin, NULL, NULL, &options, &problems)));
    *policy = (struct rf_table_policy){.id = TABLE,
                                       .host = rf_registry_host(),
                                       .compaction = &plugin->ops.compaction,
                                       .compaction_options = options,
                                       .bloom_bits_per_key = 10,
                                       .lz4 = true};
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *open_handle(const struct bench_settings *settings, bool clustered)
{
    struct handle                *handle = RF_NEW(struct handle);
    static struct rf_table_policy policy;
    struct rf_engine_error        error = {""};
    struct rf_engine_config       config = {.fs = files(settings),
                                            .dir = settings->dir,
                                            .n_partitions = 16,
                                            .n_shards = 1,
                                            .segment_max = settings->memtable,
                                            .wal_allocate = 1u << 20,
                                            .random = 77,
                                            .memtable_max = settings->memtable,
                                            .memtable_total_max = settings->memtable,
                                            .wal_max = UINT64_C(1) << 30};
    load_policy(settings, &policy);
    bench_check(!rf_ok(rf_engine_open(&config, &handle->engine, &error)) ||
                    !rf_ok(rf_engine_add_table(handle->engine, &policy)),
                "ringfort", error.text);
    handle->store = rf_engine_store(handle->engine, 0);
    handle->clustered = clustered;
    handle->hlc = rf_hlc_make(wall_ms(), 0);
    rf_store_set_time(handle->store, rf_hlc_ms(handle->hlc));
    uv_sem_init(&handle->progress, 0);
    start_helper(handle, &handle->log, log_main);
    start_helper(handle, &handle->jobs[0], job_main);
    start_helper(handle, &handle->jobs[1], job_main);
    return handle;
}

static void *ringfort_open(const struct bench_settings *settings)
{
    return open_handle(settings, settings->clustered);
}

static void ringfort_close(void *self)
{
    struct handle *handle = self;
    ringfort_drain(handle);
    while (jobs_busy(handle) || handle->log.busy) {
        wait_turn(handle);
    }
    stop_helper(&handle->log);
    stop_helper(&handle->jobs[0]);
    stop_helper(&handle->jobs[1]);
    uv_sem_destroy(&handle->progress);
    rf_engine_close(handle->engine);
    rf_mem_free(handle);
}

/* ---- Operations --------------------------------------------------------------------------- */

/* The low bits stay: they choose the partition, in which all ranges of a node are alike. */
static uint64_t token_of(const struct handle *handle, const char key[BENCH_KEY])
{
    uint64_t hash = rf_hash64(rf_slice(key, BENCH_KEY), SEED);
    if (!handle->clustered) {
        return hash;
    }
    uint64_t      range = (uint64_t)(((unsigned __int128)hash * RANGES) >> 64);
    struct rf_rng rng = {.state = range};
    uint64_t      start = rf_rng_next(&rng);
    uint64_t      inside = rf_hash64(rf_slice(key, BENCH_KEY), SEED + 1);
    uint64_t      width = UINT64_MAX / 10000 * 24 / RANGES;
    return start + (uint64_t)(((unsigned __int128)inside * width) >> 64);
}

static void after_op(struct handle *handle)
{
    if (++handle->since_turn == TURN) {
        turn(handle);
        while (handle->submitted - handle->finished > 64 * TURN) {
            wait_turn(handle);
        }
    }
}

static void submit_put(struct handle *handle, const char key[BENCH_KEY], struct rf_slice value)
{
    struct rf_store_done done;
    uint64_t             token = token_of(handle, key);
    for (;;) {
        struct rf_store_op op = {
            .kind = RF_STORE_APPLY,
            .mode = RF_APPLY_REFUSE_IF_NEWER,
            .table = TABLE,
            .token = token,
            .row = {.version = {handle->hlc++, 1}, .key = rf_slice(key, BENCH_KEY), .value = value},
        };
        if (rf_lsm_ops.submit(handle->store, &op, &done).rc == RF_PENDING) {
            handle->submitted++;
            return;
        }
        /* Memory is at its bound: writers wait for a flush. */
        bench_check(done.status != RF_STORE_FAILED, "ringfort", "a write was not taken");
        wait_turn(handle);
    }
}

static void ringfort_put(void *self, const char key[BENCH_KEY], struct rf_slice value)
{
    submit_put(self, key, value);
    after_op(self);
}

static bool ringfort_get(void *self, const char key[BENCH_KEY], size_t value_bytes)
{
    struct handle       *handle = self;
    struct rf_store_done done;
    bool                 found = true;
    struct rf_store_op   op = {.kind = RF_STORE_READ,
                               .table = TABLE,
                               .token = token_of(handle, key),
                               .row = {.key = rf_slice(key, BENCH_KEY)}};
    if (rf_lsm_ops.submit(handle->store, &op, &done).rc == RF_PENDING) {
        handle->submitted++; /* not logged yet: `poll` gives it, found */
    } else {
        bench_check(done.status != RF_STORE_FOUND && done.status != RF_STORE_ABSENT, "ringfort",
                    "a read was not answered");
        found = done.status == RF_STORE_FOUND;
        rf_assert(!found || done.row.value.size == value_bytes);
        rf_blob_drop(found ? done.row.blob : NULL);
    }
    after_op(handle);
    return found;
}

/* One write at a time, which waits for the disk. */
static void synced_put(void *self, const char key[BENCH_KEY], struct rf_slice value)
{
    struct handle *handle = self;
    submit_put(handle, key, value);
    ringfort_drain(handle);
}

/* 16 writers as the server has them: requests of one shard thread. While one group is on its way to
 * the disk, the next one gathers. */
static void ringfort_put_many(void *self, uint64_t n, void (*key_of)(uint64_t number, char *key),
                              struct rf_slice value, struct rf_histogram *latency_ns)
{
    struct handle *handle = self;
    uint64_t       sent_ns[BENCH_WRITERS];
    char           key[BENCH_KEY];
    ringfort_drain(handle);
    handle->latency_ns = latency_ns;
    handle->sent_ns = sent_ns;
    handle->sent_first = handle->submitted;
    uint64_t end = handle->submitted + n;
    while (handle->finished < end) {
        while (handle->submitted < end && handle->submitted - handle->finished < BENCH_WRITERS) {
            uint64_t number = handle->submitted - handle->sent_first;
            sent_ns[number % BENCH_WRITERS] = uv_hrtime();
            key_of(number, key);
            submit_put(handle, key, value);
        }
        turn(handle);
        if (handle->finished < end && handle->log.busy) {
            wait_turn(handle);
        }
    }
    handle->sent_ns = NULL;
}

const struct bench_system bench_ringfort = {
    .name = "ringfort",
    .open = ringfort_open,
    .put = ringfort_put,
    .put_synced = synced_put,
    .get = ringfort_get,
    .settle = ringfort_settle,
    .drain = ringfort_drain,
    .put_many = ringfort_put_many,
    .close = ringfort_close,
};

const struct bench_system bench_ringfort_clustered = {
    .name = "ringfort-clustered",
    .clustered = true,
    .open = ringfort_open,
    .put = ringfort_put,
    .put_synced = synced_put,
    .get = ringfort_get,
    .settle = ringfort_settle,
    .drain = ringfort_drain,
    .put_many = ringfort_put_many,
    .close = ringfort_close,
};
