/* Source: ITU-T X.690 (DER); RFC 5280 4.1, 4.2.1.6; RFC 2986 and 2985 5.4.2 (requested extensions). */
#include "lib/crypto_int.h"

#include <arpa/inet.h>
#include <assert.h>
#include <mbedtls/asn1.h>
#include <mbedtls/oid.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SEQUENCE (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE)
#define SET      (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SET)

/* The length's place is one byte until the end is known; a longer one moves the content up. */
size_t der_begin(struct buf *to, int tag)
{
    buf_char(to, (char)tag);
    buf_char(to, 0);
    return buf_len(to);
}

void der_end(struct buf *to, size_t begun)
{
    size_t n = buf_len(to) - begun;
    size_t more = n < 0x80 ? 0 : n < 0x100 ? 1 : n < 0x10000 ? 2 : 3;

    assert(n < 0x1000000);
    if (more) {
        buf_add(to, "\0\0\0", more);
        memmove(to->b->at + begun + more, to->b->at + begun, n);
        to->b->at[begun - 1] = (char)(0x80 | more);
        for (size_t i = 0; i < more; i++)
            to->b->at[begun + i] = (char)(n >> (8 * (more - 1 - i)));
    } else {
        to->b->at[begun - 1] = (char)n;
    }
}

void der_value(struct buf *to, int tag, const void *data, size_t n)
{
    size_t begun = der_begin(to, tag);

    buf_add(to, data, n);
    der_end(to, begun);
}

void der_oid(struct buf *to, struct der_oid oid)
{
    der_value(to, MBEDTLS_ASN1_OID, oid.at, oid.n);
}

void der_time(struct buf *to, int64_t at_s)
{
    time_t t = at_s;
    struct tm tm;
    char text[32];

    assert(gmtime_r(&t, &tm));
    int year = tm.tm_year + 1900;
    bool utc = year >= 1950 && year < 2050;
    int n = snprintf(text, sizeof(text), utc ? "%02d%02d%02d%02d%02d%02dZ" : "%04d%02d%02d%02d%02d%02dZ",
                     utc ? year % 100 : year, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    assert(n > 0 && (size_t)n < sizeof(text));
    der_value(to, utc ? MBEDTLS_ASN1_UTC_TIME : MBEDTLS_ASN1_GENERALIZED_TIME, text, (size_t)n);
}

static bool is_printable_string(const char *s)
{
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?") == strlen(s);
}

static void der_rdn(struct buf *to, struct der_oid oid, const char *value)
{
    size_t set = der_begin(to, SET), pair = der_begin(to, SEQUENCE);

    der_oid(to, oid);
    der_value(to, is_printable_string(value) ? MBEDTLS_ASN1_PRINTABLE_STRING : MBEDTLS_ASN1_UTF8_STRING, value,
              strlen(value));
    der_end(to, pair);
    der_end(to, set);
}

void der_subject(struct buf *to, const char *common_name, const char *const *organizations)
{
    size_t name = der_begin(to, SEQUENCE);

    for (; organizations && *organizations; organizations++)
        der_rdn(to, DER_OID(MBEDTLS_OID_AT_ORGANIZATION), *organizations);
    if (common_name && *common_name)
        der_rdn(to, DER_OID(MBEDTLS_OID_AT_CN), common_name);
    der_end(to, name);
}

int der_alt_names(struct buf *to, const char *const *dns_names, const char *const *ips, struct err *err)
{
    size_t names = der_begin(to, SEQUENCE);

    for (; dns_names && *dns_names; dns_names++)
        der_value(to, MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2, *dns_names, strlen(*dns_names));
    for (; ips && *ips; ips++) {
        unsigned char at[16];

        if (inet_pton(AF_INET, *ips, at) == 1)
            der_value(to, MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7, at, 4);
        else if (inet_pton(AF_INET6, *ips, at) == 1)
            der_value(to, MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7, at, 16);
        else
            return err_set(err, ERR_BAD_REQUEST, "\"%s\" is not an IP address", *ips);
    }
    der_end(to, names);
    return 0;
}

struct der_ext der_ext_begin(struct buf *to, struct der_oid oid, bool critical)
{
    struct der_ext e = { .ext = der_begin(to, SEQUENCE) };

    der_oid(to, oid);
    if (critical)
        der_value(to, MBEDTLS_ASN1_BOOLEAN, "\xff", 1);
    e.octets = der_begin(to, MBEDTLS_ASN1_OCTET_STRING);
    return e;
}

void der_ext_end(struct buf *to, struct der_ext e)
{
    der_end(to, e.octets);
    der_end(to, e.ext);
}

/* Steps over one element with this tag: its content in *ret, the rest in *from. */
static bool der_take(struct slice *from, int tag, struct slice *ret)
{
    unsigned char *p = (unsigned char *)(uintptr_t)from->at, *end = p + from->n;
    size_t n;

    if (mbedtls_asn1_get_tag(&p, end, &n, tag) != 0)
        return false;
    *ret = (struct slice){ (const char *)p, n };
    *from = (struct slice){ (const char *)p + n, (size_t)(end - p) - n };
    return true;
}

int der_ext_find(const void *exts, size_t n, struct der_oid oid, struct slice *ret)
{
    struct slice all = { exts, n }, list, ext, id, critical;

    if (!n)
        return 0;
    if (!der_take(&all, SEQUENCE, &list) || all.n)
        return -1;
    while (list.n) {
        if (!der_take(&list, SEQUENCE, &ext) || !der_take(&ext, MBEDTLS_ASN1_OID, &id))
            return -1;
        if (!slice_eq(id, (struct slice){ oid.at, oid.n }))
            continue;
        if (ext.n && ext.at[0] == MBEDTLS_ASN1_BOOLEAN && !der_take(&ext, MBEDTLS_ASN1_BOOLEAN, &critical))
            return -1;
        return der_take(&ext, MBEDTLS_ASN1_OCTET_STRING, ret) ? 1 : -1;
    }
    return 0;
}

int der_csr_extensions(const void *cri, size_t n, struct slice *ret)
{
    struct slice all = { cri, n }, body, skip, attrs, attr, id;
    const struct der_oid want = DER_OID(MBEDTLS_OID_PKCS9 "\x0e");

    if (!der_take(&all, SEQUENCE, &body) || !der_take(&body, MBEDTLS_ASN1_INTEGER, &skip)
        || !der_take(&body, SEQUENCE, &skip) || !der_take(&body, SEQUENCE, &skip))
        return -1;
    if (!body.n)
        return 0; /* attributes are not optional in RFC 2986, but they are left out in the wild */
    if (!der_take(&body, MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_ASN1_CONSTRUCTED, &attrs))
        return -1;
    while (attrs.n) {
        if (!der_take(&attrs, SEQUENCE, &attr) || !der_take(&attr, MBEDTLS_ASN1_OID, &id))
            return -1;
        if (slice_eq(id, (struct slice){ want.at, want.n }))
            return der_take(&attr, SET, ret) ? 1 : -1;
    }
    return 0;
}

int der_alt_names_each(struct slice san, int (*fn)(void *arg, int kind, struct slice name), void *arg)
{
    struct slice list, name;

    if (!der_take(&san, SEQUENCE, &list))
        return -1;
    while (list.n) {
        int tag = (unsigned char)list.at[0];

        if (!der_take(&list, tag, &name))
            return -1;
        int rc = fn(arg, tag & 31, name);
        if (rc)
            return rc;
    }
    return 0;
}
