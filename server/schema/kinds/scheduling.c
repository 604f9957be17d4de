/* PriorityClasses. Source: upstream pkg/apis/scheduling. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

enum { HIGHEST_OF_USERS = 1000000000 };

static void class_default(json_t *class)
{
    set_text(class, "preemptionPolicy", "PreemptLowerPriority");
}

/* NULL when the class is one of the system's own; else what is wrong. */
static const char *not_systems(struct arena *a, const json_t *class)
{
    static const struct {
        const char *name;
        int64_t value;
    } known[] = { { "system-node-critical", 2000001000 }, { "system-cluster-critical", 2000000000 } };
    const char *name = meta_name(class);

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp(name, known[i].name) != 0)
            continue;
        if (json_int_or(class, "value", 0) != known[i].value)
            return arena_printf(a, "value of %s PriorityClass must be %lld", name, (long long)known[i].value);
        return json_bool_or(class, "globalDefault", false) ? arena_printf(a, "globalDefault of %s PriorityClass must be false", name) : NULL;
    }
    return arena_printf(a, "%s is not a known system priority class", name);
}

static void class_validate(struct ctx *ctx, const json_t *class, struct field_errors *errs)
{
    (void)ctx;
    if (strncmp(meta_name(class), "system-", 7) == 0) {
        const char *why = not_systems(errs->arena, class);

        if (why)
            field_error(errs, FIELD_FORBIDDEN, NULL,
                        arena_printf(errs->arena, "priority class names with 'system-' prefix are reserved for system use only. error: %s", why),
                        "metadata.name");
    } else if (json_int_or(class, "value", 0) > HIGHEST_OF_USERS) {
        field_error(errs, FIELD_FORBIDDEN, NULL, "maximum allowed value of a user defined priority is 1000000000", "value");
    }
    CHECK_ONE_OF(errs, json_object_get(class, "preemptionPolicy"), false, "preemptionPolicy", "Never", "PreemptLowerPriority");
}

static void class_validate_update(struct ctx *ctx, const json_t *class, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    if (json_int_or(class, "value", 0) != json_int_or(old, "value", 0))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not be changed in an update.", "value");
    check_immutable(errs, class, old, "preemptionPolicy");
}

static void class_cells(struct ctx *ctx, const json_t *class, json_t *cells)
{
    cell_int(cells, json_int_or(class, "value", 0));
    cell_bool(cells, json_bool_or(class, "globalDefault", false));
    cell_age(ctx, cells, class);
    cell_path(cells, class, "preemptionPolicy", "");
}

const struct kind_ops kinds_scheduling[] = {
    { .group = "scheduling.k8s.io", .kind = "PriorityClass", .default_ = class_default, .validate = class_validate,
      .validate_update = class_validate_update, .cells = class_cells, .unconditional_update = true },
    { 0 },
};
