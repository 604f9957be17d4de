/* Nodes. Source: upstream pkg/registry/core/node, ValidateNode, printNode. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/quantity.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static void node_default(json_t *node)
{
    json_t *status = json_object_get(node, "status"), *capacity = json_object_get(status, "capacity");

    if (capacity && !json_object_get(status, "allocatable"))
        json_object_set_new(status, "allocatable", json_deep_copy(capacity));
}

/* A new node brings its status along; an update leaves it to the status subresource. */
static void node_prepare_update(struct ctx *ctx, json_t *node, const json_t *old)
{
    (void)ctx;
    set_from(node, old, "status");
}

/* --- validation --- */

static void check_taint(struct field_errors *errs, const json_t *taint, const char *path)
{
    check_name(errs, json_object_get(taint, "key"), label_key_invalid, check_path(errs, "%s.key", path));
    check_name(errs, json_object_get(taint, "value"), label_value_invalid, check_path(errs, "%s.value", path));
    CHECK_ONE_OF(errs, json_object_get(taint, "effect"), true, check_path(errs, "%s.effect", path), "NoSchedule", "PreferNoSchedule",
                 "NoExecute");
}

static void check_taints(struct field_errors *errs, const json_t *taints)
{
    size_t i;
    json_t *taint;

    json_array_foreach(taints, i, taint)
    {
        check_taint(errs, taint, check_path(errs, "metadata.taints[%zu]", i));
        for (size_t j = 0; j < i; j++) {
            const json_t *other = json_array_get(taints, j);

            if (is_text(other, "key", json_str_or(taint, "key", "")) && is_text(other, "effect", json_str_or(taint, "effect", ""))) {
                field_error(errs, FIELD_DUPLICATE, taint, "taints must be unique by key and effect pair", "metadata.taints[%zu]", i);
                break;
            }
        }
    }
}

static void check_amounts(struct field_errors *errs, const json_t *node, const char *which)
{
    const char *name;
    json_t *v;

    json_object_foreach(json_at(node, which), name, v)
        if (quantity_json_milli(v) < 0)
            field_error(errs, FIELD_INVALID, v, "must be greater than or equal to 0", "%s.%s", which, name);
}

static void node_validate(struct ctx *ctx, const json_t *node, struct field_errors *errs)
{
    const json_t *cidrs = json_at(node, "spec.podCIDRs");
    size_t i;
    json_t *v;

    (void)ctx;
    check_taints(errs, json_at(node, "spec.taints"));
    check_amounts(errs, node, "status.capacity");
    check_amounts(errs, node, "status.allocatable");
    json_array_foreach(cidrs, i, v) check_name(errs, v, cidr_invalid, check_path(errs, "spec.podCIDRs[%zu]", i));
    if (json_array_size(cidrs) > 2)
        field_error(errs, FIELD_INVALID, cidrs, "may specify no more than one CIDR for each IP family", "spec.podCIDRs");
}

static void check_addresses(struct field_errors *errs, const json_t *addresses)
{
    size_t i;
    json_t *v;

    json_array_foreach(addresses, i, v)
        for (size_t j = 0; j < i; j++)
            if (json_equal(v, json_array_get(addresses, j))) {
                field_error(errs, FIELD_DUPLICATE, v, "", "status.addresses[%zu]", i);
                break;
            }
}

static void node_validate_update(struct ctx *ctx, const json_t *node, const json_t *old, struct field_errors *errs)
{
    const char *was = json_str_or(old, "spec.providerID", ""), *now = json_str_or(node, "spec.providerID", "");
    AUTO(json) json_t *nothing = json_null();

    (void)ctx;
    check_addresses(errs, json_at(node, "status.addresses"));
    if (json_array_size(json_at(old, "spec.podCIDRs")) > 0 && !same_member(node, old, "spec.podCIDRs"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "node updates may not change podCIDR except from \"\" to valid", "spec.podCIDRs");
    if (*was && *now && strcmp(was, now) != 0)
        field_error(errs, FIELD_INVALID, nothing, "field cannot be modified once set", "spec.providerID");
    if (*was && !*now)
        field_error(errs, FIELD_INVALID, nothing, "field cannot be cleared once set", "spec.providerID");
    if (!same_member(node, old, "spec.externalID"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not be updated", "spec.externalID");
}

static void node_validate_status(struct ctx *ctx, const json_t *node, const json_t *old, struct field_errors *errs)
{
    node_validate(ctx, node, errs);
    node_validate_update(ctx, node, old, errs);
}

/* podCIDR and podCIDRs are one thing in two forms; the plural wins. */
static void sync_cidrs(json_t *node)
{
    json_t *spec = json_object_get(node, "spec");
    const char *one = json_str_or(spec, "podCIDR", ""), *first = json_string_value(json_array_get(json_object_get(spec, "podCIDRs"), 0));

    if (*one && !first)
        json_object_set_new(spec, "podCIDRs", json_pack("[s]", one));
    else if (first && strcmp(one, first) != 0)
        json_object_set_new(spec, "podCIDR", json_string(first));
}

static void node_default_all(json_t *node)
{
    node_default(node);
    sync_cidrs(node);
}

/* --- the row --- */

static void status_cell(const json_t *node, json_t *cells)
{
    const json_t *ready = condition_get(node, "Ready");
    const char *word = !ready ? "Unknown" : is_text(ready, "status", "True") ? "Ready" : "NotReady";

    cell_format(cells, "%s%s", word, json_bool_or(node, "spec.unschedulable", false) ? ",SchedulingDisabled" : "");
}

static void roles_cell(struct ctx *ctx, const json_t *node, json_t *cells)
{
    static const char prefix[] = "node-role.kubernetes.io/";
    json_t *labels = json_at(node, "metadata.labels"), *v;
    const char **roles = arena_alloc(ctx->arena, (json_object_size(labels) + 1) * sizeof(*roles)), *key;
    size_t n = 0;

    json_object_foreach(labels, key, v)
    {
        if (strncmp(key, prefix, sizeof(prefix) - 1) == 0 && key[sizeof(prefix) - 1])
            roles[n++] = key + sizeof(prefix) - 1;
        else if (strcmp(key, "kubernetes.io/role") == 0 && json_is_string(v) && json_string_length(v) > 0)
            roles[n++] = json_string_value(v);
    }
    cell_text(cells, n ? cell_sorted(ctx->arena, roles, n) : "<none>");
}

static void address_cell(const json_t *node, const char *type, json_t *cells)
{
    size_t i;
    json_t *a;

    json_array_foreach(json_at(node, "status.addresses"), i, a)
        if (is_text(a, "type", type)) {
            cell_path(cells, a, "address", "");
            return;
        }
    cell_text(cells, "<none>");
}

static void node_cells(struct ctx *ctx, const json_t *node, json_t *cells)
{
    const json_t *info = json_at(node, "status.nodeInfo");
    const char *kernel = json_str_or(info, "kernelVersion", ""), *arch = json_str_or(info, "architecture", "");

    status_cell(node, cells);
    roles_cell(ctx, node, cells);
    cell_age(ctx, cells, node);
    cell_path(cells, info, "kubeletVersion", "");
    address_cell(node, "InternalIP", cells);
    address_cell(node, "ExternalIP", cells);
    cell_path(cells, info, "osImage", "<unknown>");
    if (!*kernel)
        kernel = "<unknown>";
    cell_text(cells, *arch ? arena_printf(ctx->arena, "%s (%s)", kernel, arch) : kernel);
    cell_path(cells, info, "containerRuntimeVersion", "<unknown>");
}

static const char *const node_fields[] = { "spec.unschedulable", NULL };

static const char *node_field(struct ctx *ctx, const json_t *node, const char *name)
{
    (void)ctx;
    (void)name;
    return json_bool_or(node, "spec.unschedulable", false) ? "true" : "false";
}

const struct kind_ops kinds_core_node[] = {
    {
        .group = "", .kind = "Node",
        .default_ = node_default_all,
        .prepare_update = node_prepare_update,
        .validate = node_validate,
        .validate_update = node_validate_update,
        .validate_status = node_validate_status,
        .cells = node_cells,
        .fields = node_fields,
        .field = node_field,
        .unconditional_update = true,
        .no_generation = true,
        .no_status_reset = true,
    },
    { 0 },
};
