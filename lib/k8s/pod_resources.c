#include "lib/k8s/pod_resources.h"

#include "lib/k8s/quantity.h"

#include <string.h>

enum { DEFAULT_CPU_MILLI = 100 };
static const int64_t default_memory_bytes = (int64_t)200 * 1024 * 1024;

static void add_one(struct pod_sum *s, const char *name, int64_t value)
{
    for (size_t i = 0; i < s->n_scalars; i++)
        if (strcmp(s->scalars[i].name, name) == 0) {
            s->scalars[i].value += value;
            return;
        }
    if (s->n_scalars < POD_SCALARS_MAX) {
        s->scalars[s->n_scalars].name = name;
        s->scalars[s->n_scalars++].value = value;
    }
}

static void add_list(struct pod_sum *s, const json_t *list)
{
    const char *name = NULL;
    json_t *v = NULL;

    json_object_foreach((json_t *)list, name, v)
    {
        if (strcmp(name, "cpu") == 0)
            s->cpu_milli += quantity_json_milli(v);
        else if (strcmp(name, "memory") == 0)
            s->memory_bytes += quantity_json_value(v);
        else if (strcmp(name, "ephemeral-storage") == 0)
            s->ephemeral_bytes += quantity_json_value(v);
        else
            add_one(s, name, quantity_json_value(v));
    }
}

static void raise_to(struct pod_sum *s, const struct pod_sum *least)
{
    if (s->cpu_milli < least->cpu_milli)
        s->cpu_milli = least->cpu_milli;
    if (s->memory_bytes < least->memory_bytes)
        s->memory_bytes = least->memory_bytes;
    if (s->ephemeral_bytes < least->ephemeral_bytes)
        s->ephemeral_bytes = least->ephemeral_bytes;
    for (size_t i = 0; i < least->n_scalars; i++) {
        bool found = false;

        for (size_t k = 0; k < s->n_scalars; k++)
            if (strcmp(s->scalars[k].name, least->scalars[i].name) == 0) {
                found = true;
                if (s->scalars[k].value < least->scalars[i].value)
                    s->scalars[k].value = least->scalars[i].value;
            }
        if (!found)
            add_one(s, least->scalars[i].name, least->scalars[i].value);
    }
}

static void add_sum(struct pod_sum *s, const struct pod_sum *more)
{
    s->cpu_milli += more->cpu_milli;
    s->memory_bytes += more->memory_bytes;
    s->ephemeral_bytes += more->ephemeral_bytes;
    for (size_t i = 0; i < more->n_scalars; i++)
        add_one(s, more->scalars[i].name, more->scalars[i].value);
}

static bool is_sidecar(const json_t *container)
{
    return strcmp(json_str_or(container, "restartPolicy", ""), "Always") == 0;
}

/* What the containers take together, against the worst moment of initialisation. */
static void sum_up(const json_t *pod, const char *what, struct pod_sum *ret)
{
    struct pod_sum sum = { 0 }, sidecars = { 0 }, worst = { 0 };
    size_t i = 0;
    json_t *c = NULL;

    json_array_foreach(json_at(pod, "spec.containers"), i, c) add_list(&sum, json_at(c, what));
    json_array_foreach(json_at(pod, "spec.initContainers"), i, c)
    {
        struct pod_sum now = sidecars;

        add_list(&now, json_at(c, what));
        if (is_sidecar(c))
            add_list(&sidecars, json_at(c, what));
        raise_to(&worst, &now);
    }
    add_sum(&sum, &sidecars);
    raise_to(&sum, &worst);

    /* pod-level resources rule where they are given */
    const json_t *level = json_at(json_at(pod, "spec.resources"), strchr(what, '.') + 1);
    if (json_object_get(level, "cpu"))
        sum.cpu_milli = quantity_json_milli(json_object_get(level, "cpu"));
    if (json_object_get(level, "memory"))
        sum.memory_bytes = quantity_json_value(json_object_get(level, "memory"));
    *ret = sum;
}

void pod_requests(const json_t *pod, struct pod_sum *ret)
{
    sum_up(pod, "resources.requests", ret);
    add_list(ret, json_at(pod, "spec.overhead"));
}

void pod_limits(const json_t *pod, struct pod_sum *ret)
{
    sum_up(pod, "resources.limits", ret);
}

void pod_nonzero(const json_t *pod, int64_t *ret_cpu_milli, int64_t *ret_memory_bytes)
{
    int64_t cpu = 0, memory = 0;
    size_t i = 0;
    json_t *c = NULL;

    json_array_foreach(json_at(pod, "spec.containers"), i, c)
    {
        const json_t *r = json_at(c, "resources.requests");

        cpu += json_object_get(r, "cpu") ? quantity_json_milli(json_object_get(r, "cpu")) : DEFAULT_CPU_MILLI;
        memory += json_object_get(r, "memory") ? quantity_json_value(json_object_get(r, "memory")) : default_memory_bytes;
    }
    *ret_cpu_milli = cpu;
    *ret_memory_bytes = memory;
}

/* Whether a container's cpu and memory limits are there and equal its requests; *ret_any when it names any at all. */
static bool is_guaranteed(const json_t *container, bool *ret_any)
{
    static const char *const names[] = { "cpu", "memory" };
    bool all = true;

    for (size_t i = 0; i < 2; i++) {
        const json_t *limit = json_object_get(json_at(container, "resources.limits"), names[i]);
        const json_t *request = json_object_get(json_at(container, "resources.requests"), names[i]);

        if ((limit && quantity_json_milli(limit) > 0) || (request && quantity_json_milli(request) > 0))
            *ret_any = true;
        if (!limit || quantity_json_milli(limit) == 0 || (request && quantity_json_milli(request) != quantity_json_milli(limit)))
            all = false;
    }
    return all;
}

const char *pod_qos(const json_t *pod)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    bool any = false, all = true;
    size_t i = 0;
    json_t *c = NULL;

    if (json_at(pod, "spec.resources.requests") || json_at(pod, "spec.resources.limits")) {
        all = is_guaranteed(json_object_get(pod, "spec"), &any);
        return all ? "Guaranteed" : any ? "Burstable" : "BestEffort";
    }
    for (size_t k = 0; k < 2; k++)
        json_array_foreach(json_at(pod, lists[k]), i, c) all &= is_guaranteed(c, &any);
    return !any ? "BestEffort" : all ? "Guaranteed" : "Burstable";
}
