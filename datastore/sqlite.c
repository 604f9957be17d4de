/* The embedded engine: open, close, what it tells about itself. */
#include "datastore/sqlite_int.h"

#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* SQLite's own locks would let a second process in; ours is a file beside it, held while we live. */
static int lock_file(struct store *s, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s.lock", s->path);
    char pid[32] = "";

    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_sys(err, errno, "open %s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_sys(err, errno, "lock %s", path);
        ssize_t n = pread(s->lock_fd, pid, sizeof(pid) - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        return err_set(err, ERR_UNAVAILABLE, "datastore %s is in use by another process (pid %.*s)", s->path, (int)strcspn(pid, "\n"), pid);
    }
    int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        pid[0] = '\0'; /* the pid only helps people; the lock is what counts */
    return 0;
}

/* SQLite would make it readable for all; the WAL takes its mode from it. The file's name must be as safe as what is in it. */
static int make_file(struct store *s, struct err *err)
{
    AUTO_FREE char *copy = mem_strdup(s->path);
    AUTO_FD int fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno == EEXIST ? 0 : err_sys(err, errno, "make %s", s->path);
    AUTO_FD int dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return err_sys(err, errno, "sync the directory of %s", s->path);
    return 0;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct store *s = arg;

    (void)db;
    (void)name;
    s->wal_frames = frames;
    return SQLITE_OK;
}

static int load_state(struct store *s, struct err *err)
{
    int64_t revision = 1, compacted = 0;
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_COUNT_ALL, err);
    int rc = st ? sql_step(s->writer, st, "count keys", err) : -(int)err->code;

    if (rc > 0) {
        atomic_init(&s->keys, sqlite3_column_int64(st, 0));
        sqlite3_reset(st);
        rc = sql_snapshot(s->writer, &revision, err);
    }
    if (rc == 0)
        rc = sql_meta(s->writer, "compacted", &compacted, err);
    if (rc == 0)
        rc = sql_meta(s->writer, "compact_pos", &s->compact_pos, err);
    if (rc == 0)
        rc = sql_expiry_next(s, err);
    atomic_init(&s->revision, revision);
    atomic_init(&s->compacted, compacted);
    /* The file may end a compaction's walk early; the newest row is left to the next one. */
    s->compacting = rc == 0 && compacted > 0 && s->compact_pos < sql_end_of(compacted) && sql_revision(s->compact_pos) < compacted - 1;
    return rc;
}

static void store_init(struct store *s, const char *path, const struct store_options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    s->clock = options && options->clock ? options->clock : &clock_system;
    s->path = mem_strdup(path);
    s->vfs = options ? mem_strdup(options->vfs) : NULL;
    s->queue_max = options && options->queue_max ? options->queue_max : 4096;
    s->lock_fd = -1;
    s->tail = &s->head;
    s->next_expiry_ms = INT64_MAX;
    s->checkpoint_at = SQL_CHECKPOINT_FRAMES;
    s->readers_max = cores < 1 ? 2 : cores > SQL_READERS_MAX / 2 ? SQL_READERS_MAX : (int)cores * 2;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->pool_lock, NULL);
    sql_cond_init(&s->work);
    sql_cond_init(&s->told);
    sql_cond_init(&s->compact_done);
    sql_cond_init(&s->pool_free);
}

static void store_free(struct store *s)
{
    readers_clear(s);
    sql_close(s->writer, true);
    sql_events_clear(s);
    free(s->events);
    while (s->holds)
        sql_hold_drop(s, s->holds);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->pool_lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->told);
    pthread_cond_destroy(&s->compact_done);
    pthread_cond_destroy(&s->pool_free);
    free(s->path);
    free(s->vfs);
    free(s);
}

static int start(struct store *s, struct err *err)
{
    int rc = lock_file(s, err);

    if (rc == 0)
        rc = make_file(s, err);
    if (rc == 0)
        rc = sql_open(s, true, &s->writer, err);
    if (rc < 0)
        return rc;
    sqlite3_wal_hook(s->writer->db, on_commit, s);
    rc = sql_schema_open(s->writer, err);
    if (rc == 0)
        rc = load_state(s, err);
    if (rc < 0)
        return err_wrap(err, "datastore %s", s->path);
    int sys = pthread_create(&s->thread, NULL, sql_writer_main, s);
    return sys ? err_sys(err, sys, "start the datastore's writer") : 0;
}

int store_open_sqlite(const char *path, const struct store_options *options, struct store **ret, struct err *err)
{
    struct store *s = MEM_NEW(struct store);

    store_init(s, path, options);
    int rc = start(s, err);
    if (rc < 0) {
        store_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->work);
    pthread_cond_broadcast(&s->compact_done);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&s->pool_lock);
    while (s->in_use > 0)
        sql_cond_wait_ms(&s->pool_free, &s->pool_lock, SQL_WAIT_SLICE_MS);
    pthread_mutex_unlock(&s->pool_lock);
    sql_checkpoint(s, true);
    store_free(s);
}

void store_subscribe(struct store *s, store_commit_fn *fn, void *arg)
{
    LOCK_SCOPE(&s->lock);
    while (s->telling && !pthread_equal(pthread_self(), s->thread))
        pthread_cond_wait(&s->told, &s->lock);
    s->fn = fn;
    s->fn_arg = arg;
}

int64_t store_revision(struct store *s)
{
    return atomic_load(&s->revision);
}

int64_t store_compacted(struct store *s)
{
    return atomic_load(&s->compacted);
}

static int64_t file_bytes(const char *path, const char *suffix)
{
    AUTO_FREE char *name = mem_printf("%s%s", path, suffix);
    struct stat st;

    return stat(name, &st) == 0 ? st.st_size : 0;
}

void store_stats(struct store *s, struct store_stats *ret)
{
    *ret = (struct store_stats){
        .revision = atomic_load(&s->revision),
        .compacted = atomic_load(&s->compacted),
        .keys = atomic_load(&s->keys),
        .commits = atomic_load(&s->commits),
        .rows_written = atomic_load(&s->rows_written),
        .syncs = atomic_load(&s->syncs),
        .memory_bytes = atomic_load(&s->memory_bytes),
        .db_bytes = file_bytes(s->path, ""),
        .wal_bytes = file_bytes(s->path, "-wal"),
    };
    LOCK_SCOPE(&s->pool_lock);
    for (struct sql_conn *c = s->idle; c; c = c->next)
        ret->memory_bytes += sql_memory(c);
}
