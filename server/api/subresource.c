/* Subresources that are no plain update: binding, eviction, scale, finalize, approval, parts of a pod. */
#include "server/api/special.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/object.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"

#include <string.h>

/* The Success Status of creations that leave no object behind. */
static int answer_done(struct api_request *r, int status, struct err *err)
{
    AUTO(json) json_t *done = json_pack("{s:s,s:s,s:{},s:s,s:i}", "kind", "Status", "apiVersion", "v1", "metadata", "status", "Success",
                                        "code", status);

    return api_answer_tree(r, status, done, err);
}

/* Decodes the subresource's own kind. */
static int decode_sub(struct api_request *r, const char *group, const char *version, const char *kind, json_t **ret, struct err *err)
{
    const struct schema_type *type = schema_kind(r->api->schema, group, version, kind);

    if (!type)
        return err_set(err, ERR_IO, "no schema for %s/%s %s", group, version, kind);
    const char *text = *group ? arena_printf(r->arena, "%s/%s", group, version) : version;
    return api_decode_object(r, type, text, kind, ret, err);
}

/* --- pods/binding: what the scheduler writes --- */

static int make_bound(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    const json_t *binding = arg;
    const char *node = json_str_or(binding, "target.name", ""), *had = json_str_or(live, "spec.nodeName", "");
    const char *uid = meta_uid(binding), *key = NULL;
    json_t *v = NULL;

    if (*uid && strcmp(uid, meta_uid(live)) != 0)
        return status_conflict(&r->ctx, "", "pods/binding", r->route.name,
                               arena_printf(r->arena, "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, meta_uid(live)), err);
    if (meta_deleting(live))
        return status_conflict(&r->ctx, "", "pods/binding", r->route.name,
                               arena_printf(r->arena, "pod %s is being deleted, cannot be assigned to a host", r->route.name), err);
    if (*had)
        return status_conflict(&r->ctx, "", "pods/binding", r->route.name,
                               arena_printf(r->arena, "pod %s is already assigned to node \"%s\"", r->route.name, had), err);
    if (json_array_size(json_at(live, "spec.schedulingGates")) > 0)
        return status_conflict(&r->ctx, "", "pods/binding", r->route.name,
                               arena_printf(r->arena, "pod %s has non-empty .spec.schedulingGates", r->route.name), err);
    json_t *pod = json_deep_copy(live);
    json_put(pod, "spec.nodeName", json_string(node));
    json_object_foreach(json_at(binding, "metadata.annotations"), key, v) meta_set_annotation(pod, key, json_string_value(v));
    condition_set(pod, &(struct condition){ .type = "PodScheduled", .status = "True" }, r->api->o.clock);
    *ret = pod;
    return 0;
}

int special_binding(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *binding = NULL;
    AUTO(json) json_t *pod = NULL;
    const struct schema_resource *pods = schema_resource_find(r->api->schema, SLICE_LIT(""), SLICE_LIT("v1"), SLICE_LIT("pods"));

    if (decode_sub(r, "", "v1", "Binding", &binding, err) < 0)
        return -(int)err->code;
    if (!*r->route.name)
        r->route.name = arena_strdup(r->arena, meta_name(binding));
    if (!*r->route.name || !*json_str_or(binding, "target.name", ""))
        return err_set(err, ERR_INVALID, "Binding \"%s\" is invalid: target.name: Required value", r->route.name);
    const char *kind = json_str_or(binding, "target.kind", "Node");
    if (*kind && strcmp(kind, "Node") != 0)
        return err_set(err, ERR_INVALID,
                       "Binding \"%s\" is invalid: target.kind: Unsupported value: \"%s\": supported values: \"Node\", \"<empty>\"",
                       r->route.name, kind);
    r->route.resource = r->route.stored = pods;
    r->route.ops = kind_ops("", "Pod");
    struct api_change c = { .make = make_bound, .arg = binding, .patch = true, .sub = "binding", .no_validate = true };
    if (api_change(r, &c, &pod, NULL, err) < 0)
        return -(int)err->code;
    return answer_done(r, 201, err);
}

/* --- pods/eviction --- */

static int make_disrupted(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    const char *pod = arg;
    char when[CLOCK_TEXT_BYTES];
    int64_t allowed = json_int_or(live, "status.disruptionsAllowed", 0);

    if (meta_generation(live) > json_int_or(live, "status.observedGeneration", 0) || allowed <= 0) {
        struct k8s_cause *cause = arena_alloc(r->arena, sizeof(*cause));
        struct k8s_status *st = arena_alloc(r->arena, sizeof(*st));

        *cause = (struct k8s_cause){
            .type = "DisruptionBudget",
            .message = arena_printf(r->arena, "The disruption budget %s needs %lld healthy pods and has %lld currently", meta_name(live),
                                    (long long)json_int_or(live, "status.desiredHealthy", 0),
                                    (long long)json_int_or(live, "status.currentHealthy", 0)),
            .field = "",
        };
        *st = (struct k8s_status){
            .message = "Cannot evict pod as it would violate the pod's disruption budget.", .causes = cause, .n_causes = 1,
        };
        int rc = err_set(err, ERR_TOO_MANY, "%s", st->message);
        err->status = st;
        return rc;
    }
    json_t *pdb = json_deep_copy(live);
    json_put(pdb, "status.disruptionsAllowed", json_integer(allowed - 1));
    json_t *disrupted = json_at(pdb, "status.disruptedPods");
    if (!disrupted) {
        disrupted = json_object();
        json_put(pdb, "status.disruptedPods", disrupted);
    }
    json_object_set_new(disrupted, pod, json_string(clock_time_text(clock_wall_s(r->api->o.clock), when)));
    *ret = pdb;
    return 0;
}

struct budgets {
    struct api_request *r;
    const json_t *labels;
    const char *name; /* of the one that matches */
    int n;
};

static int on_budget(void *arg, const struct store_row *row, bool *stop, struct err *err)
{
    struct budgets *b = arg;
    AUTO(json) json_t *pdb = NULL;
    struct selector *s = NULL;

    (void)stop;
    if (json_read(row->value->at, row->value->n, NULL, NULL, &pdb, err) < 0 ||
        selector_of(b->r->arena, json_at(pdb, "spec.selector"), &s, err) < 0)
        return -(int)err->code;
    if (!selector_match(s, b->labels))
        return 0;
    b->name = arena_strdup(b->r->arena, meta_name(pdb));
    b->n++;
    return 0;
}

static int find_budget(struct api_request *r, const json_t *pod, const struct schema_resource *pdbs, struct budgets *b, struct err *err)
{
    AUTO(buf) struct buf from = { 0 }, to = { 0 };
    int rc = 0;

    *b = (struct budgets){ .r = r, .labels = json_at(pod, "metadata.labels") };
    key_write(pdbs, r->route.ns, NULL, &from);
    key_range_end((struct slice){ buf_at(&from), buf_len(&from) }, &to);
    struct store_range range = { .from = { buf_at(&from), buf_len(&from) }, .to = { buf_at(&to), buf_len(&to) } };
    do
        rc = store_range(&r->ctx, r->api->o.store, &range, on_budget, b, err);
    while (rc == 0 && range.more);
    store_range_end(&range);
    return rc;
}

static bool is_terminal(const json_t *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "");

    return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0 || strcmp(phase, "Pending") == 0 || meta_deleting(pod);
}

static int use_budget(struct api_request *r, const json_t *pod, struct err *err)
{
    const struct schema_resource *pdbs =
        schema_resource_find(r->api->schema, SLICE_LIT("policy"), SLICE_LIT("v1"), SLICE_LIT("poddisruptionbudgets"));
    struct api_route saved = r->route;
    struct budgets b;
    AUTO(json) json_t *pdb = NULL;
    int rc = find_budget(r, pod, pdbs, &b, err);

    if (rc < 0 || b.n == 0)
        return rc;
    if (b.n > 1)
        return err_set(err, ERR_IO, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
    r->route.resource = r->route.stored = pdbs;
    r->route.ops = kind_ops("policy", "PodDisruptionBudget");
    r->route.name = b.name;
    struct api_change c = { .make = make_disrupted, .arg = (void *)saved.name, .patch = true, .sub = "status" };
    rc = api_change(r, &c, &pdb, NULL, err);
    r->route = saved;
    return rc;
}

int special_eviction(struct api_request *r, struct err *err)
{
    AUTO(json) json_t *eviction = NULL;
    AUTO(json) json_t *pod = NULL;
    AUTO(json) json_t *deleted = NULL;
    struct store_row row = { 0 };
    bool gone = false;

    if (decode_sub(r, "policy", "v1", "Eviction", &eviction, err) < 0 || api_live(r, &row, err) < 0)
        return -(int)err->code;
    int rc = api_tree(r, row.value, row.mod_revision, &pod, err);
    store_row_clear(&row);
    if (rc < 0)
        return rc;
    const json_t *options = json_object_get(eviction, "deleteOptions");
    if (!is_terminal(pod) && use_budget(r, pod, err) < 0)
        return -(int)err->code;
    AUTO(json) json_t *none = json_object();
    if (api_delete_one(r, r->route.name, options ? options : none, &deleted, &gone, err) < 0)
        return -(int)err->code;
    return answer_done(r, 201, err);
}

/* --- pods/ephemeralcontainers and pods/resize: only that part may change --- */

struct pod_part {
    json_t *object; /* the request's pod, for PUT */
    json_t *patch;
    bool strategic, json_patch;
    bool ephemeral;
};

static void keep_part(struct pod_part *p, json_t *from, const json_t *live, json_t **ret)
{
    json_t *pod = json_deep_copy(live);
    size_t i = 0;
    json_t *c = NULL;

    if (p->ephemeral) {
        json_t *list = json_at(from, "spec.ephemeralContainers");

        if (list)
            json_put(pod, "spec.ephemeralContainers", json_deep_copy(list));
    } else {
        json_array_foreach(json_at(pod, "spec.containers"), i, c)
        {
            json_t *asked = json_array_get(json_at(from, "spec.containers"), i);
            static const char *const parts[] = { "resources", "resizePolicy" };

            for (size_t k = 0; k < ARRAY_LEN(parts); k++)
                if (json_object_get(asked, parts[k]))
                    json_object_set_new(c, parts[k], json_deep_copy(json_object_get(asked, parts[k])));
        }
        if (json_at(from, "spec.resources"))
            json_put(pod, "spec.resources", json_deep_copy(json_at(from, "spec.resources")));
    }
    const char *rv = meta_resource_version(from);
    json_put(pod, "metadata.resourceVersion", json_string(rv));
    *ret = pod;
}

static int make_part(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    struct pod_part *p = arg;
    AUTO(json) json_t *whole = NULL;
    int rc = 0;

    if (p->object) {
        keep_part(p, p->object, live, ret);
        return 0;
    }
    if (p->json_patch)
        rc = patch_json(&r->ctx, live, p->patch, &whole, err);
    else if (p->strategic)
        rc = patch_strategic(&r->ctx, r->route.resource->type, live, p->patch, &whole, err);
    else
        whole = patch_merge(live, p->patch);
    if (rc < 0)
        return rc;
    keep_part(p, whole, live, ret);
    return 0;
}

int special_pod_part(struct api_request *r, struct err *err)
{
    struct pod_part p = { .ephemeral = strcmp(r->route.sub->name, "ephemeralcontainers") == 0 };
    AUTO(json) json_t *result = NULL;
    const char *type = r->content_type ? r->content_type : "";
    struct api_change c = { .make = make_part, .arg = &p, .sub = r->route.sub->name };
    int rc = 0;

    if (r->route.verb == VERB_GET)
        return api_get(r, err);
    if (r->route.verb == VERB_UPDATE) {
        rc = api_decode_object(r, r->route.resource->type, "v1", "Pod", &p.object, err);
    } else {
        p.json_patch = strstr(type, "json-patch") != NULL;
        p.strategic = strstr(type, "strategic-merge-patch") != NULL;
        c.patch = true;
        rc = api_decode_body(r, &p.patch, err);
    }
    if (rc == 0)
        rc = api_change(r, &c, &result, NULL, err);
    json_decref(p.object);
    json_decref(p.patch);
    return rc < 0 ? rc : api_answer_tree(r, 200, result, err);
}

/* --- namespaces/finalize and certificatesigningrequests/approval: one part of the object from the body --- */

struct part {
    json_t *object;
    const char *path;
};

static int make_with_part(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    struct part *p = arg;
    json_t *object = json_deep_copy(live), *v = json_at(p->object, p->path);

    (void)r;
    (void)err;
    if (v)
        json_put(object, p->path, json_deep_copy(v));
    else
        json_del(object, p->path);
    const char *rv = meta_resource_version(p->object);
    if (*rv)
        json_put(object, "metadata.resourceVersion", json_string(rv));
    *ret = object;
    return 0;
}

static int update_part(struct api_request *r, const char *path, bool no_validate, struct err *err)
{
    const struct schema_resource *res = r->route.resource;
    struct part p = { .path = path };
    AUTO(json) json_t *result = NULL;
    struct api_change c = { .make = make_with_part, .arg = &p, .patch = true, .sub = r->route.sub->name, .no_validate = no_validate };

    if (r->route.verb == VERB_GET)
        return api_get(r, err);
    if (r->route.verb == VERB_PATCH)
        return err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource");
    int rc = api_decode_object(r, res->type, api_version_text(r->arena, res), res->kind, &p.object, err);
    if (rc == 0)
        rc = api_change(r, &c, &result, NULL, err);
    json_decref(p.object);
    return rc < 0 ? rc : api_answer_tree(r, 200, result, err);
}

int special_finalize(struct api_request *r, struct err *err)
{
    return update_part(r, "spec.finalizers", true, err);
}

int special_approval(struct api_request *r, struct err *err)
{
    return update_part(r, "status.conditions", false, err);
}

/* --- scale --- */

static json_t *scale_of(struct api_request *r, const json_t *object)
{
    json_t *scale = json_object(), *meta = json_object();
    static const char *const copy[] = { "name", "namespace", "uid", "resourceVersion", "creationTimestamp" };
    struct selector *s = NULL;
    struct err err;
    const json_t *selector = json_at(object, "spec.selector");

    json_object_set_new(scale, "kind", json_string("Scale"));
    json_object_set_new(scale, "apiVersion", json_string("autoscaling/v1"));
    for (size_t i = 0; i < ARRAY_LEN(copy); i++) {
        json_t *v = json_object_get(json_object_get(object, "metadata"), copy[i]);
        if (v)
            json_object_set(meta, copy[i], v);
    }
    json_object_set_new(scale, "metadata", meta);
    json_put(scale, "spec", json_object());
    if (json_int_or(object, "spec.replicas", 0))
        json_put(scale, "spec.replicas", json_integer(json_int_or(object, "spec.replicas", 0)));
    json_put(scale, "status.replicas", json_integer(json_int_or(object, "status.replicas", 0)));
    if (json_at(selector, "matchLabels") || json_at(selector, "matchExpressions")) {
        if (selector_of(r->arena, selector, &s, &err) < 0)
            s = NULL;
    } else if (selector) {
        s = selector_of_map(r->arena, selector);
    }
    if (s)
        json_put(scale, "status.selector", json_string(selector_text(r->arena, s)));
    return scale;
}

struct scaling {
    json_t *scale; /* PUT */
    json_t *patch;
    bool json_patch;
};

static int make_scaled(void *arg, struct api_request *r, const json_t *live, json_t **ret, struct err *err)
{
    struct scaling *sc = arg;
    AUTO(json) json_t *before = scale_of(r, live);
    AUTO(json) json_t *after = NULL;

    if (sc->scale)
        after = json_incref(sc->scale);
    else if (sc->json_patch) {
        if (patch_json(&r->ctx, before, sc->patch, &after, err) < 0)
            return -(int)err->code;
    } else {
        after = patch_merge(before, sc->patch);
    }
    int64_t replicas = json_int_or(after, "spec.replicas", 0);
    if (replicas < 0) {
        struct field_errors errs = { .arena = r->arena };

        field_error(&errs, FIELD_INVALID, json_at(after, "spec.replicas"), "must be greater than or equal to 0", "spec.replicas");
        return field_errors_end(&errs, "autoscaling", "Scale", r->route.name, err);
    }
    json_t *object = json_deep_copy(live);
    json_put(object, "spec.replicas", json_integer(replicas));
    const char *rv = meta_resource_version(after);
    if (*rv && strcmp(rv, meta_resource_version(live)) != 0)
        json_put(object, "metadata.resourceVersion", json_string(rv));
    *ret = object;
    return 0;
}

static int read_scaling(struct api_request *r, struct scaling *sc, struct err *err)
{
    if (r->route.verb == VERB_UPDATE)
        return decode_sub(r, "autoscaling", "v1", "Scale", &sc->scale, err);
    sc->json_patch = r->content_type && strstr(r->content_type, "json-patch") != NULL;
    return api_decode_body(r, &sc->patch, err);
}

int special_scale(struct api_request *r, struct err *err)
{
    struct scaling sc = { 0 };
    AUTO(json) json_t *object = NULL;
    struct store_row row = { 0 };
    struct api_change c = { .make = make_scaled, .arg = &sc, .patch = true, .sub = "scale" };
    int rc = 0;

    if (r->route.verb == VERB_GET) {
        if (api_live(r, &row, err) < 0)
            return -(int)err->code;
        rc = api_tree(r, row.value, row.mod_revision, &object, err);
        store_row_clear(&row);
    } else {
        rc = read_scaling(r, &sc, err);
        if (rc == 0)
            rc = api_change(r, &c, &object, NULL, err);
        json_decref(sc.scale);
        json_decref(sc.patch);
    }
    if (rc < 0)
        return rc;
    AUTO(json) json_t *scale = scale_of(r, object);
    return api_answer_tree(r, 200, scale, err);
}
