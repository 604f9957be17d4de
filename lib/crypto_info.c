/* Source: RFC 5280 4.1.2.6, 4.2.1.6, 4.2.1.12; Go crypto/x509/pkix for which common name counts. */
#include "lib/crypto_int.h"
#include "lib/mem.h"

#include <arpa/inet.h>
#include <mbedtls/oid.h>
#include <string.h>
#include <time.h>

static void list_free(char **list)
{
    for (char **at = list; at && *at; at++)
        free(*at);
    free(list);
}

void cert_info_clear(struct cert_info *info)
{
    free(info->common_name);
    list_free(info->organizations);
    list_free(info->dns_names);
    list_free(info->ips);
    *info = (struct cert_info){ 0 };
}

static void auto_cert_info(struct cert_info *info)
{
    cert_info_clear(info);
}

/* A list that ends with NULL, made with room for CRYPTO_NAMES_MAX only when it has that many. */
struct names {
    char **at;
    size_t n;
};

static void auto_names(struct names *names)
{
    list_free(names->at);
}

static int names_add(struct names *names, const void *text, size_t n, struct err *err)
{
    if (n && memchr(text, 0, n))
        return err_set(err, ERR_BAD_REQUEST, "certificate: a name holds a NUL");
    if (names->n == CRYPTO_NAMES_MAX)
        return err_set(err, ERR_BAD_REQUEST, "certificate: more than %d names", CRYPTO_NAMES_MAX);
    if ((names->n & (names->n + 1)) == 0) /* doubles at 0, 1, 3, 7, ... */
        names->at = mem_realloc(names->at, (2 * names->n + 2) * sizeof(char *));
    names->at[names->n++] = slice_dup((struct slice){ text, n });
    names->at[names->n] = NULL;
    return 0;
}

static char **names_take(struct names *names)
{
    return names->at ? TAKE(names->at) : mem_zalloc(sizeof(char *));
}

static bool oid_is(const mbedtls_asn1_buf *oid, struct der_oid want)
{
    return slice_eq((struct slice){ (const char *)oid->p, oid->len }, (struct slice){ want.at, want.n });
}

int crypto_subject(const mbedtls_x509_name *subject, struct cert_info *ret, struct err *err)
{
    AUTO(names) struct names orgs = { 0 }, cns = { 0 };

    for (; subject && subject->oid.p; subject = subject->next) {
        int rc = 0;

        if (oid_is(&subject->oid, DER_OID(MBEDTLS_OID_AT_CN)))
            rc = names_add(&cns, subject->val.p, subject->val.len, err);
        else if (oid_is(&subject->oid, DER_OID(MBEDTLS_OID_AT_ORGANIZATION)))
            rc = names_add(&orgs, subject->val.p, subject->val.len, err);
        if (rc < 0)
            return rc;
    }
    ret->common_name = mem_strdup(cns.n ? cns.at[cns.n - 1] : "");
    ret->organizations = names_take(&orgs);
    return 0;
}

struct alt_names {
    struct names dns, ips;
    struct err *err;
};

static int alt_name_add(void *arg, int kind, struct slice name)
{
    struct alt_names *names = arg;
    char text[INET6_ADDRSTRLEN];

    if (kind == DER_NAME_DNS)
        return names_add(&names->dns, name.at, name.n, names->err);
    if (kind != DER_NAME_IP)
        return 0;
    if (name.n != 4 && name.n != 16)
        return err_set(names->err, ERR_BAD_REQUEST, "certificate: an IP address of %zu bytes", name.n);
    inet_ntop(name.n == 4 ? AF_INET : AF_INET6, name.at, text, sizeof(text));
    return names_add(&names->ips, text, strlen(text), names->err);
}

int crypto_alt_names(struct slice san, struct cert_info *ret, struct err *err)
{
    struct err why = { 0 };
    struct alt_names names = { .err = &why };
    int rc = san.n ? der_alt_names_each(san, alt_name_add, &names) : 0;

    if (rc < 0) {
        list_free(names.dns.at);
        list_free(names.ips.at);
        if (why.code) {
            *err = why;
            return rc;
        }
        return err_set(err, ERR_BAD_REQUEST, "certificate: malformed subjectAltName");
    }
    ret->dns_names = names_take(&names.dns);
    ret->ips = names_take(&names.ips);
    return 0;
}

int64_t crypto_time_s(const mbedtls_x509_time *t)
{
    struct tm tm = { .tm_year = t->year - 1900, .tm_mon = t->mon - 1, .tm_mday = t->day,
                     .tm_hour = t->hour, .tm_min = t->min, .tm_sec = t->sec };

    return timegm(&tm);
}

int crypto_crt_info(const mbedtls_x509_crt *crt, struct cert_info *ret, struct err *err)
{
    AUTO(cert_info) struct cert_info info = { 0 };
    struct slice san = { 0 };

    int rc = crypto_subject(&crt->subject, &info, err);
    if (rc < 0)
        return rc;
    if (der_ext_find(crt->v3_ext.p, crt->v3_ext.len, DER_OID(MBEDTLS_OID_SUBJECT_ALT_NAME), &san) < 0)
        return err_set(err, ERR_BAD_REQUEST, "certificate: malformed extensions");
    rc = crypto_alt_names(san, &info, err);
    if (rc < 0)
        return rc;
    info.not_before_s = crypto_time_s(&crt->valid_from);
    info.not_after_s = crypto_time_s(&crt->valid_to);
    info.ca = crt->ca_istrue;
    for (const mbedtls_x509_sequence *use = &crt->ext_key_usage; use && use->buf.p; use = use->next) {
        bool any = oid_is(&use->buf, DER_OID(MBEDTLS_OID_ANY_EXTENDED_KEY_USAGE));

        info.client_auth |= any || oid_is(&use->buf, DER_OID(MBEDTLS_OID_CLIENT_AUTH));
        info.server_auth |= any || oid_is(&use->buf, DER_OID(MBEDTLS_OID_SERVER_AUTH));
    }
    *ret = info;
    info = (struct cert_info){ 0 };
    return 0;
}

int cert_info(const char *pem, struct cert_info *ret, struct err *err)
{
    AUTO(crt) mbedtls_x509_crt crt;

    mbedtls_x509_crt_init(&crt);
    int rc = crypto_certs(pem, true, &crt, err);
    return rc < 0 ? rc : crypto_crt_info(&crt, ret, err);
}

int csr_info(const void *data, size_t n, struct cert_info *ret, struct err *err)
{
    AUTO(cert_info) struct cert_info info = { 0 };
    AUTO(csr) mbedtls_x509_csr csr;
    struct slice exts = { 0 }, san = { 0 };

    mbedtls_x509_csr_init(&csr);
    int rc = crypto_csr(data, n, &csr, err);
    if (rc < 0)
        return rc;
    rc = crypto_subject(&csr.subject, &info, err);
    if (rc < 0)
        return rc;
    if (der_csr_extensions(csr.cri.p, csr.cri.len, &exts) < 0
        || der_ext_find(exts.at, exts.n, DER_OID(MBEDTLS_OID_SUBJECT_ALT_NAME), &san) < 0)
        return err_set(err, ERR_BAD_REQUEST, "certificate request: malformed attributes");
    rc = crypto_alt_names(san, &info, err);
    if (rc < 0)
        return rc;
    *ret = info;
    info = (struct cert_info){ 0 };
    return 0;
}
