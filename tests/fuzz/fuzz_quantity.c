/* What parses has a canonical text that means the same, and is its own canonical text where it keeps the format. */
#include "lib/k8s/quantity.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void demand(bool good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char text[QUANTITY_TEXT_BYTES], second[QUANTITY_TEXT_BYTES], stored[QUANTITY_TEXT_BYTES];
    struct quantity q, again;
    struct err err;

    if (quantity_parse((const char *)data, n, &q, &err) < 0) {
        demand(quantity_stored_text((const char *)data, n, stored, &err) < 0);
        return 0;
    }
    quantity_text(&q, text);
    demand(quantity_parse(text, strlen(text), &again, &err) == 0);
    demand(quantity_cmp(&q, &again) == 0);
    /* 812.5Ki is written 832000, which as a decimal number would be 832k; upstream does the same. */
    demand(again.format != q.format || strcmp(quantity_text(&again, second), text) == 0);
    demand(quantity_stored_text((const char *)data, n, stored, &err) == 0);
    demand(quantity_parse(stored, strlen(stored), &again, &err) == 0 && quantity_cmp(&q, &again) == 0);
    demand(quantity_milli(&q) == INT64_MAX || quantity_milli(&q) == INT64_MIN ||
           llabs(quantity_value(&q)) <= llabs(quantity_milli(&q)));
    return 0;
}
