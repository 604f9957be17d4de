/* pulls - images of containers: found, or fetched in the background, one job for all pods that want the same with the same secrets. */
#include "agent/pods/pods_int.h"

#include "lib/crypto.h"
#include "lib/log.h"

#include <stdio.h>
#include <string.h>

enum { PULL_MS = 30 * 60000, AUTHS_MAX = 16, PULL_FIRST_MS = 10000, PULL_MOST_MS = 300000, SHOWN_MS = 1500 };

struct waiter {
    struct waiter *next;
    char *uid, *unit;
};

struct pull {
    struct pods *all;
    char *key, *image, *ns;
    char *secrets[AUTHS_MAX]; /* names in ns */
    size_t n_secrets;
    struct waiter *waiters;   /* guarded by pods->lock */
};

static void waiters_free(struct waiter *w)
{
    while (w) {
        struct waiter *next = w->next;

        free(w->uid);
        free(w->unit);
        free(w);
        w = next;
    }
}

void pulls_free(void *at)
{
    struct pull *p = at;

    for (size_t i = 0; i < p->n_secrets; i++)
        free(p->secrets[i]);
    waiters_free(p->waiters);
    free(p->key);
    free(p->image);
    free(p->ns);
    free(p);
}

/* --- credentials --- */

static const char *decoded(struct arena *a, const char *base64)
{
    AUTO(buf) struct buf text = { 0 };

    if (!base64 || base64_read(base64, strlen(base64), &text) < 0)
        return NULL;
    return arena_strndup(a, buf_at(&text), buf_len(&text));
}

static void add_auth(struct arena *a, const char *registry, const json_t *entry, struct image_auth *auths, size_t *n)
{
    const char *pair = decoded(a, json_str(entry, "auth")), *colon = pair ? strchr(pair, ':') : NULL;
    struct image_auth auth = { .registry = arena_strdup(a, registry) };

    if (colon) {
        auth.username = arena_strndup(a, pair, (size_t)(colon - pair));
        auth.password = arena_strdup(a, colon + 1);
    } else if (json_str(entry, "username")) {
        auth.username = arena_strdup(a, json_str(entry, "username"));
        auth.password = arena_strdup(a, json_str_or(entry, "password", ""));
    }
    if (json_str(entry, "identitytoken"))
        auth.token = arena_strdup(a, json_str(entry, "identitytoken"));
    if (*n < AUTHS_MAX && (auth.username || auth.token))
        auths[(*n)++] = auth;
}

static void read_secret(struct arena *a, const json_t *secret, struct image_auth *auths, size_t *n)
{
    const json_t *data = json_object_get(secret, "data");
    const char *config = decoded(a, json_string_value(json_object_get(data, ".dockerconfigjson")));
    const char *old = decoded(a, json_string_value(json_object_get(data, ".dockercfg")));
    const char *text = config ? config : old, *registry = NULL;
    AUTO(json) json_t *root = NULL;
    json_t *entry = NULL;
    struct err none;

    if (!text || json_read(text, strlen(text), NULL, NULL, &root, &none) < 0)
        return; /* as upstream: a secret that is none gives nothing */
    json_object_foreach(config ? json_object_get(root, "auths") : root, registry, entry)
        add_auth(a, registry, entry, auths, n);
}

static size_t read_auths(struct ctx *ctx, struct pull *p, struct image_auth auths[AUTHS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < p->n_secrets; i++) {
        struct object_ref ref = { "", "v1", "secrets", p->ns, p->secrets[i], NULL };
        AUTO(json) json_t *secret = NULL;
        struct err none;

        if (client_get(ctx, p->all->o.client, &ref, &secret, &none) == 0)
            read_secret(ctx->arena, secret, auths, &n);
    }
    return n;
}

/* --- the job --- */

/* lock held */
static void note(struct unit *u, bool warning, const char *reason, const char *text)
{
    u->note_reason = reason;
    u->note_warning = warning;
    free(u->note);
    u->note = mem_strdup(text);
}

/* lock held */
static void set_image(struct unit *u, const struct image_info *info, const char *name)
{
    u->image = IMAGE_READY;
    u->fails = 0;
    u->retry_at_ms = 0;
    free(u->image_id);
    free(u->image_ref);
    free(u->image_name);
    u->image_id = mem_strdup(info->id);
    u->image_ref = mem_strdup(*info->repo_digest ? info->repo_digest : info->id);
    u->image_name = mem_strdup(name);
    if (u->wait_reason && strcmp(u->wait_reason, "CrashLoopBackOff") != 0)
        unit_wait(u, NULL, NULL);
}

/* lock held */
static void pull_failed(struct pods *p, struct unit *u, const char *image, const char *why)
{
    AUTO_FREE char *text = mem_printf("Failed to pull image \"%s\": %s", image, why);

    u->image = IMAGE_UNKNOWN;
    u->retry_at_ms = clock_mono_ms(p->o.clock) + backoff_ms(++u->fails, PULL_FIRST_MS, PULL_MOST_MS);
    u->back_off_at_ms = clock_mono_ms(p->o.clock) + SHOWN_MS;
    unit_wait(u, "ErrImagePull", why);
    note(u, true, "Failed", text);
}

static void duration(char *to, size_t n, int64_t ms)
{
    if (ms < 1000)
        (void)snprintf(to, n, "%lldms", (long long)ms);
    else
        (void)snprintf(to, n, "%lld.%03llds", (long long)(ms / 1000), (long long)(ms % 1000));
}

static void tell(struct pull *p, const struct image_info *info, const struct err *err, int64_t took_ms)
{
    char took[32];
    AUTO_FREE char *canonical = NULL, *text = NULL;
    struct err none;

    duration(took, sizeof(took), took_ms);
    if (info) {
        ERR_IGNORE(image_name_parse(p->image, &canonical, NULL, NULL, NULL, NULL, &none)); /* it was pulled by this name */
        text = mem_printf("Successfully pulled image \"%s\" in %s (%s including waiting). Image size: %lld bytes.", p->image, took, took,
                          (long long)info->size_bytes);
    }
    for (struct waiter *w = p->waiters; w; w = w->next) {
        struct pod *pod = pods_find(p->all, w->uid);
        struct unit *u = pod ? pod_unit(pod, w->unit) : NULL;

        if (!u || u->image != IMAGE_PULLING)
            continue;
        if (info) {
            set_image(u, info, canonical ? canonical : p->image);
            note(u, false, "Pulled", text);
        } else {
            pull_failed(p->all, u, p->image, err->msg);
        }
        pods_add(p->all, w->uid);
    }
}

static void pull_job(void *arg)
{
    struct pull *p = arg;
    struct pods *all = p->all;
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena);
    struct image_auth auths[AUTHS_MAX];
    struct image_info info = { 0 };
    struct err err;
    int64_t began = clock_mono_ms(all->o.clock);

    base.clock = all->o.clock;
    base.cancel = &all->cancel;
    struct ctx ctx = ctx_with_timeout(&base, PULL_MS);
    size_t n = read_auths(&ctx, p, auths);
    int rc = images_pull(&ctx, all->o.images, p->image, auths, n, &info, &err);
    int64_t took = clock_mono_ms(all->o.clock) - began;

    pthread_mutex_lock(&all->lock);
    tell(p, rc == 0 ? &info : NULL, &err, took);
    struct pull *mine = map_take(all->pulls, p->key);
    pthread_mutex_unlock(&all->lock);
    pulls_free(mine);
    if (rc == 0)
        image_info_clear(&info);
}

static struct pull *pull_new(struct view *v, const char *key, const char *image)
{
    struct pull *p = MEM_NEW(struct pull);
    size_t i = 0;
    json_t *s = NULL;

    p->all = v->all;
    p->key = mem_strdup(key);
    p->image = mem_strdup(image);
    p->ns = mem_strdup(v->pod->ns);
    json_array_foreach(json_at(v->tree, "spec.imagePullSecrets"), i, s)
        if (p->n_secrets < AUTHS_MAX)
            p->secrets[p->n_secrets++] = mem_strdup(json_str_or(s, "name", ""));
    return p;
}

static const char *key_of(struct view *v, const char *image)
{
    AUTO(buf) struct buf key = { 0 };
    size_t i = 0;
    json_t *s = NULL;

    buf_str(&key, image);
    json_array_foreach(json_at(v->tree, "spec.imagePullSecrets"), i, s)
        buf_printf(&key, "\n%s/%s", v->pod->ns, json_str_or(s, "name", ""));
    return arena_strdup(v->ctx->arena, buf_at(&key));
}

static void start_pull(struct view *v, struct unit *u, const char *image)
{
    struct pods *p = v->all;
    const char *key = key_of(v, image);
    struct waiter *w = MEM_NEW(struct waiter);
    struct err err;
    bool fresh = false;
    LOCK_SCOPE(&p->lock);
    struct pull *pull = map_get(p->pulls, key);

    if (!pull) {
        pull = pull_new(v, key, image);
        map_set(p->pulls, key, pull);
        fresh = true;
    }
    w->uid = mem_strdup(v->pod->uid);
    w->unit = mem_strdup(u->name);
    w->next = pull->waiters;
    pull->waiters = w;
    u->image = IMAGE_PULLING;
    if (fresh && pool_family_run(p->jobs, pull_job, pull, &err) < 0) {
        pull_failed(p, u, image, err.msg);
        map_del(p->pulls, key);
    }
}

/* lock not held */
static void cannot(struct view *v, struct unit *u, const char *reason, const char *message)
{
    LOCK_SCOPE(&v->all->lock);
    unit_wait(u, reason, message);
    u->retry_at_ms = v->in.now_ms + backoff_ms(++u->fails, PULL_FIRST_MS, PULL_MOST_MS);
}

void pulls_back_off(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];
    const char *image = json_str_or(unit_spec(v->tree, u), "image", "");
    AUTO_FREE char *text = mem_printf("Back-off pulling image \"%s\": ErrImagePull: %s", image, u->wait_message ? u->wait_message : "");

    unit_wait(u, "ImagePullBackOff", text);
    u->back_off_at_ms = 0;
    pod_tell(v, u, "Normal", "BackOff", "Back-off pulling image \"%s\"", image);
}

void step_pull(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];
    const json_t *c = unit_spec(v->tree, u);
    const char *image = json_str_or(c, "image", ""), *policy = json_str_or(c, "imagePullPolicy", "IfNotPresent");
    AUTO_FREE char *canonical = NULL;
    struct image_info info = { 0 };
    struct err err;

    if (image_name_parse(image, &canonical, NULL, NULL, NULL, NULL, &err) < 0) {
        AUTO_FREE char *text = mem_printf("Failed to apply default image tag \"%s\": %s", image, err.msg);
        pod_tell(v, u, "Warning", "InspectFailed", "%s", text);
        pod_tell(v, u, "Warning", "Failed", "Error: InvalidImageName");
        cannot(v, u, "InvalidImageName", text);
        return;
    }
    bool there = strcmp(policy, "Always") != 0 && images_find(v->all->o.images, image, &info, &err) == 0;
    if (there) {
        pthread_mutex_lock(&v->all->lock);
        set_image(u, &info, canonical);
        pthread_mutex_unlock(&v->all->lock);
        image_info_clear(&info);
        pod_tell(v, u, "Normal", "Pulled", "Container image \"%s\" already present on machine and can be accessed by the pod", image);
    } else if (strcmp(policy, "Never") == 0) {
        AUTO_FREE char *text = mem_printf("Container image \"%s\" is not present with pull policy of Never", image);
        pod_tell(v, u, "Warning", "ErrImageNeverPull", "%s", text);
        pod_tell(v, u, "Warning", "Failed", "Error: ErrImageNeverPull");
        cannot(v, u, "ErrImageNeverPull", text);
    } else {
        pod_tell(v, u, "Normal", "Pulling", "Pulling image \"%s\"", image);
        start_pull(v, u, image);
    }
}
