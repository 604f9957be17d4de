/* store: compaction, holds against it, expiry. */
#include "store_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

struct hands {
    _Atomic int64_t wall_us, mono_ms;
};

static int64_t hands_wall(void *arg)
{
    return ((struct hands *)arg)->wall_us;
}

static int64_t hands_mono(void *arg)
{
    return ((struct hands *)arg)->mono_ms;
}

static int compact(struct fixture *f, int64_t revision)
{
    struct err err = { 0 };

    return store_compact(&f->ctx, f->s, revision, &err);
}

TEST(store_compaction)
{
    struct fixture f;

    fixture_open(&f, NULL);
    put(&f, "/a", "1"); /* 2 */
    put(&f, "/b", "2"); /* 3 */
    put(&f, "/a", "3"); /* 4 */
    del(&f, "/b");      /* 5 */
    put(&f, "/a", "4"); /* 6 */
    put(&f, "/b", "5"); /* 7 */
    del(&f, "/b");      /* 8 */
    CHECK_INT(compact(&f, 4), 0);
    CHECK_INT(store_compacted(f.s), 4);
    CHECK_STR(get(&f, "/a", 3), "Expired");
    CHECK_STR(list(&f, "/", NULL, 3, 0), "Expired");
    CHECK_STR(log_of(&f, "/", NULL, 3), "Expired");
    CHECK_STR(list(&f, "/", NULL, 4, 0), "/a=3@4 /b=2@3");
    CHECK_STR(list(&f, "/", NULL, 7, 0), "/a=4@6 /b=5@7");
    CHECK_STR(log_of(&f, "/", NULL, 4), "/b-(2)@5 /a=4(3)@6 /b=5@7 /b-(5)@8");
    CHECK_INT(compact(&f, 8), 0);
    CHECK_INT(compact(&f, 8), 0);
    CHECK_STR(list(&f, "/", NULL, 8, 0), "/a=4@6");
    CHECK_STR(log_of(&f, "/", NULL, 8), "");
    fixture_reopen(&f, NULL);
    CHECK_INT(store_revision(f.s), 8); /* the newest row was a deletion */
    CHECK_INT(store_compacted(f.s), 8);
    CHECK_STR(get(&f, "/a", 7), "Expired");
    CHECK_INT(put(&f, "/b", "6"), 9);
    CHECK_INT(compact(&f, 9), 0);
    CHECK_STR(list(&f, "/", NULL, 0, 0), "/a=4@6 /b=6@9");
    CHECK_INT(compact(&f, 99), 0);
    CHECK_INT(store_compacted(f.s), 9);
    fixture_close(&f);
}

static int64_t rows_in_log(struct fixture *f)
{
    struct store_stats stats;

    store_stats(f->s, &stats);
    return stats.db_bytes;
}

TEST(store_compaction_gives_space_back)
{
    struct fixture f;
    char *value = calloc(1, 4001), key[16];
    int64_t before, after;

    fixture_open(&f, NULL);
    memset(value, 'x', 4000);
    for (int i = 0; i < 4000; i++) {
        snprintf(key, sizeof(key), "/%d", i % 10);
        put(&f, key, value);
    }
    before = rows_in_log(&f);
    CHECK(before > 4000 * 2000);
    CHECK_INT(compact(&f, store_revision(f.s)), 0);
    fixture_reopen(&f, NULL);
    after = rows_in_log(&f);
    CHECK(after < 2 * 1024 * 1024);
    CHECK_STR(get(&f, "/3", 0), value);
    fixture_close(&f);
    free(value);
}

static int nothing(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    (void)arg, (void)row, (void)stop, (void)err;
    return 0;
}

TEST(store_hold_bounds_compaction)
{
    struct hands h = { .wall_us = 1000000, .mono_ms = 5000 };
    const struct clock clock = { &h, hands_wall, hands_mono };
    const struct store_options options = { .clock = &clock };
    struct store_range range = { .from = SLICE_LIT("/"), .to = SLICE_LIT("\0"), .max_rows = 1 };
    struct fixture f;
    struct err err = { 0 };

    fixture_open(&f, &options);
    put(&f, "/a", "1");
    put(&f, "/b", "2");
    CHECK_INT(store_range(&f.ctx, f.s, &range, nothing, NULL, &err), 0);
    CHECK(range.more);
    put(&f, "/b", "3");
    put(&f, "/b", "4");
    CHECK_INT(compact(&f, 5), 0);
    CHECK_INT(store_compacted(f.s), 3);
    CHECK_INT(store_range(&f.ctx, f.s, &range, nothing, NULL, &err), 0);
    CHECK(!range.more);
    store_range_end(&range);
    CHECK_INT(compact(&f, 4), 0);
    CHECK_INT(store_compacted(f.s), 4);

    range = (struct store_range){ .from = SLICE_LIT("/"), .to = SLICE_LIT("\0"), .max_rows = 1 };
    CHECK_INT(store_range(&f.ctx, f.s, &range, nothing, NULL, &err), 0);
    put(&f, "/b", "5");
    h.mono_ms += 60001;
    CHECK_INT(compact(&f, 6), 0);
    CHECK_INT(store_compacted(f.s), 6);
    CHECK_INT(store_range(&f.ctx, f.s, &range, nothing, NULL, &err), -ERR_EXPIRED);
    store_range_end(&range);
    fixture_close(&f);
}

static int64_t put_until(struct fixture *f, const char *key, int64_t expiry_ms)
{
    AUTO(bytes) struct bytes *v = bytes_new("v", 1);
    struct store_op op = { .kind = STORE_PUT, .key = slice_of(key), .expect = STORE_ANY, .value = v, .expiry_ms = expiry_ms };
    struct err err = { 0 };
    int64_t revision = 0;

    CHECK_INT(store_txn(&f->ctx, f->s, &op, 1, &revision, NULL, NULL, &err), 0);
    return revision;
}

static void wait_revision(struct fixture *f, int64_t revision)
{
    for (int i = 0; store_revision(f->s) < revision && i < 1000; i++)
        usleep(10000); /* the test's own patience; the store has its event */
    CHECK_INT(store_revision(f->s), revision);
}

TEST(store_expiry)
{
    struct hands h = { .wall_us = 1000000, .mono_ms = 5000 };
    const struct clock clock = { &h, hands_wall, hands_mono };
    const struct store_options options = { .clock = &clock };
    struct fixture f;

    fixture_open(&f, &options);
    put_until(&f, "/a", 2000); /* 2 */
    put_until(&f, "/b", 3000); /* 3 */
    put_until(&f, "/c", 2000); /* 4 */
    put_until(&f, "/c", 9000); /* 5: lives longer */
    put_until(&f, "/d", 2000); /* 6 */
    put(&f, "/d", "for ever"); /* 7 */
    put_until(&f, "/e", 2000); /* 8 */
    del(&f, "/e");             /* 9 */
    h.wall_us = 1999999;
    put(&f, "/z", "1"); /* 10 */
    CHECK_STR(get(&f, "/a", 0), "v");
    h.wall_us = 2000000;
    put(&f, "/z", "2"); /* the writer looks at the time */
    wait_revision(&f, 12);
    CHECK_STR(list(&f, "/a", "/e", 0, 0), "/b=v@3 /c=v@5 /d=for ever@7");
    fixture_reopen(&f, NULL); /* under the real clock everything is long over */
    wait_revision(&f, 14);
    CHECK_STR(log_of(&f, "/", NULL, 12), "/b-(v)@13 /c-(v)@14");
    CHECK_STR(list(&f, "/a", "/z", 0, 0), "/d=for ever@7");
    fixture_close(&f);
}

TEST(store_expiry_comes_by_itself)
{
    struct fixture f;

    fixture_open(&f, NULL);
    put_until(&f, "/a", clock_wall_us(&clock_system) / 1000 + 100);
    wait_revision(&f, 3);
    CHECK_STR(log_of(&f, "/", NULL, 2), "/a-(v)@3");
    fixture_close(&f);
}

struct busy {
    struct fixture *f;
    _Atomic bool stop;
};

static void *keep_writing(void *arg)
{
    struct busy *b = arg;
    char key[16];

    for (int i = 0; !b->stop; i++) {
        snprintf(key, sizeof(key), "/k%d", i % 20);
        CHECK((i % 9 ? put(b->f, key, "v") : del(b->f, key)) > 0);
    }
    return NULL;
}

static int count_and_order(void *arg, const struct store_event *e, struct err *err)
{
    (void)err;
    CHECK_INT(e->row.mod_revision, ++*(int64_t *)arg);
    CHECK(e->prev_mod_revision == 0 || e->prev_value != NULL || e->row.version > 1);
    return 0;
}

/* A follower of the log under writes and compaction sees every revision or is told that it is too late. */
TEST(store_log_under_compaction)
{
    struct fixture f;
    struct busy b = { .f = &f };
    struct err err = { 0 };
    pthread_t t[2];
    int64_t at = 1, late = 0;

    fixture_open(&f, NULL);
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&t[i], NULL, keep_writing, &b), 0);
    while (store_revision(f.s) < 3000) {
        int64_t seen = at, last = at;
        int rc = store_log(&f.ctx, f.s, SLICE_LIT("/"), SLICE_LIT("\0"), at, 50, count_and_order, &seen, &last, &err);
        CHECK(rc == 0 || rc == -ERR_EXPIRED);
        CHECK(rc < 0 || seen == last);
        CHECK(store_revision(f.s) >= last);
        late += rc < 0;
        at = rc < 0 ? store_compacted(f.s) : last;
        if (at % 5 == 0)
            CHECK_INT(compact(&f, at), 0);
    }
    b.stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    CHECK_INT(late, 0); /* nobody but us compacts, and only what we saw */
    fixture_close(&f);
}
