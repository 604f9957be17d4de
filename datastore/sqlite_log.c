/* The log: changes in the order of revisions, with what they replaced. */
#include "datastore/sqlite_int.h"

#include <string.h>

struct log_read {
    struct store *s;
    struct sql_conn *c;
    struct slice from, to;
    size_t max_rows;
    store_event_fn *fn;
    void *arg;
    size_t rows, bytes, scanned;
    int64_t last; /* revision of the row looked at last */
};

static bool in_range(const struct log_read *r, struct slice key)
{
    size_t n = key.n < r->from.n ? key.n : r->from.n;
    int c = n ? memcmp(key.at, r->from.at, n) : 0;

    if (r->to.n == 0)
        return slice_eq(key, r->from);
    if (c < 0 || (c == 0 && key.n < r->from.n))
        return false;
    if (r->to.n == 1 && r->to.at[0] == '\0')
        return true;
    n = key.n < r->to.n ? key.n : r->to.n;
    c = n ? memcmp(key.at, r->to.at, n) : 0;
    return c < 0 || (c == 0 && key.n < r->to.n);
}

static void event_clear(struct store_event *e)
{
    store_row_clear(&e->row);
    bytes_unref(e->prev_value);
    bytes_unref(e->prev_facts);
}

static size_t size(const struct bytes *b)
{
    return b ? b->n : 0;
}

static int read_event(struct log_read *r, int64_t id, struct store_event *e, struct err *err)
{
    struct store_row old = { 0 };
    int64_t prev = 0;
    int rc = sql_row(r->c, id, false, &e->row, &prev, err);

    if (rc > 0 && prev)
        rc = sql_row(r->c, prev, false, &old, NULL, err);
    if (rc == 0)
        return err_set(err, ERR_IO, "datastore damaged: the log lacks a row before %lld", (long long)id);
    if (rc < 0)
        return rc;
    e->prev_mod_revision = old.mod_revision;
    e->prev_value = TAKE(old.value);
    e->prev_facts = TAKE(old.facts);
    store_row_clear(&old);
    return 0;
}

static int pass_event(struct log_read *r, int64_t id, struct err *err)
{
    struct store_event e = { 0 };
    int rc = read_event(r, id, &e, err);

    if (rc == 0) {
        r->rows++;
        r->bytes += size(e.row.key) + size(e.row.value) + size(e.row.facts) + size(e.prev_value);
        rc = r->fn(r->arg, &e, err);
    }
    event_clear(&e);
    return rc < 0 ? rc : 0;
}

static bool full(const struct log_read *r)
{
    return r->rows >= r->max_rows || r->bytes >= SQL_CALL_BYTES || r->scanned >= SQL_LOG_SCAN;
}

/* Whole transactions: a limit is looked at only where the revision changes. */
static int read_rows(struct log_read *r, int64_t after, int64_t now, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(r->c, SQL_LOG_SCAN_ROWS, err);
    int rc;

    if (!st)
        return -err->code;
    sqlite3_bind_int64(st, 1, sql_end_of(after));
    while ((rc = sql_step(r->c, st, "read the log", err)) > 0) {
        int64_t id = sqlite3_column_int64(st, 0);
        if (sql_revision(id) != r->last && full(r))
            break;
        r->last = sql_revision(id);
        r->scanned++;
        if (in_range(r, sql_slice(st, 1)) && (rc = pass_event(r, id, err)) < 0)
            break;
    }
    sqlite3_reset(st);
    if (rc == 0) /* to the end, whatever was wanted of it */
        r->last = now;
    return rc < 0 ? rc : 0;
}

static int read_log(struct ctx *ctx, struct log_read *r, int64_t after, struct err *err)
{
    int64_t now = 0, compacted;
    int rc = sql_do(r->c, SQL_BEGIN, "begin a read", err);

    if (rc == 0)
        rc = sql_now(ctx, r->s, r->c, &now, err);
    if (rc < 0)
        return rc;
    compacted = atomic_load(&r->s->compacted); /* after the snapshot: what is missing in it shows here */
    if (after < compacted)
        return err_set(err, ERR_EXPIRED, "revision %lld has been compacted, the oldest is %lld", (long long)after, (long long)compacted);
    r->last = after;
    return after >= now ? 0 : read_rows(r, after, now, err);
}

int store_log(struct ctx *ctx, struct store *s, struct slice from, struct slice to, int64_t after, size_t max_rows, store_event_fn *fn,
              void *arg, int64_t *ret_last, struct err *err)
{
    struct log_read r = { .s = s, .from = from, .to = to, .max_rows = max_rows ? max_rows : SQL_CALL_ROWS, .fn = fn, .arg = arg };
    int rc = readers_take(ctx, s, &r.c, err);

    if (rc < 0)
        return rc;
    rc = read_log(ctx, &r, after, err);
    readers_give(s, r.c);
    if (rc == 0)
        *ret_last = r.last;
    return rc;
}
