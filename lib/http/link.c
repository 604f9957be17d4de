/* One connection of the client, from dialling to its end. */
#include "lib/http/client_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <string.h>

static const struct conn_ops link_ops;

static uint64_t now_ms(const struct link *l)
{
    return uv_now(loop_uv(l->client->loop));
}

static struct conn *dial(struct http_client *c, struct link *l, bool http1)
{
    if (c->dial)
        return c->dial(c->dial_arg, &link_ops, l);

    struct conn_target target = {
        .host = c->url.host, .port = c->url.port, .server_name = c->server_name, .timeout_ms = DIAL_MS,
        .tls = http1 && c->tls_http1 ? c->tls_http1 : c->tls,
    };

    return conn_dial(c->loop, &target, &link_ops, l);
}

static void fail_waiting(struct http_client *c, struct http_stream *only, const struct err *why)
{
    if (only) {
        if (only->state == STREAM_RUNNING)
            stream_end(only, why);
        return;
    }
    for (struct http_stream *s = c->first, *next; s; s = next) {
        next = s->next;
        if (s->state != STREAM_WAITING || s->on_switch)
            continue;
        stream_end(s, why);
        if (c->http1)
            return; /* each waits for a link of its own */
    }
}

bool link_dial(struct http_client *c, struct http_stream *only)
{
    struct link *l = MEM_NEW(struct link);
    struct err err;

    client_ref(c);
    l->client = c;
    l->only = only;
    l->next = c->links;
    c->links = l;
    c->n_links++;
    if (only) {
        only->state = STREAM_RUNNING;
        only->link = l;
    }
    l->conn = dial(c, l, c->http1 || only);
    if (l->conn)
        return true;
    c->links = l->next;
    c->n_links--;
    free(l);
    ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "no way to %s", c->host_header));
    fail_waiting(c, only, &err);
    client_unref(c);
    return false;
}

static void stop_timer(struct link *l)
{
    loop_timer_cancel(l->timer);
    l->timer = NULL;
}

void link_retire(struct link *l)
{
    l->kind = LINK_DEAD;
    l->draining = true;
    stop_timer(l);
}

/* Ends what runs on it. */
static void link_down(struct link *l, const struct err *why)
{
    enum link_kind was = l->kind;

    link_retire(l);
    if (was == LINK_DIALLING)
        fail_waiting(l->client, l->only, why);
    else if (was == LINK_H1)
        h1_closed(l, why);
    else if (was == LINK_H2)
        h2_fail(l->h2, why);
}

void link_abort(struct link *l, const struct err *why)
{
    struct conn *conn = l->conn;

    if (l->kind == LINK_DEAD)
        return;
    link_down(l, why);
    conn_abort(conn, why);
}

/* --- HTTP/2 --- */

static void h2_send(void *arg, const void *data, size_t n)
{
    conn_write(((struct link *)arg)->conn, data, n);
}

static size_t h2_queued(void *arg)
{
    return conn_queued(((struct link *)arg)->conn);
}

static void h2_gone_idle(void *arg)
{
    struct link *l = arg;

    if (!l->draining || l->kind != LINK_H2)
        return;
    link_retire(l);
    conn_close(l->conn);
}

static void h2_goaway(void *arg)
{
    ((struct link *)arg)->draining = true;
}

static void h2_settings(void *arg)
{
    atomic_store_explicit(&((struct link *)arg)->client->connected, true, memory_order_release);
}

static const struct h2_ops h2_link_ops = { h2_send, h2_queued, h2_gone_idle, h2_goaway, h2_settings };

/* A dead peer says nothing: after 30 s of silence a PING, 15 s later the end. Runs while streams are open only. */
static void on_silence_timer(void *arg)
{
    struct link *l = arg;
    uint64_t silent = now_ms(l) - l->heard_ms;
    int64_t next = PING_AFTER_MS;
    struct err err;

    l->timer = NULL;
    if (l->kind != LINK_H2 || h2_open_streams(l->h2) == 0)
        return;
    if (l->pinged && silent >= PING_AFTER_MS) {
        ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "connection to %s lost: no answer to a ping", l->client->host_header));
        link_abort(l, &err);
        return;
    }
    l->pinged = silent >= PING_AFTER_MS;
    if (l->pinged) {
        h2_ping(l->h2);
        next = PING_LOST_MS;
    } else {
        next = PING_AFTER_MS - (int64_t)silent;
    }
    l->timer = loop_timer_start(l->client->loop, next, on_silence_timer, l);
}

static void watch_silence(struct link *l)
{
    if (l->timer)
        return;
    l->heard_ms = now_ms(l);
    l->pinged = false;
    l->timer = loop_timer_start(l->client->loop, PING_AFTER_MS, on_silence_timer, l);
}

/* --- HTTP/1.1 --- */

static void on_idle_timer(void *arg)
{
    struct link *l = arg;

    l->timer = NULL;
    if (l->kind != LINK_H1 || l->current)
        return;
    link_retire(l);
    conn_close(l->conn);
}

void link_idle(struct link *l)
{
    client_dispatch(l->client);
    if (l->kind == LINK_H1 && !l->current && !l->timer)
        l->timer = loop_timer_start(l->client->loop, H1_IDLE_MS, on_idle_timer, l);
}

static void on_upgrade_timer(void *arg)
{
    struct link *l = arg;
    struct err err;

    l->timer = NULL;
    ERR_IGNORE(err_set(&err, ERR_TIMEOUT, "no answer from %s to the upgrade", l->client->host_header));
    link_abort(l, &err);
}

static void link_unlink(struct link *l)
{
    struct link **at = &l->client->links;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->client->n_links--;
}

static void link_free(struct link *l)
{
    stop_timer(l);
    h2_free(l->h2);
    answer_clear(&l->parser);
    http_headers_clear(&l->switched);
    client_unref(l->client);
    free(l);
}

/* Until `take` sets its own: nothing of the link is touched any more. */
static void orphan_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)c, (void)arg, (void)data, (void)n;
}

static void orphan_close(struct conn *c, void *arg, const struct err *why)
{
    (void)c, (void)arg, (void)why;
}

static const struct conn_ops orphan_ops = { .on_data = orphan_data, .on_close = orphan_close };

void link_hand_over(struct link *l, struct http_headers *headers, const char *rest, size_t n)
{
    struct http_stream *s = l->current;
    struct conn *conn = l->conn;

    l->current = NULL;
    link_unlink(l);
    conn_set_ops(conn, &orphan_ops, NULL);
    stream_ref(s);
    s->on_switch(s->arg, conn, headers);
    stream_end(s, NULL);
    stream_unref(s);
    link_free(l);
    if (n)
        conn_unread(conn, rest, n);
}

/* --- the conn's events --- */

static void on_ready(struct conn *conn, void *arg)
{
    struct link *l = arg;
    const struct tls *tls = conn_tls(conn);
    bool h2 = tls ? strcmp(tls_alpn(tls), "h2") == 0 : l->client->http2_prior && !l->only;
    struct err err;

    l->conn = conn;
    if (h2 && (l->only || l->client->http1)) {
        ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "%s chose HTTP/2 for a connection that has to speak HTTP/1.1", l->client->host_header));
        link_abort(l, &err);
        return;
    }
    if (h2) {
        if (h2_new(&h2_link_ops, l, &l->h2, &err) < 0) {
            link_abort(l, &err);
            return;
        }
        l->kind = LINK_H2;
        l->heard_ms = now_ms(l);
    } else {
        l->kind = LINK_H1;
        atomic_store_explicit(&l->client->connected, true, memory_order_release);
        l->client->http1 = l->client->http1 || !l->only;
    }
    if (l->only) {
        l->timer = loop_timer_start(l->client->loop, UPGRADE_ANSWER_MS, on_upgrade_timer, l);
        h1_start(l, l->only);
    } else if (h2) {
        client_dispatch(l->client);
    } else {
        link_idle(l);
    }
}

void link_running(struct link *l)
{
    if (l->kind == LINK_H2)
        watch_silence(l);
    else
        stop_timer(l);
}

static void on_data(struct conn *conn, void *arg, const char *data, size_t n)
{
    struct link *l = arg;
    struct http_client *c = l->client;
    struct err err;

    (void)conn;
    l->heard_ms = now_ms(l);
    l->pinged = false;
    if (l->kind == LINK_H1) {
        h1_data(l, data, n);
        return;
    }
    if (l->kind != LINK_H2)
        return;
    if (h2_feed(l->h2, data, n, &err) < 0)
        link_abort(l, &err);
    else if (c->n_streams)
        client_dispatch(c); /* a stream that ended may have made room */
}

static void on_drain(struct conn *conn, void *arg)
{
    struct link *l = arg;
    struct err err;

    (void)conn;
    if (l->kind == LINK_H2 && h2_flush(l->h2, &err) < 0)
        link_abort(l, &err);
}

static void on_close(struct conn *conn, void *arg, const struct err *why)
{
    struct link *l = arg;
    struct http_client *c = l->client;
    struct err eof;

    (void)conn;
    if (l->kind != LINK_DEAD && !why && l->kind != LINK_H1) {
        ERR_IGNORE(err_set(&eof, ERR_UNAVAILABLE, "connection to %s closed", c->host_header));
        why = &eof;
    }
    if (l->kind != LINK_DEAD)
        link_down(l, why);
    link_unlink(l);
    client_ref(c);
    link_free(l);
    client_dispatch(c);
    client_unref(c);
}

static const struct conn_ops link_ops = {
    .on_ready = on_ready, .on_data = on_data, .on_drain = on_drain, .on_close = on_close,
};

/* --- what streams ask for --- */

void link_cancel(struct link *l, struct http_stream *s)
{
    struct err err;

    if (l->kind == LINK_H2) {
        h2_cancel(l->h2, s);
    } else if (l->current == s || l->only == s) {
        l->current = l->only = NULL;
        link_retire(l);
        ERR_IGNORE(err_set(&err, ERR_CANCELED, "the request was closed"));
        conn_abort(l->conn, &err);
    }
}

void link_pause(struct link *l, struct http_stream *s)
{
    if (l->kind == LINK_H1 && l->current == s)
        conn_pause(l->conn);
}

void link_resume(struct link *l, struct http_stream *s, size_t delivered)
{
    if (l->kind == LINK_H1 && l->current == s)
        conn_resume(l->conn);
    else if (l->kind == LINK_H2 && delivered)
        h2_credit(l->h2, s, delivered);
}
