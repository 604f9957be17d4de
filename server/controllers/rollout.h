#ifndef SERVER_CONTROLLERS_ROLLOUT_H
#define SERVER_CONTROLLERS_ROLLOUT_H
/*
 * rollout - how far a Deployment's replica sets are moved in one pass. Pure.
 * Source: upstream deployment controller (rolling.go, proportional scaling, recreate).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rollout_set {
    int64_t replicas, ready, available, pods; /* spec.replicas; status */
    int64_t created_s;
    int64_t want; /* result: new spec.replicas */
};

struct rollout {
    bool recreate, paused;
    int64_t replicas, max_surge, max_unavailable; /* resolved numbers */
};

/* "25%" or a number against total; up: rounded up (surge), else down. */
int64_t rollout_number(const char *percent, int64_t number, int64_t total, bool up);
/* Both resolve to zero: one may be unavailable, else nothing could move. */
void rollout_resolve(struct rollout *r);
/* Fills `want` of the new set (NULL: not there yet) and the old ones. */
void rollout_plan(const struct rollout *r, struct rollout_set *new_set, struct rollout_set *old, size_t n_old);

#endif
