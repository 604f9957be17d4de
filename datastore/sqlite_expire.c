/* Keys whose time has come become DELETE rows, each with a revision of its own, so that no watcher can stop between two. */
#include "datastore/sqlite_int.h"

#include "lib/log.h"

#include <string.h>

void sql_own_work_failed(struct store *s, const char *what, const struct err *err)
{
    s->retry_at_ms = clock_mono_ms(&clock_system) + SQL_RETRY_MS;
    log_warn(what, "path=%s error=%s", log_q(s->path), log_q(err->msg));
}

bool sql_own_work_waits(const struct store *s)
{
    return s->retry_at_ms && clock_mono_ms(&clock_system) < s->retry_at_ms;
}

int sql_expiry_next(struct store *s, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_FIRST_EXPIRY, err);

    if (!st)
        return -err->code;
    int rc = sql_step(s->writer, st, "look for what expires", err);
    if (rc < 0)
        return rc;
    s->next_expiry_ms = rc ? sqlite3_column_int64(st, 0) : INT64_MAX;
    sqlite3_reset(st);
    return 0;
}

struct due {
    int64_t id;
    struct bytes *key;
};

/* Read first, then written: the statement walks the table that deleting changes. */
static int find_due(struct store *s, int64_t now_ms, struct due *due, size_t *n, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_DUE, err);
    int rc;

    if (!st)
        return -err->code;
    sqlite3_bind_int64(st, 1, now_ms);
    sqlite3_bind_int(st, 2, SQL_EXPIRE_ROWS);
    while ((rc = sql_step(s->writer, st, "look for what expires", err)) > 0)
        due[(*n)++] = (struct due){ sqlite3_column_int64(st, 0), sql_bytes(st, 1) };
    return rc;
}

static int expire(struct store *s, int64_t now_ms, struct due *due, size_t *n, struct err *err)
{
    int64_t revision = atomic_load(&s->revision);
    int rc = sql_writer_begin(s, err);

    if (rc == 0)
        rc = find_due(s, now_ms, due, n, err);
    for (size_t i = 0; rc == 0 && i < *n; i++)
        rc = sql_apply_delete(s, (struct slice){ due[i].key->at, due[i].key->n }, due[i].id, ++revision, 0, err);
    if (rc == 0)
        rc = sql_writer_commit(s, revision, err);
    return rc < 0 ? rc : sql_expiry_next(s, err);
}

void sql_expire_due(struct store *s)
{
    int64_t now_ms = clock_wall_us(s->clock) / 1000;
    struct due due[SQL_EXPIRE_ROWS];
    struct err err = { 0 };
    size_t n = 0;

    if (s->next_expiry_ms > now_ms)
        return;
    if (expire(s, now_ms, due, &n, &err) < 0) {
        sql_writer_rollback(s);
        sql_own_work_failed(s, "datastore cannot expire keys", &err);
    }
    for (size_t i = 0; i < n; i++)
        bytes_unref(due[i].key);
}
