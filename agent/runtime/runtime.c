#include "agent/runtime/runtime_int.h"

#include "embed/shim_program.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LOG_MAX_BYTES = 10 * 1024 * 1024, LOG_MAX_FILES = 5, CAP_SYS_RESOURCE_BIT = 24 };

/* Opening. */

static CHECK_RC int open_dir(const char *path, int *ret, struct err *err)
{
    int rc = make_dirs(path, 0700, err);

    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    *ret = fd;
    return 0;
}

static CHECK_RC int find_oci(const char *name, char **ret, struct err *err)
{
    const char *path = getenv("PATH");

    if (strchr(name, '/')) {
        if (access(name, X_OK) < 0)
            return err_set(err, ERR_NOT_FOUND, "OCI runtime %s: %s", name, strerrordesc_np(errno));
        *ret = mem_strdup(name);
        return 0;
    }
    AUTO_FREE char *dirs = mem_strdup(path && *path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    char *save = NULL;
    for (char *dir = strtok_r(dirs, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        AUTO_FREE char *at = mem_printf("%s/%s", dir, name);
        if (dir[0] == '/' && access(at, X_OK) == 0) {
            *ret = TAKE(at);
            return 0;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "OCI runtime %s is not in PATH", name);
}

/* The program as it was built, under a folder named by its hash: an upgrade never replaces what a living shim runs. */
static CHECK_RC int install_shim(struct runtime *rt, const char *bin_dir, struct err *err)
{
    struct slice program = embed_shim_program();
    char hash[SHA256_HEX_BYTES], tmp[40];
    AUTO_FD int dir_fd = -1, fd = -1;

    sha256_hex(program.at, program.n, hash);
    AUTO_FREE char *dir = mem_printf("%s/%.16s", bin_dir, hash);
    int rc = open_dir(dir, &dir_fd, err);
    if (rc < 0)
        return rc;
    rt->shim_path = mem_printf("%s/rancherd-shim", dir);
    struct stat st;
    if (fstatat(dir_fd, "rancherd-shim", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)program.n)
        return 0;
    snprintf(tmp, sizeof(tmp), ".shim.%d", getpid());
    fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0755);
    if (fd < 0)
        return err_sys(err, errno, "open %s/%s", dir, tmp);
    ssize_t n = write(fd, program.at, program.n);
    if (n != (ssize_t)program.n || fsync(fd) < 0) {
        rc = err_sys(err, n >= 0 && n != (ssize_t)program.n ? ENOSPC : errno, "write %s", rt->shim_path);
        unlinkat(dir_fd, tmp, 0);
        return rc;
    }
    if (renameat(dir_fd, tmp, dir_fd, "rancherd-shim") < 0)
        return err_sys(err, errno, "install %s", rt->shim_path);
    return 0;
}

static void read_text(const char *path, char *to, size_t n)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, to, n - 1);

    to[got > 0 ? got : 0] = 0;
    to[strcspn(to, "\n")] = 0;
}

/* Without CAP_SYS_RESOURCE a process may not go below where it is, and an OCI runtime asked to would fail. */
static int least_oom_score(void)
{
    char text[4096], score[16];
    AUTO_FD int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = 0;
    const char *caps = strstr(text, "\nCapEff:");
    if (caps && strtoull(caps + 8, NULL, 16) >> CAP_SYS_RESOURCE_BIT & 1)
        return -1000;
    read_text("/proc/self/oom_score_adj", score, sizeof(score));
    int least = (int)strtol(score, NULL, 10);
    log_warn("cannot lower OOM scores: CAP_SYS_RESOURCE is missing", "least=%d", least);
    return least;
}

static CHECK_RC int open_parts(struct runtime *rt, const struct runtime_options *o, struct err *err)
{
    AUTO_FREE char *pods = mem_printf("%s/pods", o->data_dir);
    int rc = find_oci(o->oci_runtime ? o->oci_runtime : "runc", &rt->oci, err);

    if (rc == 0)
        rc = open_dir(pods, &rt->pods_fd, err);
    if (rc == 0)
        rc = open_dir(o->run_dir, &rt->run_fd, err);
    if (rc == 0)
        rc = make_dirs(rt->oci_root, 0700, err);
    if (rc == 0)
        rc = install_shim(rt, o->bin_dir, err);
    if (rc == 0)
        rc = cgroups_open(&rt->cgroups, err);
    if (rc < 0)
        return rc;
    read_text("/proc/sys/kernel/random/boot_id", rt->boot_id, sizeof(rt->boot_id));
    rt->oom_score_adj_least = least_oom_score();
    return 0;
}

int runtime_open(const struct runtime_options *o, struct runtime **ret, struct err *err)
{
    const char *version = RANCHERD_VERSION;
    struct runtime *rt;

    if (strlen(o->data_dir) > RUNTIME_PATH_BYTES - 200 || o->data_dir[0] != '/' || o->run_dir[0] != '/' || o->bin_dir[0] != '/')
        return err_set(err, ERR_INVALID, "runtime folders must be absolute paths of at most %d bytes: %s", RUNTIME_PATH_BYTES - 200, o->data_dir);
    rt = MEM_NEW(struct runtime);
    rt->data_dir = mem_strdup(o->data_dir);
    rt->run_dir = mem_strdup(o->run_dir);
    rt->oci_root = mem_printf("%s/runc", o->run_dir);
    rt->version = mem_printf("rancherd://%s", version[0] == 'v' ? version + 1 : version);
    snprintf(rt->instance, sizeof(rt->instance), "%s", o->instance);
    rt->pods_fd = rt->run_fd = -1;
    rt->clock = o->clock;
    rt->loop = o->loop;
    rt->pool = o->pool;
    rt->on_event = o->on_event;
    rt->arg = o->arg;
    rt->log_max_bytes = o->log_max_bytes > 0 ? o->log_max_bytes : LOG_MAX_BYTES;
    rt->log_max_files = o->log_max_files > 0 ? o->log_max_files : LOG_MAX_FILES;
    rt->pods = map_new(NULL);
    pthread_mutex_init(&rt->lock, NULL);
    pthread_cond_init(&rt->idle, NULL);
    int rc = open_parts(rt, o, err);
    if (rc < 0) {
        runtime_close(rt);
        return err_wrap(err, "open the container runtime");
    }
    *ret = rt;
    return 0;
}

const char *runtime_version(struct runtime *rt)
{
    return rt->version;
}

/* Closing. */

static void drop_pods(struct runtime *rt)
{
    for (;;) {
        size_t pos = 0;
        const char *uid;
        void *value;
        pthread_mutex_lock(&rt->lock);
        bool any = map_next(rt->pods, &pos, &uid, &value);
        struct pod *p = any ? map_take(rt->pods, uid) : NULL;
        struct link *l = p ? p->link : NULL;
        if (p)
            p->link = NULL;
        pthread_mutex_unlock(&rt->lock);
        if (!p)
            return;
        if (l)
            link_close(l);
        link_unref(l);
        pod_unref(p);
    }
}

void runtime_close(struct runtime *rt)
{
    if (!rt)
        return;
    pthread_mutex_lock(&rt->lock);
    rt->closing = true;
    pthread_mutex_unlock(&rt->lock);
    drop_pods(rt);
    pthread_mutex_lock(&rt->lock);
    while (rt->jobs > 0 || rt->links > 0)
        pthread_cond_wait(&rt->idle, &rt->lock);
    pthread_mutex_unlock(&rt->lock);
    map_free(rt->pods);
    cgroups_close(rt->cgroups);
    if (rt->pods_fd >= 0)
        close(rt->pods_fd);
    if (rt->run_fd >= 0)
        close(rt->run_fd);
    pthread_mutex_destroy(&rt->lock);
    pthread_cond_destroy(&rt->idle);
    free(rt->data_dir);
    free(rt->run_dir);
    free(rt->oci);
    free(rt->oci_root);
    free(rt->shim_path);
    free(rt->version);
    free(rt);
}

/* Cgroups, for those who have a runtime only. */

int runtime_cgroup_set(struct runtime *rt, const char *cgroup, const struct container_resources *r, struct err *err)
{
    return cgroup_set(rt->cgroups, cgroup, r, err);
}

int runtime_cgroup_remove(struct runtime *rt, const char *cgroup, struct err *err)
{
    return cgroup_remove(rt->cgroups, cgroup, err);
}

int runtime_cgroup_usage(struct runtime *rt, const char *cgroup, struct cgroup_usage *ret, struct err *err)
{
    return cgroup_usage(rt->cgroups, cgroup, ret, err);
}
