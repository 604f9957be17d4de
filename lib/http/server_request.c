#include "lib/http/server_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

/* --- pieces --- */

void pieces_add(struct pieces *p, struct bytes *b)
{
    if (b->n == 0) {
        bytes_unref(b);
        return;
    }
    if (p->n == p->cap && p->first) {
        memmove(p->at, p->at + p->first, (p->n - p->first) * sizeof(struct bytes *));
        p->n -= p->first;
        p->first = 0;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 1;
        p->at = mem_realloc(p->at, p->cap * sizeof(struct bytes *));
    }
    p->at[p->n++] = b;
    p->bytes += b->n;
}

void pieces_move(struct pieces *to, struct pieces *from)
{
    if (to->bytes == 0) {
        free(to->at);
        *to = *from;
        *from = (struct pieces){ 0 };
        return;
    }
    for (size_t i = from->first; i < from->n; i++)
        pieces_add(to, from->at[i]);
    free(from->at);
    *from = (struct pieces){ 0 };
}

struct slice pieces_head(const struct pieces *p)
{
    if (p->first == p->n)
        return (struct slice){ NULL, 0 };
    return (struct slice){ p->at[p->first]->at + p->off, p->at[p->first]->n - p->off };
}

void pieces_drop(struct pieces *p, size_t n)
{
    p->off += n;
    p->bytes -= n;
    if (p->off == p->at[p->first]->n) {
        bytes_unref(p->at[p->first++]);
        p->off = 0;
    }
    if (p->first == p->n)
        pieces_clear(p);
}

void pieces_clear(struct pieces *p)
{
    for (size_t i = p->first; i < p->n; i++)
        bytes_unref(p->at[i]);
    free(p->at);
    *p = (struct pieces){ 0 };
}

/* --- the request --- */

struct http_request *request_new(struct peer *p)
{
    struct http_request *r = MEM_NEW(struct http_request);

    r->refs = 1;
    r->site = p->site;
    r->peer = p;
    r->identity = identity_ref(p->identity);
    r->born_ms = peer_now(p);
    r->next = p->requests;
    if (r->next)
        r->next->prev = r;
    p->requests = r;
    p->n_requests++;
    r->identity->unfinished++;
    p->site->server->refs++;
    return r;
}

void request_ref(struct http_request *r)
{
    r->refs++;
}

void request_unref(struct http_request *r)
{
    if (atomic_fetch_sub(&r->refs, 1) > 1)
        return;
    struct http_server *server = r->site->server;

    atomic_fetch_sub(&server->bytes_queued, (int64_t)r->queued);
    pieces_clear(&r->in);
    pieces_clear(&r->out);
    http_headers_clear(&r->headers);
    http_headers_clear(&r->answer);
    bytes_unref(r->info.body);
    buf_clear(&r->body);
    identity_unref(r->identity);
    free(r->method);
    free(r->target);
    free(r->host);
    free(r);
    server_unref(server);
}

void http_request_ref(struct http_request *r)
{
    request_ref(r);
}

void http_request_unref(struct http_request *r)
{
    request_unref(r);
}

const struct http_request_info *http_request_info(const struct http_request *r)
{
    return &r->info;
}

struct loop *http_request_loop(struct http_request *r)
{
    return r->site->loop;
}

void request_body_grew(struct http_request *r, size_t n)
{
    r->uploaded += n;
    r->site->upload_bytes += n;
}

void request_receiving(struct http_request *r)
{
    r->receiving = true;
    r->peer->n_receiving++;
}

/* Or given up. */
static void body_received(struct http_request *r)
{
    r->site->upload_bytes -= r->uploaded;
    r->uploaded = 0;
    if (r->receiving) {
        r->receiving = false;
        if (r->peer)
            r->peer->n_receiving--;
    }
}

static void fill_info(struct http_request *r)
{
    struct http_request_info *info = &r->info;
    size_t n = strcspn(r->target, "?");

    info->method = r->method;
    info->target = r->target;
    info->path = (struct slice){ r->target, n };
    info->query = slice_of(r->target[n] ? r->target + n + 1 : "");
    info->headers = &r->headers;
    info->host = r->host ? r->host : "";
    info->http_major = r->peer->state == PEER_H2 ? 2 : 1;
    info->peer_address = r->identity->address;
    info->has_peer_cert = r->identity->has_cert;
    info->peer_cert = r->identity->cert;
    info->peer_cert_error = r->identity->cert_error;
    info->body = buf_take(&r->body);
}

void request_dispatch(struct http_request *r)
{
    struct http_server *s = r->site->server;

    body_received(r);
    fill_info(r);
    s->requests++;
    s->o.handler(s->o.arg, r);
}

void request_refuse(struct http_request *r, int status, const char *why)
{
    struct http_headers headers = { 0 };
    AUTO(buf) struct buf text = { 0 };

    body_received(r);
    r->refused = true;
    http_headers_add(&headers, "content-type", "text/plain; charset=utf-8");
    buf_printf(&text, "%d %s: %s", status, http_status_text(status), why);
    if (!r->method)
        r->method = mem_strdup("GET");
    r->info.method = r->method;
    struct bytes *body = buf_take(&text);
    http_reply(r, status, &headers, body);
    bytes_unref(body);
    http_headers_clear(&headers);
}

/* --- asked from any thread --- */

static void ask(struct http_request *r, unsigned what)
{
    r->asked |= what;
    site_post(r->site, r);
}

static void take_bytes(struct http_request *r, struct bytes *b)
{
    pieces_add(&r->in, bytes_ref(b));
    r->queued += b->n;
    r->site->server->bytes_queued += (int64_t)b->n;
}

static void copy_headers(const struct http_headers *from, struct http_headers *to)
{
    for (size_t i = 0; from && i < from->n; i++)
        http_headers_add(to, from->at[i].name, from->at[i].value);
}

static void begin(struct http_request *r, int status, const struct http_headers *headers)
{
    assert(!r->begun); /* one answer a request */
    assert(status >= 100 && status <= 999);
    r->begun = true;
    r->status = status;
    copy_headers(headers, &r->answer);
}

void http_reply(struct http_request *r, int status, const struct http_headers *headers, struct bytes *body)
{
    LOCK_SCOPE(&r->site->lock);
    begin(r, status, headers);
    r->ended = r->whole = true;
    if (body) {
        r->body_bytes = body->n;
        take_bytes(r, body);
    }
    ask(r, ASK_BEGIN | ASK_END);
}

void http_stream_begin(struct http_request *r, int status, const struct http_headers *headers, const struct http_stream_ops *ops,
                       void *arg)
{
    LOCK_SCOPE(&r->site->lock);
    begin(r, status, headers);
    r->ops = ops;
    r->ops_arg = arg;
    r->site->server->streams++;
    ask(r, ASK_BEGIN);
}

void http_stream_write(struct http_request *r, struct bytes *b)
{
    LOCK_SCOPE(&r->site->lock);
    assert(r->begun);
    if (r->ended || r->gone || b->n == 0)
        return;
    take_bytes(r, b);
    if (r->queued >= CONN_LOW_BYTES)
        r->drain_due = true;
    ask(r, 0);
}

size_t http_stream_queued(struct http_request *r)
{
    return r->queued;
}

void http_stream_end(struct http_request *r)
{
    LOCK_SCOPE(&r->site->lock);
    assert(r->begun);
    if (r->ended)
        return;
    r->ended = true;
    ask(r, ASK_END);
}

void http_stream_abort(struct http_request *r)
{
    LOCK_SCOPE(&r->site->lock);
    assert(r->begun);
    r->ended = true;
    ask(r, ASK_ABORT);
}

void http_upgrade(struct http_request *r, int status, const struct http_headers *headers,
                  void (*take)(void *arg, struct conn *c), void *arg)
{
    assert(loop_inside(r->site->loop));
    LOCK_SCOPE(&r->site->lock);
    begin(r, status, headers);
    r->ended = true;
    r->take = take;
    r->take_arg = arg;
    ask(r, ASK_BEGIN | ASK_UPGRADE);
}

void http_on_cancel(struct http_request *r, void (*fn)(void *arg), void *arg)
{
    {
        LOCK_SCOPE(&r->site->cancel_lock);
        r->cancel_fn = fn;
        r->cancel_arg = arg;
    }
    if (!fn)
        return;
    LOCK_SCOPE(&r->site->lock);
    if (r->gone) /* the client was faster */
        ask(r, ASK_CANCEL);
}

/* --- on the loop --- */

void request_cancel(struct http_request *r)
{
    LOCK_SCOPE(&r->site->cancel_lock);
    void (*fn)(void *arg) = TAKE(r->cancel_fn);
    pthread_mutex_lock(&r->site->lock);
    bool begun = r->begun;
    pthread_mutex_unlock(&r->site->lock);

    if (fn && !begun)
        fn(r->cancel_arg);
}

static void leave_peer(struct http_request *r)
{
    struct peer *p = r->peer;

    if (!p)
        return;
    if (r->prev)
        r->prev->next = r->next;
    else
        p->requests = r->next;
    if (r->next)
        r->next->prev = r->prev;
    p->n_requests--;
    r->peer = NULL;
}

void request_done(struct http_request *r)
{
    if (r->done)
        return;
    r->done = true;
    r->identity->unfinished--;
    body_received(r);
    leave_peer(r);
    pthread_mutex_lock(&r->site->lock);
    r->gone = true;
    pthread_mutex_unlock(&r->site->lock);
    if (r->take)
        r->take(r->take_arg, NULL); /* the connection was gone before it could be handed over */
    if (r->ops) {
        r->site->server->streams--;
        if (r->ops->on_close)
            r->ops->on_close(r->ops_arg);
    }
    request_unref(r);
}

void request_gone(struct http_request *r)
{
    body_received(r);
    leave_peer(r);
    pthread_mutex_lock(&r->site->lock);
    bool begun = r->begun, dispatched = r->info.body != NULL;
    r->gone = true;
    pthread_mutex_unlock(&r->site->lock);
    if (begun || !dispatched) {
        request_done(r);
        return;
    }
    request_cancel(r); /* its answer is still to come, into nothing */
}

void request_sent(struct http_request *r, size_t n)
{
    pieces_drop(&r->out, n);
    size_t left = atomic_fetch_sub(&r->queued, n) - n;
    atomic_fetch_sub(&r->site->server->bytes_queued, (int64_t)n);
    if (left >= CONN_LOW_BYTES || !r->ops || !r->ops->on_drain)
        return;
    pthread_mutex_lock(&r->site->lock);
    bool tell = r->drain_due && !r->ended;
    r->drain_due = false;
    pthread_mutex_unlock(&r->site->lock);
    if (tell)
        r->ops->on_drain(r->ops_arg);
}

void request_step(struct http_request *r)
{
    pthread_mutex_lock(&r->site->lock);
    unsigned asked = r->asked;
    r->asked = 0;
    if (r->in.n)
        pieces_move(&r->out, &r->in);
    pthread_mutex_unlock(&r->site->lock);

    if (r->done)
        return;
    if (asked & ASK_CANCEL)
        request_cancel(r);
    r->started |= (asked & ASK_BEGIN) != 0;
    r->finishing |= (asked & ASK_END) != 0;
    if (!r->started)
        return;
    if (r->ops && r->site->server->stopping)
        http_stream_end(r); /* begun too late */
    if (!r->peer) {
        request_done(r);
    } else if (asked & ASK_ABORT) {
        (r->peer->state == PEER_H2 ? peer_h2_abort : peer_h1_abort)(r->peer, r);
    } else {
        (r->peer->state == PEER_H2 ? peer_h2_step : peer_h1_step)(r->peer, r);
    }
}

bool answer_has_body(const struct http_request *r)
{
    return strcmp(r->method, "HEAD") != 0 && r->status >= 200 && r->status != 204 && r->status != 304;
}

bool answer_skips(const struct http_request *r, const char *name)
{
    static const char *const ours[] = { "connection", "keep-alive", "transfer-encoding", "proxy-connection" };

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return !r->take;
    return strcasecmp(name, "content-length") == 0 && r->whole && answer_has_body(r);
}
