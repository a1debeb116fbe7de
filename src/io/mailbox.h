/* A bounded ring of messages from one thread to one other (single producer, single consumer).
 * A full ring is an answer: the sender hears it and pushes back. */
#ifndef RF_IO_MAILBOX_H
#define RF_IO_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rf_mailbox;

/* @param capacity messages, a power of two. @param item_size bytes. NULL without memory. */
struct rf_mailbox *rf_mailbox_new(uint32_t capacity, size_t item_size);
void               rf_mailbox_free(struct rf_mailbox *box);
/* Copies the item in; false when the ring is full. Thread: the sender. */
bool rf_mailbox_push(struct rf_mailbox *box, const void *item);
/* Copies the oldest item out; false when there is none. Thread: the receiver. */
bool rf_mailbox_pop(struct rf_mailbox *box, void *ret_item);

#endif
