#include "agent/runtime/runtime_int.h"

#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { START_FRAME_BYTES = 4096, ID_MAX_BYTES = 64, CONFIG_MAX_BYTES = 4 * 1024 * 1024 };

static CHECK_RC int check_id(const char *id, struct err *err)
{
    size_t n = strlen(id);

    if (n == 0 || n > ID_MAX_BYTES || id[strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz-")])
        return err_set(err, ERR_INVALID, "container id \"%.80s\" cannot name a folder", id);
    return 0;
}

void container_paths(const struct pod *p, const char *id, char *dir)
{
    snprintf(dir, RUNTIME_PATH_BYTES, "%s/pods/%s/containers/%s", p->rt->data_dir, p->uid, id);
}

/* Errors. */

/* "runc run failed: X" and "runc create failed: X" are the same to users; crun says X alone. */
static const char *cause_of(const char *text)
{
    static const char *const heads[] = { "runc run failed: ", "runc create failed: ", "exec failed: " };

    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (strncmp(text, heads[i], strlen(heads[i])) == 0)
            return text + strlen(heads[i]);
    return text;
}

static bool command_at_fault(const char *text)
{
    static const char *const signs[] = { "exec: ", "executable file", "open executable", "exec format error", "no such file or directory: unknown",
                                         "chdir to cwd", "unable to find user" };

    for (size_t i = 0; i < ARRAY_LEN(signs); i++)
        if (strstr(text, signs[i]))
            return true;
    return false;
}

int container_start_error(const struct runtime *rt, const char *text, const char *verb, struct err *err)
{
    const char *cause = cause_of(text), *slash = strrchr(rt->oci, '/');
    enum err_code code = command_at_fault(cause) ? ERR_INVALID : ERR_IO;

    if (strcmp(verb, "exec") == 0)
        return err_set(err, code, "OCI runtime exec failed: exec failed: %s: unknown", cause);
    return err_set(err, code, "failed to create containerd task: failed to create shim task: OCI runtime create failed: %s create failed: %s: unknown",
                   slash ? slash + 1 : rt->oci, cause);
}

/* Start. */

static CHECK_RC int write_config(struct pod *p, const struct container_spec *spec, int dir_fd, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    int rc = spec_write(p, spec, &text, err);

    if (rc < 0)
        return rc;
    if (buf_len(&text) > CONFIG_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "the container's configuration has more than %d bytes", CONFIG_MAX_BYTES);
    AUTO_FD int fd = openat(dir_fd, "config.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "open config.json");
    ssize_t n = write(fd, buf_at(&text), buf_len(&text));
    if (n != (ssize_t)buf_len(&text))
        return err_sys(err, n < 0 ? errno : ENOSPC, "write config.json");
    return 0;
}

static CHECK_RC int write_bundle(struct pod *p, const struct container_spec *spec, const struct container *c, struct err *err)
{
    char dir[RUNTIME_PATH_BYTES], log_dir[sizeof(c->log_path)];

    container_paths(p, spec->id, dir);
    snprintf(log_dir, sizeof(log_dir), "%s", spec->log_path);
    char *slash = strrchr(log_dir, '/');
    if (!slash || slash == log_dir)
        return err_set(err, ERR_INVALID, "log path \"%s\" is not absolute", spec->log_path);
    *slash = 0;
    int rc = make_dirs(dir, 0700, err);
    if (rc == 0)
        rc = make_dirs(log_dir, 0755, err);
    if (rc < 0)
        return rc;
    AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    rc = write_config(p, spec, fd, err);
    return rc < 0 ? rc : record_container_write(fd, c, err);
}

static CHECK_RC int call_start(struct ctx *ctx, struct pod *p, const struct container_spec *spec, const char *cgroup, struct reply *ret, struct err *err)
{
    char at[START_FRAME_BYTES], dir[RUNTIME_PATH_BYTES], memory[RUNTIME_PATH_BYTES];
    struct shim_writer w;
    AUTO(link) struct link *l = NULL;
    int flags = (spec->tty ? SHIM_TTY : 0) | (spec->stdin_open ? SHIM_IN : 0) | (spec->stdin_once ? SHIM_STDIN_ONCE : 0);
    int rc = pod_link(p, &l, err);

    if (rc < 0)
        return rc;
    container_paths(p, spec->id, dir);
    shim_frame_begin(&w, at, sizeof(at), SHIM_START, 0);
    shim_frame_num(&w, 0, flags);
    shim_frame_num(&w, 1, p->rt->log_max_bytes);
    shim_frame_num(&w, 2, p->rt->log_max_files);
    shim_frame_str(&w, spec->id);
    shim_frame_str(&w, dir);
    shim_frame_str(&w, spec->log_path);
    shim_frame_str(&w, cgroup_memory_dir(p->rt->cgroups, cgroup, memory, sizeof(memory)));
    return link_call(ctx, l, &w, NULL, 0, ret, err);
}

static CHECK_RC int add_entry(struct pod *p, const struct container_spec *spec, struct container *ret, struct err *err)
{
    struct container c = { .attempt = spec->attempt, .state = CONTAINER_CREATED, .created_us = clock_wall_us(p->rt->clock) };

    if ((size_t)snprintf(c.name, sizeof(c.name), "%s", spec->name) >= sizeof(c.name) ||
        (size_t)snprintf(c.log_path, sizeof(c.log_path), "%s", spec->log_path) >= sizeof(c.log_path))
        return err_set(err, ERR_INVALID, "container %s: its name or log path is too long", spec->name);
    memcpy(c.id, spec->id, strlen(spec->id));
    LOCK_SCOPE(&p->rt->lock);
    if (pod_container(p, spec->id))
        return err_set(err, ERR_EXISTS, "container %s exists", spec->id);
    pod_container_add(p, &c);
    *ret = c;
    return 0;
}

static void drop_entry(struct pod *p, const char *id)
{
    struct err ignored;

    /* What could not be removed is found and removed with the pod. */
    ERR_IGNORE(container_forget_files(p, id, &ignored));
    LOCK_SCOPE(&p->rt->lock);
    pod_container_drop(p, id);
}

int runtime_container_start(struct ctx *ctx, struct runtime *rt, const struct container_spec *spec, struct err *err)
{
    AUTO(pod) struct pod *p = NULL;
    struct container c;
    struct reply reply;
    int rc = check_id(spec->id, err);

    if (rc == 0)
        rc = pod_find(rt, spec->pod_uid, &p, err);
    if (rc == 0)
        rc = add_entry(p, spec, &c, err);
    if (rc < 0)
        return rc;
    rc = write_bundle(p, spec, &c, err);
    AUTO_FREE char *cgroup = mem_printf("%s/%s", p->cgroup, spec->id);
    if (rc == 0)
        rc = call_start(ctx, p, spec, cgroup, &reply, err);
    if (rc == -ERR_TIMEOUT || rc == -ERR_CANCELED)
        return err_wrap(err, "start container %s", spec->name); /* it may still come up: it stays known, and its exit is told */
    if (rc < 0) {
        drop_entry(p, spec->id);
        if (err->code != ERR_IO || err->sys)
            return rc;
        struct err said = *err;
        return container_start_error(rt, said.msg, "create", err);
    }
    LOCK_SCOPE(&rt->lock);
    struct runtime_container *e = pod_container(p, spec->id);
    if (e && e->at.state == CONTAINER_CREATED) { /* else it has ended meanwhile */
        e->at.state = CONTAINER_RUNNING;
        e->at.pid = (pid_t)reply.num[1];
        e->at.started_us = reply.num[3];
    }
    return 0;
}

/* The rest of its life. */

static CHECK_RC int simple_call(struct ctx *ctx, struct runtime *rt, const char *pod_uid, uint32_t type, int64_t num, const char *id, struct err *err)
{
    char at[1024];
    struct shim_writer w;
    struct reply reply;
    AUTO(pod) struct pod *p = NULL;
    AUTO(link) struct link *l = NULL;
    int rc = pod_find(rt, pod_uid, &p, err);

    if (rc == 0)
        rc = pod_link(p, &l, err);
    if (rc < 0)
        return rc;
    shim_frame_begin(&w, at, sizeof(at), type, 0);
    shim_frame_num(&w, 0, num);
    shim_frame_str(&w, id);
    return link_call(ctx, l, &w, NULL, 0, &reply, err);
}

int runtime_container_kill(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, int signal, struct err *err)
{
    int rc = simple_call(ctx, rt, pod_uid, SHIM_KILL, signal, id, err);

    return rc < 0 ? err_wrap(err, "kill container %s", id) : 0;
}

int runtime_log_rotate(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, struct err *err)
{
    int rc = simple_call(ctx, rt, pod_uid, SHIM_ROTATE, 0, id, err);

    return rc < 0 ? err_wrap(err, "reopen the log of container %s", id) : 0;
}

int container_forget_files(struct pod *p, const char *id, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/containers", p->uid);
    AUTO_FD int fd = openat(p->rt->pods_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", path);
    return remove_tree(fd, id, err);
}

int runtime_container_remove(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, struct err *err)
{
    AUTO(pod) struct pod *p = NULL;
    int rc = check_id(id, err);

    if (rc == 0)
        rc = pod_find(rt, pod_uid, &p, err);
    if (rc < 0)
        return rc == -ERR_NOT_FOUND ? 0 : rc;
    pthread_mutex_lock(&rt->lock);
    struct runtime_container *c = pod_container(p, id);
    bool running = c && c->at.state != CONTAINER_EXITED, shim = p->link != NULL;
    pthread_mutex_unlock(&rt->lock);
    if (!c)
        return 0;
    if (running)
        return err_set(err, ERR_CONFLICT, "container %s is running", id);
    if (shim)
        rc = simple_call(ctx, rt, pod_uid, SHIM_REMOVE, 0, id, err);
    if (rc < 0 && rc != -ERR_UNAVAILABLE) /* without its shim it was cleaned up when that died */
        return err_wrap(err, "remove container %s", id);
    rc = container_forget_files(p, id, err);
    if (rc < 0)
        return err_wrap(err, "remove container %s", id);
    LOCK_SCOPE(&rt->lock);
    pod_container_drop(p, id);
    return 0;
}

int runtime_container(struct runtime *rt, const char *pod_uid, const char *id, struct container *ret, struct err *err)
{
    LOCK_SCOPE(&rt->lock);
    struct pod *p = map_get(rt->pods, pod_uid);
    struct runtime_container *c = p ? pod_container(p, id) : NULL;

    if (!c)
        return err_set(err, ERR_NOT_FOUND, "container %s of pod %s is not known", id, pod_uid);
    *ret = c->at;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct container *x = a, *y = b;
    int d = strcmp(x->name, y->name);

    return d ? d : (x->attempt > y->attempt) - (x->attempt < y->attempt);
}

int runtime_containers(struct runtime *rt, const char *pod_uid, struct container **ret, size_t *ret_n, struct err *err)
{
    LOCK_SCOPE(&rt->lock);
    struct pod *p = map_get(rt->pods, pod_uid);
    size_t n = 0;

    if (!p)
        return err_set(err, ERR_NOT_FOUND, "pod %s has no sandbox", pod_uid);
    for (struct runtime_container *c = p->containers; c; c = c->next)
        n++;
    struct container *list = mem_alloc((n ? n : 1) * sizeof(*list));
    n = 0;
    for (struct runtime_container *c = p->containers; c; c = c->next)
        list[n++] = c->at;
    qsort(list, n, sizeof(*list), by_name);
    *ret = list;
    *ret_n = n;
    return 0;
}

int runtime_container_update(struct ctx *ctx, struct runtime *rt, const char *pod_uid, const char *id, const struct container_resources *r,
                             struct err *err)
{
    AUTO_FREE char *cgroup = NULL;
    int rc = ctx_check(ctx, err);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&rt->lock);
    struct pod *p = map_get(rt->pods, pod_uid);
    struct runtime_container *c = p ? pod_container(p, id) : NULL;
    bool running = c && c->at.state == CONTAINER_RUNNING;
    if (running)
        cgroup = mem_printf("%s/%s", p->cgroup, id);
    pthread_mutex_unlock(&rt->lock);
    if (!running)
        return err_set(err, ERR_NOT_FOUND, "container %s of pod %s is not running", id, pod_uid);
    return cgroup_set(rt->cgroups, cgroup, r, err);
}
