/* Memory comes from the host, so that the pure core can be linked and checked without a libc heap,
 * and so that tests can count allocations or make the k-th one fail (base/host_mem.c).
 * Out of memory is an operating error: NULL is returned and must be handled.
 * Thread: any. Blocks: no. */
#ifndef RF_BASE_MEM_H
#define RF_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* @param size bytes, 1 or more. Returns zeroed memory, or NULL. The caller frees with rf_mem_free. */
void *rf_mem_alloc(size_t size);
/* Grows or shrinks; new bytes are not zeroed. NULL leaves the old block as it was. */
void *rf_mem_realloc(void *ptr, size_t size);
void  rf_mem_free(void *ptr);
/* Allocations made so far by this process: for tests that prove "no allocation in steady state". */
uint64_t rf_mem_allocations(void);

#define RF_NEW(type) ((type *)rf_mem_alloc(sizeof(type)))
#define RF_NEW_ARRAY(type, n) ((type *)rf_mem_alloc(sizeof(type) * (n)))

#endif
