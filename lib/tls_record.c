/*
 * Records after the handshake. mbedTLS keeps two buffers of 16.7 KB for a session's whole life and copies everything through
 * them; here a finished handshake gives its keys up, and records are opened where they arrived and sealed where they leave.
 * The cryptography stays mbedTLS's (ssl_internal.h of the 2.28 series, whose sizes the static archive shares).
 *
 * Source: RFC 5246 6.2 (TLS 1.2 records), 7.2 (alerts).
 */
#include "lib/tls_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <mbedtls/ssl_internal.h>
#include <string.h>

enum {
    HEADER_BYTES = 5,
    SEAL_MAX_BYTES = 24,     /* explicit nonce and tag */
    EXPANSION_MAX_BYTES = 2048, /* what a record may add to its plaintext (RFC 5246 6.2.3) */
};

struct tls_records {
    mbedtls_ssl_transform *keys;
    unsigned char in_ctr[8], out_ctr[8];
};

struct tls_records *tls_records_take(mbedtls_ssl_context *ssl)
{
    struct tls_records *r = MEM_NEW(struct tls_records);

    assert(ssl->transform && ssl->transform == ssl->transform_in && ssl->transform == ssl->transform_out);
    r->keys = ssl->transform;
    ssl->transform = ssl->transform_in = ssl->transform_out = NULL;
    memcpy(r->in_ctr, ssl->in_ctr, sizeof(r->in_ctr));
    memcpy(r->out_ctr, ssl->cur_out_ctr, sizeof(r->out_ctr));
    return r;
}

void tls_records_free(struct tls_records *r)
{
    if (!r)
        return;
    mbedtls_ssl_transform_free(r->keys);
    free(r->keys);
    free(r);
}

/* False at the last number: none may be used twice with one key. */
static bool count(unsigned char ctr[8])
{
    for (int i = 7; i >= 0; i--)
        if (++ctr[i])
            return true;
    return false;
}

int tls_records_seal(struct tls_records *r, int type, const void *data, size_t n, struct buf *out)
{
    size_t nonce = r->keys->ivlen - r->keys->fixed_ivlen, room = HEADER_BYTES + SEAL_MAX_BYTES + n;
    unsigned char *at = (unsigned char *)buf_space(out, room);
    mbedtls_record rec = { .type = (uint8_t)type, .ver = { 3, 3 }, .buf = at, .buf_len = room,
                           .data_offset = HEADER_BYTES + nonce, .data_len = n };

    assert(n <= TLS_RECORD_MAX_BYTES && nonce <= 8);
    memcpy(rec.ctr, r->out_ctr, sizeof(rec.ctr));
    memcpy(at + rec.data_offset, data, n);
    int rc = mbedtls_ssl_encrypt_buf(NULL, r->keys, &rec, crypto_rng, NULL);
    if (rc)
        return rc;
    if (rec.data_offset != HEADER_BYTES || !count(r->out_ctr))
        return MBEDTLS_ERR_SSL_COUNTER_WRAPPING;
    at[0] = (unsigned char)type;
    at[1] = at[2] = 3;
    at[3] = (unsigned char)(rec.data_len >> 8);
    at[4] = (unsigned char)rec.data_len;
    buf_used(out, HEADER_BYTES + rec.data_len);
    return 0;
}

int tls_records_open(struct tls_records *r, unsigned char *at, size_t n, struct tls_record *ret)
{
    if (n < HEADER_BYTES)
        return 0;
    size_t len = (size_t)(at[3] << 8 | at[4]);
    if (at[1] != 3 || at[2] != 3)
        return -TLS_ALERT_PROTOCOL_VERSION;
    if (len > TLS_RECORD_MAX_BYTES + EXPANSION_MAX_BYTES)
        return -TLS_ALERT_RECORD_OVERFLOW;
    if (n < HEADER_BYTES + len)
        return 0;
    mbedtls_record rec = { .type = at[0], .ver = { 3, 3 }, .buf = at + HEADER_BYTES, .buf_len = len, .data_len = len };
    memcpy(rec.ctr, r->in_ctr, sizeof(rec.ctr));
    if (mbedtls_ssl_decrypt_buf(NULL, r->keys, &rec) != 0)
        return -TLS_ALERT_BAD_RECORD_MAC;
    if (rec.data_len > TLS_RECORD_MAX_BYTES)
        return -TLS_ALERT_RECORD_OVERFLOW;
    if (!count(r->in_ctr))
        return -TLS_ALERT_INTERNAL_ERROR;
    *ret = (struct tls_record){ .type = at[0], .at = rec.buf + rec.data_offset, .n = rec.data_len,
                                .used = HEADER_BYTES + len };
    return 1;
}
