#include "tests/unit/kinds_fixture.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/object.h"
#include "tests/unit/test.h"

static int64_t fixed_wall(void *arg)
{
    (void)arg;
    return INT64_C(1767225900) * 1000000; /* 2026-01-01T00:05:00Z */
}

static int64_t fixed_mono(void *arg)
{
    (void)arg;
    return 0;
}

static const struct clock fixed = { NULL, fixed_wall, fixed_mono };

struct kinds kinds_open(void)
{
    struct kinds f = { .arena = arena_new() };

    f.ctx = ctx_background(f.arena);
    f.ctx.clock = &fixed;
    return f;
}

void kinds_close(struct kinds *f)
{
    arena_free(f->arena);
}

static void drop(void *v)
{
    json_decref(v);
}

json_t *kinds_read(struct kinds *f, const char *yaml)
{
    struct err err;
    json_t *v = NULL;

    if (yaml_read(yaml, strlen(yaml), NULL, NULL, &v, &err) < 0) {
        fprintf(stderr, "%s: %s\n", err.msg, yaml);
        exit(1);
    }
    arena_on_free(f->arena, drop, v);
    return v;
}

const struct schema_resource *kinds_resource(const json_t *object)
{
    const char *text = json_str_or(object, "apiVersion", ""), *slash = strchr(text, '/');
    char group[128] = "";

    if (slash)
        snprintf(group, sizeof(group), "%.*s", (int)(slash - text), text);
    const struct schema_resource *r =
        schema_resource_of_kind(schema_builtin(), group, slash ? slash + 1 : text, json_str_or(object, "kind", ""));
    CHECK(r != NULL);
    return r;
}

json_t *kinds_new(struct kinds *f, const char *group, const char *kind, const char *yaml)
{
    json_t *object = kinds_read(f, yaml);
    const struct schema_resource *r = kinds_resource(object);
    const struct kind_ops *ops = kind_ops(group, kind);
    struct err err;

    CHECK_STR(ops->kind, kind);
    if (object_prune(r->type, object, NULL, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    object_default(r->type, object);
    if (ops->default_)
        ops->default_(object);
    if (schema_subresource(r, SLICE_LIT("status")) && !ops->no_status_reset)
        json_object_del(object, "status");
    if (ops->prepare_create)
        ops->prepare_create(&f->ctx, object);
    CHECK(object_prune(r->type, object, NULL, NULL, &err) == 0);
    return object;
}

const char *kinds_errors(struct kinds *f, const json_t *object, const json_t *old)
{
    const struct schema_resource *r = kinds_resource(object);
    const struct kind_ops *ops = kind_ops(r->group, r->kind);
    struct field_errors errs = { .arena = f->arena };

    object_validate(r->type, object, &errs);
    if (ops->validate)
        ops->validate(&f->ctx, object, &errs);
    if (old && ops->validate_update)
        ops->validate_update(&f->ctx, object, old, &errs);
    const char *text = field_errors_text(&errs);
    return text ? text : "";
}

const json_t *kinds_cells(struct kinds *f, const char *group, const char *kind, const json_t *object)
{
    json_t *cells = json_array();

    arena_on_free(f->arena, drop, cells);
    json_array_append_new(cells, json_string(meta_name(object)));
    kind_ops(group, kind)->cells(&f->ctx, object, cells);
    return cells;
}
