/* security - who a container runs as and what it may do, from the securityContexts of pod and container. */
#include "agent/pods/pods_int.h"

#include <stdio.h>
#include <string.h>

enum { GROUPS_MAX = 256, CAPS_MAX = 64 };

/* What container runtimes give by default. Source: containerd's oci defaults, as Kubernetes' documentation points to. */
static const char *const default_caps[] = { "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FSETID",  "CAP_FOWNER",           "CAP_MKNOD",
                                            "CAP_NET_RAW", "CAP_SETGID",      "CAP_SETUID",  "CAP_SETFCAP",          "CAP_SETPCAP",
                                            "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE" };
static const char *const all_caps[] = { "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
                                        "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
                                        "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO",
                                        "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
                                        "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
                                        "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
                                        "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE" };

/* The container's own setting, else the pod's. */
static const json_t *setting(const json_t *pod, const json_t *c, const char *name)
{
    const json_t *own = json_object_get(json_object_get(c, "securityContext"), name);

    return own ? own : json_object_get(json_at(pod, "spec.securityContext"), name);
}

int64_t pod_fs_group(const json_t *pod)
{
    return json_int_or(pod, "spec.securityContext.fsGroup", -1);
}

/* --- capabilities --- */

struct caps {
    const char **at; /* CAPS_MAX + 1 */
    size_t n;
};

static void add_cap(struct caps *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i], name) == 0)
            return;
    if (s->n < CAPS_MAX)
        s->at[s->n++] = name;
}

static void drop_cap(struct caps *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->at[i], name) == 0) {
            s->at[i] = s->at[--s->n];
            return;
        }
}

static const char *cap_name(struct arena *a, const char *text)
{
    char *name = strncasecmp(text, "CAP_", 4) == 0 ? arena_strdup(a, text) : arena_printf(a, "CAP_%s", text);

    for (char *c = name; *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 32);
    return name;
}

static bool names_all(const json_t *list)
{
    size_t i = 0;
    json_t *cap = NULL;

    json_array_foreach((json_t *)list, i, cap)
        if (json_is_string(cap) && strcasecmp(json_string_value(cap), "ALL") == 0)
            return true;
    return false;
}

static void add_set(struct caps *s, const char *const *set, size_t n)
{
    for (size_t i = 0; i < n; i++)
        add_cap(s, set[i]);
}

static void set_caps(struct arena *a, const json_t *c, struct container_spec *spec)
{
    const json_t *add = json_at(c, "securityContext.capabilities.add"), *drop = json_at(c, "securityContext.capabilities.drop");
    struct caps s = { .at = arena_alloc(a, (CAPS_MAX + 1) * sizeof(char *)) };
    size_t i = 0;
    json_t *cap = NULL;

    if (spec->privileged || names_all(add))
        add_set(&s, all_caps, ARRAY_LEN(all_caps));
    else if (!names_all(drop))
        add_set(&s, default_caps, ARRAY_LEN(default_caps));
    if (!spec->privileged) {
        json_array_foreach(add, i, cap)
            if (json_is_string(cap) && strcasecmp(json_string_value(cap), "ALL") != 0)
                add_cap(&s, cap_name(a, json_string_value(cap)));
        json_array_foreach(drop, i, cap)
            if (json_is_string(cap) && strcasecmp(json_string_value(cap), "ALL") != 0)
                drop_cap(&s, cap_name(a, json_string_value(cap)));
    }
    spec->capabilities = s.at;
}

/* --- user --- */

static void add_group(int64_t *groups, size_t *n, int64_t gid)
{
    for (size_t i = 0; i < *n; i++)
        if (groups[i] == gid)
            return;
    if (*n < GROUPS_MAX)
        groups[(*n)++] = gid;
}

static void set_groups(struct arena *a, const json_t *pod, const int64_t *image_groups, size_t n_image, struct container_spec *spec)
{
    int64_t *groups = arena_alloc(a, GROUPS_MAX * sizeof(*groups));
    const char *policy = json_str_or(pod, "spec.securityContext.supplementalGroupsPolicy", "Merge");
    size_t n = 0, i = 0;
    json_t *g = NULL;

    if (strcmp(policy, "Strict") != 0)
        for (size_t k = 0; k < n_image; k++)
            add_group(groups, &n, image_groups[k]);
    json_array_foreach(json_at(pod, "spec.securityContext.supplementalGroups"), i, g)
        add_group(groups, &n, json_integer_value(g));
    if (pod_fs_group(pod) >= 0)
        add_group(groups, &n, pod_fs_group(pod));
    spec->groups = groups;
    spec->n_groups = n;
}

/* Source: upstream's verifyRunAsNonRoot. */
static int check_non_root(const json_t *pod, const json_t *c, const char *image_user, int64_t uid, bool own, struct err *err)
{
    const char *ns = meta_namespace(pod), *name = meta_name(pod), *id = meta_uid(pod), *cname = json_str_or(c, "name", "");

    if (!json_is_true(setting(pod, c, "runAsNonRoot")))
        return 0;
    if (own && uid == 0)
        return err_set(err, ERR_INVALID, "container's runAsUser breaks non-root policy (pod: \"%s_%s(%s)\", container: %s)", name, ns, id, cname);
    if (!own && *image_user && (*image_user < '0' || *image_user > '9'))
        return err_set(err, ERR_INVALID,
                       "container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: \"%s_%s(%s)\", container: %s)",
                       image_user, name, ns, id, cname);
    if (!own && uid == 0)
        return err_set(err, ERR_INVALID, "container has runAsNonRoot and image will run as root (pod: \"%s_%s(%s)\", container: %s)", name, ns, id,
                       cname);
    return 0;
}

static int set_user(struct arena *a, const json_t *pod, const json_t *c, const struct image_info *image, const char *rootfs, struct container_spec *spec,
                    struct err *err)
{
    const json_t *user = setting(pod, c, "runAsUser"), *group = setting(pod, c, "runAsGroup");
    const char *image_user = image->user ? image->user : "";
    const char *who = user ? arena_printf(a, "%lld", (long long)json_integer_value(user)) : image_user;
    AUTO_FREE int64_t *groups = NULL;
    size_t n = 0;

    if (images_user(rootfs, who, &spec->uid, &spec->gid, &groups, &n, err) < 0)
        return err_wrap(err, "container user");
    if (check_non_root(pod, c, image_user, spec->uid, user != NULL, err) < 0)
        return -(int)err->code;
    if (group)
        spec->gid = json_integer_value(group);
    set_groups(a, pod, groups, n, spec);
    return 0;
}

static int set_seccomp(const json_t *pod, const json_t *c, struct container_spec *spec, struct err *err)
{
    const json_t *profile = setting(pod, c, "seccompProfile");
    const char *type = json_str_or(profile, "type", "Unconfined");

    if (spec->privileged || strcmp(type, "Unconfined") == 0)
        return 0;
    if (strcmp(type, "RuntimeDefault") == 0) {
        spec->seccomp = seccomp_default();
        return 0;
    }
    return err_set(err, ERR_INVALID, "seccomp profile type %s is not supported by rancherd yet", type);
}

int security_fill(struct ctx *ctx, const json_t *pod, const json_t *container, const struct image_info *image, const char *rootfs,
                  struct container_spec *spec, struct err *err)
{
    static const char *const none[] = { NULL };
    const json_t *own = json_object_get(container, "securityContext");

    spec->privileged = json_bool_or(own, "privileged", false);
    spec->readonly_root = json_bool_or(own, "readOnlyRootFilesystem", false);
    spec->no_new_privs = json_is_false(json_object_get(own, "allowPrivilegeEscalation"));
    if (spec->privileged || strcmp(json_str_or(own, "procMount", "Default"), "Unmasked") == 0)
        spec->masked_paths = spec->readonly_paths = none;
    set_caps(ctx->arena, container, spec);
    if (set_user(ctx->arena, pod, container, image, rootfs, spec, err) < 0)
        return -(int)err->code;
    return set_seccomp(pod, container, spec, err);
}
