#include "lib/k8s/patch_strategic_int.h"
#include "lib/k8s/status.h"

#include <string.h>

int strategic_item_type(struct ctx *ctx, const json_t *x, const json_t *y, json_type *ret, struct err *err)
{
    const json_t *lists[] = { x, y };
    bool any = false;
    json_type type = JSON_NULL;

    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        for (size_t i = 0; i < json_array_size(lists[l]); i++) {
            const json_t *v = json_array_get(lists[l], i);
            json_type t = json_is_boolean(v) ? JSON_TRUE : json_typeof(v);

            if (!any && t == JSON_ARRAY)
                return status_rejected(ctx, "lists of lists are not supported", err);
            if (any ? t != type : t == JSON_NULL) {
                AUTO(json) json_t *both = json_array();

                json_array_append(both, (json_t *)(uintptr_t)x);
                json_array_append(both, (json_t *)(uintptr_t)y);
                return status_plain(ctx, err, "list element types are not identical: %s", strategic_go_text(ctx, both));
            }
            type = t;
            any = true;
        }
    }
    if (!any)
        return status_plain(ctx, err, "no elements in any of the given slices");
    *ret = type;
    return 0;
}

/* --- positions by merge key or value --- */

/* Where each value comes first in a list; values count as equal when their JSON is. */
struct places {
    json_t *at; /* JSON text -> position */
    struct buf text;
};

static const json_t *identity(const json_t *item, const char *key)
{
    return *key ? json_object_get(item, key) : item;
}

static const char *place_key(struct places *p, const json_t *id)
{
    buf_cut(&p->text, 0);
    json_write(id, &p->text);
    return buf_at(&p->text);
}

static int64_t place_of(struct places *p, const json_t *id)
{
    const json_t *at = id ? json_object_get(p->at, place_key(p, id)) : NULL;

    return at ? json_integer_value(at) : -1;
}

/* Keeps the first position. */
static void place_put(struct places *p, const json_t *id, size_t position)
{
    const char *key = id ? place_key(p, id) : NULL;

    if (key && !json_object_get(p->at, key))
        json_object_set_new_nocheck(p->at, key, json_integer((json_int_t)position));
}

static struct places places_of(const json_t *list, const char *key)
{
    struct places p = { .at = json_object() };

    for (size_t i = 0; i < json_array_size(list); i++)
        place_put(&p, identity(json_array_get(list, i), key), i);
    return p;
}

static void places_clear(struct places *p)
{
    json_decref(p->at);
    buf_clear(&p->text);
}

/* --- order --- */

struct item {
    json_t *v;
    int64_t rank, live; /* position in the list that orders it, and in live; -1: not there */
    size_t index;
};

static int by_rank(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static bool is_delete(const json_t *v)
{
    const char *s = json_string_value(json_object_get(v, "$patch"));

    return s && strcmp(s, "delete") == 0;
}

struct ordering {
    struct item *patch, *server;
    size_t n_patch, n_server;
};

/* Weaves both by live's order; where that says nothing, the patch's item comes first. */
static json_t *woven(const struct ordering *o)
{
    json_t *out = json_array();
    size_t i = 0, j = 0;

    while (i < o->n_server || j < o->n_patch) {
        bool server = j == o->n_patch || (i < o->n_server && o->server[i].live >= 0 && o->patch[j].live >= 0 &&
                                          o->server[i].live < o->patch[j].live);

        json_array_append(out, server ? o->server[i++].v : o->patch[j++].v);
    }
    return out;
}

int strategic_order(struct ctx *ctx, json_t *merged, json_t *wanted, json_t *live, const char *key, json_t **ret, struct err *err)
{
    size_t n = json_array_size(merged);
    struct ordering o = { arena_alloc(ctx->arena, (n + 1) * sizeof(struct item)),
                          arena_alloc(ctx->arena, (n + 1) * sizeof(struct item)), 0, 0 };
    const json_t *checked[] = { merged, wanted, live };

    for (size_t l = 0; *key && l < ARRAY_LEN(checked); l++) {
        for (size_t i = 0; i < json_array_size(checked[l]); i++) {
            const json_t *v = json_array_get(checked[l], i);

            if (!json_is_object(v))
                return strategic_bad_kind(ctx, "map[string]interface {}", v, err);
            if (!json_object_get(v, key))
                return strategic_no_key(ctx, v, key, err);
        }
    }
    struct places in_wanted = places_of(wanted, key), in_live = places_of(live, key);
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_array_get(merged, i);
        const json_t *id = identity(v, key);
        struct item it = { v, place_of(&in_wanted, id), place_of(&in_live, id), i };

        if (it.rank >= 0) {
            o.patch[o.n_patch++] = it;
        } else {
            it.rank = it.live;
            o.server[o.n_server++] = it;
        }
    }
    places_clear(&in_wanted);
    places_clear(&in_live);
    qsort(o.patch, o.n_patch, sizeof(struct item), by_rank);
    qsort(o.server, o.n_server, sizeof(struct item), by_rank);
    *ret = woven(&o);
    return 0;
}

static bool same_identity(const json_t *x, const json_t *y, const char *key)
{
    const json_t *a = identity(x, key), *b = identity(y, key);

    return a && b && json_equal(a, b);
}

/* Upstream demands the patch's items in the order the directive gives. */
int strategic_check_order(struct ctx *ctx, json_t *patch, json_t *wanted, const char *key, struct err *err)
{
    size_t n = json_array_size(patch), m = json_array_size(wanted), i = 0, j = 0;

    if (n == 0 || m == 0)
        return 0;
    while (i < n && j < m) {
        const json_t *p = json_array_get(patch, i), *w = json_array_get(wanted, j);

        if (*key && !json_is_object(p))
            return strategic_bad_kind(ctx, "map[string]interface {}", p, err);
        if (*key && is_delete(p)) {
            i++;
            continue;
        }
        if (json_object_get(p, "$patch")) {
            i++;
            continue;
        }
        if (*key && !json_is_object(w))
            return strategic_bad_kind(ctx, "map[string]interface {}", w, err);
        if (*key && !json_object_get(p, key))
            return strategic_no_key(ctx, p, key, err);
        if (*key && !json_object_get(w, key))
            return strategic_no_key(ctx, w, key, err);
        i += same_identity(p, w, key);
        j++;
    }
    while (i < n && *key && is_delete(json_array_get(patch, i)))
        i++;
    if (i == n)
        return 0;
    return status_plain(ctx, err, "The order in patch list:\n%s\n doesn't match %s list:\n%s\n", strategic_go_text(ctx, patch),
                        STRATEGIC_SET_ORDER, strategic_go_text(ctx, wanted));
}

/* --- merging --- */

static json_t *without(const json_t *list, const json_t *gone)
{
    struct places p = places_of(gone, "");
    json_t *out = json_array();

    for (size_t i = 0; i < json_array_size(list); i++)
        if (place_of(&p, json_array_get(list, i)) < 0)
            json_array_append(out, json_array_get(list, i));
    places_clear(&p);
    return out;
}

/* Each value once. The order is settled afterwards. */
static json_t *once(const json_t *x, const json_t *y)
{
    json_t *all = json_copy((json_t *)(uintptr_t)x), *out = json_array();

    json_array_extend(all, (json_t *)(uintptr_t)y);
    struct places p = places_of(all, "");
    for (size_t i = 0; i < json_array_size(all); i++)
        if (place_of(&p, json_array_get(all, i)) == (int64_t)i)
            json_array_append(out, json_array_get(all, i));
    places_clear(&p);
    json_decref(all);
    return out;
}

/* Takes out of the list, in place, the items whose key is one of `gone`. */
static void delete_matching(json_t *list, const char *key, const json_t *gone)
{
    AUTO(json) json_t *left = json_array();
    struct places p = places_of(gone, "");

    for (size_t i = 0; i < json_array_size(list); i++)
        if (place_of(&p, json_object_get(json_array_get(list, i), key)) < 0)
            json_array_append(left, json_array_get(list, i));
    places_clear(&p);
    json_array_clear(list);
    json_array_extend(list, left);
}

/* Sorts out items with $patch. *ret_replace: the list is replaced by what is left of the patch. */
static int special_items(struct ctx *ctx, json_t *original, json_t *patch, json_t *plain, const char *key, bool *ret_replace,
                         struct err *err)
{
    AUTO(json) json_t *gone = json_array();

    for (size_t i = 0; i < json_array_size(patch); i++) {
        json_t *v = json_array_get(patch, i), *id = json_object_get(v, key);
        const json_t *directive = json_object_get(v, "$patch");
        const char *what = json_string_value(directive);

        if (!directive) {
            json_array_append(plain, v);
        } else if (what && strcmp(what, "delete") == 0) {
            if (!id)
                return strategic_no_key(ctx, v, key, err);
            json_array_append(gone, id);
        } else if (what && strcmp(what, "replace") == 0) {
            *ret_replace = true;
        } else if (what && strcmp(what, "merge") == 0) {
            return status_plain(ctx, err, "merging lists cannot yet be specified in the patch");
        } else {
            return status_plain(ctx, err, "unknown patch type: %s in map: %s", strategic_go_text(ctx, directive),
                                strategic_go_text(ctx, v));
        }
    }
    if (json_array_size(gone) > 0)
        delete_matching(original, key, gone);
    return 0;
}

/* Lays the patch's maps over the list, in place. */
static int merge_items(struct ctx *ctx, const struct strategic_field *f, json_t *list, json_t *patch, struct err *err)
{
    struct places p = places_of(list, f->key);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < json_array_size(patch); i++) {
        json_t *v = json_array_get(patch, i), *merged;
        const json_t *id = json_object_get(v, f->key);

        if (!id) {
            rc = strategic_no_key(ctx, v, f->key, err);
            break;
        }
        int64_t at = place_of(&p, id);
        if (at < 0) {
            place_put(&p, id, json_array_size(list));
            json_array_append(list, v);
            continue;
        }
        rc = strategic_map(ctx, f->type, json_array_get(list, (size_t)at), v, &merged, err);
        if (rc == 0)
            json_array_set_new(list, (size_t)at, merged);
    }
    places_clear(&p);
    return rc;
}

static int merge_maps(struct ctx *ctx, const struct strategic_field *f, json_t *original, json_t *patch, json_t **ret,
                      struct err *err)
{
    AUTO(json) json_t *list = json_copy(original);
    AUTO(json) json_t *plain = json_array();
    AUTO(json) json_t *before = NULL;
    bool replace = false;

    if (!*f->key)
        return status_plain(ctx, err, "cannot merge lists without merge key for %s", "struct");
    int rc = special_items(ctx, list, patch, plain, f->key, &replace, err);
    if (rc < 0)
        return rc;
    if (replace) {
        json_t *none = json_array();

        rc = strategic_order(ctx, plain, none, plain, f->key, ret, err);
        json_decref(none);
        return rc;
    }
    before = json_copy(list);
    rc = merge_items(ctx, f, list, plain, err);
    return rc < 0 ? rc : strategic_order(ctx, list, plain, before, f->key, ret, err);
}

int strategic_list(struct ctx *ctx, const struct strategic_field *f, json_t *original, json_t *patch, bool deletes,
                   json_t **ret, struct err *err)
{
    json_type type;

    if (json_array_size(original) == 0 && json_array_size(patch) == 0) {
        *ret = json_incref(original);
        return 0;
    }
    int rc = strategic_item_type(ctx, original, patch, &type, err);
    if (rc < 0)
        return rc;
    if (type == JSON_OBJECT)
        return merge_maps(ctx, f, original, patch, ret, err);
    if (deletes) {
        *ret = without(original, patch);
        return 0;
    }
    AUTO(json) json_t *all = once(original, patch);
    return strategic_order(ctx, all, patch, original, "", ret, err);
}
