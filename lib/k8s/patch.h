#ifndef LIB_K8S_PATCH_H
#define LIB_K8S_PATCH_H
/*
 * patch - the four ways to change a part of an object. Trees in, a new tree out; inputs stay untouched.
 * Source: RFC 6902, RFC 7386, Kubernetes strategic merge patch, structured-merge-diff (server-side apply). Thread: the trees'.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/schema.h"

/* Errors: BAD_REQUEST (malformed), INVALID (a test failed, a path is absent; err.msg says which, clients are told upstream's words),
 * TOO_LARGE past 10,000 operations. As upstream: `replace` makes an absent member, negative indices count from the end. At most 3 MiB
 * of copies; no deeper than JSON_DEPTH_MAX. */
CHECK_RC int patch_json(struct ctx *ctx, const json_t *object, const json_t *operations, json_t **ret, struct err *err);
/* The caller has refused a patch that is no object ("error decoding patch: json: cannot unmarshal …"). */
json_t *patch_merge(const json_t *object, const json_t *patch);
CHECK_RC int patch_strategic(struct ctx *ctx, const struct schema_type *type, const json_t *object, const json_t *patch,
                             json_t **ret, struct err *err);

/* --- managed fields: who set what. `object` trees carry metadata.managedFields as the API shows them --- */

struct apply_manager {
    const char *name;        /* fieldManager */
    const char *subresource; /* "" for the main resource */
    const char *api_version; /* "apps/v1" of the request */
    int64_t now_s;
    /* Paths ("status", "metadata.labels") this request may not own, ending with NULL; what it changes there changes no owners.
     * NULL: "status" for the main resource, "spec" for status. */
    const char *const *reset;
};

/* After a create, update or (non-apply) patch: recomputes object's managedFields from the change live -> object (live NULL: create).
 * To be called on the defaulted object before mutating admission, whose changes have no owner at upstream either.
 * The tree's own managedFields decide the base: the request's when it carries them, live's when absent, reset when it is [{}] or []. */
CHECK_RC int apply_update_managed(struct ctx *ctx, const struct schema_type *type, const json_t *live, json_t *object,
                                  const struct apply_manager *manager, struct err *err);

/* Server-side apply of `config` (whose kind and apiVersion are checked by the caller). live NULL: creates.
 * *ret is the new object with managedFields. Errors: CONFLICT with causes FieldManagerConflict worded as upstream's; BAD_REQUEST. */
CHECK_RC int apply_patch(struct ctx *ctx, const struct schema_type *type, const json_t *live, const json_t *config,
                         const struct apply_manager *manager, bool force, json_t **ret, struct err *err);

/* Takes back timestamps in managedFields when nothing else differs from live (resourceVersion apart). Both functions above do it;
 * call it again when defaulting or admission changed the object since. */
void apply_keep_times(const json_t *live, json_t *object);

/* Removes managedFields entries' ownership of what a subresource or a status reset may not own (paths like "status"). */
void apply_strip(json_t *object, const char *path);

#endif
