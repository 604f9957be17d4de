/* Namespaces. Source: upstream pkg/registry/core/namespace. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static void name_label(json_t *namespace)
{
    if (*meta_name(namespace))
        meta_set_label(namespace, "kubernetes.io/metadata.name", meta_name(namespace));
}

static void namespace_default(json_t *namespace)
{
    json_t *status = set_object(namespace, "status");

    name_label(namespace);
    if (status)
        set_text(status, "phase", "Active");
}

static void namespace_prepare_create(struct ctx *ctx, json_t *namespace)
{
    json_t *spec = set_object(namespace, "spec"), *finalizers = NULL, *f;
    bool has = false;
    size_t i;

    (void)ctx;
    name_label(namespace); /* a generated name is known by now */
    json_object_set_new(namespace, "status", json_pack("{s:s}", "phase", "Active"));
    if (!spec)
        return;
    finalizers = json_object_get(spec, "finalizers");
    json_array_foreach(finalizers, i, f) has |= json_is_string(f) && strcmp(json_string_value(f), "kubernetes") == 0;
    if (!json_is_array(finalizers))
        json_object_set_new(spec, "finalizers", json_pack("[s]", "kubernetes"));
    else if (!has)
        json_array_append_new(finalizers, json_string("kubernetes"));
}

static void namespace_prepare_update(struct ctx *ctx, json_t *namespace, const json_t *old)
{
    json_t *spec = set_object(namespace, "spec");

    (void)ctx;
    if (spec)
        set_from(spec, json_object_get(old, "spec"), "finalizers");
}

static void namespace_validate(struct ctx *ctx, const json_t *namespace, struct field_errors *errs)
{
    static const char *const standard[] = { "kubernetes", "orphan", "foregroundDeletion" };
    size_t i;
    json_t *f;

    (void)ctx;
    json_array_foreach(json_at(namespace, "spec.finalizers"), i, f)
    {
        const char *name = json_is_string(f) ? json_string_value(f) : "";
        bool known = strchr(name, '/') != NULL;

        check_name(errs, f, label_key_invalid, "spec.finalizers");
        for (size_t s = 0; s < ARRAY_LEN(standard); s++)
            known |= strcmp(name, standard[s]) == 0;
        if (!known)
            field_error(errs, FIELD_INVALID, f, "name is neither a standard finalizer name nor is it fully qualified",
                        "spec.finalizers");
    }
}

static void namespace_validate_status(struct ctx *ctx, const json_t *namespace, const json_t *old, struct field_errors *errs)
{
    const json_t *phase = json_at(namespace, "status.phase");

    (void)ctx;
    (void)old;
    if (!meta_deleting(namespace) && !is_text(namespace, "status.phase", "Active"))
        field_error(errs, FIELD_INVALID, phase, "may only be 'Active' if `deletionTimestamp` is empty", "status.Phase");
    if (meta_deleting(namespace) && !is_text(namespace, "status.phase", "Terminating"))
        field_error(errs, FIELD_INVALID, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty", "status.Phase");
}

static bool namespace_held(const json_t *namespace)
{
    return json_array_size(json_at(namespace, "spec.finalizers")) > 0;
}

static void namespace_terminating(json_t *namespace)
{
    json_put(namespace, "status.phase", json_string("Terminating"));
}

static void namespace_cells(struct ctx *ctx, const json_t *namespace, json_t *cells)
{
    cell_path(cells, namespace, "status.phase", "");
    cell_age(ctx, cells, namespace);
}

static const char *const namespace_fields[] = { "status.phase", NULL };

const struct kind_ops kinds_core_namespace[] = {
    {
        .group = "", .kind = "Namespace",
        .default_ = namespace_default,
        .prepare_create = namespace_prepare_create,
        .prepare_update = namespace_prepare_update,
        .validate = namespace_validate,
        .validate_status = namespace_validate_status,
        .cells = namespace_cells,
        .fields = namespace_fields,
        .name_invalid = name_is_dns_label,
        .held = namespace_held,
        .terminating = namespace_terminating,
        .return_deleted = true,
        .unconditional_update = true,
        .no_generation = true,
    },
    { 0 },
};
