#ifndef SERVER_SCHEDULER_SCHEDULER_H
#define SERVER_SCHEDULER_SCHEDULER_H
/*
 * scheduler - gives pods their nodes: filter, score, bind. Nodes in compact columns, pods as small structs (no trees kept).
 * Thread: start and stop from any one thread. Source: kube-scheduler 1.37's default profile.
 */
#include "lib/k8s/client.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct scheduler;

struct scheduler_options {
    struct client *client; /* as system:kube-scheduler; borrowed */
    struct pool *pool;
    struct loop *loop;
    const struct clock *clock;
};
CHECK_RC int scheduler_start(const struct scheduler_options *options, struct scheduler **ret, struct err *err);
bool scheduler_ready(struct scheduler *s); /* it has seen all pods and nodes */
void scheduler_stop(struct scheduler *s); /* NULL allowed; nothing runs afterwards */

#endif
