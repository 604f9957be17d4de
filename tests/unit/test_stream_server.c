/* Streams through the HTTP server: upgrades accepted and refused, logs in both forms. */
#include "lib/mem.h"
#include "lib/stream/log.h"
#include "lib/stream/stream.h"
#include "tests/unit/http_peer.h"
#include "tests/unit/test.h"

#include <unistd.h>

struct fixture {
    struct loop *loop;
    struct http_server *server;
    int port;
    struct stream_log *log;
    _Atomic int closes, opens, drains;
    size_t left;
};

static void on_log_drain(void *arg)
{
    struct fixture *f = arg;
    static char line[10000];

    f->drains++;
    memset(line, 'x', sizeof(line));
    while (f->left && stream_log_queued(f->log) < CONN_HIGH_BYTES) {
        struct bytes *b = bytes_new(line, sizeof(line));

        stream_log_write(f->log, b);
        bytes_unref(b);
        f->left -= sizeof(line);
    }
    if (!f->left)
        stream_log_end(f->log);
}

static void on_close(void *arg)
{
    ((struct fixture *)arg)->closes++;
}

static void on_open(void *arg, struct stream_session *s)
{
    ((struct fixture *)arg)->opens++;
    stream_session_write(s, STREAM_OUT, "hi", 2);
    stream_session_exit(s, 0);
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

static void handle(void *arg, struct http_request *r)
{
    static const struct stream_log_ops log_ops = { on_log_drain, on_close };
    static const struct stream_session_ops ops = { on_open, no_data, no_event, no_size, no_event, on_close };
    const struct http_request_info *i = http_request_info(r);
    struct fixture *f = arg;
    struct stream_want want = { .out = true };

    if (slice_is(i->path, "/exec")) {
        (void)stream_session_accept(r, &want, &ops, f);
    } else if (slice_is(i->path, "/nothing")) {
        want.out = false;
        CHECK(!stream_session_accept(r, &want, &ops, f));
    } else {
        struct bytes *b = bytes_new("line one\n", 9);

        f->left = slice_is(i->path, "/long") ? 4 * 1000 * 1000 : 0;
        f->log = stream_log_accept(r, &log_ops, f);
        if (f->log) {
            stream_log_write(f->log, b);
            on_log_drain(f);
        }
        bytes_unref(b);
    }
}

static void setup(struct fixture *f)
{
    struct err err = { 0 };

    *f = (struct fixture){ 0 };
    CHECK(loop_new("test", &f->loop, &err) == 0);
    CHECK(http_server_new(&(struct http_server_options){ .loops = &f->loop, .n_loops = 1, .handler = handle, .arg = f }, &f->server, &err) == 0);
    CHECK(http_server_listen(f->server, "127.0.0.1", 0, &f->port, &err) == 0);
}

static void teardown(struct fixture *f)
{
    http_server_stop(f->server, 1000);
    http_server_free(f->server);
    loop_free(f->loop);
}

/* Sends a request and reads to the end of the connection, or of what is sure to come. */
static size_t ask(struct fixture *f, const char *path, const char *headers, const char *until, char *to, size_t cap)
{
    struct peer_server at = { .port = f->port };
    AUTO_FREE char *request = mem_printf("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, headers);
    int fd = peer_server_connect(&at);
    size_t n = 0;

    send_text(fd, request);
    memset(to, 0, cap);
    while (n < cap - 1 && !memmem(to, n, until, strlen(until))) {
        ssize_t got = read(fd, to + n, cap - 1 - n);

        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    return n;
}

#define WEBSOCKET "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

TEST(stream_log_forms)
{
    enum { CAP = 5 * 1000 * 1000 };
    AUTO_FREE char *got = mem_alloc(CAP);
    struct fixture f;

    setup(&f);
    ask(&f, "/log", "Connection: close\r\n", "0\r\n\r\n", got, CAP);
    CHECK(strstr(got, "HTTP/1.1 200 ") && strstr(got, "text/plain") && strstr(got, "line one\n"));
    WAIT_COUNT(f.closes, 1);

    size_t n = ask(&f, "/log", WEBSOCKET "Sec-WebSocket-Protocol: binary.k8s.io\r\n", "\x88\x02\x03\xe8", got, CAP);

    CHECK(strstr(got, "HTTP/1.1 101 "));
    CHECK(memmem(got, n, "\r\n\r\n\x82\0\x82\tline one\n\x88\x02\x03\xe8", 21));
    WAIT_COUNT(f.closes, 2);
    n = ask(&f, "/log", WEBSOCKET "Sec-WebSocket-Protocol: base64.binary.k8s.io\r\n", "\x88\x02\x03\xe8", got, CAP);
    CHECK(memmem(got, n, "\x81\0\x81\x0c" "bGluZSBvbmUK", 16));
    WAIT_COUNT(f.closes, 3);
    ask(&f, "/log", WEBSOCKET "Sec-WebSocket-Protocol: chat\r\n", "\r\n\r\n", got, CAP);
    CHECK(strstr(got, "HTTP/1.1 400 "));

    int drains = f.drains;

    n = ask(&f, "/long", WEBSOCKET, "\x88\x02\x03\xe8", got, CAP);
    CHECK(n > 4 * 1000 * 1000);
    CHECK(f.drains > drains + 3);
    WAIT_COUNT(f.closes, 4);
    /* A client that leaves in the middle. */
    ask(&f, "/long", WEBSOCKET, "xxx", got, CAP);
    WAIT_COUNT(f.closes, 5);
    teardown(&f);
}

TEST(stream_session_requests)
{
    char got[4096];
    struct fixture f;

    setup(&f);
    size_t n = ask(&f, "/exec", WEBSOCKET "Sec-WebSocket-Protocol: channel.k8s.io\r\n", "\x88\x02\x03\xe8", got, sizeof(got));

    CHECK(strstr(got, "HTTP/1.1 101 "));
    CHECK(memmem(got, n, "\r\n\r\n\x82\x01\x01\x82\x03\x01hi\x88\x02\x03\xe8", 16)); /* first the empty message */
    WAIT_COUNT(f.closes, 1);
    ask(&f, "/exec", "", "upgrade headers in request\n", got, sizeof(got));
    CHECK(strstr(got, "HTTP/1.1 400 "));
    ask(&f, "/exec", "Connection: upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9.channel.k8s.io\r\n", "client supports", got,
        sizeof(got));
    CHECK(strstr(got, "HTTP/1.1 403 ") && strcasestr(got, "x-accepted-stream-protocol-versions: v4.channel.k8s.io"));
    ask(&f, "/nothing", WEBSOCKET, "stderr\n", got, sizeof(got));
    CHECK(strstr(got, "HTTP/1.1 400 ") && strstr(got, "you must specify at least 1 of stdin, stdout, stderr"));
    CHECK_INT(f.opens, 1);
    teardown(&f);
}
