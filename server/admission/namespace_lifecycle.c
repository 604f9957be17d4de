/* NamespaceLifecycle: nothing is created in a namespace that is absent or going; the system's own cannot be deleted. */
#include "server/admission/step.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/status.h"

#include <string.h>

static int forbid_system(struct ctx *ctx, const struct admission_request *r, struct err *err)
{
    static const char *const immortal[] = { "default", "kube-system", "kube-public" };

    for (size_t i = 0; i < ARRAY_LEN(immortal); i++)
        if (strcmp(r->name, immortal[i]) == 0)
            return status_forbidden(ctx, "", "namespaces", r->name, "this namespace may not be deleted", err);
    return 0;
}

static bool is_review(const struct admission_request *r)
{
    return strcmp(r->resource->group, "authorization.k8s.io") == 0;
}

static int terminating(struct ctx *ctx, const struct admission_request *r, struct err *err)
{
    const char *why = arena_printf(ctx->arena, "unable to create new content in namespace %s because it is being terminated", r->ns);
    int rc = status_forbidden(ctx, r->resource->group, r->resource->resource, r->name, why, err);
    struct k8s_status *st = arena_alloc(ctx->arena, sizeof(*st));
    struct k8s_cause *cause = arena_alloc(ctx->arena, sizeof(*cause));

    if (err->status)
        *st = *err->status;
    *cause = (struct k8s_cause){
        .type = "NamespaceTerminating",
        .message = arena_printf(ctx->arena, "namespace %s is being terminated", r->ns),
        .field = "metadata.namespace",
    };
    st->causes = cause;
    st->n_causes = 1;
    err->status = st;
    return rc;
}

static int check(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    AUTO(json) json_t *ns = NULL;
    struct index_namespace known;

    (void)changed;
    if (admission_is(r, "", "namespaces", ""))
        return r->verb == ADMIT_DELETE ? forbid_system(ctx, r, err) : 0;
    if (r->verb != ADMIT_CREATE || !*r->ns || *r->subresource || is_review(r))
        return 0;
    if (index_namespace(a->index, r->ns, &known))
        return known.terminating ? terminating(ctx, r, err) : 0;
    if (admission_read(ctx, a, "", "namespaces", NULL, r->ns, &ns, err) < 0)
        return -(int)err->code;
    if (meta_deleting(ns) || strcmp(json_str_or(ns, "status.phase", ""), "Terminating") == 0)
        return terminating(ctx, r, err);
    return 0;
}

const struct admission_step admission_namespace_lifecycle = { "NamespaceLifecycle", check, NULL };
