/* StorageVersionMigrations. Source: upstream pkg/printers, pkg/registry/storagemigration. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static void migration_validate_update(struct ctx *ctx, const json_t *migration, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_immutable(errs, migration, old, "spec.resource");
}

static void migration_cells(struct ctx *ctx, const json_t *migration, json_t *cells)
{
    static const char *const known[] = { "Running", "Failed", "Succeeded" };
    const char *group = json_str_or(migration, "spec.resource.group", ""), *status = "Unknown";
    size_t i;
    json_t *c;

    cell_text(cells, arena_printf(ctx->arena, "%s%s%s", json_str_or(migration, "spec.resource.resource", ""), *group ? "." : "", group));
    json_array_foreach(json_at(migration, "status.conditions"), i, c)
        for (size_t k = 0; is_text(c, "status", "True") && k < ARRAY_LEN(known); k++)
            if (is_text(c, "type", known[k]))
                status = known[k];
    cell_text(cells, status);
}

const struct kind_ops kinds_storagemigration[] = {
    { .group = "storagemigration.k8s.io", .kind = "StorageVersionMigration", .validate_update = migration_validate_update,
      .cells = migration_cells, .no_generation = true },
    { 0 },
};
