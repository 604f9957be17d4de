/* Node life cycle: a node whose lease stays unrenewed is Unknown, tainted, its pods unready and in time evicted. */
#include "server/controllers/ctl.h"

#include <string.h>

enum { GRACE_MS = 40000, STARTUP_GRACE_MS = 60000, LOOK_MS = 5000, EVICT_AT_ONCE = 64 };

static const char lease_ns[] = "kube-node-lease", taint_not_ready[] = "node.kubernetes.io/not-ready",
                  taint_unreachable[] = "node.kubernetes.io/unreachable";

/* When we last heard of a node, on our own clock: its clock may differ. */
struct heard {
    int64_t at_ms;
    char *renewed;
};

struct state {
    pthread_mutex_t lock;
    struct map *heard; /* node -> struct heard */
};

static void heard_free(void *p)
{
    free(((struct heard *)p)->renewed);
    free(p);
}

static void hear(struct ctl *c, const char *node, const char *renewed)
{
    struct state *s = c->state;
    LOCK_SCOPE(&s->lock);
    struct heard *h = map_get(s->heard, node);

    if (!h) {
        h = MEM_NEW(struct heard);
        map_set(s->heard, node, h);
    } else if (h->renewed && strcmp(h->renewed, renewed) == 0) {
        return;
    }
    free(h->renewed);
    h->renewed = mem_strdup(renewed);
    h->at_ms = clock_mono_ms(c->all->o.clock);
}

static void on_lease(void *arg, const json_t *lease, bool first)
{
    struct ctl *c = arg;

    (void)first;
    if (strcmp(meta_namespace(lease), lease_ns) == 0)
        hear(c, meta_name(lease), json_str_or(lease, "spec.renewTime", ""));
}

static void on_node(void *arg, const json_t *node, bool first)
{
    struct ctl *c = arg;
    struct state *s = c->state;

    pthread_mutex_lock(&s->lock);
    bool known = map_get(s->heard, meta_name(node)) != NULL;
    pthread_mutex_unlock(&s->lock);
    if (!known || first)
        hear(c, meta_name(node), "");
    ctl_add(c, node);
}

static void on_node_gone(void *arg, const json_t *node)
{
    struct state *s = ((struct ctl *)arg)->state;
    LOCK_SCOPE(&s->lock);

    map_del(s->heard, meta_name(node));
}

static void start(struct ctl *c)
{
    static const struct informer_handler nodes = { on_node, on_node_gone, NULL }, leases = { on_lease, NULL, NULL };
    struct state *s = MEM_NEW(struct state);

    pthread_mutex_init(&s->lock, NULL);
    s->heard = map_new(heard_free);
    c->state = s;
    ctl_watch(c, "", "v1", "nodes", &nodes);
    ctl_watch(c, "coordination.k8s.io", "v1", "leases", &leases);
}

static void stop(struct ctl *c)
{
    struct state *s = c->state;

    map_free(s->heard);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool is_silent(struct ctl *c, const json_t *node)
{
    struct state *s = c->state;
    const json_t *ready = condition_get(node, "Ready");
    LOCK_SCOPE(&s->lock);
    const struct heard *h = map_get(s->heard, meta_name(node));

    return h && clock_mono_ms(c->all->o.clock) - h->at_ms > (ready ? GRACE_MS : STARTUP_GRACE_MS);
}

/* --- conditions and taints --- */

static bool set_unknown(struct ctl *c, json_t *node)
{
    static const char *const types[] = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure" };
    bool changed = false;

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        const json_t *had = condition_get(node, types[i]);

        if (had && strcmp(json_str_or(had, "status", ""), "Unknown") == 0)
            continue;
        changed |= condition_set(node, &(struct condition){ .type = types[i], .status = "Unknown",
                                                            .reason = had ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
                                                            .message = had ? "Kubelet stopped posting node status." : "Kubelet never posted node status.",
                                                            .with_heartbeat = true },
                                 c->all->o.clock);
    }
    return changed;
}

/* Taints that follow from conditions: key by condition and status. */
static const struct {
    const char *type, *status, *key;
    bool evicts; /* NoExecute as well */
} rules[] = {
    { "Ready", "False", taint_not_ready, true },
    { "Ready", "Unknown", taint_unreachable, true },
    { "MemoryPressure", "True", "node.kubernetes.io/memory-pressure", false },
    { "DiskPressure", "True", "node.kubernetes.io/disk-pressure", false },
    { "PIDPressure", "True", "node.kubernetes.io/pid-pressure", false },
    { "NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable", false },
};

static bool has_taint(const json_t *taints, const char *key, const char *effect)
{
    size_t i = 0;
    json_t *t = NULL;

    json_array_foreach((json_t *)taints, i, t)
        if (strcmp(json_str_or(t, "key", ""), key) == 0 && strcmp(json_str_or(t, "effect", ""), effect) == 0) return true;
    return false;
}

static bool is_ours(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (strcmp(rules[i].key, key) == 0)
            return true;
    return strcmp(key, "node.kubernetes.io/unschedulable") == 0;
}

static void add_taint(json_t *to, const json_t *had, const char *key, const char *effect, const char *now)
{
    size_t i = 0;
    json_t *t = NULL;

    json_array_foreach((json_t *)had, i, t)
        if (strcmp(json_str_or(t, "key", ""), key) == 0 && strcmp(json_str_or(t, "effect", ""), effect) == 0)
        {
            json_array_append(to, t); /* keeps timeAdded */
            return;
        }
    t = json_pack("{s:s,s:s}", "key", key, "effect", effect);
    if (strcmp(effect, "NoExecute") == 0)
        json_object_set_new(t, "timeAdded", json_string(now));
    json_array_append_new(to, t);
}

static json_t *wanted_taints(struct ctl *c, const json_t *node)
{
    json_t *had = json_at(node, "spec.taints"), *want = json_array(), *t = NULL;
    char now[CLOCK_TEXT_BYTES];
    size_t i = 0;

    clock_time_text(ctl_now_s(c), now);
    json_array_foreach(had, i, t) if (!is_ours(json_str_or(t, "key", ""))) json_array_append(want, t);
    if (json_bool_or(node, "spec.unschedulable", false))
        add_taint(want, had, "node.kubernetes.io/unschedulable", "NoSchedule", now);
    for (size_t k = 0; k < ARRAY_LEN(rules); k++) {
        const json_t *cond = condition_get(node, rules[k].type);
        bool never = !cond && k == 0; /* no status yet: not ready */

        if (!never && (!cond || strcmp(json_str_or(cond, "status", ""), rules[k].status) != 0))
            continue;
        add_taint(want, had, rules[k].key, "NoSchedule", now);
        if (rules[k].evicts && !never)
            add_taint(want, had, rules[k].key, "NoExecute", now);
    }
    return want;
}

static bool same_set(const json_t *a, const json_t *b)
{
    size_t i = 0;
    json_t *t = NULL;

    if (json_array_size(a) != json_array_size(b))
        return false;
    json_array_foreach((json_t *)a, i, t) if (!has_taint(b, json_str_or(t, "key", ""), json_str_or(t, "effect", ""))) return false;
    return true;
}

static int put_taints(struct ctx *ctx, struct ctl *c, const json_t *node, struct err *err)
{
    AUTO(json) json_t *want = wanted_taints(c, node);
    struct object_ref ref = { "", "v1", "nodes", NULL, meta_name(node), NULL };

    if (same_set(json_at(node, "spec.taints"), want))
        return 0;
    AUTO(json) json_t *patch = json_pack("{s:{s:s},s:{s:O}}", "metadata", "resourceVersion", meta_resource_version(node), "spec", "taints", want);
    if (json_array_size(want) == 0)
        json_put(patch, "spec.taints", NULL);
    if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_MERGE, patch, NULL, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "taints");
    return 0;
}

/* --- pods of a node that is not ready --- */

struct pod_ref {
    char *ns, *name, *uid;
    bool ready;
};

static size_t pods_on(struct ctl *c, struct ctx *ctx, const char *node, struct pod_ref *to, size_t room)
{
    struct pod_index *x = c->all->pods;
    const struct pod_entry *p = NULL;
    size_t n = 0, pos = 0;

    pod_index_lock(x);
    while (pod_index_next(x, &pos, &p) && n < room)
        if (strcmp(p->node, node) == 0 && !p->deleting)
            to[n++] = (struct pod_ref){ arena_strdup(ctx->arena, p->ns), arena_strdup(ctx->arena, p->name), arena_strdup(ctx->arena, p->uid), p->ready };
    pod_index_unlock(x);
    return n;
}

static int mark_unready(struct ctx *ctx, struct ctl *c, const struct pod_ref *p, struct err *err)
{
    struct object_ref ref = { "", "v1", "pods", p->ns, p->name, "status" };
    char now[CLOCK_TEXT_BYTES];
    AUTO(json) json_t *patch = json_pack("{s:{s:s},s:{s:[{s:s,s:s,s:s}]}}", "metadata", "uid", p->uid, "status", "conditions", "type", "Ready",
                                         "status", "False", "lastTransitionTime", clock_time_text(ctl_now_s(c), now));

    if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err) < 0 && !ctl_moved_on(err))
        return err_wrap(err, "pod %s/%s", p->ns, p->name);
    return 0;
}

/* Seconds a pod bears a NoExecute taint: -1 for ever, 0 not at all. */
static int64_t bears_s(const json_t *pod, const char *key)
{
    int64_t least = 0;
    bool any = false;
    size_t i = 0;
    json_t *t = NULL;

    json_array_foreach(json_at(pod, "spec.tolerations"), i, t)
    {
        const char *k = json_str_or(t, "key", ""), *effect = json_str_or(t, "effect", "");
        const json_t *s = json_object_get(t, "tolerationSeconds");

        if ((*k && strcmp(k, key) != 0) || (*effect && strcmp(effect, "NoExecute") != 0))
            continue;
        if (!s)
            return -1;
        int64_t v = json_integer_value(s) < 0 ? 0 : json_integer_value(s);
        least = any && least < v ? least : v;
        any = true;
    }
    return any ? least : 0;
}

static int evict(struct ctx *ctx, struct ctl *c, const struct pod_ref *p, const char *key, int64_t since_s, int64_t *next_s, struct err *err)
{
    struct object_ref ref = { "", "v1", "pods", p->ns, p->name, NULL };
    AUTO(json) json_t *pod = NULL;

    if (client_get(ctx, c->all->o.reader, &ref, &pod, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -(int)err->code;
    int64_t bears = bears_s(pod, key), left = since_s + bears - ctl_now_s(c);
    if (bears < 0)
        return 0;
    if (left > 0) {
        if (left < *next_s)
            *next_s = left;
        return 0;
    }
    event_record(c->events, pod, NULL, "Normal", "TaintManagerEviction", "Marking for deletion Pod %s/%s", p->ns, p->name);
    if (client_delete(ctx, c->client, &ref, &(struct client_delete_opts){ .uid = p->uid, .grace_s = -1 }, err) < 0 && !ctl_moved_on(err))
        return err_wrap(err, "evict %s/%s", p->ns, p->name);
    return 0;
}

static int64_t taint_since_s(const json_t *node, const char **ret_key)
{
    size_t i = 0;
    json_t *t = NULL;
    int64_t us = 0;

    json_array_foreach(json_at(node, "spec.taints"), i, t)
    {
        const char *when = json_str_or(t, "timeAdded", "");

        if (strcmp(json_str_or(t, "effect", ""), "NoExecute") != 0)
            continue;
        *ret_key = json_str_or(t, "key", "");
        return clock_parse(when, strlen(when), &us) == 0 ? us / 1000000 : 0;
    }
    *ret_key = NULL;
    return 0;
}

static int tend_pods(struct ctx *ctx, struct ctl *c, const json_t *node, int64_t *next_s, struct err *err)
{
    struct pod_ref pods[EVICT_AT_ONCE];
    const char *key = NULL;
    int64_t since = taint_since_s(node, &key);
    size_t n = key ? pods_on(c, ctx, meta_name(node), pods, ARRAY_LEN(pods)) : 0;
    bool unready = !condition_is(node, "Ready", "True");

    for (size_t i = 0; i < n; i++) {
        if (unready && pods[i].ready && mark_unready(ctx, c, &pods[i], err) < 0)
            return -(int)err->code;
        if (evict(ctx, c, &pods[i], key, since, next_s, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    AUTO(json) json_t *node = NULL;
    int64_t next_s = LOOK_MS / 1000;

    *again = LOOK_MS;
    if (!controllers_ready(c->all)) {
        *again = 20;
        return 0;
    }
    if (ctl_get(ctx, c, "", "v1", "nodes", key, &node, err) < 0)
        return -(int)err->code;
    if (!node) {
        *again = -1;
        return 0;
    }
    if (is_silent(c, node) && set_unknown(c, node)) {
        struct object_ref ref = { "", "v1", "nodes", NULL, key, "status" };
        json_t *fresh = NULL;

        event_record(c->events, node, NULL, "Normal", "NodeNotReady", "Node %s status is now: NodeNotReady", key);
        if (client_update(ctx, c->client, &ref, node, &fresh, err) < 0)
            return ctl_moved_on(err) ? 0 : err_wrap(err, "conditions");
        json_decref(node);
        node = fresh;
    }
    if (put_taints(ctx, c, node, err) < 0)
        return ctl_moved_on(err) ? 0 : -(int)err->code;
    int rc = tend_pods(ctx, c, node, &next_s, err);
    *again = next_s * 1000;
    return rc;
}

const struct ctl_def ctl_node_lifecycle = { "node-lifecycle-controller", "node-controller", 2, start, reconcile, stop };
