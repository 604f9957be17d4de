/* SPDY/3.1 framing: frames as moby/spdystream writes them, two ends against each other, limits. */
#include "lib/mem.h"
#include "lib/stream/spdy_int.h"
#include "tests/unit/test.h"

/* Written by moby/spdystream: streams 1 error, 3 stdin, 5 stdout; "hello" on 3; PING 1; the end of 3. */
static const unsigned char from_go[] = {
    0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x29, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x78, 0xf9,
    0xe3, 0xc6, 0xa7, 0xc2, 0x62, 0x60, 0x60, 0x60, 0x04, 0xa7, 0xb3, 0x92, 0xa2, 0xd4, 0xc4, 0x5c, 0x68, 0x51, 0xc2, 0x9a,
    0x0a, 0x0a, 0x68, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x17, 0x00, 0x00, 0x00,
    0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc2, 0x2e, 0x55, 0x5c, 0x92, 0x92, 0x99, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff,
    0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x19, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc2, 0x2a,
    0xc5, 0x56, 0x5c, 0x92, 0x92, 0x5f, 0x5a, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
    0x05, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x80, 0x03, 0x00, 0x06, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    0x00, 0x03, 0x01, 0x00, 0x00, 0x00,
};

struct end {
    struct spdy *spdy;
    struct buf out, log;
    bool stopped, refuse, hold; /* hold: new streams are paused */
    struct spdy_stream *last;
};

static void send_out(void *arg, const void *data, size_t n)
{
    buf_add(&((struct end *)arg)->out, data, n);
}

static void pause_in(void *arg, bool stop)
{
    ((struct end *)arg)->stopped = stop;
}

static void on_stream(void *arg, struct spdy_stream *s, const struct http_headers *headers)
{
    struct end *e = arg;
    const char *type = http_headers_get(headers, "streamtype");

    buf_printf(&e->log, "open %s\n", type ? type : "?");
    spdy_stream_set(s, (void *)(type && strcmp(type, "stdin") == 0 ? "in" : "other"));
    e->last = s;
    if (e->refuse)
        spdy_stream_reset(s);
    else if (e->hold)
        spdy_stream_pause(s);
}

static void on_data(void *arg, struct spdy_stream *s, const char *data, size_t n)
{
    const char *name = spdy_stream_arg(s);

    if (n > 100)
        buf_printf(&((struct end *)arg)->log, "data %s %zu\n", name ? name : "mine", n);
    else
        buf_printf(&((struct end *)arg)->log, "data %s %.*s\n", name ? name : "mine", (int)n, data);
}

static void on_end(void *arg, struct spdy_stream *s)
{
    const char *name = spdy_stream_arg(s);

    buf_printf(&((struct end *)arg)->log, "end %s\n", name ? name : "mine");
}

static void on_gone(void *arg, struct spdy_stream *s)
{
    const char *name = spdy_stream_arg(s);

    buf_printf(&((struct end *)arg)->log, "gone %s\n", name ? name : "mine");
}

static void on_goaway(void *arg)
{
    buf_str(&((struct end *)arg)->log, "goaway\n");
}

static const struct spdy_ops ops = { send_out, pause_in, on_stream, on_data, on_end, on_gone, on_goaway };

static void start(struct end *e, bool client)
{
    *e = (struct end){ 0 };
    e->spdy = spdy_new(client, &ops, e);
}

static void stop(struct end *e)
{
    spdy_free(e->spdy);
    buf_clear(&e->out);
    buf_clear(&e->log);
}

/* Gives what `from` wrote to `to`, in pieces. */
static int move(struct end *from, struct end *to, size_t step)
{
    struct bytes *b = buf_take(&from->out);
    struct err err;
    int rc = 0;

    for (size_t at = 0; rc == 0 && at < b->n; at += step)
        rc = spdy_feed(to->spdy, b->at + at, b->n - at < step ? b->n - at : step, &err);
    bytes_unref(b);
    return rc;
}

TEST(spdy_frames_of_go)
{
    for (size_t step = 1; step < 300; step = step * 2 + 1) {
        struct end server, go = { 0 };

        start(&server, false);
        buf_add(&go.out, from_go, sizeof(from_go));
        CHECK(move(&go, &server, step) == 0);
        if (step >= 5)
            CHECK(strstr(buf_at(&server.log), "data in ")); /* a frame's data may come in pieces */
        CHECK(strncmp(buf_at(&server.log), "open error\nopen stdin\nopen stdout\ndata in ", 41) == 0);
        CHECK(strstr(buf_at(&server.log), "end in\n"));
        /* Three replies, and the ping comes back as it was. */
        static const char pong[] = "\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01";

        CHECK(buf_len(&server.out) > 12);
        CHECK(memcmp(buf_at(&server.out) + buf_len(&server.out) - 12, pong, 12) == 0);
        CHECK(memcmp(buf_at(&server.out), "\x80\x03\x00\x02", 4) == 0);
        stop(&server);
    }
}

static struct spdy_stream *open_typed(struct end *e, const char *type)
{
    struct http_headers h = { 0 };

    http_headers_add(&h, "streamtype", type);
    struct spdy_stream *s = spdy_open(e->spdy, &h);

    http_headers_clear(&h);
    return s;
}

TEST(spdy_both_ends)
{
    struct end client, server;

    start(&client, true);
    start(&server, false);
    struct spdy_stream *in = open_typed(&client, "stdin");

    spdy_stream_write(in, "abc", 3);
    spdy_stream_end(in);
    spdy_stream_write(in, "nothing more", 12);
    CHECK(move(&client, &server, 7) == 0);
    CHECK(strstr(buf_at(&server.log), "end in\n"));
    spdy_stream_write(server.last, "def", 3);
    spdy_stream_end(server.last);
    CHECK(move(&server, &client, 1000) == 0);
    CHECK_STR(buf_at(&client.log), "data mine def\nend mine\ngone mine\n");

    struct spdy_stream *out = open_typed(&client, "stdout");

    server.refuse = true;
    CHECK(move(&client, &server, 1000) == 0);
    buf_clear(&client.log);
    CHECK(move(&server, &client, 1000) == 0);
    CHECK_STR(buf_at(&client.log), "gone mine\n"); /* refused */
    (void)out;
    spdy_goaway(server.spdy);
    spdy_ping(client.spdy);
    CHECK(move(&server, &client, 3) == 0);
    CHECK(strstr(buf_at(&client.log), "goaway"));
    stop(&client);
    stop(&server);
}

TEST(spdy_backpressure)
{
    enum { PART = 20000, PARTS = 30 };
    AUTO_FREE char *data = mem_zalloc(PART);
    struct end client, server;

    start(&client, true);
    start(&server, false);
    server.hold = true;
    struct spdy_stream *in = open_typed(&client, "stdin");

    for (int i = 0; i < PARTS; i++) {
        spdy_stream_write(in, data, PART);
        CHECK(move(&client, &server, 30000) == 0);
        CHECK_INT(server.stopped, (i + 1) * PART > SPDY_HELD_BYTES); /* reading stops one piece past the limit */
    }
    spdy_stream_end(in);
    CHECK(move(&client, &server, 30000) == 0);
    CHECK_STR(buf_at(&server.log), "open stdin\n");
    buf_clear(&server.out);
    spdy_stream_resume(server.last);
    CHECK_STR(buf_at(&server.log), "open stdin\ndata in 600000\nend in\n");
    CHECK(!server.stopped);
    /* Credit for what was consumed: on the stream and on the connection. */
    CHECK_INT((int64_t)buf_len(&server.out), 32);
    CHECK_INT(spdy_get32(buf_at(&server.out) + 12), PART * PARTS);
    CHECK_INT(spdy_get32(buf_at(&server.out) + 16 + 8), 0);
    stop(&client);
    stop(&server);
}

TEST(spdy_refuses)
{
    static const struct {
        const char *what, *frame;
        size_t n;
    } bad[] = {
        { "version", "\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01", 12 },
        { "length", "\x80\x03\x00\x01\x00\x01\x00\x01", 8 },
        { "short SYN_STREAM", "\x80\x03\x00\x01\x00\x00\x00\x02\x00\x00", 10 },
        { "headers", "\x80\x03\x00\x01\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00zz", 20 },
        { "ping", "\x80\x03\x00\x06\x00\x00\x00\x05\x00\x00\x00\x01\x00", 13 },
        { "reset", "\x80\x03\x00\x03\x00\x00\x00\x04\x00\x00\x00\x01", 12 },
        { "goaway", "\x80\x03\x00\x07\x00\x00\x00\x00", 8 },
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct end server;
        struct err err;

        start(&server, false);
        if (spdy_feed(server.spdy, bad[i].frame, bad[i].n, &err) != -ERR_IO) {
            fprintf(stderr, "%s was taken\n", bad[i].what);
            exit(1);
        }
        CHECK_INT(spdy_feed(server.spdy, "x", 1, &err), -ERR_IO);
        stop(&server);
    }
}

TEST(spdy_limits)
{
    struct end client, server;

    start(&client, true);
    start(&server, false);
    for (int i = 0; i < SPDY_STREAMS_MAX; i++)
        CHECK(open_typed(&client, "x"));
    CHECK(!open_typed(&client, "x"));
    CHECK(open_typed(&server, "y")); /* so that the client's last is one too many for the server */
    CHECK(move(&client, &server, 1000) == 0);
    CHECK(memcmp(buf_at(&server.out) + buf_len(&server.out) - 16, "\x80\x03\0\x03\0\0\0\x08\0\0\x07\xcf\0\0\0\x03", 16) == 0); /* 1999 refused */
    CHECK_INT((int64_t)buf_len(&server.log), 7 * (SPDY_STREAMS_MAX - 1));
    stop(&client);
    stop(&server);

    /* Too many headers; a header block that unpacks to more than 64 KB. */
    struct http_headers h = { 0 };
    struct err err;

    for (int over = 0; over <= 1; over++) {
        struct spdy_zip z = { 0 }, back = { 0 };
        struct http_headers got = { 0 };
        AUTO(buf) struct buf packed = { 0 };

        while (h.n < SPDY_HEADERS_MAX + (size_t)over)
            http_headers_add(&h, "a", "b");
        spdy_headers_write(&z, &h, &packed);
        CHECK_INT(spdy_headers_read(&back, buf_at(&packed), buf_len(&packed), &got, &err), over ? -ERR_IO : 0);
        CHECK_INT((int64_t)got.n, over ? 0 : SPDY_HEADERS_MAX);
        http_headers_clear(&got);
        spdy_zip_clear(&z);
        spdy_zip_clear(&back);
    }
    http_headers_clear(&h);

    AUTO_FREE char *big = mem_alloc(70001);
    struct spdy_zip z = { 0 }, back = { 0 };
    AUTO(buf) struct buf packed = { 0 };

    memset(big, 'x', 70000);
    big[70000] = '\0';
    http_headers_add(&h, "a", big);
    spdy_headers_write(&z, &h, &packed);
    CHECK(buf_len(&packed) < 1000);
    CHECK_INT(spdy_headers_read(&back, buf_at(&packed), buf_len(&packed), &h, &err), -ERR_IO);
    http_headers_clear(&h);
    spdy_zip_clear(&z);
    spdy_zip_clear(&back);
}
