#include "lib/crypto.h"

#include "lib/crypto_int.h"
#include "lib/mem.h"

#include <assert.h>
#include <errno.h>
#include <mbedtls/md.h>
#include <mbedtls/pkcs5.h>
#include <mbedtls/sha1.h>
#include <mbedtls/sha256.h>
#include <string.h>
#include <sys/random.h>

struct sha256 {
    mbedtls_sha256_context ctx;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *s = mem_alloc(sizeof(*s));

    mbedtls_sha256_init(&s->ctx);
    mbedtls_sha256_starts_ret(&s->ctx, 0);
    return s;
}

void sha256_add(struct sha256 *s, const void *data, size_t n)
{
    if (n)
        mbedtls_sha256_update_ret(&s->ctx, data, n);
}

void sha256_end(struct sha256 *s, unsigned char ret[SHA256_BYTES])
{
    mbedtls_sha256_finish_ret(&s->ctx, ret);
    mbedtls_sha256_free(&s->ctx);
    free(s);
}

void sha256_of(const void *data, size_t n, unsigned char ret[SHA256_BYTES])
{
    mbedtls_sha256_ret(data ? data : (const void *)"", n, ret, 0);
}

void sha1_of(const void *data, size_t n, unsigned char ret[SHA1_BYTES])
{
    mbedtls_sha1_ret(data ? data : (const void *)"", n, ret);
}

char *hex_of(const void *data, size_t n, char *to)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = data;

    for (size_t i = 0; i < n; i++) {
        to[2 * i] = digits[from[i] >> 4];
        to[2 * i + 1] = digits[from[i] & 15];
    }
    to[2 * n] = '\0';
    return to;
}

char *sha256_hex(const void *data, size_t n, char ret[SHA256_HEX_BYTES])
{
    unsigned char digest[SHA256_BYTES];

    sha256_of(data, n, digest);
    return hex_of(digest, sizeof(digest), ret);
}

void random_bytes(void *to, size_t n)
{
    unsigned char *at = to;

    while (n) {
        ssize_t got = getrandom(at, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        assert(got > 0 && "the kernel gives random bytes");
        at += got;
        n -= (size_t)got;
    }
}

int crypto_rng(void *unused, unsigned char *to, size_t n)
{
    (void)unused;
    random_bytes(to, n);
    return 0;
}

bool constant_time_eq(const void *a, const void *b, size_t n)
{
    const volatile unsigned char *x = a, *y = b;
    unsigned char differ = 0;

    for (size_t i = 0; i < n; i++)
        differ = (unsigned char)(differ | (x[i] ^ y[i]));
    return differ == 0;
}

static void base64_with(const char digits[65], bool pad, const void *data, size_t n, struct buf *to)
{
    const unsigned char *in = data;
    char *out = buf_space(to, n / 3 * 4 + 4), *start = out;

    for (; n >= 3; n -= 3, in += 3) {
        *out++ = digits[in[0] >> 2];
        *out++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *out++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *out++ = digits[in[2] & 63];
    }
    if (n) {
        unsigned second = n == 2 ? in[1] : 0;

        *out++ = digits[in[0] >> 2];
        *out++ = digits[(in[0] & 3) << 4 | second >> 4];
        if (n == 2)
            *out++ = digits[(second & 15) << 2];
        else if (pad)
            *out++ = '=';
        if (pad)
            *out++ = '=';
    }
    buf_used(to, (size_t)(out - start));
}

void base64_write(const void *data, size_t n, struct buf *to)
{
    base64_with("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true, data, n, to);
}

void base64url_write(const void *data, size_t n, struct buf *to)
{
    base64_with("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false, data, n, to);
}

/* The digit's value plus one; 0 is none. One table: a large value is read as often as it is written. */
static const unsigned char base64_value[256] = {
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    ['+'] = 63, ['-'] = 63, ['/'] = 64, ['_'] = 64,
};

int base64_read(const char *text, size_t n, struct buf *to)
{
    size_t before = buf_len(to);

    if (n && n % 4 == 0 && text[n - 1] == '=')
        n -= text[n - 2] == '=' ? 2 : 1;
    if (n % 4 == 1)
        return -1;
    if (!n)
        return 0;
    unsigned char *start = (unsigned char *)buf_space(to, n / 4 * 3 + 3), *out = start;
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char v = base64_value[(unsigned char)text[i]];

        if (!v) {
            buf_cut(to, before);
            return -1;
        }
        bits = bits << 6 | (v - 1u);
        if (i % 4 == 3) {
            *out++ = (unsigned char)(bits >> 16);
            *out++ = (unsigned char)(bits >> 8);
            *out++ = (unsigned char)bits;
            bits = 0;
        }
    }
    if (n % 4 == 2) {
        *out++ = (unsigned char)(bits >> 4);
    } else if (n % 4 == 3) {
        *out++ = (unsigned char)(bits >> 10);
        *out++ = (unsigned char)(bits >> 2);
    }
    buf_used(to, (size_t)(out - start));
    return 0;
}

void pbkdf2_sha256(const char *password, const void *salt, size_t n_salt, int rounds, unsigned char ret[SHA256_BYTES])
{
    mbedtls_md_context_t md;

    assert(rounds > 0);
    mbedtls_md_init(&md);
    int rc = mbedtls_md_setup(&md, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 1);
    if (rc == 0)
        rc = mbedtls_pkcs5_pbkdf2_hmac(&md, (const unsigned char *)password, strlen(password), salt, n_salt,
                                       (unsigned)rounds, SHA256_BYTES, ret);
    mbedtls_md_free(&md);
    assert(rc == 0 && "out of memory");
}
