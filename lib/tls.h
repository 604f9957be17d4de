#ifndef LIB_TLS_H
#define LIB_TLS_H
/*
 * tls - TLS sessions without I/O. mbedTLS stands behind it and shows nowhere else.
 *
 * A session is fed ciphertext and gives plaintext, and the other way round; who owns the socket moves the bytes.
 * Contexts are shared and reference-counted: a new certificate is a new context, running sessions keep theirs.
 * An idle session that is ready keeps about 3 KB (measured; with mbedTLS's own buffers it was 39 KB); a handshake 40 KB.
 * Thread: a context any, a session one thread at a time.
 * Times of certificates are decided by the clock handed in (DESIGN decision 13).
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/err.h"

struct tls_ctx;

struct tls_config {
    bool server;
    const char *cert_pem, *key_pem;    /* chain, leaf first; NULL: none (client) */
    const char *ca_pem;                /* whom to believe; NULL on a server: no client certificates are asked for */
    bool insecure;                     /* client: take any certificate */
    const char *const *alpn;           /* ends with NULL; e.g. { "h2", "http/1.1", NULL } */
    const struct clock *clock;
};

/* Errors: BAD_REQUEST when a PEM can't be read (says which). Owner: tls_ctx_unref. */
CHECK_RC int tls_ctx_new(const struct tls_config *config, struct tls_ctx **ret, struct err *err);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *t);
void tls_ctx_unref(struct tls_ctx *t);

struct tls;

/* server_name: SNI and the name to verify (client); NULL on a server. */
struct tls *tls_new(struct tls_ctx *ctx, const char *server_name);
void tls_free(struct tls *t);

/* Ciphertext that came from the peer. Copies it (bounded: 128 KB not read yet, then IO; so after a tls_read that left nothing
 * for want of max_bytes 64 KB always fit). */
CHECK_RC int tls_feed(struct tls *t, const void *data, size_t n, struct err *err);
/* Moves the handshake and decrypts into `to`, at most max_bytes. After it look at tls_out: there may be records to send.
 * Errors: UNAUTHORIZED (the peer's certificate is refused, with why), IO (protocol, alert). */
CHECK_RC int tls_read(struct tls *t, struct buf *to, size_t max_bytes, struct err *err);
/* Encrypts; the records are in tls_out. Before the handshake is done data is queued. */
CHECK_RC int tls_write(struct tls *t, const void *data, size_t n, struct err *err);
void tls_close_notify(struct tls *t);
struct buf *tls_out(struct tls *t);      /* ciphertext to send; the caller drops what it sent (or takes
                                          * the whole; buf_clear when idle gives its memory back) */
bool tls_ready(const struct tls *t);     /* the handshake is done */
bool tls_peer_closed(const struct tls *t);
const char *tls_alpn(const struct tls *t); /* "" when none */

/* The peer's verified certificate, or false. Borrowed, live as long as the session. */
struct tls_peer {
    const char *common_name;
    const char *const *organizations; /* Kubernetes groups */
    size_t n_organizations;
    int64_t not_after_s;
    struct slice der;
};
bool tls_peer(const struct tls *t, struct tls_peer *ret);
/* Server: why a certificate that was presented is not believed, in Go's words ("x509: certificate signed by unknown
 * authority"); the handshake goes through all the same, the request then is nobody's. NULL: none was presented, or it is
 * believed. Borrowed. */
const char *tls_peer_error(const struct tls *t);

#endif
