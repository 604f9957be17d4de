/*
 * Garbage collector: what has no owner left goes; foreground deletion waits for dependents, orphaning cuts their ties.
 *
 * A graph of small nodes over all stored resources, fed by the shared informers. A key is a uid. An owner that the graph does not know is
 * looked up live before anything is deleted. Source: Kubernetes "Garbage Collection".
 */
#include "server/controllers/ctl.h"

#include "lib/k8s/schema.h"

#include <string.h>

static const char foreground[] = "foregroundDeletion", orphan_finalizer[] = "orphan";

struct owner {
    char *uid, *api_version, *kind, *name;
    bool blocks;
};

struct node {
    char *uid, *ns, *name;
    const struct schema_resource *resource;
    struct owner *owners;
    size_t n_owners;
    bool deleting, foreground, orphan;
};

struct graph {
    pthread_mutex_t lock;
    struct map *nodes;      /* uid -> struct node */
    struct map *dependents; /* owner uid -> struct buf of uids: owners need not be known */
};

/* One informer's handler needs to know its resource. */
struct source {
    struct ctl *c;
    const struct schema_resource *resource;
    struct source *next;
};

struct state {
    struct graph g;
    struct source *sources;
};

static void owners_free(struct node *n)
{
    for (size_t i = 0; i < n->n_owners; i++) {
        free(n->owners[i].uid);
        free(n->owners[i].api_version);
        free(n->owners[i].kind);
        free(n->owners[i].name);
    }
    free(n->owners);
    n->owners = NULL;
    n->n_owners = 0;
}

static void node_free(void *p)
{
    struct node *n = p;

    owners_free(n);
    free(n->uid);
    free(n->ns);
    free(n->name);
    free(n);
}

static void list_free(void *p)
{
    buf_clear(p);
    free(p);
}

/* --- the graph; lock held --- */

static void list_remove(struct buf *list, const char *uid)
{
    size_t at = 0;

    while (at < buf_len(list)) {
        const char *one = buf_at(list) + at;
        size_t n = strlen(one) + 1;

        if (strcmp(one, uid) == 0) {
            memmove(list->b->at + at, list->b->at + at + n, buf_len(list) - at - n);
            buf_cut(list, buf_len(list) - n);
            return;
        }
        at += n;
    }
}

static void link_owners(struct graph *g, const struct node *n)
{
    for (size_t i = 0; i < n->n_owners; i++) {
        struct buf *list = map_get(g->dependents, n->owners[i].uid);

        if (!list) {
            list = MEM_NEW(struct buf);
            map_set(g->dependents, n->owners[i].uid, list);
        }
        buf_add(list, n->uid, strlen(n->uid) + 1);
    }
}

static void unlink_owners(struct graph *g, const struct node *n)
{
    for (size_t i = 0; i < n->n_owners; i++) {
        struct buf *list = map_get(g->dependents, n->owners[i].uid);

        if (!list)
            continue;
        list_remove(list, n->uid);
        if (buf_len(list) == 0)
            map_del(g->dependents, n->owners[i].uid);
    }
}

static void read_owners(struct node *n, const json_t *object)
{
    const json_t *list = json_at(object, "metadata.ownerReferences");
    size_t i = 0;
    json_t *o = NULL;

    n->owners = mem_zalloc((json_array_size(list) + 1) * sizeof(*n->owners));
    json_array_foreach((json_t *)list, i, o) n->owners[n->n_owners++] = (struct owner){
        mem_strdup(json_str_or(o, "uid", "")), mem_strdup(json_str_or(o, "apiVersion", "")), mem_strdup(json_str_or(o, "kind", "")),
        mem_strdup(json_str_or(o, "name", "")), json_bool_or(o, "blockOwnerDeletion", false),
    };
}

/* Puts the dependents of an owner into the queue. */
static void wake_dependents(struct ctl *c, struct graph *g, const char *uid)
{
    const struct buf *list = map_get(g->dependents, uid);

    for (const char *at = list ? buf_at(list) : "", *end = at + (list ? buf_len(list) : 0); at < end; at += strlen(at) + 1)
        queue_add(c->queue, at);
}

static void on_set(void *arg, const json_t *object, bool first)
{
    struct source *src = arg;
    struct state *s = src->c->state;
    struct graph *g = &s->g;
    const char *uid = meta_uid(object);
    LOCK_SCOPE(&g->lock);
    struct node *n = map_get(g->nodes, uid);

    (void)first;
    if (!*uid)
        return;
    if (n) {
        unlink_owners(g, n);
        owners_free(n);
    } else {
        n = MEM_NEW(struct node);
        n->uid = mem_strdup(uid);
        n->ns = mem_strdup(meta_namespace(object));
        n->name = mem_strdup(meta_name(object));
        n->resource = src->resource;
        map_set(g->nodes, uid, n);
    }
    read_owners(n, object);
    link_owners(g, n);
    bool was = n->deleting;
    n->deleting = meta_deleting(object);
    n->foreground = n->deleting && meta_has_finalizer(object, foreground);
    n->orphan = n->deleting && meta_has_finalizer(object, orphan_finalizer);
    if (n->n_owners > 0 || n->foreground || n->orphan)
        queue_add(src->c->queue, uid);
    if (n->deleting && !was) {
        wake_dependents(src->c, g, uid); /* those in foreground deletion delete them now */
        for (size_t i = 0; i < n->n_owners; i++)
            queue_add(src->c->queue, n->owners[i].uid);
    }
}

static void on_delete(void *arg, const json_t *last)
{
    struct source *src = arg;
    struct graph *g = &((struct state *)src->c->state)->g;
    const char *uid = meta_uid(last);
    LOCK_SCOPE(&g->lock);
    struct node *n = map_get(g->nodes, uid);

    if (!n)
        return;
    wake_dependents(src->c, g, uid);
    for (size_t i = 0; i < n->n_owners; i++)
        queue_add(src->c->queue, n->owners[i].uid); /* an owner may wait for us */
    unlink_owners(g, n);
    map_del(g->nodes, uid);
}

static bool is_collected(const struct schema_resource *res)
{
    static const char *const skipped[] = { "events", "leases" }; /* many, short-lived, never owners' burden */
    unsigned need = SCHEMA_LIST_VERB | SCHEMA_WATCH | SCHEMA_DELETE;

    for (size_t i = 0; i < ARRAY_LEN(skipped); i++)
        if (strcmp(res->resource, skipped[i]) == 0)
            return false;
    return (res->verbs & need) == need && !(strcmp(res->group, "autoscaling") == 0 && strcmp(res->version, "v1") == 0);
}

static void start(struct ctl *c)
{
    static const struct informer_handler h = { on_set, on_delete, NULL };
    struct state *s = MEM_NEW(struct state);
    const struct schema *schema = c->all->o.schema;

    pthread_mutex_init(&s->g.lock, NULL);
    s->g.nodes = map_new(node_free);
    s->g.dependents = map_new(list_free);
    c->state = s;
    for (size_t i = 0; i < schema_resources(schema); i++) {
        const struct schema_resource *res = schema_resource_at(schema, i);
        struct object_ref ref = { res->group, res->version, res->resource, NULL, NULL, NULL };

        if (!is_collected(res))
            continue;
        struct source *src = MEM_NEW(struct source);
        *src = (struct source){ c, res, s->sources };
        s->sources = src;
        informers_add(c->all->informers, &ref, NULL, &h, src);
    }
}

static void stop(struct ctl *c)
{
    struct state *s = c->state;

    while (s->sources) {
        struct source *src = s->sources;

        s->sources = src->next;
        free(src);
    }
    map_free(s->g.nodes);
    map_free(s->g.dependents);
    pthread_mutex_destroy(&s->g.lock);
    free(s);
}

/* --- one pass over a copy of the node --- */

struct view {
    bool found, deleting, foreground, orphan;
    char *ns, *name;
    const struct schema_resource *resource;
    struct owner *owners;
    bool *owner_known, *owner_foreground;
    size_t n_owners;
    char **dependents;
    size_t n_dependents;
};

static void view_node(struct ctl *c, struct arena *a, const char *uid, struct view *v)
{
    struct graph *g = &((struct state *)c->state)->g;
    LOCK_SCOPE(&g->lock);
    const struct node *n = map_get(g->nodes, uid);
    const struct buf *list = map_get(g->dependents, uid);

    *v = (struct view){ 0 };
    if (!n)
        return;
    *v = (struct view){
        .found = true,
        .deleting = n->deleting,
        .foreground = n->foreground,
        .orphan = n->orphan,
        .ns = arena_strdup(a, n->ns),
        .name = arena_strdup(a, n->name),
        .resource = n->resource,
    };
    v->n_owners = n->n_owners;
    v->owners = arena_alloc(a, (n->n_owners + 1) * sizeof(*v->owners));
    v->owner_known = arena_alloc(a, n->n_owners + 1);
    v->owner_foreground = arena_alloc(a, n->n_owners + 1);
    for (size_t i = 0; i < n->n_owners; i++) {
        const struct owner *o = &n->owners[i];
        const struct node *on = map_get(g->nodes, o->uid);

        v->owners[i] = (struct owner){ arena_strdup(a, o->uid), arena_strdup(a, o->api_version), arena_strdup(a, o->kind), arena_strdup(a, o->name),
                                       o->blocks };
        v->owner_known[i] = on != NULL;
        v->owner_foreground[i] = on && on->foreground;
    }
    for (const char *at = list ? buf_at(list) : "", *end = at + (list ? buf_len(list) : 0); at < end; at += strlen(at) + 1)
        v->n_dependents++;
    v->dependents = arena_alloc(a, (v->n_dependents + 1) * sizeof(char *));
    size_t k = 0;
    for (const char *at = list ? buf_at(list) : "", *end = at + (list ? buf_len(list) : 0); at < end; at += strlen(at) + 1)
        v->dependents[k++] = arena_strdup(a, at);
}

static const struct schema_resource *resource_of(struct ctl *c, const struct owner *o)
{
    const char *slash = strchr(o->api_version, '/');
    char group[256] = "";

    if (slash && (size_t)(slash - o->api_version) < sizeof(group))
        memcpy(group, o->api_version, (size_t)(slash - o->api_version));
    return schema_resource_of_kind(c->all->o.schema, group, slash ? slash + 1 : o->api_version, o->kind);
}

enum owner_is { OWNER_THERE, OWNER_GOING, OWNER_GONE, OWNER_UNKNOWN_KIND };

/* An owner the graph does not know is asked for: gone only when the API says so (or another object bears its name). */
static int look_up(struct ctl *c, struct ctx *ctx, const struct view *v, size_t i, enum owner_is *ret, struct err *err)
{
    const struct owner *o = &v->owners[i];
    const struct schema_resource *res = resource_of(c, o);
    AUTO(json) json_t *live = NULL;

    if (v->owner_known[i]) {
        *ret = v->owner_foreground[i] ? OWNER_GOING : OWNER_THERE;
        return 0;
    }
    if (!res) {
        *ret = OWNER_UNKNOWN_KIND;
        return 0;
    }
    struct object_ref ref = { res->group, res->version, res->resource, res->namespaced ? v->ns : NULL, o->name, NULL };
    if (client_get(ctx, c->all->o.reader, &ref, &live, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return err_wrap(err, "owner %s %s", o->kind, o->name);
        *ret = OWNER_GONE;
        return 0;
    }
    *ret = strcmp(meta_uid(live), o->uid) == 0 ? OWNER_THERE : OWNER_GONE;
    return 0;
}

static struct object_ref ref_of(const struct view *v)
{
    return (struct object_ref){ v->resource->group, v->resource->version, v->resource->resource, v->ns, v->name, NULL };
}

static int delete_object(struct ctl *c, struct ctx *ctx, const struct view *v, const char *uid, const char *policy, struct err *err)
{
    struct object_ref ref = ref_of(v);
    struct client_delete_opts opts = { .uid = uid, .propagation = policy, .grace_s = -1 };

    if (client_delete(ctx, c->client, &ref, &opts, err) < 0 && !ctl_moved_on(err))
        return err_wrap(err, "delete %s %s", v->resource->kind, v->name);
    return 0;
}

static int drop_owners(struct ctl *c, struct ctx *ctx, const struct view *v, const char *uid, const bool *drop, struct err *err)
{
    struct object_ref ref = ref_of(v);
    AUTO(json) json_t *live = NULL;
    json_t *kept = json_array(), *o = NULL;
    size_t i = 0;

    if (client_get(ctx, c->all->o.reader, &ref, &live, err) < 0) {
        json_decref(kept);
        return err->code == ERR_NOT_FOUND ? 0 : -(int)err->code;
    }
    json_array_foreach(json_at(live, "metadata.ownerReferences"), i, o)
    {
        bool dropped = false;

        for (size_t k = 0; k < v->n_owners; k++)
            dropped |= drop[k] && strcmp(json_str_or(o, "uid", ""), v->owners[k].uid) == 0;
        if (!dropped)
            json_array_append(kept, o);
    }
    AUTO(json) json_t *patch = json_pack("{s:{s:s,s:s,s:o}}", "metadata", "uid", uid, "resourceVersion", meta_resource_version(live),
                                         "ownerReferences", kept);
    if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_MERGE, patch, NULL, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "owners of %s %s", v->resource->kind, v->name);
    return 0;
}

static int drop_finalizer(struct ctl *c, struct ctx *ctx, const struct view *v, const char *name, struct err *err)
{
    struct object_ref ref = ref_of(v);
    AUTO(json) json_t *live = NULL;

    if (client_get(ctx, c->all->o.reader, &ref, &live, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -(int)err->code;
    if (!meta_remove_finalizer(live, name))
        return 0;
    json_t *left = json_incref(json_at(live, "metadata.finalizers"));
    AUTO(json) json_t *patch = json_pack("{s:{s:s,s:o}}", "metadata", "resourceVersion", meta_resource_version(live), "finalizers",
                                         left ? left : json_array());
    if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_MERGE, patch, NULL, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "finalizer of %s %s", v->resource->kind, v->name);
    return 0;
}

/* The owner goes, its dependents stay: their reference to it is cut, then its finalizer. */
static int orphan_dependents(struct ctl *c, struct ctx *ctx, const struct view *v, const char *uid, struct err *err)
{
    for (size_t i = 0; i < v->n_dependents; i++) {
        struct view d;
        bool *drop = NULL;

        view_node(c, ctx->arena, v->dependents[i], &d);
        if (!d.found)
            continue;
        drop = arena_alloc(ctx->arena, d.n_owners + 1);
        for (size_t k = 0; k < d.n_owners; k++)
            drop[k] = strcmp(d.owners[k].uid, uid) == 0;
        if (drop_owners(c, ctx, &d, v->dependents[i], drop, err) < 0)
            return -(int)err->code;
    }
    return drop_finalizer(c, ctx, v, orphan_finalizer, err);
}

/* Dependents that block are waited for; then the finalizer goes and with it the owner. */
static int foreground_delete(struct ctl *c, struct ctx *ctx, const struct view *v, const char *uid, struct err *err)
{
    bool blocked = false;

    for (size_t i = 0; i < v->n_dependents; i++) {
        struct view d;

        view_node(c, ctx->arena, v->dependents[i], &d);
        for (size_t k = 0; d.found && k < d.n_owners; k++)
            blocked |= d.owners[k].blocks && strcmp(d.owners[k].uid, uid) == 0;
        if (d.found && !d.deleting)
            queue_add(c->queue, v->dependents[i]);
    }
    return blocked ? 0 : drop_finalizer(c, ctx, v, foreground, err);
}

static int judge_owners(struct ctl *c, struct ctx *ctx, const struct view *v, const char *uid, struct err *err)
{
    size_t there = 0, going = 0, gone = 0;
    bool *drop = arena_alloc(ctx->arena, v->n_owners + 1);

    for (size_t i = 0; i < v->n_owners; i++) {
        enum owner_is is = OWNER_THERE;

        if (look_up(c, ctx, v, i, &is, err) < 0)
            return -(int)err->code;
        there += is == OWNER_THERE || is == OWNER_UNKNOWN_KIND;
        going += is == OWNER_GOING;
        gone += is == OWNER_GONE;
        drop[i] = is == OWNER_GONE || is == OWNER_GOING;
    }
    if (there > 0)
        return gone + going > 0 ? drop_owners(c, ctx, v, uid, drop, err) : 0;
    if (going > 0)
        return delete_object(c, ctx, v, uid, v->n_dependents ? "Foreground" : "Background", err);
    return delete_object(c, ctx, v, uid, v->orphan ? "Orphan" : v->foreground ? "Foreground" : "Background", err);
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct view v;

    if (!controllers_ready(c->all)) {
        *again = 20;
        return 0;
    }
    view_node(c, ctx->arena, key, &v);
    if (!v.found)
        return 0;
    if (v.orphan)
        return orphan_dependents(c, ctx, &v, key, err);
    if (v.foreground)
        return foreground_delete(c, ctx, &v, key, err);
    if (v.deleting || v.n_owners == 0)
        return 0;
    return judge_owners(c, ctx, &v, key, err);
}

const struct ctl_def ctl_garbage = { "garbage-collector", "generic-garbage-collector", 8, start, reconcile, stop };
