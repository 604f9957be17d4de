/* One transaction on the writer's connection: all compares first, then the steps; so nothing has to be undone. */
#include "datastore/sqlite_int.h"

#include "lib/mem.h"

#include <assert.h>

void sql_events_clear(struct store *s)
{
    for (size_t i = 0; i < s->n_events; i++) {
        store_row_clear(&s->events[i].row);
        bytes_unref(s->events[i].prev_value);
        bytes_unref(s->events[i].prev_facts);
    }
    s->n_events = 0;
    if (s->cap_events > SQL_BATCH_MAX) {
        free(TAKE(s->events));
        s->cap_events = 0;
    }
}

static struct store_event *event_new(struct store *s)
{
    if (s->n_events == s->cap_events) {
        s->cap_events = s->cap_events ? s->cap_events * 2 : 32;
        s->events = mem_realloc(s->events, s->cap_events * sizeof(*s->events));
    }
    struct store_event *e = &s->events[s->n_events++];
    *e = (struct store_event){ 0 };
    return e;
}

/* The id of the key's live row, 0 when there is none. */
static int current_id(struct store *s, struct slice key, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_CURRENT, err);

    if (!st)
        return -err->code;
    sql_key(st, 1, key);
    int rc = sql_step(s->writer, st, "look up a key", err);
    if (rc < 0)
        return rc;
    *ret = rc ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return 0;
}

static void bind_bytes(sqlite3_stmt *st, int at, const struct bytes *b)
{
    if (b)
        sqlite3_bind_blob64(st, at, b->at, b->n, SQLITE_STATIC);
    else
        sqlite3_bind_null(st, at);
}

static int insert_row(struct store *s, const struct store_row *row, int64_t id, int64_t prev, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_INSERT, err);

    if (!st)
        return -err->code;
    sqlite3_bind_int64(st, 1, id);
    sql_key(st, 2, (struct slice){ row->key->at, row->key->n });
    sqlite3_bind_int64(st, 3, row->create_revision);
    sqlite3_bind_int64(st, 4, row->version);
    sqlite3_bind_int(st, 5, row->deleted);
    sqlite3_bind_int64(st, 6, row->expiry_ms);
    sqlite3_bind_int64(st, 7, prev);
    bind_bytes(st, 8, row->facts);
    bind_bytes(st, 9, row->value);
    return sql_run(s->writer, st, "write a row", err);
}

static int set_current(struct store *s, const struct store_row *row, int64_t id, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_SET_CURRENT, err);

    if (!st)
        return -(int)err->code;
    bind_bytes(st, 1, row->key);
    sqlite3_bind_int64(st, 2, id);
    sqlite3_bind_int64(st, 3, row->create_revision);
    sqlite3_bind_int64(st, 4, row->version);
    sqlite3_bind_int64(st, 5, row->expiry_ms);
    bind_bytes(st, 6, row->facts);
    return sql_run(s->writer, st, "write an index", err);
}

/* A statement with up to one key in front and integers behind it. */
static int run_ints(struct store *s, enum sql which, const struct slice *key, int64_t a, int64_t b, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, which, err);
    int at = 1;

    if (!st)
        return -err->code;
    if (key)
        sql_key(st, at++, *key);
    if (at <= sqlite3_bind_parameter_count(st))
        sqlite3_bind_int64(st, at++, a);
    if (at <= sqlite3_bind_parameter_count(st))
        sqlite3_bind_int64(st, at, b);
    return sql_run(s->writer, st, "write an index", err);
}

/* Takes the row `prev` out of what is live; it stays readable at revisions before `stop`. Fills the event's prev_*. */
static int retire(struct store *s, struct slice key, int64_t prev, int64_t stop, struct store_row *ret_old, struct err *err)
{
    int rc = sql_row(s->writer, prev, false, ret_old, NULL, err);

    if (rc == 0)
        return err_set(err, ERR_IO, "datastore damaged: row %lld is in the index, not in the log", (long long)prev);
    if (rc > 0)
        rc = run_ints(s, SQL_ADD_HISTORY, &key, prev, stop, err);
    if (rc == 0 && ret_old->expiry_ms)
        rc = run_ints(s, SQL_DROP_EXPIRY, NULL, ret_old->expiry_ms, prev, err);
    return rc < 0 ? rc : 0;
}

static void event_prev(struct store_event *e, struct store_row *old)
{
    e->prev_mod_revision = old->mod_revision;
    e->prev_value = TAKE(old->value);
    e->prev_facts = TAKE(old->facts);
    store_row_clear(old);
}

static int apply_put(struct store *s, const struct store_op *op, int64_t prev, int64_t id, struct err *err)
{
    struct store_event *e = event_new(s);
    struct store_row old = { 0 };
    int rc = prev ? retire(s, op->key, prev, id, &old, err) : 0;

    e->row = (struct store_row){
        .key = bytes_new(op->key.at, op->key.n),
        .value = bytes_ref(op->value),
        .facts = bytes_ref(op->facts),
        .mod_revision = sql_revision(id),
        .create_revision = prev ? old.create_revision : sql_revision(id),
        .version = prev ? old.version + 1 : 1,
        .expiry_ms = op->expiry_ms,
    };
    event_prev(e, &old);
    if (rc == 0)
        rc = insert_row(s, &e->row, id, prev, err);
    if (rc == 0)
        rc = set_current(s, &e->row, id, err);
    if (rc < 0 || !op->expiry_ms)
        return rc;
    if (op->expiry_ms < s->next_expiry_ms)
        s->next_expiry_ms = op->expiry_ms;
    return run_ints(s, SQL_ADD_EXPIRY, NULL, op->expiry_ms, id, err);
}

int sql_apply_delete(struct store *s, struct slice key, int64_t prev, int64_t revision, int sub, struct err *err)
{
    struct store_event *e = event_new(s);
    int64_t id = sql_id(revision, sub);
    struct store_row old = { 0 };
    int rc = retire(s, key, prev, id, &old, err);

    e->row = (struct store_row){
        .key = bytes_new(key.at, key.n),
        .mod_revision = revision,
        .create_revision = old.create_revision,
        .version = old.version,
        .deleted = true,
    };
    event_prev(e, &old);
    if (rc == 0)
        rc = insert_row(s, &e->row, id, prev, err);
    return rc < 0 ? rc : run_ints(s, SQL_DROP_CURRENT, &key, 0, 0, err);
}

static int text_len(struct slice key)
{
    return key.n > 200 ? 200 : (int)key.n;
}

/* Says why a compare failed; the engine is fine. */
static int compare_failed(struct store *s, struct txn *t, size_t i, int64_t id, struct err *err)
{
    const struct store_op *op = &t->ops[i];
    int n = text_len(op->key);

    if (id && t->want_live) {
        int rc = sql_row(s->writer, id, false, &t->live, NULL, err);
        if (rc < 0)
            return rc;
    }
    t->failed = (int)i;
    if (!id)
        t->rc = err_set(&t->err, ERR_NOT_FOUND, "key %.*s not found", n, op->key.at);
    else if (op->expect == STORE_ABSENT)
        t->rc = err_set(&t->err, ERR_EXISTS, "key %.*s exists", n, op->key.at);
    else
        t->rc = err_set(&t->err, ERR_CONFLICT, "key %.*s is at revision %lld, not %lld", n, op->key.at,
                        (long long)sql_revision(id), (long long)op->expect);
    return 0;
}

/* ids[i] becomes the live row of op i, where it was looked up. *ret_failed: t has its outcome. */
static int compare_all(struct store *s, struct txn *t, bool *ret_failed, int64_t *ret_only, struct err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct store_op *op = &t->ops[i];
        int64_t id = 0;

        if (op->expect == STORE_ANY && t->n > 1)
            continue;
        int rc = current_id(s, op->key, &id, err);
        if (rc < 0)
            return rc;
        *ret_only = id;
        if (op->expect == STORE_ANY || op->expect == (id ? sql_revision(id) : 0))
            continue;
        *ret_failed = true;
        return compare_failed(s, t, i, id, err);
    }
    return 0;
}

int sql_apply_txn(struct store *s, struct txn *t, int64_t revision, bool *ret_changed, struct err *err)
{
    bool failed = false;
    int64_t prev = 0;
    int rc = compare_all(s, t, &failed, &prev, err), sub = 0;

    if (rc < 0 || failed)
        return rc;
    for (size_t i = 0; rc == 0 && i < t->n; i++) {
        const struct store_op *op = &t->ops[i];

        if (op->kind == STORE_CHECK)
            continue;
        if (t->n > 1) /* an earlier step may have changed it */
            rc = current_id(s, op->key, &prev, err);
        if (rc < 0 || (op->kind == STORE_DELETE && !prev))
            continue;
        if (op->kind == STORE_PUT)
            rc = apply_put(s, op, prev, sql_id(revision, sub++), err);
        else
            rc = sql_apply_delete(s, op->key, prev, revision, sub++, err);
    }
    *ret_changed = sub > 0;
    t->revision = sub ? revision : revision - 1;
    return rc;
}
