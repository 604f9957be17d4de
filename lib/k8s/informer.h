#ifndef LIB_K8S_INFORMER_H
#define LIB_K8S_INFORMER_H
/*
 * informer - list then watch, for ever: the one way controllers and the agent hear of objects.
 *
 * Informers of a set are shared: many handlers on one resource cost one watch and one parse an event. No object is kept; only key, uid and
 * resourceVersion, to tell what vanished during a gap. Handlers keep small structs, and fetch objects with client_get when they act.
 * Thread: handlers run on a pool worker, one at a time per informer, in the stream's order; they must not block long.
 */
#include "lib/k8s/client.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct informers; /* a set over one client */

struct informer_handler {
    /* Added or changed (or seen again in a relist). The tree is lent for the call. `first` until synced: part of the first list. */
    void (*on_set)(void *arg, const json_t *object, bool first);
    /* Gone. last is the last known object, or a tree with only metadata.namespace/name/uid when it vanished in a gap. */
    void (*on_delete)(void *arg, const json_t *last);
    /* The first list has been delivered whole; once. NULL allowed. */
    void (*on_sync)(void *arg);
};

struct informers_options {
    struct client *client;
    struct pool *pool;
    struct loop *loop; /* retries with backoff */
    const struct clock *clock;
};

struct informers *informers_new(const struct informers_options *options);
/* Before informers_start. Same resource, namespace and selectors share one informer. */
void informers_add(struct informers *set, const struct object_ref *ref, const struct client_list_opts *selectors,
                   const struct informer_handler *handler, void *arg);
void informers_start(struct informers *set);
bool informers_synced(struct informers *set); /* all have their first list */
/* Blocks until synced. Errors: TIMEOUT, CANCELED. */
CHECK_RC int informers_wait(struct ctx *ctx, struct informers *set, struct err *err);
void informers_stop(struct informers *set); /* no handler runs after it returned */
void informers_free(struct informers *set); /* stops first; NULL allowed */

#endif
