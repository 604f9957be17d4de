#include "agent/pods/pods_int.h"

#include "lib/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WORKERS = 8, PROBE_WORKERS = 16, JOBS = 32, PASS_MS = 120000, ROUNDS_MAX = 32 };

struct pod *pods_find(struct pods *p, const char *uid)
{
    return map_get(p->pods, uid);
}

struct unit *pod_unit(struct pod *pod, const char *name)
{
    for (size_t i = 0; i < pod->n_units; i++)
        if (strcmp(pod->units[i].name, name) == 0)
            return &pod->units[i];
    return NULL;
}

void pods_add(struct pods *p, const char *uid)
{
    queue_add(p->queue, uid);
}

static void unit_clear(struct unit *u)
{
    free(u->name);
    free(u->image_id);
    free(u->image_ref);
    free(u->image_name);
    free(u->stop_message);
    free(u->wait_message);
    free(u->note);
    if (u->failed)
        free(u->failed->message);
    free(u->failed);
}

void pod_free(void *at)
{
    struct pod *pod = at;

    for (size_t i = 0; i < pod->n_units; i++)
        unit_clear(&pod->units[i]);
    free(pod->units);
    bytes_unref(pod->json);
    free(pod->fail_reason);
    free(pod->fail_message);
    free(pod->uid);
    free(pod->ns);
    free(pod->name);
    free(pod);
}

void pod_fail(struct pod *pod, const char *reason, const char *message)
{
    free(pod->fail_reason);
    free(pod->fail_message);
    pod->fail_reason = mem_strdup(reason);
    pod->fail_message = mem_strdup(message);
}

void unit_wait(struct unit *u, const char *reason, const char *message)
{
    u->wait_reason = reason;
    free(u->wait_message);
    u->wait_message = message ? mem_strdup(message) : NULL;
}

int64_t backoff_ms(int fails, int64_t first_ms, int64_t most_ms)
{
    int64_t ms = first_ms;

    for (int i = 1; i < fails && ms < most_ms; i++)
        ms *= 2;
    return ms < most_ms ? ms : most_ms;
}

const json_t *unit_spec(const json_t *pod, const struct unit *u)
{
    static const char *const lists[] = { [UNIT_INIT] = "spec.initContainers", [UNIT_SIDECAR] = "spec.initContainers",
                                         [UNIT_MAIN] = "spec.containers", [UNIT_EPHEMERAL] = "spec.ephemeralContainers" };
    size_t i = 0;
    json_t *c = NULL;

    json_array_foreach(json_at(pod, lists[u->kind]), i, c)
        if (strcmp(json_str_or(c, "name", ""), u->name) == 0)
            return c;
    return NULL;
}

void pod_tell(struct view *v, const struct unit *u, const char *type, const char *reason, const char *fmt, ...)
{
    static const char *const lists[] = { [UNIT_INIT] = "spec.initContainers{%s}", [UNIT_SIDECAR] = "spec.initContainers{%s}",
                                         [UNIT_MAIN] = "spec.containers{%s}", [UNIT_EPHEMERAL] = "spec.ephemeralContainers{%s}" };
    char path[320];
    va_list args;

    if (!v->pod->json)
        return; /* an orphan has no object to tell of */
    va_start(args, fmt);
    AUTO_FREE char *text = NULL;
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    if (u) {
        const char *list = lists[u->kind];
        const char *mark = strchr(list, '%');
        (void)snprintf(path, sizeof(path), "%.*s%s}", (int)(mark - list), list, u->name);
    }
    if (text)
        event_record(v->all->o.events, v->tree, u ? path : NULL, type, reason, "%s", text);
}

/* --- what the API says --- */

static uint64_t hash_of(const char *text, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

static bool ours(const char *type)
{
    static const char *const types[] = { "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled" };

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

/* What a pass depends on: everything but our own reports and the bookkeeping of the API. */
static uint64_t matter(const json_t *lean)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *o = json_copy((json_t *)lean);
    AUTO(json) json_t *meta = json_copy(json_object_get(lean, "metadata"));
    size_t i = 0;
    json_t *c = NULL;

    json_object_del(o, "status");
    json_object_del(meta, "resourceVersion");
    json_object_set(o, "metadata", meta);
    json_write(o, &text);
    json_array_foreach(json_at(lean, "status.conditions"), i, c)
        if (!ours(json_str_or(c, "type", "")))
            json_write(c, &text);
    return hash_of(buf_at(&text), buf_len(&text));
}

static struct bytes *lean_bytes(const json_t *object, uint64_t *ret_hash)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *o = json_copy((json_t *)object);
    AUTO(json) json_t *meta = json_copy(json_object_get(object, "metadata"));

    json_object_del(meta, "managedFields");
    json_object_set(o, "metadata", meta);
    json_object_set_new(o, "kind", json_string("Pod"));
    json_object_set_new(o, "apiVersion", json_string("v1"));
    *ret_hash = matter(o);
    json_write(o, &text);
    return buf_take(&text);
}

static struct pod *pod_new(const char *uid, const char *ns, const char *name)
{
    struct pod *pod = MEM_NEW(struct pod);

    pod->uid = mem_strdup(uid);
    pod->ns = mem_strdup(ns);
    pod->name = mem_strdup(name);
    pod->kill_grace_s = -1;
    pod->volumes_again_ms = INT64_MAX;
    return pod;
}

static void on_pod(void *arg, const json_t *object, bool first)
{
    struct pods *p = arg;
    const char *uid = meta_uid(object);
    uint64_t hash = 0;
    struct bytes *json = NULL;
    bool changed = false;

    (void)first;
    if (!*uid)
        return;
    json = lean_bytes(object, &hash);
    pthread_mutex_lock(&p->lock);
    struct pod *pod = pods_find(p, uid);
    if (!pod) {
        pod = pod_new(uid, meta_namespace(object), meta_name(object));
        map_set(p->pods, uid, pod);
        changed = true;
    } else if (!pod->json) { /* recovered: now it has a name */
        free(pod->ns);
        free(pod->name);
        pod->ns = mem_strdup(meta_namespace(object));
        pod->name = mem_strdup(meta_name(object));
        changed = true;
    }
    changed = changed || pod->seen_hash != hash || pod->gone;
    bytes_unref(pod->json);
    pod->json = json;
    pod->seen_hash = hash;
    pod->gone = false;
    pthread_mutex_unlock(&p->lock);
    if (changed)
        pods_add(p, uid);
}

static void on_pod_gone(void *arg, const json_t *last)
{
    struct pods *p = arg;
    const char *uid = meta_uid(last);

    pthread_mutex_lock(&p->lock);
    struct pod *pod = pods_find(p, uid);
    if (pod)
        pod->gone = true;
    pthread_mutex_unlock(&p->lock);
    if (pod)
        pods_add(p, uid);
}

/* What runs here and is in no list is an orphan. */
static void on_pods_sync(void *arg)
{
    struct pods *p = arg;
    size_t pos = 0;
    const char *uid = NULL;
    void *at = NULL;
    LOCK_SCOPE(&p->lock);

    p->synced = true;
    while (map_next(p->pods, &pos, &uid, &at))
        if (!((struct pod *)at)->json) {
            ((struct pod *)at)->gone = true;
            queue_add(p->queue, uid);
        }
}

void pods_recovered(struct pods *p, char *const *uids, size_t n)
{
    LOCK_SCOPE(&p->lock);

    for (size_t i = 0; i < n; i++)
        if (!pods_find(p, uids[i])) {
            struct pod *pod = pod_new(uids[i], "", "");

            pod->admitted = true; /* it was, before */
            pod->gone = p->synced;
            map_set(p->pods, uids[i], pod);
            if (pod->gone)
                queue_add(p->queue, uids[i]);
        }
}

/* --- one pass --- */

static void take_step(struct view *v, enum plan_step step, size_t i)
{
    switch (step) {
    case STEP_ADMIT:
        step_admit(v);
        return;
    case STEP_CGROUP:
    case STEP_VOLUMES:
    case STEP_SANDBOX:
    case STEP_NETWORK:
        step_prepare(v, step);
        return;
    case STEP_PULL:
        step_pull(v, i);
        return;
    case STEP_START:
        step_start(v, i);
        return;
    case STEP_STOP:
    case STEP_TERM:
    case STEP_KILL:
        step_stop(v, i, step);
        return;
    case STEP_CLEAN:
        step_clean(v);
        return;
    case STEP_REPORT:
    case STEP_DELETE:
    case STEP_FORGET:
        return; /* end_step */
    }
}

static int delete_pod(struct view *v, struct err *err)
{
    struct pod *pod = v->pod;
    struct object_ref ref = { "", "v1", "pods", pod->ns, pod->name, NULL };
    struct client_delete_opts opts = { .uid = pod->uid, .grace_s = 0 };

    pod_remove_logs(v);
    if (client_delete(v->ctx, v->all->o.client, &ref, &opts, err) < 0 && err->code != ERR_NOT_FOUND && err->code != ERR_CONFLICT)
        return err_wrap(err, "delete pod %s/%s", pod->ns, pod->name);
    pod->deleted = true; /* its end comes by the watch */
    return 0;
}

static void forget(struct view *v)
{
    struct pods *p = v->all;

    pthread_mutex_lock(&p->lock);
    struct pod *pod = v->pod->gone ? map_take(p->pods, v->pod->uid) : NULL;
    pthread_mutex_unlock(&p->lock);
    if (!pod)
        return; /* came back */
    pod_free(pod);
    v->pod = NULL;
}

/* Steps that talk to the API or end it all. Returns 1 when one was taken. */
static int end_step(struct view *v, enum plan_step step, struct err *err)
{
    if (step == STEP_REPORT)
        return pod_report(v, true, err) < 0 ? -(int)err->code : 1;
    if (step == STEP_DELETE)
        return delete_pod(v, err) < 0 ? -(int)err->code : 1;
    if (step == STEP_FORGET) {
        forget(v);
        return 1;
    }
    return 0;
}

/* Observes, plans and acts until nothing is left to do now. *ret_at_ms: when to look again. */
static int run_rounds(struct view *v, int64_t *ret_at_ms, struct err *err)
{
    struct plan *plan = arena_alloc(v->ctx->arena, sizeof(*plan));

    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (ctx_check(v->ctx, err) < 0 || pod_observe(v, err) < 0)
            return -(int)err->code;
        plan_pod(&v->in, plan);
        *ret_at_ms = plan->again_at_ms;
        if (plan->n == 0)
            return 0;
        for (size_t i = 0; i < plan->n; i++) {
            int rc = end_step(v, plan->at[i].step, err);

            if (rc < 0)
                return rc;
            if (!v->pod)
                return 0;
            if (rc == 0)
                take_step(v, plan->at[i].step, plan->at[i].unit);
        }
    }
    *ret_at_ms = 0; /* go on in a pass of its own: others wait too */
    return 0;
}

static int load_tree(struct view *v, struct bytes *json, struct err *err)
{
    if (json)
        return json_read(json->at, json->n, NULL, NULL, &v->tree, err);
    v->tree = json_object();
    json_put(v->tree, "metadata.uid", json_string(v->pod->uid));
    return 0;
}

static void view_clear(struct view *v)
{
    json_decref(v->tree);
    free(v->containers);
}

static int pass(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct pods *p = arg;
    struct view v = { .all = p, .ctx = ctx };
    AUTO(bytes) struct bytes *json = NULL;
    int64_t at_ms = INT64_MAX;
    struct err report_err;
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    v.pod = pods_find(p, key);
    if (v.pod)
        json = bytes_ref(v.pod->json);
    bool ready = v.pod && (json || v.pod->gone);
    pthread_mutex_unlock(&p->lock);
    if (!ready)
        return 0;
    if (load_tree(&v, json, err) < 0)
        return err_wrap(err, "pod %s", key);
    if (!v.pod->loaded)
        pod_load(&v);
    rc = run_rounds(&v, &at_ms, err);
    if (v.pod && json && pod_report(&v, false, rc < 0 ? &report_err : err) < 0 && rc == 0)
        rc = -(int)err->code;
    if (v.pod)
        probes_arm(&v);
    view_clear(&v);
    int64_t now = clock_mono_ms(p->o.clock);
    if (at_ms != INT64_MAX)
        *again = at_ms > now ? at_ms - now : 0;
    return rc;
}

/* --- the unit --- */

int pods_open(const struct pods_options *options, struct pods **ret, struct err *err)
{
    static const struct informer_handler handler = { on_pod, on_pod_gone, on_pods_sync };
    struct pods *p = MEM_NEW(struct pods);
    struct queue_options q = { .name = "pods", .pool = options->pool, .loop = options->loop, .clock = options->clock,
                               .workers = WORKERS, .deadline_ms = PASS_MS, .backoff_max_ms = 60000 };
    AUTO_FREE char *field = mem_printf("spec.nodeName=%s", options->node_name);
    struct object_ref ref = { "", "v1", "pods", NULL, NULL, NULL };
    struct client_list_opts selectors = { .field_selector = field };

    p->o = *options;
    pthread_mutex_init(&p->lock, NULL);
    p->pods = map_new(pod_free);
    p->pulls = map_new(pulls_free);
    p->cgroup_root = mem_printf("kubepods-%s", options->instance);
    static const char *const classes[] = { "", "/burstable", "/besteffort" };
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        AUTO_FREE char *group = mem_printf("%s%s", p->cgroup_root, classes[i]);

        if (runtime_cgroup_set(options->runtime, group, NULL, err) < 0) {
            pods_close(p);
            return err_wrap(err, "cgroup %s", group);
        }
    }
    p->queue = queue_new(&q, pass, p);
    q.name = "probes";
    q.workers = PROBE_WORKERS;
    p->probes = queue_new(&q, probes_pass, p);
    p->jobs = pool_family_new(options->pool, "pod jobs", JOBS);
    informers_add(options->informers, &ref, &selectors, &handler, p);
    *ret = p;
    return 0;
}

void pods_stop(struct pods *p)
{
    if (!p)
        return;
    p->cancel.set = true;
    if (p->probes)
        queue_stop(p->probes);
    if (p->queue)
        queue_stop(p->queue);
    pool_family_free(p->jobs);
    p->jobs = NULL;
}

void pods_close(struct pods *p)
{
    if (!p)
        return;
    pods_stop(p);
    queue_free(p->probes);
    queue_free(p->queue);
    map_free(p->pulls);
    map_free(p->pods);
    json_decref(p->allocatable);
    pthread_mutex_destroy(&p->lock);
    free(p->cgroup_root);
    free(p);
}

static void add_all(struct pods *p)
{
    size_t pos = 0;
    const char *uid = NULL;
    void *at = NULL;

    while (map_next(p->pods, &pos, &uid, &at))
        queue_add(p->queue, uid);
}

void pods_set_network(struct pods *p, struct network *n)
{
    LOCK_SCOPE(&p->lock);
    p->network = n;
    add_all(p);
}

void pods_set_allocatable(struct pods *p, const json_t *allocatable)
{
    LOCK_SCOPE(&p->lock);
    json_decref(p->allocatable);
    p->allocatable = json_deep_copy(allocatable);
}

void pods_set_api(struct pods *p, struct kubelet_api *api)
{
    LOCK_SCOPE(&p->lock);
    p->api = api;
}

void pods_on_runtime(struct pods *p, enum runtime_event_kind kind, const char *pod_uid, const char *container_id)
{
    pods_add(p, pod_uid);
    if (kind == RUNTIME_EXITED && container_id)
        pods_world_ended(p, pod_uid, container_id);
}
