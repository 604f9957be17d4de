#include "store_fixture.h"

#include <dirent.h>
#include <stdarg.h>
#include <unistd.h>

void fixture_reopen(struct fixture *f, const struct store_options *options)
{
    struct err err = { 0 };

    store_close(f->s);
    f->s = NULL;
    if (store_open_sqlite(f->path, options, &f->s, &err) < 0) {
        fprintf(stderr, "open: %s\n", err.msg);
        exit(1);
    }
}

enum { DIRS = 4 };

/* Directories that a failed CHECK would leave behind. */
static char dirs[DIRS][64];

static void remove_dir(char *name)
{
    DIR *dir = name[0] ? opendir(name) : NULL;
    struct dirent *e;

    if (!dir)
        return;
    while ((e = readdir(dir)))
        unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(name);
    name[0] = '\0';
}

static void remove_all(void)
{
    for (int i = 0; i < DIRS; i++)
        remove_dir(dirs[i]);
}

void fixture_make(struct fixture *f)
{
    static bool registered;
    int i = 0;

    *f = (struct fixture){ .dir = "/tmp/store-test-XXXXXX", .ctx = ctx_background(NULL) };
    CHECK(mkdtemp(f->dir) != NULL);
    snprintf(f->path, sizeof(f->path), "%s/state.db", f->dir);
    while (dirs[i][0])
        CHECK(++i < DIRS);
    memcpy(dirs[i], f->dir, sizeof(f->dir));
    if (!registered)
        atexit(remove_all);
    registered = true;
}

void fixture_open(struct fixture *f, const struct store_options *options)
{
    fixture_make(f);
    fixture_reopen(f, options);
}

void fixture_remove(const struct fixture *f)
{
    for (int i = 0; i < DIRS; i++)
        if (!strcmp(dirs[i], f->dir))
            remove_dir(dirs[i]);
}

void fixture_close(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    fixture_remove(f);
}

static int64_t run(struct fixture *f, const struct store_op *op)
{
    struct err err = { 0 };
    int64_t revision = 0;
    int failed = -1;
    int rc = store_txn(&f->ctx, f->s, op, 1, &revision, &failed, NULL, &err);

    CHECK(rc == 0 || err.code == (enum err_code)-rc);
    return rc < 0 ? rc : revision;
}

int64_t try_put(struct fixture *f, const char *key, const char *value, int64_t expect)
{
    AUTO(bytes) struct bytes *v = bytes_new(value, strlen(value));

    return run(f, &(struct store_op){ .kind = STORE_PUT, .key = slice_of(key), .expect = expect, .value = v });
}

int64_t put(struct fixture *f, const char *key, const char *value)
{
    int64_t revision = try_put(f, key, value, STORE_ANY);

    CHECK(revision > 0);
    return revision;
}

int64_t del(struct fixture *f, const char *key)
{
    int64_t revision = run(f, &(struct store_op){ .kind = STORE_DELETE, .key = slice_of(key), .expect = STORE_ANY });

    CHECK(revision > 0);
    return revision;
}

static char text[1 << 16];
static size_t text_n;

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    text_n += (size_t)vsnprintf(text + text_n, sizeof(text) - text_n, fmt, args);
    va_end(args);
    CHECK(text_n < sizeof(text));
}

const char *get(struct fixture *f, const char *key, int64_t at)
{
    struct store_row row = { 0 };
    struct err err = { 0 };

    text_n = 0;
    text[0] = '\0';
    int rc = store_get(&f->ctx, f->s, slice_of(key), at, &row, NULL, &err);
    if (rc == 0)
        say("%s", row.value->at);
    else
        say("%s", rc == -ERR_NOT_FOUND ? "(none)" : err_reason(&err));
    store_row_clear(&row);
    return text;
}

static int say_row(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    (void)arg, (void)stop, (void)err;
    say("%s%s=%s@%lld", text_n ? " " : "", row->key->at, row->value ? row->value->at : "", (long long)row->mod_revision);
    return 0;
}

static struct slice end_of(const char *to)
{
    return to ? slice_of(to) : (struct slice){ "", 1 };
}

const char *list(struct fixture *f, const char *from, const char *to, int64_t at, size_t max_rows)
{
    struct store_range range = { .from = slice_of(from), .to = end_of(to), .at_revision = at, .max_rows = max_rows };
    struct err err = { 0 };
    int rc;

    text_n = 0;
    text[0] = '\0';
    do {
        rc = store_range(&f->ctx, f->s, &range, say_row, NULL, &err);
    } while (rc == 0 && range.more);
    store_range_end(&range);
    if (rc < 0)
        say("%s", err_reason(&err));
    return text;
}

static int say_event(void *arg, const struct store_event *e, struct err *err)
{
    (void)arg, (void)err;
    say("%s%s%s%s", text_n ? " " : "", e->row.key->at, e->row.deleted ? "-" : "=", e->row.value ? e->row.value->at : "");
    if (e->prev_mod_revision)
        say("(%s)", e->prev_value->at);
    say("@%lld", (long long)e->row.mod_revision);
    return 0;
}

const char *log_of(struct fixture *f, const char *from, const char *to, int64_t after)
{
    struct err err = { 0 };
    int64_t last = 0;

    text_n = 0;
    text[0] = '\0';
    if (store_log(&f->ctx, f->s, slice_of(from), end_of(to), after, 0, say_event, NULL, &last, &err) < 0)
        say("%s", err_reason(&err));
    return text;
}
