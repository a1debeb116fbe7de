/* What compaction costs: bytes written and space taken, for both of Ringfort's strategies beside
 * RocksDB's universal and level styles through its C API, with the same memtable, codec, filter and
 * sizes of levels. One process per system and workload.
 *
 * Workloads, all in random order of keys, over `entries` keys: fill (each once), overwrite (each three
 * times), delete (each once, then four of five deleted), ttl (each once, living for a quarter of the
 * run), zipf (two writes per key on average, zipfian 0.99).
 *
 * Written bytes are those that the process passed to write(2) and its like (wchar of /proc/self/io):
 * log and tables, the same measure for both systems. Time for TTLs is virtual, so that it passes with
 * the writes; RocksDB drops expired values in a compaction filter, as its TTL database does. */
#include <dirent.h>
#include <getopt.h>
#include <math.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "io/fs_posix.h"
#include "plugins/loader.h"
#include "storage/engine.h"

#define KEY_SIZE 16u
#define GROUP 1024u       /* writes per sync and per look at background work */
#define SAMPLE 16384u     /* writes per look at the disk */
#define START_MS 1000000u /* of virtual time; a write takes a millisecond */
#define PARTITIONS 16u
#define WORKERS 4u
#define SEED 42u

enum workload { FILL, OVERWRITE, DELETE, TTL, ZIPF, N_WORKLOADS };
static const char *const workload_names[N_WORKLOADS] = {"fill", "overwrite", "delete", "ttl",
                                                        "zipf"};

struct bench {
    const char   *dir, *json, *system, *plugins;
    enum workload workload;
    uint64_t      entries, memtable_bytes, time_ms;
    size_t        value_bytes;
    uint64_t      ops, user_bytes, live_bytes, peak_bytes;
    uint8_t      *alive; /* by key */
    uint8_t       pool[65536];
    double        zipf_zeta, zipf_eta;
};

/* A system under test. */
struct target {
    void *self;
    void (*put)(void *self, const char *key, struct rf_slice value, uint64_t expiry_ms);
    void (*del)(void *self, const char *key);
    void (*group)(void *self);  /* after GROUP writes */
    void (*settle)(void *self); /* everything in tables, nothing left to merge */
};

/* ---- Measuring ---------------------------------------------------------------------------- */

static uint64_t own_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static uint64_t own_written_bytes(void)
{
    FILE              *file = fopen("/proc/self/io", "r");
    char               line[128];
    unsigned long long bytes = 0;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "wchar: %llu", &bytes) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}

/* Bytes of all files below a directory; ones that vanish meanwhile do not count. */
static uint64_t bytes_below(const char *dir)
{
    uint64_t       sum = 0;
    DIR           *list = opendir(dir);
    struct dirent *entry = NULL;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        char        path[4096];
        struct stat status;
        if (entry->d_name[0] == '.' ||
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) >= (int)sizeof(path) ||
            lstat(path, &status) != 0) {
            continue;
        }
        sum += S_ISDIR(status.st_mode) ? bytes_below(path) : (uint64_t)status.st_blocks * 512;
    }
    if (list != NULL) {
        closedir(list);
    }
    return sum;
}

static void sample_disk(struct bench *bench)
{
    uint64_t now = bytes_below(bench->dir);
    bench->peak_bytes = now > bench->peak_bytes ? now : bench->peak_bytes;
}

/* ---- Ringfort ----------------------------------------------------------------------------- */

/* A background job on its way; as the server has them (src/server/background.c). */
struct worker {
    uv_thread_t    thread;
    uv_sem_t       start;
    struct rf_job *job; /* NULL: free */
    _Atomic bool   done;
    _Atomic bool   stop;
};

struct ringfort {
    struct bench          *bench;
    struct rf_registry    *registry;
    struct rf_table_policy policy;
    struct rf_engine      *engine;
    struct rf_store       *store;
    uint64_t               hlc;
    struct worker          workers[WORKERS];
};

static void worker_main(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        uv_sem_wait(&worker->start);
        if (worker->stop) {
            return;
        }
        while (!rf_job_step(worker->job)) {
        }
        worker->done = true;
    }
}

/* Takes over what is done and starts what is due; returns how many jobs are under way. */
static uint32_t turn_jobs(struct ringfort *ringfort)
{
    uint32_t busy = 0;
    rf_store_set_time(ringfort->store, ringfort->bench->time_ms);
    for (uint32_t w = 0; w < WORKERS; w++) {
        struct worker *worker = &ringfort->workers[w];
        if (worker->job != NULL && worker->done) {
            enum rf_rc rc = rf_store_job_end(ringfort->store, worker->job).rc;
            rf_assert(rc == RF_OK);
            worker->job = NULL;
        }
        if (worker->job == NULL) {
            worker->done = false;
            worker->job = rf_store_job_begin(ringfort->store);
            if (worker->job != NULL) {
                uv_sem_post(&worker->start);
            }
        }
        busy += worker->job != NULL;
    }
    return busy;
}

static void ringfort_group(void *self)
{
    struct ringfort     *ringfort = self;
    struct rf_store_done done[64];
    if (rf_store_log_begin(ringfort->store)) {
        rf_store_log_run(ringfort->store);
        rf_store_log_end(ringfort->store);
    }
    while (rf_lsm_ops.poll(ringfort->store, done, 64) != 0) {
    }
    (void)turn_jobs(ringfort);
    usleep((useconds_t)rf_store_delay_us(ringfort->store)); /* as the server holds its next group */
}

static void ringfort_apply(struct ringfort *ringfort, const char *key, struct rf_slice value,
                           uint64_t expiry_ms, uint8_t flags)
{
    struct rf_store_done done;
    struct rf_store_op   op = {
          .kind = RF_STORE_APPLY,
          .mode = RF_APPLY_REFUSE_IF_NEWER,
          .table = ringfort->policy.id,
          .token = rf_hash64(rf_slice(key, KEY_SIZE), SEED),
          .row = {.version = {rf_hlc_make(ringfort->bench->time_ms, 0) + (ringfort->hlc++ & 0xffff),
                              1},
                  .expiry_ms = expiry_ms,
                  .flags = flags,
                  .key = rf_slice(key, KEY_SIZE),
                  .value = value},
    };
    while (rf_ok(rf_lsm_ops.submit(ringfort->store, &op, &done)) &&
           done.status != RF_STORE_STORED) {
        ringfort_group(ringfort); /* memory is full: flushes must catch up */
        usleep(1000);
    }
}

static void ringfort_put(void *self, const char *key, struct rf_slice value, uint64_t expiry_ms)
{
    ringfort_apply(self, key, value, expiry_ms, 0);
}

static void ringfort_del(void *self, const char *key)
{
    ringfort_apply(self, key, rf_slice(NULL, 0), 0, RF_ROW_TOMBSTONE);
}

static void ringfort_settle(void *self)
{
    struct ringfort *ringfort = self;
    ringfort_group(ringfort);
    rf_store_request_flush(ringfort->store);
    for (uint32_t idle = 0; idle < 3;) {
        idle = turn_jobs(ringfort) == 0 ? idle + 1 : 0;
        ringfort->bench->time_ms += idle == 1 ? 10000 : 0; /* what looks at the clock may look */
        sample_disk(ringfort->bench);
        usleep(2000);
    }
}

static void choose_strategy(struct ringfort *ringfort, const struct bench *bench)
{
    bool                    leveled = strcmp(bench->system, "ringfort-leveled") == 0;
    const struct rf_plugin *plugin = NULL;
    struct rf_problems      problems = {0};
    void                   *options = NULL;
    char                    why[512] = "";
    ringfort->registry = rf_registry_new(bench->plugins);
    if (ringfort->registry == NULL ||
        !rf_ok(rf_registry_get(ringfort->registry, RF_KIND_COMPACTION,
                               leveled ? "compaction-leveled" : "compaction-stl", &plugin, why)) ||
        !rf_ok(rf_plugin_options(plugin, NULL, NULL, &options, &problems))) {
        fprintf(stderr, "bench_compaction: %s\n", why);
        exit(1);
    }
    if (leveled) { /* fanout, table_size, level1_size, …: level 1 as large as RocksDB's */
        int64_t *fields = options;
        fields[2] = (int64_t)(bench->memtable_bytes * 4 / PARTITIONS);
    }
    ringfort->policy.compaction = &plugin->ops.compaction;
    ringfort->policy.compaction_options = options;
}

static struct target open_ringfort(struct bench *bench)
{
    static struct ringfort  ringfort;
    struct rf_engine_error  error = {""};
    struct rf_engine_config config = {.fs = rf_fs_posix(),
                                      .dir = bench->dir,
                                      .n_partitions = PARTITIONS,
                                      .n_shards = 1,
                                      .segment_max = 16u << 20,
                                      .random = 77,
                                      .memtable_max = bench->memtable_bytes,
                                      .memtable_total_max = bench->memtable_bytes * 4,
                                      .wal_max = bench->memtable_bytes * 16};
    ringfort = (struct ringfort){.bench = bench,
                                 .policy = {.id = RF_TABLE_FIRST_USER,
                                            .host = rf_registry_host(),
                                            .bloom_bits_per_key = 10,
                                            .lz4 = true,
                                            .tombstone_grace_ms = 1000,
                                            .max_ahead_ms = 500}};
    if (bench->workload == TTL) {
        ringfort.policy.max_ttl_ms = bench->entries / 4;
    }
    choose_strategy(&ringfort, bench);
    if (!rf_ok(rf_engine_open(&config, &ringfort.engine, &error)) ||
        !rf_ok(rf_engine_add_table(ringfort.engine, &ringfort.policy))) {
        fprintf(stderr, "bench_compaction: %s\n", error.text);
        exit(1);
    }
    ringfort.store = rf_engine_store(ringfort.engine, 0);
    for (uint32_t w = 0; w < WORKERS; w++) {
        uv_sem_init(&ringfort.workers[w].start, 0);
        uv_thread_create(&ringfort.workers[w].thread, worker_main, &ringfort.workers[w]);
    }
    return (struct target){&ringfort, ringfort_put, ringfort_del, ringfort_group, ringfort_settle};
}

/* ---- RocksDB ------------------------------------------------------------------------------ */

struct rocks {
    struct bench           *bench;
    rocksdb_t              *db;
    rocksdb_writeoptions_t *write;
    uint64_t                writes;
};

static void must(char *error)
{
    if (error != NULL) {
        fprintf(stderr, "bench_compaction: RocksDB: %s\n", error);
        exit(1);
    }
}

/* Values of the TTL workload end with their expiry. */
static unsigned char drop_expired(void *state, int level, const char *key, size_t key_size,
                                  const char *value, size_t value_size, char **new_value,
                                  size_t *new_size, unsigned char *changed)
{
    const struct bench *bench = state;
    uint64_t            expiry_ms = 0;
    (void)level, (void)key, (void)key_size, (void)new_value, (void)new_size, (void)changed;
    if (bench->workload != TTL || value_size < sizeof(expiry_ms)) {
        return 0;
    }
    memcpy(&expiry_ms, value + value_size - sizeof(expiry_ms), sizeof(expiry_ms));
    return expiry_ms <= bench->time_ms;
}

static const char *filter_name(void *state)
{
    (void)state;
    return "bench.ttl";
}

static void nothing(void *state)
{
    (void)state;
}

static void rocks_put(void *self, const char *key, struct rf_slice value, uint64_t expiry_ms)
{
    struct rocks *rocks = self;
    char         *error = NULL;
    char          copy[65536];
    memcpy(copy, value.data, value.size);
    if (expiry_ms != 0) {
        memcpy(copy + value.size - sizeof(expiry_ms), &expiry_ms, sizeof(expiry_ms));
    }
    rocksdb_put(rocks->db, rocks->write, key, KEY_SIZE, copy, value.size, &error);
    must(error);
}

static void rocks_del(void *self, const char *key)
{
    struct rocks *rocks = self;
    char         *error = NULL;
    rocksdb_delete(rocks->db, rocks->write, key, KEY_SIZE, &error);
    must(error);
}

/* Its log is not synced: that changes nothing of what is counted here. */
static void rocks_group(void *self)
{
    (void)self;
}

static bool is_zero(const struct rocks *rocks, const char *property)
{
    uint64_t value = 0;
    return rocksdb_property_int(rocks->db, property, &value) == 0 && value == 0;
}

static void rocks_settle(void *self)
{
    struct rocks           *rocks = self;
    char                   *error = NULL;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    rocksdb_flush(rocks->db, options, &error);
    must(error);
    /* Its universal style may say "pending" for ever without doing anything: half a second of silence. */
    for (uint32_t idle = 0; idle < 50;) {
        bool quiet = is_zero(rocks, "rocksdb.num-running-compactions") &&
                     is_zero(rocks, "rocksdb.num-running-flushes");
        idle = quiet ? idle + 1 : 0;
        sample_disk(rocks->bench);
        usleep(10000);
    }
    rocksdb_flushoptions_destroy(options);
}

static struct target open_rocks(struct bench *bench)
{
    static struct rocks                  rocks;
    char                                *error = NULL;
    rocksdb_options_t                   *options = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    bool universal = strcmp(bench->system, "rocksdb-universal") == 0;
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_write_buffer_size(options, bench->memtable_bytes);
    rocksdb_options_set_max_bytes_for_level_base(options, bench->memtable_bytes * 4);
    rocksdb_options_set_target_file_size_base(options, bench->memtable_bytes);
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    rocksdb_options_set_compaction_style(options, universal ? rocksdb_universal_compaction
                                                            : rocksdb_level_compaction);
    rocksdb_options_set_compaction_filter(
        options, rocksdb_compactionfilter_create(bench, nothing, drop_expired, filter_name));
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocks = (struct rocks){.bench = bench, .write = rocksdb_writeoptions_create()};
    rocks.db = rocksdb_open(options, bench->dir, &error);
    must(error);
    return (struct target){&rocks, rocks_put, rocks_del, rocks_group, rocks_settle};
}

/* ---- Workloads ---------------------------------------------------------------------------- */

static void make_key(uint64_t number, char key[KEY_SIZE + 1])
{
    snprintf(key, KEY_SIZE + 1, "bench%011llu", (unsigned long long)number % 100000000000u);
}

/* Zipfian numbers as in Gray et al., "Quickly generating billion-record synthetic databases". */
static void prepare_zipf(struct bench *bench)
{
    const double theta = 0.99;
    double       zeta = 0;
    for (uint64_t i = 1; i <= bench->entries; i++) {
        zeta += 1 / pow((double)i, theta);
    }
    bench->zipf_zeta = zeta;
    bench->zipf_eta =
        (1 - pow(2.0 / (double)bench->entries, 1 - theta)) / (1 - (1 + pow(0.5, theta)) / zeta);
}

static uint64_t next_zipf(const struct bench *bench, struct rf_rng *rng)
{
    double u = (double)(rf_rng_next(rng) >> 11) / 9007199254740992.0;
    double uz = u * bench->zipf_zeta;
    double n = (double)bench->entries;
    if (uz < 1.5) {
        return uz < 1 ? 0 : 1;
    }
    return (uint64_t)(n * pow(bench->zipf_eta * u - bench->zipf_eta + 1, 1 / (1 - 0.99))) %
           bench->entries;
}

static void count_op(struct bench *bench, const struct target *target, size_t bytes)
{
    bench->ops++;
    bench->time_ms++;
    bench->user_bytes += bytes;
    if (bench->ops % GROUP == 0) {
        target->group(target->self);
    }
    if (bench->ops % SAMPLE == 0) {
        sample_disk(bench);
    }
}

static void put(struct bench *bench, const struct target *target, uint64_t number, uint64_t round)
{
    char     key[KEY_SIZE + 1];
    uint64_t facts[2] = {number, round};
    uint64_t at =
        rf_hash64(rf_slice(facts, sizeof(facts)), 1) % (sizeof(bench->pool) - bench->value_bytes);
    uint64_t expiry_ms = bench->workload == TTL ? bench->time_ms + bench->entries / 4 : 0;
    make_key(number, key);
    target->put(target->self, key, rf_slice(bench->pool + at, bench->value_bytes), expiry_ms);
    bench->alive[number] = 1;
    count_op(bench, target, KEY_SIZE + bench->value_bytes);
}

/* Every key once, in an order that has nothing to do with theirs and differs by round. */
static uint64_t shuffled(const struct bench *bench, uint64_t i, uint64_t round)
{
    static const uint64_t primes[3] = {7919, 15485863, 104729};
    return i * primes[round % 3] % bench->entries;
}

static void run_workload(struct bench *bench, const struct target *target)
{
    struct rf_rng rng = {.state = 3};
    uint64_t      rounds = bench->workload == OVERWRITE ? 3 : 1;
    if (bench->workload == ZIPF) {
        prepare_zipf(bench);
        for (uint64_t i = 0; i < 2 * bench->entries; i++) {
            uint64_t number = next_zipf(bench, &rng);
            put(bench, target, shuffled(bench, number, 0), i);
        }
        return;
    }
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint64_t i = 0; i < bench->entries; i++) {
            put(bench, target, shuffled(bench, i, round), round);
        }
    }
    for (uint64_t i = 0; bench->workload == DELETE && i < bench->entries; i++) {
        uint64_t number = shuffled(bench, i, 1);
        char     key[KEY_SIZE + 1];
        if (number % 5 != 0) {
            make_key(number, key);
            target->del(target->self, key);
            bench->alive[number] = 0;
            count_op(bench, target, KEY_SIZE);
        }
    }
}

static uint64_t live_bytes(const struct bench *bench)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < bench->entries; i++) {
        n += bench->alive[i];
    }
    return (bench->workload == TTL ? bench->entries / 4 : n) * (KEY_SIZE + bench->value_bytes);
}

static void report(const struct bench *bench, uint64_t run_ns, uint64_t cpu_us, uint64_t written)
{
    double mb = 1000000;
    double settled = (double)bytes_below(bench->dir);
    double seconds = (double)run_ns / 1e9;
    printf("%-10s %-18s %9.2f %9.2f %9.0f %9.0f %9.0f %9.0f %8.2f\n",
           workload_names[bench->workload], bench->system,
           (double)written / (double)bench->user_bytes, settled / (double)live_bytes(bench),
           (double)live_bytes(bench) / mb, settled / mb, (double)bench->peak_bytes / mb,
           (double)bench->ops / seconds, (double)cpu_us / (double)bench->ops);
    FILE *json = bench->json == NULL ? NULL : fopen(bench->json, "a");
    if (json != NULL) {
        fprintf(
            json,
            "{\"bench\":\"compaction\",\"workload\":\"%s\",\"system\":\"%s\",\"value_bytes\":%zu,"
            "\"threads\":1,\"entries\":%llu,\"ops_per_s\":%.0f,\"cpu_us_per_op\":%.3f,"
            "\"write_amplification\":%.3f,\"space_amplification\":%.3f,\"live_bytes\":%llu,"
            "\"settled_bytes\":%.0f,\"peak_bytes\":%llu}\n",
            workload_names[bench->workload], bench->system, bench->value_bytes,
            (unsigned long long)bench->entries, (double)bench->ops / seconds,
            (double)cpu_us / (double)bench->ops, (double)written / (double)bench->user_bytes,
            settled / (double)live_bytes(bench), (unsigned long long)live_bytes(bench), settled,
            (unsigned long long)bench->peak_bytes);
        fclose(json);
    }
}

/* ---- Arguments ---------------------------------------------------------------------------- */

static bool parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},
        {"json", required_argument, NULL, 'j'},
        {"entries", required_argument, NULL, 'e'},
        {"value-bytes", required_argument, NULL, 'b'},
        {"memtable-mib", required_argument, NULL, 'm'},
        {"plugins", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    int option = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'd':
            bench->dir = optarg;
            break;
        case 'j':
            bench->json = optarg;
            break;
        case 'e':
            bench->entries = strtoull(optarg, NULL, 10);
            break;
        case 'b':
            bench->value_bytes = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            bench->memtable_bytes = strtoull(optarg, NULL, 10) << 20;
            break;
        case 'p':
            bench->plugins = optarg;
            break;
        default:
            return false;
        }
    }
    if (optind + 2 != argc) {
        return false;
    }
    bench->system = argv[optind];
    while (bench->workload < N_WORKLOADS &&
           strcmp(workload_names[bench->workload], argv[optind + 1]) != 0) {
        bench->workload++;
    }
    return bench->dir != NULL && bench->workload < N_WORKLOADS && bench->entries >= GROUP &&
           bench->value_bytes >= 8 && bench->value_bytes <= 32768 && bench->memtable_bytes != 0;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.entries = 1000000,
                                 .value_bytes = 100,
                                 .memtable_bytes = 16u << 20,
                                 .plugins = "",
                                 .time_ms = START_MS};
    struct rf_rng       rng = {.state = 9};
    if (!parse(&bench, argc, argv)) {
        fputs(
            "usage: bench_compaction ringfort-stl|ringfort-leveled|rocksdb-universal|rocksdb-level\n"
            "       fill|overwrite|delete|ttl|zipf --dir DIR [--entries N] [--value-bytes N]\n"
            "       [--memtable-mib N] [--plugins DIR] [--json FILE]\n",
            stderr);
        return 64;
    }
    bench.alive = RF_NEW_ARRAY(uint8_t, bench.entries);
    rf_assert(bench.alive != NULL);
    /* Half random, half zeros: LZ4 halves it. */
    for (size_t i = 0; i < sizeof(bench.pool); i++) {
        bench.pool[i] = i / 25 % 2 == 0 ? (uint8_t)rf_rng_next(&rng) : 0;
    }
    bool          rocks = strncmp(bench.system, "rocksdb", 7) == 0;
    struct target target = rocks ? open_rocks(&bench) : open_ringfort(&bench);
    uint64_t      written = own_written_bytes();
    uint64_t      cpu_us = own_cpu_us();
    uint64_t      start_ns = uv_hrtime();
    run_workload(&bench, &target);
    uint64_t run_ns = uv_hrtime() - start_ns;
    sample_disk(&bench);
    target.settle(target.self);
    report(&bench, run_ns, own_cpu_us() - cpu_us, own_written_bytes() - written);
    fflush(stdout);
    _exit(0); /* neither system's shutdown is part of it */
}
