/* start - one attempt of one container: what it shall be, from its spec and its image. */
#include "agent/pods/pods_int.h"

#include "lib/crypto.h"
#include "lib/k8s/quantity.h"
#include "lib/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MOUNTS_MAX = 256, ARGS_MAX = 4096, CREATE_FIRST_MS = 1000, CREATE_MOST_MS = 10000 };

/* --- the command --- */

static void add_args(struct view *v, const json_t *list, const char *const *env, const char **argv, size_t *n)
{
    size_t i = 0;
    json_t *arg = NULL;

    json_array_foreach((json_t *)list, i, arg)
        if (*n < ARGS_MAX)
            argv[(*n)++] = pod_env_expand(v->ctx->arena, json_string_value(arg), env);
}

static void add_words(char *const *words, const char **argv, size_t *n)
{
    for (size_t i = 0; words && words[i] && *n < ARGS_MAX; i++)
        argv[(*n)++] = words[i];
}

/* Source: "Define a Command and Arguments for a Container": command alone drops the image's CMD too. */
static int set_argv(struct view *v, const json_t *c, const struct image_info *info, struct container_spec *spec, struct err *err)
{
    const json_t *command = json_object_get(c, "command"), *args = json_object_get(c, "args");
    const char **argv = arena_alloc(v->ctx->arena, (ARGS_MAX + 1) * sizeof(char *));
    size_t n = 0;
    bool own = json_array_size(command) > 0;

    if (own)
        add_args(v, command, spec->env, argv, &n);
    else
        add_words(info->entrypoint, argv, &n);
    if (json_array_size(args) > 0)
        add_args(v, args, spec->env, argv, &n);
    else if (!own)
        add_words(info->cmd, argv, &n);
    if (n == 0)
        return err_set(err, ERR_INVALID, "no command specified");
    spec->argv = argv;
    return 0;
}

/* --- mounts --- */

static const char *propagation(const char *mode)
{
    if (strcmp(mode, "HostToContainer") == 0)
        return "rslave";
    return strcmp(mode, "Bidirectional") == 0 ? "rshared" : "rprivate";
}

static int add_volume(struct view *v, const json_t *c, const json_t *m, int index, const char *const *env, struct container_mount *to, struct err *err)
{
    const char *sub = json_str_or(m, "subPath", ""), *expr = json_str_or(m, "subPathExpr", "");
    AUTO_FREE char *path = NULL;

    if (*expr)
        sub = pod_env_expand(v->ctx->arena, expr, env);
    struct volume_use use = { .volume = json_str_or(m, "name", ""), .sub_path = sub, .container = json_str_or(c, "name", ""), .mount_index = index };
    if (volumes_path(v->ctx, v->all->o.volumes, v->tree, &use, &path, err) < 0)
        return -(int)err->code; /* worded as upstream */
    *to = (struct container_mount){ .source = arena_strdup(v->ctx->arena, path), .target = json_str_or(m, "mountPath", ""),
                                    .readonly = json_bool_or(m, "readOnly", false) || volumes_readonly(v->tree, use.volume),
                                    .propagation = propagation(json_str_or(m, "mountPropagation", "None")) };
    const char *recursive = json_str_or(m, "recursiveReadOnly", "Disabled");
    to->recursive_readonly = to->readonly && strcmp(recursive, "Disabled") != 0;
    return 0;
}

static int depth_of(const char *path)
{
    int n = 0;

    for (; *path; path++)
        n += path[0] == '/' && path[1] != '/' && path[1] != '\0';
    return n;
}

/* What lies deeper is mounted later, else a mount above would hide it; the order of equals stays. */
static void sort_mounts(struct container_mount *mounts, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct container_mount one = mounts[i];
        size_t k = i;

        for (; k > 0 && depth_of(mounts[k - 1].target) > depth_of(one.target); k--)
            mounts[k] = mounts[k - 1];
        mounts[k] = one;
    }
}

static int set_mounts(struct view *v, const json_t *c, struct container_spec *spec, struct err *err)
{
    struct container_mount *mounts = arena_alloc(v->ctx->arena, MOUNTS_MAX * sizeof(*mounts));
    size_t n = 0, i = 0;
    json_t *m = NULL;

    json_array_foreach(json_object_get(c, "volumeMounts"), i, m)
    {
        if (n + POD_ENV_MOUNTS >= MOUNTS_MAX)
            return err_set(err, ERR_INVALID, "more than %d volume mounts", MOUNTS_MAX - POD_ENV_MOUNTS);
        if (add_volume(v, c, m, (int)i, spec->env, &mounts[n++], err) < 0)
            return -(int)err->code;
    }
    size_t more = 0;
    if (pod_env_mounts(v->ctx, v->all->o.env, v->tree, c, spec->attempt, &mounts[n], &more, err) < 0)
        return -(int)err->code;
    sort_mounts(mounts, n + more);
    spec->mounts = mounts;
    spec->n_mounts = n + more;
    return 0;
}

/* --- log --- */

static int make_folder(const char *path, struct err *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make log folder %s", path);
    return 0;
}

static int set_log(struct view *v, struct container_spec *spec, struct err *err)
{
    struct arena *a = v->ctx->arena;
    const char *pod_dir = arena_printf(a, "%s/%s_%s_%s", v->all->o.log_dir, v->pod->ns, v->pod->name, v->pod->uid);
    const char *dir = arena_printf(a, "%s/%s", pod_dir, spec->name);

    if (make_folder(v->all->o.log_dir, err) < 0 || make_folder(pod_dir, err) < 0 || make_folder(dir, err) < 0)
        return -(int)err->code;
    spec->log_path = arena_printf(a, "%s/%d.log", dir, spec->attempt);
    return 0;
}

/* /var/log/containers/<pod>_<ns>_<container>-<id>.log, where log collectors look. */
static void link_log(struct view *v, const struct container_spec *spec)
{
    AUTO_FREE char *dir = mem_printf("%s/../containers", v->all->o.log_dir);
    AUTO_FREE char *link = mem_printf("%s/%s_%s_%s-%s.log", dir, v->pod->name, v->pod->ns, spec->name, spec->id);

    if ((mkdir(dir, 0755) < 0 && errno != EEXIST) || (symlink(spec->log_path, link) < 0 && errno != EEXIST))
        log_warn("no link to the log", "link=%s errno=%d", link, errno);
}

/* --- all of it --- */

static int64_t node_memory(struct view *v)
{
    LOCK_SCOPE(&v->all->lock);
    return quantity_json_value(json_object_get(v->all->allocatable, "memory"));
}

static int set_env(struct view *v, const json_t *c, const struct image_info *info, struct container_spec *spec, struct err *err)
{
    AUTO(json) json_t *allocatable = NULL;

    pthread_mutex_lock(&v->all->lock);
    allocatable = json_deep_copy(v->all->allocatable);
    pthread_mutex_unlock(&v->all->lock);
    struct pod_place place = { .pod_ip = v->pod->ip, .node_allocatable = allocatable };
    return pod_env_build(v->ctx, v->all->o.env, v->tree, c, (const char *const *)info->env, &place, &spec->env, err);
}

static void new_id(char id[65])
{
    unsigned char raw[32];

    random_bytes(raw, sizeof(raw));
    hex_of(raw, sizeof(raw), id);
}

static int build_spec(struct view *v, const json_t *c, const struct image_info *info, struct container_spec *spec, struct err *err)
{
    static const char *const no_labels[] = { NULL };
    AUTO_FREE char *rootfs = NULL;
    const char *cwd = json_str(c, "workingDir");

    spec->labels = no_labels;
    spec->cwd = cwd && *cwd ? cwd : info->working_dir;
    spec->tty = json_bool_or(c, "tty", false);
    spec->stdin_open = json_bool_or(c, "stdin", false);
    spec->stdin_once = json_bool_or(c, "stdinOnce", false);
    resources_of_container(c, &spec->resources);
    spec->oom_score_adj = oom_score(v->tree, c, node_memory(v));
    if (set_env(v, c, info, spec, err) < 0 || set_argv(v, c, info, spec, err) < 0 || set_mounts(v, c, spec, err) < 0 ||
        set_log(v, spec, err) < 0)
        return -(int)err->code;
    if (images_mount(v->ctx, v->all->o.images, info->id, spec->id, &rootfs, err) < 0)
        return err_wrap(err, "failed to create containerd container: error preparing root filesystem");
    spec->rootfs = arena_strdup(v->ctx->arena, rootfs);
    return security_fill(v->ctx, v->tree, c, info, spec->rootfs, spec, err);
}

/* Nothing was made: shown as waiting, tried again. */
static void not_created(struct view *v, struct unit *u, const struct err *why)
{
    bool config = why->code == ERR_NOT_FOUND || why->code == ERR_INVALID || why->code == ERR_UNAVAILABLE || why->code == ERR_FORBIDDEN;

    pod_tell(v, u, "Warning", "Failed", "Error: %s", why->msg);
    LOCK_SCOPE(&v->all->lock);
    unit_wait(u, config ? "CreateContainerConfigError" : "CreateContainerError", why->msg);
    u->retry_at_ms = clock_mono_ms(v->all->o.clock) + backoff_ms(++u->fails, CREATE_FIRST_MS, CREATE_MOST_MS);
}

/* It was made but could not run: an attempt that ended at once. */
static void not_started(struct view *v, struct unit *u, const struct container_spec *spec, const struct err *why)
{
    struct status_run *run = MEM_NEW(struct status_run);

    pod_tell(v, u, "Warning", "Failed", "Error: %s", why->msg);
    run->seen = SEEN_EXITED;
    run->exit_code = 128;
    run->reason = "StartError";
    run->message = mem_strdup(why->msg);
    run->finished_us = clock_wall_us(v->all->o.clock);
    (void)snprintf(run->id, sizeof(run->id), "%s", spec->id);
    LOCK_SCOPE(&v->all->lock);
    if (u->failed)
        free(u->failed->message);
    free(u->failed);
    u->failed = run;
    u->failed_attempt = spec->attempt;
    unit_wait(u, "RunContainerError", why->msg);
}

/* Only the attempt before the running one is kept. */
static void remove_old(struct view *v, const struct unit *u, int attempt)
{
    struct err err;

    for (size_t k = 0; k < v->n_containers; k++) {
        const struct container *c = &v->containers[k];

        if (strcmp(c->name, u->name) != 0 || c->attempt >= attempt - 1 || c->state != CONTAINER_EXITED)
            continue;
        if (runtime_container_remove(v->ctx, v->all->o.runtime, v->pod->uid, c->id, &err) < 0 ||
            images_unmount(v->ctx, v->all->o.images, c->id, &err) < 0)
            log_warn("old container stays", "pod=%s/%s container=%s error=%s", v->pod->ns, v->pod->name, c->name, log_q(err.msg));
    }
}

static void started(struct view *v, size_t i, const struct container_spec *spec, bool again)
{
    struct unit *u = &v->pod->units[i];
    bool hook = json_at(unit_spec(v->tree, u), "lifecycle.postStart") != NULL;

    pod_tell(v, u, "Normal", "Created", "Container created");
    pod_tell(v, u, "Normal", "Started", "Container started");
    pthread_mutex_lock(&v->all->lock);
    (void)snprintf(u->id, sizeof(u->id), "%s", spec->id);
    u->startup_ok = u->ready = u->unhealthy = u->hook_done = false;
    u->post_start_done = !hook;
    u->stop = STOP_NO;
    u->fails = 0;
    u->retry_at_ms = 0;
    memset(u->probes, 0, sizeof(u->probes));
    unit_wait(u, NULL, NULL);
    if (again)
        u->crash_ms = u->crash_ms == 0 ? CRASH_FIRST_MS : u->crash_ms * 2 < CRASH_MOST_MS ? u->crash_ms * 2 : CRASH_MOST_MS;
    pthread_mutex_unlock(&v->all->lock);
    link_log(v, spec);
    remove_old(v, u, spec->attempt);
    if (hook)
        unit_start_hook(v, i, spec->id);
}

void step_start(struct view *v, size_t i)
{
    struct unit *u = &v->pod->units[i];
    const json_t *c = unit_spec(v->tree, u);
    struct image_info info = { 0 };
    struct err err;
    struct container_spec spec = { .pod_uid = v->pod->uid, .name = u->name, .attempt = v->attempt[i] + 1 };
    char id[65];

    new_id(id);
    spec.id = id;
    if (images_find(v->all->o.images, u->image_id, &info, &err) < 0) {
        LOCK_SCOPE(&v->all->lock);
        u->image = IMAGE_UNKNOWN; /* it went meanwhile */
        return;
    }
    bool again = v->now[i] != NULL;
    if (build_spec(v, c, &info, &spec, &err) < 0) {
        struct err none;

        not_created(v, u, &err);
        ERR_IGNORE(images_unmount(v->ctx, v->all->o.images, id, &none)); /* most likely never mounted */
    } else if (runtime_container_start(v->ctx, v->all->o.runtime, &spec, &err) < 0) {
        struct err none;

        not_started(v, u, &spec, &err);
        ERR_IGNORE(images_unmount(v->ctx, v->all->o.images, id, &none)); /* the failure above is what matters */
        u->crash_ms = again ? (u->crash_ms == 0 ? CRASH_FIRST_MS : u->crash_ms * 2 < CRASH_MOST_MS ? u->crash_ms * 2 : CRASH_MOST_MS) : u->crash_ms;
    } else {
        started(v, i, &spec, again);
    }
    image_info_clear(&info);
}
