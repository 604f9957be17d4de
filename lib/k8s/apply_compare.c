#include "lib/k8s/apply_int.h"

#include <string.h>

bool apply_equal(const json_t *x, const json_t *y)
{
    const char *key;
    size_t n;
    json_t *m;

    if (x == y)
        return true;
    if (json_is_number(x) && json_is_number(y))
        return json_is_integer(x) && json_is_integer(y) ? json_integer_value(x) == json_integer_value(y)
                                                        : json_number_value(x) == json_number_value(y);
    if (json_typeof(x) != json_typeof(y))
        return false;
    switch (json_typeof(x)) {
    case JSON_STRING:
        return json_string_length(x) == json_string_length(y) &&
               memcmp(json_string_value(x), json_string_value(y), json_string_length(x)) == 0;
    case JSON_ARRAY:
        if (json_array_size(x) != json_array_size(y))
            return false;
        for (size_t i = 0; i < json_array_size(x); i++)
            if (!apply_equal(json_array_get(x, i), json_array_get(y, i)))
                return false;
        return true;
    case JSON_OBJECT:
        if (json_object_size(x) != json_object_size(y))
            return false;
        json_object_keylen_foreach((json_t *)(uintptr_t)x, key, n, m) {
            const json_t *other = json_object_getn(y, key, n);

            if (!other || !apply_equal(m, other))
                return false;
        }
        return true;
    default:
        return true; /* true, false, null: the type says it all */
    }
}

/* What one node says to its parent. */
struct verdict {
    bool changed, removed; /* the node itself */
    struct apply_difference below;
};

/* `zero`: lhs is a struct as Go makes it, without a tree. */
static struct verdict compare(struct arena *a, const struct schema_type *type, json_t *lhs, bool zero, json_t *rhs);

static struct verdict leaf(json_t *lhs, json_t *rhs)
{
    struct verdict v = { 0 };

    if (!lhs || (rhs && !apply_equal(lhs, rhs)))
        v.changed = true;
    else if (!rhs)
        v.removed = true;
    return v;
}

struct builders {
    struct fs_builder changed, removed;
};

static void note(struct builders *b, struct fs_element at, const struct verdict *v)
{
    fs_add(&b->changed, at, v->changed, v->below.changed);
    fs_add(&b->removed, at, v->removed, v->below.removed);
}

static struct apply_difference built(struct builders *b)
{
    return (struct apply_difference){ fieldset_build(&b->changed), fieldset_build(&b->removed) };
}

static bool is_zero(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:  return json_string_length(v) == 0;
    case JSON_INTEGER: return json_integer_value(v) == 0;
    case JSON_FALSE:
    case JSON_NULL:    return true;
    default:           return false;
    }
}

/* A member of rhs where lhs is a new struct. */
static struct verdict against_zero(struct arena *a, const struct schema_field *f, const struct schema_type *t, json_t *v)
{
    if (f && json_is_null(v)) /* a value Go writes as null, and did before */
        return (struct verdict){ 0 };
    if (!f || !t)
        return t ? compare(a, t, NULL, false, v) : leaf(NULL, v);
    if (schema_shape(t) == SCHEMA_OBJECT && !schema_field_pointer(f)) {
        if (schema_atomic(t))
            return json_is_object(v) && json_object_size(v) == 0 ? (struct verdict){ 0 } : leaf(NULL, v);
        return compare(a, t, NULL, true, v);
    }
    if (!schema_field_always(f))
        return compare(a, t, NULL, false, v);
    if (is_zero(v))
        return (struct verdict){ 0 };
    json_t *null = json_null();
    return compare(a, t, null, false, v);
}

/* A struct that Go writes even when it is empty: its absence is the same as {}. */
static bool always_there(const struct schema_field *f, const struct schema_type *t)
{
    return f && t && schema_shape(t) == SCHEMA_OBJECT && !schema_field_pointer(f);
}

static struct apply_difference compare_maps(struct arena *a, const struct schema_type *type, json_t *lhs, bool zero, json_t *rhs)
{
    struct builders b = { { .arena = a }, { .arena = a } };
    const struct schema_field *f;
    const char *key;
    size_t n;
    json_t *v;

    json_object_keylen_foreach(rhs, key, n, v) {
        const struct schema_type *t = apply_member_type(type, key, n, &f);
        json_t *old = json_object_getn(lhs, key, n);
        bool made = zero || (lhs && !old && always_there(f, t));
        struct verdict said = made ? against_zero(a, f, t, v) : t ? compare(a, t, old, false, v) : leaf(old, v);

        note(&b, (struct fs_element){ .kind = FS_FIELD, .name = { key, n } }, &said);
    }
    json_object_keylen_foreach(lhs, key, n, v) {
        if (json_object_getn(rhs, key, n))
            continue;
        const struct schema_type *t = apply_member_type(type, key, n, &f);
        AUTO(json) json_t *left = rhs && always_there(f, t) ? json_object() : NULL;
        struct verdict said = t ? compare(a, t, v, false, left) : leaf(v, NULL);

        note(&b, (struct fs_element){ .kind = FS_FIELD, .name = { key, n } }, &said);
    }
    return built(&b);
}

static bool same_run(struct apply_entry **x, size_t n, struct apply_entry **y, size_t m)
{
    if (n != m)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!apply_equal(x[i]->item, y[i]->item))
            return false;
    return true;
}

/* n items of lhs and m of rhs share one element. Duplicates count as one atomic whole. */
static void compare_run(struct arena *a, const struct schema_type *elem, struct apply_entry **x, size_t n,
                        struct apply_entry **y, size_t m, struct builders *b)
{
    struct fs_element at = n ? x[0]->at : y[0]->at;
    struct verdict v = { 0 };

    if (n <= 1 && m <= 1) {
        v = compare(a, elem, n ? x[0]->item : NULL, false, m ? y[0]->item : NULL);
    } else if (n >= 2 && m >= 2) {
        v.changed = !same_run(x, n, y, m);
    } else if (n >= 2) {
        if (m)
            v = compare(a, elem, NULL, false, y[0]->item);
        v.removed = true;
    } else {
        if (n)
            v = compare(a, elem, x[0]->item, false, NULL);
        v.changed = true;
    }
    note(b, at, &v);
}

static size_t run_at(const struct apply_list *l, size_t from)
{
    size_t to = from + 1;

    while (to < l->n && l->sorted[to]->again)
        to++;
    return to - from;
}

static struct apply_difference compare_lists(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs)
{
    struct builders b = { { .arena = a }, { .arena = a } };
    struct apply_list x, y;
    size_t i = 0, j = 0;

    apply_list_of(a, type, lhs, &x);
    apply_list_of(a, type, rhs, &y);
    while (i < x.n || j < y.n) {
        int c = i == x.n ? 1 : j == y.n ? -1 : fs_compare(&x.sorted[i]->at, &y.sorted[j]->at);
        size_t n = c <= 0 ? run_at(&x, i) : 0, m = c >= 0 ? run_at(&y, j) : 0;

        compare_run(a, schema_elem(type), n ? x.sorted + i : NULL, n, m ? y.sorted + j : NULL, m, &b);
        i += n;
        j += m;
    }
    return built(&b);
}

static bool holds_nothing(const json_t *v)
{
    return !v || (json_object_size(v) == 0 && json_array_size(v) == 0);
}

/* Both sides there, one of ANY's shapes each: both are told. */
static struct verdict compare_shapes(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs)
{
    enum apply_form l = apply_form(type, lhs), r = apply_form(type, rhs);
    struct verdict v = { .changed = true };

    if (r == APPLY_MAP)
        v.below = compare_maps(a, type, NULL, false, rhs);
    else if (l == APPLY_MAP)
        v.below = compare_maps(a, type, lhs, false, NULL);
    return v;
}

static struct verdict compare(struct arena *a, const struct schema_type *type, json_t *lhs, bool zero, json_t *rhs)
{
    enum apply_form form = apply_form(type, rhs ? rhs : lhs);
    struct verdict v = { 0 };

    if (lhs && rhs && lhs == rhs)
        return v;
    if (lhs && rhs && schema_shape(type) == SCHEMA_ANY && form != apply_form(type, lhs))
        return compare_shapes(a, type, lhs, rhs);
    if (zero && holds_nothing(rhs))
        return v;
    if (form == APPLY_SCALAR || form == APPLY_ATOMIC || (!zero && holds_nothing(lhs) && holds_nothing(rhs)))
        return leaf(lhs, rhs);
    v.below = form == APPLY_MAP ? compare_maps(a, type, json_is_object(lhs) ? lhs : NULL, zero, json_is_object(rhs) ? rhs : NULL)
                                : compare_lists(a, type, lhs, rhs);
    v.changed = !lhs && !zero;
    v.removed = !rhs;
    return v;
}

struct apply_difference apply_compare(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs)
{
    return compare(a, type, lhs, lhs == NULL, rhs).below;
}
