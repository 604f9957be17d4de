#include "lib/spawn_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

_Noreturn static void fail(int report, enum spawn_step step, int sys)
{
    struct spawn_failure f = { step, sys };

    if (write(report, &f, sizeof(f)) != (ssize_t)sizeof(f)) {
        /* the parent is gone */
    }
    _exit(127);
}

static void check(int rc, int report, enum spawn_step step)
{
    if (rc < 0)
        fail(report, step, errno);
}

/* Handlers are the parent's code; what it ignores (SIGPIPE) the program must not ignore. The system call itself, because
 * the C library's function leaves out its own signals, and they may be ignored too. */
static void reset_signals(void)
{
    static const char def[64]; /* the kernel's struct sigaction; SIG_DFL is 0 */
    sigset_t none;

    for (int sig = 1; sig < _NSIG; sig++)
        (void)syscall(SYS_rt_sigaction, sig, def, NULL, _NSIG / 8); /* KILL and STOP refuse */
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int join_cgroup(const char *procs)
{
    int fd = open(procs, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    int rc = write(fd, "0", 1) == 1 ? 0 : -1;
    int sys = errno;
    close(fd);
    errno = sys;
    return rc;
}

static int die_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -1;
    if (getppid() != parent)
        _exit(127); /* it died before the line above */
    return 0;
}

static void close_from(unsigned first)
{
    struct rlimit limit = { 0 };

    if (close_range(first, UINT_MAX, 0) == 0)
        return;
    /* Linux before 5.9 */
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t end = limit.rlim_cur < 1 << 20 ? limit.rlim_cur : 1 << 20;
    for (unsigned fd = first; fd < end; fd++)
        (void)close((int)fd);
}

/* A copy out of the way of 0 to `above`, or -1. */
static int lift(int fd, int above)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, above + 1);
}

/* 0, 1, 2 and 3, 4, … become what the spec says, the report end comes behind them, all others are closed.
 * Sources may themselves be numbers below that, so each is lifted above all targets first. */
static void place_fds(const struct spawn *s, int null, int *report)
{
    const int std[3] = { s->fd_in, s->fd_out, s->fd_err };
    int n = 3 + (int)s->n_pass_fds, low = n + 1, lifted[3 + SPAWN_PASS_FDS_MAX];

    int high = lift(*report, low);
    check(high, *report, SPAWN_FDS);
    *report = high;
    for (int i = 0; i < n; i++) {
        int from = i >= 3 ? s->pass_fds[i - 3] : std[i] >= 0 ? std[i] : null;

        lifted[i] = lift(from, low);
        check(lifted[i], *report, SPAWN_FDS);
    }
    for (int i = 0; i < n; i++)
        check(dup2(lifted[i], i), *report, SPAWN_FDS); /* the copy is not close-on-exec */
    check(dup3(*report, n, O_CLOEXEC), *report, SPAWN_FDS);
    *report = n;
    close_from((unsigned)n + 1);
}

_Noreturn static void run_program(const struct spawn_child *c, int report)
{
    const struct spawn *s = c->spec;
    char *const *env = s->env ? (char *const *)s->env : environ;
    int sys = ENOENT;

    for (size_t i = 0; c->paths[i]; i++) {
        execve(c->paths[i], (char *const *)s->argv, env);
        /* As execvp: a later folder may have it; a file that may not be run is the better message. */
        if (errno != ENOENT && errno != ENOTDIR)
            sys = errno;
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
            break;
    }
    fail(report, SPAWN_EXEC, sys);
}

void spawn_child_main(const struct spawn_child *c)
{
    const struct spawn *s = c->spec;
    int report = c->report;

    reset_signals();
    check(s->new_session ? (int)setsid() : setpgid(0, 0), report, SPAWN_SESSION);
    if (s->die_with_parent)
        check(die_with(c->parent), report, SPAWN_PARENT);
    if (s->cgroup_procs)
        check(join_cgroup(s->cgroup_procs), report, SPAWN_CGROUP);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    check(null, report, SPAWN_NULL);
    if (s->netns_fd >= 0)
        check(setns(s->netns_fd, CLONE_NEWNET), report, SPAWN_NETNS);
    if (s->mntns_fd >= 0)
        check(setns(s->mntns_fd, CLONE_NEWNS), report, SPAWN_MNTNS);
    check(chdir(s->cwd ? s->cwd : "/"), report, SPAWN_CWD);
    place_fds(s, null, &report);
    if (c->paths)
        run_program(c, report);
    close(report);
    _exit(c->fn(c->arg) & 0xff);
}
