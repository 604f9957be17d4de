/*
 * HTTP/1.1: one request at a time; the next one is looked at when the answer is out (pipelining keeps its order by itself).
 */
#include "lib/http/server_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum h1_state {
    H1_HEAD,    /* waiting for a head, or in it */
    H1_LENGTH,  /* in a body of known length */
    H1_CHUNKED, /* in a chunked body */
    H1_BUSY,    /* the handler has it, or its answer is on the way */
};

enum { INPUT_MAX_BYTES = 128 * 1024 }; /* while busy: what a client may send ahead before we stop reading */

static const char H2_PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { H2_PREFACE_BYTES = sizeof(H2_PREFACE) - 1 };

struct h1 {
    enum h1_state state;
    struct buf in;
    size_t scanned;
    struct http_request *r;
    size_t body_left;
    struct h1_chunks chunks;
    int minor;
    bool keep_alive, fresh, eof, stop, parsing;
    /* of the answer */
    bool chunked;
    int64_t left; /* of the length its headers promise; -1: they don't */
};

void peer_h1_new(struct peer *p)
{
    p->state = PEER_H1;
    p->since_ms = p->active_ms = peer_now(p);
    p->h1 = MEM_NEW(struct h1);
    p->h1->fresh = true;
}

void peer_h1_free(struct h1 *h)
{
    if (!h)
        return;
    buf_clear(&h->in);
    free(h);
}

static void enter(struct peer *p, enum h1_state state, int64_t limit_ms)
{
    p->h1->state = state;
    p->since_ms = peer_now(p);
    peer_touch(p, limit_ms);
}

/* --- requests --- */

/* What can't be understood is answered once, and the connection ends. */
static void refuse_head(struct peer *p, int status, const char *why)
{
    AUTO(buf) struct buf out = { 0 };
    int n_body = snprintf(NULL, 0, "%d %s: %s", status, http_status_text(status), why);

    buf_printf(&out,
               "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nDate: %s\r\nContent-Length: %d\r\n"
               "Connection: close\r\n\r\n%d %s: %s",
               status, http_status_text(status), site_date(p->site), n_body, status, http_status_text(status), why);
    conn_write(p->conn, buf_at(&out), buf_len(&out));
    buf_clear(&p->h1->in);
    peer_linger(p);
}

static void refuse(struct peer *p, int status, const char *why)
{
    struct http_request *r = TAKE(p->h1->r);

    if (r)
        request_gone(r); /* never dispatched: freed */
    refuse_head(p, status, why);
}

static void dispatch(struct peer *p)
{
    enter(p, H1_BUSY, STALL_MS);
    request_dispatch(p->h1->r);
}

static void take_head(struct peer *p, struct h1_head *head)
{
    struct h1 *h = p->h1;
    struct http_request *r = request_new(p);

    h->r = r;
    r->method = slice_dup(head->method);
    r->target = slice_dup(head->target);
    r->host = slice_dup(head->host);
    r->headers = head->headers;
    h->minor = head->minor;
    h->keep_alive = head->keep_alive && !h->stop && !h->eof;
    h->chunks = (struct h1_chunks){ 0 };
    h->body_left = head->content_length > 0 ? (size_t)head->content_length : 0;
    if (!head->chunked && !h->body_left) {
        dispatch(p);
        return;
    }
    if (h->body_left > p->site->server->o.body_max_bytes) {
        refuse(p, 413, "request body too large");
        return;
    }
    if (p->site->upload_bytes > UPLOADS_MAX_BYTES) {
        refuse(p, 429, "too many request bodies are being received");
        return;
    }
    request_receiving(r);
    enter(p, head->chunked ? H1_CHUNKED : H1_LENGTH, BODY_MS);
    if (head->expect_continue)
        conn_write(p->conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

/* HTTP/2 without TLS begins with a preface that is no HTTP/1.1 request. True: it was handled. */
static bool try_h2(struct peer *p)
{
    struct h1 *h = p->h1;
    size_t n = buf_len(&h->in) < H2_PREFACE_BYTES ? buf_len(&h->in) : H2_PREFACE_BYTES;

    if (!p->plain || !h->fresh || memcmp(buf_at(&h->in), H2_PREFACE, n) != 0)
        return false;
    if (n < H2_PREFACE_BYTES)
        return true;
    struct bytes *b = buf_take(&h->in);
    peer_h1_free(TAKE(p->h1));
    peer_h2_new(p);
    peer_h2_data(p, b->at, b->n);
    bytes_unref(b);
    return true;
}

/* Each returns whether there may be more to do with what is left in `in`. */
static bool read_head(struct peer *p)
{
    struct h1 *h = p->h1;
    struct h1_head head;
    const char *why;

    if (buf_len(&h->in) == 0 || try_h2(p))
        return false;
    int n = h1_head_parse(buf_at(&h->in), buf_len(&h->in), &h->scanned, &head, &why);
    if (n < 0)
        refuse_head(p, -n, why);
    if (n <= 0)
        return false;
    h->fresh = false;
    h->scanned = 0;
    take_head(p, &head);
    if (p->state != PEER_H1)
        return false;
    buf_drop(&h->in, (size_t)n);
    return true;
}

static bool read_length(struct peer *p)
{
    struct h1 *h = p->h1;
    size_t n = buf_len(&h->in) < h->body_left ? buf_len(&h->in) : h->body_left;

    buf_add(&h->r->body, buf_at(&h->in), n);
    request_body_grew(h->r, n);
    buf_drop(&h->in, n);
    h->body_left -= n;
    if (h->body_left)
        return false;
    dispatch(p);
    return true;
}

static bool read_chunked(struct peer *p)
{
    struct h1 *h = p->h1;
    size_t before = buf_len(&h->r->body);
    ssize_t n = h1_chunks_feed(&h->chunks, buf_at(&h->in), buf_len(&h->in), &h->r->body, p->site->server->o.body_max_bytes);

    request_body_grew(h->r, buf_len(&h->r->body) - before);
    if (n < 0) {
        refuse(p, n == -2 ? 413 : 400, n == -2 ? "request body too large" : "malformed chunked encoding");
        return false;
    }
    buf_drop(&h->in, (size_t)n);
    if (!h->chunks.done)
        return false;
    dispatch(p);
    return true;
}

static void read_on(struct peer *p)
{
    bool more = true;

    if (p->h1->parsing) /* a handler may answer and let us come back in here */
        return;
    p->h1->parsing = true;
    while (more && p->state == PEER_H1) {
        switch (p->h1->state) {
        case H1_HEAD:
            more = read_head(p);
            break;
        case H1_LENGTH:
            more = buf_len(&p->h1->in) && read_length(p);
            break;
        case H1_CHUNKED:
            more = buf_len(&p->h1->in) && read_chunked(p);
            break;
        case H1_BUSY:
            more = false;
        }
    }
    if (p->state != PEER_H1)
        return;
    p->h1->parsing = false;
    if (buf_len(&p->h1->in) == 0)
        buf_clear(&p->h1->in); /* an idle connection keeps no buffer */
    if (p->h1->state == H1_BUSY && buf_len(&p->h1->in) > INPUT_MAX_BYTES)
        conn_pause(p->conn);
}

void peer_h1_data(struct peer *p, const char *data, size_t n)
{
    struct h1 *h = p->h1;

    if (h->state == H1_HEAD && buf_len(&h->in) == 0)
        enter(p, H1_HEAD, HEAD_MS);
    buf_add(&h->in, data, n);
    read_on(p);
}

void peer_h1_eof(struct peer *p)
{
    struct h1 *h = p->h1;

    h->eof = true;
    h->keep_alive = false;
    if (h->state != H1_BUSY || !h->r || (h->r->started && h->r->ops)) {
        conn_close(p->conn);
        return;
    }
    request_cancel(h->r); /* yet it may only have closed its half (`nc -N`): the answer is still sent */
}

/* --- answers --- */

static void add_value(struct buf *to, const char *value)
{
    size_t n = strlen(value);
    char *p = buf_space(to, n);

    for (size_t i = 0; i < n; i++) /* a line break would be another header's, or another answer's */
        p[i] = (unsigned char)value[i] < ' ' && value[i] != '\t' ? ' ' : value[i];
    buf_used(to, n);
}

static void add_header(struct buf *to, const char *name, const char *value)
{
    bool upper = true;

    for (; *name; name++) { /* as Go writes them: some clients look at the case */
        buf_char(to, upper && *name >= 'a' && *name <= 'z' ? (char)(*name - 32) : *name);
        upper = *name == '-';
    }
    buf_str(to, ": ");
    add_value(to, value);
    buf_str(to, "\r\n");
}

static void frame_answer(struct h1 *h, struct http_request *r, struct buf *out)
{
    const char *length = http_headers_get(&r->answer, "content-length");

    h->chunked = false;
    h->left = -1;
    if (!answer_has_body(r)) {
        if (r->whole && !length && strcmp(r->method, "HEAD") == 0)
            buf_printf(out, "Content-Length: %zu\r\n", r->body_bytes);
        return;
    }
    if (r->whole) {
        buf_printf(out, "Content-Length: %zu\r\n", r->body_bytes);
    } else if (length) {
        h->left = strtoll(length, NULL, 10);
    } else if (h->minor > 0) {
        h->chunked = true;
        buf_str(out, "Transfer-Encoding: chunked\r\n");
    } else {
        h->keep_alive = false; /* HTTP/1.0: the end of the connection is the end of the body */
    }
}

static void write_head(struct peer *p, struct http_request *r, struct buf *out)
{
    struct h1 *h = p->h1;

    r->head_sent = true;
    buf_printf(out, "HTTP/1.1 %d %s\r\n", r->status, http_status_text(r->status));
    for (size_t i = 0; i < r->answer.n; i++)
        if (!answer_skips(r, r->answer.at[i].name))
            add_header(out, r->answer.at[i].name, r->answer.at[i].value);
    if (!http_headers_get(&r->answer, "date"))
        add_header(out, "date", site_date(p->site));
    if (!r->take) {
        frame_answer(h, r, out);
        if (h->stop)
            h->keep_alive = false;
        if (!h->keep_alive)
            buf_str(out, "Connection: close\r\n");
        else if (h->minor == 0)
            buf_str(out, "Connection: keep-alive\r\n");
    }
    buf_str(out, "\r\n");
}

static void spill(struct peer *p, struct buf *out)
{
    conn_write(p->conn, buf_at(out), buf_len(out));
    buf_cut(out, 0);
}

/* Moves body bytes to the connection while that takes them. */
static void write_body(struct peer *p, struct http_request *r, struct buf *out)
{
    struct h1 *h = p->h1;
    bool body = answer_has_body(r);

    for (struct slice s; (s = pieces_head(&r->out)).n;) {
        if (conn_queued(p->conn) + buf_len(out) > CONN_HIGH_BYTES)
            return;
        size_t n = s.n < SLICE_BYTES ? s.n : SLICE_BYTES;
        if (h->left >= 0 && (int64_t)n > h->left)
            n = (size_t)h->left; /* more than its headers promised */
        if (h->left >= 0)
            h->left -= (int64_t)n;
        if (n == 0) {
            request_sent(r, s.n);
            continue;
        }
        if (body && h->chunked)
            buf_printf(out, "%zx\r\n", n);
        if (body)
            buf_add(out, s.at, n);
        if (body && h->chunked)
            buf_str(out, "\r\n");
        request_sent(r, n);
        if (buf_len(out) >= SLICE_BYTES)
            spill(p, out);
    }
}

static void finish(struct peer *p, struct http_request *r, struct buf *out)
{
    struct h1 *h = p->h1;

    if (answer_has_body(r) && h->chunked)
        buf_str(out, "0\r\n\r\n");
    spill(p, out);
    if (answer_has_body(r) && h->left > 0)
        h->keep_alive = false; /* shorter than promised: the client must see that it broke off */
    h->r = NULL;
    request_done(r);
    if (!h->keep_alive) {
        if (h->eof)
            conn_close(p->conn);
        else
            peer_linger(p);
        return;
    }
    conn_resume(p->conn);
    enter(p, H1_HEAD, buf_len(&h->in) ? HEAD_MS : p->site->server->o.idle_ms);
    read_on(p);
}

static void upgrade(struct peer *p, struct http_request *r)
{
    struct buf *out = &p->site->out;
    struct h1 *h = p->h1;
    void (*take)(void *arg, struct conn *c) = r->take;

    write_head(p, r, out);
    spill(p, out);
    r->take = NULL;
    struct bytes *rest = buf_take(&h->in);
    h->r = NULL;
    void *arg = r->take_arg;
    request_done(r);
    conn_resume(p->conn);
    struct conn *c = peer_hand_over(p);
    take(arg, c);
    conn_unread(c, rest->at, rest->n);
    bytes_unref(rest);
}

void peer_h1_step(struct peer *p, struct http_request *r)
{
    if (r != p->h1->r)
        return;
    if (p->h1->eof && (r->take || r->ops))
        conn_abort(p->conn, NULL); /* nobody to hand over to, or to stream to: they hear of it */
    else if (r->take)
        upgrade(p, r);
    else
        peer_dirty(p);
}

void peer_h1_flush(struct peer *p)
{
    struct buf *out = &p->site->out;
    struct http_request *r = p->h1->r;

    if (!r || !r->started || p->h1->state != H1_BUSY)
        return;
    size_t before = r->out.bytes;
    bool moved = !r->head_sent;
    if (!r->head_sent)
        write_head(p, r, out);
    write_body(p, r, out);
    if (moved || r->out.bytes != before)
        peer_touch(p, STALL_MS);
    if (r->finishing && r->out.bytes == 0)
        finish(p, r, out);
    else
        spill(p, out);
}

void peer_h1_abort(struct peer *p, struct http_request *r)
{
    (void)r;
    conn_abort(p->conn, NULL);
}

/* --- time and the end --- */

void peer_h1_stop(struct peer *p)
{
    struct h1 *h = p->h1;

    h->stop = true;
    h->keep_alive = false;
    if (h->state == H1_HEAD && buf_len(&h->in) == 0) {
        conn_close(p->conn);
    } else if (h->r && h->r->started && h->r->ops) {
        http_stream_end(h->r); /* a watch never ends by itself */
    }
}

int64_t peer_h1_due_ms(const struct peer *p)
{
    const struct h1 *h = p->h1;

    switch (h->state) {
    case H1_HEAD:
        return buf_len(&h->in) ? p->since_ms + HEAD_MS : peer_idle_due_ms(p);
    case H1_LENGTH:
    case H1_CHUNKED:
        return p->since_ms + BODY_MS;
    case H1_BUSY:
        break;
    }
    bool stuck = conn_queued(p->conn) || (h->r && h->r->out.bytes);
    return stuck ? p->active_ms + STALL_MS : INT64_MAX;
}

void peer_h1_late(struct peer *p, int64_t now_ms)
{
    struct h1 *h = p->h1;

    (void)now_ms;
    if (h->state == H1_BUSY)
        conn_abort(p->conn, NULL);
    else if (h->state == H1_HEAD && buf_len(&h->in) == 0)
        conn_close(p->conn);
    else
        refuse(p, 408, "the request did not come in time");
}
