#ifndef SERVER_AUTH_AUTHN_H
#define SERVER_AUTH_AUTHN_H
/*
 * authn - who calls: client certificate, service-account token, static supervisor tokens; else anonymous.
 * Source: Kubernetes "Authenticating". Thread: any worker; verified tokens are cached by hash (bounded), the bound object is looked at on each request.
 */
#include "datastore/store.h"
#include "lib/crypto.h"
#include "lib/ctx.h"
#include "lib/http/message.h"

struct authn;

struct authn_options {
    const struct clock *clock;
    struct store *store;                 /* service accounts, pods, nodes a token is bound to */
    struct jwt_key *const *keys;         /* first signs */
    size_t n_keys;
    const char *issuer;                  /* "https://kubernetes.default.svc.cluster.local" */
    const char *const *audiences;        /* of the API server; ends with NULL */
};
CHECK_RC int authn_new(const struct authn_options *options, struct authn **ret, struct err *err);
void authn_free(struct authn *a);

/* What a request shows. */
struct authn_request {
    const char *authorization;     /* header; NULL */
    const char *bearer_protocol;   /* WebSocket subprotocol base64url.bearer.authorization.k8s.io.…; NULL */
    bool has_cert;                 /* a verified client certificate */
    const char *cert_common_name;
    const char *const *cert_organizations;
    size_t n_cert_organizations;
    const char *cert_error;        /* presented but not believed; NULL */
};
/* *ret in ctx->arena; system:authenticated or system:unauthenticated is among its groups.
 * Errors: UNAUTHORIZED for a credential that is wrong (none at all is anonymous). Blocks: on the store. */
CHECK_RC int authn_check(struct ctx *ctx, struct authn *a, const struct authn_request *request, const struct user **ret,
                         struct err *err);

/* Static users for the join protocol's basic and bearer credentials (K3s: users `server`, `node`). */
void authn_set_static(struct authn *a, const char *user, const char *password, const char *const *groups);

/* --- TokenRequest: a new service-account token --- */
struct authn_token_spec {
    const char *ns, *service_account, *service_account_uid;
    const char *const *audiences; /* ends with NULL; NULL: the API server's */
    int64_t expires_s;            /* from now */
    const char *bound_kind;       /* "Pod", "Node", "Secret"; NULL: none */
    const char *bound_name, *bound_uid;
    const char *node_name, *node_uid; /* of a bound pod; NULL */
};
CHECK_RC int authn_issue(struct ctx *ctx, struct authn *a, const struct authn_token_spec *spec, struct buf *ret_token,
                         int64_t *ret_expires_at_s, struct err *err);
/* TokenReview: any audience of `audiences`. *ret_audiences (arena, ends with NULL): the intersection. */
CHECK_RC int authn_review(struct ctx *ctx, struct authn *a, const char *token, const char *const *audiences,
                          const struct user **ret, const char *const **ret_audiences, struct err *err);
/* /.well-known/openid-configuration and /openid/v1/jwks bodies. */
void authn_openid_config(struct authn *a, const char *api_url, struct buf *to);
void authn_jwks(struct authn *a, struct buf *to);

#endif
