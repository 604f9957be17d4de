#include "lib/json.h"
#include "test.h"

static void check_yaml(const char *text, const char *want)
{
    struct err err = { 0 };
    AUTO(json) json_t *v = NULL;
    AUTO(buf) struct buf out = { 0 };

    if (yaml_read(text, strlen(text), NULL, NULL, &v, &err) < 0)
        fprintf(stderr, "%s: %s\n", text, err.msg);
    json_write(v, &out);
    CHECK_STR(buf_at(&out), want);
}

TEST(yaml_scalars)
{
    check_yaml("", "null");
    check_yaml("# only a comment\n", "null");
    check_yaml("[y, No, on, TRUE, tRUE, ~, null, '', 'no', \"1\"]", "[true,false,true,true,\"tRUE\",null,null,\"\",\"no\",\"1\"]");
    check_yaml("[0777, 0o17, 0x1F, -0x1f, 0b101, 08, 1_000, +5, -0]", "[511,15,31,-31,5,8,1000,5,0]");
    check_yaml("[1.0, 1e3, .5, 1e21, 0.1, 1., 1e-7, 1e999]", "[1,1000,0.5,1e+21,0.1,1,1e-7,\"1e999\"]");
    check_yaml("[9223372036854775807, 18446744073709551615, 1:20, 10.0.0.0/8, 100m, 1.2.3]",
               "[9223372036854775807,18446744073709552000,\"1:20\",\"10.0.0.0/8\",\"100m\",\"1.2.3\"]");
    check_yaml("[2001-01-01, 2001-12-14T21:59:43Z]", "[\"2001-01-01\",\"2001-12-14T21:59:43Z\"]");
    check_yaml("[!!str 1, !!float 1, !!int 1, !mine 1, ! 1]", "[\"1\",1,1,\"1\",\"1\"]");
    check_yaml("{1: a, 1.5: b, yes: c, ~x: d, 2001-01-01: e, 1000000.5: f}",
               "{\"1\":\"a\",\"1.5\":\"b\",\"true\":\"c\",\"~x\":\"d\",\"2001-01-01\":\"e\",\"1.0000005e+06\":\"f\"}");
    check_yaml("a: |\n  x\n   y\n\nb: >-\n  x\n  y\n", "{\"a\":\"x\\n y\\n\",\"b\":\"x y\"}");
    check_yaml("a: \"nul \\0 \\u263a\"", "{\"a\":\"nul \\u0000 \xe2\x98\xba\"}");
}

TEST(yaml_anchors_and_merges)
{
    check_yaml("a: &x [1, {b: 2}]\nc: *x\nd: [*x]\n", "{\"a\":[1,{\"b\":2}],\"c\":[1,{\"b\":2}],\"d\":[[1,{\"b\":2}]]}");
    check_yaml("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\n", "{\"a\":{\"k\":1,\"l\":2},\"b\":{\"k\":1,\"l\":3}}");
    check_yaml("b: {l: 3, <<: {k: 1, l: 2}, m: 4}\n", "{\"b\":{\"l\":2,\"k\":1,\"m\":4}}");
    check_yaml("a: &x {k: 1}\nb: &y {k: 2, j: 5}\nc:\n  <<: [*x, *y]\n", "{\"a\":{\"k\":1},\"b\":{\"k\":2,\"j\":5},\"c\":{\"k\":1,\"j\":5}}");
    check_yaml("&k key: *k\n*k : 2\n", "{\"key\":2}");
    check_yaml("a: &x {\"n\\0m\": 1}\nb: *x\nc: {<<: *x}\n",
               "{\"a\":{\"n\\u0000m\":1},\"b\":{\"n\\u0000m\":1},\"c\":{\"n\\u0000m\":1}}");
    check_yaml("'<<': 1\n", "{\"<<\":1}");
    check_yaml("a: &x 1\nb: &x 2\nc: *x\n", "{\"a\":1,\"b\":2,\"c\":2}");
}

TEST(yaml_refuses)
{
    static const struct { const char *in, *says; } cases[] = {
        { "a: b: c", "yaml: mapping values are not allowed in this context" },
        { "x: 1\na: b: c\n", "yaml: line 2: mapping values are not allowed in this context" },
        { "a:\n\t- b", "yaml: line 2: found character that cannot start any token" },
        { "a: [1,\n", "yaml: line 1: did not find expected node content" },
        { "a: .inf", "json: unsupported value: +Inf" },
        { "a: -.inf", "json: unsupported value: -Inf" },
        { "a: *none", "yaml: unknown anchor 'none' referenced" },
        { "a: &a [*a]", "yaml: anchor 'a' value contains itself" },
        { "a: &a {<<: *a}", "yaml: anchor 'a' value contains itself" },
        { "<<: 1", "yaml: map merge requires map or sequence of maps as the value" },
        { "<<: [1]", "yaml: map merge requires map or sequence of maps as the value" },
        { "!!int x", "yaml: cannot decode !!str `x` as a !!int" },
        { "\n~: 1", "yaml: line 2: unsupported map key of type: null" },
        { "? [a]\n: 1", "yaml: line 1: invalid map key: only scalars can be keys" },
        { "a: !!binary aGk=", "yaml: line 1: !!binary is not supported; write the base64 text without the tag" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = { 0 };
        json_t *v = NULL;

        CHECK_INT(yaml_read(cases[i].in, strlen(cases[i].in), NULL, NULL, &v, &err), -ERR_BAD_REQUEST);
        CHECK_STR(err.msg, cases[i].says);
        CHECK(v == NULL);
    }
}

TEST(yaml_billion_laughs)
{
    AUTO(buf) struct buf text = { 0 };
    struct err err = { 0 };
    json_t *v = NULL;

    buf_str(&text, "a0: &a0 [lol]\n");
    for (int i = 1; i < 12; i++) {
        buf_printf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            buf_printf(&text, "*a%d,", i - 1);
        buf_str(&text, "]\n");
    }
    CHECK_INT(yaml_read(buf_at(&text), buf_len(&text), NULL, NULL, &v, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "yaml: document contains excessive aliasing");
    CHECK(v == NULL);
}

/* Long strings make few nodes: the budget of bytes stops these. */
TEST(yaml_aliases_of_long_text)
{
    AUTO(buf) struct buf text = { 0 };
    struct err err = { 0 };
    json_t *v = NULL;

    buf_str(&text, "- &a ");
    for (int i = 0; i < 500000; i++)
        buf_char(&text, 'x');
    for (int i = 0; i < 900; i++)
        buf_str(&text, "\n- *a");
    CHECK_INT(yaml_read(buf_at(&text), buf_len(&text), NULL, NULL, &v, &err), -ERR_TOO_LARGE);
    CHECK(v == NULL);
}

TEST(yaml_depth)
{
    static const struct { const char *open; int depth, rc; } cases[] = {
        { "[", JSON_DEPTH_MAX, 0 }, { "[", JSON_DEPTH_MAX + 1, -ERR_TOO_LARGE },
        { "- ", JSON_DEPTH_MAX, 0 }, { "- ", JSON_DEPTH_MAX + 1, -ERR_TOO_LARGE },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(buf) struct buf text = { 0 };
        AUTO(json) json_t *v = NULL;
        struct err err = { 0 };

        for (int k = 0; k < cases[i].depth; k++)
            buf_str(&text, cases[i].open);
        buf_str(&text, "1");
        for (int k = 0; k < cases[i].depth && cases[i].open[0] == '['; k++)
            buf_str(&text, "]");
        CHECK_INT(yaml_read(buf_at(&text), buf_len(&text), NULL, NULL, &v, &err), cases[i].rc);
    }
}

static void note_duplicate(void *arg, const char *path)
{
    buf_printf(arg, "%s;", path);
}

TEST(yaml_duplicates)
{
    static const char text[] = "spec:\n  c:\n  - image: a\n  - image: a\n    x: {z: 1, z: 2}\n    image: b\nspec: 1\n";
    AUTO(buf) struct buf seen = { 0 };
    AUTO(json) json_t *v = NULL;
    struct err err = { 0 };

    CHECK_INT(yaml_read(text, strlen(text), note_duplicate, &seen, &v, &err), 0);
    CHECK_STR(buf_at(&seen), "spec.c[1].x.z;spec.c[1].image;spec;");
}

static int note_doc(void *arg, json_t *doc, int line, struct err *err)
{
    if (json_is_string(doc))
        return err_set(err, ERR_INVALID, "line %d: no object", line);
    buf_printf(arg, "%d:", line);
    json_write(doc, arg);
    buf_char(arg, ';');
    return 0;
}

TEST(yaml_streams)
{
    static const char text[] = "# first\na: 1\n---\n---\n# nothing\n---\n\nb: &x 2\n...\n---\nc: 3\n--- four\n";
    static const char *const json = "\n{\"a\":\"\\ud83d\\ude00\"}\n", *const bad = "a: 1\n---\nb: *x\n";
    AUTO(buf) struct buf seen = { 0 };
    struct err err = { 0 };

    CHECK_INT(yaml_each(text, strlen(text), note_doc, &seen, &err), -ERR_INVALID);
    CHECK_STR(buf_at(&seen), "2:{\"a\":1};8:{\"b\":2};11:{\"c\":3};");
    CHECK_STR(err.msg, "line 12: no object");
    buf_clear(&seen);
    CHECK_INT(yaml_each(json, strlen(json), note_doc, &seen, &err), 0);
    CHECK_STR(buf_at(&seen), "2:{\"a\":\"\xf0\x9f\x98\x80\"};");
    CHECK_INT(yaml_each(bad, strlen(bad), note_doc, &seen, &err), -ERR_BAD_REQUEST);
}

TEST(yaml_written_as_kubectl_does)
{
    static const char in[] =
        "{\"spec\":{\"containers\":[{\"image\":\"nginx:1.25\",\"args\":[],\"a10\":1,\"a9\":2,\"env\":[[1,2],{}]}]},\"kind\":\"Pod\","
        "\"strings\":[\"\",\"true\",\"1\",\"1e3\",\"null\",\"y\",\"a: b\",\"- x\",\"it's\",\"2001-01-01\",\"1:20\",\"a\\nb\\n\",\"tab\\t\",\"<<\"],"
        "\"numbers\":[1,1.0,0.5,1e21,1234567.5,-3],\"n\":null,\"t\":true}";
    static const char want[] =
        "kind: Pod\n\"n\": null\nnumbers:\n- 1\n- 1\n- 0.5\n- 1e+21\n- 1.2345675e+06\n- -3\n"
        "spec:\n  containers:\n  - a9: 2\n    a10: 1\n    args: []\n    env:\n    - - 1\n      - 2\n    - {}\n    image: nginx:1.25\n"
        "strings:\n- \"\"\n- \"true\"\n- \"1\"\n- \"1e3\"\n- \"null\"\n- \"y\"\n- 'a: b'\n- '- x'\n- it's\n- \"2001-01-01\"\n- \"1:20\"\n"
        "- |\n  a\n  b\n- \"tab\\t\"\n- \"<<\"\nt: true\n";
    struct err err = { 0 };
    AUTO(json) json_t *v = NULL, *again = NULL;
    AUTO(buf) struct buf out = { 0 };

    CHECK_INT(json_read(in, strlen(in), NULL, NULL, &v, &err), 0);
    yaml_write(v, &out);
    CHECK_STR(buf_at(&out), want);
    CHECK_INT(yaml_read(buf_at(&out), buf_len(&out), NULL, NULL, &again, &err), 0);
    CHECK_STR(json_str(again, "kind"), "Pod");
}
