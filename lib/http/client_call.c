/* What blocks a worker until the loop has the answer, and upgrades. */
#include "lib/http/client_int.h"

#include "lib/mem.h"
#include "lib/pool.h"

#include <assert.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_MAX_BYTES = 64 * 1024 * 1024, CANCEL_LOOK_MS = 100, DOWNLOAD_QUEUE_BYTES = 256 * 1024 };

/* Between a worker and the loop; on the worker's stack, which stays until on_end was seen. */
struct waiter {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct http_stream *stream;
    bool headers_came, ended, failed, too_large, paused;
    int status;
    struct buf body;
    struct err why;
    /* fixed before the start */
    size_t max_bytes;
    bool download;
};

static bool to_caller(const struct waiter *w)
{
    return w->download && w->status / 100 == 2;
}

static void on_headers(void *arg, int status, const struct http_headers *headers)
{
    struct waiter *w = arg;

    (void)headers; /* the stream keeps them */
    LOCK_SCOPE(&w->lock);
    w->status = status;
    w->headers_came = true;
}

static void on_data(void *arg, const char *data, size_t n)
{
    struct waiter *w = arg;

    LOCK_SCOPE(&w->lock);
    if (w->too_large)
        return;
    if (!to_caller(w) && buf_len(&w->body) + n > w->max_bytes) {
        w->too_large = true;
        http_stream_close(w->stream);
        return;
    }
    buf_add(&w->body, data, n);
    if (!to_caller(w))
        return;
    if (buf_len(&w->body) > DOWNLOAD_QUEUE_BYTES && !w->paused) {
        w->paused = true;
        http_stream_pause(w->stream);
    }
    pthread_cond_signal(&w->wake);
}

static void on_end(void *arg, const struct err *why)
{
    struct waiter *w = arg;

    LOCK_SCOPE(&w->lock);
    w->ended = true;
    w->failed = why != NULL;
    if (why)
        w->why = *why;
    pthread_cond_signal(&w->wake);
}

static const struct http_stream_cb waiter_cb = { on_headers, on_data, on_end };

static void waiter_start(struct waiter *w, struct http_client *c, const struct http_call *call)
{
    pthread_condattr_t attr;

    assert(!loop_inside(c->loop));
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    w->max_bytes = call->max_bytes ? call->max_bytes : DEFAULT_MAX_BYTES;
    w->stream = stream_ref(stream_new(c, call));
    w->stream->keep_answer = true;
    w->stream->cb = waiter_cb;
    w->stream->arg = w;
    stream_start(w->stream);
}

static void waiter_clear(struct waiter *w)
{
    stream_unref(w->stream);
    buf_clear(&w->body);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
}

/* Called with the lock. Waits for the loop, at most until the deadline or the next look at the cancel flag. */
static void wait_some(struct waiter *w, const struct ctx *ctx)
{
    int64_t ms = ctx_left_ms(ctx);
    struct timespec until;

    if (ctx->cancel && ms > CANCEL_LOOK_MS)
        ms = CANCEL_LOOK_MS;
    if (ms == INT64_MAX) {
        pthread_cond_wait(&w->wake, &w->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_cond_timedwait(&w->wake, &w->lock, &until);
}

/* Called with the lock: ends the stream and sees its end. */
static void give_up(struct waiter *w)
{
    if (!w->ended)
        http_stream_close(w->stream);
    while (!w->ended)
        pthread_cond_wait(&w->wake, &w->lock);
}

static void resume_here(void *arg)
{
    http_stream_resume(arg);
    stream_unref(arg);
}

/* Called with the lock: hands what came to fn, without the lock. */
static int drain(struct waiter *w, http_data_fn *fn, void *arg, struct err *err)
{
    struct buf part = w->body;

    w->body = (struct buf){ 0 };
    pthread_mutex_unlock(&w->lock);
    pool_wait_end();
    int rc = fn(arg, buf_at(&part), buf_len(&part), err);

    buf_clear(&part);
    pool_wait_begin();
    pthread_mutex_lock(&w->lock);
    if (w->paused && rc >= 0) {
        w->paused = false;
        loop_post(w->stream->client->loop, resume_here, stream_ref(w->stream));
    }
    return rc;
}

static int wait_end(struct ctx *ctx, struct waiter *w, http_data_fn *fn, void *arg, struct err *err)
{
    int rc = 0;

    while (rc >= 0) {
        bool more = to_caller(w) && buf_len(&w->body);

        rc = ctx_check(ctx, err);
        if (rc == 0 && more)
            rc = drain(w, fn, arg, err);
        else if (rc == 0 && w->ended)
            break;
        else if (rc == 0)
            wait_some(w, ctx);
    }
    if (rc < 0)
        give_up(w);
    return rc;
}

static int result(struct waiter *w, struct http_answer *ret, struct err *err)
{
    if (w->too_large)
        return err_set(err, ERR_TOO_LARGE, "the answer has more than %zu bytes", w->max_bytes);
    if (w->failed) {
        *err = w->why;
        return -(int)err->code;
    }
    ret->status = w->status;
    ret->headers = w->stream->answer;
    ret->trailers = w->stream->trailers;
    w->stream->answer = w->stream->trailers = (struct http_headers){ 0 };
    ret->body = buf_take(&w->body);
    return 0;
}

static int call_and_wait(struct ctx *ctx, struct http_client *c, const struct http_call *call, http_data_fn *fn, void *arg,
                         struct http_answer *ret, struct err *err)
{
    struct waiter w = { .download = fn != NULL };
    int rc = ctx_check(ctx, err);

    if (rc < 0)
        return rc;
    waiter_start(&w, c, call);
    pool_wait_begin();
    pthread_mutex_lock(&w.lock);
    rc = wait_end(ctx, &w, fn, arg, err);
    pthread_mutex_unlock(&w.lock);
    pool_wait_end();
    if (rc >= 0)
        rc = result(&w, ret, err);
    waiter_clear(&w);
    return rc < 0 ? rc : 0;
}

int http_call(struct ctx *ctx, struct http_client *c, const struct http_call *call, struct http_answer *ret, struct err *err)
{
    return call_and_wait(ctx, c, call, NULL, NULL, ret, err);
}

int http_download(struct ctx *ctx, struct http_client *c, const struct http_call *call, http_data_fn *fn, void *arg,
                  struct http_answer *ret, struct err *err)
{
    return call_and_wait(ctx, c, call, fn, arg, ret, err);
}

void http_answer_clear(struct http_answer *a)
{
    http_headers_clear(&a->headers);
    http_headers_clear(&a->trailers);
    bytes_unref(a->body);
    *a = (struct http_answer){ 0 };
}

/* --- upgrades --- */

struct upgrade {
    struct http_upgrade_cb cb;
    void *arg;
    struct http_stream *stream;
    bool taken;
    int status;
    struct buf body;
};

static void upgrade_headers(void *arg, int status, const struct http_headers *headers)
{
    (void)headers;
    ((struct upgrade *)arg)->status = status;
}

static void upgrade_data(void *arg, const char *data, size_t n)
{
    struct upgrade *u = arg;
    size_t room = REFUSE_BODY_BYTES - buf_len(&u->body);

    buf_add(&u->body, data, n < room ? n : room);
}

static void upgrade_switch(void *arg, struct conn *c, const struct http_headers *headers)
{
    struct upgrade *u = arg;

    u->taken = true;
    u->cb.take(u->arg, c, headers);
}

static void upgrade_end(void *arg, const struct err *why)
{
    struct upgrade *u = arg;
    struct http_answer answer = { .status = u->status, .headers = u->stream->answer };

    if (!u->taken && why) {
        u->cb.refuse(u->arg, NULL, why);
    } else if (!u->taken) {
        answer.body = buf_take(&u->body);
        u->cb.refuse(u->arg, &answer, NULL);
        bytes_unref(answer.body);
    }
    buf_clear(&u->body);
    free(u);
}

void http_client_upgrade(struct http_client *c, const struct http_call *call, const struct http_upgrade_cb *cb, void *arg)
{
    static const struct http_stream_cb stream_cb = { upgrade_headers, upgrade_data, upgrade_end };
    struct upgrade *u = MEM_NEW(struct upgrade);

    u->cb = *cb;
    u->arg = arg;
    u->stream = stream_new(c, call);
    u->stream->keep_answer = true;
    u->stream->cb = stream_cb;
    u->stream->arg = u;
    u->stream->on_switch = upgrade_switch;
    stream_start(u->stream);
}
