#ifndef SERVER_AUTH_NODE_GRAPH_H
#define SERVER_AUTH_NODE_GRAPH_H
/*
 * node_graph - which node may read what, because a pod bound to it names it. Thread: the caller's lock guards it.
 * Source: Kubernetes "Using Node Authorization".
 */
#include "lib/bytes.h"

#include <stdbool.h>

struct node_graph;
struct node_graph *node_graph_new(void);
void node_graph_free(struct node_graph *g);
/* A pod as stored; at NULL: deleted. Cheap for pods that are known or not bound. */
void node_graph_pod(struct node_graph *g, const char *ns, const char *name, struct slice value);
/* kind: 's' secret, 'c' config map, 'p' claim, 'a' service account. */
bool node_graph_reaches(const struct node_graph *g, const char *node, char kind, const char *ns, const char *name);
bool node_graph_has_pod(const struct node_graph *g, const char *node, const char *ns, const char *name);

#endif
