/* Listening TCP sockets. Everything here belongs to the loop's thread, but for rf_listen_probe.
 *
 * libuv's own listener is not used: with no descriptor left and its spare one lost to another thread
 * it calls back for ever without returning to the loop (libuv 1.44, uv__server_io; seen as a shard
 * thread that span and could not be stopped). This one always returns: it rests instead. */
#ifndef RF_IO_LISTENER_H
#define RF_IO_LISTENER_H

#include <uv.h>

#include "base/rc.h"

/* A client has connected.
 * @param fd its socket, non-blocking; the callee owns it and closes it on all paths. */
typedef void (*rf_listener_cb)(void *user, int fd);

struct rf_listener {
    uv_poll_t  poll;
    uv_timer_t rest; /* runs while nothing is accepted for want of descriptors */
    int        fd;
    int        spare; /* given up to accept and refuse a client when no descriptor is left; -1 */
    rf_listener_cb on_client;
    void          *user;
    uint64_t       refused; /* clients closed unseen for want of descriptors */
};

/* Listens on host:port with SO_REUSEPORT, so that every thread has a listener of its own.
 * `listener` stays where it is until the loop has run after rf_listener_close.
 * RF_OK, or RF_IO_ERROR with a sentence; after a failure nothing is left to close. */
RF_CHECKED struct rf_result rf_listen(struct rf_listener *listener, uv_loop_t *loop,
                                      const char *address, rf_listener_cb on_client, void *user,
                                      char ret_why[256]);
/* Stops accepting; a second call does nothing, nor does one after a failed rf_listen. */
void rf_listener_close(struct rf_listener *listener);

/* Is the address free? SO_REUSEPORT would let two servers of one user share a port silently, so it
 * is tried without, once, before the threads open theirs. RF_OK, or RF_IO_ERROR with a sentence. */
RF_CHECKED struct rf_result rf_listen_probe(const char *address, char ret_why[256]);

/* Takes "host:port" or "[host]:port" apart. False when it is neither. */
bool rf_split_address(const char *address, char ret_host[256], char ret_port[8]);

#endif
