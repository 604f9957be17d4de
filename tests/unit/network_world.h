#ifndef TESTS_NETWORK_WORLD_H
#define TESTS_NETWORK_WORLD_H
/*
 * network_world - for network tests: a network namespace for the node (the test's own), one for the world outside, one for each pod.
 *
 * The node is 192.0.2.1, the world 192.0.2.2 and knows no way to pods. All dies with the test's process.
 */
#include "agent/network/network.h"

#include <sys/types.h>

enum { WORLD_PODS_MAX = 16, WORLD_TEXT_BYTES = 128 };

struct world {
    char dir[64];
    pid_t outside; /* holds the world's namespace */
    pid_t children[64];
    int n_children;
    struct network *net;
};

/* Skips (returns false, with a reason) where the test may not make namespaces. */
bool world_init(struct world *w);
void world_open(struct world *w); /* network_open with the usual ranges; also a second time, after network_close */
void world_clear(struct world *w);

/* Runs a second node in the world's namespace (range 10.42.1.0/24) that knows the first, and gives `pod` to its network.
 * The first is told of it. Returns the pod's address; owner: free. */
char *world_second_node(struct world *w, pid_t pod);
pid_t world_namespace(struct world *w); /* a process that holds a new network namespace */
/* The pod's address; owner: free. */
char *world_attach(struct world *w, const char *uid, pid_t pid, const struct network_host_port *ports, size_t n_ports);

/* Answers every TCP connection (or UDP datagram) with "<tag> <peer's address>". pid 0: in the node's namespace. */
pid_t world_serve(struct world *w, pid_t ns, bool udp, int port, const char *tag);
/* What the server said, or "refused", "timeout", "unreachable". ns 0: from the node. */
const char *world_call(pid_t ns, bool udp, const char *ip, int port, char to[WORLD_TEXT_BYTES]);
/* One UDP question from a fixed port, so that it is the same flow as before. */
const char *world_call_from(pid_t ns, int from_port, const char *ip, int port, char to[WORLD_TEXT_BYTES]);
void world_stop(struct world *w, pid_t child);

#endif
