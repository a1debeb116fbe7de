/* Virtual time: a binary heap of events, ordered by time and then by the order of scheduling. */
#include "base/mem.h"
#include "sim/sim_private.h"

static bool before(const struct rf_sim_event *a, const struct rf_sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void sift_up(struct rf_sim_queue *queue, uint32_t at)
{
    struct rf_sim_event *event = queue->heap[at];
    while (at > 0 && before(event, queue->heap[(at - 1) / 2])) {
        queue->heap[at] = queue->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    queue->heap[at] = event;
}

static void sift_down(struct rf_sim_queue *queue, uint32_t at)
{
    struct rf_sim_event *event = queue->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= queue->n) {
            break;
        }
        if (child + 1 < queue->n && before(queue->heap[child + 1], queue->heap[child])) {
            child++;
        }
        if (!before(queue->heap[child], event)) {
            break;
        }
        queue->heap[at] = queue->heap[child];
        at = child;
    }
    queue->heap[at] = event;
}

struct rf_sim_event *rf_sim_schedule(struct rf_sim *sim, enum rf_sim_kind kind, uint64_t delay_us)
{
    struct rf_sim_queue *queue = &sim->queue;
    struct rf_sim_event *event = queue->free;
    if (event != NULL) {
        queue->free = event->next_free;
        event->frame = NULL;
        event->next_free = NULL;
    } else {
        event = RF_NEW(struct rf_sim_event);
        rf_assert(event != NULL);
    }
    if (queue->n == queue->cap) {
        queue->cap = queue->cap == 0 ? 256 : queue->cap * 2;
        queue->heap = rf_mem_realloc(queue->heap, sizeof(*queue->heap) * queue->cap);
        rf_assert(queue->heap != NULL);
    }
    event->kind = kind;
    event->at_us = sim->now_us + delay_us;
    event->order = queue->order++;
    queue->heap[queue->n] = event;
    sift_up(queue, queue->n++);
    return event;
}

struct rf_sim_event *rf_sim_pop(struct rf_sim *sim)
{
    struct rf_sim_queue *queue = &sim->queue;
    if (queue->n == 0) {
        return NULL;
    }
    struct rf_sim_event *event = queue->heap[0];
    queue->heap[0] = queue->heap[--queue->n];
    if (queue->n != 0) {
        sift_down(queue, 0);
    }
    rf_assert(event->at_us >= sim->now_us);
    sim->now_us = event->at_us;
    return event;
}

/* Drops what the event still owns. */
void rf_sim_recycle(struct rf_sim *sim, struct rf_sim_event *event)
{
    rf_blob_drop(event->frame);
    event->frame = NULL;
    if (event->kind == RF_SIM_MAIL) {
        rf_event_drop(&event->as.event);
    } else if (event->kind == RF_SIM_STORE) {
        rf_blob_drop(event->as.store.row.blob);
    }
    event->next_free = sim->queue.free;
    sim->queue.free = event;
}

void rf_sim_queue_fini(struct rf_sim *sim)
{
    struct rf_sim_event *event = NULL;
    sim->now_us = 0;
    while ((event = rf_sim_pop(sim)) != NULL) {
        rf_sim_recycle(sim, event);
    }
    while ((event = sim->queue.free) != NULL) {
        sim->queue.free = event->next_free;
        rf_mem_free(event);
    }
    rf_mem_free(sim->queue.heap);
}
