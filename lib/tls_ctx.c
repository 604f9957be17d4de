#include "lib/tls_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <string.h>

enum {
    TICKET_LIFETIME_S = 3600, /* how long a resumed session may lean on the chain that was judged at its start */
    CA_SHARED_MAX = 4,        /* keys whose table we compute; a bundle of the world's authorities stays as it is */
};

/* Forward secrecy and AEAD only; AES first where the processor has it. */
static const int cipher_suites[] = {
#ifndef __x86_64__
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
#ifdef __x86_64__
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
#endif
    0,
};

static const mbedtls_ecp_group_id curves[] = {
    MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_SECP384R1, MBEDTLS_ECP_DP_SECP521R1, MBEDTLS_ECP_DP_CURVE25519,
    MBEDTLS_ECP_DP_NONE,
};

static const int sig_hashes[] = { MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA384, MBEDTLS_MD_SHA512, MBEDTLS_MD_NONE };

static void ctx_free(struct tls_ctx *t)
{
    mbedtls_ssl_config_free(&t->conf);
    mbedtls_ssl_ticket_free(&t->tickets);
    mbedtls_x509_crt_free(&t->chain);
    mbedtls_x509_crt_free(&t->ca);
    mbedtls_pk_free(&t->key);
    for (size_t i = 0; i < TLS_ALPN_MAX; i++)
        free(t->alpn[i]);
    free(t);
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_ctx_unref(struct tls_ctx *t)
{
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        ctx_free(t);
}

AUTO_DEFINE(tls_ctx, struct tls_ctx *, tls_ctx_unref)

static int read_identity(struct tls_ctx *t, const struct tls_config *config, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];

    if (!config->cert_pem || !config->key_pem)
        return config->server ? err_set(err, ERR_BAD_REQUEST, "a server needs a certificate and its key") : 0;
    int rc = crypto_certs(config->cert_pem, false, &t->chain, err);
    if (rc == 0)
        rc = crypto_private_key(config->key_pem, &t->key, err);
    if (rc < 0)
        return rc;
    if (mbedtls_pk_check_pair(&t->chain.pk, &t->key) != 0)
        return err_set(err, ERR_BAD_REQUEST, "private key does not match public key of the certificate");
    crypto_key_share(&t->key);
    rc = mbedtls_ssl_conf_own_cert(&t->conf, &t->chain, &t->key);
    return rc ? err_set(err, ERR_IO, "certificate: %s", crypto_error_text(rc, text)) : 0;
}

static int read_authorities(struct tls_ctx *t, const struct tls_config *config, struct err *err)
{
    if (!config->ca_pem)
        return 0;
    int rc = crypto_certs(config->ca_pem, true, &t->ca, err);
    if (rc < 0)
        return err_wrap(err, "CA");
    size_t n = 0;
    for (mbedtls_x509_crt *ca = &t->ca; ca && n < CA_SHARED_MAX; ca = ca->next, n++)
        crypto_key_share(&ca->pk);
    mbedtls_ssl_conf_ca_chain(&t->conf, &t->ca, NULL);
    return 0;
}

static int set_alpn(struct tls_ctx *t, const char *const *alpn, struct err *err)
{
    size_t n = 0;

    for (; alpn && alpn[n]; n++) {
        if (n == TLS_ALPN_MAX || strlen(alpn[n]) > 255)
            return err_set(err, ERR_BAD_REQUEST, "ALPN: more than %d protocols, or a name too long", TLS_ALPN_MAX);
        t->alpn[n] = mem_strdup(alpn[n]);
    }
    if (n && mbedtls_ssl_conf_alpn_protocols(&t->conf, (const char **)t->alpn) != 0)
        return err_set(err, ERR_BAD_REQUEST, "ALPN: a name is empty or too long");
    return 0;
}

static int set_sessions(struct tls_ctx *t, struct err *err)
{
    char text[CRYPTO_ERROR_TEXT_BYTES];

    if (!t->server) {
        mbedtls_ssl_conf_session_tickets(&t->conf, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
        return 0;
    }
    int rc = mbedtls_ssl_ticket_setup(&t->tickets, crypto_rng, NULL, MBEDTLS_CIPHER_AES_256_GCM, TICKET_LIFETIME_S);
    if (rc)
        return err_set(err, ERR_IO, "session tickets: %s", crypto_error_text(rc, text));
    mbedtls_ssl_conf_session_tickets_cb(&t->conf, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse, &t->tickets);
    return 0;
}

/* A server lets a client through whose certificate it does not believe: who speaks is for the request to decide, and an
 * unknown certificate is HTTP 401, not an alert (as upstream's RequestClientCert). */
static int auth_mode(const struct tls_config *config)
{
    if (config->server)
        return config->ca_pem ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_NONE;
    return config->insecure ? MBEDTLS_SSL_VERIFY_NONE : MBEDTLS_SSL_VERIFY_REQUIRED;
}

int tls_ctx_new(const struct tls_config *config, struct tls_ctx **ret, struct err *err)
{
    AUTO(tls_ctx) struct tls_ctx *t = MEM_NEW(struct tls_ctx);
    char text[CRYPTO_ERROR_TEXT_BYTES];

    assert(config->clock);
    atomic_init(&t->refs, 1);
    t->server = config->server;
    t->insecure = config->insecure;
    t->clock = config->clock;
    mbedtls_ssl_config_init(&t->conf);
    mbedtls_x509_crt_init(&t->chain);
    mbedtls_x509_crt_init(&t->ca);
    mbedtls_pk_init(&t->key);
    mbedtls_ssl_ticket_init(&t->tickets);
    int rc = mbedtls_ssl_config_defaults(&t->conf, config->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                                         MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (rc)
        return err_set(err, ERR_IO, "TLS: %s", crypto_error_text(rc, text));
    mbedtls_ssl_conf_rng(&t->conf, crypto_rng, NULL);
    mbedtls_ssl_conf_min_version(&t->conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_ciphersuites(&t->conf, cipher_suites);
    mbedtls_ssl_conf_curves(&t->conf, curves);
    mbedtls_ssl_conf_sig_hashes(&t->conf, sig_hashes);
    mbedtls_ssl_conf_authmode(&t->conf, auth_mode(config));
    rc = read_identity(t, config, err);
    if (rc == 0)
        rc = read_authorities(t, config, err);
    if (rc == 0)
        rc = set_alpn(t, config->alpn, err);
    if (rc == 0)
        rc = set_sessions(t, err);
    if (rc == 0)
        *ret = TAKE(t);
    return rc;
}
