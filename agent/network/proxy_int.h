#ifndef AGENT_NETWORK_PROXY_INT_H
#define AGENT_NETWORK_PROXY_INT_H
/* proxy_int - what the proxy keeps of Services and EndpointSlices, and the pure step from them to service ports; for tests, too. */
#include "agent/network/network.h"
#include "lib/json.h"
#include "lib/mem.h"

#include <stdbool.h>
#include <stddef.h>

enum { PROXY_PORTS_MAX = 1000, PROXY_IPS_MAX = 64, PROXY_SLICE_ENDPOINTS_MAX = 1000 };

struct proxy_port {
    char *name; /* "" without one */
    char *protocol;
    int port, node_port;
};

/* A Service that is to be served; strings owned. */
struct proxy_service {
    char *cluster_ip;
    struct proxy_port *ports;
    size_t n_ports;
    char **more_ips; /* external addresses and those of load balancers; n of them */
    size_t n_more_ips;
    bool affinity, external_local, internal_local;
    int affinity_s;
};

struct proxy_endpoint {
    char *ip;
    bool ready, serving, terminating, local;
};

struct proxy_slice {
    struct proxy_slice *next; /* of the same service */
    char *key;
    struct proxy_port *ports; /* node_port unused */
    size_t n_ports;
    struct proxy_endpoint *endpoints;
    size_t n_endpoints;
};

/* NULL when there is nothing to serve: headless, ExternalName, IPv6 only, another proxy's. Owner: proxy_service_free. */
struct proxy_service *proxy_service_read(const json_t *service);
void proxy_service_free(void *s); /* NULL allowed */
/* NULL for IPv6 and FQDN slices. Owner: proxy_slice_free. */
struct proxy_slice *proxy_slice_read(const json_t *slice, const char *node_name);
void proxy_slice_free(struct proxy_slice *s); /* one; NULL allowed */

/* The service ports of one Service, wholly in the arena; "<service_key>:<port>" and "<service_key>:<port>@<address>" are their keys. */
void proxy_plan(struct arena *arena, const char *service_key, const struct proxy_service *s, const struct proxy_slice *slices,
                struct network_service_port **ret, size_t *ret_n);

#endif
