/* rancherd server: the control plane, and a node agent beside it unless --disable-agent. */
#include "cmd/cmd.h"
#include "cmd/flags.h"
#include "cmd/local_agent.h"
#include "cmd/process.h"
#include "lib/auto.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "server/server.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { STOP_GRACE_MS = 5000, COMPACT_EVERY_MS = 300000 };

struct names {
    char *node, *node_ip, *token, *agent_token;
};

static void names_clear(struct names *n)
{
    free(n->node);
    free(n->node_ip);
    free(n->token);
    free(n->agent_token);
}

static int read_names(const struct settings *s, struct names *n, struct err *err)
{
    if (process_node_name(s, &n->node, err) < 0 || process_node_ip(s, &n->node_ip, err) < 0 ||
        process_token(s, "token", "token-file", &n->token, err) < 0 ||
        process_token(s, "agent-token", "agent-token-file", &n->agent_token, err) < 0)
        return -(int)err->code;
    return 0;
}

static const char *first(const struct settings *s, const char *name)
{
    size_t n = 0;
    const char *const *list = settings_list(s, name, &n);

    return n ? list[0] : settings_str(s, name);
}

static int read_port_range(const struct settings *s, int *ret_first, int *ret_last, struct err *err)
{
    const char *text = settings_str(s, "service-node-port-range");
    char tail = 0;

    if (sscanf(text, "%d-%d%c", ret_first, ret_last, &tail) != 2 || *ret_first < 1 || *ret_last > 65535 || *ret_first > *ret_last)
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --service-node-port-range: allowed is FIRST-LAST within 1-65535", text);
    return 0;
}

static int read_mode(const struct settings *s, unsigned *ret, struct err *err)
{
    const char *text = settings_str(s, "write-kubeconfig-mode");
    char *end = NULL;
    unsigned long v = strtoul(text, &end, 8);

    if (*end || end == text || v > 0777)
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --write-kubeconfig-mode: allowed is an octal mode such as 0600", text);
    *ret = (unsigned)v;
    return 0;
}

/* As Go writes durations: 300ms, 5m, 1h30m, 0. */
static bool read_duration_ms(const char *text, int64_t *ret)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
    int64_t sum = 0;

    if (strcmp(text, "0") == 0) {
        *ret = 0;
        return true;
    }
    for (const char *at = text; at == text || *at;) {
        char *end = NULL;
        long v = *at >= '0' && *at <= '9' ? strtol(at, &end, 10) : -1;
        size_t i = 0;

        while (v >= 0 && i < ARRAY_LEN(units) &&
               (strncmp(end, units[i].name, strlen(units[i].name)) != 0 || (units[i].ms == 60000 && end[1] == 's')))
            i++;
        if (v < 0 || v > 1000000 || i == ARRAY_LEN(units))
            return false;
        sum += v * units[i].ms;
        at = end + strlen(units[i].name);
    }
    *ret = sum;
    return true;
}

static int read_apiserver_args(const struct settings *s, struct server_options *o, struct err *err)
{
    static const char *const known[] = { "etcd-compaction-interval", NULL };
    const char *text = settings_arg(s, "kube-apiserver-arg", known[0]);

    if (settings_check_args(s, "kube-apiserver-arg", known, "the API server is part of rancherd: it knows etcd-compaction-interval", err) < 0)
        return -(int)err->code;
    if (text && !read_duration_ms(text, &o->compact_every_ms))
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --kube-apiserver-arg %s: allowed is a duration such as 5m0s, or 0 for never", text, known[0]);
    return 0;
}

static int fill(const struct settings *s, const struct process *p, const struct names *n, struct server_options *o, struct err *err)
{
    const char *advertise = settings_str(s, "advertise-address");

    *o = (struct server_options){
        .data_dir = settings_str(s, "data-dir"),
        .clock = &clock_system,
        .loops = &p->loop,
        .n_loops = 1,
        .pool = p->pool,
        .version = RANCHERD_VERSION,
        .bind_address = settings_str(s, "bind-address"),
        .port = settings_int(s, "https-listen-port"),
        .advertise_address = advertise && *advertise ? advertise : n->node_ip,
        .advertise_port = settings_int(s, "advertise-port"),
        .tls_sans = settings_list(s, "tls-san", NULL),
        .node_name = n->node,
        .cluster_cidr = first(s, "cluster-cidr"),
        .service_cidr = first(s, "service-cidr"),
        .cluster_dns = first(s, "cluster-dns"),
        .cluster_domain = settings_str(s, "cluster-domain"),
        .token = n->token,
        .agent_token = n->agent_token,
        .kubeconfig_path = settings_str(s, "write-kubeconfig"),
        .disable_scheduler = settings_bool(s, "disable-scheduler"),
        .disable_controllers = settings_bool(s, "disable-controller-manager"),
        .compact_every_ms = COMPACT_EVERY_MS,
    };
    if (read_apiserver_args(s, o, err) < 0 || read_port_range(s, &o->node_port_first, &o->node_port_last, err) < 0)
        return -(int)err->code;
    return read_mode(s, &o->kubeconfig_mode, err);
}

static int own_kubeconfig(const struct settings *s, struct err *err)
{
    const char *name = settings_str(s, "write-kubeconfig-group"), *path = settings_str(s, "write-kubeconfig");
    char *end = NULL;

    if (!name || !*name)
        return 0;
    const struct group *g = getgrnam(name);
    long gid = g ? (long)g->gr_gid : strtol(name, &end, 10);
    if (!g && (*end || end == name))
        return err_set(err, ERR_BAD_REQUEST, "invalid value \"%s\" for --write-kubeconfig-group: allowed is a group of this machine or its number", name);
    return chown(path, (uid_t)-1, (gid_t)gid) < 0 ? err_sys(err, errno, "chown %s", path) : 0;
}

static int run(const struct settings *s, struct process *p, int argc, char **argv, struct err *err)
{
    struct names n = { 0 };
    struct server_options o;
    struct server *server = NULL;
    struct local_agent *agent = NULL;
    int64_t began = clock_mono_ms(&clock_system);
    int rc = read_names(s, &n, err);

    if (rc == 0)
        rc = fill(s, p, &n, &o, err);
    if (rc == 0)
        rc = server_start(&o, &server, err);
    if (rc == 0)
        rc = own_kubeconfig(s, err);
    if (rc == 0) {
        log_info("server ready", "version=%s url=%s ms=%lld", RANCHERD_VERSION, server_url(server),
                 (long long)(clock_mono_ms(&clock_system) - began));
        struct local_agent_options a = {
            .settings = s, .process = p, .server = &o, .url = server_url(server), .token = server_token(server), .node_ip = n.node_ip,
            .argc = argc, .argv = argv,
        };
        if (!settings_bool(s, "disable-agent"))
            rc = local_agent_start(&a, &agent, err);
    }
    if (rc == 0) {
        process_notify("READY=1");
        process_wait(p);
        process_notify("STOPPING=1");
    }
    local_agent_stop(agent);
    server_stop(server, STOP_GRACE_MS);
    names_clear(&n);
    return rc;
}

int cmd_server(int argc, char **argv)
{
    struct settings *s = NULL;
    struct process p = { .signals = -1 };
    bool help = false;
    struct err err;
    int rc = settings_read(FOR_SERVER, argc, argv, &s, &help, &err);

    if (rc == 0 && help)
        flags_help(FOR_SERVER);
    if (rc == 0 && !help)
        rc = process_start(s, &p, &err);
    if (rc == 0 && !help) {
        rc = run(s, &p, argc, argv, &err);
        process_end(&p);
    }
    settings_free(s);
    return rc < 0 ? process_fail(&err) : 0;
}
