/* What lies on the node already: hostPath, and claims bound to hostPath or local volumes. */
#include "agent/volumes/tree.h"
#include "agent/volumes/volumes_int.h"

#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int path_no_backsteps(const char *path, struct err *err)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");

        if (n == 2 && !strncmp(p, "..", 2))
            return err_set(err, ERR_INVALID, "must not contain '..'");
        p += n;
        p += *p == '/';
    }
    return 0;
}

static const struct host_type {
    const char *type, *expected;
    mode_t format;
    mode_t create; /* 0: must be there */
} host_types[] = {
    { "DirectoryOrCreate", "directory", S_IFDIR, 0755 }, { "Directory", "directory", S_IFDIR, 0 },
    { "FileOrCreate", "file", S_IFREG, 0644 },           { "File", "file", S_IFREG, 0 },
    { "Socket", "socket file", S_IFSOCK, 0 },            { "CharDevice", "character device", S_IFCHR, 0 },
    { "BlockDevice", "block device", S_IFBLK, 0 },
};

static const char *type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR: return "Directory";
    case S_IFREG: return "File";
    case S_IFSOCK: return "Socket";
    case S_IFCHR: return "CharDevice";
    case S_IFBLK: return "BlockDevice";
    default: return "";
    }
}

static int make_host_file(const char *path, mode_t mode, struct err *err)
{
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

    return fd >= 0 ? 0 : err_sys(err, errno, "open %s", path);
}

static int make_host_dir(const char *path, mode_t mode, struct err *err)
{
    AUTO_FREE char *copy = mem_strdup(path);

    for (char *p = copy + 1; p[-1]; p++) {
        char c = *p;

        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdir(copy, mode) && errno != EEXIST)
            return err_sys(err, errno, "mkdir %s", copy);
        *p = c;
        if (!c)
            break;
    }
    return 0;
}

static int check_type(const char *path, const struct host_type *t, struct err *err)
{
    struct stat st;

    if (stat(path, &st)) {
        if (errno == ENOENT && t->create)
            return t->format == S_IFDIR ? make_host_dir(path, t->create, err) : make_host_file(path, t->create, err);
        return err_sys(err, errno, "hostPath type check failed, %s is not a %s, unable to determine its type", path, t->expected);
    }
    if ((st.st_mode & S_IFMT) == t->format)
        return 0;
    return err_set(err, ERR_INVALID, "hostPath type check failed: %s is not a %s, it's a %s", path, t->expected, type_of(st.st_mode));
}

static int host_check(const char *path, const char *type, struct err *err)
{
    struct stat st;
    struct err why = { 0 };

    if (*path != '/')
        return err_set(err, ERR_INVALID, "invalid HostPath `%s`: must be an absolute path", path);
    if (path_no_backsteps(path, &why) < 0)
        return err_set(err, ERR_INVALID, "invalid HostPath `%s`: %s", path, why.msg);
    if (!*type) /* not looked at; container runtimes make it when it is absent */
        return !stat(path, &st) || errno != ENOENT ? 0 : make_host_dir(path, 0755, err);
    for (size_t i = 0; i < ARRAY_LEN(host_types); i++)
        if (!strcmp(host_types[i].type, type))
            return check_type(path, &host_types[i], err);
    return err_set(err, ERR_INVALID, "%s is an invalid volume type", type);
}

int host_path_setup(struct volume_job *j, struct err *err)
{
    return host_check(json_str_or(j->source, "path", ""), json_str_or(j->source, "type", ""), err);
}

/* --- claims --- */

/* The link parent/name -> target. */
static int point_to(int parent, const char *name, const char *target, struct err *err)
{
    char now[4097];
    ssize_t n = readlinkat(parent, name, now, sizeof(now) - 1);

    if (n >= 0) {
        now[n] = '\0';
        if (!strcmp(now, target))
            return 0;
        if (unlinkat(parent, name, 0) && errno != ENOENT)
            return err_sys(err, errno, "remove %s", name);
    }
    if (symlinkat(target, parent, name))
        return err_sys(err, errno, "link %s", name);
    return 0;
}

static int bound_volume(struct volume_job *j, const char *claim, json_t **ret, struct err *err)
{
    struct object_ref ref = { .group = "", .version = "v1", .resource = "persistentvolumeclaims", .ns = meta_namespace(j->pod), .name = claim };
    AUTO(json) json_t *pvc = NULL;
    int rc = client_get(j->ctx, j->v->client, &ref, &pvc, err);

    if (rc < 0)
        return err_wrap(err, "error processing PVC %s/%s", meta_namespace(j->pod), claim);
    const char *volume = json_str_or(pvc, "spec.volumeName", "");
    if (strcmp(json_str_or(pvc, "status.phase", ""), "Bound") || !*volume)
        return err_set(err, ERR_UNAVAILABLE, "error processing PVC %s/%s: PVC is not bound", meta_namespace(j->pod), claim);
    ref = (struct object_ref){ .group = "", .version = "v1", .resource = "persistentvolumes", .name = volume };
    rc = client_get(j->ctx, j->v->client, &ref, ret, err);
    return rc < 0 ? err_wrap(err, "error processing PV %s", volume) : 0;
}

int claim_setup(struct volume_job *j, int parent, const char *claim, struct err *err)
{
    AUTO(json) json_t *pv = NULL;
    int rc = bound_volume(j, claim, &pv, err);
    const char *host = json_str(pv, "spec.hostPath.path"), *local = json_str(pv, "spec.local.path");
    struct stat st;

    if (rc < 0)
        return rc;
    if (!host && !local)
        return err_set(err, ERR_INVALID, "persistent volume %s: only hostPath and local volumes are supported by rancherd yet", meta_name(pv));
    rc = host_check(host ? host : local, host ? json_str_or(pv, "spec.hostPath.type", "") : "Directory", err);
    if (rc < 0)
        return rc;
    const char *policy = json_str_or(j->pod, "spec.securityContext.fsGroupChangePolicy", "Always");
    if (local && j->fs_group >= 0 && !stat(local, &st)) {
        bool right = st.st_gid == (gid_t)j->fs_group && (st.st_mode & 02770) == 02770;
        if (strcmp(policy, "OnRootMismatch") || !right)
            rc = tree_chgrp(AT_FDCWD, local, (gid_t)j->fs_group, false, err);
    }
    return rc < 0 ? rc : point_to(parent, j->name, host ? host : local, err);
}
