/* observe - what runs of one pod, joined with what is remembered of its containers. */
#include "agent/pods/pods_int.h"

#include "lib/crypto.h"

#include <stdio.h>
#include <string.h>

static size_t count_units(const json_t *pod)
{
    size_t n = json_array_size(json_at(pod, "spec.initContainers")) + json_array_size(json_at(pod, "spec.containers")) +
               json_array_size(json_at(pod, "spec.ephemeralContainers"));
    return n < UNITS_MAX ? n : UNITS_MAX;
}

static void add_units(struct unit *units, size_t *n, const json_t *list, bool init, enum unit_kind kind)
{
    size_t i = 0;
    json_t *c = NULL;

    json_array_foreach((json_t *)list, i, c)
    {
        if (*n == UNITS_MAX)
            return;
        struct unit *u = &units[(*n)++];
        u->name = mem_strdup(json_str_or(c, "name", ""));
        u->kind = init && strcmp(json_str_or(c, "restartPolicy", ""), "Always") == 0 ? UNIT_SIDECAR : kind;
        u->has_startup = json_object_get(c, "startupProbe") != NULL;
        u->has_readiness = json_object_get(c, "readinessProbe") != NULL;
        u->failed_attempt = -1;
    }
}

/* What stood in the API when this agent started: running containers stay started and ready until a probe says otherwise. */
static void recall(const json_t *status, struct unit *u)
{
    const char *id = json_str_or(status, "containerID", "");
    const char *ref = json_str(status, "imageID"), *name = json_str(status, "image");

    if (strncmp(id, "rancherd://", 11) != 0 || strlen(id) != 11 + 64 || !json_at(status, "state.running"))
        return;
    (void)snprintf(u->id, sizeof(u->id), "%s", id + 11);
    u->startup_ok = json_bool_or(status, "started", false);
    u->ready = json_bool_or(status, "ready", false);
    u->post_start_done = true;
    u->image_ref = mem_strdup(ref);
    u->image_name = mem_strdup(name);
}

static const char *const status_lists[] = { "status.initContainerStatuses", "status.containerStatuses", "status.ephemeralContainerStatuses" };

static const json_t *old_status(const json_t *pod, const char *name)
{
    for (size_t l = 0; l < ARRAY_LEN(status_lists); l++) {
        size_t i = 0;
        json_t *s = NULL;

        json_array_foreach(json_at(pod, status_lists[l]), i, s)
            if (strcmp(json_str_or(s, "name", ""), name) == 0)
                return s;
    }
    return NULL;
}

static void make_units(struct view *v)
{
    struct pod *pod = v->pod;
    size_t n = 0, was = pod->n_units;
    struct unit *units = mem_zalloc((count_units(v->tree) + 1) * sizeof(*units));

    add_units(units, &n, json_at(v->tree, "spec.initContainers"), true, UNIT_INIT);
    add_units(units, &n, json_at(v->tree, "spec.containers"), false, UNIT_MAIN);
    add_units(units, &n, json_at(v->tree, "spec.ephemeralContainers"), false, UNIT_EPHEMERAL);
    /* Only ephemeral containers come later, at the end: the others keep their place. */
    for (size_t i = 0; i < n; i++)
        if (i < was) {
            free(units[i].name);
            units[i] = pod->units[i];
        } else {
            const json_t *s = old_status(v->tree, units[i].name);

            if (s)
                recall(s, &units[i]);
        }
    free(pod->units);
    pod->units = units;
    pod->n_units = n;
}

static bool terminal_phase(const json_t *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "");

    return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

void pod_load(struct view *v)
{
    struct pod *pod = v->pod;
    struct sandbox sb = { 0 };
    struct err none;
    int64_t since = 0;
    const char *start = json_str(v->tree, "status.startTime");
    bool there = runtime_sandbox(v->all->o.runtime, pod->uid, &sb, &none) == 0;

    LOCK_SCOPE(&v->all->lock);

    make_units(v);
    status_remember(&pod->memory, v->tree);
    if (start && clock_parse(start, strlen(start), &since) == 0)
        pod->start_us = since;
    else
        pod->start_us = clock_wall_us(v->all->o.clock);
    if (terminal_phase(v->tree)) {
        pod->frozen = !there; /* its final status stands; only cleaning is left */
        pod->reported = !there;
    }
    if (there) {
        pod->admitted = true;
        if (strcmp(json_str_or(v->tree, "status.phase", ""), "Failed") == 0 && json_str(v->tree, "status.reason"))
            pod_fail(pod, json_str(v->tree, "status.reason"), json_str_or(v->tree, "status.message", ""));
    }
    pod->loaded = true;
}

/* Whether an ended container is wanted back. Source: restartPolicy of pod and container, restartPolicyRules. */
static bool rule_matches(const json_t *rule, int exit_code)
{
    const char *op = json_str_or(rule, "exitCodes.operator", "");
    size_t i = 0;
    json_t *n = NULL;
    bool in = false;

    if (strcmp(json_str_or(rule, "action", ""), "Restart") != 0)
        return false;
    json_array_foreach(json_at(rule, "exitCodes.values"), i, n)
        in = in || json_integer_value(n) == exit_code;
    return strcmp(op, "In") == 0 ? in : strcmp(op, "NotIn") == 0 && !in;
}

static bool wants_restart(const json_t *pod, const json_t *c, enum unit_kind kind, int exit_code)
{
    const char *policy = json_str_or(pod, "spec.restartPolicy", "Always");
    const char *own = json_str(c, "restartPolicy");
    size_t i = 0;
    json_t *rule = NULL;

    if (kind == UNIT_EPHEMERAL)
        return false;
    if (kind == UNIT_SIDECAR)
        return true;
    json_array_foreach(json_object_get(c, "restartPolicyRules"), i, rule)
        if (rule_matches(rule, exit_code))
            return true;
    if (own)
        policy = own;
    if (strcmp(policy, "Never") == 0)
        return false;
    return exit_code != 0 || (strcmp(policy, "Always") == 0 && kind == UNIT_MAIN);
}

static void run_of(struct view *v, const struct container *c, struct status_run *ret)
{
    *ret = (struct status_run){ .seen = c->state == CONTAINER_EXITED ? SEEN_EXITED : SEEN_RUNNING,
                                .exit_code = c->exit_code, .signal = c->signal, .oom_killed = c->oom_killed, .gone = c->gone,
                                .started_us = c->started_us, .finished_us = c->finished_us };
    (void)snprintf(ret->id, sizeof(ret->id), "%s", c->id);
    (void)v;
}

/* The latest attempt and the one before it. */
static void find_runs(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];
    struct arena *a = v->ctx->arena;
    const struct container *now = NULL, *before = NULL;

    for (size_t k = 0; k < v->n_containers; k++) {
        const struct container *c = &v->containers[k];

        if (strcmp(c->name, u->name) != 0)
            continue;
        if (!now || c->attempt > now->attempt) {
            before = now;
            now = c;
        } else if (!before || c->attempt > before->attempt) {
            before = c;
        }
    }
    v->attempt[i] = now ? now->attempt : -1;
    if (now)
        run_of(v, now, v->now[i] = arena_alloc(a, sizeof(struct status_run)));
    if (before)
        run_of(v, before, v->before[i] = arena_alloc(a, sizeof(struct status_run)));
    if (u->failed && u->failed_attempt > v->attempt[i]) {
        v->before[i] = v->now[i];
        v->now[i] = u->failed;
        v->attempt[i] = u->failed_attempt;
    } else if (u->failed && !v->before[i]) {
        v->before[i] = u->failed;
    }
}

/* Looked at once for each exit: how long to wait before it runs again. lock held. */
static bool charge_crash(struct view *v, struct unit *u, const struct status_run *run)
{
    /* what never started ran for no time */
    int64_t now_us = clock_wall_us(v->all->o.clock), ran_us = run->started_us ? run->finished_us - run->started_us : 0;

    if (strcmp(u->crash_id, run->id) == 0)
        return false;
    (void)snprintf(u->crash_id, sizeof(u->crash_id), "%s", run->id);
    u->image = IMAGE_UNKNOWN;
    u->stop = STOP_NO;
    u->id[0] = 0;
    u->startup_ok = u->ready = u->unhealthy = u->hook_done = false;
    u->hook_due_ms = 0;
    memset(u->probes, 0, sizeof(u->probes));
    free(u->stop_message);
    u->stop_message = NULL;
    if (ran_us > CRASH_RESET_US)
        u->crash_ms = 0;
    int64_t left = u->crash_ms - (now_us - run->finished_us) / 1000;
    u->retry_at_ms = left > 0 ? v->in.now_ms + left : 0;
    return left > 0;
}

static void note_crash(struct view *v, struct unit *u)
{
    struct pod *pod = v->pod;
    AUTO_FREE char *text = NULL;
    int64_t s = u->crash_ms / 1000;

    text = s >= 60 && s % 60 == 0 ? mem_printf("back-off %lldm0s restarting failed container=%s pod=%s_%s(%s)", (long long)(s / 60), u->name,
                                               pod->name, pod->ns, pod->uid)
           : s >= 60              ? mem_printf("back-off %lldm%llds restarting failed container=%s pod=%s_%s(%s)", (long long)(s / 60),
                                               (long long)(s % 60), u->name, pod->name, pod->ns, pod->uid)
                                  : mem_printf("back-off %llds restarting failed container=%s pod=%s_%s(%s)", (long long)s, u->name, pod->name,
                                               pod->ns, pod->uid);
    unit_wait(u, "CrashLoopBackOff", text);
    pod_tell(v, u, "Warning", "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)", u->name, pod->name, pod->ns, pod->uid);
}

static void look_at(struct view *v, int64_t at_ms)
{
    if (at_ms < v->in.look_at_ms)
        v->in.look_at_ms = at_ms;
}

/* What time alone brings about. lock held */
static void observe_waits(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];
    int64_t now = v->in.now_ms;

    if (u->hook_due_ms && u->hook_due_ms <= now) {
        u->hook_due_ms = 0;
        u->hook_done = u->post_start_done = true;
    }
    if (u->stop == STOP_HOOK && u->hook_done)
        u->stop = STOP_HOOK_DONE;
    if (u->stop == STOP_HOOK || u->stop == STOP_TERM) /* a second deletion may shorten it */
        u->stop_by_ms = u->stop_began_ms + stop_grace_ms(v, u);
    if (u->back_off_at_ms && u->wait_reason && strcmp(u->wait_reason, "ErrImagePull") == 0) {
        if (u->back_off_at_ms <= now)
            pulls_back_off(v, i);
        else
            look_at(v, u->back_off_at_ms);
    }
}

/* lock held */
static void observe_unit(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];
    struct plan_unit *pu = &v->units[i];
    const struct status_run *run = NULL;

    find_runs(v, i);
    run = v->now[i];
    const json_t *spec = unit_spec(v->tree, u);
    *pu = (struct plan_unit){ .kind = u->kind, .seen = run ? run->seen : SEEN_NONE,
                              .has_hook = json_at(spec, "lifecycle.preStop") != NULL };
    if (run && run->seen == SEEN_EXITED) {
        pu->ok = run->exit_code == 0;
        pu->restart = wants_restart(v->tree, spec, u->kind, run->exit_code);
        pu->stale = v->pod->sandbox_us && run->started_us < v->pod->sandbox_us;
        if (charge_crash(v, u, run) && pu->restart && !v->in.ending)
            note_crash(v, u);
    } else if (run) {
        if (strcmp(u->id, run->id) != 0) { /* of an earlier life, and unknown to the API */
            (void)snprintf(u->id, sizeof(u->id), "%s", run->id);
            u->post_start_done = true;
        }
        pu->started = u->post_start_done && (!u->has_startup || u->startup_ok);
        pu->unhealthy = u->unhealthy;
    }
    observe_waits(v, i);
    pu->image = u->image;
    pu->stop = u->stop;
    pu->stop_by_ms = u->stop_by_ms;
    pu->retry_at_ms = u->retry_at_ms;
    if (u->note_reason) {
        pod_tell(v, u, u->note_warning ? "Warning" : "Normal", u->note_reason, "%s", u->note ? u->note : "");
        u->note_reason = NULL;
    }
}

static void observe_sandbox(struct view *v)
{
    struct pod *pod = v->pod;
    struct sandbox sb = { 0 };
    struct err none;
    bool there = runtime_sandbox(v->all->o.runtime, pod->uid, &sb, &none) == 0 && sb.running;

    if (pod->sandbox && !there) {
        pod->network = false;
        pod_tell(v, NULL, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    }
    pod->sandbox = there;
}

/* activeDeadlineSeconds. Returns when it is due; INT64_MAX: never. */
static int64_t deadline_ms(struct view *v)
{
    struct pod *pod = v->pod;
    int64_t s = json_int_or(v->tree, "spec.activeDeadlineSeconds", 0);
    int64_t left = s * 1000 - (clock_wall_us(v->all->o.clock) - pod->start_us) / 1000;

    if (s <= 0 || pod->fail_reason || pod->frozen)
        return INT64_MAX;
    if (left > 0)
        return v->in.now_ms + left;
    pod_fail(pod, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
    pod_tell(v, NULL, "Normal", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
    return INT64_MAX;
}

int pod_observe(struct view *v, struct err *err)
{
    struct pod *pod = v->pod;
    struct arena *a = v->ctx->arena;

    free(v->containers);
    v->containers = NULL;
    v->n_containers = 0;
    if (runtime_containers(v->all->o.runtime, pod->uid, &v->containers, &v->n_containers, err) < 0 && err->code != ERR_NOT_FOUND)
        return err_wrap(err, "containers of pod %s", pod->uid);
    observe_sandbox(v);
    LOCK_SCOPE(&v->all->lock);
    if (pod->n_units < count_units(v->tree))
        make_units(v);
    size_t n = pod->n_units;
    v->units = arena_alloc(a, (n + 1) * sizeof(*v->units));
    v->now = arena_alloc(a, (n + 1) * sizeof(struct status_run *));
    v->before = arena_alloc(a, (n + 1) * sizeof(struct status_run *));
    v->attempt = arena_alloc(a, (n + 1) * sizeof(int));
    v->in.now_ms = clock_mono_ms(v->all->o.clock);
    v->in.deleting = meta_deleting(v->tree);
    int64_t due_ms = deadline_ms(v);
    v->in = (struct plan_in){ .admitted = pod->admitted, .gone = pod->gone, .deleting = v->in.deleting,
                              .ending = v->in.deleting || pod->gone || pod->frozen || pod->fail_reason, .reported = pod->reported,
                              .cgroup = pod->cgroup, .volumes = pod->volumes && pod->volumes_again_ms > v->in.now_ms,
                              .sandbox = pod->sandbox, .network = pod->network,
                              .network_up = v->all->network || json_bool_or(v->tree, "spec.hostNetwork", false),
                              .cleaned = pod->cleaned, .deleted = pod->deleted, .retry_at_ms = pod->retry_at_ms,
                              .look_at_ms = due_ms < pod->volumes_again_ms ? due_ms : pod->volumes_again_ms,
                              .now_ms = v->in.now_ms, .units = v->units, .n_units = n };
    for (size_t i = 0; i < n; i++)
        observe_unit(v, i);
    return 0;
}
