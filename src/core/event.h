/* What goes into a step of the core and what comes out of it. The core has no other door: time,
 * messages, requests and completions come in as events, everything it wants done goes out as
 * effects (in the spirit of raft_step of cowsql/raft).
 *
 * References: an event lends its blobs for the step; an effect owns one reference to each blob that
 * it names, and the host drops it when the effect is done. Bodies of control messages are views
 * into the machine's own memory, valid until its next step. */
#ifndef RF_CORE_EVENT_H
#define RF_CORE_EVENT_H

#include "base/time.h"
#include "format/message.h"
#include "format/store_op.h"
#include "ring/view.h"

enum rf_client_kind { RF_CLIENT_GET, RF_CLIENT_PUT, RF_CLIENT_DELETE };

/* A client's request, parsed and authorized. */
struct rf_client_op {
    enum rf_client_kind kind;
    bool                strong;       /* GET */
    uint8_t             quorum;       /* overrides R or W of the table; 0: the table's */
    uint64_t            client;       /* the host's handle; comes back in the reply */
    uint64_t            table;        /* id, looked up in the shard's current view */
    uint64_t            ttl_s;        /* PUT; 0: the table's default */
    uint64_t            timestamp_ms; /* client-stamped writes (D17); 0: the server stamps */
    struct rf_row       row;          /* key; PUT: value */
};

enum rf_event_kind {
    RF_EV_TICK,    /* only the time */
    RF_EV_CLIENT,  /* shard */
    RF_EV_MESSAGE, /* from a peer */
    RF_EV_STORED,  /* a store operation finished */
    RF_EV_VIEW,    /* shard: a new view; lends a reference */
    RF_EV_ALIVE,   /* shard: control's verdict on a node */
    RF_EV_STORAGE, /* shard: what a node's storage takes; control: of this node, from its host */
    RF_EV_LINK,    /* the link that this node dialed to a peer came up or broke */
};

struct rf_event {
    enum rf_event_kind kind;
    struct rf_time     now;
    union {
        struct rf_client_op  client;
        struct rf_message    message;
        struct rf_store_done stored;
        struct rf_view      *view;
        struct {
            uint64_t              node;
            bool                  up;      /* ALIVE, LINK */
            enum rf_storage_state storage; /* STORAGE */
        } peer;
    } as;
};

/* How a client request ended. */
struct rf_reply {
    uint64_t      client;
    enum rf_rc    rc;              /* RF_OK, RF_ITEM_NOT_FOUND, RF_QUORUM_UNAVAILABLE, … */
    bool          outcome_unknown; /* failed writes: may have been applied */
    bool          superseded;      /* client-stamped write lost against a newer version */
    bool          unsure; /* write: stamped twice, and may have been read under the first stamp */
    uint8_t       acked;  /* answers got … */
    uint8_t       needed; /* … and needed, for problem details */
    struct rf_row row;    /* GET found: the item. GET of a deleted or expired one, and
                                      writes: version, expiry and flags only */
};

enum rf_effect_kind {
    RF_FX_SEND,      /* message to `node` over the link dialed to it */
    RF_FX_SEND_ADDR, /* control: message to an address (first contact) */
    RF_FX_ANSWER,    /* message back on `message.link` */
    RF_FX_STORE,
    RF_FX_REPLY,   /* shard */
    RF_FX_PUBLISH, /* control: the member set changed; build and hand out a view */
    RF_FX_ALIVE,   /* control: tell the shards */
    RF_FX_STORAGE, /* control: tell the shards what a node's storage takes */
    RF_FX_REFUSED, /* control: the cluster refuses this node; text says why */
};

struct rf_effect {
    enum rf_effect_kind kind;
    uint64_t            node; /* SEND: receiver; ALIVE, STORAGE: whom it is about */
    union {
        struct rf_message     message;
        struct rf_store_op    store;
        struct rf_reply       reply;
        bool                  up;      /* ALIVE */
        enum rf_storage_state storage; /* STORAGE */
    } as;
    const char *text; /* SEND_ADDR: address; REFUSED: reason. Lives until the machine is freed */
};

/* Space of the caller. A step that would not fit answers RF_MORE with `consumed` events done: carry
 * out the effects and step again with the rest. */
struct rf_effects {
    struct rf_effect *list;
    uint32_t          n;
    uint32_t          max; /* at least RF_EFFECTS_MIN */
    uint32_t          consumed;
    uint64_t          wake_at_us; /* step again by then even without an event; UINT64_MAX: never */
};

#define RF_EFFECTS_MIN 128u

/* Appends an empty effect; the caller of a step made room. */
struct rf_effect *rf_effect_add(struct rf_effects *effects, enum rf_effect_kind kind);

/* Drops the references that the event's maker holds: for hosts, when the step is done. */
void rf_event_drop(const struct rf_event *event);

#endif
