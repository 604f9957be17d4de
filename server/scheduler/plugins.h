#ifndef SERVER_SCHEDULER_PLUGINS_H
#define SERVER_SCHEDULER_PLUGINS_H
/*
 * plugins - filters and scores of the default profile, over the cluster's structs and one pod's tree. Pure: no I/O.
 * Source: kube-scheduler 1.37 plugins; reasons word for word. Thread: under the scheduler's lock.
 */
#include "lib/ctx.h"
#include "lib/k8s/selector.h"
#include "server/scheduler/cluster.h"

enum { SPREAD_MAX = 8, REASONS_MAX = 16 };

struct spread {
    const char *key, *min_domains;
    int64_t max_skew;
    bool hard;
    const struct selector *selector;
    struct map *counts; /* domain value -> struct spread_count; of nodes the pod may go to */
    int64_t least;      /* smallest count of a domain */
};

/* One pod on its way: what the filters need, taken from its tree once. */
struct candidate {
    const json_t *pod;
    struct arena *arena;
    struct pod_sum requests;
    int64_t nonzero_cpu, nonzero_memory;
    struct spread spreads[SPREAD_MAX];
    size_t n_spreads;
};

CHECK_RC int candidate_init(struct candidate *x, struct arena *arena, const struct cluster *c, const json_t *pod, struct err *err);
void candidate_clear(struct candidate *x);

/* Why a pod cannot go to a node: up to REASONS_MAX reasons (static or arena). Returns how many; 0: it fits. *ret_preempt: removing pods may help. */
size_t plugin_filter(struct candidate *x, const struct cluster *c, const struct sched_node *n, const char *reasons[REASONS_MAX], bool *ret_preempt);
/* 0 … 1000s; higher is better. */
int64_t plugin_score(struct candidate *x, const struct cluster *c, const struct sched_node *n);

/* Whether a toleration list bears a taint. */
bool plugin_tolerates(const json_t *tolerations, const struct sched_taint *t);
/* A node selector term list (requiredDuringScheduling…) on a node. */
bool plugin_matches_terms(const json_t *terms, const struct sched_node *n);

#endif
