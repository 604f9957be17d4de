/* /exec, /attach and /run. A stream: found on the pool, accepted on the loop, started on the pool, wired on the loop. */
#include "agent/pods/kubelet_int.h"

#include "lib/stream/stream.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct exec_op {
    struct kubelet_live live;
    struct kubelet_call *call;
    struct kubelet_target target;
    struct stream_want want;
    const char **argv; /* in the call's arena; NULL: attach */
    /* the loop's */
    struct stream_session *session; /* NULL: not open yet, or closed */
    bool starting, closed, in_ended;
    struct buf early; /* stdin that was on its way when it was paused: at most a message */
    int cols, rows; /* a size told before the command ran */
    /* the pool's answer, while starting */
    int rc;
    struct runtime_session fds;
    struct err err;
};

static void free_op(struct exec_op *op)
{
    struct kubelet_call *c = op->call;

    kubelet_live_remove(c->k, &op->live);
    buf_clear(&op->early);
    free(op);
    kubelet_call_free(c);
}

static void close_fds(const struct runtime_session *s)
{
    const int all[] = { s->fd_in, s->fd_out, s->fd_err, s->fd_control };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i] >= 0)
            close(all[i]);
}

/* --- starting --- */

/* Small, and pipes and socket are fresh: they take it at once. (The program ignores SIGPIPE.) */
static void tell_early(struct exec_op *op)
{
    if (op->cols > 0 && op->fds.fd_control >= 0)
        (void)dprintf(op->fds.fd_control, "resize %d %d\n", op->cols, op->rows);
    for (size_t at = 0; op->fds.fd_in >= 0 && at < buf_len(&op->early);) {
        ssize_t n = write(op->fds.fd_in, buf_at(&op->early) + at, buf_len(&op->early) - at);

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    if (op->in_ended && op->fds.fd_in >= 0)
        close(TAKE_FD(op->fds.fd_in));
    buf_clear(&op->early);
}

static void started(void *arg)
{
    struct exec_op *op = arg;

    op->starting = false;
    if (op->closed) { /* the client did not wait */
        if (op->rc == 0)
            close_fds(&op->fds);
        free_op(op);
        return;
    }
    if (op->rc < 0) {
        stream_session_fail(op->session, &op->err);
        return;
    }
    tell_early(op);
    struct stream_fds fds = { op->fds.fd_in, op->fds.fd_out, op->fds.fd_err, op->fds.fd_control };
    stream_session_wire(op->session, &fds);
    if (op->session)
        stream_session_resume(op->session);
}

static void start(void *arg)
{
    struct exec_op *op = arg;
    struct kubelet_api *k = op->call->k;
    struct runtime_session_spec spec = { .pod_uid = op->target.pod_uid, .id = op->target.id, .argv = op->argv,
                                         .tty = op->argv ? op->want.tty : op->target.tty,
                                         .in = op->want.in && (op->argv || op->target.stdin_open), .out = op->want.out, .err = op->want.err };

    op->fds = (struct runtime_session){ -1, -1, -1, -1 };
    op->rc = k->runtime.session(&op->call->ctx, k->runtime.arg, &spec, &op->fds, &op->err);
    loop_post(k->loop, started, op);
}

/* --- the session --- */

static void on_open(void *arg, struct stream_session *s)
{
    struct exec_op *op = arg;
    struct err err = { 0 };

    op->session = s;
    op->starting = true;
    stream_session_pause(s);
    if (pool_run(op->call->k->pool, start, op, &err) < 0) { /* else rc and err are the worker's */
        op->starting = false;
        stream_session_fail(s, &err);
    }
}

static void on_close(void *arg)
{
    struct exec_op *op = arg;

    op->session = NULL;
    op->closed = true;
    if (!op->starting)
        free_op(op);
}

/* Before the session is wired stdin is paused; what comes besides is kept. */
static void on_early_in(void *arg, const char *data, size_t n)
{
    struct exec_op *op = arg;

    buf_add(&op->early, data, n);
}

static void on_early_end(void *arg)
{
    ((struct exec_op *)arg)->in_ended = true;
}

static void on_early_resize(void *arg, int cols, int rows)
{
    struct exec_op *op = arg;

    op->cols = cols;
    op->rows = rows;
}

static void on_early_drain(void *arg)
{
    (void)arg;
}

static void close_live(struct kubelet_live *l)
{
    struct exec_op *op = (struct exec_op *)l; /* its first member */
    struct err why = { 0 };

    if (!op->session)
        return;
    ERR_IGNORE(err_set(&why, ERR_UNAVAILABLE, "the node agent is stopping"));
    stream_session_fail(op->session, &why);
}

static void accept_session(void *arg)
{
    static const struct stream_session_ops ops = { on_open, on_early_in, on_early_end, on_early_resize, on_early_drain, on_close };
    struct exec_op *op = arg;

    op->live.close = close_live;
    kubelet_live_add(op->call->k, &op->live);
    if (kubelet_stopping(op->call->k))
        http_reply(op->call->request, 503, NULL, NULL);
    else if (stream_session_accept(op->call->request, &op->want, &ops, op))
        return;
    free_op(op);
}

/* --- the request --- */

static const char **read_argv(struct kubelet_call *c, const char *name)
{
    const char **argv = arena_alloc(c->arena, (c->query.n + 1) * sizeof(*argv));
    size_t n = 0;

    for (size_t i = 0; i < c->query.n; i++)
        if (!strcmp(c->query.at[i].name, name))
            argv[n++] = c->query.at[i].value;
    return argv;
}

static const char *container_of_path(const struct kubelet_call *c)
{
    return c->segment[c->n_segments - 1];
}

static int find_running(struct kubelet_call *c, struct kubelet_target *ret, struct err *err)
{
    int rc = kubelet_find(c, false, ret, err);

    if (rc == 0 && !ret->running) /* upstream's words, also for one that ended */
        return err_set(err, ERR_IO, "container not found (\"%s\")", container_of_path(c));
    return rc;
}

static void begin(struct kubelet_call *c, bool attach)
{
    struct exec_op *op = MEM_NEW(struct exec_op);
    struct err err = { 0 };
    int rc = find_running(c, &op->target, &err);

    op->call = c;
    op->want = (struct stream_want){ .in = kubelet_query_true(c, "input"), .out = kubelet_query_true(c, "output"),
                                     .err = kubelet_query_true(c, "error"), .tty = kubelet_query_true(c, "tty"), .attach = attach };
    if (op->want.tty)
        op->want.err = false; /* a terminal has one stream out */
    if (rc == 0 && !attach) {
        op->argv = read_argv(c, "command");
        if (!op->argv[0])
            rc = err_set(&err, ERR_BAD_REQUEST, "you must specify at least one command for the container");
    }
    if (rc == 0) {
        loop_post(c->k->loop, accept_session, op);
        return;
    }
    free(op);
    kubelet_fail(c, &err);
}

void kubelet_exec(struct kubelet_call *c)
{
    begin(c, false);
}

void kubelet_attach(struct kubelet_call *c)
{
    begin(c, true);
}

/* POST /run/…?cmd=a%20b: the output as text. */
void kubelet_run(struct kubelet_call *c)
{
    char *cmd = arena_strdup(c->arena, kubelet_query(c, "cmd") ? kubelet_query(c, "cmd") : ""), *rest = NULL;
    const char **argv = arena_alloc(c->arena, (strlen(cmd) + 2) * sizeof(*argv));
    AUTO(bytes) struct bytes *output = NULL;
    struct kubelet_target target;
    struct err err = { 0 };
    struct buf body = { 0 };
    int code = 0, rc = find_running(c, &target, &err);
    size_t n = 0;

    for (char *word = strtok_r(cmd, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[n++] = word;
    if (rc == 0 && n == 0)
        rc = err_set(&err, ERR_BAD_REQUEST, "cmd names no command");
    if (rc == 0)
        rc = c->k->runtime.exec(&c->ctx, c->k->runtime.arg, target.pod_uid, target.id, argv, &output, &code, &err);
    if (rc < 0) {
        kubelet_fail(c, &err);
        return;
    }
    if (output)
        buf_add(&body, output->at, output->n);
    if (code)
        buf_printf(&body, "%scommand terminated with exit code %d", buf_len(&body) ? "\n" : "", code);
    kubelet_reply(c, code ? 500 : 200, "text/plain; charset=utf-8", &body);
}
