#include "agent/network/proxy.h"

#include "agent/network/proxy_int.h"
#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/queue.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* All there is about one Service name; it may have slices before it is known itself. */
struct entry {
    struct proxy_service *service;
    struct proxy_slice *slices;
    char **applied; /* keys the network has */
    size_t n_applied;
};

struct node_facts {
    char *pod_cidr, *ip, *mac;
};

struct proxy {
    char *node_name;
    bool services_off;
    struct queue *queue;

    pthread_mutex_t lock; /* guards all below */
    struct network *network;
    struct map *entries;   /* ns/name -> struct entry */
    struct map *slice_of;  /* ns/slice -> ns/name (text) */
    struct map *dirty;     /* ns/name -> (nothing that matters) */
    struct map *nodes;     /* name -> struct node_facts */
    bool services_listed, slices_listed, no_vxlan_said;
};

static const char SERVICES[] = "services", NODE[] = "node/";

static void entry_free(void *p)
{
    struct entry *e = p;

    proxy_service_free(e->service);
    while (e->slices) {
        struct proxy_slice *s = e->slices;

        e->slices = s->next;
        proxy_slice_free(s);
    }
    for (size_t i = 0; i < e->n_applied; i++)
        free(e->applied[i]);
    free(e->applied);
    free(e);
}

static void node_free(void *p)
{
    struct node_facts *n = p;

    free(n->pod_cidr);
    free(n->ip);
    free(n->mac);
    free(n);
}

/* --- what informers say --- */

static struct entry *entry_of(struct proxy *p, const char *key)
{
    struct entry *e = map_get(p->entries, key);

    if (!e) {
        e = MEM_NEW(struct entry);
        map_set(p->entries, key, e);
    }
    return e;
}

static bool may_sync(const struct proxy *p)
{
    return p->network && p->services_listed && p->slices_listed;
}

static void mark(struct proxy *p, const char *key)
{
    map_set(p->dirty, key, p);
    if (may_sync(p))
        queue_add(p->queue, SERVICES);
}

static void service_set(void *arg, const json_t *object, bool first)
{
    struct proxy *p = arg;
    AUTO_FREE char *key = meta_key(object);
    struct proxy_service *s = proxy_service_read(object);
    LOCK_SCOPE(&p->lock);
    struct entry *e = s ? entry_of(p, key) : map_get(p->entries, key);

    (void)first;
    if (!e)
        return;
    proxy_service_free(e->service);
    e->service = s;
    mark(p, key);
}

static void service_delete(void *arg, const json_t *last)
{
    struct proxy *p = arg;
    AUTO_FREE char *key = meta_key(last);
    LOCK_SCOPE(&p->lock);
    struct entry *e = map_get(p->entries, key);

    if (!e)
        return;
    proxy_service_free(e->service);
    e->service = NULL;
    mark(p, key);
}

/* Takes a slice out of the service it was last seen under. */
static void forget_slice(struct proxy *p, const char *slice_key)
{
    const char *key = map_get(p->slice_of, slice_key);
    struct entry *e = key ? map_get(p->entries, key) : NULL;

    for (struct proxy_slice **at = e ? &e->slices : NULL; at && *at; at = &(*at)->next)
        if (strcmp((*at)->key, slice_key) == 0) {
            struct proxy_slice *gone = *at;

            *at = gone->next;
            proxy_slice_free(gone);
            mark(p, key);
            break;
        }
    map_del(p->slice_of, slice_key);
}

static void slice_set(void *arg, const json_t *object, bool first)
{
    struct proxy *p = arg;
    const char *service = meta_label(object, "kubernetes.io/service-name");
    AUTO_FREE char *key = service ? mem_printf("%s/%s", meta_namespace(object), service) : NULL;
    AUTO_FREE char *slice_key = meta_key(object);
    struct proxy_slice *s = key && *service ? proxy_slice_read(object, p->node_name) : NULL;
    LOCK_SCOPE(&p->lock);

    (void)first;
    forget_slice(p, slice_key);
    if (!s)
        return;
    struct entry *e = entry_of(p, key);

    s->next = e->slices;
    e->slices = s;
    map_set(p->slice_of, slice_key, mem_strdup(key));
    mark(p, key);
}

static void slice_delete(void *arg, const json_t *last)
{
    struct proxy *p = arg;
    AUTO_FREE char *slice_key = meta_key(last);
    LOCK_SCOPE(&p->lock);

    forget_slice(p, slice_key);
}

static void listed(struct proxy *p, bool *which)
{
    LOCK_SCOPE(&p->lock);
    *which = true;
    if (may_sync(p))
        queue_add(p->queue, SERVICES);
}

static void services_synced(void *arg)
{
    listed(arg, &((struct proxy *)arg)->services_listed);
}

static void slices_synced(void *arg)
{
    listed(arg, &((struct proxy *)arg)->slices_listed);
}

static const char *internal_ip(const json_t *node)
{
    const json_t *all = json_at(node, "status.addresses");

    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(json_str_or(json_array_get(all, i), "type", ""), "InternalIP") == 0)
            return json_str(json_array_get(all, i), "address");
    return NULL;
}

/* NULL while the node has not said all of it. */
static struct node_facts *node_read(const json_t *node)
{
    const char *data = meta_annotation(node, "flannel.alpha.coreos.com/backend-data");
    const char *ip = meta_annotation(node, "flannel.alpha.coreos.com/public-ip"), *cidr = json_str(node, "spec.podCIDR");
    AUTO(json) json_t *backend = NULL;
    struct err ignored;
    struct node_facts *n;

    if (!ip)
        ip = internal_ip(node);
    if (!data || !ip || !cidr || json_read(data, strlen(data), NULL, NULL, &backend, &ignored) < 0 || !json_str(backend, "VtepMAC") ||
        !*json_str(backend, "VtepMAC"))
        return NULL;
    n = MEM_NEW(struct node_facts);
    n->pod_cidr = mem_strdup(cidr);
    n->ip = mem_strdup(ip);
    n->mac = mem_strdup(json_str(backend, "VtepMAC"));
    return n;
}

static void node_changed(struct proxy *p, const char *name, struct node_facts *facts)
{
    char key[300];
    LOCK_SCOPE(&p->lock);
    const struct node_facts *old = map_get(p->nodes, name);

    if (old && facts && strcmp(old->pod_cidr, facts->pod_cidr) == 0 && strcmp(old->ip, facts->ip) == 0 && strcmp(old->mac, facts->mac) == 0) {
        node_free(facts);
        return;
    }
    if (facts)
        map_set(p->nodes, name, facts);
    else if (!map_del(p->nodes, name))
        return;
    snprintf(key, sizeof(key), "%s%s", NODE, name);
    if (p->network)
        queue_add(p->queue, key);
}

static void node_set(void *arg, const json_t *object, bool first)
{
    struct proxy *p = arg;

    (void)first;
    if (strcmp(meta_name(object), p->node_name) != 0)
        node_changed(p, meta_name(object), node_read(object));
}

static void node_delete(void *arg, const json_t *last)
{
    node_changed(arg, meta_name(last), NULL);
}

/* --- passes --- */

static int sync_node(struct proxy *p, const char *name, struct err *err)
{
    AUTO_FREE char *cidr = NULL, *ip = NULL, *mac = NULL;
    bool say = false;

    {
        LOCK_SCOPE(&p->lock);
        const struct node_facts *n = map_get(p->nodes, name);

        if (n) {
            cidr = mem_strdup(n->pod_cidr);
            ip = mem_strdup(n->ip);
            mac = mem_strdup(n->mac);
            say = !*network_vtep_mac(p->network) && !p->no_vxlan_said;
            p->no_vxlan_said |= say;
        }
    }
    if (!cidr)
        return network_node_del(p->network, name, err);
    if (say)
        log_warn("pods of other nodes are out of reach", "reason=\"no VXLAN interface of our own: its port is taken, or the kernel has none\"");
    if (!*network_vtep_mac(p->network))
        return 0;
    return network_node_set(p->network, name, cidr, ip, mac, err);
}

/* One pass over what is dirty: what goes, what is set, and for each service which keys it has then. */
struct pass {
    struct arena *arena;
    const char **services; /* ns/name */
    size_t n_services;
    struct network_service_port **ports; /* of each service */
    size_t *n_ports;
    const char **gone;
    size_t n_gone, cap_gone;
};

static void add_gone(struct pass *s, const char *key)
{
    if (s->n_gone == s->cap_gone) {
        size_t cap = s->cap_gone ? s->cap_gone * 2 : 32;
        const char **more = arena_alloc(s->arena, cap * sizeof(*more));

        if (s->n_gone)
            memcpy(more, s->gone, s->n_gone * sizeof(*more));
        s->gone = more;
        s->cap_gone = cap;
    }
    s->gone[s->n_gone++] = arena_strdup(s->arena, key);
}

static bool has_key(const struct network_service_port *ports, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(ports[i].key, key) == 0)
            return true;
    return false;
}

static void take_dirty(struct proxy *p, struct pass *s)
{
    LOCK_SCOPE(&p->lock);
    size_t n = map_len(p->dirty), pos = 0;
    const char *key;
    void *ignored;

    s->services = arena_alloc(s->arena, (n + 1) * sizeof(*s->services));
    s->ports = arena_alloc(s->arena, (n + 1) * sizeof(struct network_service_port *));
    s->n_ports = arena_alloc(s->arena, (n + 1) * sizeof(*s->n_ports));
    while (map_next(p->dirty, &pos, &key, &ignored)) {
        struct entry *e = map_get(p->entries, key);
        size_t i = s->n_services++;

        s->services[i] = arena_strdup(s->arena, key);
        if (e && e->service)
            proxy_plan(s->arena, key, e->service, e->slices, &s->ports[i], &s->n_ports[i]);
        for (size_t k = 0; e && k < e->n_applied; k++)
            if (!has_key(s->ports[i], s->n_ports[i], e->applied[k]))
                add_gone(s, e->applied[k]);
    }
    map_free(p->dirty);
    p->dirty = map_new(NULL);
}

/* Notes what the network has now; an entry that means nothing any more goes. */
static void note_applied(struct proxy *p, const struct pass *s, size_t i)
{
    LOCK_SCOPE(&p->lock);
    struct entry *e = map_get(p->entries, s->services[i]);

    if (!e)
        return;
    for (size_t k = 0; k < e->n_applied; k++)
        free(e->applied[k]);
    free(e->applied);
    e->applied = s->n_ports[i] ? mem_zalloc(s->n_ports[i] * sizeof(*e->applied)) : NULL;
    e->n_applied = s->n_ports[i];
    for (size_t k = 0; k < e->n_applied; k++)
        e->applied[k] = mem_strdup(s->ports[i][k].key);
    if (!e->service && !e->slices && !e->n_applied)
        map_del(p->entries, s->services[i]);
}

static void mark_again(struct proxy *p, const struct pass *s, size_t i)
{
    LOCK_SCOPE(&p->lock);
    map_set(p->dirty, s->services[i], p);
}

/* One that the kernel refuses must not hold up the others. */
static int set_one_by_one(struct proxy *p, const struct pass *s, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < s->n_services; i++) {
        struct err one;

        if (network_services_set(p->network, s->ports[i], s->n_ports[i], &one) == 0) {
            note_applied(p, s, i);
            continue;
        }
        mark_again(p, s, i);
        if (rc == 0) {
            *err = one;
            rc = err_wrap(err, "service %s", s->services[i]);
        }
    }
    return rc;
}

static int sync_services(struct proxy *p, struct ctx *ctx, struct err *err)
{
    struct pass s = { .arena = ctx->arena };
    struct network_service_port *all;
    struct err together;
    size_t n = 0;

    take_dirty(p, &s);
    for (size_t i = 0; i < s.n_services; i++)
        n += s.n_ports[i];
    all = arena_alloc(ctx->arena, (n + 1) * sizeof(*all));
    n = 0;
    for (size_t i = 0; i < s.n_services; i++) {
        if (s.n_ports[i])
            memcpy(all + n, s.ports[i], s.n_ports[i] * sizeof(*all));
        n += s.n_ports[i];
    }
    if (s.n_gone && network_services_del(p->network, s.gone, s.n_gone, err) < 0) {
        for (size_t i = 0; i < s.n_services; i++)
            mark_again(p, &s, i);
        return -(int)err->code;
    }
    if (network_services_set(p->network, all, n, &together) < 0)
        return set_one_by_one(p, &s, err);
    for (size_t i = 0; i < s.n_services; i++)
        note_applied(p, &s, i);
    return 0;
}

static int pass(void *arg, struct ctx *ctx, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct proxy *p = arg;

    (void)ret_again_ms;
    if (strcmp(key, SERVICES) == 0)
        return sync_services(p, ctx, err);
    return sync_node(p, key + sizeof(NODE) - 1, err);
}

/* --- life --- */

static void add_informers(struct proxy *p, struct informers *set)
{
    static const struct object_ref services = { .group = "", .version = "v1", .resource = "services" },
                                   slices = { .group = "discovery.k8s.io", .version = "v1", .resource = "endpointslices" },
                                   nodes = { .group = "", .version = "v1", .resource = "nodes" };
    static const struct informer_handler on_services = { service_set, service_delete, services_synced },
                                         on_slices = { slice_set, slice_delete, slices_synced }, on_nodes = { node_set, node_delete, NULL };

    if (!p->services_off) {
        informers_add(set, &services, NULL, &on_services, p);
        informers_add(set, &slices, NULL, &on_slices, p);
    }
    informers_add(set, &nodes, NULL, &on_nodes, p);
}

struct proxy *proxy_open(const struct proxy_options *options)
{
    struct proxy *p = MEM_NEW(struct proxy);
    struct queue_options q = { .name = "proxy", .pool = options->pool, .loop = options->loop, .clock = options->clock, .workers = 1,
                               .backoff_max_ms = 30000 };

    p->node_name = mem_strdup(options->node_name);
    p->services_off = options->services_off;
    pthread_mutex_init(&p->lock, NULL);
    p->entries = map_new(entry_free);
    p->slice_of = map_new(free);
    p->dirty = map_new(NULL);
    p->nodes = map_new(node_free);
    p->queue = queue_new(&q, pass, p);
    add_informers(p, options->informers);
    return p;
}

void proxy_set_network(struct proxy *p, struct network *network)
{
    LOCK_SCOPE(&p->lock);
    size_t pos = 0;
    const char *name;
    void *ignored;

    if (p->network == network)
        return;
    p->network = network;
    if (may_sync(p))
        queue_add(p->queue, SERVICES);
    while (map_next(p->nodes, &pos, &name, &ignored)) {
        char key[300];

        snprintf(key, sizeof(key), "%s%s", NODE, name);
        queue_add(p->queue, key);
    }
}

void proxy_stop(struct proxy *p)
{
    if (p)
        queue_stop(p->queue);
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    queue_free(p->queue);
    map_free(p->entries);
    map_free(p->slice_of);
    map_free(p->dirty);
    map_free(p->nodes);
    pthread_mutex_destroy(&p->lock);
    free(p->node_name);
    free(p);
}
