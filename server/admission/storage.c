/* DefaultStorageClass, StorageObjectInUseProtection, PersistentVolumeClaimResize, DefaultIngressClass. */
#include "server/admission/resource_list.h"
#include "server/admission/step.h"

#include "lib/k8s/meta.h"

#include <string.h>

/* The newest class that says it is the default; by name where they are as old. "" when there is none; arena. */
static int default_class(struct ctx *ctx, struct admission *a, enum index_kind kind, const char **ret, struct err *err)
{
    AUTO(json) json_t *all = NULL;
    const char *best = "", *when = "";
    size_t i = 0;
    json_t *one = NULL;

    if (index_trees(a->index, kind, "", true, &all, err) < 0)
        return -(int)err->code;
    json_array_foreach(all, i, one)
    {
        const char *made = json_str_or(one, "metadata.creationTimestamp", "");

        if (*best && strcmp(made, when) <= 0) /* the array is in order of names, times are text in order */
            continue;
        best = meta_name(one);
        when = made;
    }
    *ret = arena_strdup(ctx->arena, best);
    return 0;
}

static int default_storage(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    const char *name = NULL;

    if (r->verb != ADMIT_CREATE || !admission_is(r, "", "persistentvolumeclaims", "") || json_at(r->object, "spec.storageClassName") ||
        meta_annotation(r->object, "volume.beta.kubernetes.io/storage-class"))
        return 0;
    if (default_class(ctx, a, INDEX_STORAGE_CLASSES, &name, err) < 0)
        return -(int)err->code;
    if (!*name)
        return 0;
    json_put(r->object, "spec.storageClassName", json_string(name));
    *changed = true;
    return 0;
}

static int default_ingress(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    const char *name = NULL;

    if (r->verb != ADMIT_CREATE || !admission_is(r, "networking.k8s.io", "ingresses", "") || json_at(r->object, "spec.ingressClassName") ||
        meta_annotation(r->object, "kubernetes.io/ingress.class"))
        return 0;
    if (default_class(ctx, a, INDEX_INGRESS_CLASSES, &name, err) < 0)
        return -(int)err->code;
    if (!*name)
        return 0;
    json_put(r->object, "spec.ingressClassName", json_string(name));
    *changed = true;
    return 0;
}

static int protect(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    static const struct {
        const char *group, *resource, *finalizer;
    } all[] = {
        { "", "persistentvolumes", "kubernetes.io/pv-protection" },
        { "", "persistentvolumeclaims", "kubernetes.io/pvc-protection" },
        { "storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection" },
    };

    (void)ctx;
    (void)a;
    (void)err;
    if (r->verb != ADMIT_CREATE)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (admission_is(r, all[i].group, all[i].resource, "") && !meta_has_finalizer(r->object, all[i].finalizer)) {
            meta_add_finalizer(r->object, all[i].finalizer);
            *changed = true;
        }
    return 0;
}

static const char *class_of(const json_t *claim)
{
    const char *beta = meta_annotation(claim, "volume.beta.kubernetes.io/storage-class");

    return beta ? beta : json_str_or(claim, "spec.storageClassName", "");
}

static bool may_grow(struct admission *a, const struct admission_request *r)
{
    const char *name = class_of(r->object);
    AUTO(bytes) struct bytes *value = *name ? index_value(a->index, INDEX_STORAGE_CLASSES, "", name) : NULL;
    AUTO(json) json_t *class = NULL;
    struct err err;

    return value && strcmp(name, class_of(r->old)) == 0 && json_read(value->at, value->n, NULL, NULL, &class, &err) == 0 &&
           json_bool_or(class, "allowVolumeExpansion", false);
}

static int resize(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    if (r->verb != ADMIT_UPDATE || !admission_is(r, "", "persistentvolumeclaims", ""))
        return 0;
    struct quantity was = resource_quantity(json_at(r->old, "spec.resources.requests.storage"));
    struct quantity is = resource_quantity(json_at(r->object, "spec.resources.requests.storage"));
    if (quantity_cmp(&is, &was) <= 0)
        return 0;
    if (strcmp(json_str_or(r->old, "status.phase", ""), "Bound") != 0)
        return admission_forbid(ctx, r, err, "Only bound persistent volume claims can be expanded");
    if (!may_grow(a, r))
        return admission_forbid(ctx, r, err,
                                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support "
                                "resize");
    return 0;
}

const struct admission_step admission_default_storage_class = { "DefaultStorageClass", default_storage, NULL };
const struct admission_step admission_storage_protection = { "StorageObjectInUseProtection", protect, NULL };
const struct admission_step admission_claim_resize = { "PersistentVolumeClaimResize", NULL, resize };
const struct admission_step admission_default_ingress_class = { "DefaultIngressClass", default_ingress, NULL };
