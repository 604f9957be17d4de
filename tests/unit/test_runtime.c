#include "runtime_fixture.h"

#include "lib/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

TEST(runtime_container_lives_and_ends)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    struct sandbox s = rig_sandbox(r), again = rig_sandbox(r);

    CHECK(s.running && s.shim_pid > 0);
    CHECK_INT(again.shim_pid, s.shim_pid);
    int64_t before = rig_ms();
    rig_run(r, "c1", "echo $GREETING from $HOSTNAME; hostname; echo bad >&2; printf unfinished; exit 3");
    printf("# container started in %lld ms\n", (long long)(rig_ms() - before));
    rig_wait_exits(r, 1);
    struct container c = rig_container(r, "c1");
    CHECK_INT(c.state, CONTAINER_EXITED);
    CHECK_INT(c.exit_code, 3);
    CHECK_INT(c.signal, 0);
    CHECK(c.started_us >= c.created_us && c.finished_us >= c.started_us);
    AUTO_FREE char *log = rig_file(c.log_path);
    CHECK(strstr(log, "Z stdout F hello from web-0\n"));
    CHECK(strstr(log, "Z stdout F web-0\n"));
    CHECK(strstr(log, "Z stderr F bad\n"));
    CHECK(strstr(log, "Z stdout P unfinished\n"));
    CHECK_INT(log[10], 'T');
    CHECK_INT(strchr(log, 'Z') - log, 29);
    CHECK(rig_exists("%s/data/pods/%s/containers/c1/exit.json", r->dir, r->pod));
    CHECK_INT(runtime_container_kill(&r->ctx, r->rt, r->pod, "c1", SIGTERM, &err), -ERR_NOT_FOUND);
    CHECK_INT(runtime_container_remove(&r->ctx, r->rt, r->pod, "c1", &err), 0);
    CHECK(!rig_exists("%s/data/pods/%s/containers/c1", r->dir, r->pod));
    CHECK(!rig_exists("%s/run/runc/c1", r->dir));
    CHECK(rig_exists("%s", c.log_path));
    CHECK_INT(runtime_container(r->rt, r->pod, "c1", &c, &err), -ERR_NOT_FOUND);
    rig_close(r);
}

TEST(runtime_kill_by_signal)
{
    struct rig *r = rig_open();
    struct err err = { 0 };

    rig_sandbox(r);
    rig_run(r, "c1", "exec /bin/busybox sleep 100");
    CHECK_INT(rig_container(r, "c1").state, CONTAINER_RUNNING);
    CHECK_INT(runtime_container_remove(&r->ctx, r->rt, r->pod, "c1", &err), -ERR_CONFLICT);
    CHECK_INT(runtime_container_kill(&r->ctx, r->rt, r->pod, "c1", SIGKILL, &err), 0);
    rig_wait_exits(r, 1);
    struct container c = rig_container(r, "c1");
    CHECK_INT(c.exit_code, 137);
    CHECK_INT(c.signal, SIGKILL);
    CHECK(!c.oom_killed && !c.gone);
    rig_run(r, "c2", "trap 'exit 7' TERM; while :; do /bin/busybox sleep 0.05; done");
    CHECK_INT(runtime_container_kill(&r->ctx, r->rt, r->pod, "c2", SIGTERM, &err), 0);
    rig_wait_exits(r, 2);
    CHECK_INT(rig_container(r, "c2").exit_code, 7);
    rig_close(r);
}

TEST(runtime_start_errors_say_what_users_know)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    const char *const missing[] = { "nosuchprogram", NULL }, *const dir[] = { "/etc", NULL };
    struct container_spec spec = rig_spec(r, "c1", missing);

    rig_sandbox(r);
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), -ERR_INVALID);
    CHECK_STR(err.msg, "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
                       "container process: exec: \"nosuchprogram\": executable file not found in $PATH: unknown");
    spec.argv = dir;
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), -ERR_INVALID);
    CHECK(strstr(err.msg, "exec: \"/etc\""));
    spec.rootfs = "/nonexistent/root";
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), -ERR_IO);
    CHECK(!rig_exists("%s/data/pods/%s/containers/c1", r->dir, r->pod));
    struct container *list;
    size_t n;
    CHECK_INT(runtime_containers(r->rt, r->pod, &list, &n, &err), 0);
    CHECK_INT(n, 0);
    free(list);
    rig_close(r);
}

TEST(runtime_containers_outlive_the_agent)
{
    struct rig *r = rig_open();

    struct sandbox before = rig_sandbox(r);
    rig_run(r, "long", "while :; do /bin/busybox sleep 0.05; [ -e /tmp/end ] && exit 4; done");
    rig_run(r, "short", "/bin/busybox sleep 0.2; exit 5");
    pid_t pid = rig_container(r, "long").pid;
    int64_t started = rig_container(r, "long").started_us;
    rig_reopen(r);
    struct container c = rig_container(r, "long");
    CHECK_INT(c.state, CONTAINER_RUNNING);
    CHECK_INT(c.pid, pid);
    CHECK_INT(c.started_us, started);
    CHECK_STR(c.name, "app");
    CHECK_INT(rig_sandbox(r).shim_pid, before.shim_pid);
    rig_wait_exits(r, 1);
    CHECK_INT(rig_container(r, "short").exit_code, 5);
    /* What ends while no agent is there is known to the next one. */
    struct err err = { 0 };
    runtime_close(r->rt);
    AUTO_FREE char *end = mem_printf("%s/tmp/end", r->rootfs);
    close(open(end, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    AUTO_FREE char *record = mem_printf("%s/data/pods/%s/containers/long/exit.json", r->dir, r->pod);
    for (int64_t until = rig_ms() + 5000; access(record, F_OK) < 0 && rig_ms() < until;)
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    r->rt = NULL;
    rig_reopen(r);
    c = rig_container(r, "long");
    CHECK_INT(c.state, CONTAINER_EXITED);
    CHECK_INT(c.exit_code, 4);
    CHECK(!c.gone);
    CHECK_INT(runtime_container_remove(&r->ctx, r->rt, r->pod, "long", &err), 0);
    rig_close(r);
}

TEST(runtime_dead_shim_takes_its_containers_along)
{
    struct rig *r = rig_open();
    struct sandbox s = rig_sandbox(r);

    rig_run(r, "c1", "exec /bin/busybox sleep 100");
    pid_t pid = rig_container(r, "c1").pid;
    CHECK_INT(kill(s.shim_pid, SIGKILL), 0);
    rig_wait_gone(r, 1);
    struct container c = rig_container(r, "c1");
    CHECK_INT(c.state, CONTAINER_EXITED);
    CHECK_INT(c.exit_code, 255);
    CHECK(c.gone);
    CHECK(kill(pid, 0) < 0 || rig_exists("/proc/%d/exe", pid) == false);
    CHECK(!rig_exists("%s/run/runc/c1", r->dir));
    /* The pod goes on with a new sandbox, and still knows the old container. */
    struct sandbox fresh = rig_sandbox(r);
    CHECK(fresh.running && fresh.shim_pid != s.shim_pid);
    rig_run(r, "c2", "exit 0");
    rig_wait_exits(r, 1);
    CHECK(rig_container(r, "c1").gone);
    /* The same, found by an agent that comes later. */
    rig_run(r, "c3", "exec /bin/busybox sleep 100");
    runtime_close(r->rt);
    r->rt = NULL;
    CHECK_INT(kill(fresh.shim_pid, SIGKILL), 0);
    rig_reopen(r);
    CHECK(rig_container(r, "c3").gone);
    CHECK(!rig_container(r, "c2").gone);
    struct sandbox none;
    struct err err = { 0 };
    CHECK_INT(runtime_sandbox(r->rt, r->pod, &none, &err), 0);
    CHECK(!none.running);
    rig_close(r);
}

TEST(runtime_containers_share_the_pods_namespaces)
{
    struct rig *r = rig_open();
    struct err err = { 0 };

    struct sandbox s = rig_sandbox(r);
    CHECK(rig_exists("%s", s.netns));
    rig_run(r, "c1", "echo shared > /dev/shm/x; exec /bin/busybox nc -l -p 8080 -e /bin/busybox echo pong");
    rig_run(r, "c2", "/bin/busybox cat /dev/shm/x; for i in 1 2 3 4 5 6 7 8 9; do /bin/busybox nc 127.0.0.1 8080 </dev/null && break; "
                     "/bin/busybox sleep 0.05; done; [ $$ = 1 ] && echo first; /bin/busybox touch /proc/sys/x; "
                     "/bin/busybox mount | /bin/busybox grep -c 'cgroup.*ro'");
    rig_wait_exits(r, 2);
    AUTO_FREE char *log = rig_file(rig_container(r, "c2").log_path);
    CHECK(strstr(log, "F shared\n"));
    CHECK(strstr(log, "F pong\n"));
    CHECK(strstr(log, "F first\n")); /* a PID namespace of its own */
    struct container *list;
    size_t n;
    CHECK_INT(runtime_containers(r->rt, r->pod, &list, &n, &err), 0);
    CHECK_INT(n, 2);
    free(list);
    rig_close(r);
}
