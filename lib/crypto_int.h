#ifndef LIB_CRYPTO_INT_H
#define LIB_CRYPTO_INT_H
/*
 * crypto_int - what the crypto and tls files share: random for mbedTLS, loaded keys, DER, names. Thread: any.
 */
#include "lib/bytes.h"
#include "lib/crypto.h"
#include "lib/err.h"

#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <mbedtls/x509_csr.h>

enum {
    CRYPTO_PEM_MAX_BYTES = 4 * 1024 * 1024, /* the largest PEM bundle we read */
    CRYPTO_CSR_MAX_BYTES = 64 * 1024,
    CRYPTO_NAMES_MAX = 1024, /* names in one certificate: DNS, IP, organizations each */
};

/* mbedTLS's random callback: getrandom, no state. */
int crypto_rng(void *unused, unsigned char *to, size_t n);

/* The text for an mbedTLS return code; `to` is returned. */
enum { CRYPTO_ERROR_TEXT_BYTES = 160 };
const char *crypto_error_text(int rc, char to[CRYPTO_ERROR_TEXT_BYTES]);

/* --- keys --- */

static inline void auto_pk(mbedtls_pk_context *pk)
{
    mbedtls_pk_free(pk);
}
static inline void auto_crt(mbedtls_x509_crt *crt)
{
    mbedtls_x509_crt_free(crt);
}
static inline void auto_csr(mbedtls_x509_csr *csr)
{
    mbedtls_x509_csr_free(csr);
}

/* A private key of any PEM kind. */
CHECK_RC int crypto_private_key(const char *pem, mbedtls_pk_context *ret, struct err *err);

/* Makes an EC key fit to be shared by threads and quick to use: mbedTLS copies the group of an ECKEY for each operation
 * and computes its table of multiples again; as ECDSA it uses the key's own group, whose table we fill here, once. */
void crypto_key_share(mbedtls_pk_context *pk);

/* Reads certificates. lenient: what can't be read is skipped while one can (bundles). */
CHECK_RC int crypto_certs(const char *pem, bool lenient, mbedtls_x509_crt *ret, struct err *err);

/* Reads a PKCS#10 request, PEM or DER; its signature is not checked. */
CHECK_RC int crypto_csr(const void *data, size_t n, mbedtls_x509_csr *ret, struct err *err);

/* DER of the SubjectPublicKeyInfo, appended. */
CHECK_RC int crypto_spki(mbedtls_pk_context *pk, struct buf *to, struct err *err);

/* Signs sha256(data) with the key; appends AlgorithmIdentifier and BIT STRING. */
CHECK_RC int crypto_sign_der(mbedtls_pk_context *pk, const void *data, size_t n, struct buf *to, struct err *err);
/* The AlgorithmIdentifier of that signature. */
void crypto_sign_algorithm(mbedtls_pk_context *pk, struct buf *to);

/* Seconds since 1970. */
int64_t crypto_time_s(const mbedtls_x509_time *t);

/* --- DER, written forwards: der_begin, content, der_end(begin's result) --- */

struct der_oid {
    const char *at;
    size_t n;
};
#define DER_OID(text) ((struct der_oid){ (text), sizeof(text) - 1 })

size_t der_begin(struct buf *to, int tag);
void der_end(struct buf *to, size_t begun);
void der_value(struct buf *to, int tag, const void *data, size_t n);
void der_oid(struct buf *to, struct der_oid oid);
void der_time(struct buf *to, int64_t at_s);
/* Organizations, then the common name, each an RDN of its own. */
void der_subject(struct buf *to, const char *common_name, const char *const *organizations);
/* The GeneralNames value of a subjectAltName. Errors: BAD_REQUEST (an address is none). */
CHECK_RC int der_alt_names(struct buf *to, const char *const *dns_names, const char *const *ips, struct err *err);
/* Starts an Extension up to the inside of its OCTET STRING; der_ext_end closes it. */
struct der_ext {
    size_t ext, octets;
};
struct der_ext der_ext_begin(struct buf *to, struct der_oid oid, bool critical);
void der_ext_end(struct buf *to, struct der_ext e);

/* The value of an extension in a SEQUENCE OF Extension. 1 found, 0 absent, -1 malformed. */
int der_ext_find(const void *exts, size_t n, struct der_oid oid, struct slice *ret);
/* The requested extensions (SEQUENCE OF Extension) of a CertificationRequestInfo. Returns the same. */
int der_csr_extensions(const void *cri, size_t n, struct slice *ret);
enum { DER_NAME_DNS = 2, DER_NAME_IP = 7 };
/* Calls fn for each GeneralName until it returns other than 0, and returns that; -1 malformed. */
int der_alt_names_each(struct slice san, int (*fn)(void *arg, int kind, struct slice name), void *arg);

/* --- names --- */

/* Copies the common name and organizations of a subject; "" when there is no common name; the last one counts, as in Go.
 * Errors: BAD_REQUEST (a NUL inside, too many). Owner: the caller's, also on failure (cert_info_clear). */
CHECK_RC int crypto_subject(const mbedtls_x509_name *subject, struct cert_info *ret, struct err *err);
/* Copies the DNS names and addresses of a subjectAltName value. */
CHECK_RC int crypto_alt_names(struct slice san, struct cert_info *ret, struct err *err);
/* The whole of one parsed certificate. */
CHECK_RC int crypto_crt_info(const mbedtls_x509_crt *crt, struct cert_info *ret, struct err *err);

#endif
