/* Inside of the shard machine: shared by shard.c (slots, events), write.c, read.c and replica.c. */
#ifndef RF_CORE_SHARD_PRIVATE_H
#define RF_CORE_SHARD_PRIVATE_H

#include "base/assert.h"
#include "base/rng.h"
#include "core/hlc.h"
#include "core/shard.h"

#define RF_SHARD_MAGIC 0x53485244u
#define RF_NO_SLOT UINT32_MAX

enum rf_slot_state {
    RF_SLOT_FREE,
    RF_SLOT_WAIT_CLOCK, /* a write that waits for a durable clock ceiling */
    RF_SLOT_RUNNING,    /* the client waits */
    RF_SLOT_ANSWERED,   /* the client has its answer; late replicas are still expected */
};

enum rf_replica_state {
    RF_REPLICA_DOWN,    /* not asked: control says dead */
    RF_REPLICA_UNASKED, /* eventual read: a further choice */
    RF_REPLICA_ASKED,
    RF_REPLICA_OK,        /* write: acknowledged; read: answered, row is set */
    RF_REPLICA_NEWER,     /* write: refused, it knows a newer version */
    RF_REPLICA_FAILED,    /* refused, cannot say, or its link broke */
    RF_REPLICA_FETCHING,  /* read: answered with a digest, now asked for the whole row */
    RF_REPLICA_REPAIRING, /* read: answered stale, repair sent */
    RF_REPLICA_REPAIRED,
    RF_REPLICA_REPAIR_FAILED, /* refused, or its link broke: its answer goes on counting */
    RF_REPLICA_HINTING,       /* write: missed it; a hint is with `holder`, not yet acknowledged */
};

enum rf_patience { RF_PATIENCE_FRESH, RF_PATIENCE_WAITS, RF_PATIENCE_OVER };

/* One replica of one request. */
struct rf_replica {
    uint64_t      node;
    uint8_t       state;      /* enum rf_replica_state */
    uint8_t       status;     /* of its answer: enum rf_store_status */
    bool          refused;    /* it is alive and said no: no hint for it */
    bool          digest;     /* reads: row is without its value, … */
    uint64_t      value_hash; /* … which has this hash */
    uint64_t      damage;     /* reads: it cannot say because of this, see struct rf_store_op */
    uint64_t      holder;     /* HINTING: the stand-in */
    uint64_t      asked_us;   /* reads: when, 0: not waited for */
    struct rf_row row;        /* reads: its answer, holds a blob reference */
};

/* What a replica answered. */
struct rf_answer {
    enum rf_store_status status;
    bool                 digest; /* row is without its value */
    uint64_t             value_hash;
    uint64_t             damage; /* CANNOT_SAY */
    struct rf_row        row;
};

/* One coordinated request: SENT -> QUORUM (answered) -> DONE | TIMEOUT. */
struct rf_slot {
    uint32_t            generation; /* part of the id; an answer to a former user is ignored */
    uint8_t             state;      /* enum rf_slot_state */
    uint8_t             attempt;    /* write: +1 when stamped again; read: +1 at a new winner */
    uint8_t             n;          /* replicas */
    uint8_t             needed;
    uint8_t             acks;
    uint8_t             refusals;   /* of a write: replicas that know a newer version … */
    uint64_t            newest_hlc; /* … and the newest of those */
    uint8_t             patience;   /* enum rf_patience: for other answers, before stamping again */
    bool                unsure;     /* stamped again though the first stamp may have been read */
    bool                superseded;
    bool                sent; /* a write that some replica may have stored */
    struct rf_client_op op;   /* row holds a blob reference */
    const struct rf_table *table;
    struct rf_view        *view; /* one reference: keeps table and members alive */
    uint64_t               token;
    uint64_t               deadline_us;
    uint32_t               next, previous;      /* free list, or the deadline-ordered list */
    uint32_t          late_next, late_previous; /* of all answered slots, oldest answer first */
    struct rf_replica replicas[RF_REPLICAS_MAX];
};

/* One operation served for a peer: where its answer goes. */
struct rf_service {
    uint32_t generation;
    bool     used;
    uint8_t  kind; /* enum rf_message_kind of the request */
    uint8_t  mode; /* of a read: enum rf_read_mode */
    uint64_t link;
    uint64_t request_id;
    uint32_t next;
};

struct rf_peer {
    bool     dead;    /* control's verdict */
    bool     broken;  /* our link to it is down right now */
    uint8_t  storage; /* enum rf_storage_state, as gossip says; of this node, too */
    uint32_t mean_us; /* of its answers to reads; 0: unknown */
    uint32_t p95_us;
    uint32_t in_flight; /* reads */
};

/* When a running read is given another replica, or a refused write has waited enough. */
struct rf_hedge {
    uint64_t at_us;
    uint64_t id; /* of the slot; one that has moved on is ignored */
};

struct rf_shard {
    uint32_t               magic;
    struct rf_shard_config config;
    struct rf_hlc          clock;
    bool                   clock_off;   /* no new stamps: the host says that our clock is off */
    bool                   clock_waits; /* some slot may be in WAIT_CLOCK */
    struct rf_rng          rng;
    struct rf_time         now;
    struct rf_view        *view;
    uint16_t               self; /* member index in view; RF_NO_MEMBER before admission */
    struct rf_blob        *ceiling_key;
    struct rf_slot        *slots;
    uint32_t               free_slot;
    uint32_t               oldest, youngest;      /* running and answered slots by deadline */
    uint32_t               late_first, late_last; /* the answered ones again: given up when full */
    struct rf_service     *services;
    uint32_t               free_service;
    struct rf_hedge       *hedges; /* heap by time */
    uint32_t               n_hedges;
    struct rf_peer        *peers; /* by member index of `view` */
    struct rf_shard_stats  stats;
    struct rf_effects     *out; /* of the step that runs */
};

/* --- slots (shard.c) */
uint64_t rf_slot_id(const struct rf_shard *shard, const struct rf_slot *slot);
/* Ends a request: drops what it holds. */
void rf_slot_release(struct rf_shard *shard, struct rf_slot *slot);
/* Sends the client its answer; the slot goes to ANSWERED. Row references pass to the effect. */
void rf_slot_reply(struct rf_shard *shard, struct rf_slot *slot, enum rf_rc rc,
                   const struct rf_row *row);
/* The replica of the slot that lives on this node; NULL when none does. */
struct rf_replica *rf_slot_replica(struct rf_slot *slot, uint64_t node);
/* --- peers.c */
struct rf_peer *rf_peer_of(const struct rf_shard *shard, uint64_t node);
void            rf_peer_asked(struct rf_shard *shard, struct rf_replica *replica);
/* It answered, or (not good) it is no longer waited for. */
void               rf_peer_answered(struct rf_shard *shard, struct rf_replica *replica, bool good);
struct rf_replica *rf_peer_choose(struct rf_shard *shard, struct rf_slot *slot);
uint64_t rf_peer_patience_us(const struct rf_shard *shard, const struct rf_replica *replica);
/* A running request is looked at again after this time; false: the heap is full. */
bool rf_hedge_plan(struct rf_shard *shard, const struct rf_slot *slot, uint64_t wait_us);
bool rf_hedge_due(struct rf_shard *shard, uint64_t *ret_id);
bool rf_peer_dead(const struct rf_shard *shard, uint64_t node);
bool rf_peer_broken(const struct rf_shard *shard, uint64_t node);
/* Can the node, as far as is known, acknowledge such a request? */
bool rf_peer_takes(const struct rf_peer *peer, enum rf_client_kind kind);
/* Asks a replica: a store operation when it is this node, else a message with the same meaning. */
void rf_ask_write(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                  const struct rf_row *row, enum rf_apply_mode mode);
/* Sends a row to a stand-in, to be kept for `target`; or keeps it on this node. */
void rf_send_hint(struct rf_shard *shard, struct rf_slot *slot, uint64_t holder, uint64_t target);
/* An answered request gets a new deadline. */
void rf_slot_extend(struct rf_shard *shard, struct rf_slot *slot);
void rf_ask_read(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                 bool digest);

/* --- write.c */
void rf_write_start(struct rf_shard *shard, struct rf_slot *slot);
void rf_write_answer(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                     enum rf_store_status status, const struct rf_row *row);
/* A refused write has waited enough for further answers. */
void rf_write_waited(struct rf_shard *shard, struct rf_slot *slot);
void rf_write_timeout(struct rf_shard *shard, struct rf_slot *slot);
/* As at the deadline, but the slot is free afterwards: hints are kept on this node. */
void rf_write_give_up(struct rf_shard *shard, struct rf_slot *slot);
/* A stand-in has stored its hint, or (not stored) refused it or is gone. */
void rf_write_hinted(struct rf_shard *shard, struct rf_slot *slot, uint64_t holder, bool stored);
void rf_write_broken(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica);

/* --- read.c */
void rf_read_start(struct rf_shard *shard, struct rf_slot *slot);
void rf_read_answer(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                    const struct rf_answer *answer);
void rf_read_repaired(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica,
                      enum rf_store_status status, const struct rf_version *version);
void rf_read_hedge(struct rf_shard *shard, struct rf_slot *slot);
void rf_read_timeout(struct rf_shard *shard, struct rf_slot *slot);
void rf_read_broken(struct rf_shard *shard, struct rf_slot *slot, struct rf_replica *replica);

/* --- replica.c */
void rf_replica_message(struct rf_shard *shard, const struct rf_message *message);
void rf_replica_stored(struct rf_shard *shard, const struct rf_store_done *done);

#endif
