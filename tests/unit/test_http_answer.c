/* The HTTP/1.1 answer parser, fed whole and byte by byte. */
#include "lib/http/answer.h"
#include "tests/unit/test.h"

struct seen {
    int status, headers;
    char location[64];
    struct buf body;
};

static void on_headers(void *arg, int status, struct http_headers *headers)
{
    struct seen *s = arg;
    const char *location = http_headers_get(headers, "Location");

    s->status = status;
    s->headers++;
    snprintf(s->location, sizeof(s->location), "%s", location ? location : "");
}

static void on_body(void *arg, const char *data, size_t n)
{
    buf_add(&((struct seen *)arg)->body, data, n);
}

static const struct answer_ops ops = { on_headers, on_body };

/* 1: done, 0: wants more, < 0: error. */
static int feed(const char *text, size_t n, size_t step, bool head, struct seen *seen, bool *ret_keep, size_t *ret_rest, bool eof)
{
    struct answer_parser p = { 0 };
    struct err err;
    size_t at = 0;
    int rc = 0;

    answer_begin(&p, head, false);
    while (rc == 0 && at < n && !answer_done(&p)) {
        size_t used = 0, part = n - at < step ? n - at : step;

        rc = answer_feed(&p, text + at, part, &ops, seen, &used, &err);
        CHECK(rc < 0 || used == part || answer_done(&p));
        at += used;
    }
    if (rc == 0 && eof)
        rc = answer_eof(&p, &err);
    rc = rc < 0 ? rc : answer_done(&p);
    *ret_keep = p.keep_alive;
    *ret_rest = n - at;
    answer_clear(&p);
    return rc;
}

TEST(http_answer_bodies)
{
    static const struct {
        const char *text;
        bool head, eof;
        int want, status;
        const char *body;
        bool keep;
        size_t rest;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", .want = 1, .status = 200, .body = "hello", .keep = true },
        { "HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhelloHTTP", .want = 1, .status = 200, .body = "hello", .keep = true, .rest = 4 },
        { "HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", .want = 1, .status = 200, .body = "" },
        { "HTTP/1.0 200 OK\nContent-Length: 2\n\nhi", .want = 1, .status = 200, .body = "hi" },
        { "HTTP/1.1 204 No Content\r\n\r\n", .want = 1, .status = 204, .body = "", .keep = true },
        { "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", .want = 1, .status = 304, .body = "", .keep = true },
        { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", .head = true, .want = 1, .status = 200, .body = "", .keep = true },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", .want = 1, .status = 201, .body = "x", .keep = true },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00A\r\n, the rest\r\n0\r\nTrailer: x\r\n\r\n",
          .want = 1, .status = 200, .body = "hello, the rest", .keep = true },
        { "HTTP/1.1 200 OK\r\n\r\nuntil the end", .eof = true, .want = 1, .status = 200, .body = "until the end" },
        { "HTTP/1.1 200 OK\r\n\r\nuntil the end", .want = 0, .status = 200, .body = "until the end" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", .eof = true, .want = -ERR_IO, .status = 200, .body = "hell" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", .eof = true, .want = -ERR_IO, .status = 200, .body = "hello" },
        { "", .eof = true, .want = -ERR_IO, .body = "" },
        { "HTTP/2.0 200 OK\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "SSH-2.0-OpenSSH_9.2\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 2x0 OK\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", .want = -ERR_IO, .body = "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", .want = -ERR_IO, .status = 200, .body = "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", .want = -ERR_IO, .status = 200, .body = "" },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n", .want = -ERR_IO, .status = 200, .body = "x" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t step = 1; step <= 1000; step = step == 1 ? 3 : step * 10) {
            struct seen seen = { 0 };
            bool keep = false;
            size_t rest = 0;
            int rc = feed(cases[i].text, strlen(cases[i].text), step, cases[i].head, &seen, &keep, &rest, cases[i].eof);

            if (rc != cases[i].want)
                fprintf(stderr, "case %zu step %zu\n", i, step);
            CHECK_INT(rc, cases[i].want);
            CHECK_INT(seen.status, cases[i].status);
            CHECK_STR(buf_at(&seen.body), cases[i].body);
            if (rc == 1) {
                CHECK_INT(keep, cases[i].keep);
                CHECK_INT((int64_t)rest, (int64_t)cases[i].rest);
            }
            buf_clear(&seen.body);
        }
}

TEST(http_answer_limits)
{
    for (int over = 0; over <= 1; over++) {
        AUTO(buf) struct buf text = { 0 };
        struct seen seen = { 0 };
        bool keep;
        size_t rest;

        buf_str(&text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ");
        while (buf_len(&text) + 4 < (size_t)ANSWER_HEADER_BYTES + (size_t)over)
            buf_char(&text, 'x');
        buf_str(&text, "\r\n\r\n");
        CHECK_INT(feed(buf_at(&text), buf_len(&text), 1000, false, &seen, &keep, &rest, false), over ? -ERR_IO : 1);
    }
    for (int over = 0; over <= 1; over++) {
        AUTO(buf) struct buf text = { 0 };
        struct seen seen = { 0 };
        bool keep;
        size_t rest;

        buf_str(&text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
        for (int i = 1; i < ANSWER_HEADERS_MAX + over; i++)
            buf_str(&text, "A: b\r\n");
        buf_str(&text, "\r\n");
        CHECK_INT(feed(buf_at(&text), buf_len(&text), 1000, false, &seen, &keep, &rest, false), over ? -ERR_IO : 1);
    }
}
