#ifndef LIB_K8S_OBJECT_H
#define LIB_K8S_OBJECT_H
/*
 * object - engines over the schema for one object tree: prune, default, validate, canonical bytes.
 * Thread: the tree's. Source: Kubernetes API conventions; upstream 1.37 behaviour.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/schema.h"
#include "lib/k8s/status.h"

/* Told of each unknown (or duplicate) field, as fieldValidation words it: unknown field "spec.foo". */
typedef void object_unknown_fn(void *arg, const char *message);

/* Checks types and drops unknown fields; null members are removed; numbers become the field's type; quantities become canonical; plain (non-pointer,
 * not `always`) zero values are dropped, `always` ones are written.
 * Errors: BAD_REQUEST with upstream's decode message, e.g.
 * `json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool` . */
CHECK_RC int object_prune(const struct schema_type *type, json_t *object, object_unknown_fn *unknown, void *arg, struct err *err);
/* The same, but an empty list or map that is `always` written stays what it is instead of null. Storage keeps no such difference, but to
 * managed fields it is one: who sends [] owns the list. *ret_kept is set when there is one (else left alone): object_prune once that is done. */
CHECK_RC int object_prune_keeping(const struct schema_type *type, json_t *object, object_unknown_fn *unknown, void *arg, bool *ret_kept,
                                  struct err *err);

/* Static defaults of the schema (the conditional ones are the kind's: server/schema/kinds). */
void object_default(const struct schema_type *type, json_t *object);

/* Generic checks that the schema tells: required, enum. Adds to errs with field paths. */
void object_validate(const struct schema_type *type, const json_t *object, struct field_errors *errs);

/* The stored form: {"kind":…,"apiVersion":…,"metadata":{…},…} without resourceVersion (DESIGN decision 1). */
struct bytes *object_bytes(const json_t *object);
/* Splices a resourceVersion right behind `"metadata":{` while copying into `to`. */
void object_splice(struct slice stored, int64_t resource_version, struct buf *to);

#endif
