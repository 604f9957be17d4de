/*
 * <data_dir>/pods/<uid>/etc/{hosts,hostname,resolv.conf} and termination/<container>/<attempt>. They are mounted into containers, so a change is written
 * in place: a new file behind the name would not be seen.
 */
#include "agent/pods/env_int.h"
#include "agent/volumes/tree.h"

#include "lib/file.h"
#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HOSTNAME_MAX = 63, FQDN_MAX = 64, FILE_MAX_BYTES = 1 << 20, TERMINATION_MAX_BYTES = 4096 };

static bool may_be_folder(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) <= 253;
}

/* --- names --- */

/* Cut to 63, without '-' or '.' at the end. */
static int cut_hostname(struct ctx *ctx, const json_t *pod, const char *name, const char **ret, struct err *err)
{
    char *copy = arena_strndup(ctx->arena, name, strnlen(name, HOSTNAME_MAX));
    size_t n = strlen(copy);

    while (strlen(name) > HOSTNAME_MAX && n > 0 && (copy[n - 1] == '-' || copy[n - 1] == '.'))
        copy[--n] = '\0';
    if (n == 0)
        return err_set(err, ERR_INVALID, "hostname for pod \"%s\" was invalid: \"%s\"", meta_name(pod), name);
    *ret = copy;
    return 0;
}

int env_names(struct ctx *ctx, struct pod_env *e, const json_t *pod, const char **ret_host, const char **ret_domain, struct err *err)
{
    const char *override = json_str_or(pod, "spec.hostnameOverride", ""), *host = json_str_or(pod, "spec.hostname", "");
    const char *sub = json_str_or(pod, "spec.subdomain", ""), *wrong;

    *ret_domain = "";
    if (*override) {
        if ((wrong = name_is_dns_subdomain(override)))
            return err_set(err, ERR_INVALID, "pod HostnameOverride \"%s\" is not a valid DNS subdomain: %s", override, wrong);
        return cut_hostname(ctx, pod, override, ret_host, err);
    }
    if (*host && (wrong = name_is_dns_label(host)))
        return err_set(err, ERR_INVALID, "pod Hostname \"%s\" is not a valid DNS label: %s", host, wrong);
    if (*sub && (wrong = name_is_dns_label(sub)))
        return err_set(err, ERR_INVALID, "pod Subdomain \"%s\" is not a valid DNS label: %s", sub, wrong);
    if (*sub)
        *ret_domain = arena_printf(ctx->arena, "%s.%s.svc.%s", sub, meta_namespace(pod), e->cluster_domain);
    return cut_hostname(ctx, pod, *host ? host : meta_name(pod), ret_host, err);
}

int pod_env_hostname(struct ctx *ctx, struct pod_env *e, const json_t *pod, const char **ret_hostname, struct err *err)
{
    const char *host = NULL, *domain = NULL;
    int rc = env_names(ctx, e, pod, &host, &domain, err);

    if (rc < 0)
        return rc;
    if (*domain && json_bool_or(pod, "spec.setHostnameAsFQDN", false)) {
        const char *whole = arena_printf(ctx->arena, "%s.%s", host, domain);

        if (strlen(whole) > FQDN_MAX)
            return err_set(err, ERR_INVALID,
                           "failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, "
                           "%zu characters requested)", whole, FQDN_MAX, strlen(whole));
        host = whole;
    }
    *ret_hostname = host;
    return 0;
}

/* --- contents --- */

static void add_aliases(const json_t *pod, struct buf *to)
{
    json_t *all = json_at(pod, "spec.hostAliases"), *one, *names, *name;
    size_t i, k;

    if (!json_array_size(all))
        return;
    buf_str(to, "\n# Entries added by HostAliases.\n");
    json_array_foreach(all, i, one) {
        buf_str(to, json_str_or(one, "ip", ""));
        names = json_object_get(one, "hostnames");
        json_array_foreach(names, k, name)
            buf_printf(to, "\t%s", json_is_string(name) ? json_string_value(name) : "");
        buf_char(to, '\n');
    }
}

/* The address's line comes with every address of the status; without one yet only pod_ip. */
static void add_addresses(const json_t *pod, const struct pod_place *place, const char *host, const char *domain, struct buf *to)
{
    json_t *all = json_at(pod, "status.podIPs");
    size_t n = json_array_size(all);

    if (strcmp(json_str_or(json_array_get(all, 0), "ip", ""), place->pod_ip))
        n = 0; /* the status is older than the address */
    for (size_t i = 0; i < (n ? n : 1); i++) {
        const char *ip = n ? json_str_or(json_array_get(all, i), "ip", "") : place->pod_ip;

        if (*ip && *domain)
            buf_printf(to, "%s\t%s.%s\t%s\n", ip, host, domain, host);
        else if (*ip)
            buf_printf(to, "%s\t%s\n", ip, host);
    }
}

static int hosts_content(struct ctx *ctx, struct pod_env *e, const json_t *pod, const struct pod_place *place, struct buf *to, struct err *err)
{
    const char *host = NULL, *domain = NULL;
    int rc;

    if (json_bool_or(pod, "spec.hostNetwork", false)) {
        AUTO_FREE char *node = NULL;
        size_t n;

        rc = file_read(AT_FDCWD, "/etc/hosts", FILE_MAX_BYTES, &node, &n, err);
        if (rc < 0)
            return rc;
        buf_str(to, "# Kubernetes-managed hosts file (host network).\n");
        buf_add(to, node, n);
        add_aliases(pod, to);
        return 0;
    }
    rc = env_names(ctx, e, pod, &host, &domain, err);
    if (rc < 0)
        return rc;
    buf_str(to, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    add_addresses(pod, place, host, domain, to);
    add_aliases(pod, to);
    return 0;
}

/* The node's own file; where it only names systemd-resolved's stub, which no pod can reach, the one with the real servers. */
static int host_resolv_conf(const struct pod_env *e, char **ret, struct err *err)
{
    const char *path = e->resolv_conf ? e->resolv_conf : "/etc/resolv.conf", *real = "/run/systemd/resolve/resolv.conf";
    struct err why = { 0 };
    size_t n;

    if (file_read(AT_FDCWD, path, FILE_MAX_BYTES, ret, &n, &why) < 0) {
        if (e->resolv_conf || why.sys != ENOENT) {
            *err = why;
            return -(int)why.code;
        }
        *ret = mem_strdup(""); /* a node without names to resolve */
        return 0;
    }
    if (!e->resolv_conf && strstr(*ret, "nameserver 127.0.0.53")) {
        char *better = NULL;

        if (file_read(AT_FDCWD, real, FILE_MAX_BYTES, &better, &n, &why) == 0) {
            free(*ret);
            *ret = better;
        }
    }
    return 0;
}

static int resolv_content(struct pod_env *e, const json_t *pod, struct buf *to, struct err *err)
{
    AUTO_FREE char *host = NULL;
    int rc = host_resolv_conf(e, &host, err);

    if (rc == 0)
        env_resolv_conf(e, pod, host, to);
    return rc;
}

/* --- files --- */

static int write_in_place(int dir, const char *name, const struct buf *content, struct err *err)
{
    AUTO_FREE char *now = NULL;
    AUTO_FD int fd = -1;
    struct err why = { 0 };
    size_t n = 0;

    if (file_read(dir, name, FILE_MAX_BYTES, &now, &n, &why) == 0 && n == buf_len(content) && !memcmp(now, buf_at(content), n))
        return 0;
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644))
        return err_sys(err, errno, "create %s", name);
    for (size_t at = 0; at < buf_len(content);) {
        ssize_t done = write(fd, buf_at(content) + at, buf_len(content) - at);

        if (done < 0 && errno != EINTR)
            return err_sys(err, errno, "write %s", name);
        at += done > 0 ? (size_t)done : 0;
    }
    return 0;
}

static int write_files(struct ctx *ctx, struct pod_env *e, const json_t *pod, const struct pod_place *place, int dir, struct err *err)
{
    AUTO(buf) struct buf hosts = { 0 }, name = { 0 }, resolv = { 0 };
    const char *hostname = NULL;
    int rc = pod_env_hostname(ctx, e, pod, &hostname, err);

    if (rc == 0)
        rc = hosts_content(ctx, e, pod, place, &hosts, err);
    if (rc == 0)
        rc = resolv_content(e, pod, &resolv, err);
    if (rc < 0)
        return rc;
    buf_printf(&name, "%s\n", hostname);
    if ((*place->pod_ip || json_bool_or(pod, "spec.hostNetwork", false)) && (rc = write_in_place(dir, "hosts", &hosts, err)) < 0)
        return rc;
    rc = write_in_place(dir, "hostname", &name, err);
    return rc < 0 ? rc : write_in_place(dir, "resolv.conf", &resolv, err);
}

int pod_env_files(struct ctx *ctx, struct pod_env *e, const json_t *pod, const struct pod_place *place, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/etc", meta_uid(pod));
    AUTO_FD int dir = -1;
    int rc;

    if (!may_be_folder(meta_uid(pod)))
        return err_set(err, ERR_INVALID, "the pod's uid \"%s\" can't be a folder", meta_uid(pod));
    rc = tree_make(e->pods_fd, path, 0755, &dir, err);
    if (rc == 0)
        rc = write_files(ctx, e, pod, place, dir, err);
    return rc < 0 ? err_wrap(err, "write the pod's files under /etc") : 0;
}

/* --- mounts --- */

static bool covered(const json_t *container, const char *target)
{
    json_t *all = json_object_get(container, "volumeMounts"), *one;
    size_t i;

    json_array_foreach(all, i, one)
        if (!strcmp(json_str_or(one, "mountPath", ""), target))
            return true;
    return false;
}

static int make_termination(struct pod_env *e, const char *uid, const char *name, int attempt, struct err *err)
{
    AUTO_FREE char *folder = mem_printf("%s/termination/%s", uid, name);
    AUTO_FD int dir = -1, fd = -1;
    char file[16];
    int rc = tree_make(e->pods_fd, folder, 0755, &dir, err);

    if (rc < 0)
        return rc;
    (void)snprintf(file, sizeof(file), "%d", attempt);
    fd = openat(dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0 || fchmod(fd, 0666)) /* whoever the container runs as writes it */
        return err_sys(err, errno, "create the termination log of %s", name);
    return 0;
}

int pod_env_mounts(struct ctx *ctx, struct pod_env *e, const json_t *pod, const json_t *container, int attempt,
                   struct container_mount ret[POD_ENV_MOUNTS], size_t *ret_n, struct err *err)
{
    static const struct {
        const char *file, *target;
        bool follows_root; /* read-only when the root is */
    } files[] = { { "hosts", "/etc/hosts", false }, { "hostname", "/etc/hostname", true }, { "resolv.conf", "/etc/resolv.conf", true } };
    const char *uid = meta_uid(pod), *name = json_str_or(container, "name", ""), *log = json_str_or(container, "terminationMessagePath", "");
    bool readonly = json_bool_or(container, "securityContext.readOnlyRootFilesystem", false);
    size_t n = 0;

    if (!may_be_folder(uid) || !may_be_folder(name))
        return err_set(err, ERR_INVALID, "container \"%s\" of pod uid \"%s\" can't be a folder", name, uid);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        const char *source = arena_printf(ctx->arena, "%s/pods/%s/etc/%s", e->data_dir, uid, files[i].file);

        if (!covered(container, files[i].target) && !access(source, F_OK))
            ret[n++] = (struct container_mount){ .source = source, .target = files[i].target, .readonly = readonly && files[i].follows_root };
    }
    if (*log && !covered(container, log)) {
        int rc = make_termination(e, uid, name, attempt, err);

        if (rc < 0)
            return rc;
        ret[n++] = (struct container_mount){
            .source = arena_printf(ctx->arena, "%s/pods/%s/termination/%s/%d", e->data_dir, uid, name, attempt),
            .target = *log == '/' ? arena_strdup(ctx->arena, log) : arena_printf(ctx->arena, "/%s", log),
        };
    }
    *ret_n = n;
    return 0;
}

char *pod_env_termination(struct pod_env *e, const char *pod_uid, const char *container, int attempt)
{
    AUTO_FREE char *path = mem_printf("%s/termination/%s/%d", pod_uid, container, attempt);
    AUTO_FD int fd = -1;
    char *text = mem_zalloc(TERMINATION_MAX_BYTES + 1);
    size_t n = 0;

    if (!may_be_folder(pod_uid) || !may_be_folder(container))
        return text;
    fd = openat(e->pods_fd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    while (fd >= 0 && n < TERMINATION_MAX_BYTES) {
        ssize_t got = read(fd, text + n, TERMINATION_MAX_BYTES - n);

        if (got <= 0 && !(got < 0 && errno == EINTR))
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    return text;
}

int pod_env_remove(struct pod_env *e, const char *pod_uid, struct err *err)
{
    AUTO_FD int dir = -1;
    int rc;

    if (!may_be_folder(pod_uid))
        return err_set(err, ERR_INVALID, "the pod's uid \"%s\" can't be a folder", pod_uid);
    dir = openat(e->pods_fd, pod_uid, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "open the folder of pod %s", pod_uid);
    rc = tree_remove(dir, "etc", err);
    if (rc == 0)
        rc = tree_remove(dir, "termination", err);
    if (rc < 0)
        return rc;
    (void)unlinkat(e->pods_fd, pod_uid, AT_REMOVEDIR); /* when nobody else keeps anything there */
    return 0;
}
