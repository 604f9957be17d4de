/* The writer thread: takes what waits, applies it, one commit and one sync for all, tells the subscriber, wakes the callers. */
#include "datastore/sqlite_int.h"

#include "lib/log.h"
#include "lib/mem.h"

void sql_writer_rollback(struct store *s)
{
    if (!sqlite3_get_autocommit(s->writer->db))
        sqlite3_exec(s->writer->db, "ROLLBACK", NULL, NULL, NULL);
    sql_events_clear(s);
}

/* A commit that failed may have left its frames in the WAL, valid as far as a later recovery could tell; nobody was told that
 * it happened, so it must not come back. One small commit over its first frame breaks the checksums of all that follow.
 * (Reopening instead could run just that recovery.) Until it works no write is taken. */
static int fence(struct store *s, struct err *err)
{
    int64_t revision = 0, n = 0;
    int rc = sql_do(s->writer, SQL_BEGIN_WRITE, "begin", err);

    if (rc == 0)
        rc = sql_meta(s->writer, "fence", &n, err);
    if (rc == 0)
        rc = sql_set_meta(s->writer, "fence", n + 1, err);
    if (rc == 0)
        rc = sql_do(s->writer, SQL_COMMIT, "commit", err);
    if (rc == 0)
        rc = sql_snapshot(s->writer, &revision, err);
    if (rc == 0 && revision != atomic_load(&s->revision))
        rc = err_set(err, ERR_IO, "datastore is at revision %lld instead of %lld: start again", (long long)revision,
                     (long long)atomic_load(&s->revision));
    if (rc == 0)
        s->fence_needed = false;
    else
        sql_writer_rollback(s);
    return rc;
}

int sql_writer_begin(struct store *s, struct err *err)
{
    if (s->fence_needed) {
        int rc = fence(s, err);
        if (rc < 0)
            return err_wrap(err, "recover from a failed commit");
    }
    return sql_do(s->writer, SQL_BEGIN_WRITE, "begin", err);
}

static void tell(struct store *s, int64_t revision)
{
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->revision, revision);
    store_commit_fn *fn = s->fn;
    void *arg = s->fn_arg;
    s->telling = fn != NULL;
    pthread_cond_broadcast(&s->told);
    pthread_mutex_unlock(&s->lock);
    if (!fn)
        return;
    fn(arg, s->events, s->n_events, revision);
    LOCK_SCOPE(&s->lock);
    s->telling = false;
    pthread_cond_broadcast(&s->told);
}

int sql_writer_commit(struct store *s, int64_t revision, struct err *err)
{
    int rc = sql_do(s->writer, SQL_COMMIT, "commit", err);

    if (rc < 0) {
        struct err again;
        s->fence_needed = true;
        sql_writer_rollback(s);
        ERR_IGNORE(fence(s, &again)); /* before anybody is told; if not now, before the next write */
        return rc;
    }
    if (s->n_events == 0)
        return 0;
    int64_t keys = 0;
    for (size_t i = 0; i < s->n_events; i++)
        keys += s->events[i].row.deleted ? -1 : s->events[i].row.version == 1;
    atomic_fetch_add(&s->keys, keys);
    atomic_fetch_add(&s->commits, 1);
    atomic_fetch_add(&s->syncs, 1);
    atomic_fetch_add(&s->rows_written, (int64_t)s->n_events);
    tell(s, revision);
    sql_events_clear(s);
    return 0;
}

/* At most SQL_BATCH_MAX transactions or SQL_BATCH_MAX_BYTES from the queue's head. Called with the lock held. */
static struct txn *take_batch(struct store *s)
{
    struct txn *first = s->head, **at = &s->head;
    size_t bytes = 0;

    for (int n = 0; *at && n < SQL_BATCH_MAX; n++) {
        bytes += (*at)->n_bytes;
        if (n > 0 && bytes > SQL_BATCH_MAX_BYTES)
            break;
        s->queued--;
        at = &(*at)->next;
    }
    if (at == &s->head)
        return NULL;
    s->head = *at;
    *at = NULL;
    if (!s->head)
        s->tail = &s->head;
    return first;
}

static int apply_batch(struct store *s, struct txn *list, int64_t *revision, struct err *err)
{
    int rc = sql_writer_begin(s, err);

    for (struct txn *t = list; rc == 0 && t; t = t->next) {
        bool changed = false;

        rc = sql_apply_txn(s, t, *revision + 1, &changed, err);
        *revision += changed;
    }
    return rc < 0 ? rc : sql_writer_commit(s, *revision, err);
}

static void run_batch(struct store *s, struct txn *list)
{
    int64_t revision = atomic_load(&s->revision), next_expiry = s->next_expiry_ms;
    struct err err = { 0 };
    int rc = apply_batch(s, list, &revision, &err);

    if (rc < 0) {
        sql_writer_rollback(s);
        s->next_expiry_ms = next_expiry;
        log_warn("datastore cannot write", "path=%s error=%s", log_q(s->path), log_q(err.msg));
    }
    while (list) {
        struct txn *t = list;
        list = t->next;
        if (rc < 0) { /* also a failed compare may have looked at what is now undone */
            store_row_clear(&t->live);
            t->failed = -1;
            t->rc = rc;
            t->err = err;
        }
        sql_txn_finish(t);
    }
}

/* Milliseconds until something has to be done without being asked; -1: nothing. */
static int64_t idle_ms(struct store *s)
{
    if (sql_own_work_waits(s))
        return SQL_RETRY_MS;
    if (sql_compact_pending(s))
        return 0;
    if (s->next_expiry_ms == INT64_MAX)
        return -1;
    int64_t left = s->next_expiry_ms - clock_wall_us(s->clock) / 1000;
    if (left < 0)
        left = 0;
    return left < SQL_EXPIRY_LOOK_MS ? left : SQL_EXPIRY_LOOK_MS;
}

/* Waits for work. *ret_closing: nothing is left and nothing will come. */
static struct txn *wait_work(struct store *s, bool *ret_closing)
{
    int64_t ms = idle_ms(s);

    LOCK_SCOPE(&s->lock);
    if (!s->head && !s->closing && !s->compact_to && ms != 0) {
        if (ms > 0)
            sql_cond_wait_ms(&s->work, &s->lock, ms);
        else
            pthread_cond_wait(&s->work, &s->lock);
    }
    struct txn *list = take_batch(s);
    *ret_closing = s->closing && !list;
    return list;
}

void *sql_writer_main(void *arg)
{
    struct store *s = arg;
    bool closing = false;

    for (unsigned round = 0;; round++) {
        struct txn *list = wait_work(s, &closing);
        if (list)
            run_batch(s, list);
        if (closing)
            break;
        sql_compact_start(s);
        if (!sql_own_work_waits(s)) {
            sql_expire_due(s);
            sql_compact_slice(s);
        }
        if (s->wal_frames >= s->checkpoint_at)
            sql_checkpoint(s, false);
        if (!list || round % 256 == 0) /* it is not for nothing */
            atomic_store_explicit(&s->memory_bytes, sql_memory(s->writer), memory_order_relaxed);
    }
    return NULL;
}
