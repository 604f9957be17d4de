/* NodeRestriction for serviceaccounts/token. */
#include "server/admission/node_restriction.h"

#include "lib/k8s/meta.h"
#include "server/auth/authz.h"

#include <string.h>

static bool driver_has_audience(struct ctx *ctx, struct admission *a, const char *name, const char *audience)
{
    AUTO(json) json_t *driver = NULL;
    size_t i = 0;
    json_t *t = NULL;
    struct err err;

    if (!*name || admission_read(ctx, a, "storage.k8s.io", "csidrivers", NULL, name, &driver, &err) < 0)
        return false;
    json_array_foreach(json_at(driver, "spec.tokenRequests"), i, t) if (strcmp(json_str_or(t, "audience", ""), audience) == 0) return true;
    return false;
}

static bool claim_has_audience(struct ctx *ctx, struct admission *a, const char *ns, const char *claim, const char *audience)
{
    AUTO(json) json_t *pvc = NULL;
    AUTO(json) json_t *pv = NULL;
    struct err err;

    if (admission_read(ctx, a, "", "persistentvolumeclaims", ns, claim, &pvc, &err) < 0 ||
        admission_read(ctx, a, "", "persistentvolumes", NULL, json_str_or(pvc, "spec.volumeName", ""), &pv, &err) < 0)
        return false;
    return driver_has_audience(ctx, a, json_str_or(pv, "spec.csi.driver", ""), audience);
}

static bool volume_has_audience(struct ctx *ctx, struct admission *a, const json_t *pod, const json_t *volume, const char *audience)
{
    size_t i = 0;
    json_t *s = NULL;
    const char *claim = json_str_or(volume, "persistentVolumeClaim.claimName", "");

    json_array_foreach(json_at(volume, "projected.sources"), i, s)
    {
        const json_t *token = json_object_get(s, "serviceAccountToken");

        if (token && strcmp(json_str_or(token, "audience", ""), audience) == 0)
            return true;
    }
    if (json_at(volume, "ephemeral.volumeClaimTemplate"))
        claim = arena_printf(ctx->arena, "%s-%s", meta_name(pod), json_str_or(volume, "name", ""));
    if (*claim)
        return claim_has_audience(ctx, a, meta_namespace(pod), claim, audience);
    return driver_has_audience(ctx, a, json_str_or(volume, "csi.driver", ""), audience);
}

static int check_audience(struct ctx *ctx, struct admission *a, const struct admission_request *r, const json_t *pod, struct err *err)
{
    const json_t *asked = json_at(r->object, "spec.audiences");
    const char *audience = json_array_size(asked) ? json_string_value(json_array_get(asked, 0)) : "";
    size_t i = 0;
    json_t *v = NULL;

    if (json_array_size(asked) > 1)
        return admission_forbid(ctx, r, err, "node may only request 0 or 1 audiences");
    if (!audience)
        audience = "";
    json_array_foreach(json_at(pod, "spec.volumes"), i, v) if (volume_has_audience(ctx, a, pod, v, audience)) return 0;
    if (a->o.authz) {
        struct authz_request q = {
            .user = ctx->user,
            .verb = "request-serviceaccounts-token-audience",
            .group = r->resource->group,
            .version = r->resource->version,
            .resource = audience,
            .subresource = "",
            .name = r->name,
            .ns = r->ns,
        };
        struct err denied;

        if (authz_check(ctx, a->o.authz, &q, NULL, &denied) == 0)
            return 0;
    }
    return admission_forbid(ctx, r, err, "%s is not authorized to request tokens for audience \"%s\"", ctx->user->name, audience);
}

int node_token_check(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *node, struct err *err)
{
    const json_t *ref = json_at(r->object, "spec.boundObjectRef");
    const char *name = json_str_or(ref, "name", ""), *uid = json_str_or(ref, "uid", "");
    AUTO(json) json_t *pod = NULL;

    if (strcmp(json_str_or(ref, "apiVersion", ""), "v1") != 0 || strcmp(json_str_or(ref, "kind", ""), "Pod") != 0 || !*name)
        return admission_forbid(ctx, r, err, "node requested token not bound to a pod");
    if (!*uid)
        return admission_forbid(ctx, r, err, "node requested token with a pod binding without a uid");
    if (admission_read(ctx, a, "", "pods", r->ns, name, &pod, err) < 0)
        return -(int)err->code;
    if (strcmp(uid, meta_uid(pod)) != 0)
        return admission_forbid(ctx, r, err,
                                "the UID in the bound object reference (%s) does not match the UID in record. The object might have been "
                                "deleted and then recreated",
                                uid);
    if (strcmp(json_str_or(pod, "spec.nodeName", ""), node) != 0)
        return admission_forbid(ctx, r, err, "node requested token bound to a pod scheduled on a different node");
    return check_audience(ctx, a, r, pod, err);
}
