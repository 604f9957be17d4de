#include "http_peer.h"
#include "test.h"

#include "lib/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void wait_count(_Atomic int *count, int want, const char *what)
{
    for (int i = 0; i < 5000 && *count < want; i++)
        poll(NULL, 0, 1);
    if (*count < want)
        fprintf(stderr, "%s is %d\n", what, *count);
    CHECK(*count >= want);
}

/* --- the server --- */

static void reply_text(struct http_request *r, int status, const char *text)
{
    struct http_headers h = { 0 };
    struct bytes *b = bytes_new(text, strlen(text));

    http_headers_add(&h, "content-type", "text/plain");
    http_reply(r, status, &h, b);
    bytes_unref(b);
    http_headers_clear(&h);
}

struct job {
    struct peer_server *ps;
    struct http_request *r;
};

static void stream_closed(void *arg)
{
    ((struct peer_server *)arg)->closed++;
}

static const struct http_stream_ops stream_ops = { .on_close = stream_closed };

static void *later(void *arg)
{
    struct job *job = arg;

    reply_text(job->r, 200, "later");
    job->ps->threads--;
    free(job);
    return NULL;
}

static void *stream(void *arg)
{
    struct job *job = arg;

    http_request_ref(job->r);
    http_stream_begin(job->r, 200, NULL, &stream_ops, job->ps);
    for (int i = 0; i < 3; i++) {
        char text[16];
        int n = snprintf(text, sizeof(text), "piece %d\n", i);
        struct bytes *b = bytes_new(text, (size_t)n);

        http_stream_write(job->r, b);
        bytes_unref(b);
    }
    http_stream_end(job->r);
    http_request_unref(job->r);
    job->ps->threads--;
    free(job);
    return NULL;
}

static void on_thread(struct peer_server *ps, struct http_request *r, void *(*fn)(void *arg))
{
    struct job *job = mem_alloc(sizeof(*job));
    pthread_t t;

    *job = (struct job){ ps, r };
    ps->threads++;
    CHECK_INT(pthread_create(&t, NULL, fn, job), 0);
    pthread_detach(t);
}

static void canceled(void *arg)
{
    ((struct peer_server *)arg)->canceled++;
}

static void flood_on(void *arg)
{
    struct peer_server *ps = arg;
    static char zeros[32768];

    while (ps->flood && ps->flood_left && http_stream_queued(ps->flood) < CONN_LOW_BYTES) {
        struct bytes *b = bytes_new(zeros, sizeof(zeros));

        http_stream_write(ps->flood, b);
        bytes_unref(b);
        ps->flood_left -= sizeof(zeros);
        ps->flood_queued = http_stream_queued(ps->flood);
    }
    if (ps->flood && !ps->flood_left) {
        http_stream_end(ps->flood);
        ps->flood = NULL;
    }
}

static const struct http_stream_ops flood_ops = { .on_drain = flood_on, .on_close = stream_closed };

static void echo_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)arg;
    conn_write(c, data, n);
}

static void echo_close(struct conn *c, void *arg, const struct err *why)
{
    (void)c, (void)why;
    stream_closed(arg);
}

static const struct conn_ops echo_ops = { .on_data = echo_data, .on_close = echo_close };

static void echo_take(void *arg, struct conn *c)
{
    if (c)
        conn_set_ops(c, &echo_ops, arg);
    else
        stream_closed(arg);
}

static void upgrade(struct peer_server *ps, struct http_request *r)
{
    struct http_headers h = { 0 };
    bool connect = strcmp(http_request_info(r)->method, "CONNECT") == 0;

    if (!connect) {
        http_headers_add(&h, "Connection", "Upgrade");
        http_headers_add(&h, "Upgrade", "echo");
    }
    http_upgrade(r, connect ? 200 : 101, &h, echo_take, ps);
    http_headers_clear(&h);
}

static void who(struct http_request *r)
{
    const struct http_request_info *i = http_request_info(r);

    reply_text(r, 200,
               i->has_peer_cert     ? i->peer_cert.common_name
               : i->peer_cert_error ? i->peer_cert_error
                                    : "nobody");
}

static void hello(struct http_request *r)
{
    const struct http_request_info *i = http_request_info(r);
    AUTO_FREE char *text = mem_printf("%s %s %s %d", i->method, i->target, i->host, i->http_major);

    reply_text(r, 200, text);
}

static void inject(struct http_request *r)
{
    struct http_headers h = { 0 };

    http_headers_add(&h, "x-a", "b\r\nInjected: c");
    http_reply(r, 200, &h, NULL);
    http_headers_clear(&h);
}

static void watch(struct peer_server *ps, struct http_request *r)
{
    struct bytes *b = bytes_new("watching\n", 9);

    http_stream_begin(r, 200, NULL, &stream_ops, ps);
    http_stream_write(r, b);
    bytes_unref(b);
}

static void handle(void *arg, struct http_request *r)
{
    struct peer_server *ps = arg;
    const struct http_request_info *i = http_request_info(r);

    if (slice_is(i->path, "/hello")) {
        hello(r);
    } else if (slice_is(i->path, "/echo")) {
        http_reply(r, 200, NULL, i->body);
    } else if (slice_is(i->path, "/204")) {
        http_reply(r, 204, NULL, NULL);
    } else if (slice_is(i->path, "/inject")) {
        inject(r);
    } else if (slice_is(i->path, "/later")) {
        on_thread(ps, r, later);
    } else if (slice_is(i->path, "/stream")) {
        on_thread(ps, r, stream);
    } else if (slice_is(i->path, "/watch")) {
        watch(ps, r);
    } else if (slice_is(i->path, "/flood")) {
        ps->flood = r;
        ps->flood_left = 8 * 1024 * 1024;
        http_stream_begin(r, 200, NULL, &flood_ops, ps);
        flood_on(ps);
    } else if (slice_is(i->path, "/slow") || slice_is(i->path, "/upgrade-late")) {
        ps->held = r;
        http_on_cancel(r, canceled, ps);
    } else if (slice_is(i->path, "/upgrade") || strcmp(i->method, "CONNECT") == 0) {
        upgrade(ps, r);
    } else if (slice_is(i->path, "/who")) {
        who(r);
    } else {
        reply_text(r, 404, "not here");
    }
    ps->arrived++;
}

void peer_server_start(struct peer_server *ps, const struct http_server_options *options)
{
    struct http_server_options o = options ? *options : (struct http_server_options){ 0 };
    struct err err;

    memset(ps, 0, sizeof(*ps));
    o.n_loops = o.n_loops ? o.n_loops : 1;
    for (size_t i = 0; i < o.n_loops; i++)
        CHECK_INT(loop_new("http", &ps->loops[i], &err), 0);
    o.loops = ps->loops;
    o.handler = handle;
    o.arg = ps;
    CHECK_INT(http_server_new(&o, &ps->server, &err), 0);
    CHECK_INT(http_server_listen(ps->server, "127.0.0.1", 0, &ps->port, &err), 0);
    CHECK(ps->port > 0);
}

static void release(void *arg)
{
    struct peer_server *ps = arg;
    struct http_request *r = TAKE(ps->held);

    http_on_cancel(r, NULL, NULL);
    if (slice_is(http_request_info(r)->path, "/upgrade-late"))
        upgrade(ps, r);
    else
        reply_text(r, 200, "slow");
}

void peer_server_release(struct peer_server *ps)
{
    loop_post(ps->loops[0], release, ps);
}

static void *stop(void *arg)
{
    struct peer_server *ps = arg;

    http_server_stop(ps->server, ps->grace_ms);
    return NULL;
}

void peer_server_stop_begin(struct peer_server *ps, int64_t grace_ms)
{
    ps->grace_ms = grace_ms;
    ps->stopping = true;
    CHECK_INT(pthread_create(&ps->stopper, NULL, stop, ps), 0);
}

void peer_server_end(struct peer_server *ps)
{
    if (ps->stopping)
        pthread_join(ps->stopper, NULL);
    for (int i = 0; i < 5000 && ps->threads; i++)
        poll(NULL, 0, 1);
    CHECK_INT(ps->threads, 0);
    http_server_free(ps->server);
    for (size_t i = 0; i < 4; i++)
        loop_free(ps->loops[i]);
    uv_library_shutdown();
}

/* --- the client --- */

int peer_server_connect(struct peer_server *ps)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)ps->port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

int unix_connect(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
    CHECK_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

void send_text(int fd, const char *text)
{
    for (size_t n = strlen(text); n;) {
        ssize_t w = send(fd, text, n, MSG_NOSIGNAL);

        CHECK(w > 0);
        text += w;
        n -= (size_t)w;
    }
}

void read_to_end(int fd, char *to, size_t cap)
{
    size_t n = 0;

    for (ssize_t r; n + 1 < cap && (r = read(fd, to + n, cap - 1 - n)) > 0;)
        n += (size_t)r;
    to[n] = '\0';
    close(fd);
}

static void read_n(int fd, struct buf *to, size_t n)
{
    while (n) {
        ssize_t r = read(fd, buf_space(to, n), n);

        CHECK(r > 0);
        buf_used(to, (size_t)r);
        n -= (size_t)r;
    }
}

char *head_read(int fd)
{
    struct buf b = { 0 };

    while (buf_len(&b) < 4 || strcmp(buf_at(&b) + buf_len(&b) - 4, "\r\n\r\n") != 0) {
        read_n(fd, &b, 1);
        CHECK(buf_len(&b) < 16384);
    }
    return buf_take_str(&b);
}

static char *chunks_read(int fd)
{
    struct buf body = { 0 };

    for (;;) {
        AUTO(buf) struct buf line = { 0 };

        while (!strchr(buf_at(&line), '\n'))
            read_n(fd, &line, 1);
        size_t n = strtoul(buf_at(&line), NULL, 16);
        read_n(fd, &body, n + 2);
        buf_cut(&body, buf_len(&body) - 2);
        if (n == 0)
            return buf_take_str(&body);
    }
}

void answer_read(int fd, char **ret_head, char **ret_body)
{
    *ret_head = head_read(fd);
    const char *length = strstr(*ret_head, "Content-Length: ");
    if (strstr(*ret_head, "Transfer-Encoding: chunked")) {
        *ret_body = chunks_read(fd);
        return;
    }
    struct buf b = { 0 };
    read_n(fd, &b, length ? strtoul(length + 16, NULL, 10) : 0);
    *ret_body = buf_take_str(&b);
}
