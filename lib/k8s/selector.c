#include "lib/k8s/selector.h"

#include "lib/k8s/meta.h"
#include "lib/k8s/selector_int.h"
#include "lib/k8s/status.h"

#include <ctype.h>
#include <string.h>

bool selector_int(const char *s, int64_t *ret)
{
    bool negative = *s == '-';
    int64_t v = 0;

    if (*s == '-' || *s == '+')
        s++;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (!isdigit((unsigned char)*s) || __builtin_mul_overflow(v, 10, &v) ||
            (negative ? __builtin_sub_overflow(v, *s - '0', &v) : __builtin_add_overflow(v, *s - '0', &v)))
            return false;
    }
    *ret = v;
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void selector_sort_values(struct requirement *r)
{
    size_t n = 0;

    if (r->n_values < 2)
        return;
    qsort(r->values, r->n_values, sizeof(*r->values), by_text);
    for (size_t i = 0; i < r->n_values; i++)
        if (i == 0 || strcmp(r->values[n - 1], r->values[i]) != 0)
            r->values[n++] = r->values[i];
    r->n_values = n;
}

static int by_key(const void *a, const void *b)
{
    const struct requirement *x = a, *y = b;

    return strcmp(x->key, y->key);
}

void selector_sort(struct selector *s)
{
    if (s->n > 1) /* glibc's qsort keeps the order of equals at these sizes */
        qsort(s->at, s->n, sizeof(*s->at), by_key);
}

static const char *joined(struct arena *a, const char *const *msgs, size_t n)
{
    const char *all = msgs[0];

    for (size_t i = 1; i < n; i++)
        all = arena_printf(a, "%s; %s", all, msgs[i]);
    return all;
}

static void check_count(struct field_errors *e, const struct requirement *r)
{
    const char *why = NULL;

    switch (r->op) {
    case SEL_IN:
    case SEL_NOT_IN:
        if (r->n_values == 0)
            why = "for 'in', 'notin' operators, values set can't be empty";
        break;
    case SEL_EQUALS:
    case SEL_DOUBLE_EQUALS:
    case SEL_NOT_EQUALS:
        break; /* always one */
    case SEL_EXISTS:
    case SEL_ABSENT:
        if (r->n_values != 0)
            why = "values set must be empty for exists and does not exist";
        break;
    case SEL_GREATER:
    case SEL_LESS:
        break;
    }
    if (!why)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_values; i++)
        json_array_append_new(list, json_string_nocheck(r->values[i]));
    field_error(e, FIELD_INVALID, r->n_values ? list : NULL, why, "values");
    json_decref(list);
}

int selector_check(struct arena *a, struct requirement *r, struct err *err)
{
    struct field_errors e = { .arena = a };
    const char *msgs[LABEL_PROBLEMS_MAX];
    size_t n = label_key_problems(r->key, msgs);

    if (n) {
        json_t *key = json_string_nocheck(r->key);

        field_error(&e, FIELD_INVALID, key, joined(a, msgs, n), "key");
        json_decref(key);
    }
    check_count(&e, r);
    for (size_t i = 0; i < r->n_values; i++) {
        json_t *v = json_string_nocheck(r->values[i]);

        if ((r->op == SEL_GREATER || r->op == SEL_LESS) && !selector_int(r->values[i], &r->bound))
            field_error(&e, FIELD_INVALID, v, "for 'Gt', 'Lt' operators, the value must be an integer", "values[%zu]", i);
        json_decref(v);
    }
    for (size_t i = 0; i < r->n_values; i++) {
        json_t *v = json_string_nocheck(r->values[i]);

        n = label_value_problems(r->values[i], msgs);
        if (n)
            field_error(&e, FIELD_INVALID, v, joined(a, msgs, n), "values[%zu][%s]", i, r->key);
        json_decref(v);
    }
    if (e.n == 0)
        return 0;
    return err_set(err, ERR_BAD_REQUEST, "%s", field_errors_text(&e));
}

static int expression_of(struct arena *a, const json_t *expr, struct requirement *r, struct err *err)
{
    static const struct {
        const char *text;
        enum selector_op op;
    } ops[] = { { "In", SEL_IN }, { "NotIn", SEL_NOT_IN }, { "Exists", SEL_EXISTS }, { "DoesNotExist", SEL_ABSENT } };
    const char *op = json_string_value(json_object_get(expr, "operator"));
    const char *key = json_string_value(json_object_get(expr, "key"));
    const json_t *values = json_object_get(expr, "values");
    size_t i = 0;

    op = op ? op : "";
    while (i < ARRAY_LEN(ops) && strcmp(ops[i].text, op) != 0)
        i++;
    if (i == ARRAY_LEN(ops))
        return err_set(err, ERR_BAD_REQUEST, "%s is not a valid label selector operator", go_quote(a, op));
    r->op = ops[i].op;
    r->key = arena_strdup(a, key ? key : "");
    r->values = arena_alloc(a, (json_array_size(values) + 1) * sizeof(*r->values));
    for (i = 0; i < json_array_size(values); i++) {
        const char *v = json_string_value(json_array_get(values, i));

        r->values[r->n_values++] = arena_strdup(a, v ? v : "");
    }
    int rc = selector_check(a, r, err);
    selector_sort_values(r); /* after the check: its paths hold the written positions */
    return rc;
}

static void equals(struct arena *a, struct requirement *r, const char *key, const json_t *value)
{
    const char *v = json_string_value(value);

    r->op = SEL_EQUALS;
    r->key = arena_strdup(a, key);
    r->values = arena_alloc(a, sizeof(*r->values));
    r->values[0] = arena_strdup(a, v ? v : "");
    r->n_values = 1;
}

int selector_of(struct arena *a, const json_t *label_selector, struct selector **ret, struct err *err)
{
    struct selector *s = arena_alloc(a, sizeof(*s));
    json_t *labels = json_object_get(label_selector, "matchLabels");
    const json_t *exprs = json_object_get(label_selector, "matchExpressions");
    const char *key;
    json_t *value;

    s->nothing = !json_is_object(label_selector);
    s->at = arena_alloc(a, (json_object_size(labels) + json_array_size(exprs) + 1) * sizeof(*s->at));
    json_object_foreach(labels, key, value) {
        struct requirement *r = &s->at[s->n++];

        equals(a, r, key, value);
        int rc = selector_check(a, r, err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < json_array_size(exprs); i++) {
        int rc = expression_of(a, json_array_get(exprs, i), &s->at[s->n++], err);

        if (rc < 0)
            return rc;
    }
    selector_sort(s);
    *ret = s;
    return 0;
}

struct selector *selector_of_map(struct arena *a, const json_t *map)
{
    struct selector *s = arena_alloc(a, sizeof(*s));
    const char *key;
    json_t *value;

    s->nothing = json_object_size(map) == 0;
    s->at = arena_alloc(a, (json_object_size(map) + 1) * sizeof(*s->at));
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
        equals(a, &s->at[s->n++], key, value);
    selector_sort(s);
    return s;
}

static bool has_value(const struct requirement *r, const char *value)
{
    size_t from = 0, to = r->n_values;

    if (to < 8) {
        for (size_t i = 0; i < to; i++)
            if (strcmp(r->values[i], value) == 0)
                return true;
        return false;
    }
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int c = strcmp(r->values[mid], value);

        if (c == 0)
            return true;
        if (c < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return false;
}

static bool meets(const struct requirement *r, const char *value)
{
    int64_t v;

    switch (r->op) {
    case SEL_IN:
    case SEL_EQUALS:
    case SEL_DOUBLE_EQUALS: return value && has_value(r, value);
    case SEL_NOT_IN:
    case SEL_NOT_EQUALS:    return !value || !has_value(r, value);
    case SEL_EXISTS:        return value;
    case SEL_ABSENT:        return !value;
    case SEL_GREATER:       return value && selector_int(value, &v) && v > r->bound;
    case SEL_LESS:          return value && selector_int(value, &v) && v < r->bound;
    }
    return false;
}

bool selector_match(const struct selector *s, const json_t *labels)
{
    if (s->nothing)
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (!meets(&s->at[i], json_string_value(json_object_get(labels, s->at[i].key))))
            return false;
    return true;
}

static const char *flat_get(struct slice flat, const char *key)
{
    const char *at = flat.at, *end = flat.at + flat.n;
    size_t n = strlen(key) + 1;

    while (at < end) {
        size_t key_n = strnlen(at, (size_t)(end - at)) + 1;
        const char *value = at + key_n;

        if (value >= end)
            return NULL; /* cut short: no value */
        size_t value_n = strnlen(value, (size_t)(end - value));
        if (value + value_n >= end)
            return NULL;
        if (key_n == n && memcmp(at, key, n) == 0)
            return value;
        at = value + value_n + 1;
    }
    return NULL;
}

bool selector_match_flat(const struct selector *s, struct slice flat)
{
    if (s->nothing)
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (!meets(&s->at[i], flat.n ? flat_get(flat, s->at[i].key) : NULL))
            return false;
    return true;
}

bool selector_is_everything(const struct selector *s)
{
    return !s->nothing && s->n == 0;
}

const char *selector_exact(const struct selector *s, const char *key)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct requirement *r = &s->at[i];

        if (strcmp(r->key, key) == 0)
            return (r->op == SEL_IN || r->op == SEL_EQUALS || r->op == SEL_DOUBLE_EQUALS) && r->n_values == 1 ? r->values[0]
                                                                                                             : NULL;
    }
    return NULL;
}

static void requirement_text(const struct requirement *r, struct buf *to)
{
    static const char *const between[] = { " in (", " notin (", "=", "==", "!=", "", "", ">", "<" };

    buf_printf(to, "%s%s%s", r->op == SEL_ABSENT ? "!" : "", r->key, between[r->op]);
    if (r->op == SEL_EXISTS || r->op == SEL_ABSENT)
        return;
    for (size_t i = 0; i < r->n_values; i++)
        buf_printf(to, "%s%s", i ? "," : "", r->values[i]);
    if (r->op == SEL_IN || r->op == SEL_NOT_IN)
        buf_char(to, ')');
}

char *selector_text(struct arena *a, const struct selector *s)
{
    AUTO(buf) struct buf text = { 0 };

    for (size_t i = 0; i < s->n; i++) {
        if (i)
            buf_char(&text, ',');
        requirement_text(&s->at[i], &text);
    }
    return arena_strndup(a, buf_at(&text), buf_len(&text));
}
