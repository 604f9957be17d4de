#include "agent/pods/logs.h"
#include "agent/pods/logs_int.h"

#include "lib/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

AUTO_DEFINE(dir, DIR *, (void)closedir)

static void auto_log_files(struct log_files *f)
{
    log_files_clear(f);
}

/* --- lines --- */

/* The word up to the next blank; p moves behind it. */
static bool word(const char **p, const char *end, struct slice *ret)
{
    const char *space = memchr(*p, ' ', (size_t)(end - *p));

    if (!space)
        return false;
    *ret = (struct slice){ *p, (size_t)(space - *p) };
    *p = space + 1;
    return true;
}

bool log_parse(const char *line, size_t n, struct log_line *ret)
{
    const char *p = line, *end = line + n;
    struct slice tags;

    if (!word(&p, end, &ret->time) || !word(&p, end, &ret->stream) || !word(&p, end, &tags))
        return false;
    if (clock_parse(ret->time.at, ret->time.n, &ret->us) < 0)
        return false;
    if (!slice_is(ret->stream, "stdout") && !slice_is(ret->stream, "stderr"))
        return false;
    if (tags.n == 0)
        return false;
    ret->whole = !(tags.at[0] == 'P' && (tags.n == 1 || tags.at[1] == ':')); /* more tags may come behind a colon one day */
    ret->text = (struct slice){ p, (size_t)(end - p) };
    return true;
}

static void put(struct log_format *f, const char *data, size_t n, struct buf *to)
{
    if (f->left >= 0 && (int64_t)n > f->left)
        n = (size_t)f->left;
    buf_add(to, data, n);
    if (f->left >= 0)
        f->left -= (int64_t)n;
}

void log_format_add(struct log_format *f, const char *line, size_t n, struct buf *to)
{
    struct log_line l;

    if (!log_parse(line, n, &l) || (f->want.since_us && l.us < f->want.since_us))
        return;
    if (f->want.stream && !slice_is(l.stream, f->want.stream))
        return;
    if (f->want.timestamps && !f->mid_line) {
        put(f, l.time.at, l.time.n, to);
        put(f, " ", 1, to);
    }
    put(f, l.text.at, l.text.n, to);
    if (l.whole)
        put(f, "\n", 1, to);
    f->mid_line = !l.whole;
}

/* --- files --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void log_files_clear(struct log_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->at[i]);
    free(f->at);
    *f = (struct log_files){ 0 };
}

/* Rotated ones are <name>.<time>, which sorts; <name> itself is the newest. */
int log_files_list(int dir, const char *name, struct log_files *ret, struct err *err)
{
    enum { FILES_MAX = 1000 };
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(dir) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    AUTO(log_files) struct log_files files = { 0 };
    size_t n = strlen(name);

    if (!d)
        return err_sys(err, errno, "read the log folder");
    for (struct dirent *e; files.n < FILES_MAX && (e = readdir(d));) {
        if (strncmp(e->d_name, name, n) != 0 || e->d_name[n] != '.' || strchr(e->d_name + n + 1, '.'))
            continue;
        files.at = mem_realloc(files.at, (files.n + 2) * sizeof(*files.at));
        files.at[files.n++] = mem_strdup(e->d_name);
    }
    if (files.n)
        qsort(files.at, files.n, sizeof(*files.at), by_name);
    else
        files.at = mem_alloc(sizeof(*files.at));
    files.at[files.n++] = mem_strdup(name);
    *ret = files;
    files = (struct log_files){ 0 };
    return 0;
}

int log_folder(const char *path, int *ret_dir, const char **ret_name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *folder = slash ? slice_dup((struct slice){ path, (size_t)(slash - path) + 1 }) : mem_strdup(".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_sys(err, errno, "open %s", folder);
    *ret_dir = fd;
    *ret_name = slash ? slash + 1 : path;
    return 0;
}

static int open_log(int dir, const char *name)
{
    return openat(dir, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
}

int log_tail_start(int fd, int64_t *lines, int64_t *ret_offset, struct err *err)
{
    AUTO_FREE char *block = mem_alloc(LOG_BLOCK_BYTES);
    struct stat st;
    int64_t at;

    if (fstat(fd, &st))
        return err_sys(err, errno, "stat a log");
    at = st.st_size;
    if (*lines <= 0) {
        *ret_offset = at;
        return 0;
    }
    int64_t last = at - 1; /* the end of the last line begins no other */
    while (at > 0) {
        size_t n = at < LOG_BLOCK_BYTES ? (size_t)at : LOG_BLOCK_BYTES;

        at -= (int64_t)n;
        if (pread(fd, block, n, at) != (ssize_t)n)
            return err_sys(err, errno ? errno : EIO, "read a log");
        for (size_t i = n; i-- > 0;)
            if (block[i] == '\n' && at + (int64_t)i != last && --*lines == 0) {
                *ret_offset = at + (int64_t)i + 1;
                return 0;
            }
    }
    if (st.st_size > 0)
        --*lines; /* the first line, which no '\n' announces */
    *ret_offset = 0;
    return 0;
}

/* The time of a file's first line; INT64_MAX: it has none. */
static int64_t first_time(int fd)
{
    char head[256];
    ssize_t n = pread(fd, head, sizeof(head), 0);
    const char *space = n > 0 ? memchr(head, ' ', (size_t)n) : NULL;
    int64_t us;

    return space && clock_parse(head, (size_t)(space - head), &us) == 0 ? us : INT64_MAX;
}

/* Goes back file by file until what is asked for is in reach. */
int log_start_at(int dir, const char *name, const struct log_options *want, int *ret_fd, struct err *err)
{
    AUTO(log_files) struct log_files files = { 0 };
    AUTO_FD int fd = open_log(dir, name);
    int64_t lines = want->tail_lines, offset = 0;
    bool more;
    int rc;

    if (fd < 0)
        return err_sys(err, errno, "open %s", name);
    rc = log_files_list(dir, name, &files, err);
    for (size_t i = files.n; rc == 0 && i-- > 0;) {
        if (i + 1 < files.n) {
            int older = open_log(dir, files.at[i]);

            if (older < 0)
                break; /* rotated away just now */
            close(fd);
            fd = older;
        }
        offset = 0;
        rc = want->tail_lines >= 0 ? log_tail_start(fd, &lines, &offset, err) : 0;
        more = want->tail_lines >= 0 ? lines > 0 : want->since_us && first_time(fd) > want->since_us;
        if (!more)
            break;
    }
    if (rc < 0)
        return rc;
    if (lseek(fd, offset, SEEK_SET) < 0)
        return err_sys(err, errno, "seek in %s", name);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* --- the tail as text --- */

int log_tail(const char *path, int lines, size_t max_bytes, struct buf *to, struct err *err)
{
    enum { TAIL_READ_MAX = 4 << 20 };
    struct log_format format = { .want = { .tail_lines = lines }, .left = -1 };
    AUTO(buf) struct buf raw = { 0 }, text = { 0 };
    AUTO_FD int dir = -1, fd = -1;
    const char *name = NULL;
    int64_t missing = lines, offset = 0;
    struct stat st;
    int rc = log_folder(path, &dir, &name, err);

    if (rc < 0)
        return rc;
    fd = open_log(dir, name);
    if (fd < 0 || fstat(fd, &st))
        return err_sys(err, errno, "open %s", path);
    rc = log_tail_start(fd, &missing, &offset, err);
    if (rc < 0)
        return rc;
    if (st.st_size - offset > TAIL_READ_MAX)
        offset = st.st_size - TAIL_READ_MAX;
    for (ssize_t n;; offset += n) {
        n = pread(fd, buf_space(&raw, LOG_BLOCK_BYTES), LOG_BLOCK_BYTES, offset);
        if (n < 0)
            return err_sys(err, errno, "read %s", path);
        if (n == 0 || buf_len(&raw) > TAIL_READ_MAX)
            break;
        buf_used(&raw, (size_t)n);
    }
    for (const char *p = buf_at(&raw), *end = p + buf_len(&raw); p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));

        log_format_add(&format, p, (size_t)((nl ? nl : end) - p), &text);
        p = nl ? nl + 1 : end;
    }
    size_t n = buf_len(&text), skip = n > max_bytes ? n - max_bytes : 0;
    buf_add(to, buf_at(&text) + skip, n - skip);
    return 0;
}
