#include "server/controllers/pod_index.h"

#include "lib/clock.h"
#include "lib/k8s/meta.h"
#include "lib/map.h"
#include "lib/mem.h"

#include <pthread.h>
#include <string.h>

struct pod_index {
    pthread_mutex_t lock;
    struct map *pods, *owners, *namespaces;
};

static void entry_free(void *v)
{
    struct pod_entry *p = v;
    char *texts[] = { p->key, p->ns, p->name, p->uid, p->owner_uid, p->owner_kind, p->owner_name, p->node, p->ip, p->hostname, p->subdomain };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(texts[i]);
    buf_clear(&p->labels);
    buf_clear(&p->ports);
    free(p);
}

struct pod_index *pod_index_new(void)
{
    struct pod_index *x = MEM_NEW(struct pod_index);

    pthread_mutex_init(&x->lock, NULL);
    x->pods = map_new(entry_free);
    x->owners = map_new(NULL);
    x->namespaces = map_new(NULL);
    return x;
}

void pod_index_free(struct pod_index *x)
{
    if (!x)
        return;
    map_free(x->owners);
    map_free(x->namespaces);
    map_free(x->pods);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

static void unlink_entry(struct pod_index *x, struct pod_entry *p)
{
    if (*p->owner_uid) {
        if (p->prev_owner)
            p->prev_owner->next_owner = p->next_owner;
        else if (p->next_owner)
            map_set(x->owners, p->owner_uid, p->next_owner);
        else
            map_del(x->owners, p->owner_uid);
        if (p->next_owner)
            p->next_owner->prev_owner = p->prev_owner;
    }
    if (p->prev_ns)
        p->prev_ns->next_ns = p->next_ns;
    else if (p->next_ns)
        map_set(x->namespaces, p->ns, p->next_ns);
    else
        map_del(x->namespaces, p->ns);
    if (p->next_ns)
        p->next_ns->prev_ns = p->prev_ns;
}

static void link_entry(struct pod_index *x, struct pod_entry *p)
{
    if (*p->owner_uid) {
        p->next_owner = map_get(x->owners, p->owner_uid);
        if (p->next_owner)
            p->next_owner->prev_owner = p;
        map_set(x->owners, p->owner_uid, p);
    }
    p->next_ns = map_get(x->namespaces, p->ns);
    if (p->next_ns)
        p->next_ns->prev_ns = p;
    map_set(x->namespaces, p->ns, p);
}

static void add_text(struct buf *to, const char *s)
{
    buf_add(to, s, strlen(s) + 1);
}

static int64_t time_s(const char *text)
{
    int64_t us = 0;

    return text && clock_parse(text, strlen(text), &us) == 0 ? us / 1000000 : 0;
}

static void read_ports(struct pod_entry *p, const json_t *pod)
{
    size_t i = 0, k = 0;
    json_t *c = NULL, *port = NULL;

    json_array_foreach(json_at(pod, "spec.containers"), i, c) json_array_foreach(json_object_get(c, "ports"), k, port)
    {
        if (!*json_str_or(port, "name", ""))
            continue;
        add_text(&p->ports, json_str_or(port, "name", ""));
        buf_printf(&p->ports, "%lld", (long long)json_int_or(port, "containerPort", 0));
        buf_char(&p->ports, '\0');
        add_text(&p->ports, json_str_or(port, "protocol", "TCP"));
    }
}

static void read_status(struct pod_entry *p, const json_t *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "Pending");
    const json_t *ready = condition_get(pod, "Ready");
    size_t i = 0;
    json_t *c = NULL;

    p->phase = *phase ? *phase : 'P';
    p->ready = ready && strcmp(json_str_or(ready, "status", ""), "True") == 0;
    p->ready_s = p->ready ? time_s(json_str(ready, "lastTransitionTime")) : 0;
    p->deleting = meta_deleting(pod);
    p->created_s = time_s(json_str(pod, "metadata.creationTimestamp"));
    json_array_foreach(json_at(pod, "status.containerStatuses"), i, c) p->restarts += (int)json_int_or(c, "restartCount", 0);
}

void pod_index_set(struct pod_index *x, const json_t *pod)
{
    struct pod_entry *p = MEM_NEW(struct pod_entry);
    const json_t *owner = meta_controller(pod);
    const char *key = NULL;
    json_t *v = NULL;

    p->key = meta_key(pod);
    p->ns = mem_strdup(meta_namespace(pod));
    p->name = mem_strdup(meta_name(pod));
    p->uid = mem_strdup(meta_uid(pod));
    p->owner_uid = mem_strdup(json_str_or(owner, "uid", ""));
    p->owner_kind = mem_strdup(json_str_or(owner, "kind", ""));
    p->owner_name = mem_strdup(json_str_or(owner, "name", ""));
    p->node = mem_strdup(json_str_or(pod, "spec.nodeName", ""));
    p->ip = mem_strdup(json_str_or(pod, "status.podIP", ""));
    p->hostname = mem_strdup(json_str_or(pod, "spec.hostname", ""));
    p->subdomain = mem_strdup(json_str_or(pod, "spec.subdomain", ""));
    json_object_foreach(json_at(pod, "metadata.labels"), key, v)
    {
        add_text(&p->labels, key);
        add_text(&p->labels, json_is_string(v) ? json_string_value(v) : "");
    }
    read_ports(p, pod);
    read_status(p, pod);

    LOCK_SCOPE(&x->lock);
    struct pod_entry *old = map_take(x->pods, p->key);
    if (old) {
        unlink_entry(x, old);
        entry_free(old);
    }
    map_set(x->pods, p->key, p);
    link_entry(x, p);
}

void pod_index_del(struct pod_index *x, const char *key)
{
    LOCK_SCOPE(&x->lock);
    struct pod_entry *p = map_take(x->pods, key);

    if (!p)
        return;
    unlink_entry(x, p);
    entry_free(p);
}

void pod_index_lock(struct pod_index *x)
{
    pthread_mutex_lock(&x->lock);
}

void pod_index_unlock(struct pod_index *x)
{
    pthread_mutex_unlock(&x->lock);
}

const struct pod_entry *pod_index_get(struct pod_index *x, const char *key)
{
    return map_get(x->pods, key);
}

const struct pod_entry *pod_index_owned(struct pod_index *x, const char *owner_uid)
{
    return map_get(x->owners, owner_uid);
}

const struct pod_entry *pod_index_in(struct pod_index *x, const char *ns)
{
    return map_get(x->namespaces, ns);
}

bool pod_index_next(struct pod_index *x, size_t *pos, const struct pod_entry **ret)
{
    const char *key = NULL;
    void *v = NULL;

    if (!map_next(x->pods, pos, &key, &v))
        return false;
    *ret = v;
    return true;
}

bool pod_entry_active(const struct pod_entry *p)
{
    return p->phase != 'S' && p->phase != 'F' && !p->deleting;
}
