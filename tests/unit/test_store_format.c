/* store: files of other formats, from stored fixtures; foreign and broken files. */
#include "store_fixture.h"

#include "datastore/sqlite_int.h"
#include "lib/file.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

static void run_sql(const struct fixture *f, const char *sql)
{
    sqlite3 *db = NULL;

    CHECK_INT(sqlite3_open(f->path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
}

static void make_stored(struct fixture *f, const char *name)
{
    AUTO_FREE char *sql = NULL;
    struct err err = { 0 };
    size_t n = 0;

    fixture_make(f);
    if (file_read(AT_FDCWD, name, 65536, &sql, &n, &err) < 0) {
        fprintf(stderr, "%s: %s (tests run in the repository's root)\n", name, err.msg);
        exit(1);
    }
    run_sql(f, sql);
}

static const char format_1[] = "tests/unit/store/format-1.sql";

TEST(store_format_1)
{
    struct fixture f;

    make_stored(&f, format_1);
    fixture_reopen(&f, NULL);
    CHECK_INT(store_revision(f.s), 7);
    CHECK_INT(store_compacted(f.s), 3);
    CHECK_STR(list(&f, "/", NULL, 0, 0), "/a=three@5 /b=two@4");
    CHECK_STR(list(&f, "/", NULL, 6, 0), "/a=three@5 /b=two@4 /c=x@6");
    CHECK_STR(list(&f, "/", NULL, 2, 0), "Expired");
    CHECK_STR(log_of(&f, "/", NULL, 3), "/b=two@4 /a=three(one)@5 /c=x@6 /c-(x)@7");
    CHECK_INT(put(&f, "/c", "4"), 8);
    fixture_close(&f);
}

/* The file we make today is the file we stored. */
TEST(store_format_is_unchanged)
{
    static const char sql[] = "SELECT sql FROM sqlite_schema ORDER BY name";
    char *now[8] = { 0 }, *then[8] = { 0 };
    struct fixture f;

    for (int round = 0; round < 2; round++) {
        char **to = round ? then : now;
        sqlite3_stmt *st = NULL;
        sqlite3 *db = NULL;
        int n = 0;

        if (round)
            make_stored(&f, format_1);
        else
            fixture_open(&f, NULL);
        store_close(TAKE(f.s));
        CHECK_INT(sqlite3_open(f.path, &db), SQLITE_OK);
        CHECK_INT(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW && n < 8) {
            const char *text = (const char *)sqlite3_column_text(st, 0);
            to[n++] = strdup(text ? text : "");
        }
        sqlite3_finalize(st);
        CHECK_INT(sqlite3_close(db), SQLITE_OK);
        fixture_remove(&f);
    }
    for (int i = 0; i < 8; i++) {
        CHECK_STR(now[i] ? now[i] : "", then[i] ? then[i] : "");
        free(now[i]);
        free(then[i]);
    }
}

static void refused(struct fixture *f, enum err_code code, const char *why)
{
    struct err err = { 0 };

    CHECK_INT(store_open_sqlite(f->path, NULL, &f->s, &err), -(int)code);
    CHECK(f->s == NULL);
    if (!strstr(err.msg, why) || !strstr(err.msg, f->path)) {
        fprintf(stderr, "message: %s\n", err.msg);
        exit(1);
    }
}

TEST(store_format_newer_is_refused)
{
    struct fixture f;

    make_stored(&f, format_1);
    run_sql(&f, "PRAGMA user_version=2");
    refused(&f, ERR_INVALID, "its format is 2, this program knows up to 1");
    run_sql(&f, "PRAGMA user_version=1"); /* nothing was touched */
    fixture_reopen(&f, NULL);
    CHECK_STR(get(&f, "/a", 0), "three");
    fixture_close(&f);
}

TEST(store_foreign_files_are_refused)
{
    struct fixture f;

    fixture_make(&f);
    run_sql(&f, "CREATE TABLE kine(id INTEGER PRIMARY KEY)");
    refused(&f, ERR_INVALID, "not a datastore of this program");
    fixture_remove(&f);

    fixture_make(&f);
    FILE *file = fopen(f.path, "w");
    CHECK(file != NULL);
    for (int i = 0; i < 1000; i++)
        fputs("not a database ", file);
    fclose(file);
    refused(&f, ERR_IO, "not a database");
    fixture_remove(&f);
}

/* What a later program does to this format: its steps run in one transaction, or none of them. */
TEST(store_migration)
{
    static const struct sql_migration good[] = {
        { 0, "CREATE TABLE never(x)" },
        { 1, "ALTER TABLE log ADD COLUMN lease INTEGER NOT NULL DEFAULT 0" },
        { 2, "CREATE TABLE leases(id INTEGER PRIMARY KEY); INSERT INTO leases SELECT id FROM log WHERE lease = 0" },
    };
    static const struct sql_migration bad[] = {
        { 0, "CREATE TABLE never(x)" },
        { 1, "CREATE TABLE half(x)" },
        { 2, "INSERT INTO nowhere VALUES(1)" },
    };
    struct fixture f;
    struct err err = { 0 };
    struct sql_conn *c = NULL;
    const struct store store = { .path = f.path };

    make_stored(&f, format_1);
    CHECK_INT(sql_open(&store, true, &c, &err), 0);
    CHECK_INT(sql_schema_migrate(c, bad, 3, &err), -ERR_IO);
    CHECK(strstr(err.msg, "migrate from format 1 to 3") != NULL);
    CHECK(sqlite3_exec(c->db, "SELECT x FROM half", NULL, NULL, NULL) != SQLITE_OK);
    CHECK_INT(sql_schema_migrate(c, good, 3, &err), 0);
    CHECK_INT(sql_schema_migrate(c, good, 3, &err), 0);
    CHECK_INT(sqlite3_exec(c->db, "SELECT id FROM leases", NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(sql_schema_open(c, &err), -ERR_INVALID);
    sql_close(c, true);
    fixture_remove(&f);
}

TEST(store_file_is_private)
{
    static const char *const names[] = { "", "-wal", "-shm", ".lock" };
    struct fixture f;
    char path[128];

    fixture_open(&f, NULL);
    put(&f, "/secret", "1");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct stat st;
        snprintf(path, sizeof(path), "%s%s", f.path, names[i]);
        CHECK_INT(stat(path, &st), 0);
        CHECK_INT(st.st_mode & 0777, 0600);
    }
    fixture_close(&f);
}
