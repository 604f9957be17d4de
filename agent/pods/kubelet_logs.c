/*
 * GET /containerLogs. The reader works on the pool, the answer is written on the loop; between them lie the pieces that came and were not written yet,
 * bounded by pausing the reader.
 */
#include "agent/pods/kubelet_int.h"

#include "lib/stream/log.h"

#include <string.h>

enum { PIECES_MAX = 64 };

struct log_op {
    struct kubelet_live live;
    struct kubelet_call *call;
    struct log_reader_options read;
    struct kubelet_target target;
    pthread_mutex_t lock; /* of the reader's handle and the pieces; after the api's lock */
    struct log_reader *reader; /* NULL: over */
    struct bytes *piece[PIECES_MAX];
    size_t n_pieces, pending;
    bool posted, paused;
    /* the loop's */
    struct stream_log *stream; /* NULL: none yet, or closed */
    bool accepted, finished;
};

static void free_op(struct log_op *op)
{
    struct kubelet_call *c = op->call;

    kubelet_live_remove(c->k, &op->live);
    for (size_t i = 0; i < op->n_pieces; i++)
        bytes_unref(op->piece[i]);
    pthread_mutex_destroy(&op->lock);
    free(op);
    kubelet_call_free(c);
}

static void free_when_done(struct log_op *op)
{
    if (op->accepted && op->finished && !op->stream)
        free_op(op);
}

static void resume(struct log_op *op)
{
    LOCK_SCOPE(&op->lock);
    if (op->reader && op->paused)
        log_reader_resume(op->reader);
    op->paused = false;
}

static void deliver(void *arg)
{
    struct log_op *op = arg;
    struct bytes *piece[PIECES_MAX];
    size_t n;

    {
        LOCK_SCOPE(&op->lock);
        n = op->n_pieces;
        memcpy(piece, op->piece, n * sizeof(piece[0]));
        op->n_pieces = op->pending = 0;
        op->posted = false;
    }
    for (size_t i = 0; i < n; i++) {
        if (op->stream)
            stream_log_write(op->stream, piece[i]);
        bytes_unref(piece[i]);
    }
    if (!op->stream || stream_log_queued(op->stream) < CONN_HIGH_BYTES)
        resume(op); /* else on_drain does */
}

/* --- on the reader's worker --- */

static void on_data(void *arg, struct bytes *piece)
{
    struct log_op *op = arg;

    LOCK_SCOPE(&op->lock);
    if (op->n_pieces == PIECES_MAX) { /* can't be: it was paused half way */
        struct bytes *last = op->piece[PIECES_MAX - 1];
        struct buf both = { 0 };
        buf_add(&both, last->at, last->n);
        buf_add(&both, piece->at, piece->n);
        bytes_unref(last);
        op->piece[PIECES_MAX - 1] = buf_take(&both);
    } else {
        op->piece[op->n_pieces++] = bytes_ref(piece);
    }
    op->pending += piece->n;
    if (op->pending >= CONN_HIGH_BYTES || op->n_pieces >= PIECES_MAX / 2) {
        op->paused = true;
        log_reader_pause(op->reader);
    }
    if (!op->posted) {
        op->posted = true;
        loop_post(op->call->k->loop, deliver, op);
    }
}

static void finish(void *arg)
{
    struct log_op *op = arg;

    op->finished = true; /* deliver was posted before us */
    if (op->stream)
        stream_log_end(op->stream);
    free_when_done(op);
}

static void on_end(void *arg, const struct err *why)
{
    struct log_op *op = arg;

    (void)why; /* a broken read can only end the answer: its head is out */
    {
        LOCK_SCOPE(&op->lock);
        op->reader = NULL;
    }
    loop_post(op->call->k->loop, finish, op);
}

/* --- on the loop --- */

static void close_reader(struct log_op *op)
{
    LOCK_SCOPE(&op->lock);
    if (op->reader)
        log_reader_close(op->reader);
}

static void on_drain(void *arg)
{
    resume(arg);
}

static void on_close(void *arg)
{
    struct log_op *op = arg;

    op->stream = NULL;
    close_reader(op);
    free_when_done(op);
}

static void accept_stream(void *arg)
{
    static const struct stream_log_ops ops = { on_drain, on_close };
    struct log_op *op = arg;

    op->accepted = true;
    if (!kubelet_stopping(op->call->k))
        op->stream = stream_log_accept(op->call->request, &ops, op);
    if (op->stream) {
        resume(op);
        return;
    }
    if (kubelet_stopping(op->call->k))
        http_reply(op->call->request, 503, NULL, NULL);
    close_reader(op);
    free_when_done(op);
}

static void close_live(struct kubelet_live *l)
{
    struct log_op *op = (struct log_op *)l; /* its first member */

    close_reader(op); /* on_end ends the stream */
}

static void container_ended(struct kubelet_live *l)
{
    struct log_op *op = (struct log_op *)l;

    LOCK_SCOPE(&op->lock);
    if (op->reader)
        log_reader_ended(op->reader);
}

/* --- the request --- */

/* 0: fine, also when it is not there. */
static int number(struct kubelet_call *c, const char *name, int64_t least, int64_t *ret, struct err *err)
{
    const char *v = kubelet_query(c, name);
    char *end = NULL;

    if (!v)
        return 0;
    *ret = strtoll(v, &end, 10);
    if (!*v || *end)
        return err_set(err, ERR_BAD_REQUEST, "{\"message\": \"Unable to decode query.\"}");
    if (*ret < least)
        return err_set(err, ERR_INVALID, "{\"message\": \"Invalid request.\"}");
    return 0;
}

static int read_since(struct kubelet_call *c, int64_t *ret_us, struct err *err)
{
    const char *since = kubelet_query(c, "sinceTime");
    int64_t seconds = -1;
    int rc = number(c, "sinceSeconds", 1, &seconds, err);

    if (rc < 0)
        return rc;
    if (since && seconds >= 0)
        return err_set(err, ERR_INVALID, "{\"message\": \"Invalid request.\"}");
    if (since && clock_parse(since, strlen(since), ret_us) < 0)
        return err_set(err, ERR_BAD_REQUEST, "{\"message\": \"Unable to decode query.\"}");
    int64_t now = clock_wall_us(c->k->clock);
    if (seconds >= 0)
        *ret_us = seconds < now / 1000000 ? now - seconds * 1000000 : 1;
    return 0;
}

static int read_options(struct kubelet_call *c, struct log_options *ret, struct err *err)
{
    const char *stream = kubelet_query(c, "stream"), *tail = kubelet_query(c, "tail");
    int rc;

    *ret = (struct log_options){ .tail_lines = -1, .limit_bytes = -1, .follow = kubelet_query_true(c, "follow"),
                                 .timestamps = kubelet_query_true(c, "timestamps") };
    rc = number(c, "tailLines", 0, &ret->tail_lines, err);
    if (rc == 0 && tail && strcmp(tail, "all"))
        rc = number(c, "tail", 0, &ret->tail_lines, err);
    if (rc == 0)
        rc = number(c, "limitBytes", 1, &ret->limit_bytes, err);
    if (rc == 0)
        rc = read_since(c, &ret->since_us, err);
    if (rc < 0 || !stream || !*stream || !strcmp(stream, "All"))
        return rc;
    if (ret->tail_lines >= 0) /* upstream refuses the pair: the lines of one stream can't be counted from the end */
        return err_set(err, ERR_INVALID, "{\"message\": \"Invalid request.\"}");
    if (strcmp(stream, "Stdout") && strcmp(stream, "Stderr"))
        return err_set(err, ERR_INVALID, "{\"message\": \"Invalid request.\"}");
    ret->stream = strcmp(stream, "Stdout") ? "stderr" : "stdout";
    return 0;
}

static int open_log(struct log_op *op, struct err *err)
{
    static const struct log_sink sink = { on_data, on_end };
    struct kubelet_target again;
    struct err ignored = { 0 };
    int rc;

    op->read.loop = op->call->k->loop;
    op->read.pool = op->call->k->pool;
    op->read.path = op->target.log_path;
    op->read.ended = op->target.ended;
    op->read.paused = op->paused = true;
    {
        LOCK_SCOPE(&op->lock);
        rc = log_reader_start(&op->read, &sink, op, &op->reader, err);
    }
    if (rc < 0)
        return rc;
    memcpy(op->live.container_id, op->target.id, sizeof(op->live.container_id));
    op->live.close = close_live;
    op->live.container_ended = container_ended;
    kubelet_live_add(op->call->k, &op->live);
    /* Did it end before we were in the list? Who is gone altogether has ended too. */
    if (!op->target.ended && (kubelet_find(op->call, kubelet_query_true(op->call, "previous"), &again, &ignored) < 0 || again.ended ||
                              strcmp(again.id, op->target.id)))
        container_ended(&op->live);
    return 0;
}

void kubelet_logs(struct kubelet_call *c)
{
    struct log_op *op = MEM_NEW(struct log_op);
    struct err err = { 0 };
    int rc;

    op->call = c;
    pthread_mutex_init(&op->lock, NULL);
    rc = read_options(c, &op->read.read, &err);
    if (rc == 0)
        rc = kubelet_find(c, kubelet_query_true(c, "previous"), &op->target, &err);
    if (rc == 0)
        rc = open_log(op, &err);
    if (rc == 0) {
        loop_post(c->k->loop, accept_stream, op);
        return;
    }
    pthread_mutex_destroy(&op->lock);
    free(op);
    kubelet_fail(c, &err);
}
