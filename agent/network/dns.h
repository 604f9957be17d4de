#ifndef AGENT_NETWORK_DNS_H
#define AGENT_NETWORK_DNS_H
/*
 * dns - the cluster's DNS server, in the process: answers the cluster's names itself, asks the host's resolvers for all others.
 *
 * One on each node, at the cluster DNS address, which the node's bridge has. UDP and TCP on the loop. What does not fit a datagram is
 * marked as cut; over TCP it comes whole. Limits: 256 questions on their way to resolvers, 64 TCP connections, 10 s idle.
 * Layer:  agent/. Thread: open, listen and free from one thread at a time, not the loop.
 */
#include "lib/k8s/informer.h"

struct dns;

struct dns_options {
    struct informers *informers;
    struct loop *loop;
    const char *domain;      /* "cluster.local" */
    const char *resolv_conf; /* whose nameservers are asked; NULL: /etc/resolv.conf */
};

/* Before informers_start. */
struct dns *dns_open(const struct dns_options *options);
/* Begins to serve at an IPv4 address this host has. Once; again is success. Errors: by errno. */
CHECK_RC int dns_listen(struct dns *d, const char *ip, int port, struct err *err);
void dns_free(struct dns *d); /* after informers_stop; NULL allowed */

#endif
