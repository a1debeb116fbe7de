#include "format/message.h"

#include "base/assert.h"
#include "base/crc.h"
#include "format/codec.h"

/* Frame: u32 size (whole frame), u32 crc32c (all after it), u8 version, u8 kind, u8 mode, u8 status,
 * then u64 request id, u64 hlc, u64 wall ms; data kinds go on with u32 budget, u64 ring digest,
 * u64 table, u64 token, u64 target, u8 has_row, row; control kinds with the body. */

static void put_row(struct rf_buf *buf, const struct rf_message *message)
{
    rf_put_u32(buf, message->budget_ms);
    rf_put_u64(buf, message->ring_digest);
    rf_put_u64(buf, message->table);
    rf_put_u64(buf, message->token);
    rf_put_u64(buf, message->target);
    rf_put_u64(buf, message->row.version.hlc);
    rf_put_u64(buf, message->row.version.writer);
    rf_put_u8(buf, message->row.key.size != 0);
    if (message->row.key.size != 0) {
        rf_row_encode(buf, &message->row);
    }
}

void rf_message_encode(struct rf_buf *buf, const struct rf_message *message)
{
    size_t start = buf->size;
    rf_put_u32(buf, 0);
    rf_put_u32(buf, 0);
    rf_put_u8(buf, RF_FRAME_VERSION);
    rf_put_u8(buf, (uint8_t)message->kind);
    rf_put_u8(buf, message->mode);
    rf_put_u8(buf, message->status);
    rf_put_u64(buf, message->request_id);
    rf_put_u64(buf, message->hlc);
    rf_put_u64(buf, message->wall_ms);
    if (rf_message_is_control(message->kind) || message->kind == RF_MSG_HELLO) {
        rf_put_u64(buf, message->target);
        rf_buf_append_slice(buf, message->body);
    } else {
        put_row(buf, message);
    }
    if (buf->failed) {
        buf->size = start;
        return;
    }
    size_t   size = buf->size - start;
    uint8_t *frame = buf->data + start;
    rf_assert(size <= RF_FRAME_MAX);
    rf_store_le(frame, size, 4);
    rf_store_le(frame + 4, rf_crc32c(0, rf_slice(frame + 8, size - 8)), 4);
}

struct rf_result rf_frame_size(struct rf_slice bytes, size_t *ret_size)
{
    if (bytes.size < 4) {
        return rf_result(RF_MORE);
    }
    size_t size = rf_load_le(bytes.data, 4);
    if (size < RF_FRAME_HEADER || size > RF_FRAME_MAX) {
        return rf_result(RF_CORRUPT);
    }
    *ret_size = size;
    return rf_result(RF_OK);
}

static bool kind_known(uint8_t kind)
{
    return (kind >= RF_MSG_HELLO && kind <= RF_MSG_HINT_ACK) ||
           (kind >= RF_MSG_GOSSIP_SYN && kind <= RF_MSG_PROBE_ACK);
}

static struct rf_result get_row(struct rf_reader *reader, struct rf_message *message)
{
    message->budget_ms = rf_get_u32(reader);
    message->ring_digest = rf_get_u64(reader);
    message->table = rf_get_u64(reader);
    message->token = rf_get_u64(reader);
    message->target = rf_get_u64(reader);
    message->row.version.hlc = rf_get_u64(reader);
    message->row.version.writer = rf_get_u64(reader);
    if (rf_get_u8(reader) != 0 && !reader->bad) {
        RF_TRY(rf_row_decode(&reader->rest, &message->row));
    }
    return rf_result(reader->bad || reader->rest.size != 0 ? RF_CORRUPT : RF_OK);
}

struct rf_result rf_message_decode(struct rf_slice frame, struct rf_message *ret_message)
{
    size_t size = 0;
    if (!rf_ok(rf_frame_size(frame, &size)) || size != frame.size) {
        return rf_result(RF_CORRUPT);
    }
    struct rf_reader reader = rf_reader(rf_slice(frame.data + 4, size - 4));
    uint32_t         crc = rf_get_u32(&reader);
    if (crc != rf_crc32c(0, reader.rest)) {
        return rf_result(RF_CORRUPT);
    }
    if (rf_get_u8(&reader) != RF_FRAME_VERSION) {
        return rf_result(RF_WRONG_VERSION);
    }
    struct rf_message message = {0};
    uint8_t           kind = rf_get_u8(&reader);
    if (!kind_known(kind)) {
        return rf_result(RF_WRONG_VERSION);
    }
    message.kind = (enum rf_message_kind)kind;
    message.mode = rf_get_u8(&reader);
    message.status = rf_get_u8(&reader);
    message.request_id = rf_get_u64(&reader);
    message.hlc = rf_get_u64(&reader);
    message.wall_ms = rf_get_u64(&reader);
    if (rf_message_is_control(message.kind) || message.kind == RF_MSG_HELLO) {
        message.target = rf_get_u64(&reader);
        message.body = reader.rest;
    } else if (!rf_ok(get_row(&reader, &message))) {
        return rf_result(RF_CORRUPT);
    }
    if (reader.bad) {
        return rf_result(RF_CORRUPT);
    }
    *ret_message = message;
    return rf_result(RF_OK);
}

void rf_hello_encode(struct rf_buf *buf, const struct rf_hello *hello)
{
    rf_put_u64(buf, hello->node);
    rf_put_u64(buf, hello->generation);
    rf_put_slice16(buf, hello->name);
    rf_put_slice16(buf, hello->cluster);
}

struct rf_result rf_hello_decode(struct rf_slice bytes, struct rf_hello *ret_hello)
{
    struct rf_reader reader = rf_reader(bytes);
    struct rf_hello  hello = {.node = rf_get_u64(&reader), .generation = rf_get_u64(&reader)};
    hello.name = rf_get_slice16(&reader);
    hello.cluster = rf_get_slice16(&reader);
    if (reader.bad || hello.node == 0 || hello.name.size == 0) {
        return rf_result(RF_CORRUPT);
    }
    *ret_hello = hello;
    return rf_result(RF_OK);
}
