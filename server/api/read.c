/* GET of one object; the selectors of lists and watches. */
#include "server/api/api_int.h"

#include "lib/k8s/status.h"

#include <string.h>

void api_key(struct api_request *r, const char *name, struct buf *to)
{
    key_write(r->route.stored, r->route.ns, name, to);
}

int api_live(struct api_request *r, struct store_row *ret, struct err *err)
{
    AUTO(buf) struct buf key = { 0 };

    api_key(r, r->route.name, &key);
    if (store_get(&r->ctx, r->api->o.store, (struct slice){ buf_at(&key), buf_len(&key) }, 0, ret, NULL, err) == 0)
        return 0;
    if (err->code == ERR_NOT_FOUND)
        return status_not_found(&r->ctx, r->route.resource->group, r->route.resource->resource, r->route.name, err);
    return -(int)err->code;
}

int api_get(struct api_request *r, struct err *err)
{
    struct store_row row = { 0 };

    if (api_live(r, &row, err) < 0)
        return -(int)err->code;
    int rc = api_answer_stored(r, 200, row.value, row.mod_revision, err);
    store_row_clear(&row);
    return rc;
}

static bool selectable(const struct kind_ops *ops, const char *field)
{
    for (const char *const *f = ops->fields; f && *f; f++)
        if (strcmp(*f, field) == 0)
            return true;
    return false;
}

/* Kinds with fields of their own and those without word it differently upstream. */
static int unknown_field(struct api_request *r, const char *field, struct err *err)
{
    if (r->route.ops->fields)
        return status_bad_request(&r->ctx, err, "field label not supported: %s", field);
    return status_bad_request(&r->ctx, err, "%s is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                              go_quote(r->arena, field));
}

static int field_terms(struct api_request *r, const char *text, struct api_filter *f, struct err *err)
{
    struct field_term *terms = NULL;
    size_t n = 0, kept = 0;

    if (field_selector_parse(r->arena, text, &terms, &n, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < n; i++) {
        struct field_term *t = &terms[i];

        if (strcmp(t->field, "metadata.name") == 0 && !t->negate && !f->name)
            f->name = t->value;
        else if (strcmp(t->field, "metadata.namespace") == 0 && !t->negate && !f->ns)
            f->ns = t->value;
        else if (strcmp(t->field, "metadata.name") != 0 && strcmp(t->field, "metadata.namespace") != 0 &&
                 !selectable(r->route.ops, t->field))
            return unknown_field(r, t->field, err);
        else {
            if (r->route.ops->field_stored)
                t->field = r->route.ops->field_stored(t->field);
            terms[kept++] = *t;
        }
    }
    f->terms = terms;
    f->n_terms = kept;
    return 0;
}

int api_filter(struct api_request *r, struct api_filter *ret, struct err *err)
{
    const char *labels = api_query(r, "labelSelector"), *fields = api_query(r, "fieldSelector");

    *ret = (struct api_filter){ 0 };
    if (*r->route.ns)
        ret->ns = r->route.ns;
    if (*r->route.name) /* the old watch of one object */
        ret->name = r->route.name;
    if (labels && *labels) {
        struct selector *s = NULL;

        if (selector_parse(r->arena, labels, &s, err) < 0)
            return -(int)err->code;
        ret->labels = selector_is_everything(s) ? NULL : s;
    }
    return fields && *fields ? field_terms(r, fields, ret, err) : 0;
}

static const char *term_value(const struct field_term *t, struct slice ns, struct slice name, const struct facts *facts, char *copy,
                              size_t room)
{
    struct slice from = { "", 0 };

    if (strcmp(t->field, "metadata.name") == 0)
        from = name;
    else if (strcmp(t->field, "metadata.namespace") == 0)
        from = ns;
    else
        return facts_field(facts, t->field);
    if (from.n >= room)
        return "";
    memcpy(copy, from.at, from.n);
    copy[from.n] = '\0';
    return copy;
}

bool api_filter_match(const struct api_filter *f, struct slice ns, struct slice name, const struct bytes *bytes)
{
    char copy[300];

    if ((f->name && !slice_is(name, f->name)) || (f->ns && !slice_is(ns, f->ns)))
        return false;
    if (!f->labels && f->n_terms == 0)
        return true;
    struct facts facts = facts_view(bytes);
    if (f->labels && !selector_match_flat(f->labels, facts.labels))
        return false;
    for (size_t i = 0; i < f->n_terms; i++) {
        const struct field_term *t = &f->terms[i];
        bool equal = strcmp(term_value(t, ns, name, &facts, copy, sizeof(copy)), t->value) == 0;

        if (equal == t->negate)
            return false;
    }
    return true;
}
