/* handler - one action of a probe or hook: a command, an HTTP request, a TCP connection, a gRPC health check. */
#include "agent/pods/pods_int.h"

#include "lib/http/client.h"
#include "lib/pool.h"
#include "lib/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { WORDS_MAX = 256, HEADERS_MAX = 64, BODY_MAX = 10 * 1024 };

static bool say(char **to, bool ok, const char *text)
{
    *to = mem_strdup(text);
    return ok;
}

static bool run_exec(struct pods *p, struct ctx *ctx, const struct action *a, char **out)
{
    const char **argv = arena_alloc(ctx->arena, (WORDS_MAX + 1) * sizeof(char *));
    struct runtime_answer answer = { 0 };
    size_t i = 0, n = 0;
    json_t *word = NULL;
    struct err err;

    json_array_foreach(json_at(a->spec, "exec.command"), i, word)
        if (n < WORDS_MAX)
            argv[n++] = json_string_value(word);
    if (runtime_exec_sync(ctx, p->o.runtime, a->pod_uid, a->id, argv, &answer, &err) < 0) {
        if (err.code == ERR_TIMEOUT) {
            AUTO_FREE char *text = mem_printf("command timed out: \"%s\" timed out after %llds", n ? argv[0] : "", (long long)(a->timeout_ms / 1000));
            return say(out, false, text);
        }
        return say(out, false, err.msg);
    }
    AUTO(bytes) struct bytes *output = answer.output;

    return say(out, answer.exit_code == 0, output ? output->at : "");
}

/* A number, or the name of one of the container's ports. 0: none such. */
static int port_of(const json_t *port, const json_t *container)
{
    size_t i = 0;
    json_t *p = NULL;

    if (json_is_integer(port))
        return (int)json_integer_value(port);
    json_array_foreach(json_object_get(container, "ports"), i, p)
        if (json_is_string(port) && strcmp(json_str_or(p, "name", ""), json_string_value(port)) == 0)
            return (int)json_int_or(p, "containerPort", 0);
    return json_is_string(port) ? (int)strtol(json_string_value(port), NULL, 10) : 0;
}

static const char *host_of(const json_t *spec, const struct action *a)
{
    const char *host = json_str_or(spec, "host", "");

    return *host ? host : a->pod_ip;
}

/* --- HTTP --- */

static const char *const *headers_of(struct ctx *ctx, const json_t *get, const char **host)
{
    const char **list = arena_alloc(ctx->arena, (2 * HEADERS_MAX + 5) * sizeof(char *));
    size_t i = 0, n = 0;
    json_t *h = NULL;
    bool agent = false;

    json_array_foreach(json_object_get(get, "httpHeaders"), i, h)
    {
        const char *name = json_str_or(h, "name", "");

        if (n >= 2 * HEADERS_MAX)
            break;
        if (strcasecmp(name, "host") == 0) {
            *host = json_str_or(h, "value", "");
            continue;
        }
        agent = agent || strcasecmp(name, "user-agent") == 0;
        list[n++] = name;
        list[n++] = json_str_or(h, "value", "");
    }
    if (!agent) {
        list[n++] = "User-Agent";
        list[n++] = "kube-probe/1.37";
    }
    if (*host) {
        list[n++] = "Host";
        list[n++] = *host;
    }
    return list;
}

static bool run_http(struct pods *p, struct ctx *ctx, const struct action *a, char **out)
{
    const json_t *get = json_object_get(a->spec, "httpGet");
    int port = port_of(json_object_get(get, "port"), a->container);
    const char *host = host_of(get, a), *path = json_str_or(get, "path", "/"), *named = NULL;
    bool https = strcasecmp(json_str_or(get, "scheme", "HTTP"), "HTTPS") == 0, v6 = strchr(host, ':') != NULL;
    static const char *const alpn[] = { "http/1.1", NULL };
    struct tls_config config = { .insecure = true, .alpn = alpn, .clock = p->o.clock };
    struct tls_ctx *tls = NULL;
    struct http_client *client = NULL;
    struct http_answer answer = { 0 };
    struct err err = { 0 };
    const char *slash = *path == '/' ? "" : "/";
    const char *url = arena_printf(ctx->arena, v6 ? "%s://[%s]:%d" : "%s://%s:%d", https ? "https" : "http", host, port);
    bool ok = false;

    if (port <= 0)
        return say(out, false, "couldn't find a port of that name");
    struct http_client_options options = { .loop = p->o.loop, .url = url, .http1_only = true };
    if (https && tls_ctx_new(&config, &tls, &err) < 0)
        return say(out, false, err.msg);
    options.tls = tls;
    int rc = http_client_new(&options, &client, &err);
    if (rc == 0) {
        struct http_call call = { .method = "GET", .path = arena_printf(ctx->arena, "%s%s", slash, path), .accept = "*/*",
                                  .headers = headers_of(ctx, get, &named), .max_bytes = 1 << 20 };
        rc = http_call(ctx, client, &call, &answer, &err);
    }
    if (rc < 0) {
        AUTO_FREE char *text = err.code == ERR_TIMEOUT
                                   ? mem_printf("Get \"%s%s%s\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)", url, slash, path)
                                   : mem_printf("Get \"%s%s%s\": %s", url, slash, path, err.msg);
        say(out, false, text);
    } else {
        ok = answer.status >= 200 && answer.status < 400;
        AUTO_FREE char *text = mem_printf("HTTP probe failed with statuscode: %d", answer.status);
        say(out, ok, ok ? "" : text);
        http_answer_clear(&answer);
    }
    http_client_free(client);
    tls_ctx_unref(tls);
    return ok;
}

/* --- TCP --- */

int action_connect(struct ctx *ctx, const char *host, int port, int *ret_fd, struct err *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *at = NULL;
    char service[16];
    socklen_t n = sizeof(int);
    int failure = 0;

    (void)snprintf(service, sizeof(service), "%d", port);
    if (getaddrinfo(host, service, &hints, &at) != 0 || !at)
        return err_set(err, ERR_UNAVAILABLE, "dial tcp: lookup %s: no such host", host);
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc = fd < 0 ? -1 : connect(fd, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(at);
    if (rc < 0 && fd >= 0 && errno == EINPROGRESS) {
        int64_t left = ctx_left_ms(ctx);
        struct pollfd pfd = { .fd = fd, .events = POLLOUT };

        pool_wait_begin();
        rc = poll(&pfd, 1, left > 600000 ? 600000 : (int)left);
        pool_wait_end();
        if (rc > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &n) == 0 && failure == 0) {
            *ret_fd = fd;
            return 0;
        }
        if (rc == 0) {
            (void)close(fd);
            return err_set(err, ERR_TIMEOUT, "dial tcp %s:%d: i/o timeout", host, port);
        }
    } else if (rc == 0) {
        *ret_fd = fd;
        return 0;
    } else {
        failure = errno;
    }
    if (fd >= 0)
        (void)close(fd);
    return err_set(err, ERR_UNAVAILABLE, "dial tcp %s:%d: connect: %s", host, port,
                   failure == ECONNREFUSED ? "connection refused" : failure == EHOSTUNREACH ? "no route to host" : strerrordesc_np(failure));
}

static bool run_tcp(struct ctx *ctx, const struct action *a, char **out)
{
    const json_t *spec = json_object_get(a->spec, "tcpSocket");
    int port = port_of(json_object_get(spec, "port"), a->container), fd = -1;
    struct err err;

    if (port <= 0)
        return say(out, false, "couldn't find a port of that name");
    if (action_connect(ctx, host_of(spec, a), port, &fd, &err) < 0)
        return say(out, false, err.msg);
    (void)close(fd);
    return say(out, true, "");
}

bool action_run(struct pods *p, struct ctx *ctx, const struct action *a, char **ret_output)
{
    if (json_object_get(a->spec, "exec"))
        return run_exec(p, ctx, a, ret_output);
    if (json_object_get(a->spec, "httpGet"))
        return run_http(p, ctx, a, ret_output);
    if (json_object_get(a->spec, "tcpSocket"))
        return run_tcp(ctx, a, ret_output);
    if (json_object_get(a->spec, "grpc"))
        return grpc_check(ctx, p->o.loop, a, ret_output);
    return say(ret_output, false, "no action is set that this node knows");
}
