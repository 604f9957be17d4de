#include "embed/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = SHIM_STRINGS_MAX + 32, ERROR_LOG_MAX = 64 * 1024 };

/* In the vforked child: nothing here may return. */
static void __attribute__((noreturn)) child_main(const char *program, char *const *argv, const int fds[3])
{
    static const int defaults[] = { SIGPIPE, SIGHUP, SIGTERM, SIGINT, SIGCHLD };
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the runtime's own children do not inherit it */
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
        signal(defaults[i], SIG_DFL);
    sigemptyset(&none);
    for (int i = 0; i < 3; i++) {
        int fd = fds[i] >= 0 ? fds[i] : open("/dev/null", O_RDWR);
        if (fd < 0 || (fd != i ? dup2(fd, i) : fcntl(fd, F_SETFD, 0)) < 0)
            _exit(125);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(program, argv);
    _exit(errno == ENOENT ? 127 : 126);
}

static __attribute__((noinline)) pid_t start(const char *program, char *const *argv, const int fds[3])
{
    pid_t pid = vfork();

    if (pid == 0)
        child_main(program, argv, fds);
    return pid;
}

int job_run(struct shim *sh, const struct job *like, const char *log, const char *const *args, const int fds[3])
{
    const char **argv = must(malloc(ARGS_MAX * sizeof(char *)));
    const char *const head[] = { sh->oci, "--root", sh->oci_root, "--log", log, "--log-format", "json" };
    int n = 0;

    for (; n < 7; n++)
        argv[n] = head[n];
    for (int i = 0; args[i] && n < ARGS_MAX - 1; i++)
        argv[n++] = args[i];
    argv[n] = NULL;
    struct job *j = must(malloc(sizeof(*j)));
    *j = *like;
    j->shim = sh;
    j->pid = start(sh->oci, (char *const *)argv, fds);
    int sys = errno;
    free(argv);
    if (j->pid < 0) {
        free(j);
        return sys;
    }
    j->next = sh->jobs;
    sh->jobs = j;
    return 0;
}

void jobs_kill(struct shim *sh)
{
    for (const struct job *j = sh->jobs; j; j = j->next)
        kill(j->pid, SIGKILL);
}

static bool job_reaped(struct shim *sh, pid_t pid, int status)
{
    for (struct job **at = &sh->jobs; *at; at = &(*at)->next) {
        struct job *j = *at;
        if (j->pid != pid)
            continue;
        *at = j->next;
        j->done(j, status);
        free(j);
        return true;
    }
    return false;
}

/* Children of children that ended: kept only while somebody may still ask for them. The newest win. */
static void orphan_keep(struct shim *sh, pid_t pid, int status)
{
    sh->orphans[sh->n_orphans++ % ORPHANS_MAX] = (struct orphan){ .pid = pid, .status = status };
}

bool orphan_take(struct shim *sh, pid_t pid, int *ret_status)
{
    size_t n = sh->n_orphans < ORPHANS_MAX ? sh->n_orphans : ORPHANS_MAX;

    for (size_t i = 0; i < n; i++)
        if (sh->orphans[i].pid == pid) {
            sh->orphans[i].pid = 0;
            *ret_status = sh->orphans[i].status;
            return true;
        }
    return false;
}

void jobs_reap(struct source *s, uint32_t events)
{
    struct shim *sh = (struct shim *)((char *)s - offsetof(struct shim, signals));
    char skip[512];
    int status;
    pid_t pid;

    (void)events;
    while (read(s->fd, skip, sizeof(skip)) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (job_reaped(sh, pid, status) || container_reaped(sh, pid, status) || session_reaped(sh, pid, status))
            continue;
        if (sh->jobs)
            orphan_keep(sh, pid, status);
    }
    if (!sh->jobs)
        sh->n_orphans = 0;
    if (sh->ending)
        shutdown_step(sh);
}

pid_t pid_from_file(const char *dir, const char *name)
{
    char path[512], text[32] = "";
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= sizeof(path))
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    unlink(path);
    return got > 0 ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* The text of a JSON member "msg" in one line, unescaped; what we do not decode (\uXXXX) stays as it is. */
static bool line_msg(const char *line, size_t n, char *to)
{
    const char *at = memmem(line, n, "\"msg\":\"", 7), *end = line + n;
    size_t out = 0;

    if (!at)
        return false;
    for (at += 7; at < end && *at != '"' && out < SHIM_TEXT_MAX; at++) {
        if (*at == '\\' && at + 1 < end) {
            at++;
            to[out++] = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
        } else {
            to[out++] = *at;
        }
    }
    to[out] = 0;
    return out > 0;
}

void job_error(const char *dir, const char *name, int status, char *to)
{
    char path[512], *text = must(malloc(ERROR_LOG_MAX + 1));
    ssize_t n = -1;
    int code, sig;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, ERROR_LOG_MAX);
        close(fd);
        unlink(path);
    }
    exit_status(status, &code, &sig);
    snprintf(to, SHIM_TEXT_MAX + 1, sig ? "the OCI runtime was killed by signal %d" : "the OCI runtime ended with status %d", sig ? sig : code);
    for (ssize_t start_at = 0; start_at < n;) {
        const char *line = text + start_at, *nl = memchr(line, '\n', (size_t)(n - start_at));
        size_t len = nl ? (size_t)(nl - line) : (size_t)(n - start_at);
        if (memmem(line, len, "\"level\":\"error\"", 15) || memmem(line, len, "\"level\":\"fatal\"", 15))
            line_msg(line, len, to);
        start_at += (ssize_t)len + 1;
    }
    free(text);
}

void exit_status(int status, int *ret_code, int *ret_signal)
{
    *ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    *ret_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
