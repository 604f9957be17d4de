#include "http_peer.h"
#include "test.h"

#include "lib/crypto.h"
#include "lib/mem.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const alpn[] = { "h2", "http/1.1", NULL };
static const char *const alpn1[] = { "http/1.1", NULL };

struct pki {
    char *ca_key, *ca, *key, *cert, *client_key, *client, *stranger_key, *stranger;
};

static char *sign(const char *name, bool server, const char *key, const char *ca, const char *ca_key)
{
    static const char *const ips[] = { "127.0.0.1", NULL };
    static const char *const groups[] = { "system:masters", NULL };
    int64_t now = clock_wall_s(&clock_system);
    struct cert_spec spec = { .common_name = name, .organizations = groups, .ips = server ? ips : NULL, .ca = !ca,
                              .server_auth = server, .client_auth = !server, .not_before_s = now - 60, .not_after_s = now + 3600 };
    struct err err;
    char *pem;

    CHECK_INT(cert_sign(&spec, key, ca, ca_key, &pem, &err), 0);
    return pem;
}

static void pki_make(struct pki *p)
{
    p->ca_key = key_new_pem();
    p->ca = sign("ca", false, p->ca_key, NULL, NULL);
    p->key = key_new_pem();
    p->cert = sign("server", true, p->key, p->ca, p->ca_key);
    p->client_key = key_new_pem();
    p->client = sign("alice", false, p->client_key, p->ca, p->ca_key);
    p->stranger_key = key_new_pem();
    p->stranger = sign("mallory", false, p->stranger_key, NULL, NULL);
}

static void pki_clear(struct pki *p)
{
    char *all[] = { p->ca_key, p->ca, p->key, p->cert, p->client_key, p->client, p->stranger_key, p->stranger };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
}

static struct tls_ctx *tls_make(const struct pki *p, bool server, const char *cert, const char *key, const char *const *protocols)
{
    struct tls_config c = { .server = server, .cert_pem = cert, .key_pem = key, .ca_pem = p->ca, .alpn = protocols,
                            .clock = &clock_system };
    struct tls_ctx *t;
    struct err err;

    CHECK_INT(tls_ctx_new(&c, &t, &err), 0);
    return t;
}

/* A client on the server's loop: sends `text` when ready and keeps what comes. */
struct tls_client {
    struct peer_server *ps;
    struct tls_ctx *tls;
    const char *text;
    struct buf got;
    char alpn[16];
    _Atomic int ready, closed;
    struct err why;
};

static void on_ready(struct conn *c, void *arg)
{
    struct tls_client *t = arg;

    snprintf(t->alpn, sizeof(t->alpn), "%s", tls_alpn(conn_tls(c)));
    conn_write(c, t->text, strlen(t->text));
    t->ready++;
}

static void on_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)c;
    buf_add(&((struct tls_client *)arg)->got, data, n);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct tls_client *t = arg;

    (void)c;
    if (why)
        t->why = *why;
    t->closed++;
}

static const struct conn_ops client_ops = { .on_ready = on_ready, .on_data = on_data, .on_close = on_close };

static void dial(void *arg)
{
    struct tls_client *t = arg;
    struct conn_target target = { .host = "127.0.0.1", .port = t->ps->port, .tls = t->tls, .timeout_ms = 5000 };

    conn_dial(t->ps->loops[0], &target, &client_ops, t);
}

static void expect_who(struct peer_server *ps, struct tls_ctx *tls, const char *who)
{
    struct tls_client t = { .ps = ps, .tls = tls, .text = "GET /who HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" };

    loop_post(ps->loops[0], dial, &t);
    WAIT_COUNT(t.closed, 1);
    if (!strstr(buf_at(&t.got), who))
        fprintf(stderr, "wanted %s: %s (%s)\n", who, buf_at(&t.got), t.why.msg);
    CHECK(strstr(buf_at(&t.got), who) != NULL);
    CHECK_STR(t.alpn, "http/1.1");
    buf_clear(&t.got);
    tls_ctx_unref(tls);
}

TEST(http_tls_client_certificates)
{
    struct pki pki;
    struct peer_server ps;

    pki_make(&pki);
    struct http_server_options o = { .tls = tls_make(&pki, true, pki.cert, pki.key, alpn) };
    peer_server_start(&ps, &o);
    expect_who(&ps, tls_make(&pki, false, NULL, NULL, alpn1), "\r\n\r\nnobody");
    expect_who(&ps, tls_make(&pki, false, pki.client, pki.client_key, alpn1), "\r\n\r\nalice");
    expect_who(&ps, tls_make(&pki, false, pki.stranger, pki.stranger_key, alpn1), "\r\n\r\nx509: certificate signed by unknown authority");

    /* h2 is chosen when it is offered: the answer to the preface's absence is a GOAWAY */
    struct tls_client t = { .ps = &ps, .tls = tls_make(&pki, false, NULL, NULL, alpn), .text = "GET / HTTP/1.1\r\nHost: h\r\n\r\n" };
    loop_post(ps.loops[0], dial, &t);
    WAIT_COUNT(t.closed, 1);
    CHECK_STR(t.alpn, "h2");
    CHECK(buf_len(&t.got) > 9 && strstr(buf_at(&t.got), "HTTP/1.1") == NULL);
    buf_clear(&t.got);
    tls_ctx_unref(t.tls);
    tls_ctx_unref(o.tls);
    peer_server_end(&ps);
    pki_clear(&pki);
}

TEST(http_tls_new_certificate_and_noise)
{
    struct pki old, new;
    struct peer_server ps;
    char got[512];

    pki_make(&old);
    pki_make(&new);
    struct http_server_options o = { .tls = tls_make(&old, true, old.cert, old.key, alpn) };
    peer_server_start(&ps, &o);
    tls_ctx_unref(o.tls);
    expect_who(&ps, tls_make(&old, false, NULL, NULL, alpn1), "nobody");
    struct tls_ctx *fresh = tls_make(&new, true, new.cert, new.key, alpn);
    http_server_set_tls(ps.server, fresh);
    tls_ctx_unref(fresh);
    expect_who(&ps, tls_make(&new, false, NULL, NULL, alpn1), "nobody");

    struct tls_client t = { .ps = &ps, .tls = tls_make(&old, false, NULL, NULL, alpn1), .text = "" };
    loop_post(ps.loops[0], dial, &t);
    WAIT_COUNT(t.closed, 1);
    CHECK_INT(t.ready, 0);
    CHECK_INT(t.why.code, ERR_UNAUTHORIZED);
    tls_ctx_unref(t.tls);

    int fd = peer_server_connect(&ps); /* a scanner */
    send_text(fd, "\r\n\r\nhelp\r\n");
    read_to_end(fd, got, sizeof(got));
    CHECK(strstr(got, "HTTP/1.0") == NULL);
    fd = peer_server_connect(&ps); /* a user who forgot the s */
    send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    read_to_end(fd, got, sizeof(got));
    CHECK(strstr(got, "400 Bad Request") && strstr(got, "Client sent an HTTP request to an HTTPS server.\n"));
    fd = peer_server_connect(&ps);
    close(fd);
    peer_server_end(&ps);
    pki_clear(&old);
    pki_clear(&new);
}
