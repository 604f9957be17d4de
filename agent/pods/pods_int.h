#ifndef AGENT_PODS_PODS_INT_H
#define AGENT_PODS_PODS_INT_H
/* pods_int - what the files of the pod life cycle share. */
#include "agent/pods/plan.h"
#include "agent/pods/pods.h"
#include "agent/pods/status.h"
#include "lib/k8s/meta.h"
#include "lib/map.h"
#include "lib/mem.h"
#include "lib/queue.h"

#include <pthread.h>

enum { UNITS_MAX = 64, CRASH_FIRST_MS = 10000, CRASH_MOST_MS = 300000, CRASH_RESET_US = 600000000, RETRY_FIRST_MS = 500, RETRY_MOST_MS = 122000 };

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_KINDS };

struct probe {
    int streak;        /* results of the same kind in a row */
    bool ok;           /* of the streak */
    bool armed;        /* in the probes' queue for this container */
    int64_t due_ms;
};

/* One container of a pod, over all its attempts. */
struct unit {
    char *name;
    enum unit_kind kind;
    /* guarded by pods->lock */
    enum unit_image image;
    char *image_id, *image_ref, *image_name;
    char id[65];       /* of the running container; "": none */
    bool has_startup, has_readiness;
    bool startup_ok, ready, unhealthy, post_start_done, hook_done;
    char *stop_message; /* why it is stopped, for the event; NULL: the usual */
    struct probe probes[PROBE_KINDS];
    int64_t retry_at_ms;
    int fails;         /* of pulls and creations in a row */
    int64_t back_off_at_ms; /* when a failed pull shows as backing off */
    int64_t hook_due_ms; /* end of a sleep hook; 0: none */
    int64_t live_grace_s; /* of the probe that failed; -1: the pod's */
    const char *wait_reason; /* what the status shows while it waits; NULL: the usual */
    char *wait_message;
    const char *note_reason; /* an event to tell in the next pass; static */
    char *note;
    bool note_warning;
    /* the pass's own */
    enum unit_stop stop;
    int64_t stop_began_ms, stop_by_ms;
    int64_t crash_ms;  /* back-off charged so far; 0: none */
    char crash_id[65]; /* the exit it was looked at for */
    struct status_run *failed; /* an attempt that never ran; NULL */
    int failed_attempt;
};

struct pod {
    char *uid, *ns, *name;
    /* guarded by pods->lock */
    struct bytes *json;   /* the object as last heard of, without managedFields; NULL: orphan */
    uint64_t seen_hash;   /* of what matters in it */
    bool gone;            /* no longer in the API */
    struct unit *units;   /* made in the first pass */
    size_t n_units;
    char ip[64];          /* "" none */
    bool admitted;
    int64_t ask_cpu_milli, ask_memory_bytes, ask_ephemeral_bytes; /* while it counts against the node */
    /* the pass's own */
    bool loaded, frozen, cgroup, volumes, sandbox, network, reported, cleaned, deleted;
    char *fail_reason;   /* OutOfcpu, DeadlineExceeded …; NULL: none */
    char *fail_message;
    int64_t start_us;     /* status.startTime */
    int64_t sandbox_us;   /* since when this sandbox is; older containers are stale */
    int64_t retry_at_ms;
    int retries;
    int64_t volumes_again_ms;
    int64_t kill_grace_s; /* -1: not ending yet */
    struct status_memory memory;
    uint64_t sent_hash;   /* of the status sent last */
};

struct pods {
    struct pods_options o;
    pthread_mutex_t lock; /* guards pods, and what struct pod and struct unit say */
    struct map *pods;     /* uid -> struct pod */
    struct map *pulls;    /* image and secrets -> struct pull (pulls.c) */
    bool synced;
    struct network *network; /* guarded; NULL: not there yet */
    json_t *allocatable;     /* guarded; replaced as a whole, read by copies */
    struct kubelet_api *api;
    struct queue *queue;     /* passes; key: uid */
    struct queue *probes;    /* key: uid/container/kind */
    struct pool_family *jobs; /* pulls and hooks */
    struct ctx_cancel cancel; /* of jobs */
    char *cgroup_root;
};

/* One pass's picture of a pod; in the pass's arena. */
struct view {
    struct pods *all;
    struct pod *pod;
    struct ctx *ctx;
    json_t *tree;
    struct container *containers; /* malloc */
    size_t n_containers;
    struct status_run **now, **before; /* of each unit; NULL: none */
    int *attempt;                 /* of each unit's now; -1: none */
    struct plan_unit *units;
    struct plan_in in;
};

/* pods.c */
struct pod *pods_find(struct pods *p, const char *uid); /* lock held; NULL */
struct unit *pod_unit(struct pod *pod, const char *name); /* lock held; NULL */
void pods_add(struct pods *p, const char *uid);
void pod_free(void *pod);
void pod_fail(struct pod *pod, const char *reason, const char *message);
void unit_wait(struct unit *u, const char *reason, const char *message); /* lock held; reason static */
int64_t backoff_ms(int fails, int64_t first_ms, int64_t most_ms);
const json_t *unit_spec(const json_t *pod, const struct unit *u); /* its container object */
void pod_tell(struct view *v, const struct unit *u, const char *type, const char *reason, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* observe.c */
void pod_load(struct view *v); /* units, memory of an earlier life; first pass */
CHECK_RC int pod_observe(struct view *v, struct err *err);

/* steps.c: sandbox and clean-up */
void step_admit(struct view *v);
void step_prepare(struct view *v, enum plan_step step);
void step_clean(struct view *v);
void pod_remove_logs(struct view *v); /* the pod's log folder and links */
const char *pod_cgroup(struct view *v); /* arena */

/* start.c, stop.c, pulls.c */
void step_pull(struct view *v, size_t i);
void step_start(struct view *v, size_t i);
void step_stop(struct view *v, size_t i, enum plan_step step);
void pulls_free(void *pull);
void pulls_back_off(struct view *v, size_t i); /* lock held: ErrImagePull becomes ImagePullBackOff */
void unit_start_hook(struct view *v, size_t i, const char *id);
int64_t stop_grace_ms(struct view *v, const struct unit *u);

/* security.c: fills the spec's users, capabilities, paths, seccomp from securityContext; arena. Errors: INVALID (shown as CreateContainerConfigError) */
struct image_info;
CHECK_RC int security_fill(struct ctx *ctx, const json_t *pod, const json_t *container, const struct image_info *image, const char *rootfs,
                           struct container_spec *spec, struct err *err);
int64_t pod_fs_group(const json_t *pod); /* -1: none */
const char *seccomp_default(void); /* static */

/* resources.c */
void resources_of_container(const json_t *container, struct container_resources *ret);
void resources_of_pod(const json_t *pod, struct container_resources *ret);
int oom_score(const json_t *pod, const json_t *container, int64_t node_memory_bytes);
const char *pod_not_fitting(struct view *v, const char **ret_message); /* reason or NULL */

/* report.c */
CHECK_RC int pod_report(struct view *v, bool final, struct err *err);

/* probes.c */
void probes_arm(struct view *v);  /* starts what the running containers want probed */
int probes_pass(void *arg, struct ctx *ctx, const char *key, int64_t *ret_again_ms, struct err *err);
/* handler.c: one HTTP, TCP, gRPC or exec action of probes and hooks. *ret_output: what to tell of it (malloc). */
struct action {
    const char *pod_uid, *id, *pod_ip;
    const json_t *spec;      /* with exec, httpGet, tcpSocket or grpc */
    const json_t *container; /* for named ports */
    int64_t timeout_ms;
};
bool action_run(struct pods *p, struct ctx *ctx, const struct action *a, char **ret_output);
/* grpc.c. As action_run; the port is a number, the host the pod's address. Blocks: until the timeout when no server is there, as upstream's. */
bool grpc_check(struct ctx *ctx, struct loop *loop, const struct action *a, char **ret_output);
const char *grpc_health_read(struct slice body, int32_t *ret_status); /* a framed HealthCheckResponse; what is wrong with it (static), or NULL */
CHECK_RC int action_connect(struct ctx *ctx, const char *host, int port, int *ret_fd, struct err *err);

/* world.c */
void pods_world_ended(struct pods *p, const char *pod_uid, const char *id);

#endif
