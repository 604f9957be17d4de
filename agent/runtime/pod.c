#include "agent/runtime/runtime_int.h"

#include "lib/log.h"
#include "lib/mem.h"

#include <assert.h>
#include <string.h>

enum { RETRY_MS = 50 };

static void free_containers(struct pod *p)
{
    struct runtime_container *next;

    for (struct runtime_container *c = p->containers; c; c = next) {
        next = c->next;
        free(c);
    }
}

struct pod *pod_ref(struct pod *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void pod_unref(struct pod *p)
{
    struct pod_event *next;

    if (!p || atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    assert(!p->link);
    free_containers(p);
    for (struct pod_event *e = p->events; e; e = next) {
        next = e->next;
        free(e);
    }
    free(p->ns);
    free(p->name);
    free(p->hostname);
    free(p->cgroup);
    free(p);
}

int pod_check_uid(const char *uid, struct err *err)
{
    size_t n = strlen(uid);

    if (n == 0 || n > UID_MAX_BYTES || uid[0] == '.' || uid[0] == '-' || strchr(uid, '/'))
        return err_set(err, ERR_INVALID, "pod uid \"%.80s\" cannot name a folder", uid);
    return 0;
}

int pod_find(struct runtime *rt, const char *uid, struct pod **ret, struct err *err)
{
    LOCK_SCOPE(&rt->lock);
    struct pod *p = map_get(rt->pods, uid);

    if (!p)
        return err_set(err, ERR_NOT_FOUND, "pod %s has no sandbox", uid);
    *ret = pod_ref(p);
    return 0;
}

struct pod *pod_make(struct runtime *rt, const char *uid)
{
    LOCK_SCOPE(&rt->lock);
    struct pod *p = map_get(rt->pods, uid);

    if (!p) {
        p = MEM_NEW(struct pod);
        p->refs = 1; /* the map's */
        p->rt = rt;
        memcpy(p->uid, uid, strlen(uid) + 1);
        p->events_end = &p->events;
        map_set(rt->pods, uid, p);
    }
    return pod_ref(p);
}

void pod_forget(struct pod *p)
{
    pthread_mutex_lock(&p->rt->lock);
    bool mine = map_get(p->rt->pods, p->uid) == p;
    if (mine)
        map_take(p->rt->pods, p->uid);
    pthread_mutex_unlock(&p->rt->lock);
    if (mine)
        pod_unref(p);
}

int pod_claim(struct pod *p, struct err *err)
{
    LOCK_SCOPE(&p->rt->lock);

    if (p->busy || p->rt->closing)
        return err_set(err, ERR_CONFLICT, "pod %s: its sandbox is being started or removed", p->uid);
    p->busy = true;
    return 0;
}

void pod_release(struct pod *p)
{
    LOCK_SCOPE(&p->rt->lock);
    p->busy = false;
}

struct runtime_container *pod_container(struct pod *p, const char *id)
{
    for (struct runtime_container *c = p->containers; c; c = c->next)
        if (strcmp(c->at.id, id) == 0)
            return c;
    return NULL;
}

struct runtime_container *pod_container_add(struct pod *p, const struct container *at)
{
    struct runtime_container *c = MEM_NEW(struct runtime_container);

    c->at = *at;
    c->next = p->containers;
    p->containers = c;
    return c;
}

void pod_container_drop(struct pod *p, const char *id)
{
    for (struct runtime_container **at = &p->containers; *at; at = &(*at)->next) {
        struct runtime_container *c = *at;
        if (strcmp(c->at.id, id) != 0)
            continue;
        *at = c->next;
        free(c);
        return;
    }
}

/* Jobs. */

void pod_job_end(struct pod *p)
{
    struct runtime *rt = p->rt;

    pod_unref(p);
    pthread_mutex_lock(&rt->lock);
    if (--rt->jobs == 0)
        pthread_cond_broadcast(&rt->idle);
    pthread_mutex_unlock(&rt->lock);
}

struct job {
    struct pod *pod;
    void (*fn)(void *pod);
};

static void run_job(void *arg)
{
    struct job *j = arg;
    struct pod *p = j->pod;

    j->fn(p);
    free(j);
    pod_job_end(p);
}

/* When the pool is full the loop tries again: these jobs may not be lost. */
static void submit(void *arg)
{
    struct job *j = arg;
    struct err err = { 0 };

    if (pool_run(j->pod->rt->pool, run_job, j, &err) < 0)
        loop_timer_start(j->pod->rt->loop, RETRY_MS, submit, j);
}

void pod_job(struct pod *p, void (*fn)(void *pod))
{
    struct job *j = MEM_NEW(struct job);

    *j = (struct job){ .pod = pod_ref(p), .fn = fn };
    pthread_mutex_lock(&p->rt->lock);
    p->rt->jobs++;
    pthread_mutex_unlock(&p->rt->lock);
    submit(j);
}

/* Events. */

static struct pod_event *next_event(struct pod *p)
{
    LOCK_SCOPE(&p->rt->lock);
    struct pod_event *e = p->events;

    if (!e || p->rt->closing) {
        p->delivering = false;
        return NULL;
    }
    p->events = e->next;
    if (!p->events)
        p->events_end = &p->events;
    return e;
}

static void deliver(void *arg)
{
    struct pod *p = arg;

    for (struct pod_event *e; (e = next_event(p));) {
        p->rt->on_event(p->rt->arg, e->kind, p->uid, e->id);
        free(e);
    }
}

void pod_event(struct pod *p, enum runtime_event_kind kind, const char *id)
{
    struct pod_event *e = MEM_NEW(struct pod_event);

    if (!p->rt->on_event) {
        free(e);
        return;
    }
    e->kind = kind;
    strncpy(e->id, id, sizeof(e->id) - 1);
    pthread_mutex_lock(&p->rt->lock);
    *p->events_end = e;
    p->events_end = &e->next;
    bool start = !p->delivering;
    p->delivering = true;
    pthread_mutex_unlock(&p->rt->lock);
    if (start)
        pod_job(p, deliver);
}
