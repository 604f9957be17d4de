/* HTTP/2 of the client: an nghttp2 session that is fed bytes and gives bytes. */
#include "lib/http/client_int.h"

#include "lib/mem.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

struct h2 {
    nghttp2_session *session;
    struct h2_ops ops;
    void *arg;
    struct http_stream *first;
    int n;
    bool busy; /* inside the session: it must not be entered again */
    bool went_idle;
};

static void h2_add(struct h2 *h, struct http_stream *s)
{
    s->h2 = h;
    s->h2_prev = NULL;
    s->h2_next = h->first;
    if (h->first)
        h->first->h2_prev = s;
    h->first = s;
    h->n++;
}

static void h2_remove(struct h2 *h, struct http_stream *s)
{
    nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
    *(s->h2_prev ? &s->h2_prev->h2_next : &h->first) = s->h2_next;
    if (s->h2_next)
        s->h2_next->h2_prev = s->h2_prev;
    s->h2 = NULL;
    s->h2_next = s->h2_prev = NULL;
    h->n--;
    if (h->n == 0)
        h->went_idle = true;
}

static struct http_stream *stream_of(struct h2 *h, int32_t id)
{
    return nghttp2_session_get_stream_user_data(h->session, id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
                     size_t value_n, uint8_t flags, void *arg)
{
    struct http_stream *s = stream_of(arg, frame->hd.stream_id);

    (void)session, (void)flags;
    if (!s)
        return 0;
    s->incoming_bytes += name_n + value_n + 32;
    if (s->incoming_bytes > ANSWER_HEADER_BYTES || s->incoming.n >= ANSWER_HEADERS_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (name_n && name[0] == ':') {
        if (name_n == 7 && memcmp(name, ":status", 7) == 0 && value_n == 3)
            s->incoming_status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        return 0;
    }
    http_headers_add_n(&s->incoming, (struct slice){ (const char *)name, name_n }, (struct slice){ (const char *)value, value_n });
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2 *h = arg;
    struct http_stream *s;

    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        h->ops.on_goaway(h->arg);
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        h->ops.on_settings(h->arg);
    if (frame->hd.type != NGHTTP2_HEADERS || !(s = stream_of(h, frame->hd.stream_id)))
        return 0;
    if (s->got_headers)
        stream_trailers(s, &s->incoming);
    else if (s->incoming_status >= 200)
        stream_headers(s, s->incoming_status, &s->incoming);
    http_headers_clear(&s->incoming);
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *arg)
{
    struct http_stream *s = stream_of(arg, id);

    (void)flags;
    if (nghttp2_session_consume_connection(session, n) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (s && stream_data(s, (const char *)data, n) && nghttp2_session_consume_stream(session, id, n) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct h2 *h = arg;
    struct http_stream *s = stream_of(h, id);
    struct err err;

    (void)session;
    if (!s)
        return 0;
    h2_remove(h, s);
    if (code == NGHTTP2_NO_ERROR && s->got_headers) {
        stream_end(s, NULL);
        return 0;
    }
    if (code == NGHTTP2_REFUSED_STREAM)
        h->ops.on_goaway(h->arg); /* what is tried again takes a fresh connection */
    ERR_IGNORE(err_set(&err, code == NGHTTP2_REFUSED_STREAM ? ERR_UNAVAILABLE : ERR_IO, "stream error: %s", nghttp2_http2_strerror(code)));
    stream_fail(s, &err, code == NGHTTP2_REFUSED_STREAM);
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags, nghttp2_data_source *source,
                         void *arg)
{
    struct http_stream *s = stream_of(arg, id);
    size_t n;

    (void)session, (void)source;
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    n = s->body->n - s->body_sent;
    if (n > room)
        n = room;
    memcpy(to, s->body->at + s->body_sent, n);
    s->body_sent += n;
    if (s->body_sent == s->body->n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int make_session(struct h2 *h)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *option = NULL;
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, ANSWER_HEADER_BYTES },
    };
    int rc = nghttp2_session_callbacks_new(&cb);

    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_option_set_no_auto_window_update(option, 1);
        rc = nghttp2_session_client_new2(&h->session, cb, h, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    if (rc == 0)
        rc = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    if (rc == 0)
        rc = nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW);
    return rc;
}

int h2_new(const struct h2_ops *ops, void *arg, struct h2 **ret, struct err *err)
{
    struct h2 *h = MEM_NEW(struct h2);
    int rc;

    h->ops = *ops;
    h->arg = arg;
    rc = make_session(h);
    if (rc == 0 && h2_flush(h, err) == 0) {
        *ret = h;
        return 0;
    }
    h2_free(h);
    return rc ? err_set(err, ERR_IO, "HTTP/2 session: %s", nghttp2_strerror(rc)) : -(int)err->code;
}

void h2_free(struct h2 *h)
{
    if (!h)
        return;
    nghttp2_session_del(h->session);
    free(h);
}

bool h2_has_room(const struct h2 *h)
{
    return (uint32_t)h->n < nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) &&
           nghttp2_session_check_request_allowed(h->session);
}

int h2_open_streams(const struct h2 *h)
{
    return h->n;
}

/* Named by the connection, not by the request (RFC 9113 8.2.2). */
static bool of_connection(const char *name)
{
    static const char *const names[] = { "connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE };
}

int h2_start(struct h2 *h, struct http_stream *s, struct err *err)
{
    AUTO_FREE nghttp2_nv *nva = mem_alloc((s->headers.n + 5) * sizeof(*nva));
    nghttp2_data_provider body = { .read_callback = read_body };
    char length[24];
    size_t n = 0;

    nva[n++] = nv(":method", s->method);
    nva[n++] = nv(":scheme", s->client->url.scheme);
    nva[n++] = nv(":authority", s->host);
    nva[n++] = nv(":path", s->path);
    for (size_t i = 0; i < s->headers.n; i++)
        if (!of_connection(s->headers.at[i].name))
            nva[n++] = nv(s->headers.at[i].name, s->headers.at[i].value);
    if (s->body) {
        snprintf(length, sizeof(length), "%zu", s->body->n);
        nva[n++] = nv("content-length", length);
    }
    s->incoming_bytes = 0;
    s->id = nghttp2_submit_request(h->session, NULL, nva, n, s->body ? &body : NULL, s);
    if (s->id < 0)
        return err_set(err, ERR_IO, "HTTP/2 request: %s", nghttp2_strerror(s->id));
    h2_add(h, s);
    int rc = h2_flush(h, err);

    if (rc < 0)
        h2_remove(h, s);
    return rc;
}

int h2_flush(struct h2 *h, struct err *err)
{
    AUTO(buf) struct buf out = { 0 };

    if (h->busy)
        return 0;
    h->busy = true;
    while (h->ops.queued(h->arg) + buf_len(&out) < CONN_HIGH_BYTES) {
        const uint8_t *data = NULL;
        ssize_t n = nghttp2_session_mem_send(h->session, &data);

        if (n < 0) {
            h->busy = false;
            return err_set(err, ERR_IO, "HTTP/2 connection: %s", nghttp2_strerror((int)n));
        }
        if (n == 0)
            break;
        buf_add(&out, data, (size_t)n); /* small frames share a record */
    }
    h->busy = false;
    if (buf_len(&out))
        h->ops.send(h->arg, buf_at(&out), buf_len(&out));
    return 0;
}

int h2_feed(struct h2 *h, const char *data, size_t n, struct err *err)
{
    h->busy = true;
    h->went_idle = false;

    ssize_t used = nghttp2_session_mem_recv(h->session, (const uint8_t *)data, n);

    h->busy = false;
    if (used < 0)
        return err_set(err, ERR_IO, "HTTP/2 connection: %s", nghttp2_strerror((int)used));
    int rc = h2_flush(h, err);

    if (rc < 0)
        return rc;
    if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        return err_set(err, ERR_UNAVAILABLE, "HTTP/2 connection: ended by the peer");
    if (h->went_idle && h->n == 0)
        h->ops.on_idle(h->arg); /* the last touch: h may go with it */
    return 0;
}

static void flush_quietly(struct h2 *h)
{
    struct err err;

    ERR_IGNORE(h2_flush(h, &err)); /* a broken session shows at the next read */
}

void h2_cancel(struct h2 *h, struct http_stream *s)
{
    if (s->h2 != h)
        return;
    h2_remove(h, s);
    nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
    flush_quietly(h);
    if (h->n == 0 && !h->busy)
        h->ops.on_idle(h->arg);
}

void h2_credit(struct h2 *h, struct http_stream *s, size_t n)
{
    if (s->h2 != h || nghttp2_session_consume_stream(h->session, s->id, n) != 0)
        return;
    flush_quietly(h);
}

void h2_fail(struct h2 *h, const struct err *why)
{
    while (h->first) {
        struct http_stream *s = h->first;

        h2_remove(h, s);
        stream_fail(s, why, false);
    }
}

void h2_ping(struct h2 *h)
{
    nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
    flush_quietly(h);
}
