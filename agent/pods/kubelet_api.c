#include "agent/pods/kubelet_api.h"
#include "agent/pods/kubelet_int.h"

#include <string.h>

enum { CALL_MS = 30 * 1000, STOP_GRACE_MS = 2000 };

/* --- calls --- */

void kubelet_call_free(struct kubelet_call *c)
{
    struct kubelet_api *k = c->k;

    http_request_unref(c->request);
    for (size_t i = 0; i < c->n_segments; i++)
        free(c->segment[i]);
    url_query_clear(&c->query);
    arena_free(c->arena);
    free(c);
    LOCK_SCOPE(&k->lock);
    if (--k->calls == 0)
        pthread_cond_broadcast(&k->idle);
}

const char *kubelet_query(const struct kubelet_call *c, const char *name)
{
    return url_query_get(&c->query, name);
}

bool kubelet_query_true(const struct kubelet_call *c, const char *name)
{
    const char *v = kubelet_query(c, name);

    return v && (!strcmp(v, "1") || !strcasecmp(v, "true") || !strcmp(v, "t") || !strcmp(v, "T"));
}

static void answer(struct http_request *r, int status, const char *content_type, struct bytes *body)
{
    struct http_headers headers = { 0 };

    http_headers_add(&headers, "Content-Type", content_type);
    http_reply(r, status, &headers, body);
    http_headers_clear(&headers);
}

static void answer_text(struct http_request *r, int status, const char *text)
{
    AUTO(bytes) struct bytes *body = bytes_new(text, strlen(text));

    answer(r, status, "text/plain; charset=utf-8", body);
}

void kubelet_reply(struct kubelet_call *c, int status, const char *content_type, struct buf *body)
{
    AUTO(bytes) struct bytes *b = buf_take(body);

    answer(c->request, status, content_type, b);
    kubelet_call_free(c);
}

void kubelet_fail_text(struct kubelet_call *c, int status, const char *text)
{
    answer_text(c->request, status, text);
    kubelet_call_free(c);
}

void kubelet_fail(struct kubelet_call *c, const struct err *why)
{
    kubelet_fail_text(c, err_http(why), why->msg);
}

int kubelet_find(struct kubelet_call *c, bool previous, struct kubelet_target *ret, struct err *err)
{
    bool with_uid = c->n_segments == 5;

    return c->k->world.find(c->k->world.arg, c->segment[1], c->segment[2], with_uid ? c->segment[3] : "", c->segment[with_uid ? 4 : 3], previous, ret,
                            err);
}

/* --- streams that live on --- */

void kubelet_live_add(struct kubelet_api *k, struct kubelet_live *l)
{
    LOCK_SCOPE(&k->lock);
    l->linked = true;
    l->prev = NULL;
    l->next = k->live;
    if (k->live)
        k->live->prev = l;
    k->live = l;
}

void kubelet_live_remove(struct kubelet_api *k, struct kubelet_live *l)
{
    LOCK_SCOPE(&k->lock);
    if (!l->linked)
        return;
    l->linked = false;
    if (l->prev)
        l->prev->next = l->next;
    else
        k->live = l->next;
    if (l->next)
        l->next->prev = l->prev;
}

bool kubelet_stopping(struct kubelet_api *k)
{
    LOCK_SCOPE(&k->lock);
    return k->stopping;
}

void kubelet_api_container_ended(struct kubelet_api *k, const char *pod_uid, const char *id)
{
    (void)pod_uid; /* ids are unique */
    LOCK_SCOPE(&k->lock);
    for (struct kubelet_live *l = k->live; l; l = l->next)
        if (l->container_ended && !strcmp(l->container_id, id))
            l->container_ended(l);
}

static void close_all(void *arg)
{
    struct kubelet_api *k = arg;
    struct kubelet_live *l;

    do {
        {
            LOCK_SCOPE(&k->lock);
            for (l = k->live; l && l->closing; l = l->next)
                ;
            if (l)
                l->closing = true;
        }
        if (l)
            l->close(l);
    } while (l);
}

/* --- small answers --- */

static void serve_healthz(struct kubelet_call *c)
{
    bool good = !c->k->world.healthy || c->k->world.healthy(c->k->world.arg);

    kubelet_fail_text(c, good ? 200 : 500, good ? "ok" : "healthz check failed");
}

static void serve_pods(struct kubelet_call *c)
{
    AUTO(json) json_t *list = c->k->world.pods(c->k->world.arg);
    struct buf body = { 0 };

    json_write(list, &body);
    kubelet_reply(c, 200, "application/json", &body);
}

/* --- routes --- */

struct kubelet_route {
    const char *path; /* of the first segments */
    size_t n_path, least, most; /* segments of the path itself; of the whole */
    const char *methods;
    void (*serve)(struct kubelet_call *c);
};

static const struct kubelet_route routes[] = {
    { "healthz", 1, 1, 2, "GET", serve_healthz },
    { "pods", 1, 1, 1, "GET", serve_pods },
    { "runningpods", 1, 1, 1, "GET", serve_pods },
    { "stats/summary", 2, 2, 2, "GET", kubelet_stats_summary },
    { "metrics", 1, 1, 1, "GET", kubelet_metrics },
    { "metrics/resource", 2, 2, 2, "GET", kubelet_metrics_resource },
    { "metrics/cadvisor", 2, 2, 2, "GET", kubelet_metrics_cadvisor },
    { "containerLogs", 1, 4, 4, "GET", kubelet_logs },
    { "exec", 1, 4, 5, "GET POST", kubelet_exec },
    { "attach", 1, 4, 5, "GET POST", kubelet_attach },
    { "run", 1, 4, 5, "POST", kubelet_run },
    { "portForward", 1, 3, 4, "GET POST", kubelet_forward },
};

static const struct kubelet_route *route_of(const struct kubelet_call *c)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct kubelet_route *r = &routes[i];
        const char *second = strchr(r->path, '/');
        size_t n = second ? (size_t)(second - r->path) : strlen(r->path);

        if (c->n_segments < r->least || c->n_segments > r->most || strlen(c->segment[0]) != n || strncmp(c->segment[0], r->path, n))
            continue;
        if (!second || !strcmp(c->segment[1], second + 1))
            return r;
    }
    return NULL;
}

/* false: not decodable, or too many. An empty last one (a slash at the end) does not count. */
static bool split_path(struct slice path, struct kubelet_call *c)
{
    const char *p = path.at, *end = path.at + path.n;

    while (p < end) {
        AUTO(buf) struct buf text = { 0 };
        const char *slash;

        p += *p == '/';
        slash = memchr(p, '/', (size_t)(end - p));
        struct slice part = { p, (size_t)((slash ? slash : end) - p) };
        p = slash ? slash : end;
        if (part.n == 0 && p == end)
            break;
        if (c->n_segments == KUBELET_SEGMENTS || url_decode(part, false, &text) < 0)
            return false;
        c->segment[c->n_segments++] = buf_take_str(&text);
    }
    return c->n_segments > 0;
}

/* NULL: allowed. */
static const char *refusal(const struct http_request_info *i, int *ret_status, struct arena *a)
{
    *ret_status = 401;
    if (!i->has_peer_cert)
        return i->peer_cert_error ? arena_printf(a, "Unauthorized: %s", i->peer_cert_error) : "Unauthorized";
    if (!strcmp(i->peer_cert.common_name, "system:kube-apiserver"))
        return NULL;
    for (size_t g = 0; g < i->peer_cert.n_organizations; g++)
        if (!strcmp(i->peer_cert.organizations[g], "system:masters"))
            return NULL;
    *ret_status = 403;
    return arena_printf(a, "Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[proxy])", i->peer_cert.common_name,
                        !strcmp(i->method, "GET") ? "get" : "create");
}

static void serve(void *arg)
{
    struct kubelet_call *c = arg;

    c->route->serve(c);
}

static bool allowed_method(const struct kubelet_route *r, const char *method)
{
    const char *at = strstr(r->methods, method);
    size_t n = strlen(method);

    return at && (at[n] == ' ' || at[n] == '\0') && (at == r->methods || at[-1] == ' ');
}

static void handle(void *arg, struct http_request *r)
{
    const struct http_request_info *i = http_request_info(r);
    struct kubelet_call *c = MEM_NEW(struct kubelet_call);
    struct err err = { 0 };
    const char *no;
    int status = 0;

    c->k = arg;
    c->request = r;
    http_request_ref(r);
    c->arena = arena_new();
    struct ctx ctx = ctx_background(c->arena);
    c->ctx = ctx_with_timeout(&ctx, CALL_MS);
    {
        LOCK_SCOPE(&c->k->lock);
        c->k->calls++;
    }
    if (kubelet_stopping(c->k))
        kubelet_fail_text(c, 503, "the node agent is stopping");
    else if ((no = refusal(i, &status, c->arena)))
        kubelet_fail_text(c, status, no);
    else if (!split_path(i->path, c) || !(c->route = route_of(c)))
        kubelet_fail_text(c, 404, "404 page not found\n");
    else if (!allowed_method(c->route, i->method))
        kubelet_fail_text(c, 405, "Method Not Allowed");
    else if (url_query_parse(i->query, &c->query) < 0)
        kubelet_fail_text(c, 400, "Unable to decode query.");
    else if (pool_run(c->k->pool, serve, c, &err) < 0)
        kubelet_fail(c, &err);
}

/* --- the runtime itself --- */

static int rt_session(struct ctx *ctx, void *arg, const struct runtime_session_spec *spec, struct runtime_session *ret, struct err *err)
{
    return runtime_session(ctx, arg, spec, ret, err);
}

static int rt_dial(struct ctx *ctx, void *arg, const char *pod_uid, int port, int *ret_fd, struct err *err)
{
    return runtime_dial(ctx, arg, pod_uid, port, ret_fd, err);
}

static int rt_exec(struct ctx *ctx, void *arg, const char *pod_uid, const char *id, const char *const *argv, struct bytes **ret_output,
                   int *ret_exit_code, struct err *err)
{
    struct runtime_answer answer = { 0 };

    if (runtime_exec_sync(ctx, arg, pod_uid, id, argv, &answer, err) < 0)
        return -(int)err->code;
    *ret_output = answer.output;
    *ret_exit_code = answer.exit_code;
    return 0;
}

static int rt_usage(void *arg, const char *cgroup, struct cgroup_usage *ret, struct err *err)
{
    return runtime_cgroup_usage(arg, cgroup, ret, err);
}

static int rt_containers(void *arg, const char *pod_uid, struct container **ret, size_t *ret_n, struct err *err)
{
    return runtime_containers(arg, pod_uid, ret, ret_n, err);
}

int kubelet_api_start(const struct kubelet_api_options *options, struct kubelet_api **ret, struct err *err)
{
    struct kubelet_runtime runtime = { options->runtime, rt_session, rt_dial, rt_exec, rt_usage, rt_containers };

    return kubelet_api_start_with(options, &runtime, ret, err);
}

/* --- start and stop --- */

static void free_api(struct kubelet_api *k)
{
    http_server_free(k->server);
    if (k->tls)
        tls_ctx_unref(k->tls);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->idle);
    free(k->node_name);
    free(k->cgroup_root);
    free(k);
}

static int listen_on(struct kubelet_api *k, const struct kubelet_api_options *o, struct err *err)
{
    static const char *const alpn[] = { "h2", "http/1.1", NULL };
    struct tls_config tls = { .server = true, .cert_pem = o->serving_cert_pem, .key_pem = o->serving_key_pem, .ca_pem = o->client_ca_pem,
                              .alpn = alpn, .clock = o->clock };
    struct http_server_options server = { .loops = &k->loop, .n_loops = 1, .handler = handle, .arg = k };
    int rc = tls_ctx_new(&tls, &k->tls, err);

    if (rc < 0)
        return rc;
    server.tls = k->tls;
    rc = http_server_new(&server, &k->server, err);
    return rc < 0 ? rc : http_server_listen(k->server, o->bind_address, o->port, &k->port, err);
}

int kubelet_api_start_with(const struct kubelet_api_options *options, const struct kubelet_runtime *runtime, struct kubelet_api **ret, struct err *err)
{
    struct kubelet_api *k = MEM_NEW(struct kubelet_api);
    int rc;

    *k = (struct kubelet_api){
        .world = options->world, .runtime = *runtime, .clock = options->clock, .loop = options->loop, .pool = options->pool,
        .node_name = mem_strdup(options->node_name), .cgroup_root = mem_strdup(options->cgroup_root ? options->cgroup_root : ""),
        .started_us = clock_wall_us(options->clock),
    };
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->idle, NULL);
    rc = listen_on(k, options, err);
    if (rc < 0) {
        free_api(k);
        return err_wrap(err, "start the kubelet endpoint");
    }
    *ret = k;
    return 0;
}

int kubelet_api_port(const struct kubelet_api *k)
{
    return k->port;
}

void kubelet_api_stop(struct kubelet_api *k)
{
    if (!k)
        return;
    {
        LOCK_SCOPE(&k->lock);
        k->stopping = true;
    }
    loop_post(k->loop, close_all, k);
    http_server_stop(k->server, STOP_GRACE_MS);
    {
        LOCK_SCOPE(&k->lock);
        while (k->calls)
            pthread_cond_wait(&k->idle, &k->lock);
    }
    free_api(k);
}
