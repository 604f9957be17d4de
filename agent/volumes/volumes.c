#include "agent/volumes/sub_path.h"
#include "agent/volumes/tree.h"
#include "agent/volumes/volumes_int.h"

#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* --- the kinds --- */

enum place { PLACE_POD, PLACE_MEMORY, PLACE_HOST };

struct volume_kind {
    const char *source, *folder; /* spec.volumes[].<source>; below pods/<uid>/volumes */
    enum place place;
    bool content; /* written by the atomic writer: read-only for containers */
    int (*setup)(struct volume_job *j, int parent, const char *parent_path, struct err *err);
};

static mode_t default_mode(const struct volume_job *j)
{
    return (mode_t)json_int_or(j->source, "defaultMode", 0644) & 07777;
}

static int setup_config_map(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    AUTO(map) struct map *payload = payload_new();
    int rc = payload_config_map(j, j->source, default_mode(j), payload, err);

    (void)parent_path;
    return rc < 0 ? rc : atomic_write(j, parent, payload, err);
}

static int setup_secret(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    AUTO(map) struct map *payload = payload_new();
    int rc = payload_secret(j, j->source, default_mode(j), payload, err);

    (void)parent_path;
    return rc < 0 ? rc : atomic_write(j, parent, payload, err);
}

static int setup_downward(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    AUTO(map) struct map *payload = payload_new();
    int rc = payload_downward(j, j->source, default_mode(j), payload, err);

    (void)parent_path;
    return rc < 0 ? rc : atomic_write(j, parent, payload, err);
}

static int project(struct volume_job *j, const json_t *projection, int dir, struct map *to, struct err *err)
{
    static const struct {
        const char *name;
        int (*add)(struct volume_job *j, const json_t *source, mode_t mode, struct map *to, struct err *err);
    } sources[] = { { "secret", payload_secret },
                    { "configMap", payload_config_map },
                    { "downwardAPI", payload_downward },
                    { "clusterTrustBundle", payload_trust_bundle } };
    const json_t *source = json_object_get(projection, "serviceAccountToken");

    if (json_is_object(source))
        return payload_token(j, source, default_mode(j), dir, to, err);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        if (json_is_object(source = json_object_get(projection, sources[i].name)))
            return sources[i].add(j, source, default_mode(j), to, err);
    if (json_object_get(projection, "podCertificate"))
        return err_set(err, ERR_INVALID, "podCertificate projections are not supported by rancherd yet");
    return 0;
}

static int setup_projected(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    AUTO(map) struct map *payload = payload_new();
    AUTO_FD int dir = openat(parent, j->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    json_t *all = json_object_get(j->source, "sources"), *one;
    size_t i;

    (void)parent_path;
    json_array_foreach(all, i, one) {
        int rc = project(j, one, dir, payload, err);
        if (rc < 0)
            return rc;
    }
    return atomic_write(j, parent, payload, err);
}

static int setup_host_path(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    (void)parent;
    (void)parent_path;
    return host_path_setup(j, err);
}

static int setup_claim(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    (void)parent_path;
    return claim_setup(j, parent, json_str_or(j->source, "claimName", ""), err);
}

/* A generic ephemeral volume's claim bears the pod's and the volume's name. */
static int setup_ephemeral(struct volume_job *j, int parent, const char *parent_path, struct err *err)
{
    AUTO_FREE char *claim = mem_printf("%s-%s", meta_name(j->pod), j->name);

    (void)parent_path;
    return claim_setup(j, parent, claim, err);
}

static const struct volume_kind kinds[] = {
    { "emptyDir", "kubernetes.io~empty-dir", PLACE_POD, false, empty_dir_setup },
    { "hostPath", NULL, PLACE_HOST, false, setup_host_path },
    { "configMap", "kubernetes.io~configmap", PLACE_POD, true, setup_config_map },
    { "secret", NULL, PLACE_MEMORY, true, setup_secret },
    { "projected", NULL, PLACE_MEMORY, true, setup_projected },
    { "downwardAPI", NULL, PLACE_MEMORY, true, setup_downward },
    { "persistentVolumeClaim", "kubernetes.io~local-volume", PLACE_POD, false, setup_claim },
    { "ephemeral", "kubernetes.io~local-volume", PLACE_POD, false, setup_ephemeral },
};

static const struct volume_kind *kind_of(const json_t *volume, const json_t **ret_source)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const json_t *source = json_object_get(volume, kinds[i].source);

        if (json_is_object(source)) {
            *ret_source = source;
            return &kinds[i];
        }
    }
    return NULL;
}

/* A volume without any source is an emptyDir. */
static int unsupported(const json_t *volume, struct err *err)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)volume, key, v)
        if (strcmp(key, "name"))
            return err_set(err, ERR_INVALID, "volumes of the type %s are not supported by rancherd yet", key);
    return err_set(err, ERR_INVALID, "the volume has no source");
}

/* --- opening --- */

static bool may_be_folder(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) <= 255;
}

static int open_memory(struct volumes *v, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/memory", v->data_dir);
    AUTO_FD int below = -1;
    bool mounted = false;
    int rc = tree_open(path, &below, err);

    if (rc == 0)
        rc = tree_is_mount(below, "", &mounted, err);
    if (rc < 0)
        return rc;
    if (!mounted && mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0750"))
        return err_sys(err, errno, "mount tmpfs at %s", path);
    return tree_open(path, &v->memory_fd, err);
}

int volumes_open(const struct volumes_options *options, struct volumes **ret, struct err *err)
{
    AUTO_FREE char *pods = mem_printf("%s/pods", options->data_dir);
    struct volumes *v = MEM_NEW(struct volumes);
    int rc;

    *v = (struct volumes){ .data_dir = mem_strdup(options->data_dir), .client = options->client, .clock = options->clock,
                           .allocatable = options->allocatable, .arg = options->arg, .pods_fd = -1, .memory_fd = -1 };
    rc = tree_open(pods, &v->pods_fd, err);
    if (rc == 0)
        rc = open_memory(v, err);
    if (rc < 0) {
        volumes_close(v);
        return err_wrap(err, "open the pods' volumes");
    }
    *ret = v;
    return 0;
}

void volumes_close(struct volumes *v)
{
    struct err ignored = { 0 };
    bool mounted = false;

    if (!v)
        return;
    if (v->pods_fd >= 0)
        close(v->pods_fd);
    if (v->memory_fd >= 0) {
        AUTO_FREE char *path = mem_printf("%s/memory", v->data_dir);

        close(v->memory_fd);
        /* With no pod left the folder is empty, and the mount, which then is nobody's, goes too. */
        if (tree_is_mount(AT_FDCWD, path, &mounted, &ignored) == 0 && mounted) {
            AUTO_FREE char *probe = mem_printf("%s/.", path);
            struct stat st;
            if (!stat(probe, &st) && st.st_nlink == 2)
                (void)umount2(path, UMOUNT_NOFOLLOW);
        }
    }
    free(v->data_dir);
    free(v);
}

/* --- setting up --- */

/* Whom files of content may belong to: the one user all containers run as. -1: there is no such one. */
static int64_t common_user(const json_t *pod)
{
    static const char *const lists[] = { "initContainers", "containers" };
    int64_t of_pod = json_int_or(pod, "spec.securityContext.runAsUser", -1), found = -1;

    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        json_t *list = json_object_get(json_object_get(pod, "spec"), lists[l]), *c;
        size_t i;

        json_array_foreach(list, i, c) {
            int64_t user = json_int_or(c, "securityContext.runAsUser", of_pod);

            if (user < 0 || (found >= 0 && found != user))
                return -1;
            found = user;
        }
    }
    return found;
}

/* Opens the folder the volume lies in. -1 and no path where it lies on the host. */
static int open_parent(struct volumes *v, const char *uid, const struct volume_kind *k, int *ret_fd, char **ret_path, struct err *err)
{
    AUTO_FREE char *below = k->place == PLACE_POD ? mem_printf("%s/volumes/%s", uid, k->folder) : mem_strdup(uid);
    int rc;

    if (k->place == PLACE_HOST)
        return 0;
    rc = tree_make(k->place == PLACE_POD ? v->pods_fd : v->memory_fd, below, 0750, ret_fd, err);
    if (rc == 0)
        *ret_path = mem_printf("%s/%s/%s", v->data_dir, k->place == PLACE_POD ? "pods" : "memory", below);
    return rc;
}

static int setup_one(struct volume_job *j, struct err *err)
{
    const struct volume_kind *k = kind_of(j->volume, &j->source);
    AUTO_FREE char *path = NULL;
    AUTO_FD int parent = -1;
    int rc;

    if (!may_be_folder(j->name))
        return err_set(err, ERR_INVALID, "the volume's name can't be a folder");
    if (!k)
        return unsupported(j->volume, err);
    rc = ctx_check(j->ctx, err);
    if (rc == 0)
        rc = open_parent(j->v, meta_uid(j->pod), k, &parent, &path, err);
    return rc < 0 ? rc : k->setup(j, parent, path, err);
}

int volumes_setup(struct ctx *ctx, struct volumes *v, const json_t *pod, int64_t *ret_again_ms, struct err *err)
{
    struct volume_job j = { .ctx = ctx, .v = v, .pod = pod, .again_ms = -1, .fs_user = common_user(pod),
                            .fs_group = json_int_or(pod, "spec.securityContext.fsGroup", -1) };
    json_t *all = json_at(pod, "spec.volumes"), *one;
    int first = 0;
    size_t i;

    if (!may_be_folder(meta_uid(pod)))
        return err_set(err, ERR_INVALID, "the pod's uid \"%s\" can't be a folder", meta_uid(pod));
    json_array_foreach(all, i, one) { /* one that fails doesn't keep the others */
        struct err why = { 0 };

        j.volume = one;
        j.name = json_str_or(one, "name", "");
        if (setup_one(&j, &why) < 0 && first == 0) {
            *err = why;
            first = err_wrap(err, "MountVolume.SetUp failed for volume \"%s\" ", j.name);
        }
    }
    if (first < 0)
        return first;
    *ret_again_ms = j.again_ms;
    return 0;
}

/* --- looking up --- */

static const json_t *volume_named(const json_t *pod, const char *name)
{
    json_t *all = json_at(pod, "spec.volumes"), *one;
    size_t i;

    json_array_foreach(all, i, one)
        if (!strcmp(json_str_or(one, "name", ""), name))
            return one;
    return NULL;
}

bool volumes_readonly(const json_t *pod, const char *volume)
{
    const json_t *source = NULL, *v = volume_named(pod, volume);
    const struct volume_kind *k = v ? kind_of(v, &source) : NULL;

    return k && (k->content || (!strcmp(k->source, "persistentVolumeClaim") && json_bool_or(source, "readOnly", false)));
}

int volumes_path(struct ctx *ctx, struct volumes *v, const json_t *pod, const struct volume_use *use, char **ret, struct err *err)
{
    const json_t *source = NULL, *volume = volume_named(pod, use->volume);
    const struct volume_kind *k = volume ? kind_of(volume, &source) : NULL;
    AUTO_FREE char *path = NULL;
    struct stat st;

    (void)ctx;
    if (!volume || !may_be_folder(use->volume) || !may_be_folder(meta_uid(pod)))
        return err_set(err, ERR_NOT_FOUND, "cannot find volume \"%s\" to mount into container \"%s\"", use->volume, use->container);
    if (!k)
        return unsupported(volume, err);
    if (k->place == PLACE_HOST)
        path = mem_strdup(json_str_or(source, "path", "/"));
    else if (k->place == PLACE_MEMORY)
        path = mem_printf("%s/memory/%s/%s", v->data_dir, meta_uid(pod), use->volume);
    else
        path = mem_printf("%s/pods/%s/volumes/%s/%s", v->data_dir, meta_uid(pod), k->folder, use->volume);
    if (stat(path, &st))
        return err_sys(err, errno, "volume \"%s\": %s", use->volume, path);
    if (use->sub_path && *use->sub_path)
        return sub_path_prepare(v, meta_uid(pod), path, use, ret, err);
    *ret = TAKE(path);
    return 0;
}

/* --- who uses what --- */

static bool names(const json_t *v, const char *path, const char *name)
{
    return !strcmp(json_str_or(v, path, ""), name);
}

static bool volume_uses(const json_t *volume, bool secret, const char *name)
{
    json_t *all = json_at(volume, "projected.sources"), *one;
    size_t i;

    if (names(volume, secret ? "secret.secretName" : "configMap.name", name))
        return true;
    json_array_foreach(all, i, one)
        if (names(one, secret ? "secret.name" : "configMap.name", name))
            return true;
    return false;
}

static bool container_uses(const json_t *c, bool secret, const char *name)
{
    json_t *env = json_object_get(c, "env"), *from = json_object_get(c, "envFrom"), *one;
    size_t i;

    json_array_foreach(env, i, one)
        if (names(one, secret ? "valueFrom.secretKeyRef.name" : "valueFrom.configMapKeyRef.name", name))
            return true;
    json_array_foreach(from, i, one)
        if (names(one, secret ? "secretRef.name" : "configMapRef.name", name))
            return true;
    return false;
}

bool volumes_uses(const json_t *pod, const char *kind, const char *name)
{
    static const char *const lists[] = { "containers", "initContainers", "ephemeralContainers" };
    bool secret = !strcmp(kind, "Secret");
    json_t *all = json_at(pod, "spec.volumes"), *one;
    size_t i;

    if (!*name)
        return false;
    json_array_foreach(all, i, one)
        if (volume_uses(one, secret, name))
            return true;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        all = json_object_get(json_object_get(pod, "spec"), lists[l]);
        json_array_foreach(all, i, one)
            if (container_uses(one, secret, name))
                return true;
    }
    return false;
}

/* --- mount points inside a volume of content, which containers can't make themselves --- */

static int nested_of(int dir, const json_t *container, const char *volume, struct err *err)
{
    json_t *all = json_object_get(container, "volumeMounts"), *mine, *other;
    size_t i, k;

    json_array_foreach(all, i, mine) {
        const char *at = json_str_or(mine, "mountPath", "");
        size_t n = strlen(at);

        if (!names(mine, "name", volume) || *json_str_or(mine, "subPath", json_str_or(mine, "subPathExpr", "")))
            continue;
        while (n > 1 && at[n - 1] == '/')
            n--;
        json_array_foreach(all, k, other) {
            const char *path = json_str_or(other, "mountPath", "");
            int rc;

            if (strncmp(path, at, n) != 0 || path[n] != '/' || path[n + 1] == '\0')
                continue;
            rc = tree_make(dir, path + n + 1, 0755, NULL, err);
            if (rc < 0)
                return err_wrap(err, "unable to create nested volume mountpoints");
        }
    }
    return 0;
}

int nested_mountpoints(struct volume_job *j, int dir, struct err *err)
{
    static const char *const lists[] = { "containers", "initContainers", "ephemeralContainers" };

    for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
        json_t *all = json_object_get(json_object_get(j->pod, "spec"), lists[l]), *one;
        size_t i;

        json_array_foreach(all, i, one) {
            int rc = nested_of(dir, one, j->name, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* --- teardown --- */

int volumes_teardown(struct ctx *ctx, struct volumes *v, const char *pod_uid, struct err *err)
{
    static const char *const folders[] = { "volume-subpaths", "volumes" };
    AUTO_FD int pod = -1;
    int rc;

    (void)ctx;
    if (!may_be_folder(pod_uid))
        return err_set(err, ERR_INVALID, "the pod's uid \"%s\" can't be a folder", pod_uid);
    pod = openat(v->pods_fd, pod_uid, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    for (size_t i = 0; pod >= 0 && i < ARRAY_LEN(folders); i++) {
        rc = tree_remove(pod, folders[i], err);
        if (rc < 0)
            return err_wrap(err, "remove the volumes of pod %s", pod_uid);
    }
    rc = tree_remove(v->memory_fd, pod_uid, err);
    if (rc < 0)
        return err_wrap(err, "remove the volumes of pod %s", pod_uid);
    (void)unlinkat(v->pods_fd, pod_uid, AT_REMOVEDIR); /* when nobody else keeps anything there */
    return 0;
}
