/* Webhook configurations, admission policies and their bindings. Source: upstream pkg/apis/admissionregistration. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/selector.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static const char admission_group[] = "admissionregistration.k8s.io";

/* --- what webhooks and policies share --- */

static void default_rules(json_t *rules)
{
    size_t i;
    json_t *rule;

    json_array_foreach(rules, i, rule)
        if (json_is_object(rule))
            set_text(rule, "scope", "*");
}

static void default_match(json_t *match)
{
    if (!json_is_object(match))
        return;
    set_text(match, "matchPolicy", "Equivalent");
    set_object(match, "namespaceSelector");
    set_object(match, "objectSelector");
    default_rules(json_object_get(match, "resourceRules"));
    default_rules(json_object_get(match, "excludeResourceRules"));
}

static void check_wildcard(struct field_errors *errs, const json_t *rule, const char *key, const char *others, const char *path)
{
    const json_t *list = json_object_get(rule, key);
    bool star = false;
    size_t i;
    json_t *v;

    if (json_array_size(list) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s.%s", path, key);
    json_array_foreach(list, i, v) star |= json_is_string(v) && strcmp(json_string_value(v), "*") == 0;
    if (star && json_array_size(list) > 1)
        field_error(errs, FIELD_INVALID, list, arena_printf(errs->arena, "if '*' is present, must not specify other %s", others), "%s.%s",
                    path, key);
}

static void check_rules(struct field_errors *errs, const json_t *rules, const char *path)
{
    size_t i, j;
    json_t *rule, *op;

    json_array_foreach(rules, i, rule)
    {
        const char *at = check_path(errs, "%s[%zu]", path, i);

        check_wildcard(errs, rule, "operations", "operations", at);
        json_array_foreach(json_object_get(rule, "operations"), j, op)
            CHECK_ONE_OF(errs, op, true, check_path(errs, "%s.operations[%zu]", at, j), "*", "CONNECT", "CREATE", "DELETE", "UPDATE");
        check_wildcard(errs, rule, "apiGroups", "API groups", at);
        check_wildcard(errs, rule, "apiVersions", "API versions", at);
        if (json_array_size(json_object_get(rule, "resources")) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "", "%s.resources", at);
        CHECK_ONE_OF(errs, json_object_get(rule, "scope"), false, check_path(errs, "%s.scope", at), "*", "Cluster", "Namespaced");
    }
}

static void check_match(struct field_errors *errs, const json_t *match, const char *path)
{
    CHECK_ONE_OF(errs, json_object_get(match, "matchPolicy"), true, check_path(errs, "%s.matchPolicy", path), "Equivalent", "Exact");
    check_selector(errs, json_object_get(match, "namespaceSelector"), check_path(errs, "%s.namespaceSelector", path));
    check_selector(errs, json_object_get(match, "objectSelector"), check_path(errs, "%s.objectSelector", path));
    check_rules(errs, json_object_get(match, "resourceRules"), check_path(errs, "%s.resourceRules", path));
    check_rules(errs, json_object_get(match, "excludeResourceRules"), check_path(errs, "%s.excludeResourceRules", path));
}

/* --- webhooks --- */

static void webhooks_default(json_t *config, bool mutating)
{
    size_t i;
    json_t *hook;

    json_array_foreach(json_object_get(config, "webhooks"), i, hook)
    {
        json_t *service = json_at(hook, "clientConfig.service");

        if (!json_is_object(hook))
            continue;
        set_text(hook, "failurePolicy", "Fail");
        set_text(hook, "matchPolicy", "Equivalent");
        set_object(hook, "namespaceSelector");
        set_object(hook, "objectSelector");
        set_int(hook, "timeoutSeconds", 10);
        if (mutating)
            set_text(hook, "reinvocationPolicy", "Never");
        if (json_is_object(service))
            set_int(service, "port", 443);
        default_rules(json_object_get(hook, "rules"));
    }
}

static void mutating_default(json_t *config)
{
    webhooks_default(config, true);
}

static void validating_default(json_t *config)
{
    webhooks_default(config, false);
}

static void check_client(struct field_errors *errs, const json_t *client, const char *path)
{
    const json_t *url = json_object_get(client, "url"), *service = json_object_get(client, "service");
    const char *text = json_is_string(url) ? json_string_value(url) : "";

    if (!url == !service) {
        field_error(errs, FIELD_REQUIRED, NULL, "exactly one of url or service is required", "%s", path);
        return;
    }
    if (url && strncmp(text, "https://", 8) != 0)
        field_error(errs, FIELD_INVALID, url, "'https' is the only allowed URL scheme; desired format: https://host[/path]", "%s.url", path);
    else if (url && (strchr(text, '?') || strchr(text, '#') || strchr(text, '@')))
        field_error(errs, FIELD_INVALID, url,
                    "fragments, query parameters and user information are not permitted in the URL; desired format: https://host[/path]",
                    "%s.url", path);
    if (!service)
        return;
    check_text(errs, service, "name", check_path(errs, "%s.service.name", path));
    check_text(errs, service, "namespace", check_path(errs, "%s.service.namespace", path));
    check_port(errs, json_object_get(service, "port"), check_path(errs, "%s.service.port", path));
    const json_t *where = json_object_get(service, "path");
    if (json_string_length(where) && json_string_value(where)[0] != '/')
        field_error(errs, FIELD_INVALID, where, "must start with a '/'", "%s.service.path", path);
}

/* A domain of three parts at least. */
static const char *full_name_invalid(const char *s)
{
    const char *why = name_is_dns_subdomain(s), *dot = strchr(s, '.');

    if (why)
        return why;
    return dot && strchr(dot + 1, '.') ? NULL : "should be a domain with at least three segments separated by dots";
}

static void check_hook(struct field_errors *errs, const json_t *hook, const char *path)
{
    const json_t *timeout = json_object_get(hook, "timeoutSeconds"), *versions = json_object_get(hook, "admissionReviewVersions");
    bool known = false;
    size_t i;
    json_t *v;

    if (*json_str_or(hook, "name", ""))
        check_name(errs, json_object_get(hook, "name"), full_name_invalid, check_path(errs, "%s.name", path));
    check_rules(errs, json_object_get(hook, "rules"), check_path(errs, "%s.rules", path));
    CHECK_ONE_OF(errs, json_object_get(hook, "failurePolicy"), false, check_path(errs, "%s.failurePolicy", path), "Fail", "Ignore");
    CHECK_ONE_OF(errs, json_object_get(hook, "matchPolicy"), false, check_path(errs, "%s.matchPolicy", path), "Equivalent", "Exact");
    if (json_object_get(hook, "sideEffects"))
        CHECK_ONE_OF(errs, json_object_get(hook, "sideEffects"), false, check_path(errs, "%s.sideEffects", path), "None", "NoneOnDryRun");
    else
        field_error(errs, FIELD_REQUIRED, NULL, "must specify one of None, NoneOnDryRun", "%s.sideEffects", path);
    if (timeout && (json_integer_value(timeout) < 1 || json_integer_value(timeout) > 30))
        field_error(errs, FIELD_INVALID, timeout, "the timeout value must be between 1 and 30 seconds", "%s.timeoutSeconds", path);
    check_selector(errs, json_object_get(hook, "namespaceSelector"), check_path(errs, "%s.namespaceSelector", path));
    check_selector(errs, json_object_get(hook, "objectSelector"), check_path(errs, "%s.objectSelector", path));
    check_client(errs, json_object_get(hook, "clientConfig"), check_path(errs, "%s.clientConfig", path));
    json_array_foreach(versions, i, v) known |= json_is_string(v) && (strcmp(json_string_value(v), "v1") == 0 || strcmp(json_string_value(v), "v1beta1") == 0);
    if (json_array_size(versions) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must specify one of v1, v1beta1", "%s.admissionReviewVersions", path);
    else if (!known)
        field_error(errs, FIELD_INVALID, versions, "must include at least one of v1, v1beta1", "%s.admissionReviewVersions", path);
}

static void webhooks_validate(struct ctx *ctx, const json_t *config, struct field_errors *errs)
{
    const json_t *hooks = json_object_get(config, "webhooks");
    size_t i;
    json_t *hook;

    (void)ctx;
    json_array_foreach(hooks, i, hook)
    {
        const char *path = check_path(errs, "webhooks[%zu]", i);

        check_hook(errs, hook, path);
        for (size_t j = 0; j < i; j++)
            if (same_member(hook, json_array_get(hooks, j), "name")) {
                field_error(errs, FIELD_DUPLICATE, json_object_get(hook, "name"), "", "%s.name", path);
                break;
            }
    }
}

static void webhooks_cells(struct ctx *ctx, const json_t *config, json_t *cells)
{
    cell_int(cells, (int64_t)json_array_size(json_object_get(config, "webhooks")));
    cell_age(ctx, cells, config);
}

/* --- policies --- */

static void policy_default(json_t *policy)
{
    json_t *spec = json_object_get(policy, "spec");

    if (!json_is_object(spec))
        return;
    set_text(spec, "failurePolicy", "Fail");
    default_match(json_object_get(spec, "matchConstraints"));
}

static void check_policy(struct field_errors *errs, const json_t *policy)
{
    const json_t *spec = json_object_get(policy, "spec"), *match = json_object_get(spec, "matchConstraints"),
                 *kind = json_object_get(spec, "paramKind");

    CHECK_ONE_OF(errs, json_object_get(spec, "failurePolicy"), true, "spec.failurePolicy", "Fail", "Ignore");
    if (kind) {
        check_text(errs, kind, "apiVersion", "spec.paramKind.apiVersion");
        check_text(errs, kind, "kind", "spec.paramKind.kind");
    }
    if (!match) {
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.matchConstraints");
        return;
    }
    check_match(errs, match, "spec.matchConstraints");
    if (json_array_size(json_object_get(match, "resourceRules")) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.matchConstraints.resourceRules");
}

static void validating_policy_validate(struct ctx *ctx, const json_t *policy, struct field_errors *errs)
{
    static const char why[] = "validations or auditAnnotations must contain at least one item";
    const json_t *spec = json_object_get(policy, "spec");

    (void)ctx;
    check_policy(errs, policy);
    if (json_array_size(json_object_get(spec, "validations")) + json_array_size(json_object_get(spec, "auditAnnotations")) == 0) {
        field_error(errs, FIELD_REQUIRED, NULL, why, "spec.validations");
        field_error(errs, FIELD_REQUIRED, NULL, why, "spec.auditAnnotations");
    }
}

static void mutating_policy_validate(struct ctx *ctx, const json_t *policy, struct field_errors *errs)
{
    (void)ctx;
    check_policy(errs, policy);
    if (json_array_size(json_at(policy, "spec.mutations")) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "mutations must contain at least one item", "spec.mutations");
}

static void policy_cells_of(struct ctx *ctx, const json_t *policy, const char *list, json_t *cells)
{
    const json_t *kind = json_at(policy, "spec.paramKind");

    cell_int(cells, (int64_t)json_array_size(json_at(policy, list)));
    if (kind)
        cell_text(cells, arena_printf(ctx->arena, "%s/%s", json_str_or(kind, "apiVersion", ""), json_str_or(kind, "kind", "")));
    else
        cell_text(cells, "<unset>");
    cell_age(ctx, cells, policy);
}

static void validating_policy_cells(struct ctx *ctx, const json_t *policy, json_t *cells)
{
    policy_cells_of(ctx, policy, "spec.validations", cells);
}

static void mutating_policy_cells(struct ctx *ctx, const json_t *policy, json_t *cells)
{
    policy_cells_of(ctx, policy, "spec.mutations", cells);
}

/* --- bindings --- */

static void binding_default(json_t *binding)
{
    default_match(json_at(binding, "spec.matchResources"));
}

static void check_param_ref(struct field_errors *errs, const json_t *ref)
{
    bool named = *json_str_or(ref, "name", "") != '\0', selected = json_object_get(ref, "selector") != NULL;

    if (!ref)
        return;
    if (named && selected)
        field_error(errs, FIELD_FORBIDDEN, NULL, "name and selector are mutually exclusive", "spec.paramRef.name");
    if (!named && !selected)
        field_error(errs, FIELD_REQUIRED, NULL, "one of name or selector must be specified", "spec.paramRef");
    CHECK_ONE_OF(errs, json_object_get(ref, "parameterNotFoundAction"), true, "spec.paramRef.parameterNotFoundAction", "Deny", "Allow");
}

static void binding_validate(struct ctx *ctx, const json_t *binding, struct field_errors *errs)
{
    const json_t *spec = json_object_get(binding, "spec"), *actions = json_object_get(spec, "validationActions"),
                 *match = json_object_get(spec, "matchResources");
    bool deny = false, warn = false;
    size_t i;
    json_t *v;

    (void)ctx;
    check_text(errs, spec, "policyName", "spec.policyName");
    check_param_ref(errs, json_object_get(spec, "paramRef"));
    if (match)
        check_match(errs, match, "spec.matchResources");
    if (strncmp(json_str_or(binding, "kind", ""), "Validating", 10) != 0)
        return;
    if (json_array_size(actions) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.validationActions");
    json_array_foreach(actions, i, v)
    {
        CHECK_ONE_OF(errs, v, true, check_path(errs, "spec.validationActions[%zu]", i), "Audit", "Deny", "Warn");
        deny |= json_is_string(v) && strcmp(json_string_value(v), "Deny") == 0;
        warn |= json_is_string(v) && strcmp(json_string_value(v), "Warn") == 0;
    }
    if (deny && warn)
        field_error(errs, FIELD_INVALID, actions,
                    "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers "
                    "serves no purpose)",
                    "spec.validationActions");
}

static void binding_cells(struct ctx *ctx, const json_t *binding, json_t *cells)
{
    const json_t *ref = json_at(binding, "spec.paramRef");
    const char *name = json_str_or(ref, "name", ""), *ns = json_str_or(ref, "namespace", "");

    cell_path(cells, binding, "spec.policyName", "");
    if (*name)
        cell_text(cells, arena_printf(ctx->arena, "%s/%s", *ns ? ns : "*", name));
    else
        cell_selector(ctx, cells, json_object_get(ref, "selector"), "<unset>");
    cell_age(ctx, cells, binding);
}

const struct kind_ops kinds_admissionregistration[] = {
    { .group = admission_group, .kind = "MutatingAdmissionPolicy", .default_ = policy_default, .validate = mutating_policy_validate,
      .cells = mutating_policy_cells },
    { .group = admission_group, .kind = "MutatingAdmissionPolicyBinding", .default_ = binding_default, .validate = binding_validate,
      .cells = binding_cells },
    { .group = admission_group, .kind = "MutatingWebhookConfiguration", .default_ = mutating_default, .validate = webhooks_validate,
      .cells = webhooks_cells },
    { .group = admission_group, .kind = "ValidatingAdmissionPolicy", .default_ = policy_default, .validate = validating_policy_validate,
      .cells = validating_policy_cells },
    { .group = admission_group, .kind = "ValidatingAdmissionPolicyBinding", .default_ = binding_default, .validate = binding_validate,
      .cells = binding_cells },
    { .group = admission_group, .kind = "ValidatingWebhookConfiguration", .default_ = validating_default,
      .validate = webhooks_validate, .cells = webhooks_cells },
    { 0 },
};
