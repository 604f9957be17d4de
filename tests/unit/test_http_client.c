/* The HTTP client against a scripted HTTP/1.1 peer on loopback. */
#include "lib/http/client.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

/* One connection of the script: reads a request (to its blank line plus `body` bytes), answers, reads the next. */
struct turn {
    const char *answer; /* NULL: close without one */
    size_t body;
    bool close;         /* after the answer */
    bool hang;          /* no answer until the peer closes */
};

struct peer {
    int listener, port;
    pthread_t thread;
    const struct turn *turns;
    size_t n_turns;
    struct buf got; /* all requests */
    int accepted;
};

static bool read_request(int fd, size_t body, struct buf *got)
{
    size_t start = buf_len(got);
    char part[4096];

    for (;;) {
        const char *end = strstr(buf_at(got) + start, "\r\n\r\n");

        if (end && buf_len(got) - (size_t)(end + 4 - buf_at(got)) >= body)
            return true;
        ssize_t n = read(fd, part, sizeof(part));

        if (n <= 0)
            return false;
        buf_add(got, part, (size_t)n);
    }
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;
    size_t at = 0;

    while (at < p->n_turns) {
        AUTO_FD int fd = accept(p->listener, NULL, NULL);

        if (fd < 0)
            break; /* the test shut the listener down */
        p->accepted++;
        while (at < p->n_turns) {
            const struct turn *t = &p->turns[at];

            if (!read_request(fd, t->body, &p->got))
                break;
            at++;
            if (t->hang) {
                char c;

                while (read(fd, &c, 1) > 0)
                    ;
                break;
            }
            if (t->answer)
                CHECK(write(fd, t->answer, strlen(t->answer)) == (ssize_t)strlen(t->answer));
            if (t->close || !t->answer)
                break;
        }
    }
    return NULL;
}

static void peer_start(struct peer *p, const struct turn *turns, size_t n)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sa);

    *p = (struct peer){ .turns = turns, .n_turns = n, .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    CHECK(bind(p->listener, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    CHECK(listen(p->listener, 8) == 0);
    CHECK(getsockname(p->listener, (struct sockaddr *)&sa, &len) == 0);
    p->port = ntohs(sa.sin_port);
    CHECK(pthread_create(&p->thread, NULL, peer_main, p) == 0);
}

static void peer_stop(struct peer *p)
{
    pthread_join(p->thread, NULL);
    close(p->listener);
}

struct fixture {
    struct loop *loop;
    struct peer peer;
    struct http_client *client;
    struct ctx ctx;
};

static void setup(struct fixture *f, const struct turn *turns, size_t n)
{
    struct err err = { 0 };
    char url[64];

    CHECK(loop_new("test", &f->loop, &err) == 0);
    peer_start(&f->peer, turns, n);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", f->peer.port);
    CHECK(http_client_new(&(struct http_client_options){ .loop = f->loop, .url = url, .bearer = "secret",
                                                          .headers = (const char *[]){ "X-One", "1", NULL } },
                          &f->client, &err) == 0);
    f->ctx = ctx_background(NULL);
    f->ctx = ctx_with_timeout(&f->ctx, 5000);
}

static void teardown(struct fixture *f)
{
    http_client_free(f->client);
    peer_stop(&f->peer);
    loop_free(f->loop);
    buf_clear(&f->peer.got);
}

#define OK(body, length) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\nX-Answer: yes\r\n\r\n" body

TEST(http_client_call)
{
    static const struct turn turns[] = { { .answer = OK("hello", "5"), .body = 3 }, { .answer = OK("again", "5") }, { .answer = "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\ngone", .close = true } };
    struct fixture f = { 0 };
    struct http_answer a = { 0 };
    struct err err = { 0 };
    struct bytes *body = bytes_new("abc", 3);

    setup(&f, turns, ARRAY_LEN(turns));
    CHECK(http_call(&f.ctx, f.client, &(struct http_call){ .method = "POST", .path = "/a?b=c", .content_type = "text/plain",
                                                           .accept = "x/y", .body = body }, &a, &err) == 0);
    CHECK_INT(a.status, 200);
    CHECK_STR(a.body->at, "hello");
    CHECK_STR(http_headers_get(&a.headers, "X-Answer"), "yes");
    http_answer_clear(&a);
    CHECK(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/two" }, &a, &err) == 0);
    CHECK_STR(a.body->at, "again");
    http_answer_clear(&a);
    CHECK(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/three" }, &a, &err) == 0);
    CHECK_INT(a.status, 404);
    CHECK_STR(a.body->at, "gone");
    http_answer_clear(&a);
    teardown(&f);
    CHECK_INT(f.peer.accepted, 1); /* kept alive */
    bytes_unref(body);
}

TEST(http_client_request_text)
{
    static const struct turn turns[] = { { .answer = OK("", "0"), .body = 3 } };
    struct fixture f = { 0 };
    struct http_answer a = { 0 };
    struct err err = { 0 };
    struct bytes *body = bytes_new("abc", 3);
    char *want;

    setup(&f, turns, ARRAY_LEN(turns));
    CHECK(http_call(&f.ctx, f.client, &(struct http_call){ .method = "PUT", .path = "/a", .content_type = "text/plain", .body = body,
                                                           .headers = (const char *[]){ "X-One", "2", NULL } }, &a, &err) == 0);
    http_answer_clear(&a);
    http_client_free(f.client);
    peer_stop(&f.peer);
    loop_free(f.loop);
    want = mem_printf("PUT /a HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-one: 2\r\ncontent-type: text/plain\r\nauthorization: Bearer secret\r\n"
                      "user-agent: rancherd/" RANCHERD_VERSION "\r\ncontent-length: 3\r\n\r\nabc", f.peer.port);
    CHECK_STR(buf_at(&f.peer.got), want);
    free(want);
    buf_clear(&f.peer.got);
    bytes_unref(body);
}

TEST(http_client_retry)
{
    /* The kept connection dies under a GET: tried once more on a fresh one. Under a POST: not. */
    static const struct turn turns[] = { { .answer = OK("1", "1") }, { .answer = NULL }, { .answer = OK("2", "1") }, { .answer = NULL }, { .answer = NULL }, { .answer = NULL } };
    struct fixture f = { 0 };
    struct http_answer a = { 0 };
    struct err err = { 0 };

    setup(&f, turns, ARRAY_LEN(turns));
    CHECK(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, &a, &err) == 0);
    http_answer_clear(&a);
    CHECK(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, &a, &err) == 0);
    CHECK_STR(a.body->at, "2");
    http_answer_clear(&a);
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "POST", .path = "/" }, &a, &err), -ERR_IO);
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, &a, &err), -ERR_IO);
    teardown(&f);
    CHECK_INT(f.peer.accepted, 4); /* 1 + retry (used again by the POST) + the last GET twice */
}

TEST(http_client_failures)
{
    static const struct turn turns[] = { { .answer = "garbage\r\n\r\n", .close = true }, { .answer = OK("too long for it", "15") }, { .hang = true } };
    struct fixture f = { 0 };
    struct http_answer a = { 0 };
    struct err err = { 0 };

    setup(&f, turns, ARRAY_LEN(turns));
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, &a, &err), -ERR_IO);
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/", .max_bytes = 14 }, &a, &err), -ERR_TOO_LARGE);
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/a\r\nb" }, &a, &err), -ERR_BAD_REQUEST);
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/", .headers = (const char *[]){ "a", "b\r\nc: d", NULL } }, &a, &err), -ERR_BAD_REQUEST);
    struct ctx hurry = ctx_with_timeout(&f.ctx, 50);

    CHECK_INT(http_call(&hurry, f.client, &(struct http_call){ .method = "GET", .path = "/" }, &a, &err), -ERR_TIMEOUT);
    teardown(&f);
}

TEST(http_client_refused)
{
    struct fixture f = { 0 };
    struct http_answer a = { 0 };
    struct err err = { 0 };

    setup(&f, NULL, 0);
    peer_stop(&f.peer);
    CHECK_INT(http_call(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, &a, &err), -ERR_UNAVAILABLE);
    CHECK(strstr(err.msg, "refused"));
    http_client_free(f.client);
    loop_free(f.loop);
}

struct down {
    size_t n, parts, stop_at;
};

static int on_part(void *arg, const void *data, size_t n, struct err *err)
{
    struct down *d = arg;

    for (size_t i = 0; i < n; i++)
        CHECK(((const char *)data)[i] == (char)('a' + (d->n + i) % 26));
    d->n += n;
    d->parts++;
    return d->stop_at && d->n >= d->stop_at ? err_set(err, ERR_IO, "disk full") : 0;
}

TEST(http_client_download)
{
    enum { SIZE = 3 * 1000 * 1000 };
    AUTO(buf) struct buf text = { 0 };
    struct fixture f = { 0 };
    struct http_answer a = { 0 };
    struct err err = { 0 };
    struct down d = { 0 };

    buf_printf(&text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SIZE);
    for (int i = 0; i < SIZE; i++)
        buf_char(&text, (char)('a' + i % 26));
    struct turn turns[] = { { .answer = buf_at(&text) }, { .answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno" } };

    setup(&f, turns, 2);
    CHECK(http_download(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, on_part, &d, &a, &err) == 0);
    CHECK_INT((int64_t)d.n, SIZE);
    CHECK_INT((int64_t)a.body->n, 0);
    http_answer_clear(&a);
    d.parts = 0;
    CHECK(http_download(&f.ctx, f.client, &(struct http_call){ .method = "GET", .path = "/" }, on_part, &d, &a, &err) == 0);
    CHECK_INT(a.status, 403);
    CHECK_STR(a.body->at, "no");
    CHECK_INT((int64_t)d.parts, 0);
    http_answer_clear(&a);
    teardown(&f);
}

/* --- streams and upgrades: what came, told to the test's thread --- */

struct watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int status, ends;
    struct buf data;
    struct err why;
    bool failed;
    struct conn *conn;
    bool conn_closed;
};

static void w_headers(void *arg, int status, const struct http_headers *headers)
{
    (void)headers;
    ((struct watch *)arg)->status = status;
}

static void w_data(void *arg, const char *data, size_t n)
{
    struct watch *w = arg;

    LOCK_SCOPE(&w->lock);
    buf_add(&w->data, data, n);
    pthread_cond_signal(&w->wake);
}

static void w_end(void *arg, const struct err *why)
{
    struct watch *w = arg;

    LOCK_SCOPE(&w->lock);
    w->ends++;
    w->failed = why != NULL;
    if (why)
        w->why = *why;
    pthread_cond_signal(&w->wake);
}

#define WAIT_FOR(w, cond)                                                     \
    do {                                                                      \
        pthread_mutex_lock(&(w)->lock);                                       \
        while (!(cond))                                                       \
            pthread_cond_wait(&(w)->wake, &(w)->lock);                        \
        pthread_mutex_unlock(&(w)->lock);                                     \
    } while (0)

static const struct http_stream_cb w_cb = { w_headers, w_data, w_end };

TEST(http_client_stream)
{
    static const struct turn turns[] = {
        { .answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n", .hang = false },
        { .hang = true },
    };
    struct fixture f = { 0 };
    struct watch w = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

    setup(&f, turns, 2);
    struct http_stream *s = http_stream_open(f.client, &(struct http_call){ .method = "GET", .path = "/watch" }, &w_cb, &w);

    WAIT_FOR(&w, buf_len(&w.data) == 8);
    CHECK_INT(w.status, 200);
    CHECK_STR(buf_at(&w.data), "one\ntwo\n");
    CHECK_INT(w.ends, 0);
    http_stream_close(s);
    WAIT_FOR(&w, w.ends == 1);
    CHECK(w.failed && w.why.code == ERR_CANCELED);
    /* What runs at the client's end is canceled. */
    w.ends = 0;
    (void)http_stream_open(f.client, &(struct http_call){ .method = "GET", .path = "/watch" }, &w_cb, &w);
    http_client_free(f.client);
    CHECK_INT(w.ends, 1);
    CHECK_INT(w.why.code, ERR_CANCELED);
    /* The peer may not have seen the second request: end its script. */
    shutdown(f.peer.listener, SHUT_RDWR);
    peer_stop(&f.peer);
    loop_free(f.loop);
    buf_clear(&f.peer.got);
    buf_clear(&w.data);
}

static void raw_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)c;
    w_data(arg, data, n);
}

static void raw_close(struct conn *c, void *arg, const struct err *why)
{
    struct watch *w = arg;

    (void)c, (void)why;
    LOCK_SCOPE(&w->lock);
    w->conn_closed = true;
    pthread_cond_signal(&w->wake);
}

static void take(void *arg, struct conn *c, const struct http_headers *headers)
{
    static const struct conn_ops ops = { .on_data = raw_data, .on_close = raw_close };
    struct watch *w = arg;

    CHECK_STR(http_headers_get(headers, "upgrade"), "SPDY/3.1");
    conn_set_ops(c, &ops, w);
    conn_write(c, "ping\r\n\r\n", 8);
}

static void refuse(void *arg, const struct http_answer *answer, const struct err *why)
{
    struct watch *w = arg;

    LOCK_SCOPE(&w->lock);
    w->ends++;
    w->status = answer ? answer->status : 0;
    w->failed = why != NULL;
    if (answer)
        buf_add(&w->data, answer->body->at, answer->body->n);
    pthread_cond_signal(&w->wake);
}

TEST(http_client_upgrade)
{
    static const struct turn turns[] = {
        { .answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearly " },
        { .answer = "pong", .close = true },
        { .answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope", .close = true },
        { .answer = NULL },
    };
    static const struct http_upgrade_cb cb = { take, refuse };
    static const char *const headers[] = { "Connection", "Upgrade", "Upgrade", "SPDY/3.1", NULL };
    const struct http_call call = { .method = "POST", .path = "/exec", .headers = headers };
    struct fixture f = { 0 };
    struct watch w = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

    setup(&f, turns, ARRAY_LEN(turns));
    http_client_upgrade(f.client, &call, &cb, &w);
    WAIT_FOR(&w, w.conn_closed);
    CHECK_STR(buf_at(&w.data), "early pong");
    buf_clear(&w.data);
    http_client_upgrade(f.client, &call, &cb, &w);
    WAIT_FOR(&w, w.ends == 1);
    CHECK_INT(w.status, 403);
    CHECK_STR(buf_at(&w.data), "nope");
    http_client_upgrade(f.client, &call, &cb, &w);
    WAIT_FOR(&w, w.ends == 2);
    CHECK(w.failed);
    teardown(&f);
    buf_clear(&w.data);
}
