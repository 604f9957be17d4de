/* SPDY over a connection, or inside WebSocket messages. */
#include "lib/stream/stream_int.h"

#include "lib/mem.h"

struct wire {
    struct loop *loop;
    struct conn *conn; /* one of the two */
    struct ws *ws;
    struct spdy *spdy;
    struct wire_ops ops;
    void *arg;
    bool ending; /* what still comes is dropped */
    struct spdy_ops spdy_ops; /* the owner's */
    struct loop_timer *timer;
};

static void wire_send(void *arg, const void *data, size_t n)
{
    struct wire *w = arg;

    if (w->ws)
        ws_send(w->ws, WS_BINARY, data, n);
    else if (w->conn)
        conn_write(w->conn, data, n);
}

static void wire_pause(void *arg, bool stop)
{
    struct wire *w = arg;

    if (w->ws)
        (stop ? ws_pause : ws_resume)(w->ws);
    else if (w->conn)
        (stop ? conn_pause : conn_resume)(w->conn);
}

static void pass_stream(void *arg, struct spdy_stream *s, const struct http_headers *headers)
{
    struct wire *w = arg;

    w->spdy_ops.on_stream(w->arg, s, headers);
}

static void pass_data(void *arg, struct spdy_stream *s, const char *data, size_t n)
{
    struct wire *w = arg;

    w->spdy_ops.on_data(w->arg, s, data, n);
}

static void pass_end(void *arg, struct spdy_stream *s)
{
    struct wire *w = arg;

    w->spdy_ops.on_end(w->arg, s);
}

static void pass_gone(void *arg, struct spdy_stream *s)
{
    struct wire *w = arg;

    w->spdy_ops.on_gone(w->arg, s);
}

static void ignore_goaway(void *arg)
{
    (void)arg; /* the peer closes when it is through */
}

static const struct spdy_ops wire_spdy_ops = { wire_send, wire_pause, pass_stream, pass_data, pass_end, pass_gone, ignore_goaway };

static void feed(struct wire *w, const char *data, size_t n)
{
    struct err err;

    if (w->ending || spdy_feed(w->spdy, data, n, &err) == 0)
        return;
    w->ending = true;
    if (w->ws)
        ws_close(w->ws, 1002, "SPDY protocol error");
    else
        conn_abort(w->conn, &err);
}

static void closed(struct wire *w)
{
    w->conn = NULL;
    w->ws = NULL;
    loop_timer_cancel(w->timer);
    spdy_free(w->spdy);
    w->ops.on_close(w->arg);
    free(w);
}

static void on_conn_data(struct conn *c, void *arg, const char *data, size_t n)
{
    (void)c;
    feed(arg, data, n);
}

static void on_conn_drain(struct conn *c, void *arg)
{
    struct wire *w = arg;

    (void)c;
    w->ops.on_drain(w->arg);
}

static void on_conn_close(struct conn *c, void *arg, const struct err *why)
{
    (void)c, (void)why;
    closed(arg);
}

static const struct conn_ops conn_side = { .on_data = on_conn_data, .on_drain = on_conn_drain, .on_close = on_conn_close };

static void on_ws_message(struct ws *ws, void *arg, enum ws_op op, const char *data, size_t n)
{
    (void)ws;
    if (op == WS_BINARY)
        feed(arg, data, n);
}

static void on_ws_drain(struct ws *ws, void *arg)
{
    on_conn_drain(NULL, arg);
    (void)ws;
}

static void on_ws_close(struct ws *ws, void *arg, int code)
{
    (void)ws, (void)code;
    closed(arg);
}

static const struct ws_ops ws_side = { on_ws_message, on_ws_drain, on_ws_close };

struct wire *wire_new(struct conn *c, bool in_ws, const struct spdy_ops *spdy, const struct wire_ops *ops, void *arg)
{
    struct wire *w = MEM_NEW(struct wire);

    w->loop = conn_loop(c);
    w->ops = *ops;
    w->spdy_ops = *spdy;
    w->arg = arg;
    w->spdy = spdy_new(false, &wire_spdy_ops, w);
    if (in_ws) {
        w->ws = ws_new(c, false, WS_MESSAGE_BYTES, &ws_side, w);
    } else {
        w->conn = c;
        conn_set_ops(c, &conn_side, w);
    }
    return w;
}

struct spdy *wire_spdy(struct wire *w)
{
    return w->spdy;
}

size_t wire_queued(const struct wire *w)
{
    return w->ws ? ws_queued(w->ws) : w->conn ? conn_queued(w->conn) : 0;
}

static void on_end_timer(void *arg)
{
    struct wire *w = arg;

    w->timer = NULL;
    if (w->conn)
        conn_close(w->conn);
}

/* Closing at once would make the kernel answer what the client still sends with a reset, which can overtake our last bytes. */
void wire_end(struct wire *w)
{
    if (w->ending)
        return;
    spdy_goaway(w->spdy);
    w->ending = true;
    wire_pause(w, false);
    if (w->ws) {
        ws_close(w->ws, 1000, "");
    } else if (w->conn) {
        conn_shutdown(w->conn);
        w->timer = loop_timer_start(w->loop, END_WAIT_MS, on_end_timer, w);
    }
}
