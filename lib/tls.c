#include "lib/tls.h"

#include "lib/mem.h"
#include "lib/tls_int.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    TLS_IN_MAX_BYTES = 64 * 1024,          /* ciphertext not used yet */
    TLS_QUEUED_MAX_BYTES = 4 * 1024 * 1024, /* plaintext written before the handshake is done */
};

struct tls {
    struct tls_ctx *ctx;
    mbedtls_ssl_context ssl;
    struct buf in, out, queued;
    size_t in_at; /* what mbedTLS took of `in` */
    bool first_seen, ready, peer_closed, close_sent;
    struct err failed; /* code 0: it has not */
    char *server_name;
    struct tls_judge judge;
    bool peer_ok;
    char *peer_error;
    struct cert_info peer;
    struct bytes *peer_der;
};

static int send_bytes(void *arg, const unsigned char *data, size_t n)
{
    struct tls *t = arg;

    buf_add(&t->out, data, n);
    return (int)n;
}

static int recv_bytes(void *arg, unsigned char *to, size_t n)
{
    struct tls *t = arg;
    size_t have = buf_len(&t->in) - t->in_at;

    if (!have)
        return MBEDTLS_ERR_SSL_WANT_READ;
    if (n > have)
        n = have;
    memcpy(to, buf_at(&t->in) + t->in_at, n);
    t->in_at += n;
    return (int)n;
}

/* An address is no name for SNI (RFC 6066 3). */
static bool is_name(const char *host)
{
    unsigned char at[16];

    return host[0] != '[' && inet_pton(AF_INET, host, at) != 1 && inet_pton(AF_INET6, host, at) != 1
           && strlen(host) <= MBEDTLS_SSL_MAX_HOST_NAME_LEN;
}

struct tls *tls_new(struct tls_ctx *ctx, const char *server_name)
{
    struct tls *t = MEM_NEW(struct tls);

    t->ctx = tls_ctx_ref(ctx);
    t->server_name = ctx->server ? NULL : mem_strdup(server_name);
    t->judge = (struct tls_judge){ .clock = ctx->clock, .server_name = t->server_name };
    mbedtls_ssl_init(&t->ssl);
    int rc = mbedtls_ssl_setup(&t->ssl, &ctx->conf);
    if (rc == 0)
        rc = mbedtls_ssl_set_hostname(&t->ssl, t->server_name && is_name(t->server_name) ? t->server_name : NULL);
    assert(rc == 0 && "a session only fails to start without memory");
    mbedtls_ssl_set_bio(&t->ssl, t, send_bytes, recv_bytes, NULL);
    mbedtls_ssl_set_verify(&t->ssl, tls_judge_cert, &t->judge);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    mbedtls_ssl_free(&t->ssl);
    buf_clear(&t->in);
    buf_clear(&t->out);
    buf_clear(&t->queued);
    cert_info_clear(&t->peer);
    bytes_unref(t->peer_der);
    free(t->peer_error);
    free(t->server_name);
    tls_ctx_unref(t->ctx);
    free(t);
}

/* The session is over; every later call says the same. */
static int fail(struct tls *t, const struct err *err)
{
    t->failed = *err;
    return -(int)err->code;
}

static int fail_certificate(struct tls *t, struct err *err)
{
    const char *why = t->judge.why;

    /* What the key may be used for is looked at after the chain. */
    if (!*why && t->ssl.session_negotiate && t->ssl.session_negotiate->verify_result)
        why = "x509: certificate specifies an incompatible key usage";
    if (!*why)
        why = "x509: certificate signed by unknown authority"; /* we have none */
    ERR_IGNORE(err_set(err, ERR_UNAUTHORIZED, "tls: failed to verify certificate: %s", why));
    return fail(t, err);
}

static int fail_rc(struct tls *t, int rc, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];

    switch (rc) {
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
    case MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED:
        return fail_certificate(t, err);
    case MBEDTLS_ERR_SSL_BAD_HS_CERTIFICATE:
        if (t->ssl.session_negotiate && t->ssl.session_negotiate->verify_result)
            return fail_certificate(t, err);
        ERR_IGNORE(err_set(err, ERR_IO, "tls: malformed certificate message"));
        break;
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        ERR_IGNORE(err_set(err, ERR_IO, "remote error: tls: %s", tls_alert_text(t->ssl.in_msg[1])));
        break;
    case MBEDTLS_ERR_SSL_INVALID_RECORD:
        ERR_IGNORE(err_set(err, ERR_IO, t->ready ? "tls: malformed record"
                                                 : "tls: first record does not look like a TLS handshake"));
        break;
    default:
        ERR_IGNORE(err_set(err, ERR_IO, "tls: %s", crypto_error_text(rc, text)));
    }
    return fail(t, err);
}

int tls_feed(struct tls *t, const void *data, size_t n, struct err *err)
{
    if (t->failed.code) {
        *err = t->failed;
        return -(int)err->code;
    }
    if (t->in_at) {
        buf_drop(&t->in, t->in_at);
        t->in_at = 0;
    }
    if (n > TLS_IN_MAX_BYTES - buf_len(&t->in)) {
        ERR_IGNORE(err_set(err, ERR_IO, "tls: more than %d bytes that nobody reads", TLS_IN_MAX_BYTES));
        return fail(t, err);
    }
    buf_add(&t->in, data, n);
    return 0;
}

static void no_peer(struct tls *t, const char *why)
{
    free(t->peer_error);
    t->peer_error = mem_strdup(why);
    t->peer_ok = false;
}

/* Who the peer is, once, at the end of the handshake. */
static void learn_peer(struct tls *t)
{
    const mbedtls_x509_crt *leaf = mbedtls_ssl_get_peer_cert(&t->ssl);
    struct err err = { 0 };

    if (!leaf || !leaf->raw.p || (!t->ctx->server && t->ctx->insecure))
        return;
    uint32_t flags = tls_judge_again(&t->judge, leaf, mbedtls_ssl_get_verify_result(&t->ssl));
    if (flags) {
        tls_judge_why(&t->judge, leaf, flags, t->judge.why);
        no_peer(t, t->judge.why);
    } else if (crypto_crt_info(leaf, &t->peer, &err) < 0) {
        no_peer(t, err.msg);
    } else {
        t->peer_der = bytes_new(leaf->raw.p, leaf->raw.len);
        t->peer_ok = true;
    }
}

/* Encrypts record by record; `out` takes everything, so it never has to be tried again. */
static int encrypt(struct tls *t, const unsigned char *data, size_t n, struct err *err)
{
    while (n) {
        int rc = mbedtls_ssl_write(&t->ssl, data, n);

        if (rc <= 0)
            return fail_rc(t, rc, err);
        data += rc;
        n -= (size_t)rc;
    }
    return 0;
}

static int handshake(struct tls *t, struct err *err)
{
    if (!t->first_seen && buf_len(&t->in)) {
        t->first_seen = true;
        if (buf_at(&t->in)[0] != MBEDTLS_SSL_MSG_HANDSHAKE && buf_at(&t->in)[0] != MBEDTLS_SSL_MSG_ALERT)
            return fail_rc(t, MBEDTLS_ERR_SSL_INVALID_RECORD, err);
    }
    int rc = mbedtls_ssl_handshake(&t->ssl);
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        return 0;
    if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        t->peer_closed = true;
        return 0;
    }
    if (rc)
        return fail_rc(t, rc, err);
    t->ready = true;
    learn_peer(t);
    rc = encrypt(t, (const unsigned char *)buf_at(&t->queued), buf_len(&t->queued), err);
    buf_clear(&t->queued);
    return rc;
}

/* Makes at most one record's plaintext available. 1: there is some; 0: more ciphertext is needed. */
static int next_record(struct tls *t, struct err *err)
{
    unsigned char unused;

    if (mbedtls_ssl_get_bytes_avail(&t->ssl))
        return 1;
    int rc = mbedtls_ssl_read(&t->ssl, &unused, 0);
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        return 0;
    if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        t->peer_closed = true;
        return 0;
    }
    return rc < 0 ? fail_rc(t, rc, err) : mbedtls_ssl_get_bytes_avail(&t->ssl) > 0;
}

static int read_records(struct tls *t, struct buf *to, size_t max_bytes, struct err *err)
{
    while (max_bytes && !t->peer_closed) {
        int rc = next_record(t, err);

        if (rc <= 0)
            return rc;
        size_t n = mbedtls_ssl_get_bytes_avail(&t->ssl);
        if (n > max_bytes)
            n = max_bytes;
        rc = mbedtls_ssl_read(&t->ssl, (unsigned char *)buf_space(to, n), n);
        assert(rc > 0 && (size_t)rc <= n);
        buf_used(to, (size_t)rc);
        max_bytes -= (size_t)rc;
    }
    return 0;
}

int tls_read(struct tls *t, struct buf *to, size_t max_bytes, struct err *err)
{
    int rc = 0;

    if (t->failed.code) {
        *err = t->failed;
        return -(int)err->code;
    }
    if (!t->ready && !t->peer_closed)
        rc = handshake(t, err);
    if (rc == 0 && t->ready)
        rc = read_records(t, to, max_bytes, err);
    if (t->in_at == buf_len(&t->in)) {
        buf_clear(&t->in);
        t->in_at = 0;
    }
    return rc;
}

int tls_write(struct tls *t, const void *data, size_t n, struct err *err)
{
    if (t->failed.code) {
        *err = t->failed;
        return -(int)err->code;
    }
    if (t->close_sent)
        return err_set(err, ERR_IO, "tls: use of closed connection");
    if (t->ready)
        return encrypt(t, data, n, err);
    if (n > TLS_QUEUED_MAX_BYTES - buf_len(&t->queued))
        return err_set(err, ERR_IO, "tls: more than %d bytes wait for the handshake", TLS_QUEUED_MAX_BYTES);
    buf_add(&t->queued, data, n);
    return 0;
}

void tls_close_notify(struct tls *t)
{
    if (t->failed.code || t->close_sent || !t->ready)
        return;
    t->close_sent = true;
    mbedtls_ssl_close_notify(&t->ssl);
}

struct buf *tls_out(struct tls *t)
{
    return &t->out;
}

bool tls_ready(const struct tls *t)
{
    return t->ready;
}

bool tls_peer_closed(const struct tls *t)
{
    return t->peer_closed;
}

const char *tls_alpn(const struct tls *t)
{
    const char *chosen = t->ready ? mbedtls_ssl_get_alpn_protocol(&t->ssl) : NULL;

    return chosen ? chosen : "";
}

bool tls_peer(const struct tls *t, struct tls_peer *ret)
{
    if (!t->peer_ok)
        return false;
    size_t n = 0;
    while (t->peer.organizations[n])
        n++;
    *ret = (struct tls_peer){
        .common_name = t->peer.common_name,
        .organizations = (const char *const *)t->peer.organizations,
        .n_organizations = n,
        .not_after_s = t->peer.not_after_s,
        .der = { t->peer_der->at, t->peer_der->n },
    };
    return true;
}

const char *tls_peer_error(const struct tls *t)
{
    return t->peer_error;
}
