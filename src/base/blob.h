/* A reference-counted, immutable payload. The host makes it (from a request body, a peer frame, a
 * block read), everyone else takes and drops references; rows are views into one.
 * Thread: any; the count is atomic. Blocks: no. */
#ifndef RF_BASE_BLOB_H
#define RF_BASE_BLOB_H

#include <stdatomic.h>

#include "base/slice.h"

#define RF_BLOB_MAGIC 0x424c4f42u

struct rf_blob {
    uint32_t         magic;
    _Atomic uint32_t refs;
    size_t           size;
    uint8_t          data[];
};

/* A blob of `size` bytes with one reference, contents for the caller to fill; NULL without memory. */
struct rf_blob *rf_blob_new(size_t size);
/* A blob that holds a copy of the bytes; NULL without memory. */
struct rf_blob *rf_blob_copy(struct rf_slice bytes);
/* One more reference; NULL stays NULL. */
struct rf_blob *rf_blob_take(struct rf_blob *blob);
/* One reference less; the last one frees. NULL is allowed. */
void rf_blob_drop(struct rf_blob *blob);

#endif
