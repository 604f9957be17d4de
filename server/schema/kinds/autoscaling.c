/* HorizontalPodAutoscalers. Source: upstream pkg/apis/autoscaling. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

enum { WINDOW_MAX_S = 3600, PERIOD_MAX_S = 1800, SHOWN = 2 };

static bool is_v1(const json_t *hpa)
{
    return is_text(hpa, "apiVersion", "autoscaling/v1");
}

/* --- defaults --- */

static void default_rules(json_t *behavior, const char *which, bool up)
{
    json_t *rules = set_object(behavior, which);

    if (!rules)
        return;
    if (up)
        set_int(rules, "stabilizationWindowSeconds", 0);
    set_text(rules, "selectPolicy", "Max");
    if (json_object_get(rules, "policies"))
        return;
    json_t *policies = json_array();
    if (up)
        json_array_append_new(policies, json_pack("{s:s,s:i,s:i}", "type", "Pods", "value", 4, "periodSeconds", 15));
    json_array_append_new(policies, json_pack("{s:s,s:i,s:i}", "type", "Percent", "value", 100, "periodSeconds", 15));
    json_object_set_new(rules, "policies", policies);
}

static void hpa_default(json_t *hpa)
{
    json_t *spec = json_object_get(hpa, "spec");

    if (!json_is_object(spec))
        return;
    set_int(spec, "minReplicas", 1);
    if (is_v1(hpa)) { /* as the conversion has it */
        if (!meta_annotation(hpa, "autoscaling.alpha.kubernetes.io/metrics"))
            set_int(spec, "targetCPUUtilizationPercentage", 80);
        return;
    }
    if (json_array_size(json_object_get(spec, "metrics")) == 0)
        json_object_set_new(spec, "metrics",
                            json_pack("[{s:s,s:{s:s,s:{s:s,s:i}}}]", "type", "Resource", "resource", "name", "cpu", "target", "type",
                                      "Utilization", "averageUtilization", 80));
    json_t *behavior = json_object_get(spec, "behavior");
    if (json_is_object(behavior)) {
        default_rules(behavior, "scaleUp", true);
        default_rules(behavior, "scaleDown", false);
    }
}

/* --- checks --- */

static void check_reference(struct field_errors *errs, const json_t *ref, const char *path)
{
    static const char *const keys[] = { "kind", "name" };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (*json_str_or(ref, keys[i], ""))
            check_name(errs, json_object_get(ref, keys[i]), name_is_path_segment, check_path(errs, "%s.%s", path, keys[i]));
}

static const struct {
    const char *type, *member;
} sources[] = {
    { "ContainerResource", "containerResource" }, { "External", "external" }, { "Object", "object" }, { "Pods", "pods" }, { "Resource", "resource" },
};

static void check_target(struct field_errors *errs, const json_t *source, const char *type, const char *path)
{
    const json_t *target = json_object_get(source, "target"), *percent = json_object_get(target, "averageUtilization"),
                 *average = json_object_get(target, "averageValue"), *value = json_object_get(target, "value");
    bool of_resource = strstr(type, "Resource") != NULL;

    if (percent && json_integer_value(percent) < 1)
        field_error(errs, FIELD_INVALID, percent, "must be greater than 0", "%s.target.averageUtilization", path);
    if (average && quantity_json_milli(average) <= 0)
        field_error(errs, FIELD_INVALID, average, "must be positive", "%s.target.averageValue", path);
    if (value && quantity_json_milli(value) <= 0)
        field_error(errs, FIELD_INVALID, value, "must be positive", "%s.target.value", path);
    if (of_resource && !percent && !average)
        field_error(errs, FIELD_REQUIRED, NULL, "must set either a target raw value or a target utilization", "%s.target.averageUtilization", path);
    if (of_resource && percent && average)
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not set both a target raw value and a target utilization", "%s.target.averageValue", path);
    if (strcmp(type, "Pods") == 0 && !average)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify a positive target averageValue", "%s.target.averageValue", path);
    if (strcmp(type, "Object") == 0 && !value && !average)
        field_error(errs, FIELD_REQUIRED, NULL, "must set either a target value or averageValue", "%s.target.averageValue", path);
    if (strcmp(type, "External") == 0 && !value && !average)
        field_error(errs, FIELD_REQUIRED, NULL, "must set either a target value for metric or a per-pod target", "%s.target.averageValue", path);
    if (strcmp(type, "External") == 0 && value && average)
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not set both a target value for metric and a per-pod target", "%s.target.value", path);
}

static void check_metric(struct field_errors *errs, const json_t *metric, const char *path)
{
    static const char *const types[] = { "ContainerResource", "External", "Object", "Pods", "Resource" };
    const char *type = json_str_or(metric, "type", "");

    if (*type)
        check_one_of(errs, json_object_get(metric, "type"), false, types, ARRAY_LEN(types), check_path(errs, "%s.type", path));
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        const json_t *source = json_object_get(metric, sources[i].member);
        const char *at = check_path(errs, "%s.%s", path, sources[i].member);

        if (strcmp(type, sources[i].type) != 0) {
            if (source)
                field_error(errs, FIELD_FORBIDDEN, NULL, "must populate the given metric source only", "%s", at);
            continue;
        }
        if (source)
            check_target(errs, source, type, at);
        else
            field_error(errs, FIELD_REQUIRED, NULL, "must populate information for the given metric source", "%s", at);
    }
}

static void check_rules(struct field_errors *errs, const json_t *rules, const char *path)
{
    const json_t *window = json_object_get(rules, "stabilizationWindowSeconds");
    size_t i;
    json_t *policy;

    if (!rules)
        return;
    if (json_integer_value(window) < 0)
        field_error(errs, FIELD_INVALID, window, "must be greater than or equal to zero", "%s.stabilizationWindowSeconds", path);
    if (json_integer_value(window) > WINDOW_MAX_S)
        field_error(errs, FIELD_INVALID, window, "must be less than or equal to 3600", "%s.stabilizationWindowSeconds", path);
    CHECK_ONE_OF(errs, json_object_get(rules, "selectPolicy"), false, check_path(errs, "%s.selectPolicy", path), "Disabled", "Max", "Min");
    if (json_array_size(json_object_get(rules, "policies")) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify at least one Policy", "%s.policies", path);
    json_array_foreach(json_object_get(rules, "policies"), i, policy)
    {
        const char *at = check_path(errs, "%s.policies[%zu]", path, i);
        int64_t period = json_int_or(policy, "periodSeconds", 0);

        CHECK_ONE_OF(errs, json_object_get(policy, "type"), false, check_path(errs, "%s.type", at), "Percent", "Pods");
        if (json_int_or(policy, "value", 0) <= 0)
            field_error(errs, FIELD_INVALID, json_object_get(policy, "value"), "must be greater than zero", "%s.value", at);
        if (period <= 0)
            field_error(errs, FIELD_INVALID, json_object_get(policy, "periodSeconds"), "must be greater than zero", "%s.periodSeconds", at);
        if (period > PERIOD_MAX_S)
            field_error(errs, FIELD_INVALID, json_object_get(policy, "periodSeconds"), "must be less than or equal to 1800",
                        "%s.periodSeconds", at);
    }
}

/* Whether something beside the pods themselves is measured. */
static bool scales_from_zero(const json_t *spec)
{
    size_t i;
    json_t *metric;

    json_array_foreach(json_object_get(spec, "metrics"), i, metric)
        if (is_text(metric, "type", "Object") || is_text(metric, "type", "External"))
            return true;
    return false;
}

static void hpa_validate(struct ctx *ctx, const json_t *hpa, struct field_errors *errs)
{
    const json_t *spec = json_object_get(hpa, "spec"), *least = json_object_get(spec, "minReplicas"),
                 *most = json_object_get(spec, "maxReplicas");
    size_t i;
    json_t *metric;

    (void)ctx;
    if (least && json_integer_value(least) < 0)
        field_error(errs, FIELD_INVALID, least, "must be greater than or equal to 0", "spec.minReplicas");
    if (least && json_integer_value(least) == 0 && !scales_from_zero(spec))
        field_error(errs, FIELD_FORBIDDEN, NULL,
                    "must specify at least one Object or External metric to support scaling to zero replicas", "spec.metrics");
    if (json_integer_value(most) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.maxReplicas");
    else if (json_integer_value(most) < 0)
        field_error(errs, FIELD_INVALID, most, "must be greater than or equal to 1", "spec.maxReplicas");
    AUTO(json) json_t *shown = json_integer(json_integer_value(most));
    if (least && json_integer_value(most) < json_integer_value(least))
        field_error(errs, FIELD_INVALID, shown, "must be greater than or equal to `minReplicas`", "spec.maxReplicas");
    check_reference(errs, json_object_get(spec, "scaleTargetRef"), "spec.scaleTargetRef");
    json_array_foreach(json_object_get(spec, "metrics"), i, metric) check_metric(errs, metric, check_path(errs, "spec.metrics[%zu]", i));
    check_rules(errs, json_at(spec, "behavior.scaleUp"), "spec.behavior.scaleUp");
    check_rules(errs, json_at(spec, "behavior.scaleDown"), "spec.behavior.scaleDown");
}

static void hpa_validate_status(struct ctx *ctx, const json_t *hpa, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    (void)old;
    check_not_negative(errs, json_at(hpa, "status.currentReplicas"), "status.currentReplicas");
    check_not_negative(errs, json_at(hpa, "status.desiredReplicas"), "status.desiredReplicas");
}

/* --- the row --- */

static const char *or_unknown(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : "<unknown>";
}

static const char *percent_or(struct arena *a, const json_t *v, const char *otherwise)
{
    return json_is_integer(v) ? arena_printf(a, "%lld%%", (long long)json_integer_value(v)) : otherwise;
}

static const char *metric_text(struct arena *a, const json_t *spec, const json_t *status)
{
    const char *type = json_str_or(spec, "type", "");
    const json_t *source = NULL, *current = NULL;

    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (strcmp(type, sources[i].type) == 0) {
            source = json_object_get(spec, sources[i].member);
            current = json_object_get(json_object_get(status, sources[i].member), "current");
        }
    if (!source)
        return "<unknown type>";
    const json_t *average = json_at(source, "target.averageValue"), *now = json_object_get(current, "averageValue");
    if (strstr(type, "Resource")) {
        const char *name = json_str_or(source, "name", "");

        if (average)
            return arena_printf(a, "%s: %s/%s", name, or_unknown(now), json_string_value(average));
        return arena_printf(a, "%s: %s/%s", name, percent_or(a, json_object_get(current, "averageUtilization"), "<unknown>"),
                            percent_or(a, json_at(source, "target.averageUtilization"), "<auto>"));
    }
    if (strcmp(type, "Pods") == 0)
        return arena_printf(a, "%s/%s", or_unknown(now), or_unknown(average));
    if (average)
        return arena_printf(a, "%s/%s (avg)", or_unknown(now), json_string_value(average));
    return arena_printf(a, "%s/%s", or_unknown(json_object_get(current, "value")), or_unknown(json_at(source, "target.value")));
}

static void metrics_cell(struct ctx *ctx, const json_t *hpa, json_t *cells)
{
    const json_t *metrics = json_at(hpa, "spec.metrics"), *statuses = json_at(hpa, "status.currentMetrics");
    size_t n = json_array_size(metrics);
    AUTO(buf) struct buf text = { 0 };

    for (size_t i = 0; i < n && i < SHOWN; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", metric_text(ctx->arena, json_array_get(metrics, i), json_array_get(statuses, i)));
    if (n > SHOWN)
        buf_printf(&text, " + %zu more...", n - SHOWN);
    cell_text(cells, n ? buf_at(&text) : "<none>");
}

static void hpa_cells(struct ctx *ctx, const json_t *hpa, json_t *cells)
{
    AUTO(json) json_t *v2 = is_v1(hpa) ? json_deep_copy(hpa) : json_incref((json_t *)hpa);
    const json_t *least = json_at(hpa, "spec.minReplicas");

    if (is_v1(hpa))
        hpa_v1_to_v2(v2);
    cell_text(cells, arena_printf(ctx->arena, "%s/%s", json_str_or(hpa, "spec.scaleTargetRef.kind", ""),
                                  json_str_or(hpa, "spec.scaleTargetRef.name", "")));
    metrics_cell(ctx, v2, cells);
    if (least)
        cell_format(cells, "%lld", (long long)json_integer_value(least));
    else
        cell_text(cells, "<unset>");
    cell_int(cells, json_int_or(hpa, "spec.maxReplicas", 0));
    cell_int(cells, json_int_or(hpa, "status.currentReplicas", 0));
    cell_age(ctx, cells, hpa);
}

const struct kind_ops kinds_autoscaling[] = {
    { .group = "autoscaling", .kind = "HorizontalPodAutoscaler", .default_ = hpa_default, .validate = hpa_validate,
      .validate_status = hpa_validate_status, .cells = hpa_cells, .unconditional_update = true },
    { 0 },
};
