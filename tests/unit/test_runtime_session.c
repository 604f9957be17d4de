#include "runtime_fixture.h"

#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Reads until the text has come or the end; fails after 10 s. */
static void read_until(int fd, struct buf *to, const char *text)
{
    char at[4096];

    for (int64_t until = rig_ms() + 10000; rig_ms() < until;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (text && strstr(buf_at(to), text))
            return;
        poll(&p, 1, 1000);
        ssize_t n = read(fd, at, sizeof(at));
        if (n > 0)
            buf_add(to, at, (size_t)n);
        else if (n == 0 && !text)
            return;
        else if (n == 0 || errno != EAGAIN)
            break;
    }
    fprintf(stderr, "did not come: %s\ngot: %s (%s)\n", text ? text : "the end", buf_at(to), strerror(errno));
    exit(1);
}

static void session_close(struct runtime_session *s)
{
    const int fds[] = { s->fd_in, s->fd_out, s->fd_err, s->fd_control };

    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static struct runtime_session open_session(struct rig *r, const char *id, const char *const *argv, bool tty, bool in)
{
    struct runtime_session_spec spec = { .pod_uid = r->pod, .id = id, .argv = argv, .tty = tty, .in = in, .out = true, .err = true };
    struct runtime_session s;
    struct err err = { 0 };

    if (runtime_session(&r->ctx, r->rt, &spec, &s, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return s;
}

static void expect(int fd, const char *text)
{
    AUTO(buf) struct buf b = { 0 };

    read_until(fd, &b, text);
}

TEST(runtime_exec_sync)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    struct runtime_answer answer;

    rig_sandbox(r);
    rig_run(r, "c1", "exec /bin/busybox sleep 100");
    const char *const argv[] = { "/bin/sh", "-c", "echo probe $GREETING; exit 2", NULL };
    int64_t before = rig_ms();
    CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, "c1", argv, &answer, &err), 0);
    printf("# exec took %lld ms\n", (long long)(rig_ms() - before));
    CHECK_STR(answer.output->at, "probe hello\n");
    CHECK_INT(answer.exit_code, 2);
    bytes_unref(answer.output);
    /* More than is kept: the command ends all the same. */
    const char *const much[] = { "/bin/busybox", "seq", "1", "100000", NULL };
    CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, "c1", much, &answer, &err), 0);
    CHECK_INT(answer.output->n, 16384);
    CHECK_INT(answer.exit_code, 0);
    bytes_unref(answer.output);
    const char *const missing[] = { "nosuch", NULL };
    CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, "c1", missing, &answer, &err), -ERR_INVALID);
    CHECK_STR(err.msg, "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuch\": executable file not found in $PATH: unknown");
    /* One that flies past, many times: its end must not be lost. */
    const char *const quick[] = { "/bin/busybox", "true", NULL };
    for (int i = 0; i < 10; i++) {
        CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, "c1", quick, &answer, &err), 0);
        CHECK_INT(answer.exit_code, 0);
        bytes_unref(answer.output);
    }
    const char *const slow[] = { "/bin/busybox", "sleep", "50", NULL };
    struct ctx ctx = ctx_with_timeout(&r->ctx, 300);
    before = rig_ms();
    CHECK_INT(runtime_exec_sync(&ctx, r->rt, r->pod, "c1", slow, &answer, &err), -ERR_TIMEOUT);
    CHECK(rig_ms() - before < 2000);
    /* It was killed. */
    const char *const count[] = { "/bin/sh", "-c", "/bin/busybox ps | /bin/busybox grep -c 'sleep 50$'", NULL };
    bool left = true;
    for (int i = 0; i < 50 && left; i++) {
        if (runtime_exec_sync(&r->ctx, r->rt, r->pod, "c1", count, &answer, &err) < 0) { fprintf(stderr, "%s\n", err.msg); exit(1); }
        left = strcmp(answer.output->at, "0\n") != 0;
        bytes_unref(answer.output);
    }
    CHECK(!left);
    CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, "nope", quick, &answer, &err), -ERR_NOT_FOUND);
    rig_close(r);
}

TEST(runtime_exec_session)
{
    struct rig *r = rig_open();

    rig_sandbox(r);
    rig_run(r, "c1", "exec /bin/busybox sleep 100");
    const char *const argv[] = { "/bin/sh", "-c", "/bin/busybox cat; echo end >&2; echo dev > /dev/stdout; exit 9", NULL };
    struct runtime_session s = open_session(r, "c1", argv, false, true);
    CHECK_INT(write(s.fd_in, "ping\n", 5), 5);
    expect(s.fd_out, "ping\n");
    close(s.fd_in);
    s.fd_in = -1;
    AUTO(buf) struct buf out = { 0 }, errs = { 0 }, control = { 0 };
    read_until(s.fd_out, &out, NULL);
    read_until(s.fd_err, &errs, NULL);
    read_until(s.fd_control, &control, NULL);
    CHECK_STR(buf_at(&out), "dev\n");
    CHECK_STR(buf_at(&errs), "end\n");
    CHECK_STR(buf_at(&control), "exit 9\n");
    session_close(&s);
    rig_close(r);
}

TEST(runtime_exec_terminal)
{
    struct rig *r = rig_open();

    rig_sandbox(r);
    rig_run(r, "c1", "exec /bin/busybox sleep 100");
    const char *const argv[] = { "/bin/sh", "-c", "/bin/busybox tty; while read a; do /bin/busybox stty size; [ \"$a\" = q ] && exit 6; done", NULL };
    struct runtime_session s = open_session(r, "c1", argv, true, true);
    CHECK_INT(s.fd_err, -1);
    expect(s.fd_out, "/dev/pts/");
    CHECK_INT(write(s.fd_control, "resize 101 33\n", 14), 14);
    AUTO(buf) struct buf out = { 0 }, control = { 0 };
    while (!strstr(buf_at(&out), "33 101")) { /* the size goes its own way, so it may come after a line or two */
        CHECK_INT(write(s.fd_in, "x\n", 2), 2);
        read_until(s.fd_out, &out, "\n");
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
        char at[512];
        ssize_t n = read(s.fd_out, at, sizeof(at));
        if (n > 0)
            buf_add(&out, at, (size_t)n);
    }
    CHECK_INT(write(s.fd_in, "q\n", 2), 2);
    read_until(s.fd_control, &control, NULL);
    CHECK_STR(buf_at(&control), "exit 6\n");
    read_until(s.fd_out, &out, NULL);
    session_close(&s);
    /* The agent hangs up: the shell gets SIGHUP and ends. */
    const char *const shell[] = { "/bin/sh", NULL };
    s = open_session(r, "c1", shell, true, true);
    CHECK_INT(write(s.fd_in, "echo ready\n", 11), 11);
    expect(s.fd_out, "ready");
    session_close(&s);
    struct runtime_answer answer;
    struct err err = { 0 };
    const char *const count[] = { "/bin/sh", "-c", "/bin/busybox ps | /bin/busybox grep -c '/bin/sh$'", NULL };
    bool left = true;
    for (int i = 0; i < 50 && left; i++) {
        CHECK_INT(runtime_exec_sync(&r->ctx, r->rt, r->pod, "c1", count, &answer, &err), 0);
        left = strcmp(answer.output->at, "0\n") != 0;
        bytes_unref(answer.output);
    }
    CHECK(!left);
    rig_close(r);
}

TEST(runtime_attach)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    const char *const argv[] = { "/bin/sh", "-c", "while read a; do echo got $a; echo err $a >&2; done; echo over; exit 3", NULL };
    struct container_spec spec = rig_spec(r, "c1", argv);

    rig_sandbox(r);
    spec.stdin_open = spec.stdin_once = true;
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), 0);
    struct runtime_session a = open_session(r, "c1", NULL, false, true), b = open_session(r, "c1", NULL, false, false);
    CHECK_INT(write(a.fd_in, "one\n", 4), 4);
    expect(a.fd_out, "got one\n");
    expect(b.fd_out, "got one\n");
    expect(a.fd_err, "err one\n");
    session_close(&b); /* one leaves: the other goes on */
    CHECK_INT(write(a.fd_in, "two\n", 4), 4);
    expect(a.fd_out, "got two\n");
    close(a.fd_in); /* stdin_once: the container's input ends */
    a.fd_in = -1;
    AUTO(buf) struct buf out = { 0 }, control = { 0 };
    read_until(a.fd_out, &out, NULL);
    CHECK_STR(buf_at(&out), "over\n");
    read_until(a.fd_control, &control, NULL);
    CHECK_STR(buf_at(&control), "exit 3\n");
    session_close(&a);
    rig_wait_exits(r, 1);
    AUTO_FREE char *log = rig_file(rig_container(r, "c1").log_path);
    CHECK(strstr(log, "stdout F got one\n") && strstr(log, "stdout F got two\n") && strstr(log, "stderr F err one\n"));
    struct runtime_session_spec late = { .pod_uid = r->pod, .id = "c1", .out = true };
    CHECK_INT(runtime_session(&r->ctx, r->rt, &late, &a, &err), -ERR_NOT_FOUND);
    rig_close(r);
}

TEST(runtime_attach_reader_that_lags)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    const char *const argv[] = { "/bin/sh", "-c", "read a; /bin/busybox seq 1 200000; exit 0", NULL };
    struct container_spec spec = rig_spec(r, "c1", argv);

    rig_sandbox(r);
    spec.stdin_open = true;
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), 0);
    struct runtime_session a = open_session(r, "c1", NULL, false, true);
    CHECK_INT(write(a.fd_in, "go\n", 3), 3);
    nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL); /* let it fill what there is to fill */
    CHECK_INT(rig_container(r, "c1").state, CONTAINER_RUNNING);
    AUTO(buf) struct buf out = { 0 };
    read_until(a.fd_out, &out, NULL);
    CHECK_INT(buf_len(&out), 1288895); /* every byte of seq 1 200000 */
    session_close(&a);
    rig_wait_exits(r, 1);
    rig_close(r);
}

TEST(runtime_terminal_container)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    const char *const argv[] = { "/bin/sh", "-c", "/bin/busybox tty; read a; /bin/busybox stty size; echo got $a; exit 2", NULL };
    struct container_spec spec = rig_spec(r, "c1", argv);

    rig_sandbox(r);
    spec.stdin_open = spec.tty = true;
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), 0);
    struct runtime_session a = open_session(r, "c1", NULL, true, true);
    CHECK_INT(write(a.fd_control, "resize 90 20\n", 13), 13);
    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    CHECK_INT(write(a.fd_in, "word\n", 5), 5);
    AUTO(buf) struct buf out = { 0 };
    read_until(a.fd_out, &out, NULL);
    CHECK(strstr(buf_at(&out), "20 90\r\ngot word\r\n"));
    session_close(&a);
    rig_wait_exits(r, 1);
    CHECK_INT(rig_container(r, "c1").exit_code, 2);
    AUTO_FREE char *log = rig_file(rig_container(r, "c1").log_path);
    CHECK(strstr(log, "stdout F /dev/"));
    CHECK(strstr(log, "stdout F got word\r\n"));
    rig_close(r);
}

TEST(runtime_dial_into_the_pod)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    int fd = -1;

    rig_sandbox(r);
    CHECK_INT(runtime_dial(&r->ctx, r->rt, r->pod, 8081, &fd, &err), -ERR_IO);
    CHECK(strstr(err.msg, "Connection refused"));
    rig_run(r, "c1", "exec /bin/busybox nc -l -p 8080 -e /bin/busybox cat");
    for (int i = 0; i < 200 && runtime_dial(&r->ctx, r->rt, r->pod, 8080, &fd, &err) < 0; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, "hello\n", 6), 6);
    expect(fd, "hello\n");
    close(fd);
    rig_close(r);
}

TEST(runtime_logs_rotate)
{
    struct rig *r = rig_open();
    struct err err = { 0 };

    runtime_close(r->rt);
    r->rt = NULL;
    r->log_max_bytes = 20000;
    rig_restart(r);
    rig_sandbox(r);
    rig_run(r, "c1", "i=0; while [ $i -lt 5 ]; do /bin/busybox seq 1 1000; i=$((i+1)); /bin/busybox sleep 0.5; done; "
                     "/bin/busybox head -c 40000 /dev/zero | /bin/busybox tr '\\0' x; echo; exec /bin/busybox sleep 100");
    struct container c = rig_container(r, "c1");
    int64_t until = rig_ms() + 10000;
    bool seen = false;
    while (!seen && rig_ms() < until) {
        AUTO_FREE char *log = rig_file(c.log_path);
        seen = strstr(log, "xxx\n") != NULL && strstr(log, "stdout F xxx") != NULL;
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    CHECK(seen);
    int rotated = rig_count(r->log_dir, "c1.log.");
    CHECK_INT(rotated, 2); /* three files in all */
    /* kubelet's way: rename, then ask to open anew. */
    AUTO_FREE char *aside = mem_printf("%s/aside", r->log_dir);
    CHECK_INT(rename(c.log_path, aside), 0);
    CHECK_INT(runtime_log_rotate(&r->ctx, r->rt, r->pod, "c1", &err), 0);
    CHECK(rig_exists("%s", c.log_path));
    /* A line longer than 16 KB comes in parts. */
    AUTO_FREE char *text = rig_file(aside);
    char *part = strstr(text, "stdout P x");
    CHECK(part != NULL);
    CHECK_INT(strspn(part + 9, "x"), 16384);
    rig_close(r);
}

TEST(runtime_memory_limit_kills)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    const char *const argv[] = { "/bin/sh", "-c", "/bin/busybox tail /dev/zero", NULL };
    struct container_spec spec = rig_spec(r, "c1", argv);
    struct container_resources pod = { .memory_bytes = 64 << 20, .cpu_shares = 512, .pids = 100 };
    struct cgroup_usage u;

    CHECK_INT(runtime_cgroup_set(r->rt, r->cgroup, &pod, &err), 0);
    rig_sandbox(r);
    spec.resources = (struct container_resources){ .memory_bytes = 16 << 20, .cpu_shares = 100, .cpu_quota_us = 50000, .cpu_period_us = 100000 };
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), 0);
    rig_wait_exits(r, 1);
    struct container c = rig_container(r, "c1");
    CHECK_INT(c.exit_code, 137);
    CHECK(c.oom_killed);
    rig_run(r, "c2", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec /bin/busybox sleep 100");
    nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
    AUTO_FREE char *cgroup = mem_printf("%s/c2", r->cgroup);
    CHECK_INT(runtime_cgroup_usage(r->rt, cgroup, &u, &err), 0);
    CHECK(u.cpu_ns > 1000000 && u.memory_bytes > 0 && u.working_set_bytes <= u.memory_bytes && u.oom_kills == 0);
    CHECK_INT(u.pids, 1);
    struct container_resources more = { .memory_bytes = 32 << 20, .cpu_shares = 256 };
    CHECK_INT(runtime_container_update(&r->ctx, r->rt, r->pod, "c2", &more, &err), 0);
    CHECK_INT(runtime_cgroup_usage(r->rt, "rt-test-nowhere", &u, &err), -ERR_NOT_FOUND);
    CHECK_INT(runtime_cgroup_remove(r->rt, "rt-test-nowhere", &err), 0);
    CHECK_INT(runtime_cgroup_set(r->rt, "../x", NULL, &err), -ERR_INVALID);
    rig_close(r);
}
