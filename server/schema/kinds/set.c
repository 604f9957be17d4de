#include "server/schema/kinds/set.h"

#include <string.h>

json_t *member(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
}

void set_text(json_t *o, const char *key, const char *value)
{
    const json_t *v = member(o, key);

    if (!v || (json_is_string(v) && json_string_length(v) == 0))
        json_object_set_new(o, key, json_string(value));
}

void set_int(json_t *o, const char *key, int64_t value)
{
    if (!member(o, key))
        json_object_set_new(o, key, json_integer(value));
}

void set_int_zero(json_t *o, const char *key, int64_t value)
{
    const json_t *v = member(o, key);

    if (!v || (json_is_integer(v) && json_integer_value(v) == 0))
        json_object_set_new(o, key, json_integer(value));
}

void set_bool(json_t *o, const char *key, bool value)
{
    if (!member(o, key))
        json_object_set_new(o, key, json_boolean(value));
}

json_t *set_object(json_t *o, const char *key)
{
    json_t *v = member(o, key);

    if (!v && json_is_object(o)) {
        v = json_object();
        json_object_set_new(o, key, v);
    }
    return json_is_object(v) ? v : NULL;
}

void set_missing(json_t *to, const json_t *from)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)from, key, v)
        if (!json_object_get(to, key))
            json_object_set_new(to, key, json_deep_copy(v));
}

bool is_text(const json_t *o, const char *path, const char *value)
{
    const char *s = json_str(o, path);

    return s && strcmp(s, value) == 0;
}

void set_from(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);

    if (v)
        json_object_set(to, key, v);
    else
        json_object_del(to, key);
}
