/* Gossip: every interval one exchange with a random member.
 *
 * SYN and ACK carry the hash of the member set, the few entries that changed last, and the
 * heartbeats of all members in name order (varints: about 2 bytes each, 2.4 KB at 1,200 nodes).
 * Heartbeats count only when both sides hold the same set. When the hashes still differ after the
 * recent entries were merged, the answer carries a digest instead (name hash, generation, version),
 * and the asker sends what is newer and asks for what is missing (DELTA).
 *
 * ACK: u8 kind (0 heartbeats, 1 digest). */
#include "base/hash.h"
#include "core/control_private.h"

#define ACK_HEARTBEATS 0
#define ACK_DIGEST 1
#define DELTA_ENTRIES_MAX 512u

static uint64_t name_hash(const char *name)
{
    return rf_hash64(rf_slice_str(name), 0);
}

/* ---- Pieces ------------------------------------------------------------------------------- */

static void put_entry(struct rf_buf *body, const struct rf_node_entry *entry)
{
    rf_member_encode(body, &entry->member);
    rf_put_varint(body, entry->heartbeat);
}

void rf_gossip_put_all(struct rf_control *control, struct rf_buf *body)
{
    rf_put_varint(body, control->n);
    for (uint32_t i = 0; i < control->n; i++) {
        put_entry(body, &control->entries[i]);
    }
}

bool rf_gossip_take_entries(struct rf_control *control, struct rf_reader *reader, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct rf_member member = {0};
        if (!rf_ok(rf_member_decode(reader, &member))) {
            return false;
        }
        uint64_t heartbeat = rf_get_varint(reader);
        if (reader->bad) {
            return false;
        }
        (void)rf_control_merge(control, &member, heartbeat);
    }
    return true;
}

static void put_head(struct rf_control *control, struct rf_buf *body)
{
    rf_put_u64(body, control->cluster);
    rf_put_u64(body, control->set_hash);
    rf_put_varint(body, control->n_recent);
    for (uint32_t i = 0; i < control->n_recent; i++) {
        const struct rf_node_entry *entry = rf_control_by_node(control, control->recent[i]);
        rf_assert(entry != NULL);
        put_entry(body, entry);
    }
}

/* Reads the head and merges its entries. False when it is damaged or of another cluster. */
static bool take_head(struct rf_control *control, struct rf_reader *reader, uint64_t *ret_hash)
{
    uint64_t cluster = rf_get_u64(reader);
    uint64_t hash = rf_get_u64(reader);
    uint32_t n = (uint32_t)rf_get_varint(reader);
    if (reader->bad || cluster != control->cluster || n > RF_RECENT_MAX ||
        !rf_gossip_take_entries(control, reader, n)) {
        return false;
    }
    *ret_hash = hash;
    return true;
}

static void put_heartbeats(struct rf_control *control, struct rf_buf *body)
{
    for (uint32_t i = 0; i < control->n; i++) {
        rf_put_varint(body, control->entries[i].heartbeat);
    }
}

static void take_heartbeats(struct rf_control *control, struct rf_reader *reader)
{
    for (uint32_t i = 0; i < control->n && !reader->bad; i++) {
        uint64_t heartbeat = rf_get_varint(reader);
        if (!reader->bad) {
            rf_control_beat(control, &control->entries[i], heartbeat);
        }
    }
}

static void put_digest(struct rf_control *control, struct rf_buf *body)
{
    rf_put_varint(body, control->n);
    for (uint32_t i = 0; i < control->n; i++) {
        rf_put_u64(body, name_hash(control->entries[i].member.name));
        rf_put_varint(body, control->entries[i].member.generation);
        rf_put_varint(body, control->entries[i].member.version);
    }
}

/* ---- Exchange ----------------------------------------------------------------------------- */

/* A random other member: live ones, and now and then a dead one, so that a healed partition or a
 * returned node is found again. */
static struct rf_node_entry *choose_partner(struct rf_control *control)
{
    bool any = rf_rng_below(&control->rng, 8) == 0;
    for (uint32_t attempt = 0; control->n > 1 && attempt < 16; attempt++) {
        struct rf_node_entry *entry = &control->entries[rf_rng_below(&control->rng, control->n)];
        bool other = entry->member.node != control->config.self.node;
        if (other && entry->member.state != RF_MEMBER_LEFT && (any || entry->alive)) {
            return entry;
        }
        any = any || attempt == 8;
    }
    return NULL;
}

void rf_gossip_round(struct rf_control *control)
{
    struct rf_node_entry *partner = choose_partner(control);
    struct rf_buf        *body = partner == NULL ? NULL : rf_control_body(control);
    if (body == NULL) {
        return;
    }
    put_head(control, body);
    put_heartbeats(control, body);
    rf_control_send(control, partner->member.node, RF_MSG_GOSSIP_SYN, body);
}

static void on_syn(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         hash = 0;
    struct rf_buf   *body = rf_control_body(control);
    if (body == NULL || !take_head(control, &reader, &hash)) {
        return;
    }
    put_head(control, body);
    if (hash == control->set_hash) {
        take_heartbeats(control, &reader);
        rf_put_u8(body, ACK_HEARTBEATS);
        put_heartbeats(control, body);
    } else {
        rf_put_u8(body, ACK_DIGEST);
        put_digest(control, body);
    }
    rf_control_answer(control, message, RF_MSG_GOSSIP_ACK, body);
}

/* Delta: entries that we have newer, then the name hashes of those that we want. */
static void answer_digest(struct rf_control *control, const struct rf_message *message,
                          struct rf_reader *reader)
{
    struct rf_buf *entries = rf_control_body(control);
    struct rf_buf *wants = rf_control_body(control);
    uint64_t       n = rf_get_varint(reader);
    if (entries == NULL || wants == NULL || n > RF_MEMBERS_MAX) {
        return;
    }
    uint8_t  known[RF_MEMBERS_MAX / 8] = {0};
    uint32_t n_wants = 0;
    uint32_t n_entries = 0;
    struct rf_buf *list = rf_control_body(control);
    rf_assert(list != NULL);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t hash = rf_get_u64(reader);
        uint64_t generation = rf_get_varint(reader);
        uint64_t version = rf_get_varint(reader);
        if (reader->bad) {
            return;
        }
        uint32_t at = 0;
        while (at < control->n && name_hash(control->entries[at].member.name) != hash) {
            at++;
        }
        const struct rf_member *mine = at == control->n ? NULL : &control->entries[at].member;
        bool older = mine == NULL || mine->generation < generation ||
                     (mine->generation == generation && mine->version < version);
        if (older && n_wants < DELTA_ENTRIES_MAX) {
            rf_put_u64(wants, hash);
            n_wants++;
        }
        if (mine != NULL && (older || (mine->generation == generation && mine->version == version))) {
            known[at / 8] |= (uint8_t)(1u << (at % 8));
        }
    }
    for (uint32_t i = 0; i < control->n && n_entries < DELTA_ENTRIES_MAX; i++) {
        if ((known[i / 8] >> (i % 8) & 1) == 0) {
            put_entry(list, &control->entries[i]);
            n_entries++;
        }
    }
    rf_put_u64(entries, control->cluster);
    rf_put_varint(entries, n_entries);
    rf_buf_append_slice(entries, rf_buf_slice(list));
    rf_put_varint(entries, n_wants);
    rf_buf_append_slice(entries, rf_buf_slice(wants));
    rf_control_send(control, message->from, RF_MSG_GOSSIP_DELTA, entries);
}

static void on_ack(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         hash = 0;
    if (!take_head(control, &reader, &hash)) {
        return;
    }
    uint8_t kind = rf_get_u8(&reader);
    if (kind == ACK_DIGEST) {
        answer_digest(control, message, &reader);
    } else if (kind == ACK_HEARTBEATS && hash == control->set_hash) {
        take_heartbeats(control, &reader);
    }
}

static void on_delta(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         cluster = rf_get_u64(&reader);
    uint32_t         n = (uint32_t)rf_get_varint(&reader);
    if (reader.bad || cluster != control->cluster ||
        !rf_gossip_take_entries(control, &reader, n)) {
        return;
    }
    uint64_t       n_wants = rf_get_varint(&reader);
    struct rf_buf *list = rf_control_body(control);
    struct rf_buf *body = rf_control_body(control);
    if (n_wants == 0 || n_wants > DELTA_ENTRIES_MAX || list == NULL || body == NULL) {
        return;
    }
    uint32_t n_entries = 0;
    for (uint64_t w = 0; w < n_wants; w++) {
        uint64_t hash = rf_get_u64(&reader);
        for (uint32_t i = 0; i < control->n && !reader.bad; i++) {
            if (name_hash(control->entries[i].member.name) == hash) {
                put_entry(list, &control->entries[i]);
                n_entries++;
                break;
            }
        }
    }
    rf_put_u64(body, control->cluster);
    rf_put_varint(body, n_entries);
    rf_buf_append_slice(body, rf_buf_slice(list));
    rf_put_varint(body, 0);
    rf_control_send(control, message->from, RF_MSG_GOSSIP_DELTA, body);
}

void rf_gossip_message(struct rf_control *control, const struct rf_message *message)
{
    if (control->cluster == 0) {
        return;
    }
    if (message->kind == RF_MSG_GOSSIP_SYN) {
        on_syn(control, message);
    } else if (message->kind == RF_MSG_GOSSIP_ACK) {
        on_ack(control, message);
    } else {
        on_delta(control, message);
    }
}
