#ifndef SERVER_CONTROLLERS_REPLICAS_H
#define SERVER_CONTROLLERS_REPLICAS_H
/*
 * replicas - how many pods a ReplicaSet or ReplicationController makes or removes in one pass, and which go first. Pure.
 * Source: upstream replicaset controller (ranking of pods to delete, burst of 500 with slow start).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replica {
    const char *name;
    bool assigned, ready, doubled; /* doubled: its node has another one of ours */
    char phase;
    int restarts;
    int64_t ready_s, created_s;
    int64_t cost; /* controller.kubernetes.io/pod-deletion-cost */
};

enum { REPLICAS_BURST = 500 };

/* > 0: create so many; < 0: remove so many. */
int replicas_plan(int64_t wanted, size_t active);
/* Orders so that what is to be removed first stands first. */
void replicas_rank(struct replica *at, size_t n);

#endif
