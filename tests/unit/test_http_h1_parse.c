#include "lib/http/h1_parse.h"
#include "test.h"

#include "lib/mem.h"

#define HOST "Host: h\r\n"

static int parse(const char *at, size_t n, struct h1_head *head)
{
    size_t scanned = 0;
    const char *why = NULL;

    memset(head, 0, sizeof(*head));
    int rc = h1_head_parse(at, n, &scanned, head, &why);
    CHECK(why != NULL);
    return rc;
}

TEST(http_h1_heads_refused)
{
    static const struct {
        struct slice in;
        int status;
    } rows[] = {
#define ROW(status, text) { { text, sizeof(text) - 1 }, status }
        ROW(400, "GET /\r\n\r\n"),                      /* HTTP/0.9 */
        ROW(400, "GET  / HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET / HTTP/1.1 \r\n" HOST "\r\n"),
        ROW(400, "GET / x HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, " GET / HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "G(T / HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET /\x01 HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET /#a HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET x HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET * HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET http:///x HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET ftp://a/x HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "CONNECT /x HTTP/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET / http/1.1\r\n" HOST "\r\n"),
        ROW(400, "GET / HTTP/11\r\n" HOST "\r\n"),
        ROW(505, "GET / HTTP/2.0\r\n" HOST "\r\n"),
        ROW(505, "GET / HTTP/0.9\r\n" HOST "\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n\r\n"),             /* no Host */
        ROW(400, "GET / HTTP/1.1\r\n" HOST HOST "\r\n"),
        ROW(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST ": v\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a : v\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: v\r\n folded\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: v\r\n\tfolded: x\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: v\x01\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: v\x7f\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: \0\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\n" HOST "\r\n"),       /* bare LF */
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: b\rc\r\n\r\n"),
        ROW(400, "GET / HTTP/1.1\r\n" HOST "a: b\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1 1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551617\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
        ROW(400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n"),
        ROW(501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n"),
        ROW(501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
        ROW(501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n"),
        ROW(501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ROW(400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ROW(417, "POST / HTTP/1.1\r\n" HOST "Expect: a-pony\r\n\r\n"),
        ROW(400, "CONNECT a:1 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n"),
        ROW(400, "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"),
#undef ROW
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h1_head head;
        int rc = parse(rows[i].in.at, rows[i].in.n, &head);

        if (rc != -rows[i].status)
            fprintf(stderr, "row %zu: %s\n", i, rows[i].in.at);
        CHECK_INT(rc, -rows[i].status);
    }
}

TEST(http_h1_heads_taken)
{
    static const struct {
        const char *in, *method, *target, *host;
        int64_t length;
        bool chunked, keep_alive;
    } rows[] = {
        { "GET /a?b HTTP/1.1\r\n" HOST "\r\n", "GET", "/a?b", "h", -1, false, true },
        { "\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "h", -1, false, true },
        { "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET", "/", "", -1, false, true },
        { "GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n", "GET", "/", "h", -1, false, false },
        { "GET / HTTP/1.0\r\n\r\n", "GET", "/", "", -1, false, false },
        { "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", "/", "", -1, false, true },
        { "GET http://a:1/x?y HTTP/1.1\r\n" HOST "\r\n", "GET", "/x?y", "a:1", -1, false, true },
        { "GET https://a HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "a", -1, false, true },
        { "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS", "*", "h", -1, false, true },
        { "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", "CONNECT", "a:1", "h", -1, false, true },
        { "POST / HTTP/1.1\r\n" HOST "Content-Length: \t12 \r\n\r\n", "POST", "/", "h", 12, false, true },
        { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n", "POST", "/", "h", -1, true, true },
        { "PATCH / HTTP/1.1\r\nHost: [::1]:80\r\nX: \xc3\xa4\r\n\r\n", "PATCH", "/", "[::1]:80", -1, false, true },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h1_head head;
        size_t n = strlen(rows[i].in), scanned = 0;
        const char *why;

        for (size_t k = 0; k < n; k++) { /* incomplete at every length, with and without what was scanned before */
            CHECK_INT(parse(rows[i].in, k, &head), 0);
            CHECK_INT(h1_head_parse(rows[i].in, k, &scanned, &head, &why), 0);
        }
        CHECK_INT(h1_head_parse(rows[i].in, n, &scanned, &head, &why), n);
        CHECK(slice_is(head.method, rows[i].method));
        CHECK(slice_is(head.target, rows[i].target));
        CHECK(slice_is(head.host, rows[i].host));
        CHECK_INT(head.content_length, rows[i].length);
        CHECK_INT(head.chunked, rows[i].chunked);
        CHECK_INT(head.keep_alive, rows[i].keep_alive);
        http_headers_clear(&head.headers);
    }
}

TEST(http_h1_head_limits)
{
    struct h1_head head;
    AUTO(buf) struct buf b = { 0 };

    buf_str(&b, "GET / HTTP/1.1\r\n" HOST "a: ");
    while (buf_len(&b) < H1_HEAD_BYTES - 4)
        buf_char(&b, 'x');
    buf_str(&b, "\r\n\r\n");
    CHECK_INT(parse(buf_at(&b), buf_len(&b), &head), H1_HEAD_BYTES);
    http_headers_clear(&head.headers);
    buf_cut(&b, H1_HEAD_BYTES - 4);
    buf_str(&b, "x\r\n\r\n");
    CHECK_INT(parse(buf_at(&b), buf_len(&b), &head), -431);
    buf_cut(&b, H1_HEAD_BYTES - 4);
    buf_str(&b, "xxxx"); /* no end in sight */
    CHECK_INT(parse(buf_at(&b), buf_len(&b), &head), -431);

    buf_cut(&b, 0);
    buf_str(&b, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 1; i < H1_HEADERS_MAX; i++)
        buf_str(&b, "a: b\r\n");
    size_t n = buf_len(&b);
    buf_str(&b, "\r\n");
    CHECK(parse(buf_at(&b), buf_len(&b), &head) > 0);
    CHECK_INT(head.headers.n, H1_HEADERS_MAX);
    http_headers_clear(&head.headers);
    buf_cut(&b, n);
    buf_str(&b, "a: b\r\n\r\n");
    CHECK_INT(parse(buf_at(&b), buf_len(&b), &head), -431);
}

/* -1, -2, or the number of bytes taken, fed in steps of `step`. */
static ssize_t decode(const char *in, size_t n, size_t step, struct buf *to, bool *done)
{
    struct h1_chunks c = { 0 };
    size_t at = 0;

    while (at < n && !c.done) {
        size_t k = n - at < step ? n - at : step;
        ssize_t rc = h1_chunks_feed(&c, in + at, k, to, 100);

        if (rc < 0)
            return rc;
        at += (size_t)rc;
    }
    *done = c.done;
    return (ssize_t)at;
}

TEST(http_h1_chunks)
{
    static const struct {
        const char *in, *body; /* body NULL: refused */
        size_t rest;
    } rows[] = {
        { "0\r\n\r\n", "", 0 },
        { "5\r\nhello\r\n0\r\n\r\nGET", "hello", 3 },
        { "005;a=b;c=\"d\"\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\n", "hello0123456789", 0 },
        { "\r\n", NULL, 0 },
        { "g\r\n", NULL, 0 },
        { "-1\r\n", NULL, 0 },
        { "+1\r\na\r\n", NULL, 0 },
        { "0x1\r\na\r\n", NULL, 0 },
        { " 1\r\na\r\n", NULL, 0 },
        { "1 \r\na\r\n", NULL, 0 },
        { "1\na\r\n", NULL, 0 },
        { "1\r\rna", NULL, 0 },
        { "1\r\nab\r\n", NULL, 0 },
        { "1\r\na\n0\r\n\r\n", NULL, 0 },
        { "1\r\na\r\r", NULL, 0 },
        { "1;\n\r\na\r\n", NULL, 0 },
        { ";a\r\n", NULL, 0 },
        { "ffffffffffffffff\r\n", NULL, 0 },
        { "0000000000000001\r\na", NULL, 0 },
        { "0\r\n x: y\r\n\r\n", NULL, 0 },
        { "0\r\nx: \x01\r\n\r\n", NULL, 0 },
        { "0\r\nx: y\n\r\n", NULL, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t step = 1; step < 8; step++) {
            AUTO(buf) struct buf to = { 0 };
            bool done = false;
            size_t n = strlen(rows[i].in);
            ssize_t rc = decode(rows[i].in, n, step, &to, &done);

            if (!rows[i].body && rc != -1)
                fprintf(stderr, "row %zu\n", i);
            CHECK_INT(rc, rows[i].body ? (ssize_t)(n - rows[i].rest) : -1);
            CHECK_INT(done, rows[i].body != NULL);
            if (rows[i].body)
                CHECK_STR(buf_at(&to), rows[i].body);
        }
}

TEST(http_h1_chunk_limits)
{
    AUTO(buf) struct buf in = { 0 };
    AUTO(buf) struct buf to = { 0 };
    bool done = false;

    buf_printf(&in, "64\r\n%0100d\r\n0\r\n\r\n", 0);
    CHECK_INT(decode(buf_at(&in), buf_len(&in), 1000, &to, &done), buf_len(&in));
    CHECK(done && buf_len(&to) == 100);
    buf_clear(&to);
    buf_clear(&in);
    buf_printf(&in, "65\r\n%0101d", 0);
    CHECK_INT(decode(buf_at(&in), buf_len(&in), 1000, &to, &done), -2);
    buf_clear(&in);
    buf_printf(&in, "1;%0*d\r\na\r\n0\r\n\r\n", H1_CHUNK_LINE_BYTES, 0);
    CHECK_INT(decode(buf_at(&in), buf_len(&in), 1000, &to, &done), -1);
    buf_clear(&in);
    buf_printf(&in, "0\r\nx: %0*d\r\n\r\n", H1_TRAILER_BYTES, 0);
    CHECK_INT(decode(buf_at(&in), buf_len(&in), 1000, &to, &done), -1);
}
