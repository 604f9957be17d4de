#ifndef AGENT_PODS_STATUS_H
#define AGENT_PODS_STATUS_H
/*
 * status - a pod's status as the API shows it, from what was observed. Pure, apart from the memory of transition times handed in.
 * Source: core/v1 PodStatus; upstream's pkg/kubelet/status/generate.go and kubelet_pods.go for behaviour. Thread: the tree's.
 */
#include "agent/pods/plan.h"
#include "lib/clock.h"
#include "lib/json.h"

/* One attempt of a container. */
struct status_run {
    char id[65];
    enum unit_seen seen;
    int exit_code, signal;
    bool oom_killed, gone;
    int64_t started_us, finished_us;
    const char *reason;  /* NULL: from the exit; "StartError" */
    char *message;       /* termination message; NULL or "" none */
};

struct status_unit {
    const char *name;
    enum unit_kind kind;
    const json_t *spec;
    const char *image_name, *image_ref; /* NULL: the spec's, "" */
    const struct status_run *now, *before; /* NULL: none */
    const char *wait_reason, *wait_message;
    bool started, ready, restart;
    int restart_count;
};

/* When the conditions of ours changed last. */
enum status_condition { COND_READY_TO_START, COND_INITIALIZED, COND_READY, COND_CONTAINERS_READY, COND_SCHEDULED, CONDITIONS };
struct status_memory {
    struct {
        int64_t since_s; /* 0: unknown */
        bool on;
    } at[CONDITIONS];
};
void status_remember(struct status_memory *m, const json_t *pod); /* from the object's status, once */

struct status_in {
    const json_t *pod;
    const struct status_unit *units;
    size_t n_units;
    bool sandbox;    /* with network */
    bool finished;   /* nothing runs and nothing will */
    bool ending;     /* deleted, or failed by us */
    const char *fail_reason, *fail_message; /* NULL: none */
    const char *pod_ip; /* "": none */
    const char *const *host_ips; /* end with NULL */
    int64_t start_us, now_us;
};
/* A new tree; the caller's. */
json_t *status_build(const struct status_in *in, struct status_memory *memory);
/* The strategic merge patch of the status subresource that brings it there. A new tree. */
json_t *status_patch(const json_t *pod, const json_t *status);

#endif
