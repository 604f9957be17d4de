/* One request and its answer, whatever the connection. */
#include "lib/http/client_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <string.h>

static void add_headers(struct http_headers *to, const char *const *pairs)
{
    for (size_t i = 0; pairs && pairs[i]; i += 2)
        http_headers_add(to, pairs[i], pairs[i + 1]);
}

/* The caller's headers win over the client's, these over our own. */
static void fill_headers(struct http_stream *s, const struct http_client *c, const struct http_call *call)
{
    struct http_headers *h = &s->headers;

    add_headers(h, call->headers);
    if (call->content_type && !http_headers_get(h, "content-type"))
        http_headers_add(h, "content-type", call->content_type);
    if (call->accept && !http_headers_get(h, "accept"))
        http_headers_add(h, "accept", call->accept);
    for (size_t i = 0; i < c->headers.n; i++)
        if (!http_headers_get(h, c->headers.at[i].name))
            http_headers_add(h, c->headers.at[i].name, c->headers.at[i].value);
    if (!http_headers_get(h, "user-agent"))
        http_headers_add(h, "user-agent", "rancherd/" RANCHERD_VERSION);
}

struct http_stream *stream_new(struct http_client *c, const struct http_call *call)
{
    struct http_stream *s = MEM_NEW(struct http_stream);
    const char *host;

    atomic_init(&s->refs, 1);
    client_ref(c);
    s->client = c;
    s->method = mem_strdup(call->method);
    s->path = mem_strdup(call->path);
    fill_headers(s, c, call);
    host = http_headers_get(&s->headers, "host");
    s->host = mem_strdup(host ? host : c->host_header);
    if (call->body && call->body->n)
        s->body = bytes_ref(call->body);
    return s;
}

struct http_stream *stream_ref(struct http_stream *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void stream_unref(struct http_stream *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    client_unref(s->client);
    http_headers_clear(&s->headers);
    http_headers_clear(&s->answer);
    http_headers_clear(&s->trailers);
    http_headers_clear(&s->incoming);
    bytes_unref(s->body);
    buf_clear(&s->held);
    free(s->host);
    free(s->method);
    free(s->path);
    free(s);
}

static bool clean(const char *text, bool target)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7f || (target && *c <= ' '))
            return false;
    return true;
}

/* Nothing that came from outside may end a line early. */
static int check_request(const struct http_stream *s, struct err *err)
{
    if (!*s->method || !clean(s->method, true) || !clean(s->host, true) || !clean(s->path, true) ||
        (s->path[0] != '/' && strcmp(s->method, "CONNECT") != 0))
        return err_set(err, ERR_BAD_REQUEST, "not a valid request line");
    for (size_t i = 0; i < s->headers.n; i++)
        if (!*s->headers.at[i].name || !clean(s->headers.at[i].name, true) || !clean(s->headers.at[i].value, false))
            return err_set(err, ERR_BAD_REQUEST, "not a valid header: %.60s", s->headers.at[i].name);
    return 0;
}

static void start_here(void *arg)
{
    struct http_stream *s = arg;
    struct http_client *c = s->client;
    struct err err;
    int rc = check_request(s, &err);

    if (rc == 0 && c->closed)
        rc = err_set(&err, ERR_CANCELED, "the client was closed");
    if (rc == 0 && c->n_streams >= STREAMS_MAX)
        rc = err_set(&err, ERR_TOO_MANY, "more than %d requests at once to %s", STREAMS_MAX, c->host_header);
    if (rc == 0 && s->close_asked)
        rc = err_set(&err, ERR_CANCELED, "the request was closed");
    client_add(c, s);
    s->state = STREAM_WAITING;
    if (rc < 0)
        stream_end(s, &err);
    else if (s->on_switch)
        (void)link_dial(c, s); /* a failure ends the stream */
    else
        client_dispatch(c);
    stream_unref(s);
}

void stream_start(struct http_stream *s)
{
    loop_post(s->client->loop, start_here, stream_ref(s));
}

void stream_headers(struct http_stream *s, int status, struct http_headers *headers)
{
    s->got_headers = true;
    s->cb.on_headers(s->arg, status, headers);
    if (s->keep_answer) {
        s->answer = *headers;
        *headers = (struct http_headers){ 0 };
    }
}

void stream_trailers(struct http_stream *s, struct http_headers *trailers)
{
    if (!s->keep_answer || s->trailers.n)
        return;
    s->trailers = *trailers;
    *trailers = (struct http_headers){ 0 };
}

bool stream_data(struct http_stream *s, const char *data, size_t n)
{
    if (s->state == STREAM_ENDED)
        return true;
    if (s->paused || buf_len(&s->held)) {
        buf_add(&s->held, data, n);
        return false;
    }
    s->cb.on_data(s->arg, data, n);
    return true;
}

void stream_end(struct http_stream *s, const struct err *why)
{
    if (s->state == STREAM_ENDED)
        return;
    if (!why && buf_len(&s->held)) {
        s->ended_whole = true; /* said when the held rest is delivered */
        s->link = NULL;
        return;
    }
    s->state = STREAM_ENDED;
    s->link = NULL;
    client_remove(s->client, s);
    s->cb.on_end(s->arg, why);
    stream_unref(s);
}

static bool idempotent(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

void stream_fail(struct http_stream *s, const struct err *why, bool unprocessed)
{
    bool again = unprocessed || idempotent(s->method);

    if (s->state != STREAM_RUNNING || s->ended_whole)
        return;
    if (!again || s->got_headers || s->retried || s->close_asked || s->client->closed || s->on_switch) {
        stream_end(s, why);
        return;
    }
    s->retried = true;
    s->link = NULL;
    s->body_sent = 0;
    s->state = STREAM_WAITING;
    client_dispatch(s->client);
}

static void close_here(void *arg)
{
    struct http_stream *s = arg;
    struct err err;

    s->close_asked = true;
    if (s->state == STREAM_WAITING || s->state == STREAM_RUNNING) {
        struct link *link = s->link;

        ERR_IGNORE(err_set(&err, ERR_CANCELED, "the request was closed"));
        if (link)
            link_cancel(link, s);
        stream_end(s, &err);
    }
    stream_unref(s);
}

struct http_stream *http_stream_open(struct http_client *c, const struct http_call *call, const struct http_stream_cb *cb, void *arg)
{
    struct http_stream *s = stream_new(c, call);

    s->cb = *cb;
    s->arg = arg;
    stream_start(s);
    return s; /* our reference is given up by stream_end */
}

void http_stream_close(struct http_stream *s)
{
    loop_post(s->client->loop, close_here, stream_ref(s));
}

void http_stream_pause(struct http_stream *s)
{
    if (s->paused || s->state == STREAM_ENDED)
        return;
    s->paused = true;
    if (s->link)
        link_pause(s->link, s);
}

void http_stream_resume(struct http_stream *s)
{
    if (!s->paused || s->state == STREAM_ENDED)
        return;
    s->paused = false;
    stream_ref(s);

    struct bytes *rest = buf_len(&s->held) ? buf_take(&s->held) : NULL;
    size_t n = rest ? rest->n : 0;

    if (rest)
        s->cb.on_data(s->arg, rest->at, n);
    bytes_unref(rest);
    if (s->link)
        link_resume(s->link, s, n);
    if (s->paused && s->link)
        link_pause(s->link, s);
    if (s->ended_whole && !s->paused)
        stream_end(s, NULL);
    stream_unref(s);
}
