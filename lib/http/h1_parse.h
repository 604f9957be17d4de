#ifndef LIB_HTTP_H1_PARSE_H
#define LIB_HTTP_H1_PARSE_H
/*
 * h1_parse - HTTP/1.1 request heads and chunked bodies, strictly: what two parsers could read in two ways is refused
 * (bare CR or LF, folded lines, space before a colon, both or several lengths, signs and spaces in numbers).
 *
 * Thread: one at a time. Source: RFC 9112.
 */
#include "lib/http/message.h"

enum { H1_HEAD_BYTES = 64 * 1024, H1_HEADERS_MAX = 256, H1_CHUNK_LINE_BYTES = 256, H1_TRAILER_BYTES = 8192 };

struct h1_head {
    struct slice method;     /* in the parsed bytes */
    struct slice target;     /* path?query; "*"; of CONNECT the authority */
    struct slice host;       /* of the target when that is absolute, else Host */
    int minor;               /* HTTP/1.minor */
    struct http_headers headers;
    int64_t content_length;  /* -1: none */
    bool chunked, keep_alive, expect_continue;
};

/* The length of the head, with *ret filled (Owner: http_headers_clear of ret->headers); 0: it isn't complete; or
 * -status with *why (static). *scanned carries between calls with more bytes of the same head; start it at 0. */
int h1_head_parse(const char *at, size_t n, size_t *scanned, struct h1_head *ret, const char **why);

/* Zero it to begin. */
struct h1_chunks {
    int state;
    uint64_t left; /* of the chunk */
    size_t line;   /* bytes of the line, or of the trailer */
    int digits;
    bool done;
};
/* Decodes; appends to `to`. Returns how many bytes it took: all, or up to the end of the body (done); -1: malformed;
 * -2: `to` would grow over max_bytes. */
ssize_t h1_chunks_feed(struct h1_chunks *c, const char *at, size_t n, struct buf *to, size_t max_bytes);

#endif
