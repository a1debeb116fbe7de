#define _GNU_SOURCE /* accept4 */
#include "io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

#define BACKLOG 1024        /* clients that the kernel keeps waiting */
#define ACCEPTS_PER_TURN 64 /* the loop's other work must have its turn in a flood */
#define REST_MS 100u

/* ---- Accepting ---------------------------------------------------------------------------- */

static int accept_one(struct rf_listener *listener)
{
    return accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void on_ready(uv_poll_t *handle, int status, int events);

static void on_rested(uv_timer_t *timer)
{
    struct rf_listener *listener = timer->data;
    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
}

/* No descriptor is left. The spare one lets us take the client off the queue and close it, so that
 * it learns at once that it is not served. When even that fails, the queue waits a little. */
static void refuse_one(struct rf_listener *listener)
{
    if (listener->spare >= 0) {
        close(listener->spare);
    }
    int fd = accept_one(listener);
    if (fd >= 0) {
        close(fd);
        listener->refused++;
    }
    listener->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || listener->spare < 0) {
        uv_poll_stop(&listener->poll);
        uv_timer_start(&listener->rest, on_rested, REST_MS, 0);
    }
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct rf_listener *listener = handle->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN && !uv_is_closing((uv_handle_t *)handle); i++) {
        int fd = accept_one(listener);
        if (fd >= 0) {
            listener->on_client(listener->user, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            refuse_one(listener);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* else: this client has gone again; the next one */
    }
}

/* ---- Addresses ---------------------------------------------------------------------------- */

bool rf_split_address(const char *address, char ret_host[256], char ret_port[8])
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || strlen(colon + 1) > 7) {
        return false;
    }
    size_t n = (size_t)(colon - address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    }
    if (n == 0 || n > 255) {
        return false;
    }
    memcpy(ret_host, address, n);
    ret_host[n] = 0;
    snprintf(ret_port, 8, "%s", colon + 1);
    return true;
}

static int bound_socket(const struct addrinfo *found, bool share, const char **ret_step)
{
    int one = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *ret_step = "socket";
    if (fd < 0) {
        return -1;
    }
    *ret_step = "bind";
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0) ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static struct rf_result open_listener(const char *address, bool share, int *ret_fd, char why[256])
{
    char             host[256];
    char             port[8];
    struct addrinfo *found = NULL;
    struct addrinfo  hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const char      *step = "resolve";
    if (!rf_split_address(address, host, port) || getaddrinfo(host, port, &hints, &found) != 0) {
        snprintf(why, 256, "cannot resolve the address %.180s", address);
        return rf_result(RF_IO_ERROR);
    }
    *ret_fd = bound_socket(found, share, &step);
    if (*ret_fd < 0) {
        snprintf(why, 256, "cannot listen on %.120s: %s: %m", address, step);
    }
    freeaddrinfo(found);
    return rf_result(*ret_fd < 0 ? RF_IO_ERROR : RF_OK);
}

struct rf_result rf_listen_probe(const char *address, char ret_why[256])
{
    int fd = -1;
    RF_TRY(open_listener(address, false, &fd, ret_why));
    close(fd);
    return rf_result(RF_OK);
}

/* ---- Life --------------------------------------------------------------------------------- */

static void on_poll_closed(uv_handle_t *handle)
{
    struct rf_listener *listener = handle->data;
    close(listener->fd);
    if (listener->spare >= 0) {
        close(listener->spare);
    }
}

struct rf_result rf_listen(struct rf_listener *listener, uv_loop_t *loop, const char *address,
                           rf_listener_cb on_client, void *user, char ret_why[256])
{
    *listener = (struct rf_listener){.on_client = on_client, .user = user, .fd = -1, .spare = -1};
    RF_TRY(open_listener(address, true, &listener->fd, ret_why));
    if (listen(listener->fd, BACKLOG) != 0 ||
        uv_poll_init(loop, &listener->poll, listener->fd) != 0) {
        snprintf(ret_why, 256, "cannot listen on %.120s: %m", address);
        close(listener->fd);
        listener->poll = (uv_poll_t){0};
        return rf_result(RF_IO_ERROR);
    }
    uv_timer_init(loop, &listener->rest);
    listener->rest.data = listener;
    listener->poll.data = listener;
    listener->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
    return rf_result(RF_OK);
}

void rf_listener_close(struct rf_listener *listener)
{
    if (listener->poll.data != NULL && !uv_is_closing((uv_handle_t *)&listener->poll)) {
        uv_close((uv_handle_t *)&listener->rest, NULL);
        uv_close((uv_handle_t *)&listener->poll, on_poll_closed);
    }
}
