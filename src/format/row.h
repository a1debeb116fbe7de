/* A row: one version of one key, as it is stored, logged and sent. Its encoding is documented in
 * docs/formats/row.md. */
#ifndef RF_FORMAT_ROW_H
#define RF_FORMAT_ROW_H

#include "base/blob.h"
#include "base/buf.h"
#include "base/rc.h"

#define RF_KEY_MAX 2048u      /* bytes; of clients' keys */
#define RF_ROW_KEY_PREFIX 24u /* what a node's own tables put before a client's key */
#define RF_ROW_KEY_MAX (RF_KEY_MAX + RF_ROW_KEY_PREFIX) /* the format's bound */
#define RF_VALUE_MAX                                                                               \
    (64u * 1024 * 1024)   /* bytes; the format's bound, the configured one is lower */
#define RF_ROW_HEADER 32u /* bytes before key and value */

/* Hybrid logical clock: 48 bits of milliseconds, 16 bits of counter. */
#define RF_HLC_COUNTER_BITS 16
static inline uint64_t rf_hlc_make(uint64_t wall_ms, uint16_t counter)
{
    return wall_ms << RF_HLC_COUNTER_BITS | counter;
}
static inline uint64_t rf_hlc_ms(uint64_t hlc)
{
    return hlc >> RF_HLC_COUNTER_BITS;
}

/* No writer ever issues one version twice. Writer = node id with the shard in its low 8 bits;
 * 0 for client-stamped writes. hlc 0 means "no version". */
struct rf_version {
    uint64_t hlc;
    uint64_t writer;
};

enum rf_row_flags {
    RF_ROW_TOMBSTONE = 1, /* a delete; no value */
    RF_ROW_MARKER = 2,    /* an expired item whose value is gone; shadows older versions (D2) */
};

struct rf_row {
    struct rf_version version;
    uint64_t        expiry_ms; /* since the epoch; 0 = never. Fixed once by the coordinator (S34) */
    uint8_t         flags;     /* enum rf_row_flags */
    struct rf_slice key;
    struct rf_slice value;
    struct rf_blob *blob; /* what key and value point into; NULL when the holder guarantees it */
};

static inline bool rf_row_exists(const struct rf_row *row)
{
    return row->version.hlc != 0;
}

/* Visible to a client at this time? A tombstone, a marker and an expired item are not. */
static inline bool rf_row_live(const struct rf_row *row, uint64_t wall_ms)
{
    return rf_row_exists(row) && (row->flags & (RF_ROW_TOMBSTONE | RF_ROW_MARKER)) == 0 &&
           (row->expiry_ms == 0 || row->expiry_ms > wall_ms);
}

/* The total order of versions (D7): clock, then tombstone over value, then writer, then the larger
 * value bytes. A marker equals the row that it stands for. < 0 when a is older, > 0 when newer. */
int rf_row_compare(const struct rf_row *a, const struct rf_row *b);

/* Bytes that rf_row_encode appends. */
static inline size_t rf_row_size(const struct rf_row *row)
{
    return RF_ROW_HEADER + row->key.size + row->value.size;
}

/* Appends the encoding. A full buffer shows in buf->failed. */
void rf_row_encode(struct rf_buf *buf, const struct rf_row *row);
/* Writes rf_row_size(row) bytes at `to`. */
void rf_row_encode_at(uint8_t *to, const struct rf_row *row);

/* Reads one row from the front of *bytes and moves past it. ret_row borrows the bytes (blob NULL).
 * Returns RF_OK, RF_TRUNCATED, RF_WRONG_VERSION or RF_CORRUPT (an impossible field). */
RF_CHECKED struct rf_result rf_row_decode(struct rf_slice *bytes, struct rf_row *ret_row);

/* A copy of the row with a blob of its own (one reference for the caller).
 * Returns RF_OK or RF_NO_MEMORY. */
RF_CHECKED struct rf_result rf_row_copy(const struct rf_row *row, struct rf_row *ret_row);

#endif
