/* Which subresources and kinds go another way than the generic one. A table, so that they are seen in one place. */
#include "server/api/special.h"

#include <string.h>

static const struct {
    const char *group, *resource, *sub; /* sub "": the resource itself; resource "*": any */
    api_special_fn *fn;
} table[] = {
    { "", "bindings", "", special_binding },
    { "", "pods", "binding", special_binding },
    { "", "pods", "eviction", special_eviction },
    { "", "pods", "ephemeralcontainers", special_pod_part },
    { "", "pods", "resize", special_pod_part },
    { "", "pods", "log", api_relay },
    { "", "pods", "exec", api_relay },
    { "", "pods", "attach", api_relay },
    { "", "pods", "portforward", api_relay },
    { "", "pods", "proxy", api_relay },
    { "", "services", "proxy", api_relay },
    { "", "nodes", "proxy", api_relay },
    { "", "namespaces", "finalize", special_finalize },
    { "", "serviceaccounts", "token", special_token },
    { "", "componentstatuses", "", special_component_status },
    { "certificates.k8s.io", "certificatesigningrequests", "approval", special_approval },
    { "authentication.k8s.io", "tokenreviews", "", special_token_review },
    { "authentication.k8s.io", "selfsubjectreviews", "", special_self_review },
    { "authorization.k8s.io", "subjectaccessreviews", "", special_access_review },
    { "authorization.k8s.io", "localsubjectaccessreviews", "", special_access_review },
    { "authorization.k8s.io", "selfsubjectaccessreviews", "", special_access_review },
    { "authorization.k8s.io", "selfsubjectrulesreviews", "", special_rules_review },
    { "*", "*", "scale", special_scale },
};

api_special_fn *api_special(const struct api_route *t)
{
    const char *sub = t->sub ? t->sub->name : "";

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].sub, sub) == 0 && (*table[i].group == '*' || strcmp(table[i].group, t->resource->group) == 0) &&
            (*table[i].resource == '*' || strcmp(table[i].resource, t->resource->resource) == 0))
            return table[i].fn;
    return NULL;
}
