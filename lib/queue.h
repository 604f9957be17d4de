#ifndef LIB_QUEUE_H
#define LIB_QUEUE_H
/*
 * queue - the work queue of every reconciler: controllers, binding, pod life cycle, service proxy, add-ons.
 *
 * A key never runs twice at once; a key added while it runs runs again afterwards; failures come back with backoff
 * (5 ms doubling to 1000 s as client-go's default, reset by success). Jobs run on the pool, at most `workers` at once.
 * Bounded by its keys: an entry lives while its key is ready, running, delayed or failing.
 * Source: k8s.io/client-go util/workqueue (behaviour).
 * Thread: any.
 */
#include "lib/ctx.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct queue;

/* One level-triggered pass. ctx has an arena freed after the call and the queue's deadline.
 * *ret_again_ms starts at -1: look again only when something changes; >= 0: in that many ms, unless a pass comes
 * earlier, which then decides anew. A failure (conflicts apart) is logged by the queue (once a key and message) and comes back with backoff. */
typedef int queue_reconcile_fn(void *arg, struct ctx *ctx, const char *key, int64_t *ret_again_ms, struct err *err);

struct queue_options {
    const char *name;
    struct pool *pool;
    struct loop *loop; /* for delays */
    const struct clock *clock;
    int workers;          /* 0: 2 */
    int64_t deadline_ms;  /* of one pass; 0: 60 s */
    int64_t backoff_max_ms; /* 0: 1,000,000 */
    const struct user *user; /* whose identity ctx carries; NULL allowed */
};

/* pool and loop outlive the queue. */
struct queue *queue_new(const struct queue_options *options, queue_reconcile_fn *fn, void *arg);
void queue_add(struct queue *q, const char *key);
void queue_add_after(struct queue *q, const char *key, int64_t after_ms); /* the earlier of several wins */
/* No new passes; cancels and waits for the running ones. Not from a pass of its own, nor from the loop. Adding does nothing afterwards. */
void queue_stop(struct queue *q);
void queue_free(struct queue *q); /* stops first; NULL allowed */

struct queue_stats {
    size_t waiting, delayed, running;
    int64_t done, failed;
};
void queue_stats(struct queue *q, struct queue_stats *ret);

#endif
