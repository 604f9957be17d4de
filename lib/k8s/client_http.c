#include "lib/k8s/client_http.h"

#include "lib/mem.h"

#include <pthread.h>
#include <string.h>

enum { LINE_MAX_BYTES = 16 * 1024 * 1024, REFUSAL_MAX_BYTES = 64 * 1024 };

/* A watch over one HTTP stream: cuts the body into lines. Lives until on_end. */
struct client_watch {
    pthread_mutex_t opening; /* held while stream is being set: the end may come at once, on the loop */
    struct http_stream *stream;
    struct client_watch_cb cb;
    void *arg;
    struct buf line;
    int status;
};

static int call_http(void *self, struct ctx *ctx, const struct client_call *call, struct client_answer *ret, struct err *err)
{
    struct http_answer answer = { 0 };
    struct http_call http = {
        .method = call->method,
        .path = call->path,
        .content_type = call->body ? (call->content_type ? call->content_type : "application/json") : NULL,
        .accept = call->accept ? call->accept : "application/json",
        .body = call->body,
    };
    int rc = http_call(ctx, self, &http, &answer, err);

    if (rc < 0)
        return err_wrap(err, "%s %s", call->method, call->path);
    ret->status = answer.status;
    ret->body = bytes_ref(answer.body);
    http_answer_clear(&answer);
    return 0;
}

static void on_headers(void *arg, int status, const struct http_headers *headers)
{
    (void)headers;
    ((struct client_watch *)arg)->status = status;
}

static void emit_lines(struct client_watch *w)
{
    size_t start = 0;
    const char *at = buf_at(&w->line), *nl = NULL;

    while ((nl = memchr(at + start, '\n', buf_len(&w->line) - start))) {
        size_t end = (size_t)(nl - at);

        if (end > start) {
            struct bytes *line = bytes_new(at + start, end - start);

            w->cb.on_event(w->arg, line);
            bytes_unref(line);
        }
        start = end + 1;
    }
    buf_drop(&w->line, start);
}

static void on_data(void *arg, const char *data, size_t n)
{
    struct client_watch *w = arg;
    size_t limit = w->status == 200 ? LINE_MAX_BYTES : REFUSAL_MAX_BYTES;

    if (buf_len(&w->line) + n > limit) {
        http_stream_close(w->stream);
        return;
    }
    buf_add(&w->line, data, n);
    if (w->status == 200)
        emit_lines(w);
}

static void on_end(void *arg, const struct err *why)
{
    struct client_watch *w = arg;
    struct err refused;

    pthread_mutex_lock(&w->opening);
    pthread_mutex_unlock(&w->opening);

    if (!why && w->status >= 400) {
        AUTO(arena) struct arena *arena = arena_new();
        struct ctx ctx = ctx_background(arena);

        ERR_IGNORE(status_read(&ctx, w->status, (struct slice){ buf_at(&w->line), buf_len(&w->line) }, &refused));
        refused.status = NULL; /* it lives in the arena that goes */
        why = &refused;
    }
    w->cb.on_end(w->arg, why);
    buf_clear(&w->line);
    pthread_mutex_destroy(&w->opening);
    free(w);
}

static struct client_watch *watch_http(void *self, const struct client_call *call, const struct client_watch_cb *cb, void *arg)
{
    static const struct http_stream_cb stream_cb = { on_headers, on_data, on_end };
    struct client_watch *w = MEM_NEW(struct client_watch);
    struct http_call http = { .method = call->method, .path = call->path, .accept = "application/json" };

    w->cb = *cb;
    w->arg = arg;
    pthread_mutex_init(&w->opening, NULL);
    pthread_mutex_lock(&w->opening);
    w->stream = http_stream_open(self, &http, &stream_cb, w);
    pthread_mutex_unlock(&w->opening);
    return w; /* may have ended meanwhile: the caller learns it from on_end */
}

static void watch_close_http(void *self, struct client_watch *w)
{
    (void)self;
    http_stream_close(w->stream);
}

struct client *client_http_new(struct http_client *http)
{
    struct client_transport t = {
        .self = http, .call = call_http, .watch = watch_http, .watch_close = watch_close_http,
    };

    return client_new(&t);
}
