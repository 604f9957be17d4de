/* store: failing disks and power cuts. What was acknowledged is there, what failed is not, and the store goes on. */
#include "store_fixture.h"
#include "store_vfs.h"

#include "lib/log.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <unistd.h>

enum { KEYS = 5, VALUE = 3000 };

static struct store_vfs *faulty(void)
{
    log_setup(LOG_ERROR, 2); /* hundreds of expected warnings */
    return store_vfs_new("faulty");
}

/* What the keys must hold. */
struct model {
    int64_t value[KEYS];
    int64_t revision;
};

static const char *key_of(int64_t i, char *to)
{
    snprintf(to, 16, "/k%d", (int)(i % KEYS));
    return to;
}

static int write_step(struct fixture *f, struct model *m, int64_t step)
{
    char key[16], value[VALUE];

    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    value[snprintf(value, 20, "%lld", (long long)step)] = ' ';
    int64_t rc = try_put(f, key_of(step, key), value, STORE_ANY);
    if (rc < 0)
        return (int)rc;
    m->value[step % KEYS] = step;
    m->revision = rc;
    return 0;
}

static void check_model(struct fixture *f, const struct model *m)
{
    char key[16];

    for (int i = 0; i < KEYS; i++)
        CHECK_INT(strtoll(get(f, key_of(i, key), 0), NULL, 10), m->value[i]);
    CHECK_INT(store_revision(f->s), m->revision);
}

static int count(void *arg, const struct store_event *e, struct err *err)
{
    (void)err;
    CHECK_INT(e->row.mod_revision, ++*(int64_t *)arg);
    return 0;
}

static void check_log(struct fixture *f, int64_t revision)
{
    int64_t at = store_compacted(f->s), last = 0;
    struct err err = { 0 };

    if (at < 1)
        at = 1;
    while (at < revision) {
        int64_t seen = at;
        CHECK_INT(store_log(&f->ctx, f->s, SLICE_LIT("/"), SLICE_LIT("\0"), at, 0, count, &seen, &last, &err), 0);
        CHECK_INT(seen, last);
        at = last;
    }
    CHECK_INT(at, revision);
}

/* The files as a kill of the process would leave them now, opened. */
static void check_copy(struct fixture *f, const struct model *m)
{
    struct fixture copy;
    char command[300];

    fixture_make(&copy);
    snprintf(command, sizeof(command), "cp %s/state.db %s/state.db-wal %s/", f->dir, f->dir, copy.dir);
    CHECK_INT(system(command), 0);
    fixture_reopen(&copy, NULL);
    check_model(&copy, m);
    check_log(&copy, m->revision);
    fixture_close(&copy);
}

struct kind {
    const char *what;
    int code;
    bool only_syncs;
    int64_t times;
};

/* One run with a fault at the nth operation. false: the run was over before. */
static bool run_with_fault(struct store_vfs *v, const struct kind *kind, int64_t nth)
{
    const struct store_options options = { .vfs = "faulty" };
    struct fixture f;
    struct model m = { .revision = 1 };
    struct err err = { 0 };
    int64_t step = 1, failed = 0;

    store_vfs_fail(v, 0, 0, 0, false);
    fixture_open(&f, &options);
    for (; step <= 10; step++)
        CHECK_INT(write_step(&f, &m, step), 0);
    store_vfs_fail(v, nth, kind->times, kind->code, kind->only_syncs);
    for (; step <= 30; step++) {
        int rc = write_step(&f, &m, step);
        CHECK(rc == 0 || rc == -ERR_IO);
        failed += rc < 0;
        if (rc < 0)
            check_model(&f, &m);
        if (step == 20) /* may fail, harms nothing */
            ERR_IGNORE(store_compact(&f.ctx, f.s, m.revision, &err));
    }
    bool hit = store_vfs_ops(v) >= nth;
    store_vfs_fail(v, 0, 0, 0, false);
    if (failed && kind->times > 1) /* the disk may have refused all along to take the failed commit back */
        CHECK_INT(write_step(&f, &m, step++), 0);
    if (failed)
        check_copy(&f, &m);
    for (; step <= 35; step++)
        CHECK_INT(write_step(&f, &m, step), 0);
    check_model(&f, &m);
    check_log(&f, m.revision);
    fixture_reopen(&f, NULL);
    check_model(&f, &m);
    check_log(&f, m.revision);
    fixture_close(&f);
    return hit;
}

static void sweep(const struct kind *kind, int64_t stride)
{
    struct store_vfs *v = faulty();
    int64_t nth = 1;

    while (nth < 2000 && run_with_fault(v, kind, nth))
        nth += stride;
    CHECK(nth > 10 && nth < 2000);
    store_vfs_free(v);
}

TEST(store_fault_full_once)
{
    sweep(&(struct kind){ "full", SQLITE_FULL, false, 1 }, 3);
}

TEST(store_fault_full_for_long)
{
    sweep(&(struct kind){ "full", SQLITE_FULL, false, 9 }, 7);
}

TEST(store_fault_write)
{
    sweep(&(struct kind){ "write", SQLITE_IOERR_WRITE, false, 1 }, 5);
}

TEST(store_fault_sync)
{
    sweep(&(struct kind){ "sync", SQLITE_IOERR_FSYNC, true, 1 }, 1);
}

TEST(store_fault_sync_for_long)
{
    sweep(&(struct kind){ "sync", SQLITE_IOERR_FSYNC, true, 4 }, 1);
}

TEST(store_fault_says_why)
{
    const struct store_options options = { .vfs = "faulty" };
    struct store_vfs *v = faulty();
    struct fixture f;
    struct err err = { 0 };
    AUTO(bytes) struct bytes *value = bytes_new("v", 1);
    struct store_op op = { .kind = STORE_PUT, .key = SLICE_LIT("/a"), .expect = STORE_ANY, .value = value };

    fixture_open(&f, &options);
    store_vfs_fail(v, 1, 1000, SQLITE_FULL, false);
    CHECK_INT(store_txn(&f.ctx, f.s, &op, 1, &(int64_t){ 0 }, NULL, NULL, &err), -ERR_IO);
    CHECK(strstr(err.msg, "disk is full") != NULL);
    CHECK_INT(err_http(&err), 500);
    store_vfs_fail(v, 0, 0, 0, false);
    fixture_close(&f);
    store_vfs_free(v);
}

enum { WRITERS = 3, CUTS = 25 };

struct load {
    struct fixture *f;
    int id;
    _Atomic bool *stop;
    _Atomic int64_t acked; /* the number last acknowledged */
};

static void *load_run(void *arg)
{
    struct load *l = arg;
    char key[16], value[64];

    snprintf(key, sizeof(key), "/w%d", l->id);
    for (int64_t i = 1; !*l->stop; i++) {
        snprintf(value, sizeof(value), "%lld", (long long)i);
        CHECK(put(l->f, key, value) > 0);
        l->acked = i;
    }
    return NULL;
}

static void check_cut(struct store_vfs *v, struct load *loads, unsigned seed)
{
    struct fixture cut;
    int64_t acked[WRITERS];
    char key[16];

    fixture_make(&cut);
    for (int i = 0; i < WRITERS; i++)
        acked[i] = loads[i].acked;
    store_vfs_power_cut(v, cut.path, seed);
    fixture_reopen(&cut, NULL);
    for (int i = 0; i < WRITERS; i++) {
        snprintf(key, sizeof(key), "/w%d", i);
        const char *value = get(&cut, key, 0);
        CHECK((strcmp(value, "(none)") ? strtoll(value, NULL, 10) : 0) >= acked[i]);
    }
    check_log(&cut, store_revision(cut.s));
    fixture_close(&cut);
}

TEST(store_power_cuts)
{
    const struct store_options options = { .vfs = "faulty" };
    struct store_vfs *v = faulty();
    struct load loads[WRITERS] = { 0 };
    pthread_t t[WRITERS];
    struct fixture f;
    _Atomic bool stop = false;
    struct err err = { 0 };

    store_vfs_track(v);
    fixture_open(&f, &options);
    for (int i = 0; i < WRITERS; i++) {
        loads[i].f = &f;
        loads[i].id = i;
        loads[i].stop = &stop;
        CHECK_INT(pthread_create(&t[i], NULL, load_run, &loads[i]), 0);
    }
    for (unsigned i = 0; i < CUTS; i++) {
        int64_t until = store_revision(f.s) + 150;
        while (store_revision(f.s) < until)
            usleep(1000);
        if (i % 5 == 4)
            CHECK_INT(store_compact(&f.ctx, f.s, until - 50, &err), 0);
        check_cut(v, loads, i + 1);
    }
    stop = true;
    for (int i = 0; i < WRITERS; i++)
        pthread_join(t[i], NULL);
    fixture_close(&f);
    store_vfs_free(v);
}
