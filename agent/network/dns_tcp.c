/* DNS over TCP: messages behind a length of two bytes, several on one connection. Source: RFC 7766. */
#include "agent/network/dns_int.h"

#include "lib/mem.h"

#include <string.h>

static void on_closed(uv_handle_t *h)
{
    struct dns_conn *c = (struct dns_conn *)h;

    dns_handle_closed(c->dns);
    free(c);
}

static void conn_close(struct dns_conn *c)
{
    struct dns *d = c->dns;

    if (uv_is_closing((uv_handle_t *)&c->tcp))
        return;
    for (struct dns_conn **at = &d->conns; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    d->n_conns--;
    dns_forwards_forget(d, c);
    loop_timer_cancel(c->idle);
    c->idle = NULL;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_idle(void *arg)
{
    struct dns_conn *c = arg;

    c->idle = NULL;
    conn_close(c);
}

static void stay(struct dns_conn *c)
{
    loop_timer_cancel(c->idle);
    c->idle = loop_timer_start(c->dns->loop, DNS_IDLE_MS, on_idle, c);
}

struct outgoing {
    uv_write_t write; /* first */
    char data[];
};

static void on_written(uv_write_t *w, int status)
{
    struct dns_conn *c = (struct dns_conn *)w->handle;

    if (status < 0)
        conn_close(c);
    free(w);
}

void dns_conn_send(struct dns_conn *c, const void *data, size_t n)
{
    struct outgoing *o;
    uv_buf_t b;

    /* Who asks and never reads is cut off. */
    if (n > UINT16_MAX || uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) > 256 * 1024) {
        conn_close(c);
        return;
    }
    o = mem_alloc(sizeof(*o) + 2 + n);
    o->data[0] = (char)(n >> 8);
    o->data[1] = (char)n;
    memcpy(o->data + 2, data, n);
    b = uv_buf_init(o->data, (unsigned)(n + 2));
    if (uv_write(&o->write, (uv_stream_t *)&c->tcp, &b, 1, on_written) != 0) {
        free(o);
        conn_close(c);
    }
}

static void give_space(uv_handle_t *h, size_t wanted, uv_buf_t *b)
{
    struct dns_conn *c = (struct dns_conn *)h;

    (void)wanted;
    *b = uv_buf_init((char *)c->in + c->n_in, (unsigned)(sizeof(c->in) - c->n_in));
}

static void on_data(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct dns_conn *c = (struct dns_conn *)s;
    struct dns_asker asker = { .conn = c };
    size_t at = 0;

    (void)b;
    if (n < 0) {
        conn_close(c);
        return;
    }
    c->n_in += (size_t)n;
    stay(c);
    while (c->n_in - at >= 2) {
        size_t len = (size_t)c->in[at] << 8 | c->in[at + 1];

        if (len > DNS_MESSAGE_MAX) {
            conn_close(c);
            return;
        }
        if (c->n_in - at - 2 < len)
            break;
        dns_question(c->dns, &asker, c->in + at + 2, len);
        if (uv_is_closing((uv_handle_t *)s))
            return; /* its memory stays until the loop turns */
        at += 2 + len;
    }
    memmove(c->in, c->in + at, c->n_in - at);
    c->n_in -= at;
}


void dns_tcp_arrived(uv_stream_t *listener, int status)
{
    struct dns *d = listener->data;
    struct dns_conn *c;

    if (status < 0)
        return;
    c = MEM_NEW(struct dns_conn);
    c->dns = d;
    uv_tcp_init(loop_uv(d->loop), &c->tcp);
    dns_handle_opened(d);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 || d->n_conns >= DNS_CONNS_MAX) {
        uv_close((uv_handle_t *)&c->tcp, on_closed);
        return;
    }
    c->next = d->conns;
    d->conns = c;
    d->n_conns++;
    stay(c);
    if (uv_read_start((uv_stream_t *)&c->tcp, give_space, on_data) != 0)
        conn_close(c);
}

void dns_conns_close(struct dns *d)
{
    while (d->conns)
        conn_close(d->conns);
}
