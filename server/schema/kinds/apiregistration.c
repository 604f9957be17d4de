/* APIServices. Source: k8s.io/kube-aggregator pkg/apis/apiregistration, pkg/registry/apiservice. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static void service_default(json_t *service)
{
    json_t *ref = json_at(service, "spec.service");

    if (json_is_object(ref))
        set_int(ref, "port", 443);
}

/* What this server answers itself is available at once. */
static void service_prepare_create(struct ctx *ctx, json_t *service)
{
    char now[CLOCK_TEXT_BYTES];

    if (json_at(service, "spec.service"))
        return;
    clock_time_text(clock_wall_s(ctx->clock), now);
    json_object_set_new(service, "status",
                        json_pack("{s:[{s:s,s:s,s:s,s:s,s:s}]}", "conditions", "type", "Available", "status", "True", "lastTransitionTime",
                                  now, "reason", "Local", "message", "Local APIServices are always available"));
}

static void service_validate(struct ctx *ctx, const json_t *service, struct field_errors *errs)
{
    const json_t *spec = json_object_get(service, "spec"), *ref = json_object_get(spec, "service");
    const char *group = json_str_or(spec, "group", ""), *version = json_str_or(spec, "version", "");
    const char *name = arena_printf(errs->arena, "%s.%s", version, group);
    const json_t *least = json_object_get(spec, "groupPriorityMinimum"), *priority = json_object_get(spec, "versionPriority");
    bool bundle = json_string_length(json_object_get(spec, "caBundle")) > 0, insecure = json_bool_or(spec, "insecureSkipTLSVerify", false);
    AUTO(json) json_t *shown = json_string(meta_name(service));
    AUTO(json) json_t *zero = json_integer(0);

    (void)ctx;
    if (strcmp(meta_name(service), name) != 0)
        field_error(errs, FIELD_INVALID, shown,
                    arena_printf(errs->arena, "must be `spec.version+\".\"+spec.group`: %s", go_quote(errs->arena, name)), "metadata.name");
    if (!*group && strcmp(version, "v1") != 0)
        field_error(errs, FIELD_REQUIRED, NULL, "only v1 may have an empty group and it better be legacy kube", "spec.group");
    if (*group)
        check_name(errs, json_object_get(spec, "group"), name_is_dns_subdomain, "spec.group");
    check_name(errs, json_object_get(spec, "version"), name_is_dns_label_1035, "spec.version");
    if (json_integer_value(least) <= 0 || json_integer_value(least) > 20000)
        field_error(errs, FIELD_INVALID, least ? least : zero, "must be positive and less than 20000", "spec.groupPriorityMinimum");
    if (json_integer_value(priority) <= 0 || json_integer_value(priority) > 1000)
        field_error(errs, FIELD_INVALID, priority ? priority : zero, "must be positive and less than 1000", "spec.versionPriority");
    if (!ref) {
        if (insecure)
            field_error(errs, FIELD_INVALID, json_object_get(spec, "insecureSkipTLSVerify"),
                        "local APIServices may not have insecureSkipTLSVerify", "spec.insecureSkipTLSVerify");
        return;
    }
    check_text(errs, ref, "namespace", "spec.service.namespace");
    check_text(errs, ref, "name", "spec.service.name");
    check_port(errs, json_object_get(ref, "port"), "spec.service.port");
    if (insecure && bundle)
        field_error(errs, FIELD_INVALID, json_object_get(spec, "insecureSkipTLSVerify"), "may not be true if caBundle is present",
                    "spec.insecureSkipTLSVerify");
}

static void service_cells(struct ctx *ctx, const json_t *service, json_t *cells)
{
    const json_t *ref = json_at(service, "spec.service"), *available = condition_get(service, "Available");
    const char *status = json_str_or(available, "status", "Unknown"), *reason = json_str_or(available, "reason", "");

    cell_text(cells, ref ? arena_printf(ctx->arena, "%s/%s", json_str_or(ref, "namespace", ""), json_str_or(ref, "name", "")) : "Local");
    cell_text(cells, strcmp(status, "True") == 0 || !*reason ? status : arena_printf(ctx->arena, "%s (%s)", status, reason));
    cell_age(ctx, cells, service);
}

const struct kind_ops kinds_apiregistration[] = {
    { .group = "apiregistration.k8s.io", .kind = "APIService", .default_ = service_default, .prepare_create = service_prepare_create,
      .validate = service_validate, .cells = service_cells, .name_invalid = name_is_path_segment, .no_generation = true },
    { 0 },
};
