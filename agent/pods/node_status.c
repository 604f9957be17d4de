/* node_status - what this machine is and how it fares. */
#include "agent/pods/node_int.h"

#include "lib/file.h"
#include "lib/k8s/meta.h"
#include "lib/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

enum { FILE_MAX_BYTES = 64 * 1024, IMAGES_MAX = 50, DISK_LEAST_PERCENT = 5, ADDRESSES_MAX = 16 };
enum { MEMORY_LEAST_BYTES = 100 * 1024 * 1024 };

/* A small file of the kernel or the system, without the line's end; "" when it is not there. */
static char *text_of(const char *path)
{
    char *text = NULL;
    size_t n = 0;
    struct err none;

    if (file_read(AT_FDCWD, path, FILE_MAX_BYTES, &text, &n, &none) < 0)
        return mem_strdup("");
    text[strcspn(text, "\n")] = 0;
    return text;
}

static int64_t meminfo_bytes(const char *name)
{
    char *text = NULL;
    size_t n = 0;
    struct err none;
    int64_t kib = 0;

    if (file_read(AT_FDCWD, "/proc/meminfo", FILE_MAX_BYTES, &text, &n, &none) < 0)
        return 0;
    const char *at = strstr(text, name);
    if (at)
        kib = strtoll(at + strlen(name) + 1, NULL, 10);
    free(text);
    return kib * 1024;
}

static char *os_image(void)
{
    char *text = NULL, *name = NULL;
    size_t n = 0;
    struct err none;

    if (file_read(AT_FDCWD, "/etc/os-release", FILE_MAX_BYTES, &text, &n, &none) < 0)
        return mem_strdup("Linux");
    const char *at = strstr(text, "PRETTY_NAME=");
    if (at) {
        at += strlen("PRETTY_NAME=");
        at += *at == '"';
        name = slice_dup((struct slice){ at, strcspn(at, "\"\n") });
    }
    free(text);
    return name ? name : mem_strdup("Linux");
}

static const char *arch_of(const char *machine)
{
    static const char *const names[][2] = { { "x86_64", "amd64" }, { "aarch64", "arm64" }, { "armv7l", "arm" }, { "armv6l", "arm" },
                                            { "i686", "386" },     { "riscv64", "riscv64" }, { "s390x", "s390x" }, { "ppc64le", "ppc64le" } };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(machine, names[i][0]) == 0)
            return names[i][1];
    return machine;
}

/* --- metadata --- */

static void put_pairs(json_t *labels, const char *const *pairs)
{
    for (size_t i = 0; pairs && pairs[i]; i++) {
        const char *eq = strchr(pairs[i], '=');
        AUTO_FREE char *key = slice_dup((struct slice){ pairs[i], eq ? (size_t)(eq - pairs[i]) : strlen(pairs[i]) });

        json_object_set_new(labels, key, json_text(slice_of(eq ? eq + 1 : "")));
    }
}

json_t *node_metadata(const struct agent_options *a)
{
    json_t *meta = json_object(), *labels = json_object(), *notes = json_object();
    struct utsname u = { 0 };

    (void)uname(&u);
    const char *arch = arch_of(u.machine);
    const char *const fixed[][2] = { { "beta.kubernetes.io/arch", arch }, { "beta.kubernetes.io/os", "linux" }, { "kubernetes.io/arch", arch },
                                     { "kubernetes.io/os", "linux" }, { "kubernetes.io/hostname", a->node_name },
                                     { "node.kubernetes.io/instance-type", "rancherd" }, { "beta.kubernetes.io/instance-type", "rancherd" } };

    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        json_object_set_new(labels, fixed[i][0], json_text(slice_of(fixed[i][1])));
    put_pairs(labels, a->node_labels);
    json_object_set_new(notes, "alpha.kubernetes.io/provided-node-ip", json_text(slice_of(a->node_ips[0])));
    json_object_set_new(notes, "volumes.kubernetes.io/controller-managed-attach-detach", json_string("true"));
    if (a->node_args_json)
        json_object_set_new(notes, "k3s.io/node-args", json_text(slice_of(a->node_args_json)));
    if (a->node_env_json)
        json_object_set_new(notes, "k3s.io/node-env", json_text(slice_of(a->node_env_json)));
    json_object_set_new(meta, "name", json_text(slice_of(a->node_name)));
    json_object_set_new(meta, "labels", labels);
    json_object_set_new(meta, "annotations", notes);
    return meta;
}

json_t *node_taints(const struct agent_options *a)
{
    json_t *list = NULL;

    for (size_t i = 0; a->node_taints && a->node_taints[i]; i++) {
        const char *text = a->node_taints[i], *colon = strrchr(text, ':'), *eq = strchr(text, '=');
        json_t *taint = json_object();

        if (!colon)
            colon = text + strlen(text);
        if (!eq || eq > colon)
            eq = colon;
        json_object_set_new(taint, "key", json_text((struct slice){ text, (size_t)(eq - text) }));
        if (eq < colon)
            json_object_set_new(taint, "value", json_text((struct slice){ eq + 1, (size_t)(colon - eq - 1) }));
        json_object_set_new(taint, "effect", json_text(slice_of(*colon ? colon + 1 : "NoSchedule")));
        list = list ? list : json_array();
        json_array_append_new(list, taint);
    }
    return list;
}

/* --- status --- */

static json_t *capacity(const struct agent_options *a, bool allocatable)
{
    json_t *c = json_object();
    struct statvfs fs = { 0 };
    int64_t disk = 0;

    if (statvfs(a->data_dir, &fs) == 0)
        disk = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    json_object_set_new(c, "cpu", json_strf("%ld", sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(c, "memory", json_strf("%lldKi", (long long)(meminfo_bytes("MemTotal") / 1024)));
    if (allocatable)
        json_object_set_new(c, "ephemeral-storage", json_strf("%lld", (long long)(disk / 100 * (100 - DISK_LEAST_PERCENT))));
    else
        json_object_set_new(c, "ephemeral-storage", json_strf("%lldKi", (long long)(disk / 1024)));
    json_object_set_new(c, "hugepages-1Gi", json_string("0"));
    json_object_set_new(c, "hugepages-2Mi", json_string("0"));
    json_object_set_new(c, "pods", json_strf("%d", a->max_pods));
    return c;
}

json_t *node_allocatable(const struct agent_options *agent)
{
    return capacity(agent, true);
}

static void add_address(json_t *list, const char *type, const char *address)
{
    json_t *at = json_object();

    json_object_set_new(at, "type", json_string(type));
    json_object_set_new(at, "address", json_text(slice_of(address)));
    json_array_append_new(list, at);
}

static json_t *addresses(const struct agent_options *a)
{
    json_t *list = json_array();

    for (size_t i = 0; a->node_ips[i] && i < ADDRESSES_MAX; i++)
        add_address(list, "InternalIP", a->node_ips[i]);
    for (size_t i = 0; a->node_external_ips && a->node_external_ips[i] && i < ADDRESSES_MAX; i++)
        add_address(list, "ExternalIP", a->node_external_ips[i]);
    add_address(list, "Hostname", a->node_name);
    return list;
}

static void add_image(void *arg, const struct image_info *info)
{
    json_t *list = arg, *image = json_object(), *names = json_array();

    for (size_t i = 0; info->names && info->names[i]; i++)
        json_array_append_new(names, json_text(slice_of(info->names[i])));
    json_object_set_new(image, "names", names);
    json_object_set_new(image, "sizeBytes", json_integer(info->size_bytes));
    json_array_append_new(list, image);
}

static int64_t size_of(const json_t *image)
{
    return json_int_or(image, "sizeBytes", 0);
}

/* The largest 50, as upstream. */
static json_t *images_list(struct images *im)
{
    json_t *all = json_array();

    images_each(im, add_image, all);
    for (size_t i = 1; i < json_array_size(all); i++) /* few, and mostly in order */
        for (size_t k = i; k > 0 && size_of(json_array_get(all, k)) > size_of(json_array_get(all, k - 1)); k--) {
            json_t *image = json_incref(json_array_get(all, k));

            json_array_set(all, k, json_array_get(all, k - 1));
            json_array_set_new(all, k - 1, image);
        }
    while (json_array_size(all) > IMAGES_MAX)
        json_array_remove(all, json_array_size(all) - 1);
    return all;
}

static json_t *node_info(const struct node_facts *f)
{
    json_t *info = json_object();
    struct utsname u = { 0 };
    AUTO_FREE char *machine = text_of("/etc/machine-id"), *uuid = text_of("/sys/class/dmi/id/product_uuid");
    AUTO_FREE char *boot = text_of("/proc/sys/kernel/random/boot_id"), *os = os_image();

    (void)uname(&u);
    const char *const facts[][2] = { { "machineID", machine }, { "systemUUID", *uuid ? uuid : machine }, { "bootID", boot },
                                     { "kernelVersion", u.release }, { "osImage", os },
                                     { "containerRuntimeVersion", runtime_version(f->runtime) }, { "kubeletVersion", f->agent->version },
                                     { "kubeProxyVersion", "" }, { "operatingSystem", "linux" }, { "architecture", arch_of(u.machine) } };
    for (size_t i = 0; i < ARRAY_LEN(facts); i++)
        json_object_set_new(info, facts[i][0], json_text(slice_of(facts[i][1])));
    return info;
}

json_t *node_status(const struct node_facts *f)
{
    json_t *s = json_object();

    json_object_set_new(s, "capacity", capacity(f->agent, false));
    json_object_set_new(s, "allocatable", capacity(f->agent, true));
    json_object_set_new(s, "addresses", addresses(f->agent));
    json_put(s, "daemonEndpoints.kubeletEndpoint.Port", json_integer(f->agent->kubelet_port));
    json_object_set_new(s, "nodeInfo", node_info(f));
    json_object_set_new(s, "images", images_list(f->images));
    return s;
}

/* --- conditions --- */

static bool disk_is_full(const char *path)
{
    struct statvfs fs = { 0 };

    return statvfs(path, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail * 100 / fs.f_blocks < DISK_LEAST_PERCENT;
}

bool node_conditions(const struct node_facts *f, json_t *node)
{
    bool memory = meminfo_bytes("MemAvailable") < MEMORY_LEAST_BYTES, disk = disk_is_full(f->agent->data_dir);
    AUTO_FREE char *why = mem_printf("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:%s",
                                     f->network_error ? f->network_error : "no pod range (spec.podCIDR) is assigned to this node yet");
    const struct condition all[] = {
        { .type = "MemoryPressure", .status = memory ? "True" : "False",
          .reason = memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
          .message = memory ? "kubelet has insufficient memory available" : "kubelet has sufficient memory available", .with_heartbeat = true },
        { .type = "DiskPressure", .status = disk ? "True" : "False", .reason = disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
          .message = disk ? "kubelet has disk pressure" : "kubelet has no disk pressure", .with_heartbeat = true },
        { .type = "PIDPressure", .status = "False", .reason = "KubeletHasSufficientPID", .message = "kubelet has sufficient PID available",
          .with_heartbeat = true },
        { .type = "Ready", .status = f->network ? "True" : "False", .reason = f->network ? "KubeletReady" : "KubeletNotReady",
          .message = f->network ? "kubelet is posting ready status" : why, .with_heartbeat = true },
    };
    bool changed = false;

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        changed = condition_set(node, &all[i], f->agent->clock) || changed;
    return changed;
}
