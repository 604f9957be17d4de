/*
 * Patches as upstream 1.37 answered them (tests/unit/data/patch.jsonl: op, object, patch, want or status; "same" repeats the object
 * before), and limits.
 */
#include "lib/auto.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"
#include "test.h"

static json_t *tree(const char *text)
{
    json_t *v = NULL;
    struct err err;

    CHECK_INT(json_read(text, strlen(text), NULL, NULL, &v, &err), 0);
    return v;
}

static int patch(struct ctx *ctx, const char *op, const json_t *object, const json_t *change, json_t **ret, struct err *err)
{
    if (strcmp(op, "json") == 0)
        return patch_json(ctx, object, change, ret, err);
    if (strcmp(op, "strategic") == 0)
        return patch_strategic(ctx, schema_type_find(schema_builtin(), "io.k8s.api.apps.v1.Deployment"), object, change, ret, err);
    *ret = patch_merge(object, change);
    return 0;
}

static void run(const json_t *line, const json_t *object)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    AUTO(buf) struct buf got = { 0 };
    json_t *out = NULL, *before = json_deep_copy(object), *want = json_object_get(line, "want"), *status;
    struct err err;
    int rc = patch(&ctx, json_str(line, "op"), object, json_object_get(line, "patch"), &out, &err);

    if (rc < 0)
        status_write(&err, &got);
    else
        json_write(out, &got);
    if (json_is_string(want))
        want = (json_t *)(uintptr_t)object;
    status = rc < 0 ? tree(buf_at(&got)) : json_incref(out);
    if (!json_equal(status, want ? want : json_object_get(line, "status")))
        fprintf(stderr, "got %s\n", buf_at(&got));
    CHECK(json_equal(status, want ? want : json_object_get(line, "status")));
    CHECK(json_equal(before, object)); /* inputs stay untouched */
    json_decref(before);
    json_decref(status);
    json_decref(out);
}

TEST(patch_answers_as_upstream_does)
{
    AUTO_FREE char *text = NULL;
    json_t *object = NULL;
    size_t cap = 0;
    int n = 0;
    FILE *f = fopen("tests/unit/data/patch.jsonl", "re");

    CHECK(f != NULL);
    for (; getline(&text, &cap, f) > 0; n++) {
        json_t *line = tree(text);

        if (json_is_object(json_object_get(line, "object"))) {
            json_decref(object);
            object = json_incref(json_object_get(line, "object"));
        }
        fprintf(stderr, "# line %d\n", n + 1);
        run(line, object);
        json_decref(line);
    }
    CHECK(n > 60);
    json_decref(object);
    fclose(f);
}

TEST(patch_json_has_limits)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    json_t *object = tree("{\"a\":{\"b\":1}}"), *ops = json_array(), *out = NULL;
    json_t *nest = tree("{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/c\"}");
    struct err err;

    for (int i = 0; i < JSON_DEPTH_MAX - 3; i++) /* each goes one level deeper */
        json_array_append(ops, nest);
    CHECK_INT(patch_json(&ctx, object, ops, &out, &err), 0);
    json_decref(out);
    json_array_append(ops, nest);
    json_array_append(ops, nest);
    CHECK_INT(patch_json(&ctx, object, ops, &out, &err), -ERR_INVALID);
    json_array_clear(ops);
    json_t *test = tree("{\"op\":\"test\",\"path\":\"/a/b\",\"value\":1}");
    for (int i = 0; i < 10000; i++)
        json_array_append(ops, test);
    CHECK_INT(patch_json(&ctx, object, ops, &out, &err), 0);
    json_decref(out);
    json_array_append(ops, test);
    CHECK_INT(patch_json(&ctx, object, ops, &out, &err), -ERR_TOO_LARGE);
    CHECK_STR(err.msg, "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001");
    json_decref(nest);
    json_decref(test);
    json_decref(ops);
    json_decref(object);
}
