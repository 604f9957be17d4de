/* Events of both groups; stored as the core group's. Source: upstream pkg/apis/core/validation/events.go, pkg/apis/events/v1/conversion.go. */
#include "server/schema/kinds/kinds.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/set.h"

#include <ctype.h>
#include <string.h>

enum { EVENT_TTL_S = 3600, TEXT_MAX = 128, NOTE_MAX = 1024 };

/* --- conversion --- */

static const char *const renamed[][2] = { /* core, events.k8s.io */
    { "involvedObject", "regarding" },
    { "message", "note" },
    { "source", "deprecatedSource" },
    { "firstTimestamp", "deprecatedFirstTimestamp" },
    { "lastTimestamp", "deprecatedLastTimestamp" },
    { "count", "deprecatedCount" },
    { "reportingComponent", "reportingController" },
};

static void rename_members(json_t *event, int from, int to)
{
    for (size_t i = 0; i < ARRAY_LEN(renamed); i++) {
        json_t *v = json_incref(json_object_get(event, renamed[i][from]));

        if (!v)
            continue;
        json_object_del(event, renamed[i][from]);
        json_object_set_new(event, renamed[i][to], v);
    }
}

/* Members that are written even when empty. */
static void fill_empty(json_t *event)
{
    static const char *const times[] = { "firstTimestamp", "lastTimestamp", "eventTime" };

    set_object(event, "involvedObject");
    set_object(event, "source");
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        if (!json_object_get(event, times[i]))
            json_object_set_new(event, times[i], json_null());
    set_text(event, "reportingComponent", "");
    set_text(event, "reportingInstance", "");
}

void event_to_core(json_t *event)
{
    rename_members(event, 1, 0);
    json_object_set_new(event, "apiVersion", json_string("v1"));
    fill_empty(event);
}

void event_from_core(json_t *event)
{
    static const char *const dropped[] = { "deprecatedFirstTimestamp", "deprecatedLastTimestamp" };

    rename_members(event, 0, 1);
    json_object_set_new(event, "apiVersion", json_string("events.k8s.io/v1"));
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
        if (!json_object_get(event, dropped[i]))
            json_object_set_new(event, dropped[i], json_null());
}

/* --- validation --- */

static bool has_time(const json_t *event, const char *key)
{
    return *json_str_or(event, key, "") != '\0';
}

static void check_namespace(struct field_errors *errs, const json_t *event)
{
    const char *ns = meta_namespace(event), *of = json_str_or(event, "involvedObject.namespace", "");
    bool is_default = strcmp(ns, "default") == 0, fits = strcmp(ns, of) == 0 || (!*of && is_default);

    if (has_time(event, "eventTime"))
        fits = *of || is_default || strcmp(ns, "kube-system") == 0;
    if (fits)
        return;
    AUTO(json) json_t *shown = json_string(of);
    field_error(errs, FIELD_INVALID, shown, "does not match event.namespace", "involvedObject.namespace");
}

static void check_length(struct field_errors *errs, const json_t *event, const char *key, size_t most)
{
    AUTO(json) json_t *shown = json_string("");

    if (strlen(json_str_or(event, key, "")) > most)
        field_error(errs, FIELD_INVALID, shown, arena_printf(errs->arena, "can have at most %zu characters", most), "%s", key);
}

static void check_common(struct field_errors *errs, const json_t *event, const char *controller_path)
{
    const json_t *controller = json_object_get(event, "reportingComponent");

    check_namespace(errs, event);
    if (!has_time(event, "eventTime"))
        return;
    if (!check_text(errs, event, "reportingComponent", controller_path))
        field_error(errs, FIELD_INVALID, controller, label_key_invalid(""), "%s", controller_path);
    check_name(errs, controller, label_key_invalid, controller_path);
    check_text(errs, event, "reportingInstance", "reportingInstance");
    check_length(errs, event, "reportingInstance", TEXT_MAX);
    check_text(errs, event, "action", "action");
    check_length(errs, event, "action", TEXT_MAX);
    check_text(errs, event, "reason", "reason");
    check_length(errs, event, "reason", TEXT_MAX);
    check_length(errs, event, "message", NOTE_MAX);
}

static void core_validate(struct ctx *ctx, const json_t *event, struct field_errors *errs)
{
    (void)ctx;
    check_common(errs, event, "reportingComponent");
}

static void check_series(struct field_errors *errs, const json_t *event)
{
    const json_t *series = json_object_get(event, "series");
    AUTO(json) json_t *shown = json_string("");

    if (!json_is_object(series))
        return;
    if (json_int_or(series, "count", 0) < 2)
        field_error(errs, FIELD_INVALID, shown, "should be at least 2", "series.count");
    check_text(errs, series, "lastObservedTime", "series.lastObservedTime");
}

static void check_unset(struct field_errors *errs, bool is_set, const char *path)
{
    AUTO(json) json_t *shown = json_string("");

    if (is_set)
        field_error(errs, FIELD_INVALID, shown, "needs to be unset", "%s", path);
}

static json_t *as_core(const json_t *event)
{
    json_t *copy = json_deep_copy(event);

    event_to_core(copy);
    return copy;
}

static void events_validate(struct ctx *ctx, const json_t *event, struct field_errors *errs)
{
    AUTO(json) json_t *core = as_core(event);

    (void)ctx;
    check_common(errs, core, "reportingController");
}

/* What only a creation is refused for. */
static int events_begin(struct ctx *ctx, struct kind_env *env, json_t *event, const json_t *old, bool dry_run, struct err *err)
{
    AUTO(json) json_t *core = as_core(event);
    AUTO(json) json_t *shown = json_string("");
    const char *type = json_str_or(core, "type", "");
    struct field_errors errs = { .arena = ctx->arena };

    (void)env;
    (void)dry_run;
    if (old)
        return 0;
    check_series(&errs, core);
    check_text(&errs, core, "eventTime", "eventTime");
    if (strcmp(type, "Normal") != 0 && strcmp(type, "Warning") != 0)
        field_error(&errs, FIELD_INVALID, shown, arena_printf(errs.arena, "has invalid value: %s", type), "type");
    check_unset(&errs, has_time(core, "firstTimestamp"), "firstTimestamp");
    check_unset(&errs, has_time(core, "lastTimestamp"), "lastTimestamp");
    check_unset(&errs, json_int_or(core, "count", 0) != 0, "count");
    check_unset(&errs, *json_str_or(core, "source.component", "") || *json_str_or(core, "source.host", ""), "source");
    return field_errors_end(&errs, "events.k8s.io", "Event", meta_name(event), err);
}

static void events_update(struct ctx *ctx, const json_t *event, const json_t *old, struct field_errors *errs)
{
    static const char *const fixed[] = { "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count",
                                         "type", "eventTime", "action", "related", "reportingInstance" };
    AUTO(json) json_t *core = as_core(event);
    AUTO(json) json_t *was = as_core(old);

    (void)ctx;
    if (!same_member(core, was, "series"))
        check_series(errs, core);
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(errs, core, was, fixed[i]);
    if (!same_member(core, was, "reportingComponent"))
        field_error(errs, FIELD_INVALID, json_object_get(core, "reportingComponent"), "field is immutable", "reportingController");
}

/* --- the row --- */

static const char *trimmed(struct arena *a, const char *s)
{
    size_t n = strlen(s);

    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    while (n && isspace((unsigned char)*s))
        s++, n--;
    return arena_strndup(a, s, n);
}

static const char *first_of(const json_t *event, const char *a, const char *b)
{
    const char *s = json_str_or(event, a, "");

    return *s ? s : json_str_or(event, b, "");
}

static void target_cell(struct ctx *ctx, const json_t *event, json_t *cells)
{
    const char *name = json_str_or(event, "involvedObject.name", "");
    char *kind = arena_strdup(ctx->arena, json_str_or(event, "involvedObject.kind", ""));

    for (char *c = kind; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    cell_text(cells, *name ? arena_printf(ctx->arena, "%s/%s", kind, name) : kind);
}

static void core_cells(struct ctx *ctx, const json_t *event, json_t *cells)
{
    const char *first = first_of(event, "firstTimestamp", "eventTime"), *last = json_str_or(event, "lastTimestamp", "");
    const char *component = first_of(event, "source.component", "reportingComponent");
    const char *instance = first_of(event, "source.host", "reportingInstance");
    int64_t count = json_int_or(event, "count", 0);

    if (!*last)
        last = first;
    if (json_is_object(json_object_get(event, "series"))) {
        last = json_str_or(event, "series.lastObservedTime", "");
        count = json_int_or(event, "series.count", 0);
    } else if (count == 0) {
        count = 1;
    }
    json_array_clear(cells); /* the name comes last */
    cell_since(ctx, cells, last);
    cell_path(cells, event, "type", "");
    cell_path(cells, event, "reason", "");
    target_cell(ctx, event, cells);
    cell_path(cells, event, "involvedObject.fieldPath", "");
    cell_text(cells, *instance ? arena_printf(ctx->arena, "%s, %s", component, instance) : component);
    cell_text(cells, trimmed(ctx->arena, json_str_or(event, "message", "")));
    cell_since(ctx, cells, first);
    cell_int(cells, count);
    cell_text(cells, meta_name(event));
}

static void events_cells(struct ctx *ctx, const json_t *event, json_t *cells)
{
    AUTO(json) json_t *core = as_core(event);

    core_cells(ctx, core, cells);
}

/* --- what selectors see --- */

static const char *const core_fields[] = {
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
    "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type", NULL,
};

static const char *core_field(struct ctx *ctx, const json_t *event, const char *name)
{
    (void)ctx;
    return strcmp(name, "source") == 0 ? first_of(event, "source.component", "reportingComponent") : NULL;
}

static const char *const events_fields[] = {
    "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion", "regarding.resourceVersion",
    "regarding.fieldPath", "reason", "reportingController", "type", NULL,
};

static const char *events_field_stored(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(events_fields) - 1; i++)
        if (strcmp(name, events_fields[i]) == 0 && strncmp(name, "regarding.", 10) == 0)
            return core_fields[i];
    return strcmp(name, "reportingController") == 0 ? "reportingComponent" : name;
}

const struct kind_ops kinds_core_event[] = {
    {
        .group = "", .kind = "Event",
        .validate = core_validate,
        .cells = core_cells,
        .fields = core_fields,
        .field = core_field,
        .create_on_update = true,
        .unconditional_update = true,
        .ttl_s = EVENT_TTL_S,
        .no_generation = true,
    },
    { 0 },
};

const struct kind_ops kinds_events[] = {
    {
        .group = "events.k8s.io", .kind = "Event",
        .validate = events_validate,
        .validate_update = events_update,
        .begin = events_begin,
        .cells = events_cells,
        .fields = events_fields,
        .field_stored = events_field_stored,
        .create_on_update = true,
        .unconditional_update = true,
        .ttl_s = EVENT_TTL_S,
        .no_generation = true,
    },
    { 0 },
};
