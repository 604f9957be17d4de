#include "lib/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t now(clockid_t id, int64_t per_s)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * per_s + ts.tv_nsec / (1000000000 / per_s);
}

static int64_t system_wall_us(void *arg)
{
    (void)arg;
    return now(CLOCK_REALTIME, 1000000);
}

static int64_t system_mono_ms(void *arg)
{
    (void)arg;
    return now(CLOCK_MONOTONIC, 1000);
}

const struct clock clock_system = { NULL, system_wall_us, system_mono_ms };

int64_t clock_wall_us(const struct clock *c)
{
    return c->wall_us(c->arg);
}

int64_t clock_wall_s(const struct clock *c)
{
    return c->wall_us(c->arg) / 1000000;
}

int64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ms(c->arg);
}

char *clock_time_text(int64_t wall_s, char *to)
{
    struct tm tm;
    time_t t = (time_t)wall_s;

    gmtime_r(&t, &tm);
    size_t n = tm.tm_year < 1000 - 1900 ? (size_t)snprintf(to, CLOCK_TEXT_BYTES, "%04d", tm.tm_year + 1900) : 0; /* %Y pads nothing */
    strftime(to + n, CLOCK_TEXT_BYTES - n, n ? "-%m-%dT%H:%M:%SZ" : "%Y-%m-%dT%H:%M:%SZ", &tm);
    return to;
}

char *clock_micro_text(int64_t wall_us, char *to)
{
    int us = (int)(wall_us % 1000000); /* before 1970 the remainder is negative; the second is the one below */
    us += us < 0 ? 1000000 : 0;
    clock_time_text((wall_us - us) / 1000000, to);
    size_t n = strlen(to) - 1;
    snprintf(to + n, CLOCK_TEXT_BYTES - n, ".%06dZ", us);
    return to;
}

static bool digits(const char **at, const char *end, int n, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        if (*at >= end || **at < '0' || **at > '9')
            return false;
        v = v * 10 + (*(*at)++ - '0');
    }
    *ret = v;
    return true;
}

static bool one(const char **at, const char *end, const char *of)
{
    if (*at >= end || !strchr(of, **at) || !**at)
        return false;
    (*at)++;
    return true;
}

static bool offset_s(const char **at, const char *end, int *ret)
{
    int h = 0, m = 0;

    if (one(at, end, "Zz")) {
        *ret = 0;
        return true;
    }
    if (*at >= end || (**at != '+' && **at != '-'))
        return false;
    int sign = *(*at)++ == '-' ? -1 : 1;
    if (!digits(at, end, 2, &h) || !one(at, end, ":") || !digits(at, end, 2, &m) || h > 23 || m > 59)
        return false;
    *ret = sign * (h * 3600 + m * 60);
    return true;
}

int clock_parse(const char *text, size_t n, int64_t *ret_us)
{
    const char *at = text, *end = text + n;
    struct tm tm = { 0 };
    int off = 0, frac = 0, scale = 100000;

    if (!digits(&at, end, 4, &tm.tm_year) || !one(&at, end, "-") || !digits(&at, end, 2, &tm.tm_mon) ||
        !one(&at, end, "-") || !digits(&at, end, 2, &tm.tm_mday) || !one(&at, end, "Tt") ||
        !digits(&at, end, 2, &tm.tm_hour) || !one(&at, end, ":") || !digits(&at, end, 2, &tm.tm_min) ||
        !one(&at, end, ":") || !digits(&at, end, 2, &tm.tm_sec))
        return -1;
    if (one(&at, end, ".")) {
        const char *first = at;

        for (; at < end && *at >= '0' && *at <= '9'; at++, scale /= 10)
            frac += (*at - '0') * scale;
        if (at == first)
            return -1;
    }
    if (!offset_s(&at, end, &off) || at != end)
        return -1;

    struct tm want = tm;
    want.tm_year -= 1900;
    want.tm_mon -= 1;
    struct tm got = want;
    time_t t = timegm(&got); /* normalises 31 February: refuse what changed */
    if (got.tm_mday != want.tm_mday || got.tm_mon != want.tm_mon || got.tm_hour != want.tm_hour ||
        got.tm_min != want.tm_min || got.tm_sec != want.tm_sec)
        return -1;
    *ret_us = ((int64_t)t - off) * 1000000 + frac;
    return 0;
}
