#include "server/scheduler/scheduler.h"

#include "lib/k8s/event.h"
#include "lib/k8s/informer.h"
#include "lib/k8s/meta.h"
#include "lib/log.h"
#include "lib/queue.h"
#include "server/scheduler/plugins.h"

#include <stdio.h>
#include <string.h>

enum { BINDS_AT_ONCE = 16, BACKOFF_FIRST_MS = 1000, BACKOFF_MAX_MS = 10000, FLUSH_MS = 300000, REASON_KINDS_MAX = 64 };

/* A pod that found no node, until something happens that may help it. */
struct waiting {
    int64_t backoff_ms, since_ms;
    char *message; /* last told */
};

struct scheduler {
    struct scheduler_options o;
    struct informers *informers;
    struct events *events;
    struct queue *queue;
    struct pool_family *binders;
    pthread_mutex_t lock; /* guards cluster, waiting */
    struct cluster cluster;
    struct map *waiting; /* pod key -> struct waiting */
    size_t turn;         /* ties go round */
};

static const struct object_ref pods_ref = { "", "v1", "pods", NULL, NULL, NULL }, nodes_ref = { "", "v1", "nodes", NULL, NULL, NULL };

static void waiting_free(void *p)
{
    free(((struct waiting *)p)->message);
    free(p);
}

/* --- what happens --- */

static void wake_waiting(struct scheduler *s)
{
    size_t pos = 0;
    const char *key = NULL;
    void *w = NULL;
    LOCK_SCOPE(&s->lock);

    while (map_next(s->waiting, &pos, &key, &w)) {
        int64_t waited = clock_mono_ms(s->o.clock) - ((struct waiting *)w)->since_ms, left = ((struct waiting *)w)->backoff_ms - waited;

        queue_add_after(s->queue, key, left > 0 ? left : 0);
    }
}

static void on_node(void *arg, const json_t *node, bool first)
{
    struct scheduler *s = arg;

    (void)first;
    pthread_mutex_lock(&s->lock);
    bool helps = cluster_set_node(&s->cluster, node);
    pthread_mutex_unlock(&s->lock);
    if (helps)
        wake_waiting(s);
}

static void on_node_gone(void *arg, const json_t *node)
{
    struct scheduler *s = arg;
    LOCK_SCOPE(&s->lock);

    cluster_del_node(&s->cluster, meta_name(node));
}

static bool is_finished(const json_t *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "");

    return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

static bool is_ours(const json_t *pod)
{
    return strcmp(json_str_or(pod, "spec.schedulerName", "default-scheduler"), "default-scheduler") == 0 && !meta_deleting(pod) &&
           !is_finished(pod);
}

static void forget_waiting(struct scheduler *s, const char *key)
{
    LOCK_SCOPE(&s->lock);

    map_del(s->waiting, key);
}

static void on_pod(void *arg, const json_t *pod, bool first)
{
    struct scheduler *s = arg;
    AUTO_FREE char *key = meta_key(pod);
    bool bound = *json_str_or(pod, "spec.nodeName", ""), freed = false;

    (void)first;
    if (!bound) {
        if (is_ours(pod))
            queue_add(s->queue, key);
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (is_finished(pod))
        freed = cluster_del_pod(&s->cluster, key);
    else
        cluster_set_pod(&s->cluster, pod, NULL, false);
    map_del(s->waiting, key);
    pthread_mutex_unlock(&s->lock);
    if (freed)
        wake_waiting(s);
}

static void on_pod_gone(void *arg, const json_t *pod)
{
    struct scheduler *s = arg;
    AUTO_FREE char *key = meta_key(pod);

    pthread_mutex_lock(&s->lock);
    bool freed = cluster_del_pod(&s->cluster, key);
    map_del(s->waiting, key);
    pthread_mutex_unlock(&s->lock);
    if (freed)
        wake_waiting(s);
}

/* --- binding, side by side --- */

struct bind {
    struct scheduler *s;
    json_t *pod;
    char *key, *node;
};

static void bind_free(struct bind *b)
{
    json_decref(b->pod);
    free(b->key);
    free(b->node);
    free(b);
}

static int bind_call(struct bind *b, struct ctx *ctx, struct err *err)
{
    struct object_ref ref = { "", "v1", "pods", meta_namespace(b->pod), meta_name(b->pod), "binding" };
    AUTO(json) json_t *binding = json_pack("{s:s,s:s,s:{s:s,s:s,s:s},s:{s:s,s:s,s:s}}", "kind", "Binding", "apiVersion", "v1", "metadata",
                                           "name", meta_name(b->pod), "namespace", meta_namespace(b->pod), "uid", meta_uid(b->pod),
                                           "target", "kind", "Node", "apiVersion", "v1", "name", b->node);

    return client_create(ctx, b->s->o.client, &ref, binding, NULL, err);
}

static void bind_job(void *arg)
{
    struct bind *b = arg;
    struct scheduler *s = b->s;
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx = ctx_with_timeout(&base, 30000);
    struct err err;

    if (bind_call(b, &ctx, &err) == 0) {
        event_record(s->events, b->pod, NULL, "Normal", "Scheduled", "Successfully assigned %s to %s", b->key, b->node);
    } else {
        pthread_mutex_lock(&s->lock);
        const struct sched_pod *p = cluster_pod(&s->cluster, b->key);
        if (p && p->assumed)
            cluster_del_pod(&s->cluster, b->key);
        pthread_mutex_unlock(&s->lock);
        if (err.code != ERR_NOT_FOUND) {
            log_warn("pod not bound", "pod=%s node=%s err=%s", b->key, b->node, log_q(err.msg));
            queue_add_after(s->queue, b->key, BACKOFF_FIRST_MS);
        }
    }
    bind_free(b);
}

/* --- no node --- */

struct reasons {
    const char *text[REASON_KINDS_MAX];
    int n[REASON_KINDS_MAX];
    size_t kinds;
    int preempt; /* nodes where fewer pods would help */
};

static void add_reason(struct reasons *r, const char *text)
{
    for (size_t i = 0; i < r->kinds; i++)
        if (strcmp(r->text[i], text) == 0) {
            r->n[i]++;
            return;
        }
    if (r->kinds < REASON_KINDS_MAX) {
        r->text[r->kinds] = text;
        r->n[r->kinds++] = 1;
    }
}

/* Upstream orders the reasons as texts, with their counts in front. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *message_of(struct arena *arena, const struct reasons *r, size_t nodes)
{
    AUTO(buf) struct buf text = { 0 };
    char *lines[REASON_KINDS_MAX];

    if (nodes == 0)
        return arena_strdup(arena, "no nodes available to schedule pods");
    for (size_t i = 0; i < r->kinds; i++)
        lines[i] = arena_printf(arena, "%d %s", r->n[i], r->text[i]);
    qsort(lines, r->kinds, sizeof(*lines), by_text);
    buf_printf(&text, "0/%zu nodes are available: ", nodes);
    for (size_t i = 0; i < r->kinds; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", lines[i]);
    buf_char(&text, '.');
    int unhelped = (int)nodes - r->preempt;
    buf_printf(&text, " preemption: 0/%zu nodes are available: ", nodes);
    if (r->preempt > 0)
        buf_printf(&text, "%d No preemption victims found for incoming pod%s", r->preempt, unhelped > 0 ? ", " : ".");
    if (unhelped > 0)
        buf_printf(&text, "%d Preemption is not helpful for scheduling.", unhelped);
    return arena_strdup(arena, buf_at(&text));
}

static int tell_waiting(struct scheduler *s, struct ctx *ctx, const json_t *pod, const char *reason, const char *message, struct err *err)
{
    struct object_ref ref = { "", "v1", "pods", meta_namespace(pod), meta_name(pod), "status" };
    const json_t *had = condition_get(pod, "PodScheduled");
    char when[CLOCK_TEXT_BYTES];

    if (had && strcmp(json_str_or(had, "message", ""), message) == 0 && strcmp(json_str_or(had, "reason", ""), reason) == 0)
        return 0;
    const char *since = had && strcmp(json_str_or(had, "status", ""), "False") == 0 ? json_str_or(had, "lastTransitionTime", "") : "";
    AUTO(json) json_t *patch = json_pack("{s:{s:[{s:s,s:s,s:s,s:s,s:s}]}}", "status", "conditions", "type", "PodScheduled", "status", "False",
                                         "reason", reason, "message", message, "lastTransitionTime",
                                         *since ? since : clock_time_text(clock_wall_s(s->o.clock), when));
    return client_patch(ctx, s->o.client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err);
}

static int no_node(struct scheduler *s, struct ctx *ctx, const char *key, const json_t *pod, const char *message, int64_t *again, struct err *err)
{
    pthread_mutex_lock(&s->lock);
    struct waiting *w = map_get(s->waiting, key);
    if (!w) {
        w = MEM_NEW(struct waiting);
        map_set(s->waiting, key, w);
    }
    w->backoff_ms = w->backoff_ms ? w->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (w->backoff_ms > BACKOFF_MAX_MS)
        w->backoff_ms = BACKOFF_MAX_MS;
    w->since_ms = clock_mono_ms(s->o.clock);
    bool same = w->message && strcmp(w->message, message) == 0;
    if (!same) {
        free(w->message);
        w->message = mem_strdup(message);
    }
    pthread_mutex_unlock(&s->lock);
    *again = FLUSH_MS;
    event_record(s->events, pod, NULL, "Warning", "FailedScheduling", "%s", message);
    return tell_waiting(s, ctx, pod, "Unschedulable", message, err);
}

/* --- one pod --- */

static struct sched_node *choose(struct scheduler *s, struct candidate *x, struct reasons *why)
{
    struct sched_node *best = NULL;
    int64_t most = -1;
    size_t n = s->cluster.n_nodes;

    s->turn++;
    for (size_t i = 0; i < n; i++) {
        struct sched_node *node = s->cluster.list[(i + s->turn) % n];
        const char *reasons[REASONS_MAX];
        bool preempt = false;
        size_t k = plugin_filter(x, &s->cluster, node, reasons, &preempt);

        for (size_t j = 0; j < k; j++)
            add_reason(why, reasons[j]);
        why->preempt += k > 0 && preempt;
        if (k > 0)
            continue;
        int64_t score = plugin_score(x, &s->cluster, node);
        if (score > most) {
            most = score;
            best = node;
        }
    }
    return best;
}

static int decide(struct scheduler *s, struct ctx *ctx, const char *key, json_t *pod, int64_t *again, struct err *err)
{
    struct candidate x;
    struct reasons why = { 0 };
    char *node = NULL;

    pthread_mutex_lock(&s->lock);
    size_t nodes = s->cluster.n_nodes;
    int rc = candidate_init(&x, ctx->arena, &s->cluster, pod, err);
    struct sched_node *best = rc == 0 ? choose(s, &x, &why) : NULL;
    if (best) {
        node = mem_strdup(best->name);
        cluster_set_pod(&s->cluster, pod, node, true);
        map_del(s->waiting, key);
    }
    candidate_clear(&x);
    pthread_mutex_unlock(&s->lock);
    if (rc < 0)
        return rc;
    if (!node)
        return no_node(s, ctx, key, pod, message_of(ctx->arena, &why, nodes), again, err);

    struct bind *b = MEM_NEW(struct bind);
    *b = (struct bind){ s, json_incref(pod), mem_strdup(key), node };
    if (pool_family_run(s->binders, bind_job, b, err) < 0) {
        bind_free(b);
        LOCK_SCOPE(&s->lock);
        cluster_del_pod(&s->cluster, key);
        return -(int)err->code;
    }
    return 0;
}

static int reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct scheduler *s = arg;
    const char *ns = NULL, *name = NULL;
    AUTO(json) json_t *pod = NULL;

    if (!informers_synced(s->informers)) {
        *again = 20; /* what is bound is not known yet */
        return 0;
    }
    meta_split_key(ctx->arena, key, &ns, &name);
    struct object_ref ref = { "", "v1", "pods", ns, name, NULL };
    if (client_get(ctx, s->o.client, &ref, &pod, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -(int)err->code;
        forget_waiting(s, key);
        return 0;
    }
    if (*json_str_or(pod, "spec.nodeName", "") || !is_ours(pod)) {
        forget_waiting(s, key);
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    bool assumed = cluster_pod(&s->cluster, key) != NULL;
    pthread_mutex_unlock(&s->lock);
    if (assumed)
        return 0; /* its binding is on the way */
    if (json_array_size(json_at(pod, "spec.schedulingGates")) > 0)
        return tell_waiting(s, ctx, pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates", err);
    return decide(s, ctx, key, pod, again, err);
}

int scheduler_start(const struct scheduler_options *options, struct scheduler **ret, struct err *err)
{
    static const struct informer_handler nodes = { on_node, on_node_gone, NULL }, pods = { on_pod, on_pod_gone, NULL };
    struct scheduler *s = MEM_NEW(struct scheduler);

    (void)err;
    s->o = *options;
    pthread_mutex_init(&s->lock, NULL);
    cluster_init(&s->cluster);
    s->waiting = map_new(waiting_free);
    s->binders = pool_family_new(s->o.pool, "binders", BINDS_AT_ONCE);
    s->events = events_new(s->o.client, s->o.pool, s->o.clock, "default-scheduler", "");
    s->queue = queue_new(&(struct queue_options){ .name = "scheduler", .pool = s->o.pool, .loop = s->o.loop, .clock = s->o.clock, .workers = 1 },
                         reconcile, s);
    s->informers = informers_new(&(struct informers_options){
        .client = s->o.client, .pool = s->o.pool, .loop = s->o.loop, .clock = s->o.clock });
    informers_add(s->informers, &nodes_ref, NULL, &nodes, s);
    informers_add(s->informers, &pods_ref, NULL, &pods, s);
    informers_start(s->informers);
    *ret = s;
    return 0;
}

bool scheduler_ready(struct scheduler *s)
{
    return informers_synced(s->informers);
}

void scheduler_stop(struct scheduler *s)
{
    if (!s)
        return;
    informers_stop(s->informers);
    queue_free(s->queue);
    pool_family_free(s->binders);
    informers_free(s->informers);
    events_free(s->events);
    map_free(s->waiting);
    cluster_clear(&s->cluster);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
