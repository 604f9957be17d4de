#include "server/auth/node_graph.h"

#include "lib/json.h"
#include "lib/map.h"
#include "lib/mem.h"

#include <stdio.h>
#include <string.h>

struct pod {
    struct pod *next, *prev; /* of the same node */
    char *key, *node;
    struct buf refs; /* "kind" "ns/name\0" … : what it names, all in its own namespace */
};

struct node_graph {
    struct map *pods;  /* "ns/name" -> struct pod */
    struct map *nodes; /* name -> struct pod, the first of its list */
};

struct node_graph *node_graph_new(void)
{
    struct node_graph *g = MEM_NEW(struct node_graph);

    g->pods = map_new(NULL);
    g->nodes = map_new(NULL);
    return g;
}

static void pod_free(struct pod *p)
{
    free(p->key);
    free(p->node);
    buf_clear(&p->refs);
    free(p);
}

void node_graph_free(struct node_graph *g)
{
    size_t pos = 0;
    const char *key = NULL;
    void *p = NULL;

    if (!g)
        return;
    while (map_next(g->pods, &pos, &key, &p))
        pod_free(p);
    map_free(g->pods);
    map_free(g->nodes);
    free(g);
}

static void remove_pod(struct node_graph *g, const char *key)
{
    struct pod *p = map_take(g->pods, key);

    if (!p)
        return;
    if (p->prev)
        p->prev->next = p->next;
    else if (p->next)
        map_set(g->nodes, p->node, p->next);
    else
        map_del(g->nodes, p->node);
    if (p->next)
        p->next->prev = p->prev;
    pod_free(p);
}

static void add_ref(struct pod *p, char kind, const char *name)
{
    if (!name || !*name)
        return;
    buf_char(&p->refs, kind);
    buf_add(&p->refs, name, strlen(name) + 1);
}

static void add_env(struct pod *p, const json_t *container)
{
    size_t i = 0;
    json_t *e = NULL;

    json_array_foreach(json_object_get(container, "env"), i, e)
    {
        add_ref(p, 's', json_str(e, "valueFrom.secretKeyRef.name"));
        add_ref(p, 'c', json_str(e, "valueFrom.configMapKeyRef.name"));
    }
    json_array_foreach(json_object_get(container, "envFrom"), i, e)
    {
        add_ref(p, 's', json_str(e, "secretRef.name"));
        add_ref(p, 'c', json_str(e, "configMapRef.name"));
    }
}

static void add_volume(struct pod *p, const char *pod_name, const json_t *v)
{
    static const char *const secret_refs[] = { "secret.secretName",     "rbd.secretRef.name",   "cephfs.secretRef.name", "flexVolume.secretRef.name",
                                               "scaleIO.secretRef.name", "iscsi.secretRef.name", "azureFile.secretName",  "csi.nodePublishSecretRef.name",
                                               "storageos.secretRef.name" };
    size_t i = 0;
    json_t *s = NULL;

    for (size_t k = 0; k < ARRAY_LEN(secret_refs); k++)
        add_ref(p, 's', json_str(v, secret_refs[k]));
    add_ref(p, 'c', json_str(v, "configMap.name"));
    add_ref(p, 'p', json_str(v, "persistentVolumeClaim.claimName"));
    if (json_object_get(v, "ephemeral")) {
        AUTO_FREE char *claim = mem_printf("%s-%s", pod_name, json_str_or(v, "name", ""));
        add_ref(p, 'p', claim);
    }
    json_array_foreach(json_at(v, "projected.sources"), i, s)
    {
        add_ref(p, 's', json_str(s, "secret.name"));
        add_ref(p, 'c', json_str(s, "configMap.name"));
    }
}

static void collect(struct pod *p, const char *name, const json_t *pod)
{
    static const char *const lists[] = { "spec.initContainers", "spec.containers", "spec.ephemeralContainers" };
    size_t i = 0;
    json_t *v = NULL;

    add_ref(p, 'a', json_str(pod, "spec.serviceAccountName"));
    json_array_foreach(json_at(pod, "spec.imagePullSecrets"), i, v) add_ref(p, 's', json_str(v, "name"));
    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        json_array_foreach(json_at(pod, lists[k]), i, v) add_env(p, v);
    json_array_foreach(json_at(pod, "spec.volumes"), i, v) add_volume(p, name, v);
}

void node_graph_pod(struct node_graph *g, const char *ns, const char *name, struct slice value)
{
    static const char mark[] = "\"nodeName\":\"";
    char key[600];
    AUTO(json) json_t *tree = NULL;
    struct err err;

    snprintf(key, sizeof(key), "%s/%s", ns, name);
    if (!value.at) {
        remove_pod(g, key);
        return;
    }
    if (map_get(g->pods, key) || !memmem(value.at, value.n, mark, sizeof(mark) - 1))
        return; /* what a bound pod names does not change; a pod that isn't bound gives nobody anything */
    if (json_read(value.at, value.n, NULL, NULL, &tree, &err) < 0)
        return;
    const char *node = json_str_or(tree, "spec.nodeName", "");
    if (!*node)
        return;
    struct pod *p = MEM_NEW(struct pod);
    p->key = mem_strdup(key);
    p->node = mem_strdup(node);
    collect(p, name, tree);
    p->next = map_get(g->nodes, node);
    if (p->next)
        p->next->prev = p;
    map_set(g->nodes, node, p);
    map_set(g->pods, key, p);
}

static bool names(const struct pod *p, char kind, const char *name)
{
    for (const char *at = buf_at(&p->refs), *end = at + buf_len(&p->refs); at < end; at += strlen(at) + 1)
        if (*at == kind && strcmp(at + 1, name) == 0)
            return true;
    return false;
}

bool node_graph_reaches(const struct node_graph *g, const char *node, char kind, const char *ns, const char *name)
{
    size_t n = strlen(ns);

    for (const struct pod *p = map_get(g->nodes, node); p; p = p->next)
        if (strncmp(p->key, ns, n) == 0 && p->key[n] == '/' && names(p, kind, name))
            return true;
    return false;
}

bool node_graph_has_pod(const struct node_graph *g, const char *node, const char *ns, const char *name)
{
    char key[600];

    snprintf(key, sizeof(key), "%s/%s", ns, name);
    const struct pod *p = map_get(g->pods, key);
    return p && strcmp(p->node, node) == 0;
}
