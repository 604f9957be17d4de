/* Expectations: what a pass asked for and its informer has not shown yet. */
#include "server/controllers/ctl.h"

enum { FORGET_MS = 300000 }; /* a lost event must not stop a controller for ever */

struct entry {
    int creations, deletions;
    int64_t at_ms;
};

struct expect {
    pthread_mutex_t lock;
    struct map *at;
};

struct expect *expect_new(void)
{
    struct expect *e = MEM_NEW(struct expect);

    pthread_mutex_init(&e->lock, NULL);
    e->at = map_new(free);
    return e;
}

void expect_free(struct expect *e)
{
    if (!e)
        return;
    map_free(e->at);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

bool expect_met(struct expect *e, const char *key, int64_t now_ms)
{
    LOCK_SCOPE(&e->lock);
    const struct entry *x = map_get(e->at, key);

    return !x || (x->creations <= 0 && x->deletions <= 0) || now_ms - x->at_ms > FORGET_MS;
}

void expect_add(struct expect *e, const char *key, int creations, int deletions, int64_t now_ms)
{
    LOCK_SCOPE(&e->lock);
    struct entry *x = map_get(e->at, key);

    if (!x) {
        x = MEM_NEW(struct entry);
        map_set(e->at, key, x);
    }
    x->creations = (x->creations > 0 ? x->creations : 0) + creations;
    x->deletions = (x->deletions > 0 ? x->deletions : 0) + deletions;
    x->at_ms = now_ms;
}

void expect_created(struct expect *e, const char *key)
{
    LOCK_SCOPE(&e->lock);
    struct entry *x = map_get(e->at, key);

    if (x)
        x->creations--;
}

void expect_deleted(struct expect *e, const char *key)
{
    LOCK_SCOPE(&e->lock);
    struct entry *x = map_get(e->at, key);

    if (x)
        x->deletions--;
}

void expect_forget(struct expect *e, const char *key)
{
    LOCK_SCOPE(&e->lock);

    map_del(e->at, key);
}
