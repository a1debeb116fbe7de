#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>

static _Atomic uint64_t allocations;

void *rf_mem_alloc(size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return calloc(1, size);
}

void *rf_mem_realloc(void *ptr, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return realloc(ptr, size);
}

void rf_mem_free(void *ptr)
{
    free(ptr);
}

uint64_t rf_mem_allocations(void)
{
    return atomic_load_explicit(&allocations, memory_order_relaxed);
}
