#include "agent/volumes/tree.h"

#include "lib/auto.h"
#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

AUTO_DEFINE(dir, DIR *, (void)closedir)

/* One step down, never over a link or onto another mount. -errno. */
static int open_below(int dir, const char *name, uint64_t flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC | O_NOFOLLOW,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };
    int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

    return fd >= 0 ? fd : -errno;
}

static int step(int at, const char *name, mode_t mode, int *ret_fd, struct err *err)
{
    if (mkdirat(at, name, mode) && errno != EEXIST)
        return err_sys(err, errno, "mkdir %s", name);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", name);
    *ret_fd = fd;
    return 0;
}

int tree_make(int dir, const char *path, mode_t mode, int *ret_fd, struct err *err)
{
    AUTO_FREE char *copy = mem_strdup(path);
    AUTO_FD int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    char *rest = NULL;

    if (at < 0)
        return err_sys(err, errno, "duplicate a descriptor");
    for (char *name = strtok_r(copy, "/", &rest); name; name = strtok_r(NULL, "/", &rest)) {
        int next = -1, rc;

        if (!strcmp(name, "."))
            continue;
        if (!strcmp(name, ".."))
            return err_set(err, ERR_INVALID, "%s: must not contain '..'", path);
        rc = step(at, name, mode, &next, err);
        if (rc < 0)
            return rc;
        close(at);
        at = next;
    }
    if (ret_fd)
        *ret_fd = TAKE_FD(at);
    return 0;
}

int tree_open(const char *path, int *ret_fd, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        *ret_fd = fd;
        return 0;
    }
    if (errno != ENOENT || path[0] != '/')
        return err_sys(err, errno, "open %s", path);
    AUTO_FREE char *copy = mem_strdup(path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0750) && errno != EEXIST)
            return err_sys(err, errno, "mkdir %s", copy);
        *p = '/';
    }
    if (mkdir(copy, 0750) && errno != EEXIST)
        return err_sys(err, errno, "mkdir %s", copy);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", path);
    *ret_fd = fd;
    return 0;
}

int tree_is_mount(int dir, const char *name, bool *ret, struct err *err)
{
    struct statx st;

    if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, STATX_MODE, &st))
        return err_sys(err, errno, "stat %s", name);
    *ret = st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
    return 0;
}

/* --- removal --- */

static int take_off(int dir, const char *name, struct err *err)
{
    char path[64 + 256];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
    if (umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH))
        return err_sys(err, errno, "unmount %s", name);
    return 0;
}

struct removal {
    int top, depth; /* top: the folder that goes; depth: below it */
    unsigned hoisted;
};

static int remove_entry(struct removal *r, int dir, const char *name, struct err *err);

static int remove_all_in(struct removal *r, int fd, struct err *err)
{
    AUTO(dir) DIR *d = fdopendir(fd);
    int rc = 0;

    if (!d) {
        rc = err_sys(err, errno, "read a folder");
        close(fd);
        return rc;
    }
    r->depth++;
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            rc = remove_entry(r, fd, e->d_name, err);
    r->depth--;
    return rc;
}

/* A program can nest folders without end; what is too deep for our descriptors moves up and goes in a later turn. */
static int hoist(struct removal *r, int dir, const char *name, struct err *err)
{
    char to[32];

    for (;;) {
        (void)snprintf(to, sizeof(to), ".deep-%u", r->hoisted++);
        if (!renameat2(dir, name, r->top, to, RENAME_NOREPLACE))
            return 0;
        if (errno != EEXIST)
            return err_sys(err, errno, "move %s", name);
    }
}

/* Into the folder, and away with it. 1: look again (a mount was taken off, or something came up from the depth). */
static int remove_folder(struct removal *r, int dir, const char *name, struct err *err)
{
    int fd = open_below(dir, name, O_RDONLY | O_DIRECTORY), rc;

    if (fd == -ENOENT)
        return 0;
    if (fd == -EXDEV)
        return (rc = take_off(dir, name, err)) < 0 ? rc : 1;
    if (fd < 0)
        return err_sys(err, -fd, "open %s", name);
    if (r->depth == 0)
        r->top = fd;
    rc = remove_all_in(r, fd, err);
    if (rc < 0)
        return rc;
    if (!unlinkat(dir, name, AT_REMOVEDIR) || errno == ENOENT)
        return 0;
    return errno == EBUSY || errno == ENOTEMPTY ? 1 : err_sys(err, errno, "remove %s", name);
}

static int remove_entry(struct removal *r, int dir, const char *name, struct err *err)
{
    enum { TURNS = 64 };
    int turns = 0;

    while (turns < TURNS) {
        unsigned hoisted = r->hoisted;
        int rc;

        if (!unlinkat(dir, name, 0) || errno == ENOENT)
            return 0;
        if (errno == EBUSY)
            rc = take_off(dir, name, err) < 0 ? -(int)err->code : 1;
        else if (errno != EISDIR && errno != EPERM)
            return err_sys(err, errno, "remove %s", name);
        else if (r->depth >= TREE_DEPTH_MAX)
            return hoist(r, dir, name, err);
        else
            rc = remove_folder(r, dir, name, err);
        if (rc <= 0)
            return rc;
        turns = r->hoisted != hoisted ? 0 : turns + 1;
    }
    return err_set(err, ERR_UNAVAILABLE, "remove %s: it is still in use", name);
}

int tree_remove(int dir, const char *name, struct err *err)
{
    struct removal r = { .top = -1 };

    return remove_entry(&r, dir, name, err);
}

/* --- groups --- */

/* By a handle, so that nobody can put a link in the way between looking and changing. */
static int chgrp_one(int dir, const char *name, gid_t gid, bool readonly, struct err *err)
{
    AUTO_FD int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char self[64];
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", name);
    if (fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) || fstat(fd, &st))
        return err_sys(err, errno, "change the group of %s", name);
    if (S_ISLNK(st.st_mode))
        return 0;
    mode_t mode = (st.st_mode & 07777) | (readonly ? 0440 : 0660);
    if (S_ISDIR(st.st_mode))
        mode |= S_ISGID | 0110;
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (chmod(self, mode))
        return err_sys(err, errno, "change the mode of %s", name);
    return 0;
}

static int chgrp_at(int dir, const char *name, gid_t gid, bool readonly, int depth, struct err *err);

static int chgrp_all_in(int fd, gid_t gid, bool readonly, int depth, struct err *err)
{
    AUTO(dir) DIR *d = fdopendir(fd);
    int rc = 0;

    if (!d) {
        rc = err_sys(err, errno, "read a folder");
        close(fd);
        return rc;
    }
    for (struct dirent *e; rc == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            rc = chgrp_at(fd, e->d_name, gid, readonly, depth + 1, err);
    return rc;
}

static int chgrp_at(int dir, const char *name, gid_t gid, bool readonly, int depth, struct err *err)
{
    struct stat st;

    if (depth > TREE_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "change the group of %s: more than %d folders deep", name, TREE_DEPTH_MAX);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", name);
    if (S_ISDIR(st.st_mode)) {
        int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int rc = fd >= 0 ? chgrp_all_in(fd, gid, readonly, depth, err) : err_sys(err, errno, "open %s", name);

        if (rc < 0)
            return rc;
    }
    return chgrp_one(dir, name, gid, readonly, err);
}

int tree_chgrp(int dir, const char *name, gid_t gid, bool readonly, struct err *err)
{
    return chgrp_at(dir, name, gid, readonly, 0, err);
}
