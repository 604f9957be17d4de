/* Other nodes: their pods behind a VXLAN; one route, one neighbour and one forwarding entry a node. */
#include "agent/network/network_int.h"

#include "agent/network/link.h"
#include "lib/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { NODES_MAX = 10000 };

struct node {
    struct cidr pods;
    uint32_t ip;
    unsigned char mac[6];
};

/* The same for a node at each start, so that the others' entries stay true. */
static void vtep_mac(const struct network *n, const char *node_name, unsigned char mac[6])
{
    unsigned char hash[SHA256_BYTES];
    AUTO_FREE char *text = mem_printf("%s %s %u", n->instance, node_name ? node_name : "", n->node_ip);

    sha256_of(text, strlen(text), hash);
    memcpy(mac, hash, 6);
    mac[0] = (unsigned char)((mac[0] | 2) & 0xfe); /* locally administered, one station */
}

int network_vxlan_open(struct network *n, int route_fd, const char *node_name, struct err *err)
{
    unsigned char mac[6];
    struct link v = { 0 };

    if (!n->node_ip || n->node_ip >> 24 == 127)
        return 0; /* a node nobody else can reach */
    vtep_mac(n, node_name, mac);
    if (link_get(route_fd, n->names.vxlan, &v, err) < 0)
        return -(int)err->code;
    if (v.index && memcmp(v.mac, mac, 6) != 0) { /* the node's address changed */
        if (link_del(route_fd, n->names.vxlan, err) < 0)
            return -(int)err->code;
        v.index = 0;
    }
    if (!v.index && link_add_vxlan(route_fd, n->names.vxlan, mac, n->mtu, n->node_ip, NETWORK_VNI, NETWORK_VXLAN_PORT, err) < 0) {
        if (err->sys == EEXIST || err->sys == EOPNOTSUPP || err->sys == EADDRINUSE)
            return 0; /* another instance on this machine has it, or the kernel has no VXLAN: one node alone works */
        return -(int)err->code;
    }
    if (!v.index && link_get(route_fd, n->names.vxlan, &v, err) < 0)
        return -(int)err->code;
    n->vxlan_index = v.index;
    snprintf(n->vtep_mac, sizeof(n->vtep_mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    /* The source of what this host itself sends to other nodes' pods; they have a route to it. */
    return link_add_address(route_fd, v.index, n->pods.ip, 32, err);
}

const char *network_vtep_mac(struct network *n)
{
    return n->vtep_mac;
}

static int mac_read(const char *text, unsigned char mac[6], struct err *err)
{
    int end = 0;

    if (!text || sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &end) != 6 ||
        text[end])
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no MAC address", text ? text : "");
    return 0;
}

static struct link_route route_to(const struct network *n, const struct node *node)
{
    return (struct link_route){
        .index = n->vxlan_index, .to = node->pods.ip, .prefix = node->pods.prefix, .via = node->pods.ip, .onlink = true
    };
}

static int forget(struct network *n, int fd, const struct node *node, struct err *err)
{
    struct link_route route = route_to(n, node);

    if (link_route_del(fd, &route, err) < 0 || link_neighbour_del(fd, n->vxlan_index, node->pods.ip, err) < 0)
        return -(int)err->code;
    return link_forward_del(fd, n->vxlan_index, node->mac, err);
}

static int learn(struct network *n, int fd, const struct node *node, struct err *err)
{
    struct link_route route = route_to(n, node);

    if (link_forward_set(fd, n->vxlan_index, node->mac, node->ip, err) < 0 ||
        link_neighbour_set(fd, n->vxlan_index, node->pods.ip, node->mac, err) < 0)
        return -(int)err->code;
    return link_route_set(fd, &route, err);
}

static int set_node(struct network *n, const char *name, const struct node *want, struct err *err)
{
    AUTO_FD int fd = -1;
    LOCK_SCOPE(&n->lock);
    struct node *known = n->nodes ? map_get(n->nodes, name) : NULL;

    if (known && known->pods.ip == want->pods.ip && known->pods.prefix == want->pods.prefix && known->ip == want->ip &&
        memcmp(known->mac, want->mac, 6) == 0)
        return 0;
    if (!known && n->nodes && map_len(n->nodes) >= NODES_MAX)
        return err_set(err, ERR_TOO_MANY, "this node keeps routes to at most %d others", NODES_MAX);
    if (nl_open(NETLINK_ROUTE, &fd, err) < 0 || (known && forget(n, fd, known, err) < 0) || learn(n, fd, want, err) < 0)
        return -(int)err->code;
    if (!n->nodes)
        n->nodes = map_new(free);
    if (!known) {
        known = MEM_NEW(struct node);
        map_set(n->nodes, name, known);
    }
    *known = *want;
    return 0;
}

int network_node_set(struct network *n, const char *node, const char *pod_cidr, const char *node_ip, const char *mac,
                     struct err *err)
{
    struct node want = { 0 };

    if (cidr_read(pod_cidr, &want.pods, err) < 0 || ipv4_read(node_ip, &want.ip, err) < 0 || mac_read(mac, want.mac, err) < 0)
        return err_wrap(err, "node %s", node);
    if (!n->vxlan_index)
        return err_set(err, ERR_UNAVAILABLE, "node %s: this node has no VXLAN interface, its pods cannot reach other nodes", node);
    if (want.pods.ip == n->pods.ip)
        return err_set(err, ERR_CONFLICT, "node %s: its pod range %s is ours", node, pod_cidr);
    if (set_node(n, node, &want, err) < 0)
        return err_wrap(err, "route to node %s", node);
    return 0;
}

int network_node_del(struct network *n, const char *node, struct err *err)
{
    AUTO_FD int fd = -1;
    LOCK_SCOPE(&n->lock);
    struct node *known = n->nodes ? map_get(n->nodes, node) : NULL;

    if (!known)
        return 0;
    if (nl_open(NETLINK_ROUTE, &fd, err) < 0 || forget(n, fd, known, err) < 0)
        return err_wrap(err, "forget node %s", node);
    map_del(n->nodes, node);
    return 0;
}

void network_nodes_clear(struct network *n)
{
    map_free(n->nodes);
    n->nodes = NULL;
}
