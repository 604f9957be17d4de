#include "runtime_fixture.h"

#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static void on_event(void *arg, enum runtime_event_kind kind, const char *pod_uid, const char *id)
{
    struct rig *r = arg;

    (void)id;
    CHECK_STR(pod_uid, r->pod);
    pthread_mutex_lock(&r->lock);
    if (kind == RUNTIME_EXITED)
        r->exits++;
    else
        r->gone++;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void open_runtime(struct rig *r)
{
    AUTO_FREE char *data = mem_printf("%s/data", r->dir), *run = mem_printf("%s/run", r->dir), *bin = mem_printf("%s/bin", r->dir);
    const char *oci = getenv("TEST_OCI_RUNTIME");
    struct runtime_options o = { .data_dir = data, .run_dir = run, .bin_dir = bin, .instance = "feedbeef", .oci_runtime = oci ? oci : "runc", .clock = &clock_system,
                                 .loop = r->loop, .pool = r->pool, .on_event = on_event, .arg = r, .log_max_bytes = r->log_max_bytes, .log_max_files = 3 };
    struct err err = { 0 };

    if (runtime_open(&o, &r->rt, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    remove(path);
    return 0;
}

static void run_tool(const char *script, const char *a, const char *b)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, "sh", a, b, NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

/* Outlives the case: when that is gone, nothing of its pod may be left. */
static void watch(struct rig *r)
{
    int ends[2];

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    if (fork() == 0) {
        char c;
        setsid();
        close(ends[1]);
        for (int fd = 0; fd < 3; fd++)
            dup2(open("/dev/null", O_RDWR), fd);
        while (read(ends[0], &c, 1) < 0 && errno == EINTR)
            ;
        run_tool("for f in $(ls /proc | grep '^[0-9]*$'); do if tr '\\0' ' ' < /proc/$f/cmdline 2>/dev/null | grep -q \"^$1/bin/.*rancherd-shim \"; then kill -9 $f; fi; done\n"
                 "for p in /sys/fs/cgroup/*/rt-test-$2 /sys/fs/cgroup/rt-test-$2; do [ -d $p ] && find $p -name cgroup.procs -exec cat {} + | xargs -r kill -9; done\n"
                 "sleep 0.1; for p in /sys/fs/cgroup/*/rt-test-$2 /sys/fs/cgroup/rt-test-$2; do [ -d $p ] && find $p -depth -type d -exec rmdir {} +; done; true",
                 r->dir, r->pod);
        AUTO_FREE char *shm = mem_printf("%s/data/pods/%s/shm", r->dir, r->pod);
        umount2(shm, MNT_DETACH);
        nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        _exit(0);
    }
    close(ends[0]);
    r->watcher = ends[1];
}

static void make_rootfs(struct rig *r)
{
    static const char *const dirs[] = { "", "/bin", "/proc", "/dev", "/sys", "/tmp", "/etc" };
    AUTO_FREE char *to = mem_printf("%s/bin/busybox", r->rootfs), *sh = mem_printf("%s/bin/sh", r->rootfs);

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        AUTO_FREE char *d = mem_printf("%s%s", r->rootfs, dirs[i]);
        CHECK(mkdir(d, 0755) == 0);
    }
    run_tool("cp $(command -v busybox) \"$1\" && ln -s busybox \"$2\"", to, sh);
    CHECK(access(to, X_OK) == 0);
}

struct rig *rig_open(void)
{
    struct rig *r = MEM_NEW(struct rig);
    struct err err = { 0 };

    if (geteuid() != 0 || system("command -v runc >/dev/null && command -v busybox >/dev/null") != 0) {
        printf("# skipped: needs root, runc and busybox-static\n");
        exit(0);
    }
    snprintf(r->dir, sizeof(r->dir), "/tmp/rancherd-runtime-XXXXXX");
    CHECK(mkdtemp(r->dir) != NULL);
    snprintf(r->pod, sizeof(r->pod), "%08x-0000-4000-8000-%012x", (unsigned)getpid(), (unsigned)time(NULL));
    snprintf(r->cgroup, sizeof(r->cgroup), "rt-test-%s/pod", r->pod);
    snprintf(r->rootfs, sizeof(r->rootfs), "%s/rootfs", r->dir);
    snprintf(r->log_dir, sizeof(r->log_dir), "%s/logs/app", r->dir);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    watch(r);
    make_rootfs(r);
    r->arena = arena_new();
    r->ctx = ctx_background(r->arena);
    CHECK_INT(loop_new("rig", &r->loop, &err), 0);
    CHECK_INT(pool_new(NULL, &r->pool, &err), 0);
    open_runtime(r);
    return r;
}

void rig_restart(struct rig *r)
{
    open_runtime(r);
}

int rig_count(const char *dir, const char *prefix)
{
    DIR *d = opendir(dir);
    int n = 0;

    for (struct dirent *e; d && (e = readdir(d));)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    if (d)
        closedir(d);
    return n;
}

void rig_reopen(struct rig *r)
{
    struct err err = { 0 };
    char **uids;
    size_t n;

    runtime_close(r->rt);
    open_runtime(r);
    CHECK_INT(runtime_recover(&r->ctx, r->rt, &uids, &n, &err), 0);
    CHECK_INT(n, 1);
    CHECK_STR(uids[0], r->pod);
    free(uids[0]);
    free(uids);
}

void rig_close(struct rig *r)
{
    struct err err = { 0 };
    char top[96];

    if (runtime_sandbox_remove(&r->ctx, r->rt, r->pod, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    CHECK(!rig_exists("%s/data/pods/%s", r->dir, r->pod));
    CHECK(!rig_exists("%s/run/%s.sock", r->dir, r->pod));
    snprintf(top, sizeof(top), "rt-test-%s", r->pod);
    CHECK_INT(runtime_cgroup_remove(r->rt, top, &err), 0);
    runtime_close(r->rt);
    pool_free(r->pool);
    loop_free(r->loop);
    arena_free(r->arena);
    close(r->watcher);
    free(r);
}

struct sandbox rig_sandbox(struct rig *r)
{
    struct sandbox_spec spec = { .pod_uid = r->pod, .pod_ns = "default", .pod_name = "web", .hostname = "web-0", .cgroup = r->cgroup };
    struct sandbox s;
    struct err err = { 0 };

    if (runtime_sandbox_start(&r->ctx, r->rt, &spec, &s, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return s;
}

struct container_spec rig_spec(struct rig *r, const char *id, const char *const *argv)
{
    static const char *const caps[] = { "CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", NULL };
    static const char *const env[] = { "GREETING=hello", NULL };
    char *log = arena_printf(r->arena, "%s/%s.log", r->log_dir, id);

    return (struct container_spec){ .pod_uid = r->pod, .name = "app", .id = id, .rootfs = r->rootfs, .argv = argv, .env = env, .cwd = "/", .capabilities = caps,
                                    .log_path = log };
}

void rig_run(struct rig *r, const char *id, const char *script)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };
    struct container_spec spec = rig_spec(r, id, argv);
    struct err err = { 0 };

    if (runtime_container_start(&r->ctx, r->rt, &spec, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}

static void wait_for(struct rig *r, const int *what, int n)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 10;
    pthread_mutex_lock(&r->lock);
    while (*what < n)
        if (pthread_cond_timedwait(&r->changed, &r->lock, &t) == ETIMEDOUT) {
            fprintf(stderr, "no event in 10 s\n");
            exit(1);
        }
    CHECK_INT(*what, n);
    pthread_mutex_unlock(&r->lock);
}

void rig_wait_exits(struct rig *r, int n)
{
    wait_for(r, &r->exits, n);
}

void rig_wait_gone(struct rig *r, int n)
{
    wait_for(r, &r->gone, n);
}

struct container rig_container(struct rig *r, const char *id)
{
    struct container c;
    struct err err = { 0 };

    CHECK_INT(runtime_container(r->rt, r->pod, id, &c, &err), 0);
    return c;
}

char *rig_file(const char *path)
{
    AUTO(buf) struct buf b = { 0 };
    char at[4096];
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    while (fd >= 0 && (n = read(fd, at, sizeof(at))) > 0)
        buf_add(&b, at, (size_t)n);
    return buf_take_str(&b);
}

bool rig_exists(const char *fmt, ...)
{
    char path[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(path, sizeof(path), fmt, args);
    va_end(args);
    return access(path, F_OK) == 0;
}

int64_t rig_ms(void)
{
    return clock_mono_ms(&clock_system);
}
