/* Deployment: one replica set a template; moves from the old ones to the new one (rollout.h), keeps history, tells how far it is. */
#include "server/controllers/ctl.h"
#include "server/controllers/rollout.h"

#include "lib/crypto.h"

#include <stdio.h>
#include <string.h>

enum { SETS_MAX = 64 };

static const char revision_key[] = "deployment.kubernetes.io/revision", history_key[] = "deployment.kubernetes.io/revision-history",
                  desired_key[] = "deployment.kubernetes.io/desired-replicas", max_key[] = "deployment.kubernetes.io/max-replicas";

/* A deployment and its sets in one pass. */
struct pass {
    struct ctl *c;
    struct ctx *ctx;
    json_t *d;
    json_t *sets; /* array, owned by the list */
    json_t *now;  /* the set of the current template, or NULL */
    json_t *old[SETS_MAX];
    size_t n_old;
    struct rollout r;
};

/* --- what happens --- */

static void on_set(void *arg, const json_t *set, bool first)
{
    (void)first;
    ctl_add_owner(arg, set, "Deployment");
}

static void on_set_gone(void *arg, const json_t *set)
{
    ctl_add_owner(arg, set, "Deployment");
}

/* Recreate waits for pods to be gone. */
static void on_pod_gone(void *arg, const json_t *pod)
{
    struct ctl *c = arg;
    const json_t *owner = meta_controller(pod);
    const char *name = json_str_or(owner, "name", ""), *dash = strrchr(name, '-');

    if (!owner || !dash || strcmp(json_str_or(owner, "kind", ""), "ReplicaSet") != 0)
        return;
    AUTO_FREE char *key = mem_printf("%s/%.*s", meta_namespace(pod), (int)(dash - name), name);
    queue_add(c->queue, key);
}

static void start(struct ctl *c)
{
    static const struct informer_handler sets = { on_set, on_set_gone, NULL }, pods = { NULL, on_pod_gone, NULL };

    ctl_watch(c, "apps", "v1", "deployments", &ctl_enqueue_self);
    ctl_watch(c, "apps", "v1", "replicasets", &sets);
    ctl_watch(c, "", "v1", "pods", &pods);
}

/* --- observe --- */

static bool same_template(const json_t *a, const json_t *b)
{
    AUTO(json) json_t *x = json_deep_copy(a);
    AUTO(json) json_t *y = json_deep_copy(b);

    json_object_del(json_at(x, "metadata.labels"), "pod-template-hash");
    json_object_del(json_at(y, "metadata.labels"), "pod-template-hash");
    if (json_object_size(json_at(x, "metadata.labels")) == 0)
        json_del(x, "metadata.labels");
    if (json_object_size(json_at(y, "metadata.labels")) == 0)
        json_del(y, "metadata.labels");
    return json_equal(x, y);
}

static int64_t int_or_percent(const json_t *v, int64_t total, bool up)
{
    return json_is_string(v) ? rollout_number(json_string_value(v), 0, total, up) : rollout_number(NULL, json_integer_value(v), total, up);
}

static void read_strategy(struct pass *p)
{
    const json_t *rolling = json_at(p->d, "spec.strategy.rollingUpdate");

    p->r.recreate = strcmp(json_str_or(p->d, "spec.strategy.type", ""), "Recreate") == 0;
    p->r.paused = json_bool_or(p->d, "spec.paused", false);
    p->r.replicas = json_int_or(p->d, "spec.replicas", 1);
    if (p->r.recreate)
        return;
    p->r.max_surge = int_or_percent(json_object_get(rolling, "maxSurge"), p->r.replicas, true);
    p->r.max_unavailable = int_or_percent(json_object_get(rolling, "maxUnavailable"), p->r.replicas, false);
    rollout_resolve(&p->r);
    if (p->r.max_unavailable > p->r.replicas)
        p->r.max_unavailable = p->r.replicas;
}

/* Owned sets; orphans that match are adopted, owned ones that don't are released. */
static int list_sets(struct pass *p, json_t **ret_list, struct err *err)
{
    struct selector *sel = NULL;
    struct object_ref ref = { "apps", "v1", "replicasets", meta_namespace(p->d), NULL, NULL };
    size_t i = 0;
    json_t *set = NULL, *list = NULL;

    if (selector_of(p->ctx->arena, json_at(p->d, "spec.selector"), &sel, err) < 0 ||
        client_list(p->ctx, p->c->all->o.reader, &ref, NULL, &list, err) < 0)
        return err_wrap(err, "replica sets");
    p->sets = json_array();
    json_array_foreach(json_object_get(list, "items"), i, set)
    {
        const json_t *owner = meta_controller(set);
        bool ours = owner && strcmp(json_str_or(owner, "uid", ""), meta_uid(p->d)) == 0;

        if (!owner && !meta_deleting(set) && !meta_deleting(p->d) && selector_match(sel, json_at(set, "metadata.labels"))) {
            struct object_ref one = ref;
            AUTO(json) json_t *patch = json_pack("{s:{s:s,s:[o]}}", "metadata", "uid", meta_uid(set), "ownerReferences",
                                                 meta_owner_ref(p->d, true, true));

            one.name = meta_name(set);
            if (client_patch(p->ctx, p->c->client, &one, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err) < 0 && !ctl_moved_on(err)) {
                json_decref(list);
                return err_wrap(err, "adopt replica set %s", one.name);
            }
            ours = true;
        }
        if (ours)
            json_array_append(p->sets, set);
    }
    *ret_list = list;
    return 0;
}

static int64_t revision_of(const json_t *o)
{
    const char *text = meta_annotation(o, revision_key);

    return text ? strtoll(text, NULL, 10) : 0;
}

static int64_t created_s(const json_t *o)
{
    const char *text = json_str_or(o, "metadata.creationTimestamp", "");
    int64_t us = 0;

    return clock_parse(text, strlen(text), &us) == 0 ? us / 1000000 : 0;
}

/* The oldest set with the current template is the new one, as upstream chooses. */
static void sort_sets(struct pass *p)
{
    size_t i = 0;
    json_t *set = NULL;

    json_array_foreach(p->sets, i, set) if (same_template(json_at(p->d, "spec.template"), json_at(set, "spec.template")) &&
                                            (!p->now || created_s(set) < created_s(p->now))) p->now = set;
    json_array_foreach(p->sets, i, set) if (set != p->now && p->n_old < SETS_MAX) p->old[p->n_old++] = set;
}

/* --- the new set --- */

static void template_hash(const json_t *template, int64_t collisions, char ret[11])
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    unsigned char digest[SHA256_BYTES];
    AUTO(buf) struct buf text = { 0 };

    json_write(template, &text);
    buf_printf(&text, "%lld", (long long)collisions);
    sha256_of(buf_at(&text), buf_len(&text), digest);
    for (size_t i = 0; i < 10; i++)
        ret[i] = alphabet[digest[i] % 27];
    ret[10] = '\0';
}

static void copy_annotations(json_t *set, const json_t *d)
{
    const char *key = NULL;
    json_t *v = NULL;

    json_object_foreach(json_at(d, "metadata.annotations"), key, v)
    {
        if (strcmp(key, "kubectl.kubernetes.io/last-applied-configuration") != 0 && strncmp(key, "deployment.kubernetes.io/", 25) != 0)
            meta_set_annotation(set, key, json_string_value(v));
    }
}

static int64_t newest_revision(const struct pass *p)
{
    int64_t most = 0;
    size_t i = 0;
    json_t *set = NULL;

    json_array_foreach(p->sets, i, set) if (set != p->now && revision_of(set) > most) most = revision_of(set);
    return most;
}

static void set_scale_annotations(struct pass *p, json_t *set)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", (long long)p->r.replicas);
    meta_set_annotation(set, desired_key, text);
    snprintf(text, sizeof(text), "%lld", (long long)(p->r.replicas + p->r.max_surge));
    meta_set_annotation(set, max_key, text);
}

static json_t *new_set(struct pass *p, const char *hash)
{
    json_t *set = json_object();
    char text[24];

    json_object_set_new(set, "kind", json_string("ReplicaSet"));
    json_object_set_new(set, "apiVersion", json_string("apps/v1"));
    json_put(set, "metadata.name", json_strf("%s-%s", meta_name(p->d), hash));
    json_put(set, "metadata.namespace", json_string(meta_namespace(p->d)));
    json_put(set, "metadata.ownerReferences", json_pack("[o]", meta_owner_ref(p->d, true, true)));
    json_t *labels = json_deep_copy(json_at(p->d, "spec.template.metadata.labels"));
    json_put(set, "metadata.labels", labels ? labels : json_object());
    meta_set_label(set, "pod-template-hash", hash);
    copy_annotations(set, p->d);
    snprintf(text, sizeof(text), "%lld", (long long)(newest_revision(p) + 1));
    meta_set_annotation(set, revision_key, text);
    set_scale_annotations(p, set);
    json_put(set, "spec.replicas", json_integer(0));
    json_t *min_ready = json_at(p->d, "spec.minReadySeconds");
    if (min_ready)
        json_put(set, "spec.minReadySeconds", json_incref(min_ready));
    json_put(set, "spec.selector", json_deep_copy(json_at(p->d, "spec.selector")));
    json_t *match = json_at(set, "spec.selector.matchLabels");
    if (!match) {
        match = json_object();
        json_put(set, "spec.selector.matchLabels", match);
    }
    json_object_set_new(match, "pod-template-hash", json_string(hash));
    json_put(set, "spec.template", json_deep_copy(json_at(p->d, "spec.template")));
    json_t *template_labels = json_at(set, "spec.template.metadata.labels");
    if (!template_labels) {
        template_labels = json_object();
        json_put(set, "spec.template.metadata.labels", template_labels);
    }
    json_object_set_new(template_labels, "pod-template-hash", json_string(hash));
    return set;
}

static int write_status(struct pass *p, struct err *err)
{
    struct object_ref ref = { "apps", "v1", "deployments", meta_namespace(p->d), meta_name(p->d), "status" };
    json_t *fresh = NULL;

    if (client_update(p->ctx, p->c->client, &ref, p->d, &fresh, err) < 0)
        return err_wrap(err, "status");
    json_object_update(p->d, fresh);
    json_decref(fresh);
    return 0;
}

static int create_set(struct pass *p, struct err *err)
{
    struct object_ref ref = { "apps", "v1", "replicasets", meta_namespace(p->d), NULL, NULL };
    int64_t collisions = json_int_or(p->d, "status.collisionCount", 0);
    char hash[11];
    json_t *made = NULL;

    template_hash(json_at(p->d, "spec.template"), collisions, hash);
    AUTO(json) json_t *set = new_set(p, hash);
    if (p->n_old == 0 || !p->r.recreate) {
        /* what the plan would give it anyway, in one write */
        struct rollout_set alone = { 0 }, old[SETS_MAX];

        for (size_t i = 0; i < p->n_old; i++)
            old[i] = (struct rollout_set){ .replicas = json_int_or(p->old[i], "spec.replicas", 0), .available = json_int_or(p->old[i], "status.availableReplicas", 0) };
        rollout_plan(&p->r, &alone, old, p->n_old);
        json_put(set, "spec.replicas", json_integer(alone.want));
    }
    if (client_create(p->ctx, p->c->client, &ref, set, &made, err) == 0) {
        int64_t n = json_int_or(made, "spec.replicas", 0);

        json_array_append_new(p->sets, made);
        p->now = made;
        if (n > 0)
            event_record(p->c->events, p->d, NULL, "Normal", "ScalingReplicaSet", "Scaled up replica set %s from 0 to %lld", meta_name(made), (long long)n);
        condition_set(p->d, &(struct condition){ .type = "Progressing", .status = "True", .reason = "NewReplicaSetCreated", .with_update = true,
                                                 .message = arena_printf(p->ctx->arena, "Created new replica set \"%s\"", meta_name(made)) },
                      p->c->all->o.clock);
        return 0;
    }
    if (err->code != ERR_EXISTS) {
        event_record(p->c->events, p->d, NULL, "Warning", "ReplicaSetCreateError", "Failed to create new replica set \"%s\": %s", meta_name(set), err->msg);
        return err_wrap(err, "create replica set");
    }
    /* Ours that the list had not shown yet (the next pass finds it), or another's of the same hash: another hash then. */
    ref.name = meta_name(set);
    AUTO(json) json_t *there = NULL;
    if (client_get(p->ctx, p->c->all->o.reader, &ref, &there, err) == 0 && meta_controller(there) &&
        strcmp(json_str_or(meta_controller(there), "uid", ""), meta_uid(p->d)) == 0)
        return err_set(err, ERR_CONFLICT, "replica set %s was made meanwhile", ref.name);
    json_put(p->d, "status.collisionCount", json_integer(collisions + 1));
    if (write_status(p, err) < 0)
        return -(int)err->code;
    return err_set(err, ERR_CONFLICT, "replica set name %s is taken", ref.name);
}

/* The revision of the current set is the highest one; the deployment shows it. */
static int settle_revision(struct pass *p, struct err *err)
{
    int64_t most = newest_revision(p), now = revision_of(p->now);
    struct object_ref ref = { "apps", "v1", "replicasets", meta_namespace(p->d), meta_name(p->now), NULL };
    char text[24];

    if (now <= most) {
        AUTO(json) json_t *patch = json_object();
        AUTO(json) json_t *a = json_object();

        snprintf(text, sizeof(text), "%lld", (long long)(most + 1));
        json_object_set_new(a, revision_key, json_string(text));
        const char *history = meta_annotation(p->now, history_key);
        json_object_set_new(a, history_key, history ? json_strf("%s,%lld", history, (long long)now) : json_strf("%lld", (long long)now));
        json_put(patch, "metadata.annotations", json_incref(a));
        if (client_patch(p->ctx, p->c->client, &ref, CLIENT_PATCH_MERGE, patch, NULL, NULL, err) < 0 && !ctl_moved_on(err))
            return err_wrap(err, "revision");
        meta_set_annotation(p->now, revision_key, text);
    }
    const char *shown = meta_annotation(p->d, revision_key), *have = meta_annotation(p->now, revision_key);
    if (have && (!shown || strcmp(shown, have) != 0)) {
        struct object_ref d = { "apps", "v1", "deployments", meta_namespace(p->d), meta_name(p->d), NULL };
        AUTO(json) json_t *fresh = NULL;

        meta_set_annotation(p->d, revision_key, have);
        if (client_update(p->ctx, p->c->client, &d, p->d, &fresh, err) < 0)
            return err_wrap(err, "revision");
        json_object_set(p->d, "metadata", json_object_get(fresh, "metadata"));
    }
    return 0;
}

/* --- act --- */

static int scale(struct pass *p, json_t *set, int64_t want, struct err *err)
{
    struct object_ref ref = { "apps", "v1", "replicasets", meta_namespace(set), meta_name(set), NULL };
    int64_t had = json_int_or(set, "spec.replicas", 0);

    if (want == had)
        return 0;
    AUTO(json) json_t *patch = json_object();
    AUTO(json) json_t *a = json_object();
    AUTO(json) json_t *fresh = NULL;
    json_object_set_new(a, desired_key, json_strf("%lld", (long long)p->r.replicas));
    json_object_set_new(a, max_key, json_strf("%lld", (long long)(p->r.replicas + p->r.max_surge)));
    json_put(patch, "metadata.annotations", json_incref(a));
    json_put(patch, "spec.replicas", json_integer(want));
    if (client_patch(p->ctx, p->c->client, &ref, CLIENT_PATCH_MERGE, patch, NULL, &fresh, err) < 0)
        return ctl_moved_on(err) ? 0 : err_wrap(err, "scale replica set %s", ref.name);
    json_object_set(set, "spec", json_object_get(fresh, "spec"));
    event_record(p->c->events, p->d, NULL, "Normal", "ScalingReplicaSet", "Scaled %s replica set %s from %lld to %lld", want > had ? "up" : "down",
                 ref.name, (long long)had, (long long)want);
    return 0;
}

static int64_t pods_of(struct pass *p, const json_t *set)
{
    struct pod_index *x = p->c->all->pods;
    int64_t n = 0;

    pod_index_lock(x);
    for (const struct pod_entry *e = pod_index_owned(x, meta_uid(set)); e; e = e->next_owner)
        n += e->phase != 'S' && e->phase != 'F';
    pod_index_unlock(x);
    return n;
}

static struct rollout_set observe_set(struct pass *p, const json_t *set)
{
    return (struct rollout_set){
        .replicas = json_int_or(set, "spec.replicas", 0),
        .ready = json_int_or(set, "status.readyReplicas", 0),
        .available = json_int_or(set, "status.availableReplicas", 0),
        .pods = pods_of(p, set),
        .created_s = created_s(set),
    };
}

static int move(struct pass *p, struct err *err)
{
    struct rollout_set now = { 0 }, old[SETS_MAX];

    if (p->now)
        now = observe_set(p, p->now);
    for (size_t i = 0; i < p->n_old; i++)
        old[i] = observe_set(p, p->old[i]);
    rollout_plan(&p->r, p->now ? &now : NULL, old, p->n_old);
    if (p->now && scale(p, p->now, now.want, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < p->n_old; i++)
        if (scale(p, p->old[i], old[i].want, err) < 0)
            return -(int)err->code;
    return 0;
}

static int by_revision(const void *a, const void *b)
{
    int64_t x = revision_of(*(json_t *const *)a), y = revision_of(*(json_t *const *)b);

    return x < y ? -1 : x > y;
}

static int clean_history(struct pass *p, struct err *err)
{
    int64_t limit = json_int_or(p->d, "spec.revisionHistoryLimit", 10), idle = 0;

    qsort(p->old, p->n_old, sizeof(*p->old), by_revision);
    for (size_t i = 0; i < p->n_old; i++)
        idle += json_int_or(p->old[i], "spec.replicas", 0) == 0;
    for (size_t i = 0; i < p->n_old && idle > limit; i++) {
        const json_t *set = p->old[i];
        struct object_ref ref = { "apps", "v1", "replicasets", meta_namespace(set), meta_name(set), NULL };

        if (json_int_or(set, "spec.replicas", 0) || json_int_or(set, "status.replicas", 0) || meta_deleting(set))
            continue;
        if (client_delete(p->ctx, p->c->client, &ref, NULL, err) < 0 && !ctl_moved_on(err))
            return err_wrap(err, "old replica set %s", ref.name);
        idle--;
    }
    return 0;
}

/* --- status --- */

struct totals {
    int64_t replicas, ready, available, terminating, updated, updated_available;
};

static struct totals sum_up(const struct pass *p)
{
    struct totals t = { 0 };
    size_t i = 0;
    json_t *set = NULL;

    json_array_foreach(p->sets, i, set)
    {
        t.replicas += json_int_or(set, "status.replicas", 0);
        t.ready += json_int_or(set, "status.readyReplicas", 0);
        t.available += json_int_or(set, "status.availableReplicas", 0);
        t.terminating += json_int_or(set, "status.terminatingReplicas", 0);
    }
    t.updated = json_int_or(p->now, "status.replicas", 0);
    t.updated_available = json_int_or(p->now, "status.availableReplicas", 0);
    return t;
}

static void put_count(json_t *status, const char *name, int64_t n)
{
    if (n)
        json_object_set_new(status, name, json_integer(n));
    else
        json_object_del(status, name);
}

static int64_t condition_time_s(const json_t *cond, const char *field)
{
    const char *text = json_str_or(cond, field, "");
    int64_t us = 0;

    return clock_parse(text, strlen(text), &us) == 0 ? us / 1000000 : 0;
}

/* Progressing: moved since the last look, done, or stuck for longer than the deadline. *ret_again_s: when the deadline is. */
static void tell_progress(struct pass *p, const struct totals *t, const json_t *before, int64_t *ret_again_s)
{
    const json_t *cond = condition_get(p->d, "Progressing");
    int64_t deadline = json_int_or(p->d, "spec.progressDeadlineSeconds", 600), now = ctl_now_s(p->c);
    const char *name = p->now ? meta_name(p->now) : meta_name(p->d), *kind = p->now ? "ReplicaSet" : "Deployment";
    bool complete = t->updated == p->r.replicas && t->replicas == p->r.replicas && t->available == p->r.replicas &&
                    json_int_or(p->d, "status.observedGeneration", 0) >= meta_generation(p->d);
    bool moved = t->updated > json_int_or(before, "updatedReplicas", 0) || t->ready > json_int_or(before, "readyReplicas", 0) ||
                 t->available > json_int_or(before, "availableReplicas", 0) ||
                 t->replicas - t->updated < json_int_or(before, "replicas", 0) - json_int_or(before, "updatedReplicas", 0);
    struct condition c = { .type = "Progressing", .status = "True", .with_update = true };

    if (deadline >= 2147483647 || p->r.paused)
        return;
    if (complete) {
        c.reason = "NewReplicaSetAvailable";
        c.message = arena_printf(p->ctx->arena, "%s \"%s\" has successfully progressed.", kind, name);
        condition_set(p->d, &c, p->c->all->o.clock);
        return;
    }
    if (moved || !cond || strcmp(json_str_or(cond, "reason", ""), "NewReplicaSetAvailable") == 0) {
        c.reason = "ReplicaSetUpdated";
        c.message = arena_printf(p->ctx->arena, "%s \"%s\" is progressing.", kind, name);
        if (moved && cond)
            condition_remove(p->d, "Progressing"); /* its times begin anew */
        condition_set(p->d, &c, p->c->all->o.clock);
        *ret_again_s = deadline + 1;
        return;
    }
    int64_t since = condition_time_s(cond, "lastUpdateTime");
    if (now - since >= deadline && strcmp(json_str_or(cond, "reason", ""), "ProgressDeadlineExceeded") != 0) {
        c.status = "False";
        c.reason = "ProgressDeadlineExceeded";
        c.message = arena_printf(p->ctx->arena, "%s \"%s\" has timed out progressing.", kind, name);
        condition_set(p->d, &c, p->c->all->o.clock);
    } else if (now - since < deadline) {
        *ret_again_s = since + deadline - now + 1;
    }
}

static int tell_status(struct pass *p, int64_t *ret_again_s, struct err *err)
{
    struct totals t = sum_up(p);
    AUTO(json) json_t *before = json_deep_copy(json_object_get(p->d, "status"));
    json_t *status = json_object_get(p->d, "status");
    int64_t unavailable = p->r.replicas > t.available ? (t.replicas > p->r.replicas ? t.replicas : p->r.replicas) - t.available : t.replicas - t.available;

    if (!status) {
        status = json_object();
        json_object_set_new(p->d, "status", status);
    }
    json_object_set_new(status, "observedGeneration", json_integer(meta_generation(p->d)));
    tell_progress(p, &t, before, ret_again_s);
    put_count(status, "replicas", t.replicas);
    put_count(status, "updatedReplicas", t.updated);
    put_count(status, "readyReplicas", t.ready);
    put_count(status, "availableReplicas", t.available);
    put_count(status, "unavailableReplicas", unavailable > 0 ? unavailable : 0);
    json_object_set_new(status, "terminatingReplicas", json_integer(t.terminating));
    bool enough = t.available >= p->r.replicas - (p->r.recreate ? 0 : p->r.max_unavailable);
    condition_set(p->d, &(struct condition){ .type = "Available", .status = enough ? "True" : "False", .with_update = true,
                                             .reason = enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
                                             .message = enough ? "Deployment has minimum availability." : "Deployment does not have minimum availability." },
                  p->c->all->o.clock);
    if (json_equal(before, status))
        return 0;
    return write_status(p, err);
}

static int run(struct pass *p, int64_t *ret_again_s, struct err *err)
{
    AUTO(json) json_t *list = NULL;
    int rc = list_sets(p, &list, err);

    if (rc == 0)
        sort_sets(p);
    if (rc == 0 && !meta_deleting(p->d)) {
        /* Recreate makes the new set only when the old pods are gone */
        bool wait = false;

        for (size_t i = 0; i < p->n_old && p->r.recreate; i++)
            wait |= json_int_or(p->old[i], "spec.replicas", 0) > 0 || pods_of(p, p->old[i]) > 0;
        if (!p->now && !p->r.paused && !wait)
            rc = create_set(p, err);
        if (rc == 0 && p->now && !p->r.paused)
            rc = settle_revision(p, err);
        if (rc == 0)
            rc = move(p, err);
        if (rc == 0 && !p->r.paused)
            rc = clean_history(p, err);
    }
    if (rc == 0)
        rc = tell_status(p, ret_again_s, err);
    json_decref(p->sets);
    return rc;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct pass p = { .c = arg, .ctx = ctx };
    int64_t again_s = 0;

    if (!controllers_ready(p.c->all)) {
        *again = 20;
        return 0;
    }
    if (ctl_get(ctx, p.c, "apps", "v1", "deployments", key, &p.d, err) < 0)
        return -(int)err->code;
    if (!p.d)
        return 0;
    read_strategy(&p);
    int rc = run(&p, &again_s, err);
    json_decref(p.d);
    if (rc < 0 && ctl_moved_on(err)) {
        *again = 10;
        return 0;
    }
    if (rc == 0 && again_s > 0)
        *again = again_s * 1000;
    return rc;
}

const struct ctl_def ctl_deployment = { "deployment-controller", "deployment-controller", 4, start, reconcile, NULL };
