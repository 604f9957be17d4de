#include "server/server.h"

#include "datastore/store.h"
#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/http/server.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "server/admission/admission.h"
#include "server/api/api.h"
#include "server/auth/authn.h"
#include "server/auth/authz.h"
#include "server/controllers/controllers.h"
#include "server/scheduler/scheduler.h"
#include "server/supervisor/bootstrap.h"
#include "server/supervisor/pki.h"
#include "server/supervisor/supervisor.h"
#include "server/supervisor/token.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { COMPACT_LIMIT_MS = 300000, SANS_MAX = 64, BOOTSTRAP_MS = 120000 };

struct server {
    struct server_options o;
    char *dir; /* <data-dir>/server */
    char *url, *api_address, *issuer, *static_dir;
    char service_ip[INET6_ADDRSTRLEN];
    struct store *store;
    struct pki *pki;
    struct tokens tokens;
    struct jwt_key *jwt;
    struct authn *authn;
    struct authz *authz;
    struct admission *admission;
    struct api *api;
    struct client *masters, *scheduler_client;
    struct supervisor *supervisor;
    struct tls_ctx *kubelet_tls;
    struct http_server *http;
    pthread_mutex_t parts_lock; /* guards the two below: health checks come while they start and stop */
    struct controllers *controllers;
    struct scheduler *scheduler;
    pthread_mutex_t compact_lock; /* guards the timer and the flag */
    struct loop_timer *compact_timer;
    int64_t compact_to;
    bool compacting, stopping;
    pthread_cond_t compacted;
};

/* --- folders and files --- */

static int make_dir(const char *path, mode_t mode, struct err *err)
{
    AUTO_FREE char *part = mem_strdup(path);

    for (char *at = part + 1; *at; at++)
        if (*at == '/') {
            *at = '\0';
            if (mkdir(part, 0755) < 0 && errno != EEXIST)
                return err_sys(err, errno, "make %s", part);
            *at = '/';
        }
    if (mkdir(part, mode) < 0 && errno != EEXIST)
        return err_sys(err, errno, "make %s", part);
    return 0;
}

static int open_folders(struct server *s, struct err *err)
{
    static const char *const parts[] = { "", "/db", "/tls", "/cred", "/static", "/manifests" };

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        AUTO_FREE char *path = mem_printf("%s%s", s->dir, parts[i]);

        if (make_dir(path, 0700, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int open_store(struct server *s, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/db/state.db", s->dir);

    if (store_open_sqlite(path, &(struct store_options){ .clock = s->o.clock }, &s->store, err) < 0)
        return err_wrap(err, "datastore %s", path);
    return 0;
}

/* --- certificates --- */

/* The first address of a range: where default/kubernetes lives. */
static int first_address(const char *cidr, char ret[INET6_ADDRSTRLEN], struct err *err)
{
    char base[INET6_ADDRSTRLEN];
    size_t n = strcspn(cidr, "/");
    unsigned char at[16];
    int family = memchr(cidr, ':', n) ? AF_INET6 : AF_INET;

    if (n >= sizeof(base) || !cidr[n])
        return err_set(err, ERR_BAD_REQUEST, "invalid service-cidr \"%s\": allowed is an address range such as 10.43.0.0/16", cidr);
    memcpy(base, cidr, n);
    base[n] = '\0';
    if (inet_pton(family, base, at) != 1)
        return err_set(err, ERR_BAD_REQUEST, "invalid service-cidr \"%s\": allowed is an address range such as 10.43.0.0/16", cidr);
    at[family == AF_INET ? 3 : 15] |= 1;
    inet_ntop(family, at, ret, INET6_ADDRSTRLEN);
    return 0;
}

static bool is_address(const char *text)
{
    unsigned char at[16];

    return inet_pton(AF_INET, text, at) == 1 || inet_pton(AF_INET6, text, at) == 1;
}

struct sans {
    const char *dns[SANS_MAX + 1], *ips[SANS_MAX + 1];
    size_t n_dns, n_ips;
};

static void add_san(struct sans *sans, const char *name)
{
    bool ip = is_address(name);
    const char **at = ip ? sans->ips : sans->dns;
    size_t *n = ip ? &sans->n_ips : &sans->n_dns;

    if (!*name || *n == SANS_MAX)
        return;
    for (size_t i = 0; i < *n; i++)
        if (strcmp(at[i], name) == 0)
            return;
    at[(*n)++] = name;
    at[*n] = NULL;
}

static int open_pki(struct server *s, struct err *err)
{
    static const char *const fixed[] = { "kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", "::1" };
    struct sans sans = { 0 };
    AUTO_FREE char *full = mem_printf("kubernetes.default.svc.%s", s->o.cluster_domain);

    if (first_address(s->o.service_cidr, s->service_ip, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        add_san(&sans, fixed[i]);
    add_san(&sans, full);
    add_san(&sans, s->o.node_name);
    add_san(&sans, s->service_ip);
    add_san(&sans, s->o.advertise_address);
    for (const char *const *n = s->o.tls_sans; n && *n; n++)
        add_san(&sans, *n);
    struct pki_options o = { .data_dir = s->dir, .clock = s->o.clock, .serving_dns = sans.dns, .serving_ips = sans.ips };
    return pki_open(&o, &s->pki, err);
}

/* --- identity --- */

static int open_auth(struct server *s, struct err *err)
{
    static const char *const servers[] = { "rancherd:server", NULL }, *const agents[] = { "rancherd:agent", NULL };
    const char *audiences[] = { s->issuer, "rancherd", NULL };
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx ctx = ctx_background(arena);

    if (tokens_open(s->dir, pki_cert(s->pki, PKI_SERVER_CA), s->o.token, s->o.agent_token, &s->tokens, err) < 0)
        return -(int)err->code;
    if (jwt_key_new(pki_service_key(s->pki), &s->jwt, err) < 0)
        return err_wrap(err, "%s/tls/service.key", s->dir);
    struct authn_options o = {
        .clock = s->o.clock, .store = s->store, .keys = &s->jwt, .n_keys = 1, .issuer = s->issuer, .audiences = audiences,
    };
    if (authn_new(&o, &s->authn, err) < 0)
        return -(int)err->code;
    authn_set_static(s->authn, "node", s->tokens.agent, agents);
    authn_set_static(s->authn, "server", s->tokens.server, servers);
    if (authz_new(s->store, &s->authz, err) < 0 || authz_load(&ctx, s->authz, err) < 0)
        return err_wrap(err, "authorization");
    s->admission = admission_new(&(struct admission_options){
        .store = s->store, .clock = s->o.clock, .schema = schema_builtin(), .authz = s->authz });
    return admission_load(&ctx, s->admission, err);
}

/* --- the API and its front --- */

/* What runs beside the API, as componentstatuses tells it. */
static int controllers_state(void *arg, struct err *err)
{
    struct server *s = arg;
    LOCK_SCOPE(&s->parts_lock);

    if (s->o.disable_controllers)
        return err_set(err, ERR_UNAVAILABLE, "not run by this server: --disable-controller-manager");
    if (!s->controllers)
        return err_set(err, ERR_UNAVAILABLE, "not running");
    return controllers_ready(s->controllers) ? 0 : err_set(err, ERR_UNAVAILABLE, "running, has not seen all objects yet");
}

static int scheduler_state(void *arg, struct err *err)
{
    struct server *s = arg;
    LOCK_SCOPE(&s->parts_lock);

    if (s->o.disable_scheduler)
        return err_set(err, ERR_UNAVAILABLE, "not run by this server: --disable-scheduler");
    if (!s->scheduler)
        return err_set(err, ERR_UNAVAILABLE, "not running");
    return scheduler_ready(s->scheduler) ? 0 : err_set(err, ERR_UNAVAILABLE, "running, has not seen all pods and nodes yet");
}

/* A server is ready without what it was told not to run. */
static int check_controllers(void *arg, struct err *err)
{
    const struct server *s = arg;

    return s->o.disable_controllers ? 0 : controllers_state(arg, err);
}

static int check_scheduler(void *arg, struct err *err)
{
    const struct server *s = arg;

    return s->o.disable_scheduler ? 0 : scheduler_state(arg, err);
}

static int open_api(struct server *s, struct err *err)
{
    struct api_options o = {
        .clock = s->o.clock,
        .store = s->store,
        .pool = s->o.pool,
        .loops = s->o.loops,
        .n_loops = s->o.n_loops,
        .authn = s->authn,
        .authz = s->authz,
        .admission = s->admission,
        .version = s->o.version,
        .service_cidr = s->o.service_cidr,
        .node_port_first = s->o.node_port_first,
        .node_port_last = s->o.node_port_last,
    };
    struct tls_config kubelet = {
        .cert_pem = pki_cert(s->pki, PKI_APISERVER),
        .key_pem = pki_key(s->pki, PKI_APISERVER),
        .ca_pem = pki_cert(s->pki, PKI_SERVER_CA),
        .clock = s->o.clock,
    };

    if (api_new(&o, &s->api, err) < 0 || tls_ctx_new(&kubelet, &s->kubelet_tls, err) < 0)
        return -(int)err->code;
    api_set_kubelet(s->api, &(struct api_kubelet){ .tls = s->kubelet_tls });
    api_add_ready_check(s->api, "poststarthook/start-controllers", check_controllers, s);
    api_add_ready_check(s->api, "poststarthook/start-scheduler", check_scheduler, s);
    api_add_component(s->api, "scheduler", scheduler_state, s);
    api_add_component(s->api, "controller-manager", controllers_state, s);
    s->masters = api_client_new(s->api, &(struct user){ .name = "system:apiserver",
                                                        .uid = "",
                                                        .groups = (const char *const[]){ "system:masters", "system:authenticated" },
                                                        .n_groups = 2 });
    s->scheduler_client = api_client_new(s->api, &(struct user){ .name = "system:kube-scheduler",
                                                                 .uid = "",
                                                                 .groups = (const char *const[]){ "system:authenticated" },
                                                                 .n_groups = 1 });
    return 0;
}

static int listen_front(struct server *s, struct err *err)
{
    static const char *const alpn[] = { "h2", "http/1.1", NULL };
    struct tls_config c = {
        .server = true,
        .cert_pem = pki_cert(s->pki, PKI_SERVING),
        .key_pem = pki_key(s->pki, PKI_SERVING),
        .ca_pem = pki_cert(s->pki, PKI_CLIENT_CA),
        .alpn = alpn,
        .clock = s->o.clock,
    };
    struct tls_ctx *tls = NULL;

    if (tls_ctx_new(&c, &tls, err) < 0)
        return err_wrap(err, "serving certificate");
    s->supervisor = supervisor_new(&(struct supervisor_options){
        .clock = s->o.clock,
        .pool = s->o.pool,
        .authn = s->authn,
        .client = s->masters,
        .pki = s->pki,
        .next = api_serve,
        .next_arg = s->api,
        .static_dir = s->static_dir,
        .api_address = s->api_address,
        .cluster_cidr = s->o.cluster_cidr,
        .service_cidr = s->o.service_cidr,
        .cluster_dns = s->o.cluster_dns,
        .cluster_domain = s->o.cluster_domain,
        .port = s->o.port,
    });
    struct http_server_options o = {
        .loops = s->o.loops, .n_loops = s->o.n_loops, .tls = tls, .handler = supervisor_serve, .arg = s->supervisor,
    };
    int rc = http_server_new(&o, &s->http, err);
    tls_ctx_unref(tls);
    return rc < 0 ? rc : http_server_listen(s->http, s->o.bind_address, s->o.port, NULL, err);
}

/* --- compaction every so often, up to where the head was at the last one --- */

static void on_compact(void *arg);

static void compact_job(void *arg)
{
    struct server *s = arg;
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx;
    struct err err;
    int64_t head = store_revision(s->store);

    base.clock = s->o.clock;
    ctx = ctx_with_timeout(&base, COMPACT_LIMIT_MS);
    if (s->compact_to > 0 && store_compact(&ctx, s->store, s->compact_to, &err) < 0)
        log_warn("compaction failed", "revision=%lld err=%s", (long long)s->compact_to, log_q(err.msg));
    LOCK_SCOPE(&s->compact_lock);
    s->compact_to = head;
    s->compacting = false;
    if (!s->stopping)
        s->compact_timer = loop_timer_start(s->o.loops[0], s->o.compact_every_ms, on_compact, s);
    pthread_cond_broadcast(&s->compacted);
}

static void on_compact(void *arg)
{
    struct server *s = arg;
    struct err err;
    LOCK_SCOPE(&s->compact_lock);

    s->compact_timer = NULL;
    if (s->stopping)
        return;
    if (pool_run(s->o.pool, compact_job, s, &err) == 0)
        s->compacting = true;
    else
        s->compact_timer = loop_timer_start(s->o.loops[0], s->o.compact_every_ms, on_compact, s);
}

static void stop_compaction(struct server *s)
{
    pthread_mutex_lock(&s->compact_lock);
    s->stopping = true;
    struct loop_timer *t = TAKE(s->compact_timer);
    pthread_mutex_unlock(&s->compact_lock);
    loop_timer_cancel(t);
    LOCK_SCOPE(&s->compact_lock);
    while (s->compacting)
        pthread_cond_wait(&s->compacted, &s->compact_lock);
}

/* --- objects, controllers, scheduler --- */

static int run_bootstrap(struct server *s, struct err *err)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx base = ctx_background(arena), ctx = ctx_with_timeout(&base, BOOTSTRAP_MS);
    struct bootstrap_options o = {
        .client = s->masters,
        .pool = s->o.pool,
        .service_ip = s->service_ip,
        .advertise_ip = s->o.advertise_address,
        .advertise_port = s->o.advertise_port ? s->o.advertise_port : s->o.port,
        .client_ca_pem = pki_cert(s->pki, PKI_CLIENT_CA),
        .request_header_ca_pem = pki_cert(s->pki, PKI_REQUEST_HEADER_CA),
    };

    return bootstrap_run(&ctx, &o, err);
}

static struct client *client_for(void *arg, const char *account)
{
    struct server *s = arg;
    AUTO_FREE char *name = mem_printf("system:serviceaccount:kube-system:%s", account);
    static const char *const groups[] = { "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated" };

    return api_client_new(s->api, &(struct user){ .name = name, .uid = "", .groups = groups, .n_groups = ARRAY_LEN(groups) });
}

static int start_loops(struct server *s, struct err *err)
{
    if (!s->o.disable_controllers) {
        struct controllers_options o = {
            .client_for = client_for,
            .client_arg = s,
            .reader = s->masters,
            .pool = s->o.pool,
            .loop = s->o.loops[0],
            .clock = s->o.clock,
            .schema = schema_builtin(),
            .cluster_cidr = s->o.cluster_cidr,
            .server_node = s->o.node_name,
            .root_ca_pem = pki_cert(s->pki, PKI_SERVER_CA),
            .client_ca_pem = pki_cert(s->pki, PKI_CLIENT_CA),
            .client_ca_key_pem = pki_key(s->pki, PKI_CLIENT_CA),
            .server_ca_pem = pki_cert(s->pki, PKI_SERVER_CA),
            .server_ca_key_pem = pki_key(s->pki, PKI_SERVER_CA),
        };

        struct controllers *started = NULL;
        if (controllers_start(&o, &started, err) < 0)
            return err_wrap(err, "controllers");
        LOCK_SCOPE(&s->parts_lock);
        s->controllers = started;
    }
    if (!s->o.disable_scheduler) {
        struct scheduler_options o = { .client = s->scheduler_client, .pool = s->o.pool, .loop = s->o.loops[0], .clock = s->o.clock };

        struct scheduler *started = NULL;
        if (scheduler_start(&o, &started, err) < 0)
            return err_wrap(err, "scheduler");
        LOCK_SCOPE(&s->parts_lock);
        s->scheduler = started;
    }
    if (s->o.compact_every_ms > 0)
        s->compact_timer = loop_timer_start(s->o.loops[0], s->o.compact_every_ms, on_compact, s);
    return 0;
}

static void stop_loops(struct server *s)
{
    pthread_mutex_lock(&s->parts_lock);
    struct controllers *controllers = TAKE(s->controllers);
    struct scheduler *scheduler = TAKE(s->scheduler);
    pthread_mutex_unlock(&s->parts_lock);
    controllers_stop(controllers);
    scheduler_stop(scheduler);
}

static int write_kubeconfig(struct server *s, struct err *err)
{
    if (!s->o.kubeconfig_path)
        return 0;
    AUTO_FREE char *dir = mem_strdup(s->o.kubeconfig_path);
    char *slash = strrchr(dir, '/');

    if (slash && slash != dir) {
        *slash = '\0';
        if (make_dir(dir, 0755, err) < 0)
            return err_wrap(err, "kubeconfig");
    }
    return kubeconfig_write(s->o.kubeconfig_path, s->o.kubeconfig_mode, s->url, pki_cert(s->pki, PKI_SERVER_CA),
                            pki_cert(s->pki, PKI_ADMIN), pki_key(s->pki, PKI_ADMIN), "default", err);
}

static int start(struct server *s, struct err *err)
{
    if (open_folders(s, err) < 0 || open_store(s, err) < 0 || open_pki(s, err) < 0 || open_auth(s, err) < 0 || open_api(s, err) < 0 ||
        listen_front(s, err) < 0 || run_bootstrap(s, err) < 0 || start_loops(s, err) < 0)
        return -(int)err->code;
    supervisor_set_ready(s->supervisor);
    return write_kubeconfig(s, err);
}

int server_start(const struct server_options *options, struct server **ret, struct err *err)
{
    struct server *s = MEM_NEW(struct server);

    s->o = *options;
    pthread_mutex_init(&s->parts_lock, NULL);
    pthread_mutex_init(&s->compact_lock, NULL);
    pthread_cond_init(&s->compacted, NULL);
    s->dir = mem_printf("%s/server", options->data_dir);
    s->static_dir = mem_printf("%s/static", s->dir);
    s->url = mem_printf("https://127.0.0.1:%d", options->port);
    s->api_address = mem_printf(strchr(options->advertise_address, ':') ? "[%s]:%d" : "%s:%d", options->advertise_address,
                                options->advertise_port ? options->advertise_port : options->port);
    s->issuer = mem_printf("https://kubernetes.default.svc.%s", options->cluster_domain);
    if (start(s, err) < 0) {
        server_stop(s, 0);
        return -(int)err->code;
    }
    *ret = s;
    return 0;
}

void server_stop(struct server *s, int64_t grace_ms)
{
    if (!s)
        return;
    stop_compaction(s);
    stop_loops(s);
    if (s->api)
        api_stop(s->api, grace_ms);
    if (s->http)
        http_server_stop(s->http, grace_ms);
    http_server_free(s->http);
    supervisor_free(s->supervisor);
    client_free(s->masters);
    client_free(s->scheduler_client);
    api_free(s->api);
    tls_ctx_unref(s->kubelet_tls);
    admission_free(s->admission);
    authz_free(s->authz);
    authn_free(s->authn);
    jwt_key_free(s->jwt);
    tokens_clear(&s->tokens);
    pki_free(s->pki);
    store_close(s->store);
    pthread_mutex_destroy(&s->parts_lock);
    pthread_mutex_destroy(&s->compact_lock);
    pthread_cond_destroy(&s->compacted);
    free(s->dir);
    free(s->static_dir);
    free(s->url);
    free(s->api_address);
    free(s->issuer);
    free(s);
}

const char *server_token(const struct server *s)
{
    return s->tokens.server_text;
}

const char *server_url(const struct server *s)
{
    return s->url;
}
