#ifndef LIB_K8S_FIELDSET_H
#define LIB_K8S_FIELDSET_H
/*
 * fieldset - sets of field paths, as managedFields' fieldsV1 holds them.
 *
 * Sets live in an arena and are immutable once made; results share their parts. Thread: the arena's.
 * Source: structured-merge-diff v6, fieldpath.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/schema.h"

enum fs_scalar_type { FS_REAL, FS_INT, FS_STRING, FS_BOOL, FS_OTHER }; /* FS_OTHER: null, list or map; compared as text */

struct fs_scalar {
    enum fs_scalar_type type;
    union {
        double real;
        int64_t integer;
        struct slice text; /* FS_STRING unescaped; FS_OTHER JSON */
    };
};

struct fs_key {
    struct slice name;
    struct fs_scalar value;
};

enum fs_kind { FS_FIELD, FS_KEY, FS_VALUE, FS_INDEX }; /* in upstream's order */

/* One step of a path: f:name, k:{"name":"x"}, v:"x", i:3. */
struct fs_element {
    enum fs_kind kind;
    uint32_t n_keys;
    union {
        struct slice name;
        const struct fs_key *keys; /* by name */
        struct fs_scalar value;
        int64_t index;
    };
};

/* A step that is in the set itself, or has children that are, or both. */
struct fs_item {
    struct fs_element at;
    bool member;
    const struct fieldset *below; /* never empty; NULL when none */
};

struct fieldset {
    size_t n;
    const struct fs_item *items; /* in fs_compare's order, each element once */
};

int fs_compare(const struct fs_element *a, const struct fs_element *b);
struct fs_scalar fs_scalar_of(struct arena *a, const json_t *v);
struct fs_element fs_field(const char *name);

/* NULL stands for the empty set everywhere. */
static inline bool fieldset_empty(const struct fieldset *s)
{
    return !s || s->n == 0;
}
const struct fs_item *fieldset_find(const struct fieldset *s, const struct fs_element *e); /* NULL when absent */
const struct fieldset *fieldset_union(struct arena *a, const struct fieldset *x, const struct fieldset *y);
const struct fieldset *fieldset_intersection(struct arena *a, const struct fieldset *x, const struct fieldset *y);
const struct fieldset *fieldset_difference(struct arena *a, const struct fieldset *x, const struct fieldset *y);
/* Also takes away all below y's members. */
const struct fieldset *fieldset_without(struct arena *a, const struct fieldset *x, const struct fieldset *y);
/* Adds the struct fields that lead to members. */
const struct fieldset *fieldset_named(struct arena *a, const struct fieldset *s, const struct schema_type *type);
/* {"a","b","c"} as one path of field names. */
const struct fieldset *fieldset_of_path(struct arena *a, const char *dotted);

/* Collects items in any order; fieldset_build sorts them and joins equal elements. */
struct fs_builder {
    struct arena *arena;
    struct fs_item *items;
    size_t n, cap;
};
void fs_add(struct fs_builder *b, struct fs_element at, bool member, const struct fieldset *below);
const struct fieldset *fieldset_build(struct fs_builder *b); /* NULL when nothing was added */

/* fieldsV1 both ways. Errors: BAD_REQUEST; depth over JSON_DEPTH_MAX. Unknown element types are dropped, as upstream does. */
CHECK_RC int fieldset_read(struct arena *a, const json_t *fields, const struct fieldset **ret, struct err *err);
json_t *fieldset_write(const struct fieldset *s);

/* Calls fn with each member's path as text (".spec.ports[port=80].name"), in upstream's order. */
typedef void fieldset_path_fn(void *arg, const char *path);
void fieldset_each(const struct fieldset *s, fieldset_path_fn *fn, void *arg);
/* One element as it reads in a path. */
void fs_element_text(const struct fs_element *e, struct buf *to);

#endif
