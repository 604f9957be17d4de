/* RuntimeClasses. Source: upstream pkg/apis/node. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/amounts.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"

static void class_validate(struct ctx *ctx, const json_t *class, struct field_errors *errs)
{
    const char *name;
    json_t *v;

    (void)ctx;
    if (json_string_length(json_object_get(class, "handler")))
        check_name(errs, json_object_get(class, "handler"), name_is_dns_label, "handler");
    json_object_foreach(json_at(class, "overhead.podFixed"), name, v)
    {
        const char *path = check_path(errs, "overhead.podFixed.%s", name);

        amount_check_container_name(errs, name, path);
        amount_check(errs, name, v, path);
    }
    check_labels(errs, json_at(class, "scheduling.nodeSelector"), "scheduling.nodeSelector");
}

static void class_validate_update(struct ctx *ctx, const json_t *class, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_fixed(errs, class, old, "handler");
}

static void class_cells(struct ctx *ctx, const json_t *class, json_t *cells)
{
    cell_path(cells, class, "handler", "");
    cell_age(ctx, cells, class);
}

const struct kind_ops kinds_node[] = {
    { .group = "node.k8s.io", .kind = "RuntimeClass", .validate = class_validate, .validate_update = class_validate_update,
      .cells = class_cells, .create_on_update = true, .no_generation = true },
    { 0 },
};
