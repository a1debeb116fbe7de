/* The storage engine alone, without network, beside RocksDB, LevelDB and LMDB: same keys, same values,
 * same machine, one after the other. Each scenario of a system runs in a process of its own.
 *
 * fill     N rows in random order, log not synced: rate; with everything that follows until nothing is
 *          left to do: CPU per put, anonymous memory, disk
 * read     opened anew, files in the page cache: hit, miss; then half puts, half gets, zipf 0.99
 * amp      N rows and two more versions of each: bytes written per byte put
 * sync     every write on disk before its writer goes on, 1 and 16 writers
 * reopen   a process is killed with 14 % of N rows in its log only; opening it anew
 *
 * Rows of JSON, one per measurement: rates with latencies, or a value with its unit. */
#include <dirent.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "engine.h"

#define FULL_ENTRIES                                                                               \
    3000000u /* with 64 MiB of memtable and 256 MiB of block cache; less: in proportion */
#define ZIPF_THETA 0.99
#define SAMPLE_MS 20u

struct bench {
    const struct bench_system *system;
    struct bench_settings      settings;
    const char                *json;
    uint64_t                   entries, reads, syncs;
    size_t                     value_bytes;
    uint8_t                    pool[65536];
    /* The measurement under way. */
    const char         *workload;
    uint64_t            ops, start_ns, last_ns, start_cpu_us, threads;
    struct rf_histogram latency_ns;
    /* The sampler's. */
    _Atomic bool     stop;
    _Atomic uint64_t peak_disk, peak_anon;
};

static struct bench bench;

void bench_check(bool bad, const char *system, const char *why)
{
    if (bad) {
        fprintf(stderr, "bench_engine: %s: %s\n", system, why);
        _exit(1);
    }
}

/* ---- Measuring ---------------------------------------------------------------------------- */

static uint64_t own_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* A number after a name in a file of /proc/self. */
static uint64_t proc_number(const char *path, const char *name)
{
    char     line[256];
    uint64_t value = 0;
    FILE    *file = fopen(path, "re");
    rf_assert(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            value = strtoull(line + strlen(name), NULL, 10);
        }
    }
    fclose(file);
    return value;
}

/* Bytes that the directory's files take up, of all levels. */
static uint64_t disk_bytes(const char *path)
{
    struct stat    status;
    uint64_t       sum = 0;
    DIR           *dir = opendir(path);
    struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char child[8192];
        snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(child, &status) != 0) {
            continue;
        }
        sum += S_ISDIR(status.st_mode) ? disk_bytes(child) : (uint64_t)status.st_blocks * 512;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return sum;
}

static void raise_to(_Atomic uint64_t *peak, uint64_t value)
{
    if (value > atomic_load(peak)) {
        atomic_store(peak, value);
    }
}

static void sample_main(void *argument)
{
    (void)argument;
    while (!atomic_load(&bench.stop)) {
        raise_to(&bench.peak_anon, proc_number("/proc/self/status", "RssAnon:") * 1024);
        raise_to(&bench.peak_disk, disk_bytes(bench.settings.dir));
        usleep(SAMPLE_MS * 1000);
    }
}

static void put_json(const char *figures)
{
    FILE *file = fopen(bench.json, "ae");
    rf_assert(file != NULL);
    fprintf(file,
            "{\"bench\":\"engine\",\"workload\":\"%s\",\"value_bytes\":%zu,\"threads\":%llu,"
            "\"system\":\"%s\",\"entries\":%llu,%s}\n",
            bench.workload, bench.value_bytes, (unsigned long long)bench.threads,
            bench.system->name, (unsigned long long)bench.entries, figures);
    rf_assert(fclose(file) == 0);
}

static void start(const char *workload)
{
    bench.workload = workload;
    bench.threads = 1;
    bench.ops = 0;
    memset(&bench.latency_ns, 0, sizeof(bench.latency_ns));
    bench.start_cpu_us = own_cpu_us();
    bench.start_ns = bench.last_ns = uv_hrtime();
}

/* One operation has ended and the next begins: one look at the clock for both. */
static void count(void)
{
    uint64_t now_ns = uv_hrtime();
    rf_histogram_record(&bench.latency_ns, now_ns - bench.last_ns);
    bench.last_ns = now_ns;
    bench.ops++;
}

static double at_us(uint32_t share)
{
    return (double)rf_histogram_value_at(&bench.latency_ns, share) / 1000.0;
}

static void finish(void)
{
    double seconds = (double)(uv_hrtime() - bench.start_ns) / 1e9;
    double cpu = (double)(own_cpu_us() - bench.start_cpu_us) / (double)bench.ops;
    char   figures[256];
    snprintf(figures, sizeof(figures),
             "\"ops_per_s\":%.0f,\"cpu_us_per_op\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f",
             (double)bench.ops / seconds, cpu, at_us(50000), at_us(99000));
    put_json(figures);
    fprintf(stderr, "%-18s %-12s %9.0f/s %7.2f us CPU\n", bench.system->name, bench.workload,
            (double)bench.ops / seconds, cpu);
}

static void put_value(const char *workload, double value, const char *unit)
{
    char figures[128];
    bench.workload = workload;
    bench.threads = 1;
    snprintf(figures, sizeof(figures), "\"value\":%.3f,\"unit\":\"%s\"", value, unit);
    put_json(figures);
    fprintf(stderr, "%-18s %-12s %11.2f %s\n", bench.system->name, workload, value, unit);
}

/* ---- Keys and values ---------------------------------------------------------------------- */

/* 16 hexadecimal digits that have nothing to do with the number's order: SplitMix64's permutation. */
static void key_of(uint64_t number, char *key)
{
    static const char digits[] = "0123456789abcdef";
    struct rf_rng     rng = {.state = number};
    uint64_t          mixed = rf_rng_next(&rng);
    for (unsigned i = 0; i < BENCH_KEY; i++) {
        key[i] = digits[mixed >> (60 - 4 * i) & 15];
    }
}

static struct rf_slice value_of(uint64_t number)
{
    uint64_t at = number * 0x9e3779b97f4a7c15u % (sizeof(bench.pool) - bench.value_bytes);
    return rf_slice(bench.pool + at, bench.value_bytes);
}

/* Half random, half zeros: LZ4 halves it. */
static void fill_pool(void)
{
    struct rf_rng rng = {.state = 9};
    for (size_t i = 0; i < sizeof(bench.pool); i++) {
        bench.pool[i] = i / 25 % 2 == 0 ? (uint8_t)rf_rng_next(&rng) : 0;
    }
}

/* Ranks of a zipfian distribution (Gray et al. 1994), drawn before the clock starts. */
static uint32_t *zipf_ranks(uint64_t n)
{
    uint32_t     *ranks = RF_NEW_ARRAY(uint32_t, n);
    struct rf_rng rng = {.state = 4};
    double        items = (double)bench.entries;
    double        zeta = 0;
    double        two = 1.0 + pow(0.5, ZIPF_THETA);
    rf_assert(ranks != NULL);
    for (uint64_t i = 1; i <= bench.entries; i++) {
        zeta += 1.0 / pow((double)i, ZIPF_THETA);
    }
    double alpha = 1.0 / (1.0 - ZIPF_THETA);
    double eta = (1.0 - pow(2.0 / items, 1.0 - ZIPF_THETA)) / (1.0 - two / zeta);
    for (uint64_t i = 0; i < n; i++) {
        double u = (double)(rf_rng_next(&rng) >> 11) / 9007199254740992.0;
        double rank = u * zeta < 1.0   ? 0
                      : u * zeta < two ? 1
                                       : items * pow(eta * u - eta + 1.0, alpha);
        ranks[i] = rank >= items ? (uint32_t)bench.entries - 1 : (uint32_t)rank;
    }
    return ranks;
}

/* ---- Workloads ---------------------------------------------------------------------------- */

static void *open_system(void)
{
    return bench.system->open(&bench.settings);
}

static void drain(void *self)
{
    if (bench.system->drain != NULL) {
        bench.system->drain(self);
    }
}

/* Puts `n` rows, the first `entries` numbers again and again. */
static void put_rows(void *self, uint64_t n)
{
    char key[BENCH_KEY];
    for (uint64_t i = 0; i < n; i++) {
        key_of(i % bench.entries, key);
        bench.system->put(self, key, value_of(i));
        count();
    }
    drain(self);
}

static void do_fill(void)
{
    uv_thread_t sampler;
    uint64_t    anon = proc_number("/proc/self/status", "RssAnon:") * 1024;
    void       *self = open_system();
    uv_thread_create(&sampler, sample_main, NULL);
    start("fill");
    put_rows(self, bench.entries);
    finish();
    bench.system->settle(self);
    double cpu = (double)(own_cpu_us() - bench.start_cpu_us) / (double)bench.entries;
    atomic_store(&bench.stop, true);
    uv_thread_join(&sampler);
    put_value("put-cpu", cpu, "us");
    put_value("memory-peak", (double)(bench.peak_anon - anon) / 1e6, "MB");
    put_value("disk-peak", (double)bench.peak_disk / 1e6, "MB");
    put_value("disk-settled", (double)disk_bytes(bench.settings.dir) / 1e6, "MB");
    bench.system->close(self);
}

static void read_rows(void *self, uint64_t n, bool hit, uint64_t seed)
{
    char          key[BENCH_KEY];
    struct rf_rng rng = {.state = seed};
    for (uint64_t i = 0; i < n; i++) {
        key_of(rf_rng_below(&rng, bench.entries) + (hit ? 0 : bench.entries), key);
        bool found = bench.system->get(self, key, bench.value_bytes);
        rf_assert(found == hit);
        count();
    }
}

static void do_read(void)
{
    void     *self = open_system();
    uint32_t *ranks = zipf_ranks(bench.reads);
    char      key[BENCH_KEY];
    read_rows(self, bench.reads / 2, true, 2);
    start("read-hit");
    read_rows(self, bench.reads, true, 3);
    finish();
    start("read-miss");
    read_rows(self, bench.reads, false, 3);
    finish();
    start("mixed-zipf");
    for (uint64_t i = 0; i < bench.reads; i++) {
        key_of(ranks[i], key);
        if (i % 2 == 0) {
            bench.system->put(self, key, value_of(i));
        } else {
            rf_assert(bench.system->get(self, key, bench.value_bytes));
        }
        count();
    }
    drain(self);
    finish();
    bench.system->close(self);
    rf_mem_free(ranks);
}

static void do_amp(void)
{
    uint64_t before = proc_number("/proc/self/io", "wchar:");
    void    *self = open_system();
    start("fill-and-overwrite-twice");
    put_rows(self, bench.entries * 3);
    bench.system->settle(self);
    uint64_t written = proc_number("/proc/self/io", "wchar:") - before;
    uint64_t put = bench.entries * 3 * (BENCH_KEY + bench.value_bytes);
    put_value("write-amplification", (double)written / (double)put, "x");
    bench.system->close(self);
}

struct writer {
    void               *self;
    uint64_t            first, n;
    struct rf_histogram latency_ns;
};

static void writer_main(void *argument)
{
    struct writer *writer = argument;
    char           key[BENCH_KEY];
    for (uint64_t i = 0; i < writer->n; i++) {
        uint64_t from_ns = uv_hrtime();
        key_of(writer->first + i, key);
        bench.system->put(writer->self, key, value_of(i));
        rf_histogram_record(&writer->latency_ns, uv_hrtime() - from_ns);
    }
}

static void put_threads(void *self, uint64_t n)
{
    uv_thread_t    threads[BENCH_WRITERS];
    struct writer *writers = RF_NEW_ARRAY(struct writer, BENCH_WRITERS);
    rf_assert(writers != NULL);
    for (uint32_t w = 0; w < BENCH_WRITERS; w++) {
        writers[w] = (struct writer){.self = self, .n = n / BENCH_WRITERS, .first = w * n};
        uv_thread_create(&threads[w], writer_main, &writers[w]);
    }
    for (uint32_t w = 0; w < BENCH_WRITERS; w++) {
        uv_thread_join(&threads[w]);
        rf_histogram_merge(&bench.latency_ns, &writers[w].latency_ns);
        bench.ops += writers[w].n;
    }
    rf_mem_free(writers);
}

static void do_sync(void)
{
    char key[BENCH_KEY];
    bench.settings.synced = true;
    void *self = open_system();
    start("put-sync-1");
    for (uint64_t i = 0; i < bench.syncs; i++) {
        key_of(i, key);
        (bench.system->put_synced != NULL ? bench.system->put_synced
                                          : bench.system->put)(self, key, value_of(i));
        count();
    }
    finish();
    start("put-sync-16");
    bench.threads = BENCH_WRITERS;
    if (bench.system->put_many != NULL) {
        bench.system->put_many(self, bench.syncs * 4, key_of, value_of(1), &bench.latency_ns);
        bench.ops = bench.syncs * 4;
    } else {
        put_threads(self, bench.syncs * 4);
    }
    finish();
    bench.system->close(self);
}

static uint64_t log_rows(void)
{
    return bench.entries * 14 / 100; /* 420,000 of 3,000,000 */
}

static void do_log(void)
{
    bench.settings.memtable *= 4;
    put_rows(open_system(), log_rows());
    kill(getpid(), SIGKILL);
}

static void do_reopen(void)
{
    char key[BENCH_KEY];
    bench.settings.memtable *= 4;
    uint64_t from_ns = uv_hrtime();
    void    *self = open_system();
    put_value("reopen", (double)(uv_hrtime() - from_ns) / 1e9, "s");
    for (uint64_t i = 0; i < log_rows(); i += 97) {
        key_of(i, key);
        rf_assert(bench.system->get(self, key, bench.value_bytes));
    }
    bench.system->close(self);
}

/* ---- The tool ----------------------------------------------------------------------------- */

/* Runs one scenario in a process of its own. */
static void run(void (*scenario)(void), bool killed)
{
    int   status = 0;
    pid_t child = fork();
    if (child == 0) {
        scenario();
        exit(0);
    }
    rf_assert(child > 0 && waitpid(child, &status, 0) == child);
    bool as_meant = killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                           : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bench_check(!as_meant, bench.system->name, "a scenario has failed");
}

static void empty_dir(void)
{
    char command[8192];
    snprintf(command, sizeof(command), "rm -rf '%s'", bench.settings.dir);
    bench_check(system(command) != 0, "rm", "has failed");
}

static bool is_wanted(const char *list, const char *name)
{
    size_t      size = strlen(name);
    const char *at = list;
    while (at != NULL && *at != 0) {
        at += *at == ',';
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == 0)) {
            return true;
        }
        at = strchr(at, ',');
    }
    return list == NULL;
}

static void run_system(const struct bench_system *system, const char *scenarios)
{
    bench.system = system;
    bench.settings.clustered = system->clustered;
    empty_dir();
    if (is_wanted(scenarios, "fill") || is_wanted(scenarios, "read")) {
        run(do_fill, false);
    }
    if (is_wanted(scenarios, "read")) {
        run(do_read, false);
    }
    empty_dir();
    if (is_wanted(scenarios, "amp")) {
        run(do_amp, false);
        empty_dir();
    }
    if (is_wanted(scenarios, "sync")) {
        run(do_sync, false);
        empty_dir();
    }
    if (is_wanted(scenarios, "reopen")) {
        run(do_log, true);
        run(do_reopen, false);
        empty_dir();
    }
}

static const struct option options[] = {
    {"dir", required_argument, NULL, 'd'},     {"json", required_argument, NULL, 'j'},
    {"entries", required_argument, NULL, 'e'}, {"value-bytes", required_argument, NULL, 'b'},
    {"syncs", required_argument, NULL, 's'},   {"reads", required_argument, NULL, 'r'},
    {"only", required_argument, NULL, 'o'},    {"scenarios", required_argument, NULL, 'c'},
    {"plugins", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0},
};

static int usage(void)
{
    fputs(
        "usage: bench_engine --dir DIR --json FILE --plugins DIR [--entries N] [--reads N]\n"
        "       [--syncs N] [--value-bytes N] [--only ringfort,ringfort-clustered,rocksdb,leveldb,"
        "lmdb]\n       [--scenarios fill,read,amp,sync,reopen]\n",
        stderr);
    return 64;
}

int main(int argc, char **argv)
{
    static const struct bench_system *const systems[] = {
        &bench_ringfort, &bench_ringfort_clustered, &bench_rocksdb, &bench_leveldb, &bench_lmdb};
    const char *only = NULL;
    const char *scenarios = NULL;
    int         option = 0;
    bench.entries = FULL_ENTRIES / 6;
    bench.syncs = 2000;
    bench.value_bytes = 100;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);
        switch (option) {
        case 'd':
            bench.settings.dir = optarg;
            break;
        case 'p':
            bench.settings.plugins = optarg;
            break;
        case 'j':
            bench.json = optarg;
            break;
        case 'e':
            bench.entries = number;
            break;
        case 'b':
            bench.value_bytes = number;
            break;
        case 's':
            bench.syncs = number;
            break;
        case 'r':
            bench.reads = number;
            break;
        case 'o':
            only = optarg;
            break;
        case 'c':
            scenarios = optarg;
            break;
        default:
            return usage();
        }
    }
    if (bench.settings.dir == NULL || bench.json == NULL || bench.settings.plugins == NULL ||
        bench.entries < 10000 || bench.entries > UINT32_MAX || bench.syncs < BENCH_WRITERS ||
        bench.value_bytes == 0 || bench.value_bytes > 32768) {
        return usage();
    }
    uint64_t user_bytes = bench.entries * (BENCH_KEY + bench.value_bytes);
    bench.reads = bench.reads == 0 ? bench.entries : bench.reads;
    bench.settings.memtable = (64u << 20) * bench.entries / FULL_ENTRIES;
    bench.settings.block_cache = (256u << 20) * bench.entries / FULL_ENTRIES;
    bench.settings.map_size = (user_bytes * 8 + (256u << 20)) & ~UINT64_C(4095);
    fill_pool();
    for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
        if (is_wanted(only, systems[i]->name)) {
            run_system(systems[i], scenarios);
        }
    }
    return 0;
}
