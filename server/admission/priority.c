/* Priority: a pod's number and preemption policy come from its PriorityClass, or from the one marked as global default. */
#include "server/admission/step.h"

#include "lib/k8s/meta.h"

#include <string.h>

/* Of several defaults (a race made them) the lowest value counts. New reference or NULL. */
static int default_class(struct admission *a, json_t **ret, struct err *err)
{
    AUTO(json) json_t *all = NULL;
    json_t *best = NULL, *one = NULL;
    size_t i = 0;

    if (index_trees(a->index, INDEX_PRIORITY_CLASSES, "", true, &all, err) < 0)
        return -(int)err->code;
    json_array_foreach(all, i, one) if (!best || json_int_or(one, "value", 0) < json_int_or(best, "value", 0)) best = one;
    *ret = best ? json_incref(best) : NULL;
    return 0;
}

static int named_class(struct ctx *ctx, struct admission *a, const struct admission_request *r, const char *name, json_t **ret,
                       struct err *err)
{
    AUTO(bytes) struct bytes *value = index_value(a->index, INDEX_PRIORITY_CLASSES, "", name);

    if (!value)
        return admission_forbid(ctx, r, err, "no PriorityClass with name %s was found", name);
    return json_read(value->at, value->n, NULL, NULL, ret, err);
}

static int set_priority(struct ctx *ctx, const struct admission_request *r, const json_t *class, struct err *err)
{
    json_t *spec = json_object_get(r->object, "spec"), *had = json_object_get(spec, "priority");
    int64_t value = class ? json_int_or(class, "value", 0) : 0;
    const char *policy = class ? json_str_or(class, "preemptionPolicy", "") : "PreemptLowerPriority";
    const char *wanted = json_str_or(spec, "preemptionPolicy", "");

    if (json_is_integer(had) && json_integer_value(had) != value)
        return admission_forbid(ctx, r, err,
                                "the integer value of priority (%lld) must not be provided in pod spec; priority admission controller "
                                "computed %lld from the given PriorityClass name",
                                (long long)json_integer_value(had), (long long)value);
    if (*policy && *wanted && strcmp(policy, wanted) != 0)
        return admission_forbid(ctx, r, err,
                                "the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission "
                                "controller computed %s from the given PriorityClass name",
                                wanted, policy);
    if (class)
        json_object_set_new(spec, "priorityClassName", json_string(meta_name(class)));
    json_object_set_new(spec, "priority", json_integer(value));
    if (*policy && !*wanted)
        json_object_set_new(spec, "preemptionPolicy", json_string(policy));
    return 0;
}

/* What was set at creation survives writers that leave it out. */
static void keep(struct admission_request *r, bool *changed)
{
    static const char *const fields[] = { "priority", "preemptionPolicy" };
    json_t *spec = json_object_get(r->object, "spec"), *old = json_object_get(r->old, "spec");

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        json_t *had = json_object_get(old, fields[i]);

        if (!had || json_object_get(spec, fields[i]))
            continue;
        json_object_set(spec, fields[i], had);
        *changed = true;
    }
}

static int mutate(struct ctx *ctx, struct admission *a, struct admission_request *r, bool *changed, struct err *err)
{
    AUTO(json) json_t *class = NULL;

    if (!admission_is(r, "", "pods", "") || !json_is_object(json_object_get(r->object, "spec")))
        return 0;
    if (r->verb == ADMIT_UPDATE)
        keep(r, changed);
    if (r->verb != ADMIT_CREATE)
        return 0;
    const char *name = json_str_or(r->object, "spec.priorityClassName", "");
    int rc = *name ? named_class(ctx, a, r, name, &class, err) : default_class(a, &class, err);
    if (rc < 0 || set_priority(ctx, r, class, err) < 0)
        return -(int)err->code;
    *changed = true;
    return 0;
}

static int validate(struct ctx *ctx, struct admission *a, const struct admission_request *r, struct err *err)
{
    AUTO(json) json_t *is = NULL;

    if ((r->verb != ADMIT_CREATE && r->verb != ADMIT_UPDATE) || !admission_is(r, "scheduling.k8s.io", "priorityclasses", "") ||
        !json_bool_or(r->object, "globalDefault", false))
        return 0;
    if (default_class(a, &is, err) < 0)
        return -(int)err->code;
    if (!is || (r->verb == ADMIT_UPDATE && strcmp(meta_name(is), meta_name(r->object)) == 0))
        return 0;
    return admission_forbid(ctx, r, err, "PriorityClass %s is already marked as default. Only one default can exist", meta_name(is));
}

const struct admission_step admission_priority = { "Priority", mutate, validate };
