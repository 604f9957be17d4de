#ifndef SERVER_CONTROLLERS_CTL_H
#define SERVER_CONTROLLERS_CTL_H
/*
 * ctl - what the controllers share: their set, one entry each, the index of pods, small calls.
 *
 * A controller is a struct ctl_def in the table of controllers.c: `start` adds its informer handlers, `reconcile` is one level-triggered pass.
 * Thread: handlers on a pool worker (one at a time per resource), reconcile on the controller's queue.
 */
#include "lib/k8s/event.h"
#include "lib/k8s/informer.h"
#include "lib/k8s/meta.h"
#include "lib/k8s/selector.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/queue.h"
#include "server/controllers/controllers.h"
#include "server/controllers/pod_index.h"

struct ctl;

struct ctl_def {
    const char *name, *account;
    int workers; /* 0: 2 */
    void (*start)(struct ctl *c);
    queue_reconcile_fn *reconcile; /* arg is the struct ctl */
    void (*stop)(struct ctl *c); /* frees c->state; NULL allowed */
};

struct ctl {
    const struct ctl_def *def;
    struct controllers *all;
    struct client *client;
    struct queue *queue;
    struct events *events;
    void *state; /* the controller's own */
};

struct controllers {
    struct controllers_options o;
    struct informers *informers;
    struct pod_index *pods;
    struct ctl *at;
    size_t n;
};

extern const struct ctl_def ctl_namespace, ctl_service_account, ctl_root_ca, ctl_node_ipam, ctl_node_lifecycle, ctl_replicaset,
    ctl_replication, ctl_deployment, ctl_endpoints, ctl_endpoint_slice, ctl_garbage, ctl_pod_gc, ctl_node_role, ctl_role_aggregation;

/* Adds a handler whose arg is c. labels NULL: all. */
void ctl_watch(struct ctl *c, const char *group, const char *version, const char *resource, const struct informer_handler *h);
/* Handlers that put the object's own key into the queue. */
extern const struct informer_handler ctl_enqueue_self;
void ctl_add(struct ctl *c, const json_t *object);
/* Puts ns/name of the controlling owner of `kind` into the queue. */
void ctl_add_owner(struct ctl *c, const json_t *object, const char *kind);
/* GET by key; *ret NULL and success when it is absent. */
CHECK_RC int ctl_get(struct ctx *ctx, struct ctl *c, const char *group, const char *version, const char *resource, const char *key,
                     json_t **ret, struct err *err);
/* Success of deletions and updates of what is gone or changed meanwhile: the next pass sees the truth. */
bool ctl_moved_on(const struct err *err);
int64_t ctl_now_s(const struct ctl *c);

#endif
