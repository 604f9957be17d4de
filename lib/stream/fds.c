/* A session wired to the runtime's sockets. */
#include "lib/stream/session_int.h"

#include "lib/mem.h"

#include <stdlib.h>
#include <string.h>

enum { CONTROL_LINE_BYTES = 256, GRACE_MS = 1000 };
enum fd_role { FD_IN, FD_OUT, FD_ERR, FD_CONTROL, FD_ROLES };

struct fd_part {
    struct session_fds *owner;
    enum fd_role role;
    struct conn *conn; /* NULL: none, or gone */
};

struct session_fds {
    struct stream_session *session; /* NULL once it is closed */
    void (*on_close)(void *arg);
    void *arg;
    struct loop *loop;
    struct fd_part part[FD_ROLES];
    int n_conns;
    bool exit_known, stalled; /* stalled: output waits for the client */
    bool moved;               /* output came since the grace timer looked */
    int exit_code;
    struct buf line;
    struct loop_timer *grace;
};

static void free_when_done(struct session_fds *f)
{
    if (f->session || f->n_conns)
        return;
    loop_timer_cancel(f->grace);
    buf_clear(&f->line);
    free(f);
}

static bool output_done(const struct session_fds *f)
{
    return !f->part[FD_OUT].conn && !f->part[FD_ERR].conn;
}

static void end_session(struct session_fds *f)
{
    struct err err;

    if (!f->session)
        return;
    if (f->exit_known || f->session->want.attach) {
        stream_session_exit(f->session, f->exit_code);
        return;
    }
    ERR_IGNORE(err_set(&err, ERR_UNAVAILABLE, "the connection to the container ended without an exit code"));
    stream_session_fail(f->session, &err);
}

/* A background process may keep the output open after the command's exit: then what is there is sent, and no more is waited for. */
static void on_grace(void *arg)
{
    struct session_fds *f = arg;

    f->grace = NULL;
    if (output_done(f) || !f->session)
        return;
    if (f->moved || f->stalled) {
        f->moved = false;
        f->grace = loop_timer_start(f->loop, GRACE_MS, on_grace, f);
        return;
    }
    end_session(f);
}

static void look_done(struct session_fds *f)
{
    if (!f->session)
        return;
    if (output_done(f) && (f->exit_known || !f->part[FD_CONTROL].conn)) {
        end_session(f);
    } else if (f->exit_known && !f->grace) {
        f->moved = false;
        f->grace = loop_timer_start(f->loop, GRACE_MS, on_grace, f);
    }
}

static void on_control(struct session_fds *f, const char *data, size_t n)
{
    const char *at;

    if (buf_len(&f->line) + n > CONTROL_LINE_BYTES)
        buf_clear(&f->line); /* not what the runtime speaks */
    buf_add(&f->line, data, n);
    at = strstr(buf_at(&f->line), "exit ");
    if (!at || !strchr(at, '\n') || f->exit_known)
        return;
    f->exit_known = true;
    f->exit_code = (int)strtol(at + 5, NULL, 10);
    look_done(f);
}

static void on_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct fd_part *p = arg;
    struct session_fds *f = p->owner;

    (void)c;
    if (p->role == FD_CONTROL) {
        on_control(f, data, n);
    } else if (f->session && p->role != FD_IN) {
        f->moved = true;
        stream_session_write(f->session, p->role == FD_OUT ? STREAM_OUT : STREAM_ERR, data, n);
        if (stream_session_queued(f->session) > CONN_HIGH_BYTES && !f->stalled) {
            f->stalled = true;
            for (int i = FD_OUT; i <= FD_ERR; i++)
                if (f->part[i].conn)
                    conn_pause(f->part[i].conn);
        }
    }
}

static void on_drain(struct conn *c, void *arg)
{
    struct fd_part *p = arg;

    (void)c;
    if (p->role == FD_IN && p->owner->session)
        stream_session_resume(p->owner->session);
}

static void on_eof(struct conn *c, void *arg)
{
    struct fd_part *p = arg;

    if (p->role != FD_IN || !p->owner->session) /* stdin's socket is written only */
        conn_close(c);
}

static void on_conn_close(struct conn *c, void *arg, const struct err *why)
{
    struct fd_part *p = arg;
    struct session_fds *f = p->owner;

    (void)c, (void)why;
    p->conn = NULL;
    f->n_conns--;
    if (p->role == FD_IN && f->session)
        stream_session_resume(f->session); /* nobody reads: what comes is dropped */
    look_done(f);
    free_when_done(f);
}

static const struct conn_ops fd_side = { .on_data = on_data, .on_drain = on_drain, .on_eof = on_eof, .on_close = on_conn_close };

static void s_in(void *arg, const char *data, size_t n)
{
    struct session_fds *f = arg;
    struct conn *in = f->part[FD_IN].conn;

    if (!in)
        return;
    conn_write(in, data, n);
    if (conn_queued(in) > CONN_HIGH_BYTES)
        stream_session_pause(f->session);
}

static void s_in_end(void *arg)
{
    struct session_fds *f = arg;

    if (f->part[FD_IN].conn)
        conn_shutdown(f->part[FD_IN].conn);
}

static void s_resize(void *arg, int cols, int rows)
{
    struct session_fds *f = arg;
    AUTO(buf) struct buf line = { 0 };

    if (!f->part[FD_CONTROL].conn)
        return;
    buf_printf(&line, "resize %d %d\n", cols, rows);
    conn_write(f->part[FD_CONTROL].conn, buf_at(&line), buf_len(&line));
}

static void s_drain(void *arg)
{
    struct session_fds *f = arg;

    f->stalled = false;
    for (int i = FD_OUT; i <= FD_ERR; i++)
        if (f->part[i].conn)
            conn_resume(f->part[i].conn);
}

static void s_close(void *arg)
{
    struct session_fds *f = arg;

    f->session = NULL;
    f->on_close(f->arg);
    for (int i = 0; i < FD_ROLES; i++)
        if (f->part[i].conn)
            conn_close(f->part[i].conn);
    free_when_done(f);
}

void stream_session_wire(struct stream_session *s, const struct stream_fds *fds)
{
    const int fd[FD_ROLES] = { fds->in, fds->out, fds->err, fds->control };
    struct session_fds *f = MEM_NEW(struct session_fds);

    f->session = s;
    f->loop = s->loop;
    f->on_close = s->ops.on_close;
    f->arg = s->arg;
    s->ops = (struct stream_session_ops){ .on_in = s_in, .on_in_end = s_in_end, .on_resize = s_resize, .on_drain = s_drain,
                                          .on_close = s_close };
    s->arg = f;
    for (int i = 0; i < FD_ROLES; i++) {
        f->part[i] = (struct fd_part){ .owner = f, .role = (enum fd_role)i };
        if (fd[i] < 0)
            continue;
        f->n_conns++;
        f->part[i].conn = conn_accept(f->loop, fd[i], NULL, 0, &fd_side, &f->part[i]);
    }
}
