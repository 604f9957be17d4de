#include "agent/runtime/cgroup.h"

#include "lib/mem.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { CONTROLLERS_MAX = 24, CGROUP_PATH_BYTES = 512, CGROUP_DEPTH_MAX = 16, VALUE_BYTES = 64, FILE_BYTES = 8192, KILL_ROUNDS = 64 };

static const char *const root_v2 = "/sys/fs/cgroup";

/* v1: one entry a hierarchy; v2: one in all. Constant after cgroups_open. */
struct cgroups {
    bool v2;
    int n;
    struct hierarchy {
        char *names; /* ",cpu,cpuacct," */
        char *mount;
    } at[CONTROLLERS_MAX];
};

/* Finding them. */

static void add_hierarchy(struct cgroups *c, const char *mount, const char *options)
{
    if (c->n == CONTROLLERS_MAX)
        return;
    c->at[c->n++] = (struct hierarchy){ .names = mem_printf(",%s,", options), .mount = mem_strdup(mount) };
}

struct cgroups *cgroups_open_v2(const char *root)
{
    struct cgroups *c = MEM_NEW(struct cgroups);

    c->v2 = true;
    add_hierarchy(c, root, "all");
    return c;
}

int cgroups_open(struct cgroups **ret, struct err *err)
{
    struct statfs fs;

    if (statfs(root_v2, &fs) == 0 && fs.f_type == 0x63677270) { /* CGROUP2_SUPER_MAGIC */
        *ret = cgroups_open_v2(root_v2);
        return 0;
    }
    struct cgroups *c = MEM_NEW(struct cgroups);
    FILE *f = fopen("/proc/self/mounts", "re");
    char line[1024], mount[512], type[32], options[512];
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%*s %511s %31s %511s", mount, type, options) == 3 && strcmp(type, "cgroup") == 0)
            add_hierarchy(c, mount, options);
    if (f)
        fclose(f);
    if (c->n == 0) {
        cgroups_close(c);
        return err_set(err, ERR_NOT_FOUND, "no control groups are mounted under %s", root_v2);
    }
    *ret = c;
    return 0;
}

void cgroups_close(struct cgroups *c)
{
    for (int i = 0; c && i < c->n; i++) {
        free(c->at[i].names);
        free(c->at[i].mount);
    }
    free(c);
}

bool cgroups_v2(const struct cgroups *c)
{
    return c->v2;
}

/* The hierarchy a controller is in, or NULL. */
static const struct hierarchy *find(const struct cgroups *c, const char *controller)
{
    char name[32];

    if (c->v2)
        return &c->at[0];
    snprintf(name, sizeof(name), ",%s,", controller);
    for (int i = 0; i < c->n; i++)
        if (strstr(c->at[i].names, name))
            return &c->at[i];
    return NULL;
}

static CHECK_RC int check_path(const char *cgroup, struct err *err)
{
    if (*cgroup == 0 || *cgroup == '/' || strlen(cgroup) > CGROUP_PATH_BYTES - 128 || strstr(cgroup, "..") || strstr(cgroup, "//"))
        return err_set(err, ERR_INVALID, "control group %s: no such path can be", cgroup);
    return 0;
}

/* Files. */

static CHECK_RC int put(const struct hierarchy *h, const char *cgroup, const char *file, const char *value, struct err *err)
{
    char path[CGROUP_PATH_BYTES * 2];

    snprintf(path, sizeof(path), "%s/%s/%s", h->mount, cgroup, file);
    AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return err_sys(err, errno, "write \"%s\" to %s", value, path);
    return 0;
}

static CHECK_RC int put_number(const struct hierarchy *h, const char *cgroup, const char *file, int64_t value, struct err *err)
{
    char text[VALUE_BYTES];

    snprintf(text, sizeof(text), "%" PRId64, value);
    return put(h, cgroup, file, text, err);
}

/* Text of a file, "" when it is not there. */
static void get(const struct hierarchy *h, const char *cgroup, const char *file, char *to, size_t n)
{
    char path[CGROUP_PATH_BYTES * 2];

    *to = 0;
    if (!h)
        return;
    snprintf(path, sizeof(path), "%s/%s/%s", h->mount, cgroup, file);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, to, n - 1);
    to[got > 0 ? got : 0] = 0;
}

static int64_t get_number(const struct hierarchy *h, const char *cgroup, const char *file)
{
    char text[VALUE_BYTES];

    get(h, cgroup, file, text, sizeof(text));
    return strtoll(text, NULL, 10);
}

/* A line "key value" of a flat keyed file. */
static int64_t keyed(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoll(line + n + 1, NULL, 10);
    return 0;
}

/* Making. */

/* A new cpuset of version 1 is empty, and takes no process: it gets its parent's. */
static CHECK_RC int inherit_cpuset(const struct hierarchy *h, const char *parent, const char *cgroup, struct err *err)
{
    static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };

    for (int i = 0; i < 2; i++) {
        char text[1024];
        get(h, cgroup, files[i], text, sizeof(text));
        if (text[strspn(text, "\n")])
            continue;
        get(h, parent, files[i], text, sizeof(text));
        int rc = put(h, cgroup, files[i], text, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Version 2: children have the controllers their parent hands down; one that it cannot is not there. */
static void hand_down(const struct hierarchy *h, const char *parent)
{
    static const char *const all[] = { "+cpu", "+memory", "+pids", "+cpuset", "+io", "+hugetlb" };
    struct err ignored;

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        ERR_IGNORE(put(h, parent, "cgroup.subtree_control", all[i], &ignored)); /* a kernel without it */
}

static CHECK_RC int make_in(const struct cgroups *c, const struct hierarchy *h, const char *cgroup, struct err *err)
{
    char at[CGROUP_PATH_BYTES], path[CGROUP_PATH_BYTES * 2], parent[CGROUP_PATH_BYTES] = ".";

    for (const char *end = cgroup; end; ) {
        end = strchr(end + 1, '/');
        size_t n = end ? (size_t)(end - cgroup) : strlen(cgroup);
        memcpy(at, cgroup, n);
        at[n] = 0;
        snprintf(path, sizeof(path), "%s/%s", h->mount, at);
        if (c->v2)
            hand_down(h, parent);
        bool fresh = mkdir(path, 0755) == 0;
        if (!fresh && errno != EEXIST)
            return err_sys(err, errno, "make control group %s", path);
        if (!c->v2 && strstr(h->names, ",cpuset,")) {
            int rc = inherit_cpuset(h, parent, at, err);
            if (rc < 0)
                return rc;
        }
        memcpy(parent, at, n + 1);
    }
    return 0;
}

/* Limits. */

static CHECK_RC int set_cpu(const struct cgroups *c, const char *cgroup, const struct container_resources *r, struct err *err)
{
    const struct hierarchy *h = find(c, "cpu");
    int64_t period = r->cpu_period_us > 0 ? r->cpu_period_us : 100000, shares = r->cpu_shares;
    char text[VALUE_BYTES];
    int rc = 0;

    if (!h)
        return 0;
    if (c->v2) {
        shares = shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
        if (r->cpu_shares > 0)
            rc = put_number(h, cgroup, "cpu.weight", 1 + (shares - 2) * 9999 / 262142, err);
        if (r->cpu_quota_us > 0)
            snprintf(text, sizeof(text), "%" PRId64 " %" PRId64, r->cpu_quota_us, period);
        else
            snprintf(text, sizeof(text), "max %" PRId64, period);
        return rc < 0 ? rc : put(h, cgroup, "cpu.max", text, err);
    }
    if (shares > 0)
        rc = put_number(h, cgroup, "cpu.shares", shares, err);
    if (rc == 0 && r->cpu_quota_us > 0)
        rc = put_number(h, cgroup, "cpu.cfs_period_us", period, err);
    return rc < 0 ? rc : put_number(h, cgroup, "cpu.cfs_quota_us", r->cpu_quota_us > 0 ? r->cpu_quota_us : -1, err);
}

static CHECK_RC int set_limit(const struct cgroups *c, const char *controller, const char *cgroup, const char *file, int64_t value, bool v1_minus,
                              struct err *err)
{
    const struct hierarchy *h = find(c, controller);

    if (!h)
        return 0;
    if (value > 0)
        return put_number(h, cgroup, file, value, err);
    return put(h, cgroup, file, v1_minus ? "-1" : "max", err);
}

/* Pairs "2Mi"-like size and limit; the kernel's names have "2MB". */
static CHECK_RC int set_hugepages(const struct cgroups *c, const char *cgroup, const char *const *pairs, struct err *err)
{
    const struct hierarchy *h = find(c, "hugetlb");

    for (int i = 0; h && pairs && pairs[i] && pairs[i + 1]; i += 2) {
        char file[VALUE_BYTES];
        int n = (int)strcspn(pairs[i], "i");
        snprintf(file, sizeof(file), c->v2 ? "hugetlb.%.*sB.max" : "hugetlb.%.*sB.limit_in_bytes", n > 16 ? 16 : n, pairs[i]);
        int rc = put(h, cgroup, file, pairs[i + 1], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int cgroup_set(struct cgroups *c, const char *cgroup, const struct container_resources *r, struct err *err)
{
    int rc = check_path(cgroup, err);

    for (int i = 0; rc == 0 && i < c->n; i++)
        rc = make_in(c, &c->at[i], cgroup, err);
    if (rc < 0 || !r)
        return rc;
    rc = set_cpu(c, cgroup, r, err);
    if (rc == 0)
        rc = set_limit(c, "memory", cgroup, c->v2 ? "memory.max" : "memory.limit_in_bytes", r->memory_bytes, !c->v2, err);
    if (rc == 0)
        rc = set_limit(c, "pids", cgroup, "pids.max", r->pids, false, err);
    if (rc == 0 && r->cpuset && find(c, "cpuset"))
        rc = put(find(c, "cpuset"), cgroup, "cpuset.cpus", r->cpuset, err);
    if (rc == 0)
        rc = set_hugepages(c, cgroup, r->hugepages, err);
    return rc < 0 ? err_wrap(err, "control group %s", cgroup) : 0;
}

/* Removing. */

static CHECK_RC int remove_below(const char *path, int depth, struct err *err)
{
    DIR *d = depth > CGROUP_DEPTH_MAX ? NULL : opendir(path);
    int rc = 0;

    if (!d)
        return depth > CGROUP_DEPTH_MAX ? err_set(err, ERR_TOO_LARGE, "%s: too deep", path) : errno == ENOENT ? 0 : err_sys(err, errno, "open %s", path);
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        AUTO_FREE char *below = mem_printf("%s/%s", path, e->d_name);
        rc = remove_below(below, depth + 1, err);
    }
    closedir(d);
    if (rc == 0 && rmdir(path) < 0 && errno != ENOENT)
        rc = err_sys(err, errno, "remove control group %s", path);
    return rc;
}

int cgroup_remove(struct cgroups *c, const char *cgroup, struct err *err)
{
    int rc = check_path(cgroup, err);

    for (int i = 0; rc == 0 && i < c->n; i++) {
        AUTO_FREE char *path = mem_printf("%s/%s", c->at[i].mount, cgroup);
        rc = remove_below(path, 0, err);
    }
    return rc;
}

/* Using. */

int cgroup_usage(struct cgroups *c, const char *cgroup, struct cgroup_usage *ret, struct err *err)
{
    const struct hierarchy *memory = find(c, "memory"), *cpu = find(c, c->v2 ? "cpu" : "cpuacct");
    struct cgroup_usage u = { 0 };
    char text[FILE_BYTES], path[CGROUP_PATH_BYTES * 2];
    struct stat st;
    int rc = check_path(cgroup, err);

    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%s/%s", (memory ? memory : &c->at[0])->mount, cgroup);
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "control group %s", cgroup);
    if (c->v2) {
        get(cpu, cgroup, "cpu.stat", text, sizeof(text));
        u.cpu_ns = keyed(text, "usage_usec") * 1000;
    } else {
        u.cpu_ns = get_number(cpu, cgroup, "cpuacct.usage");
    }
    u.memory_bytes = get_number(memory, cgroup, c->v2 ? "memory.current" : "memory.usage_in_bytes");
    get(memory, cgroup, "memory.stat", text, sizeof(text));
    int64_t inactive = keyed(text, c->v2 ? "inactive_file" : "total_inactive_file");
    u.working_set_bytes = u.memory_bytes > inactive ? u.memory_bytes - inactive : 0;
    u.rss_bytes = keyed(text, c->v2 ? "anon" : "total_rss");
    get(memory, cgroup, c->v2 ? "memory.events" : "memory.oom_control", text, sizeof(text));
    u.oom_kills = keyed(text, "oom_kill");
    u.pids = get_number(find(c, "pids"), cgroup, "pids.current");
    *ret = u;
    return 0;
}

char *cgroup_memory_dir(const struct cgroups *c, const char *cgroup, char *to, size_t n)
{
    const struct hierarchy *h = find(c, "memory");

    *to = 0;
    if (h && (size_t)snprintf(to, n, "%s/%s", h->mount, cgroup) >= n)
        *to = 0;
    return to;
}

/* Killing. */

/* Descriptors of the processes in a folder and below, killed. They are waited for afterwards. */
static void kill_in(const char *path, int depth, struct buf *pidfds)
{
    AUTO_FREE char *procs = mem_printf("%s/cgroup.procs", path);
    FILE *f = fopen(procs, "re");
    int pid;

    while (f && fscanf(f, "%d", &pid) == 1 && buf_len(pidfds) < 256 * sizeof(int)) {
        int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
        if (fd < 0)
            continue;
        if (pidfd_send_signal(fd, SIGKILL, NULL, 0) < 0)
            close(fd);
        else
            buf_add(pidfds, &fd, sizeof(fd));
    }
    if (f)
        fclose(f);
    DIR *d = depth > CGROUP_DEPTH_MAX ? NULL : opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        AUTO_FREE char *below = mem_printf("%s/%s", path, e->d_name);
        kill_in(below, depth + 1, pidfds);
    }
    if (d)
        closedir(d);
}

static CHECK_RC int await(struct ctx *ctx, const struct buf *pidfds, struct err *err)
{
    const int *fds = (const int *)(const void *)buf_at(pidfds);
    int rc = 0;

    for (size_t i = 0; i < buf_len(pidfds) / sizeof(int); i++) {
        struct pollfd p = { .fd = fds[i], .events = POLLIN };
        int64_t left = ctx_left_ms(ctx);
        if (rc == 0 && poll(&p, 1, left > 60000 ? 60000 : (int)left) == 0)
            rc = err_set(err, ERR_TIMEOUT, "killed processes do not end");
        close(fds[i]);
    }
    return rc;
}

int cgroup_kill(struct ctx *ctx, struct cgroups *c, const char *cgroup, struct err *err)
{
    const struct hierarchy *h = find(c, "pids") ? find(c, "pids") : &c->at[0];
    int rc = check_path(cgroup, err);
    AUTO_FREE char *path = rc < 0 ? NULL : mem_printf("%s/%s", h->mount, cgroup);

    /* Each round takes what the one before left or what it forked meanwhile. */
    for (int i = 0; rc == 0 && i < KILL_ROUNDS; i++) {
        AUTO(buf) struct buf pidfds = { 0 };
        kill_in(path, 0, &pidfds);
        if (buf_len(&pidfds) == 0)
            return 0;
        rc = await(ctx, &pidfds, err);
    }
    return rc < 0 ? rc : err_set(err, ERR_IO, "control group %s: processes come faster than they can be killed", cgroup);
}
