/* Leases. Source: upstream pkg/apis/coordination. */
#include "server/schema/kinds/kinds.h"

#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"

static void lease_validate(struct ctx *ctx, const json_t *lease, struct field_errors *errs)
{
    const json_t *spec = json_object_get(lease, "spec");

    (void)ctx;
    check_positive(errs, json_object_get(spec, "leaseDurationSeconds"), "spec.leaseDurationSeconds");
    check_not_negative(errs, json_object_get(spec, "leaseTransitions"), "spec.leaseTransitions");
    if (*json_str_or(spec, "preferredHolder", "") && !*json_str_or(spec, "strategy", ""))
        field_error(errs, FIELD_FORBIDDEN, NULL, "may only be specified if `strategy` is defined", "spec.preferredHolder");
}

static void lease_cells(struct ctx *ctx, const json_t *lease, json_t *cells)
{
    cell_path(cells, lease, "spec.holderIdentity", "");
    cell_age(ctx, cells, lease);
}

const struct kind_ops kinds_coordination[] = {
    { .group = "coordination.k8s.io", .kind = "Lease", .validate = lease_validate, .cells = lease_cells, .create_on_update = true,
      .no_generation = true },
    { 0 },
};
