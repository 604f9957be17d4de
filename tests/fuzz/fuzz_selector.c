/* A selector's text parses to the same selector; trees and flat lists match alike. */
#include "lib/k8s/selector.h"

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
    static const char flat[] = "a\0" "1\0app\0web\0x\0";
    AUTO(arena) struct arena *a = arena_new();
    char *text = arena_strndup(a, (const char *)data, n), *canonical;
    json_t *labels = json_pack("{s:s,s:s,s:s}", "a", "1", "app", "web", "x", "");
    struct selector *s, *again;
    struct field_term *terms;
    size_t n_terms;
    struct err err;

    if (selector_parse(a, text, &s, &err) == 0) {
        canonical = selector_text(a, s);
        demand(selector_parse(a, canonical, &again, &err) == 0);
        demand(strcmp(selector_text(a, again), canonical) == 0);
        demand(selector_match(s, labels) == selector_match_flat(s, (struct slice){ flat, sizeof(flat) }));
        demand(selector_match(s, labels) == selector_match(again, labels));
    }
    /* Facts from a store that lost its end must not be read past. */
    if (selector_parse(a, "a=1", &s, &err) == 0)
        (void)selector_match_flat(s, (struct slice){ (const char *)data, n });
    ERR_IGNORE(field_selector_parse(a, text, &terms, &n_terms, &err));
    json_decref(labels);
    return 0;
}
