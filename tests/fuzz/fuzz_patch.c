/*
 * Input: [object, patch]. Inputs stay untouched whatever the patch; an applied configuration applied again changes nothing;
 * managedFields we wrote read back as the same.
 */
#include "lib/k8s/patch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void demand(bool good)
{
    if (!good)
        abort();
}

static char *text_of(const json_t *v)
{
    struct buf b = { 0 };

    json_write(v, &b);
    return buf_take_str(&b);
}

static void demand_same(const json_t *a, const json_t *b)
{
    AUTO_FREE char *x = text_of(a);
    AUTO_FREE char *y = text_of(b);

    demand(strcmp(x, y) == 0);
}

static void apply_twice(struct ctx *ctx, const struct schema_type *type, const json_t *live, const json_t *config)
{
    struct apply_manager by = { .name = "m", .subresource = "", .api_version = "apps/v1", .now_s = 1000 };
    json_t *once = NULL, *twice = NULL;
    struct err err;

    if (apply_patch(ctx, type, live, config, &by, true, &once, &err) < 0)
        return;
    by.now_s = 2000;
    demand(apply_patch(ctx, type, once, config, &by, false, &twice, &err) == 0);
    demand_same(once, twice);
    json_decref(twice);
    json_decref(once);
}

static void update(struct ctx *ctx, const struct schema_type *type, const json_t *live, const json_t *object)
{
    struct apply_manager by = { .name = "u", .subresource = "", .api_version = "apps/v1", .now_s = 1000 };
    json_t *fresh = json_deep_copy(object), *again;
    struct err err;

    demand(apply_update_managed(ctx, type, live, fresh, &by, &err) == 0);
    again = json_deep_copy(fresh);
    by.now_s = 2000;
    demand(apply_update_managed(ctx, type, fresh, again, &by, &err) == 0);
    demand_same(fresh, again);
    apply_strip(again, "spec");
    json_decref(again);
    json_decref(fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    const struct schema_type *type = schema_type_find(schema_builtin(), "io.k8s.api.apps.v1.Deployment");
    AUTO(json) json_t *input = NULL;
    json_t *out = NULL;
    struct err err;

    if (json_read((const char *)data, n, NULL, NULL, &input, &err) < 0 || json_array_size(input) != 2)
        return 0;
    AUTO_FREE char *before = text_of(input);
    json_t *object = json_array_get(input, 0), *patch = json_array_get(input, 1);
    if (!json_is_object(object))
        return 0;
    if (patch_json(&ctx, object, patch, &out, &err) == 0)
        json_decref(out);
    if (patch_strategic(&ctx, type, object, patch, &out, &err) == 0)
        json_decref(out);
    json_decref(patch_merge(object, patch));
    update(&ctx, type, NULL, object);
    if (json_is_object(patch)) {
        update(&ctx, type, object, patch);
        apply_twice(&ctx, type, NULL, patch);
        apply_twice(&ctx, type, object, patch);
    }
    AUTO_FREE char *after = text_of(input);
    demand(strcmp(before, after) == 0);
    return 0;
}
