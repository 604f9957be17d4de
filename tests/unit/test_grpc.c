/* The gRPC probe against a server of nghttp2 on a socket, against the project's own server, and against none. */
#include "agent/pods/pods_int.h"
#include "http_peer.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <nghttp2/nghttp2.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY(s) s, sizeof(s) - 1
#define SERVING "\0\0\0\0\2\x08\x01"

/* What is answered to a service's name, and what the probe says of it. */
struct reply {
    const char *service;
    const char *body; /* NULL: "trailers only" */
    size_t n;
    const char *status, *message; /* of gRPC; NULL: none */
    const char *http, *type;      /* NULL: "200", application/grpc */
    bool silent;
    const char *says;
};
static const struct reply replies[] = {
    { "", BODY(SERVING), .status = "0", .says = "service healthy" },
    { "typed", BODY(SERVING), .status = "0", .type = "application/grpc+proto", .says = "service healthy" },
    { "down", BODY("\0\0\0\0\2\x08\x02"), .status = "0", .says = "service unhealthy (responded with \"NOT_SERVING\")" },
    { "asked", BODY("\0\0\0\0\2\x08\x03"), .status = "0", .says = "service unhealthy (responded with \"SERVICE_UNKNOWN\")" },
    { "zero", BODY("\0\0\0\0\0"), .status = "0", .says = "service unhealthy (responded with \"UNKNOWN\")" },
    { "nine", BODY("\0\0\0\0\2\x08\x09"), .status = "0", .says = "service unhealthy (responded with \"9\")" },
    { "unknown", .status = "5", .message = "unknown%20service", .says = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service" },
    { "late", BODY(""), .status = "5", .message = "50%", .says = "error: health rpc probe failed: rpc error: code = NotFound desc = 50%" },
    { "none", .status = "12", .message = "unknown service grpc.health.v1.Health",
      .says = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service grpc.health.v1.Health" },
    { "slow", .status = "4", .message = "Deadline Exceeded", .says = "timeout: health rpc did not complete within 2s" },
    { "odd", .status = "77", .message = "x", .says = "error: health rpc probe failed: rpc error: code = Code(77) desc = x" },
    { "word", .status = "1x", .says = "error: health rpc probe failed: rpc error: code = Unknown desc = transport: malformed grpc-status: \"1x\"" },
    { "bare", BODY(SERVING),
      .says = "error: health rpc probe failed: rpc error: code = Internal desc = server closed the stream without sending trailers" },
    { "empty", BODY(""), .status = "0",
      .says = "error: health rpc probe failed: rpc error: code = Internal desc = cardinality violation: received no response message from "
              "non-server-streaming RPC" },
    { "web", BODY("no"), .http = "503", .type = "text/html",
      .says = "error: health rpc probe failed: rpc error: code = Unavailable desc = unexpected HTTP status code received from server: 503 (Service "
              "Unavailable); transport: received unexpected content-type \"text/html\"" },
    { "hang", .silent = true, .says = "timeout: health rpc did not complete within 2s" },
};

struct server {
    int fd, port;
    pthread_t thread;
    /* the thread's */
    int peer;
    struct buf head, body; /* of the request */
    const struct reply *reply;
};

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0 };
}

static size_t status_headers(const struct reply *r, nghttp2_nv *to)
{
    size_t n = 0;

    if (r->status)
        to[n++] = nv("grpc-status", r->status);
    if (r->message)
        to[n++] = nv("grpc-message", r->message);
    return n;
}

static ssize_t read_reply(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct server *srv = arg;
    const struct reply *r = srv->reply;
    nghttp2_nv trailers[2];
    size_t n = status_headers(r, trailers);

    (void)source;
    CHECK(room >= r->n);
    memcpy(to, r->body, r->n);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (n) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        CHECK_INT(nghttp2_submit_trailer(s, id, trailers, n), 0);
    }
    return (ssize_t)r->n;
}

static void reply(nghttp2_session *s, int32_t id, struct server *srv)
{
    const char *body = buf_at(&srv->body);
    nghttp2_data_provider data = { .read_callback = read_reply };
    size_t n = buf_len(&srv->body), named = n > 5 ? n - 7 : 0, headers = 2;
    struct slice service = { named ? body + 7 : "", named };

    CHECK(n == 5 + (named ? named + 2 : 0) && body[4] == (char)(n - 5));
    CHECK(!named || (body[5] == 0x0a && body[6] == (char)named));
    CHECK(strstr(buf_at(&srv->head), ":method=POST\n:scheme=http\n:authority=127.0.0.1:"));
    CHECK(strstr(buf_at(&srv->head), "\n:path=/grpc.health.v1.Health/Check\nte=trailers\ngrpc-timeout="));
    CHECK(strstr(buf_at(&srv->head), "m\nuser-agent=kube-probe/1.37\ncontent-type=application/grpc\n"));
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        if (slice_is(service, replies[i].service))
            srv->reply = &replies[i];
    const struct reply *r = srv->reply;
    nghttp2_nv head[4] = { nv(":status", r->http ? r->http : "200"), nv("content-type", r->type ? r->type : "application/grpc") };

    if (r->silent)
        return;
    if (!r->body)
        headers += status_headers(r, head + 2);
    CHECK_INT(nghttp2_submit_response(s, id, head, headers, r->body ? &data : NULL), 0);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t nn, const uint8_t *value, size_t vn, uint8_t flags, void *arg)
{
    (void)s, (void)f, (void)flags;
    buf_printf(&((struct server *)arg)->head, "%.*s=%.*s\n", (int)nn, name, (int)vn, value);
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *arg)
{
    (void)s, (void)flags, (void)id;
    buf_add(&((struct server *)arg)->body, data, n);
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
    if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
        reply(s, f->hd.stream_id, arg);
    return 0;
}

static void serve(struct server *srv)
{
    nghttp2_session_callbacks *cb;
    nghttp2_session *s;
    char in[4096];
    ssize_t n = 0;

    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_server_new(&s, cb, srv);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(s, 0, NULL, 0);
    do {
        const uint8_t *out;

        CHECK(nghttp2_session_mem_recv(s, (const uint8_t *)in, (size_t)n) == n);
        while ((n = nghttp2_session_mem_send(s, &out)) > 0)
            (void)!send(srv->peer, out, (size_t)n, MSG_NOSIGNAL);
        n = recv(srv->peer, in, sizeof(in), 0);
    } while (n > 0);
    nghttp2_session_del(s);
    buf_clear(&srv->head);
    buf_clear(&srv->body);
}

static void *server_main(void *arg)
{
    struct server *srv = arg;

    while ((srv->peer = accept4(srv->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        serve(srv);
        close(srv->peer);
    }
    return NULL;
}

static int listen_somewhere(int *ret_port)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&sa, n) == 0 && listen(fd, 8) == 0 && getsockname(fd, (struct sockaddr *)&sa, &n) == 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

static void server_start(struct server *srv)
{
    *srv = (struct server){ 0 };
    srv->fd = listen_somewhere(&srv->port);
    CHECK_INT(pthread_create(&srv->thread, NULL, server_main, srv), 0);
}

static void server_stop(struct server *srv)
{
    (void)shutdown(srv->fd, SHUT_RDWR);
    pthread_join(srv->thread, NULL);
    close(srv->fd);
}

static char *check(struct loop *loop, int port, const char *service, int64_t timeout_ms, bool *ret_ok)
{
    AUTO(arena) struct arena *arena = arena_new();
    struct ctx all = ctx_background(arena), ctx = ctx_with_timeout(&all, timeout_ms);
    json_t *spec = json_pack("{s:{s:i,s:s}}", "grpc", "port", port, "service", service);
    struct action a = { .pod_ip = "127.0.0.1", .spec = spec, .timeout_ms = timeout_ms };
    char *output = NULL;

    *ret_ok = grpc_check(&ctx, loop, &a, &output);
    json_decref(spec);
    return output;
}

static void expect(struct loop *loop, int port, const char *service, int64_t timeout_ms, const char *says)
{
    bool ok = false;
    AUTO_FREE char *output = check(loop, port, service, timeout_ms, &ok);

    CHECK_STR(output, says);
    CHECK_INT(ok, strcmp(says, "service healthy") == 0);
}

TEST(grpc_answers)
{
    struct server srv;
    struct loop *loop = NULL;
    struct err err;

    server_start(&srv);
    CHECK_INT(loop_new("test", &loop, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(replies); i++)
        expect(loop, srv.port, replies[i].service, 2000, replies[i].says);
    server_stop(&srv);
    loop_free(loop);
    uv_library_shutdown();
}

/* No connection: refused, a peer that says nothing, one that speaks HTTP/1.1, one that comes a moment later. */
static void *speak_http1(void *arg)
{
    int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    CHECK(fd >= 0 && send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) > 0);
    close(fd);
    return NULL;
}

TEST(grpc_no_connection)
{
    struct loop *loop = NULL;
    struct err err;
    int port, fd = listen_somewhere(&port);
    AUTO_FREE char *says = mem_printf("timeout: failed to connect service \"127.0.0.1:%d\" within 1s: context deadline exceeded", port);
    pthread_t thread;

    CHECK_INT(loop_new("test", &loop, &err), 0);
    expect(loop, port, "", 1000, says);
    int left = accept4(fd, NULL, NULL, SOCK_CLOEXEC); /* of the silent one */
    close(left);
    CHECK_INT(pthread_create(&thread, NULL, speak_http1, &fd), 0);
    expect(loop, port, "", 1000, says);
    pthread_join(thread, NULL);
    close(fd);
    int64_t began = clock_mono_ms(&clock_system);
    expect(loop, port, "", 1000, says);
    CHECK(clock_mono_ms(&clock_system) - began >= 1000);
    loop_free(loop);
    uv_library_shutdown();
}

static void *come_late(void *arg)
{
    struct server *srv = arg;
    struct timespec ts = { .tv_nsec = 200 * 1000000 };

    nanosleep(&ts, NULL);
    CHECK_INT(listen(srv->fd, 8), 0);
    return server_main(srv);
}

TEST(grpc_server_comes_late)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(sa);
    struct server srv = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    struct loop *loop = NULL;
    struct err err;

    CHECK(bind(srv.fd, (struct sockaddr *)&sa, n) == 0 && getsockname(srv.fd, (struct sockaddr *)&sa, &n) == 0);
    CHECK_INT(pthread_create(&srv.thread, NULL, come_late, &srv), 0);
    CHECK_INT(loop_new("test", &loop, &err), 0);
    expect(loop, ntohs(sa.sin_port), "", 10000, "service healthy");
    server_stop(&srv);
    loop_free(loop);
    uv_library_shutdown();
}

TEST(grpc_against_own_server)
{
    struct peer_server ps;

    peer_server_start(&ps, NULL);
    expect(ps.loops[0], ps.port, "", 60000 + 1000,
           "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unexpected HTTP status code received from server: 404 "
           "(Not Found); transport: received unexpected content-type \"text/plain\"");
    peer_server_end(&ps);
}

TEST(grpc_messages)
{
    static const struct {
        const char *body;
        size_t n;
        int32_t status;
        bool bad;
    } cases[] = {
        { BODY(SERVING), 1, false },
        { BODY("\0\0\0\0\4\x08\2\x08\1"), 1, false },                     /* the last one counts */
        { BODY("\0\0\0\0\x11\x12\1x\x1d" "1234" "\x21" "12345678"), 0, false }, /* fields nobody knows: bytes, 4 and 8 of them */
        { BODY("\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), -1, false },
        { BODY("\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1"), 0, true }, /* a varint too long */
        { BODY("\1\0\0\0\2\x08\1"), 0, true },                            /* compressed */
        { BODY("\0\0\0\0\3\x08\1"), 0, true },                            /* cut */
        { BODY("\0\0\0\0"), 0, true },
        { BODY("\0\0\0\0\2\x08\1\0\0\0\0\0"), 0, true },                  /* two messages */
        { BODY("\0\0\0\0\2\x12\1"), 0, true },                            /* a field longer than the message */
        { BODY("\0\0\0\0\2\x0b\1"), 0, true },                            /* a group */
        { BODY("\0\0\0\0\2\0\1"), 0, true },                              /* field 0 */
        { BODY("\0\xff\xff\xff\xff\x08\1"), 0, true },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t status = 0;
        const char *wrong = grpc_health_read((struct slice){ cases[i].body, cases[i].n }, &status);

        if (cases[i].bad != (wrong != NULL))
            fprintf(stderr, "case %zu: %s\n", i, wrong ? wrong : "is taken");
        CHECK(cases[i].bad == (wrong != NULL));
        CHECK_INT(status, cases[i].status);
    }
}
