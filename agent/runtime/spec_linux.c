/* The "linux" part of config.json: namespaces, devices, resources, what is hidden. */
#include "agent/runtime/runtime_int.h"

#include "lib/mem.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { HOST_DEVICES_MAX = 1024, DEVICE_DEPTH_MAX = 8 };

/* The defaults of container engines. */
static const char *const masked[] = { "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                                      "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                                      "/sys/devices/virtual/powercap", NULL };
static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL };
static const char *const none[] = { NULL };

static void paths(struct buf *to, const char *key, const char *const *items)
{
    buf_printf(to, ",\"%s\":[", key);
    for (size_t i = 0; items[i]; i++) {
        if (i)
            buf_char(to, ',');
        json_write_string(slice_of(items[i]), to);
    }
    buf_char(to, ']');
}

static void namespaces(const struct pod *p, const struct container_spec *spec, struct buf *to)
{
    int shim = p->shim.pid;

    buf_str(to, "\"namespaces\":[{\"type\":\"mount\"}");
    if (p->share_pid && p->init > 0)
        buf_printf(to, ",{\"type\":\"pid\",\"path\":\"/proc/%d/ns/pid\"}", p->init);
    else if (!p->host_pid)
        buf_str(to, ",{\"type\":\"pid\"}");
    if (!p->host_network)
        buf_printf(to, ",{\"type\":\"network\",\"path\":\"/proc/%d/ns/net\"},{\"type\":\"uts\",\"path\":\"/proc/%d/ns/uts\"}", shim, shim);
    if (!p->host_ipc)
        buf_printf(to, ",{\"type\":\"ipc\",\"path\":\"/proc/%d/ns/ipc\"}", shim);
    if (!spec->host_cgroup_ns && !spec->privileged)
        buf_str(to, ",{\"type\":\"cgroup\"}");
    buf_char(to, ']');
}

/* Devices: nodes to make, and whether the device controller lets them through. */
struct devices {
    struct buf nodes, rules;
    int n;
};

static void add_device(struct devices *d, const char *host, const char *target, const char *access)
{
    struct stat st;

    if (d->n >= HOST_DEVICES_MAX || stat(host, &st) < 0 || (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)))
        return;
    const char *type = S_ISBLK(st.st_mode) ? "b" : "c";
    buf_str(&d->nodes, d->n ? ",{\"path\":" : "{\"path\":");
    json_write_string(slice_of(target), &d->nodes);
    buf_printf(&d->nodes, ",\"type\":\"%s\",\"major\":%u,\"minor\":%u,\"fileMode\":%u,\"uid\":%u,\"gid\":%u}", type, major(st.st_rdev), minor(st.st_rdev),
               st.st_mode & 07777, st.st_uid, st.st_gid);
    if (access)
        buf_printf(&d->rules, ",{\"allow\":true,\"type\":\"%s\",\"major\":%u,\"minor\":%u,\"access\":\"%.3s\"}", type, major(st.st_rdev),
                   minor(st.st_rdev), access);
    d->n++;
}

/* A privileged container sees the machine's devices; terminals and shared memory are its own. */
static void add_host_devices(struct devices *d, const char *dir, int depth)
{
    static const char *const own[] = { "pts", "shm", "fd", "mqueue", "console", "ptmx", "null", "zero", "full", "random", "urandom", "tty" };
    DIR *at = depth > DEVICE_DEPTH_MAX ? NULL : opendir(dir);

    for (struct dirent *e; at && (e = readdir(at));) {
        bool skip = e->d_name[0] == '.';
        for (size_t i = 0; depth == 0 && i < ARRAY_LEN(own); i++)
            skip = skip || strcmp(e->d_name, own[i]) == 0;
        if (skip)
            continue;
        AUTO_FREE char *path = mem_printf("%s/%s", dir, e->d_name);
        if (e->d_type == DT_DIR)
            add_host_devices(d, path, depth + 1);
        else if (e->d_type == DT_CHR || e->d_type == DT_BLK)
            add_device(d, path, path, NULL);
    }
    if (at)
        closedir(at);
}

static void cpu(const struct container_resources *r, struct buf *to)
{
    buf_str(to, ",\"cpu\":{");
    const char *comma = "";
    if (r->cpu_shares > 0) {
        buf_printf(to, "\"shares\":%" PRId64, r->cpu_shares);
        comma = ",";
    }
    if (r->cpu_quota_us > 0) {
        buf_printf(to, "%s\"quota\":%" PRId64 ",\"period\":%" PRId64, comma, r->cpu_quota_us, r->cpu_period_us > 0 ? r->cpu_period_us : 100000);
        comma = ",";
    }
    if (r->cpuset) {
        buf_printf(to, "%s\"cpus\":", comma);
        json_write_string(slice_of(r->cpuset), to);
    }
    buf_char(to, '}');
}

/* Kubernetes says "2Mi", the runtime "2MB". */
static void hugepages(const char *const *pairs, struct buf *to)
{
    buf_str(to, ",\"hugepageLimits\":[");
    for (size_t i = 0; pairs && pairs[i] && pairs[i + 1]; i += 2)
        buf_printf(to, "%s{\"pageSize\":\"%.*sB\",\"limit\":%" PRId64 "}", i ? "," : "", (int)strcspn(pairs[i], "i"), pairs[i],
                   (int64_t)strtoll(pairs[i + 1], NULL, 10));
    buf_char(to, ']');
}

/* Version 2: no swap for a container with a limit, and memory kills take the whole container, as kubelet has it. */
static void memory(const struct container_resources *r, bool v2, struct buf *to)
{
    if (r->memory_bytes > 0)
        buf_printf(to, ",\"memory\":{\"limit\":%" PRId64, r->memory_bytes);
    if (r->memory_bytes > 0 && v2)
        buf_printf(to, ",\"swap\":%" PRId64, r->memory_bytes);
    buf_str(to, r->memory_bytes > 0 ? "}" : "");
    if (v2)
        buf_str(to, ",\"unified\":{\"memory.oom.group\":\"1\"}");
}

static void resources(const struct container_spec *spec, const char *rules, bool v2, struct buf *to)
{
    const struct container_resources *r = &spec->resources;

    if (spec->privileged)
        buf_str(to, ",\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rwm\"}]");
    else
        buf_printf(to, ",\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}%s]", rules);
    memory(r, v2, to);
    cpu(r, to);
    if (r->pids > 0)
        buf_printf(to, ",\"pids\":{\"limit\":%" PRId64 "}", r->pids);
    if (r->hugepages && r->hugepages[0])
        hugepages(r->hugepages, to);
    buf_char(to, '}');
}

/* A mount that is to be seen outside, or to see what comes from outside, needs a root that lets it. */
static const char *root_propagation(const struct container_spec *spec)
{
    const char *p = NULL;

    for (size_t i = 0; i < spec->n_mounts; i++) {
        const char *m = spec->mounts[i].propagation;
        if (m && strcmp(m, "rshared") == 0)
            return "rshared";
        if (m && strcmp(m, "rslave") == 0)
            p = "rslave";
    }
    return p;
}

void spec_linux(struct pod *p, const struct container_spec *spec, struct buf *to)
{
    struct devices d = { .n = 0 };
    const char *propagation = root_propagation(spec);

    if (spec->privileged)
        add_host_devices(&d, "/dev", 0);
    for (size_t i = 0; spec->devices && spec->devices[i] && spec->devices[i + 1] && spec->devices[i + 2]; i += 3)
        add_device(&d, spec->devices[i], spec->devices[i + 1], spec->devices[i + 2]);
    buf_str(to, "\"linux\":{");
    namespaces(p, spec, to);
    buf_str(to, ",\"cgroupsPath\":");
    AUTO_FREE char *cgroup = mem_printf("/%s/%s", p->cgroup, spec->id);
    json_write_string(slice_of(cgroup), to);
    buf_printf(to, ",\"devices\":[%s]", buf_at(&d.nodes));
    resources(spec, buf_at(&d.rules), cgroups_v2(p->rt->cgroups), to);
    paths(to, "maskedPaths", spec->privileged ? none : spec->masked_paths ? spec->masked_paths : masked);
    paths(to, "readonlyPaths", spec->privileged ? none : spec->readonly_paths ? spec->readonly_paths : readonly);
    if (propagation)
        buf_printf(to, ",\"rootfsPropagation\":\"%s\"", propagation);
    if (spec->seccomp && !spec->privileged)
        buf_printf(to, ",\"seccomp\":%s", spec->seccomp);
    buf_char(to, '}');
    buf_clear(&d.nodes);
    buf_clear(&d.rules);
}
