/* Pod garbage: pods of nodes that are gone, pods that go without ever having had a node, too many finished ones. */
#include "server/controllers/ctl.h"

#include <string.h>

enum { EVERY_MS = 20000, FINISHED_MAX = 12500, AT_ONCE = 64 };

static const char round_key[] = "round";

struct state {
    pthread_mutex_t lock;
    struct map *nodes; /* names that exist */
};

static void on_node(void *arg, const json_t *node, bool first)
{
    struct state *s = ((struct ctl *)arg)->state;
    LOCK_SCOPE(&s->lock);

    (void)first;
    map_set(s->nodes, meta_name(node), s);
}

static void on_node_gone(void *arg, const json_t *node)
{
    struct ctl *c = arg;
    struct state *s = c->state;

    pthread_mutex_lock(&s->lock);
    map_del(s->nodes, meta_name(node));
    pthread_mutex_unlock(&s->lock);
    queue_add(c->queue, round_key);
}

static void on_pod(void *arg, const json_t *pod, bool first)
{
    struct ctl *c = arg;

    (void)first;
    if (meta_deleting(pod) && !*json_str_or(pod, "spec.nodeName", ""))
        queue_add(c->queue, round_key);
}

static void start(struct ctl *c)
{
    static const struct informer_handler nodes = { on_node, on_node_gone, NULL }, pods = { on_pod, NULL, NULL };
    struct state *s = MEM_NEW(struct state);

    pthread_mutex_init(&s->lock, NULL);
    s->nodes = map_new(NULL);
    c->state = s;
    ctl_watch(c, "", "v1", "nodes", &nodes);
    ctl_watch(c, "", "v1", "pods", &pods);
    queue_add_after(c->queue, round_key, EVERY_MS);
}

static void stop(struct ctl *c)
{
    struct state *s = c->state;

    map_free(s->nodes);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct victim {
    char *ns, *name, *uid;
};

static size_t find(struct ctl *c, struct ctx *ctx, struct victim *to)
{
    struct state *s = c->state;
    struct pod_index *x = c->all->pods;
    const struct pod_entry *p = NULL;
    size_t n = 0, pos = 0, finished = 0;

    pthread_mutex_lock(&s->lock);
    pod_index_lock(x);
    while (pod_index_next(x, &pos, &p) && n < AT_ONCE) {
        bool done = p->phase == 'S' || p->phase == 'F';

        finished += done;
        if ((*p->node && !map_get(s->nodes, p->node)) || (!*p->node && p->deleting) || (done && finished > FINISHED_MAX))
            to[n++] = (struct victim){ arena_strdup(ctx->arena, p->ns), arena_strdup(ctx->arena, p->name), arena_strdup(ctx->arena, p->uid) };
    }
    pod_index_unlock(x);
    pthread_mutex_unlock(&s->lock);
    return n;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct victim victims[AT_ONCE];

    (void)key;
    *again = EVERY_MS;
    if (!controllers_ready(c->all))
        return 0;
    size_t n = find(c, ctx, victims);
    for (size_t i = 0; i < n; i++) {
        struct object_ref ref = { "", "v1", "pods", victims[i].ns, victims[i].name, NULL };
        struct client_delete_opts opts = { .uid = victims[i].uid, .grace_s = 0 };

        if (client_delete(ctx, c->client, &ref, &opts, err) < 0 && !ctl_moved_on(err))
            return err_wrap(err, "pod %s/%s", victims[i].ns, victims[i].name);
    }
    if (n == AT_ONCE)
        *again = 0;
    return 0;
}

const struct ctl_def ctl_pod_gc = { "pod-garbage-collector", "pod-garbage-collector", 1, start, reconcile, stop };
