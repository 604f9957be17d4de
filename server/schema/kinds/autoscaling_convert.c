/*
 * HorizontalPodAutoscalers of version 1, which hold in annotations what their fields cannot; stored as version 2.
 * Source: upstream pkg/apis/autoscaling/v1/conversion.go.
 */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/set.h"

#include <ctype.h>
#include <string.h>

#define HPA_ANNOTATION "autoscaling.alpha.kubernetes.io/"
static const char metrics_key[] = HPA_ANNOTATION "metrics", current_key[] = HPA_ANNOTATION "current-metrics",
                  conditions_key[] = HPA_ANNOTATION "conditions", behavior_key[] = HPA_ANNOTATION "behavior";

/* Where a member of version 1's flat metric source is in version 2's. */
struct move {
    const char *v1, *v2;
};
struct source {
    const char *name;         /* member of both */
    struct move spec[6], status[6];
};

static const struct source sources[] = {
    { "object",
      { { "target", "describedObject" }, { "metricName", "metric.name" }, { "selector", "metric.selector" },
        { "targetValue", "target.value" }, { "averageValue", "target.averageValue" } },
      { { "target", "describedObject" }, { "metricName", "metric.name" }, { "selector", "metric.selector" },
        { "currentValue", "current.value" }, { "averageValue", "current.averageValue" } } },
    { "pods",
      { { "metricName", "metric.name" }, { "selector", "metric.selector" }, { "targetAverageValue", "target.averageValue" } },
      { { "metricName", "metric.name" }, { "selector", "metric.selector" }, { "currentAverageValue", "current.averageValue" } } },
    { "resource",
      { { "name", "name" }, { "targetAverageUtilization", "target.averageUtilization" }, { "targetAverageValue", "target.averageValue" } },
      { { "name", "name" }, { "currentAverageUtilization", "current.averageUtilization" },
        { "currentAverageValue", "current.averageValue" } } },
    { "containerResource",
      { { "name", "name" }, { "container", "container" }, { "targetAverageUtilization", "target.averageUtilization" },
        { "targetAverageValue", "target.averageValue" } },
      { { "name", "name" }, { "container", "container" }, { "currentAverageUtilization", "current.averageUtilization" },
        { "currentAverageValue", "current.averageValue" } } },
    { "external",
      { { "metricName", "metric.name" }, { "metricSelector", "metric.selector" }, { "targetValue", "target.value" },
        { "targetAverageValue", "target.averageValue" } },
      { { "metricName", "metric.name" }, { "metricSelector", "metric.selector" }, { "currentValue", "current.value" },
        { "currentAverageValue", "current.averageValue" } } },
};

/* The type of a target by the value it has. */
static void name_target(json_t *source)
{
    static const char *const types[][2] = { { "averageUtilization", "Utilization" }, { "averageValue", "AverageValue" }, { "value", "Value" } };
    json_t *target = json_object_get(source, "target");

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (json_object_get(target, types[i][0])) {
            json_object_set_new(target, "type", json_string(types[i][1]));
            return;
        }
}

static json_t *convert_metric(const json_t *metric, bool status, bool to_v2)
{
    json_t *out = json_object();

    set_from(out, metric, "type");
    for (size_t s = 0; s < ARRAY_LEN(sources); s++) {
        const struct move *moves = status ? sources[s].status : sources[s].spec;
        const json_t *from = json_object_get(metric, sources[s].name);

        if (!from)
            continue;
        json_t *to = json_object();
        for (size_t m = 0; m < ARRAY_LEN(sources[s].spec) && moves[m].v1; m++) {
            json_t *v = json_at(from, to_v2 ? moves[m].v1 : moves[m].v2);

            if (v)
                json_put(to, to_v2 ? moves[m].v2 : moves[m].v1, json_incref(v));
        }
        if (to_v2 && !status)
            name_target(to);
        json_object_set_new(out, sources[s].name, to);
    }
    return out;
}

static json_t *convert_metrics(const json_t *list, bool status, bool to_v2)
{
    json_t *out = json_array(), *metric;
    size_t i;

    json_array_foreach(list, i, metric) json_array_append_new(out, convert_metric(metric, status, to_v2));
    return out;
}

/* The behavior annotation names members as Go does: with a capital. */
static json_t *recase(const json_t *v, bool upper)
{
    const char *key;
    size_t i;
    json_t *e, *out;

    if (json_is_array(v)) {
        out = json_array();
        json_array_foreach(v, i, e) json_array_append_new(out, recase(e, upper));
        return out;
    }
    if (!json_is_object(v))
        return json_incref((json_t *)v);
    out = json_object();
    json_object_foreach((json_t *)v, key, e)
    {
        char name[64];

        if (!*key || strlen(key) >= sizeof(name) || json_is_null(e))
            continue;
        memcpy(name, key, strlen(key) + 1);
        name[0] = (char)(upper ? toupper((unsigned char)name[0]) : tolower((unsigned char)name[0]));
        json_object_set_new(out, name, recase(e, upper));
    }
    return out;
}

/* Reads an annotation's JSON and removes it. NULL when it is absent or none. */
static json_t *take_annotation(json_t *hpa, const char *key)
{
    json_t *annotations = json_at(hpa, "metadata.annotations"), *v = NULL;
    const char *text = json_string_value(json_object_get(annotations, key));
    struct err err;

    if (text && json_read(text, strlen(text), NULL, NULL, &v, &err) < 0)
        v = NULL; /* as upstream: what cannot be read is dropped */
    json_object_del(annotations, key);
    return v;
}

static void drop_annotations(json_t *hpa)
{
    static const char *const keys[] = { metrics_key, current_key, conditions_key, behavior_key };
    json_t *annotations = json_at(hpa, "metadata.annotations");

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        json_object_del(annotations, keys[i]);
    if (annotations && json_object_size(annotations) == 0)
        json_del(hpa, "metadata.annotations");
}

static void put_annotation(json_t *hpa, const char *key, json_t *v)
{
    AUTO(buf) struct buf text = { 0 };

    json_write(v, &text);
    meta_set_annotation(hpa, key, buf_at(&text));
    json_decref(v);
}

static json_t *cpu_metric(const char *side, int64_t percent)
{
    json_t *metric = json_pack("{s:s,s:{s:s,s:{s:I}}}", "type", "Resource", "resource", "name", "cpu", side, "averageUtilization",
                               (json_int_t)percent);

    if (strcmp(side, "target") == 0)
        json_put(metric, "resource.target.type", json_string("Utilization"));
    return metric;
}

void hpa_v1_to_v2(json_t *hpa)
{
    json_t *spec = json_object_get(hpa, "spec"), *status = json_object_get(hpa, "status");
    AUTO(json) json_t *others = take_annotation(hpa, metrics_key);
    AUTO(json) json_t *current = take_annotation(hpa, current_key);
    AUTO(json) json_t *conditions = take_annotation(hpa, conditions_key);
    AUTO(json) json_t *behavior = take_annotation(hpa, behavior_key);
    json_t *metrics = convert_metrics(json_is_array(others) ? others : NULL, false, true);
    const json_t *percent = json_object_get(spec, "targetCPUUtilizationPercentage"),
                 *now = json_object_get(status, "currentCPUUtilizationPercentage");

    json_object_set_new(hpa, "apiVersion", json_string("autoscaling/v2"));
    drop_annotations(hpa);
    if (percent)
        json_array_append_new(metrics, cpu_metric("target", json_integer_value(percent)));
    else if (json_array_size(metrics) == 0)
        json_array_append_new(metrics, cpu_metric("target", 80));
    if (json_is_object(spec)) {
        json_object_set(spec, "metrics", metrics);
        json_object_del(spec, "targetCPUUtilizationPercentage");
        if (json_object_size(behavior))
            json_object_set_new(spec, "behavior", recase(behavior, false));
    }
    json_decref(metrics);
    if (!json_is_object(status))
        return;
    if (json_is_array(current))
        json_object_set_new(status, "currentMetrics", convert_metrics(current, true, true));
    else if (now)
        json_object_set_new(status, "currentMetrics", json_pack("[o]", cpu_metric("current", json_integer_value(now))));
    json_object_del(status, "currentCPUUtilizationPercentage");
    if (json_is_array(conditions))
        json_object_set(status, "conditions", conditions);
}

static const json_t *cpu_percent(const json_t *metric, const char *path)
{
    if (!is_text(metric, "type", "Resource") || !is_text(metric, "resource.name", "cpu"))
        return NULL;
    return json_at(metric, path);
}

static void spec_to_v1(json_t *hpa, json_t *spec)
{
    json_t *others = json_array(), *metric;
    const json_t *behavior = json_object_get(spec, "behavior");
    size_t i;

    json_array_foreach(json_object_get(spec, "metrics"), i, metric)
    {
        const json_t *percent = cpu_percent(metric, "resource.target.averageUtilization");

        if (!percent)
            json_array_append_new(others, convert_metric(metric, false, false));
        else if (!json_object_get(spec, "targetCPUUtilizationPercentage"))
            json_object_set(spec, "targetCPUUtilizationPercentage", (json_t *)percent);
    }
    json_object_del(spec, "metrics");
    if (json_array_size(others))
        put_annotation(hpa, metrics_key, others);
    else
        json_decref(others);
    if (behavior)
        put_annotation(hpa, behavior_key, recase(behavior, true));
    json_object_del(spec, "behavior");
}

void hpa_v2_to_v1(json_t *hpa)
{
    json_t *spec = json_object_get(hpa, "spec"), *status = json_object_get(hpa, "status"), *metric;
    const json_t *current = json_object_get(status, "currentMetrics"), *conditions = json_object_get(status, "conditions");
    size_t i;

    json_object_set_new(hpa, "apiVersion", json_string("autoscaling/v1"));
    drop_annotations(hpa);
    if (json_is_object(spec))
        spec_to_v1(hpa, spec);
    if (!json_is_object(status))
        return;
    json_array_foreach(current, i, metric)
    {
        const json_t *percent = cpu_percent(metric, "resource.current.averageUtilization");

        if (percent)
            json_object_set(status, "currentCPUUtilizationPercentage", (json_t *)percent);
    }
    if (json_array_size(current))
        put_annotation(hpa, current_key, convert_metrics(current, true, false));
    if (json_array_size(conditions))
        put_annotation(hpa, conditions_key, json_incref((json_t *)conditions));
    json_object_del(status, "currentMetrics");
    json_object_del(status, "conditions");
}
