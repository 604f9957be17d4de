#include "agent/runtime/runtime_int.h"

#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TREE_DEPTH_MAX = 32 };

int make_dirs(const char *path, mode_t mode, struct err *err)
{
    AUTO_FREE char *at = mem_strdup(path);

    for (char *slash = at; slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = 0;
        if (mkdir(at, mode) < 0 && errno != EEXIST)
            return err_sys(err, errno, "make %s", at);
        if (slash)
            *slash = '/';
    }
    return 0;
}

static CHECK_RC int remove_below(int dir_fd, const char *name, int depth, struct err *err)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return err_sys(err, errno, "remove %s", name);
    if (depth > TREE_DEPTH_MAX)
        return err_set(err, ERR_TOO_LARGE, "remove %s: folders too deep", name);
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        rc = err_sys(err, errno, "open %s", name);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = remove_below(fd, e->d_name, depth + 1, err);
    closedir(d);
    if (rc == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = err_sys(err, errno, "remove %s", name);
    return rc;
}

int remove_tree(int dir_fd, const char *name, struct err *err)
{
    return remove_below(dir_fd, name, 0, err);
}

int process_identify(struct runtime *rt, pid_t pid, struct process_id *ret, struct err *err)
{
    char path[64], text[1024];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return err_set(err, ERR_NOT_FOUND, "process %d is not there", pid);
    text[n] = 0;
    /* The name in parentheses may hold anything, so fields count from the last one: what follows is field 3. */
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return err_set(err, ERR_IO, "%s: no start time", path);
    *ret = (struct process_id){ .pid = pid, .start = strtoull(at, NULL, 10) };
    memcpy(ret->boot_id, rt->boot_id, sizeof(ret->boot_id));
    return 0;
}

bool process_alive(struct runtime *rt, const struct process_id *id)
{
    struct process_id now;
    struct err ignored;

    return id->pid > 0 && strcmp(id->boot_id, rt->boot_id) == 0 && process_identify(rt, id->pid, &now, &ignored) == 0 &&
           now.start == id->start;
}
