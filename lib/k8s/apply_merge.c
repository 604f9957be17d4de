#include "lib/k8s/apply_int.h"

#include <assert.h>

static json_t *merge_maps(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs)
{
    json_t *out = json_object(), *v;
    const struct schema_field *f;
    const char *key;
    size_t n;

    json_object_keylen_foreach(lhs, key, n, v) {
        const struct schema_type *t = apply_member_type(type, key, n, &f);
        json_t *other = json_object_getn(rhs, key, n);
        json_t *merged = t ? apply_merge(a, t, v, other) : json_incref(other ? other : v);

        if (merged)
            json_object_setn_new_nocheck(out, key, n, merged);
    }
    json_object_keylen_foreach(rhs, key, n, v) {
        if (json_object_getn(lhs, key, n))
            continue;
        const struct schema_type *t = apply_member_type(type, key, n, &f);
        json_t *merged = t ? apply_merge(a, t, NULL, v) : json_incref(v);

        if (merged)
            json_object_setn_new_nocheck(out, key, n, merged);
    }
    return out;
}

/* Upstream's weaving of two lists: rhs decides the order of what both have; what only lhs has stays where it was among them. */
struct weave {
    struct arena *arena;
    const struct schema_type *elem;
    struct apply_list l, r;
    bool *merged;   /* by rhs index */
    size_t *shared; /* rhs indexes that lhs has too, in rhs order */
    size_t n_shared, at_shared;
    json_t *out;
};

static void emit(struct weave *w, json_t *lhs, json_t *rhs)
{
    if (lhs || rhs)
        json_array_append_new(w->out, apply_merge(w->arena, w->elem, lhs, rhs));
}

/* The item rhs[i] with its counterpart; a counterpart that is there more than once counts as null. */
static void emit_pair(struct weave *w, size_t i)
{
    const struct apply_entry *r = &w->r.entries[i];
    const struct apply_entry *l = r->match == SIZE_MAX ? NULL : &w->l.entries[r->match];

    w->merged[i] = true;
    emit(w, l ? l->many ? json_null() : l->item : NULL, r->item);
}

static bool next_shared_is(const struct weave *w, size_t rhs_index)
{
    return w->at_shared < w->n_shared && w->shared[w->at_shared] == rhs_index;
}

static void weave(struct weave *w)
{
    size_t i = 0, j = 0;

    while (i < w->l.n || j < w->r.n) {
        const struct apply_entry *l = i < w->l.n ? &w->l.entries[i] : NULL;

        if (l && j < w->r.n) {
            if (l->match == j) {
                emit_pair(w, j++);
                i++;
                w->at_shared++;
                continue;
            }
            if (l->match != SIZE_MAX && w->at_shared < w->n_shared && !next_shared_is(w, l->match)) {
                i++; /* shared, but not the one whose turn it is */
                continue;
            }
        }
        if (l && l->match == SIZE_MAX) {
            emit(w, l->item, NULL);
            i++;
            continue;
        }
        if (l && w->merged[l->match])
            i++;
        if (j < w->r.n) {
            bool turn = next_shared_is(w, j);

            emit_pair(w, j++);
            w->at_shared += turn;
        }
    }
}

static json_t *merge_lists(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs)
{
    struct weave w = { .arena = a, .elem = schema_elem(type), .out = json_array() };

    apply_list_of(a, type, lhs, &w.l);
    apply_list_of(a, type, rhs, &w.r);
    apply_list_match(&w.l, &w.r);
    w.merged = arena_alloc(a, w.r.n + 1);
    w.shared = arena_alloc(a, (w.r.n + 1) * sizeof(*w.shared));
    for (size_t i = 0; i < w.r.n; i++)
        if (w.r.entries[i].match != SIZE_MAX)
            w.shared[w.n_shared++] = i;
    weave(&w);
    return w.out;
}

static bool holds_nothing(const json_t *v)
{
    return json_object_size(v) == 0 && json_array_size(v) == 0;
}

json_t *apply_merge(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs)
{
    enum apply_form form = apply_form(type, rhs ? rhs : lhs);
    json_t *out;

    assert(lhs || rhs);
    if (!rhs) /* nothing is laid over it */
        return json_incref(lhs);
    if (form == APPLY_SCALAR || form == APPLY_ATOMIC || (holds_nothing(lhs) && holds_nothing(rhs)))
        return json_incref(rhs);
    if (form == APPLY_MAP)
        out = merge_maps(a, type, json_is_object(lhs) ? lhs : NULL, json_is_object(rhs) ? rhs : NULL);
    else
        out = merge_lists(a, type, json_is_array(lhs) ? lhs : NULL, json_is_array(rhs) ? rhs : NULL);
    return out;
}

/* --- removal --- */

static json_t *remove_from_list(struct arena *a, const struct schema_type *type, json_t *v, const struct fieldset *remove)
{
    json_t *out = json_array();

    for (size_t i = 0; i < json_array_size(v); i++) {
        json_t *item = json_array_get(v, i);
        struct fs_element at;
        struct err ignored;
        const struct fs_item *found =
            apply_list_element(a, type, item, &at, &ignored) == 0 ? fieldset_find(remove, &at) : NULL;

        if (found && found->member)
            continue;
        json_array_append_new(out, found ? apply_remove(a, schema_elem(type), item, found->below) : json_incref(item));
    }
    return out;
}

static json_t *remove_from_map(struct arena *a, const struct schema_type *type, json_t *v, const struct fieldset *remove)
{
    json_t *out = json_object(), *m;
    const struct schema_field *f;
    const char *key;
    size_t n;

    json_object_keylen_foreach(v, key, n, m) {
        struct fs_element at = { .kind = FS_FIELD, .name = { key, n } };
        const struct fs_item *found = fieldset_find(remove, &at);
        const struct schema_type *t = apply_member_type(type, key, n, &f);

        if (found && found->member)
            continue;
        json_object_setn_new_nocheck(out, key, n, found && t ? apply_remove(a, t, m, found->below) : json_incref(m));
    }
    return out;
}

json_t *apply_remove(struct arena *a, const struct schema_type *type, json_t *v, const struct fieldset *remove)
{
    enum apply_form form = apply_form(type, v);
    json_t *out = NULL;

    if (fieldset_empty(remove) || form == APPLY_SCALAR)
        return json_incref(v);
    if (form == APPLY_MAP && json_object_size(v) > 0)
        out = remove_from_map(a, type, v, remove);
    else if (form == APPLY_LIST && json_array_size(v) > 0)
        out = remove_from_list(a, type, v, remove);
    if (out && !holds_nothing(out))
        return out;
    json_decref(out);
    return json_null();
}
