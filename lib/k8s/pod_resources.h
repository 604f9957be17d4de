#ifndef LIB_K8S_POD_RESOURCES_H
#define LIB_K8S_POD_RESOURCES_H
/*
 * pod_resources - what a pod asks for in sum, and its QoS class: the scheduler and the node agent must agree on them. Thread: any.
 * Source: k8s.io/component-helpers resource (effective requests: init containers, sidecars, pod level, overhead).
 */
#include "lib/json.h"

enum { POD_SCALARS_MAX = 16 };

struct pod_sum {
    int64_t cpu_milli, memory_bytes, ephemeral_bytes;
    struct {
        const char *name; /* borrowed from the tree */
        int64_t value;
    } scalars[POD_SCALARS_MAX]; /* extended resources, hugepages */
    size_t n_scalars;
};

/* limits: sums limits instead of requests (0 where a container has none). */
void pod_requests(const json_t *pod, struct pod_sum *ret);
void pod_limits(const json_t *pod, struct pod_sum *ret);
const char *pod_qos(const json_t *pod); /* "Guaranteed", "Burstable", "BestEffort" */
/* For scoring: containers that ask for nothing count 100m and 200 Mi. */
void pod_nonzero(const json_t *pod, int64_t *ret_cpu_milli, int64_t *ret_memory_bytes);

#endif
