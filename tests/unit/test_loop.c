#include "lib/loop.h"
#include "lib/mem.h"
#include "test.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

static struct loop *start(void)
{
    struct loop *l = NULL;
    struct err err = { 0 };

    CHECK_INT(loop_new("test-loop", &l, &err), 0);
    return l;
}

static int64_t ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct seen {
    struct loop *loop;
    sem_t done;
    int order[64];
    int n;
    struct loop_timer *other;
};

static void seen_init(struct seen *s)
{
    *s = (struct seen){ .loop = start() };
    sem_init(&s->done, 0, 0);
}

static void seen_end(struct seen *s)
{
    loop_free(s->loop);
    sem_destroy(&s->done);
}

struct mark {
    struct seen *seen;
    int id;
};

static void on_mark(void *arg)
{
    struct mark *m = arg;

    CHECK(loop_inside(m->seen->loop));
    m->seen->order[m->seen->n++] = m->id;
    sem_post(&m->seen->done);
}

TEST(loop_posts_in_order)
{
    struct seen s;
    struct mark marks[50];

    seen_init(&s);
    CHECK(!loop_inside(s.loop));
    for (int i = 0; i < 50; i++) {
        marks[i] = (struct mark){ &s, i };
        loop_post(s.loop, on_mark, &marks[i]);
    }
    seen_end(&s); /* runs what was posted */
    CHECK_INT(s.n, 50);
    for (int i = 0; i < 50; i++)
        CHECK_INT(s.order[i], i);
}

struct chain {
    struct loop *loop;
    int left;
};

static void on_chain(void *arg)
{
    struct chain *c = arg;

    if (--c->left > 0)
        loop_post(c->loop, on_chain, c);
}

TEST(loop_free_runs_what_posts_post)
{
    struct chain c = { start(), 1000 };

    loop_post(c.loop, on_chain, &c);
    loop_free(c.loop);
    CHECK_INT(c.left, 0);
    loop_free(NULL);
}

struct counter {
    struct loop *loop;
    int n; /* the loop's */
};

static void on_count(void *arg)
{
    ((struct counter *)arg)->n++;
}

static void *post_many(void *arg)
{
    for (int i = 0; i < 5000; i++)
        loop_post(((struct counter *)arg)->loop, on_count, arg);
    return NULL;
}

TEST(loop_posts_from_many_threads)
{
    struct counter c = { start(), 0 };
    pthread_t t[4];

    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&t[i], NULL, post_many, &c), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    loop_free(c.loop);
    CHECK_INT(c.n, 20000);
}

TEST(loop_timers_run_by_time_then_by_start)
{
    static const int after_ms[] = { 60, 20, 40, 20, 0, 60 };
    static const int want[] = { 4, 1, 3, 2, 0, 5 };
    struct mark marks[ARRAY_LEN(after_ms)];
    struct seen s;
    int64_t began = ms();

    seen_init(&s);
    for (int i = 0; i < (int)ARRAY_LEN(after_ms); i++) {
        marks[i] = (struct mark){ &s, i };
        loop_timer_start(s.loop, after_ms[i], on_mark, &marks[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(after_ms); i++)
        sem_wait(&s.done);
    CHECK(ms() - began >= 60);
    seen_end(&s);
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        CHECK_INT(s.order[i], want[i]);
}

TEST(loop_timer_cancelled_never_runs)
{
    struct seen s;
    struct mark never = { NULL, 0 }, last = { &s, 1 };
    struct loop_timer *t[100];

    seen_init(&s);
    for (int i = 0; i < 100; i++)
        t[i] = loop_timer_start(s.loop, 30 + i % 7, on_mark, &never); /* would crash */
    for (int i = 99; i >= 0; i -= 2)
        loop_timer_cancel(t[i]);
    for (int i = 0; i < 100; i += 2)
        loop_timer_cancel(t[i]);
    loop_timer_cancel(NULL);
    loop_timer_start(s.loop, 50, on_mark, &last);
    sem_wait(&s.done);
    loop_timer_start(s.loop, 100000, on_mark, &never); /* dropped by loop_free */
    seen_end(&s);
    CHECK_INT(s.n, 1);
}

static void on_cancel_other(void *arg)
{
    struct seen *s = arg;

    loop_timer_cancel(s->other);
    static struct mark last;
    last = (struct mark){ s, 7 };
    loop_timer_start(s->loop, 20, on_mark, &last);
}

TEST(loop_timers_may_start_and_cancel_timers)
{
    struct seen s;
    struct mark never = { NULL, 0 };

    seen_init(&s);
    s.other = loop_timer_start(s.loop, 5000, on_mark, &never);
    loop_timer_start(s.loop, 1, on_cancel_other, &s);
    sem_wait(&s.done);
    seen_end(&s);
    CHECK_INT(s.order[0], 7);
}

/* A thread that cancels while the timer fires: both share a lock, as the contract asks. */
struct racer {
    pthread_mutex_t lock;
    struct loop_timer *timer;
    int fired, cancelled;
};

static void on_race(void *arg)
{
    struct racer *r = arg;

    LOCK_SCOPE(&r->lock);
    r->fired += r->timer != NULL;
    r->timer = NULL;
}

TEST(loop_timer_cancel_races_with_firing)
{
    struct racer r = { .lock = PTHREAD_MUTEX_INITIALIZER };
    struct loop *l = start();

    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&r.lock);
        r.timer = loop_timer_start(l, 0, on_race, &r);
        pthread_mutex_unlock(&r.lock);
        for (volatile int spin = 0; spin < i; spin++)
            ;
        pthread_mutex_lock(&r.lock);
        if (r.timer) {
            loop_timer_cancel(r.timer);
            r.cancelled++;
            r.timer = NULL;
        }
        pthread_mutex_unlock(&r.lock);
    }
    loop_free(l);
    CHECK_INT(r.fired + r.cancelled, 2000);
}

static void on_handle(void *arg)
{
    static uv_timer_t t;

    uv_timer_init(loop_uv(arg), &t);
    uv_timer_start(&t, NULL, 100000, 0);
}

TEST(loop_free_closes_handles_left)
{
    struct loop *l = start();

    loop_post(l, on_handle, l);
    loop_free(l);
}
