/* Inside of the simulator: queue.c (virtual time), network.c, node.c (the host of one node's
 * machines), views.c (shared rings), workload.c (clients and online checks), faults.c, sim.c. */
#ifndef RF_SIM_PRIVATE_H
#define RF_SIM_PRIVATE_H

#include "base/assert.h"
#include "base/rng.h"
#include "core/control.h"
#include "core/shard.h"
#include "plugins/loader.h"
#include "sim/sim.h"
#include "sim/store.h"

#define RF_SIM_SHARDS_MAX 8u
#define RF_SIM_PARTITIONS 8u
#define RF_SIM_TABLE 4711u             /* id of the one user table */
#define RF_SIM_EPOCH_MS 1750000000000u /* wall clock at virtual time 0 */
#define RF_SIM_EFFECTS RF_EFFECTS_MIN  /* small, so that steps have to answer RF_MORE */

/* ---- Virtual time ------------------------------------------------------------------------- */

enum rf_sim_kind {
    RF_SIM_FRAME,  /* a frame arrives at a machine */
    RF_SIM_MAIL,   /* an event for a machine, from another machine of the node */
    RF_SIM_STORE,  /* a store operation arrives at the shard that owns the store */
    RF_SIM_RUN,    /* a machine runs over its queue */
    RF_SIM_SYNC,   /* a store's sync is done */
    RF_SIM_READ,   /* one of a store's reads of the disk is done */
    RF_SIM_WORK,   /* a store's background work goes on */
    RF_SIM_CLIENT, /* a client does its next thing */
    RF_SIM_FAULT,  /* the scenario does its next thing */
    RF_SIM_SAMPLE, /* gossip at scale: look at the cluster */
};

struct rf_sim_event {
    uint64_t         at_us;
    uint64_t         order; /* ties: first in, first out */
    enum rf_sim_kind kind;
    uint32_t         node;
    uint32_t         incarnation; /* of the node; another one drops the event */
    uint32_t         machine;     /* shard, or n_shards for control; CLIENT: number */
    uint32_t         from;        /* FRAME: sending node */
    uint64_t         link;        /* FRAME: where an answer goes */
    struct rf_blob  *frame;
    union {
        struct rf_event    event; /* MAIL */
        struct rf_store_op store; /* STORE */
    } as;
    struct rf_sim_event *next_free;
};

struct rf_sim_queue {
    struct rf_sim_event **heap;
    uint32_t              n, cap;
    uint64_t              order;
    struct rf_sim_event  *free;
};

/* ---- Nodes -------------------------------------------------------------------------------- */

struct rf_sim_machine {
    struct rf_event *queue;
    uint32_t         n, cap;
    uint64_t         run_at_us; /* the RUN that counts; UINT64_MAX: none */
};

struct rf_sim_node {
    uint32_t              index;
    uint64_t              id;
    bool                  up;
    bool                  full;        /* the model store refuses new values */
    uint32_t              incarnation; /* +1 at each start and crash */
    uint64_t              generation;
    uint64_t              cluster;         /* durable: the one that its identity names */
    int64_t               skew_ms;         /* of the wall clock */
    uint64_t              mono_us;         /* monotonic clock = this + virtual time */
    uint64_t              slow_us;         /* extra delay of everything this node sends */
    uint64_t              sync_us;         /* extra time of a sync */
    uint64_t              paused_until_us; /* machines do not run before */
    struct rf_control    *control;
    struct rf_shard      *shards[RF_SIM_SHARDS_MAX];
    struct rf_sim_store  *store; /* NULL in gossip at scale */
    bool                  syncing[RF_SIM_SHARDS_MAX];
    struct rf_sim_machine machines[RF_SIM_SHARDS_MAX + 1];
    uint64_t              mail_at_us[RF_SIM_SHARDS_MAX + 1][RF_SIM_SHARDS_MAX + 1];
    uint64_t              sent_bytes;
    char                  address[RF_ADDR_MAX + 1];
};

struct rf_sim_view {
    uint64_t        digest;
    struct rf_view *view;
};

/* ---- Clients and history ------------------------------------------------------------------ */

#define RF_SIM_KEYS_MAX 64u
#define RF_SIM_CLIENTS_MAX 16u

enum rf_sim_op_state {
    RF_SIM_OP_WAITING,
    RF_SIM_OP_ACKED,
    RF_SIM_OP_NOT_APPLIED,
    RF_SIM_OP_UNKNOWN
};

struct rf_sim_op {
    enum rf_client_kind  kind;
    enum rf_sim_op_state state;
    bool                 strong;
    bool                 replied;
    enum rf_rc           rc; /* of its answer */
    uint32_t             key;
    uint32_t             client;
    uint32_t             node; /* coordinator */
    uint64_t             start_us;
    uint64_t             ttl_s;
    uint64_t             timestamp_ms; /* stamped by the client (D17); 0: by the server */
    uint64_t             source;       /* number of the operation that it tries again; 0: none */
    struct rf_row        floor;        /* newest version acknowledged or read before it began */
    /* A write's place in the order that clients see; history.c. */
    struct rf_version version;   /* the first that it got */
    bool              restamped; /* and it got another one (D7) */
    uint64_t          seen_us;   /* first known to be in effect: acknowledged, or read strongly */
    uint64_t          lost_us;   /* then another write was known to be in its place */
    bool              unsure;    /* its coordinator said so, or died before it could */
    bool              reappeared;
    uint64_t          next_seen; /* of its key, op number: seen and not lost */
};

/* A version that was seen in some store: it must mean the same everywhere and for ever. */
struct rf_sim_seen {
    struct rf_version version;
    uint32_t          key;
    uint64_t          expiry_ms;
    uint64_t          content; /* hash of flags and value */
    uint64_t          op;      /* number of the write, 0: a delete */
};

struct rf_sim_client {
    uint64_t op;    /* index + 1 of the one it waits for; 0: none */
    uint64_t again; /* of the one that it sends again next */
};

/* ---- The simulation ----------------------------------------------------------------------- */

struct rf_sim {
    struct rf_sim_options   options;
    struct rf_sim_result    result;
    struct rf_rng           rng;
    uint64_t                now_us;
    struct rf_sim_queue     queue;
    struct rf_sim_node     *nodes;
    uint32_t                n_nodes;
    uint8_t                *links;   /* [from * n + to]: enum rf_sim_link; NULL: not simulated */
    uint8_t                *blocked; /* [from * n + to]: frames vanish; NULL: none */
    uint32_t                loss_ppm, double_ppm;
    uint64_t                delay_us; /* up to this much, plus a base */
    bool                    checking; /* rf_*_check after each step */
    bool                    gossip_only;
    struct rf_slice         state; /* cluster state that nodes start with; empty: they form one */
    struct rf_registry     *registry;
    struct rf_member_pool  *pool; /* of all control machines */
    struct rf_table         table;
    const struct rf_plugin *compaction; /* of the real engine */
    void                   *compaction_options;
    struct rf_sim_view     *views;
    uint32_t                n_views, cap_views;
    struct rf_effect        effects[RF_SIM_EFFECTS];
    uint64_t                trace; /* hash of all that happened */
    /* Workload. */
    struct rf_sim_client clients[RF_SIM_CLIENTS_MAX];
    uint32_t             n_clients, n_keys;
    bool                 load;   /* clients go on */
    uint32_t             spared; /* node that no client uses; n_nodes: none */
    struct rf_sim_op    *ops;
    uint64_t             n_ops, cap_ops;
    struct rf_row        floors[RF_SIM_KEYS_MAX];    /* version and flags */
    uint64_t             in_effect[RF_SIM_KEYS_MAX]; /* op numbers, linked by next_seen */
    struct rf_sim_seen  *seen;                       /* hash table, open addressing */
    uint32_t             n_seen, cap_seen;
    /* Gossip at scale. */
    uint64_t deaths; /* RF_FX_ALIVE false about nodes that are up */
};

enum rf_sim_link { RF_SIM_LINK_NONE, RF_SIM_LINK_UP, RF_SIM_LINK_DOWN };

/* Notes the first violation; the run ends. */
void rf_sim_violation(struct rf_sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t rf_sim_random(struct rf_sim *sim, uint64_t n); /* 0 … n-1 */
bool     rf_sim_chance(struct rf_sim *sim, uint32_t ppm);

/* --- queue.c */
struct rf_sim_event *rf_sim_schedule(struct rf_sim *sim, enum rf_sim_kind kind, uint64_t delay_us);
struct rf_sim_event *rf_sim_pop(struct rf_sim *sim); /* NULL when empty */
void                 rf_sim_recycle(struct rf_sim *sim, struct rf_sim_event *event);
void                 rf_sim_queue_fini(struct rf_sim *sim);

/* --- network.c */
void rf_sim_send(struct rf_sim *sim, struct rf_sim_node *from, uint32_t shard, uint32_t to,
                 const struct rf_message *message);
void rf_sim_answer(struct rf_sim *sim, struct rf_sim_node *from, const struct rf_message *message);
void rf_sim_deliver(struct rf_sim *sim, struct rf_sim_event *event);
/* Tells the shards of `node` that its link to `peer` is up or broken, after a while. */
void     rf_sim_link_event(struct rf_sim *sim, struct rf_sim_node *node, uint32_t peer, bool up,
                           uint64_t delay_us);
uint32_t rf_sim_node_by_id(const struct rf_sim *sim, uint64_t id); /* n_nodes: unknown */

/* --- node.c */
void rf_sim_node_init(struct rf_sim *sim, uint32_t index);
void rf_sim_node_fini(struct rf_sim *sim, struct rf_sim_node *node);
/* Its disk is full, or not any more; its control machine hears of it. */
void rf_sim_node_set_full(struct rf_sim *sim, struct rf_sim_node *node, bool full);
void rf_sim_node_start(struct rf_sim *sim, struct rf_sim_node *node);
void rf_sim_node_crash(struct rf_sim *sim, struct rf_sim_node *node);
/* Queues an event for a machine (its references pass over) and lets it run soon. */
void rf_sim_push(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine,
                 const struct rf_event *event);
/* The same by mail from another machine of the node: first in, first out per pair. */
void           rf_sim_mail(struct rf_sim *sim, struct rf_sim_node *node, uint32_t from, uint32_t to,
                           const struct rf_event *event);
void           rf_sim_run_machine(struct rf_sim *sim, struct rf_sim_node *node, uint32_t machine);
void           rf_sim_submit(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard,
                             struct rf_store_op *op);
void           rf_sim_work(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard);
void           rf_sim_sync_done(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard);
void           rf_sim_read_done(struct rf_sim *sim, struct rf_sim_node *node, uint32_t shard);
struct rf_time rf_sim_clock(const struct rf_sim *sim, const struct rf_sim_node *node);

/* --- views.c */
struct rf_view *rf_sim_view_of(struct rf_sim *sim, const struct rf_control *control);
void            rf_sim_views_fini(struct rf_sim *sim);

/* --- workload.c */
void rf_sim_client_run(struct rf_sim *sim, uint32_t client);
void rf_sim_reply(struct rf_sim *sim, struct rf_sim_node *node, const struct rf_reply *reply);
/* A node died: its clients see their connections break. */
void rf_sim_clients_lost(struct rf_sim *sim, uint32_t node);
/* The operation that a row's value comes from (0: none), and that it was not refused by a store. */
uint64_t rf_sim_op_of(struct rf_sim *sim, const struct rf_row *row);
void     rf_sim_stored(struct rf_sim *sim, uint64_t number);
/* Every apply to a user table passes here: one version means one content. */
void            rf_sim_saw_row(struct rf_sim *sim, const struct rf_row *row);
uint64_t        rf_sim_start_op(struct rf_sim *sim, uint32_t client, uint32_t node,
                                enum rf_client_kind kind, uint32_t key, bool strong);
struct rf_slice rf_sim_key(uint32_t key, char space[16]);
void            rf_sim_workload_fini(struct rf_sim *sim);

/* --- history.c */
/* A write's row reaches a store under this version. */
void rf_sim_got_version(struct rf_sim *sim, uint64_t number, const struct rf_version *version);
/* A request that began at `start_us` and ends now shows the write `number` (0: a delete, or nothing)
 * in effect for the key. */
void rf_sim_in_effect(struct rf_sim *sim, uint32_t key, uint64_t number, uint64_t start_us);
/* At the end of a run: only writes whose coordinator knew of the danger have shown twice. */
void rf_sim_check_order(struct rf_sim *sim);

/* --- faults.c */
void rf_sim_fault(struct rf_sim *sim);
void rf_sim_heal(struct rf_sim *sim); /* ends every fault and starts every node */

/* --- sim.c */
/* Makes nodes, registry and table; false (violated is set) when a part is missing. */
bool rf_sim_init(struct rf_sim *sim);
void rf_sim_fini(struct rf_sim *sim);
/* Runs until the virtual time, or a violation. */
void rf_sim_until(struct rf_sim *sim, uint64_t at_us);

/* Tokens of each node: few in small clusters, whose rings are rebuilt often. */
static inline uint16_t rf_sim_vnodes(const struct rf_sim *sim)
{
    return sim->n_nodes > 64 ? 256 : 16;
}

#endif
