/* probes - startup, liveness and readiness of running containers; each probe is a key of the probes' queue. */
#include "agent/pods/pods_int.h"

#include <stdio.h>
#include <string.h>

enum { LIVE_MESSAGE_MAX = 1024 };

static const char *const spec_names[PROBE_KINDS] = { "startupProbe", "livenessProbe", "readinessProbe" };
static const char *const words[PROBE_KINDS] = { "Startup", "Liveness", "Readiness" };

/* lock held: whether this probe should run by now */
static bool wanted(const struct unit *u, enum probe_kind kind)
{
    if (!u->id[0] || u->unhealthy)
        return false;
    if (kind == PROBE_STARTUP)
        return !u->startup_ok;
    return !u->has_startup || u->startup_ok;
}

static void arm(struct view *v, size_t i, enum probe_kind kind, const json_t *probe)
{
    struct unit *u = &v->pod->units[i];
    const struct status_run *run = v->now[i];
    int64_t now = clock_mono_ms(v->all->o.clock), ran_ms = (clock_wall_us(v->all->o.clock) - run->started_us) / 1000;
    int64_t delay = json_int_or(probe, "initialDelaySeconds", 0) * 1000 - (ran_ms > 0 ? ran_ms : 0);
    AUTO_FREE char *key = mem_printf("%s/%s/%d", v->pod->uid, u->name, (int)kind);
    LOCK_SCOPE(&v->all->lock);

    if (!wanted(u, kind) || u->probes[kind].armed)
        return;
    delay = delay > 0 ? delay : 0;
    u->probes[kind] = (struct probe){ .armed = true, .due_ms = now + delay };
    if (delay)
        queue_add_after(v->all->probes, key, delay);
    else
        queue_add(v->all->probes, key);
}

void probes_arm(struct view *v)
{
    for (size_t i = 0; i < v->in.n_units; i++) {
        const json_t *c = unit_spec(v->tree, &v->pod->units[i]);

        if (!v->now[i] || v->now[i]->seen != SEEN_RUNNING || v->in.ending)
            continue;
        for (int k = 0; k < PROBE_KINDS; k++) {
            const json_t *probe = json_object_get(c, spec_names[k]);

            if (probe)
                arm(v, i, (enum probe_kind)k, probe);
        }
    }
}

/* One probe of one container, as found when its time came. */
struct call {
    char uid[64], unit[256], id[65], ip[64];
    enum probe_kind kind;
    struct bytes *json;
    json_t *tree;
    const json_t *container, *probe;
};

static bool split_key(const char *key, struct call *c)
{
    int kind = 0;

    if (sscanf(key, "%63[^/]/%255[^/]/%d", c->uid, c->unit, &kind) != 3 || kind < 0 || kind >= PROBE_KINDS)
        return false;
    c->kind = (enum probe_kind)kind;
    return true;
}

/* Whether it is its time; else *again. */
static bool look(struct pods *p, struct call *c, int64_t *again)
{
    int64_t now = clock_mono_ms(p->o.clock);
    LOCK_SCOPE(&p->lock);
    struct pod *pod = pods_find(p, c->uid);
    struct unit *u = pod ? pod_unit(pod, c->unit) : NULL;

    if (!u || !u->probes[c->kind].armed || !pod->json)
        return false;
    if (!wanted(u, c->kind)) {
        u->probes[c->kind].armed = false;
        return false;
    }
    if (u->probes[c->kind].due_ms > now) {
        *again = u->probes[c->kind].due_ms - now;
        return false;
    }
    c->json = bytes_ref(pod->json);
    (void)snprintf(c->id, sizeof(c->id), "%s", u->id);
    (void)snprintf(c->ip, sizeof(c->ip), "%s", pod->ip);
    return true;
}

static bool find_probe(struct call *c)
{
    static const char *const lists[] = { "spec.containers", "spec.initContainers" };
    size_t i = 0;
    json_t *at = NULL;

    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        json_array_foreach(json_at(c->tree, lists[l]), i, at)
            if (strcmp(json_str_or(at, "name", ""), c->unit) == 0)
                c->container = at;
    c->probe = json_object_get(c->container, spec_names[c->kind]);
    return c->probe != NULL;
}

/* lock held: failed so often that the container is to be killed */
static void condemn(struct unit *u, const struct call *c)
{
    u->unhealthy = true;
    u->live_grace_s = json_int_or(c->probe, "terminationGracePeriodSeconds", -1);
    free(u->stop_message);
    u->stop_message = mem_printf("Container %s failed %s probe, will be restarted", u->name, c->kind == PROBE_STARTUP ? "startup" : "liveness");
}

/* lock held. Returns whether the life cycle should look. */
static bool judge(struct unit *u, const struct call *c, bool ok)
{
    struct probe *p = &u->probes[c->kind];
    int64_t need = ok ? json_int_or(c->probe, "successThreshold", 1) : json_int_or(c->probe, "failureThreshold", 3);

    p->streak = p->ok == ok ? p->streak + 1 : 1;
    p->ok = ok;
    if (p->streak < need)
        return false;
    if (c->kind == PROBE_READINESS) {
        bool changed = u->ready != ok;

        u->ready = ok;
        return changed;
    }
    if (!ok) {
        condemn(u, c);
        return true;
    }
    if (c->kind == PROBE_STARTUP)
        u->startup_ok = true;
    return c->kind == PROBE_STARTUP;
}

static void settle(struct pods *p, const struct call *c, bool ok, int64_t *again)
{
    int64_t period = json_int_or(c->probe, "periodSeconds", 10) * 1000;
    LOCK_SCOPE(&p->lock);
    struct pod *pod = pods_find(p, c->uid);
    struct unit *u = pod ? pod_unit(pod, c->unit) : NULL;

    if (!u || strcmp(u->id, c->id) != 0 || !u->probes[c->kind].armed)
        return; /* of a container that ended meanwhile */
    if (judge(u, c, ok))
        pods_add(p, c->uid);
    if (!wanted(u, c->kind)) {
        u->probes[c->kind].armed = false;
        return;
    }
    u->probes[c->kind].due_ms = clock_mono_ms(p->o.clock) + period;
    *again = period;
}

static void tell(struct pods *p, const struct call *c, const char *output)
{
    AUTO_FREE char *path = mem_printf("spec.containers{%s}", c->unit);

    event_record(p->o.events, c->tree, path, "Warning", "Unhealthy", "%s probe failed: %.*s", words[c->kind], LIVE_MESSAGE_MAX, output);
}

int probes_pass(void *arg, struct ctx *ctx, const char *key, int64_t *again, struct err *err)
{
    struct pods *p = arg;
    struct call c = { 0 };
    AUTO_FREE char *output = NULL;

    if (!split_key(key, &c) || !look(p, &c, again))
        return 0;
    int rc = json_read(c.json->at, c.json->n, NULL, NULL, &c.tree, err);
    if (rc == 0 && find_probe(&c)) {
        struct action a = { .pod_uid = c.uid, .id = c.id, .pod_ip = c.ip, .spec = c.probe, .container = c.container,
                            .timeout_ms = json_int_or(c.probe, "timeoutSeconds", 1) * 1000 };
        struct ctx limited = ctx_with_timeout(ctx, a.timeout_ms);
        bool ok = action_run(p, &limited, &a, &output);

        if (!ok)
            tell(p, &c, output ? output : "");
        settle(p, &c, ok, again);
    }
    json_decref(c.tree);
    bytes_unref(c.json);
    return rc;
}
