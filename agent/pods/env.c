#include "agent/pods/env.h"
#include "agent/pods/env_int.h"

#include "agent/volumes/tree.h"
#include "agent/volumes/volumes.h"
#include "lib/crypto.h"
#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <string.h>

/* --- opening --- */

static void free_space(void *space)
{
    map_free(space);
}

int pod_env_open(const struct pod_env_options *options, struct pod_env **ret, struct err *err)
{
    static const struct informer_handler handler = { env_service_set, env_service_delete, env_service_sync };
    static const struct object_ref services = { .group = "", .version = "v1", .resource = "services" };
    static const struct client_list_opts all = { 0 };
    AUTO_FREE char *pods = mem_printf("%s/pods", options->data_dir);
    int fd = -1, rc = tree_open(pods, &fd, err);

    if (rc < 0)
        return rc;
    struct pod_env *e = MEM_NEW(struct pod_env);
    *e = (struct pod_env){
        .data_dir = mem_strdup(options->data_dir),
        .host_ip = mem_strdup(options->host_ip ? options->host_ip : ""),
        .cluster_dns = mem_strdup(options->cluster_dns ? options->cluster_dns : ""),
        .cluster_domain = mem_strdup(options->cluster_domain ? options->cluster_domain : ""),
        .resolv_conf = mem_strdup(options->resolv_conf),
        .client = options->client,
        .pods_fd = fd,
        .spaces = map_new(free_space),
    };
    pthread_mutex_init(&e->lock, NULL);
    if (options->informers)
        informers_add(options->informers, &services, &all, &handler, e);
    *ret = e;
    return 0;
}

void pod_env_close(struct pod_env *e)
{
    if (!e)
        return;
    close(e->pods_fd);
    map_free(e->spaces);
    pthread_mutex_destroy(&e->lock);
    free(e->data_dir);
    free(e->host_ip);
    free(e->cluster_dns);
    free(e->cluster_domain);
    free(e->resolv_conf);
    free(e);
}

/* --- $(VAR) --- */

typedef const char *lookup_fn(void *arg, const char *name, size_t n); /* NULL: unknown */

static void expand(const char *text, lookup_fn *lookup, void *arg, struct buf *to)
{
    for (const char *p = text; *p; p++) {
        const char *end, *value;

        if (p[0] == '$' && p[1] == '$') {
            buf_char(to, *p++);
        } else if (p[0] == '$' && p[1] == '(' && (end = strchr(p + 2, ')'))) {
            value = lookup(arg, p + 2, (size_t)(end - p - 2));
            if (value)
                buf_str(to, value);
            else
                buf_add(to, p, (size_t)(end + 1 - p));
            p = end;
        } else {
            buf_char(to, *p);
        }
    }
}

static const char *lookup_list(void *arg, const char *name, size_t n)
{
    const char *found = NULL;

    for (const char *const *e = arg; *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=')
            found = *e + n + 1;
    return found;
}

const char *pod_env_expand(struct arena *a, const char *text, const char *const *env)
{
    AUTO(buf) struct buf to = { 0 };

    if (!strchr(text, '$'))
        return arena_strdup(a, text);
    expand(text, lookup_list, (void *)env, &to);
    return arena_strdup(a, buf_at(&to));
}

/* --- building --- */

/* One environment on its way. Values live in the arena. */
struct build {
    struct ctx *ctx;
    struct pod_env *e;
    const json_t *pod, *container;
    const struct pod_place *place;
    struct map *own, *services; /* name to value: what env and envFrom gave; what Services gave */
    struct map *objects;        /* "configmaps/x" to a tree fetched already */
    const char **list;          /* the result in order */
    size_t n, cap;
    struct map *at; /* name to its place in list + 1 */
};

static void auto_map(struct map **m)
{
    map_free(*m);
}

static void free_tree(void *tree)
{
    json_decref(tree);
}

static void list_set(struct build *b, const char *name, size_t n_name, const char *value)
{
    AUTO_FREE char *key = slice_dup((struct slice){ name, n_name });
    size_t place = (size_t)(uintptr_t)map_get(b->at, key);

    if (!place) {
        if (b->n + 1 >= b->cap) {
            b->cap = b->cap ? b->cap * 2 : 64;
            const char **more = arena_alloc(b->ctx->arena, b->cap * sizeof(*more));
            if (b->n)
                memcpy(more, b->list, b->n * sizeof(*more));
            b->list = more;
        }
        place = ++b->n;
        map_set(b->at, key, (void *)(uintptr_t)place);
    }
    b->list[place - 1] = arena_printf(b->ctx->arena, "%s=%s", key, value);
}

static void list_image(struct build *b, const char *const *image_env)
{
    for (; image_env && *image_env; image_env++) {
        const char *eq = strchr(*image_env, '=');

        if (eq && eq != *image_env)
            list_set(b, *image_env, (size_t)(eq - *image_env), eq + 1);
    }
}

static void set_own(struct build *b, const char *name, const char *value)
{
    map_set(b->own, name, arena_strdup(b->ctx->arena, value));
    list_set(b, name, strlen(name), value);
}

static void add_service(void *arg, const char *name, const char *value)
{
    struct build *b = arg;

    map_set(b->services, name, arena_strdup(b->ctx->arena, value));
    list_set(b, name, strlen(name), value);
}

static const char *lookup_build(void *arg, const char *name, size_t n)
{
    const struct build *b = arg;
    const char *value = map_get_n(b->own, name, n);

    return value ? value : map_get_n(b->services, name, n);
}

/* The config map or secret; NULL in *ret when it is absent and optional. Borrowed. */
static int object_of(struct build *b, bool secret, const char *name, bool optional, const json_t **ret, struct err *err)
{
    const char *resource = secret ? "secrets" : "configmaps";
    struct object_ref ref = { .group = "", .version = "v1", .resource = resource, .ns = meta_namespace(b->pod), .name = name };
    AUTO_FREE char *key = mem_printf("%s/%s", resource, name);
    struct err why = { 0 };
    json_t *tree = map_get(b->objects, key);

    if (!tree) {
        int rc = *name ? client_get(b->ctx, b->e->client, &ref, &tree, &why) : err_set(&why, ERR_NOT_FOUND, "no name");

        if (rc < 0 && why.code == ERR_NOT_FOUND && !why.sys) {
            *ret = NULL;
            return optional ? 0 : err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", secret ? "secret" : "configmap", name);
        }
        if (rc < 0) {
            *err = why;
            return rc;
        }
        map_set(b->objects, key, tree);
    }
    *ret = tree;
    return 0;
}

/* A value of one: text, or base64 of a secret. Errors: INVALID for a NUL, which no environment can hold. */
static int text_of(bool secret, const char *key, const json_t *v, struct buf *to, struct err *err)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";
    size_t n = json_is_string(v) ? json_string_length(v) : 0;

    if (!secret)
        buf_add(to, s, n);
    else if (base64_read(s, n, to) < 0)
        return err_set(err, ERR_INVALID, "the value of key %s is no base64", key);
    if (buf_len(to) && memchr(buf_at(to), '\0', buf_len(to)))
        return err_set(err, ERR_INVALID, "the value of key %s holds a NUL byte", key);
    return 0;
}

static int add_from(struct build *b, const json_t *from, struct err *err)
{
    bool secret = json_is_object(json_object_get(from, "secretRef"));
    const json_t *ref = json_object_get(from, secret ? "secretRef" : "configMapRef"), *object = NULL;
    const char *prefix = json_str_or(from, "prefix", ""), *key;
    json_t *v;
    int rc;

    if (!json_is_object(ref))
        return 0;
    rc = object_of(b, secret, json_str_or(ref, "name", ""), json_bool_or(ref, "optional", false), &object, err);
    if (rc < 0)
        return rc;
    json_object_foreach(json_object_get(object, "data"), key, v) {
        AUTO_FREE char *name = mem_printf("%s%s", prefix, key);
        AUTO(buf) struct buf value = { 0 };

        rc = text_of(secret, key, v, &value, err);
        if (rc < 0)
            return rc;
        set_own(b, name, buf_at(&value));
    }
    return 0;
}

/* 1: the variable is left out. */
static int key_value(struct build *b, const json_t *ref, bool secret, struct buf *to, struct err *err)
{
    const char *name = json_str_or(ref, "name", ""), *key = json_str_or(ref, "key", "");
    bool optional = json_bool_or(ref, "optional", false);
    const json_t *object = NULL, *v;
    int rc = object_of(b, secret, name, optional, &object, err);

    if (rc < 0)
        return rc;
    v = json_object_get(json_object_get(object, "data"), key);
    if (v)
        return text_of(secret, key, v, to, err);
    if (optional)
        return 1;
    return err_set(err, ERR_NOT_FOUND, "couldn't find key %s in %s %s/%s", key, secret ? "Secret" : "ConfigMap", meta_namespace(b->pod), name);
}

static const json_t *container_named(const json_t *pod, const char *name)
{
    static const char *const lists[] = { "containers", "initContainers" };

    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        json_t *list = json_object_get(json_object_get(pod, "spec"), lists[l]), *c;
        size_t i;

        json_array_foreach(list, i, c)
            if (!strcmp(json_str_or(c, "name", ""), name))
                return c;
    }
    return NULL;
}

static int resource_value(struct build *b, const json_t *ref, struct buf *to, struct err *err)
{
    const char *name = json_str_or(ref, "containerName", "");
    const json_t *container = *name ? container_named(b->pod, name) : b->container;

    if (!container)
        return err_set(err, ERR_INVALID, "container %s not found", name);
    return downward_resource(container, ref, b->place->node_allocatable, to, err);
}

static int value_from(struct build *b, const json_t *from, struct buf *to, struct err *err)
{
    const json_t *ref;

    if ((ref = json_object_get(from, "fieldRef")))
        return downward_field(b->pod, json_str_or(ref, "fieldPath", ""), b->place->pod_ip, b->e->host_ip, to, err);
    if ((ref = json_object_get(from, "resourceFieldRef")))
        return resource_value(b, ref, to, err);
    if ((ref = json_object_get(from, "configMapKeyRef")))
        return key_value(b, ref, false, to, err);
    if ((ref = json_object_get(from, "secretKeyRef")))
        return key_value(b, ref, true, to, err);
    if (json_object_get(from, "fileKeyRef"))
        return err_set(err, ERR_INVALID, "variables from files (fileKeyRef) are not supported by rancherd yet");
    return 0;
}

static int add_env(struct build *b, const json_t *var, struct err *err)
{
    const char *value = json_str_or(var, "value", "");
    const json_t *from = json_object_get(var, "valueFrom");
    AUTO(buf) struct buf to = { 0 };
    int rc = 0;

    if (*value)
        expand(value, lookup_build, b, &to);
    else if (json_is_object(from))
        rc = value_from(b, from, &to, err);
    if (rc == 0)
        set_own(b, json_str_or(var, "name", ""), buf_at(&to));
    return rc < 0 ? rc : 0;
}

static bool is_static(const json_t *pod)
{
    const char *source = meta_annotation(pod, "kubernetes.io/config.source");

    return source && strcmp(source, "api") != 0;
}

static int build_all(struct build *b, const char *const *image_env, struct err *err)
{
    json_t *from = json_object_get(b->container, "envFrom"), *env = json_object_get(b->container, "env"), *one;
    bool links = json_bool_or(b->pod, "spec.enableServiceLinks", true);
    size_t i;
    int rc;

    if (json_bool_or(b->container, "tty", false))
        list_set(b, "TERM", 4, "xterm"); /* PATH and HOSTNAME are the runtime's to give where they are missing */
    list_image(b, image_env);
    if (!env_services_each(b->e, meta_namespace(b->pod), links, add_service, b) && !is_static(b->pod))
        return err_set(err, ERR_UNAVAILABLE, "services have not yet been read at least once, cannot construct envvars");
    json_array_foreach(from, i, one)
        if ((rc = add_from(b, one, err)) < 0)
            return rc;
    json_array_foreach(env, i, one)
        if ((rc = add_env(b, one, err)) < 0)
            return rc;
    return 0;
}

int pod_env_build(struct ctx *ctx, struct pod_env *e, const json_t *pod, const json_t *container, const char *const *image_env,
                  const struct pod_place *place, const char *const **ret, struct err *err)
{
    AUTO(map) struct map *own = map_new(NULL), *services = map_new(NULL), *objects = map_new(free_tree), *at = map_new(NULL);
    struct build b = { .ctx = ctx, .e = e, .pod = pod, .container = container, .place = place,
                       .own = own, .services = services, .objects = objects, .at = at };
    int rc = build_all(&b, image_env, err);

    if (rc < 0)
        return rc;
    static const char *const none[] = { NULL };
    if (b.n)
        b.list[b.n] = NULL; /* list_set keeps room */
    *ret = b.n ? b.list : none;
    return 0;
}
