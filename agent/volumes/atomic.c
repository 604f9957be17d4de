/*
 * The atomic writer. A volume looks like this:
 *
 *   key            -> ..data/key            what a program opens
 *   sub            -> ..data/sub
 *   ..data         -> ..2026_01_02_03_04_05.1a2b3c4d
 *   ..2026_01_02_03_04_05.1a2b3c4d/key, sub/other
 *
 * A change makes a new dated folder and renames one link, so a reader sees all of the old or all of the new.
 * Source: Kubernetes documentation of configMap volumes; upstream's layout, which programs look at ("..data" is what they watch).
 */
#include "agent/volumes/tree.h"
#include "agent/volumes/volumes_int.h"

#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

AUTO_DEFINE(dir, DIR *, (void)closedir)

#define DATA     "..data"
#define DATA_NEW "..data_tmp"

/* --- is it already so --- */

static bool same_content(int fd, const struct bytes *want)
{
    char chunk[8192];
    size_t at = 0;
    ssize_t n;

    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        if ((size_t)n > want->n - at || memcmp(chunk, want->at + at, (size_t)n) != 0)
            return false;
        at += (size_t)n;
    }
    return n == 0 && at == want->n;
}

static bool same_file(int dir, const char *path, const struct payload_file *f)
{
    AUTO_FD int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    return fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && (size_t)st.st_size == f->data->n && same_content(fd, f->data);
}

/* Files below a folder of ours; depth is bounded by PATH_MAX, which payload_set keeps. */
static size_t count_files(int dir, const char *name, size_t most)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    AUTO(dir) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    size_t n = 0;

    for (struct dirent *e; d && n <= most && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        n += e->d_type == DT_DIR ? count_files(dirfd(d), e->d_name, most - n) : 1;
    }
    return n;
}

static bool up_to_date(int dir, const char *data, const struct map *payload)
{
    AUTO_FD int old = openat(dir, data, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const char *path;
    void *f;

    if (old < 0)
        return false;
    for (size_t pos = 0; map_next(payload, &pos, &path, &f);)
        if (!same_file(old, path, f))
            return false;
    return count_files(dir, data, map_len(payload)) == map_len(payload);
}

/* --- the new folder --- */

static int write_file(int dir, const char *path, const struct payload_file *f, struct err *err)
{
    const char *base = strrchr(path, '/');
    AUTO_FREE char *parents = base ? slice_dup((struct slice){ path, (size_t)(base - path) }) : NULL;
    AUTO_FD int parent = -1, fd = -1;

    base = base ? base + 1 : path;
    if (parents) {
        int rc = tree_make(dir, parents, 0755, &parent, err);
        if (rc < 0)
            return rc;
    }
    fd = openat(parents ? parent : dir, base, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, errno, "create %s", path);
    for (size_t at = 0; at < f->data->n;) {
        ssize_t n = write(fd, f->data->at + at, f->data->n - at);
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "write %s", path);
        at += n > 0 ? (size_t)n : 0;
    }
    if (f->uid >= 0 && fchown(fd, (uid_t)f->uid, (gid_t)-1))
        return err_sys(err, errno, "change the owner of %s", path);
    if (fchmod(fd, f->mode))
        return err_sys(err, errno, "change the mode of %s", path);
    return 0;
}

static int make_dated(struct volume_job *j, int dir, char *name, size_t n, struct err *err)
{
    time_t now = (time_t)clock_wall_s(j->v->clock);
    struct tm tm;
    char day[32];

    if (!gmtime_r(&now, &tm) || !strftime(day, sizeof(day), "..%Y_%m_%d_%H_%M_%S", &tm))
        return err_set(err, ERR_IO, "the clock is beyond all years");
    for (unsigned turn = 0; turn < 1000; turn++) {
        int64_t us = clock_wall_us(j->v->clock);

        (void)snprintf(name, n, "%s.%09lld", day, (long long)((us * 1000 + turn) % 1000000000));
        if (!mkdirat(dir, name, 0755))
            return 0;
        if (errno != EEXIST)
            return err_sys(err, errno, "mkdir %s", name);
    }
    return err_set(err, ERR_IO, "mkdir %s: a thousand are there already", name);
}

static int fill(int dir, const char *name, const struct map *payload, struct err *err)
{
    AUTO_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const char *path;
    void *f;

    if (fd < 0 || fchmod(fd, 0755))
        return err_sys(err, errno, "open %s", name);
    for (size_t pos = 0; map_next(payload, &pos, &path, &f);) {
        int rc = write_file(fd, path, f, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* --- links --- */

static int swap(int dir, const char *dated, struct err *err)
{
    if (unlinkat(dir, DATA_NEW, 0) && errno != ENOENT)
        return err_sys(err, errno, "remove %s", DATA_NEW);
    if (symlinkat(dated, dir, DATA_NEW))
        return err_sys(err, errno, "link %s", DATA_NEW);
    if (renameat(dir, DATA_NEW, dir, DATA))
        return err_sys(err, errno, "rename %s", DATA_NEW);
    return 0;
}

/* The first names of the payload's paths; also the set of links that may stay. */
static struct map *visible_names(const struct map *payload)
{
    static char present;
    struct map *names = map_new(NULL);
    const char *path;
    void *f;

    for (size_t pos = 0; map_next(payload, &pos, &path, &f);) {
        AUTO_FREE char *first = slice_dup((struct slice){ path, strcspn(path, "/") });
        map_set(names, first, &present);
    }
    return names;
}

static int link_names(int dir, const struct map *names, struct err *err)
{
    const char *name;
    void *unused;

    for (size_t pos = 0; map_next(names, &pos, &name, &unused);) {
        AUTO_FREE char *target = mem_printf(DATA "/%s", name);
        if (symlinkat(target, dir, name) && errno != EEXIST)
            return err_sys(err, errno, "link %s", name);
    }
    return 0;
}

/* Links to keys that are gone, and dated folders but the current one (a crash may have left some). */
static int sweep(int dir, const struct map *names, const char *dated, struct err *err)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(dir) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (!d)
        return err_sys(err, errno, "read the volume");
    for (struct dirent *e; (e = readdir(d));) {
        bool old = !strncmp(e->d_name, "..", 2) && e->d_name[2] >= '0' && e->d_name[2] <= '9' && strcmp(e->d_name, dated) != 0;
        bool stale = e->d_type == DT_LNK && strcmp(e->d_name, DATA) != 0 && !map_get(names, e->d_name);
        int rc = old ? tree_remove(dir, e->d_name, err) : 0;

        if (rc < 0)
            return rc;
        if (stale && unlinkat(dir, e->d_name, 0) && errno != ENOENT)
            return err_sys(err, errno, "remove %s", e->d_name);
    }
    return 0;
}

static int publish(struct volume_job *j, int parent, int dir, const struct map *payload, char *dated, size_t n, struct err *err)
{
    struct err ignored = { 0 };
    int rc = make_dated(j, dir, dated, n, err);

    if (rc < 0)
        return rc;
    rc = fill(dir, dated, payload, err);
    if (rc == 0 && j->fs_group >= 0)
        rc = tree_chgrp(parent, j->name, (gid_t)j->fs_group, true, err);
    if (rc == 0)
        rc = swap(dir, dated, err);
    if (rc < 0)
        ERR_IGNORE(tree_remove(dir, dated, &ignored)); /* the next turn sweeps it away */
    return rc;
}

int atomic_write(struct volume_job *j, int parent, const struct map *payload, struct err *err)
{
    AUTO_FD int dir = -1;
    char dated[NAME_MAX + 1];
    int rc = tree_make(parent, j->name, 0777, &dir, err);
    bool fresh;

    if (rc < 0)
        return rc;
    ssize_t n = readlinkat(dir, DATA, dated, sizeof(dated) - 1);
    fresh = n <= 0 || (size_t)n >= sizeof(dated) - 1;
    dated[fresh ? 0 : n] = '\0';
    if (fresh && fchmod(dir, 0777))
        return err_sys(err, errno, "change the mode of %s", j->name);
    rc = nested_mountpoints(j, dir, err);
    if (rc < 0 || (!fresh && strchr(dated, '/')))
        return rc < 0 ? rc : err_set(err, ERR_IO, "%s points out of the volume", DATA);
    if (fresh || !up_to_date(dir, dated, payload)) {
        rc = publish(j, parent, dir, payload, dated, sizeof(dated), err);
        if (rc < 0)
            return rc;
    }
    AUTO(map) struct map *names = visible_names(payload);
    rc = link_names(dir, names, err);
    return rc < 0 ? rc : sweep(dir, names, dated, err);
}
