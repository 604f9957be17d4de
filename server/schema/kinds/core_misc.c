/* Endpoints, LimitRanges, ResourceQuotas, ReplicationControllers, ComponentStatuses. Source: upstream pkg/registry/core, printers. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "server/schema/kinds/amounts.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"

#include <string.h>

/* --- Endpoints --- */

static void endpoints_default(json_t *endpoints)
{
    size_t i, j;
    json_t *subset, *port;

    json_array_foreach(json_object_get(endpoints, "subsets"), i, subset)
        json_array_foreach(json_object_get(subset, "ports"), j, port) set_text(port, "protocol", "TCP");
}

static void check_addresses(struct field_errors *errs, const json_t *subset, const char *which, size_t index)
{
    size_t i;
    json_t *address;

    json_array_foreach(json_object_get(subset, which), i, address)
    {
        const char *path = check_path(errs, "subsets[%zu].%s[%zu]", index, which, i);

        check_name(errs, json_object_get(address, "ip"), ip_invalid, check_path(errs, "%s.ip", path));
        check_name(errs, json_object_get(address, "ip"), endpoint_ip_invalid, check_path(errs, "%s.ip", path));
        check_name(errs, json_object_get(address, "hostname"), name_is_dns_label, check_path(errs, "%s.hostname", path));
        check_name(errs, json_object_get(address, "nodeName"), name_is_dns_subdomain, check_path(errs, "%s.nodeName", path));
    }
}

static void endpoints_validate(struct ctx *ctx, const json_t *endpoints, struct field_errors *errs)
{
    size_t i, j;
    json_t *subset, *port;

    (void)ctx;
    json_array_foreach(json_object_get(endpoints, "subsets"), i, subset)
    {
        const json_t *ports = json_object_get(subset, "ports");

        if (json_array_size(json_object_get(subset, "addresses")) + json_array_size(json_object_get(subset, "notReadyAddresses")) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "must specify `addresses` or `notReadyAddresses`", "subsets[%zu]", i);
        check_addresses(errs, subset, "addresses", i);
        check_addresses(errs, subset, "notReadyAddresses", i);
        json_array_foreach(ports, j, port)
        {
            const char *path = check_path(errs, "subsets[%zu].ports[%zu]", i, j);

            if (json_array_size(ports) > 1)
                check_text(errs, port, "name", check_path(errs, "%s.name", path));
            check_name(errs, json_object_get(port, "name"), name_is_dns_label, check_path(errs, "%s.name", path));
            check_port(errs, json_object_get(port, "port"), check_path(errs, "%s.port", path));
        }
    }
}

/* Up to three addresses, and how many more. */
static void endpoints_cells(struct ctx *ctx, const json_t *endpoints, json_t *cells)
{
    AUTO(buf) struct buf text = { 0 };
    size_t i, j, k, n = 0;
    json_t *subset, *address, *port;
    enum { SHOWN = 3 };

    json_array_foreach(json_object_get(endpoints, "subsets"), i, subset)
    {
        const json_t *ports = json_object_get(subset, "ports"), *addresses = json_object_get(subset, "addresses");

        if (json_array_size(ports) == 0)
            json_array_foreach(addresses, j, address)
                if (n++ < SHOWN)
                    buf_printf(&text, "%s%s", n > 1 ? "," : "", json_str_or(address, "ip", ""));
        json_array_foreach(ports, k, port)
            json_array_foreach(addresses, j, address)
            {
                const char *ip = json_str_or(address, "ip", "");
                bool v6 = strchr(ip, ':') != NULL;

                if (n++ < SHOWN)
                    buf_printf(&text, "%s%s%s%s:%lld", n > 1 ? "," : "", v6 ? "[" : "", ip, v6 ? "]" : "",
                               (long long)json_int_or(port, "port", 0));
            }
    }
    if (n > SHOWN)
        buf_printf(&text, " + %zu more...", n - SHOWN);
    cell_text(cells, json_array_size(json_object_get(endpoints, "subsets")) ? buf_at(&text) : "<none>");
    cell_age(ctx, cells, endpoints);
}

/* --- LimitRange --- */

static void limit_range_default(json_t *range)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_at(range, "spec.limits"), i, item)
    {
        if (!is_text(item, "type", "Container"))
            continue;
        json_t *limits = set_object(item, "default"), *requests = set_object(item, "defaultRequest");

        set_missing(limits, json_object_get(item, "max"));
        set_missing(requests, limits);
        set_missing(requests, json_object_get(item, "min"));
        if (json_object_size(limits) == 0)
            json_object_del(item, "default");
        if (json_object_size(requests) == 0)
            json_object_del(item, "defaultRequest");
    }
}

/* a of `low` must not be more than a of `high`. */
static void check_order(struct field_errors *errs, const json_t *item, const char *const *names, const char *path)
{
    const json_t *low = json_object_get(item, names[0]), *high = json_object_get(item, names[1]);
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)low, key, v)
    {
        const json_t *most = json_object_get(high, key);

        /* upstream shows the bound, not the default, where a default is out of bounds */
        if (most && amount_cmp(v, most) > 0)
            field_error(errs, FIELD_INVALID,
                        strcmp(names[4], "default") != 0 ? json_object_get(json_object_get(item, names[4]), key)
                        : strcmp(names[0], "min") == 0  ? v
                                                        : most,
                        arena_printf(errs->arena, "%s value %s is greater than %s value %s", names[2], json_string_value(v), names[3],
                                     json_string_value(most)),
                        "%s.%s[%s]", path, names[4], key);
    }
}

static void check_limit(struct field_errors *errs, const json_t *item, const char *path)
{
    static const char *const orders[][5] = { /* low, high, their names, the member to blame */
        { "min", "max", "min", "max", "min" },
        { "min", "defaultRequest", "min", "default request", "defaultRequest" },
        { "defaultRequest", "max", "default request", "max", "defaultRequest" },
        { "defaultRequest", "default", "default request", "default limit", "defaultRequest" },
        { "min", "default", "min", "default", "default" },
        { "default", "max", "default", "max", "default" },
    };
    static const char *const lists[] = { "max", "min", "default", "defaultRequest", "maxLimitRequestRatio" };
    bool pod = is_text(item, "type", "Pod"), of_pods = pod || is_text(item, "type", "Container");
    const char *key;
    json_t *v;

    for (size_t i = 2; pod && i < 4; i++)
        if (json_object_size(json_object_get(item, lists[i])))
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not be specified when `type` is 'Pod'", "%s.%s", path, lists[i]);
    for (size_t i = 0; of_pods && i < ARRAY_LEN(lists); i++)
        json_object_foreach(json_object_get(item, lists[i]), key, v)
            amount_check_container_name(errs, key, check_path(errs, "%s.%s[%s]", path, lists[i], key));
    if (is_text(item, "type", "PersistentVolumeClaim") && !json_at(item, "min.storage") && !json_at(item, "max.storage"))
        field_error(errs, FIELD_REQUIRED, NULL, "either minimum or maximum storage value is required, but neither was provided",
                    "%s.limits", path);
    for (size_t i = 0; i < ARRAY_LEN(orders); i++)
        check_order(errs, item, orders[i], path);
    json_object_foreach(json_object_get(item, "maxLimitRequestRatio"), key, v)
        if (quantity_json_milli(v) < 1000)
            field_error(errs, FIELD_INVALID, v, arena_printf(errs->arena, "ratio %s is less than 1", json_string_value(v)),
                        "%s.maxLimitRequestRatio[%s]", path, key);
}

static void limit_range_validate(struct ctx *ctx, const json_t *range, struct field_errors *errs)
{
    const json_t *limits = json_at(range, "spec.limits");
    size_t i;
    json_t *item;

    (void)ctx;
    json_array_foreach(limits, i, item)
    {
        const json_t *type = json_object_get(item, "type");
        const char *path = check_path(errs, "spec.limits[%zu]", i), *name = json_is_string(type) ? json_string_value(type) : "";

        check_name(errs, type, label_key_invalid, check_path(errs, "%s.type", path));
        if (*name && !strchr(name, '/') && strcmp(name, "Pod") != 0 && strcmp(name, "Container") != 0 &&
            strcmp(name, "PersistentVolumeClaim") != 0)
            field_error(errs, FIELD_INVALID, type, "must be a standard limit type or fully qualified", "%s.type", path);
        for (size_t j = 0; j < i; j++)
            if (is_text(json_array_get(limits, j), "type", name)) {
                field_error(errs, FIELD_DUPLICATE, type, "", "%s.type", path);
                break;
            }
        check_limit(errs, item, path);
    }
}

/* --- ResourceQuota --- */

static void check_hard(struct field_errors *errs, const json_t *amounts, const char *path)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)amounts, key, v)
    {
        const char *at = check_path(errs, "%s[%s]", path, key);

        amount_check_quota_name(errs, key, at);
        amount_check(errs, key, v, at);
    }
}

/* Scopes tell pods apart: all that is limited must be of pods. */
static bool scope_fits(const char *scope, const json_t *hard)
{
    static const char *const of_pods[] = { "pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu",
                                           "limits.memory" };
    bool only_count = strcmp(scope, "BestEffort") == 0;
    const char *name;
    json_t *v;

    if (strcmp(scope, "VolumeAttributesClass") == 0)
        return true;
    json_object_foreach((json_t *)hard, name, v)
    {
        size_t i = 0;

        if (strchr(name, '/'))
            continue; /* not one of the standard names */
        while (i < ARRAY_LEN(of_pods) && strcmp(name, of_pods[i]) != 0)
            i++;
        if (only_count ? i != 0 : i == ARRAY_LEN(of_pods))
            return false;
    }
    return true;
}

static void quota_validate(struct ctx *ctx, const json_t *quota, struct field_errors *errs)
{
    static const char *const scopes[] = { "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
                                          "CrossNamespacePodAffinity", "VolumeAttributesClass" };
    const json_t *list = json_at(quota, "spec.scopes");
    size_t i, s;
    json_t *scope;

    (void)ctx;
    check_hard(errs, json_at(quota, "spec.hard"), "spec.hard");
    json_array_foreach(list, i, scope)
    {
        for (s = 0; s < ARRAY_LEN(scopes) && strcmp(scopes[s], json_string_value(scope)) != 0;)
            s++;
        if (s == ARRAY_LEN(scopes))
            field_error(errs, FIELD_INVALID, list, "unsupported scope", "spec.scopes");
        else if (!scope_fits(scopes[s], json_at(quota, "spec.hard")))
            field_error(errs, FIELD_INVALID, list, "unsupported scope applied to resource", "spec.scopes");
    }
}

static void quota_validate_update(struct ctx *ctx, const json_t *quota, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, quota, old, "spec.scopes");
}

static void quota_validate_status(struct ctx *ctx, const json_t *quota, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    (void)old;
    check_hard(errs, json_at(quota, "status.hard"), "status.hard");
    check_hard(errs, json_at(quota, "status.used"), "status.used");
}

static void quota_cells(struct ctx *ctx, const json_t *quota, json_t *cells)
{
    AUTO(buf) struct buf requests = { 0 };
    AUTO(buf) struct buf limits = { 0 };
    json_t *hard = json_at(quota, "status.hard"), *used = json_at(quota, "status.used"), *v;
    const char **names = arena_alloc(ctx->arena, (json_object_size(hard) + 1) * sizeof(*names)), *key;
    size_t n = 0;

    json_object_foreach(hard, key, v) names[n++] = key;
    cell_sorted(ctx->arena, names, n);
    for (size_t i = 0; i < n; i++) {
        struct buf *to = strncmp(names[i], "limits.", 7) == 0 ? &limits : &requests;
        const char *in_use = json_string_value(json_object_get(used, names[i]));

        buf_printf(to, "%s%s: %s/%s", buf_len(to) ? ", " : "", names[i], in_use ? in_use : "0",
                   json_string_value(json_object_get(hard, names[i])));
    }
    cell_text(cells, buf_at(&requests));
    cell_text(cells, buf_at(&limits));
    cell_age(ctx, cells, quota);
}

/* --- ReplicationController --- */

static void controller_default(json_t *controller)
{
    json_t *spec = json_object_get(controller, "spec"), *labels = json_at(spec, "template.metadata.labels");

    pod_spec_default(json_at(spec, "template.spec"));
    if (!labels || !json_is_object(spec))
        return;
    if (json_object_size(json_object_get(spec, "selector")) == 0)
        json_object_set_new(spec, "selector", json_deep_copy(labels));
    if (json_object_size(json_at(controller, "metadata.labels")) == 0)
        json_put(controller, "metadata.labels", json_deep_copy(labels));
}

static void controller_validate(struct ctx *ctx, const json_t *controller, struct field_errors *errs)
{
    const json_t *spec = json_object_get(controller, "spec"), *selector = json_object_get(spec, "selector"),
                 *template = json_object_get(spec, "template");
    AUTO(json) json_t *as_selector = json_object();

    (void)ctx;
    check_not_negative(errs, json_object_get(spec, "minReadySeconds"), "spec.minReadySeconds");
    if (json_object_size(selector) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.selector");
    check_not_negative(errs, json_object_get(spec, "replicas"), "spec.replicas");
    if (!check_member(errs, spec, "template", "spec.template"))
        return;
    json_object_set(as_selector, "matchLabels", (json_t *)selector);
    if (json_object_size(selector) && !selector_matches(errs, as_selector, json_at(template, "metadata.labels")))
        field_error(errs, FIELD_INVALID, json_at(template, "metadata.labels"), "`selector` does not match template `labels`",
                    "spec.template.metadata.labels");
    pod_template_validate_always(template, "spec.template", "ReplicationController", errs);
}

static void controller_cells(struct ctx *ctx, const json_t *controller, json_t *cells)
{
    cell_int(cells, json_int_or(controller, "spec.replicas", 0));
    cell_int(cells, json_int_or(controller, "status.replicas", 0));
    cell_int(cells, json_int_or(controller, "status.readyReplicas", 0));
    cell_age(ctx, cells, controller);
    cell_containers(cells, json_at(controller, "spec.template.spec.containers"));
    cell_labels(ctx, cells, json_at(controller, "spec.selector"));
}

static const char *const controller_fields[] = { "status.replicas", NULL };

static const char *replicas_field(struct ctx *ctx, const json_t *object, const char *name)
{
    (void)name;
    return arena_printf(ctx->arena, "%lld", (long long)json_int_or(object, "status.replicas", 0));
}

/* --- ComponentStatus --- */

static void component_cells(struct ctx *ctx, const json_t *component, json_t *cells)
{
    const json_t *healthy = NULL;
    size_t i;
    json_t *c;

    (void)ctx;
    json_array_foreach(json_object_get(component, "conditions"), i, c)
        if (!healthy && is_text(c, "type", "Healthy"))
            healthy = c;
    cell_text(cells, !healthy ? "Unknown" : is_text(healthy, "status", "True") ? "Healthy" : "Unhealthy");
    cell_path(cells, healthy, "message", "");
    cell_path(cells, healthy, "error", "");
}

const struct kind_ops kinds_core_misc[] = {
    { .group = "", .kind = "Binding", .no_generation = true },
    { .group = "", .kind = "ComponentStatus", .cells = component_cells, .no_generation = true },
    {
        .group = "", .kind = "Endpoints",
        .default_ = endpoints_default,
        .validate = endpoints_validate,
        .cells = endpoints_cells,
        .create_on_update = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "", .kind = "LimitRange",
        .default_ = limit_range_default,
        .validate = limit_range_validate,
        .cells = cell_created_at,
        .create_on_update = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "", .kind = "ReplicationController",
        .default_ = controller_default,
        .validate = controller_validate,
        .cells = controller_cells,
        .fields = controller_fields,
        .field = replicas_field,
        .unconditional_update = true,
        .propagation = "Orphan",
    },
    {
        .group = "", .kind = "ResourceQuota",
        .validate = quota_validate,
        .validate_update = quota_validate_update,
        .validate_status = quota_validate_status,
        .cells = quota_cells,
        .return_deleted = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    { 0 },
};
