#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H
/*
 * agent - the node agent as one unit: registers the node, runs its pods, serves the kubelet endpoint, keeps the pod network.
 *
 * Talks to the API over HTTPS with its node certificate, also on the server's machine (DESIGN decision 5).
 * Layer:  agent/; knows no server. Thread: start-up and shutdown from one thread, not a pool worker.
 */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/pool.h"

#include <stdbool.h>
#include <stddef.h>

struct agent;

struct agent_options {
    const char *data_dir;   /* <data-dir>: agent/ and bin/ below it */
    const char *run_dir;    /* tmpfs: /run/rancherd or one of the instance's own */
    const char *log_dir;    /* "/var/log/pods" */
    const char *instance;   /* 8 hex: in every machine-global name */
    const struct clock *clock;
    struct loop *loop;
    struct pool *pool;
    const char *version;    /* kubeletVersion */
    const char *api_url;    /* https://host:port */
    const char *server_ca_pem, *client_ca_pem;
    const char *client_cert_pem, *client_key_pem;   /* system:node:<name> */
    const char *serving_cert_pem, *serving_key_pem; /* of the kubelet endpoint */
    const char *node_name;
    const char *const *node_ips;          /* end with NULL; the first is the primary */
    const char *const *node_external_ips; /* end with NULL; NULL allowed */
    const char *const *node_labels;       /* "key=value" …, NULL */
    const char *const *node_taints;       /* "key=value:Effect" …, NULL */
    const char *node_args_json, *node_env_json; /* annotations; NULL: none */
    const char *cluster_cidr, *service_cidr, *cluster_dns, *cluster_domain;
    const char *registries_file, *default_registry;
    const char *oci_runtime;              /* "runc" */
    const char *resolv_conf;              /* NULL: the host's */
    const char *bind_address;             /* of the kubelet endpoint */
    int kubelet_port;                     /* 10250 */
    int max_pods;                         /* 110 */
    bool disable_kube_proxy;
};
CHECK_RC int agent_start(const struct agent_options *options, struct agent **ret, struct err *err);
void agent_stop(struct agent *a); /* containers go on; NULL allowed */

#endif
