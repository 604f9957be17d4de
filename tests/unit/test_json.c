#include "lib/json.h"
#include "test.h"

#include <math.h>

static json_t *must_read(const char *text)
{
    struct err err = { 0 };
    json_t *v = NULL;

    if (json_read(text, strlen(text), NULL, NULL, &v, &err) < 0)
        fprintf(stderr, "%s: %s\n", text, err.msg);
    CHECK(v != NULL);
    return v;
}

static void check_rewrite(const char *text, size_t n, const char *want)
{
    struct err err = { 0 };
    AUTO(json) json_t *v = NULL;
    AUTO(buf) struct buf out = { 0 };

    CHECK_INT(json_read(text, n, NULL, NULL, &v, &err), 0);
    json_write(v, &out);
    CHECK_STR(buf_at(&out), want);
}

TEST(json_round_trip)
{
    static const struct { const char *in, *out; } cases[] = {
        { "{}", "{}" },
        { " [ ] ", "[]" },
        { "[[],{},[{}]]", "[[],{},[{}]]" },
        { "{\"b\": 1, \"a\": [true, false, null]}", "{\"b\":1,\"a\":[true,false,null]}" },
        { "\"\"", "\"\"" },
        { "{\"\":\"\"}", "{\"\":\"\"}" },
        { "\"<&>\\/\\b\\f\\n\\r\\t\\u0001\\u007f\"", "\"<&>/\\b\\f\\n\\r\\t\\u0001\x7f\"" },
        { "\"\\u00e9\\u20ac\\ud83d\\ude00\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { "\"\\ud83d\"", "\"\xef\xbf\xbd\"" },
        { "\"\\ud83d\\u0041\"", "\"\xef\xbf\xbd" "A\"" },
        { "\"\\ude00\\ud83dx\"", "\"\xef\xbf\xbd\xef\xbf\xbdx\"" },
        { "\"a\xff\xc0\xaf\"", "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\"\xed\xa0\x80\"", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\"\xe2\x82\"", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "{\"k\xff\":1}", "{\"k\xef\xbf\xbd\":1}" },
        { "\"\\u2028\xe2\x80\xa9\"", "\"\\u2028\\u2029\"" },
        { "\"a\\u0000b\"", "\"a\\u0000b\"" },
        { "{\"a\\u0000b\":\"\\u0000\"}", "{\"a\\u0000b\":\"\\u0000\"}" },
        { "\"long enough to pass several words \\\" quoted\"", "\"long enough to pass several words \\\" quoted\"" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_rewrite(cases[i].in, strlen(cases[i].in), cases[i].out);
}

TEST(json_numbers_as_go)
{
    static const struct { const char *in, *out; } cases[] = {
        { "0", "0" }, { "-0", "0" }, { "-0.0", "-0" }, { "1.0", "1" }, { "0.1", "0.1" }, { "1e21", "1e+21" },
        { "1e20", "100000000000000000000" }, { "1e-6", "0.000001" }, { "1e-7", "1e-7" }, { "123456789e-15", "1.23456789e-7" },
        { "9223372036854775807", "9223372036854775807" }, { "-9223372036854775808", "-9223372036854775808" },
        { "9223372036854775808", "9223372036854776000" }, { "18446744073709551615", "18446744073709552000" },
        { "-9223372036854775809", "-9223372036854776000" }, { "5e-324", "5e-324" }, { "1.7976931348623157e308", "1.7976931348623157e+308" },
        { "0.30000000000000004", "0.30000000000000004" }, { "1e15", "1000000000000000" }, { "123456.789", "123456.789" },
        { "1e-400", "0" }, { "2.2250738585072014e-308", "2.2250738585072014e-308" }, { "0.00001234", "0.00001234" },
        { "1E2", "100" }, { "0.000001000000000000000000000000000000000000000000000000000000000000000000000000000001", "0.000001" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_rewrite(cases[i].in, strlen(cases[i].in), cases[i].out);
    AUTO(buf) struct buf out = { 0 };
    json_write_real(NAN, &out);
    json_write_real(INFINITY, &out);
    CHECK_STR(buf_at(&out), "nullnull");
    AUTO(json) json_t *v = must_read("[1,1.0,9223372036854775807,9223372036854775808]");
    CHECK(json_is_integer(json_array_get(v, 0)) && json_is_real(json_array_get(v, 1)));
    CHECK(json_is_integer(json_array_get(v, 2)) && json_is_real(json_array_get(v, 3)));
}

TEST(json_refuses)
{
    static const struct { const char *in, *says; } cases[] = {
        { "", "unexpected end of JSON input at offset 0" },
        { "  ", "unexpected end of JSON input at offset 2" },
        { "{", "unexpected end of JSON input at offset 1" },
        { "[1,", "unexpected end of JSON input at offset 3" },
        { "{\"a\":1,}", "invalid character '}' looking for beginning of object key string at offset 7" },
        { "{a:1}", "invalid character 'a' looking for beginning of object key string at offset 1" },
        { "{\"a\" 1}", "invalid character '1' after object key at offset 5" },
        { "{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair at offset 7" },
        { "[1 2]", "invalid character '2' after array element at offset 3" },
        { "[1,]", "invalid character ']' looking for beginning of value at offset 3" },
        { "[1}", "invalid character '}' after array element at offset 2" },
        { "1 2", "invalid character '2' after top-level value at offset 2" },
        { "{}x", "invalid character 'x' after top-level value at offset 2" },
        { "01", "invalid character '1' after top-level value at offset 1" },
        { "-", "unexpected end of JSON input at offset 1" },
        { "-x", "invalid character 'x' in numeric literal at offset 1" },
        { "1.", "unexpected end of JSON input at offset 2" },
        { "1.x", "invalid character 'x' after decimal point in numeric literal at offset 2" },
        { "1e+", "unexpected end of JSON input at offset 3" },
        { "1ex", "invalid character 'x' in exponent of numeric literal at offset 2" },
        { "+1", "invalid character '+' looking for beginning of value at offset 0" },
        { "tru", "unexpected end of JSON input at offset 3" },
        { "trux", "invalid character 'x' in literal true (expecting 'e') at offset 3" },
        { "nul]", "invalid character ']' in literal null (expecting 'l') at offset 3" },
        { "\"a", "unexpected end of JSON input at offset 2" },
        { "\"a\n\"", "invalid character '\\x0a' in string literal at offset 2" },
        { "\"\\x\"", "invalid character 'x' in string escape code at offset 2" },
        { "\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape at offset 5" },
        { "\"\\u12", "unexpected end of JSON input at offset 5" },
        { "'a'", "invalid character '\\'' looking for beginning of value at offset 0" },
        { "1e999", "number 1e999 is out of range" },
        { "\xef\xbb\xbf{}", "invalid character '\\xef' looking for beginning of value at offset 0" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = { 0 };
        json_t *v = NULL;

        CHECK_INT(json_read(cases[i].in, strlen(cases[i].in), NULL, NULL, &v, &err), -ERR_BAD_REQUEST);
        CHECK_STR(err.msg, cases[i].says);
        CHECK(v == NULL);
    }
}

static void nest(struct buf *text, const char *open, int depth, const char *close)
{
    for (int i = 0; i < depth; i++)
        buf_str(text, open);
    buf_str(text, "1");
    for (int i = 0; i < depth; i++)
        buf_str(text, close);
}

TEST(json_depth_at_the_limit_and_past)
{
    static const char *const brackets[][2] = { { "[", "]" }, { "{\"a\":", "}" } };

    for (size_t i = 0; i < ARRAY_LEN(brackets); i++) {
        AUTO(buf) struct buf good = { 0 }, bad = { 0 };
        struct err err = { 0 };
        json_t *none = NULL;

        nest(&good, brackets[i][0], JSON_DEPTH_MAX, brackets[i][1]);
        nest(&bad, brackets[i][0], JSON_DEPTH_MAX + 1, brackets[i][1]);
        check_rewrite(buf_at(&good), buf_len(&good), buf_at(&good));
        CHECK_INT(json_read(buf_at(&bad), buf_len(&bad), NULL, NULL, &none, &err), -ERR_TOO_LARGE);
        CHECK(none == NULL && strstr(err.msg, "nested more than 200 levels"));
    }
}

/* Three bytes must not cost 288. */
TEST(json_refuses_trees_far_larger_than_their_text)
{
    AUTO(buf) struct buf text = { 0 };
    struct err err = { 0 };
    json_t *v = NULL;

    buf_char(&text, '[');
    for (int i = 0; i < 500000; i++)
        buf_str(&text, "{},");
    buf_str(&text, "{}]");
    CHECK_INT(json_read(buf_at(&text), buf_len(&text), NULL, NULL, &v, &err), -ERR_TOO_LARGE);
    CHECK(v == NULL);
}

static void note_duplicate(void *arg, const char *path)
{
    struct buf *seen = arg;

    buf_str(seen, path);
    buf_char(seen, ';');
}

TEST(json_duplicates_have_a_path_and_the_last_wins)
{
    static const char text[] = "{\"spec\":{\"c\":[{\"image\":\"a\",\"x\":{\"y\":1,\"y\":2},\"image\":\"b\"},{\"i\\u006d\":1,\"im\":2}]},"
                               "\"k\\t\":{\"d\":1,\"d\":2},\"spec\":3}";
    AUTO(buf) struct buf seen = { 0 }, out = { 0 };
    AUTO(json) json_t *v = NULL;
    struct err err = { 0 };

    CHECK_INT(json_read(text, strlen(text), note_duplicate, &seen, &v, &err), 0);
    CHECK_STR(buf_at(&seen), "spec.c[0].x.y;spec.c[0].image;spec.c[1].im;k\t.d;spec;");
    json_write(v, &out);
    CHECK_STR(buf_at(&out), "{\"spec\":3,\"k\\t\":{\"d\":2}}");
}

TEST(json_paths)
{
    AUTO(json) json_t *v = must_read("{\"a\":{\"b\":{\"s\":\"x\",\"i\":7,\"t\":true,\"n\":null}},\"l\":[1]}");
    AUTO(buf) struct buf out = { 0 };

    CHECK_STR(json_str(v, "a.b.s"), "x");
    CHECK(json_str(v, "a.b.i") == NULL && json_str(v, "a.x.s") == NULL && json_str(v, "l.0") == NULL);
    CHECK(json_at(NULL, "a") == NULL && json_at(v, "") == NULL && json_at(v, "a.") == NULL);
    CHECK_STR(json_str_or(v, "a.b.z", "none"), "none");
    CHECK_INT(json_int_or(v, "a.b.i", 1), 7);
    CHECK_INT(json_int_or(v, "a.b.s", 1), 1);
    CHECK(json_bool_or(v, "a.b.t", false) && json_bool_or(v, "a.b.n", true));
    json_put(v, "a.b.s", json_text(SLICE_LIT("y\xff")));
    json_put(v, "l.deep.er", json_strf("%d-%s", 5, "five"));
    json_put(v, "nil", NULL);
    json_del(v, "a.b.i");
    json_del(v, "a.b.t.none");
    json_del(v, "nothing.here");
    json_write(v, &out);
    CHECK_STR(buf_at(&out), "{\"a\":{\"b\":{\"s\":\"y\xef\xbf\xbd\",\"t\":true,\"n\":null}},\"l\":{\"deep\":{\"er\":\"5-five\"}},\"nil\":null}");
}

TEST(json_pretty)
{
    AUTO(json) json_t *v = must_read("{\"a\":[1,{\"b\":[]}],\"c\":{}}");
    AUTO(buf) struct buf out = { 0 };

    json_write_pretty(v, 2, &out);
    CHECK_STR(buf_at(&out), "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
}

TEST(json_scanner_tokens_skip_and_leave)
{
    static const char text[] = "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\\n\"},\"spec\":[1,{\"x\":2}, 3],\"z\":[]} ";
    AUTO(buf) struct buf plain = { 0 };
    struct err err = { 0 };
    struct json_scan s;

    json_scan_init(&s, text, strlen(text));
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_OBJECT);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_KEY);
    CHECK(slice_is(s.raw, "kind"));
    CHECK_INT(json_scan_skip(&s, &err), 0);
    CHECK(slice_is(s.raw, "\"Pod\""));
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_KEY);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_OBJECT);
    CHECK_INT(s.depth, 2);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_KEY);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_STRING);
    CHECK(s.escaped && slice_is(s.raw, "a\\n"));
    json_unescape(s.raw, &plain);
    CHECK_STR(buf_at(&plain), "a\n");
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_OBJECT_END);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_KEY);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_ARRAY);
    CHECK_INT(json_scan_skip(&s, &err), -ERR_BAD_REQUEST);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_NUMBER);
    CHECK_INT(json_scan_leave(&s, &err), 0);
    CHECK(slice_is(s.raw, ",{\"x\":2}, 3]"));
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_KEY);
    CHECK_INT(json_scan_skip(&s, &err), 0);
    CHECK(slice_is(s.raw, "[]"));
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_OBJECT_END);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_END);
    CHECK_INT(json_scan_next(&s, &err), JSON_TOK_END);
    CHECK_INT(json_scan_leave(&s, &err), -ERR_BAD_REQUEST);
}
