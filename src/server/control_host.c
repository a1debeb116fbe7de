#include "server/control_host.h"

#include <signal.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/clock.h"
#include "server/reload.h"

#define DRAIN_MAX_US 10000000u /* how long a stop waits for requests under way */

static void on_stop_timer(uv_timer_t *timer);

/* ---- Effects ------------------------------------------------------------------------------ */

static void mail_frame(struct rf_control_host *host, uint32_t to, enum rf_mail_kind kind,
                       const struct rf_effect *effect)
{
    struct rf_buf buf = {0};
    rf_message_encode(&buf, &effect->as.message);
    struct rf_blob *blob = buf.failed ? NULL : rf_blob_copy(rf_buf_slice(&buf));
    rf_buf_fini(&buf);
    struct rf_mail mail = {
        .kind = kind,
        .as.frame = {.node = effect->node,
                     .link = effect->as.message.link,
                     .blob = blob,
                     .text = effect->text},
    };
    if (blob == NULL || !rf_thread_mail(&host->base, to, &mail)) {
        rf_blob_drop(blob);
    }
}

static void do_store(struct rf_control_host *host, struct rf_store_op *op)
{
    struct rf_mail mail = {.kind = RF_MAIL_STORE, .as.store = *op};
    uint32_t       owner = rf_engine_op_shard(host->base.server->engine, op);
    if (!rf_thread_mail(&host->base, owner, &mail)) {
        rf_blob_drop(op->row.blob);
    }
}

/* All nodes place keys with the same seed: from the cluster's id, and the secret file if any. */
static uint64_t hash_seed(const struct rf_server *server, uint64_t cluster)
{
    uint64_t facts[2] = {cluster, server->hash_secret};
    return rf_hash64(rf_slice(facts, sizeof(facts)), 0);
}

static struct rf_result build_view(struct rf_control_host *host, struct rf_view **ret_view)
{
    struct rf_server *server = host->base.server;
    uint32_t          n = rf_control_n_members(host->control);
    struct rf_member *members = RF_NEW_ARRAY(struct rf_member, n + 1);
    struct rf_ring   *ring = NULL;
    if (members == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t i = 0; i < n; i++) {
        members[i] = *rf_control_member(host->control, i);
    }
    uint64_t         seed = hash_seed(server, rf_control_cluster(host->control));
    struct rf_result result = rf_ring_build(members, n, seed, &ring);
    if (rf_ok(result)) {
        result = rf_view_build(ring, host->tables, host->n_tables, rf_registry_host(), host->view,
                               ret_view);
    }
    rf_ring_drop(ring);
    rf_mem_free(members);
    return result;
}

static const char *placement_of(const struct rf_server *server, const char *table)
{
    uint32_t t = 0;
    while (strcmp(server->tables[t].config.table, table) != 0) {
        t++;
    }
    return server->tables[t].config.placement.plugin;
}

/* A plugin that answered wrongly is not asked again for that table. */
static void disable_placements(struct rf_control_host *host, const struct rf_view *view)
{
    for (uint32_t t = 0; t < host->n_tables; t++) {
        const struct rf_table *table = &view->tables[t];
        if (!table->misplaced || host->tables[t].misplaced) {
            continue;
        }
        host->tables[t].misplaced = true;
        rf_log(
            RF_LOG_ERROR, "plugin_disabled",
            "table=%s plugin=%s text=\"the placement plugin failed, or chose a node that it was not "
            "shown, or one twice; it is not asked again before the node restarts. %s\"",
            table->name, placement_of(host->base.server, table->name),
            table->replicas != NULL ? "The table keeps the replicas agreed on last"
                                    : "The table has no replicas and is not served");
    }
}

static void publish(struct rf_control_host *host)
{
    struct rf_server *server = host->base.server;
    struct rf_view   *view = NULL;
    if (!rf_ok(build_view(host, &view))) {
        rf_log(RF_LOG_ERROR, "ring_not_built", "text=\"out of memory; the old ring stays in use\"");
        return;
    }
    disable_placements(host, view);
    atomic_store(&server->cluster, rf_control_cluster(host->control));
    atomic_store(&server->state_lost, false);
    atomic_store(&server->refused, false);
    rf_log(RF_LOG_INFO, "ring", "members=%u owners=%u tokens=%u digest=%016llx",
           view->ring->n_members, view->ring->n_owners, view->ring->n_tokens,
           (unsigned long long)view->ring->digest);
    for (uint32_t s = 0; s < server->n_shards; s++) {
        struct rf_mail mail = {.kind = RF_MAIL_VIEW, .as.view = rf_view_take(view)};
        if (!rf_thread_mail(&host->base, s, &mail)) {
            rf_view_drop(view);
        }
    }
    rf_view_drop(host->view);
    host->view = view;
}

static const struct rf_member *member_of(const struct rf_control_host *host, uint64_t node)
{
    static const struct rf_member nobody = {.name = "?", .peer_addr = "?"};
    for (uint32_t i = 0; i < rf_control_n_members(host->control); i++) {
        if (rf_control_member(host->control, i)->node == node) {
            return rf_control_member(host->control, i);
        }
    }
    return &nobody;
}

static const char *name_of(const struct rf_control_host *host, uint64_t node)
{
    return member_of(host, node)->name;
}

static void mail_shards(struct rf_control_host *host, const struct rf_mail *mail)
{
    for (uint32_t s = 0; s < host->base.server->n_shards; s++) {
        (void)rf_thread_mail(&host->base, s, mail);
    }
}

static void tell_alive(struct rf_control_host *host, const struct rf_effect *effect)
{
    struct rf_mail mail = {.kind = RF_MAIL_ALIVE,
                           .as.peer = {.node = effect->node, .up = effect->as.up}};
    rf_log(effect->as.up ? RF_LOG_INFO : RF_LOG_WARN, effect->as.up ? "node_alive" : "node_dead",
           "peer=%s", name_of(host, effect->node));
    mail_shards(host, &mail);
}

static void tell_storage(struct rf_control_host *host, const struct rf_effect *effect)
{
    enum rf_storage_state storage = effect->as.storage;
    struct rf_mail        mail = {.kind = RF_MAIL_STORAGE,
                                  .as.peer = {.node = effect->node, .storage = storage}};
    rf_log(storage == RF_STORAGE_OK ? RF_LOG_INFO : RF_LOG_WARN, "node_storage",
           "peer=%s storage=%s", name_of(host, effect->node), rf_storage_state_name(storage));
    mail_shards(host, &mail);
}

static void begin_stop(struct rf_control_host *host, uint64_t delay_us)
{
    host->stopping = true;
    host->drain_at_us = rf_clock_now().mono_us + delay_us;
    atomic_store(&host->base.server->draining, true);
    uv_timer_start(&host->stop_timer, on_stop_timer, 0, 10);
}

static void tell_twin(struct rf_control_host *host, const struct rf_effect *effect)
{
    if (effect->kind == RF_FX_TWIN) {
        rf_log(
            RF_LOG_ERROR, "twin_refused",
            "remote=\"%s\" text=\"another process runs with this node's id: its data directory is "
            "a copy of this one. It was started later and has to end\"",
            effect->text);
        return;
    }
    rf_log(
        RF_LOG_ERROR, "twin",
        "remote=\"%s\" text=\"another process runs with this node's id and was there first; two "
        "would give different writes the same version, so this one ends. Its data directory is a "
        "copy: give the node an empty one and a node.name of its own, or end the other process\"",
        effect->text);
    host->base.server->end = RF_END_REFUSED;
    if (!host->stopping) {
        begin_stop(host, 0);
    }
}

/* A directory from a backup, or one that a copy has stood in for. */
static void raise_generation(struct rf_control_host *host, uint64_t generation)
{
    struct rf_server *server = host->base.server;
    struct rf_result  raised = rf_engine_raise(server->engine, generation);
    rf_log(
        RF_LOG_ERROR, "data_from_the_past",
        "own=%llu known=%llu text=\"the cluster knows this node in a later run than its data "
        "directory does: the directory was restored from a backup, or a copy of it was used. Writes "
        "that this node acknowledged since then are missing here, and hints for it may be delivered "
        "already. %s\"",
        (unsigned long long)rf_engine_generation(server->engine), (unsigned long long)generation,
        rf_ok(raised)
            ? "It begins anew above that run, takes writes, and answers reads only for keys "
              "that quorum reads have repaired"
            : "Its identity file cannot be written, so it ends; check the disk");
    server->end = rf_ok(raised) ? RF_END_AGAIN : RF_END_REFUSED;
    if (!host->stopping) {
        begin_stop(host, 0);
    } else if (rf_ok(raised)) {
        server->end = RF_END_STOPPED; /* it was told to stop meanwhile */
    }
}

static void do_effect(struct rf_control_host *host, struct rf_effect *effect)
{
    switch (effect->kind) {
    case RF_FX_SEND:
        mail_frame(host, rf_link_thread(host->base.server, effect->node), RF_MAIL_SEND, effect);
        rf_blob_drop(effect->as.message.row.blob);
        break;
    case RF_FX_SEND_ADDR:
        mail_frame(
            host,
            (uint32_t)(rf_hash64(rf_slice_str(effect->text), 0) % host->base.server->n_shards),
            RF_MAIL_SEND_ADDR, effect);
        break;
    case RF_FX_ANSWER:
        mail_frame(host, rf_link_handle_thread(effect->as.message.link), RF_MAIL_ANSWER, effect);
        break;
    case RF_FX_STORE:
        do_store(host, &effect->as.store);
        break;
    case RF_FX_PUBLISH:
        publish(host);
        break;
    case RF_FX_ALIVE:
        tell_alive(host, effect);
        break;
    case RF_FX_STORAGE:
        tell_storage(host, effect);
        break;
    case RF_FX_REFUSED:
        if (strcmp(host->refused, effect->text) != 0) {
            snprintf(host->refused, sizeof(host->refused), "%s", effect->text);
            rf_log(RF_LOG_ERROR, "cluster_refuses", "text=\"%s\"", effect->text);
            atomic_store(&host->base.server->refused, true);
        }
        break;
    case RF_FX_MOVED:
        rf_log(
            RF_LOG_WARN, "node_moved",
            "peer=%s address=%s text=\"the node was started at another address; if it still runs at "
            "the former one, its data directory was copied\"",
            name_of(host, effect->node), member_of(host, effect->node)->peer_addr);
        break;
    case RF_FX_TWIN:
    case RF_FX_TWIN_FIRST:
        tell_twin(host, effect);
        break;
    case RF_FX_RAISE:
        raise_generation(host, effect->as.generation);
        break;
    case RF_FX_REPLY:
    default:
        rf_unreachable();
    }
}

/* What this node's storage takes is part of its heartbeat: the machine hears of every change. */
static void watch_storage(struct rf_control_host *host)
{
    enum rf_storage_state now = rf_engine_storage_state(host->base.server->engine);
    if (now != host->storage) {
        struct rf_event event = {
            .kind = RF_EV_STORAGE, .now = rf_clock_now(), .as.peer = {.storage = now}};
        host->storage = now;
        rf_queue_push(&host->queue, &event);
    }
}

static void run_machine(struct rf_control_host *host)
{
    watch_storage(host);
    struct rf_effects effects = {.list = host->effects, .max = RF_EFFECTS_MAX};
    do {
        enum rf_rc rc =
            rf_control_step(host->control, host->queue.list, host->queue.n, &effects).rc;
        rf_assert(rc == RF_OK || rc == RF_MORE);
        for (uint32_t i = 0; i < effects.n; i++) {
            do_effect(host, &effects.list[i]);
        }
        rf_queue_consume(&host->queue, effects.consumed);
    } while (host->queue.n != 0);
    struct rf_control_stats stats = rf_control_stats(host->control);
    atomic_store(&host->hints_replayed, stats.hints_replayed);
    atomic_store(&host->hints_expired, stats.hints_expired);
    atomic_store(&host->hints_damaged, stats.hints_damaged);
    rf_thread_wake_at(&host->base, effects.wake_at_us);
}

/* ---- Mail, timer, signals ----------------------------------------------------------------- */

/* A client waits for the outcome. Without memory or room it never hears: it gives up by itself. */
static void reload_for(struct rf_control_host *host, const struct rf_mail *ask)
{
    struct rf_buf  report = {0};
    struct rf_mail mail = {.kind = RF_MAIL_RELOADED, .as.reloaded = ask->as.reloaded};
    mail.as.reloaded.ok = rf_server_reload(host->base.server, &host->base, &report);
    mail.as.reloaded.body = rf_blob_copy(rf_buf_slice(&report));
    rf_buf_fini(&report);
    if (!rf_thread_mail(&host->base, mail.as.reloaded.from, &mail)) {
        rf_blob_drop(mail.as.reloaded.body);
    }
}

/* The state that names the cluster is durable: now the identity names it too. */
static void keep_cluster(struct rf_control_host *host)
{
    struct rf_engine *engine = host->base.server->engine;
    uint64_t          cluster = rf_control_cluster(host->control);
    if (cluster == 0 || cluster == rf_engine_cluster(engine)) {
        return;
    }
    struct rf_result kept = rf_engine_keep_cluster(engine, cluster);
    if (!rf_ok(kept)) {
        rf_log(RF_LOG_ERROR, "identity_not_written",
               "why=\"%s\" text=\"the node serves, but its identity file does not name its cluster "
               "yet; it is tried again when the member set changes and at the next start\"",
               rf_rc_text(kept.rc));
    }
}

/* Every message of a peer tells its physical time. */
static void hear_clock(struct rf_control_host *host, uint64_t node, uint64_t wall_ms)
{
    struct rf_server *server = host->base.server;
    if (!rf_clock_watch_hear(&host->clock_watch, node, wall_ms, rf_clock_now())) {
        return;
    }
    bool           off = host->clock_watch.off;
    struct rf_mail mail = {.kind = RF_MAIL_CLOCK, .as.peer = {.up = !off}};
    atomic_store(&server->clock_off, off);
    if (off) {
        rf_log(
            RF_LOG_ERROR, "clock_offset",
            "text=\"the clock of this node differs from its peers' by more than clock.max_ahead; "
            "it stamps no writes until the clock is right\"");
    } else {
        rf_log(RF_LOG_INFO, "clock_right", "text=\"the clock agrees with the peers' again\"");
    }
    mail_shards(host, &mail);
}

static void on_mail(struct rf_thread *thread, struct rf_mail *mail)
{
    struct rf_control_host *host = (struct rf_control_host *)thread;
    if (mail->kind == RF_MAIL_RELOAD_ASK) {
        reload_for(host, mail);
        return;
    }
    struct rf_event event = {.kind = RF_EV_TICK, .now = rf_clock_now()};
    if (mail->kind == RF_MAIL_STORED) {
        event.kind = RF_EV_STORED;
        event.as.stored = mail->as.stored;
        if (mail->as.stored.status == RF_STORE_STORED) {
            keep_cluster(host);
        }
    } else if (mail->kind == RF_MAIL_FRAME) {
        struct rf_blob *blob = mail->as.frame.blob;
        event.kind = RF_EV_MESSAGE;
        if (!rf_ok(rf_message_decode(rf_slice(blob->data, blob->size), &event.as.message))) {
            rf_blob_drop(blob);
            return;
        }
        hear_clock(host, mail->as.frame.node, event.as.message.wall_ms);
        event.as.message.from = mail->as.frame.node;
        event.as.message.link = mail->as.frame.link;
        event.as.message.row.blob = blob;
    } else {
        rf_unreachable();
    }
    rf_queue_push(&host->queue, &event);
    run_machine(host);
}

static void on_timer(struct rf_thread *thread)
{
    struct rf_control_host *host = (struct rf_control_host *)thread;
    struct rf_event         tick = {.kind = RF_EV_TICK, .now = rf_clock_now()};
    rf_queue_push(&host->queue, &tick);
    run_machine(host);
}

static bool mail_all(struct rf_control_host *host, enum rf_mail_kind kind)
{
    struct rf_mail mail = {.kind = kind};
    bool           all = true;
    for (uint32_t s = 0; s < host->base.server->n_shards; s++) {
        all = rf_thread_mail(&host->base, s, &mail) && all;
    }
    return all;
}

/* Clients have had time to notice that the node is not ready any more. */
static void stop_accepting(struct rf_control_host *host)
{
    host->accepting_over = true;
    host->stop_at_us = rf_clock_now().mono_us + DRAIN_MAX_US;
    (void)mail_all(host, RF_MAIL_DRAIN);
}

/* Drained when no client is left, or patience is. */
static void on_stop_timer(uv_timer_t *timer)
{
    struct rf_control_host *host = timer->data;
    struct rf_server       *server = host->base.server;
    if (!host->accepting_over) {
        if (rf_clock_now().mono_us >= host->drain_at_us) {
            stop_accepting(host);
        }
        return;
    }
    bool over = atomic_load(&server->n_clients) == 0 || rf_clock_now().mono_us >= host->stop_at_us;
    if (over && mail_all(host, RF_MAIL_STOP)) { /* a full box: once more in 10 ms */
        uv_stop(&host->base.loop.uv);
    }
}

static void on_hangup(uv_signal_t *handle, int number)
{
    struct rf_control_host *host = handle->data;
    struct rf_buf           report = {0};
    (void)number;
    (void)rf_server_reload(host->base.server, &host->base, &report);
    rf_buf_fini(&report);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct rf_control_host *host = handle->data;
    if (host->stopping) {
        return;
    }
    rf_log(RF_LOG_INFO, "stopping", "signal=%d", number);
    begin_stop(host, host->base.server->drain_delay_us);
}

/* ---- Life --------------------------------------------------------------------------------- */

/* The node serves nothing until a member of its cluster admits it again: what the operator can do. */
static void tell_lost_state(struct rf_server *server, const struct rf_control_config *control)
{
    if (control->cluster == 0 && !control->no_forming) {
        return;
    }
    atomic_store(&server->state_lost, true);
    rf_log(
        RF_LOG_ERROR, "cluster_state_lost",
        "cluster=%016llx text=\"the member table of this node's cluster is not in its data "
        "directory; the node asks its seeds to admit it again and never forms a new cluster over "
        "old data: name a living member in cluster.seeds, or restore the data directory from a "
        "backup (then it answers reads only for keys that quorum reads have repaired), or empty it to "
        "begin anew\"",
        (unsigned long long)control->cluster);
}

static struct rf_result make_machine(struct rf_control_host *host)
{
    struct rf_server            *server = host->base.server;
    const struct rf_node_config *config = &server->config;
    struct rf_row                state = {0};
    struct rf_control_config     control = {
            .self = {.node = rf_engine_node(server->engine),
                     .generation = rf_engine_generation(server->engine),
                     .version = 1,
                     .state = RF_MEMBER_JOINING,
                     .vnodes = (uint16_t)config->cluster.vnodes},
            .n_seeds = config->cluster.seeds.n,
            .gossip_interval_us = (uint64_t)config->cluster.gossip_interval_ms * 1000,
            .dead_after_us = (uint64_t)config->cluster.dead_after_ms * 1000,
            .n_partitions = rf_engine_n_partitions(server->engine),
            .hint_interval_us = (uint64_t)config->cluster.gossip_interval_ms * 2000,
            .cluster = rf_engine_cluster(server->engine),
            .no_forming = rf_engine_cluster_unsure(server->engine),
            .process = server->process.number,
            .began_us = server->process.began_us,
            .rng_seed = rf_engine_node(server->engine) ^ rf_clock_now().mono_us,
    };
    snprintf(control.self.name, sizeof(control.self.name), "%s", config->node.name);
    snprintf(control.self.rack, sizeof(control.self.rack), "%s", config->node.rack);
    snprintf(control.self.peer_addr, sizeof(control.self.peer_addr), "%s", config->advertise.peer);
    snprintf(control.self.client_addr, sizeof(control.self.client_addr), "%s",
             config->advertise.client);
    for (uint32_t i = 0; i < config->cluster.seeds.n; i++) {
        control.seeds[i] = config->cluster.seeds.list[i];
    }
    if (rf_engine_meta(server->engine, "cluster", &state)) {
        control.state = state.value;
        control.state_hlc = state.version.hlc;
    } else {
        tell_lost_state(server, &control);
    }
    return rf_control_new(&control, &host->control);
}

struct rf_result rf_control_host_init(struct rf_control_host *host, struct rf_server *server,
                                      char ret_why[256])
{
    snprintf(ret_why, 256, "out of memory");
    RF_TRY(rf_thread_init(&host->base, server, server->n_shards));
    rf_clock_watch_init(&host->clock_watch, (uint64_t)server->config.clock.max_ahead_ms);
    host->base.on_mail = on_mail;
    host->base.on_timer = on_timer;
    host->effects = RF_NEW_ARRAY(struct rf_effect, RF_EFFECTS_MAX);
    host->tables = RF_NEW_ARRAY(struct rf_table, server->n_tables + 1);
    if (host->effects == NULL || host->tables == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    for (uint32_t t = 0; t < server->n_tables; t++) {
        if (server->tables[t].problem[0] == 0) {
            host->tables[host->n_tables++] = server->tables[t].view;
        }
    }
    struct rf_result made = make_machine(host);
    if (!rf_ok(made)) {
        snprintf(ret_why, 256, "the stored cluster state cannot be used: %s", rf_rc_text(made.rc));
        return made;
    }
    uv_signal_init(&host->base.loop.uv, &host->sigterm);
    uv_signal_init(&host->base.loop.uv, &host->sigint);
    uv_timer_init(&host->base.loop.uv, &host->stop_timer);
    host->sigterm.data = host;
    host->sigint.data = host;
    host->stop_timer.data = host;
    uv_signal_start(&host->sigterm, on_signal, SIGTERM);
    uv_signal_start(&host->sigint, on_signal, SIGINT);
    uv_signal_init(&host->base.loop.uv, &host->sighup);
    host->sighup.data = host;
    uv_signal_start(&host->sighup, on_hangup, SIGHUP);
    return rf_result(RF_OK);
}

void rf_control_host_run(struct rf_control_host *host)
{
    on_timer(&host->base);
    uv_run(&host->base.loop.uv, UV_RUN_DEFAULT);
}

void rf_control_host_fini(struct rf_control_host *host)
{
    uv_close((uv_handle_t *)&host->sigterm, NULL);
    uv_close((uv_handle_t *)&host->sigint, NULL);
    uv_close((uv_handle_t *)&host->sighup, NULL);
    uv_close((uv_handle_t *)&host->stop_timer, NULL);
    rf_view_drop(host->view);
    rf_queue_consume(&host->queue, host->queue.n);
    rf_mem_free(host->queue.list);
    rf_thread_fini(&host->base);
    rf_control_free(host->control);
    rf_mem_free(host->effects);
    rf_mem_free(host->tables);
}
