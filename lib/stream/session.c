/* exec and attach: one session over either framing. */
#include "lib/stream/stream_int.h"

#include "lib/mem.h"
#include "lib/stream/session_int.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

static const char *const channel_names[STREAM_CHANNELS] = { "stdin", "stdout", "stderr", "error", "resize" };

static bool wanted(const struct stream_session *s, enum stream_channel channel)
{
    switch (channel) {
    case STREAM_IN:     return s->want.in;
    case STREAM_OUT:    return s->want.out;
    case STREAM_ERR:    return s->want.err && !s->want.tty;
    case STREAM_STATUS: return true;
    case STREAM_RESIZE: return s->want.tty && s->choice.resize;
    default:            return false;
    }
}

static void take_in(struct stream_session *s, const char *data, size_t n)
{
    if (n && !s->ended && !s->in_ended)
        s->ops.on_in(s->arg, data, n);
}

static void end_in(struct stream_session *s)
{
    if (s->ended || s->in_ended)
        return;
    s->in_ended = true;
    s->ops.on_in_end(s->arg);
}

static void take_resize(struct stream_session *s, const char *data, size_t n)
{
    int cols = 0, rows = 0, rc;
    struct err err;

    buf_add(&s->resize, data, n);
    while ((rc = channel_resize(&s->resize, &cols, &rows, &err)) > 0)
        if (!s->ended)
            s->ops.on_resize(s->arg, cols, rows);
    if (rc < 0)
        buf_clear(&s->resize); /* a terminal of the wrong size is no reason to end the session */
}

/* --- SPDY --- */

static void stop_timer(struct stream_session *s)
{
    loop_timer_cancel(s->timer);
    s->timer = NULL;
}

static void open_session(struct stream_session *s)
{
    s->opened = true;
    stop_timer(s);
    s->ops.on_open(s->arg, s);
    if (s->channel[STREAM_IN] && !s->paused)
        spdy_stream_resume(s->channel[STREAM_IN]);
    if (s->channel[STREAM_RESIZE])
        spdy_stream_resume(s->channel[STREAM_RESIZE]);
}

static bool complete(const struct stream_session *s)
{
    for (int i = 0; i < STREAM_CHANNELS; i++)
        if (wanted(s, (enum stream_channel)i) && !s->channel[i])
            return false;
    return true;
}

static void on_stream(void *arg, struct spdy_stream *stream, const struct http_headers *headers)
{
    struct stream_session *s = arg;
    const char *type = http_headers_get(headers, "streamtype");
    int i = 0;

    while (i < STREAM_CHANNELS && (!type || strcmp(type, channel_names[i]) != 0))
        i++;
    if (i == STREAM_CHANNELS || !wanted(s, (enum stream_channel)i) || s->channel[i] || s->ended) {
        spdy_stream_reset(stream);
        return;
    }
    s->channel[i] = stream;
    spdy_stream_pause(stream); /* until the session is open */
}

/* The reply to the last stream goes out before the session opens: this runs with the next event of the loop. */
static void open_posted(void *arg)
{
    struct stream_session *s = arg;

    s->posted = false;
    if (s->closed)
        free(s);
    else if (!s->opened && !s->ended && complete(s))
        open_session(s);
}

static void look_complete(struct stream_session *s)
{
    if (s->opened || s->posted || !complete(s))
        return;
    s->posted = true;
    loop_post(s->loop, open_posted, s);
}

static void on_stream_then_look(void *arg, struct spdy_stream *stream, const struct http_headers *headers)
{
    on_stream(arg, stream, headers);
    look_complete(arg);
}

static void on_spdy_data(void *arg, struct spdy_stream *stream, const char *data, size_t n)
{
    struct stream_session *s = arg;

    if (stream == s->channel[STREAM_IN])
        take_in(s, data, n);
    else if (stream == s->channel[STREAM_RESIZE])
        take_resize(s, data, n);
}

static void on_spdy_end(void *arg, struct spdy_stream *stream)
{
    struct stream_session *s = arg;

    if (stream == s->channel[STREAM_IN])
        end_in(s);
}

static void on_spdy_gone(void *arg, struct spdy_stream *stream)
{
    struct stream_session *s = arg;

    if (stream == s->channel[STREAM_IN] && s->opened)
        end_in(s);
    for (int i = 0; i < STREAM_CHANNELS; i++)
        if (s->channel[i] == stream)
            s->channel[i] = NULL;
}

static const struct spdy_ops spdy_side = {
    .on_stream = on_stream_then_look, .on_data = on_spdy_data, .on_end = on_spdy_end, .on_gone = on_spdy_gone,
};

/* --- the end --- */

static void session_closed(void *arg)
{
    struct stream_session *s = arg;

    stop_timer(s);
    s->ended = s->closed = true;
    s->wire = NULL;
    s->ws = NULL;
    s->ops.on_close(s->arg);
    buf_clear(&s->resize);
    buf_clear(&s->scratch);
    if (!s->posted)
        free(s);
}

static void session_drain(void *arg)
{
    struct stream_session *s = arg;

    if (!s->ended)
        s->ops.on_drain(s->arg);
}

static const struct wire_ops wire_side = { session_drain, session_closed };

/* --- WebSocket channels --- */

static void ws_put(struct stream_session *s, int channel, const void *data, size_t n)
{
    AUTO(buf) struct buf message = { 0 };

    channel_encode(&s->choice.codec, channel, data, n, &message);
    ws_send(s->ws, s->choice.codec.base64 ? WS_TEXT : WS_BINARY, buf_at(&message), buf_len(&message));
}

static void on_ws_message(struct ws *w, void *arg, enum ws_op op, const char *data, size_t n)
{
    struct stream_session *s = arg;
    struct channel_message m;
    struct err err;

    (void)w, (void)op;
    if (s->ended)
        return;
    if (channel_decode(&s->choice.codec, data, n, &s->scratch, &m, &err) < 0) {
        s->ended = true;
        ws_close(s->ws, 1002, err.msg);
        return;
    }
    if (m.channel == STREAM_IN && s->want.in && m.close)
        end_in(s);
    else if (m.channel == STREAM_IN && s->want.in)
        take_in(s, m.data.at, m.data.n);
    else if (m.channel == STREAM_RESIZE && !m.close && s->want.tty)
        take_resize(s, m.data.at, m.data.n);
}

static void on_ws_drain(struct ws *w, void *arg)
{
    (void)w;
    session_drain(arg);
}

static void on_ws_close(struct ws *w, void *arg, int code)
{
    (void)w, (void)code;
    session_closed(arg);
}

static const struct ws_ops ws_side = { on_ws_message, on_ws_drain, on_ws_close };

/* --- the beginning --- */

static void on_wait_timer(void *arg)
{
    struct stream_session *s = arg;

    s->timer = NULL;
    if (!s->opened)
        wire_end(s->wire); /* the client did not create its streams */
}

void session_start(struct stream_session *s, struct conn *c)
{
    s->loop = conn_loop(c);
    if (s->choice.framing == FRAMING_CHANNELS) {
        s->ws = ws_new(c, false, WS_MESSAGE_BYTES, &ws_side, s);
        /* An empty message tells the client that the channels stand, as upstream's server does. */
        ws_put(s, s->want.out ? STREAM_OUT : s->want.err ? STREAM_ERR : STREAM_STATUS, "", 0);
        open_session(s);
        return;
    }
    s->wire = wire_new(c, s->choice.framing == FRAMING_SPDY_IN_WS, &spdy_side, &wire_side, s);
    s->timer = loop_timer_start(s->loop, STREAMS_WAIT_MS, on_wait_timer, s);
}

static void take_conn(void *arg, struct conn *c)
{
    if (c)
        session_start(arg, c);
    else
        session_closed(arg); /* the client was gone before the connection could be handed over */
}

struct stream_session *session_new(const struct stream_want *want, const struct stream_choice *choice, const struct stream_session_ops *ops,
                                   void *arg)
{
    struct stream_session *s = MEM_NEW(struct stream_session);

    s->want = *want;
    s->choice = *choice;
    s->choice.answer = (struct http_headers){ 0 };
    s->ops = *ops;
    s->arg = arg;
    return s;
}

bool stream_session_accept(struct http_request *r, const struct stream_want *want, const struct stream_session_ops *ops, void *arg)
{
    struct stream_choice choice;
    struct err err;

    if (!want->in && !want->out && !want->err) {
        ERR_IGNORE(err_set(&err, ERR_BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr"));
        stream_refuse(r, NULL, &err);
        return false;
    }
    if (!stream_negotiate(r, false, &choice))
        return false;
    http_upgrade(r, 101, &choice.answer, take_conn, session_new(want, &choice, ops, arg));
    http_headers_clear(&choice.answer);
    return true;
}

/* --- what the owner calls --- */

void stream_session_write(struct stream_session *s, enum stream_channel channel, const void *data, size_t n)
{
    assert(channel == STREAM_OUT || channel == STREAM_ERR);
    if (s->ended || n == 0 || !wanted(s, channel))
        return;
    if (s->ws)
        ws_put(s, channel, data, n);
    else if (s->channel[channel])
        spdy_stream_write(s->channel[channel], data, n);
}

size_t stream_session_queued(const struct stream_session *s)
{
    return s->ws ? ws_queued(s->ws) : s->wire ? wire_queued(s->wire) : 0;
}

void stream_session_pause(struct stream_session *s)
{
    s->paused = true;
    if (s->ws && !s->ended)
        ws_pause(s->ws);
    else if (s->channel[STREAM_IN])
        spdy_stream_pause(s->channel[STREAM_IN]);
}

void stream_session_resume(struct stream_session *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    if (s->ws && !s->ended)
        ws_resume(s->ws);
    else if (s->channel[STREAM_IN])
        spdy_stream_resume(s->channel[STREAM_IN]);
}

static void finish(struct stream_session *s, const struct buf *status)
{
    struct spdy_stream *error = s->channel[STREAM_STATUS];

    if (s->ended)
        return;
    s->ended = true;
    if (s->ws) {
        if (buf_len(status))
            ws_put(s, STREAM_STATUS, buf_at(status), buf_len(status));
        if (s->paused)
            ws_resume(s->ws); /* to hear the client's close */
        ws_close(s->ws, 1000, "");
        return;
    }
    if (error)
        spdy_stream_write(error, buf_at(status), buf_len(status));
    for (int i = 0; i < STREAM_CHANNELS; i++)
        if (s->channel[i])
            spdy_stream_end(s->channel[i]);
    wire_end(s->wire);
}

void stream_session_exit(struct stream_session *s, int exit_code)
{
    AUTO(buf) struct buf status = { 0 };

    channel_exit_status(s->choice.codec.json, exit_code, &status);
    finish(s, &status);
}

void stream_session_fail(struct stream_session *s, const struct err *why)
{
    AUTO(buf) struct buf status = { 0 };

    channel_fail_status(s->choice.codec.json, s->want.attach ? "error attaching to container" : "error executing command in container", why,
                        &status);
    finish(s, &status);
}
