/* config.json of a container: OCI runtime specification 1.0.2. Written straight to text, in the order of the specification. */
#include "agent/runtime/runtime_int.h"

#include "lib/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void str(struct buf *to, const char *s)
{
    json_write_string(slice_of(s), to);
}

static void list(struct buf *to, const char *const *items)
{
    buf_char(to, '[');
    for (size_t i = 0; items && items[i]; i++) {
        if (i)
            buf_char(to, ',');
        str(to, items[i]);
    }
    buf_char(to, ']');
}

static bool has_env(const char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; env && env[i]; i++)
        if (strncmp(env[i], name, n) == 0 && env[i][n] == '=')
            return true;
    return false;
}

/* What every runtime gives beside the image's and the pod's. */
static void write_env(const struct pod *p, const struct container_spec *spec, struct buf *to)
{
    const char *comma = "";

    buf_str(to, ",\"env\":[");
    if (!has_env(spec->env, "PATH")) {
        buf_str(to, "\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"");
        comma = ",";
    }
    if (!has_env(spec->env, "HOSTNAME") && *p->hostname) {
        AUTO_FREE char *hostname = mem_printf("HOSTNAME=%s", p->hostname);
        buf_str(to, comma);
        str(to, hostname);
        comma = ",";
    }
    if (spec->tty && !has_env(spec->env, "TERM")) {
        buf_printf(to, "%s\"TERM=xterm\"", comma);
        comma = ",";
    }
    for (size_t i = 0; spec->env && spec->env[i]; i++) {
        buf_str(to, comma);
        str(to, spec->env[i]);
        comma = ",";
    }
    buf_char(to, ']');
}

static void write_capabilities(const char *const *caps, struct buf *to)
{
    static const char *const sets[] = { "bounding", "effective", "permitted" };

    buf_str(to, ",\"capabilities\":{");
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        buf_printf(to, "%s\"%s\":", i ? "," : "", sets[i]);
        list(to, caps);
    }
    buf_char(to, '}');
}

static void write_process(const struct pod *p, const struct container_spec *spec, struct buf *to)
{
    int score = spec->oom_score_adj > p->rt->oom_score_adj_least ? spec->oom_score_adj : p->rt->oom_score_adj_least;

    buf_printf(to, "\"process\":{\"terminal\":%s,\"user\":{\"uid\":%" PRId64 ",\"gid\":%" PRId64, spec->tty ? "true" : "false", spec->uid, spec->gid);
    if (spec->n_groups) {
        buf_str(to, ",\"additionalGids\":[");
        for (size_t i = 0; i < spec->n_groups; i++)
            buf_printf(to, "%s%" PRId64, i ? "," : "", spec->groups[i]);
        buf_char(to, ']');
    }
    buf_str(to, "},\"args\":");
    list(to, spec->argv);
    write_env(p, spec, to);
    buf_str(to, ",\"cwd\":");
    str(to, spec->cwd && *spec->cwd ? spec->cwd : "/");
    write_capabilities(spec->capabilities, to);
    buf_printf(to, ",\"noNewPrivileges\":%s,\"oomScoreAdj\":%d", spec->no_new_privs ? "true" : "false", score);
    if (spec->apparmor) {
        buf_str(to, ",\"apparmorProfile\":");
        str(to, spec->apparmor);
    }
    buf_char(to, '}');
}

/* Mounts. */

struct standard_mount {
    const char *target, *type, *source, *options; /* a list of JSON strings */
};

static bool is_target(const struct container_spec *spec, const char *target)
{
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (strcmp(spec->mounts[i].target, target) == 0)
            return true;
    return false;
}

static void write_mount(const char *target, const char *type, const char *source, const char *options, struct buf *to)
{
    if (to->b && buf_at(to)[buf_len(to) - 1] != '[')
        buf_char(to, ',');
    buf_str(to, "{\"destination\":");
    str(to, target);
    buf_str(to, ",\"type\":");
    str(to, type);
    buf_str(to, ",\"source\":");
    str(to, source);
    buf_printf(to, ",\"options\":[%s]}", options);
}

void spec_default_mounts(struct pod *p, const struct container_spec *spec, struct buf *to)
{
    const char *mode = spec->privileged ? "rw" : "ro";
    char sys[64], cgroup[64], shm[RUNTIME_PATH_BYTES];

    snprintf(sys, sizeof(sys), "\"nosuid\",\"noexec\",\"nodev\",\"%s\"", mode);
    snprintf(cgroup, sizeof(cgroup), "\"nosuid\",\"noexec\",\"nodev\",\"relatime\",\"%s\"", mode);
    if (p->host_ipc)
        snprintf(shm, sizeof(shm), "/dev/shm");
    else
        snprintf(shm, sizeof(shm), "%s/pods/%s/shm", p->rt->data_dir, p->uid);
    const struct standard_mount all[] = {
        { "/proc", "proc", "proc", "\"nosuid\",\"noexec\",\"nodev\"" },
        { "/dev", "tmpfs", "tmpfs", "\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"" },
        { "/dev/pts", "devpts", "devpts", "\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"" },
        { "/dev/mqueue", "mqueue", "mqueue", "\"nosuid\",\"noexec\",\"nodev\"" },
        { "/sys", "sysfs", "sysfs", sys },
        { "/sys/fs/cgroup", "cgroup", "cgroup", cgroup },
        { "/dev/shm", "bind", shm, "\"rbind\",\"rprivate\",\"rw\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!is_target(spec, all[i].target))
            write_mount(all[i].target, all[i].type, all[i].source, all[i].options, to);
}

static int depth_of(const char *path)
{
    int n = 0;

    for (; *path; path++)
        n += *path == '/' && path[1] && path[1] != '/';
    return n;
}

static void write_own_mount(const struct container_mount *m, struct buf *to)
{
    AUTO(buf) struct buf options = { 0 };
    bool bind = !m->type || strcmp(m->type, "bind") == 0;

    if (bind)
        buf_printf(&options, "\"rbind\",\"%s\",", m->propagation ? m->propagation : "rprivate");
    buf_str(&options, m->recursive_readonly ? "\"rro\"" : m->readonly ? "\"ro\"" : "\"rw\"");
    for (const char *o = m->options; o && *o;) {
        size_t n = strcspn(o, ",");
        buf_char(&options, ',');
        json_write_string((struct slice){ o, n }, &options);
        o += n + (o[n] == ',');
    }
    write_mount(m->target, bind ? "bind" : m->type, m->source, buf_at(&options), to);
}

/* Outer ones first, as they would hide what is inside; the caller's order else. */
static CHECK_RC int write_mounts(struct pod *p, const struct container_spec *spec, struct buf *to, struct err *err)
{
    size_t written = 0;

    buf_str(to, ",\"mounts\":[");
    spec_default_mounts(p, spec, to);
    for (int depth = 0; written < spec->n_mounts; depth++) {
        if (depth > 256)
            return err_set(err, ERR_INVALID, "a mount target has more than 256 parts");
        for (size_t i = 0; i < spec->n_mounts; i++) {
            if (depth_of(spec->mounts[i].target) != depth)
                continue;
            write_own_mount(&spec->mounts[i], to);
            written++;
        }
    }
    buf_char(to, ']');
    return 0;
}

/* The whole. */

static CHECK_RC int check(const struct container_spec *spec, struct err *err)
{
    if (!spec->argv || !spec->argv[0])
        return err_set(err, ERR_INVALID, "no command specified");
    if (!spec->rootfs || spec->rootfs[0] != '/')
        return err_set(err, ERR_INVALID, "container %s: root folder \"%s\" is not absolute", spec->name, spec->rootfs ? spec->rootfs : "");
    for (size_t i = 0; i < spec->n_mounts; i++)
        if (spec->mounts[i].target[0] != '/')
            return err_set(err, ERR_INVALID, "container %s: mount target \"%.100s\" is not absolute", spec->name, spec->mounts[i].target);
    return 0;
}

int spec_write(struct pod *p, const struct container_spec *spec, struct buf *to, struct err *err)
{
    int rc = check(spec, err);

    if (rc < 0)
        return rc;
    buf_str(to, "{\"ociVersion\":\"1.0.2\",");
    write_process(p, spec, to);
    buf_str(to, ",\"root\":{\"path\":");
    str(to, spec->rootfs);
    buf_printf(to, ",\"readonly\":%s}", spec->readonly_root ? "true" : "false");
    rc = write_mounts(p, spec, to, err);
    if (rc < 0)
        return rc;
    buf_str(to, ",\"annotations\":{");
    for (size_t i = 0; spec->labels && spec->labels[i] && spec->labels[i + 1]; i += 2) {
        buf_str(to, i ? "," : "");
        str(to, spec->labels[i]);
        buf_char(to, ':');
        str(to, spec->labels[i + 1]);
    }
    buf_str(to, "},");
    spec_linux(p, spec, to);
    buf_char(to, '}');
    return 0;
}
