/* A view of bytes, passed by value. It owns nothing: whoever made it says how long it lives. */
#ifndef RF_BASE_SLICE_H
#define RF_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rf_slice {
    const uint8_t *data;
    size_t         size;
};

static inline struct rf_slice rf_slice(const void *data, size_t size)
{
    return (struct rf_slice){(const uint8_t *)data, size};
}

static inline struct rf_slice rf_slice_str(const char *text)
{
    return rf_slice(text, strlen(text));
}

static inline bool rf_slice_eq(struct rf_slice a, struct rf_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool rf_slice_is(struct rf_slice a, const char *text)
{
    return rf_slice_eq(a, rf_slice_str(text));
}

/* Byte order, the shorter one first on a tie: < 0, 0, > 0. */
static inline int rf_slice_cmp(struct rf_slice a, struct rf_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int    c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return c != 0 ? c : (a.size > b.size) - (a.size < b.size);
}

#endif
