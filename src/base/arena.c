#include "base/arena.h"

#include "base/mem.h"

#define CHUNK_MAX (1024u * 1024)

struct rf_arena_chunk {
    struct rf_arena_chunk *next;
};

void rf_arena_init(struct rf_arena *arena, size_t first)
{
    *arena = (struct rf_arena){.next_size = first};
}

void rf_arena_fini(struct rf_arena *arena)
{
    while (arena->chunks != NULL) {
        struct rf_arena_chunk *next = arena->chunks->next;
        rf_mem_free(arena->chunks);
        arena->chunks = next;
    }
    *arena = (struct rf_arena){.next_size = arena->next_size};
}

void *rf_arena_alloc(struct rf_arena *arena, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (size > arena->left) {
        size_t                 body = size > arena->next_size ? size : arena->next_size;
        struct rf_arena_chunk *chunk = rf_mem_alloc(sizeof(*chunk) + body);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->next = arena->chunks;
        arena->chunks = chunk;
        arena->at = (uint8_t *)(chunk + 1);
        arena->left = body;
        arena->total += sizeof(*chunk) + body;
        /* A quarter of what there is: unused memory stays below a fifth. */
        size_t quarter = arena->total / 4;
        arena->next_size = quarter > CHUNK_MAX          ? CHUNK_MAX
                           : quarter > arena->next_size ? quarter
                                                        : arena->next_size;
    }
    void *given = arena->at;
    arena->at += size;
    arena->left -= size;
    return given;
}
