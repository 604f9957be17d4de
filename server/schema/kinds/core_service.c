/* Services: defaults and preparation. Source: upstream pkg/apis/core/v1/defaults.go, pkg/registry/core/service. */
#include "server/schema/kinds/core_service.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/kinds.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static bool is_type(const json_t *service, const char *type)
{
    return is_text(service, "spec.type", type);
}

bool service_needs_ip(const json_t *service)
{
    return !is_type(service, "ExternalName");
}

bool service_needs_ports(const json_t *service)
{
    return is_type(service, "NodePort") || is_type(service, "LoadBalancer");
}

bool service_needs_health_port(const json_t *service)
{
    return is_type(service, "LoadBalancer") && is_text(service, "spec.externalTrafficPolicy", "Local");
}

bool service_is_external(const json_t *service)
{
    return service_needs_ports(service) || (is_type(service, "ClusterIP") && json_array_size(json_at(service, "spec.externalIPs")) > 0);
}

/* --- defaults --- */

static void default_port(json_t *port)
{
    const json_t *target = json_object_get(port, "targetPort");

    set_text(port, "protocol", "TCP");
    if (!target || (json_is_integer(target) && json_integer_value(target) == 0) ||
        (json_is_string(target) && json_string_length(target) == 0))
        json_object_set_new(port, "targetPort", json_integer(json_int_or(port, "port", 0)));
}

static void default_affinity(json_t *spec)
{
    set_text(spec, "sessionAffinity", "None");
    if (is_text(spec, "sessionAffinity", "None"))
        json_object_del(spec, "sessionAffinityConfig");
    else if (is_text(spec, "sessionAffinity", "ClientIP") && !json_at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds"))
        json_put(spec, "sessionAffinityConfig.clientIP.timeoutSeconds", json_integer(10800));
}

static void default_load_balancer(json_t *service, json_t *spec)
{
    size_t i;
    json_t *ingress;

    set_bool(spec, "allocateLoadBalancerNodePorts", true);
    json_array_foreach(json_at(service, "status.loadBalancer.ingress"), i, ingress)
        if (*json_str_or(ingress, "ip", ""))
            set_text(ingress, "ipMode", "VIP");
}

static void service_default(json_t *service)
{
    json_t *spec = json_object_get(service, "spec");
    size_t i;
    json_t *port;

    if (!json_is_object(spec))
        return;
    default_affinity(spec);
    set_text(spec, "type", "ClusterIP");
    json_array_foreach(json_object_get(spec, "ports"), i, port)
        if (json_is_object(port))
            default_port(port);
    if (service_is_external(service))
        set_text(spec, "externalTrafficPolicy", "Cluster");
    if (service_needs_ports(service) || is_type(service, "ClusterIP"))
        set_text(spec, "internalTrafficPolicy", "Cluster");
    if (is_type(service, "LoadBalancer"))
        default_load_balancer(service, spec);
}

/* --- preparation --- */

static bool same(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);

    return x == y || (x && y && json_equal(x, y));
}

static bool same_ips(const json_t *spec, const json_t *was)
{
    return same(spec, was, "clusterIP") && same(spec, was, "clusterIPs");
}

static void ips_from_ip(json_t *spec)
{
    json_object_set_new(spec, "clusterIPs", json_pack("[s]", json_str_or(spec, "clusterIP", "")));
}

static void service_prepare_create(struct ctx *ctx, json_t *service)
{
    json_t *spec = json_object_get(service, "spec");

    (void)ctx;
    json_object_set_new(service, "status", json_pack("{s:{}}", "loadBalancer"));
    if (*json_str_or(spec, "clusterIP", "") && json_array_size(json_object_get(spec, "clusterIPs")) == 0)
        ips_from_ip(spec);
}

static bool uses_port(const json_t *spec, int64_t number)
{
    size_t i;
    json_t *port;

    json_array_foreach(json_object_get(spec, "ports"), i, port)
        if (json_int_or(port, "nodePort", 0) == number)
            return true;
    return false;
}

/* Ports of the same name get the number they had, unless it moved to another port. */
static void keep_ports(json_t *spec, const json_t *was)
{
    AUTO(json) json_t *asked = json_deep_copy(spec);
    size_t i, j;
    json_t *port, *old;

    json_array_foreach(json_object_get(spec, "ports"), i, port)
    {
        if (json_int_or(port, "nodePort", 0) != 0)
            continue;
        int64_t number = 0;
        json_array_foreach(json_object_get(was, "ports"), j, old)
            if (strcmp(json_str_or(old, "name", ""), json_str_or(port, "name", "")) == 0)
                number = json_int_or(old, "nodePort", 0);
        if (number && !uses_port(asked, number))
            json_object_set_new(port, "nodePort", json_integer(number));
    }
}

/* Values of ours that the client did not send back. */
static void keep_allocated(json_t *service, const json_t *old)
{
    json_t *spec = json_object_get(service, "spec"), *was = json_object_get(old, "spec");

    if (service_needs_ip(old) && service_needs_ip(service)) {
        if (!*json_str_or(spec, "clusterIP", ""))
            set_from(spec, was, "clusterIP");
        if (json_array_size(json_object_get(spec, "clusterIPs")) == 0)
            set_from(spec, was, "clusterIPs");
        if (!json_object_get(spec, "ipFamilyPolicy"))
            set_from(spec, was, "ipFamilyPolicy");
        if (json_array_size(json_object_get(spec, "ipFamilies")) == 0)
            set_from(spec, was, "ipFamilies");
    }
    if (service_needs_ports(old) && service_needs_ports(service))
        keep_ports(spec, was);
    if (service_needs_health_port(old) && service_needs_health_port(service) && json_int_or(spec, "healthCheckNodePort", 0) == 0)
        set_from(spec, was, "healthCheckNodePort");
}

/* clusterIP changed and clusterIPs was sent as it was: the latter follows. */
static void follow_ip(json_t *spec, const json_t *was)
{
    if (same(spec, was, "clusterIP") || !same(spec, was, "clusterIPs"))
        return;
    if (*json_str_or(spec, "clusterIP", ""))
        ips_from_ip(spec);
    else
        json_object_del(spec, "clusterIPs");
}

/* Whether old's node ports include all of new's. */
static bool same_ports(const json_t *spec, const json_t *was)
{
    size_t i;
    json_t *port;

    json_array_foreach(json_object_get(spec, "ports"), i, port)
    {
        int64_t number = json_int_or(port, "nodePort", 0);

        if (number && !uses_port(was, number))
            return false;
    }
    return true;
}

/* What the new type has no use for goes, when the client just sent it back. */
static void drop_type_dependent(json_t *service, const json_t *old)
{
    json_t *spec = json_object_get(service, "spec"), *was = json_object_get(old, "spec"), *port;
    size_t i;

    if (service_needs_ip(old) && !service_needs_ip(service)) {
        if (same_ips(spec, was)) {
            json_object_del(spec, "clusterIP");
            json_object_del(spec, "clusterIPs");
        }
        if (same(spec, was, "ipFamilies"))
            json_object_del(spec, "ipFamilies");
        if (same(spec, was, "ipFamilyPolicy"))
            json_object_del(spec, "ipFamilyPolicy");
    }
    if (service_needs_ports(old) && !service_needs_ports(service) && same_ports(spec, was))
        json_array_foreach(json_object_get(spec, "ports"), i, port) json_object_del(port, "nodePort");
    if (service_needs_health_port(old) && !service_needs_health_port(service) && same(spec, was, "healthCheckNodePort"))
        json_object_del(spec, "healthCheckNodePort");
    if (is_type(old, "LoadBalancer") && !is_type(service, "LoadBalancer")) {
        if (same(spec, was, "allocateLoadBalancerNodePorts"))
            json_object_del(spec, "allocateLoadBalancerNodePorts");
        if (same(spec, was, "loadBalancerClass"))
            json_object_del(spec, "loadBalancerClass");
    }
    if (service_needs_ip(old) && !service_needs_ip(service) && same(spec, was, "internalTrafficPolicy"))
        json_object_del(spec, "internalTrafficPolicy");
    if (service_is_external(old) && !service_is_external(service) && same(spec, was, "externalTrafficPolicy"))
        json_object_del(spec, "externalTrafficPolicy");
    if (!is_type(service, "LoadBalancer"))
        json_put(service, "status.loadBalancer", json_object());
}

static void service_prepare_update(struct ctx *ctx, json_t *service, const json_t *old)
{
    (void)ctx;
    if (!json_is_object(json_object_get(service, "spec")))
        return;
    /* the live status is shared with `old` */
    json_object_set_new(service, "status", json_deep_copy(json_object_get(service, "status")));
    keep_allocated(service, old);
    follow_ip(json_object_get(service, "spec"), json_object_get(old, "spec"));
    drop_type_dependent(service, old);
}

/* --- the row --- */

static void external_cell(struct ctx *ctx, const json_t *service, json_t *cells)
{
    const json_t *ips = json_at(service, "spec.externalIPs");

    if (is_type(service, "ExternalName")) {
        cell_path(cells, service, "spec.externalName", "");
        return;
    }
    if (!is_type(service, "LoadBalancer")) {
        cell_joined(cells, ips, "<none>");
        return;
    }
    AUTO(buf) struct buf text = { 0 };
    size_t i;
    json_t *ip;
    buf_str(&text, cell_load_balancer(ctx, service));
    json_array_foreach(ips, i, ip) buf_printf(&text, "%s%s", buf_len(&text) ? "," : "", json_string_value(ip));
    cell_text(cells, buf_len(&text) ? buf_at(&text) : "<pending>");
}

static void ports_cell(const json_t *service, json_t *cells)
{
    AUTO(buf) struct buf text = { 0 };
    size_t i;
    json_t *port;

    json_array_foreach(json_at(service, "spec.ports"), i, port)
    {
        long long node_port = json_int_or(port, "nodePort", 0);

        buf_printf(&text, "%s%lld", i ? "," : "", (long long)json_int_or(port, "port", 0));
        if (node_port)
            buf_printf(&text, ":%lld", node_port);
        buf_printf(&text, "/%s", json_str_or(port, "protocol", ""));
    }
    cell_text(cells, buf_len(&text) ? buf_at(&text) : "<none>");
}

static void service_cells(struct ctx *ctx, const json_t *service, json_t *cells)
{
    const char *ip = json_string_value(json_array_get(json_at(service, "spec.clusterIPs"), 0));

    cell_path(cells, service, "spec.type", "");
    cell_text(cells, ip ? ip : "<none>");
    external_cell(ctx, service, cells);
    ports_cell(service, cells);
    cell_age(ctx, cells, service);
    cell_labels(ctx, cells, json_at(service, "spec.selector"));
}

static const char *const service_fields[] = { "spec.clusterIP", "spec.type", NULL };

const struct kind_ops kinds_core_service[] = {
    {
        .group = "", .kind = "Service",
        .default_ = service_default,
        .prepare_create = service_prepare_create,
        .prepare_update = service_prepare_update,
        .validate = service_validate,
        .validate_update = service_validate_update,
        .begin = service_begin,
        .end = service_end,
        .cells = service_cells,
        .fields = service_fields,
        .name_invalid = service_name_invalid,
        .return_deleted = true,
        .create_on_update = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    { 0 },
};
