/* Writes one entry. */
#include "agent/images/layer_int.h"

#include "agent/images/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

static const char whiteout[] = ".wh.", opaque_mark[] = ".wh..wh..opq";

/* The entry under work. */
struct place {
    char path[LAYER_PATH_MAX + 1]; /* cleaned */
    const char *name;              /* its last part */
    int dir_fd;                    /* the folder it lies in */
    bool hides;                    /* it replaces a whiteout: a folder has to hide what is below */
};

void layer_writer_clear(struct layer_writer *w)
{
    layer_parent_forget(w);
    buf_clear(&w->parent);
    buf_clear(&w->times);
}

static int is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static void note_opaque(struct layer_writer *w, const char *path)
{
    buf_add(w->opaque, path, strlen(path) + 1);
}

/* Makes way for a new entry. Folders stay for folders. */
static int clear_place(struct layer_writer *w, struct place *p, mode_t type, struct err *err)
{
    struct stat st;

    if (fstatat(p->dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "look at it");
    if (S_ISDIR(st.st_mode) && type == AE_IFDIR)
        return 0;
    p->hides = is_whiteout(&st);
    if (!S_ISDIR(st.st_mode))
        return unlinkat(p->dir_fd, p->name, 0) < 0 ? err_sys(err, errno, "replace it") : 0;
    /* Something else instead of a folder: the folders remembered may lie in it. */
    int rc = folder_remove(p->dir_fd, p->name, NULL, err);
    char *name = strrchr(p->path, '/');

    layer_parent_forget(w);
    if (rc < 0)
        return rc;
    char parent[LAYER_PATH_MAX + 1];
    snprintf(parent, sizeof(parent), "%.*s", name ? (int)(name - p->path) : 0, p->path);
    return layer_parent(w, parent, &p->dir_fd, err);
}

static int write_whiteout(struct layer_writer *w, struct place *p, struct err *err)
{
    const char *name = p->name + sizeof(whiteout) - 1;
    char parent[LAYER_PATH_MAX + 1];
    struct stat st;

    if (strcmp(p->name, opaque_mark) == 0) {
        snprintf(parent, sizeof(parent), "%.*s", p->name > p->path ? (int)(p->name - p->path - 1) : 0, p->path);
        note_opaque(w, parent);
        return 0;
    }
    if (strncmp(name, whiteout, sizeof(whiteout) - 1) == 0)
        return 0; /* other marks of aufs say nothing here */
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return err_set(err, ERR_INVALID, "a whiteout of nothing");
    if (fstatat(p->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        /* It is of this layer and stays; only what is below goes. */
        if (S_ISDIR(st.st_mode)) {
            snprintf(parent, sizeof(parent), "%.*s%s", (int)(p->name - p->path), p->path, name);
            note_opaque(w, parent);
        }
        return 0;
    }
    return mknodat(p->dir_fd, name, S_IFCHR, makedev(0, 0)) < 0 ? err_sys(err, errno, "make a whiteout") : 0;
}

static int write_folder(struct layer_writer *w, struct place *p, struct archive_entry *e, struct err *err)
{
    struct timespec time = { archive_entry_mtime(e), archive_entry_mtime_nsec(e) };

    if (mkdirat(p->dir_fd, p->name, 0700) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make the folder");
    AUTO_FD int fd = openat(p->dir_fd, p->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open the folder");
    if (p->hides)
        note_opaque(w, p->path);
    buf_add(&w->times, &time, sizeof(time));
    buf_add(&w->times, p->path, strlen(p->path) + 1);
    return layer_attributes(w, fd, e, err);
}

static int write_file(struct layer_writer *w, struct place *p, struct archive *a, struct archive_entry *e, struct err *err)
{
    AUTO_FD int fd = openat(p->dir_fd, p->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_sys(err, errno, "make the file");
    int rc = layer_fill(w, a, fd, e, err);
    return rc < 0 ? rc : layer_attributes(w, fd, e, err);
}

static int write_hard_link(struct layer_writer *w, struct place *p, const char *target, struct err *err)
{
    char path[LAYER_PATH_MAX + 1];
    int rc = layer_path_clean(target, path, err);

    if (rc < 0)
        return err_wrap(err, "link to \"%.200s\"", target);
    char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    if (!*name)
        return err_set(err, ERR_INVALID, "a hard link to the layer itself");
    if (strcmp(path, p->path) == 0)
        return err_set(err, ERR_INVALID, "a hard link to itself");
    if (slash)
        *slash = '\0';
    AUTO_FD int dir = folder_open(w->job->root_fd, slash ? path : ".", O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return err_sys(err, errno, "hard link to \"%.200s\"", target);
    rc = clear_place(w, p, 0, err);
    if (rc < 0)
        return rc;
    /* No AT_SYMLINK_FOLLOW: a link to a link is one. */
    return linkat(dir, name, p->dir_fd, p->name, 0) < 0 ? err_sys(err, errno, "hard link to \"%.200s\"", target) : 0;
}

static int owner_of(struct archive_entry *e, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
    int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);

    if (uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX)
        return err_set(err, ERR_INVALID, "owner %lld:%lld", (long long)uid, (long long)gid);
    *ret_uid = (uid_t)uid;
    *ret_gid = (gid_t)gid;
    return 0;
}

/* What is not opened: symbolic links, devices, pipes. */
static int name_attributes(const struct layer_writer *w, const struct place *p, struct archive_entry *e, bool link, struct err *err)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { archive_entry_mtime(e), archive_entry_mtime_nsec(e) } };
    uid_t uid = 0;
    gid_t gid = 0;
    int rc = owner_of(e, &uid, &gid, err);

    if (rc < 0)
        return rc;
    if (!w->job->plain && fchownat(p->dir_fd, p->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, errno, "set its owner");
    if (!link && fchmodat(p->dir_fd, p->name, archive_entry_perm(e) & 07777, 0) < 0)
        return err_sys(err, errno, "set its mode");
    return utimensat(p->dir_fd, p->name, times, AT_SYMLINK_NOFOLLOW) < 0 ? err_sys(err, errno, "set its time") : 0;
}

static int write_symlink(struct layer_writer *w, struct place *p, struct archive_entry *e, struct err *err)
{
    const char *target = archive_entry_symlink(e);

    if (!target || !*target || strlen(target) > LAYER_PATH_MAX)
        return err_set(err, ERR_INVALID, "a symbolic link without a usable target");
    if (symlinkat(target, p->dir_fd, p->name) < 0)
        return err_sys(err, errno, "make the symbolic link");
    return name_attributes(w, p, e, true, err);
}

static int write_node(struct layer_writer *w, struct place *p, struct archive_entry *e, struct err *err)
{
    mode_t type = archive_entry_filetype(e);
    dev_t dev = type == AE_IFIFO ? 0 : makedev((unsigned)archive_entry_rdevmajor(e), (unsigned)archive_entry_rdevminor(e));

    if (w->job->plain)
        return err_set(err, ERR_INVALID, "a device or pipe where only files may be");
    if (mknodat(p->dir_fd, p->name, type | 0600, dev) < 0)
        return err_sys(err, errno, "make the device");
    return name_attributes(w, p, e, false, err);
}

static int write_typed(struct layer_writer *w, struct place *p, struct archive *a, struct archive_entry *e, struct err *err)
{
    mode_t type = archive_entry_filetype(e);
    int rc = clear_place(w, p, type, err);

    if (rc < 0)
        return rc;
    switch (type) {
    case AE_IFDIR: return write_folder(w, p, e, err);
    case AE_IFREG: return write_file(w, p, a, e, err);
    case AE_IFLNK: return write_symlink(w, p, e, err);
    case AE_IFCHR:
    case AE_IFBLK:
    case AE_IFIFO: return write_node(w, p, e, err);
    default:       return err_set(err, ERR_INVALID, "an entry of unknown type 0%o", type);
    }
}

/* "./": the attributes of the layer's own folder. */
static int write_root(struct layer_writer *w, struct archive_entry *e, struct err *err)
{
    if (archive_entry_filetype(e) != AE_IFDIR || archive_entry_hardlink(e))
        return err_set(err, ERR_INVALID, "the layer's top is no folder");
    AUTO_FD int fd = folder_open(w->job->root_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return err_sys(err, errno, "open the layer's folder");
    return layer_attributes(w, fd, e, err);
}

int layer_write_entry(struct layer_writer *w, struct archive *a, struct archive_entry *e, struct err *err)
{
    const char *path = archive_entry_pathname(e);
    struct place p = { .dir_fd = -1 };
    char parent[LAYER_PATH_MAX + 1];

    if (!path)
        return err_set(err, ERR_INVALID, "an entry without a name");
    int rc = layer_path_clean(path, p.path, err);
    if (rc < 0)
        return rc;
    if (!*p.path)
        return write_root(w, e, err);
    char *slash = strrchr(p.path, '/');
    p.name = slash ? slash + 1 : p.path;
    snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - p.path) : 0, p.path);
    rc = layer_parent(w, parent, &p.dir_fd, err);
    if (rc < 0)
        return rc;
    if (!w->job->plain && strncmp(p.name, whiteout, sizeof(whiteout) - 1) == 0)
        return write_whiteout(w, &p, err);
    if (archive_entry_hardlink(e))
        return write_hard_link(w, &p, archive_entry_hardlink(e), err);
    return write_typed(w, &p, a, e, err);
}
