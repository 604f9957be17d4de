/* Cluster role aggregation: a role with an aggregationRule carries the rules of the roles its selectors take, shown to whoever reads it. */
#include "server/controllers/ctl.h"

#include <string.h>

static const struct object_ref roles_ref = { "rbac.authorization.k8s.io", "v1", "clusterroles", NULL, NULL, NULL };

struct state {
    pthread_mutex_t lock;
    struct map *aggregated; /* names of roles with an aggregationRule */
};

static void on_role(void *arg, const json_t *role, bool first)
{
    struct ctl *c = arg;
    struct state *s = c->state;
    size_t pos = 0;
    const char *name = NULL;
    void *v = NULL;
    LOCK_SCOPE(&s->lock);

    (void)first;
    if (json_is_object(json_object_get(role, "aggregationRule"))) {
        map_set(s->aggregated, meta_name(role), s);
        queue_add(c->queue, meta_name(role));
    } else {
        map_del(s->aggregated, meta_name(role));
    }
    if (json_object_size(json_at(role, "metadata.labels")) == 0)
        return; /* nobody's selector takes it */
    while (map_next(s->aggregated, &pos, &name, &v))
        queue_add(c->queue, name);
}

static void on_role_gone(void *arg, const json_t *role)
{
    struct ctl *c = arg;
    struct state *s = c->state;
    size_t pos = 0;
    const char *name = NULL;
    void *v = NULL;
    LOCK_SCOPE(&s->lock);

    map_del(s->aggregated, meta_name(role));
    while (map_next(s->aggregated, &pos, &name, &v))
        queue_add(c->queue, name);
}

static void start(struct ctl *c)
{
    static const struct informer_handler roles = { on_role, on_role_gone, NULL };
    struct state *s = MEM_NEW(struct state);

    pthread_mutex_init(&s->lock, NULL);
    s->aggregated = map_new(NULL);
    c->state = s;
    ctl_watch(c, roles_ref.group, roles_ref.version, roles_ref.resource, &roles);
}

static void stop(struct ctl *c)
{
    struct state *s = c->state;

    map_free(s->aggregated);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool has_rule(const json_t *rules, const json_t *rule)
{
    size_t i = 0;
    json_t *r = NULL;

    json_array_foreach((json_t *)rules, i, r) if (json_equal(r, rule)) return true;
    return false;
}

static int add_rules(struct ctx *ctx, const json_t *role, const json_t *all, json_t *rules, struct err *err)
{
    size_t i = 0, k = 0, m = 0;
    json_t *one = NULL, *other = NULL, *rule = NULL;

    json_array_foreach(json_at(role, "aggregationRule.clusterRoleSelectors"), i, one)
    {
        struct selector *sel = NULL;

        if (selector_of(ctx->arena, one, &sel, err) < 0)
            return err_wrap(err, "clusterRoleSelectors[%zu]", i);
        json_array_foreach((json_t *)all, k, other)
        {
            if (strcmp(meta_name(other), meta_name(role)) == 0 || !selector_match(sel, json_at(other, "metadata.labels")))
                continue;
            json_array_foreach(json_object_get(other, "rules"), m, rule) if (!has_rule(rules, rule)) json_array_append(rules, rule);
        }
    }
    return 0;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    struct object_ref ref = roles_ref;
    AUTO(json) json_t *role = NULL;
    AUTO(json) json_t *list = NULL;
    AUTO(json) json_t *rules = json_array();

    if (!controllers_ready(c->all)) {
        *again = 20;
        return 0;
    }
    if (ctl_get(ctx, c, ref.group, ref.version, ref.resource, key, &role, err) < 0)
        return -(int)err->code;
    if (!role || !json_is_object(json_object_get(role, "aggregationRule")))
        return 0;
    if (client_list(ctx, c->all->o.reader, &roles_ref, NULL, &list, err) < 0 ||
        add_rules(ctx, role, json_object_get(list, "items"), rules, err) < 0)
        return -(int)err->code;
    if (json_equal(rules, json_object_get(role, "rules")))
        return 0;
    json_object_set(role, "rules", rules);
    ref.name = key;
    if (client_update(ctx, c->client, &ref, role, NULL, err) < 0)
        return err_wrap(err, "rules of %s", key);
    return 0;
}

const struct ctl_def ctl_role_aggregation = { "clusterrole-aggregation-controller", "clusterrole-aggregation-controller", 1, start, reconcile, stop };
