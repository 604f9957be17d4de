#include "lib/k8s/apply_int.h"
#include "lib/k8s/status.h"

#include <stdarg.h>
#include <string.h>

enum { TOLD_MAX = 100 }; /* more is no help to anyone */

struct check {
    struct arena *arena;
    struct buf path, text;
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *c, const char *fmt, ...)
{
    va_list args;

    if (++c->n > TOLD_MAX)
        return;
    va_start(args, fmt);
    buf_printf(&c->text, "%s%s%s%s", c->n > 1 ? "\n  " : "", buf_at(&c->path), buf_len(&c->path) ? ": " : "",
               arena_vprintf(c->arena, fmt, args));
    va_end(args);
}

/* Go's %v of a decoded value, near enough for a message. */
static const char *shown(struct check *c, const json_t *v)
{
    AUTO(buf) struct buf text = { 0 };

    if (json_is_string(v))
        return go_quote(c->arena, json_string_value(v));
    json_write(v, &text);
    return arena_strndup(c->arena, buf_at(&text), buf_len(&text));
}

static const char *go_type(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING: return "string";
    case JSON_TRUE:
    case JSON_FALSE:  return "bool";
    case JSON_ARRAY:  return "[]interface {}";
    case JSON_OBJECT: return "map[string]interface {}";
    case JSON_REAL:   return "float64";
    default:          return "int64";
    }
}

static void check_scalar(struct check *c, const struct schema_type *type, const json_t *v)
{
    switch (schema_shape(type)) {
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_DOUBLE:
        if (!json_is_number(v))
            wrong(c, "expected numeric (int or float), got %s", go_type(v));
        break;
    case SCHEMA_BOOL:
        if (!json_is_boolean(v))
            wrong(c, "expected boolean, got %s", shown(c, v));
        break;
    case SCHEMA_QUANTITY:
    case SCHEMA_INT_OR_STRING:
        if (!json_is_string(v) && !json_is_number(v) && !json_is_boolean(v))
            wrong(c, "expected any scalar, got %s", shown(c, v));
        break;
    default:
        if (!json_is_string(v))
            wrong(c, "expected string, got &value.valueUnstructured{Value:%s}", shown(c, v));
        break;
    }
}

static void check_value(struct check *c, const struct schema_type *type, const json_t *v);

static void check_map(struct check *c, const struct schema_type *type, const json_t *v)
{
    size_t from = buf_len(&c->path), n;
    const char *key;
    json_t *m;

    if (!json_is_object(v)) {
        wrong(c, "expected map, got %s", shown(c, v));
        return;
    }
    json_object_keylen_foreach((json_t *)(uintptr_t)v, key, n, m) {
        const struct schema_field *f;
        const struct schema_type *t = apply_member_type(type, key, n, &f);

        buf_char(&c->path, '.');
        buf_add(&c->path, key, n);
        if (t)
            check_value(c, t, m);
        else
            wrong(c, "field not declared in schema");
        buf_cut(&c->path, from);
        if (!t)
            return; /* upstream looks no further here */
    }
}

static void check_associative(struct check *c, const struct schema_type *type, const json_t *v)
{
    size_t from = buf_len(&c->path);
    struct apply_list list;
    struct err err;

    for (size_t i = 0; i < json_array_size(v); i++) {
        struct fs_element at;

        if (apply_list_element(c->arena, type, json_array_get(v, i), &at, &err) < 0) {
            wrong(c, "element %zu: %s", i, err.msg);
            return;
        }
    }
    apply_list_of(c->arena, type, v, &list);
    for (size_t i = 0; i < list.n; i++) {
        struct apply_entry *e = &list.entries[i];
        AUTO(buf) struct buf key = { 0 };

        fs_element_text(&e->at, &key);
        if (e->again)
            wrong(c, "duplicate entries for key %s", buf_at(&key));
        buf_add(&c->path, buf_at(&key), buf_len(&key));
        check_value(c, schema_elem(type), e->item);
        buf_cut(&c->path, from);
    }
}

static void check_list(struct check *c, const struct schema_type *type, const json_t *v)
{
    size_t from = buf_len(&c->path);

    if (!json_is_array(v)) {
        wrong(c, "expected list, got %s", shown(c, v));
        return;
    }
    if (schema_list_type(type) != SCHEMA_LIST_ATOMIC) {
        check_associative(c, type, v);
        return;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        buf_printf(&c->path, "[%zu]", i);
        check_value(c, schema_elem(type), json_array_get(v, i));
        buf_cut(&c->path, from);
    }
}

static void check_value(struct check *c, const struct schema_type *type, const json_t *v)
{
    if (json_is_null(v) || schema_shape(type) == SCHEMA_ANY)
        return;
    switch (schema_shape(type)) {
    case SCHEMA_OBJECT:
    case SCHEMA_MAP:  check_map(c, type, v); break;
    case SCHEMA_LIST: check_list(c, type, v); break;
    default:          check_scalar(c, type, v); break;
    }
}

const char *apply_problems(struct arena *a, const struct schema_type *type, const json_t *config)
{
    struct check c = { .arena = a };
    const char *all = NULL;

    check_value(&c, type, config);
    if (c.n == 1)
        all = arena_strdup(a, buf_at(&c.text));
    else if (c.n > 1)
        all = arena_printf(a, "errors:\n  %s", buf_at(&c.text));
    buf_clear(&c.path);
    buf_clear(&c.text);
    return all;
}
