#include "lib/k8s/apply_int.h"

#include <assert.h>
#include <string.h>

enum apply_form apply_form(const struct schema_type *type, const json_t *v)
{
    switch (schema_shape(type)) {
    case SCHEMA_OBJECT:
    case SCHEMA_MAP:
        return schema_atomic(type) ? APPLY_ATOMIC : APPLY_MAP;
    case SCHEMA_LIST:
        return schema_list_type(type) == SCHEMA_LIST_ATOMIC ? APPLY_ATOMIC : APPLY_LIST;
    case SCHEMA_ANY: /* a named type (RawExtension) is one whole; else the value tells: lists are atomic, maps are not */
        if (schema_atomic(type) || *schema_type_name(type))
            return APPLY_ATOMIC;
        return json_is_object(v) ? APPLY_MAP : json_is_array(v) ? APPLY_ATOMIC : APPLY_SCALAR;
    default:
        return APPLY_SCALAR;
    }
}

const struct schema_type *apply_member_type(const struct schema_type *type, const char *key, size_t n,
                                            const struct schema_field **ret_field)
{
    *ret_field = NULL;
    switch (schema_shape(type)) {
    case SCHEMA_OBJECT:
        *ret_field = schema_field(type, key, n);
        return *ret_field ? schema_field_type(*ret_field) : NULL;
    case SCHEMA_MAP:
        return schema_elem(type);
    default:
        return type; /* ANY is ANY all the way down */
    }
}

/* --- lists --- */

/* What a key field counts as when the item leaves it out; false: nothing. OpenAPI gives plain required fields their zero. */
static bool key_default(struct arena *a, const struct schema_type *item_type, const char *key, struct fs_scalar *ret)
{
    const struct schema_field *f =
        schema_shape(item_type) == SCHEMA_OBJECT ? schema_field(item_type, key, strlen(key)) : NULL;
    const char *text = f ? schema_field_default(f) : NULL;
    json_t *v = NULL;
    struct err ignored;

    if (text && json_read(text, strlen(text), NULL, NULL, &v, &ignored) == 0) {
        *ret = fs_scalar_of(a, v);
        if (ret->type == FS_STRING)
            ret->text.at = arena_strndup(a, ret->text.at, ret->text.n);
        json_decref(v);
        return true;
    }
    if (!f || !schema_field_always(f) || schema_field_pointer(f))
        return false;
    switch (schema_shape(schema_field_type(f))) {
    case SCHEMA_STRING: *ret = (struct fs_scalar){ .type = FS_STRING, .text = SLICE_LIT("") }; return true;
    case SCHEMA_INT32:
    case SCHEMA_INT64:  *ret = (struct fs_scalar){ .type = FS_INT }; return true;
    case SCHEMA_BOOL:   *ret = (struct fs_scalar){ .type = FS_BOOL }; return true;
    default:            return false;
    }
}

static int keyed_element(struct arena *a, const struct schema_type *list, const json_t *item, struct fs_element *ret,
                         struct err *err)
{
    size_t n = schema_list_keys(list);
    struct fs_key *keys = arena_alloc(a, n * sizeof(*keys));
    uint32_t n_keys = 0;

    if (json_is_null(item))
        return err_set(err, ERR_BAD_REQUEST, "associative list with keys may not have a null element");
    if (!json_is_object(item))
        return err_set(err, ERR_BAD_REQUEST, "associative list with keys may not have non-map elements");
    for (size_t i = 0; i < n; i++) {
        const char *name = schema_list_key(list, i);
        const json_t *v = json_object_get(item, name);
        struct fs_key k = { .name = slice_of(name) };
        size_t at = n_keys;

        if (v)
            k.value = fs_scalar_of(a, v);
        else if (!key_default(a, schema_elem(list), name, &k.value))
            continue;
        for (; at > 0 && strcmp(keys[at - 1].name.at, name) > 0; at--)
            keys[at] = keys[at - 1];
        keys[at] = k;
        n_keys++;
    }
    if (n_keys == 0)
        return err_set(err, ERR_BAD_REQUEST,
                       "associative list with keys has an element that omits all key fields [\"%s\"] (and doesn't have default "
                       "values for any key fields)",
                       schema_list_key(list, 0));
    *ret = (struct fs_element){ .kind = FS_KEY, .n_keys = n_keys, .keys = keys };
    return 0;
}

int apply_list_element(struct arena *a, const struct schema_type *list, const json_t *item, struct fs_element *ret,
                       struct err *err)
{
    if (schema_list_type(list) == SCHEMA_LIST_MAP && schema_list_keys(list) > 0)
        return keyed_element(a, list, item, ret, err);
    if (json_is_object(item))
        return err_set(err, ERR_BAD_REQUEST, "associative list without keys has an element that's a map type");
    if (json_is_array(item))
        return err_set(err, ERR_BAD_REQUEST, "not supported: associative list with lists as elements");
    if (json_is_null(item))
        return err_set(err, ERR_BAD_REQUEST, "associative list without keys has an element that's an explicit null");
    *ret = (struct fs_element){ .kind = FS_VALUE, .value = fs_scalar_of(a, item) };
    return 0;
}

static int by_entry(const void *a, const void *b)
{
    const struct apply_entry *x = *(struct apply_entry *const *)a, *y = *(struct apply_entry *const *)b;
    int c = fs_compare(&x->at, &y->at);

    return c ? c : (x->index > y->index) - (x->index < y->index);
}

void apply_list_of(struct arena *a, const struct schema_type *list, const json_t *v, struct apply_list *ret)
{
    size_t n = json_array_size(v);

    *ret = (struct apply_list){ 0 };
    if (n == 0)
        return;
    ret->entries = arena_alloc(a, n * sizeof(*ret->entries));
    ret->sorted = arena_alloc(a, n * sizeof(struct apply_entry *));
    for (size_t i = 0; i < n; i++) {
        struct apply_entry *e = &ret->entries[ret->n];
        struct err ignored;

        e->item = json_array_get(v, i);
        e->index = ret->n;
        e->match = SIZE_MAX;
        if (apply_list_element(a, list, e->item, &e->at, &ignored) == 0)
            ret->sorted[ret->n++] = e;
    }
    if (ret->n > 1)
        qsort(ret->sorted, ret->n, sizeof(struct apply_entry *), by_entry);
    for (size_t i = 1; i < ret->n; i++) {
        if (fs_compare(&ret->sorted[i - 1]->at, &ret->sorted[i]->at) != 0)
            continue;
        ret->sorted[i]->again = true;
        ret->sorted[i]->many = ret->sorted[i - 1]->many = true;
    }
}

void apply_list_match(struct apply_list *x, struct apply_list *y)
{
    size_t j = 0;

    for (size_t i = 0; i < x->n; i++) {
        struct apply_entry *e = x->sorted[i];

        while (j < y->n && fs_compare(&y->sorted[j]->at, &e->at) < 0)
            j++;
        if (j == y->n || fs_compare(&y->sorted[j]->at, &e->at) != 0)
            continue;
        e->match = y->sorted[j]->index; /* the first, for equals are in list order */
        for (size_t k = j; !e->again && k < y->n && fs_compare(&y->sorted[k]->at, &e->at) == 0; k++)
            y->sorted[k]->match = e->index;
    }
}

/* --- the set of a tree --- */

static const struct fieldset *set_of_map(struct arena *a, const struct schema_type *type, const json_t *v)
{
    struct fs_builder b = { .arena = a };
    const char *key;
    size_t n;
    json_t *m;

    json_object_keylen_foreach((json_t *)(uintptr_t)v, key, n, m) {
        const struct schema_field *f;
        const struct schema_type *t = apply_member_type(type, key, n, &f);
        enum apply_form form = t ? apply_form(t, m) : APPLY_SCALAR;
        bool leaf = form == APPLY_SCALAR || form == APPLY_ATOMIC, empty = json_is_object(m) && json_object_size(m) == 0;

        fs_add(&b, (struct fs_element){ .kind = FS_FIELD, .name = { key, n } }, leaf || !f || json_is_null(m) || empty,
               leaf ? NULL : apply_set_of(a, t, m));
    }
    return fieldset_build(&b);
}

static const struct fieldset *set_of_list(struct arena *a, const struct schema_type *type, const json_t *v)
{
    struct fs_builder b = { .arena = a };
    struct apply_list list;

    apply_list_of(a, type, v, &list);
    for (size_t i = 0; i < list.n; i++) {
        const struct apply_entry *e = list.sorted[i];

        if (!e->again)
            fs_add(&b, e->at, true, e->many ? NULL : apply_set_of(a, schema_elem(type), e->item));
    }
    return fieldset_build(&b);
}

/* What is below v; whether v itself is a member is its parent's to say. */
const struct fieldset *apply_set_of(struct arena *a, const struct schema_type *type, const json_t *v)
{
    switch (apply_form(type, v)) {
    case APPLY_MAP:  return json_is_object(v) ? set_of_map(a, type, v) : NULL;
    case APPLY_LIST: return json_is_array(v) ? set_of_list(a, type, v) : NULL;
    default:         return NULL;
    }
}
