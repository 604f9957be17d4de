#ifndef LIB_HTTP_CONN_H
#define LIB_HTTP_CONN_H
/*
 * conn - a byte stream on a loop: TCP or a Unix socket, with TLS or without, accepted or dialled.
 *
 * Thread: the loop's. Back-pressure both ways: conn_queued tells what waits to be written, conn_pause stops reading.
 * Lifetime: after on_close the conn is gone; conn_close asks for it. No callback comes from inside a call made here.
 * What is written during one iteration of the loop goes out in one system call at its end.
 */
#include "lib/loop.h"
#include "lib/tls.h"

struct conn;

struct conn_ops {
    void (*on_ready)(struct conn *c, void *arg); /* connected and handshaken: alpn and peer are known */
    void (*on_data)(struct conn *c, void *arg, const char *data, size_t n);
    void (*on_drain)(struct conn *c, void *arg); /* the write queue fell under CONN_LOW_BYTES after it had been over */
    void (*on_eof)(struct conn *c, void *arg);   /* the peer sends no more; NULL: close */
    void (*on_close)(struct conn *c, void *arg, const struct err *why); /* why NULL: ended in order. Always comes, once */
};

enum { CONN_LOW_BYTES = 64 * 1024, CONN_HIGH_BYTES = 256 * 1024 };

/* Takes an accepted socket. tls NULL: plain. handshake_ms bounds the time to on_ready; 0: the owner watches it. */
struct conn *conn_accept(struct loop *l, int fd, struct tls_ctx *tls, int64_t handshake_ms, const struct conn_ops *ops, void *arg);

/* Right after conn_accept with TLS: what is answered, in the clear, to who begins without it. A literal. */
void conn_set_not_tls(struct conn *c, const char *text);

struct conn_target {
    const char *host; /* name (resolved off the loop), address, or a path beginning with / for a Unix socket */
    int port;
    struct tls_ctx *tls; /* NULL: plain */
    const char *server_name; /* NULL: host */
    int64_t timeout_ms;  /* until on_ready */
};
/* Failure comes through on_close, never before this returns. */
struct conn *conn_dial(struct loop *l, const struct conn_target *target, const struct conn_ops *ops, void *arg);

void conn_write(struct conn *c, const void *data, size_t n);        /* copies (or encrypts) at once */
void conn_write_bytes(struct conn *c, struct bytes *b);             /* plain connections send it without a copy */
void conn_flush(struct conn *c);                                    /* hands it to the socket now, not at the iteration's end */
size_t conn_queued(const struct conn *c);
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
void conn_shutdown(struct conn *c); /* sends what is queued, then our end of stream; reading goes on */
void conn_close(struct conn *c);    /* sends what is queued (at most 5 s), then closes */
void conn_abort(struct conn *c, const struct err *why); /* at once; on_close gets why */
void conn_set_ops(struct conn *c, const struct conn_ops *ops, void *arg); /* hand over to another owner (upgrade) */
/* Bytes that belong to the next owner: they come to on_data before anything newer. */
void conn_unread(struct conn *c, const void *data, size_t n);
struct loop *conn_loop(struct conn *c);
const struct tls *conn_tls(const struct conn *c); /* NULL when plain */
const char *conn_peer_address(const struct conn *c); /* "10.0.0.1:4711" */
const char *conn_local_address(const struct conn *c);

/* Moves bytes both ways with back-pressure until both sides ended, then closes both. Takes over both conns' ops. */
void conn_relay(struct conn *a, struct conn *b, void (*on_end)(void *arg), void *arg);

#endif
