/* object_bytes - the stored form of an object and the resourceVersion spliced into it. Source: DESIGN decision 1. */
#include "lib/k8s/object.h"

#include <string.h>

static const char head[] = "{\"kind\":";
static const char metadata[] = "\"metadata\":{";

static void member(const char *key, size_t n, const json_t *v, struct buf *to)
{
    if (buf_len(to) > 1)
        buf_char(to, ',');
    json_write_string((struct slice){ key, n }, to);
    buf_char(to, ':');
    json_write(v, to);
}

static bool is_head(const char *key, size_t n)
{
    struct slice k = { key, n };
    return slice_is(k, "kind") || slice_is(k, "apiVersion") || slice_is(k, "metadata");
}

/* Metadata without resourceVersion. */
static void write_metadata(const json_t *meta, struct buf *to)
{
    buf_str(to, ",\"metadata\":{");
    size_t start = buf_len(to);
    for (void *it = json_object_iter((json_t *)(uintptr_t)meta); it; it = json_object_iter_next((json_t *)(uintptr_t)meta, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "resourceVersion") == 0)
            continue;
        if (buf_len(to) > start)
            buf_char(to, ',');
        json_write_string((struct slice){ key, json_object_iter_key_len(it) }, to);
        buf_char(to, ':');
        json_write(json_object_iter_value(it), to);
    }
    buf_char(to, '}');
}

struct bytes *object_bytes(const json_t *object)
{
    struct buf to = { 0 };
    buf_str(&to, head);
    json_write_string(slice_of(json_str_or(object, "kind", "")), &to);
    buf_str(&to, ",\"apiVersion\":");
    json_write_string(slice_of(json_str_or(object, "apiVersion", "")), &to);
    write_metadata(json_object_get(object, "metadata"), &to);
    json_t *o = (json_t *)(uintptr_t)object; /* jansson's iterators take no const */
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        if (!is_head(json_object_iter_key(it), json_object_iter_key_len(it)))
            member(json_object_iter_key(it), json_object_iter_key_len(it), json_object_iter_value(it), &to);
    }
    buf_char(&to, '}');
    return buf_take(&to);
}

/* Where the stored form's metadata begins: behind kind and apiVersion, whose strings hold no quotes. */
static const char *metadata_of(struct slice stored)
{
    const char *at = memmem(stored.at, stored.n, metadata, sizeof(metadata) - 1);
    return at ? at + sizeof(metadata) - 1 : NULL;
}

void object_splice(struct slice stored, int64_t resource_version, struct buf *to)
{
    const char *at = metadata_of(stored);
    if (!at) { /* not of our form: as it is, rather than wrong */
        buf_slice(to, stored);
        return;
    }
    size_t n = (size_t)(at - stored.at);
    bool empty = n < stored.n && *at == '}';
    char text[64];
    int m = snprintf(text, sizeof(text), "\"resourceVersion\":\"%lld\"%s", (long long)resource_version, empty ? "" : ",");
    buf_space(to, stored.n + (size_t)m); /* one growth */
    buf_add(to, stored.at, n);
    buf_add(to, text, (size_t)m);
    buf_add(to, at, stored.n - n);
}
