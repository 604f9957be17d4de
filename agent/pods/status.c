#include "agent/pods/status.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/pod_resources.h"

#include <string.h>

static const char *const condition_types[CONDITIONS] = { "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled" };

void status_remember(struct status_memory *m, const json_t *pod)
{
    for (size_t i = 0; i < CONDITIONS; i++) {
        const json_t *c = condition_get(pod, condition_types[i]);
        const char *since = json_str(c, "lastTransitionTime");
        int64_t us = 0;

        m->at[i].since_s = since && clock_parse(since, strlen(since), &us) == 0 ? us / 1000000 : 0;
        m->at[i].on = c && strcmp(json_str_or(c, "status", ""), "True") == 0;
    }
}

static void put_time(json_t *o, const char *name, int64_t us)
{
    char text[CLOCK_TEXT_BYTES];

    if (us > 0)
        json_object_set_new(o, name, json_string(clock_time_text(us / 1000000, text)));
    else
        json_object_set_new(o, name, json_null());
}

static void put_text(json_t *o, const char *name, const char *text)
{
    if (text && *text)
        json_object_set_new(o, name, json_text(slice_of(text)));
}

/* --- containers --- */

static const char *exit_reason(const struct status_run *r)
{
    if (r->reason)
        return r->reason;
    if (r->gone)
        return "Unknown";
    if (r->oom_killed)
        return "OOMKilled";
    return r->exit_code == 0 ? "Completed" : "Error";
}

static json_t *terminated(const struct status_run *r)
{
    json_t *state = json_object(), *t = json_object();

    json_object_set_new(t, "exitCode", json_integer(r->exit_code));
    json_object_set_new(t, "reason", json_string(exit_reason(r)));
    put_text(t, "message", r->message);
    put_time(t, "startedAt", r->started_us);
    put_time(t, "finishedAt", r->finished_us);
    json_object_set_new(t, "containerID", json_strf("rancherd://%s", r->id));
    json_object_set_new(state, "terminated", t);
    return state;
}

static json_t *waiting(const char *reason, const char *message)
{
    json_t *state = json_object(), *w = json_object();

    json_object_set_new(w, "reason", json_string(reason));
    put_text(w, "message", message);
    json_object_set_new(state, "waiting", w);
    return state;
}

static json_t *running(const struct status_run *r)
{
    json_t *state = json_object(), *t = json_object();

    put_time(t, "startedAt", r->started_us);
    json_object_set_new(state, "running", t);
    return state;
}

static void put_state(json_t *s, const struct status_in *in, const struct status_unit *u)
{
    bool has_init = json_array_size(json_at(in->pod, "spec.initContainers")) > 0;
    const char *usual = has_init ? "PodInitializing" : "ContainerCreating";
    const struct status_run *last = u->before;

    if (u->now && u->now->seen == SEEN_RUNNING) {
        json_object_set_new(s, "state", running(u->now));
    } else if (u->now && !(u->restart && u->wait_reason && !in->finished && !in->ending)) {
        json_object_set_new(s, "state", terminated(u->now));
    } else {
        json_object_set_new(s, "state", waiting(u->wait_reason ? u->wait_reason : usual, u->wait_message));
        last = u->now;
    }
    json_object_set_new(s, "lastState", last ? terminated(last) : json_object());
}

static void put_mounts(json_t *s, const json_t *spec)
{
    json_t *list = json_array(), *m = NULL;
    size_t i = 0;

    json_array_foreach(json_object_get(spec, "volumeMounts"), i, m)
    {
        json_t *to = json_object();
        bool ro = json_bool_or(m, "readOnly", false);
        const char *recursive = json_str_or(m, "recursiveReadOnly", "Disabled");

        json_object_set_new(to, "name", json_string(json_str_or(m, "name", "")));
        json_object_set_new(to, "mountPath", json_string(json_str_or(m, "mountPath", "")));
        if (ro) {
            json_object_set_new(to, "readOnly", json_true());
            json_object_set_new(to, "recursiveReadOnly", json_string(strcmp(recursive, "Disabled") == 0 ? "Disabled" : "Enabled"));
        }
        json_array_append_new(list, to);
    }
    if (json_array_size(list) > 0)
        json_object_set(s, "volumeMounts", list);
    json_decref(list);
}

static void put_resources(json_t *s, const json_t *spec)
{
    const json_t *r = json_object_get(spec, "resources"), *requests = json_object_get(r, "requests");

    if (json_object_size(requests) > 0)
        json_object_set_new(s, "allocatedResources", json_deep_copy(requests));
    json_object_set_new(s, "resources", r ? json_deep_copy(r) : json_object());
}

static json_t *container_status(const struct status_in *in, const struct status_unit *u)
{
    json_t *s = json_object();
    const struct status_run *now = u->now;
    bool runs = now && now->seen == SEEN_RUNNING;
    bool ready = runs ? u->ready : u->kind == UNIT_INIT && now && now->exit_code == 0;

    json_object_set_new(s, "name", json_string(u->name));
    put_state(s, in, u);
    json_object_set_new(s, "ready", json_boolean(ready));
    json_object_set_new(s, "restartCount", json_integer(u->restart_count));
    json_object_set_new(s, "image", json_string(u->image_name ? u->image_name : json_str_or(u->spec, "image", "")));
    json_object_set_new(s, "imageID", json_string(u->image_ref ? u->image_ref : ""));
    if (now && (runs || u->image_ref))
        json_object_set_new(s, "containerID", json_strf("rancherd://%s", now->id));
    json_object_set_new(s, "started", json_boolean(runs && u->started));
    if (u->kind != UNIT_EPHEMERAL)
        put_resources(s, u->spec);
    put_mounts(s, u->spec);
    return s;
}

static void put_containers(json_t *status, const struct status_in *in)
{
    static const char *const lists[] = { [UNIT_INIT] = "initContainerStatuses", [UNIT_SIDECAR] = "initContainerStatuses",
                                         [UNIT_MAIN] = "containerStatuses", [UNIT_EPHEMERAL] = "ephemeralContainerStatuses" };

    for (size_t i = 0; i < in->n_units; i++) {
        const struct status_unit *u = &in->units[i];
        json_t *list = json_object_get(status, lists[u->kind]);

        if (!list) {
            list = json_array();
            json_object_set_new(status, lists[u->kind], list);
        }
        json_array_append_new(list, container_status(in, u));
    }
}

/* --- conditions --- */

static void put_condition(const struct status_in *in, json_t *list, enum status_condition type, bool on, const char *reason, const char *message,
                          struct status_memory *memory)
{
    json_t *c = json_object();
    int64_t now_s = in->now_us / 1000000;
    char text[CLOCK_TEXT_BYTES];

    if (memory->at[type].since_s == 0 || memory->at[type].on != on) {
        memory->at[type].since_s = now_s;
        memory->at[type].on = on;
    }
    json_object_set_new(c, "type", json_string(condition_types[type]));
    if (meta_generation(in->pod))
        json_object_set_new(c, "observedGeneration", json_integer(meta_generation(in->pod)));
    json_object_set_new(c, "status", json_string(on ? "True" : "False"));
    json_object_set_new(c, "lastProbeTime", json_null());
    json_object_set_new(c, "lastTransitionTime", json_string(clock_time_text(memory->at[type].since_s, text)));
    put_text(c, "reason", reason);
    put_text(c, "message", message);
    json_array_append_new(list, c);
}

/* "containers with unready status: [a b]" of those that `bad` names; false when there are none. */
static bool list_names(const struct status_in *in, bool (*bad)(const struct status_unit *u), const char *words, struct buf *to)
{
    bool any = false;

    for (size_t i = 0; i < in->n_units; i++)
        if (bad(&in->units[i])) {
            buf_printf(to, any ? " %s" : "%s: [%s", any ? in->units[i].name : words, in->units[i].name);
            any = true;
        }
    if (any)
        buf_char(to, ']');
    return any;
}

static bool not_ready(const struct status_unit *u)
{
    return (u->kind == UNIT_MAIN || u->kind == UNIT_SIDECAR) && !(u->now && u->now->seen == SEEN_RUNNING && u->ready);
}

static bool not_complete(const struct status_unit *u)
{
    if (u->kind == UNIT_SIDECAR)
        return !(u->now && u->now->seen == SEEN_RUNNING && u->started);
    return u->kind == UNIT_INIT && !(u->now && u->now->seen == SEEN_EXITED && u->now->exit_code == 0);
}

static bool any_main_started(const struct status_in *in)
{
    for (size_t i = 0; i < in->n_units; i++)
        if (in->units[i].kind == UNIT_MAIN && in->units[i].now)
            return true;
    return false;
}

static bool gates_open(const struct status_in *in, struct buf *why)
{
    size_t i = 0;
    json_t *gate = NULL;
    bool open = true;

    json_array_foreach(json_at(in->pod, "spec.readinessGates"), i, gate)
    {
        const char *type = json_str_or(gate, "conditionType", "");
        const json_t *c = condition_get(in->pod, type);

        if (c && strcmp(json_str_or(c, "status", ""), "True") == 0)
            continue;
        buf_str(why, open ? "" : ", ");
        if (c)
            buf_printf(why, "the status of pod readiness gate \"%s\" is not \"True\", but %s", type, json_str_or(c, "status", ""));
        else
            buf_printf(why, "corresponding condition of pod readiness gate \"%s\" does not exist.", type);
        open = false;
    }
    return open;
}

static void put_ready(const struct status_in *in, json_t *list, const char *phase, struct status_memory *memory)
{
    AUTO(buf) struct buf why = { 0 };
    bool all = !list_names(in, not_ready, "containers with unready status", &why);
    const char *reason = all ? NULL : "ContainersNotReady", *message = buf_at(&why);

    if (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0) {
        all = false;
        message = NULL;
        reason = *phase == 'S' ? "PodCompleted" : "PodFailed";
    }
    AUTO(buf) struct buf gate = { 0 };
    bool open = !all || gates_open(in, &gate);
    put_condition(in, list, COND_READY, all && open, open ? reason : "ReadinessGatesNotReady", open ? message : buf_at(&gate), memory);
    put_condition(in, list, COND_CONTAINERS_READY, all, reason, message, memory);
}

static void put_conditions(json_t *status, const struct status_in *in, const char *phase, struct status_memory *memory)
{
    AUTO(buf) struct buf why = { 0 };
    json_t *list = json_array();
    bool complete = !list_names(in, not_complete, "containers with incomplete status", &why);
    bool done = strcmp(phase, "Succeeded") == 0;

    json_object_set_new(status, "conditions", list);
    put_condition(in, list, COND_READY_TO_START, in->sandbox, NULL, NULL, memory);
    if (complete || done || any_main_started(in))
        put_condition(in, list, COND_INITIALIZED, true, done ? "PodCompleted" : NULL, NULL, memory);
    else
        put_condition(in, list, COND_INITIALIZED, false, "ContainersNotInitialized", buf_at(&why), memory);
    put_ready(in, list, phase, memory);
    put_condition(in, list, COND_SCHEDULED, true, NULL, NULL, memory);
}

/* --- the pod --- */

static const char *final_phase(const struct status_in *in)
{
    bool good = true;

    for (size_t i = 0; i < in->n_units; i++) {
        const struct status_unit *u = &in->units[i];

        if (u->kind == UNIT_MAIN && !(u->now && u->now->exit_code == 0))
            good = false;
        if (u->kind == UNIT_INIT && u->now && u->now->exit_code != 0)
            good = false;
    }
    return good ? "Succeeded" : "Failed";
}

static const char *phase_of(const struct status_in *in)
{
    bool waits = false;

    if (in->fail_reason)
        return "Failed";
    if (in->finished)
        return final_phase(in);
    for (size_t i = 0; i < in->n_units; i++) {
        const struct status_unit *u = &in->units[i];

        if (u->kind == UNIT_MAIN && !u->now)
            waits = true;
    }
    return waits || in->n_units == 0 ? "Pending" : "Running";
}

static json_t *ip_list(const char *const *ips)
{
    json_t *list = json_array();

    for (size_t i = 0; ips[i] && *ips[i]; i++) {
        json_t *ip = json_object();

        json_object_set_new(ip, "ip", json_string(ips[i]));
        json_array_append_new(list, ip);
    }
    return list;
}

json_t *status_build(const struct status_in *in, struct status_memory *memory)
{
    json_t *status = json_object();
    const char *phase = phase_of(in);
    const char *pod_ips[] = { in->pod_ip, NULL };

    if (meta_generation(in->pod))
        json_object_set_new(status, "observedGeneration", json_integer(meta_generation(in->pod)));
    json_object_set_new(status, "phase", json_string(phase));
    put_conditions(status, in, phase, memory);
    put_text(status, "reason", in->fail_reason);
    put_text(status, "message", in->fail_message);
    if (in->host_ips && in->host_ips[0]) {
        json_object_set_new(status, "hostIP", json_string(in->host_ips[0]));
        json_object_set_new(status, "hostIPs", ip_list(in->host_ips));
    }
    if (in->pod_ip && *in->pod_ip) {
        json_object_set_new(status, "podIP", json_string(in->pod_ip));
        json_object_set_new(status, "podIPs", ip_list(pod_ips));
    }
    put_time(status, "startTime", in->start_us);
    put_containers(status, in);
    json_object_set_new(status, "qosClass", json_string(pod_qos(in->pod)));
    return status;
}

/* Addresses are merged by key: those that are gone must be named. */
static void drop_old_ips(const json_t *old, json_t *status, const char *name)
{
    json_t *now = json_object_get(status, name), *ip = NULL, *other = NULL;
    size_t i = 0, k = 0;

    json_array_foreach(json_object_get(old, name), i, ip)
    {
        bool kept = false;

        json_array_foreach(now, k, other)
            kept = kept || json_equal(ip, other);
        if (kept || !now)
            continue;
        json_t *drop = json_object();
        json_object_set_new(drop, "$patch", json_string("delete"));
        json_object_set(drop, "ip", json_object_get(ip, "ip"));
        json_array_append_new(now, drop);
    }
}

json_t *status_patch(const json_t *pod, const json_t *status)
{
    static const char *const fades[] = { "reason", "message", "nominatedNodeName" };
    json_t *patch = json_object(), *meta = json_object(), *s = json_deep_copy(status);
    const json_t *old = json_object_get(pod, "status");

    json_object_set_new(meta, "uid", json_string(meta_uid(pod)));
    json_object_set_new(patch, "metadata", meta);
    for (size_t i = 0; i < ARRAY_LEN(fades); i++)
        if (json_object_get(old, fades[i]) && !json_object_get(s, fades[i]))
            json_object_set_new(s, fades[i], json_null());
    drop_old_ips(old, s, "hostIPs");
    drop_old_ips(old, s, "podIPs");
    /* A reason that faded from a condition is told as such. */
    size_t i = 0;
    json_t *c = NULL;
    json_array_foreach(json_object_get(s, "conditions"), i, c)
    {
        const json_t *was = condition_get(pod, json_str_or(c, "type", ""));

        for (size_t k = 0; k < 2; k++)
            if (json_object_get(was, fades[k]) && !json_object_get(c, fades[k]))
                json_object_set_new(c, fades[k], json_null());
    }
    json_object_set_new(patch, "status", s);
    return patch;
}
