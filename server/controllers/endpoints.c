/* Endpoints and EndpointSlices of services with a selector: the same pods seen two ways. */
#include "server/controllers/ctl.h"
#include "server/controllers/service_index.h"

#include <stdio.h>
#include <string.h>

enum { SLICE_MAX = 100, PORTS_MAX = 64, PODS_MAX = 5000 };

static const char managed_by[] = "endpointslice-controller.k8s.io";

/* --- what happens: shared by both --- */

static void enqueue(void *arg, const char *key)
{
    queue_add(((struct ctl *)arg)->queue, key);
}

static void flat_labels(const json_t *object, struct buf *to)
{
    const char *key = NULL;
    json_t *v = NULL;

    json_object_foreach(json_at(object, "metadata.labels"), key, v)
    {
        const char *s = json_is_string(v) ? json_string_value(v) : "";

        buf_add(to, key, strlen(key) + 1);
        buf_add(to, s, strlen(s) + 1);
    }
}

static void on_pod(void *arg, const json_t *pod, bool first)
{
    struct ctl *c = arg;
    AUTO(buf) struct buf labels = { 0 };

    (void)first;
    flat_labels(pod, &labels);
    service_index_each(c->state, meta_namespace(pod), (struct slice){ buf_at(&labels), buf_len(&labels) }, enqueue, c);
}

static void on_pod_gone(void *arg, const json_t *pod)
{
    on_pod(arg, pod, false);
}

static void on_service(void *arg, const json_t *service, bool first)
{
    struct ctl *c = arg;

    (void)first;
    service_index_set(c->state, service);
    ctl_add(c, service);
}

static void on_service_gone(void *arg, const json_t *service)
{
    struct ctl *c = arg;
    AUTO_FREE char *key = meta_key(service);

    service_index_del(c->state, key);
    queue_add(c->queue, key);
}

static void start_common(struct ctl *c)
{
    static const struct informer_handler pods = { on_pod, on_pod_gone, NULL }, services = { on_service, on_service_gone, NULL };

    c->state = service_index_new();
    ctl_watch(c, "", "v1", "services", &services);
    ctl_watch(c, "", "v1", "pods", &pods);
}

static void stop(struct ctl *c)
{
    service_index_free(c->state);
}

/* --- observe: the pods behind a service, with their ports resolved --- */

struct port {
    const char *name, *protocol, *app_protocol;
    int number;
};

struct endpoint {
    const char *ip, *name, *uid, *node, *hostname;
    bool ready, terminating;
    struct port ports[PORTS_MAX];
    size_t n_ports;
};

static int named_port(const struct pod_entry *p, const char *name, const char *protocol)
{
    for (const char *at = buf_at(&p->ports), *end = at + buf_len(&p->ports); at < end;) {
        const char *number = at + strlen(at) + 1, *proto = number + strlen(number) + 1;

        if (strcmp(at, name) == 0 && strcmp(proto, protocol) == 0)
            return (int)strtol(number, NULL, 10);
        at = proto + strlen(proto) + 1;
    }
    return -1;
}

static void resolve_ports(const json_t *service, const struct pod_entry *p, struct endpoint *e)
{
    size_t i = 0;
    json_t *port = NULL;

    json_array_foreach(json_at(service, "spec.ports"), i, port)
    {
        const json_t *target = json_object_get(port, "targetPort");
        const char *protocol = json_str_or(port, "protocol", "TCP");
        int number = json_is_string(target) ? named_port(p, json_string_value(target), protocol) : (int)json_integer_value(target);

        if (!target || (json_is_integer(target) && number == 0))
            number = (int)json_int_or(port, "port", 0);
        if (number > 0 && e->n_ports < PORTS_MAX)
            e->ports[e->n_ports++] = (struct port){ json_str_or(port, "name", ""), protocol, json_str(port, "appProtocol"), number };
    }
}

static int by_ip(const void *a, const void *b)
{
    return strcmp(((const struct endpoint *)a)->ip, ((const struct endpoint *)b)->ip);
}

static struct endpoint *observe(struct ctl *c, struct ctx *ctx, const json_t *service, size_t *ret_n)
{
    struct pod_index *x = c->all->pods;
    struct selector *sel = selector_of_map(ctx->arena, json_at(service, "spec.selector"));
    bool not_ready_too = json_bool_or(service, "spec.publishNotReadyAddresses", false);
    size_t n = 0, cap = 0;
    struct endpoint *at = NULL;

    pod_index_lock(x);
    const struct pod_entry *first = pod_index_in(x, meta_namespace(service));
    for (const struct pod_entry *p = first; p; p = p->next_ns)
        cap++;
    at = arena_alloc(ctx->arena, (cap + 1) * sizeof(*at));
    for (const struct pod_entry *p = first; p && n < PODS_MAX; p = p->next_ns) {
        if (!*p->ip || p->phase == 'S' || p->phase == 'F' || !selector_match_flat(sel, pod_entry_labels(p)))
            continue;
        struct endpoint *e = &at[n++];
        bool named = *p->hostname && strcmp(p->subdomain, meta_name(service)) == 0;
        *e = (struct endpoint){
            .ip = arena_strdup(ctx->arena, p->ip),
            .name = arena_strdup(ctx->arena, p->name),
            .uid = arena_strdup(ctx->arena, p->uid),
            .node = arena_strdup(ctx->arena, p->node),
            .hostname = named ? arena_strdup(ctx->arena, p->hostname) : "",
            .ready = p->ready || not_ready_too,
            .terminating = p->deleting,
        };
        resolve_ports(service, p, e);
    }
    pod_index_unlock(x);
    qsort(at, n, sizeof(*at), by_ip);
    *ret_n = n;
    return at;
}

static json_t *target_ref(const json_t *service, const struct endpoint *e)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "kind", "Pod", "namespace", meta_namespace(service), "name", e->name, "uid", e->uid);
}

static json_t *ports_tree(const struct endpoint *e, bool slices)
{
    json_t *list = json_array();

    for (size_t i = 0; i < e->n_ports; i++) {
        const struct port *p = &e->ports[i];
        json_t *t = json_object();

        if (slices || *p->name)
            json_object_set_new(t, "name", json_string(p->name));
        json_object_set_new(t, "port", json_integer(p->number));
        json_object_set_new(t, "protocol", json_string(p->protocol));
        if (p->app_protocol)
            json_object_set_new(t, "appProtocol", json_string(p->app_protocol));
        json_array_append_new(list, t);
    }
    return list;
}

static bool same_ports(const struct endpoint *a, const struct endpoint *b)
{
    if (a->n_ports != b->n_ports)
        return false;
    for (size_t i = 0; i < a->n_ports; i++)
        if (a->ports[i].number != b->ports[i].number || strcmp(a->ports[i].name, b->ports[i].name) != 0 ||
            strcmp(a->ports[i].protocol, b->ports[i].protocol) != 0)
            return false;
    return true;
}

static json_t *copied_labels(const json_t *service)
{
    json_t *labels = json_deep_copy(json_at(service, "metadata.labels"));

    return labels ? labels : json_object();
}

/* A read service, NULL when it wants no endpoints of ours. */
static int read_service(struct ctx *ctx, struct ctl *c, const char *key, json_t **ret, struct err *err)
{
    AUTO(json) json_t *service = NULL;

    *ret = NULL;
    if (ctl_get(ctx, c, "", "v1", "services", key, &service, err) < 0)
        return -(int)err->code;
    if (service && json_object_size(json_at(service, "spec.selector")) > 0 && !meta_deleting(service) &&
        strcmp(json_str_or(service, "spec.type", ""), "ExternalName") != 0)
        *ret = TAKE(service);
    return 0;
}

/* --- Endpoints --- */

static json_t *address(const json_t *service, const struct endpoint *e)
{
    json_t *a = json_object();

    json_object_set_new(a, "ip", json_string(e->ip));
    if (*e->hostname)
        json_object_set_new(a, "hostname", json_string(e->hostname));
    if (*e->node)
        json_object_set_new(a, "nodeName", json_string(e->node));
    json_object_set_new(a, "targetRef", target_ref(service, e));
    return a;
}

/* One subset for each set of ports. */
static json_t *subsets_of(const json_t *service, const struct endpoint *at, size_t n)
{
    json_t *subsets = json_array();
    AUTO_FREE bool *done = mem_zalloc(n + 1);

    for (size_t i = 0; i < n; i++) {
        json_t *ready = json_array(), *waiting = json_array(), *subset = json_object();

        for (size_t k = i; k < n && !done[i]; k++) {
            if (k != i && (done[k] || !same_ports(&at[i], &at[k])))
                continue;
            if (k != i)
                done[k] = true;
            if (!at[k].terminating)
                json_array_append_new(at[k].ready ? ready : waiting, address(service, &at[k]));
        }
        if (!done[i] && json_array_size(ready) + json_array_size(waiting) > 0) {
            if (json_array_size(ready))
                json_object_set(subset, "addresses", ready);
            if (json_array_size(waiting))
                json_object_set(subset, "notReadyAddresses", waiting);
            if (at[i].n_ports)
                json_object_set_new(subset, "ports", ports_tree(&at[i], false));
            json_array_append(subsets, subset);
        }
        json_decref(ready);
        json_decref(waiting);
        json_decref(subset);
    }
    return subsets;
}

static int put_endpoints(struct ctx *ctx, struct ctl *c, const json_t *service, json_t *subsets, struct err *err)
{
    struct object_ref ref = { "", "v1", "endpoints", meta_namespace(service), meta_name(service), NULL };
    AUTO(json) json_t *live = NULL;
    bool is_new = false;

    if (client_get(ctx, c->all->o.reader, &ref, &live, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -(int)err->code;
        is_new = true;
        live = json_pack("{s:s,s:s,s:{s:s,s:s}}", "kind", "Endpoints", "apiVersion", "v1", "metadata", "name", ref.name, "namespace", ref.ns);
    }
    AUTO(json) json_t *labels = copied_labels(service);
    json_object_set_new(labels, "endpoints.kubernetes.io/managed-by", json_string("endpoint-controller"));
    if (strcmp(json_str_or(service, "spec.clusterIP", ""), "None") == 0)
        json_object_set_new(labels, "service.kubernetes.io/headless", json_string(""));
    json_t *had = json_object_get(live, "subsets");
    bool same = json_equal(json_at(live, "metadata.labels"), labels) && (json_array_size(subsets) ? json_equal(had, subsets) : json_array_size(had) == 0);
    if (same && !is_new)
        return 0;
    json_put(live, "metadata.labels", json_incref(labels));
    if (json_array_size(subsets))
        json_object_set(live, "subsets", subsets);
    else
        json_object_del(live, "subsets");
    if (is_new)
        ref.name = NULL;
    int rc = is_new ? client_create(ctx, c->client, &ref, live, NULL, err) : client_update(ctx, c->client, &ref, live, NULL, err);
    if (rc < 0 && err->code == ERR_FORBIDDEN && strstr(err->msg, "being terminated"))
        return 0;
    return rc;
}

static int reconcile_endpoints(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    AUTO(json) json_t *service = NULL;
    const char *ns = NULL, *name = NULL;
    size_t n = 0;

    if (!controllers_ready(c->all)) {
        *again = 20;
        return 0;
    }
    if (read_service(ctx, c, key, &service, err) < 0)
        return -(int)err->code;
    meta_split_key(ctx->arena, key, &ns, &name);
    if (!service) {
        /* A service without selector keeps what its user wrote; one that is gone takes its endpoints along. */
        AUTO(json) json_t *any = NULL;
        struct object_ref ref = { "", "v1", "endpoints", ns, name, NULL };

        if (ctl_get(ctx, c, "", "v1", "services", key, &any, err) < 0)
            return -(int)err->code;
        if (!any && client_delete(ctx, c->client, &ref, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
            return err_wrap(err, "endpoints");
        return 0;
    }
    struct endpoint *at = observe(c, ctx, service, &n);
    AUTO(json) json_t *subsets = subsets_of(service, at, n);
    return put_endpoints(ctx, c, service, subsets, err);
}

const struct ctl_def ctl_endpoints = { "endpoint-controller", "endpoint-controller", 2, start_common, reconcile_endpoints, stop };

/* --- EndpointSlices --- */

static json_t *slice_endpoint(const json_t *service, const struct endpoint *e)
{
    json_t *t = json_pack("{s:[s],s:{s:b,s:b,s:b}}", "addresses", e->ip, "conditions", "ready", e->ready && !e->terminating, "serving",
                          (int)e->ready, "terminating", (int)e->terminating);

    if (*e->hostname)
        json_object_set_new(t, "hostname", json_string(e->hostname));
    if (*e->node)
        json_object_set_new(t, "nodeName", json_string(e->node));
    json_object_set_new(t, "targetRef", target_ref(service, e));
    return t;
}

static json_t *new_slice(const json_t *service, json_t *ports, bool v6)
{
    json_t *s = json_object(), *labels = copied_labels(service);

    json_object_set_new(s, "kind", json_string("EndpointSlice"));
    json_object_set_new(s, "apiVersion", json_string("discovery.k8s.io/v1"));
    json_put(s, "metadata.generateName", json_strf("%s-", meta_name(service)));
    json_put(s, "metadata.namespace", json_string(meta_namespace(service)));
    json_object_set_new(labels, "kubernetes.io/service-name", json_string(meta_name(service)));
    json_object_set_new(labels, "endpointslice.kubernetes.io/managed-by", json_string(managed_by));
    if (strcmp(json_str_or(service, "spec.clusterIP", ""), "None") == 0)
        json_object_set_new(labels, "service.kubernetes.io/headless", json_string(""));
    json_put(s, "metadata.labels", labels);
    json_put(s, "metadata.ownerReferences", json_pack("[o]", meta_owner_ref(service, true, true)));
    json_object_set_new(s, "addressType", json_string(v6 ? "IPv6" : "IPv4"));
    json_object_set_new(s, "ports", ports);
    json_object_set_new(s, "endpoints", json_array());
    return s;
}

/* Wanted slices: one for each set of ports and each hundred endpoints. */
static json_t *wanted_slices(const json_t *service, const struct endpoint *at, size_t n)
{
    json_t *slices = json_array();
    AUTO_FREE bool *done = mem_zalloc(n + 1);

    for (size_t i = 0; i < n; i++) {
        json_t *now = NULL;

        for (size_t k = i; k < n && !done[i]; k++) {
            if (k != i && (done[k] || !same_ports(&at[i], &at[k])))
                continue;
            if (!now || json_array_size(json_object_get(now, "endpoints")) == SLICE_MAX) {
                now = new_slice(service, ports_tree(&at[i], true), strchr(at[i].ip, ':') != NULL);
                json_array_append_new(slices, now);
            }
            json_array_append_new(json_object_get(now, "endpoints"), slice_endpoint(service, &at[k]));
            if (k != i)
                done[k] = true;
        }
    }
    if (n == 0)
        json_array_append_new(slices, new_slice(service, json_array(), false));
    return slices;
}

static int update_slice(struct ctx *ctx, struct ctl *c, json_t *live, json_t *want, struct err *err)
{
    static const char *const fields[] = { "endpoints", "ports" };
    struct object_ref ref = { "discovery.k8s.io", "v1", "endpointslices", meta_namespace(live), meta_name(live), NULL };
    bool changed = !json_equal(json_at(live, "metadata.labels"), json_at(want, "metadata.labels"));

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        json_t *w = json_object_get(want, fields[i]), *h = json_object_get(live, fields[i]);

        if (json_equal(w, h) || (json_array_size(w) == 0 && json_array_size(h) == 0))
            continue;
        json_object_set(live, fields[i], w);
        changed = true;
    }
    if (!changed)
        return 0;
    json_put(live, "metadata.labels", json_incref(json_at(want, "metadata.labels")));
    return client_update(ctx, c->client, &ref, live, NULL, err);
}

static int put_slices(struct ctx *ctx, struct ctl *c, const json_t *service, json_t *want, struct err *err)
{
    AUTO_FREE char *selector = mem_printf("kubernetes.io/service-name=%s,endpointslice.kubernetes.io/managed-by=%s", meta_name(service), managed_by);
    struct object_ref ref = { "discovery.k8s.io", "v1", "endpointslices", meta_namespace(service), NULL, NULL };
    AUTO(json) json_t *list = NULL;

    if (client_list(ctx, c->all->o.reader, &ref, &(struct client_list_opts){ .label_selector = selector }, &list, err) < 0)
        return err_wrap(err, "endpoint slices");
    json_t *live = json_object_get(list, "items");
    size_t n_live = json_array_size(live), n_want = json_array_size(want);
    for (size_t i = 0; i < n_want; i++) {
        json_t *w = json_array_get(want, i);
        int rc = 0;

        if (i < n_live) {
            json_t *have = json_array_get(live, i);

            json_object_set_new(have, "kind", json_string("EndpointSlice"));
            json_object_set_new(have, "apiVersion", json_string("discovery.k8s.io/v1"));
            rc = update_slice(ctx, c, have, w, err);
        } else {
            rc = client_create(ctx, c->client, &ref, w, NULL, err);
        }
        if (rc < 0)
            return err->code == ERR_FORBIDDEN && strstr(err->msg, "being terminated") ? 0 : err_wrap(err, "endpoint slice");
    }
    for (size_t i = n_want; i < n_live; i++) {
        struct object_ref one = ref;

        one.name = meta_name(json_array_get(live, i));
        if (client_delete(ctx, c->client, &one, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
            return err_wrap(err, "endpoint slice");
    }
    return 0;
}

static int reconcile_slices(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    AUTO(json) json_t *service = NULL;
    size_t n = 0;

    if (!controllers_ready(c->all)) {
        *again = 20;
        return 0;
    }
    if (read_service(ctx, c, key, &service, err) < 0)
        return -(int)err->code;
    if (!service)
        return 0; /* the slices go with their owner */
    struct endpoint *at = observe(c, ctx, service, &n);
    AUTO(json) json_t *want = wanted_slices(service, at, n);
    return put_slices(ctx, c, service, want, err);
}

/* A slice somebody changed or deleted is put right. */
static void on_slice(void *arg, const json_t *slice, bool first)
{
    const char *service = meta_label(slice, "kubernetes.io/service-name"), *by = meta_label(slice, "endpointslice.kubernetes.io/managed-by");

    (void)first;
    if (!service || !by || strcmp(by, managed_by) != 0)
        return;
    AUTO_FREE char *key = mem_printf("%s/%s", meta_namespace(slice), service);
    queue_add(((struct ctl *)arg)->queue, key);
}

static void on_slice_gone(void *arg, const json_t *slice)
{
    on_slice(arg, slice, false);
}

static void start_slices(struct ctl *c)
{
    static const struct informer_handler slices = { on_slice, on_slice_gone, NULL };

    start_common(c);
    ctl_watch(c, "discovery.k8s.io", "v1", "endpointslices", &slices);
}

const struct ctl_def ctl_endpoint_slice = { "endpoint-slice-controller", "endpointslice-controller", 2, start_slices, reconcile_slices, stop };
