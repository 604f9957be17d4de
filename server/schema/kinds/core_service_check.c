/* Checks of services. Source: upstream validateService. */
#include "server/schema/kinds/core_service.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/container_check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

const char *service_name_invalid(const char *name)
{
    return name_is_dns_label(name);
}

static bool is_headless(const json_t *spec)
{
    const char *first = json_string_value(json_array_get(json_object_get(spec, "clusterIPs"), 0));

    return first && strcmp(first, "None") == 0;
}

/* --- ports --- */

static bool repeated(const json_t *ports, size_t i, const char *const *keys, size_t n)
{
    const json_t *one = json_array_get(ports, i);

    for (size_t j = 0; j < i; j++) {
        bool same = true;

        for (size_t k = 0; k < n; k++)
            same &= same_member(one, json_array_get(ports, j), keys[k]);
        if (same)
            return true;
    }
    return false;
}

static void check_one_port(struct field_errors *errs, const json_t *ports, size_t i, const json_t *spec)
{
    const json_t *port = json_array_get(ports, i), *name = json_object_get(port, "name"), *number = json_object_get(port, "port");
    const char *at = check_path(errs, "spec.ports[%zu]", i);
    bool node_port = json_int_or(port, "nodePort", 0) != 0;
    AUTO(json) json_t *zero = json_integer(0);

    if (json_array_size(ports) > 1 && json_string_length(name) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s.name", at);
    if (json_string_length(name)) {
        check_name(errs, name, name_is_dns_label, check_path(errs, "%s.name", at));
        if (repeated(ports, i, (const char *const[]){ "name" }, 1))
            field_error(errs, FIELD_DUPLICATE, name, "", "%s.name", at);
    }
    check_port(errs, number ? number : zero, check_path(errs, "%s.port", at));
    check_port_or_name(errs, json_object_get(port, "targetPort"), check_path(errs, "%s.targetPort", at));
    check_name(errs, json_object_get(port, "appProtocol"), label_key_invalid, check_path(errs, "%s.appProtocol", at));
    if (node_port && is_text(spec, "type", "ClusterIP"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not be used when `type` is 'ClusterIP'", "%s.nodePort", at);
    if (node_port && repeated(ports, i, (const char *const[]){ "protocol", "nodePort" }, 2))
        field_error(errs, FIELD_DUPLICATE, json_object_get(port, "nodePort"), "", "%s.nodePort", at);
    if (repeated(ports, i, (const char *const[]){ "protocol", "port" }, 2)) {
        AUTO(json) json_t *key = json_pack("{s:O?,s:O?}", "protocol", json_object_get(port, "protocol"), "port", number);

        field_error(errs, FIELD_DUPLICATE, key, "", "%s", at);
    }
}

/* --- what only some types have --- */

static void check_external_name(struct field_errors *errs, const json_t *spec)
{
    static const char *const refused[] = { "clusterIPs", "ipFamilies", "ipFamilyPolicy" };
    char *name = arena_strdup(errs->arena, json_str_or(spec, "externalName", ""));
    size_t n = strlen(name);

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const json_t *v = json_object_get(spec, refused[i]);

        if (v && !(json_is_array(v) && json_array_size(v) == 0))
            field_error(errs, FIELD_FORBIDDEN, NULL, "may not be set for ExternalName services", "spec.%s", refused[i]);
    }
    if (n && name[n - 1] == '.')
        name[n - 1] = '\0';
    if (!*name) {
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.externalName");
        return;
    }
    AUTO(json) json_t *shown = json_string(name);
    check_name(errs, shown, name_is_dns_subdomain, "spec.externalName");
}

static void check_type(struct field_errors *errs, const json_t *spec)
{
    const char *type = json_str_or(spec, "type", "");

    if (is_headless(spec) && (strcmp(type, "LoadBalancer") == 0 || strcmp(type, "NodePort") == 0))
        field_error(errs, FIELD_INVALID, json_array_get(json_object_get(spec, "clusterIPs"), 0),
                    arena_printf(errs->arena, "may not be set to 'None' for %s services", type), "spec.clusterIPs[0]");
    if (strcmp(type, "ExternalName") == 0)
        check_external_name(errs, spec);
    if (strcmp(type, "LoadBalancer") == 0)
        return;
    if (json_object_get(spec, "allocateLoadBalancerNodePorts"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may only be used when `type` is 'LoadBalancer'", "spec.allocateLoadBalancerNodePorts");
    if (json_object_get(spec, "loadBalancerClass"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may only be used when `type` is 'LoadBalancer'", "spec.loadBalancerClass");
    if (json_array_size(json_object_get(spec, "loadBalancerSourceRanges")) > 0)
        field_error(errs, FIELD_FORBIDDEN, NULL, "may only be used when `type` is 'LoadBalancer'", "spec.LoadBalancerSourceRanges");
}

static void check_traffic(struct field_errors *errs, const json_t *service, const json_t *spec)
{
    const json_t *external = json_object_get(spec, "externalTrafficPolicy"), *health = json_object_get(spec, "healthCheckNodePort");

    if (external && !service_is_external(service))
        field_error(errs, FIELD_INVALID, external, "may only be set for externally-accessible services", "spec.externalTrafficPolicy");
    if (json_integer_value(health) && !service_needs_health_port(service))
        field_error(errs, FIELD_INVALID, health, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                    "spec.healthCheckNodePort");
    if (json_object_get(spec, "internalTrafficPolicy"))
        CHECK_ONE_OF(errs, json_object_get(spec, "internalTrafficPolicy"), false, "spec.internalTrafficPolicy", "Cluster", "Local");
    if (json_object_get(spec, "trafficDistribution"))
        CHECK_ONE_OF(errs, json_object_get(spec, "trafficDistribution"), true, "spec.trafficDistribution", "PreferClose",
                     "PreferSameZone", "PreferSameNode");
}

static void check_affinity(struct field_errors *errs, const json_t *spec)
{
    const json_t *seconds = json_at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds");

    if (is_text(spec, "sessionAffinity", "ClientIP") && seconds && (json_integer_value(seconds) <= 0 || json_integer_value(seconds) > 86400))
        field_error(errs, FIELD_INVALID, seconds, "must be greater than 0 and less than 86400",
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
}

/* --- addresses --- */

static const char *family_of(const char *ip)
{
    return strchr(ip, ':') ? "IPv6" : "IPv4";
}

static void check_families(struct field_errors *errs, const json_t *families)
{
    size_t i;
    json_t *f;

    json_array_foreach(families, i, f)
    {
        for (size_t j = 0; j < i; j++)
            if (json_equal(f, json_array_get(families, j))) {
                field_error(errs, FIELD_DUPLICATE, f, "", "spec.ipFamilies[%zu]", i);
                break;
            }
    }
    if (json_array_size(families) > 2)
        field_error(errs, FIELD_INVALID, families, "may only hold up to 2 values", "spec.ipFamilies");
}

static void check_ips(struct field_errors *errs, const json_t *spec)
{
    const json_t *ip = json_object_get(spec, "clusterIP"), *ips = json_object_get(spec, "clusterIPs"),
                 *families = json_object_get(spec, "ipFamilies");
    size_t i;
    json_t *v;

    check_families(errs, families);
    if (json_array_size(ips) && json_string_length(ip) == 0)
        field_error(errs, FIELD_INVALID, ips, "must be empty when `clusterIP` is not specified", "spec.clusterIPs");
    if (json_array_size(ips) && json_string_length(ip) && !json_equal(ip, json_array_get(ips, 0)))
        field_error(errs, FIELD_INVALID, ips, "first value must match `clusterIP`", "spec.clusterIPs");
    if (json_array_size(ips) > 2)
        field_error(errs, FIELD_INVALID, ips, "may only hold up to 2 values", "spec.clusterIPs");
    if (is_headless(spec)) {
        if (json_array_size(ips) > 1)
            field_error(errs, FIELD_INVALID, ips, "'None' must be the first and only value", "spec.clusterIPs");
        return;
    }
    json_array_foreach(ips, i, v)
    {
        const char *s = json_is_string(v) ? json_string_value(v) : "", *why = ip_invalid(s);
        const char *family = json_string_value(json_array_get(families, i));

        if (i > 0 && strcmp(s, "None") == 0)
            field_error(errs, FIELD_INVALID, v, "'None' must be the first and only value", "spec.clusterIPs[%zu]", i);
        else if (why)
            field_error(errs, FIELD_INVALID, v, why, "spec.clusterIPs[%zu]", i);
        else if (family && strcmp(family, family_of(s)) != 0)
            field_error(errs, FIELD_INVALID, v, arena_printf(errs->arena, "expected an %s value as indicated by `ipFamilies[%zu]`", family, i),
                        "spec.clusterIPs[%zu]", i);
    }
    if (json_array_size(ips) == 2 && strcmp(family_of(json_string_value(json_array_get(ips, 0))),
                                            family_of(json_string_value(json_array_get(ips, 1)))) == 0)
        field_error(errs, FIELD_INVALID, ips, "may specify no more than one IP for each IP family", "spec.clusterIPs");
}

void service_validate(struct ctx *ctx, const json_t *service, struct field_errors *errs)
{
    const json_t *spec = json_object_get(service, "spec"), *ports = json_object_get(spec, "ports");
    size_t i;
    json_t *ip;

    (void)ctx;
    if (json_array_size(ports) == 0 && !is_headless(spec) && !is_text(spec, "type", "ExternalName"))
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.ports");
    check_type(errs, spec);
    json_array_foreach(json_object_get(spec, "loadBalancerSourceRanges"), i, ip)
        check_name(errs, ip, cidr_invalid, check_path(errs, "spec.LoadBalancerSourceRanges[%zu]", i));
    for (i = 0; i < json_array_size(ports); i++)
        check_one_port(errs, ports, i, spec);
    check_labels(errs, json_object_get(spec, "selector"), "spec.selector");
    check_affinity(errs, spec);
    if (!is_text(spec, "type", "ExternalName"))
        check_ips(errs, spec);
    json_array_foreach(json_object_get(spec, "externalIPs"), i, ip)
    {
        const char *at = check_path(errs, "spec.externalIPs[%zu]", i);

        check_name(errs, ip, ip_invalid, at);
        check_name(errs, ip, endpoint_ip_invalid, at);
    }
    check_traffic(errs, service, spec);
}

void service_validate_update(struct ctx *ctx, const json_t *service, const json_t *old, struct field_errors *errs)
{
    const json_t *ips = json_at(service, "spec.clusterIPs"), *had = json_at(old, "spec.clusterIPs");
    const json_t *families = json_at(service, "spec.ipFamilies"), *were = json_at(old, "spec.ipFamilies");
    bool both = service_needs_ip(service) && service_needs_ip(old);

    (void)ctx;
    if (both && json_array_size(had) && !json_equal(json_array_get(ips, 0), json_array_get(had, 0)))
        field_error(errs, FIELD_INVALID, ips, "may not change once set", "spec.clusterIPs[0]");
    if (both && json_array_size(were) && json_array_size(families) && !json_equal(json_array_get(families, 0), json_array_get(were, 0)))
        field_error(errs, FIELD_INVALID, families, "may not change once set", "spec.ipFamilies[0]");
    if (is_text(old, "spec.type", "LoadBalancer") && is_text(service, "spec.type", "LoadBalancer") &&
        !same_member(service, old, "spec.loadBalancerClass"))
        field_error(errs, FIELD_INVALID, json_at(service, "spec.loadBalancerClass"), "may not change once set", "spec.loadBalancerClass");
    if (service_needs_health_port(service) && service_needs_health_port(old) && !same_member(service, old, "spec.healthCheckNodePort"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "field is immutable", "spec.healthCheckNodePort");
}
