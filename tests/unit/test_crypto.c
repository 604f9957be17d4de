#include "lib/crypto.h"
#include "lib/mem.h"
#include "tests/unit/test.h"

TEST(crypto_digests)
{
    char hex[SHA256_HEX_BYTES];
    unsigned char digest[SHA256_BYTES], other[SHA256_BYTES];

    CHECK_STR(sha256_hex("", 0, hex), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_STR(sha256_hex("abc", 3, hex), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct sha256 *s = sha256_new();
    sha256_add(s, "a", 1);
    sha256_add(s, NULL, 0);
    sha256_add(s, "bc", 2);
    sha256_end(s, digest);
    sha256_of("abc", 3, other);
    CHECK(constant_time_eq(digest, other, SHA256_BYTES));
    other[31] ^= 1;
    CHECK(!constant_time_eq(digest, other, SHA256_BYTES));
    /* RFC 7914 11, first 32 bytes. */
    pbkdf2_sha256("passwd", "salt", 4, 1, digest);
    CHECK_STR(hex_of(digest, sizeof(digest), hex), "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
}

TEST(crypto_random)
{
    unsigned char a[100] = { 0 }, b[100] = { 0 };

    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    random_bytes(a, 0);
}

TEST(crypto_base64)
{
    static const struct {
        const char *plain, *standard, *url;
    } cases[] = {
        { "", "", "" },           { "f", "Zg==", "Zg" },         { "fo", "Zm8=", "Zm8" },
        { "foo", "Zm9v", "Zm9v" }, { "\xfb\xff\xfe", "+//+", "-__-" }, { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
    };
    static const char *const bad[] = { "Z", "Zg=", "Z===", "=", "====", "Zm 9v", "Zm9v\n", "Zm=v", "Zg==Zg==", "Zm9v=" };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf text = { 0 }, back = { 0 };

        base64_write(cases[i].plain, strlen(cases[i].plain), &text);
        CHECK_STR(buf_at(&text), cases[i].standard);
        CHECK_INT(base64_read(buf_at(&text), buf_len(&text), &back), 0);
        CHECK_STR(buf_at(&back), cases[i].plain);
        buf_cut(&text, 0);
        buf_cut(&back, 0);
        base64url_write(cases[i].plain, strlen(cases[i].plain), &text);
        CHECK_STR(buf_at(&text), cases[i].url);
        CHECK_INT(base64_read(buf_at(&text), buf_len(&text), &back), 0);
        CHECK_STR(buf_at(&back), cases[i].plain);
        buf_clear(&text);
        buf_clear(&back);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf back = { 0 };

        buf_str(&back, "kept");
        if (base64_read(bad[i], strlen(bad[i]), &back) != -1)
            fprintf(stderr, "read: %s\n", bad[i]);
        CHECK_STR(buf_at(&back), "kept");
        CHECK_INT(base64_read(bad[i], strlen(bad[i]), &back), -1);
        buf_clear(&back);
    }
}

struct signer {
    char *key, *cert;
};

static struct signer ca_new(void)
{
    struct signer ca = { .key = key_new_pem() };
    struct cert_spec spec = { .common_name = "rancherd-ca", .ca = true, .not_before_s = 1700000000, .not_after_s = 4000000000 };
    struct err err = { 0 };

    CHECK_INT(cert_sign(&spec, ca.key, NULL, NULL, &ca.cert, &err), 0);
    return ca;
}

static void ca_clear(struct signer *ca)
{
    free(ca->key);
    free(ca->cert);
}

static void check_list(char **got, const char *const *want)
{
    for (; *want; want++, got++) {
        CHECK(*got);
        CHECK_STR(*got, *want);
    }
    CHECK(!*got);
}

TEST(crypto_certificate)
{
    const char *const dns[] = { "kubernetes", "*.example.org", NULL }, *const none[] = { NULL };
    const char *const ips[] = { "10.43.0.1", "2001:db8::1", NULL }, *const groups[] = { "system:masters", "b, c+d=\"e\"", NULL };
    struct signer ca = ca_new();
    struct cert_info info = { 0 };
    struct err err = { 0 };
    char *pem = NULL, *again = NULL, *key = key_new_pem();

    CHECK_INT(cert_info(ca.cert, &info, &err), 0);
    CHECK_STR(info.common_name, "rancherd-ca");
    CHECK(info.ca && !info.client_auth && !info.server_auth);
    CHECK_INT(info.not_before_s, 1700000000);
    CHECK_INT(info.not_after_s, 4000000000); /* 2096: past what a UTCTime can say */
    check_list(info.organizations, none);
    cert_info_clear(&info);

    struct cert_spec spec = { .common_name = "Jürgen, O=\\x", .organizations = groups, .dns_names = dns, .ips = ips,
                              .client_auth = true, .server_auth = true, .not_before_s = 0, .not_after_s = 2000000000 };
    CHECK_INT(cert_sign(&spec, key, ca.cert, ca.key, &pem, &err), 0);
    CHECK_INT(cert_info(pem, &info, &err), 0);
    CHECK_STR(info.common_name, "Jürgen, O=\\x");
    check_list(info.organizations, groups);
    check_list(info.dns_names, dns);
    check_list(info.ips, ips);
    CHECK(!info.ca && info.client_auth && info.server_auth);
    CHECK_INT(info.not_before_s, 0);
    CHECK_INT(info.not_after_s, 2000000000);
    cert_info_clear(&info);
    cert_info_clear(&info);
    CHECK_INT(cert_sign(&spec, key, ca.cert, ca.key, &again, &err), 0);
    CHECK(strcmp(pem, again) != 0); /* another serial */
    free(pem);
    free(again);
    free(key);
    ca_clear(&ca);
}

TEST(crypto_certificate_refused)
{
    const char *const bad_ips[] = { "10.43.0", NULL };
    struct signer ca = ca_new();
    struct err err = { 0 };
    char *pem = NULL, *key = key_new_pem();
    struct cert_spec spec = { .common_name = "x", .not_after_s = 1 };
    struct cert_info info = { 0 };

    CHECK_INT(cert_sign(&spec, "no key", NULL, NULL, &pem, &err), -ERR_BAD_REQUEST);
    CHECK_INT(cert_sign(&spec, key, ca.cert, key, &pem, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "certificate for \"x\": CA: the private key does not belong to the certificate");
    CHECK_INT(cert_sign(&spec, key, "nothing", ca.key, &pem, &err), -ERR_BAD_REQUEST);
    spec.ips = bad_ips;
    CHECK_INT(cert_sign(&spec, key, ca.cert, ca.key, &pem, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "certificate for \"x\": \"10.43.0\" is not an IP address");
    spec.ips = NULL;
    spec.not_before_s = 2;
    CHECK_INT(cert_sign(&spec, key, ca.cert, ca.key, &pem, &err), -ERR_BAD_REQUEST);
    spec.not_after_s = INT64_MAX;
    CHECK_INT(cert_sign(&spec, key, ca.cert, ca.key, &pem, &err), -ERR_BAD_REQUEST);
    CHECK(!pem);
    CHECK_INT(cert_info("", &info, &err), -ERR_BAD_REQUEST);
    CHECK_INT(cert_info(key, &info, &err), -ERR_BAD_REQUEST);
    CHECK_INT(cert_info("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &info, &err), -ERR_BAD_REQUEST);
    free(key);
    ca_clear(&ca);
}

TEST(crypto_request)
{
    const char *const groups[] = { "system:nodes", NULL }, *const dns[] = { "node-1", NULL }, *const ips[] = { "192.0.2.7", NULL };
    struct signer ca = ca_new();
    struct cert_info info = { 0 };
    struct err err = { 0 };
    struct bytes *plain = NULL, *full = NULL;
    char *pem = NULL, *key = key_new_pem();
    struct cert_spec spec = { .common_name = "system:node:node-1", .organizations = groups, .dns_names = dns, .ips = ips };

    CHECK_INT(csr_new(spec.common_name, groups, key, &plain, &err), 0);
    CHECK_INT(csr_info(plain->at, plain->n, &info, &err), 0);
    CHECK_STR(info.common_name, "system:node:node-1");
    check_list(info.organizations, groups);
    CHECK(!*info.dns_names && !*info.ips);
    cert_info_clear(&info);
    CHECK_INT(csr_new_spec(&spec, key, &full, &err), 0);
    CHECK_INT(csr_info(full->at, full->n, &info, &err), 0);
    check_list(info.dns_names, dns);
    check_list(info.ips, ips);
    cert_info_clear(&info);

    /* As PEM; the signer's spec counts, not the request's. */
    struct buf text = { 0 };
    buf_str(&text, "-----BEGIN CERTIFICATE REQUEST-----\n");
    base64_write(full->at, full->n, &text);
    buf_str(&text, "\n-----END CERTIFICATE REQUEST-----\n");
    CHECK_INT(csr_info(buf_at(&text), buf_len(&text), &info, &err), 0);
    cert_info_clear(&info);
    struct cert_spec given = { .common_name = "given", .client_auth = true, .not_after_s = 2000000000 };
    CHECK_INT(cert_sign_csr(&given, buf_at(&text), buf_len(&text), ca.cert, ca.key, &pem, &err), 0);
    CHECK_INT(cert_info(pem, &info, &err), 0);
    CHECK_STR(info.common_name, "given");
    CHECK(!*info.organizations && !*info.dns_names);
    cert_info_clear(&info);
    free(pem);
    pem = NULL;

    /* One bit of the subject changed: the sender did not sign that. */
    AUTO_FREE char *forged = slice_dup((struct slice){ full->at, full->n });
    char *at = memmem(forged, full->n, "node-1", 6);
    at[5] = '2';
    CHECK_INT(cert_sign_csr(&given, forged, full->n, ca.cert, ca.key, &pem, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "certificate for \"given\": certificate request: its signature is not valid");
    for (size_t n = 0; n < full->n; n++)
        CHECK_INT(csr_info(full->at, n, &info, &err), -ERR_BAD_REQUEST);
    CHECK(!pem);
    buf_clear(&text);
    bytes_unref(plain);
    bytes_unref(full);
    free(key);
    ca_clear(&ca);
}

/* Made with openssl, as the keys of a cluster that comes from elsewhere. */
static const char rsa_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDO0eTwr4XAUjGe\n"
    "kCzznlNqFxuzYkJhPCT4NgwYMk7RIDw/lwCZqlL9ItG9SBy/JeHnss0TG3hcNmSy\n"
    "ml9JNYyyXaHDdZggGVvZgbM1HCAyPoIT1l+NhkZxyVmCWNvwb+NhfWlH5vzvvUxT\n"
    "WcI6m0S/Ox9LkSTZ88wX9IBEZ4SxBmayOR2KF2xBqyIBlvyEO9sq0diNE1CGuY1G\n"
    "mYFneX0eIgEcD4Ckog4hyI8R6CQtoQUDD5F4btvOzSGvlmBR47YCydzk8Idgb0mQ\n"
    "DWJdPajLlb5tCtws0SO9TqK26y9eYa4ACVd8XWoXEHKcmmLl4J/b+7BuQb+r/MH/\n"
    "KvM0lTVFAgMBAAECggEAA6kjbD8vFuBdkHjs0sMSpuYRz3MFycLOxLXwMN1zF7CC\n"
    "YH3DvPSO03wySi9kkt2QyhEYICZ0Uu2DisXAugMAooeVvWfvcWIBhjANg/sjdsA0\n"
    "fTVmK5Mc3Ba8Rtpbyj2wwKD/pA4qm/O1ziPglDj7VoctXqELDfCKxEHHo25RovB5\n"
    "4YGxlXgBNebOVJqiQmQ/H+8CWUg+7BH/0uSkD+451XfBHPu3h/R8K6Ss6/bnbMqh\n"
    "eKqskqfyVIDa/ozjDlC6um8lP5dKctlljRKHF74QQloxw6fK1ervs0Q6uoBZdPlI\n"
    "Tcx+hYyXU91wOnG4vKxwnQx32QJToNx9TSEX7u3GYQKBgQD93Uaz1eEFQtd0wejM\n"
    "8TJiv+N2dMNkFl4AJk3cGnjlQZM1Cn7dUNzp9Hkh0/pLdRP51fYngFRR4XblpyzK\n"
    "5XwGefdkOBDm6O6qwqn5SR/vNaDWR25ViP8emEcdMZgMhmJXcCAkMi/1KDGDTnXV\n"
    "58Yce+H+UFLjqIMaK/yau3aW3wKBgQDQj02JqwjKU5FrLAwCU87fqSLYUgBuIni0\n"
    "p0FIfCqTg+5yv0kFYsX/EqQL/0qrxHS1tCEV0EPPkNOydCKbx2Bkr0AA5iJEMAh6\n"
    "EHXpddjekeJX2VnE8Dq2F82ztFB/Pcr5MUeVtS/pW0f2ZKoHKt1RnMWiyLVW5W93\n"
    "zHklRKjsWwKBgQCbVtk6lbc5Zus78KOpNDXmoxBmnZAqIF2orcea1UAA2J1hKWjz\n"
    "t9VV+1hb0MApiByPFdOn3Ci8acA9SoxoIwA/XkZ5Nq1w/jt8ld04QvydfS1LsS3c\n"
    "fRXO/NMXFA+8Kkbmxh+Exoj99HhHpq0IFOju6QcifLgbwjNmwl+xtuAb9QKBgFWv\n"
    "6t17BduKxh5QNIboRACkjwptdnvJcepXJX1QdnWxKNDAQpIR6ONJl1jOhLFZv9G/\n"
    "tjAuJw4qpK+XA3kZS0NStWspIj79tR3hkXBf2MBpE6OgSz+cq6KQ2RTSKph8nN4R\n"
    "HyYlERBBTqmu5iSXueKEFLcy2z5eeZOw0L09HmItAoGALku0LvfYg95gYFaFFcRB\n"
    "swp+f9RbF9zPZFdEr4nmdCb7N6p4qCpEcmcSNSGXqJ5On5F+QD+W34lWgJuWT91P\n"
    "EdZfGZC/ynWTYFyQC9is2jOsjncd4Gv7qaCDOX8AXd36/hm8UzSYzBTevi8846wp\n"
    "hiX8s88ZDK0VxS8HCdtcVKE=\n"
    "-----END PRIVATE KEY-----\n";
static const char rsa_public[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAztHk8K+FwFIxnpAs855T\n"
    "ahcbs2JCYTwk+DYMGDJO0SA8P5cAmapS/SLRvUgcvyXh57LNExt4XDZksppfSTWM\n"
    "sl2hw3WYIBlb2YGzNRwgMj6CE9ZfjYZGcclZgljb8G/jYX1pR+b8771MU1nCOptE\n"
    "vzsfS5Ek2fPMF/SARGeEsQZmsjkdihdsQasiAZb8hDvbKtHYjRNQhrmNRpmBZ3l9\n"
    "HiIBHA+ApKIOIciPEegkLaEFAw+ReG7bzs0hr5ZgUeO2Asnc5PCHYG9JkA1iXT2o\n"
    "y5W+bQrcLNEjvU6itusvXmGuAAlXfF1qFxBynJpi5eCf2/uwbkG/q/zB/yrzNJU1\n"
    "RQIDAQAB\n"
    "-----END PUBLIC KEY-----\n";
/* Signed by openssl with that key; its header has a typ and no kid. */
static const char rsa_token[] =
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJycyJ9.rJpvtHq0JGdHeYp7SzxPsFwr0hKqqUo0ZyF7LyLOmOgAnH"
    "p_KnQwyCAnPu0aSLI8KvBz8GspIcm9oMBkWIPCodoSDP5Tjef0z0dRM_gbKdGTYhmANWJrSJ0UDnKvVfrgu4-wXAIF36pFj0ulfx"
    "8NA9VEz6TsTfg9lQ4mVBk2ZMM8F3SDbzQSO0SO2ahHRTDgw-Eg3f5B7r0XKWo3l1D8m_uOATwQ1qCwhD1d1Kok-ukVRxE7VT_d-K"
    "8ve0ayJc1HVLHjDWLULIXmWoOuBSKK2UopaH3uJRordUSQnft5XOjbKFPm0m1vehkdUxqW4SYhXXuI9qEE1FJQCcjYDSAVaQ";
static const char p384_key[] =
    "-----BEGIN EC PARAMETERS-----\n"
    "BgUrgQQAIg==\n"
    "-----END EC PARAMETERS-----\n"
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIGkAgEBBDBPrRC77XSIwfo+TCQfEaJpfcWy1WN6hECFZU5vyUtHlW9WS4ruWamv\n"
    "6xOgDuo551GgBwYFK4EEACKhZANiAASdklxAAxK6vW8ADmubsfzHQGQtzjeoTSuc\n"
    "0+8yEy1UWAgKkI9s21tZsYo065jTLDYm9ischfJTajdq4UlSfPgmJFQZ/zdyKHeq\n"
    "6s8PRSpUcA3DlCS3e76ZEuSkLAwM3LA=\n"
    "-----END EC PRIVATE KEY-----\n";

static struct jwt_key *jwt_key(const char *pem)
{
    struct jwt_key *k = NULL;
    struct err err = { 0 };

    if (jwt_key_new(pem, &k, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return k;
}

TEST(crypto_jwt_round_trip)
{
    const char claims[] = "{\"iss\":\"https://kubernetes.default.svc\",\"sub\":\"system:serviceaccount:a:b\"}";
    AUTO_FREE char *ec = key_new_pem();
    struct jwt_key *keys[] = { jwt_key(ec), jwt_key(rsa_key), jwt_key(p384_key), jwt_key(rsa_public) };
    struct err err = { 0 };

    CHECK_STR(jwt_key_id(keys[1]), jwt_key_id(keys[3]));
    CHECK(strcmp(jwt_key_id(keys[0]), jwt_key_id(keys[1])) != 0);
    for (int i = 0; i < 3; i++) {
        struct buf token = { 0 }, back = { 0 };

        CHECK_INT(jwt_sign(keys[i], claims, strlen(claims), &token, &err), 0);
        CHECK_INT(jwt_verify(keys, 4, buf_at(&token), buf_len(&token), &back, &err), 0);
        CHECK_STR(buf_at(&back), claims);
        /* Not with the others. */
        buf_cut(&back, 0);
        struct jwt_key *others[] = { keys[(i + 1) % 3], keys[(i + 2) % 3] };
        CHECK_INT(jwt_verify(others, 2, buf_at(&token), buf_len(&token), &back, &err), -ERR_UNAUTHORIZED);
        CHECK_STR(err.msg, "token: no known key made its signature");
        CHECK_INT(jwt_verify(keys, 0, buf_at(&token), buf_len(&token), &back, &err), -ERR_UNAUTHORIZED);
        /* Any character changed. */
        for (size_t at = 0; at < buf_len(&token) - 1; at += 7) {
            char *c = token.b->at + at, was = *c;

            *c = was == 'A' ? 'B' : 'A';
            CHECK_INT(jwt_verify(keys, 4, buf_at(&token), buf_len(&token), &back, &err), -ERR_UNAUTHORIZED);
            *c = was;
        }
        CHECK_INT((int64_t)buf_len(&back), 0);
        buf_clear(&token);
        buf_clear(&back);
    }
    struct buf token = { 0 };
    CHECK_INT(jwt_sign(keys[3], claims, strlen(claims), &token, &err), -ERR_IO);
    CHECK_INT((int64_t)buf_len(&token), 0);
    for (int i = 0; i < 4; i++)
        jwt_key_free(keys[i]);
}

TEST(crypto_jwt_deterministic)
{
    AUTO_FREE char *ec = key_new_pem();
    struct jwt_key *k = jwt_key(ec);
    struct buf a = { 0 }, b = { 0 };
    struct err err = { 0 };

    CHECK_INT(jwt_sign(k, "{}", 2, &a, &err), 0);
    CHECK_INT(jwt_sign(k, "{}", 2, &b, &err), 0);
    CHECK_STR(buf_at(&a), buf_at(&b));
    buf_clear(&a);
    buf_clear(&b);
    jwt_key_free(k);
}

TEST(crypto_jwt_from_elsewhere)
{
    struct jwt_key *keys[] = { jwt_key(rsa_public) };
    struct buf claims = { 0 };
    struct err err = { 0 };

    CHECK_INT(jwt_verify(keys, 1, rsa_token, strlen(rsa_token), &claims, &err), 0);
    CHECK_STR(buf_at(&claims), "{\"sub\":\"rs\"}");
    buf_clear(&claims);
    jwt_key_free(keys[0]);
}

TEST(crypto_jwt_forms_refused)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}", "{\"alg\":\"HS256\"}", "{\"alg\":\"ES256\",\"crit\":[\"b64\"]}", "{\"kid\":\"x\"}", "[]", "{", "",
        "{\"alg\":[\"ES256\"]}", "{\"alg\":\"ES256\",\"alg\":\"ES256\"}", "{\"alg\":\"ES256\"} x", "{\"alg\":\"ES256\"}",
    };
    static const char *const tokens[] = { "", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "e30=.e30.e30" };
    AUTO_FREE char *ec = key_new_pem();
    struct jwt_key *keys[] = { jwt_key(ec) };
    struct buf claims = { 0 };
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        struct buf token = { 0 };

        base64url_write(headers[i], strlen(headers[i]), &token);
        buf_str(&token, ".e30.");
        CHECK_INT(jwt_verify(keys, 1, buf_at(&token), buf_len(&token), &claims, &err), -ERR_UNAUTHORIZED);
        buf_clear(&token);
    }
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        CHECK_INT(jwt_verify(keys, 1, tokens[i], strlen(tokens[i]), &claims, &err), -ERR_UNAUTHORIZED);
    AUTO_FREE char *big = mem_alloc(65537);
    memset(big, '.', 65537);
    CHECK_INT(jwt_verify(keys, 1, big, 65537, &claims, &err), -ERR_UNAUTHORIZED);
    CHECK_STR(err.msg, "token: more than 65536 bytes");
    CHECK_INT((int64_t)buf_len(&claims), 0);
    jwt_key_free(keys[0]);
}

TEST(crypto_jwk)
{
    struct jwt_key *rsa = jwt_key(rsa_public), *ec = jwt_key(p384_key), *bad = NULL;
    struct buf jwk = { 0 };
    struct err err = { 0 };

    jwt_key_jwk(rsa, &jwk);
    CHECK(strncmp(buf_at(&jwk), "{\"use\":\"sig\",\"kty\":\"RSA\",\"kid\":\"", 32) == 0);
    CHECK(strstr(buf_at(&jwk), "\"alg\":\"RS256\",\"n\":\""));
    CHECK(strstr(buf_at(&jwk), ",\"e\":\"AQAB\"}"));
    buf_cut(&jwk, 0);
    jwt_key_jwk(ec, &jwk);
    CHECK(strstr(buf_at(&jwk), "\"crv\":\"P-384\",\"alg\":\"ES384\",\"x\":\""));
    buf_clear(&jwk);
    CHECK_INT(jwt_key_new("none", &bad, &err), -ERR_BAD_REQUEST);
    struct signer ca = ca_new();
    struct jwt_key *from_cert = jwt_key(ca.cert), *from_key = jwt_key(ca.key);
    CHECK_STR(jwt_key_id(from_cert), jwt_key_id(from_key));
    jwt_key_free(from_cert);
    jwt_key_free(from_key);
    ca_clear(&ca);
    jwt_key_free(rsa);
    jwt_key_free(ec);
}
