/* port-forward: SPDY stream pairs, or the channel pairs of the WebSocket form. */
#include "lib/stream/stream_int.h"

#include "lib/mem.h"
#include "lib/stream/forward_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void port_free_when_done(struct stream_port *p);

static struct stream_port *port_new(struct stream_forward *f, int number)
{
    struct stream_port *p = MEM_NEW(struct stream_port);

    p->forward = f;
    p->number = number;
    p->next = f->ports;
    f->ports = p;
    return p;
}

/* --- out to the client --- */

static void ws_put(struct stream_forward *f, int channel, const void *data, size_t n)
{
    AUTO(buf) struct buf message = { 0 };

    channel_encode(&f->choice.codec, channel, data, n, &message);
    ws_send(f->ws, f->choice.codec.base64 ? WS_TEXT : WS_BINARY, buf_at(&message), buf_len(&message));
}

static size_t queued(const struct stream_forward *f)
{
    return f->ws ? ws_queued(f->ws) : f->wire ? wire_queued(f->wire) : 0;
}

static void put_data(struct stream_port *p, const char *data, size_t n)
{
    if (p->forward->ws)
        ws_put(p->forward, 2 * p->index, data, n);
    else if (p->data)
        spdy_stream_write(p->data, data, n);
}

/* Both directions are through, or it failed: nothing more is said on this port. */
static void port_end(struct stream_port *p)
{
    p->ended = true;
    if (p->data)
        spdy_stream_end(p->data);
    if (p->error)
        spdy_stream_end(p->error);
}

/* In the WebSocket form a port that can't take data stops them all: one message stream carries them. */
static void set_blocking(struct stream_port *p, bool blocking)
{
    struct stream_forward *f = p->forward;

    if (p->data) {
        (blocking ? spdy_stream_pause : spdy_stream_resume)(p->data);
        return;
    }
    if (!f->ws || p->blocking == blocking)
        return;
    p->blocking = blocking;
    f->n_blocking += blocking ? 1 : -1;
    if (f->n_blocking == 1 && blocking)
        ws_pause(f->ws);
    else if (f->n_blocking == 0)
        ws_resume(f->ws);
}

/* --- the pod's side --- */

static void on_pod_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct stream_port *p = arg;

    put_data(p, data, n);
    if (queued(p->forward) <= CONN_HIGH_BYTES)
        return;
    p->stalled = p->forward->stalled = true;
    conn_pause(c);
}

static void on_pod_drain(struct conn *c, void *arg)
{
    (void)c;
    set_blocking(arg, false);
}

static void on_pod_eof(struct conn *c, void *arg)
{
    struct stream_port *p = arg;

    if (p->data)
        spdy_stream_end(p->data);
    if (p->client_ended || !p->data)
        conn_close(c);
    else if (p->error)
        spdy_stream_end(p->error); /* kubectl waits for it before it lets go */
}

static void on_pod_close(struct conn *c, void *arg, const struct err *why)
{
    struct stream_port *p = arg;

    (void)c, (void)why; /* a reset is the application's business: an error on the channel would end all of kubectl's forwards */
    p->conn = NULL;
    port_end(p);
    set_blocking(p, false);
    port_free_when_done(p);
}

static const struct conn_ops pod_side = { .on_data = on_pod_data, .on_drain = on_pod_drain, .on_eof = on_pod_eof, .on_close = on_pod_close };

static void client_data(struct stream_port *p, const char *data, size_t n)
{
    if (!p->conn || p->ended)
        return;
    conn_write(p->conn, data, n);
    if (conn_queued(p->conn) > CONN_HIGH_BYTES)
        set_blocking(p, true);
}

/* --- life of a port --- */

static void forward_free_when_done(struct stream_forward *f)
{
    if (!f->closed || f->ports)
        return;
    f->ops.on_close(f->arg);
    buf_clear(&f->scratch);
    free(f->numbers);
    free(f);
}

static void port_free_when_done(struct stream_port *p)
{
    struct stream_forward *f = p->forward;
    struct stream_port **at = &f->ports;

    if (p->conn || p->data || p->error || p->posted || (f->ws && !p->ended))
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->told)
        f->ops.on_port_close(f->arg, p);
    free(p->request_id);
    free(p);
    if (f->ws && !f->ports)
        ws_close(f->ws, 1000, ""); /* the last of the WebSocket form's ports */
    forward_free_when_done(f);
}

void stream_port_set(struct stream_port *p, void *arg)
{
    p->arg = arg;
}

void *stream_port_arg(const struct stream_port *p)
{
    return p->arg;
}

void stream_port_connect(struct stream_port *p, int fd)
{
    assert(!p->conn);
    p->conn = conn_accept(p->forward->loop, fd, NULL, 0, &pod_side, p);
    if (p->forward->stalled) {
        p->stalled = true;
        conn_pause(p->conn);
    }
    set_blocking(p, false);
    if (p->client_ended)
        conn_shutdown(p->conn);
}

static void fail_posted(void *arg)
{
    struct stream_port *p = arg;

    p->posted = false;
    set_blocking(p, false);
    port_free_when_done(p);
}

void stream_port_fail(struct stream_port *p, const char *message)
{
    if (p->ended)
        return;
    if (p->forward->ws)
        ws_put(p->forward, 2 * p->index + 1, message, strlen(message));
    if (p->error)
        spdy_stream_write(p->error, message, strlen(message));
    if (p->data)
        spdy_stream_reset(p->data);
    p->data = NULL;
    port_end(p);
    p->posted = true;
    loop_post(p->forward->loop, fail_posted, p); /* the caller may be inside on_port */
}

/* --- SPDY --- */

static struct stream_port *find_pair(struct stream_forward *f, const char *request_id)
{
    struct stream_port *p = f->ports;

    while (p && (strcmp(p->request_id, request_id) != 0 || p->told))
        p = p->next;
    return p;
}

static void port_posted(void *arg)
{
    struct stream_port *p = arg;
    struct stream_forward *f = p->forward;

    p->posted = false;
    if (p->data && p->error && !f->closed) {
        p->told = true;
        f->ops.on_port(f->arg, p, p->number);
    }
    port_free_when_done(p);
}

static void on_stream(void *arg, struct spdy_stream *stream, const struct http_headers *headers)
{
    struct stream_forward *f = arg;
    const char *type = http_headers_get(headers, "streamtype"), *port = http_headers_get(headers, "port");
    const char *id = http_headers_get(headers, "requestid");
    bool data = type && strcmp(type, "data") == 0, error = type && strcmp(type, "error") == 0;
    long number = port ? strtol(port, NULL, 10) : 0;

    if ((!data && !error) || number < 1 || number > 65535) {
        spdy_stream_reset(stream);
        return;
    }
    /* Clients of old named no request: the data stream follows its error stream. */
    struct stream_port *p = find_pair(f, id ? id : "");

    if (p && ((data && p->data) || (error && p->error))) {
        spdy_stream_reset(stream);
        return;
    }
    if (!p) {
        p = port_new(f, (int)number);
        p->request_id = mem_strdup(id ? id : "");
    }
    *(data ? &p->data : &p->error) = stream;
    spdy_stream_set(stream, p);
    if (data)
        spdy_stream_pause(stream); /* until the pod is connected */
    if (p->data && p->error && !p->posted) {
        p->posted = true;
        loop_post(f->loop, port_posted, p); /* after the reply to this stream */
    }
}

static void on_data(void *arg, struct spdy_stream *stream, const char *data, size_t n)
{
    struct stream_port *p = spdy_stream_arg(stream);

    (void)arg;
    if (stream == p->data)
        client_data(p, data, n);
}

static void on_end(void *arg, struct spdy_stream *stream)
{
    struct stream_port *p = spdy_stream_arg(stream);

    (void)arg;
    if (stream != p->data)
        return;
    p->client_ended = true;
    if (p->conn)
        conn_shutdown(p->conn);
}

static void on_gone(void *arg, struct spdy_stream *stream)
{
    struct stream_port *p = spdy_stream_arg(stream);
    bool data = stream == p->data;

    (void)arg;
    *(data ? &p->data : &p->error) = NULL;
    if (data) {
        p->client_ended = true;
        if (p->conn)
            conn_close(p->conn);
        else if (p->error)
            spdy_stream_end(p->error);
    }
    port_free_when_done(p);
}

static const struct spdy_ops spdy_side = { .on_stream = on_stream, .on_data = on_data, .on_end = on_end, .on_gone = on_gone };

static void on_drain(void *arg)
{
    struct stream_forward *f = arg;

    f->stalled = false;
    for (struct stream_port *p = f->ports; p; p = p->next) {
        if (p->stalled && p->conn)
            conn_resume(p->conn);
        p->stalled = false;
    }
}

static void on_close(void *arg)
{
    struct stream_forward *f = arg;

    f->wire = NULL;
    f->ws = NULL;
    for (struct stream_port *p = f->ports, *next; p; p = next) {
        next = p->next;
        p->ended = true;
        if (p->conn)
            conn_close(p->conn);
        else
            port_free_when_done(p);
    }
    f->closed = true; /* only now: the last port's end above must not free it */
    forward_free_when_done(f);
}

static const struct wire_ops wire_side = { on_drain, on_close };

/* --- the WebSocket form --- */

static void on_ws_message(struct ws *w, void *arg, enum ws_op op, const char *data, size_t n)
{
    struct stream_forward *f = arg;
    struct stream_port *p = f->ports;
    struct channel_message m;
    struct err err;

    (void)w, (void)op;
    if (channel_decode(&f->choice.codec, data, n, &f->scratch, &m, &err) < 0) {
        ws_close(f->ws, 1002, err.msg);
        return;
    }
    while (p && 2 * p->index != m.channel)
        p = p->next;
    if (p)
        client_data(p, m.data.at, m.data.n);
}

static void on_ws_drain(struct ws *w, void *arg)
{
    (void)w;
    on_drain(arg);
}

static void on_ws_close(struct ws *w, void *arg, int code)
{
    (void)w, (void)code;
    on_close(arg);
}

static const struct ws_ops ws_side = { on_ws_message, on_ws_drain, on_ws_close };

static void start_channels(struct stream_forward *f)
{
    for (size_t i = 0; i < f->n_numbers; i++) {
        struct stream_port *p = port_new(f, f->numbers[i]);
        char number[2] = { (char)(p->number & 0xff), (char)(p->number >> 8) };

        p->index = (int)i;
        p->request_id = mem_strdup("");
        ws_put(f, 2 * p->index, number, sizeof(number));
        ws_put(f, 2 * p->index + 1, number, sizeof(number));
        set_blocking(p, true);
    }
    for (struct stream_port *p = f->ports, *next; p; p = next) {
        next = p->next;
        p->told = true;
        f->ops.on_port(f->arg, p, p->number);
    }
}

/* --- the beginning --- */

void forward_start(struct stream_forward *f, struct conn *c)
{
    f->loop = conn_loop(c);
    if (f->choice.framing == FRAMING_CHANNELS) {
        f->ws = ws_new(c, false, WS_MESSAGE_BYTES, &ws_side, f);
        start_channels(f);
    } else {
        f->wire = wire_new(c, f->choice.framing == FRAMING_SPDY_IN_WS, &spdy_side, &wire_side, f);
    }
}

static void take_conn(void *arg, struct conn *c)
{
    if (c)
        forward_start(arg, c);
    else
        on_close(arg); /* the client was gone before the connection could be handed over */
}

struct stream_forward *forward_new(const struct stream_choice *choice, const int *ports, size_t n_ports, const struct stream_forward_ops *ops,
                                   void *arg)
{
    struct stream_forward *f = MEM_NEW(struct stream_forward);

    f->choice = *choice;
    f->choice.answer = (struct http_headers){ 0 };
    f->ops = *ops;
    f->arg = arg;
    f->numbers = mem_alloc((n_ports + 1) * sizeof(*f->numbers));
    if (n_ports)
        memcpy(f->numbers, ports, n_ports * sizeof(*ports));
    f->n_numbers = n_ports;
    return f;
}

static int check_ports(const int *ports, size_t n, struct err *err)
{
    if (n == 0)
        return err_set(err, ERR_BAD_REQUEST, "query parameter \"port\" is required");
    if (n > FORWARD_PORTS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "at most %d ports", FORWARD_PORTS_MAX);
    for (size_t i = 0; i < n; i++)
        if (ports[i] < 1 || ports[i] > 65535)
            return err_set(err, ERR_BAD_REQUEST, "port \"%d\" must be > 0 and < 65536", ports[i]);
    return 0;
}

bool stream_forward_accept(struct http_request *r, const int *ports, size_t n_ports, const struct stream_forward_ops *ops, void *arg)
{
    struct stream_choice choice;
    struct err err;

    if (!stream_negotiate(r, true, &choice))
        return false;
    if (choice.framing == FRAMING_CHANNELS && check_ports(ports, n_ports, &err) < 0) {
        http_headers_clear(&choice.answer);
        stream_refuse(r, NULL, &err);
        return false;
    }
    http_upgrade(r, 101, &choice.answer, take_conn, forward_new(&choice, ports, choice.framing == FRAMING_CHANNELS ? n_ports : 0, ops, arg));
    http_headers_clear(&choice.answer);
    return true;
}

void stream_forward_close(struct stream_forward *f)
{
    if (f->ws)
        ws_close(f->ws, 1000, "");
    else if (f->wire)
        wire_end(f->wire);
}
