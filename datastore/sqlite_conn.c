/* One SQLite connection: its statements, rows and errors. */
#include "datastore/sqlite_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <stdio.h>

#define ROW_COLUMNS "key, create_revision, version, deleted, expiry, prev, facts"

static const char *const sql_text[SQL_N] = {
    [SQL_BEGIN] = "BEGIN",
    [SQL_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_LAST] = "SELECT id FROM log ORDER BY id DESC LIMIT 1",
    [SQL_CURRENT] = "SELECT id FROM current WHERE key = ?1",
    /* One statement is one snapshot: the revision is there also when the key is not. */
    [SQL_GET] = "SELECT (SELECT id FROM log ORDER BY id DESC LIMIT 1), l.id, l.create_revision, l.version, l.expiry, l.facts, "
                "l.value FROM (SELECT 1) LEFT JOIN current c ON c.key = ?1 LEFT JOIN log l ON l.id = c.id",
    [SQL_AT] = "SELECT id, stop FROM history WHERE key = ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1",
    [SQL_ROW] = "SELECT " ROW_COLUMNS ", value FROM log WHERE id = ?1",
    [SQL_ROW_FACTS] = "SELECT " ROW_COLUMNS ", NULL FROM log WHERE id = ?1",
    [SQL_KEYS_FACTS] = "SELECT key, id, create_revision, version, expiry, facts FROM current WHERE key >= ?1 ORDER BY key",
    [SQL_KEYS_NOW] = "SELECT key, id FROM current WHERE key >= ?1 ORDER BY key",
    /* A key is live at one revision in one of the two only; both come in key order and are merged. */
    [SQL_KEYS_AT] = "SELECT key, id FROM current WHERE key >= ?1 AND id <= ?2 UNION ALL "
                    "SELECT key, id FROM history WHERE key >= ?1 AND id <= ?2 AND stop > ?2 ORDER BY 1",
    [SQL_LOG_SCAN_ROWS] = "SELECT id, key FROM log WHERE id > ?1 ORDER BY id",
    [SQL_INSERT] = "INSERT INTO log(id, key, create_revision, version, deleted, expiry, prev, facts, value) "
                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_SET_CURRENT] = "REPLACE INTO current(key, id, create_revision, version, expiry, facts) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_DROP_CURRENT] = "DELETE FROM current WHERE key = ?1",
    [SQL_ADD_HISTORY] = "INSERT INTO history(key, id, stop) VALUES(?1, ?2, ?3)",
    [SQL_ADD_EXPIRY] = "INSERT INTO expiry(at, id) VALUES(?1, ?2)",
    [SQL_DROP_EXPIRY] = "DELETE FROM expiry WHERE at = ?1 AND id = ?2",
    [SQL_FIRST_EXPIRY] = "SELECT at FROM expiry ORDER BY at, id LIMIT 1",
    [SQL_DUE] = "SELECT e.id, l.key FROM expiry e JOIN log l ON l.id = e.id WHERE e.at <= ?1 ORDER BY e.at, e.id LIMIT ?2",
    [SQL_COMPACT_SCAN] = "SELECT id, key, prev, deleted FROM log WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3",
    [SQL_DROP_ROW] = "DELETE FROM log WHERE id = ?1",
    [SQL_DROP_HISTORY] = "DELETE FROM history WHERE key = ?1 AND id = ?2",
    [SQL_META] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_SET_META] = "REPLACE INTO meta(name, value) VALUES(?1, ?2)",
    [SQL_COUNT_ALL] = "SELECT count(*) FROM current",
    [SQL_VACUUM] = "PRAGMA incremental_vacuum(64)",
};

int sql_fail(struct sql_conn *c, struct err *err, const char *doing)
{
    int code = c->db ? sqlite3_extended_errcode(c->db) : SQLITE_NOMEM;
    int sys = c->db ? sqlite3_system_errno(c->db) : 0;
    enum err_code ours = (code & 0xff) == SQLITE_BUSY ? ERR_UNAVAILABLE : ERR_IO;
    int rc = err_set(err, ours, "%s: %s (SQLite %d)", doing, c->db ? sqlite3_errmsg(c->db) : "out of memory", code);

    if ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN)
        err->sys = sys;
    return rc;
}

sqlite3_stmt *sql_stmt(struct sql_conn *c, enum sql which, struct err *err)
{
    if (c->stmt[which]) {
        sqlite3_reset(c->stmt[which]);
        return c->stmt[which];
    }
    if (sqlite3_prepare_v3(c->db, sql_text[which], -1, SQLITE_PREPARE_PERSISTENT, &c->stmt[which], NULL) != SQLITE_OK) {
        ERR_IGNORE(sql_fail(c, err, sql_text[which])); /* the caller's return tells */
        return NULL;
    }
    return c->stmt[which];
}

int sql_step(struct sql_conn *c, sqlite3_stmt *st, const char *doing, struct err *err)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW)
        return 1;
    int failed = rc == SQLITE_DONE ? 0 : sql_fail(c, err, doing);
    sqlite3_reset(st);
    return failed;
}

int sql_run(struct sql_conn *c, sqlite3_stmt *st, const char *doing, struct err *err)
{
    int rc;

    while ((rc = sql_step(c, st, doing, err)) > 0)
        ;
    return rc;
}

int sql_do(struct sql_conn *c, enum sql which, const char *doing, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, which, err);

    return st ? sql_run(c, st, doing, err) : -(int)err->code;
}

void sql_key(sqlite3_stmt *st, int at, struct slice key)
{
    sqlite3_bind_blob64(st, at, key.n ? key.at : "", key.n, SQLITE_STATIC);
}

struct slice sql_slice(sqlite3_stmt *st, int column)
{
    const void *at = sqlite3_column_blob(st, column);

    return (struct slice){ at, (size_t)sqlite3_column_bytes(st, column) };
}

struct bytes *sql_bytes(sqlite3_stmt *st, int column)
{
    if (sqlite3_column_type(st, column) == SQLITE_NULL)
        return NULL;
    struct slice s = sql_slice(st, column);
    return bytes_new(s.at, s.n);
}

int sql_row(struct sql_conn *c, int64_t id, bool facts_only, struct store_row *ret, int64_t *ret_prev, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, facts_only ? SQL_ROW_FACTS : SQL_ROW, err);

    if (!st)
        return -err->code;
    sqlite3_bind_int64(st, 1, id);
    int rc = sql_step(c, st, "read a row", err);
    if (rc <= 0)
        return rc;
    *ret = (struct store_row){
        .key = sql_bytes(st, 0),
        .create_revision = sqlite3_column_int64(st, 1),
        .version = sqlite3_column_int64(st, 2),
        .deleted = sqlite3_column_int(st, 3) != 0,
        .expiry_ms = sqlite3_column_int64(st, 4),
        .facts = sql_bytes(st, 6),
        .value = sql_bytes(st, 7),
        .mod_revision = sql_revision(id),
    };
    if (ret_prev)
        *ret_prev = sqlite3_column_int64(st, 5);
    sqlite3_reset(st);
    return 1;
}

int sql_snapshot(struct sql_conn *c, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, SQL_LAST, err);

    if (!st)
        return -err->code;
    int rc = sql_step(c, st, "read the revision", err);
    if (rc < 0)
        return rc;
    *ret = rc ? sql_revision(sqlite3_column_int64(st, 0)) : 1;
    sqlite3_reset(st);
    return 0;
}

int sql_meta(struct sql_conn *c, const char *name, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, SQL_META, err);

    if (!st)
        return -err->code;
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    int rc = sql_step(c, st, "read the store's state", err);
    if (rc < 0)
        return rc;
    *ret = rc ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return 0;
}

int sql_set_meta(struct sql_conn *c, const char *name, int64_t value, struct err *err)
{
    sqlite3_stmt *st = sql_stmt(c, SQL_SET_META, err);

    if (!st)
        return -err->code;
    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, value);
    return sql_run(c, st, "write the store's state", err);
}

/* A file system without shared memory maps leaves the old journal in place, without an error. */
static int check_wal(struct sql_conn *c, struct err *err)
{
    sqlite3_stmt *st = NULL;
    bool wal = false;

    if (sqlite3_prepare_v2(c->db, "PRAGMA journal_mode", -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        wal = slice_is(sql_slice(st, 0), "wal");
    sqlite3_finalize(st);
    return wal ? 0 : err_set(err, ERR_IO, "the file system cannot hold a write-ahead log");
}

/* cache_size takes KB when negative. Temporary b-trees (none expected) stay in memory; secure_delete `fast` overwrites
 * what is deleted where that costs no more writes. */
static int sql_pragmas(struct sql_conn *c, bool writer, struct err *err)
{
    char sql[400];

    snprintf(sql, sizeof(sql),
             "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-%d; %s",
             writer ? SQL_WRITER_CACHE_KB : SQL_READER_CACHE_KB,
             writer ? "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; "
                      "PRAGMA synchronous=FULL; PRAGMA secure_delete=FAST; PRAGMA journal_size_limit=16777216"
                    : "PRAGMA query_only=1");
    if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(c, err, "set up the connection");
    return writer ? check_wal(c, err) : 0;
}

int sql_open(const struct store *s, bool writer, struct sql_conn **ret, struct err *err)
{
    int flags = (writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_NOMUTEX;
    struct sql_conn *c = MEM_NEW(struct sql_conn);
    int rc = 0;

    if (sqlite3_open_v2(s->path, &c->db, flags, s->vfs) != SQLITE_OK)
        rc = sql_fail(c, err, "open");
    if (rc == 0) {
        sqlite3_extended_result_codes(c->db, 1);
        sqlite3_busy_timeout(c->db, SQL_BUSY_MS);
        sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        rc = sql_pragmas(c, writer, err);
    }
    if (rc < 0) {
        sql_close(c, false);
        return err_wrap(err, "datastore %s", s->path);
    }
    *ret = c;
    return 0;
}

void sql_close(struct sql_conn *c, bool checkpoint_on_close)
{
    if (!c)
        return;
    for (int i = 0; i < SQL_N; i++)
        sqlite3_finalize(c->stmt[i]);
    if (checkpoint_on_close)
        sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    int rc = sqlite3_close(c->db);
    assert(rc == SQLITE_OK); /* every statement is ours and finalized */
    free(c);
}

int64_t sql_memory(struct sql_conn *c)
{
    static const int what[] = { SQLITE_DBSTATUS_CACHE_USED, SQLITE_DBSTATUS_SCHEMA_USED, SQLITE_DBSTATUS_STMT_USED };
    int64_t sum = 0;

    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        int now = 0, high = 0;
        sqlite3_db_status(c->db, what[i], &now, &high, 0);
        sum += now;
    }
    return sum;
}
