/* Dynamic resource allocation. Source: upstream pkg/apis/resource, pkg/registry/resource. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static const char resource_group[] = "resource.k8s.io";

/* --- requests for devices --- */

static void default_request(json_t *request)
{
    if (!json_is_object(request))
        return;
    set_text(request, "allocationMode", "ExactCount");
    if (is_text(request, "allocationMode", "ExactCount"))
        set_int_zero(request, "count", 1);
}

static void default_devices(json_t *devices)
{
    size_t i, j;
    json_t *request, *one;

    json_array_foreach(json_object_get(devices, "requests"), i, request)
    {
        default_request(json_object_get(request, "exactly"));
        json_array_foreach(json_object_get(request, "firstAvailable"), j, one) default_request(one);
    }
}

static void claim_default(json_t *claim)
{
    default_devices(json_at(claim, "spec.devices"));
}

static void template_default(json_t *template)
{
    default_devices(json_at(template, "spec.spec.devices"));
}

static void check_devices(struct field_errors *errs, const json_t *devices, const char *path)
{
    const json_t *requests = json_object_get(devices, "requests");
    size_t i;
    json_t *r;

    json_array_foreach(requests, i, r)
    {
        const json_t *name = json_object_get(r, "name");
        const char *at = check_path(errs, "%s.requests[%zu]", path, i);

        if (json_string_length(name))
            check_name(errs, name, name_is_dns_label, check_path(errs, "%s.name", at));
        for (size_t j = 0; j < i; j++)
            if (same_member(r, json_array_get(requests, j), "name")) {
                field_error(errs, FIELD_DUPLICATE, r, "", "%s", at);
                break;
            }
        if (!json_object_get(r, "exactly") && json_array_size(json_object_get(r, "firstAvailable")) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "exactly one of `exactly` or `firstAvailable` is required", "%s", at);
        else if (json_object_get(r, "exactly") && json_array_size(json_object_get(r, "firstAvailable")) > 0)
            field_error(errs, FIELD_INVALID, r, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set", "%s", at);
    }
}

static void claim_validate(struct ctx *ctx, const json_t *claim, struct field_errors *errs)
{
    (void)ctx;
    check_devices(errs, json_at(claim, "spec.devices"), "spec.devices");
}

static void template_validate(struct ctx *ctx, const json_t *template, struct field_errors *errs)
{
    (void)ctx;
    check_devices(errs, json_at(template, "spec.spec.devices"), "spec.spec.devices");
}

static void spec_fixed(struct ctx *ctx, const json_t *object, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_fixed(errs, object, old, "spec");
}

static void claim_cells(struct ctx *ctx, const json_t *claim, json_t *cells)
{
    bool allocated = json_at(claim, "status.allocation") != NULL, deleting = meta_deleting(claim);

    cell_format(cells, "%s%s%s%s", deleting ? "deleted" : "", deleting && allocated ? "," : "",
                allocated ? "allocated" : deleting ? "" : "pending",
                allocated && json_array_size(json_at(claim, "status.reservedFor")) > 0 ? ",reserved" : "");
    cell_age(ctx, cells, claim);
}

/* --- what nodes offer --- */

static void slice_validate(struct ctx *ctx, const json_t *slice, struct field_errors *errs)
{
    static const char *const places[] = { "nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection" };
    const json_t *spec = json_object_get(slice, "spec");
    size_t n = 0;

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        const json_t *v = json_object_get(spec, places[i]);

        n += v && !json_is_false(v);
    }
    if (json_array_size(json_object_get(spec, "sharedCounters")) == 0 && n == 0)
        field_error(errs, FIELD_REQUIRED, NULL,
                    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required", "spec");
    if (json_int_or(spec, "pool.resourceSliceCount", 0) <= 0) {
        AUTO(json) json_t *zero = json_integer(json_int_or(spec, "pool.resourceSliceCount", 0));

        field_error(errs, FIELD_INVALID, zero, "must be greater than zero", "spec.pool.resourceSliceCount");
    }
}

static void slice_validate_update(struct ctx *ctx, const json_t *slice, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, slice, old, "spec.driver");
    check_immutable(errs, slice, old, "spec.pool.name");
    check_immutable(errs, slice, old, "spec.nodeName");
}

static void slice_cells(struct ctx *ctx, const json_t *slice, json_t *cells)
{
    cell_path(cells, slice, "spec.nodeName", "");
    cell_path(cells, slice, "spec.driver", "");
    cell_path(cells, slice, "spec.pool.name", "");
    cell_age(ctx, cells, slice);
}

static const char *const slice_fields[] = { "spec.nodeName", "spec.driver", "spec.pool.name", NULL };

/* --- taints --- */

static void taint_prepare(struct ctx *ctx, json_t *rule)
{
    json_t *taint = json_at(rule, "spec.taint");
    char now[CLOCK_TEXT_BYTES];

    if (json_is_object(taint))
        set_text(taint, "timeAdded", clock_time_text(clock_wall_s(ctx->clock), now));
}

static void taint_cells(struct ctx *ctx, const json_t *rule, json_t *cells)
{
    const char *added = json_str_or(rule, "spec.taint.timeAdded", "");

    cell_path(cells, rule, "spec.taint.key", "");
    cell_path(cells, rule, "spec.taint.value", "");
    cell_path(cells, rule, "spec.taint.effect", "");
    if (*added)
        cell_since(ctx, cells, added);
    else
        cell_text(cells, "");
    cell_age(ctx, cells, rule);
}

const struct kind_ops kinds_devices[] = {
    { .group = resource_group, .kind = "DeviceClass", .cells = cell_age_only, .return_deleted = true, .unconditional_update = true },
    { .group = resource_group, .kind = "DeviceTaintRule", .prepare_create = taint_prepare, .cells = taint_cells, .return_deleted = true },
    { .group = resource_group, .kind = "ResourceClaim", .default_ = claim_default, .validate = claim_validate,
      .validate_update = spec_fixed, .cells = claim_cells, .return_deleted = true, .unconditional_update = true, .no_generation = true },
    { .group = resource_group, .kind = "ResourceClaimTemplate", .default_ = template_default, .validate = template_validate,
      .validate_update = spec_fixed, .cells = cell_age_only, .return_deleted = true, .unconditional_update = true,
      .no_generation = true },
    { .group = resource_group, .kind = "ResourceSlice", .validate = slice_validate, .validate_update = slice_validate_update,
      .cells = slice_cells, .fields = slice_fields, .return_deleted = true, .unconditional_update = true },
    { 0 },
};
