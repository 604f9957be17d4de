/*
 * Source: RFC 6125 6.4 and Go crypto/x509 verify.go (names, order of the checks, words);
 * Go crypto/tls alert.go (words of alerts); k8s.io/apiserver pkg/authentication/request/x509 (client certificates).
 */
#include "lib/tls_int.h"

#include <arpa/inet.h>
#include <mbedtls/oid.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_ip(const char *text, unsigned char ret[16], size_t *ret_n)
{
    char bare[INET6_ADDRSTRLEN + 2];
    size_t n = strlen(text);

    if (n >= 2 && n < sizeof(bare) && text[0] == '[' && text[n - 1] == ']') {
        memcpy(bare, text + 1, n - 2);
        bare[n - 2] = '\0';
        text = bare;
    }
    *ret_n = inet_pton(AF_INET, text, ret) == 1 ? 4 : inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
    return *ret_n != 0;
}

/* One left-most label may be "*"; case does not matter; a dot at the host's end neither. */
static bool dns_matches(struct slice pattern, const char *host)
{
    size_t n = strlen(host);

    if (n && host[n - 1] == '.')
        n--;
    if (!n || !pattern.n || memchr(pattern.at, 0, pattern.n))
        return false;
    if (pattern.n > 2 && pattern.at[0] == '*' && pattern.at[1] == '.') {
        const char *dot = memchr(host, '.', n);

        if (!dot || dot == host)
            return false;
        n -= (size_t)(dot - host);
        host = dot;
        pattern = (struct slice){ pattern.at + 1, pattern.n - 1 };
    }
    return pattern.n == n && strncasecmp(pattern.at, host, n) == 0;
}

struct want {
    const char *host;
    unsigned char ip[16];
    size_t n_ip; /* 0: a DNS name */
};

static int name_matches(void *arg, int kind, struct slice name)
{
    const struct want *want = arg;

    if (want->n_ip)
        return kind == DER_NAME_IP && name.n == want->n_ip && memcmp(name.at, want->ip, name.n) == 0;
    return kind == DER_NAME_DNS && dns_matches(name, want->host);
}

static bool leaf_has_name(const mbedtls_x509_crt *leaf, const char *host)
{
    struct want want = { .host = host };
    struct slice san = { 0 };

    is_ip(host, want.ip, &want.n_ip);
    return der_ext_find(leaf->v3_ext.p, leaf->v3_ext.len, DER_OID(MBEDTLS_OID_SUBJECT_ALT_NAME), &san) > 0
           && der_alt_names_each(san, name_matches, &want) > 0;
}

static uint32_t time_flags(const struct tls_judge *judge, const mbedtls_x509_crt *crt)
{
    int64_t now = clock_wall_s(judge->clock);

    if (now < crypto_time_s(&crt->valid_from))
        return MBEDTLS_X509_BADCERT_FUTURE;
    return now > crypto_time_s(&crt->valid_to) ? MBEDTLS_X509_BADCERT_EXPIRED : 0;
}

int tls_judge_cert(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
    struct tls_judge *judge = arg;

    *flags &= ~(uint32_t)(MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE | MBEDTLS_X509_BADCERT_CN_MISMATCH);
    *flags |= time_flags(judge, crt);
    if (depth == 0 && judge->server_name && !leaf_has_name(crt, judge->server_name))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    judge->seen |= *flags;
    if (depth == 0 && judge->seen) /* the leaf comes last, and is gone when the handshake fails */
        tls_judge_why(judge, crt, judge->seen, judge->why);
    return 0;
}

uint32_t tls_judge_again(const struct tls_judge *judge, const mbedtls_x509_crt *leaf, uint32_t flags)
{
    return flags | time_flags(judge, leaf);
}

static void why_time(const struct tls_judge *judge, const mbedtls_x509_crt *leaf, char to[TLS_WHY_BYTES])
{
    char now[CLOCK_TEXT_BYTES], limit[CLOCK_TEXT_BYTES];
    uint32_t own = time_flags(judge, leaf);
    bool early = own == MBEDTLS_X509_BADCERT_FUTURE;

    if (!own) { /* one above it in the chain */
        snprintf(to, TLS_WHY_BYTES, "x509: certificate has expired or is not yet valid: of the authority that signed it");
        return;
    }
    clock_time_text(clock_wall_s(judge->clock), now);
    clock_time_text(crypto_time_s(early ? &leaf->valid_from : &leaf->valid_to), limit);
    snprintf(to, TLS_WHY_BYTES, "x509: certificate has expired or is not yet valid: current time %s is %s %s", now,
             early ? "before" : "after", limit);
}

static void why_name(const struct tls_judge *judge, const mbedtls_x509_crt *leaf, char to[TLS_WHY_BYTES])
{
    struct cert_info info = { 0 };
    struct err unused = { 0 };
    unsigned char ip[16];
    size_t n_ip, at;
    bool wants_ip = is_ip(judge->server_name, ip, &n_ip);

    if (crypto_crt_info(leaf, &info, &unused) < 0) {
        snprintf(to, TLS_WHY_BYTES, "x509: %.300s", unused.msg);
        return;
    }
    char **names = wants_ip ? info.ips : info.dns_names;
    if (!*names && wants_ip) {
        snprintf(to, TLS_WHY_BYTES, "x509: cannot validate certificate for %s because it doesn't contain any IP SANs",
                 judge->server_name);
    } else if (!*names && !*info.ips && *info.common_name) {
        snprintf(to, TLS_WHY_BYTES, "x509: certificate relies on legacy Common Name field, use SANs instead");
    } else if (!*names) {
        snprintf(to, TLS_WHY_BYTES, "x509: certificate is not valid for any names, but wanted to match %s",
                 judge->server_name);
    } else {
        at = (size_t)snprintf(to, TLS_WHY_BYTES, "x509: certificate is valid for ");
        for (; *names && at + strlen(*names) < TLS_WHY_BYTES / 2; names++)
            at += (size_t)snprintf(to + at, TLS_WHY_BYTES - at, "%s%s", *names, names[1] ? ", " : "");
        snprintf(to + at, TLS_WHY_BYTES - at, "%s, not %s", *names ? "..." : "", judge->server_name);
    }
    cert_info_clear(&info);
}

void tls_judge_why(const struct tls_judge *judge, const mbedtls_x509_crt *leaf, uint32_t flags, char to[TLS_WHY_BYTES])
{
    const uint32_t weak = MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK | MBEDTLS_X509_BADCERT_BAD_KEY;
    const uint32_t usage = MBEDTLS_X509_BADCERT_EXT_KEY_USAGE | MBEDTLS_X509_BADCERT_KEY_USAGE;
    const uint32_t times = MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE;

    if ((flags & times) && time_flags(judge, leaf))
        why_time(judge, leaf, to);
    else if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
        why_name(judge, leaf, to);
    else if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
        snprintf(to, TLS_WHY_BYTES, "x509: certificate signed by unknown authority");
    else if (flags & times)
        why_time(judge, leaf, to);
    else if (flags & usage)
        snprintf(to, TLS_WHY_BYTES, "x509: certificate specifies an incompatible key usage");
    else if (flags & weak)
        snprintf(to, TLS_WHY_BYTES, "x509: cannot verify signature: insecure algorithm");
    else
        snprintf(to, TLS_WHY_BYTES, "x509: certificate is not valid (0x%x)", flags);
}

const char *tls_alert_text(int alert)
{
    static const char *const texts[] = {
        [0] = "close notify",
        [10] = "unexpected message",
        [20] = "bad record MAC",
        [21] = "decryption failed",
        [22] = "record overflow",
        [30] = "decompression failure",
        [40] = "handshake failure",
        [42] = "bad certificate",
        [43] = "unsupported certificate",
        [44] = "revoked certificate",
        [45] = "expired certificate",
        [46] = "unknown certificate",
        [47] = "illegal parameter",
        [48] = "unknown certificate authority",
        [49] = "access denied",
        [50] = "error decoding message",
        [51] = "error decrypting message",
        [60] = "export restriction",
        [70] = "protocol version not supported",
        [71] = "insufficient security level",
        [80] = "internal error",
        [86] = "inappropriate fallback",
        [90] = "user canceled",
        [100] = "no renegotiation",
        [109] = "missing extension",
        [110] = "unsupported extension",
        [112] = "unrecognized name",
        [116] = "certificate required",
        [120] = "no application protocol",
    };

    return alert >= 0 && (size_t)alert < ARRAY_LEN(texts) && texts[alert] ? texts[alert] : "unknown alert";
}
