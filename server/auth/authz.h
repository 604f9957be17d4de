#ifndef SERVER_AUTH_AUTHZ_H
#define SERVER_AUTH_AUTHZ_H
/*
 * authz - may they: Node and RBAC authorizers over an index fed by the store's stream. system:masters always may.
 * Source: Kubernetes "Using RBAC Authorization", "Using Node Authorization". Thread: any.
 */
#include "datastore/store.h"
#include "lib/ctx.h"
#include "lib/json.h"

struct authz;

struct authz_request {
    const struct user *user;
    const char *verb;                  /* "get", "list", … or lower-case HTTP method for paths */
    const char *group, *version, *resource, *subresource, *name, *ns; /* "" where none */
    const char *path;                  /* non-resource request; NULL for resources */
};

CHECK_RC int authz_new(struct store *store, struct authz **ret, struct err *err);
void authz_free(struct authz *a);
/* Fed by the API's hub for rbac.authorization.k8s.io objects, pods, and what the node graph needs, before watchers hear of them. value NULL: deleted. */
void authz_observe(struct authz *a, const char *group, const char *resource, const char *ns, const char *name,
                   struct slice value);
/* Reads everything it needs from the store. Blocks. */
CHECK_RC int authz_load(struct ctx *ctx, struct authz *a, struct err *err);

/* 0: allowed. FORBIDDEN: no opinion allowed it; *ret_reason (arena) may say why (may be NULL). Other codes: it could not be decided. */
CHECK_RC int authz_check(struct ctx *ctx, struct authz *a, const struct authz_request *r, const char **ret_reason, struct err *err);
/* The Forbidden Status upstream sends: pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y". */
CHECK_RC int authz_forbidden(struct ctx *ctx, const struct authz_request *r, const char *reason, struct err *err);
/* SelfSubjectRulesReview status tree. */
json_t *authz_rules(struct ctx *ctx, struct authz *a, const struct user *user, const char *ns);
/* RBAC escalation check for (cluster) roles and bindings: FORBIDDEN with upstream's words when user lacks what `rules` grant. */
CHECK_RC int authz_may_grant(struct ctx *ctx, struct authz *a, const struct user *user, const char *ns, const json_t *rules, struct err *err);
/* The rules a RoleRef grants; NULL when the role is absent. New reference. */
json_t *authz_role_rules(struct authz *a, const char *kind, const char *ns, const char *name);

#endif
