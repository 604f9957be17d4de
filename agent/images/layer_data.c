/* A file's data, and attributes of what is open. */
#include "agent/images/layer_int.h"

#include "agent/images/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/xattr.h>

static int write_at(int fd, const char *at, size_t n, int64_t offset, struct err *err)
{
    while (n > 0) {
        ssize_t done = pwrite(fd, at, n, offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_sys(err, errno, "write");
        at += done;
        offset += done;
        n -= (size_t)done;
    }
    return 0;
}

int layer_fill(struct layer_writer *w, struct archive *a, int fd, struct archive_entry *e, struct err *err)
{
    int64_t size = archive_entry_size(e), end = 0;

    if (size < 0)
        return err_set(err, ERR_INVALID, "a file of %lld bytes", (long long)size);
    if (size > w->bytes_left)
        return err_set(err, ERR_TOO_LARGE, "the layer is larger than allowed");
    for (;;) {
        const void *at = NULL;
        size_t n = 0;
        la_int64_t offset = 0;
        int rc = archive_read_data_block(a, &at, &n, &offset);

        if (rc == ARCHIVE_EOF)
            break;
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return err_set(err, ERR_INVALID, "%s", archive_error_string(a) ? archive_error_string(a) : "broken data");
        if (offset < 0 || (int64_t)n > size || offset > size - (int64_t)n)
            return err_set(err, ERR_INVALID, "data behind the end of the file");
        rc = write_at(fd, at, n, offset, err);
        if (rc < 0)
            return rc;
        end = offset + (int64_t)n > end ? offset + (int64_t)n : end;
    }
    /* A hole at the end. */
    if (end < size && ftruncate(fd, size) < 0)
        return err_sys(err, errno, "set its size");
    w->bytes_left -= size;
    return 0;
}

/* trusted.overlay.* would steer overlayfs; the rest of trusted, security and system is the host's. */
static bool xattr_wanted(const char *name)
{
    return strcmp(name, "security.capability") == 0 ||
           (strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0) ||
           strcmp(name, "system.posix_acl_access") == 0 || strcmp(name, "system.posix_acl_default") == 0;
}

static int set_xattrs(int fd, struct archive_entry *e, struct err *err)
{
    const char *name;
    const void *value;
    size_t n;

    archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &n) == ARCHIVE_OK) {
        if (!name || !xattr_wanted(name))
            continue;
        /* A filesystem without them takes the file without them, as everywhere. */
        if (fsetxattr(fd, name, value ? value : "", value ? n : 0, 0) < 0 && errno != ENOTSUP)
            return err_sys(err, errno, "set attribute %.100s", name);
    }
    return 0;
}

int layer_attributes(struct layer_writer *w, int fd, struct archive_entry *e, struct err *err)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { archive_entry_mtime(e), archive_entry_mtime_nsec(e) } };
    int64_t uid = archive_entry_uid(e), gid = archive_entry_gid(e);

    if (w->job->plain)
        return 0;
    if (uid < 0 || gid < 0 || uid >= UINT32_MAX || gid >= UINT32_MAX)
        return err_set(err, ERR_INVALID, "owner %lld:%lld", (long long)uid, (long long)gid);
    /* In this order: a new owner takes set-uid bits and capabilities away. */
    if (fchown(fd, (uid_t)uid, (gid_t)gid) < 0)
        return err_sys(err, errno, "set its owner");
    if (fchmod(fd, archive_entry_perm(e) & 07777) < 0)
        return err_sys(err, errno, "set its mode");
    int rc = set_xattrs(fd, e, err);
    if (rc < 0)
        return rc;
    return futimens(fd, times) < 0 ? err_sys(err, errno, "set its time") : 0;
}

int layer_write_times(struct layer_writer *w, struct err *err)
{
    const char *at = buf_at(&w->times), *end = at + buf_len(&w->times);

    while (!w->job->plain && at < end) {
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };

        memcpy(&times[1], at, sizeof(times[1]));
        at += sizeof(times[1]);
        AUTO_FD int fd = folder_open(w->job->root_fd, at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_SYMLINKS);
        /* Absent: replaced later in the archive, or reached by a link. */
        if (fd >= 0 && futimens(fd, times) < 0)
            return err_sys(err, errno, "set the time of %.100s", at);
        at += strlen(at) + 1;
    }
    return 0;
}
