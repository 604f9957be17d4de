/* exec, attach and port-forward sessions with a scripted client at the other end of a socket pair. */
#include "lib/mem.h"
#include "lib/stream/forward_int.h"
#include "lib/stream/session_int.h"
#include "tests/unit/test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

/* --- the client: SPDY or WebSocket channels, on a blocking socket --- */

enum { LANES = 6 };

struct client {
    int fd;
    bool ws; /* frames around what is sent */
    struct spdy *spdy; /* NULL: channels */
    struct buf raw;    /* WebSocket bytes not yet a frame */
    struct buf got[LANES];
    bool ended[LANES], eof;
    int close_code;
};

static void put_all(int fd, const void *data, size_t n)
{
    const char *at = data;

    while (n) {
        ssize_t w = write(fd, at, n);

        CHECK(w > 0);
        at += w;
        n -= (size_t)w;
    }
}

static void ws_frame(struct client *c, int op, const void *data, size_t n)
{
    AUTO(buf) struct buf frame = { 0 };
    const unsigned char mask[4] = { 1, 2, 3, 4 };

    buf_char(&frame, (char)(0x80 | op));
    if (n < 126) {
        buf_char(&frame, (char)(0x80 | n));
    } else {
        buf_char(&frame, (char)(0x80 | 126));
        buf_char(&frame, (char)(n >> 8));
        buf_char(&frame, (char)n);
    }
    buf_add(&frame, mask, 4);
    for (size_t i = 0; i < n; i++)
        buf_char(&frame, (char)(((const unsigned char *)data)[i] ^ mask[i % 4]));
    put_all(c->fd, buf_at(&frame), buf_len(&frame));
}

static void c_send(void *arg, const void *data, size_t n)
{
    struct client *c = arg;

    if (c->ws)
        ws_frame(c, 2, data, n);
    else
        put_all(c->fd, data, n);
}

static void c_pause(void *arg, bool stop)
{
    (void)arg, (void)stop;
}

static void c_stream(void *arg, struct spdy_stream *s, const struct http_headers *headers)
{
    (void)arg, (void)s, (void)headers;
    CHECK(!"the server opens no streams");
}

static int lane_of(struct spdy_stream *s)
{
    return (int)(intptr_t)spdy_stream_arg(s);
}

static void c_data(void *arg, struct spdy_stream *s, const char *data, size_t n)
{
    buf_add(&((struct client *)arg)->got[lane_of(s)], data, n);
}

static void c_end(void *arg, struct spdy_stream *s)
{
    ((struct client *)arg)->ended[lane_of(s)] = true;
}

static void c_goaway(void *arg)
{
    (void)arg;
}

static const struct spdy_ops c_ops = { c_send, c_pause, c_stream, c_data, c_end, c_end, c_goaway };

/* One whole WebSocket frame out of raw; false: more must come. */
static bool take_frame(struct client *c)
{
    const unsigned char *at = (const unsigned char *)buf_at(&c->raw);
    size_t have = buf_len(&c->raw), head = 2, n;
    struct err err;

    if (have < 2)
        return false;
    n = at[1] & 0x7f;
    CHECK(!(at[1] & 0x80)); /* servers don't mask */
    if (n == 126) {
        if (have < 4)
            return false;
        n = (size_t)at[2] << 8 | at[3];
        head = 4;
    }
    CHECK(n != 127);
    if (have < head + n)
        return false;
    if ((at[0] & 15) == 8)
        c->close_code = n >= 2 ? at[head] << 8 | at[head + 1] : 1005;
    else if (c->spdy)
        CHECK(spdy_feed(c->spdy, (const char *)at + head, n, &err) == 0);
    else if ((at[0] & 15) == 2 && n && at[head] < LANES)
        buf_add(&c->got[at[head]], at + head + 1, n - 1);
    buf_drop(&c->raw, head + n);
    return true;
}

static void client_read(struct client *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    char part[65536];
    struct err err;

    CHECK(poll(&p, 1, 5000) == 1);
    ssize_t n = read(c->fd, part, sizeof(part));

    CHECK(n >= 0);
    c->eof = n == 0;
    if (!c->ws) {
        CHECK(spdy_feed(c->spdy, part, (size_t)n, &err) == 0);
        return;
    }
    buf_add(&c->raw, part, (size_t)n);
    while (take_frame(c))
        ;
}

#define CLIENT_UNTIL(c, cond)                                                 \
    while (!(cond))                                                           \
    client_read(c)

static struct spdy_stream *client_open(struct client *c, int lane, const char *type, const char *port)
{
    struct http_headers h = { 0 };

    http_headers_add(&h, "streamtype", type);
    if (port) {
        http_headers_add(&h, "port", port);
        http_headers_add(&h, "requestid", "0");
    }
    struct spdy_stream *s = spdy_open(c->spdy, &h);

    spdy_stream_set(s, (void *)(intptr_t)lane);
    http_headers_clear(&h);
    return s;
}

static void client_clear(struct client *c)
{
    spdy_free(c->spdy);
    for (int i = 0; i < LANES; i++)
        buf_clear(&c->got[i]);
    buf_clear(&c->raw);
    if (c->fd >= 0)
        close(c->fd);
}

/* --- the node's side --- */

struct node {
    struct loop *loop;
    struct client client;
    struct conn *conn;
    struct stream_session *session;
    struct stream_forward *forward;
    int shim[4]; /* the shim's ends: in, out, err, control */
    int fds[4];
    int pod, pod_fd; /* port-forward: the pod's end, ours */
    const char *fail; /* the message of a failed start */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int opens, closes, ports, port_closes, port;
    int server_fd;
};

static void count(struct node *n, int *what)
{
    LOCK_SCOPE(&n->lock);
    (*what)++;
    pthread_cond_broadcast(&n->wake);
}

static void wait_count(struct node *n, const int *what, int want)
{
    LOCK_SCOPE(&n->lock);
    while (*what < want)
        pthread_cond_wait(&n->wake, &n->lock);
}

static void on_open(void *arg, struct stream_session *s)
{
    struct node *n = arg;
    struct err err;

    if (n->fail) {
        ERR_IGNORE(err_set(&err, ERR_NOT_FOUND, "%s", n->fail));
        stream_session_fail(s, &err);
    } else {
        stream_session_wire(s, &(struct stream_fds){ n->fds[0], n->fds[1], n->fds[2], n->fds[3] });
    }
    count(n, &n->opens);
}

static void on_close(void *arg)
{
    struct node *n = arg;

    count(n, &n->closes);
}

static void no_data(void *arg, const char *data, size_t n)
{
    (void)arg, (void)data, (void)n;
}

static void no_event(void *arg)
{
    (void)arg;
}

static void no_size(void *arg, int cols, int rows)
{
    (void)arg, (void)cols, (void)rows;
}

static const struct stream_session_ops node_ops = { on_open, no_data, no_event, no_size, no_event, on_close };

static void on_port(void *arg, struct stream_port *p, int port)
{
    struct node *n = arg;

    n->port = port;
    if (n->fail)
        stream_port_fail(p, n->fail);
    else
        stream_port_connect(p, n->pod_fd);
    count(n, &n->ports);
}

static void on_port_close(void *arg, struct stream_port *p)
{
    struct node *n = arg;

    (void)p;
    count(n, &n->port_closes);
}

static const struct stream_forward_ops forward_ops = { on_port, on_port_close, on_close };

static void conn_gone(struct conn *c, void *arg, const struct err *why)
{
    (void)c, (void)arg, (void)why;
    CHECK(!"the session took the conn over");
}

static void start_here(void *arg)
{
    static const struct conn_ops ops = { .on_close = conn_gone };
    struct node *n = arg;
    struct conn *c = conn_accept(n->loop, n->server_fd, NULL, 0, &ops, n);

    if (n->session)
        session_start(n->session, c);
    else
        forward_start(n->forward, c);
}

static void pair(int *a, int *b)
{
    int sv[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
    *a = sv[0];
    *b = sv[1];
}

static void node_start(struct node *n, enum stream_framing framing)
{
    struct err err = { 0 };

    *n = (struct node){ .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };
    CHECK(loop_new("test", &n->loop, &err) == 0);
    pair(&n->client.fd, &n->server_fd);
    n->client.ws = framing != FRAMING_SPDY;
    if (framing != FRAMING_CHANNELS)
        n->client.spdy = spdy_new(true, &c_ops, &n->client);
}

static void exec_start(struct node *n, enum stream_framing framing, const struct stream_want *want, const struct channel_codec *codec, const char *fail)
{
    struct stream_choice choice = { .framing = framing, .codec = *codec, .resize = true };

    node_start(n, framing);
    n->fail = fail;
    for (int i = 0; i < 4 && !fail; i++)
        pair(&n->shim[i], &n->fds[i]);
    n->session = session_new(want, &choice, &node_ops, n);
    loop_post(n->loop, start_here, n);
}

static void forward_begin(struct node *n, enum stream_framing framing, const int *ports, size_t n_ports, const char *fail)
{
    struct stream_choice choice = { .framing = framing };

    node_start(n, framing);
    n->fail = fail;
    if (!fail)
        pair(&n->pod, &n->pod_fd);
    n->forward = forward_new(&choice, ports, n_ports, &forward_ops, n);
    loop_post(n->loop, start_here, n);
}

static void node_stop(struct node *n)
{
    wait_count(n, &n->closes, 1);
    loop_free(n->loop);
    client_clear(&n->client);
    CHECK_INT(n->closes, 1);
}

static void expect(int fd, const char *want)
{
    char got[256] = "";
    size_t n = 0;

    while (n < strlen(want)) {
        ssize_t r = read(fd, got + n, sizeof(got) - 1 - n);

        CHECK(r > 0);
        n += (size_t)r;
    }
    CHECK_STR(got, want);
}

static void expect_eof(int fd)
{
    char c;

    CHECK(read(fd, &c, 1) == 0);
}

static void shim_ends(struct node *n, const char *exit)
{
    put_all(n->shim[3], exit, strlen(exit));
    for (int i = 0; i < 4; i++)
        close(n->shim[i]);
}

static const struct channel_codec v4 = { .json = true };

static void exec_over_spdy(enum stream_framing framing)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, framing, &(struct stream_want){ .in = true, .out = true, .err = true }, &v4, NULL);
    (void)client_open(c, 3, "error", NULL);
    struct spdy_stream *in = client_open(c, 0, "stdin", NULL);

    spdy_stream_write(in, "early ", 6); /* before the session is whole */
    (void)client_open(c, 1, "stdout", NULL);
    (void)client_open(c, 5, "nonsense", NULL);
    CHECK_INT(n.opens, 0);
    (void)client_open(c, 2, "stderr", NULL);
    spdy_stream_write(in, "bird", 4);
    spdy_stream_end(in);
    expect(n.shim[0], "early bird");
    expect_eof(n.shim[0]);
    put_all(n.shim[1], "to stdout", 9);
    put_all(n.shim[2], "to stderr", 9);
    CLIENT_UNTIL(c, buf_len(&c->got[1]) == 9 && buf_len(&c->got[2]) == 9);
    CHECK(!c->ended[1]);
    shim_ends(&n, "exit 3\n");
    CLIENT_UNTIL(c, c->ended[0] && c->ended[1] && c->ended[2] && c->ended[3]);
    CHECK_STR(buf_at(&c->got[1]), "to stdout");
    CHECK_STR(buf_at(&c->got[2]), "to stderr");
    CHECK(c->ended[5]); /* refused */
    CHECK_STR(buf_at(&c->got[3]),
              "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: exit status 3\","
              "\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"3\"}]}}");
    if (framing == FRAMING_SPDY_IN_WS) {
        CLIENT_UNTIL(c, c->close_code);
        CHECK_INT(c->close_code, 1000);
        ws_frame(c, 8, "\x03\xe8", 2);
    }
    CLIENT_UNTIL(c, c->eof);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
}

TEST(stream_exec_spdy)
{
    exec_over_spdy(FRAMING_SPDY);
}

TEST(stream_exec_terminal)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, FRAMING_SPDY, &(struct stream_want){ .in = true, .out = true, .err = true, .tty = true }, &v4, NULL);
    (void)client_open(c, 3, "error", NULL);
    (void)client_open(c, 0, "stdin", NULL);
    (void)client_open(c, 1, "stdout", NULL);
    struct spdy_stream *size = client_open(c, 4, "resize", NULL);

    spdy_stream_write(size, "{\"Width\":80,\"Height\":24}\n{\"Wid", 30);
    expect(n.shim[3], "resize 80 24\n");
    spdy_stream_write(size, "th\":100,\"Height\":50}\n", 21);
    expect(n.shim[3], "resize 100 50\n");
    shim_ends(&n, "exit 0\n");
    CLIENT_UNTIL(c, c->ended[3]);
    CHECK_STR(buf_at(&c->got[3]), "{\"metadata\":{},\"status\":\"Success\"}");
    CLIENT_UNTIL(c, c->eof);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
}

TEST(stream_exec_fails)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, FRAMING_SPDY, &(struct stream_want){ .out = true }, &v4, "exec: \"nope\": not found");
    (void)client_open(c, 3, "error", NULL);
    (void)client_open(c, 1, "stdout", NULL);
    CLIENT_UNTIL(c, c->ended[3] && c->ended[1]);
    CHECK_STR(buf_at(&c->got[3]),
              "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"Internal error occurred: error executing command in container: exec: "
              "\\\"nope\\\": not found\",\"reason\":\"InternalError\",\"details\":{\"causes\":[{\"message\":\"error executing command in "
              "container: exec: \\\"nope\\\": not found\"}]},\"code\":500}");
    CLIENT_UNTIL(c, c->eof);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
}

TEST(stream_exec_client_leaves)
{
    struct node n;

    exec_start(&n, FRAMING_SPDY, &(struct stream_want){ .in = true, .out = true }, &v4, NULL);
    (void)client_open(&n.client, 3, "error", NULL);
    (void)client_open(&n.client, 1, "stdout", NULL);
    (void)client_open(&n.client, 0, "stdin", NULL);
    wait_count(&n, &n.opens, 1);
    shutdown(n.client.fd, SHUT_RDWR);
    for (int i = 0; i < 4; i++) {
        expect_eof(n.shim[i]); /* the shim learns of it */
        close(n.shim[i]);
    }
    node_stop(&n);
}

/* A client that does not read must not make the node hold everything; nothing is lost once it does. */
TEST(stream_exec_backpressure)
{
    enum { SIZE = 8 * 1000 * 1000 };
    struct node n;
    struct client *c = &n.client;
    AUTO_FREE char *data = mem_alloc(SIZE);
    size_t sent = 0;

    memset(data, 'x', SIZE);
    exec_start(&n, FRAMING_SPDY, &(struct stream_want){ .out = true }, &v4, NULL);
    (void)client_open(c, 3, "error", NULL);
    (void)client_open(c, 1, "stdout", NULL);
    wait_count(&n, &n.opens, 1);
    for (struct pollfd p = { .fd = n.shim[1], .events = POLLOUT }; poll(&p, 1, 200) == 1;) {
        ssize_t w = send(n.shim[1], data, SIZE - sent > 65536 ? 65536 : SIZE - sent, MSG_DONTWAIT);

        if (w > 0)
            sent += (size_t)w;
        CHECK(sent < 3 * 1000 * 1000); /* socket buffers and our queue */
    }
    CHECK(sent > CONN_HIGH_BYTES);
    while (sent < SIZE) {
        ssize_t w = send(n.shim[1], data, SIZE - sent, MSG_DONTWAIT);

        if (w > 0)
            sent += (size_t)w;
        else
            client_read(c);
    }
    shim_ends(&n, "exit 0\n");
    CLIENT_UNTIL(c, c->ended[3]);
    CHECK_INT((int64_t)buf_len(&c->got[1]), SIZE);
    CLIENT_UNTIL(c, c->eof);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
}

/* A background process keeps the output open: the session ends nevertheless. */
TEST(stream_exec_output_held_open)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, FRAMING_SPDY, &(struct stream_want){ .out = true }, &v4, NULL);
    (void)client_open(c, 3, "error", NULL);
    (void)client_open(c, 1, "stdout", NULL);
    put_all(n.shim[1], "last words", 10);
    put_all(n.shim[3], "exit 0\n", 7);
    CLIENT_UNTIL(c, c->ended[3]);
    CHECK_STR(buf_at(&c->got[1]), "last words");
    CLIENT_UNTIL(c, c->eof);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
    for (int i = 0; i < 4; i++)
        close(n.shim[i]);
}

static void forward_over_spdy(enum stream_framing framing)
{
    struct node n;
    struct client *c = &n.client;

    forward_begin(&n, framing, NULL, 0, NULL);
    struct spdy_stream *error = client_open(c, 1, "error", "8080");

    spdy_stream_end(error); /* as kubectl does */
    struct spdy_stream *data = client_open(c, 0, "data", "8080");

    spdy_stream_write(data, "GET /", 5);
    expect(n.pod, "GET /");
    CHECK_INT(n.port, 8080);
    put_all(n.pod, "200 OK", 6);
    CLIENT_UNTIL(c, buf_len(&c->got[0]) == 6);
    spdy_stream_end(data); /* half-closed: the pod may still answer */
    expect_eof(n.pod);
    put_all(n.pod, " more", 5);
    CLIENT_UNTIL(c, buf_len(&c->got[0]) == 11);
    CHECK(!c->ended[0]);
    close(n.pod);
    CLIENT_UNTIL(c, c->ended[0] && c->ended[1]);
    CHECK_STR(buf_at(&c->got[0]), "200 OK more");
    CHECK_INT((int64_t)buf_len(&c->got[1]), 0);
    spdy_ping(c->spdy);
    wait_count(&n, &n.port_closes, 1);
    CHECK_INT(n.closes, 0); /* the connection serves the next one */
    if (c->ws)
        ws_frame(c, 8, "\x03\xe8", 2);
    else
        shutdown(c->fd, SHUT_WR);
    node_stop(&n);
}

TEST(stream_forward_spdy)
{
    forward_over_spdy(FRAMING_SPDY);
}

TEST(stream_forward_pod_ends_first)
{
    struct node n;
    struct client *c = &n.client;

    forward_begin(&n, FRAMING_SPDY, NULL, 0, NULL);
    spdy_stream_end(client_open(c, 1, "error", "80"));
    struct spdy_stream *data = client_open(c, 0, "data", "80");

    wait_count(&n, &n.ports, 1);
    put_all(n.pod, "bye", 3);
    close(n.pod);
    CLIENT_UNTIL(c, c->ended[0] && c->ended[1]);
    CHECK_STR(buf_at(&c->got[0]), "bye");
    spdy_stream_reset(data); /* kubectl's answer to it */
    wait_count(&n, &n.port_closes, 1);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
}

TEST(stream_forward_fails)
{
    static const char why[] = "error forwarding port 81 to pod x: connection refused";
    struct node n;
    struct client *c = &n.client;

    forward_begin(&n, FRAMING_SPDY, NULL, 0, why);
    spdy_stream_end(client_open(c, 1, "error", "81"));
    (void)client_open(c, 0, "data", "81");
    (void)client_open(c, 2, "data", "0"); /* no port: refused */
    CLIENT_UNTIL(c, c->ended[0] && c->ended[1] && c->ended[2]);
    CHECK_STR(buf_at(&c->got[1]), why);
    shutdown(c->fd, SHUT_WR);
    node_stop(&n);
    CHECK_INT(n.port_closes, 1);
}

TEST(stream_forward_client_leaves)
{
    struct node n;

    forward_begin(&n, FRAMING_SPDY, NULL, 0, NULL);
    (void)client_open(&n.client, 1, "error", "80");
    (void)client_open(&n.client, 0, "data", "80");
    wait_count(&n, &n.ports, 1);
    (void)client_open(&n.client, 2, "error", "81"); /* half a pair */
    shutdown(n.client.fd, SHUT_RDWR);
    expect_eof(n.pod);
    close(n.pod);
    node_stop(&n);
    CHECK_INT(n.port_closes, 1);
}

TEST(stream_choose_spdy)
{
    static const struct {
        const char *upgrade, *versions;
        bool forward;
        int rc;
        const char *protocol;
    } cases[] = {
        { "SPDY/3.1", "v4.channel.k8s.io", false, 0, "v4.channel.k8s.io" },
        { "spdy/3.1", "v9.channel.k8s.io, v2.channel.k8s.io,v3.channel.k8s.io", false, 0, "v2.channel.k8s.io" },
        { "SPDY/3.1", "portforward.k8s.io", true, 0, "portforward.k8s.io" },
        { "SPDY/3.1", "portforward.k8s.io", false, -ERR_FORBIDDEN, NULL },
        { "SPDY/3.1", NULL, false, -ERR_BAD_REQUEST, NULL },
        { "h2c", "v4.channel.k8s.io", false, -ERR_BAD_REQUEST, NULL },
        { NULL, "v4.channel.k8s.io", false, -ERR_BAD_REQUEST, NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_headers h = { 0 };
        struct stream_choice choice;
        struct err err;

        http_headers_add(&h, "connection", "keep-alive, Upgrade");
        if (cases[i].upgrade)
            http_headers_add(&h, "upgrade", cases[i].upgrade);
        if (cases[i].versions)
            http_headers_add(&h, "x-stream-protocol-version", cases[i].versions);
        CHECK_INT(stream_choose(&h, cases[i].forward, &choice, &err), cases[i].rc);
        if (cases[i].protocol) {
            CHECK_STR(http_headers_get(&choice.answer, "x-stream-protocol-version"), cases[i].protocol);
            CHECK_STR(http_headers_get(&choice.answer, "upgrade"), "SPDY/3.1");
            CHECK_INT(choice.codec.json, strstr(cases[i].protocol, "v4") != NULL);
        } else if (cases[i].rc == -ERR_FORBIDDEN) {
            CHECK_STR(http_headers_get(&choice.answer, "x-accepted-stream-protocol-versions"), "v4.channel.k8s.io");
        }
        http_headers_clear(&choice.answer);
        http_headers_clear(&h);
    }
}

/* --- WebSocket --- */

TEST(stream_exec_spdy_in_websocket)
{
    exec_over_spdy(FRAMING_SPDY_IN_WS);
}

TEST(stream_forward_spdy_in_websocket)
{
    forward_over_spdy(FRAMING_SPDY_IN_WS);
}

TEST(stream_exec_channels)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, FRAMING_CHANNELS, &(struct stream_want){ .in = true, .out = true, .err = true },
               &(struct channel_codec){ .json = true, .v5 = true }, NULL);
    CLIENT_UNTIL(c, buf_len(&c->raw) == 0 && n.opens == 1);
    ws_frame(c, 2, "\0hello", 6);
    ws_frame(c, 2, "\7what", 5); /* no such channel: ignored, as upstream does */
    ws_frame(c, 2, "\0 you", 5);
    ws_frame(c, 2, "\xff\0", 2);
    ws_frame(c, 2, "\0late", 5); /* behind the close: dropped */
    expect(n.shim[0], "hello you");
    expect_eof(n.shim[0]);
    put_all(n.shim[1], "out", 3);
    CLIENT_UNTIL(c, buf_len(&c->got[1]) == 3);
    put_all(n.shim[2], "err", 3);
    shim_ends(&n, "exit 0\n");
    CLIENT_UNTIL(c, c->close_code);
    CHECK_INT(c->close_code, 1000);
    CHECK_STR(buf_at(&c->got[1]), "out");
    CHECK_STR(buf_at(&c->got[2]), "err");
    CHECK_STR(buf_at(&c->got[3]), "{\"metadata\":{},\"status\":\"Success\"}");
    ws_frame(c, 8, "\x03\xe8", 2);
    CLIENT_UNTIL(c, c->eof);
    node_stop(&n);
}

TEST(stream_attach_channels_terminal)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, FRAMING_CHANNELS, &(struct stream_want){ .in = true, .out = true, .tty = true, .attach = true }, &v4, NULL);
    ws_frame(c, 2, "\4{\"Height\":24,\"Width\":80}", 25);
    expect(n.shim[3], "resize 80 24\n");
    ws_frame(c, 2, "\xff\0", 2); /* v4 has no close signal */
    ws_frame(c, 2, "\0x", 2);
    expect(n.shim[0], "x");
    shim_ends(&n, ""); /* attach: no exit code, the output's end is the end */
    CLIENT_UNTIL(c, c->close_code);
    CHECK_STR(buf_at(&c->got[3]), "{\"metadata\":{},\"status\":\"Success\"}");
    close(c->fd);
    c->fd = -1;
    node_stop(&n);
}

TEST(stream_forward_channels)
{
    static const int ports[] = { 80, 8080 };
    struct node n;
    struct client *c = &n.client;

    forward_begin(&n, FRAMING_CHANNELS, ports, 1, NULL);
    ws_frame(c, 2, "\0GET", 4);
    expect(n.pod, "GET");
    put_all(n.pod, "200", 3);
    CLIENT_UNTIL(c, buf_len(&c->got[0]) == 5);
    CHECK(memcmp(buf_at(&c->got[0]), "P\0" "200", 5) == 0); /* first the port, little-endian */
    CHECK(buf_len(&c->got[1]) == 2);
    close(n.pod);
    CLIENT_UNTIL(c, c->close_code);
    CHECK_INT(c->close_code, 1000);
    close(c->fd);
    c->fd = -1;
    node_stop(&n);
    CHECK_INT(n.port_closes, 1);

    forward_begin(&n, FRAMING_CHANNELS, ports, 2, "no way");
    CLIENT_UNTIL(c, c->close_code);
    CHECK(memcmp(buf_at(&c->got[1]), "P\0no way", 8) == 0);
    CHECK(memcmp(buf_at(&c->got[3]), "\x90\x1fno way", 8) == 0);
    close(c->fd);
    c->fd = -1;
    node_stop(&n);
    CHECK_INT(n.port_closes, 2);
}

TEST(stream_channels_bad_message)
{
    struct node n;
    struct client *c = &n.client;

    exec_start(&n, FRAMING_CHANNELS, &(struct stream_want){ .in = true, .out = true }, &(struct channel_codec){ .json = true, .v5 = true },
               NULL);
    ws_frame(c, 2, "\xff", 1);
    CLIENT_UNTIL(c, c->close_code);
    CHECK_INT(c->close_code, 1002);
    close(c->fd);
    c->fd = -1;
    for (int i = 0; i < 4; i++) {
        expect_eof(n.shim[i]);
        close(n.shim[i]);
    }
    node_stop(&n);
}

TEST(stream_choose_websocket)
{
    static const struct {
        const char *protocols;
        bool forward;
        int rc;
        enum stream_framing framing;
        struct channel_codec codec;
        const char *answer;
    } cases[] = {
        { "v5.channel.k8s.io,v4.channel.k8s.io", false, 0, FRAMING_CHANNELS, { .v5 = true, .json = true }, "v5.channel.k8s.io" },
        { "v4.channel.k8s.io", false, 0, FRAMING_CHANNELS, { .json = true }, "v4.channel.k8s.io" },
        { "channel.k8s.io", false, 0, FRAMING_CHANNELS, { 0 }, "channel.k8s.io" },
        { "base64.channel.k8s.io", false, 0, FRAMING_CHANNELS, { .base64 = true }, "base64.channel.k8s.io" },
        { NULL, false, 0, FRAMING_CHANNELS, { 0 }, NULL },
        { "chat", false, -ERR_BAD_REQUEST, FRAMING_CHANNELS, { 0 }, NULL },
        { "SPDY/3.1+portforward.k8s.io", true, 0, FRAMING_SPDY_IN_WS, { 0 }, "SPDY/3.1+portforward.k8s.io" },
        { "v4.channel.k8s.io", true, 0, FRAMING_CHANNELS, { .json = true }, "v4.channel.k8s.io" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_headers h = { 0 };
        struct stream_choice choice;
        struct err err;

        http_headers_add(&h, "connection", "Upgrade");
        http_headers_add(&h, "upgrade", "websocket");
        http_headers_add(&h, "sec-websocket-version", "13");
        http_headers_add(&h, "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if (cases[i].protocols)
            http_headers_add(&h, "sec-websocket-protocol", cases[i].protocols);
        CHECK_INT(stream_choose(&h, cases[i].forward, &choice, &err), cases[i].rc);
        if (cases[i].rc == 0) {
            const char *answer = http_headers_get(&choice.answer, "sec-websocket-protocol");

            CHECK_INT(choice.framing, cases[i].framing);
            CHECK(memcmp(&choice.codec, &cases[i].codec, sizeof(choice.codec)) == 0);
            CHECK_STR(answer ? answer : "", cases[i].answer ? cases[i].answer : "");
            CHECK_STR(http_headers_get(&choice.answer, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        http_headers_clear(&choice.answer);
        http_headers_clear(&h);
    }
}
