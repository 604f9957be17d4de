/* object_time - times as Go's time.Parse reads them with the layouts RFC3339 and RFC3339Micro. */
#include "lib/k8s/object_int.h"

#include "lib/clock.h"

#include <stdio.h>
#include <string.h>

struct parse {
    const char *text, *at; /* whole, rest */
    const char *layout;
    struct err *err;
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static int bad(struct parse *p, const char *element)
{
    return err_set(p->err, ERR_BAD_REQUEST, "parsing time \"%s\" as \"%s\": cannot parse \"%s\" as \"%s\"", p->text, p->layout,
                   p->at, element);
}

static int range(struct parse *p, const char *what)
{
    return err_set(p->err, ERR_BAD_REQUEST, "parsing time \"%s\": %s out of range", p->text, what);
}

/* Exactly n digits. */
static int number(struct parse *p, int n, const char *element, int *ret)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (!digit(p->at[i]))
            return bad(p, element);
        v = v * 10 + p->at[i] - '0';
    }
    p->at += n;
    *ret = v;
    return 0;
}

static int literal(struct parse *p, const char *c)
{
    if (*p->at != *c)
        return bad(p, c);
    p->at++;
    return 0;
}

static int date(struct parse *p, int *ret_year, int *ret_month, int *ret_day)
{
    int rc = number(p, 4, "2006", ret_year);
    rc = rc ? rc : literal(p, "-");
    rc = rc ? rc : number(p, 2, "01", ret_month);
    if (!rc && (*ret_month < 1 || *ret_month > 12))
        return range(p, "month");
    rc = rc ? rc : literal(p, "-");
    return rc ? rc : number(p, 2, "02", ret_day);
}

static int time_of_day(struct parse *p, int64_t *ret_s)
{
    int h = 0, m = 0, s = 0;
    int rc = number(p, digit(p->at[0]) && !digit(p->at[1]) ? 1 : 2, "15", &h); /* Go takes one digit for the hour */
    if (rc)
        return rc;
    if (h > 23)
        return range(p, "hour");
    rc = literal(p, ":");
    rc = rc ? rc : number(p, 2, "04", &m);
    if (!rc && m > 59)
        return range(p, "minute");
    rc = rc ? rc : literal(p, ":");
    rc = rc ? rc : number(p, 2, "05", &s);
    if (!rc && s > 59)
        return range(p, "second");
    if (!rc)
        *ret_s = h * 3600 + m * 60 + s;
    return rc;
}

static int fraction(struct parse *p, bool micro, int *ret_us)
{
    bool dot = *p->at == '.' || *p->at == ',';
    if (!micro) { /* any number of digits, dropped; none: left for what follows to refuse */
        if (dot && digit(p->at[1])) {
            for (p->at++; digit(*p->at);)
                p->at++;
        }
        return 0;
    }
    for (int i = 1; i <= 6; i++) {
        if (!dot || !digit(p->at[i]))
            return bad(p, ".000000");
    }
    p->at++;
    return number(p, 6, ".000000", ret_us);
}

static int zone(struct parse *p, int *ret_offset_s)
{
    if (*p->at == 'Z') {
        p->at++;
        return 0;
    }
    const char *z = p->at;
    bool whole = (z[0] == '+' || z[0] == '-') && digit(z[1]) && digit(z[2]) && z[3] == ':' && digit(z[4]) && digit(z[5]);
    if (!whole)
        return bad(p, "Z07:00");
    int h = (z[1] - '0') * 10 + z[2] - '0', m = (z[4] - '0') * 10 + z[5] - '0';
    if (h > 24)
        return range(p, "time zone offset hour");
    if (m > 60)
        return range(p, "time zone offset minute");
    *ret_offset_s = (z[0] == '-' ? -1 : 1) * (h * 3600 + m * 60);
    p->at += 6;
    return 0;
}

static int days_in(int year, int month)
{
    static const int8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970 of a Gregorian date. */
static int64_t days_of(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int parse(struct parse *p, bool micro, int64_t *ret_s, int *ret_us)
{
    int year = 0, month = 0, day = 0, offset = 0;
    int64_t s = 0;
    int rc = date(p, &year, &month, &day);
    rc = rc ? rc : literal(p, "T");
    rc = rc ? rc : time_of_day(p, &s);
    rc = rc ? rc : fraction(p, micro, ret_us);
    rc = rc ? rc : zone(p, &offset);
    if (rc)
        return rc;
    if (*p->at)
        return err_set(p->err, ERR_BAD_REQUEST, "parsing time \"%s\": extra text: \"%s\"", p->text, p->at);
    if (day < 1 || day > days_in(year, month))
        return range(p, "day");
    *ret_s = days_of(year, month, day) * 86400 + s - offset;
    return 0;
}

int object_time(const char *text, bool micro, char *to, struct err *err)
{
    struct parse p = { .text = text, .at = text, .err = err,
                       .layout = micro ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00" };
    int64_t s = 0;
    int us = 0;
    int rc = parse(&p, micro, &s, &us);
    if (rc)
        return rc;
    /* A zone can carry year 0 or 9999 past four digits, which RFC 3339 cannot say. */
    if (s < days_of(0, 1, 1) * 86400 || s >= days_of(10000, 1, 1) * 86400)
        return range(&p, "year");
    if (micro)
        clock_micro_text(s * 1000000 + us, to);
    else
        clock_time_text(s, to);
    return 0;
}
