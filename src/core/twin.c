/* Is this process the only one with its node id? A data directory may have been copied, or put back from
 * a backup; then somebody else says, or said, things in this node's name.
 *
 * A claim is what we hear of ourselves and did not say: a generation that is not below ours, or, at the
 * start, another address in our own stored state. The address of the claim is asked, whether by now it is
 * our own or not: who answers tells a number that its process drew at its start, and how long it has run.
 * Two processes with one id would stamp different writes with equal versions. So of two the one that has
 * run longer stays, and the other ends. Durations on monotonic clocks are compared, so no wall clock
 * matters; where they are within YOUNG_US, the drawn numbers decide, and the bounds are such that never
 * both stay (a message would have to take YOUNG_US / 2).
 *
 * When nobody else answers, the claim is of the past: ours, made by data that this directory does not
 * hold. Nobody counts what we say until our generation is above it, and what was acknowledged meanwhile is
 * missing here: the host makes the generation durable, begins anew, and the store answers nothing for sure
 * (D10) before it is repaired. */
#include "core/control_private.h"

#define YOUNG_US 1000000u       /* processes whose ages differ by less are equally old */
#define WAIT_MIN_US 1000000u    /* for an answer, at least; else ANSWER_ROUNDS of gossip */
#define ANSWER_ROUNDS 3u        /* as before a death */
#define ASK_INTERVAL_US 100000u /* between two questions */
#define GENERATION_MAX (UINT64_C(1) << 32) /* 100 starts per second for a year: above it is a lie */

/* The addresses that were asked live as long as the machine: links are named by them. */
static const char *keep_address(struct rf_twin *twin, const char *address)
{
    for (uint32_t i = 0; i < twin->n_addresses; i++) {
        if (strcmp(twin->addresses[i], address) == 0) {
            return twin->addresses[i];
        }
    }
    if (twin->n_addresses == RF_TWIN_ADDRESSES) {
        return NULL;
    }
    char *kept = twin->addresses[twin->n_addresses++];
    memcpy(kept, address, strlen(address) + 1);
    return kept;
}

static void open_claim(struct rf_control *control, const struct rf_member *told)
{
    struct rf_twin *twin = &control->twin;
    const char     *address = keep_address(twin, told->peer_addr);
    if (address == NULL || told->generation >= GENERATION_MAX) {
        return;
    }
    bool further = twin->address != address || told->generation > twin->generation;
    if (twin->address != NULL && !further) {
        return; /* being asked already */
    }
    twin->address = address;
    twin->generation = told->generation;
    twin->until_us = 0;
    twin->due_us = 0;
}

void rf_twin_stored(struct rf_control *control, const struct rf_member *stored)
{
    if (strcmp(stored->peer_addr, control->config.self.peer_addr) != 0 &&
        stored->peer_addr[0] != 0) {
        open_claim(control, stored);
        control->twin.silent = control->twin.address != NULL;
    }
}

bool rf_twin_told(struct rf_control *control, const struct rf_member *member)
{
    const struct rf_member *self = &control->config.self;
    bool                    elsewhere = strcmp(member->peer_addr, self->peer_addr) != 0;
    if (member->generation < self->generation ||
        (member->generation == self->generation && !elsewhere)) {
        return false;
    }
    open_claim(control, member);
    return true;
}

static void ask(struct rf_control *control)
{
    struct rf_buf *body = rf_control_body(control);
    if (body == NULL) {
        return;
    }
    rf_put_u64(body, control->config.process);
    rf_control_send(control, 0, RF_MSG_PROBE, body)->target = control->config.self.node;
    struct rf_effect *effect = &control->out->list[control->out->n - 1];
    effect->kind = RF_FX_SEND_ADDR;
    effect->text = control->twin.address;
}

/* Nobody else runs with our id. */
static void alone(struct rf_control *control)
{
    struct rf_twin *twin = &control->twin;
    twin->address = NULL;
    twin->silent = false;
    if (twin->generation < control->config.self.generation) {
        return;
    }
    twin->ended = true;
    rf_effect_add(control->out, RF_FX_RAISE)->as.generation = twin->generation;
}

void rf_twin_run(struct rf_control *control)
{
    struct rf_twin *twin = &control->twin;
    uint64_t        wait_us = ANSWER_ROUNDS * control->config.gossip_interval_us;
    if (twin->began_us == 0) {
        twin->began_us = control->now.mono_us;
    }
    if (twin->address == NULL || control->now.mono_us < twin->due_us) {
        return;
    }
    if (twin->until_us == 0) {
        twin->until_us = control->now.mono_us + (wait_us < WAIT_MIN_US ? WAIT_MIN_US : wait_us);
    }
    if (control->now.mono_us >= twin->until_us) {
        alone(control);
        return;
    }
    twin->due_us = control->now.mono_us + ASK_INTERVAL_US;
    ask(control);
}

static uint64_t age_us(const struct rf_control *control)
{
    return control->now.mono_us - control->twin.began_us;
}

void rf_twin_put(const struct rf_control *control, struct rf_buf *body)
{
    rf_put_u64(body, control->config.process);
    rf_put_varint(body, age_us(control));
}

/* Says once of every other process that it is there. */
static void say_seen(struct rf_control *control, uint64_t process, const char *address)
{
    if (process != control->twin.seen) {
        control->twin.seen = process;
        rf_effect_add(control->out, RF_FX_TWIN)->text = address;
    }
}

static bool may_stay(const struct rf_control *control, uint64_t process, uint64_t its_age_us)
{
    uint64_t ours_us = age_us(control);
    if (control->twin.silent) {
        return false; /* nobody has heard of us yet */
    }
    if (ours_us > its_age_us + YOUNG_US) {
        return true;
    }
    return control->config.process > process && ours_us + YOUNG_US / 2 > its_age_us;
}

void rf_twin_answer(struct rf_control *control, const struct rf_message *message)
{
    struct rf_twin  *twin = &control->twin;
    struct rf_reader reader = rf_reader(message->body);
    (void)rf_get_varint(&reader); /* generation */
    (void)rf_get_varint(&reader); /* pulse */
    uint64_t process = rf_get_u64(&reader);
    uint64_t its_age_us = rf_get_varint(&reader);
    if (reader.bad || twin->address == NULL || message->from != message->target) {
        return;
    }
    if (process == control->config.process) {
        alone(control); /* our own address */
        return;
    }
    if (may_stay(control, process, its_age_us)) {
        say_seen(control, process, twin->address);
        alone(control);
        return;
    }
    twin->ended = true;
    rf_effect_add(control->out, RF_FX_TWIN_FIRST)->text = twin->address;
}

void rf_twin_asked(struct rf_control *control, const struct rf_message *message)
{
    struct rf_reader reader = rf_reader(message->body);
    uint64_t         process = rf_get_u64(&reader);
    if (!reader.bad && message->from == control->config.self.node &&
        process != control->config.process) {
        say_seen(control, process, "");
    }
}
