#include "server/controllers/replicas.h"

#include <stdlib.h>
#include <string.h>

int replicas_plan(int64_t wanted, size_t active)
{
    int64_t diff = wanted - (int64_t)active;

    if (diff > REPLICAS_BURST)
        return REPLICAS_BURST;
    return diff < -REPLICAS_BURST ? -REPLICAS_BURST : (int)diff;
}

static int phase_rank(char phase)
{
    return phase == 'P' ? 0 : phase == 'U' ? 1 : 2;
}

/* Negative: a goes first. */
static int by_rank(const void *pa, const void *pb)
{
    const struct replica *a = pa, *b = pb;

    if (a->assigned != b->assigned)
        return a->assigned ? 1 : -1;
    if (phase_rank(a->phase) != phase_rank(b->phase))
        return phase_rank(a->phase) - phase_rank(b->phase);
    if (a->ready != b->ready)
        return a->ready ? 1 : -1;
    if (a->cost != b->cost)
        return a->cost < b->cost ? -1 : 1;
    if (a->doubled != b->doubled)
        return a->doubled ? -1 : 1;
    if (a->ready && a->ready_s != b->ready_s)
        return a->ready_s > b->ready_s ? -1 : 1;
    if (a->restarts != b->restarts)
        return a->restarts > b->restarts ? -1 : 1;
    if (a->created_s != b->created_s)
        return a->created_s > b->created_s ? -1 : 1;
    return strcmp(a->name, b->name);
}

void replicas_rank(struct replica *at, size_t n)
{
    qsort(at, n, sizeof(*at), by_rank);
}
