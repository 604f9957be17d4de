#ifndef LIB_POOL_H
#define LIB_POOL_H
/*
 * pool - worker threads for plain blocking code (DESIGN decision 3).
 *
 * CPU work runs under one of cores + 2 permits; who waits for a commit, an outbound call or a child gives its permit
 * back for that time (pool_wait_begin/end). Threads are made when all are busy or waiting, up to a limit, and exit after 10 s of
 * idleness; when the last work is done by then, free memory goes back to the system. Small stacks (512 KB of address space; touched pages only).
 * Thread: any.
 */
#include "lib/err.h"

#include <stdbool.h>
#include <stddef.h>

struct pool;

struct pool_options {
    int permits;      /* 0: online cores + 2 */
    int threads_max;  /* 0: 256 */
    size_t queue_max; /* jobs queued, also in each family's list; 0: 65536 */
    int idle_ms;      /* after which a thread without work exits; 0: 10,000 */
};

/* options NULL: all defaults. */
CHECK_RC int pool_new(const struct pool_options *options, struct pool **ret, struct err *err);
void pool_free(struct pool *p); /* runs what is queued to its end; families are freed before; not from a job; NULL allowed */

/* Errors: UNAVAILABLE when the queue is full or the pool is closing. */
CHECK_RC int pool_run(struct pool *p, void (*fn)(void *arg), void *arg, struct err *err);
/* The same, but for a family with a bound of its own: at most `max` of its jobs run at once; the others wait in its list. */
struct pool_family;
struct pool_family *pool_family_new(struct pool *p, const char *name, int max);
void pool_family_free(struct pool_family *f); /* waits for its jobs; NULL allowed */
CHECK_RC int pool_family_run(struct pool_family *f, void (*fn)(void *arg), void *arg, struct err *err);

/* Around a wait, on a pool thread (elsewhere they do nothing); pairs may nest. The end waits for a permit, ahead of queued jobs. */
void pool_wait_begin(void);
void pool_wait_end(void);

struct pool_stats {
    int threads, running, waiting;
    size_t queued;
};
void pool_stats(struct pool *p, struct pool_stats *ret);

#endif
