#include "agent/images/turns.h"

#include "lib/map.h"
#include "lib/pool.h"

#include <time.h>

enum { CANCEL_LOOK_MS = 100 };

struct turns {
    pthread_mutex_t lock; /* guards busy */
    pthread_cond_t changed;
    struct map *busy;
};

struct turns *turns_new(void)
{
    struct turns *t = MEM_NEW(struct turns);
    pthread_condattr_t attr;

    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    t->busy = map_new(NULL);
    return t;
}

void turns_free(struct turns *t)
{
    if (!t)
        return;
    map_free(t->busy);
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Called with the lock. */
static void wait_some(struct turns *t, const struct ctx *ctx, int64_t most_ms)
{
    int64_t ms = ctx_left_ms(ctx);
    struct timespec until;

    if (ctx->cancel && most_ms > CANCEL_LOOK_MS)
        most_ms = CANCEL_LOOK_MS;
    ms = ms < most_ms ? ms : most_ms;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (ms % 1000) * 1000000L;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

int turn_take(struct ctx *ctx, struct turns *t, const char *key, struct err *err)
{
    int rc = 0;

    pool_wait_begin();
    pthread_mutex_lock(&t->lock);
    while (rc == 0 && map_get(t->busy, key)) {
        wait_some(t, ctx, 60000);
        rc = ctx_check(ctx, err);
    }
    if (rc == 0)
        map_set(t->busy, key, t);
    pthread_mutex_unlock(&t->lock);
    pool_wait_end();
    return rc;
}

void turn_give(struct turns *t, const char *key)
{
    LOCK_SCOPE(&t->lock);
    map_del(t->busy, key);
    pthread_cond_broadcast(&t->changed);
}

int turn_begin(struct ctx *ctx, struct turns *t, const char *kind, const char *key, struct turn *ret, struct err *err)
{
    char *name = mem_printf("%s/%s", kind, key);
    int rc = turn_take(ctx, t, name, err);

    if (rc < 0) {
        free(name);
        return rc;
    }
    *ret = (struct turn){ t, name };
    return 0;
}

void auto_turn(struct turn *t)
{
    if (t->of)
        turn_give(t->of, t->key);
    free(t->key);
    *t = (struct turn){ 0 };
}

int turns_pause(struct ctx *ctx, struct turns *t, int64_t ms, struct err *err)
{
    int64_t end = clock_mono_ms(ctx->clock) + ms;
    int rc = 0;

    pool_wait_begin();
    pthread_mutex_lock(&t->lock);
    for (int64_t left; rc == 0 && (left = end - clock_mono_ms(ctx->clock)) > 0;) {
        wait_some(t, ctx, left);
        rc = ctx_check(ctx, err);
    }
    pthread_mutex_unlock(&t->lock);
    pool_wait_end();
    return rc;
}
