/* CustomResourceDefinitions. Source: k8s.io/apiextensions-apiserver pkg/apis/apiextensions, pkg/registry. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <ctype.h>
#include <string.h>

static const char *storage_version(const json_t *definition)
{
    size_t i;
    json_t *v;

    json_array_foreach(json_at(definition, "spec.versions"), i, v)
        if (json_bool_or(v, "storage", false))
            return json_str_or(v, "name", "");
    return NULL;
}

static void definition_default(json_t *definition)
{
    json_t *spec = json_object_get(definition, "spec"), *names = json_object_get(spec, "names");
    const char *kind = json_str_or(names, "kind", "");
    json_t *service = NULL;
    char lower[256];
    size_t n = strlen(kind);

    if (!json_is_object(names))
        return;
    if (n < sizeof(lower)) {
        for (size_t i = 0; i <= n; i++)
            lower[i] = (char)tolower((unsigned char)kind[i]);
        set_text(names, "singular", lower);
    }
    if (*kind && !*json_str_or(names, "listKind", ""))
        json_object_set_new(names, "listKind", json_strf("%sList", kind));
    if (!json_object_get(spec, "conversion"))
        json_object_set_new(spec, "conversion", json_pack("{s:s}", "strategy", "None"));
    service = json_at(spec, "conversion.webhook.clientConfig.service");
    if (json_is_object(service))
        set_int(service, "port", 443);
}

static void note_stored(json_t *definition)
{
    const char *version = storage_version(definition);
    json_t *status = set_object(definition, "status"), *stored = json_object_get(status, "storedVersions"), *v;
    size_t i;

    if (!version || !status)
        return;
    if (!json_is_array(stored)) {
        stored = json_array();
        json_object_set_new(status, "storedVersions", stored);
    }
    json_array_foreach(stored, i, v)
        if (json_is_string(v) && strcmp(json_string_value(v), version) == 0)
            return;
    json_array_append_new(stored, json_string(version));
}

static void definition_prepare_create(struct ctx *ctx, json_t *definition)
{
    (void)ctx;
    json_object_set_new(definition, "status", json_object());
    note_stored(definition);
}

static void definition_prepare_update(struct ctx *ctx, json_t *definition, const json_t *old)
{
    json_t *status = json_object_get(old, "status");

    (void)ctx;
    json_object_set_new(definition, "status", status ? json_deep_copy(status) : json_object());
    note_stored(definition);
}

/* --- checks --- */

static void check_dns1035(struct field_errors *errs, const json_t *v, const char *path)
{
    const char *s = json_string_length(v) ? json_string_value(v) : NULL;
    const char *why = s ? name_is_dns_label_1035(s) : NULL;

    if (why)
        field_error(errs, FIELD_INVALID, v, why, "%s", path);
}

/* Kinds may be mixed case. */
static void check_kind(struct field_errors *errs, const json_t *v, const char *path)
{
    char *lower = arena_strdup(errs->arena, json_string_length(v) ? json_string_value(v) : "");

    for (char *c = lower; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    const char *why = *lower ? name_is_dns_label_1035(lower) : NULL;
    if (why)
        field_error(errs, FIELD_INVALID, v, arena_printf(errs->arena, "may have mixed case, but should otherwise match: %s", why), "%s", path);
}

static void check_names(struct field_errors *errs, const json_t *names)
{
    size_t i;
    json_t *v;

    check_text(errs, names, "singular", "spec.names.singular");
    check_text(errs, names, "listKind", "spec.names.listKind");
    check_dns1035(errs, json_object_get(names, "plural"), "spec.names.plural");
    check_dns1035(errs, json_object_get(names, "singular"), "spec.names.singular");
    check_kind(errs, json_object_get(names, "kind"), "spec.names.kind");
    check_kind(errs, json_object_get(names, "listKind"), "spec.names.listKind");
    json_array_foreach(json_object_get(names, "shortNames"), i, v) check_dns1035(errs, v, check_path(errs, "spec.names.shortNames[%zu]", i));
    json_array_foreach(json_object_get(names, "categories"), i, v) check_dns1035(errs, v, check_path(errs, "spec.names.categories[%zu]", i));
    if (*json_str_or(names, "kind", "") && is_text(names, "listKind", json_str_or(names, "kind", "")))
        field_error(errs, FIELD_INVALID, json_object_get(names, "listKind"), "kind and listKind may not be the same", "spec.names.listKind");
}

static void check_versions(struct field_errors *errs, const json_t *spec)
{
    const json_t *versions = json_object_get(spec, "versions");
    size_t i, stored = 0;
    json_t *v;

    json_array_foreach(versions, i, v)
    {
        stored += json_bool_or(v, "storage", false);
        check_dns1035(errs, json_object_get(v, "name"), check_path(errs, "spec.versions[%zu].name", i));
        if (!json_at(v, "schema.openAPIV3Schema"))
            field_error(errs, FIELD_REQUIRED, NULL, "", "spec.versions[%zu].schema.openAPIV3Schema", i);
        for (size_t j = 0; j < i; j++)
            if (same_member(v, json_array_get(versions, j), "name")) {
                field_error(errs, FIELD_INVALID, versions, "must contain unique version names", "spec.versions");
                break;
            }
    }
    if (stored != 1)
        field_error(errs, FIELD_INVALID, versions, "must have exactly one version marked as storage version", "spec.versions");
}

static void definition_validate(struct ctx *ctx, const json_t *definition, struct field_errors *errs)
{
    const json_t *spec = json_object_get(definition, "spec"), *group = json_object_get(spec, "group");
    const char *name = arena_printf(errs->arena, "%s.%s", json_str_or(spec, "names.plural", ""), json_str_or(spec, "group", ""));
    AUTO(json) json_t *shown = json_string(meta_name(definition));

    (void)ctx;
    if (strcmp(meta_name(definition), name) != 0)
        field_error(errs, FIELD_INVALID, shown, "must be spec.names.plural+\".\"+spec.group", "metadata.name");
    if (json_string_length(group)) {
        if (name_is_dns_subdomain(json_string_value(group)))
            check_name(errs, group, name_is_dns_subdomain, "spec.group");
        else if (!strchr(json_string_value(group), '.'))
            field_error(errs, FIELD_INVALID, group, "should be a domain with at least one dot", "spec.group");
    }
    if (json_bool_or(spec, "preserveUnknownFields", false))
        field_error(errs, FIELD_INVALID, json_object_get(spec, "preserveUnknownFields"),
                    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
                    "spec.preserveUnknownFields");
    CHECK_ONE_OF(errs, json_object_get(spec, "scope"), false, "spec.scope", "Cluster", "Namespaced");
    check_names(errs, json_object_get(spec, "names"));
    if (json_array_size(json_at(definition, "status.storedVersions")) == 0)
        field_error(errs, FIELD_INVALID, json_at(definition, "status.storedVersions"), "must have at least one stored version",
                    "status.storedVersions");
    check_versions(errs, spec);
    if (is_text(spec, "conversion.strategy", "Webhook") && !json_at(spec, "conversion.webhook.clientConfig"))
        field_error(errs, FIELD_REQUIRED, NULL, "required when strategy is set to Webhook", "spec.conversion.webhook.clientConfig");
}

static void definition_validate_update(struct ctx *ctx, const json_t *definition, const json_t *old, struct field_errors *errs)
{
    static const char *const fixed[] = { "spec.group", "spec.names.plural" };
    static const char *const once_established[] = { "spec.scope", "spec.names.kind" };
    const json_t *stored = json_at(definition, "status.storedVersions"), *versions = json_at(definition, "spec.versions");
    size_t i, j;
    json_t *name, *v;

    (void)ctx;
    for (i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(errs, definition, old, fixed[i]);
    for (i = 0; condition_is(old, "Established", "True") && i < ARRAY_LEN(once_established); i++)
        check_immutable(errs, definition, old, once_established[i]);
    json_array_foreach(stored, i, name)
    {
        bool there = false;

        json_array_foreach(versions, j, v) there |= is_text(v, "name", json_string_value(name));
        if (!there)
            field_error(errs, FIELD_INVALID, name,
                        arena_printf(errs->arena,
                                     "missing from spec.versions; %s was previously a storage version, and must remain in spec.versions until "
                                     "a storage migration ensures no data remains persisted in %s and removes %s from status.storedVersions",
                                     json_string_value(name), json_string_value(name), json_string_value(name)),
                        "status.storedVersions[%zu]", i);
    }
}

static void definition_cells(struct ctx *ctx, const json_t *definition, json_t *cells)
{
    const json_t *versions = json_at(definition, "spec.versions");
    const char **served = arena_alloc(ctx->arena, (json_array_size(versions) + 1) * sizeof(*served));
    size_t i, n = 0;
    json_t *v;

    json_array_foreach(versions, i, v)
        if (json_bool_or(v, "served", false))
            served[n++] = arena_printf(ctx->arena, "%s%s", json_str_or(v, "name", ""), json_bool_or(v, "storage", false) ? "(storage)" : "");
    cell_path(cells, definition, "spec.scope", "");
    cell_text(cells, cell_sorted(ctx->arena, served, n));
    cell_path(cells, definition, "metadata.creationTimestamp", "");
    cell_path(cells, definition, "spec.group", "");
    cell_path(cells, definition, "spec.names.kind", "");
    cell_joined(cells, json_at(definition, "spec.names.shortNames"), "");
    cell_bool(cells, condition_is(definition, "Established", "True"));
}

const struct kind_ops kinds_apiextensions[] = {
    { .group = "apiextensions.k8s.io", .kind = "CustomResourceDefinition", .default_ = definition_default,
      .prepare_create = definition_prepare_create, .prepare_update = definition_prepare_update, .validate = definition_validate,
      .validate_update = definition_validate_update, .cells = definition_cells },
    { 0 },
};
