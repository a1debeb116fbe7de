#include "base/blob.h"

#include "base/assert.h"
#include "base/mem.h"

struct rf_blob *rf_blob_new(size_t size)
{
    struct rf_blob *blob = rf_mem_realloc(NULL, sizeof(*blob) + size); /* not zeroed: filled next */
    if (blob != NULL) {
        blob->magic = RF_BLOB_MAGIC;
        atomic_init(&blob->refs, 1);
        blob->size = size;
    }
    return blob;
}

struct rf_blob *rf_blob_copy(struct rf_slice bytes)
{
    struct rf_blob *blob = rf_blob_new(bytes.size);
    if (blob != NULL && bytes.size != 0) {
        memcpy(blob->data, bytes.data, bytes.size);
    }
    return blob;
}

struct rf_blob *rf_blob_take(struct rf_blob *blob)
{
    if (blob != NULL) {
        rf_assert(blob->magic == RF_BLOB_MAGIC);
        atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    }
    return blob;
}

void rf_blob_drop(struct rf_blob *blob)
{
    if (blob == NULL) {
        return;
    }
    rf_assert(blob->magic == RF_BLOB_MAGIC);
    if (atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) == 1) {
        blob->magic = 0;
        rf_mem_free(blob);
    }
}
