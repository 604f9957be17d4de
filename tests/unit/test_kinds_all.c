/* What must hold for every kind there is. */
#include "tests/unit/test.h"

#include "lib/k8s/meta.h"
#include "server/schema/kind.h"
#include "tests/unit/kinds_fixture.h"

TEST(kinds_each_resource_has_its_entry)
{
    const struct schema *s = schema_builtin();

    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        const struct kind_ops *ops = kind_ops(r->group, r->kind);

        if (!*r->storage_hash)
            continue; /* reviews and such */
        if (strcmp(ops->kind, r->kind) != 0)
            fprintf(stderr, "%s/%s has no entry\n", r->group, r->kind);
        CHECK_STR(ops->kind, r->kind);
        CHECK_STR(ops->group, r->group);
    }
    CHECK_STR(kind_ops("example.com", "Widget")->kind, "");
}

static json_t *bare(struct kinds *f, const struct schema_resource *r)
{
    return kinds_read(f, arena_printf(f->arena, "{kind: %s, apiVersion: '%s%s%s', metadata: {name: x, namespace: y, creationTimestamp: "
                                                "'2026-01-01T00:00:00Z'}, spec: {}, status: {}}",
                                      r->kind, r->group, *r->group ? "/" : "", r->version));
}

TEST(kinds_rows_are_as_long_as_the_columns)
{
    const struct schema *s = schema_builtin();
    struct kinds f = kinds_open();

    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        const struct schema_column *columns = NULL;
        size_t n = schema_columns(r, &columns);

        if (n == 0 || !*r->storage_hash)
            continue;
        CHECK(kind_ops(r->group, r->kind)->cells != NULL);
        const json_t *cells = kinds_cells(&f, r->group, r->kind, bare(&f, r));
        if (json_array_size(cells) != n)
            fprintf(stderr, "%s: %zu cells, %zu columns\n", r->kind, json_array_size(cells), n);
        CHECK_INT(json_array_size(cells), n);
        for (size_t c = 0; c < n; c++) {
            if (strcmp(columns[c].name, "Age") == 0)
                CHECK_STR(json_string_value(json_array_get(cells, c)), "5m");
            CHECK(!json_is_null(json_array_get(cells, c)));
        }
    }
    kinds_close(&f);
}

/* Every hook of every kind sees objects without anything in them and with the wrong things. */
TEST(kinds_nothing_crashes_on_odd_objects)
{
    static const char *const odd[] = { "{}", "[]", "'text'", "5", "null" };
    const struct schema *s = schema_builtin();
    struct kinds f = kinds_open();

    for (size_t i = 0; i < schema_resources(s); i++) {
        const struct schema_resource *r = schema_resource_at(s, i);
        const struct kind_ops *ops = kind_ops(r->group, r->kind);

        for (size_t o = 0; o < ARRAY_LEN(odd); o++) {
            json_t *object = bare(&f, r), *old = bare(&f, r);
            struct field_errors errs = { .arena = f.arena };

            json_object_set_new(object, "spec", json_deep_copy(kinds_read(&f, arena_printf(f.arena, "%s", odd[o]))));
            json_object_set_new(object, "status", json_deep_copy(kinds_read(&f, arena_printf(f.arena, "%s", odd[o]))));
            if (ops->default_)
                ops->default_(object);
            if (ops->prepare_create)
                ops->prepare_create(&f.ctx, object);
            if (ops->prepare_update)
                ops->prepare_update(&f.ctx, object, old);
            if (ops->prepare_status)
                ops->prepare_status(&f.ctx, object, old);
            if (ops->validate)
                ops->validate(&f.ctx, object, &errs);
            if (ops->validate_update)
                ops->validate_update(&f.ctx, object, old, &errs);
            if (ops->validate_status)
                ops->validate_status(&f.ctx, object, old, &errs);
            if (ops->grace)
                ops->grace(object, -1);
            for (const char *const *name = ops->fields; name && *name; name++)
                if (ops->field)
                    ops->field(&f.ctx, object, *name);
            if (ops->cells)
                kinds_cells(&f, r->group, r->kind, object);
        }
    }
    kinds_close(&f);
}
