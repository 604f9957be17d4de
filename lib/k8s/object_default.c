/* object_default, object_validate - what the schema alone says of defaults and of required and allowed values. */
#include "lib/k8s/object_int.h"

#include <string.h>

/* Defaults are short JSON scalars in the blob; strings among them carry no escapes. */
static json_t *default_value(const char *text)
{
    struct err err;
    json_t *v = NULL;
    if (json_read(text, strlen(text), NULL, NULL, &v, &err) < 0)
        return NULL; /* a heap blob's: was checked when it was made */
    return v;
}

static void default_in(const struct schema_type *t, json_t *v)
{
    const char *key;
    json_t *e;
    size_t i;
    switch (schema_shape(t)) {
    case SCHEMA_OBJECT:
        object_default(t, v);
        break;
    case SCHEMA_LIST:
        if (schema_shape(schema_elem(t)) < SCHEMA_OBJECT)
            break;
        json_array_foreach(v, i, e)
            default_in(schema_elem(t), e);
        break;
    case SCHEMA_MAP:
        if (schema_shape(schema_elem(t)) < SCHEMA_OBJECT)
            break;
        json_object_foreach(v, key, e)
            default_in(schema_elem(t), e);
        break;
    default:
        break;
    }
}

void object_default(const struct schema_type *type, json_t *object)
{
    if (!json_is_object(object))
        return;
    size_t n = schema_fields(type);
    for (size_t i = 0; i < n; i++) {
        const struct schema_field *f = schema_field_at(type, i);
        const char *text = schema_field_default(f);
        enum schema_shape shape = schema_shape(schema_field_type(f));
        if (!text && shape < SCHEMA_OBJECT)
            continue;
        json_t *v = json_object_get(object, schema_field_name(f));
        if (text && (!v || (!schema_field_pointer(f) && json_is_string(v) && json_string_length(v) == 0))) {
            v = default_value(text);
            if (v)
                json_object_set_new_nocheck(object, schema_field_name(f), v);
        }
        if (v)
            default_in(schema_field_type(f), v);
    }
}
