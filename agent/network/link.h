#ifndef AGENT_NETWORK_LINK_H
#define AGENT_NETWORK_LINK_H
/*
 * link - interfaces, addresses, routes and neighbours over rtnetlink.
 *
 * Every call takes a NETLINK_ROUTE socket and acts in that socket's network namespace. Addresses are IPv4 in host order.
 * Layer:  agent/network only. Thread: the socket's. Source: rtnetlink(7), linux/if_link.h.
 */
#include "lib/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link {
    int index; /* 0: there is none of that name */
    int mtu;
    int master;
    bool up;
    unsigned char mac[6];
};

/* Absent is success with index 0. */
CHECK_RC int link_get(int fd, const char *name, struct link *ret, struct err *err);
CHECK_RC int link_up(int fd, int index, struct err *err);
CHECK_RC int link_set_mtu(int fd, int index, int mtu, struct err *err);
CHECK_RC int link_del(int fd, const char *name, struct err *err); /* absent is success */
/* Removes every interface whose master is `index`. */
CHECK_RC int link_del_members(int fd, int index, struct err *err);

/* All come up at once. Errors: EXISTS by errno. */
CHECK_RC int link_add_bridge(int fd, const char *name, const unsigned char mac[6], int mtu, struct err *err);
CHECK_RC int link_add_vxlan(int fd, const char *name, const unsigned char mac[6], int mtu, uint32_t local_ip, int vni, int port,
                            struct err *err);
/* A pair: `name` here under bridge `master` (0: none), "eth0" with `mac`, still down, in the namespace of netns_fd. */
CHECK_RC int link_add_veth(int fd, const char *name, int master, int mtu, int netns_fd, const unsigned char mac[6], struct err *err);

/* Present is success. */
CHECK_RC int link_add_address(int fd, int index, uint32_t ip, int prefix, struct err *err);
CHECK_RC int link_has_address(int fd, int index, uint32_t ip, bool *ret, struct err *err);

struct link_route {
    int index;
    uint32_t to;
    int prefix;       /* 0: default */
    uint32_t via;     /* 0: on the link itself */
    bool onlink;      /* via is reachable though no address says so */
    uint32_t source;  /* preferred; 0: none */
};
CHECK_RC int link_route_set(int fd, const struct link_route *route, struct err *err); /* adds or replaces */
CHECK_RC int link_route_del(int fd, const struct link_route *route, struct err *err); /* absent is success */
/* The interface behind a local address, and its MTU. Absent is success with index 0. */
CHECK_RC int link_of_address(int fd, uint32_t ip, struct link *ret, struct err *err);

/* A permanent neighbour, and where a VXLAN sends frames for its MAC. */
CHECK_RC int link_neighbour_set(int fd, int index, uint32_t ip, const unsigned char mac[6], struct err *err);
CHECK_RC int link_neighbour_del(int fd, int index, uint32_t ip, struct err *err); /* absent is success */
CHECK_RC int link_forward_set(int fd, int index, const unsigned char mac[6], uint32_t remote_ip, struct err *err);
CHECK_RC int link_forward_del(int fd, int index, const unsigned char mac[6], struct err *err); /* absent is success */

#endif
