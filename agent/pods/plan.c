#include "agent/pods/plan.h"

static void add(struct plan *p, enum plan_step step, size_t unit)
{
    if (p->n == PLAN_STEPS_MAX) {
        p->again_at_ms = 0; /* the rest is planned in the next pass */
        return;
    }
    p->at[p->n].step = step;
    p->at[p->n++].unit = unit;
}

static void again(struct plan *p, int64_t at_ms)
{
    if (at_ms < p->again_at_ms)
        p->again_at_ms = at_ms;
}

/* A step now, or a look later when it failed a moment ago. */
static void add_at(struct plan *p, const struct plan_in *in, int64_t at_ms, enum plan_step step, size_t unit)
{
    if (at_ms > in->now_ms)
        again(p, at_ms);
    else
        add(p, step, unit);
}

static bool is_init(const struct plan_unit *u)
{
    return u->kind == UNIT_INIT || u->kind == UNIT_SIDECAR;
}

bool plan_initialized(const struct plan_in *in)
{
    for (size_t i = 0; i < in->n_units; i++) {
        const struct plan_unit *u = &in->units[i];

        /* A main container that was made here is proof. */
        if (u->kind == UNIT_MAIN && u->seen != SEEN_NONE && !u->stale)
            return true;
    }
    for (size_t i = 0; i < in->n_units; i++) {
        const struct plan_unit *u = &in->units[i];

        if (u->kind == UNIT_INIT && (u->seen != SEEN_EXITED || !u->ok || u->stale))
            return false;
        if (u->kind == UNIT_SIDECAR && !(u->seen == SEEN_RUNNING && u->started))
            return false;
    }
    return true;
}

/* An init container failed and may not run again. */
static bool init_failed(const struct plan_in *in)
{
    for (size_t i = 0; i < in->n_units; i++)
        if (in->units[i].kind == UNIT_INIT && in->units[i].seen == SEEN_EXITED && !in->units[i].ok && !in->units[i].restart)
            return true;
    return false;
}

static bool mains_done(const struct plan_in *in)
{
    for (size_t i = 0; i < in->n_units; i++) {
        const struct plan_unit *u = &in->units[i];

        if (u->kind == UNIT_MAIN && (u->seen != SEEN_EXITED || u->restart))
            return false;
    }
    return true;
}

static bool anything_runs(const struct plan_in *in)
{
    for (size_t i = 0; i < in->n_units; i++)
        if (in->units[i].seen == SEEN_RUNNING)
            return true;
    return false;
}

static bool must_end(const struct plan_in *in)
{
    return in->ending || in->rejected || in->gone || mains_done(in) || init_failed(in);
}

bool plan_finished(const struct plan_in *in)
{
    return must_end(in) && !anything_runs(in);
}

static void stop_unit(const struct plan_in *in, size_t i, struct plan *p)
{
    const struct plan_unit *u = &in->units[i];

    switch (u->stop) {
    case STOP_NO:
        add(p, STEP_STOP, i);
        return;
    case STOP_HOOK_DONE:
        add(p, STEP_TERM, i);
        return;
    case STOP_HOOK:
    case STOP_TERM:
        if (u->stop_by_ms <= in->now_ms)
            add(p, STEP_KILL, i);
        else
            again(p, u->stop_by_ms);
        return;
    case STOP_KILL:
        /* The exit comes as an event; a kill that was lost is repeated. */
        if (u->stop_by_ms <= in->now_ms)
            add(p, STEP_KILL, i);
        else
            again(p, u->stop_by_ms);
        return;
    }
}

/* Sidecars end after everything else, the last first. */
static void stop_all(const struct plan_in *in, struct plan *p)
{
    bool others = false;

    for (size_t i = 0; i < in->n_units; i++)
        if (in->units[i].seen == SEEN_RUNNING && in->units[i].kind != UNIT_SIDECAR) {
            stop_unit(in, i, p);
            others = others || in->units[i].kind != UNIT_EPHEMERAL;
        }
    if (others)
        return;
    for (size_t i = in->n_units; i-- > 0;)
        if (in->units[i].seen == SEEN_RUNNING && in->units[i].kind == UNIT_SIDECAR) {
            stop_unit(in, i, p);
            return;
        }
}

static void finish(const struct plan_in *in, struct plan *p)
{
    if (!in->reported && !in->gone) {
        add(p, STEP_REPORT, 0);
        return;
    }
    if (!in->cleaned)
        add_at(p, in, in->retry_at_ms, STEP_CLEAN, 0);
    else if (in->gone)
        add(p, STEP_FORGET, 0);
    else if (in->deleting && !in->deleted)
        add_at(p, in, in->retry_at_ms, STEP_DELETE, 0);
}

/* Images are fetched while the rest is prepared. */
static void pull_ahead(const struct plan_in *in, struct plan *p)
{
    for (size_t i = 0; i < in->n_units; i++) {
        const struct plan_unit *u = &in->units[i];

        if (u->image == IMAGE_UNKNOWN && u->seen == SEEN_NONE)
            add_at(p, in, u->retry_at_ms, STEP_PULL, i);
        if (u->kind == UNIT_INIT)
            return; /* what follows may be pulled when it has run */
    }
}

static void run_unit(const struct plan_in *in, size_t i, struct plan *p)
{
    const struct plan_unit *u = &in->units[i];

    if (u->seen == SEEN_RUNNING) {
        if (u->unhealthy || u->stop != STOP_NO)
            stop_unit(in, i, p);
        return;
    }
    if (u->seen == SEEN_EXITED && !u->restart && !(u->stale && u->kind == UNIT_INIT))
        return;
    if (u->image == IMAGE_UNKNOWN)
        add_at(p, in, u->retry_at_ms, STEP_PULL, i);
    else if (u->image == IMAGE_READY)
        add_at(p, in, u->retry_at_ms, STEP_START, i);
}

static void run_init(const struct plan_in *in, struct plan *p)
{
    for (size_t i = 0; i < in->n_units; i++) {
        const struct plan_unit *u = &in->units[i];

        if (!is_init(u))
            return;
        if (u->kind == UNIT_INIT && u->seen == SEEN_EXITED && u->ok && !u->stale)
            continue;
        run_unit(in, i, p);
        if (u->kind == UNIT_SIDECAR && u->seen == SEEN_RUNNING && u->started)
            continue;
        return;
    }
}

static void run_containers(const struct plan_in *in, struct plan *p)
{
    bool initialized = plan_initialized(in);

    if (!initialized)
        run_init(in, p);
    for (size_t i = 0; i < in->n_units; i++) {
        enum unit_kind kind = in->units[i].kind;

        if (kind == UNIT_EPHEMERAL || (initialized && kind != UNIT_INIT))
            run_unit(in, i, p);
        else if (kind == UNIT_INIT && in->units[i].seen == SEEN_RUNNING && in->units[i].stop != STOP_NO)
            stop_unit(in, i, p);
    }
}

void plan_pod(const struct plan_in *in, struct plan *ret)
{
    ret->n = 0;
    ret->again_at_ms = INT64_MAX;
    if (!must_end(in))
        again(ret, in->look_at_ms);
    if (must_end(in)) {
        if (anything_runs(in))
            stop_all(in, ret);
        else
            finish(in, ret);
        return;
    }
    if (!in->admitted) {
        add(ret, STEP_ADMIT, 0);
        return;
    }
    if (in->sandbox && in->network && in->volumes && in->cgroup) {
        run_containers(in, ret);
        return;
    }
    pull_ahead(in, ret);
    if (!in->cgroup)
        add_at(ret, in, in->retry_at_ms, STEP_CGROUP, 0);
    else if (!in->volumes)
        add_at(ret, in, in->retry_at_ms, STEP_VOLUMES, 0);
    else if (!in->sandbox)
        add_at(ret, in, in->retry_at_ms, STEP_SANDBOX, 0);
    else if (in->network_up)
        add_at(ret, in, in->retry_at_ms, STEP_NETWORK, 0);
}
