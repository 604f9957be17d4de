/* FlowSchemas and PriorityLevelConfigurations. Source: upstream pkg/apis/flowcontrol. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <string.h>

static const char flow_group[] = "flowcontrol.apiserver.k8s.io";

static void schema_default(json_t *schema)
{
    json_t *spec = json_object_get(schema, "spec");

    if (json_is_object(spec))
        set_int_zero(spec, "matchingPrecedence", 1000);
}

static void schema_validate(struct ctx *ctx, const json_t *schema, struct field_errors *errs)
{
    const json_t *spec = json_object_get(schema, "spec"), *precedence = json_object_get(spec, "matchingPrecedence");
    size_t i;
    json_t *rule;

    (void)ctx;
    if (json_integer_value(precedence) <= 0)
        field_error(errs, FIELD_INVALID, precedence, "must be a positive value", "spec.matchingPrecedence");
    if (json_integer_value(precedence) > 10000)
        field_error(errs, FIELD_INVALID, precedence, "must not be greater than 10000", "spec.matchingPrecedence");
    if (json_integer_value(precedence) == 1 && strcmp(meta_name(schema), "exempt") != 0)
        field_error(errs, FIELD_INVALID, precedence, "only the schema named 'exempt' may have matchingPrecedence 1", "spec.matchingPrecedence");
    json_array_foreach(json_object_get(spec, "rules"), i, rule)
    {
        if (json_array_size(json_object_get(rule, "subjects")) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "subjects must contain at least one value", "spec.rules[%zu].subjects", i);
        if (json_array_size(json_object_get(rule, "resourceRules")) + json_array_size(json_object_get(rule, "nonResourceRules")) == 0)
            field_error(errs, FIELD_REQUIRED, NULL, "at least one of resourceRules and nonResourceRules has to be non-empty",
                        "spec.rules[%zu]", i);
    }
}

static void schema_cells(struct ctx *ctx, const json_t *schema, json_t *cells)
{
    const json_t *dangling = condition_get(schema, "Dangling");

    cell_path(cells, schema, "spec.priorityLevelConfiguration.name", "");
    cell_int(cells, json_int_or(schema, "spec.matchingPrecedence", 0));
    cell_path(cells, schema, "spec.distinguisherMethod.type", "<none>");
    cell_age(ctx, cells, schema);
    cell_path(cells, dangling, "status", "?");
}

static void level_default(json_t *level)
{
    json_t *exempt = json_at(level, "spec.exempt"), *limited = json_at(level, "spec.limited");
    json_t *queuing = json_at(limited, "limitResponse.queuing");

    if (json_is_object(exempt)) {
        set_int(exempt, "nominalConcurrencyShares", 0);
        set_int(exempt, "lendablePercent", 0);
    }
    if (json_is_object(limited)) {
        set_int(limited, "nominalConcurrencyShares", 30);
        set_int(limited, "lendablePercent", 0);
    }
    if (json_is_object(queuing)) {
        set_int_zero(queuing, "handSize", 8);
        set_int_zero(queuing, "queues", 64);
        set_int_zero(queuing, "queueLengthLimit", 50);
    }
}

static void level_validate(struct ctx *ctx, const json_t *level, struct field_errors *errs)
{
    const json_t *spec = json_object_get(level, "spec"), *limited = json_object_get(spec, "limited");
    bool is_limited = is_text(spec, "type", "Limited");

    (void)ctx;
    CHECK_ONE_OF(errs, json_object_get(spec, "type"), false, "spec.type", "Exempt", "Limited");
    if (!is_limited && limited)
        field_error(errs, FIELD_FORBIDDEN, NULL, "", "spec.limited");
    if (is_limited && json_object_get(spec, "exempt"))
        field_error(errs, FIELD_FORBIDDEN, NULL, "", "spec.exempt");
    if (is_limited && !limited)
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.limited");
    check_not_negative(errs, json_object_get(limited, "nominalConcurrencyShares"), "spec.limited.nominalConcurrencyShares");
    check_between(errs, json_object_get(limited, "lendablePercent"), 0, 100, "spec.limited.lendablePercent");
}

static void number_cell(const json_t *v, json_t *cells)
{
    if (json_is_integer(v))
        cell_int(cells, json_integer_value(v));
    else
        cell_text(cells, "<none>");
}

static void level_cells(struct ctx *ctx, const json_t *level, json_t *cells)
{
    const json_t *limited = json_at(level, "spec.limited"), *queuing = json_at(limited, "limitResponse.queuing");

    cell_path(cells, level, "spec.type", "");
    number_cell(json_object_get(limited, "nominalConcurrencyShares"), cells);
    number_cell(json_object_get(queuing, "queues"), cells);
    number_cell(json_object_get(queuing, "handSize"), cells);
    number_cell(json_object_get(queuing, "queueLengthLimit"), cells);
    cell_age(ctx, cells, level);
}

const struct kind_ops kinds_flowcontrol[] = {
    { .group = flow_group, .kind = "FlowSchema", .default_ = schema_default, .validate = schema_validate, .cells = schema_cells,
      .unconditional_update = true },
    { .group = flow_group, .kind = "PriorityLevelConfiguration", .default_ = level_default, .validate = level_validate,
      .cells = level_cells, .unconditional_update = true },
    { 0 },
};
