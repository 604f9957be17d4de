/*
 * What reads as JSON writes to text that reads as the same, survives YAML, and the tokenizer agrees with the reader.
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

static void check_yaml(const json_t *v, bool nul)
{
    AUTO(buf) struct buf yaml = { 0 };
    AUTO(json) json_t *again = NULL;
    struct err err = { 0 };

    yaml_write(v, &yaml);
    demand(yaml_read(buf_at(&yaml), buf_len(&yaml), NULL, NULL, &again, &err) == 0);
    demand(nul || json_equal(v, again)); /* json_equal ends a key at a NUL */
}

static void check_tree(const json_t *v)
{
    AUTO(buf) struct buf text = { 0 }, second = { 0 };
    AUTO(json) json_t *again = NULL;
    struct err err = { 0 };

    json_write(v, &text);
    demand(json_read(buf_at(&text), buf_len(&text), NULL, NULL, &again, &err) == 0);
    json_write(again, &second);
    if (!strstr(buf_at(&text), "-0")) /* -0.0 is written -0, which reads as the integer 0, as in Go */
        demand(slice_eq((struct slice){ buf_at(&text), buf_len(&text) }, (struct slice){ buf_at(&second), buf_len(&second) }));
    buf_cut(&second, 0);
    json_write_pretty(v, 2, &second);
    json_decref(TAKE(again));
    demand(json_read(buf_at(&second), buf_len(&second), NULL, NULL, &again, &err) == 0);
    check_yaml(again, strstr(buf_at(&text), "\\u0000"));
}

static bool scans(const char *text, size_t n)
{
    struct err err = { 0 };
    struct json_scan s;
    int tok;

    json_scan_init(&s, text, n);
    while ((tok = json_scan_next(&s, &err)) > 0)
        demand(s.raw.at >= text && s.raw.at + s.raw.n <= text + n && s.depth <= JSON_DEPTH_MAX);
    return tok == 0;
}

static bool skips(const char *text, size_t n)
{
    struct err err = { 0 };
    struct json_scan s;

    json_scan_init(&s, text, n);
    return json_scan_skip(&s, &err) == 0 && json_scan_next(&s, &err) == JSON_TOK_END;
}

static void count(void *arg, const char *path)
{
    *(size_t *)arg += path != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *text = (const char *)data;
    struct err err = { 0 };
    AUTO(json) json_t *v = NULL;
    size_t duplicates = 0;
    int rc = json_read(text, n, count, &duplicates, &v, &err);
    bool good = scans(text, n);

    demand(good == skips(text, n));
    demand((rc == 0) == (v != NULL) && (rc < 0 || good));
    demand(duplicates <= n);
    if (v)
        check_tree(v);
    return 0;
}
