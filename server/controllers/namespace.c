/* Namespace life cycle: a terminating namespace is emptied, then let go. */
#include "server/controllers/ctl.h"

#include "lib/http/message.h"
#include "lib/k8s/schema.h"

#include <string.h>

enum { AGAIN_MS = 250, AGAIN_SLOW_MS = 2000 };

/* What a round left behind. */
struct leftovers {
    int64_t n;
    struct buf kinds;
};

static void on_namespace(void *arg, const json_t *ns, bool first)
{
    (void)first;
    if (meta_deleting(ns))
        ctl_add(arg, ns);
}

static void start(struct ctl *c)
{
    static const struct informer_handler h = { on_namespace, NULL, NULL };

    ctl_watch(c, "", "v1", "namespaces", &h);
}

static int count_left(struct ctx *ctx, struct ctl *c, const struct object_ref *ref, const struct schema_resource *res, struct leftovers *left,
                      struct err *err)
{
    AUTO(json) json_t *list = NULL;

    if (client_list(ctx, c->all->o.reader, ref, &(struct client_list_opts){ .limit = 500 }, &list, err) < 0)
        return err_wrap(err, "list %s", res->resource);
    size_t n = json_array_size(json_object_get(list, "items"));
    if (n > 0) {
        left->n += (int64_t)n;
        buf_printf(&left->kinds, "%s%s%s%s has %zu resource instances", buf_len(&left->kinds) ? ", " : "", res->resource, *res->group ? "." : "",
                   res->group, n);
    }
    return 0;
}

/* Pods go with their grace period first: what they write may live in other objects. */
static int empty_resource(struct ctx *ctx, struct ctl *c, const char *ns, const struct schema_resource *res, struct leftovers *left,
                          struct err *err)
{
    AUTO(buf) struct buf path = { 0 };
    struct object_ref ref = { res->group, res->version, res->resource, ns, NULL, NULL };

    object_ref_path(&ref, &path);
    buf_str(&path, "?propagationPolicy=Background");
    struct client_call call = { .method = "DELETE", .path = buf_at(&path) };
    if (client_raw(ctx, c->client, &call, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "delete %s", res->resource);
    return count_left(ctx, c, &ref, res, left, err);
}

static bool stored_here(const struct schema_resource *res)
{
    /* one version of a resource is enough, and events of one group only */
    return res->namespaced && (res->verbs & SCHEMA_DELETECOLLECTION) && strcmp(res->group, "events.k8s.io") != 0 &&
           !(strcmp(res->group, "autoscaling") == 0 && strcmp(res->version, "v1") == 0);
}

static int empty(struct ctx *ctx, struct ctl *c, const char *ns, struct leftovers *left, struct err *err)
{
    const struct schema *s = c->all->o.schema;

    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *res = schema_resource_at(s, i);

        if (stored_here(res) && empty_resource(ctx, c, ns, res, left, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int set_conditions(struct ctx *ctx, struct ctl *c, json_t *ns, const struct leftovers *left, struct err *err)
{
    struct object_ref ref = { "", "v1", "namespaces", NULL, meta_name(ns), "status" };
    AUTO_FREE char *message = left->n ? mem_printf("Some resources are remaining: %s", buf_at(&left->kinds)) : mem_strdup("All content successfully removed");
    bool changed = condition_set(ns, &(struct condition){ .type = "NamespaceDeletionDiscoveryFailure", .status = "False",
                                                          .reason = "ResourcesDiscovered", .message = "All resources successfully discovered" },
                                 c->all->o.clock);

    changed |= condition_set(ns, &(struct condition){ .type = "NamespaceDeletionContentFailure", .status = "False", .reason = "ContentDeleted",
                                                      .message = "All content successfully deleted, may be waiting on finalization" },
                             c->all->o.clock);
    changed |= condition_set(ns, &(struct condition){ .type = "NamespaceContentRemaining", .status = left->n ? "True" : "False",
                                                      .reason = left->n ? "SomeResourcesRemain" : "ContentRemoved", .message = message },
                             c->all->o.clock);
    if (!changed)
        return 0;
    if (client_update(ctx, c->client, &ref, ns, NULL, err) < 0 && !ctl_moved_on(err))
        return err_wrap(err, "conditions");
    return 0;
}

static int finalize(struct ctx *ctx, struct ctl *c, json_t *ns, struct err *err)
{
    struct object_ref ref = { "", "v1", "namespaces", NULL, meta_name(ns), "finalize" };
    json_t *list = json_at(ns, "spec.finalizers"), *kept = json_array(), *v = NULL;
    size_t i = 0;

    json_array_foreach(list, i, v) if (strcmp(json_string_value(v), "kubernetes") != 0) json_array_append(kept, v);
    json_put(ns, "spec.finalizers", kept);
    if (client_update(ctx, c->client, &ref, ns, NULL, err) < 0 && !ctl_moved_on(err))
        return err_wrap(err, "finalize");
    return 0;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    AUTO(json) json_t *ns = NULL;
    struct leftovers left = { 0 };

    if (ctl_get(ctx, c, "", "v1", "namespaces", key, &ns, err) < 0)
        return -(int)err->code;
    if (!ns || !meta_deleting(ns) || json_array_size(json_at(ns, "spec.finalizers")) == 0)
        return 0;
    int rc = empty(ctx, c, key, &left, err);
    if (rc == 0 && left.n > 0) {
        rc = set_conditions(ctx, c, ns, &left, err);
        *again = left.n > 100 ? AGAIN_SLOW_MS : AGAIN_MS;
    } else if (rc == 0) {
        rc = finalize(ctx, c, ns, err);
    }
    buf_clear(&left.kinds);
    return rc;
}

const struct ctl_def ctl_namespace = { "namespace-controller", "namespace-controller", 4, start, reconcile, NULL };
