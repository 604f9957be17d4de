#ifndef LIB_TLS_INT_H
#define LIB_TLS_INT_H
/*
 * tls_int - what the tls files share: the context's inside, and the judgement on a peer's certificate.
 */
#include "lib/crypto_int.h"
#include "lib/tls.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>

enum { TLS_ALPN_MAX = 8, TLS_WHY_BYTES = 320 };

struct tls_ctx {
    _Atomic int refs;
    bool server, insecure;
    const struct clock *clock;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt chain, ca;
    mbedtls_pk_context key;
    mbedtls_ssl_ticket_context tickets;
    char *alpn[TLS_ALPN_MAX + 1];
};

/* What the verify callback needs; lives as long as the session. */
struct tls_judge {
    const struct clock *clock;
    const char *server_name; /* NULL: names don't matter */
    uint32_t seen;           /* flags of the chain so far */
    char why[TLS_WHY_BYTES]; /* "" or what was wrong */
};

/* mbedTLS's verify callback: takes its opinion on times and names back and puts ours in its place. */
int tls_judge_cert(void *judge, mbedtls_x509_crt *crt, int depth, uint32_t *flags);
/* Looks at a leaf again whose chain was judged in the session that is resumed now. */
uint32_t tls_judge_again(const struct tls_judge *judge, const mbedtls_x509_crt *leaf, uint32_t flags);
/* Why these flags refuse the leaf, in the words of Go's crypto/x509. */
void tls_judge_why(const struct tls_judge *judge, const mbedtls_x509_crt *leaf, uint32_t flags,
                   char to[TLS_WHY_BYTES]);

/* --- records after the handshake --- */

enum {
    TLS_RECORD_MAX_BYTES = 16384, /* of plaintext */
    TLS_TYPE_ALERT = 21,
    TLS_TYPE_HANDSHAKE = 22,
    TLS_TYPE_DATA = 23,
    TLS_ALERT_CLOSE_NOTIFY = 0,
    TLS_ALERT_UNEXPECTED_MESSAGE = 10,
    TLS_ALERT_BAD_RECORD_MAC = 20,
    TLS_ALERT_RECORD_OVERFLOW = 22,
    TLS_ALERT_DECODE_ERROR = 50,
    TLS_ALERT_PROTOCOL_VERSION = 70,
    TLS_ALERT_INTERNAL_ERROR = 80,
    TLS_ALERT_NO_RENEGOTIATION = 100,
};

struct tls_records;
/* Takes the keys and counters out of a session whose handshake is done; mbedtls_ssl_free is all that may follow for it. */
struct tls_records *tls_records_take(mbedtls_ssl_context *ssl);
void tls_records_free(struct tls_records *r);
/* Appends one sealed record of at most TLS_RECORD_MAX_BYTES. 0 or mbedTLS's error. */
int tls_records_seal(struct tls_records *r, int type, const void *data, size_t n, struct buf *out);

struct tls_record {
    int type;
    unsigned char *at; /* plaintext, in the place of the ciphertext */
    size_t n, used;    /* used: bytes of the whole record */
};
/* Opens the record that begins at `at`, in place. 1: *ret is set; 0: it is not all there; else minus the alert to send. */
int tls_records_open(struct tls_records *r, unsigned char *at, size_t n, struct tls_record *ret);

/* "bad certificate" and so on for an alert's number, as Go's crypto/tls. */
const char *tls_alert_text(int alert);

#endif
