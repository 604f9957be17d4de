/* Reads: one key, ranges in pieces, counts. Each call is one short read transaction on a pooled connection. */
#include "datastore/sqlite_int.h"

#include "lib/mem.h"

#include <string.h>

static int check_revision(struct store *s, int64_t at, struct err *err)
{
    int64_t compacted = atomic_load(&s->compacted);

    if (at >= compacted)
        return 0;
    return err_set(err, ERR_EXPIRED, "revision %lld has been compacted, the oldest is %lld", (long long)at, (long long)compacted);
}

static int check_future(int64_t at, int64_t now, struct err *err)
{
    if (at <= now)
        return 0;
    return err_set(err, ERR_BAD_REQUEST, "revision %lld is to come, the store is at %lld", (long long)at, (long long)now);
}

static int absent(struct slice key, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "key %.*s not found", key.n > 200 ? 200 : (int)key.n, key.at);
}

/* *ret_now: the revision of the snapshot. */
static int get_now(struct sql_conn *c, struct slice key, struct store_row *ret, int64_t *ret_now, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, SQL_GET, err);

    if (!st)
        return -err->code;
    sql_key(st, 1, key);
    int rc = sql_step(c, st, "get a key", err);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(err, ERR_IO, "get a key: no answer");
    int64_t last = sqlite3_column_int64(st, 0), id = sqlite3_column_int64(st, 1);
    *ret_now = last ? sql_revision(last) : 1;
    if (id)
        *ret = (struct store_row){
            .key = bytes_new(key.at, key.n),
            .mod_revision = sql_revision(id),
            .create_revision = sqlite3_column_int64(st, 2),
            .version = sqlite3_column_int64(st, 3),
            .expiry_ms = sqlite3_column_int64(st, 4),
            .facts = sql_bytes(st, 5),
            .value = sql_bytes(st, 6),
        };
    sqlite3_reset(st);
    return id ? 0 : absent(key, err);
}

/* The row of a key that was live at a revision: the current one if it is old enough, else one of its history. */
static int id_at(struct sql_conn *c, struct slice key, int64_t end, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, SQL_CURRENT, err);

    if (!st)
        return -err->code;
    sql_key(st, 1, key);
    int rc = sql_step(c, st, "look up a key", err);
    int64_t id = rc > 0 ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    if (rc < 0 || (id && id <= end)) {
        *ret = id;
        return rc < 0 ? rc : 0;
    }
    st = sql_stmt(c, SQL_AT, err);
    if (!st)
        return -err->code;
    sql_key(st, 1, key);
    sqlite3_bind_int64(st, 2, end);
    rc = sql_step(c, st, "look up a key", err);
    *ret = rc > 0 && sqlite3_column_int64(st, 1) > end ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return rc < 0 ? rc : 0;
}

static int get_at(struct store *s, struct sql_conn *c, struct slice key, int64_t at, struct store_row *ret, int64_t *ret_now,
                  struct err *err)
{
    int64_t now = 0, id = 0;
    int rc = sql_do(c, SQL_BEGIN, "begin a read", err);

    if (rc == 0)
        rc = sql_snapshot(c, &now, err);
    if (rc == 0)
        rc = check_future(at, now, err);
    if (rc == 0)
        rc = check_revision(s, at, err);
    if (rc == 0)
        rc = id_at(c, key, sql_end_of(at), &id, err);
    if (rc < 0)
        return rc;
    *ret_now = now;
    if (!id)
        return absent(key, err);
    rc = sql_row(c, id, false, ret, NULL, err);
    if (rc == 0)
        return err_set(err, ERR_IO, "datastore damaged: row %lld is in the index, not in the log", (long long)id);
    return rc < 0 ? rc : 0;
}

int store_get(struct ctx *ctx, struct store *s, struct slice key, int64_t at_revision, struct store_row *ret, int64_t *ret_revision,
              struct err *err)
{
    struct store_row row = { 0 };
    struct sql_conn *c = NULL;
    struct err late;
    int64_t now = 0;
    int rc = readers_take(ctx, s, &c, err);

    if (rc < 0)
        return rc;
    if (at_revision == 0)
        rc = get_now(c, key, &row, &now, err);
    else
        rc = get_at(s, c, key, at_revision, &row, &now, err);
    readers_give(s, c);
    if (sql_published(ctx, s, now, &late) < 0 && rc == 0) {
        *err = late;
        rc = -(int)late.code;
    }
    if (rc < 0) {
        store_row_clear(&row);
    } else {
        *ret = row;
    }
    if (ret_revision && (rc == 0 || rc == -ERR_NOT_FOUND))
        *ret_revision = now;
    return rc;
}

static bool no_end(struct slice to)
{
    return to.n == 1 && to.at[0] == '\0';
}

static int compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int rc = n ? memcmp(a.at, b.at, n) : 0;

    return rc ? rc : (a.n > b.n) - (a.n < b.n);
}

/* What every read of a range shares: a snapshot, and a statement that gives the live keys at a revision in order. */
struct scan {
    struct sql_conn *c;
    sqlite3_stmt *st;
    struct slice from, to;
    int64_t now, at;
    bool facts;          /* they are looked at before the row is */
    bool facts_here;     /* and st gives them */
    struct bytes *lent;  /* facts as `want` sees them; used again for each row */
    size_t lent_cap;
    size_t bytes;        /* looked at so far */
};

static int scan_open(struct ctx *ctx, struct store *s, struct scan *scan, struct slice start, int64_t at_revision, struct err *err)
{
    int rc = sql_do(scan->c, SQL_BEGIN, "begin a read", err);

    if (rc == 0)
        rc = sql_now(ctx, s, scan->c, &scan->now, err);
    scan->at = at_revision ? at_revision : scan->now;
    if (rc == 0)
        rc = check_future(scan->at, scan->now, err);
    if (rc == 0)
        rc = check_revision(s, scan->at, err);
    if (rc < 0)
        return rc;
    scan->facts_here = scan->facts && scan->at == scan->now;
    scan->st = sql_stmt(scan->c, scan->at != scan->now ? SQL_KEYS_AT : scan->facts ? SQL_KEYS_FACTS : SQL_KEYS_NOW, err);
    if (!scan->st)
        return -err->code;
    sql_key(scan->st, 1, start);
    if (scan->at != scan->now)
        sqlite3_bind_int64(scan->st, 2, sql_end_of(scan->at));
    return 0;
}

/* 1: *ret_key (valid until the next step) and *ret_id, 0: the end. */
static int scan_next(struct scan *scan, struct slice *ret_key, int64_t *ret_id, struct err *err)
{
    int rc = sql_step(scan->c, scan->st, "read a range", err);

    if (rc <= 0)
        return rc;
    *ret_key = sql_slice(scan->st, 0);
    *ret_id = sqlite3_column_int64(scan->st, 1);
    if (scan->to.n == 0)
        return slice_eq(*ret_key, scan->from);
    return no_end(scan->to) || compare(*ret_key, scan->to) < 0;
}

static void scan_close(struct store *s, struct scan *scan)
{
    if (scan->st)
        sqlite3_reset(scan->st);
    bytes_unref(scan->lent);
    readers_give(s, scan->c);
}

static size_t row_bytes(const struct store_row *row)
{
    return row->key->n + (row->value ? row->value->n : 0) + (row->facts ? row->facts->n : 0);
}

/* Where the rows go. */
struct out {
    store_row_fn *fn;
    void *arg;
};

/* The whole row, or its front: from the index where that is enough, else from the log. */
static int scan_row(struct scan *scan, struct slice key, int64_t id, bool facts_only, struct store_row *ret, struct err *err)
{
    if (facts_only && scan->facts_here) {
        *ret = (struct store_row){
            .key = bytes_new(key.at, key.n),
            .mod_revision = sql_revision(id),
            .create_revision = sqlite3_column_int64(scan->st, 2),
            .version = sqlite3_column_int64(scan->st, 3),
            .expiry_ms = sqlite3_column_int64(scan->st, 4),
            .facts = sql_bytes(scan->st, 5),
        };
        return 0;
    }
    int rc = sql_row(scan->c, id, facts_only, ret, NULL, err);
    if (rc == 0)
        return err_set(err, ERR_IO, "datastore damaged: row %lld is in the index, not in the log", (long long)id);
    return rc < 0 ? rc : 0;
}

/* The facts in the scan's own storage; NULL when the row has none. */
static const struct bytes *lend_facts(struct scan *scan)
{
    if (sqlite3_column_type(scan->st, 5) == SQLITE_NULL)
        return NULL;
    struct slice facts = sql_slice(scan->st, 5);
    if (!scan->lent || facts.n > scan->lent_cap) {
        bytes_unref(scan->lent);
        scan->lent_cap = facts.n < 512 ? 512 : facts.n * 2;
        scan->lent = mem_alloc(sizeof(*scan->lent) + scan->lent_cap + 1);
        atomic_init(&scan->lent->refs, 1);
    }
    if (facts.n)
        memcpy(scan->lent->at, facts.at, facts.n);
    scan->lent->n = facts.n;
    scan->lent->at[facts.n] = '\0';
    return scan->lent;
}

/* 1: the row is wanted, 0: it is not. */
static int wanted(struct scan *scan, struct slice key, int64_t id, const struct store_range *range, void *arg, struct err *err)
{
    struct store_row row = { 0 };
    const struct bytes *facts;
    int rc = 0;

    if (!range->want)
        return 1;
    if (!scan->facts_here)
        rc = scan_row(scan, key, id, true, &row, err);
    if (rc < 0)
        return rc;
    facts = scan->facts_here ? lend_facts(scan) : row.facts;
    bool yes = range->want(arg, key, facts);
    if (!yes)
        scan->bytes += key.n + (facts ? facts->n : 0);
    store_row_clear(&row);
    return yes;
}

/* One row to fn. Returns fn's result; > 0 also when the row is not wanted. */
static int lend(struct scan *scan, struct slice key, int64_t id, const struct store_range *range, const struct out *out, bool *stop,
                struct err *err)
{
    struct store_row row = { 0 };
    int rc = wanted(scan, key, id, range, out->arg, err);

    if (rc <= 0)
        return rc < 0 ? rc : 1;
    rc = scan_row(scan, key, id, range->facts_only, &row, err);
    if (rc < 0)
        return rc;
    scan->bytes += row_bytes(&row);
    rc = out->fn(out->arg, &row, stop, err);
    store_row_clear(&row);
    return rc;
}

/* Rows until a limit; then looks whether there is one more, where the next call goes on. */
static int range_rows(struct scan *scan, struct store_range *range, store_row_fn *fn, void *arg, struct bytes **ret_next, struct err *err)
{
    const struct out out = { fn, arg };
    size_t rows = 0;
    size_t max_rows = range->max_rows ? range->max_rows : SQL_CALL_ROWS;
    size_t max_bytes = range->max_bytes ? range->max_bytes : SQL_CALL_BYTES;
    struct slice key;
    bool stop = false;
    int64_t id;
    int rc;

    while ((rc = scan_next(scan, &key, &id, err)) > 0) {
        if (stop || rows >= max_rows || scan->bytes >= max_bytes) {
            *ret_next = bytes_new(key.at, key.n);
            return 0;
        }
        rc = lend(scan, key, id, range, &out, &stop, err);
        if (rc < 0)
            return rc;
        rows += rc == 0;
    }
    return rc;
}

int store_range(struct ctx *ctx, struct store *s, struct store_range *range, store_row_fn *fn, void *arg, struct err *err)
{
    struct scan scan = { .from = range->from, .to = range->to, .facts = range->facts_only || range->want };
    struct slice start = range->next ? (struct slice){ range->next->at, range->next->n } : range->from;
    struct bytes *next = NULL;
    bool first = !range->revision;
    int rc = ctx_check(ctx, err);

    if (rc == 0)
        rc = readers_take(ctx, s, &scan.c, err);
    if (rc < 0)
        return rc;
    rc = scan_open(ctx, s, &scan, start, range->at_revision, err);
    if (rc == 0)
        rc = range_rows(&scan, range, fn, arg, &next, err);
    scan_close(s, &scan);
    if (rc < 0)
        return rc;
    bytes_unref(range->next);
    range->next = next;
    range->more = next != NULL;
    if (first) {
        range->revision = scan.now;
        if (!range->at_revision && range->more && (range->hold = sql_hold_take(s, scan.at)))
            range->held_in = s;
        range->at_revision = scan.at;
    }
    return 0;
}

void store_range_end(struct store_range *range)
{
    if (range->hold)
        sql_hold_drop(range->held_in, range->hold);
    bytes_unref(range->next);
    range->hold = NULL;
    range->held_in = NULL;
    range->next = NULL;
}

enum { COUNT_SLICE = 4096 };

int store_count(struct ctx *ctx, struct store *s, struct slice from, struct slice to, int64_t at_revision, int64_t *ret, struct err *err)
{
    struct scan scan = { .from = from, .to = to };
    struct slice key;
    int64_t n = 0, id;
    int rc = readers_take(ctx, s, &scan.c, err);

    if (rc < 0)
        return rc;
    rc = scan_open(ctx, s, &scan, from, at_revision, err);
    while (rc == 0 && (rc = scan_next(&scan, &key, &id, err)) > 0)
        rc = ++n % COUNT_SLICE ? 0 : ctx_check(ctx, err);
    scan_close(s, &scan);
    if (rc == 0)
        *ret = n;
    return rc;
}
