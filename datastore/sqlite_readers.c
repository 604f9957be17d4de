/* The readers: a fixed few connections, opened when first needed, lent to one thread at a time. */
#include "datastore/sqlite_int.h"

static int pool_wait(struct ctx *ctx, struct store *s, struct err *err)
{
    int rc = ctx_check(ctx, err);

    if (rc < 0)
        return err_wrap(err, "wait for the datastore");
    sql_cond_wait_ms(&s->pool_free, &s->pool_lock, sql_wait_slice_ms(ctx));
    return 0;
}

static struct sql_conn *pool_idle(struct store *s)
{
    struct sql_conn *c = s->idle;

    if (c) {
        s->idle = c->next;
        c->next = NULL;
    }
    return c;
}

int readers_take(struct ctx *ctx, struct store *s, struct sql_conn **ret, struct err *err)
{
    struct sql_conn *c = NULL;

    pthread_mutex_lock(&s->pool_lock);
    while (s->gate || (!(c = pool_idle(s)) && s->readers == s->readers_max)) {
        int rc = pool_wait(ctx, s, err);
        if (rc < 0) {
            pthread_mutex_unlock(&s->pool_lock);
            return rc;
        }
    }
    s->in_use++;
    s->readers += c == NULL;
    pthread_mutex_unlock(&s->pool_lock);
    if (c || sql_open(s, false, &c, err) == 0) {
        *ret = c;
        return 0;
    }
    LOCK_SCOPE(&s->pool_lock);
    s->in_use--;
    s->readers--;
    pthread_cond_broadcast(&s->pool_free);
    return -err->code;
}

void readers_give(struct store *s, struct sql_conn *c)
{
    if (!sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    LOCK_SCOPE(&s->pool_lock);
    c->next = s->idle;
    s->idle = c;
    s->in_use--;
    if (s->gate)
        pthread_cond_broadcast(&s->pool_free);
    else
        pthread_cond_signal(&s->pool_free);
}

/* Waits for readers, bounded: a reader that hangs must not stop the writer. */
void readers_gate_close(struct store *s)
{
    int64_t start = clock_mono_ms(&clock_system);

    LOCK_SCOPE(&s->pool_lock);
    s->gate = true;
    while (s->in_use > 0) {
        int64_t left = start + SQL_GATE_MS - clock_mono_ms(&clock_system);
        if (left <= 0)
            return;
        sql_cond_wait_ms(&s->pool_free, &s->pool_lock, left);
    }
}

void readers_gate_open(struct store *s)
{
    LOCK_SCOPE(&s->pool_lock);
    s->gate = false;
    pthread_cond_broadcast(&s->pool_free);
}

void readers_clear(struct store *s)
{
    struct sql_conn *c;

    LOCK_SCOPE(&s->pool_lock);
    while ((c = pool_idle(s)))
        sql_close(c, false);
    s->readers = 0;
}

int sql_published(struct ctx *ctx, struct store *s, int64_t revision, struct err *err)
{
    if (revision <= atomic_load(&s->revision))
        return 0;
    LOCK_SCOPE(&s->lock);
    while (revision > atomic_load(&s->revision)) {
        int rc = ctx_check(ctx, err);
        if (rc < 0)
            return rc;
        sql_cond_wait_ms(&s->told, &s->lock, sql_wait_slice_ms(ctx));
    }
    return 0;
}

int sql_now(struct ctx *ctx, struct store *s, struct sql_conn *c, int64_t *ret, struct err *err)
{
    int64_t now = 0;
    int rc = sql_snapshot(c, &now, err);

    if (rc == 0)
        rc = sql_published(ctx, s, now, err);
    if (rc == 0)
        *ret = now;
    return rc;
}
