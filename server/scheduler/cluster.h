#ifndef SERVER_SCHEDULER_CLUSTER_H
#define SERVER_SCHEDULER_CLUSTER_H
/*
 * cluster - what the scheduler knows: nodes as small structs with what is used on them, bound pods with what they take.
 * Thread: the scheduler's lock guards it.
 */
#include "lib/bytes.h"
#include "lib/k8s/pod_resources.h"
#include "lib/map.h"

enum { NODE_SCALARS_MAX = 16, NODE_TAINTS_MAX = 32 };

struct sched_taint {
    char *key, *value, *effect;
};

struct sched_node {
    char *name;
    struct buf labels; /* "key\0value\0…" */
    struct sched_taint taints[NODE_TAINTS_MAX];
    size_t n_taints;
    bool unschedulable;
    int64_t cpu_milli, memory_bytes, ephemeral_bytes, pods; /* allocatable */
    int64_t used_cpu, used_memory, used_ephemeral, used_pods, nonzero_cpu, nonzero_memory;
    struct {
        char *name;
        int64_t value, used;
    } scalars[NODE_SCALARS_MAX];
    size_t n_scalars;
    struct buf images; /* "name\0" …: which it has */
    int index;         /* place in the list */
};

/* A pod that takes room on a node: bound, or assumed to be soon. */
struct sched_pod {
    char *key, *ns, *node;
    struct buf labels;
    struct buf ports; /* "proto ip port\0" …: host ports */
    int64_t cpu, memory, ephemeral, nonzero_cpu, nonzero_memory;
    struct {
        char *name;
        int64_t value;
    } scalars[POD_SCALARS_MAX];
    size_t n_scalars;
    bool assumed, terminating;
    struct sched_pod *next, *prev; /* on the same node, or of one without a known node */
};

struct cluster {
    struct map *nodes; /* name -> struct sched_node */
    struct sched_node **list;
    size_t n_nodes, cap;
    struct map *pods;  /* key -> struct sched_pod */
    struct map *by_node; /* node name -> first struct sched_pod */
};

void cluster_init(struct cluster *c);
void cluster_clear(struct cluster *c);
/* Returns whether something changed that may help a waiting pod. */
bool cluster_set_node(struct cluster *c, const json_t *node);
void cluster_del_node(struct cluster *c, const char *name);
/* A pod with spec.nodeName (node NULL: that) or assumed on `node`. */
void cluster_set_pod(struct cluster *c, const json_t *pod, const char *node, bool assumed);
bool cluster_del_pod(struct cluster *c, const char *key); /* whether it was there */
const struct sched_pod *cluster_pod(const struct cluster *c, const char *key);
const struct sched_pod *cluster_pods_on(const struct cluster *c, const char *node); /* list by ->next */

/* Value of a label in a flat list; NULL. */
const char *flat_get(const struct buf *flat, const char *key);
void flat_of(const json_t *map, struct buf *to);

#endif
