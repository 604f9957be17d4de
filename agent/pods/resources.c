/* resources - requests and limits as cgroup numbers, OOM scores, and whether the pod fits this node. */
#include "agent/pods/pods_int.h"

#include "lib/k8s/pod_resources.h"
#include "lib/k8s/quantity.h"

#include <stdio.h>
#include <string.h>

enum { SHARES_MIN = 2, SHARES_MAX = 262144, PERIOD_US = 100000, QUOTA_MIN_US = 1000 };

static int64_t shares_of(int64_t milli)
{
    int64_t shares = milli * 1024 / 1000;

    return shares < SHARES_MIN ? SHARES_MIN : shares > SHARES_MAX ? SHARES_MAX : shares;
}

static void set_quota(struct container_resources *r, int64_t milli)
{
    if (milli <= 0)
        return;
    r->cpu_period_us = PERIOD_US;
    r->cpu_quota_us = milli * PERIOD_US / 1000;
    if (r->cpu_quota_us < QUOTA_MIN_US)
        r->cpu_quota_us = QUOTA_MIN_US;
}

void resources_of_container(const json_t *container, struct container_resources *ret)
{
    const json_t *requests = json_at(container, "resources.requests"), *limits = json_at(container, "resources.limits");
    const json_t *cpu = json_object_get(requests, "cpu");

    *ret = (struct container_resources){ 0 };
    if (!cpu)
        cpu = json_object_get(limits, "cpu");
    ret->cpu_shares = shares_of(quantity_json_milli(cpu));
    set_quota(ret, quantity_json_milli(json_object_get(limits, "cpu")));
    ret->memory_bytes = quantity_json_value(json_object_get(limits, "memory"));
}

/* Whether every container that counts has a limit of that name: only then has the pod one. */
static bool all_limited(const json_t *pod, const char *name)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };

    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        size_t i = 0;
        json_t *c = NULL;

        json_array_foreach(json_at(pod, lists[l]), i, c)
            if (!json_object_get(json_at(c, "resources.limits"), name))
                return false;
    }
    return true;
}

void resources_of_pod(const json_t *pod, struct container_resources *ret)
{
    struct pod_sum asks, most;
    const json_t *own = json_at(pod, "spec.resources.limits");

    pod_requests(pod, &asks);
    pod_limits(pod, &most);
    *ret = (struct container_resources){ .cpu_shares = shares_of(asks.cpu_milli) };
    if (json_object_get(own, "cpu") || all_limited(pod, "cpu"))
        set_quota(ret, most.cpu_milli);
    if (json_object_get(own, "memory") || all_limited(pod, "memory"))
        ret->memory_bytes = most.memory_bytes;
}

/* Source: upstream's pkg/kubelet/qos/policy.go. */
int oom_score(const json_t *pod, const json_t *container, int64_t node_memory_bytes)
{
    const char *qos = pod_qos(pod);
    const char *class_name = json_str_or(pod, "spec.priorityClassName", "");

    if (strcmp(qos, "Guaranteed") == 0 || strcmp(class_name, "system-node-critical") == 0)
        return -997;
    if (strcmp(qos, "BestEffort") == 0 || node_memory_bytes <= 0)
        return 1000;
    int64_t ask = quantity_json_value(json_object_get(json_at(container, "resources.requests"), "memory"));
    int64_t score = 1000 - 1000 * ask / node_memory_bytes;
    return score < 3 ? 3 : score >= 1000 ? 999 : (int)score;
}

struct used {
    int64_t cpu_milli, memory_bytes, ephemeral_bytes, pods;
};

/* lock held */
static void sum_others(struct view *v, struct used *ret)
{
    size_t pos = 0;
    const char *uid = NULL;
    void *at = NULL;

    while (map_next(v->all->pods, &pos, &uid, &at)) {
        const struct pod *other = at;

        if (other == v->pod || !other->admitted || other->frozen || other->fail_reason)
            continue;
        ret->cpu_milli += other->ask_cpu_milli;
        ret->memory_bytes += other->ask_memory_bytes;
        ret->ephemeral_bytes += other->ask_ephemeral_bytes;
        ret->pods++;
    }
}

/* Source: upstream's admission (predicate failures as InsufficientResourceError). */
const char *pod_not_fitting(struct view *v, const char **ret_message)
{
    struct pod_sum ask;
    struct used used = { 0 };
    LOCK_SCOPE(&v->all->lock);
    const json_t *most = v->all->allocatable;

    pod_requests(v->tree, &ask);
    v->pod->ask_cpu_milli = ask.cpu_milli;
    v->pod->ask_memory_bytes = ask.memory_bytes;
    v->pod->ask_ephemeral_bytes = ask.ephemeral_bytes;
    if (!most)
        return NULL;
    sum_others(v, &used);
    struct {
        const char *reason, *name;
        int64_t ask, used, most;
    } checks[] = {
        { "OutOfpods", "pods", 1, used.pods, quantity_json_value(json_object_get(most, "pods")) },
        { "OutOfcpu", "cpu", ask.cpu_milli, used.cpu_milli, quantity_json_milli(json_object_get(most, "cpu")) },
        { "OutOfmemory", "memory", ask.memory_bytes, used.memory_bytes, quantity_json_value(json_object_get(most, "memory")) },
        { "OutOfephemeral-storage", "ephemeral-storage", ask.ephemeral_bytes, used.ephemeral_bytes,
          quantity_json_value(json_object_get(most, "ephemeral-storage")) },
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (checks[i].ask > 0 && checks[i].used + checks[i].ask > checks[i].most) {
            *ret_message = arena_printf(v->ctx->arena,
                                        "Pod was rejected: Node didn't have enough resource: %s, requested: %lld, used: %lld, capacity: %lld",
                                        checks[i].name, (long long)checks[i].ask, (long long)checks[i].used, (long long)checks[i].most);
            return checks[i].reason;
        }
    return NULL;
}
