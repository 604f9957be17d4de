/* Pods: defaults, preparation, deletion, what selectors see. Source: upstream pkg/registry/core/pod. */
#include "server/schema/kinds/core_pod.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "server/schema/kinds/kinds.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"

#include <string.h>

/* --- defaults --- */

static void default_ips(json_t *status)
{
    const char *ip = json_str_or(status, "podIP", "");
    const json_t *ips = json_object_get(status, "podIPs");
    const char *first = json_str_or(json_array_get(ips, 0), "ip", "");

    if (*ip && strcmp(first, ip) != 0)
        json_object_set_new(status, "podIPs", json_pack("[{s:s}]", "ip", ip));
    else if (!*ip && *first)
        json_object_set_new(status, "podIP", json_string(first));
}

static void pod_default(json_t *pod)
{
    json_t *spec = json_object_get(pod, "spec"), *status = json_object_get(pod, "status");

    pod_spec_default(spec);
    pod_spec_default_pod(spec);
    if (json_is_object(status))
        default_ips(status);
}

/* --- quality of service --- */

enum qos { QOS_NONE, QOS_BEST_EFFORT, QOS_BURSTABLE, QOS_GUARANTEED };

static enum qos qos_of_resource(const json_t *resources, const char *name)
{
    int64_t request = quantity_json_milli(json_object_get(json_object_get(resources, "requests"), name));
    int64_t limit = quantity_json_milli(json_object_get(json_object_get(resources, "limits"), name));

    if (request != limit)
        return QOS_BURSTABLE;
    return request == 0 ? QOS_BEST_EFFORT : QOS_GUARANTEED;
}

static enum qos qos_of(const json_t *resources)
{
    enum qos cpu = qos_of_resource(resources, "cpu"), memory = qos_of_resource(resources, "memory");

    return cpu == memory ? cpu : QOS_BURSTABLE;
}

const char *pod_spec_qos(const json_t *spec)
{
    static const char *const names[] = { "BestEffort", "BestEffort", "Burstable", "Guaranteed" };
    static const char *const lists[] = { "initContainers", "containers" };
    const json_t *whole = json_object_get(spec, "resources");
    enum qos all = QOS_NONE;
    size_t i;
    json_t *c;

    if (json_object_size(json_object_get(whole, "requests")) || json_object_size(json_object_get(whole, "limits")))
        return names[qos_of(whole)];
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        json_array_foreach(json_object_get(spec, lists[l]), i, c)
        {
            enum qos one = qos_of(json_object_get(c, "resources"));

            all = all == QOS_NONE || all == one ? one : QOS_BURSTABLE;
        }
    return names[all];
}

/* --- preparation --- */

/* What the containers ask for together; a quantity text, NULL when none asks. */
static json_t *sum_of_requests(const json_t *spec, const char *name)
{
    struct quantity sum = { 0 }, one = { 0 };
    char text[QUANTITY_TEXT_BYTES];
    bool any = false;
    size_t i;
    json_t *c;
    struct err err;

    json_array_foreach(json_object_get(spec, "containers"), i, c)
    {
        const json_t *v = json_object_get(json_at(c, "resources.requests"), name);

        if (!json_is_string(v) || quantity_parse(json_string_value(v), json_string_length(v), &one, &err) < 0)
            continue;
        quantity_add(&sum, &one);
        any = true;
    }
    return any ? json_string(quantity_text(&sum, text)) : NULL;
}

/* Pod-level limits without requests: what the containers request, else the limits. */
static void default_whole_resources(json_t *spec)
{
    static const char *const names[] = { "cpu", "memory" };
    json_t *whole = json_object_get(spec, "resources");
    const json_t *limits = json_object_get(whole, "limits");

    if (json_object_size(limits) == 0)
        return;
    json_t *requests = set_object(whole, "requests");
    if (!requests)
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        json_t *sum = json_object_get(requests, names[i]) ? NULL : sum_of_requests(spec, names[i]);

        if (sum)
            json_object_set_new(requests, names[i], sum);
    }
    set_missing(requests, limits);
}

static void pod_prepare_create(struct ctx *ctx, json_t *pod)
{
    json_t *spec = json_object_get(pod, "spec");
    json_t *status = json_object();
    char now[CLOCK_TEXT_BYTES];

    default_whole_resources(spec);
    json_object_set_new(status, "phase", json_string("Pending"));
    json_object_set_new(status, "qosClass", json_string(pod_spec_qos(spec)));
    if (json_array_size(json_object_get(spec, "schedulingGates")) > 0)
        json_object_set_new(status, "conditions",
                            json_pack("[{s:s,s:s,s:n,s:s,s:s,s:s}]", "type", "PodScheduled", "status", "False", "lastProbeTime",
                                      "lastTransitionTime", clock_time_text(clock_wall_s(ctx->clock), now), "reason", "SchedulingGated",
                                      "message", "Scheduling is blocked due to non-empty scheduling gates"));
    json_object_set_new(pod, "status", status);
}

static void pod_prepare_update(struct ctx *ctx, json_t *pod, const json_t *old)
{
    json_t *spec = json_object_get(pod, "spec");
    json_t *whole = json_at(old, "spec.resources");

    (void)ctx;
    if (whole && !json_object_get(spec, "resources"))
        json_object_set_new(spec, "resources", json_deep_copy(whole));
}

/* Writers that do not know of observedGeneration leave what is there. */
static void keep_generations(json_t *status, const json_t *old)
{
    size_t i, j;
    json_t *c, *was;

    if (json_int_or(status, "observedGeneration", 0) == 0)
        set_from(status, old, "observedGeneration");
    json_array_foreach(json_object_get(status, "conditions"), i, c)
    {
        if (json_int_or(c, "observedGeneration", 0) != 0)
            continue;
        json_array_foreach(json_object_get(old, "conditions"), j, was)
            if (is_text(was, "type", json_str_or(c, "type", ""))) {
                set_from(c, was, "observedGeneration");
                break;
            }
    }
}

static void pod_prepare_status(struct ctx *ctx, json_t *pod, const json_t *old)
{
    static const char *const kept[] = { "qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus",
                                        "nodeAllocatableResourceClaimStatuses" };
    json_t *status = set_object(pod, "status"), *was = json_object_get(old, "status");

    (void)ctx;
    if (!status)
        return;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (!json_object_get(status, kept[i]))
            set_from(status, was, kept[i]);
    keep_generations(status, was);
    default_ips(status);
}

static int64_t pod_grace(json_t *pod, int64_t grace_s)
{
    if (grace_s < 0)
        grace_s = json_int_or(pod, "spec.terminationGracePeriodSeconds", 0);
    if (!*json_str_or(pod, "spec.nodeName", "") || is_text(pod, "status.phase", "Failed") || is_text(pod, "status.phase", "Succeeded"))
        return 0;
    return grace_s < 0 ? 1 : grace_s;
}

/* --- what selectors see --- */

static const char *const pod_fields[] = {
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName", NULL,
};

static const char *pod_field(struct ctx *ctx, const json_t *pod, const char *name)
{
    (void)ctx;
    if (strcmp(name, "spec.hostNetwork") == 0)
        return json_bool_or(pod, "spec.hostNetwork", false) ? "true" : "false";
    if (strcmp(name, "status.podIPs") == 0)
        return json_str_or(json_array_get(json_at(pod, "status.podIPs"), 0), "ip", "");
    return NULL;
}

static void template_default(json_t *o)
{
    pod_spec_default(json_at(o, "template.spec"));
}

static void template_validate(struct ctx *ctx, const json_t *o, struct field_errors *errs)
{
    (void)ctx;
    pod_template_validate(json_object_get(o, "template"), "template", errs);
}

const struct kind_ops kinds_core_pod[] = {
    {
        .group = "", .kind = "Pod",
        .default_ = pod_default,
        .prepare_create = pod_prepare_create,
        .prepare_update = pod_prepare_update,
        .prepare_status = pod_prepare_status,
        .validate = pod_validate,
        .validate_update = pod_validate_update,
        .validate_status = pod_validate_status,
        .begin = pod_begin,
        .grace = pod_grace,
        .cells = pod_cells,
        .fields = pod_fields,
        .field = pod_field,
        .return_deleted = true,
        .unconditional_update = true,
    },
    {
        .group = "", .kind = "PodTemplate",
        .default_ = template_default,
        .validate = template_validate,
        .cells = pod_template_cells,
        .return_deleted = true,
        .unconditional_update = true,
    },
    { 0 },
};
