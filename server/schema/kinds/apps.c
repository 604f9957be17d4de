/* Deployments, ReplicaSets, StatefulSets, DaemonSets, ControllerRevisions: defaults, preparation, rows; checks in apps_check.c.
 * Source: upstream pkg/apis/apps/v1/defaults.go, pkg/registry/apps. */
#include "server/schema/kinds/apps.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/check.h"
#include "server/schema/kinds/kinds.h"
#include "server/schema/kinds/pod_spec.h"
#include "server/schema/kinds/set.h"
#include "server/schema/kinds/volume_claim.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- defaults --- */

static void set_amount(json_t *o, const char *key, json_t *value)
{
    if (json_object_get(o, key))
        json_decref(value);
    else
        json_object_set_new(o, key, value);
}

static void deployment_default(json_t *deployment)
{
    json_t *spec = json_object_get(deployment, "spec"), *strategy = set_object(spec, "strategy");

    if (!strategy)
        return;
    set_int(spec, "replicas", 1);
    set_text(strategy, "type", "RollingUpdate");
    if (is_text(strategy, "type", "RollingUpdate")) {
        json_t *rolling = set_object(strategy, "rollingUpdate");

        set_amount(rolling, "maxUnavailable", json_string("25%"));
        set_amount(rolling, "maxSurge", json_string("25%"));
    }
    set_int(spec, "revisionHistoryLimit", 10);
    set_int(spec, "progressDeadlineSeconds", 600);
    pod_spec_default(json_at(spec, "template.spec"));
}

static void daemon_set_default(json_t *set)
{
    json_t *spec = json_object_get(set, "spec"), *strategy = set_object(spec, "updateStrategy");

    if (!strategy)
        return;
    set_text(strategy, "type", "RollingUpdate");
    if (is_text(strategy, "type", "RollingUpdate")) {
        json_t *rolling = set_object(strategy, "rollingUpdate");

        set_amount(rolling, "maxUnavailable", json_integer(1));
        set_amount(rolling, "maxSurge", json_integer(0));
    }
    set_int(spec, "revisionHistoryLimit", 10);
    pod_spec_default(json_at(spec, "template.spec"));
}

static void stateful_set_default(json_t *set)
{
    json_t *spec = json_object_get(set, "spec"), *strategy = set_object(spec, "updateStrategy"), *claim = NULL;
    size_t i;

    if (!strategy)
        return;
    set_text(spec, "podManagementPolicy", "OrderedReady");
    if (!*json_str_or(strategy, "type", "")) {
        set_text(strategy, "type", "RollingUpdate");
        set_object(strategy, "rollingUpdate");
    }
    json_t *rolling = json_object_get(strategy, "rollingUpdate");
    if (is_text(strategy, "type", "RollingUpdate") && json_is_object(rolling)) {
        set_int(rolling, "partition", 0);
        set_amount(rolling, "maxUnavailable", json_integer(1));
    }
    json_t *retention = set_object(spec, "persistentVolumeClaimRetentionPolicy");
    set_text(retention, "whenDeleted", "Retain");
    set_text(retention, "whenScaled", "Retain");
    set_int(spec, "replicas", 1);
    set_int(spec, "revisionHistoryLimit", 10);
    pod_spec_default(json_at(spec, "template.spec"));
    json_array_foreach(json_object_get(spec, "volumeClaimTemplates"), i, claim)
    {
        set_text(claim, "kind", "PersistentVolumeClaim");
        set_text(claim, "apiVersion", "v1");
        volume_claim_default(claim);
    }
}

static void replica_set_default(json_t *set)
{
    json_t *spec = json_object_get(set, "spec");

    if (!json_is_object(spec))
        return;
    set_int(spec, "replicas", 1);
    pod_spec_default(json_at(spec, "template.spec"));
}

/* --- preparation --- */

/* A deployment's annotations count as its spec does: they hold what the last rollout wanted. */
static void deployment_prepare_update(struct ctx *ctx, json_t *deployment, const json_t *old)
{
    (void)ctx;
    if (!same_member(deployment, old, "metadata.annotations"))
        json_put(deployment, "metadata.generation", json_integer(meta_generation(old) + 1));
}

static const char template_generation[] = "deprecated.daemonset.template.generation";

static void daemon_set_prepare_create(struct ctx *ctx, json_t *set)
{
    (void)ctx;
    meta_set_annotation(set, template_generation, "1");
}

static void daemon_set_prepare_update(struct ctx *ctx, json_t *set, const json_t *old)
{
    const char *was = meta_annotation(old, template_generation);
    long long n = was ? strtoll(was, NULL, 10) : 0;

    n += !same_member(set, old, "spec.template");
    meta_set_annotation(set, template_generation, arena_printf(ctx->arena, "%lld", n));
}

/* --- rows --- */

static void containers_of(const json_t *object, json_t *cells)
{
    cell_containers(cells, json_at(object, "spec.template.spec.containers"));
}

static void ready_cell(const json_t *object, json_t *cells)
{
    cell_format(cells, "%lld/%lld", (long long)json_int_or(object, "status.readyReplicas", 0),
                (long long)json_int_or(object, "spec.replicas", 0));
}

static void deployment_cells(struct ctx *ctx, const json_t *deployment, json_t *cells)
{
    ready_cell(deployment, cells);
    cell_int(cells, json_int_or(deployment, "status.updatedReplicas", 0));
    cell_int(cells, json_int_or(deployment, "status.availableReplicas", 0));
    cell_age(ctx, cells, deployment);
    containers_of(deployment, cells);
    cell_selector(ctx, cells, json_at(deployment, "spec.selector"), "");
}

static void replica_set_cells(struct ctx *ctx, const json_t *set, json_t *cells)
{
    cell_int(cells, json_int_or(set, "spec.replicas", 0));
    cell_int(cells, json_int_or(set, "status.replicas", 0));
    cell_int(cells, json_int_or(set, "status.readyReplicas", 0));
    cell_age(ctx, cells, set);
    containers_of(set, cells);
    cell_selector(ctx, cells, json_at(set, "spec.selector"), "<none>");
}

static void stateful_set_cells(struct ctx *ctx, const json_t *set, json_t *cells)
{
    ready_cell(set, cells);
    cell_age(ctx, cells, set);
    containers_of(set, cells);
}

static void daemon_set_cells(struct ctx *ctx, const json_t *set, json_t *cells)
{
    static const char *const counts[] = { "desiredNumberScheduled", "currentNumberScheduled", "numberReady",
                                          "updatedNumberScheduled", "numberAvailable" };
    const json_t *status = json_object_get(set, "status");

    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        cell_int(cells, json_int_or(status, counts[i], 0));
    cell_labels(ctx, cells, json_at(set, "spec.template.spec.nodeSelector"));
    cell_age(ctx, cells, set);
    containers_of(set, cells);
    cell_selector(ctx, cells, json_at(set, "spec.selector"), "<none>");
}

static void revision_cells(struct ctx *ctx, const json_t *revision, json_t *cells)
{
    const json_t *owner = meta_controller(revision);

    if (!owner) {
        cell_text(cells, "<none>");
    } else {
        const char *version = json_str_or(owner, "apiVersion", ""), *slash = strchr(version, '/');
        char *kind = arena_printf(ctx->arena, "%s%s%.*s", json_str_or(owner, "kind", ""), slash ? "." : "",
                                  slash ? (int)(slash - version) : 0, version);

        for (char *c = kind; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        cell_text(cells, arena_printf(ctx->arena, "%s/%s", kind, json_str_or(owner, "name", "")));
    }
    cell_int(cells, json_int_or(revision, "revision", 0));
    cell_age(ctx, cells, revision);
}

static const char *const replica_set_fields[] = { "status.replicas", NULL };

static const char *replicas_field(struct ctx *ctx, const json_t *set, const char *name)
{
    (void)name;
    return arena_printf(ctx->arena, "%lld", (long long)json_int_or(set, "status.replicas", 0));
}

const struct kind_ops kinds_apps[] = {
    {
        .group = "apps", .kind = "ControllerRevision",
        .validate = revision_validate,
        .validate_update = revision_validate_update,
        .cells = revision_cells,
        .unconditional_update = true,
        .no_generation = true,
    },
    {
        .group = "apps", .kind = "DaemonSet",
        .default_ = daemon_set_default,
        .prepare_create = daemon_set_prepare_create,
        .prepare_update = daemon_set_prepare_update,
        .validate = daemon_set_validate,
        .validate_update = workload_validate_update,
        .validate_status = daemon_set_validate_status,
        .cells = daemon_set_cells,
        .unconditional_update = true,
    },
    {
        .group = "apps", .kind = "Deployment",
        .default_ = deployment_default,
        .prepare_update = deployment_prepare_update,
        .validate = deployment_validate,
        .validate_update = workload_validate_update,
        .validate_status = deployment_validate_status,
        .cells = deployment_cells,
        .unconditional_update = true,
    },
    {
        .group = "apps", .kind = "ReplicaSet",
        .default_ = replica_set_default,
        .validate = replica_set_validate,
        .validate_update = workload_validate_update,
        .validate_status = replica_set_validate_status,
        .cells = replica_set_cells,
        .fields = replica_set_fields,
        .field = replicas_field,
        .unconditional_update = true,
    },
    {
        .group = "apps", .kind = "StatefulSet",
        .default_ = stateful_set_default,
        .validate = stateful_set_validate,
        .validate_update = stateful_set_validate_update,
        .validate_status = stateful_set_validate_status,
        .cells = stateful_set_cells,
        .name_invalid = name_is_dns_label,
        .unconditional_update = true,
    },
    { 0 },
};
