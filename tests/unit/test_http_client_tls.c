/* The HTTP client against our server over TLS: one HTTP/2 connection for all, client certificate, upgrades, its end. */
#include "lib/crypto.h"
#include "lib/http/client.h"
#include "lib/mem.h"
#include "tests/unit/http_peer.h"
#include "tests/unit/test.h"

struct fixture {
    struct peer_server server;
    struct loop *loop;
    struct tls_ctx *server_tls, *tls, *tls1, *stranger;
    struct http_client *client;
    struct ctx ctx;
    char url[64];
};

static struct tls_ctx *tls_of(bool server, const char *cert, const char *key, const char *ca, bool h2)
{
    static const char *const both[] = { "h2", "http/1.1", NULL }, *const one[] = { "http/1.1", NULL };
    struct tls_config config = { .server = server, .cert_pem = cert, .key_pem = cert ? key : NULL, .ca_pem = ca, .alpn = h2 ? both : one,
                                 .clock = &clock_system };
    struct tls_ctx *t = NULL;
    struct err err;

    CHECK(tls_ctx_new(&config, &t, &err) == 0);
    return t;
}

static char *make_cert(const char *name, bool ca, const char *key, const char *by, const char *by_key)
{
    const char *ips[] = { "127.0.0.1", NULL };
    struct cert_spec spec = { .common_name = name, .ca = ca, .ips = ca ? NULL : ips, .server_auth = !ca, .client_auth = !ca,
                              .not_before_s = clock_wall_s(&clock_system) - 3600, .not_after_s = clock_wall_s(&clock_system) + 3600 };
    char *pem = NULL;
    struct err err;

    CHECK(cert_sign(&spec, key, by, by_key, &pem, &err) == 0);
    return pem;
}

static void setup(struct fixture *f)
{
    AUTO_FREE char *ca_key = key_new_pem(), *key = key_new_pem();
    struct err err = { 0 };

    AUTO_FREE char *ca = make_cert("ca", true, ca_key, NULL, NULL);
    AUTO_FREE char *server = make_cert("server", false, key, ca, ca_key), *node = make_cert("system:node:n1", false, key, ca, ca_key);
    AUTO_FREE char *other = make_cert("other", true, key, NULL, NULL);

    *f = (struct fixture){ 0 };
    f->server_tls = tls_of(true, server, key, ca, true);
    f->tls = tls_of(false, node, key, ca, true);
    f->tls1 = tls_of(false, node, key, ca, false);
    f->stranger = tls_of(false, NULL, NULL, other, true);
    peer_server_start(&f->server, &(struct http_server_options){ .tls = f->server_tls });
    CHECK(loop_new("client", &f->loop, &err) == 0);
    snprintf(f->url, sizeof(f->url), "https://127.0.0.1:%d", f->server.port);
    CHECK(http_client_new(&(struct http_client_options){ .loop = f->loop, .url = f->url, .tls = f->tls, .tls_http1 = f->tls1 }, &f->client,
                          &err) == 0);
    f->ctx = ctx_background(NULL);
    f->ctx = ctx_with_timeout(&f->ctx, 10000);
}

static void teardown(struct fixture *f)
{
    http_client_free(f->client);
    peer_server_end(&f->server);
    loop_free(f->loop);
    tls_ctx_unref(f->server_tls);
    tls_ctx_unref(f->tls);
    tls_ctx_unref(f->tls1);
    tls_ctx_unref(f->stranger);
}

static void expect_body(struct fixture *f, const char *method, const char *path, struct bytes *body, const char *want)
{
    struct http_answer a = { 0 };
    struct err err = { 0 };

    if (http_call(&f->ctx, f->client, &(struct http_call){ .method = method, .path = path, .body = body }, &a, &err) < 0) {
        fprintf(stderr, "%s %s: %s\n", method, path, err.msg);
        exit(1);
    }
    CHECK(strstr(a.body->at, want));
    http_answer_clear(&a);
}

static int64_t connections(struct fixture *f)
{
    struct http_server_stats stats;

    http_server_stats(f->server.server, &stats);
    return stats.connections;
}

static void *many_calls(void *arg)
{
    for (int i = 0; i < 20; i++)
        expect_body(arg, "GET", i % 2 ? "/hello?x=1" : "/later", NULL, i % 2 ? "GET /hello?x=1 127.0.0.1:" : "");
    return NULL;
}

TEST(http_client_tls_shares_one_connection)
{
    enum { BODY = 1000 * 1000, THREADS = 8 };
    pthread_t threads[THREADS];
    struct fixture f;
    AUTO(buf) struct buf text = { 0 };

    setup(&f);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, many_calls, &f);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    while (buf_len(&text) < BODY)
        buf_str(&text, "0123456789");
    struct bytes *body = buf_take(&text);

    expect_body(&f, "POST", "/echo", body, body->at);
    bytes_unref(body);
    expect_body(&f, "GET", "/stream", NULL, "");
    expect_body(&f, "GET", "/who", NULL, "system:node:n1");
    expect_body(&f, "GET", "/hello", NULL, " 2");
    CHECK_INT(connections(&f), 1);
    teardown(&f);
}

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct buf data;
    int ends;
    enum err_code code;
    bool upgraded, closed;
};

static void s_headers(void *arg, int status, const struct http_headers *headers)
{
    (void)arg, (void)headers;
    CHECK_INT(status, 200);
}

static void s_data(void *arg, const char *data, size_t n)
{
    struct seen *s = arg;

    LOCK_SCOPE(&s->lock);
    buf_add(&s->data, data, n);
    pthread_cond_signal(&s->wake);
}

static void s_end(void *arg, const struct err *why)
{
    struct seen *s = arg;

    LOCK_SCOPE(&s->lock);
    s->ends++;
    s->code = why ? why->code : ERR_NONE;
    pthread_cond_signal(&s->wake);
}

static void wait_seen(struct seen *s, size_t bytes, int ends, bool closed)
{
    LOCK_SCOPE(&s->lock);
    while (buf_len(&s->data) < bytes || s->ends < ends || (closed && !s->closed))
        pthread_cond_wait(&s->wake, &s->lock);
}

static const struct http_stream_cb s_cb = { s_headers, s_data, s_end };

/* A watch runs beside calls on the same connection; closing it leaves the connection to the others. */
TEST(http_client_tls_watch)
{
    struct fixture f;
    struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

    setup(&f);
    struct http_stream *watch = http_stream_open(f.client, &(struct http_call){ .method = "GET", .path = "/watch" }, &s_cb, &s);

    wait_seen(&s, 9, 0, false);
    expect_body(&f, "GET", "/hello", NULL, "/hello");
    CHECK_INT(connections(&f), 1);
    http_stream_close(watch);
    wait_seen(&s, 9, 1, false);
    CHECK_INT(s.code, ERR_CANCELED);
    WAIT_COUNT(f.server.closed, 1); /* the server heard of it */
    expect_body(&f, "GET", "/hello", NULL, "/hello");
    CHECK_INT(connections(&f), 1);
    buf_clear(&s.data);
    teardown(&f);
}

static void raw_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)c;
    s_data(arg, data, n);
}

static void raw_close(struct conn *c, void *arg, const struct err *why)
{
    struct seen *s = arg;

    (void)c, (void)why;
    LOCK_SCOPE(&s->lock);
    s->closed = true;
    pthread_cond_signal(&s->wake);
}

static void take(void *arg, struct conn *c, const struct http_headers *headers)
{
    static const struct conn_ops ops = { .on_data = raw_data, .on_close = raw_close };

    (void)headers;
    conn_set_ops(c, &ops, arg);
    conn_write(c, "echo me", 7);
    conn_shutdown(c);
}

static void refuse(void *arg, const struct http_answer *answer, const struct err *why)
{
    (void)arg, (void)answer;
    fprintf(stderr, "refused: %s\n", why ? why->msg : "an answer");
    exit(1);
}

TEST(http_client_tls_upgrade)
{
    static const struct http_upgrade_cb cb = { take, refuse };
    static const char *const headers[] = { "Connection", "Upgrade", "Upgrade", "echo", NULL };
    struct fixture f;
    struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

    setup(&f);
    expect_body(&f, "GET", "/hello", NULL, "/hello"); /* HTTP/2 is there already */
    http_client_upgrade(f.client, &(struct http_call){ .method = "GET", .path = "/upgrade", .headers = headers }, &cb, &s);
    wait_seen(&s, 7, 0, true);
    CHECK(strstr(buf_at(&s.data), "echo me"));
    buf_clear(&s.data);
    teardown(&f);
}

TEST(http_client_tls_strangers)
{
    struct http_client *c = NULL;
    struct http_answer a = { 0 };
    struct err err = { 0 };
    struct fixture f;

    setup(&f);
    CHECK(http_client_new(&(struct http_client_options){ .loop = f.loop, .url = f.url, .tls = f.stranger }, &c, &err) == 0);
    CHECK_INT(http_call(&f.ctx, c, &(struct http_call){ .method = "GET", .path = "/hello" }, &a, &err), -ERR_UNAUTHORIZED);
    http_client_free(c);
    teardown(&f);
}
