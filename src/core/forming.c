/* The first start of a cluster. A node with an empty directory asks its seeds who they are. One that
 * knows a cluster admits it; when every seed has answered that it knows none, the one with the
 * smallest name makes the cluster's random id with all of them as members. Nobody serves before. A node that was
 * part of a cluster and lost its member table is admitted to that one again; it never makes one. */
#include "core/control_private.h"

/* Does this node hold data of a cluster whose member table it lost? Another cluster over the same
 * data would have another hash seed, and place every key elsewhere. */
static bool lost_members(const struct rf_control *control)
{
    return control->cluster == 0 && (control->config.cluster != 0 || control->config.no_forming);
}

static void make_cluster(struct rf_control *control)
{
    const struct rf_member *smallest = NULL;
    bool                    self_is_seed = false;
    if (lost_members(control)) {
        return;
    }
    for (uint32_t i = 0; i < control->config.n_seeds; i++) {
        const struct rf_seed_answer *seed = &control->seeds[i];
        if (!seed->answered) {
            return;
        }
        self_is_seed = self_is_seed || seed->is_self;
        if (smallest == NULL || strcmp(seed->member.name, smallest->name) < 0) {
            smallest = &seed->member;
        }
    }
    if (!self_is_seed || smallest->node != control->config.self.node) {
        return;
    }
    control->cluster = rf_rng_next(&control->rng) | 1;
    for (uint32_t i = 0; i < control->config.n_seeds; i++) {
        struct rf_member member = control->seeds[i].member;
        member.state = RF_MEMBER_NORMAL;
        member.version++;
        (void)rf_control_merge(control, &member, 0);
    }
}

void rf_forming_round(struct rf_control *control)
{
    struct rf_buf *body = rf_control_body(control);
    rf_assert(body != NULL); /* first user in a step */
    rf_member_encode(body, &control->config.self);
    for (uint32_t i = 0; i < control->config.n_seeds; i++) {
        struct rf_seed_answer *seed = &control->seeds[i];
        if (strcmp(control->config.seeds[i], control->config.self.peer_addr) == 0) {
            seed->answered = true;
            seed->is_self = true;
            seed->member = control->config.self;
            continue;
        }
        struct rf_message *message = rf_control_send(control, 0, RF_MSG_FORM_ASK, body);
        message->target = i;
        struct rf_effect *effect = &control->out->list[control->out->n - 1];
        effect->kind = RF_FX_SEND_ADDR;
        effect->text = control->config.seeds[i];
    }
    make_cluster(control); /* a node whose only seed is itself waits for nobody */
}

/* Answer: cluster id, the seed number that the asker counts by, own entry, and when we know a
 * cluster all members. */
static void say(struct rf_control *control, const struct rf_message *request, const char *refusal)
{
    struct rf_buf *body = rf_control_body(control);
    if (body == NULL) {
        return;
    }
    rf_put_u64(body, control->cluster);
    rf_put_slice16(body, rf_slice_str(refusal));
    const struct rf_member *self = control->self == RF_NO_MEMBER
                                       ? &control->config.self
                                       : rf_entry_member(&control->entries[control->self]);
    rf_member_encode(body, self);
    if (control->cluster != 0 && refusal[0] == 0) {
        rf_gossip_put_all(control, body);
    }
    struct rf_message *message = rf_control_answer(control, request, RF_MSG_FORM_SAY, body);
    message->target = request->target;
}

void rf_forming_ask(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    struct rf_member asker = {0};
    if (!rf_ok(rf_member_decode(&reader, &asker))) {
        return;
    }
    if (asker.node == control->config.self.node) {
        say(control, message, ""); /* we dialed ourselves under another address */
        return;
    }
    if (strcmp(asker.name, control->config.self.name) == 0) {
        say(control, message,
            "a node of this name is running already; give each node its own name");
        return;
    }
    if (lost_members(control)) {
        say(control, message,
            "a seed has lost the member table of its cluster and waits to be admitted again; name a "
            "living member of that cluster among the seeds");
        return;
    }
    if (control->cluster == 0) {
        say(control, message, "");
        return;
    }
    const struct rf_node_entry *known = rf_control_by_name(control, asker.name);
    if (known != NULL && rf_entry_member(known)->node != asker.node) {
        say(control, message,
            known->alive ? "a node of this name is alive in the cluster; choose another name"
                         : "the name belongs to a dead member with other data; restore its data "
                           "directory, or choose another name");
        return;
    }
    if (known == NULL) {
        /* Admitted, but without tokens: ranges move only after they were streamed. */
        asker.state = RF_MEMBER_JOINING;
        if (!rf_control_merge(control, &asker, 0)) {
            return;
        }
    }
    say(control, message, "");
}

static void refused(struct rf_control *control, struct rf_slice why)
{
    size_t n = why.size < sizeof(control->refused) - 1 ? why.size : sizeof(control->refused) - 1;
    memcpy(control->refused, why.data, n);
    control->refused[n] = 0;
    rf_effect_add(control->out, RF_FX_REFUSED)->text = control->refused;
}

void rf_forming_say(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         cluster = rf_get_u64(&reader);
    struct rf_slice  refusal = rf_get_slice16(&reader);
    struct rf_member sayer = {0};
    if (control->cluster != 0 || !rf_ok(rf_member_decode(&reader, &sayer)) ||
        message->target >= control->config.n_seeds) {
        return;
    }
    if (refusal.size != 0) {
        refused(control, refusal);
        return;
    }
    if (cluster != 0 && control->config.cluster != 0 && cluster != control->config.cluster) {
        refused(control, rf_slice_str("a seed belongs to another cluster than this node's data; "
                                      "correct the seeds, or give the node an empty directory"));
        return;
    }
    struct rf_seed_answer *seed = &control->seeds[message->target];
    seed->answered = cluster == 0;
    seed->is_self = sayer.node == control->config.self.node;
    seed->member = sayer;
    if (cluster == 0) {
        make_cluster(control);
        return;
    }
    control->cluster = cluster;
    uint32_t n = (uint32_t)rf_get_varint(&reader);
    if (n > RF_MEMBERS_MAX || !rf_gossip_take_entries(control, &reader, n) ||
        control->self == RF_NO_MEMBER) {
        control->cluster = 0; /* not admitted: ask again */
    }
}
