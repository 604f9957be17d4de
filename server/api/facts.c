#include "server/api/facts.h"

#include <string.h>

static void add_text(struct buf *to, const char *s)
{
    buf_add(to, s, strlen(s) + 1);
}

/* Leaves room for the length; end_section fills it in. */
static size_t begin_section(struct buf *to)
{
    uint32_t none = 0;
    size_t at = buf_len(to);

    buf_add(to, &none, sizeof(none));
    return at;
}

static void end_section(struct buf *to, size_t at)
{
    uint32_t n = (uint32_t)(buf_len(to) - at - sizeof(n));

    memcpy(to->b->at + at, &n, sizeof(n));
}

struct bytes *facts_of(struct ctx *ctx, const struct kind_ops *ops, const json_t *object)
{
    struct buf to = { 0 };
    const char *key = NULL;
    json_t *v = NULL;
    size_t i = 0;

    size_t at = begin_section(&to);
    json_object_foreach(json_at(object, "metadata.labels"), key, v)
    {
        add_text(&to, key);
        add_text(&to, json_is_string(v) ? json_string_value(v) : "");
    }
    end_section(&to, at);

    at = begin_section(&to);
    for (const char *const *f = ops->fields; f && *f; f++) {
        const char *value = ops->field ? ops->field(ctx, object, *f) : NULL;

        if (!value) {
            const json_t *plain = json_at(object, *f);

            value = json_is_string(plain) ? json_string_value(plain) : json_is_true(plain) ? "true" : "";
        }
        add_text(&to, *f);
        add_text(&to, value);
    }
    end_section(&to, at);

    at = begin_section(&to);
    json_array_foreach(json_at(object, "metadata.ownerReferences"), i, v) add_text(&to, json_str_or(v, "uid", ""));
    end_section(&to, at);
    return buf_take(&to);
}

static struct slice take_section(struct slice *rest)
{
    uint32_t n = 0;

    if (rest->n < sizeof(n))
        return (struct slice){ "", 0 };
    memcpy(&n, rest->at, sizeof(n));
    if (n > rest->n - sizeof(n))
        return (struct slice){ "", 0 };
    struct slice s = { rest->at + sizeof(n), n };
    rest->at += sizeof(n) + n;
    rest->n -= sizeof(n) + n;
    return s;
}

struct facts facts_view(const struct bytes *b)
{
    struct slice rest = b ? (struct slice){ b->at, b->n } : (struct slice){ "", 0 };
    struct facts f;

    f.labels = take_section(&rest);
    f.fields = take_section(&rest);
    f.owners = take_section(&rest);
    return f;
}

const char *facts_field(const struct facts *f, const char *name)
{
    for (const char *at = f->fields.at, *end = at + f->fields.n; at < end;) {
        const char *value = at + strlen(at) + 1;

        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return "";
}

bool facts_owned_by(const struct facts *f, const char *uid)
{
    for (const char *at = f->owners.at, *end = at + f->owners.n; at < end; at += strlen(at) + 1)
        if (strcmp(at, uid) == 0)
            return true;
    return false;
}
