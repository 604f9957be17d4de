#include "agent/pods/logs_int.h"

#include "lib/mem.h"
#include "test.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    struct loop *loop;
    struct pool *pool;
    char dir[64], path[96];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buf got;
    int ends;
    enum err_code code;
};

static void on_data(void *arg, struct bytes *piece)
{
    struct world *w = arg;

    LOCK_SCOPE(&w->lock);
    CHECK(piece->n <= 64 * 1024);
    buf_add(&w->got, piece->at, piece->n);
    pthread_cond_broadcast(&w->changed);
}

static void on_end(void *arg, const struct err *why)
{
    struct world *w = arg;

    LOCK_SCOPE(&w->lock);
    w->ends++;
    w->code = why ? why->code : ERR_NONE;
    pthread_cond_broadcast(&w->changed);
}

static const struct log_sink sink = { on_data, on_end };

static void world_open(struct world *w)
{
    struct err err = { 0 };

    *w = (struct world){ .dir = "/tmp/rancherd-logs-XXXXXX" };
    CHECK(mkdtemp(w->dir));
    (void)snprintf(w->path, sizeof(w->path), "%s/0.log", w->dir);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    CHECK_INT(loop_new("test", &w->loop, &err), 0);
    CHECK_INT(pool_new(NULL, &w->pool, &err), 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void world_close(struct world *w)
{
    pool_free(w->pool);
    loop_free(w->loop);
    buf_clear(&w->got);
    CHECK(!nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

static void append(const char *path, const char *fmt, ...)
{
    FILE *f = fopen(path, "a");
    va_list args;

    CHECK(f);
    va_start(args, fmt);
    CHECK(vfprintf(f, fmt, args) > 0);
    va_end(args);
    fclose(f);
}

/* "n" as a line of minute n. */
static void line(const char *path, int n)
{
    append(path, "2026-01-02T03:%02d:00.000000000Z stdout F %d\n", n, n);
}

static struct log_reader *start(struct world *w, struct log_options read, bool ended)
{
    struct log_reader_options o = { .loop = w->loop, .pool = w->pool, .path = w->path, .ended = ended, .read = read };
    struct log_reader *r = NULL;
    struct err err = { 0 };

    buf_cut(&w->got, 0);
    w->ends = 0;
    if (log_reader_start(&o, &sink, w, &r, &err) < 0) {
        fprintf(stderr, "start: %s\n", err.msg);
        exit(1);
    }
    return r;
}

static void wait_end(struct world *w, enum err_code code)
{
    LOCK_SCOPE(&w->lock);
    while (!w->ends)
        pthread_cond_wait(&w->changed, &w->lock);
    CHECK_INT(w->ends, 1);
    CHECK_INT(w->code, code);
}

static void wait_text(struct world *w, const char *want)
{
    LOCK_SCOPE(&w->lock);
    while (strcmp(buf_at(&w->got), want) != 0) {
        CHECK(!w->ends && buf_len(&w->got) <= strlen(want));
        pthread_cond_wait(&w->changed, &w->lock);
    }
}

static void check_read(struct world *w, struct log_options read, const char *want)
{
    (void)start(w, read, true);
    wait_end(w, ERR_NONE);
    CHECK_STR(buf_at(&w->got), want);
}

static void forget(struct world *w)
{
    LOCK_SCOPE(&w->lock);
    buf_cut(&w->got, 0);
}

#define ALL .tail_lines = -1, .limit_bytes = -1
static const int64_t minute2_us = 1767322920LL * 1000000; /* 2026-01-02T03:02:00Z */

TEST(logs_parse)
{
    static const struct {
        const char *line, *text; /* NULL: none */
        bool whole;
    } cases[] = {
        { "2026-01-02T03:04:05.123456789Z stdout F hi there", "hi there", true },
        { "2026-01-02T03:04:05+01:00 stderr P ", "", false },
        { "2026-01-02T03:04:05Z stderr P:new x", "x", false },
        { "2026-01-02T03:04:05Z stderr F:P x", "x", true },
        { "2026-01-02T03:04:05Z stdin F x", NULL, false },
        { "yesterday stdout F x", NULL, false },
        { "2026-01-02T03:04:05Z stdout F", NULL, false },
        { "2026-01-02T03:04:05Z stdout  x", NULL, false },
        { "", NULL, false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct log_line l;
        bool good = log_parse(cases[i].line, strlen(cases[i].line), &l);

        CHECK_INT(good, cases[i].text != NULL);
        CHECK(!good || (slice_is(l.text, cases[i].text) && l.whole == cases[i].whole));
    }
}

TEST(logs_options)
{
    struct world w;

    world_open(&w);
    append(w.path, "2026-01-02T03:01:00.000000000Z stdout F one\n2026-01-02T03:02:00.000000001Z stderr F two\nrubbish\n"
                   "2026-01-02T03:03:00.000000000Z stdout P th\n2026-01-02T03:03:00.000000001Z stdout F ree\n");
    check_read(&w, (struct log_options){ ALL }, "one\ntwo\nthree\n");
    check_read(&w, (struct log_options){ ALL, .timestamps = true },
               "2026-01-02T03:01:00.000000000Z one\n2026-01-02T03:02:00.000000001Z two\n2026-01-02T03:03:00.000000000Z three\n");
    check_read(&w, (struct log_options){ ALL, .stream = "stderr" }, "two\n");
    check_read(&w, (struct log_options){ ALL, .since_us = minute2_us }, "two\nthree\n");
    check_read(&w, (struct log_options){ .limit_bytes = 6, .tail_lines = -1 }, "one\ntw");
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 2 }, "three\n"); /* lines of the file, as upstream counts */
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 0 }, "");
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 99 }, "one\ntwo\nthree\n");
    append(w.path, "2026-01-02T03:04:00Z stdout F unfinished");
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 1 }, "unfinished\n");

    struct log_reader_options o = { .loop = w.loop, .pool = w.pool, .path = "/tmp/rancherd-none/0.log", .read = { ALL } };
    struct log_reader *r = NULL;
    struct err err = { 0 };
    CHECK_INT(log_reader_start(&o, &sink, &w, &r, &err), -ERR_NOT_FOUND);
    world_close(&w);
}

TEST(logs_reach_back_over_rotation)
{
    struct world w;
    char old[128], older[128];

    world_open(&w);
    (void)snprintf(older, sizeof(older), "%s.20260102-030200", w.path);
    (void)snprintf(old, sizeof(old), "%s.20260102-030400", w.path);
    for (int i = 0; i < 6; i++)
        line(i < 2 ? older : i < 4 ? old : w.path, i);
    append(w.path, "%s", ""
                   "2026-01-02T03:06:00Z stdout F 6\n");
    check_read(&w, (struct log_options){ ALL }, "4\n5\n6\n"); /* as upstream: the current file */
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 2 }, "5\n6\n");
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 4 }, "3\n4\n5\n6\n");
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 7 }, "0\n1\n2\n3\n4\n5\n6\n");
    check_read(&w, (struct log_options){ .limit_bytes = -1, .tail_lines = 8 }, "0\n1\n2\n3\n4\n5\n6\n");
    check_read(&w, (struct log_options){ ALL, .since_us = minute2_us }, "2\n3\n4\n5\n6\n");
    world_close(&w);
}

TEST(logs_follow_over_rotation)
{
    struct world w;
    char old[128];

    world_open(&w);
    (void)snprintf(old, sizeof(old), "%s.20260102-030200", w.path);
    line(w.path, 1);
    struct log_reader *r = start(&w, (struct log_options){ ALL, .follow = true }, false);
    wait_text(&w, "1\n");
    line(w.path, 2);
    wait_text(&w, "1\n2\n");
    append(w.path, "2026-01-02T03:03:00Z stdout F 3"); /* half a line is not given out */
    line(w.path, 9);
    wait_text(&w, "1\n2\n32026-01-02T03:09:00.000000000Z stdout F 9\n");
    forget(&w);
    CHECK(!rename(w.path, old));
    line(w.path, 4);
    wait_text(&w, "4\n");
    log_reader_pause(r);
    line(w.path, 5);
    log_reader_resume(r);
    wait_text(&w, "4\n5\n");
    line(w.path, 6);
    log_reader_ended(r);
    wait_end(&w, ERR_NONE);
    CHECK_STR(buf_at(&w.got), "4\n5\n6\n");

    r = start(&w, (struct log_options){ .follow = true, .tail_lines = 1, .limit_bytes = -1 }, false);
    wait_text(&w, "6\n");
    log_reader_close(r);
    wait_end(&w, ERR_CANCELED);
    r = start(&w, (struct log_options){ .follow = true, .tail_lines = 1, .limit_bytes = 3 }, false);
    wait_text(&w, "6\n");
    line(w.path, 7);
    wait_end(&w, ERR_NONE); /* the limit ends a follower */
    CHECK_STR(buf_at(&w.got), "6\n7");
    world_close(&w);
}

TEST(logs_long_and_many)
{
    enum { LINES = 20000 };
    struct world w;

    world_open(&w);
    FILE *f = fopen(w.path, "a");
    size_t want = 0;
    for (int i = 0; i < LINES; i++)
        want += (size_t)fprintf(f, "2026-01-02T03:04:05.000000000Z stdout F %d %080d\n", i, i) - 40;
    fclose(f);
    (void)start(&w, (struct log_options){ ALL }, false);
    wait_end(&w, ERR_NONE);
    CHECK_INT(buf_len(&w.got), want);
    (void)start(&w, (struct log_options){ .tail_lines = 5000, .limit_bytes = -1 }, false);
    wait_end(&w, ERR_NONE);
    CHECK(!strncmp(buf_at(&w.got), "15000 ", 6));
    world_close(&w);
}

TEST(logs_tail_text)
{
    struct world w;
    AUTO(buf) struct buf to = { 0 };
    struct err err = { 0 };

    world_open(&w);
    for (int i = 0; i < 50; i++)
        line(w.path, i % 60);
    CHECK_INT(log_tail(w.path, 3, 100, &to, &err), 0);
    CHECK_STR(buf_at(&to), "47\n48\n49\n");
    buf_cut(&to, 0);
    CHECK_INT(log_tail(w.path, 80, 5, &to, &err), 0);
    CHECK_STR(buf_at(&to), "8\n49\n");
    CHECK_INT(log_tail("/tmp/rancherd-none/0.log", 3, 100, &to, &err), -ERR_NOT_FOUND);
    world_close(&w);
}
