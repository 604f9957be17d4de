#ifndef AGENT_PODS_NODE_H
#define AGENT_PODS_NODE_H
/*
 * node - the Node object of this machine: registered, its status reported, its lease renewed.
 *
 * Status is looked at every 10 s and sent when it changed, else every 5 minutes; the lease every 10 s (40 s long). A deleted Node registers again.
 * Layer:  agent/. Thread: any; open and close from one thread, not a pool worker.
 * Source: Kubernetes "Nodes" and "Leases"; upstream's pkg/kubelet/nodestatus for reasons; K3s for annotations.
 */
#include "agent/agent.h"
#include "agent/images/images.h"
#include "agent/runtime/runtime.h"
#include "lib/k8s/event.h"
#include "lib/k8s/informer.h"

struct node;

struct node_options {
    const struct agent_options *agent; /* outlives the node */
    struct client *client;
    struct informers *informers; /* the Node handler is added by node_open */
    struct events *events;
    struct runtime *runtime;
    struct images *images;
    /* The node's pod range is known: make the network; once, on a pool worker, repeated with backoff while it fails. Sets the annotations (name, value, …, NULL;
     * in ctx->arena) that tell other nodes of it; NULL: none. */
    int (*on_pod_cidr)(void *arg, struct ctx *ctx, const char *pod_cidr, const char *const **ret_annotations, struct err *err);
    void *arg;
};
CHECK_RC int node_open(const struct node_options *options, struct node **ret, struct err *err);
void node_start(struct node *n); /* begins to register */
void node_close(struct node *n); /* after informers_stop; NULL allowed */
/* status.allocatable of this machine. Owner: the caller. */
json_t *node_allocatable(const struct agent_options *agent);

#endif
