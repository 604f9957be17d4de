/* Checks of jobs and cron jobs. Source: upstream pkg/apis/batch/validation. */
#include "server/schema/kinds/batch.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/cron_check.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum {
    CRON_NAME_MAX = 52, INDEXED_PARALLELISM_MAX = 100000,
    FAILURE_RULES_MAX = 20, EXIT_CODES_MAX = 255,
};

/* --- job specs --- */

static void check_counts(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const char *const counts[] = { "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
                                          "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes" };

    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        if (json_int_or(spec, counts[i], 0) < 0)
            check_not_negative(errs, json_object_get(spec, counts[i]), check_path(errs, "%s.%s", path, counts[i]));
    if (json_object_get(spec, "maxFailedIndexes") && !json_object_get(spec, "backoffLimitPerIndex"))
        field_error(errs, FIELD_REQUIRED, NULL, "when maxFailedIndexes is specified", "%s.backoffLimitPerIndex", path);
}

static void check_indexed(struct field_errors *errs, const json_t *spec, const char *path)
{
    static const char *const only_indexed[] = { "backoffLimitPerIndex", "maxFailedIndexes", "successPolicy" };
    const json_t *completions = json_object_get(spec, "completions"), *parallelism = json_object_get(spec, "parallelism"),
                 *failed = json_object_get(spec, "maxFailedIndexes");

    if (!is_text(spec, "completionMode", "Indexed")) {
        for (size_t i = 0; i < ARRAY_LEN(only_indexed); i++)
            if (json_object_get(spec, only_indexed[i]))
                field_error(errs, FIELD_INVALID, json_object_get(spec, only_indexed[i]), "requires indexed completion mode", "%s.%s", path,
                            only_indexed[i]);
        return;
    }
    if (!completions)
        field_error(errs, FIELD_REQUIRED, NULL, "when completion mode is Indexed", "%s.completions", path);
    if (json_integer_value(parallelism) > INDEXED_PARALLELISM_MAX)
        field_error(errs, FIELD_INVALID, parallelism, "must be less than or equal to 100000 when completion mode is Indexed",
                    "%s.parallelism", path);
    if (completions && failed && json_integer_value(failed) > json_integer_value(completions))
        field_error(errs, FIELD_INVALID, failed, "must be less than or equal to completions", "%s.maxFailedIndexes", path);
    if (json_integer_value(failed) > INDEXED_PARALLELISM_MAX)
        field_error(errs, FIELD_INVALID, failed, "must be less than or equal to 100000", "%s.maxFailedIndexes", path);
}

static bool has_container(const json_t *spec, const char *name)
{
    static const char *const lists[] = { "containers", "initContainers" };
    size_t i;
    json_t *c;

    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        json_array_foreach(json_object_get(json_at(spec, "template.spec"), lists[l]), i, c)
            if (is_text(c, "name", name))
                return true;
    return false;
}

static void check_exit_codes(struct field_errors *errs, const json_t *codes, const json_t *spec, const char *path)
{
    const json_t *values = json_object_get(codes, "values");
    const char *container = json_str_or(codes, "containerName", "");
    size_t i;
    json_t *v;

    if (*container && !has_container(spec, container))
        field_error(errs, FIELD_INVALID, json_object_get(codes, "containerName"), "must be one of the container or initContainer names in the "
                    "pod template", "%s.containerName", path);
    if (json_array_size(values) == 0) {
        field_error(errs, FIELD_INVALID, values, "at least one value is required", "%s.values", path);
    } else if (json_array_size(values) > EXIT_CODES_MAX) {
        AUTO(json) json_t *count = json_integer((json_int_t)json_array_size(values));

        field_error(errs, FIELD_TOO_MANY, count, "must have at most 255 items", "%s.values", path);
    }
    json_array_foreach(values, i, v)
    {
        if (is_text(codes, "operator", "In") && json_integer_value(v) == 0)
            field_error(errs, FIELD_INVALID, v, "must not be 0 for the In operator", "%s.values[%zu]", path, i);
        if (i > 0 && json_integer_value(v) < json_integer_value(json_array_get(values, i - 1)))
            field_error(errs, FIELD_INVALID, values, "must be ordered", "%s.values", path);
        else if (i > 0 && json_equal(v, json_array_get(values, i - 1)))
            field_error(errs, FIELD_DUPLICATE, v, "", "%s.values[%zu]", path, i);
    }
}

static void check_failure_policy(struct field_errors *errs, const json_t *spec, const char *path)
{
    const json_t *rules = json_at(spec, "podFailurePolicy.rules");
    size_t i;
    json_t *rule;

    if (json_array_size(rules) > FAILURE_RULES_MAX) {
        AUTO(json) json_t *count = json_integer((json_int_t)json_array_size(rules));

        field_error(errs, FIELD_TOO_MANY, count, "must have at most 20 items", "%s.podFailurePolicy.rules", path);
    }
    json_array_foreach(rules, i, rule)
    {
        const char *at = check_path(errs, "%s.podFailurePolicy.rules[%zu]", path, i);
        const json_t *codes = json_object_get(rule, "onExitCodes"), *conditions = json_object_get(rule, "onPodConditions");

        if (codes && json_array_size(conditions) > 0)
            field_error(errs, FIELD_INVALID, rule, "specifying both OnExitCodes and OnPodConditions is not supported", "%s", at);
        else if (!codes && json_array_size(conditions) == 0)
            field_error(errs, FIELD_INVALID, rule, "specifying one of OnExitCodes and OnPodConditions is required", "%s", at);
        if (codes)
            check_exit_codes(errs, codes, spec, check_path(errs, "%s.onExitCodes", at));
    }
}

static void check_job_spec(struct field_errors *errs, const json_t *spec, const char *path)
{
    const char *policy = json_str_or(spec, "template.spec.restartPolicy", "");

    check_counts(errs, spec, path);
    check_indexed(errs, spec, path);
    if (json_object_get(spec, "podFailurePolicy"))
        check_failure_policy(errs, spec, path);
    pod_template_validate(json_object_get(spec, "template"), check_path(errs, "%s.template", path), errs);
    if (!*policy || strcmp(policy, "Always") == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "valid values: \"OnFailure\", \"Never\"", "%s.template.spec.restartPolicy", path);
    else if (json_object_get(spec, "podFailurePolicy") && strcmp(policy, "Never") != 0)
        field_error(errs, FIELD_INVALID, json_at(spec, "template.spec.restartPolicy"),
                    "only \"Never\" is supported when podFailurePolicy is specified", "%s.template.spec.restartPolicy", path);
}

/* --- Job --- */

void job_validate(struct ctx *ctx, const json_t *job, struct field_errors *errs)
{
    const json_t *spec = json_object_get(job, "spec"), *selector = json_object_get(spec, "selector");
    const json_t *labels = json_at(spec, "template.metadata.labels");
    size_t before = errs->n;

    (void)ctx;
    check_job_spec(errs, spec, "spec");
    if (!selector) {
        field_error(errs, FIELD_REQUIRED, NULL, "", "spec.selector");
        field_error(errs, FIELD_INVALID, labels, "`selector` does not match template `labels`", "spec.template.metadata.labels");
        return;
    }
    before = errs->n;
    check_selector(errs, selector, "spec.selector");
    if (errs->n == before && !selector_matches(errs, selector, labels))
        field_error(errs, FIELD_INVALID, labels, "`selector` does not match template `labels`", "spec.template.metadata.labels");
}

static void check_label(struct field_errors *errs, const json_t *template, const char *key, const char *want)
{
    const json_t *labels = json_at(template, "metadata.labels"), *v = json_object_get(labels, key);

    if (!v)
        field_error(errs, FIELD_REQUIRED, NULL, arena_printf(errs->arena, "must be '%s'", want), "spec.template.metadata.labels[%s]", key);
    else if (strcmp(json_string_value(v), want) != 0)
        field_error(errs, FIELD_INVALID, labels, arena_printf(errs->arena, "must be '%s'", want), "spec.template.metadata.labels[%s]", key);
}

/* Pods of an indexed job are hosts named after it. */
static void check_indexed_name(struct field_errors *errs, const json_t *job)
{
    int64_t completions = json_int_or(job, "spec.completions", 0);
    AUTO(json) json_t *name = json_string(meta_name(job));

    if (!is_text(job, "spec.completionMode", "Indexed") || completions <= 0)
        return;
    const char *last = arena_printf(errs->arena, "%s-%lld", meta_name(job), (long long)completions - 1);
    if (name_is_dns_label(last))
        field_error(errs, FIELD_INVALID, name,
                    arena_printf(errs->arena, "will not able to create pod with invalid DNS label: %s", last), "metadata.name");
}

int job_begin(struct ctx *ctx, struct kind_env *env, json_t *job, const json_t *old, bool dry_run, struct err *err)
{
    static const char *const by_uid[] = { "controller-uid", "batch.kubernetes.io/controller-uid" };
    static const char *const by_name[] = { "job-name", "batch.kubernetes.io/job-name" };
    const json_t *spec = json_object_get(job, "spec"), *template = json_object_get(spec, "template");
    struct field_errors errs = { .arena = ctx->arena };
    AUTO(json) json_t *expected = json_object();

    (void)env;
    (void)dry_run;
    if (old)
        return 0;
    for (size_t i = 0; i < 2 && !json_bool_or(spec, "manualSelector", false); i++) {
        check_label(&errs, template, by_uid[i], meta_uid(job));
        check_label(&errs, template, by_name[i], meta_name(job));
        json_object_set_new(expected, by_uid[i], json_string(meta_uid(job)));
        json_object_set_new(expected, by_name[i], json_string(meta_name(job)));
    }
    if (json_object_size(expected) && !selector_matches(&errs, json_object_get(spec, "selector"), expected))
        field_error(&errs, FIELD_INVALID, json_object_get(spec, "selector"), "`selector` not auto-generated", "spec.selector");
    check_indexed_name(&errs, job);
    return field_errors_end(&errs, "batch", "Job", meta_name(job), err);
}

/* What a suspended job's template may still change. */
static void take_placement(json_t *template, const json_t *was)
{
    static const char *const spec_parts[] = { "nodeSelector", "tolerations", "schedulingGates" };
    static const char *const meta_parts[] = { "labels", "annotations" };
    json_t *spec = set_object(template, "spec"), *meta = set_object(template, "metadata");

    for (size_t i = 0; spec && i < ARRAY_LEN(spec_parts); i++)
        set_from(spec, json_object_get(was, "spec"), spec_parts[i]);
    for (size_t i = 0; meta && i < ARRAY_LEN(meta_parts); i++)
        set_from(meta, json_object_get(was, "metadata"), meta_parts[i]);
    const json_t *node = json_at(was, "spec.affinity.nodeAffinity");
    if (node)
        json_put(template, "spec.affinity.nodeAffinity", json_deep_copy(node));
    else
        json_del(template, "spec.affinity.nodeAffinity");
    if (!json_at(was, "spec.affinity") && json_object_size(json_at(template, "spec.affinity")) == 0)
        json_del(template, "spec.affinity");
}

static void take_resources(json_t *template, const json_t *was)
{
    static const char *const lists[] = { "containers", "initContainers" };
    size_t i;
    json_t *c;

    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        json_array_foreach(json_object_get(json_object_get(template, "spec"), lists[l]), i, c)
            set_from(c, json_array_get(json_object_get(json_object_get(was, "spec"), lists[l]), i), "resources");
}

static void check_template_update(struct field_errors *errs, const json_t *job, const json_t *old)
{
    AUTO(json) json_t *template = json_deep_copy(json_at(job, "spec.template"));
    const json_t *was = json_at(old, "spec.template");
    bool idle = json_bool_or(old, "spec.suspend", false) && json_int_or(old, "status.active", 0) == 0 &&
                (!json_at(old, "status.startTime") || condition_is(old, "Suspended", "True"));

    if (idle) {
        take_placement(template, was);
        take_resources(template, was);
    }
    if (!json_equal(template, was))
        field_error(errs, FIELD_INVALID, json_at(job, "spec.template"), "field is immutable", "spec.template");
}

void job_validate_update(struct ctx *ctx, const json_t *job, const json_t *old, struct field_errors *errs)
{
    static const char *const fixed[] = { "spec.selector", "spec.completionMode", "spec.podFailurePolicy", "spec.backoffLimitPerIndex",
                                         "spec.managedBy", "spec.successPolicy" };
    const json_t *completions = json_at(job, "spec.completions");

    (void)ctx;
    if (!is_text(job, "spec.completionMode", "Indexed"))
        check_immutable(errs, job, old, "spec.completions");
    else if (completions && !same_member(job, old, "spec.completions") && !json_equal(completions, json_at(job, "spec.parallelism")))
        field_error(errs, FIELD_INVALID, completions, "can only be modified in tandem with spec.parallelism", "spec.completions");
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(errs, job, old, fixed[i]);
    check_template_update(errs, job, old);
}

/* What a job that has just finished must say. */
static void check_finished(struct field_errors *errs, const json_t *job, const json_t *old)
{
    static const char *const needs[][2] = { { "Failed", "FailureTarget" }, { "Complete", "SuccessCriteriaMet" } };
    const json_t *status = json_object_get(job, "status"), *active = json_object_get(status, "active");
    bool finished = false;

    for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
        if (!condition_is(job, needs[i][0], "True") || condition_is(old, needs[i][0], "True"))
            continue;
        finished = true;
        if (!condition_is(job, needs[i][1], "True"))
            field_error(errs, FIELD_INVALID, json_object_get(status, "conditions"),
                        arena_printf(errs->arena, "cannot set %s=True condition without the %s=true condition", needs[i][0], needs[i][1]),
                        "status.conditions");
    }
    if (!finished)
        return;
    if (json_integer_value(active) > 0)
        field_error(errs, FIELD_INVALID, active, "active>0 is invalid for finished job", "status.active");
    if (!json_object_get(status, "startTime"))
        field_error(errs, FIELD_REQUIRED, NULL, "startTime is required for finished job", "status.startTime");
}

void job_validate_status(struct ctx *ctx, const json_t *job, const json_t *old, struct field_errors *errs)
{
    static const char *const counts[] = { "active", "succeeded", "failed", "ready", "terminating" };
    static const char *const clashes[][2] = { { "Complete", "Failed" }, { "Complete", "FailureTarget" },
                                              { "SuccessCriteriaMet", "Failed" }, { "SuccessCriteriaMet", "FailureTarget" } };
    static const char *const words[][2] = { { "Complete=True", "Failed=true" }, { "Complete=True", "FailureTarget=true" },
                                            { "SuccessCriteriaMet=True", "Failed=true" },
                                            { "SuccessCriteriaMet=True", "FailureTarget=true" } };
    const json_t *status = json_object_get(job, "status");
    bool complete = condition_is(job, "Complete", "True");

    (void)ctx;
    (void)old;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(errs, json_object_get(status, counts[i]), check_path(errs, "status.%s", counts[i]));
    for (size_t i = 0; i < ARRAY_LEN(clashes); i++)
        if (condition_is(job, clashes[i][0], "True") && condition_is(job, clashes[i][1], "True"))
            field_error(errs, FIELD_INVALID, json_object_get(status, "conditions"),
                        arena_printf(errs->arena, "cannot set %s and %s conditions", words[i][0], words[i][1]), "status.conditions");
    check_finished(errs, job, old);
    if (json_object_get(status, "completionTime") && !complete)
        field_error(errs, FIELD_INVALID, json_object_get(status, "completionTime"),
                    "cannot set completionTime when there is no Complete=True condition", "status.completionTime");
    if (complete && !json_object_get(status, "completionTime"))
        field_error(errs, FIELD_REQUIRED, NULL, "completionTime is required for Complete jobs", "status.completionTime");
}

/* --- CronJob --- */

/* NULL when it names a zone of the tz database; else why not. The files are the machine's. */
static const char *zone_invalid(struct arena *a, const char *zone)
{
    static const char also[] = "/_+-";

    for (const char *c = zone; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(also, *c))
            return arena_printf(a, "unknown time zone %s", zone);
    if (*zone == '/' || *zone == '-' || strstr(zone, ".."))
        return arena_printf(a, "unknown time zone %s", zone);
    if (strcasecmp(zone, "Local") == 0)
        return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
    if (strcmp(zone, "UTC") == 0 || access(arena_printf(a, "/usr/share/zoneinfo/%s", zone), R_OK) == 0)
        return NULL;
    return arena_printf(a, "unknown time zone %s", zone);
}

void cron_job_validate(struct ctx *ctx, const json_t *cron, struct field_errors *errs)
{
    const json_t *spec = json_object_get(cron, "spec"), *job = json_at(spec, "jobTemplate.spec"), *schedule = json_object_get(spec, "schedule");
    static const char *const counts[] = { "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit" };

    (void)ctx;
    if (json_string_length(schedule)) {
        const char *why = cron_invalid(errs->arena, json_string_value(schedule));

        if (why)
            field_error(errs, FIELD_INVALID, schedule, why, "spec.schedule");
    }
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        check_not_negative(errs, json_object_get(spec, counts[i]), check_path(errs, "spec.%s", counts[i]));
    check_job_spec(errs, job, "spec.jobTemplate.spec");
    if (json_object_get(job, "selector"))
        field_error(errs, FIELD_INVALID, json_object_get(job, "selector"), "`selector` will be auto-generated", "spec.jobTemplate.spec.selector");
    if (json_bool_or(job, "manualSelector", false))
        field_not_supported(errs, "true", (const char *const[]){ "nil", "false" }, 2, "spec.jobTemplate.spec.manualSelector");
}

/* Zones: what is stored stays usable when the schedule's form was refused later. */
static void check_zone(struct field_errors *errs, const json_t *cron, bool may_be_in_schedule)
{
    const json_t *zone = json_at(cron, "spec.timeZone"), *schedule = json_at(cron, "spec.schedule");
    bool inside = strstr(json_str_or(cron, "spec.schedule", ""), "TZ") != NULL;

    if (inside && !may_be_in_schedule)
        field_error(errs, FIELD_INVALID, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead", "spec.schedule");
    else if (inside && zone)
        field_error(errs, FIELD_INVALID, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule", "spec.schedule");
}

static void check_zone_name(struct field_errors *errs, const json_t *cron)
{
    const json_t *zone = json_at(cron, "spec.timeZone");

    if (!zone)
        return;
    const char *s = json_string_value(zone), *why = s && *s ? zone_invalid(errs->arena, s) : "timeZone must be nil or non-empty string";
    if (why)
        field_error(errs, FIELD_INVALID, zone, why, "spec.timeZone");
}

void cron_job_validate_update(struct ctx *ctx, const json_t *cron, const json_t *old, struct field_errors *errs)
{
    (void)ctx;
    check_zone(errs, cron, strstr(json_str_or(old, "spec.schedule", ""), "TZ") != NULL);
    if (!same_member(cron, old, "spec.timeZone"))
        check_zone_name(errs, cron);
}

int cron_job_begin(struct ctx *ctx, struct kind_env *env, json_t *cron, const json_t *old, bool dry_run, struct err *err)
{
    struct field_errors errs = { .arena = ctx->arena };
    AUTO(json) json_t *name = json_string(meta_name(cron));

    (void)env;
    (void)dry_run;
    if (old)
        return 0;
    check_zone(&errs, cron, false);
    check_zone_name(&errs, cron);
    if (strlen(meta_name(cron)) > CRON_NAME_MAX)
        field_error(&errs, FIELD_INVALID, name, "must be no more than 52 characters", "metadata.name");
    return field_errors_end(&errs, "batch", "CronJob", meta_name(cron), err);
}
