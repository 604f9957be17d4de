/* Checks of the apps group. Source: upstream pkg/apis/apps/validation. */
#include "server/schema/kinds/apps.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"
#include "server/schema/kinds/volume_claim.h"

#include <string.h>

static bool is_empty_selector(const json_t *selector)
{
    return json_object_size(json_object_get(selector, "matchLabels")) + json_array_size(json_object_get(selector, "matchExpressions")) == 0;
}

void workload_check_selector(const json_t *spec, const char *lower, struct field_errors *errs)
{
    const json_t *selector = json_object_get(spec, "selector"), *labels = json_at(spec, "template.metadata.labels");
    size_t before = errs->n;

    if (!json_is_object(selector)) {
        /* the schema says that it is missing; and one that is not there selects nothing */
        field_error(errs, FIELD_INVALID, labels, "`selector` does not match template `labels`", "spec.template.metadata.labels");
        return;
    }
    check_selector(errs, selector, "spec.selector");
    if (is_empty_selector(selector))
        field_error(errs, FIELD_INVALID, selector, arena_printf(errs->arena, "empty selector is invalid for %s", lower), "spec.selector");
    else if (errs->n > before && strcmp(lower, "daemonset") != 0)
        field_error(errs, FIELD_INVALID, selector, strcmp(lower, "deployment") == 0 ? "invalid label selector" : "", "spec.selector");
    else if (errs->n == before && !selector_matches(errs, selector, labels))
        field_error(errs, FIELD_INVALID, labels, "`selector` does not match template `labels`", "spec.template.metadata.labels");
}

static void check_counts(struct field_errors *errs, const json_t *spec)
{
    static const char *const counts[] = { "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds" };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(errs, json_object_get(spec, counts[i]), check_path(errs, "spec.%s", counts[i]));
}

/* --- Deployment --- */

static void check_strategy(struct field_errors *errs, const json_t *spec)
{
    const json_t *strategy = json_object_get(spec, "strategy"), *rolling = json_object_get(strategy, "rollingUpdate");
    const json_t *down = json_object_get(rolling, "maxUnavailable"), *up = json_object_get(rolling, "maxSurge");
    const char *path = "spec.strategy.rollingUpdate";

    if (is_text(strategy, "type", "Recreate")) {
        if (rolling)
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not be specified when strategy `type` is 'Recreate'", "%s", path);
        return;
    }
    if (!is_text(strategy, "type", "RollingUpdate"))
        return; /* the schema lists the types */
    check_amount_or_percent(errs, down, check_path(errs, "%s.maxUnavailable", path));
    check_amount_or_percent(errs, up, check_path(errs, "%s.maxSurge", path));
    if (amount_or_percent(down) == 0 && amount_or_percent(up) == 0)
        field_error(errs, FIELD_INVALID, down, "may not be 0 when `maxSurge` is 0", "%s.maxUnavailable", path);
    check_at_most_all(errs, down, check_path(errs, "%s.maxUnavailable", path));
}

void deployment_validate(struct ctx *ctx, const json_t *deployment, struct field_errors *errs)
{
    const json_t *spec = json_object_get(deployment, "spec"), *deadline = json_object_get(spec, "progressDeadlineSeconds");

    (void)ctx;
    check_counts(errs, spec);
    workload_check_selector(spec, "deployment", errs);
    pod_template_validate_always(json_object_get(spec, "template"), "spec.template", "ReplicaSet", errs);
    check_strategy(errs, spec);
    if (deadline && json_integer_value(deadline) <= json_int_or(spec, "minReadySeconds", 0))
        field_error(errs, FIELD_INVALID, deadline, "must be greater than minReadySeconds", "spec.progressDeadlineSeconds");
}

void workload_validate_update(struct ctx *ctx, const json_t *object, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, object, old, "spec.selector");
}

/* Counts in a status are not negative, and those listed behind `total` are not more than it. */
static void check_status(struct field_errors *errs, const json_t *status, const char *const *counts, size_t n, const char *total)
{
    int64_t most = json_int_or(status, total, 0);

    check_not_negative(errs, json_object_get(status, total), check_path(errs, "status.%s", total));
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_object_get(status, counts[i]);

        check_not_negative(errs, v, check_path(errs, "status.%s", counts[i]));
        if (json_is_integer(v) && json_integer_value(v) > most)
            field_error(errs, FIELD_INVALID, v, arena_printf(errs->arena, "cannot be greater than status.%s", total), "status.%s", counts[i]);
    }
    if (json_int_or(status, "availableReplicas", 0) > json_int_or(status, "readyReplicas", 0))
        field_error(errs, FIELD_INVALID, json_object_get(status, "availableReplicas"), "cannot be greater than readyReplicas",
                    "status.availableReplicas");
}

static void check_collisions(struct field_errors *errs, const json_t *object, const json_t *old)
{
    const json_t *now = json_at(object, "status.collisionCount");

    check_not_negative(errs, now, "status.collisionCount");
    if (json_int_or(old, "status.collisionCount", 0) > (json_is_integer(now) ? json_integer_value(now) : 0))
        field_error(errs, FIELD_INVALID, now, "cannot be decremented", "status.collisionCount");
}

void deployment_validate_status(struct ctx *ctx, const json_t *deployment, const json_t *old, struct field_errors *errs)
{
    static const char *const counts[] = { "updatedReplicas", "readyReplicas", "availableReplicas" };

    (void)ctx;
    check_status(errs, json_object_get(deployment, "status"), counts, ARRAY_LEN(counts), "replicas");
    check_collisions(errs, deployment, old);
}

/* --- ReplicaSet --- */

void replica_set_validate(struct ctx *ctx, const json_t *set, struct field_errors *errs)
{
    const json_t *spec = json_object_get(set, "spec");

    (void)ctx;
    check_counts(errs, spec);
    workload_check_selector(spec, "deployment", errs); /* upstream's word */
    pod_template_validate_always(json_object_get(spec, "template"), "spec.template", "ReplicaSet", errs);
}

void replica_set_validate_status(struct ctx *ctx, const json_t *set, const json_t *old, struct field_errors *errs)
{
    static const char *const counts[] = { "fullyLabeledReplicas", "readyReplicas", "availableReplicas" };

    (void)ctx;
    (void)old;
    check_status(errs, json_object_get(set, "status"), counts, ARRAY_LEN(counts), "replicas");
}

/* --- StatefulSet --- */

static void check_set_strategy(struct field_errors *errs, const json_t *spec)
{
    const json_t *strategy = json_object_get(spec, "updateStrategy"), *rolling = json_object_get(strategy, "rollingUpdate");
    const json_t *down = json_object_get(rolling, "maxUnavailable");

    if (!is_text(strategy, "type", "RollingUpdate") && rolling)
        field_error(errs, FIELD_INVALID, rolling, "only allowed for updateStrategy 'RollingUpdate'", "spec.updateStrategy.rollingUpdate");
    check_not_negative(errs, json_object_get(rolling, "partition"), "spec.updateStrategy.rollingUpdate.partition");
    check_amount_or_percent(errs, down, "spec.updateStrategy.rollingUpdate.maxUnavailable");
    if (down && amount_or_percent(down) == 0)
        field_error(errs, FIELD_INVALID, down, "cannot be 0", "spec.updateStrategy.rollingUpdate.maxUnavailable");
    check_at_most_all(errs, down, "spec.updateStrategy.rollingUpdate.maxUnavailable");
}

/* The template as its pods will be: claims are volumes, names are the controller's. */
static json_t *template_with_claims(const json_t *spec)
{
    json_t *template = json_deep_copy(json_object_get(spec, "template")), *inner = json_object_get(template, "spec"), *claim, *volume;
    json_t *volumes = json_array();
    size_t i, j;

    json_array_foreach(json_object_get(spec, "volumeClaimTemplates"), i, claim)
        json_array_append_new(volumes, json_pack("{s:s,s:{s:s}}", "name", meta_name(claim), "persistentVolumeClaim", "claimName",
                                                 meta_name(claim)));
    json_array_foreach(json_object_get(inner, "volumes"), i, volume)
    {
        bool replaced = false;

        json_array_foreach(json_object_get(spec, "volumeClaimTemplates"), j, claim) replaced |= is_text(volume, "name", meta_name(claim));
        if (!replaced)
            json_array_append(volumes, volume);
    }
    if (json_is_object(inner)) {
        json_object_set(inner, "volumes", volumes);
        json_object_del(inner, "subdomain");
        json_object_del(inner, "hostname");
    }
    json_decref(volumes);
    return template;
}

void stateful_set_validate(struct ctx *ctx, const json_t *set, struct field_errors *errs)
{
    const json_t *spec = json_object_get(set, "spec");
    AUTO(json) json_t *template = template_with_claims(spec);

    (void)ctx;
    check_set_strategy(errs, spec);
    check_not_negative(errs, json_object_get(spec, "replicas"), "spec.replicas");
    check_not_negative(errs, json_object_get(spec, "minReadySeconds"), "spec.minReadySeconds");
    check_not_negative(errs, json_at(spec, "ordinals.start"), "spec.ordinals.start");
    if (*json_str_or(spec, "serviceName", ""))
        check_name(errs, json_object_get(spec, "serviceName"), name_is_dns_label, "spec.serviceName");
    workload_check_selector(spec, "statefulset", errs);
    if (template)
        pod_template_validate_always(template, "spec.template", "StatefulSet", errs);
    else
        check_member(errs, spec, "template", "spec.template");
}

void stateful_set_validate_update(struct ctx *ctx, const json_t *set, const json_t *old, struct field_errors *errs)
{
    static const char *const fixed[] = { "spec.selector", "spec.volumeClaimTemplates", "spec.serviceName", "spec.podManagementPolicy" };

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(errs, set, old, fixed[i]);
}

void stateful_set_validate_status(struct ctx *ctx, const json_t *set, const json_t *old, struct field_errors *errs)
{
    static const char *const counts[] = { "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas" };

    (void)ctx;
    check_status(errs, json_object_get(set, "status"), counts, ARRAY_LEN(counts), "replicas");
    check_collisions(errs, set, old);
}

/* --- DaemonSet --- */

static void check_daemon_strategy(struct field_errors *errs, const json_t *spec)
{
    const json_t *strategy = json_object_get(spec, "updateStrategy"), *rolling = json_object_get(strategy, "rollingUpdate");
    const json_t *down = json_object_get(rolling, "maxUnavailable"), *up = json_object_get(rolling, "maxSurge");
    const char *path = "spec.updateStrategy.rollingUpdate";

    if (!is_text(strategy, "type", "RollingUpdate"))
        return;
    check_amount_or_percent(errs, down, check_path(errs, "%s.maxUnavailable", path));
    check_amount_or_percent(errs, up, check_path(errs, "%s.maxSurge", path));
    check_at_most_all(errs, down, check_path(errs, "%s.maxUnavailable", path));
    check_at_most_all(errs, up, check_path(errs, "%s.maxSurge", path));
    if (amount_or_percent(down) && amount_or_percent(up))
        field_error(errs, FIELD_INVALID, up, "may not be set when maxUnavailable is non-zero", "%s.maxSurge", path);
    if (!amount_or_percent(down) && !amount_or_percent(up))
        field_error(errs, FIELD_REQUIRED, NULL, "cannot be 0 when maxSurge is 0", "%s.maxUnavailable", path);
}

void daemon_set_validate(struct ctx *ctx, const json_t *set, struct field_errors *errs)
{
    const json_t *spec = json_object_get(set, "spec");

    (void)ctx;
    workload_check_selector(spec, "daemonset", errs);
    pod_template_validate_always(json_object_get(spec, "template"), "spec.template", "DaemonSet", errs);
    check_counts(errs, spec);
    check_daemon_strategy(errs, spec);
}

void daemon_set_validate_status(struct ctx *ctx, const json_t *set, const json_t *old, struct field_errors *errs)
{
    static const char *const counts[] = { "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
                                          "updatedNumberScheduled", "numberAvailable", "numberUnavailable" };

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(errs, json_object_get(json_object_get(set, "status"), counts[i]), check_path(errs, "status.%s", counts[i]));
    check_collisions(errs, set, old);
}

/* --- ControllerRevision --- */

void revision_validate(struct ctx *ctx, const json_t *revision, struct field_errors *errs)
{
    (void)ctx;
    if (!json_is_object(json_object_get(revision, "data")))
        field_error(errs, FIELD_REQUIRED, NULL, "data is mandatory", "data");
    check_not_negative(errs, json_object_get(revision, "revision"), "revision");
}

void revision_validate_update(struct ctx *ctx, const json_t *revision, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, revision, old, "data");
}
