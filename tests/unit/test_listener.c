/* The listener gives the loop back, whatever happens to descriptors (S145). */
#include "test_util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "io/listener.h"

#define CLIENTS 3

struct fixture {
    uv_loop_t          loop;
    struct rf_listener listener;
    struct sockaddr_in address;
    int                clients[CLIENTS]; /* sockets not yet connected */
    uint32_t           n_accepted;
    struct rlimit      limit;
};

static void on_client(void *user, int fd)
{
    struct fixture *f = user;
    f->n_accepted++;
    close(fd);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    socklen_t       size = sizeof(f->address);
    char            why[256];
    assert_int_equal(0, uv_loop_init(&f->loop));
    assert_true(rf_ok(rf_listen(&f->listener, &f->loop, "127.0.0.1:0", on_client, f, why)));
    assert_int_equal(0, getsockname(f->listener.fd, (struct sockaddr *)&f->address, &size));
    for (int i = 0; i < CLIENTS; i++) {
        f->clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(f->clients[i] >= 0);
    }
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &f->limit));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < CLIENTS; i++) {
        close(f->clients[i]);
    }
    rf_listener_close(&f->listener);
    rf_listener_close(&f->listener);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(0, uv_loop_close(&f->loop));
    free(f);
    return 0;
}

static void connect_all(struct fixture *f)
{
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(
            0, connect(f->clients[i], (struct sockaddr *)&f->address, sizeof(f->address)));
    }
}

/* New descriptors must be below `max`. */
static void limit_descriptors(struct fixture *f, rlim_t max)
{
    struct rlimit limit = {.rlim_cur = max, .rlim_max = f->limit.rlim_max};
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &limit));
}

/* Goal: the spare descriptor is lost as well (to another thread, in life), so a waiting client can be
 * neither accepted nor refused: the loop comes back and does not spin; once there are descriptors, the
 * clients that waited are accepted. Method: a limit below every descriptor that could be given. */
static void none_left(void **state)
{
    struct fixture *f = *state;
    connect_all(f);
    limit_descriptors(f, 0);
    for (int turn = 0; turn < 3; turn++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(-1, f->listener.spare);
    assert_false(
        uv_is_active((uv_handle_t *)&f->listener.poll)); /* it rests: no turn without end */
    assert_int_equal(0, f->n_accepted);
    assert_int_equal(0, f->listener.refused);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &f->limit));
    while (f->n_accepted < CLIENTS) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
}

/* Goal: with the spare one left, each waiting client is closed and so told at once. */
static void spare_left(void **state)
{
    struct fixture *f = *state;
    char            byte;
    connect_all(f);
    /* All below the spare one are taken; it is the only one that can be used again. */
    int lowest = dup(f->listener.fd);
    close(lowest);
    if (lowest < f->listener.spare) {
        fail_msg("descriptor %d is free below the spare one %d", lowest, f->listener.spare);
    }
    limit_descriptors(f, (rlim_t)f->listener.spare + 1);
    while (f->listener.refused < CLIENTS) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(0, f->n_accepted);
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(0, recv(f->clients[i], &byte, 1, 0));
    }
    assert_true(f->listener.spare >= 0);
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &f->limit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(none_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spare_left, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
