#ifndef LIB_K8S_APPLY_INT_H
#define LIB_K8S_APPLY_INT_H
/*
 * apply_int - the walks of server-side apply over typed trees. Source: structured-merge-diff v6, typed. Thread: the arena's.
 *
 * Trees are borrowed; a set's strings point into the trees it was made from.
 */
#include "lib/k8s/fieldset.h"
#include "lib/k8s/schema.h"

/* How a value of this type is owned. */
enum apply_form { APPLY_SCALAR, APPLY_ATOMIC, APPLY_MAP, APPLY_LIST };
enum apply_form apply_form(const struct schema_type *type, const json_t *v);
/* The type of a member; *ret_field NULL when it is no declared field. NULL in a struct: unknown. */
const struct schema_type *apply_member_type(const struct schema_type *type, const char *key, size_t n,
                                            const struct schema_field **ret_field);

/* The element of an associative list's item. Errors: BAD_REQUEST in upstream's words. */
CHECK_RC int apply_list_element(struct arena *a, const struct schema_type *list, const json_t *item, struct fs_element *ret,
                                struct err *err);

/* An associative list with its elements, also sorted. */
struct apply_entry {
    struct fs_element at;
    json_t *item;
    size_t index;
    size_t match; /* the first of the same element in the other list; SIZE_MAX: none */
    bool again;   /* not the first with this element in its own list */
    bool many;    /* others have the same element */
};
struct apply_list {
    struct apply_entry *entries; /* in list order */
    struct apply_entry **sorted;
    size_t n;
};
/* v NULL or null: empty. Items without an element are left out. */
void apply_list_of(struct arena *a, const struct schema_type *list, const json_t *v, struct apply_list *ret);
void apply_list_match(struct apply_list *x, struct apply_list *y);

/* What in `config` does not fit the type: one line, or "errors:\n  …"; NULL when it fits. */
const char *apply_problems(struct arena *a, const struct schema_type *type, const json_t *config);

const struct fieldset *apply_set_of(struct arena *a, const struct schema_type *type, const json_t *v);

struct apply_difference {
    const struct fieldset *changed; /* added or modified */
    const struct fieldset *removed;
};
/* lhs NULL: a new, empty object of the type (struct fields that Go always writes are there). */
struct apply_difference apply_compare(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs);

/* lhs with rhs laid over it; shares parts of both. Either may be NULL, not both. */
json_t *apply_merge(struct arena *a, const struct schema_type *type, json_t *lhs, json_t *rhs);
/* v without the members of `remove`; shares parts of v. What becomes empty is null, as upstream has it. */
json_t *apply_remove(struct arena *a, const struct schema_type *type, json_t *v, const struct fieldset *remove);
/* Numbers by value, objects whatever their order. */
bool apply_equal(const json_t *x, const json_t *y);

#endif
