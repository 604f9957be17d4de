/* The row of a pod: its one-word status out of phase, reasons and containers. Source: upstream printPod. */
#include "server/schema/kinds/core_pod.h"

#include "lib/k8s/meta.h"
#include "server/schema/kinds/cell.h"
#include "server/schema/kinds/set.h"

#include <stdio.h>
#include <string.h>

/* Restarts, and when the last one ended. */
struct restarts {
    int64_t n, last_us;
    const char *last;
};

struct row {
    struct arena *arena;
    const json_t *pod, *spec, *status;
    const char *reason;
    struct restarts restarts;
    int64_t ready, containers;
};

static void count_restarts(struct restarts *r, const json_t *container)
{
    const char *when = json_str_or(container, "lastState.terminated.finishedAt", "");
    int64_t us = 0;

    r->n += json_int_or(container, "restartCount", 0);
    if (*when && clock_parse(when, strlen(when), &us) == 0 && (!r->last || us > r->last_us)) {
        r->last = when;
        r->last_us = us;
    }
}

static bool is_sidecar(const json_t *spec, const char *name)
{
    size_t i;
    json_t *c;

    json_array_foreach(json_object_get(spec, "initContainers"), i, c)
        if (is_text(c, "name", name))
            return is_text(c, "restartPolicy", "Always");
    return false;
}

/* "Error", "Signal:9" or "ExitCode:1", behind a prefix. */
static const char *end_reason(struct row *r, const char *prefix, const json_t *terminated)
{
    const char *reason = json_str_or(terminated, "reason", "");
    long long signal = json_int_or(terminated, "signal", 0), code = json_int_or(terminated, "exitCode", 0);

    if (*reason)
        return arena_printf(r->arena, "%s%s", prefix, reason);
    if (signal)
        return arena_printf(r->arena, "%sSignal:%lld", prefix, signal);
    return arena_printf(r->arena, "%sExitCode:%lld", prefix, code);
}

/* Whether this init container holds the pod back; sets the reason then. */
static bool init_pending(struct row *r, const json_t *c, size_t i, bool sidecar)
{
    const json_t *terminated = json_at(c, "state.terminated");
    const char *waiting = json_str_or(c, "state.waiting.reason", "");

    if (terminated && json_int_or(terminated, "exitCode", 0) == 0)
        return false;
    if (sidecar && json_bool_or(c, "started", false)) {
        r->ready += json_bool_or(c, "ready", false);
        return false;
    }
    if (terminated)
        r->reason = end_reason(r, "Init:", terminated);
    else if (*waiting && strcmp(waiting, "PodInitializing") != 0)
        r->reason = arena_printf(r->arena, "Init:%s", waiting);
    else
        r->reason = arena_printf(r->arena, "Init:%zu/%zu", i, json_array_size(json_object_get(r->spec, "initContainers")));
    return true;
}

/* Returns whether the pod is still initializing; *sidecars are the restarts that go on counting afterwards. */
static bool init_containers(struct row *r, struct restarts *sidecars)
{
    size_t i;
    json_t *c;

    json_array_foreach(json_object_get(r->status, "initContainerStatuses"), i, c)
    {
        bool sidecar = is_sidecar(r->spec, json_str_or(c, "name", ""));

        count_restarts(&r->restarts, c);
        if (sidecar)
            count_restarts(sidecars, c);
        if (init_pending(r, c, i, sidecar))
            return true;
    }
    return false;
}

static void main_containers(struct row *r)
{
    const json_t *list = json_object_get(r->status, "containerStatuses");
    const char *failed = NULL;
    bool running = false;

    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *c = json_array_get(list, i), *terminated = json_at(c, "state.terminated");
        const char *waiting = json_str_or(c, "state.waiting.reason", "");

        count_restarts(&r->restarts, c);
        if (*waiting) {
            r->reason = waiting;
        } else if (terminated) {
            r->reason = end_reason(r, "", terminated);
            if (json_int_or(terminated, "exitCode", 0) != 0)
                failed = r->reason;
        } else if (json_bool_or(c, "ready", false) && json_at(c, "state.running")) {
            running = true;
            r->ready++;
        }
    }
    if (strcmp(r->reason, "Completed") != 0)
        return;
    if (running && condition_is(r->pod, "Ready", "True"))
        r->reason = "Running";
    else if (failed)
        r->reason = failed;
    else if (running)
        r->reason = "NotReady";
}

static void find_reason(struct row *r)
{
    const char *phase = json_str_or(r->status, "phase", "");
    const json_t *scheduled = condition_get(r->pod, "PodScheduled");
    struct restarts sidecars = { 0 };

    r->reason = json_str_or(r->status, "reason", "");
    if (!*r->reason)
        r->reason = phase;
    if (is_text(scheduled, "reason", "SchedulingGated"))
        r->reason = "SchedulingGated";
    if (!init_containers(r, &sidecars) || condition_is(r->pod, "Initialized", "True")) {
        r->restarts = sidecars;
        main_containers(r);
    }
    if (!meta_deleting(r->pod))
        return;
    if (is_text(r->status, "reason", "NodeLost"))
        r->reason = "Unknown";
    else if (strcmp(phase, "Failed") != 0 && strcmp(phase, "Succeeded") != 0)
        r->reason = "Terminating";
}

static void gates_cell(const json_t *pod, json_t *cells)
{
    const json_t *gates = json_at(pod, "spec.readinessGates");
    size_t i, met = 0;
    json_t *gate;

    if (json_array_size(gates) == 0) {
        cell_text(cells, "<none>");
        return;
    }
    json_array_foreach(gates, i, gate) met += condition_is(pod, json_str_or(gate, "conditionType", ""), "True");
    cell_format(cells, "%zu/%zu", met, json_array_size(gates));
}

void pod_cells(struct ctx *ctx, const json_t *pod, json_t *cells)
{
    struct row r = {
        .arena = ctx->arena, .pod = pod, .spec = json_object_get(pod, "spec"), .status = json_object_get(pod, "status"),
    };
    char age[CELL_AGE_BYTES];
    size_t i;
    json_t *c;

    r.containers = (int64_t)json_array_size(json_object_get(r.spec, "containers"));
    json_array_foreach(json_object_get(r.spec, "initContainers"), i, c) r.containers += is_text(c, "restartPolicy", "Always");
    find_reason(&r);
    cell_format(cells, "%lld/%lld", (long long)r.ready, (long long)r.containers);
    cell_text(cells, r.reason);
    if (r.restarts.n && r.restarts.last)
        cell_format(cells, "%lld (%s ago)", (long long)r.restarts.n, cell_since_text(ctx, r.restarts.last, age));
    else
        cell_format(cells, "%lld", (long long)r.restarts.n);
    cell_age(ctx, cells, pod);
    cell_path(cells, json_array_get(json_object_get(r.status, "podIPs"), 0), "ip", "<none>");
    cell_path(cells, r.spec, "nodeName", "<none>");
    cell_path(cells, r.status, "nominatedNodeName", "<none>");
    gates_cell(pod, cells);
}

void pod_template_cells(struct ctx *ctx, const json_t *template, json_t *cells)
{
    cell_containers(cells, json_at(template, "template.spec.containers"));
    cell_labels(ctx, cells, json_at(template, "template.metadata.labels"));
}
