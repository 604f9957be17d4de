/*
 * What reads as YAML is a JSON tree that survives JSON text and YAML text.
 */
#include "lib/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void demand(bool good)
{
    if (!good)
        abort();
}

static void check_tree(const json_t *v)
{
    AUTO(buf) struct buf json = { 0 }, yaml = { 0 };
    AUTO(json) json_t *plain = NULL, *again = NULL;
    struct err err = { 0 };

    json_write(v, &json);
    int rc = json_read(buf_at(&json), buf_len(&json), NULL, NULL, &plain, &err);
    demand(rc == 0);
    yaml_write(plain, &yaml);
    demand(yaml_read(buf_at(&yaml), buf_len(&yaml), NULL, NULL, &again, &err) == 0);
    demand(strstr(buf_at(&json), "\\u0000") || json_equal(plain, again)); /* json_equal ends a key at a NUL */
}

static int on_doc(void *arg, json_t *doc, int line, struct err *err)
{
    int *last = arg;

    (void)err;
    demand(doc && line >= *last);
    *last = line;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *text = (const char *)data;
    struct err err = { 0 };
    AUTO(json) json_t *v = NULL;
    int line = 1, rc = yaml_read(text, n, NULL, NULL, &v, &err);

    demand((rc == 0) == (v != NULL));
    if (v)
        check_tree(v);
    rc = yaml_each(text, n, on_doc, &line, &err);
    demand(rc <= 0);
    return 0;
}
