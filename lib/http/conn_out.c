/* The way out of a conn: one queue of pieces, sent at most once an iteration, straight to the socket while it takes them. */
#include "lib/http/conn_int.h"

#include "lib/mem.h"

#include <string.h>

enum { COPY_BYTES = 2048 }; /* smaller pieces are joined, larger ones referenced */

static void push(struct conn *c, struct bytes *b)
{
    if (b->n == 0) {
        bytes_unref(b);
        return;
    }
    if (c->n_queue == c->cap_queue) {
        c->cap_queue = c->cap_queue ? c->cap_queue * 2 : 4;
        c->queue = mem_realloc(c->queue, c->cap_queue * sizeof(struct bytes *));
    }
    c->queue[c->n_queue++] = b;
    c->queue_bytes += b->n;
}

/* Brings what is not in the queue yet into it: TLS records, or the small writes. */
static void gather(struct conn *c)
{
    struct buf *from = c->tls ? tls_out(c->tls) : &c->tail;

    if (buf_len(from) == 0)
        return;
    struct bytes *b = TAKE(from->b);
    from->cap = 0;
    push(c, b);
}

/* Forgets the first n bytes. */
static void sent(struct conn *c, size_t n)
{
    size_t gone = 0;

    c->queue_bytes -= n;
    while (n && n >= c->queue[gone]->n - c->first_at) {
        n -= c->queue[gone]->n - c->first_at;
        c->first_at = 0;
        bytes_unref(c->queue[gone++]);
    }
    c->first_at += n;
    c->n_queue -= gone;
    memmove(c->queue, c->queue + gone, c->n_queue * sizeof(struct bytes *));
    if (c->n_queue == 0 && c->cap_queue > 8) {
        free(TAKE(c->queue));
        c->cap_queue = 0;
    }
}

static size_t head(const struct conn *c, uv_buf_t to[CONN_IOV], size_t *ret_bytes)
{
    size_t n = 0, bytes = 0;

    for (; n < c->n_queue && n < CONN_IOV; n++) {
        size_t from = n == 0 ? c->first_at : 0;

        to[n] = uv_buf_init(c->queue[n]->at + from, (unsigned)(c->queue[n]->n - from));
        bytes += to[n].len;
    }
    *ret_bytes = bytes;
    return n;
}

static void write_failed(struct conn *c, int rc)
{
    struct err err;

    ERR_IGNORE(err_sys(&err, -rc, "write to %s", c->peer));
    conn_abort(c, &err);
}

static void on_written(uv_write_t *req, int rc)
{
    struct conn *c = req->data;

    c->writing = false;
    if (c->state == CONN_GONE)
        return;
    if (rc < 0) {
        write_failed(c, rc);
        return;
    }
    sent(c, c->n_flying);
    c->n_flying = 0;
    conn_flush(c);
}

static void on_shut(uv_shutdown_t *req, int rc)
{
    (void)req, (void)rc; /* a peer that is gone shows up as EOF or a read error */
}

/* The queue is empty. */
static void flushed(struct conn *c)
{
    if (c->shut_wanted && c->is_pipe && c->state != CONN_CLOSING) { /* a pipe's end is shut by closing it */
        conn_abort(c, NULL);
        return;
    }
    if (c->shut_wanted && !c->shut_sent) {
        c->shut_sent = true;
        c->shutdown.data = c;
        uv_shutdown(&c->shutdown, &c->io.stream, on_shut);
    }
    if (c->state == CONN_CLOSING)
        conn_abort(c, NULL);
}

void conn_flush(struct conn *c)
{
    if (c->state == CONN_DIALING || c->state == CONN_GONE || (!c->tls && c->state == CONN_HANDSHAKE))
        return;
    c->due &= ~(unsigned)DUE_FLUSH;
    if (!c->due) /* else the loop would turn once more for nothing */
        uv_idle_stop(&c->idle);
    while (!c->writing) {
        uv_buf_t at[CONN_IOV];
        size_t bytes;

        gather(c);
        size_t n = head(c, at, &bytes);
        if (n == 0)
            break;
        int rc = uv_try_write(&c->io.stream, at, (unsigned)n);
        if (rc == UV_EAGAIN) {
            c->write.data = c;
            c->n_flying = bytes;
            rc = uv_write(&c->write, &c->io.stream, at, (unsigned)n, on_written);
            c->writing = rc == 0;
        } else if (rc > 0) {
            sent(c, (size_t)rc);
        }
        if (rc < 0) {
            write_failed(c, rc);
            return;
        }
    }
    if (c->was_over && conn_queued(c) < CONN_LOW_BYTES && conn_alive(c)) {
        c->was_over = false;
        conn_due(c, DUE_DRAIN);
    }
    if (!c->writing)
        flushed(c);
}

static void written(struct conn *c)
{
    if (conn_queued(c) >= CONN_LOW_BYTES)
        c->was_over = true;
    conn_due(c, DUE_FLUSH);
}

void conn_write(struct conn *c, const void *data, size_t n)
{
    struct err err;

    if (!conn_alive(c) || c->shut_wanted || n == 0)
        return;
    if (!c->tls) {
        buf_add(&c->tail, data, n);
    } else if (tls_write(c->tls, data, n, &err) < 0) {
        conn_abort(c, &err);
        return;
    }
    written(c);
}

void conn_write_bytes(struct conn *c, struct bytes *b)
{
    if (c->tls || b->n < COPY_BYTES) {
        conn_write(c, b->at, b->n);
        return;
    }
    if (!conn_alive(c) || c->shut_wanted)
        return;
    gather(c);
    push(c, bytes_ref(b));
    written(c);
}

size_t conn_queued(const struct conn *c)
{
    size_t left = c->queue_bytes + (c->tls ? buf_len(tls_out(c->tls)) : buf_len(&c->tail));

    /* Of a write in flight libuv knows how much is left. */
    return c->writing ? left - c->n_flying + c->io.stream.write_queue_size : left;
}

void conn_shutdown(struct conn *c)
{
    if (!conn_alive(c) || c->shut_wanted)
        return;
    if (c->tls)
        tls_close_notify(c->tls);
    c->shut_wanted = true;
    conn_due(c, DUE_FLUSH);
}

void conn_out_clear(struct conn *c)
{
    for (size_t i = 0; i < c->n_queue; i++)
        bytes_unref(c->queue[i]);
    free(c->queue);
    buf_clear(&c->tail);
}
