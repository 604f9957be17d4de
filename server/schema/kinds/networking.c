/* NetworkPolicies, Ingresses, IngressClasses, ServiceCIDRs, IPAddresses. Source: upstream pkg/apis/networking. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/container_check.h"
#include "server/schema/kinds/set.h"

#include <ctype.h>
#include <string.h>

/* --- NetworkPolicy --- */

static const char *const directions[] = { "ingress", "egress" };

static void policy_default(json_t *policy)
{
    json_t *spec = json_object_get(policy, "spec"), *rule, *port;
    size_t i, j;

    if (!json_is_object(spec))
        return;
    for (size_t d = 0; d < ARRAY_LEN(directions); d++)
        json_array_foreach(json_object_get(spec, directions[d]), i, rule)
            json_array_foreach(json_object_get(rule, "ports"), j, port) set_text(port, "protocol", "TCP");
    if (json_array_size(json_object_get(spec, "policyTypes")) > 0)
        return;
    json_t *types = json_pack("[s]", "Ingress");
    if (json_array_size(json_object_get(spec, "egress")) > 0)
        json_array_append_new(types, json_string("Egress"));
    json_object_set_new(spec, "policyTypes", types);
}

static void check_policy_port(struct field_errors *errs, const json_t *port, const char *path)
{
    const json_t *number = json_object_get(port, "port"), *end = json_object_get(port, "endPort");

    if (json_object_get(port, "protocol"))
        CHECK_ONE_OF(errs, json_object_get(port, "protocol"), false, check_path(errs, "%s.protocol", path), "TCP", "UDP", "SCTP");
    if (number)
        check_port_or_name(errs, number, check_path(errs, "%s.port", path));
    if (!end)
        return;
    if (!number)
        field_error(errs, FIELD_INVALID, end, "may not be specified when `port` is not specified", "%s.endPort", path);
    else if (json_is_string(number))
        field_error(errs, FIELD_INVALID, end, "may not be specified when `port` is non-numeric", "%s.endPort", path);
    else if (json_integer_value(end) < json_integer_value(number))
        field_error(errs, FIELD_INVALID, end, "must be greater than or equal to `port`", "%s.endPort", path);
    if (json_is_integer(number))
        check_port(errs, end, check_path(errs, "%s.endPort", path));
}

static void check_peer(struct field_errors *errs, const json_t *peer, const char *path)
{
    const json_t *pods = json_object_get(peer, "podSelector"), *namespaces = json_object_get(peer, "namespaceSelector"),
                 *block = json_object_get(peer, "ipBlock");
    size_t i;
    json_t *v;

    check_selector(errs, pods, check_path(errs, "%s.podSelector", path));
    check_selector(errs, namespaces, check_path(errs, "%s.namespaceSelector", path));
    if (block && *json_str_or(block, "cidr", ""))
        check_name(errs, json_object_get(block, "cidr"), cidr_invalid, check_path(errs, "%s.ipBlock.cidr", path));
    json_array_foreach(json_object_get(block, "except"), i, v)
        check_name(errs, v, cidr_invalid, check_path(errs, "%s.ipBlock.except[%zu]", path, i));
    if (!pods && !namespaces && !block)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify a peer", "%s", path);
    else if (block && (pods || namespaces))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not specify both ipBlock and another peer", "%s", path);
}

static void policy_validate(struct ctx *ctx, const json_t *policy, struct field_errors *errs)
{
    static const char *const peers[] = { "from", "to" };
    const json_t *spec = json_object_get(policy, "spec"), *types = json_object_get(spec, "policyTypes");
    size_t i, j;
    json_t *rule, *v;

    (void)ctx;
    check_selector(errs, json_object_get(spec, "podSelector"), "spec.podSelector");
    for (size_t d = 0; d < ARRAY_LEN(directions); d++)
        json_array_foreach(json_object_get(spec, directions[d]), i, rule)
        {
            json_array_foreach(json_object_get(rule, "ports"), j, v)
                check_policy_port(errs, v, check_path(errs, "spec.%s[%zu].ports[%zu]", directions[d], i, j));
            json_array_foreach(json_object_get(rule, peers[d]), j, v)
                check_peer(errs, v, check_path(errs, "spec.%s[%zu].%s[%zu]", directions[d], i, peers[d], j));
        }
    if (json_array_size(types) > 2) {
        field_error(errs, FIELD_INVALID, types, "may not specify more than two policyTypes", "spec.policyTypes");
        return;
    }
    json_array_foreach(types, i, v)
        CHECK_ONE_OF(errs, v, true, check_path(errs, "spec.policyTypes[%zu]", i), "Ingress", "Egress");
}

static void policy_cells(struct ctx *ctx, const json_t *policy, json_t *cells)
{
    cell_selector(ctx, cells, json_at(policy, "spec.podSelector"), "<none>");
    cell_age(ctx, cells, policy);
}

/* --- Ingress --- */

static void check_backend(struct field_errors *errs, const json_t *backend, const char *path)
{
    const json_t *service = json_object_get(backend, "service"), *resource = json_object_get(backend, "resource");
    const json_t *name = json_at(service, "port.name"), *number = json_at(service, "port.number");
    bool named = json_string_length(name) > 0, numbered = json_integer_value(number) != 0;
    AUTO(json) json_t *shown = json_string("");

    if (service && resource)
        field_error(errs, FIELD_INVALID, shown, "cannot set both resource and service backends", "%s", path);
    else if (!service && !resource)
        field_error(errs, FIELD_INVALID, shown, "resource or service backend is required", "%s", path);
    if (!service || resource)
        return;
    if (*json_str_or(service, "name", ""))
        check_name(errs, json_object_get(service, "name"), name_is_dns_label, check_path(errs, "%s.service.name", path));
    if (named && numbered)
        field_error(errs, FIELD_INVALID, shown, "cannot set both port name & port number", "%s", path);
    else if (named)
        check_name(errs, name, port_name_invalid, check_path(errs, "%s.service.port.name", path));
    else if (numbered)
        check_port(errs, number, check_path(errs, "%s.service.port.number", path));
    else
        field_error(errs, FIELD_REQUIRED, NULL, "port name or number is required", "%s", path);
}

static void check_http_path(struct field_errors *errs, const json_t *path, const char *at)
{
    static const char *const sequences[] = { "//", "/./", "/../", "%2f", "%2F" };
    static const char *const suffixes[] = { "/..", "/." };
    const json_t *text = json_object_get(path, "path");
    const char *s = json_string_length(text) ? json_string_value(text) : "", *type = json_str_or(path, "pathType", "");
    bool specific = strcmp(type, "ImplementationSpecific") == 0;
    AUTO(json) json_t *shown = json_string(s);

    if (!*type)
        return; /* the schema requires it */
    if (*s != '/' && (*s || !specific))
        field_error(errs, FIELD_INVALID, shown, "must be an absolute path", "%s.path", at);
    for (size_t i = 0; !specific && i < ARRAY_LEN(sequences); i++)
        if (strstr(s, sequences[i]))
            field_error(errs, FIELD_INVALID, shown, arena_printf(errs->arena, "must not contain '%s'", sequences[i]), "%s.path", at);
    for (size_t i = 0; !specific && i < ARRAY_LEN(suffixes); i++)
        if (strlen(s) >= strlen(suffixes[i]) && strcmp(s + strlen(s) - strlen(suffixes[i]), suffixes[i]) == 0)
            field_error(errs, FIELD_INVALID, shown, arena_printf(errs->arena, "cannot end with '%s'", suffixes[i]), "%s.path", at);
    check_backend(errs, json_object_get(path, "backend"), check_path(errs, "%s.backend", at));
}

static void check_host(struct field_errors *errs, const json_t *host, const char *path)
{
    const char *s = json_string_length(host) ? json_string_value(host) : NULL;

    if (!s)
        return;
    if (!ip_invalid(s))
        field_error(errs, FIELD_INVALID, host, "must be a DNS name, not an IP address", "%s", path);
    if (strchr(s, '*')) {
        if (strncmp(s, "*.", 2) != 0 || name_is_dns_subdomain(s + 2))
            field_error(errs, FIELD_INVALID, host,
                        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower "
                        "case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used "
                        "for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                        "%s", path);
        return;
    }
    check_name(errs, host, name_is_dns_subdomain, path);
}

static void ingress_validate(struct ctx *ctx, const json_t *ingress, struct field_errors *errs)
{
    const json_t *spec = json_object_get(ingress, "spec"), *backend = json_object_get(spec, "defaultBackend"),
                 *rules = json_object_get(spec, "rules");
    size_t i, j;
    json_t *rule, *v;

    (void)ctx;
    if (json_array_size(rules) == 0 && !backend)
        field_error(errs, FIELD_INVALID, rules, "either `defaultBackend` or `rules` must be specified", "spec");
    if (backend)
        check_backend(errs, backend, "spec.defaultBackend");
    json_array_foreach(rules, i, rule)
    {
        const json_t *paths = json_at(rule, "http.paths");

        check_host(errs, json_object_get(rule, "host"), check_path(errs, "spec.rules[%zu].host", i));
        if (json_object_get(rule, "http") && json_array_size(paths) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "", "spec.rules[%zu].http.paths", i);
        json_array_foreach(paths, j, v) check_http_path(errs, v, check_path(errs, "spec.rules[%zu].http.paths[%zu]", i, j));
    }
    json_array_foreach(json_object_get(spec, "tls"), i, rule)
        json_array_foreach(json_object_get(rule, "hosts"), j, v) check_host(errs, v, check_path(errs, "spec.tls[%zu].hosts[%zu]", i, j));
    check_name(errs, json_object_get(spec, "ingressClassName"), name_is_dns_subdomain, "spec.ingressClassName");
}

static void hosts_cell(const json_t *ingress, json_t *cells)
{
    const json_t *rules = json_at(ingress, "spec.rules");
    AUTO(buf) struct buf text = { 0 };
    size_t i, n = 0;
    bool more = false;
    json_t *rule;
    enum { SHOWN = 3 };

    json_array_foreach(rules, i, rule)
    {
        const char *host = json_str_or(rule, "host", "");

        more |= n == SHOWN;
        if (!more && *host)
            buf_printf(&text, "%s%s", n++ ? "," : "", host);
    }
    if (more)
        buf_printf(&text, " + %zu more...", json_array_size(rules) - SHOWN);
    cell_text(cells, n ? buf_at(&text) : "*");
}

static void ingress_cells(struct ctx *ctx, const json_t *ingress, json_t *cells)
{
    cell_path(cells, ingress, "spec.ingressClassName", "<none>");
    hosts_cell(ingress, cells);
    cell_text(cells, cell_load_balancer(ctx, ingress));
    cell_text(cells, json_array_size(json_at(ingress, "spec.tls")) ? "80, 443" : "80");
    cell_age(ctx, cells, ingress);
}

/* --- IngressClass --- */

static void class_default(json_t *class)
{
    json_t *parameters = json_at(class, "spec.parameters");

    if (json_is_object(parameters))
        set_text(parameters, "scope", "Cluster");
}

static void class_validate(struct ctx *ctx, const json_t *class, struct field_errors *errs)
{
    const json_t *controller = json_at(class, "spec.controller"), *parameters = json_at(class, "spec.parameters");
    const char *s = json_string_value(controller), *slash = s ? strchr(s, '/') : NULL;

    (void)ctx;
    if (!s || !*s)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.controller");
    else if (!slash)
        field_error(errs, FIELD_INVALID, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")", "spec.controller");
    if (s && strlen(s) > 250)
        field_error(errs, FIELD_TOO_LONG, NULL, "may not be more than 250 bytes", "spec.controller");
    if (is_text(parameters, "scope", "Namespace") && !*json_str_or(parameters, "namespace", ""))
        field_error(errs, FIELD_REQUIRED, NULL, "`parameters.scope` is set to 'Namespace'", "spec.parameters.namespace");
    if (is_text(parameters, "scope", "Cluster") && json_object_get(parameters, "namespace"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "`parameters.scope` is set to 'Cluster'", "spec.parameters.namespace");
}

static void class_validate_update(struct ctx *ctx, const json_t *class, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, class, old, "spec.controller");
}

static void class_cells(struct ctx *ctx, const json_t *class, json_t *cells)
{
    const json_t *p = json_at(class, "spec.parameters");
    const char *is_default = meta_annotation(class, "ingressclass.kubernetes.io/is-default-class"), *group = json_str(p, "apiGroup");

    if (is_default && strcmp(is_default, "true") == 0)
        json_array_set_new(cells, 0, json_strf("%s (default)", meta_name(class)));
    cell_path(cells, class, "spec.controller", "");
    if (p)
        cell_text(cells, arena_printf(ctx->arena, "%s%s%s/%s", json_str_or(p, "kind", ""), group ? "." : "", group ? group : "",
                                      json_str_or(p, "name", "")));
    else
        cell_text(cells, "<none>");
    cell_age(ctx, cells, class);
}

/* --- ServiceCIDR, IPAddress --- */

static void cidr_validate(struct ctx *ctx, const json_t *cidr, struct field_errors *errs)
{
    const json_t *list = json_at(cidr, "spec.cidrs");
    size_t i;
    json_t *v;

    (void)ctx;
    if (json_array_size(list) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "at least one CIDR required", "spec.cidrs");
    if (json_array_size(list) > 2)
        field_error(errs, FIELD_INVALID, list, "may only hold up to 2 values", "spec");
    json_array_foreach(list, i, v) check_name(errs, v, cidr_invalid, check_path(errs, "spec.cidrs[%zu]", i));
}

static void cidr_validate_update(struct ctx *ctx, const json_t *cidr, const json_t *old, struct field_errors *errs)
{
    const json_t *list = json_at(cidr, "spec.cidrs"), *had = json_at(old, "spec.cidrs");
    size_t i;
    json_t *v;

    (void)ctx;
    json_array_foreach(had, i, v) /* a second family may be added */
        if (!json_equal(v, json_array_get(list, i)))
            field_error(errs, FIELD_INVALID, json_array_get(list, i), "field is immutable", "spec.cidrs[%zu]", i);
}

static void cidr_cells(struct ctx *ctx, const json_t *cidr, json_t *cells)
{
    cell_joined(cells, json_at(cidr, "spec.cidrs"), "");
    cell_age(ctx, cells, cidr);
}

static void address_validate(struct ctx *ctx, const json_t *address, struct field_errors *errs)
{
    const json_t *parent = json_at(address, "spec.parentRef");

    (void)ctx;
    if (!parent)
        return;
    check_text(errs, parent, "resource", "spec.parentRef.resource");
    check_text(errs, parent, "name", "spec.parentRef.name");
}

static void address_validate_update(struct ctx *ctx, const json_t *address, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_fixed(errs, address, old, "spec.parentRef");
}

static const char *address_name_invalid(const char *name)
{
    return ip_invalid(name);
}

static void address_cells(struct ctx *ctx, const json_t *address, json_t *cells)
{
    const json_t *p = json_at(address, "spec.parentRef");
    const char *group = json_str_or(p, "group", ""), *ns = json_str_or(p, "namespace", "");

    if (!p) {
        cell_text(cells, "<none>");
    } else {
        char *kind = arena_printf(ctx->arena, "%s%s%s", json_str_or(p, "resource", ""), *group ? "." : "", group);

        for (char *c = kind; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        cell_text(cells, arena_printf(ctx->arena, "%s%s%s/%s", kind, *ns ? "/" : "", ns, json_str_or(p, "name", "")));
    }
}

const struct kind_ops kinds_networking[] = {
    {
        .group = "networking.k8s.io", .kind = "IPAddress",
        .validate = address_validate,
        .validate_update = address_validate_update,
        .cells = address_cells,
        .name_invalid = address_name_invalid,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "networking.k8s.io", .kind = "Ingress",
        .validate = ingress_validate,
        .cells = ingress_cells,
        .unconditional_update = true,
    },
    {
        .group = "networking.k8s.io", .kind = "IngressClass",
        .default_ = class_default,
        .validate = class_validate,
        .validate_update = class_validate_update,
        .cells = class_cells,
        .unconditional_update = true,
    },
    {
        .group = "networking.k8s.io", .kind = "NetworkPolicy",
        .default_ = policy_default,
        .validate = policy_validate,
        .cells = policy_cells,
        .unconditional_update = true,
    },
    {
        .group = "networking.k8s.io", .kind = "ServiceCIDR",
        .validate = cidr_validate,
        .validate_update = cidr_validate_update,
        .cells = cidr_cells,
        .unconditional_update = true,
        .no_generation = true,
    },
    { 0 },
};
