#ifndef AGENT_NETWORK_PROXY_H
#define AGENT_NETWORK_PROXY_H
/*
 * proxy - turns Services, EndpointSlices and Nodes into what the network knows: kube-proxy's part and flannel's.
 *
 * Informers feed small structs; one queue pass carries everything that changed since into one batch. The first pass waits for both lists
 * and replaces whatever an earlier start left in the kernel, so nothing is unserved in between.
 * Layer:  agent/. Thread: open, set_network and close from one thread at a time; the rest runs on the pool.
 * Source: k8s.io/kubernetes pkg/proxy (which endpoints count: ready, else serving and terminating; traffic policies).
 */
#include "agent/network/network.h"
#include "lib/k8s/informer.h"

struct proxy;

struct proxy_options {
    struct informers *informers;
    struct pool *pool;
    struct loop *loop;
    const struct clock *clock;
    const char *node_name;  /* ours */
    bool services_off;      /* --disable-kube-proxy: only routes to other nodes */
};

/* Before informers_start. */
struct proxy *proxy_open(const struct proxy_options *options);
/* The network is there: what is known goes to it. It outlives the proxy. */
void proxy_set_network(struct proxy *p, struct network *network);
/* No pass runs afterwards. Call it between informers_stop and network_close. */
void proxy_stop(struct proxy *p); /* NULL allowed */
void proxy_free(struct proxy *p); /* after informers_free or informers_stop; stops first; NULL allowed */

#endif
