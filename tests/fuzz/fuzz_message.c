/* Peer frames, as sent and with length and checksum made right; hellos inside. */
#include "fuzz.h"

#include "base/crc.h"
#include "format/codec.h"
#include "format/message.h"

static void decode(struct rf_slice frame)
{
    struct rf_message message;
    struct rf_hello   hello;
    if (!rf_ok(rf_message_decode(frame, &message))) {
        return;
    }
    require(message.row.key.size <= RF_KEY_MAX && message.body.size < frame.size);
    if (message.kind == RF_MSG_HELLO && rf_ok(rf_hello_decode(message.body, &hello))) {
        require(hello.name.size != 0 && hello.node != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rf_buf copy = {0};
    size_t        frame = 0;
    rf_buf_append(&copy, data, size);
    if (rf_ok(rf_frame_size(rf_buf_slice(&copy), &frame))) {
        require(frame >= RF_FRAME_HEADER && frame <= RF_FRAME_MAX);
    }
    decode(rf_buf_slice(&copy));
    if (size > RF_FRAME_HEADER) {
        copy.data[8] = RF_FRAME_VERSION;
        rf_store_le(copy.data, size, 4);
        rf_store_le(copy.data + 4, rf_crc32c(0, rf_slice(copy.data + 8, size - 8)), 4);
        decode(rf_buf_slice(&copy));
    }
    rf_buf_fini(&copy);
    return 0;
}
