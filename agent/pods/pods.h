#ifndef AGENT_PODS_PODS_H
#define AGENT_PODS_PODS_H
/*
 * pods - the pod life cycle on one node: what should run (the API's pods with this node's name) against what runs.
 *
 * One reconcile pass a pod (key: its uid) observes, plans (plan.h), takes bounded steps and patches the status; pulls, hooks, probes, exits and grace
 * periods are events that bring another pass. After a restart of the agent the same pass finds state again in the API, on disk and from the shims.
 * Limits: 64 containers a pod; PLAN_STEPS_MAX steps a pass.
 * Layer:  agent/. Thread: any; open and close from one thread, not a pool worker.
 */
#include "agent/images/images.h"
#include "agent/network/network.h"
#include "agent/pods/env.h"
#include "agent/pods/kubelet_api.h"
#include "agent/runtime/runtime.h"
#include "agent/volumes/volumes.h"
#include "lib/k8s/event.h"
#include "lib/k8s/informer.h"

struct pods;

struct pods_options {
    const char *data_dir; /* <data-dir>/agent */
    const char *log_dir;  /* "/var/log/pods"; links in ../containers */
    const char *instance;
    const char *node_name;
    const char *const *node_ips; /* end with NULL */
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    struct client *client;
    struct informers *informers; /* the pod handler is added by pods_open, before informers_start */
    struct events *events;
    struct runtime *runtime;
    struct images *images;
    struct volumes *volumes;
    struct pod_env *env;
};
CHECK_RC int pods_open(const struct pods_options *options, struct pods **ret, struct err *err);
/* Ends passes and jobs (after informers_stop; blocks until they are back); events of the runtime may still come. NULL allowed. */
void pods_stop(struct pods *p);
/* Stops first. Containers go on. NULL allowed. */
void pods_close(struct pods *p);

/* From here on sandboxes can be made; pods that wait for it go on. */
void pods_set_network(struct pods *p, struct network *n);
/* Allocatable resources of the node (a tree like node.status.allocatable), for admission and resourceFieldRef. Copies. */
void pods_set_allocatable(struct pods *p, const json_t *allocatable);
void pods_set_api(struct pods *p, struct kubelet_api *api); /* told of ended containers; NULL: none */
/* Pods found on this node by runtime_recover; those the API does not know when its list is there are torn down. */
void pods_recovered(struct pods *p, char *const *uids, size_t n);
/* From the runtime's on_event. */
void pods_on_runtime(struct pods *p, enum runtime_event_kind kind, const char *pod_uid, const char *container_id);
/* What the kubelet endpoint asks. Valid while p is open. */
struct kubelet_world pods_world(struct pods *p);

#endif
