#include "lib/tls.h"

#include "lib/mem.h"
#include "lib/tls_int.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    TLS_IN_MAX_BYTES = 128 * 1024,          /* ciphertext not used yet: 64 KB fit behind any part of a record */
    TLS_QUEUED_MAX_BYTES = 4 * 1024 * 1024, /* plaintext written before the handshake is done */
    TLS_IDLE_RECORDS_MAX = 16,              /* empty ones and warnings in a row, as Go's crypto/tls */
};

/* What only the handshake needs. */
struct tls_start {
    mbedtls_ssl_context ssl;
    struct tls_judge judge;
    struct buf queued; /* plaintext written early */
    bool first_seen;
};

struct tls {
    struct tls_ctx *ctx;
    struct tls_start *start;     /* until the handshake is done */
    struct tls_records *records; /* from then on */
    struct buf in, out;
    size_t in_at;                     /* what was used of `in` */
    size_t plain_at, plain_n;         /* an opened record's rest, in `in` before in_at */
    bool peer_closed, close_sent;
    uint8_t idle_records; /* in a row that carried nothing */
    struct err *failed;   /* NULL: it has not */
    const char *alpn;     /* in ctx, or NULL */
    char *server_name;
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
    struct tls_start *start = t->start = MEM_NEW(struct tls_start);

    t->ctx = tls_ctx_ref(ctx);
    t->server_name = ctx->server ? NULL : mem_strdup(server_name);
    start->judge = (struct tls_judge){ .clock = ctx->clock, .server_name = t->server_name };
    mbedtls_ssl_init(&start->ssl);
    int rc = mbedtls_ssl_setup(&start->ssl, &ctx->conf);
    if (rc == 0)
        rc = mbedtls_ssl_set_hostname(&start->ssl, t->server_name && is_name(t->server_name) ? t->server_name : NULL);
    assert(rc == 0 && "a session only fails to start without memory");
    mbedtls_ssl_set_bio(&start->ssl, t, send_bytes, recv_bytes, NULL);
    mbedtls_ssl_set_verify(&start->ssl, tls_judge_cert, &start->judge);
    return t;
}

static void start_free(struct tls_start *start)
{
    if (!start)
        return;
    mbedtls_ssl_free(&start->ssl);
    buf_clear(&start->queued);
    free(start);
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    start_free(t->start);
    tls_records_free(t->records);
    buf_clear(&t->in);
    buf_clear(&t->out);
    cert_info_clear(&t->peer);
    bytes_unref(t->peer_der);
    free(t->peer_error);
    free(t->server_name);
    free(t->failed);
    tls_ctx_unref(t->ctx);
    free(t);
}

/* The session is over; every later call says the same. */
static int fail(struct tls *t, const struct err *err)
{
    t->failed = mem_alloc(sizeof(*t->failed));
    *t->failed = *err;
    return -(int)err->code;
}

static int failed_before(const struct tls *t, struct err *err)
{
    *err = *t->failed;
    return -(int)err->code;
}

/* --- the handshake --- */

static int fail_certificate(struct tls *t, struct err *err)
{
    const mbedtls_ssl_session *session = t->start->ssl.session_negotiate;
    const char *why = t->start->judge.why;

    /* What the key may be used for is looked at after the chain. */
    if (!*why && session && session->verify_result)
        why = "x509: certificate specifies an incompatible key usage";
    if (!*why)
        why = "x509: certificate signed by unknown authority"; /* we have none */
    ERR_IGNORE(err_set(err, ERR_UNAUTHORIZED, "tls: failed to verify certificate: %s", why));
    return fail(t, err);
}

static int fail_handshake(struct tls *t, int rc, struct err *err)
{
    const mbedtls_ssl_context *ssl = &t->start->ssl;
    char text[CRYPTO_ERROR_TEXT_BYTES];

    switch (rc) {
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
    case MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED:
        return fail_certificate(t, err);
    case MBEDTLS_ERR_SSL_BAD_HS_CERTIFICATE:
        if (ssl->session_negotiate && ssl->session_negotiate->verify_result)
            return fail_certificate(t, err);
        ERR_IGNORE(err_set(err, ERR_IO, "tls: malformed certificate message"));
        break;
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        ERR_IGNORE(err_set(err, ERR_IO, "remote error: tls: %s", tls_alert_text(ssl->in_msg[1])));
        break;
    case MBEDTLS_ERR_SSL_INVALID_RECORD:
        ERR_IGNORE(err_set(err, ERR_IO, "tls: malformed record"));
        break;
    default:
        ERR_IGNORE(err_set(err, ERR_IO, "tls: %s", crypto_error_text(rc, text)));
    }
    return fail(t, err);
}

static void no_peer(struct tls *t, const char *why)
{
    t->peer_error = mem_strdup(why);
    t->peer_ok = false;
}

/* Who the peer is, once, at the end of the handshake. */
static void learn_peer(struct tls *t)
{
    struct tls_judge *judge = &t->start->judge;
    const mbedtls_x509_crt *leaf = mbedtls_ssl_get_peer_cert(&t->start->ssl);
    struct err err = { 0 };

    if (!leaf || !leaf->raw.p || (!t->ctx->server && t->ctx->insecure))
        return;
    uint32_t flags = tls_judge_again(judge, leaf, mbedtls_ssl_get_verify_result(&t->start->ssl));
    if (flags) {
        tls_judge_why(judge, leaf, flags, judge->why);
        no_peer(t, judge->why);
    } else if (crypto_crt_info(leaf, &t->peer, &err) < 0) {
        no_peer(t, err.msg);
    } else {
        t->peer_der = bytes_new(leaf->raw.p, leaf->raw.len);
        t->peer_ok = true;
    }
}

static int seal(struct tls *t, const char *data, size_t n, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];

    while (n) {
        size_t part = n < TLS_RECORD_MAX_BYTES ? n : TLS_RECORD_MAX_BYTES;
        int rc = tls_records_seal(t->records, TLS_TYPE_DATA, data, part, &t->out);

        if (rc) {
            ERR_IGNORE(err_set(err, ERR_IO, "tls: %s", crypto_error_text(rc, text)));
            return fail(t, err);
        }
        data += part;
        n -= part;
    }
    return 0;
}

/* From mbedTLS's session to records of ours: what is needed is copied out, the rest (37 KB) goes. */
static int finish_handshake(struct tls *t, struct err *err)
{
    struct tls_start *start = t->start;

    learn_peer(t);
    t->alpn = mbedtls_ssl_get_alpn_protocol(&start->ssl);
    t->records = tls_records_take(&start->ssl);
    t->start = NULL;
    int rc = seal(t, buf_at(&start->queued), buf_len(&start->queued), err);
    start_free(start);
    return rc;
}

static int handshake(struct tls *t, struct err *err)
{
    if (!t->start->first_seen && buf_len(&t->in)) {
        t->start->first_seen = true;
        if (buf_at(&t->in)[0] != TLS_TYPE_HANDSHAKE && buf_at(&t->in)[0] != TLS_TYPE_ALERT) {
            ERR_IGNORE(err_set(err, ERR_IO, "tls: first record does not look like a TLS handshake"));
            return fail(t, err);
        }
    }
    int rc = mbedtls_ssl_handshake(&t->start->ssl);
    if (rc == MBEDTLS_ERR_SSL_WANT_READ)
        return 0;
    if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
        t->peer_closed = true;
        return 0;
    }
    return rc ? fail_handshake(t, rc, err) : finish_handshake(t, err);
}

/* --- records --- */

/* What was used goes; an opened record's rest stays. */
static void drop_used(struct tls *t)
{
    size_t n = t->plain_n ? t->plain_at : t->in_at;

    if (n == buf_len(&t->in))
        buf_clear(&t->in);
    else
        buf_drop(&t->in, n);
    t->in_at -= n;
    t->plain_at = 0;
}

int tls_feed(struct tls *t, const void *data, size_t n, struct err *err)
{
    if (t->failed)
        return failed_before(t, err);
    drop_used(t);
    if (n > TLS_IN_MAX_BYTES - buf_len(&t->in)) {
        ERR_IGNORE(err_set(err, ERR_IO, "tls: more than %d bytes that nobody reads", TLS_IN_MAX_BYTES));
        return fail(t, err);
    }
    buf_add(&t->in, data, n);
    return 0;
}

static void send_alert(struct tls *t, bool fatal, int alert)
{
    unsigned char body[2] = { fatal ? 2 : 1, (unsigned char)alert };

    /* It fails with the session's counter at its end only, and then there is nothing left to say. */
    ERR_IGNORE(tls_records_seal(t->records, TLS_TYPE_ALERT, body, sizeof(body), &t->out));
}

static int fail_alert(struct tls *t, int alert, struct err *err)
{
    send_alert(t, true, alert);
    ERR_IGNORE(err_set(err, ERR_IO, "local error: tls: %s", tls_alert_text(alert)));
    return fail(t, err);
}

static int take_alert(struct tls *t, const struct tls_record *rec, struct err *err)
{
    if (rec->n != 2)
        return fail_alert(t, TLS_ALERT_DECODE_ERROR, err);
    if (rec->at[1] == TLS_ALERT_CLOSE_NOTIFY) {
        t->peer_closed = true;
        return 0;
    }
    if (rec->at[0] == 1)
        return 0;
    ERR_IGNORE(err_set(err, ERR_IO, "remote error: tls: %s", tls_alert_text(rec->at[1])));
    return fail(t, err);
}

/* Opens the next record. 1: plaintext waits at plain_at; 0: there was none in it, or it is not all there. */
static int take_record(struct tls *t, bool *ret_more, struct err *err)
{
    struct tls_record rec;
    int rc = tls_records_open(t->records, (unsigned char *)t->in.b->at + t->in_at, buf_len(&t->in) - t->in_at, &rec);

    *ret_more = rc > 0;
    if (rc < 0)
        return fail_alert(t, -rc, err);
    if (rc == 0)
        return 0;
    t->in_at += rec.used;
    if (rec.type == TLS_TYPE_DATA && rec.n) {
        t->plain_at = (size_t)(rec.at - (unsigned char *)t->in.b->at);
        t->plain_n = rec.n;
        t->idle_records = 0;
        return 1;
    }
    if (++t->idle_records > TLS_IDLE_RECORDS_MAX)
        return fail_alert(t, TLS_ALERT_UNEXPECTED_MESSAGE, err);
    if (rec.type == TLS_TYPE_ALERT)
        return take_alert(t, &rec, err);
    if (rec.type == TLS_TYPE_DATA)
        return 0;
    return fail_alert(t, rec.type == TLS_TYPE_HANDSHAKE ? TLS_ALERT_NO_RENEGOTIATION : TLS_ALERT_UNEXPECTED_MESSAGE, err);
}

static int read_records(struct tls *t, struct buf *to, size_t max_bytes, struct err *err)
{
    while (max_bytes) {
        if (t->plain_n) {
            size_t n = t->plain_n < max_bytes ? t->plain_n : max_bytes;

            buf_add(to, buf_at(&t->in) + t->plain_at, n);
            t->plain_at += n;
            t->plain_n -= n;
            max_bytes -= n;
            continue;
        }
        if (t->peer_closed || t->in_at == buf_len(&t->in))
            return 0;
        bool more;
        int rc = take_record(t, &more, err);
        if (rc < 0 || !more)
            return rc;
    }
    return 0;
}

int tls_read(struct tls *t, struct buf *to, size_t max_bytes, struct err *err)
{
    int rc = 0;

    if (t->failed)
        return failed_before(t, err);
    if (t->start && !t->peer_closed)
        rc = handshake(t, err);
    if (rc == 0 && t->records)
        rc = read_records(t, to, max_bytes, err);
    if (!t->plain_n && t->in_at == buf_len(&t->in))
        drop_used(t);
    return rc;
}

int tls_write(struct tls *t, const void *data, size_t n, struct err *err)
{
    if (t->failed)
        return failed_before(t, err);
    if (t->close_sent)
        return err_set(err, ERR_IO, "tls: use of closed connection");
    if (t->records)
        return seal(t, data, n, err);
    if (n > TLS_QUEUED_MAX_BYTES - buf_len(&t->start->queued))
        return err_set(err, ERR_IO, "tls: more than %d bytes wait for the handshake", TLS_QUEUED_MAX_BYTES);
    buf_add(&t->start->queued, data, n);
    return 0;
}

void tls_close_notify(struct tls *t)
{
    if (t->failed || t->close_sent || !t->records)
        return;
    t->close_sent = true;
    send_alert(t, false, TLS_ALERT_CLOSE_NOTIFY);
}

struct buf *tls_out(struct tls *t)
{
    return &t->out;
}

bool tls_ready(const struct tls *t)
{
    return t->records != NULL;
}

bool tls_peer_closed(const struct tls *t)
{
    return t->peer_closed;
}

const char *tls_alpn(const struct tls *t)
{
    return t->alpn ? t->alpn : "";
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
