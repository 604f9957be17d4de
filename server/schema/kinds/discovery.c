/* EndpointSlices. Source: upstream pkg/apis/discovery. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

enum { ENDPOINTS_MAX = 1000, PORTS_MAX = 20000, ADDRESSES_MAX = 100, SHOWN = 3 };

static void slice_default(json_t *slice)
{
    size_t i;
    json_t *port;

    json_array_foreach(json_object_get(slice, "ports"), i, port)
    {
        if (!json_object_get(port, "name"))
            json_object_set_new(port, "name", json_string(""));
        set_text(port, "protocol", "TCP");
    }
}

/* Labels count: the generation tells that what consumers select by has changed. */
static void slice_prepare_update(struct ctx *ctx, json_t *slice, const json_t *old)
{
    (void)ctx;
    if (!same_member(slice, old, "metadata.labels"))
        json_put(slice, "metadata.generation", json_integer(meta_generation(old) + 1));
}

static void too_many(struct field_errors *errs, const json_t *list, size_t most, const char *path)
{
    AUTO(json) json_t *count = json_integer((json_int_t)json_array_size(list));

    field_error(errs, FIELD_TOO_MANY, count, arena_printf(errs->arena, "must have at most %zu items", most), "%s", path);
}

static void check_address(struct field_errors *errs, const json_t *address, const char *type, const char *path, size_t i)
{
    const char *s = json_is_string(address) ? json_string_value(address) : "", *at = check_path(errs, "%s[%zu]", path, i);
    bool v6 = strchr(s, ':') != NULL;

    if (strcmp(type, "FQDN") == 0) {
        check_name(errs, address, name_is_dns_subdomain, at);
        return;
    }
    if (ip_invalid(s)) {
        field_error(errs, FIELD_INVALID, address, ip_invalid(s), "%s", at);
        return;
    }
    if (strcmp(type, "IPv4") == 0 && v6)
        field_error(errs, FIELD_INVALID, address, "must be an IPv4 address", "%s", path);
    if (strcmp(type, "IPv6") == 0 && !v6)
        field_error(errs, FIELD_INVALID, address, "must be an IPv6 address", "%s", path);
    check_name(errs, address, endpoint_ip_invalid, at);
}

static void check_endpoint(struct field_errors *errs, const json_t *endpoint, const char *type, size_t index)
{
    const json_t *addresses = json_object_get(endpoint, "addresses");
    const char *path = check_path(errs, "endpoints[%zu].addresses", index);
    size_t i;
    json_t *v;

    if (json_array_size(addresses) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s", path);
    if (json_array_size(addresses) > ADDRESSES_MAX)
        too_many(errs, addresses, ADDRESSES_MAX, path);
    json_array_foreach(addresses, i, v) check_address(errs, v, type, path, i);
    if (json_object_get(endpoint, "nodeName"))
        check_name(errs, json_object_get(endpoint, "nodeName"), name_is_dns_subdomain, check_path(errs, "endpoints[%zu].nodeName", index));
    if (json_object_get(endpoint, "hostname"))
        check_name(errs, json_object_get(endpoint, "hostname"), name_is_dns_label, check_path(errs, "endpoints[%zu].hostname", index));
}

static void slice_validate(struct ctx *ctx, const json_t *slice, struct field_errors *errs)
{
    const json_t *ports = json_object_get(slice, "ports"), *endpoints = json_object_get(slice, "endpoints");
    const char *type = json_str_or(slice, "addressType", "");
    size_t i;
    json_t *v;

    (void)ctx;
    if (!*type)
        field_error(errs, FIELD_REQUIRED, NULL, "", "addressType");
    if (json_array_size(ports) > PORTS_MAX) {
        too_many(errs, ports, PORTS_MAX, "ports");
        return;
    }
    json_array_foreach(ports, i, v)
    {
        const json_t *name = json_object_get(v, "name");

        if (json_string_length(name))
            check_name(errs, name, name_is_dns_label, check_path(errs, "ports[%zu].name", i));
        for (size_t j = 0; j < i; j++)
            if (same_member(v, json_array_get(ports, j), "name")) {
                field_error(errs, FIELD_DUPLICATE, name, "", "ports[%zu].name", i);
                break;
            }
    }
    if (json_array_size(endpoints) > ENDPOINTS_MAX) {
        too_many(errs, endpoints, ENDPOINTS_MAX, "endpoints");
        return;
    }
    json_array_foreach(endpoints, i, v) check_endpoint(errs, v, type, i);
}

static void slice_validate_update(struct ctx *ctx, const json_t *slice, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_fixed(errs, slice, old, "addressType");
}

static void end_cell(json_t *cells, struct buf *text, size_t n)
{
    if (n > SHOWN)
        buf_printf(text, " + %zu more...", n - SHOWN);
    cell_text(cells, buf_len(text) ? buf_at(text) : "<unset>");
}

static void slice_cells(struct ctx *ctx, const json_t *slice, json_t *cells)
{
    AUTO(buf) struct buf ports = { 0 };
    AUTO(buf) struct buf addresses = { 0 };
    size_t i, j, n_ports = 0, n = 0;
    json_t *v, *a;

    cell_path(cells, slice, "addressType", "");
    json_array_foreach(json_object_get(slice, "ports"), i, v)
    {
        const json_t *port = json_object_get(v, "port");

        if (n_ports++ >= SHOWN)
            continue;
        buf_str(&ports, n_ports > 1 ? "," : "");
        if (json_is_integer(port))
            buf_printf(&ports, "%lld", (long long)json_integer_value(port));
        else
            buf_str(&ports, json_str_or(v, "name", "*"));
    }
    end_cell(cells, &ports, n_ports);
    json_array_foreach(json_object_get(slice, "endpoints"), i, v)
        json_array_foreach(json_object_get(v, "addresses"), j, a)
            if (n++ < SHOWN)
                buf_printf(&addresses, "%s%s", n > 1 ? "," : "", json_string_value(a));
    end_cell(cells, &addresses, n);
    cell_age(ctx, cells, slice);
}

const struct kind_ops kinds_discovery[] = {
    { .group = "discovery.k8s.io", .kind = "EndpointSlice", .default_ = slice_default, .prepare_update = slice_prepare_update,
      .validate = slice_validate, .validate_update = slice_validate_update, .cells = slice_cells, .unconditional_update = true },
    { 0 },
};
