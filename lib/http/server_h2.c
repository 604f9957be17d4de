/*
 * HTTP/2 over nghttp2. Payloads go from the answer's pieces into one scratch buffer a flush, and from there into TLS
 * records: headers and body of a small answer share a record, and many streams' events share a system call.
 */
#include "lib/http/server_int.h"

#include "lib/log.h"
#include "lib/mem.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

enum { STREAM_WINDOW_BYTES = 256 * 1024, CONNECTION_WINDOW_BYTES = 1024 * 1024, NV_MAX = 64 };
enum { RESETS_BURST = 1000, RESETS_A_SECOND = 33 }; /* streams the client opens and resets (CVE-2023-44487) */

struct h2 {
    nghttp2_session *session;
    bool stop, final; /* GOAWAY was announced; was said for good */
    bool calm;        /* too many resets */
    int64_t resets, resets_at_ms; /* a bucket that leaks RESETS_A_SECOND */
};

/* --- requests in --- */

static struct http_request *stream_request(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct peer *p = arg;

    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (p->identity->unfinished >= UNFINISHED_MAX) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    struct http_request *r = request_new(p);
    r->stream_id = frame->hd.stream_id;
    request_receiving(r);
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, r);
    peer_touch(p, BODY_MS);
    return 0;
}

static void take_pseudo(struct http_request *r, struct slice name, struct slice value)
{
    char **to = slice_is(name, ":method")      ? &r->method
                : slice_is(name, ":path")      ? &r->target
                : slice_is(name, ":authority") ? &r->host
                                               : NULL;
    if (to && !*to)
        *to = slice_dup(value);
}

/* Crumbs of a cookie are one header to whoever asks (RFC 9113 8.2.3). */
static void take_cookie(struct http_request *r, struct slice value)
{
    const char *so_far = http_headers_get(&r->headers, "cookie");

    if (!so_far) {
        http_headers_add_n(&r->headers, SLICE_LIT("cookie"), value);
        return;
    }
    AUTO_FREE char *joined = mem_printf("%s; %.*s", so_far, (int)value.n, value.at);
    http_headers_set(&r->headers, "cookie", joined);
}

static struct slice slice_of_rcbuf(nghttp2_rcbuf *b)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(b);

    return (struct slice){ (const char *)v.base, v.len };
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *arg)
{
    struct http_request *r = stream_request(session, frame->hd.stream_id);
    struct slice n = slice_of_rcbuf(name), v = slice_of_rcbuf(value);

    (void)flags, (void)arg;
    if (!r || r->refused || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers are not kept */
    r->head_bytes += n.n + v.n + 32;
    if (r->head_bytes > H1_HEAD_BYTES || r->headers.n == H1_HEADERS_MAX) {
        request_refuse(r, 431, "request header fields too large");
        return 0;
    }
    if (n.n && n.at[0] == ':')
        take_pseudo(r, n, v);
    else if (slice_is(n, "cookie"))
        take_cookie(r, v);
    else
        http_headers_add_n(&r->headers, n, v);
    return 0;
}

static void check_head(struct peer *p, struct http_request *r)
{
    const char *length = http_headers_get(&r->headers, "content-length");

    if (!r->host)
        r->host = mem_strdup(http_headers_get(&r->headers, "host"));
    if (!r->target) /* CONNECT has none; over HTTP/2 there is no connection of its own to hand over */
        r->target = mem_strdup(r->host ? r->host : "");
    if (length && strtoull(length, NULL, 10) > p->site->server->o.body_max_bytes)
        request_refuse(r, 413, "request body too large");
    else if (r->receiving && p->site->upload_bytes > UPLOADS_MAX_BYTES)
        request_refuse(r, 429, "too many request bodies are being received");
}

/* nghttp2's own limit only says GOAWAY, after all that came in one go was taken. */
static int count_reset(struct peer *p)
{
    struct h2 *h = p->h2;
    int64_t now_ms = peer_now(p), leaked = (now_ms - h->resets_at_ms) * RESETS_A_SECOND / 1000;

    if (leaked > 0) {
        h->resets = leaked < h->resets ? h->resets - leaked : 0;
        h->resets_at_ms = now_ms;
    }
    h->calm = ++h->resets > RESETS_BURST;
    return h->calm ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct peer *p = arg;
    struct http_request *r;

    if (frame->hd.type == NGHTTP2_RST_STREAM)
        return count_reset(p);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    r = stream_request(session, frame->hd.stream_id);
    if (!r || r->refused || r->info.body)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        check_head(p, r);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM && !r->refused)
        request_dispatch(r);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *arg)
{
    struct peer *p = arg;
    struct http_request *r = stream_request(session, id);

    (void)flags;
    /* Bodies are bounded and go into memory as a whole: what came is consumed. */
    nghttp2_session_consume(session, id, n);
    if (!r || r->refused || r->info.body)
        return 0;
    if (n > p->site->server->o.body_max_bytes - buf_len(&r->body)) {
        request_refuse(r, 413, "request body too large");
    } else {
        buf_add(&r->body, data, n);
        request_body_grew(r, n);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct peer *p = arg;
    struct http_request *r = stream_request(session, id);

    (void)code;
    if (!r)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    request_gone(r);
    if (p->n_requests == 0)
        peer_touch(p, p->site->server->o.idle_ms);
    return 0;
}

/* --- answers out --- */

static bool full(const struct peer *p)
{
    return conn_queued(p->conn) + buf_len(&p->site->out) > CONN_HIGH_BYTES;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t n, int flags, void *arg)
{
    struct peer *p = arg;

    (void)session, (void)flags;
    if (full(p))
        return NGHTTP2_ERR_WOULDBLOCK;
    buf_add(&p->site->out, data, n);
    return (ssize_t)n;
}

/* How much of the stream's next frame there is; the bytes themselves go in on_send_data. */
static ssize_t on_read_answer(nghttp2_session *session, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
                              nghttp2_data_source *source, void *arg)
{
    struct http_request *r = source->ptr;

    (void)session, (void)id, (void)to, (void)arg;
    if (r->out.bytes == 0 && !r->finishing)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (r->out.bytes > n)
        return (ssize_t)n;
    if (r->finishing)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)r->out.bytes;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *arg)
{
    struct peer *p = arg;
    struct http_request *r = source->ptr;
    struct buf *out = &p->site->out;

    (void)session, (void)frame; /* no padding: select_padding is not set */
    if (full(p))
        return NGHTTP2_ERR_WOULDBLOCK;
    buf_add(out, head, 9);
    while (n) {
        struct slice s = pieces_head(&r->out);
        size_t take = s.n < n ? s.n : n;

        buf_add(out, s.at, take);
        request_sent(r, take);
        n -= take;
    }
    p->active_ms = peer_now(p);
    return 0;
}

/* The answer is out while the client still sends its body: it may stop. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    bool last = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
                frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    if (last && nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static nghttp2_nv nv_of(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static size_t answer_nv(struct peer *p, struct http_request *r, nghttp2_nv nv[NV_MAX], char status[16], char length[24])
{
    size_t n = 0;

    snprintf(status, 16, "%d", r->status);
    nv[n++] = nv_of(":status", status);
    for (size_t i = 0; i < r->answer.n && n < NV_MAX - 2; i++) {
        char *value = r->answer.at[i].value;

        if (answer_skips(r, r->answer.at[i].name))
            continue;
        for (char *c = value; *c; c++)
            if ((unsigned char)*c < ' ' && *c != '\t')
                *c = ' ';
        nv[n++] = nv_of(r->answer.at[i].name, value);
    }
    if (!http_headers_get(&r->answer, "date"))
        nv[n++] = nv_of("date", site_date(p->site));
    bool head = strcmp(r->method, "HEAD") == 0 && !http_headers_get(&r->answer, "content-length");
    if (r->whole && (answer_has_body(r) || head)) {
        snprintf(length, 24, "%zu", r->body_bytes);
        nv[n++] = nv_of("content-length", length);
    }
    return n;
}

static void send_head(struct peer *p, struct http_request *r)
{
    nghttp2_nv nv[NV_MAX];
    char status[16], length[24];
    nghttp2_data_provider body = { .source.ptr = r, .read_callback = on_read_answer };
    size_t n = answer_nv(p, r, nv, status, length);
    bool none = !answer_has_body(r) || (r->whole && r->body_bytes == 0);

    r->head_sent = true;
    if (none && r->out.bytes) { /* HEAD */
        atomic_fetch_sub(&r->queued, r->out.bytes);
        atomic_fetch_sub(&p->site->server->bytes_queued, (int64_t)r->out.bytes);
        pieces_clear(&r->out);
    }
    if (nghttp2_submit_response(p->h2->session, r->stream_id, nv, n, none ? NULL : &body) != 0)
        nghttp2_submit_rst_stream(p->h2->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_INTERNAL_ERROR);
}

void peer_h2_step(struct peer *p, struct http_request *r)
{
    if (r->take) {
        /* No connection of its own: clients ask for upgrades over HTTP/1.1 only. */
        void (*take)(void *arg, struct conn *c) = TAKE(r->take);

        take(r->take_arg, NULL);
        r->status = 501;
        r->whole = true;
        r->finishing = true;
        http_headers_clear(&r->answer);
    }
    if (!r->head_sent)
        send_head(p, r);
    else
        nghttp2_session_resume_data(p->h2->session, r->stream_id); /* fails when it isn't deferred: nothing to resume */
    peer_dirty(p);
}

void peer_h2_abort(struct peer *p, struct http_request *r)
{
    nghttp2_submit_rst_stream(p->h2->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_INTERNAL_ERROR);
    peer_dirty(p);
}

/* Something is to be sent and isn't taken. */
static bool stuck(const struct peer *p)
{
    if (conn_queued(p->conn))
        return true;
    for (struct http_request *r = p->requests; r; r = r->next)
        if (r->out.bytes)
            return true;
    return false;
}

/* After the shutdown notice was on its way: now the last stream's number is final. */
static void say_final_goaway(struct peer *p)
{
    struct h2 *h = p->h2;

    if (!h->stop || h->final || p->n_requests)
        return;
    h->final = true;
    nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
}

void peer_h2_flush(struct peer *p)
{
    struct h2 *h = p->h2;
    struct buf *out = &p->site->out;

    say_final_goaway(p);
    int rc = nghttp2_session_send(h->session);
    if (rc == 0 && p->n_requests == 0 && h->stop && !h->final) {
        say_final_goaway(p);
        rc = nghttp2_session_send(h->session);
    }
    if (buf_len(out)) {
        conn_write(p->conn, buf_at(out), buf_len(out));
        peer_touch(p, p->n_requests ? STALL_MS : p->site->server->o.idle_ms);
    } else if (stuck(p)) {
        site_arm(p->site, p->active_ms + STALL_MS);
    }
    buf_cut(out, 0);
    if (rc != 0)
        conn_abort(p->conn, NULL);
    else if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        conn_close(p->conn);
}

/* --- the session --- */

void peer_h2_data(struct peer *p, const char *data, size_t n)
{
    ssize_t rc = nghttp2_session_mem_recv(p->h2->session, (const uint8_t *)data, n);

    if (rc < 0) { /* what the peer did wrong is in a GOAWAY that is still sent */
        log_debug("http2 connection failed", "peer=%s err=%s", p->identity->address, log_q(nghttp2_strerror((int)rc)));
        nghttp2_session_terminate_session(p->h2->session, p->h2->calm ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
        peer_h2_flush(p);
        conn_close(p->conn);
        return;
    }
    peer_dirty(p);
}

static nghttp2_session *session_new(struct peer *p)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    nghttp2_session *session = NULL;
    int rc = nghttp2_session_callbacks_new(&cb);

    assert(rc == 0); /* only memory can be missing */
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    rc = nghttp2_option_new(&option);
    assert(rc == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    rc = nghttp2_session_server_new2(&session, cb, p, option);
    assert(rc == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    return session;
}

void peer_h2_new(struct peer *p)
{
    static const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H1_HEAD_BYTES },
    };

    p->state = PEER_H2;
    p->active_ms = peer_now(p);
    p->h2 = MEM_NEW(struct h2);
    p->h2->session = session_new(p);
    int rc = nghttp2_submit_settings(p->h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    assert(rc == 0);
    rc = nghttp2_session_set_local_window_size(p->h2->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES);
    assert(rc == 0);
    peer_dirty(p);
}

void peer_h2_free(struct h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    free(h);
}

void peer_h2_stop(struct peer *p)
{
    p->h2->stop = true;
    nghttp2_submit_shutdown_notice(p->h2->session);
    for (struct http_request *r = p->requests; r; r = r->next)
        if (r->started && r->ops)
            http_stream_end(r); /* a watch never ends by itself */
    peer_dirty(p);
}

int64_t peer_h2_due_ms(const struct peer *p)
{
    int64_t due = INT64_MAX;

    if (p->n_requests == 0)
        return peer_idle_due_ms(p);
    if (stuck(p))
        due = p->active_ms + STALL_MS;
    for (struct http_request *r = p->n_receiving ? p->requests : NULL; r; r = r->next)
        if (r->receiving && r->born_ms + BODY_MS < due)
            due = r->born_ms + BODY_MS;
    return due;
}

void peer_h2_late(struct peer *p, int64_t now_ms)
{
    if (p->n_requests == 0) {
        nghttp2_session_terminate_session(p->h2->session, NGHTTP2_NO_ERROR);
        peer_h2_flush(p);
        conn_close(p->conn);
        return;
    }
    if (stuck(p) && p->active_ms + STALL_MS <= now_ms) {
        conn_abort(p->conn, NULL);
        return;
    }
    for (struct http_request *r = p->requests, *next; r; r = next) {
        next = r->next;
        if (r->receiving && r->born_ms + BODY_MS <= now_ms)
            request_refuse(r, 408, "the request did not come in time");
    }
}
