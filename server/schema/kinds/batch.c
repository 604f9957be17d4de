/* Jobs and CronJobs: defaults, preparation, rows; checks in batch_check.c. Source: upstream pkg/apis/batch, pkg/registry/batch. */
#include "server/schema/kinds/batch.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/kinds.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"

#include <string.h>

/* --- defaults --- */

static void default_failure_policy(json_t *spec)
{
    size_t i, j;
    json_t *rule, *pattern;

    json_array_foreach(json_at(spec, "podFailurePolicy.rules"), i, rule)
        json_array_foreach(json_object_get(rule, "onPodConditions"), j, pattern) set_text(pattern, "status", "True");
}

static void job_default(json_t *job)
{
    json_t *spec = json_object_get(job, "spec"), *labels = json_at(spec, "template.metadata.labels");

    if (!json_is_object(spec))
        return;
    if (!json_object_get(spec, "completions") && !json_object_get(spec, "parallelism"))
        set_int(spec, "completions", 1);
    set_int(spec, "parallelism", 1);
    set_int(spec, "backoffLimit", json_object_get(spec, "backoffLimitPerIndex") ? INT32_MAX : 6);
    if (json_object_size(labels) && json_object_size(json_at(job, "metadata.labels")) == 0)
        json_put(job, "metadata.labels", json_deep_copy(labels));
    set_text(spec, "completionMode", "NonIndexed");
    set_bool(spec, "suspend", false);
    set_text(spec, "podReplacementPolicy", json_object_get(spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed");
    set_bool(spec, "manualSelector", false);
    default_failure_policy(spec);
    pod_spec_default(json_at(spec, "template.spec"));
}

static void cron_job_default(json_t *cron)
{
    json_t *spec = json_object_get(cron, "spec"), *job = json_at(spec, "jobTemplate.spec");

    if (!json_is_object(spec))
        return;
    set_text(spec, "concurrencyPolicy", "Allow");
    set_bool(spec, "suspend", false);
    set_int(spec, "successfulJobsHistoryLimit", 3);
    set_int(spec, "failedJobsHistoryLimit", 1);
    if (json_is_object(job))
        default_failure_policy(job);
    pod_spec_default(json_at(job, "template.spec"));
}

/* --- preparation --- */

static void label(json_t *labels, const char *key, const char *value)
{
    if (!json_object_get(labels, key))
        json_object_set_new(labels, key, json_string(value));
}

/* The job's pods carry its name and uid, and it selects them by uid. */
static void job_prepare_create(struct ctx *ctx, json_t *job)
{
    json_t *spec = json_object_get(job, "spec"), *template = json_object_get(spec, "template");
    json_t *own = json_at(job, "metadata.labels");

    (void)ctx;
    if (!json_is_object(template) || json_bool_or(spec, "manualSelector", false))
        return;
    json_t *meta = set_object(template, "metadata"), *labels = set_object(meta, "labels");
    bool follows = json_object_size(own) == 0 || json_equal(own, labels);
    json_t *selector = set_object(spec, "selector"), *match = set_object(selector, "matchLabels");
    if (!labels || !match)
        return;
    label(labels, "job-name", meta_name(job));
    label(labels, "batch.kubernetes.io/job-name", meta_name(job));
    label(labels, "controller-uid", meta_uid(job));
    label(labels, "batch.kubernetes.io/controller-uid", meta_uid(job));
    label(match, "batch.kubernetes.io/controller-uid", meta_uid(job));
    if (follows)
        json_put(job, "metadata.labels", json_deep_copy(labels));
}

/* --- rows --- */

static const char *job_status(const json_t *job)
{
    static const struct {
        const char *condition, *word;
    } words[] = {
        { "Complete", "Complete" },   { "Failed", "Failed" },
        { NULL, "Terminating" },      { "Suspended", "Suspended" },
        { "FailureTarget", "FailureTarget" }, { "SuccessCriteriaMet", "SuccessCriteriaMet" },
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (words[i].condition ? condition_is(job, words[i].condition, "True") : meta_deleting(job))
            return words[i].word;
    return "Running";
}

static void duration_cell(struct ctx *ctx, const json_t *job, json_t *cells)
{
    const char *start = json_str_or(job, "status.startTime", ""), *end = json_str_or(job, "status.completionTime", "");
    int64_t from = 0, to = clock_wall_us(ctx->clock);
    char text[CELL_AGE_BYTES];

    if (!*start || clock_parse(start, strlen(start), &from) < 0) {
        cell_text(cells, "");
        return;
    }
    if (*end && clock_parse(end, strlen(end), &to) < 0)
        to = from;
    cell_text(cells, cell_duration((to - from) / 1000000, text));
}

static void job_cells(struct ctx *ctx, const json_t *job, json_t *cells)
{
    long long done = json_int_or(job, "status.succeeded", 0), parallel = json_int_or(job, "spec.parallelism", 0);
    const json_t *completions = json_at(job, "spec.completions");

    cell_text(cells, job_status(job));
    if (completions)
        cell_format(cells, "%lld/%lld", done, (long long)json_integer_value(completions));
    else if (parallel > 1)
        cell_format(cells, "%lld/1 of %lld", done, parallel);
    else
        cell_format(cells, "%lld/1", done);
    duration_cell(ctx, job, cells);
    cell_age(ctx, cells, job);
    cell_containers(cells, json_at(job, "spec.template.spec.containers"));
    cell_selector(ctx, cells, json_at(job, "spec.selector"), "<none>");
}

static void cron_job_cells(struct ctx *ctx, const json_t *cron, json_t *cells)
{
    const json_t *spec = json_object_get(cron, "spec"), *suspend = json_object_get(spec, "suspend");
    const char *last = json_str_or(cron, "status.lastScheduleTime", "");

    cell_path(cells, spec, "schedule", "");
    cell_path(cells, spec, "timeZone", "<none>");
    cell_text(cells, !suspend ? "<unset>" : json_is_true(suspend) ? "True" : "False");
    cell_int(cells, (int64_t)json_array_size(json_at(cron, "status.active")));
    if (*last)
        cell_since(ctx, cells, last);
    else
        cell_text(cells, "<none>");
    cell_age(ctx, cells, cron);
    cell_containers(cells, json_at(spec, "jobTemplate.spec.template.spec.containers"));
    cell_selector(ctx, cells, json_at(spec, "jobTemplate.spec.selector"), "<none>");
}

static const char *const job_fields[] = { "status.successful", NULL };

static const char *job_field(struct ctx *ctx, const json_t *job, const char *name)
{
    (void)name;
    return arena_printf(ctx->arena, "%lld", (long long)json_int_or(job, "status.succeeded", 0));
}

const struct kind_ops kinds_batch[] = {
    {
        .group = "batch", .kind = "CronJob",
        .default_ = cron_job_default,
        .validate = cron_job_validate,
        .validate_update = cron_job_validate_update,
        .begin = cron_job_begin,
        .cells = cron_job_cells,
        .unconditional_update = true,
    },
    {
        .group = "batch", .kind = "Job",
        .default_ = job_default,
        .prepare_create = job_prepare_create,
        .validate = job_validate,
        .validate_update = job_validate_update,
        .validate_status = job_validate_status,
        .begin = job_begin,
        .cells = job_cells,
        .fields = job_fields,
        .field = job_field,
        .unconditional_update = true,
        .propagation = "Orphan",
    },
    { 0 },
};
