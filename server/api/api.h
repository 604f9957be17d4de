#ifndef SERVER_API_API_H
#define SERVER_API_API_H
/*
 * api - one request's way through the Kubernetes API (DESIGN §2): route, authenticate, authorize, decode, admit, validate, store,
 * answer. The HTTP front (api_serve) and the in-process client (api_client_new) take the same way.
 *
 * Layer:  above datastore/ and lib/; knows server/auth and server/admission by their headers.
 * Thread: api_serve on loops (it hands over to the pool); the rest any worker.
 */
#include "datastore/store.h"
#include "lib/http/server.h"
#include "lib/k8s/client.h"
#include "lib/k8s/schema.h"
#include "lib/loop.h"
#include "lib/pool.h"

struct api;

struct authn;     /* server/auth/authn.h */
struct authz;     /* server/auth/authz.h */
struct admission; /* server/admission/admission.h */

struct api_options {
    const struct clock *clock;
    struct store *store;
    struct pool *pool;
    struct loop *const *loops;
    size_t n_loops;
    struct authn *authn;   /* who is it */
    struct authz *authz;   /* may they; set before the first request; NULL during bootstrap: only in-process system:masters */
    struct admission *admission;
    const char *version;   /* "v1.37.2+rancherd1" */
    const char *service_cidr; /* "10.43.0.0/16": cluster IPs are allocated by the Service kind */
    int node_port_first, node_port_last;
    int reads_max, writes_max; /* 0: 400, 200 */
};

CHECK_RC int api_new(const struct api_options *options, struct api **ret, struct err *err);
void api_stop(struct api *a, int64_t grace_ms); /* readyz fails, watches end at an event boundary */
void api_free(struct api *a);

/* The http_handler_fn for everything the supervisor does not take. */
void api_serve(void *api, struct http_request *r);

/* In-process transport as this user (copied). Goes through authorization, admission and validation like anyone. */
struct client *api_client_new(struct api *a, const struct user *user);

/* Named readiness checks shown by /readyz?verbose; fn returns 0 when ready. Before traffic. */
void api_add_ready_check(struct api *a, const char *name, int (*fn)(void *arg, struct err *err), void *arg);

/* Named parts of the control plane, shown by componentstatuses in this order; fn returns 0 when the part works, else err is its message.
 * The API adds its store (etcd-0) itself. Before traffic; fn on any worker. */
void api_add_component(struct api *a, const char *name, int (*fn)(void *arg, struct err *err), void *arg);

/* How to reach a node's kubelet (logs, exec, attach, port-forward, proxy): fills host, port of the node; the TLS client certificate is the caller's setting. */
struct api_kubelet {
    struct tls_ctx *tls; /* client certificate of the API server towards kubelets, CA of kubelet serving certificates */
    /* NULL: dial the node's InternalIP and daemon port from its status. A tunnel sets it. */
    struct conn *(*dial)(void *arg, const char *node, const struct conn_ops *ops, void *ops_arg);
    void *dial_arg;
};
void api_set_kubelet(struct api *a, const struct api_kubelet *k);

#endif
