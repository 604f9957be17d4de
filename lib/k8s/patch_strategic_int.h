#ifndef LIB_K8S_PATCH_STRATEGIC_INT_H
#define LIB_K8S_PATCH_STRATEGIC_INT_H
/*
 * patch_strategic_int - lists in a strategic merge patch: merging, and the order of the result.
 * Source: k8s.io/apimachinery pkg/util/strategicpatch. Thread: the trees'.
 */
#include "lib/k8s/patch.h"


#define STRATEGIC_SET_ORDER "$setElementOrder"
#define STRATEGIC_DELETE    "$deleteFromPrimitiveList"
#define STRATEGIC_RETAIN    "$retainKeys"

/* What a type's member is. */
struct strategic_field {
    const struct schema_type *type; /* of the member, or of a list's items */
    bool merge, replace;
    const char *key; /* "" without a merge key */
};

/* The kind of the items of both lists: JSON_OBJECT, JSON_STRING, …. Errors: upstream's for mixed, empty or nested lists. */
CHECK_RC int strategic_item_type(struct ctx *ctx, const json_t *x, const json_t *y, json_type *ret, struct err *err);
/* Merges patch into original, an owned copy of a map (both are used up in the process); a new reference. */
CHECK_RC int strategic_map(struct ctx *ctx, const struct schema_type *type, json_t *original, json_t *patch, json_t **ret,
                           struct err *err);
/* The same for lists. `deletes`: patch lists primitives to take out. */
CHECK_RC int strategic_list(struct ctx *ctx, const struct strategic_field *f, json_t *original, json_t *patch, bool deletes,
                            json_t **ret, struct err *err);
/* Orders merged: what is in `wanted` as it is there, the rest as in `live`, woven by live's order. A new reference. */
CHECK_RC int strategic_order(struct ctx *ctx, json_t *merged, json_t *wanted, json_t *live, const char *key, json_t **ret,
                             struct err *err);
CHECK_RC int strategic_check_order(struct ctx *ctx, json_t *patch, json_t *wanted, const char *key, struct err *err);

/* Errors in upstream's words. */
CHECK_RC int strategic_no_key(struct ctx *ctx, const json_t *map, const char *key, struct err *err);
CHECK_RC int strategic_bad_kind(struct ctx *ctx, const char *expected, const json_t *got, struct err *err);
const char *strategic_go_text(struct ctx *ctx, const json_t *v); /* as Go's %v */

#endif
