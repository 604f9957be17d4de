#include "server/auth/authz.h"

#include "lib/k8s/status.h"
#include "server/auth/node_graph.h"
#include "server/auth/rbac_index.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct authz {
    struct store *store;
    pthread_rwlock_t lock; /* guards both indexes */
    struct rbac_index *rbac;
    struct node_graph *nodes;
};

int authz_new(struct store *store, struct authz **ret, struct err *err)
{
    struct authz *a = MEM_NEW(struct authz);

    (void)err;
    a->store = store;
    pthread_rwlock_init(&a->lock, NULL);
    a->rbac = rbac_index_new();
    a->nodes = node_graph_new();
    *ret = a;
    return 0;
}

void authz_free(struct authz *a)
{
    if (!a)
        return;
    rbac_index_free(a->rbac);
    node_graph_free(a->nodes);
    pthread_rwlock_destroy(&a->lock);
    free(a);
}

void authz_observe(struct authz *a, const char *group, const char *resource, const char *ns, const char *name, struct slice value)
{
    bool rbac = strcmp(group, "rbac.authorization.k8s.io") == 0, pod = !*group && strcmp(resource, "pods") == 0;
    AUTO(json) json_t *object = NULL;
    struct err err;

    if (!rbac && !pod)
        return;
    if (rbac && value.at && json_read(value.at, value.n, NULL, NULL, &object, &err) < 0)
        return; /* we wrote it: cannot be */
    pthread_rwlock_wrlock(&a->lock);
    if (rbac) {
        rbac_index_set(a->rbac, resource, ns, name, object);
        if (rbac_index_dirty(a->rbac))
            rbac_index_settle(a->rbac);
    } else {
        node_graph_pod(a->nodes, ns, name, value);
    }
    pthread_rwlock_unlock(&a->lock);
}

/* --- the first load --- */

struct load {
    struct authz *a;
    const char *resource;
    size_t prefix;
    bool namespaced;
};

static int on_row(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct load *l = arg;
    AUTO_FREE char *rest = mem_strdup(row->key->at + l->prefix);
    char *slash = strchr(rest, '/');
    AUTO(json) json_t *object = NULL;

    (void)stop;
    if (l->namespaced != (slash != NULL))
        return 0;
    if (slash)
        *slash = '\0';
    const char *ns = slash ? rest : "", *name = slash ? slash + 1 : rest;
    if (strcmp(l->resource, "pods") == 0) {
        node_graph_pod(l->a->nodes, ns, name, (struct slice){ row->value->at, row->value->n });
        return 0;
    }
    if (json_read(row->value->at, row->value->n, NULL, NULL, &object, err) < 0)
        return err_wrap(err, "stored %s %s", l->resource, rest);
    rbac_index_set(l->a->rbac, l->resource, ns, name, object);
    return 0;
}

int authz_load(struct ctx *ctx, struct authz *a, struct err *err)
{
    static const struct {
        const char *resource;
        bool namespaced;
    } all[] = { { "roles", true }, { "rolebindings", true }, { "clusterroles", false }, { "clusterrolebindings", false }, { "pods", true } };
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(all) && rc == 0; i++) {
        AUTO_FREE char *from = mem_printf("/registry/%s/", all[i].resource), *to = mem_printf("/registry/%s0", all[i].resource);
        struct load l = { a, all[i].resource, strlen(from), all[i].namespaced };
        struct store_range range = { .from = slice_of(from), .to = slice_of(to) };

        do {
            pthread_rwlock_wrlock(&a->lock);
            rc = store_range(ctx, a->store, &range, on_row, &l, err);
            pthread_rwlock_unlock(&a->lock);
        } while (rc == 0 && range.more);
        store_range_end(&range);
    }
    pthread_rwlock_wrlock(&a->lock);
    rbac_index_settle(a->rbac);
    pthread_rwlock_unlock(&a->lock);
    return rc;
}

/* --- RBAC --- */

static bool has_or_all(char *const *list, const char *want)
{
    return rbac_list_has(list, "*") || rbac_list_has(list, want);
}

static bool resource_matches(char *const *list, const char *resource, const char *sub)
{
    char both[300];

    if (rbac_list_has(list, "*"))
        return true;
    if (!*sub)
        return rbac_list_has(list, resource);
    snprintf(both, sizeof(both), "%s/%s", resource, sub);
    if (rbac_list_has(list, both))
        return true;
    snprintf(both, sizeof(both), "*/%s", sub);
    return rbac_list_has(list, both);
}

static bool url_matches(char *const *list, const char *path)
{
    for (; list && *list; list++) {
        size_t n = strlen(*list);

        if (strcmp(*list, "*") == 0 || strcmp(*list, path) == 0)
            return true;
        if (n > 0 && (*list)[n - 1] == '*' && strncmp(*list, path, n - 1) == 0)
            return true;
    }
    return false;
}

static bool allows(void *arg, const struct rbac_rule *rule, const struct rbac_binding *by)
{
    const struct authz_request *q = arg;

    (void)by;
    if (!has_or_all(rule->verbs, q->verb))
        return false;
    if (q->path)
        return url_matches(rule->urls, q->path);
    return has_or_all(rule->groups, q->group) && resource_matches(rule->resources, q->resource, q->subresource) &&
           (!rule->names || rbac_list_has(rule->names, q->name));
}

static bool allows_by_binding(void *arg, const struct rbac_rule *rule, const struct rbac_binding *by)
{
    const struct authz_request *q = arg;

    /* a role binding grants nothing outside resources of its namespace */
    if (q->path && *by->ns)
        return false;
    return allows(arg, rule, by);
}

/* --- nodes --- */

static bool in_group(const struct user *u, const char *group)
{
    for (size_t i = 0; i < u->n_groups; i++)
        if (strcmp(u->groups[i], group) == 0)
            return true;
    return false;
}

static const char *node_of(const struct user *u)
{
    static const char prefix[] = "system:node:";

    if (strncmp(u->name, prefix, sizeof(prefix) - 1) != 0 || !in_group(u, "system:nodes"))
        return NULL;
    return u->name + sizeof(prefix) - 1;
}

static bool is_read(const char *verb)
{
    return strcmp(verb, "get") == 0 || strcmp(verb, "list") == 0 || strcmp(verb, "watch") == 0;
}

static bool own(const struct authz_request *q, const char *node)
{
    return strcmp(q->name, node) == 0;
}

/* Upstream's node authorizer: what hangs on the graph is decided here, the rest by the rules of ClusterRole system:node. */
static bool node_allows(struct authz *a, const struct authz_request *q, const char *node, const char **ret_reason)
{
    static const struct {
        const char *resource;
        char kind;
    } reached[] = { { "secrets", 's' }, { "configmaps", 'c' }, { "persistentvolumeclaims", 'p' } };

    if (q->path)
        return rbac_role_each(a->rbac, "/system:node", allows, (void *)q);
    if (!*q->group) {
        for (size_t i = 0; i < ARRAY_LEN(reached); i++)
            if (strcmp(q->resource, reached[i].resource) == 0 && !*q->subresource) {
                *ret_reason = "no relationship found between node and this object";
                return is_read(q->verb) && *q->name && node_graph_reaches(a->nodes, node, reached[i].kind, q->ns, q->name);
            }
        if (strcmp(q->resource, "serviceaccounts") == 0) {
            *ret_reason = "no relationship found between node and this object";
            bool token = strcmp(q->subresource, "token") == 0 && strcmp(q->verb, "create") == 0;
            return (token || is_read(q->verb)) && node_graph_reaches(a->nodes, node, 'a', q->ns, q->name);
        }
        if (strcmp(q->resource, "nodes") == 0 && *q->name && !own(q, node)) {
            *ret_reason = "node cannot read or change other nodes";
            return false;
        }
    }
    if (strcmp(q->group, "coordination.k8s.io") == 0 && strcmp(q->resource, "leases") == 0) {
        *ret_reason = "can only access node lease with the same name as the requesting node";
        return strcmp(q->ns, "kube-node-lease") == 0 && (own(q, node) || (!*q->name && strcmp(q->verb, "create") == 0));
    }
    if (strcmp(q->group, "storage.k8s.io") == 0 && strcmp(q->resource, "csinodes") == 0) {
        *ret_reason = "can only access CSINode with the same name as the requesting node";
        return own(q, node) || (!*q->name && strcmp(q->verb, "create") == 0);
    }
    return rbac_role_each(a->rbac, "/system:node", allows, (void *)q);
}

int authz_check(struct ctx *ctx, struct authz *a, const struct authz_request *r, const char **ret_reason, struct err *err)
{
    const char *node = node_of(r->user), *why = NULL;

    (void)ctx;
    if (in_group(r->user, "system:masters"))
        return 0;
    pthread_rwlock_rdlock(&a->lock);
    bool ok = rbac_index_each(a->rbac, r->user, r->path ? "" : r->ns, allows_by_binding, (void *)r) ||
              (node && node_allows(a, r, node, &why));
    pthread_rwlock_unlock(&a->lock);
    if (ok)
        return 0;
    if (ret_reason)
        *ret_reason = why;
    return err_set(err, ERR_FORBIDDEN, "forbidden");
}

int authz_forbidden(struct ctx *ctx, const struct authz_request *r, const char *reason, struct err *err)
{
    AUTO(buf) struct buf why = { 0 };

    if (r->path)
        return err_set(err, ERR_FORBIDDEN, "forbidden: User \"%s\" cannot %s path \"%s\"", r->user->name, r->verb, r->path);
    buf_printf(&why, "User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\"", r->user->name, r->verb, r->resource,
               *r->subresource ? "/" : "", r->subresource, r->group);
    if (*r->ns)
        buf_printf(&why, " in the namespace \"%s\"", r->ns);
    else
        buf_str(&why, " at the cluster scope");
    if (reason && *reason)
        buf_printf(&why, ": %s", reason);
    return status_forbidden(ctx, r->group, r->resource, r->name, buf_at(&why), err);
}

/* --- rules review --- */

struct review {
    json_t *resource, *path;
};

static bool add_to_review(void *arg, const struct rbac_rule *rule, const struct rbac_binding *by)
{
    struct review *v = arg;
    json_t *t = rbac_rule_tree(rule);

    if (rule->urls && !*by->ns) {
        json_t *one = json_object();

        json_object_set(one, "verbs", json_object_get(t, "verbs"));
        json_object_set(one, "nonResourceURLs", json_object_get(t, "nonResourceURLs"));
        json_array_append_new(v->path, one);
    }
    if (rule->resources) {
        json_object_del(t, "nonResourceURLs");
        json_array_append(v->resource, t);
    }
    json_decref(t);
    return false;
}

static void add_everything(struct review *v)
{
    json_array_append_new(v->resource, json_pack("{s:[s],s:[s],s:[s]}", "verbs", "*", "apiGroups", "*", "resources", "*"));
    json_array_append_new(v->path, json_pack("{s:[s],s:[s]}", "verbs", "*", "nonResourceURLs", "*"));
}

json_t *authz_rules(struct ctx *ctx, struct authz *a, const struct user *user, const char *ns)
{
    struct review v = { json_array(), json_array() };
    json_t *status = json_object();

    (void)ctx;
    if (in_group(user, "system:masters"))
        add_everything(&v);
    pthread_rwlock_rdlock(&a->lock);
    rbac_index_each(a->rbac, user, ns, add_to_review, &v);
    pthread_rwlock_unlock(&a->lock);
    json_object_set_new(status, "resourceRules", v.resource);
    json_object_set_new(status, "nonResourceRules", v.path);
    json_object_set_new(status, "incomplete", json_boolean(node_of(user) != NULL));
    return status;
}

/* --- escalation: nobody hands out what they don't have --- */

/* One verb on one resource (or path), as a request the user would make. */
struct wish {
    const char *verb, *group, *resource, *name, *url;
};

static bool covers(void *arg, const struct rbac_rule *rule, const struct rbac_binding *by)
{
    const struct wish *w = arg;

    (void)by;
    if (!has_or_all(rule->verbs, w->verb))
        return false;
    if (w->url)
        return url_matches(rule->urls, w->url);
    if (!has_or_all(rule->groups, w->group))
        return false;
    const char *slash = strchr(w->resource, '/');
    bool resource = rbac_list_has(rule->resources, "*") || rbac_list_has(rule->resources, w->resource);
    if (!resource && slash) {
        char any[300];

        snprintf(any, sizeof(any), "*%s", slash);
        resource = rbac_list_has(rule->resources, any);
    }
    return resource && (!rule->names || (w->name && rbac_list_has(rule->names, w->name)));
}

static bool may(struct authz *a, const struct user *user, const char *ns, const struct wish *w)
{
    return rbac_index_each(a->rbac, user, ns, covers, (void *)w);
}

/* What is missing, in upstream's words: verbs of the same resource share a line. */
struct missing {
    struct arena *arena;
    struct missing_line {
        const char *head, *verbs; /* `{APIGroups:[""], Resources:["pods"]`, `"get" "list"` */
    } *at;
    size_t n, cap;
};

static void add_missing(struct missing *m, const struct wish *w)
{
    struct arena *a = m->arena;
    const char *verb = go_quote(a, w->verb), *head = NULL;

    if (w->url)
        head = arena_printf(a, "{NonResourceURLs:[%s]", go_quote(a, w->url));
    else if (w->name)
        head = arena_printf(a, "{APIGroups:[%s], Resources:[%s], ResourceNames:[%s]", go_quote(a, w->group), go_quote(a, w->resource),
                            go_quote(a, w->name));
    else
        head = arena_printf(a, "{APIGroups:[%s], Resources:[%s]", go_quote(a, w->group), go_quote(a, w->resource));
    for (size_t i = 0; i < m->n && !w->url; i++)
        if (strcmp(m->at[i].head, head) == 0) {
            m->at[i].verbs = arena_printf(a, "%s %s", m->at[i].verbs, verb);
            return;
        }
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 8;
        struct missing_line *at = arena_alloc(a, m->cap * sizeof(*at));

        if (m->n)
            memcpy(at, m->at, m->n * sizeof(*at));
        m->at = at;
    }
    m->at[m->n++] = (struct missing_line){ head, verb };
}

static void check_wish(struct authz *a, const struct user *user, const char *ns, const struct wish *w, struct missing *m)
{
    if (!may(a, user, ns, w))
        add_missing(m, w);
}

static void check_resource(struct authz *a, const struct user *user, const char *ns, const struct rbac_rule *rule, struct wish *w,
                           struct missing *m)
{
    if (!rule->names || !*rule->names) {
        check_wish(a, user, ns, w, m);
        return;
    }
    for (char **n = rule->names; *n; n++) {
        w->name = *n;
        check_wish(a, user, ns, w, m);
    }
}

static void check_rule(struct authz *a, const struct user *user, const char *ns, const struct rbac_rule *rule, struct missing *m)
{
    for (char **g = rule->groups; g && *g; g++)
        for (char **r = rule->resources; r && *r; r++)
            for (char **v = rule->verbs; v && *v; v++)
                check_resource(a, user, ns, rule, &(struct wish){ .verb = *v, .group = *g, .resource = *r }, m);
    for (char **u = rule->urls; u && *u; u++)
        for (char **v = rule->verbs; v && *v; v++)
            check_wish(a, user, ns, &(struct wish){ .verb = *v, .url = *u }, m);
}

static int by_line(const void *a, const void *b)
{
    const struct missing_line *x = a, *y = b;
    int order = strcmp(x->head, y->head);

    return order ? order : strcmp(x->verbs, y->verbs);
}

static int refuse_grant(struct ctx *ctx, const struct user *user, struct missing *m, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };

    qsort(m->at, m->n, sizeof(*m->at), by_line);
    buf_printf(&text, "user %s (groups=[", go_quote(m->arena, user->name));
    for (size_t i = 0; i < user->n_groups; i++)
        buf_printf(&text, "%s%s", i ? " " : "", go_quote(m->arena, user->groups[i]));
    buf_str(&text, "]) is attempting to grant RBAC permissions not currently held:");
    for (size_t i = 0; i < m->n; i++)
        buf_printf(&text, "\n%s, Verbs:[%s]}", m->at[i].head, m->at[i].verbs);
    int rc = err_set(err, ERR_FORBIDDEN, "%s", buf_at(&text));
    if (ctx->arena) { /* err.msg has an end, the list may have none */
        struct k8s_status *st = arena_alloc(ctx->arena, sizeof(*st));

        *st = (struct k8s_status){ .message = arena_strdup(ctx->arena, buf_at(&text)) };
        err->status = st;
    }
    return rc;
}

int authz_may_grant(struct ctx *ctx, struct authz *a, const struct user *user, const char *ns, const json_t *rules, struct err *err)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct missing m = { .arena = arena };
    size_t i = 0;
    json_t *tree = NULL;

    if (in_group(user, "system:masters"))
        return 0;
    pthread_rwlock_rdlock(&a->lock);
    json_array_foreach((json_t *)rules, i, tree)
    {
        struct rbac_rule rule = rbac_rule_of(tree);

        check_rule(a, user, ns, &rule, &m);
        rbac_rule_clear(&rule);
    }
    pthread_rwlock_unlock(&a->lock);
    return m.n == 0 ? 0 : refuse_grant(ctx, user, &m, err);
}

static bool add_rule(void *arg, const struct rbac_rule *rule, const struct rbac_binding *by)
{
    (void)by;
    json_array_append_new(arg, rbac_rule_tree(rule));
    return false;
}

json_t *authz_role_rules(struct authz *a, const char *kind, const char *ns, const char *name)
{
    AUTO_FREE char *key = mem_printf("%s/%s", strcmp(kind, "ClusterRole") == 0 ? "" : ns, name);
    json_t *rules = NULL;

    pthread_rwlock_rdlock(&a->lock);
    if (rbac_role_exists(a->rbac, key)) {
        rules = json_array();
        rbac_role_each(a->rbac, key, add_rule, rules);
    }
    pthread_rwlock_unlock(&a->lock);
    return rules;
}
