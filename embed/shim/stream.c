/* Streams out of and into processes, and their way to the sessions that listen. */
#include "embed/shim/shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Out. */

void output_drop(struct output *o)
{
    struct stream *of = o->of;

    source_close(&o->src);
    o->of = NULL;
    if (o->left && of && --of->paused == 0)
        source_watch(o->s->shim, &of->src, EPOLLIN);
    free(o->left);
    o->left = NULL;
    o->n_left = 0;
}

/* Writes what it can and keeps the rest; the stream rests until that is gone. */
static void output_write(struct output *o, const char *data, size_t n)
{
    ssize_t done = 0;

    if (o->src.fd < 0)
        return;
    if (!o->left) {
        done = write(o->src.fd, data, n);
        if (done < 0 && errno != EAGAIN && errno != EINTR) {
            output_drop(o);
            return;
        }
        if (done < 0)
            done = 0;
        if ((size_t)done == n)
            return;
        o->of->paused++;
        source_watch(o->s->shim, &o->of->src, 0);
        source_watch(o->s->shim, &o->src, EPOLLOUT);
    }
    size_t rest = n - (size_t)done;
    o->left = must(realloc(o->left, o->n_left + rest));
    memcpy(o->left + o->n_left, data + done, rest);
    o->n_left += rest;
}

static void stream_data(struct shim *sh, struct stream *st, const char *data, size_t n)
{
    if (st->c)
        log_write(&st->c->log, st, data, n);
    for (struct session *s = sh->sessions; s; s = s->next) {
        if (s->out.of == st)
            output_write(&s->out, data, n);
        if (s->err.of == st)
            output_write(&s->err, data, n);
    }
}

static void stream_end(struct stream *st)
{
    if (st->c)
        log_flush(&st->c->log, st);
    source_close(&st->src);
}

static void stream_ready(struct source *src, uint32_t events)
{
    struct stream *st = (struct stream *)src;
    struct shim *sh = st->c ? st->c->shim : st->s->shim;
    ssize_t n = read(src->fd, sh->buffer, READ_MAX);

    (void)events;
    if (n > 0) {
        stream_data(sh, st, sh->buffer, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) { /* EIO: a terminal nobody holds any more */
        stream_end(st);
        if (st->s)
            session_finish(st->s);
    }
}

void stream_open(struct shim *sh, struct stream *st, int fd)
{
    st->src.ready = stream_ready;
    fd_nonblock(fd);
    if (source_add(sh, &st->src, fd, EPOLLIN) != 0)
        source_close(&st->src);
}

void stream_drain(struct shim *sh, struct stream *st)
{
    ssize_t n;

    if (st->src.fd < 0)
        return;
    /* Bounded by what fits into a pipe; who still writes from elsewhere must not keep us here. */
    for (int i = 0; i < 128 && (n = read(st->src.fd, sh->buffer, READ_MAX)) > 0; i++)
        stream_data(sh, st, sh->buffer, (size_t)n);
    stream_end(st);
}

/* In. */

void sink_close(struct sink *k)
{
    source_close(&k->src);
    free(k->left);
    k->left = NULL;
    k->n_left = k->done = 0;
}

static void sink_ready(struct source *src, uint32_t events)
{
    struct sink *k = (struct sink *)src;
    struct shim *sh = k->c ? k->c->shim : k->s->shim;
    ssize_t n = write(src->fd, k->left + k->done, k->n_left - k->done);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        sink_close(k);
    } else {
        k->done += (size_t)n;
        if (k->done < k->n_left)
            return;
        free(k->left);
        k->left = NULL;
        k->n_left = k->done = 0;
        source_watch(sh, src, 0);
        if (k->end)
            sink_close(k);
    }
    for (struct session *s = sh->sessions; s; s = s->next)
        if (session_sink(s) == k)
            session_input(s);
}

void sink_open(struct sink *k, int fd)
{
    k->src.ready = sink_ready;
    k->src.fd = fd;
    if (fd >= 0)
        fd_nonblock(fd);
}

struct sink *session_sink(struct session *s)
{
    return s->exec ? &s->tty_in : s->c ? &s->c->in : NULL;
}

static void input_end(struct session *s)
{
    struct sink *k = session_sink(s);

    source_close(&s->in);
    if (!k || !k->c || !(k->c->flags & SHIM_STDIN_ONCE) || (k->c->flags & SHIM_TTY))
        return;
    k->end = true;
    if (!k->left)
        sink_close(k);
}

static void input_ready(struct source *src, uint32_t events)
{
    struct session *s = (struct session *)((char *)src - offsetof(struct session, in));
    struct sink *k = session_sink(s);

    (void)events;
    if (k && k->left) {
        source_watch(s->shim, src, 0); /* until sink_ready */
        return;
    }
    ssize_t n = read(src->fd, s->shim->buffer, SINK_MAX);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        input_end(s);
        return;
    }
    if (!k || k->src.fd < 0)
        return; /* nobody reads any more: taken and thrown away, as a closed terminal does */
    ssize_t done = write(k->src.fd, s->shim->buffer, (size_t)n);
    if (done < 0 && errno != EAGAIN && errno != EINTR) {
        sink_close(k);
        return;
    }
    done = done < 0 ? 0 : done;
    if (done == n)
        return;
    k->n_left = (size_t)(n - done);
    k->left = must(malloc(k->n_left));
    memcpy(k->left, s->shim->buffer + done, k->n_left);
    source_watch(s->shim, &k->src, EPOLLOUT);
    source_watch(s->shim, src, 0);
}

void session_input(struct session *s)
{
    if (s->in.fd < 0)
        return;
    s->in.ready = input_ready;
    source_watch(s->shim, &s->in, EPOLLIN);
}
