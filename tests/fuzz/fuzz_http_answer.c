/* Bytes of an HTTP/1.1 server: the whole and any cut of it must give the same answer. */
#include "lib/http/answer.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    int headers, status;
    size_t body;
};

static void on_headers(void *arg, int status, struct http_headers *headers)
{
    struct seen *s = arg;

    assert(headers->n <= ANSWER_HEADERS_MAX);
    s->headers++;
    s->status = status;
}

static void on_body(void *arg, const char *data, size_t n)
{
    struct seen *s = arg;

    (void)data;
    assert(s->headers == 1 && n > 0);
    s->body += n;
}

static int run(const char *data, size_t n, size_t step, struct seen *seen)
{
    static const struct answer_ops ops = { on_headers, on_body };
    struct answer_parser p = { 0 };
    struct err err;
    int rc = 0;

    answer_begin(&p, false, false);
    for (size_t at = 0; rc == 0 && at < n && !answer_done(&p);) {
        size_t part = n - at < step ? n - at : step, used = 0;

        rc = answer_feed(&p, data + at, part, &ops, seen, &used, &err);
        assert(rc < 0 || (used <= part && (used == part || answer_done(&p))));
        at += used;
    }
    rc = rc < 0 ? rc : answer_done(&p);
    answer_clear(&p);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct seen whole = { 0 }, cut = { 0 };
    int a = run((const char *)data, n, n ? n : 1, &whole), b = run((const char *)data, n, 3, &cut);

    assert(whole.body <= n && whole.headers <= 1);
    assert((a < 0) == (b < 0) && whole.status == cut.status);
    assert(a < 0 || (a == b && whole.body == cut.body));
    return 0;
}
