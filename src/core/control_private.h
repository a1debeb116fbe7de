/* Inside of the control machine: control.c (events, member table), forming.c (first start),
 * gossip.c (exchange), detector.c (failure detection), twin.c (two processes with one id),
 * member_codec.c. */
#ifndef RF_CORE_CONTROL_PRIVATE_H
#define RF_CORE_CONTROL_PRIVATE_H

#include "base/assert.h"
#include "base/rng.h"
#include "core/control.h"
#include "core/member_pool.h"
#include "core/shard.h"
#include "format/codec.h"

#define RF_CONTROL_MAGIC 0x4354524cu
#define RF_RECENT_MAX 8u            /* changed entries that ride along with every exchange */
#define RF_FORM_INTERVAL_US 100000u /* asking the seeds while not part of a cluster */
#define RF_PROBE_HELPERS 2u         /* indirect probes before a death (SWIM, Das et al. 2002) */

enum rf_probe_state { RF_PROBE_NONE, RF_PROBE_WAITING };

struct rf_node_entry {
    struct rf_shared_member *shared; /* one reference */
    uint64_t                 heartbeat;
    uint64_t changed_at_us; /* when the heartbeat last moved, by our monotonic clock */
    uint64_t probe_until_us;
    uint64_t hint_retry_us;   /* its hints wait until then */
    uint64_t hint_backoff_us; /* of the last failure; 0: none */
    uint8_t  probe;           /* enum rf_probe_state */
    uint8_t  storage;         /* enum rf_storage_state, as of its heartbeat */
    bool     alive;
    uint8_t  untold; /* RF_UNTOLD_*: the shards do not know yet what `alive` or `storage` says */
};

#define RF_UNTOLD_ALIVE 1u
#define RF_UNTOLD_STORAGE 2u
#define RF_UNTOLD_MOVED 4u

#define RF_HANDOFF_WINDOW 16u /* hints under way at a time */

enum rf_handoff_item_state { RF_HANDOFF_SENT, RF_HANDOFF_REMOVING, RF_HANDOFF_DONE };

struct rf_handoff_item {
    uint8_t       state; /* enum rf_handoff_item_state */
    bool          expired;
    struct rf_row hint; /* view into rf_handoff.rows */
};

/* The walk over the stored hints; handoff.c. */
struct rf_handoff {
    enum { RF_HANDOFF_REST, RF_HANDOFF_SCAN, RF_HANDOFF_BATCH } state;
    uint32_t               partition; /* where the walk is … */
    uint64_t               token;
    struct rf_blob        *after;  /* … behind this key; NULL: at the token's beginning */
    bool                   more;   /* the partition goes on */
    bool                   again;  /* a node came back: walk once more */
    uint32_t               batch;  /* number of the scan and its batch */
    uint64_t               due_us; /* end of the rest, or timeout; 0: not begun */
    uint64_t               began_us;
    struct rf_blob        *rows; /* what the scan found */
    struct rf_handoff_item items[RF_HANDOFF_WINDOW];
    uint32_t               n_items, n_open;
};

/* What a seed said at first start. */
struct rf_seed_answer {
    bool             answered;
    bool             is_self;
    struct rf_member member;
};

#define RF_TWIN_ADDRESSES 8u

/* Whether another process runs with this node's id; twin.c. */
struct rf_twin {
    const char *address;    /* that is being asked; NULL: no claim is open */
    uint64_t    generation; /* of the claim */
    uint64_t    due_us;     /* next question */
    uint64_t    until_us;   /* then nobody is there; 0: not asked yet */
    uint64_t    began_us;   /* start of this process */
    uint64_t    seen;       /* the other process of which the host was told last */
    bool        silent;     /* at the start: nobody hears of us before the claim is answered */
    bool        ended;      /* the host was told to end this process */
    char        addresses[RF_TWIN_ADDRESSES][RF_ADDR_MAX + 1];
    uint32_t    n_addresses;
};

struct rf_control {
    uint32_t                 magic;
    struct rf_control_config config;
    struct rf_time           now;
    struct rf_rng            rng;
    uint64_t                 cluster;
    uint64_t                 state_hlc; /* of the state stored last */
    uint64_t                 set_hash;  /* equal member sets, equal hash; heartbeats not included */
    struct rf_node_entry    *entries;   /* sorted by name */
    uint32_t                 n, cap;
    struct rf_member_pool   *pool; /* the configured one, or our own */
    bool                     own_pool;
    uint16_t                *by_node; /* hash tables: index into entries + 1, 0: free; made again */
    uint16_t                *by_hash; /* by node id and by hash of the name … */
    uint32_t                 index_cap; /* … when looked into after a change; 0: stale */
    uint32_t                 index_room;
    uint32_t                 self; /* index of our own entry; RF_NO_MEMBER before admission */
    uint64_t                 recent[RF_RECENT_MAX]; /* node ids of entries that changed last */
    uint32_t                 n_recent;
    struct rf_seed_answer    seeds[RF_SEEDS_MAX];
    uint64_t                 next_round_us;
    uint8_t                  storage;    /* enum rf_storage_state of this node */
    uint32_t                 n_untold;   /* entries that are marked so */
    bool                     dirty;      /* member set changed: publish and store */
    bool                     publishing; /* dirty when this step began handling it */
    char                     refused[192];
    struct rf_handoff        handoff;
    struct rf_twin           twin;
    struct rf_control_stats  stats;
    struct rf_buf            scratch[8]; /* bodies of this step's messages */
    uint32_t                 n_scratch;
    struct rf_effects       *out;
};

/* --- control.c: the member table */
struct rf_node_entry *rf_control_by_name(struct rf_control *control, const char *name);
struct rf_node_entry *rf_control_by_node(struct rf_control *control, uint64_t node);
struct rf_node_entry *rf_control_by_name_hash(struct rf_control *control, uint64_t hash);
/* The member of an entry. */
static inline const struct rf_member *rf_entry_member(const struct rf_node_entry *entry)
{
    return &entry->shared->member;
}
/* Takes in an entry if it is new or newer. Keeps the table sorted; entries may move. False when a
 * member of that name but another id is known (the caller decides), or without memory. */
bool rf_control_merge(struct rf_control *control, const struct rf_member *member, uint64_t pulse);
/* A heartbeat of a known node: marks it alive when it moved. A pulse is the heartbeat x 4 and the
 * state of the node's storage at that time: whoever has the newer heartbeat knows the newer state. */
void rf_control_beat(struct rf_control *control, struct rf_node_entry *entry, uint64_t pulse);
static inline uint64_t rf_entry_pulse(const struct rf_node_entry *entry)
{
    return entry->heartbeat << 2 | entry->storage;
}
/* The verdict on a member. The shards hear of it at the end of the step, or of a later one when the
 * effects are full: one message can bring back all members at once. */
void rf_control_set_alive(struct rf_control *control, struct rf_node_entry *entry, bool alive);
/* An empty body buffer for a message of this step; NULL when this step has used them all up. */
struct rf_buf     *rf_control_body(struct rf_control *control);
struct rf_message *rf_control_send(struct rf_control *control, uint64_t node,
                                   enum rf_message_kind kind, const struct rf_buf *body);
struct rf_message *rf_control_answer(struct rf_control *control, const struct rf_message *request,
                                     enum rf_message_kind kind, const struct rf_buf *body);

/* --- member_codec.c */
void                        rf_member_encode(struct rf_buf *buf, const struct rf_member *member);
RF_CHECKED struct rf_result rf_member_decode(struct rf_reader *reader,
                                             struct rf_member *ret_member);
uint64_t                    rf_member_hash(const struct rf_member *member);

/* --- forming.c */
void rf_forming_round(struct rf_control *control);
void rf_forming_ask(struct rf_control *control, const struct rf_message *message);
void rf_forming_say(struct rf_control *control, const struct rf_message *message);

/* --- gossip.c */
void rf_gossip_round(struct rf_control *control);
void rf_gossip_message(struct rf_control *control, const struct rf_message *message);
void rf_gossip_put_all(struct rf_control *control, struct rf_buf *body);
bool rf_gossip_take_entries(struct rf_control *control, struct rf_reader *reader, uint32_t n);

/* --- handoff.c */
void rf_handoff_run(struct rf_control *control); /* at the end of every step */
void rf_handoff_ack(struct rf_control *control, const struct rf_message *message);
void rf_handoff_stored(struct rf_control *control, const struct rf_store_done *done);
void rf_handoff_alive(struct rf_control *control, struct rf_node_entry *entry);
void rf_handoff_fini(struct rf_control *control);

/* --- twin.c */
/* Our own entry as the last run stored it. */
void rf_twin_stored(struct rf_control *control, const struct rf_member *stored);
/* Our own entry as others know it. True when it is a claim of somebody else: not to be taken in. */
bool rf_twin_told(struct rf_control *control, const struct rf_member *member);
void rf_twin_run(struct rf_control *control); /* in every step */
/* What only a process can say of itself, at the end of a PROBE_ACK about its own node. */
void rf_twin_put(const struct rf_control *control, struct rf_buf *body);
void rf_twin_answer(struct rf_control *control, const struct rf_message *message);
void rf_twin_asked(struct rf_control *control, const struct rf_message *message);

/* --- detector.c */
void rf_detector_round(struct rf_control *control);
void rf_detector_message(struct rf_control *control, const struct rf_message *message);

#endif
