#include "lib/k8s/schema_int.h"

#include "lib/mem.h"

#include <stdio.h>
#include <string.h>

static const char *text(const schema_ref *r)
{
    const char *s = schema_follow(r);
    return s ? s : "";
}

static const struct schema_type_extra *type_extra(const struct schema_type *t)
{
    return schema_follow(&t->extra);
}

static const struct schema_field_extra *field_extra(const struct schema_field *f)
{
    return schema_follow(&f->extra);
}

/* --- types --- */

enum schema_shape schema_shape(const struct schema_type *t)
{
    return t->shape;
}

const char *schema_type_name(const struct schema_type *t)
{
    return text(&t->name);
}

const struct schema_type *schema_elem(const struct schema_type *t)
{
    return schema_follow(&t->elem);
}

bool schema_atomic(const struct schema_type *t)
{
    return t->flags & SCHEMA_TYPE_ATOMIC;
}

enum schema_list_type schema_list_type(const struct schema_type *t)
{
    return t->list_type;
}

size_t schema_list_keys(const struct schema_type *t)
{
    const struct schema_type_extra *x = type_extra(t);
    return x ? x->n_keys : 0;
}

const char *schema_list_key(const struct schema_type *t, size_t i)
{
    return text(&type_extra(t)->text[i]);
}

unsigned schema_patch_strategy(const struct schema_type *t)
{
    return t->patch;
}

const char *schema_patch_key(const struct schema_type *t)
{
    const struct schema_type_extra *x = type_extra(t);
    return x ? schema_follow(&x->patch_key) : NULL;
}

size_t schema_enum(const struct schema_type *t)
{
    const struct schema_type_extra *x = type_extra(t);
    return x ? x->n_enum : 0;
}

const char *schema_enum_at(const struct schema_type *t, size_t i)
{
    const struct schema_type_extra *x = type_extra(t);
    return text(&x->text[x->n_keys + i]);
}

const char *schema_proto_name(const struct schema_type *t)
{
    return text(&t->proto);
}

/* --- fields --- */

size_t schema_fields(const struct schema_type *t)
{
    return t->n_fields;
}

const struct schema_field *schema_field_at(const struct schema_type *t, size_t i)
{
    return schema_fields_of(t) + i;
}

const struct schema_field *schema_field(const struct schema_type *t, const char *name, size_t n)
{
    const struct schema_field *fields = schema_fields_of(t);
    size_t low = 0, high = t->n_fields;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct schema_field *f = &fields[mid];
        int c = memcmp(name, text(&f->name), n < f->name_n ? n : f->name_n);
        if (c == 0 && n == f->name_n)
            return f;
        if (c < 0 || (c == 0 && n < f->name_n))
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const char *schema_field_name(const struct schema_field *f)
{
    return text(&f->name);
}

const struct schema_type *schema_field_type(const struct schema_field *f)
{
    return schema_follow(&f->type);
}

bool schema_field_required(const struct schema_field *f)
{
    return f->flags & SCHEMA_FIELD_REQUIRED;
}

bool schema_field_pointer(const struct schema_field *f)
{
    return f->flags & SCHEMA_FIELD_POINTER;
}

bool schema_field_always(const struct schema_field *f)
{
    return f->flags & SCHEMA_FIELD_ALWAYS;
}

bool schema_field_omit_zero(const struct schema_field *f)
{
    return f->flags & SCHEMA_FIELD_OMIT_ZERO;
}

const char *schema_field_default(const struct schema_field *f)
{
    const struct schema_field_extra *x = field_extra(f);
    return x ? schema_follow(&x->default_json) : NULL;
}

const char *schema_field_go_type(const struct schema_field *f)
{
    const struct schema_field_extra *x = field_extra(f);
    return x ? schema_follow(&x->go) : NULL;
}

const char *schema_field_embed(const struct schema_field *f)
{
    const struct schema_field_extra *x = field_extra(f);
    return x ? schema_follow(&x->embed) : NULL;
}

size_t schema_field_rules(const struct schema_field *f)
{
    const struct schema_field_extra *x = field_extra(f);
    return x ? x->n_rules : 0;
}

const char *schema_field_rule(const struct schema_field *f, size_t i)
{
    return text(&field_extra(f)->rule[i]);
}

int schema_field_proto(const struct schema_field *f, const int **ret_numbers)
{
    *ret_numbers = schema_follow(&f->numbers);
    return f->n_numbers;
}

const char *schema_field_prototype(const struct schema_field *f)
{
    return text(&f->prototype);
}

/* --- a schema: the blob and the structs its users hold --- */

struct resource { /* what a schema_resource has beyond its public part */
    struct schema_resource pub; /* first: the public pointer is also ours */
    const struct schema_column *columns;
    size_t n_columns;
};

struct table {
    const char *group, *kind;
    const struct schema_column *columns;
    size_t n;
};

struct schema {
    const struct schema_blob *blob;
    const struct schema_type *types;
    const struct schema_blob_kind *kinds;
    struct resource *resources;
    struct table *tables;
    size_t n_resources, n_tables;
    struct arena *arena; /* of all the above's small arrays */
};

static void fill_tables(struct schema *s)
{
    const struct schema_blob_table *from = schema_follow(&s->blob->tables);
    s->n_tables = s->blob->n_tables;
    s->tables = arena_alloc(s->arena, s->n_tables * sizeof(*s->tables));
    for (size_t i = 0; i < s->n_tables; i++) {
        const struct schema_blob_column *col = schema_follow(&from[i].columns);
        struct schema_column *to = arena_alloc(s->arena, from[i].n_columns * sizeof(*to));
        for (size_t c = 0; c < from[i].n_columns; c++)
            to[c] = (struct schema_column){ .name = text(&col[c].name), .type = text(&col[c].type),
                                            .format = text(&col[c].format), .description = "", .priority = col[c].priority };
        s->tables[i] = (struct table){ .group = text(&from[i].group), .kind = text(&from[i].kind), .columns = to,
                                       .n = from[i].n_columns };
    }
}

static const char *const *fill_texts(struct schema *s, const schema_ref *from, size_t n)
{
    const char **to = arena_alloc(s->arena, (n + 1) * sizeof(*to)); /* zeroed: ends with NULL */
    for (size_t i = 0; i < n; i++)
        to[i] = text(&from[i]);
    return to;
}

/* A subresource without a group and version of its own has its resource's. */
static const struct schema_subresource *fill_subresources(struct schema *s, const struct schema_blob_resource *r)
{
    const struct schema_blob_subresource *from = schema_follow(&r->subresources);
    struct schema_subresource *to = arena_alloc(s->arena, r->n_subresources * sizeof(*to));
    for (size_t i = 0; i < r->n_subresources; i++) {
        bool own = *text(&from[i].version) != 0;
        to[i] = (struct schema_subresource){ .name = text(&from[i].name), .kind = text(&from[i].kind),
                                             .group = own ? text(&from[i].group) : text(&r->group),
                                             .version = own ? text(&from[i].version) : text(&r->version),
                                             .verbs = from[i].verbs };
    }
    return to;
}

static void fill_resources(struct schema *s)
{
    const struct schema_blob_resource *from = schema_follow(&s->blob->resources);
    s->n_resources = s->blob->n_resources;
    s->resources = arena_alloc(s->arena, s->n_resources * sizeof(*s->resources));
    for (size_t i = 0; i < s->n_resources; i++) {
        const struct schema_blob_resource *r = &from[i];
        const schema_ref *texts = schema_follow(&r->texts);
        struct resource *to = &s->resources[i];
        to->pub = (struct schema_resource){
            .group = text(&r->group), .version = text(&r->version), .resource = text(&r->resource), .kind = text(&r->kind),
            .singular = text(&r->singular), .storage_hash = text(&r->storage_hash), .namespaced = r->namespaced, .verbs = r->verbs,
            .short_names = fill_texts(s, texts, r->n_short), .categories = fill_texts(s, texts + r->n_short, r->n_categories),
            .subresources = fill_subresources(s, r), .n_subresources = r->n_subresources, .type = schema_follow(&r->type),
            .index = (int)i,
        };
        to->n_columns = schema_kind_columns(s, to->pub.group, to->pub.kind, &to->columns);
    }
}

int schema_open(const void *blob, size_t n, const struct schema **ret, struct err *err)
{
    int rc = schema_blob_check(blob, n, err);
    if (rc)
        return rc;
    struct schema *s = MEM_NEW(struct schema);
    s->arena = arena_new();
    s->blob = blob;
    s->types = schema_follow(&s->blob->types);
    s->kinds = schema_follow(&s->blob->kinds);
    fill_tables(s);
    fill_resources(s);
    *ret = s;
    return 0;
}

void schema_close(const struct schema *s)
{
    if (!s)
        return;
    arena_free(s->arena);
    free((void *)(uintptr_t)s); /* const for its users, ours to free */
}

const struct schema_type *schema_type_find(const struct schema *s, const char *name)
{
    size_t low = 0, high = s->blob->n_named;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(name, schema_type_name(&s->types[mid]));
        if (c == 0)
            return &s->types[mid];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* --- resources --- */

size_t schema_resources(const struct schema *s)
{
    return s->n_resources;
}

const struct schema_resource *schema_resource_at(const struct schema *s, size_t i)
{
    return &s->resources[i].pub;
}

const struct schema_resource *schema_resource_find(const struct schema *s, struct slice group, struct slice version,
                                                   struct slice resource)
{
    for (size_t i = 0; i < s->n_resources; i++) {
        const struct schema_resource *r = &s->resources[i].pub;
        if (slice_is(resource, r->resource) && slice_is(group, r->group) && slice_is(version, r->version))
            return r;
    }
    return NULL;
}

const struct schema_resource *schema_resource_of_kind(const struct schema *s, const char *group, const char *version,
                                                      const char *kind)
{
    for (size_t i = 0; i < s->n_resources; i++) {
        const struct schema_resource *r = &s->resources[i].pub;
        if (strcmp(kind, r->kind) == 0 && strcmp(group, r->group) == 0 && strcmp(version, r->version) == 0)
            return r;
    }
    return NULL;
}

const struct schema_subresource *schema_subresource(const struct schema_resource *r, struct slice name)
{
    for (size_t i = 0; i < r->n_subresources; i++) {
        if (slice_is(name, r->subresources[i].name))
            return &r->subresources[i];
    }
    return NULL;
}

static const struct schema_type *find_kind(const struct schema *s, const char *group, const char *version, const char *kind)
{
    size_t low = 0, high = s->blob->n_kinds;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct schema_blob_kind *k = &s->kinds[mid];
        int c = strcmp(group, text(&k->group));
        c = c ? c : strcmp(version, text(&k->version));
        c = c ? c : strcmp(kind, text(&k->kind));
        if (c == 0)
            return schema_follow(&k->type);
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* Registered with every group version by upstream's AddToGroupVersion. */
static const char *const everywhere[] = { "CreateOptions", "DeleteOptions", "GetOptions", "ListOptions",
                                          "PatchOptions",  "UpdateOptions", "WatchEvent" };

const struct schema_type *schema_kind(const struct schema *s, const char *group, const char *version, const char *kind)
{
    const struct schema_type *t = find_kind(s, group, version, kind);
    for (size_t i = 0; !t && i < ARRAY_LEN(everywhere); i++) {
        char name[128];
        if (strcmp(kind, everywhere[i]) != 0)
            continue;
        snprintf(name, sizeof(name), "io.k8s.apimachinery.pkg.apis.meta.v1.%s", kind);
        t = schema_type_find(s, name);
    }
    return t;
}

/* --- walking --- */

size_t schema_types(const struct schema *s)
{
    return s->blob->n_named;
}

const struct schema_type *schema_type_at(const struct schema *s, size_t i)
{
    return &s->types[i];
}

size_t schema_type_index(const struct schema *s, const struct schema_type *t)
{
    return (size_t)(t - s->types);
}

size_t schema_kinds(const struct schema *s)
{
    return s->blob->n_kinds;
}

const struct schema_type *schema_kind_at(const struct schema *s, size_t i, const char **ret_group, const char **ret_version,
                                         const char **ret_kind)
{
    const struct schema_blob_kind *k = &s->kinds[i];
    *ret_group = text(&k->group);
    *ret_version = text(&k->version);
    *ret_kind = text(&k->kind);
    return schema_follow(&k->type);
}

uint64_t schema_hash(const struct schema *s)
{
    uint64_t h;
    memcpy(&h, s->blob->hash, sizeof(h));
    return h;
}

/* --- columns --- */

size_t schema_columns(const struct schema_resource *r, const struct schema_column **ret)
{
    const struct resource *full = (const struct resource *)r;
    *ret = full->columns;
    return full->n_columns;
}

size_t schema_kind_columns(const struct schema *s, const char *group, const char *kind, const struct schema_column **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < s->n_tables; i++) {
        const struct table *t = &s->tables[i];
        if (strcmp(kind, t->kind) != 0 || strcmp(group, t->group) != 0)
            continue;
        *ret = t->columns;
        return t->n;
    }
    return 0;
}
