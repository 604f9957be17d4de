/* store: transactions, reads, ranges, the log, the subscriber. */
#include "store_fixture.h"

#include "datastore/sqlite_int.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

TEST(store_put_get)
{
    struct fixture f;
    struct store_row row = { 0 };
    struct err err = { 0 };
    int64_t revision = 0;

    fixture_open(&f, NULL);
    CHECK_INT(store_revision(f.s), 1);
    CHECK_STR(get(&f, "/a", 0), "(none)");
    CHECK_INT(put(&f, "/a", "1"), 2);
    CHECK_INT(put(&f, "/a", "2"), 3);
    CHECK_STR(get(&f, "/a", 0), "2");
    CHECK_STR(get(&f, "/a", 2), "1");
    CHECK_STR(get(&f, "/a", 1), "(none)");
    CHECK_STR(get(&f, "/a", 9), "BadRequest");
    CHECK_INT(store_get(&f.ctx, f.s, SLICE_LIT("/a"), 0, &row, &revision, &err), 0);
    CHECK_INT(row.mod_revision, 3);
    CHECK_INT(row.create_revision, 2);
    CHECK_INT(row.version, 2);
    CHECK_INT(revision, 3);
    CHECK(row.facts == NULL);
    store_row_clear(&row);
    CHECK_INT(del(&f, "/a"), 4);
    CHECK_STR(get(&f, "/a", 0), "(none)");
    CHECK_STR(get(&f, "/a", 3), "2");
    CHECK_STR(get(&f, "/a", 4), "(none)");
    CHECK_INT(del(&f, "/a"), 4); /* nothing to delete takes no revision */
    CHECK_INT(put(&f, "/a", "3"), 5);
    CHECK_STR(get(&f, "/a", 4), "(none)");
    CHECK_INT(store_get(&f.ctx, f.s, SLICE_LIT("/a"), 0, &row, &revision, &err), 0);
    CHECK_INT(row.create_revision, 5);
    CHECK_INT(row.version, 1);
    store_row_clear(&row);
    fixture_close(&f);
}

TEST(store_compare)
{
    struct fixture f;

    fixture_open(&f, NULL);
    CHECK_INT(try_put(&f, "/a", "1", 7), -ERR_NOT_FOUND);
    CHECK_INT(try_put(&f, "/a", "1", STORE_ABSENT), 2);
    CHECK_INT(try_put(&f, "/a", "x", STORE_ABSENT), -ERR_EXISTS);
    CHECK_INT(try_put(&f, "/a", "x", 1), -ERR_CONFLICT);
    CHECK_INT(store_revision(f.s), 2);
    CHECK_INT(try_put(&f, "/a", "2", 2), 3);
    CHECK_STR(get(&f, "/a", 0), "2");
    CHECK_INT(try_put(&f, "", "x", STORE_ANY), -ERR_BAD_REQUEST);
    fixture_close(&f);
}

TEST(store_txn_all_or_nothing)
{
    struct fixture f;
    struct err err = { 0 };
    struct store_row live = { 0 };
    int64_t revision = 0;
    int failed = -1;
    AUTO(bytes) struct bytes *v = bytes_new("v", 1), *w = bytes_new("w", 1), *facts = bytes_new("", 0);
    struct store_op ops[] = {
        { .kind = STORE_PUT, .key = SLICE_LIT("/a"), .expect = STORE_ABSENT, .value = v, .facts = facts },
        { .kind = STORE_CHECK, .key = SLICE_LIT("/lock"), .expect = 2 },
        { .kind = STORE_DELETE, .key = SLICE_LIT("/gone"), .expect = STORE_ANY },
        { .kind = STORE_PUT, .key = SLICE_LIT("/a"), .expect = STORE_ANY, .value = w },
    };

    fixture_open(&f, NULL);
    put(&f, "/lock", "l");
    put(&f, "/lock", "m");
    CHECK_INT(store_txn(&f.ctx, f.s, ops, 4, &revision, &failed, &live, &err), -ERR_CONFLICT);
    CHECK_INT(failed, 1);
    CHECK_STR(live.value->at, "m");
    CHECK_INT(live.mod_revision, 3);
    store_row_clear(&live);
    CHECK_INT(store_revision(f.s), 3);
    CHECK_STR(get(&f, "/a", 0), "(none)");
    ops[1].expect = 3;
    CHECK_INT(store_txn(&f.ctx, f.s, ops, 4, &revision, &failed, &live, &err), 0);
    CHECK_INT(revision, 4);
    CHECK_STR(list(&f, "/", NULL, 0, 0), "/a=w@4 /lock=m@3");
    CHECK_STR(list(&f, "/", NULL, 4, 0), "/a=w@4 /lock=m@3");
    CHECK_STR(log_of(&f, "/", NULL, 3), "/a=v@4 /a=w(v)@4");
    fixture_close(&f);
}

TEST(store_limits)
{
    struct fixture f;
    struct err err = { 0 };
    char *big = calloc(1, STORE_VALUE_MAX_BYTES + 1);
    AUTO(bytes) struct bytes *fits = bytes_new(big, STORE_VALUE_MAX_BYTES), *over = bytes_new(big, STORE_VALUE_MAX_BYTES + 1);
    struct store_op op = { .kind = STORE_PUT, .key = { big, STORE_KEY_MAX_BYTES }, .expect = STORE_ANY, .value = fits };
    struct store_op *many = calloc(STORE_OPS_MAX + 1, sizeof(*many));
    struct store_row row = { 0 };
    int64_t revision;

    fixture_open(&f, NULL);
    CHECK_INT(store_txn(&f.ctx, f.s, &op, 1, &revision, NULL, NULL, &err), 0);
    CHECK_INT(store_get(&f.ctx, f.s, op.key, 0, &row, NULL, &err), 0);
    CHECK_INT(row.value->n, STORE_VALUE_MAX_BYTES);
    CHECK_INT(row.key->n, STORE_KEY_MAX_BYTES);
    store_row_clear(&row);
    op.value = over;
    CHECK_INT(store_txn(&f.ctx, f.s, &op, 1, &revision, NULL, NULL, &err), -ERR_TOO_LARGE);
    op.value = fits;
    op.key.n++;
    CHECK_INT(store_txn(&f.ctx, f.s, &op, 1, &revision, NULL, NULL, &err), -ERR_TOO_LARGE);
    for (size_t i = 0; i <= STORE_OPS_MAX; i++)
        many[i] = (struct store_op){ .kind = STORE_CHECK, .key = SLICE_LIT("/k"), .expect = STORE_ABSENT };
    CHECK_INT(store_txn(&f.ctx, f.s, many, STORE_OPS_MAX, &revision, NULL, NULL, &err), 0);
    CHECK_INT(revision, 2);
    CHECK_INT(store_txn(&f.ctx, f.s, many, STORE_OPS_MAX + 1, &revision, NULL, NULL, &err), -ERR_TOO_LARGE);
    CHECK_INT(store_txn(&f.ctx, f.s, many, 0, &revision, NULL, NULL, &err), -ERR_BAD_REQUEST);
    fixture_close(&f);
    free(big);
    free(many);
}

TEST(store_ranges)
{
    struct fixture f;
    int64_t n = 0;
    struct err err = { 0 };

    fixture_open(&f, NULL);
    put(&f, "/p/a", "1");
    put(&f, "/p/b", "2");
    put(&f, "/p/c", "3");
    put(&f, "/q", "4");
    CHECK_STR(list(&f, "/p/", "/p0", 0, 0), "/p/a=1@2 /p/b=2@3 /p/c=3@4");
    CHECK_STR(list(&f, "/p/", "/p0", 0, 1), "/p/a=1@2 /p/b=2@3 /p/c=3@4");
    CHECK_STR(list(&f, "/p/b", "", 0, 0), "/p/b=2@3");
    CHECK_STR(list(&f, "/p/", "", 0, 0), "");
    CHECK_STR(list(&f, "/p/b", "/p/b", 0, 0), "");
    CHECK_STR(list(&f, "", NULL, 0, 0), "/p/a=1@2 /p/b=2@3 /p/c=3@4 /q=4@5");
    put(&f, "/p/b", "5");
    del(&f, "/p/a");
    put(&f, "/p/d", "6");
    put(&f, "/p/b", "7");
    CHECK_STR(list(&f, "/p/", "/p0", 0, 2), "/p/b=7@9 /p/c=3@4 /p/d=6@8");
    CHECK_STR(list(&f, "/p/", "/p0", 5, 2), "/p/a=1@2 /p/b=2@3 /p/c=3@4");
    CHECK_STR(list(&f, "/p/", "/p0", 6, 0), "/p/a=1@2 /p/b=5@6 /p/c=3@4");
    CHECK_STR(list(&f, "/p/", "/p0", 7, 0), "/p/b=5@6 /p/c=3@4");
    CHECK_STR(list(&f, "/p/", "/p0", 8, 1), "/p/b=5@6 /p/c=3@4 /p/d=6@8");
    CHECK_INT(store_count(&f.ctx, f.s, SLICE_LIT("/p/"), SLICE_LIT("/p0"), 5, &n, &err), 0);
    CHECK_INT(n, 3);
    CHECK_INT(store_count(&f.ctx, f.s, SLICE_LIT("/"), SLICE_LIT("\0"), 0, &n, &err), 0);
    CHECK_INT(n, 4);
    fixture_close(&f);
}

struct picky {
    int seen, taken;
};

static int take_two_odd(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct picky *p = arg;

    (void)err;
    CHECK(row->value == NULL);
    p->seen++;
    if (p->seen % 2 == 0)
        return 1;
    *stop = ++p->taken == 4;
    return 0;
}

TEST(store_range_in_pieces)
{
    struct fixture f;
    struct err err = { 0 };
    struct picky p = { 0 };
    struct store_range range = { .from = SLICE_LIT("/"), .to = SLICE_LIT("\0"), .max_rows = 3, .facts_only = true };
    char key[16];

    fixture_open(&f, NULL);
    for (int i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "/%d", i);
        put(&f, key, "v");
    }
    CHECK_INT(store_range(&f.ctx, f.s, &range, take_two_odd, &p, &err), 0);
    CHECK_INT(p.seen, 5); /* 0 2 4 count */
    CHECK(range.more);
    CHECK_INT(range.at_revision, 10);
    CHECK_INT(range.revision, 10);
    del(&f, "/5"); /* not seen by the rest of this read */
    put(&f, "/55", "v");
    CHECK_INT(store_range(&f.ctx, f.s, &range, take_two_odd, &p, &err), 0);
    CHECK_INT(p.seen, 7); /* stopped at /6, its fourth */
    CHECK(range.more);
    CHECK_INT(range.revision, 10);
    p.taken = 10;
    CHECK_INT(store_range(&f.ctx, f.s, &range, take_two_odd, &p, &err), 0);
    CHECK_INT(p.seen, 9);
    CHECK(!range.more);
    store_range_end(&range);
    fixture_close(&f);
}

struct choice {
    int asked, given;
};

static bool want_red(void *arg, struct slice key, const struct bytes *facts)
{
    struct choice *c = arg;

    CHECK(key.n >= 2);
    CHECK((facts == NULL) == (key.at[1] == '3'));
    c->asked++;
    return facts && !strcmp(facts->at, "red");
}

static int give_red(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct choice *c = arg;

    (void)err, (void)stop;
    c->given++;
    CHECK_STR(row->facts->at, "red");
    CHECK_INT(row->version, 1);
    CHECK_INT(row->create_revision, row->mod_revision);
    CHECK_INT(row->expiry_ms, 4102444800000);
    return 0;
}

/* The same answer from the index (now) and from the log (before), with and without values. */
TEST(store_range_wants)
{
    AUTO(bytes) struct bytes *red = bytes_new("red", 3), *blue = bytes_new("blue", 4);
    struct fixture f;
    struct err err = { 0 };
    char key[16];

    fixture_open(&f, NULL);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "/%d", i);
        struct store_op op = { .kind = STORE_PUT, .key = slice_of(key), .value = blue, .facts = i == 3 ? NULL : i % 2 ? blue : red,
                               .expiry_ms = 4102444800000 };
        CHECK_INT(store_txn(&f.ctx, f.s, &op, 1, &(int64_t){ 0 }, NULL, NULL, &err), 0);
    }
    for (int round = 0; round < 4; round++) {
        struct choice c = { 0 };
        struct store_range range = { .from = SLICE_LIT("/"), .to = SLICE_LIT("\0"), .max_rows = 2, .want = want_red,
                                     .facts_only = round % 2, .at_revision = round < 2 ? 0 : 11 };
        int calls = 0;
        do {
            CHECK_INT(store_range(&f.ctx, f.s, &range, give_red, &c, &err), 0);
            calls++;
        } while (range.more);
        store_range_end(&range);
        CHECK_INT(c.given, 5);
        CHECK_INT(c.asked, 10);
        CHECK_INT(calls, 3);
        if (round == 1)
            del(&f, "/0");
    }
    fixture_close(&f);
}

TEST(store_log_reads)
{
    struct fixture f;

    fixture_open(&f, NULL);
    put(&f, "/a", "1");
    put(&f, "/b", "2");
    put(&f, "/a", "3");
    del(&f, "/a");
    put(&f, "/a", "4");
    CHECK_STR(log_of(&f, "/", NULL, 1), "/a=1@2 /b=2@3 /a=3(1)@4 /a-(3)@5 /a=4@6");
    CHECK_STR(log_of(&f, "/a", "/b", 3), "/a=3(1)@4 /a-(3)@5 /a=4@6");
    CHECK_STR(log_of(&f, "/b", "", 1), "/b=2@3");
    CHECK_STR(log_of(&f, "/", NULL, 6), "");
    fixture_close(&f);
}

TEST(store_survives_reopening)
{
    struct fixture f;

    fixture_open(&f, NULL);
    put(&f, "/a", "1");
    put(&f, "/a", "2");
    del(&f, "/a");
    fixture_reopen(&f, NULL);
    CHECK_INT(store_revision(f.s), 4);
    CHECK_STR(get(&f, "/a", 3), "2");
    CHECK_INT(put(&f, "/a", "3"), 5);
    CHECK_STR(log_of(&f, "/", NULL, 1), "/a=1@2 /a=2(1)@3 /a-(2)@4 /a=3@5");
    fixture_close(&f);
}

TEST(store_one_owner)
{
    struct fixture f;
    struct store *second = NULL;
    struct err err = { 0 };

    fixture_open(&f, NULL);
    CHECK_INT(store_open_sqlite(f.path, NULL, &second, &err), -ERR_UNAVAILABLE);
    CHECK(strstr(err.msg, "in use by another process (pid ") != NULL);
    CHECK(second == NULL);
    fixture_close(&f);
}

TEST(store_open_needs_directory)
{
    struct store *s = NULL;
    struct err err = { 0 };

    CHECK(store_open_sqlite("/nonexistent/dir/state.db", NULL, &s, &err) < 0);
    CHECK(strstr(err.msg, "/nonexistent/dir/state.db") != NULL);
}

struct heard {
    pthread_mutex_t lock;
    int64_t last, n, calls;
    struct store *s;
};

static void hear(void *arg, const struct store_event *events, size_t n, int64_t revision)
{
    struct heard *h = arg;

    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(events[i].row.mod_revision, h->last + 1);
        h->last = events[i].row.mod_revision;
        if (events[i].row.version > 1)
            CHECK(events[i].prev_value != NULL);
    }
    CHECK_INT(revision, h->last);
    CHECK_INT(store_revision(h->s), revision);
    h->n += (int64_t)n;
    h->calls++;
    pthread_mutex_unlock(&h->lock);
}

enum { THREADS = 8, EACH = 50 };

static void *write_many(void *arg)
{
    struct fixture *f = arg;
    char key[32];

    for (int i = 0; i < EACH; i++) {
        snprintf(key, sizeof(key), "/k/%d", i % 7);
        CHECK(put(f, key, "v") > 1);
    }
    return NULL;
}

TEST(store_subscriber_hears_all_in_order)
{
    struct fixture f;
    struct heard h = { .lock = PTHREAD_MUTEX_INITIALIZER, .last = 1 };
    pthread_t t[THREADS];

    fixture_open(&f, NULL);
    h.s = f.s;
    store_subscribe(f.s, hear, &h);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&t[i], NULL, write_many, &f), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    CHECK_INT(h.n, THREADS * EACH);
    CHECK_INT(store_revision(f.s), THREADS * EACH + 1);
    CHECK(h.calls <= h.n);
    store_subscribe(f.s, NULL, NULL);
    put(&f, "/z", "v");
    CHECK_INT(h.n, THREADS * EACH);
    struct store_stats stats;
    store_stats(f.s, &stats);
    CHECK_INT(stats.keys, 8);
    CHECK_INT(stats.revision, THREADS * EACH + 2);
    CHECK(stats.db_bytes > 0 && stats.wal_bytes > 0 && stats.commits > 0);
    fixture_close(&f);
}

/* A subscriber that holds the writer until told. */
struct valve {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool open, waiting;
};

static void hold_writer(void *arg, const struct store_event *events, size_t n, int64_t revision)
{
    struct valve *v = arg;

    (void)events, (void)n, (void)revision;
    pthread_mutex_lock(&v->lock);
    v->waiting = true;
    pthread_cond_broadcast(&v->cond);
    while (!v->open)
        pthread_cond_wait(&v->cond, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

struct delayed {
    struct fixture f;
    const char *key;
    int64_t result;
};

static void *put_delayed(void *arg)
{
    struct delayed *d = arg;

    d->result = try_put(&d->f, d->key, "v", STORE_ANY);
    return NULL;
}

/* A writer that does not come to it: deadline, cancel flag and a full queue. */
TEST(store_waiting_has_limits)
{
    struct valve v = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false };
    const struct store_options options = { .queue_max = 2 };
    struct ctx_cancel cancel = { false };
    struct delayed d[3];
    struct fixture f;
    pthread_t t[3];

    fixture_open(&f, &options);
    store_subscribe(f.s, hold_writer, &v);
    for (int i = 0; i < 3; i++)
        d[i] = (struct delayed){ .f = f, .key = (const char *[]){ "/first", "/late", "/cancelled" }[i] };
    d[1].f.ctx = ctx_with_timeout(&f.ctx, 100);
    d[2].f.ctx.cancel = &cancel;
    CHECK_INT(pthread_create(&t[0], NULL, put_delayed, &d[0]), 0);
    pthread_mutex_lock(&v.lock);
    while (!v.waiting)
        pthread_cond_wait(&v.cond, &v.lock);
    pthread_mutex_unlock(&v.lock);
    CHECK_INT(pthread_create(&t[1], NULL, put_delayed, &d[1]), 0);
    pthread_join(t[1], NULL);
    CHECK_INT(d[1].result, -ERR_TIMEOUT);
    cancel.set = true;
    CHECK_INT(pthread_create(&t[2], NULL, put_delayed, &d[2]), 0);
    pthread_join(t[2], NULL);
    CHECK_INT(d[2].result, -ERR_CANCELED);
    d[1].f.ctx = ctx_with_timeout(&f.ctx, 2000); /* what was given up has left the queue */
    cancel.set = false;
    for (int i = 1; i < 3; i++)
        CHECK_INT(pthread_create(&t[i], NULL, put_delayed, &d[i]), 0);
    for (bool both = false; !both; usleep(1000)) {
        pthread_mutex_lock(&f.s->lock);
        both = f.s->queued == 2;
        pthread_mutex_unlock(&f.s->lock);
    }
    CHECK_INT(try_put(&f, "/one too many", "v", STORE_ANY), -ERR_UNAVAILABLE);
    cancel.set = true;
    pthread_join(t[2], NULL);
    CHECK_INT(d[2].result, -ERR_CANCELED);
    CHECK_STR(get(&f, "/first", 0), "v"); /* readers do not wait for the subscriber */
    pthread_mutex_lock(&v.lock);
    v.open = true;
    pthread_cond_broadcast(&v.cond);
    pthread_mutex_unlock(&v.lock);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    CHECK_INT(d[0].result, 2);
    CHECK_INT(d[1].result, 3);
    CHECK_INT(put(&f, "/next", "v"), 4); /* what was given up was not written */
    CHECK_STR(list(&f, "/", NULL, 0, 0), "/first=v@2 /late=v@3 /next=v@4");
    fixture_close(&f);
}

struct reading {
    struct fixture *f;
    _Atomic bool *stop;
};

static int pass(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    (void)arg, (void)row, (void)stop, (void)err;
    return 0;
}

static void *read_all_the_time(void *arg)
{
    struct reading *r = arg;
    struct err err = { 0 };

    while (!*r->stop) {
        struct store_range range = { .from = SLICE_LIT("/"), .to = SLICE_LIT("\0"), .max_rows = 20 };
        do {
            CHECK_INT(store_range(&r->f->ctx, r->f->s, &range, pass, NULL, &err), 0);
        } while (range.more);
        store_range_end(&range);
    }
    return NULL;
}

/* Readers that never pause do not make the WAL grow without end. */
TEST(store_wal_stays_small)
{
    char *big = calloc(1, 100001), key[16];
    _Atomic bool stop = false;
    struct store_stats stats;
    struct fixture f;
    struct reading r = { &f, &stop };
    pthread_t t[3];

    fixture_open(&f, NULL);
    memset(big, 'x', 100000);
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&t[i], NULL, read_all_the_time, &r), 0);
    for (int i = 0; i < 700; i++) {
        snprintf(key, sizeof(key), "/%d", i % 50);
        put(&f, key, big);
        if (i % 100 == 99)
            CHECK_INT(store_compact(&f.ctx, f.s, store_revision(f.s) - 10, &(struct err){ 0 }), 0);
    }
    store_stats(f.s, &stats);
    stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK(stats.wal_bytes <= 32 * 1024 * 1024); /* 70 MB were written */
    fixture_close(&f);
    free(big);
}
