#include "lib/yaml_int.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { NUMBER_TEXT_MAX = 512 }; /* longer plain text is no number */

static const char TAG_PREFIX[] = "tag:yaml.org,2002:";

static const struct {
    const char *text;
    enum yaml_kind kind;
    bool b;
} WORDS[] = {
    { "y", YAML_IS_BOOL, true },     { "Y", YAML_IS_BOOL, true },      { "yes", YAML_IS_BOOL, true },
    { "Yes", YAML_IS_BOOL, true },   { "YES", YAML_IS_BOOL, true },    { "true", YAML_IS_BOOL, true },
    { "True", YAML_IS_BOOL, true },  { "TRUE", YAML_IS_BOOL, true },   { "on", YAML_IS_BOOL, true },
    { "On", YAML_IS_BOOL, true },    { "ON", YAML_IS_BOOL, true },     { "n", YAML_IS_BOOL, false },
    { "N", YAML_IS_BOOL, false },    { "no", YAML_IS_BOOL, false },    { "No", YAML_IS_BOOL, false },
    { "NO", YAML_IS_BOOL, false },   { "false", YAML_IS_BOOL, false }, { "False", YAML_IS_BOOL, false },
    { "FALSE", YAML_IS_BOOL, false }, { "off", YAML_IS_BOOL, false },  { "Off", YAML_IS_BOOL, false },
    { "OFF", YAML_IS_BOOL, false },  { "~", YAML_IS_NULL, false },     { "null", YAML_IS_NULL, false },
    { "Null", YAML_IS_NULL, false }, { "NULL", YAML_IS_NULL, false },  { "<<", YAML_IS_MERGE, false },
};

static const struct {
    const char *text;
    double f;
} ODD_FLOATS[] = {
    { ".nan", NAN },        { ".NaN", NAN },        { ".NAN", NAN },        { ".inf", INFINITY },
    { ".Inf", INFINITY },   { ".INF", INFINITY },   { "+.inf", INFINITY },  { "+.Inf", INFINITY },
    { "+.INF", INFINITY },  { "-.inf", -INFINITY }, { "-.Inf", -INFINITY }, { "-.INF", -INFINITY },
};

static const struct yaml_scalar STRING = { .kind = YAML_IS_STRING };

/* --- timestamps --- */

/* One or two digits; -1 when there are none. */
static int two_digits(const char **p)
{
    int v = -1;

    for (int i = 0; i < 2 && isdigit((unsigned char)**p); i++)
        v = (v < 0 ? 0 : v * 10) + *(*p)++ - '0';
    return v;
}

static bool eat(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool is_day(int year, int month, int day)
{
    static const int DAYS[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month >= 1 && month <= 12 && day >= 1 && day <= DAYS[month - 1] + (month == 2 && leap);
}

static bool is_zone(const char *p)
{
    if (eat(&p, 'Z'))
        return !*p;
    if (!eat(&p, '+') && !eat(&p, '-'))
        return false;
    return isdigit((unsigned char)p[0]) && isdigit((unsigned char)p[1]) && p[2] == ':' && isdigit((unsigned char)p[3])
           && isdigit((unsigned char)p[4]) && !p[5] && (p[0] - '0') * 10 + p[1] - '0' <= 24
           && (p[3] - '0') * 10 + p[4] - '0' < 60;
}

/* The four layouts go-yaml tries: a date, a date and time with zone (T or t), or after a space without. */
static bool is_timestamp(const char *p)
{
    int year = 0;

    for (int i = 0; i < 4; i++, p++) {
        if (!isdigit((unsigned char)*p))
            return false;
        year = year * 10 + *p - '0';
    }
    if (!eat(&p, '-'))
        return false;
    int month = two_digits(&p);
    if (!eat(&p, '-'))
        return false;
    int day = two_digits(&p);
    if (!is_day(year, month, day))
        return false;
    if (!*p)
        return true;
    char sep = *p++;
    if (sep != 'T' && sep != 't' && sep != ' ')
        return false;
    int h = two_digits(&p);
    if (h < 0 || h > 23 || !eat(&p, ':'))
        return false;
    int m = two_digits(&p);
    if (m < 0 || m > 59 || !eat(&p, ':'))
        return false;
    int s = two_digits(&p);
    if (s < 0 || s > 59)
        return false;
    if ((*p == '.' || *p == ',') && isdigit((unsigned char)p[1]))
        for (p++; isdigit((unsigned char)*p);)
            p++;
    return sep == ' ' ? !*p : is_zone(p);
}

/* --- numbers --- */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return 99;
}

/* Go's strconv.ParseUint(s, 0, 64): 0x, 0o, 0b and a leading 0 choose the base. */
static bool parse_uint(const char *p, uint64_t *ret)
{
    uint64_t base = 10, v = 0;

    if (p[0] == '0' && p[1]) {
        char c = (char)(p[1] | 0x20);

        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        p += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
    }
    if (!*p)
        return false;
    for (; *p; p++) {
        uint64_t d = (uint64_t)digit_of(*p);

        if (d >= base || __builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *ret = v;
    return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? and not beyond a double */
static bool parse_float(const char *text, double *ret)
{
    const char *p = text;
    size_t whole, part = 0;

    if (*p == '-' || *p == '+')
        p++;
    whole = strspn(p, "0123456789");
    p += whole;
    if (*p == '.') {
        part = strspn(p + 1, "0123456789");
        p += 1 + part;
    }
    if (!whole && !part)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+')
            p++;
        size_t n = strspn(p, "0123456789");
        if (!n)
            return false;
        p += n;
    }
    if (*p)
        return false;
    *ret = strtod(text, NULL);
    return isfinite(*ret);
}

static struct yaml_scalar number_or_string(const char *plain)
{
    bool minus = plain[0] == '-', sign = minus || plain[0] == '+';
    uint64_t u;
    double f;

    if (parse_uint(plain + sign, &u)) {
        if (u <= (uint64_t)INT64_MAX + minus)
            return (struct yaml_scalar){ .kind = YAML_IS_INT, .i = minus ? (int64_t)(0 - u) : (int64_t)u };
        if (!sign)
            return (struct yaml_scalar){ .kind = YAML_IS_UINT, .u = u };
    }
    if (parse_float(plain, &f))
        return (struct yaml_scalar){ .kind = YAML_IS_FLOAT, .f = f };
    return STRING;
}

static struct yaml_scalar resolve(struct slice text, bool timestamps)
{
    char plain[NUMBER_TEXT_MAX];
    size_t n = 0;

    if (text.n == 0)
        return (struct yaml_scalar){ .kind = YAML_IS_NULL };
    if (text.n >= sizeof(plain))
        return STRING;
    char c = text.at[0];
    bool number = isdigit((unsigned char)c) || c == '-' || c == '+';
    if (!number && !strchr("yYnNtTfFoO~.<", c))
        return STRING;
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++)
        if (c == WORDS[i].text[0] && slice_is(text, WORDS[i].text))
            return (struct yaml_scalar){ .kind = WORDS[i].kind, .b = WORDS[i].b };
    for (size_t i = 0; i < ARRAY_LEN(ODD_FLOATS); i++)
        if (c == ODD_FLOATS[i].text[0] && slice_is(text, ODD_FLOATS[i].text))
            return (struct yaml_scalar){ .kind = YAML_IS_ODD_FLOAT, .f = ODD_FLOATS[i].f };
    if ((!number && c != '.') || memchr(text.at, '\0', text.n))
        return STRING;
    memcpy(plain, text.at, text.n);
    plain[text.n] = '\0';
    if (number && timestamps && is_timestamp(plain))
        return (struct yaml_scalar){ .kind = YAML_IS_TIMESTAMP };
    if (number) {
        for (size_t i = 0; i < text.n; i++)
            if (text.at[i] != '_')
                plain[n++] = text.at[i];
        plain[n] = '\0';
        return number_or_string(plain);
    }
    double f;
    return parse_float(plain, &f) ? (struct yaml_scalar){ .kind = YAML_IS_FLOAT, .f = f } : STRING;
}

struct yaml_scalar yaml_resolve(struct slice text)
{
    return resolve(text, true);
}

static const char *kind_name(enum yaml_kind kind)
{
    static const char *const NAMES[] = {
        [YAML_IS_STRING] = "!!str",        [YAML_IS_NULL] = "!!null",       [YAML_IS_BOOL] = "!!bool",
        [YAML_IS_INT] = "!!int",           [YAML_IS_UINT] = "!!int",        [YAML_IS_FLOAT] = "!!float",
        [YAML_IS_ODD_FLOAT] = "!!float",   [YAML_IS_TIMESTAMP] = "!!timestamp", [YAML_IS_MERGE] = "!!merge",
    };

    return NAMES[kind];
}

int yaml_resolve_tagged(struct slice text, const char *tag, struct yaml_scalar *ret, struct err *err)
{
    static const char *const RESOLVED[] = { "bool", "int", "float", "null", "timestamp" };
    const char *name = strncmp(tag, TAG_PREFIX, sizeof(TAG_PREFIX) - 1) == 0 ? tag + sizeof(TAG_PREFIX) - 1 : NULL;
    bool known = false;

    for (size_t i = 0; i < ARRAY_LEN(RESOLVED); i++)
        known |= name && strcmp(name, RESOLVED[i]) == 0;
    if (!known) { /* !!str and every tag of somebody's own */
        *ret = STRING;
        return 0;
    }
    struct yaml_scalar v = resolve(text, strcmp(name, "timestamp") == 0);
    if (strcmp(name, "float") == 0 && v.kind == YAML_IS_INT)
        v = (struct yaml_scalar){ .kind = YAML_IS_FLOAT, .f = (double)v.i };
    if (strcmp(kind_name(v.kind) + 2, name) != 0)
        return err_set(err, ERR_BAD_REQUEST, "yaml: cannot decode %s `%.*s` as a !!%s", kind_name(v.kind),
                       (int)(text.n > 100 ? 100 : text.n), text.at, name);
    *ret = v;
    return 0;
}

/* [-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)? */
bool yaml_is_base60(struct slice text)
{
    size_t i = text.n && (text.at[0] == '-' || text.at[0] == '+'), parts = 0;

    if (i >= text.n || !isdigit((unsigned char)text.at[i]))
        return false;
    while (i < text.n && (isdigit((unsigned char)text.at[i]) || text.at[i] == '_'))
        i++;
    while (i + 1 < text.n && text.at[i] == ':' && isdigit((unsigned char)text.at[i + 1])) {
        bool two = text.at[i + 1] <= '5' && i + 2 < text.n && isdigit((unsigned char)text.at[i + 2]);

        i += two ? 3 : 2;
        parts++;
    }
    if (i < text.n && text.at[i] == '.')
        for (i++; i < text.n && (isdigit((unsigned char)text.at[i]) || text.at[i] == '_');)
            i++;
    return parts && i == text.n;
}
