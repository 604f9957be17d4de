/* After a restart of the agent: pods are found on disk, their shims by their sockets, and each container's end by either. */
#include "agent/runtime/runtime_int.h"

#include "lib/log.h"
#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void load_container(struct pod *p, int dir_fd, const char *id)
{
    AUTO_FD int fd = openat(dir_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct container c;
    struct err err;

    if (fd < 0 || record_container_read(fd, &c, &err) < 0 || strcmp(c.id, id) != 0) {
        /* Never started: its record is written before the shim hears of it. */
        log_warn("container without a record removed", "pod=%s container=%s", p->uid, log_q(id));
        ERR_IGNORE(remove_tree(dir_fd, id, &err)); /* it goes with the pod at the latest */
        return;
    }
    ERR_IGNORE(record_exit_read(fd, &c, &err)); /* still runs, or the shim knows better */
    LOCK_SCOPE(&p->rt->lock);
    pod_container_add(p, &c);
}

static void load_containers(struct pod *p, int pod_fd)
{
    int fd = openat(pod_fd, "containers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (fd >= 0 && !d)
        close(fd);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            load_container(p, fd, e->d_name);
    if (d)
        closedir(d);
}

/* A container the living shim has not heard of and that left no record was never started. */
static void drop_unstarted(struct pod *p)
{
    for (;;) {
        char id[65] = "";
        struct err ignored;
        pthread_mutex_lock(&p->rt->lock);
        for (struct runtime_container *c = p->containers; c && !*id; c = c->next)
            if (!c->known && c->at.state != CONTAINER_EXITED)
                memcpy(id, c->at.id, sizeof(id));
        if (*id)
            pod_container_drop(p, id);
        pthread_mutex_unlock(&p->rt->lock);
        if (!*id)
            return;
        ERR_IGNORE(container_forget_files(p, id, &ignored)); /* goes with the pod at the latest */
    }
}

static void recover_pod(struct ctx *ctx, struct pod *p, int pod_fd)
{
    struct err err = { 0 };

    if (record_sandbox_read(p, pod_fd, &err) < 0) {
        log_warn("sandbox record not readable", "pod=%s err=%s", p->uid, log_q(err.msg));
        p->ns = mem_strdup("");
        p->name = mem_strdup("");
        p->hostname = mem_strdup("");
        p->cgroup = mem_strdup("");
    }
    load_containers(p, pod_fd);
    if (link_open(ctx, p, &err) == 0) {
        drop_unstarted(p);
        return;
    }
    log_info("shim of a pod is gone", "pod=%s err=%s", p->uid, log_q(err.msg));
    if (process_alive(p->rt, &p->shim))
        kill(p->shim.pid, SIGKILL); /* it does not talk to us */
    p->shim = (struct process_id){ .pid = 0 };
    pod_bury(ctx, p);
}

static bool is_ours(int pod_fd)
{
    struct stat st;

    return fstatat(pod_fd, "sandbox.json", &st, AT_SYMLINK_NOFOLLOW) == 0 || fstatat(pod_fd, "containers", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int runtime_recover(struct ctx *ctx, struct runtime *rt, char ***ret_pod_uids, size_t *ret_n, struct err *err)
{
    int fd = openat(rt->pods_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    char **uids = NULL;
    size_t n = 0, cap = 0;
    struct err bad;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return err_sys(err, errno, "open %s/pods", rt->data_dir);
    }
    for (struct dirent *e; (e = readdir(d)) && n < PODS_MAX;) {
        if (e->d_name[0] == '.' || pod_check_uid(e->d_name, &bad) < 0)
            continue;
        AUTO_FD int pod_fd = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (pod_fd < 0 || !is_ours(pod_fd))
            continue;
        AUTO(pod) struct pod *p = pod_make(rt, e->d_name);
        recover_pod(ctx, p, pod_fd);
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            uids = mem_realloc(uids, cap * sizeof(*uids));
        }
        uids[n++] = mem_strdup(e->d_name);
    }
    closedir(d);
    *ret_pod_uids = uids;
    *ret_n = n;
    return 0;
}
