/* ringfort-sim: runs seeds of the simulator. Progress on stderr, results on stdout; exit code 1 and
 * the seed when a promise is broken. */
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "sim/sim.h"

static const char usage[] =
    "usage: ringfort-sim [--seed K] [--seeds N] [--nodes N] [--shards S] [--seconds T]\n"
    "                    [--scenario chaos|calm|hints] [--gossip-only] [--loss PPM]\n"
    "                    [--json FILE] [--plugins DIR] [--engine] [--twice]\n"
    "  --seeds N   run N seeds from --seed on; nodes and shards vary by seed unless given\n"
    "  --engine    the real storage engine on a simulated disk, with power cuts\n"
    "  --twice     run every seed twice and compare the digests\n";

struct arguments {
    uint64_t             seed, seeds;
    uint32_t             nodes, shards, seconds, loss_ppm;
    enum rf_sim_scenario scenario;
    bool                 scenario_given, gossip_only, twice, engine;
    const char          *json;
    char                 plugins[4096];
};

/* An assertion of the core ends the process: say which seed it was. */
static char running[160];

static void on_abort(int number)
{
    (void)number;
    (void)!write(STDERR_FILENO, running, strlen(running));
}

static void note_running(const struct rf_sim_options *options)
{
    static const char *const names[] = {"chaos", "calm", "hints"};
    snprintf(running, sizeof(running),
             "\nfailed: --seed %" PRIu64 " --nodes %u --shards %u --seconds %u --scenario %s%s\n",
             options->seed, options->n_nodes, options->n_shards, options->seconds,
             names[options->scenario], options->engine ? " --engine" : "");
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_value)
{
    char              *end = NULL;
    unsigned long long value = strtoull(text, &end, 0);
    if (text[0] == 0 || text[0] == '-' || *end != 0 || value > max) {
        fprintf(stderr, "ringfort-sim: '%s' is not a number from 0 to %" PRIu64 "\n", text, max);
        return false;
    }
    *ret_value = value;
    return true;
}

static bool parse_scenario(struct arguments *arguments, const char *text)
{
    static const char *const names[] = {"chaos", "calm", "hints"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            arguments->scenario = (enum rf_sim_scenario)i;
            arguments->scenario_given = true;
            return true;
        }
    }
    fprintf(stderr, "ringfort-sim: no scenario '%s'\n", text);
    return false;
}

static bool take_value(struct arguments *arguments, const char *name, const char *value)
{
    uint64_t number = 0;
    if (strcmp(name, "--json") == 0) {
        arguments->json = value;
        return true;
    }
    if (strcmp(name, "--plugins") == 0) {
        snprintf(arguments->plugins, sizeof(arguments->plugins), "%s", value);
        return true;
    }
    if (strcmp(name, "--scenario") == 0) {
        return parse_scenario(arguments, value);
    }
    if (strcmp(name, "--seed") == 0) {
        return parse_number(value, UINT64_MAX, &arguments->seed);
    }
    if (strcmp(name, "--seeds") == 0) {
        return parse_number(value, 1000000000, &arguments->seeds);
    }
    bool ok = parse_number(value, 1000000, &number);
    if (strcmp(name, "--nodes") == 0) {
        arguments->nodes = (uint32_t)number;
        return ok && number <= 4096;
    }
    if (strcmp(name, "--shards") == 0) {
        arguments->shards = (uint32_t)number;
        return ok && number <= 8;
    }
    if (strcmp(name, "--seconds") == 0) {
        arguments->seconds = (uint32_t)number;
        return ok;
    }
    if (strcmp(name, "--loss") == 0) {
        arguments->loss_ppm = (uint32_t)number;
        return ok;
    }
    fprintf(stderr, "ringfort-sim: unknown option '%s'\n", name);
    return false;
}

static bool parse(struct arguments *arguments, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--gossip-only") == 0) {
            arguments->gossip_only = true;
        } else if (strcmp(argv[i], "--engine") == 0) {
            arguments->engine = true;
        } else if (strcmp(argv[i], "--twice") == 0) {
            arguments->twice = true;
        } else if (i + 1 == argc || !take_value(arguments, argv[i], argv[i + 1])) {
            fputs(usage, stderr);
            return false;
        } else {
            i++;
        }
    }
    return true;
}

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Sizes and scenario vary with the seed, unless given: 3 … 7 nodes, 1 or 3 shards. */
static struct rf_sim_options options_for(const struct arguments *arguments, uint64_t seed)
{
    static const enum rf_sim_scenario mix[8] = {RF_SIM_CHAOS, RF_SIM_CHAOS, RF_SIM_CHAOS,
                                                RF_SIM_CHAOS, RF_SIM_CHAOS, RF_SIM_CHAOS,
                                                RF_SIM_HINTS, RF_SIM_CALM};
    return (struct rf_sim_options){
        .seed = seed,
        .n_nodes = arguments->nodes != 0 ? arguments->nodes : 3 + (uint32_t)(seed / 2 % 5),
        .n_shards = arguments->shards != 0 ? arguments->shards
                    : seed % 2 == 0        ? 1
                                           : 3,
        .seconds = arguments->seconds != 0 ? arguments->seconds : 40,
        .scenario = arguments->scenario_given ? arguments->scenario : mix[seed / 10 % 8],
        .engine = arguments->engine,
        .plugin_dir = arguments->plugins,
    };
}

static void add_up(struct rf_sim_result *sum, const struct rf_sim_result *one)
{
    sum->events += one->events;
    sum->steps += one->steps;
    sum->messages += one->messages;
    sum->requests += one->requests;
    sum->acked += one->acked;
    sum->failed += one->failed;
    sum->unknown += one->unknown;
    sum->reads_checked += one->reads_checked;
    sum->crashes += one->crashes;
    sum->partitions += one->partitions;
    sum->restamps += one->restamps;
    sum->unsure += one->unsure;
    sum->reappeared += one->reappeared;
    sum->read_repairs += one->read_repairs;
    sum->hedges += one->hedges;
    sum->flushes += one->flushes;
    sum->cold_reads += one->cold_reads;
    sum->fetches += one->fetches;
    sum->hints_stored += one->hints_stored;
    sum->hints_replayed += one->hints_replayed;
    sum->hints_expired += one->hints_expired;
}

static bool run_seed(const struct arguments *arguments, uint64_t seed, struct rf_sim_result *sum)
{
    struct rf_sim_options options = options_for(arguments, seed);
    note_running(&options);
    struct rf_sim_result result = rf_sim_run(&options);
    add_up(sum, &result);
    sum->digest = result.digest;
    if (!result.violated && arguments->twice) {
        struct rf_sim_result again = rf_sim_run(&options);
        if (again.digest != result.digest) {
            result.violated = true;
            snprintf(result.why, sizeof(result.why), "two runs differ: %016" PRIx64 ", %016" PRIx64,
                     result.digest, again.digest);
        }
    }
    if (result.violated) {
        fprintf(stderr, "%s%s\n", running, result.why);
    }
    return !result.violated;
}

static void print_sum(const struct arguments *arguments, const struct rf_sim_result *sum,
                      uint64_t seeds, double seconds)
{
    printf("seeds=%" PRIu64 " first=%" PRIu64 " violations=0 requests=%" PRIu64 " acked=%" PRIu64
           " failed=%" PRIu64 " unknown=%" PRIu64 " strong_reads=%" PRIu64 " crashes=%" PRIu64
           " partitions=%" PRIu64 " flushes=%" PRIu64 " cold_reads=%" PRIu64 " hedges=%" PRIu64
           " fetches=%" PRIu64 " restamps=%" PRIu64 " unsure=%" PRIu64 " reappeared=%" PRIu64
           " read_repairs=%" PRIu64 " hints_stored=%" PRIu64 " hints_replayed=%" PRIu64
           " hints_expired=%" PRIu64 " events=%" PRIu64 " messages=%" PRIu64 " digest=%016" PRIx64
           " time=%.1fs\n",
           seeds, arguments->seed, sum->requests, sum->acked, sum->failed, sum->unknown,
           sum->reads_checked, sum->crashes, sum->partitions, sum->flushes, sum->cold_reads,
           sum->hedges, sum->fetches, sum->restamps, sum->unsure, sum->reappeared,
           sum->read_repairs, sum->hints_stored, sum->hints_replayed, sum->hints_expired,
           sum->events, sum->messages, sum->digest, seconds);
    FILE *file = arguments->json == NULL ? NULL : fopen(arguments->json, "w");
    if (file != NULL) {
        fprintf(file,
                "{\"bench\":\"sim\",\"workload\":\"seeds\",\"seeds\":%" PRIu64
                ",\"requests\":%" PRIu64 ",\"acked\":%" PRIu64 ",\"strong_reads\":%" PRIu64
                ",\"crashes\":%" PRIu64 ",\"events_per_s\":%.0f,\"violations\":0}\n",
                seeds, sum->requests, sum->acked, sum->reads_checked, sum->crashes,
                (double)sum->events / seconds);
        fclose(file);
    }
}

static int run_seeds(const struct arguments *arguments)
{
    struct rf_sim_result sum = {0};
    double               start = now_s();
    for (uint64_t i = 0; i < arguments->seeds; i++) {
        if (isatty(STDERR_FILENO) || i % 100 == 99) {
            fprintf(stderr, "%sseed %" PRIu64 " (%" PRIu64 " of %" PRIu64 ")%s",
                    isatty(STDERR_FILENO) ? "\r" : "", arguments->seed + i, i + 1, arguments->seeds,
                    isatty(STDERR_FILENO) ? "" : "\n");
        }
        if (!run_seed(arguments, arguments->seed + i, &sum)) {
            return 1;
        }
    }
    print_sum(arguments, &sum, arguments->seeds, now_s() - start);
    return 0;
}

/* ---- At scale ----------------------------------------------------------------------------- */

static void print_ring(const struct rf_sim_ring_result *ring, FILE *file)
{
    printf("ring nodes=%u tokens=%u build=%.1fms place=%.1fms lookup=%.0fns "
           "balance_primary=%.3f balance_replicas=%.3f\n",
           ring->n_nodes, ring->n_tokens, ring->build_ms, ring->place_ms, ring->lookup_ns,
           ring->balance_primary, ring->balance_replicas);
    if (file != NULL) {
        fprintf(file,
                "{\"bench\":\"sim\",\"workload\":\"ring\",\"nodes\":%u,\"tokens\":%u,"
                "\"build_ms\":%.2f,\"place_ms\":%.2f,\"lookup_ns\":%.1f,"
                "\"balance_primary\":%.3f,\"balance_replicas\":%.3f}\n",
                ring->n_nodes, ring->n_tokens, ring->build_ms, ring->place_ms, ring->lookup_ns,
                ring->balance_primary, ring->balance_replicas);
    }
}

static void print_gossip(const struct arguments            *arguments,
                         const struct rf_sim_gossip_result *result, double took, FILE *file)
{
    double factor = (double)result->simulated_us / 1e6 / took;
    printf("gossip nodes=%u seed=%" PRIu64 " loss_ppm=%u bytes_per_node_s=%" PRIu64
           " busiest=%" PRIu64
           " spread=%.1fs detect=%.1fs recover=%.1fs heal=%.1fs longest_silence=%.1fs "
           "false_deaths=%" PRIu64 " control_bytes=%" PRIu64 " simulated=%.0fs took=%.1fs "
           "real_time_factor=%.1f digest=%016" PRIx64 "\n",
           arguments->nodes, arguments->seed, arguments->loss_ppm, result->sent_bytes_per_node_s,
           result->max_bytes_per_node_s, (double)result->spread_us / 1e6,
           (double)result->detect_us / 1e6, (double)result->recover_us / 1e6,
           (double)result->heal_us / 1e6, (double)result->max_lag_us / 1e6, result->false_deaths,
           result->control_bytes, (double)result->simulated_us / 1e6, took, factor, result->digest);
    if (file != NULL) {
        fprintf(file,
                "{\"bench\":\"sim\",\"workload\":\"gossip\",\"nodes\":%u,\"loss_ppm\":%u,"
                "\"bytes_per_node_s\":%" PRIu64 ",\"spread_s\":%.1f,\"detect_s\":%.1f,"
                "\"false_deaths\":%" PRIu64 ",\"real_time_factor\":%.1f}\n",
                arguments->nodes, arguments->loss_ppm, result->sent_bytes_per_node_s,
                (double)result->spread_us / 1e6, (double)result->detect_us / 1e6,
                result->false_deaths, factor);
    }
}

/* The promises of a large cluster (S25, S27, S123, D22), those that do not depend on the machine. */
static bool gossip_ok(const struct rf_sim_gossip_result *result)
{
    bool ok = !result->violated && result->sent_bytes_per_node_s <= 16384 &&
              result->spread_us <= 21000000 && result->detect_us <= 20000000 &&
              result->false_deaths == 0;
    if (!ok) {
        fprintf(stderr, "gossip at scale misses its targets: %s\n", result->why);
    }
    return ok;
}

static bool ring_ok(const struct rf_sim_ring_result *ring)
{
    double most = ring->n_nodes <= 60 ? 1.15 : 1.30;
    if (ring->balance_replicas > most) {
        fprintf(stderr, "the ring's balance is above %.2f (S25)\n", most);
        return false;
    }
    return true;
}

static int run_scale(const struct arguments *arguments)
{
    FILE    *file = arguments->json == NULL ? NULL : fopen(arguments->json, "w");
    bool     ok = true;
    uint32_t sizes[2] = {60, arguments->nodes};
    for (int i = 0; i < 2; i++) {
        struct rf_sim_ring_result ring = rf_sim_ring(sizes[i], arguments->seed, arguments->plugins);
        print_ring(&ring, file);
        ok = ring_ok(&ring) && ok;
    }
    struct rf_sim_gossip_options options = {
        .seed = arguments->seed,
        .n_nodes = arguments->nodes,
        .seconds = arguments->seconds != 0 ? arguments->seconds : 60,
        .loss_ppm = arguments->loss_ppm,
        .plugin_dir = arguments->plugins,
    };
    snprintf(running, sizeof(running), "\nfailed: --gossip-only --seed %" PRIu64 " --nodes %u\n",
             options.seed, options.n_nodes);
    double                      start = now_s();
    struct rf_sim_gossip_result result = rf_sim_gossip(&options);
    print_gossip(arguments, &result, now_s() - start, file);
    if (file != NULL) {
        fclose(file);
    }
    return gossip_ok(&result) && ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.seed = 1, .seeds = 1, .loss_ppm = 10000};
    char             self[4096];
    ssize_t          n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n < 0 ? 0 : n] = 0;
    snprintf(arguments.plugins, sizeof(arguments.plugins), "%.3900s/../lib/ringfort/plugins",
             dirname(self));
    signal(SIGABRT, on_abort);
    if (!parse(&arguments, argc, argv)) {
        return 64;
    }
    if (arguments.gossip_only || arguments.nodes > 64) {
        arguments.nodes = arguments.nodes != 0 ? arguments.nodes : 1200;
        return run_scale(&arguments);
    }
    /* Jobs that a simulated crash stops are what is wanted. */
    rf_log_setup((enum rf_log_level)(RF_LOG_ERROR + 1), NULL);
    return run_seeds(&arguments);
}
