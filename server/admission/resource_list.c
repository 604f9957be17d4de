#include "server/admission/resource_list.h"

#include <string.h>

static size_t find(const struct resource_list *l, const char *name)
{
    size_t i = 0;

    while (i < l->n && strcmp(l->at[i].name, name) < 0)
        i++;
    return i;
}

const struct quantity *resource_get(const struct resource_list *l, const char *name)
{
    size_t i = find(l, name);

    return i < l->n && strcmp(l->at[i].name, name) == 0 ? &l->at[i].q : NULL;
}

/* The place of a name; *ret_new: it was made, with zero. */
static struct quantity *place(struct arena *a, struct resource_list *l, const char *name, bool *ret_new)
{
    size_t i = find(l, name);

    *ret_new = i == l->n || strcmp(l->at[i].name, name) != 0;
    if (!*ret_new)
        return &l->at[i].q;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        struct resource_amount *at = arena_alloc(a, l->cap * sizeof(*at));

        if (l->n)
            memcpy(at, l->at, l->n * sizeof(*at));
        l->at = at;
    }
    memmove(&l->at[i + 1], &l->at[i], (l->n++ - i) * sizeof(*l->at));
    l->at[i] = (struct resource_amount){ .name = name };
    return &l->at[i].q;
}

void resource_add(struct arena *a, struct resource_list *l, const char *name, const struct quantity *q)
{
    bool fresh = false;
    struct quantity *to = place(a, l, name, &fresh);

    if (fresh)
        *to = *q;
    else
        quantity_add(to, q);
}

void resource_set(struct arena *a, struct resource_list *l, const char *name, const struct quantity *q)
{
    bool fresh = false;

    *place(a, l, name, &fresh) = *q;
}

struct quantity resource_quantity(const json_t *v)
{
    struct quantity q = { 0 };
    struct err err;

    if (json_is_integer(v))
        return quantity_of(json_integer_value(v));
    if (!json_is_string(v) || quantity_parse(json_string_value(v), json_string_length(v), &q, &err) < 0)
        return quantity_of(0);
    return q;
}

void resource_add_map(struct arena *a, struct resource_list *l, const json_t *map)
{
    const char *name = NULL;
    json_t *v = NULL;

    json_object_foreach((json_t *)map, name, v)
    {
        struct quantity q = resource_quantity(v);

        resource_add(a, l, name, &q);
    }
}

static void add_list(struct arena *a, struct resource_list *l, const struct resource_list *b)
{
    for (size_t i = 0; i < b->n; i++)
        resource_add(a, l, b->at[i].name, &b->at[i].q);
}

void resource_max(struct arena *a, struct resource_list *l, const struct resource_list *b)
{
    for (size_t i = 0; i < b->n; i++) {
        bool fresh = false;
        struct quantity *to = place(a, l, b->at[i].name, &fresh);

        if (fresh || quantity_cmp(&b->at[i].q, to) > 0)
            *to = b->at[i].q;
    }
}

static void add_init_containers(struct arena *a, const json_t *pod, const char *which, struct resource_list *ret)
{
    struct resource_list sidecars = { 0 }, floor = { 0 };
    size_t i = 0;
    json_t *c = NULL;

    json_array_foreach(json_at(pod, "spec.initContainers"), i, c)
    {
        const json_t *asks = json_object_get(json_object_get(c, "resources"), which);
        struct resource_list needs = { 0 };

        if (strcmp(json_str_or(c, "restartPolicy", ""), "Always") == 0) {
            resource_add_map(a, ret, asks);
            resource_add_map(a, &sidecars, asks);
        } else {
            resource_add_map(a, &needs, asks);
        }
        add_list(a, &needs, &sidecars);
        resource_max(a, &floor, &needs);
    }
    resource_max(a, ret, &floor);
}

static void add_pod_level(struct arena *a, const json_t *pod, const char *which, struct resource_list *ret)
{
    const json_t *own = json_object_get(json_at(pod, "spec.resources"), which);
    const char *name = NULL;
    json_t *v = NULL;

    json_object_foreach((json_t *)own, name, v)
    {
        if (strcmp(name, "cpu") != 0 && strcmp(name, "memory") != 0 && strncmp(name, "hugepages-", 10) != 0)
            continue;
        struct quantity q = resource_quantity(v);

        resource_set(a, ret, name, &q);
    }
}

void pod_resource_list(struct arena *a, const json_t *pod, const char *which, bool with_overhead, struct resource_list *ret)
{
    bool limits = strcmp(which, "limits") == 0;
    const char *name = NULL;
    size_t i = 0;
    json_t *c = NULL;

    *ret = (struct resource_list){ 0 };
    json_array_foreach(json_at(pod, "spec.containers"), i, c)
        resource_add_map(a, ret, json_object_get(json_object_get(c, "resources"), which));
    add_init_containers(a, pod, which, ret);
    add_pod_level(a, pod, which, ret);
    if (!with_overhead)
        return;
    json_object_foreach(json_at(pod, "spec.overhead"), name, c)
    {
        struct quantity q = resource_quantity(c);

        if (!limits || resource_get(ret, name))
            resource_add(a, ret, name, &q);
    }
}
