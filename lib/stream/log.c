#include "lib/stream/log.h"

#include "lib/crypto.h"
#include "lib/mem.h"
#include "lib/stream/stream_int.h"

#include <string.h>
#include <strings.h>

struct stream_log {
    struct stream_log_ops ops;
    void *arg;
    struct http_request *request; /* the chunked form */
    struct ws *ws;                /* the other, once the connection is there */
    struct buf early;             /* written before that */
    bool base64, ended;
};

static void log_closed(void *arg)
{
    struct stream_log *l = arg;

    l->ops.on_close(l->arg);
    buf_clear(&l->early);
    free(l);
}

static void log_drain(void *arg)
{
    struct stream_log *l = arg;

    if (!l->ended)
        l->ops.on_drain(l->arg);
}

static const struct http_stream_ops http_side = { log_drain, log_closed };

static void ignore_message(struct ws *w, void *arg, enum ws_op op, const char *data, size_t n)
{
    (void)w, (void)arg, (void)op, (void)data, (void)n;
}

static void on_ws_drain(struct ws *w, void *arg)
{
    (void)w;
    log_drain(arg);
}

static void on_ws_close(struct ws *w, void *arg, int code)
{
    (void)w, (void)code;
    log_closed(arg);
}

static const struct ws_ops ws_side = { ignore_message, on_ws_drain, on_ws_close };

static void ws_put(struct stream_log *l, const char *data, size_t n)
{
    AUTO(buf) struct buf text = { 0 };

    if (!l->base64) {
        ws_send(l->ws, WS_BINARY, data, n);
        return;
    }
    base64_write(data, n, &text);
    ws_send(l->ws, WS_TEXT, buf_at(&text), buf_len(&text));
}

static void log_start(struct stream_log *l, struct conn *c)
{
    bool waited = buf_len(&l->early) > CONN_LOW_BYTES;

    l->ws = ws_new(c, false, WS_MESSAGE_BYTES, &ws_side, l);
    ws_put(l, "", 0); /* as upstream: the connection stands */
    if (buf_len(&l->early))
        ws_put(l, buf_at(&l->early), buf_len(&l->early));
    buf_clear(&l->early);
    if (l->ended)
        ws_close(l->ws, 1000, "");
    else if (waited && ws_queued(l->ws) < CONN_LOW_BYTES)
        log_drain(l);
}

static void take_conn(void *arg, struct conn *c)
{
    if (c)
        log_start(arg, c);
    else
        log_closed(arg);
}

static struct stream_log *log_new(const struct stream_log_ops *ops, void *arg, bool base64)
{
    struct stream_log *l = MEM_NEW(struct stream_log);

    l->ops = *ops;
    l->arg = arg;
    l->base64 = base64;
    return l;
}

static struct stream_log *accept_ws(struct http_request *r, const struct stream_log_ops *ops, void *arg)
{
    static const char *const protocols[] = { "binary.k8s.io", "base64.binary.k8s.io", NULL };
    struct http_headers answer = { 0 };
    struct stream_log *l = NULL;
    const char *protocol = NULL;
    struct err err;

    if (ws_accept(http_request_info(r)->headers, protocols, &answer, &protocol, &err) < 0) {
        stream_refuse(r, NULL, &err);
    } else {
        l = log_new(ops, arg, protocol && strncmp(protocol, "base64", 6) == 0);
        http_upgrade(r, 101, &answer, take_conn, l);
    }
    http_headers_clear(&answer);
    return l;
}

struct stream_log *stream_log_accept(struct http_request *r, const struct stream_log_ops *ops, void *arg)
{
    const struct http_headers *request = http_request_info(r)->headers;
    const char *upgrade = http_headers_get(request, "upgrade");
    struct http_headers answer = { 0 };

    if (upgrade && strcasecmp(upgrade, "websocket") == 0 && http_headers_has_token(request, "connection", "upgrade"))
        return accept_ws(r, ops, arg);

    struct stream_log *l = log_new(ops, arg, false);

    l->request = r;
    http_headers_add(&answer, "content-type", "text/plain");
    http_stream_begin(r, 200, &answer, &http_side, l);
    http_headers_clear(&answer);
    return l;
}

void stream_log_write(struct stream_log *l, struct bytes *b)
{
    if (l->ended || b->n == 0)
        return;
    if (l->request)
        http_stream_write(l->request, b);
    else if (l->ws)
        ws_put(l, b->at, b->n);
    else
        buf_add(&l->early, b->at, b->n);
}

size_t stream_log_queued(const struct stream_log *l)
{
    return l->request ? http_stream_queued(l->request) : l->ws ? ws_queued(l->ws) : buf_len(&l->early);
}

void stream_log_end(struct stream_log *l)
{
    if (l->ended)
        return;
    l->ended = true;
    if (l->request)
        http_stream_end(l->request);
    else if (l->ws)
        ws_close(l->ws, 1000, "");
}
