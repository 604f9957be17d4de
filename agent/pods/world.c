/* world - what the kubelet endpoint may ask of the pods. Any thread. */
#include "agent/pods/pods_int.h"

#include "lib/k8s/pod_resources.h"

#include <stdio.h>
#include <string.h>

static const char *const lists[] = { "spec.containers", "spec.initContainers", "spec.ephemeralContainers" };

/* The object of a pod by name; uid "" or NULL: whichever. */
static int find_json(struct pods *p, const char *ns, const char *name, const char *uid, struct bytes **ret, struct err *err)
{
    size_t pos = 0;
    const char *key = NULL;
    void *at = NULL;
    LOCK_SCOPE(&p->lock);

    while (map_next(p->pods, &pos, &key, &at)) {
        const struct pod *pod = at;

        if (!pod->json || strcmp(pod->ns, ns) != 0 || strcmp(pod->name, name) != 0 || (uid && *uid && strcmp(uid, key) != 0))
            continue;
        if (*ret)
            bytes_unref(*ret);
        *ret = bytes_ref(pod->json);
        if (!pod->gone)
            return 0;
    }
    if (*ret)
        return 0;
    return err_set(err, ERR_NOT_FOUND, "pod \"%s_%s\" not found", name, ns);
}

static bool has_container(const json_t *pod, const char *name)
{
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        size_t i = 0;
        json_t *c = NULL;

        json_array_foreach(json_at(pod, lists[l]), i, c)
            if (strcmp(json_str_or(c, "name", ""), name) == 0) {
                return true;
            }
    }
    return false;
}

static const json_t *container_of(const json_t *pod, const char *name)
{
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        size_t i = 0;
        json_t *c = NULL;

        json_array_foreach(json_at(pod, lists[l]), i, c)
            if (strcmp(json_str_or(c, "name", ""), name) == 0)
                return c;
    }
    return NULL;
}

static const char *pick(const json_t *pod, const char *asked)
{
    const char *wish = meta_annotation(pod, "kubectl.kubernetes.io/default-container");
    const json_t *first = json_array_get(json_at(pod, "spec.containers"), 0);

    if (asked && *asked)
        return asked;
    return wish && has_container(pod, wish) ? wish : json_str_or(first, "name", "");
}

static const json_t *status_of(const json_t *pod, const char *name)
{
    static const char *const all[] = { "status.containerStatuses", "status.initContainerStatuses", "status.ephemeralContainerStatuses" };

    for (size_t l = 0; l < ARRAY_LEN(all); l++) {
        size_t i = 0;
        json_t *s = NULL;

        json_array_foreach(json_at(pod, all[l]), i, s)
            if (strcmp(json_str_or(s, "name", ""), name) == 0)
                return s;
    }
    return NULL;
}

/* Of a pod that is through and cleaned up, the log remains. */
static int from_status(struct pods *p, const json_t *pod, const char *name, bool previous, struct kubelet_target *ret, struct err *err)
{
    const json_t *s = status_of(pod, name);
    const char *id = json_str_or(s, previous ? "lastState.terminated.containerID" : "containerID", "");
    int64_t attempt = json_int_or(s, "restartCount", 0) - (previous ? 1 : 0);

    if (previous && (!*id || attempt < 0))
        return err_set(err, ERR_BAD_REQUEST, "previous terminated container \"%s\" in pod \"%s\" not found", name, meta_name(pod));
    if (!*id)
        return err_set(err, ERR_BAD_REQUEST, "container \"%s\" in pod \"%s\" is waiting to start: %s", name, meta_name(pod),
                       json_str_or(s, "state.waiting.reason", "ContainerCreating"));
    const char *slash = strstr(id, "://");
    (void)snprintf(ret->id, sizeof(ret->id), "%s", slash ? slash + 3 : id);
    (void)snprintf(ret->log_path, sizeof(ret->log_path), "%s/%s_%s_%s/%s/%lld.log", p->o.log_dir, meta_namespace(pod), meta_name(pod), meta_uid(pod),
                   name, (long long)attempt);
    ret->ended = true;
    return 0;
}

static void fill(const struct container *c, struct kubelet_target *ret)
{
    (void)snprintf(ret->id, sizeof(ret->id), "%s", c->id);
    (void)snprintf(ret->log_path, sizeof(ret->log_path), "%s", c->log_path);
    ret->running = c->state == CONTAINER_RUNNING;
    ret->ended = c->state == CONTAINER_EXITED;
}

static int find(void *arg, const char *ns, const char *name, const char *uid, const char *container, bool previous, struct kubelet_target *ret,
                struct err *err)
{
    struct pods *p = arg;
    AUTO(bytes) struct bytes *json = NULL;
    AUTO(json) json_t *pod = NULL;
    AUTO_FREE struct container *all = NULL;
    const struct container *now = NULL, *before = NULL;
    size_t n = 0;

    *ret = (struct kubelet_target){ 0 };
    if (find_json(p, ns, name, uid, &json, err) < 0 || json_read(json->at, json->n, NULL, NULL, &pod, err) < 0)
        return -(int)err->code;
    const char *cname = pick(pod, container);
    const json_t *c = container_of(pod, cname);
    if (!c)
        return err_set(err, ERR_BAD_REQUEST, "container %s is not valid for pod %s", cname, name);
    (void)snprintf(ret->pod_uid, sizeof(ret->pod_uid), "%s", meta_uid(pod));
    ret->tty = json_bool_or(c, "tty", false);
    ret->stdin_open = json_bool_or(c, "stdin", false);
    if (runtime_containers(p->o.runtime, ret->pod_uid, &all, &n, err) < 0 && err->code != ERR_NOT_FOUND)
        return -(int)err->code;
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, cname) == 0) {
            if (!now || all[i].attempt > now->attempt) {
                before = now;
                now = &all[i];
            } else if (!before || all[i].attempt > before->attempt) {
                before = &all[i];
            }
        }
    const struct container *want = previous ? before : now;
    if (!want)
        return from_status(p, pod, cname, previous, ret, err);
    fill(want, ret);
    return 0;
}

static int find_pod(void *arg, const char *ns, const char *name, const char *uid, char ret_uid[64], struct err *err)
{
    AUTO(bytes) struct bytes *json = NULL;
    AUTO(json) json_t *pod = NULL;

    if (find_json(arg, ns, name, uid, &json, err) < 0 || json_read(json->at, json->n, NULL, NULL, &pod, err) < 0)
        return -(int)err->code;
    (void)snprintf(ret_uid, 64, "%s", meta_uid(pod));
    return 0;
}

static json_t *list(void *arg)
{
    struct pods *p = arg;
    json_t *all = json_object(), *items = json_array();
    size_t pos = 0;
    const char *uid = NULL;
    void *at = NULL;
    struct err none;

    json_object_set_new(all, "kind", json_string("PodList"));
    json_object_set_new(all, "apiVersion", json_string("v1"));
    json_object_set_new(all, "metadata", json_object());
    json_object_set_new(all, "items", items);
    LOCK_SCOPE(&p->lock);
    while (map_next(p->pods, &pos, &uid, &at)) {
        const struct pod *pod = at;
        json_t *tree = NULL;

        if (pod->json && json_read(pod->json->at, pod->json->n, NULL, NULL, &tree, &none) == 0)
            json_array_append_new(items, tree);
    }
    return all;
}

static int cgroup(void *arg, const char *pod_uid, char ret[256], struct err *err)
{
    struct pods *p = arg;
    AUTO(bytes) struct bytes *json = NULL;
    AUTO(json) json_t *tree = NULL;

    pthread_mutex_lock(&p->lock);
    struct pod *pod = pods_find(p, pod_uid);
    json = pod ? bytes_ref(pod->json) : NULL;
    pthread_mutex_unlock(&p->lock);
    if (!json || json_read(json->at, json->n, NULL, NULL, &tree, err) < 0)
        return err_set(err, ERR_NOT_FOUND, "pod %s not found", pod_uid);
    const char *qos = pod_qos(tree);
    const char *dir = strcmp(qos, "Burstable") == 0 ? "/burstable" : strcmp(qos, "BestEffort") == 0 ? "/besteffort" : "";
    (void)snprintf(ret, 256, "%s%s/pod%s", p->cgroup_root, dir, pod_uid);
    return 0;
}

static bool healthy(void *arg)
{
    (void)arg;
    return true; /* whoever asks was answered by the pool and the loop */
}

struct kubelet_world pods_world(struct pods *p)
{
    return (struct kubelet_world){ .arg = p, .find = find, .find_pod = find_pod, .pods = list, .cgroup = cgroup, .healthy = healthy };
}

void pods_world_ended(struct pods *p, const char *pod_uid, const char *id)
{
    pthread_mutex_lock(&p->lock);
    struct kubelet_api *api = p->api;
    pthread_mutex_unlock(&p->lock);
    if (api)
        kubelet_api_container_ended(api, pod_uid, id);
}
