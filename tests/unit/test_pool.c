#include "lib/pool.h"
#include "lib/mem.h"
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>

static struct pool *start(int permits, int threads_max, size_t queue_max)
{
    struct pool *p = NULL;
    struct err err = { 0 };

    CHECK_INT(pool_new(&(struct pool_options){ permits, threads_max, queue_max, 50 }, &p, &err), 0);
    return p;
}

static void run(struct pool *p, void (*fn)(void *arg), void *arg)
{
    struct err err = { 0 };

    CHECK_INT(pool_run(p, fn, arg, &err), 0);
}

/* A gate that jobs stand at; `here` tells how many do, `most` how many at once. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int here, most, passed;
    bool open;
    bool give_permit;
};
#define GATE_INIT { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER }

static void at_gate(void *arg)
{
    struct gate *g = arg;

    if (g->give_permit)
        pool_wait_begin();
    pthread_mutex_lock(&g->lock);
    g->here++;
    g->most = g->here > g->most ? g->here : g->most;
    pthread_cond_broadcast(&g->moved);
    while (!g->open)
        pthread_cond_wait(&g->moved, &g->lock);
    g->here--;
    g->passed++;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
    if (g->give_permit)
        pool_wait_end();
}

static void gate_await(struct gate *g, int here)
{
    LOCK_SCOPE(&g->lock);
    while (g->here < here)
        pthread_cond_wait(&g->moved, &g->lock);
}

static void gate_open(struct gate *g)
{
    LOCK_SCOPE(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->moved);
}

static void count(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

TEST(pool_runs_all)
{
    struct pool *p = start(0, 0, 0);
    _Atomic int n = 0;

    for (int i = 0; i < 10000; i++)
        run(p, count, &n);
    pool_free(p);
    CHECK_INT(n, 10000);
    pool_free(NULL);
}

TEST(pool_runs_no_more_than_permits)
{
    struct pool *p = start(3, 0, 0);
    struct gate g = GATE_INIT;
    struct pool_stats s;

    for (int i = 0; i < 50; i++)
        run(p, at_gate, &g);
    gate_await(&g, 3);
    pool_stats(p, &s);
    CHECK_INT(s.threads, 3);
    CHECK_INT(s.running, 3);
    CHECK_INT(s.queued, 47);
    gate_open(&g);
    pool_free(p);
    CHECK_INT(g.passed, 50);
    CHECK_INT(g.most, 3);
}

TEST(pool_waiting_threads_hold_no_permit)
{
    struct pool *p = start(2, 0, 0);
    struct gate waiting = GATE_INIT, working = GATE_INIT;
    struct pool_stats s;

    waiting.give_permit = true;
    for (int i = 0; i < 20; i++)
        run(p, at_gate, &waiting);
    gate_await(&waiting, 20);
    pool_stats(p, &s);
    CHECK_INT(s.waiting, 20);
    CHECK_INT(s.running, 0);
    for (int i = 0; i < 5; i++)
        run(p, at_gate, &working);
    gate_await(&working, 2);
    gate_open(&waiting); /* all come back, and none gets a permit while two work */
    pthread_mutex_lock(&waiting.lock);
    while (waiting.passed < 20)
        pthread_cond_wait(&waiting.moved, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    pool_stats(p, &s);
    CHECK_INT(s.running, 2);
    gate_open(&working);
    pool_free(p);
    CHECK_INT(working.passed, 5);
    CHECK_INT(working.most, 2);
}

TEST(pool_threads_are_bounded_even_when_all_wait)
{
    struct pool *p = start(2, 4, 0);
    struct gate g = GATE_INIT;
    struct pool_stats s;
    _Atomic int n = 0;

    g.give_permit = true;
    for (int i = 0; i < 4; i++)
        run(p, at_gate, &g);
    gate_await(&g, 4);
    for (int i = 0; i < 10; i++)
        run(p, count, &n);
    pool_stats(p, &s);
    CHECK_INT(s.threads, 4);
    CHECK_INT(s.queued, 10);
    gate_open(&g);
    pool_free(p);
    CHECK_INT(n, 10);
}

TEST(pool_refuses_when_full)
{
    struct pool *p = start(1, 0, 2);
    struct gate g = GATE_INIT;
    struct err err = { 0 };

    run(p, at_gate, &g);
    gate_await(&g, 1);
    run(p, at_gate, &g);
    run(p, at_gate, &g);
    CHECK_INT(pool_run(p, at_gate, &g, &err), -ERR_UNAVAILABLE);
    CHECK_STR(err.msg, "too much work is queued (2 jobs)");
    gate_open(&g);
    pool_free(p);
    CHECK_INT(g.passed, 3);
}

TEST(pool_wait_outside_does_nothing)
{
    pool_wait_begin();
    pool_wait_end();
}

/* Waits that nest, many at once, over few permits: nothing is lost and the permits hold. */
struct storm {
    _Atomic int running, most, done;
};

static void hold_permit(struct storm *s)
{
    int now = atomic_fetch_add(&s->running, 1) + 1;

    for (int most = s->most; now > most && !atomic_compare_exchange_weak(&s->most, &most, now);)
        ;
    for (volatile int i = 0; i < 200; i++)
        ;
    atomic_fetch_sub(&s->running, 1);
}

static void on_storm(void *arg)
{
    struct storm *s = arg;

    hold_permit(s);
    pool_wait_begin();
    pool_wait_begin();
    sched_yield();
    pool_wait_end();
    pool_wait_end();
    hold_permit(s);
    atomic_fetch_add(&s->done, 1);
}

TEST(pool_permits_hold_under_many_waits)
{
    struct pool *p = start(3, 16, 0);
    struct storm s = { 0 };

    for (int i = 0; i < 20000; i++)
        run(p, on_storm, &s);
    pool_free(p);
    CHECK_INT(s.done, 20000);
    CHECK(s.most <= 3);
}

struct spreading {
    struct pool *pool;
    _Atomic int n;
};

static void on_spread(void *arg)
{
    struct spreading *s = arg;
    struct err err = { 0 };

    /* Pool jobs may add jobs; false once the pool closes. */
    if (atomic_fetch_add(&s->n, 1) < 1000)
        ERR_IGNORE(pool_run(s->pool, on_spread, s, &err)); /* closing is expected here */
}

TEST(pool_jobs_may_add_jobs_while_it_closes)
{
    struct spreading s = { start(2, 0, 0), 0 };

    for (int i = 0; i < 4; i++)
        run(s.pool, on_spread, &s);
    pool_free(s.pool);
    CHECK(s.n >= 4);
}

TEST(pool_family_has_its_own_bound)
{
    struct pool *p = start(8, 0, 0);
    struct pool_family *f = pool_family_new(p, "pods", 2);
    struct gate g = GATE_INIT;
    struct err err = { 0 };
    struct pool_stats s;
    _Atomic int n = 0;

    for (int i = 0; i < 20; i++)
        CHECK_INT(pool_family_run(f, at_gate, &g, &err), 0);
    gate_await(&g, 2);
    pool_stats(p, &s);
    CHECK_INT(s.running, 2);
    CHECK_INT(s.queued, 0);
    for (int i = 0; i < 10; i++)
        run(p, count, &n);
    gate_open(&g);
    pool_family_free(f);
    CHECK_INT(g.passed, 20);
    CHECK_INT(g.most, 2);
    pool_free(p);
    CHECK_INT(n, 10);
    pool_family_free(NULL);
}

TEST(pool_family_refuses_when_full)
{
    struct pool *p = start(2, 0, 3);
    struct pool_family *f = pool_family_new(p, "pods", 1);
    struct gate g = GATE_INIT;
    struct err err = { 0 };

    for (int i = 0; i < 4; i++)
        CHECK_INT(pool_family_run(f, at_gate, &g, &err), 0);
    CHECK_INT(pool_family_run(f, at_gate, &g, &err), -ERR_UNAVAILABLE);
    CHECK_STR(err.msg, "pods: too much work is queued (3 jobs)");
    gate_open(&g);
    pool_family_free(f);
    pool_free(p);
    CHECK_INT(g.passed, 4);
}

TEST(pool_threads_leave_when_idle)
{
    struct pool *p = start(4, 0, 0);
    struct gate g = GATE_INIT;
    struct pool_stats s;

    for (int i = 0; i < 4; i++)
        run(p, at_gate, &g);
    gate_await(&g, 4);
    gate_open(&g);
    do { /* the test's time limit ends it */
        usleep(5000);
        pool_stats(p, &s);
    } while (s.threads > 0);
    _Atomic int n = 0;
    run(p, count, &n);
    pool_free(p);
    CHECK_INT(n, 1);
}
