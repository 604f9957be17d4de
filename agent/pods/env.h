#ifndef AGENT_PODS_ENV_H
#define AGENT_PODS_ENV_H
/*
 * env - what a container finds around it: environment variables, and the files /etc/hosts, /etc/hostname, /etc/resolv.conf, the termination log.
 *
 * Keeps the cluster's Services as small structs (name, cluster IP, ports) from an informer of the agent's set; config maps and secrets are fetched when a
 * container is built. Files live in <data_dir>/pods/<uid>/.
 * Layer:  agent/. Thread: any worker; one call at a time for one pod. Blocks: on the API (client) and disk.
 * Source: Kubernetes documentation "Accessing Services" (variables), "Define environment variables", "DNS for Services and Pods"; upstream's
 *         pkg/kubelet/envvars, pkg/kubelet/network/dns, third_party/forked/golang/expansion for behaviour.
 */
#include "agent/runtime/runtime.h"
#include "lib/ctx.h"
#include "lib/json.h"
#include "lib/k8s/client.h"
#include "lib/k8s/informer.h"

struct pod_env;

struct pod_env_options {
    const char *data_dir; /* <data-dir>/agent */
    struct client *client;
    struct informers *informers; /* the Service handler is added in pod_env_open, before informers_start */
    const char *node_name, *host_ip;
    const char *cluster_dns, *cluster_domain; /* "" allowed: no cluster DNS, dnsPolicy falls back to Default as upstream does */
    const char *resolv_conf; /* the host's file; NULL: /etc/resolv.conf (systemd-resolved's real one where it is a stub) */
};
CHECK_RC int pod_env_open(const struct pod_env_options *options, struct pod_env **ret, struct err *err);
void pod_env_close(struct pod_env *e); /* after informers_stop; NULL allowed */

/* What the life cycle knows of the pod beside its object. */
struct pod_place {
    const char *pod_ip;              /* "" with none yet; the host's with hostNetwork */
    const json_t *node_allocatable;  /* for resourceFieldRef without a limit; NULL: none known */
};

/* The environment of one container: the image's first, then service variables, envFrom, env ($(VAR) expanded); a later one of a name wins in place.
 * Errors, worded as upstream (they are shown as CreateContainerConfigError): NOT_FOUND `configmap "x" not found`, `couldn't find key k in ConfigMap ns/x`,
 * INVALID; UNAVAILABLE "services have not yet been read at least once, cannot construct envvars" and failures of the API.
 * Owner: *ret ("NAME=value" …, NULL) lives in ctx->arena. */
CHECK_RC int pod_env_build(struct ctx *ctx, struct pod_env *e, const json_t *pod, const json_t *container, const char *const *image_env,
                           const struct pod_place *place, const char *const **ret, struct err *err);
/* $(VAR) in command and args: unknown references stay as they are, $$ is $. arena. */
const char *pod_env_expand(struct arena *a, const char *text, const char *const *env);

/* What the UTS namespace is to be called (spec.hostname, hostnameOverride, setHostnameAsFQDN; else the pod's name cut to 63). arena. Errors: INVALID. */
CHECK_RC int pod_env_hostname(struct ctx *ctx, struct pod_env *e, const json_t *pod, const char **ret_hostname, struct err *err);
/* Writes (or updates) the pod's hosts, hostname and resolv.conf files, when its address is known and before its first container. hostNetwork takes the
 * host's /etc/hosts with hostAliases behind it. Errors: IO. */
CHECK_RC int pod_env_files(struct ctx *ctx, struct pod_env *e, const json_t *pod, const struct pod_place *place, struct err *err);
/* The mounts of these files and of the termination log for one container attempt (leaves out what the container's volumeMounts cover; makes the empty
 * termination log file). arena. At most POD_ENV_MOUNTS. */
enum { POD_ENV_MOUNTS = 4 };
CHECK_RC int pod_env_mounts(struct ctx *ctx, struct pod_env *e, const json_t *pod, const json_t *container, int attempt,
                            struct container_mount ret[POD_ENV_MOUNTS], size_t *ret_n, struct err *err);
/* What an ended attempt wrote to its termination log, at most 4096 bytes; "" when nothing. malloc, never NULL. */
char *pod_env_termination(struct pod_env *e, const char *pod_uid, const char *container, int attempt);
/* Removes the pod's files. NOT_FOUND is success. */
CHECK_RC int pod_env_remove(struct pod_env *e, const char *pod_uid, struct err *err);

#endif
