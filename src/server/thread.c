/* What shard threads and the control thread have in common: loop, timer, mail, event queue. */
#include "base/assert.h"
#include "base/mem.h"
#include "io/clock.h"
#include "server/reload.h"

static void on_wake(uv_async_t *handle)
{
    struct rf_thread *thread = handle->data;
    struct rf_mail    mail;
    for (uint32_t from = 0; from <= thread->server->n_shards; from++) {
        while (rf_mailbox_pop(thread->inbox[from], &mail)) {
            thread->on_mail(thread, &mail);
        }
    }
}

static void on_timer(uv_timer_t *handle)
{
    struct rf_thread *thread = handle->data;
    thread->timer_at_us = UINT64_MAX;
    thread->on_timer(thread);
}

struct rf_result rf_thread_init(struct rf_thread *thread, struct rf_server *server, uint32_t number)
{
    thread->server = server;
    thread->number = number;
    thread->timer_at_us = UINT64_MAX;
    RF_TRY(rf_loop_init(&thread->loop));
    uv_async_init(&thread->loop.uv, &thread->wake, on_wake);
    thread->wake.data = thread;
    uv_timer_init(&thread->loop.uv, &thread->timer);
    thread->timer.data = thread;
    uv_timer_init(&thread->loop.uv, &thread->resend);
    thread->resend.data = thread;
    thread->inbox = RF_NEW_ARRAY(struct rf_mailbox *, server->n_shards + 1);
    for (uint32_t i = 0; thread->inbox != NULL && i <= server->n_shards; i++) {
        thread->inbox[i] = rf_mailbox_new(RF_MAILBOX_SIZE, sizeof(struct rf_mail));
        if (thread->inbox[i] == NULL) {
            return rf_result(RF_NO_MEMORY);
        }
    }
    return rf_result(thread->inbox == NULL ? RF_NO_MEMORY : RF_OK);
}

static void drop_mail(struct rf_mail *mail)
{
    switch (mail->kind) {
    case RF_MAIL_STORE:
        rf_blob_drop(mail->as.store.row.blob);
        break;
    case RF_MAIL_STORED:
        rf_blob_drop(mail->as.stored.row.blob);
        break;
    case RF_MAIL_SEND:
    case RF_MAIL_SEND_ADDR:
    case RF_MAIL_ANSWER:
    case RF_MAIL_FRAME:
        rf_blob_drop(mail->as.frame.blob);
        break;
    case RF_MAIL_VIEW:
        rf_view_drop(mail->as.view);
        break;
    case RF_MAIL_RELOAD:
        rf_reload_free(mail->as.reload);
        break;
    case RF_MAIL_RELOADED:
        rf_blob_drop(mail->as.reloaded.body);
        break;
    case RF_MAIL_RELOAD_ASK:
    case RF_MAIL_WORK:
    case RF_MAIL_WORKED:
    case RF_MAIL_ALIVE:
    case RF_MAIL_STORAGE:
    case RF_MAIL_LINK:
    case RF_MAIL_CLOCK:
    case RF_MAIL_SEEN:
    case RF_MAIL_DRAIN:
    case RF_MAIL_STOP:
    default:
        break;
    }
}

void rf_thread_fini(struct rf_thread *thread)
{
    struct rf_mail mail;
    uv_close((uv_handle_t *)&thread->wake, NULL);
    uv_close((uv_handle_t *)&thread->timer, NULL);
    uv_close((uv_handle_t *)&thread->resend, NULL);
    uv_run(&thread->loop.uv, UV_RUN_DEFAULT);
    rf_loop_fini(&thread->loop);
    for (uint32_t i = 0; i <= thread->server->n_shards; i++) {
        while (rf_mailbox_pop(thread->inbox[i], &mail)) {
            drop_mail(&mail);
        }
        rf_mailbox_free(thread->inbox[i]);
    }
    for (uint32_t i = 0; i < thread->n_unsent; i++) {
        drop_mail(&thread->unsent[i].mail);
    }
    rf_mem_free(thread->unsent);
    rf_mem_free(thread->inbox);
}

/* ---- Mail --------------------------------------------------------------------------------- */

static bool must_arrive(enum rf_mail_kind kind)
{
    return kind == RF_MAIL_STORED || kind == RF_MAIL_VIEW || kind == RF_MAIL_ALIVE ||
           kind == RF_MAIL_STORAGE || kind == RF_MAIL_LINK || kind == RF_MAIL_RELOADED ||
           kind == RF_MAIL_WORKED || kind == RF_MAIL_DRAIN || kind == RF_MAIL_CLOCK;
}

static bool post(struct rf_thread *from, uint32_t to, const struct rf_mail *mail)
{
    struct rf_thread *target = rf_server_thread(from->server, to);
    if (!rf_mailbox_push(target->inbox[from->number], mail)) {
        return false;
    }
    uv_async_send(&target->wake);
    return true;
}

/* Sends what was kept, in order for each receiver: behind a letter that still does not fit, all to
 * the same thread wait. */
static void resend(struct rf_thread *thread)
{
    uint32_t kept = 0;
    bool     full[256] = {false};
    for (uint32_t i = 0; i < thread->n_unsent; i++) {
        struct rf_letter letter = thread->unsent[i];
        if (full[letter.to] || !post(thread, letter.to, &letter.mail)) {
            full[letter.to] = true;
            thread->unsent[kept++] = letter;
        }
    }
    thread->n_unsent = kept;
    if (kept == 0) {
        uv_timer_stop(&thread->resend);
    }
}

static void on_resend(uv_timer_t *timer)
{
    resend(timer->data);
}

static bool keep_letter(struct rf_thread *from, uint32_t to, const struct rf_mail *mail)
{
    if (from->n_unsent == from->cap_unsent) {
        uint32_t          cap = from->cap_unsent == 0 ? 64 : from->cap_unsent * 2;
        struct rf_letter *grown = rf_mem_realloc(from->unsent, sizeof(*grown) * cap);
        if (grown == NULL) {
            return false;
        }
        from->unsent = grown;
        from->cap_unsent = cap;
    }
    from->unsent[from->n_unsent++] = (struct rf_letter){to, *mail};
    uv_timer_start(&from->resend, on_resend, 1, 1);
    return true;
}

bool rf_thread_mail(struct rf_thread *from, uint32_t to, const struct rf_mail *mail)
{
    if (!must_arrive(mail->kind)) {
        return post(from, to, mail);
    }
    if (from->n_unsent != 0) {
        resend(from);
    }
    return (from->n_unsent == 0 && post(from, to, mail)) || keep_letter(from, to, mail);
}

void rf_thread_wake_at(struct rf_thread *thread, uint64_t at_us)
{
    if (at_us >= thread->timer_at_us) {
        return;
    }
    uint64_t now_us = rf_loop_now(&thread->loop).mono_us;
    uint64_t wait_ms = at_us <= now_us ? 0 : (at_us - now_us + 999) / 1000;
    thread->timer_at_us = at_us;
    uv_update_time(&thread->loop.uv);
    uv_timer_start(&thread->timer, on_timer, wait_ms, 0);
}

/* ---- Events ------------------------------------------------------------------------------- */

void rf_queue_push(struct rf_event_queue *queue, const struct rf_event *event)
{
    if (queue->n == queue->cap) {
        uint32_t         cap = queue->cap == 0 ? 64 : queue->cap * 2;
        struct rf_event *grown = rf_mem_realloc(queue->list, sizeof(*grown) * cap);
        if (grown == NULL) {
            rf_event_drop(event); /* as if the message was lost: requests time out */
            return;
        }
        queue->list = grown;
        queue->cap = cap;
    }
    queue->list[queue->n++] = *event;
}

void rf_queue_consume(struct rf_event_queue *queue, uint32_t n)
{
    rf_assert(n <= queue->n);
    for (uint32_t i = 0; i < n; i++) {
        rf_event_drop(&queue->list[i]);
    }
    if (n != 0 && n != queue->n) {
        memmove(queue->list, queue->list + n, sizeof(*queue->list) * (queue->n - n));
    }
    queue->n -= n;
}
