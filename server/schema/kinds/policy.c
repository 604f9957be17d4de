/* PodDisruptionBudgets. Source: upstream pkg/apis/policy. */
#include "server/schema/kinds/kinds.h"

#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"

static void budget_validate(struct ctx *ctx, const json_t *budget, struct field_errors *errs)
{
    static const char *const amounts[] = { "minAvailable", "maxUnavailable" };
    const json_t *spec = json_object_get(budget, "spec");

    (void)ctx;
    if (json_object_get(spec, amounts[0]) && json_object_get(spec, amounts[1]))
        field_error(errs, FIELD_INVALID, spec, "minAvailable and maxUnavailable cannot be both set", "spec");
    for (size_t i = 0; i < ARRAY_LEN(amounts); i++) {
        const char *path = check_path(errs, "spec.%s", amounts[i]);

        check_amount_or_percent(errs, json_object_get(spec, amounts[i]), path);
        check_at_most_all(errs, json_object_get(spec, amounts[i]), path);
    }
    check_selector(errs, json_object_get(spec, "selector"), "spec.selector");
    if (json_object_get(spec, "unhealthyPodEvictionPolicy"))
        CHECK_ONE_OF(errs, json_object_get(spec, "unhealthyPodEvictionPolicy"), false, "spec.unhealthyPodEvictionPolicy", "AlwaysAllow",
                     "IfHealthyBudget");
}

static void budget_validate_status(struct ctx *ctx, const json_t *budget, const json_t *old, struct field_errors *errs)
{
    static const char *const counts[] = { "disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods" };

    (void)ctx;
    (void)old;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(errs, json_object_get(json_object_get(budget, "status"), counts[i]), check_path(errs, "status.%s", counts[i]));
}

static void amount_cell(const json_t *v, json_t *cells)
{
    if (json_is_integer(v))
        cell_format(cells, "%lld", (long long)json_integer_value(v));
    else
        cell_text(cells, json_is_string(v) ? json_string_value(v) : "N/A");
}

static void budget_cells(struct ctx *ctx, const json_t *budget, json_t *cells)
{
    amount_cell(json_at(budget, "spec.minAvailable"), cells);
    amount_cell(json_at(budget, "spec.maxUnavailable"), cells);
    cell_int(cells, json_int_or(budget, "status.disruptionsAllowed", 0));
    cell_age(ctx, cells, budget);
}

const struct kind_ops kinds_policy[] = {
    {
        .group = "policy", .kind = "PodDisruptionBudget",
        .validate = budget_validate,
        .validate_status = budget_validate_status,
        .cells = budget_cells,
    },
    { 0 },
};
