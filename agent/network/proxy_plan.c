/* Services and EndpointSlices, read into small structs; which endpoints serve which port. Pure. */
#include "agent/network/proxy_int.h"

#include "agent/network/addresses.h"
#include "lib/k8s/meta.h"

#include <string.h>

static bool is_ipv4(const char *text)
{
    struct err ignored;
    uint32_t ip;

    return text && ipv4_read(text, &ip, &ignored) == 0;
}

static bool is_protocol(const char *name)
{
    return protocol_number(name) != 0;
}

static void ports_free(struct proxy_port *ports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(ports[i].name);
        free(ports[i].protocol);
    }
    free(ports);
}

/* Ports without a number (a slice may have them) lead nowhere and are left out. */
static struct proxy_port *ports_read(const json_t *list, size_t *ret_n)
{
    size_t n = json_array_size(list), kept = 0;
    struct proxy_port *ports;

    if (n > PROXY_PORTS_MAX)
        n = PROXY_PORTS_MAX;
    ports = mem_zalloc((n + 1) * sizeof(*ports));
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(list, i);
        const char *protocol = json_str_or(p, "protocol", "TCP");
        int64_t port = json_int_or(p, "port", 0), node_port = json_int_or(p, "nodePort", 0);

        if (port < 1 || port > 65535 || node_port < 0 || node_port > 65535 || !is_protocol(protocol))
            continue;
        ports[kept++] = (struct proxy_port){
            .name = mem_strdup(json_str_or(p, "name", "")), .protocol = mem_strdup(protocol), .port = (int)port, .node_port = (int)node_port
        };
    }
    *ret_n = kept;
    return ports;
}

/* --- services --- */

static const char *first_ipv4(const json_t *service)
{
    const json_t *ips = json_at(service, "spec.clusterIPs");
    const char *one = json_str(service, "spec.clusterIP");

    for (size_t i = 0; i < json_array_size(ips); i++)
        if (is_ipv4(json_string_value(json_array_get(ips, i))))
            return json_string_value(json_array_get(ips, i));
    return is_ipv4(one) ? one : NULL;
}

static void add_ip(struct proxy_service *s, const char *ip)
{
    if (!is_ipv4(ip) || s->n_more_ips >= PROXY_IPS_MAX)
        return;
    for (size_t i = 0; i < s->n_more_ips; i++)
        if (strcmp(s->more_ips[i], ip) == 0)
            return;
    s->more_ips[s->n_more_ips++] = mem_strdup(ip);
}

static void read_more_ips(struct proxy_service *s, const json_t *service)
{
    const json_t *external = json_at(service, "spec.externalIPs"), *ingress = json_at(service, "status.loadBalancer.ingress");

    s->more_ips = mem_zalloc(PROXY_IPS_MAX * sizeof(*s->more_ips));
    for (size_t i = 0; i < json_array_size(external); i++)
        add_ip(s, json_string_value(json_array_get(external, i)));
    for (size_t i = 0; i < json_array_size(ingress); i++) {
        const json_t *one = json_array_get(ingress, i);

        if (strcmp(json_str_or(one, "ipMode", "VIP"), "VIP") == 0)
            add_ip(s, json_str(one, "ip"));
    }
    if (s->n_more_ips == 0) {
        free(s->more_ips);
        s->more_ips = NULL;
    }
}

struct proxy_service *proxy_service_read(const json_t *service)
{
    const char *ip = first_ipv4(service);
    struct proxy_service *s;

    if (!ip || strcmp(json_str_or(service, "spec.type", "ClusterIP"), "ExternalName") == 0 ||
        meta_label(service, "service.kubernetes.io/service-proxy-name"))
        return NULL;
    s = MEM_NEW(struct proxy_service);
    s->cluster_ip = mem_strdup(ip);
    s->ports = ports_read(json_at(service, "spec.ports"), &s->n_ports);
    s->affinity = strcmp(json_str_or(service, "spec.sessionAffinity", "None"), "ClientIP") == 0;
    s->affinity_s = (int)json_int_or(service, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10800);
    s->external_local = strcmp(json_str_or(service, "spec.externalTrafficPolicy", "Cluster"), "Local") == 0;
    s->internal_local = strcmp(json_str_or(service, "spec.internalTrafficPolicy", "Cluster"), "Local") == 0;
    read_more_ips(s, service);
    return s;
}

void proxy_service_free(void *p)
{
    struct proxy_service *s = p;

    if (!s)
        return;
    free(s->cluster_ip);
    ports_free(s->ports, s->n_ports);
    for (size_t i = 0; i < s->n_more_ips; i++)
        free(s->more_ips[i]);
    free(s->more_ips);
    free(s);
}

/* --- slices --- */

struct proxy_slice *proxy_slice_read(const json_t *slice, const char *node_name)
{
    const json_t *list = json_at(slice, "endpoints");
    size_t n = json_array_size(list);
    struct proxy_slice *s;

    if (strcmp(json_str_or(slice, "addressType", ""), "IPv4") != 0)
        return NULL;
    if (n > PROXY_SLICE_ENDPOINTS_MAX)
        n = PROXY_SLICE_ENDPOINTS_MAX;
    s = MEM_NEW(struct proxy_slice);
    s->key = meta_key(slice);
    s->ports = ports_read(json_at(slice, "ports"), &s->n_ports);
    s->endpoints = mem_zalloc((n + 1) * sizeof(*s->endpoints));
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(list, i);
        /* The first address alone counts, as upstream's API says. Unknown readiness is ready; serving follows ready. */
        const char *ip = json_string_value(json_array_get(json_at(e, "addresses"), 0));
        bool ready = json_bool_or(e, "conditions.ready", true);

        if (!is_ipv4(ip))
            continue;
        s->endpoints[s->n_endpoints++] = (struct proxy_endpoint){
            .ip = mem_strdup(ip),
            .ready = ready,
            .serving = json_bool_or(e, "conditions.serving", ready),
            .terminating = json_bool_or(e, "conditions.terminating", false),
            .local = strcmp(json_str_or(e, "nodeName", ""), node_name) == 0,
        };
    }
    return s;
}

void proxy_slice_free(struct proxy_slice *s)
{
    if (!s)
        return;
    free(s->key);
    ports_free(s->ports, s->n_ports);
    for (size_t i = 0; i < s->n_endpoints; i++)
        free(s->endpoints[i].ip);
    free(s->endpoints);
    free(s);
}

/* --- the plan --- */

static const struct proxy_port *port_of(const struct proxy_slice *s, const struct proxy_port *p)
{
    for (size_t i = 0; i < s->n_ports; i++)
        if (strcmp(s->ports[i].name, p->name) == 0 && strcmp(s->ports[i].protocol, p->protocol) == 0)
            return &s->ports[i];
    return NULL;
}

enum which { READY, ENDING }; /* ENDING: serving and terminating, better than nothing */

static size_t collect(struct arena *arena, const struct proxy_slice *slices, const struct proxy_port *p, enum which which, bool local,
                      struct network_endpoint *to)
{
    size_t n = 0;

    for (const struct proxy_slice *s = slices; s; s = s->next) {
        const struct proxy_port *port = port_of(s, p);

        for (size_t i = 0; port && i < s->n_endpoints; i++) {
            const struct proxy_endpoint *e = &s->endpoints[i];

            if ((!local || e->local) && (which == READY ? e->ready : e->serving && e->terminating))
                to[n++] = (struct network_endpoint){ arena_strdup(arena, e->ip), port->port };
        }
    }
    return n;
}

static const struct network_endpoint *choose(struct arena *arena, const struct proxy_slice *slices, const struct proxy_port *p, bool local,
                                             size_t *ret_n)
{
    size_t most = 0, n;
    struct network_endpoint *list;

    for (const struct proxy_slice *s = slices; s; s = s->next)
        most += s->n_endpoints;
    list = arena_alloc(arena, (most + 1) * sizeof(*list));
    n = collect(arena, slices, p, READY, local, list);
    if (n == 0)
        n = collect(arena, slices, p, ENDING, local, list);
    *ret_n = n;
    return list;
}

/* What one port of a Service becomes: the cluster address, node port and further addresses, each with the endpoints its policy allows. */
static size_t plan_port(struct arena *arena, const char *service_key, const struct proxy_service *s, const struct proxy_slice *slices,
                        const struct proxy_port *p, struct network_service_port *to)
{
    struct network_service_port base = { .protocol = arena_strdup(arena, p->protocol), .port = p->port, .affinity = s->affinity, .affinity_s = s->affinity_s };
    size_t n_all = 0, n_local = 0, n = 0;
    const struct network_endpoint *all = choose(arena, slices, p, false, &n_all);
    const struct network_endpoint *local = s->external_local || s->internal_local ? choose(arena, slices, p, true, &n_local) : NULL;
    bool apart = s->internal_local && !s->external_local; /* outside reaches more than inside: a port of its own */
    struct network_service_port port = base;

    port.key = arena_printf(arena, "%s:%s", service_key, p->name);
    port.cluster_ip = arena_strdup(arena, s->cluster_ip);
    port.endpoints = s->internal_local ? local : all;
    port.n_endpoints = s->internal_local ? n_local : n_all;
    port.node_port = apart ? 0 : p->node_port;
    port.local_only = s->external_local;
    port.local_endpoints = local;
    port.n_local_endpoints = n_local;
    to[n++] = port;

    base.endpoints = s->external_local ? local : all;
    base.n_endpoints = s->external_local ? n_local : n_all;
    port = base;
    if (apart && p->node_port) {
        port.key = arena_printf(arena, "%s:%s@node", service_key, p->name);
        port.node_port = p->node_port;
        to[n++] = port;
        port.node_port = 0;
    }
    for (size_t k = 0; k < s->n_more_ips; k++) {
        port.key = arena_printf(arena, "%s:%s@%s", service_key, p->name, s->more_ips[k]);
        port.cluster_ip = arena_strdup(arena, s->more_ips[k]);
        to[n++] = port;
    }
    return n;
}

void proxy_plan(struct arena *arena, const char *service_key, const struct proxy_service *s, const struct proxy_slice *slices,
                struct network_service_port **ret, size_t *ret_n)
{
    struct network_service_port *ports = arena_alloc(arena, (s->n_ports * (2 + s->n_more_ips) + 1) * sizeof(*ports));
    size_t n = 0;

    for (size_t i = 0; i < s->n_ports; i++)
        n += plan_port(arena, service_key, s, slices, &s->ports[i], ports + n);
    *ret = ports;
    *ret_n = n;
}
