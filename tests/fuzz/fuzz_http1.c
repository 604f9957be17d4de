/* HTTP/1.1 requests: heads and chunks read the same however they are cut; the server answers anything and never hangs. */
#include "tests/fuzz/fuzz_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void heads_agree(const char *at, size_t n)
{
    struct h1_head whole = { 0 }, part = { 0 };
    const char *why;
    size_t scanned = 0, again = 0;
    int rc = h1_head_parse(at, n, &scanned, &whole, &why), step_rc = 0;

    for (size_t k = 1; k <= n && step_rc == 0; k++)
        step_rc = h1_head_parse(at, k, &again, &part, &why);
    assert(rc == step_rc || (rc < 0 && step_rc < 0) || (rc == 0 && step_rc == 0));
    if (rc <= 0)
        return;
    assert((size_t)rc <= n && memcmp(at + rc - 4, "\r\n\r\n", 4) == 0);
    assert(whole.content_length == part.content_length && whole.chunked == part.chunked);
    assert(!(whole.chunked && whole.content_length >= 0));
    assert(whole.headers.n == part.headers.n && whole.headers.n <= H1_HEADERS_MAX);
    http_headers_clear(&whole.headers);
    http_headers_clear(&part.headers);
}

static ssize_t decode(const char *at, size_t n, size_t step, struct buf *to, bool *done)
{
    struct h1_chunks c = { 0 };
    size_t used = 0;

    while (used < n && !c.done) {
        size_t k = n - used < step ? n - used : step;
        ssize_t rc = h1_chunks_feed(&c, at + used, k, to, 1000);

        if (rc < 0)
            return rc;
        assert((size_t)rc == k || c.done);
        used += (size_t)rc;
    }
    *done = c.done;
    return (ssize_t)used;
}

static void chunks_agree(const char *at, size_t n)
{
    AUTO(buf) struct buf a = { 0 };
    AUTO(buf) struct buf b = { 0 };
    bool done_a = false, done_b = false;
    ssize_t rc_a = decode(at, n, n, &a, &done_a), rc_b = decode(at, n, 1, &b, &done_b);

    assert(buf_len(&a) <= 1000 && buf_len(&b) <= 1000);
    if (rc_a < 0 || rc_b < 0) {
        assert(rc_a < 0 && rc_b < 0);
        return;
    }
    assert(rc_a == rc_b && done_a == done_b);
    assert(buf_len(&a) == buf_len(&b) && memcmp(buf_at(&a), buf_at(&b), buf_len(&a)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO(buf) struct buf answer = { 0 };

    if (n > 16384)
        return 0;
    heads_agree((const char *)data, n);
    chunks_agree((const char *)data, n);
    fuzz_exchange(data, n, &answer);
    bool h2 = n >= 4 && memcmp(data, "PRI ", 4) == 0;
    assert(buf_len(&answer) == 0 || h2 || strncmp(buf_at(&answer), "HTTP/1.1 ", 9) == 0);
    return 0;
}
