#ifndef LIB_HTTP_CONN_INT_H
#define LIB_HTTP_CONN_INT_H
/*
 * conn_int - what conn.c (lifetime, input), conn_out.c (output) and conn_dial.c share.
 *
 * The handles live inside struct conn; it is freed when the last one is closed, so no callback ever meets a freed conn.
 * Work that must not run inside a caller's frame (first on_ready, flushing, on_drain) is noted in a `due` bit and done by
 * the idle handle at the head of the next loop iteration: all writes of one iteration become one system call.
 */
#include "lib/http/conn.h"

enum conn_state {
    CONN_DIALING,   /* no usable socket yet */
    CONN_HANDSHAKE, /* connected, TLS not done */
    CONN_OPEN,
    CONN_CLOSING,   /* conn_close: only the queue is still sent */
    CONN_GONE,      /* handles are closing */
};

enum conn_due { DUE_READY = 1, DUE_INPUT = 2, DUE_FLUSH = 4, DUE_DRAIN = 8 };

enum { CONN_ADDRESS_BYTES = 64, CONN_CLOSE_MS = 5000, CONN_IOV = 16 };

struct conn_dialing;

struct conn {
    struct loop *loop;
    const struct conn_ops *ops;
    void *arg;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } io;
    uv_idle_t idle;
    int handles; /* open ones, to be closed before the end */
    enum conn_state state;
    unsigned due;
    bool io_open, reading, paused, first_seen, eof_seen, eof_told;
    bool writing, shut_wanted, shut_sent, is_pipe, was_over;
    struct tls *tls;
    const char *not_tls;

    struct bytes **queue; /* whole pieces to be sent, the first from first_at on */
    size_t n_queue, cap_queue, first_at, queue_bytes;
    size_t n_flying;      /* of the queue's head: handed to uv_write */
    struct buf tail;      /* plain: small writes behind the queue */
    uv_write_t write;
    uv_shutdown_t shutdown;

    struct buf unread;
    struct loop_timer *timer;
    struct conn_dialing *dialing;
    struct err *why;
    char peer[CONN_ADDRESS_BYTES], local[CONN_ADDRESS_BYTES];
};

struct conn *conn_new(struct loop *l, const struct conn_ops *ops, void *arg);
int conn_open_fd(struct conn *c, int fd); /* 0 or -errno; owns fd either way */
void conn_connected(struct conn *c);      /* the socket is there: handshake or ready */
void conn_due(struct conn *c, unsigned due);
void conn_timer(struct conn *c, int64_t after_ms, void (*fn)(void *arg)); /* replaces the last one; fn NULL: none */
bool conn_alive(const struct conn *c);    /* callbacks may still be made */
void conn_out_clear(struct conn *c);
void conn_dial_cancel(struct conn *c);
void conn_handle_closed(uv_handle_t *h);

/* "10.0.0.1:80", "[::1]:80", "@" for a Unix socket. */
void conn_address_text(const struct sockaddr *sa, char to[CONN_ADDRESS_BYTES]);

#endif
