/* LimitRanger: containers get a namespace's default requests and limits; pods and claims stay between its minimum and maximum. */
#include "server/admission/resource_list.h"
#include "server/admission/step.h"

#include "lib/k8s/meta.h"

#include <string.h>

static bool concerns(struct admission *a, const struct admission_request *r)
{
    bool pod = admission_is(r, "", "pods", ""), claim = admission_is(r, "", "persistentvolumeclaims", "");
    bool resize = r->verb == ADMIT_UPDATE && admission_is(r, "", "pods", "resize");

    if (r->verb != ADMIT_CREATE && r->verb != ADMIT_UPDATE)
        return false;
    if (!resize && !claim && !(pod && r->verb == ADMIT_CREATE))
        return false;
    return !(r->old && meta_deleting(r->old)) && index_count(a->index, INDEX_LIMIT_RANGES, r->ns) > 0;
}

/* --- defaults --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Takes over what the container leaves out. What was set, sorted and joined, goes to *ret_set; "" when nothing was. */
static void merge(struct arena *a, json_t *container, const char *which, const json_t *defaults, const char **ret_set)
{
    const char **set = arena_alloc(a, (json_object_size(defaults) + 1) * sizeof(*set)), *name = NULL;
    size_t n = 0;
    json_t *v = NULL;

    *ret_set = "";
    json_object_foreach((json_t *)defaults, name, v)
    {
        const json_t *had = json_object_get(json_object_get(container, "resources"), which);

        if (json_object_get(had, name))
            continue;
        json_t *resources = json_object_get(container, "resources");
        if (!json_is_object(resources)) {
            resources = json_object();
            json_object_set_new(container, "resources", resources);
        }
        if (!had)
            json_object_set_new(resources, which, json_object());
        json_object_set(json_object_get(resources, which), name, v);
        set[n++] = name;
    }
    qsort(set, n, sizeof(*set), by_text);
    for (size_t i = 0; i < n; i++)
        *ret_set = i ? arena_printf(a, "%s, %s", *ret_set, set[i]) : set[i];
}

static void merge_container(struct arena *a, json_t *container, const char *what, const json_t *requests, const json_t *limits,
                            const char **notes)
{
    const char *set_limits = NULL, *set_requests = NULL, *name = json_str_or(container, "name", "");

    merge(a, container, "limits", limits, &set_limits);
    merge(a, container, "requests", requests, &set_requests);
    if (*set_requests)
        *notes = arena_printf(a, "%s%s%s request for %s %s", *notes, **notes ? "; " : "", set_requests, what, name);
    if (*set_limits)
        *notes = arena_printf(a, "%s%s%s limit for %s %s", *notes, **notes ? "; " : "", set_limits, what, name);
}

/* The last of several container limits of one range wins, as upstream's map does. */
static void mutate_pod(struct arena *a, json_t *pod, const json_t *range, bool *changed)
{
    AUTO(json) json_t *requests = json_object();
    AUTO(json) json_t *limits = json_object();
    const char *notes = "";
    size_t i = 0;
    json_t *l = NULL, *c = NULL;

    json_array_foreach(json_at(range, "spec.limits"), i, l)
    {
        if (strcmp(json_str_or(l, "type", ""), "Container") != 0)
            continue;
        if (json_object_get(l, "defaultRequest"))
            json_object_update(requests, json_object_get(l, "defaultRequest"));
        if (json_object_get(l, "default"))
            json_object_update(limits, json_object_get(l, "default"));
    }
    json_array_foreach(json_at(pod, "spec.containers"), i, c) merge_container(a, c, "container", requests, limits, &notes);
    json_array_foreach(json_at(pod, "spec.initContainers"), i, c) merge_container(a, c, "init container", requests, limits, &notes);
    if (!*notes)
        return;
    meta_set_annotation(pod, "kubernetes.io/limit-ranger", arena_printf(a, "LimitRanger plugin set: %s", notes));
    *changed = true;
}

static int mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    AUTO(json) json_t *ranges = NULL;
    size_t i = 0;
    json_t *range = NULL;

    if (!concerns(a, r) || strcmp(r->resource->resource, "pods") != 0)
        return 0;
    if (index_trees(a->index, INDEX_LIMIT_RANGES, r->ns, false, &ranges, err) < 0)
        return -(int)err->code;
    json_array_foreach(ranges, i, range) mutate_pod(ctx->arena, r->object, range, changed);
    return 0;
}

/* --- checks --- */

struct limits {
    struct arena *arena;
    const char *type; /* "Container", "Pod", "PersistentVolumeClaim" */
    struct resource_list requests, limits;
    const char **problems; /* each text once */
    size_t n, cap;
};

static void complain(struct limits *l, const char *text)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->problems[i], text) == 0)
            return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 8;
        const char **more = arena_alloc(l->arena, l->cap * sizeof(*more));

        if (l->n)
            memcpy(more, l->problems, l->n * sizeof(*more));
        l->problems = more;
    }
    l->problems[l->n++] = text;
}

static const char *text_of(struct limits *l, const struct quantity *q)
{
    char to[QUANTITY_TEXT_BYTES];

    return arena_strdup(l->arena, quantity_text(q, to));
}

static void check_min(struct limits *l, const char *name, const struct quantity *least)
{
    const struct quantity *req = resource_get(&l->requests, name), *lim = resource_get(&l->limits, name);
    const char *base = arena_printf(l->arena, "minimum %s usage per %s is %s", name, l->type, text_of(l, least));

    if (!req)
        complain(l, arena_printf(l->arena, "%s.  No request is specified", base));
    else if (quantity_cmp(req, least) < 0)
        complain(l, arena_printf(l->arena, "%s, but request is %s", base, text_of(l, req)));
    else if (lim && quantity_cmp(lim, least) < 0)
        complain(l, arena_printf(l->arena, "%s, but limit is %s", base, text_of(l, lim)));
}

static void check_max(struct limits *l, const char *name, const struct quantity *most)
{
    const struct quantity *req = resource_get(&l->requests, name), *lim = resource_get(&l->limits, name);
    const char *base = arena_printf(l->arena, "maximum %s usage per %s is %s", name, l->type, text_of(l, most));
    bool claim = strcmp(l->type, "PersistentVolumeClaim") == 0;

    if (claim && !req)
        complain(l, arena_printf(l->arena, "%s.  No request is specified", base));
    else if (!claim && !lim)
        complain(l, arena_printf(l->arena, "%s.  No limit is specified", base));
    else if (!claim && quantity_cmp(lim, most) > 0)
        complain(l, arena_printf(l->arena, "%s, but limit is %s", base, text_of(l, lim)));
    else if (req && quantity_cmp(req, most) > 0)
        complain(l, arena_printf(l->arena, "%s, but request is %s", base, text_of(l, req)));
}

static void check_ratio(struct limits *l, const char *name, const struct quantity *most)
{
    const struct quantity *req = resource_get(&l->requests, name), *lim = resource_get(&l->limits, name);
    const char *base = arena_printf(l->arena, "%s max limit to request ratio per %s is %s", name, l->type, text_of(l, most));

    if (!req || req->nano == 0) {
        complain(l, arena_printf(l->arena, "%s, but no request is specified or request is 0", base));
        return;
    }
    if (!lim || lim->nano == 0) {
        complain(l, arena_printf(l->arena, "%s, but no limit is specified or limit is 0", base));
        return;
    }
    double ratio = (double)lim->nano / (double)req->nano;
    if (ratio > (double)most->nano / 1e9)
        complain(l, arena_printf(l->arena, "%s, but provided ratio is %f", base, ratio));
}

static void check_limit(struct limits *l, const json_t *limit)
{
    static const struct {
        const char *field;
        void (*check)(struct limits *l, const char *name, const struct quantity *q);
    } all[] = { { "min", check_min }, { "max", check_max }, { "maxLimitRequestRatio", check_ratio } };
    const char *name = NULL;
    json_t *v = NULL;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (i == 2 && strcmp(l->type, "PersistentVolumeClaim") == 0)
            continue;
        json_object_foreach(json_object_get(limit, all[i].field), name, v)
        {
            struct quantity q = resource_quantity(v);

            all[i].check(l, name, &q);
        }
    }
}

static void check_resources(struct limits *l, const json_t *resources, const json_t *limit)
{
    l->requests = l->limits = (struct resource_list){ 0 };
    resource_add_map(l->arena, &l->requests, json_object_get(resources, "requests"));
    if (strcmp(l->type, "Container") == 0)
        resource_add_map(l->arena, &l->limits, json_object_get(resources, "limits"));
    check_limit(l, limit);
}

static void check_pod(struct limits *l, const json_t *pod, const json_t *limit)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    size_t i = 0;
    json_t *c = NULL;

    if (strcmp(l->type, "Container") == 0)
        for (size_t k = 0; k < ARRAY_LEN(lists); k++)
            json_array_foreach(json_at(pod, lists[k]), i, c) check_resources(l, json_object_get(c, "resources"), limit);
    if (strcmp(l->type, "Pod") != 0)
        return;
    pod_resource_list(l->arena, pod, "requests", false, &l->requests);
    pod_resource_list(l->arena, pod, "limits", false, &l->limits);
    check_limit(l, limit);
}

static void check_range(struct limits *l, const struct admission_request *r, const json_t *range)
{
    bool pod = strcmp(r->resource->resource, "pods") == 0;
    size_t i = 0;
    json_t *limit = NULL;

    json_array_foreach(json_at(range, "spec.limits"), i, limit)
    {
        l->type = json_str_or(limit, "type", "");
        if (pod)
            check_pod(l, r->object, limit);
        else if (strcmp(l->type, "PersistentVolumeClaim") == 0)
            check_resources(l, json_at(r->object, "spec.resources"), limit);
    }
}

static int validate(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    AUTO(json) json_t *ranges = NULL;
    size_t i = 0;
    json_t *range = NULL;

    if (!concerns(a, r))
        return 0;
    if (index_trees(a->index, INDEX_LIMIT_RANGES, r->ns, false, &ranges, err) < 0)
        return -(int)err->code;
    json_array_foreach(ranges, i, range)
    {
        struct limits l = { .arena = ctx->arena };
        const char *text = "";

        check_range(&l, r, range);
        for (size_t k = 0; k < l.n; k++)
            text = k ? arena_printf(ctx->arena, "%s, %s", text, l.problems[k]) : l.problems[k];
        if (l.n)
            return admission_forbid(ctx, r, err, l.n > 1 ? "[%s]" : "%s", text);
    }
    return 0;
}

const struct admission_step admission_limit_ranger = { "LimitRanger", mutate, validate };
