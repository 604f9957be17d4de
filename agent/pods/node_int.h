#ifndef AGENT_PODS_NODE_INT_H
#define AGENT_PODS_NODE_INT_H
/* node_int - what node.c and node_status.c share. */
#include "agent/pods/node.h"

/* The facts of a Node object that this machine knows. New trees, the caller's. */
json_t *node_metadata(const struct agent_options *a);
json_t *node_taints(const struct agent_options *a); /* NULL: none */
struct node_facts {
    const struct agent_options *agent;
    struct runtime *runtime;
    struct images *images;
    bool network;          /* pods can be run */
    const char *network_error; /* why not; NULL: no range yet */
};
json_t *node_status(const struct node_facts *f); /* without conditions */
/* Sets the four conditions in node.status (heartbeats included); whether anything but a heartbeat changed. */
bool node_conditions(const struct node_facts *f, json_t *node);

#endif
