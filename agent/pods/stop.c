/* stop - ends a container: preStop hook, stop signal, and the kill when its grace is over; and runs the hooks of both ends. */
#include "agent/pods/pods_int.h"

#include "lib/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { GRACE_S = 30, GRACE_LEAST_MS = 1000, AFTER_HOOK_MS = 2000, KILL_AGAIN_MS = 5000, HOOK_MS = 30 * 60000 };

int64_t stop_grace_ms(struct view *v, const struct unit *u)
{
    int64_t s = json_int_or(v->tree, "spec.terminationGracePeriodSeconds", GRACE_S);

    if (v->in.deleting)
        s = json_int_or(v->tree, "metadata.deletionGracePeriodSeconds", s);
    else if (u->unhealthy && u->live_grace_s >= 0)
        s = u->live_grace_s;
    return s * 1000 > GRACE_LEAST_MS ? s * 1000 : GRACE_LEAST_MS;
}

/* --- signals --- */

static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } names[] = { { "TERM", SIGTERM }, { "KILL", SIGKILL }, { "INT", SIGINT },   { "QUIT", SIGQUIT },   { "HUP", SIGHUP },
                  { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 }, { "WINCH", SIGWINCH }, { "ABRT", SIGABRT }, { "ALRM", SIGALRM },
                  { "CONT", SIGCONT }, { "STOP", SIGSTOP }, { "TSTP", SIGTSTP }, { "PIPE", SIGPIPE },   { "PWR", SIGPWR } };
    char *end = NULL;
    long n = strtol(name, &end, 10);
    int above = 0;

    if (*name && !*end && n > 0 && n < 65)
        return (int)n;
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].number;
    if (strncmp(name, "RTMIN", 5) == 0) {
        above = name[5] == '+' ? (int)strtol(name + 6, NULL, 10) : 0;
        return above >= 0 && above <= 30 ? 34 + above : SIGTERM;
    }
    return SIGTERM;
}

static int stop_signal(struct view *v, const struct unit *u)
{
    const json_t *c = unit_spec(v->tree, u);
    const char *own = json_str(c, "lifecycle.stopSignal");
    struct image_info info = { 0 };
    struct err none;
    int number = SIGTERM;

    if (own)
        return signal_number(own);
    const char *image = u->image_id ? u->image_id : json_str_or(c, "image", "");
    if (*image && images_find(v->all->o.images, image, &info, &none) == 0) {
        if (info.stop_signal && *info.stop_signal)
            number = signal_number(info.stop_signal);
        image_info_clear(&info);
    }
    return number;
}

static void send_signal(struct view *v, struct unit *u, int number)
{
    struct err err;

    if (!u->id[0])
        return;
    if (runtime_container_kill(v->ctx, v->all->o.runtime, v->pod->uid, u->id, number, &err) < 0 && err.code != ERR_NOT_FOUND)
        log_warn("signal not sent", "pod=%s/%s container=%s signal=%d error=%s", v->pod->ns, v->pod->name, u->name, number, log_q(err.msg));
}

/* --- hooks --- */

struct hook {
    struct pods *all;
    char *uid, *unit, id[65];
    bool post_start;
};

static void hook_free(struct hook *h)
{
    free(h->uid);
    free(h->unit);
    free(h);
}

/* lock held; NULL when that container is not there any more */
static struct unit *hook_unit(struct hook *h, struct pod **ret_pod)
{
    struct pod *pod = pods_find(h->all, h->uid);
    struct unit *u = pod ? pod_unit(pod, h->unit) : NULL;

    *ret_pod = pod;
    return u && strcmp(u->id, h->id) == 0 ? u : NULL;
}

static void hook_ended(struct hook *h, bool ok, const char *output)
{
    struct pod *pod = NULL;
    LOCK_SCOPE(&h->all->lock);
    struct unit *u = hook_unit(h, &pod);

    if (!u)
        return;
    if (!ok) {
        u->note_reason = h->post_start ? "FailedPostStartHook" : "FailedPreStopHook";
        u->note_warning = true;
        free(u->note);
        u->note = mem_strdup(h->post_start ? "PostStartHook failed" : "PreStopHook failed");
        log_debug("hook failed", "pod=%s/%s container=%s output=%s", pod->ns, pod->name, h->unit, log_q(output));
    }
    if (h->post_start && !ok) {
        u->unhealthy = true;
        u->live_grace_s = -1;
        free(u->stop_message);
        u->stop_message = mem_strdup("FailedPostStartHook");
    }
    if (h->post_start)
        u->post_start_done = true;
    else
        u->hook_done = true;
    pods_add(h->all, h->uid);
}

static void hook_job(void *arg)
{
    struct hook *h = arg;
    struct pod *pod = NULL;
    AUTO(arena) struct arena *arena = arena_new();
    AUTO(bytes) struct bytes *json = NULL;
    AUTO(json) json_t *tree = NULL;
    AUTO_FREE char *output = NULL;
    char ip[64] = "";
    const json_t *c = NULL;
    struct err err;
    bool ok = true;

    pthread_mutex_lock(&h->all->lock);
    struct unit *u = hook_unit(h, &pod);
    if (u) {
        json = bytes_ref(pod->json);
        (void)snprintf(ip, sizeof(ip), "%s", pod->ip);
    }
    pthread_mutex_unlock(&h->all->lock);
    if (json && json_read(json->at, json->n, NULL, NULL, &tree, &err) == 0) {
        static const char *const lists[] = { "spec.containers", "spec.initContainers" };
        size_t i = 0;
        json_t *at = NULL;

        for (size_t l = 0; l < ARRAY_LEN(lists); l++)
            json_array_foreach(json_at(tree, lists[l]), i, at)
                if (strcmp(json_str_or(at, "name", ""), h->unit) == 0)
                    c = at;
        struct ctx base = ctx_background(arena);
        base.cancel = &h->all->cancel;
        struct ctx ctx = ctx_with_timeout(&base, HOOK_MS);
        struct action a = { .pod_uid = h->uid, .id = h->id, .pod_ip = ip, .container = c, .timeout_ms = HOOK_MS,
                            .spec = json_at(c, h->post_start ? "lifecycle.postStart" : "lifecycle.preStop") };
        ok = action_run(h->all, &ctx, &a, &output);
    }
    hook_ended(h, ok, output ? output : "");
    hook_free(h);
}

static void run_hook(struct view *v, struct unit *u, const char *id, bool post_start)
{
    const char *path = post_start ? "lifecycle.postStart.sleep.seconds" : "lifecycle.preStop.sleep.seconds";
    int64_t sleep_s = json_int_or(unit_spec(v->tree, u), path, -1);
    struct hook *h = NULL;
    struct err err;

    if (sleep_s >= 0) {
        pthread_mutex_lock(&v->all->lock);
        u->hook_due_ms = clock_mono_ms(v->all->o.clock) + sleep_s * 1000;
        pthread_mutex_unlock(&v->all->lock);
        queue_add_after(v->all->queue, v->pod->uid, sleep_s * 1000);
        return;
    }
    h = MEM_NEW(struct hook);
    h->all = v->all;
    h->uid = mem_strdup(v->pod->uid);
    h->unit = mem_strdup(u->name);
    h->post_start = post_start;
    (void)snprintf(h->id, sizeof(h->id), "%s", id);
    if (pool_family_run(v->all->jobs, hook_job, h, &err) < 0) {
        hook_ended(h, false, err.msg);
        hook_free(h);
    }
}

void unit_start_hook(struct view *v, size_t i, const char *id)
{
    run_hook(v, &v->pod->units[i], id, true);
}

/* --- the steps --- */

static void begin(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];

    pod_tell(v, u, "Normal", "Killing", u->stop_message ? "%s" : "Stopping container %s", u->stop_message ? u->stop_message : u->name);
    u->stop_began_ms = v->in.now_ms;
    u->stop_by_ms = v->in.now_ms + stop_grace_ms(v, u);
    if (v->units[i].has_hook) {
        u->stop = STOP_HOOK;
        run_hook(v, u, u->id, false);
    } else {
        u->stop = STOP_TERM;
        send_signal(v, u, stop_signal(v, u));
    }
}

void step_stop(struct view *v, size_t i, enum plan_step step)
{
    struct unit *u = &v->pod->units[i];

    if (step == STEP_STOP) {
        begin(v, i);
    } else if (step == STEP_TERM) {
        u->stop = STOP_TERM;
        if (u->stop_by_ms < v->in.now_ms + AFTER_HOOK_MS) /* the signal gets a chance */
            u->stop_began_ms += v->in.now_ms + AFTER_HOOK_MS - u->stop_by_ms;
        send_signal(v, u, stop_signal(v, u));
    } else {
        u->stop = STOP_KILL;
        u->stop_by_ms = v->in.now_ms + KILL_AGAIN_MS;
        send_signal(v, u, SIGKILL);
    }
}
