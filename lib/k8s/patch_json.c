#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"

#include <limits.h>
#include <string.h>

enum { OPERATIONS_MAX = 10000, COPY_BYTES_MAX = 3 * 1024 * 1024 };

struct change {
    struct ctx *ctx;
    json_t *doc;
    size_t copied_bytes;
    const char *why; /* what did not apply; for our log, clients are told less */
};

/* Levels of v, at most `most` + 1. */
static int depth_of(const json_t *v, int most)
{
    int deepest = 0, d;
    const char *key;
    json_t *m;

    if (most < 0 || !(json_is_object(v) || json_is_array(v)))
        return 0;
    json_object_foreach((json_t *)(uintptr_t)v, key, m) {
        d = depth_of(m, most - 1);
        deepest = d > deepest ? d : deepest;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        d = depth_of(json_array_get(v, i), most - 1);
        deepest = d > deepest ? d : deepest;
    }
    return deepest + 1;
}

/* ~1 is '/', ~0 is '~'. RFC 6901, section 4. */
static char *decoded(struct arena *a, const char *s, size_t n)
{
    char *to = arena_alloc(a, n + 1);
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == '~' && i + 1 < n && (s[i + 1] == '0' || s[i + 1] == '1'))
            to[len++] = s[++i] == '0' ? '~' : '/';
        else
            to[len++] = s[i];
    }
    return to;
}

/* As Go's Atoi, within what an array may hold; negative counts from the end. False: no index. */
static bool index_of(const char *key, size_t size, size_t *ret)
{
    char *end;

    if (!*key || strspn(key, "+-0123456789") != strlen(key))
        return false;
    long i = strtol(key, &end, 10);
    if (*end || i == LONG_MAX || i == LONG_MIN)
        return false;
    if (i < 0)
        i += (long)size;
    if (i < 0 || (size_t)i >= size)
        return false;
    *ret = (size_t)i;
    return true;
}

struct place {
    json_t *in;  /* object or array; NULL: missing */
    char *key;
    int depth;
};

/* The container that a pointer's last token is in. */
static struct place find(struct change *c, const char *path)
{
    struct place at = { .in = c->doc };
    const char *slash = strchr(path, '/');

    if (!slash)
        return (struct place){ 0 };
    for (;;) {
        const char *token = slash + 1;
        size_t i;

        slash = strchr(token, '/');
        at.key = decoded(c->ctx->arena, token, slash ? (size_t)(slash - token) : strlen(token));
        at.depth++;
        if (!slash)
            return at;
        if (json_is_array(at.in))
            at.in = index_of(at.key, json_array_size(at.in), &i) ? json_array_get(at.in, i) : NULL;
        else
            at.in = json_object_get(at.in, at.key);
        if (!json_is_object(at.in) && !json_is_array(at.in))
            return (struct place){ 0 };
    }
}

static int fail(struct change *c, const char *what, const char *path)
{
    c->why = arena_printf(c->ctx->arena, "%s: \"%s\"", what, path);
    return -1;
}

/* Steals v. */
static int put(struct change *c, const char *path, json_t *v)
{
    struct place at = find(c, path);
    size_t i, size = json_array_size(at.in);
    int rc = 0;

    if (!at.in)
        rc = fail(c, "add operation does not apply: doc is missing path", path);
    else if (at.depth + depth_of(v, JSON_DEPTH_MAX) > JSON_DEPTH_MAX)
        rc = fail(c, "the result would be nested too deeply", path);
    else if (json_is_object(at.in))
        json_object_set_nocheck(at.in, at.key, v);
    else if (strcmp(at.key, "-") == 0)
        json_array_append(at.in, v);
    else if (index_of(at.key, size + 1, &i))
        json_array_insert(at.in, i, v);
    else
        rc = fail(c, "unable to access invalid index", path);
    json_decref(v);
    return rc;
}

/* Borrowed; *ret NULL for an absent object member. */
static int get(struct change *c, const char *path, json_t **ret)
{
    struct place at = find(c, path);
    size_t i;

    if (!at.in)
        return fail(c, "operation does not apply: doc is missing path", path);
    if (json_is_object(at.in)) {
        *ret = json_object_get(at.in, at.key);
        return 0;
    }
    if (!index_of(at.key, json_array_size(at.in), &i))
        return fail(c, "unable to access invalid index", path);
    *ret = json_array_get(at.in, i);
    return 0;
}

static int take_out(struct change *c, const char *path)
{
    struct place at = find(c, path);
    size_t i;

    if (!at.in)
        return fail(c, "remove operation does not apply: doc is missing path", path);
    if (json_is_object(at.in))
        return json_object_del(at.in, at.key) == 0 ? 0 : fail(c, "unable to remove nonexistent key", path);
    if (!index_of(at.key, json_array_size(at.in), &i))
        return fail(c, "unable to access invalid index", path);
    json_array_remove(at.in, i);
    return 0;
}

static json_t *value_of(const json_t *op)
{
    json_t *v = json_object_get(op, "value");

    return v ? json_deep_copy(v) : json_null();
}

static int replace(struct change *c, const char *path, const json_t *op)
{
    json_t *v = value_of(op);
    struct place at;
    size_t i;
    int rc = 0;

    if (!*path) {
        if (json_is_object(v) || json_is_array(v)) {
            json_decref(c->doc);
            c->doc = v;
            return 0;
        }
        json_decref(v);
        return fail(c, "replace operation value must be object or array", path);
    }
    at = find(c, path);
    if (!at.in)
        rc = fail(c, "replace operation does not apply: doc is missing path", path);
    else if (at.depth + depth_of(v, JSON_DEPTH_MAX) > JSON_DEPTH_MAX)
        rc = fail(c, "the result would be nested too deeply", path);
    else if (json_is_object(at.in))
        json_object_set_nocheck(at.in, at.key, v);
    else if (index_of(at.key, json_array_size(at.in), &i))
        json_array_set(at.in, i, v);
    else
        rc = fail(c, "replace operation does not apply: doc is missing key", path);
    json_decref(v);
    return rc;
}

static int test(struct change *c, const char *path, const json_t *op)
{
    const json_t *wanted = json_object_get(op, "value");
    json_t *got = c->doc;

    if (*path && get(c, path, &got) < 0)
        return -1;
    bool none = !got || json_is_null(got), want_none = !wanted || json_is_null(wanted);
    if (none || want_none ? none == want_none : json_equal(got, wanted))
        return 0;
    return fail(c, "testing value failed", path);
}

static int move_or_copy(struct change *c, const char *from, const char *path, bool move)
{
    json_t *v = NULL;

    if (get(c, from, &v) < 0)
        return -1;
    if (move) {
        json_incref(v);
        if (take_out(c, from) < 0) {
            json_decref(v);
            return -1;
        }
        return put(c, path, v ? v : json_null());
    }
    AUTO(buf) struct buf size = { 0 };
    if (v)
        json_write(v, &size);
    c->copied_bytes += buf_len(&size);
    if (c->copied_bytes > COPY_BYTES_MAX)
        return fail(c, "unable to complete the copy, the accumulated size is over the limit", path);
    return put(c, path, v ? json_deep_copy(v) : json_null());
}

/* NULL when absent, or when it holds a NUL, which no key of the API does. */
static const char *pointer_of(const json_t *op, const char *member)
{
    const json_t *v = json_object_get(op, member);
    const char *s = json_string_value(v);

    return s && strlen(s) == json_string_length(v) ? s : NULL;
}

static int apply_operation(struct change *c, const json_t *op)
{
    const char *kind = json_str_or(op, "op", "unknown"), *path = pointer_of(op, "path"), *from = pointer_of(op, "from");
    bool moves = strcmp(kind, "move") == 0, copies = strcmp(kind, "copy") == 0;

    if (!path)
        return fail(c, "operation missing path field", kind);
    if (moves || copies)
        return from ? move_or_copy(c, from, path, moves) : fail(c, "operation missing from field", kind);
    if (strcmp(kind, "add") == 0)
        return put(c, path, value_of(op));
    if (strcmp(kind, "remove") == 0)
        return take_out(c, path);
    if (strcmp(kind, "replace") == 0)
        return replace(c, path, op);
    if (strcmp(kind, "test") == 0)
        return test(c, path, op);
    return fail(c, "unexpected kind", kind);
}

static const char *go_kind(const json_t *v)
{
    return json_is_object(v) ? "object" : json_is_array(v) ? "array" : json_is_string(v) ? "string"
         : json_is_boolean(v) ? "bool" : "number";
}

int patch_json(struct ctx *ctx, const json_t *object, const json_t *operations, json_t **ret, struct err *err)
{
    struct change c = { .ctx = ctx };
    size_t n = json_array_size(operations);

    if (!json_is_array(operations) && !json_is_null(operations))
        return status_bad_request(ctx, err, "error decoding patch: json: cannot unmarshal %s into Go value of type []handlers.jsonPatchOp",
                                  go_kind(operations));
    for (size_t i = 0; i < n; i++) {
        const json_t *op = json_array_get(operations, i);

        if (!json_is_object(op) && !json_is_null(op))
            return status_bad_request(ctx, err,
                                      "error decoding patch: json: cannot unmarshal %s into Go value of type handlers.jsonPatchOp",
                                      go_kind(op));
    }
    if (n > OPERATIONS_MAX)
        return err_set(err, ERR_TOO_LARGE,
                       "Request entity too large: The allowed maximum operations in a JSON patch is %d, got %zu", OPERATIONS_MAX, n);
    c.doc = json_deep_copy(object);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (apply_operation(&c, json_array_get(operations, i)) < 0)
            rc = status_rejected(ctx, c.why, err);
        else if (i % 16 == 15) /* a test may walk the whole document each time */
            rc = ctx_check(ctx, err);
    }
    if (rc < 0)
        json_decref(c.doc);
    else
        *ret = c.doc;
    return rc;
}

/* --- merge patch (RFC 7386), with the corners of the library upstream uses --- */

/* A copy without null members; nulls in arrays stay. */
static json_t *without_nulls(const json_t *v)
{
    const char *key;
    size_t n;
    json_t *m, *out;

    if (json_is_array(v)) {
        out = json_array();
        for (size_t i = 0; i < json_array_size(v); i++)
            json_array_append_new(out, without_nulls(json_array_get(v, i)));
        return out;
    }
    if (!json_is_object(v))
        return json_deep_copy(v);
    out = json_object();
    json_object_keylen_foreach((json_t *)(uintptr_t)v, key, n, m) {
        if (!json_is_null(m))
            json_object_setn_new_nocheck(out, key, n, without_nulls(m));
    }
    return out;
}

static json_t *merge(const json_t *current, const json_t *patch)
{
    const char *key;
    size_t n;
    json_t *m, *out;

    if (!json_is_object(current))
        return without_nulls(patch);
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    out = json_object();
    json_object_keylen_foreach((json_t *)(uintptr_t)current, key, n, m) {
        const json_t *p = json_object_getn(patch, key, n);

        if (!p)
            json_object_setn_new_nocheck(out, key, n, json_deep_copy(m));
        else if (!json_is_null(p))
            json_object_setn_new_nocheck(out, key, n, merge(m, p));
    }
    json_object_keylen_foreach((json_t *)(uintptr_t)patch, key, n, m) {
        if (!json_is_null(m) && !json_object_getn(current, key, n))
            json_object_setn_new_nocheck(out, key, n, without_nulls(m));
    }
    return out;
}

json_t *patch_merge(const json_t *object, const json_t *patch)
{
    return json_is_object(patch) ? merge(object, patch) : without_nulls(patch);
}
