#include "server/scheduler/plugins.h"

#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <stdio.h>
#include <string.h>

/* --- taints --- */

bool plugin_tolerates(const json_t *tolerations, const struct sched_taint *t)
{
    size_t i = 0;
    json_t *tol = NULL;

    json_array_foreach((json_t *)tolerations, i, tol)
    {
        const char *key = json_str_or(tol, "key", ""), *op = json_str_or(tol, "operator", "Equal"), *effect = json_str_or(tol, "effect", "");

        if (*effect && strcmp(effect, t->effect) != 0)
            continue;
        if (*key && strcmp(key, t->key) != 0)
            continue;
        if (strcmp(op, "Exists") == 0)
            return true;
        if (*key && strcmp(json_str_or(tol, "value", ""), t->value) == 0)
            return true;
    }
    return false;
}

static const char *filter_taints(const struct candidate *x, const struct sched_node *n)
{
    const json_t *tolerations = json_at(x->pod, "spec.tolerations");

    for (size_t i = 0; i < n->n_taints; i++) {
        const struct sched_taint *t = &n->taints[i];

        if (strcmp(t->effect, "PreferNoSchedule") != 0 && !plugin_tolerates(tolerations, t))
            return arena_printf(x->arena, "node(s) had untolerated taint {%s: %s}", t->key, t->value);
    }
    return NULL;
}

static const char *filter_unschedulable(const struct candidate *x, const struct sched_node *n)
{
    struct sched_taint t = { (char *)"node.kubernetes.io/unschedulable", (char *)"", (char *)"NoSchedule" };

    if (!n->unschedulable || plugin_tolerates(json_at(x->pod, "spec.tolerations"), &t))
        return NULL;
    return "node(s) were unschedulable";
}

/* --- node selectors --- */

static bool value_in(const json_t *values, const char *v)
{
    size_t i = 0;
    json_t *one = NULL;

    json_array_foreach((json_t *)values, i, one) if (json_is_string(one) && strcmp(json_string_value(one), v) == 0) return true;
    return false;
}

static bool matches_requirement(const json_t *req, const char *have)
{
    const char *op = json_str_or(req, "operator", "");
    const json_t *values = json_object_get(req, "values");

    if (strcmp(op, "In") == 0)
        return have && value_in(values, have);
    if (strcmp(op, "NotIn") == 0)
        return !have || !value_in(values, have);
    if (strcmp(op, "Exists") == 0)
        return have != NULL;
    if (strcmp(op, "DoesNotExist") == 0)
        return have == NULL;
    if (!have)
        return false;
    const char *text = json_string_value(json_array_get(values, 0));
    char *end = NULL, *end2 = NULL;
    long long a = strtoll(have, &end, 10), b = text ? strtoll(text, &end2, 10) : 0;
    if (*end || !text || *end2)
        return false;
    return strcmp(op, "Gt") == 0 ? a > b : a < b;
}

static bool matches_term(const json_t *term, const struct sched_node *n)
{
    size_t i = 0;
    json_t *req = NULL;
    const json_t *expressions = json_object_get(term, "matchExpressions"), *fields = json_object_get(term, "matchFields");

    if (json_array_size(expressions) == 0 && json_array_size(fields) == 0)
        return false;
    json_array_foreach((json_t *)expressions, i, req) if (!matches_requirement(req, flat_get(&n->labels, json_str_or(req, "key", ""))))
        return false;
    json_array_foreach((json_t *)fields, i, req)
    {
        bool name = strcmp(json_str_or(req, "key", ""), "metadata.name") == 0;

        if (!matches_requirement(req, name ? n->name : NULL))
            return false;
    }
    return true;
}

bool plugin_matches_terms(const json_t *terms, const struct sched_node *n)
{
    size_t i = 0;
    json_t *term = NULL;

    json_array_foreach((json_t *)terms, i, term) if (matches_term(term, n)) return true;
    return false;
}

static bool matches_affinity(const struct candidate *x, const struct sched_node *n)
{
    const char *key = NULL;
    json_t *v = NULL;
    const json_t *required = json_at(x->pod, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");

    json_object_foreach(json_at(x->pod, "spec.nodeSelector"), key, v)
    {
        const char *have = flat_get(&n->labels, key);

        if (!have || strcmp(have, json_is_string(v) ? json_string_value(v) : "") != 0)
            return false;
    }
    return !required || plugin_matches_terms(json_object_get(required, "nodeSelectorTerms"), n);
}

/* --- ports --- */

static bool ports_clash(const char *a, const char *b)
{
    char proto_a[16], ip_a[64], proto_b[16], ip_b[64];
    int port_a = 0, port_b = 0;

    if (sscanf(a, "%15s %63s %d", proto_a, ip_a, &port_a) != 3 || sscanf(b, "%15s %63s %d", proto_b, ip_b, &port_b) != 3)
        return false;
    return port_a == port_b && strcmp(proto_a, proto_b) == 0 &&
           (strcmp(ip_a, ip_b) == 0 || strcmp(ip_a, "0.0.0.0") == 0 || strcmp(ip_b, "0.0.0.0") == 0);
}

static bool port_taken(const struct cluster *c, const struct sched_node *n, const char *want)
{
    for (const struct sched_pod *p = cluster_pods_on(c, n->name); p; p = p->next)
        for (const char *at = buf_at(&p->ports), *end = at + buf_len(&p->ports); at < end; at += strlen(at) + 1)
            if (ports_clash(at, want))
                return true;
    return false;
}

static bool ports_free(const struct candidate *x, const struct cluster *c, const struct sched_node *n)
{
    size_t i = 0, k = 0;
    json_t *container = NULL, *port = NULL;
    char want[128];

    json_array_foreach(json_at(x->pod, "spec.containers"), i, container) json_array_foreach(json_object_get(container, "ports"), k, port)
    {
        if (json_int_or(port, "hostPort", 0) <= 0)
            continue;
        snprintf(want, sizeof(want), "%s %s %lld", json_str_or(port, "protocol", "TCP"), json_str_or(port, "hostIP", "0.0.0.0"),
                 (long long)json_int_or(port, "hostPort", 0));
        if (port_taken(c, n, want))
            return false;
    }
    return true;
}

/* --- resources --- */

static size_t filter_fit(const struct candidate *x, const struct sched_node *n, const char **reasons, size_t room)
{
    size_t k = 0;
    const struct pod_sum *r = &x->requests;

    if (n->used_pods + 1 > n->pods && k < room)
        reasons[k++] = "Too many pods";
    if (r->cpu_milli > 0 && r->cpu_milli > n->cpu_milli - n->used_cpu && k < room)
        reasons[k++] = "Insufficient cpu";
    if (r->memory_bytes > 0 && r->memory_bytes > n->memory_bytes - n->used_memory && k < room)
        reasons[k++] = "Insufficient memory";
    if (r->ephemeral_bytes > 0 && r->ephemeral_bytes > n->ephemeral_bytes - n->used_ephemeral && k < room)
        reasons[k++] = "Insufficient ephemeral-storage";
    for (size_t i = 0; i < r->n_scalars; i++) {
        int64_t left = 0;

        for (size_t s = 0; s < n->n_scalars; s++)
            if (strcmp(n->scalars[s].name, r->scalars[i].name) == 0)
                left = n->scalars[s].value - n->scalars[s].used;
        if (r->scalars[i].value > left && k < room)
            reasons[k++] = arena_printf(x->arena, "Insufficient %s", r->scalars[i].name);
    }
    return k;
}

/* --- topology spread --- */

struct spread_count {
    int64_t n;
};

static bool counts_for(const struct candidate *x, const struct spread *s, const struct sched_pod *p)
{
    struct slice labels = { buf_at(&p->labels), buf_len(&p->labels) };

    return !p->terminating && strcmp(p->ns, meta_namespace(x->pod)) == 0 && s->selector && selector_match_flat(s->selector, labels);
}

static void count_spread(struct candidate *x, const struct cluster *c, struct spread *s)
{
    bool first = true;
    size_t pos = 0;
    const char *key = NULL;
    void *v = NULL;

    s->counts = map_new(free);
    for (size_t i = 0; i < c->n_nodes; i++) {
        const struct sched_node *n = c->list[i];
        const char *domain = flat_get(&n->labels, s->key);

        if (!domain || !matches_affinity(x, n))
            continue;
        struct spread_count *count = map_get(s->counts, domain);
        if (!count) {
            count = MEM_NEW(struct spread_count);
            map_set(s->counts, domain, count);
        }
        for (const struct sched_pod *p = cluster_pods_on(c, n->name); p; p = p->next)
            count->n += counts_for(x, s, p);
    }
    while (map_next(s->counts, &pos, &key, &v)) {
        int64_t n = ((struct spread_count *)v)->n;

        if (first || n < s->least)
            s->least = n;
        first = false;
    }
}

static int read_spreads(struct candidate *x, const struct cluster *c, struct err *err)
{
    size_t i = 0;
    json_t *t = NULL;

    json_array_foreach(json_at(x->pod, "spec.topologySpreadConstraints"), i, t)
    {
        struct selector *sel = NULL;

        if (x->n_spreads == SPREAD_MAX)
            break;
        if (selector_of(x->arena, json_object_get(t, "labelSelector"), &sel, err) < 0)
            return -(int)err->code;
        struct spread *s = &x->spreads[x->n_spreads++];
        *s = (struct spread){
            .key = json_str_or(t, "topologyKey", ""),
            .max_skew = json_int_or(t, "maxSkew", 1),
            .hard = strcmp(json_str_or(t, "whenUnsatisfiable", "DoNotSchedule"), "DoNotSchedule") == 0,
            .selector = sel,
        };
        count_spread(x, c, s);
        if (json_int_or(t, "minDomains", 1) > (int64_t)map_len(s->counts))
            s->least = 0;
    }
    return 0;
}

static const char *filter_spread(const struct candidate *x, const struct sched_node *n)
{
    for (size_t i = 0; i < x->n_spreads; i++) {
        const struct spread *s = &x->spreads[i];
        const char *domain = flat_get(&n->labels, s->key);

        if (!s->hard)
            continue;
        if (!domain)
            return "node(s) didn't match pod topology spread constraints (missing required label)";
        const struct spread_count *count = map_get(s->counts, domain);
        int64_t self = s->selector && selector_match(s->selector, json_at(x->pod, "metadata.labels"));
        if ((count ? count->n : 0) + self - s->least > s->max_skew)
            return "node(s) didn't match pod topology spread constraints";
    }
    return NULL;
}

/* --- together --- */

int candidate_init(struct candidate *x, struct arena *arena, const struct cluster *c, const json_t *pod, struct err *err)
{
    *x = (struct candidate){ .pod = pod, .arena = arena };
    pod_requests(pod, &x->requests);
    pod_nonzero(pod, &x->nonzero_cpu, &x->nonzero_memory);
    return read_spreads(x, c, err);
}

void candidate_clear(struct candidate *x)
{
    for (size_t i = 0; i < x->n_spreads; i++)
        map_free(x->spreads[i].counts);
    x->n_spreads = 0;
}

size_t plugin_filter(struct candidate *x, const struct cluster *c, const struct sched_node *n, const char *reasons[REASONS_MAX], bool *ret_preempt)
{
    const char *why = NULL;

    *ret_preempt = false;
    if ((why = filter_unschedulable(x, n)) || (why = filter_taints(x, n))) {
        reasons[0] = why;
        return 1;
    }
    if (!matches_affinity(x, n)) {
        reasons[0] = "node(s) didn't match Pod's node affinity/selector";
        return 1;
    }
    *ret_preempt = true;
    if (!ports_free(x, c, n)) {
        reasons[0] = "node(s) didn't have free ports for the requested pod ports";
        return 1;
    }
    size_t k = filter_fit(x, n, reasons, REASONS_MAX);
    if (k > 0)
        return k;
    if ((why = filter_spread(x, n))) {
        reasons[0] = why;
        return 1;
    }
    return 0;
}

static int64_t least_allocated(int64_t used, int64_t all)
{
    return all <= 0 || used > all ? 0 : (all - used) * 100 / all;
}

static int64_t score_affinity(const struct candidate *x, const struct sched_node *n)
{
    int64_t score = 0;
    size_t i = 0;
    json_t *p = NULL;

    json_array_foreach(json_at(x->pod, "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"), i, p)
        if (matches_term(json_object_get(p, "preference"), n))
            score += json_int_or(p, "weight", 0);
    return score;
}

static int64_t score_taints(const struct candidate *x, const struct sched_node *n)
{
    int64_t bad = 0;

    for (size_t i = 0; i < n->n_taints; i++)
        bad += strcmp(n->taints[i].effect, "PreferNoSchedule") == 0 && !plugin_tolerates(json_at(x->pod, "spec.tolerations"), &n->taints[i]);
    return 100 - (bad > 10 ? 100 : bad * 10);
}

static int64_t score_spread(const struct candidate *x, const struct sched_node *n)
{
    int64_t score = 100;

    for (size_t i = 0; i < x->n_spreads; i++) {
        const char *domain = flat_get(&n->labels, x->spreads[i].key);
        const struct spread_count *count = domain ? map_get(x->spreads[i].counts, domain) : NULL;
        int64_t more = count ? (count->n - x->spreads[i].least) * 10 : 100;

        score -= more > 100 ? 100 : more;
    }
    return score < 0 ? 0 : score;
}

/* System default: pods of one owner are spread over nodes when they name no constraint. */
static int64_t score_siblings(const struct candidate *x, const struct cluster *c, const struct sched_node *n)
{
    const char *hash = meta_label(x->pod, "pod-template-hash");
    int64_t same = 0;

    if (x->n_spreads > 0 || !hash)
        return 100;
    for (const struct sched_pod *p = cluster_pods_on(c, n->name); p; p = p->next) {
        const char *other = flat_get(&p->labels, "pod-template-hash");

        same += other && strcmp(other, hash) == 0 && strcmp(p->ns, meta_namespace(x->pod)) == 0;
    }
    return same > 10 ? 0 : 100 - same * 10;
}

static int64_t score_images(const struct candidate *x, const struct sched_node *n)
{
    size_t i = 0, all = 0, have = 0;
    json_t *c = NULL;

    json_array_foreach(json_at(x->pod, "spec.containers"), i, c)
    {
        const char *image = json_str_or(c, "image", "");

        all++;
        for (const char *at = buf_at(&n->images), *end = at + buf_len(&n->images); at < end; at += strlen(at) + 1)
            if (strcmp(at, image) == 0) {
                have++;
                break;
            }
    }
    return all ? (int64_t)(have * 100 / all) : 0;
}

int64_t plugin_score(struct candidate *x, const struct cluster *c, const struct sched_node *n)
{
    int64_t cpu = n->nonzero_cpu + x->nonzero_cpu, memory = n->nonzero_memory + x->nonzero_memory;
    int64_t cpu_free = least_allocated(cpu, n->cpu_milli), memory_free = least_allocated(memory, n->memory_bytes);
    int64_t apart = cpu_free > memory_free ? cpu_free - memory_free : memory_free - cpu_free;

    return (cpu_free + memory_free) / 2 + (100 - apart / 2) + 2 * score_affinity(x, n) + 3 * score_taints(x, n) + 2 * score_spread(x, n) +
           2 * score_siblings(x, c, n) + score_images(x, n);
}
