#ifndef AGENT_VOLUMES_VOLUMES_H
#define AGENT_VOLUMES_VOLUMES_H
/*
 * volumes - what a pod mounts: emptyDir (disk, memory), hostPath, configMap, secret, downwardAPI, projected (with service-account tokens), and later CSI.
 *
 * Atomic writer: content lives in a timestamped folder behind the link ..data, swapped by rename, so readers see old or new, never a mix.
 * Layer:  agent/. Thread: any worker; one call at a time for one pod. Blocks: on the API (client) and disk.
 * Source: Kubernetes volumes documentation; upstream's atomic writer behaviour.
 */
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/client.h"

struct volumes;

struct volumes_options {
    const char *data_dir; /* <data-dir>/agent: pods/<uid>/volumes/kubernetes.io~configmap/<name> …; what must not reach a disk (secret, projected,
                           * downwardAPI) lies in memory/<uid>/<name>, one tmpfs for all pods */
    struct client *client;
    const struct clock *clock;
    const char *node_name;
    /* The node's status.allocatable, for resourceFieldRef and the size of memory volumes. Owner: the caller. NULL allowed, here and as answer. */
    json_t *(*allocatable)(void *arg);
    void *arg;
};
CHECK_RC int volumes_open(const struct volumes_options *options, struct volumes **ret, struct err *err);
void volumes_close(struct volumes *v); /* volumes stay for their containers; NULL allowed */

/* Brings all volumes of the pod up (or up to date). Idempotent; called again for refreshes.
 * *ret_again_ms: when tokens want renewal (-1: never).
 * Errors: as events say them: `MountVolume.SetUp failed for volume "x" : configmap "y" not found`; coded NOT_FOUND, UNAVAILABLE, IO, INVALID. */
CHECK_RC int volumes_setup(struct ctx *ctx, struct volumes *v, const json_t *pod, int64_t *ret_again_ms, struct err *err);
/* Whether the volume is read-only whatever the volumeMount says. */
bool volumes_readonly(const json_t *pod, const char *volume);
/* One volumeMount of one container. */
struct volume_use {
    const char *volume;    /* its name in the pod */
    const char *sub_path;  /* NULL or "": the whole volume; $(VAR) of subPathExpr already expanded */
    const char *container;
    int mount_index;       /* in the container's volumeMounts */
};
/* Host path of a volume of a pod that was set up, with subPath resolved inside it safely (openat2 RESOLVE_IN_ROOT; created with the volume's mode when absent). Owner: *ret free.
 * What stands behind a subPath is held by a bind mount under the pod's folder, so links cannot be swapped later. */
CHECK_RC int volumes_path(struct ctx *ctx, struct volumes *v, const json_t *pod, const struct volume_use *use, char **ret, struct err *err);
/* Whether a configMap or secret name is used by the pod (so that a change requeues it). */
bool volumes_uses(const json_t *pod, const char *kind, const char *name);
/* Unmounts and removes all of a pod's volumes. */
CHECK_RC int volumes_teardown(struct ctx *ctx, struct volumes *v, const char *pod_uid, struct err *err);

/* --- values for environment variables and downward API files --- */
/* fieldRef paths of a pod ("metadata.labels['x']", "status.podIP" …). Errors: INVALID. pod has status; host_ip, pod_ip override when not "". */
CHECK_RC int downward_field(const json_t *pod, const char *path, const char *pod_ip, const char *host_ip, struct buf *to, struct err *err);
/* resourceFieldRef: limits.cpu … with divisor; node allocatable when the container has no limit. */
CHECK_RC int downward_resource(const json_t *container, const json_t *ref, const json_t *node_allocatable, struct buf *to, struct err *err);

#endif
