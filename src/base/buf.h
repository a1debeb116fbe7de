/* A growing byte buffer that owns its memory. A failed growth is remembered (`failed`), so that a
 * long run of appends needs one check at its end. */
#ifndef RF_BASE_BUF_H
#define RF_BASE_BUF_H

#include "base/rc.h"
#include "base/slice.h"

struct rf_buf {
    uint8_t *data;
    size_t   size; /* bytes in use */
    size_t   cap;
    bool     failed; /* an append found no memory; the contents are then incomplete */
};

void rf_buf_fini(struct rf_buf *buf);
/* Empties it and keeps the memory. */
void rf_buf_clear(struct rf_buf *buf);
/* Room for n more bytes; returns where they go (size is unchanged), or NULL without memory. */
uint8_t *rf_buf_reserve(struct rf_buf *buf, size_t n);
void     rf_buf_append(struct rf_buf *buf, const void *data, size_t n);
void     rf_buf_append_slice(struct rf_buf *buf, struct rf_slice slice);
void     rf_buf_append_str(struct rf_buf *buf, const char *text);
void     rf_buf_append_u64(struct rf_buf *buf, uint64_t value); /* decimal */
/* Removes the first n bytes, n <= size. */
void rf_buf_consume(struct rf_buf *buf, size_t n);

static inline struct rf_slice rf_buf_slice(const struct rf_buf *buf)
{
    return rf_slice(buf->data, buf->size);
}

#endif
