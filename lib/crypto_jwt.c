/*
 * Source: RFC 7515 (JWS compact form), 7517 (JWK), 7518 3.3, 3.4, 6.2, 6.3; Kubernetes pkg/serviceaccount/jwt.go for the
 * key id and openidmetadata.go for the members of a JWK.
 */
#include "lib/crypto_int.h"
#include "lib/json.h"
#include "lib/mem.h"

#include <mbedtls/ecdsa.h>
#include <mbedtls/platform_util.h>
#include <string.h>

enum {
    JWT_MAX_BYTES = 64 * 1024,
    JWT_HEADER_MAX_BYTES = 4096,
    JWT_KEY_ID_BYTES = 64,
    JWT_SIG_MAX_BYTES = 2048,
    EC_SIDE_MAX_BYTES = 66, /* P-521 */
};

struct jwt_alg {
    const char *name;
    mbedtls_md_type_t md;
    mbedtls_ecp_group_id group; /* NONE for RSA */
    const char *curve;
    size_t side_bytes; /* of r and s, of x and y */
};

static const struct jwt_alg jwt_algs[] = {
    { "RS256", MBEDTLS_MD_SHA256, MBEDTLS_ECP_DP_NONE, NULL, 0 }, /* first: what an RSA key signs with */
    { "ES256", MBEDTLS_MD_SHA256, MBEDTLS_ECP_DP_SECP256R1, "P-256", 32 },
    { "ES384", MBEDTLS_MD_SHA384, MBEDTLS_ECP_DP_SECP384R1, "P-384", 48 },
    { "ES512", MBEDTLS_MD_SHA512, MBEDTLS_ECP_DP_SECP521R1, "P-521", 66 },
};

struct jwt_key {
    mbedtls_pk_context pk;
    const struct jwt_alg *alg;
    bool private;
    char id[JWT_KEY_ID_BYTES];
};

static const struct jwt_alg *alg_of(mbedtls_pk_context *pk)
{
    mbedtls_ecp_group_id group = MBEDTLS_ECP_DP_NONE;

    if (mbedtls_pk_can_do(pk, MBEDTLS_PK_ECDSA))
        group = mbedtls_pk_ec(*pk)->grp.id;
    else if (!mbedtls_pk_can_do(pk, MBEDTLS_PK_RSA))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(jwt_algs); i++)
        if (jwt_algs[i].group == group)
            return &jwt_algs[i];
    return NULL;
}

static int read_public(const char *pem, mbedtls_pk_context *pk, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];

    if (strstr(pem, "-----BEGIN CERTIFICATE-----")) {
        AUTO(crt) mbedtls_x509_crt crt;

        mbedtls_x509_crt_init(&crt);
        int rc = crypto_certs(pem, true, &crt, err);
        if (rc < 0)
            return rc;
        *pk = crt.pk;
        mbedtls_pk_init(&crt.pk);
        return 0;
    }
    int rc = mbedtls_pk_parse_public_key(pk, (const unsigned char *)pem, strlen(pem) + 1);
    if (rc)
        return err_set(err, ERR_BAD_REQUEST, "public key: %s", crypto_error_text(rc, text));
    return 0;
}

static void key_name(struct jwt_key *k, const struct buf *spki)
{
    unsigned char digest[SHA256_BYTES];
    AUTO(buf) struct buf id = { 0 };

    sha256_of(buf_at(spki), buf_len(spki), digest);
    base64url_write(digest, sizeof(digest), &id);
    memcpy(k->id, buf_at(&id), buf_len(&id) + 1);
}

static void auto_jwt_key(struct jwt_key **k)
{
    jwt_key_free(*k);
}

int jwt_key_new(const char *pem, struct jwt_key **ret, struct err *err)
{
    AUTO(jwt_key) struct jwt_key *k = MEM_NEW(struct jwt_key);
    AUTO(buf) struct buf spki = { 0 };

    mbedtls_pk_init(&k->pk);
    if (strnlen(pem, CRYPTO_PEM_MAX_BYTES) == CRYPTO_PEM_MAX_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "key: more than %d bytes", CRYPTO_PEM_MAX_BYTES);
    k->private = strstr(pem, "PRIVATE KEY-----") != NULL;
    int rc = k->private ? crypto_private_key(pem, &k->pk, err) : read_public(pem, &k->pk, err);
    if (rc < 0)
        return rc;
    k->alg = alg_of(&k->pk);
    if (!k->alg || mbedtls_pk_get_len(&k->pk) > JWT_SIG_MAX_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "key: only RSA and the curves P-256, P-384 and P-521 can sign tokens");
    rc = crypto_spki(&k->pk, &spki, err);
    if (rc < 0)
        return rc;
    key_name(k, &spki);
    crypto_key_share(&k->pk);
    *ret = TAKE(k);
    return 0;
}

void jwt_key_free(struct jwt_key *k)
{
    if (!k)
        return;
    mbedtls_pk_free(&k->pk);
    free(k);
}

const char *jwt_key_id(const struct jwt_key *k)
{
    return k->id;
}

/* The number, big-endian, in n bytes (0: as many as it needs). */
static void mpi_member(const char *name, const mbedtls_mpi *x, size_t n, struct buf *to)
{
    unsigned char at[JWT_SIG_MAX_BYTES];

    if (!n)
        n = mbedtls_mpi_size(x);
    if (n > sizeof(at) || mbedtls_mpi_write_binary(x, at, n) != 0)
        return; /* ruled out by jwt_key_new */
    buf_printf(to, ",\"%s\":\"", name);
    base64url_write(at, n, to);
    buf_char(to, '"');
}

void jwt_key_jwk(const struct jwt_key *k, struct buf *to)
{
    if (!k->alg->side_bytes) {
        const mbedtls_rsa_context *rsa = mbedtls_pk_rsa(k->pk);

        buf_printf(to, "{\"use\":\"sig\",\"kty\":\"RSA\",\"kid\":\"%s\",\"alg\":\"%s\"", k->id, k->alg->name);
        mpi_member("n", &rsa->N, 0, to);
        mpi_member("e", &rsa->E, 0, to);
    } else {
        const mbedtls_ecp_keypair *ec = mbedtls_pk_ec(k->pk);

        buf_printf(to, "{\"use\":\"sig\",\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"%s\",\"alg\":\"%s\"", k->id, k->alg->curve,
                   k->alg->name);
        mpi_member("x", &ec->Q.X, k->alg->side_bytes, to);
        mpi_member("y", &ec->Q.Y, k->alg->side_bytes, to);
    }
    buf_char(to, '}');
}

/* --- signing --- */

static int ec_sign(const struct jwt_key *k, const unsigned char *digest, size_t n_digest,
                   unsigned char sig[2 * EC_SIDE_MAX_BYTES])
{
    mbedtls_ecp_keypair *ec = mbedtls_pk_ec(k->pk); /* its group's table is full: nothing in it changes any more */
    size_t side = k->alg->side_bytes;
    mbedtls_mpi r, s;

    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    int rc = mbedtls_ecdsa_sign_det_ext(&ec->grp, &r, &s, &ec->d, digest, n_digest, k->alg->md, crypto_rng, NULL);
    if (rc == 0)
        rc = mbedtls_mpi_write_binary(&r, sig, side);
    if (rc == 0)
        rc = mbedtls_mpi_write_binary(&s, sig + side, side);
    mbedtls_mpi_free(&r);
    mbedtls_mpi_free(&s);
    return rc;
}

static int ec_verify(const struct jwt_key *k, const unsigned char *digest, size_t n_digest, struct slice sig)
{
    mbedtls_ecp_keypair *ec = mbedtls_pk_ec(k->pk);
    size_t side = k->alg->side_bytes;
    mbedtls_mpi r, s;

    if (sig.n != 2 * side)
        return -1;
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    int rc = mbedtls_mpi_read_binary(&r, (const unsigned char *)sig.at, side);
    if (rc == 0)
        rc = mbedtls_mpi_read_binary(&s, (const unsigned char *)sig.at + side, side);
    if (rc == 0)
        rc = mbedtls_ecdsa_verify(&ec->grp, digest, n_digest, &ec->Q, &r, &s);
    mbedtls_mpi_free(&r);
    mbedtls_mpi_free(&s);
    return rc;
}

static size_t digest_of(const struct jwt_alg *alg, const void *data, size_t n, unsigned char to[MBEDTLS_MD_MAX_SIZE])
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(alg->md);

    mbedtls_md(md, data, n, to);
    return mbedtls_md_get_size(md);
}

int jwt_sign(const struct jwt_key *k, const char *claims_json, size_t n, struct buf *to, struct err *err)
{
    unsigned char digest[MBEDTLS_MD_MAX_SIZE], sig[MBEDTLS_PK_SIGNATURE_MAX_SIZE];
    AUTO(buf) struct buf header = { 0 };
    char text[CRYPTO_ERROR_TEXT_BYTES];
    size_t before = buf_len(to), n_sig = 2 * k->alg->side_bytes;

    if (!k->private)
        return err_set(err, ERR_IO, "sign token: key %s is a public key", k->id);
    buf_printf(&header, "{\"alg\":\"%s\",\"kid\":\"%s\"}", k->alg->name, k->id);
    base64url_write(buf_at(&header), buf_len(&header), to);
    buf_char(to, '.');
    base64url_write(claims_json, n, to);
    size_t n_digest = digest_of(k->alg, buf_at(to) + before, buf_len(to) - before, digest);
    int rc = k->alg->side_bytes
                 ? ec_sign(k, digest, n_digest, sig)
                 : mbedtls_pk_sign((mbedtls_pk_context *)(uintptr_t)&k->pk, k->alg->md, digest, n_digest, sig, &n_sig,
                                   crypto_rng, NULL); /* RSA has a lock of its own for its blinding values */
    if (rc) {
        buf_cut(to, before);
        return err_set(err, ERR_IO, "sign token: %s", crypto_error_text(rc, text));
    }
    buf_char(to, '.');
    base64url_write(sig, n_sig, to);
    return 0;
}

/* --- verifying --- */

struct jwt_parts {
    struct slice header, payload, signature, signed_text;
};

static bool split(const char *token, size_t n, struct jwt_parts *ret)
{
    const char *end = token + n;
    const char *first = memchr(token, '.', n);
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;

    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return false;
    ret->header = (struct slice){ token, (size_t)(first - token) };
    ret->payload = (struct slice){ first + 1, (size_t)(second - first - 1) };
    ret->signature = (struct slice){ second + 1, (size_t)(end - second - 1) };
    ret->signed_text = (struct slice){ token, (size_t)(second - token) };
    return true;
}

/* The compact form knows the URL alphabet without padding only. */
static bool part_read(struct slice part, struct buf *to)
{
    return !memchr(part.at, '=', part.n) && !memchr(part.at, '+', part.n) && !memchr(part.at, '/', part.n)
           && base64_read(part.at, part.n, to) == 0;
}

/* alg and kid of the header; "" for no kid. `crit` names extensions we would have to understand, and we know none. */
static int header_read(struct slice part, struct buf *alg, struct buf *kid, struct err *err)
{
    AUTO(buf) struct buf text = { 0 };
    struct json_scan s;
    int tok;

    if (part.n > JWT_HEADER_MAX_BYTES || !part_read(part, &text))
        return err_set(err, ERR_UNAUTHORIZED, "token: its header is not base64url");
    json_scan_init(&s, buf_at(&text), buf_len(&text));
    if ((tok = json_scan_next(&s, err)) != JSON_TOK_OBJECT)
        return err_set(err, ERR_UNAUTHORIZED, "token: its header is not a JSON object");
    while ((tok = json_scan_next(&s, err)) == JSON_TOK_KEY) {
        struct slice key = s.raw;
        struct buf *to = slice_is(key, "alg") ? alg : slice_is(key, "kid") ? kid : NULL;

        if (s.escaped || slice_is(key, "crit"))
            return err_set(err, ERR_UNAUTHORIZED, "token: its header has a member that is not supported");
        if (!to) {
            if (json_scan_skip(&s, err) < 0)
                break;
            continue;
        }
        if (json_scan_next(&s, err) != JSON_TOK_STRING || buf_len(to))
            return err_set(err, ERR_UNAUTHORIZED, "token: its header's alg or kid is not one string");
        json_unescape(s.raw, to);
    }
    if (tok != JSON_TOK_OBJECT_END || json_scan_next(&s, err) != JSON_TOK_END)
        return err_set(err, ERR_UNAUTHORIZED, "token: its header is not a JSON object");
    return 0;
}

static bool key_accepts(struct jwt_key *k, const struct jwt_parts *parts, struct slice sig)
{
    unsigned char digest[MBEDTLS_MD_MAX_SIZE];
    size_t n = digest_of(k->alg, parts->signed_text.at, parts->signed_text.n, digest);

    if (k->alg->side_bytes)
        return ec_verify(k, digest, n, sig) == 0;
    return mbedtls_pk_verify(&k->pk, k->alg->md, digest, n, (const unsigned char *)sig.at, sig.n) == 0;
}

static bool any_key_accepts(struct jwt_key *const *keys, size_t n_keys, const struct jwt_parts *parts, const char *alg,
                            const char *kid, struct slice sig)
{
    bool known = false;

    for (size_t i = 0; i < n_keys; i++)
        known |= strcmp(keys[i]->id, kid) == 0;
    for (size_t i = 0; i < n_keys; i++) {
        /* The algorithm is the key's; the token's word only has to agree. */
        if (strcmp(keys[i]->alg->name, alg) != 0 || (known && strcmp(keys[i]->id, kid) != 0))
            continue;
        if (key_accepts(keys[i], parts, sig))
            return true;
    }
    return false;
}

int jwt_verify(struct jwt_key *const *keys, size_t n_keys, const char *token, size_t n, struct buf *ret_claims,
               struct err *err)
{
    AUTO(buf) struct buf alg = { 0 };
    AUTO(buf) struct buf kid = { 0 };
    AUTO(buf) struct buf sig = { 0 };
    struct jwt_parts parts;

    if (n > JWT_MAX_BYTES)
        return err_set(err, ERR_UNAUTHORIZED, "token: more than %d bytes", JWT_MAX_BYTES);
    if (!split(token, n, &parts))
        return err_set(err, ERR_UNAUTHORIZED, "token: it does not have three parts");
    int rc = header_read(parts.header, &alg, &kid, err);
    if (rc < 0)
        return rc;
    if (!part_read(parts.signature, &sig) || buf_len(&sig) > JWT_SIG_MAX_BYTES)
        return err_set(err, ERR_UNAUTHORIZED, "token: its signature is not base64url");
    struct slice raw = { buf_at(&sig), buf_len(&sig) };
    if (!any_key_accepts(keys, n_keys, &parts, buf_at(&alg), buf_at(&kid), raw))
        return err_set(err, ERR_UNAUTHORIZED, "token: no known key made its signature");
    if (!part_read(parts.payload, ret_claims))
        return err_set(err, ERR_UNAUTHORIZED, "token: its claims are not base64url");
    return 0;
}
