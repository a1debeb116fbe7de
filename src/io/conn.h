/* TLS streams over TCP on a libuv loop. Everything here belongs to the loop's thread.
 *
 * Reading: the loop's shared buffer is decrypted at once and handed to `on_data`; bytes stay with
 * the connection only when `on_data` leaves some. Writing: plaintext gathers until the end of the
 * loop turn, then goes out with one write for all that is ready. */
#ifndef RF_IO_CONN_H
#define RF_IO_CONN_H

#include <openssl/ssl.h>
#include <uv.h>

#include "base/buf.h"
#include "base/time.h"

struct rf_conn;

/* Per thread: the loop, and what all of its connections share. */
struct rf_loop {
    uv_loop_t       uv;
    uv_prepare_t    flush;  /* runs before the loop sleeps */
    struct rf_conn *dirty;  /* connections with plaintext to send */
    struct rf_buf   cipher; /* scratch of the turn */
    uint8_t        *read_space;
    uint8_t        *plain_space;
    uint32_t        n_conns;
    struct rf_time  now; /* of this turn, once somebody asked */
    bool            now_known;
    /* Called at the end of every turn, before what was written in it is sent. May be NULL. */
    void (*on_turn)(void *user);
    void *turn_user;
};

RF_CHECKED struct rf_result rf_loop_init(struct rf_loop *loop);
/* The time of this turn of the loop: the clock is read once per turn, by the first who asks. */
struct rf_time rf_loop_now(struct rf_loop *loop);
/* All connections and handles must be closed and the loop have run out. */
void rf_loop_fini(struct rf_loop *loop);

struct rf_conn_callbacks {
    /* The handshake is done. */
    void (*on_ready)(struct rf_conn *conn);
    /* Plaintext: everything not yet consumed. Returns how many bytes it has consumed; the rest is
     * kept and shown again with what follows. */
    size_t (*on_data)(struct rf_conn *conn, struct rf_slice bytes);
    /* Over, for whatever reason ("" when we closed it); the connection is freed afterwards. Called
     * exactly once, never from inside another call into this module except rf_conn_dial's failure. */
    void (*on_close)(struct rf_conn *conn, const char *why);
    /* Before the handshake: the first bytes are no TLS. May write plain text with
     * rf_conn_write_plain; the connection is closed after it. May be NULL. */
    void (*on_plain)(struct rf_conn *conn, struct rf_slice bytes);
};

/* A new connection for a client that has connected. NULL without memory.
 * @param fd its socket (rf_listener_cb); taken over on all paths.
 * @param context NULL: no TLS, plain TCP; on_ready then comes with the first bytes.
 * @param out_max bytes that may wait for a slow reader before reading from it stops. */
struct rf_conn *rf_conn_accept(struct rf_loop *loop, int fd, SSL_CTX *context,
                               const struct rf_conn_callbacks *callbacks, void *user);
/* Dials host:port (numeric; names are resolved). NULL without memory; other failures come through
 * on_close. @param context NULL: no TLS, plain TCP. */
struct rf_conn *rf_conn_dial(struct rf_loop *loop, const char *address, SSL_CTX *context,
                             const struct rf_conn_callbacks *callbacks, void *user);

void *rf_conn_user(const struct rf_conn *conn);
SSL  *rf_conn_ssl(struct rf_conn *conn); /* NULL without TLS */
/* "10.0.0.1:12345" of the other side. */
const char *rf_conn_remote(const struct rf_conn *conn);

/* Where to append plaintext; it is sent at the end of the turn. */
struct rf_buf *rf_conn_out(struct rf_conn *conn);
void           rf_conn_write_plain(struct rf_conn *conn, struct rf_slice bytes);
/* Bytes that wait for the socket. */
size_t rf_conn_backlog(const struct rf_conn *conn);
/* Gives back the buffers of a connection that is idle; it works on as before. */
void rf_conn_trim(struct rf_conn *conn);
/* Stops and resumes handing out data (a pipeline that is full). Resuming shows kept bytes again. */
void rf_conn_pause(struct rf_conn *conn);
void rf_conn_resume(struct rf_conn *conn);
/* When it is closed later: end only our half first and read on, throwing away, until the other side
 * closes too (or rf_conn_abort). A socket closed with unread bytes resets the connection, and the
 * other side may lose our last answer. */
void rf_conn_linger(struct rf_conn *conn);
/* Bytes that the other side's kernel does not take for so long end the connection: a partition drops
 * packets without a word, and TCP alone would wait for a quarter of an hour. */
void rf_conn_give_up_after(struct rf_conn *conn, uint32_t timeout_ms);
/* Closes now, whatever waits. */
void rf_conn_abort(struct rf_conn *conn, const char *why);
/* Sends what is waiting, then closes; `why` is told to on_close (borrowed: a literal). */
void rf_conn_close(struct rf_conn *conn, const char *why);

#endif
