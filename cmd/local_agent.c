#include "cmd/local_agent.h"

#include "agent/agent.h"
#include "agent/join.h"
#include "lib/auto.h"
#include "lib/log.h"
#include "lib/mem.h"

#include <string.h>

enum { JOIN_MS = 120000, KUBELET_PORT = 10250, MAX_PODS = 110 };

struct local_agent {
    char *node_name, *run_dir, *args_json, *node_ip;
    const char *ips[2]; /* the agent borrows its options for as long as it lives */
    char instance[9];
    struct join_result join;
    struct agent *agent;
};

static int number_arg(const struct settings *s, const char *key, int otherwise, int most, int *ret, struct err *err)
{
    const char *text = settings_arg(s, "kubelet-arg", key);
    char *end = NULL;

    *ret = otherwise;
    if (!text)
        return 0;
    long v = strtol(text, &end, 10);
    if (*end || end == text || v < 1 || v > most)
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --kubelet-arg %s: allowed is a number from 1 to %d", text, key, most);
    *ret = (int)v;
    return 0;
}

static int check_kubelet_args(const struct settings *s, struct err *err)
{
    static const char *const known[] = { "max-pods", "port", "v", NULL };

    return settings_check_args(s, "kubelet-arg", known, "the node agent is part of rancherd: it knows max-pods, port and v", err);
}

static int join(const struct local_agent_options *o, struct local_agent *a, struct err *err)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx = ctx_with_timeout(&base, JOIN_MS);
    const char *ips[] = { o->node_ip, NULL };
    struct join_options j = {
        .loop = o->process->loop,
        .clock = &clock_system,
        .data_dir = settings_str(o->settings, "data-dir"),
        .server_url = o->url,
        .token = o->token,
        .node_name = a->node_name,
        .node_ips = ips,
    };

    return join_run(&ctx, &j, &a->join, err);
}

static int start_agent(const struct local_agent_options *o, struct local_agent *a, struct err *err)
{
    const struct settings *s = o->settings;
    struct agent_options ao = {
        .data_dir = settings_str(s, "data-dir"),
        .run_dir = a->run_dir,
        .log_dir = "/var/log/pods",
        .instance = a->instance,
        .clock = &clock_system,
        .loop = o->process->loop,
        .pool = o->process->pool,
        .version = RANCHERD_VERSION,
        .api_url = o->url,
        .server_ca_pem = a->join.server_ca_pem,
        .client_ca_pem = a->join.client_ca_pem,
        .client_cert_pem = a->join.client_cert_pem,
        .client_key_pem = a->join.client_key_pem,
        .serving_cert_pem = a->join.serving_cert_pem,
        .serving_key_pem = a->join.serving_key_pem,
        .node_name = a->node_name,
        .node_ips = a->ips,
        .node_external_ips = settings_list(s, "node-external-ip", NULL),
        .node_labels = settings_list(s, "node-label", NULL),
        .node_taints = settings_list(s, "node-taint", NULL),
        .node_args_json = a->args_json,
        .cluster_cidr = a->join.cluster_cidr,
        .service_cidr = a->join.service_cidr,
        .cluster_dns = a->join.cluster_dns,
        .cluster_domain = a->join.cluster_domain,
        .registries_file = settings_str(s, "private-registry"),
        .default_registry = settings_str(s, "system-default-registry"),
        .oci_runtime = settings_str(s, "default-runtime"),
        .resolv_conf = settings_str(s, "resolv-conf"),
        .bind_address = settings_str(s, "bind-address"),
        .disable_kube_proxy = o->server && settings_bool(s, "disable-kube-proxy"),
    };

    if (number_arg(s, "port", KUBELET_PORT, 65535, &ao.kubelet_port, err) < 0 ||
        number_arg(s, "max-pods", MAX_PODS, 10000, &ao.max_pods, err) < 0)
        return -(int)err->code;
    return agent_start(&ao, &a->agent, err);
}

int local_agent_start(const struct local_agent_options *o, struct local_agent **ret, struct err *err)
{
    struct local_agent *a = MEM_NEW(struct local_agent);
    const char *data_dir = settings_str(o->settings, "data-dir");
    int64_t began = clock_mono_ms(&clock_system);

    process_instance(data_dir, a->instance);
    a->run_dir = mem_printf("/run/rancherd-%s", a->instance);
    a->ips[0] = a->node_ip = mem_strdup(o->node_ip);
    a->args_json = settings_args_json(o->argc, o->argv);
    if (check_kubelet_args(o->settings, err) < 0 || process_node_name(o->settings, &a->node_name, err) < 0 || join(o, a, err) < 0 || start_agent(o, a, err) < 0) {
        local_agent_stop(a);
        return err_wrap(err, "node agent");
    }
    log_info("node agent started", "node=%s ip=%s ms=%lld", a->node_name, o->node_ip, (long long)(clock_mono_ms(&clock_system) - began));
    *ret = a;
    return 0;
}

void local_agent_stop(struct local_agent *a)
{
    if (!a)
        return;
    agent_stop(a->agent);
    join_result_clear(&a->join);
    free(a->node_name);
    free(a->run_dir);
    free(a->args_json);
    free(a->node_ip);
    free(a);
}
