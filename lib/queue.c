#include "lib/queue.h"

#include "lib/due.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/mem.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

enum {
    QUEUE_WORKERS = 2,
    QUEUE_DEADLINE_MS = 60000,
    BACKOFF_FIRST_MS = 5,
    BACKOFF_MAX_MS = 1000000,
    POOL_FULL_RETRY_MS = 100,
};

/* A key that is ready, running, delayed or failing; it goes with the last of these. */
struct entry {
    struct due_node due; /* first: the heap gives it back */
    struct entry *next_ready;
    bool ready, running;
    bool again;     /* added while it ran */
    bool own_delay; /* the delay is the last pass's wish or its backoff: the next pass decides anew */
    int failures;   /* in a row */
    uint64_t told;  /* hash of the failure logged last */
    char key[];
};

/*
 * Invariants, whenever the lock is free:
 *   an entry is in the ready list or running, never both; a running one that was added has `again`;
 *   entries are ready only while `jobs` == workers, or the timer is armed to try the pool again, or the queue stops;
 *   the timer is armed no later than the first delay.
 */
struct queue {
    struct queue_options o;
    char *name;
    queue_reconcile_fn *fn;
    void *arg;
    struct ctx_cancel cancel;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t quiet; /* a job or the timer's callback is through */
    struct map *entries;
    struct entry *first_ready, **last_ready;
    size_t n_ready, n_running;
    struct due delayed;
    struct loop_timer *timer; /* NULL: not armed, or its callback has the lock */
    int64_t timer_ms;
    int jobs; /* of ours in the pool */
    bool stopped;
    int64_t done, failed;
};

static int64_t now_ms(const struct queue *q)
{
    return clock_mono_ms(q->o.clock);
}

/* All from here to the interface is called with the lock held, except what runs as job or timer. */

static struct entry *entry_of(struct queue *q, const char *key)
{
    struct entry *e = map_get(q->entries, key);

    if (!e) {
        size_t n = strlen(key) + 1;

        e = mem_zalloc(sizeof(*e) + n);
        memcpy(e->key, key, n);
        map_set(q->entries, key, e);
    }
    return e;
}

static void forget_if_done(struct queue *q, struct entry *e)
{
    if (!e->ready && !e->running && !due_waits(&e->due))
        map_del(q->entries, e->key);
}

static void push_ready(struct queue *q, struct entry *e)
{
    if (e->ready)
        return;
    if (e->running) {
        e->again = true;
        return;
    }
    e->ready = true;
    e->next_ready = NULL;
    *q->last_ready = e;
    q->last_ready = &e->next_ready;
    q->n_ready++;
}

static struct entry *pop_ready(struct queue *q)
{
    struct entry *e = q->first_ready;

    q->first_ready = e->next_ready;
    if (!q->first_ready)
        q->last_ready = &q->first_ready;
    e->ready = false;
    q->n_ready--;
    return e;
}

static void on_timer(void *arg);

static void arm(struct queue *q, int64_t at_ms)
{
    if (q->timer) {
        if (q->timer_ms <= at_ms || !loop_timer_cancel(q->timer))
            return; /* early enough, or about to run: it arms itself again */
    }
    q->timer_ms = at_ms;
    q->timer = loop_timer_start(q->o.loop, at_ms - now_ms(q), on_timer, q);
}

/* `own`: a wish of the pass itself. The earlier of several delays wins; one from outside outlives the next pass. */
static void delay(struct queue *q, struct entry *e, int64_t after_ms, bool own)
{
    int64_t now = now_ms(q), at_ms = after_ms < INT64_MAX / 2 - now ? now + after_ms : INT64_MAX / 2;

    e->own_delay = own && (!due_waits(&e->due) || e->own_delay);
    if (due_waits(&e->due)) {
        if (e->due.at_ms <= at_ms)
            return;
        due_remove(&q->delayed, &e->due);
    }
    due_add(&q->delayed, &e->due, at_ms);
    arm(q, due_first(&q->delayed)->at_ms);
}

static void on_job(void *arg);

/* Brings jobs for what is ready. */
static void dispatch(struct queue *q)
{
    struct err err = { 0 };

    while (!q->stopped && (size_t)q->jobs < q->n_ready + q->n_running && q->jobs < q->o.workers) {
        if (pool_run(q->o.pool, on_job, q, &err) < 0) {
            if (q->jobs == 0)
                arm(q, now_ms(q) + POOL_FULL_RETRY_MS); /* else the job under way goes on to the next key */
            return;
        }
        q->jobs++;
    }
}

static void on_timer(void *arg)
{
    struct queue *q = arg;
    int64_t now = now_ms(q);
    LOCK_SCOPE(&q->lock);

    q->timer = NULL;
    if (q->stopped) {
        pthread_cond_broadcast(&q->quiet);
        return;
    }
    for (struct due_node *first; (first = due_first(&q->delayed)) && first->at_ms <= now;) {
        due_remove(&q->delayed, first);
        push_ready(q, (struct entry *)first);
    }
    if (due_first(&q->delayed))
        arm(q, due_first(&q->delayed)->at_ms);
    dispatch(q);
}

static int64_t backoff_ms(const struct queue *q, int failures)
{
    int64_t ms = BACKOFF_FIRST_MS;

    for (int i = 1; i < failures && ms < q->o.backoff_max_ms; i++)
        ms *= 2;
    return ms < q->o.backoff_max_ms ? ms : q->o.backoff_max_ms;
}

static uint64_t hash_text(const char *s)
{
    uint64_t h = 1469598103934665603u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

/* Whether this failure is news; a conflict is none: someone was faster, and the next pass sees it. */
static bool worth_telling(struct entry *e, const struct err *err)
{
    uint64_t h = hash_text(err->msg);

    if (e->failures > 1 && e->told == h)
        return false;
    e->told = h;
    return err->code != ERR_CONFLICT;
}

/* What comes of a pass. Returns whether to log the failure. */
static bool after_pass(struct queue *q, struct entry *e, int rc, int64_t again_ms, const struct err *err)
{
    bool tell = false;

    e->running = false;
    q->n_running--;
    q->done++;
    if (rc < 0 && !q->stopped) {
        q->failed++;
        e->failures++;
        tell = worth_telling(e, err);
        delay(q, e, backoff_ms(q, e->failures), true);
    } else if (rc == 0) {
        e->failures = 0;
        if (again_ms >= 0 && !q->stopped)
            delay(q, e, again_ms, true);
    }
    if (e->again && !q->stopped)
        push_ready(q, e);
    e->again = false;
    return tell;
}

/* One pass over a key, without the lock. */
static int pass(struct queue *q, const char *key, int64_t *ret_again_ms, struct err *err)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx ctx = { .clock = q->o.clock, .deadline_ms = now_ms(q) + q->o.deadline_ms, .cancel = &q->cancel,
                       .user = q->o.user, .arena = arena, .request_id = "" };

    return q->fn(q->arg, &ctx, key, ret_again_ms, err);
}

static void run_next(struct queue *q)
{
    struct entry *e = pop_ready(q);
    struct err err = { 0 };
    int64_t again_ms = -1;

    e->running = true;
    q->n_running++;
    if (e->own_delay)
        due_remove(&q->delayed, &e->due);
    pthread_mutex_unlock(&q->lock);
    int rc = pass(q, e->key, &again_ms, &err); /* the entry stays: it is running */
    pthread_mutex_lock(&q->lock);
    if (after_pass(q, e, rc, again_ms, &err)) {
        /* Beside the lock; the entry is delayed, but another job may run it and be done with it. */
        AUTO_FREE char *key = mem_strdup(e->key);
        pthread_mutex_unlock(&q->lock);
        log_warn("reconcile failed", "queue=%s key=%s error=%s", log_q(q->name), log_q(key), log_q(err.msg));
        pthread_mutex_lock(&q->lock);
        return;
    }
    forget_if_done(q, e);
}

/* One key a job, so that queues take turns; when the pool is full the job goes on itself. */
static void on_job(void *arg)
{
    struct queue *q = arg;
    struct err err = { 0 };
    LOCK_SCOPE(&q->lock);

    while (q->n_ready > 0 && !q->stopped) {
        run_next(q);
        if (q->n_ready > 0 && !q->stopped && pool_run(q->o.pool, on_job, q, &err) == 0)
            return; /* it takes this job's place in `jobs` */
    }
    q->jobs--;
    if (q->jobs == 0)
        pthread_cond_broadcast(&q->quiet);
}

/* The interface. */

struct queue *queue_new(const struct queue_options *options, queue_reconcile_fn *fn, void *arg)
{
    struct queue *q = MEM_NEW(struct queue);

    q->o = *options;
    q->name = mem_strdup(options->name);
    q->fn = fn;
    q->arg = arg;
    if (q->o.workers <= 0)
        q->o.workers = QUEUE_WORKERS;
    if (q->o.deadline_ms <= 0)
        q->o.deadline_ms = QUEUE_DEADLINE_MS;
    if (q->o.backoff_max_ms <= 0)
        q->o.backoff_max_ms = BACKOFF_MAX_MS;
    if (!q->o.clock)
        q->o.clock = &clock_system;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->quiet, NULL);
    q->entries = map_new(free);
    q->last_ready = &q->first_ready;
    return q;
}

void queue_add(struct queue *q, const char *key)
{
    LOCK_SCOPE(&q->lock);
    if (q->stopped)
        return;
    push_ready(q, entry_of(q, key));
    dispatch(q);
}

void queue_add_after(struct queue *q, const char *key, int64_t after_ms)
{
    if (after_ms <= 0) {
        queue_add(q, key);
        return;
    }
    LOCK_SCOPE(&q->lock);
    if (!q->stopped)
        delay(q, entry_of(q, key), after_ms, false);
}

void queue_stop(struct queue *q)
{
    atomic_store(&q->cancel.set, true);
    pool_wait_begin();
    pthread_mutex_lock(&q->lock);
    q->stopped = true;
    if (q->timer && loop_timer_cancel(q->timer))
        q->timer = NULL;
    while (q->jobs > 0 || q->timer)
        pthread_cond_wait(&q->quiet, &q->lock);
    pthread_mutex_unlock(&q->lock);
    pool_wait_end();
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    queue_stop(q);
    due_clear(&q->delayed);
    map_free(q->entries);
    pthread_cond_destroy(&q->quiet);
    pthread_mutex_destroy(&q->lock);
    free(q->name);
    free(q);
}

void queue_stats(struct queue *q, struct queue_stats *ret)
{
    LOCK_SCOPE(&q->lock);
    *ret = (struct queue_stats){ .waiting = q->n_ready, .delayed = q->delayed.n, .running = q->n_running,
                                 .done = q->done, .failed = q->failed };
}
