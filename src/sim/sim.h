/* The deterministic simulator: the second host of the core. A whole cluster in one thread, with
 * virtual time, a network that delays, loses, doubles and reorders, nodes that crash, and checkers.
 * Everything random comes from one seed: equal options give equal digests. */
#ifndef RF_SIM_SIM_H
#define RF_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

enum rf_sim_scenario {
    RF_SIM_CHAOS, /* everything at once */
    RF_SIM_CALM,  /* no fault: every request must succeed */
    RF_SIM_HINTS, /* one node at a time is down; hints alone must make it equal again */
};

struct rf_sim_options {
    uint64_t             seed;
    uint32_t             n_nodes;  /* 1 … RF_MEMBERS_MAX */
    uint32_t             n_shards; /* 1 … 8 */
    uint32_t             seconds;  /* virtual, of faults and load */
    enum rf_sim_scenario scenario;
    bool                 engine;     /* the real storage engine on a simulated disk */
    const char          *plugin_dir; /* where the shipped plugins are */
};

struct rf_sim_result {
    uint64_t digest; /* of everything that happened */
    uint64_t events, steps, messages;
    uint64_t requests, acked, failed, unknown, reads_checked;
    uint64_t crashes, partitions;
    uint64_t hedges, fetches;
    uint64_t flushes, cold_reads; /* of the real engine */
    uint64_t restamps, unsure, reappeared, read_repairs, hints_stored, hints_replayed,
        hints_expired;
    bool violated;
    char why[512]; /* the first violation */
};

/* Runs one seed. Blocks: no (computes). */
struct rf_sim_result rf_sim_run(const struct rf_sim_options *options);

/* Gossip at scale: a formed cluster without client load. */
struct rf_sim_gossip_options {
    uint64_t    seed;
    uint32_t    n_nodes;
    uint32_t    seconds;  /* measured, after the warm-up */
    uint32_t    loss_ppm; /* messages lost, per million */
    const char *plugin_dir;
};

struct rf_sim_gossip_result {
    uint64_t digest;
    uint64_t events;
    uint64_t sent_bytes_per_node_s; /* with TLS records and TCP/IP headers */
    uint64_t max_bytes_per_node_s;  /* of the busiest node */
    uint64_t spread_us;             /* a changed member entry is known by all */
    uint64_t detect_us;             /* a dead node is dead for all */
    uint64_t recover_us;            /* the returned node is alive for all */
    uint64_t heal_us;               /* after a split in two halves, all are alive for all */
    uint64_t false_deaths;          /* before the split */
    uint64_t simulated_us;
    uint64_t control_bytes; /* memory of one control machine */
    uint64_t max_lag_us;    /* oldest heartbeat of a live node that any node had to live with */
    bool     violated;
    char     why[512];
};
struct rf_sim_gossip_result rf_sim_gossip(const struct rf_sim_gossip_options *options);

/* The ring at scale, in real time. */
struct rf_sim_ring_result {
    uint32_t n_nodes, n_tokens;
    double   build_ms, place_ms, lookup_ns;
    double   balance_primary, balance_replicas; /* share of the ring: highest / mean (S25) */
};
struct rf_sim_ring_result rf_sim_ring(uint32_t n_nodes, uint64_t seed, const char *plugin_dir);

#endif
