#include "lib/k8s/quantity.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef unsigned __int128 u128; /* the compiler's own type has no shorter name */

enum { NANO_DIGITS = 9, FACTORS_MAX = 18, DIGITS_MAX = QUANTITY_INPUT_MAX + 24, NANO_DIGITS_MAX = 38 };
static const int64_t NANO = 1000000000;

struct parts {
    bool negative;
    struct slice number;   /* sign and digits as written */
    struct slice num, den; /* digits before and after the point, leading zeros gone from num */
    int num_digits;        /* upstream counts an empty num as "0" */
    struct slice suffix;
};

struct suffix {
    int base, exponent; /* base 2 or 10 */
    int format;
};

static const struct {
    const char *text;
    int base, exponent;
} suffixes[] = {
    { "", 10, 0 },    { "n", 10, -9 },  { "u", 10, -6 },  { "m", 10, -3 },  { "k", 10, 3 },
    { "M", 10, 6 },   { "G", 10, 9 },   { "T", 10, 12 },  { "P", 10, 15 },  { "E", 10, 18 },
    { "Ki", 2, 10 },  { "Mi", 2, 20 },  { "Gi", 2, 30 },  { "Ti", 2, 40 },  { "Pi", 2, 50 },
    { "Ei", 2, 60 },
};

static int wrong_format(struct err *err)
{
    return err_set(err, ERR_BAD_REQUEST,
                   "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

static size_t digits_at(const char *text, size_t n, size_t at)
{
    size_t i = at;

    while (i < n && text[i] >= '0' && text[i] <= '9')
        i++;
    return i - at;
}

static int split(const char *text, size_t n, struct parts *ret, struct err *err)
{
    struct parts p = { 0 };
    size_t at = 0;

    if (at < n && (text[at] == '-' || text[at] == '+'))
        p.negative = text[at++] == '-';
    while (at < n && text[at] == '0')
        at++;
    p.num = (struct slice){ text + at, digits_at(text, n, at) };
    p.num_digits = p.num.n ? (int)p.num.n : 1;
    at += p.num.n;
    if (at < n && text[at] == '.') {
        at++;
        p.den = (struct slice){ text + at, digits_at(text, n, at) };
        at += p.den.n;
    }
    p.number = (struct slice){ text, at };

    size_t suffix = at;
    while (at < n && text[at] && strchr("eEinumkKMGTP", text[at]))
        at++;
    if (at < n && (text[at] == '-' || text[at] == '+'))
        at++;
    at += digits_at(text, n, at);
    if (at != n)
        return wrong_format(err);
    p.suffix = (struct slice){ text + suffix, n - suffix };
    *ret = p;
    return 0;
}

/* "e12" or "E-3". Upstream reads 64 bits and keeps the low 32. */
static bool exponent_of(struct slice s, int *ret)
{
    bool negative = false;
    size_t i = 1;
    int64_t v = 0;

    if (s.n < 2 || (s.at[0] != 'e' && s.at[0] != 'E'))
        return false;
    if (s.at[i] == '-' || s.at[i] == '+')
        negative = s.at[i++] == '-';
    if (i == s.n)
        return false;
    for (; i < s.n; i++) {
        if (!isdigit((unsigned char)s.at[i]) || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, s.at[i] - '0', &v))
            return false;
    }
    *ret = (int)(int32_t)(uint32_t)(uint64_t)(negative ? -v : v);
    return true;
}

static bool suffix_of(struct slice s, struct suffix *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (!slice_is(s, suffixes[i].text))
            continue;
        *ret = (struct suffix){ suffixes[i].base, suffixes[i].exponent,
                                suffixes[i].base == 2 ? QUANTITY_BINARY_SI : QUANTITY_DECIMAL_SI };
        return true;
    }
    *ret = (struct suffix){ 10, 0, QUANTITY_DECIMAL_EXPONENT };
    return exponent_of(s, &ret->exponent);
}

/* Whether upstream takes its way through an int64, on which it keeps some texts as written. */
static bool short_number(const struct parts *p, const struct suffix *s)
{
    int precision;

    if (s->base == 10)
        precision = FACTORS_MAX - p->num_digits - (int)p->den.n;
    else if (p->den.n == 0)
        precision = 15 - p->num_digits - s->exponent * 3 / 10 - 1;
    else
        return false;
    if (precision < 0)
        return false;
    int64_t scale = (s->base == 10 ? (int64_t)s->exponent : 0) - (int64_t)p->den.n;
    return scale >= -NANO_DIGITS;
}

/* digits times 2^exponent (a multiple of 10), in place; the array has room for 24 more. */
static void times_binary(uint8_t digits[DIGITS_MAX], size_t *n, int exponent)
{
    for (; exponent > 0; exponent -= 10) {
        unsigned carry = 0;

        for (size_t i = *n; i-- > 0;) {
            carry += digits[i] * 1024U;
            digits[i] = (uint8_t)(carry % 10);
            carry /= 10;
        }
        while (carry) {
            memmove(digits + 1, digits, (*n)++);
            digits[0] = (uint8_t)(carry % 10);
            carry /= 10;
        }
    }
}

static u128 cap(void)
{
    u128 c = 1;

    for (int i = 0; i < NANO_DIGITS_MAX; i++)
        c *= 10;
    return c;
}

/* The number of nano units: `digits` with the point after `point` of them (may lie outside), rounded up. */
static u128 nano_of(const uint8_t *digits, size_t n, int64_t point)
{
    u128 v = 0;
    size_t i = 0;
    int64_t whole = point + NANO_DIGITS;

    for (; i < n && digits[i] == 0; i++)
        whole--;
    if (i == n)
        return 0;
    if (whole > NANO_DIGITS_MAX)
        return cap();
    for (; whole > 0; whole--)
        v = v * 10 + (i < n ? digits[i++] : 0);
    for (; i < n; i++)
        if (digits[i])
            return v + 1;
    return v;
}

static int value_of(const struct parts *p, const struct suffix *s, struct quantity *ret, struct err *err)
{
    uint8_t digits[DIGITS_MAX];
    size_t n = 0, before;

    if (!short_number(p, s)) {
        bool any = false;

        for (size_t i = 0; i < p->number.n; i++)
            any |= isdigit((unsigned char)p->number.at[i]) != 0;
        if (!any)
            return err_set(err, ERR_BAD_REQUEST, "unable to parse numeric part of quantity");
    }
    for (size_t i = 0; i < p->num.n; i++)
        digits[n++] = (uint8_t)(p->num.at[i] - '0');
    for (size_t i = 0; i < p->den.n; i++)
        digits[n++] = (uint8_t)(p->den.at[i] - '0');
    before = n;
    if (s->base == 2)
        times_binary(digits, &n, s->exponent);

    int64_t point = (int64_t)p->num.n + (int64_t)(n - before) + (s->base == 10 ? s->exponent : 0);
    u128 v = nano_of(digits, n, point);
    if (s->base == 2 && v > (u128)INT64_MAX * NANO)
        v = (u128)INT64_MAX * NANO;
    ret->format = s->format;
    if (s->format == QUANTITY_BINARY_SI && v > 0 && v < NANO)
        ret->format = QUANTITY_DECIMAL_SI;
    ret->nano = p->negative ? -(__int128)v : (__int128)v;
    return 0;
}

static int parse(const char *text, size_t n, struct parts *p, struct suffix *s, struct err *err)
{
    if (n == 0 || n > QUANTITY_INPUT_MAX)
        return wrong_format(err);
    int rc = split(text, n, p, err);
    if (rc < 0)
        return rc;
    if (!suffix_of(p->suffix, s))
        return err_set(err, ERR_BAD_REQUEST, "unable to parse quantity's suffix");
    return 0;
}

int quantity_parse(const char *text, size_t n, struct quantity *ret, struct err *err)
{
    struct parts p;
    struct suffix s;
    int rc = parse(text, n, &p, &s, err);

    return rc < 0 ? rc : value_of(&p, &s, ret, err);
}

/* Upstream holds these to be canonical already and keeps the string. */
static bool kept_as_written(const struct parts *p, const struct suffix *s)
{
    int64_t scale = (int64_t)s->exponent - (int64_t)p->den.n;
    size_t zeros = 0;

    if (p->num.n == 0 || !short_number(p, s))
        return false;
    if (s->base == 2) {
        int64_t written = 0;

        for (size_t i = 0; i < p->num.n; i++)
            written = written * 10 + (p->num.at[i] - '0');
        return (written & 7) != 0;
    }
    while (zeros < p->den.n && p->den.at[p->den.n - 1 - zeros] == '0')
        zeros++;
    if (zeros == p->den.n)
        for (size_t i = p->num.n; i > 0 && p->num.at[i - 1] == '0'; i--)
            zeros++;
    return scale % 3 == 0 && zeros < 3;
}

int quantity_stored_text(const char *text, size_t n, char to[QUANTITY_TEXT_BYTES], struct err *err)
{
    struct parts p;
    struct suffix s;
    struct quantity q;
    int rc = parse(text, n, &p, &s, err);

    if (rc == 0)
        rc = value_of(&p, &s, &q, err);
    if (rc < 0)
        return rc;
    if (n < QUANTITY_TEXT_BYTES && kept_as_written(&p, &s)) {
        memcpy(to, text, n);
        to[n] = '\0';
    } else {
        quantity_text(&q, to);
    }
    return 0;
}

static char *write_digits(u128 v, char *end)
{
    do {
        *--end = (char)('0' + (int)(v % 10));
        v /= 10;
    } while (v);
    return end;
}

static char *write_decimal(const struct quantity *q, u128 v, char *to)
{
    char digits[QUANTITY_TEXT_BYTES], *end = digits + sizeof(digits) - 1, *from;
    int exponent = -NANO_DIGITS;
    bool si = q->format != QUANTITY_DECIMAL_EXPONENT;

    while (v % 10 == 0 && !(si && exponent == 18)) {
        v /= 10;
        exponent++;
    }
    for (; exponent % 3 != 0; exponent--)
        v *= 10;
    *end = '\0';
    from = write_digits(v, end);
    const char *suffix = "";
    char exp_text[16];
    if (!si && exponent != 0) {
        snprintf(exp_text, sizeof(exp_text), "e%d", exponent);
        suffix = exp_text;
    }
    for (size_t i = 0; si && i < ARRAY_LEN(suffixes); i++)
        if (suffixes[i].base == 10 && suffixes[i].exponent == exponent)
            suffix = suffixes[i].text;
    snprintf(to, QUANTITY_TEXT_BYTES, "%s%s%s", q->nano < 0 ? "-" : "", from, suffix);
    return to;
}

char *quantity_text(const struct quantity *q, char to[QUANTITY_TEXT_BYTES])
{
    static const char *const binary[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    u128 v = q->nano < 0 ? (u128)-q->nano : (u128)q->nano;
    char digits[QUANTITY_TEXT_BYTES], *end = digits + sizeof(digits) - 1;
    size_t power = 0;

    if (v == 0)
        return memcpy(to, "0", 2);
    if (q->format != QUANTITY_BINARY_SI || v < 1024 * (u128)NANO || v % NANO != 0)
        return write_decimal(q, v, to);
    for (v /= NANO; v % 1024 == 0 && power + 1 < ARRAY_LEN(binary); power++)
        v /= 1024;
    *end = '\0';
    snprintf(to, QUANTITY_TEXT_BYTES, "%s%s%s", q->nano < 0 ? "-" : "", write_digits(v, end), binary[power]);
    return to;
}

/* Away from zero; saturates. */
static int64_t scaled(__int128 nano, int64_t unit)
{
    __int128 v = nano / unit;

    if (nano % unit != 0)
        v += nano > 0 ? 1 : -1;
    return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v;
}

int64_t quantity_value(const struct quantity *q)
{
    return scaled(q->nano, NANO);
}

int64_t quantity_milli(const struct quantity *q)
{
    return scaled(q->nano, NANO / 1000);
}

int quantity_cmp(const struct quantity *a, const struct quantity *b)
{
    return (a->nano > b->nano) - (a->nano < b->nano);
}

static void add_nano(struct quantity *a, __int128 nano)
{
    __int128 sum, most = (__int128)cap();

    if (__builtin_add_overflow(a->nano, nano, &sum) || sum > most || sum < -most)
        sum = nano > 0 ? most : -most;
    a->nano = sum;
}

void quantity_add(struct quantity *a, const struct quantity *b)
{
    if (a->nano == 0)
        a->format = b->format;
    add_nano(a, b->nano);
}

void quantity_sub(struct quantity *a, const struct quantity *b)
{
    if (a->nano == 0)
        a->format = b->format;
    add_nano(a, -b->nano);
}

struct quantity quantity_of(int64_t value)
{
    return (struct quantity){ .nano = (__int128)value * NANO };
}

struct quantity quantity_of_milli(int64_t milli)
{
    return (struct quantity){ .nano = (__int128)milli * (NANO / 1000) };
}

static struct quantity of_json(const json_t *v)
{
    struct quantity q = { 0 };
    struct err ignored;
    AUTO(buf) struct buf text = { 0 };

    if (json_is_string(v)) {
        /* Nonsense counts as nothing, as the contract says. */
        ERR_IGNORE(quantity_parse(json_string_value(v), json_string_length(v), &q, &ignored));
    } else if (json_is_integer(v)) {
        q = quantity_of(json_integer_value(v));
    } else if (json_is_real(v)) {
        json_write_real(json_real_value(v), &text);
        ERR_IGNORE(quantity_parse(buf_at(&text), buf_len(&text), &q, &ignored));
    }
    return q;
}

int64_t quantity_json_value(const json_t *v)
{
    struct quantity q = of_json(v);

    return quantity_value(&q);
}

int64_t quantity_json_milli(const json_t *v)
{
    struct quantity q = of_json(v);

    return quantity_milli(&q);
}
