/*
 * Bytes of a peer we don't know: the first byte says who gets them. A session never gets ready on them and stays failed once it
 * failed; a token is never believed; what reads as a certificate or request reads the same again, and a request is signed
 * or refused, with the spec's name.
 */
#include "lib/crypto.h"
#include "lib/tls.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void demand(bool good)
{
    if (!good)
        abort();
}

/* Slow to make, so made once. */
static struct fixture {
    char *key, *ca;
    struct tls_ctx *server, *client;
    struct jwt_key *jwt;
} fixture;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct fixture *f = &fixture;
    struct cert_spec spec = { .common_name = "ca", .ca = true, .not_after_s = 4000000000 };
    struct err err = { 0 };

    (void)argc, (void)argv;
    f->key = key_new_pem();
    demand(cert_sign(&spec, f->key, NULL, NULL, &f->ca, &err) == 0);
    struct tls_config config = { .server = true, .cert_pem = f->ca, .key_pem = f->key, .ca_pem = f->ca, .clock = &clock_system };
    demand(tls_ctx_new(&config, &f->server, &err) == 0);
    config.server = false;
    demand(tls_ctx_new(&config, &f->client, &err) == 0);
    demand(jwt_key_new(f->key, &f->jwt, &err) == 0);
    return 0;
}

static void session(struct tls_ctx *ctx, const char *data, size_t n)
{
    struct tls *t = tls_new(ctx, "example.org");
    AUTO(buf) struct buf plain = { 0 };
    struct err err = { 0 };
    bool failed = false;

    while (n) {
        size_t piece = (size_t)(unsigned char)data[0] + 1;

        if (piece > n)
            piece = n;
        int rc = tls_feed(t, data, piece, &err);
        if (rc == 0)
            rc = tls_read(t, &plain, 1000, &err);
        demand(!failed || rc < 0);
        failed = rc < 0;
        data += piece;
        n -= piece;
    }
    demand(!tls_ready(t) && buf_len(&plain) == 0);
    tls_free(t);
}

static void same_lists(char **a, char **b)
{
    for (; *a && *b; a++, b++)
        demand(strcmp(*a, *b) == 0);
    demand(!*a && !*b);
}

static void certificate(const char *data, size_t n)
{
    struct cert_info info = { 0 }, again = { 0 };
    struct err err = { 0 };
    AUTO(buf) struct buf pem = { 0 };

    /* As DER, so that the bytes mean something. */
    buf_str(&pem, "-----BEGIN CERTIFICATE-----\n");
    base64_write(data, n, &pem);
    buf_str(&pem, "\n-----END CERTIFICATE-----\n");
    if (cert_info(buf_at(&pem), &info, &err) == 0) {
        demand(cert_info(buf_at(&pem), &again, &err) == 0);
        demand(strcmp(info.common_name, again.common_name) == 0 && info.not_after_s == again.not_after_s);
        same_lists(info.organizations, again.organizations);
        same_lists(info.dns_names, again.dns_names);
        same_lists(info.ips, again.ips);
    }
    cert_info_clear(&info);
    cert_info_clear(&again);
}

static void request(const char *data, size_t n)
{
    struct cert_spec spec = { .common_name = "given", .not_after_s = 1 };
    struct cert_info info = { 0 };
    struct err err = { 0 };
    char *pem = NULL;

    if (csr_info(data, n, &info, &err) == 0)
        demand(info.common_name && info.organizations && info.dns_names && info.ips);
    cert_info_clear(&info);
    if (cert_sign_csr(&spec, data, n, fixture.ca, fixture.key, &pem, &err) == 0) {
        demand(cert_info(pem, &info, &err) == 0 && strcmp(info.common_name, "given") == 0 && !info.ca);
        cert_info_clear(&info);
        free(pem);
    }
}

static void token(const char *data, size_t n)
{
    AUTO(buf) struct buf claims = { 0 };
    struct err err = { 0 };

    demand(jwt_verify(&fixture.jwt, 1, data, n, &claims, &err) == -ERR_UNAUTHORIZED && buf_len(&claims) == 0);
}

static void key(const char *data, size_t n)
{
    char *pem = slice_dup((struct slice){ data, n });
    struct jwt_key *k = NULL;
    struct err err = { 0 };
    AUTO(buf) struct buf jwk = { 0 };

    if (jwt_key_new(pem, &k, &err) == 0)
        jwt_key_jwk(k, &jwk);
    jwt_key_free(k);
    free(pem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *rest = (const char *)data + 1;

    if (!n)
        return 0;
    switch (data[0]) {
    case 's':
        session(fixture.server, rest, n - 1);
        break;
    case 'c':
        session(fixture.client, rest, n - 1);
        break;
    case 'x':
        certificate(rest, n - 1);
        break;
    case 'r':
        request(rest, n - 1);
        break;
    case 't':
        token(rest, n - 1);
        break;
    case 'k':
        key(rest, n - 1);
        break;
    }
    return 0;
}
