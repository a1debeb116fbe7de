/* What a read costs from each tier of one store (S80-S91), in one run: row cache, memtable, files in the
 * page cache; values of 100 bytes and 4 KiB; keys drawn at random from `keys`. Then how many of a
 * zipf-like load's reads the cache answers while every second read is of a key that is read once.
 * Usage: bench_tiers DIR [KEYS [READS]] */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/rng.h"
#include "io/fs_posix.h"
#include "storage/engine.h"

#define TABLE RF_TABLE_FIRST_USER

static const char *dir;
static uint64_t    n_keys = 20000, n_reads = 1000000;

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct rf_store_op op_of(enum rf_store_kind kind, uint64_t key, struct rf_slice value)
{
    struct rf_row      row = {.version = {key + 1, 1},
                              .key = rf_slice((const uint8_t *)&key, sizeof(key)),
                              .value = value};
    struct rf_store_op op = {.kind = kind, .table = TABLE, .token = rf_hash64(row.key, 0)};
    rf_assert(rf_ok(rf_row_copy(&row, &op.row)));
    return op;
}

static void sync_log(struct rf_store *store)
{
    struct rf_store_done done;
    if (rf_store_log_begin(store)) {
        rf_store_log_run(store);
        rf_store_log_end(store);
    }
    while (rf_lsm_ops.poll(store, &done, 1) == 1) {
        rf_blob_drop(done.row.blob);
    }
}

static void run_jobs(struct rf_store *store)
{
    struct rf_job *job = NULL;
    while ((job = rf_store_job_begin(store)) != NULL) {
        while (!rf_job_step(job)) {
        }
        rf_assert(rf_ok(rf_store_job_end(store, job)));
    }
}

static void fill(struct rf_store *store, uint64_t n, size_t size)
{
    uint8_t value[4096];
    for (size_t i = 0; i < sizeof(value); i++) {
        value[i] = (uint8_t)(i * i >> 3);
    }
    for (uint64_t i = 0; i < n; i++) {
        struct rf_store_op   op = op_of(RF_STORE_APPLY, i, rf_slice(value, size));
        struct rf_store_done done;
        (void)rf_lsm_ops.submit(store, &op, &done).rc;
        if (i % 1024 == 1023) {
            sync_log(store);
        }
    }
    sync_log(store);
}

static bool read_key(struct rf_store *store, uint64_t key)
{
    struct rf_store_op   op = op_of(RF_STORE_READ, key, rf_slice(NULL, 0));
    struct rf_store_done done;
    rf_assert(rf_ok(rf_lsm_ops.submit(store, &op, &done)));
    rf_blob_drop(done.row.blob);
    return done.status == RF_STORE_FOUND;
}

static void measure(struct rf_store *store, const char *tier, size_t size)
{
    struct rf_rng rng = {.state = 5};
    for (uint64_t i = 0; i < n_keys * 3; i++) {
        rf_assert(read_key(store, i % n_keys));
    }
    struct rf_store_stats before = rf_store_stats(store);
    uint64_t              start = cpu_ns();
    for (uint64_t i = 0; i < n_reads; i++) {
        rf_assert(read_key(store, rf_rng_below(&rng, n_keys)));
    }
    uint64_t              ns = (cpu_ns() - start) / n_reads;
    struct rf_store_stats after = rf_store_stats(store);
    printf(
        "%-10s %5zu B  %5llu ns CPU per hit   (cache %3llu %%, memtable %3llu %%, files asked %3llu %%)\n",
        tier, size, (unsigned long long)ns,
        (unsigned long long)((after.cache_hits - before.cache_hits) * 100 / n_reads),
        (unsigned long long)((after.memtable_hits - before.memtable_hits) * 100 / n_reads),
        (unsigned long long)((after.files_asked - before.files_asked) * 100 / n_reads));
}

static struct rf_engine *open_store(const char *name, uint64_t cache)
{
    static char             path[512];
    struct rf_engine       *engine = NULL;
    struct rf_engine_error  error;
    struct rf_engine_config config = {.fs = rf_fs_posix(),
                                      .dir = path,
                                      .n_partitions = 4,
                                      .n_shards = 1,
                                      .segment_max = 64u << 20,
                                      .random = 7};
    struct rf_table_policy  policy = {
         .id = TABLE, .bloom_bits_per_key = 10, .lz4 = true, .row_cache_bytes = cache};
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    rf_assert(rf_ok(rf_engine_open(&config, &engine, &error)));
    rf_assert(rf_ok(rf_engine_add_table(engine, &policy)));
    rf_store_set_time(rf_engine_store(engine, 0), 1000);
    return engine;
}

static void measure_tiers(const char *name, size_t size)
{
    struct rf_engine *engine = open_store(name, 0);
    struct rf_store  *store = rf_engine_store(engine, 0);
    fill(store, n_keys, size);
    measure(store, "memtable", size);
    rf_store_request_flush(store);
    run_jobs(store);
    measure(store, "files", size);
    rf_engine_close(engine);
    engine = open_store(name, (uint64_t)n_keys * (size + 400));
    measure(rf_engine_store(engine, 0), "row cache", size);
    rf_engine_close(engine);
}

/* Every second read is of a key that is never read again; the others prefer few keys of many. The cache
 * holds a twentieth of them. */
static void measure_scan(void)
{
    struct rf_engine *engine = open_store("100", (uint64_t)n_keys / 20 * 380);
    struct rf_store  *store = rf_engine_store(engine, 0);
    struct rf_rng     rng = {.state = 9};
    uint64_t          popular = n_keys / 2, hits = 0;
    for (uint64_t i = 0; i < n_reads; i++) {
        uint64_t key = rf_rng_below(&rng, popular);
        for (int fold = 0; fold < 3; fold++) {
            key = rf_rng_below(&rng, key + 1);
        }
        uint64_t before = rf_store_stats(store).cache_hits;
        (void)read_key(store, key);
        hits += rf_store_stats(store).cache_hits - before;
        (void)read_key(store, popular + i % (n_keys - popular));
    }
    printf("scan beside a skewed load: the cache answers %llu %% of the load\n",
           (unsigned long long)(hits * 100 / n_reads));
    rf_engine_close(engine);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_tiers DIR [KEYS [READS]]\n");
        return 64;
    }
    dir = argv[1];
    n_keys = argc > 2 ? strtoull(argv[2], NULL, 10) : n_keys;
    n_reads = argc > 3 ? strtoull(argv[3], NULL, 10) : n_reads;
    measure_tiers("100", 100);
    measure_tiers("4096", 4096);
    measure_scan();
    return 0;
}
