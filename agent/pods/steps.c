/* steps - a pod as a whole: admission, cgroup, volumes, sandbox and network; and taking all of it away again. */
#include "agent/pods/pods_int.h"

#include "lib/k8s/pod_resources.h"
#include "lib/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { REFRESH_MS = 60000, HOST_PORTS_MAX = 64, SYSCTLS_MAX = 32, FOLDER_DEPTH_MAX = 8 };

const char *pod_cgroup(struct view *v)
{
    const char *qos = pod_qos(v->tree);
    const char *class_dir = strcmp(qos, "Burstable") == 0 ? "/burstable" : strcmp(qos, "BestEffort") == 0 ? "/besteffort" : "";

    return arena_printf(v->ctx->arena, "%s%s/pod%s", v->all->cgroup_root, class_dir, v->pod->uid);
}

void step_admit(struct view *v)
{
    const char *message = NULL;
    const char *reason = pod_not_fitting(v, &message);

    if (reason) {
        pod_fail(v->pod, reason, message);
        pod_tell(v, NULL, "Warning", reason, "%s", message + strlen("Pod was rejected: "));
        return;
    }
    LOCK_SCOPE(&v->all->lock);
    v->pod->admitted = true;
}

/* --- what a pod needs before its containers --- */

static int set_cgroup(struct view *v, struct err *err)
{
    struct container_resources r;

    resources_of_pod(v->tree, &r);
    if (runtime_cgroup_set(v->all->o.runtime, pod_cgroup(v), &r, err) < 0)
        return -(int)err->code;
    v->pod->cgroup = true;
    return 0;
}

static bool volumes_change(const json_t *pod)
{
    static const char *const kinds[] = { "configMap", "secret", "projected", "downwardAPI" };
    size_t i = 0;
    json_t *volume = NULL;

    json_array_foreach(json_at(pod, "spec.volumes"), i, volume)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            if (json_object_get(volume, kinds[k]))
                return true;
    return false;
}

static int set_volumes(struct view *v, struct err *err)
{
    struct pod *pod = v->pod;
    int64_t again = -1;

    if (volumes_setup(v->ctx, v->all->o.volumes, v->tree, &again, err) < 0)
        return -(int)err->code;
    pod->volumes = true;
    if (volumes_change(v->tree) && (again < 0 || again > REFRESH_MS))
        again = REFRESH_MS;
    pod->volumes_again_ms = again < 0 ? INT64_MAX : v->in.now_ms + again;
    return 0;
}

static const char *const *sysctls_of(struct view *v)
{
    const char **list = arena_alloc(v->ctx->arena, (2 * SYSCTLS_MAX + 1) * sizeof(char *));
    size_t i = 0, n = 0;
    json_t *s = NULL;

    json_array_foreach(json_at(v->tree, "spec.securityContext.sysctls"), i, s)
        if (n < 2 * SYSCTLS_MAX) {
            list[n++] = json_str_or(s, "name", "");
            list[n++] = json_str_or(s, "value", "");
        }
    return n ? list : NULL;
}

static int start_sandbox(struct view *v, struct err *err)
{
    struct pod *pod = v->pod;
    const char *hostname = NULL;
    struct sandbox sb = { 0 };

    if (pod_env_hostname(v->ctx, v->all->o.env, v->tree, &hostname, err) < 0)
        return -(int)err->code;
    struct sandbox_spec spec = { .pod_uid = pod->uid, .pod_ns = pod->ns, .pod_name = pod->name, .hostname = hostname,
                                 .host_network = json_bool_or(v->tree, "spec.hostNetwork", false),
                                 .host_ipc = json_bool_or(v->tree, "spec.hostIPC", false),
                                 .host_pid = json_bool_or(v->tree, "spec.hostPID", false),
                                 .share_pid = json_bool_or(v->tree, "spec.shareProcessNamespace", false),
                                 .cgroup = pod_cgroup(v), .sysctls = sysctls_of(v) };
    if (runtime_sandbox_start(v->ctx, v->all->o.runtime, &spec, &sb, err) < 0)
        return err_wrap(err, "Failed to create pod sandbox");
    if (v->n_containers > 0) /* a sandbox anew: init containers run again */
        pod->sandbox_us = clock_wall_us(v->all->o.clock);
    pod->sandbox = true;
    return 0;
}

static size_t host_ports(struct view *v, struct network_host_port ports[HOST_PORTS_MAX])
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    size_t n = 0, i = 0, k = 0;
    json_t *c = NULL, *port = NULL;

    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        json_array_foreach(json_at(v->tree, lists[l]), i, c)
            json_array_foreach(json_object_get(c, "ports"), k, port)
                if (json_int_or(port, "hostPort", 0) > 0 && n < HOST_PORTS_MAX)
                    ports[n++] = (struct network_host_port){ .protocol = json_str_or(port, "protocol", "TCP"),
                                                             .host_ip = json_str(port, "hostIP"),
                                                             .host_port = (int)json_int_or(port, "hostPort", 0),
                                                             .container_port = (int)json_int_or(port, "containerPort", 0) };
    return n;
}

static int set_network(struct view *v, struct err *err)
{
    struct pod *pod = v->pod;
    struct network_host_port ports[HOST_PORTS_MAX];
    struct sandbox sb = { 0 };
    AUTO_FREE char *ip = NULL;
    bool host = json_bool_or(v->tree, "spec.hostNetwork", false);

    if (!host) {
        if (runtime_sandbox(v->all->o.runtime, pod->uid, &sb, err) < 0 ||
            network_attach(v->ctx, v->all->network, pod->uid, sb.shim_pid, ports, host_ports(v, ports), &ip, err) < 0)
            return err_wrap(err, "Failed to create pod sandbox: failed to set up the network");
    }
    pthread_mutex_lock(&v->all->lock);
    (void)snprintf(pod->ip, sizeof(pod->ip), "%s", host ? v->all->o.node_ips[0] : ip);
    pthread_mutex_unlock(&v->all->lock);
    struct pod_place place = { .pod_ip = pod->ip };
    if (pod_env_files(v->ctx, v->all->o.env, v->tree, &place, err) < 0)
        return -(int)err->code;
    pod->network = true;
    return 0;
}

void step_prepare(struct view *v, enum plan_step step)
{
    static int (*const steps[])(struct view *v, struct err *err) = { [STEP_CGROUP] = set_cgroup, [STEP_VOLUMES] = set_volumes,
                                                                     [STEP_SANDBOX] = start_sandbox, [STEP_NETWORK] = set_network };
    static const char *const reasons[] = { [STEP_CGROUP] = "FailedCreatePodContainer", [STEP_VOLUMES] = "FailedMount",
                                           [STEP_SANDBOX] = "FailedCreatePodSandBox", [STEP_NETWORK] = "FailedCreatePodSandBox" };
    struct pod *pod = v->pod;
    struct err err;
    int64_t now = clock_mono_ms(v->all->o.clock);

    if (steps[step](v, &err) == 0) {
        pod->retries = 0;
        pod->retry_at_ms = 0;
        return;
    }
    int64_t wait = backoff_ms(++pod->retries, RETRY_FIRST_MS, RETRY_MOST_MS);
    if (step == STEP_VOLUMES && pod->volumes)
        pod->volumes_again_ms = now + (wait < RETRY_FIRST_MS ? RETRY_FIRST_MS : wait); /* what is there stays */
    else
        pod->retry_at_ms = now + wait;
    pod_tell(v, NULL, "Warning", reasons[step], "%s", err.msg);
}

/* --- and away --- */

/* Removes a folder of ours with all in it; links are not followed. */
static int remove_folder(int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct dirent *e = NULL;

    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return -1;
    }
    while (depth > 0 && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) < 0 && errno == EISDIR)
            (void)remove_folder(dirfd(d), e->d_name, depth - 1);
    }
    (void)closedir(d);
    return unlinkat(parent, name, AT_REMOVEDIR);
}

static void remove_links(struct view *v, int logs)
{
    AUTO_FREE char *prefix = mem_printf("%s_%s_", v->pod->name, v->pod->ns);
    int fd = openat(logs, "../containers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct dirent *e = NULL;
    struct stat st;

    if (fd < 0)
        return;
    DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return;
    }
    while ((e = readdir(d)) != NULL) /* only those that lead nowhere by now: another pod may have had the name */
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && fstatat(fd, e->d_name, &st, 0) < 0 && errno == ENOENT)
            (void)unlinkat(fd, e->d_name, 0);
    (void)closedir(d);
}

void pod_remove_logs(struct view *v)
{
    AUTO_FREE char *name = mem_printf("%s_%s_%s", v->pod->ns, v->pod->name, v->pod->uid);
    AUTO_FD int logs = open(v->all->o.log_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (logs < 0 || !*v->pod->ns)
        return;
    if (remove_folder(logs, name, FOLDER_DEPTH_MAX) < 0)
        log_warn("log folder stays", "pod=%s/%s errno=%d", v->pod->ns, v->pod->name, errno);
    remove_links(v, logs);
}

static int clean(struct view *v, struct err *err)
{
    struct pods *p = v->all;
    struct pod *pod = v->pod;
    const char *uid = pod->uid;
    static const char *const classes[] = { "", "/burstable", "/besteffort" };

    if (p->network && network_detach(v->ctx, p->network, uid, err) < 0)
        return err_wrap(err, "network");
    for (size_t i = 0; i < v->n_containers; i++)
        if (images_unmount(v->ctx, p->o.images, v->containers[i].id, err) < 0)
            return err_wrap(err, "root filesystem");
    if (runtime_sandbox_remove(v->ctx, p->o.runtime, uid, err) < 0)
        return err_wrap(err, "sandbox");
    if (volumes_teardown(v->ctx, p->o.volumes, uid, err) < 0)
        return err_wrap(err, "volumes");
    if (pod_env_remove(p->o.env, uid, err) < 0)
        return err_wrap(err, "files");
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        AUTO_FREE char *group = mem_printf("%s%s/pod%s", p->cgroup_root, classes[i], uid);

        if (runtime_cgroup_remove(p->o.runtime, group, err) < 0)
            return err_wrap(err, "cgroup");
    }
    return 0;
}

void step_clean(struct view *v)
{
    struct pod *pod = v->pod;
    struct err err;

    if (clean(v, &err) < 0) {
        pod->retry_at_ms = clock_mono_ms(v->all->o.clock) + backoff_ms(++pod->retries, 100, 30000);
        log_warn("pod is not cleaned up yet", "pod=%s/%s uid=%s error=%s", pod->ns, pod->name, pod->uid, log_q(err.msg));
        pod_tell(v, NULL, "Warning", "FailedKillPod", "error killing pod: %s", err.msg);
        return;
    }
    if (pod->gone || v->in.deleting)
        pod_remove_logs(v);
    LOCK_SCOPE(&v->all->lock);
    pod->retries = 0;
    pod->retry_at_ms = 0;
    pod->cgroup = pod->volumes = pod->sandbox = pod->network = false;
    pod->cleaned = pod->frozen = true;
}
