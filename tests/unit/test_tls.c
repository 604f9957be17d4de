#include "lib/crypto.h"
#include "lib/mem.h"
#include "lib/tls.h"
#include "tests/unit/test.h"

static const char *const alpn_both[] = { "h2", "http/1.1", NULL };
static const char *const alpn_http1[] = { "http/1.1", NULL };

enum { NOW_S = 1800000000, YEAR_S = 31536000 };

static int64_t fake_wall_us(void *arg)
{
    return *(int64_t *)arg * 1000000;
}

static int64_t fake_mono_ms(void *arg)
{
    return *(int64_t *)arg * 1000;
}

/* A little PKI and its time. */
struct world {
    int64_t now_s;
    struct clock clock;
    char *ca_key, *ca, *other_key, *other, *key, *server, *client;
};

static char *cert(struct cert_spec spec, const char *key, const char *ca, const char *ca_key)
{
    struct err err = { 0 };
    char *pem = NULL;

    if (!spec.not_before_s)
        spec.not_before_s = NOW_S - 3600;
    if (!spec.not_after_s)
        spec.not_after_s = NOW_S + YEAR_S;
    if (cert_sign(&spec, key, ca, ca_key, &pem, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return pem;
}

static void world_init(struct world *w)
{
    const char *const dns[] = { "kubernetes.default", "*.apps.example", NULL }, *const ips[] = { "10.43.0.1", "::1", NULL };
    const char *const groups[] = { "system:masters", "more, with \"signs\"", NULL };

    w->now_s = NOW_S;
    w->clock = (struct clock){ &w->now_s, fake_wall_us, fake_mono_ms };
    w->ca_key = key_new_pem();
    w->ca = cert((struct cert_spec){ .common_name = "ca", .ca = true, .not_after_s = NOW_S + 10LL * YEAR_S }, w->ca_key, NULL, NULL);
    w->other_key = key_new_pem();
    w->other = cert((struct cert_spec){ .common_name = "other", .ca = true }, w->other_key, NULL, NULL);
    w->key = key_new_pem();
    w->server = cert((struct cert_spec){ .common_name = "server", .dns_names = dns, .ips = ips, .server_auth = true }, w->key,
                     w->ca, w->ca_key);
    w->client = cert((struct cert_spec){ .common_name = "admin", .organizations = groups, .client_auth = true }, w->key, w->ca,
                     w->ca_key);
}

static void world_clear(struct world *w)
{
    char *all[] = { w->ca_key, w->ca, w->other_key, w->other, w->key, w->server, w->client };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

struct pair {
    struct tls_ctx *server_ctx, *client_ctx;
    struct tls *server, *client;
    struct buf to_server, to_client; /* plaintext that arrived */
    struct err server_err, client_err;
    int server_rc, client_rc;
};

static struct tls_ctx *ctx(const struct tls_config *config)
{
    struct err err = { 0 };
    struct tls_ctx *t = NULL;

    if (tls_ctx_new(config, &t, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return t;
}

static bool move(struct tls *from, struct tls *to, struct buf *plain, int *rc, struct err *err)
{
    struct buf *out = tls_out(from);
    size_t n = buf_len(out);

    if (!n || *rc < 0)
        return false;
    if (n > 1000)
        n = 1000; /* records come in pieces */
    *rc = tls_feed(to, buf_at(out), n, err);
    buf_drop(out, n);
    if (*rc == 0)
        *rc = tls_read(to, plain, 1 << 20, err);
    return true;
}

static void pump(struct pair *p)
{
    if (p->client_rc == 0 && !tls_ready(p->client))
        p->client_rc = tls_read(p->client, &p->to_client, 1 << 20, &p->client_err);
    for (;;) {
        bool moved = move(p->client, p->server, &p->to_server, &p->server_rc, &p->server_err);

        moved |= move(p->server, p->client, &p->to_client, &p->client_rc, &p->client_err);
        if (!moved)
            return;
    }
}

static void pair_start(struct pair *p, const struct tls_config *server, const struct tls_config *client, const char *name)
{
    *p = (struct pair){ .server_ctx = ctx(server), .client_ctx = ctx(client) };
    p->server = tls_new(p->server_ctx, NULL);
    p->client = tls_new(p->client_ctx, name);
    pump(p);
}

static void pair_clear(struct pair *p)
{
    tls_free(p->server);
    tls_free(p->client);
    tls_ctx_unref(p->server_ctx);
    tls_ctx_unref(p->client_ctx);
    buf_clear(&p->to_server);
    buf_clear(&p->to_client);
}

static struct tls_config server_config(struct world *w)
{
    return (struct tls_config){ .server = true, .cert_pem = w->server, .key_pem = w->key, .ca_pem = w->ca,
                                .alpn = alpn_both, .clock = &w->clock };
}

static struct tls_config client_config(struct world *w)
{
    return (struct tls_config){ .cert_pem = w->client, .key_pem = w->key, .ca_pem = w->ca, .alpn = alpn_both,
                                .clock = &w->clock };
}

TEST(tls_exchange)
{
    struct world w;
    struct pair p;
    struct tls_peer peer;
    struct err err = { 0 };
    char *big = mem_zalloc(100000);

    world_init(&w);
    struct tls_config s = server_config(&w), c = client_config(&w);
    pair_start(&p, &s, &c, "kubernetes.default");
    CHECK_STR(p.client_err.msg, "");
    CHECK(tls_ready(p.server) && tls_ready(p.client));
    CHECK_STR(tls_alpn(p.server), "h2");
    CHECK_STR(tls_alpn(p.client), "h2");
    CHECK(tls_peer(p.server, &peer));
    CHECK_STR(peer.common_name, "admin");
    CHECK_INT((int64_t)peer.n_organizations, 2);
    CHECK_STR(peer.organizations[0], "system:masters");
    CHECK_STR(peer.organizations[1], "more, with \"signs\"");
    CHECK_INT(peer.not_after_s, NOW_S + YEAR_S);
    CHECK(peer.der.n > 200 && peer.der.at[0] == 0x30);
    CHECK(tls_peer(p.client, &peer));
    CHECK_STR(peer.common_name, "server");
    CHECK(!tls_peer_error(p.server));

    CHECK_INT(tls_write(p.client, "hello", 5, &err), 0);
    memset(big, 'x', 100000);
    big[99999] = 'y';
    CHECK_INT(tls_write(p.server, big, 100000, &err), 0);
    pump(&p);
    CHECK_STR(buf_at(&p.to_server), "hello");
    CHECK_INT((int64_t)buf_len(&p.to_client), 100000);
    CHECK(memcmp(buf_at(&p.to_client), big, 100000) == 0);

    tls_close_notify(p.client);
    tls_close_notify(p.client);
    pump(&p);
    CHECK(tls_peer_closed(p.server) && !tls_peer_closed(p.client));
    CHECK(tls_write(p.client, "x", 1, &err) < 0);
    pair_clear(&p);
    world_clear(&w);
    free(big);
}

TEST(tls_write_before_the_handshake)
{
    struct world w;
    struct err err = { 0 };

    world_init(&w);
    struct tls_config s = server_config(&w), c = client_config(&w);
    struct pair p = { .server_ctx = ctx(&s), .client_ctx = ctx(&c) };
    p.server = tls_new(p.server_ctx, NULL);
    p.client = tls_new(p.client_ctx, "kubernetes.default");
    CHECK_INT(tls_write(p.client, "early", 5, &err), 0);
    CHECK_INT(tls_write(p.server, "late", 4, &err), 0);
    pump(&p);
    CHECK_STR(buf_at(&p.to_server), "early");
    CHECK_STR(buf_at(&p.to_client), "late");
    pair_clear(&p);
    world_clear(&w);
}

TEST(tls_read_stops_at_max)
{
    struct world w;
    struct err err = { 0 };
    struct buf got = { 0 };

    world_init(&w);
    struct tls_config s = server_config(&w), c = client_config(&w);
    struct pair p;
    pair_start(&p, &s, &c, "kubernetes.default");
    CHECK_INT(tls_write(p.client, "0123456789", 10, &err), 0);
    CHECK_INT(tls_write(p.client, "abc", 3, &err), 0);
    struct buf *out = tls_out(p.client);
    CHECK_INT(tls_feed(p.server, buf_at(out), buf_len(out), &err), 0);
    CHECK_INT(tls_read(p.server, &got, 4, &err), 0);
    CHECK_STR(buf_at(&got), "0123");
    CHECK_INT(tls_read(p.server, &got, 7, &err), 0);
    CHECK_STR(buf_at(&got), "0123456789a");
    CHECK_INT(tls_read(p.server, &got, 100, &err), 0);
    CHECK_STR(buf_at(&got), "0123456789abc");
    buf_clear(&got);
    pair_clear(&p);
    world_clear(&w);
}

TEST(tls_server_names)
{
    static const struct {
        const char *name, *why; /* NULL: accepted */
    } cases[] = {
        { "kubernetes.default", NULL },
        { "Kubernetes.Default.", NULL },
        { "a.apps.example", NULL },
        { "10.43.0.1", NULL },
        { "::1", NULL },
        { "[::1]", NULL },
        { "apps.example", "x509: certificate is valid for kubernetes.default, *.apps.example, not apps.example" },
        { "a.b.apps.example", "x509: certificate is valid for kubernetes.default, *.apps.example, not a.b.apps.example" },
        { "server", "x509: certificate is valid for kubernetes.default, *.apps.example, not server" },
        { "10.43.0.2", "x509: certificate is valid for 10.43.0.1, ::1, not 10.43.0.2" },
    };
    struct world w;

    world_init(&w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_config s = server_config(&w), c = client_config(&w);
        struct pair p;
        char want[400];

        pair_start(&p, &s, &c, cases[i].name);
        if (cases[i].why) {
            snprintf(want, sizeof(want), "tls: failed to verify certificate: %s", cases[i].why);
            CHECK_STR(p.client_err.msg, want);
            CHECK_INT(p.client_rc, -ERR_UNAUTHORIZED);
            CHECK_INT(p.server_rc, -ERR_IO);
            CHECK_STR(p.server_err.msg, "remote error: tls: bad certificate");
        } else {
            CHECK_STR(p.client_err.msg, "");
            CHECK(tls_ready(p.client));
        }
        pair_clear(&p);
    }
    world_clear(&w);
}

/* The client's verdict on a server's certificate. */
static void check_client_refuses(struct world *w, const char *server_cert, const char *ca, const char *why)
{
    struct tls_config s = server_config(w), c = client_config(w);
    struct pair p;
    char want[400];

    s.cert_pem = server_cert;
    c.ca_pem = ca;
    pair_start(&p, &s, &c, "10.0.0.1");
    snprintf(want, sizeof(want), "tls: failed to verify certificate: %s", why);
    CHECK_STR(p.client_err.msg, want);
    CHECK_INT(p.client_rc, -ERR_UNAUTHORIZED);
    CHECK(!tls_ready(p.client));
    pair_clear(&p);
}

TEST(tls_client_refuses)
{
    const char *const ips[] = { "10.0.0.1", NULL }, *const dns[] = { "a", NULL };
    struct world w;
    char *bad[4];

    world_init(&w);
    struct cert_spec spec = { .common_name = "s", .ips = ips, .server_auth = true };
    bad[0] = cert(spec, w.key, w.ca, w.ca_key);
    check_client_refuses(&w, bad[0], w.other, "x509: certificate signed by unknown authority");
    check_client_refuses(&w, bad[0], NULL, "x509: certificate signed by unknown authority");
    w.now_s = NOW_S + 2LL * YEAR_S;
    check_client_refuses(&w, bad[0], w.ca,
                         "x509: certificate has expired or is not yet valid: current time 2029-01-14T08:00:00Z is after "
                         "2028-01-15T08:00:00Z");
    w.now_s = NOW_S - 7200;
    check_client_refuses(&w, bad[0], w.ca,
                         "x509: certificate has expired or is not yet valid: current time 2027-01-15T06:00:00Z is before "
                         "2027-01-15T07:00:00Z");
    w.now_s = NOW_S;
    spec.ips = NULL;
    bad[1] = cert(spec, w.key, w.ca, w.ca_key);
    check_client_refuses(&w, bad[1], w.ca,
                         "x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs");
    spec.dns_names = dns;
    bad[2] = cert(spec, w.key, w.ca, w.ca_key);
    check_client_refuses(&w, bad[2], w.ca,
                         "x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs");
    /* One a plain certificate signed: it is no authority. */
    spec.ips = ips;
    bad[3] = cert(spec, w.key, bad[0], w.key);
    check_client_refuses(&w, bad[3], bad[0], "x509: certificate signed by unknown authority");
    for (int i = 0; i < 4; i++)
        free(bad[i]);
    world_clear(&w);
}

/* A client certificate that is not believed lets the connection through, without a peer. */
static void check_unbelieved(struct world *w, const char *client_cert, const char *why)
{
    struct tls_config s = server_config(w), c = client_config(w);
    struct tls_peer peer;
    struct pair p;

    c.cert_pem = client_cert;
    c.insecure = true;
    if (!client_cert)
        c.key_pem = NULL;
    pair_start(&p, &s, &c, "10.43.0.1");
    CHECK_STR(p.server_err.msg, "");
    CHECK(tls_ready(p.client) && tls_ready(p.server));
    CHECK(!tls_peer(p.server, &peer));
    CHECK(!tls_peer(p.client, &peer));
    CHECK_STR(tls_peer_error(p.server) ? tls_peer_error(p.server) : "none", why);
    pair_clear(&p);
}

TEST(tls_client_certificates_not_believed)
{
    struct world w;

    world_init(&w);
    check_unbelieved(&w, NULL, "none");
    char *unknown = cert((struct cert_spec){ .common_name = "x", .client_auth = true }, w.key, w.other, w.other_key);
    check_unbelieved(&w, unknown, "x509: certificate signed by unknown authority");
    char *same_name = cert((struct cert_spec){ .common_name = "ca", .ca = true }, w.other_key, NULL, NULL);
    char *forged = cert((struct cert_spec){ .common_name = "x", .client_auth = true }, w.key, same_name, w.other_key);
    check_unbelieved(&w, forged, "x509: certificate signed by unknown authority");
    check_unbelieved(&w, w.server, "x509: certificate specifies an incompatible key usage");
    w.now_s = NOW_S + YEAR_S + 1;
    check_unbelieved(&w, w.client,
                     "x509: certificate has expired or is not yet valid: current time 2028-01-15T08:00:01Z is after "
                     "2028-01-15T08:00:00Z");
    free(unknown);
    free(same_name);
    free(forged);
    world_clear(&w);
}

TEST(tls_bundles_and_chains)
{
    const char *const ips[] = { "10.43.0.1", NULL };
    struct world w;
    struct pair p;
    struct tls_peer peer;

    world_init(&w);
    AUTO_FREE char *bundle = mem_printf("%s# a remark\n%s", w.other, w.ca);
    char *mid_key = key_new_pem();
    char *mid = cert((struct cert_spec){ .common_name = "mid", .ca = true }, mid_key, w.ca, w.ca_key);
    char *leaf = cert((struct cert_spec){ .common_name = "s", .ips = ips, .server_auth = true }, w.key, mid, mid_key);
    AUTO_FREE char *chain = mem_printf("%s%s", leaf, mid);
    struct tls_config s = server_config(&w), c = client_config(&w);
    s.cert_pem = chain;
    s.ca_pem = c.ca_pem = bundle;
    s.alpn = alpn_http1;
    pair_start(&p, &s, &c, "10.43.0.1");
    CHECK_STR(p.client_err.msg, "");
    CHECK(tls_peer(p.server, &peer));
    CHECK_STR(tls_alpn(p.client), "http/1.1");
    pair_clear(&p);
    free(mid_key);
    free(mid);
    free(leaf);
    world_clear(&w);
}

TEST(tls_bad_configurations)
{
    struct world w;
    struct tls_ctx *t = NULL;
    struct err err = { 0 };

    world_init(&w);
    struct tls_config c = server_config(&w);
    c.key_pem = w.other_key;
    CHECK_INT(tls_ctx_new(&c, &t, &err), -ERR_BAD_REQUEST);
    c = server_config(&w);
    c.ca_pem = "nonsense";
    CHECK_INT(tls_ctx_new(&c, &t, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "CA: certificate: no CERTIFICATE block in the PEM");
    c.cert_pem = NULL;
    CHECK_INT(tls_ctx_new(&c, &t, &err), -ERR_BAD_REQUEST);
    CHECK(!t);
    world_clear(&w);
}

TEST(tls_not_tls)
{
    struct world w;
    struct err err = { 0 };
    struct buf to = { 0 };

    world_init(&w);
    struct tls_config s = server_config(&w);
    struct tls_ctx *c = ctx(&s);
    struct tls *t = tls_new(c, NULL);
    CHECK_INT(tls_feed(t, "GET / HTTP/1.1\r\n\r\n", 18, &err), 0);
    CHECK_INT(tls_read(t, &to, 100, &err), -ERR_IO);
    CHECK_STR(err.msg, "tls: first record does not look like a TLS handshake");
    err = (struct err){ 0 };
    CHECK_INT(tls_feed(t, "x", 1, &err), -ERR_IO);
    CHECK_STR(err.msg, "tls: first record does not look like a TLS handshake");
    tls_free(t);

    t = tls_new(c, NULL);
    char *big = mem_zalloc(131072);
    CHECK_INT(tls_feed(t, big, 131072, &err), 0);
    CHECK_INT(tls_feed(t, big, 1, &err), -ERR_IO);
    tls_free(t);
    free(big);
    tls_ctx_unref(c);
    world_clear(&w);
}

/* A ready pair and one record of the client's, not yet delivered. */
static struct buf one_record(struct world *w, struct pair *p, size_t n)
{
    struct err err = { 0 };
    struct tls_config s = server_config(w), c = client_config(w);
    char *data = mem_zalloc(n);
    struct buf record;

    pair_start(p, &s, &c, "kubernetes.default");
    CHECK_INT(tls_write(p->client, data, n, &err), 0);
    record = *tls_out(p->client);
    *tls_out(p->client) = (struct buf){ 0 };
    free(data);
    return record;
}

TEST(tls_record_changed)
{
    struct world w;

    world_init(&w);
    /* The version, the first and last byte of what is sealed. */
    const size_t places[] = { 2, 5, 20, 36 };
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct pair p;
        struct buf record = one_record(&w, &p, 8);

        CHECK_INT((int64_t)buf_len(&record), 37);
        record.b->at[places[i]] ^= 1;
        CHECK_INT(tls_feed(p.server, buf_at(&record), buf_len(&record), &p.server_err), 0);
        CHECK_INT(tls_read(p.server, &p.to_server, 100, &p.server_err), -ERR_IO);
        CHECK_STR(p.server_err.msg, i == 0 ? "local error: tls: protocol version not supported" : "local error: tls: bad record MAC");
        CHECK_INT((int64_t)buf_len(&p.to_server), 0);
        CHECK_INT(tls_write(p.server, "x", 1, &p.server_err), -ERR_IO);
        p.server_rc = 0;
        CHECK(move(p.server, p.client, &p.to_client, &p.client_rc, &p.client_err));
        CHECK_STR(p.client_err.msg, i == 0 ? "remote error: tls: protocol version not supported" : "remote error: tls: bad record MAC");
        buf_clear(&record);
        pair_clear(&p);
    }
    world_clear(&w);
}

TEST(tls_record_replayed)
{
    struct world w;
    struct pair p;

    world_init(&w);
    struct buf record = one_record(&w, &p, 8);
    buf_add(&record, buf_at(&record), buf_len(&record));
    CHECK_INT(tls_feed(p.server, buf_at(&record), buf_len(&record), &p.server_err), 0);
    CHECK_INT(tls_read(p.server, &p.to_server, 100, &p.server_err), -ERR_IO);
    CHECK_STR(p.server_err.msg, "local error: tls: bad record MAC");
    CHECK_INT((int64_t)buf_len(&p.to_server), 8);
    buf_clear(&record);
    pair_clear(&p);
    world_clear(&w);
}

TEST(tls_record_sizes)
{
    struct world w;
    struct pair p;
    struct err err = { 0 };

    world_init(&w);
    struct buf record = one_record(&w, &p, 16385); /* one more than a record holds */
    CHECK_INT((int64_t)buf_len(&record), 16384 + 1 + 2 * 29);
    for (size_t i = 0; i < buf_len(&record); i++) { /* byte by byte */
        CHECK_INT(tls_feed(p.server, buf_at(&record) + i, 1, &err), 0);
        CHECK_INT(tls_read(p.server, &p.to_server, 1 << 20, &err), 0);
    }
    CHECK_INT((int64_t)buf_len(&p.to_server), 16385);
    buf_clear(&record);
    /* A length no record may have. */
    CHECK_INT(tls_feed(p.server, "\x17\x03\x03\xff\xff", 5, &err), 0);
    CHECK_INT(tls_read(p.server, &p.to_server, 100, &err), -ERR_IO);
    CHECK_STR(err.msg, "local error: tls: record overflow");
    pair_clear(&p);
    world_clear(&w);
}

/* What is fed while an opened record waits to be read. */
TEST(tls_feed_behind_an_unread_rest)
{
    struct world w;
    struct pair p;
    struct err err = { 0 };

    world_init(&w);
    struct buf record = one_record(&w, &p, 1000);
    CHECK_INT(tls_feed(p.server, buf_at(&record), buf_len(&record), &err), 0);
    CHECK_INT(tls_read(p.server, &p.to_server, 10, &err), 0);
    for (int i = 0; i < 40; i++) {
        struct buf *out = tls_out(p.client);

        CHECK_INT(tls_write(p.client, "abcdefghij", 10, &err), 0);
        CHECK_INT(tls_feed(p.server, buf_at(out), buf_len(out), &err), 0);
        buf_drop(out, buf_len(out));
        CHECK_INT(tls_read(p.server, &p.to_server, 10, &err), 0);
    }
    CHECK_INT((int64_t)buf_len(&p.to_server), 410);
    CHECK_INT(tls_read(p.server, &p.to_server, 1 << 20, &err), 0);
    CHECK_INT((int64_t)buf_len(&p.to_server), 1400);
    CHECK_STR(buf_at(&p.to_server) + 1390, "abcdefghij");
    CHECK(buf_at(&p.to_server)[999] == 0 && buf_at(&p.to_server)[1000] == 'a');
    buf_clear(&record);
    pair_clear(&p);
    world_clear(&w);
}
