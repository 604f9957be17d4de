/* Source: RFC 5280 4.1, 4.2; RFC 2986 (PKCS#10); RFC 7093 2 (key identifiers). */
#include "lib/crypto_int.h"
#include "lib/mem.h"

#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <string.h>

#define SEQUENCE (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE)
#define CONTEXT  (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_CONTEXT_SPECIFIC)

enum { KEY_ID_BYTES = 20, SERIAL_BYTES = 16 };

static const int64_t time_max_s = 253402300799; /* 9999-12-31T23:59:59Z: what a certificate can say */

/* Who signs: itself (crt empty) or a CA. */
struct issuer {
    mbedtls_x509_crt crt;
    mbedtls_pk_context key;
};

static void auto_issuer(struct issuer *issuer)
{
    mbedtls_x509_crt_free(&issuer->crt);
    mbedtls_pk_free(&issuer->key);
}

static int issuer_read(struct issuer *issuer, const char *cert_pem, const char *key_pem, struct err *err)
{
    if (cert_pem) {
        int rc = crypto_certs(cert_pem, false, &issuer->crt, err);

        if (rc < 0)
            return err_wrap(err, "CA");
    }
    int rc = crypto_private_key(key_pem, &issuer->key, err);
    if (rc < 0)
        return cert_pem ? err_wrap(err, "CA") : rc;
    if (cert_pem && mbedtls_pk_check_pair(&issuer->crt.pk, &issuer->key) != 0)
        return err_set(err, ERR_BAD_REQUEST, "CA: the private key does not belong to the certificate");
    return 0;
}

/* The first 160 bits of the SHA-256 of the public key's bits. */
static int key_id(mbedtls_pk_context *pk, unsigned char ret[SHA256_BYTES], struct err *err)
{
    AUTO(buf) struct buf spki = { 0 };

    int rc = crypto_spki(pk, &spki, err);
    if (rc < 0)
        return rc;
    /* SEQUENCE { AlgorithmIdentifier, BIT STRING }: what is hashed follows the string's count of unused bits. */
    unsigned char *p = (unsigned char *)spki.b->at, *end = p + buf_len(&spki);
    size_t n = 0;
    if (mbedtls_asn1_get_tag(&p, end, &n, SEQUENCE) != 0 || mbedtls_asn1_get_tag(&p, end, &n, SEQUENCE) != 0)
        return err_set(err, ERR_BAD_REQUEST, "public key: malformed");
    p += n;
    if (mbedtls_asn1_get_bitstring_null(&p, end, &n) != 0)
        return err_set(err, ERR_BAD_REQUEST, "public key: malformed");
    sha256_of(p, n, ret);
    return 0;
}

static void write_key_usage(bool ca, struct buf *to)
{
    struct der_ext e = der_ext_begin(to, DER_OID(MBEDTLS_OID_KEY_USAGE), true);

    if (ca) /* digitalSignature, keyCertSign, cRLSign */
        der_value(to, MBEDTLS_ASN1_BIT_STRING, "\x01\x86", 2);
    else /* digitalSignature, keyEncipherment */
        der_value(to, MBEDTLS_ASN1_BIT_STRING, "\x05\xa0", 2);
    der_ext_end(to, e);
}

static void write_ext_key_usage(const struct cert_spec *spec, struct buf *to)
{
    if (!spec->server_auth && !spec->client_auth)
        return;
    struct der_ext e = der_ext_begin(to, DER_OID(MBEDTLS_OID_EXTENDED_KEY_USAGE), false);
    size_t seq = der_begin(to, SEQUENCE);

    if (spec->server_auth)
        der_oid(to, DER_OID(MBEDTLS_OID_SERVER_AUTH));
    if (spec->client_auth)
        der_oid(to, DER_OID(MBEDTLS_OID_CLIENT_AUTH));
    der_end(to, seq);
    der_ext_end(to, e);
}

static void write_basic_constraints(bool ca, struct buf *to)
{
    struct der_ext e = der_ext_begin(to, DER_OID(MBEDTLS_OID_BASIC_CONSTRAINTS), true);
    size_t seq = der_begin(to, SEQUENCE);

    if (ca)
        der_value(to, MBEDTLS_ASN1_BOOLEAN, "\xff", 1);
    der_end(to, seq);
    der_ext_end(to, e);
}

static int write_key_ids(struct issuer *issuer, mbedtls_pk_context *subject, struct buf *to, struct err *err)
{
    unsigned char own[SHA256_BYTES], theirs[SHA256_BYTES];
    struct slice id = { 0 }, ext = { 0 };

    int rc = key_id(subject, own, err);
    if (rc < 0)
        return rc;
    struct der_ext e = der_ext_begin(to, DER_OID(MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER), false);
    der_value(to, MBEDTLS_ASN1_OCTET_STRING, own, KEY_ID_BYTES);
    der_ext_end(to, e);

    /* The issuer's own name for its key, where it has one. */
    if (issuer->crt.raw.p
        && der_ext_find(issuer->crt.v3_ext.p, issuer->crt.v3_ext.len, DER_OID(MBEDTLS_OID_SUBJECT_KEY_IDENTIFIER), &ext) > 0
        && ext.n > 2 && ext.at[0] == MBEDTLS_ASN1_OCTET_STRING && (size_t)(unsigned char)ext.at[1] == ext.n - 2) {
        id = (struct slice){ ext.at + 2, ext.n - 2 };
    } else {
        rc = key_id(&issuer->key, theirs, err);
        if (rc < 0)
            return rc;
        id = (struct slice){ (const char *)theirs, KEY_ID_BYTES };
    }
    e = der_ext_begin(to, DER_OID(MBEDTLS_OID_AUTHORITY_KEY_IDENTIFIER), false);
    size_t seq = der_begin(to, SEQUENCE);
    der_value(to, MBEDTLS_ASN1_CONTEXT_SPECIFIC | 0, id.at, id.n);
    der_end(to, seq);
    der_ext_end(to, e);
    return 0;
}

static int write_san(const struct cert_spec *spec, struct buf *to, struct err *err)
{
    if ((!spec->dns_names || !*spec->dns_names) && (!spec->ips || !*spec->ips))
        return 0;
    bool no_subject = (!spec->common_name || !*spec->common_name) && (!spec->organizations || !*spec->organizations);
    struct der_ext e = der_ext_begin(to, DER_OID(MBEDTLS_OID_SUBJECT_ALT_NAME), no_subject);
    int rc = der_alt_names(to, spec->dns_names, spec->ips, err);

    der_ext_end(to, e);
    return rc;
}

static void write_serial(struct buf *to)
{
    unsigned char serial[SERIAL_BYTES];

    random_bytes(serial, sizeof(serial));
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and no leading zero */
    der_value(to, MBEDTLS_ASN1_INTEGER, serial, sizeof(serial));
}

static int write_tbs(const struct cert_spec *spec, struct issuer *issuer, mbedtls_pk_context *subject, struct buf *to,
                     struct err *err)
{
    size_t tbs = der_begin(to, SEQUENCE), version = der_begin(to, CONTEXT | 0);

    der_value(to, MBEDTLS_ASN1_INTEGER, "\x02", 1);
    der_end(to, version);
    write_serial(to);
    crypto_sign_algorithm(&issuer->key, to);
    if (issuer->crt.raw.p)
        buf_add(to, issuer->crt.subject_raw.p, issuer->crt.subject_raw.len);
    else
        der_subject(to, spec->common_name, spec->organizations);
    size_t validity = der_begin(to, SEQUENCE);
    der_time(to, spec->not_before_s);
    der_time(to, spec->not_after_s);
    der_end(to, validity);
    der_subject(to, spec->common_name, spec->organizations);
    int rc = crypto_spki(subject, to, err);
    if (rc < 0)
        return rc;
    size_t wrap = der_begin(to, CONTEXT | 3), exts = der_begin(to, SEQUENCE);
    write_key_usage(spec->ca, to);
    write_ext_key_usage(spec, to);
    write_basic_constraints(spec->ca, to);
    rc = write_key_ids(issuer, subject, to, err);
    if (rc == 0)
        rc = write_san(spec, to, err);
    der_end(to, exts);
    der_end(to, wrap);
    der_end(to, tbs);
    return rc;
}

static char *pem_of(const char *kind, const void *der, size_t n)
{
    AUTO(buf) struct buf base64 = { 0 };
    struct buf pem = { 0 };

    base64_write(der, n, &base64);
    buf_printf(&pem, "-----BEGIN %s-----\n", kind);
    for (size_t at = 0; at < buf_len(&base64); at += 64) {
        size_t line = buf_len(&base64) - at;

        buf_add(&pem, buf_at(&base64) + at, line < 64 ? line : 64);
        buf_char(&pem, '\n');
    }
    buf_printf(&pem, "-----END %s-----\n", kind);
    return buf_take_str(&pem);
}

static int spec_check(const struct cert_spec *spec, struct err *err)
{
    if (spec->not_before_s < 0 || spec->not_after_s > time_max_s || spec->not_after_s < spec->not_before_s)
        return err_set(err, ERR_BAD_REQUEST, "certificate: it would be valid from %lld to %lld",
                       (long long)spec->not_before_s, (long long)spec->not_after_s);
    return 0;
}

static int sign_for(const struct cert_spec *spec, mbedtls_pk_context *subject, struct issuer *issuer, char **ret_pem,
                    struct err *err)
{
    AUTO(buf) struct buf tbs = { 0 };

    int rc = spec_check(spec, err);
    if (rc == 0)
        rc = write_tbs(spec, issuer, subject, &tbs, err);
    if (rc < 0)
        return rc;
    AUTO(buf) struct buf cert = { 0 };
    size_t seq = der_begin(&cert, SEQUENCE);
    buf_add(&cert, buf_at(&tbs), buf_len(&tbs));
    rc = crypto_sign_der(&issuer->key, buf_at(&tbs), buf_len(&tbs), &cert, err);
    if (rc < 0)
        return rc;
    der_end(&cert, seq);
    *ret_pem = pem_of("CERTIFICATE", buf_at(&cert), buf_len(&cert));
    return 0;
}

static int sign_with(const struct cert_spec *spec, mbedtls_pk_context *subject, const char *ca_cert_pem,
                     const char *ca_key_pem, char **ret_pem, struct err *err)
{
    AUTO(issuer) struct issuer issuer;

    mbedtls_x509_crt_init(&issuer.crt);
    mbedtls_pk_init(&issuer.key);
    int rc = issuer_read(&issuer, ca_cert_pem, ca_key_pem, err);
    return rc < 0 ? rc : sign_for(spec, subject, &issuer, ret_pem, err);
}

int cert_sign(const struct cert_spec *spec, const char *key_pem, const char *ca_cert_pem, const char *ca_key_pem,
              char **ret_pem, struct err *err)
{
    AUTO(pk) mbedtls_pk_context subject;

    mbedtls_pk_init(&subject);
    int rc = crypto_private_key(key_pem, &subject, err);
    if (rc == 0)
        rc = sign_with(spec, &subject, ca_cert_pem, ca_cert_pem ? ca_key_pem : key_pem, ret_pem, err);
    return rc < 0 ? err_wrap(err, "certificate for \"%s\"", spec->common_name ? spec->common_name : "") : 0;
}

int crypto_csr(const void *data, size_t n, mbedtls_x509_csr *ret, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];
    int rc;

    if (n > CRYPTO_CSR_MAX_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "certificate request: more than %d bytes", CRYPTO_CSR_MAX_BYTES);
    if (n > 11 && memcmp(data, "-----BEGIN ", 11) == 0) {
        AUTO_FREE char *pem = slice_dup((struct slice){ data, n }); /* the parser wants the NUL */

        rc = mbedtls_x509_csr_parse(ret, (const unsigned char *)pem, strlen(pem) + 1);
    } else {
        rc = mbedtls_x509_csr_parse_der(ret, data, n);
    }
    if (rc)
        return err_set(err, ERR_BAD_REQUEST, "certificate request: %s", crypto_error_text(rc, text));
    return 0;
}

/* mbedTLS reads requests but leaves the proof that the sender has the key to us. */
static int csr_check_signature(mbedtls_x509_csr *csr, struct err *err)
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(csr->sig_md);
    unsigned char digest[MBEDTLS_MD_MAX_SIZE];

    if (!md || csr->sig_md < MBEDTLS_MD_SHA224 || csr->sig_md > MBEDTLS_MD_SHA512)
        return err_set(err, ERR_BAD_REQUEST, "certificate request: its signature's digest is not supported");
    if (mbedtls_md(md, csr->cri.p, csr->cri.len, digest) != 0
        || mbedtls_pk_verify_ext(csr->sig_pk, csr->sig_opts, &csr->pk, csr->sig_md, digest, mbedtls_md_get_size(md),
                                 csr->sig.p, csr->sig.len) != 0)
        return err_set(err, ERR_BAD_REQUEST, "certificate request: its signature is not valid");
    return 0;
}

int cert_sign_csr(const struct cert_spec *spec, const void *csr_data, size_t n, const char *ca_cert_pem,
                  const char *ca_key_pem, char **ret_pem, struct err *err)
{
    AUTO(csr) mbedtls_x509_csr csr;

    mbedtls_x509_csr_init(&csr);
    int rc = crypto_csr(csr_data, n, &csr, err);
    if (rc == 0)
        rc = csr_check_signature(&csr, err);
    if (rc == 0)
        rc = sign_with(spec, &csr.pk, ca_cert_pem, ca_key_pem, ret_pem, err);
    return rc < 0 ? err_wrap(err, "certificate for \"%s\"", spec->common_name ? spec->common_name : "") : 0;
}

static int write_csr_attributes(const struct cert_spec *spec, struct buf *to, struct err *err)
{
    size_t attrs = der_begin(to, CONTEXT | 0);
    int rc = 0;

    if ((spec->dns_names && *spec->dns_names) || (spec->ips && *spec->ips)) {
        size_t attr = der_begin(to, SEQUENCE);

        der_oid(to, DER_OID(MBEDTLS_OID_PKCS9 "\x0e"));
        size_t set = der_begin(to, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SET), exts = der_begin(to, SEQUENCE);
        rc = write_san(spec, to, err);
        der_end(to, exts);
        der_end(to, set);
        der_end(to, attr);
    }
    der_end(to, attrs);
    return rc;
}

int csr_new_spec(const struct cert_spec *spec, const char *key_pem, struct bytes **ret_der, struct err *err)
{
    AUTO(pk) mbedtls_pk_context key;
    AUTO(buf) struct buf cri = { 0 };
    AUTO(buf) struct buf csr = { 0 };

    mbedtls_pk_init(&key);
    int rc = crypto_private_key(key_pem, &key, err);
    if (rc < 0)
        return err_wrap(err, "certificate request");
    size_t info = der_begin(&cri, SEQUENCE);
    der_value(&cri, MBEDTLS_ASN1_INTEGER, "\0", 1);
    der_subject(&cri, spec->common_name, spec->organizations);
    rc = crypto_spki(&key, &cri, err);
    if (rc == 0)
        rc = write_csr_attributes(spec, &cri, err);
    der_end(&cri, info);
    size_t seq = der_begin(&csr, SEQUENCE);
    buf_add(&csr, buf_at(&cri), buf_len(&cri));
    if (rc == 0)
        rc = crypto_sign_der(&key, buf_at(&cri), buf_len(&cri), &csr, err);
    der_end(&csr, seq);
    if (rc < 0)
        return err_wrap(err, "certificate request");
    *ret_der = buf_take(&csr);
    return 0;
}

int csr_new(const char *common_name, const char *const *organizations, const char *key_pem, struct bytes **ret_der,
            struct err *err)
{
    struct cert_spec spec = { .common_name = common_name, .organizations = organizations };

    return csr_new_spec(&spec, key_pem, ret_der, err);
}
