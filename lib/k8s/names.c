#include "lib/crypto.h"
#include "lib/k8s/meta.h"

#include <string.h>

enum { LABEL_MAX = 63, SUBDOMAIN_MAX = 253, SUFFIX_CHARS = 5 };

void name_suffix(char *to, size_t n)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    const unsigned letters = sizeof(alphabet) - 1, fair = 256 / letters * letters;
    unsigned char bytes[32];
    size_t left = 0;

    for (size_t i = 0; i < n;) {
        if (left == 0)
            random_bytes(bytes, left = sizeof(bytes));
        unsigned b = bytes[--left];
        if (b < fair) /* the rest would favour the first letters */
            to[i++] = alphabet[b % letters];
    }
    to[n] = '\0';
}

char *name_generate(struct arena *a, const char *base)
{
    size_t n = strnlen(base, LABEL_MAX - SUFFIX_CHARS);
    char *name = arena_alloc(a, n + SUFFIX_CHARS + 1);

    memcpy(name, base, n);
    name_suffix(name + n, SUFFIX_CHARS);
    return name;
}

void uid_new(char to[37])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char b[16];

    random_bytes(b, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* version 4, RFC 9562 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = hex[b[i] >> 4];
        *to++ = hex[b[i] & 15];
    }
    *to = '\0';
}

#define LABEL_RE      "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
#define SUBDOMAIN_RE  LABEL_RE "(\\." LABEL_RE ")*"
#define QUALIFIED_RE  "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
#define LABEL_LONG    "must be no more than 63 bytes"
#define SUBDOMAIN_LONG "must be no more than 253 bytes"
#define SUBDOMAIN_TEXT                                                                                                       \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " \
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is '" SUBDOMAIN_RE "')"
#define QUALIFIED_TEXT                                                                                                  \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character " \
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '" QUALIFIED_RE "')"

static bool lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool alnum(char c)
{
    return lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool label_of(const char *s, size_t n)
{
    if (n == 0 || !lower_alnum(s[0]) || !lower_alnum(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!lower_alnum(s[i]) && s[i] != '-')
            return false;
    return true;
}

static bool subdomain_of(const char *s, size_t n)
{
    const char *end = s + n;

    for (;;) {
        const char *dot = memchr(s, '.', (size_t)(end - s));

        if (!label_of(s, (size_t)((dot ? dot : end) - s)))
            return false;
        if (!dot)
            return true;
        s = dot + 1;
    }
}

static bool qualified_of(const char *s, size_t n)
{
    if (n == 0 || !alnum(s[0]) || !alnum(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!alnum(s[i]) && !strchr("-_.", s[i]))
            return false;
    return true;
}

size_t name_problems_dns_subdomain(const char *s, const char *ret[LABEL_PROBLEMS_MAX])
{
    size_t n = strlen(s), problems = 0;

    if (n > SUBDOMAIN_MAX)
        ret[problems++] = SUBDOMAIN_LONG;
    if (!subdomain_of(s, n))
        ret[problems++] = SUBDOMAIN_TEXT;
    return problems;
}

size_t name_problems_dns_label(const char *s, const char *ret[LABEL_PROBLEMS_MAX])
{
    size_t n = strlen(s), problems = 0;

    if (n > LABEL_MAX)
        ret[problems++] = LABEL_LONG;
    if (label_of(s, n))
        return problems;
    ret[problems++] = subdomain_of(s, n)
                          ? "must not contain dots"
                          : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
                            "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
                            "validation is '" LABEL_RE "')";
    return problems;
}

static const char *first(size_t (*problems)(const char *s, const char *ret[LABEL_PROBLEMS_MAX]), const char *s)
{
    const char *msgs[LABEL_PROBLEMS_MAX];

    return problems(s, msgs) ? msgs[0] : NULL;
}

const char *name_is_dns_subdomain(const char *s)
{
    return first(name_problems_dns_subdomain, s);
}

const char *name_is_dns_label(const char *s)
{
    return first(name_problems_dns_label, s);
}

const char *name_is_dns_label_1035(const char *s)
{
    size_t n = strlen(s);

    if (n > LABEL_MAX)
        return LABEL_LONG;
    if (label_of(s, n) && s[0] >= 'a')
        return NULL;
    return "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
           "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
           "'[a-z]([-a-z0-9]*[a-z0-9])?')";
}

const char *name_is_path_segment(const char *s)
{
    if (strcmp(s, ".") == 0)
        return "may not be '.'";
    if (strcmp(s, "..") == 0)
        return "may not be '..'";
    if (strchr(s, '/'))
        return "may not contain '/'";
    return strchr(s, '%') ? "may not contain '%'" : NULL;
}

static size_t prefix_problems(const char *s, size_t n, const char *ret[LABEL_PROBLEMS_MAX])
{
    size_t problems = 0;

    if (n == 0) {
        ret[problems++] = "prefix part must be non-empty";
        return problems;
    }
    if (n > SUBDOMAIN_MAX)
        ret[problems++] = "prefix part " SUBDOMAIN_LONG;
    if (!subdomain_of(s, n))
        ret[problems++] = "prefix part " SUBDOMAIN_TEXT;
    return problems;
}

size_t label_key_problems(const char *s, const char *ret[LABEL_PROBLEMS_MAX])
{
    const char *slash = strchr(s, '/'), *name = slash ? slash + 1 : s;
    size_t n = strlen(name), problems = 0;

    if (slash && strchr(name, '/')) {
        ret[0] = "a valid label key " QUALIFIED_TEXT " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        return 1;
    }
    if (slash)
        problems = prefix_problems(s, (size_t)(slash - s), ret);
    if (n == 0)
        ret[problems++] = "name part must be non-empty";
    else if (n > LABEL_MAX)
        ret[problems++] = "name part " LABEL_LONG;
    if (!qualified_of(name, n))
        ret[problems++] = "name part " QUALIFIED_TEXT;
    return problems;
}

size_t label_value_problems(const char *s, const char *ret[LABEL_PROBLEMS_MAX])
{
    size_t n = strlen(s), problems = 0;

    if (n > LABEL_MAX)
        ret[problems++] = LABEL_LONG;
    if (n && !qualified_of(s, n))
        ret[problems++] =
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
            "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            "'(" QUALIFIED_RE ")?')";
    return problems;
}

const char *label_key_invalid(const char *s)
{
    return first(label_key_problems, s);
}

const char *label_value_invalid(const char *s)
{
    return first(label_value_problems, s);
}
