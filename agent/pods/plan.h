#ifndef AGENT_PODS_PLAN_H
#define AGENT_PODS_PLAN_H
/*
 * plan - what to do next for one pod, from what was observed. Pure: no clock, no I/O, nothing remembered.
 *
 * Steps are bounded: nothing waits for a pull, a hook, a grace period or an exit; those come as events and lead to another plan.
 * Source: Kubernetes "Pod Lifecycle" and "Sidecar Containers"; upstream's computePodActions for behaviour. Thread: any.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum unit_kind { UNIT_INIT, UNIT_SIDECAR, UNIT_MAIN, UNIT_EPHEMERAL };
enum unit_seen { SEEN_NONE, SEEN_RUNNING, SEEN_EXITED };
enum unit_image { IMAGE_UNKNOWN, IMAGE_PULLING, IMAGE_READY };
/* Stopping: its preStop hook runs, it was told to end, it was killed. */
enum unit_stop { STOP_NO, STOP_HOOK, STOP_HOOK_DONE, STOP_TERM, STOP_KILL };

struct plan_unit {
    enum unit_kind kind;
    enum unit_seen seen;
    enum unit_image image;
    enum unit_stop stop;
    bool stale;     /* exited in an earlier sandbox: an init container runs anew */
    bool ok;        /* exited with 0 */
    bool restart;   /* exited, and its restart policy wants it back */
    bool started;   /* runs, its postStart hook and startup probe passed */
    bool unhealthy; /* a probe wants it killed */
    bool has_hook;  /* preStop */
    int64_t retry_at_ms; /* back-off of pull, creation or crash: nothing before */
    int64_t stop_by_ms;  /* end of its grace period */
};

struct plan_in {
    bool admitted, rejected;
    bool ending;   /* deleted, evicted, past its deadline: everything stops, nothing starts */
    bool gone;     /* no longer in the API: no status, no DELETE */
    bool deleting; /* deletionTimestamp is set */
    bool deleted;  /* the DELETE went through: the watch will say so */
    bool reported; /* the final status stands in the API */
    bool cgroup, volumes, sandbox, network; /* what is there */
    bool network_up; /* the pod can be given a network */
    int64_t look_at_ms; /* a look is due then anyway; INT64_MAX: never */
    bool cleaned;  /* nothing is left on this node */
    int64_t retry_at_ms; /* of a preparation that failed */
    int64_t now_ms;
    const struct plan_unit *units; /* init and sidecar containers first, in the spec's order */
    size_t n_units;
};

enum plan_step {
    STEP_ADMIT,
    STEP_CGROUP,
    STEP_VOLUMES,
    STEP_SANDBOX,
    STEP_NETWORK,
    STEP_PULL,  /* of a unit: find or fetch its image */
    STEP_START, /* of a unit */
    STEP_STOP,  /* of a unit: hook, or the stop signal */
    STEP_TERM,  /* of a unit: hook is done, the stop signal */
    STEP_KILL,  /* of a unit: grace is over */
    STEP_REPORT, /* final status to the API */
    STEP_CLEAN, /* sandbox, network, volumes, cgroup go */
    STEP_DELETE, /* from the API */
    STEP_FORGET,
};

enum { PLAN_STEPS_MAX = 128 };

struct plan {
    struct {
        enum plan_step step;
        size_t unit;
    } at[PLAN_STEPS_MAX];
    size_t n;
    int64_t again_at_ms; /* INT64_MAX: when something happens */
};

void plan_pod(const struct plan_in *in, struct plan *ret);

/* Whether init containers are through, and whether every container is done for good. */
bool plan_initialized(const struct plan_in *in);
bool plan_finished(const struct plan_in *in);

#endif
