#include "server/controllers/rollout.h"

#include <stdlib.h>

int64_t rollout_number(const char *percent, int64_t number, int64_t total, bool up)
{
    if (!percent)
        return number;
    int64_t p = strtoll(percent, NULL, 10);
    return up ? (p * total + 99) / 100 : p * total / 100;
}

void rollout_resolve(struct rollout *r)
{
    if (r->max_surge == 0 && r->max_unavailable == 0)
        r->max_unavailable = 1;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void plan_recreate(const struct rollout *r, struct rollout_set *new_set, struct rollout_set *old, size_t n)
{
    bool gone = true;

    for (size_t i = 0; i < n; i++) {
        old[i].want = 0;
        gone &= old[i].replicas == 0 && old[i].pods == 0;
    }
    if (new_set)
        new_set->want = gone ? r->replicas : new_set->replicas;
}

/* Sets that are being moved share a change of spec.replicas by their size, the largest first for what is left. */
static void plan_proportional(const struct rollout *r, struct rollout_set *new_set, struct rollout_set *old, size_t n, int64_t total)
{
    int64_t allowed = r->replicas > 0 ? r->replicas + r->max_surge : 0, add = allowed - total, given = 0;

    for (size_t i = 0; i <= n; i++) {
        struct rollout_set *s = i < n ? &old[i] : new_set;

        if (!s || s->replicas == 0 || total == 0)
            continue;
        int64_t share = s->replicas * add / total;
        s->want = most(0, s->replicas + share);
        given += share;
    }
    struct rollout_set *largest = new_set;
    for (size_t i = 0; i < n; i++)
        if (!largest || old[i].replicas > largest->replicas)
            largest = &old[i];
    if (largest)
        largest->want = most(0, largest->want + add - given);
}

static void plan_new(const struct rollout *r, struct rollout_set *new_set, int64_t total)
{
    if (new_set->replicas > r->replicas) {
        new_set->want = r->replicas;
        return;
    }
    int64_t room = r->replicas + r->max_surge - total;
    if (room > 0)
        new_set->want = new_set->replicas + least(room, r->replicas - new_set->replicas);
}

static int by_age(const void *a, const void *b)
{
    const struct rollout_set *const *x = a, *const *y = b;

    return (*x)->created_s < (*y)->created_s ? -1 : (*x)->created_s > (*y)->created_s;
}

static void plan_old(const struct rollout *r, const struct rollout_set *new_set, struct rollout_set *old, size_t n, int64_t total)
{
    struct rollout_set *order[64];
    int64_t available = new_set ? new_set->available : 0, new_unavailable = new_set ? new_set->replicas - new_set->available : 0;
    size_t k = n < 64 ? n : 64;

    for (size_t i = 0; i < n; i++)
        available += old[i].available;
    int64_t least_available = r->replicas - r->max_unavailable;
    int64_t may_go = total - least_available - new_unavailable;
    for (size_t i = 0; i < k; i++)
        order[i] = &old[i];
    qsort(order, k, sizeof(*order), by_age);

    /* those that never became available go first: they cost nothing */
    for (size_t i = 0; i < k && may_go > 0; i++) {
        int64_t sick = least(order[i]->replicas - order[i]->available, may_go);

        if (sick <= 0)
            continue;
        order[i]->want = order[i]->replicas - sick;
        may_go -= sick;
    }
    int64_t healthy = available - least_available;
    for (size_t i = 0; i < k && healthy > 0 && may_go > 0; i++) {
        int64_t n_go = least(least(order[i]->want, healthy), may_go);

        order[i]->want -= n_go;
        healthy -= n_go;
        may_go -= n_go;
    }
}

void rollout_plan(const struct rollout *r, struct rollout_set *new_set, struct rollout_set *old, size_t n_old)
{
    int64_t total = new_set ? new_set->replicas : 0, moving = new_set && new_set->replicas > 0;

    if (new_set)
        new_set->want = new_set->replicas;
    for (size_t i = 0; i < n_old; i++) {
        old[i].want = old[i].replicas;
        total += old[i].replicas;
        moving += old[i].replicas > 0;
    }
    if (r->paused) {
        if (moving > 1)
            plan_proportional(r, new_set, old, n_old, total);
        else if (new_set && new_set->replicas > 0)
            new_set->want = r->replicas;
        else if (moving == 1)
            for (size_t i = 0; i < n_old; i++)
                if (old[i].replicas > 0)
                    old[i].want = r->replicas;
        return;
    }
    if (r->recreate) {
        plan_recreate(r, new_set, old, n_old);
        return;
    }
    if (!new_set)
        return;
    plan_new(r, new_set, total);
    if (new_set->want == new_set->replicas)
        plan_old(r, new_set, old, n_old, total);
}
