#include "lib/k8s/patch_strategic_int.h"
#include "lib/k8s/status.h"

#include <string.h>

/* --- words --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void go_text(const json_t *v, struct buf *to)
{
    if (!v)
        return; /* under a key that holds a NUL */
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        AUTO_FREE const char **keys = mem_alloc((json_object_size(v) + 1) * sizeof(*keys));
        const char *key;
        json_t *m;
        size_t n = 0;

        json_object_foreach((json_t *)(uintptr_t)v, key, m)
            keys[n++] = key;
        qsort(keys, n, sizeof(*keys), by_text);
        buf_str(to, "map[");
        for (size_t i = 0; i < n; i++) {
            buf_printf(to, "%s%s:", i ? " " : "", keys[i]);
            go_text(json_object_get(v, keys[i]), to);
        }
        buf_char(to, ']');
        return;
    }
    case JSON_ARRAY:
        for (size_t i = 0; i < json_array_size(v); i++) {
            buf_char(to, i ? ' ' : '[');
            go_text(json_array_get(v, i), to);
        }
        buf_str(to, json_array_size(v) ? "]" : "[]");
        return;
    case JSON_STRING: buf_str(to, json_string_value(v)); return;
    case JSON_NULL:   buf_str(to, "<nil>"); return;
    default:          json_write(v, to); return;
    }
}

const char *strategic_go_text(struct ctx *ctx, const json_t *v)
{
    AUTO(buf) struct buf text = { 0 };

    go_text(v, &text);
    return arena_strndup(ctx->arena, buf_at(&text), buf_len(&text));
}

static const char *go_type(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:  return "map[string]interface {}";
    case JSON_ARRAY:   return "[]interface {}";
    case JSON_STRING:  return "string";
    case JSON_INTEGER: return "int64";
    case JSON_REAL:    return "float64";
    case JSON_NULL:    return "%!s(<nil>)";
    default:           return "bool";
    }
}

int strategic_bad_kind(struct ctx *ctx, const char *expected, const json_t *got, struct err *err)
{
    return status_plain(ctx, err, "expected a %s, but received a %s", expected, go_type(got));
}

int strategic_no_key(struct ctx *ctx, const json_t *map, const char *key, struct err *err)
{
    return status_plain(ctx, err, "map: %s does not contain declared merge key: %s", strategic_go_text(ctx, map), key);
}

/* --- the schema --- */

static int look_up(struct ctx *ctx, const struct schema_type *type, const char *key, struct strategic_field *ret,
                   struct err *err)
{
    if (!type || schema_shape(type) != SCHEMA_OBJECT)
        return status_plain(ctx, err, "merging an object in json but data type is not struct, instead is: %s",
                            type && schema_shape(type) == SCHEMA_LIST ? "slice" : "map");
    const struct schema_field *f = schema_field(type, key, strlen(key));
    if (!f) {
        const char *name = strrchr(schema_type_name(type), '.');

        return status_plain(ctx, err, "unable to find api field in struct %s for the json field %s", name ? name + 1 : "",
                            go_quote(ctx->arena, key));
    }
    const struct schema_type *t = schema_field_type(f);
    unsigned strategy = schema_patch_strategy(t);
    const char *merge_key = schema_patch_key(t);
    *ret = (struct strategic_field){ .type = t, .merge = (strategy & SCHEMA_PATCH_MERGE) != 0,
                                     .replace = (strategy & SCHEMA_PATCH_REPLACE) != 0, .key = merge_key ? merge_key : "" };
    return 0;
}

static int look_up_list(struct ctx *ctx, const struct schema_type *type, const char *key, struct strategic_field *ret,
                        struct err *err)
{
    int rc = look_up(ctx, type, key, ret, err);

    if (rc == 0 && schema_shape(ret->type) != SCHEMA_LIST)
        return status_plain(ctx, err, "expected slice or array type, but got: struct");
    if (rc == 0)
        ret->type = schema_elem(ret->type);
    return rc;
}

/* --- directives --- */

/* v without what carries a $patch; false when v itself does. In place. */
static bool remove_directives(json_t *v)
{
    const char *key;
    json_t *m;
    void *next;

    if (json_is_object(v)) {
        if (json_object_get(v, "$patch"))
            return false;
        json_object_foreach_safe(v, next, key, m) {
            if (!remove_directives(m))
                json_object_del(v, key);
        }
    }
    for (size_t i = json_array_size(v); i-- > 0;)
        if (!remove_directives(json_array_get(v, i)))
            json_array_remove(v, i);
    return true;
}

static void discard_nulls(json_t *v)
{
    const char *key;
    json_t *m;
    void *next;

    if (json_is_object(v)) {
        json_object_foreach_safe(v, next, key, m) {
            if (json_is_null(m))
                json_object_del(v, key);
            else
                discard_nulls(m);
        }
    }
    for (size_t i = 0; i < json_array_size(v); i++)
        discard_nulls(json_array_get(v, i));
}

static bool directive_key(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

/* The field that "$prefix/field" speaks of; NULL when it is not of that form. */
static const char *field_of(const char *key, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(key, prefix, n) == 0 && key[n] == '/' ? key + n + 1 : NULL;
}

/* The list's strings as keys. */
static json_t *set_of(const json_t *list)
{
    json_t *set = json_object();

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s)
            json_object_set_new_nocheck(set, s, json_true());
    }
    return set;
}

static int retain_keys(struct ctx *ctx, json_t *original, json_t *patch, struct err *err)
{
    AUTO(json) json_t *keep = json_incref(json_object_get(patch, STRATEGIC_RETAIN));
    const char *key;
    json_t *v;
    void *next;

    if (!keep)
        return 0;
    json_object_del(patch, STRATEGIC_RETAIN);
    if (!json_is_array(keep))
        return status_bad_request(ctx, err, "invalid patch format of retainKeys");
    AUTO(json) json_t *kept = set_of(keep);
    json_object_foreach(patch, key, v) {
        if (json_is_null(v) || directive_key(key, STRATEGIC_DELETE) || directive_key(key, STRATEGIC_SET_ORDER))
            continue;
        if (!json_object_get(kept, key))
            return status_bad_request(ctx, err, "invalid patch format of retainKeys");
    }
    json_object_foreach_safe(original, next, key, v) {
        if (!json_object_get(kept, key))
            json_object_del(original, key);
    }
    return 0;
}

/* --- $setElementOrder --- */

/* A field's list, NULL when absent. */
static int list_of(struct ctx *ctx, const json_t *map, const char *field, json_t **ret, struct err *err)
{
    json_t *v = json_object_get(map, field);

    if (v && !json_is_array(v))
        return strategic_bad_kind(ctx, "[]interface {}", v, err);
    *ret = v;
    return 0;
}

/* The two lists as one, not yet ordered. A new reference. */
static int joined(struct ctx *ctx, const struct strategic_field *f, json_t *live, json_t *patch, json_t **ret, struct err *err)
{
    if (!patch) {
        *ret = json_incref(live);
        return 0;
    }
    if (live && f->merge)
        return strategic_list(ctx, f, live, patch, false, ret, err);
    if (!live)
        (void)remove_directives(patch); /* a list itself carries none */
    *ret = json_incref(patch);
    return 0;
}

static int set_order(struct ctx *ctx, const struct schema_type *type, json_t *original, json_t *patch, const char *field,
                     json_t *wanted, struct err *err)
{
    struct strategic_field f;
    AUTO(json) json_t *merged = NULL;
    AUTO(json) json_t *live_held = NULL;
    json_t *live = NULL, *change = NULL, *ordered = NULL;
    json_type kind;

    if (!json_is_array(wanted))
        return strategic_bad_kind(ctx, "[]interface {}", wanted, err);
    if (!field)
        return status_bad_request(ctx, err, "invalid patch format of setElementOrder list");
    int rc = list_of(ctx, original, field, &live, err);
    if (rc == 0)
        rc = list_of(ctx, patch, field, &change, err);
    if (rc == 0)
        rc = look_up_list(ctx, type, field, &f, err);
    if (rc == 0 && change)
        rc = strategic_check_order(ctx, change, wanted, f.key, err);
    if (rc < 0)
        return rc;
    if (!live && !change)
        return 0;
    live_held = live ? json_copy(live) : json_array(); /* its order, whatever merging does to it */
    rc = strategic_item_type(ctx, live_held, change, &kind, err);
    if (rc == 0)
        rc = joined(ctx, &f, live, change, &merged, err);
    if (rc == 0)
        rc = strategic_order(ctx, merged, wanted, live_held, f.key, &ordered, err);
    if (rc < 0)
        return rc;
    json_object_set_new_nocheck(original, field, ordered);
    json_object_del(patch, field);
    return 0;
}

/* Takes one order directive out of the patch at a time, for each may take its list along. */
static int set_orders(struct ctx *ctx, const struct schema_type *type, json_t *original, json_t *patch, struct err *err)
{
    for (;;) {
        const char *key, *found = NULL;
        json_t *v;

        json_object_foreach(patch, key, v) {
            if (directive_key(key, STRATEGIC_SET_ORDER)) {
                found = arena_strdup(ctx->arena, key);
                break;
            }
        }
        if (!found)
            return 0;
        AUTO(json) json_t *wanted = json_incref(json_object_get(patch, found));
        json_object_del(patch, found);
        int rc = set_order(ctx, type, original, patch, field_of(found, STRATEGIC_SET_ORDER), wanted, err);
        if (rc < 0)
            return rc;
    }
}

/* --- maps --- */

static json_type kind_of(const json_t *v)
{
    return json_is_boolean(v) ? JSON_TRUE : json_typeof(v);
}

/* A member that the original has in the same kind. */
static int merge_member(struct ctx *ctx, const struct schema_type *type, const char *key, json_t *original, json_t *patch,
                        bool deletes, struct err *err)
{
    json_t *old = json_object_get(original, key), *merged = NULL;
    bool map = json_is_object(patch);
    struct strategic_field f;
    int rc = map ? look_up(ctx, type, key, &f, err) : look_up_list(ctx, type, key, &f, err);

    if (rc < 0)
        return rc;
    if (map ? f.replace : !f.merge && !deletes)
        merged = json_incref(patch);
    else if (map)
        rc = strategic_map(ctx, f.type, old, patch, &merged, err);
    else
        rc = strategic_list(ctx, &f, old, patch, deletes, &merged, err);
    if (rc == 0)
        json_object_set_new_nocheck(original, key, merged);
    return rc;
}

static int member(struct ctx *ctx, const struct schema_type *type, json_t *original, const char *key, json_t *v, struct err *err)
{
    bool deletes = directive_key(key, STRATEGIC_DELETE);
    json_t *old;

    if (deletes)
        key = field_of(key, STRATEGIC_DELETE);
    if (!key)
        return status_bad_request(ctx, err, "invalid patch format of primitive list");
    if (json_is_null(v)) {
        json_object_del(original, key);
        return 0;
    }
    old = json_object_get(original, key);
    if (!old || kind_of(old) != kind_of(v)) {
        if (deletes)
            return 0;
        discard_nulls(v);
        if (remove_directives(v))
            json_object_set_nocheck(original, key, v);
        else
            json_object_del(original, key);
        return 0;
    }
    if (!json_is_object(v) && !json_is_array(v)) {
        json_object_set_nocheck(original, key, v);
        return 0;
    }
    return merge_member(ctx, type, key, original, v, deletes, err);
}

static int whole_map(struct ctx *ctx, const json_t *directive, json_t *patch, json_t **ret, struct err *err)
{
    const char *what = json_string_value(directive);

    if (what && strcmp(what, "replace") == 0) {
        json_object_del(patch, "$patch");
        *ret = json_incref(patch);
        return 0;
    }
    if (what && strcmp(what, "delete") == 0) {
        *ret = json_object();
        return 0;
    }
    return status_plain(ctx, err, "unknown patch type: %s in map: %s", strategic_go_text(ctx, directive),
                        strategic_go_text(ctx, patch));
}

int strategic_map(struct ctx *ctx, const struct schema_type *type, json_t *original, json_t *patch, json_t **ret,
                  struct err *err)
{
    const json_t *directive = json_object_get(patch, "$patch");
    const char *key;
    json_t *v;

    if (directive)
        return whole_map(ctx, directive, patch, ret, err);
    int rc = retain_keys(ctx, original, patch, err);
    if (rc == 0)
        rc = set_orders(ctx, type, original, patch, err);
    if (rc < 0)
        return rc;
    json_object_foreach(patch, key, v) {
        rc = member(ctx, type, original, key, v, err);
        if (rc < 0)
            return rc;
    }
    *ret = json_incref(original);
    return 0;
}

/* No field or map key of the API holds one, and our walks read keys as C strings. */
static bool has_nul_key(const json_t *v)
{
    const char *key;
    size_t n;
    json_t *m;

    json_object_keylen_foreach((json_t *)(uintptr_t)v, key, n, m) {
        if (memchr(key, '\0', n) || has_nul_key(m))
            return true;
    }
    for (size_t i = 0; i < json_array_size(v); i++)
        if (has_nul_key(json_array_get(v, i)))
            return true;
    return false;
}

int patch_strategic(struct ctx *ctx, const struct schema_type *type, const json_t *object, const json_t *patch, json_t **ret,
                    struct err *err)
{
    if (!json_is_object(patch))
        return status_bad_request(ctx, err, "json: cannot unmarshal %s into Go value of type map[string]interface {}",
                                  json_is_array(patch) ? "array" : json_is_string(patch) ? "string"
                                  : json_is_boolean(patch) ? "bool" : "number");
    if (has_nul_key(patch))
        return status_bad_request(ctx, err, "a key in the patch holds a NUL character");
    AUTO(json) json_t *original = json_deep_copy(object);
    AUTO(json) json_t *change = json_deep_copy(patch);
    return strategic_map(ctx, type, original, change, ret, err);
}
