#include "server/supervisor/bootstrap.h"

#include "embed/schema.h"
#include "lib/k8s/meta.h"
#include "lib/k8s/schema.h"
#include "lib/pool.h"

#include <pthread.h>
#include <string.h>

enum { ITEMS_MAX = 512, JOBS = 16 };

/* Objects are made side by side: their commits share fsyncs. */
struct work {
    struct ctx *ctx;
    const struct bootstrap_options *o;
    json_t *items[ITEMS_MAX];
    size_t n, next;
    int running;
    pthread_mutex_t lock; /* guards next, running, failed */
    pthread_cond_t done;
    struct err failed;
    bool any_failed;
};

static void add(struct work *w, json_t *item)
{
    if (w->n < ITEMS_MAX)
        w->items[w->n++] = item;
    else
        json_decref(item);
}

static int add_lines(struct work *w, struct slice lines, struct err *err)
{
    while (lines.n > 0) {
        const char *nl = memchr(lines.at, '\n', lines.n);
        size_t n = nl ? (size_t)(nl - lines.at) : lines.n;
        json_t *item = NULL;

        if (n > 0) {
            if (json_read(lines.at, n, NULL, NULL, &item, err) < 0)
                return err_wrap(err, "embedded bootstrap objects");
            add(w, item);
        }
        lines.at += n + (nl != NULL);
        lines.n -= n + (nl != NULL);
    }
    return 0;
}

/* --- what depends on this cluster --- */

/* An agent carries service traffic with its node certificate; upstream's kube-proxy has one of its own. */
static json_t *node_proxier(void)
{
    return json_pack("{s:s, s:s, s:{s:s}, s:{s:s, s:s, s:s}, s:[{s:s, s:s, s:s}]}", "kind", "ClusterRoleBinding", "apiVersion",
                     "rbac.authorization.k8s.io/v1", "metadata", "name", "rancherd:node-proxier", "roleRef", "apiGroup",
                     "rbac.authorization.k8s.io", "kind", "ClusterRole", "name", "system:node-proxier", "subjects", "apiGroup",
                     "rbac.authorization.k8s.io", "kind", "Group", "name", "system:nodes");
}

static json_t *kubernetes_service(const struct bootstrap_options *o)
{
    json_t *s = json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s,s:s}},s:{s:s,s:[s],s:s,s:s,s:[{s:s,s:s,s:i,s:i}]}}", "kind", "Service", "apiVersion",
                          "v1", "metadata", "name", "kubernetes", "namespace", "default", "labels", "component", "apiserver", "provider",
                          "kubernetes", "spec", "clusterIP", o->service_ip, "clusterIPs", o->service_ip, "type", "ClusterIP",
                          "sessionAffinity", "None", "ports", "name", "https", "protocol", "TCP", "port", 443, "targetPort",
                          o->advertise_port);

    return s;
}

static json_t *kubernetes_endpoints(const struct bootstrap_options *o)
{
    return json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s}},s:[{s:[{s:s}],s:[{s:s,s:i,s:s}]}]}", "kind", "Endpoints", "apiVersion", "v1", "metadata",
                     "name", "kubernetes", "namespace", "default", "labels", "endpointslice.kubernetes.io/skip-mirror", "true", "subsets",
                     "addresses", "ip", o->advertise_ip, "ports", "name", "https", "port", o->advertise_port, "protocol", "TCP");
}

static json_t *kubernetes_slice(const struct bootstrap_options *o)
{
    return json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s}},s:s,s:[{s:[s],s:{s:b}}],s:[{s:s,s:i,s:s}]}", "kind", "EndpointSlice", "apiVersion",
                     "discovery.k8s.io/v1", "metadata", "name", "kubernetes", "namespace", "default", "labels",
                     "kubernetes.io/service-name", "kubernetes", "addressType", strchr(o->advertise_ip, ':') ? "IPv6" : "IPv4",
                     "endpoints", "addresses", o->advertise_ip, "conditions", "ready", 1, "ports", "name", "https", "port",
                     o->advertise_port, "protocol", "TCP");
}

static json_t *authentication_map(const struct bootstrap_options *o)
{
    json_t *m = json_pack("{s:s,s:s,s:{s:s,s:s}}", "kind", "ConfigMap", "apiVersion", "v1", "metadata", "name",
                          "extension-apiserver-authentication", "namespace", "kube-system");

    json_object_set_new(m, "data", json_object());
    json_t *data = json_object_get(m, "data");
    json_object_set_new(data, "client-ca-file", json_string(o->client_ca_pem));
    json_object_set_new(data, "requestheader-allowed-names", json_string("[\"system:auth-proxy\"]"));
    json_object_set_new(data, "requestheader-client-ca-file", json_string(o->request_header_ca_pem));
    json_object_set_new(data, "requestheader-extra-headers-prefix", json_string("[\"X-Remote-Extra-\"]"));
    json_object_set_new(data, "requestheader-group-headers", json_string("[\"X-Remote-Group\"]"));
    json_object_set_new(data, "requestheader-username-headers", json_string("[\"X-Remote-User\"]"));
    return m;
}

/* --- one object --- */

static void drop_system_fields(json_t *item)
{
    static const char *const drop[] = { "uid", "resourceVersion", "creationTimestamp", "managedFields", "generation" };

    for (size_t i = 0; i < ARRAY_LEN(drop); i++)
        json_object_del(json_object_get(item, "metadata"), drop[i]);
    json_object_del(item, "status");
}

static bool has_entry(const json_t *list, const json_t *entry)
{
    size_t i = 0;
    json_t *v = NULL;

    json_array_foreach((json_t *)list, i, v) if (json_equal(v, entry)) return true;
    return false;
}

/* Adds what is missing of a list (rules, subjects); nothing is taken away, as upstream reconciles. */
static bool merge_list(json_t *live, const json_t *item, const char *field)
{
    json_t *had = json_object_get(live, field), *v = NULL;
    size_t i = 0;
    bool changed = false;

    json_array_foreach(json_object_get(item, field), i, v)
    {
        if (has_entry(had, v))
            continue;
        if (!json_is_array(had)) {
            had = json_array();
            json_object_set_new(live, field, had);
        }
        json_array_append(had, v);
        changed = true;
    }
    return changed;
}

static bool replace(json_t *live, const json_t *item, const char *field)
{
    json_t *want = json_object_get(item, field);

    if (!want || json_equal(want, json_object_get(live, field)))
        return false;
    json_object_set(live, field, want);
    return true;
}

/* Whether the live object had to be changed. */
static bool reconcile(json_t *live, const json_t *item, const char *kind)
{
    if (strstr(kind, "Role")) {
        const char *update = meta_annotation(live, "rbac.authorization.kubernetes.io/autoupdate");

        if (update && strcmp(update, "false") == 0)
            return false;
        return merge_list(live, item, strstr(kind, "Binding") ? "subjects" : "rules");
    }
    if (strcmp(kind, "Endpoints") == 0)
        return replace(live, item, "subsets");
    if (strcmp(kind, "EndpointSlice") == 0)
        return replace(live, item, "endpoints") | replace(live, item, "ports");
    if (strcmp(kind, "ConfigMap") == 0)
        return replace(live, item, "data");
    return false;
}

static int put_object(struct ctx *ctx, struct client *c, json_t *item, struct err *err)
{
    const char *kind = json_str_or(item, "kind", ""), *version = json_str_or(item, "apiVersion", "");
    const char *slash = strchr(version, '/');
    char group[128] = "";
    AUTO(json) json_t *live = NULL;

    if (slash && (size_t)(slash - version) < sizeof(group))
        memcpy(group, version, (size_t)(slash - version));
    const struct schema_resource *res = schema_resource_of_kind(schema_builtin(), group, slash ? slash + 1 : version, kind);
    if (!res)
        return err_set(err, ERR_IO, "bootstrap object of unknown kind %s %s", version, kind);
    drop_system_fields(item);
    struct object_ref ref = { res->group, res->version, res->resource, meta_namespace(item), meta_name(item), NULL };
    if (client_get(ctx, c, &ref, &live, err) == 0) {
        if (!reconcile(live, item, kind))
            return 0;
        return client_update(ctx, c, &ref, live, NULL, err);
    }
    if (err->code != ERR_NOT_FOUND)
        return err_wrap(err, "%s %s", kind, meta_name(item));
    ref.name = NULL;
    if (client_create(ctx, c, &ref, item, NULL, err) < 0 && err->code != ERR_EXISTS)
        return err_wrap(err, "make %s %s", kind, meta_name(item));
    return 0;
}

static json_t *next_item(struct work *w)
{
    LOCK_SCOPE(&w->lock);

    return w->any_failed || w->next >= w->n ? NULL : w->items[w->next++];
}

static void job(void *arg)
{
    struct work *w = arg;
    json_t *item = NULL;
    struct err err;

    while ((item = next_item(w))) {
        AUTO(arena) struct arena *arena = arena_new();
        struct ctx ctx = *w->ctx;

        ctx.arena = arena;
        if (put_object(&ctx, w->o->client, item, &err) < 0) {
            LOCK_SCOPE(&w->lock);
            err.status = NULL; /* it lives in the arena that goes */
            if (!w->any_failed)
                w->failed = err;
            w->any_failed = true;
        }
    }
    LOCK_SCOPE(&w->lock);
    if (--w->running == 0)
        pthread_cond_signal(&w->done);
}

static void run_all(struct work *w, struct pool *pool)
{
    struct err err;

    w->running = JOBS;
    for (int i = 0; i < JOBS; i++)
        if (pool_run(pool, job, w, &err) < 0)
            job(w);
    pool_wait_begin();
    pthread_mutex_lock(&w->lock);
    while (w->running > 0)
        pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pool_wait_end();
}

/* Namespaces come first: the others live in them. */
static int run_step(struct ctx *ctx, const struct bootstrap_options *o, bool namespaces, struct err *err)
{
    struct work w = { .ctx = ctx, .o = o, .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER };
    struct work all = { 0 };
    int rc = add_lines(&all, embed_bootstrap(), err);

    if (rc == 0 && !namespaces)
        rc = add_lines(&all, embed_rbac(), err);
    for (size_t i = 0; i < all.n; i++) {
        const char *kind = json_str_or(all.items[i], "kind", "");
        bool is_ns = strcmp(kind, "Namespace") == 0;

        if (is_ns == namespaces && strcmp(kind, "Service") != 0)
            add(&w, all.items[i]);
        else
            json_decref(all.items[i]);
    }
    if (!namespaces) {
        add(&w, kubernetes_service(o));
        add(&w, kubernetes_endpoints(o));
        add(&w, kubernetes_slice(o));
        add(&w, authentication_map(o));
        add(&w, node_proxier());
    }
    if (rc == 0)
        run_all(&w, o->pool);
    for (size_t i = 0; i < w.n; i++)
        json_decref(w.items[i]);
    if (rc == 0 && w.any_failed) {
        *err = w.failed;
        rc = -(int)err->code;
    }
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.done);
    return rc;
}

int bootstrap_run(struct ctx *ctx, const struct bootstrap_options *options, struct err *err)
{
    if (run_step(ctx, options, true, err) < 0 || run_step(ctx, options, false, err) < 0)
        return err_wrap(err, "bootstrap");
    return 0;
}
