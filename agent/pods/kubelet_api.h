#ifndef AGENT_PODS_KUBELET_API_H
#define AGENT_PODS_KUBELET_API_H
/*
 * kubelet_api - the kubelet endpoint: /containerLogs, /exec, /attach, /portForward, /run, /pods, /healthz, /stats/summary, /metrics, /metrics/cadvisor, /metrics/resource.
 *
 * TLS with the node's serving certificate; a client certificate of the cluster's client CA is required (401 else). Allowed: group system:masters, user
 * system:kube-apiserver (403 for others until reviews are delegated).
 * Knows the pods through struct kubelet_world only. Exec and attach: lib/stream wired to runtime_session; port-forward: runtime_dial; logs: pods/logs.h.
 * Thread: start and stop from one thread, not a pool worker; the rest any.
 * Source: upstream's pkg/kubelet/server routes and parameters.
 */
#include "agent/pods/logs.h"
#include "agent/runtime/runtime.h"
#include "lib/clock.h"
#include "lib/json.h"

struct kubelet_api;

/* A container as a request names it. */
struct kubelet_target {
    char pod_uid[64], id[65];
    char log_path[512];
    bool running; /* exec and attach need it */
    bool ended;   /* no more log lines will come */
    bool tty, stdin_open;
};

/* What the endpoint asks of the pod life cycle. Callbacks on any thread, never blocking long. */
struct kubelet_world {
    void *arg;
    /* container "" or NULL: the only one (or the annotation kubectl.kubernetes.io/default-container). previous: the attempt before.
     * Errors, worded as upstream: NOT_FOUND (no such pod), BAD_REQUEST (`container "c" in pod "p" is waiting to start: ContainerCreating`,
     * `previous terminated container "c" in pod "p" not found`, `container c is not valid for pod p`). */
    int (*find)(void *arg, const char *ns, const char *pod, const char *uid, const char *container, bool previous, struct kubelet_target *ret,
                struct err *err);
    /* Only the pod (port-forward). NOT_FOUND. */
    int (*find_pod)(void *arg, const char *ns, const char *pod, const char *uid, char ret_uid[64], struct err *err);
    /* The pods of this node as a v1 PodList tree. Owner: the caller. */
    json_t *(*pods)(void *arg);
    /* cgroup of a pod, relative ("kubepods-<instance>/…"), for statistics. NOT_FOUND. */
    int (*cgroup)(void *arg, const char *pod_uid, char ret[256], struct err *err);
    bool (*healthy)(void *arg); /* /healthz */
};

struct kubelet_api_options {
    const char *bind_address; /* "0.0.0.0" */
    int port;
    const char *serving_cert_pem, *serving_key_pem, *client_ca_pem;
    const char *node_name;
    const char *cgroup_root; /* "kubepods-<instance>": its usage is the pods' part of the node's */
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    struct runtime *runtime;
    struct kubelet_world world;
};
/* Errors: UNAVAILABLE "listen tcp 0.0.0.0:10250: bind: address already in use". */
CHECK_RC int kubelet_api_start(const struct kubelet_api_options *options, struct kubelet_api **ret, struct err *err);
/* The port (for tests with port 0). */
int kubelet_api_port(const struct kubelet_api *k);
/* A container ended, and its log is whole: ends its followers and attach sessions. */
void kubelet_api_container_ended(struct kubelet_api *k, const char *pod_uid, const char *id);
void kubelet_api_stop(struct kubelet_api *k); /* NULL allowed */

#endif
