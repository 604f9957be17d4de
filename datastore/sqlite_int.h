#ifndef DATASTORE_SQLITE_INT_H
#define DATASTORE_SQLITE_INT_H
/*
 * sqlite_int - what the files of the embedded engine share.
 *
 * The file (format 1). A row's id is revision << 16 | sub-revision, so the log's B-tree is in the log's order:
 *   log      id -> key, create revision, version, id of the row before it, deleted, expiry, facts, value; append only
 *   current  key -> id, facts and small fields of its live row: a LIST of what is there now touches live keys only, and one with
 *            a selector reads from the log what is selected only
 *   history  (key, id) -> stop: rows that were live in [id, stop) and are not any more: reads at an older revision
 *   expiry   (wall ms, id) of live rows that end
 *   meta     compacted, compact_pos, fence
 * The newest row of the log is never removed, so its id is the revision of a snapshot; an empty log has revision 1.
 *
 * Thread: one connection writes and checkpoints and belongs to the writer thread; the readers' belong to whoever took one.
 * SQLite 3.7.0-3.51.2 can lose committed data when one connection checkpoints while another resets the WAL; only the
 * writer's connection does either.
 */
#include "datastore/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum {
    SQL_FORMAT = 1,
    SQL_APPLICATION = 0x726e6364, /* "rncd" */
    SQL_SUB_BITS = 16,
    SQL_READERS_MAX = 64,
    SQL_WRITER_CACHE_KB = 1024,
    SQL_READER_CACHE_KB = 256,
    SQL_BUSY_MS = 2000,
    SQL_BATCH_MAX = 1024,                  /* transactions in one commit */
    SQL_BATCH_MAX_BYTES = 8 * 1024 * 1024, /* and their bytes, when there is more than one */
    SQL_CHECKPOINT_FRAMES = 2000,          /* 8 MB of WAL */
    SQL_WAL_FRAMES_MAX = 4000,             /* 16 MB: from here on readers are held back until the WAL could start again */
    SQL_GATE_MS = 1000,                    /* at most so long */
    SQL_COMPACT_ROWS = 256,                /* log rows one slice looks at */
    SQL_VACUUM_PAGES = 64,                 /* pages one slice gives back */
    SQL_VACUUM_KEEP_PAGES = 256,
    SQL_EXPIRE_ROWS = 256,
    SQL_HOLD_MS = 60000,
    SQL_EXPIRY_LOOK_MS = 5000, /* the wall clock may step: look at least so often */
    SQL_CALL_ROWS = 500,
    SQL_CALL_BYTES = 256 * 1024,
    SQL_LOG_SCAN = 8192, /* log rows one call looks at, when few of them are wanted */
    SQL_RETRY_MS = 1000,     /* own work (expiry, compaction) after a failure */
    SQL_WAIT_SLICE_MS = 200, /* cancel flags and injected clocks are looked at so often */
};

enum sql {
    SQL_BEGIN, SQL_BEGIN_WRITE, SQL_COMMIT, SQL_ROLLBACK,
    SQL_LAST, SQL_CURRENT, SQL_GET, SQL_AT, SQL_ROW, SQL_ROW_FACTS, SQL_KEYS_NOW, SQL_KEYS_FACTS, SQL_KEYS_AT, SQL_LOG_SCAN_ROWS,
    SQL_INSERT, SQL_SET_CURRENT, SQL_DROP_CURRENT, SQL_ADD_HISTORY, SQL_ADD_EXPIRY, SQL_DROP_EXPIRY, SQL_FIRST_EXPIRY,
    SQL_DUE, SQL_COMPACT_SCAN, SQL_DROP_ROW, SQL_DROP_HISTORY, SQL_META, SQL_SET_META, SQL_COUNT_ALL, SQL_VACUUM,
    SQL_N
};

struct sql_conn {
    sqlite3 *db;
    sqlite3_stmt *stmt[SQL_N]; /* prepared when first used */
    struct sql_conn *next;
};

/* A transaction that waits for the writer. Owners: the caller and the writer, one reference each. */
struct txn {
    _Atomic int refs;
    struct txn *next;
    struct store_op *ops; /* keys point behind them, values are referenced */
    size_t n, n_bytes;
    bool want_live;
    pthread_mutex_t lock; /* guards done and what follows */
    pthread_cond_t cond;
    bool done;
    int rc, failed;
    int64_t revision;
    struct store_row live;
    struct err err;
};

struct store_hold {
    int64_t revision, since_ms;
    struct store_hold *next;
};

struct store {
    const struct clock *clock;
    char *path, *vfs;
    int lock_fd;
    int64_t queue_max;
    _Atomic int64_t revision, compacted;
    _Atomic int64_t keys, commits, rows_written, syncs, memory_bytes;

    pthread_t thread;
    pthread_mutex_t lock; /* guards the queue, compaction's target, holds and the subscriber */
    pthread_cond_t work, told, compact_done; /* told: the revision moved or the subscriber returned */
    struct txn *head, **tail;
    int64_t queued;
    bool closing, telling;
    int64_t compact_to; /* 0: nothing asked; the writer sets it to 0 when it took it */
    bool compacting;
    int64_t compact_failures;
    struct err compact_err; /* the last of them */
    struct store_hold *holds;
    store_commit_fn *fn;
    void *fn_arg;

    pthread_mutex_t pool_lock; /* guards the readers and the gate */
    pthread_cond_t pool_free;
    struct sql_conn *idle;
    int readers, readers_max, in_use;
    bool gate;

    /* the writer thread's own */
    struct sql_conn *writer;
    int wal_frames, checkpoint_at;
    bool fence_needed;
    int64_t next_expiry_ms; /* INT64_MAX: none */
    int64_t compact_pos;    /* log id up to which the compaction walked */
    bool vacuuming;
    int64_t retry_at_ms; /* expiry and compaction failed: not again before (monotonic) */
    struct store_event *events;
    size_t n_events, cap_events;
};

static inline int64_t sql_id(int64_t revision, int64_t sub)
{
    return revision << SQL_SUB_BITS | sub;
}
static inline int64_t sql_revision(int64_t id)
{
    return id >> SQL_SUB_BITS;
}
/* The greatest id a revision can have. */
static inline int64_t sql_end_of(int64_t revision)
{
    return sql_id(revision, (1 << SQL_SUB_BITS) - 1);
}

/* sqlite_conn.c */
CHECK_RC int sql_fail(struct sql_conn *c, struct err *err, const char *doing);
CHECK_RC int sql_open(const struct store *s, bool writer, struct sql_conn **ret, struct err *err);
void sql_close(struct sql_conn *c, bool checkpoint_on_close); /* NULL allowed */
/* A reset statement, or NULL with err filled. */
sqlite3_stmt *sql_stmt(struct sql_conn *c, enum sql which, struct err *err);
/* Runs a statement that gives no row (or whose rows do not matter). */
CHECK_RC int sql_run(struct sql_conn *c, sqlite3_stmt *st, const char *doing, struct err *err);
CHECK_RC int sql_do(struct sql_conn *c, enum sql which, const char *doing, struct err *err);
/* 1: a row stands in st, 0: no more (st is reset). */
CHECK_RC int sql_step(struct sql_conn *c, sqlite3_stmt *st, const char *doing, struct err *err);
void sql_key(sqlite3_stmt *st, int at, struct slice key);
struct slice sql_slice(sqlite3_stmt *st, int column);
struct bytes *sql_bytes(sqlite3_stmt *st, int column); /* NULL for NULL */
/* The log's row of an id: 1 found, 0 not. *ret_prev (may be NULL): the id before it. */
CHECK_RC int sql_row(struct sql_conn *c, int64_t id, bool facts_only, struct store_row *ret, int64_t *ret_prev, struct err *err);
/* The revision of the connection's snapshot. */
CHECK_RC int sql_snapshot(struct sql_conn *c, int64_t *ret, struct err *err);
CHECK_RC int sql_meta(struct sql_conn *c, const char *name, int64_t *ret, struct err *err);
CHECK_RC int sql_set_meta(struct sql_conn *c, const char *name, int64_t value, struct err *err);

/* sqlite_schema.c */
struct sql_migration {
    int from; /* to from + 1 */
    const char *sql;
};
/* Brings a file to format n_steps, all steps in one transaction. Errors: INVALID (newer, or not ours), IO. */
CHECK_RC int sql_schema_migrate(struct sql_conn *c, const struct sql_migration *steps, int n_steps, struct err *err);
CHECK_RC int sql_schema_open(struct sql_conn *c, struct err *err);

/* sqlite_readers.c */
/* Returns when store_revision() tells `revision`, which a snapshot showed: a commit is visible a moment before. */
CHECK_RC int sql_published(struct ctx *ctx, struct store *s, int64_t revision, struct err *err);
/* The revision of the snapshot, published. */
CHECK_RC int sql_now(struct ctx *ctx, struct store *s, struct sql_conn *c, int64_t *ret, struct err *err);
CHECK_RC int readers_take(struct ctx *ctx, struct store *s, struct sql_conn **ret, struct err *err);
void readers_give(struct store *s, struct sql_conn *c);
void readers_gate_close(struct store *s); /* waits until no reader reads, at most SQL_GATE_MS */
void readers_gate_open(struct store *s);
void readers_clear(struct store *s);
int64_t sql_memory(struct sql_conn *c);

/* sqlite_apply.c: in the writer's transaction */
/* Fills t's outcome; rc < 0 only when the engine failed. *ret_changed: it takes the revision. */
CHECK_RC int sql_apply_txn(struct store *s, struct txn *t, int64_t revision, bool *ret_changed, struct err *err);
CHECK_RC int sql_apply_delete(struct store *s, struct slice key, int64_t id, int64_t revision, int sub, struct err *err);
void sql_events_clear(struct store *s);

/* sqlite_writer.c */
void *sql_writer_main(void *arg);
/* Commits what stands in s->events (revision: the last one), tells the subscriber. On failure nothing of it remains. */
CHECK_RC int sql_writer_begin(struct store *s, struct err *err);
CHECK_RC int sql_writer_commit(struct store *s, int64_t revision, struct err *err);
void sql_writer_rollback(struct store *s);

/* sqlite_txn.c */
void sql_txn_unref(struct txn *t);
void sql_txn_finish(struct txn *t); /* wakes the caller and drops the writer's reference */

/* sqlite_compact.c, sqlite_expire.c: on the writer thread */
bool sql_compact_pending(const struct store *s);
void sql_own_work_failed(struct store *s, const char *what, const struct err *err);
bool sql_own_work_waits(const struct store *s); /* after a failure, for a second */
void sql_compact_slice(struct store *s);
void sql_compact_start(struct store *s); /* takes the target asked for, bounded by the holds */
void sql_checkpoint(struct store *s, bool last);
void sql_expire_due(struct store *s);
CHECK_RC int sql_expiry_next(struct store *s, struct err *err);
struct store_hold *sql_hold_take(struct store *s, int64_t revision);
void sql_hold_drop(struct store *s, struct store_hold *hold);

/* sqlite_wait.c */
void sql_cond_init(pthread_cond_t *cond);
void sql_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms);
int64_t sql_wait_slice_ms(const struct ctx *ctx);

#endif
