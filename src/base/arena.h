/* Memory that is given out piece by piece and freed all at once. Chunks grow from `first` to 1 MiB, each
 * a quarter of what there is, so that a small user stays small. Thread: owner. */
#ifndef RF_BASE_ARENA_H
#define RF_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct rf_arena_chunk;

struct rf_arena {
    struct rf_arena_chunk *chunks; /* newest first */
    uint8_t               *at;
    size_t                 left;
    size_t                 next_size;
    size_t                 total; /* bytes taken from the host */
};

/* @param first size of the first chunk in bytes. */
void rf_arena_init(struct rf_arena *arena, size_t first);
void rf_arena_fini(struct rf_arena *arena);
/* `size` bytes aligned to 8, not zeroed; NULL without memory. */
void *rf_arena_alloc(struct rf_arena *arena, size_t size);

#endif
