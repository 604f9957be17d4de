/* Roles and bindings. Source: upstream pkg/apis/rbac. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static const char rbac_group[] = "rbac.authorization.k8s.io";

static bool is_filled(const json_t *o, const char *key)
{
    return json_array_size(json_object_get(o, key)) > 0;
}

/* --- roles --- */

static void check_rules(struct field_errors *errs, const json_t *role, bool namespaced)
{
    size_t i;
    json_t *rule;

    json_array_foreach(json_object_get(role, "rules"), i, rule)
    {
        const json_t *urls = json_object_get(rule, "nonResourceURLs");

        if (!is_filled(rule, "verbs"))
            field_error(errs, FIELD_REQUIRED, NULL, "", "rules[%zu].verbs", i);
        if (json_array_size(urls) > 0) {
            if (namespaced)
                field_error(errs, FIELD_INVALID, urls, "namespaced rules cannot apply to non-resource URLs", "rules[%zu].nonResourceURLs", i);
            if (is_filled(rule, "apiGroups") || is_filled(rule, "resources") || is_filled(rule, "resourceNames"))
                field_error(errs, FIELD_INVALID, urls, "rules cannot apply to both regular resources and non-resource URLs",
                            "rules[%zu].nonResourceURLs", i);
            continue;
        }
        if (!is_filled(rule, "apiGroups"))
            field_error(errs, FIELD_REQUIRED, NULL, "resource rules must supply at least one api group", "rules[%zu].apiGroups", i);
        if (!is_filled(rule, "resources"))
            field_error(errs, FIELD_REQUIRED, NULL, "resource rules must supply at least one resource", "rules[%zu].resources", i);
    }
}

static void role_validate(struct ctx *ctx, const json_t *role, struct field_errors *errs)
{
    (void)ctx;
    check_rules(errs, role, true);
}

static void cluster_role_validate(struct ctx *ctx, const json_t *role, struct field_errors *errs)
{
    const json_t *aggregation = json_object_get(role, "aggregationRule"), *selectors = json_object_get(aggregation, "clusterRoleSelectors");
    size_t i;
    json_t *s;

    (void)ctx;
    check_rules(errs, role, false);
    if (json_is_object(aggregation) && json_array_size(selectors) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "at least one clusterRoleSelector required if aggregationRule is non-nil",
                    "aggregationRule.clusterRoleSelectors");
    json_array_foreach(selectors, i, s) check_selector(errs, s, check_path(errs, "aggregationRule.clusterRoleSelectors[%zu]", i));
}

/* --- bindings --- */

static void binding_default(json_t *binding)
{
    json_t *ref = json_object_get(binding, "roleRef"), *subject;
    size_t i;

    if (json_is_object(ref))
        set_text(ref, "apiGroup", rbac_group);
    json_array_foreach(json_object_get(binding, "subjects"), i, subject)
        if (is_text(subject, "kind", "User") || is_text(subject, "kind", "Group"))
            set_text(subject, "apiGroup", rbac_group);
}

static void check_subject(struct field_errors *errs, const json_t *subject, bool namespaced, size_t i)
{
    const char *kind = json_str_or(subject, "kind", ""), *group = json_str_or(subject, "apiGroup", "");
    const char *account_group = "", *other_group = rbac_group;

    if (strcmp(kind, "ServiceAccount") == 0) {
        if (*json_str_or(subject, "name", ""))
            check_name(errs, json_object_get(subject, "name"), name_is_dns_subdomain, check_path(errs, "subjects[%zu].name", i));
        if (*group)
            field_not_supported(errs, group, &account_group, 1, "subjects[%zu].apiGroup", i);
        if (!namespaced)
            check_text(errs, subject, "namespace", check_path(errs, "subjects[%zu].namespace", i));
    } else if (strcmp(kind, "User") == 0 || strcmp(kind, "Group") == 0) {
        if (strcmp(group, rbac_group) != 0)
            field_not_supported(errs, group, &other_group, 1, "subjects[%zu].apiGroup", i);
    } else {
        field_not_supported(errs, kind, (const char *const[]){ "ServiceAccount", "User", "Group" }, 3, "subjects[%zu].kind", i);
    }
}

static void check_binding(struct field_errors *errs, const json_t *binding, bool namespaced)
{
    static const char *const kinds[] = { "Role", "ClusterRole" };
    const json_t *ref = json_object_get(binding, "roleRef"), *name = json_object_get(ref, "name");
    const char *kind = json_str_or(ref, "kind", ""), *group = json_str_or(ref, "apiGroup", ""), *only = rbac_group;
    size_t i;
    json_t *subject;

    if (strcmp(group, rbac_group) != 0)
        field_not_supported(errs, group, &only, 1, "roleRef.apiGroup");
    if (strcmp(kind, "ClusterRole") != 0 && (!namespaced || strcmp(kind, "Role") != 0))
        field_not_supported(errs, kind, kinds + (namespaced ? 0 : 1), namespaced ? 2 : 1, "roleRef.kind");
    if (json_string_length(name))
        check_name(errs, name, name_is_path_segment, "roleRef.name");
    json_array_foreach(json_object_get(binding, "subjects"), i, subject) check_subject(errs, subject, namespaced, i);
}

static void role_binding_validate(struct ctx *ctx, const json_t *binding, struct field_errors *errs)
{
    (void)ctx;
    check_binding(errs, binding, true);
}

static void cluster_role_binding_validate(struct ctx *ctx, const json_t *binding, struct field_errors *errs)
{
    (void)ctx;
    check_binding(errs, binding, false);
}

static void binding_validate_update(struct ctx *ctx, const json_t *binding, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, binding, old, "roleRef");
}

static void subjects_cell(const json_t *binding, const char *kind, json_t *cells)
{
    AUTO(buf) struct buf text = { 0 };
    bool account = strcmp(kind, "ServiceAccount") == 0;
    size_t i;
    json_t *s;

    json_array_foreach(json_object_get(binding, "subjects"), i, s)
    {
        if (!is_text(s, "kind", kind))
            continue;
        buf_printf(&text, "%s%s%s%s", buf_len(&text) ? ", " : "", account ? json_str_or(s, "namespace", "") : "", account ? "/" : "",
                   json_str_or(s, "name", ""));
    }
    cell_text(cells, buf_at(&text));
}

static void binding_cells(struct ctx *ctx, const json_t *binding, json_t *cells)
{
    cell_text(cells, arena_printf(ctx->arena, "%s/%s", json_str_or(binding, "roleRef.kind", ""), json_str_or(binding, "roleRef.name", "")));
    cell_age(ctx, cells, binding);
    subjects_cell(binding, "User", cells);
    subjects_cell(binding, "Group", cells);
    subjects_cell(binding, "ServiceAccount", cells);
}

#define RBAC_FLAGS                                                                                                     \
    .name_invalid = name_is_path_segment, .create_on_update = true, .unconditional_update = true, .no_generation = true

const struct kind_ops kinds_rbac[] = {
    { .group = rbac_group, .kind = "ClusterRole", .validate = cluster_role_validate, .cells = cell_created_at, RBAC_FLAGS },
    { .group = rbac_group, .kind = "ClusterRoleBinding", .default_ = binding_default, .validate = cluster_role_binding_validate,
      .validate_update = binding_validate_update, .cells = binding_cells, RBAC_FLAGS },
    { .group = rbac_group, .kind = "Role", .validate = role_validate, .cells = cell_created_at, RBAC_FLAGS },
    { .group = rbac_group, .kind = "RoleBinding", .default_ = binding_default, .validate = role_binding_validate,
      .validate_update = binding_validate_update, .cells = binding_cells, RBAC_FLAGS },
    { 0 },
};
