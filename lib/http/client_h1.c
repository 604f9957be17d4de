/* HTTP/1.1 on a link: one request after the other. */
#include "lib/http/client_int.h"

#include <string.h>

enum { BODY_COPY_BYTES = 16 * 1024 }; /* smaller bodies go out with the header, in one record */

static void on_headers(void *arg, int status, struct http_headers *headers)
{
    struct link *l = arg;
    struct http_stream *s = l->current;

    if (l->parser.switched) {
        l->switched = *headers;
        *headers = (struct http_headers){ 0 };
        return;
    }
    stream_headers(s, status, headers);
}

static void on_body(void *arg, const char *data, size_t n)
{
    (void)stream_data(((struct link *)arg)->current, data, n);
}

static const struct answer_ops ops = { on_headers, on_body };

static bool may_have_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

static void write_request(struct link *l, struct http_stream *s)
{
    AUTO(buf) struct buf out = { 0 };

    buf_printf(&out, "%s %s HTTP/1.1\r\nhost: %s\r\n", s->method, s->path, s->host);
    for (size_t i = 0; i < s->headers.n; i++) {
        const struct http_header *h = &s->headers.at[i];

        if (strcmp(h->name, "host") == 0 || strcmp(h->name, "content-length") == 0 || strcmp(h->name, "transfer-encoding") == 0)
            continue;
        buf_str(&out, h->name);
        buf_add(&out, ": ", 2);
        buf_str(&out, h->value);
        buf_add(&out, "\r\n", 2);
    }
    if (s->body || may_have_body(s->method))
        buf_printf(&out, "content-length: %zu\r\n", s->body ? s->body->n : 0);
    buf_add(&out, "\r\n", 2);
    if (s->body && s->body->n <= BODY_COPY_BYTES)
        buf_add(&out, s->body->at, s->body->n);
    conn_write(l->conn, buf_at(&out), buf_len(&out));
    if (s->body && s->body->n > BODY_COPY_BYTES)
        conn_write_bytes(l->conn, s->body);
}

void h1_start(struct link *l, struct http_stream *s)
{
    l->current = s;
    answer_begin(&l->parser, strcmp(s->method, "HEAD") == 0, strcmp(s->method, "CONNECT") == 0);
    write_request(l, s);
    if (s->paused)
        conn_pause(l->conn);
}

static void finish(struct link *l, bool keep)
{
    struct http_stream *s = l->current;
    struct conn *conn = l->conn;

    l->current = NULL;
    if (s->paused)
        conn_resume(conn);
    if (!keep)
        link_retire(l);
    stream_end(s, NULL);
    if (keep)
        link_idle(l);
    else
        conn_close(conn);
}

void h1_data(struct link *l, const char *data, size_t n)
{
    struct http_stream *s = l->current;
    size_t used = 0;
    struct err err;

    if (!s) {
        ERR_IGNORE(err_set(&err, ERR_IO, "unsolicited answer on an idle HTTP connection"));
        link_abort(l, &err);
        return;
    }
    int rc = answer_feed(&l->parser, data, n, &ops, l, &used, &err);

    if (rc == 0 && l->parser.switched && !s->on_switch)
        rc = err_set(&err, ERR_IO, "the peer switched protocols unasked");
    if (rc < 0)
        link_abort(l, &err);
    else if (l->parser.switched)
        link_hand_over(l, &l->switched, data + used, n - used);
    else if (answer_done(&l->parser))
        finish(l, l->parser.keep_alive && used == n && !l->only && !l->client->closed);
}

void h1_closed(struct link *l, const struct err *why)
{
    struct http_stream *s = l->current;
    struct err eof;

    if (!s)
        return;
    l->current = NULL;
    if (!why && answer_eof(&l->parser, &eof) == 0) {
        stream_end(s, NULL);
        return;
    }
    if (!why)
        why = &eof;
    if (l->parser.started)
        stream_end(s, why);
    else
        stream_fail(s, why, false);
}
