#include "server/scheduler/cluster.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "lib/mem.h"

#include <string.h>

const char *flat_get(const struct buf *flat, const char *key)
{
    for (const char *at = buf_at(flat), *end = at + buf_len(flat); at < end;) {
        const char *value = at + strlen(at) + 1;

        if (strcmp(at, key) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

static void add_text(struct buf *to, const char *s)
{
    buf_add(to, s, strlen(s) + 1);
}

void flat_of(const json_t *map, struct buf *to)
{
    const char *key = NULL;
    json_t *v = NULL;

    json_object_foreach((json_t *)map, key, v)
    {
        add_text(to, key);
        add_text(to, json_is_string(v) ? json_string_value(v) : "");
    }
}

/* --- nodes --- */

static void node_clear(struct sched_node *n)
{
    buf_clear(&n->labels);
    buf_clear(&n->images);
    for (size_t i = 0; i < n->n_taints; i++) {
        free(n->taints[i].key);
        free(n->taints[i].value);
        free(n->taints[i].effect);
    }
    for (size_t i = 0; i < n->n_scalars; i++)
        free(n->scalars[i].name);
    n->n_taints = n->n_scalars = 0;
}

static void node_free(void *p)
{
    struct sched_node *n = p;

    node_clear(n);
    free(n->name);
    free(n);
}

static void pod_free(void *p)
{
    struct sched_pod *pod = p;

    for (size_t i = 0; i < pod->n_scalars; i++)
        free(pod->scalars[i].name);
    buf_clear(&pod->labels);
    buf_clear(&pod->ports);
    free(pod->key);
    free(pod->ns);
    free(pod->node);
    free(pod);
}

void cluster_init(struct cluster *c)
{
    *c = (struct cluster){ .nodes = map_new(node_free), .pods = map_new(pod_free), .by_node = map_new(NULL) };
}

void cluster_clear(struct cluster *c)
{
    map_free(c->by_node);
    map_free(c->pods);
    map_free(c->nodes);
    free(c->list);
    *c = (struct cluster){ 0 };
}

static void account(struct sched_node *n, const struct sched_pod *p, int sign)
{
    n->used_cpu += sign * p->cpu;
    n->used_memory += sign * p->memory;
    n->used_ephemeral += sign * p->ephemeral;
    n->nonzero_cpu += sign * p->nonzero_cpu;
    n->nonzero_memory += sign * p->nonzero_memory;
    n->used_pods += sign;
    for (size_t i = 0; i < p->n_scalars; i++)
        for (size_t k = 0; k < n->n_scalars; k++)
            if (strcmp(n->scalars[k].name, p->scalars[i].name) == 0)
                n->scalars[k].used += sign * p->scalars[i].value;
}

static void read_taints(struct sched_node *n, const json_t *node)
{
    size_t i = 0;
    json_t *t = NULL;

    json_array_foreach(json_at(node, "spec.taints"), i, t)
    {
        if (n->n_taints == NODE_TAINTS_MAX)
            break;
        n->taints[n->n_taints++] = (struct sched_taint){ mem_strdup(json_str_or(t, "key", "")), mem_strdup(json_str_or(t, "value", "")),
                                                         mem_strdup(json_str_or(t, "effect", "")) };
    }
}

static void read_allocatable(struct sched_node *n, const json_t *node)
{
    const char *name = NULL;
    json_t *v = NULL;

    n->cpu_milli = n->memory_bytes = n->ephemeral_bytes = n->pods = 0;
    json_object_foreach(json_at(node, "status.allocatable"), name, v)
    {
        if (strcmp(name, "cpu") == 0)
            n->cpu_milli = quantity_json_milli(v);
        else if (strcmp(name, "memory") == 0)
            n->memory_bytes = quantity_json_value(v);
        else if (strcmp(name, "ephemeral-storage") == 0)
            n->ephemeral_bytes = quantity_json_value(v);
        else if (strcmp(name, "pods") == 0)
            n->pods = quantity_json_value(v);
        else if (n->n_scalars < NODE_SCALARS_MAX) {
            n->scalars[n->n_scalars].name = mem_strdup(name);
            n->scalars[n->n_scalars].used = 0;
            n->scalars[n->n_scalars++].value = quantity_json_value(v);
        }
    }
}

static void read_images(struct sched_node *n, const json_t *node)
{
    size_t i = 0, k = 0;
    json_t *image = NULL, *name = NULL;

    json_array_foreach(json_at(node, "status.images"), i, image)
        json_array_foreach(json_object_get(image, "names"), k, name) if (json_is_string(name)) add_text(&n->images, json_string_value(name));
}

static struct sched_node *node_get_or_add(struct cluster *c, const char *name)
{
    struct sched_node *n = map_get(c->nodes, name);

    if (n)
        return n;
    n = MEM_NEW(struct sched_node);
    n->name = mem_strdup(name);
    map_set(c->nodes, name, n);
    if (c->n_nodes == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 16;
        c->list = mem_realloc(c->list, c->cap * sizeof(struct sched_node *));
    }
    n->index = (int)c->n_nodes;
    c->list[c->n_nodes++] = n;
    return n;
}

/* A sum over what can make room: when it stays the same, an update (a heartbeat, say) helps nobody. */
static uint64_t mark_of(const struct sched_node *n)
{
    uint64_t h = 1469598103934665603u;
    const struct buf *texts[] = { &n->labels };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        for (size_t k = 0; k < buf_len(texts[i]); k++)
            h = (h ^ (unsigned char)buf_at(texts[i])[k]) * 1099511628211u;
    for (size_t i = 0; i < n->n_taints; i++)
        for (const char *at = n->taints[i].key; *at; at++)
            h = (h ^ (unsigned char)*at ^ (uint64_t)(unsigned char)n->taints[i].effect[0] << 8) * 1099511628211u;
    h ^= (uint64_t)n->cpu_milli * 31 + (uint64_t)n->memory_bytes * 131 + (uint64_t)n->pods * 1031 + n->unschedulable;
    for (size_t i = 0; i < n->n_scalars; i++)
        h ^= (uint64_t)n->scalars[i].value * (i + 7);
    return h;
}

bool cluster_set_node(struct cluster *c, const json_t *node)
{
    bool known = map_get(c->nodes, meta_name(node)) != NULL;
    struct sched_node *n = node_get_or_add(c, meta_name(node));
    uint64_t before = mark_of(n);

    node_clear(n);
    flat_of(json_at(node, "metadata.labels"), &n->labels);
    n->unschedulable = json_bool_or(node, "spec.unschedulable", false);
    read_taints(n, node);
    read_allocatable(n, node);
    read_images(n, node);
    n->used_cpu = n->used_memory = n->used_ephemeral = n->used_pods = n->nonzero_cpu = n->nonzero_memory = 0;
    for (const struct sched_pod *p = cluster_pods_on(c, n->name); p; p = p->next)
        account(n, p, 1);
    return !known || mark_of(n) != before;
}

void cluster_del_node(struct cluster *c, const char *name)
{
    struct sched_node *n = map_get(c->nodes, name);

    if (!n)
        return;
    c->list[n->index] = c->list[--c->n_nodes];
    c->list[n->index]->index = n->index;
    map_del(c->nodes, name);
}

/* --- pods --- */

const struct sched_pod *cluster_pod(const struct cluster *c, const char *key)
{
    return map_get(c->pods, key);
}

const struct sched_pod *cluster_pods_on(const struct cluster *c, const char *node)
{
    return map_get(c->by_node, node);
}

bool cluster_del_pod(struct cluster *c, const char *key)
{
    struct sched_pod *p = map_take(c->pods, key);
    struct sched_node *n = p ? map_get(c->nodes, p->node) : NULL;

    if (!p)
        return false;
    if (n)
        account(n, p, -1);
    if (p->prev)
        p->prev->next = p->next;
    else if (p->next)
        map_set(c->by_node, p->node, p->next);
    else
        map_del(c->by_node, p->node);
    if (p->next)
        p->next->prev = p->prev;
    pod_free(p);
    return true;
}

static void read_ports(struct sched_pod *p, const json_t *pod)
{
    size_t i = 0, k = 0;
    json_t *c = NULL, *port = NULL;

    json_array_foreach(json_at(pod, "spec.containers"), i, c) json_array_foreach(json_object_get(c, "ports"), k, port)
    {
        int64_t host = json_int_or(port, "hostPort", 0);

        if (host > 0) {
            buf_printf(&p->ports, "%s %s %lld", json_str_or(port, "protocol", "TCP"), json_str_or(port, "hostIP", "0.0.0.0"), (long long)host);
            buf_char(&p->ports, '\0');
        }
    }
}

static void read_requests(struct sched_pod *p, const json_t *pod)
{
    struct pod_sum sum;

    pod_requests(pod, &sum);
    p->cpu = sum.cpu_milli;
    p->memory = sum.memory_bytes;
    p->ephemeral = sum.ephemeral_bytes;
    p->n_scalars = sum.n_scalars;
    for (size_t i = 0; i < sum.n_scalars; i++) {
        p->scalars[i].name = mem_strdup(sum.scalars[i].name);
        p->scalars[i].value = sum.scalars[i].value;
    }
    pod_nonzero(pod, &p->nonzero_cpu, &p->nonzero_memory);
}

void cluster_set_pod(struct cluster *c, const json_t *pod, const char *node, bool assumed)
{
    AUTO_FREE char *key = meta_key(pod);
    struct sched_pod *p = NULL;

    cluster_del_pod(c, key);
    p = MEM_NEW(struct sched_pod);
    p->key = TAKE(key);
    p->ns = mem_strdup(meta_namespace(pod));
    p->node = mem_strdup(node ? node : json_str_or(pod, "spec.nodeName", ""));
    p->assumed = assumed;
    p->terminating = meta_deleting(pod);
    flat_of(json_at(pod, "metadata.labels"), &p->labels);
    read_ports(p, pod);
    read_requests(p, pod);
    p->next = map_get(c->by_node, p->node);
    if (p->next)
        p->next->prev = p;
    map_set(c->by_node, p->node, p);
    map_set(c->pods, p->key, p);
    struct sched_node *n = map_get(c->nodes, p->node);
    if (n)
        account(n, p, 1);
}
