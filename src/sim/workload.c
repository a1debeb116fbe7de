/* Clients, their history, and the checks that are made while the simulation runs:
 *  - a strong read returns nothing older than any write acknowledged, or version read strongly,
 *    before it began (S105, D9); a write gets a version above all those (D7);
 *  - one version of a key means one content and one expiry on every replica and for ever (S34);
 *  - a write that was refused as not applied never shows;
 *  - every request is answered at most once, and a value is one that a client wrote to that key. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sim/sim_private.h"

#define VALUE_MAX 160u
#define VALUE_MIN 16u /* number of the operation, key */

struct rf_slice rf_sim_key(uint32_t key, char space[16])
{
    snprintf(space, 16, "key-%02u", key);
    return rf_slice(space, 6);
}

static uint32_t key_number(struct rf_slice key)
{
    rf_assert(key.size == 6);
    return (uint32_t)(key.data[4] - '0') * 10 + (uint32_t)(key.data[5] - '0');
}

/* ---- History ------------------------------------------------------------------------------ */

static struct rf_sim_op *new_op(struct rf_sim *sim)
{
    if (sim->n_ops == sim->cap_ops) {
        sim->cap_ops = sim->cap_ops == 0 ? 1024 : sim->cap_ops * 2;
        sim->ops = rf_mem_realloc(sim->ops, sizeof(*sim->ops) * sim->cap_ops);
        rf_assert(sim->ops != NULL);
    }
    struct rf_sim_op *op = &sim->ops[sim->n_ops++];
    *op = (struct rf_sim_op){0};
    return op;
}

static void raise_floor(struct rf_sim *sim, uint32_t key, const struct rf_row *row)
{
    struct rf_row told = {.version = row->version, .flags = row->flags & RF_ROW_TOMBSTONE};
    if (rf_row_exists(&told) && rf_row_compare(&told, &sim->floors[key]) > 0) {
        sim->floors[key] = told;
    }
}

/* The operation that wrote a value; NULL when none did. */
static struct rf_sim_op *writer_of(struct rf_sim *sim, struct rf_slice value, uint32_t key)
{
    uint64_t facts[2];
    if (value.size < VALUE_MIN) {
        return NULL;
    }
    memcpy(facts, value.data, sizeof(facts));
    if (facts[0] >= sim->n_ops || facts[1] != key) {
        return NULL;
    }
    struct rf_sim_op *op = &sim->ops[facts[0]];
    return op->kind == RF_CLIENT_PUT && op->key == key ? op : NULL;
}

/* ---- One version, one content ------------------------------------------------------------- */

static void grow_seen(struct rf_sim *sim)
{
    uint32_t            cap = sim->cap_seen == 0 ? 4096 : sim->cap_seen * 2;
    struct rf_sim_seen *grown = RF_NEW_ARRAY(struct rf_sim_seen, cap);
    rf_assert(grown != NULL);
    for (uint32_t i = 0; i < sim->cap_seen; i++) {
        const struct rf_sim_seen *old = &sim->seen[i];
        if (old->version.hlc != 0) {
            uint64_t facts[3] = {old->version.hlc, old->version.writer, old->key};
            uint64_t at = rf_hash64(rf_slice(facts, sizeof(facts)), 0) & (cap - 1);
            while (grown[at].version.hlc != 0) {
                at = (at + 1) & (cap - 1);
            }
            grown[at] = *old;
        }
    }
    rf_mem_free(sim->seen);
    sim->seen = grown;
    sim->cap_seen = cap;
}

static struct rf_sim_seen *seen_of(struct rf_sim *sim, const struct rf_row *row, uint32_t key)
{
    uint64_t facts[3] = {row->version.hlc, row->version.writer, key};
    if (sim->n_seen * 2 >= sim->cap_seen) {
        grow_seen(sim);
    }
    uint64_t at = rf_hash64(rf_slice(facts, sizeof(facts)), 0) & (sim->cap_seen - 1);
    while (sim->seen[at].version.hlc != 0 &&
           (sim->seen[at].key != key || sim->seen[at].version.hlc != row->version.hlc ||
            sim->seen[at].version.writer != row->version.writer)) {
        at = (at + 1) & (sim->cap_seen - 1);
    }
    return &sim->seen[at];
}

uint64_t rf_sim_op_of(struct rf_sim *sim, const struct rf_row *row)
{
    const struct rf_sim_op *op = writer_of(sim, row->value, key_number(row->key));
    return op == NULL ? 0 : (uint64_t)(op - sim->ops) + 1;
}

void rf_sim_stored(struct rf_sim *sim, uint64_t number)
{
    const struct rf_sim_op *op = number == 0 ? NULL : &sim->ops[number - 1];
    if (op != NULL && op->state == RF_SIM_OP_NOT_APPLIED) {
        rf_sim_violation(sim,
                         "key %u: a write refused as not applied (%s, node %u, began at "
                         "%llu us) is stored",
                         op->key, rf_rc_code(op->rc), op->node, (unsigned long long)op->start_us);
    }
}

void rf_sim_saw_row(struct rf_sim *sim, const struct rf_row *row)
{
    uint32_t            key = key_number(row->key);
    struct rf_sim_seen *seen = seen_of(sim, row, key);
    bool                marker = (row->flags & RF_ROW_MARKER) != 0;
    uint64_t            content = marker ? 0 : rf_hash64(row->value, row->flags);
    bool                value = (row->flags & (RF_ROW_TOMBSTONE | RF_ROW_MARKER)) == 0;
    if (value) {
        const struct rf_sim_op *op = writer_of(sim, row->value, key);
        if (op == NULL) {
            rf_sim_violation(sim, "key %u: a store gets a value that nobody wrote", key);
        } else if (row->expiry_ms !=
                   (op->ttl_s == 0 ? 0 : rf_hlc_ms(row->version.hlc) + op->ttl_s * 1000)) {
            rf_sim_violation(sim, "key %u: expiry is not version + ttl (S34)", key);
        }
    }
    if (seen->version.hlc == 0) {
        *seen = (struct rf_sim_seen){row->version, key, row->expiry_ms, content,
                                     rf_sim_op_of(sim, row)};
        rf_sim_got_version(sim, seen->op, &row->version);
        sim->n_seen++;
        return;
    }
    if (seen->expiry_ms != row->expiry_ms) {
        rf_sim_violation(sim, "key %u: one version, two expiries", key);
    }
    if (!marker && seen->content != 0 && seen->content != content) {
        rf_sim_violation(sim, "key %u: version %llx/%llx was issued twice", key,
                         (unsigned long long)row->version.hlc,
                         (unsigned long long)row->version.writer);
    }
    seen->content = marker ? seen->content : content;
}

/* ---- Requests ----------------------------------------------------------------------------- */

static void fill_value(struct rf_sim *sim, uint64_t number, uint32_t key, uint8_t *value,
                       size_t size)
{
    uint64_t facts[2] = {number, key};
    memcpy(value, facts, sizeof(facts));
    for (size_t i = VALUE_MIN; i < size; i++) {
        value[i] = (uint8_t)rf_rng_next(&sim->rng);
    }
}

uint64_t rf_sim_start_op(struct rf_sim *sim, uint32_t client, uint32_t node,
                         enum rf_client_kind kind, uint32_t key, bool strong)
{
    uint64_t          number = sim->n_ops;
    struct rf_sim_op *op = new_op(sim);
    char              space[16];
    struct rf_slice   name = rf_sim_key(key, space);
    size_t            size = kind == RF_CLIENT_PUT ? VALUE_MIN + rf_sim_random(sim, VALUE_MAX) : 0;
    struct rf_blob   *blob = rf_blob_new(name.size + size);
    rf_assert(blob != NULL);
    op->kind = kind;
    op->strong = strong;
    op->key = key;
    op->client = client;
    op->node = node;
    op->start_us = sim->now_us;
    op->floor = sim->floors[key];
    op->ttl_s =
        kind == RF_CLIENT_PUT && rf_sim_chance(sim, 150000) ? 1 + rf_sim_random(sim, 20) : 0;
    memcpy(blob->data, name.data, name.size);
    if (size != 0) {
        fill_value(sim, number, key, blob->data + name.size, size);
    }
    struct rf_event event = {.kind = RF_EV_CLIENT};
    event.as.client = (struct rf_client_op){
        .kind = kind,
        .strong = strong,
        .client = number + 1,
        .table = RF_SIM_TABLE,
        .ttl_s = op->ttl_s,
        .row = {.key = rf_slice(blob->data, name.size),
                .value = rf_slice(blob->data + name.size, size),
                .blob = blob},
    };
    sim->result.requests++;
    rf_sim_push(sim, &sim->nodes[node], (uint32_t)rf_sim_random(sim, sim->options.n_shards),
                &event);
    return number + 1;
}

static void client_later(struct rf_sim *sim, uint32_t client, uint64_t delay_us)
{
    rf_sim_schedule(sim, RF_SIM_CLIENT, delay_us)->machine = client;
}

void rf_sim_client_run(struct rf_sim *sim, uint32_t client)
{
    if (!sim->load || sim->clients[client].op != 0) {
        return;
    }
    uint32_t node = (uint32_t)rf_sim_random(sim, sim->n_nodes);
    if (!sim->nodes[node].up || node == sim->spared) {
        client_later(sim, client, 1000 + rf_sim_random(sim, 5000));
        return;
    }
    uint32_t            dice = (uint32_t)rf_sim_random(sim, 100);
    enum rf_client_kind kind = dice < 40   ? RF_CLIENT_PUT
                               : dice < 50 ? RF_CLIENT_DELETE
                                           : RF_CLIENT_GET;
    bool                strong = dice < 85 && sim->options.scenario != RF_SIM_HINTS;
    sim->clients[client].op =
        rf_sim_start_op(sim, client, node, kind, (uint32_t)rf_sim_random(sim, sim->n_keys), strong);
}

/* ---- Replies ------------------------------------------------------------------------------ */

static void check_written(struct rf_sim *sim, struct rf_sim_op *op, const struct rf_reply *reply)
{
    if (reply->rc != RF_OK) {
        op->state = reply->outcome_unknown ? RF_SIM_OP_UNKNOWN : RF_SIM_OP_NOT_APPLIED;
        return;
    }
    op->state = RF_SIM_OP_ACKED;
    if (rf_row_compare(&reply->row, &op->floor) <= 0) {
        rf_sim_violation(sim,
                         "key %u: a write was acknowledged with version %llx, not above %llx "
                         "that was known before it began (D7)",
                         op->key, (unsigned long long)reply->row.version.hlc,
                         (unsigned long long)op->floor.version.hlc);
    }
    raise_floor(sim, op->key, &reply->row);
    bool put = op->kind == RF_CLIENT_PUT;
    rf_sim_in_effect(sim, op->key, put ? (uint64_t)(op - sim->ops) + 1 : 0, op->start_us);
}

/* The write that a strong read shows: by its version, since an expired one comes without value. */
static uint64_t shown_by(struct rf_sim *sim, const struct rf_sim_op *op,
                         const struct rf_reply *reply)
{
    if (!rf_row_exists(&reply->row) || (reply->row.flags & RF_ROW_TOMBSTONE) != 0) {
        return 0;
    }
    return seen_of(sim, &reply->row, op->key)->op;
}

static void check_read(struct rf_sim *sim, struct rf_sim_op *op, const struct rf_reply *reply)
{
    bool found = reply->rc == RF_OK;
    if (!found && reply->rc != RF_ITEM_NOT_FOUND) {
        op->state = RF_SIM_OP_UNKNOWN;
        return;
    }
    op->state = RF_SIM_OP_ACKED;
    if (found && writer_of(sim, reply->row.value, op->key) == NULL) {
        rf_sim_violation(sim, "key %u: a read returns a value that nobody wrote", op->key);
    }
    if (!op->strong) {
        return;
    }
    struct rf_row told = {.version = reply->row.version,
                          .flags = reply->row.flags & RF_ROW_TOMBSTONE};
    sim->result.reads_checked++;
    if (rf_row_compare(&told, &op->floor) < 0) {
        rf_sim_violation(sim,
                         "key %u: a strong read through node %u returned version %llx, older "
                         "than %llx that was known before it began (S105)",
                         op->key, op->node, (unsigned long long)told.version.hlc,
                         (unsigned long long)op->floor.version.hlc);
    }
    raise_floor(sim, op->key, &told);
    rf_sim_in_effect(sim, op->key, shown_by(sim, op, reply), op->start_us);
}

void rf_sim_reply(struct rf_sim *sim, struct rf_sim_node *node, const struct rf_reply *reply)
{
    rf_assert(reply->client != 0 && reply->client <= sim->n_ops);
    struct rf_sim_op *op = &sim->ops[reply->client - 1];
    if (op->replied || op->node != node->index) {
        rf_sim_violation(sim, "request %llu was answered twice", (unsigned long long)reply->client);
        return;
    }
    op->replied = true;
    op->rc = reply->rc;
    op->unsure = reply->unsure;
    if (op->kind == RF_CLIENT_GET) {
        check_read(sim, op, reply);
    } else {
        check_written(sim, op, reply);
    }
    bool acked = op->state == RF_SIM_OP_ACKED;
    sim->result.acked += acked;
    sim->result.failed += op->state == RF_SIM_OP_NOT_APPLIED;
    sim->result.unknown += op->state == RF_SIM_OP_UNKNOWN;
    if (!acked && sim->options.scenario == RF_SIM_CALM) {
        rf_sim_violation(sim, "a request failed without any fault: %s", rf_rc_code(reply->rc));
    }
    uint64_t facts[4] = {reply->client, reply->rc, reply->row.version.hlc, sim->now_us};
    sim->trace = rf_hash64(rf_slice(facts, sizeof(facts)), sim->trace);
    sim->clients[op->client].op = 0;
    client_later(sim, op->client, rf_sim_random(sim, 40000));
}

void rf_sim_clients_lost(struct rf_sim *sim, uint32_t node)
{
    for (uint32_t c = 0; c < sim->n_clients; c++) {
        struct rf_sim_op *op = sim->clients[c].op == 0 ? NULL : &sim->ops[sim->clients[c].op - 1];
        if (op != NULL && op->node == node) {
            op->replied = true;
            op->unsure = true;
            op->state = RF_SIM_OP_UNKNOWN;
            sim->result.unknown++;
            sim->clients[c].op = 0;
            client_later(sim, c, 1000 + rf_sim_random(sim, 40000));
        }
    }
}

void rf_sim_workload_fini(struct rf_sim *sim)
{
    rf_mem_free(sim->ops);
    rf_mem_free(sim->seen);
}
