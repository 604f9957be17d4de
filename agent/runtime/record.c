/* What is on disk of a pod: <data_dir>/pods/<uid>/sandbox.json and containers/<id>/{container,exit}.json. */
#include "agent/runtime/runtime_int.h"

#include "lib/file.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Old or new after a crash of ours; after a power cut the file may be empty, and then its processes are gone too, so it is not synced. */
int record_write(int dir_fd, const char *name, const json_t *v, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    char tmp[64];

    json_write(v, &text);
    snprintf(tmp, sizeof(tmp), ".%.40s.tmp", name);
    AUTO_FD int fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, errno, "open %s", tmp);
    ssize_t n = write(fd, buf_at(&text), buf_len(&text));
    if (n != (ssize_t)buf_len(&text))
        return err_sys(err, n < 0 ? errno : ENOSPC, "write %s", tmp);
    if (renameat(dir_fd, tmp, dir_fd, name) < 0)
        return err_sys(err, errno, "rename %s to %s", tmp, name);
    return 0;
}

int record_read(int dir_fd, const char *name, json_t **ret, struct err *err)
{
    AUTO_FREE char *text = NULL;
    AUTO(json) json_t *v = NULL;
    size_t n;
    int rc = file_read(dir_fd, name, RECORD_MAX_BYTES, &text, &n, err);

    if (rc < 0)
        return rc;
    rc = json_read(text, n, NULL, NULL, &v, err);
    if (rc < 0)
        return err_wrap(err, "%s", name);
    int64_t format = json_int_or(v, "format", 0);
    if (format < 1 || format > RUNTIME_FORMAT)
        return err_set(err, ERR_IO, "%s has format %lld; this rancherd knows up to %d", name, (long long)format, RUNTIME_FORMAT);
    *ret = TAKE(v);
    return 0;
}

int record_sandbox_write(struct pod *p, struct err *err)
{
    AUTO(json) json_t *v = json_object();
    AUTO_FD int dir = openat(p->rt->pods_fd, p->uid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return err_sys(err, errno, "open folder of pod %s", p->uid);
    json_put(v, "format", json_integer(RUNTIME_FORMAT));
    json_put(v, "namespace", json_text(slice_of(p->ns)));
    json_put(v, "name", json_text(slice_of(p->name)));
    json_put(v, "hostname", json_text(slice_of(p->hostname)));
    json_put(v, "cgroup", json_text(slice_of(p->cgroup)));
    json_put(v, "hostNetwork", json_boolean(p->host_network));
    json_put(v, "hostIPC", json_boolean(p->host_ipc));
    json_put(v, "hostPID", json_boolean(p->host_pid));
    json_put(v, "sharePID", json_boolean(p->share_pid));
    json_put(v, "shim.pid", json_integer(p->shim.pid));
    json_put(v, "shim.start", json_integer((json_int_t)p->shim.start));
    json_put(v, "shim.boot", json_text(slice_of(p->shim.boot_id)));
    return record_write(dir, "sandbox.json", v, err);
}

int record_sandbox_read(struct pod *p, int dir_fd, struct err *err)
{
    AUTO(json) json_t *v = NULL;
    int rc = record_read(dir_fd, "sandbox.json", &v, err);

    if (rc < 0)
        return rc;
    p->ns = mem_strdup(json_str_or(v, "namespace", ""));
    p->name = mem_strdup(json_str_or(v, "name", ""));
    p->hostname = mem_strdup(json_str_or(v, "hostname", ""));
    p->cgroup = mem_strdup(json_str_or(v, "cgroup", ""));
    p->host_network = json_bool_or(v, "hostNetwork", false);
    p->host_ipc = json_bool_or(v, "hostIPC", false);
    p->host_pid = json_bool_or(v, "hostPID", false);
    p->share_pid = json_bool_or(v, "sharePID", false);
    p->shim.pid = (pid_t)json_int_or(v, "shim.pid", 0);
    p->shim.start = (uint64_t)json_int_or(v, "shim.start", 0);
    snprintf(p->shim.boot_id, sizeof(p->shim.boot_id), "%s", json_str_or(v, "shim.boot", ""));
    return 0;
}

int record_container_write(int dir_fd, const struct container *c, struct err *err)
{
    AUTO(json) json_t *v = json_object();

    json_put(v, "format", json_integer(RUNTIME_FORMAT));
    json_put(v, "id", json_text(slice_of(c->id)));
    json_put(v, "name", json_text(slice_of(c->name)));
    json_put(v, "attempt", json_integer(c->attempt));
    json_put(v, "createdUs", json_integer(c->created_us));
    json_put(v, "logPath", json_text(slice_of(c->log_path)));
    return record_write(dir_fd, "container.json", v, err);
}

int record_container_read(int dir_fd, struct container *ret, struct err *err)
{
    AUTO(json) json_t *v = NULL;
    int rc = record_read(dir_fd, "container.json", &v, err);

    if (rc < 0)
        return rc;
    *ret = (struct container){ .attempt = (int)json_int_or(v, "attempt", 0), .created_us = json_int_or(v, "createdUs", 0) };
    snprintf(ret->id, sizeof(ret->id), "%s", json_str_or(v, "id", ""));
    snprintf(ret->name, sizeof(ret->name), "%s", json_str_or(v, "name", ""));
    snprintf(ret->log_path, sizeof(ret->log_path), "%s", json_str_or(v, "logPath", ""));
    return 0;
}

int record_exit_read(int dir_fd, struct container *to, struct err *err)
{
    AUTO(json) json_t *v = NULL;
    int rc = record_read(dir_fd, "exit.json", &v, err);

    if (rc < 0)
        return rc;
    to->state = CONTAINER_EXITED;
    to->pid = (pid_t)json_int_or(v, "pid", 0);
    to->started_us = json_int_or(v, "startedUs", 0);
    to->finished_us = json_int_or(v, "finishedUs", 0);
    to->exit_code = (int)json_int_or(v, "exitCode", 255);
    to->signal = (int)json_int_or(v, "signal", 0);
    to->oom_killed = json_bool_or(v, "oomKilled", false);
    to->gone = json_bool_or(v, "gone", false);
    return 0;
}

int record_gone_write(int dir_fd, const struct container *c, struct err *err)
{
    AUTO(json) json_t *v = json_object();

    json_put(v, "format", json_integer(RUNTIME_FORMAT));
    json_put(v, "pid", json_integer(c->pid));
    json_put(v, "startedUs", json_integer(c->started_us));
    json_put(v, "finishedUs", json_integer(c->finished_us));
    json_put(v, "exitCode", json_integer(c->exit_code));
    json_put(v, "gone", json_true());
    return record_write(dir_fd, "exit.json", v, err);
}
