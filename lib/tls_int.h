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

/* "bad certificate" and so on for an alert's number, as Go's crypto/tls. */
const char *tls_alert_text(int alert);

#endif
