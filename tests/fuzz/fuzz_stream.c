/* Bytes of a client: first byte chooses; then SPDY frames, WebSocket channel messages, or terminal sizes. */
#include "lib/mem.h"
#include "lib/stream/channel.h"
#include "lib/stream/spdy.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct world {
    struct spdy *spdy;
    size_t out, in, fed;
    int open, gone, n;
};

static void w_send(void *arg, const void *data, size_t n)
{
    (void)data;
    ((struct world *)arg)->out += n;
}

static void w_pause(void *arg, bool stop)
{
    (void)arg, (void)stop;
}

/* Every kind of owner: refuses, pauses, answers. */
static void w_stream(void *arg, struct spdy_stream *s, const struct http_headers *headers)
{
    struct world *w = arg;

    assert(headers->n <= SPDY_HEADERS_MAX);
    spdy_stream_set(s, w);
    w->n++;
    if (w->n % 4 == 1) {
        spdy_stream_reset(s);
        return;
    }
    w->open++;
    if (w->n % 4 == 2)
        spdy_stream_pause(s);
    if (w->n % 4 == 3)
        spdy_stream_end(s);
}

static void w_data(void *arg, struct spdy_stream *s, const char *data, size_t n)
{
    struct world *w = arg;

    assert(spdy_stream_arg(s) == w && n > 0);
    w->in += n;
    assert(w->in <= w->fed);
    spdy_stream_write(s, data, n);
}

static void w_end(void *arg, struct spdy_stream *s)
{
    (void)arg;
    spdy_stream_end(s);
}

static void w_gone(void *arg, struct spdy_stream *s)
{
    (void)s;
    ((struct world *)arg)->gone++;
}

static void w_goaway(void *arg)
{
    (void)arg;
}

static void fuzz_spdy(const char *data, size_t n)
{
    static const struct spdy_ops ops = { w_send, w_pause, w_stream, w_data, w_end, w_gone, w_goaway };
    struct world w = { .fed = n };
    size_t step = n ? (unsigned char)data[0] % 64 + 1 : 1;
    struct err err;

    w.spdy = spdy_new(false, &ops, &w);
    for (size_t at = 0; at < n; at += step)
        if (spdy_feed(w.spdy, data + at, n - at < step ? n - at : step, &err) < 0)
            break;
    spdy_free(w.spdy);
    assert(w.gone == w.open);
}

static void fuzz_channel(const char *data, size_t n)
{
    for (int kind = 0; kind < 3; kind++) {
        struct channel_codec codec = { .base64 = kind == 1, .v5 = kind == 2 };
        AUTO(buf) struct buf scratch = { 0 }, again = { 0 };
        struct channel_message m;
        struct err err;

        if (channel_decode(&codec, data, n, &scratch, &m, &err) < 0 || m.channel < 0 || m.close)
            continue;
        channel_encode(&codec, m.channel, m.data.at, m.data.n, &again);
        if (!codec.base64)
            assert(buf_len(&again) == n && memcmp(buf_at(&again), data, n) == 0);
    }
}

static void fuzz_resize(const char *data, size_t n)
{
    AUTO(buf) struct buf pending = { 0 };
    struct err err;
    int cols = 0, rows = 0;

    buf_add(&pending, data, n);
    while (channel_resize(&pending, &cols, &rows, &err) > 0)
        assert(cols >= 0 && cols <= 65535 && rows >= 0 && rows <= 65535);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *text = (const char *)data + 1;

    if (n == 0)
        return 0;
    if (data[0] % 3 == 0)
        fuzz_spdy(text, n - 1);
    else if (data[0] % 3 == 1)
        fuzz_channel(text, n - 1);
    else
        fuzz_resize(text, n - 1);
    return 0;
}
