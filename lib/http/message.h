#ifndef LIB_HTTP_MESSAGE_H
#define LIB_HTTP_MESSAGE_H
/*
 * message - what HTTP/1.1 and HTTP/2 have in common: headers, URLs, queries, status text.
 * Source: RFC 9110, RFC 3986. Thread: one at a time.
 */
#include "lib/bytes.h"
#include "lib/err.h"

#include <stdbool.h>

/* Names are compared without case and kept lower-case. Zero it to begin. A value lives in its name's allocation. */
struct http_headers {
    struct http_header {
        char *name, *value;
    } *at;
    size_t n, cap;
};
void http_headers_add(struct http_headers *h, const char *name, const char *value);
void http_headers_add_n(struct http_headers *h, struct slice name, struct slice value);
void http_headers_set(struct http_headers *h, const char *name, const char *value); /* replaces all of that name */
const char *http_headers_get(const struct http_headers *h, const char *name); /* the first; NULL when absent */
bool http_headers_has_token(const struct http_headers *h, const char *name, const char *token); /* in comma lists, any case */
void http_headers_clear(struct http_headers *h);

/* Decodes %XX (and + as space when `plus`) into `to`; -1 on a bad escape. */
int url_decode(struct slice s, bool plus, struct buf *to);
void url_encode(struct slice s, struct buf *to); /* everything but unreserved characters */

/* A parsed query: pairs in order, decoded. Zero it to begin. */
struct url_query {
    struct http_header *at; /* name, value */
    size_t n;
};
int url_query_parse(struct slice raw, struct url_query *ret); /* -1 on a bad escape or > 1000 pairs */
const char *url_query_get(const struct url_query *q, const char *name); /* first; NULL when absent */
void url_query_clear(struct url_query *q);

struct url {
    char *scheme, *host, *path; /* host without brackets; path with query, at least "/" */
    int port;                   /* default of the scheme when absent */
    char *user, *password;      /* NULL when absent */
};
CHECK_RC int url_parse(const char *text, struct url *ret, struct err *err); /* BAD_REQUEST */
void url_clear(struct url *u);

const char *http_status_text(int status);

#endif
