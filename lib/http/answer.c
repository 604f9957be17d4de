#include "lib/http/answer.h"

#include <string.h>
#include <strings.h>

enum { A_STATUS, A_HEADERS, A_LENGTH, A_UNTIL_EOF, A_CHUNK_SIZE, A_CHUNK_DATA, A_CHUNK_END, A_TRAILERS, A_DONE };
enum { CHUNK_LINE_BYTES = 256 };

void answer_begin(struct answer_parser *p, bool head, bool connect)
{
    answer_clear(p);
    p->head = head;
    p->connect = connect;
}

void answer_clear(struct answer_parser *p)
{
    buf_clear(&p->line);
    http_headers_clear(&p->headers);
    *p = (struct answer_parser){ 0 };
}

bool answer_done(const struct answer_parser *p)
{
    return p->state == A_DONE;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* HTTP/1.1 200 OK */
static int parse_status(struct answer_parser *p, struct slice line, struct err *err)
{
    if (line.n < 12 || memcmp(line.at, "HTTP/1.", 7) != 0 || !is_digit(line.at[7]) || line.at[8] != ' ' || !is_digit(line.at[9]) ||
        !is_digit(line.at[10]) || !is_digit(line.at[11]) || (line.n > 12 && line.at[12] != ' '))
        return err_set(err, ERR_IO, "malformed HTTP response \"%.*s\"", line.n > 64 ? 64 : (int)line.n, line.at);
    p->minor = line.at[7] - '0';
    p->status = (line.at[9] - '0') * 100 + (line.at[10] - '0') * 10 + (line.at[11] - '0');
    if (p->status < 100)
        return err_set(err, ERR_IO, "malformed HTTP status code %d", p->status);
    p->state = A_HEADERS;
    return 0;
}

static bool token_char(unsigned char c)
{
    return c > ' ' && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

static struct slice trim(struct slice s)
{
    while (s.n && (s.at[0] == ' ' || s.at[0] == '\t')) {
        s.at++;
        s.n--;
    }
    while (s.n && (s.at[s.n - 1] == ' ' || s.at[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static int parse_header(struct answer_parser *p, struct slice line, struct err *err)
{
    const char *colon = memchr(line.at, ':', line.n);
    size_t name_n = colon ? (size_t)(colon - line.at) : 0;

    if (p->headers.n >= ANSWER_HEADERS_MAX)
        return err_set(err, ERR_IO, "more than %d header fields in the answer", ANSWER_HEADERS_MAX);
    for (size_t i = 0; i < name_n; i++)
        if (!token_char((unsigned char)line.at[i]))
            name_n = 0;
    if (name_n == 0 || memchr(line.at, '\0', line.n))
        return err_set(err, ERR_IO, "malformed header line in the answer");
    http_headers_add_n(&p->headers, (struct slice){ line.at, name_n },
                       trim((struct slice){ colon + 1, line.n - name_n - 1 }));
    return 0;
}

static int parse_length(const char *text, uint64_t *ret, struct err *err)
{
    uint64_t v = 0;

    if (!*text)
        return err_set(err, ERR_IO, "empty Content-Length");
    for (const char *c = text; *c; c++) {
        if (!is_digit(*c) || v > (UINT64_MAX >> 1) / 10)
            return err_set(err, ERR_IO, "bad Content-Length \"%.40s\"", text);
        v = v * 10 + (uint64_t)(*c - '0');
    }
    *ret = v;
    return 0;
}

/* How the body ends (RFC 9112 6.3). */
static int choose_framing(struct answer_parser *p, struct err *err)
{
    const char *coding = http_headers_get(&p->headers, "transfer-encoding");
    const char *length = http_headers_get(&p->headers, "content-length");

    p->keep_alive = p->minor >= 1 ? !http_headers_has_token(&p->headers, "connection", "close")
                                  : http_headers_has_token(&p->headers, "connection", "keep-alive");
    p->switched = p->status == 101 || (p->connect && p->status / 100 == 2);
    if (p->switched || p->head || p->status == 204 || p->status == 304) {
        p->state = A_DONE;
    } else if (coding) {
        if (strcasecmp(coding, "chunked") != 0 || length)
            return err_set(err, ERR_IO, "unsupported transfer encoding \"%.40s\"%s", coding, length ? " with a Content-Length" : "");
        p->state = A_CHUNK_SIZE;
    } else if (length) {
        int rc = parse_length(length, &p->left, err);

        for (size_t i = 0; rc == 0 && i < p->headers.n; i++)
            if (strcmp(p->headers.at[i].name, "content-length") == 0 && strcmp(p->headers.at[i].value, length) != 0)
                rc = err_set(err, ERR_IO, "the answer has two different Content-Length fields");
        if (rc < 0)
            return rc;
        p->state = p->left ? A_LENGTH : A_DONE;
    } else {
        p->state = A_UNTIL_EOF;
        p->keep_alive = false;
    }
    return 0;
}

static int headers_end(struct answer_parser *p, const struct answer_ops *ops, void *arg, struct err *err)
{
    if (p->status / 100 == 1 && p->status != 101) {
        http_headers_clear(&p->headers);
        p->state = A_STATUS;
        return 0;
    }
    int rc = choose_framing(p, err);

    if (rc < 0)
        return rc;
    ops->on_headers(arg, p->status, &p->headers);
    http_headers_clear(&p->headers);
    return 0;
}

static int parse_chunk_size(struct answer_parser *p, struct slice line, struct err *err)
{
    uint64_t v = 0;
    size_t i = 0;

    for (; i < line.n; i++) {
        char c = line.at[i];
        unsigned digit = is_digit(c) ? (unsigned)(c - '0') : (c | 32) >= 'a' && (c | 32) <= 'f' ? (unsigned)((c | 32) - 'a') + 10 : 16;

        if (digit == 16)
            break;
        if (i >= 15)
            return err_set(err, ERR_IO, "chunk size too large");
        v = v * 16 + digit;
    }
    if (i == 0 || (i < line.n && line.at[i] != ';' && line.at[i] != ' ' && line.at[i] != '\t'))
        return err_set(err, ERR_IO, "malformed chunk size");
    p->left = v;
    p->state = v ? A_CHUNK_DATA : A_TRAILERS;
    return 0;
}

static int take_line(struct answer_parser *p, struct slice line, const struct answer_ops *ops, void *arg, struct err *err)
{
    switch (p->state) {
    case A_STATUS:
        return line.n == 0 && p->header_bytes <= 4 ? 0 : parse_status(p, line, err); /* a stray CRLF between answers */
    case A_HEADERS:
        return line.n ? parse_header(p, line, err) : headers_end(p, ops, arg, err);
    case A_CHUNK_SIZE:
        return parse_chunk_size(p, line, err);
    case A_CHUNK_END:
        if (line.n)
            return err_set(err, ERR_IO, "malformed chunk end");
        p->state = A_CHUNK_SIZE;
        return 0;
    default: /* trailers: read and dropped */
        if (line.n == 0)
            p->state = A_DONE;
        return 0;
    }
}

/* One line, or as much of it as came. */
static int feed_line(struct answer_parser *p, const char *data, size_t n, size_t *ret_used, const struct answer_ops *ops, void *arg,
                     struct err *err)
{
    bool chunk = p->state == A_CHUNK_SIZE || p->state == A_CHUNK_END;
    const char *nl = memchr(data, '\n', n);
    size_t used = nl ? (size_t)(nl - data) + 1 : n;

    if (!chunk)
        p->header_bytes += used;
    if (p->header_bytes > ANSWER_HEADER_BYTES || (chunk && buf_len(&p->line) + used > CHUNK_LINE_BYTES))
        return err_set(err, ERR_IO, "header or chunk line of the answer over its limit");
    *ret_used = used;
    if (!nl || buf_len(&p->line))
        buf_add(&p->line, data, used);
    if (!nl)
        return 0;

    struct slice line = buf_len(&p->line) ? (struct slice){ buf_at(&p->line), buf_len(&p->line) } : (struct slice){ data, used };

    line.n--;
    if (line.n && line.at[line.n - 1] == '\r')
        line.n--;
    int rc = take_line(p, line, ops, arg, err);

    buf_cut(&p->line, 0);
    return rc;
}

static size_t feed_body(struct answer_parser *p, const char *data, size_t n, const struct answer_ops *ops, void *arg)
{
    size_t take = p->state != A_UNTIL_EOF && n > p->left ? (size_t)p->left : n;

    if (p->state != A_UNTIL_EOF) {
        p->left -= take;
        if (p->left == 0)
            p->state = p->state == A_LENGTH ? A_DONE : A_CHUNK_END;
    }
    ops->on_body(arg, data, take);
    return take;
}

int answer_feed(struct answer_parser *p, const char *data, size_t n, const struct answer_ops *ops, void *arg, size_t *ret_used,
                struct err *err)
{
    size_t used = 0;

    while (used < n && p->state != A_DONE) {
        size_t took = 0;

        p->started = true;
        if (p->state == A_LENGTH || p->state == A_UNTIL_EOF || p->state == A_CHUNK_DATA) {
            took = feed_body(p, data + used, n - used, ops, arg);
        } else {
            int rc = feed_line(p, data + used, n - used, &took, ops, arg, err);

            if (rc < 0)
                return rc;
        }
        used += took;
    }
    *ret_used = used;
    return 0;
}

int answer_eof(struct answer_parser *p, struct err *err)
{
    if (p->state == A_DONE)
        return 0;
    if (p->state == A_UNTIL_EOF) {
        p->state = A_DONE;
        return 0;
    }
    return err_set(err, ERR_IO, p->started ? "unexpected EOF" : "EOF");
}
