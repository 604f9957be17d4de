#include "lib/pool.h"

#include "lib/mem.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
    POOL_STACK_BYTES = 512 * 1024,
    POOL_IDLE_MS = 10000,
    POOL_THREADS_MAX = 256,
    POOL_QUEUE_MAX = 65536,
    JOBS_KEPT = 256,
};

struct job {
    void (*fn)(void *arg);
    void *arg;
    struct pool_family *family; /* NULL: none */
};

/* A ring. */
struct jobs {
    struct job *at;
    size_t head, n, cap;
};

/* On its thread's stack. */
struct worker {
    struct pool *pool;
    struct worker *next_idle;
    pthread_cond_t woken_cond;
    bool woken;
    int wait_depth; /* pool_wait_begin may nest */
};

/*
 * Invariants, whenever the lock is free:
 *   running <= permits; a permit that comes free goes to a thread in `resuming` first, then to a queued job;
 *   jobs are queued only while permits are all taken, or threads are on their way (`starting`), or threads_max is reached.
 */
struct pool {
    pthread_mutex_t lock; /* guards everything here and in the families */
    pthread_cond_t resume; /* resume_grants > 0 */
    pthread_cond_t ended;  /* a thread ended, or a family has nothing left */
    struct jobs queue;
    size_t queue_max;
    int permits, threads_max, idle_ms;
    int threads;
    int running;       /* hold a permit */
    int waiting;       /* between pool_wait_begin and _end */
    int starting;      /* woken or new, and not yet looked at the queue */
    int resuming;      /* back from a wait, without a permit yet */
    int resume_grants; /* permits (counted in running) that resuming threads may pick up */
    struct worker *idle; /* the latest first: the others reach their idle_ms */
    bool closing;
    bool has_ended_thread; /* the last thread that ended, to be joined by the next or by pool_free */
    pthread_t ended_thread;
};

struct pool_family {
    struct pool *pool;
    char *name;
    int max, running; /* `running`: in the pool's queue or on a thread */
    struct jobs list;
};

/* The worker this thread is, for pool_wait_begin, which is called far from any struct pool. */
static _Thread_local struct worker *this_worker;

static void jobs_push(struct jobs *q, struct job job)
{
    if (q->n == q->cap) {
        size_t cap = q->cap ? 2 * q->cap : 32;
        struct job *at = mem_alloc(cap * sizeof(*at));

        for (size_t i = 0; i < q->n; i++)
            at[i] = q->at[(q->head + i) & (q->cap - 1)];
        free(q->at);
        *q = (struct jobs){ .at = at, .n = q->n, .cap = cap };
    }
    q->at[(q->head + q->n++) & (q->cap - 1)] = job;
}

static struct job jobs_pop(struct jobs *q)
{
    struct job job = q->at[q->head];

    q->head = (q->head + 1) & (q->cap - 1);
    if (--q->n == 0 && q->cap > JOBS_KEPT) {
        free(q->at); /* a burst is over */
        *q = (struct jobs){ 0 };
    }
    return job;
}

/* All below is called with the lock held, except where a thread runs. */

static void *worker_main(void *arg);

static bool start_thread(struct pool *p)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;

    sigfillset(&all); /* signals belong to the main thread */
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
    pthread_attr_setsigmask_np(&attr, &all);
    bool ok = pthread_create(&thread, &attr, worker_main, p) == 0;
    pthread_attr_destroy(&attr);
    return ok;
}

/* Brings as many threads as there are permits for what is queued. */
static void kick(struct pool *p)
{
    while (p->queue.n > (size_t)p->starting && p->running + p->resuming - p->resume_grants + p->starting < p->permits) {
        struct worker *w = p->idle;

        if (w) {
            p->idle = w->next_idle;
            w->woken = true;
            pthread_cond_signal(&w->woken_cond);
        } else if (p->threads < p->threads_max && start_thread(p)) {
            p->threads++;
        } else {
            return; /* those that run or wait come back to the queue */
        }
        p->starting++;
    }
}

/* This thread's permit is free. */
static void give_permit(struct pool *p)
{
    if (p->resuming > p->resume_grants) {
        p->resume_grants++;
        pthread_cond_signal(&p->resume);
        return;
    }
    p->running--;
}

static bool take_permit(struct pool *p)
{
    if (p->running >= p->permits || p->resuming > p->resume_grants)
        return false;
    p->running++;
    return true;
}

static void family_job_done(struct pool_family *f)
{
    struct pool *p = f->pool;

    f->running--;
    if (f->list.n > 0 && f->running < f->max) {
        f->running++;
        jobs_push(&p->queue, jobs_pop(&f->list));
    }
    if (f->running == 0)
        pthread_cond_broadcast(&p->ended);
}

static void run_jobs(struct pool *p)
{
    while (p->queue.n > 0 && take_permit(p)) {
        struct job job = jobs_pop(&p->queue);

        pthread_mutex_unlock(&p->lock);
        job.fn(job.arg);
        assert(this_worker->wait_depth == 0);
        pthread_mutex_lock(&p->lock);
        give_permit(p);
        if (job.family)
            family_job_done(job.family);
    }
}

/* Waits for work. false: none came for idle_ms, or the pool closes. */
static bool wait_idle(struct pool *p, struct worker *w)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += p->idle_ms / 1000;
    until.tv_nsec += p->idle_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    w->woken = false;
    w->next_idle = p->idle;
    p->idle = w;
    while (!w->woken && !p->closing) {
        if (pthread_cond_clockwait(&w->woken_cond, &p->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            break;
    }
    if (w->woken)
        return true;
    struct worker **at = &p->idle;
    while (*at != w)
        at = &(*at)->next_idle;
    *at = w->next_idle;
    return false;
}

/* A thread that ends joins the one that ended before it, so none is left unjoined but the last. */
static void end_thread(struct pool *p)
{
    bool join = p->has_ended_thread, trim = p->running == 0 && p->queue.n == 0 && !p->closing;
    pthread_t before = p->ended_thread;

    p->has_ended_thread = true;
    p->ended_thread = pthread_self();
    pthread_mutex_unlock(&p->lock);
    if (join)
        pthread_join(before, NULL);
    if (trim)
        malloc_trim(64 * 1024);
    pthread_mutex_lock(&p->lock);
    p->threads--;
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct pool *p = arg;
    struct worker self = { .pool = p, .woken_cond = PTHREAD_COND_INITIALIZER };

    this_worker = &self;
    pthread_setname_np(pthread_self(), "worker");
    pthread_mutex_lock(&p->lock);
    do {
        p->starting--;
        run_jobs(p);
    } while (!(p->closing && p->queue.n == 0) && wait_idle(p, &self));
    pthread_cond_destroy(&self.woken_cond);
    end_thread(p);
    return NULL;
}

/* The interface. */

int pool_new(const struct pool_options *options, struct pool **ret, struct err *err)
{
    struct pool *p = MEM_NEW(struct pool);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    p->permits = options && options->permits > 0 ? options->permits : (int)(cores > 0 ? cores : 1) + 2;
    p->threads_max = options && options->threads_max > 0 ? options->threads_max : POOL_THREADS_MAX;
    p->queue_max = options && options->queue_max > 0 ? options->queue_max : POOL_QUEUE_MAX;
    p->idle_ms = options && options->idle_ms > 0 ? options->idle_ms : POOL_IDLE_MS;
    int rc = pthread_mutex_init(&p->lock, NULL);
    if (rc) {
        free(p);
        return err_sys(err, rc, "make a thread pool");
    }
    pthread_cond_init(&p->resume, NULL);
    pthread_cond_init(&p->ended, NULL);
    *ret = p;
    return 0;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    assert(!this_worker || this_worker->pool != p);
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    for (struct worker *w = p->idle; w; w = w->next_idle)
        pthread_cond_signal(&w->woken_cond);
    while (p->threads > 0)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
    assert(p->queue.n == 0 && p->running == 0);
    if (p->has_ended_thread)
        pthread_join(p->ended_thread, NULL);
    free(p->queue.at);
    pthread_cond_destroy(&p->resume);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static int submit(struct pool *p, struct job job, struct err *err)
{
    if (p->closing)
        return err_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    if (p->queue.n >= p->queue_max)
        return err_set(err, ERR_UNAVAILABLE, "too much work is queued (%zu jobs)", p->queue.n);
    jobs_push(&p->queue, job);
    kick(p);
    if (p->threads > 0)
        return 0;
    p->queue.n--; /* the one just pushed is the last */
    return err_set(err, ERR_UNAVAILABLE, "no thread can be started");
}

int pool_run(struct pool *p, void (*fn)(void *arg), void *arg, struct err *err)
{
    LOCK_SCOPE(&p->lock);
    return submit(p, (struct job){ fn, arg, NULL }, err);
}

struct pool_family *pool_family_new(struct pool *p, const char *name, int max)
{
    struct pool_family *f = MEM_NEW(struct pool_family);

    assert(max > 0);
    f->pool = p;
    f->name = mem_strdup(name);
    f->max = max;
    return f;
}

int pool_family_run(struct pool_family *f, void (*fn)(void *arg), void *arg, struct err *err)
{
    struct pool *p = f->pool;
    struct job job = { fn, arg, f };

    LOCK_SCOPE(&p->lock);
    if (f->running < f->max) {
        int rc = submit(p, job, err);

        if (rc == 0)
            f->running++;
        return rc < 0 ? err_wrap(err, "%s", f->name) : 0;
    }
    if (p->closing)
        return err_set(err, ERR_UNAVAILABLE, "%s: the server is shutting down", f->name);
    if (f->list.n >= p->queue_max)
        return err_set(err, ERR_UNAVAILABLE, "%s: too much work is queued (%zu jobs)", f->name, f->list.n);
    jobs_push(&f->list, job);
    return 0;
}

void pool_family_free(struct pool_family *f)
{
    if (!f)
        return;
    struct pool *p = f->pool;

    pool_wait_begin();
    pthread_mutex_lock(&p->lock);
    while (f->running > 0)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pool_wait_end();
    free(f->list.at);
    free(f->name);
    free(f);
}

void pool_wait_begin(void)
{
    struct worker *w = this_worker;

    if (!w || w->wait_depth++ > 0)
        return;
    LOCK_SCOPE(&w->pool->lock);
    w->pool->waiting++;
    give_permit(w->pool);
    kick(w->pool);
}

void pool_wait_end(void)
{
    struct worker *w = this_worker;

    if (!w)
        return;
    assert(w->wait_depth > 0);
    if (--w->wait_depth > 0)
        return;
    struct pool *p = w->pool;
    LOCK_SCOPE(&p->lock);
    p->waiting--;
    if (take_permit(p))
        return;
    p->resuming++;
    while (p->resume_grants == 0)
        pthread_cond_wait(&p->resume, &p->lock);
    p->resume_grants--;
    p->resuming--;
}

void pool_stats(struct pool *p, struct pool_stats *ret)
{
    LOCK_SCOPE(&p->lock);
    *ret = (struct pool_stats){ .threads = p->threads, .running = p->running, .waiting = p->waiting, .queued = p->queue.n };
}
