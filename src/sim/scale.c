/* Gossip and the ring at scale: the figures of a 1,200-node cluster. */
#include <stdio.h>
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sim/sim_private.h"

#define WARM_UP_US 20000000u
#define SPLIT_US 25000000u /* detection and three batches of deaths at 128 effects per step */
#define SAMPLE_US 100000u
#define LIMIT_US 120000000u /* longer than any of these may take */
/* What a message costs on the wire besides its frame: TLS 1.3 record 22, TCP and IP headers 52. */
#define WIRE_BYTES 74u

/* ---- Gossip ------------------------------------------------------------------------------- */

static void make_state(struct rf_sim *sim, struct rf_buf *buf)
{
    struct rf_member *members = RF_NEW_ARRAY(struct rf_member, sim->n_nodes);
    rf_assert(members != NULL);
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        members[i] = (struct rf_member){.node = sim->nodes[i].id,
                                        .generation = 1,
                                        .version = 1,
                                        .state = RF_MEMBER_NORMAL,
                                        .vnodes = rf_sim_vnodes(sim)};
        snprintf(members[i].name, sizeof(members[i].name), "n%04u", i);
        snprintf(members[i].rack, sizeof(members[i].rack), "r%u", i % 3);
        snprintf(members[i].peer_addr, sizeof(members[i].peer_addr), "sim:%u", i);
        snprintf(members[i].client_addr, sizeof(members[i].client_addr), "sim:%u", i);
    }
    rf_cluster_state_encode(buf, &(struct rf_cluster_state){4711, sim->n_nodes, members});
    rf_assert(!buf->failed);
    rf_mem_free(members);
}

/* Does every live node say so about `about`? Index and name order are the same. */
static bool all_say(const struct rf_sim *sim, uint32_t                                    about,
                    bool (*says)(const struct rf_control *, uint32_t, uint64_t), uint64_t argument)
{
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        if (i != about && sim->nodes[i].up && !says(sim->nodes[i].control, about, argument)) {
            return false;
        }
    }
    return true;
}

static bool says_generation(const struct rf_control *control, uint32_t about, uint64_t generation)
{
    return rf_control_member(control, about)->generation == generation;
}

static bool says_alive(const struct rf_control *control, uint32_t about, uint64_t alive)
{
    return rf_control_alive(control, about) == (alive != 0);
}

/* Time until all say so. */
static uint64_t wait_until(struct rf_sim *sim, uint32_t about,
                           bool (*says)(const struct rf_control *, uint32_t, uint64_t),
                           uint64_t argument, const char *what)
{
    uint64_t start_us = sim->now_us;
    while (!all_say(sim, about, says, argument)) {
        if (sim->now_us - start_us > LIMIT_US) {
            rf_sim_violation(sim, "%s: not known by all after %u s", what, LIMIT_US / 1000000);
            break;
        }
        rf_sim_until(sim, sim->now_us + SAMPLE_US);
    }
    return sim->now_us - start_us;
}

static uint64_t longest_silence(const struct rf_sim *sim)
{
    uint64_t longest = 0;
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        for (uint32_t m = 0; m < sim->n_nodes && sim->nodes[i].up; m++) {
            uint64_t silence = rf_control_silence_us(sim->nodes[i].control, m);
            longest = silence > longest && sim->nodes[m].up ? silence : longest;
        }
    }
    return longest;
}

static void measure_traffic(struct rf_sim *sim, uint32_t seconds,
                            struct rf_sim_gossip_result *result)
{
    uint64_t messages = sim->result.messages;
    uint64_t total = 0;
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        sim->nodes[i].sent_bytes = 0;
    }
    for (uint32_t s = 0; s < seconds; s++) {
        rf_sim_until(sim, sim->now_us + 1000000);
        if (s % 10 == 0) {
            uint64_t lag = longest_silence(sim);
            result->max_lag_us = lag > result->max_lag_us ? lag : result->max_lag_us;
        }
    }
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        uint64_t bytes = sim->nodes[i].sent_bytes / seconds;
        total += sim->nodes[i].sent_bytes;
        result->max_bytes_per_node_s =
            bytes > result->max_bytes_per_node_s ? bytes : result->max_bytes_per_node_s;
    }
    total += (sim->result.messages - messages) * WIRE_BYTES;
    result->sent_bytes_per_node_s = total / seconds / sim->n_nodes;
}

static bool all_alive(const struct rf_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        if (!all_say(sim, i, says_alive, 1)) {
            return false;
        }
    }
    return true;
}

/* Cuts the cluster in half for so long that each half gives up much of the other one, and heals:
 * now single messages bring back hundreds of members. Returns how long that took. */
static uint64_t split_and_heal(struct rf_sim *sim)
{
    uint32_t n = sim->n_nodes;
    uint64_t deaths = sim->deaths;
    sim->blocked = RF_NEW_ARRAY(uint8_t, (size_t)n * n);
    rf_assert(sim->blocked != NULL);
    for (uint32_t i = 0; i < n * n; i++) {
        sim->blocked[i] = (i / n < n / 2) != (i % n < n / 2);
    }
    rf_sim_until(sim, sim->now_us + SPLIT_US);
    if (sim->deaths - deaths < n) {
        rf_sim_violation(sim, "split: only %u deaths", (unsigned)(sim->deaths - deaths));
    }
    memset(sim->blocked, 0, (size_t)n * n);
    uint64_t healed_us = sim->now_us;
    while (!all_alive(sim) && !sim->result.violated) {
        if (sim->now_us - healed_us > LIMIT_US) {
            rf_sim_violation(sim, "split: not healed after %u s", LIMIT_US / 1000000);
        }
        rf_sim_until(sim, sim->now_us + SAMPLE_US);
    }
    return sim->now_us - healed_us;
}

/* Half of the cluster dies at once. Returns how long it took until every other node knew all of them
 * to be dead. */
static uint64_t kill_half(struct rf_sim *sim)
{
    uint64_t died_us = sim->now_us;
    bool     known = false;
    for (uint32_t i = 0; i < sim->n_nodes; i += 2) {
        rf_sim_node_crash(sim, &sim->nodes[i]);
    }
    while (!known && !sim->result.violated) {
        rf_sim_until(sim, sim->now_us + SAMPLE_US);
        known = true;
        for (uint32_t i = 0; known && i < sim->n_nodes; i += 2) {
            known = all_say(sim, i, says_alive, 0);
        }
        if (sim->now_us - died_us > LIMIT_US) {
            rf_sim_violation(sim, "half died: not known after %u s", LIMIT_US / 1000000);
        }
    }
    return sim->now_us - died_us;
}

static void run_gossip(struct rf_sim *sim, uint32_t seconds, struct rf_sim_gossip_result *result)
{
    uint32_t one = sim->n_nodes / 3;
    uint32_t other = sim->n_nodes / 2;
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        rf_sim_node_start(sim, &sim->nodes[i]);
    }
    rf_sim_until(sim, WARM_UP_US);
    measure_traffic(sim, seconds, result);
    /* A restart raises the generation: a changed entry that everybody must get. */
    rf_sim_node_crash(sim, &sim->nodes[one]);
    rf_sim_node_start(sim, &sim->nodes[one]);
    result->spread_us = wait_until(sim, one, says_generation, sim->nodes[one].generation, "change");
    rf_sim_node_crash(sim, &sim->nodes[other]);
    result->detect_us = wait_until(sim, other, says_alive, 0, "death");
    rf_sim_node_start(sim, &sim->nodes[other]);
    result->recover_us = wait_until(sim, other, says_alive, 1, "return");
    result->false_deaths = sim->deaths;
    result->heal_us = split_and_heal(sim);
    result->half_us = kill_half(sim);
    result->control_bytes = rf_control_memory(sim->nodes[1].control);
    result->events = sim->result.events;
    result->simulated_us = sim->now_us;
    result->digest = sim->trace;
    for (uint32_t i = 1; i < sim->n_nodes; i += 2) {
        uint64_t digest = rf_control_digest(sim->nodes[i].control);
        result->digest = rf_hash64(rf_slice(&digest, sizeof(digest)), result->digest);
    }
}

struct rf_sim_gossip_result rf_sim_gossip(const struct rf_sim_gossip_options *options)
{
    struct rf_sim              *sim = RF_NEW(struct rf_sim);
    struct rf_sim_gossip_result result = {0};
    struct rf_buf               state = {0};
    rf_assert(sim != NULL);
    sim->options = (struct rf_sim_options){.seed = options->seed,
                                           .n_nodes = options->n_nodes,
                                           .n_shards = 1,
                                           .plugin_dir = options->plugin_dir};
    sim->gossip_only = true;
    sim->loss_ppm = options->loss_ppm;
    if (rf_sim_init(sim)) {
        make_state(sim, &state);
        sim->state = rf_buf_slice(&state);
        run_gossip(sim, options->seconds, &result);
    }
    result.violated = sim->result.violated;
    memcpy(result.why, sim->result.why, sizeof(result.why));
    rf_sim_fini(sim);
    rf_buf_fini(&state);
    rf_mem_free(sim);
    return result;
}

/* ---- Ring --------------------------------------------------------------------------------- */

static double now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double balance(const struct rf_ring *ring, const uint16_t *replicas, uint32_t n)
{
    double *share = RF_NEW_ARRAY(double, ring->n_members);
    double  highest = 0;
    rf_assert(share != NULL);
    for (uint32_t p = 0; p < ring->n_tokens; p++) {
        uint64_t before = ring->tokens[p == 0 ? ring->n_tokens - 1 : p - 1];
        double   range = (double)(ring->tokens[p] - before) / 18446744073709551616.0;
        for (uint32_t r = 0; r < n; r++) {
            share[replicas[(size_t)p * n + r]] += range;
        }
    }
    for (uint32_t m = 0; m < ring->n_members; m++) {
        highest = share[m] > highest ? share[m] : highest;
    }
    rf_mem_free(share);
    return highest * ring->n_owners / n;
}

static double time_lookups(const struct rf_ring *ring, uint64_t seed)
{
    enum { LOOKUPS = 2000000 };
    struct rf_rng rng = {seed};
    uint64_t      sum = 0;
    double        start = now_ns();
    for (uint32_t i = 0; i < LOOKUPS; i++) {
        sum += ring->owners[rf_ring_find(ring, rf_rng_next(&rng))];
    }
    double took = now_ns() - start;
    return sum == 0 ? 0 : took / LOOKUPS;
}

struct rf_sim_ring_result rf_sim_ring(uint32_t n_nodes, uint64_t seed, const char *plugin_dir)
{
    struct rf_sim sim = {
        .options = {.seed = seed, .n_nodes = n_nodes, .n_shards = 1, .plugin_dir = plugin_dir},
        .gossip_only = true};
    struct rf_sim_ring_result result = {.n_nodes = n_nodes};
    struct rf_member         *members = RF_NEW_ARRAY(struct rf_member, n_nodes);
    struct rf_ring           *ring = NULL;
    rf_assert(members != NULL);
    rf_assert(rf_sim_init(&sim));
    for (uint32_t i = 0; i < n_nodes; i++) {
        members[i] = (struct rf_member){.node = sim.nodes[i].id,
                                        .generation = 1,
                                        .version = 1,
                                        .state = RF_MEMBER_NORMAL,
                                        .vnodes = 256};
        snprintf(members[i].name, sizeof(members[i].name), "n%04u", i);
    }
    double start = now_ns();
    rf_assert(rf_ok(rf_ring_build(members, n_nodes, seed, &ring)));
    result.build_ms = (now_ns() - start) / 1e6;
    uint16_t *replicas = RF_NEW_ARRAY(uint16_t, (size_t)ring->n_tokens * 3);
    rf_assert(replicas != NULL);
    start = now_ns();
    rf_assert(
        rf_ok(rf_ring_place(ring, rf_registry_host(), sim.table.placement, NULL, 3, replicas)));
    result.place_ms = (now_ns() - start) / 1e6;
    result.n_tokens = ring->n_tokens;
    result.lookup_ns = time_lookups(ring, seed);
    result.balance_primary = balance(ring, ring->owners, 1);
    result.balance_replicas = balance(ring, replicas, 3);
    rf_mem_free(replicas);
    rf_mem_free(members);
    rf_ring_drop(ring);
    rf_sim_fini(&sim);
    return result;
}
