/*
 * Relays to kubelets and backends: log, exec, attach, port-forward, proxy. No thread is held while bytes flow.
 *
 * Upgrades (WebSocket, SPDY) are handed on as they are, then the two connections are tied together (conn_relay); plain requests become a stream
 * of the HTTP client whose pieces go out as they come, with back-pressure.
 */
#include "server/api/api_int.h"

#include "lib/http/client.h"
#include "lib/k8s/meta.h"
#include "lib/k8s/status.h"

#include <stdio.h>
#include <string.h>

struct relay {
    struct api_request *r;
    struct http_client *client;
    char *path; /* at the backend */
    struct http_stream *stream;
    bool begun, paused, own_client, closed; /* closed: our side's stream is over */
    struct conn *upstream;
};

/* --- where to --- */

static int read_object(struct api_request *r, const char *resource, const char *ns, const char *name, json_t **ret, struct err *err)
{
    const struct schema_resource *res = schema_resource_find(r->api->schema, SLICE_LIT(""), SLICE_LIT("v1"), slice_of(resource));
    AUTO(buf) struct buf key = { 0 };
    struct store_row row = { 0 };

    key_write(res, ns, name, &key);
    if (store_get(&r->ctx, r->api->o.store, (struct slice){ buf_at(&key), buf_len(&key) }, 0, &row, NULL, err) < 0)
        return err->code == ERR_NOT_FOUND ? status_not_found(&r->ctx, "", resource, name, err) : -(int)err->code;
    int rc = json_read(row.value->at, row.value->n, NULL, NULL, ret, err);
    store_row_clear(&row);
    return rc < 0 ? err_wrap(err, "stored %s", resource) : 0;
}

static const char *node_address(const json_t *node)
{
    static const char *const order[] = { "InternalIP", "ExternalIP", "Hostname" };
    size_t i = 0;
    json_t *a = NULL;

    for (size_t k = 0; k < ARRAY_LEN(order); k++)
        json_array_foreach(json_at(node, "status.addresses"), i, a) if (strcmp(json_str_or(a, "type", ""), order[k]) == 0)
            return json_str_or(a, "address", "");
    return NULL;
}

/* A dialler that goes through the tunnel when one is set. */
struct node_dial {
    struct api *api;
    char node[256];
};

static struct conn *dial_node(void *arg, const struct conn_ops *ops, void *ops_arg)
{
    struct node_dial *d = arg;

    return d->api->kubelet.dial(d->api->kubelet.dial_arg, d->node, ops, ops_arg);
}

/* The shared client for a node's kubelet; kept until the server ends. */
static int kubelet_client(struct api_request *r, const char *node_name, struct http_client **ret, struct err *err)
{
    struct api *a = r->api;
    AUTO(json) json_t *node = NULL;

    if (read_object(r, "nodes", NULL, node_name, &node, err) < 0)
        return -(int)err->code;
    const char *address = node_address(node);
    if (!address)
        return err_set(err, ERR_IO, "no preferred addresses found; known addresses: []");
    int64_t port = json_int_or(node, "status.daemonEndpoints.kubeletEndpoint.Port", 10250);
    bool v6 = strchr(address, ':') != NULL;
    AUTO_FREE char *url = mem_printf("https://%s%s%s:%lld", v6 ? "[" : "", address, v6 ? "]" : "", (long long)port);
    struct loop *loop = http_request_loop(r->http); /* both sides of a relay live on one loop */
    AUTO_FREE char *key = mem_printf("%s|%s|%p", node_name, url, (void *)loop);

    LOCK_SCOPE(&a->lock);
    *ret = map_get(a->kubelet_clients, key);
    if (*ret)
        return 0;
    struct http_client_options o = { .loop = loop, .url = url, .tls = a->kubelet.tls, .server_name = node_name, .http1_only = true };
    if (a->kubelet.dial) {
        struct node_dial *d = MEM_NEW(struct node_dial); /* lives as long as the client: to the end */
        d->api = a;
        snprintf(d->node, sizeof(d->node), "%s", node_name);
        o.dial = dial_node;
        o.dial_arg = d;
    }
    if (http_client_new(&o, ret, err) < 0)
        return err_wrap(err, "kubelet of node %s", node_name);
    map_set(a->kubelet_clients, key, *ret);
    return 0;
}

/* --- paths --- */

static void add_query(struct buf *to, const char *name, const char *value)
{
    buf_char(to, memchr(buf_at(to), '?', buf_len(to)) ? '&' : '?');
    buf_printf(to, "%s=", name);
    url_encode(slice_of(value), to);
}

static int pick_container(struct api_request *r, const json_t *pod, const char **ret, struct err *err)
{
    static const char *const lists[] = { "spec.initContainers", "spec.containers", "spec.ephemeralContainers" };
    const char *name = api_query(r, "container");
    AUTO(buf) struct buf names = { 0 };
    size_t i = 0;
    json_t *c = NULL;

    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        json_array_foreach(json_at(pod, lists[k]), i, c)
        {
            if (name && *name && strcmp(json_str_or(c, "name", ""), name) == 0) {
                *ret = name;
                return 0;
            }
            if (k == 1)
                buf_printf(&names, "%s%s", i ? " " : "", json_str_or(c, "name", ""));
        }
    if (name && *name)
        return status_bad_request(&r->ctx, err, "container %s is not valid for pod %s", name, r->route.name);
    if (json_array_size(json_at(pod, "spec.containers")) > 1) {
        const char *def = meta_annotation(pod, "kubectl.kubernetes.io/default-container");

        if (def && *def) {
            *ret = arena_strdup(r->arena, def);
            return 0;
        }
        return status_bad_request(&r->ctx, err, "a container name must be specified for pod %s, choose one of: [%s]", r->route.name,
                                  buf_at(&names));
    }
    *ret = arena_strdup(r->arena, json_str_or(json_array_get(json_at(pod, "spec.containers"), 0), "name", ""));
    return 0;
}

static int log_path(struct api_request *r, const json_t *pod, struct buf *to, struct err *err)
{
    static const char *const numbers[] = { "sinceSeconds", "tailLines", "limitBytes" };
    static const char *const pass[] = { "follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream" };
    const char *container = NULL;

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const char *v = api_query(r, numbers[i]);
        char *end = NULL;

        if (v && (strtoll(v, &end, 10) < (i == 1 ? 0 : 1) || *end || !*v))
            return err_set(err, ERR_INVALID, "PodLogOptions \"%s\" is invalid: %s: Invalid value: %s: must be greater than %s0",
                           r->route.name, numbers[i], v, i == 1 ? "or equal to " : "");
    }
    if (pick_container(r, pod, &container, err) < 0)
        return -(int)err->code;
    buf_printf(to, "/containerLogs/%s/%s/%s", r->route.ns, r->route.name, container);
    for (size_t i = 0; i < ARRAY_LEN(pass); i++)
        if (api_query(r, pass[i]))
            add_query(to, pass[i], api_query(r, pass[i]));
    return 0;
}

static int stream_path(struct api_request *r, const json_t *pod, const char *verb, struct buf *to, struct err *err)
{
    const char *container = NULL;

    if (strcmp(verb, "portforward") == 0) {
        buf_printf(to, "/portForward/%s/%s", r->route.ns, r->route.name);
    } else {
        if (pick_container(r, pod, &container, err) < 0)
            return -(int)err->code;
        buf_printf(to, "/%s/%s/%s/%s", verb, r->route.ns, r->route.name, container);
    }
    static const char *const flags[][2] = { { "stdin", "input" }, { "stdout", "output" }, { "stderr", "error" }, { "tty", "tty" } };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (api_query_true(r, flags[i][0]))
            add_query(to, flags[i][1], "1");
    for (size_t i = 0; i < r->query.n; i++)
        if (strcmp(r->query.at[i].name, "command") == 0 || strcmp(r->query.at[i].name, "ports") == 0)
            add_query(to, strcmp(r->query.at[i].name, "ports") == 0 ? "port" : "command", r->query.at[i].value);
    return 0;
}

static int check_pod(struct api_request *r, const json_t *pod, struct err *err)
{
    const char *node = json_str_or(pod, "spec.nodeName", ""), *phase = json_str_or(pod, "status.phase", "");

    if (!*node)
        return status_bad_request(&r->ctx, err, "pod %s does not have a host assigned", r->route.name);
    if (strcmp(r->route.sub->name, "log") != 0 && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0))
        return status_bad_request(&r->ctx, err, "cannot exec in a stopped state: pod %s is in phase %s", r->route.name, phase);
    return 0;
}

static int to_kubelet(struct api_request *r, struct relay *y, struct err *err)
{
    AUTO(json) json_t *pod = NULL;
    AUTO(buf) struct buf path = { 0 };
    const char *sub = r->route.sub->name;

    if (read_object(r, "pods", r->route.ns, r->route.name, &pod, err) < 0 || check_pod(r, pod, err) < 0)
        return -(int)err->code;
    int rc = strcmp(sub, "log") == 0 ? log_path(r, pod, &path, err) : stream_path(r, pod, sub, &path, err);
    if (rc < 0)
        return rc;
    y->path = mem_strdup(buf_at(&path));
    return kubelet_client(r, json_str_or(pod, "spec.nodeName", ""), &y->client, err);
}

/* --- proxies: [scheme:]name[:port] --- */

struct proxy_name {
    const char *scheme, *name, *port;
};

static struct proxy_name split_name(struct api_request *r)
{
    char *text = arena_strdup(r->arena, r->route.name), *first = strchr(text, ':');
    struct proxy_name p = { "http", text, "" };

    if (!first)
        return p;
    *first = '\0';
    char *second = strchr(first + 1, ':');
    if (second) {
        *second = '\0';
        p = (struct proxy_name){ *text ? text : "http", first + 1, second + 1 };
    } else {
        p.port = first + 1;
    }
    return p;
}

static void proxy_path(struct api_request *r, struct buf *to)
{
    buf_str(to, *r->route.rest ? r->route.rest : "/");
    if (r->raw_query)
        buf_printf(to, "?%s", r->raw_query);
}

static int open_backend(struct api_request *r, struct relay *y, const char *scheme, const char *host, int64_t port, struct err *err)
{
    bool v6 = strchr(host, ':') != NULL;
    AUTO_FREE char *url = mem_printf("%s://%s%s%s:%lld", scheme, v6 ? "[" : "", host, v6 ? "]" : "", (long long)port);
    struct tls_ctx *tls = NULL;

    if (strcmp(scheme, "https") == 0 &&
        tls_ctx_new(&(struct tls_config){ .insecure = true, .clock = r->api->o.clock }, &tls, err) < 0)
        return -(int)err->code;
    int rc = http_client_new(&(struct http_client_options){ .loop = http_request_loop(r->http), .url = url, .tls = tls, .http1_only = true },
                             &y->client, err);
    tls_ctx_unref(tls);
    y->own_client = rc == 0;
    return rc;
}

static int to_pod(struct api_request *r, struct relay *y, struct err *err)
{
    struct proxy_name p = split_name(r);
    AUTO(json) json_t *pod = NULL;

    if (read_object(r, "pods", r->route.ns, p.name, &pod, err) < 0)
        return -(int)err->code;
    const char *ip = json_str_or(pod, "status.podIP", "");
    int64_t port = *p.port ? strtoll(p.port, NULL, 10)
                           : json_int_or(json_array_get(json_object_get(json_array_get(json_at(pod, "spec.containers"), 0), "ports"), 0),
                                         "containerPort", strcmp(p.scheme, "https") == 0 ? 443 : 80);
    if (!*ip)
        return err_set(err, ERR_IO, "address not allowed");
    return open_backend(r, y, p.scheme, ip, port, err);
}

static int endpoint_of(struct api_request *r, const char *name, const char *port, const char **ret_ip, int64_t *ret_port, struct err *err)
{
    AUTO(json) json_t *ep = NULL;
    size_t i = 0, k = 0;
    json_t *subset = NULL, *pt = NULL;

    if (read_object(r, "endpoints", r->route.ns, name, &ep, err) < 0)
        return -(int)err->code;
    json_array_foreach(json_object_get(ep, "subsets"), i, subset)
    {
        const char *ip = json_str(json_array_get(json_object_get(subset, "addresses"), 0), "ip");

        json_array_foreach(json_object_get(subset, "ports"), k, pt) if (ip && strcmp(json_str_or(pt, "name", ""), port) == 0)
        {
            *ret_ip = arena_strdup(r->arena, ip);
            *ret_port = json_int_or(pt, "port", 0);
            return 0;
        }
    }
    return err_set(err, ERR_UNAVAILABLE, "no endpoints available for service \"%s\"", name);
}

static int to_service(struct api_request *r, struct relay *y, struct err *err)
{
    struct proxy_name p = split_name(r);
    AUTO(json) json_t *svc = NULL;
    size_t i = 0;
    json_t *pt = NULL;
    const char *ip = NULL;
    int64_t port = 0;

    if (read_object(r, "services", r->route.ns, p.name, &svc, err) < 0)
        return -(int)err->code;
    json_t *ports = json_at(svc, "spec.ports");
    json_array_foreach(ports, i, pt)
    {
        AUTO_FREE char *number = mem_printf("%lld", (long long)json_int_or(pt, "port", 0));

        if ((!*p.port && json_array_size(ports) == 1) || strcmp(p.port, number) == 0 ||
            (*p.port && strcmp(p.port, json_str_or(pt, "name", "")) == 0)) {
            if (endpoint_of(r, p.name, json_str_or(pt, "name", ""), &ip, &port, err) < 0)
                return -(int)err->code;
            return open_backend(r, y, p.scheme, ip, port, err);
        }
    }
    return err_set(err, ERR_UNAVAILABLE, "no service port \"%s\" found for service \"%s\"", p.port, p.name);
}

/* --- the plain way: a stream in pieces --- */

static void relay_free(struct relay *y)
{
    if (y->own_client)
        http_client_free(y->client);
    free(y->path);
    http_request_unref(y->r->http);
    api_request_free(y->r);
    free(y);
}

static void free_on_pool(void *arg)
{
    relay_free(arg);
}

/* http_client_free may wait for its loop: not from the loop itself. */
static void relay_done(struct relay *y)
{
    struct err err;

    if (!y->own_client || pool_run(y->r->api->o.pool, free_on_pool, y, &err) < 0)
        relay_free(y);
}

static void fail(struct relay *y, const struct err *why)
{
    struct api_request *r = y->r;
    struct buf text = { 0 };

    status_write(why, &text);
    r->answer = (struct api_answer){ .status = err_http(why), .body = buf_take(&text) };
    api_reply(r);
}

static void on_drain(void *arg)
{
    struct relay *y = arg;

    if (y->paused && y->stream) {
        y->paused = false;
        http_stream_resume(y->stream);
    }
}

static void on_close(void *arg)
{
    struct relay *y = arg;

    y->closed = true;
    if (y->stream)
        http_stream_close(y->stream); /* on_end comes and is the last */
    else
        relay_done(y);
}

static void on_headers(void *arg, int status, const struct http_headers *headers)
{
    static const struct http_stream_ops ops = { on_drain, on_close };
    static const char *const hop[] = { "connection", "transfer-encoding", "content-length", "keep-alive", "upgrade", "trailer" };
    struct relay *y = arg;
    struct http_headers out = { 0 };

    for (size_t i = 0; i < headers->n; i++) {
        bool skip = false;

        for (size_t k = 0; k < ARRAY_LEN(hop); k++)
            skip |= strcmp(headers->at[i].name, hop[k]) == 0;
        if (!skip)
            http_headers_add(&out, headers->at[i].name, headers->at[i].value);
    }
    y->begun = true;
    http_stream_begin(y->r->http, status, &out, &ops, y);
    http_headers_clear(&out);
}

static void on_data(void *arg, const char *data, size_t n)
{
    struct relay *y = arg;
    struct bytes *piece = bytes_new(data, n);

    http_stream_write(y->r->http, piece);
    bytes_unref(piece);
    if (http_stream_queued(y->r->http) > CONN_HIGH_BYTES && !y->paused) {
        y->paused = true;
        http_stream_pause(y->stream);
    }
}

static void on_end(void *arg, const struct err *why)
{
    struct relay *y = arg;

    y->stream = NULL;
    if (!y->begun) {
        struct err none;

        if (!why) {
            ERR_IGNORE(err_set(&none, ERR_UNAVAILABLE, "the backend closed the connection"));
            why = &none;
        }
        http_on_cancel(y->r->http, NULL, NULL);
        fail(y, why);
        relay_done(y);
        return;
    }
    if (y->closed)
        relay_done(y);
    else if (why)
        http_stream_abort(y->r->http); /* on_close comes and is the last */
    else
        http_stream_end(y->r->http);
}

static const char *const *request_headers(struct api_request *r, bool upgrade)
{
    static const char *const drop[] = { "host", "content-length", "transfer-encoding", "authorization", "connection", "keep-alive",
                                        "te", "upgrade", "impersonate-user", "impersonate-group", "impersonate-uid" };
    const struct http_headers *h = http_request_info(r->http)->headers;
    const char **out = arena_alloc(r->arena, (2 * h->n + 5) * sizeof(*out));
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++) {
        bool skip = h->at[i].name[0] == ':';

        for (size_t k = 0; k < ARRAY_LEN(drop); k++)
            skip |= strcmp(h->at[i].name, drop[k]) == 0;
        if (skip)
            continue;
        out[n++] = arena_strdup(r->arena, h->at[i].name);
        out[n++] = arena_strdup(r->arena, h->at[i].value);
    }
    if (upgrade) {
        out[n++] = "connection";
        out[n++] = "Upgrade";
        out[n++] = "upgrade";
        out[n++] = arena_strdup(r->arena, http_headers_get(h, "upgrade"));
    }
    return out;
}

static void start_stream(void *arg)
{
    static const struct http_stream_cb cb = { on_headers, on_data, on_end };
    struct relay *y = arg;
    struct api_request *r = y->r;
    struct http_call call = {
        .method = r->method, .path = y->path, .headers = request_headers(r, false), .body = r->body->n ? r->body : NULL,
        .max_bytes = SIZE_MAX,
    };

    y->stream = http_stream_open(y->client, &call, &cb, y); /* its callbacks come on this loop, later */
}

/* --- upgrades --- */

static void relay_ended(void *arg)
{
    relay_done(arg);
}

static void lone_closed(struct conn *c, void *arg, const struct err *why)
{
    struct relay *y = arg;

    (void)c, (void)why;
    y->upstream = NULL;
    if (y->closed)
        relay_done(y);
}

static const struct conn_ops lone_side = { .on_close = lone_closed };

static void take_client_side(void *arg, struct conn *c)
{
    struct relay *y = arg;

    if (c && y->upstream) {
        conn_relay(c, y->upstream, relay_ended, y);
        return;
    }
    y->closed = true; /* one of the two was gone before they met */
    if (c) {
        conn_set_ops(c, &lone_side, y);
        conn_close(c);
    } else if (y->upstream) {
        conn_abort(y->upstream, NULL);
    } else {
        relay_done(y);
    }
}

static void take_backend_side(void *arg, struct conn *c, const struct http_headers *headers)
{
    struct relay *y = arg;
    struct http_headers out = { 0 };

    for (size_t i = 0; i < headers->n; i++)
        http_headers_add(&out, headers->at[i].name, headers->at[i].value);
    y->upstream = c;
    conn_set_ops(c, &lone_side, y);
    conn_pause(c);
    http_upgrade(y->r->http, 101, &out, take_client_side, y);
    http_headers_clear(&out);
}

static void backend_refused(void *arg, const struct http_answer *answer, const struct err *why)
{
    struct relay *y = arg;

    if (answer) {
        y->r->answer = (struct api_answer){
            .status = answer->status,
            .body = bytes_ref(answer->body),
            .content_type = arena_strdup(y->r->arena, http_headers_get(&answer->headers, "content-type")),
        };
        api_reply(y->r);
    } else {
        fail(y, why);
    }
    relay_done(y);
}

static void start_upgrade(void *arg)
{
    static const struct http_upgrade_cb cb = { take_backend_side, backend_refused };
    struct relay *y = arg;
    struct http_call call = { .method = y->r->method, .path = y->path, .headers = request_headers(y->r, true) };

    http_client_upgrade(y->client, &call, &cb, y);
}

int api_relay(struct api_request *r, struct err *err)
{
    struct relay *y = NULL;
    const char *sub = r->route.sub->name, *resource = r->route.resource->resource;
    AUTO(buf) struct buf path = { 0 };
    int rc = 0;

    if (!r->http)
        return err_set(err, ERR_BAD_REQUEST, "%s/%s is only served over HTTP", resource, sub);
    const struct http_headers *h = http_request_info(r->http)->headers;
    bool upgrade = http_headers_has_token(h, "connection", "upgrade") && http_headers_get(h, "upgrade");
    bool proxy = strcmp(sub, "proxy") == 0, log = strcmp(sub, "log") == 0;
    if (!upgrade && !proxy && !log)
        return status_bad_request(&r->ctx, err, "Upgrade request required");
    y = MEM_NEW(struct relay);
    y->r = r;
    if (!proxy)
        rc = to_kubelet(r, y, err);
    else if (strcmp(resource, "nodes") == 0)
        rc = kubelet_client(r, split_name(r).name, &y->client, err);
    else
        rc = strcmp(resource, "pods") == 0 ? to_pod(r, y, err) : to_service(r, y, err);
    if (rc < 0) {
        if (y->own_client)
            http_client_free(y->client);
        free(y->path);
            free(y);
        return rc;
    }
    if (proxy) {
        proxy_path(r, &path);
        y->path = mem_strdup(buf_at(&path));
    }
    http_request_ref(r->http);
    *r->streaming = true;
    api_release_slot(r);
    http_on_cancel(r->http, NULL, NULL);
    loop_post(http_request_loop(r->http), upgrade ? start_upgrade : start_stream, y);
    return 0;
}
