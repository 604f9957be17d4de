#include "server/admission/step.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/status.h"
#include "server/api/keys.h"

#include <string.h>

/* Upstream's order (kube-apiserver AllOrderedPlugins). */
static const struct admission_step *const steps[] = {
    &admission_escalation, /* in upstream a matter of the kinds' registries, ahead of all validating steps */
    &admission_namespace_lifecycle,
    &admission_limit_ranger,
    &admission_service_account,
    &admission_node_restriction,
    &admission_taint_nodes,
    &admission_priority,
    &admission_default_toleration_seconds,
    &admission_default_storage_class,
    &admission_storage_protection,
    &admission_claim_resize,
    &admission_runtime_class,
    &admission_certificate_approval,
    &admission_certificate_signing,
    &admission_certificate_subject,
    &admission_default_ingress_class,
};

struct admission *admission_new(const struct admission_options *options)
{
    struct admission *a = MEM_NEW(struct admission);

    a->o = *options;
    a->index = admission_index_new();
    return a;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    admission_index_free(a->index);
    free(a);
}

/* --- the index --- */

void admission_observe(struct admission *a, const char *group, const char *resource, const char *ns, const char *name, struct slice value)
{
    if (admission_index_wants(group, resource))
        admission_index_set(a->index, group, resource, ns, name, value);
}

static const struct schema_resource *stored_resource(const struct schema *s, const char *group, const char *resource)
{
    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *one = schema_resource_at(s, i);

        if (strcmp(one->resource, resource) == 0 && strcmp(one->group, group) == 0 && key_stored(s, one) == one)
            return one;
    }
    return NULL;
}

static int on_row(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct admission *a = arg;
    const struct schema_resource *resource = NULL;
    struct slice ns, name;

    (void)stop;
    (void)err;
    if (!key_parse(a->o.schema, (struct slice){ row->key->at, row->key->n }, &resource, &ns, &name))
        return 0;
    AUTO_FREE char *ns_text = slice_dup(ns);
    AUTO_FREE char *name_text = slice_dup(name);
    admission_observe(a, resource->group, resource->resource, ns_text, name_text, (struct slice){ row->value->at, row->value->n });
    return 0;
}

static int load_resource(struct ctx *ctx, struct admission *a, const struct schema_resource *r, struct err *err)
{
    AUTO(buf) struct buf from = { 0 }, to = { 0 };
    int rc = 0;

    key_write(r, NULL, NULL, &from);
    key_range_end((struct slice){ buf_at(&from), buf_len(&from) }, &to);
    struct store_range range = { .from = { buf_at(&from), buf_len(&from) }, .to = { buf_at(&to), buf_len(&to) } };
    do
        rc = store_range(ctx, a->o.store, &range, on_row, a, err);
    while (rc == 0 && range.more);
    store_range_end(&range);
    return rc;
}

int admission_load(struct ctx *ctx, struct admission *a, struct err *err)
{
    for (size_t i = 0; i < schema_resources(a->o.schema); i++) {
        const struct schema_resource *r = schema_resource_at(a->o.schema, i);

        if (admission_index_wants(r->group, r->resource) && stored_resource(a->o.schema, r->group, r->resource) == r &&
            load_resource(ctx, a, r, err) < 0)
            return err_wrap(err, "admission index of %s", r->resource);
    }
    return 0;
}

/* --- what the steps use --- */

bool admission_is(const struct admission_request *r, const char *group, const char *resource, const char *sub)
{
    return strcmp(r->resource->resource, resource) == 0 && strcmp(r->resource->group, group) == 0 && strcmp(r->subresource, sub) == 0;
}

const char *admission_name(const struct admission_request *r)
{
    if (r->name && *r->name)
        return r->name;
    if (*meta_name(r->object))
        return meta_name(r->object);
    const char *base = json_str_or(r->object, "metadata.generateName", "");
    return *base ? base : "Unknown";
}

int admission_forbid(struct ctx *ctx, const struct admission_request *r, struct err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    const char *why = arena_vprintf(ctx->arena, fmt, args);
    va_end(args);
    return status_forbidden(ctx, r->resource->group, r->resource->resource, admission_name(r), why, err);
}

int admission_read(struct ctx *ctx, struct admission *a, const char *group, const char *resource, const char *ns, const char *name,
                   json_t **ret, struct err *err)
{
    const struct schema_resource *res = stored_resource(a->o.schema, group, resource);
    AUTO(buf) struct buf key = { 0 };
    struct store_row row = { 0 };

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
