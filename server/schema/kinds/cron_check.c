#include "server/schema/kinds/cron_check.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CRON_FIELDS = 5 };

struct range {
    int least, most;
    const char *const *names; /* of least, least + 1, …; NULL: numbers only */
};

static const char *const months[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL };
static const char *const days[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL };
static const struct range ranges[CRON_FIELDS] = { { 0, 59, NULL }, { 0, 23, NULL }, { 1, 31, NULL }, { 1, 12, months }, { 0, 6, days } };

/* A number or a name of the range. NULL when fine. */
static const char *read_value(struct arena *a, const struct range *r, const char *s, int *ret)
{
    char *end = NULL;

    for (int i = 0; r->names && r->names[i]; i++)
        if (strcasecmp(s, r->names[i]) == 0) {
            *ret = r->least + i;
            return NULL;
        }
    long n = strtol(s, &end, 10);
    if (!*s || *end)
        return arena_printf(a, "failed to parse int from %s: strconv.Atoi: parsing \"%s\": invalid syntax", s, s);
    if (n < 0)
        return arena_printf(a, "negative number (%ld) not allowed: %s", n, s);
    *ret = n > 1000000 ? 1000000 : (int)n;
    return NULL;
}

static const char *check_bounds(struct arena *a, const struct range *r, const char *expr, int low, int high, int step)
{
    if (low < r->least)
        return arena_printf(a, "beginning of range (%d) below minimum (%d): %s", low, r->least, expr);
    if (high > r->most)
        return arena_printf(a, "end of range (%d) above maximum (%d): %s", high, r->most, expr);
    if (low > high)
        return arena_printf(a, "beginning of range (%d) beyond end of range (%d): %s", low, high, expr);
    return step == 0 ? arena_printf(a, "step of range should be a positive number: %s", expr) : NULL;
}

/* "*", "?", "a", "a-b", each with "/step". */
static const char *check_part(struct arena *a, const struct range *r, const char *expr)
{
    char *copy = arena_strdup(a, expr), *slash = strchr(copy, '/'), *dash = NULL;
    int low = r->least, high = r->most, step = 1;
    const char *why = NULL;

    if (slash)
        *slash++ = '\0';
    if (slash && strchr(slash, '/'))
        return arena_printf(a, "too many slashes: %s", expr);
    dash = strchr(copy, '-');
    if (strcmp(copy, "*") != 0 && strcmp(copy, "?") != 0) {
        if (dash)
            *dash++ = '\0';
        if (dash && strchr(dash, '-'))
            return arena_printf(a, "too many hyphens: %s", expr);
        why = read_value(a, r, copy, &low);
        if (!why && dash)
            why = read_value(a, r, dash, &high);
        else if (!why && !slash)
            high = low;
    }
    if (!why && slash)
        why = read_value(a, &(struct range){ 0, 0, NULL }, slash, &step);
    return why ? why : check_bounds(a, r, expr, low, high, step);
}

static const char *check_field(struct arena *a, const struct range *r, char *field)
{
    char *at = NULL;

    for (char *part = strtok_r(field, ",", &at); part; part = strtok_r(NULL, ",", &at)) {
        const char *why = check_part(a, r, part);

        if (why)
            return why;
    }
    return NULL;
}

/* A Go duration like "1h30m". */
static bool is_duration(const char *s)
{
    if (*s == '-' || *s == '+')
        s++;
    if (!*s)
        return false;
    while (*s) {
        char *end = NULL;
        size_t unit = 0;

        if (!isdigit((unsigned char)*s) && *s != '.')
            return false;
        strtod(s, &end);
        unit = strncmp(end, "ns", 2) == 0 || strncmp(end, "us", 2) == 0 || strncmp(end, "ms", 2) == 0 ? 2
               : *end && strchr("smh", *end)                                                          ? 1
                                                                                                      : 0;
        if (unit == 0)
            return false;
        s = end + unit;
    }
    return true;
}

static const char *check_descriptor(struct arena *a, const char *s)
{
    static const char *const known[] = { "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly" };

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(s, known[i]) == 0)
            return NULL;
    if (strncmp(s, "@every ", 7) == 0)
        return is_duration(s + 7) ? NULL : arena_printf(a, "failed to parse duration %s: time: invalid duration \"%s\"", s, s + 7);
    return arena_printf(a, "unrecognized descriptor: %s", s);
}

const char *cron_invalid(struct arena *a, const char *schedule)
{
    char *copy = arena_strdup(a, schedule), *at = NULL, *fields[CRON_FIELDS];
    size_t n = 0;

    if (strncmp(copy, "TZ=", 3) == 0 || strncmp(copy, "CRON_TZ=", 8) == 0) {
        copy = strchr(copy, ' ');
        if (!copy)
            return "panic recovered"; /* upstream's parser panics here */
        while (*copy == ' ')
            copy++;
    }
    if (*copy == '@')
        return check_descriptor(a, copy);
    char *text = arena_strdup(a, copy);
    for (char *f = strtok_r(text, " \t\r\n", &at); f; f = strtok_r(NULL, " \t\r\n", &at)) {
        if (n < CRON_FIELDS)
            fields[n] = f;
        n++;
    }
    if (n == 0)
        return "empty spec string";
    if (n != CRON_FIELDS) {
        char *list = arena_strdup(a, "");

        at = NULL;
        for (char *f = strtok_r(copy, " \t\r\n", &at); f; f = strtok_r(NULL, " \t\r\n", &at))
            list = arena_printf(a, "%s%s%s", list, *list ? " " : "", f);
        return arena_printf(a, "expected exactly 5 fields, found %zu: [%s]", n, list);
    }
    for (size_t i = 0; i < CRON_FIELDS; i++) {
        const char *why = check_field(a, &ranges[i], fields[i]);

        if (why)
            return why;
    }
    return NULL;
}
