/* Commands in containers, attached streams, connections into a pod. */
#include "agent/runtime/runtime_int.h"

#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { OUTPUT_MAX_BYTES = 16 * 1024, LOOK_MS = 100, CONTROL_BYTES = 64, LINGER_MS = 200 };

/* Both ends of a session: ours and the shim's. */
struct ends {
    int ours[SHIM_FDS_MAX], theirs[SHIM_FDS_MAX];
    int n;
};

static void auto_ends(struct ends *e)
{
    for (int i = 0; i < e->n; i++) {
        if (e->ours[i] >= 0)
            close(e->ours[i]);
        if (e->theirs[i] >= 0)
            close(e->theirs[i]);
    }
}

static CHECK_RC int add_socket(struct ends *e, struct err *err)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_sys(err, errno, "make a socket pair");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    e->ours[e->n] = fds[0];
    e->theirs[e->n++] = fds[1];
    return 0;
}

/* A process gets pipes, not sockets: it may open /dev/stdout. ours_index: 1 when we write. */
static CHECK_RC int add_pipe(struct ends *e, int ours_index, struct err *err)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    fcntl(fds[ours_index], F_SETFL, O_NONBLOCK); /* an end's flags are its own */
    e->ours[e->n] = fds[ours_index];
    e->theirs[e->n++] = fds[1 - ours_index];
    return 0;
}

static CHECK_RC int make_ends(const struct runtime_session_spec *spec, struct ends *e, struct err *err)
{
    int rc = add_socket(e, err);

    if (rc == 0 && spec->in)
        rc = add_pipe(e, 1, err);
    if (rc == 0 && spec->out)
        rc = add_pipe(e, 0, err);
    if (rc == 0 && spec->err && !spec->tty)
        rc = add_pipe(e, 0, err);
    return rc;
}

static CHECK_RC int call(struct ctx *ctx, struct pod *p, const struct runtime_session_spec *spec, struct ends *e, int64_t timeout_ms, struct err *err)
{
    AUTO_FREE char *at = mem_alloc(SHIM_FRAME_MAX);
    char dir[RUNTIME_PATH_BYTES];
    struct shim_writer w;
    struct reply reply;
    AUTO(link) struct link *l = NULL;
    int flags = (spec->tty ? SHIM_TTY : 0) | (spec->in ? SHIM_IN : 0) | (spec->out ? SHIM_OUT : 0) | (spec->err && !spec->tty ? SHIM_ERR : 0);
    int rc = pod_link(p, &l, err);

    if (rc < 0)
        return rc;
    container_paths(p, spec->id, dir);
    shim_frame_begin(&w, at, SHIM_FRAME_MAX, spec->argv ? SHIM_EXEC : SHIM_ATTACH, 0);
    shim_frame_num(&w, 0, flags);
    shim_frame_num(&w, 1, timeout_ms);
    shim_frame_str(&w, spec->id);
    if (spec->argv)
        shim_frame_str(&w, dir);
    for (size_t i = 0; spec->argv && spec->argv[i]; i++)
        shim_frame_str(&w, spec->argv[i]);
    rc = link_call(ctx, l, &w, e->theirs, e->n, &reply, err);
    if (rc < 0 && err->code == ERR_IO && err->sys == 0 && spec->argv) {
        struct err said = *err;
        rc = container_start_error(p->rt, said.msg, "exec", err);
    }
    return rc;
}

static CHECK_RC int begin(struct ctx *ctx, struct runtime *rt, const struct runtime_session_spec *spec, int64_t timeout_ms, struct ends *e, struct err *err)
{
    AUTO(pod) struct pod *p = NULL;
    int rc = pod_find(rt, spec->pod_uid, &p, err);

    if (rc == 0 && spec->argv && !spec->argv[0])
        rc = err_set(err, ERR_INVALID, "no command specified");
    if (rc == 0)
        rc = make_ends(spec, e, err);
    if (rc == 0)
        rc = call(ctx, p, spec, e, timeout_ms, err);
    /* The shim has copies: an end is seen only when ours of theirs are closed. */
    for (int i = 0; i < e->n; i++) {
        close(e->theirs[i]);
        e->theirs[i] = -1;
    }
    return rc;
}

static int take_end(struct ends *e, int i)
{
    int fd = e->ours[i];

    e->ours[i] = -1;
    return fd;
}

int runtime_session(struct ctx *ctx, struct runtime *rt, const struct runtime_session_spec *spec, struct runtime_session *ret, struct err *err)
{
    AUTO(ends) struct ends e = { .n = 0 };
    int i = 1;
    int rc = begin(ctx, rt, spec, 0, &e, err);

    if (rc < 0)
        return rc;
    ret->fd_control = take_end(&e, 0);
    ret->fd_in = spec->in ? take_end(&e, i++) : -1;
    ret->fd_out = spec->out ? take_end(&e, i++) : -1;
    ret->fd_err = spec->err && !spec->tty ? take_end(&e, i) : -1;
    return 0;
}

/* With an answer. */

struct sync {
    int control, out;
    struct buf output;
    char line[CONTROL_BYTES];
    size_t n_line;
    bool timed_out, exited;
    int exit_code;
};

static void take_output(struct sync *s)
{
    char at[4096];
    ssize_t n = read(s->out, at, sizeof(at));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        s->out = -1; /* the ends' owner closes it */
        return;
    }
    size_t room = OUTPUT_MAX_BYTES - buf_len(&s->output);
    buf_add(&s->output, at, (size_t)n < room ? (size_t)n : room); /* more is read and thrown away, so that the command can go on */
}

static CHECK_RC int take_control(struct sync *s, struct err *err)
{
    char at[CONTROL_BYTES];
    ssize_t n = read(s->control, at, sizeof(at));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return err_set(err, ERR_UNAVAILABLE, "the shim is gone");
    for (ssize_t i = 0; i < n; i++) {
        if (at[i] != '\n') {
            if (s->n_line < sizeof(s->line) - 1)
                s->line[s->n_line++] = at[i];
            continue;
        }
        s->line[s->n_line] = 0;
        s->n_line = 0;
        if (strcmp(s->line, "timeout") == 0)
            s->timed_out = true;
        else if (sscanf(s->line, "exit %d", &s->exit_code) == 1)
            s->exited = true;
    }
    return 0;
}

/* Until the command has ended and what it wrote is read. What it left behind may hold the pipe: that is not waited for long. */
static CHECK_RC int run_sync(struct ctx *ctx, struct sync *s, struct err *err)
{
    int64_t linger = INT64_MAX;

    while (!s->exited || s->out >= 0) {
        int rc = s->exited ? 0 : ctx_check(ctx, err);
        if (rc < 0)
            return rc;
        int64_t now = clock_mono_ms(ctx->clock), left = s->exited ? linger - now : ctx_left_ms(ctx);
        if (left <= 0)
            break;
        struct pollfd p[2] = { { .fd = s->out, .events = POLLIN }, { .fd = s->exited ? -1 : s->control, .events = POLLIN } };
        if (ctx->cancel && left > LOOK_MS)
            left = LOOK_MS;
        if (poll(p, 2, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
            return err_sys(err, errno, "wait for the command");
        if (p[0].revents)
            take_output(s);
        if (p[1].revents) {
            rc = take_control(s, err);
            if (rc < 0)
                return rc;
            if (s->exited)
                linger = clock_mono_ms(ctx->clock) + LINGER_MS;
        }
    }
    return 0;
}

int runtime_exec_sync(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, const char *const *argv, struct runtime_answer *ret,
                      struct err *err)
{
    const struct runtime_session_spec spec = { .pod_uid = pod_uid, .id = id, .argv = argv, .out = true };
    AUTO(ends) struct ends e = { .n = 0 };
    int64_t left = ctx_left_ms(ctx);
    int rc = begin(ctx, rt, &spec, left == INT64_MAX ? 0 : left > 0 ? left : 1, &e, err);

    if (rc < 0)
        return rc;
    struct sync s = { .control = e.ours[0], .out = e.ours[1] };
    pool_wait_begin();
    rc = run_sync(ctx, &s, err);
    pool_wait_end();
    if (rc < 0 && send(s.control, "kill\n", 5, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        rc = -(int)err->code; /* the shim kills it by its own timer */
    if (rc == 0 && s.timed_out)
        rc = err_set(err, ERR_TIMEOUT, "the command was killed");
    if (rc == 0) {
        *ret = (struct runtime_answer){ .output = buf_take(&s.output), .exit_code = s.exit_code };
        return 0;
    }
    buf_clear(&s.output);
    return rc == -ERR_TIMEOUT ? err_wrap(err, "command %s timed out", argv[0]) : rc;
}

/* Connections. */

int runtime_dial(struct ctx *ctx, struct runtime *rt, const char *pod_uid, int port, int *ret_fd, struct err *err)
{
    char at[256];
    struct shim_writer w;
    struct reply reply;
    AUTO(pod) struct pod *p = NULL;
    AUTO(link) struct link *l = NULL;
    int rc = pod_find(rt, pod_uid, &p, err);

    if (rc == 0)
        rc = pod_link(p, &l, err);
    if (rc < 0)
        return rc;
    shim_frame_begin(&w, at, sizeof(at), SHIM_DIAL, 0);
    shim_frame_num(&w, 0, port);
    rc = link_call(ctx, l, &w, NULL, 0, &reply, err);
    if (rc < 0)
        return err_wrap(err, "connect to localhost:%d inside pod %s", port, pod_uid);
    if (reply.fd < 0)
        return err_set(err, ERR_IO, "connect to localhost:%d inside pod %s: the shim sent no connection", port, pod_uid);
    *ret_fd = reply.fd;
    return 0;
}
