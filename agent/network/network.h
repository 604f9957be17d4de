#ifndef AGENT_NETWORK_NETWORK_H
#define AGENT_NETWORK_NETWORK_H
/*
 * network - pod interfaces on a bridge, routes to other nodes (VXLAN), masquerade, host ports: rtnetlink and nf_tables directly.
 *
 * Every machine-global name derives from the instance id (bridge rd<8hex>, nft table rancherd-<8hex>, vxlan rdx<8hex>), so two nodes share a machine
 * and clean-up touches only its own. Changes go to the kernel in atomic batches; no process is started. State is found again in the kernel and in
 * <data_dir>/network/ips (addresses given).
 * Layer:  agent/. Thread: any worker. Blocks: on the kernel, briefly.
 */
#include "lib/ctx.h"

#include <sys/types.h>

struct network;

struct network_options {
    const char *data_dir; /* <data-dir>/agent */
    const char *instance;
    const char *node_name, *node_ip;  /* our address towards the other nodes */
    const char *pod_cidr;             /* this node's, "10.42.0.0/24" */
    const char *cluster_cidr;         /* "10.42.0.0/16" */
    const char *service_cidr;
    int mtu;                          /* 0: from the interface of node_ip, less 50 for VXLAN */
    const struct clock *clock;
};
CHECK_RC int network_open(const struct network_options *options, struct network **ret, struct err *err);
void network_close(struct network *n);  /* the kernel's state stays; NULL allowed */
/* Removes all of this instance's kernel state (uninstall, tests). */
CHECK_RC int network_purge(const char *instance, struct err *err);

/* Gives the bridge one more address of this node's own, for the cluster's DNS server. */
CHECK_RC int network_own_address(struct network *n, const char *ip, struct err *err);

struct network_host_port {
    const char *protocol; /* "TCP", "UDP", "SCTP" */
    const char *host_ip;  /* NULL or "": any */
    int host_port, container_port;
};
/* Gives the pod an address, a veth into its namespace (by the shim's pid), lo up, routes. Idempotent for one uid.
 * Errors: UNAVAILABLE when the range is used up; CONFLICT when a host port is taken by another pod. Owner: *ret_ip free. */
CHECK_RC int network_attach(struct ctx *ctx, struct network *n, const char *pod_uid, pid_t netns_pid, const struct network_host_port *ports,
                            size_t n_ports, char **ret_ip, struct err *err);
CHECK_RC int network_detach(struct ctx *ctx, struct network *n, const char *pod_uid, struct err *err); /* unknown is success */
/* After recovery: frees what belongs to no pod of the list. */
CHECK_RC int network_retain(struct ctx *ctx, struct network *n, const char *const *pod_uids, size_t n_uids, struct err *err);

/* Other nodes: pod range via its address. */
CHECK_RC int network_node_set(struct network *n, const char *node, const char *pod_cidr, const char *node_ip, const char *vtep_mac, struct err *err);
CHECK_RC int network_node_del(struct network *n, const char *node, struct err *err);
/* MAC of our VXLAN interface, announced in the node's annotation flannel.alpha.coreos.com/backend-data. "" without VXLAN. */
const char *network_vtep_mac(struct network *n);

/* --- services: one map lookup a packet whatever their number --- */
struct network_endpoint {
    const char *ip;
    int port;
};
struct network_service_port {
    const char *key;       /* "ns/name:port" */
    const char *protocol;
    const char *cluster_ip; /* "" : none */
    int port, node_port;   /* node_port 0: none */
    bool affinity;         /* ClientIP */
    int affinity_s;
    bool local_only;       /* externalTrafficPolicy Local for node ports */
    const struct network_endpoint *endpoints;
    size_t n_endpoints;    /* 0: rejected */
    const struct network_endpoint *local_endpoints; /* of this node, for local_only */
    size_t n_local_endpoints;
};
/* Replaces what is known of one key; only what changed goes to the kernel, in one batch with others set within the same call. */
CHECK_RC int network_services_set(struct network *n, const struct network_service_port *ports, size_t n_ports, struct err *err);
CHECK_RC int network_services_del(struct network *n, const char *const *keys, size_t n_keys, struct err *err);

#endif
