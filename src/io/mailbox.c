#include "io/mailbox.h"

#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

/* Head and tail sit on cache lines of their own: each is written by one side only. */
struct rf_mailbox {
    uint32_t capacity;
    size_t   item_size;
    _Alignas(64) _Atomic uint32_t head; /* next to read; written by the receiver */
    _Alignas(64) _Atomic uint32_t tail; /* next to write; written by the sender */
    _Alignas(64) uint8_t items[];
};

struct rf_mailbox *rf_mailbox_new(uint32_t capacity, size_t item_size)
{
    rf_assert(capacity >= 2 && (capacity & (capacity - 1)) == 0);
    struct rf_mailbox *box = rf_mem_alloc(sizeof(*box) + capacity * item_size);
    if (box != NULL) {
        box->capacity = capacity;
        box->item_size = item_size;
    }
    return box;
}

void rf_mailbox_free(struct rf_mailbox *box)
{
    rf_mem_free(box);
}

bool rf_mailbox_push(struct rf_mailbox *box, const void *item)
{
    uint32_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&box->head, memory_order_acquire);
    if (tail - head == box->capacity) {
        return false;
    }
    memcpy(box->items + (size_t)(tail & (box->capacity - 1)) * box->item_size, item,
           box->item_size);
    atomic_store_explicit(&box->tail, tail + 1, memory_order_release);
    return true;
}

bool rf_mailbox_pop(struct rf_mailbox *box, void *ret_item)
{
    uint32_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&box->tail, memory_order_acquire);
    if (head == tail) {
        return false;
    }
    memcpy(ret_item, box->items + (size_t)(head & (box->capacity - 1)) * box->item_size,
           box->item_size);
    atomic_store_explicit(&box->head, head + 1, memory_order_release);
    return true;
}
