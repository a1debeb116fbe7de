/* The storage engine alone, without network, beside RocksDB through its C API: same keys, same
 * values, same machine, one after the other. One thread unless the workload says otherwise.
 *
 * Workloads: fill (100 B, one sync per 1,024 writes; RocksDB also without any sync), put-sync-1 and
 * put-sync-16 (every write is on disk before its writer goes on), read-hit, read-miss. */
#include <getopt.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <uv.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "cli/bench_report.h"
#include "io/fs_posix.h"
#include "storage/engine.h"

#define KEY_SIZE 16u
#define GROUP 1024u /* writes per sync of a fill */
#define WRITERS 16u
#define TABLE RF_TABLE_FIRST_USER
#define SEED 42u

struct bench {
    const char           *dir, *json;
    uint64_t              entries, reads, syncs;
    size_t                value_bytes;
    struct rf_bench_row   row;
    struct rf_load_result result;
    uint64_t              start_ns, start_cpu_us;
    uint8_t               pool[65536];
    bool                  header_done;
};

/* ---- Measuring ---------------------------------------------------------------------------- */

static uint64_t own_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void start(struct bench *bench, const char *system, const char *workload)
{
    bench->row = (struct rf_bench_row){.bench = "engine",
                                       .workload = workload,
                                       .system = system,
                                       .value_bytes = bench->value_bytes,
                                       .threads = 1,
                                       .has_cpu = true};
    bench->result = (struct rf_load_result){0};
    bench->start_cpu_us = own_cpu_us();
    bench->start_ns = uv_hrtime();
}

static void finish(struct bench *bench)
{
    bench->result.run_us = (uv_hrtime() - bench->start_ns) / 1000;
    bench->row.cpu_us = own_cpu_us() - bench->start_cpu_us;
    rf_bench_print(&bench->row, &bench->result, !bench->header_done);
    bench->header_done = true;
    if (bench->json != NULL) {
        enum rf_rc rc = rf_bench_json(bench->json, &bench->row, &bench->result).rc;
        rf_assert(rc == RF_OK);
    }
}

static void count(struct bench *bench, uint64_t from_ns)
{
    rf_histogram_record(&bench->result.latency_ns, uv_hrtime() - from_ns);
    bench->result.ops++;
}

static void make_key(uint64_t number, char key[KEY_SIZE + 1])
{
    snprintf(key, KEY_SIZE + 1, "bench%011llu", (unsigned long long)number % 100000000000u);
}

static struct rf_slice value_of(const struct bench *bench, uint64_t number)
{
    uint64_t at = rf_hash64(rf_slice(&number, sizeof(number)), 1) %
                  (sizeof(bench->pool) - bench->value_bytes);
    return rf_slice(bench->pool + at, bench->value_bytes);
}

/* Numbers in an order that has nothing to do with the keys' order. */
static uint64_t shuffled(const struct bench *bench, uint64_t i)
{
    return i * UINT64_C(7919) % bench->entries; /* 7919 is prime; entries is no multiple of it */
}

/* ---- Ringfort ----------------------------------------------------------------------------- */

struct ringfort {
    struct rf_engine *engine;
    struct rf_store  *store;
    uint64_t          hlc;
    uint64_t          finished; /* completions that `poll` gave */
    uv_thread_t       log_thread;
    uv_sem_t          log_work, log_done;
    bool              log_stop;
};

static void open_ringfort(struct bench *bench, struct ringfort *ringfort)
{
    static struct rf_table_policy policy = {.id = TABLE};
    struct rf_engine_error        error = {""};
    struct rf_engine_config       config = {.fs = rf_fs_posix(),
                                            .dir = bench->dir,
                                            .n_partitions = 16,
                                            .n_shards = 1,
                                            .segment_max = 64u << 20,
                                            .random = 77};
    if (!rf_ok(rf_engine_open(&config, &ringfort->engine, &error)) ||
        !rf_ok(rf_engine_add_table(ringfort->engine, &policy))) {
        fprintf(stderr, "bench_engine: %s\n", error.text);
        exit(1);
    }
    ringfort->store = rf_engine_store(ringfort->engine, 0);
    ringfort->hlc = rf_hlc_make(1000000, 0);
}

static void take_done(struct ringfort *ringfort, const struct rf_store_done *done)
{
    rf_assert(done->status == RF_STORE_STORED);
    ringfort->finished++;
}

static void poll_all(struct ringfort *ringfort)
{
    struct rf_store_done done[64];
    uint32_t             n = 0;
    while ((n = rf_lsm_ops.poll(ringfort->store, done, 64)) != 0) {
        for (uint32_t i = 0; i < n; i++) {
            take_done(ringfort, &done[i]);
        }
    }
}

static void submit_put(const struct bench *bench, struct ringfort *ringfort, uint64_t number)
{
    char                 key[KEY_SIZE + 1];
    struct rf_store_done done;
    make_key(number, key);
    struct rf_store_op op = {
        .kind = RF_STORE_APPLY,
        .mode = RF_APPLY_REFUSE_IF_NEWER,
        .table = TABLE,
        .token = rf_hash64(rf_slice(key, KEY_SIZE), SEED),
        .row = {.version = {ringfort->hlc++, 1},
                .key = rf_slice(key, KEY_SIZE),
                .value = value_of(bench, number)},
    };
    if (rf_ok(rf_lsm_ops.submit(ringfort->store, &op, &done))) {
        take_done(ringfort, &done);
    }
}

static void sync_log(struct ringfort *ringfort)
{
    if (rf_store_log_begin(ringfort->store)) {
        rf_store_log_run(ringfort->store);
        rf_store_log_end(ringfort->store);
    }
    poll_all(ringfort);
}

static void ringfort_fill(struct bench *bench, struct ringfort *ringfort)
{
    start(bench, "ringfort", "fill-sync1024");
    for (uint64_t i = 0; i < bench->entries; i++) {
        uint64_t from_ns = uv_hrtime();
        submit_put(bench, ringfort, shuffled(bench, i));
        if (i % GROUP == GROUP - 1) {
            sync_log(ringfort);
        }
        count(bench, from_ns);
    }
    sync_log(ringfort);
    finish(bench);
    rf_assert(ringfort->finished == bench->entries);
}

static void ringfort_sync_one(struct bench *bench, struct ringfort *ringfort)
{
    start(bench, "ringfort", "put-sync-1");
    for (uint64_t i = 0; i < bench->syncs; i++) {
        uint64_t from_ns = uv_hrtime();
        submit_put(bench, ringfort, i);
        sync_log(ringfort);
        count(bench, from_ns);
    }
    finish(bench);
}

static void log_main(void *argument)
{
    struct ringfort *ringfort = argument;
    for (;;) {
        uv_sem_wait(&ringfort->log_work);
        if (ringfort->log_stop) {
            return;
        }
        rf_store_log_run(ringfort->store);
        uv_sem_post(&ringfort->log_done);
    }
}

/* 16 writers as the server has them: requests of one shard thread, with the log on its own. While
 * one group is on its way to the disk, the next one gathers. */
static void ringfort_sync_many(struct bench *bench, struct ringfort *ringfort)
{
    uint64_t total = bench->syncs * 4;
    uint64_t sent = 0;
    uint64_t before = ringfort->finished;
    uint64_t from_ns[WRITERS] = {0};
    uv_sem_init(&ringfort->log_work, 0);
    uv_sem_init(&ringfort->log_done, 0);
    uv_thread_create(&ringfort->log_thread, log_main, ringfort);
    start(bench, "ringfort", "put-sync-16");
    while (ringfort->finished - before < total) {
        for (; sent < total && sent - (ringfort->finished - before) < WRITERS; sent++) {
            from_ns[sent % WRITERS] = uv_hrtime();
            submit_put(bench, ringfort, sent);
        }
        if (rf_store_log_begin(ringfort->store)) {
            uv_sem_post(&ringfort->log_work);
        }
        uv_sem_wait(&ringfort->log_done);
        rf_store_log_end(ringfort->store);
        uint64_t old = ringfort->finished;
        poll_all(ringfort);
        for (; old < ringfort->finished; old++) {
            count(bench, from_ns[(old - before) % WRITERS]);
        }
    }
    finish(bench);
    ringfort->log_stop = true;
    uv_sem_post(&ringfort->log_work);
    uv_thread_join(&ringfort->log_thread);
}

static void ringfort_read(struct bench *bench, struct ringfort *ringfort, bool hit)
{
    struct rf_rng        rng = {.state = 3};
    struct rf_store_done done;
    start(bench, "ringfort", hit ? "read-hit" : "read-miss");
    for (uint64_t i = 0; i < bench->reads; i++) {
        char     key[KEY_SIZE + 1];
        uint64_t from_ns = uv_hrtime();
        make_key(rf_rng_below(&rng, bench->entries) + (hit ? 0 : bench->entries), key);
        struct rf_store_op op = {.kind = RF_STORE_READ,
                                 .table = TABLE,
                                 .token = rf_hash64(rf_slice(key, KEY_SIZE), SEED),
                                 .row = {.key = rf_slice(key, KEY_SIZE)}};
        enum rf_rc         rc = rf_lsm_ops.submit(ringfort->store, &op, &done).rc;
        while (rc == RF_PENDING && rf_lsm_ops.poll(ringfort->store, &done, 1) == 0) {
            sync_log(ringfort);
        }
        rf_assert(done.status == (hit ? RF_STORE_FOUND : RF_STORE_ABSENT));
        rf_assert(!hit || done.row.value.size == bench->value_bytes);
        rf_blob_drop(done.row.blob);
        count(bench, from_ns);
    }
    finish(bench);
}

static void run_ringfort(struct bench *bench)
{
    struct ringfort ringfort = {0};
    open_ringfort(bench, &ringfort);
    ringfort_fill(bench, &ringfort);
    ringfort_read(bench, &ringfort, true);
    ringfort_read(bench, &ringfort, false);
    ringfort_sync_one(bench, &ringfort);
    ringfort_sync_many(bench, &ringfort);
    rf_engine_close(ringfort.engine);
}

/* ---- RocksDB ------------------------------------------------------------------------------ */

struct rocks {
    struct bench           *bench;
    rocksdb_t              *db;
    rocksdb_writeoptions_t *plain, *synced;
    rocksdb_readoptions_t  *read;
};

static void must(char *error)
{
    if (error != NULL) {
        fprintf(stderr, "bench_engine: RocksDB: %s\n", error);
        exit(1);
    }
}

static void open_rocks(struct bench *bench, struct rocks *rocks)
{
    char                                *error = NULL;
    rocksdb_options_t                   *options = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_write_buffer_size(options, 64u << 20);
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    rocksdb_block_based_options_set_checksum(table, 4); /* kXXH3 */
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_block_cache(table, rocksdb_cache_create_lru(256u << 20));
    rocksdb_options_set_block_based_table_factory(options, table);
    *rocks = (struct rocks){.bench = bench};
    rocks->db = rocksdb_open(options, bench->dir, &error);
    must(error);
    rocks->plain = rocksdb_writeoptions_create();
    rocks->synced = rocksdb_writeoptions_create();
    rocks->read = rocksdb_readoptions_create();
    rocksdb_writeoptions_set_sync(rocks->synced, 1);
    rocksdb_readoptions_set_verify_checksums(rocks->read, 1);
}

static void rocks_put(struct rocks *rocks, const rocksdb_writeoptions_t *options, uint64_t number)
{
    char            key[KEY_SIZE + 1];
    char           *error = NULL;
    struct rf_slice value = value_of(rocks->bench, number);
    make_key(number, key);
    rocksdb_put(rocks->db, options, key, KEY_SIZE, (const char *)value.data, value.size, &error);
    must(error);
}

static void rocks_fill(struct bench *bench, struct rocks *rocks, bool synced)
{
    char *error = NULL;
    start(bench, "rocksdb", synced ? "fill-sync1024" : "fill-nosync");
    for (uint64_t i = 0; i < bench->entries; i++) {
        uint64_t from_ns = uv_hrtime();
        rocks_put(rocks, rocks->plain, shuffled(bench, i));
        if (synced && i % GROUP == GROUP - 1) {
            rocksdb_flush_wal(rocks->db, 1, &error);
            must(error);
        }
        count(bench, from_ns);
    }
    finish(bench);
}

static void rocks_sync_one(struct bench *bench, struct rocks *rocks)
{
    start(bench, "rocksdb", "put-sync-1");
    for (uint64_t i = 0; i < bench->syncs; i++) {
        uint64_t from_ns = uv_hrtime();
        rocks_put(rocks, rocks->synced, i);
        count(bench, from_ns);
    }
    finish(bench);
}

struct rocks_writer {
    struct rocks       *rocks;
    uint64_t            n, first;
    struct rf_histogram latency_ns;
};

static void rocks_writer_main(void *argument)
{
    struct rocks_writer *writer = argument;
    for (uint64_t i = 0; i < writer->n; i++) {
        uint64_t from_ns = uv_hrtime();
        rocks_put(writer->rocks, writer->rocks->synced, writer->first + i);
        rf_histogram_record(&writer->latency_ns, uv_hrtime() - from_ns);
    }
}

static void rocks_sync_many(struct bench *bench, struct rocks *rocks)
{
    uv_thread_t          threads[WRITERS];
    struct rocks_writer *writers = RF_NEW_ARRAY(struct rocks_writer, WRITERS);
    rf_assert(writers != NULL);
    start(bench, "rocksdb", "put-sync-16");
    bench->row.threads = WRITERS;
    for (uint32_t w = 0; w < WRITERS; w++) {
        uint64_t n = bench->syncs * 4 / WRITERS;
        writers[w] = (struct rocks_writer){.rocks = rocks, .n = n, .first = w * n};
        uv_thread_create(&threads[w], rocks_writer_main, &writers[w]);
    }
    for (uint32_t w = 0; w < WRITERS; w++) {
        uv_thread_join(&threads[w]);
        rf_histogram_merge(&bench->result.latency_ns, &writers[w].latency_ns);
        bench->result.ops += writers[w].n;
    }
    finish(bench);
    rf_mem_free(writers);
}

static void rocks_read(struct bench *bench, struct rocks *rocks, bool hit)
{
    struct rf_rng rng = {.state = 3};
    start(bench, "rocksdb", hit ? "read-hit" : "read-miss");
    for (uint64_t i = 0; i < bench->reads; i++) {
        char     key[KEY_SIZE + 1];
        char    *error = NULL;
        size_t   size = 0;
        uint64_t from_ns = uv_hrtime();
        make_key(rf_rng_below(&rng, bench->entries) + (hit ? 0 : bench->entries), key);
        char *value = rocksdb_get(rocks->db, rocks->read, key, KEY_SIZE, &size, &error);
        must(error);
        rf_assert((value != NULL) == hit);
        rocksdb_free(value);
        count(bench, from_ns);
    }
    finish(bench);
}

static void run_rocks(struct bench *bench)
{
    struct rocks rocks;
    open_rocks(bench, &rocks);
    rocks_fill(bench, &rocks, true);
    rocks_read(bench, &rocks, true);
    rocks_read(bench, &rocks, false);
    rocks_sync_one(bench, &rocks);
    rocks_sync_many(bench, &rocks);
    rocks_fill(bench, &rocks, false);
    rocksdb_close(rocks.db);
}

/* ---- The tool ----------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},
        {"entries", required_argument, NULL, 'e'},
        {"value-bytes", required_argument, NULL, 'b'},
        {"syncs", required_argument, NULL, 's'},
        {"reads", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    static struct bench bench = {
        .entries = 400000, .reads = 1000000, .syncs = 5000, .value_bytes = 100};
    struct rf_rng rng = {.state = 9};
    int           option = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'd':
            bench.dir = optarg;
            break;
        case 'j':
            bench.json = optarg;
            break;
        case 'e':
            bench.entries = strtoull(optarg, NULL, 10);
            break;
        case 'b':
            bench.value_bytes = strtoull(optarg, NULL, 10);
            break;
        case 's':
            bench.syncs = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            bench.reads = strtoull(optarg, NULL, 10);
            break;
        default:
            return 64;
        }
    }
    bool ringfort = optind < argc && strcmp(argv[optind], "ringfort") == 0;
    bool rocks = optind < argc && strcmp(argv[optind], "rocksdb") == 0;
    if (bench.dir == NULL || ringfort == rocks || bench.entries < GROUP ||
        bench.entries % 7919 == 0 || bench.value_bytes > 32768) {
        fputs("usage: bench_engine ringfort|rocksdb --dir DIR [--entries N] [--value-bytes N]\n"
              "       [--syncs N] [--reads N] [--json FILE]\n",
              stderr);
        return 64;
    }
    /* Half random, half zeros: LZ4 halves it. */
    for (size_t i = 0; i < sizeof(bench.pool); i++) {
        bench.pool[i] = i / 25 % 2 == 0 ? (uint8_t)rf_rng_next(&rng) : 0;
    }
    if (ringfort) {
        run_ringfort(&bench);
    } else {
        run_rocks(&bench);
    }
    return 0;
}
