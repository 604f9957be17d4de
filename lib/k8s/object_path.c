/* object_path - where in an object something is, in the two ways upstream's decoder says it. */
#include "lib/k8s/object_int.h"

#include <string.h>

void object_path(const struct object_at *at, bool brackets, struct buf *to)
{
    if (!at)
        return;
    object_path(at->up, brackets, to);
    if (!at->owner && !at->key) {
        buf_printf(to, "[%zu]", at->index);
        return;
    }
    if (brackets && !at->owner) {
        buf_printf(to, "[%.*s]", (int)at->key_n, at->key);
        return;
    }
    if (buf_len(to))
        buf_char(to, '.');
    if (at->key)
        buf_add(to, at->key, at->key_n);
    else
        buf_str(to, schema_field_name(at->field));
}

/* Go's decoder names fields only, with the structs they are embedded through. */
static void go_fields(const struct object_at *at, struct buf *to)
{
    if (!at)
        return;
    go_fields(at->up, to);
    if (!at->owner || !at->field)
        return;
    const char *embed = schema_field_embed(at->field);
    if (embed)
        buf_printf(to, ".%s", embed);
    buf_printf(to, ".%s", schema_field_name(at->field));
}

/* The last `parts` dotted parts of a type's name: "v1.Container". */
static const char *tail(const char *name, int parts)
{
    const char *at = name + strlen(name);
    while (at > name) {
        if (at[-1] == '.' && --parts == 0)
            break;
        at--;
    }
    return at;
}

static void go_type(const struct schema_type *t, struct buf *to)
{
    static const char *const names[] = {
        [SCHEMA_STRING] = "string", [SCHEMA_BYTES] = "[]uint8", [SCHEMA_BOOL] = "bool", [SCHEMA_INT32] = "int32",
        [SCHEMA_INT64] = "int64", [SCHEMA_DOUBLE] = "float64", [SCHEMA_QUANTITY] = "resource.Quantity",
        [SCHEMA_TIME] = "string", [SCHEMA_MICRO_TIME] = "string", [SCHEMA_INT_OR_STRING] = "int32", [SCHEMA_OBJECT] = "",
        [SCHEMA_LIST] = "[]", [SCHEMA_MAP] = "map[string]", [SCHEMA_ANY] = "interface {}",
    };
    enum schema_shape shape = schema_shape(t);
    buf_str(to, shape == SCHEMA_OBJECT ? tail(schema_type_name(t), 2) : names[shape]);
    if (shape == SCHEMA_LIST || shape == SCHEMA_MAP)
        go_type(schema_elem(t), to);
}

void object_go_path(const struct object_at *at, const struct schema_type *type, const char *go, struct buf *to)
{
    const struct object_at *innermost = at;
    while (innermost && !innermost->owner)
        innermost = innermost->up;
    if (innermost) {
        buf_printf(to, "Go struct field %s", tail(schema_type_name(innermost->owner), 1));
        go_fields(at, to);
    } else {
        buf_str(to, "Go value");
    }
    buf_str(to, " of type ");
    if (go)
        buf_str(to, go);
    else
        go_type(type, to);
}
