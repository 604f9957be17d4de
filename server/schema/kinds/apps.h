#ifndef SERVER_SCHEMA_KINDS_APPS_H
#define SERVER_SCHEMA_KINDS_APPS_H
/* apps - the checks of the apps group, and what other workloads share with it. Thread: the tree's. */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/status.h"

typedef void apps_check_fn(struct ctx *ctx, const json_t *object, struct field_errors *errs);
typedef void apps_check_update_fn(struct ctx *ctx, const json_t *object, const json_t *old, struct field_errors *errs);

apps_check_fn deployment_validate, replica_set_validate, stateful_set_validate, daemon_set_validate, revision_validate;
apps_check_update_fn workload_validate_update, stateful_set_validate_update, revision_validate_update;
apps_check_update_fn deployment_validate_status, replica_set_validate_status, stateful_set_validate_status, daemon_set_validate_status;

/* The selector is there, not empty, and selects the template's labels. lower: "deployment", for the message. */
void workload_check_selector(const json_t *spec, const char *lower, struct field_errors *errs);

#endif
