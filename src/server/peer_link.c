/* Links to peers. A node sends its requests over the link that it dialed and gets the answers on
 * it; links that others dialed bring their requests (docs/decisions/002-links.md). */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/clock.h"
#include "io/tls.h"
#include "server/worker.h"

#define PENDING_MAX (1024u * 1024)      /* bytes that wait for a link to come up */
#define BACKLOG_MAX (16u * 1024 * 1024) /* bytes that wait for a slow peer; more are dropped */
#define HELLO_MAX_US 5000000u           /* from dial or accept to the other side's hello */
#define STRANGERS_MAX 512u              /* accepted links without a hello yet */
#define ACCEPTED_MAX (RF_LINKS_MAX / 2) /* so that others cannot take the places of our dials */
#define FOREIGN_ID "it speaks with the node id of another member"
#define RETRY_MIN_US 50000u
#define RETRY_MAX_US 2000000u

enum link_state { LINK_IDLE, LINK_DIALING, LINK_UP };

struct rf_link {
    struct rf_worker *worker;
    struct rf_conn   *conn; /* NULL while idle */
    enum link_state   state;
    bool              dialed;
    bool              refused; /* being closed: nothing that it says counts */
    uint32_t          slot;
    uint64_t          node;     /* dialed: whom we want; accepted: from its hello */
    const char       *address;  /* dialed by address (first contact), else NULL */
    char              name[64]; /* of the other side, from its hello */
    struct rf_buf     pending;  /* frames that wait for the link */
    uint64_t          begun_us; /* dialed or accepted, while there is no hello yet */
    uint64_t          retry_at_us;
    uint64_t          retry_us; /* backoff of the next failure */
};

uint32_t rf_link_thread(const struct rf_server *server, uint64_t node)
{
    return (uint32_t)((node >> 8) % server->n_shards);
}

/* Handle: thread (8) | slot (24) | generation (32). */
uint32_t rf_link_handle_thread(uint64_t link)
{
    return (uint32_t)(link & 0xff);
}

static uint64_t handle_of(const struct rf_link *link)
{
    return (uint64_t)link->worker->link_generations[link->slot] << 32 | (uint64_t)link->slot << 8 |
           link->worker->base.number;
}

static struct rf_link *link_by_handle(struct rf_worker *worker, uint64_t handle)
{
    uint32_t slot = (uint32_t)(handle >> 8) & 0xffffff;
    if (slot >= worker->n_links || worker->links[slot] == NULL ||
        worker->link_generations[slot] != handle >> 32) {
        return NULL;
    }
    return worker->links[slot];
}

static struct rf_link *new_link(struct rf_worker *worker)
{
    uint32_t slot = 0;
    while (slot < worker->n_links && worker->links[slot] != NULL) {
        slot++;
    }
    if (slot == RF_LINKS_MAX) {
        return NULL;
    }
    struct rf_link *link = RF_NEW(struct rf_link);
    if (link != NULL) {
        link->worker = worker;
        link->slot = slot;
        link->retry_us = RETRY_MIN_US;
        worker->links[slot] = link;
        worker->link_generations[slot]++;
        worker->n_links = slot == worker->n_links ? slot + 1 : worker->n_links;
    }
    return link;
}

static void free_link(struct rf_link *link)
{
    link->worker->links[link->slot] = NULL;
    rf_buf_fini(&link->pending);
    rf_mem_free(link);
}

static struct rf_link *find_dialed(struct rf_worker *worker, uint64_t node, const char *address);
static struct rf_link *dialed_link(struct rf_worker *worker, uint64_t node, const char *address);

/* ---- Link state for the machines ---------------------------------------------------------- */

static void tell_machines(struct rf_link *link, bool up)
{
    struct rf_worker *worker = link->worker;
    struct rf_mail    mail = {.kind = RF_MAIL_LINK, .as.peer = {.node = link->node, .up = up}};
    for (uint32_t s = 0; s < worker->base.server->n_shards; s++) {
        if (s != worker->base.number) {
            (void)rf_thread_mail(&worker->base, s, &mail);
        }
    }
    struct rf_event event = {.kind = RF_EV_LINK, .as.peer = {.node = link->node, .up = up}};
    rf_worker_event(worker, &event);
}

/* ---- Hello -------------------------------------------------------------------------------- */

static void send_hello(struct rf_link *link)
{
    struct rf_server *server = link->worker->base.server;
    struct rf_buf     body = {0};
    rf_hello_encode(&body, &(struct rf_hello){
                               .node = rf_engine_node(server->engine),
                               .generation = rf_engine_generation(server->engine),
                               .name = rf_slice_str(server->config.node.name),
                               .cluster = rf_slice_str(server->config.cluster.name),
                           });
    struct rf_message hello = {.kind = RF_MSG_HELLO, .body = rf_buf_slice(&body)};
    rf_message_encode(rf_conn_out(link->conn), &hello);
    rf_buf_fini(&body);
}

static void refuse_link(struct rf_link *link, const char *why)
{
    rf_log(RF_LOG_WARN, "peer_refused", "remote=%s peer=\"%s\" text=\"%s\"",
           rf_conn_remote(link->conn), link->name, why);
    link->refused = true;
    rf_conn_close(link->conn, "refused");
}

/* A node id is a member's, and its name is in the certificate: nobody speaks with the id of another. An id
 * that no member has is a newcomer's. */
static bool owns_id(const struct rf_link *link, uint64_t node)
{
    const struct rf_view *view = rf_shard_view(link->worker->shard);
    uint16_t              member = view == NULL ? RF_NO_MEMBER : rf_ring_by_node(view->ring, node);
    return member == RF_NO_MEMBER || strcmp(view->ring->members[member].name, link->name) == 0;
}

/* The certificate names the node; the hello must agree with it. */
static bool check_hello(struct rf_link *link, const struct rf_hello *hello)
{
    const struct rf_node_config *config = &link->worker->base.server->config;
    char                         cluster[64];
    char                         name[64];
    if (!rf_tls_identity(rf_conn_ssl(link->conn), "node", cluster, name)) {
        refuse_link(link, "its certificate names no node (SAN URI ringfort://CLUSTER/node/NAME); a "
                          "client certificate cannot act as a peer");
        return false;
    }
    snprintf(link->name, sizeof(link->name), "%s", name);
    if (strcmp(cluster, config->cluster.name) != 0 ||
        !rf_slice_is(hello->cluster, config->cluster.name)) {
        refuse_link(link, "it belongs to a cluster of another name");
        return false;
    }
    if (!rf_slice_is(hello->name, name)) {
        refuse_link(link, "it calls itself by another name than its certificate does");
        return false;
    }
    if (!owns_id(link, hello->node)) {
        refuse_link(link, FOREIGN_ID);
        return false;
    }
    if (link->dialed && link->address == NULL && hello->node != link->node) {
        refuse_link(link, "another node answers at this address");
        return false;
    }
    return true;
}

void rf_link_seen(struct rf_worker *worker, uint64_t node)
{
    struct rf_link *link = find_dialed(worker, node, NULL);
    if (link != NULL && link->conn == NULL) {
        link->retry_at_us = 0;
        link->retry_us = RETRY_MIN_US;
        (void)dialed_link(worker, node, NULL);
    }
}

static void tell_seen(struct rf_link *link)
{
    struct rf_worker *worker = link->worker;
    uint32_t          owner = rf_link_thread(worker->base.server, link->node);
    if (owner == worker->base.number) {
        rf_link_seen(worker, link->node);
        return;
    }
    struct rf_mail mail = {.kind = RF_MAIL_SEEN, .as.peer = {.node = link->node, .up = true}};
    (void)rf_thread_mail(&worker->base, owner, &mail);
}

static void on_hello(struct rf_link *link, const struct rf_message *message)
{
    struct rf_hello hello;
    if (link->state == LINK_UP) {
        refuse_link(link, "it says hello twice");
        return;
    }
    if (!rf_ok(rf_hello_decode(message->body, &hello))) {
        refuse_link(link, "its hello is damaged");
        return;
    }
    if (!check_hello(link, &hello)) {
        return;
    }
    link->node = hello.node;
    link->state = LINK_UP;
    link->retry_us = RETRY_MIN_US;
    rf_log(RF_LOG_DEBUG, "peer_link_up", "peer=%s dialed=%d", link->name, link->dialed);
    if (link->dialed) {
        rf_buf_append_slice(rf_conn_out(link->conn), rf_buf_slice(&link->pending));
        rf_buf_fini(&link->pending);
        if (link->address == NULL) {
            tell_machines(link, true);
        }
    } else {
        tell_seen(link);
    }
}

/* ---- Frames in ---------------------------------------------------------------------------- */

static bool is_ack(enum rf_message_kind kind)
{
    return kind == RF_MSG_WRITE_ACK || kind == RF_MSG_READ_ACK || kind == RF_MSG_HINT_ACK;
}

/* Which thread's machine is this for? Answers go to who asked, control messages to control, a
 * peer's requests to the thread of their link. The message points into `blob`, borrowed. */
static void route_frame(struct rf_link *link, struct rf_message *message, struct rf_slice frame,
                        struct rf_blob *shared)
{
    struct rf_worker *worker = link->worker;
    uint32_t          n_shards = worker->base.server->n_shards;
    uint32_t          to = worker->base.number;
    if (rf_message_is_control(message->kind)) {
        to = n_shards;
    } else if (is_ack(message->kind)) {
        uint8_t shard = rf_tag_shard(message->request_id);
        to = shard == RF_CONTROL_SHARD ? n_shards : shard;
    }
    if (to == worker->base.number) {
        struct rf_event event = {.kind = RF_EV_MESSAGE, .as.message = *message};
        event.as.message.from = link->node;
        event.as.message.link = handle_of(link);
        /* An acknowledgement without a row borrows nothing. */
        event.as.message.row.blob = message->row.key.size == 0 ? NULL : rf_blob_take(shared);
        rf_worker_event(worker, &event);
        return;
    }
    struct rf_blob *blob = to > n_shards ? NULL : rf_blob_copy(frame);
    if (blob == NULL) {
        return;
    }
    struct rf_mail mail = {
        .kind = RF_MAIL_FRAME,
        .as.frame = {.node = link->node, .link = handle_of(link), .blob = blob},
    };
    if (!rf_thread_mail(&worker->base, to, &mail)) {
        rf_blob_drop(blob);
    }
}

/* The front of the bytes that is whole frames; RF_CORRUPT when a length cannot be. */
static enum rf_rc whole_frames(struct rf_slice bytes, size_t *ret_size)
{
    size_t     at = 0;
    size_t     size = 0;
    enum rf_rc rc = RF_OK;
    while (at < bytes.size &&
           (rc = rf_frame_size(rf_slice(bytes.data + at, bytes.size - at), &size).rc) == RF_OK &&
           size <= bytes.size - at) {
        at += size;
    }
    *ret_size = at;
    return rc == RF_MORE ? RF_OK : rc;
}

/* Frames up to the first bad one. RF_OK, or why the link cannot go on. */
static enum rf_rc take_frames(struct rf_link *link, struct rf_blob *shared)
{
    size_t at = 0;
    while (at < shared->size && link->conn != NULL && !link->refused) {
        struct rf_message message;
        size_t            size = 0;
        struct rf_slice   rest = rf_slice(shared->data + at, shared->size - at);
        enum rf_rc        rc = rf_frame_size(rest, &size).rc;
        rf_assert(rc == RF_OK && size <= rest.size); /* whole_frames has seen it */
        rest.size = size;
        rc = rf_message_decode(rest, &message).rc;
        if (rc != RF_OK) {
            return rc;
        }
        at += size;
        if (message.kind == RF_MSG_HELLO) {
            on_hello(link, &message);
        } else if (link->state == LINK_UP) {
            route_frame(link, &message, rest, shared);
        } else {
            return RF_BAD_REQUEST;
        }
    }
    return RF_OK;
}

/* All frames of one read share one copy, which their rows keep alive: one allocation per read, not
 * per frame. */
static size_t on_data(struct rf_conn *conn, struct rf_slice bytes)
{
    struct rf_link *link = rf_conn_user(conn);
    size_t          size = 0;
    if (link->refused) {
        return bytes.size;
    }
    enum rf_rc rc = whole_frames(bytes, &size);
    if (size != 0) {
        struct rf_blob *shared = rf_blob_copy(rf_slice(bytes.data, size));
        enum rf_rc      taken = shared == NULL ? RF_NO_MEMORY : take_frames(link, shared);
        rf_blob_drop(shared);
        rc = taken != RF_OK ? taken : rc;
    }
    if (rc == RF_OK) {
        return size;
    }
    refuse_link(link, rc == RF_WRONG_VERSION ? "it speaks another version of the protocol"
                      : rc == RF_BAD_REQUEST ? "it did not begin with a hello"
                      : rc == RF_NO_MEMORY   ? "there is no memory for its frames"
                                             : "a frame is damaged");
    return bytes.size;
}

/* ---- Connections -------------------------------------------------------------------------- */

static void on_ready(struct rf_conn *conn)
{
    struct rf_link *link = rf_conn_user(conn);
    link->conn = conn;
    rf_conn_give_up_after(conn, (uint32_t)link->worker->base.server->config.cluster.dead_after_ms);
    send_hello(link);
}

static void on_close(struct rf_conn *conn, const char *why)
{
    struct rf_link   *link = rf_conn_user(conn);
    struct rf_worker *worker = link->worker;
    enum link_state   before = link->state;
    link->conn = NULL;
    link->state = LINK_IDLE;
    if (!link->dialed) {
        if (before != LINK_UP && why[0] != 0) {
            rf_log(RF_LOG_WARN, "peer_rejected", "remote=%s text=\"%s\"", rf_conn_remote(conn),
                   why);
        }
        free_link(link);
        return;
    }
    rf_buf_fini(&link->pending);
    link->retry_at_us = rf_clock_now().mono_us + link->retry_us / 2 +
                        (uint64_t)rand() % (link->retry_us / 2 + 1); /* full-ish jitter */
    link->retry_us = link->retry_us * 2 < RETRY_MAX_US ? link->retry_us * 2 : RETRY_MAX_US;
    if (!worker->drained) {
        rf_log(before == LINK_UP ? RF_LOG_INFO : RF_LOG_DEBUG, "peer_link_down",
               "peer=%s remote=%s text=\"%s\"", link->name[0] != 0 ? link->name : "?",
               rf_conn_remote(conn), why);
    }
    if (link->address == NULL && !worker->drained) {
        tell_machines(link, false);
    }
}

/* An HTTP client, a port scanner: nothing to answer, but worth a line that says what it is. */
static void on_plain(struct rf_conn *conn, struct rf_slice bytes)
{
    (void)bytes;
    rf_log(
        RF_LOG_WARN, "peer_rejected",
        "remote=%s text=\"what it sent is no TLS; this port speaks TLS between nodes, clients use "
        "listen.client\"",
        rf_conn_remote(conn));
}

static const struct rf_conn_callbacks callbacks = {on_ready, on_data, on_close, on_plain};

/* Whoever reaches the peer port can open connections; only certificates make them links. */
static bool may_accept(const struct rf_worker *worker)
{
    uint32_t accepted = 0;
    uint32_t strangers = 0;
    for (uint32_t i = 0; i < worker->n_links; i++) {
        const struct rf_link *link = worker->links[i];
        accepted += link != NULL && !link->dialed;
        strangers += link != NULL && !link->dialed && link->state != LINK_UP;
    }
    return accepted < ACCEPTED_MAX && strangers < STRANGERS_MAX;
}

void rf_links_sweep(struct rf_worker *worker)
{
    uint64_t now_us = rf_clock_now().mono_us;
    for (uint32_t i = 0; i < worker->n_links; i++) {
        struct rf_link *link = worker->links[i];
        if (link != NULL && link->conn != NULL && link->state != LINK_UP &&
            now_us - link->begun_us > HELLO_MAX_US) {
            rf_conn_abort(link->conn, "no hello in time");
        } else if (link != NULL && link->state == LINK_UP && !link->refused &&
                   !owns_id(link, link->node)) {
            refuse_link(link, FOREIGN_ID); /* it came before we knew the members */
        }
    }
}

static void on_peer(void *user, int fd)
{
    struct rf_worker *worker = user;
    struct rf_link   *link = may_accept(worker) ? new_link(worker) : NULL;
    if (link == NULL) {
        close(fd);
        return;
    }
    link->begun_us = rf_clock_now().mono_us;
    link->conn = rf_conn_accept(&worker->base.loop, fd, worker->peer_server, &callbacks, link);
    if (link->conn == NULL) {
        free_link(link);
    }
}

static void dial(struct rf_link *link, const char *address)
{
    struct rf_worker *worker = link->worker;
    if (rf_clock_now().mono_us < link->retry_at_us) {
        return;
    }
    link->state = LINK_DIALING;
    link->refused = false;
    link->begun_us = rf_clock_now().mono_us;
    link->conn = rf_conn_dial(&worker->base.loop, address, worker->peer_client, &callbacks, link);
    if (link->conn == NULL) {
        link->state = LINK_IDLE;
    }
}

/* ---- Sending ------------------------------------------------------------------------------ */

static struct rf_link *find_dialed(struct rf_worker *worker, uint64_t node, const char *address)
{
    for (uint32_t i = 0; i < worker->n_links; i++) {
        struct rf_link *link = worker->links[i];
        if (link != NULL && link->dialed &&
            (address != NULL ? link->address != NULL && strcmp(link->address, address) == 0
                             : link->address == NULL && link->node == node)) {
            return link;
        }
    }
    return NULL;
}

static struct rf_link *dialed_link(struct rf_worker *worker, uint64_t node, const char *address)
{
    struct rf_link *link = find_dialed(worker, node, address);
    if (link == NULL) {
        link = new_link(worker);
        if (link == NULL) {
            return NULL;
        }
        link->dialed = true;
        link->node = node;
        link->address = address;
    }
    if (link->state == LINK_IDLE) {
        const struct rf_view *view = rf_shard_view(worker->shard);
        uint16_t member = view == NULL ? RF_NO_MEMBER : rf_ring_by_node(view->ring, node);
        if (address == NULL && member != RF_NO_MEMBER) {
            address = view->ring->members[member].peer_addr;
        }
        if (address != NULL) {
            dial(link, address);
        }
    }
    return link;
}

/* Where a frame for the link is appended; NULL when it is to be dropped. */
static struct rf_buf *room_on(struct rf_link *link)
{
    if (link == NULL || link->conn == NULL) {
        return NULL;
    }
    if (link->state == LINK_UP) {
        return rf_conn_backlog(link->conn) > BACKLOG_MAX ? NULL : rf_conn_out(link->conn);
    }
    return link->pending.size > PENDING_MAX ? NULL : &link->pending;
}

/* No link and not yet time to dial again: what is asked of the node fails at once. */
static void tell_if_down(struct rf_link *link)
{
    if (link != NULL && link->conn == NULL && link->address == NULL) {
        struct rf_event event = {.kind = RF_EV_LINK,
                                 .now = rf_loop_now(&link->worker->base.loop),
                                 .as.peer = {.node = link->node, .up = false}};
        rf_queue_push(&link->worker->queue, &event);
    }
}

void rf_link_send(struct rf_worker *worker, uint64_t node, const struct rf_message *message)
{
    struct rf_link *link = dialed_link(worker, node, NULL);
    struct rf_buf  *room = room_on(link);
    if (room != NULL) {
        rf_message_encode(room, message);
    } else {
        tell_if_down(link);
    }
}

void rf_link_send_frame(struct rf_worker *worker, uint64_t node, struct rf_slice frame)
{
    struct rf_link *link = dialed_link(worker, node, NULL);
    struct rf_buf  *room = room_on(link);
    if (room != NULL) {
        rf_buf_append_slice(room, frame);
    } else if (link != NULL && link->conn == NULL) {
        tell_machines(link, false);
    }
}

void rf_link_send_addr(struct rf_worker *worker, const char *address, struct rf_slice frame)
{
    struct rf_buf *room = room_on(dialed_link(worker, 0, address));
    if (room != NULL) {
        rf_buf_append_slice(room, frame);
    }
}

void rf_link_answer(struct rf_worker *worker, uint64_t handle, const struct rf_message *message)
{
    struct rf_link *link = link_by_handle(worker, handle);
    struct rf_buf  *room = link == NULL || link->state != LINK_UP ? NULL : room_on(link);
    if (room != NULL) {
        rf_message_encode(room, message);
    }
}

void rf_link_answer_frame(struct rf_worker *worker, uint64_t handle, struct rf_slice frame)
{
    struct rf_link *link = link_by_handle(worker, handle);
    struct rf_buf  *room = link == NULL || link->state != LINK_UP ? NULL : room_on(link);
    if (room != NULL) {
        rf_buf_append_slice(room, frame);
    }
}

/* ---- Life --------------------------------------------------------------------------------- */

struct rf_result rf_links_init(struct rf_worker *worker, char ret_why[256])
{
    worker->links = RF_NEW_ARRAY(struct rf_link *, RF_LINKS_MAX);
    worker->link_generations = RF_NEW_ARRAY(uint32_t, RF_LINKS_MAX);
    if (worker->links == NULL || worker->link_generations == NULL) {
        return rf_result(RF_NO_MEMORY);
    }
    return rf_listen(&worker->peer_listener, &worker->base.loop.uv,
                     worker->base.server->config.listen.peer, on_peer, worker, ret_why);
}

void rf_links_close(struct rf_worker *worker)
{
    rf_listener_close(&worker->peer_listener);
    for (uint32_t i = 0; i < worker->n_links; i++) {
        if (worker->links[i] != NULL && worker->links[i]->conn != NULL) {
            rf_conn_close(worker->links[i]->conn, "");
        }
    }
}

void rf_links_fini(struct rf_worker *worker)
{
    for (uint32_t i = 0; i < worker->n_links; i++) {
        if (worker->links[i] != NULL) {
            rf_assert(worker->links[i]->conn == NULL);
            free_link(worker->links[i]);
        }
    }
    rf_mem_free(worker->links);
    rf_mem_free(worker->link_generations);
}
