#include "lib/http/conn_int.h"

#include "lib/mem.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

enum { READ_BYTES = 32 * 1024, PLAIN_BYTES = 16 * 1024, KEEPALIVE_S = 30 };

static void on_idle(uv_idle_t *idle);

struct conn *conn_new(struct loop *l, const struct conn_ops *ops, void *arg)
{
    struct conn *c = MEM_NEW(struct conn);

    c->loop = l;
    c->ops = ops;
    c->arg = arg;
    uv_idle_init(loop_uv(l), &c->idle);
    c->idle.data = c;
    c->handles = 1;
    return c;
}

bool conn_alive(const struct conn *c)
{
    return c->state < CONN_CLOSING;
}

void conn_due(struct conn *c, unsigned due)
{
    if (c->state == CONN_GONE)
        return;
    if (!c->due)
        uv_idle_start(&c->idle, on_idle);
    c->due |= due;
}

void conn_timer(struct conn *c, int64_t after_ms, void (*fn)(void *arg))
{
    loop_timer_cancel(c->timer);
    c->timer = fn ? loop_timer_start(c->loop, after_ms, fn, c) : NULL;
}

void conn_address_text(const struct sockaddr *sa, char to[CONN_ADDRESS_BYTES])
{
    char ip[INET6_ADDRSTRLEN] = "";

    snprintf(to, CONN_ADDRESS_BYTES, "@");
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;

        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip));
        snprintf(to, CONN_ADDRESS_BYTES, "%s:%d", ip, ntohs(in->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)sa;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in->sin6_addr);

        if (mapped)
            inet_ntop(AF_INET, in->sin6_addr.s6_addr + 12, ip, sizeof(ip));
        else
            inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof(ip));
        snprintf(to, CONN_ADDRESS_BYTES, mapped ? "%s:%d" : "[%s]:%d", ip, ntohs(in->sin6_port));
    }
}

static void note_addresses(struct conn *c)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t n = sizeof(sa);
    uv_os_fd_t fd = -1;

    if (uv_fileno(&c->io.handle, &fd) < 0)
        return;
    if (getpeername(fd, (struct sockaddr *)&sa, &n) == 0)
        conn_address_text((struct sockaddr *)&sa, c->peer);
    n = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &n) == 0)
        conn_address_text((struct sockaddr *)&sa, c->local);
}

int conn_open_fd(struct conn *c, int fd)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t n = sizeof(sa);
    /* a pipe's end (a command's output) is no socket, and just as good */
    int rc = getsockname(fd, (struct sockaddr *)&sa, &n) < 0 && errno != ENOTSOCK ? -errno : 0;
    bool tcp = sa.ss_family == AF_INET || sa.ss_family == AF_INET6;

    c->is_pipe = sa.ss_family == AF_UNSPEC;
    if (rc == 0)
        rc = tcp ? uv_tcp_init(loop_uv(c->loop), &c->io.tcp) : uv_pipe_init(loop_uv(c->loop), &c->io.pipe, 0);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    c->io.handle.data = c;
    c->io_open = true;
    c->handles++;
    rc = tcp ? uv_tcp_open(&c->io.tcp, fd) : uv_pipe_open(&c->io.pipe, fd);
    if (rc < 0)
        (void)close(fd);
    return rc;
}

/* --- the end --- */

void conn_handle_closed(uv_handle_t *h)
{
    struct conn *c = h->data;

    if (--c->handles > 0)
        return;
    c->ops->on_close(c, c->arg, c->why);
    conn_out_clear(c);
    buf_clear(&c->unread);
    tls_free(c->tls);
    free(c->why);
    free(c);
}

void conn_abort(struct conn *c, const struct err *why)
{
    if (c->state == CONN_GONE)
        return;
    c->state = CONN_GONE;
    if (why) {
        c->why = MEM_NEW(struct err);
        *c->why = *why;
    }
    conn_timer(c, 0, NULL);
    conn_dial_cancel(c);
    uv_close((uv_handle_t *)&c->idle, conn_handle_closed);
    if (c->io_open && !uv_is_closing(&c->io.handle))
        uv_close(&c->io.handle, conn_handle_closed);
}

static void close_too_slow(void *arg)
{
    struct conn *c = arg;
    struct err err;

    c->timer = NULL; /* it fired */
    ERR_IGNORE(err_set(&err, ERR_TIMEOUT, "%s did not take what was queued within %d s of closing", c->peer,
                       CONN_CLOSE_MS / 1000));
    conn_abort(c, &err);
}

static void read_stop(struct conn *c)
{
    if (c->reading)
        uv_read_stop(&c->io.stream);
    c->reading = false;
}

void conn_close(struct conn *c)
{
    if (c->state >= CONN_CLOSING)
        return;
    if (c->state != CONN_OPEN) {
        conn_abort(c, NULL);
        return;
    }
    if (c->tls && !c->shut_wanted)
        tls_close_notify(c->tls);
    c->state = CONN_CLOSING;
    read_stop(c);
    conn_timer(c, CONN_CLOSE_MS, close_too_slow);
    conn_due(c, DUE_FLUSH);
}

/* --- input --- */

static void deliver(struct conn *c, const char *data, size_t n)
{
    c->ops->on_data(c, c->arg, data, n);
}

static void become_ready(struct conn *c)
{
    c->state = CONN_OPEN;
    conn_timer(c, 0, NULL);
    if (c->ops->on_ready)
        c->ops->on_ready(c, c->arg);
}

static void tls_failed(struct conn *c, struct err *err)
{
    conn_flush(c); /* the alert that tells the peer why */
    if (c->state == CONN_GONE)
        return;
    if (c->state == CONN_HANDSHAKE)
        ERR_IGNORE(err_wrap(err, "TLS handshake with %s", c->peer));
    conn_abort(c, err);
}

/* Decrypts and delivers until there is nothing more or the owner pauses. */
static void pump_tls(struct conn *c)
{
    while (conn_alive(c) && (!c->paused || c->state == CONN_HANDSHAKE)) {
        AUTO(buf) struct buf plain = { 0 };
        struct err err;

        if (tls_read(c->tls, &plain, PLAIN_BYTES, &err) < 0) {
            tls_failed(c, &err);
            return;
        }
        if (buf_len(tls_out(c->tls)))
            conn_due(c, DUE_FLUSH);
        if (c->state == CONN_HANDSHAKE && tls_ready(c->tls))
            become_ready(c);
        if (buf_len(&plain) == 0)
            return;
        if (conn_alive(c))
            deliver(c, buf_at(&plain), buf_len(&plain));
    }
}

static void tell_eof(struct conn *c)
{
    struct err err;

    c->eof_told = true;
    read_stop(c);
    if (c->state == CONN_HANDSHAKE) {
        ERR_IGNORE(err_set(&err, ERR_IO, "%s closed the connection during the TLS handshake", c->peer));
        conn_abort(c, &err);
    } else if (c->ops->on_eof) {
        c->ops->on_eof(c, c->arg);
    } else {
        conn_close(c);
    }
}

static void pump(struct conn *c)
{
    if (!c->paused && buf_len(&c->unread) && conn_alive(c)) {
        struct bytes *b = buf_take(&c->unread);

        deliver(c, b->at, b->n);
        bytes_unref(b);
    }
    if (c->tls)
        pump_tls(c);
    bool ended = c->eof_seen || (c->tls && tls_peer_closed(c->tls));
    if (ended && !c->paused && !c->eof_told && conn_alive(c) && !buf_len(&c->unread))
        tell_eof(c);
}

/* Somebody speaks HTTP to an HTTPS port: a word helps him more than an alert. */
static bool refuse_plain(struct conn *c, const char *data)
{
    struct err err;

    if (!c->not_tls || c->state != CONN_HANDSHAKE || c->first_seen)
        return false;
    c->first_seen = true;
    if (data[0] < 'A' || data[0] > 'Z') /* a TLS record begins with 22 */
        return false;
    uv_buf_t text = uv_buf_init((char *)c->not_tls, (unsigned)strlen(c->not_tls));
    uv_try_write(&c->io.stream, &text, 1);
    ERR_IGNORE(err_set(&err, ERR_IO, "%s does not speak TLS", c->peer));
    conn_abort(c, &err);
    return true;
}

void conn_set_not_tls(struct conn *c, const char *text)
{
    c->not_tls = text;
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *to)
{
    (void)h, (void)suggested;
    *to = uv_buf_init(mem_alloc(READ_BYTES), READ_BYTES);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *data)
{
    AUTO_FREE char *at = data->base;
    struct conn *c = s->data;
    struct err err;

    if (n == 0 || !conn_alive(c))
        return;
    if (n == UV_EOF) {
        c->eof_seen = true;
        read_stop(c);
    } else if (n < 0) {
        ERR_IGNORE(err_sys(&err, (int)-n, "read from %s", c->peer));
        conn_abort(c, &err);
        return;
    } else if (!c->tls) {
        deliver(c, at, (size_t)n);
        return;
    } else if (refuse_plain(c, at)) {
        return;
    } else if (tls_feed(c->tls, at, (size_t)n, &err) < 0) {
        tls_failed(c, &err);
        return;
    }
    pump(c);
}

static void read_start(struct conn *c)
{
    if (c->reading || c->eof_seen || !c->io_open || !conn_alive(c) || (c->paused && c->state == CONN_OPEN))
        return;
    c->reading = uv_read_start(&c->io.stream, on_alloc, on_read) == 0;
}

void conn_pause(struct conn *c)
{
    c->paused = true;
    if (c->state == CONN_OPEN)
        read_stop(c);
}

void conn_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    conn_due(c, DUE_INPUT);
}

void conn_unread(struct conn *c, const void *data, size_t n)
{
    if (n == 0)
        return;
    struct buf again = { 0 }; /* in front of what may wait there already */
    buf_add(&again, data, n);
    buf_add(&again, buf_at(&c->unread), buf_len(&c->unread));
    buf_clear(&c->unread);
    c->unread = again;
    conn_due(c, DUE_INPUT);
}

/* --- the beginning --- */

void conn_connected(struct conn *c)
{
    note_addresses(c);
    if (c->io.handle.type == UV_TCP) {
        uv_tcp_nodelay(&c->io.tcp, 1);
        uv_tcp_keepalive(&c->io.tcp, 1, KEEPALIVE_S);
    }
    c->state = CONN_HANDSHAKE;
    conn_due(c, c->tls ? DUE_INPUT : DUE_READY);
}

static void handshake_too_slow(void *arg)
{
    struct conn *c = arg;
    struct err err;

    c->timer = NULL;
    ERR_IGNORE(err_set(&err, ERR_TIMEOUT, "TLS handshake with %s timed out", c->peer));
    conn_abort(c, &err);
}

struct conn *conn_accept(struct loop *l, int fd, struct tls_ctx *tls, int64_t handshake_ms, const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_new(l, ops, arg);
    int rc = conn_open_fd(c, fd);

    if (rc < 0) {
        struct err err;

        ERR_IGNORE(err_sys(&err, -rc, "take an accepted socket"));
        conn_abort(c, &err);
        return c;
    }
    if (tls)
        c->tls = tls_new(tls, NULL);
    conn_connected(c);
    if (tls && handshake_ms > 0)
        conn_timer(c, handshake_ms, handshake_too_slow);
    return c;
}

static void on_idle(uv_idle_t *idle)
{
    struct conn *c = idle->data;
    unsigned due = c->due;

    c->due = 0;
    uv_idle_stop(idle);
    if (due & DUE_READY && c->state == CONN_HANDSHAKE)
        become_ready(c);
    if (due & (DUE_READY | DUE_INPUT) && conn_alive(c)) {
        pump(c);
        if (conn_alive(c))
            read_start(c);
    }
    if (due & DUE_DRAIN && conn_alive(c) && c->ops->on_drain)
        c->ops->on_drain(c, c->arg);
    /* Always: the callbacks above may have written. */
    if (c->state != CONN_GONE)
        conn_flush(c);
}

void conn_set_ops(struct conn *c, const struct conn_ops *ops, void *arg)
{
    assert(ops->on_close);
    c->ops = ops;
    c->arg = arg;
}

struct loop *conn_loop(struct conn *c)
{
    return c->loop;
}

const struct tls *conn_tls(const struct conn *c)
{
    return c->tls;
}

const char *conn_peer_address(const struct conn *c)
{
    return c->peer;
}

const char *conn_local_address(const struct conn *c)
{
    return c->local;
}
