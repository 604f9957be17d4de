#ifndef LIB_CRYPTO_H
#define LIB_CRYPTO_H
/*
 * crypto - digests, random, base64, keys, certificates, JWTs. mbedTLS stands behind it. Thread: any.
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/err.h"

enum { SHA256_BYTES = 32, SHA256_HEX_BYTES = 65 };

struct sha256; /* incremental */
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *s, const void *data, size_t n);
void sha256_end(struct sha256 *s, unsigned char ret[SHA256_BYTES]); /* frees s */
void sha256_of(const void *data, size_t n, unsigned char ret[SHA256_BYTES]);
enum { SHA1_BYTES = 20 };
void sha1_of(const void *data, size_t n, unsigned char ret[SHA1_BYTES]); /* for the WebSocket handshake; secures nothing */
char *sha256_hex(const void *data, size_t n, char ret[SHA256_HEX_BYTES]);
char *hex_of(const void *data, size_t n, char *to); /* 2n + 1 bytes */

void random_bytes(void *to, size_t n);              /* getrandom; aborts when the kernel has none */
bool constant_time_eq(const void *a, const void *b, size_t n);

void base64_write(const void *data, size_t n, struct buf *to);     /* standard alphabet, padded */
void base64url_write(const void *data, size_t n, struct buf *to);  /* no padding */
/* Standard or URL alphabet, padded or not, white space refused. -1 when it is none. */
int base64_read(const char *text, size_t n, struct buf *to);

/* PBKDF2-HMAC-SHA256, for stored password hashes. */
void pbkdf2_sha256(const char *password, const void *salt, size_t n_salt, int rounds, unsigned char ret[SHA256_BYTES]);

/* --- keys and certificates (EC P-256; reading takes RSA too). PEM in, PEM out --- */

/* A new private key, "EC PRIVATE KEY" PEM. */
char *key_new_pem(void);

struct cert_spec {
    const char *common_name;
    const char *const *organizations; /* ends with NULL; NULL allowed */
    const char *const *dns_names;     /* ends with NULL; NULL allowed */
    const char *const *ips;           /* text; ends with NULL; NULL allowed */
    bool ca, server_auth, client_auth;
    int64_t not_before_s, not_after_s;
};

/* Signs a certificate for the public half of key_pem. ca_cert_pem NULL: self-signed with key_pem.
 * Owner: *ret_pem is the caller's. Errors: BAD_REQUEST (a PEM or name is bad). */
CHECK_RC int cert_sign(const struct cert_spec *spec, const char *key_pem, const char *ca_cert_pem, const char *ca_key_pem,
                       char **ret_pem, struct err *err);
/* The same for the public key in a PKCS#10 request (DER or PEM), whose signature is checked; its subject is ignored. */
CHECK_RC int cert_sign_csr(const struct cert_spec *spec, const void *csr, size_t n, const char *ca_cert_pem,
                           const char *ca_key_pem, char **ret_pem, struct err *err);
/* A request in DER. */
CHECK_RC int csr_new(const char *common_name, const char *const *organizations, const char *key_pem, struct bytes **ret_der,
                     struct err *err);

/* The same with the spec's DNS names and addresses as requested extensions; usages and times are the signer's. */
CHECK_RC int csr_new_spec(const struct cert_spec *spec, const char *key_pem, struct bytes **ret_der, struct err *err);

struct cert_info {
    char *common_name;
    char **organizations, **dns_names, **ips; /* end with NULL */
    int64_t not_before_s, not_after_s;
    bool ca;
    bool client_auth, server_auth;
};
CHECK_RC int cert_info(const char *pem, struct cert_info *ret, struct err *err);
/* Subject and SANs of a request (PEM or DER). */
CHECK_RC int csr_info(const void *csr, size_t n, struct cert_info *ret, struct err *err);
void cert_info_clear(struct cert_info *info);

/* --- JWT, ES256 and RS256 (verify both; sign by the key's kind) --- */

struct jwt_key; /* a parsed key, private or public; or the public key of a certificate */
CHECK_RC int jwt_key_new(const char *pem, struct jwt_key **ret, struct err *err);
void jwt_key_free(struct jwt_key *k);
const char *jwt_key_id(const struct jwt_key *k); /* base64url(sha256(DER SubjectPublicKeyInfo)), as Kubernetes' kid */
/* The public key as a JWK object text, for JWKS. */
void jwt_key_jwk(const struct jwt_key *k, struct buf *to);
CHECK_RC int jwt_sign(const struct jwt_key *k, const char *claims_json, size_t n, struct buf *to, struct err *err);
/* Checks form and signature against the key with the token's kid (else all); claims are the caller's to judge.
 * Errors: UNAUTHORIZED. */
CHECK_RC int jwt_verify(struct jwt_key *const *keys, size_t n_keys, const char *token, size_t n, struct buf *ret_claims,
                        struct err *err);

#endif
