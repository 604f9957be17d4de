#include "server/admission/step.h"

#include "lib/k8s/status.h"
#include "server/api/keys.h"

#include <string.h>

/* Upstream's order (kube-apiserver AllOrderedPlugins). */
static const struct admission_step *const steps[] = {
    &admission_namespace_lifecycle,
    &admission_service_account,
};

struct admission *admission_new(const struct admission_options *options)
{
    struct admission *a = MEM_NEW(struct admission);

    a->o = *options;
    return a;
}

void admission_free(struct admission *a)
{
    free(a);
}

bool admission_is(const struct admission_request *r, const char *group, const char *resource, const char *sub)
{
    return strcmp(r->resource->resource, resource) == 0 && strcmp(r->resource->group, group) == 0 && strcmp(r->subresource, sub) == 0;
}

int admission_read(struct ctx *ctx, struct admission *a, const char *group, const char *resource, const char *ns, const char *name,
                   json_t **ret, struct err *err)
{
    const struct schema_resource *res = NULL;
    AUTO(buf) struct buf key = { 0 };
    struct store_row row = { 0 };

    for (size_t i = 0; i < schema_resources(a->o.schema) && !res; i++) {
        const struct schema_resource *one = schema_resource_at(a->o.schema, i);

        if (strcmp(one->resource, resource) == 0 && strcmp(one->group, group) == 0 && key_stored(a->o.schema, one) == one)
            res = one;
    }
    if (!res)
        return err_set(err, ERR_IO, "no resource %s in group \"%s\"", resource, group);
    key_write(res, res->namespaced ? ns : NULL, name, &key);
    if (store_get(ctx, a->o.store, (struct slice){ buf_at(&key), buf_len(&key) }, 0, &row, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? status_not_found(ctx, group, resource, name, err) : -(int)err->code;
    int rc = json_read(row.value->at, row.value->n, NULL, NULL, ret, err);
    store_row_clear(&row);
    return rc < 0 ? err_wrap(err, "stored %s %s", resource, name) : 0;
}

int admission_mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *ret_changed, struct err *err)
{
    *ret_changed = false;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (steps[i]->mutate && steps[i]->mutate(ctx, a, r, ret_changed, err) < 0)
            return -(int)err->code;
    return 0;
}

int admission_validate(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (steps[i]->validate && steps[i]->validate(ctx, a, r, err) < 0)
            return -(int)err->code;
    return 0;
}
