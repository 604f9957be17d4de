#include "lib/k8s/quantity.h"
#include "lib/auto.h"
#include "test.h"

#include <inttypes.h>

/* Expectations were printed by upstream's own resource package. */
static const struct {
    const char *in, *out;
    int64_t value, milli;
} good[] = {
    { "0", "0", 0, 0 },
    { "0.5", "500m", 1, 500 },
    { "1", "1", 1, 1000 },
    { "1.5Gi", "1536Mi", 1610612736, 1610612736000 },
    { "1024Ki", "1Mi", 1048576, 1048576000 },
    { "1025Ki", "1025Ki", 1049600, 1049600000 },
    { "0.5Ki", "512", 512, 512000 },
    { "1e3", "1e3", 1000, 1000000 },
    { "1E3", "1E3", 1000, 1000000 },
    { "0.5e10", "5e9", 5000000000, 5000000000000 },
    { "0.5e-3", "500e-6", 1, 1 },
    { "0.5e-20", "1e-9", 1, 1 },
    { "0.5n", "1n", 1, 1 },
    { "1.500", "1.500", 2, 1500 },
    { "1.5", "1500m", 2, 1500 },
    { "+5", "+5", 5, 5000 },
    { "-0.5", "-500m", -1, -500 },
    { "1000", "1k", 1000, 1000000 },
    { "10000Mi", "10000Mi", 10485760000, 10485760000000 },
    { "0.0000000001", "1n", 1, 1 },
    { "1.23456789012", "1234567891n", 2, 1235 },
    { "00012", "00012", 12, 12000 },
    { ".", "0", 0, 0 },
    { "5.", "5.", 5, 5000 },
    { "-.5Gi", "-512Mi", -536870912, -536870912000 },
    { "0.1Ki", "102400m", 103, 102400 },
    { "9223372036854775808Ki", "9223372036854775807", INT64_MAX, INT64_MAX },
    { "123456789012345678G", "123456789012345678G", INT64_MAX, INT64_MAX },
};

TEST(quantity_has_upstreams_canonical_form)
{
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char text[QUANTITY_TEXT_BYTES];
        struct quantity q;
        struct err err;

        CHECK_INT(quantity_stored_text(good[i].in, strlen(good[i].in), text, &err), 0);
        CHECK_STR(text, good[i].out);
        CHECK_INT(quantity_parse(good[i].in, strlen(good[i].in), &q, &err), 0);
        CHECK_INT(quantity_value(&q), good[i].value);
        CHECK_INT(quantity_milli(&q), good[i].milli);
    }
}

TEST(quantity_text_is_canonical_whatever_was_written)
{
    static const char *const cases[][2] = { { "1.500", "1500m" }, { "+5", "5" }, { "1E3", "1e3" }, { "5.", "5" }, { "00012", "12" } };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[QUANTITY_TEXT_BYTES];
        struct quantity q;
        struct err err;

        CHECK_INT(quantity_parse(cases[i][0], strlen(cases[i][0]), &q, &err), 0);
        CHECK_STR(quantity_text(&q, text), cases[i][1]);
    }
}

TEST(quantity_refuses_nonsense_in_upstreams_words)
{
    static const char form[] =
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    static const struct {
        const char *in, *words;
    } bad[] = {
        { "", form },
        { "1.2.3", form },
        { "1 ", form },
        { "ten", form },
        { "1e", "unable to parse quantity's suffix" },
        { "1K", "unable to parse quantity's suffix" },
        { "1mm", "unable to parse quantity's suffix" },
        { "e-20", "unable to parse numeric part of quantity" },
    };
    char longest[QUANTITY_INPUT_MAX + 2];
    struct quantity q;
    struct err err;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_INT(quantity_parse(bad[i].in, strlen(bad[i].in), &q, &err), -ERR_BAD_REQUEST);
        CHECK_STR(err.msg, bad[i].words);
    }
    memset(longest, '1', sizeof(longest));
    CHECK_INT(quantity_parse(longest, QUANTITY_INPUT_MAX, &q, &err), 0);
    CHECK_INT(quantity_parse(longest, QUANTITY_INPUT_MAX + 1, &q, &err), -ERR_BAD_REQUEST);
}

TEST(quantity_sums_keep_the_first_format)
{
    char text[QUANTITY_TEXT_BYTES];
    struct quantity a, b, none = { 0 };
    struct err err;

    CHECK_INT(quantity_parse("1Gi", 3, &a, &err), 0);
    CHECK_INT(quantity_parse("500M", 4, &b, &err), 0);
    quantity_add(&a, &b);
    CHECK_STR(quantity_text(&a, text), "1573741824");
    quantity_sub(&a, &b);
    CHECK_STR(quantity_text(&a, text), "1Gi");
    CHECK(quantity_cmp(&a, &b) > 0);
    quantity_add(&none, &a);
    CHECK_STR(quantity_text(&none, text), "1Gi");
    a = quantity_of_milli(1500);
    CHECK_STR(quantity_text(&a, text), "1500m");
    a = quantity_of(-3);
    CHECK_STR(quantity_text(&a, text), "-3");
}

TEST(quantity_of_json_reads_strings_and_numbers)
{
    json_t *list = json_pack("[s,i,f,s,n]", "100m", 2, 0.5, "nonsense");
    static const int64_t milli[] = { 100, 2000, 500, 0, 0 };

    for (size_t i = 0; i < ARRAY_LEN(milli); i++)
        CHECK_INT(quantity_json_milli(json_array_get(list, i)), milli[i]);
    CHECK_INT(quantity_json_value(NULL), 0);
    json_decref(list);
}
