#include "embed/shim/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 512, GRACE_S = 10 };

struct container *container_find(struct shim *sh, const char *id)
{
    for (struct container *c = sh->containers; c && id; c = c->next)
        if (strcmp(c->id, id) == 0)
            return c;
    return NULL;
}

static void close_streams(struct shim *sh, struct container *c)
{
    stream_drain(sh, &c->out);
    stream_drain(sh, &c->err);
    sink_close(&c->in);
    log_close(&c->log);
}

static void container_free(struct container *c)
{
    struct container **at = &c->shim->containers;

    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
    sessions_forget(c);
    close_streams(c->shim, c);
    free(c->log.path);
    free(c->id);
    free(c->bundle);
    free(c->cgroup);
    free(c);
}

/* Whether the kernel killed for memory in the folder of a memory cgroup: version 2's file, then version 1's. */
static bool oom_seen(const char *cgroup)
{
    static const char *const files[] = { "memory.events", "memory.oom_control" };

    for (int i = 0; i < 2 && *cgroup; i++) {
        char path[PATH_BYTES], text[512];
        snprintf(path, sizeof(path), "%s/%s", cgroup, files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t n = read(fd, text, sizeof(text) - 1);
        close(fd);
        text[n > 0 ? n : 0] = 0;
        const char *at = strstr(text, "oom_kill ");
        return at && strtol(at + 9, NULL, 10) > 0;
    }
    return false;
}

/* On disk before anyone hears of it. When that fails the agent is told all the same, and the record is lost with the shim. */
static void write_record(const struct container *c)
{
    char path[PATH_BYTES], tmp[PATH_BYTES], text[512];
    int n = snprintf(text, sizeof(text),
                     "{\"format\":1,\"pid\":%d,\"createdUs\":%lld,\"startedUs\":%lld,\"finishedUs\":%lld,\"exitCode\":%d,\"signal\":%d,\"oomKilled\":%s}\n",
                     c->pid, (long long)c->created_us, (long long)c->started_us, (long long)c->finished_us, c->exit_code, c->signal,
                     c->oom_killed ? "true" : "false");

    snprintf(path, sizeof(path), "%s/exit.json", c->bundle);
    snprintf(tmp, sizeof(tmp), "%s/exit.json.tmp", c->bundle);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    bool good = write(fd, text, (size_t)n) == n && fsync(fd) == 0;
    close(fd);
    if (!good || rename(tmp, path) < 0)
        return;
    fd = open(c->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fsync(fd) < 0)
        unlink(tmp); /* nothing to undo: the record is in place, only not surely durable */
    close(fd);
}

static void deleted(struct job *j, int status);

/* Makes the OCI runtime forget it: state and cgroups go. --force also kills what runs on in its cgroup. */
static void begin_delete(struct container *c)
{
    static const int none[3] = { -1, -1, -1 };
    const char *const args[] = { "delete", "--force", c->id, NULL };
    struct job j = { .done = deleted, .arg = c };
    char log[PATH_BYTES];

    snprintf(log, sizeof(log), "%s/delete.log", c->bundle);
    int sys = job_run(c->shim, &j, log, args, none);
    if (sys == 0)
        return;
    if (c->remover.conn)
        reply(c->shim, c->remover, sys, "start the OCI runtime", NULL, 0, -1);
    c->remover = (struct asker){ 0 };
    c->deleted = c->shim->ending; /* else the agent asks again */
}

static void deleted(struct job *j, int status)
{
    struct container *c = j->arg;
    char text[SHIM_TEXT_MAX + 1];

    job_error(c->bundle, "delete.log", status, text);
    c->deleted = status == 0 || c->shim->ending;
    struct asker a = c->remover;
    c->remover = (struct asker){ 0 };
    if (a.conn && c->deleted)
        container_free(c);
    if (a.conn)
        reply(j->shim, a, status == 0 ? 0 : EIO, text, NULL, 0, -1);
}

static bool deleting(const struct container *c)
{
    for (const struct job *j = c->shim->jobs; j; j = j->next)
        if (j->arg == c && j->done == deleted)
            return true;
    return false;
}

static void container_exit(struct container *c, int status)
{
    c->state = SHIM_STATE_EXITED;
    c->finished_us = wall_us();
    exit_status(status, &c->exit_code, &c->signal);
    c->oom_killed = c->exit_code != 0 && oom_seen(c->cgroup);
    close_streams(c->shim, c);
    if (!c->shim->ending) /* then the record goes next */
        write_record(c);
    tell_container(c->shim, c);
    sessions_of_exited(c);
    begin_delete(c);
}

bool container_reaped(struct shim *sh, pid_t pid, int status)
{
    for (struct container *c = sh->containers; c; c = c->next)
        if (c->state == SHIM_STATE_RUNNING && c->pid == pid) {
            container_exit(c, status);
            return true;
        }
    return false;
}

/* Start. */

struct starting {
    struct container *c;
    struct console console;
};

static void start_failed(struct container *c, struct asker a, int sys, const char *text, bool dirty)
{
    struct shim *sh = c->shim;

    if (asker_there(sh, a) && !dirty) {
        container_free(c);
        reply(sh, a, sys, text, NULL, 0, -1);
        return;
    }
    /* Who asked is gone, or the runtime was killed in the middle: it stays as one that ended. */
    c->state = SHIM_STATE_EXITED;
    c->finished_us = wall_us();
    c->exit_code = 128;
    c->deleted = !dirty;
    close_streams(sh, c);
    write_record(c);
    tell_container(sh, c);
    reply(sh, a, sys, text, NULL, 0, -1);
    if (dirty)
        begin_delete(c);
}

static void take_terminal(struct container *c, struct console *console)
{
    int master = console_take(console, "console.sock");

    if (master < 0)
        return;
    stream_open(c->shim, &c->out, master);
    if (c->flags & SHIM_IN)
        sink_open(&c->in, fcntl(master, F_DUPFD_CLOEXEC, 3));
}

static void start_done(struct job *j, int status)
{
    struct starting *st = j->arg;
    struct container *c = st->c;
    char text[SHIM_TEXT_MAX + 1];
    int ended;

    if (c->flags & SHIM_TTY)
        take_terminal(c, &st->console);
    free(st);
    job_error(c->bundle, "runtime.log", status, text);
    c->pid = pid_from_file(c->bundle, "init.pid");
    if (status != 0 || c->pid <= 0) {
        start_failed(c, j->asker, EIO, text, WIFSIGNALED(status));
        return;
    }
    c->state = SHIM_STATE_RUNNING;
    c->started_us = wall_us();
    if (asker_there(j->shim, j->asker))
        reply(j->shim, j->asker, 0, "", (const int64_t[]){ c->pid, c->created_us, c->started_us }, 3, -1);
    else
        tell_container(j->shim, c);
    if (orphan_take(j->shim, c->pid, &ended))
        container_exit(c, ended);
}

/* Makes both ends; ours goes to `ours`, theirs is returned. */
static int pipe_for(int ours_index, int *ours)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ours = ends[ours_index];
    fd_nonblock(*ours);
    return ends[1 - ours_index];
}

static void make_pipes(struct container *c, int fds[3])
{
    int ours = -1;

    if (c->flags & SHIM_IN && (fds[0] = pipe_for(1, &ours)) >= 0)
        sink_open(&c->in, ours);
    if ((fds[1] = pipe_for(0, &ours)) >= 0)
        stream_open(c->shim, &c->out, ours);
    if ((fds[2] = pipe_for(0, &ours)) >= 0)
        stream_open(c->shim, &c->err, ours);
}

static int run(struct container *c, struct asker a)
{
    struct starting *st = must(malloc(sizeof(*st)));
    struct job j = { .done = start_done, .arg = st, .asker = a };
    char log[PATH_BYTES], pid_file[PATH_BYTES], console[CONSOLE_PATH_BYTES];
    const char *args[10] = { "run", "--detach", "--bundle", c->bundle, "--pid-file", pid_file, c->id };
    int fds[3] = { -1, -1, -1 }, sys = 0;

    *st = (struct starting){ .c = c, .console = { -1, -1 } };
    snprintf(log, sizeof(log), "%s/runtime.log", c->bundle);
    snprintf(pid_file, sizeof(pid_file), "%s/init.pid", c->bundle);
    if (c->flags & SHIM_TTY) {
        sys = console_listen(&st->console, c->bundle, "console.sock", console);
        args[6] = "--console-socket";
        args[7] = console;
        args[8] = c->id;
    } else {
        make_pipes(c, fds);
        sys = fds[1] < 0 || fds[2] < 0 ? EMFILE : 0;
    }
    if (sys == 0)
        sys = job_run(c->shim, &j, log, args, fds);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (sys == 0)
        return 0;
    console_take(&st->console, "console.sock");
    free(st);
    return sys;
}

void container_start(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings)
{
    const char *id = shim_strings_next(&strings), *bundle = shim_strings_next(&strings), *log_path = shim_strings_next(&strings),
               *cgroup = shim_strings_next(&strings);
    int n = 0;

    for (struct container *c = sh->containers; c; c = c->next)
        n++;
    if (!log_path || !*id || strlen(bundle) > PATH_BYTES - 64 || (cgroup && strlen(cgroup) > PATH_BYTES - 64) || n >= CONTAINERS_MAX ||
        container_find(sh, id)) {
        reply(sh, a, !log_path || !*id ? EINVAL : n >= CONTAINERS_MAX ? E2BIG : container_find(sh, id) ? EEXIST : ENAMETOOLONG, NULL, NULL, 0, -1);
        return;
    }
    struct container *c = must(calloc(1, sizeof(*c)));
    *c = (struct container){ .shim = sh, .id = must_dup(id), .bundle = must_dup(bundle), .cgroup = must_dup(cgroup), .flags = (int)f->num[0],
                             .created_us = wall_us(), .log = { .fd = -1, .path = must_dup(log_path), .max_bytes = f->num[1], .max_files = (int)f->num[2] },
                             .out = { .src.fd = -1, .c = c, .name = "stdout" }, .err = { .src.fd = -1, .c = c, .name = "stderr" },
                             .in = { .src.fd = -1, .c = c } };
    c->next = sh->containers;
    sh->containers = c;
    int sys = log_open(&c->log);
    if (sys) {
        char text[SHIM_TEXT_MAX + 1];
        snprintf(text, sizeof(text), "open log file %s: %s", log_path, strerror(sys));
        start_failed(c, a, sys, text, false);
    } else if ((sys = run(c, a))) {
        start_failed(c, a, sys, "start the OCI runtime", false);
    }
}

/* The rest of its life. */

void container_kill(struct shim *sh, struct asker a, const struct shim_frame *f, struct shim_strings strings)
{
    struct container *c = container_find(sh, shim_strings_next(&strings));

    /* We are its reaper, so the pid is its own until we say that it ended. */
    if (!c || c->state != SHIM_STATE_RUNNING)
        reply(sh, a, c && c->state == SHIM_STATE_CREATED ? EAGAIN : ESRCH, NULL, NULL, 0, -1);
    else
        reply(sh, a, kill(c->pid, (int)f->num[0]) < 0 ? errno : 0, NULL, NULL, 0, -1);
}

void container_remove(struct shim *sh, struct asker a, struct shim_strings strings)
{
    struct container *c = container_find(sh, shim_strings_next(&strings));

    if (!c) {
        reply(sh, a, 0, "", NULL, 0, -1);
    } else if (c->state != SHIM_STATE_EXITED) {
        reply(sh, a, EBUSY, "the container is running", NULL, 0, -1);
    } else if (c->deleted) {
        container_free(c);
        reply(sh, a, 0, "", NULL, 0, -1);
    } else {
        if (c->remover.conn)
            reply(sh, c->remover, EALREADY, NULL, NULL, 0, -1);
        c->remover = a;
        if (!deleting(c))
            begin_delete(c);
    }
}

void container_rotate(struct shim *sh, struct asker a, struct shim_strings strings)
{
    struct container *c = container_find(sh, shim_strings_next(&strings));

    if (!c || c->log.fd < 0)
        reply(sh, a, ESRCH, NULL, NULL, 0, -1);
    else
        reply(sh, a, log_reopen(&c->log), NULL, NULL, 0, -1);
}

static void grace_over(struct source *s, uint32_t events)
{
    uint64_t n;

    (void)events;
    if (read(s->fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
        jobs_kill((struct shim *)((char *)s - offsetof(struct shim, grace)));
}

/* Runs of the OCI runtime end by themselves in a fraction of a second; one that hangs must not keep the pod. */
static void arm_grace(struct shim *sh)
{
    struct itimerspec t = { .it_value.tv_sec = GRACE_S, .it_interval.tv_sec = GRACE_S };
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    sh->grace.ready = grace_over;
    if (fd >= 0 && (timerfd_settime(fd, 0, &t, NULL) < 0 || source_add(sh, &sh->grace, fd, EPOLLIN) != 0))
        close(fd); /* then the agent's patience decides */
}

void shutdown_begin(struct shim *sh, struct asker a)
{
    if (!sh->ending)
        arm_grace(sh);
    sh->ending = true;
    sh->ender = a;
    shutdown_step(sh);
}

/* Called after everything that ended: when nothing is left, so do we. */
void shutdown_step(struct shim *sh)
{
    struct container *next;

    for (struct container *c = sh->containers; c; c = next) {
        next = c->next;
        if (c->state == SHIM_STATE_RUNNING && !c->killed)
            c->killed = kill(c->pid, SIGKILL) == 0;
        else if (c->state == SHIM_STATE_EXITED && c->deleted)
            container_free(c);
        else if (c->state == SHIM_STATE_EXITED && !deleting(c))
            begin_delete(c);
    }
    if (sh->containers || sh->jobs)
        return;
    reply(sh, sh->ender, 0, "", NULL, 0, -1);
    sh->ended = true;
}
