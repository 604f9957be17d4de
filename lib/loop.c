#include "lib/loop.h"

#include "lib/auto.h"
#include "lib/due.h"
#include "lib/mem.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

enum { LOOP_STACK_BYTES = 512 * 1024, POSTS_KEPT = 1024, THREAD_NAME_BYTES = 16 };

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct posts {
    struct post *at;
    size_t n, cap;
};

struct loop_timer {
    struct due_node due; /* first: the heap gives it back */
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};

/* Lives on the heap from loop_new to loop_free. `lock` guards what stands under it; the rest belongs to the loop's thread. */
struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t alarm; /* armed to the earliest of `timers` */
    pthread_t thread;
    char name[THREAD_NAME_BYTES];

    pthread_mutex_t lock;
    struct posts posts;
    struct due timers;
    bool stop, rearm;
};

/* Which loop this thread is; set once by the thread itself. */
static _Thread_local const struct loop *this_loop;

static int64_t now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

/* The next timer whose time has come, out of the heap and thereby running; NULL: none. */
static struct loop_timer *take_due(struct loop *l)
{
    LOCK_SCOPE(&l->lock);
    struct due_node *first = due_first(&l->timers);

    if (!first || first->at_ms > now_ms())
        return NULL;
    due_remove(&l->timers, first);
    return (struct loop_timer *)first;
}

static void on_alarm(uv_timer_t *alarm);

static void arm(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    const struct due_node *first = due_first(&l->timers);
    int64_t due_ms = first ? first->at_ms : -1;
    l->rearm = false;
    pthread_mutex_unlock(&l->lock);
    if (uv_is_closing((uv_handle_t *)&l->alarm))
        return;
    if (due_ms < 0) {
        uv_timer_stop(&l->alarm);
        return;
    }
    uv_update_time(&l->uv);
    int64_t left_ms = due_ms - now_ms();
    uv_timer_start(&l->alarm, on_alarm, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
}

static void on_alarm(uv_timer_t *alarm)
{
    struct loop *l = alarm->data;

    for (struct loop_timer *t; (t = take_due(l));) {
        t->fn(t->arg);
        free(t);
    }
    arm(l);
}

/* Posts. */

static bool run_posts(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    struct posts batch = l->posts;
    l->posts = (struct posts){ 0 };
    pthread_mutex_unlock(&l->lock);

    for (size_t i = 0; i < batch.n; i++)
        batch.at[i].fn(batch.at[i].arg);

    /* Keep the array for the next round unless a burst made it large. */
    pthread_mutex_lock(&l->lock);
    if (!l->posts.at && batch.cap <= POSTS_KEPT) {
        l->posts.at = TAKE(batch.at);
        l->posts.cap = batch.cap;
    }
    pthread_mutex_unlock(&l->lock);
    free(batch.at);
    return batch.n > 0;
}

static void on_wake(uv_async_t *wake)
{
    struct loop *l = wake->data;

    run_posts(l);
    pthread_mutex_lock(&l->lock);
    bool rearm = l->rearm, stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    if (rearm)
        arm(l);
    if (stop)
        uv_stop(&l->uv);
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;

    this_loop = l;
    pthread_setname_np(pthread_self(), l->name);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    /* loop_free: everything posted runs, also what that posts or what closing posts. */
    while (run_posts(l))
        ;
    do {
        uv_walk(&l->uv, close_handle, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);
    } while (run_posts(l));
    return NULL;
}

/* Making and ending. */

static int start_thread(struct loop *l, struct err *err)
{
    pthread_attr_t attr;
    sigset_t all;

    sigfillset(&all); /* signals belong to the main thread */
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, LOOP_STACK_BYTES);
    pthread_attr_setsigmask_np(&attr, &all);
    int rc = pthread_create(&l->thread, &attr, loop_main, l);
    pthread_attr_destroy(&attr);
    return rc ? err_sys(err, rc, "start the loop thread %s", l->name) : 0;
}

static void loop_destroy(struct loop *l)
{
    int rc = uv_loop_close(&l->uv);

    assert(rc == 0); /* every handle was closed */
    for (struct due_node *t; (t = due_first(&l->timers));) {
        due_remove(&l->timers, t);
        free((struct loop_timer *)t);
    }
    due_clear(&l->timers);
    free(l->posts.at);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

int loop_new(const char *thread_name, struct loop **ret, struct err *err)
{
    struct loop *l = MEM_NEW(struct loop);
    int rc = uv_loop_init(&l->uv);

    if (rc) {
        free(l);
        return err_sys(err, -rc, "make an event loop");
    }
    strncpy(l->name, thread_name, sizeof(l->name) - 1);
    pthread_mutex_init(&l->lock, NULL);
    l->wake.data = l->alarm.data = l;
    uv_timer_init(&l->uv, &l->alarm); /* cannot fail */
    rc = uv_async_init(&l->uv, &l->wake, on_wake);
    rc = rc ? err_sys(err, -rc, "make an event loop's wake-up") : start_thread(l, err);
    if (rc < 0) {
        uv_walk(&l->uv, close_handle, NULL);
        uv_run(&l->uv, UV_RUN_DEFAULT);
        loop_destroy(l);
        return rc;
    }
    *ret = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    assert(!loop_inside(l));
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_mutex_unlock(&l->lock);
    uv_async_send(&l->wake);
    pthread_join(l->thread, NULL);
    loop_destroy(l);
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

bool loop_inside(const struct loop *l)
{
    return this_loop == l;
}

void loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    LOCK_SCOPE(&l->lock);
    struct posts *q = &l->posts;

    if (q->n == q->cap) {
        q->cap = q->cap ? 2 * q->cap : 32;
        q->at = mem_realloc(q->at, q->cap * sizeof(*q->at));
    }
    q->at[q->n++] = (struct post){ fn, arg };
    /* Sent under the lock: loop_free's caller cannot destroy the loop between the two. */
    if (q->n == 1)
        uv_async_send(&l->wake);
}

struct loop_timer *loop_timer_start(struct loop *l, int64_t after_ms, void (*fn)(void *arg), void *arg)
{
    struct loop_timer *t = MEM_NEW(struct loop_timer);
    int64_t now = now_ms();

    *t = (struct loop_timer){ .loop = l, .fn = fn, .arg = arg };
    int64_t due_ms = after_ms <= 0 ? now : after_ms > INT64_MAX / 2 ? INT64_MAX / 2 : now + after_ms;
    LOCK_SCOPE(&l->lock);
    due_add(&l->timers, &t->due, due_ms);
    if (due_first(&l->timers) == &t->due && !l->rearm) {
        l->rearm = true;
        uv_async_send(&l->wake);
    }
    return t;
}

bool loop_timer_cancel(struct loop_timer *t)
{
    if (!t)
        return true;
    struct loop *l = t->loop;
    LOCK_SCOPE(&l->lock);
    if (!due_waits(&t->due))
        return false; /* it runs; its memory goes when fn is back */
    due_remove(&l->timers, &t->due);
    free(t);
    return true;
}
