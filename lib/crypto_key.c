#include "lib/crypto_int.h"
#include "lib/mem.h"

#include <assert.h>
#include <mbedtls/asn1.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/platform_util.h>
#include <string.h>

enum { KEY_DER_MAX_BYTES = 4096 }; /* an RSA key of 16,384 bits has 2 KB of modulus */

const char *crypto_error_text(int rc, char to[CRYPTO_ERROR_TEXT_BYTES])
{
    mbedtls_strerror(rc, to, CRYPTO_ERROR_TEXT_BYTES);
    return to;
}

char *key_new_pem(void)
{
    AUTO(pk) mbedtls_pk_context pk;
    unsigned char pem[512];

    mbedtls_pk_init(&pk);
    int rc = mbedtls_pk_setup(&pk, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    if (rc == 0)
        rc = mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(pk), crypto_rng, NULL);
    if (rc == 0)
        rc = mbedtls_pk_write_key_pem(&pk, pem, sizeof(pem));
    assert(rc == 0 && "a new key only fails without memory");
    char *text = mem_strdup((const char *)pem);
    mbedtls_platform_zeroize(pem, sizeof(pem));
    return text;
}

/* Moves to the key's block: "EC PARAMETERS", which openssl writes before the key, and certificates may stand before it. */
static const char *key_block(const char *pem)
{
    for (const char *at = pem; (at = strstr(at, "-----BEGIN ")); at++) {
        const char *end = strstr(at + 11, "-----");

        if (!end)
            return pem;
        if (end - at >= 11 + 11 && memcmp(end - 11, "PRIVATE KEY", 11) == 0)
            return at;
    }
    return pem;
}

int crypto_private_key(const char *pem, mbedtls_pk_context *ret, struct err *err)
{
    AUTO(pk) mbedtls_pk_context pk;
    char text[CRYPTO_ERROR_TEXT_BYTES];

    mbedtls_pk_init(&pk);
    pem = key_block(pem);
    size_t n = strnlen(pem, CRYPTO_PEM_MAX_BYTES);
    if (n == CRYPTO_PEM_MAX_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "private key: more than %d bytes", CRYPTO_PEM_MAX_BYTES);
    int rc = mbedtls_pk_parse_key(&pk, (const unsigned char *)pem, n + 1, NULL, 0);
    if (rc)
        return err_set(err, ERR_BAD_REQUEST, "private key: %s", crypto_error_text(rc, text));
    mbedtls_pk_free(ret);
    *ret = pk;
    mbedtls_pk_init(&pk);
    return 0;
}

void crypto_key_share(mbedtls_pk_context *pk)
{
    if (mbedtls_pk_get_type(pk) != MBEDTLS_PK_ECKEY)
        return;
    mbedtls_ecp_keypair *ec = mbedtls_pk_ec(*pk);
    if (mbedtls_ecp_get_type(&ec->grp) != MBEDTLS_ECP_TYPE_SHORT_WEIERSTRASS)
        return;
    mbedtls_mpi one;
    mbedtls_ecp_point r;
    mbedtls_mpi_init(&one);
    mbedtls_ecp_point_init(&r);
    /* Any multiple of the generator but the trivial ones fills grp.T. */
    int rc = mbedtls_mpi_lset(&one, 0x5eed);
    if (rc == 0)
        rc = mbedtls_ecp_mul(&ec->grp, &r, &one, &ec->grp.G, crypto_rng, NULL);
    mbedtls_ecp_point_free(&r);
    mbedtls_mpi_free(&one);
    if (rc == 0 && ec->grp.T)
        pk->pk_info = mbedtls_pk_info_from_type(MBEDTLS_PK_ECDSA); /* the same struct behind it */
}

int crypto_certs(const char *pem, bool lenient, mbedtls_x509_crt *ret, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];
    size_t n = strnlen(pem, CRYPTO_PEM_MAX_BYTES);

    if (n == CRYPTO_PEM_MAX_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "certificate: more than %d bytes", CRYPTO_PEM_MAX_BYTES);
    if (!strstr(pem, "-----BEGIN CERTIFICATE-----"))
        return err_set(err, ERR_BAD_REQUEST, "certificate: no CERTIFICATE block in the PEM");
    int rc = mbedtls_x509_crt_parse(ret, (const unsigned char *)pem, n + 1);
    if (rc < 0)
        return err_set(err, ERR_BAD_REQUEST, "certificate: %s", crypto_error_text(rc, text));
    if (rc > 0 && !lenient)
        return err_set(err, ERR_BAD_REQUEST, "certificate: %d of the blocks can't be read", rc);
    return 0;
}

int crypto_spki(mbedtls_pk_context *pk, struct buf *to, struct err *err)
{
    unsigned char der[KEY_DER_MAX_BYTES];
    char text[CRYPTO_ERROR_TEXT_BYTES];
    mbedtls_pk_context plain = *pk;

    /* The ECDSA kind has no name of its own in a SubjectPublicKeyInfo. */
    if (mbedtls_pk_get_type(pk) == MBEDTLS_PK_ECDSA)
        plain.pk_info = mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY);
    int n = mbedtls_pk_write_pubkey_der(&plain, der, sizeof(der));
    if (n < 0)
        return err_set(err, ERR_BAD_REQUEST, "public key: %s", crypto_error_text(n, text));
    buf_add(to, der + sizeof(der) - n, (size_t)n);
    return 0;
}

void crypto_sign_algorithm(mbedtls_pk_context *pk, struct buf *to)
{
    size_t seq = der_begin(to, MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE);

    if (mbedtls_pk_can_do(pk, MBEDTLS_PK_RSA)) {
        der_oid(to, DER_OID(MBEDTLS_OID_PKCS1_SHA256));
        der_value(to, MBEDTLS_ASN1_NULL, NULL, 0);
    } else {
        der_oid(to, DER_OID(MBEDTLS_OID_ECDSA_SHA256));
    }
    der_end(to, seq);
}

int crypto_sign_der(mbedtls_pk_context *pk, const void *data, size_t n, struct buf *to, struct err *err)
{
    unsigned char digest[SHA256_BYTES], sig[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    char text[CRYPTO_ERROR_TEXT_BYTES];
    size_t n_sig = 0;

    if (!mbedtls_pk_can_do(pk, MBEDTLS_PK_RSA) && !mbedtls_pk_can_do(pk, MBEDTLS_PK_ECDSA))
        return err_set(err, ERR_BAD_REQUEST, "private key: its kind can't sign certificates");
    sha256_of(data, n, digest);
    int rc = mbedtls_pk_sign(pk, MBEDTLS_MD_SHA256, digest, sizeof(digest), sig, &n_sig, crypto_rng, NULL);
    if (rc)
        return err_set(err, ERR_IO, "sign: %s", crypto_error_text(rc, text));
    crypto_sign_algorithm(pk, to);
    size_t bits = der_begin(to, MBEDTLS_ASN1_BIT_STRING);
    buf_char(to, 0);
    buf_add(to, sig, n_sig);
    der_end(to, bits);
    return 0;
}
