#ifndef SERVER_SCHEMA_KIND_H
#define SERVER_SCHEMA_KIND_H
/*
 * kind - what is special about a kind: conditional defaults, preparation, validation, allowed updates, deletion, table cells,
 * selectable fields. One struct kind_ops a kind, in kinds/ one file an API group, found by table; generic code never names a kind.
 * Source: upstream's registry strategies, defaults and validation. Thread: any worker.
 */
#include "datastore/store.h"
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/schema.h"
#include "lib/k8s/status.h"

struct kind_env; /* what kinds may use of the server: kind_env.h (allocators, authn for tokens …) */

struct kind_ops {
    const char *group, *kind; /* all served versions */
    /* Defaults that depend on other fields; after object_default. */
    void (*default_)(json_t *object);
    /* Before validation of a create: drops or sets what clients may not (status reset is generic), generation is generic. */
    void (*prepare_create)(struct ctx *ctx, json_t *object);
    void (*prepare_update)(struct ctx *ctx, json_t *object, const json_t *old); /* main resource */
    void (*prepare_status)(struct ctx *ctx, json_t *object, const json_t *old); /* status subresource */
    void (*validate)(struct ctx *ctx, const json_t *object, struct field_errors *errs);
    void (*validate_update)(struct ctx *ctx, const json_t *object, const json_t *old, struct field_errors *errs);
    void (*validate_status)(struct ctx *ctx, const json_t *object, const json_t *old, struct field_errors *errs);
    /* Side work of the registry around the store (cluster IPs and node ports …). begin may change the object; end tells whether it was stored. */
    int (*begin)(struct ctx *ctx, struct kind_env *env, json_t *object, const json_t *old, bool dry_run, struct err *err);
    void (*end)(struct kind_env *env, const json_t *object, const json_t *old, bool stored);
    /* Graceful deletion: seconds to wait with a deletionTimestamp set (0: delete now). grace_s -1: not given. May change object (status). NULL: 0. */
    int64_t (*grace)(json_t *object, int64_t grace_s);
    /* Cells of the Table row behind Name…: fills `cells` (a json array) in the order of schema_columns. NULL: Name and Age. */
    void (*cells)(struct ctx *ctx, const json_t *object, json_t *cells);
    /* Selectable fields beside metadata.name and metadata.namespace, e.g. "spec.nodeName"; ends with NULL. */
    const char *const *fields;
    /* The value of one of `fields` when it is not simply that path in the object ("" when absent); NULL: the path. */
    const char *(*field)(struct ctx *ctx, const json_t *object, const char *name);
    /* The stored name of one of `fields` where the kind is stored as another (events.k8s.io: "regarding.name" is "involvedObject.name"),
     * and of old aliases outside `fields`; gives the name back when it is not. NULL: as they are. */
    const char *(*field_stored)(const char *name);
    /* Checks names; NULL: DNS subdomain. Returns upstream's message or NULL. */
    const char *(*name_invalid)(const char *name);
    /* Whether the object must stay although metadata.finalizers is empty (Namespace: spec.finalizers). NULL: no. */
    bool (*held)(const json_t *object);
    /* Called when a deletion begins that cannot end now (Namespace: phase Terminating). NULL: nothing. */
    void (*terminating)(json_t *object);
    bool return_deleted;         /* DELETE answers with the object instead of a Status */
    bool create_on_update;       /* PUT of what is absent creates */
    bool unconditional_update;   /* update without resourceVersion is allowed */
    const char *propagation;     /* default deletion propagation; NULL: Background */
    int64_t ttl_s;               /* expiry of objects (events: 3600); 0: none */
    bool no_generation;          /* metadata.generation is not kept (kinds without spec) */
    bool no_status_reset;        /* the status of the main resource is not separate */
};

/* Kinds served in a version they are not stored in (Event of events.k8s.io, HorizontalPodAutoscaler v1). */
struct kind_conversion {
    const char *group, *version, *kind;         /* as served */
    const char *storage_group, *storage_version; /* as stored; same kind name */
    void (*to_storage)(json_t *object);          /* kind and apiVersion included */
    void (*from_storage)(json_t *object);
};
const struct kind_conversion *kind_conversion(const char *group, const char *version, const char *kind); /* NULL: stored as served */

/* Scale subresource: paths of replicas in spec and status and of the selector; NULL when the kind has none.
 * Built-in kinds: .spec.replicas, .status.replicas, .status.selector text from spec.selector. */

/* Never NULL: kinds without an entry get the generic one. */
const struct kind_ops *kind_ops(const char *group, const char *kind);

#endif
