/*
 * Sequences of creates, updates, patches and applies as upstream 1.37 answered them (tests/unit/data/apply.jsonl). A line tells the
 * request and upstream's object after it; the next line starts from that object. `from` says whether an update's base of managedFields
 * is the request's own or live's; `sent` is what of an update was sent as [] or {} and is stored as null.
 */
#include "lib/auto.h"
#include "lib/k8s/apply_int.h"
#include "lib/k8s/patch.h"
#include "lib/k8s/status.h"
#include "test.h"

static json_t *tree(const char *text)
{
    json_t *v = NULL;
    struct err err;

    if (json_read(text, strlen(text), NULL, NULL, &v, &err) < 0)
        fprintf(stderr, "%s\n", err.msg);
    CHECK(v != NULL);
    return v;
}

static char *text_of(const json_t *v)
{
    struct buf b = { 0 };

    if (v)
        json_write(v, &b);
    return buf_take_str(&b);
}

struct sequence {
    const struct schema_type *type;
    char *api_version;
    json_t *live;
};

static void check_failure(const struct err *err, const json_t *line)
{
    struct buf got = { 0 };

    status_write(err, &got);
    json_t *status = tree(buf_at(&got));
    if (!json_equal(status, json_object_get(line, "status")))
        fprintf(stderr, "%s\n", buf_at(&got));
    CHECK(json_equal(status, json_object_get(line, "status")));
    json_decref(status);
    buf_clear(&got);
}

static void check_result(const json_t *object, const json_t *line)
{
    static const char *const kept[] = { "labels", "annotations", "finalizers", "ownerReferences" };
    AUTO_FREE char *got = text_of(json_at(object, "metadata.managedFields"));
    AUTO_FREE char *want = text_of(json_at(json_object_get(line, "up"), "metadata.managedFields"));
    const json_t *merged = json_object_get(line, "merged");
    const char *key;
    json_t *v;

    CHECK_STR(got, want);
    json_object_foreach((json_t *)(uintptr_t)merged, key, v) {
        if (strcmp(key, "metadata") != 0)
            CHECK(json_equal(v, json_object_get(object, key)));
    }
    for (size_t i = 0; merged && i < ARRAY_LEN(kept); i++) {
        const json_t *a = json_object_get(json_object_get(merged, "metadata"), kept[i]);
        const json_t *b = json_object_get(json_object_get(object, "metadata"), kept[i]);

        CHECK(a ? b && json_equal(a, b) : !b);
    }
}

static json_t *updated_object(const struct sequence *s, const json_t *line)
{
    json_t *object = json_deep_copy(json_object_get(line, "up")), *meta = json_object_get(object, "metadata");
    json_t *own = json_object_get(line, "managedFields"), *before = json_at(s->live, "metadata.managedFields");
    json_t *sent = json_object_get(line, "sent");

    if (sent)
        json_object_update_recursive(object, sent);
    json_object_del(meta, "managedFields");
    if (own)
        json_object_set_new(meta, "managedFields", json_deep_copy(own));
    else if (strcmp(json_str_or(line, "from", ""), "live") == 0 && before)
        json_object_set_new(meta, "managedFields", json_deep_copy(before));
    return object;
}

static void run(struct sequence *s, const json_t *line)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    struct apply_manager by = { .name = json_str(line, "manager"), .subresource = json_str_or(line, "subresource", ""),
                                .api_version = s->api_version, .now_s = json_int_or(line, "now", 0) };
    json_t *object = NULL;
    struct err err;
    int rc;

    if (strcmp(json_str(line, "what"), "apply") == 0) {
        rc = apply_patch(&ctx, s->type, s->live, json_object_get(line, "object"), &by, json_bool_or(line, "force", false),
                         &object, &err);
    } else {
        object = updated_object(s, line);
        rc = apply_update_managed(&ctx, s->type, s->live, object, &by, &err);
    }
    if (rc < 0)
        check_failure(&err, line);
    else
        check_result(object, line);
    json_decref(object);
}

TEST(apply_owns_and_refuses_as_upstream_does)
{
    struct sequence s = { 0 };
    AUTO_FREE char *text = NULL;
    size_t cap = 0;
    int n = 0;
    FILE *f = fopen("tests/unit/data/apply.jsonl", "re");

    CHECK(f != NULL);
    while (getline(&text, &cap, f) > 0) {
        json_t *line = tree(text);
        const char *type = json_str(line, "type");

        n++;
        if (type) { /* another object */
            s.type = schema_type_find(schema_builtin(), type);
            CHECK(s.type != NULL);
            free(s.api_version);
            s.api_version = strdup(json_str(line, "apiVersion"));
            json_decref(s.live);
            s.live = NULL;
        }
        fprintf(stderr, "# line %d\n", n);
        run(&s, line);
        if (json_object_get(line, "up")) {
            json_decref(s.live);
            s.live = json_incref(json_object_get(line, "up"));
        }
        json_decref(line);
    }
    CHECK(n > 50);
    free(s.api_version);
    json_decref(s.live);
    fclose(f);
}

TEST(apply_drops_no_input)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    struct apply_manager by = { .name = "m", .subresource = "", .api_version = "v1", .now_s = 1000 };
    const struct schema_type *type = schema_type_find(schema_builtin(), "io.k8s.api.core.v1.ConfigMap");
    json_t *live = tree("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"uid\":\"u\"},\"data\":{\"a\":\"1\"}}");
    json_t *config = tree("{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"data\":{\"b\":\"2\"}}");
    AUTO_FREE char *live_before = text_of(live);
    AUTO_FREE char *config_before = text_of(config);
    json_t *out = NULL;
    struct err err;

    CHECK_INT(apply_patch(&ctx, type, live, config, &by, false, &out, &err), 0);
    AUTO_FREE char *live_after = text_of(live);
    AUTO_FREE char *config_after = text_of(config);
    CHECK_STR(live_after, live_before);
    CHECK_STR(config_after, config_before);
    AUTO_FREE char *managed = text_of(json_at(out, "metadata.managedFields"));
    CHECK_STR(managed,
              "[{\"manager\":\"m\",\"operation\":\"Apply\",\"apiVersion\":\"v1\",\"time\":\"1970-01-01T00:16:40Z\",\"fieldsType\":"
              "\"FieldsV1\",\"fieldsV1\":{\"f:data\":{\"f:b\":{}}}},{\"manager\":\"before-first-apply\",\"operation\":\"Update\","
              "\"apiVersion\":\"v1\",\"time\":\"1970-01-01T00:16:40Z\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:data\":{\".\":{},"
              "\"f:a\":{}}}}]");
    apply_strip(out, "data");
    CHECK(json_at(out, "metadata.managedFields") == NULL);
    json_decref(out);
    json_decref(live);
    json_decref(config);
}

TEST(apply_strip_leaves_the_rest)
{
    json_t *o = tree("{\"metadata\":{\"managedFields\":[{\"manager\":\"m\",\"operation\":\"Update\",\"apiVersion\":\"v1\",\"fieldsType\":"
                     "\"FieldsV1\",\"fieldsV1\":{\"f:spec\":{\"f:a\":{}},\"f:status\":{\".\":{},\"f:b\":{}}}}]}}");

    apply_strip(o, "status");
    AUTO_FREE char *text = text_of(json_at(o, "metadata.managedFields"));
    CHECK_STR(text, "[{\"manager\":\"m\",\"operation\":\"Update\",\"apiVersion\":\"v1\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:spec\":{"
                    "\"f:a\":{}}}}]");
    json_decref(o);
}

static char *canonical(const char *text, int want_rc)
{
    AUTO(arena) struct arena *a = arena_new();
    json_t *in = tree(text);
    const struct fieldset *s = NULL;
    struct err err;

    CHECK_INT(fieldset_read(a, in, &s, &err), want_rc);
    json_t *out = want_rc == 0 ? fieldset_write(s) : NULL;
    char *got = text_of(out);
    json_decref(out);
    json_decref(in);
    return got;
}

TEST(fieldset_reads_and_writes_upstreams_form)
{
    static const char *const cases[][2] = {
        { "{}", "{}" },
        { "{\"f:b\":{},\"f:a\":{\".\":{},\"f:c\":{}}}", "{\"f:a\":{\".\":{},\"f:c\":{}},\"f:b\":{}}" },
        { "{\"v:2\":{},\"v:10\":{},\"v:\\\"a\\\"\":{},\"v:true\":{}}", "{\"v:2\":{},\"v:10\":{},\"v:\\\"a\\\"\":{},\"v:true\":{}}" },
        { "{\"k:{\\\"port\\\":80,\\\"a\\\":\\\"x\\\"}\":{},\"i:3\":{},\"f:x\":{}}",
          "{\"f:x\":{},\"k:{\\\"a\\\":\\\"x\\\",\\\"port\\\":80}\":{},\"i:3\":{}}" },
        { "{\"q:new\":{},\"f:x\":{}}", "{\"f:x\":{}}" },
        { "{\"f:x\":null}", "{\"f:x\":{}}" },
    };
    static const char *const bad[] = { "{\"x\":{}}", "{\"k:1\":{}}", "{\"v:{\":{}}", "{\"i:a\":{}}", "{\"f:a\":1}", "[]" };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *got = canonical(cases[i][0], 0);

        CHECK_STR(got, cases[i][1]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        free(canonical(bad[i], -ERR_BAD_REQUEST));
}

static void add_path(void *arg, const char *path)
{
    buf_printf(arg, "%s\n", path);
}

TEST(fieldset_algebra)
{
    AUTO(arena) struct arena *a = arena_new();
    json_t *x = tree("{\"f:a\":{\".\":{},\"f:b\":{}},\"f:c\":{\"k:{\\\"n\\\":1}\":{\".\":{},\"f:v\":{}}}}"), *y = tree("{\"f:a\":{},\"f:c\":{\"k:{\\\"n\\\":1}\":{}}}");
    const struct fieldset *s, *t;
    AUTO(buf) struct buf text = { 0 };
    struct err err;

    CHECK_INT(fieldset_read(a, x, &s, &err), 0);
    CHECK_INT(fieldset_read(a, y, &t, &err), 0);
    fieldset_each(fieldset_difference(a, s, t), add_path, &text);
    buf_str(&text, "--\n");
    fieldset_each(fieldset_without(a, s, t), add_path, &text);
    buf_str(&text, "--\n");
    fieldset_each(fieldset_intersection(a, s, t), add_path, &text);
    buf_str(&text, "--\n");
    fieldset_each(fieldset_union(a, t, s), add_path, &text);
    CHECK_STR(buf_at(&text), ".a.b\n.c[n=1].v\n--\n--\n.a\n.c[n=1]\n--\n.a\n.a.b\n.c[n=1]\n.c[n=1].v\n");
    CHECK(fieldset_difference(a, s, s) == NULL);
    json_decref(x);
    json_decref(y);
}
