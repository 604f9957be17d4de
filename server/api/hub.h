#ifndef SERVER_API_HUB_H
#define SERVER_API_HUB_H
/*
 * hub - the ordered stream of changes to the watchers (DESIGN §2, "A watch").
 *
 * Fed by the store's commits only. A ring bounded in bytes holds reference-counted events: old and new bytes and facts; each is encoded
 * once per event type, not per watcher. A watcher is RING (follows the ring, on a loop), LOG (behind: its owner reads the store's log on a worker)
 * or CLOSED.
 * Thread: hub_commit on the store's writer; deliver callbacks on the watcher's loop; the rest any.
 */
#include "datastore/store.h"
#include "lib/k8s/schema.h"
#include "lib/loop.h"

struct hub;
struct hub_watcher;

/* One change of one object. Shared, immutable but for the cached encodings. */
struct hub_event {
    _Atomic int refs;
    int64_t revision;
    const struct schema_resource *resource; /* stored */
    struct slice ns, name;                  /* in key */
    struct bytes *key, *value, *facts, *prev_value, *prev_facts;
    int64_t prev_revision;
    size_t weight; /* bytes it counts for in the ring */
    struct bytes *_Atomic lines[3]; /* {"type":…}\n as JSON of the stored version: added, modified, deleted; made on demand */
};
void hub_event_ref(struct hub_event *e);
void hub_event_unref(struct hub_event *e);

/* Gives the event to its receiver. Return false to be left alone until hub_resume (back-pressure): this event counts as not delivered. */
typedef bool hub_deliver_fn(void *arg, struct hub_event *e);
/* The watcher fell behind the ring; its owner reads the log from `after` on and calls hub_follow again. On the watcher's loop. */
typedef void hub_behind_fn(void *arg, int64_t after);

struct hub_options {
    const struct schema *schema;
    struct store *store;
    struct loop *const *loops;
    size_t n_loops;
    size_t ring_bytes; /* 0: 4 MB */
    /* Sees each change of the stream before any watcher; on the writer thread (RBAC index). NULL allowed. */
    void (*observe)(void *arg, const struct hub_event *e);
    void *arg;
};
struct hub *hub_new(const struct hub_options *options); /* subscribes to the store */
void hub_free(struct hub *h);

struct hub_watcher *hub_watcher_new(struct hub *h, struct loop *loop, const struct schema_resource *stored,
                                    hub_deliver_fn *deliver, hub_behind_fn *behind, void *arg);
/* Follows the ring with changes after `after`. false: the ring begins later; read the log first. */
bool hub_follow(struct hub_watcher *w, int64_t after);
void hub_resume(struct hub_watcher *w);
/* No callback runs after it; on the watcher's loop, or before hub_follow. */
void hub_watcher_free(struct hub_watcher *w);
/* Up to where the watcher has been shown everything; on its loop. */
int64_t hub_watcher_revision(struct hub_watcher *w);
/* Last revision the hub has seen; the store may be ahead for a moment. */
int64_t hub_revision(struct hub *h);

struct hub_stats {
    int64_t watchers, ring_events, ring_bytes;
};
void hub_stats(struct hub *h, struct hub_stats *ret);

/* Makes an event from the store's (log reading). Owner: hub_event_unref. NULL: the key is none of ours. */
struct hub_event *hub_event_new(struct hub *h, const struct store_event *e);

#endif
