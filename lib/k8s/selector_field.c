#include "lib/k8s/selector.h"

#include <string.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Bytes of the UTF-8 character at s. */
static size_t rune_bytes(const char *s)
{
    size_t n = 1;

    while (((unsigned char)s[0] & 0x80) && ((unsigned char)s[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static int unescape(struct arena *a, const char *s, const char **ret, struct err *err)
{
    char *to = arena_alloc(a, strlen(s) + 1);
    size_t n = 0;

    for (; *s; s++) {
        if (*s == '\\') {
            s++;
            if (!*s)
                return err_set(err, ERR_BAD_REQUEST, "invalid field selector: invalid escape sequence: \\");
            if (!strchr("\\,=", *s))
                return err_set(err, ERR_BAD_REQUEST, "invalid field selector: invalid escape sequence: \\%.*s",
                               (int)rune_bytes(s), s);
        } else if (*s == ',' || *s == '=') {
            return err_set(err, ERR_BAD_REQUEST, "invalid field selector: unescaped character in value: %d", *s);
        }
        to[n++] = *s;
    }
    *ret = to;
    return 0;
}

/* The next term; commas behind a backslash belong to it. */
static char *next_term(struct arena *a, const char **at)
{
    const char *from = *at, *s = from;

    while (*s && *s != ',')
        s += s[0] == '\\' && s[1] ? 2 : 1;
    *at = *s ? s + 1 : NULL;
    return arena_strndup(a, from, (size_t)(s - from));
}

static int term_of(struct arena *a, const char *selector, char *part, struct field_term *ret, struct err *err)
{
    char *op = part;

    while (*op && *op != '=' && !(op[0] == '!' && op[1] == '='))
        op++;
    if (!*op)
        return err_set(err, ERR_BAD_REQUEST, "invalid selector: '%s'; can't understand '%s'", selector, part);
    ret->negate = *op == '!';
    char *value = op + (ret->negate || op[1] == '=' ? 2 : 1);
    *op = '\0';
    ret->field = part;
    return unescape(a, value, &ret->value, err);
}

int field_selector_parse(struct arena *a, const char *text, struct field_term **ret, size_t *ret_n, struct err *err)
{
    size_t n_parts = 0, n = 0, commas = 0;

    if (strnlen(text, SELECTOR_TEXT_MAX + 1) > SELECTOR_TEXT_MAX)
        return err_set(err, ERR_BAD_REQUEST, "a field selector may not be longer than %d bytes", SELECTOR_TEXT_MAX);
    for (const char *s = text; *s; s++)
        commas += *s == ',';
    char **parts = arena_alloc(a, (commas + 1) * sizeof(*parts));
    struct field_term *terms = arena_alloc(a, (commas + 1) * sizeof(*terms));
    for (const char *at = text; at;)
        parts[n_parts++] = next_term(a, &at);
    qsort(parts, n_parts, sizeof(*parts), by_text); /* upstream's order: it decides which error is told */
    for (size_t i = 0; i < n_parts; i++) {
        if (!*parts[i])
            continue;
        int rc = term_of(a, text, parts[i], &terms[n], err);
        if (rc < 0)
            return rc;
        n += *terms[n].field || *terms[n].value; /* "=" alone restricts nothing */
    }
    *ret = terms;
    *ret_n = n;
    return 0;
}
