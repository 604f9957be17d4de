/* schema_check - a blob is proven whole once, so that the accessors need not look. */
#include "lib/k8s/schema_int.h"

#include <string.h>

struct check {
    const char *start;
    size_t n;
    bool bad;
};

/* The target of a ref when `count` records of `size` bytes fit there, aligned; else notes the fault. */
static const void *range(struct check *c, const schema_ref *r, size_t count, size_t size)
{
    if (*r == 0) {
        c->bad |= count > 0;
        return NULL;
    }
    int64_t at = ((const char *)r - c->start) + (int64_t)*r;
    if (at < 0 || at > (int64_t)c->n || at % 4 != 0 || count > (c->n - (size_t)at) / size) {
        c->bad = true;
        return NULL;
    }
    return c->start + at;
}

/* A string: anywhere inside, for the blob's last byte is NUL. */
static void string(struct check *c, const schema_ref *r)
{
    int64_t at = ((const char *)r - c->start) + (int64_t)*r;
    c->bad |= at < 0 || at >= (int64_t)c->n;
}

static void strings(struct check *c, const schema_ref *r, size_t n)
{
    for (size_t i = 0; i < n && !c->bad; i++)
        string(c, &r[i]);
}

/* A ref to a type record: one of the table's. */
static void type_ref(struct check *c, const struct schema_blob *b, const schema_ref *r)
{
    const char *first = schema_follow(&b->types);
    const char *at = (const char *)r + *r;
    if (*r == 0 || at < first || (size_t)(at - first) >= b->n_types * sizeof(struct schema_type) ||
        (size_t)(at - first) % sizeof(struct schema_type) != 0)
        c->bad = true;
}

static void check_field(struct check *c, const struct schema_blob *b, const struct schema_field *f)
{
    string(c, &f->name);
    if (!c->bad)
        c->bad = strnlen((const char *)&f->name + f->name, c->n - (size_t)((const char *)&f->name + f->name - c->start)) != f->name_n;
    type_ref(c, b, &f->type);
    string(c, &f->prototype);
    range(c, &f->numbers, f->n_numbers, sizeof(int32_t));
    if (!f->extra)
        return;
    const struct schema_field_extra *x = range(c, &f->extra, 1, sizeof(*x));
    if (!x)
        return;
    strings(c, &x->default_json, 3);
    if (x->n_rules > (c->n - (size_t)((const char *)x->rule - c->start)) / sizeof(schema_ref))
        c->bad = true;
    else
        strings(c, x->rule, x->n_rules);
}

static void check_type(struct check *c, const struct schema_blob *b, const struct schema_type *t)
{
    string(c, &t->name);
    string(c, &t->proto);
    c->bad |= t->shape > SCHEMA_ANY || t->list_type > SCHEMA_LIST_MAP;
    if (t->shape == SCHEMA_LIST || t->shape == SCHEMA_MAP)
        type_ref(c, b, &t->elem);
    const struct schema_field *f = range(c, &t->fields, t->n_fields, sizeof(*f));
    for (size_t i = 0; i < t->n_fields && !c->bad; i++)
        check_field(c, b, &f[i]);
    if (!t->extra || c->bad)
        return;
    const struct schema_type_extra *x = range(c, &t->extra, 1, sizeof(*x));
    if (!x)
        return;
    string(c, &x->patch_key);
    size_t n = (size_t)x->n_keys + x->n_enum;
    if (n > (c->n - (size_t)((const char *)x->text - c->start)) / sizeof(schema_ref))
        c->bad = true;
    else
        strings(c, x->text, n);
}

static void check_resource(struct check *c, const struct schema_blob *b, const struct schema_blob_resource *r)
{
    strings(c, &r->group, 6);
    type_ref(c, b, &r->type);
    const schema_ref *texts = range(c, &r->texts, (size_t)r->n_short + r->n_categories, sizeof(*texts));
    const struct schema_blob_subresource *sub = range(c, &r->subresources, r->n_subresources, sizeof(*sub));
    if (c->bad)
        return;
    strings(c, texts, (size_t)r->n_short + r->n_categories);
    for (size_t i = 0; i < r->n_subresources; i++)
        strings(c, &sub[i].name, 4);
}

static void check_table(struct check *c, const struct schema_blob_table *t)
{
    strings(c, &t->group, 2);
    const struct schema_blob_column *col = range(c, &t->columns, t->n_columns, sizeof(*col));
    for (size_t i = 0; i < t->n_columns && !c->bad; i++)
        strings(c, &col[i].name, 3);
}

static void check_tables(struct check *c, const struct schema_blob *b)
{
    const struct schema_type *t = range(c, &b->types, b->n_types, sizeof(*t));
    const struct schema_blob_kind *k = range(c, &b->kinds, b->n_kinds, sizeof(*k));
    const struct schema_blob_resource *r = range(c, &b->resources, b->n_resources, sizeof(*r));
    const struct schema_blob_table *table = range(c, &b->tables, b->n_tables, sizeof(*table));
    c->bad |= b->n_named > b->n_types;
    for (size_t i = 0; !c->bad && i < b->n_types; i++)
        check_type(c, b, &t[i]);
    for (size_t i = 0; !c->bad && i < b->n_kinds; i++) {
        strings(c, &k[i].group, 3);
        type_ref(c, b, &k[i].type);
    }
    for (size_t i = 0; !c->bad && i < b->n_resources; i++)
        check_resource(c, b, &r[i]);
    for (size_t i = 0; !c->bad && i < b->n_tables; i++)
        check_table(c, &table[i]);
}

int schema_blob_check(const struct schema_blob *blob, size_t n, struct err *err)
{
    if (n < sizeof(*blob) || (uintptr_t)blob % 4 != 0 || memcmp(blob->magic, "RDSCHEMA", sizeof(blob->magic)) != 0)
        return err_set(err, ERR_INVALID, "not a schema blob");
    if (blob->version != SCHEMA_BLOB_VERSION)
        return err_set(err, ERR_INVALID, "schema blob has version %u, this program reads %d", blob->version, SCHEMA_BLOB_VERSION);
    struct check c = { .start = (const char *)blob, .n = n, .bad = blob->size != n || ((const char *)blob)[n - 1] != 0 };
    if (!c.bad)
        check_tables(&c, blob);
    if (c.bad)
        return err_set(err, ERR_INVALID, "schema blob is damaged");
    return 0;
}
