/* Names inside a layer: cleaning them, and the folders they lie in. */
#include "agent/images/layer_int.h"

#include "agent/images/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>

int layer_path_clean(const char *path, char to[LAYER_PATH_MAX + 1], struct err *err)
{
    size_t n = 0;

    while (*path) {
        size_t part = strcspn(path, "/");

        if (part == 2 && path[0] == '.' && path[1] == '.') {
            if (n == 0)
                return err_set(err, ERR_INVALID, "the name leaves the layer");
            while (n > 0 && to[n - 1] != '/')
                n--;
            n -= n > 0;
        } else if (part > 0 && !(part == 1 && *path == '.')) {
            if (n + 1 + part > LAYER_PATH_MAX)
                return err_set(err, ERR_INVALID, "the name has more than %d bytes", LAYER_PATH_MAX);
            if (n > 0)
                to[n++] = '/';
            memcpy(to + n, path, part);
            n += part;
        }
        path += part + (path[part] == '/');
    }
    to[n] = '\0';
    return 0;
}

void layer_parent_forget(struct layer_writer *w)
{
    if (w->parent_fd >= 0)
        close(TAKE_FD(w->parent_fd));
}

/* What the layers below say about a folder; the defaults when none knows it. */
static void attributes_below(const struct layer_writer *w, const char *path, struct stat *st)
{
    const struct layer_job *job = w->job;

    *st = (struct stat){ .st_mode = S_IFDIR | 0755 };
    for (size_t i = 0; i < job->n_below; i++) {
        AUTO_FD int root = openat(job->layers_fd, job->below[i], O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        AUTO_FD int fd = root >= 0 ? folder_open(root, path, O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS) : -1;
        struct stat found;

        if (fd < 0 || fstat(fd, &found) < 0)
            continue;
        if (S_ISDIR(found.st_mode))
            *st = found;
        return; /* anything else hides what is below it */
    }
}

static int make_folder(struct layer_writer *w, int in_fd, const char *name, const char *path, int *ret_fd, struct err *err)
{
    struct stat st;

    if (w->entries_left-- <= 0)
        return err_set(err, ERR_TOO_LARGE, "the layer has too many entries");
    if (mkdirat(in_fd, name, 0755) < 0)
        return err_sys(err, errno, "make folder %.100s", path);
    int fd = openat(in_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open folder %.100s", path);
    attributes_below(w, path, &st);
    if (!w->job->plain && (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)) {
        int sys = errno;
        close(fd);
        return err_sys(err, sys, "set the owner of folder %.100s", path);
    }
    *ret_fd = fd;
    return 0;
}

/* From the top down, as the first that is missing decides. */
static int make_parents(struct layer_writer *w, const char *path, int *ret_fd, struct err *err)
{
    char part[LAYER_PATH_MAX + 1];
    AUTO_FD int fd = folder_open(w->job->root_fd, ".", O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0)
        return err_sys(err, errno, "open the layer's folder");
    for (size_t at = 0, n; path[at]; at += n + (path[at + n] == '/')) {
        n = strcspn(path + at, "/");
        memcpy(part, path, at + n);
        part[at + n] = '\0';
        int next = folder_open(w->job->root_fd, part, O_RDONLY | O_DIRECTORY, 0);

        if (next < 0 && errno != ENOENT)
            return err_sys(err, errno, "open folder %.100s", part);
        if (next < 0) {
            int rc = make_folder(w, fd, part + at, part, &next, err);
            if (rc < 0)
                return rc;
        }
        close(fd);
        fd = next;
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int layer_parent(struct layer_writer *w, const char *path, int *ret_fd, struct err *err)
{
    if (w->parent_fd >= 0 && strcmp(buf_at(&w->parent), path) == 0) {
        *ret_fd = w->parent_fd;
        return 0;
    }
    layer_parent_forget(w);
    int fd = folder_open(w->job->root_fd, path, O_RDONLY | O_DIRECTORY, 0), rc = 0;
    if (fd < 0 && errno != ENOENT)
        rc = err_sys(err, errno, "open folder %.100s", path);
    else if (fd < 0)
        rc = make_parents(w, path, &fd, err);
    if (rc < 0)
        return rc;
    buf_cut(&w->parent, 0);
    buf_str(&w->parent, path);
    w->parent_fd = *ret_fd = fd;
    return 0;
}
