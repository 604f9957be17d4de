/*
 * An object as a client sends it: JSON or YAML, decoded, pruned, defaulted, validated, stored. Nothing crashes, and what was accepted
 * is stable: its stored bytes read back, prune to the same bytes again, and splice to valid JSON.
 * Input: a byte that chooses the kind, a byte that chooses JSON (even) or YAML (odd), then the text.
 */
#include "lib/k8s/object.h"
#include "lib/k8s/schema.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void unknown(void *arg, const char *message)
{
    *(size_t *)arg += strlen(message);
}

static json_t *read_object(const uint8_t *data, size_t n)
{
    struct err err = { 0 };
    json_t *v = NULL;
    const char *text = (const char *)data + 2;
    int rc = data[1] % 2 ? yaml_read(text, n - 2, NULL, NULL, &v, &err) : json_read(text, n - 2, NULL, NULL, &v, &err);
    return rc == 0 ? v : NULL;
}

/* What is stored must survive a second pass unchanged. */
static void check_stable(const struct schema_type *t, const struct bytes *stored)
{
    struct err err = { 0 };
    AUTO(json) json_t *again = NULL;
    int rc = json_read(stored->at, stored->n, NULL, NULL, &again, &err);
    assert(rc == 0);
    rc = object_prune(t, again, NULL, NULL, &err);
    assert(rc == 0);
    AUTO(bytes) struct bytes *second = object_bytes(again);
    if (!strstr(stored->at, "-0")) /* -0.0 is written -0, which reads as the integer 0, as in Go */
        assert(second->n == stored->n && memcmp(second->at, stored->at, stored->n) == 0);
}

static void check_splice(const struct bytes *stored)
{
    struct err err = { 0 };
    AUTO(buf) struct buf out = { 0 };
    AUTO(json) json_t *v = NULL;
    object_splice((struct slice){ stored->at, stored->n }, 42, &out);
    int rc = json_read(buf_at(&out), buf_len(&out), NULL, NULL, &v, &err);
    assert(rc == 0);
    assert(strcmp(json_str_or(v, "metadata.resourceVersion", ""), "42") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    const struct schema *s = schema_builtin();
    const struct schema_type *t = schema_resource_at(s, data[0] % schema_resources(s))->type;
    AUTO(json) json_t *v = read_object(data, n);
    if (!v)
        return 0;
    struct err err = { 0 };
    size_t told = 0;
    if (object_prune(t, v, unknown, &told, &err) < 0) {
        assert(err.code == ERR_BAD_REQUEST && err.msg[0]);
        return 0;
    }
    object_default(t, v);
    AUTO(arena) struct arena *arena = arena_new();
    struct field_errors errs = { .arena = arena };
    object_validate(t, v, &errs);
    AUTO(bytes) struct bytes *stored = object_bytes(v);
    check_stable(t, stored);
    check_splice(stored);
    return 0;
}
