/* Peer messages: what nodes say to each other, and the frame that carries one (docs/formats/frame.md).
 *
 * Requests travel on the link that the requester dialed; an answer goes back on the link on which
 * the request came. */
#ifndef RF_FORMAT_MESSAGE_H
#define RF_FORMAT_MESSAGE_H

#include "format/row.h"

#define RF_FRAME_VERSION 2u
#define RF_FRAME_HEADER 12u /* bytes: length, checksum, version… */
#define RF_FRAME_MAX (RF_VALUE_MAX + RF_KEY_MAX + 64u * 1024) /* bytes, header included */

enum rf_message_kind {
    RF_MSG_HELLO = 1,     /* first on a link, both ways: body = struct rf_hello */
    RF_MSG_WRITE = 2,     /* store row; mode as in the store operation */
    RF_MSG_WRITE_ACK = 3, /* status; NEWER carries the newer version in row.version */
    RF_MSG_READ = 4,      /* the newest version of row.key */
    RF_MSG_READ_ACK = 5,  /* status FOUND with row, ABSENT, … */
    RF_MSG_HINT = 6,      /* keep row for node `target`, which is down */
    RF_MSG_HINT_ACK = 7,
    /* Control: body is made and read by the control machine. */
    RF_MSG_GOSSIP_SYN = 32,
    RF_MSG_GOSSIP_ACK = 33,
    RF_MSG_GOSSIP_DELTA = 34,
    RF_MSG_FORM_ASK = 35, /* first start: who are you, do you know a cluster? */
    RF_MSG_FORM_SAY = 36,
    RF_MSG_PROBE = 37, /* are you alive? (direct), or: ask `target` for me (indirect) */
    RF_MSG_PROBE_ACK = 38,
};

/* D11: a digest is the row without its value, whose hash travels in `token`. A replica may answer
 * with the whole row all the same: small values, deletes. */
enum rf_read_mode { RF_READ_FULL = 0, RF_READ_DIGEST = 1 };
#define RF_DIGEST_ABOVE 64u /* bytes of value: up to here the whole row is cheaper */

static inline bool rf_message_is_control(enum rf_message_kind kind)
{
    return kind >= RF_MSG_GOSSIP_SYN;
}

struct rf_message {
    enum rf_message_kind kind;
    uint8_t              mode; /* WRITE: enum rf_apply_mode; READ and its ACK: enum rf_read_mode */
    uint8_t              status;     /* answers: enum rf_store_status */
    uint64_t             from;       /* node id; the receiver's host sets it from the link */
    uint64_t             link;       /* where an answer goes; the receiver's host sets it */
    uint64_t             request_id; /* chosen by the requester, echoed in the answer */
    uint64_t             hlc;        /* the sender's hybrid clock */
    uint64_t             wall_ms;    /* the sender's physical clock */
    uint32_t             budget_ms;  /* requests: time left until the requester gives up */
    uint64_t             ring_digest;
    uint64_t             table;
    uint64_t             token; /* of row.key; a digest's ACK: hash of the value; the ACK of a
                                    replica that cannot say: its damage */
    uint64_t        target; /* HINT: whose row; PROBE: whom to ask; WRITE: damage that it heals */
    struct rf_row   row;    /* data messages; key.size 0: none */
    struct rf_slice body;   /* control messages */
};

/* First message on a link. The host refuses a hello whose name is not the one in the certificate. */
struct rf_hello {
    uint64_t        node;
    uint64_t        generation;
    struct rf_slice name;
    struct rf_slice cluster;
};

/* Appends the message as one frame. Out of memory shows in buf->failed. */
void rf_message_encode(struct rf_buf *buf, const struct rf_message *message);

/* How long is the frame at the front of these bytes? Returns RF_OK with ret_size (header included),
 * RF_MORE when fewer than 4 bytes are there, RF_CORRUPT for an impossible length. */
RF_CHECKED struct rf_result rf_frame_size(struct rf_slice bytes, size_t *ret_size);

/* Decodes one whole frame. ret_message borrows the bytes; from and link are 0.
 * Returns RF_OK, RF_CORRUPT (checksum, structure) or RF_WRONG_VERSION. */
RF_CHECKED struct rf_result rf_message_decode(struct rf_slice    frame,
                                              struct rf_message *ret_message);

void                        rf_hello_encode(struct rf_buf *buf, const struct rf_hello *hello);
RF_CHECKED struct rf_result rf_hello_decode(struct rf_slice bytes, struct rf_hello *ret_hello);

#endif
