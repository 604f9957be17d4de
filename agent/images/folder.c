#include "agent/images/folder.h"

#include "lib/auto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Each level holds two descriptors; what lies deeper is moved up first. */
enum { LEVELS_MAX = 40, TRIES = 100, ROUNDS_MAX = 100000 };

int folder_open(int root_fd, const char *path, int flags, uint64_t resolve_more)
{
    struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                            .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve_more };
    int fd = -1;

    /* EAGAIN: a rename somewhere in the system made ".." uncertain. */
    for (int i = 0; i < TRIES; i++) {
        fd = (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return fd;
}

static void auto_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

struct removal {
    int top_fd;        /* where deep folders are moved to */
    unsigned moved;
    int64_t freed;
};

static int remove_at(struct removal *r, int dir_fd, const char *name, int level, struct err *err);

static int remove_inside(struct removal *r, int dir_fd, const char *name, int level, struct err *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO(closedir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(err, sys, "open %.100s", name);
    }
    if (level == 0)
        r->top_fd = fd;
    for (struct dirent *e; (errno = 0, e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int rc = remove_at(r, fd, e->d_name, level + 1, err);
        if (rc < 0)
            return rc;
    }
    return errno ? err_sys(err, errno, "read %.100s", name) : 0;
}

/* A folder too deep: renamed into the top one, whose listing finds it later (removal is repeated until it is empty). */
static int move_up(struct removal *r, int dir_fd, const char *name, struct err *err)
{
    char to[32];

    for (int i = 0; i < TRIES; i++) {
        snprintf(to, sizeof(to), ".deep-%u", r->moved++);
        if (renameat2(dir_fd, name, r->top_fd, to, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return err_sys(err, errno, "move %.100s", name);
}

static int remove_at(struct removal *r, int dir_fd, const char *name, int level, struct err *err)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "look at %.100s", name);
    if (!S_ISDIR(st.st_mode)) {
        if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
            return err_sys(err, errno, "remove %.100s", name);
        r->freed += st.st_nlink == 1 ? (int64_t)st.st_blocks * 512 : 0;
        return 0;
    }
    if (level > LEVELS_MAX)
        return move_up(r, dir_fd, name, err);
    int rc = remove_inside(r, dir_fd, name, level, err);
    if (rc < 0)
        return rc;
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY)
        return err_sys(err, errno, "remove %.100s", name);
    r->freed += (int64_t)st.st_blocks * 512;
    return 0;
}

int folder_remove(int dir_fd, const char *name, int64_t *ret_freed, struct err *err)
{
    struct removal r = { .top_fd = -1 };
    struct stat st;
    int rc = 0, rounds = 0;

    /* Once more for what was moved up, or left out by a listing that changed under way. */
    do
        rc = remove_at(&r, dir_fd, name, 0, err);
    while (rc == 0 && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && rounds++ < ROUNDS_MAX);
    if (rc == 0 && rounds > ROUNDS_MAX)
        rc = err_set(err, ERR_IO, "it fills as fast as it is emptied");
    if (rc < 0)
        return err_wrap(err, "remove folder %.100s", name);
    if (ret_freed)
        *ret_freed += r.freed;
    return 0;
}

int folder_empty(int dir_fd, const char *name, struct err *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO(closedir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(err, sys, "open %.100s", name);
    }
    for (struct dirent *e; (errno = 0, e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int rc = folder_remove(fd, e->d_name, NULL, err);
        if (rc < 0)
            return rc;
    }
    return errno ? err_sys(err, errno, "read %.100s", name) : 0;
}
