#include "runtime_fixture.h"

#include "agent/runtime/cgroup.h"
#include "embed/shim_protocol.h"
#include "lib/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

/* Runs it to its end and gives its log. */
static char *run_out(struct rig *r, struct container_spec *spec, int code)
{
    struct err err = { 0 };
    int before = r->exits;

    if (runtime_container_start(&r->ctx, r->rt, spec, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    rig_wait_exits(r, before + 1);
    struct container c = rig_container(r, spec->id);
    char *log = rig_file(c.log_path);
    if (c.exit_code != code)
        fprintf(stderr, "%s", log);
    CHECK_INT(c.exit_code, code);
    return log;
}

TEST(runtime_spec_user_mounts_and_limits)
{
    struct rig *r = rig_open();
    static const int64_t groups[] = { 2000, 3000 };
    AUTO_FREE char *host = mem_printf("%s/host", r->dir);
    AUTO_FREE char *inner = mem_printf("%s/host/inner", r->dir);
    CHECK(mkdir(host, 0777) == 0 && mkdir(inner, 0777) == 0 && chmod(host, 0777) == 0);
    const struct container_mount mounts[] = {
        { .source = inner, .target = "/data/inner", .readonly = true }, /* listed before the one it is in */
        { .source = host, .target = "/data" },
        { .source = "tmpfs", .target = "/scratch", .type = "tmpfs", .options = "size=1m,mode=1777" },
    };
    const char *const argv[] = { "/bin/sh", "-c", "/bin/busybox id; echo x > /data/out && echo wrote; echo x > /data/inner/out || echo refused; "
                                 "echo x > /rootfile || echo readonly; echo x > /scratch/y && echo scratch; /bin/busybox pwd; "
                                 "/bin/busybox grep -E 'NoNewPrivs|CapBnd' /proc/self/status; /bin/busybox ls /proc/acpi /sys/firmware | /bin/busybox wc -l", NULL };
    struct container_spec spec = rig_spec(r, "c1", argv);

    rig_sandbox(r);
    spec.uid = 1000;
    spec.gid = 1001;
    spec.groups = groups;
    spec.n_groups = 2;
    spec.mounts = mounts;
    spec.n_mounts = 3;
    spec.readonly_root = spec.no_new_privs = true;
    spec.cwd = "/data";
    spec.oom_score_adj = -997; /* clamped where it cannot be */
    AUTO_FREE char *log = run_out(r, &spec, 0);
    CHECK(strstr(log, "uid=1000 gid=1001 groups=2000,3000\n"));
    CHECK(strstr(log, "F wrote\n") && strstr(log, "F refused\n") && strstr(log, "F readonly\n") && strstr(log, "F scratch\n") && strstr(log, "F /data\n"));
    CHECK(strstr(log, "NoNewPrivs:\t1\n"));
    CHECK(strstr(log, "CapBnd:\t0000000000000421\n"));
    CHECK(rig_exists("%s/out", host));
    /* A number past what can be said is refused, not cut. */
    struct err err = { 0 };
    const struct container_mount bad = { .source = host, .target = "relative" };
    spec.id = "c2";
    spec.mounts = &bad;
    spec.n_mounts = 1;
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), -ERR_INVALID);
    const char *const nothing[] = { NULL };
    spec.argv = nothing;
    spec.n_mounts = 0;
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), -ERR_INVALID);
    CHECK_STR(err.msg, "no command specified");
    spec.argv = argv;
    spec.id = "../c2";
    CHECK_INT(runtime_container_start(&r->ctx, r->rt, &spec, &err), -ERR_INVALID);
    rig_close(r);
}

TEST(runtime_spec_shared_pid_namespace)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    struct sandbox s;
    struct sandbox_spec sandbox = { .pod_uid = r->pod, .hostname = "web-0", .cgroup = r->cgroup, .share_pid = true };

    CHECK_INT(runtime_sandbox_start(&r->ctx, r->rt, &sandbox, &s, &err), 0);
    rig_run(r, "c1", "/bin/busybox sleep 100 & exec /bin/busybox sleep 99");
    const char *const argv[] = { "/bin/busybox", "ps", NULL };
    struct container_spec spec = rig_spec(r, "c2", argv);
    AUTO_FREE char *log = run_out(r, &spec, 0);
    CHECK(strstr(log, "sleep 100") && strstr(log, "sleep 99"));
    CHECK(strstr(log, "    1 "));
    /* What it leaves behind goes with it. */
    CHECK_INT(runtime_container_kill(&r->ctx, r->rt, r->pod, "c1", SIGKILL, &err), 0);
    rig_wait_exits(r, 2);
    CHECK_INT(runtime_container_remove(&r->ctx, r->rt, r->pod, "c1", &err), 0);
    spec = rig_spec(r, "c3", argv);
    AUTO_FREE char *after = run_out(r, &spec, 0);
    CHECK(!strstr(after, "sleep 100"));
    rig_close(r);
}

TEST(runtime_spec_host_namespaces_and_privileges)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    struct sandbox s;
    struct sandbox_spec sandbox = { .pod_uid = r->pod, .hostname = "web-0", .cgroup = r->cgroup, .host_network = true, .host_ipc = true, .host_pid = true };

    CHECK_INT(runtime_sandbox_start(&r->ctx, r->rt, &sandbox, &s, &err), 0);
    AUTO_FREE char *script = mem_printf("[ -d /proc/%d ] && echo sees; /bin/busybox hostname; echo 1 > /proc/sys/vm/drop_caches && echo may; "
                                        "/bin/busybox mount | /bin/busybox grep 'sysfs.*rw' && echo sysrw; [ -e /dev/vda -o -e /dev/loop-control ] && echo devices; "
                                        "/bin/busybox sleep 100 & exit 0", getpid());
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };
    struct container_spec spec = rig_spec(r, "c1", argv);
    spec.privileged = true;
    AUTO_FREE char *log = run_out(r, &spec, 0);
    CHECK(strstr(log, "F sees\n") && strstr(log, "F may\n") && strstr(log, "F sysrw\n") && strstr(log, "F devices\n"));
    char host[65];
    CHECK_INT(gethostname(host, sizeof(host)), 0);
    CHECK(strstr(log, host));
    CHECK_INT(runtime_container_remove(&r->ctx, r->rt, r->pod, "c1", &err), 0);
    CHECK(!rig_exists("/sys/fs/cgroup/pids/%s/c1", r->cgroup)); /* its sleep is gone, too */
    /* Without privilege the machine's settings are out of reach. */
    const char *const meek[] = { "/bin/sh", "-c", "echo 1 > /proc/sys/vm/drop_caches", NULL };
    spec = rig_spec(r, "c2", meek);
    AUTO_FREE char *refused = run_out(r, &spec, 1);
    CHECK(strstr(refused, "Read-only file system"));
    rig_close(r);
}

TEST(runtime_sandbox_errors)
{
    struct rig *r = rig_open();
    struct err err = { 0 };
    struct sandbox s;
    static const char *const bad[] = { "kernel.nosuch", "1", NULL }, *const good[] = { "net.ipv4.ip_local_port_range", "1024 65000", NULL };
    struct sandbox_spec spec = { .pod_uid = r->pod, .hostname = "web-0", .cgroup = r->cgroup, .sysctls = bad };

    CHECK_INT(runtime_sandbox_start(&r->ctx, r->rt, &spec, &s, &err), -ERR_IO);
    CHECK_STR(err.msg, "failed to create pod sandbox: set sysctl kernel.nosuch=1: No such file or directory");
    spec.sysctls = good;
    spec.user_ns_uid = 100000;
    CHECK_INT(runtime_sandbox_start(&r->ctx, r->rt, &spec, &s, &err), -ERR_INVALID);
    spec.user_ns_uid = 0;
    spec.pod_uid = "../../etc";
    CHECK_INT(runtime_sandbox_start(&r->ctx, r->rt, &spec, &s, &err), -ERR_INVALID);
    spec.pod_uid = r->pod;
    CHECK_INT(runtime_sandbox_start(&r->ctx, r->rt, &spec, &s, &err), 0);
    const char *const argv[] = { "/bin/busybox", "cat", "/proc/sys/net/ipv4/ip_local_port_range", NULL };
    struct container_spec c = rig_spec(r, "c1", argv);
    AUTO_FREE char *log = run_out(r, &c, 0);
    CHECK(strstr(log, "1024\t65000"));
    CHECK_INT(runtime_sandbox_remove(&r->ctx, r->rt, "11111111-0000-4000-8000-000000000000", &err), 0);
    CHECK_INT(runtime_sandbox(r->rt, "11111111-0000-4000-8000-000000000000", &s, &err), -ERR_NOT_FOUND);
    rig_close(r);
}

static void spoil(const char *path, const char *text)
{
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), (int64_t)strlen(text));
}

TEST(runtime_recovers_from_broken_records)
{
    struct rig *r = rig_open();
    struct sandbox s = rig_sandbox(r);

    rig_run(r, "c1", "exec /bin/busybox sleep 100");
    rig_run(r, "c2", "exit 3");
    rig_wait_exits(r, 1);
    runtime_close(r->rt);
    r->rt = NULL;
    AUTO_FREE char *sandbox = mem_printf("%s/data/pods/%s/sandbox.json", r->dir, r->pod);
    AUTO_FREE char *ended = mem_printf("%s/data/pods/%s/containers/c2/exit.json", r->dir, r->pod);
    AUTO_FREE char *half = mem_printf("%s/data/pods/%s/containers/half", r->dir, r->pod);
    AUTO_FREE char *keep = rig_file(sandbox);
    spoil(sandbox, "");
    spoil(ended, "{\"format\":1,\"exi");
    CHECK(mkdir(half, 0700) == 0);
    rig_reopen(r);
    /* The shim knows all of it. */
    CHECK_INT(rig_sandbox(r).shim_pid, s.shim_pid);
    CHECK_INT(rig_container(r, "c1").state, CONTAINER_RUNNING);
    CHECK_INT(rig_container(r, "c2").exit_code, 3);
    CHECK(!rig_exists("%s", half));
    AUTO_FREE char *mended = rig_file(sandbox);
    CHECK_STR(mended, keep);
    rig_close(r);
}

TEST(runtime_shim_frames)
{
    char at[512];
    struct shim_writer w;
    struct shim_frame f;

    shim_frame_begin(&w, at, sizeof(at), SHIM_START, 7);
    shim_frame_num(&w, 0, -1);
    shim_frame_num(&w, 7, 1LL << 40);
    shim_frame_num(&w, 8, 5); /* no such place */
    shim_frame_str(&w, "id");
    shim_frame_str(&w, NULL);
    shim_frame_str(&w, "three");
    size_t n = shim_frame_end(&w);
    CHECK_INT(n, sizeof(f) + 3 + 1 + 6);
    CHECK_INT(shim_frame_read(at, n, &f), 0);
    CHECK(f.type == SHIM_START && f.id == 7 && f.n_strings == 3 && f.num[0] == -1 && f.num[7] == 1LL << 40);
    struct shim_strings s = shim_frame_strings(at, &f);
    CHECK_STR(shim_strings_next(&s), "id");
    CHECK_STR(shim_strings_next(&s), "");
    CHECK_STR(shim_strings_next(&s), "three");
    CHECK(shim_strings_next(&s) == NULL);
    for (size_t cut = 0; cut < n; cut++)
        CHECK_INT(shim_frame_read(at, cut, &f), -1);
    CHECK_INT(shim_frame_read(at, n + 1, &f), -1);
    for (size_t cap = 0; cap < n; cap++) {
        shim_frame_begin(&w, at, cap, SHIM_START, 7);
        shim_frame_str(&w, "id");
        shim_frame_str(&w, NULL);
        shim_frame_str(&w, "three");
        CHECK_INT(shim_frame_end(&w), 0);
    }
}

/* Version 2 on a folder that looks like it: what is written where. The kernel's side of it is not here to be asked. */
TEST(runtime_cgroup_version_2_files)
{
    char root[] = "/tmp/rancherd-cgroup-XXXXXX";
    static const char *const files[] = { "cpu.weight", "cpu.max", "memory.max", "pids.max", "cpu.stat", "memory.current", "memory.stat", "memory.events",
                                         "pids.current" };
    struct cgroups *c;
    struct err err = { 0 };
    struct container_resources res = { .cpu_shares = 1024, .cpu_quota_us = 50000, .memory_bytes = 1 << 20 };
    struct cgroup_usage u;

    CHECK(mkdtemp(root) != NULL);
    c = cgroups_open_v2(root);
    CHECK(cgroups_v2(c));
    CHECK_INT(cgroup_set(c, "a/b", NULL, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO_FREE char *path = mem_printf("%s/a/b/%s", root, files[i]);
        spoil(path, "");
    }
    CHECK_INT(cgroup_set(c, "a/b", &res, &err), 0);
    static const char *const wanted[] = { "39", "50000 100000", "1048576", "max" };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        AUTO_FREE char *path = mem_printf("%s/a/b/%s", root, files[i]);
        AUTO_FREE char *text = rig_file(path);
        CHECK_STR(text, wanted[i]);
    }
    static const char *const texts[] = { "usage_usec 12\nuser_usec 5\n", "5000\n", "anon 100\nfile 9\ninactive_file 1000\n", "oom 3\noom_kill 2\n", "4\n" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        AUTO_FREE char *path = mem_printf("%s/a/b/%s", root, files[4 + i]);
        spoil(path, texts[i]);
    }
    CHECK_INT(cgroup_usage(c, "a/b", &u, &err), 0);
    CHECK(u.cpu_ns == 12000 && u.memory_bytes == 5000 && u.working_set_bytes == 4000 && u.rss_bytes == 100 && u.oom_kills == 2 && u.pids == 4);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        AUTO_FREE char *path = mem_printf("%s/a/b/%s", root, files[i]);
        unlink(path);
    }
    CHECK_INT(cgroup_remove(c, "a", &err), 0);
    CHECK(!rig_exists("%s/a", root));
    cgroups_close(c);
    CHECK_INT(rmdir(root), 0);
}
