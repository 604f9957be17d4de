#include "lib/k8s/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *type, *words;
    bool shows_value;
} types[] = {
    [FIELD_REQUIRED] = { "FieldValueRequired", "Required value", false },
    [FIELD_INVALID] = { "FieldValueInvalid", "Invalid value", true },
    [FIELD_NOT_SUPPORTED] = { "FieldValueNotSupported", "Unsupported value", true },
    [FIELD_DUPLICATE] = { "FieldValueDuplicate", "Duplicate value", true },
    [FIELD_FORBIDDEN] = { "FieldValueForbidden", "Forbidden", false },
    [FIELD_TOO_LONG] = { "FieldValueTooLong", "Too long", false },
    [FIELD_TOO_MANY] = { "FieldValueTooMany", "Too many", true },
    [FIELD_TOO_FEW] = { "FieldValueTooFew", "Too few", true },
    [FIELD_TOO_SHORT] = { "FieldValueTooShort", "Too short", false },
    [FIELD_NOT_FOUND] = { "FieldValueNotFound", "Not found", true },
    [FIELD_TYPE_INVALID] = { "FieldValueTypeInvalid", "Invalid value", true },
    [FIELD_INTERNAL] = { "InternalError", "Internal error", false },
};

/* The character at s (bytes in *ret_n), or -1 when the bytes are no UTF-8. */
static int32_t rune_at(const unsigned char *s, size_t *ret_n)
{
    static const int32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    int32_t r = n == 1 ? s[0] : s[0] & (0x7f >> n);

    *ret_n = 1;
    if (n == 0)
        return -1;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return -1;
        r = r << 6 | (s[i] & 0x3f);
    }
    if (r < least[n] || r > 0x10ffff || (r >= 0xd800 && r < 0xe000))
        return -1;
    *ret_n = n;
    return r;
}

/* Roughly Go's unicode.IsPrint: control, format, space, private and unassigned characters of the common ranges are not. */
static bool printable(int32_t r)
{
    static const struct {
        int32_t from, to;
    } not[] = {
        { 0, 0x1f },         { 0x7f, 0xa0 },      { 0xad, 0xad },     { 0x600, 0x605 },   { 0x61c, 0x61c },
        { 0x1680, 0x1680 },  { 0x180e, 0x180e },  { 0x2000, 0x200f }, { 0x2028, 0x202f }, { 0x205f, 0x206f },
        { 0x3000, 0x3000 },  { 0xd800, 0xf8ff },  { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xfffe, 0xffff },
        { 0xe0000, 0x10ffff },
    };

    for (size_t i = 0; i < ARRAY_LEN(not); i++)
        if (r >= not[i].from && r <= not[i].to)
            return false;
    return true;
}

static void quote_rune(struct buf *to, const char *s, size_t n, int32_t r)
{
    static const char letters[] = "abtnvfr"; /* from 7 */

    if (r < 0)
        buf_printf(to, "\\x%02x", (unsigned char)*s);
    else if (r == '"' || r == '\\')
        buf_printf(to, "\\%c", (char)r);
    else if (r >= 7 && r <= 13)
        buf_printf(to, "\\%c", letters[r - 7]);
    else if (printable(r))
        buf_add(to, s, n);
    else if (r < ' ' || r == 0x7f)
        buf_printf(to, "\\x%02x", (unsigned)r);
    else
        buf_printf(to, r < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)r);
}

static void quote(struct buf *to, const char *s)
{
    buf_char(to, '"');
    while (*s) {
        size_t n;
        int32_t r = rune_at((const unsigned char *)s, &n);

        quote_rune(to, s, n, r);
        s += n;
    }
    buf_char(to, '"');
}

char *go_quote(struct arena *a, const char *s)
{
    AUTO(buf) struct buf text = { 0 };

    quote(&text, s);
    return arena_strndup(a, buf_at(&text), buf_len(&text));
}

/* As Go's json.Marshal, which escapes what HTML minds. */
static void write_go_json(const json_t *v, struct buf *to)
{
    AUTO(buf) struct buf text = { 0 };

    json_write(v, &text);
    for (const char *s = buf_at(&text); *s; s++) {
        if (strchr("<>&", *s))
            buf_printf(to, "\\u%04x", (unsigned)*s);
        else
            buf_char(to, *s);
    }
}

static void write_value(const json_t *v, struct buf *to)
{
    if (!v)
        buf_str(to, "null");
    else if (json_is_string(v))
        quote(to, json_string_value(v));
    else
        write_go_json(v, to);
}

static void add(struct field_errors *e, struct k8s_cause cause)
{
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 4;
        struct k8s_cause *more = arena_alloc(e->arena, cap * sizeof(*more));

        if (e->n)
            memcpy(more, e->at, e->n * sizeof(*more));
        e->at = more;
        e->cap = cap;
    }
    e->at[e->n++] = cause;
}

static void add_error(struct field_errors *e, enum field_error_type type, const json_t *value, const char *why, char *path)
{
    AUTO(buf) struct buf text = { 0 };

    buf_str(&text, types[type].words);
    if (types[type].shows_value) {
        buf_str(&text, ": ");
        write_value(value, &text);
    }
    if (why && *why)
        buf_printf(&text, ": %s", why);
    add(e, (struct k8s_cause){ types[type].type, arena_strndup(e->arena, buf_at(&text), buf_len(&text)), path });
}

void field_error(struct field_errors *e, enum field_error_type type, const json_t *value, const char *why,
                 const char *path_fmt, ...)
{
    va_list args;

    va_start(args, path_fmt);
    char *path = arena_vprintf(e->arena, path_fmt, args);
    va_end(args);
    add_error(e, type, value, why, path);
}

void field_not_supported(struct field_errors *e, const char *value, const char *const *supported, size_t n,
                         const char *path_fmt, ...)
{
    AUTO(buf) struct buf why = { 0 };
    va_list args;

    va_start(args, path_fmt);
    char *path = arena_vprintf(e->arena, path_fmt, args);
    va_end(args);
    for (size_t i = 0; i < n; i++) {
        buf_str(&why, i ? ", " : "supported values: ");
        quote(&why, supported[i]);
    }
    json_t *v = json_string_nocheck(value);
    add_error(e, FIELD_NOT_SUPPORTED, v, buf_at(&why), path);
    json_decref(v);
}

const char *field_errors_text(const struct field_errors *e)
{
    AUTO(buf) struct buf text = { 0 };
    AUTO(json) json_t *told = json_object();

    for (size_t i = 0; i < e->n; i++) {
        const char *one = arena_printf(e->arena, "%s: %s", e->at[i].field, e->at[i].message);

        if (json_object_get(told, one))
            continue;
        buf_printf(&text, "%s%s", json_object_size(told) ? ", " : "", one);
        json_object_set_new_nocheck(told, one, json_true());
    }
    if (e->n == 0)
        return NULL;
    return json_object_size(told) == 1 ? arena_strdup(e->arena, buf_at(&text))
                                       : arena_printf(e->arena, "[%s]", buf_at(&text));
}

int field_errors_end(struct field_errors *e, const char *group, const char *kind, const char *name, struct err *err)
{
    if (e->n == 0)
        return 0;
    struct k8s_status *s = arena_alloc(e->arena, sizeof(*s));
    s->group = arena_strdup(e->arena, group);
    s->kind = arena_strdup(e->arena, kind);
    s->name = arena_strdup(e->arena, name);
    s->causes = e->at;
    s->n_causes = e->n;
    s->message = arena_printf(e->arena, "%s%s%s %s is invalid: %s", kind, group && *group ? "." : "", group ? group : "",
                              go_quote(e->arena, name), field_errors_text(e));
    int rc = err_set(err, ERR_INVALID, "%s", s->message);
    err->status = s;
    return rc;
}
