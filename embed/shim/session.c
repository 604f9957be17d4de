/* Exec and attach: descriptors of the agent on one side, a process of the pod on the other. */
#include "embed/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { NAME_BYTES = 32, PATH_BYTES = 512 };

static void session_free(struct session *s)
{
    struct session **at = &s->shim->sessions;

    while (*at && *at != s)
        at = &(*at)->next;
    if (*at)
        *at = s->next;
    output_drop(&s->out);
    output_drop(&s->err);
    source_close(&s->control);
    source_close(&s->in);
    source_close(&s->timer);
    source_close(&s->tty.src);
    sink_close(&s->tty_in);
    free(s->dir);
    free(s);
}

static void say(struct session *s, const char *text)
{
    if (s->control.fd >= 0)
        send(s->control.fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT); /* nobody listening: nobody to tell */
}

void session_finish(struct session *s)
{
    char text[32];

    if (!s->exited || s->tty.src.fd >= 0 || s->out.left || s->err.left)
        return;
    snprintf(text, sizeof(text), "exit %d\n", s->exit_code);
    say(s, text);
    session_free(s);
}

static void kill_exec(struct session *s)
{
    if (s->exec && s->started && !s->exited)
        kill(s->pid, SIGKILL); /* we are its reaper: the pid is its own */
}

static void timer_ready(struct source *src, uint32_t events)
{
    struct session *s = (struct session *)((char *)src - offsetof(struct session, timer));

    (void)events;
    source_close(src);
    s->timed_out = true;
    say(s, "timeout\n");
    kill_exec(s);
}

static void resize(struct session *s, unsigned cols, unsigned rows)
{
    struct winsize w = { .ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows };
    int fd = s->exec ? s->tty.src.fd : s->c && (s->c->flags & SHIM_TTY) ? s->c->out.src.fd : -1;

    if (fd >= 0 && cols <= 0xffff && rows <= 0xffff)
        ioctl(fd, TIOCSWINSZ, &w);
    if (s->exec && !s->started)
        s->size = w;
}

static void command(struct session *s)
{
    unsigned cols, rows;

    if (sscanf(s->line, "resize %u %u", &cols, &rows) == 2)
        resize(s, cols, rows);
    else if (strcmp(s->line, "kill") == 0) {
        s->timed_out = true; /* also when it has not started yet */
        kill_exec(s);
    }
}

/* The agent's end is closed: an attach is over; of an exec only the process goes on. */
static void control_end(struct session *s)
{
    source_close(&s->control);
    if (!s->exec) {
        session_free(s);
        return;
    }
    output_drop(&s->out);
    output_drop(&s->err);
    source_close(&s->in);
    sink_close(&s->tty_in);
    source_close(&s->tty.src); /* hangs the terminal up */
    session_finish(s);
}

static void control_ready(struct source *src, uint32_t events)
{
    struct session *s = (struct session *)((char *)src - offsetof(struct session, control));
    char text[256];
    ssize_t n = read(src->fd, text, sizeof(text));

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        control_end(s);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (text[i] != '\n') {
            if (s->n_line < sizeof(s->line) - 1)
                s->line[s->n_line++] = text[i];
            continue;
        }
        s->line[s->n_line] = 0;
        s->n_line = 0;
        command(s);
    }
}

/* Lagging readers: the rest goes when they have room. */
static void output_ready(struct source *src, uint32_t events)
{
    struct output *o = (struct output *)src;
    struct session *s = o->s;

    if (o->left && !(events & EPOLLERR)) {
        ssize_t n = write(src->fd, o->left, o->n_left);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n >= 0 && (size_t)n < o->n_left) {
            memmove(o->left, o->left + n, o->n_left - (size_t)n);
            o->n_left -= (size_t)n;
            return;
        }
        if (n >= 0) {
            free(o->left);
            o->left = NULL;
            o->n_left = 0;
            source_watch(s->shim, src, EPOLLERR);
            if (--o->of->paused == 0 && o->of->src.fd >= 0)
                source_watch(s->shim, &o->of->src, EPOLLIN);
            session_finish(s);
            return;
        }
    }
    if (events & (EPOLLERR | EPOLLHUP | EPOLLOUT)) {
        output_drop(o);
        session_finish(s);
    }
}

static void output_open(struct session *s, struct output *o, int fd, struct stream *of)
{
    *o = (struct output){ .src = { .fd = -1, .ready = output_ready }, .s = s, .of = of };
    if (fd < 0)
        return;
    fd_nonblock(fd);
    if (source_add(s->shim, &o->src, fd, EPOLLERR) != 0)
        source_close(&o->src);
}

static int take(int *fd)
{
    int f = *fd;

    *fd = -1;
    return f;
}

static struct session *session_new(struct shim *sh, struct container *c, int flags, bool exec, int control)
{
    struct session *s = must(calloc(1, sizeof(*s)));

    *s = (struct session){ .shim = sh, .c = c, .exec = exec, .flags = flags, .next = sh->sessions, .serial = (int)++sh->serial,
                           .control = { -1, control_ready }, .in.fd = -1, .timer = { -1, timer_ready }, .out.src.fd = -1, .err.src.fd = -1,
                           .tty = { .src.fd = -1, .s = s }, .tty_in = { .src.fd = -1, .s = s }, .console = { -1, -1 } };
    s->out.s = s->err.s = s;
    sh->sessions = s;
    fd_nonblock(control);
    if (source_add(sh, &s->control, control, EPOLLIN) != 0)
        source_close(&s->control);
    return s;
}

/* Names the descriptors: control, then in, out, err as flagged. Returns false when one is missing. */
static bool split_fds(int flags, const int *fds, int at[4])
{
    static const int bits[] = { 0, SHIM_IN, SHIM_OUT, SHIM_ERR };
    int n = 1;

    at[0] = 0;
    for (int i = 1; i < 4; i++)
        at[i] = flags & bits[i] ? n++ : -1;
    for (int i = 0; i < 4; i++)
        if (at[i] >= 0 && fds[at[i]] < 0)
            return false;
    return true;
}

static bool room_for_session(const struct shim *sh)
{
    int n = 0;

    for (const struct session *s = sh->sessions; s; s = s->next)
        n++;
    return n < SESSIONS_MAX;
}

/* Exec. */

static void names_of(const struct session *s, char *pid, char *log, char *sock)
{
    snprintf(pid, NAME_BYTES, "exec-%d.pid", s->serial);
    snprintf(log, NAME_BYTES, "exec-%d.log", s->serial);
    snprintf(sock, NAME_BYTES, "x%d.sock", s->serial);
}

static void take_terminal(struct session *s, const char *name)
{
    int master = console_take(&s->console, name);

    if (master < 0)
        return;
    if (s->control.fd < 0) { /* who asked is gone already */
        close(master);
        return;
    }
    if (s->size.ws_col)
        ioctl(master, TIOCSWINSZ, &s->size);
    stream_open(s->shim, &s->tty, master);
    if (s->in.fd >= 0) {
        sink_open(&s->tty_in, fcntl(master, F_DUPFD_CLOEXEC, 3));
        session_input(s);
    }
}

static void exec_exit(struct session *s, int status)
{
    int sig;

    s->exited = true;
    exit_status(status, &s->exit_code, &sig);
    source_close(&s->timer);
    stream_drain(s->shim, &s->tty);
    session_finish(s);
}

static void exec_done(struct job *j, int status)
{
    struct session *s = j->arg;
    char pid[NAME_BYTES], log[NAME_BYTES], sock[NAME_BYTES], text[SHIM_TEXT_MAX + 1];
    int ended;

    names_of(s, pid, log, sock);
    if (s->flags & SHIM_TTY)
        take_terminal(s, sock);
    job_error(s->dir, log, status, text);
    s->pid = pid_from_file(s->dir, pid);
    free(s->dir);
    s->dir = NULL;
    if (status != 0 || s->pid <= 0) {
        reply(j->shim, j->asker, EIO, text, NULL, 0, -1);
        session_free(s);
        return;
    }
    s->started = true;
    reply(j->shim, j->asker, 0, "", (const int64_t[]){ s->pid }, 1, -1);
    if (orphan_take(j->shim, s->pid, &ended))
        exec_exit(s, ended);
    else if (s->timed_out)
        kill_exec(s);
}

bool session_reaped(struct shim *sh, pid_t pid, int status)
{
    for (struct session *s = sh->sessions; s; s = s->next)
        if (s->exec && s->started && !s->exited && s->pid == pid) {
            exec_exit(s, status);
            return true;
        }
    return false;
}

static int exec_run(struct session *s, struct asker a, struct shim_strings argv, const int std[3])
{
    struct job j = { .done = exec_done, .arg = s, .asker = a };
    char pid[NAME_BYTES], log[NAME_BYTES], sock[NAME_BYTES], console[CONSOLE_PATH_BYTES], pid_path[PATH_BYTES], log_path[PATH_BYTES];
    const char **args = must(malloc((argv.left + 16) * sizeof(char *)));
    int n = 0, sys = 0;

    names_of(s, pid, log, sock);
    snprintf(pid_path, sizeof(pid_path), "%s/%s", s->dir, pid);
    snprintf(log_path, sizeof(log_path), "%s/%s", s->dir, log);
    args[n++] = "exec";
    args[n++] = "--detach";
    args[n++] = "--pid-file";
    args[n++] = pid_path;
    if (s->flags & SHIM_TTY) {
        sys = console_listen(&s->console, s->dir, sock, console);
        args[n++] = "--tty";
        args[n++] = "--console-socket";
        args[n++] = console;
    }
    args[n++] = s->c->id;
    while ((args[n] = shim_strings_next(&argv)))
        n++;
    if (sys == 0)
        sys = job_run(s->shim, &j, log_path, args, std);
    if (sys)
        console_take(&s->console, sock);
    free(args);
    return sys;
}

static void arm(struct session *s, int64_t ms)
{
    struct itimerspec t = { .it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 } };
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd >= 0 && timerfd_settime(fd, 0, &t, NULL) == 0 && source_add(s->shim, &s->timer, fd, EPOLLIN) == 0)
        return;
    if (fd >= 0)
        close(fd); /* the agent has a deadline of its own */
    s->timer.fd = -1;
}

void session_exec(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings, int *fds)
{
    struct container *c = container_find(sh, shim_strings_next(&strings));
    const char *dir = shim_strings_next(&strings);
    int flags = (int)f->num[0], at[4], std[3] = { -1, -1, -1 };

    if (!c || c->state != SHIM_STATE_RUNNING) {
        reply(sh, a, ESRCH, "the container is not running", NULL, 0, -1);
        return;
    }
    if (!dir || strlen(dir) > PATH_BYTES - 64 || strings.left == 0 || !split_fds(flags, fds, at) || !room_for_session(sh)) {
        reply(sh, a, room_for_session(sh) ? EINVAL : E2BIG, NULL, NULL, 0, -1);
        return;
    }
    struct session *s = session_new(sh, c, flags, true, take(&fds[0]));
    s->dir = must_dup(dir);
    if (flags & SHIM_TTY) {
        output_open(s, &s->out, flags & SHIM_OUT ? take(&fds[at[2]]) : -1, &s->tty);
        s->in.fd = flags & SHIM_IN ? take(&fds[at[1]]) : -1;
        if (s->in.fd >= 0)
            fd_nonblock(s->in.fd);
    } else {
        for (int i = 0; i < 3; i++)
            std[i] = at[i + 1] >= 0 ? fds[at[i + 1]] : -1;
    }
    int sys = exec_run(s, a, strings, std);
    if (sys) {
        reply(sh, a, sys, "start the OCI runtime", NULL, 0, -1);
        session_free(s);
    } else if (f->num[1] > 0) {
        arm(s, f->num[1]);
    }
}

/* Attach. */

void session_attach(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings, int *fds)
{
    struct container *c = container_find(sh, shim_strings_next(&strings));
    int flags = (int)f->num[0], at[4];

    if (!c || c->state != SHIM_STATE_RUNNING) {
        reply(sh, a, ESRCH, "the container is not running", NULL, 0, -1);
        return;
    }
    if (!split_fds(flags, fds, at) || !room_for_session(sh)) {
        reply(sh, a, room_for_session(sh) ? EINVAL : E2BIG, NULL, NULL, 0, -1);
        return;
    }
    struct session *s = session_new(sh, c, flags, false, take(&fds[0]));
    output_open(s, &s->out, at[2] >= 0 ? take(&fds[at[2]]) : -1, &c->out);
    output_open(s, &s->err, at[3] >= 0 ? take(&fds[at[3]]) : -1, &c->err);
    if (at[1] >= 0) {
        s->in.fd = take(&fds[at[1]]);
        fd_nonblock(s->in.fd);
        session_input(s);
    }
    reply(sh, a, 0, "", NULL, 0, -1);
}

/* Their container ended: attached ones hear of it when all output is theirs. */
void sessions_of_exited(struct container *c)
{
    struct session *next;

    for (struct session *s = c->shim->sessions; s; s = next) {
        next = s->next;
        if (s->c != c || s->exec)
            continue;
        s->exited = true;
        s->exit_code = c->exit_code;
        session_finish(s);
    }
}

void sessions_forget(struct container *c)
{
    struct session *next;

    for (struct session *s = c->shim->sessions; s; s = next) {
        next = s->next;
        if (s->c != c)
            continue;
        s->c = NULL;
        if (!s->exec)
            session_free(s);
    }
}
