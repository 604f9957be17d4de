#include "lib/http/h1_parse.h"

#include <string.h>
#include <strings.h>

enum { METHOD_BYTES = 32 };

/* Source: RFC 9110 5.6.2. */
static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char(s.at[i]))
            return false;
    return s.n > 0;
}

static bool is_value_char(char c)
{
    unsigned char u = (unsigned char)c;

    return (u >= ' ' && u != 0x7f) || c == '\t';
}

static bool is_slice_nocase(struct slice s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(s.at, text, s.n) == 0;
}

/* One line without its CRLF, from *at on. Bare CR and LF were refused before. */
static struct slice take_line(const char **at, const char *end)
{
    const char *cr = memchr(*at, '\r', (size_t)(end - *at));
    struct slice line = { *at, (size_t)(cr - *at) };

    *at = cr + 2;
    return line;
}

/* Offset behind the empty line, 0 when it has not come, -1 for a bare CR, LF or a NUL. */
static ssize_t find_end(const char *at, size_t n, size_t *scanned)
{
    for (size_t i = *scanned; i < n; i++) {
        if (at[i] == '\0')
            return -1;
        if (at[i] == '\n' && (i == 0 || at[i - 1] != '\r'))
            return -1;
        if (i && at[i - 1] == '\r' && at[i] != '\n')
            return -1;
        if (at[i] == '\n' && i >= 3 && at[i - 3] == '\r' && at[i - 2] == '\n')
            return (ssize_t)i + 1;
    }
    *scanned = n;
    return 0;
}

static bool authority_ok(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.at[i];

        if (c <= ' ' || c >= 0x7f || strchr("/?#@\\\"<>^`{|}", c))
            return false;
    }
    return true;
}

/* http://host/path is taken apart; the server serves whatever host is asked for. */
static int absolute_target(struct h1_head *h)
{
    size_t n_scheme = h->target.n >= 7 && strncasecmp(h->target.at, "http://", 7) == 0    ? 7
                      : h->target.n >= 8 && strncasecmp(h->target.at, "https://", 8) == 0 ? 8
                                                                                            : 0;
    if (!n_scheme)
        return -1;
    const char *authority = h->target.at + n_scheme;
    const char *end = h->target.at + h->target.n;
    const char *path = authority;

    while (path < end && *path != '/' && *path != '?')
        path++;
    h->host = (struct slice){ authority, (size_t)(path - authority) };
    h->target = (struct slice){ path, (size_t)(end - path) };
    if (path == end)
        h->target = SLICE_LIT("/");
    else if (*path == '?')
        return -1;
    return h->host.n && authority_ok(h->host) ? 0 : -1;
}

static int check_target(struct h1_head *h)
{
    for (size_t i = 0; i < h->target.n; i++) {
        unsigned char c = (unsigned char)h->target.at[i];

        if (c <= ' ' || c == 0x7f || c == '#')
            return -1;
    }
    if (h->target.n == 0)
        return -1;
    if (slice_is(h->method, "CONNECT"))
        return authority_ok(h->target) ? 0 : -1;
    if (h->target.at[0] == '/')
        return 0;
    if (slice_is(h->target, "*"))
        return slice_is(h->method, "OPTIONS") ? 0 : -1;
    return absolute_target(h);
}

static int parse_request_line(struct slice line, struct h1_head *h, const char **why)
{
    const char *sp1 = memchr(line.at, ' ', line.n);
    const char *sp2 = sp1 ? memchr(sp1 + 1, ' ', (size_t)(line.at + line.n - sp1 - 1)) : NULL;

    *why = "malformed HTTP request line";
    if (!sp2)
        return -400;
    h->method = (struct slice){ line.at, (size_t)(sp1 - line.at) };
    h->target = (struct slice){ sp1 + 1, (size_t)(sp2 - sp1 - 1) };
    struct slice version = { sp2 + 1, (size_t)(line.at + line.n - sp2 - 1) };
    if (!is_token(h->method) || h->method.n > METHOD_BYTES)
        return -400;
    *why = "malformed HTTP version";
    if (version.n != 8 || memcmp(version.at, "HTTP/", 5) != 0 || version.at[6] != '.')
        return -400;
    *why = "unsupported HTTP version";
    if (version.at[5] != '1' || version.at[7] < '0' || version.at[7] > '9')
        return -505;
    h->minor = version.at[7] == '0' ? 0 : 1;
    *why = "malformed request target";
    return check_target(h) < 0 ? -400 : 0;
}

static int parse_header(struct slice line, struct h1_head *h, const char **why)
{
    const char *colon = memchr(line.at, ':', line.n);

    *why = "malformed header line";
    if (!colon)
        return -400;
    struct slice name = { line.at, (size_t)(colon - line.at) };
    struct slice value = { colon + 1, line.n - name.n - 1 };
    if (!is_token(name)) /* also refuses folded lines and spaces before the colon */
        return -400;
    while (value.n && (value.at[0] == ' ' || value.at[0] == '\t'))
        value.at++, value.n--;
    while (value.n && (value.at[value.n - 1] == ' ' || value.at[value.n - 1] == '\t'))
        value.n--;
    for (size_t i = 0; i < value.n; i++)
        if (!is_value_char(value.at[i]))
            return -400;
    *why = "too many headers";
    if (h->headers.n == H1_HEADERS_MAX)
        return -431;
    http_headers_add_n(&h->headers, name, value);
    return 0;
}

static int parse_length(const char *value, int64_t *ret)
{
    int64_t n = 0;
    size_t digits = strlen(value);

    if (digits == 0 || digits > 18)
        return -1;
    for (; *value; value++) {
        if (*value < '0' || *value > '9')
            return -1;
        n = n * 10 + (*value - '0');
    }
    *ret = n;
    return 0;
}

static int frame_header(struct h1_head *h, const char *name, const char *value, int *hosts, const char **why)
{
    if (strcmp(name, "host") == 0) {
        *why = "malformed or repeated Host header";
        if (++*hosts > 1 || !authority_ok(slice_of(value)))
            return -400;
        if (!h->host.at)
            h->host = slice_of(value);
    } else if (strcmp(name, "content-length") == 0) {
        *why = "malformed or repeated Content-Length";
        if (h->content_length >= 0 || parse_length(value, &h->content_length) < 0)
            return -400;
    } else if (strcmp(name, "transfer-encoding") == 0) {
        *why = "unsupported transfer encoding";
        if (h->chunked || !is_slice_nocase(slice_of(value), "chunked"))
            return -501;
        h->chunked = true;
    } else if (strcmp(name, "expect") == 0) {
        *why = "unsupported expectation";
        if (!is_slice_nocase(slice_of(value), "100-continue"))
            return -417;
        h->expect_continue = h->minor > 0;
    }
    return 0;
}

/* How long the body is and whether the connection stays. */
static int frame(struct h1_head *h, const char **why)
{
    int hosts = 0;

    for (size_t i = 0; i < h->headers.n; i++) {
        int rc = frame_header(h, h->headers.at[i].name, h->headers.at[i].value, &hosts, why);

        if (rc < 0)
            return rc;
    }
    *why = "missing required Host header";
    if (h->minor > 0 && hosts == 0)
        return -400;
    *why = "Content-Length beside Transfer-Encoding";
    if (h->chunked && h->content_length >= 0)
        return -400;
    *why = "Transfer-Encoding in HTTP/1.0";
    if (h->chunked && h->minor == 0)
        return -400;
    *why = "CONNECT with a body";
    if (slice_is(h->method, "CONNECT") && (h->chunked || h->content_length > 0))
        return -400;
    h->keep_alive = h->minor > 0 ? !http_headers_has_token(&h->headers, "connection", "close")
                                 : http_headers_has_token(&h->headers, "connection", "keep-alive");
    return 0;
}

static int parse_lines(const char *at, const char *end, struct h1_head *h, const char **why)
{
    int rc = parse_request_line(take_line(&at, end), h, why);

    while (rc == 0) {
        struct slice line = take_line(&at, end);

        if (line.n == 0)
            return frame(h, why);
        rc = parse_header(line, h, why);
    }
    return rc;
}

int h1_head_parse(const char *at, size_t n, size_t *scanned, struct h1_head *ret, const char **why)
{
    size_t empty = 0; /* a stray CRLF before the request line is allowed (RFC 9112 2.2) */

    if (n >= 2 && at[0] == '\r' && at[1] == '\n')
        empty = 2;
    size_t from = *scanned > empty ? *scanned - empty : 0;
    ssize_t end = find_end(at + empty, n - empty, &from);
    *scanned = from + empty;
    *why = "bare CR, LF or a NUL in the head";
    if (end < 0)
        return -400;
    *why = "request header fields too large";
    if (end > H1_HEAD_BYTES || (end == 0 && n - empty >= H1_HEAD_BYTES))
        return -431;
    if (end == 0)
        return 0;
    struct h1_head head = { .content_length = -1 };
    int rc = parse_lines(at + empty, at + empty + end, &head, why);
    if (rc < 0) {
        http_headers_clear(&head.headers);
        return rc;
    }
    *ret = head;
    return (int)(end + (ssize_t)empty);
}

enum chunk_state { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, END_LF };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int size_char(struct h1_chunks *c, char ch)
{
    int digit = hex_value(ch);

    if (++c->line > H1_CHUNK_LINE_BYTES)
        return -1;
    if (digit >= 0) {
        if (++c->digits > 15)
            return -1;
        c->left = c->left << 4 | (unsigned)digit;
        return 0;
    }
    if (c->digits == 0 || (ch != '\r' && ch != ';'))
        return -1;
    c->state = ch == '\r' ? SIZE_LF : EXTENSION;
    return 0;
}

static int trailer_char(struct h1_chunks *c, char ch)
{
    if (++c->line > H1_TRAILER_BYTES)
        return -1;
    if (c->state == TRAILER_START && ch == '\r')
        c->state = END_LF;
    else if (c->state == TRAILER_START)
        c->state = is_token_char(ch) ? TRAILER : -1;
    else if (ch == '\r')
        c->state = TRAILER_LF;
    else if (!is_value_char(ch))
        c->state = -1;
    return c->state < 0 ? -1 : 0;
}

/* Every state but DATA, one byte. */
static int chunk_char(struct h1_chunks *c, char ch)
{
    switch (c->state) {
    case SIZE:
        return size_char(c, ch);
    case EXTENSION:
        if (++c->line > H1_CHUNK_LINE_BYTES)
            return -1;
        if (ch == '\r')
            c->state = SIZE_LF;
        return ch == '\r' || is_value_char(ch) ? 0 : -1;
    case SIZE_LF:
        c->line = 0;
        c->digits = 0;
        c->state = c->left ? DATA : TRAILER_START;
        return ch == '\n' ? 0 : -1;
    case DATA_CR:
        c->state = DATA_LF;
        return ch == '\r' ? 0 : -1;
    case DATA_LF:
        c->state = SIZE;
        return ch == '\n' ? 0 : -1;
    case TRAILER_START:
    case TRAILER:
        return trailer_char(c, ch);
    case TRAILER_LF:
        c->state = TRAILER_START;
        return ch == '\n' ? 0 : -1;
    case END_LF:
        c->done = true;
        return ch == '\n' ? 0 : -1;
    default:
        return -1;
    }
}

ssize_t h1_chunks_feed(struct h1_chunks *c, const char *at, size_t n, struct buf *to, size_t max_bytes)
{
    size_t i = 0;

    while (i < n && !c->done) {
        if (c->state != DATA) {
            if (chunk_char(c, at[i++]) < 0)
                return -1;
            continue;
        }
        size_t take = c->left < n - i ? (size_t)c->left : n - i;
        if (take > max_bytes - buf_len(to))
            return -2;
        buf_add(to, at + i, take);
        c->left -= take;
        i += take;
        if (c->left == 0)
            c->state = DATA_CR;
    }
    return (ssize_t)i;
}
