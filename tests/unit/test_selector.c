#include "lib/auto.h"
#include "lib/k8s/selector.h"
#include "test.h"

static json_t *tree(const char *text)
{
    json_t *v = NULL;
    struct err err;

    CHECK_INT(json_read(text, strlen(text), NULL, NULL, &v, &err), 0);
    return v;
}

TEST(selector_text_is_upstreams)
{
    static const char *const cases[][2] = {
        { "", "" },
        { "b=1,a==2", "a==2,b=1" },
        { "x in (b, a,b),!y , z", "x in (a,b),!y,z" },
        { "x notin ()", "x notin ()" },
        { "x in (,a)", "x in (,a)" },
        { "x in (a,,)", "x in (,a)" },
        { "x in (in,notin)", "x in (in,notin)" },
        { "a=", "a=" },
        { "a!=,b>3,c<2", "a!=,b>3,c<2" },
        { "in in (a)", "in in (a)" },
        { "example.com/app = web", "example.com/app=web" },
    };
    AUTO(arena) struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct selector *s;
        struct err err;

        CHECK_INT(selector_parse(a, cases[i][0], &s, &err), 0);
        CHECK_STR(selector_text(a, s), cases[i][1]);
    }
}

TEST(selector_refuses_in_upstreams_words)
{
    static const char *const cases[][2] = {
        { "a in b", "unable to parse requirement: found 'b' expected: '('" },
        { "a=b=c", "found '=', expected: ',' or 'end of string'" },
        { ",a", "found ',', expected: !, identifier, or 'end of string'" },
        { "a,", "found '', expected: identifier after ','" },
        { "!", "unable to parse requirement: found '', expected: identifier" },
        { "a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt" },
        { "a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'" },
        { "a in (b,", "unable to parse requirement: found '', expected: ',', or identifier" },
        { "a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier" },
        { "a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer" },
        { "-a=b", "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of alphanumeric characters, "
                  "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
                  "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')" },
    };
    AUTO(arena) struct arena *a = arena_new();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct selector *s;
        struct err err;

        CHECK_INT(selector_parse(a, cases[i][0], &s, &err), -ERR_BAD_REQUEST);
        CHECK_STR(err.msg, cases[i][1]);
    }
}

TEST(selector_matches_trees_and_flat_lists_alike)
{
    static const struct {
        const char *text;
        bool match;
    } cases[] = {
        { "", true },          { "app=web", true },     { "app=db", false },      { "app!=db", true },    { "none!=x", true },
        { "app in (a,b,c,d,e,f,g,web,z)", true },      { "app in (a,b)", false }, { "app notin (web)", false },
        { "none notin (a)", true }, { "app", true },    { "!app", false },        { "!none", true },      { "none", false },
        { "n>4", true },       { "n>5", false },        { "n<6", true },          { "app>1", false },     { "empty=", true },
        { "none=", false },    { "app=web,n>9", false },
    };
    static const char flat[] = "app\0web\0n\0" "5\0empty\0"; /* the literal's own NUL ends the last value */
    AUTO(arena) struct arena *a = arena_new();
    json_t *labels = tree("{\"app\":\"web\",\"n\":\"5\",\"empty\":\"\"}");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct selector *s;
        struct err err;

        CHECK_INT(selector_parse(a, cases[i].text, &s, &err), 0);
        CHECK_INT(selector_match(s, labels), cases[i].match);
        CHECK_INT(selector_match_flat(s, (struct slice){ flat, sizeof(flat) }), cases[i].match);
    }
    json_decref(labels);
}

TEST(selector_of_objects)
{
    AUTO(arena) struct arena *a = arena_new();
    json_t *ls = tree("{\"matchLabels\":{\"app\":\"web\"},\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"In\","
                      "\"values\":[\"b\",\"a\"]},{\"key\":\"x\",\"operator\":\"DoesNotExist\"}]}");
    json_t *labels = tree("{\"app\":\"web\",\"tier\":\"a\"}"), *empty = json_object();
    struct selector *s;
    struct err err;

    CHECK_INT(selector_of(a, ls, &s, &err), 0);
    CHECK_STR(selector_text(a, s), "app=web,tier in (a,b),!x");
    CHECK(selector_match(s, labels) && !selector_match(s, NULL));
    CHECK_STR(selector_exact(s, "app"), "web");
    CHECK(selector_exact(s, "tier") == NULL && selector_exact(s, "y") == NULL);
    CHECK_INT(selector_of(a, empty, &s, &err), 0);
    CHECK(selector_is_everything(s) && selector_match(s, NULL));
    CHECK_INT(selector_of(a, NULL, &s, &err), 0);
    CHECK(!selector_is_everything(s) && !selector_match(s, labels));
    CHECK(!selector_match(selector_of_map(a, empty), labels));
    CHECK(selector_match(selector_of_map(a, json_object_get(ls, "matchLabels")), labels));
    json_decref(ls);
    ls = tree("{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Is\"}]}");
    CHECK_INT(selector_of(a, ls, &s, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "\"Is\" is not a valid label selector operator");
    json_decref(ls);
    ls = tree("{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}");
    CHECK_INT(selector_of(a, ls, &s, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty");
    json_decref(ls);
    json_decref(labels);
    json_decref(empty);
}

TEST(selector_text_has_a_limit)
{
    AUTO(arena) struct arena *a = arena_new();
    AUTO_FREE char *text = malloc(SELECTOR_TEXT_MAX + 2);
    struct selector *s;
    struct err err;

    for (size_t i = 0; i <= SELECTOR_TEXT_MAX; i++)
        text[i] = i % 2 ? ',' : 'a';
    text[SELECTOR_TEXT_MAX + 1] = '\0';
    CHECK_INT(selector_parse(a, text, &s, &err), -ERR_BAD_REQUEST);
    text[SELECTOR_TEXT_MAX - 1] = '\0';
    CHECK_INT(selector_parse(a, text, &s, &err), 0);
}

TEST(field_selector_terms)
{
    AUTO(arena) struct arena *a = arena_new();
    struct field_term *t;
    size_t n;
    struct err err;

    CHECK_INT(field_selector_parse(a, "metadata.name=a\\,b,,spec.nodeName!=,a==c\\=\\\\", &t, &n, &err), 0);
    CHECK_INT(n, 3);
    CHECK_STR(t[0].field, "a");
    CHECK_STR(t[0].value, "c=\\");
    CHECK_STR(t[1].value, "a,b");
    CHECK(t[2].negate && !*t[2].value);
    CHECK_INT(field_selector_parse(a, "", &t, &n, &err), 0);
    CHECK_INT(n, 0);
    CHECK_INT(field_selector_parse(a, "a", &t, &n, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "invalid selector: 'a'; can't understand 'a'");
    CHECK_INT(field_selector_parse(a, "a=b=c", &t, &n, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "invalid field selector: unescaped character in value: 61");
    CHECK_INT(field_selector_parse(a, "a=\\x", &t, &n, &err), -ERR_BAD_REQUEST);
    CHECK_STR(err.msg, "invalid field selector: invalid escape sequence: \\x");
}
