/* ReplicaSet and ReplicationController: the number of pods. Observe (index), plan (replicas.h), act. */
#include "server/controllers/ctl.h"
#include "server/controllers/replicas.h"

#include <string.h>

struct kind {
    const char *group, *resource, *kind, *api_version;
};

static const struct kind replica_set = { "apps", "replicasets", "ReplicaSet", "apps/v1" };
static const struct kind replication = { "", "replicationcontrollers", "ReplicationController", "v1" };

struct state {
    const struct kind *kind;
};

/* --- what happens --- */

static void on_pod(void *arg, const json_t *pod, bool first)
{
    struct ctl *c = arg;

    (void)first;
    ctl_add_owner(c, pod, ((struct state *)c->state)->kind->kind);
}

static void on_pod_gone(void *arg, const json_t *pod)
{
    struct ctl *c = arg;

    ctl_add_owner(c, pod, ((struct state *)c->state)->kind->kind);
}

static void start_kind(struct ctl *c, const struct kind *kind)
{
    static const struct informer_handler pods = { on_pod, on_pod_gone, NULL };
    struct state *s = MEM_NEW(struct state);

    s->kind = kind;
    c->state = s;
    ctl_watch(c, kind->group, "v1", kind->resource, &ctl_enqueue_self);
    ctl_watch(c, "", "v1", "pods", &pods);
}

static void start_sets(struct ctl *c)
{
    start_kind(c, &replica_set);
}

static void start_replication(struct ctl *c)
{
    start_kind(c, &replication);
}

static void stop(struct ctl *c)
{
    free(c->state);
}

/* --- observe --- */

struct seen {
    struct replica *at; /* active pods; arena */
    size_t n;
    int64_t replicas, labeled, ready, available, terminating;
    int64_t next_available_s; /* when the next ready pod becomes available; 0: none waits */
};

static struct selector *selector_for(struct arena *a, const struct kind *kind, const json_t *set, struct err *err)
{
    struct selector *s = NULL;

    if (kind == &replication)
        return selector_of_map(a, json_at(set, "spec.selector"));
    return selector_of(a, json_at(set, "spec.selector"), &s, err) == 0 ? s : NULL;
}

static bool node_doubled(const struct pod_entry *first, const struct pod_entry *p)
{
    for (const struct pod_entry *o = first; o && *p->node; o = o->next_owner)
        if (o != p && strcmp(o->node, p->node) == 0 && pod_entry_active(o))
            return true;
    return false;
}

static bool labels_cover(const struct pod_entry *p, const json_t *want)
{
    const char *key = NULL;
    json_t *v = NULL;

    json_object_foreach((json_t *)want, key, v)
    {
        bool found = false;

        for (const char *at = buf_at(&p->labels), *end = at + buf_len(&p->labels); at < end && !found;) {
            const char *value = at + strlen(at) + 1;

            found = strcmp(at, key) == 0 && strcmp(value, json_is_string(v) ? json_string_value(v) : "") == 0;
            at = value + strlen(value) + 1;
        }
        if (!found)
            return false;
    }
    return true;
}

static void count(struct ctl *c, const json_t *set, const struct pod_entry *p, struct seen *s)
{
    int64_t wait = json_int_or(set, "spec.minReadySeconds", 0), now = ctl_now_s(c);

    s->replicas++;
    s->labeled += labels_cover(p, json_at(set, "spec.template.metadata.labels"));
    if (!p->ready)
        return;
    s->ready++;
    if (wait == 0 || p->ready_s + wait <= now)
        s->available++;
    else if (!s->next_available_s || p->ready_s + wait < s->next_available_s)
        s->next_available_s = p->ready_s + wait;
}

static void observe(struct ctl *c, struct ctx *ctx, const json_t *set, struct seen *s)
{
    struct pod_index *x = c->all->pods;
    size_t cap = 0;

    *s = (struct seen){ 0 };
    pod_index_lock(x);
    const struct pod_entry *first = pod_index_owned(x, meta_uid(set));
    for (const struct pod_entry *p = first; p; p = p->next_owner)
        cap++;
    s->at = arena_alloc(ctx->arena, (cap + 1) * sizeof(*s->at));
    for (const struct pod_entry *p = first; p; p = p->next_owner) {
        if (p->deleting && p->phase != 'S' && p->phase != 'F')
            s->terminating++;
        if (!pod_entry_active(p))
            continue;
        count(c, set, p, s);
        s->at[s->n++] = (struct replica){
            .name = arena_strdup(ctx->arena, p->name),
            .assigned = *p->node,
            .ready = p->ready,
            .doubled = node_doubled(first, p),
            .phase = p->phase,
            .restarts = p->restarts,
            .ready_s = p->ready_s,
            .created_s = p->created_s,
        };
    }
    pod_index_unlock(x);
}

/* --- adopting and releasing --- */

struct claim {
    char *name, *uid;
    bool release;
};

static size_t find_claims(struct ctl *c, struct ctx *ctx, const json_t *set, const struct selector *sel, struct claim *to, size_t room)
{
    struct pod_index *x = c->all->pods;
    const char *uid = meta_uid(set);
    size_t n = 0;

    pod_index_lock(x);
    for (const struct pod_entry *p = pod_index_in(x, meta_namespace(set)); p && n < room; p = p->next_ns) {
        bool matches = selector_match_flat(sel, pod_entry_labels(p)), ours = strcmp(p->owner_uid, uid) == 0;

        if ((ours && !matches && !p->deleting) || (!*p->owner_uid && matches && pod_entry_active(p)))
            to[n++] = (struct claim){ arena_strdup(ctx->arena, p->name), arena_strdup(ctx->arena, p->uid), ours };
    }
    pod_index_unlock(x);
    return n;
}

static int claim_pods(struct ctl *c, struct ctx *ctx, const json_t *set, const struct selector *sel, struct err *err)
{
    struct claim claims[64];
    size_t n = meta_deleting(set) ? 0 : find_claims(c, ctx, set, sel, claims, ARRAY_LEN(claims));

    for (size_t i = 0; i < n; i++) {
        struct object_ref ref = { "", "v1", "pods", meta_namespace(set), claims[i].name, NULL };
        AUTO(json) json_t *patch = NULL;

        if (claims[i].release)
            patch = json_pack("{s:{s:s,s:[{s:s,s:s}]}}", "metadata", "uid", claims[i].uid, "ownerReferences", "$patch", "delete", "uid",
                              meta_uid(set));
        else
            patch = json_pack("{s:{s:s,s:[o]}}", "metadata", "uid", claims[i].uid, "ownerReferences", meta_owner_ref(set, true, true));
        if (client_patch(ctx, c->client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err) < 0 && !ctl_moved_on(err) &&
            err->code != ERR_INVALID)
            return err_wrap(err, "%s pod %s", claims[i].release ? "release" : "adopt", claims[i].name);
    }
    return 0;
}

/* --- act --- */

static json_t *new_pod(const json_t *set)
{
    static const char *const copied[] = { "labels", "annotations", "finalizers" };
    json_t *pod = json_object(), *meta = json_object();

    json_object_set_new(pod, "kind", json_string("Pod"));
    json_object_set_new(pod, "apiVersion", json_string("v1"));
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        json_t *v = json_object_get(json_at(set, "spec.template.metadata"), copied[i]);

        if (v)
            json_object_set_new(meta, copied[i], json_deep_copy(v));
    }
    json_object_set_new(meta, "generateName", json_strf("%s-", meta_name(set)));
    json_object_set_new(meta, "namespace", json_string(meta_namespace(set)));
    json_object_set_new(meta, "ownerReferences", json_pack("[o]", meta_owner_ref(set, true, true)));
    json_object_set_new(pod, "metadata", meta);
    json_object_set_new(pod, "spec", json_deep_copy(json_at(set, "spec.template.spec")));
    return pod;
}

static int create_pods(struct ctl *c, struct ctx *ctx, const json_t *set, int n, struct err *err)
{
    struct object_ref ref = { "", "v1", "pods", meta_namespace(set), NULL, NULL };

    for (int i = 0; i < n; i++) {
        AUTO(json) json_t *pod = new_pod(set);
        AUTO(json) json_t *made = NULL;

        if (client_create(ctx, c->client, &ref, pod, &made, err) < 0) {
            if (err->code == ERR_FORBIDDEN && strstr(err->msg, "is being terminated"))
                return 0; /* the namespace goes: so will the set */
            if (err->code == ERR_FORBIDDEN || err->code == ERR_INVALID)
                event_record(c->events, set, NULL, "Warning", "FailedCreate", "Error creating: %s", err->msg);
            return err_wrap(err, "create pod %d of %d", i + 1, n);
        }
        /* The index knows of it now, not when the watch comes round: the next pass counts right. */
        pod_index_set(c->all->pods, made);
        event_record(c->events, set, NULL, "Normal", "SuccessfulCreate", "Created pod: %s", meta_name(made));
    }
    return 0;
}

static int remove_pods(struct ctl *c, struct ctx *ctx, const json_t *set, struct seen *s, int n, struct err *err)
{
    replicas_rank(s->at, s->n);
    for (int i = 0; i < n; i++) {
        struct object_ref ref = { "", "v1", "pods", meta_namespace(set), s->at[i].name, NULL };

        if (client_delete(ctx, c->client, &ref, NULL, err) < 0 && !ctl_moved_on(err)) {
            event_record(c->events, set, NULL, "Warning", "FailedDelete", "Error deleting: %s", err->msg);
            return err_wrap(err, "delete pod %s", s->at[i].name);
        }
        event_record(c->events, set, NULL, "Normal", "SuccessfulDelete", "Deleted pod: %s", s->at[i].name);
    }
    return 0;
}

static void put_count(json_t *status, const char *name, int64_t n, bool always)
{
    if (n || always)
        json_object_set_new(status, name, json_integer(n));
    else
        json_object_del(status, name);
}

static int write_status(struct ctl *c, struct ctx *ctx, json_t *set, const struct seen *s, const struct err *failed, struct err *err)
{
    const struct kind *kind = ((struct state *)c->state)->kind;
    struct object_ref ref = { kind->group, "v1", kind->resource, meta_namespace(set), meta_name(set), "status" };
    json_t *old = json_object_get(set, "status");
    AUTO(json) json_t *before = json_deep_copy(old);

    if (!old) {
        old = json_object();
        json_object_set_new(set, "status", old);
    }
    put_count(old, "replicas", s->replicas, true);
    put_count(old, "fullyLabeledReplicas", s->labeled, false);
    put_count(old, "readyReplicas", s->ready, false);
    put_count(old, "availableReplicas", s->available, false);
    if (kind == &replica_set)
        put_count(old, "terminatingReplicas", s->terminating, true);
    json_object_set_new(old, "observedGeneration", json_integer(meta_generation(set)));
    if (failed)
        condition_set(set, &(struct condition){ .type = "ReplicaFailure", .status = "True", .reason = "FailedCreate", .message = failed->msg },
                      c->all->o.clock);
    else
        condition_remove(set, "ReplicaFailure");
    if (json_array_size(json_object_get(old, "conditions")) == 0)
        json_object_del(old, "conditions");
    if (json_equal(before, old))
        return 0;
    if (client_update(ctx, c->client, &ref, set, NULL, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "status");
    return 0;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct ctl *c = arg;
    const struct kind *kind = ((struct state *)c->state)->kind;
    AUTO(json) json_t *set = NULL;
    struct seen seen;
    struct err failed;
    int rc = 0;

    if (!controllers_ready(c->all)) {
        *again = 20;
        return 0;
    }
    if (ctl_get(ctx, c, kind->group, "v1", kind->resource, key, &set, err) < 0)
        return -(int)err->code;
    if (!set)
        return 0;
    struct selector *sel = selector_for(ctx->arena, kind, set, err);
    if (!sel)
        return err_wrap(err, "selector");
    if (claim_pods(c, ctx, set, sel, err) < 0)
        return -(int)err->code;
    observe(c, ctx, set, &seen);
    int plan = meta_deleting(set) ? 0 : replicas_plan(json_int_or(set, "spec.replicas", 1), seen.n);
    if (plan > 0)
        rc = create_pods(c, ctx, set, plan, &failed);
    else if (plan < 0)
        rc = remove_pods(c, ctx, set, &seen, -plan, &failed);
    observe(c, ctx, set, &seen);
    if (write_status(c, ctx, set, &seen, rc < 0 && plan > 0 ? &failed : NULL, err) < 0)
        return -(int)err->code;
    if (rc < 0) {
        *err = failed;
        return rc;
    }
    if (seen.next_available_s)
        *again = (seen.next_available_s - ctl_now_s(c)) * 1000;
    return 0;
}

const struct ctl_def ctl_replicaset = { "replicaset-controller", "replicaset-controller", 4, start_sets, reconcile, stop };
const struct ctl_def ctl_replication = { "replication-controller", "replication-controller", 2, start_replication, reconcile, stop };
