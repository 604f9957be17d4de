/* report - the pod's status to the API, when it changed. */
#include "agent/pods/pods_int.h"

#include "lib/crypto.h"

#include <string.h>

static void fill_unit(struct view *v, size_t i, struct status_unit *to)
{
    struct unit *u = &v->pod->units[i];
    struct arena *a = v->ctx->arena;
    const struct plan_unit *pu = &v->units[i];

    *to = (struct status_unit){ .name = u->name, .kind = u->kind, .spec = unit_spec(v->tree, u), .now = v->now[i], .before = v->before[i],
                                .image_name = u->image_name ? arena_strdup(a, u->image_name) : NULL,
                                .image_ref = u->image_ref ? arena_strdup(a, u->image_ref) : NULL,
                                .wait_reason = u->wait_reason, .wait_message = u->wait_message ? arena_strdup(a, u->wait_message) : NULL,
                                .started = pu->started, .restart = pu->restart, .restart_count = v->attempt[i] > 0 ? v->attempt[i] : 0 };
    to->ready = pu->started && (!u->has_readiness || u->ready);
}

/* What an ended attempt has to say, read once it is shown. */
static void fill_message(struct view *v, size_t i, struct status_run *run, int attempt)
{
    const json_t *spec = unit_spec(v->tree, &v->pod->units[i]);
    struct buf tail = { 0 };
    struct err none;

    if (!run || run->seen != SEEN_EXITED || run->message)
        return;
    AUTO_FREE char *text = pod_env_termination(v->all->o.env, v->pod->uid, v->pod->units[i].name, attempt);
    if (!*text && run->exit_code != 0 && strcmp(json_str_or(spec, "terminationMessagePolicy", ""), "FallbackToLogsOnError") == 0) {
        const char *path = NULL;

        for (size_t k = 0; k < v->n_containers; k++)
            if (strcmp(v->containers[k].id, run->id) == 0)
                path = v->containers[k].log_path;
        if (path)
            ERR_IGNORE(log_tail(path, 80, 2048, &tail, &none)); /* no log: no message */
    }
    run->message = arena_strdup(v->ctx->arena, *text ? text : buf_at(&tail));
    buf_clear(&tail);
}

static json_t *build(struct view *v)
{
    struct pod *pod = v->pod;
    size_t n = v->in.n_units;
    struct status_unit *units = arena_alloc(v->ctx->arena, (n + 1) * sizeof(*units));
    struct status_in in = { .pod = v->tree, .units = units, .n_units = n, .sandbox = v->in.sandbox && v->in.network,
                            .finished = plan_finished(&v->in), .ending = v->in.ending, .fail_reason = pod->fail_reason,
                            .fail_message = pod->fail_message, .pod_ip = pod->ip, .host_ips = v->all->o.node_ips, .start_us = pod->start_us,
                            .now_us = clock_wall_us(v->all->o.clock) };

    for (size_t i = 0; i < n; i++) {
        fill_message(v, i, v->now[i], v->attempt[i]);
        fill_message(v, i, v->before[i], v->attempt[i] - 1);
    }
    LOCK_SCOPE(&v->all->lock);
    for (size_t i = 0; i < n; i++)
        fill_unit(v, i, &units[i]);
    return status_build(&in, &pod->memory);
}

static uint64_t hash_of(const json_t *o)
{
    AUTO(buf) struct buf text = { 0 };
    unsigned char sum[SHA256_BYTES];
    uint64_t h = 0;

    json_write(o, &text);
    sha256_of(buf_at(&text), buf_len(&text), sum);
    memcpy(&h, sum, sizeof(h));
    return h ? h : 1;
}

int pod_report(struct view *v, bool final, struct err *err)
{
    struct pod *pod = v->pod;
    struct object_ref ref = { "", "v1", "pods", pod->ns, pod->name, "status" };

    if (pod->frozen || pod->gone || pod->deleted || !v->units) {
        pod->reported = pod->reported || final;
        return 0;
    }
    AUTO(json) json_t *status = build(v);
    uint64_t hash = hash_of(status);
    if (hash != pod->sent_hash) {
        AUTO(json) json_t *patch = status_patch(v->tree, status);
        int rc = client_patch(v->ctx, v->all->o.client, &ref, CLIENT_PATCH_STRATEGIC, patch, NULL, NULL, err);

        if (rc < 0 && err->code != ERR_NOT_FOUND && err->code != ERR_CONFLICT)
            return err_wrap(err, "status of pod %s/%s", pod->ns, pod->name);
        pod->sent_hash = hash; /* a pod that is gone or another's: the watch will say so */
    }
    if (final)
        pod->reported = true;
    return 0;
}
