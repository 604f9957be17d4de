#ifndef TESTS_WS_PEER_H
#define TESTS_WS_PEER_H
/* ws_peer - a WebSocket end on a loop, and the other end of its socket for plain reads and writes. */
#include "lib/auto.h"
#include "lib/http/websocket.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

struct ws_peer {
    struct loop *loop;
    int fd; /* the raw end */
    struct ws *ws;
    bool client;
    size_t max_bytes;

    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct buf log;    /* "1:Hello|2:…|" */
    size_t bytes, largest, messages;
    bool echo, pause_each, quiet; /* quiet: counts only */
    int closed, code;
};

static void ws_peer_message(struct ws *w, void *arg, enum ws_op op, const char *data, size_t n)
{
    struct ws_peer *p = arg;
    LOCK_SCOPE(&p->lock);

    p->messages++;
    p->bytes += n;
    p->largest = n > p->largest ? n : p->largest;
    if (!p->quiet) {
        buf_printf(&p->log, "%d:", (int)op);
        buf_add(&p->log, data, n);
        buf_char(&p->log, '|');
    }
    if (p->echo)
        ws_send(w, op, data, n);
    if (p->pause_each)
        ws_pause(w);
    pthread_cond_broadcast(&p->moved);
}

static void ws_peer_close(struct ws *w, void *arg, int code)
{
    struct ws_peer *p = arg;
    LOCK_SCOPE(&p->lock);

    (void)w;
    p->ws = NULL;
    p->closed++;
    p->code = code;
    pthread_cond_broadcast(&p->moved);
}

static void ws_peer_nothing(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)arg;
    conn_unread(c, data, n);
    conn_pause(c);
}

static void ws_peer_ready(struct conn *c, void *arg)
{
    static const struct ws_ops ops = { .on_message = ws_peer_message, .on_close = ws_peer_close };
    struct ws_peer *p = arg;
    LOCK_SCOPE(&p->lock);

    pthread_cond_broadcast(&p->moved);
    p->ws = ws_new(c, p->client, p->max_bytes, &ops, p);
}

static void ws_peer_failed(struct conn *c, void *arg, const struct err *why)
{
    (void)c;
    ws_peer_close(NULL, arg, why ? -1 : -2);
}

struct ws_peer_start {
    struct ws_peer *peer;
    int fd;
};

static void ws_peer_start(void *arg)
{
    static const struct conn_ops ops = { .on_ready = ws_peer_ready, .on_data = ws_peer_nothing, .on_close = ws_peer_failed };
    struct ws_peer_start *s = arg;

    conn_accept(s->peer->loop, s->fd, NULL, 1000, &ops, s->peer);
    free(s);
}

/* Takes fd (a socket) as the ws's side; p->fd is the caller's. */
static inline void ws_peer_on(struct ws_peer *p, struct loop *l, int fd, bool client, size_t max_bytes)
{
    struct ws_peer_start *s = MEM_NEW(struct ws_peer_start);

    p->loop = l;
    p->client = client;
    p->max_bytes = max_bytes;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->moved, NULL);
    *s = (struct ws_peer_start){ p, fd };
    loop_post(l, ws_peer_start, s);
}

static inline void ws_peer_new(struct ws_peer *p, struct loop *l, bool client, size_t max_bytes)
{
    int ends[2];

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    p->fd = ends[0];
    ws_peer_on(p, l, ends[1], client, max_bytes);
}

static inline void ws_peer_put(struct ws_peer *p, const void *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t m = send(p->fd, (const char *)data + at, n - at, MSG_NOSIGNAL);

        if (m < 0 && errno != EINTR)
            return; /* it closed: the reader sees that */
        at += m > 0 ? (size_t)m : 0;
    }
}

static inline void ws_peer_get(struct ws_peer *p, void *to, size_t n)
{
    CHECK_INT(recv(p->fd, to, n, MSG_WAITALL), n);
}

static inline void ws_peer_await_ready(struct ws_peer *p)
{
    LOCK_SCOPE(&p->lock);
    while (!p->ws)
        pthread_cond_wait(&p->moved, &p->lock);
}

static inline void ws_peer_await(struct ws_peer *p, size_t messages)
{
    LOCK_SCOPE(&p->lock);
    while (p->messages < messages && !p->closed)
        pthread_cond_wait(&p->moved, &p->lock);
}

static inline void ws_peer_await_close(struct ws_peer *p)
{
    LOCK_SCOPE(&p->lock);
    while (!p->closed)
        pthread_cond_wait(&p->moved, &p->lock);
}

static inline void ws_peer_end(struct ws_peer *p)
{
    if (p->fd >= 0)
        close(TAKE_FD(p->fd));
    ws_peer_await_close(p);
    CHECK_INT(p->closed, 1);
    buf_clear(&p->log);
}

#endif
