/* Member entries as gossip sends them and as they are kept in RF_TABLE_META. */
#include "base/hash.h"
#include "core/control_private.h"

static void put_text(struct rf_buf *buf, const char *text)
{
    struct rf_slice slice = rf_slice_str(text);
    rf_put_u8(buf, (uint8_t)slice.size);
    rf_buf_append_slice(buf, slice);
}

static void get_text(struct rf_reader *reader, char *ret_text, size_t max)
{
    struct rf_slice slice = rf_get_bytes(reader, rf_get_u8(reader));
    if (slice.size > max || (slice.size != 0 && memchr(slice.data, 0, slice.size) != NULL)) {
        reader->bad = true;
        return;
    }
    if (slice.size != 0) {
        memcpy(ret_text, slice.data, slice.size);
    }
    ret_text[slice.size] = 0;
}

void rf_member_encode(struct rf_buf *buf, const struct rf_member *member)
{
    rf_put_u64(buf, member->node);
    rf_put_varint(buf, member->generation);
    rf_put_varint(buf, member->version);
    rf_put_u8(buf, member->state);
    rf_put_u16(buf, member->vnodes);
    put_text(buf, member->name);
    put_text(buf, member->rack);
    put_text(buf, member->peer_addr);
    put_text(buf, member->client_addr);
}

struct rf_result rf_member_decode(struct rf_reader *reader, struct rf_member *ret_member)
{
    struct rf_member member = {.node = rf_get_u64(reader)};
    member.generation = rf_get_varint(reader);
    member.version = rf_get_varint(reader);
    member.state = rf_get_u8(reader);
    member.vnodes = rf_get_u16(reader);
    get_text(reader, member.name, RF_NAME_MAX);
    get_text(reader, member.rack, RF_NAME_MAX);
    get_text(reader, member.peer_addr, RF_ADDR_MAX);
    get_text(reader, member.client_addr, RF_ADDR_MAX);
    bool valid = !reader->bad && member.node != 0 && (member.node & 0xff) == 0 &&
                 member.name[0] != 0 && member.state >= RF_MEMBER_JOINING &&
                 member.state <= RF_MEMBER_LEFT && member.vnodes >= 1 && member.vnodes <= 4096;
    if (!valid) {
        return rf_result(RF_CORRUPT);
    }
    *ret_member = member;
    return rf_result(RF_OK);
}

uint64_t rf_member_hash(const struct rf_member *member)
{
    uint8_t  bytes[64 + 2 * (RF_NAME_MAX + 1) + 2 * (RF_ADDR_MAX + 1)];
    uint64_t facts[5] = {member->node, member->generation, member->version, member->state,
                         member->vnodes};
    size_t   at = sizeof(facts);
    memcpy(bytes, facts, sizeof(facts));
    const char *texts[4] = {member->name, member->rack, member->peer_addr, member->client_addr};
    for (int i = 0; i < 4; i++) {
        size_t n = strlen(texts[i]) + 1;
        memcpy(bytes + at, texts[i], n);
        at += n;
    }
    return rf_hash64(rf_slice(bytes, at), 0);
}
