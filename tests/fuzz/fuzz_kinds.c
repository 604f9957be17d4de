/*
 * An object of any kind through all that its kind does with it, twice: as a new one and as an update of itself. Nothing crashes;
 * defaults given once are given for good; a row is as long as its columns.
 * Input: the object's JSON, with kind and apiVersion.
 */
#include "lib/k8s/meta.h"
#include "lib/k8s/object.h"
#include "server/schema/kind.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct schema_resource *resource_of(const json_t *object)
{
    const char *text = json_str_or(object, "apiVersion", ""), *slash = strchr(text, '/');
    char group[64] = "";

    if (slash && (size_t)(slash - text) < sizeof(group))
        memcpy(group, text, (size_t)(slash - text));
    return schema_resource_of_kind(schema_builtin(), group, slash ? slash + 1 : text, json_str_or(object, "kind", ""));
}

static void check_defaults(const struct kind_ops *ops, const struct schema_resource *r, json_t *object)
{
    AUTO(json) json_t *once = NULL;

    object_default(r->type, object);
    if (ops->default_)
        ops->default_(object);
    once = json_deep_copy(object);
    object_default(r->type, object);
    if (ops->default_)
        ops->default_(object);
    assert(json_equal(once, object));
}

static void check_row(struct ctx *ctx, const struct kind_ops *ops, const struct schema_resource *r, const json_t *object)
{
    const struct schema_column *columns = NULL;
    AUTO(json) json_t *cells = json_pack("[s]", "name");
    size_t n = schema_columns(r, &columns);

    if (!ops->cells || n == 0)
        return;
    ops->cells(ctx, object, cells);
    assert(json_array_size(cells) == n);
}

static void run_hooks(struct ctx *ctx, const struct kind_ops *ops, const struct schema_resource *r, json_t *object)
{
    AUTO(json) json_t *old = json_deep_copy(object);
    struct field_errors errs = { .arena = ctx->arena };
    const struct kind_conversion *c = kind_conversion(r->group, r->version, r->kind);

    if (ops->prepare_create)
        ops->prepare_create(ctx, object);
    object_validate(r->type, object, &errs);
    if (ops->validate)
        ops->validate(ctx, object, &errs);
    if (ops->prepare_update)
        ops->prepare_update(ctx, object, old);
    if (ops->validate_update)
        ops->validate_update(ctx, object, old, &errs);
    if (ops->prepare_status)
        ops->prepare_status(ctx, object, old);
    if (ops->validate_status)
        ops->validate_status(ctx, object, old, &errs);
    if (ops->grace)
        ops->grace(object, -1);
    check_row(ctx, ops, r, object);
    if (c) {
        c->to_storage(object);
        c->from_storage(object);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO(arena) struct arena *arena = arena_new();
    AUTO(json) json_t *object = NULL;
    struct ctx ctx = ctx_background(arena);
    struct err err;

    if (json_read((const char *)data, n, NULL, NULL, &object, &err) < 0 || !json_is_object(object))
        return 0;
    const struct schema_resource *r = resource_of(object);
    if (!r || object_prune(r->type, object, NULL, NULL, &err) < 0)
        return 0;
    const struct kind_ops *ops = kind_ops(r->group, r->kind);
    check_defaults(ops, r, object);
    run_hooks(&ctx, ops, r, object);
    return 0;
}
