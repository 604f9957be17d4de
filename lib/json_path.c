#include "lib/json_int.h"
#include "lib/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

json_t *json_at(const json_t *v, const char *path)
{
    while (v) {
        size_t n = strcspn(path, ".");

        v = json_object_getn(v, path, n); /* NULL unless v is an object */
        if (!path[n])
            break;
        path += n + 1;
    }
    return (json_t *)v;
}

const char *json_str(const json_t *v, const char *path)
{
    return json_string_value(json_at(v, path));
}

const char *json_str_or(const json_t *v, const char *path, const char *otherwise)
{
    const char *s = json_str(v, path);

    return s ? s : otherwise;
}

int64_t json_int_or(const json_t *v, const char *path, int64_t otherwise)
{
    const json_t *at = json_at(v, path);

    return json_is_integer(at) ? json_integer_value(at) : otherwise;
}

bool json_bool_or(const json_t *v, const char *path, bool otherwise)
{
    const json_t *at = json_at(v, path);

    return json_is_boolean(at) ? json_is_true(at) : otherwise;
}

static void must_set(json_t *object, const char *key, size_t n, json_t *v)
{
    int rc = json_object_setn_new_nocheck(object, key, n, v ? v : json_null());

    assert(rc == 0); /* out of memory, or root is no object */
}

void json_put(json_t *root, const char *path, json_t *v)
{
    for (;;) {
        size_t n = strcspn(path, ".");

        if (!path[n]) {
            must_set(root, path, n, v);
            return;
        }
        json_t *next = json_object_getn(root, path, n);
        if (!json_is_object(next)) {
            next = json_object();
            assert(next);
            must_set(root, path, n, next);
        }
        root = next;
        path += n + 1;
    }
}

void json_del(json_t *root, const char *path)
{
    const char *dot = strrchr(path, '.');

    if (dot) {
        AUTO_FREE char *parent = slice_dup((struct slice){ path, (size_t)(dot - path) });

        root = json_at(root, parent);
        path = dot + 1;
    }
    ERR_IGNORE(json_object_del(root, path)); /* it may be absent */
}

json_t *json_text(struct slice s)
{
    AUTO(buf) struct buf fixed = { 0 };

    if (!json_utf8_valid(s.at, s.n)) {
        json_utf8_fix(s, &fixed);
        s = (struct slice){ buf_at(&fixed), buf_len(&fixed) };
    }
    json_t *v = json_stringn_nocheck(s.n ? s.at : "", s.n);
    assert(v);
    return v;
}

json_t *json_strf(const char *fmt, ...)
{
    char small[256];
    AUTO_FREE char *big = NULL;
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < sizeof(small))
        return json_text((struct slice){ small, (size_t)n });
    big = mem_alloc((size_t)n + 1);
    va_start(args, fmt);
    vsnprintf(big, (size_t)n + 1, fmt, args);
    va_end(args);
    return json_text((struct slice){ big, (size_t)n });
}
