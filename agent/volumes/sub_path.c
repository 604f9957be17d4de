/*
 * subPath: a file or folder inside a volume. The pod may have put links there, so it is opened with the volume as its root, and what was opened
 * is held by a bind mount at pods/<uid>/volume-subpaths/<volume>/<container>/<index>: what a link says later changes nothing.
 */
#include "agent/volumes/sub_path.h"
#include "agent/volumes/tree.h"
#include "agent/volumes/volumes_int.h"

#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* -errno. */
static int open_inside(int root, const char *path)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

    return fd >= 0 ? fd : -errno;
}

/* Makes the folders that are missing, with the volume's mode; links on the way stay inside. */
static int make_inside(int root, const char *path, struct err *err)
{
    AUTO_FREE char *copy = mem_strdup(path);
    struct stat st;
    char self[64];
    mode_t mode;

    if (fstat(root, &st))
        return err_sys(err, errno, "stat the volume");
    mode = st.st_mode & 0777;
    for (char *p = copy; p[0]; p++) {
        size_t n = strcspn(p, "/");
        char c = p[n];
        int fd;

        p[n] = '\0';
        if ((fd = open_inside(root, copy)) == -ENOENT) {
            char *name = strrchr(copy, '/');
            AUTO_FD int parent = -1;
            if (name)
                *name = '\0';
            parent = open_inside(root, name && *copy ? copy : ".");
            const char *last = name ? name + 1 : copy;
            if (parent < 0 || (mkdirat(parent, last, mode) && errno != EEXIST))
                return err_sys(err, parent < 0 ? -parent : errno, "make %s", path);
            if (name)
                *name = '/';
            fd = open_inside(root, copy);
            if (fd >= 0 && !fstat(fd, &st) && (st.st_mode & 0777) != mode) { /* the umask took some */
                (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
                (void)chmod(self, mode | (st.st_mode & 07000));
            }
        }
        if (fd < 0)
            return err_sys(err, -fd, "open %s", path);
        close(fd);
        p[n] = c;
        p += n;
        if (!c)
            break;
    }
    return 0;
}

static bool same_place(int fd, const char *target)
{
    struct stat a, b;

    return !fstat(fd, &a) && !lstat(target, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* dir/name becomes a mount of what fd stands for; what was mounted there before and is something else goes. */
static int hold(int dir, const char *name, const char *path, int fd, struct err *err)
{
    AUTO_FREE char *target = mem_printf("%s/%s", path, name);
    char self[64];
    bool mounted = false;
    struct stat st;
    int rc;

    if (!fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) {
        rc = tree_is_mount(dir, name, &mounted, err);
        if (rc < 0 || (mounted && same_place(fd, target)))
            return rc;
        rc = tree_remove(dir, name, err);
        if (rc < 0)
            return rc;
    }
    if (fstat(fd, &st))
        return err_sys(err, errno, "stat a subPath");
    if (S_ISDIR(st.st_mode))
        rc = mkdirat(dir, name, 0750);
    else
        rc = mknodat(dir, name, S_IFREG | 0640, 0);
    if (rc)
        return err_sys(err, errno, "make %s", name);
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (mount(self, target, NULL, MS_BIND | MS_REC, NULL))
        return err_sys(err, errno, "bind %s", name);
    return 0;
}

static int prepare(struct volumes *v, const char *uid, const char *volume_path, const struct volume_use *use, char **ret, struct err *err)
{
    AUTO_FD int root = open(volume_path, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1, dir = -1;
    AUTO_FREE char *folder = mem_printf("%s/volume-subpaths/%s/%s", uid, use->volume, use->container);
    AUTO_FREE char *path = mem_printf("%s/pods/%s", v->data_dir, folder);
    char name[16];
    int rc;

    if (root < 0)
        return err_sys(err, errno, "open the volume");
    fd = open_inside(root, use->sub_path);
    if (fd == -ENOENT) {
        rc = make_inside(root, use->sub_path, err);
        if (rc < 0)
            return rc;
        fd = open_inside(root, use->sub_path);
    }
    if (fd < 0) {
        int sys = -fd;
        fd = -1;
        return err_sys(err, sys, "open the subPath");
    }
    (void)snprintf(name, sizeof(name), "%d", use->mount_index);
    rc = tree_make(v->pods_fd, folder, 0750, &dir, err);
    if (rc == 0)
        rc = hold(dir, name, path, fd, err);
    if (rc == 0)
        *ret = mem_printf("%s/%s", path, name);
    return rc;
}

int sub_path_prepare(struct volumes *v, const char *uid, const char *volume_path, const struct volume_use *use, char **ret, struct err *err)
{
    struct err why = { 0 };

    if (*use->sub_path == '/')
        return err_set(err, ERR_INVALID, "error SubPath `%s` must not be an absolute path", use->sub_path);
    if (path_no_backsteps(use->sub_path, &why) < 0)
        return err_set(err, ERR_INVALID, "unable to provision SubPath `%s`: %s", use->sub_path, why.msg);
    if (!*use->container || strchr(use->container, '/') || *use->container == '.')
        return err_set(err, ERR_INVALID, "container name \"%s\" can't be a folder", use->container);
    if (prepare(v, uid, volume_path, use, ret, &why) == 0)
        return 0;
    /* Upstream tells the user no more: the cause may speak of the node's files. It is in the code and errno. */
    int rc = err_set(err, why.code, "failed to prepare subPath for volumeMount \"%s\" of container \"%s\"", use->volume, use->container);
    err->sys = why.sys;
    return rc;
}
