#include "lib/json_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- numbers --- */

static void write_int(int64_t v, struct buf *to)
{
    char text[24], *p = text + sizeof(text);
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0)
        *--p = '-';
    buf_add(to, p, (size_t)(text + sizeof(text) - p));
}

/* d.ddd times ten to the e, no zeros behind. */
struct decimal {
    char digits[20];
    size_t n;
    int e;
};

/* `text` as printf's %e writes it, positive. */
static struct decimal decimal_of(const char *text)
{
    struct decimal d = { .n = 0 };

    for (const char *p = text; *p; p++) {
        if (*p == 'e') {
            d.e = (int)strtol(p + 1, NULL, 10);
            break;
        }
        if (*p != '.' && d.n < sizeof(d.digits))
            d.digits[d.n++] = *p;
    }
    while (d.n > 1 && d.digits[d.n - 1] == '0')
        d.n--;
    return d;
}

/* Below a power of two doubles lie closer than above it, so there the decimal above may read back although the nearest
 * one doesn't. `text` is v in 16 digits. */
static bool next_up(char *text, size_t size, double v)
{
    struct decimal d = decimal_of(text);
    unsigned long long m = 0, unit = 1000000000000000;

    for (size_t i = 0; i < 16; i++)
        m = m * 10 + (i < d.n ? (unsigned long long)(d.digits[i] - '0') : 0);
    m++;
    snprintf(text, size, "%llu.%015llue%d", m / unit, m % unit, d.e);
    return m / unit < 10 && strtod(text, NULL) == v;
}

/* The shortest digits that read back as v > 0, and of those the nearest.
 * Up to 15 digits every decimal has its own double, so the 15 nearest, less the zeros behind, are the shortest;
 * subnormal doubles have fewer digits and are tried one by one. */
static struct decimal shortest(double v)
{
    char text[32] = "";

    for (int digits = v < 2.3e-308 ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v)
            break;
        if (digits == 16 && next_up(text, sizeof(text), v))
            break;
    }
    return decimal_of(text);
}

static struct decimal shortest_float(float v)
{
    char text[32] = "";

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    return decimal_of(text);
}

static void write_exponent_form(const struct decimal *d, int exponent_digits, struct buf *to)
{
    buf_add(to, d->digits, 1);
    if (d->n > 1) {
        buf_char(to, '.');
        buf_add(to, d->digits + 1, d->n - 1);
    }
    buf_printf(to, "e%c%0*d", d->e < 0 ? '-' : '+', exponent_digits, d->e < 0 ? -d->e : d->e);
}

static void write_plain_form(const struct decimal *d, struct buf *to)
{
    if (d->e < 0) {
        buf_add(to, "0.00000", (size_t)(1 - d->e)); /* d->e >= -6 */
        buf_add(to, d->digits, d->n);
        return;
    }
    size_t whole = (size_t)d->e + 1;
    buf_add(to, d->digits, d->n < whole ? d->n : whole);
    for (size_t i = d->n; i < whole; i++)
        buf_char(to, '0');
    if (d->n > whole) {
        buf_char(to, '.');
        buf_add(to, d->digits + whole, d->n - whole);
    }
}

/* Writes the sign and zero; gives the absolute value, 0 when all is written. */
static double write_sign(double v, struct buf *to)
{
    if (signbit(v))
        buf_char(to, '-');
    if (v == 0)
        buf_char(to, '0');
    return fabs(v);
}

/* Source: Go encoding/json, floatEncoder. */
void json_write_real(double v, struct buf *to)
{
    if (!isfinite(v)) {
        buf_str(to, "null");
        return;
    }
    if (fabs(v) < 1e15 && v == (double)(int64_t)v && v != 0) {
        write_int((int64_t)v, to);
        return;
    }
    v = write_sign(v, to);
    if (v == 0)
        return;
    struct decimal d = shortest(v);
    if (v < 1e-6 || v >= 1e21)
        write_exponent_form(&d, 1, to);
    else
        write_plain_form(&d, to);
}

/* Source: Go strconv, %g at shortest precision. */
static void write_g(const struct decimal *d, struct buf *to)
{
    if (d->e < -4 || d->e >= 6)
        write_exponent_form(d, 2, to);
    else
        write_plain_form(d, to);
}

void json_write_float_g(double f, struct buf *to)
{
    f = write_sign(f, to);
    if (f == 0)
        return;
    struct decimal d = shortest(f);
    write_g(&d, to);
}

void json_write_float_key(double f, struct buf *to)
{
    float narrow = (float)f;

    if (!isfinite(narrow)) {
        buf_str(to, narrow < 0 ? "-.inf" : ".inf");
        return;
    }
    f = write_sign((double)narrow, to);
    if (f == 0)
        return;
    struct decimal d = shortest_float(fabsf(narrow));
    write_g(&d, to);
}

/* --- strings --- */

static void write_control(unsigned char c, struct buf *to)
{
    static const char from[] = "\b\f\n\r\t\"\\", into[] = "bfnrt\"\\", hex[] = "0123456789abcdef";
    const char *which = c ? strchr(from, c) : NULL;

    if (which) {
        char two[2] = { '\\', into[which - from] };

        buf_add(to, two, 2);
    } else {
        char six[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

        buf_add(to, six, 6);
    }
}

/* Writes one character that is not plain; gives its length in s. */
static size_t write_special(const char *s, size_t n, struct buf *to)
{
    const unsigned char *u = (const unsigned char *)s;

    if (u[0] < 0x80) {
        if (u[0] == 0x7f)
            buf_char(to, 0x7f);
        else
            write_control(u[0], to);
        return 1;
    }
    size_t len = json_utf8_len(u, n);
    if (len == 0) {
        buf_add(to, "\xef\xbf\xbd", 3);
        return 1;
    }
    if (len == 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] | 1) == 0xa9) /* U+2028, U+2029: always escaped by Go */
        buf_str(to, u[2] == 0xa8 ? "\\u2028" : "\\u2029");
    else
        buf_add(to, s, len);
    return len;
}

void json_write_string(struct slice s, struct buf *to)
{
    /* Usually one piece: room for all of it and both quotes at once. */
    size_t run = json_plain_run(s.at, s.n);
    char *p = buf_space(to, s.n + 2);

    *p = '"';
    if (run)
        memcpy(p + 1, s.at, run);
    if (run == s.n) {
        p[run + 1] = '"';
        buf_used(to, run + 2);
        return;
    }
    buf_used(to, run + 1);
    for (size_t i = run; i < s.n;) {
        i += write_special(s.at + i, s.n - i, to);
        run = json_plain_run(s.at + i, s.n - i);
        buf_add(to, s.at + i, run);
        i += run;
    }
    buf_char(to, '"');
}

/* --- trees --- */

static void new_line(int indent, int level, struct buf *to)
{
    size_t n = (size_t)indent * (size_t)level;
    char *p = buf_space(to, n + 1);

    p[0] = '\n';
    memset(p + 1, ' ', n);
    buf_used(to, n + 1);
}

static void write_value(const json_t *v, int indent, int level, struct buf *to);

static void write_object(const json_t *v, int indent, int level, struct buf *to)
{
    json_t *o = (json_t *)v; /* jansson's iterators know no const */
    bool first = true;

    buf_char(to, '{');
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        if (!first)
            buf_char(to, ',');
        first = false;
        if (indent)
            new_line(indent, level + 1, to);
        json_write_string((struct slice){ json_object_iter_key(it), json_object_iter_key_len(it) }, to);
        buf_add(to, ": ", indent ? 2 : 1);
        write_value(json_object_iter_value(it), indent, level + 1, to);
    }
    if (indent && !first)
        new_line(indent, level, to);
    buf_char(to, '}');
}

static void write_array(const json_t *v, int indent, int level, struct buf *to)
{
    size_t n = json_array_size(v);

    buf_char(to, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(to, ',');
        if (indent)
            new_line(indent, level + 1, to);
        write_value(json_array_get(v, i), indent, level + 1, to);
    }
    if (indent && n)
        new_line(indent, level, to);
    buf_char(to, ']');
}

static void write_value(const json_t *v, int indent, int level, struct buf *to)
{
    if (!v) {
        buf_str(to, "null");
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        write_object(v, indent, level, to);
        break;
    case JSON_ARRAY:
        write_array(v, indent, level, to);
        break;
    case JSON_STRING:
        json_write_string((struct slice){ json_string_value(v), json_string_length(v) }, to);
        break;
    case JSON_INTEGER:
        write_int(json_integer_value(v), to);
        break;
    case JSON_REAL:
        json_write_real(json_real_value(v), to);
        break;
    case JSON_TRUE:
        buf_add(to, "true", 4);
        break;
    case JSON_FALSE:
        buf_add(to, "false", 5);
        break;
    case JSON_NULL:
        buf_add(to, "null", 4);
        break;
    }
}

void json_write(const json_t *v, struct buf *to)
{
    write_value(v, 0, 0, to);
}

void json_write_pretty(const json_t *v, int indent, struct buf *to)
{
    write_value(v, indent, 0, to);
}
