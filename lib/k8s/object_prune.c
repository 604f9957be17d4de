/*
 * object_prune - decodes a tree as Go decodes and encodes the type: what is checked, dropped, rewritten and filled in.
 *
 * The rules are encoding/json's: null leaves a value as it is (zero); a plain field is left out when it is zero and has omitempty,
 * but a struct, time, quantity or int-or-string is never "empty" to Go, so it is always written.
 */
#include "lib/k8s/object_int.h"

#include "lib/clock.h"
#include "lib/k8s/quantity.h"

#include <inttypes.h>
#include <string.h>

enum { UNKNOWN_MAX = 100 }; /* as sigs.k8s.io/json; the rest is dropped without a word */

struct prune {
    object_unknown_fn *unknown;
    void *arg;
    size_t n_unknown;
    bool *ret_kept; /* NULL: nothing is kept */
    struct err *err;
};

static const char quantity_words[] =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

static int decode(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, json_t *v, json_t **ret);

/* --- failures --- */

/* `what`: "string", or "number 1.5" where Go shows the literal. */
static int mismatch_text(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, const char *what)
{
    AUTO(buf) struct buf where = { 0 };
    object_go_path(at, t, go, &where);
    return err_set(p->err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into %s", what, buf_at(&where));
}

static int mismatch(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, const json_t *v)
{
    static const char *const names[] = { [JSON_OBJECT] = "object", [JSON_ARRAY] = "array",  [JSON_STRING] = "string",
                                         [JSON_INTEGER] = "number", [JSON_REAL] = "number", [JSON_TRUE] = "bool",
                                         [JSON_FALSE] = "bool",    [JSON_NULL] = "null" };
    return mismatch_text(p, t, go, at, names[json_typeof(v)]);
}

static int bad_number(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, const json_t *v)
{
    AUTO(buf) struct buf what = { 0 };
    buf_str(&what, "number ");
    json_write(v, &what);
    return mismatch_text(p, t, go, at, buf_at(&what));
}

static void unknown_field(struct prune *p, const struct object_at *at)
{
    if (!p->unknown || p->n_unknown >= UNKNOWN_MAX)
        return;
    AUTO(buf) struct buf path = { 0 }, text = { 0 };
    object_path(at, false, &path);
    buf_printf(&text, "unknown field \"%s\"", buf_at(&path));
    p->n_unknown++;
    p->unknown(p->arg, buf_at(&text));
}

/* --- what an absent value is to Go --- */

static void fill(const struct schema_type *t, json_t *object);

static json_t *zero_value(const struct schema_type *t)
{
    json_t *o;
    switch (schema_shape(t)) {
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        return json_string("");
    case SCHEMA_BOOL:
        return json_false();
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_DOUBLE:
    case SCHEMA_INT_OR_STRING:
        return json_integer(0);
    case SCHEMA_QUANTITY:
        return json_string("0");
    case SCHEMA_OBJECT:
        o = json_object();
        fill(t, o);
        return o;
    default:
        return json_null();
    }
}

/* Whether Go writes the field although it has no value. */
static bool is_filled(const struct schema_field *f, enum schema_shape shape)
{
    if (schema_field_always(f))
        return true;
    if (schema_field_pointer(f) || schema_field_omit_zero(f))
        return false;
    return shape == SCHEMA_OBJECT || shape == SCHEMA_TIME || shape == SCHEMA_MICRO_TIME || shape == SCHEMA_QUANTITY ||
           shape == SCHEMA_INT_OR_STRING || shape == SCHEMA_ANY;
}

static void fill(const struct schema_type *t, json_t *object)
{
    size_t n = schema_fields(t);
    for (size_t i = 0; i < n; i++) {
        const struct schema_field *f = schema_field_at(t, i);
        const struct schema_type *ft = schema_field_type(f);
        if (!is_filled(f, schema_shape(ft)) || json_object_get(object, schema_field_name(f)))
            continue;
        json_object_set_new_nocheck(object, schema_field_name(f), schema_field_pointer(f) ? json_null() : zero_value(ft));
    }
}

/* A decoded value that is Go's zero: left out, or where it is always written, written as that (an empty list or map as null, for
 * storage keeps no difference). */
static bool is_zero(const struct schema_field *f, const json_t *v)
{
    if (json_is_null(v))
        return true;
    if (schema_field_pointer(f))
        return false;
    switch (schema_shape(schema_field_type(f))) {
    case SCHEMA_LIST:
        return json_array_size(v) == 0;
    case SCHEMA_MAP:
        return json_object_size(v) == 0;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        return json_string_length(v) == 0;
    case SCHEMA_BOOL:
        return json_is_false(v);
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_DOUBLE:
        return json_number_value(v) == 0;
    default:
        return false;
    }
}

/* --- scalars: *ret is a new value to put in place, or stays NULL --- */

static int decode_int(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, json_t *v)
{
    if (json_is_real(v))
        return bad_number(p, t, go, at, v);
    if (!json_is_integer(v))
        return mismatch(p, t, go, at, v);
    json_int_t i = json_integer_value(v);
    if (schema_shape(t) != SCHEMA_INT64 && (i < INT32_MIN || i > INT32_MAX))
        return bad_number(p, t, go, at, v);
    return 0;
}

static int decode_quantity(struct prune *p, json_t *v, json_t **ret)
{
    AUTO(buf) struct buf number = { 0 };
    const char *text = json_string_value(v);
    size_t n = json_string_length(v);
    if (json_is_number(v)) {
        json_write(v, &number);
        text = buf_at(&number);
        n = buf_len(&number);
    } else if (!text) {
        return err_set(p->err, ERR_BAD_REQUEST, "%s", quantity_words);
    }
    char canonical[QUANTITY_TEXT_BYTES];
    int rc = quantity_stored_text(text, n, canonical, p->err);
    if (rc)
        return rc;
    if (!json_is_string(v) || n != strlen(canonical) || memcmp(text, canonical, n) != 0)
        *ret = json_string_nocheck(canonical);
    return 0;
}

static int decode_time(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, json_t *v, json_t **ret)
{
    char canonical[CLOCK_TEXT_BYTES];
    if (!json_is_string(v))
        return mismatch(p, t, go, at, v);
    const char *text = json_string_value(v); /* cut at a NUL, which then lacks what must follow or is rewritten */
    int rc = object_time(text, schema_shape(t) == SCHEMA_MICRO_TIME, canonical, p->err);
    if (rc)
        return rc;
    if (strncmp(canonical, "0001-01-01T00:00:00", 19) == 0) /* Go's zero time, which it writes as null */
        *ret = json_null();
    else if (strcmp(text, canonical) != 0)
        *ret = json_string_nocheck(canonical);
    return 0;
}

/* Also a list of byte values, as Go takes it. */
static int decode_bytes(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, json_t *v, json_t **ret)
{
    if (json_is_string(v))
        return object_base64(json_string_value(v), json_string_length(v), ret, p->err);
    if (!json_is_array(v))
        return mismatch(p, t, go, at, v);
    AUTO(buf) struct buf raw = { 0 }, text = { 0 };
    for (size_t i = 0; i < json_array_size(v); i++) {
        json_t *e = json_array_get(v, i);
        json_int_t byte = json_integer_value(e);
        if (!json_is_integer(e) && !json_is_null(e))
            return mismatch(p, t, "uint8", at, e);
        if (byte < 0 || byte > UINT8_MAX)
            return bad_number(p, t, "uint8", at, e);
        buf_char(&raw, (char)byte);
    }
    object_base64_write((const unsigned char *)buf_at(&raw), buf_len(&raw), &text);
    *ret = json_stringn(buf_at(&text), buf_len(&text));
    return 0;
}

/* --- objects, lists, maps --- */

/* The Go type of a list's or map's elements, from its own where that is spelt out. */
static const char *elem_go(const char *go)
{
    const char *end = go && (strncmp(go, "[]", 2) == 0 || strncmp(go, "map[", 4) == 0) ? strchr(go, ']') : NULL;
    return end ? end + 1 : NULL;
}

static int decode_list(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *up, json_t *v)
{
    if (!json_is_array(v))
        return mismatch(p, t, go, up, v);
    const struct schema_type *elem = schema_elem(t);
    struct object_at at = { .up = up };
    for (; at.index < json_array_size(v); at.index++) {
        json_t *e = json_array_get(v, at.index), *new = NULL;
        int rc = 0;
        if (json_is_null(e))
            new = zero_value(elem);
        else
            rc = decode(p, elem, elem_go(go), &at, e, &new);
        if (rc)
            return rc;
        if (new)
            json_array_set_new(v, at.index, new);
    }
    return 0;
}

static int decode_map(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *up, json_t *v)
{
    if (!json_is_object(v))
        return mismatch(p, t, go, up, v);
    const struct schema_type *elem = schema_elem(t);
    for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
        struct object_at at = { .up = up, .key = json_object_iter_key(it), .key_n = json_object_iter_key_len(it) };
        json_t *e = json_object_iter_value(it), *new = NULL;
        int rc = 0;
        if (json_is_null(e))
            new = zero_value(elem);
        else
            rc = decode(p, elem, elem_go(go), &at, e, &new);
        if (rc)
            return rc;
        if (new)
            json_object_iter_set_new(v, it, new);
    }
    return 0;
}

/* An empty list or map where Go tells it from none: the field is written in either case. */
static bool is_kept(struct prune *p, const struct schema_field *f, const json_t *v)
{
    if (!p->ret_kept || !schema_field_always(f) || schema_field_pointer(f) || (!json_is_array(v) && !json_is_object(v)))
        return false;
    *p->ret_kept = true;
    return true;
}

/* One member. *ret_drop: it goes. */
static int decode_field(struct prune *p, const struct object_at *at, void *it, json_t *object, bool *ret_drop)
{
    json_t *v = json_object_iter_value(it), *new = NULL;
    const struct schema_type *t = schema_field_type(at->field);
    if (!json_is_null(v)) {
        int rc = decode(p, t, schema_field_go_type(at->field), at, v, &new);
        if (rc)
            return rc;
    }
    bool zero = is_zero(at->field, new ? new : v) && !is_kept(p, at->field, new ? new : v);
    *ret_drop = zero && !is_filled(at->field, schema_shape(t));
    if (zero && !*ret_drop) {
        json_decref(new);
        new = schema_field_pointer(at->field) ? json_null() : zero_value(t);
    }
    if (new)
        json_object_iter_set_new(object, it, new);
    return 0;
}

static int decode_object(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *up, json_t *v)
{
    if (!json_is_object(v))
        return mismatch(p, t, go, up, v);
    for (void *it = json_object_iter(v), *next; it; it = next) {
        next = json_object_iter_next(v, it);
        const char *key = json_object_iter_key(it);
        size_t n = json_object_iter_key_len(it);
        struct object_at at = { .up = up, .owner = t, .field = schema_field(t, key, n) };
        bool drop = true;
        if (at.field) {
            int rc = decode_field(p, &at, it, v, &drop);
            if (rc)
                return rc;
        } else {
            at.key = key;
            at.key_n = n;
            unknown_field(p, &at);
        }
        if (drop)
            json_object_deln(v, key, n);
    }
    fill(t, v);
    return 0;
}

static int decode(struct prune *p, const struct schema_type *t, const char *go, const struct object_at *at, json_t *v, json_t **ret)
{
    switch (schema_shape(t)) {
    case SCHEMA_STRING:
        return json_is_string(v) ? 0 : mismatch(p, t, go, at, v);
    case SCHEMA_BYTES:
        return decode_bytes(p, t, go, at, v, ret);
    case SCHEMA_BOOL:
        return json_is_boolean(v) ? 0 : mismatch(p, t, go, at, v);
    case SCHEMA_INT32:
    case SCHEMA_INT64:
        return decode_int(p, t, go, at, v);
    case SCHEMA_DOUBLE:
        return json_is_number(v) ? 0 : mismatch(p, t, go, at, v);
    case SCHEMA_QUANTITY:
        return decode_quantity(p, v, ret);
    case SCHEMA_INT_OR_STRING:
        return json_is_string(v) ? 0 : decode_int(p, t, go, at, v);
    case SCHEMA_TIME:
    case SCHEMA_MICRO_TIME:
        return decode_time(p, t, go, at, v, ret);
    case SCHEMA_OBJECT:
        return decode_object(p, t, go, at, v);
    case SCHEMA_LIST:
        return decode_list(p, t, go, at, v);
    case SCHEMA_MAP:
        return decode_map(p, t, go, at, v);
    case SCHEMA_ANY:
        return 0;
    }
    return 0;
}

int object_prune(const struct schema_type *type, json_t *object, object_unknown_fn *unknown, void *arg, struct err *err)
{
    struct prune p = { .unknown = unknown, .arg = arg, .err = err };
    return decode_object(&p, type, NULL, NULL, object);
}

int object_prune_keeping(const struct schema_type *type, json_t *object, object_unknown_fn *unknown, void *arg, bool *ret_kept, struct err *err)
{
    struct prune p = { .unknown = unknown, .arg = arg, .ret_kept = ret_kept, .err = err };
    return decode_object(&p, type, NULL, NULL, object);
}
