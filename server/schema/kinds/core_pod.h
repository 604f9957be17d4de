#ifndef SERVER_SCHEMA_KINDS_CORE_POD_H
#define SERVER_SCHEMA_KINDS_CORE_POD_H
/* core_pod - the parts of the Pod kind that fill files of their own. Thread: the tree's. */
#include "server/schema/kind.h"

void pod_cells(struct ctx *ctx, const json_t *pod, json_t *cells);
void pod_template_cells(struct ctx *ctx, const json_t *template, json_t *cells);
void pod_validate(struct ctx *ctx, const json_t *pod, struct field_errors *errs);
/* What only a creation is refused for. */
int pod_begin(struct ctx *ctx, struct kind_env *env, json_t *pod, const json_t *old, bool dry_run, struct err *err);
void pod_validate_update(struct ctx *ctx, const json_t *pod, const json_t *old, struct field_errors *errs);
void pod_validate_status(struct ctx *ctx, const json_t *pod, const json_t *old, struct field_errors *errs);

#endif
