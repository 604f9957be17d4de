/* The file's format: made, recognised, migrated, refused. PRAGMA user_version holds its number. */
#include "datastore/sqlite_int.h"

#include <stdio.h>

/* Value last and facts before it: reading the front of a long row does not touch its overflow pages. */
static const char schema_1[] =
    "CREATE TABLE log(id INTEGER PRIMARY KEY, key BLOB NOT NULL, create_revision INTEGER NOT NULL, version INTEGER NOT NULL,"
    " deleted INTEGER NOT NULL, expiry INTEGER NOT NULL, prev INTEGER NOT NULL, facts BLOB, value BLOB);"
    "CREATE TABLE current(key BLOB PRIMARY KEY, id INTEGER NOT NULL, create_revision INTEGER NOT NULL, version INTEGER NOT NULL,"
    " expiry INTEGER NOT NULL, facts BLOB) WITHOUT ROWID;"
    "CREATE TABLE history(key BLOB NOT NULL, id INTEGER NOT NULL, stop INTEGER NOT NULL, PRIMARY KEY(key, id)) WITHOUT ROWID;"
    "CREATE TABLE expiry(at INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(at, id)) WITHOUT ROWID;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;";

static const struct sql_migration migrations[] = {
    { 0, schema_1 },
};
_Static_assert(ARRAY_LEN(migrations) == SQL_FORMAT, "one migration a format");

static int pragma_int(struct sql_conn *c, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *st = NULL;

    if (sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) != SQLITE_OK)
        return sql_fail(c, err, "read the format");
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(st, 0);
    else
        rc = sql_fail(c, err, "read the format");
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

static int exec(struct sql_conn *c, const char *sql, struct err *err)
{
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_fail(c, err, "migrate");
}

static int migrate_steps(struct sql_conn *c, const struct sql_migration *steps, int from, int to, struct err *err)
{
    char sql[100];
    int rc = 0;

    for (int i = from; rc == 0 && i < to; i++)
        rc = exec(c, steps[i].sql, err);
    if (rc < 0)
        return rc;
    snprintf(sql, sizeof(sql), "PRAGMA user_version=%d; PRAGMA application_id=%d", to, SQL_APPLICATION);
    return exec(c, sql, err);
}

int sql_schema_migrate(struct sql_conn *c, const struct sql_migration *steps, int n_steps, struct err *err)
{
    int64_t format = 0, application = 0, objects = 0;
    int rc = pragma_int(c, "PRAGMA user_version", &format, err);

    if (rc == 0)
        rc = pragma_int(c, "PRAGMA application_id", &application, err);
    if (rc == 0)
        rc = pragma_int(c, "SELECT count(*) FROM sqlite_schema", &objects, err);
    if (rc < 0)
        return rc;
    if (application != SQL_APPLICATION && (objects || format || application))
        return err_set(err, ERR_INVALID, "it is a database, but not a datastore of this program");
    if (format < 0 || format > n_steps)
        return err_set(err, ERR_INVALID, "its format is %lld, this program knows up to %d: a newer version wrote it",
                       (long long)format, n_steps);
    if (format == n_steps)
        return 0;
    rc = exec(c, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = migrate_steps(c, steps, (int)format, n_steps, err);
    if (rc == 0)
        rc = exec(c, "COMMIT", err);
    if (rc < 0 && !sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc < 0 ? err_wrap(err, "migrate from format %lld to %d", (long long)format, n_steps) : 0;
}

int sql_schema_open(struct sql_conn *c, struct err *err)
{
    return sql_schema_migrate(c, migrations, SQL_FORMAT, err);
}
