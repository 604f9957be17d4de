#ifndef AGENT_NETWORK_NETWORK_INT_H
#define AGENT_NETWORK_NETWORK_INT_H
/*
 * network_int - what the parts of the network share.
 *
 * The way of a packet: a pod has a /32 address and reaches everything, its neighbours too, through the gateway (the bridge's own
 * address). So each packet is routed by this host and conntrack sees both directions of it, whether or not bridge netfilter is there.
 * Layer:  agent/network only.
 */
#include "agent/network/addresses.h"
#include "agent/network/network.h"
#include "agent/network/nft.h"
#include "lib/map.h"

#include <pthread.h>

enum {
    NETWORK_NAME_BYTES = 16, /* of an interface */
    NETWORK_TABLE_BYTES = 24,
    NETWORK_FORMAT_BYTES = 32,
    NETWORK_VNI = 1,         /* flannel's, and K3s's */
    NETWORK_VXLAN_PORT = 8472,
    NETWORK_VXLAN_BYTES = 50, /* what VXLAN adds to a packet */
    NETWORK_MARK = 0x4000,   /* on a packet: its source is to be replaced; kube-proxy's bit */
};

struct network_names {
    char bridge[NETWORK_NAME_BYTES], vxlan[NETWORK_NAME_BYTES], table[NETWORK_TABLE_BYTES];
};
/* Errors: BAD_REQUEST when the instance is not 1 to 8 lower-case letters or digits. */
CHECK_RC int network_names(const char *instance, struct network_names *ret, struct err *err);

struct network {
    struct network_names names;
    char instance[9];
    char format[NETWORK_FORMAT_BYTES]; /* a chain of this name says: the table's fixed part is as we would write it */
    char vtep_mac[18];
    const struct clock *clock;
    struct cidr pods, cluster, services_range;
    uint32_t node_ip, gateway;
    int mtu;
    int bridge_index, vxlan_index; /* vxlan_index 0: no VXLAN */

    pthread_mutex_t lock; /* guards all below, and the order of batches */
    int nft_fd;
    struct addresses *addresses;
    struct map *services; /* key -> struct service */
    bool services_known;  /* the kernel's services are ours: the first setting after network_open replaces what was there */
    struct map *nodes;    /* name -> struct node */
};

/* --- network_table.c: the fixed part of the table --- */

/* Makes the table when it is missing or of another format; else leaves services as they are and writes host ports anew. */
CHECK_RC int network_table_open(struct network *n, struct err *err);
/* Into a batch: deletes the table and writes its fixed part and all host ports. */
void network_table_write(struct network *n, struct nft *b);
/* Into a batch: one pod's host ports and hairpin pair. */
void network_table_pod(struct nft *b, const struct address *a, bool del);

/* --- network_service.c --- */

enum { NETWORK_ENDPOINTS_MAX = 10000 }; /* of one service port */

/* As it stands in a map's data. */
struct network_target {
    uint32_t be_ip;
    uint16_t be_port, zero;
};

void network_services_clear(struct network *n);

/* --- network_flow.c --- */

/* A UDP service port and the endpoints that flows to it may have. */
struct network_flow {
    uint32_t be_ip;
    uint16_t be_port, be_node_port;
    const struct network_target *targets;
    size_t n_targets;
};
/* Removes conntrack entries of these ports that lead elsewhere; fd is a NETLINK_NETFILTER socket. */
CHECK_RC int network_flows_forget(int fd, const struct network_flow *flows, size_t n_flows, struct err *err);

/* --- network_node.c --- */

CHECK_RC int network_vxlan_open(struct network *n, int route_fd, const char *node_name, struct err *err);
void network_nodes_clear(struct network *n);

#endif
