/* openapi_type - a named type as a JSON schema, in the spelling of kube-openapi. */
#include "lib/k8s/openapi_int.h"

#include "lib/json.h"

#include <string.h>

void openapi_ref(struct openapi *o, const char *type_name)
{
    buf_printf(o->to, "\"$ref\":\"#/%s/%s\"", o->v3 ? "components/schemas" : "definitions", type_name);
}

void openapi_gvk(struct openapi *o, const char *group, const char *version, const char *kind)
{
    buf_printf(o->to, "{\"group\":\"%s\",\"kind\":\"%s\",\"version\":\"%s\"}", group, kind, version);
}

static void text(struct openapi *o, const char *before, const char *s)
{
    buf_str(o->to, before);
    json_write_string(slice_of(s), o->to);
}

/* "type" and "format" of what is no object, list or map. */
static void scalar(struct openapi *o, enum schema_shape shape)
{
    static const char *const text_of[] = {
        [SCHEMA_STRING] = "\"type\":\"string\"",
        [SCHEMA_BYTES] = "\"type\":\"string\",\"format\":\"byte\"",
        [SCHEMA_BOOL] = "\"type\":\"boolean\"",
        [SCHEMA_INT32] = "\"type\":\"integer\",\"format\":\"int32\"",
        [SCHEMA_INT64] = "\"type\":\"integer\",\"format\":\"int64\"",
        [SCHEMA_DOUBLE] = "\"type\":\"number\",\"format\":\"double\"",
        [SCHEMA_TIME] = "\"type\":\"string\",\"format\":\"date-time\"",
        [SCHEMA_MICRO_TIME] = "\"type\":\"string\",\"format\":\"date-time\"",
        [SCHEMA_ANY] = "\"type\":\"object\"",
    };
    if (shape == SCHEMA_QUANTITY)
        buf_str(o->to, o->v3 ? "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]" : "\"type\":\"string\"");
    else if (shape == SCHEMA_INT_OR_STRING)
        buf_str(o->to, o->v3 ? "\"format\":\"int-or-string\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]"
                             : "\"type\":\"string\",\"format\":\"int-or-string\"");
    else
        buf_str(o->to, text_of[shape]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void enumeration(struct openapi *o, const struct schema_type *t)
{
    enum { MAX = 128 };
    const char *values[MAX];
    size_t n = schema_enum(t);
    if (n == 0 || n > MAX)
        return;
    for (size_t i = 0; i < n; i++)
        values[i] = schema_enum_at(t, i);
    qsort(values, n, sizeof(values[0]), by_text);
    for (size_t i = 0; i < n; i++)
        text(o, i ? "," : ",\"enum\":[", values[i]);
    buf_char(o->to, ']');
}

/* A type where it is used, without braces. */
static void used(struct openapi *o, const struct schema_type *t)
{
    const char *name = schema_type_name(t);
    if (*name) {
        openapi_ref(o, name);
        return;
    }
    enum schema_shape shape = schema_shape(t);
    if (shape != SCHEMA_LIST && shape != SCHEMA_MAP) {
        scalar(o, shape);
        enumeration(o, t);
        return;
    }
    buf_str(o->to, shape == SCHEMA_LIST ? "\"type\":\"array\",\"items\":{" : "\"type\":\"object\",\"additionalProperties\":{");
    used(o, schema_elem(t));
    buf_char(o->to, '}');
}

static void list_extensions(struct openapi *o, const struct schema_type *t)
{
    static const char *const names[] = { [SCHEMA_LIST_ATOMIC] = "atomic", [SCHEMA_LIST_SET] = "set", [SCHEMA_LIST_MAP] = "map" };
    for (size_t i = 0; i < schema_list_keys(t); i++)
        text(o, i ? "," : ",\"x-kubernetes-list-map-keys\":[", schema_list_key(t, i));
    if (schema_list_keys(t))
        buf_char(o->to, ']');
    buf_printf(o->to, ",\"x-kubernetes-list-type\":\"%s\"", names[schema_list_type(t)]);
}

static void patch_extensions(struct openapi *o, const struct schema_type *t)
{
    unsigned p = schema_patch_strategy(t);
    if (schema_patch_key(t))
        text(o, ",\"x-kubernetes-patch-merge-key\":", schema_patch_key(t));
    if (p)
        buf_printf(o->to, ",\"x-kubernetes-patch-strategy\":\"%s%s%s\"", p & SCHEMA_PATCH_MERGE ? "merge" : "",
                   p & SCHEMA_PATCH_REPLACE ? "replace" : "",
                   p & SCHEMA_PATCH_RETAIN_KEYS ? (p & SCHEMA_PATCH_MERGE ? ",retainKeys" : "retainKeys") : "");
}

/* ,"default":… as kube-openapi gives plain values that are always there. v3 only. */
static void default_value(struct openapi *o, const struct schema_field *f)
{
    const char *json = schema_field_default(f);
    enum schema_shape shape = schema_shape(schema_field_type(f));
    if (!json && schema_field_pointer(f))
        return;
    if (!json && shape == SCHEMA_OBJECT)
        json = "{}";
    if (!json && schema_field_always(f)) {
        json = shape == SCHEMA_STRING ? "\"\"" : shape == SCHEMA_BOOL ? "false" : NULL;
        if (shape == SCHEMA_INT32 || shape == SCHEMA_INT64 || shape == SCHEMA_DOUBLE)
            json = "0";
    }
    if (json)
        buf_printf(o->to, ",\"default\":%s", json);
}

static void property(struct openapi *o, const struct schema_field *f)
{
    const struct schema_type *t = schema_field_type(f);
    const char *name = schema_type_name(t);
    text(o, "", schema_field_name(f));
    buf_str(o->to, ":{");
    if (*name && o->v3) { /* a reference must stand alone; its siblings need allOf */
        buf_str(o->to, "\"allOf\":[{");
        openapi_ref(o, name);
        buf_str(o->to, "}]");
    } else {
        used(o, t);
    }
    if (o->v3)
        default_value(o, f);
    if (schema_shape(t) == SCHEMA_LIST)
        list_extensions(o, t);
    patch_extensions(o, t);
    if (schema_shape(t) == SCHEMA_MAP && schema_atomic(t))
        buf_str(o->to, ",\"x-kubernetes-map-type\":\"atomic\"");
    const struct schema_type *own = *name ? schema_type_find(o->schema, name) : NULL;
    if (own && schema_atomic(own) != schema_atomic(t))
        buf_printf(o->to, ",\"x-kubernetes-map-type\":\"%s\"", schema_atomic(t) ? "atomic" : "granular");
    buf_char(o->to, '}');
}

static void required(struct openapi *o, const struct schema_type *t)
{
    size_t n = 0;
    for (size_t i = 0; i < schema_fields(t); i++) {
        const struct schema_field *f = schema_field_at(t, i);
        if (schema_field_required(f))
            text(o, n++ ? "," : ",\"required\":[", schema_field_name(f));
    }
    if (n)
        buf_char(o->to, ']');
}

/* The kinds a type is. One that every group version takes is named for the core group and the document's. */
static void kinds(struct openapi *o, const struct schema_type *t)
{
    size_t n = 0;
    bool own = !o->v3 || !*o->group;
    const char *last = "";
    for (size_t i = 0; i < schema_kinds(o->schema); i++) {
        const char *group, *version, *kind;
        if (schema_kind_at(o->schema, i, &group, &version, &kind) != t)
            continue;
        buf_str(o->to, n++ ? "," : ",\"x-kubernetes-group-version-kind\":[");
        openapi_gvk(o, group, version, kind);
        own |= o->v3 && strcmp(group, o->group) == 0;
        last = kind;
    }
    if (n && !own && (strcmp(last, "DeleteOptions") == 0 || strcmp(last, "WatchEvent") == 0)) {
        buf_char(o->to, ',');
        openapi_gvk(o, o->group, o->version, last);
    }
    if (n)
        buf_char(o->to, ']');
}

/* Embedded objects are objects; the values inside a custom resource's schema may be anything. */
static bool is_raw_object(const struct schema_type *t)
{
    return strncmp(schema_type_name(t), "io.k8s.apimachinery.", 20) == 0;
}

void openapi_definition(struct openapi *o, const struct schema_type *t)
{
    buf_char(o->to, '{');
    if (schema_shape(t) == SCHEMA_ANY && !is_raw_object(t)) {
        buf_char(o->to, '}');
        return;
    }
    if (schema_shape(t) != SCHEMA_OBJECT) {
        scalar(o, schema_shape(t));
        buf_char(o->to, '}');
        return;
    }
    buf_str(o->to, "\"type\":\"object\"");
    required(o, t);
    for (size_t i = 0; i < schema_fields(t); i++) {
        buf_str(o->to, i ? "," : ",\"properties\":{");
        property(o, schema_field_at(t, i));
    }
    if (schema_fields(t))
        buf_char(o->to, '}');
    kinds(o, t);
    if (schema_atomic(t))
        buf_str(o->to, ",\"x-kubernetes-map-type\":\"atomic\"");
    buf_char(o->to, '}');
}
