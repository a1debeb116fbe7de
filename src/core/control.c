#include "core/control.h"

#include "base/hash.h"
#include "base/mem.h"
#include "core/control_private.h"

#define STATE_FORMAT 1u
#define CLUSTER_KEY "cluster"

/* ---- The member table --------------------------------------------------------------------- */

static uint32_t lower_bound(const struct rf_control *control, const char *name)
{
    uint32_t low = 0;
    uint32_t high = control->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(rf_entry_member(&control->entries[middle])->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct rf_node_entry *rf_control_by_name(struct rf_control *control, const char *name)
{
    uint32_t at = lower_bound(control, name);
    bool found = at < control->n && strcmp(rf_entry_member(&control->entries[at])->name, name) == 0;
    return found ? &control->entries[at] : NULL;
}

/* ---- Indexes ------------------------------------------------------------------------------ */

static void put_index(uint16_t *table, uint32_t cap, uint64_t hash, uint32_t entry)
{
    uint32_t at = (uint32_t)hash & (cap - 1);
    while (table[at] != 0) {
        at = (at + 1) & (cap - 1);
    }
    table[at] = (uint16_t)(entry + 1);
}

/* Node ids are random, but not in their low bits. */
static uint64_t node_hash(uint64_t node)
{
    return (node >> 8) * 0x9e3779b97f4a7c15u >> 32;
}

/* Makes both hash tables anew, at most half full. False without memory. */
static bool build_index(struct rf_control *control)
{
    uint32_t cap = 16;
    while (cap < control->n * 2) {
        cap *= 2;
    }
    if (cap > control->index_room) {
        rf_mem_free(control->by_node);
        rf_mem_free(control->by_hash);
        control->index_room = 0;
        control->by_node = RF_NEW_ARRAY(uint16_t, cap);
        control->by_hash = RF_NEW_ARRAY(uint16_t, cap);
        if (control->by_node == NULL || control->by_hash == NULL) {
            return false;
        }
        control->index_room = cap;
    }
    memset(control->by_node, 0, sizeof(uint16_t) * cap);
    memset(control->by_hash, 0, sizeof(uint16_t) * cap);
    for (uint32_t i = 0; i < control->n; i++) {
        const struct rf_shared_member *shared = control->entries[i].shared;
        put_index(control->by_node, cap, node_hash(shared->member.node), i);
        put_index(control->by_hash, cap, shared->name_hash, i);
    }
    control->index_cap = cap;
    return true;
}

struct rf_node_entry *rf_control_by_node(struct rf_control *control, uint64_t node)
{
    if (control->index_cap == 0 && !build_index(control)) {
        return NULL;
    }
    uint32_t mask = control->index_cap - 1;
    for (uint32_t at = (uint32_t)node_hash(node) & mask; control->by_node[at] != 0;
         at = (at + 1) & mask) {
        struct rf_node_entry *entry = &control->entries[control->by_node[at] - 1];
        if (entry->shared->member.node == node) {
            return entry;
        }
    }
    return NULL;
}

struct rf_node_entry *rf_control_by_name_hash(struct rf_control *control, uint64_t hash)
{
    if (control->index_cap == 0 && !build_index(control)) {
        return NULL;
    }
    uint32_t mask = control->index_cap - 1;
    for (uint32_t at = (uint32_t)hash & mask; control->by_hash[at] != 0; at = (at + 1) & mask) {
        struct rf_node_entry *entry = &control->entries[control->by_hash[at] - 1];
        if (entry->shared->name_hash == hash) {
            return entry;
        }
    }
    return NULL;
}

/* ---- Entries ------------------------------------------------------------------------------ */

/* Room for one more entry. */
static bool grow_entries(struct rf_control *control)
{
    if (control->n == RF_MEMBERS_MAX) {
        return false;
    }
    if (control->n < control->cap) {
        return true;
    }
    uint32_t              cap = control->cap == 0 ? 8 : control->cap + control->cap / 2;
    struct rf_node_entry *grown =
        rf_mem_realloc(control->entries, sizeof(struct rf_node_entry) * cap);
    if (grown == NULL) {
        return false;
    }
    control->entries = grown;
    control->cap = cap;
    return true;
}

/* A new entry at its place by name; takes over the reference. NULL at the limit or without memory. */
static struct rf_node_entry *insert_entry(struct rf_control       *control,
                                          struct rf_shared_member *shared)
{
    if (shared == NULL || !grow_entries(control)) {
        rf_member_pool_drop(control->pool, shared);
        return NULL;
    }
    uint32_t at = lower_bound(control, shared->member.name);
    memmove(&control->entries[at + 1], &control->entries[at],
            sizeof(struct rf_node_entry) * (control->n - at));
    control->n++;
    control->index_cap = 0;
    if (control->self != RF_NO_MEMBER && control->self >= at) {
        control->self++;
    }
    control->entries[at] = (struct rf_node_entry){.shared = shared, .alive = true};
    control->set_hash += shared->hash;
    return &control->entries[at];
}

/* Another version of a known member, of the same name and node; takes over the reference. */
static void replace_member(struct rf_control *control, struct rf_node_entry *entry,
                           struct rf_shared_member *shared)
{
    rf_assert(entry->shared->name_hash == shared->name_hash);
    rf_assert(entry->shared->member.node == shared->member.node);
    control->set_hash += shared->hash - entry->shared->hash;
    rf_member_pool_drop(control->pool, entry->shared);
    entry->shared = shared;
}

static void remember_recent(struct rf_control *control, uint64_t node)
{
    uint32_t keep = 0;
    for (uint32_t i = 0; i < control->n_recent; i++) {
        if (control->recent[i] != node) {
            control->recent[keep++] = control->recent[i];
        }
    }
    if (keep == RF_RECENT_MAX) {
        memmove(control->recent, control->recent + 1, sizeof(uint64_t) * --keep);
    }
    control->recent[keep] = node;
    control->n_recent = keep + 1;
}

static bool is_newer(const struct rf_member *a, const struct rf_member *b)
{
    return a->generation != b->generation ? a->generation > b->generation : a->version > b->version;
}

/* What others know of us may be newer than what we are: state comes from the cluster, everything
 * else from our own configuration, and the version goes above, once. */
static struct rf_member own_member(const struct rf_control *control, const struct rf_member *told)
{
    struct rf_member member = control->config.self;
    member.state = told->state;
    member.version = told->version + 1;
    return member;
}

static void mark_untold(struct rf_control *control, struct rf_node_entry *entry, unsigned what)
{
    control->n_untold += entry->untold == 0 && what != 0;
    entry->untold = (uint8_t)(entry->untold | what);
}

static bool merge_new(struct rf_control *control, struct rf_node_entry *entry,
                      const struct rf_member *member, uint64_t pulse)
{
    bool             own = member->node == control->config.self.node;
    struct rf_member taken = own ? own_member(control, member) : *member;
    bool restarted = entry == NULL || rf_entry_member(entry)->generation != taken.generation;
    struct rf_shared_member *shared = rf_member_pool_take(control->pool, &taken);
    if (shared == NULL) {
        return false;
    }
    if (entry != NULL) {
        bool moved = strcmp(rf_entry_member(entry)->peer_addr, taken.peer_addr) != 0;
        replace_member(control, entry, shared);
        mark_untold(control, entry, moved && !own ? RF_UNTOLD_MOVED : 0);
    } else {
        entry = insert_entry(control, shared);
        if (entry == NULL) {
            return false;
        }
    }
    if (own) {
        control->self = (uint32_t)(entry - control->entries);
    } else if (restarted) {
        entry->heartbeat = 0;
        rf_control_beat(control, entry, pulse + (1u << 2));
    }
    remember_recent(control, taken.node);
    control->dirty = true;
    return true;
}

bool rf_control_merge(struct rf_control *control, const struct rf_member *member, uint64_t pulse)
{
    struct rf_node_entry *entry = rf_control_by_name(control, member->name);
    bool                  own = member->node == control->config.self.node;
    if (entry != NULL && rf_entry_member(entry)->node != member->node) {
        return false;
    }
    if (own && rf_twin_told(control, member)) {
        return true; /* nobody but us makes our generations */
    }
    if (entry != NULL && !is_newer(member, rf_entry_member(entry))) {
        if (!own && member->generation == rf_entry_member(entry)->generation) {
            rf_control_beat(control, entry, pulse);
        }
        return true;
    }
    return merge_new(control, entry, member, pulse);
}

static void set_storage(struct rf_control *control, struct rf_node_entry *entry, uint8_t storage)
{
    if (storage != entry->storage) {
        entry->storage = storage;
        mark_untold(control, entry, RF_UNTOLD_STORAGE);
    }
}

void rf_control_beat(struct rf_control *control, struct rf_node_entry *entry, uint64_t pulse)
{
    uint64_t heartbeat = pulse >> 2;
    if ((pulse & 3) > RF_STORAGE_READ_ONLY || heartbeat <= entry->heartbeat ||
        rf_entry_member(entry)->node == control->config.self.node) {
        return;
    }
    set_storage(control, entry, (uint8_t)(pulse & 3));
    entry->heartbeat = heartbeat;
    entry->changed_at_us = control->now.mono_us;
    entry->probe = RF_PROBE_NONE;
    if (!entry->alive) {
        rf_control_set_alive(control, entry, true);
    }
}

void rf_control_set_alive(struct rf_control *control, struct rf_node_entry *entry, bool alive)
{
    entry->alive = alive;
    mark_untold(control, entry, RF_UNTOLD_ALIVE);
    if (alive) {
        rf_handoff_alive(control, entry);
    }
}

uint64_t rf_control_cluster(const struct rf_control *control)
{
    return control->cluster;
}

uint32_t rf_control_n_members(const struct rf_control *control)
{
    return control->n;
}

const struct rf_member *rf_control_member(const struct rf_control *control, uint32_t index)
{
    rf_assert(index < control->n);
    return rf_entry_member(&control->entries[index]);
}

bool rf_control_alive(const struct rf_control *control, uint32_t index)
{
    rf_assert(index < control->n);
    return control->entries[index].alive;
}

enum rf_storage_state rf_control_storage(const struct rf_control *control, uint32_t index)
{
    rf_assert(index < control->n);
    return (enum rf_storage_state)control->entries[index].storage;
}

uint64_t rf_control_silence_us(const struct rf_control *control, uint32_t index)
{
    rf_assert(index < control->n);
    uint64_t changed_at_us = control->entries[index].changed_at_us;
    return changed_at_us == 0 || index == control->self ? 0 : control->now.mono_us - changed_at_us;
}

/* ---- Messages ----------------------------------------------------------------------------- */

struct rf_buf *rf_control_body(struct rf_control *control)
{
    uint32_t max = sizeof(control->scratch) / sizeof(control->scratch[0]);
    if (control->n_scratch == max) {
        return NULL;
    }
    struct rf_buf *body = &control->scratch[control->n_scratch++];
    rf_buf_clear(body);
    return body;
}

static void fill_message(struct rf_control *control, struct rf_message *message,
                         enum rf_message_kind kind, const struct rf_buf *body)
{
    message->kind = kind;
    message->request_id = RF_CONTROL_SHARD;
    message->wall_ms = control->now.wall_ms;
    message->hlc = rf_hlc_make(control->now.wall_ms, 0);
    if (body != NULL && !body->failed) {
        message->body = rf_buf_slice(body);
    }
}

struct rf_message *rf_control_send(struct rf_control *control, uint64_t node,
                                   enum rf_message_kind kind, const struct rf_buf *body)
{
    struct rf_effect *effect = rf_effect_add(control->out, RF_FX_SEND);
    effect->node = node;
    fill_message(control, &effect->as.message, kind, body);
    return &effect->as.message;
}

struct rf_message *rf_control_answer(struct rf_control *control, const struct rf_message *request,
                                     enum rf_message_kind kind, const struct rf_buf *body)
{
    struct rf_effect *effect = rf_effect_add(control->out, RF_FX_ANSWER);
    fill_message(control, &effect->as.message, kind, body);
    effect->as.message.link = request->link;
    return &effect->as.message;
}

/* ---- Durable state ------------------------------------------------------------------------ */

static void put_state_head(struct rf_buf *buf, uint64_t cluster, uint32_t n_members)
{
    rf_put_u8(buf, STATE_FORMAT);
    rf_put_u64(buf, cluster);
    rf_put_u32(buf, n_members);
}

void rf_cluster_state_encode(struct rf_buf *buf, const struct rf_cluster_state *state)
{
    put_state_head(buf, state->cluster, state->n_members);
    for (uint32_t i = 0; i < state->n_members; i++) {
        rf_member_encode(buf, &state->members[i]);
    }
}

static void encode_state(const struct rf_control *control, struct rf_buf *buf)
{
    put_state_head(buf, control->cluster, control->n);
    for (uint32_t i = 0; i < control->n; i++) {
        rf_member_encode(buf, rf_entry_member(&control->entries[i]));
    }
}

static struct rf_result decode_state(struct rf_control *control, struct rf_slice state)
{
    struct rf_reader reader = rf_reader(state);
    if (rf_get_u8(&reader) != STATE_FORMAT) {
        return rf_result(RF_CORRUPT);
    }
    control->cluster = rf_get_u64(&reader);
    uint32_t n = rf_get_u32(&reader);
    if (n > RF_MEMBERS_MAX) {
        return rf_result(RF_CORRUPT);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct rf_member member = {0};
        RF_TRY(rf_member_decode(&reader, &member));
        if (rf_control_by_name(control, member.name) != NULL) {
            return rf_result(RF_CORRUPT);
        }
        bool own = member.node == control->config.self.node;
        if (own) {
            uint8_t state_before = member.state;
            rf_twin_stored(control, &member);
            member = control->config.self;
            member.state = state_before;
        }
        struct rf_node_entry *entry =
            insert_entry(control, rf_member_pool_take(control->pool, &member));
        if (entry == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
        control->self = own ? (uint32_t)(entry - control->entries) : control->self;
    }
    return rf_result(reader.bad ? RF_CORRUPT : RF_OK);
}

/* Every state goes above the one before, also when the wall clock was set back: the store keeps the
 * newest version, and the node would wake up in a former cluster. */
static uint64_t next_state_hlc(struct rf_control *control)
{
    uint64_t hlc = rf_hlc_make(control->now.wall_ms, 0);
    control->state_hlc = hlc > control->state_hlc ? hlc : control->state_hlc + 1;
    return control->state_hlc;
}

/* The member set changed: hosts build a new view, and the set goes to disk. */
static void publish(struct rf_control *control)
{
    control->dirty = false;
    rf_effect_add(control->out, RF_FX_PUBLISH);
    struct rf_buf encoded = {0};
    encode_state(control, &encoded);
    size_t          key_size = sizeof(CLUSTER_KEY) - 1;
    struct rf_blob *blob = encoded.failed ? NULL : rf_blob_new(key_size + encoded.size);
    if (blob != NULL) {
        memcpy(blob->data, CLUSTER_KEY, key_size);
        memcpy(blob->data + key_size, encoded.data, encoded.size);
        struct rf_effect *effect = rf_effect_add(control->out, RF_FX_STORE);
        struct rf_slice   key = rf_slice(blob->data, key_size);
        effect->as.store = (struct rf_store_op){
            .kind = RF_STORE_APPLY,
            .mode = RF_APPLY_MERGE,
            .tag = RF_CONTROL_SHARD,
            .table = RF_TABLE_META,
            .token = rf_ring_token(0, key),
            .row = {.version = {next_state_hlc(control), 1},
                    .key = key,
                    .value = rf_slice(blob->data + key_size, encoded.size),
                    .blob = blob},
        };
    }
    rf_buf_fini(&encoded);
}

/* ---- Life and steps ----------------------------------------------------------------------- */

struct rf_result rf_control_new(const struct rf_control_config *config,
                                struct rf_control             **ret_control)
{
    rf_assert(config->n_seeds <= RF_SEEDS_MAX);
    rf_assert(config->self.node != 0 && (config->self.node & 0xff) == 0);
    struct rf_control *control = RF_NEW(struct rf_control);
    if (control == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    control->magic = RF_CONTROL_MAGIC;
    control->config = *config;
    control->config.state = rf_slice(NULL, 0);
    control->state_hlc = config->state_hlc;
    control->self = RF_NO_MEMBER;
    control->rng.state = config->rng_seed;
    control->twin.began_us = config->began_us;
    control->own_pool = config->pool == NULL;
    control->pool = control->own_pool ? rf_member_pool_new() : config->pool;
    if (control->pool == NULL) {
        rf_control_free(control);
        return rf_result(RF_NO_MEMORY);
    }
    if (config->state.size != 0) {
        struct rf_result decoded = decode_state(control, config->state);
        if (!rf_ok(decoded)) {
            rf_control_free(control);
            return decoded;
        }
        if (config->cluster != 0 && control->cluster != 0 && control->cluster != config->cluster) {
            rf_control_free(control);
            return rf_result(RF_CORRUPT);
        }
        control->dirty = control->cluster != 0;
    }
    *ret_control = control;
    return rf_result(RF_OK);
}

void rf_control_free(struct rf_control *control)
{
    if (control == NULL) {
        return;
    }
    rf_assert(control->magic == RF_CONTROL_MAGIC);
    for (uint32_t i = 0; i < sizeof(control->scratch) / sizeof(control->scratch[0]); i++) {
        rf_buf_fini(&control->scratch[i]);
    }
    rf_handoff_fini(control);
    for (uint32_t i = 0; i < control->n; i++) {
        rf_member_pool_drop(control->pool, control->entries[i].shared);
    }
    if (control->own_pool) {
        rf_member_pool_free(control->pool);
    }
    rf_mem_free(control->entries);
    rf_mem_free(control->by_node);
    rf_mem_free(control->by_hash);
    control->magic = 0;
    rf_mem_free(control);
}

static void on_message(struct rf_control *control, const struct rf_message *message)
{
    if (control->twin.silent && message->kind != RF_MSG_PROBE_ACK) {
        return;
    }
    switch (message->kind) {
    case RF_MSG_FORM_ASK:
        rf_forming_ask(control, message);
        break;
    case RF_MSG_FORM_SAY:
        rf_forming_say(control, message);
        break;
    case RF_MSG_GOSSIP_SYN:
    case RF_MSG_GOSSIP_ACK:
    case RF_MSG_GOSSIP_DELTA:
        rf_gossip_message(control, message);
        break;
    case RF_MSG_PROBE:
    case RF_MSG_PROBE_ACK:
        rf_detector_message(control, message);
        break;
    case RF_MSG_WRITE_ACK:
        rf_handoff_ack(control, message);
        break;
    case RF_MSG_HELLO:
    case RF_MSG_WRITE:
    case RF_MSG_READ:
    case RF_MSG_READ_ACK:
    case RF_MSG_HINT:
    case RF_MSG_HINT_ACK:
        break;
    default:
        rf_unreachable();
    }
}

/* The host says what this node's storage takes. It goes out with the heartbeat, at once: until the
 * others know, they send what is refused. */
static void on_storage(struct rf_control *control, enum rf_storage_state storage)
{
    control->storage = (uint8_t)storage;
    if (control->cluster != 0) {
        control->next_round_us = control->now.mono_us;
    }
}

static void round_if_due(struct rf_control *control)
{
    if (control->now.mono_us < control->next_round_us || control->twin.silent) {
        return;
    }
    if (control->cluster == 0) {
        control->next_round_us = control->now.mono_us + RF_FORM_INTERVAL_US;
        rf_forming_round(control);
        return;
    }
    control->next_round_us = control->now.mono_us + control->config.gossip_interval_us;
    if (control->self != RF_NO_MEMBER) {
        control->entries[control->self].heartbeat++;
        set_storage(control, &control->entries[control->self], control->storage);
    }
    rf_gossip_round(control);
    rf_detector_round(control);
}

/* Tells the shards of every new verdict, as far as there is room. */
static void tell_shards(struct rf_control *control)
{
    for (uint32_t i = 0; i < control->n && control->n_untold != 0; i++) {
        struct rf_node_entry *entry = &control->entries[i];
        if (entry->untold == 0) {
            continue;
        }
        if (control->out->max - control->out->n < 3) {
            return; /* the next step goes on */
        }
        if ((entry->untold & RF_UNTOLD_MOVED) != 0) {
            rf_effect_add(control->out, RF_FX_MOVED)->node = rf_entry_member(entry)->node;
        }
        if ((entry->untold & RF_UNTOLD_ALIVE) != 0) {
            struct rf_effect *effect = rf_effect_add(control->out, RF_FX_ALIVE);
            effect->node = rf_entry_member(entry)->node;
            effect->as.up = entry->alive;
        }
        if ((entry->untold & RF_UNTOLD_STORAGE) != 0) {
            struct rf_effect *effect = rf_effect_add(control->out, RF_FX_STORAGE);
            effect->node = rf_entry_member(entry)->node;
            effect->as.storage = (enum rf_storage_state)entry->storage;
        }
        entry->untold = 0;
        control->n_untold--;
    }
    rf_assert(control->n_untold == 0);
}

static uint64_t next_wake_us(const struct rf_control *control)
{
    uint64_t handoff_us = control->cluster != 0 ? control->handoff.due_us : UINT64_MAX;
    if (control->n_untold != 0) {
        return control->now.mono_us;
    }
    if (control->twin.address != NULL &&
        (control->twin.silent || control->twin.due_us < control->next_round_us)) {
        return control->twin.due_us;
    }
    return handoff_us < control->next_round_us ? handoff_us : control->next_round_us;
}

/* What is due whether or not something came in. */
static void go_on(struct rf_control *control)
{
    rf_twin_run(control);
    if (control->twin.ended) {
        return;
    }
    round_if_due(control);
    if (control->twin.silent) {
        return; /* no requests before it is known that nobody else is this node */
    }
    if (control->dirty && control->cluster != 0) {
        publish(control);
    }
    if (control->cluster != 0 && control->out->n < control->out->max) {
        rf_handoff_run(control);
    }
    tell_shards(control);
}

struct rf_result rf_control_step(struct rf_control *control, const struct rf_event *events,
                                 uint32_t n_events, struct rf_effects *ret_effects)
{
    rf_assert(control->magic == RF_CONTROL_MAGIC);
    rf_assert(ret_effects->max >= RF_EFFECTS_MIN);
    control->out = ret_effects;
    control->n_scratch = 0;
    ret_effects->n = 0;
    ret_effects->consumed = 0;
    /* One message per step: bodies are views into `scratch`, and one message causes at most two. */
    for (uint32_t i = 0; i < n_events && i == 0; i++) {
        control->now = events[i].now;
        if (control->twin.ended) {
            ret_effects->consumed++;
            continue;
        }
        if (events[i].kind == RF_EV_MESSAGE) {
            on_message(control, &events[i].as.message);
        } else if (events[i].kind == RF_EV_STORED) {
            rf_handoff_stored(control, &events[i].as.stored);
        } else if (events[i].kind == RF_EV_STORAGE) {
            on_storage(control, events[i].as.peer.storage);
        }
        ret_effects->consumed++;
    }
    if (!control->twin.ended) {
        go_on(control);
    }
    ret_effects->wake_at_us = control->twin.ended ? UINT64_MAX : next_wake_us(control);
    control->out = NULL;
    return rf_result(ret_effects->consumed < n_events ? RF_MORE : RF_OK);
}

struct rf_control_stats rf_control_stats(const struct rf_control *control)
{
    return control->stats;
}

size_t rf_control_memory(const struct rf_control *control)
{
    size_t bytes = sizeof(*control) + sizeof(struct rf_node_entry) * control->cap +
                   2 * sizeof(uint16_t) * control->index_room;
    for (uint32_t i = 0; i < sizeof(control->scratch) / sizeof(control->scratch[0]); i++) {
        bytes += control->scratch[i].cap;
    }
    return bytes;
}

uint64_t rf_control_set_hash(const struct rf_control *control)
{
    return control->set_hash;
}

uint64_t rf_control_digest(const struct rf_control *control)
{
    uint64_t digest = control->set_hash ^ control->cluster;
    for (uint32_t i = 0; i < control->n; i++) {
        uint64_t facts[2] = {control->entries[i].heartbeat, control->entries[i].alive};
        digest = rf_hash64(rf_slice(facts, sizeof(facts)), digest);
    }
    return digest;
}

void rf_control_check(const struct rf_control *control)
{
    rf_assert(control->magic == RF_CONTROL_MAGIC);
    uint64_t hash = 0;
    uint32_t n_untold = 0;
    for (uint32_t i = 0; i < control->n; i++) {
        const struct rf_node_entry *entry = &control->entries[i];
        n_untold += entry->untold != 0;
        rf_assert(i == 0 ||
                  strcmp(rf_entry_member(entry - 1)->name, rf_entry_member(entry)->name) < 0);
        hash += entry->shared->hash;
    }
    rf_assert(hash == control->set_hash);
    rf_assert(n_untold == control->n_untold);
    rf_assert(control->self == RF_NO_MEMBER ||
              rf_entry_member(&control->entries[control->self])->node == control->config.self.node);
    rf_assert(control->n <= RF_MEMBERS_MAX);
}
