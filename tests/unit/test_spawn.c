#include "lib/spawn.h"

#include "lib/mem.h"
#include "lib/pool.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SH(script) ((const char *const[]){ "sh", "-c", (script), NULL })

static struct spawn_result run_in(struct spawn *s, const struct bytes *input)
{
    struct ctx ctx = ctx_background(NULL);
    struct spawn_result r = { 0 };
    struct err err = { 0 };

    if (spawn_run(&ctx, s, input, &r, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return r;
}

/* Runs a shell script; its output must be `want`. */
static void shell(struct spawn *s, const char *script, const char *want)
{
    s->argv = SH(script);
    struct spawn_result r = run_in(s, NULL);
    CHECK_STR(r.err_out->at, "");
    CHECK_STR(r.out->at, want);
    CHECK_INT(r.exit_code, 0);
    spawn_result_clear(&r);
}

TEST(spawn_gives_output_and_exit_code)
{
    struct spawn s = SPAWN_INIT;

    s.argv = SH("echo out; echo err >&2; exit 7");
    struct spawn_result r = run_in(&s, NULL);
    CHECK_INT(r.exit_code, 7);
    CHECK_STR(r.out->at, "out\n");
    CHECK_STR(r.err_out->at, "err\n");
    spawn_result_clear(&r);
    s.argv = SH("kill -TERM $$");
    r = run_in(&s, NULL);
    CHECK_INT(r.exit_code, 128 + SIGTERM);
    spawn_result_clear(&r);
}

TEST(spawn_feeds_input)
{
    enum { N = 700 * 1024 };
    struct spawn s = SPAWN_INIT;
    char *data = mem_alloc(N);

    for (int i = 0; i < N; i++)
        data[i] = (char)(i * 7 + i / 256);
    struct bytes *input = bytes_new(data, N);
    s.argv = (const char *const[]){ "cat", NULL };
    struct spawn_result r = run_in(&s, input);
    CHECK_INT(r.out->n, N);
    CHECK(memcmp(r.out->at, data, N) == 0);
    spawn_result_clear(&r);
    signal(SIGPIPE, SIG_IGN);
    s.argv = SH("exec <&-; echo no thanks");
    r = run_in(&s, input);
    CHECK_STR(r.out->at, "no thanks\n");
    spawn_result_clear(&r);
    bytes_unref(input);
    free(data);
}

TEST(spawn_cuts_output)
{
    struct spawn s = SPAWN_INIT;

    s.argv = SH("head -c 1048576 /dev/zero");
    struct spawn_result r = run_in(&s, NULL);
    CHECK_INT(r.out->n, 1048576);
    spawn_result_clear(&r);
    s.argv = SH("head -c 1048577 /dev/zero; head -c 3000000 /dev/zero >&2; exit 3");
    r = run_in(&s, NULL);
    CHECK_INT(r.out->n, 1048576);
    CHECK_INT(r.err_out->n, 1048576);
    CHECK_INT(r.exit_code, 3);
    spawn_result_clear(&r);
}

static bool alive(pid_t pid)
{
    return kill(pid, 0) == 0;
}

static pid_t number_in(const char *path)
{
    char text[32] = "";
    FILE *f = fopen(path, "re");

    CHECK(f && fgets(text, sizeof(text), f));
    fclose(f);
    return (pid_t)strtol(text, NULL, 10);
}

/* The whole group goes, also what ignores SIGTERM. */
TEST(spawn_kills_the_group_at_the_deadline)
{
    struct ctx ctx = ctx_background(NULL), soon = ctx_with_timeout(&ctx, 300);
    struct spawn s = SPAWN_INIT;
    struct spawn_result r = { 0 };
    struct err err = { 0 };
    char dir[] = "/tmp/test_spawn.XXXXXX", path[64];

    CHECK(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/pid", dir);
    s.argv = SH("trap '' TERM; sleep 1000 & echo $! >pid; wait");
    s.cwd = dir;
    CHECK_INT(spawn_run(&soon, &s, NULL, &r, &err), -ERR_TIMEOUT);
    CHECK_STR(err.msg, "run sh: context deadline exceeded");
    CHECK(!r.out);
    pid_t sleeper = number_in(path);
    while (alive(sleeper)) { /* init reaps it; the test's time limit ends this */
        char state[64];
        snprintf(state, sizeof(state), "/proc/%d/stat", (int)sleeper);
        FILE *f = fopen(state, "re");
        char c = 'X';
        if (f && fscanf(f, "%*d %*s %c", &c) != 1)
            c = 'X';
        if (f)
            fclose(f);
        if (c == 'Z' || c == 'X')
            break;
        usleep(1000);
    }
    unlink(path);
    rmdir(dir);
}

static void *set_later(void *arg)
{
    usleep(100000);
    atomic_store((_Atomic bool *)arg, true);
    return NULL;
}

TEST(spawn_stops_when_cancelled)
{
    struct ctx_cancel cancel = { false };
    struct ctx ctx = ctx_background(NULL);
    struct spawn s = SPAWN_INIT;
    struct spawn_result r = { 0 };
    struct err err = { 0 };
    pthread_t t;

    ctx.cancel = &cancel;
    s.argv = (const char *const[]){ "sleep", "1000", NULL };
    CHECK_INT(pthread_create(&t, NULL, set_later, &cancel.set), 0);
    CHECK_INT(spawn_run(&ctx, &s, NULL, &r, &err), -ERR_CANCELED);
    pthread_join(t, NULL);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1); /* reaped */
    CHECK_INT(spawn_run(&ctx, &s, NULL, &r, &err), -ERR_CANCELED);
}

TEST(spawn_does_not_wait_for_who_outlives_the_child)
{
    struct spawn s = SPAWN_INIT;

    s.argv = SH("sleep 20 & echo $!");
    struct spawn_result r = run_in(&s, NULL);
    pid_t sleeper = (pid_t)strtol(r.out->at, NULL, 10);
    CHECK(sleeper > 1);
    CHECK(alive(sleeper));
    kill(sleeper, SIGKILL);
    spawn_result_clear(&r);
}

static void refused(struct spawn *s, enum err_code code, const char *msg)
{
    struct err err = { 0 };
    pid_t pid = -1;

    CHECK_INT(spawn_start(s, &pid, &err), -(int)code);
    CHECK_STR(err.msg, msg);
    CHECK_INT(pid, -1);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
}

TEST(spawn_says_what_failed)
{
    struct spawn s = SPAWN_INIT;

    s.argv = (const char *const[]){ "no-such-program", NULL };
    refused(&s, ERR_NOT_FOUND, "start no-such-program: no such program");
    s.argv = (const char *const[]){ "/no/such", NULL };
    refused(&s, ERR_NOT_FOUND, "start /no/such: no such program");
    s.argv = (const char *const[]){ "/etc/passwd", NULL };
    refused(&s, ERR_FORBIDDEN, "start /etc/passwd: run it: Permission denied");
    s.argv = SH("true");
    s.cwd = "/no/such";
    refused(&s, ERR_IO, "start sh: change to its directory: No such file or directory");
    s.cwd = NULL;
    s.cgroup_procs = "/no/such/cgroup.procs";
    refused(&s, ERR_IO, "start sh: move it into its cgroup: No such file or directory");
    s.cgroup_procs = NULL;
    s.netns_fd = 0;
    refused(&s, ERR_IO, "start sh: enter its network namespace: Invalid argument");
    s.netns_fd = -1;
    s.fd_out = 999;
    refused(&s, ERR_IO, "start sh: set up its descriptors: Bad file descriptor");
    s.fd_out = -1;
    s.n_pass_fds = SPAWN_PASS_FDS_MAX + 1;
    refused(&s, ERR_IO, "start sh: 33 descriptors to pass, at most 32");
    s.n_pass_fds = 0;
    s.die_with_parent = true;
    s.argv = (const char *const[]){ "no-such-program", NULL };
    refused(&s, ERR_NOT_FOUND, "start no-such-program: no such program");
}

TEST(spawn_looks_in_the_whole_path)
{
    struct spawn s = SPAWN_INIT;

    setenv("PATH", "/no/such::relative:/etc/passwd:/usr/bin:/bin", 1);
    shell(&s, "echo here", "here\n");
    unsetenv("PATH");
    shell(&s, "echo here", "here\n");
}

TEST(spawn_passes_environment_and_directory)
{
    struct spawn s = SPAWN_INIT;

    setenv("SPAWN_TEST", "ours", 1);
    shell(&s, "echo $SPAWN_TEST; pwd", "ours\n/\n");
    s.env = (const char *const[]){ "SPAWN_TEST=theirs", "PATH=/bin:/usr/bin", NULL };
    s.cwd = "/usr";
    shell(&s, "echo $SPAWN_TEST; pwd", "theirs\n/usr\n");
}

/* Signals are as for a fresh program, whatever this process ignores or blocks. */
TEST(spawn_resets_signals)
{
    struct spawn s = SPAWN_INIT;
    sigset_t all;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    s.argv = (const char *const[]){ "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status", NULL };
    struct spawn_result r = run_in(&s, NULL);
    CHECK_STR(r.out->at, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    spawn_result_clear(&r);
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR2));
    CHECK(signal(SIGPIPE, SIG_DFL) == SIG_IGN); /* ours is untouched */
}

TEST(spawn_passes_only_what_is_asked)
{
    struct spawn s = SPAWN_INIT;
    int leak = open("/etc/passwd", O_RDONLY); /* without close-on-exec */

    shell(&s, "cd /proc/self/fd && for f in *; do echo $f; done", "0\n1\n2\n3\n"); /* 3: the shell reads the folder */
    close(leak);
}

/* Numbers that are each other's targets, and a standard one among them. */
TEST(spawn_moves_descriptors_that_collide)
{
    struct spawn s = SPAWN_INIT;
    int fds[3];

    for (int i = 0; i < 3; i++) {
        char text = (char)('a' + i);
        char file[] = "/tmp/test_spawn.XXXXXX";
        fds[i] = mkostemp(file, O_CLOEXEC);
        CHECK(fds[i] >= 3);
        unlink(file);
        CHECK(write(fds[i], &text, 1) == 1);
        lseek(fds[i], 0, SEEK_SET);
    }
    int given[] = { fds[2], fds[0], fds[1] }; /* become 3, 4, 5: in part the same numbers */
    s.pass_fds = given;
    s.n_pass_fds = 3;
    shell(&s, "cat <&3; cat <&4; cat <&5", "cab");
    lseek(fds[0], 0, SEEK_SET);
    s.n_pass_fds = 0;
    s.fd_in = fds[0];
    shell(&s, "cat", "a");
    int into[2];
    CHECK_INT(pipe2(into, O_CLOEXEC), 0);
    s.fd_in = -1;
    s.fd_out = s.fd_err = into[1];
    s.argv = SH("echo one; echo two >&2");
    struct spawn_result r = run_in(&s, NULL);
    char got[32] = "";
    CHECK_INT(read(into[0], got, sizeof(got) - 1), 8);
    CHECK_STR(got, "one\ntwo\n");
    CHECK_INT(r.out->n, 0);
    spawn_result_clear(&r);
    close(into[0]);
    close(into[1]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

TEST(spawn_makes_a_group_or_a_session)
{
    struct spawn s = SPAWN_INIT;

    /* fields 5 and 6 of stat: group and session */
    shell(&s, "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 != $$ ] && echo yes", "yes\n");
    s.new_session = true;
    shell(&s, "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] && echo yes", "yes\n");
}

TEST(spawn_joins_a_cgroup)
{
    struct spawn s = SPAWN_INIT;
    char name[] = "/tmp/test_spawn.XXXXXX", text[8] = "";
    int fd = mkostemp(name, O_CLOEXEC);

    s.cgroup_procs = name;
    shell(&s, "echo $$ >/dev/null", "");
    CHECK_INT(read(fd, text, sizeof(text) - 1), 1);
    CHECK_STR(text, "0"); /* the writer itself, in cgroup.procs' language */
    close(fd);
    unlink(name);
}

/* A network or mount namespace of a child that waits until its pipe closes. */
static int namespace_of_child(int flags, const char *name, pid_t *ret_pid, int *ret_hold)
{
    int hold[2], ready[2];
    char c, path[64];

    CHECK_INT(pipe2(hold, O_CLOEXEC), 0);
    CHECK_INT(pipe2(ready, O_CLOEXEC), 0);
    *ret_pid = fork();
    if (*ret_pid == 0) {
        close(hold[1]);
        close(ready[0]);
        if (unshare(flags) < 0 || write(ready[1], "r", 1) != 1)
            _exit(1);
        _exit(read(hold[0], &c, 1) != 0);
    }
    close(hold[0]);
    close(ready[1]);
    ssize_t n = read(ready[0], &c, 1);
    close(ready[0]);
    *ret_hold = hold[1];
    if (n != 1)
        return -1;
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)*ret_pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void namespace_end(int fd, pid_t pid, int hold)
{
    if (fd >= 0)
        close(fd);
    close(hold);
    waitpid(pid, NULL, 0);
}

static int tell_net(void *arg)
{
    char link[64];
    ssize_t n = readlink("/proc/self/ns/net", link, sizeof(link));

    (void)arg;
    return n < 0 || write(1, link, (size_t)n) != n;
}

TEST(spawn_enters_namespaces)
{
    struct spawn s = SPAWN_INIT;
    struct spawn_result r = { 0 };
    struct err err = { 0 };
    struct ctx ctx = ctx_background(NULL);
    pid_t net_pid, mnt_pid;
    int net_hold, mnt_hold;
    char ours[64] = "", want[64] = "";
    int net = namespace_of_child(CLONE_NEWNET, "net", &net_pid, &net_hold);
    int mnt = namespace_of_child(CLONE_NEWNS, "mnt", &mnt_pid, &mnt_hold);

    if (net < 0 || mnt < 0) {
        printf("# skipped: no namespaces may be made here\n");
    } else {
        snprintf(want, sizeof(want), "/proc/%d/ns/net", (int)net_pid);
        ssize_t n = readlink(want, ours, sizeof(ours) - 1);
        CHECK(n > 0);
        s.netns_fd = net;
#ifndef __SANITIZE_THREAD__ /* its helper thread shares our file system state, and then no mount namespace may be entered */
        s.mntns_fd = mnt;
#endif
        s.argv = (const char *const[]){ "readlink", "/proc/self/ns/net", NULL };
        r = run_in(&s, NULL);
        CHECK(strncmp(r.out->at, ours, (size_t)n) == 0);
        spawn_result_clear(&r);
        CHECK_INT(spawn_call(&ctx, &s, tell_net, NULL, &r, &err), 0);
        CHECK_INT(r.exit_code, 0);
        CHECK_STR(r.out->at, ours);
        spawn_result_clear(&r);
        n = readlink("/proc/self/ns/net", want, sizeof(want) - 1);
        CHECK(n > 0 && strcmp(want, ours) != 0); /* we stayed */
    }
    namespace_end(mnt, mnt_pid, mnt_hold); /* first: it holds a copy of net_hold */
    namespace_end(net, net_pid, net_hold);
}

struct call {
    int a, b;
};

static int on_call(void *arg)
{
    struct call *c = arg;
    char text[8];

    /* 3 is what was passed, 4 is closed again: the report's end */
    if (read(3, text, 2) != 2 || fcntl(4, F_GETFD) != -1 || write(1, text, 2) != 2)
        return 1;
    c->a = 99;
    return c->b;
}

TEST(spawn_calls_a_function_in_a_child)
{
    struct spawn s = SPAWN_INIT;
    struct spawn_result r = { 0 };
    struct err err = { 0 };
    struct ctx ctx = ctx_background(NULL);
    struct call call = { 1, 200 };
    int p[2];

    CHECK_INT(pipe2(p, O_CLOEXEC), 0);
    CHECK(write(p[1], "hi", 2) == 2);
    s.pass_fds = &p[0];
    s.n_pass_fds = 1;
    CHECK_INT(spawn_call(&ctx, &s, on_call, &call, &r, &err), 0);
    CHECK_INT(r.exit_code, 200);
    CHECK_STR(r.out->at, "hi");
    CHECK_INT(call.a, 1); /* memory of its own */
    spawn_result_clear(&r);
    close(p[0]);
    close(p[1]);
}

/* The thread that asked for the child exits, and the child stays; the process ends, and the child goes. */
struct tied {
    pid_t pid;
    int rc;
    struct err err;
};

static void *start_tied(void *arg)
{
    struct tied *t = arg;
    struct spawn s = SPAWN_INIT;

    s.argv = (const char *const[]){ "sleep", "1000", NULL };
    s.die_with_parent = true;
    t->rc = spawn_start(&s, &t->pid, &t->err);
    return NULL;
}

TEST(spawn_tied_child_dies_with_the_process_not_the_thread)
{
    int p[2], status;
    pid_t pid = 0;

    CHECK_INT(pipe2(p, O_CLOEXEC), 0);
    pid_t middle = fork();
    if (middle == 0) {
        struct tied t = { .pid = -1 };
        pthread_t thread;
        if (pthread_create(&thread, NULL, start_tied, &t) || pthread_join(thread, NULL) || t.rc < 0)
            _exit(1);
        usleep(100000);
        if (waitpid(t.pid, &status, WNOHANG) != 0) /* still there */
            _exit(2);
        _exit(write(p[1], &t.pid, sizeof(t.pid)) != sizeof(t.pid));
    }
    close(p[1]);
    CHECK_INT(waitpid(middle, &status, 0), middle);
    CHECK_INT(status, 0);
    CHECK_INT(read(p[0], &pid, sizeof(pid)), sizeof(pid));
    close(p[0]);
    char path[64], text[64] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    for (FILE *f; (f = fopen(path, "re")) != NULL; usleep(1000)) { /* gone, or a zombie of init's */
        if (!fgets(text, sizeof(text), f))
            text[0] = '\0';
        fclose(f);
        if (strstr(text, ") Z") || strstr(text, ") X") || !text[0])
            break;
    }
}

static void run_true(void *arg)
{
    struct spawn s = SPAWN_INIT;

    s.argv = SH("echo x; exit 4");
    struct spawn_result r = run_in(&s, NULL);
    CHECK_INT(r.exit_code, 4);
    CHECK_STR(r.out->at, "x\n");
    spawn_result_clear(&r);
    atomic_fetch_add((_Atomic int *)arg, 1);
}

TEST(spawn_from_many_threads)
{
    struct pool *p = NULL;
    struct err err = { 0 };
    _Atomic int n = 0;

    CHECK_INT(pool_new(&(struct pool_options){ .permits = 2, .threads_max = 8 }, &p, &err), 0);
    for (int i = 0; i < 100; i++)
        CHECK_INT(pool_run(p, run_true, (void *)&n, &err), 0);
    pool_free(p);
    CHECK_INT(n, 100);
}
