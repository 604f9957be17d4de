#ifndef SERVER_ADMISSION_ADMISSION_H
#define SERVER_ADMISSION_ADMISSION_H
/*
 * admission - the built-in steps in upstream's order, mutating then validating; webhooks and CEL policies join here later.
 * Reads indexes or the store, never the client (DESIGN decision 5). Thread: any worker.
 */
#include "datastore/store.h"
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/schema.h"

struct admission;
struct authz;

enum admission_verb { ADMIT_CREATE, ADMIT_UPDATE, ADMIT_DELETE, ADMIT_CONNECT };

struct admission_request {
    enum admission_verb verb;
    const struct schema_resource *resource;
    const char *subresource; /* "" */
    const char *ns, *name;
    json_t *object;          /* changed in place by mutate; NULL for DELETE */
    const json_t *old;       /* live object; NULL for CREATE */
    const json_t *options;   /* DeleteOptions …; NULL */
    bool dry_run;
    void (*warn)(void *arg, const char *text); /* Warning headers */
    void *warn_arg;
};

struct admission_options {
    struct store *store;
    const struct clock *clock;
    const struct schema *schema;
    struct authz *authz; /* NULL: nobody may what takes a right of its own (granting roles, approving certificates) */
};
struct admission *admission_new(const struct admission_options *options);
void admission_free(struct admission *a); /* NULL allowed */
/* Reads what it must know from the store. Before the API serves. Blocks. */
CHECK_RC int admission_load(struct ctx *ctx, struct admission *a, struct err *err);
/* Fed by the API's hub for every object, before the writer's call returns. value.at NULL: deleted. Thread: the store's writer; quick. */
void admission_observe(struct admission *a, const char *group, const char *resource, const char *ns, const char *name, struct slice value);
/* *ret_changed: defaults and pruning must run again. Errors: FORBIDDEN, NOT_FOUND (namespace), INVALID … as upstream's plugins word them. */
CHECK_RC int admission_mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *ret_changed, struct err *err);
CHECK_RC int admission_validate(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err);

#endif
