/* Checks of pods themselves: creation, what an update may change, what a status may say. Source: upstream ValidatePod*. */
#include "server/schema/kinds/core_pod.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"

#include <string.h>

/* Tokens are of an account. */
static void check_tokens(struct field_errors *errs, const json_t *spec)
{
    size_t i, j;
    json_t *volume, *source;

    if (*json_str_or(spec, "serviceAccountName", ""))
        return;
    json_array_foreach(json_object_get(spec, "volumes"), i, volume)
        json_array_foreach(json_at(volume, "projected.sources"), j, source)
            if (json_object_get(source, "serviceAccountToken"))
                field_error(errs, FIELD_FORBIDDEN, NULL, "must not be specified when serviceAccountName is not set",
                            "spec.volumes[%zu].projected.sources[%zu].serviceAccountToken", i, j);
}

void pod_validate(struct ctx *ctx, const json_t *pod, struct field_errors *errs)
{
    const json_t *spec = json_object_get(pod, "spec");

    (void)ctx;
    pod_spec_validate(spec, "spec", errs);
    check_tokens(errs, spec);
}

int pod_begin(struct ctx *ctx, struct kind_env *env, json_t *pod, const json_t *old, bool dry_run, struct err *err)
{
    struct field_errors errs = { .arena = ctx->arena };

    (void)env;
    (void)dry_run;
    if (old)
        return 0;
    if (json_array_size(json_at(pod, "spec.ephemeralContainers")) > 0)
        field_error(&errs, FIELD_FORBIDDEN, NULL, "cannot be set on create", "spec.ephemeralContainers");
    if (*json_str_or(pod, "spec.nodeName", "") && json_array_size(json_at(pod, "spec.schedulingGates")) > 0)
        field_error(&errs, FIELD_FORBIDDEN, NULL, "cannot be set until all schedulingGates have been cleared", "spec.nodeName");
    return field_errors_end(&errs, "", "Pod", meta_name(pod), err);
}

/* --- updates --- */

static const char may_not_change[] =
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

static bool same_count(struct field_errors *errs, const json_t *spec, const json_t *was, const char *list)
{
    if (json_array_size(json_object_get(spec, list)) == json_array_size(json_object_get(was, list)))
        return true;
    field_error(errs, FIELD_FORBIDDEN, NULL, "pod updates may not add or remove containers", "spec.%s", list);
    return false;
}

/* Images may change; the copy gets the old ones so that the rest can be compared. */
static void take_images(struct field_errors *errs, json_t *spec, const json_t *was, const char *list)
{
    size_t i;
    json_t *container;

    json_array_foreach(json_object_get(spec, list), i, container)
    {
        if (!*json_str_or(container, "image", ""))
            field_error(errs, FIELD_REQUIRED, NULL, "", "spec.%s[%zu].image", list, i);
        set_from(container, json_array_get(json_object_get(was, list), i), "image");
    }
}

/* Whether it may not go on. */
static bool check_deadline(struct field_errors *errs, const json_t *spec, const json_t *was)
{
    const json_t *now = json_object_get(spec, "activeDeadlineSeconds"), *before = json_object_get(was, "activeDeadlineSeconds");
    AUTO(json) json_t *nothing = json_null();

    if (!now && before)
        field_error(errs, FIELD_INVALID, nothing, "must not update from a positive integer to nil value", "spec.activeDeadlineSeconds");
    if (!now)
        return true;
    if (json_integer_value(now) < 0 || json_integer_value(now) > INT32_MAX) {
        check_between(errs, now, 0, INT32_MAX, "spec.activeDeadlineSeconds");
        return false;
    }
    if (before && json_integer_value(before) < json_integer_value(now)) {
        field_error(errs, FIELD_INVALID, now, "must be less than or equal to previous value", "spec.activeDeadlineSeconds");
        return false;
    }
    return true;
}

static bool has_element(const json_t *list, const json_t *element, const char *but)
{
    AUTO(json) json_t *wanted = json_copy((json_t *)element);
    size_t i;
    json_t *v;

    json_object_del(wanted, but);
    json_array_foreach(list, i, v)
    {
        AUTO(json) json_t *one = json_copy(v);

        json_object_del(one, but);
        if (json_equal(one, wanted))
            return true;
    }
    return false;
}

static void check_tolerations(struct field_errors *errs, const json_t *spec, const json_t *was)
{
    size_t i;
    json_t *t;

    json_array_foreach(json_object_get(was, "tolerations"), i, t)
        if (!has_element(json_object_get(spec, "tolerations"), t, "tolerationSeconds")) {
            field_error(errs, FIELD_FORBIDDEN, NULL, "existing toleration can not be modified except its tolerationSeconds",
                        "spec.tolerations");
            return;
        }
}

static void check_gates(struct field_errors *errs, const json_t *spec, const json_t *was)
{
    size_t i;
    json_t *gate;

    json_array_foreach(json_object_get(spec, "schedulingGates"), i, gate)
        if (!has_element(json_object_get(was, "schedulingGates"), gate, "")) {
            field_error(errs, FIELD_FORBIDDEN, NULL, arena_printf(errs->arena, "only deletion is allowed, but found new scheduling gate '%s'",
                                                                  json_str_or(gate, "name", "")),
                        "spec.schedulingGates[%zu].name", i);
        }
}

/* A gated pod may still be narrowed down to fewer nodes. */
static void take_placement(struct field_errors *errs, json_t *spec, const json_t *was)
{
    json_t *selector = json_object_get(spec, "nodeSelector"), *before = json_object_get(was, "nodeSelector"), *v;
    const char *key;

    if (json_array_size(json_object_get(was, "schedulingGates")) == 0)
        return;
    json_object_foreach(before, key, v)
        if (!json_object_get(selector, key) || !json_equal(v, json_object_get(selector, key))) {
            field_error(errs, FIELD_INVALID, selector,
                        "only additions to spec.nodeSelector are allowed (no mutations or deletions)", "spec.nodeSelector");
            break;
        }
    set_from(spec, was, "nodeSelector");
    if (!json_at(was, "affinity.nodeAffinity") && json_object_get(spec, "affinity")) {
        json_del(spec, "affinity.nodeAffinity");
        if (json_object_size(json_object_get(spec, "affinity")) == 0 && !json_object_get(was, "affinity"))
            json_object_del(spec, "affinity");
    }
}

void pod_validate_update(struct ctx *ctx, const json_t *pod, const json_t *old, struct field_errors *errs)
{
    static const char *const free[] = { "activeDeadlineSeconds", "schedulingGates", "tolerations" };
    const json_t *was = json_object_get(old, "spec"), *now = json_object_get(pod, "spec");

    (void)ctx;
    if (json_equal(now, was))
        return;
    if (!same_count(errs, now, was, "containers") || !same_count(errs, now, was, "initContainers") || !check_deadline(errs, now, was))
        return;
    AUTO(json) json_t *spec = json_deep_copy(now);
    check_tolerations(errs, spec, was);
    check_gates(errs, spec, was);
    take_images(errs, spec, was, "containers");
    take_images(errs, spec, was, "initContainers");
    for (size_t i = 0; i < ARRAY_LEN(free); i++)
        set_from(spec, was, free[i]);
    if (json_int_or(was, "terminationGracePeriodSeconds", 0) < 0 && json_int_or(spec, "terminationGracePeriodSeconds", 0) == 1)
        set_from(spec, was, "terminationGracePeriodSeconds");
    take_placement(errs, spec, was);
    if (!json_equal(spec, was))
        field_error(errs, FIELD_FORBIDDEN, NULL, may_not_change, "spec");
}

/* --- status --- */

static bool restarts(const json_t *spec, const char *name, int64_t exit_code)
{
    const char *policy = json_str_or(spec, "restartPolicy", "");
    size_t i;
    json_t *c;

    json_array_foreach(json_object_get(spec, "containers"), i, c)
    {
        if (!is_text(c, "name", name))
            continue;
        policy = json_str_or(c, "restartPolicy", policy);
        if (json_array_size(json_object_get(c, "restartPolicyRules")) > 0)
            return true; /* its rules may ask for it */
    }
    return strcmp(policy, "Always") == 0 || (strcmp(policy, "OnFailure") == 0 && exit_code != 0);
}

/* What has ended for good stays so. */
static void check_ended(struct field_errors *errs, const json_t *pod, const json_t *old)
{
    const json_t *now = json_at(pod, "status.containerStatuses"), *spec = json_object_get(old, "spec");
    size_t i, j;
    json_t *was, *is;

    json_array_foreach(json_at(old, "status.containerStatuses"), i, was)
    {
        const json_t *ended = json_at(was, "state.terminated");
        const char *name = json_str_or(was, "name", "");

        if (!ended || restarts(spec, name, json_int_or(ended, "exitCode", 0)))
            continue;
        json_array_foreach(now, j, is)
            if (is_text(is, "name", name) && !json_at(is, "state.terminated")) {
                field_error(errs, FIELD_FORBIDDEN, NULL, "may not be transitioned to non-terminated state",
                            "status.containerStatuses[%zu].state", i);
                break;
            }
    }
}

void pod_validate_status(struct ctx *ctx, const json_t *pod, const json_t *old, struct field_errors *errs)
{
    const char *nominated = json_str_or(pod, "status.nominatedNodeName", "");
    size_t i;
    json_t *ip;

    (void)ctx;
    if (*nominated && !same_member(pod, old, "status.nominatedNodeName")) {
        check_name(errs, json_at(pod, "status.nominatedNodeName"), name_is_dns_subdomain, "status.nominatedNodeName");
        if (*json_str_or(old, "spec.nodeName", ""))
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not be set on pods that are already bound to a node", "status.nominatedNodeName");
    }
    check_immutable(errs, pod, old, "status.qosClass");
    check_ended(errs, pod, old);
    json_array_foreach(json_at(pod, "status.podIPs"), i, ip)
        check_name(errs, json_object_get(ip, "ip"), ip_invalid, check_path(errs, "status.podIPs[%zu]", i));
}
