/*
 * A reader's life: a step on the pool reads what there is, hands it on in pieces, and goes away; changes in the log's folder, resume and the container's end
 * start the next step. One step runs at a time. It ends in finish(), which tells the owner and lets the loop free the rest.
 */
#include "agent/pods/logs_int.h"

#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE_BYTES = 64 * 1024, LINE_MAX_BYTES = 1 << 20, POLL_MS = 500, RETRY_MS = 50 };

struct log_reader {
    struct loop *loop;
    struct pool *pool;
    struct log_sink sink;
    void *arg;
    char *folder, *name;
    /* the step's */
    int dir, fd;
    struct buf raw; /* read, not yet whole lines */
    struct buf out;
    struct log_format format;
    bool skipping; /* inside a line over LINE_MAX_BYTES */
    /* guarded by lock */
    pthread_mutex_t lock;
    bool running, again, paused, closed, ended, finished;
    /* the loop's */
    uv_fs_event_t watch;
    bool watching;
    struct loop_timer *timer;
};

/* --- steps are started --- */

static void step(void *arg);
static void kick(struct log_reader *r);

static void on_retry(void *arg)
{
    struct log_reader *r = arg;

    r->timer = NULL;
    kick(r);
}

static void retry_on_loop(void *arg)
{
    struct log_reader *r = arg;

    if (!r->timer)
        r->timer = loop_timer_start(r->loop, RETRY_MS, on_retry, r);
}

static void kick(struct log_reader *r)
{
    struct err err = { 0 };

    LOCK_SCOPE(&r->lock);
    if (r->finished)
        return;
    if (r->running) {
        r->again = true;
        return;
    }
    r->running = true;
    if (pool_run(r->pool, step, r, &err) < 0) { /* its queue is full: later */
        r->running = false;
        loop_post(r->loop, retry_on_loop, r);
    }
}

/* --- the end --- */

static void free_reader(struct log_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    if (r->dir >= 0)
        close(r->dir);
    buf_clear(&r->raw);
    buf_clear(&r->out);
    pthread_mutex_destroy(&r->lock);
    free(r->folder);
    free(r->name);
    free(r);
}

static void on_watch_closed(uv_handle_t *h)
{
    free_reader(h->data);
}

static void free_on_loop(void *arg)
{
    struct log_reader *r = arg;

    loop_timer_cancel(r->timer);
    if (r->watching)
        uv_close((uv_handle_t *)&r->watch, on_watch_closed);
    else
        free_reader(r);
}

static void flush(struct log_reader *r)
{
    if (!buf_len(&r->out))
        return;
    struct bytes *piece = buf_take(&r->out);
    r->sink.on_data(r->arg, piece);
    bytes_unref(piece);
}

static void finish(struct log_reader *r, const struct err *why)
{
    {
        LOCK_SCOPE(&r->lock);
        r->finished = true; /* whoever kicks now does nothing */
    }
    if (!why)
        flush(r);
    r->sink.on_end(r->arg, why);
    loop_post(r->loop, free_on_loop, r);
}

/* --- one step --- */

/* Whole lines of raw go out; the rest stays. */
static void take_lines(struct log_reader *r, bool at_end)
{
    const char *p = buf_at(&r->raw), *end = p + buf_len(&r->raw);

    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));

        if (!nl && !at_end)
            break;
        if (!r->skipping)
            log_format_add(&r->format, p, (size_t)((nl ? nl : end) - p), &r->out);
        r->skipping = false;
        p = nl ? nl + 1 : end;
        if (buf_len(&r->out) >= PIECE_BYTES / 2)
            flush(r);
    }
    buf_drop(&r->raw, (size_t)(p - buf_at(&r->raw)));
    if (buf_len(&r->raw) > LINE_MAX_BYTES) { /* the shim writes none like this */
        buf_cut(&r->raw, 0);
        r->skipping = true;
    }
}

/* 1: something was read. 0: the end of the file as it is. */
static int read_some(struct log_reader *r, struct err *err)
{
    ssize_t n;

    do
        n = read(r->fd, buf_space(&r->raw, LOG_BLOCK_BYTES), LOG_BLOCK_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_sys(err, errno, "read log %s", r->name);
    buf_used(&r->raw, (size_t)n);
    take_lines(r, false);
    return n > 0;
}

/* The file after the one that is open, when that was rotated. 1: opened. 0: ours is the newest still. */
static int next_file(struct log_reader *r, struct err *err)
{
    struct log_files files = { 0 };
    struct stat own, st;
    size_t i, found = 0;
    int fd = -1;
    bool known = false;

    if (fstat(r->fd, &own))
        return err_sys(err, errno, "stat log %s", r->name);
    if (!fstatat(r->dir, r->name, &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == own.st_ino)
        return 0;
    int rc = log_files_list(r->dir, r->name, &files, err);
    if (rc < 0)
        return rc;
    for (i = 0; i < files.n; i++)
        if (!fstatat(r->dir, files.at[i], &st, AT_SYMLINK_NOFOLLOW) && st.st_ino == own.st_ino) {
            known = true;
            found = i;
        }
    i = known ? found + 1 : 0; /* removed as too old: the oldest there is */
    if (i < files.n)
        fd = openat(r->dir, files.at[i], O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    log_files_clear(&files);
    if (fd < 0)
        return 0; /* between two moves of the shim: its next one wakes us */
    /* What came into the old file between our last read and its rotation. */
    while ((rc = read_some(r, err)) > 0)
        ;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    take_lines(r, true);
    close(r->fd);
    r->fd = fd;
    return 1;
}

enum verdict { GO_ON, WAIT, DONE, FAILED };

static enum verdict work(struct log_reader *r, struct err *err)
{
    bool ended, follow = r->format.want.follow;
    int rc;

    {
        LOCK_SCOPE(&r->lock);
        r->again = false;
        if (r->closed) {
            ERR_IGNORE(err_set(err, ERR_CANCELED, "the reader was closed")); /* told through on_end */
            return FAILED;
        }
        if (r->paused)
            return WAIT;
        ended = r->ended; /* before reading: what was written before it is in the file then */
    }
    rc = r->format.left == 0 ? 0 : read_some(r, err);
    if (r->format.left == 0)
        return DONE;
    if (rc == 0)
        rc = next_file(r, err);
    if (rc != 0)
        return rc > 0 ? GO_ON : FAILED;
    if (!follow || ended) {
        take_lines(r, true);
        return DONE;
    }
    flush(r);
    return WAIT;
}

static void step(void *arg)
{
    struct log_reader *r = arg;
    struct err err = { 0 };

    for (;;) {
        switch (work(r, &err)) {
        case GO_ON:
            continue;
        case DONE:
            finish(r, NULL);
            return;
        case FAILED:
            finish(r, &err);
            return;
        case WAIT:
            break;
        }
        LOCK_SCOPE(&r->lock);
        if (r->again && !(r->paused && !r->closed))
            continue;
        r->running = false;
        return;
    }
}

/* --- the loop's part --- */

static void on_change(uv_fs_event_t *w, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status;
    kick(w->data);
}

static void on_poll(void *arg)
{
    struct log_reader *r = arg;

    r->timer = loop_timer_start(r->loop, POLL_MS, on_poll, r);
    kick(r);
}

static void begin(void *arg)
{
    struct log_reader *r = arg;

    {
        LOCK_SCOPE(&r->lock);
        if (r->finished)
            return; /* freed by what finish posted behind us */
    }
    r->watch.data = r;
    r->watching = uv_fs_event_init(loop_uv(r->loop), &r->watch) == 0;
    if (!r->watching || uv_fs_event_start(&r->watch, on_change, r->folder, 0) < 0)
        r->timer = loop_timer_start(r->loop, POLL_MS, on_poll, r); /* no inotify watch is left on this machine */
    kick(r);
}

/* --- the owner's part --- */

int log_reader_start(const struct log_reader_options *options, const struct log_sink *sink, void *arg, struct log_reader **ret, struct err *err)
{
    AUTO_FD int dir = -1, fd = -1;
    const char *name = NULL;
    int rc = log_folder(options->path, &dir, &name, err);

    if (rc == 0)
        rc = log_start_at(dir, name, &options->read, &fd, err);
    if (rc < 0)
        return err_wrap(err, "failed to open log file \"%s\"", options->path);
    struct log_reader *r = MEM_NEW(struct log_reader);
    *r = (struct log_reader){
        .loop = options->loop, .pool = options->pool, .sink = *sink, .arg = arg, .name = mem_strdup(name), .dir = TAKE_FD(dir), .fd = TAKE_FD(fd),
        .folder = slice_dup((struct slice){ options->path, strlen(options->path) - strlen(name) }),
        .format = { .want = options->read, .left = options->read.limit_bytes }, .ended = options->ended, .paused = options->paused,
    };
    r->format.want.stream = options->read.stream ? (strcmp(options->read.stream, "stderr") ? "stdout" : "stderr") : NULL;
    pthread_mutex_init(&r->lock, NULL);
    *ret = r;
    if (options->read.follow && !options->ended)
        loop_post(r->loop, begin, r);
    else
        kick(r);
    return 0;
}

void log_reader_ended(struct log_reader *r)
{
    {
        LOCK_SCOPE(&r->lock);
        r->ended = true;
    }
    kick(r);
}

void log_reader_pause(struct log_reader *r)
{
    LOCK_SCOPE(&r->lock);
    r->paused = true;
}

void log_reader_resume(struct log_reader *r)
{
    {
        LOCK_SCOPE(&r->lock);
        r->paused = false;
    }
    kick(r);
}

void log_reader_close(struct log_reader *r)
{
    {
        LOCK_SCOPE(&r->lock);
        r->closed = true;
    }
    kick(r);
}
