#ifndef LIB_HTTP_ANSWER_H
#define LIB_HTTP_ANSWER_H
/*
 * answer - a push parser for one HTTP/1.x answer after the other. Does no I/O.
 *
 * Limits: status line and headers 64 KB together (trailers too), 256 header fields, a chunk-size line 256 bytes.
 * Informational answers (100, 103) are skipped; 101 ends the HTTP of the connection (`switched`).
 * Thread: one at a time. Source: RFC 9112.
 */
#include "lib/bytes.h"
#include "lib/err.h"
#include "lib/http/message.h"

enum { ANSWER_HEADER_BYTES = 64 * 1024, ANSWER_HEADERS_MAX = 256 };

struct answer_ops {
    void (*on_headers)(void *arg, int status, struct http_headers *headers); /* may take the headers: zero what it took */
    void (*on_body)(void *arg, const char *data, size_t n);
};

struct answer_parser {
    int state;
    bool head;    /* the request was HEAD: no body follows */
    bool connect; /* the request was CONNECT: 2xx switches */
    bool started; /* a byte of the answer came */
    bool keep_alive, switched;
    int minor, status;
    uint64_t left; /* bytes of body or chunk still to come */
    size_t header_bytes;
    struct buf line;
    struct http_headers headers;
};

void answer_begin(struct answer_parser *p, bool head, bool connect); /* also for the next one */
void answer_clear(struct answer_parser *p);
bool answer_done(const struct answer_parser *p); /* whole; p->keep_alive and p->switched are known */

/* Takes what belongs to the answer; *ret_used < n only when the answer is done. Errors: IO (malformed, over a limit). */
CHECK_RC int answer_feed(struct answer_parser *p, const char *data, size_t n, const struct answer_ops *ops, void *arg,
                         size_t *ret_used, struct err *err);
/* The peer closed. 0 when that ends the answer in order. Errors: IO. */
CHECK_RC int answer_eof(struct answer_parser *p, struct err *err);

#endif
