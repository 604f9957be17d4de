#include "server/controllers/ctl.h"

#include <string.h>

static const struct ctl_def *const defs[] = {
    &ctl_namespace,  &ctl_service_account, &ctl_root_ca,    &ctl_node_ipam,      &ctl_node_lifecycle, &ctl_replicaset,
    &ctl_replication, &ctl_deployment,     &ctl_endpoints,  &ctl_endpoint_slice, &ctl_garbage,        &ctl_pod_gc,
    &ctl_node_role,  &ctl_role_aggregation,
};

/* --- small calls --- */

void ctl_watch(struct ctl *c, const char *group, const char *version, const char *resource, const struct informer_handler *h)
{
    struct object_ref ref = { group, version, resource, NULL, NULL, NULL };

    informers_add(c->all->informers, &ref, NULL, h, c);
}

void ctl_add(struct ctl *c, const json_t *object)
{
    AUTO_FREE char *key = meta_key(object);

    queue_add(c->queue, key);
}

static void self_set(void *arg, const json_t *object, bool first)
{
    (void)first;
    ctl_add(arg, object);
}

static void self_gone(void *arg, const json_t *last)
{
    ctl_add(arg, last);
}

const struct informer_handler ctl_enqueue_self = { self_set, self_gone, NULL };

void ctl_add_owner(struct ctl *c, const json_t *object, const char *kind)
{
    const json_t *owner = meta_controller(object);

    if (!owner || strcmp(json_str_or(owner, "kind", ""), kind) != 0)
        return;
    AUTO_FREE char *key = mem_printf("%s/%s", meta_namespace(object), json_str_or(owner, "name", ""));
    queue_add(c->queue, key);
}

int ctl_get(struct ctx *ctx, struct ctl *c, const char *group, const char *version, const char *resource, const char *key, json_t **ret,
            struct err *err)
{
    const char *ns = NULL, *name = NULL;

    *ret = NULL;
    meta_split_key(ctx->arena, key, &ns, &name);
    struct object_ref ref = { group, version, resource, ns, name, NULL };
    if (client_get(ctx, c->all->o.reader, &ref, ret, err) == 0 || err->code == ERR_NOT_FOUND)
        return 0;
    return -(int)err->code;
}

bool ctl_moved_on(const struct err *err)
{
    return err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT;
}

int64_t ctl_now_s(const struct ctl *c)
{
    return clock_wall_s(c->all->o.clock);
}

/* --- the unit --- */

static void on_pod(void *arg, const json_t *pod, bool first)
{
    (void)first;
    pod_index_set(((struct controllers *)arg)->pods, pod);
}

static void on_pod_gone(void *arg, const json_t *pod)
{
    AUTO_FREE char *key = meta_key(pod);

    pod_index_del(((struct controllers *)arg)->pods, key);
}

static void start_one(struct controllers *all, const struct ctl_def *def, struct ctl *c)
{
    *c = (struct ctl){ .def = def, .all = all };
    c->client = all->o.client_for(all->o.client_arg, def->account);
    c->events = events_new(c->client, all->o.pool, all->o.clock, def->name, "");
    c->queue = queue_new(&(struct queue_options){ .name = def->name,
                                                  .pool = all->o.pool,
                                                  .loop = all->o.loop,
                                                  .clock = all->o.clock,
                                                  .workers = def->workers },
                         def->reconcile, c);
    def->start(c);
}

int controllers_start(const struct controllers_options *options, struct controllers **ret, struct err *err)
{
    static const struct informer_handler pods = { on_pod, on_pod_gone, NULL };
    struct object_ref ref = { "", "v1", "pods", NULL, NULL, NULL };
    struct controllers *all = MEM_NEW(struct controllers);

    (void)err;
    all->o = *options;
    all->pods = pod_index_new();
    all->informers = informers_new(&(struct informers_options){
        .client = all->o.reader, .pool = all->o.pool, .loop = all->o.loop, .clock = all->o.clock });
    /* The index hears of a pod before any controller does: handlers run in the order they were added. */
    informers_add(all->informers, &ref, NULL, &pods, all);
    all->n = ARRAY_LEN(defs);
    all->at = mem_zalloc(all->n * sizeof(*all->at));
    for (size_t i = 0; i < all->n; i++)
        start_one(all, defs[i], &all->at[i]);
    informers_start(all->informers);
    *ret = all;
    return 0;
}

bool controllers_ready(struct controllers *all)
{
    return informers_synced(all->informers);
}

void controllers_stop(struct controllers *all)
{
    if (!all)
        return;
    informers_stop(all->informers);
    for (size_t i = 0; i < all->n; i++)
        queue_stop(all->at[i].queue);
    for (size_t i = 0; i < all->n; i++) {
        struct ctl *c = &all->at[i];

        if (c->def->stop)
            c->def->stop(c);
        queue_free(c->queue);
        events_free(c->events);
        client_free(c->client);
    }
    informers_free(all->informers);
    pod_index_free(all->pods);
    free(all->at);
    free(all);
}
