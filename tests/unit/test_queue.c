#include "lib/queue.h"

#include "lib/log.h"
#include "lib/mem.h"
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* A reconciler's world: what was called, and gates to hold it. */
struct world {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct pool *pool;
    struct loop *loop;
    struct queue *queue;
    char log[4096]; /* keys in the order of their passes, each with a blank behind */
    int passes, running, most;
    bool hold;          /* passes wait until it is false */
    int fail_first;     /* so many passes fail */
    int64_t again_ms;   /* told by the first pass; -1: none */
    int64_t at_ms[64];
    bool canceled;
};

static void world_init_with(struct world *w, int workers, queue_reconcile_fn *fn, int64_t backoff_max_ms)
{
    struct err err = { 0 };

    *w = (struct world){ .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .again_ms = -1 };
    CHECK_INT(pool_new(NULL, &w->pool, &err), 0);
    CHECK_INT(loop_new("queue", &w->loop, &err), 0);
    w->queue = queue_new(&(struct queue_options){ .name = "test", .pool = w->pool, .loop = w->loop, .clock = &clock_system,
                                                  .workers = workers, .backoff_max_ms = backoff_max_ms }, fn, w);
}

static void world_end(struct world *w)
{
    queue_free(w->queue);
    pool_free(w->pool);
    loop_free(w->loop);
}

static int on_pass(void *arg, struct ctx *ctx, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct world *w = arg;
    LOCK_SCOPE(&w->lock);

    CHECK(arena_strdup(ctx->arena, key) != NULL);
    CHECK(ctx_left_ms(ctx) > 50000 && ctx_left_ms(ctx) <= 60000);
    CHECK_INT(*ret_again_ms, -1);
    strncat(w->log, key, sizeof(w->log) - strlen(w->log) - 2);
    strcat(w->log, " ");
    w->at_ms[w->passes % 64] = clock_mono_ms(ctx->clock);
    w->passes++;
    w->running++;
    w->most = w->running > w->most ? w->running : w->most;
    pthread_cond_broadcast(&w->moved);
    while (w->hold)
        pthread_cond_wait(&w->moved, &w->lock);
    w->running--;
    pthread_cond_broadcast(&w->moved);
    if (w->passes == 1)
        *ret_again_ms = w->again_ms;
    if (w->passes <= w->fail_first)
        return err_set(err, ERR_UNAVAILABLE, "the world is not ready");
    return 0;
}

static void world_init(struct world *w, int workers)
{
    world_init_with(w, workers, on_pass, 0);
}

static void await_passes(struct world *w, int n)
{
    LOCK_SCOPE(&w->lock);
    while (w->passes < n)
        pthread_cond_wait(&w->moved, &w->lock);
}

static void release(struct world *w)
{
    LOCK_SCOPE(&w->lock);
    w->hold = false;
    pthread_cond_broadcast(&w->moved);
}

/* Until nothing is ready, running or delayed. */
static void await_quiet(struct world *w)
{
    struct queue_stats s;

    do {
        usleep(1000);
        queue_stats(w->queue, &s);
    } while (s.waiting + s.delayed + s.running > 0);
}

TEST(queue_runs_keys_in_order_and_once)
{
    struct world w;

    world_init(&w, 1);
    w.hold = true;
    queue_add(w.queue, "a");
    await_passes(&w, 1);
    queue_add(w.queue, "b");
    queue_add(w.queue, "c");
    queue_add(w.queue, "b");
    release(&w);
    await_passes(&w, 3);
    await_quiet(&w);
    CHECK_STR(w.log, "a b c ");
    world_end(&w);
}

TEST(queue_key_added_while_it_runs_runs_again)
{
    struct world w;
    struct queue_stats s;

    world_init(&w, 4);
    w.hold = true;
    queue_add(w.queue, "a");
    await_passes(&w, 1);
    queue_add(w.queue, "a");
    queue_add(w.queue, "a");
    queue_stats(w.queue, &s);
    CHECK_INT(s.running, 1);
    CHECK_INT(s.waiting, 0);
    release(&w);
    await_passes(&w, 2);
    await_quiet(&w);
    CHECK_STR(w.log, "a a ");
    CHECK_INT(w.most, 1);
    queue_stats(w.queue, &s);
    CHECK_INT(s.done, 2);
    CHECK_INT(s.failed, 0);
    world_end(&w);
}

TEST(queue_has_its_number_of_workers)
{
    struct world w;
    char key[16];

    world_init(&w, 3);
    w.hold = true;
    for (int i = 0; i < 9; i++) {
        snprintf(key, sizeof(key), "%d", i);
        queue_add(w.queue, key);
    }
    await_passes(&w, 3);
    struct queue_stats s;
    queue_stats(w.queue, &s);
    CHECK_INT(s.running, 3);
    CHECK_INT(s.waiting, 6);
    release(&w);
    await_passes(&w, 9);
    CHECK_INT(w.most, 3);
    world_end(&w);
}

TEST(queue_failures_back_off_and_success_resets)
{
    struct world w;
    struct queue_stats s;

    log_setup(LOG_ERROR, 2);
    world_init(&w, 2);
    w.fail_first = 5;
    queue_add(w.queue, "a");
    await_passes(&w, 6);
    await_quiet(&w);
    for (int i = 1; i < 6; i++)
        CHECK(w.at_ms[i] - w.at_ms[i - 1] >= 5 << (i - 1)); /* 5, 10, 20, 40, 80 ms */
    w.fail_first = 7; /* the next pass fails: 5 ms again */
    queue_add(w.queue, "a");
    await_passes(&w, 8);
    CHECK(w.at_ms[7] - w.at_ms[6] < 160); /* what the sixth in a row would wait */
    await_quiet(&w);
    queue_stats(w.queue, &s);
    CHECK_INT(s.failed, 6);
    CHECK_INT(s.done, 8);
    world_end(&w);
}

TEST(queue_backoff_has_a_most)
{
    struct world w;

    log_setup(LOG_ERROR, 2);
    world_init_with(&w, 2, on_pass, 10);
    w.fail_first = 30;
    queue_add(w.queue, "a");
    await_passes(&w, 31); /* 30 s of alarm would not do for 2^30 * 5 ms */
    world_end(&w);
}

TEST(queue_failure_is_logged_once)
{
    struct world w;
    int p[2];
    char text[4096];

    CHECK_INT(pipe2(p, O_CLOEXEC), 0);
    log_setup(LOG_WARN, p[1]);
    world_init(&w, 2);
    w.fail_first = 4;
    queue_add(w.queue, "ns/a b");
    await_passes(&w, 5);
    await_quiet(&w);
    world_end(&w);
    close(p[1]);
    ssize_t n = read(p[0], text, sizeof(text) - 1);
    CHECK(n > 0);
    text[n] = '\0';
    CHECK(strstr(text, "msg=\"reconcile failed\" queue=test key=\"ns/a b\" error=\"the world is not ready\"\n"));
    CHECK(strchr(text, '\n') == text + n - 1);
    close(p[0]);
}

TEST(queue_delays)
{
    struct world w;
    int64_t began = clock_mono_ms(&clock_system);

    world_init(&w, 1);
    queue_add_after(w.queue, "c", 90);
    queue_add_after(w.queue, "b", 10000);
    queue_add_after(w.queue, "b", 60); /* the earlier wins */
    queue_add_after(w.queue, "b", 20000);
    queue_add_after(w.queue, "a", 30);
    queue_add_after(w.queue, "0", 0);
    await_passes(&w, 4);
    CHECK_STR(w.log, "0 a b c ");
    CHECK(w.at_ms[1] - began >= 30);
    CHECK(w.at_ms[2] - began >= 60);
    CHECK(w.at_ms[3] - began >= 90);
    await_quiet(&w);
    world_end(&w);
}

TEST(queue_pass_says_when_to_look_again)
{
    struct world w;

    world_init(&w, 2);
    w.again_ms = 40;
    queue_add(w.queue, "a");
    await_passes(&w, 2);
    await_quiet(&w);
    CHECK(w.at_ms[1] - w.at_ms[0] >= 40);
    CHECK_STR(w.log, "a a ");
    world_end(&w);
}

TEST(queue_a_pass_decides_anew_about_its_own_delay_only)
{
    struct world w;
    struct queue_stats s;

    world_init(&w, 2);
    w.again_ms = 100000;
    queue_add(w.queue, "a"); /* wants to look again in 100 s */
    await_passes(&w, 1);
    do
        queue_stats(w.queue, &s);
    while (s.delayed == 0);
    queue_add(w.queue, "a"); /* and now no more */
    await_passes(&w, 2);
    await_quiet(&w);
    queue_add_after(w.queue, "b", 100000);
    queue_add(w.queue, "b");
    await_passes(&w, 3);
    do
        queue_stats(w.queue, &s);
    while (s.running > 0);
    CHECK_INT(s.delayed, 1); /* somebody else's wish stays */
    world_end(&w);
}

static int on_cancel(void *arg, struct ctx *ctx, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct world *w = arg;

    (void)key;
    (void)ret_again_ms;
    pthread_mutex_lock(&w->lock);
    w->passes++;
    pthread_cond_broadcast(&w->moved);
    pthread_mutex_unlock(&w->lock);
    while (ctx_check(ctx, err) == 0)
        usleep(1000);
    w->canceled = err->code == ERR_CANCELED;
    return -(int)err->code;
}

TEST(queue_stop_cancels_and_waits)
{
    struct world w;

    world_init_with(&w, 1, on_cancel, 0);
    queue_add(w.queue, "a");
    queue_add(w.queue, "b");
    queue_add_after(w.queue, "c", 1);
    await_passes(&w, 1);
    queue_stop(w.queue);
    CHECK(w.canceled);
    queue_add(w.queue, "d");
    queue_add_after(w.queue, "d", 1);
    CHECK_INT(w.passes, 1);
    world_end(&w);
    queue_free(NULL);
}

/* A pool that refuses for a while loses no key. */
static void at_hold(void *arg)
{
    struct world *w = arg;
    LOCK_SCOPE(&w->lock);

    w->running++;
    pthread_cond_broadcast(&w->moved);
    while (w->hold)
        pthread_cond_wait(&w->moved, &w->lock);
    w->running--;
}

TEST(queue_outlives_a_full_pool)
{
    struct world w;
    struct err err = { 0 };

    world_init(&w, 2);
    queue_free(w.queue);
    pool_free(w.pool);
    CHECK_INT(pool_new(&(struct pool_options){ .permits = 1, .threads_max = 1, .queue_max = 1 }, &w.pool, &err), 0);
    w.queue = queue_new(&(struct queue_options){ .name = "test", .pool = w.pool, .loop = w.loop, .clock = &clock_system },
                        on_pass, &w);
    w.hold = true;
    CHECK_INT(pool_run(w.pool, at_hold, &w, &err), 0);
    pthread_mutex_lock(&w.lock);
    while (w.running == 0)
        pthread_cond_wait(&w.moved, &w.lock);
    pthread_mutex_unlock(&w.lock);
    CHECK_INT(pool_run(w.pool, at_hold, &w, &err), 0);
    queue_add(w.queue, "a");
    queue_add(w.queue, "b");
    CHECK_INT(w.passes, 0);
    release(&w);
    await_passes(&w, 2);
    world_end(&w);
}

/* Many threads, few keys: never two passes of one key at once, and the last addition is always followed by a pass. */
struct storm {
    struct world w;
    _Atomic int added[8], seen[8], inside[8];
};

static int on_storm(void *arg, struct ctx *ctx, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct storm *s = arg;
    int i = key[0] - '0', added = s->added[i];

    (void)ctx;
    CHECK_INT(atomic_fetch_add(&s->inside[i], 1), 0);
    s->seen[i] = added;
    if (added % 5 == 0)
        *ret_again_ms = 1;
    CHECK_INT(atomic_fetch_sub(&s->inside[i], 1), 1);
    return added % 7 == 0 ? err_set(err, ERR_CONFLICT, "seven") : 0;
}

static void *add_many(void *arg)
{
    struct storm *s = arg;
    char key[2] = "0";

    for (int i = 0; i < 8001; i++) {
        key[0] = (char)('0' + i % 8);
        atomic_fetch_add(&s->added[i % 8], 1);
        if (i % 3)
            queue_add(s->w.queue, key);
        else
            queue_add_after(s->w.queue, key, i % 2);
    }
    return NULL;
}

TEST(queue_key_never_runs_twice_at_once)
{
    static struct storm s;
    pthread_t t[3];

    log_setup(LOG_ERROR, 2);
    world_init_with(&s.w, 6, on_storm, 4);
    queue_free(s.w.queue);
    s.w.queue = queue_new(&(struct queue_options){ .name = "storm", .pool = s.w.pool, .loop = s.w.loop,
                                                   .clock = &clock_system, .workers = 6, .backoff_max_ms = 4 }, on_storm, &s);
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&t[i], NULL, add_many, &s), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 8; i++) {
        while (s.added[i] % 5 == 0 || s.added[i] % 7 == 0) /* these would go on for ever */
            atomic_fetch_add(&s.added[i], 1);
    }
    for (int i = 0; i < 8; i++)
        queue_add(s.w.queue, (char[]){ (char)('0' + i), '\0' });
    await_quiet(&s.w);
    for (int i = 0; i < 8; i++)
        CHECK_INT(s.seen[i], s.added[i]);
    world_end(&s.w);
}
