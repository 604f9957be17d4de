#include "lib/k8s/fieldset.h"

#include <string.h>

/* --- elements --- */

static int compare_text(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.at, b.at, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare_scalars(const struct fs_scalar *a, const struct fs_scalar *b)
{
    if (a->type <= FS_INT && b->type <= FS_INT) {
        if (a->type == FS_INT && b->type == FS_INT)
            return (a->integer > b->integer) - (a->integer < b->integer);
        double x = a->type == FS_INT ? (double)a->integer : a->real, y = b->type == FS_INT ? (double)b->integer : b->real;
        return (x > y) - (x < y);
    }
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->type == FS_BOOL)
        return (a->integer > b->integer) - (a->integer < b->integer);
    return compare_text(a->text, b->text);
}

static int compare_keys(const struct fs_element *a, const struct fs_element *b)
{
    for (uint32_t i = 0; i < a->n_keys && i < b->n_keys; i++) {
        int c = compare_text(a->keys[i].name, b->keys[i].name);

        if (c == 0)
            c = compare_scalars(&a->keys[i].value, &b->keys[i].value);
        if (c)
            return c;
    }
    return (a->n_keys > b->n_keys) - (a->n_keys < b->n_keys);
}

int fs_compare(const struct fs_element *a, const struct fs_element *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case FS_FIELD: return compare_text(a->name, b->name);
    case FS_KEY:   return compare_keys(a, b);
    case FS_VALUE: return compare_scalars(&a->value, &b->value);
    case FS_INDEX: return (a->index > b->index) - (a->index < b->index);
    }
    return 0;
}

struct fs_element fs_field(const char *name)
{
    return (struct fs_element){ .kind = FS_FIELD, .name = slice_of(name) };
}

struct fs_scalar fs_scalar_of(struct arena *a, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        return (struct fs_scalar){ .type = FS_STRING, .text = { json_string_value(v), json_string_length(v) } };
    case JSON_INTEGER: return (struct fs_scalar){ .type = FS_INT, .integer = json_integer_value(v) };
    case JSON_REAL:    return (struct fs_scalar){ .type = FS_REAL, .real = json_real_value(v) };
    case JSON_TRUE:
    case JSON_FALSE:   return (struct fs_scalar){ .type = FS_BOOL, .integer = json_is_true(v) };
    default:           break;
    }
    AUTO(buf) struct buf text = { 0 };
    json_write(v, &text);
    return (struct fs_scalar){ .type = FS_OTHER,
                               .text = { arena_strndup(a, buf_at(&text), buf_len(&text)), buf_len(&text) } };
}

/* --- building --- */

void fs_add(struct fs_builder *b, struct fs_element at, bool member, const struct fieldset *below)
{
    if (!member && fieldset_empty(below))
        return;
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 4;
        struct fs_item *more = arena_alloc(b->arena, cap * sizeof(*more));

        if (b->n)
            memcpy(more, b->items, b->n * sizeof(*more));
        b->items = more;
        b->cap = cap;
    }
    b->items[b->n++] = (struct fs_item){ at, member, fieldset_empty(below) ? NULL : below };
}

static int by_element(const void *a, const void *b)
{
    const struct fs_item *x = a, *y = b;

    return fs_compare(&x->at, &y->at);
}

static void sort_items(struct fs_item *items, size_t n)
{
    enum { FEW = 12 };

    if (n > FEW) {
        qsort(items, n, sizeof(*items), by_element);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct fs_item it = items[i];
        size_t j = i;

        for (; j > 0 && fs_compare(&items[j - 1].at, &it.at) > 0; j--)
            items[j] = items[j - 1];
        items[j] = it;
    }
}

const struct fieldset *fieldset_build(struct fs_builder *b)
{
    size_t n = 0;

    if (b->n == 0)
        return NULL;
    sort_items(b->items, b->n);
    for (size_t i = 0; i < b->n; i++) {
        struct fs_item *last = n ? &b->items[n - 1] : NULL;

        if (last && fs_compare(&last->at, &b->items[i].at) == 0) {
            last->member |= b->items[i].member;
            last->below = fieldset_union(b->arena, last->below, b->items[i].below);
        } else {
            b->items[n++] = b->items[i];
        }
    }
    struct fieldset *s = arena_alloc(b->arena, sizeof(*s));
    *s = (struct fieldset){ n, b->items };
    return s;
}

const struct fs_item *fieldset_find(const struct fieldset *s, const struct fs_element *e)
{
    size_t from = 0, to = s ? s->n : 0;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int c = fs_compare(&s->items[mid].at, e);

        if (c == 0)
            return &s->items[mid];
        if (c < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

const struct fieldset *fieldset_of_path(struct arena *a, const char *dotted)
{
    const char *dot = strchr(dotted, '.');
    struct fs_item *item = arena_alloc(a, sizeof(*item));
    struct fieldset *s = arena_alloc(a, sizeof(*s));

    item->at.name = (struct slice){ dotted, dot ? (size_t)(dot - dotted) : strlen(dotted) };
    item->member = !dot;
    item->below = dot ? fieldset_of_path(a, dot + 1) : NULL;
    *s = (struct fieldset){ 1, item };
    return s;
}

/* --- algebra: one walk over two sorted lists --- */

typedef const struct fieldset *combine_fn(struct arena *a, const struct fieldset *x, const struct fieldset *y);

static const struct fieldset *sealed(struct fs_builder *b)
{
    if (b->n == 0)
        return NULL;
    struct fieldset *s = arena_alloc(b->arena, sizeof(*s));
    *s = (struct fieldset){ b->n, b->items };
    return s;
}

static void reserve(struct fs_builder *b, size_t n)
{
    b->items = arena_alloc(b->arena, n * sizeof(*b->items));
    b->cap = n;
}

const struct fieldset *fieldset_union(struct arena *a, const struct fieldset *x, const struct fieldset *y)
{
    struct fs_builder b = { .arena = a };
    size_t i = 0, j = 0;

    if (fieldset_empty(x) || x == y)
        return y;
    if (fieldset_empty(y))
        return x;
    reserve(&b, x->n + y->n);
    while (i < x->n || j < y->n) {
        int c = i == x->n ? 1 : j == y->n ? -1 : fs_compare(&x->items[i].at, &y->items[j].at);

        if (c < 0) {
            b.items[b.n++] = x->items[i++];
        } else if (c > 0) {
            b.items[b.n++] = y->items[j++];
        } else {
            const struct fs_item *p = &x->items[i++], *q = &y->items[j++];

            b.items[b.n++] =
                (struct fs_item){ p->at, p->member || q->member, fieldset_union(a, p->below, q->below) };
        }
    }
    return sealed(&b);
}

const struct fieldset *fieldset_intersection(struct arena *a, const struct fieldset *x, const struct fieldset *y)
{
    struct fs_builder b = { .arena = a };
    size_t i = 0, j = 0;

    if (fieldset_empty(x) || fieldset_empty(y))
        return NULL;
    while (i < x->n && j < y->n) {
        const struct fs_item *p = &x->items[i], *q = &y->items[j];
        int c = fs_compare(&p->at, &q->at);

        i += c <= 0;
        j += c >= 0;
        if (c == 0)
            fs_add(&b, p->at, p->member && q->member, fieldset_intersection(a, p->below, q->below));
    }
    return sealed(&b);
}

static const struct fieldset *take_away(struct arena *a, const struct fieldset *x, const struct fieldset *y, bool whole)
{
    struct fs_builder b = { .arena = a };
    size_t i = 0, j = 0;
    bool same = true;

    if (fieldset_empty(x) || fieldset_empty(y))
        return x;
    for (; i < x->n; i++) {
        const struct fs_item *p = &x->items[i], *q = NULL;

        while (j < y->n && fs_compare(&y->items[j].at, &p->at) < 0)
            j++;
        if (j < y->n && fs_compare(&y->items[j].at, &p->at) == 0)
            q = &y->items[j];
        if (!q) {
            fs_add(&b, p->at, p->member, p->below);
            continue;
        }
        const struct fieldset *below = whole && q->member ? NULL : take_away(a, p->below, q->below, whole);
        bool member = p->member && !q->member;
        same &= below == p->below && member == p->member;
        fs_add(&b, p->at, member, below);
    }
    return same ? x : sealed(&b);
}

const struct fieldset *fieldset_difference(struct arena *a, const struct fieldset *x, const struct fieldset *y)
{
    return take_away(a, x, y, false);
}

const struct fieldset *fieldset_without(struct arena *a, const struct fieldset *x, const struct fieldset *y)
{
    return take_away(a, x, y, true);
}

static const struct schema_type *below_type(const struct schema_type *type, const struct fs_element *e, bool *ret_named)
{
    *ret_named = false;
    if (!type)
        return NULL;
    if (e->kind == FS_FIELD && schema_shape(type) == SCHEMA_OBJECT) {
        const struct schema_field *f = schema_field(type, e->name.at, e->name.n);

        *ret_named = f != NULL;
        return f ? schema_field_type(f) : NULL;
    }
    if (e->kind == FS_FIELD)
        return schema_shape(type) == SCHEMA_MAP ? schema_elem(type) : NULL;
    return e->kind == FS_KEY && schema_shape(type) == SCHEMA_LIST ? schema_elem(type) : NULL;
}

const struct fieldset *fieldset_named(struct arena *a, const struct fieldset *s, const struct schema_type *type)
{
    struct fs_builder b = { .arena = a };

    if (fieldset_empty(s))
        return NULL;
    reserve(&b, s->n);
    for (size_t i = 0; i < s->n; i++) {
        const struct fs_item *p = &s->items[i];
        bool named;
        const struct schema_type *t = below_type(type, &p->at, &named);

        b.items[b.n++] = (struct fs_item){ p->at, p->member || (p->below && named), fieldset_named(a, p->below, t) };
    }
    return sealed(&b);
}
