#include "server/schema/kinds/check.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/selector.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

enum { CONFIG_KEY_MAX = 253, PORT_NAME_MAX = 15, ANNOTATIONS_MAX_BYTES = 256 * 1024 };

char *check_path(struct field_errors *errs, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *path = arena_vprintf(errs->arena, fmt, args);
    va_end(args);
    return path;
}

bool check_text(struct field_errors *errs, const json_t *o, const char *key, const char *path)
{
    const json_t *v = json_object_get(o, key);

    if (json_is_string(v) && json_string_length(v) > 0)
        return true;
    field_error(errs, FIELD_REQUIRED, NULL, "", "%s", path);
    return false;
}

bool check_member(struct field_errors *errs, const json_t *o, const char *key, const char *path)
{
    if (json_object_get(o, key) && !json_is_null(json_object_get(o, key)))
        return true;
    field_error(errs, FIELD_REQUIRED, NULL, "", "%s", path);
    return false;
}

void check_one_of(struct field_errors *errs, const json_t *v, bool required, const char *const *allowed, size_t n, const char *path)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";

    for (size_t i = 0; i < n; i++)
        if (strcmp(s, allowed[i]) == 0)
            return;
    if (*s)
        field_not_supported(errs, s, allowed, n, "%s", path);
    else if (required)
        field_error(errs, FIELD_REQUIRED, NULL, "", "%s", path);
}

void check_not_negative(struct field_errors *errs, const json_t *v, const char *path)
{
    if (json_is_integer(v) && json_integer_value(v) < 0)
        field_error(errs, FIELD_INVALID, v, "must be greater than or equal to 0", "%s", path);
}

void check_positive(struct field_errors *errs, const json_t *v, const char *path)
{
    if (json_is_integer(v) && json_integer_value(v) <= 0)
        field_error(errs, FIELD_INVALID, v, "must be greater than 0", "%s", path);
}

void check_between(struct field_errors *errs, const json_t *v, int64_t least, int64_t most, const char *path)
{
    if (json_is_integer(v) && (json_integer_value(v) < least || json_integer_value(v) > most))
        field_error(errs, FIELD_INVALID, v,
                    arena_printf(errs->arena, "must be between %lld and %lld, inclusive", (long long)least, (long long)most), "%s", path);
}

void check_port(struct field_errors *errs, const json_t *v, const char *path)
{
    check_between(errs, v, 1, 65535, path);
}

static bool is_percent(const json_t *v)
{
    const char *s = json_string_value(v);
    size_t n = s ? strspn(s, "0123456789") : 0;

    return n > 0 && strcmp(s + n, "%") == 0;
}

int64_t amount_or_percent(const json_t *v)
{
    return is_percent(v) ? strtoll(json_string_value(v), NULL, 10) : json_is_integer(v) ? json_integer_value(v) : 0;
}

void check_amount_or_percent(struct field_errors *errs, const json_t *v, const char *path)
{
    if (json_is_string(v) && !is_percent(v))
        field_error(errs, FIELD_INVALID, v,
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
                    "validation is '[0-9]+%')",
                    "%s", path);
    else
        check_not_negative(errs, v, path);
}

void check_at_most_all(struct field_errors *errs, const json_t *v, const char *path)
{
    if (is_percent(v) && amount_or_percent(v) > 100)
        field_error(errs, FIELD_INVALID, v, "must not be greater than 100%", "%s", path);
}

void check_name(struct field_errors *errs, const json_t *v, const char *(*what)(const char *s), const char *path)
{
    const char *why = json_is_string(v) ? what(json_string_value(v)) : NULL;

    if (why)
        field_error(errs, FIELD_INVALID, v, why, "%s", path);
}

void check_labels(struct field_errors *errs, const json_t *map, const char *path)
{
    const char *key, *why[LABEL_PROBLEMS_MAX];
    json_t *v;

    json_object_foreach((json_t *)map, key, v)
    {
        AUTO(json) json_t *shown = json_string(key);

        for (size_t i = 0, n = label_key_problems(key, why); i < n; i++)
            field_error(errs, FIELD_INVALID, shown, why[i], "%s", path);
        for (size_t i = 0, n = json_is_string(v) ? label_value_problems(json_string_value(v), why) : 0; i < n; i++)
            field_error(errs, FIELD_INVALID, v, why[i], "%s", path);
    }
}

static char *lower(struct field_errors *errs, const char *s)
{
    char *copy = arena_strdup(errs->arena, s);

    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

void check_annotations(struct field_errors *errs, const json_t *map, const char *path)
{
    const char *key, *why[LABEL_PROBLEMS_MAX];
    size_t total = 0;
    json_t *v;

    json_object_foreach((json_t *)map, key, v)
    {
        AUTO(json) json_t *shown = json_string(key);

        for (size_t i = 0, n = label_key_problems(lower(errs, key), why); i < n; i++)
            field_error(errs, FIELD_INVALID, shown, why[i], "%s", path);
        total += strlen(key) + (json_is_string(v) ? json_string_length(v) : 0);
    }
    if (total > ANNOTATIONS_MAX_BYTES)
        field_error(errs, FIELD_TOO_LONG, NULL, "may not be more than 262144 bytes", "%s", path);
}

static void check_expression(struct field_errors *errs, const json_t *e, const char *path)
{
    const char *op = json_str_or(e, "operator", ""), *why[LABEL_PROBLEMS_MAX];
    const json_t *values = json_object_get(e, "values");
    bool set = strcmp(op, "In") == 0 || strcmp(op, "NotIn") == 0, plain = strcmp(op, "Exists") == 0 || strcmp(op, "DoesNotExist") == 0;
    size_t i;
    json_t *v;

    if (set && json_array_size(values) == 0)
        field_error(errs, FIELD_REQUIRED, NULL, "must be specified when `operator` is 'In' or 'NotIn'", "%s.values", path);
    else if (plain && json_array_size(values) > 0)
        field_error(errs, FIELD_FORBIDDEN, NULL, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'", "%s.values", path);
    else if (!set && !plain)
        field_error(errs, FIELD_INVALID, json_object_get(e, "operator"), "not a valid selector operator", "%s.operator", path);
    const char *key = json_str_or(e, "key", "");
    AUTO(json) json_t *shown = json_string(key);
    for (size_t k = 0, n = label_key_problems(key, why); k < n; k++)
        field_error(errs, FIELD_INVALID, shown, why[k], "%s.key", path);
    json_array_foreach(values, i, v)
        for (size_t k = 0, n = json_is_string(v) ? label_value_problems(json_string_value(v), why) : 0; k < n; k++)
            field_error(errs, FIELD_INVALID, v, why[k], "%s.values[%zu]", path, i);
}

void check_selector(struct field_errors *errs, const json_t *selector, const char *path)
{
    size_t i;
    json_t *e;

    check_labels(errs, json_object_get(selector, "matchLabels"), check_path(errs, "%s.matchLabels", path));
    json_array_foreach(json_object_get(selector, "matchExpressions"), i, e)
        check_expression(errs, e, check_path(errs, "%s.matchExpressions[%zu]", path, i));
}

bool same_member(const json_t *a, const json_t *b, const char *path)
{
    const json_t *x = json_at(a, path), *y = json_at(b, path);

    return x == y || (x && y && json_equal(x, y));
}

void check_immutable(struct field_errors *errs, const json_t *object, const json_t *old, const char *path)
{
    if (!same_member(object, old, path))
        field_error(errs, FIELD_INVALID, json_at(object, path), "field is immutable", "%s", path);
}

void check_fixed(struct field_errors *errs, const json_t *object, const json_t *old, const char *path)
{
    if (!same_member(object, old, path))
        field_error(errs, FIELD_INVALID, NULL, "field is immutable", "%s", path);
}

static bool only(const char *s, const char *more)
{
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr(more, *s))
            return false;
    return true;
}

const char *config_key_invalid(const char *s)
{
    if (strlen(s) > CONFIG_KEY_MAX)
        return "must be no more than 253 bytes";
    if (!*s || !only(s, "-._"))
        return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
               "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    if (strcmp(s, ".") == 0)
        return "must not be '.'";
    if (strcmp(s, "..") == 0)
        return "must not be '..'";
    return strncmp(s, "..", 2) == 0 ? "must not start with '..'" : NULL;
}

const char *c_identifier_invalid(const char *s)
{
    if (*s && !isdigit((unsigned char)*s) && only(s, "_"))
        return NULL;
    return "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' "
           "(e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
}

const char *env_name_invalid(const char *s)
{
    static const char why[] = "a valid environment variable name must consist only of printable ASCII characters other than '='";

    if (!*s)
        return "environment variable name must not be empty";
    for (; *s; s++)
        if (*s < ' ' || *s > '~' || *s == '=')
            return why;
    return NULL;
}

const char *port_name_invalid(const char *s)
{
    bool letter = false;
    size_t n = strlen(s);

    if (n > PORT_NAME_MAX)
        return "must be no more than 15 characters";
    for (size_t i = 0; i < n; i++) {
        if (!islower((unsigned char)s[i]) && !isdigit((unsigned char)s[i]) && s[i] != '-')
            return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        letter |= islower((unsigned char)s[i]) != 0;
    }
    if (!letter)
        return "must contain at least one letter (a-z)";
    if (strstr(s, "--"))
        return "must not contain consecutive hyphens";
    return s[0] == '-' || s[n - 1] == '-' ? "must not begin or end with a hyphen" : NULL;
}

const char *ip_invalid(const char *s)
{
    unsigned char ip[16];

    if (inet_pton(AF_INET, s, ip) == 1 || inet_pton(AF_INET6, s, ip) == 1)
        return NULL;
    return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
}

static const char *special_ip(int family, const unsigned char *ip)
{
    static const unsigned char zero[16] = { 0 }, loop6[16] = { [15] = 1 };
    bool v4 = family == AF_INET;

    if (memcmp(ip, zero, v4 ? 4 : 16) == 0)
        return v4 ? "may not be unspecified (0.0.0.0)" : "may not be unspecified (::)";
    if (v4 ? ip[0] == 127 : memcmp(ip, loop6, 16) == 0)
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    if (v4 ? ip[0] == 169 && ip[1] == 254 : ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    if (v4 ? ip[0] == 224 && ip[1] == 0 && ip[2] == 0 : ip[0] == 0xff && (ip[1] & 0x0f) == 2)
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    return NULL;
}

const char *endpoint_ip_invalid(const char *s)
{
    unsigned char ip[16];

    if (inet_pton(AF_INET, s, ip) == 1)
        return special_ip(AF_INET, ip);
    return inet_pton(AF_INET6, s, ip) == 1 ? special_ip(AF_INET6, ip) : NULL; /* what is no address was said before */
}

const char *cidr_invalid(const char *s)
{
    static const char why[] = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    const char *slash = strchr(s, '/');
    char ip[64], *end = NULL;

    if (!slash || (size_t)(slash - s) >= sizeof(ip) || !isdigit((unsigned char)slash[1]))
        return why;
    memcpy(ip, s, (size_t)(slash - s));
    ip[slash - s] = '\0';
    long bits = strtol(slash + 1, &end, 10);
    return ip_invalid(ip) || *end || bits > (strchr(ip, ':') ? 128 : 32) ? why : NULL;
}

bool selector_matches(struct field_errors *errs, const json_t *selector, const json_t *labels)
{
    struct selector *s = NULL;
    struct err err;

    return selector_of(errs->arena, selector, &s, &err) == 0 && selector_match(s, labels);
}
