/*
 * Statistics from the control groups: /stats/summary, /metrics/resource (what the metrics API reads), /metrics/cadvisor and /metrics, each with the
 * families that can be told from cgroups and /proc.
 */
#include "agent/pods/kubelet_int.h"

#include "lib/file.h"
#include "lib/k8s/meta.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct node_usage {
    int64_t cpu_ns, total_bytes, available_bytes, boot_s;
};

/* "<name>" then blanks and a number, at the beginning of a line. 0: not there. */
static int64_t number_of(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (!strncmp(p, name, n))
            return strtoll(p + n, NULL, 10);
    return 0;
}

static char *read_proc(const char *path)
{
    struct err ignored = { 0 };
    char *text = NULL;
    size_t n;

    return file_read(AT_FDCWD, path, 1 << 20, &text, &n, &ignored) < 0 ? mem_strdup("") : text;
}

static void read_node(struct node_usage *u)
{
    AUTO_FREE char *stat = read_proc("/proc/stat"), *memory = read_proc("/proc/meminfo");
    long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, steal = 0;
    long hz = sysconf(_SC_CLK_TCK);

    if (sscanf(stat, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal) < 3)
        user = nice = system = irq = softirq = 0;
    u->cpu_ns = (user + nice + system + irq + softirq) * (1000000000LL / (hz > 0 ? hz : 100));
    u->total_bytes = number_of(memory, "MemTotal:") * 1024;
    u->available_bytes = number_of(memory, "MemAvailable:") * 1024;
    u->boot_s = number_of(stat, "btime ");
}

/* --- every pod and container that runs --- */

struct sample {
    const char *ns, *pod, *uid, *container, *id; /* container NULL: the whole pod */
    int64_t started_us;
    struct cgroup_usage usage;
};
typedef void sample_fn(void *arg, const struct sample *s);

static void each_container(struct kubelet_api *k, const char *cgroup, struct sample *s, sample_fn *fn, void *arg)
{
    AUTO_FREE struct container *all = NULL;
    struct err ignored = { 0 };
    size_t n = 0;

    if (k->runtime.containers(k->runtime.arg, s->uid, &all, &n, &ignored) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        AUTO_FREE char *path = mem_printf("%s/%s", cgroup, all[i].id);

        if (all[i].state != CONTAINER_RUNNING || k->runtime.usage(k->runtime.arg, path, &s->usage, &ignored) < 0)
            continue;
        s->container = all[i].name;
        s->id = all[i].id;
        s->started_us = all[i].started_us;
        fn(arg, s);
    }
}

/* The pod first, then its containers. */
static void each_sample(struct kubelet_api *k, sample_fn *fn, void *arg)
{
    AUTO(json) json_t *list = k->world.pods(k->world.arg);
    json_t *items = json_object_get(list, "items"), *pod;
    size_t i;

    json_array_foreach(items, i, pod) {
        struct sample s = { .ns = meta_namespace(pod), .pod = meta_name(pod), .uid = meta_uid(pod) };
        const char *start = json_str(pod, "status.startTime");
        struct err ignored = { 0 };
        char cgroup[256];

        if (k->world.cgroup(k->world.arg, s.uid, cgroup, &ignored) < 0 || k->runtime.usage(k->runtime.arg, cgroup, &s.usage, &ignored) < 0)
            continue; /* it does not run yet, or no longer */
        if (start)
            ERR_IGNORE(clock_parse(start, strlen(start), &s.started_us));
        fn(arg, &s);
        each_container(k, cgroup, &s, fn, arg);
    }
}

/* --- /stats/summary --- */

struct summary {
    json_t *pods, *pod; /* pod: the one at hand, borrowed */
    char now[CLOCK_TEXT_BYTES];
};

static void add_usage(json_t *to, const char *now, const struct cgroup_usage *u)
{
    json_object_set_new(to, "cpu", json_pack("{s:s, s:I}", "time", now, "usageCoreNanoSeconds", (json_int_t)u->cpu_ns));
    json_object_set_new(to, "memory", json_pack("{s:s, s:I, s:I, s:I}", "time", now, "usageBytes", (json_int_t)u->memory_bytes, "workingSetBytes",
                                                (json_int_t)u->working_set_bytes, "rssBytes", (json_int_t)u->rss_bytes));
}

static void summary_sample(void *arg, const struct sample *s)
{
    struct summary *y = arg;
    char start[CLOCK_TEXT_BYTES];
    json_t *one;

    clock_time_text(s->started_us / 1000000, start);
    if (s->container) {
        one = json_pack("{s:s, s:s}", "name", s->container, "startTime", start);
        json_array_append_new(json_object_get(y->pod, "containers"), one);
    } else {
        y->pod = one = json_pack("{s:{s:s, s:s, s:s}, s:s, s:[], s:{s:I}}", "podRef", "name", s->pod, "namespace", s->ns, "uid", s->uid, "startTime",
                                 start, "containers", "process_stats", "process_count", (json_int_t)s->usage.pids);
        json_array_append_new(y->pods, one);
    }
    add_usage(one, y->now, &s->usage);
}

void kubelet_stats_summary(struct kubelet_call *c)
{
    struct summary y = { .pods = json_array() };
    struct buf body = { 0 };
    struct node_usage node;
    char boot[CLOCK_TEXT_BYTES];

    clock_time_text(clock_wall_s(c->k->clock), y.now);
    read_node(&node);
    each_sample(c->k, summary_sample, &y);
    AUTO(json) json_t *all = json_pack("{s:{s:s, s:s, s:{s:s, s:I}, s:{s:s, s:I, s:I, s:I}}, s:o}", "node", "nodeName", c->k->node_name, "startTime",
                                       clock_time_text(node.boot_s, boot), "cpu", "time", y.now, "usageCoreNanoSeconds", (json_int_t)node.cpu_ns,
                                       "memory", "time", y.now, "availableBytes", (json_int_t)node.available_bytes, "usageBytes",
                                       (json_int_t)(node.total_bytes - node.available_bytes), "workingSetBytes",
                                       (json_int_t)(node.total_bytes - node.available_bytes), "pods", y.pods);
    json_write(all, &body);
    kubelet_reply(c, 200, "application/json", &body);
}

/* --- Prometheus text --- */

#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

/* A family's lines are collected apart and joined at the end: the format wants them together. */
enum family { CPU, MEMORY, START, POD_CPU, POD_MEMORY, FAMILIES };

struct resource {
    struct buf family[FAMILIES];
    int64_t now_ms;
};

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static void resource_sample(void *arg, const struct sample *s)
{
    struct resource *r = arg;
    AUTO_FREE char *pod = mem_printf("namespace=\"%s\",pod=\"%s\"", s->ns, s->pod);
    AUTO_FREE char *labels = s->container ? mem_printf("container=\"%s\",%s", s->container, pod) : mem_strdup(pod);

    buf_printf(&r->family[s->container ? CPU : POD_CPU], "%s_cpu_usage_seconds_total{%s} %.9g %lld\n", s->container ? "container" : "pod", labels,
               seconds(s->usage.cpu_ns), (long long)r->now_ms);
    buf_printf(&r->family[s->container ? MEMORY : POD_MEMORY], "%s_memory_working_set_bytes{%s} %lld %lld\n", s->container ? "container" : "pod", labels,
               (long long)s->usage.working_set_bytes, (long long)r->now_ms);
    if (s->container)
        buf_printf(&r->family[START], "container_start_time_seconds{%s} %.3f\n", labels, (double)s->started_us / 1e6);
}

void kubelet_metrics_resource(struct kubelet_call *c)
{
    static const char *const heads[FAMILIES] = {
        [CPU] = "container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds\n"
                "# TYPE container_cpu_usage_seconds_total counter",
        [MEMORY] = "container_memory_working_set_bytes Current working set of the container in bytes\n# TYPE container_memory_working_set_bytes gauge",
        [START] = "container_start_time_seconds Start time of the container since unix epoch in seconds\n# TYPE container_start_time_seconds gauge",
        [POD_CPU] = "pod_cpu_usage_seconds_total Cumulative cpu time consumed by the pod in core-seconds\n# TYPE pod_cpu_usage_seconds_total counter",
        [POD_MEMORY] = "pod_memory_working_set_bytes Current working set of the pod in bytes\n# TYPE pod_memory_working_set_bytes gauge",
    };
    struct resource r = { .now_ms = clock_wall_us(c->k->clock) / 1000 };
    struct buf body = { 0 };
    struct node_usage node;

    read_node(&node);
    each_sample(c->k, resource_sample, &r);
    for (int i = 0; i < FAMILIES; i++) {
        if (buf_len(&r.family[i]))
            buf_printf(&body, "# HELP %s\n%s", heads[i], buf_at(&r.family[i]));
        buf_clear(&r.family[i]);
    }
    buf_printf(&body, "# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds\n"
                      "# TYPE node_cpu_usage_seconds_total counter\nnode_cpu_usage_seconds_total %.9g %lld\n"
                      "# HELP node_memory_working_set_bytes Current working set of the node in bytes\n"
                      "# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes %lld %lld\n"
                      "# HELP resource_scrape_error 1 if there was an error while getting container metrics, 0 otherwise\n"
                      "# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n",
               seconds(node.cpu_ns), (long long)r.now_ms, (long long)(node.total_bytes - node.available_bytes), (long long)r.now_ms);
    kubelet_reply(c, 200, PROMETHEUS, &body);
}

enum cadvisor { C_CPU, C_USAGE, C_WORKING, C_RSS, C_PROCESSES, C_OOM, C_START, CADVISOR };

static void cadvisor_sample(void *arg, const struct sample *s)
{
    struct buf *to = arg;
    AUTO_FREE char *labels = mem_printf("container=\"%s\",id=\"%s\",namespace=\"%s\",pod=\"%s\"", s->container ? s->container : "",
                                        s->container ? s->id : s->uid, s->ns, s->pod);

    buf_printf(&to[C_CPU], "container_cpu_usage_seconds_total{%s,cpu=\"total\"} %.9g\n", labels, seconds(s->usage.cpu_ns));
    buf_printf(&to[C_USAGE], "container_memory_usage_bytes{%s} %lld\n", labels, (long long)s->usage.memory_bytes);
    buf_printf(&to[C_WORKING], "container_memory_working_set_bytes{%s} %lld\n", labels, (long long)s->usage.working_set_bytes);
    buf_printf(&to[C_RSS], "container_memory_rss{%s} %lld\n", labels, (long long)s->usage.rss_bytes);
    buf_printf(&to[C_PROCESSES], "container_processes{%s} %lld\n", labels, (long long)s->usage.pids);
    buf_printf(&to[C_OOM], "container_oom_events_total{%s} %lld\n", labels, (long long)s->usage.oom_kills);
    buf_printf(&to[C_START], "container_start_time_seconds{%s} %.3f\n", labels, (double)s->started_us / 1e6);
}

void kubelet_metrics_cadvisor(struct kubelet_call *c)
{
    static const char *const types[CADVISOR] = {
        [C_CPU] = "container_cpu_usage_seconds_total counter",   [C_USAGE] = "container_memory_usage_bytes gauge",
        [C_WORKING] = "container_memory_working_set_bytes gauge", [C_RSS] = "container_memory_rss gauge",
        [C_PROCESSES] = "container_processes gauge",             [C_OOM] = "container_oom_events_total counter",
        [C_START] = "container_start_time_seconds gauge",
    };
    struct buf family[CADVISOR] = { 0 }, body = { 0 };
    struct node_usage node;

    read_node(&node);
    each_sample(c->k, cadvisor_sample, family);
    for (int i = 0; i < CADVISOR; i++) {
        if (buf_len(&family[i]))
            buf_printf(&body, "# TYPE %s\n%s", types[i], buf_at(&family[i]));
        buf_clear(&family[i]);
    }
    buf_printf(&body, "# TYPE machine_cpu_cores gauge\nmachine_cpu_cores %ld\n# TYPE machine_memory_bytes gauge\nmachine_memory_bytes %lld\n",
               sysconf(_SC_NPROCESSORS_ONLN), (long long)node.total_bytes);
    kubelet_reply(c, 200, PROMETHEUS, &body);
}

struct counts {
    int pods, containers;
};

static void count_sample(void *arg, const struct sample *s)
{
    struct counts *n = arg;

    n->pods += !s->container;
    n->containers += s->container != NULL;
}

void kubelet_metrics(struct kubelet_call *c)
{
    struct counts n = { 0 };
    struct http_server_stats stats;
    struct buf body = { 0 };

    each_sample(c->k, count_sample, &n);
    http_server_stats(c->k->server, &stats);
    buf_printf(&body, "# TYPE kubelet_node_name gauge\nkubelet_node_name{node=\"%s\"} 1\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n"
                      "# TYPE kubelet_running_containers gauge\nkubelet_running_containers{container_state=\"running\"} %d\n"
                      "# TYPE kubelet_http_requests_total counter\nkubelet_http_requests_total %lld\n"
                      "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n",
               c->k->node_name, n.pods, n.containers, (long long)stats.requests, (double)c->k->started_us / 1e6);
    kubelet_reply(c, 200, PROMETHEUS, &body);
}
