/* Container logs in CRI's format: "2026-01-02T03:04:05.123456789Z stdout F line". */
#include "embed/shim/shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PREFIX_MAX = 64, VECTORS = 64, PATH_BYTES = 512 };

int log_open(struct log *l)
{
    struct stat st;

    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (l->fd < 0)
        return errno;
    l->size = fstat(l->fd, &st) == 0 ? st.st_size : 0;
    return 0;
}

void log_close(struct log *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

int log_reopen(struct log *l)
{
    struct log fresh = *l;
    int sys = log_open(&fresh);

    if (sys)
        return sys;
    close(l->fd);
    l->fd = fresh.fd;
    l->size = fresh.size;
    return 0;
}

/* Removes the oldest of "<name>.<time>" until `keep` are left; the time makes them sort. */
static void prune(const char *path, int keep)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char dir[PATH_BYTES], oldest[256];
    int n;

    if (!slash || (size_t)(slash - path) >= sizeof(dir))
        return;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = 0;
    do {
        DIR *d = opendir(dir);
        n = 0;
        oldest[0] = 0;
        for (struct dirent *e; d && (e = readdir(d));) {
            if (strncmp(e->d_name, name, strlen(name)) != 0 || e->d_name[strlen(name)] != '.')
                continue;
            if (n++ == 0 || strcmp(e->d_name, oldest) < 0)
                snprintf(oldest, sizeof(oldest), "%s", e->d_name);
        }
        if (d && n > keep && unlinkat(dirfd(d), oldest, 0) < 0)
            n = 0;
        if (d)
            closedir(d);
    } while (n - 1 > keep);
}

static void rotate(struct log *l)
{
    char to[PATH_BYTES + 32];
    struct tm tm;
    time_t now = time(NULL);

    gmtime_r(&now, &tm);
    int n = snprintf(to, sizeof(to), "%s.%04d%02d%02d-%02d%02d%02d", l->path, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
    /* Twice in a second: the file grows on until the next one. */
    if (n < 0 || (size_t)n >= sizeof(to) || access(to, F_OK) == 0 || rename(l->path, to) < 0)
        return;
    if (log_reopen(l) == 0 && l->max_files > 1)
        prune(l->path, l->max_files - 1);
}

/* A full disk must stop neither the container nor us: what does not fit is lost. */
static void put(struct log *l, struct iovec *v, int n)
{
    while (n > 0 && l->fd >= 0) {
        ssize_t done = writev(l->fd, v, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return;
        l->size += done;
        while (n > 0 && (size_t)done >= v->iov_len) {
            done -= (ssize_t)v->iov_len;
            v++;
            n--;
        }
        if (n > 0) {
            v->iov_base = (char *)v->iov_base + done;
            v->iov_len -= (size_t)done;
        }
    }
}

static void prefix(char *to, const char *name, char tag)
{
    struct timespec t;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    snprintf(to, PREFIX_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ %s %c ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
             tm.tm_sec, t.tv_nsec, name, tag);
}

struct batch {
    struct iovec v[VECTORS];
    int n;
};

static void batch_add(struct batch *b, const void *data, size_t n)
{
    if (n > 0)
        b->v[b->n++] = (struct iovec){ .iov_base = (void *)data, .iov_len = n };
}

static void keep_part(struct stream *from, const char *data, size_t n)
{
    if (!from->part)
        from->part = must(malloc(LOG_LINE_MAX));
    memcpy(from->part + from->n_part, data, n);
    from->n_part += n;
}

void log_write(struct log *l, struct stream *from, const char *data, size_t n)
{
    char full[PREFIX_MAX], part[PREFIX_MAX];
    struct batch b = { .n = 0 };

    if (l->fd < 0)
        return;
    prefix(full, from->name, 'F');
    memcpy(part, full, sizeof(part));
    size_t n_prefix = strlen(full);
    part[n_prefix - 2] = 'P';
    while (n > 0) {
        const char *nl = memchr(data, '\n', n);
        size_t len = nl ? (size_t)(nl - data) : n, room = LOG_LINE_MAX - from->n_part;
        bool cut = len > room || (!nl && len == room);
        if (!cut && !nl)
            break;
        if (cut)
            len = room;
        batch_add(&b, cut ? part : full, n_prefix);
        batch_add(&b, from->part, from->n_part);
        batch_add(&b, data, len);
        batch_add(&b, "\n", 1);
        data += len + (cut ? 0 : 1);
        n -= len + (cut ? 0 : 1);
        if (from->n_part > 0 || b.n > VECTORS - 4) {
            put(l, b.v, b.n);
            b.n = 0;
            from->n_part = 0;
        }
    }
    put(l, b.v, b.n);
    if (n > 0) {
        keep_part(from, data, n);
    } else if (from->part && from->n_part == 0) {
        free(from->part);
        from->part = NULL;
    }
    if (l->max_bytes > 0 && l->size >= l->max_bytes)
        rotate(l);
}

void log_flush(struct log *l, struct stream *from)
{
    char text[PREFIX_MAX];
    struct batch b = { .n = 0 };

    if (from->n_part > 0) {
        prefix(text, from->name, 'P');
        batch_add(&b, text, strlen(text));
        batch_add(&b, from->part, from->n_part);
        batch_add(&b, "\n", 1);
        put(l, b.v, b.n);
    }
    free(from->part);
    from->part = NULL;
    from->n_part = 0;
}
