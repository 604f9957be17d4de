#include "lib/auto.h"
#include "lib/k8s/status.h"
#include "test.h"

static char *written(const struct err *err)
{
    struct buf to = { 0 };

    status_write(err, &to);
    return buf_take_str(&to);
}

TEST(status_has_upstreams_members_and_order)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    struct err err;

    CHECK_INT(status_not_found(&ctx, "apps", "deployments", "web", &err), -ERR_NOT_FOUND);
    AUTO_FREE char *absent = written(&err);
    CHECK_STR(absent, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"deployments.apps \\\"web\\\" not "
                      "found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"web\",\"group\":\"apps\",\"kind\":\"deployments\"},\"code\":404}");
    CHECK_INT(status_bad_request(&ctx, &err, "a %s", "b"), -ERR_BAD_REQUEST);
    AUTO_FREE char *bad = written(&err);
    CHECK_STR(bad, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"a b\",\"reason\":\"BadRequest\","
                   "\"code\":400}");
    CHECK_INT(err_set(&err, ERR_IO, "disk gone"), -ERR_IO);
    AUTO_FREE char *ours = written(&err);
    CHECK_STR(ours, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"Internal error occurred: disk "
                    "gone\",\"reason\":\"InternalError\",\"details\":{\"causes\":[{\"message\":\"disk gone\"}]},\"code\":500}");
}

TEST(status_words)
{
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    struct err err;

    CHECK_INT(status_already_exists(&ctx, "", "pods", "p", &err), -ERR_EXISTS);
    CHECK_STR(err.msg, "pods \"p\" already exists");
    CHECK_INT(status_conflict(&ctx, "", "pods", "p", "why", &err), -ERR_CONFLICT);
    CHECK_STR(err.msg, "Operation cannot be fulfilled on pods \"p\": why");
    CHECK_INT(status_forbidden(&ctx, "", "pods", "", "no", &err), -ERR_FORBIDDEN);
    CHECK_STR(err.msg, "pods is forbidden: no");
    CHECK_INT(status_forbidden(&ctx, "apps", "deployments", "d", "no", &err), -ERR_FORBIDDEN);
    CHECK_STR(err.msg, "deployments.apps \"d\" is forbidden: no");
    CHECK_INT(status_forbidden(&ctx, "", "", "", "no", &err), -ERR_FORBIDDEN);
    CHECK_STR(err.msg, "forbidden: no");
}

TEST(status_comes_back_as_the_same_failure)
{
    static const char text[] =
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"m\",\"reason\":\"Invalid\",\"details\":{\"name\":"
        "\"n\",\"group\":\"g\",\"kind\":\"K\",\"uid\":\"u\",\"causes\":[{\"reason\":\"FieldValueInvalid\",\"message\":\"c\",\"field\":\"spec\"}],"
        "\"retryAfterSeconds\":3},\"code\":422}";
    AUTO(arena) struct arena *a = arena_new();
    struct ctx ctx = ctx_background(a);
    struct err err;

    CHECK_INT(status_read(&ctx, 422, SLICE_LIT(text), &err), -ERR_INVALID);
    AUTO_FREE char *again = written(&err);
    CHECK_STR(again, text);
    CHECK_INT(err_wrap(&err, "asking"), -ERR_INVALID);
    CHECK_INT(status_read(&ctx, 404, SLICE_LIT("404 page not found\n"), &err), -ERR_NOT_FOUND);
    CHECK_STR(err.msg, "the server could not find the requested resource");
    CHECK_INT(status_read(&ctx, 502, SLICE_LIT("bad\n"), &err), -ERR_IO);
    CHECK_STR(err.msg, "an error on the server (\"bad\") has prevented the request from succeeding");
    CHECK_INT(status_read(&ctx, 500, (struct slice){ 0 }, &err), -ERR_IO);
}

TEST(field_errors_read_as_upstreams)
{
    static const char *const allowed[] = { "Always", "Never" };
    AUTO(arena) struct arena *a = arena_new();
    struct field_errors e = { .arena = a };
    struct err err;
    json_t *text = json_string("a\"\n\x01 \xc3\xa9\xe2\x80\x8b"), *number = json_integer(7), *object = json_pack("{s:s}", "k", "<v>");

    CHECK_INT(field_errors_end(&e, "", "Pod", "x", &err), 0);
    field_error(&e, FIELD_REQUIRED, NULL, "", "spec.containers[%d].name", 0);
    CHECK_INT(field_errors_end(&e, "", "Pod", "x", &err), -ERR_INVALID);
    CHECK_STR(err.msg, "Pod \"x\" is invalid: spec.containers[0].name: Required value");
    field_error(&e, FIELD_INVALID, text, "bad", "a");
    field_error(&e, FIELD_DUPLICATE, number, NULL, "b");
    field_error(&e, FIELD_INVALID, object, "no", "c");
    field_not_supported(&e, "Maybe", allowed, 2, "d");
    field_error(&e, FIELD_TOO_LONG, NULL, "may not be more than 5 bytes", "f");
    field_error(&e, FIELD_TOO_LONG, NULL, "may not be more than 5 bytes", "f");
    CHECK_INT(field_errors_end(&e, "apps", "Deployment", "x", &err), -ERR_INVALID);
    CHECK_STR(err.status->message,
              "Deployment.apps \"x\" is invalid: [spec.containers[0].name: Required value, a: Invalid value: "
              "\"a\\\"\\n\\x01 \xc3\xa9\\u200b\": bad, b: Duplicate value: 7, c: Invalid value: "
              "{\"k\":\"\\u003cv\\u003e\"}: no, d: Unsupported value: \"Maybe\": supported values: \"Always\", \"Never\", f: Too "
              "long: may not be more than 5 bytes]");
    CHECK_INT(err.status->n_causes, 7);
    CHECK_STR(err.status->causes[4].type, "FieldValueNotSupported");
    json_decref(text);
    json_decref(number);
    json_decref(object);
}
