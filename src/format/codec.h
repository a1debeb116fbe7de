/* Little-endian reading and writing with bounds. A reader that runs out turns `bad` and yields
 * zeros, so that a parser checks once at its end. */
#ifndef RF_FORMAT_CODEC_H
#define RF_FORMAT_CODEC_H

#include "base/buf.h"

struct rf_reader {
    struct rf_slice rest;
    bool            bad;
};

static inline struct rf_reader rf_reader(struct rf_slice bytes)
{
    return (struct rf_reader){bytes, false};
}

/* The next n bytes as a view; empty and `bad` when there are fewer. */
static inline struct rf_slice rf_get_bytes(struct rf_reader *reader, size_t n)
{
    if (n > reader->rest.size) {
        reader->bad = true;
        reader->rest.size = 0;
        return rf_slice(NULL, 0);
    }
    struct rf_slice got = rf_slice(reader->rest.data, n);
    if (n != 0) {
        reader->rest.data += n;
        reader->rest.size -= n;
    }
    return got;
}

static inline uint64_t rf_get_le(struct rf_reader *reader, size_t n)
{
    struct rf_slice bytes = rf_get_bytes(reader, n);
    uint64_t        value = 0;
    for (size_t i = bytes.size; i-- > 0;) {
        value = value << 8 | bytes.data[i];
    }
    return value;
}

static inline uint8_t rf_get_u8(struct rf_reader *reader)
{
    return (uint8_t)rf_get_le(reader, 1);
}
static inline uint16_t rf_get_u16(struct rf_reader *reader)
{
    return (uint16_t)rf_get_le(reader, 2);
}
static inline uint32_t rf_get_u32(struct rf_reader *reader)
{
    return (uint32_t)rf_get_le(reader, 4);
}
static inline uint64_t rf_get_u64(struct rf_reader *reader)
{
    return rf_get_le(reader, 8);
}

/* LEB128, at most 10 bytes. */
static inline uint64_t rf_get_varint(struct rf_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = rf_get_u8(reader);
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    reader->bad = true;
    return 0;
}

/* u16 length, then that many bytes. */
static inline struct rf_slice rf_get_slice16(struct rf_reader *reader)
{
    uint16_t n = rf_get_u16(reader);
    return rf_get_bytes(reader, n);
}

static inline void rf_store_le(uint8_t *to, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline uint64_t rf_load_le(const uint8_t *from, size_t n)
{
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;) {
        value = value << 8 | from[i];
    }
    return value;
}

static inline void rf_put_le(struct rf_buf *buf, uint64_t value, size_t n)
{
    uint8_t bytes[8];
    rf_store_le(bytes, value, n);
    rf_buf_append(buf, bytes, n);
}

static inline void rf_put_u8(struct rf_buf *buf, uint8_t value)
{
    rf_put_le(buf, value, 1);
}
static inline void rf_put_u16(struct rf_buf *buf, uint16_t value)
{
    rf_put_le(buf, value, 2);
}
static inline void rf_put_u32(struct rf_buf *buf, uint32_t value)
{
    rf_put_le(buf, value, 4);
}
static inline void rf_put_u64(struct rf_buf *buf, uint64_t value)
{
    rf_put_le(buf, value, 8);
}

static inline void rf_put_varint(struct rf_buf *buf, uint64_t value)
{
    while (value >= 0x80) {
        rf_put_u8(buf, (uint8_t)(value | 0x80));
        value >>= 7;
    }
    rf_put_u8(buf, (uint8_t)value);
}

/* The slice is at most 65,535 bytes. */
static inline void rf_put_slice16(struct rf_buf *buf, struct rf_slice slice)
{
    rf_put_u16(buf, (uint16_t)slice.size);
    rf_buf_append_slice(buf, slice);
}

#endif
