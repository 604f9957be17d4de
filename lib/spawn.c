#include "lib/spawn.h"

#include "lib/mem.h"
#include "lib/pool.h"
#include "lib/spawn_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

enum {
    KEEPER_STACK_BYTES = 256 * 1024,
    OUTPUT_MAX_BYTES = 1024 * 1024,
    READ_BYTES = 16 * 1024,
    CANCEL_LOOK_MS = 100,  /* ctx_cancel is a flag without a wake-up */
};

/* Starting. */

static const char *const step_texts[] = {
    [SPAWN_SESSION] = "make it a session or group of its own",
    [SPAWN_PARENT] = "tie it to its parent",
    [SPAWN_CGROUP] = "move it into its cgroup",
    [SPAWN_NULL] = "open /dev/null",
    [SPAWN_FDS] = "set up its descriptors",
    [SPAWN_NETNS] = "enter its network namespace",
    [SPAWN_MNTNS] = "enter its mount namespace",
    [SPAWN_CWD] = "change to its directory",
    [SPAWN_EXEC] = "run it",
};

static const char *name_of(const struct spawn *spec)
{
    return spec->argv && spec->argv[0] ? spec->argv[0] : "a child";
}

/* Where to look, worked out before the fork; what is there is seen by the child, which may be in another mount namespace. */
static const char *const *paths_of(const char *program, struct arena *arena)
{
    const char *path = getenv("PATH");
    size_t n = 0, most = 2;

    if (!path || !*path)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (const char *c = path; *c; c++)
        most += *c == ':';
    const char **paths = arena_alloc(arena, most * sizeof(char *));
    if (strchr(program, '/')) {
        paths[0] = program;
        return paths;
    }
    for (const char *c = path; c; c = strchr(c, ':')) {
        c += *c == ':';
        size_t dir = strcspn(c, ":");
        if (dir > 0 && *c == '/') /* an empty or relative folder would mean the child's cwd */
            paths[n++] = arena_printf(arena, "%.*s/%s", (int)dir, c, program);
    }
    return paths;
}

/* The child shares memory with us and this thread sleeps until it runs its program: what a large process needs is not copied.
 * Nothing here may return in the child. */
__attribute__((noinline)) static pid_t vfork_child(const struct spawn_child *child)
{
    pid_t pid = vfork();

    if (pid == 0)
        spawn_child_main(child);
    return pid;
}

static pid_t fork_child(const struct spawn_child *child)
{
    pid_t pid = fork();

    if (pid == 0)
        spawn_child_main(child);
    return pid;
}

static int reap(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Reads the child's report: nothing when it went on its way. */
static int await_report(const struct spawn *spec, int fd, pid_t pid, struct err *err)
{
    struct spawn_failure f = { 0 };
    ssize_t n;

    while ((n = read(fd, &f, sizeof(f))) < 0 && errno == EINTR)
        ;
    if (n == 0)
        return 0;
    reap(pid);
    if (n != (ssize_t)sizeof(f))
        return err_set(err, ERR_IO, "start %s: the child's report is broken", name_of(spec));
    if (f.step == SPAWN_EXEC && (f.sys == ENOENT || f.sys == ENOTDIR))
        return err_set(err, ERR_NOT_FOUND, "start %s: no such program", name_of(spec));
    int rc = err_sys(err, f.sys, "start %s: %s", name_of(spec), step_texts[f.step]);
    if (f.step != SPAWN_EXEC && rc == -ERR_NOT_FOUND) {
        err->code = ERR_IO; /* NOT_FOUND is said of the program alone */
        rc = -ERR_IO;
    }
    return rc;
}

/* fn NULL: the program of spec. */
static int start(const struct spawn *spec, int (*fn)(void *arg), void *arg, pid_t *ret_pid, struct err *err)
{
    AUTO(arena) struct arena *arena = arena_new();
    AUTO_FD int report_read = -1, report_write = -1;
    int ends[2];
    sigset_t all, before;

    if (spec->n_pass_fds > SPAWN_PASS_FDS_MAX)
        return err_set(err, ERR_IO, "start %s: %zu descriptors to pass, at most %d", name_of(spec), spec->n_pass_fds,
                       SPAWN_PASS_FDS_MAX);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "start %s: make a pipe", name_of(spec));
    report_read = ends[0];
    report_write = ends[1];
    struct spawn_child child = { .spec = spec, .parent = getpid(), .report = report_write, .fn = fn, .arg = arg,
                                 .paths = fn ? NULL : paths_of(spec->argv[0], arena) };
    /* No handler of ours may run in the child. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fn ? fork_child(&child) : vfork_child(&child);
    int sys = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return err_sys(err, sys, "start %s: fork", name_of(spec));
    close(TAKE_FD(report_write));
    int rc = await_report(spec, report_read, pid, err);
    if (rc == 0)
        *ret_pid = pid;
    return rc;
}

/* PR_SET_PDEATHSIG means the thread that forked, and pool threads exit when idle: such a child gets a thread that
 * stays as long as it does. */
struct keeper {
    const struct spawn *spec;
    struct err *err;
    pid_t pid;
    int rc;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void *keeper_main(void *arg)
{
    struct keeper *k = arg;
    siginfo_t info;

    pthread_mutex_lock(&k->lock);
    k->rc = start(k->spec, NULL, NULL, &k->pid, k->err);
    pid_t pid = k->rc == 0 ? k->pid : -1;
    k->started = true;
    pthread_cond_signal(&k->changed);
    pthread_mutex_unlock(&k->lock); /* k is gone from here on */
    /* Leaves the zombie to who asked for the child; when that was faster there is none to wait for. */
    while (pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    return NULL;
}

static int start_with_keeper(const struct spawn *spec, pid_t *ret_pid, struct err *err)
{
    struct keeper k = { .spec = spec, .err = err, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, KEEPER_STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setsigmask_np(&attr, &all);
    int rc = pthread_create(&thread, &attr, keeper_main, &k);
    pthread_attr_destroy(&attr);
    if (rc)
        return err_sys(err, rc, "start %s: start a thread", name_of(spec));
    pthread_mutex_lock(&k.lock);
    while (!k.started)
        pthread_cond_wait(&k.changed, &k.lock);
    pthread_mutex_unlock(&k.lock);
    if (k.rc == 0)
        *ret_pid = k.pid;
    return k.rc;
}

int spawn_start(const struct spawn *spec, pid_t *ret_pid, struct err *err)
{
    assert(spec->argv && spec->argv[0]);
    return spec->die_with_parent ? start_with_keeper(spec, ret_pid, err) : start(spec, NULL, NULL, ret_pid, err);
}

/* Running to the end. */

struct run {
    int pidfd, in, out, err_out; /* our ends; -1: none */
    const struct bytes *input;
    size_t fed;
    struct buf out_buf, err_buf;
};

static void run_clear(struct run *r)
{
    int *fds[] = { &r->pidfd, &r->in, &r->out, &r->err_out };

    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (*fds[i] >= 0)
            close(TAKE_FD(*fds[i]));
    buf_clear(&r->out_buf);
    buf_clear(&r->err_buf);
}

static void auto_run(struct run *r)
{
    run_clear(r);
}

/* Makes a pipe; ours does not block. *ret_theirs is the child's end. */
static int make_pipe(bool we_write, int *ret_ours, int *ret_theirs, struct err *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, errno, "make a pipe");
    *ret_ours = ends[we_write];
    *ret_theirs = ends[!we_write];
    if (fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(err, errno, "make a pipe"); /* both ends have owners by now */
    return 0;
}

/* Feeds what fits. The end of input, or a child that reads no more, closes our end. */
static void feed(struct run *r)
{
    while (r->fed < r->input->n) {
        ssize_t n = write(r->in, r->input->at + r->fed, r->input->n - r->fed);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break; /* EPIPE: it does not want the rest */
        r->fed += (size_t)n;
    }
    close(TAKE_FD(r->in));
}

/* Reads what there is; what is over the limit is read and forgotten, or the child would hang. The end closes our end. */
static void drain(int *fd, struct buf *to)
{
    char data[READ_BYTES];

    for (;;) {
        ssize_t n = read(*fd, data, sizeof(data));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            break;
        size_t room = OUTPUT_MAX_BYTES - buf_len(to);
        buf_add(to, data, (size_t)n < room ? (size_t)n : room);
        if (n < (ssize_t)sizeof(data))
            return;
    }
    close(TAKE_FD(*fd));
}

/* Until the child has ended. What its descendants write later is not waited for. */
static int pump(struct ctx *ctx, struct run *r, struct err *err)
{
    for (;;) {
        struct pollfd fds[] = { { .fd = r->pidfd, .events = POLLIN }, { .fd = r->in, .events = POLLOUT },
                                { .fd = r->out, .events = POLLIN }, { .fd = r->err_out, .events = POLLIN } };
        int64_t left_ms = ctx_left_ms(ctx);
        int rc = ctx_check(ctx, err);

        if (rc < 0)
            return rc;
        if (ctx->cancel && left_ms > CANCEL_LOOK_MS)
            left_ms = CANCEL_LOOK_MS;
        if (poll(fds, ARRAY_LEN(fds), left_ms < INT32_MAX ? (int)left_ms : -1) < 0 && errno != EINTR)
            return err_sys(err, errno, "wait for the child");
        if (fds[1].revents)
            feed(r);
        if (fds[2].revents)
            drain(&r->out, &r->out_buf);
        if (fds[3].revents)
            drain(&r->err_out, &r->err_buf);
        if (fds[0].revents)
            break;
    }
    /* It wrote everything before it ended. */
    if (r->out >= 0)
        drain(&r->out, &r->out_buf);
    if (r->err_out >= 0)
        drain(&r->err_out, &r->err_buf);
    return 0;
}

static int start_piped(const struct spawn *spec, const struct bytes *input, int (*fn)(void *arg), void *arg, struct run *r,
                       pid_t *ret_pid, struct err *err)
{
    AUTO_FD int in = -1, out = -1, err_out = -1;
    struct spawn with = *spec;
    int rc = 0;

    if (input && spec->fd_in < 0) {
        rc = make_pipe(true, &r->in, &in, err);
        with.fd_in = in;
    }
    if (rc == 0 && spec->fd_out < 0) {
        rc = make_pipe(false, &r->out, &out, err);
        with.fd_out = out;
    }
    if (rc == 0 && spec->fd_err < 0) {
        rc = make_pipe(false, &r->err_out, &err_out, err);
        with.fd_err = err_out;
    }
    if (rc < 0)
        return err_wrap(err, "start %s", name_of(spec));
    return start(&with, fn, arg, ret_pid, err);
}

static int run_child(struct ctx *ctx, const struct spawn *spec, const struct bytes *input, int (*fn)(void *arg), void *arg,
                     struct spawn_result *ret, struct err *err)
{
    AUTO(run) struct run r = { .pidfd = -1, .in = -1, .out = -1, .err_out = -1, .input = input };
    pid_t pid = -1;
    int rc = ctx_check(ctx, err);

    if (rc == 0)
        rc = start_piped(spec, input, fn, arg, &r, &pid, err);
    if (rc < 0)
        return rc;
    r.pidfd = pidfd_open(pid, 0);
    rc = r.pidfd < 0 ? err_sys(err, errno, "watch the child") : pump(ctx, &r, err);
    if (rc < 0)
        kill(-pid, SIGKILL); /* the group exists: its leader is not reaped */
    int status = reap(pid);
    if (rc < 0)
        return err_wrap(err, "run %s", name_of(spec));
    ret->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    ret->out = buf_take(&r.out_buf);
    ret->err_out = buf_take(&r.err_buf);
    return 0;
}

int spawn_run(struct ctx *ctx, const struct spawn *spec, const struct bytes *input, struct spawn_result *ret,
              struct err *err)
{
    assert(spec->argv && spec->argv[0]);
    pool_wait_begin();
    int rc = run_child(ctx, spec, input, NULL, NULL, ret, err);
    pool_wait_end();
    return rc;
}

int spawn_call(struct ctx *ctx, const struct spawn *spec, int (*fn)(void *arg), void *arg, struct spawn_result *ret,
               struct err *err)
{
    pool_wait_begin();
    int rc = run_child(ctx, spec, NULL, fn, arg, ret, err);
    pool_wait_end();
    return rc;
}

void spawn_result_clear(struct spawn_result *r)
{
    bytes_unref(r->out);
    bytes_unref(r->err_out);
    *r = (struct spawn_result){ 0 };
}
