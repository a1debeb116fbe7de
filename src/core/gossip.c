/* Gossip: every interval one exchange with a random member.
 *
 * SYN and ACK carry the hash of the member set, the few entries that changed last, and the
 * heartbeats of all members in name order, as what each lacks to the highest, with the state of its
 * storage in the two low bits (mostly one byte each, 1.3 KB at 1,200 nodes). Heartbeats count only when both sides hold the same set: the receiver
 * compares after it has taken in the recent entries. The asker that still differs after the ACK
 * answers with a digest of its set (name hash, generation, version), and the other side sends what
 * is newer and asks for what is missing (DELTA).
 *
 * ACK: u8 kind (0 heartbeats, 1 digest). */
#include "core/control_private.h"

#define ACK_HEARTBEATS 0
#define ACK_DIGEST 1
#define DELTA_ENTRIES_MAX 512u
#define VARINT_MAX 10u /* bytes */

/* ---- Pieces ------------------------------------------------------------------------------- */

static void put_entry(struct rf_buf *body, const struct rf_node_entry *entry)
{
    rf_member_encode(body, rf_entry_member(entry));
    rf_put_varint(body, rf_entry_pulse(entry));
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
        uint64_t pulse = rf_get_varint(reader);
        if (reader->bad) {
            return false;
        }
        (void)rf_control_merge(control, &member, pulse);
    }
    return true;
}

/* @param about NULL, or what we know of the receiver: digests would not show that another process says
 * something else in its name. */
static void put_head(struct rf_control *control, struct rf_buf *body,
                     const struct rf_node_entry *about)
{
    rf_put_u64(body, control->cluster);
    rf_put_u64(body, control->set_hash);
    rf_put_varint(body, control->n_recent + (about != NULL));
    if (about != NULL) {
        put_entry(body, about);
    }
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
    uint64_t n = rf_get_varint(reader);
    if (reader->bad || cluster != control->cluster || n > RF_RECENT_MAX + 1 ||
        !rf_gossip_take_entries(control, reader, (uint32_t)n)) {
        return false;
    }
    *ret_hash = hash;
    return true;
}

/* 1,200 heartbeats go out and come in twice per second and node: written without a call each. */
static void put_heartbeats(struct rf_control *control, struct rf_buf *body)
{
    uint64_t highest = 0;
    for (uint32_t i = 0; i < control->n; i++) {
        uint64_t heartbeat = control->entries[i].heartbeat;
        highest = heartbeat > highest ? heartbeat : highest;
    }
    rf_put_varint(body, highest);
    uint8_t *start = rf_buf_reserve(body, (size_t)control->n * VARINT_MAX);
    uint8_t *at = start;
    if (start == NULL) {
        return;
    }
    for (uint32_t i = 0; i < control->n; i++) {
        uint64_t lag = (highest - control->entries[i].heartbeat) << 2 | control->entries[i].storage;
        while (lag >= 0x80) {
            *at++ = (uint8_t)(lag | 0x80);
            lag >>= 7;
        }
        *at++ = (uint8_t)lag;
    }
    body->size += (size_t)(at - start);
}

static void take_heartbeats(struct rf_control *control, struct rf_reader *reader)
{
    uint64_t highest = rf_get_varint(reader);
    for (uint32_t i = 0; i < control->n && reader->rest.size != 0; i++) {
        uint64_t lag = reader->rest.data[0];
        if (lag < 0x80) {
            reader->rest.data++;
            reader->rest.size--;
        } else {
            lag = rf_get_varint(reader);
        }
        uint64_t storage = lag & 3;
        lag >>= 2;
        if (reader->bad || lag > highest) {
            return;
        }
        struct rf_node_entry *entry = &control->entries[i];
        if (highest - lag > entry->heartbeat) {
            rf_control_beat(control, entry, (highest - lag) << 2 | storage);
        }
    }
}

static void put_digest(struct rf_control *control, struct rf_buf *body)
{
    rf_put_varint(body, control->n);
    for (uint32_t i = 0; i < control->n; i++) {
        const struct rf_shared_member *shared = control->entries[i].shared;
        rf_put_u64(body, shared->name_hash);
        rf_put_varint(body, shared->member.generation);
        rf_put_varint(body, shared->member.version);
    }
}

/* ---- Exchange ----------------------------------------------------------------------------- */

/* A random other member: live ones, and now and then a dead one, so that a healed partition or a
 * returned node is found again. */
static struct rf_node_entry *choose_partner(struct rf_control *control)
{
    bool any = rf_rng_below(&control->rng, 8) == 0;
    for (uint32_t attempt = 0; control->n > 1 && attempt < 16; attempt++) {
        struct rf_node_entry   *entry = &control->entries[rf_rng_below(&control->rng, control->n)];
        const struct rf_member *member = rf_entry_member(entry);
        bool                    other = member->node != control->config.self.node;
        if (other && member->state != RF_MEMBER_LEFT && (any || entry->alive)) {
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
    put_head(control, body, NULL);
    put_heartbeats(control, body);
    rf_control_send(control, rf_entry_member(partner)->node, RF_MSG_GOSSIP_SYN, body);
}

static void on_syn(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         hash = 0;
    struct rf_buf   *body = rf_control_body(control);
    if (body == NULL || !take_head(control, &reader, &hash)) {
        return;
    }
    if (hash == control->set_hash) {
        take_heartbeats(control, &reader);
    }
    put_head(control, body,
             hash == control->set_hash ? NULL : rf_control_by_node(control, message->from));
    rf_put_u8(body, ACK_HEARTBEATS);
    put_heartbeats(control, body);
    rf_control_answer(control, message, RF_MSG_GOSSIP_ACK, body);
}

static bool is_older(const struct rf_member *mine, uint64_t generation, uint64_t version)
{
    return mine->generation < generation ||
           (mine->generation == generation && mine->version < version);
}

/* What a digest says against what we know. */
struct comparison {
    uint8_t  known[RF_MEMBERS_MAX / 8]; /* by entry: the other side needs nothing */
    uint32_t n_wants;
};

/* Reads a digest; appends the name hashes of what we lack. False when it is damaged. */
static bool compare_digest(struct rf_control *control, struct rf_reader *reader,
                           struct comparison *comparison, struct rf_buf *wants)
{
    uint64_t n = rf_get_varint(reader);
    if (n > RF_MEMBERS_MAX) {
        return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t hash = rf_get_u64(reader);
        uint64_t generation = rf_get_varint(reader);
        uint64_t version = rf_get_varint(reader);
        if (reader->bad) {
            return false;
        }
        const struct rf_node_entry *entry = rf_control_by_name_hash(control, hash);
        const struct rf_member     *mine = entry == NULL ? NULL : rf_entry_member(entry);
        bool                        older = mine == NULL || is_older(mine, generation, version);
        if (older && comparison->n_wants < DELTA_ENTRIES_MAX) {
            rf_put_u64(wants, hash);
            comparison->n_wants++;
        }
        if (mine != NULL &&
            (older || (mine->generation == generation && mine->version == version))) {
            uint32_t at = (uint32_t)(entry - control->entries);
            comparison->known[at / 8] |= (uint8_t)(1u << (at % 8));
        }
    }
    return true;
}

/* Digests and deltas go back on the link on which the question came: the other side may just have
 * moved, and we would dial the address that it had before. */
static void send_delta(struct rf_control *control, const struct rf_message *request,
                       uint32_t n_entries, const struct rf_buf *list, uint32_t n_wants,
                       const struct rf_buf *wants)
{
    struct rf_buf *body = rf_control_body(control);
    if (body == NULL || (n_entries == 0 && n_wants == 0)) {
        return;
    }
    rf_put_u64(body, control->cluster);
    rf_put_varint(body, n_entries);
    rf_buf_append_slice(body, rf_buf_slice(list));
    rf_put_varint(body, n_wants);
    if (wants != NULL) {
        rf_buf_append_slice(body, rf_buf_slice(wants));
    }
    rf_control_answer(control, request, RF_MSG_GOSSIP_DELTA, body);
}

/* Delta: entries that we have newer, then the name hashes of those that we want. */
static void answer_digest(struct rf_control *control, const struct rf_message *message,
                          struct rf_reader *reader)
{
    struct comparison comparison = {0};
    struct rf_buf    *list = rf_control_body(control);
    struct rf_buf    *wants = rf_control_body(control);
    if (list == NULL || wants == NULL || !compare_digest(control, reader, &comparison, wants)) {
        return;
    }
    uint32_t n_entries = 0;
    for (uint32_t i = 0; i < control->n && n_entries < DELTA_ENTRIES_MAX; i++) {
        if ((comparison.known[i / 8] >> (i % 8) & 1) == 0) {
            put_entry(list, &control->entries[i]);
            n_entries++;
        }
    }
    send_delta(control, message, n_entries, list, comparison.n_wants, wants);
}

static void send_digest(struct rf_control *control, const struct rf_message *request)
{
    struct rf_buf *body = rf_control_body(control);
    if (body == NULL) {
        return;
    }
    put_head(control, body, NULL);
    rf_put_u8(body, ACK_DIGEST);
    put_digest(control, body);
    rf_control_answer(control, request, RF_MSG_GOSSIP_ACK, body);
}

static void on_ack(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         hash = 0;
    if (!take_head(control, &reader, &hash)) {
        return;
    }
    uint8_t kind = rf_get_u8(&reader);
    if (reader.bad || kind > ACK_DIGEST) {
        return;
    }
    if (kind == ACK_DIGEST) {
        answer_digest(control, message, &reader);
    } else if (hash == control->set_hash) {
        take_heartbeats(control, &reader);
    } else {
        send_digest(control, message);
    }
}

static void on_delta(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         cluster = rf_get_u64(&reader);
    uint64_t         n = rf_get_varint(&reader);
    if (reader.bad || cluster != control->cluster || n > RF_MEMBERS_MAX ||
        !rf_gossip_take_entries(control, &reader, (uint32_t)n)) {
        return;
    }
    uint64_t       n_wants = rf_get_varint(&reader);
    struct rf_buf *list = rf_control_body(control);
    if (n_wants == 0 || n_wants > DELTA_ENTRIES_MAX || list == NULL) {
        return;
    }
    uint32_t n_entries = 0;
    for (uint64_t w = 0; w < n_wants; w++) {
        const struct rf_node_entry *entry = rf_control_by_name_hash(control, rf_get_u64(&reader));
        if (entry != NULL && !reader.bad) {
            put_entry(list, entry);
            n_entries++;
        }
    }
    send_delta(control, message, n_entries, list, 0, NULL);
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
