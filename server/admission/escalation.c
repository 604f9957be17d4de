/*
 * Nobody grants rights they lack: checked for roles and bindings. Upstream does it in the registry of the kinds, before validating
 * admission. Source: "Privilege escalation prevention and bootstrapping" of the RBAC documentation.
 */
#include "server/admission/step.h"

#include "lib/k8s/status.h"
#include "server/auth/authz.h"

#include <string.h>

static const char group[] = "rbac.authorization.k8s.io";

static bool is_master(const struct user *u)
{
    for (size_t i = 0; i < u->n_groups; i++)
        if (strcmp(u->groups[i], "system:masters") == 0)
            return true;
    return false;
}

/* The collector's changes are let through. */
static bool only_collects(const struct admission_request *r)
{
    static const char *const fields[] = { "metadata.ownerReferences", "metadata.finalizers", "metadata.managedFields",
                                          "metadata.resourceVersion" };

    if (!r->old)
        return false;
    AUTO(json) json_t *is = json_deep_copy(r->object);
    AUTO(json) json_t *was = json_deep_copy(r->old);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        json_del(is, fields[i]);
        json_del(was, fields[i]);
    }
    return json_equal(is, was);
}

static bool allowed(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *verb, const char *resource,
                    const char *name)
{
    struct authz_request q = {
        .user = ctx->user, .verb = verb, .group = group, .version = "*", .resource = resource, .subresource = "", .name = name, .ns = r->ns,
    };
    struct err denied;

    return authz_check(ctx, a->o.authz, &q, NULL, &denied) == 0;
}

static int check_rules(struct ctx *ctx, struct admission *a, const struct admission_request *r, const json_t *rules, struct err *err)
{
    struct err why;

    if (authz_may_grant(ctx, a->o.authz, ctx->user, r->ns, rules, &why) == 0)
        return 0;
    return admission_forbid(ctx, r, err, "%s", why.status && why.status->message ? why.status->message : why.msg);
}

static bool aggregates(const json_t *role)
{
    return json_array_size(json_at(role, "aggregationRule.clusterRoleSelectors")) > 0;
}

static int check_role(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    struct err why;

    if (allowed(ctx, a, r, "escalate", r->resource->resource, r->verb == ADMIT_UPDATE ? r->name : ""))
        return 0;
    if (check_rules(ctx, a, r, json_object_get(r->object, "rules"), err) < 0)
        return -(int)err->code;
    if (!aggregates(r->object) && !(r->old && aggregates(r->old)))
        return 0;
    AUTO(json) json_t *all = json_pack("[{s:[s],s:[s],s:[s]},{s:[s],s:[s]}]", "verbs", "*", "apiGroups", "*", "resources", "*", "verbs",
                                       "*", "nonResourceURLs", "*");
    if (authz_may_grant(ctx, a->o.authz, ctx->user, r->ns, all, &why) == 0)
        return 0;
    return admission_forbid(ctx, r, err, "must have cluster-admin privileges to use the aggregationRule");
}

static int check_binding(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    const char *kind = json_str_or(r->object, "roleRef.kind", ""), *name = json_str_or(r->object, "roleRef.name", "");
    const char *resource = strcmp(kind, "ClusterRole") == 0 ? "clusterroles" : "roles";

    if (allowed(ctx, a, r, "bind", resource, name))
        return 0;
    AUTO(json) json_t *rules = authz_role_rules(a->o.authz, kind, r->ns, name);
    if (!rules)
        return status_not_found(ctx, group, resource, name, err);
    return check_rules(ctx, a, r, rules, err);
}

static int validate(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    const char *resource = r->resource->resource;

    if ((r->verb != ADMIT_CREATE && r->verb != ADMIT_UPDATE) || strcmp(r->resource->group, group) != 0 || *r->subresource || !ctx->user ||
        is_master(ctx->user) || only_collects(r))
        return 0;
    if (!a->o.authz)
        return admission_forbid(ctx, r, err, "no authorizer: nobody may grant rights");
    if (strcmp(resource, "roles") == 0 || strcmp(resource, "clusterroles") == 0)
        return check_role(ctx, a, r, err);
    return check_binding(ctx, a, r, err);
}

const struct admission_step admission_escalation = { "escalation", NULL, validate };
