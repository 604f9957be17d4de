/* RuntimeClass: a pod takes over its class's overhead, node selector and tolerations. */
#include "server/admission/step.h"

#include <string.h>

/* NULL: the pod names none. */
static int class_of(struct ctx *ctx, struct admission *a, const struct admission_request *r, json_t **ret, struct err *err)
{
    const char *name = json_str(r->object, "spec.runtimeClassName");

    *ret = NULL;
    if (!name)
        return 0;
    AUTO(bytes) struct bytes *value = index_value(a->index, INDEX_RUNTIME_CLASSES, "", name);
    if (!value)
        return admission_forbid(ctx, r, err, "pod rejected: RuntimeClass \"%s\" not found", name);
    return json_read(value->at, value->n, NULL, NULL, ret, err);
}

static bool concerns(const struct admission_request *r)
{
    return r->verb == ADMIT_CREATE && admission_is(r, "", "pods", "");
}

static int mismatch(struct ctx *ctx, const struct admission_request *r, struct err *err)
{
    return admission_forbid(ctx, r, err, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
}

static bool same_overhead(const json_t *a, const json_t *b)
{
    return (json_object_size(a) == 0 && json_object_size(b) == 0) || (a && b && json_equal(a, b));
}

static int set_selector(struct ctx *ctx, struct admission_request *r, const json_t *class, struct err *err)
{
    const char *key = NULL;
    json_t *v = NULL, *wanted = json_at(class, "scheduling.nodeSelector"), *selector = json_at(r->object, "spec.nodeSelector");

    if (json_object_size(wanted) == 0)
        return 0;
    if (!json_is_object(selector)) {
        selector = json_object();
        json_put(r->object, "spec.nodeSelector", selector);
    }
    json_object_foreach(wanted, key, v)
    {
        const json_t *had = json_object_get(selector, key);

        if (had && !json_equal(had, v))
            return admission_forbid(ctx, r, err,
                                    "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key,
                                    json_string_value(v), key, json_string_value(had));
        json_object_set(selector, key, v);
    }
    return 0;
}

static bool has(const json_t *list, const json_t *one)
{
    size_t i = 0;
    json_t *v = NULL;

    json_array_foreach(list, i, v) if (json_equal(v, one)) return true;
    return false;
}

static void add_tolerations(json_t *pod, const json_t *class)
{
    json_t *list = json_at(pod, "spec.tolerations"), *t = NULL;
    size_t i = 0;

    json_array_foreach(json_at(class, "scheduling.tolerations"), i, t)
    {
        if (!json_is_array(list)) {
            list = json_array();
            json_put(pod, "spec.tolerations", list);
        }
        if (!has(list, t))
            json_array_append_new(list, json_deep_copy(t));
    }
}

static int mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    AUTO(json) json_t *class = NULL;

    if (!concerns(r))
        return 0;
    if (class_of(ctx, a, r, &class, err) < 0)
        return -(int)err->code;
    if (!class)
        return 0;
    const json_t *fixed = json_at(class, "overhead.podFixed"), *own = json_at(r->object, "spec.overhead");
    if (json_object_get(class, "overhead")) {
        if (json_object_size(own) > 0 && !same_overhead(fixed, own))
            return mismatch(ctx, r, err);
        json_put(r->object, "spec.overhead", fixed ? json_deep_copy(fixed) : json_object());
    }
    if (set_selector(ctx, r, class, err) < 0)
        return -(int)err->code;
    add_tolerations(r->object, class);
    *changed = true;
    return 0;
}

static int validate(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    AUTO(json) json_t *class = NULL;

    if (!concerns(r))
        return 0;
    const json_t *own = json_at(r->object, "spec.overhead");
    if (class_of(ctx, a, r, &class, err) < 0)
        return -(int)err->code;
    if (class && json_object_get(class, "overhead"))
        return same_overhead(json_at(class, "overhead.podFixed"), own) ? 0 : mismatch(ctx, r, err);
    if (json_object_size(own) > 0)
        return admission_forbid(ctx, r, err, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    return 0;
}

const struct admission_step admission_runtime_class = { "RuntimeClass", mutate, validate };
