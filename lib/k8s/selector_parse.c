#include "lib/k8s/meta.h"
#include "lib/k8s/selector_int.h"
#include "lib/k8s/status.h"

#include <string.h>

enum token {
    T_ERROR, T_END, T_CLOSE, T_COMMA, T_NOT, T_DOUBLE_EQUALS, T_EQUALS, T_GREATER, T_IDENT, T_IN, T_LESS, T_NOT_EQUALS,
    T_NOT_IN, T_OPEN,
};

struct item {
    enum token tok;
    const char *text;
};

/* The item at hand. Upstream scans ahead; looking one item ahead gives the same answers. */
struct parser {
    struct arena *arena;
    const char *at;
    struct item next;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_special(char c)
{
    return c && strchr("=!(),><", c) != NULL;
}

static enum token token_of(const char *s, size_t n)
{
    static const struct {
        const char *text;
        enum token tok;
    } tokens[] = {
        { ")", T_CLOSE },  { ",", T_COMMA }, { "!", T_NOT },  { "==", T_DOUBLE_EQUALS }, { "=", T_EQUALS },    { ">", T_GREATER },
        { "in", T_IN },    { "<", T_LESS },  { "!=", T_NOT_EQUALS }, { "notin", T_NOT_IN },     { "(", T_OPEN },
    };

    for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
        if (strlen(tokens[i].text) == n && memcmp(tokens[i].text, s, n) == 0)
            return tokens[i].tok;
    return T_ERROR;
}

/* The longest operator here, else the run of symbols that is none. */
static struct item scan_special(struct parser *p)
{
    struct item found = { T_ERROR, NULL };
    size_t n = 0;

    while (is_special(p->at[n])) {
        enum token t = token_of(p->at, n + 1);

        if (t == T_ERROR && found.tok != T_ERROR)
            break;
        n++;
        if (t != T_ERROR)
            found.tok = t;
    }
    const char *text = arena_strndup(p->arena, p->at, n);
    p->at += n;
    found.text = found.tok == T_ERROR ? arena_printf(p->arena, "error expected: keyword found '%s'", text) : text;
    return found;
}

static void scan(struct parser *p)
{
    size_t n = 0;

    while (is_space(*p->at))
        p->at++;
    if (!*p->at) {
        p->next = (struct item){ T_END, "" };
        return;
    }
    if (is_special(*p->at)) {
        p->next = scan_special(p);
        return;
    }
    while (p->at[n] && !is_special(p->at[n]) && !is_space(p->at[n]))
        n++;
    enum token t = token_of(p->at, n);
    p->next = (struct item){ t == T_ERROR ? T_IDENT : t, arena_strndup(p->arena, p->at, n) };
    p->at += n;
}

/* As a value, "in" and "notin" are words like any other. */
static enum token as_value(enum token t)
{
    return t == T_IN || t == T_NOT_IN ? T_IDENT : t;
}

static enum token peek(const struct parser *p)
{
    return as_value(p->next.tok);
}

static struct item take_raw(struct parser *p)
{
    struct item it = p->next;

    if (it.tok != T_END)
        scan(p);
    return it;
}

static struct item take(struct parser *p)
{
    struct item it = take_raw(p);

    it.tok = as_value(it.tok);
    return it;
}

static int found(struct err *err, const char *text, const char *expected)
{
    return err_set(err, ERR_BAD_REQUEST, "found '%s', expected: %s", text, expected);
}

static int parse_operator(struct parser *p, enum selector_op *ret, struct err *err)
{
    struct item it = take_raw(p);

    switch ((int)it.tok) {
    case T_IN:            *ret = SEL_IN; return 0;
    case T_EQUALS:        *ret = SEL_EQUALS; return 0;
    case T_DOUBLE_EQUALS: *ret = SEL_DOUBLE_EQUALS; return 0;
    case T_GREATER:       *ret = SEL_GREATER; return 0;
    case T_LESS:          *ret = SEL_LESS; return 0;
    case T_NOT_IN:        *ret = SEL_NOT_IN; return 0;
    case T_NOT_EQUALS:    *ret = SEL_NOT_EQUALS; return 0;
    default:              return found(err, it.text, "in, notin, =, ==, !=, gt, lt");
    }
}

static void add_value(struct parser *p, struct requirement *r, const char *value)
{
    if ((r->n_values & (r->n_values - 1)) == 0) { /* a power of two: full */
        const char **more = arena_alloc(p->arena, (r->n_values ? r->n_values * 2 : 1) * sizeof(*more));

        if (r->n_values)
            memcpy(more, r->values, r->n_values * sizeof(*more));
        r->values = more;
    }
    r->values[r->n_values++] = value;
}

static int parse_list(struct parser *p, struct requirement *r, struct err *err)
{
    for (;;) {
        struct item it = take(p);

        if (it.tok == T_IDENT) {
            add_value(p, r, it.text);
            if (peek(p) == T_CLOSE)
                return 0;
            if (peek(p) != T_COMMA)
                return found(err, p->next.text, "',' or ')'");
        } else if (it.tok == T_COMMA) {
            if (r->n_values == 0 || peek(p) == T_CLOSE || peek(p) == T_COMMA)
                add_value(p, r, "");
            if (peek(p) == T_CLOSE)
                return 0;
        } else {
            return found(err, it.text, "',', or identifier");
        }
    }
}

static int parse_values(struct parser *p, struct requirement *r, struct err *err)
{
    struct item it = take(p);

    if (it.tok != T_OPEN)
        return err_set(err, ERR_BAD_REQUEST, "found '%s' expected: '('", it.text);
    it = p->next;
    if (peek(p) == T_CLOSE) {
        (void)take(p);
        add_value(p, r, "");
        return 0;
    }
    if (peek(p) != T_IDENT && peek(p) != T_COMMA)
        return found(err, it.text, "',', ')' or identifier");
    int rc = parse_list(p, r, err);
    if (rc < 0)
        return rc;
    if (take(p).tok != T_CLOSE)
        return found(err, it.text, "')'");
    return 0;
}

static int parse_exact(struct parser *p, struct requirement *r, struct err *err)
{
    if (peek(p) == T_END || peek(p) == T_COMMA) {
        add_value(p, r, "");
        return 0;
    }
    struct item it = take(p);
    if (it.tok != T_IDENT)
        return found(err, it.text, "identifier");
    add_value(p, r, it.text);
    return 0;
}

static int check_key(struct arena *a, const char *key, struct err *err)
{
    struct field_errors e = { .arena = a };
    const char *msgs[LABEL_PROBLEMS_MAX];
    size_t n = label_key_problems(key, msgs);

    if (n == 0)
        return 0;
    AUTO(buf) struct buf why = { 0 };
    for (size_t i = 0; i < n; i++)
        buf_printf(&why, "%s%s", i ? "; " : "", msgs[i]);
    json_t *v = json_string_nocheck(key);
    field_error(&e, FIELD_INVALID, v, buf_at(&why), "<nil>");
    json_decref(v);
    return err_set(err, ERR_BAD_REQUEST, "%s: %s", e.at[0].field, e.at[0].message);
}

static int parse_requirement(struct parser *p, struct requirement *r, struct err *err)
{
    bool absent = peek(p) == T_NOT;

    if (absent)
        (void)take(p);
    struct item it = take(p);
    if (it.tok != T_IDENT)
        return found(err, it.text, "identifier");
    r->key = it.text;
    int rc = check_key(p->arena, r->key, err);
    if (rc < 0)
        return rc;
    if (absent || peek(p) == T_END || peek(p) == T_COMMA) {
        r->op = absent ? SEL_ABSENT : SEL_EXISTS;
        return 0;
    }
    rc = parse_operator(p, &r->op, err);
    if (rc < 0)
        return rc;
    rc = r->op == SEL_IN || r->op == SEL_NOT_IN ? parse_values(p, r, err) : parse_exact(p, r, err);
    if (rc < 0)
        return rc;
    selector_sort_values(r);
    return selector_check(p->arena, r, err);
}

static int parse_all(struct parser *p, struct selector *s, struct err *err)
{
    size_t cap = 0;

    for (;;) {
        if (peek(p) == T_END)
            return 0;
        if (peek(p) != T_IDENT && peek(p) != T_NOT)
            return found(err, p->next.text, "!, identifier, or 'end of string'");
        if (s->n == cap) {
            struct requirement *more = arena_alloc(p->arena, (cap = cap ? cap * 2 : 4) * sizeof(*more));

            if (s->n)
                memcpy(more, s->at, s->n * sizeof(*more));
            s->at = more;
        }
        int rc = parse_requirement(p, &s->at[s->n], err);
        if (rc < 0)
            return err_wrap(err, "unable to parse requirement");
        s->n++;
        struct item it = take(p);
        if (it.tok == T_END)
            return 0;
        if (it.tok != T_COMMA)
            return found(err, it.text, "',' or 'end of string'");
        if (peek(p) != T_IDENT && peek(p) != T_NOT)
            return found(err, p->next.text, "identifier after ','");
    }
}

int selector_parse(struct arena *a, const char *text, struct selector **ret, struct err *err)
{
    struct parser p = { .arena = a, .at = text };
    struct selector *s = arena_alloc(a, sizeof(*s));

    if (strnlen(text, SELECTOR_TEXT_MAX + 1) > SELECTOR_TEXT_MAX)
        return err_set(err, ERR_BAD_REQUEST, "a label selector may not be longer than %d bytes", SELECTOR_TEXT_MAX);
    scan(&p);
    int rc = parse_all(&p, s, err);
    if (rc < 0)
        return rc;
    selector_sort(s);
    *ret = s;
    return 0;
}
