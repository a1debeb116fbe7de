/* The words that core and storage share: what a step asks of the store, and what comes back.
 * `core` and `storage` never see each other; the host carries these between them.
 * The operations table `struct rf_store_ops` is implemented by the LSM (src/storage) and by the
 * simulator's model store (src/sim). */
#ifndef RF_FORMAT_STORE_OP_H
#define RF_FORMAT_STORE_OP_H

#include "format/row.h"

/* Tables of the node itself, invisible to clients and never replicated. */
#define RF_TABLE_META 1u   /* clock ceilings, cluster id, members: key = name */
#define RF_TABLE_HINTS 2u  /* key = target node, table, writer, key; value = the encoded row */
#define RF_TABLE_HEALED 3u /* keys of damaged intervals that were repaired: key = table, key */
#define RF_TABLE_FIRST_USER 16u

enum rf_store_kind {
    RF_STORE_APPLY, /* make a row durable */
    RF_STORE_READ,  /* the newest version of a key */
    RF_STORE_SCAN, /* rows of one partition's token range, in (token, key) order: FOUND or ABSENT */
};

enum rf_apply_mode {
    RF_APPLY_MERGE,           /* keep the newest, whatever order they arrive in */
    RF_APPLY_REFUSE_IF_NEWER, /* a server-stamped write: answer NEWER when the key has a newer one (D7) */
    RF_APPLY_REPAIR, /* MERGE of what the cluster acknowledged before: may use the disk's reserve */
};

enum rf_store_status {
    RF_STORE_STORED, /* durable by the table's durability (also when it lost against a newer one) */
    RF_STORE_NEWER,  /* refused: row.version is the newer one */
    RF_STORE_FOUND,  /* row holds a reference to its blob, the receiver drops it */
    RF_STORE_ABSENT,
    RF_STORE_CANNOT_SAY, /* may have lost data for this key (D10) */
    RF_STORE_FULL,       /* disk reserve reached; reads and deletes still work */
    RF_STORE_FAILED,     /* the store has stopped acknowledging (failed sync); or busy: a limit */
};

struct rf_store_op {
    enum rf_store_kind kind;
    enum rf_apply_mode mode;  /* APPLY */
    uint64_t           tag;   /* comes back in the completion */
    uint64_t           table; /* table id */
    uint64_t           token; /* of row.key; SCAN: first token */
    struct rf_row      row;   /* APPLY: what to store (one blob reference); READ: key only (ditto);
                                 SCAN: key = go on after this key at `token`, may be empty */
    uint64_t heals;      /* APPLY: not 0: the row is what a quorum of the others has, an answer to
                                 CANNOT_SAY with this `damage`: from now on the replica can say */
    uint64_t token_last; /* SCAN: inclusive */
    uint32_t partition;  /* SCAN */
    uint32_t max_bytes;  /* SCAN: stop after this many encoded bytes, at least one row */
};

struct rf_store_done {
    enum rf_store_kind   kind;
    enum rf_store_status status;
    uint64_t             tag;
    struct rf_row        row; /* READ found: the row. SCAN found: value = encoded rows, one after
                                  another (rf_row_decode), deletes and expired ones too */
    uint64_t damage; /* READ, CANNOT_SAY: what `heals` needs to know; 0: cannot be healed */
    bool     more;   /* SCAN: the range goes on after the last row */
    uint64_t token;  /* SCAN found: of the last row; with its key, where to go on */
};

/* What a node's storage takes, as it tells the other nodes. */
enum rf_storage_state {
    RF_STORAGE_OK,
    RF_STORAGE_FULL,      /* the disk's reserve is reached: no new values; deletes and reads work */
    RF_STORAGE_READ_ONLY, /* a log has failed: nothing is acknowledged; reads work */
};

/* The word for it in logs, status and health. */
static inline const char *rf_storage_state_name(enum rf_storage_state state)
{
    return state == RF_STORAGE_OK ? "ok" : state == RF_STORAGE_FULL ? "full" : "read_only";
}

/* A store is driven by its owner thread. Everything that blocks happens elsewhere (the log thread,
 * background jobs) and shows as completions. */
struct rf_store_ops {
    /* Starts an operation and takes over its row reference. Returns RF_OK with *ret_done filled, or
     * RF_PENDING: the completion comes out of `poll` later. Thread: owner. Blocks: no. */
    struct rf_result (*submit)(void *store, struct rf_store_op *op, struct rf_store_done *ret_done);
    /* Moves up to max finished completions out. Returns how many. Thread: owner. Blocks: no. */
    uint32_t (*poll)(void *store, struct rf_store_done *ret_done, uint32_t max);
};

#endif
