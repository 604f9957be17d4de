/* Compaction, holds against it, and the WAL's checkpoints. All in small steps between the writers' commits. */
#include "datastore/sqlite_int.h"

#include "lib/log.h"
#include "lib/mem.h"

struct store_hold *sql_hold_take(struct store *s, int64_t revision)
{
    LOCK_SCOPE(&s->lock);
    if (revision < atomic_load(&s->compacted))
        return NULL; /* too late; the next read says so */
    struct store_hold *hold = MEM_NEW(struct store_hold);
    *hold = (struct store_hold){ .revision = revision, .since_ms = clock_mono_ms(s->clock), .next = s->holds };
    s->holds = hold;
    return hold;
}

void sql_hold_drop(struct store *s, struct store_hold *hold)
{
    LOCK_SCOPE(&s->lock);
    for (struct store_hold **at = &s->holds; *at; at = &(*at)->next) {
        if (*at != hold)
            continue;
        *at = hold->next;
        free(hold);
        return;
    }
}

/* Readers see `compacted` before the first row goes, whatever their snapshot. */
void sql_compact_start(struct store *s)
{
    int64_t now_ms = clock_mono_ms(s->clock);

    LOCK_SCOPE(&s->lock);
    if (!s->compact_to)
        return;
    int64_t to = s->compact_to;
    s->compact_to = 0;
    if (to > atomic_load(&s->revision))
        to = atomic_load(&s->revision);
    for (struct store_hold *h = s->holds; h; h = h->next)
        if (h->revision < to && now_ms - h->since_ms < SQL_HOLD_MS)
            to = h->revision;
    if (to > atomic_load(&s->compacted)) {
        atomic_store(&s->compacted, to);
        s->compacting = true;
    } else if (!s->compacting) {
        pthread_cond_broadcast(&s->compact_done);
    }
}

bool sql_compact_pending(const struct store *s)
{
    return s->compacting;
}

struct walked {
    int64_t id, prev;
    bool deleted;
    struct bytes *key;
};

static int walk(struct store *s, int64_t end, struct walked *rows, int *n, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_COMPACT_SCAN, err);
    int rc;

    if (!st)
        return -err->code;
    sqlite3_bind_int64(st, 1, s->compact_pos);
    sqlite3_bind_int64(st, 2, end);
    sqlite3_bind_int(st, 3, SQL_COMPACT_ROWS);
    while ((rc = sql_step(s->writer, st, "read the log", err)) > 0)
        rows[(*n)++] = (struct walked){ .id = sqlite3_column_int64(st, 0),
                                        .key = sql_bytes(st, 1),
                                        .prev = sqlite3_column_int64(st, 2),
                                        .deleted = sqlite3_column_int(st, 3) != 0 };
    return rc;
}

static int drop_row(struct store *s, int64_t id, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_DROP_ROW, err);

    if (!st)
        return -err->code;
    sqlite3_bind_int64(st, 1, id);
    return sql_run(s->writer, st, "forget a row", err);
}

/* What a row at or below the compaction replaced can be read by nobody any more; a deletion goes itself, too. */
static int forget(struct store *s, const struct walked *row, struct err *err)
{
    int rc = 0;

    if (row->prev) {
        sqlite3_stmt *st = sql_stmt(s->writer, SQL_DROP_HISTORY, err);
        if (!st)
            return -err->code;
        sql_key(st, 1, (struct slice){ row->key->at, row->key->n });
        sqlite3_bind_int64(st, 2, row->prev);
        rc = sql_run(s->writer, st, "forget a row", err);
        if (rc == 0)
            rc = drop_row(s, row->prev, err);
    }
    if (rc == 0 && row->deleted)
        rc = drop_row(s, row->id, err);
    return rc;
}

/* The id up to which the walk goes: the newest row stays, it carries the revision. */
static int walk_end(struct store *s, int64_t *ret, struct err *err)
{
    int64_t end = sql_end_of(atomic_load(&s->compacted));
    sqlite3_stmt *st = sql_stmt(s->writer, SQL_LAST, err);

    if (!st)
        return -err->code;
    int rc = sql_step(s->writer, st, "read the revision", err);
    if (rc < 0)
        return rc;
    int64_t last = rc ? sqlite3_column_int64(st, 0) - 1 : 0;
    sqlite3_reset(st);
    *ret = last < end ? last : end;
    return 0;
}

static int walk_and_forget(struct store *s, struct walked *rows, int *n, struct err *err)
{
    int64_t end = 0, pos;
    int rc = sql_writer_begin(s, err);

    if (rc == 0)
        rc = walk_end(s, &end, err);
    if (rc == 0)
        rc = walk(s, end, rows, n, err);
    for (int i = 0; rc == 0 && i < *n; i++)
        rc = forget(s, &rows[i], err);
    pos = *n == SQL_COMPACT_ROWS ? rows[*n - 1].id : end;
    if (pos < s->compact_pos)
        pos = s->compact_pos;
    if (rc == 0)
        rc = sql_set_meta(s->writer, "compacted", atomic_load(&s->compacted), err);
    if (rc == 0)
        rc = sql_set_meta(s->writer, "compact_pos", pos, err);
    if (rc == 0)
        rc = sql_writer_commit(s, 0, err);
    if (rc == 0)
        s->compact_pos = pos;
    return rc;
}

static int pragma_count(struct store *s, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->writer->db, sql, -1, &st, NULL);

    if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    else
        rc = sql_fail(s->writer, err, "count pages");
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

/* Gives pages back while a quarter of the file is free; the rest will be used again until the next compaction. */
static int vacuum(struct store *s, bool *ret_more, struct err *err)
{
    int64_t unused = 0, pages = 0;
    int rc = pragma_count(s, "PRAGMA freelist_count", &unused, err);

    if (rc == 0)
        rc = pragma_count(s, "PRAGMA page_count", &pages, err);
    *ret_more = rc == 0 && unused > SQL_VACUUM_KEEP_PAGES && unused > pages / 4;
    if (!*ret_more)
        return rc;
    rc = sql_writer_begin(s, err);
    if (rc == 0)
        rc = sql_do(s->writer, SQL_VACUUM, "give pages back", err);
    return rc < 0 ? rc : sql_writer_commit(s, 0, err);
}

static int slice(struct store *s, bool *ret_more, struct err *err)
{
    struct walked rows[SQL_COMPACT_ROWS];
    int n = 0, rc;

    if (s->vacuuming)
        return vacuum(s, ret_more, err);
    rc = walk_and_forget(s, rows, &n, err);
    for (int i = 0; i < n; i++)
        bytes_unref(rows[i].key);
    *ret_more = true;
    s->vacuuming = rc == 0 && n < SQL_COMPACT_ROWS;
    return rc;
}

void sql_compact_slice(struct store *s)
{
    struct err err = { 0 };
    bool more = false;

    if (!s->compacting)
        return;
    int rc = slice(s, &more, &err);
    if (rc < 0) {
        sql_writer_rollback(s);
        sql_own_work_failed(s, "datastore cannot compact", &err);
    }
    if (rc == 0 && more)
        return;
    LOCK_SCOPE(&s->lock);
    if (rc < 0) {
        s->compact_failures++;
        s->compact_err = err;
    } else {
        s->vacuuming = s->compacting = false;
    }
    pthread_cond_broadcast(&s->compact_done);
}

int store_compact(struct ctx *ctx, struct store *s, int64_t revision, struct err *err)
{
    int rc = 0;

    if (revision <= atomic_load(&s->compacted))
        return 0;
    LOCK_SCOPE(&s->lock);
    int64_t failures = s->compact_failures;
    if (revision > s->compact_to)
        s->compact_to = revision;
    pthread_cond_signal(&s->work);
    while (s->compact_to || s->compacting) {
        if (s->closing)
            return err_set(err, ERR_UNAVAILABLE, "the datastore is closing");
        if (failures != s->compact_failures) {
            *err = s->compact_err;
            return err_wrap(err, "compact");
        }
        if ((rc = ctx_check(ctx, err)) < 0)
            return err_wrap(err, "compaction goes on");
        sql_cond_wait_ms(&s->compact_done, &s->lock, sql_wait_slice_ms(ctx));
    }
    return 0;
}

/* Passive: copies what no reader needs in the WAL; when that is all of it, the next commit begins the WAL anew. Readers are
 * short, so that is the rule; should the WAL grow nevertheless, they are held back for a moment. */
void sql_checkpoint(struct store *s, bool last)
{
    bool gate = !last && s->wal_frames > SQL_WAL_FRAMES_MAX;
    int frames = 0, copied = 0;

    if (gate)
        readers_gate_close(s);
    int rc = sqlite3_wal_checkpoint_v2(s->writer->db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    if (gate)
        readers_gate_open(s);
    atomic_fetch_add(&s->syncs, 2);
    if (rc == SQLITE_OK && frames == copied) {
        s->wal_frames = 0;
        s->checkpoint_at = SQL_CHECKPOINT_FRAMES;
        return;
    }
    s->checkpoint_at = s->wal_frames + SQL_CHECKPOINT_FRAMES / 4;
    if (rc != SQLITE_OK)
        log_warn("datastore checkpoint failed, tried again later", "path=%s error=%s", log_q(s->path), log_q(sqlite3_errstr(rc)));
}
