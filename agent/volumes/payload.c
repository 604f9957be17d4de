#include "agent/volumes/volumes_int.h"

#include "lib/crypto.h"
#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <string.h>

static void free_file(void *p)
{
    struct payload_file *f = p;

    bytes_unref(f->data);
    free(f);
}

struct map *payload_new(void)
{
    return map_new(free_file);
}

enum { PATH_MAX_BYTES = 4096, NAME_MAX_BYTES = 255 };

/* Upstream's rules; what is fine comes back without "." and doubled slashes. */
static int clean_path(const char *path, struct buf *to, struct err *err)
{
    if (!*path)
        return err_set(err, ERR_INVALID, "invalid path: must not be empty: \"\"");
    if (*path == '/')
        return err_set(err, ERR_INVALID, "invalid path: must be relative path: %s", path);
    if (strlen(path) > PATH_MAX_BYTES)
        return err_set(err, ERR_INVALID, "invalid path: must be less than or equal to %d characters", PATH_MAX_BYTES);
    if (!strncmp(path, "..", 2) && path[2] != '\0' && path[2] != '/')
        return err_set(err, ERR_INVALID, "invalid path: must not start with '..': %s", path);
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");

        if (n == 2 && !strncmp(p, "..", 2))
            return err_set(err, ERR_INVALID, "invalid path: must not contain '..': %s", path);
        if (n > NAME_MAX_BYTES)
            return err_set(err, ERR_INVALID, "invalid path: filenames must be less than or equal to %d characters", NAME_MAX_BYTES);
        if (n > 0 && !(n == 1 && *p == '.')) {
            if (buf_len(to))
                buf_char(to, '/');
            buf_add(to, p, n);
        }
        p += n;
        p += *p == '/';
    }
    if (!buf_len(to))
        return err_set(err, ERR_INVALID, "invalid path: must name a file: %s", path);
    return 0;
}

int payload_set(struct map *payload, const char *path, const struct payload_file *file, struct err *err)
{
    AUTO(buf) struct buf clean = { 0 };
    int rc = clean_path(path, &clean, err);

    if (rc < 0) {
        bytes_unref(file->data);
        return rc;
    }
    struct payload_file *own = MEM_NEW(struct payload_file);
    *own = *file;
    map_set(payload, buf_at(&clean), own);
    return 0;
}

/* Text or base64 of one key; false: there is none. */
static bool value_of(const json_t *object, const char *plain, const char *encoded, const char *key, struct bytes **ret)
{
    const json_t *v = json_object_get(json_object_get(object, plain), key);

    if (json_is_string(v)) {
        *ret = bytes_new(json_string_value(v), json_string_length(v));
        return true;
    }
    v = json_object_get(json_object_get(object, encoded), key);
    if (!json_is_string(v))
        return false;
    struct buf raw = { 0 };
    if (base64_read(json_string_value(v), json_string_length(v), &raw) < 0)
        buf_cut(&raw, 0); /* the API server refuses such objects */
    *ret = buf_take(&raw);
    return true;
}

/* Where an object keeps its values, and what a missing key is called. */
struct keyed {
    const char *plain, *encoded, *missing;
};

static int add_all(const json_t *object, const char *member, const struct keyed *k, mode_t mode, struct map *to, struct err *err)
{
    json_t *map = json_object_get(object, member), *v;
    const char *key;

    json_object_foreach(map, key, v) {
        struct payload_file f = { .mode = mode, .uid = -1 };
        int rc;

        if (!value_of(object, k->plain, k->encoded, key, &f.data))
            continue;
        rc = payload_set(to, key, &f, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_items(const json_t *object, const json_t *source, const struct keyed *k, mode_t mode, struct map *to, struct err *err)
{
    json_t *items = json_object_get(source, "items"), *item;
    bool optional = json_bool_or(source, "optional", false);
    size_t i;

    json_array_foreach(items, i, item) {
        const char *key = json_str_or(item, "key", "");
        struct payload_file f = { .mode = (mode_t)json_int_or(item, "mode", mode) & 07777, .uid = -1 };
        int rc;

        if (!value_of(object, k->plain, k->encoded, key, &f.data)) {
            if (optional)
                continue;
            return err_set(err, ERR_INVALID, "%s: %s", k->missing, key);
        }
        rc = payload_set(to, json_str_or(item, "path", ""), &f, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_object(const json_t *object, const json_t *source, const struct keyed *k, mode_t mode, struct map *to, struct err *err)
{
    int rc;

    if (json_array_size(json_object_get(source, "items")))
        return add_items(object, source, k, mode, to, err);
    if (k->plain && (rc = add_all(object, k->plain, k, mode, to, err)) < 0)
        return rc;
    return add_all(object, k->encoded, k, mode, to, err);
}

/* The object, or NULL in *ret when it is absent and optional. singular: as the kubelet calls it in its events. */
static int fetch(struct volume_job *j, const char *resource, const char *singular, const char *name, bool optional, json_t **ret,
                 struct err *err)
{
    struct object_ref ref = { .group = "", .version = "v1", .resource = resource, .ns = meta_namespace(j->pod), .name = name };
    struct err why = { 0 };
    int rc = *name ? client_get(j->ctx, j->v->client, &ref, ret, &why) : err_set(&why, ERR_NOT_FOUND, "no name");

    if (rc == 0)
        return 0;
    if (why.code != ERR_NOT_FOUND || why.sys) {
        *err = why;
        return rc;
    }
    if (!optional)
        return err_set(err, ERR_NOT_FOUND, "%s \"%s\" not found", singular, name);
    *ret = NULL;
    return 0;
}

int payload_config_map(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err)
{
    static const struct keyed keyed = { "data", "binaryData", "configmap references non-existent config key" };
    AUTO(json) json_t *object = NULL;
    int rc = fetch(j, "configmaps", "configmap", json_str_or(source, "name", ""), json_bool_or(source, "optional", false), &object, err);

    return rc < 0 ? rc : add_object(object, source, &keyed, mode, to, err);
}

int payload_secret(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err)
{
    static const struct keyed keyed = { "", "data", "references non-existent secret key" };
    const char *name = json_str_or(source, "secretName", json_str_or(source, "name", "")); /* a volume's, a projection's */
    AUTO(json) json_t *object = NULL;
    int rc = fetch(j, "secrets", "secret", name, json_bool_or(source, "optional", false), &object, err);

    if (rc < 0)
        return rc;
    if (json_array_size(json_object_get(source, "items")))
        return add_items(object, source, &keyed, mode, to, err);
    return add_all(object, "data", &keyed, mode, to, err);
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

static int downward_item(struct volume_job *j, const json_t *item, struct buf *value, struct err *err)
{
    const char *field = json_str(item, "fieldRef.fieldPath");
    const json_t *ref = json_object_get(item, "resourceFieldRef");

    if (field) {
        if (strncmp(field, "metadata.", 9))
            return err_set(err, ERR_INVALID, "unsupported fieldPath: %s", field);
        return downward_field(j->pod, field, "", "", value, err);
    }
    if (!json_is_object(ref))
        return 0;
    const char *name = json_str_or(ref, "containerName", "");
    const json_t *container = container_named(j->pod, name);
    AUTO(json) json_t *allocatable = j->v->allocatable ? j->v->allocatable(j->v->arg) : NULL;
    if (!container)
        return err_set(err, ERR_INVALID, "container %s not found", name);
    return downward_resource(container, ref, allocatable, value, err);
}

int payload_downward(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err)
{
    json_t *items = json_object_get(source, "items"), *item;
    size_t i;

    json_array_foreach(items, i, item) {
        AUTO(buf) struct buf value = { 0 };
        int rc = downward_item(j, item, &value, err);

        if (rc < 0)
            return rc;
        struct payload_file f = { .mode = (mode_t)json_int_or(item, "mode", mode) & 07777, .uid = -1, .data = buf_take(&value) };
        rc = payload_set(to, json_str_or(item, "path", ""), &f, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* One bundle by name. By signer and labels: the newest contract of upstream joins and sorts them; not here yet, so it is said. */
int payload_trust_bundle(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err)
{
    const char *name = json_str(source, "name");
    struct object_ref ref = { .group = "certificates.k8s.io", .version = "v1beta1", .resource = "clustertrustbundles", .name = name };
    bool own = j->fs_user >= 0 || j->fs_group >= 0;
    AUTO(json) json_t *object = NULL;
    struct err why = { 0 };

    if (!name)
        return err_set(err, ERR_INVALID, "clusterTrustBundle projections by signerName are not supported by rancherd yet");
    if (client_get(j->ctx, j->v->client, &ref, &object, &why) < 0 &&
        !(why.code == ERR_NOT_FOUND && !why.sys && json_bool_or(source, "optional", false))) {
        *err = why;
        return -(int)why.code;
    }
    const char *anchors = json_str_or(object, "spec.trustBundle", "");
    struct payload_file f = { .mode = own ? 0600 : mode, .uid = j->fs_user, .data = bytes_new(anchors, strlen(anchors)) };
    return payload_set(to, json_str_or(source, "path", ""), &f, err);
}
