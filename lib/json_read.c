#include "lib/json_int.h"
#include "lib/mem.h"

#include <math.h>
#include <string.h>

enum {
    TREE_BYTES_MIN = 16 << 20,
    TREE_BYTES_PER_TEXT_BYTE = 32,
    NUMBER_TEXT_SMALL = 64,
};

struct json_budget json_budget_for(size_t text_bytes)
{
    size_t more = text_bytes > SIZE_MAX / 4 / TREE_BYTES_PER_TEXT_BYTE ? SIZE_MAX / 4
                                                                       : text_bytes * TREE_BYTES_PER_TEXT_BYTE;

    return (struct json_budget){ TREE_BYTES_MIN + more };
}

int json_budget_take(struct json_budget *b, size_t cost, struct err *err)
{
    if (cost > b->left)
        return err_set(err, ERR_TOO_LARGE, "the object would take too much memory for the size of its text");
    b->left -= cost;
    return 0;
}

/* --- numbers --- */

/* False when it does not fit, or has a fraction or exponent. */
static bool fits_int64(struct slice raw, int64_t *ret)
{
    bool minus = raw.n && raw.at[0] == '-';
    uint64_t v = 0;

    if (raw.n - minus > 19)
        return false;
    for (size_t i = minus; i < raw.n; i++) {
        if (raw.at[i] < '0' || raw.at[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(raw.at[i] - '0');
    }
    if (v > (uint64_t)INT64_MAX + minus)
        return false;
    *ret = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

int json_number(struct slice raw, json_t **ret, struct err *err)
{
    int64_t i;

    if (fits_int64(raw, &i)) {
        *ret = json_integer(i);
    } else {
        char small[NUMBER_TEXT_SMALL];
        AUTO_FREE char *big = NULL;
        char *text = small;

        if (raw.n >= sizeof(small))
            text = big = mem_try_alloc(raw.n + 1);
        if (!text)
            return err_set(err, ERR_IO, "out of memory");
        memcpy(text, raw.at, raw.n);
        text[raw.n] = '\0';
        double d = strtod(text, NULL); /* the process stays in the C locale */
        if (!isfinite(d))
            return err_set(err, ERR_BAD_REQUEST, "number %.40s%s is out of range", text, raw.n > 40 ? "..." : "");
        *ret = json_real(d);
    }
    return *ret ? 0 : err_set(err, ERR_IO, "out of memory");
}

/* --- trees --- */

void json_level_path(const struct json_level *levels, int depth, struct buf *to)
{
    for (int i = 0; i < depth; i++) {
        const struct json_level *l = &levels[i];

        if (json_is_array(l->v)) {
            buf_printf(to, "[%zu]", json_array_size(l->v) - 1); /* its newest element holds the next level */
            continue;
        }
        if (buf_len(to))
            buf_char(to, '.');
        buf_add(to, l->key, l->key_n);
    }
}

struct reader {
    struct json_scan scan;
    struct json_budget budget;
    json_duplicate_fn *dup;
    void *dup_arg;
    struct buf keys; /* decoded keys of all levels, one behind the other, for those that need decoding */
    struct buf text; /* the string being decoded */
    json_t *root;
    int depth;
    struct json_level levels[JSON_DEPTH_MAX];
};

static void reader_clear(struct reader *r)
{
    json_decref(r->root);
    buf_clear(&r->keys);
    buf_clear(&r->text);
}

/* Whether the raw text of the current token is its value. */
static bool is_plain(const struct json_scan *s)
{
    return !s->escaped && (!s->high || json_utf8_valid(s->raw.at, s->raw.n));
}

static void take_key(struct reader *r)
{
    struct json_level *l = &r->levels[r->depth - 1];

    if (is_plain(&r->scan)) {
        l->key = r->scan.raw.at;
        l->key_n = r->scan.raw.n;
        return;
    }
    buf_cut(&r->keys, l->key_at);
    json_unescape(r->scan.raw, &r->keys);
    l->key = NULL; /* in r->keys, which may move */
    l->key_n = buf_len(&r->keys) - l->key_at;
}

static void fix_keys(struct reader *r)
{
    for (int i = 0; i < r->depth; i++)
        if (!r->levels[i].key)
            r->levels[i].key = buf_at(&r->keys) + r->levels[i].key_at;
}

static void report_duplicate(struct reader *r)
{
    AUTO(buf) struct buf path = { 0 };

    if (!r->dup)
        return;
    fix_keys(r);
    json_level_path(r->levels, r->depth, &path);
    r->dup(r->dup_arg, buf_at(&path));
}

/* Steals v. */
static int add_value(struct reader *r, json_t *v, struct err *err)
{
    if (r->depth == 0) {
        r->root = v;
        return 0;
    }
    struct json_level *l = &r->levels[r->depth - 1];
    if (json_is_array(l->v))
        return json_array_append_new(l->v, v) < 0 ? err_set(err, ERR_IO, "out of memory") : 0;

    const char *key = l->key ? l->key : buf_at(&r->keys) + l->key_at;
    size_t before = json_object_size(l->v);
    if (json_object_setn_new_nocheck(l->v, key, l->key_n, v) < 0)
        return err_set(err, ERR_IO, "out of memory");
    if (json_object_size(l->v) == before)
        report_duplicate(r);
    return json_budget_take(&r->budget, JSON_COST_MEMBER + l->key_n, err);
}

static int read_string(struct reader *r, json_t **ret, struct err *err)
{
    struct slice s = r->scan.raw;
    int rc = json_budget_take(&r->budget, JSON_COST_STRING + s.n, err);

    if (rc < 0)
        return rc;
    if (!is_plain(&r->scan)) {
        buf_cut(&r->text, 0);
        json_unescape(s, &r->text);
        s = (struct slice){ buf_at(&r->text), buf_len(&r->text) };
    }
    *ret = json_stringn_nocheck(s.at, s.n);
    return *ret ? 0 : err_set(err, ERR_IO, "out of memory");
}

static int open_level(struct reader *r, bool object, struct err *err)
{
    int rc = json_budget_take(&r->budget, object ? JSON_COST_OBJECT : JSON_COST_ARRAY, err);

    if (rc < 0)
        return rc;
    json_t *v = object ? json_object() : json_array();
    if (!v)
        return err_set(err, ERR_IO, "out of memory");
    rc = add_value(r, v, err);
    if (rc < 0)
        return rc;
    r->levels[r->depth++] = (struct json_level){ .v = v, .key_at = buf_len(&r->keys) };
    return 0;
}

static int read_scalar(struct reader *r, int tok, struct err *err)
{
    json_t *v = NULL;
    int rc = 0;

    switch (tok) {
    case JSON_TOK_STRING:
        rc = read_string(r, &v, err);
        break;
    case JSON_TOK_NUMBER:
        rc = json_budget_take(&r->budget, JSON_COST_SCALAR, err);
        if (rc == 0)
            rc = json_number(r->scan.raw, &v, err);
        break;
    default: /* jansson's own, which cost nothing */
        v = tok == JSON_TOK_NULL ? json_null() : json_boolean(tok == JSON_TOK_TRUE);
    }
    return rc < 0 ? rc : add_value(r, v, err);
}

static int read_all(struct reader *r, struct err *err)
{
    for (;;) {
        int rc = 0, tok = json_scan_next(&r->scan, err);

        if (tok <= JSON_TOK_END)
            return tok;
        switch (tok) {
        case JSON_TOK_KEY:
            take_key(r);
            break;
        case JSON_TOK_OBJECT:
        case JSON_TOK_ARRAY:
            rc = open_level(r, tok == JSON_TOK_OBJECT, err);
            break;
        case JSON_TOK_OBJECT_END:
        case JSON_TOK_ARRAY_END:
            buf_cut(&r->keys, r->levels[--r->depth].key_at);
            break;
        default:
            rc = read_scalar(r, tok, err);
        }
        if (rc < 0)
            return rc;
    }
}

int json_read(const char *text, size_t n, json_duplicate_fn *dup, void *dup_arg, json_t **ret, struct err *err)
{
    struct reader r;

    r.budget = json_budget_for(n);
    r.dup = dup;
    r.dup_arg = dup_arg;
    r.keys = r.text = (struct buf){ 0 };
    r.root = NULL;
    r.depth = 0;
    json_scan_init(&r.scan, text, n);
    int rc = read_all(&r, err);
    if (rc == 0)
        *ret = TAKE(r.root);
    reader_clear(&r);
    return rc;
}
