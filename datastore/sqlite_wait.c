/* Waits with a time limit on a clock that never steps. */
#include "datastore/sqlite_int.h"

#include <time.h>

void sql_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

void sql_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(cond, lock, &at);
}

/* A cancel flag has no way to wake us, and the clock may be a test's: look again now and then. */
int64_t sql_wait_slice_ms(const struct ctx *ctx)
{
    int64_t left = ctx_left_ms(ctx);

    return left < SQL_WAIT_SLICE_MS ? left + 1 : SQL_WAIT_SLICE_MS;
}
