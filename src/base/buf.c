#include "base/buf.h"

#include "base/assert.h"
#include "base/mem.h"

void rf_buf_fini(struct rf_buf *buf)
{
    rf_mem_free(buf->data);
    *buf = (struct rf_buf){0};
}

void rf_buf_clear(struct rf_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

uint8_t *rf_buf_reserve(struct rf_buf *buf, size_t n)
{
    rf_assert(buf->size <= buf->cap);
    if (buf->cap - buf->size >= n && buf->data != NULL) {
        return buf->data + buf->size;
    }
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap - buf->size < n) {
        cap *= 2;
    }
    uint8_t *data = rf_mem_realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return NULL;
    }
    buf->data = data;
    buf->cap = cap;
    return data + buf->size;
}

void rf_buf_append(struct rf_buf *buf, const void *data, size_t n)
{
    if (n == 0) {
        return;
    }
    uint8_t *to = rf_buf_reserve(buf, n);
    if (to != NULL) {
        memcpy(to, data, n);
        buf->size += n;
    }
}

void rf_buf_append_slice(struct rf_buf *buf, struct rf_slice slice)
{
    rf_buf_append(buf, slice.data, slice.size);
}

void rf_buf_append_str(struct rf_buf *buf, const char *text)
{
    rf_buf_append(buf, text, strlen(text));
}

void rf_buf_append_u64(struct rf_buf *buf, uint64_t value)
{
    char digits[20];
    int  at = 20;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    rf_buf_append(buf, digits + at, (size_t)(20 - at));
}

void rf_buf_consume(struct rf_buf *buf, size_t n)
{
    rf_assert(n <= buf->size);
    if (n != 0 && n != buf->size) {
        memmove(buf->data, buf->data + n, buf->size - n);
    }
    buf->size -= n;
}
