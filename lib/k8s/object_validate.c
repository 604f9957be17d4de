/*
 * object_validate - required and allowed values, as far as upstream's own validation agrees with the schema on them.
 *
 * Upstream checks by hand, so not all that its documents call required is: numbers have ranges instead, lists may often be empty, and
 * status is not checked. Here: absent pointers, empty strings, strings of another value than the listed ones. The kinds add the rest.
 */
#include "lib/k8s/object_int.h"

#include <string.h>

enum { ENUM_MAX = 128 };

struct validate {
    struct field_errors *errs;
};

static void check(struct validate *c, const struct schema_type *t, const json_t *v, const struct object_at *at);

static char *path_of(const struct validate *c, const struct object_at *at)
{
    AUTO(buf) struct buf path = { 0 };
    object_path(at, true, &path);
    return arena_strdup(c->errs->arena, buf_at(&path));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_enum(struct validate *c, const struct schema_type *t, const json_t *v, const struct object_at *at)
{
    const char *allowed[ENUM_MAX], *text = json_string_value(v);
    size_t n = schema_enum(t);
    if (n == 0 || n > ENUM_MAX || !text || !*text)
        return;
    for (size_t i = 0; i < n; i++) {
        allowed[i] = schema_enum_at(t, i);
        if (strcmp(text, allowed[i]) == 0)
            return;
    }
    qsort(allowed, n, sizeof(allowed[0]), by_text);
    field_not_supported(c->errs, text, allowed, n, "%s", path_of(c, at));
}

static bool is_missing(const struct schema_field *f, const json_t *v)
{
    const struct schema_type *t = schema_field_type(f);
    if (!v || json_is_null(v))
        return schema_field_pointer(f) || schema_shape(t) == SCHEMA_STRING;
    return json_is_string(v) && json_string_length(v) == 0 && schema_shape(t) == SCHEMA_STRING && schema_enum(t) == 0 &&
           !schema_field_pointer(f);
}

/* Parts of an object with rules of their own. */
static bool is_others(const char *field)
{
    return strcmp(field, "status") == 0 || strcmp(field, "metadata") == 0;
}

static void check_object(struct validate *c, const struct schema_type *t, const json_t *v, const struct object_at *up)
{
    size_t n = schema_fields(t);
    for (size_t i = 0; i < n; i++) {
        const struct schema_field *f = schema_field_at(t, i);
        if (!up && is_others(schema_field_name(f)))
            continue;
        const struct schema_type *ft = schema_field_type(f);
        bool deep = schema_shape(ft) >= SCHEMA_OBJECT && schema_shape(ft) != SCHEMA_ANY;
        if (!deep && !schema_field_required(f) && schema_enum(ft) == 0)
            continue;
        struct object_at at = { .up = up, .owner = t, .field = f };
        const json_t *member = json_object_get(v, schema_field_name(f));
        if (schema_field_required(f) && is_missing(f, member))
            field_error(c->errs, FIELD_REQUIRED, NULL, "", "%s", path_of(c, &at));
        else if (member)
            check(c, ft, member, &at);
    }
}

static void check(struct validate *c, const struct schema_type *t, const json_t *v, const struct object_at *up)
{
    const struct schema_type *elem = schema_elem(t);
    bool free = elem && schema_shape(elem) < SCHEMA_OBJECT && schema_enum(elem) == 0; /* nothing to check inside */
    switch (schema_shape(t)) {
    case SCHEMA_STRING:
        check_enum(c, t, v, up);
        break;
    case SCHEMA_OBJECT:
        if (json_is_object(v))
            check_object(c, t, v, up);
        break;
    case SCHEMA_LIST:
        for (struct object_at at = { .up = up }; !free && at.index < json_array_size(v); at.index++)
            check(c, elem, json_array_get(v, at.index), &at);
        break;
    case SCHEMA_MAP:
        if (free)
            break;
        json_t *map = (json_t *)(uintptr_t)v; /* jansson's iterators take no const */
        for (void *it = json_object_iter(map); it; it = json_object_iter_next(map, it)) {
            struct object_at at = { .up = up, .key = json_object_iter_key(it), .key_n = json_object_iter_key_len(it) };
            check(c, elem, json_object_iter_value(it), &at);
        }
        break;
    default:
        break;
    }
}

void object_validate(const struct schema_type *type, const json_t *object, struct field_errors *errs)
{
    struct validate c = { .errs = errs };
    check_object(&c, type, object, NULL);
}
