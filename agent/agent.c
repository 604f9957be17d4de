#include "agent/agent.h"

#include "agent/images/images.h"
#include "agent/network/dns.h"
#include "agent/network/network.h"
#include "agent/network/proxy.h"
#include "agent/pods/kubelet_api.h"
#include "agent/pods/node.h"
#include "agent/pods/pods.h"
#include "agent/runtime/runtime.h"
#include "agent/volumes/volumes.h"
#include "lib/http/client.h"
#include "lib/k8s/client_http.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/tls.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

enum { RECOVER_MS = 60000, IMPORT_MS = 3600000 };

struct agent {
    struct agent_options o; /* strings are borrowed: they live as long as the agent */
    char *dir, *bin_dir;    /* <data-dir>/agent, <data-dir>/bin */
    struct tls_ctx *tls;
    struct http_client *http;
    struct client *client;
    struct informers *informers;
    struct events *events;
    struct runtime *runtime;
    struct images *images;
    struct volumes *volumes;
    struct pod_env *env;
    struct pods *pods;
    struct node *node;
    struct network *network;
    struct proxy *proxy;
    struct dns *dns;        /* NULL: no cluster DNS */
    struct kubelet_api *api;
    struct pool_family *jobs;
    struct ctx_cancel cancel;
    char **recovered;       /* uids, until the network took them over */
    size_t n_recovered;
};

static int make_folder(const char *path, mode_t mode, struct err *err)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make folder %s", path);
    return 0;
}

static int make_folders(struct agent *a, struct err *err)
{
    a->dir = mem_printf("%s/agent", a->o.data_dir);
    a->bin_dir = mem_printf("%s/bin", a->o.data_dir);
    if (make_folder(a->o.data_dir, 0755, err) < 0 || make_folder(a->dir, 0755, err) < 0 || make_folder(a->bin_dir, 0755, err) < 0 ||
        make_folder(a->o.run_dir, 0711, err) < 0 || make_folder(a->o.log_dir, 0755, err) < 0)
        return -(int)err->code;
    return 0;
}

static int open_client(struct agent *a, struct err *err)
{
    static const char *const alpn[] = { "h2", "http/1.1", NULL };
    struct tls_config config = { .cert_pem = a->o.client_cert_pem, .key_pem = a->o.client_key_pem, .ca_pem = a->o.server_ca_pem, .alpn = alpn,
                                 .clock = a->o.clock };

    if (tls_ctx_new(&config, &a->tls, err) < 0)
        return err_wrap(err, "client certificate");
    if (http_client_new(&(struct http_client_options){ .loop = a->o.loop, .url = a->o.api_url, .tls = a->tls }, &a->http, err) < 0)
        return err_wrap(err, "API server %s", a->o.api_url);
    a->client = client_http_new(a->http);
    a->informers = informers_new(&(struct informers_options){ .client = a->client, .pool = a->o.pool, .loop = a->o.loop, .clock = a->o.clock });
    a->events = events_new(a->client, a->o.pool, a->o.clock, "kubelet", a->o.node_name);
    return 0;
}

static void on_runtime(void *arg, enum runtime_event_kind kind, const char *pod_uid, const char *container_id)
{
    struct agent *a = arg;

    if (a->pods)
        pods_on_runtime(a->pods, kind, pod_uid, container_id);
}

static json_t *allocatable_of(void *arg)
{
    const struct agent *a = arg;

    return node_allocatable(&a->o);
}

static int open_rooms(struct agent *a, struct err *err)
{
    struct images_options images = { .data_dir = a->dir, .registries_file = a->o.registries_file, .default_registry = a->o.default_registry,
                                     .clock = a->o.clock, .loop = a->o.loop, .pool = a->o.pool };
    struct runtime_options runtime = { .data_dir = a->dir, .run_dir = a->o.run_dir, .bin_dir = a->bin_dir, .instance = a->o.instance,
                                       .oci_runtime = a->o.oci_runtime, .clock = a->o.clock, .loop = a->o.loop, .pool = a->o.pool,
                                       .on_event = on_runtime, .arg = a };
    struct volumes_options volumes = { .data_dir = a->dir, .client = a->client, .clock = a->o.clock, .node_name = a->o.node_name,
                                       .allocatable = allocatable_of, .arg = a };
    struct pod_env_options env = { .data_dir = a->dir, .client = a->client, .informers = a->informers, .node_name = a->o.node_name,
                                   .host_ip = a->o.node_ips[0], .cluster_dns = a->o.cluster_dns ? a->o.cluster_dns : "",
                                   .cluster_domain = a->o.cluster_domain ? a->o.cluster_domain : "", .resolv_conf = a->o.resolv_conf };

    if (images_open(&images, &a->images, err) < 0)
        return err_wrap(err, "images");
    if (runtime_open(&runtime, &a->runtime, err) < 0)
        return err_wrap(err, "container runtime");
    if (volumes_open(&volumes, &a->volumes, err) < 0)
        return err_wrap(err, "volumes");
    if (pod_env_open(&env, &a->env, err) < 0)
        return err_wrap(err, "pod environment");
    return 0;
}

/* Pods can run without it, and somebody else may serve port 53 here: told, not fatal. A Service with this address goes before it. */
static void serve_dns(struct agent *a)
{
    AUTO_FREE char *ip = a->dns ? mem_printf("%.*s", (int)strcspn(a->o.cluster_dns, ","), a->o.cluster_dns) : NULL;
    struct err err;

    if (ip && (network_own_address(a->network, ip, &err) < 0 || dns_listen(a->dns, ip, 53, &err) < 0))
        log_warn("cluster DNS is not served on this node", "address=%s error=%s", ip, log_q(err.msg));
}

/* The node has its range: the network is there, and with it pods can run. */
static int on_pod_cidr(void *arg, struct ctx *ctx, const char *pod_cidr, const char *const **ret_annotations, struct err *err)
{
    struct agent *a = arg;
    struct network_options o = { .data_dir = a->dir, .instance = a->o.instance, .node_name = a->o.node_name, .node_ip = a->o.node_ips[0],
                                 .pod_cidr = pod_cidr, .cluster_cidr = a->o.cluster_cidr, .service_cidr = a->o.service_cidr, .clock = a->o.clock };

    if (!a->network && network_open(&o, &a->network, err) < 0)
        return -(int)err->code;
    if (network_retain(ctx, a->network, (const char *const *)a->recovered, a->n_recovered, err) < 0)
        return err_wrap(err, "addresses of pods that are gone");
    pods_set_network(a->pods, a->network);
    proxy_set_network(a->proxy, a->network);
    serve_dns(a);
    const char **notes = arena_alloc(ctx->arena, 9 * sizeof(char *));
    const char *const pairs[] = { "flannel.alpha.coreos.com/backend-data",
                                  arena_printf(ctx->arena, "{\"VNI\":1,\"VtepMAC\":\"%s\"}", network_vtep_mac(a->network)),
                                  "flannel.alpha.coreos.com/backend-type", "vxlan", "flannel.alpha.coreos.com/kube-subnet-manager", "true",
                                  "flannel.alpha.coreos.com/public-ip", a->o.node_ips[0] };
    memcpy(notes, pairs, sizeof(pairs));
    *ret_annotations = notes;
    return 0;
}

static int open_pods(struct agent *a, struct err *err)
{
    struct pods_options pods = { .data_dir = a->dir, .log_dir = a->o.log_dir, .instance = a->o.instance, .node_name = a->o.node_name,
                                 .node_ips = a->o.node_ips, .clock = a->o.clock, .loop = a->o.loop, .pool = a->o.pool, .client = a->client,
                                 .informers = a->informers, .events = a->events, .runtime = a->runtime, .images = a->images,
                                 .volumes = a->volumes, .env = a->env };
    struct node_options node = { .agent = &a->o, .client = a->client, .informers = a->informers, .events = a->events, .runtime = a->runtime,
                                 .images = a->images, .on_pod_cidr = on_pod_cidr, .arg = a };
    AUTO(json) json_t *allocatable = node_allocatable(&a->o);

    if (pods_open(&pods, &a->pods, err) < 0)
        return err_wrap(err, "pods");
    pods_set_allocatable(a->pods, allocatable);
    a->proxy = proxy_open(&(struct proxy_options){ .informers = a->informers, .pool = a->o.pool, .loop = a->o.loop, .clock = a->o.clock,
                                                   .node_name = a->o.node_name, .services_off = a->o.disable_kube_proxy });
    if (a->o.cluster_dns && *a->o.cluster_dns && a->o.cluster_domain && *a->o.cluster_domain)
        a->dns = dns_open(&(struct dns_options){ .informers = a->informers, .loop = a->o.loop, .domain = a->o.cluster_domain,
                                                 .resolv_conf = a->o.resolv_conf });
    return node_open(&node, &a->node, err);
}

/* A crash between a root filesystem and its container leaves the former; the containers there are tell which. */
static int recover_images(struct agent *a, struct ctx *ctx, struct err *err)
{
    const char **keys = NULL;
    size_t n = 0;

    for (size_t i = 0; i < a->n_recovered; i++) {
        AUTO_FREE struct container *all = NULL;
        size_t more = 0;

        if (runtime_containers(a->runtime, a->recovered[i], &all, &more, err) < 0 && err->code != ERR_NOT_FOUND) {
            free(keys);
            return -(int)err->code;
        }
        keys = mem_realloc(keys, (n + more + 1) * sizeof(*keys));
        for (size_t k = 0; k < more; k++)
            keys[n++] = arena_strdup(ctx->arena, all[k].id);
    }
    int rc = images_retain(ctx, a->images, keys, n, err);
    free(keys);
    return rc;
}

static int recover(struct agent *a, struct err *err)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx = ctx_with_timeout(&base, RECOVER_MS);

    if (runtime_recover(&ctx, a->runtime, &a->recovered, &a->n_recovered, err) < 0)
        return err_wrap(err, "find the pods of an earlier start again");
    pods_recovered(a->pods, a->recovered, a->n_recovered);
    return recover_images(a, &ctx, err) < 0 ? err_wrap(err, "root filesystems of an earlier start") : 0;
}

static int open_api(struct agent *a, struct err *err)
{
    AUTO_FREE char *cgroup_root = mem_printf("kubepods-%s", a->o.instance);
    struct kubelet_api_options o = { .bind_address = a->o.bind_address ? a->o.bind_address : "0.0.0.0", .port = a->o.kubelet_port,
                                     .serving_cert_pem = a->o.serving_cert_pem, .serving_key_pem = a->o.serving_key_pem,
                                     .client_ca_pem = a->o.client_ca_pem, .node_name = a->o.node_name, .cgroup_root = cgroup_root,
                                     .clock = a->o.clock, .loop = a->o.loop, .pool = a->o.pool, .runtime = a->runtime,
                                     .world = pods_world(a->pods) };

    if (kubelet_api_start(&o, &a->api, err) < 0)
        return err_wrap(err, "kubelet endpoint");
    pods_set_api(a->pods, a->api);
    return 0;
}

static void import_job(void *arg)
{
    struct agent *a = arg;
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena);
    struct err err;

    base.cancel = &a->cancel;
    struct ctx ctx = ctx_with_timeout(&base, IMPORT_MS);
    if (images_import_folder(&ctx, a->images, &err) < 0)
        log_warn("image archives were not imported", "error=%s", log_q(err.msg));
}

int agent_start(const struct agent_options *options, struct agent **ret, struct err *err)
{
    struct agent *a = MEM_NEW(struct agent);

    a->o = *options;
    if (make_folders(a, err) < 0 || open_client(a, err) < 0 || open_rooms(a, err) < 0 || open_pods(a, err) < 0 || recover(a, err) < 0 ||
        open_api(a, err) < 0) {
        agent_stop(a);
        return -(int)err->code;
    }
    a->jobs = pool_family_new(a->o.pool, "agent", 1);
    if (pool_family_run(a->jobs, import_job, a, err) < 0) {
        agent_stop(a);
        return -(int)err->code;
    }
    informers_start(a->informers);
    node_start(a->node);
    *ret = a;
    return 0;
}

void agent_stop(struct agent *a)
{
    if (!a)
        return;
    a->cancel.set = true;
    if (a->informers)
        informers_stop(a->informers);
    if (a->pods)
        pods_set_api(a->pods, NULL);
    kubelet_api_stop(a->api);
    node_close(a->node);
    pool_family_free(a->jobs);
    /* Its events may come until the runtime is closed; passes use it until pods is. */
    pods_stop(a->pods);
    runtime_close(a->runtime);
    pods_close(a->pods);
    pod_env_close(a->env);
    volumes_close(a->volumes);
    images_close(a->images);
    proxy_free(a->proxy);
    dns_free(a->dns);
    network_close(a->network);
    if (a->events)
        events_free(a->events);
    informers_free(a->informers);
    client_free(a->client);
    http_client_free(a->http);
    tls_ctx_unref(a->tls);
    for (size_t i = 0; i < a->n_recovered; i++)
        free(a->recovered[i]);
    free(a->recovered);
    free(a->dir);
    free(a->bin_dir);
    free(a);
}
