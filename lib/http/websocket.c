#include "lib/http/websocket.h"

#include "lib/crypto.h"
#include "lib/json_int.h"
#include "lib/mem.h"

#include <assert.h>
#include <string.h>

enum {
    HEADER_MAX = 14, /* two bytes, eight of length, four of mask */
    CONTROL_MAX = 125,
    CLOSE_WAIT_MS = 5000, /* for the peer's close frame after ours */
    MASKS_BYTES = 256,    /* random bytes fetched at once */
    SMALL_BYTES = 4096,   /* header and payload in one write */
    KEEP_BYTES = 64 * 1024,
};

enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80, WS_CONTINUATION = 0 };

enum { CODE_PROTOCOL = 1002, CODE_NONE = 1005, CODE_ABNORMAL = 1006, CODE_TEXT = 1007, CODE_TOO_BIG = 1009 };

struct ws {
    struct conn *c;
    const struct ws_ops *ops;
    void *arg;
    bool client;
    size_t max_bytes;

    /* The frame being read: its header until have == need, then `left` bytes of payload. */
    unsigned char header[HEADER_MAX];
    size_t have, need;
    uint64_t left;
    size_t done; /* of the payload: where the mask stands */
    bool in_payload;

    struct buf message; /* of a data message, over its fragments */
    enum ws_op op;      /* of that message; 0: none begun */
    char control[CONTROL_MAX];

    bool paused;
    bool close_sent, close_seen;
    int code; /* the peer's, or why we gave up; 0: neither */
    struct loop_timer *timer;
    size_t masks_left;
    unsigned char masks[MASKS_BYTES];
};

/* Sending. */

static void apply_mask(char *to, const char *from, size_t n, const unsigned char mask[4], size_t at)
{
    unsigned char turned[8];
    uint64_t wide, word;
    size_t i = 0;

    for (size_t k = 0; k < 8; k++)
        turned[k] = mask[(at + k) & 3];
    memcpy(&wide, turned, 8);
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < n; i++)
        to[i] = (char)(from[i] ^ turned[i & 7]);
}

/* Unpredictable to whoever chooses the payload (RFC 6455 section 5.3). */
static void next_mask(struct ws *w, unsigned char ret[4])
{
    if (w->masks_left == 0) {
        random_bytes(w->masks, sizeof(w->masks));
        w->masks_left = sizeof(w->masks);
    }
    w->masks_left -= 4;
    memcpy(ret, w->masks + w->masks_left, 4);
}

static size_t write_header(struct ws *w, enum ws_op op, size_t n, unsigned char to[HEADER_MAX])
{
    size_t at = 2, length_bytes = n > UINT16_MAX ? 8 : n > CONTROL_MAX ? 2 : 0;

    to[0] = (unsigned char)(FIN | op);
    to[1] = (unsigned char)(length_bytes == 8 ? 127 : length_bytes == 2 ? 126 : n);
    for (size_t i = length_bytes; i-- > 0;)
        to[at++] = (unsigned char)((uint64_t)n >> (8 * i));
    if (w->client) {
        to[1] |= MASKED;
        next_mask(w, to + at);
        at += 4;
    }
    return at;
}

static void send_frame(struct ws *w, enum ws_op op, const void *data, size_t n)
{
    unsigned char frame[HEADER_MAX + SMALL_BYTES];
    size_t header = write_header(w, op, n, frame);

    if (n <= SMALL_BYTES) {
        if (w->client)
            apply_mask((char *)frame + header, data, n, frame + header - 4, 0);
        else if (n)
            memcpy(frame + header, data, n);
        conn_write(w->c, frame, header + n);
        return;
    }
    conn_write(w->c, frame, header);
    if (!w->client) {
        conn_write(w->c, data, n);
        return;
    }
    char part[SMALL_BYTES]; /* a multiple of the mask's four bytes */
    for (size_t at = 0; at < n; at += sizeof(part)) {
        size_t m = n - at < sizeof(part) ? n - at : sizeof(part);

        apply_mask(part, (const char *)data + at, m, frame + header - 4, at);
        conn_write(w->c, part, m);
    }
}

void ws_send(struct ws *w, enum ws_op op, const void *data, size_t n)
{
    assert(op == WS_TEXT || op == WS_BINARY || ((op == WS_PING || op == WS_PONG) && n <= CONTROL_MAX));
    if (!w->close_sent)
        send_frame(w, op, data, n);
}

size_t ws_queued(const struct ws *w)
{
    return conn_queued(w->c);
}

/* Closing: a close frame each way, then the connection. */

static void close_wait_over(void *arg)
{
    struct ws *w = arg;

    w->timer = NULL;
    conn_close(w->c);
}

static void send_close(struct ws *w, int code, const char *reason)
{
    char payload[CONTROL_MAX] = { (char)(code >> 8), (char)code };
    size_t n = strlen(reason);

    if (n > CONTROL_MAX - 2) { /* cut between characters */
        for (n = CONTROL_MAX - 2; n > 0 && ((unsigned char)reason[n] & 0xc0) == 0x80; n--)
            ;
    }
    memcpy(payload + 2, reason, n);
    send_frame(w, WS_CLOSE, payload, code == CODE_NONE ? 0 : n + 2);
    w->close_sent = true;
}

void ws_close(struct ws *w, int code, const char *reason)
{
    if (w->close_sent)
        return;
    send_close(w, code, reason ? reason : "");
    buf_clear(&w->message);
    ws_resume(w); /* to hear the peer's; messages before it are dropped */
    w->timer = loop_timer_start(conn_loop(w->c), CLOSE_WAIT_MS, close_wait_over, w);
}

/* The peer broke the protocol or a limit: nothing more is read. */
static void give_up(struct ws *w, int code, const char *reason)
{
    if (!w->close_sent)
        send_close(w, code, reason);
    w->close_seen = true;
    w->code = code;
    conn_close(w->c);
}

static bool code_allowed(int code)
{
    return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);
}

static void on_close_frame(struct ws *w, const char *data, size_t n)
{
    int code = n >= 2 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : CODE_NONE;

    if (n == 1 || (n >= 2 && !code_allowed(code))) {
        give_up(w, CODE_PROTOCOL, "bad close code");
        return;
    }
    if (n > 2 && !json_utf8_valid(data + 2, n - 2)) {
        give_up(w, CODE_TEXT, "close reason is not UTF-8");
        return;
    }
    if (!w->close_sent)
        send_close(w, code, "");
    w->close_seen = true;
    w->code = code;
    conn_close(w->c);
}

/* Reading. */

/* Looks at a complete header. Returns why it is refused, with the close code in *ret_code, or NULL. */
static const char *judge_header(const struct ws *w, uint64_t n, int *ret_code)
{
    unsigned op = w->header[0] & 15;
    bool fin = w->header[0] & FIN;

    *ret_code = CODE_PROTOCOL;
    if (w->header[0] & RESERVED)
        return "reserved bits are set";
    if (!(w->header[1] & MASKED) != w->client)
        return w->client ? "frame is masked" : "frame is not masked";
    if (op >= WS_CLOSE) {
        if (op > WS_PONG)
            return "unknown opcode";
        return !fin || n > CONTROL_MAX ? "control frame is fragmented or too long" : NULL;
    }
    if (op > WS_BINARY)
        return "unknown opcode";
    if ((op == WS_CONTINUATION) != (w->op != 0))
        return op == WS_CONTINUATION ? "continuation of no message" : "message within a message";
    *ret_code = CODE_TOO_BIG;
    return n > w->max_bytes - buf_len(&w->message) ? "message is too big" : NULL;
}

static void begin_payload(struct ws *w)
{
    size_t length_bytes = w->header[1] % 128 == 127 ? 8 : w->header[1] % 128 == 126 ? 2 : 0;
    uint64_t n = length_bytes ? 0 : w->header[1] % 128;
    int code;

    for (size_t i = 0; i < length_bytes; i++)
        n = n << 8 | w->header[2 + i];
    const char *refused = judge_header(w, n, &code);
    if (refused) {
        give_up(w, code, refused);
        return;
    }
    if ((w->header[0] & 15) == WS_TEXT || (w->header[0] & 15) == WS_BINARY)
        w->op = w->header[0] & 15;
    w->left = n;
    w->done = 0;
    w->in_payload = true;
}

/* Takes bytes for the header. Returns how many. */
static size_t read_header(struct ws *w, const char *data, size_t n)
{
    size_t used = 0;

    while (used < n && w->have < w->need) {
        w->header[w->have++] = (unsigned char)data[used++];
        if (w->have == 2) {
            size_t len = w->header[1] % 128;
            w->need = 2 + (len == 127 ? 8 : len == 126 ? 2 : 0) + (w->header[1] & MASKED ? 4 : 0);
        }
    }
    if (w->have == w->need)
        begin_payload(w);
    return used;
}

static void deliver(struct ws *w, const char *data, size_t n)
{
    enum ws_op op = w->op;

    w->op = 0;
    if (w->close_sent)
        return;
    if (op == WS_TEXT && !json_utf8_valid(data, n)) {
        give_up(w, CODE_TEXT, "text is not UTF-8");
        return;
    }
    w->ops->on_message(w, w->arg, op, data, n);
}

static void on_control(struct ws *w, enum ws_op op, size_t n)
{
    if (op == WS_CLOSE) {
        on_close_frame(w, w->control, n);
    } else if (op == WS_PING) {
        /* A peer that asks and does not read gets no answers that pile up. */
        if (!w->close_sent && conn_queued(w->c) < CONN_HIGH_BYTES)
            send_frame(w, WS_PONG, w->control, n);
    } else if (!w->close_sent) {
        w->ops->on_message(w, w->arg, op, w->control, n);
    }
}

static void end_frame(struct ws *w)
{
    unsigned op = w->header[0] & 15;
    bool fin = w->header[0] & FIN;

    w->in_payload = false;
    w->have = 0;
    w->need = 2;
    if (op >= WS_CLOSE) {
        on_control(w, op, w->done);
    } else if (fin) {
        /* The buffer is given away for the call: the owner may close, which empties it. */
        struct buf message = w->message;
        w->message = (struct buf){ 0 };
        deliver(w, buf_at(&message), buf_len(&message));
        if (buf_len(&w->message) == 0 && message.cap <= KEEP_BYTES && !w->close_sent) {
            buf_cut(&message, 0);
            w->message = message;
        } else {
            buf_clear(&message);
        }
    }
}

/* A whole message in one unmasked frame that has come completely needs no copy. */
static bool deliver_in_place(struct ws *w, const char *data, size_t n)
{
    unsigned op = w->header[0] & 15;

    if (w->done > 0 || n < w->left || op >= WS_CLOSE || op == WS_CONTINUATION || !(w->header[0] & FIN) || !w->client)
        return false;
    w->in_payload = false;
    w->have = 0;
    w->need = 2;
    deliver(w, data, (size_t)w->left);
    return true;
}

static size_t read_payload(struct ws *w, const char *data, size_t n)
{
    const unsigned char *mask = w->header + w->need - 4;
    bool control = (w->header[0] & 15) >= WS_CLOSE;

    if (n > w->left)
        n = (size_t)w->left;
    if (deliver_in_place(w, data, n))
        return n;
    char *to = control ? w->control + w->done : w->close_sent ? NULL : n ? buf_space(&w->message, n) : NULL;
    if (to && w->client)
        memcpy(to, data, n);
    else if (to)
        apply_mask(to, data, n, mask, w->done);
    if (to && !control)
        buf_used(&w->message, n);
    w->done += n;
    w->left -= n;
    if (w->left == 0)
        end_frame(w);
    return n;
}

static void on_data(struct conn *c, void *arg, const char *data, size_t n)
{
    struct ws *w = arg;

    while (!w->close_seen && !w->paused && (n > 0 || (w->in_payload && w->left == 0))) {
        size_t used = w->in_payload ? read_payload(w, data, n) : read_header(w, data, n);

        data += used;
        n -= used;
    }
    if (w->paused && !w->close_seen)
        conn_unread(c, data, n);
}

static void on_drain(struct conn *c, void *arg)
{
    struct ws *w = arg;

    (void)c;
    if (w->ops->on_drain && !w->close_sent)
        w->ops->on_drain(w, w->arg);
}

static void on_close(struct conn *c, void *arg, const struct err *why)
{
    struct ws *w = arg;

    (void)c;
    (void)why;
    loop_timer_cancel(w->timer);
    w->ops->on_close(w, w->arg, w->code ? w->code : CODE_ABNORMAL);
    buf_clear(&w->message);
    free(w);
}

void ws_pause(struct ws *w)
{
    if (w->close_sent)
        return;
    w->paused = true;
    conn_pause(w->c);
}

void ws_resume(struct ws *w)
{
    if (!w->paused)
        return;
    w->paused = false;
    conn_resume(w->c);
}

struct ws *ws_new(struct conn *c, bool client, size_t max_bytes, const struct ws_ops *ops, void *arg)
{
    static const struct conn_ops conn_side = { .on_data = on_data, .on_drain = on_drain, .on_close = on_close };
    struct ws *w = MEM_NEW(struct ws);

    w->c = c;
    w->client = client;
    w->max_bytes = max_bytes;
    w->ops = ops;
    w->arg = arg;
    w->need = 2;
    conn_set_ops(c, &conn_side, w);
    return w;
}
