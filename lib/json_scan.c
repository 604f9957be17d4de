#include "lib/json_int.h"

#include <stdio.h>
#include <string.h>

/* Words of Go's encoding/json, which users of Kubernetes know. */
static int unexpected(const struct json_scan *s, const char *at, const char *where, struct err *err)
{
    size_t offset = (size_t)(at - s->start);

    if (at >= s->end)
        return err_set(err, ERR_BAD_REQUEST, "unexpected end of JSON input at offset %zu", offset);
    unsigned char c = (unsigned char)*at;
    if (c == '\'' || c == '\\')
        return err_set(err, ERR_BAD_REQUEST, "invalid character '\\%c' %s at offset %zu", c, where, offset);
    if (c >= 0x20 && c < 0x7f)
        return err_set(err, ERR_BAD_REQUEST, "invalid character '%c' %s at offset %zu", c, where, offset);
    return err_set(err, ERR_BAD_REQUEST, "invalid character '\\x%02x' %s at offset %zu", c, where, offset);
}

/* One bit a byte (its highest) for every byte below 0x20, a quote, a backslash or above 0x7e. */
static inline uint64_t odd_bytes(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\'), del = w + ones;

    return ((w - ones * 0x20) | (quote - ones) | (slash - ones) | del | w) & high;
}

size_t json_plain_run(const char *s, size_t n)
{
    size_t i = 0;

    for (; n - i >= 8; i += 8) {
        uint64_t w;

        memcpy(&w, s + i, sizeof(w));
        w = odd_bytes(w);
        if (!w)
            continue;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        /* Borrows only run upwards, so the lowest mark is a true one. */
        return i + (size_t)__builtin_ctzll(w) / 8;
#else
        break;
#endif
    }
    for (; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c < 0x20 || c == '"' || c == '\\' || c > 0x7e)
            break;
    }
    return i;
}

void json_scan_init(struct json_scan *s, const char *text, size_t n)
{
    /* kind[] is written before it is read, so it stays as it is. */
    s->start = s->at = text;
    s->end = text + n;
    s->raw = (struct slice){ text, 0 };
    s->escaped = false;
    s->high = false;
    s->depth = 0;
    s->state = JSON_SCAN_VALUE;
}

static inline void skip_space(struct json_scan *s)
{
    const char *p = s->at;

    while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    s->at = p;
}

static inline bool is_digit(const char *p, const char *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

static inline bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int scan_escape(struct json_scan *s, const char **p, struct err *err)
{
    const char *q = *p + 1;

    s->escaped = true;
    if (q < s->end && *q == 'u') {
        for (int i = 1; i <= 4; i++)
            if (q + i >= s->end || !is_hex(q[i]))
                return unexpected(s, q + i < s->end ? q + i : s->end, "in \\u hexadecimal character escape", err);
        *p = q + 5;
        return 0;
    }
    if (q >= s->end || *q == '\0' || !strchr("\"\\/bfnrt", *q))
        return unexpected(s, q, "in string escape code", err);
    *p = q + 1;
    return 0;
}

/* s->at is at the opening quote. */
static int scan_string(struct json_scan *s, struct err *err)
{
    const char *p = s->at + 1, *begin = p;

    s->escaped = s->high = false;
    for (;;) {
        p += json_plain_run(p, (size_t)(s->end - p));
        if (p >= s->end)
            return unexpected(s, s->end, "", err);
        unsigned char c = (unsigned char)*p;
        if (c == '"')
            break;
        if (c == '\\') {
            int rc = scan_escape(s, &p, err);

            if (rc < 0)
                return rc;
        } else if (c < 0x20) {
            return unexpected(s, p, "in string literal", err);
        } else {
            s->high |= c >= 0x80;
            p++;
        }
    }
    s->raw = (struct slice){ begin, (size_t)(p - begin) };
    s->at = p + 1;
    return 0;
}

static int scan_number(struct json_scan *s, struct err *err)
{
    const char *p = s->at, *end = s->end;

    if (*p == '-')
        p++;
    if (!is_digit(p, end))
        return unexpected(s, p, "in numeric literal", err);
    if (*p == '0')
        p++;
    else
        while (is_digit(p, end))
            p++;
    if (p < end && *p == '.') {
        if (!is_digit(++p, end))
            return unexpected(s, p, "after decimal point in numeric literal", err);
        while (is_digit(p, end))
            p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        if (!is_digit(p, end))
            return unexpected(s, p, "in exponent of numeric literal", err);
        while (is_digit(p, end))
            p++;
    }
    s->raw = (struct slice){ s->at, (size_t)(p - s->at) };
    s->at = p;
    return JSON_TOK_NUMBER;
}

static int scan_word(struct json_scan *s, const char *word, enum json_token tok, struct err *err)
{
    const char *p = s->at;

    for (size_t i = 0; word[i]; i++) {
        if (p + i < s->end && p[i] == word[i])
            continue;
        char where[48];

        snprintf(where, sizeof(where), "in literal %s (expecting '%c')", word, word[i]);
        return unexpected(s, p + i < s->end ? p + i : s->end, where, err);
    }
    s->raw = (struct slice){ p, strlen(word) };
    s->at = p + s->raw.n;
    return (int)tok;
}

static int scan_open(struct json_scan *s, bool object, struct err *err)
{
    if (s->depth >= JSON_DEPTH_MAX)
        return err_set(err, ERR_TOO_LARGE, "JSON is nested more than %d levels deep at offset %zu", JSON_DEPTH_MAX,
                       (size_t)(s->at - s->start));
    s->kind[s->depth++] = object;
    s->raw = (struct slice){ s->at++, 1 };
    s->state = object ? JSON_SCAN_FIRST_KEY : JSON_SCAN_FIRST_VALUE;
    return object ? JSON_TOK_OBJECT : JSON_TOK_ARRAY;
}

static int scan_close(struct json_scan *s)
{
    bool object = s->kind[--s->depth];

    s->raw = (struct slice){ s->at++, 1 };
    s->state = JSON_SCAN_AFTER;
    return object ? JSON_TOK_OBJECT_END : JSON_TOK_ARRAY_END;
}

static int scan_value(struct json_scan *s, struct err *err)
{
    int rc;

    if (s->at >= s->end)
        return unexpected(s, s->end, "", err);
    switch (*s->at) {
    case '{':
        return scan_open(s, true, err);
    case '[':
        return scan_open(s, false, err);
    case '"':
        rc = scan_string(s, err);
        rc = rc < 0 ? rc : (int)JSON_TOK_STRING;
        break;
    case 't':
        rc = scan_word(s, "true", JSON_TOK_TRUE, err);
        break;
    case 'f':
        rc = scan_word(s, "false", JSON_TOK_FALSE, err);
        break;
    case 'n':
        rc = scan_word(s, "null", JSON_TOK_NULL, err);
        break;
    default:
        if (*s->at != '-' && !is_digit(s->at, s->end))
            return unexpected(s, s->at, "looking for beginning of value", err);
        rc = scan_number(s, err);
    }
    s->state = JSON_SCAN_AFTER;
    return rc;
}

static int scan_key(struct json_scan *s, struct err *err)
{
    skip_space(s);
    if (s->at >= s->end || *s->at != '"')
        return unexpected(s, s->at, "looking for beginning of object key string", err);
    int rc = scan_string(s, err);
    if (rc < 0)
        return rc;
    skip_space(s);
    if (s->at >= s->end || *s->at != ':')
        return unexpected(s, s->at, "after object key", err);
    s->at++;
    s->state = JSON_SCAN_VALUE;
    return JSON_TOK_KEY;
}

static int scan_after(struct json_scan *s, struct err *err)
{
    if (s->depth == 0) {
        s->raw = (struct slice){ s->at, 0 };
        return s->at < s->end ? unexpected(s, s->at, "after top-level value", err) : JSON_TOK_END;
    }
    bool object = s->kind[s->depth - 1];
    if (s->at < s->end && *s->at == (object ? '}' : ']'))
        return scan_close(s);
    if (s->at >= s->end || *s->at != ',')
        return unexpected(s, s->at, object ? "after object key:value pair" : "after array element", err);
    s->at++;
    if (object)
        return scan_key(s, err);
    skip_space(s);
    return scan_value(s, err);
}

int json_scan_next(struct json_scan *s, struct err *err)
{
    skip_space(s);
    switch ((enum json_scan_state)s->state) {
    case JSON_SCAN_AFTER:
        return scan_after(s, err);
    case JSON_SCAN_FIRST_KEY:
        if (s->at < s->end && *s->at == '}')
            return scan_close(s);
        return scan_key(s, err);
    case JSON_SCAN_FIRST_VALUE:
        if (s->at < s->end && *s->at == ']')
            return scan_close(s);
        return scan_value(s, err);
    case JSON_SCAN_VALUE:
        break;
    }
    return scan_value(s, err);
}

static int scan_to_depth(struct json_scan *s, int depth, struct err *err)
{
    while (s->depth > depth) {
        int tok = json_scan_next(s, err);

        if (tok < 0)
            return tok;
    }
    return 0;
}

int json_scan_skip(struct json_scan *s, struct err *err)
{
    int depth = s->depth;

    if (s->state != JSON_SCAN_VALUE)
        return err_set(err, ERR_BAD_REQUEST, "no value to skip at offset %zu", (size_t)(s->at - s->start));
    skip_space(s);
    const char *begin = s->at;
    int rc = scan_value(s, err);
    if (rc >= 0)
        rc = scan_to_depth(s, depth, err);
    if (rc < 0)
        return rc;
    s->raw = (struct slice){ begin, (size_t)(s->at - begin) };
    return 0;
}

int json_scan_leave(struct json_scan *s, struct err *err)
{
    const char *begin = s->at;

    if (s->depth == 0)
        return err_set(err, ERR_BAD_REQUEST, "no container to leave at offset %zu", (size_t)(s->at - s->start));
    int rc = scan_to_depth(s, s->depth - 1, err);
    if (rc < 0)
        return rc;
    s->raw = (struct slice){ begin, (size_t)(s->at - begin) };
    return 0;
}
