#include "agent/runtime/runtime_int.h"

#include "lib/log.h"
#include "lib/mem.h"
#include "lib/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { ARGS_MAX = 160, SYSCTLS_MAX = 64, SHUTDOWN_MS = 30000, SHIM_END_MS = 5000 };

/* Starting. */

struct args {
    const char *at[ARGS_MAX];
    int n;
    char *owned[SYSCTLS_MAX + 2];
    int n_owned;
};

static void auto_args(struct args *a)
{
    for (int i = 0; i < a->n_owned; i++)
        free(a->owned[i]);
}

static void arg(struct args *a, const char *name, const char *value)
{
    assert(a->n + 3 < ARGS_MAX);
    a->at[a->n++] = name;
    if (value)
        a->at[a->n++] = value;
}

static bool sets(const char *const *sysctls, const char *name)
{
    for (int i = 0; sysctls && sysctls[i] && sysctls[i + 1]; i += 2)
        if (strcmp(sysctls[i], name) == 0)
            return true;
    return false;
}

/* As containerd does: a pod with a network of its own may open low ports and ping without capabilities. */
static void add_sysctls(struct args *a, const struct sandbox_spec *spec)
{
    if (!spec->host_network && !sets(spec->sysctls, "net.ipv4.ip_unprivileged_port_start"))
        arg(a, "--sysctl", "net.ipv4.ip_unprivileged_port_start=0");
    if (!spec->host_network && !sets(spec->sysctls, "net.ipv4.ping_group_range"))
        arg(a, "--sysctl", "net.ipv4.ping_group_range=0 2147483647");
    for (int i = 0; spec->sysctls && spec->sysctls[i] && spec->sysctls[i + 1]; i += 2) {
        char *text = mem_printf("%s=%s", spec->sysctls[i], spec->sysctls[i + 1]);
        a->owned[a->n_owned++] = text;
        arg(a, "--sysctl", text);
    }
}

static void build_args(struct pod *p, const struct sandbox_spec *spec, struct args *a)
{
    struct runtime *rt = p->rt;
    char *dir = mem_printf("%s/pods/%s", rt->data_dir, p->uid);

    a->owned[a->n_owned++] = dir;
    arg(a, rt->shim_path, dir);
    arg(a, "--oci", rt->oci);
    arg(a, "--oci-root", rt->oci_root);
    if (!spec->host_network) {
        arg(a, "--net", NULL);
        arg(a, "--uts", NULL);
        arg(a, "--hostname", p->hostname);
    }
    if (!spec->host_ipc)
        arg(a, "--ipc", NULL);
    if (spec->share_pid && !spec->host_pid)
        arg(a, "--pid", NULL);
    add_sysctls(a, spec);
}

static CHECK_RC int bind_socket(struct pod *p, int *ret, struct err *err)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    char name[UID_MAX_BYTES + 8];
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    snprintf(name, sizeof(name), "%s.sock", p->uid);
    snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%.*s.sock", p->rt->run_fd, UID_MAX_BYTES, p->uid);
    if (fd < 0)
        return err_sys(err, errno, "make a socket");
    if (unlinkat(p->rt->run_fd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, errno, "remove the old %s", name);
    /* Connections wait here until the shim is ready to greet them. */
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
        return err_sys(err, errno, "listen on %s/%s", p->rt->run_dir, name);
    *ret = TAKE_FD(fd);
    return 0;
}

static CHECK_RC int mount_shm(struct pod *p, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/pods/%s/shm", p->rt->data_dir, p->uid);
    struct stat st, above;
    AUTO_FREE char *parent = mem_printf("%s/..", path);

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make %s", path);
    if (stat(path, &st) < 0 || stat(parent, &above) < 0)
        return err_sys(err, errno, "look at %s", path);
    if (st.st_dev != above.st_dev)
        return 0; /* mounted already */
    if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k") < 0)
        return err_sys(err, errno, "mount shared memory at %s", path);
    return 0;
}

static void take_spec(struct pod *p, const struct sandbox_spec *spec)
{
    LOCK_SCOPE(&p->rt->lock);

    free(p->ns);
    free(p->name);
    free(p->hostname);
    free(p->cgroup);
    p->ns = mem_strdup(spec->pod_ns ? spec->pod_ns : "");
    p->name = mem_strdup(spec->pod_name ? spec->pod_name : "");
    p->hostname = mem_strdup(spec->hostname ? spec->hostname : "");
    p->cgroup = mem_strdup(spec->cgroup);
    p->host_network = spec->host_network;
    p->host_ipc = spec->host_ipc;
    p->host_pid = spec->host_pid;
    p->share_pid = spec->share_pid && !spec->host_pid;
}

/* The shim stays in our own control groups: moving a process costs an RCU grace period, 14 ms of a pod's start, and holds up every fork
 * of the machine meanwhile. It is outside the pod's, and service managers are told to end the main process only (KillMode=process). */
static CHECK_RC int spawn_shim(struct pod *p, const struct sandbox_spec *spec, struct err *err)
{
    AUTO(args) struct args a = { .n = 0 };
    AUTO_FD int fd = -1;
    pid_t pid;
    int rc = bind_socket(p, &fd, err);

    if (rc < 0)
        return rc;
    build_args(p, spec, &a);
    struct spawn s = SPAWN_INIT;
    s.argv = a.at;
    s.pass_fds = &fd;
    s.n_pass_fds = 1;
    s.new_session = true;
    rc = spawn_start(&s, &pid, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&p->rt->lock);
    p->shim = (struct process_id){ .pid = pid };
    p->shim_is_child = true;
    pthread_mutex_unlock(&p->rt->lock);
    return 0;
}

static CHECK_RC int start(struct ctx *ctx, struct pod *p, const struct sandbox_spec *spec, struct err *err)
{
    AUTO_FREE char *dir = mem_printf("%s/pods/%s/containers", p->rt->data_dir, p->uid);
    int rc = make_dirs(dir, 0700, err);

    if (rc == 0 && !spec->host_ipc)
        rc = mount_shm(p, err);
    /* Before the shim is there: who dies in between finds it by its socket. */
    if (rc == 0)
        rc = record_sandbox_write(p, err);
    if (rc == 0)
        rc = spawn_shim(p, spec, err);
    if (rc < 0)
        return rc;
    rc = link_open(ctx, p, err);
    if (rc == 0)
        rc = record_sandbox_write(p, err);
    if (rc < 0) {
        kill(p->shim.pid, SIGKILL); /* our child, not yet waited for */
        pod_reap_shim(p);
    }
    return rc;
}

static CHECK_RC int check_spec(const struct sandbox_spec *spec, struct err *err)
{
    int n = 0;
    int rc = pod_check_uid(spec->pod_uid, err);

    if (rc < 0)
        return rc;
    if (spec->user_ns_uid)
        return err_set(err, ERR_INVALID, "user namespaces are not supported by this runtime yet (hostUsers: false)");
    if (!spec->cgroup || !*spec->cgroup || *spec->cgroup == '/')
        return err_set(err, ERR_INVALID, "sandbox of pod %s: no control group", spec->pod_uid);
    while (spec->sysctls && spec->sysctls[n])
        n++;
    if (n / 2 > SYSCTLS_MAX)
        return err_set(err, ERR_INVALID, "sandbox of pod %s: more than %d sysctls", spec->pod_uid, SYSCTLS_MAX);
    return 0;
}

static bool tell(struct pod *p, struct sandbox *ret)
{
    LOCK_SCOPE(&p->rt->lock);

    *ret = (struct sandbox){ .shim_pid = p->shim.pid, .running = p->link != NULL };
    snprintf(ret->netns, sizeof(ret->netns), "/proc/%d/ns/net", p->shim.pid);
    return ret->running;
}

int runtime_sandbox_start(struct ctx *ctx, struct runtime *rt, const struct sandbox_spec *spec, struct sandbox *ret, struct err *err)
{
    struct sandbox s;
    int rc = check_spec(spec, err);

    if (rc < 0)
        return rc;
    AUTO(pod) struct pod *p = pod_make(rt, spec->pod_uid);
    rc = pod_claim(p, err);
    if (rc < 0)
        return rc;
    if (!tell(p, &s)) {
        take_spec(p, spec);
        rc = start(ctx, p, spec, err);
        if (rc == 0 && !tell(p, &s))
            rc = err_set(err, ERR_UNAVAILABLE, "the shim is gone");
    } else if (!*p->cgroup) { /* its record was not readable */
        take_spec(p, spec);
        rc = record_sandbox_write(p, err);
    }
    pod_release(p);
    if (rc < 0)
        return err_wrap(err, "failed to create pod sandbox");
    *ret = s;
    return 0;
}

int runtime_sandbox(struct runtime *rt, const char *pod_uid, struct sandbox *ret, struct err *err)
{
    AUTO(pod) struct pod *p = NULL;
    struct sandbox s;
    int rc = pod_find(rt, pod_uid, &p, err);

    if (rc < 0)
        return rc;
    (void)tell(p, &s);
    *ret = s;
    return 0;
}

/* Removing. */

/* One that an earlier agent started is init's to reap; its end is seen all the same. */
static void await_end(struct pod *p, const struct process_id *shim)
{
    AUTO_FD int fd = pidfd_open(shim->pid, 0);
    struct pollfd ended = { .fd = fd, .events = POLLIN };

    if (fd >= 0 && process_alive(p->rt, shim) && poll(&ended, 1, SHIM_END_MS) == 0)
        log_warn("shim does not end", "pod=%s pid=%d", p->uid, shim->pid);
}

void pod_reap_shim(struct pod *p)
{
    pthread_mutex_lock(&p->rt->lock);
    struct process_id shim = p->shim;
    bool child = p->shim_is_child;
    p->shim_is_child = false;
    p->shim = (struct process_id){ .pid = 0 };
    pthread_mutex_unlock(&p->rt->lock);
    if (shim.pid <= 0)
        return;
    pool_wait_begin();
    if (!child)
        await_end(p, &shim);
    while (child && waitpid(shim.pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pool_wait_end();
}

/* Asks the shim to end everything. On failure it is killed, and its containers with it. */
static void end_shim(struct ctx *ctx, struct pod *p)
{
    struct ctx wait = ctx_with_timeout(ctx, SHUTDOWN_MS);
    char at[256];
    struct shim_writer w;
    struct reply reply;
    struct err why;
    AUTO(link) struct link *l = NULL;
    int rc = pod_link(p, &l, &why);

    if (rc == 0) {
        shim_frame_begin(&w, at, sizeof(at), SHIM_SHUTDOWN, 0);
        rc = link_call(&wait, l, &w, NULL, 0, &reply, &why);
    }
    if (rc == 0) {
        pod_reap_shim(p);
        return;
    }
    if (process_alive(p->rt, &p->shim))
        kill(p->shim.pid, SIGKILL);
    pod_reap_shim(p);
    pod_bury(ctx, p);
}

static void drop_link(struct pod *p)
{
    pthread_mutex_lock(&p->rt->lock);
    struct link *l = p->link;
    p->link = NULL;
    pthread_mutex_unlock(&p->rt->lock);
    if (l)
        link_close(l);
    link_unref(l);
}

static CHECK_RC int remove_files(struct pod *p, struct err *err)
{
    AUTO_FREE char *shm = mem_printf("%s/pods/%s/shm", p->rt->data_dir, p->uid);
    AUTO_FREE char *sock = mem_printf("%s.sock", p->uid);
    static const char *const names[] = { "containers", "shm", "sandbox.json", ".sandbox.json.tmp" };
    int rc = 0;

    unlinkat(p->rt->run_fd, sock, 0);
    if (umount2(shm, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return err_sys(err, errno, "unmount %s", shm);
    AUTO_FD int dir = openat(p->rt->pods_fd, p->uid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open folder of pod %s", p->uid);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(names); i++)
        rc = remove_tree(dir, names[i], err);
    /* Other rooms may have things of the pod there: the last one removes the folder. */
    if (rc == 0 && unlinkat(p->rt->pods_fd, p->uid, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
        rc = err_sys(err, errno, "remove folder of pod %s", p->uid);
    return rc;
}

int runtime_sandbox_remove(struct ctx *ctx, struct runtime *rt, const char *pod_uid, struct err *err)
{
    AUTO(pod) struct pod *p = NULL;
    int rc = pod_find(rt, pod_uid, &p, err);

    if (rc == -ERR_NOT_FOUND)
        return 0;
    if (rc == 0)
        rc = pod_claim(p, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&rt->lock);
    p->removing = true;
    pthread_mutex_unlock(&rt->lock);
    end_shim(ctx, p);
    drop_link(p);
    if (p->cgroup && *p->cgroup) {
        rc = cgroup_kill(ctx, rt->cgroups, p->cgroup, err);
        if (rc == 0)
            rc = cgroup_remove(rt->cgroups, p->cgroup, err);
    }
    if (rc == 0)
        rc = remove_files(p, err);
    pthread_mutex_lock(&rt->lock);
    p->removing = rc == 0;
    pthread_mutex_unlock(&rt->lock);
    pod_release(p);
    if (rc < 0)
        return err_wrap(err, "remove the sandbox of pod %s", pod_uid);
    pod_forget(p);
    return 0;
}
