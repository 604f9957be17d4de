#include "lib/stream/spdy_int.h"

#include "lib/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum frame_type { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, HEADERS = 8, WINDOW_UPDATE = 9 };
enum { FLAG_FIN = 1, FLAG_UNIDIRECTIONAL = 2 };
enum { RST_PROTOCOL_ERROR = 1, RST_REFUSED_STREAM = 3, RST_CANCEL = 5 };
enum { VERSION = 3, HEAD_BYTES = 8, CREDIT_BYTES = 32 * 1024, DATA_MAX_BYTES = 0xffffff };

struct spdy_stream {
    struct spdy *conn;
    struct spdy_stream *next;
    uint32_t id;
    void *arg;
    bool in_ended, out_ended, paused, gone, silent;
    bool end_held; /* the peer's end came behind held data */
    struct buf held;
    uint32_t uncredited;
};

struct spdy {
    struct spdy_ops ops;
    void *arg;
    bool client, stopped, broken;
    uint32_t next_id, last_peer_id, next_ping, uncredited;
    struct spdy_stream *streams;
    int n_streams;
    size_t held_bytes;
    struct spdy_zip zip;
    /* the frame that is coming in */
    char head[HEAD_BYTES];
    size_t head_n;
    uint32_t left; /* of the payload */
    struct buf control;
};

struct spdy *spdy_new(bool client, const struct spdy_ops *ops, void *arg)
{
    struct spdy *c = MEM_NEW(struct spdy);

    c->ops = *ops;
    c->arg = arg;
    c->client = client;
    c->next_id = c->next_ping = client ? 1 : 2;
    return c;
}

/* --- output --- */

static void put_head(char at[HEAD_BYTES], enum frame_type type, uint8_t flags, size_t n)
{
    spdy_put32(at, 0x80000000u | VERSION << 16 | type);
    spdy_put32(at + 4, (uint32_t)flags << 24 | (uint32_t)n);
}

static void send_words(struct spdy *c, enum frame_type type, const uint32_t *words, size_t n)
{
    char frame[HEAD_BYTES + 2 * 4];

    assert(n <= 2);
    put_head(frame, type, 0, n * 4);
    for (size_t i = 0; i < n; i++)
        spdy_put32(frame + HEAD_BYTES + i * 4, words[i]);
    c->ops.send(c->arg, frame, HEAD_BYTES + n * 4);
}

static void send_reset(struct spdy *c, uint32_t id, uint32_t status)
{
    send_words(c, RST_STREAM, (uint32_t[]){ id, status }, 2);
}

static void send_data(struct spdy_stream *s, const char *data, size_t n, uint8_t flags)
{
    char frame[HEAD_BYTES + 4096];
    bool small = n <= sizeof(frame) - HEAD_BYTES; /* goes out as one record */

    spdy_put32(frame, s->id);
    spdy_put32(frame + 4, (uint32_t)flags << 24 | (uint32_t)n);
    if (small && n)
        memcpy(frame + HEAD_BYTES, data, n);
    s->conn->ops.send(s->conn->arg, frame, HEAD_BYTES + (small ? n : 0));
    if (!small)
        s->conn->ops.send(s->conn->arg, data, n);
}

static void send_headers(struct spdy *c, enum frame_type type, uint32_t id, const struct http_headers *h)
{
    AUTO(buf) struct buf frame = { 0 };
    size_t fixed = HEAD_BYTES + (type == SYN_STREAM ? 10 : 4);

    memset(buf_space(&frame, fixed), 0, fixed);
    buf_used(&frame, fixed);
    spdy_headers_write(&c->zip, h, &frame);
    put_head(frame.b->at, type, 0, buf_len(&frame) - HEAD_BYTES);
    spdy_put32(frame.b->at + HEAD_BYTES, id);
    c->ops.send(c->arg, buf_at(&frame), buf_len(&frame));
}

void spdy_ping(struct spdy *c)
{
    send_words(c, PING, &c->next_ping, 1);
    c->next_ping += 2;
}

void spdy_goaway(struct spdy *c)
{
    send_words(c, GOAWAY, (uint32_t[]){ c->last_peer_id, 0 }, 2);
}

/* --- streams --- */

static struct spdy_stream *find(struct spdy *c, uint32_t id)
{
    struct spdy_stream *s = c->streams;

    while (s && (s->id != id || s->gone))
        s = s->next;
    return s;
}

static struct spdy_stream *add(struct spdy *c, uint32_t id)
{
    struct spdy_stream *s = MEM_NEW(struct spdy_stream);

    s->conn = c;
    s->id = id;
    s->next = c->streams;
    c->streams = s;
    c->n_streams++;
    return s;
}

static void go_on_reading(struct spdy *c)
{
    bool stop = c->held_bytes > SPDY_HELD_BYTES;

    if (stop == c->stopped)
        return;
    c->stopped = stop;
    c->ops.pause(c->arg, stop);
}

/* Frees what is gone. Never while a callback may still touch it. */
static void sweep(struct spdy *c)
{
    for (struct spdy_stream **at = &c->streams; *at;) {
        struct spdy_stream *s = *at;

        if (!s->gone && !(s->in_ended && s->out_ended && !buf_len(&s->held))) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        c->n_streams--;
        c->held_bytes -= buf_len(&s->held);
        buf_clear(&s->held);
        if (!s->silent)
            c->ops.on_gone(c->arg, s);
        free(s);
        at = &c->streams; /* on_gone may have reset others */
    }
    go_on_reading(c);
}

void spdy_free(struct spdy *c)
{
    if (!c)
        return;
    for (struct spdy_stream *s = c->streams; s; s = s->next)
        s->gone = true;
    sweep(c);
    spdy_zip_clear(&c->zip);
    buf_clear(&c->control);
    free(c);
}

struct spdy_stream *spdy_open(struct spdy *c, const struct http_headers *headers)
{
    if (c->n_streams >= SPDY_STREAMS_MAX || c->next_id > 0x7ffffff0)
        return NULL;

    struct spdy_stream *s = add(c, c->next_id);

    c->next_id += 2;
    send_headers(c, SYN_STREAM, s->id, headers);
    return s;
}

void spdy_stream_set(struct spdy_stream *s, void *arg)
{
    s->arg = arg;
}

void *spdy_stream_arg(const struct spdy_stream *s)
{
    return s->arg;
}

void spdy_stream_write(struct spdy_stream *s, const void *data, size_t n)
{
    const char *at = data;

    while (n && !s->out_ended && !s->gone) {
        size_t part = n < DATA_MAX_BYTES ? n : DATA_MAX_BYTES;

        send_data(s, at, part, 0);
        at += part;
        n -= part;
    }
}

void spdy_stream_end(struct spdy_stream *s)
{
    if (s->out_ended || s->gone)
        return;
    s->out_ended = true;
    send_data(s, NULL, 0, FLAG_FIN);
}

void spdy_stream_reset(struct spdy_stream *s)
{
    if (s->gone)
        return;
    s->gone = s->silent = true;
    send_reset(s->conn, s->id, RST_CANCEL);
}

static void credit(struct spdy_stream *s, size_t n)
{
    struct spdy *c = s->conn;

    s->uncredited += (uint32_t)n;
    c->uncredited += (uint32_t)n;
    if (s->uncredited >= CREDIT_BYTES && !s->in_ended) {
        send_words(c, WINDOW_UPDATE, (uint32_t[]){ s->id, s->uncredited }, 2);
        s->uncredited = 0;
    }
    if (c->uncredited >= CREDIT_BYTES) {
        send_words(c, WINDOW_UPDATE, (uint32_t[]){ 0, c->uncredited }, 2);
        c->uncredited = 0;
    }
}

static void deliver(struct spdy_stream *s, const char *data, size_t n)
{
    if (s->gone || s->in_ended || n == 0)
        return;
    if (s->paused || buf_len(&s->held)) {
        buf_add(&s->held, data, n);
        s->conn->held_bytes += n;
        go_on_reading(s->conn);
        return;
    }
    s->conn->ops.on_data(s->conn->arg, s, data, n);
    credit(s, n);
}

static void peer_ended(struct spdy_stream *s)
{
    if (s->in_ended || s->gone)
        return;
    if (buf_len(&s->held)) {
        s->end_held = true;
        return;
    }
    s->in_ended = true;
    s->conn->ops.on_end(s->conn->arg, s);
}

void spdy_stream_pause(struct spdy_stream *s)
{
    s->paused = true;
}

void spdy_stream_resume(struct spdy_stream *s)
{
    struct spdy *c = s->conn;

    if (!s->paused || s->gone)
        return;
    s->paused = false;
    if (buf_len(&s->held)) {
        struct bytes *b = buf_take(&s->held);

        c->held_bytes -= b->n;
        deliver(s, b->at, b->n);
        bytes_unref(b);
    }
    if (s->end_held && !s->paused)
        peer_ended(s);
    go_on_reading(c);
}

/* --- input --- */

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_IO, "SPDY: malformed %s frame", what);
}

static int on_syn_stream(struct spdy *c, const char *at, size_t n, uint8_t flags, struct err *err)
{
    struct http_headers headers = { 0 }, none = { 0 };
    int rc = n < 10 ? bad(err, "SYN_STREAM") : spdy_headers_read(&c->zip, at + 10, n - 10, &headers, err);

    if (rc < 0)
        return rc;
    uint32_t id = spdy_get32(at) & 0x7fffffff;

    if (id == 0 || id <= c->last_peer_id || (id & 1) == (c->client ? 1 : 0)) {
        send_reset(c, id, RST_PROTOCOL_ERROR);
    } else if (c->n_streams >= SPDY_STREAMS_MAX) {
        send_reset(c, id, RST_REFUSED_STREAM);
    } else {
        struct spdy_stream *s = add(c, id);

        c->last_peer_id = id;
        s->out_ended = flags & FLAG_UNIDIRECTIONAL;
        c->ops.on_stream(c->arg, s, &headers);
        if (!s->gone)
            send_headers(c, SYN_REPLY, id, &none);
        if (flags & FLAG_FIN)
            peer_ended(s);
    }
    http_headers_clear(&headers);
    return 0;
}

/* A reply or more headers: kept in step with the compressor, else of no use here. */
static int on_more_headers(struct spdy *c, const char *at, size_t n, uint8_t flags, struct err *err)
{
    struct http_headers headers = { 0 };
    int rc = n < 4 ? bad(err, "SYN_REPLY") : spdy_headers_read(&c->zip, at + 4, n - 4, &headers, err);

    if (rc < 0)
        return rc;
    struct spdy_stream *s = find(c, spdy_get32(at) & 0x7fffffff);

    http_headers_clear(&headers);
    if (s && flags & FLAG_FIN)
        peer_ended(s);
    return 0;
}

static int on_control(struct spdy *c, struct err *err)
{
    const char *at = buf_at(&c->control);
    size_t n = buf_len(&c->control);
    uint8_t flags = (uint8_t)c->head[4];
    struct spdy_stream *s;

    switch (spdy_get32(c->head) & 0xffff) {
    case SYN_STREAM:
        return on_syn_stream(c, at, n, flags, err);
    case SYN_REPLY:
    case HEADERS:
        return on_more_headers(c, at, n, flags, err);
    case RST_STREAM:
        if (n != 8)
            return bad(err, "RST_STREAM");
        s = find(c, spdy_get32(at) & 0x7fffffff);
        if (s)
            s->gone = true;
        return 0;
    case PING:
        if (n != 4)
            return bad(err, "PING");
        if ((spdy_get32(at) & 1) != (c->client ? 1u : 0u)) /* the peer's own: send it back */
            send_words(c, PING, (uint32_t[]){ spdy_get32(at) }, 1);
        return 0;
    case GOAWAY:
        if (n != 8)
            return bad(err, "GOAWAY");
        c->ops.on_goaway(c->arg);
        return 0;
    default: /* SETTINGS, WINDOW_UPDATE and what is unknown: nothing depends on them */
        return 0;
    }
}

static int head_done(struct spdy *c, struct err *err)
{
    uint32_t first = spdy_get32(c->head);

    c->left = spdy_get32(c->head + 4) & 0xffffff;
    buf_cut(&c->control, 0);
    if (!(first & 0x80000000u))
        return 0;
    if ((first >> 16 & 0x7fff) != VERSION)
        return err_set(err, ERR_IO, "SPDY: version %u, wanted 3", first >> 16 & 0x7fff);
    if (c->left > SPDY_CONTROL_BYTES)
        return err_set(err, ERR_IO, "SPDY: control frame over %d bytes", SPDY_CONTROL_BYTES);
    return 0;
}

static int frame_done(struct spdy *c, struct err *err)
{
    uint32_t first = spdy_get32(c->head);
    int rc = 0;

    c->head_n = 0;
    if (first & 0x80000000u) {
        rc = on_control(c, err);
    } else if (c->head[4] & FLAG_FIN) {
        struct spdy_stream *s = find(c, first);

        if (s)
            peer_ended(s);
    }
    sweep(c);
    return rc;
}

static void take_payload(struct spdy *c, const char *data, size_t n)
{
    uint32_t first = spdy_get32(c->head);
    struct spdy_stream *s;

    c->left -= (uint32_t)n;
    if (first & 0x80000000u)
        buf_add(&c->control, data, n);
    else if ((s = find(c, first)))
        deliver(s, data, n);
}

int spdy_feed(struct spdy *c, const char *data, size_t n, struct err *err)
{
    int rc = c->broken ? err_set(err, ERR_IO, "SPDY: connection broken") : 0;

    while (rc == 0 && n) {
        size_t take;

        if (c->head_n < HEAD_BYTES) {
            take = HEAD_BYTES - c->head_n < n ? HEAD_BYTES - c->head_n : n;
            memcpy(c->head + c->head_n, data, take);
            c->head_n += take;
            if (c->head_n == HEAD_BYTES)
                rc = head_done(c, err);
        } else {
            take = c->left < n ? c->left : n;
            take_payload(c, data, take);
        }
        data += take;
        n -= take;
        if (rc == 0 && c->head_n == HEAD_BYTES && c->left == 0)
            rc = frame_done(c, err);
    }
    if (rc < 0)
        c->broken = true;
    return rc;
}
